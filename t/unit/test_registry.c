/*
 * test_registry.c
 *	  The registry alone: finding, reuse, limits, memory, and readers in other
 *	  processes while a writer changes everything.
 */
#include "unit.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../src/keyring/registry.h"

static CmkRelId
rel_id(uint32_t rel)
{
	CmkRelId	id = {1663, 5, rel};

	return id;
}

/* A key that says whose it is, so that a reader can tell a mixed one. */
static void
key_for(const CmkRelId *id, uint64_t birth_id, uint8_t key[CMK_DEK_SIZE])
{
	int			i;

	for (i = 0; i < CMK_DEK_SIZE; i++)
		key[i] = (uint8_t) (id->rel * 31 + birth_id * 17 + (uint64_t) i);
}

static CmkDekInfo
info_for(const CmkRelId *id, uint64_t birth_id)
{
	CmkDekInfo	info;

	memset(&info, 0, sizeof(info));
	info.id = *id;
	info.state = CMK_DEK_LIVE;
	info.generation = (uint16_t) birth_id;
	info.root_id = 1;
	info.birth_id = birth_id;
	info.birth_lsn = birth_id * 3;
	info.created = (int64_t) birth_id * 5;
	return info;
}

/* Enters id; its slot, or -1. */
static int64_t
enter(const CmkRelId *id, uint64_t birth_id)
{
	CmkDekInfo	info = info_for(id, birth_id);
	uint8_t		key[CMK_DEK_SIZE];
	uint32_t	slot;

	key_for(id, birth_id, key);
	if (cmk_registry_reserve(&slot, NULL) < 0)
		return -1;
	if (cmk_registry_insert(slot, &info, key, NULL) < 0)
	{
		cmk_registry_unreserve(slot);
		return -1;
	}
	return slot;
}

static bool
is_known(uint32_t rel)
{
	CmkRelId	id = rel_id(rel);
	CmkDekRef	ref;

	return cmk_registry_find(&id, &ref);
}

static void
finds_what_was_entered(void)
{
	CmkRelId	id = rel_id(20000);
	CmkDekRef	ref;
	CmkDekInfo	info;
	uint8_t		key[CMK_DEK_SIZE];
	uint8_t		want[CMK_DEK_SIZE];
	uint64_t	epoch = cmk_registry_epoch();

	cmk_registry_reset();
	CHECK(!cmk_registry_find(&id, &ref));
	CHECK_INT(enter(&id, 9), 0);
	CHECK(cmk_registry_epoch() > epoch);
	CHECK_INT(cmk_registry_count(), 1);
	CHECK(cmk_registry_find(&id, &ref));
	CHECK(cmk_registry_read(&ref, &info, key));
	CHECK_INT(info.id.rel, 20000);
	CHECK_INT(info.state, CMK_DEK_LIVE);
	CHECK_INT(info.generation, 9);
	CHECK_INT(info.root_id, 1);
	CHECK_INT(info.birth_id, 9);
	CHECK_INT(info.birth_lsn, 27);
	CHECK_INT(info.created, 45);
	key_for(&id, 9, want);
	CHECK_MEM(key, want, CMK_DEK_SIZE);
	CHECK(cmk_registry_read(&ref, NULL, NULL));

	id.db = 6;
	CHECK(!cmk_registry_find(&id, &ref));
	id.db = 5;
	id.spc = 1664;
	CHECK(!cmk_registry_find(&id, &ref));
}

static void
a_reserved_slot_is_not_visible(void)
{
	uint32_t	slot;
	uint32_t	again;
	uint32_t	cursor = 0;
	CmkDekInfo	info;

	cmk_registry_reset();
	CHECK_INT(cmk_registry_reserve(&slot, NULL), 0);
	CHECK_INT(slot, 0);
	CHECK_INT(cmk_registry_count(), 0);
	CHECK(!cmk_registry_next(&cursor, &info));
	CHECK_INT(cmk_registry_reserve(&again, NULL), 0);
	CHECK_INT(again, 1);
	cmk_registry_unreserve(slot);
	cmk_registry_unreserve(slot);
	CHECK_INT(cmk_registry_reserve(&again, NULL), 0);
	CHECK_INT(again, 0);
}

