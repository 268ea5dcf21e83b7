/*
 * page.h
 *	  The sealed data page.
 *
 * A page of 8192 bytes keeps its first 16 bytes clear (pd_lsn, pd_checksum,
 * pd_flags, pd_lower, pd_upper); the other 8176 are one AES-256-XTS data unit.
 * Bit 15 of pd_flags says "sealed", bits 11-14 hold the DEK's generation modulo
 * 16, bit 10 is a mark for the sealing job; the server itself defines only bits
 * 0-2.  The tweak is pd_lsn (8 bytes as they stand in the page), the block number
 * (4 bytes, little-endian), the fork (1 byte, init counted as main) and three zero
 * bytes.  An all-zero page stays as it is.  With data checksums on, pd_checksum of a sealed page is the
 * server's checksum of the sealed page, so that tools which read files find
 * nothing wrong; an opened page has its plain checksum again.
 *
 *		switch (cmk_page_kind(page))
 *		case CMK_PAGE_SEALED:
 *			switch (cmk_page_open(x, page, block, fork, checksums)) …
 *
 * docs/formats.md has the layout; t/unit/test_page.c a stored example.
 */
#ifndef CMK_PAGE_H
#define CMK_PAGE_H

#include "xts.h"

#define CMK_PAGE_SIZE		8192
#define CMK_PAGE_HEAD		16
#define CMK_PAGE_BODY		(CMK_PAGE_SIZE - CMK_PAGE_HEAD)

#define CMK_PD_SEALED		0x8000	/* bit 15 of pd_flags */
#define CMK_PD_GEN_SHIFT	11
#define CMK_PD_GEN_MASK		0x7800	/* bits 11-14 */
#define CMK_PD_UNMET		0x0400	/* bit 10: the job has not met it */

/* With a generation: the page gets that mark. */
#define CMK_PAGE_UNMET		0x10000

/* Fork numbers as the server counts them (common/relpath.h). */
#define CMK_FORK_MAIN		0
#define CMK_FORK_FSM		1
#define CMK_FORK_VM			2
#define CMK_FORK_INIT		3

typedef enum CmkPageKind
{
	CMK_PAGE_ZERO,				/* all 8192 bytes are zero */
	CMK_PAGE_PLAIN,
	CMK_PAGE_SEALED
} CmkPageKind;

typedef enum CmkOpenResult
{
	CMK_OPEN_OK,
	CMK_OPEN_BAD_CHECKSUM,		/* untouched: the server reports it */
	CMK_OPEN_NOT_SANE,			/* wrong key, or damaged: untouched */
	CMK_OPEN_CRYPTO				/* OpenSSL failed; content undefined */
} CmkOpenResult;

/* What a page of 8192 bytes is, by its mark alone. */
extern CmkPageKind cmk_page_kind(const void *page);

/*
 * The same by the first CMK_PAGE_HEAD bytes alone: zero says that these are, as
 * they are in no page that was ever initialised.
 */
extern CmkPageKind cmk_page_head_kind(const void *head);

/* Generation modulo 16 that a sealed page carries, and whether it has the mark. */
extern unsigned cmk_page_generation(const void *page);
extern bool cmk_page_is_unmet(const void *page);

/* pd_lsn, as the server's XLogRecPtr. */
extern uint64_t cmk_page_lsn(const void *page);

/*
 * Writes the sealed form of src (plain, 8192 bytes, not all zero) to dst, which
 * must not overlap it and need not be aligned.  The head of src is read once:
 * others may set hint bits in it meanwhile.  block is the number within the
 * fork, counted over all segments; generation may have CMK_PAGE_UNMET.  0, or -1 if
 * the cipher failed.  No allocation; may be called in a critical section.
 */
extern int	cmk_page_seal(CmkXts *x, void *dst, const void *src,
						  uint32_t block, unsigned fork,
						  unsigned generation, bool checksums);

/*
 * Opens a sealed page in place.  With checksums, the sealed checksum is verified
 * first.  After opening, pd_pagesize_version and pd_special must be sane, which
 * a wrong key does not survive (the chance is below 2^-21, and 2^-32 for a page
 * without special space and tuples); if they are not, the page is sealed back
 * and left as it was.  An opened page carries neither
 * mark nor generation, and its plain checksum if checksums is set.
 */
extern CmkOpenResult cmk_page_open(CmkXts *x, void *page,
								   uint32_t block, unsigned fork,
								   bool checksums);

/*
 * The server's page checksum (storage/checksum_impl.h), of page as it stands;
 * pd_checksum is taken as zero.  block as above.
 */
extern uint16_t cmk_page_checksum(const void *page, uint32_t block);

/*
 * The same without a copy, for a page that nobody else reads or writes
 * meanwhile: pd_checksum is zero for a moment, and the old one on return.
 */
extern uint16_t cmk_page_checksum_private(void *page, uint32_t block);

#endif							/* CMK_PAGE_H */
