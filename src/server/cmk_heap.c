/*
 * cmk_heap.c
 *	  The table access method: PostgreSQL's heap, sealed.
 *
 * cmk_heap is a copy of the heap's own table of callbacks with three differences.
 *
 * The callbacks that create storage give the new file its DEK first: this is a
 * place where an ereport is safe and nothing has been created yet, so a table that
 * cannot be sealed is not created at all.
 *
 * The callbacks that add rows make sure that the table and its TOAST table have
 * their DEKs.  A file whose key record is lost cannot be told from a plain file by
 * those who write its pages: if it is empty, nothing has to be read before.  Here
 * it is known what it should be.
 *
 * heap_getnext() refuses a relation whose rd_tableam is not the heap's own table,
 * and the heap's index-build and index-validate callbacks call it.  For these two
 * the relation is lent the heap's table for as long as the callback runs.  The
 * relcache entry may be rebuilt meanwhile, which puts our table back: a relcache
 * callback renews the loan.  The build runs user code (index expressions), which
 * may build other indexes, so loans nest.
 */
#include "postgres.h"

#include "access/amapi.h"
#include "access/heapam.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "fmgr.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#include "birth.h"
#include "cmk_heap.h"
#include "compat.h"
#include "filekind.h"
#include "state.h"

typedef struct Loan
{
	Relation	rel;
	struct Loan *outer;
} Loan;

static TableAmRoutine cmk_heap_methods;
static bool methods_ready = false;
static Loan *loans = NULL;

PG_FUNCTION_INFO_V1(cmk_heap_handler);

static void
lend(Loan *loan, Relation rel)
{
	loan->rel = rel;
	loan->outer = loans;
	loans = loan;
	rel->rd_tableam = GetHeapamTableAmRoutine();
}

/* Gives back, unless an outer callback has lent the same relation. */
static void
give_back(Loan *loan)
{
	bool		lent_before = false;

	loans = loan->outer;
	for (Loan *l = loans; l != NULL; l = l->outer)
		if (l->rel == loan->rel)
			lent_before = true;
	if (!lent_before)
		loan->rel->rd_tableam = &cmk_heap_methods;
}

static void
renew_loans(Datum arg, Oid relid)
{
	for (Loan *l = loans; l != NULL; l = l->outer)
		if (relid == InvalidOid || RelationGetRelid(l->rel) == relid)
			l->rel->rd_tableam = GetHeapamTableAmRoutine();
}

static bool
is_lent(Relation rel)
{
	for (Loan *l = loans; l != NULL; l = l->outer)
		if (l->rel == rel)
			return true;
	return false;
}

bool
cmk_is_cmk_heap(Relation rel)
{
	return methods_ready &&
		(rel->rd_tableam == &cmk_heap_methods || is_lent(rel));
}

bool
cmk_is_cmk_heap_am(Oid amoid)
{
	HeapTuple	tuple = SearchSysCache1(AMOID, ObjectIdGetDatum(amoid));
	Oid			handler;

	if (!HeapTupleIsValid(tuple))
		return false;
	handler = ((Form_pg_am) GETSTRUCT(tuple))->amhandler;
	if (((Form_pg_am) GETSTRUCT(tuple))->amtype != AMTYPE_TABLE)
		handler = InvalidOid;
	ReleaseSysCache(tuple);
	return OidIsValid(handler) &&
		GetTableAmRoutine(handler) == &cmk_heap_methods;
}

static void
cmk_relation_set_new_filenode(Relation rel, const RelFileNode *newrnode,
							  char persistence, TransactionId *freezeXid,
							  MultiXactId *minmulti)
{
	cmk_birth(newrnode, persistence);
	GetHeapamTableAmRoutine()->relation_set_new_filenode(rel, newrnode,
														 persistence,
														 freezeXid, minmulti);
	cmk_debug_point("birth-after-storage");
}

static void
cmk_relation_copy_data(Relation rel, const RelFileNode *newrnode)
{
	cmk_birth(newrnode, rel->rd_rel->relpersistence);
	GetHeapamTableAmRoutine()->relation_copy_data(rel, newrnode);
}

/* ereport(ERROR) if the relation, which must be sealed, has no DEK. */
static void
require_key(Relation rel)
{
	CmkRelId	id = CMK_RELID(rel->rd_node);
	char		path[128];

	if (cmk_is_born(&rel->rd_node))
		return;
	cmk_relation_path(&id, MAIN_FORKNUM, path, sizeof(path));
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("no key is known for relation \"%s\"", RelationGetRelationName(rel)),
			 errdetail("Its file is \"%s\"; what is written to it now would be in clear.", path),
			 errhint("Restore directory \"%s\" from a backup of this cluster.", CMK_DIR)));
}

