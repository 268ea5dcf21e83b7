/*
 * test_relfile_hooks.c
 *	  When relfile.c asks the server, what it tells it, and what a refusal does.
 */
#include "relfile_env.h"

#define HOOKS_CALLED() \
	(env_hook.created + env_hook.revived + env_hook.plain_write + \
	 env_hook.died + env_hook.control_opening + env_hook.control_closing)

static bool
exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static void
name_of(const CmkRelId *id, unsigned fork, const char *segment, char *path,
		size_t len)
{
	cmk_relation_path(id, fork, path, len - 8);
	strcat(path, segment);
}

static void
touch(const char *path)
{
	int			fd = open(path, O_RDWR | O_CREAT, 0600);

	if (fd < 0 || close(fd) < 0)
		env_die(path, strerror(errno));
}

/* ---- created ---- */

static void
created_tells_the_relation(void)
{
	CmkRelId	id = env_new_id();
	EnvFile		file;
	char		path[140];

	env_reset();
	id.spc = 16400;
	name_of(&id, CMK_FORK_MAIN, "", path, sizeof(path));
	CHECK_INT(env_open(&file, path, O_RDWR | O_CREAT | O_EXCL), 0);
	CHECK_INT(env_hook.created, 1);
	CHECK_INT(HOOKS_CALLED(), 1);
	CHECK(env_hook.first);
	CHECK_INT(env_hook.id.spc, 16400);
	CHECK_INT(env_hook.id.db, 5);
	CHECK_INT(env_hook.id.rel, id.rel);
	env_close(&file);
}

/* Only the main fork's first segment begins a relation. */
static void
created_tells_what_is_first(void)
{
	static const struct
	{
		unsigned	fork;
		const char *segment;
		bool		first;
	}			t[] = {
		{CMK_FORK_MAIN, "", true}, {CMK_FORK_MAIN, ".1", false},
		{CMK_FORK_FSM, "", false}, {CMK_FORK_VM, "", false},
		{CMK_FORK_INIT, "", false}, {CMK_FORK_INIT, ".2", false}
	};
	EnvFile		file;
	char		path[140];
	size_t		i;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++)
	{
		CmkRelId	id = env_new_id();

		env_reset();
		env_hook.first = !t[i].first;
		name_of(&id, t[i].fork, t[i].segment, path, sizeof(path));
		CHECK_INT(env_open(&file, path, O_RDWR | O_CREAT), 0);
		CHECK_INT(env_hook.created, 1);
		CHECK_INT(env_hook.first, t[i].first);
		env_close(&file);
	}
}

static void
created_gives_the_dek_that_seals(void)
{
	uint8_t		page[PAGE];
	uint8_t		disk[PAGE];
	CmkRelId	id = env_new_id();
	EnvFile		file;
	char		path[140];

	env_reset();
	env_hook.birth = true;
	name_of(&id, CMK_FORK_MAIN, "", path, sizeof(path));
	CHECK_INT(env_open(&file, path, O_RDWR | O_CREAT | O_EXCL), 0);
	make_page(page, 0, 1);
	CHECK_INT(env_put(&file, page, PAGE, 0), PAGE);
	CHECK_INT(env_hook.plain_write, 0);
	env_disk(&file, disk, PAGE, 0);
	CHECK_SEALED(disk, page, 1, 0, 1);
	env_close(&file);
}

static void
created_is_not_asked(void)
{
	CmkRelId	id = env_new_id();
	EnvFile		file;
	char		path[140];

	env_reset();

	/* when the file is only opened, whether it is there or not */
	name_of(&id, CMK_FORK_MAIN, "", path, sizeof(path));
	CHECK_FAILS(env_open(&file, path, O_RDWR), ENOENT);
	touch(path);
	CHECK_INT(env_open(&file, path, O_RDWR), 0);
	env_close(&file);

	/* when the real open fails */
	CHECK_FAILS(env_open(&file, path, O_RDWR | O_CREAT | O_EXCL), EEXIST);

	/* when the relation has a DEK */
	env_birth(&id, 0);
	CHECK_INT(env_open(&file, path, O_RDWR | O_CREAT), 0);
	env_close(&file);
	name_of(&id, CMK_FORK_FSM, "", path, sizeof(path));
	CHECK_INT(env_open(&file, path, O_RDWR | O_CREAT), 0);
	env_close(&file);

	/* for what is no relation, or a temporary one */
	CHECK_INT(env_open(&file, "base/5/t3_16384", O_RDWR | O_CREAT), 0);
	env_close(&file);
	CHECK_INT(env_open(&file, CMK_PROBE_FILE, O_RDWR | O_CREAT), 0);
	env_close(&file);
	CHECK_INT(env_open(&file, "base/5/PG_VERSION", O_RDWR | O_CREAT), 0);
	CHECK_INT(file.f.kind, CMK_FILE_OTHER);
	env_close(&file);
	CHECK_INT(HOOKS_CALLED(), 0);
}

/* ---- what a refusal does ---- */

