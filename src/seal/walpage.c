/*
 * walpage.c
 *	  Sealing and opening WAL pages.  See walpage.h.
 *
 * A WAL page is written again and again as it fills, and others append to it while
 * it is being written.  Under the same key and tweak the blocks that did not
 * change come out as they were, so a torn write of old and new sectors is what it
 * is without sealing.  The head does not change once the page is there; it is
 * copied once all the same, so that the tweak is the one that stands in the page.
 */
#include <string.h>

#include "pagehead.h"
#include "walpage.h"

/* Where the server's headers (access/xlog_internal.h) have their fields. */
#define XLP_MAGIC		0
#define XLP_INFO		2
#define XLP_TLI			4
#define XLP_PAGEADDR	8
#define XLP_REM_LEN		16
#define XLP_PADDING		20
#define XLP_SYSID		24		/* of a long header: clear from here … */
#define XLP_LONG_END	40		/* … to here */

/* A long header's 8 sealed bytes stand here while they join the rest. */
#define GATHERED		(XLP_LONG_END - (XLP_SYSID - CMK_PAGE_HEAD))
#define LONG_UNIT		(CMK_PAGE_SIZE - GATHERED)

#define MAX_REM_LEN		(1u << 30)	/* no record is longer */

_Static_assert(LONG_UNIT % 16 == 0 && CMK_PAGE_BODY % 16 == 0,
			   "no ciphertext stealing");

static inline uint32_t
get32(const uint8_t *p, size_t offset)
{
	uint32_t	v;

	memcpy(&v, p + offset, sizeof(v));
	return v;
}

static void
make_tweak(uint8_t tweak[CMK_XTS_TWEAK_SIZE], const uint8_t head[CMK_PAGE_HEAD])
{
	memset(tweak, 0, CMK_XTS_TWEAK_SIZE);
	memcpy(tweak, head + XLP_PAGEADDR, 8);
	memcpy(tweak + 8, head + XLP_TLI, 4);
}

/*
 * The 8 bytes before the clear part of a long header go to its end, where they
 * join what follows; what stood there is kept.  And back.
 */
static void
gather(uint8_t *page, uint8_t clear[16])
{
	memcpy(clear, page + XLP_SYSID, 16);
	memcpy(page + GATHERED, page + CMK_PAGE_HEAD, 8);
}

static void
scatter(uint8_t *page, const uint8_t clear[16])
{
	memcpy(page + CMK_PAGE_HEAD, page + GATHERED, 8);
	memcpy(page + XLP_SYSID, clear, 16);
}

static int
encrypt_long(CmkXts *x, const uint8_t *tweak, uint8_t *page)
{
	uint8_t		clear[16];
	int			result;

	gather(page, clear);
	result = cmk_xts_encrypt(x, tweak, page + GATHERED, page + GATHERED, LONG_UNIT);
	scatter(page, clear);
	return result;
}

static int
decrypt_long(CmkXts *x, const uint8_t *tweak, uint8_t *page)
{
	uint8_t		clear[16];
	int			result;

	gather(page, clear);
	result = cmk_xts_decrypt(x, tweak, page + GATHERED, page + GATHERED, LONG_UNIT);
	scatter(page, clear);
	return result;
}

static bool
is_sane(const uint8_t *page)
{
	uint32_t	rem_len = get32(page, XLP_REM_LEN);

	if (get32(page, XLP_PADDING) != 0)
		return false;
	if (cmk_head_get16(page, XLP_INFO) & CMK_XLP_CONTRECORD)
		return rem_len <= MAX_REM_LEN;
	return rem_len == 0;
}

void
cmk_walpage_head(const void *page, CmkWalHead *head)
{
	uint8_t		copy[CMK_PAGE_HEAD];

	cmk_head_copy(copy, page);
	head->magic = cmk_head_get16(copy, XLP_MAGIC);
	head->info = cmk_head_get16(copy, XLP_INFO);
	head->tli = get32(copy, XLP_TLI);
	memcpy(&head->pageaddr, copy + XLP_PAGEADDR, sizeof(head->pageaddr));
}

bool
cmk_walpage_is_zero(const void *page)
{
	return cmk_is_zero(page, CMK_PAGE_SIZE);
}

int
cmk_walpage_seal(CmkXts *x, void *dst, const void *src, unsigned generation)
{
	uint8_t    *out = dst;
	const uint8_t *in = src;
	uint8_t		head[CMK_PAGE_HEAD];
	uint8_t		tweak[CMK_XTS_TWEAK_SIZE];
	uint16_t	info;

	cmk_head_copy(head, in);
	make_tweak(tweak, head);
	info = cmk_head_get16(head, XLP_INFO) & ~(CMK_XLP_SEALED | CMK_XLP_GEN_MASK);
	info |= CMK_XLP_SEALED;
	info |= (generation << CMK_XLP_GEN_SHIFT) & CMK_XLP_GEN_MASK;
	cmk_head_put16(head, XLP_INFO, info);

	if (info & CMK_XLP_LONG_HEADER)
	{
		memcpy(out + CMK_PAGE_HEAD, in + CMK_PAGE_HEAD, CMK_PAGE_BODY);
		if (encrypt_long(x, tweak, out) < 0)
			return -1;
	}
	else if (cmk_xts_encrypt(x, tweak, out + CMK_PAGE_HEAD, in + CMK_PAGE_HEAD,
							 CMK_PAGE_BODY) < 0)
		return -1;
	memcpy(out, head, CMK_PAGE_HEAD);
	return 0;
}

CmkOpenResult
cmk_walpage_open(CmkXts *x, void *page)
{
	uint8_t    *p = page;
	uint8_t    *body = p + CMK_PAGE_HEAD;
	uint8_t		tweak[CMK_XTS_TWEAK_SIZE];
	bool		is_long = (cmk_head_get16(p, XLP_INFO) & CMK_XLP_LONG_HEADER) != 0;

	make_tweak(tweak, p);
	if ((is_long ? decrypt_long(x, tweak, p) :
		 cmk_xts_decrypt(x, tweak, body, body, CMK_PAGE_BODY)) < 0)
		return CMK_OPEN_CRYPTO;

	if (!is_sane(p))
	{
		if ((is_long ? encrypt_long(x, tweak, p) :
			 cmk_xts_encrypt(x, tweak, body, body, CMK_PAGE_BODY)) < 0)
			return CMK_OPEN_CRYPTO;
		return CMK_OPEN_NOT_SANE;
	}
	cmk_walpage_unmark(p);
	return CMK_OPEN_OK;
}

void
cmk_walpage_unmark(void *page)
{
	cmk_head_put16(page, XLP_INFO,
				   cmk_head_get16(page, XLP_INFO) & ~(CMK_XLP_SEALED | CMK_XLP_GEN_MASK));
}
