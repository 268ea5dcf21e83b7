/*
 * state.c
 *	  How the keyring comes to be open.  See state.h.
 *
 * The root is opened in the postmaster, when shared memory is made: before the
 * startup process reads the first page.  After a crash of a child the region
 * with the roots is still there, and only the registry is rebuilt from the keys
 * file, which then may hold births that the crashed process had not finished.
 *
 * Whatever is wrong with the KEK, root.json or the keys file's header stops the
 * server here, with the file's name: going on would make a cluster that cannot
 * read its own tables, or worse, one that makes a second root beside the first.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/dsm_impl.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "../keyring/keycache.h"
#include "../seal/secret.h"
#include "../vault/provider.h"
#include "compat.h"
#include "gate.h"
#include "lockdown.h"
#include "orphans.h"
#include "proof.h"
#include "state.h"

#define CMK_TRANCHE		"pg_cmk"

CmkShared  *cmk_shared = NULL;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;
static char opened_key_version[CMK_KEY_VERSION_SIZE];
static bool locked_down = false;	/* at least once */

bool
cmk_is_configured(void)
{
	return cmk_registry_root() != NULL;
}

void
cmk_lock_keyring(void)
{
	LWLockAcquire(cmk_shared->lock, LW_EXCLUSIVE);
}

bool
cmk_try_lock_keyring(void)
{
	return LWLockConditionalAcquire(cmk_shared->lock, LW_EXCLUSIVE);
}

void
cmk_unlock_keyring(void)
{
	LWLockRelease(cmk_shared->lock);
}

static int
sqlstate_for(const CmkError *err)
{
	switch (err->code)
	{
		case CMK_ERR_IO:
			errno = err->saved_errno;
			return err->saved_errno != 0 ? 0 : ERRCODE_IO_ERROR;
		case CMK_ERR_NO_SPACE:
			return ERRCODE_DISK_FULL;
		case CMK_ERR_NOT_FOUND:
			return ERRCODE_UNDEFINED_FILE;
		case CMK_ERR_PERMISSION:
			return ERRCODE_INSUFFICIENT_PRIVILEGE;
		case CMK_ERR_CONFIG:
			return ERRCODE_INVALID_PARAMETER_VALUE;
		case CMK_ERR_KEY_UNUSABLE:
		case CMK_ERR_WRONG_KEY:
			return ERRCODE_CONFIG_FILE_ERROR;
		case CMK_ERR_CORRUPT:
		case CMK_ERR_FOREIGN:
			return ERRCODE_DATA_CORRUPTED;
		case CMK_ERR_LIMIT:
			return ERRCODE_PROGRAM_LIMIT_EXCEEDED;
		case CMK_ERR_NO_MEMORY:
			return ERRCODE_OUT_OF_MEMORY;
		case CMK_ERR_CRYPTO:
		case CMK_OK:
			break;
	}
	return ERRCODE_INTERNAL_ERROR;
}

void
cmk_report(int elevel, const CmkError *err)
{
	int			sqlstate = sqlstate_for(err);

	ereport(elevel,
			(sqlstate != 0 ? errcode(sqlstate) : errcode_for_file_access(),
			 errmsg("%s", err->message),
			 err->detail[0] ? errdetail("%s", err->detail) : 0,
			 err->hint[0] ? errhint("%s", err->hint) : 0));
}

/*
 * The wrap that the configured key opens: the recipient of that URL, else (a
 * replica or a restored copy may keep the same KEK under another name) any wrap
 * that it can open.
 */
static int
unwrap_current(const CmkRootFile *rf, uint8 *key, CmkError *err)
{
	const CmkProvider *p = cmk_provider_for(cmk_key_url, err);
	const CmkRoot *root = cmk_rootfile_find_root(rf, rf->current_root);
	CmkError	first;
	bool		tried = false;

	if (p == NULL || p->check(cmk_key_url, err) < 0)
		return -1;
	for (int pass = 0; root != NULL && pass < 2; pass++)
		for (int i = 0; i < root->nwraps; i++)
		{
			const CmkWrap *w = &root->wraps[i];
			bool		same = strcmp(w->recipient, cmk_key_url) == 0;
			size_t		len;

			if (same != (pass == 0))
				continue;
			if (p->unwrap(cmk_key_url, w->key_version, w->alg, w->value, w->len,
						  key, CMK_ROOT_KEY_SIZE, &len, err) == 0)
			{
				if (len == CMK_ROOT_KEY_SIZE)
				{
					strlcpy(opened_key_version, w->key_version,
							sizeof(opened_key_version));
					return 0;
				}
				cmk_fail(err, CMK_ERR_CORRUPT, "the root key in file \"%s\" is %zu bytes long",
						 CMK_ROOT_FILE, len);
			}
			if (!tried)
				first = *err;
			tried = true;
		}
	if (tried)
		*err = first;
	else
		cmk_fail(err, CMK_ERR_CORRUPT, "file \"%s\" holds no wrap of the current root key",
				 CMK_ROOT_FILE);
	return -1;
}