static void
an_old_ref_does_not_read_a_new_key(void)
{
	CmkRelId	a = rel_id(1);
	CmkRelId	b = rel_id(2);
	CmkDekRef	old;
	CmkDekRef	ref;
	uint8_t		key[CMK_DEK_SIZE];
	int64_t		slot;

	cmk_registry_reset();
	slot = enter(&a, 1);
	CHECK(cmk_registry_find(&a, &old));
	cmk_registry_remove((uint32_t) slot);
	CHECK(!is_known(1));
	CHECK(!cmk_registry_read(&old, NULL, key));
	CHECK_INT(enter(&b, 2), slot);
	CHECK(!cmk_registry_read(&old, NULL, key));
	CHECK(cmk_registry_find(&b, &ref));
	CHECK(ref.version > old.version);

	/* nor over a reset, as after a crash of the server */
	cmk_registry_reset();
	CHECK(!cmk_registry_read(&ref, NULL, key));
	CHECK_INT(enter(&b, 2), slot);
	CHECK(!cmk_registry_read(&ref, NULL, key));
}

static void
a_dek_is_replaced_in_place(void)
{
	CmkRelId	id = rel_id(7);
	CmkRelId	other = rel_id(8);
	CmkDekInfo	info;
	CmkDekRef	old;
	CmkDekRef	ref;
	uint8_t		key[CMK_DEK_SIZE];
	uint8_t		got[CMK_DEK_SIZE];
	CmkError	err;

	cmk_registry_reset();
	CHECK_INT(enter(&id, 1), 0);
	CHECK_INT(enter(&other, 1), 1);
	CHECK(cmk_registry_find(&id, &old));
	info = info_for(&id, 2);
	info.state = CMK_DEK_DEAD;
	key_for(&id, 2, key);
	CHECK_INT(cmk_registry_insert(0, &info, key, &err), 0);
	CHECK_INT(cmk_registry_count(), 1);
	CHECK_INT(cmk_registry_dead_count(), 1);
	CHECK(!cmk_registry_read(&old, NULL, got));
	CHECK(cmk_registry_find(&id, &ref));
	CHECK_INT(ref.slot, 0);
	CHECK(cmk_registry_read(&ref, &info, got));
	CHECK_MEM(got, key, CMK_DEK_SIZE);

	/* but not elsewhere, and not over another's */
	CHECK_INT(cmk_registry_insert(5, &info, key, &err), -1);
	CHECK_INT(cmk_registry_insert(1, &info, key, &err), -1);
	info.id.rel = 9;
	CHECK_INT(cmk_registry_insert(1, &info, key, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CORRUPT);
	CHECK(is_known(8) && !is_known(9));
}

static void
death_keeps_the_key_and_the_version(void)
{
	CmkRelId	id = rel_id(3);
	CmkDekRef	ref;
	CmkDekInfo	info;
	uint64_t	epoch;

	cmk_registry_reset();
	CHECK_INT(enter(&id, 1), 0);
	CHECK(cmk_registry_find(&id, &ref));
	epoch = cmk_registry_epoch();
	cmk_registry_set_state(0, CMK_DEK_DEAD, 77);
	CHECK(cmk_registry_epoch() > epoch);
	CHECK_INT(cmk_registry_count(), 0);
	CHECK_INT(cmk_registry_dead_count(), 1);
	CHECK_INT(cmk_registry_death_lsn(0), 77);
	CHECK(cmk_registry_read(&ref, &info, NULL));
	CHECK_INT(info.state, CMK_DEK_DEAD);
	CHECK_INT(info.root_id, 1);
	cmk_registry_set_death_lsn(0, 78);
	CHECK_INT(cmk_registry_death_lsn(0), 78);
	cmk_registry_set_state(0, CMK_DEK_LIVE, 0);
	CHECK_INT(cmk_registry_death_lsn(0), 0);
	CHECK_INT(cmk_registry_count(), 1);
	CHECK_INT(cmk_registry_dead_count(), 0);
}

/* On load slots come in any order, and what lies between them is free. */
static void
load_leaves_the_lowest_free_slots_first(void)
{
	static const uint32_t used[] = {2, 5, 6};
	uint32_t	slot;
	uint32_t	want;
	unsigned	i;

	cmk_registry_reset();
	for (i = 0; i < 3; i++)
	{
		CmkRelId	id = rel_id(100 + i);
		CmkDekInfo	info = info_for(&id, 1);
		uint8_t		key[CMK_DEK_SIZE];

		key_for(&id, 1, key);
		CHECK_INT(cmk_registry_insert(used[i], &info, key, NULL), 0);
	}
	for (want = 0; want < 10; want++)
	{
		if (want == 2 || want == 5 || want == 6)
			continue;
		CHECK_INT(cmk_registry_reserve(&slot, NULL), 0);
		CHECK_INT(slot, want);
	}
}

static void
damaged_slots_are_kept_from_use(void)
{
	CmkDamaged	d = {.record = 4, .id = {1, 2, 3}};
	CmkDamaged	list[4];
	uint32_t	slot;
	uint32_t	i;

	cmk_registry_reset();
	CHECK_INT(cmk_registry_damaged(list, 4), 0);
	cmk_registry_note_damaged(&d);
	d.record = 2;
	d.id_known = true;
	cmk_registry_note_damaged(&d);
	cmk_registry_note_damaged(&d);
	CHECK_INT(cmk_registry_damaged(list, 4), 2);
	CHECK_INT(list[0].record, 2);
	CHECK(list[0].id_known);
	CHECK_INT(list[1].record, 4);
	CHECK(!list[1].id_known);
	CHECK_INT(list[1].id.rel, 3);
	CHECK_INT(cmk_registry_damaged(list, 1), 2);

	for (i = 0; i < 6; i++)
	{
		CHECK_INT(cmk_registry_reserve(&slot, NULL), 0);
		CHECK(slot != 1 && slot != 3);
	}
	cmk_registry_forget_damaged(2);
	cmk_registry_forget_damaged(2);
	CHECK_INT(cmk_registry_damaged(list, 4), 1);
	CHECK_INT(list[0].record, 4);
	CHECK_INT(cmk_registry_reserve(&slot, NULL), 0);
	CHECK_INT(slot, 1);
	cmk_registry_reset();
	CHECK_INT(cmk_registry_damaged(list, 4), 0);
}

/* More than a list holds: none may become free for that. */
static void
damage_has_no_limit(void)
{
	CmkDamaged	list[CMK_MAX_DAMAGED];
	CmkDamaged	d = {.id = {1, 2, 3}};
	uint32_t	slot;

	cmk_registry_reset();
	for (d.record = 1; d.record <= 1000; d.record++)
		cmk_registry_note_damaged(&d);
	CHECK_INT(cmk_registry_damaged(list, CMK_MAX_DAMAGED), 1000);
	CHECK_INT(list[CMK_MAX_DAMAGED - 1].record, CMK_MAX_DAMAGED);
	CHECK_INT(cmk_registry_reserve(&slot, NULL), 0);
	CHECK_INT(slot, 1000);
}

/*
 * Against a plain array: random entries, deaths and removals among relations that
 * share places of the table, with chains, marks and slots used again.
 */
static void
agrees_with_a_simple_model(void)
{
	static uint8_t model[4096];	/* 0, or birth id */
	uint32_t	seed = 12345;
	uint32_t	present = 0;
	uint32_t	cursor = 0;
	uint32_t	i;
	CmkDekInfo	info;

	cmk_registry_reset();
	for (i = 0; i < 200000; i++)
	{
		uint32_t	pick;
		CmkRelId	id;
		CmkDekRef	ref;
		bool		found;

		seed = seed * 1664525 + 1013904223;
		pick = (seed >> 8) % 4096;
		/* all on one place of their group: 4096 groups in a column */
		id = rel_id(1000 + pick * 1024);
		found = cmk_registry_find(&id, &ref);
		CHECK_INT(found, model[pick] != 0);
		if (found)
		{
			CHECK(cmk_registry_read(&ref, &info, NULL));
			CHECK_INT(info.birth_id, model[pick]);
			cmk_registry_remove(ref.slot);
			model[pick] = 0;
			present--;
		}
		else if ((seed >> 4) % 4 != 0)
		{
			model[pick] = (uint8_t) (1 + i % 255);
			CHECK(enter(&id, model[pick]) >= 0);
			present++;
		}
		CHECK_INT(cmk_registry_count(), present);
	}
	for (i = 0; cmk_registry_next(&cursor, &info); i++)
		CHECK_INT(model[(info.id.rel - 1000) / 1024], info.birth_id);
	CHECK_INT(i, present);
}

static double
seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

static void
holds_a_million_and_says_when_it_is_full(void)
{
	CmkRelId	id;
	CmkError	err;
	uint32_t	slot;
	uint32_t	i;
	double		start = seconds();
	double		entered;

	cmk_registry_reset();
	for (i = 0; i < CMK_MAX_DEKS; i++)
	{
		/* three databases, gaps among the relfilenodes */
		id = rel_id(16384 + i / 3 * 3 / 2);
		id.db = 5 + i % 3;
		CHECK_INT(enter(&id, 1), i);
	}
	entered = seconds();
	for (i = 0; i < CMK_MAX_DEKS; i++)
	{
		CmkDekRef	ref;

		id = rel_id(16384 + i / 3 * 3 / 2);
		id.db = 5 + i % 3;
		CHECK(cmk_registry_find(&id, &ref));
		CHECK_INT(ref.slot, i);
	}
	printf("# 1,000,000 DEKs: entered in %.2f s, found in %.2f s\n",
		   entered - start, seconds() - entered);

	CHECK_INT(cmk_registry_count(), CMK_MAX_DEKS);
	CHECK_INT(cmk_registry_reserve(&slot, &err), -1);
	CHECK_INT(err.code, CMK_ERR_LIMIT);
	cmk_registry_remove(4711);
	CHECK_INT(cmk_registry_reserve(&slot, &err), 0);
	CHECK_INT(slot, 4711);
	cmk_registry_unreserve(slot);
	cmk_registry_reset();
	CHECK_INT(cmk_registry_count(), 0);
	CHECK(!is_known(16384));
}

/* Shared memory of this process, in bytes. */
static long
shared_bytes(void)
{
	FILE	   *f = fopen("/proc/self/status", "r");
	char		line[256];
	long		kb = -1;

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "RssShmem: %ld kB", &kb) == 1)
			break;
	if (f != NULL)
		fclose(f);
	return kb * 1024;
}

