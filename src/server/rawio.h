/*
 * rawio.h
 *	  Whole writes, for all rooms of fileops.c.
 *
 * The system may write less than it was asked to; the server takes a short write for
 * a full disk.  Inline, since the way of a page leads through here.
 */
#ifndef CMK_RAWIO_H
#define CMK_RAWIO_H

#include <errno.h>
#include <stdint.h>

#include "relfile.h"

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

#endif							/* CMK_RAWIO_H */