bool
cmk_root_expected(void)
{
	return cmk_shared != NULL && pg_atomic_read_u32(&cmk_shared->expected) != 0;
}

bool
cmk_root_is_open(void)
{
	return pg_atomic_read_u32(&cmk_shared->open) != 0;
}

bool
cmk_key_is_file(void)
{
	return strncmp(cmk_key_url, "file:", 5) == 0;
}

int
cmk_install_root(const CmkRootFile *rf, const uint8 current[CMK_ROOT_KEY_SIZE],
				 CmkError *err)
{
	static CmkRootKey keys[CMK_MAX_ROOTS];
	int			n = 0;
	int			result = -1;

	if (cmk_rootfile_verify(rf, CMK_ROOT_FILE, GetSystemIdentifier(), current, err) == 0 &&
		cmk_rootfile_open_all(rf, CMK_ROOT_FILE, current, keys, &n, err) == 0 &&
		cmk_registry_set_roots(keys, n, rf->current_root, err) == 0)
		result = 0;
	cmk_cleanse(keys, sizeof(keys));
	return result;
}

/* The version under which the governing recipient's wrap was made last. */
static int
publish_governing(const CmkRootFile *rf)
{
	const CmkWrap *w = cmk_rootfile_find_wrap(rf, rf->current_root, cmk_key_url);

	if (w != NULL)
		cmk_publish_key_version(w->key_version);
	return 0;
}

/*
 * Replay brought root.json, and it is in its file: from here on there is something
 * to be sealed.  A key in a file opens it at once, one in a vault when the worker
 * has asked.
 */
static void
root_came(void)
{
	SpinLockAcquire(&cmk_shared->mutex);
	if (cmk_shared->status.health.state == CMK_STATE_UNCONFIGURED)
		cmk_health_start(&cmk_shared->status.health);
	cmk_shared->asked++;
	if (cmk_shared->worker != NULL)
		SetLatch(cmk_shared->worker);
	SpinLockRelease(&cmk_shared->mutex);
}

int
cmk_take_root(const CmkRootFile *rf, CmkError *err)
{
	const CmkRootKey *known = cmk_registry_root_by_id(rf->current_root);

	/* Another wrap of a root that is open: its key speaks for the file. */
	if (known != NULL)
	{
		if (cmk_rootfile_verify(rf, CMK_ROOT_FILE, GetSystemIdentifier(), known->key, err) < 0)
			return -1;
	}
	else if (cmk_key_is_file() && cmk_open_root(rf, err) < 0)
		return -1;
	if (cmk_rootfile_write(CMK_ROOT_FILE, rf->text, strlen(rf->text), err) < 0)
		return -1;
	if (known != NULL)
		return publish_governing(rf);

	root_came();
	if (cmk_key_is_file())
		pg_atomic_write_u32(&cmk_shared->open, 1);
	else
	{
		pg_atomic_write_u32(&cmk_shared->open, 0);
		pg_atomic_write_u32(&cmk_shared->expected, 1);
		if (cmk_await_root() < 0)
			return cmk_fail(err, CMK_ERR_CONFIG, "the root key that came with WAL is not open");
	}
	return 0;
}

int
cmk_open_root(const CmkRootFile *rf, CmkError *err)
{
	uint8		current[CMK_ROOT_KEY_SIZE];
	int			result = -1;

	/* A foreign file is told from a wrong key before the KEK is asked. */
	if (cmk_rootfile_check_sysid(rf, CMK_ROOT_FILE, GetSystemIdentifier(), err) == 0 &&
		unwrap_current(rf, current, err) == 0)
		result = cmk_install_root(rf, current, err);
	cmk_cleanse(current, sizeof(current));
	if (result == 0 && cmk_shared != NULL)
		cmk_publish_key_version(opened_key_version);
	return result;
}

