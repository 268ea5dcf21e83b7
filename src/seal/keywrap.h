/*
 * keywrap.h
 *	  AES Key Wrap (RFC 3394, NIST SP 800-38F KW) with a 256-bit key.
 *
 * The wrapped form is 8 bytes longer than the key and authenticates it: unwrap
 * fails if a bit of it, or of the wrapping key, is wrong.
 */
#ifndef CMK_KEYWRAP_H
#define CMK_KEYWRAP_H

#include <stddef.h>
#include <stdint.h>

#define CMK_KW_OVERHEAD		8

typedef struct CmkKeyWrap CmkKeyWrap;	/* prepared contexts, for many keys */

/* NULL: out of memory, or OpenSSL has no such cipher. */
extern CmkKeyWrap *cmk_keywrap_new(void);
extern void cmk_keywrap_free(CmkKeyWrap *kw);	/* wipes; NULL is allowed */

/*
 * Wrap len bytes (a multiple of 8, 16 to 512) under the 32-byte kek into out,
 * which has room for len + 8.  0, or -1 if OpenSSL fails.
 */
extern int	cmk_keywrap_wrap(CmkKeyWrap *kw, const uint8_t *kek,
							 const uint8_t *in, size_t len, uint8_t *out);

/*
 * Unwrap len bytes (those of the wrapped form) into out, which has room for
 * len - 8.  0; -1 if the wrap does not authenticate: out is then wiped and the
 * OpenSSL error queue emptied.
 */
extern int	cmk_keywrap_unwrap(CmkKeyWrap *kw, const uint8_t *kek,
							   const uint8_t *in, size_t len, uint8_t *out);

#endif							/* CMK_KEYWRAP_H */
