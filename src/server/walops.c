/*
 * walops.c
 *	  What walfile.c needs of the server.
 *
 * Who reads WAL as it is on disk: the archiver, because an archive library copies
 * files through the server's own calls (a command is another program, and reads raw by
 * itself); and a base backup with WAL included, which is a walsender in backup state
 * that holds no slot.  That state is not reset after a backup, so it counts for
 * read-only descriptors only, and not for one who decodes with a slot.
 *
 * A page that cannot be opened: for most readers that is an error of a read.  The
 * startup process would take it for the end of WAL and go on without what follows, so
 * it ends there.  Unless it is only reading ahead of replay, which then has to bring
 * the root first.  That is known by the distance: a page that is needed for the next
 * record is no further from the replay position than a record is long, and a new root
 * seals WAL only behind that (CMK_WAL_DISTANCE).  With no root at all, the failed read
 * cannot be the end of a recovery that began: it began at a page that could be read, and
 * the first root's record precedes the first page that it seals.
 */
#include "postgres.h"

#include <errno.h>
#include <fcntl.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecovery.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "replication/walreceiver.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "utils/guc.h"

#include "../seal/page.h"
#include "compat.h"
#include "gate.h"
#include "state.h"
#include "walfile.h"
#include "walops.h"

bool		cmk_seal_wal = true;
int			cmk_accept_plain_wal = CMK_ACCEPT_BACKUP;

static const struct config_enum_entry accept_options[] = {
	{"off", CMK_ACCEPT_OFF, false},
	{"backup", CMK_ACCEPT_BACKUP, false},
	{"on", CMK_ACCEPT_ON, false},
	{NULL, 0, false}
};

static CmkWalConfig config;

/* Does this process replay WAL? */
static bool
replays(void)
{
	return AmStartupProcess() || !IsUnderPostmaster;
}

static bool
reads_raw(int flags)
{
	if (AmArchiverProcess())
		return true;
	return am_walsender && MyWalSnd != NULL && MyWalSnd->state == WALSNDSTATE_BACKUP &&
		(flags & O_ACCMODE) == O_RDONLY && MyReplicationSlot == NULL;
}

static int
on_opening(const char *path, uint64_t start, int flags)
{
	if (cmk_shared == NULL)
		return 0;
	if (reads_raw(flags))
		return 1;
	if (replays())
	{
		cmk_walstart();
		if ((flags & O_ACCMODE) == O_RDONLY && RecoveryInProgress())
			cmk_walstart_segment(path);
	}
	else if ((flags & O_ACCMODE) != O_RDONLY)
	{
		if (cmk_await_root() < 0)
			return -1;
		if (AmWalReceiverProcess())
			cmk_walwork_receives(start);
	}
	return 0;
}

static int
on_await_root(void)
{
	if (cmk_root_expected() && cmk_await_root() < 0)
		return -1;
	if (cmk_is_configured())
		return 0;
	ereport(LOG,
			(errmsg("pg_cmk: WAL is sealed, but no root key is open")));
	errno = ENOKEY;
	return -1;
}

static bool
on_receives(void)
{
	return AmWalReceiverProcess();
}

static bool
on_plain_refused(uint64_t pageaddr)
{
	return cmk_shared != NULL &&
		pageaddr >= pg_atomic_read_u64(&cmk_shared->wal_refuse);
}

static bool
on_is_live(void)
{
	return !replays() || WalRcvStreaming();
}

static int
on_unopened(uint64_t pageaddr, uint32_t tli, const char *why)
{
	XLogRecPtr	replayed;

	if (replays() && RecoveryInProgress())
	{
		replayed = GetXLogReplayRecPtr(NULL);
		if (replayed == InvalidXLogRecPtr || pageaddr <= replayed + CMK_WAL_DISTANCE)
			ereport(FATAL,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("could not open the page of WAL at %X/%X, timeline %u: %s",
							LSN_FORMAT_ARGS((XLogRecPtr) pageaddr), tli, why),
					 errdetail("This is not the end of WAL, so recovery does not end here."),
					 errhint("Restore directory \"%s\" as it was when this WAL was written, or newer; or WAL from the archive.",
							 CMK_DIR)));
	}
	ereport(LOG,
			(errmsg("pg_cmk: could not open the page of WAL at %X/%X, timeline %u: %s",
					LSN_FORMAT_ARGS((XLogRecPtr) pageaddr), tli, why)));
	errno = ENOKEY;
	return -1;
}

static const CmkWalHooks wal_hooks = {
	.opening = on_opening,
	.await_root = on_await_root,
	.receives = on_receives,
	.plain_refused = on_plain_refused,
	.is_live = on_is_live,
	.unopened = on_unopened,
	.log = cmk_log_line
};

bool
cmk_wal_is_sealed(void)
{
	XLogRecPtr	lsn;
	uint64		begin;

	if (!cmk_is_configured())
		return false;
	lsn = RecoveryInProgress() ? GetXLogReplayRecPtr(NULL) : GetXLogInsertRecPtr();
	begin = cmk_registry_wal_begin();
	return begin != 0 && lsn >= begin;
}

void
cmk_walops_define(void)
{
	DefineCustomBoolVariable("pg_cmk.seal_wal",
							 "WAL begins to be sealed when there is a key.",
							 "Once it has begun it goes on.",
							 &cmk_seal_wal, true, PGC_POSTMASTER, GUC_SUPERUSER_ONLY,
							 NULL, NULL, NULL);
	DefineCustomEnumVariable("pg_cmk.accept_plain_wal",
							 "Which plain WAL is accepted where WAL is sealed.",
							 "backup: what a base backup brought, while recovery from it begins.",
							 &cmk_accept_plain_wal, CMK_ACCEPT_BACKUP, accept_options,
							 PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
}

void
cmk_walops_init(void)
{
	CmkError	err;

	StaticAssertStmt(XLOG_BLCKSZ == CMK_PAGE_SIZE, "pg_cmk needs WAL pages of 8192 bytes");
	config.segment_size = wal_segment_size;
	config.magic = XLOG_PAGE_MAGIC;
	if (cmk_walfile_init(&config, &wal_hooks, &err) < 0)
		cmk_report(FATAL, &err);
}
