/*
 * rawio.h
 *	  The system's own calls, around the seam, and what all rooms of fileops.c make of
 *	  them: whole writes, vectors, the file's position.
 *
 * The system may write less than it was asked to; the server takes a short write for
 * a full disk.  What the way of a page leads through is inline.
 */
#ifndef CMK_RAWIO_H
#define CMK_RAWIO_H

#include <errno.h>
#include <stdint.h>

#include "../seam/seam.h"

/* Filled by cmk_seam_register(). */
extern CmkSeamReal cmk_real;

/*
 * pwrite() around the seam until all is written or it fails.  Returns what was
 * written; -1 with errno if that is nothing.  Async-signal-safe.
 */
static inline ssize_t
cmk_write_all(int fd, const uint8_t *buf, size_t n, off_t off)
{
	size_t		done = 0;

	while (done < n)
	{
		ssize_t		w = cmk_real.pwrite(fd, buf + done, n - done,
										off + (off_t) done);

		if (w < 0 && errno == EINTR)
			continue;
		if (w == 0)
			errno = ENOSPC;
		if (w <= 0)
			return done > 0 ? (ssize_t) done : -1;
		done += (size_t) w;
	}
	return (ssize_t) done;
}

/*
 * The seam's pwritev() by a pwrite() of the same room: buffer by buffer, until one
 * is not written whole.  As pwritev(2) returns.
 */
static inline ssize_t
cmk_write_vector(CmkSeamFile *file, int fd, const struct iovec *iov, int cnt, off_t off,
				 ssize_t (*write_one) (CmkSeamFile *, int, const void *, size_t, off_t))
{
	ssize_t		done = 0;
	int			i;

	for (i = 0; i < cnt; i++)
	{
		ssize_t		w = write_one(file, fd, iov[i].iov_base, iov[i].iov_len, off + done);

		if (w < 0)
			return done > 0 ? done : -1;
		done += w;
		if ((size_t) w < iov[i].iov_len)
			break;
	}
	return done;
}

/*
 * The seam's read() by a pread() of the same room, whose content begins head bytes
 * behind the beginning of the file; moves the file's position.  As read(2) returns.
 */
extern ssize_t cmk_read_by_position(CmkSeamFile *file, int fd, void *buf, size_t n, off_t head,
									ssize_t (*read_at) (CmkSeamFile *, int, void *, size_t, off_t));

/* The same of write(), without a head. */
extern ssize_t cmk_write_by_position(CmkSeamFile *file, int fd, const void *buf, size_t n,
									 ssize_t (*write_at) (CmkSeamFile *, int, const void *,
														  size_t, off_t));

#endif							/* CMK_RAWIO_H */
