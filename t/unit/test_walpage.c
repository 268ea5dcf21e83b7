/*
 * test_walpage.c
 *	  The sealed WAL page: its format byte by byte, and how it is opened.
 */
#include <openssl/evp.h>

#include "evp_xts.h"
#include "walpage_example.h"

#define SEGMENT		(1024 * 1024)
#define ADDR		UINT64_C(0x0000001a2b300000)	/* a segment's first page */

static CmkXts *x;
static uint8_t key[CMK_XTS_KEY_SIZE];
static uint8_t plain[CMK_PAGE_SIZE];
static uint8_t sealed[CMK_PAGE_SIZE];
static uint8_t work[CMK_PAGE_SIZE];
static uint8_t want[CMK_PAGE_SIZE];

static const uint8_t tweak_first[16] = {
	0, 0, 0x30, 0x2b, 0x1a, 0, 0, 0,	/* xlp_pageaddr */
	7, 0, 0, 0,							/* xlp_tli */
	0, 0, 0, 0
};

static int
check_sha256(const uint8_t *page, const char *hex)
{
	uint8_t		hash[32];
	char		got[65];
	int			i;

	EVP_Digest(page, CMK_PAGE_SIZE, hash, NULL, EVP_sha256(), NULL);
	for (i = 0; i < 32; i++)
		snprintf(got + 2 * i, 3, "%02x", hash[i]);
	if (strcmp(got, hex) != 0)
		return unit_fail(__FILE__, __LINE__, "SHA-256 is %s, not %s", got, hex);
	return 0;
}

/*
 * The stored examples: key 00 01 … 3f, root 21 (5 modulo 16), timeline 7; the first
 * page of a segment of 1 MB at 1A/2B300000, and the page behind it, which begins with
 * the rest of a record of 4711 bytes.
 */
static void
stored_short_page(void)
{
	uint8_t		tweak[16];

	make_wal_page(plain, ADDR + CMK_PAGE_SIZE, 7, SEGMENT, 4711, 3);
	CHECK_INT(cmk_walpage_seal(x, sealed, plain, 21), 0);

	memcpy(tweak, tweak_first, 16);
	tweak[1] = 0x20;
	memcpy(want, plain, 16);
	want[3] = 0x80 | 5 << 3;
	xts_by_evp(key, tweak, want + 16, plain + 16, 8176);
	CHECK_MEM(sealed, want, CMK_PAGE_SIZE);
	CHECK(check_sha256(sealed, "f3912225339817a44bd03412752ab36e397d2eb7a0e08950d1c03770dd88471f") == 0);
}

static void
stored_long_page(void)
{
	uint8_t		unit[8160];

	make_wal_page(plain, ADDR, 7, SEGMENT, 0, 3);
	CHECK_INT(cmk_walpage_seal(x, sealed, plain, 21), 0);

	memcpy(want, plain, 40);
	want[3] = 0x80 | 5 << 3;
	memcpy(unit, plain + 16, 8);
	memcpy(unit + 8, plain + 40, 8152);
	xts_by_evp(key, tweak_first, unit, unit, 8160);
	memcpy(want + 16, unit, 8);
	memcpy(want + 40, unit + 8, 8152);
	CHECK_MEM(sealed, want, CMK_PAGE_SIZE);
	CHECK(check_sha256(sealed, "70bf6d72b7f222932bec2412bb1d1764d4b5b131883e8932379e9d6de2d15394") == 0);
}

static void
opens_what_it_sealed(void)
{
	int			i;

	for (i = 0; i < 4; i++)
	{
		make_wal_page(plain, ADDR + (i & 1 ? CMK_PAGE_SIZE : 0), 7, SEGMENT,
					  i & 2 ? 100 : 0, (unsigned) i);
		CHECK_INT(cmk_walpage_seal(x, work, plain, (unsigned) i), 0);
		CHECK(memmem(work, CMK_PAGE_SIZE, plain + 64, 16) == NULL);
		CHECK_INT(cmk_walpage_open(x, work), CMK_OPEN_OK);
		CHECK_MEM(work, plain, CMK_PAGE_SIZE);
	}
}

