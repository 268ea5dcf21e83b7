/*
 * test_page.c
 *	  The sealed data page: its format byte by byte, and how it is opened.
 */
#include <pthread.h>

#include <openssl/evp.h>

#include "../../src/seal/page.h"
#include "evp_xts.h"
#include "page_example.h"

static CmkXts *x;
static uint8_t key[CMK_XTS_KEY_SIZE];
static uint8_t plain[CMK_PAGE_SIZE];
static uint8_t sealed[CMK_PAGE_SIZE];
static uint8_t work[CMK_PAGE_SIZE];

static const uint8_t zero_page[CMK_PAGE_SIZE];

static unsigned
flags_of(const uint8_t *p)
{
	return p[10] | p[11] << 8;
}

/*
 * The stored example: key 00 01 … 3f, the page of make_page(), block
 * 0x01020304 of the main fork, generation 21 (5 modulo 16), checksums on.
 */
static void
stored_example(void)
{
	static const char *const first48 =
	"1a0000005e4d3c2bd39d04a840000010"
	"e20574c43da9d0d3ae7b78e6ef9ca27e"
	"c875b79a9e25d44338b2d95a17d503a9";
	static const char *const sha256 =
	"351505923f92089f1e22fdb56227ee1c4bc171c3bfa0a7a06d621a3d00c0bf16";
	static const uint8_t tweak[16] = {
		0x1a, 0, 0, 0, 0x5e, 0x4d, 0x3c, 0x2b,	/* pd_lsn as it stands */
		0x04, 0x03, 0x02, 0x01, /* block */
		0,						/* fork */
		0, 0, 0
	};
	uint8_t		want[CMK_PAGE_SIZE];
	uint8_t		hex[48];
	uint8_t		hash[32];

	make_page(plain, 0x1234);
	CHECK_INT(cmk_page_seal(x, sealed, plain, 0x01020304, CMK_FORK_MAIN, 21,
							true), 0);

	/* as the format says */
	memcpy(want, plain, 16);
	put16(want, 10, 0x0004 | 0x8000 | 5 << 11);
	xts_by_evp(key, tweak, want + 16, plain + 16, 8176);
	put16(want, 8, checksum_by_description(want, 0x01020304));
	CHECK_MEM(sealed, want, CMK_PAGE_SIZE);

	/* and as it was stored when the format was fixed */
	unit_hex(first48, hex, sizeof(hex));
	CHECK_MEM(sealed, hex, sizeof(hex));
	unit_hex(sha256, want, sizeof(hash));
	EVP_Digest(sealed, CMK_PAGE_SIZE, hash, NULL, EVP_sha256(), NULL);
	CHECK_MEM(hash, want, sizeof(hash));
}

static void
round_trip_at_blocks_and_forks(void)
{
	static const uint32_t blocks[] = {0, 1, 131071, 131072, 0x7fffffff,
	0xfffffffe};
	size_t		b;
	unsigned	fork;
	int			checksums;

	for (checksums = 0; checksums < 2; checksums++)
		for (b = 0; b < sizeof(blocks) / sizeof(blocks[0]); b++)
			for (fork = CMK_FORK_MAIN; fork <= CMK_FORK_INIT; fork++)
			{
				make_page(plain, 0);
				if (checksums)
					put16(plain, 8, checksum_by_description(plain, blocks[b]));
				CHECK_INT(cmk_page_seal(x, work, plain, blocks[b], fork, b,
										checksums), 0);
				CHECK(unit_differ(work + 16, plain + 16, 16) >= 0);
				CHECK_INT(cmk_page_kind(work), CMK_PAGE_SEALED);
				CHECK_INT(cmk_page_open(x, work, blocks[b], fork, checksums),
						  CMK_OPEN_OK);
				CHECK_MEM(work, plain, CMK_PAGE_SIZE);
			}
}

static void
the_clear_head_is_kept(void)
{
	make_page(plain, 0x1234);
	CHECK_INT(cmk_page_seal(x, sealed, plain, 7, CMK_FORK_MAIN, 0, false), 0);
	CHECK_MEM(sealed, plain, 10);
	CHECK_INT(flags_of(sealed), 0x8004);
	CHECK_MEM(sealed + 12, plain + 12, 4);
	CHECK_INT(cmk_page_lsn(sealed), 0x1a2b3c4d5eULL);
	CHECK_INT(cmk_page_lsn(plain), 0x1a2b3c4d5eULL);
}