/* Wraps a new root under the KEK and proves that it comes back. */
static int
wrap_new_root(CmkRootFile *rf, const uint8 *key, CmkError *err)
{
	const CmkProvider *p = cmk_provider_for(cmk_key_url, err);
	CmkWrapResult wrapped;
	CmkWrap		w;
	uint8		back[CMK_ROOT_KEY_SIZE];
	size_t		len = 0;
	bool		same;

	if (p == NULL || p->check(cmk_key_url, err) < 0 ||
		p->wrap(cmk_key_url, key, CMK_ROOT_KEY_SIZE, &wrapped, err) < 0 ||
		p->unwrap(cmk_key_url, wrapped.key_version, wrapped.alg, wrapped.value,
				  wrapped.len, back, sizeof(back), &len, err) < 0)
		return -1;
	same = len == sizeof(back) && cmk_equal(back, key, len);
	cmk_cleanse(back, sizeof(back));
	if (!same)
		return cmk_fail(err, CMK_ERR_WRONG_KEY,
						"key \"%s\" does not unwrap what it wrapped", cmk_key_url);
	memset(&w, 0, sizeof(w));
	strlcpy(w.recipient, cmk_key_url, sizeof(w.recipient));
	strlcpy(w.key_version, wrapped.key_version, sizeof(w.key_version));
	strlcpy(w.alg, wrapped.alg, sizeof(w.alg));
	w.created = (int64) time(NULL);
	w.len = wrapped.len;
	memcpy(w.value, wrapped.value, wrapped.len);
	w.public_len = wrapped.public_len;
	memcpy(w.public_key, wrapped.public_key, wrapped.public_len);
	return cmk_rootfile_add_wrap(rf, rf->current_root, &w, err);
}

/* First start with a key: a root of our own. */
static void
create_root(void)
{
	CmkRootFile rf;
	CmkError	err;
	uint8		key[CMK_ROOT_KEY_SIZE];
	bool		ok;

	if (cmk_rootfile_new(GetSystemIdentifier(), (int64) time(NULL), &rf, key, &err) < 0)
		cmk_report(FATAL, &err);
	ok = wrap_new_root(&rf, key, &err) == 0 &&
		cmk_rootfile_print(&rf, key, &err) == 0 &&
		cmk_rootfile_write(CMK_ROOT_FILE, rf.text, strlen(rf.text), &err) == 0 &&
		cmk_open_root(&rf, &err) == 0;
	cmk_cleanse(key, sizeof(key));
	cmk_rootfile_free(&rf);
	if (!ok)
		cmk_report(FATAL, &err);
	ereport(LOG,
			(errmsg("pg_cmk: new root key %u, wrapped by \"%s\"", 1, cmk_key_url)));
}

static bool
file_exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

/* A server that follows another gets its root from there. */
bool
cmk_is_archive_recovery(void)
{
	return file_exists("standby.signal") || file_exists("recovery.signal");
}

/* Is there more in the keys file than its header and unused space? */
static bool
keys_file_has_records(void)
{
	uint8		buf[CMK_RECORD_SIZE];
	bool		found = false;
	int			fd = OpenTransientFile(CMK_KEYS_FILE, O_RDONLY | PG_BINARY);

	if (fd < 0 || lseek(fd, CMK_RECORD_SIZE, SEEK_SET) < 0)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", CMK_KEYS_FILE)));
	while (!found && read(fd, buf, sizeof(buf)) == sizeof(buf))
		for (size_t i = 0; i < sizeof(buf); i++)
			if (buf[i] != 0)
				found = true;
	CloseTransientFile(fd);
	return found;
}

/* In a postmaster the worker opens what is in a vault, and all after a lockdown. */
static bool
worker_opens(void)
{
	return cmk_key_url[0] != '\0' && IsPostmasterEnvironment &&
		(!cmk_key_is_file() || locked_down);
}

/* A standby of a primary that has no root yet has none either, until WAL brings it. */
static bool
root_is_due(void)
{
	return file_exists(CMK_ROOT_FILE) || !cmk_is_archive_recovery();
}

static void
refuse_lost_root(void)
{
	ereport(FATAL,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("file \"%s\" is missing", CMK_ROOT_FILE),
			 errdetail("File \"%s\" holds keys that only the missing file opens.",
					   CMK_KEYS_FILE),
			 errhint("Restore file \"%s\" from a backup of this cluster.", CMK_ROOT_FILE)));
}

