/*
 * test_relfile_race.c
 *	  What happens between two steps of a look-up: another process replaces a
 *	  DEK, or the registry is wiped.
 *
 * The linker puts functions of this file before those with which relfile.c and
 * the key cache ask the registry (--wrap, see the Makefile).  Each lets something
 * happen once before it goes on, so that a moment that lasts some nanoseconds is
 * met every time.  A writer moves the epoch last; env_epoch holds it back, as
 * if the writer had been put to sleep before that.
 */
#include "relfile_env.h"

#include "../../src/seal/secret.h"

/* What happens before the next call, once. */
static void (*before_find) (void);
static void (*before_read) (void);
static void (*before_temp_key) (void);
static void (*before_pread) (void);

static uint64_t held_epoch;		/* 0: as it is */
static uint64_t epoch_before;
static uint64_t epoch_at_wipe;
static int	secret_wipes;

static CmkRelId subject;

static uint8_t page[PAGE];
static uint8_t back[PAGE];
static uint8_t disk[PAGE];

extern bool __real_cmk_registry_find(const CmkRelId *id, CmkDekRef *ref);
extern bool __wrap_cmk_registry_find(const CmkRelId *id, CmkDekRef *ref);
extern bool __real_cmk_registry_read(const CmkDekRef *ref, CmkDekInfo *info,
									 uint8_t *key);
extern bool __wrap_cmk_registry_read(const CmkDekRef *ref, CmkDekInfo *info,
									 uint8_t *key);
extern uint64_t __real_cmk_registry_epoch(void);
extern uint64_t __wrap_cmk_registry_epoch(void);
extern int	__real_cmk_keyring_temp_key(const CmkRelId *id, uint32_t backend,
										uint8_t *key);
extern int	__wrap_cmk_keyring_temp_key(const CmkRelId *id, uint32_t backend,
										uint8_t *key);
extern void __real_cmk_secret_wipe(const CmkSecretRegion *region);
extern void __wrap_cmk_secret_wipe(const CmkSecretRegion *region);

static void
happen(void (**what) (void))
{
	void		(*fn) (void) = *what;

	*what = NULL;
	if (fn != NULL)
		fn();
}

bool
__wrap_cmk_registry_find(const CmkRelId *id, CmkDekRef *ref)
{
	happen(&before_find);
	return __real_cmk_registry_find(id, ref);
}

bool
__wrap_cmk_registry_read(const CmkDekRef *ref, CmkDekInfo *info, uint8_t *key)
{
	happen(&before_read);
	return __real_cmk_registry_read(ref, info, key);
}

uint64_t
__wrap_cmk_registry_epoch(void)
{
	return held_epoch != 0 ? held_epoch : __real_cmk_registry_epoch();
}

int
__wrap_cmk_keyring_temp_key(const CmkRelId *id, uint32_t backend, uint8_t *key)
{
	happen(&before_temp_key);
	return __real_cmk_keyring_temp_key(id, backend, key);
}

void
__wrap_cmk_secret_wipe(const CmkSecretRegion *region)
{
	secret_wipes++;
	epoch_at_wipe = __real_cmk_registry_epoch();
	__real_cmk_secret_wipe(region);
}

static ssize_t
watched_pread(int fd, void *buf, size_t n, off_t off)
{
	happen(&before_pread);
	return pread(fd, buf, n, off);
}

static void
begin(void)
{
	env_reset();
	before_find = before_read = before_temp_key = before_pread = NULL;
	cmk_real.pread = watched_pread;
	held_epoch = 0;
}

/* ---- a DEK is replaced ---- */

static void
replace_subject(void)
{
	env_replace(&subject, 0, 1);
}

/* The relation has a DEK before and after: at no moment has it none. */
static void
replaced_between_find_and_read(void)
{
	EnvFile		file;

	begin();
	subject = env_open_sealed(&file);
	make_page(page, 0, 1);
	held_epoch = __real_cmk_registry_epoch();
	before_read = replace_subject;
	CHECK_INT(env_put(&file, page, PAGE, 0), PAGE);
	CHECK(before_read == NULL);
	CHECK_INT(env_hook.plain_write, 0);
	env_disk(&file, disk, PAGE, 0);
	CHECK_SEALED(disk, page, 1, 0, 1);
	held_epoch = 0;
	CHECK_INT(env_get(&file, back, PAGE, 0), PAGE);
	CHECK_MEM(back, page, PAGE);
	env_close(&file);
}

