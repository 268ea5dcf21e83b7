/*
 * assertion.c
 *	  A JSON Web Token (RFC 7519, RFC 7523) that proves a client certificate.
 *
 * Microsoft's page asks for the header alg PS256 with x5t#S256 and the claims
 * aud, exp, iss, jti, nbf, sub.  The assertion is made anew for every request
 * and good for ten minutes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "../seal/base64url.h"
#include "../seal/kdf.h"
#include "assertion.h"
#include "pem.h"
#include "secretfile.h"

#define WHAT			"client certificate file"
#define MAX_FILE_SIZE	(64 * 1024)
#define MAX_CLAIMS		2048
#define MAX_SIGNATURE	1024

static int
unusable(CmkError *err, const char *path, const char *what)
{
	errno = 0;
	cmk_fail(err, CMK_ERR_KEY_UNUSABLE, WHAT " " CMK_PATH_FMT " %s", path, what);
	return cmk_fail_openssl(err);
}

/* Never asks a terminal: without a password there is none. */
static int
give_password(char *buf, int size, int rwflag, void *password)
{
	size_t		len = password != NULL ? strlen(password) : 0;

	(void) rwflag;
	if (len == 0 || len > (size_t) size)
		return -1;
	memcpy(buf, password, len);
	return (int) len;
}

/* The key and the certificate of that key; the first certificate that fits. */
static int
read_pem(const char *path, const char *password, const void *text, int len,
		 EVP_PKEY **key, X509 **cert, CmkError *err)
{
	BIO		   *bio = BIO_new_mem_buf(text, len);

	if (bio == NULL)
		return unusable(err, path, "could not be read");
	*key = PEM_read_bio_PrivateKey(bio, NULL, give_password, (void *) password);
	if (*key == NULL)
	{
		BIO_free(bio);
		return unusable(err, path,
						"holds no private key that can be used, or its password is wrong");
	}
	BIO_free(bio);
	if (!EVP_PKEY_is_a(*key, "RSA") || EVP_PKEY_get_bits(*key) < 2048)
		return unusable(err, path, "holds a key that is not RSA of at least 2048 bits");

	bio = BIO_new_mem_buf(text, len);
	while (bio != NULL &&
		   (*cert = PEM_read_bio_X509(bio, NULL, give_password, NULL)) != NULL &&
		   X509_check_private_key(*cert, *key) != 1)
	{
		X509_free(*cert);
		*cert = NULL;
	}
	BIO_free(bio);
	if (*cert == NULL)
		return unusable(err, path, "holds no certificate of its private key");
	ERR_clear_error();
	return 0;
}

static int
load(const char *path, const char *password, EVP_PKEY **key, X509 **cert,
	 CmkError *err)
{
	char	   *buf = malloc(MAX_FILE_SIZE + 1);
	ssize_t		len;
	int			rc = -1;

	if (buf == NULL)
		return cmk_fail(err, CMK_ERR_NO_MEMORY,
						"out of memory while reading " WHAT " " CMK_PATH_FMT, path);
	len = cmk_secretfile_read(path, WHAT, CMK_SECRETFILE_OWN,
							  buf, MAX_FILE_SIZE + 1, err);
	if (len >= 0)
		rc = read_pem(path, password, buf, (int) len, key, cert, err);
	cmk_cleanse(buf, MAX_FILE_SIZE + 1);
	free(buf);
	return rc;
}

/* A random version-4 UUID (RFC 9562). */
static int
make_jti(char out[37])
{
	uint8_t		b[16];

	if (cmk_random_public(b, sizeof(b)) < 0)
		return -1;
	b[6] = (b[6] & 0x0f) | 0x40;
	b[8] = (b[8] & 0x3f) | 0x80;
	snprintf(out, 37,
			 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
			 b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10],
			 b[11], b[12], b[13], b[14], b[15]);
	return 0;
}

/*
 * Header and claims, encoded, into text (CMK_BASE64URL_SIZE of both and a dot).
 * client_id and audience have no character that JSON would escape.
 */
static int
make_text(X509 *cert, const char *client_id, const char *audience, int64_t now,
		  char *text)
{
	uint8_t		md[EVP_MAX_MD_SIZE];
	unsigned int mdlen;
	char		thumbprint[CMK_BASE64URL_SIZE(EVP_MAX_MD_SIZE)];
	char		jti[37];
	char		claims[MAX_CLAIMS];
	int			n;

	if (X509_digest(cert, EVP_sha256(), md, &mdlen) != 1 || make_jti(jti) < 0)
		return -1;
	cmk_base64url_encode(md, mdlen, thumbprint);
	n = snprintf(claims, sizeof(claims),
				 "{\"alg\":\"PS256\",\"typ\":\"JWT\",\"x5t#S256\":\"%s\"}",
				 thumbprint);
	text += cmk_base64url_encode(claims, n, text);
	*text++ = '.';
	n = snprintf(claims, sizeof(claims),
				 "{\"aud\":\"%s\",\"iss\":\"%s\",\"sub\":\"%s\",\"jti\":\"%s\","
				 "\"nbf\":%" PRId64 ",\"iat\":%" PRId64 ",\"exp\":%" PRId64 "}",
				 audience, client_id, client_id, jti, now, now,
				 now + CMK_ASSERTION_LIFETIME);
	if (n >= (int) sizeof(claims))
		return -1;
	cmk_base64url_encode(claims, n, text);
	return 0;
}

/* PS256: RSASSA-PSS, SHA-256, MGF1 SHA-256, salt of 32 bytes (RFC 7518 3.5). */
static int
sign(EVP_PKEY *key, const char *text, uint8_t *sig, size_t *siglen)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pctx;
	int			ok;

	ok = ctx != NULL &&
		EVP_DigestSignInit(ctx, &pctx, EVP_sha256(), NULL, key) == 1 &&
		EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) > 0 &&
		EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) > 0 &&
		EVP_PKEY_CTX_set_rsa_mgf1_md(pctx, EVP_sha256()) > 0 &&
		EVP_DigestSign(ctx, sig, siglen, (const uint8_t *) text,
					   strlen(text)) == 1;
	EVP_MD_CTX_free(ctx);
	return ok ? 0 : -1;
}

char *
cmk_assertion_make(const char *path, const char *password,
				   const char *client_id, const char *audience, int64_t now,
				   CmkError *err)
{
	const size_t size = 2 * CMK_BASE64URL_SIZE(MAX_CLAIMS) +
		CMK_BASE64URL_SIZE(MAX_SIGNATURE) + 3;
	EVP_PKEY   *key = NULL;
	X509	   *cert = NULL;
	char	   *jwt = malloc(size);
	uint8_t		sig[MAX_SIGNATURE];
	size_t		siglen = sizeof(sig);
	size_t		used;
	int			rc;

	rc = jwt == NULL ? cmk_fail(err, CMK_ERR_NO_MEMORY, "out of memory") :
		load(path, password, &key, &cert, err);
	if (rc == 0 && (make_text(cert, client_id, audience, now, jwt) < 0 ||
					sign(key, jwt, sig, &siglen) < 0))
	{
		errno = 0;
		cmk_fail(err, CMK_ERR_CRYPTO, "could not sign with the key of " WHAT
				 " " CMK_PATH_FMT, path);
		rc = cmk_fail_openssl(err);
	}
	EVP_PKEY_free(key);
	X509_free(cert);
	ERR_clear_error();
	if (rc < 0)
	{
		free(jwt);
		return NULL;
	}
	used = strlen(jwt);
	jwt[used++] = '.';
	cmk_base64url_encode(sig, siglen, jwt + used);
	return jwt;
}
