/*
 * fuzz_challenge.c
 *	  Header lines of an answer, and the challenge in them.
 */
#include "../../src/vault/answers.h"
#include "fuzz.h"

#define HOST	"x.vault.azure.net"

static void
feed(CmkHttpAnswer *ans, const char *text, size_t size)
{
	while (size > 0)
	{
		const char *end = memchr(text, '\n', size);
		size_t		len = end != NULL ? (size_t) (end - text) + 1 : size;

		cmk_http_header(ans, text, len);
		text += len;
		size -= len;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text = fuzz_text(data, size);
	CmkHttpAnswer ans;
	CmkOutcome	out;
	CmkChallenge c;
	char		value[64];

	memset(&ans, 0, sizeof(ans));
	memset(&out, 0, sizeof(out));
	feed(&ans, text, size);
	MUST(memchr(ans.challenge, '\0', sizeof(ans.challenge)) != NULL);
	MUST(ans.date >= 0);
	FUZZ_PRINTABLE(ans.request_id);
	FUZZ_PRINTABLE(ans.retry_after);
	MUST(cmk_http_retry_after(ans.retry_after, ans.date, 1800000000) >= 0);
	if (cmk_challenge_param(ans.challenge, "Basic", "realm", value, sizeof(value)) == 0)
		MUST(memchr(value, '\0', sizeof(value)) != NULL);
	if (cmk_challenge_parse(ans.challenge, &c, &out) == 0)
	{
		MUST(cmk_is_guid(c.tenant));
		MUST(strncmp(c.resource, "https://", 8) == 0);
		MUST(strcmp(c.resource + 8, c.resource_host) == 0);
		if (cmk_challenge_check(&c, HOST, CMK_DEFAULT_DNS_SUFFIXES, NULL, &out) == 0)
			MUST(strcmp(c.resource, "https://vault.azure.net") == 0);
	}
	else
		MUST(out.reason == CMK_REASON_CHALLENGE);
	FUZZ_PRINTABLE(out.err.detail);
	free(text);
	return 0;
}