/* In a process of its own, for a region of its own. */
static int
measure_memory(uint32_t n, uint32_t step)
{
	long		before;
	long		after;
	uint32_t	i;

	before = shared_bytes();
	if (cmk_registry_create(NULL) < 0 || before < 0)
		return 1;
	for (i = 0; i < n; i++)
	{
		CmkRelId	id = rel_id(16384 + i * step);
		CmkDekRef	ref;

		if (enter(&id, 1) < 0 || !cmk_registry_find(&id, &ref))
			return 2;
	}
	after = shared_bytes();
	printf("# memory per DEK: %ld bytes for %u relations, every %u. relfilenode\n",
		   (after - before) / (long) n, n, step);
	fflush(stdout);
	return (after - before) / (long) n > 256 ? 3 : 0;
}

static int
in_child(int (*fn) (uint32_t, uint32_t), uint32_t a, uint32_t b)
{
	pid_t		pid = fork();
	int			status;

	if (pid == 0)
		_exit(fn(a, b));
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

static void
a_dek_costs_at_most_256_bytes(void)
{
	CHECK_INT(in_child(measure_memory, 1000, 1), 0);
	CHECK_INT(in_child(measure_memory, 1000, 8), 0);
	CHECK_INT(in_child(measure_memory, 100000, 1), 0);
}

/* ---- readers while a writer works ---- */

#define RELATIONS	64
#define READERS		3

typedef struct Shared
{
	int			stop;
	uint64_t	reads[READERS];
	uint64_t	misses[READERS];
	uint64_t	late[READERS];
} Shared;

/*
 * Relation 1 is replaced all the time but never gone; the others come and go.
 * Returns what was wrong.
 */
static int
reader(Shared *sh, int me)
{
	uint32_t	rel = 0;

	while (!__atomic_load_n(&sh->stop, __ATOMIC_RELAXED))
	{
		CmkRelId	id = rel_id(rel++ % 2 == 0 ? 1 : 1 + rel % RELATIONS);
		CmkDekRef	ref;
		CmkDekInfo	info;
		CmkDekInfo	seen;
		uint8_t		key[CMK_DEK_SIZE];
		uint8_t		want[CMK_DEK_SIZE];
		uint32_t	cursor = rel % RELATIONS;

		if (cmk_registry_next(&cursor, &seen) &&
			(seen.birth_lsn != seen.birth_id * 3 ||
			 seen.created != (int64_t) seen.birth_id * 5))
			return 1;
		if (!cmk_registry_find(&id, &ref))
		{
			if (id.rel == 1)
				return 2;
			sh->misses[me]++;
			continue;
		}
		if (!cmk_registry_read(&ref, &info, key))
		{
			sh->late[me]++;
			continue;
		}
		sh->reads[me]++;
		if (info.id.rel != id.rel || info.birth_lsn != info.birth_id * 3 ||
			info.generation != (uint16_t) info.birth_id)
			return 3;
		key_for(&id, info.birth_id, want);
		if (memcmp(key, want, CMK_DEK_SIZE) != 0)
			return 4;
	}
	return 0;
}

/* One change to a relation: entered, killed, removed or replaced. */
static bool
change(uint32_t rel, uint64_t birth_id)
{
	CmkRelId	id = rel_id(rel);
	CmkDekRef	ref;

	if (!cmk_registry_find(&id, &ref))
		return enter(&id, birth_id) >= 0;
	if (rel == 1 || birth_id % 7 == 0)
	{
		CmkDekInfo	info = info_for(&id, birth_id);
		uint8_t		key[CMK_DEK_SIZE];

		key_for(&id, birth_id, key);
		return cmk_registry_insert(ref.slot, &info, key, NULL) == 0;
	}
	if (birth_id % 3 == 0)
		cmk_registry_set_state(ref.slot, CMK_DEK_DEAD, birth_id);
	cmk_registry_remove(ref.slot);
	return true;
}

static void
readers_see_no_mixture(void)
{
	Shared	   *sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE,
						  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t		pids[READERS];
	int			status[READERS];
	double		end;
	uint64_t	n = 0;
	uint32_t	seed = 1;
	bool		ok = true;
	uint64_t	reads = 0;
	uint64_t	misses = 0;
	uint64_t	late = 0;
	int			i;

	CHECK(sh != MAP_FAILED);
	cmk_registry_reset();
	CHECK(change(1, ++n));
	for (i = 0; i < READERS; i++)
	{
		pids[i] = fork();
		if (pids[i] == 0)
			_exit(reader(sh, i));
	}

	/* until every reader has met every case, or for half a minute */
	for (end = seconds() + 30; ok && seconds() < end;)
	{
		bool		enough = n > 500000;

		for (i = 0; i < 1000 && ok; i++)
		{
			seed = seed * 1664525 + 1013904223;
			ok = change(i % 2 == 0 ? 1 : 1 + (seed >> 8) % RELATIONS, ++n);
		}
		for (i = 0; i < READERS; i++)
			if (__atomic_load_n(&sh->reads[i], __ATOMIC_RELAXED) < 20000 ||
				__atomic_load_n(&sh->misses[i], __ATOMIC_RELAXED) < 1000)
				enough = false;
		if (enough)
			break;
	}
	__atomic_store_n(&sh->stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < READERS; i++)
		if (waitpid(pids[i], &status[i], 0) != pids[i])
			status[i] = -1;
	for (i = 0; i < READERS; i++)
	{
		reads += sh->reads[i];
		misses += sh->misses[i];
		late += sh->late[i];
	}
	printf("# %llu changes; readers: %llu reads, %llu not there, %llu changed meanwhile\n",
		   (unsigned long long) n, (unsigned long long) reads,
		   (unsigned long long) misses, (unsigned long long) late);
	munmap(sh, sizeof(*sh));

	CHECK(ok);
	for (i = 0; i < READERS; i++)
		CHECK_INT(status[i], 0);
	CHECK(reads >= READERS * 20000);
	CHECK(misses >= READERS * 1000);
}

/* ---- readers while a generation follows the other ---- */

#define ROTATIONS	60000

typedef struct Rotations
{
	uint64_t	base;			/* the epoch at the first one; 3 to a rotation */
	int			stop;
	uint64_t	looks;
} Rotations;

/*
 * Whoever finds a generation whose birth is not over yet must see the one before.
 * Returns what was wrong.
 */
static int
look_at_rotations(Rotations *r)
{
	CmkRelId	id = rel_id(1);

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED))
	{
		uint64_t	epoch = cmk_registry_epoch();
		uint64_t	rotation = (epoch - r->base) / 3;
		CmkDekRef	ref;
		CmkDekInfo	info;
		bool		older;

		if (!cmk_registry_find(&id, &ref) || !cmk_registry_read(&ref, &info, NULL))
			continue;
		older = cmk_registry_has_older(&id);
		__atomic_add_fetch(&r->looks, 1, __ATOMIC_RELAXED);
		if (cmk_registry_epoch() == epoch && (epoch - r->base) % 3 == 0 &&
			info.generation == rotation + 2 && !older)
			return 2;
	}
	return 0;
}

