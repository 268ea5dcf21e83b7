/*
 * kdf.c
 *	  Key derivation, authentication and random bytes.  See kdf.h.
 *
 * The KDF is written out on HMAC, ten lines, instead of taken from OpenSSL's
 * KBKDF: that fetches and allocates at every use, and opening the keys file
 * derives one key per record.  test_kdf.c compares the two.
 *
 * One HMAC context with its digest serves the process, so these functions are
 * for one thread at a time, as the server and the command-line tool are.  The
 * context is given a key that is no secret after every use: OpenSSL clears the
 * old one when it takes the new.
 */
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include "kdf.h"

typedef struct Piece
{
	const void *data;
	size_t		len;
} Piece;

static const uint8_t dummy_key[CMK_HMAC_SIZE] = {0};

/* The context, made at the first use and kept until the process ends. */
static EVP_MAC_CTX *
hmac_context(void)
{
	static EVP_MAC_CTX *ctx = NULL;
	static char digest[] = "SHA256";
	OSSL_PARAM	params[2];
	EVP_MAC    *mac;

	if (ctx != NULL)
		return ctx;

	params[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST,
												 digest, 0);
	params[1] = OSSL_PARAM_construct_end();

	mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	if (mac == NULL)
		return NULL;
	ctx = EVP_MAC_CTX_new(mac);
	EVP_MAC_free(mac);
	if (ctx != NULL &&
		EVP_MAC_init(ctx, dummy_key, sizeof(dummy_key), params) != 1)
	{
		EVP_MAC_CTX_free(ctx);
		ctx = NULL;
	}
	return ctx;
}

/* Leaves no state in the context that depends on a secret key. */
static void
hmac_forget(void)
{
	EVP_MAC_CTX *ctx = hmac_context();

	if (ctx != NULL)
		(void) EVP_MAC_init(ctx, dummy_key, sizeof(dummy_key), NULL);
	ERR_clear_error();
}

/* HMAC over the pieces one after the other; the caller calls hmac_forget(). */
static int
hmac_pieces(const uint8_t *key, size_t keylen, const Piece *pieces, int n,
			uint8_t mac[CMK_HMAC_SIZE])
{
	EVP_MAC_CTX *ctx = hmac_context();
	size_t		outlen;
	int			i;

	if (ctx == NULL || EVP_MAC_init(ctx, key, keylen, NULL) != 1)
		return -1;
	for (i = 0; i < n; i++)
	{
		if (EVP_MAC_update(ctx, pieces[i].data, pieces[i].len) != 1)
			return -1;
	}
	if (EVP_MAC_final(ctx, mac, &outlen, CMK_HMAC_SIZE) != 1 ||
		outlen != CMK_HMAC_SIZE)
		return -1;
	return 0;
}

static void
put32be(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t) (v >> 24);
	p[1] = (uint8_t) (v >> 16);
	p[2] = (uint8_t) (v >> 8);
	p[3] = (uint8_t) v;
}

/*
 * The counter mode of SP 800-108r1, section 4.1.  pieces[0] is for the counter,
 * the n - 1 others are the fixed input data.
 */
static int
derive(const uint8_t *key, size_t keylen, Piece *pieces, int n,
	   uint8_t *out, size_t outlen)
{
	uint8_t		counter[4];
	uint8_t		block[CMK_HMAC_SIZE];
	size_t		done;
	uint32_t	i = 0;
	int			result = 0;

	if (outlen == 0 || outlen > 255 * CMK_HMAC_SIZE)
		return -1;

	pieces[0].data = counter;
	pieces[0].len = sizeof(counter);
	for (done = 0; done < outlen; done += CMK_HMAC_SIZE)
	{
		size_t		rest = outlen - done;

		put32be(counter, ++i);
		if (hmac_pieces(key, keylen, pieces, n, block) < 0)
		{
			cmk_cleanse(out, outlen);
			result = -1;
			break;
		}
		memcpy(out + done, block, rest < sizeof(block) ? rest : sizeof(block));
	}

	hmac_forget();
	cmk_cleanse(block, sizeof(block));
	return result;
}

int
cmk_kdf(const uint8_t *key, size_t keylen, const char *label,
		const uint8_t *context, size_t contextlen,
		uint8_t *out, size_t outlen)
{
	uint8_t		bits[4];
	Piece		pieces[4];

	put32be(bits, (uint32_t) (outlen * 8));
	pieces[1].data = label;
	pieces[1].len = strlen(label) + 1;	/* with its NUL, the separator */
	pieces[2].data = context;
	pieces[2].len = contextlen;
	pieces[3].data = bits;
	pieces[3].len = sizeof(bits);
	return derive(key, keylen, pieces, 4, out, outlen);
}

int
cmk_kdf_fixed(const uint8_t *key, size_t keylen,
			  const uint8_t *fixed, size_t fixedlen,
			  uint8_t *out, size_t outlen)
{
	Piece		pieces[2];

	pieces[1].data = fixed;
	pieces[1].len = fixedlen;
	return derive(key, keylen, pieces, 2, out, outlen);
}

int
cmk_hmac(const uint8_t *key, size_t keylen, const void *data, size_t len,
		 uint8_t mac[CMK_HMAC_SIZE])
{
	Piece		piece = {data, len};
	int			result = hmac_pieces(key, keylen, &piece, 1, mac);

	hmac_forget();
	return result;
}

int
cmk_equal(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}

int
cmk_random_key(void *buf, size_t len)
{
	if (RAND_priv_bytes_ex(NULL, buf, len, 0) == 1)
		return 0;
	cmk_cleanse(buf, len);
	return -1;
}

int
cmk_random_public(void *buf, size_t len)
{
	return RAND_bytes_ex(NULL, buf, len, 0) == 1 ? 0 : -1;
}

void
cmk_cleanse(void *buf, size_t len)
{
	OPENSSL_cleanse(buf, len);
}
