/*
 * test_checksum.c
 *	  Data checksums of sealed and of opened pages.
 */
#include <sys/mman.h>

#include "page_example.h"

static CmkXts *x;
static uint8_t plain[CMK_PAGE_SIZE];
static uint8_t sealed[CMK_PAGE_SIZE];
static uint8_t work[CMK_PAGE_SIZE];

static unsigned
checksum_of(const uint8_t *p)
{
	return p[8] | p[9] << 8;
}

static void
checksums_of_sealed_and_opened_pages(void)
{
	/* what stands in pd_checksum before sealing does not matter */
	make_page(plain, 0xbeef);
	CHECK_INT(cmk_page_seal(x, sealed, plain, 9, CMK_FORK_MAIN, 3, true), 0);
	CHECK_INT(checksum_of(sealed), checksum_by_description(sealed, 9));
	CHECK_INT(cmk_page_open(x, sealed, 9, CMK_FORK_MAIN, true), CMK_OPEN_OK);
	CHECK_INT(checksum_of(sealed), checksum_by_description(plain, 9));
	CHECK_MEM(sealed + 10, plain + 10, CMK_PAGE_SIZE - 10);

	/* switched off, the field is left as it is, both ways */
	CHECK_INT(cmk_page_seal(x, sealed, plain, 9, CMK_FORK_MAIN, 3, false), 0);
	CHECK_INT(checksum_of(sealed), 0xbeef);
	CHECK_INT(cmk_page_open(x, sealed, 9, CMK_FORK_MAIN, false), CMK_OPEN_OK);
	CHECK_INT(checksum_of(sealed), 0xbeef);

	/* sealed with them on, opened with them off, and sealed again */
	CHECK_INT(cmk_page_seal(x, sealed, plain, 9, CMK_FORK_MAIN, 3, true), 0);
	CHECK_INT(cmk_page_open(x, sealed, 9, CMK_FORK_MAIN, false), CMK_OPEN_OK);
	CHECK_MEM(sealed + 10, plain + 10, CMK_PAGE_SIZE - 10);
}

static void
checksum_is_the_servers(void)
{
	static const uint32_t blocks[] = {0, 1, 0x12345678, 0xfffffffe};
	uint8_t		shifted[CMK_PAGE_SIZE + 8];
	uint8_t    *map;
	size_t		b;
	int			shift;

	make_page(plain, 0x4711);
	memcpy(work, plain, CMK_PAGE_SIZE);
	for (b = 0; b < sizeof(blocks) / sizeof(blocks[0]); b++)
	{
		unsigned	want = checksum_by_description(plain, blocks[b]);

		for (shift = 0; shift < 8; shift++)
		{
			memcpy(shifted + shift, plain, CMK_PAGE_SIZE);
			CHECK_INT(cmk_page_checksum(shifted + shift, blocks[b]), want);
			CHECK_INT(cmk_page_checksum_private(shifted + shift, blocks[b]),
					  want);
			CHECK_MEM(shifted + shift, plain, CMK_PAGE_SIZE);
		}
	}

	/* const means const */
	map = mmap(NULL, CMK_PAGE_SIZE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(map != MAP_FAILED);
	memcpy(map, plain, CMK_PAGE_SIZE);
	CHECK_INT(mprotect(map, CMK_PAGE_SIZE, PROT_READ), 0);
	CHECK_INT(cmk_page_checksum(map, 3), checksum_by_description(plain, 3));
	munmap(map, CMK_PAGE_SIZE);

	/* a page that the server calls new (pd_upper 0) has one as well */
	put16(plain, 14, 0);
	CHECK_INT(cmk_page_checksum(plain, 3), checksum_by_description(plain, 3));
}

static void
damage_is_found_by_the_checksum(void)
{
	int			byte;
	uint8_t		damaged[CMK_PAGE_SIZE];

	make_page(plain, 0);
	CHECK_INT(cmk_page_seal(x, sealed, plain, 5, CMK_FORK_MAIN, 3, true), 0);
	for (byte = 0; byte < CMK_PAGE_SIZE; byte += 5)
	{
		memcpy(work, sealed, CMK_PAGE_SIZE);
		work[byte] ^= 0x04;
		memcpy(damaged, work, CMK_PAGE_SIZE);
		CHECK_INT(cmk_page_open(x, work, 5, CMK_FORK_MAIN, true),
				  CMK_OPEN_BAD_CHECKSUM);
		CHECK_MEM(work, damaged, CMK_PAGE_SIZE);
	}
}

int
main(void)
{
	static const uint8_t key[CMK_XTS_KEY_SIZE] = {1, 2, 3};

	x = cmk_xts_new();
	if (x == NULL || cmk_xts_set_key(x, key) != 0)
		return 1;
	RUN(checksum_is_the_servers);
	RUN(checksums_of_sealed_and_opened_pages);
	RUN(damage_is_found_by_the_checksum);
	cmk_xts_free(x);
	return unit_done();
}
