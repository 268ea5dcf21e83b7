/*
 * readat.h
 *	  Reading at a place until all is there.
 */
#ifndef CMK_READAT_H
#define CMK_READAT_H

#include <errno.h>
#include <unistd.h>

/* pread() until len bytes are there or the file ends.  How many, or -1 with errno. */
static inline ssize_t
cmk_read_at(int fd, void *buf, size_t len, off_t off)
{
	size_t		done = 0;

	while (done < len)
	{
		ssize_t		n = pread(fd, (char *) buf + done, len - done, off + (off_t) done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		done += (size_t) n;
	}
	return (ssize_t) done;
}

#endif							/* CMK_READAT_H */
