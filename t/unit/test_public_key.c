/*
 * test_public_key.c
 *	  Public keys: from PEM, from a JWK's numbers, what is refused, and that the
 *	  private key opens what they wrap.
 */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/x509.h>

#include "../../src/seal/base64url.h"
#include "../../src/vault/kek.h"
#include "../../src/vault/public_key.h"
#include "keyfiles.h"

static uint8_t der[CMK_PUBLIC_KEY_SIZE];
static size_t derlen;
static CmkError err;

static int
from_pem(const char *pem, size_t len)
{
	memset(&err, 0, sizeof(err));
	memset(der, 0, sizeof(der));
	return cmk_public_from_pem(pem, len, der, sizeof(der), &derlen, &err);
}

/* The key as PEM of that form, with text before and after. */
static int
from_key(EVP_PKEY *key, Form form, const char *before, const char *after)
{
	char		pem[16384];
	char		all[20000];

	pem[pem_of(key, form, pem, sizeof(pem))] = '\0';
	snprintf(all, sizeof(all), "%s%s%s", before, pem, after);
	return from_pem(all, strlen(all));
}

/* Is der what OpenSSL makes of the public half of key? */
static bool
is_public_half(EVP_PKEY *key)
{
	uint8_t    *want = NULL;
	int			len = i2d_PUBKEY(key, &want);
	bool		same = len > 0 && (size_t) len == derlen &&
		memcmp(want, der, derlen) == 0;

	OPENSSL_free(want);
	return same;
}

/* Refused because of the key, saying so, and nothing given. */
#define CHECK_UNUSABLE(call, says) \
	do { \
		CHECK_INT(call, -1); \
		CHECK_INT(err.code, CMK_ERR_KEY_UNUSABLE); \
		CHECK_HAS(err.message, says); \
		CHECK_INT(derlen, 0); \
		CHECK_INT(ERR_peek_error(), 0); \
	} while (0)

static void
public_keys_of_all_sizes(void)
{
	static const int sizes[] = {2048, 3072, 4096};
	int			i;

	for (i = 0; i < 3; i++)
	{
		EVP_PKEY   *key = make_rsa(sizes[i]);

		CHECK_INT(from_key(key, PUBLIC, "", ""), 0);
		CHECK(is_public_half(key));
		CHECK_INT(ERR_peek_error(), 0);
		EVP_PKEY_free(key);
	}
	CHECK(derlen <= CMK_PUBLIC_KEY_SIZE - 8);
	CHECK_INT(from_key(rsa2048, PUBLIC, " \n\t", "\r\n\n "), 0);
	CHECK(is_public_half(rsa2048));
}

/* A certificate for key, as PEM. */
static size_t
certificate(EVP_PKEY *key, char *pem, size_t max)
{
	X509	   *cert = X509_new();
	BIO		   *bio = BIO_new(BIO_s_mem());
	int			n = 0;

	X509_set_version(cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), 0);
	X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
							   (const unsigned char *) "recipient", -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	X509_set_pubkey(cert, key);
	if (X509_sign(cert, rsa2048, EVP_sha256()) > 0 && PEM_write_bio_X509(bio, cert))
		n = BIO_read(bio, pem, (int) max - 1);
	X509_free(cert);
	BIO_free(bio);
	if (n <= 0)
		abort();
	pem[n] = '\0';
	return n;
}

static void
certificates(void)
{
	char		pem[8192];
	size_t		len = certificate(rsa2048, pem, sizeof(pem));
	EVP_PKEY   *ec = EVP_EC_gen("P-256");

	CHECK_INT(from_pem(pem, len), 0);
	CHECK(is_public_half(rsa2048));
	memcpy(pem + len, pem, len);
	CHECK_UNUSABLE(from_pem(pem, 2 * len), "not one PEM text");
	len = certificate(ec, pem, sizeof(pem));
	CHECK_UNUSABLE(from_pem(pem, len), "not an RSA key");
	EVP_PKEY_free(ec);
}

