/*
 * test_relfile_rotate.c
 *	  A file whose data key is being rotated: pages of two generations side by side,
 *	  and what an ordinary write makes of them.
 *
 * The rule is that no ordinary write takes a page from one key to another, whatever
 * its LSN, and that a page which was not there comes under the newest with the
 * mark of one that the job has not met.
 */
#include "relfile_env.h"

#include "../../src/server/relfile_key.h"

static uint8_t pages[4 * PAGE];
static uint8_t back[4 * PAGE];
static uint8_t disk[4 * PAGE];

static CmkRotation
rotate(const CmkRelId *id)
{
	uint8_t		image[CMK_RECORD_SIZE];
	CmkError	err;

	return cmk_keyring_rotate(id, 100, 1, image, &err);
}

/* Three pages of the first generation, one of them then gone; and a second one. */
static void
begin(EnvFile *file, CmkRelId *id)
{
	static const uint8_t zeros[PAGE];

	env_reset();
	*id = env_open_sealed(file);
	make_pages(pages, 4, 0, 1);
	CHECK_INT(env_put(file, pages, 3 * PAGE, 0), 3 * PAGE);
	env_set_disk(file, zeros, PAGE, 2 * PAGE);
	CHECK_INT(rotate(id), CMK_ROTATION_BEGINS);
}

static void
a_page_keeps_its_key(void)
{
	EnvFile		file;
	CmkRelId	id;

	begin(&file, &id);
	CHECK_INT(env_get(&file, back, 2 * PAGE, 0), 2 * PAGE);
	CHECK_MEM(back, pages, 2 * PAGE);
	make_pages(pages, 4, 0, 2);
	CHECK_INT(env_put(&file, pages, 2 * PAGE, 0), 2 * PAGE);
	env_disk(&file, disk, 2 * PAGE, 0);
	CHECK_SEALED(disk, pages, 2, 0, 1);
	CHECK_INT(env_get(&file, back, 2 * PAGE, 0), 2 * PAGE);
	CHECK_MEM(back, pages, 2 * PAGE);
	CHECK_INT(env_hook.logged, 0);
	env_close(&file);
}

static void
a_new_page_is_of_the_newest_and_marked(void)
{
	EnvFile		file;
	CmkRelId	id;

	begin(&file, &id);
	CHECK_INT(env_put(&file, pages, 4 * PAGE, 0), 4 * PAGE);
	env_disk(&file, disk, 4 * PAGE, 0);
	CHECK_SEALED(disk, pages, 2, 0, 1);
	CHECK_SEALED(disk + 2 * PAGE, pages + 2 * PAGE, 2, 2, 2 | CMK_PAGE_UNMET);

	/* and again, by write() too: the mark stays */
	CHECK_INT(env_put(&file, pages + 2 * PAGE, PAGE, 2 * PAGE), PAGE);
	CHECK_INT(lseek(file.fd, 0, SEEK_SET), 0);
	CHECK_INT(cmk_relfile_ops.write(&file.f, file.fd, pages, 4 * PAGE), 4 * PAGE);
	env_disk(&file, disk, 4 * PAGE, 0);
	CHECK_SEALED(disk, pages, 2, 0, 1);
	CHECK_SEALED(disk + 2 * PAGE, pages + 2 * PAGE, 2, 2, 2 | CMK_PAGE_UNMET);
	CHECK_INT(env_get(&file, back, 4 * PAGE, 0), 4 * PAGE);
	CHECK_MEM(back, pages, 4 * PAGE);
	env_close(&file);
}

static void
the_job_takes_pages_over(void)
{
	EnvFile		file;
	CmkRelId	id;

	begin(&file, &id);
	CHECK_INT(env_put(&file, pages + 2 * PAGE, PAGE, 2 * PAGE), PAGE);
	cmk_filekey_sealing = true;
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	CHECK_INT(env_put(&file, pages + 2 * PAGE, PAGE, 2 * PAGE), PAGE);
	cmk_filekey_sealing = false;
	CHECK_INT(env_put(&file, pages, 3 * PAGE, 0), 3 * PAGE);
	env_disk(&file, disk, 3 * PAGE, 0);
	CHECK_SEALED(disk, pages, 1, 0, 2);
	CHECK_SEALED(disk + PAGE, pages + PAGE, 1, 1, 1);
	CHECK_SEALED(disk + 2 * PAGE, pages + 2 * PAGE, 1, 2, 2);
	env_close(&file);
}

static void
the_end(void)
{
	EnvFile		file;
	CmkRelId	id;
	CmkError	err;

	begin(&file, &id);
	cmk_filekey_sealing = true;
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	cmk_filekey_sealing = false;
	CHECK_INT(cmk_keyring_end_older(&id, 2, 10, &err), 0);

	/* a tombstone still opens, but nothing is asked before a write any more */
	CHECK_INT(env_get(&file, back, 2 * PAGE, 0), 2 * PAGE);
	CHECK_MEM(back, pages, 2 * PAGE);
	CHECK_INT(env_put(&file, pages + 2 * PAGE, PAGE, 2 * PAGE), PAGE);
	env_disk(&file, disk, 3 * PAGE, 0);
	CHECK_SEALED(disk + 2 * PAGE, pages + 2 * PAGE, 1, 2, 2);

	/* erased: what is left under it is handed on as it is */
	CHECK(cmk_keyring_erase(11, 12, &err) > 0);
	CHECK_INT(env_get(&file, back, PAGE, 0), PAGE);
	CHECK_MEM(back, pages, PAGE);
	CHECK_INT(env_hook.logged, 0);
	CHECK_INT(env_get(&file, back, PAGE, PAGE), PAGE);
	CHECK_MEM(back, disk + PAGE, PAGE);
	CHECK_HAS(env_hook.line, "generation 1: the key of this generation is not known");
	env_close(&file);
}

