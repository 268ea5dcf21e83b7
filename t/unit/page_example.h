/*
 * page_example.h
 *	  A data page, and its checksum, as tests need them.
 */
#ifndef CMK_PAGE_EXAMPLE_H
#define CMK_PAGE_EXAMPLE_H

#include "../../src/seal/page.h"
#include "unit.h"

static inline void
put16(uint8_t *p, int offset, unsigned v)
{
	p[offset] = (uint8_t) v;
	p[offset + 1] = (uint8_t) (v >> 8);
}

/*
 * A page as the server writes it, with LSN 1A/2B3C4D5E, all-visible, tuples
 * above 0x1000 and no special space.  pd_checksum is what checksum says.
 */
static inline void
make_page(uint8_t *p, unsigned checksum)
{
	static const uint8_t head[24] = {
		0x1a, 0, 0, 0, 0x5e, 0x4d, 0x3c, 0x2b,
		0, 0, 0x04, 0, 0x40, 0, 0x00, 0x10,
		0x00, 0x20, 0x04, 0x20, 0, 0, 0, 0
	};
	int			i;

	for (i = 0; i < CMK_PAGE_SIZE; i++)
		p[i] = (uint8_t) (i * 7 + (i >> 8) * 13);
	memcpy(p, head, sizeof(head));
	put16(p, 8, checksum);
}

/*
 * The server's checksum as storage/checksum_impl.h describes it, written once
 * more and without its loop order: 32 FNV-1a sums side by side, one for each
 * column of 32-bit words, two rounds of zeros, folded together, with the block
 * number, into 1 to 65535.
 */
static inline unsigned
checksum_by_description(const uint8_t *p, uint32_t block)
{
	static const uint32_t start[32] = {
		0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A,
		0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
		0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA,
		0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
		0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE,
		0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
		0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E,
		0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756
	};
	uint32_t	all = block;
	int			column;
	int			row;

	for (column = 0; column < 32; column++)
	{
		uint32_t	sum = start[column];

		for (row = 0; row < 64 + 2; row++)
		{
			uint32_t	word = 0;

			if (row < 64)
				memcpy(&word, p + row * 128 + column * 4, 4);
			if (row == 0 && column == 2)
				word &= 0xffff0000; /* pd_checksum */
			sum ^= word;
			sum = sum * 16777619 ^ sum >> 17;
		}
		all ^= sum;
	}
	return all % 65535 + 1;
}

#endif							/* CMK_PAGE_EXAMPLE_H */
