/*
 * test_relfile_keys.c
 *	  Keys: which one relfile.c takes when DEKs come, change and go between two
 *	  uses of a descriptor, and what becomes of pages that none opens.
 *
 * Two rules are tried from all sides.  A write to a relation that has a DEK is
 * never plain.  And a page that cannot be opened is either an error or comes as
 * it is on disk, still marked.
 */
#include <sys/wait.h>

#include "relfile_env.h"

static uint8_t pages[20 * PAGE];
static uint8_t back[20 * PAGE];
static uint8_t disk[20 * PAGE];

/* The page at block 0 of the file, as it is on disk, comes back as it is. */
#define CHECK_HANDED_ON(file) \
	do { \
		env_disk(&(file), disk, PAGE, 0); \
		CHECK_INT(env_get(&(file), back, PAGE, 0), PAGE); \
		CHECK_MEM(back, disk, PAGE); \
		CHECK_INT(cmk_page_kind(back), CMK_PAGE_SEALED); \
	} while (0)

/* The last line of the log names the page, and says this. */
#define CHECK_LOGGED(id, block, generation, what) \
	do { \
		char		path_[128]; \
		char		where_[256]; \
		cmk_relation_path(&(id), CMK_FORK_MAIN, path_, sizeof(path_)); \
		snprintf(where_, sizeof(where_), \
				 "block %u of file \"%s\", generation %u: ", \
				 (unsigned) (block), path_, (unsigned) (generation)); \
		CHECK_HAS(env_hook.line, where_); \
		CHECK_HAS(env_hook.line, what); \
	} while (0)

/* ---- DEKs come and go under an open descriptor ---- */

/* A table that is sealed in place: the descriptor was there before its DEK. */
static void
born_after_the_open(void)
{
	EnvFile		file;
	CmkRelId	id;

	env_reset();
	id = env_open_plain(&file);
	make_pages(pages, 3, 0, 1);
	CHECK_INT(env_put(&file, pages, 3 * PAGE, 0), 3 * PAGE);
	env_disk(&file, disk, 3 * PAGE, 0);
	CHECK_MEM(disk, pages, 3 * PAGE);
	CHECK_INT(env_hook.plain_write, 1);

	env_birth(&id, 0);
	CHECK_INT(env_put(&file, pages + PAGE, PAGE, PAGE), PAGE);
	CHECK_INT(env_hook.plain_write, 1);
	env_disk(&file, disk, 3 * PAGE, 0);
	CHECK_SEALED(disk + PAGE, pages + PAGE, 1, 1, 1);

	/* plain and sealed pages stand side by side */
	CHECK_INT(env_get(&file, back, 3 * PAGE, 0), 3 * PAGE);
	CHECK_MEM(back, pages, 3 * PAGE);
	CHECK_INT(env_hook.logged, 0);
	env_close(&file);
}

/* The net: the hook gives a DEK, and this very write is sealed. */
static void
born_by_the_write(void)
{
	EnvFile		file;
	EnvFile		second;
	CmkRelId	id;

	env_reset();
	env_hook.birth = true;
	id = env_open_plain(&file);
	env_open_fork(&second, &id, CMK_FORK_MAIN);
	make_pages(pages, 2, 0, 2);
	CHECK_INT(env_put(&file, pages, 2 * PAGE, 0), 2 * PAGE);
	CHECK_INT(env_hook.plain_write, 1);
	CHECK_INT(env_hook.id.rel, id.rel);
	env_disk(&file, disk, 2 * PAGE, 0);
	CHECK_SEALED(disk, pages, 2, 0, 1);

	/* by write() and by another descriptor too; nobody asks again */
	CHECK_INT(cmk_relfile_ops.write(&second.f, second.fd, pages, PAGE), PAGE);
	env_disk(&file, disk, PAGE, 0);
	CHECK_SEALED(disk, pages, 1, 0, 1);
	CHECK_INT(env_hook.plain_write, 1);
	env_close(&second);
	env_close(&file);
}

