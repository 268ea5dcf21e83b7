/*
 * kdf.h
 *	  Key derivation, message authentication and random bytes.
 *
 * Deriving a key for one purpose, and forgetting it:
 *
 *		uint8_t		key[32];
 *
 *		if (cmk_kdf(root, CMK_ROOT_KEY_SIZE, "pg_cmk dek", id, sizeof(id),
 *					key, sizeof(key)) < 0) …
 *		cmk_cleanse(key, sizeof(key));
 *
 * cmk_kdf() and cmk_hmac() share one context of the process: one thread at a
 * time, and not in a signal handler.
 */
#ifndef CMK_KDF_H
#define CMK_KDF_H

#include <stddef.h>
#include <stdint.h>

#define CMK_ROOT_KEY_SIZE	32
#define CMK_HMAC_SIZE		32

/*
 * KDF in counter mode with HMAC-SHA-256, NIST SP 800-108r1 section 4.1: the
 * block is [i]32 || label || 0x00 || context || [L]32, big-endian, i from 1, L
 * the length of the output in bits.  outlen is 1 to 255 * 32 bytes.  0; -1 if
 * outlen is not, or if OpenSSL fails, and then out is wiped.
 */
extern int	cmk_kdf(const uint8_t *key, size_t keylen, const char *label,
					const uint8_t *context, size_t contextlen,
					uint8_t *out, size_t outlen);

/*
 * The same with the fixed input data, what follows the counter, as one opaque
 * string: NIST's test vectors are given so.
 */
extern int	cmk_kdf_fixed(const uint8_t *key, size_t keylen,
						  const uint8_t *fixed, size_t fixedlen,
						  uint8_t *out, size_t outlen);

/* HMAC-SHA-256 (FIPS 198-1) of data, 32 bytes.  0 or -1. */
extern int	cmk_hmac(const uint8_t *key, size_t keylen,
					 const void *data, size_t len, uint8_t mac[CMK_HMAC_SIZE]);

/* 1 if equal, 0 if not, in a time that does not depend on the content. */
extern int	cmk_equal(const void *a, const void *b, size_t len);

/* Random bytes for keys (RAND_priv_bytes).  0 or -1. */
extern int	cmk_random_key(void *buf, size_t len);

/* Random bytes that may be seen (ids, salts).  0 or -1. */
extern int	cmk_random_public(void *buf, size_t len);

/*
 * Overwrites buf with zeros, also if it is not used afterwards.
 * Async-signal-safe.
 */
extern void cmk_cleanse(void *buf, size_t len);

#endif							/* CMK_KDF_H */
