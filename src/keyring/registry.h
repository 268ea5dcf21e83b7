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
 *			while ((found = cmk_registry_find(&id, &ref)) &&
 *				   !cmk_registry_read(&ref, &info, NULL))
 *				;
 *		}
 *
 * A read that fails says that the slot changed, not that there is no DEK.  Before
 * cmk_registry_create() only cmk_registry_wipe() may be called; in a region that
 * was wiped the epoch is 0, which it never is else.
 */
#ifndef CMK_REGISTRY_H
#define CMK_REGISTRY_H

#include "record.h"

#define CMK_MAX_DEKS		1000000
#define CMK_GENERATIONS		16		/* that a page can tell apart */
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
	uint64_t	wal_from;		/* seals WAL from here on; 0: not yet */
	uint8_t		wal_key[CMK_DEK_SIZE];	/* derived from key */
} CmkRootKey;

/* A record of the file that could not be used. */
typedef struct CmkDamaged
{
	uint32_t	record;			/* its number in the file, from 1 */
	bool		id_known;
	CmkRelId	id;				/* what it claims to be */
	uint32_t	root_id;		/* and under which root */
} CmkDamaged;

/* Maps the region.  Once, in the process that forks the others.  0 or -1. */
extern int	cmk_registry_create(CmkError *err);

/* In a child: lock the part that every process touches.  Errors are ignored. */
extern void cmk_registry_child(void);

/* Wipe everything, if this process created it. Async-signal-safe. */
extern void cmk_registry_wipe(void);

/*
 * Wipes everything and begins anew: no roots, no DEKs, another ephemeral key.  By
 * the process that created the region, when no other has it any more.  0 or -1.
 */
extern int	cmk_registry_renew(CmkError *err);

/*
 * How many bytes with keys in them are in use, and how many of these are locked
 * in memory.
 */
extern void cmk_registry_lock_report(size_t *wanted, size_t *locked);

/* ---- readers: no lock, no allocation ---- */

/* Moves with every change of a key; 0: all are wiped. */
extern uint64_t cmk_registry_epoch(void);

/* A live or dead DEK of id, of the newest generation.  false: none. */
extern bool cmk_registry_find(const CmkRelId *id, CmkDekRef *ref);

/*
 * The one whose generation is this modulo 16: the newest or an older one.  No two
 * of a relation are equal in that.  Says the truth also while a newer one comes.
 */
extern bool cmk_registry_find_generation(const CmkRelId *id, unsigned generation,
										 CmkDekRef *ref);

/* Has id an older generation that is live: may there be pages under it? */
extern bool cmk_registry_has_older(const CmkRelId *id);

/*
 * Copies what ref points to; info and key may be NULL.  false if the slot changed since
 * ref was made: look up again.
 */
extern bool cmk_registry_read(const CmkDekRef *ref, CmkDekInfo *info,
							  uint8_t key[CMK_DEK_SIZE]);

/*
 * The next slot in use at or after *cursor (start with 0), for views.  Sees each
 * slot that was there all the time exactly once.  *cursor is left behind the slot
 * that was returned.  false at the end.
 */
extern bool cmk_registry_next(uint32_t *cursor, CmkDekInfo *info);

extern uint32_t cmk_registry_count(void);	/* relations with a live DEK */
extern uint32_t cmk_registry_older_count(void); /* live DEKs of older generations */

/* Root keys: current one, or by number.  NULL if not open. */
extern const CmkRootKey *cmk_registry_root(void);
extern const CmkRootKey *cmk_registry_root_by_id(uint32_t id);

/*
 * The open root by which WAL of a segment that starts at lsn is sealed: of those
 * whose wal_from is not behind it the one with the highest, the newest of equals.
 * NULL: none, WAL is plain there.
 */
extern const CmkRootKey *cmk_registry_wal_root(uint64_t lsn);

/*
 * The open root whose number is generation modulo 16 and below that of before
 * (NULL: any), the newest such; NULL if there is none.
 */
extern const CmkRootKey *cmk_registry_root_of_generation(unsigned generation,
														 const CmkRootKey *before);

/* Where WAL begins to be sealed, by any open root; 0: nowhere. */
extern uint64_t cmk_registry_wal_begin(void);

/* 32 random bytes, new at each start of the postmaster: for temporary files. */
extern const uint8_t *cmk_registry_ephemeral(void);

/*
 * The damaged records, lowest first, at most max; returns their number, which
 * may be higher.  CMK_MAX_DAMAGED are enough for any report.
 */
extern uint32_t cmk_registry_damaged(CmkDamaged *list, uint32_t max);

/* ---- writers: the caller serialises ---- */

extern void cmk_registry_reset(void);	/* forget all DEKs, roots stay */
/*
 * These roots are open from now, and no others (n 0, current 0: none).  One that
 * stays open keeps its address, and its wal_from if it is not given another.  -1, and
 * nothing changed, if current is not among them or a number has another key than the
 * one that is open.
 */
extern int	cmk_registry_set_roots(const CmkRootKey *roots, int n,
								   uint32_t current, CmkError *err);
/*
 * An open root seals WAL from lsn on.  One that has a position already keeps it
 * if lsn is 0.  Nothing happens if no root of that number is open.
 */
extern void cmk_registry_set_wal_from(uint32_t id, uint64_t lsn);
/*
 * Takes a free slot without making it visible: the one that has been free
 * longest, after a load the lowest.  -1 with CMK_ERR_LIMIT: full.
 */
extern int	cmk_registry_reserve(uint32_t *slot, CmkError *err);
extern void cmk_registry_unreserve(uint32_t slot);
/*
 * Fills a reserved slot, or the given one on load, and makes it visible.  If the
 * slot holds this very relation already, its DEK is replaced in place: readers
 * see one or the other.  Of DEKs in several slots the one with the highest
 * generation is the newest, the others are older ones; a reader meets
 * one of them at any moment.  -1 if another slot has a generation of this relation
 * that is equal modulo 16, or the slot is another's, which nothing then changes, or,
 * and then the slot is free again, with CMK_ERR_LIMIT if the table is full.
 */
extern int	cmk_registry_insert(uint32_t slot, const CmkDekInfo *info,
								const uint8_t key[CMK_DEK_SIZE], CmkError *err);
extern void cmk_registry_set_state(uint32_t slot, CmkDekState state,
								   uint64_t death_lsn);
extern uint64_t cmk_registry_death_lsn(uint32_t slot);
extern void cmk_registry_set_death_lsn(uint32_t slot, uint64_t death_lsn);
extern void cmk_registry_remove(uint32_t slot);	/* zeroes the key too; older ones first */
/* The slot of a damaged record is kept from use; until forgotten, then free. */
extern void cmk_registry_note_damaged(const CmkDamaged *d);
extern void cmk_registry_forget_damaged(uint32_t record);
extern uint32_t cmk_registry_dead_count(void);

/*
 * What of the keys file is on disk.  Any process, no lock.  set_dirty counts a
 * change, after it was written.  dirty says whether there are changes that are
 * not synced, and how many there ever were; once the file is synced, clean takes
 * that number back.  Two processes that sync at once so both wait for the disk,
 * and a sync that fails leaves nothing to be undone.
 */
extern void cmk_registry_set_dirty(void);
extern bool cmk_registry_dirty(uint64_t *mark);
extern void cmk_registry_clean(uint64_t mark);

#endif							/* CMK_REGISTRY_H */
