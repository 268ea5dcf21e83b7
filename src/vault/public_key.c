/*
 * public_key.c
 *	  The public half of a KEK.  See public_key.h, rsa.h.
 *
 * Whatever form a key comes in, it goes through OpenSSL's and comes out as the
 * one DER encoding that it has.  So a key is the same bytes everywhere, and
 * nothing that somebody hid in another encoding is kept.
 */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "public_key.h"
#include "rsa.h"

#define MAX_PEM			(16 * 1024)
#define MAX_PLAIN		64
#define MIN_EXPONENT_BITS 17	/* an odd number of 17 bits is at least 65537 */
#define MAX_EXPONENT_BITS 64
#define MAX_NUMBER		1024	/* bytes of a number that is looked at */

static int
unusable(CmkError *err, const char *what)
{
	errno = 0;
	return cmk_fail(err, CMK_ERR_KEY_UNUSABLE, "the public key %s", what);
}

static int
crypto_failed(CmkError *err)
{
	errno = 0;
	cmk_fail(err, CMK_ERR_CRYPTO, "could not use the public key");
	return cmk_fail_openssl(err);
}

/* ---- rsa.h ---- */

bool
cmk_rsa_bits_ok(int bits)
{
	return bits == 2048 || bits == 3072 || bits == 4096;
}

bool
cmk_rsa_exponent_ok(EVP_PKEY *key)
{
	BIGNUM	   *e = NULL;
	bool		ok;

	if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) != 1)
		return false;
	ok = BN_is_odd(e) && BN_num_bits(e) >= MIN_EXPONENT_BITS &&
		BN_num_bits(e) <= MAX_EXPONENT_BITS;
	BN_free(e);
	return ok;
}

int
cmk_rsa_set_oaep(EVP_PKEY_CTX *ctx)
{
	if (EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) <= 0 ||
		EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256()) <= 0 ||
		EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha256()) <= 0)
		return -1;
	return 0;
}

int
cmk_rsa_encode(EVP_PKEY *key, uint8_t *der, size_t max, size_t *derlen)
{
	uint8_t    *p = NULL;
	int			len = i2d_PUBKEY(key, &p);

	*derlen = 0;
	if (len > 0 && (size_t) len <= max)
	{
		memcpy(der, p, len);
		*derlen = len;
	}
	OPENSSL_free(p);
	return *derlen > 0 ? 0 : -1;
}

int
cmk_rsa_wrap(EVP_PKEY *key, const uint8_t *in, size_t len, CmkWrapResult *out)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	int			rc = -1;

	memset(out, 0, sizeof(*out));
	out->len = sizeof(out->value);
	if (ctx != NULL && EVP_PKEY_encrypt_init(ctx) > 0 &&
		cmk_rsa_set_oaep(ctx) == 0 &&
		EVP_PKEY_encrypt(ctx, out->value, &out->len, in, len) > 0)
		rc = cmk_rsa_encode(key, out->public_key, sizeof(out->public_key),
							&out->public_len);
	EVP_PKEY_CTX_free(ctx);
	if (rc == 0)
		strcpy(out->alg, CMK_ALG_RSA_OAEP_256);
	else
		memset(out, 0, sizeof(*out));
	return rc;
}

/* ---- what a key must be ---- */

static int
check_modulus(EVP_PKEY *key, CmkError *err)
{
	BIGNUM	   *n = NULL;
	int			bits = EVP_PKEY_get_bits(key);
	int			odd;

	if (!cmk_rsa_bits_ok(bits))
	{
		unusable(err, bits < 2048 ? "is too small" : "has an unsupported size");
		return cmk_fail_detail(err,
							   "It has %d bits; an RSA key of 2048, 3072 or 4096 bits is needed.",
							   bits);
	}
	if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) != 1)
		return crypto_failed(err);
	odd = BN_is_odd(n);
	BN_free(n);
	return odd ? 0 : unusable(err, "is damaged: its modulus is even");
}

