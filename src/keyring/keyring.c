/*
 * keyring.c
 *	  What a birth, a death and an erasure do to the registry and to the keys file.
 *	  See keyring.h.
 *
 * Both must tell the same story at every moment at which a process can die.  So
 * each change has one order, chosen by which half may be missing:
 *
 *	- A birth writes the file, then enters the registry: whoever finds a DEK in
 *	  memory may use it, so it must not be lost.  A record that no registry knows
 *	  (the writer died) is found by the next load, and swept if it has no file.
 *	- A death enters the registry, then the file: nothing depends on it but when
 *	  the record is erased.  A death that is lost is noticed at the end of
 *	  recovery, when the record has no file.
 *	- Coming back to life writes the file first, as a birth: a tombstone that
 *	  stayed in the file would be erased some day under a living relation.
 *	- An erasure writes the file, then frees the slot: a freed slot is given to
 *	  the next birth, which must not find a record there.
 */
#include <string.h>
#include <time.h>

#include "damaged.h"
#include "keyring_impl.h"
#include "keysfile.h"

static CmkKeyWrap *keywrap;

int
cmk_keyring_open(const char *path, uint64_t sysid, bool create, CmkError *err)
{
	if (keywrap == NULL)
		keywrap = cmk_keywrap_new();
	if (keywrap == NULL)
		return cmk_fail(err, CMK_ERR_NO_MEMORY, "out of memory");
	return cmk_keysfile_open(path, sysid, create, err);
}

/* ---- between registry, record and file ---- */

/* False if root is not open. */
static bool
record_key(const CmkRootKey *root, CmkRecordKey *rk)
{
	if (root == NULL)
		return false;
	rk->root_id = root->id;
	rk->root_key = root->key;
	memcpy(rk->salt, root->salt, CMK_SALT_SIZE);
	rk->sysid = cmk_keysfile_sysid();
	return true;
}

/* info->root_id says which root wraps. */
static int
encode(const CmkDekInfo *info, const uint8_t *dek, uint8_t *record,
	   CmkError *err)
{
	CmkRecordKey rk;

	if (!record_key(cmk_registry_root_by_id(info->root_id), &rk))
		return cmk_fail(err, CMK_ERR_CONFIG, "root key %u is not open",
						info->root_id);
	return cmk_record_encode(&rk, keywrap, info, dek, record, err);
}

int
cmk_keyring_unwrap(const uint8_t *record, const CmkDekInfo *info, uint8_t *dek,
				   CmkError *err)
{
	CmkRecordKey rk;

	if (!record_key(cmk_registry_root_by_id(info->root_id), &rk))
		return cmk_fail(err, CMK_ERR_CORRUPT,
						"root key %u, which wraps it, is not open",
						info->root_id);
	return cmk_record_unwrap(&rk, keywrap, record, dek, err);
}

bool
cmk_keyring_lookup(const CmkRelId *id, uint32_t *slot, CmkDekInfo *info, uint8_t *dek)
{
	CmkDekRef	ref;

	if (!cmk_registry_find(id, &ref) || !cmk_registry_read(&ref, info, dek))
		return false;
	*slot = ref.slot;
	return true;
}

bool
cmk_keyring_lookup_generation(const CmkRelId *id, unsigned generation, uint32_t *slot,
							  CmkDekInfo *info, uint8_t *dek)
{
	CmkDekRef	ref;

	if (!cmk_registry_find_generation(id, generation, &ref) ||
		!cmk_registry_read(&ref, info, dek))
		return false;
	*slot = ref.slot;
	return true;
}

/* The slots of all generations of id, the newest last; how many. */
static int
generations_of(const CmkRelId *id, uint32_t slots[CMK_GENERATIONS])
{
	CmkDekInfo	info;
	uint32_t	newest;
	uint32_t	slot;
	unsigned	g;
	int			n = 0;

	if (!cmk_keyring_lookup(id, &newest, &info, NULL))
		return 0;
	for (g = 0; g < CMK_GENERATIONS; g++)
		if (cmk_keyring_lookup_generation(id, g, &slot, &info, NULL) && slot != newest)
			slots[n++] = slot;
	slots[n++] = newest;
	return n;
}

/* ---- birth ---- */

