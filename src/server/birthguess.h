/*
 * birthguess.h
 *	  What will be in a relation file for which nobody has spoken yet.
 *
 * The seam sees a new file before the server has said whose it is: a rewrite of a
 * table, an index built anew, the copy of a database.  What is known then is the
 * statement, and the file that is being replaced.  Where these leave it open, birth.c
 * waits for somebody to speak for it, and seals it if nobody does.
 */
#ifndef CMK_BIRTHGUESS_H
#define CMK_BIRTHGUESS_H

#include "../keyring/record.h"

typedef enum CmkBirthGuess
{
	CMK_GUESS_PLAIN,
	CMK_GUESS_SEALED,
	CMK_GUESS_UNKNOWN			/* somebody will speak for it; if not, sealed */
} CmkBirthGuess;

/* Of a file that was just created.  Only with a key configured, and not in recovery. */
extern CmkBirthGuess cmk_birth_guess(const CmkRelId *id);

/* Is the first segment of that fork there? */
extern bool cmk_fork_exists(const CmkRelId *id, unsigned fork);

#endif							/* CMK_BIRTHGUESS_H */
