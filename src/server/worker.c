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
#include "sessions.h"
#include "state.h"
#include "statusfile.h"
#include "worker.h"

PGDLLEXPORT void cmk_worker_main(Datum arg);

char	   *cmk_identity = NULL;
char	   *cmk_client_id = NULL;
char	   *cmk_tenant_id = NULL;
char	   *cmk_authority_host = NULL;
char	   *cmk_vault_dns_suffixes = NULL;
char	   *cmk_vault_ca_file = NULL;
char	   *cmk_vault_api_version = NULL;
int			cmk_vault_timeout = 10000;
int			cmk_revalidate_interval = 60000;
int			cmk_grace_period = 300000;
int			cmk_hard_deadline = CMK_HARD_DEADLINE_MS;
int			cmk_on_inaccessible = CMK_ON_DENY;
bool		cmk_require_purge_protection = true;

static const struct config_enum_entry inaccessible_options[] = {
	{"deny", CMK_ON_DENY, false},
	{"terminate", CMK_ON_TERMINATE, false},
	{"lockdown", CMK_ON_LOCKDOWN, false},
	{NULL, 0, false}
};

int64
cmk_boottime(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void
cmk_health_settings(CmkHealthConfig *config)
{
	config->interval_ms = cmk_revalidate_interval;
	config->grace_ms = cmk_grace_period;
	config->deadline_ms = cmk_hard_deadline;
}

static int
shutdown_requested(void)
{
	return ShutdownRequestPending;
}

void
cmk_vault_settings(CmkVaultConfig *config)
{
	memset(config, 0, sizeof(*config));
	config->identity = cmk_identity;
	config->client_id = cmk_client_id;
	config->tenant_id = cmk_tenant_id;
	config->authority_host = cmk_authority_host;
	config->dns_suffixes = cmk_vault_dns_suffixes;
	config->ca_file = cmk_vault_ca_file;
	config->api_version = cmk_vault_api_version;
	config->timeout_ms = cmk_vault_timeout;
	config->deadline_ms = cmk_vault_timeout * 3;
	config->interrupted = shutdown_requested;
}

void
cmk_read_status(CmkStatus *status)
{
	SpinLockAcquire(&cmk_shared->mutex);
	*status = cmk_shared->status;
	SpinLockRelease(&cmk_shared->mutex);
}

void
cmk_publish_key_version(const char *version)
{
	SpinLockAcquire(&cmk_shared->mutex);
	strlcpy(cmk_shared->status.key_version, version,
			sizeof(cmk_shared->status.key_version));
	SpinLockRelease(&cmk_shared->mutex);
}

static void
log_change(const CmkStatus *st, const CmkOutcome *outcome)
{
	ereport(LOG,
			(errmsg("pg_cmk: state is %s%s%s", cmk_state_name(st->health.state),
					st->health.reason != CMK_REASON_NONE ? ", reason " : "",
					cmk_reason_name(st->health.reason)),
			 st->reason[0] ? errdetail("%s", st->reason) : 0,
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
	cmk_write_status_file(&copy);
	if (copy.health.state == CMK_STATE_INACCESSIBLE)
	{
		(void) cmk_signal_sessions(SIGTERM, cmk_on_inaccessible == CMK_ON_DENY ?
								   CMK_WALSENDERS : CMK_CLIENTS);
		if (cmk_on_inaccessible == CMK_ON_LOCKDOWN)
			cmk_lockdown(&copy);
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

/* One look at the key, for all who asked before it began. */
static CmkHealthStep
look_once(CmkKeyWork *work)
{
	CmkOutcome	outcome;
	CmkHealthStep step = {false, false, cmk_revalidate_interval};
	uint64		asked;

	SpinLockAcquire(&cmk_shared->mutex);
	asked = cmk_shared->asked;
	SpinLockRelease(&cmk_shared->mutex);

	if (cmk_root_is_open() || cmk_root_expected())
	{
		if (cmk_root_is_open())
			cmk_keywork_validate(work, &outcome);
		else
			cmk_keywork_open(work, &outcome);

		/* A look that our own end cut short says nothing of the key. */
		if (ShutdownRequestPending && outcome.verdict != CMK_VERDICT_YES)
			return step;
		SpinLockAcquire(&cmk_shared->mutex);
		strlcpy(cmk_shared->status.identity, cmk_keywork_identity(work),
				sizeof(cmk_shared->status.identity));
		SpinLockRelease(&cmk_shared->mutex);
		step = cmk_publish(&outcome);
		if (step.fresh)
			cmk_keywork_reset(work);
	}

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
wait_for_work(int64 ms)
{
	int64		until;

	ms -= (int64) (pg_prng_double(&pg_global_prng_state) * (double) (ms / 10));
	until = cmk_boottime() + ms;
	while (!ShutdownRequestPending && !ConfigReloadPending && !somebody_asks())
	{
		long		nap = cmk_events_reap();
		int64		left = until - cmk_boottime();

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
	cmk_lockdown_resume();

	work = cmk_keywork_new();
	while (!ShutdownRequestPending)
	{
		CmkHealthStep step;

		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			cmk_keywork_free(work);
			work = cmk_keywork_new();
		}
		step = look_once(work);
		wait_for_work(step.next_ms);
	}

	cmk_events_stop();
	cmk_write_own_status(false);

	/* Not 0: a worker that was told to go must come back, while the server runs. */
	proc_exit(1);
}

static void
define_settings(void)
{
	DefineCustomStringVariable("pg_cmk.identity",
							   "How this server proves who it is to Microsoft Entra ID.",
							   "default, environment, clientsecret, clientcertificate, workloadidentity or managedidentity.",
							   &cmk_identity, "default", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("pg_cmk.client_id",
							   "Client id of the application or of the user-assigned identity.",
							   NULL, &cmk_client_id, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("pg_cmk.tenant_id", "The tenant of the vault.",
							   NULL, &cmk_tenant_id, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("pg_cmk.authority_host",
							   "Where tokens are asked for; credentials go nowhere else.",
							   NULL, &cmk_authority_host, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("pg_cmk.vault_dns_suffixes",
							   "Hosts that keys may be sent to: names that end in one of these.",
							   NULL, &cmk_vault_dns_suffixes, CMK_DEFAULT_DNS_SUFFIXES,
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("pg_cmk.vault_ca_file",
							   "Certificates that a vault is verified with, instead of the system's.",
							   NULL, &cmk_vault_ca_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("pg_cmk.vault_api_version",
							   "The api-version of the vault's REST interface.",
							   NULL, &cmk_vault_api_version, CMK_DEFAULT_API_VERSION,
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable("pg_cmk.vault_timeout", "The longest that one request may take.",
							NULL, &cmk_vault_timeout, 10000, 10, 60000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("pg_cmk.revalidate_interval", "How often the key is validated.",
							NULL, &cmk_revalidate_interval, 60000, 100, 300000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("pg_cmk.grace_period",
							"How long the key may be unreachable before the server closes.",
							NULL, &cmk_grace_period, 300000, 100, CMK_HARD_DEADLINE_MS,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("pg_cmk.debug_deadline",
							"For tests: the hard deadline since the last successful validation.",
							NULL, &cmk_hard_deadline, CMK_HARD_DEADLINE_MS, 100, CMK_HARD_DEADLINE_MS,
							PGC_SIGHUP, GUC_UNIT_MS | GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL,
							NULL, NULL, NULL);
	DefineCustomEnumVariable("pg_cmk.on_inaccessible",
							 "What happens to running sessions when the key is inaccessible.",
							 NULL, &cmk_on_inaccessible, CMK_ON_DENY, inaccessible_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("pg_cmk.require_purge_protection",
							 "Refuse a key that somebody could purge, when it is set.",
							 NULL, &cmk_require_purge_protection, true,
							 PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
}

void
cmk_worker_init(void)
{
	BackgroundWorker worker;

	define_settings();
	cmk_events_init();
	cmk_lockdown_init();
	memset(&worker, 0, sizeof(worker));
	strlcpy(worker.bgw_name, "pg_cmk key worker", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "pg_cmk key worker", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "pg_cmk", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "cmk_worker_main", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_PostmasterStart;
	worker.bgw_restart_time = 1;
	if (cmk_key_url[0] != '\0')
		RegisterBackgroundWorker(&worker);
}
