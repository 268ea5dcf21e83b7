/*
 * seal.h
 *	  Sealing in place: a file that was born plain, or that is to have a new data key,
 *	  page by page, while it is used.
 *
 * The relation is locked (ShareUpdateExclusiveLock) so that its storage is neither
 * replaced nor truncated, nor sealed twice at once; reading and writing go on:
 *
 *		if (cmk_seal_needed(rel))
 *		{
 *			cmk_seal_begin(rel, &pos);
 *			cmk_seal_await_backups();
 *			while (!cmk_seal_some(rel, &pos, pages))
 *				;
 *			done = cmk_seal_finish(rel, &pos);
 *		}
 *
 * and for a new key, cmk_rotate_begin() instead of cmk_seal_begin().
 *
 * Nothing is kept but the key records: whoever begins again looks at the pages, and
 * goes on where they are as they were.  docs/decisions.md says why a crash at any moment,
 * a torn page, a standby and a base backup are all right.
 */
#ifndef CMK_SEAL_H
#define CMK_SEAL_H

#include "storage/block.h"
#include "utils/rel.h"

typedef struct CmkSealPos
{
	BlockNumber end[MAX_FORKNUM + 1];	/* later blocks are born sealed */
	ForkNumber	fork;
	BlockNumber block;
	uint64		sealed;			/* pages that were */
	uint64		sealed_before;	/* … when cmk_seal_finish() counted last */
	int64		created;		/* of a new key; set before cmk_rotate_begin() */
} CmkSealPos;

/* setting: kilobytes per second and process, 0: no limit */
extern int	cmk_seal_rate;

/* Has it storage of its own, outside of sessions, that may hold plain pages? */
extern bool cmk_seal_needed(Relation rel);

/* Gives the relation its key, and sets *pos to its first page.  ereport(ERROR). */
extern void cmk_seal_begin(Relation rel, CmkSealPos *pos);

/*
 * Has it storage of its own, outside of sessions?  And a key that is to be replaced
 * by one that is there?
 */
extern bool cmk_has_lasting_storage(Relation rel);
extern bool cmk_rotate_needed(Relation rel);

/* ereport(ERROR) if it may hold plain pages: then it can have no other key. */
extern void cmk_require_sealed(Relation rel);

/* When its newest key was made, microseconds since 1970; 0: it has none. */
extern int64 cmk_key_created(Relation rel);

/*
 * Gives the relation a new key beside the one that it has, and sets *pos to its first
 * page; or, if it has two already, goes on with that.  It must be wholly sealed.
 * ereport(ERROR).
 */
extern void cmk_rotate_begin(Relation rel, CmkSealPos *pos);

/*
 * Waits until no base backup runs.  One that began before the key was born may copy
 * the keys file before and the relation after; and one that began before a
 * relation was whole, the other way round.
 */
extern void cmk_seal_await_backups(void);

/*
 * Looks at up to that many pages from *pos on and seals those that are plain on
 * disk, or under an older key.  true: that was the end.  ereport(ERROR).
 */
extern bool cmk_seal_some(Relation rel, CmkSealPos *pos, int pages);

/*
 * Syncs the files, counts, and if no page is plain or under an older key lets the key
 * records say so, here and on every standby.  false: there are such pages.
 * ereport(ERROR), also if there are and none was sealed since it was called last.
 */
extern bool cmk_seal_finish(Relation rel, CmkSealPos *pos);

/*
 * For the key worker, after each reload: notes until when full_page_writes was off.
 * Nothing is sealed until a checkpoint has begun after that: a page torn by the job
 * could be read by replay before its image.
 */
extern void cmk_seal_note_full_page_writes(void);

/* All blocks that are to be looked at. */
extern uint64 cmk_seal_blocks(const CmkSealPos *pos);

#endif							/* CMK_SEAL_H */
