/*
 * fuzz_token.c
 *	  The answer of a token source.
 */
#include "../../src/vault/answers.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char token[CMK_TOKEN_MAX];
	char	   *text = fuzz_text(data, size);
	CmkOutcome	out = {.http_status = 0};
	int64_t		life;

	if (cmk_parse_token(text, size, 1800000000, token, &life, &out) == 0)
	{
		MUST(token[0] != '\0' && strpbrk(token, " \r\n") == NULL);
		FUZZ_PRINTABLE(token);
		MUST(life > 0 && life <= 30 * 86400);
	}
	else
		MUST(token[0] == '\0' && out.reason == CMK_REASON_MALFORMED);
	FUZZ_PRINTABLE(out.err.detail);
	free(text);
	return 0;
}
