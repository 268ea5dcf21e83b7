/*
 * registry_impl.h
 *	  The registry's memory: what its readers (registry.c) and its writers
 *	  (registry_write.c) share.  Nobody else includes this.
 *
 * The page path asks for a key at every look-up that its descriptor cannot
 * answer, in every process, also in critical sections.  A lock there could be
 * held by a process that died.  So writers, who are rare, do the work: a slot is
 * a seqlock, and the table is changed one word at a time, in an order in which
 * every prefix is a state that a reader may meet.
 *
 * The region:
 *
 *		header		roots, ephemeral key, counters, queue of free slots
 *		slots		CMK_MAX_DEKS of 128 bytes, the key in the second half
 *		table		TABLE_PAGES pages of 1024 slot numbers of 4 bytes
 *
 * Keys come first because locking begins at the base and may not reach far; the
 * table holds no secret.  Nothing is touched before it is needed: slots from
 * "high" on were never used and are not in the queue, and the table begins as
 * zeros.  Relfilenodes are handed out by a counter, so the low ten bits of
 * relfilenode choose the place within a page of the table and a hash of all else
 * chooses the page: a thousand relations in a row share one or two pages of it,
 * and a DEK costs some 140 bytes of memory.
 *
 * Memory order.  A writer makes a slot's version odd, issues a release fence,
 * stores the words, and stores the next even version with release.  A reader
 * loads the version with acquire, loads the words, issues an acquire fence and
 * loads the version again.  If it saw any of the writer's words, the fences make
 * the odd version visible to its second load, and it knows (Boehm, "Can seqlocks
 * get along with programming language memory models?", 2012).  All words are
 * atomic, so there is no data race to reason about.  A version only ever grows,
 * also over reuse of the slot, so (slot, version) names a key for good.  Readers
 * that meet an odd version wait for some twenty stores of the writer; if it was
 * killed there, until the server has ended them all, as it then does at once.
 *
 * A slot is filled before its number enters the table (release; the reader's
 * load of the number acquires), and its number leaves the table before it is
 * touched again.  The epoch is increased after both, so whoever reads the new
 * epoch finds what changed, and whoever looked up too early sees it move.
 *
 * The generations of a relation's DEK are in slots and places of their own, on the
 * same way through the table.  The one before is called older, then the new one
 * enters: who looks for the newest meanwhile gets one of the two, and who
 * passed the place of the new one too early is content with the older one.  Whoever
 * has met the new one sees that there is an older one, and does not take the
 * pages under it for its own.
 */
#ifndef CMK_REGISTRY_IMPL_H
#define CMK_REGISTRY_IMPL_H

#include <sched.h>
#include <stddef.h>

#include "registry.h"

/* One page of the table is one group of 1024 relfilenodes. */
#define TABLE_GROUP		1024
#define TABLE_PAGES		4096
#define TABLE_SIZE		(TABLE_GROUP * TABLE_PAGES)
#define TABLE_EMPTY		0u
#define TABLE_GONE		0xffffffffu

_Static_assert(TABLE_SIZE >= 4 * CMK_MAX_DEKS, "the table stays sparse");

/* States that a slot has beyond those of a record. */
#define SLOT_RESERVED	3
#define SLOT_DAMAGED	4

typedef union CmkSlot
{
	struct
	{
		uint64_t	version;	/* odd while the rest changes */
		CmkRelId	id;
		uint16_t	generation;
		uint16_t	flags;		/* damaged: whether id can be believed */
		uint32_t	root_id;
		uint16_t	state;
		uint16_t	older;		/* a newer generation is in another slot */
		uint64_t	birth_lsn;	/* free: next slot + 1 of the queue, or 0 */
		uint64_t	birth_id;	/* free: previous slot + 1, or 0 */
		int64_t		created;
		uint64_t	death_lsn;
		uint8_t		key[CMK_DEK_SIZE];
	}			f;
	uint64_t	w[16];
} CmkSlot;

#define SLOT_META_WORDS	8		/* the key is what follows */
#define SLOT_WORDS		16
#define WORD(field)		(offsetof(CmkSlot, f.field) / 8)

