/*
 * cmk_heap.c
 *	  The table access method: PostgreSQL's heap, sealed.
 *
 * cmk_heap is a copy of the heap's own table of callbacks with two differences.
 *
 * The callbacks that create storage give the new file its DEK first: this is a
 * place where an ereport is safe and nothing has been created yet, so a table that
 * cannot be sealed is not created at all.
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
	cmk_heap_methods.index_build_range_scan = cmk_index_build_range_scan;
	cmk_heap_methods.index_validate_scan = cmk_index_validate_scan;
	methods_ready = true;
	CacheRegisterRelcacheCallback(renew_loans, (Datum) 0);
}
