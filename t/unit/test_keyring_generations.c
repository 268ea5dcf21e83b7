/*
 * test_keyring_generations.c
 *	  Relations with data keys of several generations: births, ends, replay, and what
 *	  is in the keys file of them.
 */
#include "keyring_env.h"

/* The state of one generation of rel; its record's number too. */
static CmkDekState
state_of_generation(uint32_t rel, unsigned generation, uint32_t *record)
{
	CmkRelId	id = rel_id(rel);
	CmkDekRef	ref;
	CmkDekInfo	info;

	if (!cmk_registry_find_generation(&id, generation, &ref) ||
		!cmk_registry_read(&ref, &info, NULL) || info.generation != generation)
		return CMK_DEK_FREE;
	if (record != NULL)
		*record = ref.slot + 1;
	return info.state;
}

static void
a_relation_has_two_generations(void)
{
	CmkRelId	id = rel_id(7);
	CmkDekInfo	info;
	CmkDekInfo	stored_info;
	uint8_t		old_key[CMK_DEK_SIZE];
	uint8_t		key[CMK_DEK_SIZE];
	uint8_t		got[CMK_DEK_SIZE];
	uint8_t		image[CMK_RECORD_SIZE];
	uint8_t		again[CMK_RECORD_SIZE];
	uint8_t		stored[CMK_RECORD_SIZE];
	static const uint8_t zero[CMK_RECORD_SIZE];
	CmkDekRef	ref;
	uint32_t	record;
	CmkError	err;
	int			i;

	CHECK_INT(start_over(), 0);
	CHECK_INT(cmk_keyring_rotate(&id, 5, 6, image, &err), CMK_ROTATION_FAILED);
	CHECK_INT(err.code, CMK_ERR_NOT_FOUND);
	CHECK_INT(birth(7, NULL), 0);
	CHECK_INT(record_of(7, NULL, old_key), 1);
	CHECK(!cmk_registry_has_older(&id));
	CHECK_INT(cmk_keyring_rotate(&id, 0x55, 66, image, &err), CMK_ROTATION_BEGINS);
	for (i = 0; i < 2; i++)
	{
		CHECK_INT(record_of(7, &info, key), 2);
		CHECK_INT(info.generation, 2);
		CHECK_INT(info.birth_lsn, 0x55);
		CHECK_INT(info.created, 66);
		CHECK_INT(info.flags, CMK_DEK_WHOLE);
		CHECK(!info.older);
		CHECK(memcmp(key, old_key, CMK_DEK_SIZE) != 0);
		CHECK(cmk_registry_find_generation(&id, 17, &ref));
		CHECK(cmk_registry_read(&ref, &info, got));
		CHECK_INT(info.generation, 1);
		CHECK(info.older);
		CHECK_MEM(got, old_key, CMK_DEK_SIZE);
		CHECK(cmk_registry_has_older(&id));
		CHECK_INT(cmk_registry_count(), 1);
		CHECK_INT(cmk_registry_older_count(), 1);
		read_record(2, stored);
		CHECK_MEM(stored, image, CMK_RECORD_SIZE);
		CHECK_INT(cmk_record_decode(stored, &stored_info, &err), 0);
		CHECK_INT(stored_info.generation, 2);
		/* and no third */
		CHECK_INT(cmk_keyring_rotate(&id, 0x99, 77, again, &err), CMK_ROTATION_GOES_ON);
		CHECK_MEM(again, image, CMK_RECORD_SIZE);
		CHECK_INT(reload(), 0);
	}

	/* the end, which a load believes */
	CHECK_INT(cmk_keyring_end_older(&id, 2, 500, &err), 0);
	CHECK(!cmk_registry_has_older(&id));
	CHECK_INT(cmk_registry_dead_count(), 1);
	CHECK_INT(cmk_registry_older_count(), 0);
	CHECK_INT(cmk_keyring_erase(500, 900, NULL), 0);
	CHECK_INT(reload(), 0);
	CHECK_INT(state_of_generation(7, 1, &record), CMK_DEK_DEAD);
	CHECK_INT(record, 1);
	CHECK_INT(state_of(7), CMK_DEK_LIVE);
	CHECK_INT(cmk_keyring_erase(900, 800, NULL), 0);
	CHECK_INT(cmk_keyring_erase(900, 800, NULL), 1);
	CHECK_INT(state_of_generation(7, 1, NULL), CMK_DEK_FREE);
	read_record(1, stored);
	CHECK_MEM(stored, zero, CMK_RECORD_SIZE);
	CHECK_INT(record_of(7, NULL, got), 2);
	CHECK_MEM(got, key, CMK_DEK_SIZE);
}