/* The file is this call's own only if it could not be there before. */
static void
a_refusal_removes_what_it_created(void)
{
	CmkRelId	id = env_new_id();
	EnvFile		file;
	char		path[140];

	env_reset();
	env_hook.fail = ENOSPC;
	name_of(&id, CMK_FORK_MAIN, "", path, sizeof(path));
	CHECK_FAILS(env_open(&file, path, O_RDWR | O_CREAT | O_EXCL), ENOSPC);
	CHECK(!exists(path));

	CHECK_FAILS(env_open(&file, path, O_RDWR | O_CREAT), ENOSPC);
	CHECK(exists(path));
	CHECK_INT(env_hook.created, 2);

	/* the same for one that comes back */
	CHECK_INT(unlink(path), 0);
	env_birth(&id, 0);
	CHECK_INT(cmk_keyring_death(&id, 1, NULL), 0);
	env_hook.fail = EPERM;
	CHECK_FAILS(env_open(&file, path, O_RDWR | O_CREAT | O_EXCL), EPERM);
	CHECK(!exists(path));
	CHECK_FAILS(env_open(&file, path, O_RDWR | O_CREAT), EPERM);
	CHECK(exists(path));
	CHECK_INT(env_hook.revived, 2);
	CHECK_INT(env_hook.created, 2);
}

/* ---- revived ---- */

static void
revived_by_any_fork(void)
{
	static const unsigned forks[] = {
		CMK_FORK_MAIN, CMK_FORK_FSM, CMK_FORK_VM, CMK_FORK_INIT
	};
	CmkRelId	id = env_new_id();
	EnvFile		file;
	char		path[140];
	size_t		i;

	env_reset();
	env_birth(&id, 0);
	CHECK_INT(cmk_keyring_death(&id, 1, NULL), 0);
	for (i = 0; i < 4; i++)
	{
		name_of(&id, forks[i], "", path, sizeof(path));
		CHECK_INT(env_open(&file, path, O_RDWR | O_CREAT), 0);
		CHECK_INT(env_hook.revived, i + 1);
		CHECK_INT(env_hook.id.rel, id.rel);
		env_close(&file);
	}

	/* not without O_CREAT, and not once it lives */
	CHECK_INT(env_open(&file, path, O_RDWR), 0);
	env_close(&file);
	CHECK_INT(cmk_keyring_revive(&id, NULL), 0);
	CHECK_INT(env_open(&file, path, O_RDWR | O_CREAT), 0);
	env_close(&file);
	CHECK_INT(env_hook.revived, 4);
	CHECK_INT(HOOKS_CALLED(), 4);
}

/* ---- died ---- */

/* A relation is as dead as the last of its forks, whichever that is. */
static void
died_with_the_last_first_segment(void)
{
	static const unsigned orders[][4] = {
		{CMK_FORK_INIT, CMK_FORK_VM, CMK_FORK_FSM, CMK_FORK_MAIN},
		{CMK_FORK_MAIN, CMK_FORK_FSM, CMK_FORK_VM, CMK_FORK_INIT},
		{CMK_FORK_VM, CMK_FORK_MAIN, CMK_FORK_INIT, CMK_FORK_FSM},
		{CMK_FORK_FSM, CMK_FORK_INIT, CMK_FORK_MAIN, CMK_FORK_VM}
	};
	char		path[140];
	size_t		i,
				j;

	for (i = 0; i < 4; i++)
	{
		CmkRelId	id = env_new_id();

		env_reset();
		env_birth(&id, 0);
		for (j = 0; j < 4; j++)
		{
			name_of(&id, orders[i][j], "", path, sizeof(path));
			touch(path);
		}
		for (j = 0; j < 4; j++)
		{
			CHECK_INT(env_hook.died, 0);
			name_of(&id, orders[i][j], "", path, sizeof(path));
			CHECK_INT(env_unlink(path), 0);
		}
		CHECK_INT(env_hook.died, 1);
		CHECK_INT(HOOKS_CALLED(), 1);
		CHECK_INT(env_hook.id.rel, id.rel);
		CHECK_INT(env_hook.id.spc, id.spc);
	}
}

/* The server removes the first segment first, and the others after it. */
static void
segments_that_are_left(void)
{
	CmkRelId	id = env_new_id();
	char		first[140];
	char		second[140];

	env_reset();
	env_birth(&id, 0);
	name_of(&id, CMK_FORK_MAIN, "", first, sizeof(first));
	name_of(&id, CMK_FORK_MAIN, ".1", second, sizeof(second));
	touch(first);
	touch(second);
	CHECK_INT(env_unlink(second), 0);
	CHECK_INT(env_hook.died, 0);
	touch(second);
	CHECK_INT(env_unlink(first), 0);
	CHECK_INT(env_hook.died, 1);

	/* dead already: the rest tells nothing new */
	CHECK_INT(cmk_keyring_death(&id, 1, NULL), 0);
	CHECK_INT(env_unlink(second), 0);
	CHECK_INT(env_hook.died, 1);
}

