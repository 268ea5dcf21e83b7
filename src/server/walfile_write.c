/*
 * walfile_write.c
 *	  WAL pages on their way to a file.  See walfile.h.
 *
 * The server writes bytes at any place; what is sealed is a page.  So a page of which a
 * part is written is read, opened, patched, and sealed again whole.
 *
 * All buffers are aligned for O_DIRECT, with which XLogWrite may have opened the file,
 * and what is read and written through a descriptor for writing is whole pages.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../seal/pagehead.h"
#include "rawio.h"
#include "walfile_impl.h"

#define PAGE		CMK_PAGE_SIZE

static uint8_t bounce[CMK_WAL_BOUNCE] __attribute__((aligned(4096)));
static uint8_t side[PAGE] __attribute__((aligned(4096)));

/* The root that seals a segment that has no first page yet; NULL: none does. */
static const CmkRootKey *
root_for_new(uint64_t start)
{
	const CmkRootKey *root = cmk_registry_wal_root(start);

	if (root == NULL && cmk_walfile_hooks->receives())
		root = cmk_registry_root();
	return root;
}

/*
 * By which root the segment is written: decided once per descriptor, when it is first
 * written to, since only then nobody else can have begun the segment otherwise.
 */
static int
decide(CmkSeamFile *file, int fd)
{
	const CmkRootKey *root = NULL;
	CmkWalHead	head;
	ssize_t		n = cmk_real.pread(fd, side, PAGE, 0);

	if (n < 0)
		return -1;
	if (n < CMK_PAGE_HEAD)
		memset(side, 0, CMK_PAGE_HEAD);
	cmk_walpage_head(side, &head);
	if (cmk_walfile_is_at_place(&head, file->version))
	{
		if (!(head.info & CMK_XLP_SEALED))
		{
			file->slot = 0;
			file->flags |= CMK_WAL_DECIDED;
			return 0;
		}
		root = cmk_registry_wal_root(file->version);
		if (root == NULL || root->id % 16 != cmk_walpage_generation(&head))
			root = cmk_registry_root_of_generation(cmk_walpage_generation(&head), NULL);
	}
	if (root == NULL)
		root = root_for_new(file->version);
	if (root == NULL && cmk_walfile_is_at_place(&head, file->version))
	{
		errno = ENOKEY;			/* never plain behind a sealed page */
		return -1;
	}
	file->slot = root != NULL ? root->id : 0;
	file->flags |= CMK_WAL_DECIDED;
	return 0;
}

/* Writes the sealed form of the plain page src to dst.  0, or -1 with errno. */
static int
seal_page(CmkXts *x, uint32_t root_id, uint8_t *dst, const uint8_t *src, uint64_t addr)
{
	CmkWalHead	head;

	cmk_walpage_head(src, &head);
	if (head.magic == 0 && cmk_walpage_is_zero(src))
	{
		memset(dst, 0, PAGE);
		return 0;
	}
	if (!cmk_walfile_is_at_place(&head, addr) ||
		(head.info & (CMK_XLP_SEALED | CMK_XLP_GEN_MASK)))
	{
		cmk_walfile_hooks->log("what should be written to WAL at %X/%X is no WAL page of that place",
							   (unsigned) (addr >> 32), (unsigned) addr);
		errno = EINVAL;
		return -1;
	}
	if (cmk_walpage_seal(x, dst, src, root_id % 16) < 0)
	{
		errno = EIO;
		return -1;
	}
	return 0;
}

/* What the page at off holds now, plain, into side. */
static int
read_old(const CmkSeamFile *file, int fd, off_t off)
{
	uint64_t	addr = cmk_walfile_addr_at(file, off);
	CmkWalHead	head;
	ssize_t		got = cmk_real.pread(fd, side, PAGE, off);

	if (got < 0)
		return -1;
	if (got == PAGE)
		cmk_walpage_head(side, &head);
	if (got < PAGE || !cmk_walfile_is_at_place(&head, addr))
	{
		memset(side, 0, PAGE);
		return 0;
	}
	if (head.info & CMK_XLP_SEALED)
	{
		if (cmk_walfile_open_sealed(file, side, &head) < 0)
			return -1;
		cmk_walpage_head(side, &head);
		if (!(head.info & CMK_XLP_SEALED))
			return 0;
	}
	else if (head.tli >= file->rel)
		return cmk_walfile_hooks->unopened(addr, file->rel,
										   "it is plain, but its segment is sealed");
	memset(side, 0, PAGE);		/* left over, see refuse() */
	return 0;
}

/*
 * Fills the bounce buffer with the sealed pages from page_off on that the n bytes at
 * off touch.  Returns its length, or -1 with errno.
 */
