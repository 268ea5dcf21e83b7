/*
 * test_walfile.c
 *	  WAL through the seam's functions, held against a plain shadow of the file.
 *
 * The file is a segment of 64 pages in a temporary directory.  What the server wrote
 * is kept beside it in clear; every read through cmk_walfile_pread() must give that,
 * whatever offset and length, and no page on disk may be plain.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <unistd.h>

#include "../../src/server/rawio.h"
#include "../../src/server/walfile.h"
#include "walpage_example.h"

#define PAGE		CMK_PAGE_SIZE
#define PAGES		64
#define SEGMENT		(PAGES * PAGE)
#define START		UINT64_C(0x0000000200080000)	/* of the segment under test */
#define TLI			3

static struct
{
	bool		receives;
	bool		refuse_plain;
	int			refused;
	int			raw;
	char		why[200];
	int			pwrites;
	size_t		limit;			/* of one pwrite, 0: none */
	int			fail_at;		/* the n-th pwrite fails */
} env;

static CmkRootKey roots[3];
static uint8_t shadow[SEGMENT];
static uint8_t disk[SEGMENT];
static uint8_t got[SEGMENT + 100];
static char path[64];

/* ---- hooks and real calls ---- */

static int
on_opening(const char *name, uint64_t start, int flags)
{
	(void) name;
	(void) start;
	(void) flags;
	return env.raw;
}

static int
on_await(void)
{
	errno = ENOKEY;
	return -1;
}

static bool
on_receives(void)
{
	return env.receives;
}

static bool
on_plain_refused(uint64_t addr)
{
	(void) addr;
	return env.refuse_plain;
}

static bool
on_is_live(void)
{
	return true;
}

static int
on_unopened(uint64_t addr, uint32_t tli, const char *why)
{
	(void) addr;
	(void) tli;
	env.refused++;
	snprintf(env.why, sizeof(env.why), "%s", why);
	errno = ENOKEY;
	return -1;
}

static void __attribute__((format(printf, 1, 2)))
on_log(const char *fmt,...)
{
	(void) fmt;
}

static const CmkWalConfig config = {.segment_size = SEGMENT, .magic = WAL_MAGIC};
static const CmkWalHooks hooks = {
	.opening = on_opening, .await_root = on_await, .receives = on_receives,
	.plain_refused = on_plain_refused, .is_live = on_is_live,
	.unopened = on_unopened, .log = on_log
};

static ssize_t
env_pwrite(int fd, const void *buf, size_t n, off_t off)
{
	if (++env.pwrites == env.fail_at)
	{
		errno = ENOSPC;
		return -1;
	}
	if (env.limit > 0 && n > env.limit)
		n = env.limit;
	return pwrite(fd, buf, n, off);
}

/* ---- the file ---- */

static void
reset(void)
{
	CmkError	err;
	int			fd;

	memset(&env, 0, sizeof(env));
	roots[0].wal_from = 0;
	roots[1].wal_from = START - SEGMENT;
	roots[2].wal_from = START + 10 * SEGMENT;
	cmk_registry_set_roots(roots, 3, 3, &err);
	cmk_registry_set_wal_from(2, START - SEGMENT);
	memset(shadow, 0, sizeof(shadow));
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || ftruncate(fd, SEGMENT) < 0)
		abort();
	close(fd);
}

static int
open_file(CmkSeamFile *file, int flags, uint32_t tli)
{
	CmkFileName name;

	memset(&name, 0, sizeof(name));
	memset(file, 0, sizeof(*file));
	name.wal_tli = tli;
	name.wal_log = (uint32_t) (START >> 32);
	name.wal_seg = (uint32_t) START / SEGMENT;
	if (cmk_walfile_opening(path, flags, CMK_FILE_WAL, &name, file) < 0)
		abort();
	return open(path, flags);
}

static void
shadow_page(int page, unsigned seed)
{
	make_wal_page(shadow + page * PAGE, START + (uint64_t) page * PAGE, TLI, SEGMENT,
				  page % 3 == 1 ? 500 : 0, seed);
}

