/*
 * walstart.c
 *	  Plain WAL where WAL is sealed: what recovery does with it before it reads it.
 *
 * There are three ways by which such WAL comes honestly.  A stock pg_basebackup
 * streams WAL like a standby, but writes it as it is; a standby that got its first
 * root from WAL had received what follows before; and an archive may have been filled
 * by pg_receivewal.  Such segments are sealed where they stand, before the first of them
 * is read: then they lie in clear no longer than until the first start, and all that is
 * found plain afterwards was slipped in.
 *
 * The first is known by the file backup_label, which is there from the backup until
 * recovery has noted in the control file where it began.  The second by a file of our own,
 * which replay makes when it learns where WAL begins to be sealed, and which goes
 * when the next start has done this work.  The third has to be allowed
 * (pg_cmk.accept_plain_wal = on), but for an archive that completes a backup.
 *
 * A segment is sealed into a new file that takes its place.  A crash leaves a temporary
 * file, which the server removes, and backup_label, or our file, so that it is done again.
 */
#include "postgres.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecovery.h"
#include "access/xlogutils.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "storage/fd.h"

#include "../seal/walpage.h"
#include "compat.h"
#include "gate.h"
#include "rawio.h"
#include "rootopen.h"
#include "state.h"
#include "walfile.h"
#include "walops.h"

#define TEMPORARY		XLOGDIR "/xlogtemp.cmk"
#define PIECE			(16 * XLOG_BLCKSZ)

static bool accepts = false;	/* plain segments are sealed, and not refused */
static bool from_backup = false;	/* as long as the backup is not complete */

static void
failed(const char *what, const char *path)
{
	ereport(FATAL,
			(errcode_for_file_access(),
			 errmsg("could not %s file \"%s\": %m", what, path)));
}

/* ---- one segment ---- */

/* The root that seals it; NULL if it may be plain. */
static const CmkRootKey *
root_of_segment(const char *path, XLogRecPtr *start)
{
	CmkFileName name;

	if (cmk_filekind(path, &name) != CMK_FILE_WAL || !cmk_walfile_start(&name, start))
		return NULL;
	return cmk_registry_wal_root(*start);
}

/* Is its first page a plain WAL page at its place? */
static bool
begins_plain(const char *path, XLogRecPtr start)
{
	PGAlignedXLogBlock page;
	CmkWalHead	head;
	int			fd = cmk_real.open(path, O_RDONLY | O_CLOEXEC);
	ssize_t		n;

	if (fd < 0)
	{
		if (errno == ENOENT)
			return false;
		failed("open", path);
	}
	n = cmk_real.pread(fd, page.data, XLOG_BLCKSZ, 0);
	cmk_real.close(fd);
	if (n != XLOG_BLCKSZ)
		return false;
	cmk_walpage_head(page.data, &head);
	return head.magic == XLOG_PAGE_MAGIC && head.pageaddr == start &&
		!(head.info & CMK_XLP_SEALED);
}

/* What is sealed already stays; what belongs to another place, or is no page, goes. */
static void
convert_page(CmkXts *x, const CmkRootKey *root, char *dst, const char *src, XLogRecPtr addr)
{
	CmkWalHead	head;

	cmk_walpage_head(src, &head);
	if (head.magic != XLOG_PAGE_MAGIC || head.pageaddr != addr)
		memset(dst, 0, XLOG_BLCKSZ);
	else if (head.info & CMK_XLP_SEALED)
		memcpy(dst, src, XLOG_BLCKSZ);
	else if (cmk_walpage_seal(x, dst, src, root->id % 16) < 0)
		ereport(FATAL, (errmsg("could not seal WAL")));
}

static void
seal_segment(const char *path, const CmkRootKey *root, XLogRecPtr start)
{
	static char plain[PIECE];
	static char sealed[PIECE];
	CmkXts	   *x = cmk_walkey_cipher(root);
	int			in = cmk_real.open(path, O_RDONLY | O_CLOEXEC);
	int			out;
	off_t		off = 0;
	ssize_t		n;

	if (x == NULL || in < 0)
		failed("open", path);
	(void) unlink(TEMPORARY);
	out = cmk_real.open(TEMPORARY, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, pg_file_create_mode);
	if (out < 0)
		failed("create", TEMPORARY);
	while ((n = cmk_real.pread(in, plain, PIECE, off)) > 0)
	{
		n -= n % XLOG_BLCKSZ;
		for (int i = 0; i < n; i += XLOG_BLCKSZ)
			convert_page(x, root, sealed + i, plain + i, start + off + i);
		if (n == 0 || cmk_real.pwrite(out, sealed, n, off) != n)
		{
			if (errno == 0)
				errno = ENOSPC;
			failed("write", TEMPORARY);
		}
		off += n;
	}
	if (n < 0)
		failed("read", path);
	cmk_real.close(in);
	if (pg_fsync(out) != 0)
		failed("fsync", TEMPORARY);
	cmk_real.close(out);
	(void) durable_rename(TEMPORARY, path, FATAL);
	ereport(LOG, (errmsg("pg_cmk: sealed plain WAL file \"%s\"", path)));
}

