/*
 * walops.h
 *	  What walfile.c needs of the server, and where WAL begins to be sealed.
 */
#ifndef CMK_WALOPS_H
#define CMK_WALOPS_H

#include "access/xlogdefs.h"

#include "../keyring/rootfile.h"

/* settings */
extern bool cmk_seal_wal;
extern int	cmk_accept_plain_wal;

#define CMK_ACCEPT_OFF		0
#define CMK_ACCEPT_BACKUP	1
#define CMK_ACCEPT_ON		2

/*
 * A record lies at least as far before the WAL that only it makes readable: more than
 * a reader can have decoded ahead of replay (wal_decode_buffer_size), and more than one
 * record takes.
 */
#define CMK_WAL_DISTANCE	(UINT64CONST(1) << 30)

/* For _PG_init: the settings; and the hooks of walfile.c.  ereport(FATAL). */
extern void cmk_walops_define(void);
extern void cmk_walops_init(void);

/* Is what is inserted (on a standby: replayed) into WAL now sealed? */
extern bool cmk_wal_is_sealed(void);

/* ---- walstart.c ---- */

/* The file that says: pg_wal/ may hold plain WAL although WAL is sealed there. */
#define CMK_WAL_WAS_PLAIN	CMK_DIR "/wal_was_plain"

/*
 * In the process that replays WAL, before it opens the first segment: waits for the
 * root, seals segments that may be plain, and says from where plain WAL is refused.
 */
extern void cmk_walstart(void);

/*
 * Before that process opens a segment: seals it if it is plain where WAL is sealed, and
 * this recovery accepts such.  ereport(FATAL).
 */
extern void cmk_walstart_segment(const char *path);

/*
 * Does this process replay what leads from the start of a backup, or from where
 * pg_rewind brought a server, to its end?  Reads the control file.
 */
extern bool cmk_completes_backup(void);

/* In replay: what another server's root.json says of WAL holds here too. */
extern void cmk_wal_take_positions(const CmkRootFile *theirs, const CmkRootFile *ours);

/* ---- walwork.c: for the worker ---- */

struct CmkKeyWork;

/* Is the current root's place in WAL still to be decided? */
extern bool cmk_walwork_pending(void);

/*
 * Decides from where on the current root seals WAL, if it can be decided now; and
 * removes recycled segments that hold plain WAL of before.
 */
extern void cmk_walwork(struct CmkKeyWork *work);

/*
 * For the walreceiver, when it opens the segment that starts there: removes recycled
 * ones behind it that hold plain WAL of before.
 */
extern void cmk_walwork_receives(uint64 start);

/* Is there plain WAL in pg_wal/ yet, which a checkpoint may recycle at any time? */
extern bool cmk_walwork_watches(void);

#endif							/* CMK_WALOPS_H */
