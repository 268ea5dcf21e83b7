/*
 * orphans.c
 *	  Key records whose relation has no file, and tombstones whose relation has.
 *
 * A crash between the steps of a birth leaves a record without a file, and one in
 * the middle of a removal may leave a record whose last file is gone.  They do no
 * harm, but "every DEK of a dropped table is gone in the end" is a promise.  When
 * recovery has ended no birth is under way, and what has no file then never will.
 *
 * A tablespace that is not mounted has no files either.  The server starts without
 * it and serves it again when it is back, and meanwhile replay may have made its
 * directories anew at the mount point, so that they prove nothing.  There a
 * missing file counts only for a record that was made after the checkpoint from
 * which this start of the server began: its whole life was replayed.
 */
#include "postgres.h"

#include <errno.h>
#include <unistd.h>

#include "access/xlog.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "common/relpath.h"
#include "miscadmin.h"

#include "compat.h"
#include "filekind.h"
#include "orphans.h"
#include "state.h"

/*
 * The end of the second in which the checkpoint was made that this start began
 * from, microseconds since 1970: its time is known in seconds.
 */
static int64 replay_began = PG_INT64_MAX;

/* true only if the system says that there is no such file. */
static bool
is_missing(const char *path)
{
	return access(path, F_OK) != 0 && errno == ENOENT;
}

static bool
has_no_file(const CmkRelId *id)
{
	char		path[128];

	for (unsigned fork = 0; fork <= MAX_FORKNUM; fork++)
	{
		cmk_relation_path(id, fork, path, sizeof(path));
		if (!is_missing(path))
			return false;
	}
	return true;
}

static bool
is_orphan(const CmkDekInfo *info)
{
	bool		in_tablespace = info->id.spc != CMK_SPC_DEFAULT &&
	info->id.spc != CMK_SPC_GLOBAL;

	/* A key that was given to a file with pages is younger than that. */
	return has_no_file(&info->id) &&
		(!in_tablespace || (info->birth_lsn == 0 && info->created > replay_began));
}

void
cmk_note_replay_start(void)
{
	bool		crc_ok;
	ControlFileData *control = get_controlfile(DataDir, &crc_ok);

	replay_began = crc_ok ?
		((int64) control->checkPointCopy.time + 1) * 1000000 : PG_INT64_MAX;
	pfree(control);
}

void
cmk_revive_living(void)
{
	uint32		cursor = 0;
	CmkDekInfo	info;
	CmkError	err;

	while (cmk_registry_next(&cursor, &info))
	{
		/* An older generation's tombstone says that no page is under it any more. */
		if (info.state != CMK_DEK_DEAD || info.older || has_no_file(&info.id))
			continue;
		if (cmk_keyring_revive(&info.id, &err) < 0)
			cmk_report(FATAL, &err);
		ereport(LOG,
				(errmsg("pg_cmk: key of relation %u/%u/%u was called dead, but its file is there",
						info.id.spc, info.id.db, info.id.rel)));
	}
}

/*
 * Sessions may be born already: a standby that is being promoted has some, and
 * they may write from the moment at which recovery is called over.  One may be
 * between its record and its file.  So the file is looked for again after the
 * record was made a tombstone; and whoever creates a file looks at its record
 * after that (relfile_opened).  One of the two sees the other.
 */
void
cmk_sweep_orphans(void)
{
	uint32		cursor = 0;
	CmkDekInfo	info;
	CmkError	err;

	while (cmk_registry_next(&cursor, &info))
	{
		int			result;

		if (info.state != CMK_DEK_LIVE || info.older || !is_orphan(&info))
			continue;
		cmk_lock_keyring();
		result = cmk_keyring_death(&info.id, GetXLogInsertRecPtr(), &err);
		if (!has_no_file(&info.id))
			result = cmk_keyring_revive(&info.id, &err);
		cmk_unlock_keyring();
		if (result < 0)
			ereport(LOG, (errmsg("pg_cmk: %s", err.message)));
	}
}
