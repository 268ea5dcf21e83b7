/*
 * relfile_write.c
 *	  Data pages on their way to a file.  See relfile.h.
 *
 * A call moves whole pages or fails: a page half written through us could not be
 * completed by a caller who goes on in the middle of it.  What is written is sealed in
 * a buffer of its own, since the server's may be read, or changed, by others meanwhile.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../seal/page.h"
#include "rawio.h"
#include "relfile_impl.h"
#include "relfile_key.h"

/* Pages sealed into one write. */
#define BOUNCE_PAGES	16

/* One process, one thread, one write at a time.  Aligned for O_DIRECT. */
static uint8_t bounce[BOUNCE_PAGES * CMK_PAGE_SIZE] __attribute__((aligned(4096)));

static int
seal_into(CmkXts *x, const CmkSeamFile *file, unsigned generation,
		  uint8_t *dst, const uint8_t *src, uint32_t block)
{
	switch (cmk_page_kind(src))
	{
		case CMK_PAGE_ZERO:
			memset(dst, 0, CMK_PAGE_SIZE);
			return 0;
		case CMK_PAGE_SEALED:
			cmk_relfile_log_page(file, block, "it could not be opened, and is not copied",
								 cmk_page_generation(src));
			errno = EIO;
			return -1;
		case CMK_PAGE_PLAIN:
			break;
	}
	if (cmk_page_seal(x, dst, src, block, file->fork,
					  generation, cmk_relfile_config->checksums) < 0)
	{
		errno = EIO;
		return -1;
	}
	return 0;
}

/*
 * Seals and writes whole pages.  Returns the bytes of the pages that are wholly
 * written, or -1 with errno if there are none: a part of a page is never
 * reported.
 */
static ssize_t
write_sealed(CmkXts *x, CmkSeamFile *file, unsigned generation, int fd,
			 const uint8_t *buf, size_t n, off_t off)
{
	size_t		done = 0;

	while (done < n)
	{
		size_t		chunk = n - done;
		ssize_t		w;
		size_t		i;

		if (chunk > sizeof(bounce))
			chunk = sizeof(bounce);
		for (i = 0; i < chunk; i += CMK_PAGE_SIZE)
			if (seal_into(x, file, generation, bounce + i, buf + done + i,
						  cmk_relfile_block_at(file, off + (off_t) (done + i))) < 0)
				return done > 0 ? (ssize_t) done : -1;

		w = cmk_write_all(fd, bounce, chunk, off + (off_t) done);
		if (w < (ssize_t) chunk)
		{
			if (w > 0)
				done += (size_t) w / CMK_PAGE_SIZE * CMK_PAGE_SIZE;
			return done > 0 ? (ssize_t) done : -1;
		}
		done += chunk;
	}
	return (ssize_t) done;
}

/* One page over a plain one, of a file that is being sealed in place. */
static ssize_t
write_plain(CmkSeamFile *file, int fd, const uint8_t *page, off_t off)
{
	ssize_t		w;

	if (cmk_page_head_kind(page) == CMK_PAGE_SEALED)
	{
		cmk_relfile_log_page(file, cmk_relfile_block_at(file, off),
							 "it could not be opened, and is not copied",
							 cmk_page_generation(page));
		errno = EIO;
		return -1;
	}
	w = cmk_write_all(fd, page, CMK_PAGE_SIZE, off);
	if (w >= 0 && w < CMK_PAGE_SIZE)
	{
		errno = ENOSPC;
		return -1;
	}
	return w;
}

/* One page as cmk_filekey_write_as() says. */
static ssize_t
write_as(CmkSeamFile *file, int as, int fd, const uint8_t *page, off_t off)
{
	CmkXts	   *x;

	if (as == CMK_AS_PLAIN)
		return write_plain(file, fd, page, off);
	x = cmk_filekey_cipher_of(file, (unsigned) as % CMK_GENERATIONS);
	if (x == NULL)
		return -1;
	return write_sealed(x, file, (unsigned) as, fd, page, CMK_PAGE_SIZE, off);
}

/*
 * Writes whole pages of a file that has a key.  While they are not all alike, each
 * page is asked what it is.  Returns as write_sealed().
 */
static ssize_t
write_pages(CmkXts *x, CmkSeamFile *file, int fd, const uint8_t *buf,
			size_t n, off_t off)
{
	unsigned	generation = (unsigned) (file->spare % CMK_GENERATIONS);
	size_t		done;

	if (!(file->flags & CMK_FILEKEY_MIXED) || file->kind != CMK_FILE_RELATION)
		return write_sealed(x, file, generation, fd, buf, n, off);

	for (done = 0; done < n; done += CMK_PAGE_SIZE)
	{
		off_t		at = off + (off_t) done;
		int			as = cmk_filekey_write_as(file, fd, at);

		if (as < 0 || write_as(file, as, fd, buf + done, at) < CMK_PAGE_SIZE)
			return done > 0 ? (ssize_t) done : -1;
	}
	return (ssize_t) done;
}

ssize_t
cmk_relfile_pwrite(CmkSeamFile *file, int fd, const void *buf, size_t n, off_t off)
{
	CmkXts	   *x;
	int			fail;

	if (file->kind == CMK_FILE_CONTROL)
		return cmk_real.pwrite(fd, buf, n, off);
	x = cmk_filekey_cipher_for_write(file, fd, off, &fail);
	if (fail < 0)
		return -1;
	if (x == NULL)
		return cmk_real.pwrite(fd, buf, n, off);
	if (n % CMK_PAGE_SIZE != 0 || off % CMK_PAGE_SIZE != 0)
	{
		errno = EINVAL;
		return -1;
	}
	return write_pages(x, file, fd, buf, n, off);
}

/*
 * write() at the file's position: copydir() and the unlogged reset.  Bytes behind
 * the last whole page of a file (left by a crash during an extension) are no
 * content for the server; zeros take their place.
 */
ssize_t
cmk_relfile_write(CmkSeamFile *file, int fd, const void *buf, size_t n)
{
	static const uint8_t zeros[CMK_PAGE_SIZE];
	CmkXts	   *x;
	size_t		whole = n / CMK_PAGE_SIZE * CMK_PAGE_SIZE;
	ssize_t		done = 0;
	off_t		off;
	int			fail;

	if (file->kind == CMK_FILE_CONTROL)
		return cmk_real.write(fd, buf, n);
	off = cmk_real.lseek(fd, 0, SEEK_CUR);
	if (off < 0)
		return -1;
	x = cmk_filekey_cipher_for_write(file, fd, off, &fail);
	if (fail < 0)
		return -1;
	if (x == NULL)
		return cmk_real.write(fd, buf, n);

	if (off % CMK_PAGE_SIZE != 0)
	{
		errno = EINVAL;
		return -1;
	}
	if (whole > 0)
	{
		done = write_pages(x, file, fd, buf, whole, off);
		if (done < 0)
			return -1;
	}
	if (done == (ssize_t) whole && whole < n)
	{
		ssize_t		w = cmk_write_all(fd, zeros, n - whole, off + done);

		if (w > 0)
			done += w;
		else if (done == 0)
			return -1;
	}
	if (cmk_real.lseek(fd, off + done, SEEK_SET) < 0)
		return -1;
	return done;
}

ssize_t
cmk_relfile_pwritev(CmkSeamFile *file, int fd, const struct iovec *iov, int cnt,
				off_t off)
{
	return cmk_write_vector(file, fd, iov, cnt, off, cmk_relfile_pwrite);
}
