/*
 * record.c
 *	  One record of the keys file: its bytes, its CRC, its wrap.
 *
 * A record must not work anywhere but where it was made.  So the key that wraps
 * the DEK is derived from everything the record says of itself, but for its
 * state, and from the cluster: AES-KW then fails if one bit of the identity,
 * the generation, the birth LSN or the flags was changed, or if the record came
 * from another relation or another cluster with the same root.  Nothing has to be
 * compared, and nothing can be forgotten in the comparison.  As no two births
 * share a birth id, no two DEKs share a wrapping key, and KW's being
 * deterministic gives nothing away but that a record is unchanged.
 *
 * The CRC authenticates nothing.  It tells a torn record from a foreign one, and
 * a record that came apart on the disk from a root key that is missing.
 */
#include <string.h>

#include "bytes.h"
#include "crc32.h"
#include "record.h"

/* Offsets; record.h and docs/formats.md have the table. */
#define OFF_CRC			0
#define OFF_FORMAT		4
#define OFF_STATE		5
#define OFF_FLAGS		6
#define OFF_ROOT		8
#define OFF_SPC			12
#define OFF_DB			16
#define OFF_REL			20
#define OFF_GENERATION	24
#define OFF_ZERO		26
#define OFF_BIRTH_LSN	32
#define OFF_BIRTH_ID	40
#define OFF_CREATED		48
#define OFF_WRAP		56

#define WRAP_SIZE		(CMK_DEK_SIZE + CMK_KW_OVERHEAD)

_Static_assert(OFF_WRAP + WRAP_SIZE == CMK_RECORD_SIZE,
			   "a record is filled to its last byte");

/* sysid || salt || format || bytes 6-55 */
#define CONTEXT_SIZE	(8 + CMK_SALT_SIZE + 1 + (OFF_WRAP - OFF_FLAGS))

/* The key-encryption key of one record.  The caller wipes kek. */
static int
record_kek(const CmkRecordKey *rk, const uint8_t *record,
		   uint8_t kek[CMK_ROOT_KEY_SIZE])
{
	uint8_t		context[CONTEXT_SIZE];
	uint8_t    *p = context;

	cmk_put64(p, rk->sysid);
	p += 8;
	memcpy(p, rk->salt, CMK_SALT_SIZE);
	p += CMK_SALT_SIZE;
	*p++ = record[OFF_FORMAT];
	memcpy(p, record + OFF_FLAGS, OFF_WRAP - OFF_FLAGS);

	return cmk_kdf(rk->root_key, CMK_ROOT_KEY_SIZE, "pg_cmk dek",
				   context, sizeof(context), kek, CMK_ROOT_KEY_SIZE);
}

static void
put_crc(uint8_t *record)
{
	cmk_put32(record + OFF_CRC,
			  cmk_crc32(record + OFF_FORMAT, CMK_RECORD_SIZE - OFF_FORMAT));
}

static bool
halves_differ(const uint8_t *dek)
{
	return !cmk_equal(dek, dek + CMK_DEK_SIZE / 2, CMK_DEK_SIZE / 2);
}

int
cmk_record_encode(const CmkRecordKey *rk, CmkKeyWrap *kw,
				  const CmkDekInfo *info, const uint8_t dek[CMK_DEK_SIZE],
				  uint8_t record[CMK_RECORD_SIZE], CmkError *err)
{
	uint8_t		kek[CMK_ROOT_KEY_SIZE];
	int			rc;

	memset(record, 0, CMK_RECORD_SIZE);
	if (!halves_differ(dek))
		return cmk_fail(err, CMK_ERR_CRYPTO, "the halves of a DEK are equal");

	record[OFF_FORMAT] = CMK_RECORD_FORMAT;
	record[OFF_STATE] = (uint8_t) info->state;
	cmk_put16(record + OFF_FLAGS, info->flags);
	cmk_put32(record + OFF_ROOT, rk->root_id);
	cmk_put32(record + OFF_SPC, info->id.spc);
	cmk_put32(record + OFF_DB, info->id.db);
	cmk_put32(record + OFF_REL, info->id.rel);
	cmk_put16(record + OFF_GENERATION, info->generation);
	cmk_put64(record + OFF_BIRTH_LSN, info->birth_lsn);
	cmk_put64(record + OFF_BIRTH_ID, info->birth_id);
	cmk_put64(record + OFF_CREATED, (uint64_t) info->created);

	rc = record_kek(rk, record, kek);
	if (rc == 0)
		rc = cmk_keywrap_wrap(kw, kek, dek, CMK_DEK_SIZE, record + OFF_WRAP);
	cmk_cleanse(kek, sizeof(kek));
	if (rc < 0)
	{
		memset(record, 0, CMK_RECORD_SIZE);
		cmk_fail(err, CMK_ERR_CRYPTO, "could not wrap a DEK");
		return cmk_fail_openssl(err);
	}
	put_crc(record);
	return 0;
}

