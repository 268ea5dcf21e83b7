/*
 * birth.h
 *	  When a relation file gets its DEK.
 *
 * A file is sealed from its first page on, so its DEK must be there before.
 * Three places give it:
 *
 * 1. cmk_heap's own callbacks, before they create storage: cmk_birth().
 * 2. The object-access hook, for what has a new pg_class row: it is told of an
 *	  index after its empty file was made and before its first page:
 *	  cmk_birth_attribute().
 * 3. The net.  Every new relation file is seen by the seam when it is created.
 *	  If the statement, or the file that is being replaced, tells what will be in
 *	  it, that decides at once.  Else it is remembered, and if still nobody has
 *	  spoken for it when its first page is written, or at commit, it is sealed.
 *
 * Sealing too much is harmless, because pages describe themselves; sealing too
 * little is a leak.
 */
#ifndef CMK_BIRTH_H
#define CMK_BIRTH_H

#include "storage/relfilenode.h"

#include "../keyring/record.h"

/* What the statement that is being executed says of files without a speaker. */
typedef enum CmkStatementKind
{
	CMK_STMT_FOLLOW,			/* like the file that is replaced; else sealed */
	CMK_STMT_SEAL,				/* sealed */
	CMK_STMT_PLAIN,				/* plain */
	CMK_STMT_COPY_DATABASE		/* like the file of that number in the source */
} CmkStatementKind;

typedef struct CmkStatement
{
	CmkStatementKind kind;
	Oid			source_db;		/* COPY_DATABASE: template, or database moved */
	Oid			source_spc;		/* … and its default tablespace */
	bool		disturbed;		/* another statement ran inside this one */
	struct CmkStatement *outer;
} CmkStatement;

extern CmkStatement *cmk_statement;

/*
 * Gives the file a DEK, if it has none: memory and keys file first, then the WAL
 * record; the caller creates the storage afterwards.  Temporary relations need
 * none.  ereport(ERROR) if it cannot be sealed: no key configured, disk full, …
 */
extern void cmk_birth(const RelFileNode *rnode, char persistence);

/*
 * Gives a DEK to a file that has plain pages; it stays as it is until its pages are
 * sealed one by one (seal.h).  If it has one already, that is logged again.  The
 * keys file is synced.  ereport(ERROR).
 */
extern void cmk_birth_in_place(const RelFileNode *rnode);

/*
 * Gives a wholly sealed file a DEK of the next generation beside the one that it has;
 * its pages come under it one by one.  If it has two already, the newer one is logged
 * again.  The keys file is synced.  false: nothing was done, since an ended generation has
 * to be erased first.  created: microseconds since 1970.  ereport(ERROR).
 */
extern bool cmk_birth_of_generation(const RelFileNode *rnode, int64 created);

/* Has the file a DEK? */
extern bool cmk_is_born(const RelFileNode *rnode);

/*
 * The owner of a new file is known now: with seal it gets a DEK (ereport(ERROR) on
 * failure), without it stays plain, whatever the net had in mind.
 */
extern void cmk_birth_attribute(const RelFileNode *rnode, char persistence,
								bool seal);

/* For the seam: no error leaves them.  See relfile.h. */
extern int	cmk_birth_net_created(const CmkRelId *id, bool first);
extern int	cmk_birth_net_write(const CmkRelId *id);

/* Does this database hold a sealed relation, or could it get one? */
extern bool cmk_database_may_seal(void);

/* Transaction callbacks; for _PG_init. */
extern void cmk_birth_init(void);

#endif							/* CMK_BIRTH_H */