/* More readers than processors, so that the writer is interrupted anywhere. */
static bool
rotate_under_readers(Rotations *r)
{
	CmkRelId	id = rel_id(1);
	pid_t		pids[READERS];
	int64_t		slot;
	int			status;
	bool		ok = true;
	uint64_t	g;
	int			i;

	cmk_registry_reset();
	slot = enter(&id, 1);
	r->base = cmk_registry_epoch();
	r->stop = 0;
	for (i = 0; i < READERS; i++)
	{
		pids[i] = fork();
		if (pids[i] == 0)
			_exit(look_at_rotations(r));
	}
	for (g = 2; ok && g < ROTATIONS; g++)
	{
		int64_t		next = enter(&id, g);

		ok = next >= 0 && cmk_registry_has_older(&id);
		cmk_registry_set_state((uint32_t) slot, CMK_DEK_DEAD, g);
		cmk_registry_remove((uint32_t) slot);
		slot = next;
	}
	__atomic_store_n(&r->stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < READERS; i++)
		if (waitpid(pids[i], &status, 0) != pids[i] || status != 0)
			ok = false;
	return ok && cmk_registry_count() == 1 && cmk_registry_older_count() == 0;
}

static void
a_new_generation_comes_behind_an_older_one(void)
{
	Rotations  *r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE,
						 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double		end = seconds() + 3;
	bool		ok = true;

	CHECK(r != MAP_FAILED);
	while (ok && seconds() < end)
		ok = rotate_under_readers(r);
	CHECK(ok);
	CHECK(r->looks >= 1000);
	munmap(r, sizeof(*r));
}