/* What can be known of a vault key without asking the vault. */
static void
check_vault_key(void)
{
	CmkKeyUrl	url;
	CmkError	err;

	if (cmk_key_url_parse(cmk_key_url, &url, &err) < 0 ||
		cmk_key_url_trusted(&url, cmk_vault_dns_suffixes, &err) < 0 ||
		cmk_vault_read_environment(&err) < 0)
		cmk_report(FATAL, &err);
}

static void
open_keyring(void)
{
	CmkRootFile rf;
	CmkError	err;
	bool		have_root = file_exists(CMK_ROOT_FILE);

	if (cmk_key_url[0] == '\0')
	{
		if (have_root)
			ereport(FATAL,
					(errcode(ERRCODE_CONFIG_FILE_ERROR),
					 errmsg("pg_cmk.key is not set, but this cluster holds sealed data"),
					 errdetail("File \"%s\" exists: relations of this cluster are sealed under the root key that it holds.",
							   CMK_ROOT_FILE),
					 errhint("Set pg_cmk.key to the key that opens it; the file names its recipients.")));
		return;
	}

	if (MakePGDirectory(CMK_DIR) < 0 && errno != EEXIST)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m", CMK_DIR)));
	if (have_root && !file_exists(CMK_KEYS_FILE))
		ereport(FATAL,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("file \"%s\" is missing", CMK_KEYS_FILE),
				 errdetail("File \"%s\" exists, so relations of this cluster may be sealed under keys that the missing file held.",
						   CMK_ROOT_FILE),
				 errhint("Restore directory \"%s\" from a backup of this cluster.", CMK_DIR)));
	if (cmk_keyring_open(CMK_KEYS_FILE, GetSystemIdentifier(), true, &err) < 0)
		cmk_report(FATAL, &err);

	if (worker_opens())
	{
		check_vault_key();
		if (!have_root && keys_file_has_records())
			refuse_lost_root();
		return;					/* the worker opens it */
	}
	if (have_root)
	{
		bool		ok = cmk_rootfile_read(CMK_ROOT_FILE, &rf, &err) == 0;

		if (ok)
		{
			ok = cmk_open_root(&rf, &err) == 0;
			cmk_rootfile_free(&rf);
		}
		if (!ok)
			cmk_report(FATAL, &err);
		return;
	}

	if (keys_file_has_records())
		refuse_lost_root();
	if (cmk_is_archive_recovery())
		ereport(LOG,
				(errmsg("pg_cmk: no root key yet; it comes with the primary's WAL")));
	else
		create_root();
}

/*
 * Whoever has the KEK's public half can write a new root.json that verifies.  None
 * of the keys would open under it, and new ones would be made under a root that
 * somebody else knows.  A record whose CRC is right was not torn by a backup.
 */
static void
refuse_foreign_root(const CmkDamaged *damaged, uint32 n)
{
	for (uint32 i = 0; i < n; i++)
		if (damaged[i].id_known)
			ereport(FATAL,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("file \"%s\" and file \"%s\" do not belong together",
							CMK_ROOT_FILE, CMK_KEYS_FILE),
					 errdetail("No key record opens under the root key; record %u is the first that does not.",
							   damaged[i].record),
					 errhint("Restore directory \"%s\" from a backup of this cluster.", CMK_DIR)));
}

static void
load_keyring(void)
{
	CmkError	err;
	CmkDamaged	damaged[CMK_MAX_DAMAGED];
	uint32		n;

	if (!cmk_is_configured())
		return;
	if (cmk_keyring_load(&err) < 0)
		cmk_report(FATAL, &err);
	n = cmk_registry_damaged(damaged, CMK_MAX_DAMAGED);
	if (n > 0 && cmk_registry_count() + cmk_registry_dead_count() == 0)
		refuse_foreign_root(damaged, Min(n, CMK_MAX_DAMAGED));
	cmk_revive_living();
	for (uint32 i = 0; i < Min(n, CMK_MAX_DAMAGED); i++)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("record %u of file \"%s\" is damaged",
						damaged[i].record, CMK_KEYS_FILE),
				 errdetail("The relation file whose key it holds cannot be read until WAL replay brings the record again.")));
	ereport(LOG,
			(errmsg("pg_cmk: root key %u is open, %u relation keys",
					cmk_registry_root()->id, cmk_registry_count())));
}

