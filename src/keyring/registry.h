/*
 * registry.h
 *	  The DEKs in memory: written by one process at a time, read by all without
 *	  a lock.
 *
 * The registry lies in the protected region of seal/secret.h, which the
 * postmaster creates before it forks.  Slot i of the registry is record i + 1 of
 * the keys file, so there is no second allocation to keep in step.  A hash
 * table of slot numbers finds a slot by CmkRelId.
 *
 * Writers (insert, set_state, remove, reset) are serialised by the caller, in
 * the server by one LWLock.  Readers take no lock: each slot carries a version
 * that is odd while it changes, and a reader that copied something checks that
 * the version is still the one it began with.  The epoch counts every change
 * that could make an earlier look-up wrong; whoever caches a look-up compares
 * it, one load, and looks up again if it moved:
 *
 *		if (file->epoch != cmk_registry_epoch())
 *		{
 *			file->epoch = cmk_registry_epoch();		-- before the look-up
 *			found = cmk_registry_find(&id, &ref);
 *		}
 */
#ifndef CMK_REGISTRY_H
#define CMK_REGISTRY_H

#include "record.h"

#define CMK_MAX_DEKS		1000000
#define CMK_MAX_ROOTS		64
#define CMK_MAX_DAMAGED		64

typedef struct CmkDekRef
{
	uint32_t	slot;
	uint64_t	version;
} CmkDekRef;

typedef struct CmkRootKey
{
	uint32_t	id;				/* 0: none */
	uint8_t		salt[CMK_SALT_SIZE];
	uint8_t		key[CMK_ROOT_KEY_SIZE];
} CmkRootKey;

/* A record of the file that could not be used. */
typedef struct CmkDamaged
{
	uint32_t	record;			/* its number in the file, from 1 */
	bool		id_known;
	CmkRelId	id;				/* what it claims to be */
} CmkDamaged;

/* Maps the region.  Once, in the process that forks the others.  0 or -1. */
extern int	cmk_registry_create(CmkError *err);

/* In a child: lock the part that every process touches.  Errors are ignored. */
extern void cmk_registry_child(void);

/* Wipe everything, if this process created it. Async-signal-safe. */
extern void cmk_registry_wipe(void);

/* How many bytes of the region should be, and are, locked in memory. */
extern void cmk_registry_lock_report(size_t *wanted, size_t *locked);

/* ---- readers: no lock, no allocation ---- */

extern uint64_t cmk_registry_epoch(void);

/* A live or dead DEK of id.  false: none. */
extern bool cmk_registry_find(const CmkRelId *id, CmkDekRef *ref);

/*
 * Copies what ref points to; key may be NULL.  false if the slot changed since
 * ref was made: look up again.
 */
extern bool cmk_registry_read(const CmkDekRef *ref, CmkDekInfo *info,
							  uint8_t key[CMK_DEK_SIZE]);

/*
 * The next slot in use at or after *cursor (start with 0), for views.  Sees each
 * slot that was there all the time exactly once.  false at the end.
 */
extern bool cmk_registry_next(uint32_t *cursor, CmkDekInfo *info);

extern uint32_t cmk_registry_count(void);	/* live DEKs */

/* Root keys: current one, or by number.  NULL if not open. */
extern const CmkRootKey *cmk_registry_root(void);
extern const CmkRootKey *cmk_registry_root_by_id(uint32_t id);

/* 32 random bytes, new at each start of the postmaster: for temporary files. */
extern const uint8_t *cmk_registry_ephemeral(void);

/* The damaged records met so far; returns their number (may exceed max). */
extern uint32_t cmk_registry_damaged(CmkDamaged *list, uint32_t max);

/* ---- writers: the caller serialises ---- */

extern void cmk_registry_reset(void);	/* forget all DEKs, roots stay */
extern int	cmk_registry_set_roots(const CmkRootKey *roots, int n,
								   uint32_t current, CmkError *err);
/* Takes a free slot (lowest first) without making it visible.  -1: full. */
extern int	cmk_registry_reserve(uint32_t *slot, CmkError *err);
extern void cmk_registry_unreserve(uint32_t slot);
/* Fills a reserved slot, or the given one on load, and makes it visible. */
extern int	cmk_registry_insert(uint32_t slot, const CmkDekInfo *info,
								const uint8_t key[CMK_DEK_SIZE], CmkError *err);
extern void cmk_registry_set_state(uint32_t slot, CmkDekState state,
								   uint64_t death_lsn);
extern uint64_t cmk_registry_death_lsn(uint32_t slot);
extern void cmk_registry_set_death_lsn(uint32_t slot, uint64_t death_lsn);
extern void cmk_registry_remove(uint32_t slot);
extern void cmk_registry_note_damaged(const CmkDamaged *d);
extern void cmk_registry_forget_damaged(uint32_t record);
extern uint32_t cmk_registry_dead_count(void);

/* The keys file changed since it was last synced.  Any process, no lock. */
extern void cmk_registry_set_dirty(void);
extern bool cmk_registry_take_dirty(void);	/* returns it and clears it */

#endif							/* CMK_REGISTRY_H */