/* The descriptor knows a slot whose DEK is another now; no error comes of it. */
static void
replaced_after_the_look_up(void)
{
	EnvFile		file;

	begin();
	subject = env_open_sealed(&file);
	make_page(page, 0, 2);
	CHECK_INT(env_put(&file, page, PAGE, 0), PAGE);
	env_disk(&file, back, PAGE, 0);
	held_epoch = __real_cmk_registry_epoch();
	replace_subject();
	CHECK_INT(env_put(&file, page, PAGE, 0), PAGE);
	CHECK_INT(env_hook.plain_write, 0);
	env_disk(&file, disk, PAGE, 0);
	CHECK_SEALED(disk, page, 1, 0, 1);
	CHECK(memcmp(disk + CMK_PAGE_HEAD, back + CMK_PAGE_HEAD, 64) != 0);

	/* reading is the same; the key cache has the old DEK of the same slot */
	replace_subject();
	CHECK_INT(env_get(&file, back, PAGE, 0), PAGE);
	CHECK_MEM(back, disk, PAGE);
	CHECK_INT(env_hook.logged, 1);
	held_epoch = 0;
	env_close(&file);
}

static void
replaced_while_a_file_is_created(void)
{
	EnvFile		file;
	char		path[128];

	begin();
	subject = env_new_id();
	env_birth(&subject, 0);
	cmk_relation_path(&subject, CMK_FORK_MAIN, path, sizeof(path));
	before_read = replace_subject;
	CHECK_INT(env_open(&file, path, O_RDWR | O_CREAT), 0);
	CHECK(before_read == NULL);
	CHECK_INT(env_hook.created, 0);
	env_close(&file);

	/* a tombstone: it is not missed that it must come back */
	CHECK_INT(cmk_keyring_death(&subject, 1, NULL), 0);
	CHECK_INT(env_open(&file, path, O_RDWR | O_CREAT), 0);
	CHECK_INT(env_hook.revived, 1);
	env_close(&file);
}

static void
replaced_while_a_file_is_removed(void)
{
	EnvFile		file;
	char		path[128];

	begin();
	subject = env_open_sealed(&file);
	env_close(&file);
	cmk_relation_path(&subject, CMK_FORK_MAIN, path, sizeof(path));
	before_read = replace_subject;
	CHECK_INT(env_unlink(path), 0);
	CHECK(before_read == NULL);
	CHECK_INT(env_hook.died, 1);
}

static uint8_t sealed_page[PAGE];
static EnvFile other;

/* Another process gives the relation its DEK, and writes its first page. */
static void
seal_subject(void)
{
	env_birth(&subject, 0);
	held_epoch = 0;
	env_put(&other, sealed_page, PAGE, 0);
	held_epoch = epoch_before;
}

/*
 * A descriptor that has just heard of no DEK finds a sealed page: the key is not
 * lost, it is new.
 */
static void
sealed_before_a_plain_file_is_looked_at(void)
{
	EnvFile		file;

	begin();
	subject = env_open_plain(&file);
	env_open_fork(&other, &subject, CMK_FORK_MAIN);
	make_page(page, 1, 7);
	make_page(sealed_page, 0, 8);
	held_epoch = epoch_before = __real_cmk_registry_epoch();
	before_pread = seal_subject;
	CHECK_INT(env_put(&file, page, PAGE, PAGE), PAGE);
	CHECK(before_pread == NULL);
	CHECK_INT(env_hook.logged, 0);
	held_epoch = 0;
	env_disk(&file, disk, PAGE, PAGE);
	CHECK_SEALED(disk, page, 1, 1, 1);
	CHECK_INT(env_get(&file, back, PAGE, 0), PAGE);
	CHECK_MEM(back, sealed_page, PAGE);
	env_close(&other);
	env_close(&file);
}

/* ---- the registry is wiped ---- */

/* A registry in place of the one that was wiped, as a new postmaster has it. */
static void
begin_again(void)
{
	CmkRootKey	root = {.id = 1};
	CmkError	err;

	begin();
	memcpy(root.key, env_root_key, sizeof(root.key));
	memcpy(root.salt, env_root_salt, sizeof(root.salt));
	cmk_keycache_wipe();
	if (cmk_registry_create(&err) < 0 ||
		cmk_registry_set_roots(&root, 1, 1, &err) < 0 ||
		cmk_keyring_load(&err) < 0)
		env_die("registry", err.message);
}