static void
a_private_key_is_not_wanted(void)
{
	char		pem[16384];
	size_t		len;

	CHECK_UNUSABLE(from_key(rsa2048, PKCS8, "", ""), "a private key");
	CHECK_HAS(err.detail, "must not be given");
	CHECK_UNUSABLE(from_key(rsa2048, PKCS1, "", ""), "a private key");
	CHECK_UNUSABLE(from_key(rsa2048, ENCRYPTED, "", ""), "a private key");
	CHECK_UNUSABLE(from_key(rsa2048, ENCRYPTED_OLD, "", ""), "a private key");
	CHECK_UNUSABLE(from_key(rsa2048, PKCS8, "garbage", "garbage"), "a private key");

	/* nor one behind the public key, though that would do */
	len = pem_of(rsa2048, PUBLIC, pem, sizeof(pem));
	len += pem_of(rsa2048, PKCS8, pem + len, sizeof(pem) - len);
	CHECK_UNUSABLE(from_pem(pem, len), "a private key");
}

static void
keys_of_a_wrong_kind(void)
{
	EVP_PKEY   *keys[5];
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	EVP_PKEY_CTX *pss = EVP_PKEY_CTX_new_from_name(NULL, "RSA-PSS", NULL);
	BIGNUM	   *three = BN_new();
	char		pem[2048];
	BIO		   *bio = BIO_new(BIO_s_mem());
	uint8_t    *p = NULL;
	int			len;
	int			i;

	keys[0] = EVP_EC_gen("P-256");
	keys[1] = make_rsa(1024);
	keys[2] = make_rsa(2056);
	keys[3] = keys[4] = NULL;
	BN_set_word(three, 3);
	CHECK_INT(EVP_PKEY_keygen_init(ctx), 1);
	CHECK_INT(EVP_PKEY_CTX_set1_rsa_keygen_pubexp(ctx, three), 1);
	CHECK_INT(EVP_PKEY_generate(ctx, &keys[3]), 1);
	CHECK_INT(EVP_PKEY_keygen_init(pss), 1);
	CHECK_INT(EVP_PKEY_generate(pss, &keys[4]), 1);
	CHECK_UNUSABLE(from_key(keys[0], PUBLIC, "", ""), "not an RSA key");
	CHECK_UNUSABLE(from_key(keys[1], PUBLIC, "", ""), "too small");
	CHECK_UNUSABLE(from_key(keys[2], PUBLIC, "", ""), "unsupported size");
	CHECK_UNUSABLE(from_key(keys[3], PUBLIC, "", ""), "unsupported exponent");
	CHECK_UNUSABLE(from_key(keys[4], PUBLIC, "", ""), "not an RSA key");

	/* nor may such a key be used from a file */
	{
		CmkWrapResult w;

		put_key("bad.pem", keys[3], PKCS8);
		CHECK_INT(wrap(url_of("bad.pem"), &w, &err), -1);
		CHECK_INT(err.code, CMK_ERR_KEY_UNUSABLE);
		CHECK_HAS(err.message, "unsupported exponent");
	}

	/* PKCS#1, which says of itself less than it should */
	len = i2d_PublicKey(rsa2048, &p);
	CHECK(len > 0);
	PEM_write_bio(bio, "RSA PUBLIC KEY", "", p, len);
	len = BIO_read(bio, pem, sizeof(pem));
	CHECK_UNUSABLE(from_pem(pem, len), "not in a form");
	OPENSSL_free(p);
	BIO_free(bio);
	BN_free(three);
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_CTX_free(pss);
	for (i = 0; i < 5; i++)
		EVP_PKEY_free(keys[i]);
}

/* PEM of any bytes, said to be a public key. */
static int
from_bytes(const uint8_t *bytes, long len, const char *header)
{
	char		pem[4096];
	BIO		   *bio = BIO_new(BIO_s_mem());
	int			n;

	PEM_write_bio(bio, "PUBLIC KEY", header, bytes, len);
	n = BIO_read(bio, pem, sizeof(pem));
	BIO_free(bio);
	return from_pem(pem, n);
}

