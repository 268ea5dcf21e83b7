/*
 * test_kdf.c
 *	  The KDF against NIST's vectors and OpenSSL's own, HMAC against RFC 4231.
 */
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "../../src/seal/kdf.h"
#include "unit.h"

static void
nist_counter_mode_vectors(void)
{
	/* CAVS 14.4, KDFCTR_gen: HMAC_SHA256, BEFORE_FIXED, RLEN=32_BITS */
	static const char *const v[][3] = {
		/* count 0, 128 bits */
		{"dd1d91b7d90b2bd3138533ce92b272fbf8a369316aefe242e659cc0ae238afe0",
			"01322b96b30acd197979444e468e1c5c6859bf1b1cf951b7e725303e237e"
			"46b864a145fab25e517b08f8683d0315bb2911d80a0e8aba17f3b413faac",
		"10621342bfb0fd40046c0e29f2cfdbf0"},
		/* count 10, 256 bits */
		{"e204d6d466aad507ffaf6d6dab0a5b26152c9e21e764370464e360c8fbc765c6",
			"7b03b98d9f94b899e591f3ef264b71b193fba7043c7e953cde23bc5384bc"
			"1a6293580115fae3495fd845dadbd02bd6455cf48d0f62b33e62364a3a80",
		"770dfab6a6a4a4bee0257ff335213f78d8287b4fd537d5c1fffa956910e7c779"},
		/* count 20, 160 bits */
		{"dc60338d884eecb72975c603c27b360605011756c697c4fc388f5176ef81efb1",
			"44d7aa08feba26093c14979c122c2437c3117b63b78841cd10a4bc5ed55c"
			"56586ad8986d55307dca1d198edcffbc516a8fbe6152aa428cdd800c062d",
		"29ac07dccf1f28d506cd623e6e3fc2fa255bd60b"},
		/* count 30, 320 bits: two blocks */
		{"c4bedbddb66493e7c7259a3bbbc25f8c7e0ca7fe284d92d431d9cd99a0d214ac",
			"1c69c54766791e315c2cc5c47ecd3ffab87d0d273dd920e70955814c220e"
			"acace6a5946542da3dfe24ff626b4897898cafb7db83bdff3c14fa46fd4b",
			"1da47638d6c9c4d04d74d4640bbd42ab814d9e8cc22f4326695239f96b0693f1"
		"2d0dd1152cf44430"},
	};
	size_t		i;

	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++)
	{
		uint8_t		key[32];
		uint8_t		fixed[60];
		uint8_t		want[40];
		uint8_t		out[40];
		size_t		len = unit_hex(v[i][2], want, sizeof(want));

		CHECK_INT(unit_hex(v[i][0], key, sizeof(key)), sizeof(key));
		CHECK_INT(unit_hex(v[i][1], fixed, sizeof(fixed)), sizeof(fixed));
		CHECK_INT(cmk_kdf_fixed(key, sizeof(key), fixed, sizeof(fixed),
								out, len), 0);
		CHECK_MEM(out, want, len);
	}
}

static int
openssl_kbkdf(const uint8_t *key, size_t keylen, const char *label,
			  const uint8_t *context, size_t contextlen,
			  uint8_t *out, size_t outlen)
{
	static char mode[] = "counter";
	static char hmac[] = "HMAC";
	static char sha256[] = "SHA256";
	EVP_KDF    *kdf = EVP_KDF_fetch(NULL, "KBKDF", NULL);
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
	OSSL_PARAM	p[7];
	int			rc;

	p[0] = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_MODE, mode, 0);
	p[1] = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_MAC, hmac, 0);
	p[2] = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, sha256, 0);
	p[3] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY,
											 (void *) key, keylen);
	/* OpenSSL's salt is the label, its info the context */
	p[4] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT,
											 (void *) label, strlen(label));
	p[5] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO,
											 (void *) context, contextlen);
	p[6] = OSSL_PARAM_construct_end();
	rc = EVP_KDF_derive(ctx, out, outlen, p);
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return rc == 1 ? 0 : -1;
}

static void
same_as_openssl_kbkdf(void)
{
	static const size_t lengths[] = {1, 31, 32, 33, 64, 100, 255 * 32};
	static uint8_t ours[255 * 32];
	static uint8_t theirs[255 * 32];
	uint8_t		key[64];
	uint8_t		context[56];
	size_t		keylen;
	size_t		i;

	for (i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t) (i * 3);
	for (i = 0; i < sizeof(context); i++)
		context[i] = (uint8_t) (200 - i);

	for (keylen = 16; keylen <= 64; keylen += 16)
	{
		for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		{
			size_t		len = lengths[i];

			CHECK_INT(cmk_kdf(key, keylen, "pg_cmk dek", context,
							  sizeof(context), ours, len), 0);
			CHECK_INT(openssl_kbkdf(key, keylen, "pg_cmk dek", context,
									sizeof(context), theirs, len), 0);
			CHECK_MEM(ours, theirs, len);
		}
	}
	/* no context */
	CHECK_INT(cmk_kdf(key, 32, "label", NULL, 0, ours, 64), 0);
	CHECK_INT(openssl_kbkdf(key, 32, "label", (const uint8_t *) "", 0,
							theirs, 64), 0);
	CHECK_MEM(ours, theirs, 64);
}

