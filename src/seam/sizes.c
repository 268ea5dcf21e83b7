/*
 * sizes.c
 *	  Position and size of a file: lseek, stat and truncate.
 *
 * A sealed relation or WAL file is as long as a plain one, and the real calls are
 * right.  A sealed temporary file begins with a head of its own, of which the
 * server must not hear: for such a file the owner of the table answers.
 *
 * The names in 64 are the same calls (libc.h asserts it), struct stat64 and
 * struct stat the same bytes.
 */
#include "libc.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "claims.h"

_Static_assert(sizeof(struct stat) == sizeof(struct stat64),
			   "pg_cmk_seam needs a 64-bit platform");

CMK_SEAM_EXPORT off_t
lseek(int fd, off_t off, int whence)
{
	CmkSeamFile *file = cmk_claim(fd);

	if (file != NULL && cmk_seam_ops->lseek != NULL)
		return cmk_seam_ops->lseek(file, fd, off, whence);
	return cmk_libc()->lseek(fd, off, whence);
}

CMK_SEAM_EXPORT off64_t
lseek64(int fd, off64_t off, int whence)
{
	return lseek(fd, off, whence);
}

/* A C library that has no such function has inline ones: nobody calls this. */
static int
no_such_call(void)
{
	errno = ENOSYS;
	return -1;
}

CMK_SEAM_EXPORT int
fstat(int fd, struct stat *st)
{
	CmkSeamFile *file = cmk_claim(fd);

	if (file != NULL && cmk_seam_ops->fstat != NULL)
		return cmk_seam_ops->fstat(file, fd, st);
	return cmk_libc()->fstat != NULL ? cmk_libc()->fstat(fd, st) : no_such_call();
}

/* Lets the owner put the size right; returns what the caller is to return. */
static int
stated(const char *path, struct stat *st, int result)
{
	if (result == 0 && cmk_seam_ops != NULL && cmk_seam_ops->stated != NULL)
	{
		int			save_errno = errno;

		cmk_seam_ops->stated(path, st);
		errno = save_errno;
	}
	return result;
}

CMK_SEAM_EXPORT int
stat(const char *path, struct stat *st)
{
	if (cmk_libc()->stat == NULL)
		return no_such_call();
	return stated(path, st, cmk_libc()->stat(path, st));
}

CMK_SEAM_EXPORT int
lstat(const char *path, struct stat *st)
{
	if (cmk_libc()->lstat == NULL)
		return no_such_call();
	return stated(path, st, cmk_libc()->lstat(path, st));
}

/* With an empty name it is fstat().  Below another directory: nobody's name. */
CMK_SEAM_EXPORT int
fstatat(int dirfd, const char *path, struct stat *st, int flags)
{
	int			result;

	if (cmk_libc()->fstatat == NULL)
		return no_such_call();
	if ((flags & AT_EMPTY_PATH) != 0 && path[0] == '\0' && dirfd >= 0)
		return fstat(dirfd, st);
	result = cmk_libc()->fstatat(dirfd, path, st, flags);
	if (dirfd != AT_FDCWD && path[0] != '/')
		return result;
	return stated(path, st, result);
}

CMK_SEAM_EXPORT int
fstat64(int fd, struct stat64 *st)
{
	return fstat(fd, (struct stat *) st);
}

CMK_SEAM_EXPORT int
stat64(const char *path, struct stat64 *st)
{
	return stat(path, (struct stat *) st);
}

CMK_SEAM_EXPORT int
lstat64(const char *path, struct stat64 *st)
{
	return lstat(path, (struct stat *) st);
}

CMK_SEAM_EXPORT int
fstatat64(int dirfd, const char *path, struct stat64 *st, int flags)
{
	return fstatat(dirfd, path, (struct stat *) st, flags);
}

CMK_SEAM_EXPORT int
ftruncate(int fd, off_t len)
{
	CmkSeamFile *file = cmk_claim(fd);

	if (file != NULL && cmk_seam_ops->ftruncate != NULL)
		return cmk_seam_ops->ftruncate(file, fd, len);
	return cmk_libc()->ftruncate(fd, len);
}

CMK_SEAM_EXPORT int
ftruncate64(int fd, off64_t len)
{
	return ftruncate(fd, len);
}

CMK_SEAM_EXPORT int
fallocate(int fd, int mode, off_t off, off_t len)
{
	CmkSeamFile *file = cmk_claim(fd);

	if (file != NULL && cmk_seam_ops->fallocate != NULL)
		return cmk_seam_ops->fallocate(file, fd, mode, off, len);
	return cmk_libc()->fallocate(fd, mode, off, len);
}

CMK_SEAM_EXPORT int
fallocate64(int fd, int mode, off64_t off, off64_t len)
{
	return fallocate(fd, mode, off, len);
}

/* Returns its error, and leaves errno alone. */
CMK_SEAM_EXPORT int
posix_fallocate(int fd, off_t off, off_t len)
{
	CmkSeamFile *file = cmk_claim(fd);
	int			save_errno = errno;
	int			result;

	if (file == NULL || cmk_seam_ops->fallocate == NULL)
		return cmk_libc()->posix_fallocate(fd, off, len);
	result = cmk_seam_ops->fallocate(file, fd, 0, off, len) == 0 ? 0 : errno;
	errno = save_errno;
	return result;
}

CMK_SEAM_EXPORT int
posix_fallocate64(int fd, off64_t off, off64_t len)
{
	return posix_fallocate(fd, off, len);
}
