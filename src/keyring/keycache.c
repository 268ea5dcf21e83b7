/*
 * keycache.c
 *	  Prepared cipher contexts: 32 sets of 4, the oldest of a set gives way.
 *
 * Giving a context a key costs some microseconds, about as much as sealing a
 * page; finding it here costs a few comparisons.  A set is small enough that the
 * least recently used entry is found by looking at all four, so there is no
 * list to keep.  DEKs that are born together, a table's, its TOAST table's and
 * their indexes', have neighbouring slots and so different sets.
 *
 * An entry is good for one version of a slot, and a version never comes back.
 * But the key of a relation that is gone must not be used either, so a hit also
 * looks whether the slot still has that version: one load.  What the cache held
 * of it is then wiped.
 */
#include <errno.h>
#include <string.h>

#include "keycache.h"
#include "keyring.h"

#define WAYS		4
#define SETS		(CMK_KEYCACHE_SIZE / WAYS)

/* The slot that stands for a temporary relation, which has none. */
#define TEMPORARY	UINT32_MAX

/* Whose key a context has.  All bytes are set, so that memcmp compares. */
typedef struct CacheKey
{
	uint32_t	slot;
	uint32_t	backend;
	uint64_t	version;		/* 0: no key; of temporary ones 1 */
	CmkRelId	id;				/* of temporary ones, else zero */
	uint32_t	zero;
} CacheKey;

typedef struct CacheEntry
{
	CacheKey	key;
	uint64_t	used;
	CmkXts	   *xts;
} CacheEntry;

static CacheEntry cache[SETS][WAYS];

/* Temporary files are used too much to share a set with others. */
static CacheEntry files[CMK_FILE_KEYS];
static uint64_t use_count;

int
cmk_keycache_init(CmkError *err)
{
	int			i,
				j;

	for (i = 0; i < SETS; i++)
	{
		for (j = 0; j < WAYS; j++)
		{
			if (cache[i][j].xts == NULL)
				cache[i][j].xts = cmk_xts_new();
			if (cache[i][j].xts == NULL)
				return cmk_fail(err, CMK_ERR_NO_MEMORY, "out of memory");
		}
	}
	for (i = 0; i < CMK_FILE_KEYS; i++)
	{
		if (files[i].xts == NULL)
			files[i].xts = cmk_xts_new();
		if (files[i].xts == NULL)
			return cmk_fail(err, CMK_ERR_NO_MEMORY, "out of memory");
	}
	return 0;
}

static void
forget(CacheEntry *e)
{
	cmk_xts_wipe(e->xts);
	memset(&e->key, 0, sizeof(e->key));
	e->used = 0;
}

/* The entry that has this key, or the one of the set that gives way to it. */
static CacheEntry *
entry_for(uint32_t set, const CacheKey *key)
{
	CacheEntry *oldest = &cache[set][0];
	int			j;

	for (j = 0; j < WAYS; j++)
	{
		CacheEntry *e = &cache[set][j];

		if (memcmp(&e->key, key, sizeof(*key)) == 0)
			return e;
		if (e->used < oldest->used)
			oldest = e;
	}
	return oldest;
}

static bool
has_key(const CacheEntry *e, const CacheKey *key)
{
	return memcmp(&e->key, key, sizeof(*key)) == 0;
}

/* Gives e a key, and wipes dek.  NULL with errno EIO if the cipher refuses. */
static CmkXts *
give_key(CacheEntry *e, const CacheKey *key, uint8_t dek[CMK_DEK_SIZE])
{
	int			rc = cmk_xts_set_key(e->xts, dek);

	cmk_cleanse(dek, CMK_DEK_SIZE);
	if (rc < 0)
	{
		forget(e);
		errno = EIO;
		return NULL;
	}
	e->key = *key;
	e->used = ++use_count;
	return e->xts;
}

CmkXts *
cmk_keycache_get(const CmkDekRef *ref)
{
	CacheKey	key;
	CacheEntry *e;
	uint8_t		dek[CMK_DEK_SIZE];

	memset(&key, 0, sizeof(key));
	key.slot = ref->slot;
	key.version = ref->version;
	e = entry_for(ref->slot % SETS, &key);

	if (has_key(e, &key))
	{
		if (cmk_registry_read(ref, NULL, NULL))
		{
			e->used = ++use_count;
			return e->xts;
		}
		forget(e);
		errno = ENOKEY;
		return NULL;
	}
	if (!cmk_registry_read(ref, NULL, dek))
	{
		errno = ENOKEY;
		return NULL;
	}
	return give_key(e, &key, dek);
}

CmkXts *
cmk_keycache_get_temp(const CmkRelId *id, uint32_t backend)
{
	CacheKey	key;
	CacheEntry *e;
	uint8_t		dek[CMK_DEK_SIZE];

	memset(&key, 0, sizeof(key));
	key.slot = TEMPORARY;
	key.version = 1;
	key.id = *id;
	key.backend = backend;
	e = entry_for((id->rel ^ id->db ^ backend) % SETS, &key);

	if (has_key(e, &key))
	{
		e->used = ++use_count;
		return e->xts;
	}
	if (cmk_keyring_temp_key(id, backend, dek) < 0)
	{
		cmk_cleanse(dek, sizeof(dek));
		errno = EIO;
		return NULL;
	}
	return give_key(e, &key, dek);
}

CmkXts *
cmk_keycache_get_file(CmkFileKey which, uint32_t root_id)
{
	CacheEntry *e = &files[which];
	CacheKey	key;
	uint8_t		dek[CMK_DEK_SIZE];

	memset(&key, 0, sizeof(key));
	key.slot = TEMPORARY;
	key.version = 1;
	key.backend = root_id;
	if (!has_key(e, &key))
	{
		if (cmk_keyring_file_key(which, root_id, dek) < 0)
			return NULL;
		if (give_key(e, &key, dek) == NULL)
			return NULL;
	}

	/* Asked last: the epoch is the first that a wipe takes away. */
	if (cmk_registry_epoch() == 0)
	{
		forget(e);
		errno = ENOKEY;
		return NULL;
	}
	return e->xts;
}

void
cmk_keycache_forget(const CmkDekRef *ref)
{
	CacheEntry *set = cache[ref->slot % SETS];
	int			j;

	for (j = 0; j < WAYS; j++)
		if (set[j].key.slot == ref->slot && set[j].key.version == ref->version)
			forget(&set[j]);
}

void
cmk_keycache_sweep(void)
{
	int			i,
				j;

	for (i = 0; i < SETS; i++)
		for (j = 0; j < WAYS; j++)
		{
			CacheEntry *e = &cache[i][j];
			CmkDekRef	ref = {e->key.slot, e->key.version};

			if (e->key.version != 0 && e->key.slot != TEMPORARY &&
				!cmk_registry_read(&ref, NULL, NULL))
				forget(e);
		}
}

void
cmk_keycache_wipe(void)
{
	int			i,
				j;

	for (i = 0; i < CMK_FILE_KEYS; i++)
		if (files[i].xts != NULL)
			forget(&files[i]);
	for (i = 0; i < SETS; i++)
		for (j = 0; j < WAYS; j++)
			if (cache[i][j].xts != NULL)
				forget(&cache[i][j]);
}
