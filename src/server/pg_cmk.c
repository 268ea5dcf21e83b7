/*
 * pg_cmk.c
 *	  The module: settings, and the order in which its parts come to life.
 *
 * pg_cmk works only from shared_preload_libraries: what it guards is opened long
 * before the first session.  _PG_init runs twice in a start: first in the process
 * as it was started, which goes no further than cmk_require_seam(), and then
 * again with the seam in place.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "birth.h"
#include "cmk_heap.h"
#include "compat.h"
#include "ddl.h"
#include "deny.h"
#include "gate.h"
#include "keywal.h"
#include "proof.h"
#include "reexec.h"
#include "sealwork.h"
#include "settings.h"
#include "state.h"
#include "walops.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

char	   *cmk_scope = NULL;
bool		cmk_seal_all = false;
char	   *cmk_debug_crash_at = NULL;
char	   *cmk_debug_pause_at = NULL;

/*
 * A string and not an enum: the server would start with an enum's default and a
 * warning if its value is unknown, and then seal less than was asked for.
 */
static bool
check_scope(char **newval, void **extra, GucSource source)
{
	if (strcmp(*newval, "tables") == 0 || strcmp(*newval, "cluster") == 0)
		return true;
	if (process_shared_preload_libraries_in_progress)
		ereport(FATAL,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for parameter \"%s\": \"%s\"", "pg_cmk.scope", *newval),
				 errhint("Available values: tables, cluster.")));
	GUC_check_errhint("Available values: tables, cluster.");
	return false;
}

static void
assign_scope(const char *newval, void *extra)
{
	cmk_seal_all = strcmp(newval, "cluster") == 0;
}

static void
define_settings(void)
{
	DefineCustomStringVariable("pg_cmk.scope",
							   "Which relations are sealed: tables, cluster.",
							   "tables: those USING cmk_heap, with their TOAST tables and indexes; cluster: all.",
							   &cmk_scope, "tables",
							   PGC_POSTMASTER, 0,
							   check_scope, assign_scope, NULL);
	DefineCustomStringVariable("pg_cmk.debug_crash_at",
							   "For tests: the step of a key's birth at which this process crashes.",
							   NULL,
							   &cmk_debug_crash_at, "",
							   PGC_SUSET, GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("pg_cmk.debug_pause_at",
							   "For tests: the step of a key's birth at which this process waits for a file.",
							   NULL,
							   &cmk_debug_pause_at, "",
							   PGC_SUSET, GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL,
							   NULL, NULL, NULL);
}

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_cmk must be loaded via shared_preload_libraries"),
				 errhint("Add pg_cmk to shared_preload_libraries and restart the server.")));

	cmk_require_seam();
	define_settings();
	cmk_settings_init();
	cmk_walops_define();
	cmk_worker_init();
	cmk_sealwork_init();
	MarkGUCPrefixReserved("pg_cmk");
	cmk_state_init();
	cmk_register_seam();
	cmk_register_rmgr();
	cmk_heap_init();
	cmk_birth_init();
	cmk_ddl_init();
	cmk_gate_init();
	cmk_deny_init();
}
