/*
 * xts.c
 *	  AES-256-XTS on two EVP contexts.  See xts.h.
 *
 * EVP is slow where it looks things up and where it allocates, and both happen
 * when a cipher is fetched and when a context is first given one.  So the
 * cipher is fetched once per process, and cmk_xts_new() gives it to both
 * contexts without a key: that makes OpenSSL allocate all that it will ever
 * need for them.  Setting a key afterwards only runs the key schedule, and
 * setting an IV only copies 16 bytes.  test_xts.c counts the allocations.
 *
 * A context cannot be left without a schedule once it had one, short of freeing
 * it.  Wiping therefore overwrites both schedules with those of a key that is
 * no secret, and "keyed" remembers that nothing may be sealed with it.
 */
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "xts.h"

struct CmkXts
{
	EVP_CIPHER_CTX *enc;
	EVP_CIPHER_CTX *dec;
	bool		keyed;
};

#define CMK_XTS_MIN		16
#define CMK_XTS_MAX		(1 << 24)	/* 2^20 blocks, SP 800-38E */

/* Fetched by the first cmk_xts_new(), kept until the process ends. */
static EVP_CIPHER *xts_cipher = NULL;

/* Not a secret; its halves differ, as XTS requires. */
static const uint8_t dummy_key[CMK_XTS_KEY_SIZE] = {1};

CmkXts *
cmk_xts_new(void)
{
	CmkXts	   *x;

	if (xts_cipher == NULL)
		xts_cipher = EVP_CIPHER_fetch(NULL, "AES-256-XTS", NULL);
	x = OPENSSL_zalloc(sizeof(*x));
	if (xts_cipher == NULL || x == NULL)
		goto fail;

	x->enc = EVP_CIPHER_CTX_new();
	x->dec = EVP_CIPHER_CTX_new();
	if (x->enc == NULL || x->dec == NULL ||
		EVP_CipherInit_ex2(x->enc, xts_cipher, NULL, NULL, 1, NULL) != 1 ||
		EVP_CipherInit_ex2(x->dec, xts_cipher, NULL, NULL, 0, NULL) != 1)
		goto fail;
	return x;

fail:
	ERR_clear_error();
	cmk_xts_free(x);
	return NULL;
}

void
cmk_xts_free(CmkXts *x)
{
	if (x == NULL)
		return;
	/* OpenSSL clears the schedules when it frees the contexts */
	EVP_CIPHER_CTX_free(x->enc);
	EVP_CIPHER_CTX_free(x->dec);
	OPENSSL_free(x);
}

/* Runs both key schedules. */
static int
schedule(CmkXts *x, const uint8_t *key)
{
	if (EVP_CipherInit_ex2(x->enc, NULL, key, NULL, -1, NULL) != 1 ||
		EVP_CipherInit_ex2(x->dec, NULL, key, NULL, -1, NULL) != 1)
	{
		ERR_clear_error();
		return -1;
	}
	return 0;
}

int
cmk_xts_set_key(CmkXts *x, const uint8_t *key)
{
	const size_t half = CMK_XTS_KEY_SIZE / 2;

	/*
	 * Equal halves are refused here, not only by OpenSSL: it accepts them for
	 * decryption, and its error queue allocates.
	 */
	if (CRYPTO_memcmp(key, key + half, half) == 0 || schedule(x, key) < 0)
	{
		cmk_xts_wipe(x);
		return -1;
	}
	x->keyed = true;
	return 0;
}

void
cmk_xts_wipe(CmkXts *x)
{
	x->keyed = false;
	(void) schedule(x, dummy_key);
}

int
cmk_xts_encrypt(CmkXts *x, const uint8_t *tweak,
				uint8_t *dst, const uint8_t *src, size_t len)
{
	int			outlen;

	if (!x->keyed || len < CMK_XTS_MIN || len > CMK_XTS_MAX)
		return -1;
	if (EVP_CipherInit_ex2(x->enc, NULL, NULL, tweak, -1, NULL) != 1 ||
		EVP_EncryptUpdate(x->enc, dst, &outlen, src, (int) len) != 1 ||
		outlen != (int) len)
	{
		ERR_clear_error();
		return -1;
	}
	return 0;
}

int
cmk_xts_decrypt(CmkXts *x, const uint8_t *tweak,
				uint8_t *dst, const uint8_t *src, size_t len)
{
	int			outlen;

	if (!x->keyed || len < CMK_XTS_MIN || len > CMK_XTS_MAX)
		return -1;
	if (EVP_CipherInit_ex2(x->dec, NULL, NULL, tweak, -1, NULL) != 1 ||
		EVP_DecryptUpdate(x->dec, dst, &outlen, src, (int) len) != 1 ||
		outlen != (int) len)
	{
		ERR_clear_error();
		return -1;
	}
	return 0;
}
