/*
 * sealwork.c
 *	  The background worker that seals a database in place.  See sealwork.h.
 *
 * A worker goes through pg_class of one database, and takes a transaction for some
 * pages of one relation at a time, so that it holds no lock for long.  It is started, and
 * told what to do, by seallaunch.c.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "sealwork.h"

PGDLLEXPORT void cmk_seal_worker_main(Datum arg);

#define CHUNK_PAGES		2048	/* of a transaction */
#define LOCK_TRIES		100		/* of 100 ms */

static void
await_backups(void)
{
	cmk_progress_phase(CMK_SEAL_WAITING);
	cmk_seal_await_backups();
}

/* Without waiting in the queue, where we would hold others up. */
static bool
lock_relation(Oid relid)
{
	for (int i = 0; i < LOCK_TRIES; i++)
	{
		if (ConditionalLockRelationOid(relid, ShareUpdateExclusiveLock))
			return true;
		CHECK_FOR_INTERRUPTS();
		pg_usleep(100000L);
	}
	return false;
}

/* A worker's: leave alone what is plain. */
static bool only_rotate = false;

typedef enum Step
{
	STEP_BEGIN, STEP_SEAL, STEP_FINISH, STEP_DONE
} Step;

/*
 * One transaction's work on a relation.  *node says whose storage step and pos are
 * about: if it was replaced meanwhile, all begins anew.
 */
static Step
seal_step(Oid relid, Step step, RelFileNode *node, CmkSealPos *pos)
{
	Relation	rel = try_relation_open(relid, NoLock);
	BlockNumber from = pos->block;

	if (rel == NULL)
		return STEP_DONE;
	if (!cmk_rotate_needed(rel) && (only_rotate || !cmk_seal_needed(rel)))
	{
		relation_close(rel, NoLock);
		return STEP_DONE;
	}
	if (step != STEP_BEGIN && !RelFileNodeEquals(*node, rel->rd_node))
		step = STEP_BEGIN;
	switch (step)
	{
		case STEP_BEGIN:
			if (cmk_rotate_needed(rel))
				cmk_rotate_begin(rel, pos);
			else
				cmk_seal_begin(rel, pos);
			cmk_progress_relation(relid, cmk_seal_blocks(pos));
			*node = rel->rd_node;
			step = STEP_SEAL;
			break;
		case STEP_SEAL:
			cmk_progress_phase(CMK_SEAL_SEALING);
			if (cmk_seal_some(rel, pos, CHUNK_PAGES))
				step = STEP_FINISH;
			cmk_progress_blocks(pos, pos->block > from ? pos->block - from : CHUNK_PAGES);
			break;
		case STEP_FINISH:
			cmk_progress_phase(CMK_SEAL_SYNCING);
			step = cmk_seal_finish(rel, pos) ? STEP_DONE : STEP_BEGIN;
			break;
		case STEP_DONE:
			break;
	}
	relation_close(rel, NoLock);
	return step;
}

/* false: it was locked for too long. */
static bool
seal_relation(Oid relid)
{
	RelFileNode node = {0};
	CmkSealPos	pos = {0};
	Step		step = STEP_BEGIN;

	while (step != STEP_DONE)
	{
		Step		next = step;
		bool		locked;

		StartTransactionCommand();
		locked = lock_relation(relid);
		if (locked)
			next = seal_step(relid, step, &node, &pos);
		CommitTransactionCommand();
		if (!locked)
			return false;
		if (next != step && next != STEP_DONE)
			await_backups();
		step = next;
	}
	return true;
}

/* What goes wrong with one relation must not keep the others plain. */
static bool
seal_relation_safely(Oid relid)
{
	volatile bool ok = false;

	PG_TRY();
	{
		ok = seal_relation(relid);
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	return ok;
}

/* All relations with storage, catalogs first; in TopMemoryContext. */
static List *
list_relations(void)
{
	List	   *result = NIL;
	Relation	pg_class;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	pg_class = table_open(RelationRelationId, AccessShareLock);
	scan = table_beginscan_catalog(pg_class, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);
		MemoryContext old;

		if (!RELKIND_HAS_STORAGE(form->relkind) ||
			form->relpersistence == RELPERSISTENCE_TEMP)
			continue;
		old = MemoryContextSwitchTo(TopMemoryContext);
		result = lappend_oid(result, form->oid);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	table_close(pg_class, AccessShareLock);
	CommitTransactionCommand();
	list_sort(result, list_oid_cmp);
	return result;
}

void
cmk_seal_worker_main(Datum arg)
{
	List	   *relids;
	ListCell   *lc;
	int			failed = 0;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	only_rotate = MyBgworkerEntry->bgw_extra[0] != 0;
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid,
											  BGWORKER_BYPASS_ALLOWCONN);
	relids = list_relations();
	cmk_progress_begin((uint32) list_length(relids));
	foreach(lc, relids)
	{
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (!seal_relation_safely(lfirst_oid(lc)))
			failed++;
		cmk_progress_relation_done();
	}
	cmk_progress_end();
	if (failed > 0)
		ereport(LOG,
				(errmsg("pg_cmk: %d relations of database %u could not be sealed in place yet",
						failed, MyDatabaseId)));
	proc_exit(0);
}
