/*
 * keywal.c
 *	  Key records in WAL.  See keywal.h.
 *
 * Replay is idempotent: a birth overwrites what is known of its relation with the
 * very same bytes, and a root file is taken only if it is newer than ours.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xloginsert.h"
#include "access/xlogrecovery.h"
#include "access/xlogutils.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"

#include "compat.h"
#include "keywal.h"
#include "rootopen.h"
#include "sealwal.h"
#include "settings.h"
#include "state.h"
#include "walops.h"

/* The reader that the startup process replays with, once it showed itself. */
static XLogReaderState *replaying = NULL;

int
cmk_replayed_rmid(void)
{
	if (replaying == NULL || replaying->record == NULL)
		return -1;
	return XLogRecGetRmid(replaying);
}

void
cmk_log_root(void)
{
	CmkRootFile rf;
	CmkError	err;
	XLogRecPtr	end;

	if (cmk_rootfile_read(CMK_ROOT_FILE, &rf, &err) < 0)
		cmk_report(ERROR, &err);
	XLogBeginInsert();
	XLogRegisterData(rf.text, strlen(rf.text));
	end = XLogInsert(CMK_RMGR_ID, XLOG_CMK_ROOT);
	cmk_rootfile_free(&rf);

	/* On an idle server nothing would follow for long that takes it to a standby. */
	XLogFlush(end);
	pg_atomic_write_u32(&cmk_shared->root_logged, 1);
}

void
cmk_log_birth(const uint8_t image[CMK_RECORD_SIZE])
{
	if (pg_atomic_read_u32(&cmk_shared->root_logged) == 0)
		cmk_log_root();
	XLogBeginInsert();
	XLogRegisterData(unconstify(char *, (const char *) image), CMK_RECORD_SIZE);
	XLogInsert(CMK_RMGR_ID, XLOG_CMK_BIRTH);
}

static void
redo_birth(const char *data, uint32 len)
{
	CmkDekInfo	info;
	CmkError	err;
	int			result;

	if (len != CMK_RECORD_SIZE)
		elog(PANIC, "pg_cmk: key record of %u bytes", len);
	if (!cmk_is_configured())
		ereport(FATAL,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("WAL holds a sealed relation's key, but no root key is open"),
				 errhint("Set pg_cmk.key to the key that the primary uses, or one that it was told of.")));
	cmk_lock_keyring();
	result = cmk_keyring_replay((const uint8_t *) data, &err);
	cmk_unlock_keyring();
	if (result < 0)
		cmk_report(FATAL, &err);
	if (cmk_record_decode((const uint8_t *) data, &info, &err) == 0 &&
		info.birth_lsn != 0 && (info.generation > 1 || !(info.flags & CMK_DEK_WHOLE)))
		cmk_redo_birth_in_place();
}

/*
 * A server that lost its last change in a crash, before it was in WAL, and follows
 * another one now.  A recipient that nobody else knows is forgotten; but its own root
 * must not be, since records may be under it.
 */
static void
refuse_other_root(const CmkRootFile *ours, const CmkRootFile *theirs)
{
	bool		other = theirs->current_root < ours->current_root;

	for (int i = 0; i < ours->nroots; i++)
	{
		const CmkRoot *root = cmk_rootfile_find_root(theirs, ours->roots[i].id);

		if (root != NULL &&
			memcmp(root->salt, ours->roots[i].salt, sizeof(root->salt)) != 0)
			other = true;
	}
	if (other)
		ereport(FATAL,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("file \"%s\" has a root key that the primary does not know", CMK_ROOT_FILE),
				 errdetail("It was made on this server before another one became the primary, and is not in WAL."),
				 errhint("Make this standby anew from a base backup of the primary.")));
}

/*
 * The minimum recovery point goes first: a backup of this standby may get root.json as
 * it was, and then keys under the new root, which only this record opens.
 */
