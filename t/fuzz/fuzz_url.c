/*
 * fuzz_url.c
 *	  Key URLs and endpoints.  What we take, libcurl must understand in the same
 *	  way: the host that is checked is the host that is spoken to.
 */
#include <strings.h>

#include <curl/curl.h>

#include "../../src/vault/url.h"
#include "fuzz.h"

static void
curl_must_agree(const char *url, const char *host)
{
	CURLU	   *u = curl_url();
	char	   *theirs = NULL;
	char	   *user = NULL;

	MUST(curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK);
	MUST(curl_url_get(u, CURLUPART_HOST, &theirs, 0) == CURLUE_OK);
	MUST(strcasecmp(theirs, host) == 0);
	MUST(curl_url_get(u, CURLUPART_USER, &user, 0) != CURLUE_OK);
	curl_free(theirs);
	curl_url_cleanup(u);
}

/* The rule in another wording than the one under test. */
static int
ends_in_azure(const char *host)
{
	static const char *const ends[] = {
		".vault.azure.net", ".managedhsm.azure.net", ".vault.azure.cn",
		".managedhsm.azure.cn", ".vault.usgovcloudapi.net",
		".managedhsm.usgovcloudapi.net"
	};
	size_t		i;

	for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
	{
		if (strlen(host) > strlen(ends[i]) &&
			strcmp(host + strlen(host) - strlen(ends[i]), ends[i]) == 0)
			return 1;
	}
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text = fuzz_text(data, size);
	CmkKeyUrl	url;
	CmkKeyUrl	again;
	CmkEndpoint e;
	CmkError	err;
	char		rebuilt[700];

	if (cmk_key_url_parse(text, &url, &err) == 0)
	{
		curl_must_agree(text, url.host);
		curl_must_agree(url.base, url.host);
		MUST((cmk_key_url_trusted(&url, CMK_DEFAULT_DNS_SUFFIXES, &err) == 0) ==
			 ends_in_azure(url.host));
		snprintf(rebuilt, sizeof(rebuilt), "%s/keys/%s%s%s", url.base, url.name,
				 url.version[0] ? "/" : "", url.version);
		MUST(cmk_key_url_parse(rebuilt, &again, &err) == 0);
		MUST(memcmp(&url, &again, sizeof(url)) == 0);
	}
	else
		FUZZ_PRINTABLE(err.message);
	if (cmk_endpoint_parse(text, &e) == 0)
	{
		/* libcurl writes the one IPv6 address that we take as we do */
		curl_must_agree(text, e.host);
		(void) cmk_endpoint_is_local(&e);
	}
	free(text);
	return 0;
}
