/*
 * rootfile_io.c
 *	  Reading root.json, and replacing it so that there is always one.
 *
 * The new text goes to "root.json.tmp" beside it, is synced, and is renamed over
 * the old one; then the directory is synced.  A crash before the rename leaves
 * the old file and perhaps a temporary one, which the next write removes; a
 * crash after it leaves the new one.  At no time is there none, or half of one.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "filemode.h"
#include "rootfile_internal.h"

static CmkErrorCode
code_for_errno(void)
{
	switch (errno)
	{
		case ENOSPC:
		case EDQUOT:
			return CMK_ERR_NO_SPACE;
		case ENOENT:
			return CMK_ERR_NOT_FOUND;
		case EACCES:
		case EPERM:
		case EROFS:
			return CMK_ERR_PERMISSION;
		default:
			return CMK_ERR_IO;
	}
}

/* "could not <what> file "<path>": <errno>"; -1. */
static int
fail_file(CmkError *err, const char *what, const char *path)
{
	return cmk_fail(err, code_for_errno(), "could not %s file \"%s\": %s",
					what, path, strerror(errno));
}

/*
 * Reads the whole of fd into a buffer of one byte more than the largest file may
 * have, so that a longer one is noticed.
 */
static ssize_t
read_all(int fd, char *buf, size_t size)
{
	size_t		len = 0;
	ssize_t		n;

	while (len < size)
	{
		n = read(fd, buf + len, size - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		len += n;
	}
	return len;
}

int
cmk_rootfile_read(const char *path, CmkRootFile *rf, CmkError *err)
{
	struct stat st;
	char	   *buf;
	ssize_t		len;
	int			fd;
	int			rc;

	memset(rf, 0, sizeof(*rf));
	/* O_NONBLOCK: a FIFO put in its place must not hang the server */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
	{
		if (errno != ENOENT)
			return fail_file(err, "open", path);
		cmk_fail(err, CMK_ERR_NOT_FOUND, "file \"%s\" does not exist", path);
		return cmk_fail_hint(err, CMK_ROOTFILE_RESTORE);
	}
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
	{
		close(fd);
		errno = 0;
		return cmk_fail(err, CMK_ERR_IO, "file \"%s\" is not a regular file",
						path);
	}
	buf = malloc(CMK_ROOTFILE_MAX + 1);
	if (buf == NULL)
	{
		close(fd);
		return cmk_fail(err, CMK_ERR_NO_MEMORY,
						"out of memory while reading file \"%s\"", path);
	}
	len = read_all(fd, buf, CMK_ROOTFILE_MAX + 1);
	if (len < 0)
		rc = fail_file(err, "read", path);
	else
		rc = cmk_rootfile_parse(buf, len, path, rf, err);
	free(buf);
	close(fd);
	return rc;
}

/* fsync of the directory that holds path. */
static int
sync_parent(const char *path, CmkError *err)
{
	char		dir[PATH_MAX];
	char	   *slash;
	int			fd;
	int			rc;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (slash == NULL)
		strcpy(dir, ".");
	else if (slash == dir)
		dir[1] = '\0';
	else
		*slash = '\0';

	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return cmk_fail(err, CMK_ERR_IO, "could not open directory \"%s\": %s",
						dir, strerror(errno));
	while ((rc = fsync(fd)) < 0 && errno == EINTR)
		;
	if (rc < 0)
		cmk_fail(err, code_for_errno(), "could not fsync directory \"%s\": %s",
				 dir, strerror(errno));
	close(fd);
	return rc;
}

static int
write_all(int fd, const char *text, size_t len)
{
	ssize_t		n;

	while (len > 0)
	{
		n = write(fd, text, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
		{
			if (n == 0)
				errno = ENOSPC;	/* as the server takes a short write */
			return -1;
		}
		text += n;
		len -= n;
	}
	return 0;
}

/* Makes tmp with text in it, synced.  Removes it again on failure. */
static int
write_temporary(const char *tmp, const char *text, size_t len, CmkError *err)
{
	int			fd;
	int			rc;

	if (unlink(tmp) < 0 && errno != ENOENT)
		return fail_file(err, "remove", tmp);
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail_file(err, "create", tmp);
	if (write_all(fd, text, len) < 0 || cmk_set_file_mode(fd, tmp) < 0)
		rc = fail_file(err, "write", tmp);
	else
	{
		while ((rc = fsync(fd)) < 0 && errno == EINTR)
			;
		if (rc < 0)
			fail_file(err, "fsync", tmp);
	}
	if (close(fd) < 0 && rc == 0)
		rc = fail_file(err, "close", tmp);
	if (rc < 0)
		unlink(tmp);
	return rc;
}

int
cmk_rootfile_write(const char *path, const char *text, size_t len,
				   CmkError *err)
{
	char		tmp[PATH_MAX];

	if (snprintf(tmp, sizeof(tmp), "%s.tmp", path) >= (int) sizeof(tmp))
	{
		errno = ENAMETOOLONG;
		return fail_file(err, "create", path);
	}
	if (write_temporary(tmp, text, len, err) < 0)
		return -1;
	if (rename(tmp, path) < 0)
	{
		fail_file(err, "replace", path);
		unlink(tmp);
		return -1;
	}
	return sync_parent(path, err);
}