/* A relation that is dropped in the middle takes both with it, and comes back with both. */
static void
both_generations_die(void)
{
	CmkRelId	id = rel_id(7);
	uint8_t		image[CMK_RECORD_SIZE];
	CmkRootKey	roots[2] = {root_one, root_two};
	uint32_t	cursor = 0;
	CmkError	err;

	CHECK_INT(start_over(), 0);
	CHECK_INT(birth(7, NULL), 0);
	CHECK_INT(cmk_keyring_rotate(&id, 5, 6, image, &err), CMK_ROTATION_BEGINS);

	/* and both go over to a new root */
	CHECK_INT(cmk_registry_set_roots(roots, 2, 2, NULL), 0);
	CHECK_INT(cmk_keyring_rewrap(&cursor, 10, NULL), 2);
	CHECK_INT(cmk_registry_set_roots(&root_two, 1, 2, NULL), 0);
	CHECK_INT(reload(), 0);
	CHECK_INT(damaged_count(), 0);
	CHECK(cmk_registry_has_older(&id));

	CHECK_INT(death(7, 50), 0);
	CHECK_INT(cmk_registry_dead_count(), 2);
	CHECK_INT(cmk_registry_count(), 0);
	CHECK_INT(cmk_keyring_revive(&id, NULL), 0);
	CHECK_INT(state_of_generation(7, 1, NULL), CMK_DEK_LIVE);
	CHECK_INT(state_of_generation(7, 2, NULL), CMK_DEK_LIVE);
	CHECK_INT(death(7, 60), 0);
	CHECK_INT(reload(), 0);
	CHECK_INT(cmk_registry_dead_count(), 2);
	CHECK_INT(cmk_keyring_erase(70, 61, NULL), 0);
	CHECK_INT(cmk_keyring_erase(70, 61, NULL), 2);
	CHECK_INT(state_of(7), CMK_DEK_FREE);
	CHECK_INT(reload(), 0);
	CHECK_INT(state_of(7), CMK_DEK_FREE);
}