static void
read_disk(void)
{
	int			fd = open(path, O_RDONLY);

	if (pread(fd, disk, SEGMENT, 0) != SEGMENT)
		abort();
	close(fd);
}

/* Every page on disk is zero or sealed by that root. */
static int
check_disk(unsigned root)
{
	int			i;

	read_disk();
	for (i = 0; i < PAGES; i++)
	{
		CmkWalHead	head;

		cmk_walpage_head(disk + i * PAGE, &head);
		if (cmk_walpage_is_zero(disk + i * PAGE))
			continue;
		if (!(head.info & CMK_XLP_SEALED) || cmk_walpage_generation(&head) != root)
			return unit_fail(__FILE__, __LINE__, "page %d has info %x", i, head.info);
		if (memmem(disk + i * PAGE, PAGE, shadow + i * PAGE + 100, 16) != NULL)
			return unit_fail(__FILE__, __LINE__, "page %d is not sealed", i);
	}
	return 0;
}

static int
check_read(CmkSeamFile *file, int fd, size_t n, off_t off)
{
	size_t		want = off >= SEGMENT ? 0 : n > (size_t) (SEGMENT - off) ?
		(size_t) (SEGMENT - off) : n;
	ssize_t		r = cmk_walfile_pread(file, fd, got, n, off);
	long		d;

	if (r != (ssize_t) want)
		return unit_fail(__FILE__, __LINE__, "read %zu at %ld: %zd, errno %d", n,
						 (long) off, r, errno);
	d = unit_differ(got, shadow + off, want);
	if (d >= 0)
		return unit_fail(__FILE__, __LINE__, "read %zu at %ld differs at %ld", n,
						 (long) off, d);
	return 0;
}

/* ---- cases ---- */

/* XLogWrite: whole pages, the last one again and again. */
static void
whole_pages(void)
{
	CmkSeamFile w,
				r;
	int			wfd,
				rfd,
				i;

	reset();
	wfd = open_file(&w, O_RDWR, TLI);
	rfd = open_file(&r, O_RDONLY, TLI);
	for (i = 0; i < PAGES; i++)
	{
		shadow_page(i, 1);
		memset(shadow + i * PAGE + 4000, 0, PAGE - 4000);
		CHECK_INT(cmk_walfile_pwrite(&w, wfd, shadow + i * PAGE, PAGE, i * PAGE), PAGE);
		shadow_page(i, 1);
		CHECK_INT(cmk_walfile_pwrite(&w, wfd, shadow + i * PAGE, PAGE, i * PAGE), PAGE);
	}
	CHECK(check_disk(2) == 0);
	CHECK(check_read(&r, rfd, SEGMENT, 0) == 0);
	CHECK(check_read(&r, rfd, SEGMENT + 50, 0) == 0);
	close(wfd);
	close(rfd);
}

/* As much as the bounce buffer holds is one call, and more is complete too. */
static void
many_pages_in_one_call(void)
{
	CmkSeamFile f;
	int			fd,
				i;

	reset();
	for (i = 0; i < PAGES; i++)
		shadow_page(i, 2);
	fd = open_file(&f, O_RDWR, TLI);
	CHECK_INT(cmk_walfile_pwrite(&f, fd, shadow, CMK_WAL_BOUNCE, 0), CMK_WAL_BOUNCE);
	CHECK_INT(env.pwrites, 1);
	CHECK_INT(cmk_walfile_pwrite(&f, fd, shadow, SEGMENT, 0), SEGMENT);
	CHECK_INT(env.pwrites, 1 + SEGMENT / CMK_WAL_BOUNCE);
	CHECK(check_disk(2) == 0);
	CHECK(check_read(&f, fd, SEGMENT, 0) == 0);
	close(fd);
}

