/*
 * busy.c
 *	  Background workers as extensions have them, for t/030_going_on.pl: each opens
 *	  a database and does one statement again and again, some to a transaction.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

PG_MODULE_MAGIC;

void		_PG_init(void);
PGDLLEXPORT void busy_main(Datum arg);

static char *statements[2];

static void
one_transaction(const char *statement)
{
	StartTransactionCommand();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	for (int i = 0; i < 50; i++)
	{
		SPI_execute(statement, false, 0);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 20, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
}

void
busy_main(Datum arg)
{
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection("postgres", NULL, 0);
	for (;;)
		one_transaction(statements[DatumGetInt32(arg)]);
}

void
_PG_init(void)
{
	DefineCustomStringVariable("busy.statement_0", "What worker 0 does.", NULL,
							   &statements[0], "", PGC_POSTMASTER, 0,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("busy.statement_1", "What worker 1 does.", NULL,
							   &statements[1], "", PGC_POSTMASTER, 0,
							   NULL, NULL, NULL);
	for (int i = 0; i < 2; i++)
	{
		BackgroundWorker worker;

		if (statements[i][0] == '\0')
			continue;
		memset(&worker, 0, sizeof(worker));
		snprintf(worker.bgw_name, BGW_MAXLEN, "busy %d", i);
		strlcpy(worker.bgw_type, "busy", BGW_MAXLEN);
		strlcpy(worker.bgw_library_name, "busy", BGW_MAXLEN);
		strlcpy(worker.bgw_function_name, "busy_main", BGW_MAXLEN);
		worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
		worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
		worker.bgw_restart_time = 1;
		worker.bgw_main_arg = Int32GetDatum(i);
		RegisterBackgroundWorker(&worker);
	}
}
