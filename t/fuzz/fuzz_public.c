/*
 * fuzz_public.c
 *	  The PEM text of a public key, which somebody hands over; and the DER of one
 *	  that is kept.
 */
#include <openssl/err.h>

#include "../../src/vault/public_key.h"
#include "fuzz.h"

static const uint8_t value[32] = {1, 2, 3};

/* What is taken can be used, and is the one DER that the key has. */
static void
must_wrap(const uint8_t *der, size_t derlen)
{
	CmkWrapResult w;
	CmkError	err;

	MUST(derlen > 0 && derlen <= CMK_PUBLIC_KEY_SIZE);
	MUST(cmk_public_wrap(der, derlen, value, sizeof(value), &w, &err) == 0);
	MUST(w.len == 256 || w.len == 384 || w.len == 512);
	MUST(w.public_len == derlen && memcmp(w.public_key, der, derlen) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text = fuzz_text(data, size);
	uint8_t	   *der = malloc(CMK_PUBLIC_KEY_SIZE);
	size_t		derlen;
	CmkWrapResult w;
	CmkError	err;

	memset(&err, 0, sizeof(err));
	if (cmk_public_from_pem(text, size, der, CMK_PUBLIC_KEY_SIZE, &derlen, &err) == 0)
	{
		MUST(memmem(text, size, "PRIVATE KEY", 11) == NULL);
		must_wrap(der, derlen);
	}
	else
	{
		MUST(err.code == CMK_ERR_KEY_UNUSABLE || err.code == CMK_ERR_CRYPTO);
		MUST(derlen == 0);
	}
	FUZZ_PRINTABLE(err.message);
	FUZZ_PRINTABLE(err.detail);

	/* the same bytes as DER, without base64 in the fuzzer's way */
	memset(&err, 0, sizeof(err));
	if (cmk_public_wrap((const uint8_t *) text, size, value, sizeof(value), &w, &err) == 0)
		must_wrap(w.public_key, w.public_len);
	else
		MUST(w.len == 0 && w.public_len == 0 && err.code != 0);
	MUST(ERR_peek_error() == 0);
	free(der);
	free(text);
	return 0;
}
