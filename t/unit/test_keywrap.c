/*
 * test_keywrap.c
 *	  AES key wrap against RFC 3394 and an implementation of its text.
 */
#include <openssl/err.h>
#include <openssl/evp.h>

#include "../../src/seal/keywrap.h"
#include "unit.h"

static CmkKeyWrap *kw;

/* RFC 3394, section 4.6: 256 bits of key data with a 256-bit KEK. */
static void
rfc_3394_256_with_256(void)
{
	uint8_t		kek[32];
	uint8_t		in[32];
	uint8_t		want[40];
	uint8_t		out[40];
	uint8_t		back[32];

	unit_hex("000102030405060708090A0B0C0D0E0F"
			 "101112131415161718191A1B1C1D1E1F", kek, 32);
	unit_hex("00112233445566778899AABBCCDDEEFF"
			 "000102030405060708090A0B0C0D0E0F", in, 32);
	unit_hex("28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326"
			 "CBC7F0E71A99F43BFB988B9B7A02DD21", want, 40);
	CHECK_INT(cmk_keywrap_wrap(kw, kek, in, 32, out), 0);
	CHECK_MEM(out, want, 40);
	CHECK_INT(cmk_keywrap_unwrap(kw, kek, out, 40, back), 0);
	CHECK_MEM(back, in, 32);
}

/* RFC 3394, sections 4.3 and 4.5: shorter key data with a 256-bit KEK. */
static void
rfc_3394_shorter_keys(void)
{
	uint8_t		kek[32];
	uint8_t		in[24];
	uint8_t		want[32];
	uint8_t		out[32];

	unit_hex("000102030405060708090A0B0C0D0E0F"
			 "101112131415161718191A1B1C1D1E1F", kek, 32);
	unit_hex("00112233445566778899AABBCCDDEEFF0001020304050607", in, 24);
	unit_hex("64E8C3F9CE0F5BA263E9777905818A2A93C8191E7D6E8AE7", want, 24);
	CHECK_INT(cmk_keywrap_wrap(kw, kek, in, 16, out), 0);
	CHECK_MEM(out, want, 24);
	unit_hex("A8F9BC1612C68B3FF6E6F4FBE30E71E4"
			 "769C8B80A32CB8958CD5D17D6B254DA1", want, 32);
	CHECK_INT(cmk_keywrap_wrap(kw, kek, in, 24, out), 0);
	CHECK_MEM(out, want, 32);
}

/* The index-based description of RFC 3394, section 2.2.1, on plain AES. */
static void
wrap_as_the_rfc_says(const uint8_t *kek, const uint8_t *in, size_t len,
					 uint8_t *out)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t		a[8];
	uint8_t		block[16];
	uint64_t	t = 0;
	size_t		i;
	int			j;
	int			k;
	int			n;

	EVP_EncryptInit_ex(ctx, EVP_aes_256_ecb(), NULL, kek, NULL);
	EVP_CIPHER_CTX_set_padding(ctx, 0);
	memset(a, 0xa6, 8);
	memcpy(out + 8, in, len);
	for (j = 0; j < 6; j++)
	{
		for (i = 1; i <= len / 8; i++)
		{
			memcpy(block, a, 8);
			memcpy(block + 8, out + 8 * i, 8);
			EVP_EncryptUpdate(ctx, block, &n, block, 16);
			t++;
			for (k = 0; k < 8; k++)
				a[k] = block[k] ^ (uint8_t) (t >> (56 - 8 * k));
			memcpy(out + 8 * i, block + 8, 8);
		}
	}
	memcpy(out, a, 8);
	EVP_CIPHER_CTX_free(ctx);
}

static void
every_length_as_the_rfc_says(void)
{
	uint8_t		kek[32];
	uint8_t		in[512];
	uint8_t		want[520];
	uint8_t		out[520];
	uint8_t		back[512];
	size_t		i;
	size_t		len;

	for (i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t) (i * 11 + (i >> 8));
	for (i = 0; i < sizeof(kek); i++)
		kek[i] = (uint8_t) (0xf0 - i);
	for (len = 16; len <= 512; len += 8)
	{
		kek[0] = (uint8_t) len;
		wrap_as_the_rfc_says(kek, in, len, want);
		CHECK_INT(cmk_keywrap_wrap(kw, kek, in, len, out), 0);
		CHECK_MEM(out, want, len + 8);
		CHECK_INT(cmk_keywrap_unwrap(kw, kek, out, len + 8, back), 0);
		CHECK_MEM(back, in, len);
	}
}

static void
lengths_out_of_range_are_refused(void)
{
	static const size_t bad[] = {0, 8, 15, 17, 63, 520};
	uint8_t		kek[32] = {1};
	uint8_t		in[528] = {0};
	uint8_t		out[536];
	size_t		i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		CHECK_INT(cmk_keywrap_wrap(kw, kek, in, bad[i], out), -1);
		CHECK_INT(cmk_keywrap_unwrap(kw, kek, in, bad[i] + 8, out), -1);
	}
	CHECK_INT(cmk_keywrap_unwrap(kw, kek, in, 0, out), -1);
}

static void
any_wrong_bit_is_noticed(void)
{
	uint8_t		kek[32] = {1};
	uint8_t		in[64];
	uint8_t		wrapped[72];
	uint8_t		out[64];
	uint8_t		zero[64] = {0};
	int			bit;

	memset(in, 0x5a, sizeof(in));
	CHECK_INT(cmk_keywrap_wrap(kw, kek, in, 64, wrapped), 0);

	for (bit = 0; bit < 72 * 8; bit++)
	{
		wrapped[bit / 8] ^= (uint8_t) (1 << bit % 8);
		memset(out, 0xff, sizeof(out));
		CHECK_INT(cmk_keywrap_unwrap(kw, kek, wrapped, 72, out), -1);
		CHECK_MEM(out, zero, sizeof(out));
		CHECK_INT(ERR_peek_error(), 0);
		wrapped[bit / 8] ^= (uint8_t) (1 << bit % 8);
	}
	for (bit = 0; bit < 32 * 8; bit++)
	{
		kek[bit / 8] ^= (uint8_t) (1 << bit % 8);
		memset(out, 0xff, sizeof(out));
		CHECK_INT(cmk_keywrap_unwrap(kw, kek, wrapped, 72, out), -1);
		CHECK_MEM(out, zero, sizeof(out));
		kek[bit / 8] ^= (uint8_t) (1 << bit % 8);
	}
	/* and the contexts still work */
	CHECK_INT(cmk_keywrap_unwrap(kw, kek, wrapped, 72, out), 0);
	CHECK_MEM(out, in, sizeof(in));
}

int
main(void)
{
	kw = cmk_keywrap_new();
	if (kw == NULL)
		return 1;
	RUN(rfc_3394_256_with_256);
	RUN(rfc_3394_shorter_keys);
	RUN(every_length_as_the_rfc_says);
	RUN(lengths_out_of_range_are_refused);
	RUN(any_wrong_bit_is_noticed);
	cmk_keywrap_free(kw);
	cmk_keywrap_free(NULL);
	return unit_done();
}
