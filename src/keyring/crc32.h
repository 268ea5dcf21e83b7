/*
 * crc32.h
 *	  CRC-32 as zlib, gzip and IEEE 802.3 have it.
 *
 * It finds torn and rotten records before any key is tried on them; that they
 * are genuine is AES-KW's business.  An own one, because the keys file is all
 * that needs it and zlib would be one more library in every server process.
 */
#ifndef CMK_CRC32_H
#define CMK_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32 of len bytes at data; cmk_crc32("123456789", 9) is 0xCBF43926. */
extern uint32_t cmk_crc32(const void *data, size_t len);

#endif							/* CMK_CRC32_H */
