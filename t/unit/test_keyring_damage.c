/*
 * test_keyring_damage.c
 *	  Damaged records: none is used, and none is lost that may still be mended.
 */
#include "keyring_env.h"

static void
a_damaged_record_is_kept_and_not_used(void)
{
	CmkRelId	id = rel_id(2);
	CmkDamaged	d;
	uint8_t		image[CMK_RECORD_SIZE];
	uint8_t		bad[CMK_RECORD_SIZE];
	uint8_t		stored[CMK_RECORD_SIZE];
	uint8_t		key[CMK_DEK_SIZE];
	uint8_t		got[CMK_DEK_SIZE];
	bool		is_new;
	CmkError	err;
	int			with_crc;

	for (with_crc = 0; with_crc < 2; with_crc++)
	{
		CHECK_INT(start_over(), 0);
		CHECK_INT(birth(1, NULL), 0);
		CHECK_INT(birth(2, image), 0);
		CHECK_INT(birth(3, NULL), 0);
		CHECK_INT(record_of(2, NULL, key), 2);
		memcpy(bad, image, sizeof(bad));
		bad[100] ^= 4;
		if (with_crc)
			cmk_record_set_state(bad, CMK_DEK_LIVE);
		write_record(2, bad);

		CHECK_INT(cmk_keyring_load(&err), 0);
		CHECK_INT(record_of(2, NULL, NULL), 0);
		CHECK_INT(record_of(1, NULL, NULL), 1);
		CHECK_INT(record_of(3, NULL, NULL), 3);
		CHECK_INT(cmk_registry_damaged(&d, 1), 1);
		CHECK_INT(d.record, 2);
		CHECK_INT(d.id_known, with_crc);
		CHECK_INT(d.id.rel, 2);

		/* its place is not given away, its relation gets no other key */
		CHECK_INT(birth(4, NULL), 0);
		CHECK_INT(record_of(4, NULL, NULL), 4);
		CHECK_INT(cmk_keyring_birth(&id, 0, 0, stored, &is_new, &err), -1);
		CHECK_INT(err.code, CMK_ERR_CORRUPT);
		CHECK_HAS(err.message, "record 2 of file");
		CHECK_HAS(err.message, path);
		CHECK_INT(cmk_registry_count(), 3);
		CHECK_INT(death(2, 5), 0);
		read_record(2, stored);
		CHECK_MEM(stored, bad, CMK_RECORD_SIZE);

		/* WAL brings it again */
		CHECK_INT(cmk_keyring_replay(image, &err), 0);
		CHECK_INT(damaged_count(), 0);
		CHECK_INT(record_of(2, NULL, got), 2);
		CHECK_MEM(got, key, CMK_DEK_SIZE);
		CHECK_INT(reload(), 0);
		CHECK_INT(damaged_count(), 0);
		CHECK_INT(record_of(2, NULL, got), 2);
		CHECK_MEM(got, key, CMK_DEK_SIZE);
		CHECK_INT(cmk_registry_count(), 4);
	}
}

/* Torn at every byte, either side older: replay finds the place and mends it. */
static void
a_torn_birth_is_mended_by_replay(void)
{
	uint8_t		image[CMK_RECORD_SIZE];
	uint8_t		torn[CMK_RECORD_SIZE];
	int			cut;
	int			side;

	CHECK_INT(start_over(), 0);
	CHECK_INT(birth(1, NULL), 0);
	CHECK_INT(birth(2, image), 0);
	CHECK_INT(birth(3, NULL), 0);
	for (side = 0; side < 2; side++)
	{
		for (cut = 1; cut < CMK_RECORD_SIZE; cut++)
		{
			memcpy(torn, image, sizeof(torn));
			if (side == 0)
				memset(torn + cut, 0, sizeof(torn) - (size_t) cut);
			else
				memset(torn, 0, (size_t) cut);
			if (memcmp(torn, image, sizeof(torn)) == 0)
				continue;		/* the lost bytes were zero */
			write_record(2, torn);
			CHECK_INT(reload(), 0);
			CHECK_INT(damaged_count(), 1);
			CHECK_INT(record_of(2, NULL, NULL), 0);
			CHECK_INT(cmk_keyring_replay(image, NULL), 0);
			CHECK_INT(damaged_count(), 0);
			CHECK_INT(record_of(2, NULL, NULL), 2);
			CHECK_INT(reload(), 0);
			CHECK_INT(damaged_count(), 0);
			CHECK_INT(cmk_registry_count(), 3);
		}
	}
}

/* Between CRC and state: all else is right, so the DEK is not lost. */
static void
a_torn_change_of_state_counts_as_live(void)
{
	CmkRelId	id = rel_id(2);
	uint8_t		live[CMK_RECORD_SIZE];
	uint8_t		dead[CMK_RECORD_SIZE];
	uint8_t		torn[CMK_RECORD_SIZE];
	uint8_t		key[CMK_DEK_SIZE];
	uint8_t		got[CMK_DEK_SIZE];
	int			i;

	CHECK_INT(start_over(), 0);
	CHECK_INT(birth(1, NULL), 0);
	CHECK_INT(birth(2, live), 0);
	CHECK_INT(record_of(2, NULL, key), 2);
	memcpy(dead, live, sizeof(dead));
	cmk_record_set_state(dead, CMK_DEK_DEAD);
	for (i = 0; i < 2; i++)
	{
		memcpy(torn, i == 0 ? live : dead, sizeof(torn));
		memcpy(torn, i == 0 ? dead : live, 4);
		write_record(2, torn);
		CHECK_INT(reload(), 0);
		CHECK_INT(damaged_count(), 0);
		CHECK_INT(state_of(2), CMK_DEK_LIVE);
		CHECK_INT(record_of(2, NULL, got), 2);
		CHECK_MEM(got, key, CMK_DEK_SIZE);

		/* and the next change puts the file right */
		CHECK_INT(death(2, 5), 0);
		read_record(2, torn);
		CHECK_MEM(torn, dead, CMK_RECORD_SIZE);
		CHECK_INT(cmk_keyring_revive(&id, NULL), 0);
		read_record(2, torn);
		CHECK_MEM(torn, live, CMK_RECORD_SIZE);
	}

	/* not so if something else is wrong as well */
	memcpy(torn, live, sizeof(torn));
	torn[5] = CMK_DEK_DEAD;
	torn[60] ^= 1;
	write_record(2, torn);
	CHECK_INT(reload(), 0);
	CHECK_INT(damaged_count(), 1);
}

