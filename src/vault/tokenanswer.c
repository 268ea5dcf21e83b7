/*
 * tokenanswer.c
 *	  The answer of a token source: Microsoft Entra, IMDS, App Service, Arc.
 *
 * All of them answer {"access_token":…,"expires_in":…,"expires_on":…}, with the
 * times as numbers or as texts, and App Service with expires_on only.  expires_in
 * is preferred: it does not depend on our clock.
 */
#include <string.h>
#include <strings.h>

#include "../seal/kdf.h"
#include "answers.h"
#include "json.h"

#define MAX_LIFETIME	(30 * 86400)

static int
malformed(CmkOutcome *out, const char *what)
{
	cmk_outcome(out, CMK_REASON_MALFORMED,
				"the answer of the token source is malformed");
	return cmk_fail_detail(&out->err, "%s.%s%s", what,
						   out->request_id[0] != '\0' ? " Request id: " : "",
						   out->request_id);
}

/* A token stands in a header, so only visible characters may be in it. */
static bool
token_is_sane(const char *s)
{
	size_t		i;

	for (i = 0; s[i] != '\0'; i++)
	{
		if (s[i] <= ' ' || s[i] >= 0x7f || i + 1 >= CMK_TOKEN_MAX)
			return false;
	}
	return i > 0;
}

static const char *
read_lifetime(const cJSON *doc, int64_t now, int64_t *lifetime)
{
	int64_t		on;
	int			rc = cmk_json_integer_or_text(doc, "expires_in", lifetime);

	if (rc == 0)
	{
		rc = cmk_json_integer_or_text(doc, "expires_on", &on);
		*lifetime = on - now;
	}
	if (rc <= 0 || *lifetime <= 0)
		return "It does not say how long the token is good";
	if (*lifetime > MAX_LIFETIME)
		*lifetime = MAX_LIFETIME;
	return NULL;
}

int
cmk_parse_token(const char *text, size_t len, int64_t now, char *token,
				int64_t *lifetime, CmkOutcome *out)
{
	cJSON	   *doc = cmk_json_parse(text, len);
	const char *type = cmk_json_string(doc, "token_type");
	const char *value = cmk_json_string(doc, "access_token");
	const char *problem = NULL;

	token[0] = '\0';
	*lifetime = 0;
	if (doc == NULL)
		problem = "It is not a JSON object";
	else if (type != NULL && strcasecmp(type, "Bearer") != 0)
		problem = "The token is not a bearer token";
	else if (value == NULL || !token_is_sane(value))
		problem = "It has no usable token";
	else
		problem = read_lifetime(doc, now, lifetime);
	if (problem == NULL)
		strcpy(token, value);
	cmk_json_free(doc);
	return problem == NULL ? 0 : malformed(out, problem);
}
