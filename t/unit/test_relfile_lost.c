/*
 * test_relfile_lost.c
 *	  Relations whose key record is lost without a trace: nothing plain is written
 *	  over what was sealed, and files that were never sealed are none the wiser.
 */
#include "relfile_env.h"

static uint8_t pages[20 * PAGE];
static uint8_t back[20 * PAGE];
static uint8_t disk[20 * PAGE];
static const uint8_t zeros[20 * PAGE];

static void
open_segment(EnvFile *file, const CmkRelId *id, unsigned fork, const char *segment)
{
	char		path[140];

	cmk_relation_path(id, fork, path, sizeof(path) - 8);
	strcat(path, segment);
	if (env_open(file, path, O_RDWR | O_CREAT) < 0)
		env_die(path, strerror(errno));
}

/*
 * A relation with a DEK, of which these blocks are on disk, sealed, in a file that
 * is n blocks long; then its record goes, and the descriptor is a new one.
 */
static CmkRelId
open_lost(EnvFile *file, unsigned n, const unsigned *block, unsigned count)
{
	CmkRelId	id = env_open_sealed(file);
	unsigned	i;

	if (n > 0)
		env_set_disk(file, zeros, PAGE, (off_t) (n - 1) * PAGE);
	for (i = 0; i < count; i++)
	{
		make_page(pages, block[i], 70 + i);
		if (env_put(file, pages, PAGE, (off_t) block[i] * PAGE) != PAGE)
			env_die("write", strerror(errno));
	}
	env_close(file);
	env_erase(&id);
	env_open_fork(file, &id, CMK_FORK_MAIN);
	env_reset();
	return id;
}

static CmkRelId
open_lost_begins_sealed(EnvFile *file)
{
	static const unsigned first[] = {0, 1, 2};

	return open_lost(file, 3, first, 3);
}

/* As replay writes a full-page image: nothing has been read before. */
static void
no_plain_page_over_a_sealed_one(void)
{
	EnvFile		file;
	CmkRelId	id = open_lost_begins_sealed(&file);
	struct iovec iov = {pages, PAGE};
	char		path[128];
	char		want[400];

	env_disk(&file, disk, 3 * PAGE, 0);
	make_page(pages, 2, 1);
	CHECK_FAILS(env_put(&file, pages, PAGE, 2 * PAGE), ENOKEY);

	/* said once, with what to do */
	cmk_relation_path(&id, CMK_FORK_MAIN, path, sizeof(path));
	snprintf(want, sizeof(want), "could not write block 2 of file \"%s\": "
			 "block 2 of file \"%s\" is sealed, but no key is known for relation %u/%u/%u; "
			 "put file \"pg_cmk/keys\", or the record of this relation in it, back from a backup",
			 path, path, id.spc, id.db, id.rel);
	CHECK_STR(env_hook.line, want);
	CHECK_INT(env_hook.logged, 1);

	/* at any place, and by any call */
	CHECK_FAILS(env_put(&file, pages, PAGE, 0), ENOKEY);
	CHECK_FAILS(env_put(&file, pages, PAGE, 3 * PAGE), ENOKEY);
	CHECK_FAILS(env_put(&file, pages, 16, 5), ENOKEY);
	CHECK_FAILS(env_put(&file, zeros, PAGE, 3 * PAGE), ENOKEY);
	CHECK_FAILS(cmk_relfile_ops.pwritev(&file.f, file.fd, &iov, 1, PAGE), ENOKEY);
	CHECK_FAILS(cmk_relfile_ops.write(&file.f, file.fd, pages, PAGE), ENOKEY);
	CHECK_INT(env_hook.logged, 1);
	CHECK_INT(env_real.pwrites, 0);
	CHECK_INT(env_size(&file), 3 * PAGE);
	env_disk(&file, back, 3 * PAGE, 0);
	CHECK_MEM(back, disk, 3 * PAGE);

	/* nor are its pages read */
	CHECK_FAILS(env_get(&file, back, PAGE, 0), ENOKEY);
	CHECK_HAS(env_hook.line, "could not open sealed page");
	env_close(&file);
}

