/*
 * rootfile_io.c
 *	  Reading root.json, and replacing it so that there is always one.
 *
 * The new text goes to "root.json.tmp" beside it, is synced, and is renamed over
 * the old one; then the directory is synced.  A crash before the rename leaves
 * the old file and perhaps a temporary one, which the next write removes; a
 * crash after it leaves the new one.  At no time is there none, or half of one.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "filemode.h"
#include "rootfile_internal.h"
#include "textfile.h"

int
cmk_rootfile_read(const char *path, CmkRootFile *rf, CmkError *err)
{
	size_t		len;
	char	   *text = cmk_textfile_read(path, CMK_ROOTFILE_MAX, true, &len, err);
	int			rc;

	memset(rf, 0, sizeof(*rf));
	if (text == NULL && errno == ENOENT)
	{
		cmk_fail(err, CMK_ERR_NOT_FOUND, "file \"%s\" does not exist", path);
		return cmk_fail_hint(err, CMK_ROOTFILE_RESTORE);
	}
	if (text == NULL)
		return -1;
	rc = cmk_rootfile_parse(text, len, path, rf, err);
	free(text);
	return rc;
}

/* fsync of the directory that holds path. */
static int
sync_parent(const char *path, CmkError *err)
{
	char		dir[PATH_MAX];
	char	   *slash;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (slash == NULL)
		strcpy(dir, ".");
	else if (slash == dir)
		dir[1] = '\0';
	else
		*slash = '\0';
	return cmk_textfile_sync_dir(dir, err);
}

int
cmk_rootfile_write(const char *path, const char *text, size_t len,
				   CmkError *err)
{
	char		tmp[PATH_MAX];

	if (snprintf(tmp, sizeof(tmp), "%s.tmp", path) >= (int) sizeof(tmp))
	{
		errno = ENAMETOOLONG;
		return cmk_textfile_fail(err, "create", path);
	}
	if (cmk_textfile_write(tmp, text, len, cmk_file_mode(path), true, err) < 0)
		return -1;
	if (rename(tmp, path) < 0)
	{
		cmk_textfile_fail(err, "replace", path);
		unlink(tmp);
		return -1;
	}
	return sync_parent(path, err);
}