/* walreceiver: in order, at any place and length. */
static void
received_in_pieces(void)
{
	static const size_t pieces[] = {24, 100, 8000, 8192, 8193, 16384, 40000, 100000, 131072};
	size_t		p;

	for (p = 0; p < sizeof(pieces) / sizeof(pieces[0]); p++)
	{
		CmkSeamFile w,
					r;
		off_t		off = 0;
		int			wfd,
					rfd,
					i;
		static uint8_t all[SEGMENT];

		reset();
		wfd = open_file(&w, O_RDWR, TLI);
		rfd = open_file(&r, O_RDONLY, TLI);
		for (i = 0; i < PAGES; i++)
			shadow_page(i, (unsigned) p);
		memcpy(all, shadow, SEGMENT);
		memset(shadow, 0, SEGMENT);
		while (off < SEGMENT)
		{
			size_t		n = pieces[p];

			/* never ends inside a page's header, as a flush position never does */
			if ((off + (off_t) n) % PAGE < 24 && (off + (off_t) n) % PAGE > 0)
				n += 24;
			if (off + (off_t) n > SEGMENT)
				n = (size_t) (SEGMENT - off);
			CHECK_INT(cmk_walfile_pwrite(&w, wfd, all + off, n, off), (long) n);
			memcpy(shadow + off, all + off, n);
			if (p > 1 || off % 7 == 0)
				CHECK(check_read(&r, rfd, n, off) == 0);
			off += (off_t) n;
		}
		CHECK(check_disk(2) == 0);
		CHECK(check_read(&r, rfd, SEGMENT, 0) == 0);
		close(wfd);
		close(rfd);
	}
}

static void
random_reads_and_writes(void)
{
	CmkSeamFile w,
				r;
	int			wfd,
				rfd,
				i;

	reset();
	srandom(4711);
	wfd = open_file(&w, O_RDWR, TLI);
	rfd = open_file(&r, O_RDONLY, TLI);
	for (i = 0; i < PAGES; i++)
		shadow_page(i, 1);
	CHECK_INT(cmk_walfile_pwrite(&w, wfd, shadow, SEGMENT, 0), SEGMENT);
	for (i = 0; i < 4000; i++)
	{
		off_t		off = random() % SEGMENT;
		size_t		n = (size_t) (random() % (i % 10 == 0 ? 200000 : 9000)) + 1;

		if (off + (off_t) n > SEGMENT)
			n = (size_t) (SEGMENT - off);
		if (random() % 2)
		{
			size_t		j;

			/* other records, and the same headers */
			for (j = 0; j < n; j++)
				if ((off + (off_t) j) % PAGE >= 40)
					shadow[off + (off_t) j] ^= (uint8_t) (random() | 1);
			CHECK_INT(cmk_walfile_pwrite(&w, wfd, shadow + off, n, off), (long) n);
		}
		else
			CHECK(check_read(&r, rfd, n, off) == 0);
	}
	CHECK(check_disk(2) == 0);
	CHECK(check_read(&r, rfd, SEGMENT, 0) == 0);
	close(wfd);
	close(rfd);
}

/* With a position: XLogFileCopy, of which the last read is part of a page. */
static void
with_a_position(void)
{
	CmkSeamFile f;
	int			fd,
				i;

	reset();
	for (i = 0; i < PAGES; i++)
		shadow_page(i, 3);
	fd = open_file(&f, O_RDWR, TLI);
	for (i = 0; i < PAGES; i++)
		CHECK_INT(cmk_walfile_write(&f, fd, shadow + i * PAGE, PAGE), PAGE);
	CHECK_INT(cmk_walfile_write(&f, fd, shadow, 0), 0);
	CHECK_INT(lseek(fd, 0, SEEK_SET), 0);
	for (i = 0; i < 10; i++)
	{
		CHECK_INT(cmk_walfile_read(&f, fd, got, PAGE), PAGE);
		CHECK_MEM(got, shadow + i * PAGE, PAGE);
	}
	CHECK_INT(cmk_walfile_read(&f, fd, got, 777), 777);
	CHECK_MEM(got, shadow + 10 * PAGE, 777);
	CHECK_INT(lseek(fd, 0, SEEK_CUR), 10 * PAGE + 777);
	CHECK(check_disk(2) == 0);
	close(fd);
}