static void
by_write_first(void)
{
	EnvFile		file;

	open_lost_begins_sealed(&file);
	make_page(pages, 3, 1);
	CHECK_INT(lseek(file.fd, 0, SEEK_END), 3 * PAGE);
	CHECK_FAILS(cmk_relfile_ops.write(&file.f, file.fd, pages, PAGE), ENOKEY);
	CHECK_INT(env_hook.logged, 1);
	CHECK_HAS(env_hook.line, "could not write block 3 of file");
	CHECK_HAS(env_hook.line, ": block 0 of file");
	CHECK_INT(env_size(&file), 3 * PAGE);
	env_close(&file);
}

/* The right file is put back, or replay brings the record: all is as before. */
static void
the_key_comes_back(void)
{
	EnvFile		file;
	CmkRelId	id;
	uint8_t		image[CMK_RECORD_SIZE];
	bool		is_new;
	CmkError	err;

	env_reset();
	id = env_new_id();
	CHECK_INT(cmk_keyring_birth(&id, CMK_DEK_WHOLE, 0, image, &is_new, &err), 0);
	env_open_fork(&file, &id, CMK_FORK_MAIN);
	make_pages(pages, 3, 0, 2);
	CHECK_INT(env_put(&file, pages, 3 * PAGE, 0), 3 * PAGE);
	env_erase(&id);
	CHECK_FAILS(env_put(&file, pages, PAGE, 0), ENOKEY);

	CHECK_INT(cmk_keyring_replay(image, &err), 0);
	CHECK_INT(env_get(&file, back, 3 * PAGE, 0), 3 * PAGE);
	CHECK_MEM(back, pages, 3 * PAGE);
	CHECK_INT(env_put(&file, pages + PAGE, PAGE, PAGE), PAGE);
	env_disk(&file, disk, 3 * PAGE, 0);
	CHECK_SEALED(disk, pages, 3, 0, 1);
	CHECK_INT(env_hook.logged, 1);

	/* lost again: looked at again */
	env_erase(&id);
	CHECK_FAILS(env_put(&file, pages, PAGE, 0), ENOKEY);
	CHECK_INT(env_hook.logged, 2);
	env_close(&file);
}

/* ---- where the sealed page is ---- */

/* The server extends with zeros, and pages reach the disk in any order. */
static void
behind_pages_of_zeros(void)
{
	static const unsigned where[] = {1, 5, 19, 600, 1023};
	unsigned	i;

	make_page(pages, 0, 3);
	for (i = 0; i < sizeof(where) / sizeof(where[0]); i++)
	{
		EnvFile		file;
		char		want[40];

		open_lost(&file, 1200, &where[i], 1);
		CHECK_FAILS(env_put(&file, pages, PAGE, 0), ENOKEY);
		snprintf(want, sizeof(want), ": block %u of file", where[i]);
		CHECK_HAS(env_hook.line, want);
		env_disk(&file, disk, PAGE, 0);
		CHECK_MEM(disk, zeros, PAGE);
		env_close(&file);
	}
}

/* However far behind: the very block that is to be written is looked at. */
static void
the_block_itself(void)
{
	static const unsigned far[] = {1100};
	EnvFile		file;

	open_lost(&file, 1200, far, 1);
	make_page(pages, 1100, 4);
	CHECK_FAILS(env_put(&file, pages, PAGE, 1100 * PAGE), ENOKEY);
	env_close(&file);

	/* a part of it, too */
	open_lost(&file, 1200, far, 1);
	CHECK_FAILS(env_put(&file, pages, 100, 1100 * PAGE + 50), ENOKEY);
	env_close(&file);
}

