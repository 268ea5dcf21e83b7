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

static void
cmk_client_authentication(Port *port, int status)
{
	CmkStatus	st;
	CmkHealthConfig config;

	if (prev_client_authentication)
		prev_client_authentication(port, status);
	if (status != STATUS_OK || cmk_shared == NULL)
		return;

	cmk_read_status(&st);
	cmk_health_settings(&config);
	if (!cmk_health_closed(&st.health, &config, cmk_boottime()))
		return;
	ereport(FATAL,
			(errcode(ERRCODE_CANNOT_CONNECT_NOW),
			 errmsg("the customer-managed key of this server is inaccessible"),
			 errdetail("%s since %s: %s.",
					   st.health.state == CMK_STATE_INACCESSIBLE ?
					   cmk_state_name(st.health.state) : "Not validated",
					   timestamptz_to_str(st.health.state == CMK_STATE_INACCESSIBLE ?
										  st.since : st.last_validated),
					   st.health.reason != CMK_REASON_NONE ?
					   cmk_reason_name(st.health.reason) : "the key worker does not answer"),
			 errhint("The server accepts connections again by itself when the key is accessible.")));
}

/*
 * The message of a server that starts, on its way to the client: FATAL, from a
 * child that has no process slot yet.  Only a constant and the reason's name are
 * added; what the vault said is for the log.
 */
static void
cmk_emit_log(ErrorData *edata)
{
	CmkStatus	st;

	if (prev_emit_log)
		prev_emit_log(edata);
	if (edata->elevel != FATAL || edata->detail != NULL || MyProcPort == NULL ||
		edata->sqlerrcode != ERRCODE_CANNOT_CONNECT_NOW || cmk_shared == NULL ||
		!cmk_root_expected() || cmk_root_is_open())
		return;
	cmk_read_status(&st);
	edata->detail = MemoryContextStrdup(ErrorContext,
										psprintf("Waiting for the customer-managed key: %s.",
												 st.health.reason != CMK_REASON_NONE ?
												 cmk_reason_name(st.health.reason) : "not asked yet"));
}

int
cmk_await_root(void)
{
	if (!cmk_root_expected() || cmk_root_is_open())
		return 0;
	if (!AmStartupProcess())
	{
		errno = ENOKEY;
		return -1;
	}
	ereport(LOG, (errmsg("pg_cmk: waiting for the customer-managed key")));
	while (!cmk_root_is_open())
	{
		HandleStartupProcInterrupts();
		if (!PostmasterIsAlive())
			exit(1);
		pg_usleep(100000L);
	}
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
