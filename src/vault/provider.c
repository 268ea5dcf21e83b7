/*
 * provider.c
 *	  The table of key providers.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "provider.h"

static const CmkProvider *const providers[] = {
	&cmk_file_provider,
};

#define N_PROVIDERS	((int) (sizeof(providers) / sizeof(providers[0])))

static const char *const url_hint =
"Use a URL like file:///path/kek.pem.";

static const CmkProvider *
refuse_scheme(const char *url, CmkError *err)
{
	cmk_fail(err, CMK_ERR_CONFIG, "key URL \"%.256s\" is not supported", url);
	cmk_fail_detail(err, "This version of pg_cmk can use a key in a PEM file.");
	cmk_fail_hint(err, "%s", url_hint);
	return NULL;
}

/* The characters of a URL: printable ASCII, no space. */
static int
has_strange_character(const char *url)
{
	const unsigned char *p;

	for (p = (const unsigned char *) url; *p != '\0'; p++)
	{
		if (*p <= 0x20 || *p >= 0x7f)
			return 1;
	}
	return 0;
}

const CmkProvider *
cmk_provider_for(const char *url, CmkError *err)
{
	const char *colon;
	int			i;

	errno = 0;
	if (url[0] == '\0')
	{
		cmk_fail(err, CMK_ERR_CONFIG, "key URL is empty");
		cmk_fail_hint(err, "%s", url_hint);
		return NULL;
	}
	if (strlen(url) >= CMK_KEY_URL_SIZE)
	{
		cmk_fail(err, CMK_ERR_CONFIG, "key URL is too long");
		cmk_fail_detail(err, "It has %zu characters; at most %d are allowed.",
						strlen(url), CMK_KEY_URL_SIZE - 1);
		return NULL;
	}
	if (has_strange_character(url))
	{
		cmk_fail(err, CMK_ERR_CONFIG,
				 "key URL has a character that a URL cannot have");
		cmk_fail_hint(err,
					  "Write spaces, control characters and all that is not ASCII as %%XX.");
		return NULL;
	}

	colon = strchr(url, ':');
	for (i = 0; colon != NULL && i < N_PROVIDERS; i++)
	{
		size_t		len = strlen(providers[i]->scheme);

		if ((size_t) (colon - url) == len &&
			strncasecmp(url, providers[i]->scheme, len) == 0)
			return providers[i];
	}
	return refuse_scheme(url, err);
}
