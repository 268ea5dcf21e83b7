/*
 * descriptors.c
 *	  The other ways in which a descriptor is closed, doubled, or handed to a
 *	  part of the C library that reads and writes round the seam.
 *
 * A number that keeps a claim after its file was closed would have the next
 * file of that number, perhaps a client's socket, read and written as a data
 * file.  A number that loses its claim while the file is open would have plain
 * pages written to a sealed file.  So: every call that closes ends the claim
 * first, a call that doubles a descriptor copies the claim, and where a call
 * fails half way a descriptor is rather closed than left without its claim.
 *
 * What moves bytes of a claimed descriptor without passing read() and write()
 * is refused: a stream made of it, and copies made inside the kernel.
 */
#include "libc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <unistd.h>
#include <sys/sendfile.h>

#include "claims.h"
#include "streams.h"

extern ssize_t sendfile64(int out, int in, off64_t *off, size_t n);
extern int	fcntl64(int fd, int cmd,...);
extern FILE *freopen64(const char *path, const char *mode, FILE *stream);

/*
 * A new descriptor, from which the same open file is reached as from fd, has
 * the same claim.  newfd; or -1 and errno, and newfd is closed, if it is too
 * high a number to be claimed.
 */
static int
share_claim(int fd, int newfd)
{
	CmkSeamFile *file = cmk_claim(fd);

	if (newfd < 0)
		return -1;
	cmk_claim_forget(newfd);
	if (file == NULL)
		return newfd;

	if (cmk_claim_reserve(newfd) != 0)
	{
		int			save_errno = errno;

		cmk_libc()->close(newfd);
		errno = save_errno;
		return -1;
	}
	cmk_claim_set(newfd, file);
	return newfd;
}

CMK_SEAM_EXPORT int
dup(int fd)
{
	return share_claim(fd, cmk_libc()->dup(fd));
}

/*
 * dup2() and dup3() (is_dup3 says which; flags are dup3's).
 *
 * The owner must hear that newfd is closed while it is still open, so before
 * the real call, which may yet fail.  The failures that can be foreseen are
 * left to the real call, with all as it was; after any other, newfd is closed.
 */
static int
dup_onto(int fd, int newfd, bool is_dup3, int flags)
{
	const CmkLibc *libc = cmk_libc();
	bool		was_claimed = cmk_claim(newfd) != NULL;
	int			result;

	if (fd != newfd && (flags & ~O_CLOEXEC) == 0 &&
		libc->fcntl(fd, F_GETFD) >= 0)
	{
		if (newfd >= 0 && cmk_claim(fd) != NULL &&
			cmk_claim_reserve(newfd) != 0)
			return -1;
		cmk_claim_end(newfd);
	}

	result = is_dup3 ? libc->dup3(fd, newfd, flags) : libc->dup2(fd, newfd);

	if (result < 0 && was_claimed && cmk_claim(newfd) == NULL)
	{
		int			save_errno = errno;

		libc->close(newfd);
		errno = save_errno;
	}
	return fd == newfd ? result : share_claim(fd, result);
}

CMK_SEAM_EXPORT int
dup2(int fd, int newfd)
{
	return dup_onto(fd, newfd, false, 0);
}

CMK_SEAM_EXPORT int
dup3(int fd, int newfd, int flags)
{
	return dup_onto(fd, newfd, true, flags);
}

/*
 * Of all its commands only two make a descriptor.  The third argument is an
 * int, a long or a pointer; taking it as a pointer whether given or not is what
 * the C library itself does.
 */
static int
fcntl_or_dup(int fd, int cmd, void *arg)
{
	int			result = cmk_libc()->fcntl(fd, cmd, arg);

	if (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC)
		return share_claim(fd, result);
	return result;
}

CMK_SEAM_EXPORT int
fcntl(int fd, int cmd,...)
{
	va_list		args;
	void	   *arg;

	va_start(args, cmd);
	arg = va_arg(args, void *);
	va_end(args);
	return fcntl_or_dup(fd, cmd, arg);
}

CMK_SEAM_EXPORT int
fcntl64(int fd, int cmd,...)
{
	va_list		args;
	void	   *arg;

	va_start(args, cmd);
	arg = va_arg(args, void *);
	va_end(args);
	return fcntl_or_dup(fd, cmd, arg);
}

