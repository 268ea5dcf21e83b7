/*
 * worker.c
 *	  The background worker that owns the conversation with the vault.  See
 *	  worker.h.
 *
 * Its life: look at the key, publish what came of it, wait, do it again.  What it
 * waits for is the time of the next validation (with jitter, so that a fleet of
 * servers does not ask at once), a changed configuration, or somebody who asks.
 */
#include "postgres.h"

#include <time.h>

#include "access/xlog.h"
#include "common/pg_prng.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/bgworker_internals.h"
#include "postmaster/interrupt.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "events.h"
#include "keywork.h"
#include "lockdown.h"
#include "reqfile.h"
#include "request.h"
#include "sessions.h"
#include "settings.h"
#include "state.h"
#include "statusfile.h"
#include "walops.h"
#include "worker.h"

#define CMK_WORKER_MAIN		"cmk_worker_main"

PGDLLEXPORT void cmk_worker_main(Datum arg);

#define WAL_NAP_MS		200		/* until recovery is over */
#define WAL_WATCH_MS	10000	/* until no plain WAL is left */

int64
cmk_boottime(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void
cmk_read_status(CmkStatus *status)
{
	SpinLockAcquire(&cmk_shared->mutex);
	*status = cmk_shared->status;
	SpinLockRelease(&cmk_shared->mutex);
}

static void
log_change(const CmkStatus *st, const CmkOutcome *outcome)
{
	const char *detail = outcome->verdict != CMK_VERDICT_YES ? outcome->err.detail : "";

	ereport(LOG,
			(errmsg("pg_cmk: state is %s%s%s", cmk_state_name(st->health.state),
					st->health.reason != CMK_REASON_NONE ? ", reason " : "",
					cmk_reason_name(st->health.reason)),
			 st->reason[0] ? errdetail("%s%s%s", st->reason,
									   detail[0] ? ": " : "", detail) : 0,
			 outcome->err.hint[0] && st->health.state != CMK_STATE_READY ?
			 errhint("%s", outcome->err.hint) : 0));
}

CmkHealthStep
cmk_publish(const CmkOutcome *outcome)
{
	CmkStatus  *st = &cmk_shared->status;
	CmkStatus	copy;
	CmkHealthConfig config;
	CmkHealthStep step;
	TimestampTz now = GetCurrentTimestamp();
	bool		news;

	cmk_health_settings(&config);
	SpinLockAcquire(&cmk_shared->mutex);
	news = outcome->verdict != CMK_VERDICT_YES && st->health.reason != outcome->reason;
	step = cmk_health_feed(&st->health, &config, outcome, cmk_boottime());
	if (step.changed)
		st->since = now;
	if (outcome->verdict == CMK_VERDICT_YES)
	{
		st->last_validated = now;
		st->reason[0] = '\0';
	}
	else
		strlcpy(st->reason, outcome->err.message, sizeof(st->reason));
	strlcpy(st->request_id, outcome->request_id, sizeof(st->request_id));
	st->next_validation = TimestampTzPlusMilliseconds(now, step.next_ms);
	copy = *st;
	SpinLockRelease(&cmk_shared->mutex);

	if (step.changed || news)
	{
		log_change(&copy, outcome);
		cmk_event("state", &copy, copy.reason);
	}
	if (news && outcome->reason == CMK_REASON_CANARY)
		cmk_event("alarm", &copy, copy.reason);
	cmk_write_status_file(&copy);
	if (copy.health.state == CMK_STATE_INACCESSIBLE)
	{
		(void) cmk_signal_sessions(SIGTERM, cmk_on_inaccessible == CMK_ON_DENY ?
								   CMK_WALSENDERS : CMK_CLIENTS);
		if (cmk_on_inaccessible == CMK_ON_LOCKDOWN)
		{
			cmk_answer_request_file();
			cmk_lockdown(&copy);
		}
	}
	return step;
}

void
cmk_ask_worker(void)
{
	uint64		mine;
	bool		done = false;

	SpinLockAcquire(&cmk_shared->mutex);
	mine = ++cmk_shared->asked;
	if (cmk_shared->worker != NULL)
		SetLatch(cmk_shared->worker);
	SpinLockRelease(&cmk_shared->mutex);

	ConditionVariablePrepareToSleep(&cmk_shared->answer);
	while (!done)
	{
		SpinLockAcquire(&cmk_shared->mutex);
		done = cmk_shared->answered >= mine;
		SpinLockRelease(&cmk_shared->mutex);
		if (!done)
			ConditionVariableTimedSleep(&cmk_shared->answer, 1000, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

static void
forget_worker(int code, Datum arg)
{
	SpinLockAcquire(&cmk_shared->mutex);
	if (cmk_shared->worker == MyLatch)
		cmk_shared->worker = NULL;
	SpinLockRelease(&cmk_shared->mutex);
}

CmkHealthStep
cmk_look(CmkKeyWork *work, CmkOutcome *out)
{
	CmkHealthStep step = {false, false, cmk_revalidate_interval};

	cmk_outcome(out, CMK_REASON_NONE, "%s", "");
	if (!cmk_root_is_open() && !cmk_root_expected())
		return step;
	cmk_keywork_follow_setting(work);
	if (cmk_root_is_open())
		cmk_keywork_validate(work, out);
	else
		cmk_keywork_open(work, out);

	/* A look that our own end cut short says nothing of the key. */
	if (ShutdownRequestPending && out->verdict != CMK_VERDICT_YES)
		return step;
	SpinLockAcquire(&cmk_shared->mutex);
	strlcpy(cmk_shared->status.identity, cmk_keywork_identity(work),
			sizeof(cmk_shared->status.identity));
	SpinLockRelease(&cmk_shared->mutex);
	step = cmk_publish(out);
	if (step.fresh)
		cmk_keywork_reset(work);
	else
	{
		cmk_keywork_settle(work);
		cmk_walwork(work);
		if (out->verdict == CMK_VERDICT_YES)
			cmk_keywork_renew_root(work);
	}
	return step;
}

/* One look at the key, for all who asked before it began. */
static CmkHealthStep
look_once(CmkKeyWork *work)
{
	CmkOutcome	outcome;
	CmkHealthStep step;
	uint64		asked;

	SpinLockAcquire(&cmk_shared->mutex);
	asked = cmk_shared->asked;
	SpinLockRelease(&cmk_shared->mutex);

	step = cmk_look(work, &outcome);
	if (ShutdownRequestPending && outcome.verdict != CMK_VERDICT_YES)
		return step;

	SpinLockAcquire(&cmk_shared->mutex);
	cmk_shared->answered = asked;
	SpinLockRelease(&cmk_shared->mutex);
	ConditionVariableBroadcast(&cmk_shared->answer);
	return step;
}

static bool
somebody_asks(void)
{
	bool		asks;

	SpinLockAcquire(&cmk_shared->mutex);
	asks = cmk_shared->asked != cmk_shared->answered;
	SpinLockRelease(&cmk_shared->mutex);
	return asks;
}

/* Until it is time, the configuration changed, or somebody asks. */
static void
wait_for_work(CmkKeyWork *work, int64 ms)
{
	bool		wal_pending = cmk_walwork_pending() && cmk_registry_root()->wal_from == 0;
	int64		until;
	int64		left;

	ms -= (int64) (pg_prng_double(&pg_global_prng_state) * (double) (ms / 10));
	until = cmk_boottime() + ms;
	while (!ShutdownRequestPending && !ConfigReloadPending && !somebody_asks() &&
		   !cmk_request_waits())
	{
		long		nap = cmk_events_reap();

		/* The first start with a key: as soon as recovery is over, but only once. */
		if (wal_pending && !RecoveryInProgress())
		{
			cmk_walwork(work);
			wal_pending = false;
		}
		else if (cmk_walwork_watches())
		{
			cmk_walwork(work);
			nap = Min(nap, WAL_WATCH_MS);
		}
		nap = wal_pending ? Min(nap, WAL_NAP_MS) : nap;

		left = until - cmk_boottime();
		if (left <= 0)
			break;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 (long) Min(left, nap), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

void
cmk_worker_main(Datum arg)
{
	CmkKeyWork *work;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();

	SpinLockAcquire(&cmk_shared->mutex);
	cmk_shared->worker = MyLatch;
	SpinLockRelease(&cmk_shared->mutex);
	on_shmem_exit(forget_worker, (Datum) 0);
	cmk_events_start();
	cmk_write_own_status(true);
	if (pg_atomic_exchange_u32(&cmk_shared->root_created, 0) != 0)
	{
		CmkStatus	st;

		cmk_read_status(&st);
		cmk_event("root created", &st, st.key_version);
	}
	cmk_request_begin();

	work = cmk_keywork_new();
	while (!ShutdownRequestPending)
	{
		CmkHealthStep step;

		cmk_lockdown_resume();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			cmk_set_setting(cmk_key_url);
			cmk_keywork_free(work);
			work = cmk_keywork_new();
		}
		cmk_serve_request(work);
		cmk_serve_request_file(work);
		step = look_once(work);
		cmk_answer_request_file();
		wait_for_work(work, step.next_ms);
	}

	cmk_events_stop();
	cmk_write_own_status(false);

	/* Not 0: a worker that was told to go must come back, while the server runs. */
	proc_exit(1);
}

void
cmk_worker_init(void)
{
	BackgroundWorker worker;

	cmk_events_init();
	cmk_lockdown_init();
	memset(&worker, 0, sizeof(worker));
	strlcpy(worker.bgw_name, "pg_cmk key worker", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "pg_cmk key worker", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "pg_cmk", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, CMK_WORKER_MAIN, BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_PostmasterStart;
	worker.bgw_restart_time = 1;
	if (cmk_has_key())
		RegisterBackgroundWorker(&worker);
}

void
cmk_require_worker(void)
{
	slist_iter	iter;

	if (!cmk_has_key() || !IsPostmasterEnvironment)
		return;
	slist_foreach(iter, &BackgroundWorkerList)
	{
		RegisteredBgWorker *rw = slist_container(RegisteredBgWorker, rw_lnode, iter.cur);

		if (strcmp(rw->rw_worker.bgw_function_name, CMK_WORKER_MAIN) == 0)
			return;
	}
	ereport(FATAL,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("the key worker of pg_cmk cannot be registered"),
			 errdetail("Nobody would validate the customer-managed key."),
			 errhint("Increase max_worker_processes, which is %d.", max_worker_processes)));
}
