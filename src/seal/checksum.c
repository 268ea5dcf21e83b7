/*
 * checksum.c
 *	  The server's page checksum.
 *
 * The algorithm is not ours to write down: the server publishes it in
 * storage/checksum_impl.h for programs that read its files, and pg_basebackup,
 * pg_checksums and the backup tools that verify pages all use that text.  This
 * is the one file outside src/server that includes a header of PostgreSQL, and
 * it is compiled with the flags that the server uses for its own copy, because
 * the loop is written to be vectorised.
 *
 * The function gets a name of our own: the server exports one of the same name,
 * which would else stand in for it without being asked.
 */
#include "postgres_fe.h"
#include "storage/block.h"

#define pg_checksum_page cmk_server_checksum_page
extern uint16 pg_checksum_page(char *page, BlockNumber blkno);
#include "storage/checksum_impl.h"

#include "page.h"

#if BLCKSZ != CMK_PAGE_SIZE
#error "pg_cmk needs a server with pages of 8192 bytes"
#endif

uint16_t
cmk_page_checksum(const void *page, uint32_t block)
{
	PGAlignedBlock copy;

	/*
	 * The server's function wants alignment, and sets pd_checksum to zero
	 * while it computes, which memory that is const here may not allow.
	 */
	memcpy(copy.data, page, CMK_PAGE_SIZE);
	return pg_checksum_page(copy.data, block);
}

uint16_t
cmk_page_checksum_private(void *page, uint32_t block)
{
	if ((uintptr_t) page % sizeof(uint32) != 0)
		return cmk_page_checksum(page, block);
	return pg_checksum_page(page, block);
}
