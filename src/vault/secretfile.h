/*
 * secretfile.h
 *	  Reading a file that holds a secret.
 *
 *		len = cmk_secretfile_read(path, "key file", CMK_SECRETFILE_OWN,
 *								  buf, sizeof(buf), &err);
 *		…
 *		cmk_cleanse(buf, sizeof(buf));
 */
#ifndef CMK_SECRETFILE_H
#define CMK_SECRETFILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../seal/error.h"

/*
 * The file must be as well kept as the server's SSL key: a regular file, owned
 * by the effective user and at most 0600, or by root and at most 0640.
 */
#define CMK_SECRETFILE_OWN	0x01

/*
 * Reads the whole file into buf and puts a NUL after it; a file that leaves no
 * room for that is too large.  what names it in messages ("key file").  Returns
 * its length, or -1 with CMK_ERR_NOT_FOUND, _PERMISSION, _IO or _KEY_UNUSABLE.
 * The caller wipes buf, also after a failure.
 */
extern ssize_t cmk_secretfile_read(const char *path, const char *what,
								   int flags, void *buf, size_t size,
								   CmkError *err);

#endif							/* CMK_SECRETFILE_H */
