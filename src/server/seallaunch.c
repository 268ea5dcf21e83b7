/*
 * seallaunch.c
 *	  Who starts the workers that seal in place, and when.  See sealwork.h.
 *
 * When the scope is the whole cluster a launcher looks, at the start and from time to
 * time, for relation files that are not known to be wholly sealed: by their names, so
 * that nothing is overlooked that no catalog shows, such as the tables of a prepared
 * transaction.  For each database that has such files it starts a worker, one after
 * the other (sealwork.c).  The launcher ends when nothing is left.
 *
 * A rotation that was begun is finished too, in any scope: a crash, a promotion or a
 * cancelled session leaves one.  What there is of them the registry tells.  At the
 * start the launcher looks, and cmk.rotate_dek() has one started that waits until the
 * session is through or gone.
 */
#include "postgres.h"

#include "common/relpath.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "filekind.h"
#include "sealwork.h"
#include "settings.h"
#include "state.h"

PGDLLEXPORT void cmk_seal_launcher_main(Datum arg);

#define WATCH_MS		2000	/* between looks at what a session does */

/* ---- what is left to do ---- */

/*
 * Databases (but 0) with relations that have an older data key; how many relations.
 */
static int
rotating_relations(List **dbs)
{
	uint32		cursor = 0;
	CmkDekInfo	info;
	int			n = 0;

	while (cmk_registry_older_count() > 0 && cmk_registry_next(&cursor, &info))
	{
		if (!info.older || info.state != CMK_DEK_LIVE)
			continue;
		n++;
		if (info.id.db != 0)
			*dbs = list_append_unique_oid(*dbs, info.id.db);
	}
	return n;
}

static bool
is_whole(const CmkRelId *id)
{
	CmkDekRef	ref;
	CmkDekInfo	info;

	while (cmk_registry_find(id, &ref))
		if (cmk_registry_read(&ref, &info, NULL))
			return (info.flags & CMK_DEK_WHOLE) != 0;
	return false;
}

typedef struct Search
{
	Oid			db;				/* InvalidOid: all */
	int			found;
	char	   *some;
	List	  **dbs;
} Search;

static void
search_directory(const char *dir, Search *s)
{
	DIR		   *d = AllocateDir(dir);
	struct dirent *de;

	while ((de = ReadDirExtended(d, dir, LOG)) != NULL)
	{
		char		path[MAXPGPATH];
		CmkFileName name;

		snprintf(path, sizeof(path), "%s/%s", dir, de->d_name);
		if (cmk_filekind(path, &name) != CMK_FILE_RELATION ||
			name.fork != MAIN_FORKNUM || name.segno != 0 ||
			(OidIsValid(s->db) && name.id.db != s->db) || is_whole(&name.id))
			continue;
		if (s->found++ == 0)
			strlcpy(s->some, path, MAXPGPATH);
		if (s->dbs != NULL && name.id.db != 0)
			*s->dbs = list_append_unique_oid(*s->dbs, name.id.db);
	}
	FreeDir(d);
}

/* The databases' directories below base or a tablespace's. */
static void
search_databases(const char *dir, Search *s)
{
	DIR		   *d = AllocateDir(dir);
	struct dirent *de;

	if (d == NULL)
		return;					/* a tablespace without any */
	while ((de = ReadDirExtended(d, dir, LOG)) != NULL)
	{
		char		path[MAXPGPATH];

		if (strspn(de->d_name, "0123456789") != strlen(de->d_name))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, de->d_name);
		search_directory(path, s);
	}
	FreeDir(d);
}

int
cmk_unsealed_files(Oid db, char some[MAXPGPATH], List **dbs)
{
	Search		s = {db, 0, some, dbs};
	DIR		   *d;
	struct dirent *de;

	if (!OidIsValid(db))
		search_directory("global", &s);
	search_databases("base", &s);
	d = AllocateDir("pg_tblspc");
	while ((de = ReadDirExtended(d, "pg_tblspc", LOG)) != NULL)
	{
		char		path[MAXPGPATH];

		if (de->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "pg_tblspc/%s/%s", de->d_name,
				 TABLESPACE_VERSION_DIRECTORY);
		search_databases(path, &s);
	}
	FreeDir(d);
	return s.found;
}

/* ---- the launcher ---- */

/* The launcher ends here when the server shuts down. */
static void
wait_ms(long ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
					 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ShutdownRequestPending)
		proc_exit(0);
}

/*
 * The launcher has no database, and the postmaster tells such processes nothing of
 * workers: so it looks itself.
 */
