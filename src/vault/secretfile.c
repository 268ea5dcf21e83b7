/*
 * secretfile.c
 *	  Reading a file that holds a secret: a key, a client secret, a token.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pem.h"
#include "secretfile.h"

/*
 * The rule that the server has for its SSL key (be-secure-common.c), in the form
 * that libpq gives it: the command-line tool may run as root.
 */
static int
check_permissions(const struct stat *st, const char *path, const char *what,
				  CmkError *err)
{
	mode_t		refused = st->st_uid == 0 ?
		(S_IWGRP | S_IXGRP | S_IRWXO) : (S_IRWXG | S_IRWXO);

	errno = 0;
	if (st->st_uid != geteuid() && st->st_uid != 0)
		return cmk_fail(err, CMK_ERR_PERMISSION,
						"%s " CMK_PATH_FMT " must be owned by the database user or root",
						what, path);
	if (st->st_mode & refused)
	{
		cmk_fail(err, CMK_ERR_PERMISSION,
				 "%s " CMK_PATH_FMT " has group or world access", what, path);
		cmk_fail_detail(err,
						"File must have permissions u=rw (0600) or less if owned by the database user, or permissions u=rw,g=r (0640) or less if owned by root.");
		return cmk_fail_hint(err, "Use chmod to take the access away, and think about who may have read the key.");
	}
	return 0;
}

static int
open_failed(CmkError *err, const char *what, const char *path)
{
	if (errno == ENOENT || errno == ENOTDIR)
		return cmk_fail(err, CMK_ERR_NOT_FOUND,
						"%s " CMK_PATH_FMT " does not exist", what, path);
	return cmk_fail(err,
					errno == EACCES || errno == EPERM ?
					CMK_ERR_PERMISSION : CMK_ERR_IO,
					"could not open %s " CMK_PATH_FMT ": %s",
					what, path, strerror(errno));
}

static int
check_file(int fd, const char *path, const char *what, int flags, CmkError *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return open_failed(err, what, path);
	errno = 0;
	if (!S_ISREG(st.st_mode))
		return cmk_fail(err, CMK_ERR_KEY_UNUSABLE,
						"%s " CMK_PATH_FMT " is not a regular file", what, path);
	if (flags & CMK_SECRETFILE_OWN)
		return check_permissions(&st, path, what, err);
	return 0;
}

ssize_t
cmk_secretfile_read(const char *path, const char *what, int flags,
					void *buf, size_t size, CmkError *err)
{
	size_t		len = 0;
	ssize_t		n = 1;
	int			fd;

	/* O_NONBLOCK: opening a FIFO must not hang */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return open_failed(err, what, path);
	if (check_file(fd, path, what, flags, err) < 0)
	{
		close(fd);
		return -1;
	}
	while (n != 0 && len < size)
	{
		n = read(fd, (char *) buf + len, size - len);
		if (n < 0 && errno != EINTR)
		{
			cmk_fail(err, CMK_ERR_IO, "could not read %s " CMK_PATH_FMT ": %s",
					 what, path, strerror(errno));
			close(fd);
			return -1;
		}
		len += n > 0 ? n : 0;
	}
	close(fd);
	errno = 0;
	if (len == size)
		return cmk_fail(err, CMK_ERR_KEY_UNUSABLE,
						"%s " CMK_PATH_FMT " is too large to be a %s",
						what, path, what);
	((char *) buf)[len] = '\0';
	return len;
}
