/*
 * walpage_example.h
 *	  WAL pages as tests need them.
 */
#ifndef CMK_WALPAGE_EXAMPLE_H
#define CMK_WALPAGE_EXAMPLE_H

#include "../../src/seal/walpage.h"
#include "unit.h"

#define WAL_MAGIC		0xD110	/* XLOG_PAGE_MAGIC of PostgreSQL 15 */

/*
 * A page as the server writes it.  A long one has system identifier
 * 0x6a7b8c9d0e1f2031, segments of segment_size bytes and pages of 8192.  rem_len > 0
 * makes it begin with the rest of a record.  seed changes the records.
 */
static inline void
make_wal_page(uint8_t *p, uint64_t addr, uint32_t tli, uint32_t segment_size,
			  uint32_t rem_len, unsigned seed)
{
	bool		is_long = addr % segment_size == 0;
	uint16_t	magic = WAL_MAGIC;
	uint16_t	info = (uint16_t) ((is_long ? 0x0002 : 0) | (rem_len > 0 ? 0x0001 : 0));
	uint64_t	sysid = UINT64_C(0x6a7b8c9d0e1f2031);
	uint32_t	blocksize = CMK_PAGE_SIZE;
	int			i;

	for (i = 0; i < CMK_PAGE_SIZE; i++)
		p[i] = (uint8_t) (i * 11 + (i >> 8) * 17 + (int) seed * 29);
	memset(p, 0, is_long ? 40 : 24);
	memcpy(p, &magic, 2);
	memcpy(p + 2, &info, 2);
	memcpy(p + 4, &tli, 4);
	memcpy(p + 8, &addr, 8);
	memcpy(p + 16, &rem_len, 4);
	if (is_long)
	{
		memcpy(p + 24, &sysid, 8);
		memcpy(p + 32, &segment_size, 4);
		memcpy(p + 36, &blocksize, 4);
	}
}

#endif							/* CMK_WALPAGE_EXAMPLE_H */
