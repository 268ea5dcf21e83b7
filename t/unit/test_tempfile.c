/*
 * test_tempfile.c
 *	  What tempfile.c and notifyfile.c make of a file, against a plain file to which
 *	  the same is done.
 *
 * Every call goes through the table that is registered (cmk_file_ops), as the seam
 * makes it.  The shadow is a plain file with the real calls: results, errno, size,
 * position and content must be the same after each step, and what is on disk must
 * be a head longer and hold nothing of what was written.  The random cases
 * print their seed; TEMPFILE_SEED sets it.
 */
#include "relfile_env.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "../../src/seal/unit.h"
#include "../../src/server/fileops.h"
#include "../../src/server/rawio.h"
#include "../../src/server/tempfile.h"

#define U			CMK_UNIT_SIZE
#define HEAD		CMK_UNIT_HEAD
#define MAX_LEN		(12 * U)
#define MARK		"Nobody-reads-me!"	/* 16 bytes */

static const char *const names[] = {
	"base/pgsql_tmp/pgsql_tmp1.0",
	"pg_tblspc/16400/" VERSION_DIR "/pgsql_tmp/pgsql_tmp1.1.sharedfileset/x.0",
	"pg_replslot/s/xid-742-lsn-0-2000000.spill",
	CMK_TEXTS_FILE,
	CMK_STATEMENTS_FILE ".tmp"
};

#define NAMES		(sizeof(names) / sizeof(names[0]))
#define SHADOW		"shadow"

static bool configured = true;

static bool
is_configured(void)
{
	return configured;
}

static const CmkTempHooks hooks = {.configured = is_configured};

/* ---- a disk that gets full, and one that fails ---- */

static off_t disk_end = -1;		/* no file grows beyond; -1: no end */
static int	bad_write = -1;		/* the write that fails, from 0; -1: none */
static int	pieces = 0;			/* bytes that one call moves; 0: all */

static ssize_t
limited_pwrite(int fd, const void *buf, size_t n, off_t off)
{
	if (bad_write >= 0 && bad_write-- == 0)
	{
		errno = EIO;
		return -1;
	}
	if (pieces > 0 && n > (size_t) pieces)
		n = (size_t) pieces;
	if (disk_end >= 0 && off + (off_t) n > disk_end)
	{
		if (off >= disk_end)
		{
			errno = ENOSPC;
			return -1;
		}
		n = (size_t) (disk_end - off);
	}
	return pwrite(fd, buf, n, off);
}

static ssize_t
limited_pread(int fd, void *buf, size_t n, off_t off)
{
	if (pieces > 0 && n > (size_t) pieces)
		n = (size_t) pieces;
	return pread(fd, buf, n, off);
}

/* ---- a file through the table ---- */

typedef struct File
{
	int			fd;
	CmkSeamFile f;
} File;

static int
file_open(File *t, const char *path, int flags)
{
	int			real_flags = flags;

	memset(t, 0, sizeof(*t));
	if (cmk_file_ops.opening(path, &real_flags, &t->f) < 0)
		return -1;
	t->fd = open(path, real_flags, 0600);
	if (t->fd < 0)
		return -1;
	if (t->f.kind != 0 && cmk_file_ops.opened(t->fd, path, flags, &t->f) < 0)
	{
		int			save_errno = errno;

		close(t->fd);
		errno = save_errno;
		return -1;
	}
	return 0;
}

static void
file_close(File *t)
{
	cmk_file_ops.closing(t->fd, &t->f);
	close(t->fd);
}

#define PREAD(t, buf, n, off)	cmk_file_ops.pread(&(t)->f, (t)->fd, buf, n, off)
#define PWRITE(t, buf, n, off)	cmk_file_ops.pwrite(&(t)->f, (t)->fd, buf, n, off)
#define READ(t, buf, n)			cmk_file_ops.read(&(t)->f, (t)->fd, buf, n)
#define WRITE(t, buf, n)		cmk_file_ops.write(&(t)->f, (t)->fd, buf, n)
#define LSEEK(t, off, whence)	cmk_file_ops.lseek(&(t)->f, (t)->fd, off, whence)
#define FTRUNCATE(t, len)		cmk_file_ops.ftruncate(&(t)->f, (t)->fd, len)
#define FSTAT(t, st)			cmk_file_ops.fstat(&(t)->f, (t)->fd, st)

/* ---- chance ---- */

static uint64_t seed;

