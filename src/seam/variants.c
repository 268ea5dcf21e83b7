/*
 * variants.c
 *	  The names under which open, read, write and unlink are known elsewhere.
 *
 * Debian's PostgreSQL 15 imports none of them.  They are defined because a
 * claimed descriptor that is read or written under another name would be read
 * and written raw: by an extension, by a library, by a server built with
 * _FILE_OFFSET_BITS=64 (names in 64), with another hardening level (names in
 * _chk and _2), or of a later version (preadv).  What the owner's table has no
 * function for is put together from those it has, or refused.
 */
#include "libc.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "claims.h"
#include "variants.h"

/* Declared by no header, or only when the compiler hardens. */
extern int	__open_2(const char *path, int flags);
extern int	__open64_2(const char *path, int flags);
extern int	__openat_2(int dirfd, const char *path, int flags);
extern int	__openat64_2(int dirfd, const char *path, int flags);
extern ssize_t __pread_chk(int fd, void *buf, size_t n, off_t off,
						   size_t space);
extern ssize_t __pread64_chk(int fd, void *buf, size_t n, off64_t off,
							 size_t space);

CMK_SEAM_EXPORT int
open64(const char *path, int flags,...)
{
	mode_t		mode = 0;

	CMK_GET_MODE(mode, flags);
	return cmk_open_and_claim(path, flags, mode);
}