/* A later segment is looked at by itself; one without pages is as the first. */
static void
in_a_later_segment(void)
{
	EnvFile		first;
	EnvFile		later;
	CmkRelId	id;

	env_reset();
	id = env_open_sealed(&first);
	open_segment(&later, &id, CMK_FORK_MAIN, ".2");
	make_page(pages, 2 * SEGMENT_BLOCKS + 1, 5);
	CHECK_INT(env_put(&later, pages, PAGE, PAGE), PAGE);
	env_close(&later);
	env_erase(&id);

	/* the first segment is empty, and may be any relation's */
	CHECK_INT(env_put(&first, pages, PAGE, 0), PAGE);
	open_segment(&later, &id, CMK_FORK_MAIN, ".2");
	CHECK_FAILS(env_put(&later, pages, PAGE, 2 * PAGE), ENOKEY);
	CHECK_HAS(env_hook.line, "could not write block 130 of file");
	CHECK_HAS(env_hook.line, ": block 129 of file");
	env_close(&later);
	env_close(&first);

	id = open_lost_begins_sealed(&first);
	open_segment(&later, &id, CMK_FORK_MAIN, ".1");
	CHECK_FAILS(env_put(&later, pages, PAGE, 0), ENOKEY);
	CHECK_HAS(env_hook.line, "could not write block 64 of file");
	CHECK_HAS(env_hook.line, ": block 0 of file");
	CHECK_INT(env_size(&later), 0);
	env_close(&later);
	env_close(&first);
}

static void
in_another_fork(void)
{
	static const unsigned fork[] = {CMK_FORK_FSM, CMK_FORK_VM, CMK_FORK_INIT};
	size_t		i;

	for (i = 0; i < sizeof(fork) / sizeof(fork[0]); i++)
	{
		EnvFile		main_file;
		EnvFile		file;
		CmkRelId	id;

		/* its own pages are sealed, and there is no main fork */
		env_reset();
		id = env_new_id();
		env_birth(&id, CMK_DEK_WHOLE);
		env_open_fork(&file, &id, fork[i]);
		make_page(pages, 0, 6);
		CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
		env_erase(&id);
		CHECK_FAILS(env_put(&file, pages, PAGE, 0), ENOKEY);
		env_close(&file);

		/* it is new, and the main fork is sealed */
		id = open_lost_begins_sealed(&main_file);
		env_open_fork(&file, &id, fork[i]);
		CHECK_FAILS(env_put(&file, pages, PAGE, 0), ENOKEY);
		CHECK_INT(env_hook.logged, 1);
		CHECK_INT(env_size(&file), 0);
		env_close(&file);
		env_close(&main_file);
	}
}

/* ---- what goes on ---- */

/* One look a descriptor and epoch, however many pages are written. */
static void
a_plain_file_is_looked_at_once(void)
{
	EnvFile		file;
	CmkRelId	other = env_new_id();
	int			i;

	env_reset();
	env_open_plain(&file);
	make_pages(pages, 20, 0, 7);
	for (i = 0; i < 20; i++)
	{
		errno = 0;
		CHECK_INT(env_put(&file, pages + i * PAGE, PAGE, i * PAGE), PAGE);
		CHECK_INT(errno, 0);
	}
	CHECK_INT(env_real.preads, 2);	/* the block, and the first: no file yet */

	env_birth(&other, 0);
	for (i = 0; i < 20; i++)
		CHECK_INT(env_put(&file, pages + i * PAGE, PAGE, i * PAGE), PAGE);
	CHECK_INT(env_real.preads, 4);
	CHECK_INT(env_real.opens, 0);
	CHECK_INT(env_hook.logged, 0);
	env_disk(&file, disk, 20 * PAGE, 0);
	CHECK_MEM(disk, pages, 20 * PAGE);
	env_close(&file);
}

static void
a_sealed_file_is_not_looked_at(void)
{
	EnvFile		file;
	int			i;

	env_reset();
	env_open_sealed(&file);
	make_page(pages, 0, 8);
	for (i = 0; i < 5; i++)
		CHECK_INT(env_put(&file, pages, PAGE, i * PAGE), PAGE);
	CHECK_INT(env_real.preads, 0);
	CHECK_INT(env_real.opens, 0);
	env_close(&file);
}

