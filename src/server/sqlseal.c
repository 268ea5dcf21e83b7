/*
 * sqlseal.c
 *	  cmk.seal(), cmk.seal_database(), cmk.rotate_dek() and cmk.progress.
 */
#include "postgres.h"

#include <sys/time.h>

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
#include "utils/timestamp.h"

#include "compat.h"
#include "sealwork.h"
#include "state.h"

PG_FUNCTION_INFO_V1(cmk_seal);
PG_FUNCTION_INFO_V1(cmk_seal_database);
PG_FUNCTION_INFO_V1(cmk_rotate_dek);
PG_FUNCTION_INFO_V1(cmk_progress);

#define PAGES_AT_ONCE	128		/* between two looks at progress */

/*
 * The relation, its indexes, its TOAST table and that one's index, if they are wanted;
 * locked.
 */
static List *
add_with_dependents(List *list, Oid relid, bool (*wanted) (Relation rel))
{
	Relation	rel = relation_open(relid, ShareUpdateExclusiveLock);
	ListCell   *lc;

	if (wanted(rel))
		list = lappend_oid(list, relid);
	if (rel->rd_rel->relkind == RELKIND_RELATION ||
		rel->rd_rel->relkind == RELKIND_MATVIEW ||
		rel->rd_rel->relkind == RELKIND_TOASTVALUE)
		foreach(lc, RelationGetIndexList(rel))
			list = add_with_dependents(list, lfirst_oid(lc), wanted);
	if (OidIsValid(rel->rd_rel->reltoastrelid))
		list = add_with_dependents(list, rel->rd_rel->reltoastrelid, wanted);
	relation_close(rel, NoLock);
	return list;
}

static List *
list_wanted(Oid relid, bool (*wanted) (Relation rel))
{
	char		relkind = get_rel_relkind(relid);
	List	   *list = NIL;
	ListCell   *lc;

	if (relkind != RELKIND_PARTITIONED_TABLE && relkind != RELKIND_PARTITIONED_INDEX)
		return add_with_dependents(NIL, relid, wanted);
	foreach(lc, find_all_inheritors(relid, ShareUpdateExclusiveLock, NULL))
		list = list_concat_unique_oid(list,
									  add_with_dependents(NIL, lfirst_oid(lc), wanted));
	return list;
}

/* Begins with pos, which cmk_seal_begin() or cmk_rotate_begin() set. */
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
	} while (!cmk_seal_finish(rel, pos));
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

/*
 * All of them have their keys before the first page is sealed; new ones were made,
 * as their records say, at that time.
 */
static uint64
seal_all(List *list, int64 created,
		 void (*begin_one) (Relation rel, CmkSealPos *pos))
{
	ListCell   *lc;
	CmkSealPos *pos;
	uint64		sealed = 0;

	pos = palloc(sizeof(CmkSealPos) * (list_length(list) + 1));
	cmk_progress_begin((uint32) list_length(list));
	foreach(lc, list)
	{
		Relation	rel = relation_open(lfirst_oid(lc), NoLock);

		pos[foreach_current_index(lc)].created = created;
		begin_one(rel, &pos[foreach_current_index(lc)]);
		relation_close(rel, NoLock);
	}
	if (begin_one == cmk_rotate_begin)
		cmk_seal_watch();
	cmk_progress_phase(CMK_SEAL_WAITING);
	if (list != NIL)
		cmk_seal_await_backups();
	foreach(lc, list)
		sealed += seal_one(lfirst_oid(lc), &pos[foreach_current_index(lc)]);
	cmk_progress_end();
	return sealed;
}

/* Seals a relation and what belongs to it in place; how many pages became sealed. */
Datum
cmk_seal(PG_FUNCTION_ARGS)
{
	check_can_seal("cmk.seal()");
	PG_RETURN_INT64((int64) seal_all(list_wanted(PG_GETARG_OID(0), cmk_seal_needed),
									 0, cmk_seal_begin));
}

/* What can have no new data key by itself, nor has members that can. */
static void
check_can_rotate(Oid relid)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	char		relkind = rel->rd_rel->relkind;

	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot rotate the data key of temporary relation \"%s\"",
						RelationGetRelationName(rel)),
				 errdetail("It has none of its own: its key is in memory only, and new at each start of the server.")));
	if (!RELKIND_HAS_STORAGE(relkind) && relkind != RELKIND_PARTITIONED_TABLE &&
		relkind != RELKIND_PARTITIONED_INDEX)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot rotate the data key of \"%s\"", RelationGetRelationName(rel)),
				 errdetail_relkind_not_supported(relkind)));
	relation_close(rel, AccessShareLock);
}

/*
 * All of a set of relations, or if an earlier call did not finish those that it left:
 * they have two keys, or it had not come to them, and their key is older than
 * that call.  *created is when the call was made, this or that one.
 */
static List *
list_to_rotate(Oid relid, int64 *created)
{
	List	   *all = list_wanted(relid, cmk_has_lasting_storage);
	List	   *list = NIL;
	ListCell   *lc;
	int64		began = PG_INT64_MAX;
	struct timeval now;

	for (int pass = 0; pass < 2; pass++)
		foreach(lc, all)
		{
			Relation	rel = relation_open(lfirst_oid(lc), NoLock);
			bool		goes_on = cmk_rotate_needed(rel);

			cmk_require_sealed(rel);
			if (pass == 0 && goes_on)
				began = Min(began, cmk_key_created(rel));
			if (pass == 1 && (goes_on || cmk_key_created(rel) < began))
				list = lappend_oid(list, lfirst_oid(lc));
			relation_close(rel, NoLock);
		}
	gettimeofday(&now, NULL);
	*created = began != PG_INT64_MAX ? began :
		(int64) now.tv_sec * USECS_PER_SEC + now.tv_usec;
	return list;
}

/*
 * Gives a relation and what belongs to it new data keys, under which all pages come;
 * how many came.  What an earlier call did not finish is finished, and nothing else
 * then.
 */
Datum
cmk_rotate_dek(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	List	   *list;
	int64		created;

	check_can_seal("cmk.rotate_dek()");
	check_can_rotate(relid);
	cmk_seal_watch();
	list = list_to_rotate(relid, &created);
	PG_RETURN_INT64((int64) seal_all(list, created, cmk_rotate_begin));
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
	if (!cmk_seal_database_by_worker(MyDatabaseId, false))
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
