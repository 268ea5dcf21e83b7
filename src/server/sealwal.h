/*
 * sealwal.h
 *	  Sealing in place, in WAL: its records and their replay.  keywal.c has the
 *	  resource manager.
 */
#ifndef CMK_SEALWAL_H
#define CMK_SEALWAL_H

#include "access/xlogreader.h"
#include "storage/buf.h"
#include "storage/relfilenode.h"

#include "../keyring/record.h"

#define XLOG_CMK_SEAL		0x40	/* full images of pages that become sealed */
#define XLOG_CMK_WHOLE		0x50	/* the key record of a relation without plain pages,
									 * nor any under an older key */

/*
 * Before a critical section in which up to n pages are logged; and logging them:
 * the caller has locked them exclusively and called them dirty.
 */
extern void cmk_prepare_log_seal(int n);
extern void cmk_log_seal(const Buffer *buffers, int n);

/*
 * Logs that no page of the relation is plain or under an older key, and changes its
 * records.  ereport(ERROR)
 */
extern void cmk_log_whole(const RelFileNode *rnode);

/* Replay of the two records; ereport(ERROR). */
extern void cmk_redo_seal(XLogReaderState *record);
extern void cmk_redo_whole(const char *data, uint32 len);

/*
 * After the replay of a key that was given to a file with pages: waits for
 * base backups of this server.  ereport(FATAL).
 */
extern void cmk_redo_birth_in_place(void);

#endif							/* CMK_SEALWAL_H */
