/*
 * sqlseal.c
 *	  cmk.seal(), cmk.seal_database() and cmk.progress.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "sealwork.h"
#include "state.h"

PG_FUNCTION_INFO_V1(cmk_seal);
PG_FUNCTION_INFO_V1(cmk_seal_database);
PG_FUNCTION_INFO_V1(cmk_progress);

#define PAGES_AT_ONCE	128		/* between two looks at progress */

/* The relation, its indexes, its TOAST table and that one's index; locked. */
static List *
add_with_dependents(List *list, Oid relid)
{
	Relation	rel = relation_open(relid, ShareUpdateExclusiveLock);
	ListCell   *lc;

	if (cmk_seal_needed(rel))
		list = lappend_oid(list, relid);
	if (rel->rd_rel->relkind == RELKIND_RELATION ||
		rel->rd_rel->relkind == RELKIND_MATVIEW ||
		rel->rd_rel->relkind == RELKIND_TOASTVALUE)
		foreach(lc, RelationGetIndexList(rel))
			list = add_with_dependents(list, lfirst_oid(lc));
	if (OidIsValid(rel->rd_rel->reltoastrelid))
		list = add_with_dependents(list, rel->rd_rel->reltoastrelid);
	relation_close(rel, NoLock);
	return list;
}

static List *
list_to_seal(Oid relid)
{
	char		relkind = get_rel_relkind(relid);
	List	   *list = NIL;
	ListCell   *lc;

	if (relkind != RELKIND_PARTITIONED_TABLE && relkind != RELKIND_PARTITIONED_INDEX)
		return add_with_dependents(NIL, relid);
	foreach(lc, find_all_inheritors(relid, ShareUpdateExclusiveLock, NULL))
		list = list_concat_unique_oid(list, add_with_dependents(NIL, lfirst_oid(lc)));
	return list;
}

/* Begins with pos, which cmk_seal_begin() set. */
static uint64
seal_one(Oid relid, CmkSealPos *pos)
{
	Relation	rel = relation_open(relid, NoLock);
	bool		end;

	do
	{
		pos->fork = MAIN_FORKNUM;
		pos->block = 0;
		cmk_progress_relation(relid, cmk_seal_blocks(pos));
		cmk_progress_phase(CMK_SEAL_SEALING);
		do
		{
			BlockNumber from = pos->block;

			end = cmk_seal_some(rel, pos, PAGES_AT_ONCE);
			cmk_progress_blocks(pos, pos->block > from ? pos->block - from : PAGES_AT_ONCE);
		} while (!end);
		cmk_progress_phase(CMK_SEAL_SYNCING);
	} while (!cmk_seal_finish(rel));
	cmk_progress_relation_done();
	relation_close(rel, NoLock);
	return pos->sealed;
}

static void
check_can_seal(const char *what)
{
	PreventCommandDuringRecovery(what);
	if (!cmk_is_configured())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot seal a relation: no key is configured"),
				 errhint("Set pg_cmk.key and restart the server.")));
}

/* Seals a relation and what belongs to it in place; how many pages became sealed. */
Datum
cmk_seal(PG_FUNCTION_ARGS)
{
	List	   *list;
	ListCell   *lc;
	CmkSealPos *pos;
	uint64		sealed = 0;

	check_can_seal("cmk.seal()");
	list = list_to_seal(PG_GETARG_OID(0));
	pos = palloc(sizeof(CmkSealPos) * (list_length(list) + 1));
	cmk_progress_begin((uint32) list_length(list));
	foreach(lc, list)
	{
		Relation	rel = relation_open(lfirst_oid(lc), NoLock);

		cmk_seal_begin(rel, &pos[foreach_current_index(lc)]);
		relation_close(rel, NoLock);
	}
	cmk_progress_phase(CMK_SEAL_WAITING);
	if (list != NIL)
		cmk_seal_await_backups();
	foreach(lc, list)
		sealed += seal_one(lfirst_oid(lc), &pos[foreach_current_index(lc)]);
	cmk_progress_end();
	PG_RETURN_INT64((int64) sealed);
}

/*
 * Has a worker seal all relations of this database, and the shared ones; how many
 * relation files became sealed.
 */
Datum
cmk_seal_database(PG_FUNCTION_ARGS)
{
	char		some[MAXPGPATH];
	int			before;
	int			left;

	check_can_seal("cmk.seal_database()");
	before = cmk_unsealed_files(MyDatabaseId, some, NULL);
	if (!cmk_seal_database_by_worker(MyDatabaseId))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start a background worker"),
				 errhint("Raise max_worker_processes.")));
	left = cmk_unsealed_files(MyDatabaseId, some, NULL);
	if (left > 0)
		ereport(WARNING,
				(errmsg("%d relation files of this database are not sealed yet", left),
				 errdetail("One of them is \"%s\".", some),
				 errhint("The server's log says more; other sessions may hold locks.")));
	PG_RETURN_INT64(Max(before - left, 0));
}

static const char *
phase_name(CmkSealPhase phase)
{
	switch (phase)
	{
		case CMK_SEAL_INITIALIZING:
			return "initializing";
		case CMK_SEAL_WAITING:
			return "waiting for base backups";
		case CMK_SEAL_SEALING:
			return "sealing pages";
		case CMK_SEAL_SYNCING:
			return "syncing files";
	}
	return "unknown";
}

/* The OID of a relation means something only in its own database. */
Datum
cmk_progress(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < CMK_SEAL_SLOTS; i++)
	{
		CmkSealSlot s;
		Datum		values[10];
		bool		nulls[10] = {0};
		char	   *name;

		SpinLockAcquire(&cmk_shared->mutex);
		s = cmk_shared->seals[i];
		SpinLockRelease(&cmk_shared->mutex);
		if (s.pid == 0)
			continue;
		name = get_database_name(s.db);
		values[0] = Int32GetDatum(s.pid);
		values[1] = ObjectIdGetDatum(s.db);
		nulls[2] = name == NULL;
		values[2] = name == NULL ? 0 :
			DirectFunctionCall1(namein, CStringGetDatum(name));
		nulls[3] = !OidIsValid(s.rel);
		values[3] = ObjectIdGetDatum(s.rel);
		values[4] = CStringGetTextDatum(phase_name(s.phase));
		values[5] = Int64GetDatum((int64) s.blocks_total);
		values[6] = Int64GetDatum((int64) s.blocks_done);
		values[7] = Int64GetDatum((int64) s.blocks_sealed);
		values[8] = Int64GetDatum((int64) s.relations_total);
		values[9] = Int64GetDatum((int64) s.relations_done);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
