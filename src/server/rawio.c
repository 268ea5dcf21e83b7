/*
 * rawio.c
 *	  The system's own calls, around the seam.  See rawio.h.
 */
#include <unistd.h>

#include "rawio.h"

CmkSeamReal cmk_real;

ssize_t
cmk_read_by_position(CmkSeamFile *file, int fd, void *buf, size_t n, off_t head,
					 ssize_t (*read_at) (CmkSeamFile *, int, void *, size_t, off_t))
{
	off_t		at = cmk_real.lseek(fd, 0, SEEK_CUR);
	ssize_t		got = at < 0 ? -1 : read_at(file, fd, buf, n, at - head);

	if (got > 0 && cmk_real.lseek(fd, at + got, SEEK_SET) < 0)
		return -1;
	return got;
}

ssize_t
cmk_write_by_position(CmkSeamFile *file, int fd, const void *buf, size_t n,
					  ssize_t (*write_at) (CmkSeamFile *, int, const void *, size_t, off_t))
{
	off_t		at = cmk_real.lseek(fd, 0, SEEK_CUR);
	ssize_t		done = at < 0 ? -1 : write_at(file, fd, buf, n, at);

	if (done > 0 && cmk_real.lseek(fd, at + done, SEEK_SET) < 0)
		return -1;
	return done;
}
