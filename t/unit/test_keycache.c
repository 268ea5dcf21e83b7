/*
 * test_keycache.c
 *	  The cache of prepared ciphers: that it always has the right key, and never
 *	  one that is gone.
 */
#include "unit.h"

#include <errno.h>

#include "../../src/keyring/keycache.h"
#include "../../src/keyring/keyring.h"

#define DEKS	1000

static void
key_for(uint32_t rel, uint8_t fill, uint8_t key[CMK_DEK_SIZE])
{
	int			i;

	for (i = 0; i < CMK_DEK_SIZE; i++)
		key[i] = (uint8_t) (rel * 13 + rel / 251 + fill + (uint32_t) i * 3);
}

/* Enters a relation, or replaces its key; how to refer to it. */
static CmkDekRef
enter(uint32_t rel, uint8_t fill)
{
	CmkDekInfo	info;
	CmkDekRef	ref = {0, 0};
	uint8_t		key[CMK_DEK_SIZE];
	uint32_t	slot;

	memset(&info, 0, sizeof(info));
	info.id.spc = 1663;
	info.id.db = 5;
	info.id.rel = rel;
	info.state = CMK_DEK_LIVE;
	key_for(rel, fill, key);
	if (cmk_registry_find(&info.id, &ref))
		slot = ref.slot;
	else if (cmk_registry_reserve(&slot, NULL) < 0)
		return ref;
	if (cmk_registry_insert(slot, &info, key, NULL) == 0)
		cmk_registry_find(&info.id, &ref);
	return ref;
}

/* Whether a context enciphers as key does. */
static bool
has_key(CmkXts *x, const uint8_t key[CMK_DEK_SIZE])
{
	static const uint8_t tweak[CMK_XTS_TWEAK_SIZE] = {1, 2, 3};
	static const uint8_t plain[32] = "what is enciphered to compare";
	CmkXts	   *fresh = cmk_xts_new();
	uint8_t		got[32];
	uint8_t		want[32];
	uint8_t		back[32];
	bool		same;

	same = x != NULL && cmk_xts_set_key(fresh, key) == 0 &&
		cmk_xts_encrypt(fresh, tweak, want, plain, 32) == 0 &&
		cmk_xts_encrypt(x, tweak, got, plain, 32) == 0 &&
		cmk_xts_decrypt(x, tweak, back, got, 32) == 0 &&
		memcmp(got, want, 32) == 0 && memcmp(back, plain, 32) == 0;
	cmk_xts_free(fresh);
	return same;
}

static void
gives_the_key_of_the_slot(void)
{
	CmkDekRef	ref = enter(1, 0);
	uint8_t		key[CMK_DEK_SIZE];
	CmkXts	   *x = cmk_keycache_get(&ref);

	key_for(1, 0, key);
	CHECK(has_key(x, key));
	CHECK(cmk_keycache_get(&ref) == x);
	CHECK(has_key(x, key));
}

/* Many more than there are contexts, in an order that evicts and comes back. */
static void
always_gives_the_right_one(void)
{
	static CmkDekRef refs[DEKS];
	uint32_t	seed = 7;
	int			i;

	for (i = 0; i < DEKS; i++)
		refs[i] = enter((uint32_t) i + 1, 0);
	for (i = 0; i < 20000; i++)
	{
		uint32_t	pick;
		uint8_t		key[CMK_DEK_SIZE];

		seed = seed * 1664525 + 1013904223;
		pick = (seed >> 8) % (i % 3 == 0 ? DEKS : 40);
		key_for(pick + 1, 0, key);
		CHECK(has_key(cmk_keycache_get(&refs[pick]), key));
	}
}

/* Five slots of one set: the one that was not used for longest gives way. */
static void
the_oldest_gives_way(void)
{
	CmkDekRef	ref[5];
	CmkXts	   *x[5];
	int			i;

	cmk_keycache_wipe();
	for (i = 0; i < 5; i++)
	{
		CmkRelId	id = {1663, 5, 1};

		for (; id.rel <= DEKS; id.rel++)
			if (cmk_registry_find(&id, &ref[i]) &&
				ref[i].slot == (uint32_t) i * (CMK_KEYCACHE_SIZE / 4))
				break;
		CHECK(id.rel <= DEKS);
	}
	for (i = 0; i < 4; i++)
		x[i] = cmk_keycache_get(&ref[i]);
	CHECK(x[0] != x[1] && x[1] != x[2] && x[2] != x[3] && x[0] != x[3]);
	CHECK(cmk_keycache_get(&ref[0]) == x[0]);
	x[4] = cmk_keycache_get(&ref[4]);
	CHECK(x[4] == x[1]);
	CHECK(cmk_keycache_get(&ref[0]) == x[0]);
	CHECK(cmk_keycache_get(&ref[2]) == x[2]);
	CHECK(cmk_keycache_get(&ref[3]) == x[3]);
	CHECK(cmk_keycache_get(&ref[1]) == x[4]);
}

