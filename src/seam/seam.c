/*
 * seam.c
 *	  The file calls of the server, each a thin door in front of the C library's.
 *
 * The dynamic loader resolves the server's open(), pread() and so on to the
 * functions here, because this library is preloaded.  Every one of them asks
 * cmk_claim() whether the descriptor is one that the registered table of
 * functions claimed when it was opened.  If not, which goes for sockets,
 * pipes, logs, configuration and all that is not a data file, the real call is
 * made with the same arguments and nothing else happens: no lock, no
 * allocation, errno untouched, as the server's signal handlers need.
 *
 * A claim is made in one place, cmk_open_and_claim(), and given up wherever a
 * descriptor can be closed (close() here, the others in descriptors.c).  This
 * file has the calls that the server makes; variants.c has the other names
 * under which extensions and other builds of the server may know them.
 * docs/seam.md goes through the server's import table call by call.
 */
#include "libc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "claims.h"
#include "variants.h"

/* Declared only when the compiler hardens. */
extern ssize_t __read_chk(int fd, void *buf, size_t n, size_t space);

/*
 * Closes a descriptor that could not be claimed.  errno is kept; -1 for the
 * caller to return.
 *
 * A file that this very call made is opened()'s to remove, if it was called
 * (owner_was_told).  If not, O_EXCL tells that it is new; without O_EXCL nobody
 * can know.
 */
static int
give_back(int fd, const char *path, int flags, bool owner_was_told)
{
	int			save_errno = errno;

	cmk_libc()->close(fd);
	if (!owner_was_told && (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
		cmk_libc()->unlink(path);
	errno = save_errno;
	return -1;
}

/*
 * open(), for every name under which it is known.  The owner of the table
 * decides by the name before the file is opened, and has the last word when it
 * is open.
 */
int
cmk_open_and_claim(const char *path, int flags, mode_t mode)
{
	CmkSeamFile file;
	int			save_errno = errno;
	int			real_flags = flags;
	int			fd;

	if (cmk_seam_ops == NULL)
		return cmk_libc()->open(path, flags, mode);

	memset(&file, 0, sizeof(file));
	if (cmk_seam_ops->opening(path, &real_flags, &file) != 0)
		return -1;
	errno = save_errno;

	fd = cmk_libc()->open(path, real_flags, mode);
	if (fd < 0)
		return -1;
	cmk_claim_forget(fd);
	if (file.kind == 0)
		return fd;

	if (cmk_claim_reserve(fd) != 0)
		return give_back(fd, path, flags, false);
	if (cmk_seam_ops->opened(fd, path, flags, &file) != 0)
		return give_back(fd, path, flags, true);
	cmk_claim_set(fd, &file);
	errno = save_errno;
	return fd;
}

CMK_SEAM_EXPORT int
open(const char *path, int flags,...)
{
	mode_t		mode = 0;

	CMK_GET_MODE(mode, flags);
	return cmk_open_and_claim(path, flags, mode);
}

CMK_SEAM_EXPORT int
close(int fd)
{
	cmk_claim_end(fd);
	return cmk_libc()->close(fd);
}

CMK_SEAM_EXPORT ssize_t
read(int fd, void *buf, size_t n)
{
	CmkSeamFile *file = cmk_claim(fd);

	if (file != NULL)
		return cmk_seam_ops->read(file, fd, buf, n);
	return cmk_libc()->read(fd, buf, n);
}

/* read() where the compiler knew the size of the buffer, but not n. */
CMK_SEAM_EXPORT ssize_t
__read_chk(int fd, void *buf, size_t n, size_t space)
{
	if (n > space)
		return cmk_libc()->__read_chk(fd, buf, n, space);	/* aborts */
	return read(fd, buf, n);
}

CMK_SEAM_EXPORT ssize_t
write(int fd, const void *buf, size_t n)
{
	CmkSeamFile *file = cmk_claim(fd);

	if (file != NULL)
		return cmk_seam_ops->write(file, fd, buf, n);
	return cmk_libc()->write(fd, buf, n);
}

CMK_SEAM_EXPORT ssize_t
pread(int fd, void *buf, size_t n, off_t off)
{
	CmkSeamFile *file = cmk_claim(fd);

	if (file != NULL)
		return cmk_seam_ops->pread(file, fd, buf, n, off);
	return cmk_libc()->pread(fd, buf, n, off);
}

CMK_SEAM_EXPORT ssize_t
pwrite(int fd, const void *buf, size_t n, off_t off)
{
	CmkSeamFile *file = cmk_claim(fd);

	if (file != NULL)
		return cmk_seam_ops->pwrite(file, fd, buf, n, off);
	return cmk_libc()->pwrite(fd, buf, n, off);
}

CMK_SEAM_EXPORT ssize_t
pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	CmkSeamFile *file = cmk_claim(fd);

	if (file != NULL)
		return cmk_seam_ops->pwritev(file, fd, iov, n, off);
	return cmk_libc()->pwritev(fd, iov, n, off);
}

/* Tells the owner that a name is gone; returns what the caller is to return. */
int
cmk_unlinked(const char *path, int result)
{
	if (result == 0 && cmk_seam_ops != NULL && cmk_seam_ops->unlinked != NULL)
	{
		int			save_errno = errno;

		cmk_seam_ops->unlinked(path);
		errno = save_errno;
	}
	return result;
}

CMK_SEAM_EXPORT int
unlink(const char *path)
{
	return cmk_unlinked(path, cmk_libc()->unlink(path));
}

CMK_SEAM_EXPORT int
cmk_seam_register(const CmkSeamOps *ops, CmkSeamReal *real)
{
	const CmkLibc *libc = cmk_libc();

	if (ops == NULL || ops->abi != CMK_SEAM_ABI ||
		ops->opening == NULL || ops->opened == NULL ||
		ops->read == NULL || ops->write == NULL ||
		ops->pread == NULL || ops->pwrite == NULL || ops->pwritev == NULL)
	{
		errno = EINVAL;
		return -1;
	}
	if (cmk_seam_ops != NULL && cmk_seam_ops != ops)
	{
		errno = EALREADY;
		return -1;
	}

	if (real != NULL)
	{
		real->open = libc->open;
		real->close = libc->close;
		real->read = libc->read;
		real->write = libc->write;
		real->pread = libc->pread;
		real->pwrite = libc->pwrite;
		real->pwritev = libc->pwritev;
		real->lseek = libc->lseek;
		real->unlink = libc->unlink;
		real->fstat = libc->fstat;
		real->ftruncate = libc->ftruncate;
		real->fallocate = libc->fallocate;
	}
	cmk_seam_ops = ops;
	return 0;
}

/*
 * Puts LD_PRELOAD back to what it was before the seam was put in front of it,
 * so that the server's children (archive_command, COPY … PROGRAM) do not get
 * the seam.  Where neither variable is set, somebody preloaded the seam by
 * hand, and LD_PRELOAD is left to them.
 */
static void
restore_environment(void)
{
	const char *old = getenv(CMK_SEAM_ENV_OLD);

	if (getenv(CMK_SEAM_ENV_HAD_NONE) != NULL)
		unsetenv("LD_PRELOAD");
	else if (old != NULL && setenv("LD_PRELOAD", old, 1) != 0)
		abort();				/* out of memory before main() */
	unsetenv(CMK_SEAM_ENV_HAD_NONE);
	unsetenv(CMK_SEAM_ENV_OLD);
}

__attribute__((constructor))
static void
seam_starts(void)
{
	(void) cmk_libc();
	restore_environment();
}