static void
the_hook_refuses_the_write(void)
{
	EnvFile		file;
	struct iovec iov = {pages, PAGE};

	env_reset();
	env_open_plain(&file);
	make_page(pages, 0, 3);
	env_hook.fail = EPERM;
	CHECK_FAILS(env_put(&file, pages, PAGE, 0), EPERM);
	CHECK_FAILS(cmk_relfile_ops.write(&file.f, file.fd, pages, PAGE), EPERM);
	CHECK_FAILS(cmk_relfile_ops.pwritev(&file.f, file.fd, &iov, 1, 0), EPERM);
	CHECK_INT(env_hook.plain_write, 3);
	CHECK_INT(env_size(&file), 0);
	env_close(&file);
}

/* Erased and born again: the same name, another DEK. */
static void
another_dek_under_the_same_name(void)
{
	EnvFile		file;
	CmkRelId	id;

	env_reset();
	id = env_open_sealed(&file);
	make_page(pages, 0, 4);
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	CHECK_INT(env_get(&file, back, PAGE, 0), PAGE);
	CHECK_MEM(back, pages, PAGE);
	env_disk(&file, disk, PAGE, 0);

	env_erase(&id);
	env_birth(&id, CMK_DEK_WHOLE);
	CHECK_HANDED_ON(file);
	CHECK_LOGGED(id, 0, 1, "sealed under another key");

	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	env_disk(&file, back, PAGE, 0);
	CHECK_SEALED(back, pages, 1, 0, 1);
	CHECK(memcmp(back + CMK_PAGE_HEAD, disk + CMK_PAGE_HEAD, 64) != 0);
	CHECK_INT(env_get(&file, back, PAGE, 0), PAGE);
	CHECK_MEM(back, pages, PAGE);
	CHECK_INT(env_hook.plain_write, 0);
	env_close(&file);
}

/* Replay: the same slot, another DEK; only the content of a page tells. */
static void
replaced_in_place(void)
{
	EnvFile		file;
	CmkRelId	id;

	env_reset();
	id = env_open_sealed(&file);
	make_page(pages, 0, 5);
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);

	env_replace(&id, CMK_DEK_WHOLE, 1);
	CHECK_HANDED_ON(file);
	CHECK_LOGGED(id, 0, 1, "sealed under another key");
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	env_disk(&file, disk, PAGE, 0);
	CHECK_SEALED(disk, pages, 1, 0, 1);
	CHECK_INT(env_get(&file, back, PAGE, 0), PAGE);
	CHECK_MEM(back, pages, PAGE);
	env_close(&file);
}

/* A tombstone still seals: its file is being removed, or comes back. */
static void
a_dead_relation_is_not_plain(void)
{
	EnvFile		file;
	CmkRelId	id;
	CmkError	err;

	env_reset();
	id = env_open_sealed(&file);
	make_page(pages, 0, 6);
	CHECK_INT(cmk_keyring_death(&id, 1, &err), 0);
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	CHECK_INT(env_hook.plain_write, 0);
	env_disk(&file, disk, PAGE, 0);
	CHECK_SEALED(disk, pages, 1, 0, 1);
	CHECK_INT(cmk_keyring_revive(&id, &err), 0);
	CHECK_INT(env_get(&file, back, PAGE, 0), PAGE);
	CHECK_MEM(back, pages, PAGE);
	env_close(&file);
}

/* The number of a closed descriptor is the next file's. */
static void
a_descriptor_is_used_again(void)
{
	EnvFile		file;
	int			old_fd;

	env_reset();
	env_open_sealed(&file);
	make_page(pages, 0, 7);
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	env_disk(&file, disk, PAGE, 0);
	old_fd = file.fd;
	env_close(&file);

	env_open_sealed(&file);
	CHECK_INT(file.fd, old_fd);
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	env_disk(&file, back, PAGE, 0);
	CHECK_SEALED(back, pages, 1, 0, 1);
	CHECK(memcmp(back + CMK_PAGE_HEAD, disk + CMK_PAGE_HEAD, 64) != 0);
	env_close(&file);

	env_open_plain(&file);
	CHECK_INT(file.fd, old_fd);
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	CHECK_INT(env_hook.plain_write, 1);
	env_disk(&file, disk, PAGE, 0);
	CHECK_MEM(disk, pages, PAGE);
	env_close(&file);
}

