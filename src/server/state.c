/*
 * state.c
 *	  What the server processes share.  See state.h.
 *
 * Here is also the order of the start: shared memory is made after the keyring was
 * opened (rootopen.c), and made anew by a crash restart, which keeps the keys.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/dsm_impl.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "../keyring/keycache.h"
#include "../seal/secret.h"
#include "compat.h"
#include "keywork.h"
#include "lockdown.h"
#include "orphans.h"
#include "proof.h"
#include "request.h"
#include "rootopen.h"
#include "settings.h"
#include "state.h"

#define CMK_TRANCHE		"pg_cmk"

CmkShared  *cmk_shared = NULL;
bool		cmk_after_crash = false;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;
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

int
cmk_error_sqlstate(const CmkError *err)
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
	int			sqlstate = cmk_error_sqlstate(err);

	ereport(elevel,
			(sqlstate != 0 ? errcode(sqlstate) : errcode_for_file_access(),
			 errmsg("%s", err->message),
			 err->detail[0] ? errdetail("%s", err->detail) : 0,
			 err->hint[0] ? errhint("%s", err->hint) : 0));
}

void
cmk_log_line(const char *fmt,...)
{
	char		line[512];
	va_list		ap;
	int			save_errno = errno;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	ereport(LOG, (errmsg_internal("pg_cmk: %s", line)));
	errno = save_errno;
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

/* In a postmaster the worker opens what is in a vault, and all after a lockdown. */
static bool
worker_opens(void)
{
	return cmk_has_key() && IsPostmasterEnvironment &&
		(!cmk_key_is_file() || locked_down);
}

/* A standby of a primary that has no root yet has none either, until WAL brings it. */
static bool
root_is_due(void)
{
	return cmk_file_exists(CMK_ROOT_FILE) || !cmk_is_archive_recovery();
}

static void
cmk_shmem_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(MAXALIGN(sizeof(CmkShared)));
	cmk_request_space();
	RequestNamedLWLockTranche(CMK_TRANCHE, 1);
}

/* Parallel workers would share tuples through a mapped file: in clear, on disk. */
static void
refuse_mapped_memory(void)
{
	if (cmk_has_key() && dynamic_shared_memory_type == DSM_IMPL_MMAP)
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("dynamic_shared_memory_type = mmap cannot be used with pg_cmk"),
				 errdetail("It puts rows that parallel workers share into files, in clear."),
				 errhint("Use posix or sysv.")));
}

/* Who asks for all to be sealed must not get a server that seals nothing. */
static void
refuse_scope_without_key(void)
{
	if (cmk_seal_all && !cmk_has_key())
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("pg_cmk.scope is \"%s\", but pg_cmk.key is not set", cmk_scope),
				 errhint("Set pg_cmk.key.")));
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
	cmk_get_governing(st->key_url, st->key_version);
	if (st->key_url[0] == '\0' || !root_is_due())
		return;					/* Unconfigured: nothing is sealed yet */
	cmk_health_start(&st->health);
	st->health.open = cmk_is_configured();
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

	/* Before other libraries' hooks: pg_stat_statements reads its file in its own. */
	if (!opened)
	{
		cmk_prove_seam();
		refuse_mapped_memory();
		refuse_scope_without_key();
		cmk_require_worker();
		cmk_open_keyring(worker_opens());
	}
	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	cmk_after_crash = opened;
	locked_down |= lockdown;
	cmk_note_replay_start();
	cmk_rebuild_registry();
	if (!opened)
		cmk_report_locked();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	cmk_shared = ShmemInitStruct("pg_cmk", sizeof(CmkShared), &found);
	if (!found)
	{
		memset(cmk_shared, 0, sizeof(CmkShared));
		SpinLockInit(&cmk_shared->mutex);
		cmk_shared->lock = &GetNamedLWLockTranche(CMK_TRANCHE)->lock;
		pg_atomic_init_u32(&cmk_shared->root_logged, 0);
		pg_atomic_init_u32(&cmk_shared->backups, 0);
		pg_atomic_init_u32(&cmk_shared->launcher, 0);
		pg_atomic_init_u32(&cmk_shared->rotations, 0);
		pg_atomic_init_u64(&cmk_shared->wal_refuse, UINT64_MAX);
		pg_atomic_init_u64(&cmk_shared->images_off, fullPageWrites ? 0 : UINT64_MAX);
		pg_atomic_init_u32(&cmk_shared->root_created, cmk_root_created);
		cmk_root_created = false;
		pg_atomic_init_u32(&cmk_shared->open, cmk_is_configured() ? 1 : 0);
		pg_atomic_init_u32(&cmk_shared->expected,
						   worker_opens() && root_is_due());
		ConditionVariableInit(&cmk_shared->answer);
		if (lockdown)
			cmk_shared->status = closed_with;
		else
			init_status(&cmk_shared->status, !opened);
	}
	cmk_request_shmem();
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
		while (!cmk_file_exists(CMK_DIR "/debug_continue"))
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
