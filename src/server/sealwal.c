/*
 * sealwal.c
 *	  Sealing in place, in WAL.  See sealwal.h.
 *
 * A standby does what its primary did, in the same order: a page becomes sealed on
 * disk when the record with its full image is replayed, and by no other record.
 *
 * A base backup of a standby may have copied the keys file before a key came, and
 * copy the relation when its pages are sealed.  Replay in the restored copy would
 * begin with pages that no key opens.  So replay waits for such a backup at the
 * birth of the key; and at the record that calls a relation whole, because a backup
 * that copied the relation before must not get a key record that says so.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xloginsert.h"
#include "access/xlogrecovery.h"
#include "access/xlogutils.h"
#include "miscadmin.h"
#include "postmaster/startup.h"
#include "storage/bufmgr.h"
#include "storage/pmsignal.h"
#include "storage/smgr.h"

#include "compat.h"
#include "keywal.h"
#include "relfile_key.h"
#include "sealpages.h"
#include "sealwal.h"
#include "seamops.h"
#include "state.h"

void
cmk_prepare_log_seal(int n)
{
	XLogEnsureRecordSpace(n, 0);
}

void
cmk_log_seal(const Buffer *buffers, int n)
{
	XLogRecPtr	lsn;

	XLogBeginInsert();
	for (int i = 0; i < n; i++)
		XLogRegisterBuffer(i, buffers[i], REGBUF_FORCE_IMAGE);
	lsn = XLogInsert(CMK_RMGR_ID, XLOG_CMK_SEAL);
	for (int i = 0; i < n; i++)
		if (!PageIsNew(BufferGetPage(buffers[i])))
			PageSetLSN(BufferGetPage(buffers[i]), lsn);
}

/*
 * No page is plain, nor under an older generation than that of this record: it takes
 * the record's place, and the older ones end.  The caller holds the keyring's lock.
 */
static int
now_whole(const uint8 *image, XLogRecPtr lsn, CmkError *err)
{
	CmkDekInfo	info;

	if (cmk_record_decode(image, &info, err) < 0 ||
		cmk_keyring_replay(image, err) < 0)
		return -1;
	return cmk_keyring_end_older(&info.id, info.generation, lsn, err);
}

/*
 * WAL first: whoever loses the change of the keys file in a crash finds all pages
 * sealed and says so again.
 */
void
cmk_log_whole(const RelFileNode *rnode)
{
	CmkRelId	id = CMK_RELID(*rnode);
	uint8		image[CMK_RECORD_SIZE];
	CmkError	err;
	int			result;

	cmk_lock_keyring();
	result = cmk_keyring_whole(&id, image, &err);
	cmk_unlock_keyring();
	if (result < 0)
		cmk_report(ERROR, &err);

	XLogBeginInsert();
	XLogRegisterData((char *) image, CMK_RECORD_SIZE);
	(void) XLogInsert(CMK_RMGR_ID, XLOG_CMK_WHOLE);
	cmk_debug_point("whole-logged");

	/* A new root may have wrapped the record anew meanwhile: take it as it is now. */
	cmk_lock_keyring();
	result = cmk_keyring_whole(&id, image, &err);
	if (result == 0)
		result = now_whole(image, GetXLogInsertRecPtr(), &err);
	cmk_unlock_keyring();
	if (result < 0)
		cmk_report(ERROR, &err);
}

void
cmk_redo_seal(XLogReaderState *record)
{
	for (int i = 0; i <= XLogRecMaxBlockId(record); i++)
	{
		Buffer		buffer;

		if (XLogReadBufferForRedo(record, i, &buffer) != BLK_RESTORED)
			elog(PANIC, "pg_cmk: a page to be sealed came without its image");

		/* An init fork was written already, as it was on disk. */
		MarkBufferDirty(buffer);
		cmk_flush_sealed(&buffer, 1);
		UnlockReleaseBuffer(buffer);
	}
}

static void
await_backups(const char *what)
{
	bool		told = false;

	while (cmk_backup_is_running())
	{
		if (!told)
			ereport(LOG,
					(errmsg("pg_cmk: replay waits for a base backup of this server to end"),
					 errdetail("%s", what)));
		told = true;
		HandleStartupProcInterrupts();
		if (!PostmasterIsAlive())
			exit(1);
		pg_usleep(100000L);
	}
}

void
cmk_redo_birth_in_place(void)
{
	if (cmk_keyring_sync() < 0)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not fsync file \"%s\": %m", CMK_KEYS_FILE)));
	await_backups("A relation is about to be sealed in place.");
}

/*
 * The free space map is not in WAL: a standby's may have pages that its primary's
 * had not.  It tells where to look for space, not more; so it begins anew.
 */
static void
truncate_free_space_map(const RelFileNode *rnode)
{
	ForkNumber	fork = FSM_FORKNUM;
	BlockNumber n = 0;

	smgrtruncate(smgropen(*rnode, InvalidBackendId), &fork, 1, &n);
}

void
cmk_redo_whole(const char *data, uint32 len)
{
	CmkDekInfo	info;
	CmkDekInfo	newest;
	CmkDekRef	ref;
	CmkError	err;
	RelFileNode rnode;
	uint64		old[MAX_FORKNUM + 1];
	uint64		left;
	int			result;

	if (len != CMK_RECORD_SIZE)
		elog(PANIC, "pg_cmk: key record of %u bytes", len);
	if (cmk_record_decode((const uint8_t *) data, &info, &err) < 0)
		cmk_report(FATAL, &err);
	rnode.spcNode = info.id.spc;
	rnode.dbNode = info.id.db;
	rnode.relNode = info.id.rel;

	/* Replay from before a later rotation, which says this again at its end. */
	if (cmk_filekey_lookup(&info.id, &ref, &newest) &&
		newest.generation > info.generation)
		return;

	left = cmk_sync_and_count_old(&rnode, info.generation, old);
	if (old[FSM_FORKNUM] > 0)
	{
		truncate_free_space_map(&rnode);
		left -= old[FSM_FORKNUM];
	}
	if (left > 0)
	{
		ereport(LOG,
				(errmsg("pg_cmk: relation %u/%u/%u is sealed on the primary, but has " UINT64_FORMAT " pages here that are plain or under an older key",
						rnode.spcNode, rnode.dbNode, rnode.relNode, left)));
		return;
	}
	await_backups("A relation has been sealed in place.");
	cmk_lock_keyring();
	result = now_whole((const uint8 *) data, GetXLogReplayRecPtr(NULL), &err);
	cmk_unlock_keyring();
	if (result < 0)
		cmk_report(FATAL, &err);
}