static void
kinds_of_pages(void)
{
	int			i;

	CHECK_INT(cmk_page_kind(zero_page), CMK_PAGE_ZERO);
	make_page(plain, 0);
	CHECK_INT(cmk_page_kind(plain), CMK_PAGE_PLAIN);
	CHECK_INT(cmk_page_seal(x, sealed, plain, 0, CMK_FORK_MAIN, 0, false), 0);
	CHECK_INT(cmk_page_kind(sealed), CMK_PAGE_SEALED);

	/* one bit anywhere makes a zero page another; on any alignment */
	for (i = 0; i < CMK_PAGE_SIZE; i++)
	{
		uint8_t		shifted[CMK_PAGE_SIZE + 1] = {0};

		if (i == 11)
			continue;
		shifted[1 + i] = 1;
		if (cmk_page_kind(shifted + 1) != CMK_PAGE_PLAIN)
			unit_fail(__FILE__, __LINE__, "byte %d is not looked at", i);
	}
	memset(work, 0, CMK_PAGE_SIZE);
	work[11] = 0x80;
	CHECK_INT(cmk_page_kind(work), CMK_PAGE_SEALED);
	work[11] = 0x40;
	CHECK_INT(cmk_page_kind(work), CMK_PAGE_PLAIN);
}

/* Nothing behind the head is looked at. */
static void
kinds_by_the_head(void)
{
	uint8_t		head[CMK_PAGE_HEAD];
	int			i;

	make_page(plain, 0);
	memcpy(head, plain, sizeof(head));
	CHECK_INT(cmk_page_head_kind(head), CMK_PAGE_PLAIN);
	CHECK_INT(cmk_page_seal(x, sealed, plain, 0, CMK_FORK_MAIN, 0, false), 0);
	memcpy(head, sealed, sizeof(head));
	CHECK_INT(cmk_page_head_kind(head), CMK_PAGE_SEALED);
	for (i = 0; i < CMK_PAGE_HEAD; i++)
	{
		memset(head, 0, sizeof(head));
		CHECK_INT(cmk_page_head_kind(head), CMK_PAGE_ZERO);
		head[i] = 0x7f;
		CHECK_INT(cmk_page_head_kind(head), CMK_PAGE_PLAIN);
	}
	memset(head, 0, sizeof(head));
	head[11] = 0x80;
	CHECK_INT(cmk_page_head_kind(head), CMK_PAGE_SEALED);
}

static void
generations(void)
{
	unsigned	g;

	make_page(plain, 0);
	for (g = 0; g < 40; g++)
	{
		CHECK_INT(cmk_page_seal(x, work, plain, 3, CMK_FORK_MAIN, g, true), 0);
		CHECK_INT(cmk_page_generation(work), g % 16);
		CHECK_INT(flags_of(work), 0x8004 | (g % 16) << 11);
		CHECK_INT(cmk_page_open(x, work, 3, CMK_FORK_MAIN, true), CMK_OPEN_OK);
		CHECK_INT(flags_of(work), 0x0004);
	}

	/* bits that the server may define one day (3-9) pass through */
	put16(plain, 10, 0x03ff);
	CHECK_INT(cmk_page_seal(x, work, plain, 3, CMK_FORK_MAIN, 9, false), 0);
	CHECK_INT(flags_of(work), 0x03ff | 0x8000 | 9 << 11);
	CHECK(!cmk_page_is_unmet(work));
	CHECK_INT(cmk_page_open(x, work, 3, CMK_FORK_MAIN, false), CMK_OPEN_OK);
	CHECK_INT(flags_of(work), 0x03ff);

	/* the job's mark goes, whatever was there before */
	put16(plain, 10, 0x0404);
	CHECK_INT(cmk_page_seal(x, work, plain, 3, CMK_FORK_MAIN, 9, true), 0);
	CHECK_INT(flags_of(work), 0x8004 | 9 << 11);
	CHECK_INT(cmk_page_seal(x, work, plain, 3, CMK_FORK_MAIN, 25 | CMK_PAGE_UNMET, true), 0);
	CHECK_INT(flags_of(work), 0x8404 | 9 << 11);
	CHECK_INT(cmk_page_generation(work), 9);
	CHECK(cmk_page_is_unmet(work));
	CHECK_INT(cmk_page_open(x, work, 3, CMK_FORK_MAIN, true), CMK_OPEN_OK);
	CHECK_INT(flags_of(work), 0x0004);
}

