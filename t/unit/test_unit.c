/*
 * test_unit.c
 *	  Units with ciphertext stealing against published vectors, the standard
 *	  written out once more, and stored examples; and where units begin and end.
 */
#include <openssl/evp.h>

#include "../../src/seal/unit.h"
#include "unit.h"

#define U		CMK_UNIT_SIZE

static uint8_t key[CMK_XTS_KEY_SIZE];
static CmkXts *x;

/* ---- what the cipher below us makes of a rest ---- */

/*
 * IEEE Std 1619-2007, annex B, vectors 15 to 18: all that it has of lengths that
 * are no multiple of 16.  They are of XTS-AES-128.
 */
static void
stealing_like_ieee_1619(void)
{
	static const char *const sealed[] = {
		"6c1625db4671522d3d7599601de7ca09ed",
		"d069444b7a7e0cab09e24447d24deb1fedbf",
		"e5df1351c0544ba1350b3363cd8ef4beedbf9d",
		"9d84c813f719aa2c7be3f66171c7c5c2edbf9dac"
	};
	uint8_t		k[32];
	uint8_t		tweak[16] = {0x9a, 0x78, 0x56, 0x34, 0x12};
	uint8_t		plain[20];
	uint8_t		want[20];
	uint8_t		got[20];
	int			i;

	unit_hex("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0bfbebdbcbbbab9b8b7b6b5b4b3b2b1b0", k, 32);
	for (i = 0; i < 20; i++)
		plain[i] = (uint8_t) i;
	for (i = 0; i < 4; i++)
	{
		EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
		int			len = 17 + i;
		int			outlen;

		unit_hex(sealed[i], want, sizeof(want));
		CHECK_INT(EVP_EncryptInit_ex(ctx, EVP_aes_128_xts(), NULL, k, tweak), 1);
		CHECK_INT(EVP_EncryptUpdate(ctx, got, &outlen, plain, len), 1);
		CHECK_INT(outlen, len);
		CHECK_MEM(got, want, (size_t) len);
		EVP_CIPHER_CTX_free(ctx);
	}
}

/* One block of AES-256. */
static void
aes(const uint8_t *k, const uint8_t in[16], uint8_t out[16])
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int			len;

	EVP_EncryptInit_ex(ctx, EVP_aes_256_ecb(), NULL, k, NULL);
	EVP_CIPHER_CTX_set_padding(ctx, 0);
	EVP_EncryptUpdate(ctx, out, &len, in, 16);
	EVP_CIPHER_CTX_free(ctx);
}

/* XTS-AES-256 as IEEE 1619, 5.3.2, says it. */
static void
reference(const uint8_t tweak[16], uint8_t *dst, const uint8_t *src, size_t len)
{
	uint8_t		t[16];
	uint8_t		b[16];
	size_t		blocks = len / 16;
	size_t		rest = len % 16;
	size_t		j;
	int			i;

	aes(key + 32, tweak, t);
	for (j = 0; j < blocks + (rest > 0); j++)
	{
		const uint8_t *p = src + 16 * j;
		uint8_t		stolen[16];
		uint8_t		carry;

		if (j == blocks)
		{
			/* the rest, and what the block before gives up for it */
			memcpy(stolen, src + 16 * j, rest);
			memcpy(stolen + rest, dst + 16 * (j - 1) + rest, 16 - rest);
			memcpy(dst + 16 * j, dst + 16 * (j - 1), rest);
			p = stolen;
		}
		for (i = 0; i < 16; i++)
			b[i] = p[i] ^ t[i];
		aes(key, b, b);
		for (i = 0; i < 16; i++)
			b[i] ^= t[i];
		memcpy(dst + 16 * (j == blocks ? j - 1 : j), b, 16);

		carry = t[15] >> 7;
		for (i = 15; i > 0; i--)
			t[i] = (uint8_t) (t[i] << 1 | t[i - 1] >> 7);
		t[0] = (uint8_t) (t[0] << 1 ^ (carry ? 0x87 : 0));
	}
}

static void
every_length_like_the_standard(void)
{
	static uint8_t plain[CMK_UNIT_MAX];
	static uint8_t got[CMK_UNIT_MAX];
	static uint8_t want[CMK_UNIT_MAX];
	uint8_t		tweak[16] = {7, 0, 0, 0, 0, 0, 0, 0, 0x21, 0x43, 0x65, 0x87, 0xa9, 0xcb, 0xed, 0x0f};
	size_t		len;
	size_t		i;

	for (i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t) (i * 7 + i / 256);
	for (len = CMK_UNIT_MIN; len <= CMK_UNIT_MAX; len += len < 100 || len > U - 40 ? 1 : 61)
	{
		reference(tweak, want, plain, len);
		CHECK_INT(cmk_unit_seal(x, UINT64_C(0x0fedcba987654321), 7, got, plain, len), 0);
		CHECK_MEM(got, want, len);
		CHECK_INT(cmk_unit_open(x, UINT64_C(0x0fedcba987654321), 7, got, got, len), 0);
		CHECK_MEM(got, plain, len);
	}
	CHECK_INT(cmk_unit_seal(x, 1, 1, got, plain, CMK_UNIT_MIN - 1), -1);
	CHECK_INT(cmk_unit_open(x, 1, 1, got, plain, CMK_UNIT_MAX + 1), -1);
}