static void
a_key_that_is_gone_is_not_used(void)
{
	static const uint8_t tweak[CMK_XTS_TWEAK_SIZE];
	CmkDekRef	ref = enter(1, 0);
	CmkDekRef	renewed;
	CmkXts	   *x = cmk_keycache_get(&ref);
	uint8_t		key[CMK_DEK_SIZE];
	uint8_t		buf[32] = {0};

	CHECK(x != NULL);

	/* replaced */
	renewed = enter(1, 1);
	CHECK_INT(renewed.slot, ref.slot);
	errno = 0;
	CHECK(cmk_keycache_get(&ref) == NULL);
	CHECK_INT(errno, ENOKEY);
	CHECK_INT(cmk_xts_encrypt(x, tweak, buf, buf, 32), -1);
	key_for(1, 1, key);
	CHECK(has_key(cmk_keycache_get(&renewed), key));

	/* removed */
	cmk_registry_remove(renewed.slot);
	errno = 0;
	CHECK(cmk_keycache_get(&renewed) == NULL);
	CHECK_INT(errno, ENOKEY);
	errno = 0;
	CHECK(cmk_keycache_get(&renewed) == NULL);
	CHECK_INT(errno, ENOKEY);

	/* the same relation again */
	renewed = enter(1, 2);
	key_for(1, 2, key);
	CHECK(has_key(cmk_keycache_get(&renewed), key));
}

static void
a_key_that_the_cipher_refuses(void)
{
	CmkDekInfo	info;
	CmkDekRef	ref;
	uint8_t		key[CMK_DEK_SIZE];
	uint32_t	slot;

	memset(&info, 0, sizeof(info));
	info.id.rel = 999999;
	info.state = CMK_DEK_LIVE;
	memset(key, 5, sizeof(key));	/* equal halves */
	CHECK_INT(cmk_registry_reserve(&slot, NULL), 0);
	CHECK_INT(cmk_registry_insert(slot, &info, key, NULL), 0);
	CHECK(cmk_registry_find(&info.id, &ref));
	errno = 0;
	CHECK(cmk_keycache_get(&ref) == NULL);
	CHECK_INT(errno, EIO);
	CHECK(cmk_keycache_get(&ref) == NULL);
}

static void
temporary_relations_have_derived_keys(void)
{
	CmkRelId	id = {1663, 5, 20001};
	CmkRelId	same_set = {1663, 5, 20001 + 32};
	uint8_t		key[CMK_DEK_SIZE];
	uint8_t		context[16] = {0x7f, 6, 0, 0, 5, 0, 0, 0, 0x21, 0x4e, 0, 0, 3};
	CmkXts	   *x;
	uint8_t		other[CMK_DEK_SIZE];
	int			i;

	CHECK_INT(cmk_kdf(cmk_registry_ephemeral(), CMK_ROOT_KEY_SIZE,
					  "pg_cmk temporary relation", context, sizeof(context),
					  key, sizeof(key)), 0);
	x = cmk_keycache_get_temp(&id, 3);
	CHECK(has_key(x, key));
	CHECK(cmk_keycache_get_temp(&id, 3) == x);

	CHECK_INT(cmk_keyring_temp_key(&id, 4, other), 0);
	CHECK(memcmp(other, key, sizeof(key)) != 0);
	CHECK(has_key(cmk_keycache_get_temp(&id, 4), other));
	CHECK_INT(cmk_keyring_temp_key(&same_set, 3, other), 0);
	CHECK(has_key(cmk_keycache_get_temp(&same_set, 3), other));
	CHECK(has_key(cmk_keycache_get_temp(&id, 3), key));

	/* among DEKs that want the same contexts */
	for (i = 0; i < DEKS; i++)
	{
		CmkDekRef	ref = enter((uint32_t) i + 1, 9);

		CHECK(cmk_keycache_get(&ref) != NULL);
	}
	CHECK(has_key(cmk_keycache_get_temp(&id, 3), key));
}

static void
a_wipe_leaves_no_key(void)
{
	static const uint8_t tweak[CMK_XTS_TWEAK_SIZE];
	CmkDekRef	ref = enter(5, 0);
	CmkXts	   *x = cmk_keycache_get(&ref);
	uint8_t		key[CMK_DEK_SIZE];
	uint8_t		buf[32] = {0};

	CHECK(x != NULL);
	cmk_keycache_wipe();
	CHECK_INT(cmk_xts_encrypt(x, tweak, buf, buf, 32), -1);
	key_for(5, 0, key);
	CHECK(has_key(cmk_keycache_get(&ref), key));
}

int
main(void)
{
	CmkError	err;

	/* nothing is there to be wiped yet, and that is all right */
	cmk_keycache_wipe();
	if (cmk_registry_create(&err) < 0 || cmk_keycache_init(&err) < 0 ||
		cmk_keycache_init(&err) < 0)
	{
		printf("not ok create: %s\n", err.message);
		return 1;
	}
	RUN(gives_the_key_of_the_slot);
	RUN(always_gives_the_right_one);
	RUN(the_oldest_gives_way);
	RUN(a_key_that_is_gone_is_not_used);
	RUN(a_key_that_the_cipher_refuses);
	RUN(temporary_relations_have_derived_keys);
	RUN(a_wipe_leaves_no_key);
	return unit_done();
}