/* What is left of the segment that the file was before. */
static void
recycled_pages(void)
{
	static uint8_t old[PAGE];
	CmkSeamFile f;
	int			fd,
				raw,
				i;

	reset();
	fd = open_file(&f, O_RDWR, TLI);
	raw = open(path, O_RDWR);
	make_wal_page(old, START - 7 * SEGMENT, TLI, SEGMENT, 0, 9);
	for (i = 0; i < PAGES; i++)
		CHECK_INT(pwrite(raw, old, PAGE, i * PAGE), PAGE);

	env.refuse_plain = true;
	CHECK_INT(cmk_walfile_pread(&f, fd, got, PAGE, 5 * PAGE), PAGE);
	CHECK_MEM(got, old, PAGE);	/* as it is: the server sees the address */

	shadow_page(0, 1);
	shadow_page(1, 1);
	memset(shadow + PAGE + 3000, 0, PAGE - 3000);
	CHECK_INT(cmk_walfile_pwrite(&f, fd, shadow, PAGE + 3000, 0), PAGE + 3000);
	CHECK(check_read(&f, fd, 2 * PAGE, 0) == 0);	/* behind 3000: zeros */
	read_disk();
	CHECK(disk[3] & 0x80 && disk[PAGE + 3] & 0x80);
	CHECK_INT(env.refused, 0);
	close(fd);
	close(raw);
}

/* A segment is sealed by the root of its first page, whatever is learned later. */
static void
one_root_per_segment(void)
{
	CmkSeamFile f;
	int			fd,
				i;

	reset();
	for (i = 0; i < PAGES; i++)
		shadow_page(i, 1);
	fd = open_file(&f, O_RDWR, TLI);
	CHECK_INT(cmk_walfile_pwrite(&f, fd, shadow, 3 * PAGE + 100, 0), 3 * PAGE + 100);
	cmk_registry_set_wal_from(3, START);
	CHECK_INT(cmk_registry_wal_root(START)->id, 3);
	CHECK_INT(cmk_walfile_pwrite(&f, fd, shadow + 3 * PAGE, 2 * PAGE, 3 * PAGE), 2 * PAGE);
	close(fd);
	fd = open_file(&f, O_RDWR, TLI);
	CHECK_INT(cmk_walfile_pwrite(&f, fd, shadow + 4 * PAGE, SEGMENT - 4 * PAGE, 4 * PAGE),
			  SEGMENT - 4 * PAGE);
	CHECK(check_disk(2) == 0);
	CHECK(check_read(&f, fd, SEGMENT, 0) == 0);
	close(fd);

	/* and a new one by the new root */
	if (truncate(path, 0) < 0 || truncate(path, SEGMENT) < 0)
		abort();
	fd = open_file(&f, O_RDWR, TLI);
	CHECK_INT(cmk_walfile_pwrite(&f, fd, shadow, SEGMENT, 0), SEGMENT);
	CHECK(check_disk(3) == 0);
	CHECK(check_read(&f, fd, SEGMENT, 0) == 0);
	close(fd);
}

/* Before its place in WAL a root seals nothing, but what another server sends. */
static void
before_its_place(void)
{
	CmkSeamFile f;
	int			fd,
				i;

	for (i = 0; i < 2; i++)
	{
		reset();
		cmk_registry_set_wal_from(2, START + SEGMENT);
		env.receives = i == 1;
		shadow_page(0, 1);
		shadow_page(1, 1);
		fd = open_file(&f, O_RDWR, TLI);
		CHECK_INT(cmk_walfile_pwrite(&f, fd, shadow, PAGE, 0), PAGE);
		read_disk();
		CHECK((memcmp(disk, shadow, PAGE) == 0) == (i == 0));
		CHECK(check_read(&f, fd, PAGE, 0) == 0);
		close(fd);

		/* it goes on as it began */
		env.receives = true;
		cmk_registry_set_wal_from(2, START);
		fd = open_file(&f, O_RDWR, TLI);
		CHECK_INT(cmk_walfile_pwrite(&f, fd, shadow, 2 * PAGE, 0), 2 * PAGE);
		read_disk();
		CHECK((memcmp(disk, shadow, 2 * PAGE) == 0) == (i == 0));
		close(fd);
	}
}

