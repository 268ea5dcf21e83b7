/*
 * sealpages.h
 *	  What the pages of a relation are on disk, and writing them sealed.
 */
#ifndef CMK_SEALPAGES_H
#define CMK_SEALPAGES_H

#include "common/relpath.h"
#include "storage/block.h"
#include "storage/buf.h"
#include "storage/relfilenode.h"

#include "../seal/page.h"

/*
 * Reads the heads of a relation's pages around the seam.  Begin with
 * {.fd = -1}; a file that is left open is closed at the end of the transaction.
 */
typedef struct CmkHeads
{
	RelFileNode rnode;
	ForkNumber	fork;
	uint32		segno;
	int			fd;				/* -1: none */
} CmkHeads;

/*
 * What the page is by its head; CMK_PAGE_ZERO behind the end of the file.  *logged
 * (may be NULL): it is sealed, and so on every node that replayed as far as it was.
 * ereport(ERROR).
 */
extern CmkPageKind cmk_heads_kind(CmkHeads *heads, BlockNumber block, bool *logged);
extern void cmk_heads_close(CmkHeads *heads);

/*
 * Syncs all forks of a relation that exist, and counts the pages that are plain on
 * disk, by fork; returns their sum.  ereport(ERROR).
 */
extern uint64 cmk_sync_and_count_plain(const RelFileNode *rnode,
									   uint64 plain[MAX_FORKNUM + 1]);

/*
 * Writes pages that were logged in full, and are locked exclusively and dirty, so
 * that they are sealed on disk.
 */
extern void cmk_flush_sealed(const Buffer *buffers, int n);

#endif							/* CMK_SEALPAGES_H */
