/*
 * textfile.c
 *	  Small text files, read whole and replaced whole.  See textfile.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "readat.h"
#include "textfile.h"

static CmkErrorCode
code_for_errno(void)
{
	switch (errno)
	{
		case ENOENT:
			return CMK_ERR_NOT_FOUND;
		case EACCES:
		case EPERM:
		case EROFS:
			return CMK_ERR_PERMISSION;
		case ENOSPC:
		case EDQUOT:
			return CMK_ERR_NO_SPACE;
		default:
			return CMK_ERR_IO;
	}
}

int
cmk_textfile_fail(CmkError *err, const char *verb, const char *path)
{
	return cmk_fail(err, code_for_errno(), "could not %s file \"%s\": %s", verb, path,
					strerror(errno));
}

static char *
read_open(int fd, const char *path, size_t max, size_t *len, CmkError *err)
{
	struct stat st;
	char	   *buf;
	ssize_t		n;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
	{
		errno = 0;
		cmk_fail(err, CMK_ERR_IO, "file \"%s\" is not a regular file", path);
		return NULL;
	}
	buf = malloc(max + 2);
	if (buf == NULL)
	{
		cmk_fail(err, CMK_ERR_NO_MEMORY, "out of memory");
		return NULL;
	}
	n = cmk_read_at(fd, buf, max + 1, 0);
	if (n < 0)
		cmk_textfile_fail(err, "read", path);
	else if ((size_t) n > max)
	{
		errno = 0;
		cmk_fail(err, CMK_ERR_CORRUPT, "file \"%s\" is too long", path);
		cmk_fail_detail(err, "It is longer than %zu bytes.", max);
	}
	else
	{
		buf[n] = '\0';
		*len = n;
		return buf;
	}
	free(buf);
	return NULL;
}

char *
cmk_textfile_read(const char *path, size_t max, bool follow, size_t *len,
				  CmkError *err)
{
	int			fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC |
						  (follow ? 0 : O_NOFOLLOW));
	char	   *text;

	if (fd < 0)
	{
		cmk_textfile_fail(err, "open", path);
		return NULL;
	}
	text = read_open(fd, path, max, len, err);
	close(fd);
	return text;
}

static int
write_all(int fd, const char *text, size_t len)
{
	while (len > 0)
	{
		ssize_t		n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = ENOSPC;		/* as the server takes a short write */
		if (n <= 0)
			return -1;
		text += n;
		len -= n;
	}
	return 0;
}

static int
sync_open(int fd)
{
	int			rc;

	while ((rc = fsync(fd)) < 0 && errno == EINTR)
		;
	return rc;
}

int
cmk_textfile_write(const char *path, const char *text, size_t len,
				   mode_t mode, bool sync, CmkError *err)
{
	int			fd;
	int			result = -1;

	if (unlink(path) < 0 && errno != ENOENT)
		return cmk_textfile_fail(err, "remove", path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return cmk_textfile_fail(err, "create", path);
	if (write_all(fd, text, len) < 0 || fchmod(fd, mode) < 0)
		cmk_textfile_fail(err, "write", path);
	else if (sync && sync_open(fd) < 0)
		cmk_textfile_fail(err, "fsync", path);
	else
		result = 0;
	if (close(fd) < 0 && result == 0)
		result = cmk_textfile_fail(err, "close", path);
	if (result < 0)
		unlink(path);
	return result;
}

int
cmk_textfile_sync_dir(const char *dir, CmkError *err)
{
	int			fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int			result = fd < 0 ? -1 : sync_open(fd);

	if (result < 0)
		cmk_fail(err, code_for_errno(), "could not fsync directory \"%s\": %s", dir,
				 strerror(errno));
	if (fd >= 0)
		close(fd);
	return result;
}
