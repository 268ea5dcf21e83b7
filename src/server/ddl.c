/*
 * ddl.c
 *	  What statements and object accesses tell of files that are about to be.
 *
 * Tables USING cmk_heap speak for themselves (cmk_heap.c).  Everything else that
 * is new has a pg_class row, and the object-access hook is told of it after its
 * empty file was made and before its first page.  What is left are statements
 * that put a new file in the place of an old one without a new row; for these the
 * utility hook says what the net of birth.c may assume:
 *
 * - REINDEX, TRUNCATE, VACUUM FULL, CLUSTER, REFRESH, rewriting ALTER TABLE: the
 *	 server schedules the old file for removal and creates the new one at once, so
 *	 the new one follows the old (CMK_STMT_FOLLOW, the default);
 * - ALTER TABLE … SET ACCESS METHOD cmk_heap: the indexes were plain and are to be
 *	 sealed;
 * - … SET TABLESPACE creates the new file before it removes the old: what is moved
 *	 belongs to the named relation and is as it is.  ALL IN TABLESPACE moves many,
 *	 and together with other commands a rewrite may reach partitions and children:
 *	 sealed, if this database could hold a sealed relation at all;
 * - CREATE DATABASE and ALTER DATABASE SET TABLESPACE: each file as its source.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_index.h"
#include "catalog/pg_proc.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "birth.h"
#include "cmk_heap.h"
#include "compat.h"
#include "ddl.h"
#include "seamops.h"
#include "state.h"

static ProcessUtility_hook_type prev_ProcessUtility = NULL;
static object_access_hook_type prev_object_access = NULL;

static bool
relation_is_sealed(Relation rel)
{
	return cmk_is_cmk_heap(rel) || cmk_is_born(&rel->rd_node);
}

/*
 * The table of an index whose rows the current command has just written: they
 * are not visible to an ordinary snapshot yet.
 */
static Oid
table_of_new_index(Oid indexoid)
{
	Relation	pg_index = table_open(IndexRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			result = InvalidOid;

	ScanKeyInit(&key, Anum_pg_index_indexrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(indexoid));
	scan = systable_beginscan(pg_index, IndexRelidIndexId, true, SnapshotSelf,
							  1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		result = ((Form_pg_index) GETSTRUCT(tuple))->indrelid;
	systable_endscan(scan);
	table_close(pg_index, AccessShareLock);
	return result;
}

/* An index of a sealed table is sealed.  If its table is not found, so too. */
static bool
new_index_is_sealed(Oid indexoid)
{
	Oid			tableoid = table_of_new_index(indexoid);
	Relation	table = OidIsValid(tableoid) ?
	RelationIdGetRelation(tableoid) : NULL;
	bool		sealed = true;

	if (RelationIsValid(table))
	{
		sealed = relation_is_sealed(table);
		RelationClose(table);
	}
	return sealed;
}

/* Has the relation of this OID a key?  Its access method tells in *cmk_heap. */
static bool
is_sealed_by_oid(Oid relid, bool *cmk_heap)
{
	Relation	rel = OidIsValid(relid) ? RelationIdGetRelation(relid) : NULL;
	bool		born = false;

	*cmk_heap = false;
	if (RelationIsValid(rel))
	{
		born = cmk_is_born(&rel->rd_node);
		*cmk_heap = cmk_is_cmk_heap(rel);
		RelationClose(rel);
	}
	return born;
}

/* The number at the end of a name that the server makes up; InvalidOid: another name. */
static Oid
oid_in_name(Relation rel, const char *prefix)
{
	const char *name = RelationGetRelationName(rel);
	unsigned	oid;

	if (strncmp(name, prefix, strlen(prefix)) != 0 ||
		sscanf(name + strlen(prefix), "%u", &oid) != 1)
		return InvalidOid;
	return oid;
}

/*
 * A table of another access method than ours may have a key all the same: it was
 * sealed in place, or born when all was sealed.  Its storage is rewritten through
 * a table that make_new_heap() calls pg_temp_OID, with the OID of the old one; and
 * its TOAST table is called pg_toast_OID.  These are as it is.  Who takes a table
 * away from cmk_heap wants it plain.
 */
static bool
new_table_is_sealed(Relation rel)
{
	bool		ours;

	if (cmk_is_cmk_heap(rel))
		return true;
	if (rel->rd_rel->relkind == RELKIND_TOASTVALUE)
		return is_sealed_by_oid(oid_in_name(rel, "pg_toast_"), &ours);
	return is_sealed_by_oid(oid_in_name(rel, "pg_temp_"), &ours) && !ours;
}

static void
attribute_new_relation(Oid relid)
{
	Relation	rel = RelationIdGetRelation(relid);

	if (!RelationIsValid(rel))
		return;					/* the net's default stands */
	switch (rel->rd_rel->relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_MATVIEW:
		case RELKIND_TOASTVALUE:
			cmk_birth_attribute(&rel->rd_node, rel->rd_rel->relpersistence,
								cmk_seal_all || new_table_is_sealed(rel));
			break;
		case RELKIND_INDEX:
			cmk_birth_attribute(&rel->rd_node, rel->rd_rel->relpersistence,
								cmk_seal_all || new_index_is_sealed(relid));
			break;
		case RELKIND_SEQUENCE:
			cmk_birth_attribute(&rel->rd_node, rel->rd_rel->relpersistence,
								cmk_seal_all);
			break;
		default:
			break;				/* no storage */
	}
	RelationClose(rel);
}

static void
cmk_object_access(ObjectAccessType access, Oid classId, Oid objectId,
				  int subId, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, classId, objectId, subId, arg);

	if (access == OAT_POST_CREATE && classId == RelationRelationId &&
		subId == 0 && cmk_is_configured())
		attribute_new_relation(objectId);
	else if (access == OAT_FUNCTION_EXECUTE && objectId == F_PG_BACKUP_START)
		cmk_note_backup();
}

static Oid
database_tablespace(Oid dboid)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(dboid));
	Oid			spc = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		spc = ((Form_pg_database) GETSTRUCT(tuple))->dattablespace;
		ReleaseSysCache(tuple);
	}
	return spc;
}

