/*
 * seal.c
 *	  Sealing in place.  See seal.h.
 *
 * A page goes from plain to sealed, or from one key to another, in one step that
 * nobody else can see half done.
 * Some pages are locked exclusively, logged in full in one record, WAL is flushed,
 * and they are written, all before the locks are released.  So no ordinary write of
 * such a page can come in between, and one that comes later finds on disk what it is
 * now and writes it as that (relfile_key.c).  Should the write be torn, then recovery
 * begins before the record, or else a checkpoint has synced the file after it; and
 * recovery finds a full image before it reads the page, the first since that
 * checkpoint or ours.
 *
 * To lock many pages at once could be a deadlock with those who lock in an order of
 * their own, so for all but the first the lock is taken only if it is free.
 *
 * Pages that no crash leaves behind (of unlogged relations, and of those that this
 * transaction made under wal_level = minimal) are not logged.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "postmaster/bgwriter.h"
#include "storage/bufmgr.h"
#include "storage/smgr.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "../seal/page.h"
#include "birth.h"
#include "compat.h"
#include "seal.h"
#include "sealpages.h"
#include "sealwal.h"
#include "seamops.h"
#include "state.h"

#define SEAL_BATCH		16		/* 128 kB of images in a record */

int			cmk_seal_rate = 0;

static bool
find_dek(const RelFileNode *rnode, CmkDekInfo *info)
{
	CmkRelId	id = CMK_RELID(*rnode);
	CmkDekRef	ref;

	while (cmk_registry_find(&id, &ref))
		if (cmk_registry_read(&ref, info, NULL))
			return true;
	return false;
}

bool
cmk_has_lasting_storage(Relation rel)
{
	return RELKIND_HAS_STORAGE(rel->rd_rel->relkind) &&
		rel->rd_rel->relpersistence != RELPERSISTENCE_TEMP;
}

bool
cmk_seal_needed(Relation rel)
{
	CmkDekInfo	info;

	return cmk_has_lasting_storage(rel) &&
		!(find_dek(&rel->rd_node, &info) && (info.flags & CMK_DEK_WHOLE));
}

bool
cmk_rotate_needed(Relation rel)
{
	CmkRelId	id = CMK_RELID(rel->rd_node);

	return cmk_has_lasting_storage(rel) && cmk_registry_has_older(&id);
}

void
cmk_seal_note_full_page_writes(void)
{
	if (!fullPageWrites)
		pg_atomic_write_u64(&cmk_shared->images_off, UINT64_MAX);
	else if (pg_atomic_read_u64(&cmk_shared->images_off) == UINT64_MAX)
		pg_atomic_write_u64(&cmk_shared->images_off,
							RecoveryInProgress() ? 0 : GetXLogInsertRecPtr());
}

/* Was every page that changed since the last checkpoint began logged in full? */
static void
check_images(void)
{
	if (pg_atomic_read_u64(&cmk_shared->images_off) >= GetRedoRecPtr())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot seal in place: full_page_writes was off since the last checkpoint"),
				 errhint("Run CHECKPOINT.")));
}

void
cmk_require_sealed(Relation rel)
{
	if (cmk_seal_needed(rel))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relation \"%s\" is not wholly sealed", RelationGetRelationName(rel)),
				 errdetail("Only a relation without plain pages can be given a new data key."),
				 errhint("Seal it with cmk.seal() first.")));
}

int64
cmk_key_created(Relation rel)
{
	CmkDekInfo	info;

	return find_dek(&rel->rd_node, &info) ? info.created : 0;
}

static void
require_full_page_writes(void)
{
	if (!fullPageWrites)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot seal in place with full_page_writes = off"),
				 errhint("Set full_page_writes to on and run CHECKPOINT.")));
	check_images();
}

/* After the birth: what comes behind these ends is sealed so on every node. */
static void
note_ends(Relation rel, CmkSealPos *pos)
{
	*pos = (CmkSealPos) {.created = pos->created};
	for (ForkNumber fork = 0; fork <= MAX_FORKNUM; fork++)
		if (smgrexists(RelationGetSmgr(rel), fork))
			pos->end[fork] = RelationGetNumberOfBlocksInFork(rel, fork);
}

