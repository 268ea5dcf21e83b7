/*
 * fuzz_value.c
 *	  The answer to wrapkey and unwrapkey.
 */
#include "../../src/vault/answers.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text = fuzz_text(data, size);
	CmkKeyUrl	asked;
	CmkOutcome	out = {.http_status = 0};
	char		kid[600];
	uint8_t		value[32];
	const uint8_t zero[32] = {0};
	size_t		len;

	MUST(cmk_key_url_parse("https://x.vault.azure.net/keys/kek/0a", &asked, NULL) == 0);
	memset(value, 'x', sizeof(value));
	if (cmk_parse_value(text, size, &asked, kid, value, sizeof(value), &len, &out) == 0)
	{
		MUST(len >= 1 && len <= sizeof(value));
		FUZZ_PRINTABLE(kid);
	}
	else
	{
		MUST(len == 0 && memcmp(value, zero, sizeof(value)) == 0);
		MUST(out.reason == CMK_REASON_MALFORMED);
	}
	FUZZ_PRINTABLE(out.err.message);
	FUZZ_PRINTABLE(out.err.detail);
	free(text);
	return 0;
}