/* No reader may see an empty table under an epoch that counts. */
static void
the_epoch_goes_first(void)
{
	begin_again();
	secret_wipes = 0;
	epoch_at_wipe = 1;
	CHECK(__real_cmk_registry_epoch() != 0);
	cmk_registry_wipe();
	CHECK_INT(secret_wipes, 1);
	CHECK_INT(epoch_at_wipe, 0);
	CHECK_INT(__real_cmk_registry_epoch(), 0);
}

static void
wiped_during_the_look_up(void)
{
	EnvFile		file;

	begin_again();
	env_open_sealed(&file);
	make_page(page, 0, 3);
	before_find = cmk_registry_wipe;
	CHECK_FAILS(env_put(&file, page, PAGE, 0), ENOKEY);
	CHECK(before_find == NULL);
	CHECK_INT(env_real.pwrites, 0);
	CHECK_INT(env_size(&file), 0);
	env_close(&file);

	begin_again();
	env_open_sealed(&file);
	before_read = cmk_registry_wipe;
	CHECK_FAILS(env_put(&file, page, PAGE, 0), ENOKEY);
	CHECK(before_read == NULL);
	CHECK_INT(env_size(&file), 0);
	env_close(&file);
}

/* The key cache finds the slot gone. */
static void
wiped_after_the_look_up(void)
{
	EnvFile		file;

	begin_again();
	env_open_sealed(&file);
	make_page(page, 0, 4);
	CHECK_INT(env_put(&file, page, PAGE, 0), PAGE);
	env_real.pwrites = 0;
	before_read = cmk_registry_wipe;
	CHECK_FAILS(env_put(&file, page, PAGE, 0), ENOKEY);
	CHECK(before_read == NULL);
	CHECK_FAILS(cmk_relfile_ops.write(&file.f, file.fd, page, PAGE), ENOKEY);
	CHECK_INT(env_real.pwrites, 0);
	env_close(&file);
}

/*
 * A relation that had no DEK: the hook lets it be written in clear, and then
 * nobody knows any more whether that is right.
 */
static int
wiping_plain_write(const CmkRelId *id)
{
	env_hook.plain_write++;
	(void) id;
	cmk_registry_wipe();
	return 0;
}

static int
birth_then_wipe(const CmkRelId *id)
{
	CmkRelId	other = env_new_id();

	env_hook.plain_write++;
	(void) id;
	env_birth(&other, 0);
	before_find = cmk_registry_wipe;	/* in the look-up that follows */
	return 0;
}

static void
wiped_after_the_hook_was_asked(void)
{
	CmkFileHooks hooks = env_hooks;
	EnvFile		file;
	size_t		i;

	make_page(page, 0, 5);
	cmk_relfile_init(&env_config, &hooks);
	for (i = 0; i < 2; i++)
	{
		hooks.plain_write = i == 0 ? wiping_plain_write : birth_then_wipe;
		begin_again();
		env_open_plain(&file);
		errno = 0;
		if (env_put(&file, page, PAGE, 0) != -1 || errno != ENOKEY ||
			env_real.pwrites != 0 || env_hook.plain_write != 1 ||
			__real_cmk_registry_epoch() != 0)
			unit_fail(__FILE__, __LINE__,
					  "way %zu: errno %d, %d writes, hook called %d times", i,
					  errno, env_real.pwrites, env_hook.plain_write);
		env_close(&file);
	}
	cmk_relfile_init(&env_config, &env_hooks);
}

/* A temporary relation's key would be derived from zeros. */
static void
wiped_before_a_temporary_key_is_made(void)
{
	EnvFile		file;

	begin_again();
	CHECK_INT(env_open(&file, "base/5/t5_555", O_RDWR | O_CREAT), 0);
	make_page(page, 0, 6);
	before_temp_key = cmk_registry_wipe;
	CHECK_FAILS(env_put(&file, page, PAGE, 0), ENOKEY);
	CHECK(before_temp_key == NULL);
	CHECK_INT(env_real.pwrites, 0);
	env_close(&file);
}

int
main(void)
{
	env_start();
	RUN(replaced_between_find_and_read);
	RUN(replaced_after_the_look_up);
	RUN(replaced_while_a_file_is_created);
	RUN(replaced_while_a_file_is_removed);
	RUN(sealed_before_a_plain_file_is_looked_at);
	RUN(the_epoch_goes_first);
	RUN(wiped_during_the_look_up);
	RUN(wiped_after_the_look_up);
	RUN(wiped_after_the_hook_was_asked);
	RUN(wiped_before_a_temporary_key_is_made);
	return unit_done();
}
