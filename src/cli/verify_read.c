/*
 * verify_read.c
 *	  pg_cmk verify: what stands in a file.  See verify.h.
 *
 * Files are read from the front in pieces of 1 MB, holes are passed over, and each
 * page goes to the function for its kind of file.  With the root open a sealed page is
 * one that opens.  Where the key is gone, because it died with the server, or was not
 * asked for, it is one that looks like ciphertext: a mark alone is a bit that anybody
 * can set.
 *
 * A page that cannot be opened although its LSN is behind the place where recovery will
 * begin is no failure: a backup that is taken of a running server has torn pages, and
 * pages of files younger than its copy of the keys, and recovery writes them anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../keyring/readat.h"
#include "../seal/pagehead.h"
#include "../seal/unit.h"
#include "verify.h"

#define PAGE		CMK_PAGE_SIZE
#define PD_CHECKSUM 8
#define PIECE		(1024 * 1024)
#define WAL_MAGIC	0xD110		/* XLOG_PAGE_MAGIC of PostgreSQL 15 */
#define WAL_SHORT	16			/* where a sealed page begins to be ciphertext … */
#define WAL_LONG	40			/* … and the first one of a segment, for good */
#define LOOKS		20			/* at a page that a server may be writing */

#define CHI_MIN		256			/* bytes that tell something */
#define CHI_LIMIT	600			/* 255 and 15 times sqrt(510) */

typedef struct Reading
{
	CmkVerify  *v;
	const char *path;
	const CmkVerifyKind *kind;
	CmkVerifyCount *count;
	CmkFileName name;
	int			fd;
	CmkVerifyDek dek;			/* of a relation */
	bool		plain_file;		/* of any length, without a head */
} Reading;

/* page has PAGE bytes, or less at the end of the file. */
typedef void (*PageFunction) (Reading *r, uint8_t *page, size_t len, uint64_t block);

static uint8_t piece[PIECE] __attribute__((aligned(4096)));

bool
cmk_verify_looks_sealed(const uint8_t *buf, size_t len)
{
	uint32_t	n[256];
	double		expected = (double) len / 256;
	double		chi = 0;
	size_t		i;

	if (len < CHI_MIN)
		return true;
	memset(n, 0, sizeof(n));
	for (i = 0; i < len; i++)
		n[buf[i]]++;
	for (i = 0; i < 256; i++)
		chi += (n[i] - expected) * (n[i] - expected) / expected;
	return chi < CHI_LIMIT;
}

/* Reads a page again that a server may have been writing.  False: it is as it is. */
static bool
read_again(Reading *r, uint8_t *page, uint64_t block, int looks)
{
	if (!r->v->running || looks >= LOOKS)
		return false;
	usleep(2000);
	return pread(r->fd, page, PAGE, (off_t) block * PAGE) == PAGE;
}

/* Must a file of a kind that is sealed whenever there is a key be so? */
static bool
must_be_sealed(const CmkVerify *v)
{
	return v->cluster || v->has_key;
}

static void
unaccounted(Reading *r, uint64_t block, size_t len, const char *what)
{
	r->count->unaccounted += len;
	cmk_verify_find(r->v, r->path, block, r->v->cluster, "%s", what);
}

/* Less than a page, at the end of a file: nothing may stand there. */
static bool
is_part(Reading *r, const uint8_t *page, size_t len, uint64_t block)
{
	if (len == PAGE)
		return false;
	if (!cmk_is_zero(page, len))
		unaccounted(r, block, len, "not a whole page");
	return true;
}

/* A plain page of a kind that is sealed whenever there is a key. */
static void
plain_page(Reading *r, uint64_t block)
{
	r->count->plain++;
	if (must_be_sealed(r->v))
		cmk_verify_find(r->v, r->path, block, true, "plain");
}

/* ---- relations ---- */

