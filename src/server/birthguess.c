/*
 * birthguess.c
 *	  What will be in a relation file for which nobody has spoken yet.  See
 *	  birthguess.h.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/xact.h"
#include "catalog/storage.h"

#include "../keyring/damaged.h"
#include "../seal/page.h"
#include "birth.h"
#include "birthguess.h"
#include "compat.h"
#include "filekind.h"
#include "rawio.h"
#include "relfile_key.h"
#include "state.h"

bool
cmk_fork_exists(const CmkRelId *id, unsigned fork)
{
	char		path[128];

	cmk_relation_path(id, fork, path, sizeof(path));
	return access(path, F_OK) == 0;
}

/*
 * A file that has no key: has it lost it?  Then it begins with a sealed page all
 * the same, or a damaged record claims to be its key.
 */
static bool
has_lost_key(const CmkRelId *id)
{
	char		path[128];
	bool		lost = cmk_damaged_refuse(id, NULL) < 0;
	off_t		off;
	int			fd;

	cmk_relation_path(id, MAIN_FORKNUM, path, sizeof(path));
	fd = lost ? -1 : cmk_real.open(path, O_RDONLY | PG_BINARY);
	if (fd < 0)
		return lost;
	lost = cmk_filekey_first_page(fd, &off) == CMK_PAGE_SEALED;
	cmk_real.close(fd);
	return lost;
}

/*
 * What does the new file replace?  RelationSetNewRelfilenode() (REINDEX, TRUNCATE,
 * the indexes of a rewritten table) schedules the old file for removal and then
 * creates the new one, in the same directory; the server's list begins with the
 * newest.  REINDEX (TABLESPACE) has changed the tablespace before, so that the
 * newest entry names a file that never was, and an earlier one of the same number
 * is the one.  Plain is what is there and has no key and never had; what cannot be
 * found is taken for sealed.
 */
static CmkBirthGuess
guess_by_replaced(const CmkRelId *id)
{
	RelFileNode *rels;
	CmkBirthGuess result = CMK_GUESS_SEALED;
	int			n = IsTransactionState() ? smgrGetPendingDeletes(true, &rels) : 0;

	if (n == 0)
		return CMK_GUESS_UNKNOWN;
	if (rels[0].spcNode != id->spc || rels[0].dbNode != id->db)
	{
		pfree(rels);
		return CMK_GUESS_UNKNOWN;
	}
	for (int i = 0; i < n; i++)
	{
		CmkRelId	old = CMK_RELID(rels[i]);
		CmkDekRef	ref;

		if (old.db != id->db || old.rel != rels[0].relNode)
			continue;
		if (cmk_registry_find(&old, &ref) || has_lost_key(&old))
		{
			result = CMK_GUESS_SEALED;
			break;
		}
		if (cmk_fork_exists(&old, MAIN_FORKNUM))
			result = CMK_GUESS_PLAIN;
	}
	pfree(rels);
	return result;
}

/* Is the file of that number in the source of a copied database sealed? */
static bool
source_is_sealed(const CmkRelId *id)
{
	CmkRelId	src = {id->spc, cmk_statement->source_db, id->rel};
	CmkDekRef	ref;

	if (cmk_registry_find(&src, &ref))
		return true;
	src.spc = cmk_statement->source_spc;
	return cmk_registry_find(&src, &ref);
}

CmkBirthGuess
cmk_birth_guess(const CmkRelId *id)
{
	CmkStatementKind kind = cmk_statement ? cmk_statement->kind : CMK_STMT_FOLLOW;

	if (cmk_seal_all)
		return CMK_GUESS_SEALED;
	switch (kind)
	{
		case CMK_STMT_PLAIN:
			return cmk_statement->disturbed ? CMK_GUESS_SEALED : CMK_GUESS_PLAIN;
		case CMK_STMT_SEAL:
			return CMK_GUESS_SEALED;
		case CMK_STMT_COPY_DATABASE:
			return source_is_sealed(id) ? CMK_GUESS_SEALED : CMK_GUESS_PLAIN;
		case CMK_STMT_FOLLOW:
			break;
	}
	return guess_by_replaced(id);
}