/* An RSA key of the right kind becomes DER. */
static int
take_key(EVP_PKEY *key, uint8_t *der, size_t max, size_t *derlen, CmkError *err)
{
	if (!EVP_PKEY_is_a(key, "RSA"))
		return unusable(err, "is not an RSA key");
	if (check_modulus(key, err) < 0)
		return -1;
	if (!cmk_rsa_exponent_ok(key))
	{
		unusable(err, "has an unsupported exponent");
		return cmk_fail_detail(err, "%s", CMK_RSA_EXPONENT_RULE);
	}
	if (cmk_rsa_encode(key, der, max, derlen) < 0)
		return crypto_failed(err);
	return 0;
}

/* ---- from a JWK ---- */

static EVP_PKEY *
key_of_numbers(const BIGNUM *n, const BIGNUM *e)
{
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	OSSL_PARAM *params = NULL;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	EVP_PKEY   *key = NULL;

	if (build != NULL && ctx != NULL &&
		OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
		OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) == 1)
		params = OSSL_PARAM_BLD_to_param(build);
	if (params != NULL && EVP_PKEY_fromdata_init(ctx) == 1 &&
		EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		key = NULL;
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

int
cmk_public_from_ne(const uint8_t *n, size_t nlen, const uint8_t *e, size_t elen,
				   uint8_t *der, size_t max, size_t *derlen, CmkError *err)
{
	BIGNUM	   *bn_n;
	BIGNUM	   *bn_e;
	EVP_PKEY   *key;
	int			rc = -1;

	*derlen = 0;
	if (nlen == 0 || nlen > MAX_NUMBER || elen == 0 || elen > MAX_NUMBER)
		return unusable(err, "has numbers of an unsupported size");
	bn_n = BN_bin2bn(n, (int) nlen, NULL);
	bn_e = BN_bin2bn(e, (int) elen, NULL);
	if (bn_n == NULL || bn_e == NULL)
		cmk_fail(err, CMK_ERR_NO_MEMORY, "out of memory while reading a public key");
	else if (BN_is_zero(bn_n) || BN_is_zero(bn_e))
		unusable(err, "is damaged: one of its numbers is zero");
	else if ((key = key_of_numbers(bn_n, bn_e)) == NULL)
		crypto_failed(err);
	else
	{
		rc = take_key(key, der, max, derlen, err);
		EVP_PKEY_free(key);
	}
	BN_free(bn_n);
	BN_free(bn_e);
	ERR_clear_error();
	return rc;
}

/* ---- from PEM ---- */

/* What stands around the block would be lost, and may not be meant to be. */
static bool
only_spaces(const char *s, size_t len)
{
	size_t		i;

	for (i = 0; i < len; i++)
	{
		if (!isspace((unsigned char) s[i]))
			return false;
	}
	return true;
}

/* The key in one block's bytes, all of which must be it; or NULL. */
static EVP_PKEY *
key_of_block(const char *name, const uint8_t *data, long len)
{
	const uint8_t *p = data;
	EVP_PKEY   *key = NULL;
	X509	   *cert;

	if (strcmp(name, PEM_STRING_PUBLIC) == 0)
		key = d2i_PUBKEY(NULL, &p, len);
	else
	{
		cert = d2i_X509(NULL, &p, len);
		if (cert != NULL)
			key = X509_get_pubkey(cert);
		X509_free(cert);
	}
	if (key != NULL && p != data + len)
	{
		EVP_PKEY_free(key);
		key = NULL;
	}
	return key;
}

/* SP 800-56B partial public-key validation, as far as OpenSSL has it. */
static int
check_public(EVP_PKEY *key, CmkError *err)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	int			ok = ctx != NULL && EVP_PKEY_public_check(ctx) == 1;

	EVP_PKEY_CTX_free(ctx);
	return ok ? 0 : unusable(err, "is damaged: its numbers are not those of an RSA key");
}

static int
take_block(const char *name, const char *header, const uint8_t *data, long len,
		   uint8_t *der, size_t max, size_t *derlen, CmkError *err)
{
	EVP_PKEY   *key;
	int			rc;

	if ((strcmp(name, PEM_STRING_PUBLIC) != 0 && strcmp(name, PEM_STRING_X509) != 0) ||
		header[0] != '\0')
	{
		unusable(err, "is not in a form that is known here");
		return cmk_fail_hint(err,
							 "Give a PEM text that begins with \"-----BEGIN PUBLIC KEY-----\" or \"-----BEGIN CERTIFICATE-----\".");
	}
	key = key_of_block(name, data, len);
	if (key == NULL)
		return unusable(err, "is damaged");
	rc = take_key(key, der, max, derlen, err);
	if (rc == 0 && check_public(key, err) < 0)
	{
		*derlen = 0;
		rc = -1;
	}
	EVP_PKEY_free(key);
	return rc;
}