/*
 * A stream reads and writes with the C library's internal calls, which do not
 * pass the seam.
 */
CMK_SEAM_EXPORT FILE *
fdopen(int fd, const char *mode)
{
	if (cmk_claim(fd) != NULL)
	{
		errno = EOPNOTSUPP;
		return NULL;
	}
	return cmk_libc()->fdopen(fd, mode);
}

/*
 * The descriptor of one of the C library's streams can be claimed only by dup2()
 * onto it.  fileno() sets errno for a stream that has none, as those of streams.c:
 * their descriptor is closed by the stream itself, when it has written the rest.
 */
static void
end_claim_of_stream(FILE *stream)
{
	int			save_errno = errno;

	cmk_claim_end(cmk_libc()->fileno(stream));
	errno = save_errno;
}

CMK_SEAM_EXPORT int
fclose(FILE *stream)
{
	end_claim_of_stream(stream);
	return cmk_libc()->fclose(stream);
}

/*
 * Closes the old file even when the new one cannot be opened.  A stream that is
 * not the C library's own cannot become one: it is left as it was.
 */
CMK_SEAM_EXPORT FILE *
freopen(const char *path, const char *mode, FILE *stream)
{
	if (cmk_stream_descriptor(stream) >= 0)
	{
		errno = EOPNOTSUPP;
		return NULL;
	}
	end_claim_of_stream(stream);
	return cmk_libc()->freopen(path, mode, stream);
}

CMK_SEAM_EXPORT FILE *
freopen64(const char *path, const char *mode, FILE *stream)
{
	return freopen(path, mode, stream);
}

/*
 * Closes the claimed descriptors from first to last.  They are closed here one
 * by one, not only forgotten, so that none stays open without its claim should
 * the real call then fail.
 */
static void
close_claimed(unsigned int first, unsigned int last)
{
	unsigned int fd;

	if (last >= CMK_SEAM_MAX_FD)
		last = CMK_SEAM_MAX_FD - 1;
	for (fd = first; fd <= last; fd++)
	{
		if (cmk_claim_chunks[fd / CMK_CLAIM_CHUNK] == NULL)
			fd |= CMK_CLAIM_CHUNK - 1;	/* on to the next chunk */
		else if (cmk_claim((int) fd) != NULL)
			(void) close((int) fd);
	}
}

CMK_SEAM_EXPORT int
close_range(unsigned int first, unsigned int last, int flags)
{
	if (cmk_libc()->close_range == NULL)
	{
		errno = ENOSYS;
		return -1;
	}
	if (first <= last && (flags & ~CLOSE_RANGE_UNSHARE) == 0)
		close_claimed(first, last);
	return cmk_libc()->close_range(first, last, flags);
}

CMK_SEAM_EXPORT void
closefrom(int first)
{
	close_claimed(first < 0 ? 0 : (unsigned int) first, CMK_SEAM_MAX_FD - 1);
	if (cmk_libc()->closefrom != NULL)
		cmk_libc()->closefrom(first);
}

/*
 * A copy inside the kernel would put one file's sealed bytes into another file,
 * where no key opens them, or hand them to a client.
 */
CMK_SEAM_EXPORT ssize_t
copy_file_range(int in, off64_t *in_off, int out, off64_t *out_off, size_t n,
				unsigned int flags)
{
	if (cmk_claim(in) != NULL || cmk_claim(out) != NULL)
	{
		errno = EOPNOTSUPP;
		return -1;
	}
	if (cmk_libc()->copy_file_range == NULL)
	{
		errno = ENOSYS;
		return -1;
	}
	return cmk_libc()->copy_file_range(in, in_off, out, out_off, n, flags);
}

/* EINVAL is what tells a caller to fall back to read() and write(). */
CMK_SEAM_EXPORT ssize_t
sendfile(int out, int in, off_t *off, size_t n)
{
	if (cmk_claim(in) != NULL || cmk_claim(out) != NULL)
	{
		errno = EINVAL;
		return -1;
	}
	return cmk_libc()->sendfile(out, in, off, n);
}

CMK_SEAM_EXPORT ssize_t
sendfile64(int out, int in, off64_t *off, size_t n)
{
	return sendfile(out, in, off, n);
}
