/*
 * registry_write.c
 *	  Those who change the registry, one at a time: they owe their readers the
 *	  order that registry_impl.h promises.
 *
 * Nothing here can fail half-way.  A writer that is killed half-way takes the
 * server's other processes with it, and cmk_registry_reset() needs nothing that
 * could then be in disorder.
 */
#include <string.h>
#include <sys/mman.h>

#include "registry_impl.h"

/* ---- slots ---- */

/*
 * Makes the version odd.  It is odd already if a writer died here; the release
 * on the store, beyond the fence that seqlocks need, orders it behind the removal
 * of the slot's number from the table, which is what spares cmk_registry_find()
 * from waiting for a slot that nobody will finish.
 */
static uint64_t
slot_begin(CmkSlot *s)
{
	uint64_t	odd = (load_relaxed(&s->f.version) + 1) | 1;

	store_release(&s->f.version, odd);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	return odd;
}

static void
slot_end(CmkSlot *s, uint64_t odd)
{
	store_release(&s->f.version, odd + 1);
}

/* Gives a slot all that is in *new but the version. */
static void
slot_set(CmkSlot *s, const CmkSlot *new)
{
	uint64_t	odd = slot_begin(s);
	int			i;

	for (i = 1; i < SLOT_WORDS; i++)
		store_relaxed(&s->w[i], new->w[i]);
	slot_end(s, odd);
}

/* ---- the queue of free slots: first returned, first taken ---- */

#define next_free(slot)		(cmk_slots[slot].f.birth_lsn)
#define prev_free(slot)		(cmk_slots[slot].f.birth_id)

/* Zeroes a slot, its key with it, and puts it at the end of the queue. */
static void
slot_free(uint32_t slot)
{
	CmkSlot		new;

	memset(&new, 0, sizeof(new));
	new.f.birth_id = cmk_reg->free_tail;
	slot_set(&cmk_slots[slot], &new);

	if (cmk_reg->free_tail != 0)
		store_relaxed(&next_free(cmk_reg->free_tail - 1), slot + 1);
	else
		cmk_reg->free_head = slot + 1;
	cmk_reg->free_tail = slot + 1;
}

static void
queue_unlink(uint32_t slot)
{
	uint32_t	next = (uint32_t) next_free(slot);
	uint32_t	prev = (uint32_t) prev_free(slot);

	if (prev != 0)
		store_relaxed(&next_free(prev - 1), next);
	else
		cmk_reg->free_head = next;
	if (next != 0)
		store_relaxed(&prev_free(next - 1), prev);
	else
		cmk_reg->free_tail = prev;
}

/*
 * Takes a slot out of the free ones, if it is one, and gives it what is in *new.
 * Slots between the highest ever used and this one
 * become free ones: so a load, which goes up, leaves the lowest first in queue.
 */
static void
slot_take(uint32_t slot, const CmkSlot *new)
{
	if (slot >= cmk_reg->high)
	{
		uint32_t	gap = cmk_reg->high;

		store_release(&cmk_reg->high, slot + 1);
		for (; gap < slot; gap++)
			slot_free(gap);
	}
	else if (cmk_slots[slot].f.state == CMK_DEK_FREE)
		queue_unlink(slot);
	slot_set(&cmk_slots[slot], new);
}

/* ---- the table ---- */

static uint32_t
table_prev(uint32_t pos)
{
	return (pos + TABLE_SIZE - TABLE_GROUP) % TABLE_SIZE;
}

/* Writer: enters a slot whose id is not in the table.  False if full. */
static bool
table_add(const CmkRelId *id, uint32_t slot)
{
	uint32_t	pos = table_first(id);
	uint32_t	probes;

	for (probes = 0; probes < TABLE_PAGES; probes++, pos = table_next(pos))
	{
		if (cmk_table[pos] == TABLE_EMPTY || cmk_table[pos] == TABLE_GONE)
		{
			store_release(&cmk_table[pos], slot + 1);
			return true;
		}
	}
	return false;
}

/*
 * Writer: takes a slot's number out.  It leaves a mark, for a reader must go on
 * to what was entered behind it.  Marks with nothing behind them are then made
 * empty, else they would pile up until every miss walks a column from end to
 * end.  That hides no DEK from a reader who is under way: from a DEK's first
 * place to its own every place is taken as long as it stands there, and what is
 * emptied here is a run of marks that ends at an empty place, so nothing behind it
 * was to be found through it.  A reader who has passed the place where a DEK is
 * entered later misses it as if it had come earlier; the epoch then moves.
 */