/* NULL, or what is wrong with a page that carries the mark. */
static const char *
fault_of_page(Reading *r, uint8_t *page, uint32_t block)
{
	const CmkVerify *v = r->v;

	if (r->dek.known == 0)
		return r->dek.damaged ? "sealed, and its key record cannot be used" :
			"sealed, but no key is known for it";
	if (!cmk_verify_keys_has_generation(page))
		return "sealed under a generation of the key that is not known";
	if (v->opens)
	{
		switch (cmk_verify_keys_open_page(v, page, block, r->name.fork))
		{
			case CMK_OPEN_OK:
				return NULL;
			case CMK_OPEN_BAD_CHECKSUM:
				return "damaged: its checksum is wrong";
			default:
				return "does not open: it is damaged, or sealed under another key";
		}
	}
	if (v->control.checksums &&
		cmk_head_get16(page, PD_CHECKSUM) != cmk_page_checksum_private(page, block))
		return "damaged: its checksum is wrong";
	return cmk_verify_looks_sealed(page + CMK_PAGE_HEAD, CMK_PAGE_BODY) ? NULL :
		"marked as sealed, but it is not encrypted";
}

/* Will recovery write this page, whatever it is now? */
static bool
is_to_be_recovered(const Reading *r, const uint8_t *page)
{
	return cmk_page_lsn(page) >= r->v->settled ||
		(r->v->settled != UINT64_MAX && r->dek.known == 0 && r->name.fork == CMK_FORK_FSM);
}

static void
sealed_page(Reading *r, uint8_t *page, uint64_t block)
{
	uint32_t	in_fork = r->name.segno * r->v->control.segment_blocks + (uint32_t) block;
	const char *fault;
	int			looks = 0;

	r->count->sealed++;
	do
		fault = fault_of_page(r, page, in_fork);
	while (fault != NULL && read_again(r, page, block, looks++));
	if (fault == NULL)
		return;
	if (is_to_be_recovered(r, page))
		cmk_verify_find(r->v, r->path, block, false, "%s; recovery writes it anew", fault);
	else
		cmk_verify_find(r->v, r->path, block, true, "%s", fault);
}

static void
relation_page(Reading *r, uint8_t *page, size_t len, uint64_t block)
{
	if (is_part(r, page, len, block))
		return;
	switch (cmk_page_kind(page))
	{
		case CMK_PAGE_ZERO:
			r->count->zero++;
			break;
		case CMK_PAGE_SEALED:
			sealed_page(r, page, block);
			break;
		case CMK_PAGE_PLAIN:
			r->count->plain++;
			if (r->dek.whole)
				cmk_verify_find(r->v, r->path, block, true, "plain, in a file that is wholly sealed");
			else if (r->v->cluster)
				cmk_verify_find(r->v, r->path, block, true, "plain");
			break;
	}
}

static void
temp_relation_page(Reading *r, uint8_t *page, size_t len, uint64_t block)
{
	if (is_part(r, page, len, block))
		return;
	switch (cmk_page_kind(page))
	{
		case CMK_PAGE_ZERO:
			r->count->zero++;
			break;
		case CMK_PAGE_SEALED:
			r->count->sealed++;
			if (!cmk_verify_looks_sealed(page + CMK_PAGE_HEAD, CMK_PAGE_BODY))
				cmk_verify_find(r->v, r->path, block, true, "marked as sealed, but it is not encrypted");
			break;
		case CMK_PAGE_PLAIN:
			plain_page(r, block);
			break;
	}
}

/* ---- WAL ---- */

/*
 * Does the page say of itself that it belongs where it stands?  Else it is left over
 * from the segment that the file was before.
 */
static bool
is_at_place(const Reading *r, const CmkWalHead *head, uint64_t block)
{
	uint32_t	size = r->v->control.wal_segment;
	uint64_t	start;

	if (r->name.wal_tli == 0)	/* a name that does not say */
		return head->pageaddr % size == block * PAGE;
	start = ((uint64_t) r->name.wal_log << 32) + (uint64_t) r->name.wal_seg * size;
	return head->pageaddr == start + block * PAGE && head->tli >= r->name.wal_tli;
}

