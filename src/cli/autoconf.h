/*
 * autoconf.h
 *	  One setting in postgresql.auto.conf, written as ALTER SYSTEM writes it.
 *
 * The command changes pg_cmk.key when nobody can connect to do so.  The server
 * serialises ALTER SYSTEM by a lock in its shared memory that is out of reach from
 * here.  So the new file is made beside the old one, and put in its place only if
 * that still reads as it did; if not, all is done again.  Between that comparison
 * and the rename a few microseconds remain.
 *
 *		CmkAutoconf conf;
 *
 *		if (cmk_autoconf_prepare(&conf, "pg_cmk.key", url, &err) < 0)
 *			…							nothing has changed
 *		… what must be done before the setting shows …
 *		if (cmk_autoconf_commit(&conf, &err) < 0)
 *			…							the old file is as it was
 *
 * All in the current directory, the data directory.
 */
#ifndef CMK_AUTOCONF_H
#define CMK_AUTOCONF_H

#include <sys/types.h>

#include "../seal/error.h"

#define CMK_AUTOCONF_FILE	"postgresql.auto.conf"
#define CMK_AUTOCONF_MAX	(16 * 1024 * 1024)

typedef struct CmkAutoconf
{
	const char *name;			/* the caller's */
	const char *value;
	char	   *old;			/* as read; NULL: there was no file */
	size_t		old_len;
} CmkAutoconf;

/*
 * The text with every line that sets name taken out and one that sets it to value
 * put at the end, where it wins; all other lines stay byte for byte.  text may be
 * NULL.  The caller frees the result.  NULL with CMK_ERR_CONFIG if value has a
 * control character in it, or CMK_ERR_NO_MEMORY.
 */
extern char *cmk_autoconf_edit(const char *text, size_t len, const char *name,
							   const char *value, size_t *newlen, CmkError *err);

/* Makes the new file, synced, beside the old one.  0, or -1 and nothing is left. */
extern int	cmk_autoconf_prepare(CmkAutoconf *conf, const char *name,
								 const char *value, CmkError *err);

/*
 * Puts it in place, after making it anew if the old one has changed.  0; -1 and the
 * old file is as it was; 1 with *err if the new one is in place, but a crash could
 * still bring the old one back.  conf is done with in any case.
 */
extern int	cmk_autoconf_commit(CmkAutoconf *conf, CmkError *err);

/* Instead of a commit: takes the new file away. */
extern void cmk_autoconf_abort(CmkAutoconf *conf);

#endif							/* CMK_AUTOCONF_H */