/* More relations than the key cache has room for, in turn. */
static void
more_keys_than_the_cache_holds(void)
{
	enum
	{
		N = CMK_KEYCACHE_SIZE + 40
	};
	static EnvFile file[N];
	int			round;
	int			i;

	env_reset();
	for (i = 0; i < N; i++)
		env_open_sealed(&file[i]);
	for (round = 0; round < 2; round++)
		for (i = 0; i < N; i++)
		{
			make_page(pages, 0, 100u + (uint32_t) i);
			if (round == 0)
			{
				CHECK_INT(env_put(&file[i], pages, PAGE, 0), PAGE);
				continue;
			}
			CHECK_INT(env_get(&file[i], back, PAGE, 0), PAGE);
			CHECK_MEM(back, pages, PAGE);
			env_close(&file[i]);
		}
	CHECK_INT(env_hook.logged, 0);
}

/* ---- pages that should not be there ---- */

static void
a_plain_page_in_a_wholly_sealed_file(void)
{
	EnvFile		file;
	CmkRelId	id;

	env_reset();
	id = env_open_sealed(&file);
	make_pages(pages, 3, 0, 8);
	CHECK_INT(env_put(&file, pages, 3 * PAGE, 0), 3 * PAGE);
	env_set_disk(&file, pages + 2 * PAGE, PAGE, 2 * PAGE);

	CHECK_FAILS(env_get(&file, back, PAGE, 2 * PAGE), EIO);
	CHECK_INT(env_hook.logged, 1);
	CHECK_LOGGED(id, 2, 0, "the page is plain, but the file is wholly sealed");
	CHECK_FAILS(env_get(&file, back, 3 * PAGE, 0), EIO);
	CHECK_INT(lseek(file.fd, 2 * PAGE, SEEK_SET), 2 * PAGE);
	CHECK_FAILS(cmk_relfile_ops.read(&file.f, file.fd, back, PAGE), EIO);

	/* pg_rewind brings the key record before replay has sealed the page */
	env_hook.from_backup = true;
	CHECK_INT(env_get(&file, back, PAGE, 2 * PAGE), PAGE);
	CHECK_MEM(back, pages + 2 * PAGE, PAGE);
	env_hook.from_backup = false;
	CHECK_INT(env_hook.plain_yet, 4);

	/* the pages before it, and zeros in its place, are fine */
	CHECK_INT(env_get(&file, back, 2 * PAGE, 0), 2 * PAGE);
	CHECK_MEM(back, pages, 2 * PAGE);
	memset(disk, 0, PAGE);
	env_set_disk(&file, disk, PAGE, 2 * PAGE);
	CHECK_INT(env_get(&file, back, PAGE, 2 * PAGE), PAGE);
	CHECK_MEM(back, disk, PAGE);
	CHECK_INT(env_hook.logged, 3);
	env_close(&file);
}

/* The mark is known from the registry, not from when the file was opened. */
static void
a_file_becomes_wholly_sealed(void)
{
	EnvFile		file;
	CmkRelId	id;

	env_reset();
	id = env_open_plain(&file);
	env_replace(&id, 0, 1);
	make_page(pages, 0, 9);
	env_set_disk(&file, pages, PAGE, 0);
	CHECK_INT(env_get(&file, back, PAGE, 0), PAGE);
	env_replace(&id, CMK_DEK_WHOLE, 1);
	CHECK_FAILS(env_get(&file, back, PAGE, 0), EIO);
	env_replace(&id, 0, 1);
	CHECK_INT(env_get(&file, back, PAGE, 0), PAGE);
	CHECK_MEM(back, pages, PAGE);
	env_close(&file);
}

