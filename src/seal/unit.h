/*
 * unit.h
 *	  A sealed file of any length: its head, its units, and where each begins.
 *
 * Temporary files are written at any offset and length, so they have no pages
 * with room for a mark.  A sealed one is a head of 8192 bytes and behind it as
 * many bytes as the plain file has, cut into units of 4096 that are sealed each by
 * itself with AES-256-XTS:
 *
 *		0		8192	12288			16384
 *		| head	| unit 0 | unit 1 …		| … the last one |
 *
 * The head is as long as the server's blocks, so that these stay where the file
 * system likes to have them: behind 4096 bytes each write of one took a fourth longer.
 *
 * XTS takes no unit shorter than 16 bytes.  A rest of 1 to 15 bytes therefore
 * belongs to the unit before it, so the last unit has 16 to 4111 bytes, and is
 * sealed with ciphertext stealing where that is no multiple of 16.  Only a file of
 * less than 16 bytes altogether has no unit at all: its content stands in the
 * head, padded with zeros and sealed, and zeros in its own place.  So a file is
 * always 8192 bytes longer than what is in it, whatever its length.
 *
 * A unit that is all zero on disk stands for zeros: a hole that was never written.
 *
 * The tweak is a random number that the head carries and the unit's number, so no
 * two files share one, whatever their names.  Plain C, no allocation.
 */
#ifndef CMK_UNIT_FILE_H
#define CMK_UNIT_FILE_H

#include "xts.h"

#define CMK_UNIT_SIZE		4096
#define CMK_UNIT_MIN		16
#define CMK_UNIT_MAX		(CMK_UNIT_SIZE + CMK_UNIT_MIN - 1)

#define CMK_UNIT_HEAD		8192	/* what a file is longer than its content */
#define CMK_UNIT_HEAD_USED	64		/* the rest of the head is zero */
#define CMK_UNIT_SHORT_AT	32		/* where content below 16 bytes stands */

typedef struct CmkUnitHead
{
	uint64_t	nonce;
	uint32_t	root_id;		/* whose key it is; 0: the ephemeral one's */
} CmkUnitHead;

typedef enum CmkHeadKind
{
	CMK_HEAD_NONE,				/* not the head of a sealed file */
	CMK_HEAD_OK,
	CMK_HEAD_FOREIGN			/* sealed, but not under this key */
} CmkHeadKind;

/* The number of the last unit of a file of this length; 0 if it has none. */
static inline uint64_t
cmk_unit_last(uint64_t length)
{
	return length < CMK_UNIT_MIN ? 0 : (length - CMK_UNIT_MIN) / CMK_UNIT_SIZE;
}

/* How many bytes unit n of such a file has; n is not above the last. */
static inline size_t
cmk_unit_length(uint64_t n, uint64_t length)
{
	return n < cmk_unit_last(length) ? CMK_UNIT_SIZE :
		(size_t) (length - n * CMK_UNIT_SIZE);
}

/* Which unit has the byte at off. */
static inline uint64_t
cmk_unit_at(uint64_t off, uint64_t length)
{
	uint64_t	n = off / CMK_UNIT_SIZE;
	uint64_t	last = cmk_unit_last(length);

	return n < last ? n : last;
}

/*
 * Writes the CMK_UNIT_HEAD_USED bytes of a head, of an empty file.  0, or -1 if the
 * cipher failed.
 */
extern int	cmk_unit_head_write(CmkXts *x, const CmkUnitHead *head, uint8_t *buf);

/*
 * What root_id and nonce a head of CMK_UNIT_HEAD_USED bytes has; false: it is none.
 */
extern bool cmk_unit_head_read(const uint8_t *buf, CmkUnitHead *head);

/* Whether x has the key of a head that was read from buf. */
extern CmkHeadKind cmk_unit_head_check(CmkXts *x, const CmkUnitHead *head,
									   const uint8_t *buf);

/*
 * Seal and open unit n, of 16 to CMK_UNIT_MAX bytes.  dst and src may be the same.
 * Opening what is all zero gives zeros.  0, or -1 if the cipher failed.
 */
extern int	cmk_unit_seal(CmkXts *x, uint64_t nonce, uint64_t n,
						  uint8_t *dst, const uint8_t *src, size_t len);
extern int	cmk_unit_open(CmkXts *x, uint64_t nonce, uint64_t n,
						  uint8_t *dst, const uint8_t *src, size_t len);

/* The same for the 16 bytes of the head that are the content of a short file. */
extern int	cmk_unit_seal_short(CmkXts *x, uint64_t nonce,
								uint8_t dst[CMK_UNIT_MIN],
								const uint8_t src[CMK_UNIT_MIN]);
extern int	cmk_unit_open_short(CmkXts *x, uint64_t nonce,
								uint8_t dst[CMK_UNIT_MIN],
								const uint8_t src[CMK_UNIT_MIN]);

#endif							/* CMK_UNIT_FILE_H */
