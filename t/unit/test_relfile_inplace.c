/*
 * test_relfile_inplace.c
 *	  A file that is being sealed in place: what an ordinary write makes of a page,
 *	  and what the sealing job does.
 *
 * The rule is that no ordinary write turns a plain page into a sealed one or the
 * reverse, whatever the page's LSN, and that a page which was not there is sealed
 * with the mark of one that the job has not met.
 */
#include "relfile_env.h"

#include "../../src/server/relfile_key.h"

static uint8_t pages[4 * PAGE];
static uint8_t back[4 * PAGE];
static uint8_t disk[4 * PAGE];

/* A file with two plain pages and an empty one, whose key has just come. */
static void
born_late(EnvFile *file, CmkRelId *id)
{
	uint8_t		image[CMK_RECORD_SIZE];
	static const uint8_t zeros[PAGE];
	CmkError	err;
	bool		is_new;

	env_reset();
	*id = env_open_plain(file);
	make_pages(pages, 4, 0, 1);
	CHECK_INT(env_put(file, pages, 2 * PAGE, 0), 2 * PAGE);
	CHECK_INT(env_put(file, zeros, PAGE, 2 * PAGE), PAGE);
	CHECK_INT(cmk_keyring_birth(id, 0, 100, image, &is_new, &err), 0);
}

static void
a_plain_page_stays_plain(void)
{
	EnvFile		file;
	CmkRelId	id;

	born_late(&file, &id);
	make_pages(pages, 4, 0, 2);
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	CHECK_INT(env_put(&file, pages + PAGE, PAGE, PAGE), PAGE);
	env_disk(&file, disk, 2 * PAGE, 0);
	CHECK_MEM(disk, pages, 2 * PAGE);
	CHECK_INT(env_get(&file, back, 2 * PAGE, 0), 2 * PAGE);
	CHECK_MEM(back, pages, 2 * PAGE);
	CHECK_INT(env_hook.logged, 0);
	env_close(&file);
}

static void
a_new_page_is_sealed_and_marked(void)
{
	EnvFile		file;
	CmkRelId	id;

	born_late(&file, &id);
	CHECK_INT(env_put(&file, pages, 4 * PAGE, 0), 4 * PAGE);
	env_disk(&file, disk, 4 * PAGE, 0);
	CHECK_MEM(disk, pages, 2 * PAGE);
	CHECK_SEALED(disk + 2 * PAGE, pages + 2 * PAGE, 2, 2, CMK_PAGE_UNMET | 1);

	/* and again: the mark stays */
	CHECK_INT(env_put(&file, pages + 2 * PAGE, 2 * PAGE, 2 * PAGE), 2 * PAGE);
	env_disk(&file, disk, 4 * PAGE, 0);
	CHECK_SEALED(disk + 2 * PAGE, pages + 2 * PAGE, 2, 2, CMK_PAGE_UNMET | 1);
	CHECK_INT(env_get(&file, back, 4 * PAGE, 0), 4 * PAGE);
	CHECK_MEM(back, pages, 4 * PAGE);
	env_close(&file);
}

static void
the_job_seals(void)
{
	EnvFile		file;
	CmkRelId	id;

	born_late(&file, &id);
	CHECK_INT(env_put(&file, pages + 3 * PAGE, PAGE, 3 * PAGE), PAGE);
	cmk_filekey_sealing = true;
	CHECK_INT(env_put(&file, pages + PAGE, PAGE, PAGE), PAGE);
	CHECK_INT(env_put(&file, pages + 3 * PAGE, PAGE, 3 * PAGE), PAGE);
	cmk_filekey_sealing = false;
	env_disk(&file, disk, 4 * PAGE, 0);
	CHECK_MEM(disk, pages, PAGE);
	CHECK_SEALED(disk + PAGE, pages + PAGE, 1, 1, 1);
	CHECK_SEALED(disk + 3 * PAGE, pages + 3 * PAGE, 1, 3, 1);

	/* what it sealed stays sealed, by write() too */
	CHECK_INT(env_put(&file, pages + PAGE, PAGE, PAGE), PAGE);
	CHECK_INT(lseek(file.fd, 0, SEEK_SET), 0);
	CHECK_INT(cmk_relfile_ops.write(&file.f, file.fd, pages, 2 * PAGE), 2 * PAGE);
	env_disk(&file, disk, 4 * PAGE, 0);
	CHECK_MEM(disk, pages, PAGE);
	CHECK_SEALED(disk + PAGE, pages + PAGE, 1, 1, 1);
	env_close(&file);
}