static void
of_two_records_the_later_born_is_taken(void)
{
	uint8_t		first[CMK_RECORD_SIZE];
	uint8_t		second[CMK_RECORD_SIZE];
	uint8_t		key[CMK_DEK_SIZE];
	uint8_t		got[CMK_DEK_SIZE];
	CmkDekInfo	info;
	CmkDamaged	d;
	int64_t		created;
	int			order;

	CHECK_INT(start_over(), 0);
	CHECK_INT(birth(2, first), 0);
	CHECK_INT(record_of(2, &info, NULL), 1);
	created = info.created;
	do							/* the clock has to tell the two apart */
	{
		CHECK_INT(start_over(), 0);
		CHECK_INT(birth(2, second), 0);
		CHECK_INT(record_of(2, &info, key), 1);
	} while (info.created == created);
	CHECK(info.created > created);

	for (order = 0; order < 2; order++)
	{
		CHECK_INT(birth(3, NULL), 0);
		write_record(1, order == 0 ? first : second);
		write_record(2, order == 0 ? second : first);
		CHECK_INT(reload(), 0);
		CHECK_INT(record_of(2, NULL, got), order == 0 ? 2 : 1);
		CHECK_MEM(got, key, CMK_DEK_SIZE);
		CHECK_INT(cmk_registry_count(), 1);
		CHECK_INT(cmk_registry_damaged(&d, 1), 1);
		CHECK_INT(d.record, order == 0 ? 1 : 2);
		CHECK(d.id_known);
		CHECK_INT(birth(4, NULL), 0);
		CHECK_INT(record_of(4, NULL, NULL), 3);
		CHECK_INT(start_over(), 0);
	}
}

/* A base backup copied the file while it grew. */
static void
a_cut_last_record_is_ignored(void)
{
	uint8_t		image[CMK_RECORD_SIZE];
	uint32_t	slot;
	uint32_t	i;

	CHECK_INT(start_over(), 0);
	for (i = 1; i <= 64; i++)
		CHECK_INT(birth(i, i == 64 ? image : NULL), 0);
	CHECK_INT(ftruncate(file, 64 * 128 + 50), 0);
	CHECK_INT(reload(), 0);
	CHECK_INT(damaged_count(), 0);
	CHECK_INT(cmk_registry_count(), 63);

	/* what is left of it does not get into what comes after it */
	CHECK_INT(cmk_keyring_replay(image, NULL), 0);
	CHECK_INT(record_of(64, NULL, NULL), 64);
	CHECK_INT(birth(65, NULL), 0);
	CHECK_INT(reload(), 0);
	CHECK_INT(damaged_count(), 0);
	CHECK_INT(cmk_registry_count(), 65);

	/* not even if its place stays empty */
	CHECK_INT(ftruncate(file, 64 * 128 + 50), 0);
	CHECK_INT(reload(), 0);
	CHECK_INT(cmk_registry_reserve(&slot, NULL), 0);
	CHECK_INT(slot, 63);
	CHECK_INT(birth(66, NULL), 0);
	CHECK_INT(record_of(66, NULL, NULL), 65);
	CHECK_INT(reload(), 0);
	CHECK_INT(damaged_count(), 0);
	CHECK_INT(cmk_registry_count(), 64);
}

static void
a_file_that_changed_under_us_is_not_written(void)
{
	CmkRelId	id = rel_id(2);
	uint8_t		one[CMK_RECORD_SIZE];
	uint8_t		two[CMK_RECORD_SIZE];
	uint8_t		got[CMK_RECORD_SIZE];
	CmkError	err;

	CHECK_INT(start_over(), 0);
	CHECK_INT(birth(1, one), 0);
	CHECK_INT(birth(2, two), 0);

	write_record(2, one);
	CHECK_INT(cmk_keyring_death(&id, 5, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CORRUPT);
	CHECK_HAS(err.message, "record 2 of file");
	CHECK_INT(state_of(2), CMK_DEK_DEAD);
	read_record(2, got);
	CHECK_MEM(got, one, CMK_RECORD_SIZE);

	two[70] ^= 1;
	write_record(2, two);
	CHECK_INT(cmk_keyring_revive(&id, &err), -1);
	CHECK_HAS(err.detail, "CRC");
	CHECK_INT(state_of(2), CMK_DEK_DEAD);

	CHECK_INT(ftruncate(file, 256), 0);
	CHECK_INT(cmk_keyring_revive(&id, &err), -1);
	CHECK_HAS(err.detail, "missing");
}

int
main(void)
{
	if (!env_begin() || !env_create() || !env_open())
		return 1;

	RUN(a_damaged_record_is_kept_and_not_used);
	RUN(a_torn_birth_is_mended_by_replay);
	RUN(a_torn_change_of_state_counts_as_live);
	RUN(of_two_records_the_later_born_is_taken);
	RUN(a_cut_last_record_is_ignored);
	RUN(a_file_that_changed_under_us_is_not_written);

	return env_end();
}