/* Two sealed pages whose DEK then goes. */
static CmkRelId
open_orphan(EnvFile *file)
{
	CmkRelId	id = env_open_sealed(file);

	make_pages(pages, 2, 0, 10);
	if (env_put(file, pages, 2 * PAGE, 0) != 2 * PAGE)
		env_die("write", strerror(errno));
	env_erase(&id);
	return id;
}

static void
a_sealed_page_without_a_key(void)
{
	EnvFile		file;
	CmkRelId	id;

	env_reset();
	id = open_orphan(&file);
	CHECK_FAILS(env_get(&file, back, PAGE, PAGE), ENOKEY);
	CHECK_INT(env_hook.logged, 1);
	CHECK_LOGGED(id, 1, 1, "no key is known for this file");
	CHECK(strstr(env_hook.line, "damaged") == NULL);

	/* if its checksum is bad, the server says so in its own words */
	env_disk(&file, disk, PAGE, 0);
	disk[4000] ^= 1;
	env_set_disk(&file, disk, PAGE, 0);
	if (env_config.checksums)
	{
		CHECK_HANDED_ON(file);
		CHECK_INT(env_hook.logged, 1);
	}
	else
		CHECK_FAILS(env_get(&file, back, PAGE, 0), ENOKEY);
	env_close(&file);
}

/* What may have been its key is named. */
static void
a_sealed_page_whose_record_is_damaged(void)
{
	CmkDamaged	damaged = {.record = 900, .id_known = false};
	EnvFile		file;
	CmkRelId	id;

	env_reset();
	id = open_orphan(&file);
	cmk_registry_note_damaged(&damaged);
	errno = 0;
	CHECK_INT(env_get(&file, back, PAGE, 0), -1);
	CHECK_INT(errno, ENOKEY);
	cmk_registry_forget_damaged(900);
	CHECK_LOGGED(id, 0, 1, "no key is known for this file");
	CHECK_HAS(env_hook.line, "record 900 of file \"pg_cmk/keys\" is damaged");
	env_close(&file);
}

/* A page of another relation, put here by hand or by a broken disk. */
static void
a_page_under_another_key(void)
{
	EnvFile		file;
	EnvFile		other;
	CmkRelId	id;

	env_reset();
	env_open_sealed(&other);
	make_pages(pages, 12, 0, 11);
	CHECK_INT(env_put(&other, pages, 12 * PAGE, 0), 12 * PAGE);
	env_disk(&other, disk, 12 * PAGE, 0);
	env_close(&other);

	id = env_open_sealed(&file);
	env_set_disk(&file, disk, 12 * PAGE, 0);
	CHECK_INT(env_get(&file, back, PAGE, 11 * PAGE), PAGE);
	CHECK_MEM(back, disk + 11 * PAGE, PAGE);
	CHECK_INT(env_hook.logged, 1);
	CHECK_LOGGED(id, 11, 1, "it is damaged, or sealed under another key");
	CHECK_HANDED_ON(file);

	/* one among good ones does not stop them */
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	CHECK_INT(env_get(&file, back, 2 * PAGE, 0), 2 * PAGE);
	CHECK_MEM(back, pages, PAGE);
	CHECK_MEM(back + PAGE, disk + PAGE, PAGE);
	env_close(&file);
}

static void
a_page_of_another_generation(void)
{
	EnvFile		file;
	CmkRelId	id;

	env_reset();
	id = env_open_sealed(&file);
	make_page(pages, 0, 12);
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	env_disk(&file, disk, PAGE, 0);
	disk[11] ^= 0x20;			/* pd_flags bit 13: generation 1 becomes 5 */
	if (env_config.checksums)
		put16(disk, 8, cmk_page_checksum(disk, 0));
	env_set_disk(&file, disk, PAGE, 0);
	CHECK_HANDED_ON(file);
	CHECK_INT(env_hook.logged, 1);
	CHECK_LOGGED(id, 0, 5, "the key of this generation is not known");
	env_close(&file);
}

