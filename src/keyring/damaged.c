/*
 * damaged.c
 *	  Records of the keys file that cannot be used as they are.
 *
 * There are three kinds, and they want different things.  A record that a base
 * backup copied while it was written is half old and half new: if it was a
 * birth, replay brings it again and must find the place; if it was a change of
 * state, which is not logged, it has to be understood as it is.  A record that
 * rotted on the disk, or whose root is gone, stays where it is: its relation must
 * not be given another DEK, and its slot must not be given to another relation.
 */
#include <string.h>

#include "bytes.h"
#include "damaged.h"
#include "keysfile.h"

/* Where a record says whose it is. */
#define OFF_ROOT		8
#define OFF_ID			12
#define ID_SIZE			14		/* with the generation */

/*
 * Decodes a record that was read from the file.  A base backup may have copied
 * it between the two writes of a change of state, of which nothing comes with
 * WAL: if the CRC is right for the other state, then all else is right, and the
 * record counts as live, which is the state that loses nothing.  *record is
 * then put right too.
 */
int
cmk_damaged_decode(uint8_t record[CMK_RECORD_SIZE], CmkDekInfo *info, CmkError *err)
{
	static const CmkDekState states[] = {CMK_DEK_DEAD, CMK_DEK_LIVE};
	uint8_t		other[CMK_RECORD_SIZE];
	int			i;

	if (cmk_record_decode(record, info, err) == 0)
		return 0;
	for (i = 0; i < 2; i++)
	{
		memcpy(other, record, CMK_RECORD_SIZE);
		cmk_record_set_state(other, states[i]);
		if (memcmp(other, record, 4) == 0 &&
			cmk_record_decode(other, info, NULL) == 0)
		{
			info->state = CMK_DEK_LIVE;
			cmk_record_set_state(other, CMK_DEK_LIVE);
			memcpy(record, other, CMK_RECORD_SIZE);
			return 0;
		}
	}
	return -1;
}

int
cmk_damaged_fail(CmkError *err, uint32_t record, const char *why)
{
	cmk_fail(err, CMK_ERR_CORRUPT, "record %u of file \"%s\" is damaged",
			 record, cmk_keysfile_name());
	return why[0] == '\0' ? -1 : cmk_fail_detail(err, "Reason: %s.", why);
}

void
cmk_damaged_note(uint32_t slot, const uint8_t *record, bool id_known)
{
	CmkDamaged	d;

	d.record = slot + 1;
	d.id_known = id_known;
	d.root_id = cmk_get32(record + OFF_ROOT);
	d.id.spc = cmk_get32(record + OFF_ID);
	d.id.db = cmk_get32(record + OFF_ID + 4);
	d.id.rel = cmk_get32(record + OFF_ID + 8);
	cmk_registry_note_damaged(&d);
}

/*
 * A relation that a damaged record claims gets no new DEK: there may be pages
 * that the lost one sealed, and a new key would be the end of every hope to read
 * them.  A new relation never meets this, for the server gives no relfilenode
 * out twice while a file of it is there.
 */
int
cmk_damaged_refuse(const CmkRelId *id, CmkError *err)
{
	CmkDamaged	list[CMK_MAX_DAMAGED];
	uint32_t	n = cmk_registry_damaged(list, CMK_MAX_DAMAGED);
	uint32_t	i;

	for (i = 0; i < n && i < CMK_MAX_DAMAGED; i++)
	{
		if (memcmp(&list[i].id, id, sizeof(*id)) == 0)
		{
			cmk_damaged_fail(err, list[i].record, "");
			return cmk_fail_detail(err, "It claims to be the key of relation %u/%u/%u, which can have no other.",
								   id->spc, id->db, id->rel);
		}
	}
	return 0;
}

/*
 * Whether a damaged record is what a base backup caught of image: bytes of it
 * over the zeros of a free record, or over an older record of the same relation.
 */
static bool
torn_from(const uint8_t *damaged, const uint8_t *image)
{
	int			i;

	if (memcmp(damaged + OFF_ID, image + OFF_ID, ID_SIZE) == 0)
		return true;
	for (i = 0; i < CMK_RECORD_SIZE; i++)
		if (damaged[i] != 0 && damaged[i] != image[i])
			return false;
	return true;
}

/* The damaged record that image repairs: its number, or 0. */
uint32_t
cmk_damaged_repaired_by(const uint8_t *image)
{
	CmkDamaged	list[CMK_MAX_DAMAGED];
	uint32_t	n = cmk_registry_damaged(list, CMK_MAX_DAMAGED);
	uint32_t	i;

	for (i = 0; i < n && i < CMK_MAX_DAMAGED; i++)
	{
		uint8_t		record[CMK_RECORD_SIZE];

		if (cmk_keysfile_read(list[i].record - 1, record, 1, NULL) == 1 &&
			torn_from(record, image))
			return list[i].record;
	}
	return 0;
}
