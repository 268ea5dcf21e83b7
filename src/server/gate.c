/*
 * gate.c
 *	  Who may come in: new connections while the key is inaccessible.
 *
 * The gate stands behind authentication, so that only who is known to the server
 * hears more than that it is closed.  It denies everybody, superusers and
 * replication included, with SQLSTATE 57P03, which libpq takes as a reason to try
 * the next host of a list.  It does not ask the worker: it reads what the worker
 * last published and compares the clock, so a worker that hangs or died closes the
 * gate too.
 *
 * While the server starts it has no gate yet: the postmaster itself says "starting
 * up" to clients.  The reason is added to that message as its detail.
 */
#include "postgres.h"

#include <errno.h>
#include <unistd.h>

#include "libpq/auth.h"
#include "libpq/libpq-be.h"
#include "miscadmin.h"
#include "postmaster/startup.h"
#include "storage/ipc.h"
#include "storage/pmsignal.h"
#include "utils/elog.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "gate.h"
#include "state.h"
#include "worker.h"

static ClientAuthentication_hook_type prev_client_authentication = NULL;
static emit_log_hook_type prev_emit_log = NULL;
static bool worker_ran = false; /* while the startup process waits */

bool
cmk_gate_is_closed(void)
{
	CmkHealth	health;
	CmkHealthConfig config;

	if (cmk_shared == NULL)
		return false;
	SpinLockAcquire(&cmk_shared->mutex);
	health = cmk_shared->status.health;
	SpinLockRelease(&cmk_shared->mutex);
	cmk_health_settings(&config);
	return cmk_health_closed(&health, &config, cmk_boottime());
}

void
cmk_gate_refuse(int elevel)
{
	CmkStatus	st;
	bool		inaccessible;

	cmk_read_status(&st);
	inaccessible = st.health.state == CMK_STATE_INACCESSIBLE;
	ereport(elevel,
			(errcode(ERRCODE_CANNOT_CONNECT_NOW),
			 errmsg("the customer-managed key of this server is inaccessible"),
			 errdetail("%s since %s: %s.",
					   inaccessible ? cmk_state_name(st.health.state) : "Not validated",
					   timestamptz_to_str(inaccessible || st.last_validated == 0 ?
										  st.since : st.last_validated),
					   st.health.reason != CMK_REASON_NONE ?
					   cmk_reason_name(st.health.reason) : "the key worker does not answer"),
			 errhint("The server accepts connections again by itself when the key is accessible.")));
}

static void
cmk_client_authentication(Port *port, int status)
{
	if (prev_client_authentication)
		prev_client_authentication(port, status);
	if (status == STATUS_OK && cmk_gate_is_closed())
		cmk_gate_refuse(FATAL);
}

/*
 * The message of a server that starts, on its way to the client: FATAL, from a
 * child that has no process slot yet.  Only a constant and the reason's name are
 * added; what the vault said is for the log.
 */
static void
explain_starting(ErrorData *edata)
{
	CmkStatus	st;

	if (!cmk_root_expected() || cmk_root_is_open())
		return;
	cmk_read_status(&st);
	edata->detail = MemoryContextStrdup(ErrorContext,
										psprintf("Waiting for the customer-managed key: %s.",
												 st.health.reason != CMK_REASON_NONE ?
												 cmk_reason_name(st.health.reason) : "not asked yet"));
}

/*
 * The server's own message for a session that the worker ends speaks of an
 * administrator.  The session is told what made it so.
 */
static void
explain_ending(ErrorData *edata)
{
	if (cmk_on_inaccessible != CMK_ON_DENY && cmk_gate_is_closed())
		edata->detail = MemoryContextStrdup(ErrorContext,
											"The customer-managed key of this server is inaccessible.");
}

static void
cmk_emit_log(ErrorData *edata)
{
	if (prev_emit_log)
		prev_emit_log(edata);
	if (edata->elevel != FATAL || cmk_shared == NULL)
		return;

	/* A detail that is there says only that recovery is not as far as that. */
	if (edata->sqlerrcode == ERRCODE_CANNOT_CONNECT_NOW && MyProcPort != NULL)
		explain_starting(edata);
	else if (edata->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN && edata->detail == NULL)
		explain_ending(edata);
}

static bool
worker_runs(void)
{
	bool		runs;

	SpinLockAcquire(&cmk_shared->mutex);
	runs = cmk_shared->worker != NULL;
	SpinLockRelease(&cmk_shared->mutex);
	return runs;
}

/*
 * After a crash the postmaster starts no background worker before redo begins
 * (maybe_start_bgworkers), and here redo waits for one; nor can it be stopped
 * before, but at once (PostmasterStateMachine waits for a checkpointer that nobody
 * ends).  So it is told that redo has begun, which ends its reinitialization and has
 * no other meaning, and to look at its list of workers.
 */
static void
want_worker(void)
{
	SendPostmasterSignal(PMSIGNAL_RECOVERY_STARTED);
	SendPostmasterSignal(PMSIGNAL_BACKGROUND_WORKER_CHANGE);
}

/*
 * A stop that comes before the postmaster has heard that finds it still
 * reinitializing: having told us to end it would wait for the checkpointer for ever.
 * The end of a startup process by itself makes it kill the others after some
 * seconds (HandleChildCrash).  Nothing is lost: nothing has been done yet.
 */
static void
end_as_crash(int code, Datum arg)
{
	if (!worker_ran)
		_exit(2);
}

int
cmk_await_root(void)
{
	int			alone = cmk_after_crash ? 9 : 0;

	if (!cmk_root_expected() || cmk_root_is_open())
		return 0;
	if (!AmStartupProcess())
	{
		errno = ENOKEY;
		return -1;
	}
	ereport(LOG, (errmsg("pg_cmk: waiting for the customer-managed key")));
	if (cmk_after_crash)
		on_proc_exit(end_as_crash, (Datum) 0);
	cmk_debug_point("await_root");
	while (!cmk_root_is_open())
	{
		HandleStartupProcInterrupts();
		if (!PostmasterIsAlive())
			exit(1);
		worker_ran |= worker_runs();
		alone = worker_runs() ? 0 : alone + 1;
		if (alone > 0 && alone % 10 == 0)
			want_worker();
		pg_usleep(100000L);
	}
	worker_ran = true;			/* seen or not */
	ereport(LOG, (errmsg("pg_cmk: the customer-managed key is there")));
	return 0;
}

void
cmk_gate_init(void)
{
	prev_client_authentication = ClientAuthentication_hook;
	ClientAuthentication_hook = cmk_client_authentication;
	prev_emit_log = emit_log_hook;
	emit_log_hook = cmk_emit_log;
}
