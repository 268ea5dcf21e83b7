/*
 * orphans.c
 *	  Key records whose relation has no file.
 *
 * A crash between the steps of a birth leaves a record without a file, and one in
 * the middle of a removal may leave a record whose last file is gone.  They do no
 * harm, but "every DEK of a dropped table is gone in the end" is a promise.  When
 * recovery has ended no birth is under way, and what has no file then never will.
 *
 * With one exception: a tablespace that is not mounted has no files either.  The
 * server starts without it and serves it again when it is back; its keys must
 * have waited.  So a missing file counts only if the directory that should hold
 * it is there.
 */
#include "postgres.h"

#include <errno.h>
#include <unistd.h>

#include "access/xlog.h"
#include "common/relpath.h"

#include "compat.h"
#include "filekind.h"
#include "orphans.h"
#include "state.h"

/* true only if the system says that there is no such file. */
static bool
is_missing(const char *path)
{
	return access(path, F_OK) != 0 && errno == ENOENT;
}

static bool
is_orphan(const CmkRelId *id)
{
	char		path[128];

	for (unsigned fork = 0; fork <= MAX_FORKNUM; fork++)
	{
		cmk_relation_path(id, fork, path, sizeof(path));
		if (!is_missing(path))
			return false;
	}
	if (id->spc == CMK_SPC_DEFAULT || id->spc == CMK_SPC_GLOBAL)
		return true;
	*strrchr(path, '/') = '\0';
	return !is_missing(path);
}

void
cmk_sweep_orphans(void)
{
	uint32		cursor = 0;
	CmkDekInfo	info;
	CmkError	err;

	while (cmk_registry_next(&cursor, &info))
	{
		if (info.state != CMK_DEK_LIVE || !is_orphan(&info.id))
			continue;
		cmk_lock_keyring();
		if (cmk_keyring_death(&info.id, GetXLogInsertRecPtr(), &err) < 0)
			ereport(LOG, (errmsg("pg_cmk: %s", err.message)));
		cmk_unlock_keyring();
	}
}
