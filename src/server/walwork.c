/*
 * walwork.c
 *	  From where on a root seals WAL: decided by the worker, in a server that writes
 *	  WAL.
 *
 * A root is made without a place in WAL (wal_from is 0/0), because it may be made
 * before the server knows where its WAL ends.  Once its record is in WAL, on disk,
 * the place is chosen: for the first root the next segment, for a later one the first
 * segment that is CMK_WAL_DISTANCE behind it.
 *
 * The place takes effect in memory before it is written to root.json and to WAL: a
 * crash in between leaves sealed segments that say themselves by which root, and a
 * place that is chosen again.  The other order could leave plain WAL where root.json
 * says that it is sealed.  It takes effect under WALWriteLock, while nothing behind it
 * has been written, so that no segment begins in clear and goes on sealed.
 *
 * Recycled segments keep what was in them until they are written over.  What is plain
 * in them is from before WAL was sealed, and is removed: under the same lock, since
 * then nobody writes to a segment behind the one that is being written.  On a standby
 * the walreceiver does it, when it opens a segment: who writes WAL there is this process
 * alone.  It takes only what a page of another place begins, since what it received
 * before a restart may lie ahead of it, too.
 *
 * Segments are made and recycled behind all others, so the worker does not look again at
 * one that was not plain, unless a removal left a gap.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/lwlock.h"

#include "../seal/walpage.h"
#include "compat.h"
#include "keywal.h"
#include "keywork_impl.h"
#include "rawio.h"
#include "rootopen.h"
#include "state.h"
#include "walfile.h"
#include "walops.h"

static uint32 settled_root = 0; /* has its place, in root.json */
static bool all_sealed = false; /* nothing plain is left in pg_wal/ */

bool
cmk_walwork_pending(void)
{
	const CmkRootKey *root = cmk_registry_root();

	return root != NULL && root->id != settled_root &&
		(cmk_seal_wal || cmk_registry_wal_begin() != 0);
}

bool
cmk_walwork_watches(void)
{
	return !all_sealed && cmk_registry_wal_begin() != 0 && !RecoveryInProgress();
}

/* Gives the root its place in memory; returns it. */
static XLogRecPtr
choose_place(const CmkRootKey *root)
{
	uint64		distance = cmk_registry_wal_begin() != 0 ? CMK_WAL_DISTANCE : 0;
	XLogRecPtr	from = InvalidXLogRecPtr;

	while (from == InvalidXLogRecPtr)
	{
		XLogRecPtr	at = GetXLogInsertRecPtr() + distance;
		XLogRecPtr	next = at - at % wal_segment_size + wal_segment_size;

		LWLockAcquire(WALWriteLock, LW_EXCLUSIVE);
		if (GetXLogWriteRecPtr() <= next)
		{
			cmk_registry_set_wal_from(root->id, next);
			from = next;
		}
		LWLockRelease(WALWriteLock);
	}
	return from;
}

static void
begin_to_seal(CmkKeyWork *work, const CmkRootKey *root)
{
	bool		first = cmk_registry_wal_begin() == 0;
	XLogRecPtr	from = root->wal_from;
	CmkRootFile rf;
	CmkRoot    *r;
	CmkOutcome	out;
	int			result = -1;

	/* Its key must be in WAL before the first page that it seals. */
	if (pg_atomic_read_u32(&cmk_shared->root_logged) == 0 && !cmk_try_log_root())
		return;
	if (cmk_read_root_file(&rf, &out) < 0)
	{
		cmk_report(WARNING, &out.err);
		return;
	}
	r = cmk_rootfile_find_root(&rf, root->id);
	if (r != NULL && r->wal_from != 0)
		settled_root = root->id;
	else if (r != NULL)
	{
		if (from == 0)
			from = choose_place(root);
		r->wal_from = from;
		result = cmk_commit_root_file(&rf, root->key, &out);
		if (result < 0)
			cmk_report(WARNING, &out.err);
	}
	cmk_rootfile_free(&rf);
	if (result < 0)
		return;
	settled_root = root->id;
	ereport(LOG,
			(errmsg("pg_cmk: WAL is sealed under root key %u from %X/%X on",
					root->id, LSN_FORMAT_ARGS(from))));
	if (first)
		RequestXLogSwitch(true);
	if (pg_atomic_read_u64(&cmk_shared->wal_refuse) == UINT64_MAX)
		pg_atomic_write_u64(&cmk_shared->wal_refuse, cmk_registry_wal_begin());
}