static void
what_cannot_be_opened(void)
{
	CmkSeamFile f;
	int			fd,
				raw;
	uint8_t		head[16];

	reset();
	shadow_page(0, 1);
	shadow_page(1, 1);
	fd = open_file(&f, O_RDWR, TLI);
	raw = open(path, O_RDWR);
	CHECK_INT(cmk_walfile_pwrite(&f, fd, shadow, 2 * PAGE, 0), 2 * PAGE);

	/* a block in which the header's rest lies */
	CHECK_INT(pread(raw, head, 16, PAGE + 16), 16);
	head[0] ^= 1;
	CHECK_INT(pwrite(raw, head, 16, PAGE + 16), 16);
	CHECK_INT(cmk_walfile_pread(&f, fd, got, PAGE, PAGE), -1);
	CHECK_INT(errno, ENOKEY);
	CHECK_INT(env.refused, 1);
	CHECK_HAS(env.why, "damaged");
	CHECK_INT(cmk_walfile_pread(&f, fd, got, 2 * PAGE, 0), PAGE);	/* as far as it goes */
	CHECK_INT(cmk_walfile_pread(&f, fd, got, 10, PAGE + 50), -1);
	CHECK_INT(cmk_walfile_pwrite(&f, fd, shadow + PAGE, 500, PAGE), -1);

	/* a root that nobody knows */
	CHECK_INT(pread(raw, head, 16, 0), 16);
	head[3] = (uint8_t) ((head[3] & 0x87) | 9 << 3);
	CHECK_INT(pwrite(raw, head, 16, 0), 16);
	CHECK_INT(cmk_walfile_pread(&f, fd, got, PAGE, 0), -1);
	CHECK_HAS(env.why, "not known");

	/* of an older timeline than the file: the server knows what to do with it */
	f.rel = TLI + 1;
	CHECK_INT(cmk_walfile_pread(&f, fd, got, PAGE, 0), PAGE);
	CHECK(got[3] & 0x80);

	/* plain, where WAL is sealed */
	f.rel = TLI;
	CHECK_INT(pwrite(raw, shadow, PAGE, 0), PAGE);
	CHECK_INT(cmk_walfile_pread(&f, fd, got, PAGE, 0), PAGE);
	env.refuse_plain = true;
	CHECK_INT(cmk_walfile_pread(&f, fd, got, PAGE, 0), -1);
	CHECK_HAS(env.why, "plain");
	close(fd);
	close(raw);
}

