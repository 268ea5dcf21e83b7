/*
 * notifyfile.c
 *	  pg_notify: the payloads of NOTIFY, on their way to the disk.
 *
 * A segment of the server's SLRU has 32 pages of 8192 bytes, which slru.c reads and
 * writes one by one and whole, several processes different pages at once.  So each
 * page is one XTS unit, of the size that it has, and needs no head: what no other
 * page of the queue has, its segment and its place, is its tweak.  The key is one
 * that lives in memory only; the server empties the directory when it starts.
 *
 * The same page is written again and again as the queue fills it.  XTS lets that
 * be seen block by block, not what stands in them (docs/threat-model.md).
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "../keyring/keycache.h"
#include "../seal/page.h"
#include "../seal/pagehead.h"
#include "filekind.h"
#include "notifyfile.h"
#include "rawio.h"

#define PAGE		CMK_PAGE_SIZE

static uint8_t bounce[PAGE] __attribute__((aligned(4096)));

static bool
whole_pages(size_t n, off_t off)
{
	if (n % PAGE == 0 && off >= 0 && off % PAGE == 0)
		return true;
	errno = EINVAL;
	return false;
}

static void
make_tweak(uint8_t *tweak, const CmkSeamFile *file, off_t off)
{
	uint64_t	page = (uint64_t) off / PAGE;
	int			i;

	memset(tweak, 0, CMK_XTS_TWEAK_SIZE);
	for (i = 0; i < 8; i++)
		tweak[i] = (uint8_t) (page >> (8 * i));
	for (i = 0; i < 4; i++)
		tweak[8 + i] = (uint8_t) (file->segno >> (8 * i));
}

static ssize_t
notify_pread(CmkSeamFile *file, int fd, void *buf, size_t n, off_t off)
{
	CmkXts	   *x = cmk_keycache_get_file(CMK_KEY_NOTIFY, 0);
	uint8_t		tweak[CMK_XTS_TWEAK_SIZE];
	ssize_t		got;
	ssize_t		i;

	if (x == NULL || !whole_pages(n, off))
		return -1;
	got = cmk_real.pread(fd, buf, n, off);
	if (got <= 0)
		return got;
	for (i = 0; i + PAGE <= got; i += PAGE)
	{
		uint8_t    *page = (uint8_t *) buf + i;

		make_tweak(tweak, file, off + i);
		if (!cmk_is_zero(page, PAGE) && cmk_xts_decrypt(x, tweak, page, page, PAGE) < 0)
		{
			errno = EIO;
			return -1;
		}
	}
	return i;					/* a part of a page tells nobody anything */
}

static ssize_t
notify_pwrite(CmkSeamFile *file, int fd, const void *buf, size_t n, off_t off)
{
	CmkXts	   *x = cmk_keycache_get_file(CMK_KEY_NOTIFY, 0);
	uint8_t		tweak[CMK_XTS_TWEAK_SIZE];
	size_t		done;

	if (x == NULL || !whole_pages(n, off))
		return -1;
	for (done = 0; done < n; done += PAGE)
	{
		make_tweak(tweak, file, off + (off_t) done);
		if (cmk_xts_encrypt(x, tweak, bounce, (const uint8_t *) buf + done, PAGE) < 0)
		{
			errno = EIO;
			return done > 0 ? (ssize_t) done : -1;
		}
		if (cmk_write_all(fd, bounce, PAGE, off + (off_t) done) < PAGE)
			return done > 0 ? (ssize_t) done : -1;
	}
	return (ssize_t) done;
}

static ssize_t
notify_pwritev(CmkSeamFile *file, int fd, const struct iovec *iov, int cnt,
			   off_t off)
{
	return cmk_write_vector(file, fd, iov, cnt, off, notify_pwrite);
}

static ssize_t
notify_read(CmkSeamFile *file, int fd, void *buf, size_t n)
{
	return cmk_read_by_position(file, fd, buf, n, 0, notify_pread);
}

static ssize_t
notify_write(CmkSeamFile *file, int fd, const void *buf, size_t n)
{
	return cmk_write_by_position(file, fd, buf, n, notify_pwrite);
}

static int
notify_opening(const char *path, int *flags, CmkSeamFile *file)
{
	CmkFileName name;

	file->kind = (uint8_t) cmk_filekind(path, &name);
	file->open_flags = (uint32_t) *flags;
	file->segno = name.segno;
	return 0;
}

static int
notify_opened(int fd, const char *path, int flags, CmkSeamFile *file)
{
	struct stat st;

	(void) path;
	(void) flags;
	if (cmk_real.fstat(fd, &st) < 0)
		return -1;
	if (!S_ISREG(st.st_mode))
		file->kind = 0;
	return 0;
}

const CmkSeamOps cmk_notifyfile_ops = {
	.abi = CMK_SEAM_ABI,
	.opening = notify_opening,
	.opened = notify_opened,
	.pread = notify_pread,
	.pwrite = notify_pwrite,
	.pwritev = notify_pwritev,
	.read = notify_read,
	.write = notify_write
};
