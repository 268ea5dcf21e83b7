/*
 * test_record.c
 *	  One record of the keys file: a stored example, byte by byte, and every way
 *	  in which it must not open.
 */
#include "unit.h"

#include "../../src/keyring/crc32.h"
#include "../../src/keyring/record.h"

/*
 * Made without this code: the KDF with Python's hmac, the wrap with
 * "openssl enc -id-aes256-wrap", the CRC with Python's zlib.
 */
static const char example_hex[] =
"cbe114ce01010100070000007f06000000400000452301000300000000000000"
"0e0d0c0b0a000000887766554433221140124bd4ad490600ec8d93b66b0b894f"
"804cdff8c528abcf16a92d1ba7bedf34b4270b3980ce1aa9848ea0a7eed3bc4d"
"a0280d4398fc55d856ffccffc4c34d56256d028097104fc042c17fea24cb2589";

static uint8_t example[CMK_RECORD_SIZE];
static uint8_t root_key[CMK_ROOT_KEY_SIZE];
static uint8_t example_dek[CMK_DEK_SIZE];
static CmkRecordKey key;
static CmkKeyWrap *kw;

static const CmkDekInfo example_info = {
	.id = {1663, 16384, 0x12345},
	.state = CMK_DEK_LIVE,
	.flags = CMK_DEK_WHOLE,
	.generation = 3,
	.root_id = 7,
	.birth_lsn = UINT64_C(0x0a0b0c0d0e),
	.birth_id = UINT64_C(0x1122334455667788),
	.created = INT64_C(1769860800123456)
};

static void
set_up(void)
{
	int			i;

	unit_hex(example_hex, example, sizeof(example));
	for (i = 0; i < CMK_ROOT_KEY_SIZE; i++)
		root_key[i] = (uint8_t) i;
	for (i = 0; i < CMK_DEK_SIZE; i++)
		example_dek[i] = (uint8_t) (0x40 + i);
	for (i = 0; i < CMK_SALT_SIZE; i++)
		key.salt[i] = (uint8_t) (0xa0 + i);
	key.root_id = 7;
	key.root_key = root_key;
	key.sysid = UINT64_C(0x0123456789abcdef);
	kw = cmk_keywrap_new();
}

/* Whether a record opens, and to the example's DEK. */
static bool
opens(const CmkRecordKey *rk, const uint8_t *record)
{
	CmkDekInfo	info;
	uint8_t		dek[CMK_DEK_SIZE];

	return cmk_record_decode(record, &info, NULL) == 0 &&
		info.state != CMK_DEK_FREE &&
		cmk_record_unwrap(rk, kw, record, dek, NULL) == 0;
}

static void
crc_is_that_of_zlib(void)
{
	CHECK_INT(cmk_crc32("123456789", 9), 0xcbf43926);
	CHECK_INT(cmk_crc32("", 0), 0);
}

static void
encodes_the_example(void)
{
	uint8_t		record[CMK_RECORD_SIZE];
	CmkError	err;

	CHECK_INT(cmk_record_encode(&key, kw, &example_info, example_dek, record,
								&err), 0);
	CHECK_MEM(record, example, CMK_RECORD_SIZE);
}

static void
opens_the_example(void)
{
	CmkDekInfo	info;
	uint8_t		dek[CMK_DEK_SIZE];
	CmkError	err;

	CHECK_INT(cmk_record_decode(example, &info, &err), 0);
	CHECK_INT(info.id.spc, 1663);
	CHECK_INT(info.id.db, 16384);
	CHECK_INT(info.id.rel, 0x12345);
	CHECK_INT(info.state, CMK_DEK_LIVE);
	CHECK_INT(info.flags, CMK_DEK_WHOLE);
	CHECK_INT(info.generation, 3);
	CHECK_INT(info.root_id, 7);
	CHECK_INT(info.birth_lsn, example_info.birth_lsn);
	CHECK_INT(info.birth_id, example_info.birth_id);
	CHECK_INT(info.created, example_info.created);
	CHECK_INT(cmk_record_unwrap(&key, kw, example, dek, &err), 0);
	CHECK_MEM(dek, example_dek, CMK_DEK_SIZE);
}

/* The wrapping key is the one that docs/formats.md says, put together by hand. */
static void
wraps_under_the_documented_key(void)
{
	uint8_t		context[75];
	uint8_t		kek[32];
	uint8_t		dek[CMK_DEK_SIZE];
	int			i;

	for (i = 0; i < 8; i++)
		context[i] = (uint8_t) (key.sysid >> (8 * i));
	memcpy(context + 8, key.salt, 16);
	context[24] = example[4];
	memcpy(context + 25, example + 6, 50);
	CHECK_INT(cmk_kdf(root_key, 32, "pg_cmk dek", context, 75, kek, 32), 0);
	CHECK_INT(cmk_keywrap_unwrap(kw, kek, example + 56, 72, dek), 0);
	CHECK_MEM(dek, example_dek, CMK_DEK_SIZE);
}

static void
no_bit_can_be_flipped(void)
{
	int			bit;

	for (bit = 0; bit < CMK_RECORD_SIZE * 8; bit++)
	{
		uint8_t		record[CMK_RECORD_SIZE];

		memcpy(record, example, sizeof(record));
		record[bit / 8] ^= (uint8_t) (1 << bit % 8);
		if (opens(&key, record))
		{
			unit_fail(__FILE__, __LINE__, "opens with bit %d flipped", bit);
			return;
		}
	}
}