/* Whole pages or an error: what was not written whole is not reported. */
static void
short_writes(void)
{
	CmkSeamFile f;
	int			fd,
				i;

	reset();
	for (i = 0; i < PAGES; i++)
		shadow_page(i, 1);
	fd = open_file(&f, O_RDWR, TLI);
	env.limit = 5000;
	CHECK_INT(cmk_walfile_pwrite(&f, fd, shadow, 4 * PAGE, 0), 4 * PAGE);
	CHECK(check_read(&f, fd, 4 * PAGE, 0) == 0);

	env.fail_at = env.pwrites + 3;	/* after 10000 bytes */
	CHECK_INT(cmk_walfile_pwrite(&f, fd, shadow, 4 * PAGE, 0), PAGE);
	env.fail_at = env.pwrites + 2;	/* after 5000 */
	CHECK_INT(cmk_walfile_pwrite(&f, fd, shadow, 4 * PAGE, 0), -1);
	CHECK_INT(errno, ENOSPC);

	/* in pieces: 100 bytes of the first page, and the second */
	env.limit = 0;
	env.fail_at = 0;
	CHECK_INT(cmk_walfile_pwrite(&f, fd, shadow, SEGMENT, 0), SEGMENT);
	env.limit = PAGE;
	env.fail_at = env.pwrites + 2;
	CHECK_INT(cmk_walfile_pwrite(&f, fd, shadow + PAGE - 100, 100 + PAGE, PAGE - 100), 100);
	env.fail_at = 0;
	CHECK(check_read(&f, fd, SEGMENT, 0) == 0);

	/* what is no page of this place is never written */
	CHECK_INT(cmk_walfile_pwrite(&f, fd, shadow, PAGE, PAGE), -1);
	CHECK_INT(errno, EINVAL);
	memset(got, 'x', PAGE);
	CHECK_INT(cmk_walfile_pwrite(&f, fd, got, PAGE, 0), -1);
	CHECK(check_read(&f, fd, SEGMENT, 0) == 0);
	close(fd);
}

/* A torn write of the same page, at any sector: old and new blocks side by side. */
static void
torn_pages(void)
{
	static uint8_t before[PAGE];
	CmkSeamFile f;
	int			fd,
				raw,
				sector;

	reset();
	fd = open_file(&f, O_RDWR, TLI);
	raw = open(path, O_RDWR);
	for (sector = 1; sector < 16; sector++)
	{
		shadow_page(0, 1);
		memset(shadow + 700, 0, PAGE - 700);
		CHECK_INT(cmk_walfile_pwrite(&f, fd, shadow, PAGE, 0), PAGE);
		CHECK_INT(pread(raw, before, PAGE, 0), PAGE);
		shadow_page(0, 1);
		CHECK_INT(cmk_walfile_pwrite(&f, fd, shadow, PAGE, 0), PAGE);
		CHECK_INT(pwrite(raw, before + sector * 512, (size_t) (PAGE - sector * 512),
						 sector * 512), PAGE - sector * 512);
		memset(shadow + (sector * 512 > 700 ? sector * 512 : 700), 0,
			   (size_t) (PAGE - (sector * 512 > 700 ? sector * 512 : 700)));
		CHECK(check_read(&f, fd, PAGE, 0) == 0);
	}
	close(fd);
	close(raw);
}

/* xlogtemp.N: zeros, a copy of a segment, or the text of a history file. */
static void
temporary_files(void)
{
	static uint8_t zeros[PAGE];
	struct iovec iov[PAGES];
	CmkSeamFile f;
	CmkFileName name;
	int			fd,
				i;
	char		text[PAGE];

	reset();
	memset(&f, 0, sizeof(f));
	memset(&name, 0, sizeof(name));
	CHECK_INT(cmk_walfile_opening(path, O_RDWR, CMK_FILE_WAL_TEMP, &name, &f), 0);
	CHECK_INT(f.kind, CMK_FILE_WAL_TEMP);
	fd = open(path, O_RDWR | O_TRUNC);
	for (i = 0; i < PAGES; i++)
	{
		iov[i].iov_base = zeros;
		iov[i].iov_len = PAGE;
	}
	CHECK_INT(cmk_walfile_pwritev(&f, fd, iov, PAGES, 0), SEGMENT);
	CHECK_INT(cmk_walfile_pwrite(&f, fd, zeros, 1, SEGMENT - 1), 1);
	CHECK_INT(lseek(fd, 0, SEEK_END), SEGMENT);
	CHECK_INT(lseek(fd, 0, SEEK_SET), 0);
	for (i = 0; i < PAGES; i++)
		if (i < 5)
			shadow_page(i, 1);
	for (i = 0; i < PAGES; i++)
		CHECK_INT(cmk_walfile_write(&f, fd, shadow + i * PAGE, PAGE), PAGE);
	CHECK(check_disk(2) == 0);
	read_disk();
	CHECK(disk[3] & 0x80);

	/* XLogFileCopy() goes on with the last page where it means zeros */
	CHECK_INT(lseek(fd, 5 * PAGE, SEEK_SET), 5 * PAGE);
	for (i = 5; i < PAGES; i++)
		CHECK_INT(cmk_walfile_write(&f, fd, shadow + 4 * PAGE, PAGE), PAGE);
	read_disk();
	for (i = 5 * PAGE; i < SEGMENT; i++)
		CHECK(disk[i] == 0);
	close(fd);
	fd = open_file(&f, O_RDONLY, TLI);
	CHECK(check_read(&f, fd, SEGMENT, 0) == 0);
	close(fd);

	memset(&f, 0, sizeof(f));
	f.kind = CMK_FILE_WAL_TEMP;
	fd = open(path, O_RDWR | O_TRUNC);
	memset(text, '1', sizeof(text));
	CHECK_INT(cmk_walfile_write(&f, fd, text, PAGE), PAGE);
	CHECK_INT(cmk_walfile_write(&f, fd, "2\t0/0\n", 6), 6);
	CHECK_INT(pread(fd, got, PAGE + 6, 0), PAGE + 6);
	CHECK_MEM(got, text, PAGE);
	CHECK_MEM(got + PAGE, "2\t0/0\n", 6);
	close(fd);
}