static void
died_is_not_said(void)
{
	CmkRelId	plain = env_new_id();
	CmkRelId	sealed = env_new_id();
	char		path[140];
	char		temp[140];

	env_reset();

	/* of what has no DEK */
	name_of(&plain, CMK_FORK_MAIN, "", path, sizeof(path));
	touch(path);
	CHECK_INT(env_unlink(path), 0);

	/* of a file that only looks like a relation's */
	env_birth(&sealed, 0);
	snprintf(temp, sizeof(temp), "base/5/t3_%u", sealed.rel);
	touch(temp);
	CHECK_INT(env_unlink(temp), 0);
	snprintf(temp, sizeof(temp), "./base/5/%u", sealed.rel);
	touch(temp);
	CHECK_INT(env_unlink(temp), 0);
	touch("base/5/pg_internal.init");
	CHECK_INT(env_unlink("base/5/pg_internal.init"), 0);
	CHECK_INT(HOOKS_CALLED(), 0);
}

/* By the absolute path, and in a tablespace. */
static void
died_by_either_name(void)
{
	CmkRelId	id = env_new_id();
	char		path[140];
	char		full[PATH_MAX + 150];

	env_reset();
	id.spc = 16400;
	env_birth(&id, 0);
	name_of(&id, CMK_FORK_MAIN, "", path, sizeof(path));
	touch(path);
	snprintf(full, sizeof(full), "%s/%s", env_dir, path);
	CHECK_INT(env_unlink(full), 0);
	CHECK_INT(env_hook.died, 1);
	CHECK_INT(env_hook.id.spc, 16400);
}

/* ---- the control file ---- */

static void
the_control_file_opened_for_writing(void)
{
	static const int flags[] = {O_RDWR, O_WRONLY, O_RDWR | O_CREAT};
	char		full[PATH_MAX + 32];
	EnvFile		file;
	size_t		i;
	int			fd;

	env_reset();
	touch("global/pg_control");
	snprintf(full, sizeof(full), "%s/global/pg_control", env_dir);
	for (i = 0; i < 3; i++)
	{
		CHECK_INT(env_open(&file, i == 1 ? full : "global/pg_control",
						   flags[i]), 0);
		CHECK_INT(env_hook.control_opening, i + 1);
		CHECK_INT(env_hook.control_closing, i);
		fd = file.fd;
		env_hook.control_fd = -1;
		env_close(&file);
		CHECK_INT(env_hook.control_closing, i + 1);
		CHECK_INT(env_hook.control_fd, fd);
	}
	CHECK_INT(HOOKS_CALLED(), 6);
}

static void
the_control_file_opened_for_reading(void)
{
	EnvFile		file;

	env_reset();
	touch("global/pg_control");
	env_hook.fail = EIO;
	CHECK_INT(env_open(&file, "global/pg_control", O_RDONLY), 0);
	CHECK_INT(file.f.kind, 0);
	env_close(&file);
	CHECK_INT(HOOKS_CALLED(), 0);
}

/* No checkpoint counts whose keys are not on disk. */
static void
the_control_file_is_refused(void)
{
	EnvFile		file;

	env_reset();
	CHECK(exists("global/pg_control"));
	CHECK_INT(unlink("global/pg_control"), 0);
	env_hook.fail = EIO;
	CHECK_FAILS(env_open(&file, "global/pg_control", O_RDWR | O_CREAT), EIO);
	CHECK_INT(env_hook.control_opening, 1);
	CHECK_INT(env_hook.control_closing, 0);
	CHECK(!exists("global/pg_control"));
}

/* The keys are not there yet: no relation's file is opened, and none is made. */
static void
opening_without_keys(void)
{
	EnvFile		file;

	env_reset();
	touch("global/pg_control");
	env_hook.fail_opening = ENOKEY;
	CHECK_FAILS(env_open(&file, "base/5/70001", O_RDWR | O_CREAT | O_EXCL), ENOKEY);
	CHECK_FAILS(env_open(&file, "base/5/70001_fsm", O_RDWR), ENOKEY);
	CHECK_INT(env_hook.opening, 2);
	CHECK(!exists("base/5/70001"));
	CHECK_INT(env_open(&file, "global/pg_control", O_RDWR), 0);
	env_close(&file);
	CHECK_INT(env_hook.opening, 2);
}

/* A relation's close asks nobody. */
static void
closing_a_relation(void)
{
	EnvFile		file;

	env_reset();
	env_open_sealed(&file);
	env_close(&file);
	CHECK_INT(HOOKS_CALLED(), 0);
}

int
main(void)
{
	env_start();
	RUN(created_tells_the_relation);
	RUN(created_tells_what_is_first);
	RUN(created_gives_the_dek_that_seals);
	RUN(created_is_not_asked);
	RUN(a_refusal_removes_what_it_created);
	RUN(revived_by_any_fork);
	RUN(died_with_the_last_first_segment);
	RUN(segments_that_are_left);
	RUN(died_is_not_said);
	RUN(died_by_either_name);
	RUN(the_control_file_opened_for_writing);
	RUN(the_control_file_opened_for_reading);
	RUN(the_control_file_is_refused);
	RUN(opening_without_keys);
	RUN(closing_a_relation);
	return unit_done();
}