/* Records in the order in which replay meets them, from any point on, again and again. */
static void
generations_in_replay(void)
{
	CmkRelId	id = rel_id(7);
	uint8_t		image[20][CMK_RECORD_SIZE];
	uint8_t		key[CMK_DEK_SIZE];
	uint8_t		got[CMK_DEK_SIZE];
	CmkDekInfo	info;
	CmkError	err;
	int			g;
	int			from;

	CHECK_INT(start_over(), 0);
	CHECK_INT(birth(7, image[1]), 0);
	for (g = 2; g < 20; g++)
	{
		CHECK_INT(cmk_keyring_rotate(&id, 5, 6, image[g], &err), CMK_ROTATION_BEGINS);
		CHECK_INT(cmk_keyring_end_older(&id, (uint16_t) g, 10, &err), 0);
		CHECK(cmk_keyring_erase(11, 12, &err) > 0);
	}
	CHECK(record_of(7, NULL, key) > 0);

	CHECK_INT(start_over(), 0);
	for (from = 1; from < 20; from += 3)
	{
		for (g = from; g < 20; g++)
		{
			CHECK_INT(cmk_keyring_replay(image[g], &err), 0);
			CHECK(record_of(7, &info, NULL) > 0);
			CHECK(info.generation >= g);
			if (info.generation == g)
				CHECK_INT(cmk_keyring_end_older(&id, (uint16_t) g, 10, &err), 0);
		}
		CHECK(record_of(7, &info, got) > 0);
		CHECK_INT(info.generation, 19);
		CHECK_MEM(got, key, CMK_DEK_SIZE);
		CHECK(!cmk_registry_has_older(&id));
		CHECK_INT(cmk_registry_count(), 1);
		CHECK_INT(reload(), 0);
		CHECK_INT(damaged_count(), 0);
	}

	/* a standby that could not end one must not lose it */
	CHECK_INT(start_over(), 0);
	CHECK_INT(cmk_keyring_replay(image[1], &err), 0);
	CHECK_INT(cmk_keyring_replay(image[2], &err), 0);
	CHECK(cmk_registry_has_older(&id));
	CHECK_INT(cmk_keyring_replay(image[17], &err), -1);
	CHECK_INT(err.code, CMK_ERR_LIMIT);
	CHECK_INT(state_of_generation(7, 1, NULL), CMK_DEK_LIVE);
	CHECK_INT(cmk_keyring_replay(image[18], &err), -1);

	/* over a dead relation one begins anew */
	CHECK_INT(death(7, 5), 0);
	CHECK_INT(cmk_keyring_replay(image[1], &err), 0);
	CHECK(record_of(7, &info, NULL) > 0);
	CHECK_INT(info.generation, 1);
	CHECK(!cmk_registry_has_older(&id));
	CHECK_INT(cmk_registry_dead_count(), 0);
	CHECK_INT(reload(), 0);
	CHECK_INT(cmk_registry_count(), 1);
}

/* The damaged record of one generation is not taken for the place of another. */
static void
a_damaged_generation_is_kept(void)
{
	CmkRelId	id = rel_id(7);
	uint8_t		one[CMK_RECORD_SIZE];
	uint8_t		two[CMK_RECORD_SIZE];
	uint8_t		bad[CMK_RECORD_SIZE];
	uint8_t		stored[CMK_RECORD_SIZE];
	CmkError	err;

	CHECK_INT(start_over(), 0);
	CHECK_INT(birth(7, one), 0);
	CHECK_INT(cmk_keyring_rotate(&id, 5, 6, two, &err), CMK_ROTATION_BEGINS);
	memcpy(bad, one, sizeof(bad));
	bad[100] ^= 4;
	write_record(1, bad);
	write_record(2, two);
	CHECK_INT(reload(), 0);
	CHECK_INT(damaged_count(), 1);
	CHECK_INT(cmk_keyring_replay(two, &err), 0);
	CHECK_INT(damaged_count(), 1);
	read_record(1, stored);
	CHECK_MEM(stored, bad, CMK_RECORD_SIZE);
	CHECK_INT(cmk_keyring_rotate(&id, 5, 6, stored, &err), CMK_ROTATION_FAILED);
	CHECK_INT(cmk_keyring_replay(one, &err), 0);
	CHECK_INT(damaged_count(), 0);
	CHECK(cmk_registry_has_older(&id));
}

static void
a_relation_with_plain_pages_is_not_rotated(void)
{
	CmkRelId	id = rel_id(7);
	uint8_t		image[CMK_RECORD_SIZE];
	bool		is_new;
	CmkError	err;

	CHECK_INT(start_over(), 0);
	CHECK_INT(cmk_keyring_birth(&id, 0, 9, image, &is_new, &err), 0);
	CHECK_INT(cmk_keyring_rotate(&id, 5, 6, image, &err), CMK_ROTATION_FAILED);
	CHECK_INT(err.code, CMK_ERR_CONFIG);
	CHECK_INT(cmk_registry_older_count(), 0);
}

int
main(void)
{
	if (!env_begin() || !env_create() || !env_open())
		return 1;

	RUN(a_relation_has_two_generations);
	RUN(both_generations_die);
	RUN(generations_in_replay);
	RUN(a_damaged_generation_is_kept);
	RUN(a_relation_with_plain_pages_is_not_rotated);

	return env_end();
}
