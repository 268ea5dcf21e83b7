/*
 * public_key.h
 *	  The public half of a KEK: enough to give its owner a root key, without
 *	  asking anybody.
 *
 *		if (cmk_public_from_pem(pem, strlen(pem), der, sizeof(der), &derlen, &err) < 0 ||
 *			cmk_public_wrap(der, derlen, root, 32, &wrapped, &err) < 0) …
 *
 * It is kept as SubjectPublicKeyInfo in DER (RFC 5280, RFC 3279), which is at
 * most CMK_PUBLIC_KEY_SIZE bytes.  Only what a vault could hold too is taken: RSA
 * of 2048, 3072 or 4096 bits with an odd exponent from 65537 up to 64 bits, as
 * SP 800-56B wants it and OpenSSL can use it.
 *
 * All return 0, or -1 with *err filled: CMK_ERR_KEY_UNUSABLE says what is wrong
 * with the key; CMK_ERR_CRYPTO, _NO_MEMORY.  Nothing is left in OpenSSL's error
 * queue.
 */
#ifndef CMK_PUBLIC_KEY_H
#define CMK_PUBLIC_KEY_H

#include <stddef.h>
#include <stdint.h>

#include "provider.h"

#define CMK_RSA_EXPONENT_RULE \
	"It must be odd, at least 65537 and at most 64 bits long."

/*
 * From a PEM text of one block, "PUBLIC KEY" or "CERTIFICATE", with nothing but
 * white space around it.  The modulus is checked as far as it can be from outside
 * (SP 800-56B, partial validation: odd, no small factor, not prime, no power), as
 * PEM has no check sum.  A text with a private key in it is refused, and the
 * message says that such a key must not be given.
 */
extern int	cmk_public_from_pem(const char *pem, size_t len, uint8_t *der,
								size_t max, size_t *derlen, CmkError *err);

/* From modulus and exponent, big-endian, as a JWK has them (RFC 7518). */
extern int	cmk_public_from_ne(const uint8_t *n, size_t nlen,
							   const uint8_t *e, size_t elen, uint8_t *der,
							   size_t max, size_t *derlen, CmkError *err);

/*
 * RSA-OAEP-256 (RFC 8017, MGF1 with SHA-256, no label) of inlen bytes, at most
 * 64.  Fills alg, len, value and public_key of *out; key_version is "" for the
 * caller to fill.  *out is empty on failure.
 */
extern int	cmk_public_wrap(const uint8_t *der, size_t derlen,
							const uint8_t *in, size_t inlen,
							CmkWrapResult *out, CmkError *err);

#endif							/* CMK_PUBLIC_KEY_H */