void
cmk_seal_begin(Relation rel, CmkSealPos *pos)
{
	require_full_page_writes();
	cmk_birth_in_place(&rel->rd_node);
	note_ends(rel, pos);
}

/*
 * A page has four bits for its generation.  An ended one that would share them with
 * the new one must be erased first, which checkpoints do, and backups hold up.
 */
void
cmk_rotate_begin(Relation rel, CmkSealPos *pos)
{
	require_full_page_writes();
	cmk_require_sealed(rel);
	while (!cmk_birth_of_generation(&rel->rd_node, pos->created))
	{
		cmk_seal_await_backups();
		RequestCheckpoint(CHECKPOINT_IMMEDIATE | CHECKPOINT_FORCE | CHECKPOINT_WAIT);
		CHECK_FOR_INTERRUPTS();
	}
	note_ends(rel, pos);
}

void
cmk_seal_await_backups(void)
{
	while (cmk_backup_is_running())
	{
		CHECK_FOR_INTERRUPTS();
		pg_usleep(100000L);
	}
}

uint64
cmk_seal_blocks(const CmkSealPos *pos)
{
	uint64		n = 0;

	for (ForkNumber fork = 0; fork <= MAX_FORKNUM; fork++)
		n += pos->end[fork];
	return n;
}

/*
 * A relation that got its key when its first page was written seals every page that
 * is written, so its pages are sealed here; but on a standby, which had replayed
 * some before, they may be plain.  Then every page is logged.
 */
static bool
must_log_all(Relation rel)
{
	CmkDekInfo	info;

	return find_dek(&rel->rd_node, &info) && info.birth_lsn == 0;
}

static unsigned
generation_of(Relation rel)
{
	CmkDekInfo	info;

	return find_dek(&rel->rd_node, &info) ? info.generation : 0;
}

/* full_page_writes as our last record saw it. */
static void
check_full_page_writes(void)
{
	XLogRecPtr	redo;
	bool		on;

	GetFullPageWriteInfo(&redo, &on);
	if (!on)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("full_page_writes was turned off while relations are sealed in place")));
	check_images();
}

static bool
is_map(ForkNumber fork)
{
	return fork == FSM_FORKNUM || fork == VISIBILITYMAP_FORKNUM;
}

/*
 * Locks the first n pages, but those that would have to be waited for and those
 * behind them.  Pages that were never used have nothing to be sealed: they are left
 * alone, and left out of locked.  But a map's may be damaged on disk, and then it
 * begins anew, as its users let it.  Returns how many of the n were dealt with.
 */
static int
lock_pages(ForkNumber fork, const Buffer *buffers, int n, Buffer *locked, int *nlocked)
{
	int			i;

	*nlocked = 0;
	for (i = 0; i < n; i++)
	{
		if (i == 0)
			LockBuffer(buffers[i], BUFFER_LOCK_EXCLUSIVE);
		else if (!ConditionalLockBuffer(buffers[i]))
			break;
		if (PageIsNew(BufferGetPage(buffers[i])) && is_map(fork))
			PageInit(BufferGetPage(buffers[i]), BLCKSZ, 0);
		if (PageIsNew(BufferGetPage(buffers[i])))
			LockBuffer(buffers[i], BUFFER_LOCK_UNLOCK);
		else
			locked[(*nlocked)++] = buffers[i];
	}
	return i;
}

/* Seals pages that the caller has pinned.  Returns how many were dealt with. */
static int
seal_batch(Relation rel, ForkNumber fork, const Buffer *buffers, int n, uint64 *sealed)
{
	bool		log = RelationNeedsWAL(rel) || fork == INIT_FORKNUM;
	Buffer		locked[SEAL_BATCH];
	int			nlocked;
	int			done;

	if (log)
		cmk_prepare_log_seal(n);
	done = lock_pages(fork, buffers, n, locked, &nlocked);
	if (nlocked == 0)
		return done;

	START_CRIT_SECTION();
	for (int i = 0; i < nlocked; i++)
		MarkBufferDirty(locked[i]);
	if (log)
		cmk_log_seal(locked, nlocked);
	END_CRIT_SECTION();

	cmk_debug_point("seal-logged");
	cmk_flush_sealed(locked, nlocked);
	for (int i = 0; i < nlocked; i++)
		LockBuffer(locked[i], BUFFER_LOCK_UNLOCK);
	*sealed += nlocked;
	return done;
}