/* ---- roots ---- */

static CmkRootKey
root(uint32_t id, uint8_t fill)
{
	CmkRootKey	r;

	r.id = id;
	memset(r.salt, fill, sizeof(r.salt));
	memset(r.key, fill + 1, sizeof(r.key));
	return r;
}

static void
roots_keep_their_place(void)
{
	CmkRootKey	roots[CMK_MAX_ROOTS + 1];
	const CmkRootKey *two;
	const CmkRootKey *three;
	CmkError	err;
	uint32_t	i;

	CHECK(cmk_registry_root() == NULL);
	roots[0] = root(2, 20);
	CHECK_INT(cmk_registry_set_roots(roots, 1, 2, &err), 0);
	two = cmk_registry_root();
	CHECK(two != NULL);
	CHECK_INT(two->id, 2);

	roots[0] = root(3, 30);
	roots[1] = root(2, 20);
	CHECK_INT(cmk_registry_set_roots(roots, 2, 3, &err), 0);
	three = cmk_registry_root();
	CHECK_INT(three->id, 3);
	CHECK_INT(three->key[0], 31);
	CHECK_INT(three->salt[0], 30);
	CHECK(cmk_registry_root_by_id(2) == two);
	CHECK(cmk_registry_root_by_id(4) == NULL);
	CHECK(cmk_registry_root_by_id(0) == NULL);

	/* refused, and nothing changed */
	CHECK_INT(cmk_registry_set_roots(roots, 2, 4, &err), -1);
	CHECK_INT(cmk_registry_set_roots(roots, 2, 0, &err), -1);
	CHECK_INT(cmk_registry_set_roots(NULL, 0, 3, &err), -1);
	roots[1] = root(3, 30);
	CHECK_INT(cmk_registry_set_roots(roots, 2, 3, &err), -1);
	roots[1] = root(2, 99);
	CHECK_INT(cmk_registry_set_roots(roots, 2, 3, &err), -1);
	CHECK_HAS(err.message, "root key 2");
	CHECK_INT(err.code, CMK_ERR_CORRUPT);
	CHECK(cmk_registry_root() == three);
	CHECK_INT(two->key[0], 21);

	/* a reset is about DEKs */
	cmk_registry_reset();
	CHECK(cmk_registry_root() == three);

	/* one that goes is wiped */
	CHECK_INT(cmk_registry_set_roots(roots, 1, 3, &err), 0);
	CHECK_INT(two->id, 0);
	CHECK_INT(two->key[0], 0);
	CHECK_INT(two->key[31], 0);
	CHECK_INT(two->salt[0], 0);

	/* all places taken, then all others */
	for (i = 0; i <= CMK_MAX_ROOTS; i++)
		roots[i] = root(100 + i, (uint8_t) i);
	CHECK_INT(cmk_registry_set_roots(roots, CMK_MAX_ROOTS + 1, 100, &err), -1);
	CHECK_INT(err.code, CMK_ERR_LIMIT);
	CHECK_INT(cmk_registry_set_roots(roots, CMK_MAX_ROOTS, 163, &err), 0);
	CHECK_INT(cmk_registry_root()->key[5], 64);
	for (i = 0; i < CMK_MAX_ROOTS; i++)
		CHECK_INT(cmk_registry_root_by_id(100 + i)->salt[3], i);

	CHECK_INT(cmk_registry_set_roots(NULL, 0, 0, &err), 0);
	CHECK(cmk_registry_root() == NULL);
}