static void
sealed_wal_page(Reading *r, uint8_t *page, uint64_t block)
{
	CmkWalHead	head;
	bool		encrypted;
	int			looks = 0;

	r->count->sealed++;
	do
	{
		size_t		clear;

		if (r->v->opens && cmk_verify_keys_open_wal(page))
			return;
		cmk_walpage_head(page, &head);
		clear = head.info & CMK_XLP_LONG_HEADER ? WAL_LONG : WAL_SHORT;
		encrypted = cmk_verify_looks_sealed(page + clear, PAGE - clear);

		/* what a recycled file held may be under a root that is gone */
		if (encrypted && (!r->v->opens || !is_at_place(r, &head, block)))
			return;
	} while (read_again(r, page, block, looks++));
	cmk_verify_find(r->v, r->path, block, true, "%s", encrypted ?
					"does not open: it is damaged, or sealed under another key" :
					"marked as sealed, but it is not encrypted");
}

static void
wal_page(Reading *r, uint8_t *page, size_t len, uint64_t block)
{
	CmkVerify  *v = r->v;
	CmkWalHead	head;

	if (is_part(r, page, len, block))
		return;
	cmk_walpage_head(page, &head);
	if (head.magic != WAL_MAGIC)
	{
		if (cmk_is_zero(page, len))
			r->count->zero++;
		else
			unaccounted(r, block, len, "not a page of WAL");
	}
	else if (head.info & CMK_XLP_SEALED)
		sealed_wal_page(r, page, block);
	else
	{
		r->count->plain++;
		if (head.pageaddr >= v->wal_from)
			cmk_verify_find(v, r->path, block, true, "plain, but WAL is sealed from %X/%X on",
							(unsigned) (v->wal_from >> 32), (unsigned) v->wal_from);
		else if (v->cluster)
			cmk_verify_find(v, r->path, block, true, "plain: WAL is not sealed there");
		v->plain_wal |= v->is_backup && head.pageaddr >= v->wal_from;
	}
}

/* ---- files of any length ---- */

static void
unit_head(Reading *r, const uint8_t *page, size_t len)
{
	CmkUnitHead head;

	if (len < CMK_UNIT_HEAD_USED || !cmk_unit_head_read(page, &head))
	{
		r->plain_file = true;
		return;
	}
	r->count->sealed++;
	if (!cmk_is_zero(page + CMK_UNIT_HEAD_USED, len - CMK_UNIT_HEAD_USED))
		unaccounted(r, 0, len - CMK_UNIT_HEAD_USED, "no rule knows what stands in its head");
	if (head.root_id != 0 && r->v->opens &&
		!cmk_verify_keys_check_head(strncmp(r->path, "pg_twophase/", 12) == 0 ? CMK_KEY_TWOPHASE :
									CMK_KEY_STATEMENTS, head.root_id, page))
		cmk_verify_find(r->v, r->path, 0, true,
						"does not open: it is damaged, or sealed under another key");
}

static void
unit_page(Reading *r, uint8_t *page, size_t len, uint64_t block)
{
	bool		sealed = true;
	size_t		at;

	if (block == 0)
	{
		unit_head(r, page, len);
		if (!r->plain_file)
			return;
	}
	if (cmk_is_zero(page, len))
	{
		r->count->zero++;
		return;
	}
	/* a unit that is all zero was never written */
	for (at = 0; at < len && sealed && !r->plain_file; at += CMK_UNIT_SIZE)
	{
		size_t		n = len - at < CMK_UNIT_SIZE ? len - at : CMK_UNIT_SIZE;

		sealed = cmk_is_zero(page + at, n) || cmk_verify_looks_sealed(page + at, n);
	}
	if (sealed && !r->plain_file)
	{
		r->count->sealed++;
		return;
	}
	r->count->plain++;
	if (must_be_sealed(r->v))
		cmk_verify_find(r->v, r->path, block, true, r->plain_file ? "plain" :
						"plain, in a file that is sealed");
}

static void
notify_page(Reading *r, uint8_t *page, size_t len, uint64_t block)
{
	if (cmk_is_zero(page, len))
		r->count->zero++;
	else if (len == PAGE && cmk_verify_looks_sealed(page, len))
		r->count->sealed++;
	else
		plain_page(r, block);
}

static void
refused_page(Reading *r, uint8_t *page, size_t len, uint64_t block)
{
	if (cmk_is_zero(page, len))
		r->count->zero++;
	else
		plain_page(r, block);
}

/* ---- reading ---- */