static void
redo_root(XLogReaderState *record)
{
	const char *data = XLogRecGetData(record);
	uint32		len = XLogRecGetDataLen(record);
	CmkRootFile theirs;
	CmkRootFile ours;
	CmkError	err;
	bool		have = cmk_rootfile_read(CMK_ROOT_FILE, &ours, &err) == 0;

	if (!have && err.code != CMK_ERR_NOT_FOUND)
		cmk_report(FATAL, &err);
	if (cmk_rootfile_parse(data, len, "WAL", &theirs, &err) < 0)
		cmk_report(FATAL, &err);
	if (!have || theirs.serial > ours.serial || theirs.current_root > ours.current_root)
	{
		if (!cmk_has_key())
			ereport(FATAL,
					(errcode(ERRCODE_CONFIG_FILE_ERROR),
					 errmsg("WAL holds a root key of pg_cmk, but pg_cmk.key is not set"),
					 errhint("Set pg_cmk.key to the key that the primary uses, or one that it was told of.")));
		if (have)
			refuse_other_root(&ours, &theirs);
		XLogFlush(record->EndRecPtr);
		if (cmk_take_root(&theirs, have ? &ours : NULL, &err) < 0)
			cmk_report(FATAL, &err);
		cmk_wal_take_positions(&theirs, have ? &ours : NULL);
		ereport(LOG,
				(errmsg("pg_cmk: root key %u came with WAL", theirs.current_root)));
	}
	cmk_rootfile_free(&theirs);
	if (have)
		cmk_rootfile_free(&ours);
}

static void
cmk_redo(XLogReaderState *record)
{
	uint8		info = XLogRecGetInfo(record) & ~XLR_INFO_MASK;

	replaying = record;
	switch (info)
	{
		case XLOG_CMK_BIRTH:
			redo_birth(XLogRecGetData(record), XLogRecGetDataLen(record));
			break;
		case XLOG_CMK_ROOT:
			redo_root(record);
			break;
		case XLOG_CMK_SEAL:
			cmk_redo_seal(record);
			break;
		case XLOG_CMK_WHOLE:
			cmk_redo_whole(XLogRecGetData(record), XLogRecGetDataLen(record));
			break;
		default:
			elog(PANIC, "pg_cmk: unknown op code %u", info);
	}
}

/* The bytes of a record are wrapped keys: say which file, not what. */
static void
cmk_desc(StringInfo buf, XLogReaderState *record)
{
	CmkDekInfo	dek;
	CmkError	err;

	uint8		op = XLogRecGetInfo(record) & ~XLR_INFO_MASK;

	if ((op == XLOG_CMK_BIRTH || op == XLOG_CMK_WHOLE) &&
		XLogRecGetDataLen(record) == CMK_RECORD_SIZE &&
		cmk_record_decode((const uint8_t *) XLogRecGetData(record), &dek, &err) == 0)
		appendStringInfo(buf, "rel %u/%u/%u gen %u", dek.id.spc, dek.id.db,
						 dek.id.rel, dek.generation);
}

static const char *
cmk_identify(uint8 info)
{
	switch (info & ~XLR_INFO_MASK)
	{
		case XLOG_CMK_BIRTH:
			return "BIRTH";
		case XLOG_CMK_ROOT:
			return "ROOT";
		case XLOG_CMK_SEAL:
			return "SEAL";
		case XLOG_CMK_WHOLE:
			return "WHOLE";
	}
	return NULL;
}

/*
 * The end of recovery.  A key record that is damaged now will not be brought by
 * WAL any more.
 */
static void
cmk_cleanup(void)
{
	CmkDamaged	damaged;

	replaying = NULL;
	if (!cmk_is_configured())
		return;
	if (cmk_registry_damaged(&damaged, 1) > 0)
		ereport(FATAL,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("record %u of file \"%s\" is damaged", damaged.record, CMK_KEYS_FILE),
				 errdetail("Recovery has ended, and no WAL record brought it again."),
				 errhint("Restore directory \"%s\" from a backup of this cluster.", CMK_DIR)));
}

static RmgrData cmk_rmgr = {
	.rm_name = CMK_RMGR_NAME,
	.rm_redo = cmk_redo,
	.rm_desc = cmk_desc,
	.rm_identify = cmk_identify,
	.rm_cleanup = cmk_cleanup
};

void
cmk_register_rmgr(void)
{
	RegisterCustomRmgr(CMK_RMGR_ID, &cmk_rmgr);
}
