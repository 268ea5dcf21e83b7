/*
 * unit.c
 *	  A sealed file of any length.  See unit.h.
 *
 * The head, of which a stored example is in test_unit.c:
 *
 *		 0	8	"pg_cmk\0\1"; the last byte is the version of this format
 *		 8	4	number of the root that the key is derived from, little-endian;
 *				0 for the key that lives in memory only
 *		12	4	zero
 *		16	8	nonce
 *		24	8	zero
 *		32	16	the content, if the file has less than 16 bytes
 *		48	16	bytes 0 to 15, sealed: tells whether a key is this file's
 *
 * All is XTS under one key, whose tweak is the unit's number and the nonce.  The
 * two pieces of the head have numbers that no unit reaches.
 */
#include <string.h>

#include "unit.h"

#define CHECK_AT		48
#define SHORT_NUMBER	UINT64_MAX
#define CHECK_NUMBER	(UINT64_MAX - 1)

static const uint8_t magic[8] = {'p', 'g', '_', 'c', 'm', 'k', 0, 1};
static const uint8_t zeros[CMK_UNIT_MAX];

static void
put64le(uint8_t *p, uint64_t v)
{
	int			i;

	for (i = 0; i < 8; i++)
		p[i] = (uint8_t) (v >> (8 * i));
}

static uint64_t
get64le(const uint8_t *p)
{
	uint64_t	v = 0;
	int			i;

	for (i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

static inline void
make_tweak(uint8_t *tweak, uint64_t nonce, uint64_t n)
{
	put64le(tweak, n);
	put64le(tweak + 8, nonce);
}

int
cmk_unit_seal(CmkXts *x, uint64_t nonce, uint64_t n,
			  uint8_t *dst, const uint8_t *src, size_t len)
{
	uint8_t		tweak[CMK_XTS_TWEAK_SIZE];

	make_tweak(tweak, nonce, n);
	return cmk_xts_encrypt(x, tweak, dst, src, len);
}

int
cmk_unit_open(CmkXts *x, uint64_t nonce, uint64_t n,
			  uint8_t *dst, const uint8_t *src, size_t len)
{
	uint8_t		tweak[CMK_XTS_TWEAK_SIZE];

	if (len > CMK_UNIT_MAX)
		return -1;
	if (src[0] == 0 && memcmp(src, zeros, len) == 0)
	{
		memset(dst, 0, len);
		return 0;
	}
	make_tweak(tweak, nonce, n);
	return cmk_xts_decrypt(x, tweak, dst, src, len);
}

int
cmk_unit_seal_short(CmkXts *x, uint64_t nonce,
					uint8_t dst[CMK_UNIT_MIN], const uint8_t src[CMK_UNIT_MIN])
{
	return cmk_unit_seal(x, nonce, SHORT_NUMBER, dst, src, CMK_UNIT_MIN);
}

int
cmk_unit_open_short(CmkXts *x, uint64_t nonce,
					uint8_t dst[CMK_UNIT_MIN], const uint8_t src[CMK_UNIT_MIN])
{
	return cmk_unit_open(x, nonce, SHORT_NUMBER, dst, src, CMK_UNIT_MIN);
}

int
cmk_unit_head_write(CmkXts *x, const CmkUnitHead *head, uint8_t *buf)
{
	int			i;

	memset(buf, 0, CMK_UNIT_HEAD_USED);
	memcpy(buf, magic, sizeof(magic));
	for (i = 0; i < 4; i++)
		buf[8 + i] = (uint8_t) (head->root_id >> (8 * i));
	put64le(buf + 16, head->nonce);
	return cmk_unit_seal(x, head->nonce, CHECK_NUMBER, buf + CHECK_AT, buf, 16);
}

bool
cmk_unit_head_read(const uint8_t *buf, CmkUnitHead *head)
{
	if (memcmp(buf, magic, sizeof(magic)) != 0)
		return false;
	head->root_id = (uint32_t) get64le(buf + 8);
	head->nonce = get64le(buf + 16);
	return true;
}

CmkHeadKind
cmk_unit_head_check(CmkXts *x, const CmkUnitHead *head, const uint8_t *buf)
{
	CmkUnitHead read;
	uint8_t		check[16];

	if (!cmk_unit_head_read(buf, &read))
		return CMK_HEAD_NONE;
	if (cmk_unit_seal(x, head->nonce, CHECK_NUMBER, check, buf, 16) < 0 ||
		memcmp(check, buf + CHECK_AT, 16) != 0)
		return CMK_HEAD_FOREIGN;
	return CMK_HEAD_OK;
}
