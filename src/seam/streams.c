/*
 * streams.c
 *	  Streams whose bytes pass through the table of functions.
 *
 * A stream of the C library reads and writes its descriptor with internal calls,
 * which do not pass the seam.  So a file that the owner of the table wants to see
 * as a stream, too, is opened like any other, claimed, and then put under a
 * stream of the program's own (fopencookie): the library keeps the buffer and
 * calls the functions here to fill and empty it, and these call read(), write(),
 * lseek() and close() as the rest of the process does.
 *
 * Only what streams() names comes here; every other fopen() is the library's own.
 * Such a stream has no descriptor for the library, so fileno() is answered here:
 * pg_stat_statements calls ftruncate(fileno(stream)).
 */
#include "libc.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "claims.h"
#include "streams.h"
#include "variants.h"

extern FILE *fopen64(const char *path, const char *mode);
extern int	fileno_unlocked(FILE *stream);

/* The server has one or two at once, and a limit on all its streams. */
#define MAX_STREAMS		64

typedef struct Stream
{
	FILE	   *stream;			/* NULL: free */
	int			fd;
} Stream;

static Stream streams[MAX_STREAMS];

int
cmk_stream_descriptor(FILE *stream)
{
	int			i;

	for (i = 0; i < MAX_STREAMS; i++)
		if (streams[i].stream == stream && stream != NULL)
			return streams[i].fd;
	return -1;
}

static ssize_t
stream_read(void *cookie, char *buf, size_t n)
{
	return read(((Stream *) cookie)->fd, buf, n);
}

/* 0 is how fopencookie() wants to hear of an error: errno tells which. */
static ssize_t
stream_write(void *cookie, const char *buf, size_t n)
{
	ssize_t		done = write(((Stream *) cookie)->fd, buf, n);

	return done < 0 ? 0 : done;
}

static int
stream_seek(void *cookie, off64_t *off, int whence)
{
	off_t		result = lseek(((Stream *) cookie)->fd, *off, whence);

	if (result < 0)
		return -1;
	*off = result;
	return 0;
}

static int
stream_close(void *cookie)
{
	Stream	   *s = cookie;
	int			fd = s->fd;

	memset(s, 0, sizeof(*s));
	return close(fd);
}

/* The flags of open() for a mode of fopen(); -1 with EINVAL. */
static int
flags_of(const char *mode)
{
	int			access;
	int			flags;

	switch (mode[0])
	{
		case 'r':
			access = O_RDONLY;
			flags = 0;
			break;
		case 'w':
			access = O_WRONLY;
			flags = O_CREAT | O_TRUNC;
			break;
		case 'a':
			access = O_WRONLY;
			flags = O_CREAT | O_APPEND;
			break;
		default:
			errno = EINVAL;
			return -1;
	}
	for (mode++; *mode != '\0' && *mode != ','; mode++)
	{
		if (*mode == '+')
			access = O_RDWR;
		else if (*mode == 'x')
			flags |= O_EXCL;
		else if (*mode == 'e')
			flags |= O_CLOEXEC;
	}
	return access | flags;
}

/* A stream on fd, which is claimed. */
static FILE *
stream_on(int fd, const char *mode)
{
	static const cookie_io_functions_t functions = {
		stream_read, stream_write, stream_seek, stream_close
	};
	int			i;

	for (i = 0; i < MAX_STREAMS; i++)
	{
		if (streams[i].stream != NULL)
			continue;
		streams[i].fd = fd;
		streams[i].stream = fopencookie(&streams[i], mode, functions);
		return streams[i].stream;
	}
	errno = EMFILE;
	return NULL;
}

CMK_SEAM_EXPORT FILE *
fopen(const char *path, const char *mode)
{
	FILE	   *stream;
	int			save_errno = errno;
	int			flags;
	int			fd;

	if (cmk_seam_ops == NULL || cmk_seam_ops->streams == NULL ||
		!cmk_seam_ops->streams(path))
		return cmk_libc()->fopen(path, mode);

	flags = flags_of(mode);
	fd = flags < 0 ? -1 : cmk_open_and_claim(path, flags, 0666);
	if (fd < 0)
		return NULL;
	stream = cmk_claim(fd) != NULL ? stream_on(fd, mode) :
		cmk_libc()->fdopen(fd, mode);
	if (stream == NULL)
	{
		save_errno = errno;
		close(fd);
	}
	errno = save_errno;
	return stream;
}

CMK_SEAM_EXPORT FILE *
fopen64(const char *path, const char *mode)
{
	return fopen(path, mode);
}

CMK_SEAM_EXPORT int
fileno(FILE *stream)
{
	int			fd = cmk_stream_descriptor(stream);

	return fd >= 0 ? fd : cmk_libc()->fileno(stream);
}

CMK_SEAM_EXPORT int
fileno_unlocked(FILE *stream)
{
	return fileno(stream);
}
