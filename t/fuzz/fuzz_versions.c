/*
 * fuzz_versions.c
 *	  One page of a key's versions, and where it says that the next one is.
 */
#include <curl/curl.h>

#include "../../src/vault/answers.h"
#include "fuzz.h"

#define ROOM	4

/* What libcurl, which sends the token, would make of that part of the link. */
static void
must_lead_to(const char *link, CURLUPart part, const char *want)
{
	CURLU	   *url = curl_url();
	char	   *have = NULL;

	MUST(url != NULL);
	MUST(curl_url_set(url, CURLUPART_URL, link, 0) == CURLUE_OK);
	MUST(curl_url_get(url, part, &have, CURLU_DEFAULT_PORT) == CURLUE_OK);
	MUST(strcasecmp(have, want) == 0);
	curl_free(have);
	curl_url_cleanup(url);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text = fuzz_text(data, size);
	CmkKeyVersion *list = malloc(ROOM * sizeof(CmkKeyVersion));
	CmkVersionList versions = {.list = list, .max = ROOM};
	char		next[CMK_NEXT_LINK_SIZE];
	CmkKeyUrl	asked;
	CmkOutcome	out = {.http_status = 0};
	int			i;

	MUST(cmk_key_url_parse("https://x.vault.azure.net/keys/kek", &asked, NULL) == 0);
	if (cmk_parse_versions(text, size, &asked, &versions, next, &out) == 0)
	{
		MUST(versions.n >= 0 && versions.n <= ROOM);
		for (i = 0; i < versions.n; i++)
		{
			FUZZ_PRINTABLE(list[i].kid);
			MUST(strncasecmp(list[i].kid, "https://x.vault.azure.net", 25) == 0);
			MUST(list[i].nbf >= 0 && list[i].exp >= 0 && list[i].created >= 0);
			MUST(i == 0 || list[i].created <= list[i - 1].created);
		}
		FUZZ_PRINTABLE(next);
		if (next[0] != '\0')
		{
			must_lead_to(next, CURLUPART_SCHEME, "https");
			must_lead_to(next, CURLUPART_HOST, "x.vault.azure.net");
			must_lead_to(next, CURLUPART_PORT, "443");
		}
	}
	else
	{
		MUST(out.reason == CMK_REASON_MALFORMED);
		MUST(next[0] == '\0');
	}
	FUZZ_PRINTABLE(out.err.message);
	FUZZ_PRINTABLE(out.err.detail);
	free(list);
	free(text);
	return 0;
}
