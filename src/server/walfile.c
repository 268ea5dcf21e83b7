/*
 * walfile.c
 *	  WAL pages on their way between the server and a file.  See walfile.h.
 *
 * Who appends to the last page of WAL writes it anew, and who reads it meanwhile is
 * promised only the bytes before the flush position.  In plain WAL these do not change;
 * in sealed WAL the block of 16 bytes in which that position lies does.  So a page
 * that may be live is read until it reads the same twice: a read that met a write in
 * the middle of such a block is so not believed.
 *
 * All buffers are aligned for O_DIRECT, with which XLogWrite may have opened the file,
 * and what is read and written through a descriptor for writing is whole pages.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "../seal/walpage.h"
#include "rawio.h"
#include "walfile.h"

#define PAGE		CMK_PAGE_SIZE
#define MAX_LOOKS	1000		/* at a page that somebody keeps writing */

static const CmkWalConfig *config;
static const CmkWalHooks *hooks;

static uint8_t bounce[CMK_WAL_BOUNCE] __attribute__((aligned(4096)));
static uint8_t side[PAGE] __attribute__((aligned(4096)));
static uint8_t again[PAGE] __attribute__((aligned(4096)));

int
cmk_walfile_init(const CmkWalConfig *c, const CmkWalHooks *h, CmkError *err)
{
	config = c;
	hooks = h;
	return cmk_walkey_init(err);
}

static inline uint64_t
addr_at(const CmkSeamFile *file, off_t off)
{
	return file->version + (uint64_t) off;
}

static inline bool
is_at_place(const CmkWalHead *head, uint64_t addr)
{
	return head->magic == config->magic && head->pageaddr == addr;
}

/* ---- opening ---- */

bool
cmk_walfile_start(const CmkFileName *name, uint64_t *start)
{
	uint64_t	in_log = (uint64_t) name->wal_seg * config->segment_size;

	*start = ((uint64_t) name->wal_log << 32) + in_log;
	return in_log <= UINT32_MAX;
}

int
cmk_walfile_opening(const char *path, int flags, CmkFileKind kind,
					const CmkFileName *name, CmkSeamFile *file)
{
	uint64_t	start = 0;
	int			raw = 0;

	if (kind == CMK_FILE_WAL)
	{
		if (!cmk_walfile_start(name, &start))
			return 0;
		raw = hooks->opening(path, start, flags);
		if (raw < 0)
			return -1;
	}
	if (raw)
		return 0;
	file->kind = (uint8_t) kind;
	file->open_flags = (uint32_t) flags;
	file->rel = name->wal_tli;
	file->version = start;
	return 0;
}

/* ---- reading ---- */

/*
 * A page of an older timeline that cannot be opened may be what a recycled file held
 * at this very place before a recovery branched off; the server, which expects a
 * newer timeline here, takes no notice of it.
 */
static int
refuse(const CmkSeamFile *file, const CmkWalHead *head, const char *why)
{
	if (head->tli < file->rel)
		return 0;
	return hooks->unopened(head->pageaddr, file->rel, why);
}

static int
open_sealed(const CmkSeamFile *file, uint8_t *page, const CmkWalHead *head)
{
	unsigned	generation = cmk_walpage_generation(head);
	uint64_t	start = head->pageaddr - head->pageaddr % config->segment_size;
	const CmkRootKey *root;
	const CmkRootKey *expected;
	CmkXts	   *x;

	if (cmk_registry_root() == NULL && hooks->await_root() < 0)
		return -1;
	expected = cmk_registry_wal_root(start);
	if (expected == NULL || expected->id % 16 != generation)
		expected = NULL;
	root = expected != NULL ? expected : cmk_registry_root_of_generation(generation, NULL);
	if (root == NULL)
		return refuse(file, head, "the root key by which it is sealed is not known");

	while (root != NULL)
	{
		x = cmk_walkey_cipher(root);
		if (x == NULL)
			return -1;
		switch (cmk_walpage_open(x, page))
		{
			case CMK_OPEN_OK:
				return 0;
			case CMK_OPEN_CRYPTO:
				errno = EIO;
				return -1;
			default:
				break;
		}
		/* Numbers that are equal modulo 16: the expected one first, then from the newest. */
		root = cmk_registry_root_of_generation(generation,
											   root == expected ? NULL : root);
		if (root == expected && root != NULL)
			root = cmk_registry_root_of_generation(generation, root);
		expected = NULL;
	}
	return refuse(file, head, "it is damaged, or sealed under another key");
}