/* Seals plain into out and says whether the body differs from sealed's. */
static bool
body_differs(uint32_t block, unsigned fork)
{
	uint8_t		out[CMK_PAGE_SIZE];

	if (cmk_page_seal(x, out, plain, block, fork, 0, false) < 0)
		return false;
	return memcmp(out + 16, sealed + 16, 16) != 0 &&
		memcmp(out + CMK_PAGE_SIZE - 16, sealed + CMK_PAGE_SIZE - 16, 16) != 0;
}

static void
the_tweak_is_lsn_block_and_fork(void)
{
	int			byte;

	make_page(plain, 0);
	CHECK_INT(cmk_page_seal(x, sealed, plain, 0, CMK_FORK_MAIN, 0, false), 0);
	CHECK(!body_differs(0, CMK_FORK_MAIN));
	for (byte = 0; byte < 4; byte++)
		CHECK(body_differs(1U << (8 * byte), CMK_FORK_MAIN));
	CHECK(body_differs(0, CMK_FORK_FSM));
	CHECK(body_differs(0, CMK_FORK_VM));
	for (byte = 0; byte < 8; byte++)
	{
		plain[byte] ^= 1;
		CHECK(body_differs(0, CMK_FORK_MAIN));
		plain[byte] ^= 1;
	}

	/* the rest of the head is no part of it: hint bits keep the ciphertext */
	put16(plain, 8, 0xffff);
	put16(plain, 10, 0x0007);
	put16(plain, 12, 0x80);
	put16(plain, 14, 0x0800);
	CHECK(!body_differs(0, CMK_FORK_MAIN));
}

static void
the_init_fork_counts_as_main(void)
{
	make_page(plain, 0);
	put16(plain, 8, checksum_by_description(plain, 0));
	CHECK_INT(cmk_page_seal(x, sealed, plain, 0, CMK_FORK_INIT, 0, true), 0);
	CHECK_INT(cmk_page_seal(x, work, plain, 0, CMK_FORK_MAIN, 0, true), 0);
	CHECK_MEM(work, sealed, CMK_PAGE_SIZE);
	CHECK_INT(cmk_page_open(x, sealed, 0, CMK_FORK_MAIN, true), CMK_OPEN_OK);
	CHECK_MEM(sealed, plain, CMK_PAGE_SIZE);
}

static void
a_wrong_key_leaves_the_page_alone(void)
{
	CmkXts	   *other = cmk_xts_new();
	uint8_t		other_key[CMK_XTS_KEY_SIZE];
	int			i;

	make_page(plain, 0);
	memcpy(other_key, key, sizeof(key));
	for (i = 0; i < 20; i++)
	{
		other_key[0] ^= 1;
		other_key[1] = (uint8_t) (i + 77);
		CHECK_INT(cmk_xts_set_key(other, other_key), 0);
		CHECK_INT(cmk_page_seal(x, sealed, plain, i, CMK_FORK_MAIN, 3, i % 2), 0);
		memcpy(work, sealed, CMK_PAGE_SIZE);
		CHECK_INT(cmk_page_open(other, work, i, CMK_FORK_MAIN, i % 2),
				  CMK_OPEN_NOT_SANE);
		CHECK_MEM(work, sealed, CMK_PAGE_SIZE);
	}
	cmk_xts_free(other);
}

