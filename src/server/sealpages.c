/*
 * sealpages.c
 *	  What the pages of a relation are on disk, and writing them sealed.  See
 *	  sealpages.h.
 *
 * Used by the sealing job and by replay of what it logged.
 */
#include "postgres.h"

#include <fcntl.h>

#include "common/relpath.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/fd.h"
#include "storage/smgr.h"

#include "../seal/page.h"
#include "rawio.h"
#include "relfile_key.h"
#include "sealpages.h"

void
cmk_heads_close(CmkHeads *heads)
{
	if (heads->fd >= 0)
		CloseTransientFile(heads->fd);
	heads->fd = -1;
}

CmkHeadKind
cmk_heads_kind(CmkHeads *heads, BlockNumber block)
{
	uint32		segno = block / (BlockNumber) RELSEG_SIZE;
	uint8		head[CMK_PAGE_HEAD];
	char	   *path;
	ssize_t		n;

	if (heads->fd < 0 || heads->segno != segno)
	{
		cmk_heads_close(heads);
		path = relpathperm(heads->rnode, heads->fork);
		if (segno > 0)
			path = psprintf("%s.%u", path, segno);
		heads->segno = segno;
		heads->fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
		if (heads->fd < 0 && errno == ENOENT)
			return CMK_HEAD_NONE;
		if (heads->fd < 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not open file \"%s\": %m", path)));
	}
	n = cmk_real.pread(heads->fd, head, sizeof(head),
					   (off_t) (block % (BlockNumber) RELSEG_SIZE) * BLCKSZ);
	if (n < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read block %u of relation %s: %m", block,
						relpathperm(heads->rnode, heads->fork))));
	if (n < (ssize_t) sizeof(head) || cmk_page_head_kind(head) == CMK_PAGE_ZERO)
		return CMK_HEAD_NONE;
	if (cmk_page_head_kind(head) == CMK_PAGE_PLAIN ||
		cmk_page_generation(head) != heads->generation % CMK_GENERATIONS)
		return CMK_HEAD_OLD;
	return cmk_page_is_unmet(head) ? CMK_HEAD_UNMET : CMK_HEAD_DONE;
}

uint64
cmk_sync_and_count_old(const RelFileNode *rnode, unsigned generation,
					   uint64 old[MAX_FORKNUM + 1])
{
	SMgrRelation reln = smgropen(*rnode, InvalidBackendId);
	uint64		sum = 0;

	for (ForkNumber fork = 0; fork <= MAX_FORKNUM; fork++)
	{
		CmkHeads	heads = {*rnode, fork, generation, -1, 0};
		BlockNumber n;

		old[fork] = 0;
		if (!smgrexists(reln, fork))
			continue;
		smgrimmedsync(reln, fork);
		n = smgrnblocks(reln, fork);
		for (BlockNumber block = 0; block < n; block++)
		{
			if (block % 8192 == 0)
				CHECK_FOR_INTERRUPTS();
			if (cmk_heads_kind(&heads, block) == CMK_HEAD_OLD)
				old[fork]++;
		}
		cmk_heads_close(&heads);
		sum += old[fork];
	}
	return sum;
}

void
cmk_flush_sealed(const Buffer *buffers, int n)
{
	cmk_filekey_sealing = true;
	PG_TRY();
	{
		for (int i = 0; i < n; i++)
			FlushOneBuffer(buffers[i]);
	}
	PG_FINALLY();
	{
		cmk_filekey_sealing = false;
	}
	PG_END_TRY();
}