CMK_SEAM_EXPORT int
creat(const char *path, mode_t mode)
{
	return cmk_open_and_claim(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

CMK_SEAM_EXPORT int
creat64(const char *path, mode_t mode)
{
	return creat(path, mode);
}

/* open() with flags that the compiler did not know: they may take no mode. */
CMK_SEAM_EXPORT int
__open_2(const char *path, int flags)
{
	if (CMK_TAKES_MODE(flags))
		return cmk_libc()->__open_2(path, flags);	/* aborts */
	return cmk_open_and_claim(path, flags, 0);
}

CMK_SEAM_EXPORT int
__open64_2(const char *path, int flags)
{
	return __open_2(path, flags);
}

/*
 * A name below another directory is not one that the owner could know.
 */
static int
open_at(int dirfd, const char *path, int flags, mode_t mode)
{
	int			fd;

	if (dirfd == AT_FDCWD || path[0] == '/')
		return cmk_open_and_claim(path, flags, mode);

	fd = cmk_libc()->openat(dirfd, path, flags, mode);
	if (fd >= 0)
		cmk_claim_forget(fd);
	return fd;
}

CMK_SEAM_EXPORT int
openat(int dirfd, const char *path, int flags,...)
{
	mode_t		mode = 0;

	CMK_GET_MODE(mode, flags);
	return open_at(dirfd, path, flags, mode);
}

CMK_SEAM_EXPORT int
openat64(int dirfd, const char *path, int flags,...)
{
	mode_t		mode = 0;

	CMK_GET_MODE(mode, flags);
	return open_at(dirfd, path, flags, mode);
}

CMK_SEAM_EXPORT int
__openat_2(int dirfd, const char *path, int flags)
{
	if (CMK_TAKES_MODE(flags))
		return cmk_libc()->__openat_2(dirfd, path, flags);	/* aborts */
	return open_at(dirfd, path, flags, 0);
}

CMK_SEAM_EXPORT int
__openat64_2(int dirfd, const char *path, int flags)
{
	return __openat_2(dirfd, path, flags);
}

CMK_SEAM_EXPORT int
unlinkat(int dirfd, const char *path, int flags)
{
	int			result = cmk_libc()->unlinkat(dirfd, path, flags);

	if ((flags & AT_REMOVEDIR) != 0 || (dirfd != AT_FDCWD && path[0] != '/'))
		return result;
	return cmk_unlinked(path, result);
}

/* The path may have been a directory: unlinked() can tell by the name. */
CMK_SEAM_EXPORT int
remove(const char *path)
{
	return cmk_unlinked(path, cmk_libc()->remove(path));
}

CMK_SEAM_EXPORT ssize_t
pread64(int fd, void *buf, size_t n, off64_t off)
{
	return pread(fd, buf, n, off);
}

CMK_SEAM_EXPORT ssize_t
__pread_chk(int fd, void *buf, size_t n, off_t off, size_t space)
{
	if (n > space)
		return cmk_libc()->__pread_chk(fd, buf, n, off, space); /* aborts */
	return pread(fd, buf, n, off);
}

CMK_SEAM_EXPORT ssize_t
__pread64_chk(int fd, void *buf, size_t n, off64_t off, size_t space)
{
	return __pread_chk(fd, buf, n, off, space);
}

CMK_SEAM_EXPORT ssize_t
pwrite64(int fd, const void *buf, size_t n, off64_t off)
{
	return pwrite(fd, buf, n, off);
}

CMK_SEAM_EXPORT ssize_t
pwritev64(int fd, const struct iovec *iov, int n, off64_t off)
{
	return pwritev(fd, iov, n, off);
}

/*
 * One step of a vectored call: moves the bytes of one piece and says how many.
 * off < 0 stands for the descriptor's own position.
 */
typedef ssize_t (*MovePiece) (CmkSeamFile *file, int fd, struct iovec piece,
							  off_t off);

static ssize_t
read_piece(CmkSeamFile *file, int fd, struct iovec piece, off_t off)
{
	if (off < 0)
		return cmk_seam_ops->read(file, fd, piece.iov_base, piece.iov_len);
	return cmk_seam_ops->pread(file, fd, piece.iov_base, piece.iov_len, off);
}

static ssize_t
write_piece(CmkSeamFile *file, int fd, struct iovec piece, off_t off)
{
	if (off < 0)
		return cmk_seam_ops->write(file, fd, piece.iov_base, piece.iov_len);
	return cmk_seam_ops->pwrite(file, fd, piece.iov_base, piece.iov_len, off);
}

/*
 * Calls move for one piece after the other.  Like the call it stands for, it
 * stops at the first that comes up short, and reports an error only if nothing
 * was moved.
 */
static ssize_t
move_pieces(MovePiece move, CmkSeamFile *file, int fd,
			const struct iovec *iov, int n, off_t off)
{
	ssize_t		done = 0;
	int			save_errno = errno;
	int			i;

	if (n < 0 || n > IOV_MAX)
	{
		errno = EINVAL;
		return -1;
	}
	for (i = 0; i < n; i++)
	{
		ssize_t		moved = move(file, fd, iov[i], off < 0 ? off : off + done);

		if (moved < 0)
		{
			if (done == 0)
				return -1;
			break;
		}
		done += moved;
		if ((size_t) moved < iov[i].iov_len)
			break;
	}
	errno = save_errno;
	return done;
}

CMK_SEAM_EXPORT ssize_t
readv(int fd, const struct iovec *iov, int n)
{
	CmkSeamFile *file = cmk_claim(fd);

	if (file != NULL)
		return move_pieces(read_piece, file, fd, iov, n, -1);
	return cmk_libc()->readv(fd, iov, n);
}

CMK_SEAM_EXPORT ssize_t
writev(int fd, const struct iovec *iov, int n)
{
	CmkSeamFile *file = cmk_claim(fd);

	if (file != NULL)
		return move_pieces(write_piece, file, fd, iov, n, -1);
	return cmk_libc()->writev(fd, iov, n);
}

CMK_SEAM_EXPORT ssize_t
preadv(int fd, const struct iovec *iov, int n, off_t off)
{
	CmkSeamFile *file = cmk_claim(fd);

	if (file == NULL)
		return cmk_libc()->preadv(fd, iov, n, off);
	if (off < 0)
	{
		errno = EINVAL;
		return -1;
	}
	return move_pieces(read_piece, file, fd, iov, n, off);
}

CMK_SEAM_EXPORT ssize_t
preadv64(int fd, const struct iovec *iov, int n, off64_t off)
{
	return preadv(fd, iov, n, off);
}

/*
 * Whether a claimed descriptor must refuse a preadv2() or pwritev2(): flags ask
 * for properties that functions of the table know nothing of.
 */
static bool
refuses_flags(int flags)
{
	if (flags != 0)
		errno = EOPNOTSUPP;
	return flags != 0;
}

CMK_SEAM_EXPORT ssize_t
preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	if (cmk_claim(fd) != NULL)
	{
		if (refuses_flags(flags))
			return -1;
		return off == -1 ? readv(fd, iov, n) : preadv(fd, iov, n, off);
	}
	if (cmk_libc()->preadv2 == NULL)
	{
		errno = ENOSYS;
		return -1;
	}
	return cmk_libc()->preadv2(fd, iov, n, off, flags);
}

CMK_SEAM_EXPORT ssize_t
preadv64v2(int fd, const struct iovec *iov, int n, off64_t off, int flags)
{
	return preadv2(fd, iov, n, off, flags);
}

CMK_SEAM_EXPORT ssize_t
pwritev2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	if (cmk_claim(fd) != NULL)
	{
		if (refuses_flags(flags))
			return -1;
		return off == -1 ? writev(fd, iov, n) : pwritev(fd, iov, n, off);
	}
	if (cmk_libc()->pwritev2 == NULL)
	{
		errno = ENOSYS;
		return -1;
	}
	return cmk_libc()->pwritev2(fd, iov, n, off, flags);
}

CMK_SEAM_EXPORT ssize_t
pwritev64v2(int fd, const struct iovec *iov, int n, off64_t off, int flags)
{
	return pwritev2(fd, iov, n, off, flags);
}