/* Opens the page at buf, if it is a sealed one at its place.  0, or -1 with errno. */
static int
open_page(const CmkSeamFile *file, uint8_t *page, uint64_t addr)
{
	CmkWalHead	head;

	cmk_walpage_head(page, &head);
	if (!is_at_place(&head, addr))
		return 0;
	if (head.info & CMK_XLP_SEALED)
		return open_sealed(file, page, &head);
	if (hooks->plain_refused(addr))
		return refuse(file, &head, "it is plain, but WAL is sealed there");
	return 0;
}

/* Reads a page until it reads the same twice.  Returns what pread() does. */
static ssize_t
settle(int fd, uint8_t *page, ssize_t got, off_t off)
{
	int			looks;

	for (looks = 0; got == PAGE && looks < MAX_LOOKS; looks++)
	{
		ssize_t		n = cmk_real.pread(fd, again, PAGE, off);

		if (n < 0)
			return -1;
		if (n == got && memcmp(page, again, PAGE) == 0)
			break;
		memcpy(page, again, PAGE);
		got = n;
		if (looks > 10)
			sched_yield();
	}
	return got;
}

/* What is at off: a page that is not whole is no page, and must not be a sealed one. */
static int
check_rest(const uint8_t *rest, size_t n)
{
	CmkWalHead	head;

	if (n < CMK_PAGE_HEAD)
		return 0;
	cmk_walpage_head(rest, &head);
	if (head.magic != config->magic || !(head.info & CMK_XLP_SEALED))
		return 0;
	errno = EIO;
	return -1;
}

/* n bytes, whole pages, from off, which is a page's. */
static ssize_t
read_pages(const CmkSeamFile *file, int fd, uint8_t *buf, size_t n, off_t off)
{
	ssize_t		got = cmk_real.pread(fd, buf, n, off);
	size_t		whole;
	size_t		i;

	if (got <= 0)
		return got;
	whole = (size_t) got / PAGE * PAGE;
	if (whole > 0 && hooks->is_live() &&
		settle(fd, buf + whole - PAGE, PAGE, off + (off_t) (whole - PAGE)) != PAGE)
		return -1;
	for (i = 0; i < whole; i += PAGE)
		if (open_page(file, buf + i, addr_at(file, off + (off_t) i)) < 0)
			return i > 0 ? (ssize_t) i : -1;
	if (check_rest(buf + whole, (size_t) got - whole) < 0)
		return whole > 0 ? (ssize_t) whole : -1;
	return got;
}

/* At most n bytes of the page in which off lies. */
static ssize_t
read_part(const CmkSeamFile *file, int fd, uint8_t *buf, size_t n, off_t off)
{
	size_t		skip = (size_t) (off % PAGE);
	off_t		at = off - (off_t) skip;
	ssize_t		got = cmk_real.pread(fd, side, PAGE, at);

	if (got == PAGE && hooks->is_live())
		got = settle(fd, side, got, at);
	if (got < 0)
		return -1;
	if (got < PAGE ? check_rest(side, (size_t) got) < 0 :
		open_page(file, side, addr_at(file, at)) < 0)
		return -1;
	if ((size_t) got <= skip)
		return 0;
	if (n > (size_t) got - skip)
		n = (size_t) got - skip;
	memcpy(buf, side + skip, n);
	return (ssize_t) n;
}

