/*
 * rsa.h
 *	  What private keys of files and public keys have in common.  Implemented in
 *	  public_key.c.
 */
#ifndef CMK_RSA_H
#define CMK_RSA_H

#include <stdbool.h>

#include <openssl/evp.h>

#include "provider.h"

/* Is it a size that Key Vault has: 2048, 3072 or 4096? */
extern bool cmk_rsa_bits_ok(int bits);

/* Is its public exponent odd, at least 65537 and at most 64 bits long? */
extern bool cmk_rsa_exponent_ok(EVP_PKEY *key);

/* OAEP with SHA-256 and MGF1 with SHA-256, no label (RFC 8017).  0 or -1. */
extern int	cmk_rsa_set_oaep(EVP_PKEY_CTX *ctx);

/*
 * The public half as SubjectPublicKeyInfo in DER.  0; -1 if there is no room or
 * no memory.
 */
extern int	cmk_rsa_encode(EVP_PKEY *key, uint8_t *der, size_t max,
						   size_t *derlen);

/*
 * Empties *out, and wraps under the key's public half: alg, len, value and
 * public_key.  0, or -1 with the reason in OpenSSL's error queue and *out empty.
 */
extern int	cmk_rsa_wrap(EVP_PKEY *key, const uint8_t *in, size_t len,
						 CmkWrapResult *out);

#endif							/* CMK_RSA_H */