/* ---- the rest ---- */

static void
dirty_is_counted(void)
{
	uint64_t	first;
	uint64_t	second;
	uint64_t	mark;

	if (cmk_registry_dirty(&mark))
		cmk_registry_clean(mark);
	CHECK(!cmk_registry_dirty(&mark));
	cmk_registry_set_dirty();
	CHECK(cmk_registry_dirty(&first));
	cmk_registry_set_dirty();		/* while the first is being synced */
	CHECK(cmk_registry_dirty(&second));
	cmk_registry_clean(first);
	CHECK(cmk_registry_dirty(&mark));
	cmk_registry_clean(second);
	cmk_registry_clean(first);		/* a slower process, late */
	CHECK(!cmk_registry_dirty(&mark));
}

static int
wipe_in_child(uint32_t a, uint32_t b)
{
	cmk_registry_child();
	cmk_registry_wipe();
	return a == b ? 0 : 1;
}

static int
wipe_in_creator(uint32_t rel, uint32_t unused)
{
	CmkRelId	id = rel_id(rel);
	CmkDekRef	ref;
	CmkRootKey	r = root(1, 1);

	if (cmk_registry_create(NULL) < 0 || enter(&id, 1) < 0 ||
		cmk_registry_set_roots(&r, 1, 1, NULL) < 0 ||
		!cmk_registry_find(&id, &ref))
		return 1 + (int) unused;
	cmk_registry_wipe();
	return cmk_registry_find(&id, &ref) || cmk_registry_root() != NULL ||
		cmk_registry_epoch() != 0 ? 2 : 0;
}