static void
raw_readers(void)
{
	CmkSeamFile f;

	reset();
	env.raw = 1;
	close(open_file(&f, O_RDONLY, TLI));
	CHECK_INT(f.kind, 0);
}

/* No key any more: nothing is written in clear. */
static void
wiped_keys(void)
{
	CmkSeamFile f;
	CmkError	err;
	int			fd;

	reset();
	shadow_page(0, 1);
	fd = open_file(&f, O_RDWR, TLI);
	CHECK_INT(cmk_walfile_pwrite(&f, fd, shadow, PAGE, 0), PAGE);
	CHECK_INT(cmk_registry_set_roots(NULL, 0, 0, &err), 0);
	CHECK_INT(cmk_walfile_pwrite(&f, fd, shadow, PAGE, 0), -1);
	CHECK_INT(errno, ENOKEY);
	close(fd);
	fd = open_file(&f, O_RDWR, TLI);
	CHECK_INT(cmk_walfile_pwrite(&f, fd, shadow, PAGE, 0), -1);
	CHECK_INT(cmk_walfile_pread(&f, fd, got, PAGE, 0), -1);
	CHECK_INT(errno, ENOKEY);
	close(fd);
}

int
main(void)
{
	CmkError	err;
	int			fd,
				i,
				j;

	snprintf(path, sizeof(path), "/tmp/test_walfile.XXXXXX");
	fd = mkstemp(path);
	if (fd < 0 || cmk_registry_create(&err) < 0 ||
		cmk_walfile_init(&config, &hooks, &err) < 0)
		return 1;
	close(fd);
	for (i = 0; i < 3; i++)
	{
		roots[i].id = (uint32_t) i + 1;
		for (j = 0; j < CMK_DEK_SIZE; j++)
			roots[i].wal_key[j] = (uint8_t) (j * 3 + i * 71);
	}
	cmk_real.pread = pread;
	cmk_real.pwrite = env_pwrite;
	cmk_real.pwritev = pwritev;
	cmk_real.lseek = lseek;
	cmk_real.read = read;
	cmk_real.write = write;

	RUN(whole_pages);
	RUN(many_pages_in_one_call);
	RUN(received_in_pieces);
	RUN(random_reads_and_writes);
	RUN(with_a_position);
	RUN(recycled_pages);
	RUN(one_root_per_segment);
	RUN(before_its_place);
	RUN(what_cannot_be_opened);
	RUN(short_writes);
	RUN(torn_pages);
	RUN(temporary_files);
	RUN(raw_readers);
	RUN(wiped_keys);
	unlink(path);
	return unit_done();
}