/* ---- the format ---- */

static void
a_stored_head_and_units(void)
{
	static const char head_hex[] =
		"70675f636d6b000105000000000000008877665544332211000000000000000000000000"
		"000000000000000000000000f3ff278a5d9d9ae536fff254714d28b9";
	CmkUnitHead head = {UINT64_C(0x1122334455667788), 5};
	CmkUnitHead read;
	CmkXts	   *other = cmk_xts_new();
	uint8_t		buf[CMK_UNIT_HEAD_USED];
	uint8_t		want[CMK_UNIT_HEAD_USED];
	uint8_t		plain[40];
	uint8_t		got[40];
	size_t		i;

	unit_hex(head_hex, want, sizeof(want));
	CHECK_INT(cmk_unit_head_write(x, &head, buf), 0);
	CHECK_MEM(buf, want, sizeof(want));
	memset(&read, 0, sizeof(read));
	CHECK(cmk_unit_head_read(buf, &read));
	CHECK(read.nonce == head.nonce && read.root_id == 5);
	CHECK_INT(cmk_unit_head_check(x, &read, buf), CMK_HEAD_OK);

	/* every byte of what is checked counts */
	for (i = 0; i < 16; i++)
	{
		buf[i] ^= 1;
		CHECK_INT(cmk_unit_head_check(x, &head, buf),
				  i < 8 ? CMK_HEAD_NONE : CMK_HEAD_FOREIGN);
		buf[i] ^= 1;
	}
	read.nonce++;
	CHECK_INT(cmk_unit_head_check(x, &read, buf), CMK_HEAD_FOREIGN);
	key[0] ^= 1;
	CHECK_INT(cmk_xts_set_key(other, key), 0);
	key[0] ^= 1;
	CHECK_INT(cmk_unit_head_check(other, &head, buf), CMK_HEAD_FOREIGN);
	cmk_xts_free(other);

	for (i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t) i;
	CHECK_INT(cmk_unit_seal(x, head.nonce, 3, got, plain, 33), 0);
	unit_hex("4a7d15434866a0e5dbae4d43e5ab911a31614cbe5f978d3d56fb296564a66a28b7", want, sizeof(want));
	CHECK_MEM(got, want, 33);
	CHECK_INT(cmk_unit_seal_short(x, head.nonce, got, plain), 0);
	unit_hex("74be9f14a8fd9a41e548f41ec52f80b2", want, sizeof(want));
	CHECK_MEM(got, want, 16);
	CHECK_INT(cmk_unit_open_short(x, head.nonce, got, got), 0);
	CHECK_MEM(got, plain, 16);
}

/* Zeros on disk are a hole; sealed zeros are not zero. */
static void
zeros(void)
{
	static const uint8_t zero[CMK_UNIT_MAX];
	uint8_t		got[CMK_UNIT_MAX];

	memset(got, 1, sizeof(got));
	CHECK_INT(cmk_unit_open(x, 9, 0, got, zero, sizeof(got)), 0);
	CHECK_MEM(got, zero, sizeof(got));
	CHECK_INT(cmk_unit_seal(x, 9, 0, got, zero, sizeof(got)), 0);
	CHECK(memcmp(got, zero, 16) != 0);
	CHECK_INT(cmk_unit_open(x, 9, 0, got, got, sizeof(got)), 0);
	CHECK_MEM(got, zero, sizeof(got));
}

/* Units cover a file without gap or overlap, whatever its length. */
static void
units_cover_every_length(void)
{
	uint64_t	length;

	for (length = 0; length < 4 * U; length++)
	{
		uint64_t	last = cmk_unit_last(length);
		uint64_t	covered = 0;
		uint64_t	n;

		for (n = 0; n <= last; n++)
		{
			size_t		len = cmk_unit_length(n, length);

			CHECK_INT(covered, n * U);
			CHECK(len <= CMK_UNIT_MAX && (len >= CMK_UNIT_MIN || length < CMK_UNIT_MIN));
			if (len > 0)
			{
				CHECK_INT(cmk_unit_at(n * U, length), n);
				CHECK_INT(cmk_unit_at(n * U + len - 1, length), n);
			}
			covered += len;
		}
		CHECK_INT(covered, length);
	}
}

int
main(void)
{
	size_t		i;

	for (i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t) (i * 11 + 3);
	x = cmk_xts_new();
	if (x == NULL || cmk_xts_set_key(x, key) < 0)
		return 1;
	RUN(stealing_like_ieee_1619);
	RUN(every_length_like_the_standard);
	RUN(a_stored_head_and_units);
	RUN(zeros);
	RUN(units_cover_every_length);
	cmk_xts_free(x);
	return unit_done();
}