static uint64_t
chance(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

/* An offset or length: often near the end of a unit, often small. */
static size_t
some_length(size_t max)
{
	size_t		n;

	switch (chance(4))
	{
		case 0:
			n = chance(40);
			break;
		case 1:
			n = chance(max + 1);
			break;
		default:
			n = (size_t) ((chance(max / U + 1)) * U + chance(41));
			n = n < 20 ? n : n - 20;
			break;
	}
	return n < max ? n : max;
}

/* What is written: random enough to be told apart, with marks to be looked for. */
static void
make_bytes(uint8_t *buf, size_t n)
{
	size_t		i;

	for (i = 0; i < n; i++)
		buf[i] = (uint8_t) chance(256);
	for (i = 0; i + 16 <= n; i += 16 + chance(100))
		memcpy(buf + i, MARK, 16);
}

/* ---- comparing ---- */

static uint8_t got[MAX_LEN * 2];
static uint8_t want[MAX_LEN * 2];
static uint8_t disk[MAX_LEN * 2 + HEAD];
static uint8_t data[MAX_LEN * 2];

/* Content, sizes by every call, and what is on disk. */
static int
check_same(File *t, const char *path, int shadow)
{
	struct stat st;
	struct stat sst;
	ssize_t		n;
	int			fd;

	if (fstat(shadow, &sst) < 0 || FSTAT(t, &st) < 0)
		return unit_fail(__FILE__, __LINE__, "fstat");
	if (st.st_size != sst.st_size)
		return unit_fail(__FILE__, __LINE__, "size by fstat %ld, not %ld",
						 (long) st.st_size, (long) sst.st_size);
	n = pread(shadow, want, sizeof(want), 0);
	memset(got, 0xee, sizeof(got));
	if (PREAD(t, got, sizeof(got), 0) != n || n != sst.st_size)
		return unit_fail(__FILE__, __LINE__, "length of the content");
	if (unit_differ(got, want, (size_t) n) >= 0)
		return unit_fail(__FILE__, __LINE__, "content of %ld bytes differs at %ld",
						 (long) n, unit_differ(got, want, (size_t) n));
	if (stat(path, &st) < 0)
		return unit_fail(__FILE__, __LINE__, "stat");
	if (st.st_size != sst.st_size + HEAD)
		return unit_fail(__FILE__, __LINE__, "%ld bytes on disk for %ld",
						 (long) st.st_size, (long) sst.st_size);
	cmk_file_ops.stated(path, &st);
	if (t->f.kind != CMK_FILE_STATEMENTS && st.st_size != sst.st_size)
		return unit_fail(__FILE__, __LINE__, "size by stat");
	fd = open(path, O_RDONLY);
	n = pread(fd, disk, sizeof(disk), 0);
	close(fd);
	if (memmem(disk, (size_t) n, MARK, 16) != NULL)
		return unit_fail(__FILE__, __LINE__, "the mark is on disk");
	return 0;
}

/* ---- random steps ---- */

typedef struct Pair
{
	const char *path;
	int			flags;
	File		t;
	int			shadow;
} Pair;

static int
pair_open(Pair *p, int flags)
{
	p->flags = flags;
	p->shadow = open(SHADOW, flags, 0600);
	if (file_open(&p->t, p->path, flags) < 0 || p->shadow < 0)
		return unit_fail(__FILE__, __LINE__, "open: %s", strerror(errno));
	return 0;
}

static void
pair_close(Pair *p)
{
	file_close(&p->t);
	close(p->shadow);
}

static int
check_results(const char *what, ssize_t a, int a_errno, ssize_t b, int b_errno)
{
	if (a != b)
		return unit_fail(__FILE__, __LINE__, "%s returned %ld (%s), not %ld (%s)",
						 what, (long) a, strerror(a_errno), (long) b, strerror(b_errno));
	if (a < 0 && a_errno != b_errno)
		return unit_fail(__FILE__, __LINE__, "%s: %s, not %s", what,
						 strerror(a_errno), strerror(b_errno));
	return 0;
}

/* The same call on both; the arguments of f and p stand in for each other. */
#define BOTH(what, sealed_call, plain_call) \
	do { \
		ssize_t		a_, b_; \
		int			ae_, be_; \
		errno = 0; \
		a_ = (ssize_t) (sealed_call); \
		ae_ = errno; \
		errno = 0; \
		b_ = (ssize_t) (plain_call); \
		be_ = errno; \
		if (check_results(what, a_, ae_, b_, be_) < 0) \
			return -1; \
	} while (0)

static int
random_step(Pair *p)
{
	size_t		n = some_length(3 * U);
	off_t		off = (off_t) some_length(MAX_LEN - 3 * U);
	int			whence = (int) chance(3);
	struct iovec iov[3];
	struct stat st;

	switch (chance(13))
	{
		case 0:
		case 1:
			break;
		case 2:
			off = off / U * U;	/* as sorts write */
			n = 2 * U;
			break;
		case 3:					/* as materialised results and spills are appended */
		case 4:
			if (fstat(p->shadow, &st) < 0)
				return -1;
			off = st.st_size;
			n = off < MAX_LEN - 3 * U ? n : 0;
			break;
		case 5:
			n = chance(200);
			off = lseek(p->shadow, 0, SEEK_CUR);
			make_bytes(data, n);
			if (off > MAX_LEN - 3 * U)
				return 0;
			BOTH("write", WRITE(&p->t, data, n), write(p->shadow, data, n));
			return 0;
		case 6:
			make_bytes(data, n);
			iov[0].iov_base = data;
			iov[0].iov_len = n / 3;
			iov[1].iov_base = data + n / 3;
			iov[1].iov_len = 0;
			iov[2].iov_base = data + n / 3;
			iov[2].iov_len = n - n / 3;
			BOTH("pwritev", cmk_file_ops.pwritev(&p->t.f, p->t.fd, iov, 3, off),
				 pwritev(p->shadow, iov, 3, off));
			return 0;
		case 7:
			off = (off_t) chance(40);
			/* FALLTHROUGH */
		case 8:
			BOTH("ftruncate", FTRUNCATE(&p->t, off), ftruncate(p->shadow, off));
			return 0;
		case 9:
			BOTH("pread", PREAD(&p->t, got, n, off), pread(p->shadow, want, n, off));
			return 0;
		case 10:
			off -= (off_t) chance(2) * MAX_LEN;
			off = off > 2 * U ? 2 * U : off;
			BOTH("lseek", LSEEK(&p->t, off, whence), lseek(p->shadow, off, whence));
			return 0;
		case 11:
			BOTH("read", READ(&p->t, got, n), read(p->shadow, want, n));
			BOTH("lseek", LSEEK(&p->t, 0, SEEK_CUR), lseek(p->shadow, 0, SEEK_CUR));
			return 0;
		default:
			pair_close(p);
			return pair_open(p, O_RDWR | O_CREAT);
	}
	make_bytes(data, n);
	BOTH("pwrite", PWRITE(&p->t, data, n, off), pwrite(p->shadow, data, n, off));
	return 0;
}

static int
random_walk(const char *path, int steps)
{
	Pair		p = {.path = path};
	int			i;

	unlink(path);
	unlink(SHADOW);
	if (pair_open(&p, O_RDWR | O_CREAT | O_TRUNC) < 0)
		return -1;
	for (i = 0; i < steps; i++)
		if (random_step(&p) < 0 || check_same(&p.t, path, p.shadow) < 0)
			return -1;
	pair_close(&p);
	return 0;
}

#define STEPS	(UNIT_ASAN ? 2000 : 6000)

static void
as_a_plain_file(void)
{
	size_t		i;

	for (i = 0; i < NAMES; i++)
		CHECK_INT(random_walk(names[i], STEPS), 0);
}

/* A call of the system that moves a part goes on where it stopped. */
static void
as_a_plain_file_piece_by_piece(void)
{
	pieces = 1500;
	as_a_plain_file();
	pieces = 0;
}

/* ---- each border by itself ---- */

/* Every length to every other, by writing, cutting and extending. */
static void
every_length_to_every_other(void)
{
	static const off_t l[] = {
		0, 1, 15, 16, 17, U - 1, U, U + 1, U + 15, U + 16, 2 * U - 1, 2 * U,
		2 * U + 1, 2 * U + 15, 2 * U + 16, 3 * U + 7, 5 * U + 15, 6 * U
	};
	size_t		i;
	size_t		j;
	int			how;
	Pair		p = {.path = names[0]};

	for (i = 0; i < sizeof(l) / sizeof(l[0]); i++)
		for (j = 0; j < sizeof(l) / sizeof(l[0]); j++)
			for (how = 0; how < 4; how++)
			{
				size_t		n = 1 + chance(2 * U);

				CHECK_INT(pair_open(&p, O_RDWR | O_CREAT | O_TRUNC), 0);
				make_bytes(data, sizeof(data));
				CHECK_INT(PWRITE(&p.t, data, (size_t) l[i], 0), l[i]);
				CHECK_INT(pwrite(p.shadow, data, (size_t) l[i], 0), l[i]);
				make_bytes(data, sizeof(data));
				if (how == 0)
				{
					CHECK_INT(FTRUNCATE(&p.t, l[j]), 0);
					CHECK_INT(ftruncate(p.shadow, l[j]), 0);
				}
				else if (how == 1)
				{
					CHECK_INT(PWRITE(&p.t, data, n, l[j]), n);
					CHECK_INT(pwrite(p.shadow, data, n, l[j]), n);
				}
				else if (how == 2)
				{
					/* from there back to the first length */
					CHECK_INT(PWRITE(&p.t, data, (size_t) l[j], l[i]), l[j]);
					CHECK_INT(FTRUNCATE(&p.t, l[i]), 0);
				}
				else
				{
					CHECK_INT(PWRITE(&p.t, data, 1, l[j]), 1);
					CHECK_INT(pwrite(p.shadow, data, 1, l[j]), 1);
				}
				CHECK_INT(check_same(&p.t, p.path, p.shadow), 0);
				pair_close(&p);
			}
}

static void
bad_arguments(void)
{
	File		t;
	Pair		p = {.path = names[0]};

	CHECK_INT(pair_open(&p, O_RDWR | O_CREAT | O_TRUNC), 0);
	errno = 0;
	CHECK(PWRITE(&p.t, "a", 1, -1) == -1 && errno == EINVAL);
	CHECK(PREAD(&p.t, data, 1, -1) == -1 && errno == EINVAL);
	CHECK(FTRUNCATE(&p.t, -1) == -1 && errno == EINVAL);
	CHECK(LSEEK(&p.t, -1, SEEK_SET) == -1 && errno == EINVAL);
	CHECK(LSEEK(&p.t, INT64_MAX, SEEK_SET) == -1 && errno == EINVAL);
	CHECK(LSEEK(&p.t, 0, SEEK_DATA) == -1 && errno == EINVAL);
	CHECK(PWRITE(&p.t, "a", 1, INT64_MAX - 1) == -1 && errno == EFBIG);
	CHECK(FTRUNCATE(&p.t, INT64_MAX) == -1 && errno == EFBIG);
	CHECK(cmk_file_ops.fallocate(&p.t.f, p.t.fd, 0, 0, 9) == -1 && errno == EOPNOTSUPP);
	CHECK_INT(PWRITE(&p.t, data, 0, 3 * U), 0);
	CHECK_INT(check_same(&p.t, p.path, p.shadow), 0);
	pair_close(&p);

	CHECK_INT(file_open(&t, names[0], O_RDONLY), 0);
	CHECK(PWRITE(&t, "a", 1, 0) == -1 && errno == EBADF);
	CHECK(FTRUNCATE(&t, 0) == -1 && errno == EINVAL);
	file_close(&t);
}

/* ---- opening ---- */

/* As reorderbuffer.c writes: only to the end, and again after it was closed. */
static void
appending_only(void)
{
	Pair		p = {.path = names[2]};
	int			i;
	int			j;

	unlink(p.path);
	unlink(SHADOW);
	for (i = 0; i < 20; i++)
	{
		CHECK_INT(pair_open(&p, O_CREAT | O_WRONLY | O_APPEND), 0);
		for (j = 0; j < 30; j++)
		{
			size_t		n = chance(300);

			make_bytes(data, n);
			CHECK_INT(WRITE(&p.t, data, n), n);
			CHECK_INT(write(p.shadow, data, n), n);
			/* wherever the position is */
			CHECK_INT(LSEEK(&p.t, (off_t) chance(50), SEEK_SET) >= 0, 1);
		}
		pair_close(&p);
		CHECK_INT(pair_open(&p, O_RDWR), 0);
		CHECK_INT(check_same(&p.t, p.path, p.shadow), 0);
		pair_close(&p);
	}
}

static void
a_file_made_anew_has_another_nonce(void)
{
	uint8_t		first[3 * U];
	File		t;
	int			i;

	for (i = 0; i < 2; i++)
	{
		int			fd;

		CHECK_INT(file_open(&t, names[0], O_RDWR | O_CREAT | O_TRUNC), 0);
		memset(data, 'x', 3 * U);
		CHECK_INT(PWRITE(&t, data, 3 * U, 0), 3 * U);
		file_close(&t);
		fd = open(names[0], O_RDONLY);
		CHECK_INT(pread(fd, disk, 3 * U, HEAD), 3 * U);
		close(fd);
		if (i == 0)
			memcpy(first, disk, 3 * U);
	}
	for (i = 0; i < 3 * U; i += 16)
		CHECK(memcmp(first + i, disk + i, 16) != 0);
	/* nor are two units of a file alike */
	CHECK(memcmp(disk, disk + U, 16) != 0);
}

/* Another descriptor, also one that was opened before there was a head. */
static void
two_descriptors(void)
{
	File		writer;
	File		early;
	File		late;
	struct stat st;
	size_t		n = 2 * U + 100;

	unlink(names[1]);
	CHECK_INT(close(open(names[1], O_CREAT | O_RDWR, 0600)), 0);
	CHECK_INT(file_open(&early, names[1], O_RDONLY), 0);
	CHECK_INT(PREAD(&early, got, 10, 0), 0);
	CHECK_INT(FSTAT(&early, &st), 0);
	CHECK_INT(st.st_size, 0);
	CHECK_INT(file_open(&writer, names[1], O_RDWR), 0);
	make_bytes(data, n);
	CHECK_INT(PWRITE(&writer, data, n, 0), n);
	CHECK_INT(file_open(&late, names[1], O_RDONLY), 0);
	CHECK_INT(PREAD(&early, got, sizeof(got), 0), n);
	CHECK_MEM(got, data, n);
	CHECK_INT(PREAD(&late, got, sizeof(got), 0), n);
	CHECK_MEM(got, data, n);
	file_close(&early);
	file_close(&late);

	/* and under another name */
	CHECK_INT(rename(names[1], names[0]), 0);
	CHECK_INT(file_open(&late, names[0], O_RDONLY), 0);
	CHECK_INT(READ(&late, got, sizeof(got)), n);
	CHECK_MEM(got, data, n);
	file_close(&late);
	file_close(&writer);
}

static void
what_is_not_a_file_is_left_alone(void)
{
	File		t;

	memset(&t, 0, sizeof(t));
	CHECK_INT(file_open(&t, "pg_tblspc/16400/" VERSION_DIR
						"/pgsql_tmp/pgsql_tmp1.1.sharedfileset", O_RDONLY), 0);
	CHECK_INT(t.f.kind, 0);
	close(t.fd);
}

/* Plain, cut, damaged: an error, not somebody's bytes. */
static void
a_file_that_is_not_ours(void)
{
	File		t;
	int			fd;
	size_t		i;
	int			how;

	for (i = 0; i < 4; i++)
		for (how = 0; how < 3; how++)
		{
			CHECK_INT(file_open(&t, names[i], O_RDWR | O_CREAT | O_TRUNC), 0);
			CHECK_INT(PWRITE(&t, MARK, 16, 0), 16);
			file_close(&t);
			fd = open(names[i], O_RDWR);
			if (how == 0)
			{
				memset(disk, 'p', sizeof(disk));
				CHECK_INT(pwrite(fd, disk, HEAD + 16, 0), HEAD + 16);
			}
			else if (how == 1)
				CHECK_INT(ftruncate(fd, 10), 0);
			else
			{
				/* another nonce */
				CHECK_INT(pread(fd, disk, 1, 20), 1);
				disk[0] ^= 1;
				CHECK_INT(pwrite(fd, disk, 1, 20), 1);
			}
			close(fd);
			CHECK_INT(file_open(&t, names[i], O_RDWR), 0);
			errno = 0;
			CHECK(PREAD(&t, got, 16, 0) == -1 && errno == ENOKEY);
			errno = 0;
			CHECK(PWRITE(&t, MARK, 16, 0) == -1 && errno == ENOKEY);
			errno = 0;
			CHECK(FTRUNCATE(&t, 0) == -1 && errno == ENOKEY);
			file_close(&t);
			unlink(names[i]);
		}
}

/* What is in it must not be moved about: each byte is where it was sealed. */
static void
damage_stays_in_its_unit(void)
{
	Pair		p = {.path = names[0]};
	int			fd;

	CHECK_INT(pair_open(&p, O_RDWR | O_CREAT | O_TRUNC), 0);
	make_bytes(data, 4 * U);
	CHECK_INT(PWRITE(&p.t, data, 4 * U, 0), 4 * U);
	fd = open(names[0], O_RDWR);
	CHECK_INT(pwrite(fd, "damage", 6, HEAD + U + 100), 6);
	close(fd);
	CHECK_INT(PREAD(&p.t, got, 4 * U, 0), 4 * U);
	CHECK_MEM(got, data, U);
	CHECK(memcmp(got + U, data + U, U) != 0);
	CHECK_MEM(got + 2 * U, data + 2 * U, 2 * U);
	pair_close(&p);
}

/* ---- a disk that is full ---- */

/*
 * Whatever fits: what is reported is there, and what was there before still is.
 * The size of the file says so, too.
 */
static void
an_append_to_a_full_disk(void)
{
	static const off_t l[] = {0, 5, 15, 16, 100, U - 1, U, U + 5, U + 15, U + 16, 2 * U + 9};
	static const size_t w[] = {1, 14, 20, U, U + 3, 2 * U, 20 * U};
	size_t		i;
	size_t		j;
	off_t		room;

	for (i = 0; i < sizeof(l) / sizeof(l[0]); i++)
		for (j = 0; j < sizeof(w) / sizeof(w[0]); j++)
			for (room = 0; room < (off_t) w[j]; room += 1 + (off_t) chance(w[j] / 3 + 1))
			{
				static uint8_t much[20 * U];
				File		t;
				struct stat st;
				ssize_t		done;
				off_t		length;

				CHECK_INT(file_open(&t, names[0], O_RDWR | O_CREAT | O_TRUNC), 0);
				make_bytes(data, (size_t) l[i]);
				make_bytes(much, sizeof(much));
				CHECK_INT(PWRITE(&t, data, (size_t) l[i], 0), l[i]);
				disk_end = HEAD + l[i] + room;
				errno = 0;
				done = PWRITE(&t, much, w[j], l[i]);
				disk_end = -1;
				if (l[i] + (off_t) w[j] < 16)
					continue;	/* it is in the head */
				CHECK(done < (ssize_t) w[j] && done <= (ssize_t) room && done != 0);
				if (done < 0)
					CHECK_INT(errno, ENOSPC);
				length = l[i] + (done > 0 ? done : 0);
				CHECK_INT(FSTAT(&t, &st), 0);
				CHECK_INT(st.st_size, length);
				CHECK_INT(PREAD(&t, got, (size_t) l[i], 0), l[i]);
				CHECK_MEM(got, data, (size_t) l[i]);
				if (done > 0)
				{
					size_t		n = (size_t) done < sizeof(got) ? (size_t) done : sizeof(got);

					CHECK_INT(PREAD(&t, got, n, l[i]), n);
					CHECK_MEM(got, much, n);
				}

				/* there is room again */
				CHECK_INT(PWRITE(&t, much + (length - l[i]), w[j] - (size_t) (length - l[i]), length),
						  w[j] - (size_t) (length - l[i]));
				CHECK_INT(PREAD(&t, got, U, l[i]), w[j] < U ? w[j] : U);
				CHECK_MEM(got, much, w[j] < U ? w[j] : U);
				CHECK_INT(PREAD(&t, got, (size_t) l[i], 0), l[i]);
				CHECK_MEM(got, data, (size_t) l[i]);
				file_close(&t);
			}
}

/* No head, no file: the next try finds an empty one. */
static void
no_room_for_a_head(void)
{
	File		t;
	struct stat st;

	unlink(names[0]);
	disk_end = 100;
	errno = 0;
	CHECK(file_open(&t, names[0], O_RDWR | O_CREAT) == -1 && errno == ENOSPC);
	disk_end = -1;
	CHECK_INT(stat(names[0], &st), 0);
	CHECK_INT(st.st_size, 0);
	CHECK_INT(file_open(&t, names[0], O_RDWR | O_CREAT), 0);
	CHECK_INT(PWRITE(&t, MARK, 16, 0), 16);
	file_close(&t);
}

static void
a_failing_disk(void)
{
	File		t;

	CHECK_INT(file_open(&t, names[0], O_RDWR | O_CREAT | O_TRUNC), 0);
	make_bytes(data, 3 * U);
	CHECK_INT(PWRITE(&t, data, 3 * U, 0), 3 * U);
	bad_write = 0;
	errno = 0;
	CHECK(PWRITE(&t, MARK, 16, 100) == -1 && errno == EIO);
	bad_write = 0;
	errno = 0;
	CHECK(PWRITE(&t, MARK, 16, 3 * U) == -1 && errno == EIO);
	bad_write = 0;
	errno = 0;
	CHECK(FTRUNCATE(&t, 100) == -1 && errno == EIO);
	CHECK_INT(PREAD(&t, got, sizeof(got), 0), 3 * U);
	CHECK_MEM(got, data, 3 * U);
	file_close(&t);
}

/* ---- several processes ---- */

/*
 * As pg_stat_statements does it: each process takes the next place in the file
 * and writes there, in no order, two writes for each text.
 */
static void
texts_of_several_processes(void)
{
	enum
	{
		PROCESSES = 4, TEXTS = 250
	};
	uint64_t   *extent = mmap(NULL, sizeof(*extent), PROT_READ | PROT_WRITE,
							  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char	   *all;
	File		t;
	size_t		i;
	int			count[PROCESSES] = {0};

	unlink(names[3]);
	*extent = 0;
	for (i = 0; i < PROCESSES; i++)
	{
		if (fork() == 0)
		{
			int			j;

			seed += i * 1000003 + 1;
			for (j = 0; j < TEXTS; j++)
			{
				char		text[600];
				size_t		n = (size_t) snprintf(text, sizeof(text), "%zu:%d:%*s", i, j,
												  (int) chance(500), "");
				off_t		off = (off_t) __atomic_fetch_add(extent, n + 1, __ATOMIC_SEQ_CST);

				if (file_open(&t, names[3], O_RDWR | O_CREAT) < 0 ||
					PWRITE(&t, text, n, off) != (ssize_t) n ||
					PWRITE(&t, "", 1, off + (off_t) n) != 1)
					_exit(1);
				file_close(&t);
			}
			_exit(0);
		}
	}
	for (i = 0; i < PROCESSES; i++)
	{
		int			status;

		CHECK(wait(&status) > 0 && status == 0);
	}
	all = calloc(1, *extent + 1);
	CHECK_INT(file_open(&t, names[3], O_RDONLY), 0);
	CHECK_INT(PREAD(&t, all, *extent + 1, 0), *extent);
	for (i = 0; i < *extent; i += strlen(all + i) + 1)
	{
		unsigned	p;
		unsigned	j;

		CHECK_INT(sscanf(all + i, "%u:%u:", &p, &j), 2);
		CHECK(p < PROCESSES && j < TEXTS);
		count[p]++;
	}
	CHECK_INT(i, *extent);
	for (i = 0; i < PROCESSES; i++)
		CHECK_INT(count[i], TEXTS);
	file_close(&t);
	free(all);
	munmap(extent, sizeof(*extent));
}

/* Made anew while others have it open: they see the new one. */
static void
texts_made_anew(void)
{
	File		old;
	File		new;

	CHECK_INT(file_open(&old, names[3], O_RDWR | O_CREAT | O_TRUNC), 0);
	CHECK_INT(PWRITE(&old, "first", 5, 0), 5);
	CHECK_INT(file_open(&new, names[3], O_WRONLY | O_CREAT | O_TRUNC), 0);
	CHECK_INT(WRITE(&new, "second text of all", 18), 18);
	CHECK_INT(PREAD(&old, got, 100, 0), 18);
	CHECK_MEM(got, "second text of all", 18);
	file_close(&new);
	file_close(&old);
}

/* ---- what outlives the server ---- */

static void
kept_under_the_root(const char *path)
{
	CmkRootKey	roots[2];
	CmkRootKey	root = *cmk_registry_root();
	File		t;
	int			fd;

	unlink(path);
	CHECK_INT(file_open(&t, path, O_WRONLY | O_CREAT | O_TRUNC), 0);
	CHECK_INT(WRITE(&t, MARK MARK, 32), 32);
	file_close(&t);

	/* another root is current: the one that the file names is asked for */
	roots[0] = root;
	roots[1] = root;
	roots[1].id = 7;
	roots[1].key[0] ^= 1;
	CHECK_INT(cmk_registry_set_roots(roots, 2, 7, NULL), 0);
	CHECK_INT(file_open(&t, path, O_RDONLY), 0);
	CHECK_INT(READ(&t, got, 100), 32);
	CHECK_MEM(got, MARK MARK, 32);
	file_close(&t);

	/* not open: what is sealed cannot be read, and nothing be written */
	cmk_keycache_wipe();
	CHECK_INT(cmk_registry_set_roots(NULL, 0, 0, NULL), 0);
	CHECK_INT(file_open(&t, path, O_RDONLY), 0);
	errno = 0;
	CHECK(READ(&t, got, 100) == -1 && errno == ENOKEY);
	file_close(&t);
	errno = 0;
	CHECK(file_open(&t, path, O_WRONLY | O_CREAT | O_TRUNC) == -1 && errno == ENOKEY);

	/* no key configured: a plain file, read as such also when there is one again */
	configured = false;
	unlink(path);
	CHECK_INT(file_open(&t, path, O_WRONLY | O_CREAT | O_TRUNC), 0);
	CHECK_INT(t.f.kind, 0);
	CHECK_INT(write(t.fd, "plain", 5), 5);
	close(t.fd);
	configured = true;
	CHECK_INT(file_open(&t, path, O_RDONLY), 0);
	CHECK_INT(t.f.kind, 0);
	close(t.fd);
	fd = open(path, O_RDONLY);
	CHECK_INT(read(fd, got, 100), 5);
	close(fd);
	CHECK_INT(cmk_registry_set_roots(&root, 1, root.id, NULL), 0);
}

static void
statements_under_the_root(void)
{
	CHECK(cmk_file_ops.streams(CMK_STATEMENTS_FILE) && cmk_file_ops.streams(names[3]) &&
		  !cmk_file_ops.streams(names[0]) && !cmk_file_ops.streams("base/5/16384"));
	kept_under_the_root(CMK_STATEMENTS_FILE);
}

static void
prepared_transactions_under_the_root(void)
{
	static const char path[] = "pg_twophase/000002F1";
	uint8_t		key[2][CMK_DEK_SIZE];

	CHECK(mkdir("pg_twophase", 0700) == 0 && !cmk_file_ops.streams(path));
	kept_under_the_root(path);
	unlink(path);
	rmdir("pg_twophase");
	CHECK_INT(cmk_keyring_file_key(CMK_KEY_STATEMENTS, cmk_registry_root()->id, key[0]), 0);
	CHECK_INT(cmk_keyring_file_key(CMK_KEY_TWOPHASE, cmk_registry_root()->id, key[1]), 0);
	CHECK(memcmp(key[0], key[1], CMK_DEK_SIZE) != 0);
}

/* ---- notifications ---- */

static void
notifications(void)
{
	static const uint8_t zero[PAGE];
	File		t;
	int			fd;
	size_t		i;

	unlink("pg_notify/0000");
	CHECK_INT(file_open(&t, "pg_notify/0000", O_RDWR | O_CREAT), 0);
	for (i = 0; i < 4; i++)
		make_bytes(data + i * PAGE, PAGE);
	for (i = 4; i-- > 0;)
		if (i != 2)
			CHECK_INT(PWRITE(&t, data + i * PAGE, PAGE, (off_t) (i * PAGE)), PAGE);
	memset(data + 2 * PAGE, 0, PAGE);
	CHECK_INT(PREAD(&t, got, 5 * PAGE, 0), 4 * PAGE);
	CHECK_MEM(got, data, 4 * PAGE);
	fd = open("pg_notify/0000", O_RDONLY);
	CHECK_INT(pread(fd, disk, sizeof(disk), 0), 4 * PAGE);
	close(fd);
	CHECK(memmem(disk, 4 * PAGE, MARK, 16) == NULL);
	CHECK_MEM(disk + 2 * PAGE, zero, PAGE);
	errno = 0;
	CHECK(PWRITE(&t, data, PAGE, 100) == -1 && errno == EINVAL);
	CHECK(PWRITE(&t, data, 100, 0) == -1 && errno == EINVAL);
	CHECK(PREAD(&t, data, 100, 0) == -1 && errno == EINVAL);
	CHECK_INT(LSEEK(&t, 0, SEEK_END), 4 * PAGE);
	CHECK_INT(LSEEK(&t, PAGE, SEEK_SET), PAGE);
	CHECK_INT(READ(&t, got, PAGE), PAGE);
	CHECK_MEM(got, data + PAGE, PAGE);
	CHECK_INT(LSEEK(&t, 0, SEEK_CUR), 2 * PAGE);
	file_close(&t);

	/* the same place in another segment is sealed otherwise */
	CHECK_INT(file_open(&t, "pg_notify/0001", O_RDWR | O_CREAT), 0);
	CHECK_INT(PWRITE(&t, data, PAGE, 0), PAGE);
	file_close(&t);
	fd = open("pg_notify/0001", O_RDONLY);
	CHECK_INT(pread(fd, got, PAGE, 0), PAGE);
	close(fd);
	CHECK(memcmp(got, disk, PAGE) != 0);
}

/* ---- keys that die; last ---- */

static void
nothing_survives_a_new_start(void)
{
	CmkError	err;
	File		t[4];
	File		n;
	size_t		i;

	for (i = 0; i < 4; i++)
	{
		CHECK_INT(file_open(&t[i], names[i], O_RDWR | O_CREAT | O_TRUNC), 0);
		CHECK_INT(PWRITE(&t[i], MARK, 16, 0), 16);
	}
	CHECK_INT(file_open(&n, "pg_notify/0000", O_RDWR | O_CREAT), 0);
	CHECK_INT(PWRITE(&n, data, PAGE, 0), PAGE);

	/* wiped: nothing can be read or written, though the cipher had its key */
	cmk_registry_wipe();
	for (i = 0; i < 4; i++)
	{
		errno = 0;
		CHECK(PREAD(&t[i], got, 16, 0) == -1 && errno == ENOKEY);
		errno = 0;
		CHECK(PWRITE(&t[i], MARK, 16, 0) == -1 && errno == ENOKEY);
		file_close(&t[i]);
	}
	errno = 0;
	CHECK(PREAD(&n, got, PAGE, 0) == -1 && errno == ENOKEY);

	cmk_keycache_wipe();
	CHECK_INT(cmk_registry_renew(&err), 0);
	for (i = 0; i < 4; i++)
	{
		CHECK_INT(file_open(&t[0], names[i], O_RDWR), 0);
		errno = 0;
		CHECK(PREAD(&t[0], got, 16, 0) == -1 && errno == ENOKEY);
		file_close(&t[0]);
	}
	CHECK_INT(PREAD(&n, got, PAGE, 0), PAGE);
	CHECK(memcmp(got, data, PAGE) != 0);
	file_close(&n);
}

static void
make_directories(void)
{
	static const char *const dirs[] = {
		"base/pgsql_tmp", "pg_tblspc/16400/" VERSION_DIR "/pgsql_tmp",
		"pg_tblspc/16400/" VERSION_DIR "/pgsql_tmp/pgsql_tmp1.1.sharedfileset",
		"pg_replslot", "pg_replslot/s", "pg_stat_tmp", "pg_stat", "pg_notify"
	};
	size_t		i;

	for (i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		if (mkdir(dirs[i], 0700) < 0)
			env_die(dirs[i], strerror(errno));
}

int
main(void)
{
	const char *given = getenv("TEMPFILE_SEED");

	env_start();
	make_directories();
	cmk_tempfile_init(&hooks);
	cmk_real.pwrite = limited_pwrite;
	cmk_real.pread = limited_pread;
	seed = given != NULL ? strtoull(given, NULL, 0) :
		(uint64_t) time(NULL) << 20 ^ (uint64_t) getpid();
	seed |= 1;
	printf("# TEMPFILE_SEED=%llu\n", (unsigned long long) seed);

	RUN(as_a_plain_file);
	RUN(as_a_plain_file_piece_by_piece);
	RUN(every_length_to_every_other);
	RUN(bad_arguments);
	RUN(appending_only);
	RUN(a_file_made_anew_has_another_nonce);
	RUN(two_descriptors);
	RUN(what_is_not_a_file_is_left_alone);
	RUN(a_file_that_is_not_ours);
	RUN(damage_stays_in_its_unit);
	RUN(an_append_to_a_full_disk);
	RUN(no_room_for_a_head);
	RUN(a_failing_disk);
	RUN(texts_of_several_processes);
	RUN(texts_made_anew);
	RUN(statements_under_the_root);
	RUN(prepared_transactions_under_the_root);
	RUN(notifications);
	RUN(nothing_survives_a_new_start);
	return unit_done();
}