static void
a_wrong_place_leaves_the_page_alone(void)
{
	make_page(plain, 0);
	CHECK_INT(cmk_page_seal(x, sealed, plain, 5, CMK_FORK_MAIN, 3, false), 0);
	memcpy(work, sealed, CMK_PAGE_SIZE);
	CHECK_INT(cmk_page_open(x, work, 6, CMK_FORK_MAIN, false),
			  CMK_OPEN_NOT_SANE);
	CHECK_MEM(work, sealed, CMK_PAGE_SIZE);
	CHECK_INT(cmk_page_open(x, work, 5, CMK_FORK_VM, false),
			  CMK_OPEN_NOT_SANE);
	CHECK_MEM(work, sealed, CMK_PAGE_SIZE);

	/* with checksums the block is noticed before anything is decrypted */
	CHECK_INT(cmk_page_seal(x, sealed, plain, 5, CMK_FORK_MAIN, 3, true), 0);
	memcpy(work, sealed, CMK_PAGE_SIZE);
	CHECK_INT(cmk_page_open(x, work, 6, CMK_FORK_MAIN, true),
			  CMK_OPEN_BAD_CHECKSUM);
	CHECK_MEM(work, sealed, CMK_PAGE_SIZE);
}

/* Each rule of sanity alone refuses a page that was sealed insane. */
static void
insane_pages_are_not_opened(void)
{
	static const struct
	{
		int			offset;
		unsigned	value;
		CmkOpenResult result;
	}			cases[] = {
		{18, 0x2004, CMK_OPEN_OK},
		{18, 0x2003, CMK_OPEN_NOT_SANE},	/* version */
		{18, 0x4004, CMK_OPEN_NOT_SANE},	/* size */
		{16, 0x2000, CMK_OPEN_OK},
		{16, 0x1000, CMK_OPEN_OK},	/* = pd_upper */
		{16, 0x0ff8, CMK_OPEN_NOT_SANE},	/* below pd_upper */
		{16, 0x2008, CMK_OPEN_NOT_SANE},	/* beyond the page */
		{16, 0x1ffc, CMK_OPEN_NOT_SANE},	/* not aligned */
		{16, 0x1ff8, CMK_OPEN_OK},
	};
	size_t		i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		make_page(plain, 0);
		put16(plain, cases[i].offset, cases[i].value);
		CHECK_INT(cmk_page_seal(x, sealed, plain, 5, CMK_FORK_MAIN, 3, false), 0);
		memcpy(work, sealed, CMK_PAGE_SIZE);
		if (cmk_page_open(x, work, 5, CMK_FORK_MAIN, false) != cases[i].result)
			unit_fail(__FILE__, __LINE__, "case %zu", i);
		CHECK_MEM(work, cases[i].result == CMK_OPEN_OK ? plain : sealed,
				  CMK_PAGE_SIZE);
	}
}

static void
nothing_need_be_aligned(void)
{
	uint8_t		in[CMK_PAGE_SIZE + 8];
	uint8_t		out[CMK_PAGE_SIZE + 8];
	int			shift;

	make_page(plain, 0);
	put16(plain, 8, checksum_by_description(plain, 2));
	CHECK_INT(cmk_page_seal(x, sealed, plain, 2, CMK_FORK_VM, 1, true), 0);
	for (shift = 1; shift < 8; shift++)
	{
		memcpy(in + shift, plain, CMK_PAGE_SIZE);
		CHECK_INT(cmk_page_seal(x, out + 8 - shift, in + shift, 2, CMK_FORK_VM,
								1, true), 0);
		CHECK_MEM(out + 8 - shift, sealed, CMK_PAGE_SIZE);
		CHECK_MEM(in + shift, plain, CMK_PAGE_SIZE);
		CHECK_INT(cmk_page_open(x, out + 8 - shift, 2, CMK_FORK_VM, true),
				  CMK_OPEN_OK);
		CHECK_MEM(out + 8 - shift, plain, CMK_PAGE_SIZE);
	}
}

static void
without_a_key_nothing_is_written(void)
{
	CmkXts	   *empty = cmk_xts_new();

	make_page(plain, 0);
	CHECK_INT(cmk_page_seal(x, sealed, plain, 2, CMK_FORK_MAIN, 1, true), 0);
	memcpy(work, zero_page, CMK_PAGE_SIZE);
	CHECK_INT(cmk_page_seal(empty, work, plain, 2, CMK_FORK_MAIN, 1, true), -1);
	CHECK_MEM(work, zero_page, CMK_PAGE_SIZE);
	CHECK_INT(cmk_page_open(empty, sealed, 2, CMK_FORK_MAIN, true),
			  CMK_OPEN_CRYPTO);
	cmk_xts_free(empty);
}

