/*
 * relfile_env.h
 *	  A data directory, a keyring and a server's stubs, for the test_relfile_*
 *	  programs.
 *
 * The registry, the keyring and the key cache are the real ones, in a temporary
 * directory that is the working directory, as the data directory is the
 * server's.  env_open() and env_close() call cmk_relfile_ops in the order in
 * which the seam does.  What is on disk is looked at through a descriptor of the
 * test's own, round all of this.
 *
 * env_hook says what the hooks answer and notes how they were called; env_real
 * counts the real calls and makes them behave badly.  A case begins with env_reset().  Each
 * case takes relations of its own (env_new_id), so that none depends on
 * another.  RUN_BOTH_WAYS runs them with data checksums and without.
 */
#ifndef CMK_RELFILE_ENV_H
#define CMK_RELFILE_ENV_H

#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../src/keyring/keycache.h"
#include "../../src/keyring/keyring.h"
#include "../../src/seal/page.h"
#include "../../src/server/rawio.h"
#include "../../src/server/relfile.h"

#define PAGE			CMK_PAGE_SIZE
#define VERSION_DIR		"PG_15_202209061"
#define SYSID			UINT64_C(0x6a7b8c9d0e1f2031)
#define SEGMENT_BLOCKS	64		/* RELSEG_SIZE of this server */
#define MAX_PAGES		48		/* three times what goes into one write */

/* ---- the hooks ---- */

static struct
{
	int			opening,
				created,
				revived,
				plain_write,
				plain_yet,
				image_comes,
				died,
				control_opening,
				control_closing,
				logged;			/* calls */
	bool		first;			/* as given to created */
	CmkRelId	id;				/* as given to the last hook that has one */
	int			control_fd;
	char		line[1024];		/* the last log line */

	int			fail;			/* errno with which created, … fail */
	int			fail_opening;	/* errno with which opening fails */
	bool		birth;			/* created and plain_write give a DEK */
	bool		from_backup;	/* as plain_yet answers */
	bool		after_crash;	/* as image_comes answers */
} env_hook;

static inline void env_birth(const CmkRelId *id, uint16_t flags);

static inline int
env_answer(int *count, const CmkRelId *id)
{
	(*count)++;
	if (id != NULL)
		env_hook.id = *id;
	if (env_hook.fail == 0)
		return 0;
	errno = env_hook.fail;
	return -1;
}

static int
env_opening(void)
{
	env_hook.opening++;
	if (env_hook.fail_opening == 0)
		return 0;
	errno = env_hook.fail_opening;
	return -1;
}

static int
env_created(const CmkRelId *id, bool first)
{
	env_hook.first = first;
	if (env_hook.birth)
		env_birth(id, CMK_DEK_WHOLE);
	return env_answer(&env_hook.created, id);
}

static int
env_revived(const CmkRelId *id)
{
	return env_answer(&env_hook.revived, id);
}

static int
env_plain_write(const CmkRelId *id)
{
	if (env_hook.birth)
		env_birth(id, 0);
	return env_answer(&env_hook.plain_write, id);
}

static bool
env_plain_yet(void)
{
	env_hook.plain_yet++;
	return env_hook.from_backup;
}

static bool
env_image_comes(void)
{
	env_hook.image_comes++;
	return env_hook.after_crash;
}

static void
env_died(const CmkRelId *id)
{
	env_hook.died++;
	env_hook.id = *id;
}

static int
env_control_opening(void)
{
	return env_answer(&env_hook.control_opening, NULL);
}

static void
env_control_closing(int fd)
{
	env_hook.control_closing++;
	env_hook.control_fd = fd;
}

static void __attribute__((format(printf, 1, 2)))
env_log(const char *fmt,...)
{
	va_list		ap;

	env_hook.logged++;
	va_start(ap, fmt);
	vsnprintf(env_hook.line, sizeof(env_hook.line), fmt, ap);
	va_end(ap);
}

static const CmkFileHooks env_hooks = {
	.opening = env_opening,
	.created = env_created,
	.revived = env_revived,
	.plain_write = env_plain_write,
	.plain_yet = env_plain_yet,
	.image_comes = env_image_comes,
	.died = env_died,
	.control_opening = env_control_opening,
	.control_closing = env_control_closing,
	.log = env_log
};

static CmkFileConfig env_config = {
	.checksums = true,
	.seal_temp = true,
	.segment_blocks = SEGMENT_BLOCKS
};

/* ---- the real calls ---- */