static void
whole_at_last(void)
{
	EnvFile		file;
	CmkRelId	id;
	uint8_t		image[CMK_RECORD_SIZE];
	CmkError	err;

	born_late(&file, &id);
	CHECK_INT(env_put(&file, pages + 2 * PAGE, PAGE, 2 * PAGE), PAGE);
	CHECK_INT(cmk_keyring_whole(&id, image, &err), 0);
	CHECK_INT(cmk_keyring_replay(image, &err), 0);

	/* marked pages open; a plain one is an error; and all writes are sealed */
	CHECK_INT(env_get(&file, back, PAGE, 2 * PAGE), PAGE);
	CHECK_MEM(back, pages + 2 * PAGE, PAGE);
	CHECK_FAILS(env_get(&file, back, PAGE, 0), EIO);
	CHECK_INT(env_put(&file, pages, 3 * PAGE, 0), 3 * PAGE);
	env_disk(&file, disk, 3 * PAGE, 0);
	CHECK_SEALED(disk, pages, 3, 0, 1);
	env_close(&file);
}

/*
 * What a torn write left is read as an empty page by who replays its image later, and
 * as what it is by all others.  Whole files do not have such pages.
 */
static void
a_torn_page(void)
{
	EnvFile		file;
	CmkRelId	id;
	uint8_t		torn[PAGE];
	uint8_t		image[CMK_RECORD_SIZE];
	uint16_t	head[4];
	uint16_t	sum;
	CmkError	err;
	int			asked;

	born_late(&file, &id);
	cmk_filekey_sealing = true;
	CHECK_INT(env_put(&file, pages, PAGE, 0), PAGE);
	cmk_filekey_sealing = false;
	env_disk(&file, torn, PAGE, 0);
	memcpy(torn + PAGE / 2, pages + PAGE / 2, PAGE / 2);
	env_set_disk(&file, torn, PAGE, 0);

	CHECK_INT(env_get(&file, back, PAGE, 0), PAGE);
	CHECK_INT(cmk_page_kind(back) == CMK_PAGE_SEALED, env_config.checksums);
	CHECK_INT(env_hook.logged, 0);
	if (env_config.checksums)
	{
		env_hook.after_crash = true;
		CHECK_INT(env_get(&file, back, PAGE, 0), PAGE);
		memcpy(head, back + 12, sizeof(head));
		CHECK_INT(head[0], 24);
		CHECK_INT(head[1], PAGE);
		CHECK_INT(head[2], PAGE);
		CHECK_INT(head[3], PAGE | 4);
		memcpy(&sum, back + 8, sizeof(sum));
		CHECK_INT(sum, cmk_page_checksum(back, 0));
		memset(disk, 0, PAGE);
		CHECK_MEM(back + 20, disk, PAGE - 20);
		CHECK_MEM(back, disk, 8);
		CHECK_INT(env_hook.logged, 1);

		/* read() copies, as it is */
		CHECK_INT(lseek(file.fd, 0, SEEK_SET), 0);
		CHECK_INT(cmk_relfile_ops.read(&file.f, file.fd, back, PAGE), PAGE);
		CHECK_MEM(back, torn, PAGE);

		/* a whole file has no such page */
		asked = env_hook.image_comes;
		CHECK_INT(cmk_keyring_whole(&id, image, &err), 0);
		CHECK_INT(cmk_keyring_replay(image, &err), 0);
		CHECK_INT(env_get(&file, back, PAGE, 0), PAGE);
		CHECK_MEM(back, torn, PAGE);
		CHECK_INT(env_hook.image_comes, asked);
	}
	env_close(&file);
}

/* Who cannot see what is on disk must not guess. */
static void
a_look_that_fails(void)
{
	EnvFile		file;
	CmkRelId	id;

	born_late(&file, &id);
	env_real.fail_pread = EIO;
	CHECK_FAILS(env_put(&file, pages + PAGE, PAGE, PAGE), EIO);
	env_real.fail_pread = 0;
	env_disk(&file, disk, 2 * PAGE, 0);
	CHECK_MEM(disk, pages, 2 * PAGE);
	env_close(&file);
}

static void
no_key_to_be_whole(void)
{
	CmkRelId	id = {1663, 1, 4294967295u};
	uint8_t		image[CMK_RECORD_SIZE];
	CmkError	err;

	CHECK_INT(cmk_keyring_whole(&id, image, &err), -1);
	CHECK_INT(err.code, CMK_ERR_NOT_FOUND);
}

static void
cases(void)
{
	RUN(a_plain_page_stays_plain);
	RUN(a_new_page_is_sealed_and_marked);
	RUN(the_job_seals);
	RUN(whole_at_last);
	RUN(a_torn_page);
	RUN(a_look_that_fails);
	RUN(no_key_to_be_whole);
}

int
main(void)
{
	env_start();
	RUN_BOTH_WAYS(cases);
	return unit_done();
}