/*
 * A page that changes while it is sealed: another thread changes the LSN, a
 * hint bit of the head and a byte of the body all the time, as other backends
 * do with a buffer that is being written.
 */
static union
{
	uint8_t		bytes[CMK_PAGE_SIZE];
	uint64_t	lsn;
}			shared_page;
static int	stop_changing;

#define LSN_A	UINT64_C(0x0000000100000001)
#define LSN_B	UINT64_C(0x7766554433221100)
#define HINT	5000

static void *
change_the_page(void *arg)
{
	unsigned	n = 0;

	while (!__atomic_load_n(&stop_changing, __ATOMIC_RELAXED))
	{
		n++;
		__atomic_store_n(&shared_page.lsn, n & 1 ? LSN_A : LSN_B,
						 __ATOMIC_RELAXED);
		__atomic_store_n(&shared_page.bytes[10], n & 2 ? 5 : 4,
						 __ATOMIC_RELAXED);
		__atomic_store_n(&shared_page.bytes[HINT], n & 4 ? 1 : 0,
						 __ATOMIC_RELAXED);
	}
	return arg;
}

static void
a_page_may_change_while_it_is_sealed(void)
{
	pthread_t	thread;
	bool		seen_a = false;
	bool		seen_b = false;
	long		n;
	const char *why = NULL;

	make_page(shared_page.bytes, 0);
	shared_page.lsn = LSN_A;
	shared_page.bytes[HINT] = 0;
	make_page(plain, 0);
	stop_changing = 0;
	CHECK_INT(pthread_create(&thread, NULL, change_the_page, NULL), 0);

	/* as long as it takes to have met both, but not for ever */
	for (n = 0; why == NULL && (n < 5000 || !(seen_a && seen_b)); n++)
	{
		uint64_t	lsn;

		if (cmk_page_seal(x, work, shared_page.bytes, 1, CMK_FORK_MAIN, 0,
						  true) != 0)
			why = "seal";
		memcpy(&lsn, work, sizeof(lsn));
		seen_a |= lsn == LSN_A;
		seen_b |= lsn == LSN_B;
		if (lsn != LSN_A && lsn != LSN_B)
			why = "LSN";
		else if (cmk_page_open(x, work, 1, CMK_FORK_MAIN, true) != CMK_OPEN_OK)
			why = "open";
		else if ((work[10] | 1) != 5 || work[HINT] > 1)
			why = "hint bit";
		else if (unit_differ(work + 11, plain + 11, HINT - 11) >= 0 ||
				 unit_differ(work + HINT + 1, plain + HINT + 1,
							 CMK_PAGE_SIZE - HINT - 1) >= 0)
			why = "content";
		else if (n > 5000000)
			why = "the other thread never ran";
	}
	__atomic_store_n(&stop_changing, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	CHECK_STR(why != NULL ? why : "", "");
}

int
main(void)
{
	int			i;

	for (i = 0; i < CMK_XTS_KEY_SIZE; i++)
		key[i] = (uint8_t) i;
	x = cmk_xts_new();
	if (x == NULL || cmk_xts_set_key(x, key) != 0)
		return 1;

	RUN(stored_example);
	RUN(round_trip_at_blocks_and_forks);
	RUN(the_clear_head_is_kept);
	RUN(kinds_of_pages);
	RUN(kinds_by_the_head);
	RUN(generations);
	RUN(the_tweak_is_lsn_block_and_fork);
	RUN(the_init_fork_counts_as_main);
	RUN(a_wrong_key_leaves_the_page_alone);
	RUN(a_wrong_place_leaves_the_page_alone);
	RUN(insane_pages_are_not_opened);
	RUN(nothing_need_be_aligned);
	RUN(without_a_key_nothing_is_written);
	RUN(a_page_may_change_while_it_is_sealed);
	cmk_xts_free(x);
	return unit_done();
}