int
cmk_record_decode(const uint8_t record[CMK_RECORD_SIZE], CmkDekInfo *info,
				  CmkError *err)
{
	static const uint8_t zero[CMK_RECORD_SIZE];

	memset(info, 0, sizeof(*info));
	if (memcmp(record, zero, CMK_RECORD_SIZE) == 0)
		return 0;				/* state is CMK_DEK_FREE */

	if (cmk_get32(record + OFF_CRC) !=
		cmk_crc32(record + OFF_FORMAT, CMK_RECORD_SIZE - OFF_FORMAT))
		return cmk_fail(err, CMK_ERR_CORRUPT, "key record has a wrong CRC");
	if (record[OFF_FORMAT] != CMK_RECORD_FORMAT)
		return cmk_fail(err, CMK_ERR_CORRUPT,
						"key record has unknown format %d", record[OFF_FORMAT]);
	if (record[OFF_STATE] != CMK_DEK_LIVE && record[OFF_STATE] != CMK_DEK_DEAD)
		return cmk_fail(err, CMK_ERR_CORRUPT,
						"key record has unknown state %d", record[OFF_STATE]);

	info->state = (CmkDekState) record[OFF_STATE];
	info->flags = cmk_get16(record + OFF_FLAGS);
	info->root_id = cmk_get32(record + OFF_ROOT);
	info->id.spc = cmk_get32(record + OFF_SPC);
	info->id.db = cmk_get32(record + OFF_DB);
	info->id.rel = cmk_get32(record + OFF_REL);
	info->generation = cmk_get16(record + OFF_GENERATION);
	info->birth_lsn = cmk_get64(record + OFF_BIRTH_LSN);
	info->birth_id = cmk_get64(record + OFF_BIRTH_ID);
	info->created = (int64_t) cmk_get64(record + OFF_CREATED);

	if ((info->flags & ~(CMK_DEK_WHOLE | CMK_DEK_LOCAL)) != 0 ||
		info->root_id == 0 || info->id.rel == 0 ||
		memcmp(record + OFF_ZERO, zero, OFF_BIRTH_LSN - OFF_ZERO) != 0)
		return cmk_fail(err, CMK_ERR_CORRUPT,
						"key record has values that none can have");
	return 0;
}

int
cmk_record_unwrap(const CmkRecordKey *rk, CmkKeyWrap *kw,
				  const uint8_t record[CMK_RECORD_SIZE],
				  uint8_t dek[CMK_DEK_SIZE], CmkError *err)
{
	uint8_t		kek[CMK_ROOT_KEY_SIZE];
	int			rc;

	if (cmk_get32(record + OFF_ROOT) != rk->root_id)
		return cmk_fail(err, CMK_ERR_CORRUPT,
						"key record is wrapped by root key %u, not by %u",
						cmk_get32(record + OFF_ROOT), rk->root_id);

	if (record_kek(rk, record, kek) < 0)
	{
		cmk_fail(err, CMK_ERR_CRYPTO, "could not derive a wrapping key");
		return cmk_fail_openssl(err);
	}
	rc = cmk_keywrap_unwrap(kw, kek, record + OFF_WRAP, WRAP_SIZE, dek);
	cmk_cleanse(kek, sizeof(kek));
	if (rc < 0)
		return cmk_fail(err, CMK_ERR_CORRUPT,
						"key record does not authenticate under root key %u",
						rk->root_id);
	if (!halves_differ(dek))
	{
		cmk_cleanse(dek, CMK_DEK_SIZE);
		return cmk_fail(err, CMK_ERR_CORRUPT,
						"key record holds a DEK whose halves are equal");
	}
	return 0;
}

void
cmk_record_set_state(uint8_t record[CMK_RECORD_SIZE], CmkDekState state)
{
	record[OFF_STATE] = (uint8_t) state;
	put_crc(record);
}
