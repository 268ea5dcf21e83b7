/*
 * sealwork.h
 *	  Who seals in place: a session that calls cmk.seal() or cmk.rotate_dek(), and
 *	  background workers, one for a database, for cmk.seal_database(), for scope cluster,
 *	  and for a rotation that somebody else began.
 */
#ifndef CMK_SEALWORK_H
#define CMK_SEALWORK_H

#include "nodes/pg_list.h"

#include "seal.h"
#include "state.h"

/* The function that a worker runs. */
#define CMK_SEAL_WORKER_MAIN	"cmk_seal_worker_main"

/* ---- sealprogress.c ---- */

/*
 * A row of cmk.progress for this process, until cmk_progress_end(), the end of its
 * transaction or a subtransaction by an error, or its own.  Without a free row nothing is shown.
 */
extern void cmk_progress_begin(uint32 relations);
extern void cmk_progress_relation(Oid relid, uint64 blocks);
extern void cmk_progress_phase(CmkSealPhase phase);
extern void cmk_progress_blocks(const CmkSealPos *pos, uint64 done);
extern void cmk_progress_relation_done(void);
extern void cmk_progress_end(void);

/* ---- seallaunch.c ---- */

/* Makes the setting seal_rate and has the launcher started; for _PG_init. */
extern void cmk_sealwork_init(void);

/*
 * Relation files that are not known to be wholly sealed, all or those of one
 * database (InvalidOid: all).  *some gets the path of one of them, *dbs (may be NULL)
 * the databases that have any, without 0.
 */
extern int	cmk_unsealed_files(Oid db, char some[MAXPGPATH], List **dbs);

/*
 * Has a background worker seal a database, and waits for it; with only_rotate it
 * finishes rotations and seals nothing that is plain.  false: it could not be started.
 * ereport(ERROR) if we are interrupted; the worker is then told to end.
 */
extern bool cmk_seal_database_by_worker(Oid db, bool only_rotate);

/*
 * From now on somebody sees to it that a rotation which this session has begun is
 * finished, should it end before; to be called before its first key is made too, for a
 * crash between the two.  If no background worker is free nobody does, until the
 * server is started again.
 */
extern void cmk_seal_watch(void);

#endif							/* CMK_SEALWORK_H */
