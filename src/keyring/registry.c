/*
 * registry.c
 *	  The registry's memory and those who read it; registry_impl.h says how they
 *	  get along with writers.  And the roots, which have readers' pointers to them.
 */
#include <string.h>
#include <unistd.h>

#include "registry_impl.h"
#include "../seal/secret.h"

#define HEADER_SIZE		((sizeof(CmkRegistry) + 4095) / 4096 * 4096)
#define SLOTS_SIZE		((size_t) CMK_MAX_DEKS * sizeof(CmkSlot))
#define KEYS_SIZE		(HEADER_SIZE + SLOTS_SIZE)	/* what should be locked */
#define TABLE_OFFSET	((KEYS_SIZE + 4095) / 4096 * 4096)

static CmkSecretRegion region;
CmkRegistry *cmk_reg;
CmkSlot    *cmk_slots;
uint32_t   *cmk_table;

/* ---- the region ---- */

/* What an empty region begins with. */
static int
begin(CmkError *err)
{
	if (cmk_random_key(cmk_reg->ephemeral, sizeof(cmk_reg->ephemeral)) < 0)
	{
		cmk_fail(err, CMK_ERR_CRYPTO, "could not get random bytes");
		return cmk_fail_openssl(err);
	}
	cmk_reg->epoch = 1;
	return 0;
}

int
cmk_registry_create(CmkError *err)
{
	if (cmk_secret_create(&region, TABLE_OFFSET + TABLE_BYTES, KEYS_SIZE,
						  err) < 0)
		return -1;
	cmk_reg = region.base;
	cmk_slots = (CmkSlot *) ((char *) region.base + HEADER_SIZE);
	cmk_table = (uint32_t *) ((char *) region.base + TABLE_OFFSET);

	if (begin(err) < 0)
	{
		cmk_secret_destroy(&region);
		cmk_reg = NULL;
		return -1;
	}
	return 0;
}

int
cmk_registry_renew(CmkError *err)
{
	cmk_registry_wipe();

	/* What was written to the keys file before may not be on disk. */
	cmk_registry_set_dirty();
	return begin(err);
}

void
cmk_registry_child(void)
{
	cmk_secret_lock(&region);
}

void
cmk_registry_wipe(void)
{
	if (cmk_reg == NULL || region.creator != (int) getpid())
		return;

	/* No reader may meet an empty table under an epoch that counts. */
	store_release(&cmk_reg->epoch, 0);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	cmk_secret_wipe(&region);
}

void
cmk_registry_lock_report(size_t *wanted, size_t *locked)
{
	*wanted = HEADER_SIZE +
		((size_t) load_relaxed(&cmk_reg->high) * sizeof(CmkSlot) + 4095) / 4096 * 4096;
	*locked = region.locked < *wanted ? region.locked : *wanted;
}

/* ---- readers ---- */

/* slot_copy() of the words before the key, until it succeeds. */
static void
slot_meta(const CmkSlot *s, CmkSlot *copy)
{
	unsigned	spins = 0;

	while (!slot_copy(s, copy, SLOT_META_WORDS))
		wait_for_writer(&spins);
}

static void
fill_info(CmkDekInfo *info, const CmkSlot *s)
{
	info->id = s->f.id;
	info->state = (CmkDekState) s->f.state;
	info->flags = s->f.flags;
	info->generation = s->f.generation;
	info->root_id = s->f.root_id;
	info->birth_lsn = s->f.birth_lsn;
	info->birth_id = s->f.birth_id;
	info->created = s->f.created;
	info->older = s->f.older != 0;
}

uint64_t
cmk_registry_epoch(void)
{
	return load_acquire(&cmk_reg->epoch);
}

/* A walk through the places where a relation's DEKs can be. */
typedef struct Walk
{
	uint32_t	pos;
	uint32_t	probes;
	CmkDekRef	ref;			/* what was met last */
	CmkSlot		copy;			/* … up to its state */
} Walk;

/*
 * The next DEK of id.  A slot that is met while it changes is either being replaced
 * in place, which ends at once, or no longer what the table says, and the table's
 * word, loaded again, says something else by then (slot_begin).  Both end by looking
 * at the same place again.
 */
static bool
walk(Walk *w, const CmkRelId *id)
{
	unsigned	spins = 0;

	while (w->probes < TABLE_PAGES)
	{
		uint32_t	entry = load_acquire(&cmk_table[w->pos]);

		if (entry == TABLE_EMPTY)
			return false;
		if (entry != TABLE_GONE &&
			!slot_copy(&cmk_slots[entry - 1], &w->copy, WORD(state) + 1))
		{
			wait_for_writer(&spins);
			continue;
		}
		w->probes++;
		w->pos = table_next(w->pos);
		if (entry != TABLE_GONE && in_use(w->copy.f.state) &&
			same_id(&w->copy.f.id, id))
		{
			w->ref.slot = entry - 1;
			w->ref.version = w->copy.f.version;
			return true;
		}
	}
	return false;
}