/* With checksums the server reports it; without, most damage goes unnoticed. */
static void
a_damaged_page(void)
{
	EnvFile		file;

	env_reset();
	env_open_sealed(&file);
	make_page(pages, 0, 13);
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	env_disk(&file, disk, PAGE, 0);
	disk[5000] ^= 0x40;
	env_set_disk(&file, disk, PAGE, 0);
	if (env_config.checksums)
	{
		CHECK_HANDED_ON(file);
		CHECK_INT(env_hook.logged, 0);
	}
	else
	{
		CHECK_INT(env_get(&file, back, PAGE, 0), PAGE);
		CHECK_INT(cmk_page_kind(back), CMK_PAGE_PLAIN);
		CHECK_MEM(back, pages, 4992);
		CHECK(memcmp(back + 4992, pages + 4992, 16) != 0);
		CHECK_MEM(back + 5008, pages + 5008, PAGE - 5008);
	}

	/* in the first 16 sealed bytes it does not */
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	env_disk(&file, disk, PAGE, 0);
	disk[20] ^= 1;
	if (env_config.checksums)
		put16(disk, 8, cmk_page_checksum(disk, 0));
	env_set_disk(&file, disk, PAGE, 0);
	CHECK_HANDED_ON(file);
	CHECK_INT(env_hook.logged, 1);
	env_close(&file);
}

/*
 * copydir() reads pages and writes them to another file.  One that could not be
 * opened would be sealed twice, and look healthy for ever.
 */
static void
a_marked_page_is_not_sealed_again(void)
{
	EnvFile		from;
	EnvFile		to;
	CmkRelId	id;

	env_reset();
	env_open_sealed(&from);
	make_pages(pages, 18, 0, 14);
	CHECK_INT(env_put(&from, pages, 18 * PAGE, 0), 18 * PAGE);
	env_replace(&(CmkRelId) {from.f.spc, from.f.db, from.f.rel}, 0, 1);
	CHECK_INT(env_put(&from, pages, 17 * PAGE, 0), 17 * PAGE);
	CHECK_INT(env_get(&from, back, 18 * PAGE, 0), 18 * PAGE);
	CHECK_MEM(back, pages, 17 * PAGE);
	CHECK_INT(cmk_page_kind(back + 17 * PAGE), CMK_PAGE_SEALED);

	id = env_open_sealed(&to);
	CHECK_FAILS(env_put(&to, back + 17 * PAGE, PAGE, 17 * PAGE), EIO);
	CHECK_INT(env_size(&to), 0);
	CHECK_LOGGED(id, 17, 1, "it could not be opened, and is not copied");

	/* what was written before it stays reported */
	CHECK_INT(cmk_relfile_ops.write(&to.f, to.fd, back, 18 * PAGE), 16 * PAGE);
	CHECK_INT(lseek(to.fd, 0, SEEK_CUR), 16 * PAGE);
	CHECK_FAILS(cmk_relfile_ops.write(&to.f, to.fd, back + 16 * PAGE,
									  2 * PAGE), EIO);
	CHECK_INT(lseek(to.fd, 0, SEEK_CUR), 16 * PAGE);
	CHECK_INT(env_size(&to), 16 * PAGE);
	env_close(&to);
	env_close(&from);
}

/* ---- the end ---- */

/*
 * No relation's write may succeed: neither that of a file which had a DEK, nor
 * that of one which had none, nor a temporary one's, whose key would be derived
 * from zeros.  Whether the descriptor or the cache knew the key is the same.
 */