static void
table_remove(const CmkRelId *id, uint32_t slot)
{
	uint32_t	pos = table_first(id);
	uint32_t	probes;

	for (probes = 0; cmk_table[pos] != slot + 1; probes++, pos = table_next(pos))
		if (probes == TABLE_PAGES)
			return;

	store_release(&cmk_table[pos], TABLE_GONE);
	if (cmk_table[table_next(pos)] != TABLE_EMPTY)
		return;
	for (; cmk_table[pos] == TABLE_GONE; pos = table_prev(pos))
		store_release(&cmk_table[pos], TABLE_EMPTY);
}

/* ---- writers ---- */

static void
next_epoch(void)
{
	__atomic_fetch_add(&cmk_reg->epoch, 1, __ATOMIC_RELEASE);
}

/* One more or one less DEK as this one. */
static void
count_slot(const CmkSlot *s, int by)
{
	uint32_t   *counter = s->f.state == CMK_DEK_DEAD ? &cmk_reg->dead :
	s->f.older ? &cmk_reg->older : &cmk_reg->live;

	store_relaxed(counter, *counter + (uint32_t) by);
}

/*
 * Also puts right whatever a writer that died in the middle left: nothing is
 * read but the versions, which go on growing.  The table's pages are given back
 * (tmpfs then has zeros there), so that this costs what was used.
 */
void
cmk_registry_reset(void)
{
	CmkSlot		none;
	uint32_t	i;

	memset(&none, 0, sizeof(none));
	if (madvise(cmk_table, TABLE_BYTES, MADV_REMOVE) < 0)
		for (i = 0; i < TABLE_SIZE; i++)
			if (cmk_table[i] != TABLE_EMPTY)
				store_relaxed(&cmk_table[i], TABLE_EMPTY);
	for (i = 0; i < cmk_reg->high; i++)
		slot_set(&cmk_slots[i], &none);

	store_relaxed(&cmk_reg->high, 0);
	store_relaxed(&cmk_reg->live, 0);
	store_relaxed(&cmk_reg->older, 0);
	store_relaxed(&cmk_reg->dead, 0);
	store_relaxed(&cmk_reg->damaged, 0);
	cmk_reg->damaged_from = cmk_reg->damaged_to = 0;
	cmk_reg->free_head = cmk_reg->free_tail = 0;
	next_epoch();
}

int
cmk_registry_reserve(uint32_t *slot, CmkError *err)
{
	CmkSlot		new;

	*slot = cmk_reg->free_head != 0 ? cmk_reg->free_head - 1 : cmk_reg->high;
	if (*slot >= CMK_MAX_DEKS)
	{
		cmk_fail(err, CMK_ERR_LIMIT, "no room for another data key");
		return cmk_fail_detail(err, "There are keys for %d relations already.",
							   CMK_MAX_DEKS);
	}
	memset(&new, 0, sizeof(new));
	new.f.state = SLOT_RESERVED;
	slot_take(*slot, &new);
	return 0;
}

void
cmk_registry_unreserve(uint32_t slot)
{
	if (cmk_slots[slot].f.state == SLOT_RESERVED)
		slot_free(slot);
}

static bool
is_available(uint32_t slot)
{
	return slot >= cmk_reg->high ||
		cmk_slots[slot].f.state == SLOT_RESERVED ||
		cmk_slots[slot].f.state == CMK_DEK_FREE;
}

/* The caller wipes *new. */
static void
set_dek(CmkSlot *new, const CmkDekInfo *info, const uint8_t key[CMK_DEK_SIZE])
{
	memset(new, 0, sizeof(*new));
	new->f.id = info->id;
	new->f.generation = info->generation;
	new->f.flags = info->flags;
	new->f.root_id = info->root_id;
	new->f.state = info->state;
	new->f.birth_lsn = info->birth_lsn;
	new->f.birth_id = info->birth_id;
	new->f.created = info->created;
	memcpy(new->f.key, key, CMK_DEK_SIZE);
}

/* Changes the word that holds it. */
static void
set_older(CmkSlot *s, bool older)
{
	CmkSlot		new;

	count_slot(s, -1);
	new.w[WORD(state)] = s->w[WORD(state)];
	new.f.older = older;
	store_release(&s->w[WORD(state)], new.w[WORD(state)]);
	count_slot(s, 1);
}