static void
layout_of_the_fixed_input(void)
{
	static const uint8_t fixed[] = {'l', 'a', 'b', 0, 9, 8, 7, 0, 0, 2, 0};
	static const uint8_t key[32] = {5};
	uint8_t		a[64];
	uint8_t		b[64];

	CHECK_INT(cmk_kdf(key, 32, "lab", fixed + 4, 3, a, 64), 0);
	CHECK_INT(cmk_kdf_fixed(key, 32, fixed, sizeof(fixed), b, 64), 0);
	CHECK_MEM(a, b, 64);

	/* every part of the input matters, and so does the length */
	CHECK_INT(cmk_kdf(key, 32, "laB", fixed + 4, 3, b, 64), 0);
	CHECK(unit_differ(a, b, 32) >= 0);
	CHECK_INT(cmk_kdf(key, 32, "lab", fixed + 4, 2, b, 64), 0);
	CHECK(unit_differ(a, b, 32) >= 0);
	CHECK_INT(cmk_kdf(key, 32, "lab", fixed + 4, 3, b, 32), 0);
	CHECK(unit_differ(a, b, 32) >= 0);
	CHECK_INT(cmk_kdf(key, 31, "lab", fixed + 4, 3, b, 64), 0);
	/* a key is padded with zeros by HMAC: 31 of these are the same key */
	CHECK_MEM(a, b, 64);
}

static void
output_lengths_are_bounded(void)
{
	static uint8_t out[255 * 32 + 1];
	static const uint8_t key[32] = {1};

	CHECK_INT(cmk_kdf(key, 32, "x", key, 32, out, 0), -1);
	CHECK_INT(cmk_kdf(key, 32, "x", key, 32, out, sizeof(out)), -1);
	CHECK_INT(out[0], 0);
	CHECK_INT(cmk_kdf(key, 32, "x", key, 32, out, sizeof(out) - 1), 0);
	CHECK_INT(out[sizeof(out) - 1], 0);
}

/* RFC 4231, test cases 1, 2, 3, 4, 6 and 7 (5 is a truncated output). */
static void
hmac_rfc_4231(void)
{
	static const char *const v[][3] = {
		{"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "4869205468657265",
		"b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
		{"4a656665",
			"7768617420646f2079612077616e7420666f72206e6f7468696e673f",
		"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
			"dddddddddddddddddddddddddddddddddddddddddddddddddd"
			"dddddddddddddddddddddddddddddddddddddddddddddddddd",
		"773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
		{"0102030405060708090a0b0c0d0e0f10111213141516171819",
			"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
			"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
		"82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
	};
	static const char *const long_data[] = {
		"Test Using Larger Than Block-Size Key - Hash Key First",
		"This is a test using a larger than block-size key and a larger than "
		"block-size data. The key needs to be hashed before being used by the "
		"HMAC algorithm."
	};
	static const char *const long_mac[] = {
		"60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
		"9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"
	};
	uint8_t		key[131];
	uint8_t		data[64];
	uint8_t		want[CMK_HMAC_SIZE];
	uint8_t		mac[CMK_HMAC_SIZE];
	size_t		i;

	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++)
	{
		size_t		keylen = unit_hex(v[i][0], key, sizeof(key));
		size_t		len = unit_hex(v[i][1], data, sizeof(data));

		unit_hex(v[i][2], want, sizeof(want));
		CHECK_INT(cmk_hmac(key, keylen, data, len, mac), 0);
		CHECK_MEM(mac, want, sizeof(mac));
	}
	memset(key, 0xaa, sizeof(key));
	for (i = 0; i < 2; i++)
	{
		unit_hex(long_mac[i], want, sizeof(want));
		CHECK_INT(cmk_hmac(key, sizeof(key), long_data[i],
						   strlen(long_data[i]), mac), 0);
		CHECK_MEM(mac, want, sizeof(mac));
	}
}

static void
comparing_and_cleansing(void)
{
	uint8_t		a[40];
	uint8_t		b[40];
	size_t		i;

	memset(a, 3, sizeof(a));
	memset(b, 3, sizeof(b));
	CHECK_INT(cmk_equal(a, b, sizeof(a)), 1);
	CHECK_INT(cmk_equal(a, b, 0), 1);
	for (i = 0; i < sizeof(a); i++)
	{
		b[i] ^= 0x80;
		CHECK_INT(cmk_equal(a, b, sizeof(a)), 0);
		CHECK_INT(cmk_equal(a, b, i), 1);
		b[i] ^= 0x80;
	}

	cmk_cleanse(a + 1, sizeof(a) - 2);
	CHECK(a[0] == 3 && a[sizeof(a) - 1] == 3);
	for (i = 1; i < sizeof(a) - 1; i++)
		CHECK_INT(a[i], 0);
}

static void
random_bytes_fill_and_differ(void)
{
	uint8_t		a[64] = {0};
	uint8_t		b[64] = {0};
	uint8_t		zero[16] = {0};

	CHECK_INT(cmk_random_key(a, sizeof(a)), 0);
	CHECK_INT(cmk_random_key(b, sizeof(b)), 0);
	CHECK(memcmp(a, b, sizeof(a)) != 0);
	CHECK(memcmp(a + 48, zero, 16) != 0);
	CHECK_INT(cmk_random_public(b, 16), 0);
	CHECK(memcmp(b, a, 16) != 0);
	CHECK(memcmp(b, zero, 16) != 0);
}

static void
no_error_is_left_in_the_queue(void)
{
	CHECK_INT(ERR_peek_error(), 0);
}

int
main(void)
{
	RUN(nist_counter_mode_vectors);
	RUN(same_as_openssl_kbkdf);
	RUN(layout_of_the_fixed_input);
	RUN(output_lengths_are_bounded);
	RUN(hmac_rfc_4231);
	RUN(comparing_and_cleansing);
	RUN(random_bytes_fill_and_differ);
	RUN(no_error_is_left_in_the_queue);
	return unit_done();
}