static int64_t
microseconds_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* Makes a DEK for info, all of which but the birth id is set. */
static int
fill_slot(uint32_t slot, CmkDekInfo *info, uint8_t *image, CmkError *err)
{
	static const uint8_t zero[CMK_RECORD_SIZE];
	uint8_t		dek[CMK_DEK_SIZE];
	int			rc = -1;

	if (cmk_keysfile_extend(slot, err) < 0)
		return -1;
	if (cmk_random_key(dek, sizeof(dek)) < 0 ||
		cmk_random_public(&info->birth_id, sizeof(info->birth_id)) < 0)
	{
		cmk_fail(err, CMK_ERR_CRYPTO, "could not get random bytes");
		cmk_fail_openssl(err);
	}
	else if (encode(info, dek, image, err) == 0 &&
			 cmk_keysfile_write(slot, image, err) == 0)
	{
		rc = cmk_registry_insert(slot, info, dek, err);
		if (rc < 0)
			cmk_keysfile_write(slot, zero, NULL);
	}
	cmk_cleanse(dek, sizeof(dek));
	return rc;
}

static int
new_dek(const CmkRelId *id, uint16_t generation, uint16_t flags,
		uint64_t birth_lsn, int64_t created, uint8_t *image, CmkError *err)
{
	const CmkRootKey *root = cmk_registry_root();
	CmkDekInfo	info;
	uint32_t	slot;

	if (root == NULL)
		return cmk_fail(err, CMK_ERR_CONFIG, "no root key is open");
	if (cmk_damaged_refuse(id, err) < 0 || cmk_registry_reserve(&slot, err) < 0)
		return -1;

	memset(&info, 0, sizeof(info));
	info.id = *id;
	info.state = CMK_DEK_LIVE;
	info.flags = flags;
	info.generation = generation;
	info.root_id = root->id;
	info.birth_lsn = birth_lsn;
	info.created = created;
	if (fill_slot(slot, &info, image, err) < 0)
	{
		cmk_registry_unreserve(slot);
		return -1;
	}
	return 0;
}

/*
 * Births from a tombstone: the DEK stays, because recovery from an earlier
 * point may still meet pages under it, but the relation is new, and so are its
 * flags and its birth LSN; and the record is wrapped by the current root.
 */
static int
reborn_dek(uint32_t slot, CmkDekInfo *info, const uint8_t *dek,
		   uint8_t *image, CmkError *err)
{
	const CmkRootKey *root = cmk_registry_root();

	if (root == NULL)
		return cmk_fail(err, CMK_ERR_CONFIG, "no root key is open");
	info->state = CMK_DEK_LIVE;
	info->root_id = root->id;
	if (encode(info, dek, image, err) < 0 ||
		cmk_keysfile_write(slot, image, err) < 0)
		return -1;
	return cmk_registry_insert(slot, info, dek, err);
}

int
cmk_keyring_birth(const CmkRelId *id, uint16_t flags, uint64_t birth_lsn,
				  uint8_t image[CMK_RECORD_SIZE], bool *is_new, CmkError *err)
{
	CmkDekInfo	info;
	uint8_t		dek[CMK_DEK_SIZE];
	uint32_t	slot;
	int			rc;

	*is_new = false;
	if (!cmk_keyring_lookup(id, &slot, &info, dek))
		rc = new_dek(id, 1, flags, birth_lsn, microseconds_now(), image, err);
	else if (info.state == CMK_DEK_LIVE)
	{
		rc = encode(&info, dek, image, err);
		cmk_cleanse(dek, sizeof(dek));
		return rc;
	}
	else
	{
		info.flags = flags;
		info.birth_lsn = birth_lsn;
		rc = reborn_dek(slot, &info, dek, image, err);
	}
	cmk_cleanse(dek, sizeof(dek));
	*is_new = rc == 0 && (flags & CMK_DEK_LOCAL) == 0;
	return rc;
}

/* ---- another generation ---- */