/* ---- recycled segments ---- */

static uint64 seen_sealed = 0;	/* on a primary: no recycled one up to here is plain */

/* Does it hold WAL in clear?  *pageaddr is the place that it was written for. */
static bool
holds_plain(const char *path, uint64 *pageaddr)
{
	PGAlignedXLogBlock page;
	CmkWalHead	head;
	int			fd = cmk_real.open(path, O_RDONLY | O_CLOEXEC);
	ssize_t		n;

	if (fd < 0)
		return false;
	n = cmk_real.pread(fd, page.data, XLOG_BLCKSZ, 0);
	cmk_real.close(fd);
	if (n != XLOG_BLCKSZ)
		return false;
	cmk_walpage_head(page.data, &head);
	*pageaddr = head.pageaddr;
	return head.magic == XLOG_PAGE_MAGIC && !(head.info & CMK_XLP_SEALED);
}

/* Removes it, if nobody can have begun to write it. */
static bool
remove_recycled(const char *path, const CmkFileName *name, uint64 start)
{
	uint64		pageaddr;
	bool		removed;

	if (RecoveryInProgress())
		return holds_plain(path, &pageaddr) && pageaddr != start && unlink(path) == 0;
	LWLockAcquire(WALWriteLock, LW_EXCLUSIVE);
	removed = name->wal_tli == GetWALInsertionTimeLine() && start > GetXLogWriteRecPtr() &&
		holds_plain(path, &pageaddr) && unlink(path) == 0;
	LWLockRelease(WALWriteLock);
	return removed;
}

/*
 * Removes plain segments behind that place.  Returns whether plain WAL is left in
 * pg_wal/; what lies before the place where sealing began is taken for plain.
 */
static bool
remove_plain_recycled(uint64 written)
{
	DIR		   *dir = AllocateDir(XLOGDIR);
	struct dirent *de;
	uint64		looked_at = seen_sealed;
	int			removed = 0;
	bool		kept = false;
	bool		old = false;

	while ((de = ReadDirExtended(dir, XLOGDIR, LOG)) != NULL)
	{
		char		path[MAXPGPATH];
		CmkFileName name;
		uint64		start;
		uint64		pageaddr;

		snprintf(path, sizeof(path), XLOGDIR "/%s", de->d_name);
		if (cmk_filekind(path, &name) != CMK_FILE_WAL || !cmk_walfile_start(&name, &start))
			continue;
		if (start < cmk_registry_wal_begin())
			old = true;
		else if (start <= written || start <= seen_sealed)
			continue;
		else if (!holds_plain(path, &pageaddr))
			looked_at = Max(looked_at, start);
		else if (remove_recycled(path, &name, start))
			removed++;
		else
			kept = true;
	}
	FreeDir(dir);
	seen_sealed = removed > 0 || kept || RecoveryInProgress() ? 0 : looked_at;
	if (removed > 0)
		ereport(LOG,
				(errmsg("pg_cmk: removed %d recycled WAL files that held plain WAL", removed)));
	return old || kept || removed > 0;
}

void
cmk_walwork_receives(uint64 start)
{
	if (cmk_registry_wal_begin() != 0 && cmk_root_is_open())
		(void) remove_plain_recycled(start);
}

void
cmk_walwork(struct CmkKeyWork *work)
{
	const CmkRootKey *root = cmk_registry_root();

	if (root == NULL || !cmk_root_is_open() || RecoveryInProgress())
		return;
	if (cmk_walwork_pending())
		begin_to_seal(work, root);
	if (!all_sealed && cmk_registry_wal_begin() != 0)
		all_sealed = !remove_plain_recycled(GetXLogWriteRecPtr());
}
