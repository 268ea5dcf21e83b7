/*
 * file_key.c
 *	  A KEK that is an RSA private key in a PEM file: file:///path/kek.pem.
 *
 * For tests, and for those who keep the key on another volume or in a mounted
 * secret instead of in a vault.  It is asked as a vault is: each call reads the
 * file, uses the key and forgets it, so that taking the file away takes the key
 * away.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "../seal/base64url.h"
#include "../seal/kdf.h"
#include "pem.h"
#include "rsa.h"

#define MAX_RSA_BYTES	512
#define VERSION_PREFIX	"sha256:"

/* ---- the URL ---- */

static int
bad_url(CmkError *err, const char *url, const char *why)
{
	errno = 0;
	cmk_fail(err, CMK_ERR_CONFIG, "key URL " CMK_PATH_FMT " cannot be used", url);
	cmk_fail_detail(err, "%s", why);
	return cmk_fail_hint(err, "Use a URL like file:///path/kek.pem.");
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/*
 * The path that a file URL names (RFC 8089, without host), its %XX decoded.
 * path has room for CMK_KEY_URL_SIZE bytes.
 */
static int
path_of_url(const char *url, char *path, CmkError *err)
{
	const char *p;
	int			n = 0;

	if (strlen(url) >= CMK_KEY_URL_SIZE)
		return bad_url(err, url, "It is too long.");
	if (strncasecmp(url, "file://", 7) != 0)
		return bad_url(err, url, "It does not begin with file://.");
	if (url[7] != '/')
		return bad_url(err, url,
					   "The path must begin with a slash right after file://, without a host.");
	for (p = url + 7; *p != '\0'; p++)
	{
		int			c = (unsigned char) *p;

		if (c == '?' || c == '#')
			return bad_url(err, url,
						   "A file has no query or fragment; write ? as %3F and # as %23.");
		if (c == '%')
		{
			int			hi = hex_digit(p[1]);
			int			lo = hi < 0 ? -1 : hex_digit(p[2]);

			if (lo < 0)
				return bad_url(err, url,
							   "A % must be followed by two hexadecimal digits.");
			c = hi * 16 + lo;
			p += 2;
		}
		if (c < 0x20 || c == 0x7f)
			return bad_url(err, url,
						   "The path has a control character in it.");
		path[n++] = (char) c;
	}
	path[n] = '\0';
	return 0;
}

/* ---- what is done with it ---- */

/* Fills version (256 bytes) from the public half. */
static void
version_of(const uint8_t *der, size_t len, char *version)
{
	uint8_t		md[SHA256_DIGEST_LENGTH];

	SHA256(der, len, md);
	strcpy(version, VERSION_PREFIX);
	cmk_base64url_encode(md, sizeof(md), version + strlen(VERSION_PREFIX));
}

static int
crypto_failed(const char *path, CmkError *err)
{
	errno = 0;
	cmk_fail(err, CMK_ERR_CRYPTO,
			 "could not use the key in file " CMK_PATH_FMT, path);
	return cmk_fail_openssl(err);
}

static int
file_check(const char *url, CmkError *err)
{
	char		path[CMK_KEY_URL_SIZE];

	return path_of_url(url, path, err);
}

static int
file_wrap(const char *url, const uint8_t *in, size_t len,
		  CmkWrapResult *out, CmkError *err)
{
	char		path[CMK_KEY_URL_SIZE];
	EVP_PKEY   *key;
	int			rc = -1;

	memset(out, 0, sizeof(*out));
	if (path_of_url(url, path, err) < 0)
		return -1;
	key = cmk_pem_load_rsa(path, err);
	if (key != NULL && cmk_pem_check_rsa(path, key, err) == 0)
	{
		if (cmk_rsa_wrap(key, in, len, out) < 0)
			crypto_failed(path, err);
		else
		{
			version_of(out->public_key, out->public_len, out->key_version);
			rc = 0;
		}
	}
	EVP_PKEY_free(key);
	ERR_clear_error();
	return rc;
}

/* Is key the one that wrapped the value? */
static int
check_version(const char *path, EVP_PKEY *key, const char *version,
			  CmkError *err)
{
	uint8_t		der[CMK_PUBLIC_KEY_SIZE];
	size_t		len;
	char		have[256];

	if (cmk_rsa_encode(key, der, sizeof(der), &len) < 0)
		return crypto_failed(path, err);
	version_of(der, len, have);
	if (strcmp(have, version) == 0)
		return 0;
	errno = 0;
	cmk_fail(err, CMK_ERR_WRONG_KEY,
			 "the key in file " CMK_PATH_FMT " is not the one that wrapped the root key",
			 path);
	cmk_fail_detail(err, "The file holds %s, the root key is wrapped by %.100s.",
					have, version);
	return cmk_fail_hint(err, "Put the key file back that was used before.");
}

static int
value_damaged(const char *path, CmkError *err)
{
	errno = 0;
	cmk_fail(err, CMK_ERR_WRONG_KEY,
			 "the key in file " CMK_PATH_FMT " does not open the wrapped root key",
			 path);
	return cmk_fail_detail(err,
						   "It is the key that is said to have wrapped it; the wrapped value is damaged.");
}

static int
decrypt(const char *path, EVP_PKEY *key, const uint8_t *in, size_t len,
		uint8_t *out, size_t outmax, size_t *outlen, CmkError *err)
{
	uint8_t		plain[MAX_RSA_BYTES];
	size_t		plainlen = sizeof(plain);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	int			rc = -1;

	errno = 0;
	if (ctx == NULL || EVP_PKEY_decrypt_init(ctx) <= 0 || cmk_rsa_set_oaep(ctx) < 0)
		crypto_failed(path, err);
	else if (EVP_PKEY_decrypt(ctx, plain, &plainlen, in, len) <= 0 ||
			 plainlen > outmax)
	{
		if (cmk_pem_check_rsa(path, key, err) == 0)
			value_damaged(path, err);
	}
	else
	{
		memcpy(out, plain, plainlen);
		*outlen = plainlen;
		rc = 0;
	}
	EVP_PKEY_CTX_free(ctx);
	cmk_cleanse(plain, sizeof(plain));
	return rc;
}

static int
file_unwrap(const char *url, const char *version, const char *alg,
			const uint8_t *in, size_t len,
			uint8_t *out, size_t outmax, size_t *outlen, CmkError *err)
{
	char		path[CMK_KEY_URL_SIZE];
	EVP_PKEY   *key;
	int			rc = -1;

	*outlen = 0;
	cmk_cleanse(out, outmax);
	if (path_of_url(url, path, err) < 0)
		return -1;
	if (strcmp(alg, CMK_ALG_RSA_OAEP_256) != 0)
	{
		errno = 0;
		cmk_fail(err, CMK_ERR_CONFIG,
				 "key wrap algorithm \"%.32s\" is not supported", alg);
		return cmk_fail_detail(err, "A key file is used with %s.",
							   CMK_ALG_RSA_OAEP_256);
	}
	key = cmk_pem_load_rsa(path, err);
	if (key != NULL &&
		check_version(path, key, version, err) == 0)
		rc = decrypt(path, key, in, len, out, outmax, outlen, err);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return rc;
}

const CmkProvider cmk_file_provider = {
	.scheme = "file",
	.check = file_check,
	.wrap = file_wrap,
	.unwrap = file_unwrap,
};
