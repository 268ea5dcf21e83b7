/*
 * page.c
 *	  Sealing and opening data pages.  See page.h.
 *
 * This is the path of every page between shared buffers and the disk, so it
 * does no more than it must: sealing is one pass of XTS from the caller's page
 * to the destination, and with data checksums one pass over the result;
 * opening is the same backwards, in place.  Nothing is allocated or locked.
 *
 * A page that is being written may change while we read it.  The server holds
 * it only shared, and others set hint bits, with wal_log_hints even the LSN, in
 * that time.  A changed body is harmless: each 16-byte block is read once, with
 * the bit or without.  A changed head is not: the LSN that stands in the sealed
 * page must be the one that went into the tweak.  So the head is copied once,
 * and everything is taken from the copy.
 */
#include <string.h>

#include "page.h"
#include "pagehead.h"

/* Where the server's PageHeaderData (storage/bufpage.h) has its fields. */
#define PD_LSN				0
#define PD_CHECKSUM			8
#define PD_FLAGS			10
#define PD_UPPER			14
#define PD_SPECIAL			16
#define PD_PAGESIZE_VERSION	18

#define OUR_FLAGS			(CMK_PD_SEALED | CMK_PD_GEN_MASK | CMK_PD_UNMET)

#define PAGE_LAYOUT_VERSION	4	/* since PostgreSQL 8.3 */
#define MAXIMUM_ALIGNOF		8

static void
make_tweak(uint8_t tweak[CMK_XTS_TWEAK_SIZE],
		   const uint8_t head[CMK_PAGE_HEAD], uint32_t block, unsigned fork)
{
	memcpy(tweak, head + PD_LSN, 8);
	tweak[8] = (uint8_t) block;
	tweak[9] = (uint8_t) (block >> 8);
	tweak[10] = (uint8_t) (block >> 16);
	tweak[11] = (uint8_t) (block >> 24);
	/* resetting an unlogged table copies its init fork over its main fork */
	tweak[12] = (uint8_t) (fork == CMK_FORK_INIT ? CMK_FORK_MAIN : fork);
	tweak[13] = 0;
	tweak[14] = 0;
	tweak[15] = 0;
}

/* As PageIsVerifiedExtended() tests it, and the page's size and version. */
static bool
is_sane(const uint8_t *page)
{
	uint16_t	upper = cmk_head_get16(page, PD_UPPER);
	uint16_t	special = cmk_head_get16(page, PD_SPECIAL);

	return cmk_head_get16(page, PD_PAGESIZE_VERSION) ==
		(CMK_PAGE_SIZE | PAGE_LAYOUT_VERSION) &&
		special % MAXIMUM_ALIGNOF == 0 &&
		special <= CMK_PAGE_SIZE &&
		special >= upper;
}

CmkPageKind
cmk_page_kind(const void *page)
{
	if (cmk_head_get16(page, PD_FLAGS) & CMK_PD_SEALED)
		return CMK_PAGE_SEALED;
	return cmk_is_zero(page, CMK_PAGE_SIZE) ? CMK_PAGE_ZERO : CMK_PAGE_PLAIN;
}

CmkPageKind
cmk_page_head_kind(const void *head)
{
	if (cmk_head_get16(head, PD_FLAGS) & CMK_PD_SEALED)
		return CMK_PAGE_SEALED;
	return cmk_is_zero(head, CMK_PAGE_HEAD) ? CMK_PAGE_ZERO : CMK_PAGE_PLAIN;
}

unsigned
cmk_page_generation(const void *page)
{
	return (cmk_head_get16(page, PD_FLAGS) & CMK_PD_GEN_MASK) >> CMK_PD_GEN_SHIFT;
}

bool
cmk_page_is_unmet(const void *page)
{
	return (cmk_head_get16(page, PD_FLAGS) & CMK_PD_UNMET) != 0;
}

uint64_t
cmk_page_lsn(const void *page)
{
	uint32_t	half[2];

	memcpy(half, (const uint8_t *) page + PD_LSN, sizeof(half));
	return (uint64_t) half[0] << 32 | half[1];
}

int
cmk_page_seal(CmkXts *x, void *dst, const void *src, uint32_t block,
			  unsigned fork, unsigned generation, bool checksums)
{
	uint8_t    *out = dst;
	const uint8_t *in = src;
	uint8_t		head[CMK_PAGE_HEAD];
	uint8_t		tweak[CMK_XTS_TWEAK_SIZE];
	uint16_t	flags;

	cmk_head_copy(head, in);
	make_tweak(tweak, head, block, fork);

	flags = cmk_head_get16(head, PD_FLAGS) & ~OUR_FLAGS;
	flags |= generation & CMK_PAGE_UNMET ? CMK_PD_SEALED | CMK_PD_UNMET : CMK_PD_SEALED;
	flags |= (generation << CMK_PD_GEN_SHIFT) & CMK_PD_GEN_MASK;
	cmk_head_put16(head, PD_FLAGS, flags);

	if (cmk_xts_encrypt(x, tweak, out + CMK_PAGE_HEAD, in + CMK_PAGE_HEAD,
						CMK_PAGE_BODY) < 0)
		return -1;
	memcpy(out, head, CMK_PAGE_HEAD);

	if (checksums)
		cmk_head_put16(out, PD_CHECKSUM, cmk_page_checksum_private(out, block));
	return 0;
}

CmkOpenResult
cmk_page_open(CmkXts *x, void *page, uint32_t block, unsigned fork,
			  bool checksums)
{
	uint8_t    *p = page;
	uint8_t    *body = p + CMK_PAGE_HEAD;
	uint8_t		tweak[CMK_XTS_TWEAK_SIZE];
	uint16_t	flags;

	if (checksums &&
		cmk_head_get16(p, PD_CHECKSUM) != cmk_page_checksum_private(p, block))
		return CMK_OPEN_BAD_CHECKSUM;

	make_tweak(tweak, p, block, fork);
	if (cmk_xts_decrypt(x, tweak, body, body, CMK_PAGE_BODY) < 0)
		return CMK_OPEN_CRYPTO;

	if (!is_sane(p))
	{
		/* the head was not touched: this makes the page what it was */
		if (cmk_xts_encrypt(x, tweak, body, body, CMK_PAGE_BODY) < 0)
			return CMK_OPEN_CRYPTO;
		return CMK_OPEN_NOT_SANE;
	}

	flags = cmk_head_get16(p, PD_FLAGS) & ~OUR_FLAGS;
	cmk_head_put16(p, PD_FLAGS, flags);
	if (checksums)
		cmk_head_put16(p, PD_CHECKSUM, cmk_page_checksum_private(p, block));
	return CMK_OPEN_OK;
}