static void
texts_that_are_not_one_key(void)
{
	char		pem[4096];
	size_t		len = pem_of(rsa2048, PUBLIC, pem, sizeof(pem));
	char		longer[20000];
	size_t		i;

	CHECK_UNUSABLE(from_pem("", 0), "not one PEM text");
	CHECK_UNUSABLE(from_pem("-----BEGIN ", 11), "not one PEM text");
	CHECK_UNUSABLE(from_key(rsa2048, PUBLIC, "x", ""), "not one PEM text");
	CHECK_UNUSABLE(from_key(rsa2048, PUBLIC, "# my key\n", ""), "not one PEM text");
	CHECK_UNUSABLE(from_key(rsa2048, PUBLIC, "", "x"), "not one PEM text");
	CHECK_UNUSABLE(from_key(rsa2048, PUBLIC, "", "-----BEGIN PUBLIC KEY-----\n"), "not one PEM text");
	memcpy(longer, pem, len);
	memcpy(longer + len, pem, len);
	CHECK_UNUSABLE(from_pem(longer, 2 * len), "not one PEM text");
	memcpy(longer + len, "\0", 1);
	CHECK_UNUSABLE(from_pem(longer, len + 1), "not one PEM text");
	memset(longer + len, ' ', sizeof(longer) - len);
	CHECK_UNUSABLE(from_pem(longer, sizeof(longer)), "not one PEM text");

	/* no part of it is taken for the whole, but for the last line end */
	for (i = 0; i < len - 1; i++)
	{
		if (from_pem(pem, i) == 0)
		{
			unit_fail(__FILE__, __LINE__, "taken: the first %zu of %zu bytes", i, len);
			return;
		}
		CHECK_INT(derlen, 0);
	}
}

static void
damaged_keys(void)
{
	uint8_t    *p = NULL;
	uint8_t		bytes[1024];
	int			len = i2d_PUBKEY(rsa2048, &p);
	BIGNUM	   *n = NULL;
	uint8_t		number[256];

	memcpy(bytes, p, len);
	OPENSSL_free(p);
	CHECK_INT(from_bytes(bytes, len, ""), 0);
	bytes[len] = 0;
	CHECK_UNUSABLE(from_bytes(bytes, len + 1, ""), "is damaged");
	CHECK_UNUSABLE(from_bytes(bytes, len - 1, ""), "is damaged");
	CHECK_UNUSABLE(from_bytes(bytes, len, "Comment: hello\n"), "not in a form");
	CHECK_UNUSABLE(from_bytes((const uint8_t *) "\x30\x00", 2, ""), "is damaged");

	/* a modulus that is even, and one with a factor of 3: 33 bytes before it */
	CHECK_INT(EVP_PKEY_get_bn_param(rsa2048, OSSL_PKEY_PARAM_RSA_N, &n), 1);
	BN_sub_word(n, 1);
	BN_bn2binpad(n, number, sizeof(number));
	memcpy(bytes + 33, number, sizeof(number));
	CHECK_UNUSABLE(from_bytes(bytes, len, ""), "is even");
	BN_sub_word(n, BN_mod_word(n, 3));
	if (!BN_is_odd(n))
		BN_add_word(n, 3);
	BN_bn2binpad(n, number, sizeof(number));
	memcpy(bytes + 33, number, sizeof(number));
	CHECK_UNUSABLE(from_bytes(bytes, len, ""), "not those of an RSA key");
	BN_free(n);
}

static int
from_ne(const uint8_t *n, size_t nlen, const uint8_t *e, size_t elen)
{
	memset(&err, 0, sizeof(err));
	return cmk_public_from_ne(n, nlen, e, elen, der, sizeof(der), &derlen, &err);
}

