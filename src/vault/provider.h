/*
 * provider.h
 *	  Where the key-encryption key (KEK) is, and how it is asked.
 *
 * Each kind of place (a PEM file, Azure Key Vault) is one table of functions; a
 * new kind is one file and one line in provider.c.  The KEK itself never leaves
 * its place: a provider wraps and unwraps.
 *
 *		const CmkProvider *p = cmk_provider_for(url, &err);
 *
 *		if (p == NULL || p->check(url, &err) < 0 ||
 *			p->wrap(url, key, 32, &result, &err) < 0) …
 */
#ifndef CMK_PROVIDER_H
#define CMK_PROVIDER_H

#include <stdint.h>

#include "../seal/error.h"

#define CMK_KEY_URL_SIZE	1024	/* room for a key URL, as in root.json */
#define CMK_PUBLIC_KEY_SIZE	600		/* for a SubjectPublicKeyInfo in DER, the same */

#define CMK_ALG_RSA_OAEP_256	"RSA-OAEP-256"	/* RSAES-OAEP, SHA-256, MGF1 SHA-256 (RFC 8017) */

typedef struct CmkWrapResult
{
	char		key_version[256];	/* which key did it */
	char		alg[32];
	size_t		len;
	uint8_t		value[512];
	size_t		public_len;		/* 0: a vault does not say, see cmk_kek_inspect() */
	uint8_t		public_key[CMK_PUBLIC_KEY_SIZE];	/* SubjectPublicKeyInfo, DER */
} CmkWrapResult;

typedef struct CmkProvider
{
	const char *scheme;			/* "file", "https" */

	/* Can this URL be used at all?  Syntax only, nothing is contacted. */
	int			(*check) (const char *url, CmkError *err);

	/*
	 * Wraps len bytes (at most 64) under the key that url names.  0, or -1:
	 * CMK_ERR_NOT_FOUND, _PERMISSION, _KEY_UNUSABLE and others say what is
	 * wrong with the key.
	 */
	int			(*wrap) (const char *url, const uint8_t *in, size_t len,
						 CmkWrapResult *out, CmkError *err);

	/*
	 * Unwraps; out has room for outmax bytes, *outlen gets how many there are.
	 * CMK_ERR_WRONG_KEY if the key does not open it.  The caller wipes out; on
	 * failure it is wiped already.
	 */
	int			(*unwrap) (const char *url, const char *key_version,
						   const char *alg, const uint8_t *in, size_t len,
						   uint8_t *out, size_t outmax, size_t *outlen,
						   CmkError *err);
} CmkProvider;

/*
 * The provider for a key URL, by its scheme.  NULL with CMK_ERR_CONFIG if there
 * is none, or if the URL is empty, too long or has other than printable ASCII
 * characters in it; so that from here on a URL can stand in a message.
 */
extern const CmkProvider *cmk_provider_for(const char *url, CmkError *err);

/*
 * file_key.c: an RSA key in a PEM file, file:///path.  Its key_version is
 * "sha256:" and the SHA-256 of the public key (SubjectPublicKeyInfo in DER) in
 * base64url.  The file is read at every call and nothing of it is kept.
 */
extern const CmkProvider cmk_file_provider;

#endif							/* CMK_PROVIDER_H */
