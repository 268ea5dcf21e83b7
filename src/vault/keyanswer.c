/*
 * keyanswer.c
 *	  Keys, lists of versions and values as Key Vault answers them.
 *
 * An answer is believed only in what it must say: which key it is about has to
 * be the key that was asked for, since a proxy or a mistaken vault may answer
 * for another; and what decides about access (enabled, nbf, exp, key_ops) has to
 * be there in its proper type, since a missing "enabled" taken for true would
 * open what was closed.
 */
#include <string.h>
#include <strings.h>

#include "../seal/base64url.h"
#include "../seal/kdf.h"
#include "answers.h"
#include "json.h"
#include "public_key.h"
#include "rsa.h"

#define MAX_MODULUS		1024	/* bytes; larger than any that is accepted */
#define MAX_EXPONENT	8

static int
malformed(CmkOutcome *out, const CmkKeyUrl *asked, const char *what)
{
	cmk_outcome(out, CMK_REASON_MALFORMED,
				"the answer of \"%s\" about key \"%s\" is malformed",
				asked->base, asked->name);
	return cmk_fail_detail(&out->err, "%s.%s%s", what,
						   out->request_id[0] != '\0' ? " Request id: " : "",
						   out->request_id);
}

/* A string that fits and is printable, or -1. */
static int
copy_string(const char *s, char *out, size_t size)
{
	size_t		i;

	if (s == NULL || strlen(s) >= size)
		return -1;
	for (i = 0; s[i] != '\0'; i++)
	{
		if (s[i] <= ' ' || s[i] >= 0x7f)
			return -1;
	}
	strcpy(out, s);
	return 0;
}

/* The key id: the key that was asked for, with a version. */
static int
check_kid(const char *kid, const CmkKeyUrl *asked, CmkKeyUrl *url,
		  char out_kid[600])
{
	if (copy_string(kid, out_kid, 600) < 0 ||
		cmk_key_url_parse(out_kid, url, NULL) < 0 ||
		url->version[0] == '\0' || !cmk_key_url_same(url, asked))
		return -1;
	return 0;
}

/* Bits of a big-endian number. */
static int
count_bits(const uint8_t *p, size_t len)
{
	int			bits;

	while (len > 0 && *p == 0)
		p++, len--;
	if (len == 0)
		return 0;
	bits = (int) (len - 1) * 8;
	bits += 32 - __builtin_clz(*p);
	return bits;
}

/*
 * n and e of an RSA key.  What is no RSA key at all is malformed; one of a size
 * or exponent that is not supported gets no public_key, and keycheck says so.
 */
static int
read_rsa(const cJSON *key, CmkKeyInfo *info)
{
	const char *n = cmk_json_string(key, "n");
	const char *e = cmk_json_string(key, "e");
	uint8_t		modulus[MAX_MODULUS];
	uint8_t		exponent[MAX_EXPONENT];
	ssize_t		nlen;
	ssize_t		elen;
	CmkError	err;

	if (n == NULL || e == NULL)
		return -1;
	nlen = cmk_base64url_decode(n, strlen(n), modulus, sizeof(modulus));
	elen = cmk_base64url_decode(e, strlen(e), exponent, sizeof(exponent));
	if (nlen <= 0 || elen <= 0)
		return -1;
	info->bits = count_bits(modulus, nlen);

	/* both odd, e at least 3: else it is no RSA key */
	if (info->bits == 0 || (modulus[nlen - 1] & 1) == 0 ||
		(exponent[elen - 1] & 1) == 0 || count_bits(exponent, elen) < 2)
		return -1;
	if (cmk_rsa_bits_ok(info->bits) &&
		cmk_public_from_ne(modulus, nlen, exponent, elen, info->public_key,
						   sizeof(info->public_key), &info->public_len, &err) < 0 &&
		err.code != CMK_ERR_KEY_UNUSABLE)
		return -1;
	return 0;
}

/* key_ops: strings, of which two matter. */
static int
read_ops(const cJSON *ops, CmkKeyInfo *key)
{
	const cJSON *op;

	if (!cJSON_IsArray(ops))
		return -1;
	cJSON_ArrayForEach(op, ops)
	{
		if (!cJSON_IsString(op))
			return -1;
		if (strcmp(op->valuestring, "wrapKey") == 0)
			key->can_wrap = true;
		if (strcmp(op->valuestring, "unwrapKey") == 0)
			key->can_unwrap = true;
	}
	return 0;
}

static const char *
read_attributes(const cJSON *attributes, CmkKeyInfo *key)
{
	const cJSON *enabled = cmk_json_get(attributes, "enabled");
	const cJSON *level = cmk_json_get(attributes, "recoveryLevel");

	if (!cJSON_IsBool(enabled))
		return "It does not say whether the key is enabled";
	key->enabled = cJSON_IsTrue(enabled);
	if (cmk_json_integer(attributes, "nbf", &key->nbf) < 0 ||
		cmk_json_integer(attributes, "exp", &key->exp) < 0 ||
		cmk_json_integer(attributes, "created", &key->created) < 0)
		return "A time in it is not a number of seconds";
	if (level != NULL && !cJSON_IsNull(level) &&
		(!cJSON_IsString(level) ||
		 copy_string(level->valuestring, key->recovery_level,
					 sizeof(key->recovery_level)) < 0))
		return "Its recovery level is not a short text";
	return NULL;
}

