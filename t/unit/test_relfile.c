/*
 * test_relfile.c
 *	  Bytes: what relfile.c writes to a file and makes of what it reads, by every
 *	  call, for every kind of file, and when the real call does only a part.
 *
 * test_relfile_keys.c has which key, test_relfile_hooks.c the hooks.
 */
#include "relfile_env.h"

static uint8_t pages[MAX_PAGES * PAGE] __attribute__((aligned(4096)));
static uint8_t back[MAX_PAGES * PAGE] __attribute__((aligned(4096)));
static uint8_t disk[MAX_PAGES * PAGE] __attribute__((aligned(4096)));

/* ---- pwrite, pread, pwritev ---- */

static void
a_page_goes_out_sealed_and_comes_back(void)
{
	EnvFile		file;
	unsigned	fork;
	CmkRelId	id = env_new_id();

	env_reset();
	env_birth(&id, CMK_DEK_WHOLE);
	for (fork = CMK_FORK_MAIN; fork <= CMK_FORK_INIT; fork++)
	{
		env_open_fork(&file, &id, fork);
		make_pages(pages, 3, 7, fork);
		CHECK_INT(env_put(&file, pages, 3 * PAGE, 7 * PAGE), 3 * PAGE);
		env_disk(&file, disk, 3 * PAGE, 7 * PAGE);
		CHECK_SEALED(disk, pages, 3, 7, 1);
		CHECK_INT(env_get(&file, back, PAGE, 8 * PAGE), PAGE);
		CHECK_MEM(back, pages + PAGE, PAGE);
		CHECK_INT(env_get(&file, back, 3 * PAGE, 7 * PAGE), 3 * PAGE);
		CHECK_MEM(back, pages, 3 * PAGE);
		env_close(&file);
	}
	CHECK_INT(env_hook.logged, 0);
	CHECK_INT(env_hook.plain_write, 0);
}

/* The caller's pages stay as they are: others read them meanwhile. */
static void
the_callers_page_is_not_touched(void)
{
	EnvFile		file;

	env_reset();
	env_open_sealed(&file);
	make_pages(pages, 2, 0, 1);
	memcpy(back, pages, 2 * PAGE);
	CHECK_INT(env_put(&file, pages, 2 * PAGE, 0), 2 * PAGE);
	CHECK_MEM(pages, back, 2 * PAGE);
	env_close(&file);
}

static void
a_zero_page_stays_zero(void)
{
	static const uint8_t zero[PAGE];
	EnvFile		file;

	env_reset();
	env_open_sealed(&file);
	make_pages(pages, 3, 0, 2);
	memset(pages + PAGE, 0, PAGE);
	CHECK_INT(env_put(&file, pages, 3 * PAGE, 0), 3 * PAGE);
	env_disk(&file, disk, 3 * PAGE, 0);
	CHECK_MEM(disk + PAGE, zero, PAGE);
	CHECK_INT(env_get(&file, back, 3 * PAGE, 0), 3 * PAGE);
	CHECK_MEM(back, pages, 3 * PAGE);
	env_close(&file);
}

/* More pages than fit into one write: each under its own block number. */
static void
many_pages_in_one_call(void)
{
	EnvFile		file;
	size_t		n = 37;

	env_reset();
	env_open_sealed(&file);
	make_pages(pages, n, 5, 3);
	CHECK_INT(env_put(&file, pages, n * PAGE, 5 * PAGE), n * PAGE);
	CHECK_INT(env_real.pwrites, 3);
	CHECK_INT(env_real.longest, 16 * PAGE);
	env_disk(&file, disk, n * PAGE, 5 * PAGE);
	CHECK_SEALED(disk, pages, n, 5, 1);
	CHECK_INT(env_size(&file), (5 + n) * PAGE);
	CHECK_INT(env_get(&file, back, n * PAGE, 5 * PAGE), n * PAGE);
	CHECK_MEM(back, pages, n * PAGE);
	env_close(&file);
}