static ssize_t
fill_bounce(const CmkSeamFile *file, int fd, CmkXts *x, const uint8_t *buf, size_t n,
			off_t off, off_t page_off)
{
	off_t		end = off + (off_t) n;
	size_t		len = 0;

	while (page_off + (off_t) len < end && len < sizeof(bounce))
	{
		off_t		at = page_off + (off_t) len;
		const uint8_t *src;

		if (at >= off && at + PAGE <= end)
			src = buf + (at - off);
		else
		{
			off_t		from = at > off ? at : off;
			off_t		to = at + PAGE < end ? at + PAGE : end;

			if (read_old(file, fd, at) < 0)
				return -1;
			memcpy(side + (from - at), buf + (from - off), (size_t) (to - from));
			src = side;

			/* opening the old page may have taken the context for another root */
			x = cmk_walkey_cipher(cmk_registry_root_by_id(file->slot));
			if (x == NULL)
				return -1;
		}
		if (seal_page(x, file->slot, bounce + len, src, cmk_walfile_addr_at(file, at)) < 0)
			return -1;
		len += PAGE;
	}
	return (ssize_t) len;
}

static ssize_t
write_sealed(const CmkSeamFile *file, int fd, CmkXts *x, const uint8_t *buf, size_t n,
			 off_t off)
{
	off_t		end = off + (off_t) n;
	off_t		at = off - off % PAGE;	/* all before is written */

	while (at < end)
	{
		ssize_t		len = fill_bounce(file, fd, x, buf, n, off, at);
		ssize_t		w = -1;

		if (len > 0)
			w = cmk_write_all(fd, bounce, (size_t) len, at);
		if (w > 0)
			at += w / PAGE * PAGE;
		if (w < len || w <= 0)
			break;
	}
	if (at <= off)
		return -1;
	return (at < end ? at : end) - off;
}

/*
 * A temporary file becomes a segment or a timeline's history: a page with a header
 * tells.  Its address tells the place.  Behind the end of what it copies
 * XLogFileCopy() writes the last page again and again, where it means zeros.
 */
static ssize_t
write_temp(CmkSeamFile *file, int fd, const uint8_t *buf, size_t n, off_t off)
{
	static const uint8_t zeros[PAGE];
	CmkWalHead	head;
	const CmkRootKey *root;
	CmkXts	   *x;

	if (n < PAGE || n % PAGE != 0 || off % PAGE != 0 || cmk_is_zero(buf, n))
		return cmk_real.pwrite(fd, buf, n, off);
	cmk_walpage_head(buf, &head);
	if (head.magic != cmk_walfile_config->magic)
		return cmk_real.pwrite(fd, buf, n, off);
	if (head.pageaddr % cmk_walfile_config->segment_size != (uint64_t) off)
		return cmk_real.pwrite(fd, zeros, PAGE, off);

	file->version = head.pageaddr - (uint64_t) off;
	root = root_for_new(file->version);
	if (root == NULL)
		return cmk_real.pwrite(fd, buf, n, off);
	x = cmk_walkey_cipher(root);
	if (x == NULL)
		return -1;
	file->slot = root->id;
	return write_sealed(file, fd, x, buf, n, off);
}

ssize_t
cmk_walfile_pwrite(CmkSeamFile *file, int fd, const void *buf, size_t n, off_t off)
{
	CmkXts	   *x;

	if (n == 0 || off < 0)
		return cmk_real.pwrite(fd, buf, n, off);
	if (file->kind == CMK_FILE_WAL_TEMP)
		return write_temp(file, fd, buf, n, off);
	if (!(file->flags & CMK_WAL_DECIDED) && decide(file, fd) < 0)
		return -1;
	if (file->slot == 0)
		return cmk_real.pwrite(fd, buf, n, off);
	x = cmk_walkey_cipher(cmk_registry_root_by_id(file->slot));
	if (x == NULL)
		return -1;
	return write_sealed(file, fd, x, buf, n, off);
}

/* The server's only use is to fill a new file with zeros. */
ssize_t
cmk_walfile_pwritev(CmkSeamFile *file, int fd, const struct iovec *iov, int cnt, off_t off)
{
	bool		zeros = file->kind == CMK_FILE_WAL_TEMP;
	int			i;

	for (i = 0; zeros && i < cnt; i++)
		if (i == 0 || iov[i].iov_base != iov[i - 1].iov_base ||
			iov[i].iov_len > iov[i - 1].iov_len)
			zeros = cmk_is_zero(iov[i].iov_base, iov[i].iov_len);
	if (zeros)
		return cmk_real.pwritev(fd, iov, cnt, off);
	return cmk_write_vector(file, fd, iov, cnt, off, cmk_walfile_pwrite);
}

ssize_t
cmk_walfile_write(CmkSeamFile *file, int fd, const void *buf, size_t n)
{
	return cmk_write_by_position(file, fd, buf, n, cmk_walfile_pwrite);
}
