/*
 * keyring_load.c
 *	  The registry rebuilt from the keys file.  See keyring.h.
 *
 * A server must start although a record is damaged, or it could not even be asked
 * which relation that is.  So what cannot be used is noted and passed over; who needs
 * it is refused later, by name (damaged.h).
 */
#include "damaged.h"
#include "keyring_impl.h"
#include "keysfile.h"

#define LOAD_RECORDS	256		/* 32 kB at a time */

/*
 * Two records claim one generation of a relation: true if the one that is in the
 * registry gave way and was noted as damaged.
 */
static bool
gives_way(uint32_t slot, const CmkDekInfo *old, const CmkDekInfo *new)
{
	CmkDamaged	d;

	if (old->created >= new->created)
		return false;
	cmk_registry_remove(slot);
	d.record = slot + 1;
	d.id_known = true;
	d.id = old->id;
	d.root_id = old->root_id;
	cmk_registry_note_damaged(&d);
	return true;
}

static int
load_record(uint32_t slot, uint8_t *record, CmkError *err)
{
	CmkDekInfo	info;
	CmkDekInfo	old;
	CmkError	why;
	uint8_t		dek[CMK_DEK_SIZE];
	uint32_t	other;
	int			rc = 0;

	if (cmk_damaged_decode(record, &info, &why) < 0)
	{
		cmk_damaged_note(slot, record, false);
		return 0;
	}
	if (info.state == CMK_DEK_FREE)
		return 0;
	if (cmk_keyring_unwrap(record, &info, dek, &why) < 0)
	{
		if (why.code != CMK_ERR_CORRUPT)
		{
			if (err != NULL)
				*err = why;
			return -1;
		}
		cmk_damaged_note(slot, record, true);
		return 0;
	}
	if (cmk_keyring_lookup_generation(&info.id, info.generation, &other, &old, NULL) &&
		!gives_way(other, &old, &info))
		cmk_damaged_note(slot, record, true);
	else
		rc = cmk_registry_insert(slot, &info, dek, err);
	cmk_cleanse(dek, sizeof(dek));
	return rc;
}

int
cmk_keyring_load(CmkError *err)
{
	uint8_t		records[LOAD_RECORDS * CMK_RECORD_SIZE];
	uint32_t	slot;
	int			n,
				i;

	if (cmk_registry_root() == NULL)
		return cmk_fail(err, CMK_ERR_CONFIG, "no root key is open");

	cmk_registry_reset();
	for (slot = 0; slot < CMK_MAX_DEKS; slot += (uint32_t) n)
	{
		n = CMK_MAX_DEKS - slot < LOAD_RECORDS ?
			(int) (CMK_MAX_DEKS - slot) : LOAD_RECORDS;
		n = cmk_keysfile_read(slot, records, n, err);
		if (n == 0)
			break;
		for (i = 0; i < n; i++)
		{
			if (load_record(slot + (uint32_t) i,
							records + i * CMK_RECORD_SIZE, err) < 0)
				n = -1;
		}
		if (n < 0)
		{
			cmk_registry_reset();
			return -1;
		}
	}

	/* A writer that died may have left a change uncounted (keysfile.c). */
	cmk_registry_set_dirty();
	return 0;
}

int
cmk_keyring_reread_damaged(CmkError *err)
{
	uint8_t		record[CMK_RECORD_SIZE];
	uint32_t	left = cmk_registry_damaged(NULL, 0);
	uint32_t	slot;
	int			n;

	for (slot = 0; left > 0 && slot < CMK_MAX_DEKS; slot++)
	{
		CmkDekInfo	info;
		CmkDekInfo	old;
		uint32_t	other;

		n = cmk_keysfile_read(slot, record, 1, err);
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		if (cmk_damaged_decode(record, &info, NULL) < 0 ||
			info.state == CMK_DEK_FREE ||
			cmk_registry_root_by_id(info.root_id) == NULL ||
			(cmk_keyring_lookup_generation(&info.id, info.generation, &other, &old, NULL) &&
			 other == slot))
			continue;
		cmk_registry_forget_damaged(slot + 1);
		if (load_record(slot, record, err) < 0)
			return -1;
		left--;
	}
	return 0;
}
