/*
 * lockdown.c
 *	  Closing the server so that no key is left in it.  See lockdown.h.
 *
 * The order: nobody opens a relation's file any more, sessions end, everything
 * dirty is written (sealed), a clean shutdown is in the control file, all
 * processes end, the keys are wiped.  The first of these makes the fourth safe: after
 * the shutdown checkpoint's record nothing may be inserted into WAL that anybody
 * relies on, and the only processes left that could are those that begin now
 * (autovacuum, other background workers).  They find no file to change.
 *
 * A clean shutdown and not just a crash, because a crash would empty unlogged
 * tables.  A session that does not end, or a checkpoint that does not, holds the
 * lockdown up for no longer than the hard deadline; then it is a crash, and WAL has
 * what was not written.  On a standby the checkpointer makes a restartpoint instead.
 *
 * What tells the postmaster that the crash was a lockdown lies in a mapping of its
 * own, since shared memory does not outlive it.
 */
#include "postgres.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "access/xlog.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "postmaster/bgwriter.h"
#include "postmaster/interrupt.h"
#include "postmaster/postmaster.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/backend_status.h"
#include "utils/wait_event.h"

#include "../keyring/keycache.h"
#include "compat.h"
#include "events.h"
#include "lockdown.h"
#include "sessions.h"
#include "state.h"

typedef struct Lockdown
{
	uint32		begun;
	CmkStatus	st;
} Lockdown;

static Lockdown *lockdown = NULL;

void
cmk_lockdown_init(void)
{
	void	   *p = mmap(NULL, sizeof(Lockdown), PROT_READ | PROT_WRITE,
						 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not map %zu bytes of memory: %m", sizeof(Lockdown))));
	lockdown = p;
}

void
cmk_lockdown_resume(void)
{
	if (lockdown->begun != 0)
		cmk_lockdown(&lockdown->st);
}

bool
cmk_lockdown_bars(void)
{
	return __atomic_load_n(&lockdown->begun, __ATOMIC_ACQUIRE) != 0 &&
		IsUnderPostmaster && MyAuxProcType == NotAnAuxProcess;
}

/* Waits, and ends with the postmaster; false when a shutdown is asked for. */
static bool
nap(long ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	return !ShutdownRequestPending;
}

/* Until all sessions have ended: false if some have not by that time. */
static bool
end_all_sessions(int64 until)
{
	while (cmk_signal_sessions(SIGTERM, CMK_WITH_DATABASE) > 0)
		if (!nap(50) || cmk_boottime() > until)
			return false;
	return true;
}

/*
 * A checkpoint while the others still run, so that the one of the shutdown has
 * little to do: a background writer that logs its snapshot meanwhile would turn
 * that into a panic.  False if it has not ended by that time.
 */
static bool
write_dirty_buffers(int64 until)
{
	XLogRecPtr	from = GetXLogInsertRecPtr();

	RequestCheckpoint(CHECKPOINT_IMMEDIATE | CHECKPOINT_FORCE);
	for (;;)
	{
		bool		crc_ok;
		ControlFileData *control = get_controlfile(DataDir, &crc_ok);
		bool		done = crc_ok && control->checkPointCopy.redo >= from;

		pfree(control);
		if (done)
			return true;
		if (!nap(50) || cmk_boottime() > until)
			return false;
	}
}

static int
checkpointer_pid(void)
{
	int			n = pgstat_fetch_stat_numbackends();
	int			pid = 0;

	for (int i = 1; i <= n; i++)
	{
		PgBackendStatus *st = &pgstat_fetch_stat_local_beentry(i)->backendStatus;

		if (st->st_backendType == B_CHECKPOINTER)
			pid = st->st_procpid;
	}
	pgstat_clear_backend_activity_snapshot();
	return pid;
}

void
cmk_lockdown(const CmkStatus *st)
{
	int64		until = cmk_boottime() + cmk_hard_deadline;
	int			checkpointer;

	if (!cmk_root_is_open() || ShutdownRequestPending)
		return;
	ereport(LOG,
			(errmsg("pg_cmk: locking down: all processes end, and the keys are wiped"),
			 restart_after_crash ? 0 :
			 errdetail("The server stops, because restart_after_crash is off.")));
	cmk_event("lockdown", st, "all processes end, and the keys are wiped");
	if (st != &lockdown->st)
		lockdown->st = *st;
	__atomic_store_n(&lockdown->begun, 1, __ATOMIC_RELEASE);

	checkpointer = checkpointer_pid();
	if (checkpointer != 0 && end_all_sessions(until) &&
		(RecoveryInProgress() || write_dirty_buffers(until)))
	{
		(void) kill(checkpointer, SIGUSR2);
		while (cmk_boottime() < until && nap(1000))
			;					/* until the postmaster ends us */
	}
	if (ShutdownRequestPending)
		proc_exit(1);			/* the whole server is ending */
	ereport(LOG, (errmsg("pg_cmk: the server is not clean in time, and recovers when the key is back")));
	_exit(2);
}

bool
cmk_lockdown_begins(CmkStatus *st)
{
	CmkError	err;

	if (lockdown->begun == 0)
		return false;
	*st = lockdown->st;
	cmk_keycache_wipe();
	if (cmk_registry_renew(&err) < 0)
		cmk_report(FATAL, &err);
	__atomic_store_n(&lockdown->begun, 0, __ATOMIC_RELEASE);
	ereport(LOG, (errmsg("pg_cmk: locked down: no key is in memory")));
	return true;
}