/* The lock keeps the name from being given to another database meanwhile. */
static void
statement_copies(CmkStatement *st, const char *source)
{
	st->source_db = get_database_oid(source, true);
	if (OidIsValid(st->source_db))
	{
		LockSharedObject(DatabaseRelationId, st->source_db, 0, AccessShareLock);
		if (get_database_oid(source, true) != st->source_db)
			st->source_db = InvalidOid;
	}
	if (!OidIsValid(st->source_db))
	{
		st->kind = CMK_STMT_SEAL;
		return;
	}
	st->kind = CMK_STMT_COPY_DATABASE;
	st->source_spc = database_tablespace(st->source_db);
}

static DefElem *
find_option(List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		if (strcmp(def->defname, name) == 0)
			return def;
	}
	return NULL;
}

static void
statement_createdb(CmkStatement *st, const CreatedbStmt *stmt)
{
	DefElem    *template = find_option(stmt->options, "template");

	statement_copies(st, template && template->arg ?
					 defGetString(template) : "template1");
}

/*
 * ALTER TABLE or INDEX … SET TABLESPACE, and nothing else: this moves the relation
 * and its TOAST table and no other.  The relation is locked as the command itself
 * will, so that what is seen here stays true, unless an event trigger of this very
 * session changes it (CmkStatement.disturbed); whoever may not alter it is not
 * kept waiting, and refused by the command.
 */
static CmkStatementKind
moved_relation_kind(const AlterTableStmt *stmt)
{
	Oid			relid = RangeVarGetRelid(stmt->relation, NoLock, true);
	Relation	rel;
	CmkStatementKind kind;

	if (!OidIsValid(relid) || !pg_class_ownercheck(relid, GetUserId()))
		return CMK_STMT_SEAL;
	LockRelationOid(relid, AccessExclusiveLock);
	rel = RelationIdGetRelation(relid);
	if (!RelationIsValid(rel))
		return CMK_STMT_SEAL;
	kind = relation_is_sealed(rel) ? CMK_STMT_SEAL : CMK_STMT_PLAIN;
	RelationClose(rel);
	return kind;
}

static void
statement_altertable(CmkStatement *st, const AlterTableStmt *stmt)
{
	bool		moves = false;
	ListCell   *lc;

	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);

		if (cmd->subtype == AT_SetAccessMethod)
		{
			Oid			am = get_table_am_oid(cmd->name, true);

			if (OidIsValid(am) && cmk_is_cmk_heap_am(am))
			{
				st->kind = CMK_STMT_SEAL;
				return;
			}
		}
		else if (cmd->subtype == AT_SetTableSpace)
			moves = true;
	}
	if (moves && list_length(stmt->cmds) == 1)
		st->kind = moved_relation_kind(stmt);
	else if (moves)
		st->kind = cmk_database_may_seal() ? CMK_STMT_SEAL : CMK_STMT_PLAIN;
}

static void
describe_statement(CmkStatement *st, Node *parsetree)
{
	switch (nodeTag(parsetree))
	{
		case T_CreatedbStmt:
			statement_createdb(st, (CreatedbStmt *) parsetree);
			break;
		case T_AlterDatabaseStmt:
			if (find_option(((AlterDatabaseStmt *) parsetree)->options, "tablespace"))
				statement_copies(st, ((AlterDatabaseStmt *) parsetree)->dbname);
			break;
		case T_AlterTableStmt:
			statement_altertable(st, (AlterTableStmt *) parsetree);
			break;
		case T_AlterTableMoveAllStmt:
			st->kind = cmk_database_may_seal() ? CMK_STMT_SEAL : CMK_STMT_PLAIN;
			break;
		default:
			break;
	}
}

static void
cmk_process_utility(PlannedStmt *pstmt, const char *queryString,
					bool readOnlyTree, ProcessUtilityContext context,
					ParamListInfo params, QueryEnvironment *queryEnv,
					DestReceiver *dest, QueryCompletion *qc)
{
	CmkStatement st = {CMK_STMT_FOLLOW, InvalidOid, InvalidOid, false, cmk_statement};

	for (CmkStatement *outer = cmk_statement; outer != NULL; outer = outer->outer)
		outer->disturbed = true;
	if (cmk_is_configured() && !RecoveryInProgress())
		describe_statement(&st, pstmt->utilityStmt);

	cmk_statement = &st;
	PG_TRY();
	{
		(prev_ProcessUtility ? prev_ProcessUtility : standard_ProcessUtility)
			(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	}
	PG_FINALLY();
	{
		cmk_statement = st.outer;
	}
	PG_END_TRY();
}

static void
ddl_xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		cmk_check_backup_over();
}

void
cmk_ddl_init(void)
{
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = cmk_process_utility;
	prev_object_access = object_access_hook;
	object_access_hook = cmk_object_access;
	RegisterXactCallback(ddl_xact_callback, NULL);
}
