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
 * {rnode, fork, generation, -1, 0}; a file that is left open is closed at the end
 * of the transaction.
 */
typedef struct CmkHeads
{
	RelFileNode rnode;
	ForkNumber	fork;
	unsigned	generation;		/* the newest */
	int			fd;				/* -1: none */
	uint32		segno;
} CmkHeads;

/*
 * What a page is by its head.  CMK_HEAD_NONE: all zero, or behind the end of the
 * file.  ereport(ERROR).
 */
typedef enum CmkHeadKind
{
	CMK_HEAD_NONE,
	CMK_HEAD_OLD,				/* plain, or not of the newest generation */
	CMK_HEAD_UNMET,				/* of the newest one, but not on every node so */
	CMK_HEAD_DONE				/* … and so on all that replayed as far as it was */
} CmkHeadKind;

extern CmkHeadKind cmk_heads_kind(CmkHeads *heads, BlockNumber block);
extern void cmk_heads_close(CmkHeads *heads);

/*
 * Syncs all forks of a relation that exist, and counts the pages that are
 * CMK_HEAD_OLD on disk, by fork; returns their sum.  ereport(ERROR).
 */
extern uint64 cmk_sync_and_count_old(const RelFileNode *rnode, unsigned generation,
									 uint64 old[MAX_FORKNUM + 1]);

/*
 * Writes pages that were logged in full, and are locked exclusively and dirty, so
 * that they are sealed on disk.
 */
extern void cmk_flush_sealed(const Buffer *buffers, int n);

#endif							/* CMK_SEALPAGES_H */
