/*
 * test_keyring.c
 *	  Births, deaths and replay: that memory and the keys file tell the same, after
 *	  every step.
 */
#include "keyring_env.h"

/* ---- opening ---- */

static int
open_new(void)
{
	/* docs/formats.md; the CRC is Python's zlib.crc32 of the 124 bytes */
	static const char header[] =
		"70675f636d6b206b657973000000000001000000000000"
		"00efcdab8967452301";
	uint8_t		want[128];
	uint8_t		got[129];
	char		name[64];
	struct stat st;
	CmkError	err;
	int			fd;

	memset(want, 0, sizeof(want));
	unit_hex(header, want, sizeof(want));
	unit_hex("6f4d70d7", want + 124, 4);

	snprintf(name, sizeof(name), "%s/new", dir);
	CHILD(cmk_keyring_open(name, SYSID, false, &err) == -1);
	CHILD(err.code == CMK_ERR_NOT_FOUND);
	CHILD(strstr(err.message, name) != NULL);

	umask(0);
	CHILD(cmk_keyring_open(name, SYSID, true, &err) == 0);
	CHILD(stat(name, &st) == 0 && (st.st_mode & 0777) == 0600);
	fd = open(name, O_RDONLY);
	CHILD(read(fd, got, sizeof(got)) == 128);
	CHILD(memcmp(got, want, 128) == 0);

	/* once is enough, whatever is asked */
	CHILD(cmk_keyring_open("/nowhere/at/all", 1, false, &err) == 0);
	CHILD(unlink(name) == 0);
	return 0;
}

/* Every way in which a header can be wrong; none may be gone on with. */
static int
open_wrong(void)
{
	char		name[64];
	CmkError	err;
	int			fd;
	int			bit;

	snprintf(name, sizeof(name), "%s/wrong", dir);
	fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	CHILD(cmk_keyring_open(name, SYSID, true, &err) == -1);
	CHILD(err.code == CMK_ERR_CORRUPT);
	CHILD(strstr(err.message, name) != NULL);

	for (bit = 0; bit < 1024; bit++)
	{
		uint8_t		header[128];

		CHILD(pread(file, header, 128, 0) == 128);
		header[bit / 8] ^= (uint8_t) (1 << bit % 8);
		CHILD(pwrite(fd, header, 128, 0) == 128);
		CHILD(cmk_keyring_open(name, SYSID, true, &err) == -1);
		CHILD(err.code == CMK_ERR_CORRUPT);
		header[bit / 8] ^= (uint8_t) (1 << bit % 8);
		CHILD(pwrite(fd, header, 128, 0) == 128);
	}

	CHILD(cmk_keyring_open(name, SYSID + 1, true, &err) == -1);
	CHILD(err.code == CMK_ERR_FOREIGN);
	CHILD(strstr(err.message, name) != NULL);
	CHILD(strstr(err.detail, "81985529216486895") != NULL);

	CHILD(cmk_keyring_open(name, SYSID, false, &err) == 0);
	CHILD(unlink(name) == 0);
	return 0;
}

