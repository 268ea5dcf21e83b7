/*
 * textfile.h
 *	  Small text files, read whole and replaced whole.
 *
 *		text = cmk_textfile_read("postgresql.auto.conf", MAX, true, &len, &err);
 *		…
 *		if (cmk_textfile_write("x.tmp", text, len, 0600, true, &err) < 0) …
 *		free(text);
 */
#ifndef CMK_TEXTFILE_H
#define CMK_TEXTFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "../seal/error.h"

/*
 * The whole of a regular file of at most max bytes, with a NUL behind it; the
 * caller frees it.  NULL with CMK_ERR_NOT_FOUND, _PERMISSION, _IO, _CORRUPT (it
 * is longer) or _NO_MEMORY; errno is 0 where no call of the system failed.  A
 * symbolic link is followed only if follow says so.
 */
extern char *cmk_textfile_read(const char *path, size_t max, bool follow,
							   size_t *len, CmkError *err);

/*
 * Makes a new file in place of what has that name, with exactly that mode, and
 * syncs it if asked to.  0, or -1 and no file is left.
 */
extern int	cmk_textfile_write(const char *path, const char *text, size_t len,
							   mode_t mode, bool sync, CmkError *err);

/* fsync of a directory.  0, or -1 with the code of errno. */
extern int	cmk_textfile_sync_dir(const char *dir, CmkError *err);

/* Fills err: "could not VERB file "PATH"", and code and reason from errno.  Always -1. */
extern int	cmk_textfile_fail(CmkError *err, const char *verb, const char *path);

#endif							/* CMK_TEXTFILE_H */