CmkRotation
cmk_keyring_rotate(const CmkRelId *id, uint64_t birth_lsn, int64_t created,
				   uint8_t image[CMK_RECORD_SIZE], CmkError *err)
{
	CmkDekInfo	info;
	CmkDekInfo	other;
	uint8_t		dek[CMK_DEK_SIZE];
	uint32_t	slot;
	CmkRotation result = CMK_ROTATION_FAILED;

	if (!cmk_keyring_lookup(id, &slot, &info, dek) || info.state != CMK_DEK_LIVE)
		cmk_fail(err, CMK_ERR_NOT_FOUND,
				 "there is no key for relation %u/%u/%u", id->spc, id->db, id->rel);
	else if (!(info.flags & CMK_DEK_WHOLE))
		cmk_fail(err, CMK_ERR_CONFIG,
				 "relation %u/%u/%u has plain pages", id->spc, id->db, id->rel);
	else if (cmk_registry_has_older(id))
	{
		if (encode(&info, dek, image, err) == 0)
			result = CMK_ROTATION_GOES_ON;
	}
	else if (info.generation == UINT16_MAX)
		cmk_fail(err, CMK_ERR_LIMIT,
				 "relation %u/%u/%u has had as many keys as it can have",
				 id->spc, id->db, id->rel);
	else if (cmk_keyring_lookup_generation(id, info.generation + 1u, &slot, &other, NULL))
		result = CMK_ROTATION_MUST_WAIT;
	else if (new_dek(id, info.generation + 1, CMK_DEK_WHOLE, birth_lsn,
					 created, image, err) == 0)
		result = CMK_ROTATION_BEGINS;
	cmk_cleanse(dek, sizeof(dek));
	return result;
}

/* ---- wholly sealed ---- */

int
cmk_keyring_whole(const CmkRelId *id, uint8_t image[CMK_RECORD_SIZE],
				  CmkError *err)
{
	CmkDekInfo	info;
	uint8_t		dek[CMK_DEK_SIZE];
	uint32_t	slot;
	int			rc;

	if (!cmk_keyring_lookup(id, &slot, &info, dek) || info.state != CMK_DEK_LIVE)
	{
		cmk_cleanse(dek, sizeof(dek));
		return cmk_fail(err, CMK_ERR_NOT_FOUND,
						"there is no key for relation %u/%u/%u",
						id->spc, id->db, id->rel);
	}
	info.flags |= CMK_DEK_WHOLE;
	rc = encode(&info, dek, image, err);
	cmk_cleanse(dek, sizeof(dek));
	return rc;
}

/* ---- erasure ---- */

int
cmk_keyring_erase_slot(uint32_t slot, CmkError *err)
{
	static const uint8_t zero[CMK_RECORD_SIZE];

	if (cmk_keysfile_write(slot, zero, err) < 0)
		return -1;
	cmk_registry_remove(slot);
	return 0;
}

int
cmk_keyring_erase_older(const CmkRelId *id, CmkError *err)
{
	uint32_t	slots[CMK_GENERATIONS];
	int			n = generations_of(id, slots);
	int			i;

	for (i = 0; i < n - 1; i++)
		if (cmk_keyring_erase_slot(slots[i], err) < 0)
			return -1;
	return n > 0 ? n - 1 : 0;
}

int
cmk_keyring_erase(uint64_t redo, uint64_t now, CmkError *err)
{
	CmkDekInfo	info;
	uint32_t	cursor = 0;
	uint32_t	left = cmk_registry_dead_count();
	int			erased = 0;

	while (left > 0 && cmk_registry_next(&cursor, &info))
	{
		uint32_t	slot = cursor - 1;
		uint64_t	death = cmk_registry_death_lsn(slot);

		if (info.state != CMK_DEK_DEAD)
			continue;
		left--;
		if (death == 0)
			cmk_registry_set_death_lsn(slot, now);
		else if (death < redo)
		{
			int			older = info.older ? 0 : cmk_keyring_erase_older(&info.id, err);

			if (older < 0 || cmk_keyring_erase_slot(slot, err) < 0)
				return -1;
			erased += older + 1;
		}
	}
	return erased;
}

/* ---- death ---- */

/*
 * Changes the state in the file.  The rest comes from the file too, since no
 * root need be open to make it anew; so it is looked at before it is written.
 */
