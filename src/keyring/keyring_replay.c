/*
 * keyring_replay.c
 *	  Key records that come with WAL.  See keyring.h.
 *
 * Replay overwrites a record even when it is the same already.  If a sync failed,
 * the operating system may have dropped what was to be written and call it
 * clean; writing it again, from WAL, is what makes the next sync mean something.
 */
#include "damaged.h"
#include "keyring_impl.h"
#include "keysfile.h"

/* A record for a relation, or a generation, of which the registry knows nothing. */
static int
replay_new(const CmkDekInfo *info, const uint8_t *dek, const uint8_t *image,
		   CmkError *err)
{
	uint32_t	damaged = cmk_damaged_repaired_by(image);
	uint32_t	slot = damaged - 1;

	if (damaged == 0)
	{
		if (cmk_registry_reserve(&slot, err) < 0)
			return -1;
		if (cmk_keysfile_extend(slot, err) < 0 ||
			cmk_keysfile_write(slot, image, err) < 0)
		{
			cmk_registry_unreserve(slot);
			return -1;
		}
	}
	else
	{
		if (cmk_keysfile_write(slot, image, err) < 0)
			return -1;
		cmk_registry_forget_damaged(damaged);
	}
	return cmk_registry_insert(slot, info, dek, err);
}

#define PLACE_NEW		0		/* a slot of its own */
#define PLACE_FOUND		1		/* in *slot */
#define PLACE_NONE		2		/* nowhere: it is of no use any more */

/*
 * Where a record that came with WAL belongs.  A relation that is dead begins anew,
 * and what was known of it is forgotten.  Of one that lives a generation may come
 * that is behind the newest: replay began early, and will end it again, but
 * until then there may be pages under it.  Only if a newer one with the same number
 * in a page is known, then there are none: that one came when it was gone.
 */
static int
find_place(const CmkDekInfo *info, uint32_t *slot, CmkError *err)
{
	CmkDekInfo	newest;
	CmkDekInfo	same;
	uint32_t	same_slot;

	if (!cmk_keyring_lookup(&info->id, slot, &newest, NULL))
		return PLACE_NEW;
	if (newest.state == CMK_DEK_DEAD)
		return cmk_keyring_erase_older(&info->id, err) < 0 ? -1 : PLACE_FOUND;
	if (!cmk_keyring_lookup_generation(&info->id, info->generation, &same_slot, &same, NULL))
		return PLACE_NEW;
	if (same.generation == info->generation)
	{
		*slot = same_slot;
		return PLACE_FOUND;
	}
	if (same.generation > info->generation)
		return PLACE_NONE;
	if (same.state == CMK_DEK_LIVE)
		return cmk_fail(err, CMK_ERR_LIMIT,
						"relation %u/%u/%u still has pages under generation %u of its key, so it cannot have generation %u",
						info->id.spc, info->id.db, info->id.rel,
						same.generation, info->generation);

	/* It has ended, and no checkpoint has come since: but it is in no page. */
	return cmk_keyring_erase_slot(same_slot, err) < 0 ? -1 : PLACE_NEW;
}

int
cmk_keyring_replay(const uint8_t image[CMK_RECORD_SIZE], CmkError *err)
{
	CmkDekInfo	info;
	uint8_t		dek[CMK_DEK_SIZE];
	uint32_t	slot;
	int			rc;

	if (cmk_record_decode(image, &info, err) < 0)
		return -1;
	if (info.state == CMK_DEK_FREE)
		return cmk_fail(err, CMK_ERR_CORRUPT, "key record is empty");
	if (cmk_keyring_unwrap(image, &info, dek, err) < 0)
		return -1;

	rc = find_place(&info, &slot, err);
	if (rc == PLACE_NEW)
		rc = replay_new(&info, dek, image, err);
	else if (rc == PLACE_FOUND)
	{
		rc = cmk_keysfile_write(slot, image, err);
		if (rc == 0)
			rc = cmk_registry_insert(slot, &info, dek, err);
	}
	cmk_cleanse(dek, sizeof(dek));
	return rc < 0 ? -1 : 0;
}