/* A CRC can be made right again by anybody; then the wrap must not open. */
static void
no_bit_can_be_flipped_with_a_new_crc(void)
{
	int			bit;

	for (bit = 4 * 8; bit < CMK_RECORD_SIZE * 8; bit++)
	{
		uint8_t		record[CMK_RECORD_SIZE];

		if (bit / 8 == 5)
			continue;			/* the state is not authenticated */
		memcpy(record, example, sizeof(record));
		record[bit / 8] ^= (uint8_t) (1 << bit % 8);
		cmk_record_set_state(record, CMK_DEK_LIVE);
		if (opens(&key, record))
		{
			unit_fail(__FILE__, __LINE__, "opens with bit %d flipped", bit);
			return;
		}
	}
}

static void
opens_nowhere_else(void)
{
	CmkRecordKey other = key;
	uint8_t		other_root[CMK_ROOT_KEY_SIZE];
	uint8_t		dek[CMK_DEK_SIZE];
	CmkError	err;

	CHECK(opens(&key, example));

	other.sysid ^= 1;
	CHECK_INT(cmk_record_unwrap(&other, kw, example, dek, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CORRUPT);

	other = key;
	other.salt[15] ^= 0x80;
	CHECK_INT(cmk_record_unwrap(&other, kw, example, dek, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CORRUPT);

	other = key;
	memcpy(other_root, root_key, sizeof(other_root));
	other_root[31] ^= 1;
	other.root_key = other_root;
	CHECK_INT(cmk_record_unwrap(&other, kw, example, dek, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CORRUPT);
	CHECK_HAS(err.message, "does not authenticate");

	other = key;
	other.root_id = 8;
	CHECK_INT(cmk_record_unwrap(&other, kw, example, dek, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CORRUPT);
	CHECK_HAS(err.message, "root key 7");
}

static void
state_changes_and_nothing_else(void)
{
	uint8_t		record[CMK_RECORD_SIZE];
	CmkDekInfo	info;

	memcpy(record, example, sizeof(record));
	cmk_record_set_state(record, CMK_DEK_DEAD);
	CHECK_INT(cmk_record_decode(record, &info, NULL), 0);
	CHECK_INT(info.state, CMK_DEK_DEAD);
	CHECK(opens(&key, record));
	CHECK_MEM(record + 6, example + 6, CMK_RECORD_SIZE - 6);
	cmk_record_set_state(record, CMK_DEK_LIVE);
	CHECK_MEM(record, example, CMK_RECORD_SIZE);
}

static void
zeros_are_a_free_record(void)
{
	static const uint8_t zero[CMK_RECORD_SIZE];
	CmkDekInfo	info = example_info;

	CHECK_INT(cmk_record_decode(zero, &info, NULL), 0);
	CHECK_INT(info.state, CMK_DEK_FREE);
}

/* Decoding with a right CRC and one byte that no record has. */
static int
decode_with(int offset, uint8_t byte, CmkError *err)
{
	uint8_t		record[CMK_RECORD_SIZE];
	uint32_t	crc;
	CmkDekInfo	info;
	int			i;

	memcpy(record, example, sizeof(record));
	record[offset] = byte;
	crc = cmk_crc32(record + 4, CMK_RECORD_SIZE - 4);
	for (i = 0; i < 4; i++)
		record[i] = (uint8_t) (crc >> (8 * i));
	return cmk_record_decode(record, &info, err);
}

static void
values_are_checked(void)
{
	CmkError	err;

	CHECK_INT(decode_with(4, 1, &err), 0);	/* what stands there anyway */

	CHECK_INT(decode_with(4, 2, &err), -1);
	CHECK_HAS(err.message, "format 2");
	CHECK_INT(decode_with(5, 0, &err), -1);
	CHECK_INT(decode_with(5, 3, &err), -1);
	CHECK_HAS(err.message, "state 3");
	CHECK_INT(decode_with(6, 5, &err), -1);
	CHECK_INT(decode_with(8, 0, &err), -1);
	CHECK_INT(decode_with(26, 1, &err), -1);
	CHECK_INT(decode_with(31, 1, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CORRUPT);
}

static void
equal_halves_are_refused(void)
{
	uint8_t		dek[CMK_DEK_SIZE];
	uint8_t		record[CMK_RECORD_SIZE];
	uint8_t		context[75];
	uint8_t		kek[32];
	CmkError	err;
	int			i;

	memset(dek, 0x33, sizeof(dek));
	CHECK_INT(cmk_record_encode(&key, kw, &example_info, dek, record, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CRYPTO);

	/* wrapped by someone else */
	memcpy(record, example, sizeof(record));
	for (i = 0; i < 8; i++)
		context[i] = (uint8_t) (key.sysid >> (8 * i));
	memcpy(context + 8, key.salt, 16);
	context[24] = record[4];
	memcpy(context + 25, record + 6, 50);
	CHECK_INT(cmk_kdf(root_key, 32, "pg_cmk dek", context, 75, kek, 32), 0);
	CHECK_INT(cmk_keywrap_wrap(kw, kek, dek, CMK_DEK_SIZE, record + 56), 0);
	CHECK_INT(cmk_record_unwrap(&key, kw, record, dek, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CORRUPT);
	CHECK_HAS(err.message, "equal");
}

int
main(void)
{
	set_up();
	RUN(crc_is_that_of_zlib);
	RUN(encodes_the_example);
	RUN(opens_the_example);
	RUN(wraps_under_the_documented_key);
	RUN(no_bit_can_be_flipped);
	RUN(no_bit_can_be_flipped_with_a_new_crc);
	RUN(opens_nowhere_else);
	RUN(state_changes_and_nothing_else);
	RUN(zeros_are_a_free_record);
	RUN(values_are_checked);
	RUN(equal_halves_are_refused);
	cmk_keywrap_free(kw);
	return unit_done();
}
