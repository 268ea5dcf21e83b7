/*
 * evp_xts.h
 *	  AES-256-XTS straight from EVP, sharing nothing with src/seal: what that does is
 *	  held against it.
 */
#ifndef CMK_EVP_XTS_H
#define CMK_EVP_XTS_H

#include <stdint.h>
#include <stdlib.h>

#include <openssl/evp.h>

/* Encrypts len bytes of in, one data unit, under the key of 64 bytes. */
static void
xts_by_evp(const uint8_t *key, const uint8_t *tweak, uint8_t *out, const uint8_t *in, int len)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int			n = 0;

	if (EVP_EncryptInit_ex(ctx, EVP_aes_256_xts(), NULL, key, tweak) != 1 ||
		EVP_EncryptUpdate(ctx, out, &n, in, len) != 1 || n != len)
		abort();
	EVP_CIPHER_CTX_free(ctx);
}

#endif							/* CMK_EVP_XTS_H */