_Static_assert(sizeof(CmkSlot) == 128, "a slot is 128 bytes");
_Static_assert(offsetof(CmkSlot, f.key) == 8 * SLOT_META_WORDS,
			   "the key is the second half of a slot");

typedef struct CmkRegistry
{
	uint64_t	epoch;
	uint64_t	changes;		/* of the keys file */
	uint64_t	synced;			/* changes that are known to be on disk */
	uint32_t	high;			/* slots from here on were never used */
	uint32_t	live;			/* newest generations */
	uint32_t	older;			/* live ones of older generations */
	uint32_t	dead;
	uint32_t	damaged;
	uint32_t	damaged_from;	/* damaged slots are in [from, to) */
	uint32_t	damaged_to;
	uint32_t	free_head;		/* slot + 1; 0: empty */
	uint32_t	free_tail;
	uint32_t	current;		/* id of the current root */
	uint8_t		ephemeral[CMK_ROOT_KEY_SIZE];
	CmkRootKey	roots[CMK_MAX_ROOTS];
} CmkRegistry;

#define TABLE_BYTES		((size_t) TABLE_SIZE * sizeof(uint32_t))

extern CmkRegistry *cmk_reg;
extern CmkSlot *cmk_slots;
extern uint32_t *cmk_table;

#define load_acquire(p)		__atomic_load_n(p, __ATOMIC_ACQUIRE)
#define load_relaxed(p)		__atomic_load_n(p, __ATOMIC_RELAXED)
#define store_release(p, v)	__atomic_store_n(p, v, __ATOMIC_RELEASE)
#define store_relaxed(p, v)	__atomic_store_n(p, v, __ATOMIC_RELAXED)

static inline bool
in_use(uint32_t state)
{
	return state == CMK_DEK_LIVE || state == CMK_DEK_DEAD;
}

static inline bool
same_id(const CmkRelId *a, const CmkRelId *b)
{
	return a->spc == b->spc && a->db == b->db && a->rel == b->rel;
}

/*
 * Copies words 1 to n-1 of a slot.  False if it was changing; then copy holds
 * nothing to be believed.  copy->f.version is the version of what was copied.
 */
static inline bool
slot_copy(const CmkSlot *s, CmkSlot *copy, int n)
{
	int			i;

	copy->f.version = load_acquire(&s->f.version);
	for (i = 1; i < n; i++)
		copy->w[i] = load_relaxed(&s->w[i]);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return (copy->f.version & 1) == 0 &&
		load_relaxed(&s->f.version) == copy->f.version;
}

/*
 * What to do while a writer is between its two versions: some twenty stores,
 * unless it was put to sleep.
 */
static inline void
wait_for_writer(unsigned *spins)
{
	if (++*spins % 64 == 0)
		sched_yield();
}

/* The finalizer of MurmurHash3, which is a published bijection. */
static inline uint64_t
mix64(uint64_t h)
{
	h ^= h >> 33;
	h *= UINT64_C(0xff51afd7ed558ccd);
	h ^= h >> 33;
	h *= UINT64_C(0xc4ceb9fe1a85ec53);
	h ^= h >> 33;
	return h;
}

/*
 * Where to look for id first.  The place within the page is permuted from group
 * to group, so that relfilenodes which are equal modulo 1024 do not meet.
 */
static inline uint32_t
table_first(const CmkRelId *id)
{
	uint64_t	h = mix64(mix64((uint64_t) id->spc << 32 | id->db) ^
						  id->rel / TABLE_GROUP);
	uint32_t	page = (uint32_t) (h % TABLE_PAGES);
	uint32_t	place = (id->rel ^ (uint32_t) (h >> 32)) % TABLE_GROUP;

	return page * TABLE_GROUP + place;
}

/* And next: the same place of the next page, so two full groups do not pile up. */
static inline uint32_t
table_next(uint32_t pos)
{
	return (pos + TABLE_GROUP) % TABLE_SIZE;
}

#endif							/* CMK_REGISTRY_IMPL_H */