static int
not_pem(CmkError *err)
{
	unusable(err, "is not one PEM text");
	return cmk_fail_hint(err,
						 "Give the whole text, from \"-----BEGIN PUBLIC KEY-----\" to \"-----END PUBLIC KEY-----\", and nothing else.");
}

static int
scan_pem(BIO *bio, uint8_t *der, size_t max, size_t *derlen, CmkError *err)
{
	char	   *name = NULL;
	char	   *header = NULL;
	uint8_t    *data = NULL;
	char	   *rest;
	long		len;
	long		restlen;
	int			rc = -1;

	if (PEM_read_bio_ex(bio, &name, &header, &data, &len, PEM_FLAG_EAY_COMPATIBLE) != 1)
		return not_pem(err);
	restlen = BIO_get_mem_data(bio, &rest);
	if (restlen > 0 && !only_spaces(rest, restlen))
		not_pem(err);
	else
		rc = take_block(name, header, data, len, der, max, derlen, err);
	OPENSSL_free(name);
	OPENSSL_free(header);
	OPENSSL_free(data);
	return rc;
}

int
cmk_public_from_pem(const char *pem, size_t len, uint8_t *der, size_t max,
					size_t *derlen, CmkError *err)
{
	static const char begin[] = "-----BEGIN ";
	static const char secret[] = "PRIVATE KEY";
	BIO		   *bio;
	size_t		skip = 0;
	int			rc;

	*derlen = 0;
	if (memmem(pem, len, secret, strlen(secret)) != NULL)
	{
		errno = 0;
		cmk_fail(err, CMK_ERR_KEY_UNUSABLE,
				 "this is a private key, where a public key is wanted");
		cmk_fail_detail(err, "A private key must not be given to anybody.");
		return cmk_fail_hint(err,
							 "Give the public key alone, and consider this private key as disclosed.");
	}
	while (skip < len && isspace((unsigned char) pem[skip]))
		skip++;
	if (len > MAX_PEM || len - skip < strlen(begin) ||
		memcmp(pem + skip, begin, strlen(begin)) != 0)
		return not_pem(err);
	bio = BIO_new_mem_buf(pem + skip, (int) (len - skip));
	if (bio == NULL)
		return cmk_fail(err, CMK_ERR_NO_MEMORY,
						"out of memory while reading a public key");
	ERR_clear_error();
	rc = scan_pem(bio, der, max, derlen, err);
	BIO_free(bio);
	ERR_clear_error();
	return rc;
}

/* ---- wrapping ---- */

int
cmk_public_wrap(const uint8_t *der, size_t derlen, const uint8_t *in,
				size_t inlen, CmkWrapResult *out, CmkError *err)
{
	const uint8_t *p = der;
	uint8_t		again[CMK_PUBLIC_KEY_SIZE];
	size_t		len;
	EVP_PKEY   *key;
	int			rc = -1;

	memset(out, 0, sizeof(*out));
	errno = 0;
	if (inlen == 0 || inlen > MAX_PLAIN)
		return cmk_fail(err, CMK_ERR_CONFIG,
						"a value of %zu bytes cannot be wrapped", inlen);
	if (derlen == 0 || derlen > CMK_PUBLIC_KEY_SIZE)
		return unusable(err, "is damaged");
	ERR_clear_error();
	key = d2i_PUBKEY(NULL, &p, (long) derlen);
	if (key == NULL || p != der + derlen)
		unusable(err, "is damaged");
	else if (take_key(key, again, sizeof(again), &len, err) == 0)
	{
		if (cmk_rsa_wrap(key, in, inlen, out) < 0)
			crypto_failed(err);
		else
			rc = 0;
	}
	EVP_PKEY_free(key);
	ERR_clear_error();
	return rc;
}