static void
pwritev_writes_one_after_the_other(void)
{
	EnvFile		file;
	struct iovec iov[4];

	env_reset();
	env_open_sealed(&file);
	make_pages(pages, 22, 3, 4);
	iov[0].iov_base = pages;
	iov[0].iov_len = PAGE;
	iov[1].iov_base = pages + PAGE;
	iov[1].iov_len = 0;
	iov[2].iov_base = pages + PAGE;
	iov[2].iov_len = 20 * PAGE;
	iov[3].iov_base = pages + 21 * PAGE;
	iov[3].iov_len = PAGE;
	CHECK_INT(cmk_relfile_ops.pwritev(&file.f, file.fd, iov, 4, 3 * PAGE),
			  22 * PAGE);
	env_disk(&file, disk, 22 * PAGE, 3 * PAGE);
	CHECK_SEALED(disk, pages, 22, 3, 1);
	CHECK_INT(env_get(&file, back, 22 * PAGE, 3 * PAGE), 22 * PAGE);
	CHECK_MEM(back, pages, 22 * PAGE);

	/* the disk is full in the middle of the third, then at the first */
	env_real.room = 10 * PAGE + 100;
	CHECK_INT(cmk_relfile_ops.pwritev(&file.f, file.fd, iov, 4, 3 * PAGE),
			  10 * PAGE);
	CHECK_FAILS(cmk_relfile_ops.pwritev(&file.f, file.fd, iov, 4, 3 * PAGE),
				ENOSPC);

	/* a piece that is no page, first and later */
	env_real.room = -1;
	iov[1].iov_len = 100;
	CHECK_INT(cmk_relfile_ops.pwritev(&file.f, file.fd, iov, 4, 0), PAGE);
	CHECK_FAILS(cmk_relfile_ops.pwritev(&file.f, file.fd, iov + 1, 1, 0),
				EINVAL);
	env_close(&file);
}

/* ---- when the real call does only a part ---- */

static void
a_short_write_is_completed(void)
{
	EnvFile		file;

	env_reset();
	env_open_sealed(&file);
	make_pages(pages, 20, 0, 5);
	env_real.at_most = 5000;
	CHECK_INT(env_put(&file, pages, 20 * PAGE, 0), 20 * PAGE);
	CHECK(env_real.pwrites >= 20 * PAGE / 5000);
	env_disk(&file, disk, 20 * PAGE, 0);
	CHECK_SEALED(disk, pages, 20, 0, 1);
	CHECK_INT(env_get(&file, back, 20 * PAGE, 0), 20 * PAGE);
	CHECK_MEM(back, pages, 20 * PAGE);
	env_close(&file);
}

static void
an_interrupted_write_goes_on(void)
{
	EnvFile		file;

	env_reset();
	env_open_sealed(&file);
	make_pages(pages, 2, 0, 6);
	env_real.fail = EINTR;
	CHECK_INT(env_put(&file, pages, 2 * PAGE, 0), 2 * PAGE);
	CHECK_INT(env_real.pwrites, 2);
	CHECK_INT(env_get(&file, back, 2 * PAGE, 0), 2 * PAGE);
	CHECK_MEM(back, pages, 2 * PAGE);
	env_close(&file);
}

