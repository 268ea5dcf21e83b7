/*
 * walfile.c
 *	  WAL pages on their way from a file, and its opening.  See walfile.h.
 *
 * Who appends to the last page of WAL writes it anew, and who reads it meanwhile is
 * promised only the bytes before the flush position.  In plain WAL these do not change;
 * in sealed WAL the block of 16 bytes in which that position lies does.  So a page
 * that may be live is read until it reads the same twice: a read that met a write in
 * the middle of such a block is so not believed.
 *
 * All buffers are aligned for O_DIRECT, with which the server may have opened the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "../seal/walpage.h"
#include "rawio.h"
#include "walfile_impl.h"

#define PAGE		CMK_PAGE_SIZE
#define MAX_LOOKS	1000		/* at a page that somebody keeps writing */

const CmkWalConfig *cmk_walfile_config;
const CmkWalHooks *cmk_walfile_hooks;

static uint8_t side[PAGE] __attribute__((aligned(4096)));
static uint8_t again[PAGE] __attribute__((aligned(4096)));

int
cmk_walfile_init(const CmkWalConfig *c, const CmkWalHooks *h, CmkError *err)
{
	cmk_walfile_config = c;
	cmk_walfile_hooks = h;
	return cmk_walkey_init(err);
}

/* ---- opening ---- */

bool
cmk_walfile_start(const CmkFileName *name, uint64_t *start)
{
	uint64_t	in_log = (uint64_t) name->wal_seg * cmk_walfile_config->segment_size;

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
		raw = cmk_walfile_hooks->opening(path, start, flags);
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
	return cmk_walfile_hooks->unopened(head->pageaddr, file->rel, why);
}

int
cmk_walfile_open_sealed(const CmkSeamFile *file, uint8_t *page, const CmkWalHead *head)
{
	unsigned	generation = cmk_walpage_generation(head);
	uint64_t	start = head->pageaddr - head->pageaddr % cmk_walfile_config->segment_size;
	const CmkRootKey *root;
	const CmkRootKey *expected;
	CmkXts	   *x;

	if (cmk_registry_root() == NULL && cmk_walfile_hooks->await_root() < 0)
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
		/* Numbers equal modulo 16: the expected one first, then from the newest. */
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
	if (!cmk_walfile_is_at_place(&head, addr))
		return 0;
	if (head.info & CMK_XLP_SEALED)
		return cmk_walfile_open_sealed(file, page, &head);
	if (cmk_walfile_hooks->plain_refused(addr))
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
	if (head.magic != cmk_walfile_config->magic || !(head.info & CMK_XLP_SEALED))
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
	if (whole > 0 && cmk_walfile_hooks->is_live() &&
		settle(fd, buf + whole - PAGE, PAGE, off + (off_t) (whole - PAGE)) != PAGE)
		return -1;
	for (i = 0; i < whole; i += PAGE)
		if (open_page(file, buf + i, cmk_walfile_addr_at(file, off + (off_t) i)) < 0)
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

	if (got == PAGE && cmk_walfile_hooks->is_live())
		got = settle(fd, side, got, at);
	if (got < 0)
		return -1;
	if (got < PAGE ? check_rest(side, (size_t) got) < 0 :
		open_page(file, side, cmk_walfile_addr_at(file, at)) < 0)
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