/* ---- all segments ---- */

static void
seal_all(void)
{
	DIR		   *dir = AllocateDir(XLOGDIR);
	struct dirent *de;

	while ((de = ReadDir(dir, XLOGDIR)) != NULL)
	{
		char		path[MAXPGPATH];
		XLogRecPtr	start;
		const CmkRootKey *root;

		snprintf(path, sizeof(path), XLOGDIR "/%s", de->d_name);
		root = root_of_segment(path, &start);
		if (root != NULL && begins_plain(path, start))
			seal_segment(path, root, start);
	}
	FreeDir(dir);
}

/* Is recovery on its way from a backup's start to its end? */
static bool
backup_is_incomplete(void)
{
	bool		crc_ok;
	ControlFileData *control;
	bool		result;

	if (cmk_file_exists(BACKUP_LABEL_FILE))
		return true;
	control = get_controlfile(DataDir, &crc_ok);
	result = crc_ok && (control->backupStartPoint != InvalidXLogRecPtr ||
						control->backupEndRequired);
	pfree(control);
	return result;
}

bool
cmk_completes_backup(void)
{
	return (AmStartupProcess() || !IsUnderPostmaster) && InRecovery && !reachedConsistency &&
		backup_is_incomplete();
}

void
cmk_walstart(void)
{
	static bool done = false;
	uint64		begin;

	if (done || cmk_shared == NULL)
		return;
	done = true;				/* what follows opens no segment through the seam */
	if (cmk_root_expected())
		(void) cmk_await_root();
	if (!cmk_is_configured())
		return;

	from_backup = cmk_accept_plain_wal == CMK_ACCEPT_BACKUP && backup_is_incomplete();
	accepts = cmk_accept_plain_wal == CMK_ACCEPT_ON || from_backup;
	if (accepts || (cmk_accept_plain_wal == CMK_ACCEPT_BACKUP &&
					cmk_file_exists(CMK_WAL_WAS_PLAIN)))
	{
		seal_all();
		if (cmk_file_exists(CMK_WAL_WAS_PLAIN))
			(void) durable_unlink(CMK_WAL_WAS_PLAIN, LOG);
	}
	begin = cmk_registry_wal_begin();
	if (begin != 0)
		pg_atomic_write_u64(&cmk_shared->wal_refuse, begin);
}

void
cmk_walstart_segment(const char *path)
{
	XLogRecPtr	start;
	const CmkRootKey *root;

	if (!accepts)
		return;
	root = root_of_segment(path, &start);
	if (root == NULL || !begins_plain(path, start))
		return;
	if (from_backup && !backup_is_incomplete())
	{
		from_backup = accepts = false;
		return;
	}
	seal_segment(path, root, start);
}

/* ---- positions that come with WAL ---- */

static bool
has_position(const CmkRootFile *rf)
{
	for (int i = 0; rf != NULL && i < rf->nroots; i++)
		if (rf->roots[i].wal_from != 0)
			return true;
	return false;
}

static void
note_was_plain(void)
{
	int			fd = BasicOpenFile(CMK_WAL_WAS_PLAIN, O_WRONLY | O_CREAT | PG_BINARY);

	if (fd < 0)
		failed("create", CMK_WAL_WAS_PLAIN);
	close(fd);
	fsync_fname(CMK_WAL_WAS_PLAIN, false);
	fsync_fname(CMK_DIR, true);
}

void
cmk_wal_take_positions(const CmkRootFile *theirs, const CmkRootFile *ours)
{
	if (has_position(theirs) && !has_position(ours))
		note_was_plain();
	for (int i = 0; i < theirs->nroots; i++)
		cmk_registry_set_wal_from(theirs->roots[i].id, theirs->roots[i].wal_from);
}