/* Zeros only, as after an extension, and a page that was torn off. */
static void
files_that_say_nothing(void)
{
	EnvFile		file;
	EnvFile		fsm;
	CmkRelId	id;

	env_reset();
	make_page(pages, 0, 9);
	env_open_plain(&file);
	env_set_disk(&file, zeros, 3 * PAGE, 0);
	CHECK_INT(env_put(&file, pages, PAGE, PAGE), PAGE);
	env_close(&file);

	env_open_plain(&file);
	env_set_disk(&file, pages, 10, 0);
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	env_close(&file);

	/* a fork whose main fork is not there, empty, or plain */
	id = env_new_id();
	env_open_fork(&fsm, &id, CMK_FORK_FSM);
	errno = 0;
	CHECK_INT(env_put(&fsm, pages, PAGE, 0), PAGE);
	CHECK_INT(errno, 0);
	env_close(&fsm);
	id = env_open_plain(&file);
	env_open_fork(&fsm, &id, CMK_FORK_FSM);
	CHECK_INT(env_put(&fsm, pages, PAGE, 0), PAGE);
	env_close(&fsm);
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	env_open_fork(&fsm, &id, CMK_FORK_VM);
	CHECK_INT(env_put(&fsm, pages, PAGE, 0), PAGE);
	env_close(&fsm);
	env_close(&file);
	CHECK_INT(env_hook.logged, 0);
}

/* The sealed one is gone, and a plain one has its number. */
static void
a_number_that_is_used_again(void)
{
	EnvFile		file;
	CmkRelId	id = open_lost_begins_sealed(&file);
	char		path[128];

	CHECK_FAILS(env_put(&file, pages, PAGE, 0), ENOKEY);
	env_close(&file);
	cmk_relation_path(&id, CMK_FORK_MAIN, path, sizeof(path));
	CHECK_INT(env_unlink(path), 0);
	open_segment(&file, &id, CMK_FORK_MAIN, "");
	make_page(pages, 0, 10);
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	env_disk(&file, disk, PAGE, 0);
	CHECK_MEM(disk, pages, PAGE);
	env_close(&file);
}

/* The net gives a DEK to what is about to be written: nothing is looked at. */
static void
born_by_the_write(void)
{
	EnvFile		file;

	env_reset();
	env_hook.birth = true;
	env_open_plain(&file);
	make_page(pages, 0, 11);
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	CHECK_INT(env_real.preads, 0);
	env_disk(&file, disk, PAGE, 0);
	CHECK_SEALED(disk, pages, 1, 0, 1);
	env_close(&file);
}

/* What cannot be looked at is not written. */
static void
the_look_fails(void)
{
	EnvFile		file;
	EnvFile		main_file;
	CmkRelId	id;
	char		path[128];

	env_reset();
	make_page(pages, 0, 12);
	id = env_open_plain(&main_file);
	env_real.fail_pread = EIO;
	CHECK_FAILS(env_put(&main_file, pages, PAGE, 0), EIO);
	CHECK_INT(env_size(&main_file), 0);
	env_real.fail_pread = 0;
	CHECK_INT(env_put(&main_file, pages, PAGE, 0), PAGE);
	env_real.fail_pread = EIO;
	CHECK_INT(env_put(&main_file, pages, PAGE, 0), PAGE);
	env_close(&main_file);

	/* a main fork that cannot be opened */
	env_real.fail_pread = 0;
	id = env_new_id();
	cmk_relation_path(&id, CMK_FORK_MAIN, path, sizeof(path));
	CHECK_INT(symlink(path + 7, path), 0);
	env_open_fork(&file, &id, CMK_FORK_FSM);
	CHECK_FAILS(env_put(&file, pages, PAGE, 0), ELOOP);
	CHECK_INT(env_size(&file), 0);
	CHECK_INT(unlink(path), 0);
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	CHECK_INT(env_hook.logged, 0);
	env_close(&file);
}

static void
cases(void)
{
	RUN(no_plain_page_over_a_sealed_one);
	RUN(by_write_first);
	RUN(the_key_comes_back);
	RUN(behind_pages_of_zeros);
	RUN(the_block_itself);
	RUN(in_a_later_segment);
	RUN(in_another_fork);
	RUN(a_plain_file_is_looked_at_once);
	RUN(a_sealed_file_is_not_looked_at);
	RUN(files_that_say_nothing);
	RUN(a_number_that_is_used_again);
	RUN(born_by_the_write);
	RUN(the_look_fails);
}

int
main(void)
{
	env_start();
	RUN_BOTH_WAYS(cases);
	return unit_done();
}