static void
report_locked(void)
{
	size_t		wanted;
	size_t		locked;

	cmk_registry_lock_report(&wanted, &locked);
	if (locked < wanted)
		ereport(LOG,
				(errmsg("pg_cmk: %zu of %zu kB of key memory are locked",
						locked / 1024, wanted / 1024),
				 errhint("Raise RLIMIT_MEMLOCK (LimitMEMLOCK in a systemd unit), or encrypt the swap space.")));
}

void
cmk_load_keyring(void)
{
	cmk_lock_keyring();
	load_keyring();
	cmk_unlock_keyring();
	report_locked();
	pg_atomic_write_u32(&cmk_shared->open, 1);
}

static void
cmk_shmem_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(MAXALIGN(sizeof(CmkShared)));
	RequestNamedLWLockTranche(CMK_TRANCHE, 1);
}

/* Parallel workers would share tuples through a mapped file: in clear, on disk. */
static void
refuse_mapped_memory(void)
{
	if (cmk_key_url[0] != '\0' && dynamic_shared_memory_type == DSM_IMPL_MMAP)
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("dynamic_shared_memory_type = mmap cannot be used with pg_cmk"),
				 errdetail("It puts rows that parallel workers share into files, in clear."),
				 errhint("Use posix or sysv.")));
}

/*
 * A key in a file was just opened.  After a crash it was not, and a key in a vault
 * never is here: then it is the worker's to say so.
 */
static void
init_status(CmkStatus *st, bool just_opened)
{
	CmkHealthConfig config;
	CmkOutcome	yes;

	memset(st, 0, sizeof(*st));
	st->since = GetCurrentTimestamp();
	strlcpy(st->key_version, opened_key_version, sizeof(st->key_version));
	if (cmk_key_url[0] == '\0' || !root_is_due())
		return;					/* Unconfigured: nothing is sealed yet */
	cmk_health_start(&st->health);
	if (!just_opened || !cmk_key_is_file() || !cmk_is_configured())
		return;
	memset(&yes, 0, sizeof(yes));
	cmk_health_settings(&config);
	cmk_health_feed(&st->health, &config, &yes, cmk_boottime());
	st->last_validated = st->since;
}

static void
cmk_shmem_startup(void)
{
	static bool opened = false;
	bool		found;
	CmkStatus	closed_with;
	bool		lockdown = cmk_lockdown_begins(&closed_with);

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	if (!opened)
	{
		cmk_prove_seam();
		refuse_mapped_memory();
		open_keyring();
	}
	locked_down |= lockdown;
	cmk_note_replay_start();
	load_keyring();
	if (!opened)
		report_locked();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	cmk_shared = ShmemInitStruct("pg_cmk", sizeof(CmkShared), &found);
	if (!found)
	{
		memset(cmk_shared, 0, sizeof(CmkShared));
		cmk_shared->lock = &GetNamedLWLockTranche(CMK_TRANCHE)->lock;
		pg_atomic_init_u32(&cmk_shared->root_logged, 0);
		pg_atomic_init_u32(&cmk_shared->backups, 0);
		pg_atomic_init_u32(&cmk_shared->open, cmk_is_configured() ? 1 : 0);
		pg_atomic_init_u32(&cmk_shared->expected,
						   worker_opens() && root_is_due());
		SpinLockInit(&cmk_shared->mutex);
		ConditionVariableInit(&cmk_shared->answer);
		if (lockdown)
			cmk_shared->status = closed_with;
		else
			init_status(&cmk_shared->status, !opened);
	}
	LWLockRelease(AddinShmemInitLock);
	opened = true;
}

void
cmk_state_init(void)
{
	CmkError	err;

	if (cmk_secret_no_core(&err) < 0 ||
		cmk_registry_create(&err) < 0 ||
		cmk_keycache_init(&err) < 0)
		cmk_report(FATAL, &err);
	atexit(cmk_registry_wipe);

	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = cmk_shmem_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = cmk_shmem_startup;
}

/*
 * For tests of the order of a birth.  The crash is one that the postmaster takes
 * for a crash: other processes are stopped and recovery runs.
 */
void
cmk_debug_point(const char *name)
{
	if (cmk_debug_pause_at && strcmp(cmk_debug_pause_at, name) == 0)
	{
		while (!file_exists(CMK_DIR "/debug_continue"))
		{
			CHECK_FOR_INTERRUPTS();
			pg_usleep(10000L);
		}
	}
	if (cmk_debug_crash_at && strcmp(cmk_debug_crash_at, name) == 0)
	{
		ereport(LOG, (errmsg("pg_cmk: crashing at \"%s\"", name)));
		_exit(3);
	}
}