static void
nothing_is_written_when_the_registry_is_wiped(void)
{
	EnvFile		used;
	EnvFile		sealed;
	EnvFile		plain;
	EnvFile		temp;
	EnvFile		late;
	EnvFile		temp_late;
	EnvFile    *all[6];
	struct iovec iov = {pages, PAGE};
	CmkRelId	id = env_new_id();
	size_t		i;

	env_reset();
	make_page(pages, 0, 15);
	env_open_sealed(&used);
	env_open_sealed(&sealed);
	env_open_plain(&plain);
	CHECK_INT(env_put(&used, pages, PAGE, 0), PAGE);
	CHECK_INT(env_put(&plain, pages, PAGE, 0), PAGE);
	CHECK_INT(env_open(&temp, "base/5/t8_77", O_RDWR | O_CREAT), 0);
	CHECK_INT(env_put(&temp, pages, PAGE, 0), PAGE);
	CHECK_INT(env_open(&temp_late, "base/5/t9_77", O_RDWR | O_CREAT), 0);
	env_real.pwrites = 0;
	env_hook.plain_write = 0;

	cmk_registry_wipe();
	CHECK_INT(cmk_registry_epoch(), 0);
	env_open_fork(&late, &id, CMK_FORK_MAIN);

	all[0] = &used;
	all[1] = &sealed;
	all[2] = &plain;
	all[3] = &late;
	all[4] = &temp;
	all[5] = &temp_late;
	for (i = 0; i < 6; i++)
	{
		CHECK_FAILS(env_put(all[i], pages, PAGE, 0), ENOKEY);
		CHECK_FAILS(env_put(all[i], pages, 100, 0), ENOKEY);
		CHECK_FAILS(cmk_relfile_ops.write(&all[i]->f, all[i]->fd, pages, PAGE),
					ENOKEY);
		CHECK_FAILS(cmk_relfile_ops.pwritev(&all[i]->f, all[i]->fd, &iov, 1, 0),
					ENOKEY);
		/* twice, for the first may have changed what the descriptor knows */
		CHECK_FAILS(env_put(all[i], pages, PAGE, 0), ENOKEY);
	}
	CHECK_INT(env_real.pwrites, 0);
	CHECK_INT(env_hook.plain_write, 0);

	/* sealed pages are not read either */
	CHECK_FAILS(env_get(&used, back, PAGE, 0), ENOKEY);
	CHECK_FAILS(env_get(&temp, back, PAGE, 0), ENOKEY);
	for (i = 0; i < 6; i++)
		env_close(all[i]);
}

/* In a child, as an atexit handler does it in every one: nothing happens. */
static void
a_child_wipes_nothing(void)
{
	EnvFile		file;
	uint64_t	epoch;
	pid_t		pid;
	int			status;

	env_reset();
	env_open_sealed(&file);
	epoch = cmk_registry_epoch();
	pid = fork();
	if (pid == 0)
	{
		cmk_registry_wipe();
		_exit(0);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	CHECK_INT(status, 0);
	CHECK_INT(cmk_registry_epoch(), epoch);
	make_page(pages, 0, 16);
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	env_disk(&file, disk, PAGE, 0);
	CHECK_SEALED(disk, pages, 1, 0, 1);
	env_close(&file);
}

static void
cases(void)
{
	RUN(born_after_the_open);
	RUN(born_by_the_write);
	RUN(the_hook_refuses_the_write);
	RUN(another_dek_under_the_same_name);
	RUN(replaced_in_place);
	RUN(a_dead_relation_is_not_plain);
	RUN(a_descriptor_is_used_again);
	RUN(more_keys_than_the_cache_holds);
	RUN(a_plain_page_in_a_wholly_sealed_file);
	RUN(a_file_becomes_wholly_sealed);
	RUN(a_sealed_page_without_a_key);
	RUN(a_sealed_page_whose_record_is_damaged);
	RUN(a_page_under_another_key);
	RUN(a_page_of_another_generation);
	RUN(a_damaged_page);
	RUN(a_marked_page_is_not_sealed_again);
	RUN(a_child_wipes_nothing);
}

int
main(void)
{
	env_start();
	RUN_BOTH_WAYS(cases);
	/* the last: there is no registry behind it */
	RUN(nothing_is_written_when_the_registry_is_wiped);
	return unit_done();
}