/* What was there before stays as it was: blocks that did not change do not change. */
static void
appending_changes_only_what_is_new(void)
{
	make_wal_page(plain, ADDR + CMK_PAGE_SIZE, 7, SEGMENT, 0, 1);
	memset(plain + 1000, 0, CMK_PAGE_SIZE - 1000);
	CHECK_INT(cmk_walpage_seal(x, sealed, plain, 1), 0);
	memset(plain + 1000, 0x55, 2000);
	CHECK_INT(cmk_walpage_seal(x, work, plain, 1), 0);
	CHECK_MEM(work, sealed, 992);
	CHECK(memcmp(work + 992, sealed + 992, 16) != 0);
	CHECK_MEM(work + 3008, sealed + 3008, CMK_PAGE_SIZE - 3008);
}

static void
notices_a_wrong_key(void)
{
	uint8_t		other[CMK_XTS_KEY_SIZE];
	CmkXts	   *y = cmk_xts_new();
	int			i;

	memcpy(other, key, sizeof(other));
	other[17] ^= 1;
	CHECK(y != NULL);
	CHECK_INT(cmk_xts_set_key(y, other), 0);
	for (i = 0; i < 3; i++)
	{
		make_wal_page(plain, ADDR + (i > 0 ? CMK_PAGE_SIZE : 0), 7, SEGMENT,
					  i > 1 ? 99 : 0, 4);
		CHECK_INT(cmk_walpage_seal(x, sealed, plain, 1), 0);
		memcpy(work, sealed, CMK_PAGE_SIZE);
		CHECK_INT(cmk_walpage_open(y, work), CMK_OPEN_NOT_SANE);
		CHECK_MEM(work, sealed, CMK_PAGE_SIZE);
	}
	cmk_xts_free(y);
}

/* Another place, timeline or first block: the header's own bytes show it. */
static void
notices_tampering(void)
{
	static const int at[] = {4, 8, 9, 16, 20, 23, 31};
	size_t		i;

	make_wal_page(plain, ADDR + CMK_PAGE_SIZE, 7, SEGMENT, 0, 4);
	CHECK_INT(cmk_walpage_seal(x, sealed, plain, 1), 0);
	for (i = 0; i < sizeof(at) / sizeof(at[0]); i++)
	{
		memcpy(work, sealed, CMK_PAGE_SIZE);
		work[at[i]] ^= 0x10;
		memcpy(want, work, CMK_PAGE_SIZE);
		CHECK_INT(cmk_walpage_open(x, work), CMK_OPEN_NOT_SANE);
		CHECK_MEM(work, want, CMK_PAGE_SIZE);
	}
}

static void
knows_zeros(void)
{
	memset(work, 0, CMK_PAGE_SIZE);
	CHECK(cmk_walpage_is_zero(work));
	work[CMK_PAGE_SIZE - 1] = 1;
	CHECK(!cmk_walpage_is_zero(work));
}

static void
reads_heads(void)
{
	CmkWalHead	head;

	make_wal_page(plain, ADDR, 7, SEGMENT, 0, 4);
	cmk_walpage_head(plain, &head);
	CHECK_INT(head.magic, WAL_MAGIC);
	CHECK_INT(head.info, 2);
	CHECK_INT(head.tli, 7);
	CHECK(head.pageaddr == ADDR);
	CHECK_INT(cmk_walpage_seal(x, sealed, plain, 21), 0);
	cmk_walpage_head(sealed, &head);
	CHECK_INT(head.info, 0x8000 | 5 << 11 | 2);
	CHECK_INT(cmk_walpage_generation(&head), 5);
}

int
main(void)
{
	int			i;

	for (i = 0; i < CMK_XTS_KEY_SIZE; i++)
		key[i] = (uint8_t) i;
	x = cmk_xts_new();
	if (x == NULL || cmk_xts_set_key(x, key) < 0)
		return 1;
	RUN(stored_short_page);
	RUN(stored_long_page);
	RUN(opens_what_it_sealed);
	RUN(appending_changes_only_what_is_new);
	RUN(notices_a_wrong_key);
	RUN(notices_tampering);
	RUN(knows_zeros);
	RUN(reads_heads);
	cmk_xts_free(x);
	return unit_done();
}
