/*
 * sealprogress.c
 *	  The rows of cmk.progress.  See sealwork.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"

#include "compat.h"
#include "sealwork.h"
#include "state.h"

static CmkSealSlot *mine = NULL;
static uint64 done_before;		/* in forks that are done */

static void
progress_exit(int code, Datum arg)
{
	cmk_progress_end();
}

static bool
is_our_worker(void)
{
	return MyBgworkerEntry != NULL &&
		strcmp(MyBgworkerEntry->bgw_function_name, CMK_SEAL_WORKER_MAIN) == 0;
}

/* A worker's row outlives a transaction that fails. */
static void
progress_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT && !is_our_worker())
		cmk_progress_end();
}

/* A call whose error was caught is over, and holds no lock any more. */
static void
progress_subxact(SubXactEvent event, SubTransactionId mySubid,
				 SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && !is_our_worker())
		cmk_progress_end();
}

void
cmk_progress_begin(uint32 relations)
{
	static bool registered = false;

	if (!registered)
	{
		before_shmem_exit(progress_exit, (Datum) 0);
		RegisterXactCallback(progress_xact, NULL);
		RegisterSubXactCallback(progress_subxact, NULL);
	}
	registered = true;
	SpinLockAcquire(&cmk_shared->mutex);
	for (int i = 0; mine == NULL && i < CMK_SEAL_SLOTS; i++)
		if (cmk_shared->seals[i].pid == 0)
			mine = &cmk_shared->seals[i];
	if (mine != NULL)
	{
		memset(mine, 0, sizeof(*mine));
		mine->pid = MyProcPid;
		mine->db = MyDatabaseId;
		mine->relations_total = relations;
	}
	SpinLockRelease(&cmk_shared->mutex);
}

/* Only its owner changes a row; the lock is for those who read it. */
#define CHANGE(what) \
	do { \
		if (mine != NULL) \
		{ \
			SpinLockAcquire(&cmk_shared->mutex); \
			what; \
			SpinLockRelease(&cmk_shared->mutex); \
		} \
	} while (0)

void
cmk_progress_relation(Oid relid, uint64 blocks)
{
	done_before = 0;
	CHANGE(mine->rel = relid;
		   mine->blocks_total = blocks;
		   mine->blocks_done = 0;
		   mine->blocks_sealed = 0);
}

void
cmk_progress_phase(CmkSealPhase phase)
{
	CHANGE(mine->phase = phase);
}

void
cmk_progress_blocks(const CmkSealPos *pos, uint64 done)
{
	done_before += done;
	CHANGE(mine->blocks_done = Min(done_before, mine->blocks_total);
		   mine->blocks_sealed = pos->sealed);
}

void
cmk_progress_relation_done(void)
{
	CHANGE(mine->relations_done++;
		   mine->rel = InvalidOid;
		   mine->phase = CMK_SEAL_INITIALIZING);
}

void
cmk_progress_end(void)
{
	CHANGE(mine->pid = 0);
	mine = NULL;
}
