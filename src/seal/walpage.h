/*
 * walpage.h
 *	  The sealed WAL page.
 *
 * A page of 8192 bytes keeps its first 16 bytes clear (xlp_magic, xlp_info,
 * xlp_tli, xlp_pageaddr); the other 8176 are one AES-256-XTS data unit.  Bit 15 of
 * xlp_info says "sealed", bits 11-14 hold the number of the root key modulo 16; the
 * server itself defines only bits 0-3.  The tweak is xlp_pageaddr (8 bytes) and
 * xlp_tli (4 bytes) as they stand in the page, and four zero bytes.  The first page
 * of a segment has a long header, of which bytes 24-39 (system identifier, segment
 * and page size) stay clear too: bytes 16-23 and 40-8191 are then the data unit.
 * An all-zero page stays as it is.
 *
 *		cmk_walpage_head(page, &head);
 *		if (head.info & CMK_XLP_SEALED)
 *			switch (cmk_walpage_open(x, page)) …
 *
 * Nothing here allocates; all may be called in a critical section.
 * docs/formats.md has the layout; t/unit/test_walpage.c a stored example.
 */
#ifndef CMK_WALPAGE_H
#define CMK_WALPAGE_H

#include "page.h"
#include "xts.h"

#define CMK_XLP_SEALED		0x8000	/* bit 15 of xlp_info */
#define CMK_XLP_GEN_SHIFT	11
#define CMK_XLP_GEN_MASK	0x7800	/* bits 11-14 */

/* The server's own bits that matter here (access/xlog_internal.h). */
#define CMK_XLP_CONTRECORD	0x0001
#define CMK_XLP_LONG_HEADER	0x0002

typedef struct CmkWalHead
{
	uint16_t	magic;
	uint16_t	info;
	uint32_t	tli;
	uint64_t	pageaddr;
} CmkWalHead;

/* The first CMK_PAGE_HEAD bytes of a page, sealed or plain, each read once. */
extern void cmk_walpage_head(const void *page, CmkWalHead *head);

/* The number of the root modulo 16 that a sealed page carries. */
static inline unsigned
cmk_walpage_generation(const CmkWalHead *head)
{
	return (head->info & CMK_XLP_GEN_MASK) >> CMK_XLP_GEN_SHIFT;
}

/* Is every byte of the page zero? */
extern bool cmk_walpage_is_zero(const void *page);

/*
 * Writes the sealed form of src (plain, 8192 bytes, with a page header) to dst,
 * which must not overlap it.  Others may append to src meanwhile.  0, or -1 if the
 * cipher failed.
 */
extern int	cmk_walpage_seal(CmkXts *x, void *dst, const void *src,
							 unsigned generation);

/*
 * Opens a sealed page in place.  xlp_rem_len and the four bytes of padding behind
 * it must then be sane, which a wrong key does not survive (the chance is 2^-64, or
 * 2^-33 for a page that begins with the rest of a record); if they are not, the
 * page is left as it was.  CMK_OPEN_OK, CMK_OPEN_NOT_SANE or CMK_OPEN_CRYPTO.  An
 * opened page carries neither mark nor generation.
 */
extern CmkOpenResult cmk_walpage_open(CmkXts *x, void *page);

/*
 * Takes mark and generation from the head of a page, and leaves its body sealed: for
 * one that nobody is to open, so that the server judges it by the rest of its head.
 */
extern void cmk_walpage_unmark(void *page);

#endif							/* CMK_WALPAGE_H */
