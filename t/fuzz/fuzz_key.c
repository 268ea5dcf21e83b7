/*
 * fuzz_key.c
 *	  The answer to GET key.
 */
#include "../../src/vault/answers.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text = fuzz_text(data, size);
	CmkKeyUrl	asked;
	CmkKeyInfo	key;
	CmkKeyWarnings warn;
	CmkOutcome	out = {.http_status = 0};

	MUST(cmk_key_url_parse("https://x.vault.azure.net/keys/kek", &asked, NULL) == 0);
	if (cmk_parse_key(text, size, &asked, &key, &out) == 0)
	{
		MUST(strcmp(key.url.base, asked.base) == 0);
		MUST(key.url.version[0] != '\0');
		MUST(key.nbf >= 0 && key.exp >= 0 && key.created >= 0);
		FUZZ_PRINTABLE(key.kid);
		FUZZ_PRINTABLE(key.kty);
		FUZZ_PRINTABLE(key.recovery_level);
		if (cmk_key_check(&key, 1800000000, 0, &warn, &out) == 0)
		{
			MUST(key.enabled && key.can_wrap && key.can_unwrap);
			MUST(key.bits == 2048 || key.bits == 3072 || key.bits == 4096);
			MUST(key.exp == 0 || key.exp > 1800000000);
			MUST(key.public_len > 0 && key.public_len <= sizeof(key.public_key));
		}
	}
	else
		MUST(out.reason == CMK_REASON_MALFORMED);
	FUZZ_PRINTABLE(out.err.message);
	FUZZ_PRINTABLE(out.err.detail);
	free(text);
	return 0;
}