int
cmk_registry_insert(uint32_t slot, const CmkDekInfo *info,
					const uint8_t key[CMK_DEK_SIZE], CmkError *err)
{
	CmkDekRef	same;
	CmkDekRef	newest;
	CmkSlot		new;
	bool		in_place = slot < cmk_reg->high && slot < CMK_MAX_DEKS &&
	in_use(cmk_slots[slot].f.state) && same_id(&cmk_slots[slot].f.id, &info->id);
	bool		others;
	bool		replaces;

	if (slot >= CMK_MAX_DEKS || !in_use(info->state) ||
		(!in_place && !is_available(slot)) ||
		(cmk_registry_find_generation(&info->id, info->generation, &same) &&
		 same.slot != slot))
		return cmk_fail(err, CMK_ERR_CORRUPT,
						"slot %u cannot take the key of relation %u/%u/%u",
						slot, info->id.spc, info->id.db, info->id.rel);

	set_dek(&new, info, key);
	others = cmk_registry_find(&info->id, &newest) && newest.slot != slot;
	new.f.older = others && cmk_slots[newest.slot].f.generation > info->generation;
	if (in_place)
	{
		count_slot(&cmk_slots[slot], -1);
		slot_set(&cmk_slots[slot], &new);
	}
	else
		slot_take(slot, &new);
	cmk_cleanse(&new, sizeof(new));

	replaces = others && !cmk_slots[slot].f.older;
	if (replaces)
		set_older(&cmk_slots[newest.slot], true);
	if (!in_place && !table_add(&info->id, slot))
	{
		if (replaces)
			set_older(&cmk_slots[newest.slot], false);
		slot_free(slot);
		return cmk_fail(err, CMK_ERR_LIMIT,
						"no room for another data key in the table of keys");
	}
	count_slot(&cmk_slots[slot], 1);
	next_epoch();
	return 0;
}

void
cmk_registry_set_state(uint32_t slot, CmkDekState state, uint64_t death_lsn)
{
	CmkSlot    *s = &cmk_slots[slot];
	CmkSlot		new;

	if (!in_use(s->f.state) || !in_use(state))
		return;
	count_slot(s, -1);
	new.w[WORD(state)] = s->w[WORD(state)];
	new.f.state = (uint16_t) state;
	store_relaxed(&s->f.death_lsn, state == CMK_DEK_DEAD ? death_lsn : 0);
	store_release(&s->w[WORD(state)], new.w[WORD(state)]);
	count_slot(s, 1);
	next_epoch();
}

uint64_t
cmk_registry_death_lsn(uint32_t slot)
{
	return load_relaxed(&cmk_slots[slot].f.death_lsn);
}

void
cmk_registry_set_death_lsn(uint32_t slot, uint64_t death_lsn)
{
	store_relaxed(&cmk_slots[slot].f.death_lsn, death_lsn);
}

void
cmk_registry_remove(uint32_t slot)
{
	CmkRelId	id = cmk_slots[slot].f.id;

	if (!in_use(cmk_slots[slot].f.state))
		return;
	table_remove(&id, slot);
	count_slot(&cmk_slots[slot], -1);
	slot_free(slot);
	next_epoch();
}

void
cmk_registry_note_damaged(const CmkDamaged *d)
{
	uint32_t	slot = d->record - 1;
	CmkSlot		new;

	if (slot >= CMK_MAX_DEKS || in_use(cmk_slots[slot].f.state))
		return;
	if (cmk_slots[slot].f.state != SLOT_DAMAGED)
	{
		if (cmk_reg->damaged == 0 || slot < cmk_reg->damaged_from)
			store_relaxed(&cmk_reg->damaged_from, slot);
		if (cmk_reg->damaged == 0 || slot >= cmk_reg->damaged_to)
			store_relaxed(&cmk_reg->damaged_to, slot + 1);
		store_release(&cmk_reg->damaged, cmk_reg->damaged + 1);
	}
	memset(&new, 0, sizeof(new));
	new.f.state = SLOT_DAMAGED;
	new.f.id = d->id;
	new.f.root_id = d->root_id;
	new.f.flags = d->id_known;
	slot_take(slot, &new);
}

void
cmk_registry_forget_damaged(uint32_t record)
{
	uint32_t	slot = record - 1;

	if (slot >= CMK_MAX_DEKS || cmk_slots[slot].f.state != SLOT_DAMAGED)
		return;
	slot_free(slot);
	store_release(&cmk_reg->damaged, cmk_reg->damaged - 1);
}

uint32_t
cmk_registry_dead_count(void)
{
	return load_relaxed(&cmk_reg->dead);
}

