/*
 * keywrap.c
 *	  AES Key Wrap on two EVP contexts.  See keywrap.h.
 *
 * Like xts.c: the cipher is fetched once per process and the contexts are made
 * once, because opening the keys file unwraps one key per record.  Each call
 * ends by overwriting the key schedule, so that no wrapping key stays behind.
 */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "keywrap.h"

struct CmkKeyWrap
{
	EVP_CIPHER_CTX *wrap;
	EVP_CIPHER_CTX *unwrap;
};

#define KW_MIN		16
#define KW_MAX		512

/* Fetched by the first cmk_keywrap_new(), kept until the process ends. */
static EVP_CIPHER *kw_cipher = NULL;

static const uint8_t dummy_kek[32] = {0};

CmkKeyWrap *
cmk_keywrap_new(void)
{
	CmkKeyWrap *kw;

	if (kw_cipher == NULL)
		kw_cipher = EVP_CIPHER_fetch(NULL, "AES-256-WRAP", NULL);
	kw = OPENSSL_zalloc(sizeof(*kw));
	if (kw_cipher == NULL || kw == NULL)
		goto fail;

	kw->wrap = EVP_CIPHER_CTX_new();
	kw->unwrap = EVP_CIPHER_CTX_new();
	if (kw->wrap == NULL || kw->unwrap == NULL)
		goto fail;
	EVP_CIPHER_CTX_set_flags(kw->wrap, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	EVP_CIPHER_CTX_set_flags(kw->unwrap, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	if (EVP_CipherInit_ex2(kw->wrap, kw_cipher, NULL, NULL, 1, NULL) != 1 ||
		EVP_CipherInit_ex2(kw->unwrap, kw_cipher, NULL, NULL, 0, NULL) != 1)
		goto fail;
	return kw;

fail:
	ERR_clear_error();
	cmk_keywrap_free(kw);
	return NULL;
}

void
cmk_keywrap_free(CmkKeyWrap *kw)
{
	if (kw == NULL)
		return;
	/* OpenSSL clears the schedules when it frees the contexts */
	EVP_CIPHER_CTX_free(kw->wrap);
	EVP_CIPHER_CTX_free(kw->unwrap);
	OPENSSL_free(kw);
}

int
cmk_keywrap_wrap(CmkKeyWrap *kw, const uint8_t *kek,
				 const uint8_t *in, size_t len, uint8_t *out)
{
	int			outlen;
	int			result = 0;

	if (len < KW_MIN || len > KW_MAX || len % 8 != 0)
		return -1;

	if (EVP_CipherInit_ex2(kw->wrap, NULL, kek, NULL, -1, NULL) != 1 ||
		EVP_EncryptUpdate(kw->wrap, out, &outlen, in, (int) len) != 1 ||
		outlen != (int) len + CMK_KW_OVERHEAD)
	{
		/* part of the key may stand there as it was */
		OPENSSL_cleanse(out, len + CMK_KW_OVERHEAD);
		result = -1;
	}
	(void) EVP_CipherInit_ex2(kw->wrap, NULL, dummy_kek, NULL, -1, NULL);
	ERR_clear_error();
	return result;
}

int
cmk_keywrap_unwrap(CmkKeyWrap *kw, const uint8_t *kek,
				   const uint8_t *in, size_t len, uint8_t *out)
{
	int			outlen;
	int			result = 0;

	if (len < KW_MIN + CMK_KW_OVERHEAD || len > KW_MAX + CMK_KW_OVERHEAD ||
		len % 8 != 0)
		return -1;

	if (EVP_CipherInit_ex2(kw->unwrap, NULL, kek, NULL, -1, NULL) != 1 ||
		EVP_DecryptUpdate(kw->unwrap, out, &outlen, in, (int) len) != 1 ||
		outlen != (int) len - CMK_KW_OVERHEAD)
	{
		OPENSSL_cleanse(out, len - CMK_KW_OVERHEAD);
		result = -1;
	}
	(void) EVP_CipherInit_ex2(kw->unwrap, NULL, dummy_kek, NULL, -1, NULL);
	ERR_clear_error();
	return result;
}
