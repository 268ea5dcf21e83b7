/*
 * xts.h
 *	  AES-256-XTS with prepared cipher contexts.
 *
 * A CmkXts holds one EVP context for each direction, so that a page costs one
 * tweak set-up and one update and no allocation.  The contexts are made once
 * (in the postmaster, before it forks, for the pool of keycache.h) and given
 * keys later:
 *
 *		CmkXts	   *x = cmk_xts_new();
 *
 *		cmk_xts_set_key(x, dek);
 *		cmk_xts_encrypt(x, tweak, dst, src, 8176);
 *
 * The key schedule lies in OpenSSL's heap; cmk_xts_wipe() overwrites it.
 * AES-XTS: IEEE Std 1619-2018, NIST SP 800-38E.
 */
#ifndef CMK_XTS_H
#define CMK_XTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CMK_XTS_KEY_SIZE	64	/* two AES-256 keys, which must differ */
#define CMK_XTS_TWEAK_SIZE	16

typedef struct CmkXts CmkXts;

/* Both contexts allocated, no key yet.  NULL if out of memory. */
extern CmkXts *cmk_xts_new(void);

/* Wipes and frees; NULL is allowed. */
extern void cmk_xts_free(CmkXts *x);

/*
 * Sets the 64-byte key in both directions.  Returns 0, or -1 if OpenSSL refuses
 * it (equal halves).  Allocates nothing.
 */
extern int	cmk_xts_set_key(CmkXts *x, const uint8_t *key);

/* Overwrites the key schedules; the contexts can be given a key again. */
extern void cmk_xts_wipe(CmkXts *x);

/*
 * Encrypt or decrypt one data unit of len bytes (16 <= len <= 2^24) under a
 * 16-byte tweak.  dst == src is allowed.  Return 0, or -1 if no key is set or
 * OpenSSL fails.  No allocation; may be called in a critical section; not
 * async-signal-safe.
 */
extern int	cmk_xts_encrypt(CmkXts *x, const uint8_t *tweak,
							uint8_t *dst, const uint8_t *src, size_t len);
extern int	cmk_xts_decrypt(CmkXts *x, const uint8_t *tweak,
							uint8_t *dst, const uint8_t *src, size_t len);

#endif							/* CMK_XTS_H */