static int
open_impossible(void)
{
	char		name[64];
	CmkError	err;
	struct rlimit limit = {100, RLIM_INFINITY};

	snprintf(name, sizeof(name), "%s/none/keys", dir);
	CHILD(cmk_keyring_open(name, SYSID, true, &err) == -1);
	CHILD(err.code == CMK_ERR_NOT_FOUND);
	CHILD(cmk_keyring_open(dir, SYSID, true, &err) == -1);
	CHILD(err.code == CMK_ERR_IO);

	/* no room for the header: no half a file is left */
	snprintf(name, sizeof(name), "%s/full", dir);
	signal(SIGXFSZ, SIG_IGN);
	CHILD(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	CHILD(cmk_keyring_open(name, SYSID, true, &err) == -1);
	CHILD(err.code == CMK_ERR_NO_SPACE);
	CHILD(access(name, F_OK) < 0);
	strcat(name, ".tmp");
	CHILD(access(name, F_OK) < 0);
	return 0;
}

static void
opens_and_creates(void)
{
	CHECK_INT(in_child(open_new), 0);
}

static void
refuses_a_wrong_header(void)
{
	CHECK_INT(in_child(open_wrong), 0);
}

static void
says_why_it_cannot_open(void)
{
	CHECK_INT(in_child(open_impossible), 0);
}

/* ---- births and deaths ---- */

static void
a_birth_is_in_memory_and_in_the_file(void)
{
	CmkRelId	id = rel_id(100);
	CmkDekInfo	info;
	uint8_t		image[CMK_RECORD_SIZE];
	uint8_t		stored[CMK_RECORD_SIZE];
	uint8_t		key[CMK_DEK_SIZE];
	uint8_t		again[CMK_DEK_SIZE];
	struct timespec now;
	uint64_t	mark;
	bool		is_new;
	CmkError	err;

	CHECK_INT(start_over(), 0);
	CHECK_INT(cmk_keyring_sync(), 0);
	CHECK(!cmk_registry_dirty(&mark));
	CHECK_INT(cmk_keyring_birth(&id, CMK_DEK_WHOLE, 0x1234, image, &is_new,
								&err), 0);
	CHECK(is_new);
	CHECK(cmk_registry_dirty(&mark));
	CHECK_INT(record_of(100, &info, key), 1);
	CHECK_INT(info.state, CMK_DEK_LIVE);
	CHECK_INT(info.flags, CMK_DEK_WHOLE);
	CHECK_INT(info.generation, 1);
	CHECK_INT(info.root_id, 1);
	CHECK_INT(info.birth_lsn, 0x1234);
	clock_gettime(CLOCK_REALTIME, &now);
	CHECK(llabs((long long) now.tv_sec - info.created / 1000000) < 600);
	read_record(1, stored);
	CHECK_MEM(image, stored, CMK_RECORD_SIZE);
	CHECK(!file_has(key, 16));
	CHECK_INT(file_size(), 128 + 64 * 128);

	/* a second birth finds the first */
	CHECK_INT(cmk_keyring_birth(&id, 0, 0, image, &is_new, &err), 0);
	CHECK(!is_new);
	CHECK_MEM(image, stored, CMK_RECORD_SIZE);
	CHECK_INT(record_of(100, NULL, again), 1);
	CHECK_MEM(key, again, CMK_DEK_SIZE);

	/* and so does a restart, which cannot know what of it is on disk */
	CHECK_INT(cmk_keyring_sync(), 0);
	CHECK(!cmk_registry_dirty(&mark));
	CHECK_INT(reload(), 0);
	CHECK(cmk_registry_dirty(&mark));
	CHECK_INT(record_of(100, &info, again), 1);
	CHECK_MEM(key, again, CMK_DEK_SIZE);
	CHECK_INT(info.birth_lsn, 0x1234);
	CHECK_INT(info.flags, CMK_DEK_WHOLE);
}

static void
no_two_keys_are_equal(void)
{
	uint8_t		a[CMK_DEK_SIZE];
	uint8_t		b[CMK_DEK_SIZE];
	CmkDekInfo	ia;
	CmkDekInfo	ib;

	CHECK_INT(start_over(), 0);
	CHECK_INT(birth(1, NULL), 0);
	CHECK_INT(birth(2, NULL), 0);
	CHECK_INT(record_of(1, &ia, a), 1);
	CHECK_INT(record_of(2, &ib, b), 2);
	CHECK(memcmp(a, b, CMK_DEK_SIZE) != 0);
	CHECK(memcmp(a, a + 32, 32) != 0);
	CHECK(ia.birth_id != ib.birth_id);
}

static void
a_local_birth_is_nothing_to_log(void)
{
	CmkRelId	id = rel_id(5);
	CmkDekInfo	info;
	uint8_t		image[CMK_RECORD_SIZE];
	bool		is_new;

	CHECK_INT(start_over(), 0);
	CHECK_INT(cmk_keyring_birth(&id, CMK_DEK_LOCAL, 0, image, &is_new, NULL), 0);
	CHECK(!is_new);
	CHECK_INT(reload(), 0);
	CHECK_INT(record_of(5, &info, NULL), 1);
	CHECK_INT(info.flags, CMK_DEK_LOCAL);
}

static void
a_birth_needs_a_root(void)
{
	CmkRelId	id = rel_id(5);
	uint8_t		image[CMK_RECORD_SIZE];
	bool		is_new;
	CmkError	err;

	CHECK_INT(start_over(), 0);
	CHECK_INT(cmk_registry_set_roots(NULL, 0, 0, NULL), 0);
	CHECK_INT(cmk_keyring_birth(&id, 0, 0, image, &is_new, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CONFIG);
	CHECK_STR(err.message, "no root key is open");
	CHECK_INT(cmk_keyring_load(&err), -1);
	CHECK_INT(err.code, CMK_ERR_CONFIG);
	CHECK_INT(record_of(5, NULL, NULL), 0);
}

static void
a_tombstone_keeps_its_key_until_erased(void)
{
	CmkRelId	id = rel_id(7);
	uint8_t		key[CMK_DEK_SIZE];
	uint8_t		got[CMK_DEK_SIZE];
	uint8_t		stored[CMK_RECORD_SIZE];
	static const uint8_t zero[CMK_RECORD_SIZE];
	CmkDekRef	ref;

	CHECK_INT(start_over(), 0);
	CHECK_INT(birth(6, NULL), 0);
	CHECK_INT(birth(7, NULL), 0);
	CHECK_INT(record_of(7, NULL, key), 2);
	read_record(2, stored);

	CHECK_INT(death(7, 500), 0);
	CHECK_INT(state_of(7), CMK_DEK_DEAD);
	CHECK_INT(death(7, 900), 0);
	CHECK_INT(cmk_registry_death_lsn(1), 500);
	CHECK_INT(death(8, 500), 0);

	/* alive again, with the same bytes */
	CHECK_INT(cmk_keyring_revive(&id, NULL), 0);
	CHECK_INT(state_of(7), CMK_DEK_LIVE);
	CHECK_INT(record_of(7, NULL, got), 2);
	CHECK_MEM(got, key, CMK_DEK_SIZE);
	CHECK_INT(cmk_keyring_revive(&id, NULL), 0);
	CHECK_INT(reload(), 0);
	CHECK_INT(state_of(7), CMK_DEK_LIVE);
	CHECK_INT(cmk_keyring_erase(UINT64_MAX, 1, NULL), 0);

	/* dead again, over a restart, which forgets when */
	CHECK_INT(death(7, 500), 0);
	CHECK_INT(reload(), 0);
	CHECK_INT(state_of(7), CMK_DEK_DEAD);
	CHECK_INT(cmk_registry_death_lsn(1), 0);
	CHECK_INT(cmk_keyring_erase(1000, 800, NULL), 0);
	CHECK_INT(cmk_registry_death_lsn(1), 800);
	CHECK_INT(cmk_keyring_erase(800, 900, NULL), 0);
	CHECK(file_has(stored + 56, 72));
	CHECK(cmk_registry_find(&id, &ref));

	CHECK_INT(cmk_keyring_erase(801, 900, NULL), 1);
	CHECK(!cmk_registry_read(&ref, NULL, got));
	CHECK_INT(record_of(7, NULL, NULL), 0);
	CHECK_INT(cmk_registry_dead_count(), 0);
	read_record(2, stored);
	CHECK_MEM(stored, zero, CMK_RECORD_SIZE);
	CHECK_INT(cmk_keyring_erase(1000, 900, NULL), 0);
	CHECK_INT(cmk_keyring_revive(&id, NULL), -1);

	/* the place is used again, by another key */
	CHECK_INT(birth(7, NULL), 0);
	CHECK_INT(record_of(7, NULL, got), 2);
	CHECK(memcmp(got, key, CMK_DEK_SIZE) != 0);
	CHECK_INT(state_of(6), CMK_DEK_LIVE);
}

static void
a_birth_revives_a_tombstone_as_a_new_relation(void)
{
	CmkRelId	id = rel_id(7);
	CmkRootKey	roots[2] = {root_one, root_two};
	CmkDekInfo	info;
	uint8_t		key[CMK_DEK_SIZE];
	uint8_t		got[CMK_DEK_SIZE];
	uint8_t		image[CMK_RECORD_SIZE];
	uint8_t		stored[CMK_RECORD_SIZE];
	bool		is_new;

	CHECK_INT(start_over(), 0);
	CHECK_INT(cmk_keyring_birth(&id, 0, 0x999, image, &is_new, NULL), 0);
	CHECK_INT(record_of(7, NULL, key), 1);
	CHECK_INT(death(7, 500), 0);
	CHECK_INT(cmk_registry_set_roots(roots, 2, 2, NULL), 0);

	CHECK_INT(cmk_keyring_birth(&id, CMK_DEK_WHOLE, 0, image, &is_new, NULL), 0);
	CHECK(is_new);
	CHECK_INT(cmk_registry_dead_count(), 0);
	CHECK_INT(cmk_registry_count(), 1);
	read_record(1, stored);
	CHECK_MEM(image, stored, CMK_RECORD_SIZE);
	CHECK_INT(reload(), 0);
	CHECK_INT(record_of(7, &info, got), 1);
	CHECK_MEM(got, key, CMK_DEK_SIZE);
	CHECK_INT(info.state, CMK_DEK_LIVE);
	CHECK_INT(info.flags, CMK_DEK_WHOLE);
	CHECK_INT(info.birth_lsn, 0);
	CHECK_INT(info.root_id, 2);
}

static void
old_roots_open_old_records(void)
{
	CmkRootKey	roots[2] = {root_one, root_two};
	CmkDamaged	d;
	CmkDekInfo	info;

	CHECK_INT(start_over(), 0);
	CHECK_INT(birth(1, NULL), 0);
	CHECK_INT(cmk_registry_set_roots(roots, 2, 2, NULL), 0);
	CHECK_INT(birth(2, NULL), 0);
	CHECK_INT(reload(), 0);
	CHECK_INT(record_of(1, &info, NULL), 1);
	CHECK_INT(info.root_id, 1);
	CHECK_INT(record_of(2, &info, NULL), 2);
	CHECK_INT(info.root_id, 2);
	CHECK_INT(damaged_count(), 0);

	/* without the old root its record is kept, and not used */
	CHECK_INT(cmk_registry_set_roots(&root_two, 1, 2, NULL), 0);
	CHECK_INT(reload(), 0);
	CHECK_INT(record_of(1, NULL, NULL), 0);
	CHECK_INT(record_of(2, NULL, NULL), 2);
	CHECK_INT(cmk_registry_damaged(&d, 1), 1);
	CHECK_INT(d.record, 1);
	CHECK(d.id_known);
	CHECK_INT(d.id.rel, 1);
	CHECK_INT(cmk_registry_set_roots(roots, 2, 2, NULL), 0);
	CHECK_INT(reload(), 0);
	CHECK_INT(record_of(1, NULL, NULL), 1);
}

/* A new root: every record under it, what it holds unchanged, the dead still dead. */
static void
records_go_over_to_a_new_root(void)
{
	CmkRootKey	roots[2] = {root_one, root_two};
	CmkRelId	dead = rel_id(2);
	CmkDekRef	ref;
	CmkDekInfo	before;
	CmkDekInfo	info;
	uint8_t		key[CMK_DEK_SIZE];
	uint8_t		got[CMK_DEK_SIZE];
	uint8_t		record[CMK_RECORD_SIZE];
	uint32_t	cursor = 0;

	CHECK_INT(start_over(), 0);
	CHECK_INT(birth(1, NULL), 0);
	CHECK_INT(birth(2, NULL), 0);
	CHECK_INT(death(2, 77), 0);
	CHECK_INT(record_of(1, &before, key), 1);
	CHECK_INT(cmk_keyring_rewrap(&cursor, 10, NULL), 0);

	CHECK_INT(cmk_registry_set_roots(roots, 2, 2, NULL), 0);
	CHECK_INT(birth(3, NULL), 0);
	cursor = 0;
	CHECK_INT(cmk_keyring_rewrap(&cursor, 1, NULL), 1);
	CHECK_INT(cmk_keyring_rewrap(&cursor, 10, NULL), 1);
	cursor = 0;
	CHECK_INT(cmk_keyring_rewrap(&cursor, 10, NULL), 0);
	CHECK_INT(record_of(1, &info, got), 1);
	CHECK_INT(info.root_id, 2);
	CHECK(info.birth_id == before.birth_id && info.created == before.created);
	CHECK(memcmp(got, key, sizeof(key)) == 0);
	CHECK_INT(state_of(2), CMK_DEK_DEAD);
	CHECK(cmk_registry_find(&dead, &ref));
	CHECK_INT(cmk_registry_death_lsn(ref.slot), 77);
	read_record(1, record);
	CHECK_INT(record[8], 2);

	/* the old root is not needed for them any more */
	CHECK_INT(cmk_registry_set_roots(&root_two, 1, 2, NULL), 0);
	CHECK_INT(reload(), 0);
	CHECK_INT(damaged_count(), 0);
	CHECK_INT(record_of(1, &info, got), 1);
	CHECK(memcmp(got, key, sizeof(key)) == 0);
	CHECK_INT(state_of(2), CMK_DEK_DEAD);
}

/* A base backup's root.json may be older than its keys file. */
static void
a_root_that_comes_later_opens_what_was_damaged(void)
{
	CmkRootKey	roots[2] = {root_one, root_two};
	CmkDamaged	d;
	uint8_t		record[CMK_RECORD_SIZE];
	uint8_t		key[CMK_DEK_SIZE];
	uint8_t		got[CMK_DEK_SIZE];

	CHECK_INT(start_over(), 0);
	CHECK_INT(cmk_registry_set_roots(roots, 2, 2, NULL), 0);
	CHECK_INT(birth(1, NULL), 0);
	CHECK_INT(birth(2, NULL), 0);
	CHECK_INT(record_of(1, NULL, key), 1);
	read_record(2, record);
	record[100] ^= 1;
	write_record(2, record);

	CHECK_INT(cmk_registry_set_roots(&root_one, 1, 1, NULL), 0);
	CHECK_INT(reload(), 0);
	CHECK_INT(cmk_registry_damaged(&d, 1), 2);
	CHECK_INT(d.root_id, 2);
	CHECK_INT(cmk_keyring_reread_damaged(NULL), 0);
	CHECK_INT(record_of(1, NULL, NULL), 0);

	CHECK_INT(cmk_registry_set_roots(roots, 2, 2, NULL), 0);
	CHECK_INT(cmk_keyring_reread_damaged(NULL), 0);
	CHECK_INT(record_of(1, NULL, got), 1);
	CHECK(memcmp(got, key, sizeof(key)) == 0);
	CHECK_INT(cmk_registry_damaged(&d, 1), 1);
	CHECK_INT(d.record, 2);
	CHECK_INT(record_of(2, NULL, NULL), 0);
}

/* ---- replay ---- */

static void
replay_brings_what_another_node_made(void)
{
	CmkDekInfo	info;
	uint8_t		image[CMK_RECORD_SIZE];
	uint8_t		stored[CMK_RECORD_SIZE];
	uint8_t		key[CMK_DEK_SIZE];
	uint8_t		got[CMK_DEK_SIZE];
	uint64_t	mark;
	int			i;

	CHECK_INT(start_over(), 0);
	CHECK_INT(birth(9, image), 0);
	CHECK_INT(record_of(9, NULL, key), 1);

	CHECK_INT(start_over(), 0);
	CHECK_INT(birth(8, NULL), 0);
	for (i = 0; i < 3; i++)
	{
		CHECK_INT(cmk_keyring_sync(), 0);
		CHECK_INT(cmk_keyring_replay(image, NULL), 0);
		/* also the second time: a sync may have failed in between */
		CHECK(cmk_registry_dirty(&mark));
		CHECK_INT(record_of(9, &info, got), 2);
		CHECK_MEM(got, key, CMK_DEK_SIZE);
		CHECK_INT(cmk_registry_count(), 2);
		read_record(2, stored);
		CHECK_MEM(stored, image, CMK_RECORD_SIZE);
		if (i == 1)
			CHECK_INT(reload(), 0);
	}

	/* over a tombstone */
	CHECK_INT(death(9, 5), 0);
	CHECK_INT(cmk_keyring_replay(image, NULL), 0);
	CHECK_INT(state_of(9), CMK_DEK_LIVE);
	CHECK_INT(cmk_registry_dead_count(), 0);
	CHECK_INT(reload(), 0);
	CHECK_INT(state_of(9), CMK_DEK_LIVE);

	/* over another key */
	CHECK_INT(death(9, 5), 0);
	CHECK_INT(cmk_keyring_erase(6, 6, NULL), 1);
	CHECK_INT(birth(9, NULL), 0);
	CHECK_INT(record_of(9, NULL, got), 2);
	CHECK(memcmp(got, key, CMK_DEK_SIZE) != 0);
	CHECK_INT(cmk_keyring_replay(image, NULL), 0);
	CHECK_INT(record_of(9, NULL, got), 2);
	CHECK_MEM(got, key, CMK_DEK_SIZE);
	CHECK_INT(reload(), 0);
	CHECK_INT(record_of(9, NULL, got), 2);
	CHECK_MEM(got, key, CMK_DEK_SIZE);
}

static void
replay_refuses_what_is_not_genuine(void)
{
	static const uint8_t zero[CMK_RECORD_SIZE];
	uint8_t		image[CMK_RECORD_SIZE];
	CmkError	err;

	CHECK_INT(start_over(), 0);
	CHECK_INT(birth(9, image), 0);
	CHECK_INT(start_over(), 0);
	CHECK_INT(cmk_keyring_replay(zero, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CORRUPT);
	image[20] ^= 1;
	CHECK_INT(cmk_keyring_replay(image, &err), -1);
	cmk_record_set_state(image, CMK_DEK_LIVE);	/* CRC right again */
	CHECK_INT(cmk_keyring_replay(image, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CORRUPT);
	image[20] ^= 1;
	cmk_record_set_state(image, CMK_DEK_LIVE);
	CHECK_INT(cmk_registry_set_roots(&root_two, 1, 2, NULL), 0);
	CHECK_INT(cmk_keyring_replay(image, &err), -1);
	CHECK_HAS(err.message, "root key 1");
	CHECK_INT(cmk_registry_count(), 0);
	CHECK_INT(cmk_registry_set_roots(&root_one, 1, 1, NULL), 0);
	CHECK_INT(cmk_keyring_replay(image, &err), 0);
	CHECK_INT(record_of(9, NULL, NULL), 1);
}

/* ---- no space, no disk, no room ---- */

static int
limit_file(rlim_t size)
{
	struct rlimit limit = {size, RLIM_INFINITY};

	return setrlimit(RLIMIT_FSIZE, &limit);
}

static int
full_disk(void)
{
	CmkRelId	id;
	uint8_t		image[CMK_RECORD_SIZE];
	uint8_t		before[CMK_RECORD_SIZE];
	uint8_t		after[CMK_RECORD_SIZE];
	bool		is_new;
	CmkError	err;
	uint32_t	i;

	signal(SIGXFSZ, SIG_IGN);
	CHILD(start_over() == 0);
	for (i = 1; i <= 63; i++)
		CHILD(birth(i, image) == 0);
	CHILD(death(63, 7) == 0);

	/* the file cannot grow: birth 64 has its space, 65 has none */
	CHILD(limit_file(128 + 64 * 128) == 0);
	CHILD(birth(64, NULL) == 0);
	id = rel_id(65);
	for (i = 0; i < 3; i++)
	{
		CHILD(cmk_keyring_birth(&id, 0, 0, image, &is_new, &err) == -1);
		CHILD(err.code == CMK_ERR_NO_SPACE);
		CHILD(err.saved_errno == EFBIG);
		CHILD(strstr(err.message, "could not extend file") != NULL);
		CHILD(strstr(err.message, path) != NULL);
		CHILD(err.hint[0] != '\0');
		CHILD(!is_new);
		CHILD(cmk_registry_count() == 63 && record_of(65, NULL, NULL) == 0);
		CHILD(file_size() == 128 + 64 * 128);
	}

	/* replay cannot either, and what is there goes on working */
	CHILD(limit_file(RLIM_INFINITY) == 0);
	CHILD(birth(65, image) == 0 && record_of(65, NULL, NULL) == 65);
	CHILD(ftruncate(file, 128 + 64 * 128) == 0 && reload() == 0);
	CHILD(limit_file(128 + 64 * 128) == 0);
	CHILD(cmk_keyring_replay(image, &err) == -1);
	CHILD(err.code == CMK_ERR_NO_SPACE);
	CHILD(cmk_registry_count() == 63 && record_of(65, NULL, NULL) == 0);
	CHILD(death(1, 7) == 0);

	/* nothing can be written at all */
	CHILD(limit_file(128) == 0);
	read_record(2, before);
	CHILD(cmk_registry_death_lsn(0) == 7);
	CHILD(cmk_keyring_erase(8, 8, &err) == -1);
	CHILD(err.code == CMK_ERR_NO_SPACE);
	CHILD(state_of(1) == CMK_DEK_DEAD);
	id = rel_id(1);
	CHILD(cmk_keyring_revive(&id, &err) == -1);
	CHILD(state_of(1) == CMK_DEK_DEAD);
	CHILD(cmk_keyring_birth(&id, 0, 0, image, &is_new, &err) == -1);
	CHILD(state_of(1) == CMK_DEK_DEAD && !is_new);
	id = rel_id(2);
	CHILD(cmk_keyring_death(&id, 9, &err) == -1);
	CHILD(err.code == CMK_ERR_NO_SPACE);
	CHILD(state_of(2) == CMK_DEK_DEAD);
	read_record(2, after);
	CHILD(memcmp(before, after, CMK_RECORD_SIZE) == 0);

	/* space again: everything goes on, and a restart finds it in order */
	CHILD(limit_file(RLIM_INFINITY) == 0);
	CHILD(cmk_keyring_erase(8, 8, &err) == 1);
	CHILD(birth(65, NULL) == 0 && birth(66, NULL) == 0);
	CHILD(record_of(65, NULL, NULL) + record_of(66, NULL, NULL) == 1 + 65);
	CHILD(reload() == 0);
	CHILD(damaged_count() == 0);
	CHILD(cmk_registry_count() == 64 && state_of(2) == CMK_DEK_LIVE);
	CHILD(state_of(63) == CMK_DEK_DEAD);
	return 0;
}

static void
a_full_disk_leaves_nothing_behind(void)
{
	CHECK_INT(in_child(full_disk), 0);
}

/* The keyring's own descriptor, which the test must find to break it. */
static int
keyring_fd(void)
{
	DIR		   *d = opendir("/proc/self/fd");
	struct dirent *e;
	int			found = -1;

	while (d != NULL && (e = readdir(d)) != NULL)
	{
		char		link[512];
		char		target[512];
		ssize_t		n;

		snprintf(link, sizeof(link), "/proc/self/fd/%.20s", e->d_name);
		n = readlink(link, target, sizeof(target) - 1);
		if (n <= 0)
			continue;
		target[n] = '\0';
		if (strcmp(target, path) == 0 && atoi(e->d_name) != file)
			found = atoi(e->d_name);
	}
	if (d != NULL)
		closedir(d);
	return found;
}

static int
failing_sync(void)
{
	int			fd = keyring_fd();
	int			good = dup(fd);
	int			ends[2];
	uint64_t	mark;
	CmkError	err;

	CHILD(fd >= 0 && good >= 0 && pipe(ends) == 0);
	CHILD((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
	CHILD(start_over() == 0);
	CHILD(cmk_keyring_sync() == 0);
	CHILD(birth(1, NULL) == 0);
	CHILD(dup2(ends[1], fd) == fd);

	errno = 0;
	CHILD(cmk_keyring_sync() == -1);
	CHILD(errno == EINVAL);
	CHILD(cmk_registry_dirty(&mark));
	CHILD(cmk_keyring_sync() == -1);

	/* nor can it be read or written, which is not lack of space */
	CHILD(cmk_keyring_load(&err) == -1);
	CHILD(err.code == CMK_ERR_IO);
	CHILD(err.saved_errno == ESPIPE);
	CHILD(cmk_registry_count() == 0);

	CHILD(dup2(good, fd) == fd);
	CHILD(cmk_keyring_sync() == 0);
	CHILD(!cmk_registry_dirty(&mark));

	/* clean: nothing is synced, so nothing can fail */
	CHILD(dup2(ends[1], fd) == fd);
	CHILD(cmk_keyring_sync() == 0);
	return 0;
}

static void
a_failed_sync_stays_to_be_done(void)
{
	CHECK_INT(in_child(failing_sync), 0);
}

static void
a_full_registry_refuses_births(void)
{
	CmkRelId	id = rel_id(1);
	uint8_t		image[CMK_RECORD_SIZE];
	uint32_t	slot;
	bool		is_new;
	CmkError	err;

	CHECK_INT(start_over(), 0);
	while (cmk_registry_reserve(&slot, &err) == 0)
		;
	CHECK_INT(slot, CMK_MAX_DEKS);
	CHECK_INT(cmk_keyring_birth(&id, 0, 0, image, &is_new, &err), -1);
	CHECK_INT(err.code, CMK_ERR_LIMIT);
	CHECK(!is_new);
	CHECK_INT(file_size(), 128);
	cmk_registry_unreserve(42);
	CHECK_INT(cmk_keyring_birth(&id, 0, 0, image, &is_new, &err), 0);
	CHECK_INT(record_of(1, NULL, NULL), 43);
	CHECK_INT(reload(), 0);
	CHECK_INT(record_of(1, NULL, NULL), 43);
}

/* ---- all of it, against a model, restarted after every step ---- */

#define RELS	24

typedef struct Model
{
	CmkDekState state;
	uint8_t		key[CMK_DEK_SIZE];
	uint8_t		image[CMK_RECORD_SIZE];
} Model;

/* One step, with what the model then expects. */
static int
step(Model *model, uint32_t seed)
{
	uint32_t	rel = (seed >> 8) % RELS;
	Model	   *m = &model[rel];
	CmkRelId	id = rel_id(rel + 1);
	uint8_t		key[CMK_DEK_SIZE];
	int			i;

	switch ((seed >> 20) % 6)
	{
		case 0:
		case 1:
			if (birth(rel + 1, m->image) < 0 || !record_of(rel + 1, NULL, key))
				return -1;
			if (m->state != CMK_DEK_FREE &&
				memcmp(key, m->key, CMK_DEK_SIZE) != 0)
				return -1;
			memcpy(m->key, key, CMK_DEK_SIZE);
			m->state = CMK_DEK_LIVE;
			return 0;
		case 2:
			if (m->state == CMK_DEK_LIVE)
				m->state = CMK_DEK_DEAD;
			return death(rel + 1, 100);
		case 3:
			if (m->state == CMK_DEK_FREE)
				return cmk_keyring_revive(&id, NULL) == -1 ? 0 : -1;
			m->state = CMK_DEK_LIVE;
			return cmk_keyring_revive(&id, NULL);
		case 4:
			if (m->image[4] == 0)
				return 0;		/* never born */
			m->state = CMK_DEK_LIVE;
			return cmk_keyring_replay(m->image, NULL);
		default:
			if ((seed >> 24) % 4 != 0)
				return 0;
			/* once to date what a restart left undated, once to erase */
			if (cmk_keyring_erase(1, 50, NULL) < 0 ||
				cmk_keyring_erase(101, 50, NULL) < 0)
				return -1;
			for (i = 0; i < RELS; i++)
				if (model[i].state == CMK_DEK_DEAD)
					model[i].state = CMK_DEK_FREE;
			return 0;
	}
}

static bool
matches(const Model *model)
{
	uint32_t	live = 0;
	uint32_t	i;

	for (i = 0; i < RELS; i++)
	{
		uint8_t		key[CMK_DEK_SIZE];

		if (state_of(i + 1) != model[i].state)
			return false;
		if (model[i].state == CMK_DEK_FREE)
			continue;
		live += model[i].state == CMK_DEK_LIVE;
		if (!record_of(i + 1, NULL, key) ||
			memcmp(key, model[i].key, CMK_DEK_SIZE) != 0)
			return false;
	}
	return cmk_registry_count() == live && damaged_count() == 0;
}

static void
every_step_survives_a_restart(void)
{
	static Model model[RELS];
	uint32_t	seed = 42;
	int			i;

	CHECK_INT(start_over(), 0);
	for (i = 0; i < 5000; i++)
	{
		seed = seed * 1664525 + 1013904223;
		CHECK_INT(step(model, seed), 0);
		CHECK(matches(model));
		CHECK_INT(reload(), 0);
		CHECK(matches(model));
	}
	CHECK(file_size() == 128 + 64 * 128);
}

/* ---- how long it takes ---- */

static double
seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

static void
loads_a_hundred_thousand(void)
{
	const uint32_t n = 100000;
	double		start = seconds();
	double		born;
	double		loaded;
	uint32_t	i;

	CHECK_INT(start_over(), 0);
	for (i = 1; i <= n; i++)
		CHECK_INT(birth(16384 + i, NULL), 0);
	born = seconds();
	CHECK_INT(reload(), 0);
	loaded = seconds();
	CHECK_INT(cmk_registry_count(), n);
	CHECK_INT(damaged_count(), 0);
	CHECK_INT(record_of(16384 + n, NULL, NULL), n);
	printf("# 100,000 DEKs: born in %.2f s, loaded in %.2f s\n",
		   born - start, loaded - born);
}

int
main(void)
{
	if (!env_begin())
		return 1;
	RUN(opens_and_creates);
	RUN(says_why_it_cannot_open);

	if (!env_create())
		return 1;
	RUN(refuses_a_wrong_header);
	if (!env_open())
		return 1;

	RUN(a_birth_is_in_memory_and_in_the_file);
	RUN(no_two_keys_are_equal);
	RUN(a_local_birth_is_nothing_to_log);
	RUN(a_birth_needs_a_root);
	RUN(a_tombstone_keeps_its_key_until_erased);
	RUN(a_birth_revives_a_tombstone_as_a_new_relation);
	RUN(old_roots_open_old_records);
	RUN(records_go_over_to_a_new_root);
	RUN(a_root_that_comes_later_opens_what_was_damaged);
	RUN(replay_brings_what_another_node_made);
	RUN(replay_refuses_what_is_not_genuine);
	RUN(a_full_disk_leaves_nothing_behind);
	RUN(a_failed_sync_stays_to_be_done);
	RUN(a_full_registry_refuses_births);
	RUN(every_step_survives_a_restart);
	RUN(loads_a_hundred_thousand);

	return env_end();
}