bool
cmk_seal_database_by_worker(Oid db, bool rotate_only)
{
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;
	pid_t		pid;

	memset(&worker, 0, sizeof(worker));
	snprintf(worker.bgw_name, BGW_MAXLEN, "pg_cmk sealing worker for database %u", db);
	strlcpy(worker.bgw_type, "pg_cmk sealing worker", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "pg_cmk", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, CMK_SEAL_WORKER_MAIN, BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = ObjectIdGetDatum(db);
	worker.bgw_extra[0] = rotate_only;
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		return false;

	PG_TRY();
	{
		while (GetBackgroundWorkerPid(handle, &pid) != BGWH_STOPPED)
			wait_ms(100);
	}
	PG_CATCH();
	{
		TerminateBackgroundWorker(handle);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return true;
}

/* The oldest in the default tablespace: template1, unless that was made anew. */
static Oid
some_database(void)
{
	DIR		   *d = AllocateDir("base");
	struct dirent *de;
	Oid			result = InvalidOid;

	while ((de = ReadDirExtended(d, "base", LOG)) != NULL)
		if (strspn(de->d_name, "0123456789") == strlen(de->d_name))
			result = OidIsValid(result) ? Min(result, atooid(de->d_name)) :
				atooid(de->d_name);
	FreeDir(d);
	return result;
}

/* A worker for each database that has something to do; all do the shared ones. */
static void
launch_round(List *dbs, bool rotate_only)
{
	ListCell   *lc;

	if (dbs == NIL)
		dbs = list_make1_oid(some_database());
	foreach(lc, dbs)
		while (!cmk_seal_database_by_worker(lfirst_oid(lc), rotate_only))
			wait_ms(1000);		/* max_worker_processes */
}

static bool is_launcher = false;

static void
launcher_exit(int code, Datum arg)
{
	if (is_launcher)
		(void) pg_atomic_exchange_u32(&cmk_shared->launcher, 0);
	is_launcher = false;
}

/* One of them is enough.  false: there is one. */
static bool
become_launcher(void)
{
	uint32		none = 0;

	is_launcher = pg_atomic_compare_exchange_u32(&cmk_shared->launcher, &none, 1);
	return is_launcher;
}

/*
 * There was nothing to do.  A session that has begun meanwhile saw that there is a
 * launcher, or will see that there is none: then it counted before we look here.
 */
static bool
may_end(uint32 rotations)
{
	launcher_exit(0, (Datum) 0);
	return pg_atomic_read_u32(&cmk_shared->rotations) == rotations ||
		!become_launcher();
}

/* Is a session at work?  It holds locks, and may be through by itself. */
static bool
session_is_sealing(void)
{
	bool		found = false;

	SpinLockAcquire(&cmk_shared->mutex);
	for (int i = 0; i < CMK_SEAL_SLOTS; i++)
		found |= cmk_shared->seals[i].pid != 0;
	SpinLockRelease(&cmk_shared->mutex);
	return found;
}

/* What is to do, in one number; *dbs where.  Says so if it is not as before. */
static int
look_for_work(List **dbs, int before)
{
	char		some[MAXPGPATH];
	int			plain = cmk_seal_all ? cmk_unsealed_files(InvalidOid, some, dbs) : 0;
	int			rotating = rotating_relations(dbs);

	if (plain + rotating == before)
		return before;
	if (plain > 0)
		ereport(LOG,
				(errmsg("pg_cmk: %d relation files are to be sealed in place", plain),
				 errdetail("One of them is \"%s\".", some)));
	if (rotating > 0 && !session_is_sealing())
		ereport(LOG,
				(errmsg("pg_cmk: the data keys of %d relations are still to be rotated", rotating)));
	return plain + rotating;
}

void
cmk_seal_launcher_main(Datum arg)
{
	MemoryContext context;
	int			left = -1;
	long		nap = 1000;

	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	if (!become_launcher())
		proc_exit(0);
	before_shmem_exit(launcher_exit, (Datum) 0);
	context = AllocSetContextCreate(TopMemoryContext, "pg_cmk sealing",
									ALLOCSET_DEFAULT_SIZES);

	/* Who had this one started has not begun yet. */
	if (DatumGetBool(arg))
		wait_ms(WATCH_MS);
	for (;;)
	{
		List	   *dbs = NIL;
		int			before = left;
		uint32		rotations = pg_atomic_fetch_add_u32(&cmk_shared->rotations, 0);

		MemoryContextSwitchTo(context);
		left = look_for_work(&dbs, before);
		if (left == 0 && may_end(rotations))
			break;
		if (left == 0)
			continue;
		if (left != before)
			nap = 1000;
		if (!session_is_sealing())
			launch_round(dbs, !cmk_seal_all);
		MemoryContextReset(context);

		/* What is left belongs to nobody, or to a transaction that is not over. */
		wait_ms(nap);
		nap = Min(nap * 2, session_is_sealing() ? WATCH_MS : 600000);
	}
	if (cmk_seal_all)
		ereport(LOG, (errmsg("pg_cmk: every relation file of the cluster is sealed")));
	proc_exit(0);
}

static void
fill_launcher(BackgroundWorker *worker)
{
	memset(worker, 0, sizeof(*worker));
	strlcpy(worker->bgw_name, "pg_cmk sealing launcher", BGW_MAXLEN);
	strlcpy(worker->bgw_type, "pg_cmk sealing launcher", BGW_MAXLEN);
	strlcpy(worker->bgw_library_name, "pg_cmk", BGW_MAXLEN);
	strlcpy(worker->bgw_function_name, "cmk_seal_launcher_main", BGW_MAXLEN);
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = 5;
}

void
cmk_seal_watch(void)
{
	BackgroundWorker worker;

	(void) pg_atomic_fetch_add_u32(&cmk_shared->rotations, 1);
	if (pg_atomic_read_u32(&cmk_shared->launcher) != 0)
		return;
	fill_launcher(&worker);
	worker.bgw_main_arg = BoolGetDatum(true);
	if (!RegisterDynamicBackgroundWorker(&worker, NULL))
		ereport(LOG,
				(errmsg("pg_cmk: no background worker is free to finish a rotation should it be interrupted"),
				 errhint("Raise max_worker_processes.")));
}

void
cmk_sealwork_init(void)
{
	BackgroundWorker worker;

	DefineCustomIntVariable("pg_cmk.seal_rate",
							"How fast one process seals in place.",
							"Kilobytes per second; 0: as fast as it can.",
							&cmk_seal_rate, 65536, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	if (!cmk_has_key())
		return;
	fill_launcher(&worker);
	RegisterBackgroundWorker(&worker);
}