static struct
{
	int			preads;			/* calls */
	int			opens;
	int			fail_pread;		/* errno of each call; 0: none */
	int			pwrites;		/* calls */
	size_t		longest;		/* bytes asked for in one */
	size_t		at_most;		/* bytes that one call moves; 0: all */
	long		room;			/* bytes until ENOSPC; -1: no end */
	int			fail;			/* errno of the next call, once */
	bool		returns_0;		/* when there is no room */
} env_real;

static ssize_t
env_pwrite(int fd, const void *buf, size_t n, off_t off)
{
	ssize_t		done;

	env_real.pwrites++;
	if (n > env_real.longest)
		env_real.longest = n;
	if (env_real.fail != 0)
	{
		errno = env_real.fail;
		env_real.fail = 0;
		return -1;
	}
	if (env_real.room == 0)
	{
		errno = env_real.returns_0 ? 0 : ENOSPC;
		return env_real.returns_0 ? 0 : -1;
	}
	if (env_real.at_most > 0 && n > env_real.at_most)
		n = env_real.at_most;
	if (env_real.room > 0 && n > (size_t) env_real.room)
		n = (size_t) env_real.room;
	done = pwrite(fd, buf, n, off);
	if (done > 0 && env_real.room > 0)
		env_real.room -= done;
	return done;
}

static ssize_t
env_pread(int fd, void *buf, size_t n, off_t off)
{
	env_real.preads++;
	if (env_real.fail_pread == 0)
		return pread(fd, buf, n, off);
	errno = env_real.fail_pread;
	return -1;
}

static int
env_real_open(const char *path, int flags,...)
{
	env_real.opens++;
	return open(path, flags, 0600);
}

static inline void
env_reset(void)
{
	memset(&env_hook, 0, sizeof(env_hook));
	memset(&env_real, 0, sizeof(env_real));
	env_real.room = -1;
}

/* ---- the data directory and the keyring ---- */

static char env_dir[PATH_MAX];
static uint8_t env_root_key[CMK_ROOT_KEY_SIZE];
static uint8_t env_root_salt[CMK_SALT_SIZE];

static inline void
env_die(const char *what, const char *why)
{
	printf("Bail out! %s: %s\n", what, why);
	exit(1);
}

static int
env_remove(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void) st;
	(void) flag;
	(void) ftw;
	return remove(path);
}

