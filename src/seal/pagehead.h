/*
 * pagehead.h
 *	  What pages of data and of WAL have in common: fields of 16 bits at fixed places, in
 *	  the server's own byte order, a head that is copied once, and a look for bytes that
 *	  are not zero.
 */
#ifndef CMK_PAGEHEAD_H
#define CMK_PAGEHEAD_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "page.h"

static inline uint16_t
cmk_head_get16(const uint8_t *p, size_t offset)
{
	uint16_t	v;

	memcpy(&v, p + offset, sizeof(v));
	return v;
}

static inline void
cmk_head_put16(uint8_t *p, size_t offset, uint16_t v)
{
	memcpy(p + offset, &v, sizeof(v));
}

/* Copies the head of a page that may be changing.  Each byte is read once. */
static inline void
cmk_head_copy(uint8_t head[CMK_PAGE_HEAD], const uint8_t *page)
{
	memcpy(head, page, CMK_PAGE_HEAD);

	/* the compiler must not go back to the page for what is in the copy */
	__asm__ __volatile__("" : : : "memory");
}

/* Are all n bytes zero?  Ends at the first word that is not. */
static inline bool
cmk_is_zero(const void *buf, size_t n)
{
	const uint8_t *p = buf;
	size_t		i;

	for (i = 0; i + sizeof(uint64_t) <= n; i += sizeof(uint64_t))
	{
		uint64_t	word;

		memcpy(&word, p + i, sizeof(word));
		if (word != 0)
			return false;
	}
	for (; i < n; i++)
		if (p[i] != 0)
			return false;
	return true;
}

#endif							/* CMK_PAGEHEAD_H */
