/*
 * ops.c
 *	  The table of functions of the test: claims by the end of the name, and
 *	  flips bits on the way to the disk and back.
 *
 *		*.claim		claimed
 *		*.refuse	opening() refuses with ENOKEY
 *		*.late		claimed, and opened() refuses with EKEYREVOKED
 *		*.unclaim	claimed, and opened() changes its mind
 *
 * Every function spoils errno where it is allowed to.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

CmkSeamReal real;
Seen		seen;
int			raise_in_ops = 0;

static void
spoil(void)
{
	if (raise_in_ops != 0)
		raise(raise_in_ops);
	errno = ENOTBLK;
}

static bool
ends_in(const char *path, const char *end)
{
	size_t		length = strlen(path);

	return length >= strlen(end) &&
		strcmp(path + length - strlen(end), end) == 0;
}

static int
test_opening(const char *path, int *flags, CmkSeamFile *file)
{
	seen.opening++;
	spoil();
	if (ends_in(path, ".refuse"))
	{
		errno = ENOKEY;
		return -1;
	}
	if (ends_in(path, ".claim") || ends_in(path, ".late") ||
		ends_in(path, ".unclaim"))
	{
		file->kind = 7;
		file->segno = (uint32_t) seen.opening;
		file->open_flags = (uint32_t) *flags;
	}
	return 0;
}

static int
test_opened(int fd, const char *path, int flags, CmkSeamFile *file)
{
	seen.opened++;
	seen.opened_fd = fd;
	spoil();
	if (ends_in(path, ".late"))
	{
		errno = EKEYREVOKED;
		return -1;
	}
	if (ends_in(path, ".unclaim") && file->open_flags == (uint32_t) flags)
		file->kind = 0;
	return 0;
}

static void
test_closing(int fd, CmkSeamFile *file)
{
	seen.closing++;
	seen.closing_fd = fd;
	seen.closing_segno = file->segno;
	spoil();
}

static void
flip(char *bytes, ssize_t n)
{
	ssize_t		i;

	for (i = 0; i < n; i++)
		bytes[i] ^= FLIP;
}

static ssize_t
test_pread(CmkSeamFile *file, int fd, void *buf, size_t n, off_t off)
{
	ssize_t		result = real.pread(fd, buf, n, off);

	seen.reads++;
	flip(buf, result);
	if (result >= 0 && file->kind == 7)
		spoil();
	return result;
}

static ssize_t
test_read(CmkSeamFile *file, int fd, void *buf, size_t n)
{
	off_t		off = real.lseek(fd, 0, SEEK_CUR);
	ssize_t		result = test_pread(file, fd, buf, n, off);

	if (result > 0)
		real.lseek(fd, off + result, SEEK_SET);
	return result;
}

static ssize_t
test_pwrite(CmkSeamFile *file, int fd, const void *buf, size_t n, off_t off)
{
	char	   *copy = malloc(n + 1);
	ssize_t		result;

	seen.writes++;
	memcpy(copy, buf, n);
	flip(copy, (ssize_t) n);
	result = real.pwrite(fd, copy, n, off);
	free(copy);
	if (result >= 0 && file->kind == 7)
		spoil();
	return result;
}

static ssize_t
test_pwritev(CmkSeamFile *file, int fd, const struct iovec *iov, int n,
			 off_t off)
{
	ssize_t		done = 0;
	int			i;

	for (i = 0; i < n; i++)
	{
		ssize_t		r = test_pwrite(file, fd, iov[i].iov_base, iov[i].iov_len,
									off + done);

		if (r < 0)
			return r;
		done += r;
	}
	return done;
}

static ssize_t
test_write(CmkSeamFile *file, int fd, const void *buf, size_t n)
{
	off_t		off = real.lseek(fd, 0, SEEK_CUR);
	ssize_t		result = test_pwrite(file, fd, buf, n, off);

	if (result > 0)
		real.lseek(fd, off + result, SEEK_SET);
	return result;
}

static void
test_unlinked(const char *path)
{
	snprintf(seen.unlinked, sizeof(seen.unlinked), "%s", path);
	spoil();
}

const CmkSeamOps test_ops = {
	.abi = CMK_SEAM_ABI,
	.opening = test_opening,
	.opened = test_opened,
	.closing = test_closing,
	.pread = test_pread,
	.pwrite = test_pwrite,
	.pwritev = test_pwritev,
	.read = test_read,
	.write = test_write,
	.unlinked = test_unlinked,
};
