/*
 * keywal.h
 *	  Key records in WAL: the resource manager of pg_cmk.
 *
 * Births of DEKs and the root file are logged, so that every node that replays
 * this WAL has the same DEK for the same file and the same root.json.  Deaths are
 * not: each node notices for itself when a relation's last file goes.
 */
#ifndef CMK_KEYWAL_H
#define CMK_KEYWAL_H

#include "../keyring/record.h"

/*
 * The number of this resource manager.  The project's wiki page of custom
 * resource managers is the registry; another extension with the same number
 * makes the server refuse to start.
 */
#define CMK_RMGR_ID			187
#define CMK_RMGR_NAME		"pg_cmk"

#define XLOG_CMK_BIRTH		0x00	/* one record of the keys file, 128 bytes */
#define XLOG_CMK_ROOT		0x10	/* the text of root.json */
/* sealwal.h has more */

/* Registers the resource manager; in _PG_init only. */
extern void cmk_register_rmgr(void);

/* Logs root.json as it is in its file, and flushes that.  ereport(ERROR). */
extern void cmk_log_root(void);

/*
 * Logs a birth; before the first one since the server started, root.json too, so
 * that a standby has the root before the first key under it.  ereport(ERROR).
 */
extern void cmk_log_birth(const uint8_t image[CMK_RECORD_SIZE]);

/*
 * The resource manager of the WAL record that this process is replaying; -1 if it
 * replays none, or none of ours came by yet, which is how we know of it.
 */
extern int	cmk_replayed_rmid(void);

#endif							/* CMK_KEYWAL_H */
