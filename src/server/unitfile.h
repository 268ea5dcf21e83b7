/*
 * unitfile.h
 *	  Reads and writes the content of a sealed file of any length.
 *
 * Offsets and lengths are those of the content (seal/unit.h has what is on disk):
 *
 *		CmkUnitFile u = {x, nonce, fd, -1};
 *
 *		cmk_unitfile_write(&u, buf, n, off);
 *		cmk_unitfile_read(&u, buf, n, off);
 *
 * Nobody else may write to the file meanwhile; others may read what is not being
 * written.  One call at a time in a process.  Plain C, no allocation; the head of
 * the file must be there.
 */
#ifndef CMK_UNITFILE_H
#define CMK_UNITFILE_H

#include <sys/types.h>

#include "../seal/unit.h"

typedef struct CmkUnitFile
{
	CmkXts	   *x;
	uint64_t	nonce;
	int			fd;				/* open for reading, to write also for that */
	off_t		length;			/* of the content if it is known, else -1 */
} CmkUnitFile;

/* The length of the content; -1 with errno. */
extern off_t cmk_unitfile_length(int fd);

/*
 * As pread(): less than n bytes only at the end of the file, or behind an error,
 * which the next call meets.
 */
extern ssize_t cmk_unitfile_read(const CmkUnitFile *u, void *buf, size_t n,
								 off_t off);

/*
 * As pwrite(), also behind the end of the file: what is between reads as zeros.
 * Uses u->length if it is known, and leaves the new one there.
 * Less than n bytes are written only when the disk is full, or fails; the content
 * is then what it was and the bytes that were written, if the disk let us put
 * back what we had begun to overwrite.
 */
extern ssize_t cmk_unitfile_write(CmkUnitFile *u, const void *buf, size_t n,
								  off_t off);

/* As ftruncate(), in both directions. */
extern int	cmk_unitfile_resize(CmkUnitFile *u, off_t length);

/* Wipes what the last call left in its buffers. */
extern void cmk_unitfile_forget(void);

#endif							/* CMK_UNITFILE_H */
