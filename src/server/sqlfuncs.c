/*
 * sqlfuncs.c
 *	  The SQL functions behind the views and functions of schema cmk.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "common/relpath.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/relfilenodemap.h"
#include "utils/timestamp.h"

#include "../seal/page.h"
#include "cmk_heap.h"
#include "compat.h"
#include "rawio.h"
#include "state.h"
#include "walops.h"

PG_FUNCTION_INFO_V1(cmk_status);
PG_FUNCTION_INFO_V1(cmk_relations);
PG_FUNCTION_INFO_V1(cmk_is_sealed);
PG_FUNCTION_INFO_V1(cmk_pages);
PG_FUNCTION_INFO_V1(cmk_revalidate);

#define UNIX_EPOCH_OFFSET \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

static void
put_text(Datum *values, bool *nulls, int i, const char *text)
{
	nulls[i] = text == NULL || text[0] == '\0';
	if (!nulls[i])
		values[i] = CStringGetTextDatum(text);
}

/*
 * One row.  Columns as in view cmk.status; those that only a vault has are null
 * for a key in a file.
 */
Datum
cmk_status(PG_FUNCTION_ARGS)
{
	Datum		values[12] = {0};
	bool		nulls[12] = {0};
	TupleDesc	tupdesc;
	CmkStatus	st;
	bool		configured = cmk_is_configured();

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	cmk_read_status(&st);
	put_text(values, nulls, 0, cmk_state_name(st.health.state));
	put_text(values, nulls, 1, st.key_url[0] == '\0' ? "pg_cmk.key is not set" :
			 cmk_reason_name(st.health.reason));
	values[2] = TimestampTzGetDatum(st.since);
	put_text(values, nulls, 3, st.key_url);
	put_text(values, nulls, 4, st.key_version);
	put_text(values, nulls, 5, st.identity);
	nulls[6] = st.last_validated == 0;
	values[6] = TimestampTzGetDatum(st.last_validated);
	nulls[7] = st.next_validation == 0;
	values[7] = TimestampTzGetDatum(st.next_validation);
	put_text(values, nulls, 8, cmk_scope);
	values[9] = BoolGetDatum(cmk_wal_is_sealed());
	nulls[10] = !configured;
	if (configured)
		values[10] = Int32GetDatum((int32) cmk_registry_root()->id);
	values[11] = Int64GetDatum((int64) cmk_registry_count());

	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc),
													  values, nulls)));
}

/* The sealed relations of this database, and the shared ones. */
Datum
cmk_relations(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	uint32		cursor = 0;
	CmkDekInfo	info;

	InitMaterializedSRF(fcinfo, 0);
	while (cmk_registry_next(&cursor, &info))
	{
		Datum		values[4];
		bool		nulls[4] = {0};
		Oid			relid;

		CHECK_FOR_INTERRUPTS();
		if (info.state != CMK_DEK_LIVE || info.older ||
			(info.id.db != MyDatabaseId && info.id.db != 0))
			continue;
		relid = RelidByRelfilenode(info.id.spc, info.id.rel);
		if (!OidIsValid(relid))
			continue;			/* replaced or dropped, file not removed yet */
		values[0] = ObjectIdGetDatum(relid);
		values[1] = BoolGetDatum((info.flags & CMK_DEK_WHOLE) != 0);
		values[2] = Int32GetDatum(info.generation);
		values[3] = TimestampTzGetDatum(info.created - UNIX_EPOCH_OFFSET);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* Has a DEK, and nothing in it was left plain: kept track of, not scanned. */
Datum
cmk_is_sealed(PG_FUNCTION_ARGS)
{
	Relation	rel = relation_open(PG_GETARG_OID(0), AccessShareLock);
	CmkRelId	id = CMK_RELID(rel->rd_node);
	CmkDekRef	ref;
	CmkDekInfo	info;
	bool		sealed = false;

	if (!RELKIND_HAS_STORAGE(rel->rd_rel->relkind))
		sealed = false;
	else if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		sealed = cmk_is_configured();
	else
		while (cmk_registry_find(&id, &ref))
			if (cmk_registry_read(&ref, &info, NULL))
			{
				sealed = (info.flags & CMK_DEK_WHOLE) != 0;
				break;
			}
	relation_close(rel, AccessShareLock);
	PG_RETURN_BOOL(sealed);
}

typedef struct PageCounts
{
	int64		pages;
	int64		of_kind[CMK_PAGE_SEALED + 1];
} PageCounts;

/*
 * Counts the pages of one segment as they are on disk, reading around the seam.
 * false if there is no such file.
 */
static bool
count_segment(const char *path, PageCounts *counts)
{
	static PGAlignedBlock buf[16];
	int			fd = cmk_real.open(path, O_RDONLY | O_CLOEXEC);
	off_t		off = 0;
	ssize_t		n;
	int			save_errno;

	if (fd < 0)
	{
		if (errno == ENOENT)
			return false;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", path)));
	}
	while ((n = cmk_real.pread(fd, buf, sizeof(buf), off)) >= BLCKSZ &&
		   !InterruptPending)
	{
		for (int i = 0; i < n / BLCKSZ; i++)
		{
			counts->pages++;
			counts->of_kind[cmk_page_kind(buf[i].data)]++;
		}
		off += n / BLCKSZ * BLCKSZ;
	}
	save_errno = errno;
	cmk_real.close(fd);
	errno = save_errno;
	if (n < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": %m", path)));
	CHECK_FOR_INTERRUPTS();
	return true;
}

/* One row a fork: pages on disk, and how many of them are what. */
Datum
cmk_pages(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Relation	rel = relation_open(PG_GETARG_OID(0), AccessShareLock);

	InitMaterializedSRF(fcinfo, 0);
	for (ForkNumber fork = 0; fork <= MAX_FORKNUM; fork++)
	{
		char	   *path;
		PageCounts	counts = {0};
		Datum		values[5];
		bool		nulls[5] = {0};
		int			segno = 0;

		if (!RELKIND_HAS_STORAGE(rel->rd_rel->relkind))
			break;
		path = relpathbackend(rel->rd_node, rel->rd_backend, fork);
		while (count_segment(segno == 0 ? path : psprintf("%s.%d", path, segno),
							 &counts))
			segno++;
		if (segno == 0)
			continue;
		values[0] = CStringGetTextDatum(forkNames[fork]);
		values[1] = Int64GetDatum(counts.pages);
		values[2] = Int64GetDatum(counts.of_kind[CMK_PAGE_SEALED]);
		values[3] = Int64GetDatum(counts.of_kind[CMK_PAGE_PLAIN]);
		values[4] = Int64GetDatum(counts.of_kind[CMK_PAGE_ZERO]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	relation_close(rel, AccessShareLock);
	return (Datum) 0;
}

/* Has the worker look at the key now; the state that came of it. */
Datum
cmk_revalidate(PG_FUNCTION_ARGS)
{
	CmkStatus	st;

	if (cmk_has_key())
		cmk_ask_worker();
	cmk_read_status(&st);
	PG_RETURN_TEXT_P(cstring_to_text(cmk_state_name(st.health.state)));
}