/* What nobody can read any more, or what should not be there, is written over. */
static void
what_is_not_known_gives_way(void)
{
	EnvFile		file;
	CmkRelId	id;

	begin(&file, &id);
	env_disk(&file, disk, 2 * PAGE, 0);
	disk[11] ^= 0x20;			/* generation 5 */
	env_set_disk(&file, disk, PAGE, 0);
	env_set_disk(&file, pages + PAGE, PAGE, PAGE);
	CHECK_INT(env_put(&file, pages, 2 * PAGE, 0), 2 * PAGE);
	env_disk(&file, disk, 2 * PAGE, 0);
	CHECK_SEALED(disk, pages, 2, 0, 2 | CMK_PAGE_UNMET);
	env_close(&file);
}

static void
a_look_that_fails(void)
{
	EnvFile		file;
	CmkRelId	id;

	begin(&file, &id);
	env_disk(&file, disk, PAGE, 0);
	env_real.fail_pread = EIO;
	CHECK_FAILS(env_put(&file, pages + PAGE, PAGE, 0), EIO);
	env_real.fail_pread = 0;
	env_disk(&file, back, PAGE, 0);
	CHECK_MEM(back, disk, PAGE);
	env_close(&file);
}

/* As many as a page can tell apart, each ended before the next. */
static void
seventeen_generations(void)
{
	EnvFile		file;
	CmkRelId	id;
	CmkError	err;
	unsigned	g;

	begin(&file, &id);
	for (g = 2; g < 20; g++)
	{
		cmk_filekey_sealing = true;
		CHECK_INT(env_put(&file, pages, 3 * PAGE, 0), 3 * PAGE);
		cmk_filekey_sealing = false;
		env_disk(&file, disk, 3 * PAGE, 0);
		CHECK_SEALED(disk, pages, 3, 0, g);
		CHECK_INT(env_get(&file, back, 3 * PAGE, 0), 3 * PAGE);
		CHECK_MEM(back, pages, 3 * PAGE);
		CHECK_INT(cmk_keyring_end_older(&id, (uint16_t) g, 10, &err), 0);
		if (g % 16 == 0)
		{
			CHECK_INT(rotate(&id), CMK_ROTATION_MUST_WAIT);
			CHECK(cmk_keyring_erase(11, 12, &err) >= 15);
		}
		CHECK_INT(rotate(&id), CMK_ROTATION_BEGINS);
		CHECK_INT(rotate(&id), CMK_ROTATION_GOES_ON);
	}
	env_close(&file);
}

/*
 * A page torn between the two keys is read as an empty one by who replays its image
 * later; without data checksums nobody can tell.
 */
static void
a_torn_page(void)
{
	EnvFile		file;
	CmkRelId	id;
	uint8_t		torn[PAGE];
	CmkError	err;

	begin(&file, &id);
	env_disk(&file, disk, PAGE, 0);
	cmk_filekey_sealing = true;
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	cmk_filekey_sealing = false;
	env_disk(&file, torn, PAGE, 0);
	memcpy(torn + PAGE / 2, disk + PAGE / 2, PAGE / 2);
	env_set_disk(&file, torn, PAGE, 0);
	CHECK_INT(env_get(&file, back, PAGE, 0), PAGE);
	CHECK_INT(cmk_page_kind(back) == CMK_PAGE_SEALED, env_config.checksums);
	if (env_config.checksums)
	{
		env_hook.after_crash = true;
		CHECK_INT(env_get(&file, back, PAGE, 0), PAGE);
		memset(disk, 0, PAGE);
		CHECK_MEM(back + 20, disk, PAGE - 20);
		CHECK_INT(env_hook.logged, 1);

		/* the rotation has ended: no page is torn by it */
		CHECK_INT(cmk_keyring_end_older(&id, 2, 10, &err), 0);
		CHECK_INT(env_get(&file, back, PAGE, 0), PAGE);
		CHECK_MEM(back, torn, PAGE);
	}
	env_close(&file);
}

static void
cases(void)
{
	RUN(a_page_keeps_its_key);
	RUN(a_new_page_is_of_the_newest_and_marked);
	RUN(the_job_takes_pages_over);
	RUN(the_end);
	RUN(what_is_not_known_gives_way);
	RUN(a_look_that_fails);
	RUN(a_torn_page);
	RUN(seventeen_generations);
}

int
main(void)
{
	env_start();
	RUN_BOTH_WAYS(cases);
	return unit_done();
}