/* Only whole pages count, wherever in the two buffers the room ends. */
static void
a_full_disk(void)
{
	static const struct
	{
		long		room;
		long		result;
	}			t[] = {
		{0, -1}, {1, -1}, {PAGE - 1, -1}, {PAGE, PAGE}, {PAGE + 1, PAGE},
		{15 * PAGE + 8000, 15 * PAGE}, {16 * PAGE, 16 * PAGE},
		{16 * PAGE + 1, 16 * PAGE}, {17 * PAGE - 1, 16 * PAGE},
		{19 * PAGE + 4096, 19 * PAGE}, {20 * PAGE, 20 * PAGE}
	};
	EnvFile		file;
	size_t		i;
	int			zero;

	env_reset();
	make_pages(pages, 20, 0, 7);
	for (zero = 0; zero < 2; zero++)
		for (i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		{
			long		n = t[i].result;

			env_reset();
			env_open_sealed(&file);
			env_real.room = t[i].room;
			env_real.returns_0 = zero == 1;
			errno = 0;
			CHECK_INT(env_put(&file, pages, 20 * PAGE, 0), n);
			if (n < 0)
				CHECK_INT(errno, ENOSPC);
			else
			{
				CHECK_INT(env_get(&file, back, (size_t) n, 0), n);
				CHECK_MEM(back, pages, (size_t) n);
			}
			env_close(&file);
		}
}

static void
another_error_is_handed_on(void)
{
	EnvFile		file;

	env_reset();
	env_open_sealed(&file);
	make_pages(pages, 1, 0, 8);
	env_real.fail = EIO;
	CHECK_FAILS(env_put(&file, pages, PAGE, 0), EIO);
	env_real.fail = EDQUOT;
	CHECK_FAILS(env_put(&file, pages, PAGE, 0), EDQUOT);
	CHECK_INT(env_size(&file), 0);
	env_close(&file);

	/* and of the real pread: this descriptor is closed */
	CHECK_FAILS(env_get(&file, back, PAGE, 0), EBADF);
	CHECK_FAILS(cmk_relfile_ops.read(&file.f, file.fd, back, PAGE), EBADF);
}

/* ---- what is no page ---- */

static void
only_whole_pages_are_written_to_a_sealed_file(void)
{
	static const struct
	{
		size_t		n;
		off_t		off;
	}			bad[] = {
		{100, 0}, {PAGE - 1, 0}, {PAGE + 1, 0}, {PAGE, 1}, {PAGE, 4096},
		{PAGE, PAGE - 16}, {1, PAGE}, {3 * PAGE + 8, 0}
	};
	EnvFile		file;
	size_t		i;

	env_reset();
	env_open_sealed(&file);
	make_pages(pages, 4, 0, 9);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_FAILS(env_put(&file, pages, bad[i].n, bad[i].off), EINVAL);
	CHECK_INT(env_real.pwrites, 0);
	CHECK_INT(env_put(&file, pages, 0, 0), 0);
	CHECK_INT(env_size(&file), 0);
	env_close(&file);
}

static void
a_plain_file_is_written_as_it_comes(void)
{
	EnvFile		file;
	struct iovec iov[2] = {{pages, PAGE}, {pages + PAGE, PAGE}};

	env_reset();
	env_open_plain(&file);
	make_pages(pages, 3, 0, 10);
	CHECK_INT(env_put(&file, pages, 100, 0), 100);
	CHECK_INT(env_put(&file, pages + 100, 2 * PAGE, 100), 2 * PAGE);
	CHECK_INT(env_put(&file, pages + 100 + 2 * PAGE, 7, 100 + 2 * PAGE), 7);
	CHECK_INT(env_hook.plain_write, 3);
	env_disk(&file, disk, 2 * PAGE + 107, 0);
	CHECK_MEM(disk, pages, 2 * PAGE + 107);
	CHECK_INT(env_get(&file, back, 2 * PAGE, 50), 2 * PAGE);
	CHECK_MEM(back, pages + 50, 2 * PAGE);

	/* its short writes are the caller's: nothing is written behind a gap */
	env_real.at_most = 5000;
	CHECK_INT(env_put(&file, pages, PAGE, 0), 5000);
	env_real.pwrites = 0;
	CHECK_INT(cmk_relfile_ops.pwritev(&file.f, file.fd, iov, 2, 0), 5000);
	CHECK_INT(env_real.pwrites, 1);
	env_close(&file);
}

static void
reading_where_no_page_begins(void)
{
	EnvFile		file;

	env_reset();
	env_open_sealed(&file);
	make_pages(pages, 3, 0, 11);
	CHECK_INT(env_put(&file, pages, 3 * PAGE, 0), 3 * PAGE);
	env_disk(&file, disk, 3 * PAGE, 0);

	/* whole pages at a wrong place cannot be opened */
	CHECK_FAILS(env_get(&file, back, PAGE, 1), EINVAL);
	CHECK_FAILS(env_get(&file, back, 2 * PAGE, 4096), EINVAL);

	/* a part of a page stays sealed */
	CHECK_INT(env_get(&file, back, 64, PAGE + 100), 64);
	CHECK_MEM(back, disk + PAGE + 100, 64);
	CHECK_INT(env_get(&file, back, PAGE + 100, PAGE), PAGE + 100);
	CHECK_MEM(back, pages + PAGE, PAGE);
	CHECK_MEM(back + PAGE, disk + 2 * PAGE, 100);

	/* behind the end, and over it */
	CHECK_INT(env_get(&file, back, PAGE, 3 * PAGE), 0);
	CHECK_INT(env_get(&file, back, 4 * PAGE, PAGE), 2 * PAGE);
	CHECK_MEM(back, pages + PAGE, 2 * PAGE);
	env_close(&file);
}

/* ---- write and read, with a position ---- */

#define POSITION(file)	lseek((file).fd, 0, SEEK_CUR)

static ssize_t
put_here(EnvFile *file, const void *buf, size_t n)
{
	return cmk_relfile_ops.write(&file->f, file->fd, buf, n);
}

static ssize_t
get_here(EnvFile *file, void *buf, size_t n)
{
	return cmk_relfile_ops.read(&file->f, file->fd, buf, n);
}

static void
write_and_read_move_the_position(void)
{
	EnvFile		file;

	env_reset();
	env_open_sealed(&file);
	make_pages(pages, 26, 0, 12);
	CHECK_INT(put_here(&file, pages, PAGE), PAGE);
	CHECK_INT(POSITION(file), PAGE);
	CHECK_INT(put_here(&file, pages + PAGE, 25 * PAGE), 25 * PAGE);
	CHECK_INT(POSITION(file), 26 * PAGE);
	env_disk(&file, disk, 26 * PAGE, 0);
	CHECK_SEALED(disk, pages, 26, 0, 1);

	CHECK_INT(lseek(file.fd, 3 * PAGE, SEEK_SET), 3 * PAGE);
	CHECK_INT(get_here(&file, back, 2 * PAGE), 2 * PAGE);
	CHECK_MEM(back, pages + 3 * PAGE, 2 * PAGE);
	CHECK_INT(POSITION(file), 5 * PAGE);
	CHECK_INT(get_here(&file, back, 40 * PAGE), 21 * PAGE);
	CHECK_MEM(back, pages + 5 * PAGE, 21 * PAGE);
	CHECK_INT(get_here(&file, back, PAGE), 0);

	CHECK_INT(lseek(file.fd, 10, SEEK_SET), 10);
	CHECK_FAILS(get_here(&file, back, PAGE), EINVAL);
	env_close(&file);
}

/* copydir() copies what a crash left behind the last page too. */
static void
the_rest_behind_the_last_page_becomes_zero(void)
{
	static const uint8_t zero[PAGE];
	EnvFile		file;

	env_reset();
	env_open_sealed(&file);
	make_pages(pages, 3, 0, 13);
	CHECK_INT(put_here(&file, pages, 2 * PAGE + 700), 2 * PAGE + 700);
	CHECK_INT(POSITION(file), 2 * PAGE + 700);
	CHECK_INT(env_size(&file), 2 * PAGE + 700);
	env_disk(&file, disk, 2 * PAGE + 700, 0);
	CHECK_SEALED(disk, pages, 2, 0, 1);
	CHECK_MEM(disk + 2 * PAGE, zero, 700);

	/* on from there nothing can be sealed */
	CHECK_FAILS(put_here(&file, pages, PAGE), EINVAL);
	CHECK_FAILS(put_here(&file, pages, 1), EINVAL);
	CHECK_INT(POSITION(file), 2 * PAGE + 700);
	env_close(&file);

	/* nothing but a rest */
	env_open_sealed(&file);
	CHECK_INT(put_here(&file, pages, 300), 300);
	CHECK_INT(POSITION(file), 300);
	env_disk(&file, disk, 300, 0);
	CHECK_MEM(disk, zero, 300);
	env_close(&file);
}

static void
write_on_a_full_disk(void)
{
	EnvFile		file;

	env_reset();
	env_open_sealed(&file);
	make_pages(pages, 20, 0, 14);
	env_real.room = 17 * PAGE + 10;
	CHECK_INT(put_here(&file, pages, 20 * PAGE), 17 * PAGE);
	CHECK_INT(POSITION(file), 17 * PAGE);
	CHECK_FAILS(put_here(&file, pages + 17 * PAGE, 3 * PAGE), ENOSPC);
	CHECK_INT(POSITION(file), 17 * PAGE);
	CHECK_INT(env_get(&file, back, 17 * PAGE, 0), 17 * PAGE);
	CHECK_MEM(back, pages, 17 * PAGE);
	env_close(&file);

	/* room for the page but not for the rest, then not for a rest alone */
	env_reset();
	env_open_sealed(&file);
	env_real.room = PAGE;
	CHECK_INT(put_here(&file, pages, PAGE + 50), PAGE);
	CHECK_INT(POSITION(file), PAGE);
	CHECK_FAILS(put_here(&file, pages, 50), ENOSPC);
	CHECK_INT(POSITION(file), PAGE);
	env_close(&file);
}

static void
a_plain_file_with_a_position(void)
{
	EnvFile		file;

	env_reset();
	env_open_plain(&file);
	make_pages(pages, 2, 0, 15);
	CHECK_INT(put_here(&file, pages, 1000), 1000);
	CHECK_INT(put_here(&file, pages + 1000, 2 * PAGE - 1000), 2 * PAGE - 1000);
	CHECK_INT(env_hook.plain_write, 2);
	env_disk(&file, disk, 2 * PAGE, 0);
	CHECK_MEM(disk, pages, 2 * PAGE);
	CHECK_INT(lseek(file.fd, 24, SEEK_SET), 24);
	CHECK_INT(get_here(&file, back, PAGE), PAGE);
	CHECK_MEM(back, pages + 24, PAGE);
	env_close(&file);
}

/* ---- where a page belongs ---- */

/* A block's number counts over the segments, and is part of the tweak. */
static void
segments_count_on(void)
{
	EnvFile		file;
	EnvFile		whole;
	CmkRelId	id = env_new_id();
	char		path[140];
	uint32_t	block = 2 * SEGMENT_BLOCKS + 5;

	env_reset();
	env_birth(&id, CMK_DEK_WHOLE);
	cmk_relation_path(&id, CMK_FORK_MAIN, path, sizeof(path) - 3);
	strcat(path, ".2");
	CHECK_INT(env_open(&file, path, O_RDWR | O_CREAT), 0);
	make_pages(pages, 18, block, 16);
	CHECK_INT(env_put(&file, pages, 18 * PAGE, 5 * PAGE), 18 * PAGE);
	env_disk(&file, disk, 18 * PAGE, 5 * PAGE);
	CHECK_SEALED(disk, pages, 18, block, 1);
	CHECK_INT(env_get(&file, back, 18 * PAGE, 5 * PAGE), 18 * PAGE);
	CHECK_MEM(back, pages, 18 * PAGE);

	/* the same bytes are good at that block of one long file, … */
	env_open_fork(&whole, &id, CMK_FORK_MAIN);
	env_set_disk(&whole, disk, 18 * PAGE, (off_t) block * PAGE);
	CHECK_INT(env_get(&whole, back, 18 * PAGE, (off_t) block * PAGE),
			  18 * PAGE);
	CHECK_MEM(back, pages, 18 * PAGE);

	/* … and nowhere else */
	CHECK_INT(env_hook.logged, 0);
	env_set_disk(&whole, disk, PAGE, 5 * PAGE);
	CHECK_INT(env_get(&whole, back, PAGE, 5 * PAGE), PAGE);
	CHECK_MEM(back, disk, PAGE);
	env_close(&whole);
	env_close(&file);
}

/* Resetting an unlogged table copies its init fork over its main fork. */
static void
the_init_fork_is_read_as_main(void)
{
	static const unsigned other[] = {CMK_FORK_FSM, CMK_FORK_VM};
	EnvFile		init;
	EnvFile		file;
	CmkRelId	id = env_new_id();
	size_t		i;

	env_reset();
	env_birth(&id, CMK_DEK_WHOLE);
	env_open_fork(&init, &id, CMK_FORK_INIT);
	make_pages(pages, 2, 0, 17);
	CHECK_INT(env_put(&init, pages, 2 * PAGE, 0), 2 * PAGE);
	env_disk(&init, disk, 2 * PAGE, 0);
	env_close(&init);

	env_open_fork(&file, &id, CMK_FORK_MAIN);
	env_set_disk(&file, disk, 2 * PAGE, 0);
	CHECK_INT(env_get(&file, back, 2 * PAGE, 0), 2 * PAGE);
	CHECK_MEM(back, pages, 2 * PAGE);
	env_close(&file);
	CHECK_INT(env_hook.logged, 0);

	for (i = 0; i < 2; i++)
	{
		env_open_fork(&file, &id, other[i]);
		env_set_disk(&file, disk, PAGE, 0);
		CHECK_INT(env_get(&file, back, PAGE, 0), PAGE);
		CHECK_MEM(back, disk, PAGE);
		env_close(&file);
	}
	CHECK_INT(env_hook.logged, 2);
}

/* One relation, by either name of its file; in a tablespace too. */
static void
by_either_name(void)
{
	CmkRelId	id = env_new_id();
	EnvFile		file;
	char		path[128];
	char		full[PATH_MAX + 130];

	env_reset();
	id.spc = 16400;
	env_birth(&id, CMK_DEK_WHOLE);
	cmk_relation_path(&id, CMK_FORK_MAIN, path, sizeof(path));
	snprintf(full, sizeof(full), "%s/%s", env_dir, path);
	make_page(pages, 0, 18);
	CHECK_INT(env_open(&file, full, O_RDWR | O_CREAT), 0);
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	env_disk(&file, disk, PAGE, 0);
	CHECK_SEALED(disk, pages, 1, 0, 1);
	env_close(&file);
	CHECK_INT(env_open(&file, path, O_RDONLY), 0);
	CHECK_INT(env_get(&file, back, PAGE, 0), PAGE);
	CHECK_MEM(back, pages, PAGE);
	env_close(&file);

	/* as a base backup opens it: raw */
	snprintf(full, sizeof(full), "./%s", path);
	CHECK_INT(env_open(&file, full, O_RDONLY), 0);
	CHECK_INT(file.f.kind, 0);
	env_close(&file);
}

/* ---- temporary relations, the probe, the control file ---- */

static void
temporary_relations(void)
{
	EnvFile		mine;
	EnvFile		other;

	env_reset();
	CHECK_INT(env_open(&mine, "base/5/t3_900", O_RDWR | O_CREAT), 0);
	CHECK_INT(env_open(&other, "base/5/t4_900", O_RDWR | O_CREAT), 0);
	CHECK_INT(mine.f.kind, CMK_FILE_TEMP_RELATION);
	make_pages(pages, 18, 0, 19);
	CHECK_INT(env_put(&mine, pages, 18 * PAGE, 0), 18 * PAGE);
	CHECK_INT(env_put(&other, pages, 18 * PAGE, 0), 18 * PAGE);
	env_disk(&mine, disk, 18 * PAGE, 0);
	env_disk(&other, back, 18 * PAGE, 0);
	CHECK_SEALED(disk, pages, 18, 0, 0);
	CHECK_SEALED(back, pages, 18, 0, 0);
	CHECK(memcmp(disk + CMK_PAGE_HEAD, back + CMK_PAGE_HEAD, 64) != 0);

	CHECK_INT(env_get(&other, back, 18 * PAGE, 0), 18 * PAGE);
	CHECK_MEM(back, pages, 18 * PAGE);
	CHECK_INT(env_hook.logged, 0);

	/* another backend's page is not readable, nor is a part written */
	env_set_disk(&other, disk, PAGE, 0);
	CHECK_INT(env_get(&other, back, PAGE, 0), PAGE);
	CHECK_MEM(back, disk, PAGE);
	CHECK_INT(env_hook.logged, 1);
	CHECK_FAILS(env_put(&mine, pages, 100, 0), EINVAL);
	CHECK_FAILS(env_get(&mine, back, PAGE, 100), EINVAL);

	/* no hook is asked about them */
	CHECK_INT(env_hook.created + env_hook.plain_write + env_hook.died, 0);
	env_close(&mine);
	env_close(&other);
}

/* Unless the settings say that they are not sealed. */
static void
temporary_relations_in_clear(void)
{
	EnvFile		file;

	env_reset();
	env_config.seal_temp = false;
	CHECK_INT(env_open(&file, "base/5/t3_901", O_RDWR | O_CREAT), 0);
	make_page(pages, 0, 20);
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	CHECK_INT(env_put(&file, pages, 100, PAGE), 100);
	env_config.seal_temp = true;
	env_disk(&file, disk, PAGE, 0);
	CHECK_MEM(disk, pages, PAGE);
	CHECK_INT(env_hook.plain_write, 0);
	env_close(&file);
}

static void
the_probe_is_sealed(void)
{
	EnvFile		file;
	struct iovec iov = {pages, PAGE};

	env_reset();
	CHECK_INT(env_open(&file, CMK_PROBE_FILE, O_RDWR | O_CREAT | O_TRUNC), 0);
	CHECK_INT(file.f.kind, CMK_FILE_PROBE);
	make_page(pages, 0, 21);
	CHECK_INT(cmk_relfile_ops.pwritev(&file.f, file.fd, &iov, 1, 0), PAGE);
	env_disk(&file, disk, PAGE, 0);
	CHECK_SEALED(disk, pages, 1, 0, 0);
	CHECK_INT(env_get(&file, back, PAGE, 0), PAGE);
	CHECK_MEM(back, pages, PAGE);
	env_close(&file);
	CHECK_INT(env_unlink(CMK_PROBE_FILE), 0);
}

static void
the_control_file_is_plain(void)
{
	EnvFile		file;
	struct iovec iov = {pages, 296};

	env_reset();
	CHECK_INT(env_open(&file, "global/pg_control", O_RDWR | O_CREAT), 0);
	CHECK_INT(file.f.kind, CMK_FILE_CONTROL);
	make_pages(pages, 2, 0, 22);
	CHECK_INT(put_here(&file, pages, PAGE + 100), PAGE + 100);
	CHECK_INT(env_put(&file, pages, 296, 100), 296);
	CHECK_INT(cmk_relfile_ops.pwritev(&file.f, file.fd, &iov, 1, 1000), 296);
	env_disk(&file, disk, PAGE + 100, 0);
	CHECK_MEM(disk, pages, 100);
	CHECK_MEM(disk + 100, pages, 296);
	CHECK_MEM(disk + 1000, pages, 296);
	CHECK_INT(env_get(&file, back, PAGE, 1), PAGE);
	CHECK_MEM(back, disk + 1, PAGE);
	CHECK_INT(lseek(file.fd, 3, SEEK_SET), 3);
	CHECK_INT(get_here(&file, back, PAGE), PAGE);
	CHECK_MEM(back, disk + 3, PAGE);
	CHECK_INT(env_hook.plain_write, 0);
	env_close(&file);
	CHECK_INT(unlink("global/pg_control"), 0);
}

static void
cases(void)
{
	RUN(a_page_goes_out_sealed_and_comes_back);
	RUN(the_callers_page_is_not_touched);
	RUN(a_zero_page_stays_zero);
	RUN(many_pages_in_one_call);
	RUN(pwritev_writes_one_after_the_other);
	RUN(a_short_write_is_completed);
	RUN(an_interrupted_write_goes_on);
	RUN(a_full_disk);
	RUN(another_error_is_handed_on);
	RUN(only_whole_pages_are_written_to_a_sealed_file);
	RUN(a_plain_file_is_written_as_it_comes);
	RUN(reading_where_no_page_begins);
	RUN(write_and_read_move_the_position);
	RUN(the_rest_behind_the_last_page_becomes_zero);
	RUN(write_on_a_full_disk);
	RUN(a_plain_file_with_a_position);
	RUN(segments_count_on);
	RUN(the_init_fork_is_read_as_main);
	RUN(by_either_name);
	RUN(temporary_relations);
	RUN(temporary_relations_in_clear);
	RUN(the_probe_is_sealed);
	RUN(the_control_file_is_plain);
}

int
main(void)
{
	env_start();
	RUN_BOTH_WAYS(cases);
	return unit_done();
}