/* How many whole pages from off on the file system says are a hole. */
static uint64_t
hole_pages(int fd, off_t off, off_t size)
{
	off_t		data = lseek(fd, off, SEEK_DATA);

	if (data < 0)
		data = errno == ENXIO ? size : off;
	return data > off ? (uint64_t) (data - off) / PAGE : 0;
}

static void
could_not_read(Reading *r, uint64_t block)
{
	cmk_verify_find(r->v, r->path, block, true, "could not be read: %s", strerror(errno));
}

static void
read_pages(Reading *r, off_t size, PageFunction fn)
{
	off_t		off = 0;

	(void) posix_fadvise(r->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	while (off < size)
	{
		/* the head of a file of any length is looked at, whatever it is */
		uint64_t	hole = off > 0 || fn != unit_page ? hole_pages(r->fd, off, size) : 0;
		ssize_t		n;
		ssize_t		at;

		r->count->zero += hole;
		r->count->bytes += hole * PAGE;
		cmk_verify_progress(r->v, hole * PAGE, false);
		off += (off_t) hole * PAGE;
		n = cmk_read_at(r->fd, piece, PIECE, off);
		if (n < 0)
			could_not_read(r, (uint64_t) off / PAGE);
		if (n <= 0)
			break;
		for (at = 0; at < n; at += PAGE)
			fn(r, piece + at, n - at < PAGE ? (size_t) (n - at) : PAGE, (uint64_t) (off + at) / PAGE);
		r->count->bytes += (uint64_t) n;
		cmk_verify_progress(r->v, (uint64_t) n, false);
		off += n;
	}
	if (r->v->opens)
		cmk_cleanse(piece, sizeof(piece));
}

static void
look_at(Reading *r, off_t size)
{
	static const PageFunction functions[] = {
		[CMK_VERIFY_PAGES] = relation_page, [CMK_VERIFY_TEMP_PAGES] = temp_relation_page,
		[CMK_VERIFY_WAL] = wal_page, [CMK_VERIFY_UNITS] = unit_page,
		[CMK_VERIFY_NOTIFY] = notify_page, [CMK_VERIFY_PLAIN] = refused_page,
		[CMK_VERIFY_CLEAR] = NULL, [CMK_VERIFY_UNKNOWN] = NULL
	};
	PageFunction fn = functions[r->kind->how];

	if (r->kind->how == CMK_VERIFY_PAGES)
		cmk_verify_keys_of(r->v, &r->name.id, &r->dek);
	if (fn != NULL)
	{
		read_pages(r, size, fn);
		return;
	}
	r->count->bytes += (uint64_t) size;
	cmk_verify_progress(r->v, (uint64_t) size, false);
	if (r->kind->how == CMK_VERIFY_CLEAR)
		r->count->clear += (uint64_t) size;
	else if (size > 0)
		unaccounted(r, CMK_VERIFY_NO_BLOCK, (size_t) size, "no rule knows this file");
}

/* pg_wal/xlogtemp.N becomes a segment, or the history of a timeline: text. */
static bool
is_history(const char *path, int fd)
{
	static const char name[] = "pg_wal/xlogtemp.";
	uint16_t	magic = 0;

	return strncmp(path, name, sizeof(name) - 1) == 0 &&
		pread(fd, &magic, sizeof(magic), 0) == (ssize_t) sizeof(magic) &&
		magic != 0 && magic != WAL_MAGIC;
}

void
cmk_verify_file(CmkVerify *v, const char *path)
{
	Reading		r;
	struct stat st;
	int			kind;

	memset(&r, 0, sizeof(r));
	r.v = v;
	r.path = path;
	r.fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (r.fd < 0 && errno == ENOENT && v->running)
		return;
	kind = cmk_verify_kind(path, &r.name);
	if (r.fd >= 0 && is_history(path, r.fd))
		kind = cmk_verify_kind("pg_wal/00000001.history", &r.name);
	r.kind = &cmk_verify_kinds[kind];
	r.count = &v->counts[kind];
	r.count->files++;
	if (r.fd < 0 || fstat(r.fd, &st) < 0)
		could_not_read(&r, CMK_VERIFY_NO_BLOCK);
	else
		look_at(&r, st.st_size);
	if (r.fd >= 0)
		close(r.fd);
}