static void
only_the_creator_wipes(void)
{
	CmkRelId	id = rel_id(1);

	cmk_registry_reset();
	CHECK_INT(enter(&id, 1), 0);
	CHECK_INT(in_child(wipe_in_child, 0, 0), 0);
	CHECK(is_known(1));
	CHECK_INT(in_child(wipe_in_creator, 2, 0), 0);
	CHECK(is_known(1));
}

static void
reports_what_is_locked(void)
{
	CmkRelId	id = rel_id(1);
	size_t		wanted;
	size_t		more;
	size_t		locked;
	uint32_t	i;

	cmk_registry_reset();
	cmk_registry_lock_report(&wanted, &locked);
	CHECK(wanted > 0 && wanted % 4096 == 0);
	CHECK(locked <= wanted);
	for (i = 0; i < 33; i++, id.rel++)
		CHECK(enter(&id, 1) >= 0);
	cmk_registry_lock_report(&more, &locked);
	CHECK_INT(more - wanted, 8192);
}

static void
ephemeral_key_is_random(void)
{
	const uint8_t *key = cmk_registry_ephemeral();
	uint8_t		first[CMK_ROOT_KEY_SIZE];
	static const uint8_t zero[CMK_ROOT_KEY_SIZE];

	memcpy(first, key, sizeof(first));
	CHECK(memcmp(first, zero, sizeof(zero)) != 0);
	cmk_registry_reset();
	CHECK_MEM(cmk_registry_ephemeral(), first, sizeof(first));
}

int
main(void)
{
	CmkError	err;

	/* before this process has a region of its own */
	cmk_registry_wipe();
	RUN(a_dek_costs_at_most_256_bytes);

	if (cmk_registry_create(&err) < 0)
	{
		printf("not ok create: %s\n", err.message);
		return 1;
	}
	RUN(roots_keep_their_place);
	RUN(ephemeral_key_is_random);
	RUN(finds_what_was_entered);
	RUN(a_reserved_slot_is_not_visible);
	RUN(an_old_ref_does_not_read_a_new_key);
	RUN(a_dek_is_replaced_in_place);
	RUN(death_keeps_the_key_and_the_version);
	RUN(load_leaves_the_lowest_free_slots_first);
	RUN(damaged_slots_are_kept_from_use);
	RUN(damage_has_no_limit);
	RUN(agrees_with_a_simple_model);
	RUN(holds_a_million_and_says_when_it_is_full);
	RUN(readers_see_no_mixture);
	RUN(a_new_generation_comes_behind_an_older_one);
	RUN(dirty_is_counted);
	RUN(only_the_creator_wipes);
	RUN(reports_what_is_locked);
	return unit_done();
}