static void
numbers_of_a_jwk(void)
{
	static const struct
	{
		const char *e;
		size_t		len;
		bool		good;
	}			exponents[] = {
		{"\x01\x00\x01", 3, true}, {"\x00\x00\x01\x00\x01", 5, true},
		{"\x01\x00\x03", 3, true}, {"\xff\xff\xff\xff\xff\xff\xff\xff", 8, true},
		{"\x01\xff\xff\xff\xff\xff\xff\xff\xff", 9, false},
		{"\xff\xff", 2, false}, {"\x03", 1, false}, {"\x01", 1, false},
		{"\x01\x00\x00", 3, false}, {"\x01\x00\x02", 3, false}, {"\x00", 1, false},
		{"", 0, false},
	};
	BIGNUM	   *n = NULL;
	uint8_t		number[258] = {0};
	size_t		i;

	CHECK_INT(EVP_PKEY_get_bn_param(rsa2048, OSSL_PKEY_PARAM_RSA_N, &n), 1);
	BN_bn2binpad(n, number + 2, 256);
	BN_free(n);
	CHECK_INT(from_ne(number + 2, 256, (const uint8_t *) "\1\0\1", 3), 0);
	CHECK(is_public_half(rsa2048));
	CHECK_INT(from_ne(number, 258, (const uint8_t *) "\1\0\1", 3), 0);
	CHECK(is_public_half(rsa2048));
	for (i = 0; i < sizeof(exponents) / sizeof(exponents[0]); i++)
	{
		const uint8_t *e = (const uint8_t *) exponents[i].e;

		if (exponents[i].good)
			CHECK_INT(from_ne(number, 258, e, exponents[i].len), 0);
		else
			CHECK_UNUSABLE(from_ne(number, 258, e, exponents[i].len), "the public key");
	}
	CHECK_UNUSABLE(from_ne(number + 3, 255, (const uint8_t *) "\1\0\1", 3), "too small");
	CHECK_UNUSABLE(from_ne(number, 2, (const uint8_t *) "\1\0\1", 3), "is zero");
	CHECK_UNUSABLE(from_ne(number, 0, (const uint8_t *) "\1\0\1", 3), "unsupported size");
	number[257] &= 0xfe;
	CHECK_UNUSABLE(from_ne(number, 258, (const uint8_t *) "\1\0\1", 3), "is even");
	number[257] |= 1;

	/* no room for the result */
	CHECK_INT(cmk_public_from_ne(number, 258, (const uint8_t *) "\1\0\1", 3,
								 der, 293, &derlen, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CRYPTO);
	CHECK_INT(derlen, 0);
}

/* What the public key wraps, the provider of the private key opens. */
static void
the_private_key_opens_it(void)
{
	CmkWrapResult by_file;
	CmkWrapResult w;
	CmkWrapResult again;
	uint8_t		out[64];
	size_t		outlen;

	put_key("kek.pem", rsa2048, PKCS8);
	CHECK_INT(wrap(url_of("kek.pem"), &by_file, &err), 0);
	CHECK_INT(from_key(rsa2048, PUBLIC, "", ""), 0);
	CHECK_INT(by_file.public_len, derlen);
	CHECK_MEM(by_file.public_key, der, derlen);

	CHECK_INT(cmk_public_wrap(der, derlen, secret, sizeof(secret), &w, &err), 0);
	CHECK_STR(w.alg, "RSA-OAEP-256");
	CHECK_STR(w.key_version, "");
	CHECK_INT(w.len, 256);
	CHECK_INT(w.public_len, derlen);
	CHECK_MEM(w.public_key, der, derlen);
	CHECK_INT(cmk_public_wrap(der, derlen, secret, sizeof(secret), &again, &err), 0);
	CHECK(memcmp(w.value, again.value, w.len) != 0);
	strcpy(w.key_version, by_file.key_version);
	CHECK_INT(unwrap(url_of("kek.pem"), &w, out, &outlen, &err), 0);
	CHECK_INT(outlen, sizeof(secret));
	CHECK_MEM(out, secret, sizeof(secret));
	w.value[9] ^= 1;
	CHECK_INT(unwrap(url_of("kek.pem"), &w, out, &outlen, &err), -1);
}

/* A key in a file shows it as one in a vault does. */
static void
the_kek_shows_it(void)
{
	static const CmkVaultConfig config = {.identity = NULL};
	CmkKek	   *kek = cmk_kek_new(&config, &err);
	CmkKekInfo	info;
	CmkOutcome	out;
	CmkWrapResult w;
	uint8_t		plain[64];
	size_t		len;

	put_key("kek.pem", rsa2048, PKCS8);
	CHECK_INT(cmk_kek_inspect(kek, url_of("kek.pem"), 0, &info, &out), 0);
	derlen = info.public_len;
	memcpy(der, info.public_key, derlen);
	CHECK(is_public_half(rsa2048));
	CHECK_INT(cmk_public_wrap(der, derlen, secret, sizeof(secret), &w, &err), 0);
	CHECK_INT(cmk_kek_unwrap(kek, url_of("kek.pem"), info.version, w.alg, w.value, w.len,
							 plain, sizeof(plain), &len, &out), 0);
	CHECK_INT(len, sizeof(secret));
	CHECK_MEM(plain, secret, sizeof(secret));
	CHECK_INT(cmk_kek_inspect(kek, url_of("none.pem"), 0, &info, &out), -1);
	CHECK_INT(info.public_len, 0);
	cmk_kek_free(kek);
}

static void
what_cannot_be_wrapped(void)
{
	CmkWrapResult w;
	uint8_t		longer[CMK_PUBLIC_KEY_SIZE + 1] = {0};
	uint8_t		in[65] = {0};

	CHECK_INT(from_key(rsa2048, PUBLIC, "", ""), 0);
	memcpy(longer, der, derlen);
	memset(&w, 'x', sizeof(w));
	CHECK_INT(cmk_public_wrap(der, derlen, in, 0, &w, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CONFIG);
	CHECK_INT(w.len, 0);
	CHECK_INT(cmk_public_wrap(der, derlen, in, 65, &w, &err), -1);
	CHECK_INT(cmk_public_wrap(der, derlen, in, 64, &w, &err), 0);
	CHECK_INT(cmk_public_wrap(der, 0, in, 32, &w, &err), -1);
	CHECK_INT(err.code, CMK_ERR_KEY_UNUSABLE);
	CHECK_INT(w.len, 0);
	CHECK_INT(w.public_len, 0);
	CHECK_INT(cmk_public_wrap(der, derlen - 1, in, 32, &w, &err), -1);
	CHECK_INT(cmk_public_wrap(longer, derlen + 1, in, 32, &w, &err), -1);
	CHECK_INT(cmk_public_wrap(longer, sizeof(longer), in, 32, &w, &err), -1);
	CHECK_INT(err.code, CMK_ERR_KEY_UNUSABLE);
	CHECK_INT(ERR_peek_error(), 0);
	longer[derlen - 1] = 0x00;		/* e 65536 */
	CHECK_INT(cmk_public_wrap(longer, derlen, in, 32, &w, &err), -1);
	CHECK_INT(err.code, CMK_ERR_KEY_UNUSABLE);
}

int
main(void)
{
	if (keyfiles_begin() < 0)
		return 1;
	RUN(public_keys_of_all_sizes);
	RUN(certificates);
	RUN(a_private_key_is_not_wanted);
	RUN(keys_of_a_wrong_kind);
	RUN(texts_that_are_not_one_key);
	RUN(damaged_keys);
	RUN(numbers_of_a_jwk);
	RUN(the_private_key_opens_it);
	RUN(the_kek_shows_it);
	RUN(what_cannot_be_wrapped);
	keyfiles_done();
	return unit_done();
}