ssize_t
cmk_walfile_pread(CmkSeamFile *file, int fd, void *buf, size_t n, off_t off)
{
	uint8_t    *out = buf;
	size_t		done = 0;

	if (file->kind == CMK_FILE_WAL_TEMP || n == 0 || off < 0)
		return cmk_real.pread(fd, buf, n, off);
	while (done < n)
	{
		off_t		at = off + (off_t) done;
		size_t		want = n - done;
		ssize_t		got;

		if (at % PAGE == 0 && want >= PAGE)
		{
			want = want / PAGE * PAGE;
			got = read_pages(file, fd, out + done, want, at);
		}
		else
		{
			if (want > PAGE - (size_t) (at % PAGE))
				want = PAGE - (size_t) (at % PAGE);
			got = read_part(file, fd, out + done, want, at);
		}
		if (got < 0)
			return done > 0 ? (ssize_t) done : -1;
		done += (size_t) got;
		if ((size_t) got < want)
			break;
	}
	return (ssize_t) done;
}

ssize_t
cmk_walfile_read(CmkSeamFile *file, int fd, void *buf, size_t n)
{
	if (file->kind == CMK_FILE_WAL_TEMP)
		return cmk_real.read(fd, buf, n);
	return cmk_read_by_position(file, fd, buf, n, 0, cmk_walfile_pread);
}

/* ---- writing ---- */

/* The root that seals a segment that has no first page yet; NULL: none does. */
static const CmkRootKey *
root_for_new(uint64_t start)
{
	const CmkRootKey *root = cmk_registry_wal_root(start);

	if (root == NULL && hooks->receives())
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
	if (is_at_place(&head, file->version))
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
	if (root == NULL && is_at_place(&head, file->version))
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
	if (!is_at_place(&head, addr) || (head.info & (CMK_XLP_SEALED | CMK_XLP_GEN_MASK)))
	{
		hooks->log("what should be written to WAL at %X/%X is no WAL page of that place",
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
	uint64_t	addr = addr_at(file, off);
	CmkWalHead	head;
	ssize_t		got = cmk_real.pread(fd, side, PAGE, off);

	if (got < 0)
		return -1;
	if (got == PAGE)
		cmk_walpage_head(side, &head);
	if (got < PAGE || !is_at_place(&head, addr))
	{
		memset(side, 0, PAGE);
		return 0;
	}
	if (head.info & CMK_XLP_SEALED)
	{
		if (open_sealed(file, side, &head) < 0)
			return -1;
		cmk_walpage_head(side, &head);
		if (!(head.info & CMK_XLP_SEALED))
			return 0;
	}
	else if (head.tli >= file->rel)
		return hooks->unopened(addr, file->rel, "it is plain, but its segment is sealed");
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
		if (seal_page(x, file->slot, bounce + len, src, addr_at(file, at)) < 0)
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

static bool
is_zeros(const void *buf, size_t n)
{
	const uint8_t *p = buf;
	size_t		i = 0;

	while (i + PAGE <= n)
	{
		if (!cmk_walpage_is_zero(p + i))
			return false;
		i += PAGE;
	}
	for (; i < n; i++)
		if (p[i] != 0)
			return false;
	return true;
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

	if (n < PAGE || n % PAGE != 0 || off % PAGE != 0 || is_zeros(buf, n))
		return cmk_real.pwrite(fd, buf, n, off);
	cmk_walpage_head(buf, &head);
	if (head.magic != config->magic)
		return cmk_real.pwrite(fd, buf, n, off);
	if (head.pageaddr % config->segment_size != (uint64_t) off)
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
			zeros = is_zeros(iov[i].iov_base, iov[i].iov_len);
	if (zeros)
		return cmk_real.pwritev(fd, iov, cnt, off);
	return cmk_write_vector(file, fd, iov, cnt, off, cmk_walfile_pwrite);
}

ssize_t
cmk_walfile_write(CmkSeamFile *file, int fd, const void *buf, size_t n)
{
	return cmk_write_by_position(file, fd, buf, n, cmk_walfile_pwrite);
}

static int
walfile_opening(const char *path, int *flags, CmkSeamFile *file)
{
	CmkFileName name;
	CmkFileKind kind = cmk_filekind(path, &name);

	return cmk_walfile_opening(path, *flags, kind, &name, file);
}

const CmkSeamOps cmk_walfile_ops = {
	.abi = CMK_SEAM_ABI,
	.opening = walfile_opening,
	.pread = cmk_walfile_pread,
	.pwrite = cmk_walfile_pwrite,
	.pwritev = cmk_walfile_pwritev,
	.read = cmk_walfile_read,
	.write = cmk_walfile_write
};
