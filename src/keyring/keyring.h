/*
 * keyring.h
 *	  Births and deaths of DEKs: the registry in memory and the keys file kept
 *	  in step.
 *
 * $PGDATA/pg_cmk/keys is a header of 128 bytes (magic "pg_cmk keys", format,
 * system identifier, CRC) and then records of 128 bytes (record.h), overwritten
 * in place: a record never crosses a sector.  Space is allocated
 * (posix_fallocate) before a record is used, so that a birth fails cleanly when
 * the disk is full.  Nothing is synced here but by cmk_keyring_sync(), which the
 * server calls before any checkpoint counts.
 *
 * The file's descriptor is opened once by the postmaster and inherited; all
 * access is pread and pwrite.  Functions marked "writer" are serialised by the
 * caller (in the server the lock of server/shmem.c, held over the call).  None
 * of them throws, palloc()s or uses stdio; all may be called in a critical
 * section.
 */
#ifndef CMK_KEYRING_H
#define CMK_KEYRING_H

#include "registry.h"

#define CMK_DIR				"pg_cmk"
#define CMK_KEYS_FILE		"pg_cmk/keys"
#define CMK_ROOT_FILE		"pg_cmk/root.json"

/*
 * Opens the keys file, creating it (mode as filemode.h says, synced with its
 * directory) if create is set and it is missing.  A header that is damaged or of
 * another cluster is an error that names the file.  Only once per process image; later
 * calls do nothing.
 */
extern int	cmk_keyring_open(const char *path, uint64_t sysid, bool create,
							 CmkError *err);

/*
 * Writer.  Rebuilds the registry from the file.  The roots must be set.  Records
 * that are damaged or do not authenticate are noted (cmk_registry_damaged), and
 * are no error here; if two records claim one generation of a relation the one with the
 * higher birth time is taken and the other noted as damaged.
 */
extern int	cmk_keyring_load(CmkError *err);

/*
 * Writer.  Gives id a DEK: a live one is kept, a tombstone is revived with its
 * key, else a new key is made under the current root.  Memory and file first;
 * image gets the 128 bytes for the WAL record, *is_new whether there is
 * something to log.  On failure nothing is left behind.
 */
extern int	cmk_keyring_birth(const CmkRelId *id, uint16_t flags,
							  uint64_t birth_lsn,
							  uint8_t image[CMK_RECORD_SIZE], bool *is_new,
							  CmkError *err);

/*
 * Writer.  Gives id, which has no plain page, a DEK of the next generation beside the
 * one that it has; image gets the record for WAL.  GOES_ON: the generation before has
 * not ended, so the newest is the one that is coming, and image is its
 * record.  MUST_WAIT: nothing was done, since an ended generation with the same
 * number in a page is not erased yet.  FAILED: err says why, and nothing is left behind.
 * created is what the record says; of keys that come together, the same time.
 */
typedef enum CmkRotation
{
	CMK_ROTATION_BEGINS,
	CMK_ROTATION_GOES_ON,
	CMK_ROTATION_MUST_WAIT,
	CMK_ROTATION_FAILED
} CmkRotation;

extern CmkRotation cmk_keyring_rotate(const CmkRelId *id, uint64_t birth_lsn,
									  int64_t created, uint8_t image[CMK_RECORD_SIZE],
									  CmkError *err);

/*
 * Writer.  No page of id is under a generation below this one any more: they become
 * tombstones, and are erased as those of the dead are.  lsn is that of now.
 */
extern int	cmk_keyring_end_older(const CmkRelId *id, uint16_t generation,
								  uint64_t lsn, CmkError *err);

/*
 * Writer.  Replay of a birth: the record as it came from WAL replaces whatever
 * is known of this generation of its relation, or of the relation if that is dead;
 * repeated replay changes nothing.  -1 with CMK_ERR_LIMIT: there is a live
 * generation with the same number in a page.
 */
extern int	cmk_keyring_replay(const uint8_t image[CMK_RECORD_SIZE],
							   CmkError *err);

/*
 * Writer.  The record of a live DEK as it is when no page of its file is plain any
 * more, for WAL and then cmk_keyring_replay().  Changes nothing.  0; -1 with
 * CMK_ERR_NOT_FOUND if there is no live DEK, or CMK_ERR_CRYPTO.
 */
extern int	cmk_keyring_whole(const CmkRelId *id,
							  uint8_t image[CMK_RECORD_SIZE], CmkError *err);

/*
 * Writer.  After a root came that was not open before: tries the damaged records
 * again that are under it.
 */
extern int	cmk_keyring_reread_damaged(CmkError *err);

/*
 * Writer.  Wraps records that are under an older root by the current one, at most
 * max of them, from *cursor on (start with 0).  The bytes follow from DEK and root
 * alone, so every node that does it comes to the same.  Returns how many; less than
 * max: no more are left.  -1: what was done stays done.
 */
extern int	cmk_keyring_rewrap(uint32_t *cursor, int max, CmkError *err);

/* Writer.  Tombstones, of all generations; no error if id has no DEK or is dead. */
extern int	cmk_keyring_death(const CmkRelId *id, uint64_t lsn, CmkError *err);

/* Writer.  Brings a dead relation back to life (its file was created again). */
extern int	cmk_keyring_revive(const CmkRelId *id, CmkError *err);

/*
 * Writer.  Erases (overwrites with zeros, in memory and in the file) every
 * tombstone whose death LSN is below redo.  One whose death LSN is not known
 * (0, after a restart) is given now and waits.  Returns how many were erased,
 * or -1.
 */
extern int	cmk_keyring_erase(uint64_t redo, uint64_t now, CmkError *err);

/*
 * Is the file that is open no more the one of that name?  Then somebody removed or
 * replaced it under the running server: what is written here would be gone with
 * the next start.  err says so.
 */
extern bool cmk_keyring_file_moved(CmkError *err);

/* fdatasync if dirty.  0 or -1 with errno; stays dirty then.  No lock needed. */
extern int	cmk_keyring_sync(void);

/* Key for a temporary relation: derived from cmk_registry_ephemeral(). */
extern int	cmk_keyring_temp_key(const CmkRelId *id, uint32_t backend,
								 uint8_t key[CMK_DEK_SIZE]);

/*
 * Keys for files of no relation.  Those of temporary files and notifications
 * live in memory only, derived from cmk_registry_ephemeral(); what
 * pg_stat_statements keeps over a restart, and prepared transactions, have one derived
 * from the root of that number.  0, or -1 with errno: ENOKEY if that root is not open.
 * key is wiped or untouched then.
 */
typedef enum CmkFileKey
{
	CMK_KEY_TEMPORARY,
	CMK_KEY_NOTIFY,
	CMK_KEY_STATEMENTS,
	CMK_KEY_TWOPHASE
} CmkFileKey;

#define CMK_FILE_KEYS	(CMK_KEY_TWOPHASE + 1)

extern int	cmk_keyring_file_key(CmkFileKey which, uint32_t root_id,
								 uint8_t key[CMK_DEK_SIZE]);

/* The last two by a root that is at hand, without the registry.  0 or -1, key wiped. */
extern int	cmk_keyring_derive(CmkFileKey which, const CmkRootKey *root,
							   uint8_t key[CMK_DEK_SIZE]);

#endif							/* CMK_KEYRING_H */