static int
write_state(uint32_t slot, const CmkRelId *id, CmkDekState state, CmkError *err)
{
	uint8_t		record[CMK_RECORD_SIZE];
	CmkDekInfo	info;
	CmkError	why;
	int			n = cmk_keysfile_read(slot, record, 1, err);

	if (n < 0)
		return -1;
	if (n == 0)
		return cmk_damaged_fail(err, slot + 1, "it is missing");
	if (cmk_damaged_decode(record, &info, &why) < 0)
		return cmk_damaged_fail(err, slot + 1, why.message);
	if (memcmp(&info.id, id, sizeof(*id)) != 0)
		return cmk_damaged_fail(err, slot + 1, "it is another relation's");
	cmk_record_set_state(record, state);
	return cmk_keysfile_write(slot, record, err);
}

/* Makes tombstones of all live generations of id below one. */
static int
end_generations(const CmkRelId *id, uint32_t below, uint64_t lsn, CmkError *err)
{
	uint32_t	slots[CMK_GENERATIONS];
	int			n = generations_of(id, slots);
	int			rc = 0;
	int			i;

	for (i = 0; i < n; i++)
	{
		uint32_t	cursor = slots[i];
		CmkDekInfo	info;

		if (!cmk_registry_next(&cursor, &info) || info.state != CMK_DEK_LIVE ||
			info.generation >= below)
			continue;
		cmk_registry_set_state(slots[i], CMK_DEK_DEAD, lsn);
		if (write_state(slots[i], id, CMK_DEK_DEAD, err) < 0)
			rc = -1;
	}
	return rc;
}

int
cmk_keyring_death(const CmkRelId *id, uint64_t lsn, CmkError *err)
{
	return end_generations(id, UINT32_MAX, lsn, err);
}

int
cmk_keyring_end_older(const CmkRelId *id, uint16_t generation, uint64_t lsn,
					  CmkError *err)
{
	return end_generations(id, generation, lsn, err);
}

int
cmk_keyring_revive(const CmkRelId *id, CmkError *err)
{
	uint32_t	slots[CMK_GENERATIONS];
	CmkDekInfo	info;
	uint32_t	slot;
	int			n;
	int			i;

	if (!cmk_keyring_lookup(id, &slot, &info, NULL))
		return cmk_fail(err, CMK_ERR_NOT_FOUND,
						"there is no key for relation %u/%u/%u",
						id->spc, id->db, id->rel);
	if (info.state == CMK_DEK_LIVE)
		return 0;

	/* Any of its generations may be needed: which had ended before is not known. */
	n = generations_of(id, slots);
	for (i = 0; i < n; i++)
	{
		if (write_state(slots[i], id, CMK_DEK_LIVE, err) < 0)
			return -1;
		cmk_registry_set_state(slots[i], CMK_DEK_LIVE, 0);
	}
	return 0;
}

/* ---- another root ---- */

/* The DEK and all that is known of it stay; the tombstone keeps the time of its death. */
static int
rewrap_slot(uint32_t slot, CmkDekInfo *info, const uint8_t *dek,
			uint32_t root_id, CmkError *err)
{
	uint8_t		record[CMK_RECORD_SIZE];
	uint64_t	death = cmk_registry_death_lsn(slot);

	info->root_id = root_id;
	if (encode(info, dek, record, err) < 0 ||
		cmk_keysfile_write(slot, record, err) < 0 ||
		cmk_registry_insert(slot, info, dek, err) < 0)
		return -1;
	cmk_registry_set_death_lsn(slot, death);
	return 0;
}

int
cmk_keyring_rewrap(uint32_t *cursor, int max, CmkError *err)
{
	const CmkRootKey *root = cmk_registry_root();
	CmkDekInfo	info;
	uint8_t		dek[CMK_DEK_SIZE];
	uint32_t	slot;
	int			done = 0;
	int			rc = 0;

	if (root == NULL)
		return cmk_fail(err, CMK_ERR_CONFIG, "no root key is open");
	while (rc == 0 && done < max && cmk_registry_next(cursor, &info))
	{
		if (info.root_id == root->id ||
			!cmk_keyring_lookup_generation(&info.id, info.generation, &slot, &info, dek))
			continue;
		rc = rewrap_slot(slot, &info, dek, root->id, err);
		done++;
	}
	cmk_cleanse(dek, sizeof(dek));
	return rc < 0 ? -1 : done;
}

/* ---- the rest ---- */

bool
cmk_keyring_file_moved(CmkError *err)
{
	return cmk_keysfile_moved(err);
}

int
cmk_keyring_sync(void)
{
	return cmk_keysfile_sync();
}