bool
cmk_registry_find(const CmkRelId *id, CmkDekRef *ref)
{
	Walk		w = {.pos = table_first(id)};
	unsigned	generation = 0;
	bool		found = false;

	while (walk(&w, id))
	{
		if (found && w.copy.f.older && w.copy.f.generation < generation)
			continue;
		found = true;
		generation = w.copy.f.generation;
		*ref = w.ref;
		if (!w.copy.f.older)
			break;
	}
	return found;
}

bool
cmk_registry_find_generation(const CmkRelId *id, unsigned generation, CmkDekRef *ref)
{
	Walk		w = {.pos = table_first(id)};

	while (walk(&w, id))
	{
		if (w.copy.f.generation % 16 != generation % 16)
			continue;
		*ref = w.ref;
		return true;
	}
	return false;
}

bool
cmk_registry_has_older(const CmkRelId *id)
{
	Walk		w = {.pos = table_first(id)};

	if (cmk_registry_older_count() == 0)
		return false;
	while (walk(&w, id))
		if (w.copy.f.older && w.copy.f.state == CMK_DEK_LIVE)
			return true;
	return false;
}

bool
cmk_registry_read(const CmkDekRef *ref, CmkDekInfo *info,
				  uint8_t key[CMK_DEK_SIZE])
{
	const CmkSlot *s = &cmk_slots[ref->slot];
	CmkSlot		copy;
	bool		ok;

	if (load_acquire(&s->f.version) != ref->version)
		return false;
	if (info == NULL && key == NULL)
		return true;

	ok = slot_copy(s, &copy, key != NULL ? SLOT_WORDS : SLOT_META_WORDS) &&
		copy.f.version == ref->version;
	if (ok && info != NULL)
		fill_info(info, &copy);
	if (key != NULL)
	{
		if (ok)
			memcpy(key, copy.f.key, CMK_DEK_SIZE);
		cmk_cleanse(copy.f.key, CMK_DEK_SIZE);
	}
	return ok;
}

bool
cmk_registry_next(uint32_t *cursor, CmkDekInfo *info)
{
	uint32_t	high = load_acquire(&cmk_reg->high);

	while (*cursor < high)
	{
		CmkSlot		copy;

		slot_meta(&cmk_slots[(*cursor)++], &copy);
		if (in_use(copy.f.state))
		{
			fill_info(info, &copy);
			return true;
		}
	}
	return false;
}

uint32_t
cmk_registry_count(void)
{
	return load_relaxed(&cmk_reg->live);
}

uint32_t
cmk_registry_older_count(void)
{
	return load_relaxed(&cmk_reg->older);
}

const CmkRootKey *
cmk_registry_root(void)
{
	return cmk_registry_root_by_id(load_acquire(&cmk_reg->current));
}

const CmkRootKey *
cmk_registry_root_by_id(uint32_t id)
{
	int			i;

	for (i = 0; id != 0 && i < CMK_MAX_ROOTS; i++)
		if (load_acquire(&cmk_reg->roots[i].id) == id)
			return &cmk_reg->roots[i];
	return NULL;
}

const CmkRootKey *
cmk_registry_wal_root(uint64_t lsn)
{
	const CmkRootKey *best = NULL;
	uint64_t	best_from = 0;
	uint32_t	best_id = 0;
	int			i;

	for (i = 0; i < CMK_MAX_ROOTS; i++)
	{
		uint32_t	id = load_acquire(&cmk_reg->roots[i].id);
		uint64_t	from;

		if (id == 0)
			continue;
		from = load_acquire(&cmk_reg->roots[i].wal_from);
		if (from == 0 || from > lsn || from < best_from ||
			(from == best_from && id < best_id))
			continue;
		best = &cmk_reg->roots[i];
		best_from = from;
		best_id = id;
	}
	return best;
}

const CmkRootKey *
cmk_registry_root_of_generation(unsigned generation, const CmkRootKey *before)
{
	uint32_t	limit = before != NULL ? before->id : UINT32_MAX;
	uint32_t	best = 0;
	int			i;

	for (i = 0; i < CMK_MAX_ROOTS; i++)
	{
		uint32_t	id = load_acquire(&cmk_reg->roots[i].id);

		if (id != 0 && id % 16 == generation && id < limit && id > best)
			best = id;
	}
	return cmk_registry_root_by_id(best);
}

uint64_t
cmk_registry_wal_begin(void)
{
	uint64_t	begin = 0;
	int			i;

	for (i = 0; i < CMK_MAX_ROOTS; i++)
	{
		uint64_t	from;

		if (load_acquire(&cmk_reg->roots[i].id) == 0)
			continue;
		from = load_acquire(&cmk_reg->roots[i].wal_from);
		if (from != 0 && (begin == 0 || from < begin))
			begin = from;
	}
	return begin;
}

void
cmk_registry_set_wal_from(uint32_t id, uint64_t lsn)
{
	int			i;

	for (i = 0; id != 0 && lsn != 0 && i < CMK_MAX_ROOTS; i++)
		if (load_acquire(&cmk_reg->roots[i].id) == id)
			store_release(&cmk_reg->roots[i].wal_from, lsn);
}