static void
env_cleanup(void)
{
	(void) nftw(env_dir, env_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void
env_directory(void)
{
	static const char *const dirs[] = {
		"base", "base/5", "global", "pg_cmk", "pg_tblspc", "pg_tblspc/16400",
		"pg_tblspc/16400/" VERSION_DIR, "pg_tblspc/16400/" VERSION_DIR "/5"
	};
	const char *tmp = getenv("TMPDIR");
	char		template[PATH_MAX];
	size_t		i;

	snprintf(template, sizeof(template), "%s/cmk_unit.XXXXXX",
			 tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(template) == NULL || realpath(template, env_dir) == NULL)
		env_die(template, strerror(errno));
	atexit(env_cleanup);
	if (chdir(env_dir) < 0)
		env_die(env_dir, strerror(errno));
	for (i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		if (mkdir(dirs[i], 0700) < 0)
			env_die(dirs[i], strerror(errno));
}

/* All that a postmaster does before it opens a data file. */
static inline void
env_start(void)
{
	CmkRootKey	root;
	CmkError	err;

	env_directory();
	if (cmk_random_key(env_root_key, sizeof(env_root_key)) < 0 ||
		cmk_random_public(env_root_salt, sizeof(env_root_salt)) < 0)
		env_die("random bytes", "none");
	root.id = 1;
	memcpy(root.key, env_root_key, sizeof(root.key));
	memcpy(root.salt, env_root_salt, sizeof(root.salt));
	if (cmk_registry_create(&err) < 0 ||
		cmk_registry_set_roots(&root, 1, 1, &err) < 0 ||
		cmk_keyring_open(CMK_KEYS_FILE, SYSID, true, &err) < 0 ||
		cmk_keyring_load(&err) < 0 ||
		cmk_keycache_init(&err) < 0)
		env_die("keyring", err.message);

	cmk_filekind_init(env_dir, VERSION_DIR);
	cmk_relfile_init(&env_config, &env_hooks);
	cmk_real.open = env_real_open;
	cmk_real.close = close;
	cmk_real.read = read;
	cmk_real.write = write;
	cmk_real.pread = env_pread;
	cmk_real.pwrite = env_pwrite;
	cmk_real.pwritev = pwritev;
	cmk_real.lseek = lseek;
	cmk_real.unlink = unlink;
	cmk_real.fstat = fstat;
	cmk_real.ftruncate = ftruncate;
	cmk_real.fallocate = fallocate;
	env_reset();
}

/* A relation that no other case has, in pg_default. */
static inline CmkRelId
env_new_id(void)
{
	static uint32_t next = 16384;
	CmkRelId	id = {CMK_SPC_DEFAULT, 5, 0};

	id.rel = next++;
	return id;
}

static inline void
env_birth(const CmkRelId *id, uint16_t flags)
{
	uint8_t		image[CMK_RECORD_SIZE];
	bool		is_new;
	CmkError	err;

	if (cmk_keyring_birth(id, flags, 0, image, &is_new, &err) < 0)
		env_die("birth", err.message);
}

/* Another DEK for id, as replay of another birth brings it. */
static inline void
env_replace(const CmkRelId *id, uint16_t flags, uint16_t generation)
{
	CmkRecordKey rk = {.root_id = 1, .root_key = env_root_key, .sysid = SYSID};
	CmkDekInfo	info;
	uint8_t		dek[CMK_DEK_SIZE];
	uint8_t		image[CMK_RECORD_SIZE];
	CmkKeyWrap *kw = cmk_keywrap_new();
	CmkError	err;

	memset(&info, 0, sizeof(info));
	info.id = *id;
	info.state = CMK_DEK_LIVE;
	info.flags = flags;
	info.generation = generation;
	info.root_id = 1;
	info.birth_id = 1;
	info.created = 1;
	memcpy(rk.salt, env_root_salt, sizeof(rk.salt));
	if (kw == NULL || cmk_random_key(dek, sizeof(dek)) < 0 ||
		cmk_record_encode(&rk, kw, &info, dek, image, &err) < 0 ||
		cmk_keyring_replay(image, &err) < 0)
		env_die("replay", "refused");
	cmk_keywrap_free(kw);
}

/* Kills id and erases its DEK; then nothing is known of it. */
static inline void
env_erase(const CmkRelId *id)
{
	CmkError	err;

	if (cmk_keyring_death(id, 1, &err) < 0 ||
		cmk_keyring_erase(2, 3, &err) != 1)
		env_die("erasure", "refused");
}

/* ---- files, as the seam opens them ---- */

typedef struct EnvFile
{
	int			fd;
	CmkSeamFile f;
} EnvFile;

static inline int
env_open(EnvFile *file, const char *path, int flags)
{
	int			save_errno;

	memset(file, 0, sizeof(*file));
	file->fd = -1;
	if (cmk_relfile_ops.opening(path, &flags, &file->f) < 0)
		return -1;
	file->fd = open(path, flags, 0600);
	if (file->fd < 0)
		return -1;
	if (file->f.kind != CMK_FILE_OTHER &&
		cmk_relfile_ops.opened(file->fd, path, flags, &file->f) < 0)
	{
		save_errno = errno;
		close(file->fd);
		file->fd = -1;
		errno = save_errno;
		return -1;
	}
	return 0;
}

static inline void
env_close(EnvFile *file)
{
	if (file->f.kind != CMK_FILE_OTHER)
		cmk_relfile_ops.closing(file->fd, &file->f);
	close(file->fd);
	file->fd = -1;
}

static inline int
env_unlink(const char *path)
{
	if (unlink(path) < 0)
		return -1;
	cmk_relfile_ops.unlinked(path);
	return 0;
}

/* A fork's file, created if it is not there, without a call of a hook. */
static inline void
env_open_fork(EnvFile *file, const CmkRelId *id, unsigned fork)
{
	char		path[128];
	int			fd;

	cmk_relation_path(id, fork, path, sizeof(path));
	fd = open(path, O_RDWR | O_CREAT, 0600);
	if (fd < 0 || close(fd) < 0 || env_open(file, path, O_RDWR) < 0)
		env_die(path, strerror(errno));
}

/* The main fork of a new relation with a DEK. */
static inline CmkRelId
env_open_sealed(EnvFile *file)
{
	CmkRelId	id = env_new_id();

	env_birth(&id, CMK_DEK_WHOLE);
	env_open_fork(file, &id, CMK_FORK_MAIN);
	return id;
}

/* … and without one. */
static inline CmkRelId
env_open_plain(EnvFile *file)
{
	CmkRelId	id = env_new_id();

	env_open_fork(file, &id, CMK_FORK_MAIN);
	return id;
}

static inline ssize_t
env_put(EnvFile *file, const void *buf, size_t n, off_t off)
{
	return cmk_relfile_ops.pwrite(&file->f, file->fd, buf, n, off);
}

static inline ssize_t
env_get(EnvFile *file, void *buf, size_t n, off_t off)
{
	return cmk_relfile_ops.pread(&file->f, file->fd, buf, n, off);
}

/* What is on disk; a test's own pread and pwrite of the whole range. */
static inline void
env_disk(const EnvFile *file, void *buf, size_t n, off_t off)
{
	if (pread(file->fd, buf, n, off) != (ssize_t) n)
		env_die("pread", "file is too short");
}

static inline void
env_set_disk(const EnvFile *file, const void *buf, size_t n, off_t off)
{
	if (pwrite(file->fd, buf, n, off) != (ssize_t) n)
		env_die("pwrite", strerror(errno));
}

static inline off_t
env_size(const EnvFile *file)
{
	struct stat st;

	if (fstat(file->fd, &st) < 0)
		env_die("fstat", strerror(errno));
	return st.st_size;
}

/* ---- pages ---- */

static inline void
put16(uint8_t *page, size_t at, unsigned v)
{
	uint16_t	v16 = (uint16_t) v;

	memcpy(page + at, &v16, sizeof(v16));
}

/*
 * A page as the server has it in memory for that block: an LSN, line pointers
 * from 24 to 100, tuples of noise from 200 on.  Pages of different seeds differ.
 */
static inline void
make_page(uint8_t *page, uint32_t block, uint32_t seed)
{
	uint32_t	x = seed * 2654435761u + 1;
	size_t		i;

	memset(page, 0, PAGE);
	for (i = 200; i < PAGE; i++)
	{
		x = x * 1664525u + 1013904223u;
		page[i] = (uint8_t) (x >> 24);
	}
	put16(page, 4, 0x1000 + seed % 1000);	/* pd_lsn */
	put16(page, 10, 4);			/* pd_flags: all visible */
	put16(page, 12, 100);		/* pd_lower */
	put16(page, 14, 200);		/* pd_upper */
	put16(page, 16, PAGE);		/* pd_special */
	put16(page, 18, PAGE | 4);	/* pd_pagesize_version */
	if (env_config.checksums)
		put16(page, 8, cmk_page_checksum(page, block));
}

/* n pages for the blocks from block on. */
static inline void
make_pages(uint8_t *pages, size_t n, uint32_t block, uint32_t seed)
{
	size_t		i;

	for (i = 0; i < n; i++)
		make_page(pages + i * PAGE, block + (uint32_t) i, seed + (uint32_t) i);
}

/*
 * n sealed pages are what the plain ones are not: marked, of that generation,
 * with a good checksum if there are any, and with no piece of 16 bytes in
 * common behind the head.
 */
static inline int
check_sealed(const uint8_t *disk, const uint8_t *plain, size_t n,
			 uint32_t block, unsigned generation)
{
	size_t		i;
	size_t		at;

	for (i = 0; i < n; i++, disk += PAGE, plain += PAGE, block++)
	{
		uint16_t	sum;

		if (cmk_page_kind(disk) != CMK_PAGE_SEALED ||
			cmk_page_generation(disk) != generation % 16 ||
			cmk_page_is_unmet(disk) != ((generation & CMK_PAGE_UNMET) != 0))
			return unit_fail(__FILE__, __LINE__,
							 "block %u is not sealed, generation %u", block,
							 generation);
		memcpy(&sum, disk + 8, sizeof(sum));
		if (env_config.checksums && sum != cmk_page_checksum(disk, block))
			return unit_fail(__FILE__, __LINE__,
							 "block %u has a wrong checksum on disk", block);
		for (at = CMK_PAGE_HEAD; at < PAGE; at += 16)
			if (memcmp(disk + at, plain + at, 16) == 0)
				return unit_fail(__FILE__, __LINE__,
								 "block %u is plain at byte %zu", block, at);
	}
	return 0;
}

#define CHECK_SEALED(disk, plain, n, block, generation) \
	do { \
		if (check_sealed(disk, plain, n, block, generation) < 0) \
			return; \
	} while (0)

#define RUN_BOTH_WAYS(cases) \
	do { \
		env_config.checksums = true; \
		printf("# with data checksums\n"); \
		cases(); \
		env_config.checksums = false; \
		printf("# without data checksums\n"); \
		cases(); \
	} while (0)

/* A call that must fail, with this errno. */
#define CHECK_FAILS(call, code) \
	do { \
		errno = 0; \
		CHECK_INT(call, -1); \
		CHECK_INT(errno, code); \
	} while (0)

#endif							/* CMK_RELFILE_ENV_H */
