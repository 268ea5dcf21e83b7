/*
 * seamops.c
 *	  What relfile.c needs of the server.
 *
 * These functions run inside the server's open(), close(), unlink() and write():
 * below code that does not expect an error to jump over it.  So whatever may
 * ereport is caught here and becomes -1 with an errno, which the server reports
 * with the file's name.
 *
 * The life of a DEK at its end, too: when the last file of a relation is gone its
 * record becomes a tombstone, and when a checkpoint whose redo pointer lies
 * behind that death has been completed, nothing that recovery could need refers
 * to it any more, and it is erased.  A base backup that is running holds this up:
 * it may have copied the file before, and will replay from before its death.
 */
#include "postgres.h"

#include <errno.h>
#include <unistd.h>

#include "access/rmgr.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "access/xlogutils.h"
#include "catalog/pg_control.h"
#include "miscadmin.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/procsignal.h"

#include "../keyring/keycache.h"
#include "../seal/page.h"
#include "birth.h"
#include "compat.h"
#include "gate.h"
#include "keywal.h"
#include "lockdown.h"
#include "orphans.h"
#include "rawio.h"
#include "relfile.h"
#include "seamops.h"
#include "settings.h"
#include "state.h"
#include "tempfile.h"
#include "walops.h"

static CmkFileConfig config;
static bool noted_backup = false;

/* The WAL position now, whatever phase the server is in. */
static XLogRecPtr
current_lsn(void)
{
	if (RecoveryInProgress())
		return GetXLogReplayRecPtr(NULL);
	return GetXLogInsertRecPtr();
}

/* LWLocks need a PGPROC, but for a standalone backend before it has one. */
static bool
can_lock(void)
{
	return cmk_shared != NULL && MyProc != NULL;
}

static int
on_revived(const CmkRelId *id)
{
	CmkError	err;
	int			result;

	if (!can_lock())
	{
		errno = ENOLCK;
		return -1;
	}
	cmk_lock_keyring();
	result = cmk_keyring_revive(id, &err);
	cmk_unlock_keyring();
	if (result < 0)
	{
		cmk_log_line("%s", err.message);
		errno = err.saved_errno ? err.saved_errno : EIO;
	}
	return result;
}

static void
on_died(const CmkRelId *id)
{
	CmkError	err;
	int			result;

	if (!can_lock())
		return;					/* found again as an orphan by recovery */
	cmk_lock_keyring();
	result = cmk_keyring_death(id, current_lsn(), &err);
	cmk_unlock_keyring();
	if (result < 0)
		cmk_log_line("%s", err.message);
}

/* A file of a relation: not before the keys are there, nor when they are to go. */
static int
on_opening(void)
{
	if (cmk_lockdown_bars())
	{
		errno = EKEYREVOKED;
		return -1;
	}
	return cmk_await_root();
}

/* No checkpoint counts before the keys that it relies on are on disk. */
static int
on_control_opening(void)
{
	CmkError	err;

	if (AmStartupProcess() && cmk_await_root() < 0)
		return -1;
	if (cmk_is_configured() && cmk_keyring_file_moved(&err))
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("%s", err.message), errdetail("%s", err.detail),
				 errhint("%s", err.hint)));
	if (cmk_keyring_sync() < 0)
	{
		cmk_log_line("could not fsync file \"%s\": %s", CMK_KEYS_FILE, strerror(errno));
		return -1;
	}
	return 0;
}

bool
cmk_backup_is_running(void)
{
	if (pg_atomic_read_u32(&cmk_shared->backups) > 0)
		return true;
	for (int i = 0; i < max_wal_senders; i++)
	{
		WalSnd	   *walsnd = &WalSndCtl->walsnds[i];

		if (walsnd->pid != 0 && walsnd->state == WALSNDSTATE_BACKUP)
			return true;
	}
	return false;
}

/*
 * Is this the process that brought the server up, saying so for the first time?
 */
static bool
ends_recovery(void)
{
	static bool done = false;

	if (done || !(AmStartupProcess() || !IsUnderPostmaster))
		return false;
	done = true;
	return true;
}

/*
 * The control file has just been written and synced: its redo pointer is that of
 * the last completed checkpoint or restartpoint.  Gives way to whoever holds the
 * lock, since the caller holds ControlFileLock; the next checkpoint comes.
 */
static void
on_control_closing(int fd)
{
	ControlFileData control;
	CmkError	err;
	int			erased;

	if (!can_lock() || !cmk_is_configured() ||
		cmk_real.pread(fd, &control, sizeof(control), 0) != sizeof(control))
		return;
	if (control.state == DB_IN_PRODUCTION && ends_recovery())
		cmk_sweep_orphans();
	if (cmk_registry_dead_count() == 0 || cmk_backup_is_running())
		return;
	if (!cmk_try_lock_keyring())
		return;
	erased = cmk_keyring_erase(control.checkPointCopy.redo, current_lsn(), &err);
	cmk_unlock_keyring();
	if (erased < 0)
		cmk_log_line("%s", err.message);

	if (erased == 0)
		return;

	/*
	 * All processes close their relation files now, those that are idle too, and keep
	 * no cipher for them (relfile_key.c).  That is what this barrier is for when a
	 * database is dropped.
	 */
	cmk_keycache_sweep();
	(void) EmitProcSignalBarrier(PROCSIGNAL_BARRIER_SMGRRELEASE);
}

/*
 * With full_page_writes the records of hash indexes are the only ones that name a page
 * without its image.  Which record it is, is not known until one of ours has passed.
 */
static bool
image_comes(void)
{
	int			rmid = cmk_replayed_rmid();

	return (AmStartupProcess() || !IsUnderPostmaster) && InRecovery && !reachedConsistency &&
		fullPageWrites && (rmid < 0 || rmid == RM_HASH_ID);
}

static const CmkFileHooks file_hooks = {
	.opening = on_opening,
	.created = cmk_birth_net_created,
	.revived = on_revived,
	.plain_write = cmk_birth_net_write,
	.plain_yet = cmk_completes_backup,
	.image_comes = image_comes,
	.died = on_died,
	.control_opening = on_control_opening,
	.control_closing = on_control_closing,
	.log = cmk_log_line
};

/* By the setting alone: this is asked when the postmaster's shared memory is gone, too. */
static bool
is_configured(void)
{
	return cmk_has_key() || cmk_is_configured();
}

static const CmkTempHooks temp_hooks = {
	.configured = is_configured
};

void
cmk_seamops_init(void)
{
	StaticAssertStmt(BLCKSZ == CMK_PAGE_SIZE, "pg_cmk needs pages of 8192 bytes");

	config.checksums = DataChecksumsEnabled();
	config.seal_temp = true;
	config.segment_blocks = RELSEG_SIZE;
	cmk_relfile_init(&config, &file_hooks);
	cmk_tempfile_init(&temp_hooks);
}

static void
backup_session_exit(int code, Datum arg)
{
	if (noted_backup)
		pg_atomic_fetch_sub_u32(&cmk_shared->backups, 1);
	noted_backup = false;
}

void
cmk_note_backup(void)
{
	static bool registered = false;

	if (noted_backup || cmk_shared == NULL)
		return;
	if (!registered)
		before_shmem_exit(backup_session_exit, (Datum) 0);
	registered = true;
	pg_atomic_fetch_add_u32(&cmk_shared->backups, 1);
	noted_backup = true;
}

void
cmk_check_backup_over(void)
{
	if (noted_backup && get_backup_status() == SESSION_BACKUP_NONE)
		backup_session_exit(0, (Datum) 0);
}