const uint8_t *
cmk_registry_ephemeral(void)
{
	return cmk_reg->ephemeral;
}

/*
 * Damaged records stand in their own slots, which so cannot be given to another
 * DEK; there is no list that could be too short.  Only the slots between the
 * lowest and the highest are looked at.
 */
uint32_t
cmk_registry_damaged(CmkDamaged *list, uint32_t max)
{
	uint32_t	total = load_acquire(&cmk_reg->damaged);
	uint32_t	to = load_relaxed(&cmk_reg->damaged_to);
	uint32_t	slot;
	uint32_t	n = 0;

	if (total == 0)
		return 0;
	for (slot = load_relaxed(&cmk_reg->damaged_from); slot < to && n < max; slot++)
	{
		CmkSlot		copy;

		slot_meta(&cmk_slots[slot], &copy);
		if (copy.f.state != SLOT_DAMAGED)
			continue;
		list[n].record = slot + 1;
		list[n].id_known = copy.f.flags != 0;
		list[n].id = copy.f.id;
		list[n].root_id = copy.f.root_id;
		n++;
	}
	return n < max ? n : total;
}

/* ---- roots ---- */

/* Whether the roots that are to be open can be: forgets none, changes nothing. */
static int
check_roots(const CmkRootKey *roots, int n, uint32_t current, CmkError *err)
{
	bool		found = current == 0 && n == 0;
	int			i,
				j;

	if (n < 0 || n > CMK_MAX_ROOTS)
		return cmk_fail(err, CMK_ERR_LIMIT, "%d root keys are too many", n);
	for (i = 0; i < n; i++)
	{
		const CmkRootKey *open = cmk_registry_root_by_id(roots[i].id);

		for (j = 0; j < i; j++)
			if (roots[j].id == roots[i].id)
				break;
		if (roots[i].id == 0 || j < i)
			return cmk_fail(err, CMK_ERR_CORRUPT,
							"root key number %u is 0 or there twice",
							roots[i].id);
		if (open != NULL &&
			(!cmk_equal(open->key, roots[i].key, CMK_ROOT_KEY_SIZE) ||
			 !cmk_equal(open->salt, roots[i].salt, CMK_SALT_SIZE)))
			return cmk_fail(err, CMK_ERR_CORRUPT,
							"root key %u is open already and is another one",
							roots[i].id);
		if (roots[i].id == current)
			found = true;
	}
	if (!found)
		return cmk_fail(err, CMK_ERR_CORRUPT,
						"current root key %u is not among the root keys",
						current);
	return 0;
}

/*
 * Roots that stay open stay where they are, for readers hold pointers to them.
 * A new one gets its number last, one that goes loses it first.
 */
int
cmk_registry_set_roots(const CmkRootKey *roots, int n, uint32_t current,
					   CmkError *err)
{
	int			i,
				j;

	if (check_roots(roots, n, current, err) < 0)
		return -1;

	for (i = 0; i < CMK_MAX_ROOTS; i++)
	{
		CmkRootKey *r = &cmk_reg->roots[i];

		for (j = 0; j < n && roots[j].id != r->id; j++)
			;
		if (r->id == 0 || j < n)
			continue;
		store_release(&r->id, 0);
		cmk_cleanse(r->key, sizeof(r->key));
		cmk_cleanse(r->salt, sizeof(r->salt));
		cmk_cleanse(r->wal_key, sizeof(r->wal_key));
		store_release(&r->wal_from, 0);
	}
	for (j = 0; j < n; j++)
	{
		if (cmk_registry_root_by_id(roots[j].id) != NULL)
		{
			cmk_registry_set_wal_from(roots[j].id, roots[j].wal_from);
			continue;
		}
		for (i = 0; cmk_reg->roots[i].id != 0; i++)
			;
		memcpy(cmk_reg->roots[i].key, roots[j].key, CMK_ROOT_KEY_SIZE);
		memcpy(cmk_reg->roots[i].salt, roots[j].salt, CMK_SALT_SIZE);
		memcpy(cmk_reg->roots[i].wal_key, roots[j].wal_key, sizeof(roots[j].wal_key));
		store_release(&cmk_reg->roots[i].wal_from, roots[j].wal_from);
		store_release(&cmk_reg->roots[i].id, roots[j].id);
	}
	store_release(&cmk_reg->current, current);
	return 0;
}

/* ---- the keys file and the disk ---- */

void
cmk_registry_set_dirty(void)
{
	__atomic_fetch_add(&cmk_reg->changes, 1, __ATOMIC_RELEASE);
}

bool
cmk_registry_dirty(uint64_t *mark)
{
	*mark = load_acquire(&cmk_reg->changes);
	return load_acquire(&cmk_reg->synced) < *mark;
}

void
cmk_registry_clean(uint64_t mark)
{
	uint64_t	synced = load_relaxed(&cmk_reg->synced);

	while (synced < mark &&
		   !__atomic_compare_exchange_n(&cmk_reg->synced, &synced, mark, false,
										__ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
}
