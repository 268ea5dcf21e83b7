/*
 * state.h
 *	  What the server processes share.
 *
 * The keys themselves are in the protected region of keyring/registry.h, which
 * outlives a crash restart.  This is the small part that lies in the server's
 * own shared memory and is made anew by one: the lock of the keyring's writers
 * and what cmk.status shows.
 */
#ifndef CMK_STATE_H
#define CMK_STATE_H

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/spin.h"

#include "../keyring/keyring.h"
#include "../seal/error.h"
#include "worker.h"

/* settings */
extern char *cmk_scope;
extern bool cmk_seal_all;		/* the scope is the whole cluster */
extern char *cmk_debug_crash_at;
extern char *cmk_debug_pause_at;

/* Somebody who seals in place: a row of cmk.progress.  Free if pid is 0. */
#define CMK_SEAL_SLOTS	16

typedef enum CmkSealPhase
{
	CMK_SEAL_INITIALIZING,
	CMK_SEAL_WAITING,			/* for base backups */
	CMK_SEAL_SEALING,
	CMK_SEAL_SYNCING			/* files synced and pages counted */
} CmkSealPhase;

typedef struct CmkSealSlot
{
	int			pid;
	Oid			db;
	Oid			rel;			/* InvalidOid: none now */
	CmkSealPhase phase;
	uint64		blocks_total;	/* of rel */
	uint64		blocks_done;	/* looked at */
	uint64		blocks_sealed;
	uint32		relations_total;
	uint32		relations_done;
} CmkSealSlot;

typedef struct CmkShared
{
	LWLock	   *lock;			/* serialises the keyring's writers */
	pg_atomic_uint32 expected;	/* a root is to be opened: wait for it */
	pg_atomic_uint32 open;		/* the root is open and the keyring loaded */
	pg_atomic_uint32 root_logged;	/* root.json is in WAL since this start */
	pg_atomic_uint32 root_created;	/* at this start, and not noted yet */
	pg_atomic_uint32 backups;	/* sessions between pg_backup_start and _stop */
	pg_atomic_uint32 launcher;	/* 1: a launcher of sealing workers runs */
	pg_atomic_uint32 rotations; /* calls that it has to know of */
	pg_atomic_uint64 wal_refuse;	/* plain WAL is refused from here on; ~0: nowhere */
	pg_atomic_uint64 images_off;	/* full_page_writes was off until then; ~0: is */

	slock_t		mutex;			/* of all that follows */
	CmkStatus	status;
	Latch	   *worker;			/* NULL: it does not run */
	uint64		asked;			/* looks at the key that somebody wants */
	uint64		answered;
	ConditionVariable answer;	/* answered has grown */
	CmkSealSlot seals[CMK_SEAL_SLOTS];
} CmkShared;

extern CmkShared *cmk_shared;

/* Did the postmaster restart its processes in place, after a crash? */
extern bool cmk_after_crash;

/* The keyring has an open root: tables can be sealed. */
extern bool cmk_is_configured(void);

/* Is a root expected that is not there yet?  And is it there? */
extern bool cmk_root_expected(void);
extern bool cmk_root_is_open(void);

/*
 * For _PG_init: makes the protected region and the cipher contexts, and installs
 * the shared-memory hooks.  ereport(FATAL) on failure.
 */
extern void cmk_state_init(void);

/*
 * The lock of the keyring's writers.  Taken for a few system calls at most, never
 * over anything that waits for WAL, a buffer or another lock.
 */
extern void cmk_lock_keyring(void);
extern bool cmk_try_lock_keyring(void);
extern void cmk_unlock_keyring(void);

/* The SQLSTATE that fits; 0: errcode_for_file_access(), and errno is set. */
extern int	cmk_error_sqlstate(const CmkError *err);

/* ereport for what a plain-C layer reported. */
extern void cmk_report(int elevel, const CmkError *err);

/* One line for the log, for the plain-C layers; cut at 512 bytes.  Leaves errno as it is. */
extern void cmk_log_line(const char *fmt,...) __attribute__((format(printf, 1, 2)));

/* A developer's crash or pause point; does nothing unless set. */
extern void cmk_debug_point(const char *name);

#endif							/* CMK_STATE_H */