static const char *
read_key(const cJSON *doc, const CmkKeyUrl *asked, CmkKeyInfo *info)
{
	const cJSON *key = cmk_json_object(doc, "key");
	const cJSON *attributes = cmk_json_object(doc, "attributes");

	if (key == NULL || attributes == NULL)
		return "It is not a JSON object with a key and its attributes";
	if (check_kid(cmk_json_string(key, "kid"), asked, &info->url, info->kid) < 0)
		return "It is about another key, or names none";
	if (copy_string(cmk_json_string(key, "kty"), info->kty, sizeof(info->kty)) < 0)
		return "It does not say what type the key is of";
	if (read_ops(cmk_json_get(key, "key_ops"), info) < 0)
		return "It does not say what the key may be used for";
	if ((strcmp(info->kty, "RSA") == 0 || strcmp(info->kty, "RSA-HSM") == 0) &&
		read_rsa(key, info) < 0)
		return "The numbers of the RSA key are not what they should be";
	return read_attributes(attributes, info);
}

int
cmk_parse_key(const char *text, size_t len, const CmkKeyUrl *asked,
			  CmkKeyInfo *key, CmkOutcome *out)
{
	cJSON	   *doc = cmk_json_parse(text, len);
	const char *problem;

	memset(key, 0, sizeof(*key));
	problem = doc != NULL ? read_key(doc, asked, key) : "It is not a JSON object";
	cmk_json_free(doc);
	if (problem == NULL)
		return 0;
	memset(key, 0, sizeof(*key));
	return malformed(out, asked, problem);
}

int
cmk_parse_value(const char *text, size_t len, const CmkKeyUrl *asked,
				char kid[600], uint8_t *value, size_t vmax, size_t *vlen,
				CmkOutcome *out)
{
	cJSON	   *doc = cmk_json_parse(text, len);
	const char *encoded = cmk_json_string(doc, "value");
	const char *problem = NULL;
	CmkKeyUrl	url;
	ssize_t		n = -1;

	*vlen = 0;
	kid[0] = '\0';
	if (doc == NULL)
		problem = "It is not a JSON object";
	else if (check_kid(cmk_json_string(doc, "kid"), asked, &url, kid) < 0)
		problem = "It is about another key, or names none";
	else if (encoded != NULL)
		n = cmk_base64url_decode(encoded, strlen(encoded), value, vmax);
	if (problem == NULL && n <= 0)
		problem = "It has no value in base64url of the right length";
	cmk_json_free(doc);
	if (problem == NULL)
	{
		*vlen = n;
		return 0;
	}
	cmk_cleanse(value, vmax);
	kid[0] = '\0';
	return malformed(out, asked, problem);
}

/* ---- lists of versions ---- */

/* Into its place, behind those that are as new; the oldest falls out at max. */
static void
insert_version(CmkVersionList *versions, const CmkKeyVersion *version)
{
	int			i = versions->n < versions->max ? versions->n++ : versions->n;

	for (; i > 0 && versions->list[i - 1].created < version->created; i--)
	{
		if (i < versions->n)
			versions->list[i] = versions->list[i - 1];
	}
	if (i < versions->n)
		versions->list[i] = *version;
}

static const char *
read_versions(const cJSON *array, const CmkKeyUrl *asked, CmkVersionList *versions)
{
	const cJSON *item;

	if (!cJSON_IsArray(array))
		return "It has no list of versions";
	cJSON_ArrayForEach(item, array)
	{
		CmkKeyVersion version;
		CmkKeyInfo	info;
		const char *problem;

		memset(&version, 0, sizeof(version));
		if (check_kid(cmk_json_string(item, "kid"), asked, &info.url,
					  version.kid) < 0)
			return "It is about another key, or a version has no name";
		problem = read_attributes(cmk_json_object(item, "attributes"), &info);
		if (problem != NULL)
			return problem;
		version.enabled = info.enabled;
		version.created = info.created;
		version.nbf = info.nbf;
		version.exp = info.exp;
		insert_version(versions, &version);
	}
	return NULL;
}

/*
 * A token goes where the next page is, so it must be where the first one was.
 * The query is the service's affair.
 */
static const char *
read_next(const cJSON *link, const CmkKeyUrl *asked, char next[CMK_NEXT_LINK_SIZE])
{
	char		place[CMK_NEXT_LINK_SIZE];
	CmkEndpoint e;

	if (link == NULL || cJSON_IsNull(link))
		return NULL;
	if (!cJSON_IsString(link) ||
		copy_string(link->valuestring, next, CMK_NEXT_LINK_SIZE) < 0 ||
		strchr(next, '#') != NULL)
		return "Its link to the next page is not a URL";
	strcpy(place, next);
	place[strcspn(place, "?")] = '\0';
	if (cmk_endpoint_parse(place, &e) < 0 || !e.tls ||
		strcmp(e.base, asked->base) != 0 ||
		strncmp(e.path, "/keys/", 6) != 0 || strstr(e.path, "/.") != NULL)
		return "Its link to the next page leads elsewhere";
	return NULL;
}

int
cmk_parse_versions(const char *text, size_t len, const CmkKeyUrl *asked,
				   CmkVersionList *versions, char next[CMK_NEXT_LINK_SIZE],
				   CmkOutcome *out)
{
	cJSON	   *doc = cmk_json_parse(text, len);
	const char *problem;

	next[0] = '\0';
	problem = doc == NULL ? "It is not a JSON object" :
		read_versions(cmk_json_get(doc, "value"), asked, versions);
	if (problem == NULL)
		problem = read_next(cmk_json_get(doc, "nextLink"), asked, next);
	cmk_json_free(doc);
	if (problem == NULL)
		return 0;
	next[0] = '\0';
	return malformed(out, asked, problem);
}
