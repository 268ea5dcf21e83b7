/*
 * deny.c
 *	  What background workers may do while the key is inaccessible: nothing.
 *
 * The gate stands where clients authenticate, and a background worker does not.
 * Extensions' workers and those of logical replication open a database without
 * meeting it, and the postmaster starts them again whenever they end.  They are
 * refused here instead, with the gate's own words, at three places:
 *
 * - when an executor or a utility statement starts, as a session would be at its
 *	 next connection;
 * - when a transaction is about to commit.  That is the only hook an apply worker
 *	 meets: it writes rows without statements.  A transaction that it received is
 *	 rolled back, and asked for again when the key is back, because its origin did
 *	 not advance.  It is also the first that any worker meets, since opening a
 *	 database is a transaction: a worker that starts while the gate is closed ends
 *	 before its own code runs.  And it keeps disable_on_error from disabling a
 *	 subscription for the loss of the key, because that is a transaction, too.
 *
 * Workers without a database are left alone: the launcher of logical replication,
 * and our own.  So are parallel workers, which are a part of the session that
 * started them.  Autovacuum is no background worker to the server, and goes on:
 * whom it serves is there no more, but transaction ids and dead rows are, and it
 * shows data to nobody.
 *
 * For everybody else all this costs one comparison.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "tcop/utility.h"

#include "compat.h"
#include "deny.h"
#include "gate.h"

static ExecutorStart_hook_type prev_ExecutorStart = NULL;
static ProcessUtility_hook_type prev_ProcessUtility = NULL;

static void
deny_background(void)
{
	if (MyBackendType == B_BG_WORKER && !IsParallelWorker() &&
		OidIsValid(MyDatabaseId) && cmk_gate_is_closed())
		cmk_gate_refuse(ERROR);
}

static void
cmk_executor_start(QueryDesc *queryDesc, int eflags)
{
	deny_background();
	(prev_ExecutorStart ? prev_ExecutorStart : standard_ExecutorStart)
		(queryDesc, eflags);
}

static void
cmk_deny_utility(PlannedStmt *pstmt, const char *queryString,
				 bool readOnlyTree, ProcessUtilityContext context,
				 ParamListInfo params, QueryEnvironment *queryEnv,
				 DestReceiver *dest, QueryCompletion *qc)
{
	deny_background();
	(prev_ProcessUtility ? prev_ProcessUtility : standard_ProcessUtility)
		(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

static void
deny_xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
		deny_background();
}

void
cmk_deny_init(void)
{
	prev_ExecutorStart = ExecutorStart_hook;
	ExecutorStart_hook = cmk_executor_start;
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = cmk_deny_utility;
	RegisterXactCallback(deny_xact_callback, NULL);
}