/* Not faster than pg_cmk.seal_rate; nothing is locked. */
static void
throttle(int pages)
{
	CHECK_FOR_INTERRUPTS();
	if (cmk_seal_rate > 0)
		pg_usleep((long) ((int64) pages * (BLCKSZ / 1024) * 1000000 / cmk_seal_rate));
}

/*
 * Looks at pages from pos->block on, and seals those that are not under the newest key
 * yet or were never logged under it.  Moves pos behind what was done; returns how many
 * pages were looked at, at most max.
 */
static int
seal_run(Relation rel, CmkHeads *heads, CmkSealPos *pos, int max, bool all,
		 BufferAccessStrategy strategy)
{
	ReadBufferMode mode = is_map(pos->fork) ? RBM_ZERO_ON_ERROR : RBM_NORMAL;
	BlockNumber blocks[SEAL_BATCH];
	Buffer		buffers[SEAL_BATCH];
	BlockNumber from = pos->block;
	BlockNumber block = from;
	int			n = 0;

	for (; n < SEAL_BATCH && block < pos->end[pos->fork] && block - from < (BlockNumber) max;
		 block++)
	{
		if (all || cmk_heads_kind(heads, block) != CMK_HEAD_DONE)
			blocks[n++] = block;
	}
	if (n > 0)
	{
		int			done;

		check_full_page_writes();
		for (int i = 0; i < n; i++)
			buffers[i] = ReadBufferExtended(rel, pos->fork, blocks[i], mode, strategy);
		done = seal_batch(rel, pos->fork, buffers, n, &pos->sealed);
		for (int i = 0; i < n; i++)
			ReleaseBuffer(buffers[i]);
		if (done < n)
			block = blocks[done];
		throttle(done);
	}
	pos->block = block;
	return (int) (block - from);
}

bool
cmk_seal_some(Relation rel, CmkSealPos *pos, int pages)
{
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	unsigned	generation = generation_of(rel);
	bool		all = must_log_all(rel);

	for (; pos->fork <= MAX_FORKNUM; pos->fork++, pos->block = 0)
	{
		CmkHeads	heads = {rel->rd_node, pos->fork, generation, -1, 0};

		/* VACUUM may have truncated it since we had the lock before. */
		if (pos->end[pos->fork] > 0)
			pos->end[pos->fork] = Min(pos->end[pos->fork],
									  RelationGetNumberOfBlocksInFork(rel, pos->fork));
		while (pos->block < pos->end[pos->fork] && pages > 0)
		{
			CHECK_FOR_INTERRUPTS();
			pages -= seal_run(rel, &heads, pos, pages, all, strategy);
		}
		cmk_heads_close(&heads);
		if (pos->block < pos->end[pos->fork])
			break;
	}
	FreeAccessStrategy(strategy);
	return pos->fork > MAX_FORKNUM;
}

bool
cmk_seal_finish(Relation rel, CmkSealPos *pos)
{
	uint64		old[MAX_FORKNUM + 1];
	uint64		left = cmk_sync_and_count_old(&rel->rd_node, generation_of(rel), old);

	if (left > 0 && pos->sealed == pos->sealed_before)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("cannot seal " UINT64_FORMAT " pages of relation \"%s\" in place",
						left, RelationGetRelationName(rel)),
				 errdetail("They are empty in memory, but not on disk, as damaged pages are with zero_damaged_pages."),
				 errhint("Rewrite the relation with VACUUM FULL, or an index with REINDEX.")));
	pos->sealed_before = pos->sealed;
	if (left > 0)
		return false;
	cmk_seal_await_backups();
	if (cmk_seal_needed(rel) || cmk_rotate_needed(rel))
		cmk_log_whole(&rel->rd_node);
	return true;
}