static void
require_keys(Relation rel)
{
	static struct
	{
		RelFileNode node;
		uint64		epoch;
	}			known[64];
	int			i = rel->rd_node.relNode % lengthof(known);
	uint64		epoch = cmk_registry_epoch();

	if (known[i].epoch == epoch && RelFileNodeEquals(known[i].node, rel->rd_node))
		return;
	if (rel->rd_rel->relpersistence != RELPERSISTENCE_TEMP)
	{
		require_key(rel);
		if (OidIsValid(rel->rd_rel->reltoastrelid))
		{
			Relation	toast = RelationIdGetRelation(rel->rd_rel->reltoastrelid);

			if (!RelationIsValid(toast))
				elog(ERROR, "could not open relation with OID %u",
					 rel->rd_rel->reltoastrelid);
			require_key(toast);
			RelationClose(toast);
		}
	}
	known[i].node = rel->rd_node;
	known[i].epoch = epoch;
}

static void
cmk_tuple_insert(Relation rel, TupleTableSlot *slot, CommandId cid,
				 int options, BulkInsertState bistate)
{
	require_keys(rel);
	GetHeapamTableAmRoutine()->tuple_insert(rel, slot, cid, options, bistate);
}

static void
cmk_tuple_insert_speculative(Relation rel, TupleTableSlot *slot,
							 CommandId cid, int options,
							 BulkInsertState bistate, uint32 specToken)
{
	require_keys(rel);
	GetHeapamTableAmRoutine()->tuple_insert_speculative(rel, slot, cid, options,
														bistate, specToken);
}

static void
cmk_multi_insert(Relation rel, TupleTableSlot **slots, int nslots,
				 CommandId cid, int options, BulkInsertState bistate)
{
	require_keys(rel);
	GetHeapamTableAmRoutine()->multi_insert(rel, slots, nslots, cid, options, bistate);
}

static TM_Result
cmk_tuple_update(Relation rel, ItemPointer otid, TupleTableSlot *slot,
				 CommandId cid, Snapshot snapshot, Snapshot crosscheck,
				 bool wait, TM_FailureData *tmfd, LockTupleMode *lockmode,
				 bool *update_indexes)
{
	require_keys(rel);
	return GetHeapamTableAmRoutine()->tuple_update(rel, otid, slot, cid, snapshot,
												   crosscheck, wait, tmfd,
												   lockmode, update_indexes);
}

static double
cmk_index_build_range_scan(Relation table_rel, Relation index_rel,
						   struct IndexInfo *index_info, bool allow_sync,
						   bool anyvisible, bool progress,
						   BlockNumber start_blockno, BlockNumber numblocks,
						   IndexBuildCallback callback, void *callback_state,
						   TableScanDesc scan)
{
	Loan		loan;
	volatile double result = 0;

	lend(&loan, table_rel);
	PG_TRY();
	{
		result = GetHeapamTableAmRoutine()->index_build_range_scan(table_rel,
																   index_rel,
																   index_info,
																   allow_sync,
																   anyvisible,
																   progress,
																   start_blockno,
																   numblocks,
																   callback,
																   callback_state,
																   scan);
	}
	PG_FINALLY();
	{
		give_back(&loan);
	}
	PG_END_TRY();
	return result;
}

static void
cmk_index_validate_scan(Relation table_rel, Relation index_rel,
						struct IndexInfo *index_info, Snapshot snapshot,
						struct ValidateIndexState *state)
{
	Loan		loan;

	lend(&loan, table_rel);
	PG_TRY();
	{
		GetHeapamTableAmRoutine()->index_validate_scan(table_rel, index_rel,
													   index_info, snapshot,
													   state);
	}
	PG_FINALLY();
	{
		give_back(&loan);
	}
	PG_END_TRY();
}

Datum
cmk_heap_handler(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(&cmk_heap_methods);
}

void
cmk_heap_init(void)
{
	cmk_heap_methods = *GetHeapamTableAmRoutine();
	cmk_heap_methods.relation_set_new_filenode = cmk_relation_set_new_filenode;
	cmk_heap_methods.relation_copy_data = cmk_relation_copy_data;
	cmk_heap_methods.tuple_insert = cmk_tuple_insert;
	cmk_heap_methods.tuple_insert_speculative = cmk_tuple_insert_speculative;
	cmk_heap_methods.multi_insert = cmk_multi_insert;
	cmk_heap_methods.tuple_update = cmk_tuple_update;
	cmk_heap_methods.index_build_range_scan = cmk_index_build_range_scan;
	cmk_heap_methods.index_validate_scan = cmk_index_validate_scan;
	methods_ready = true;
	CacheRegisterRelcacheCallback(renew_loans, (Datum) 0);
}
