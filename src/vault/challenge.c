/*
 * challenge.c
 *	  The 401 with which a vault says for whom and for what it wants a token.
 *
 *	WWW-Authenticate: Bearer authorization="https://AUTHORITY/TENANT",
 *		resource="https://vault.azure.net"
 *
 * A challenge is a claim of whoever answered.  The tenant is taken from it, and
 * has to be the configured one if one is configured.  The authority is not: the
 * secret goes where the configuration says.  The resource decides for whom the
 * token is good, so it has to be a domain that the host is in, as Azure's SDKs
 * check it; a vault.azure.net token sent to a stranger would open every vault.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "answers.h"

/* ---- reading the header (RFC 9110 section 11.2) ---- */

static const char *
skip_spaces(const char *p)
{
	while (*p == ' ' || *p == '\t' || *p == ',')
		p++;
	return p;
}

/*
 * Reads a value, quoted or not, up to size - 1 bytes, into out.  Returns what
 * follows it, or NULL if it is too long or its quote is not closed on the line.
 */
static const char *
read_value(const char *p, char *out, size_t size)
{
	bool		quoted = *p == '"';
	size_t		n = 0;

	if (quoted)
		p++;
	while (*p != '\0' && *p != '\n' &&
		   (quoted ? *p != '"' : strchr(" \t,", *p) == NULL))
	{
		if (quoted && *p == '\\' && p[1] != '\0' && p[1] != '\n')
			p++;
		if (n + 1 >= size)
			return NULL;
		out[n++] = *p++;
	}
	out[n] = '\0';
	if (quoted && *p != '"')
		return NULL;
	return quoted ? p + 1 : p;
}

/* One line: 1 if it is of that scheme and has the parameter once. */
static int
param_of_line(const char *p, const char *scheme, const char *name,
			  char *value, size_t size)
{
	size_t		len = strlen(scheme);
	char		other[1024];
	int			found = 0;

	if (strncasecmp(p, scheme, len) != 0 || (p[len] != ' ' && p[len] != '\t'))
		return 0;
	for (p = skip_spaces(p + len); *p != '\0' && *p != '\n'; p = skip_spaces(p))
	{
		size_t		nlen = strcspn(p, "= \t,\n");
		bool		wanted = nlen == strlen(name) &&
			strncasecmp(p, name, nlen) == 0;

		if (nlen == 0)
			return -1;
		p += nlen;
		while (*p == ' ' || *p == '\t')
			p++;
		if (*p != '=')
			continue;
		p++;
		while (*p == ' ' || *p == '\t')
			p++;
		p = read_value(p, wanted ? value : other, wanted ? size : sizeof(other));
		if (p == NULL || (wanted && found))
			return -1;
		found |= wanted;
	}
	return found;
}

int
cmk_challenge_param(const char *lines, const char *scheme, const char *name,
					char *value, size_t size)
{
	while (lines != NULL && *lines != '\0')
	{
		int			rc = param_of_line(lines, scheme, name, value, size);

		if (rc != 0)
			return rc > 0 ? 0 : -1;
		lines = strchr(lines, '\n');
		if (lines != NULL)
			lines++;
	}
	return -1;
}

/* ---- what it says ---- */

static int
refuse(CmkOutcome *out, const char *why)
{
	cmk_outcome(out, CMK_REASON_CHALLENGE,
				"the key vault's request for a token cannot be answered");
	return cmk_fail_detail(&out->err, "%s.%s%s", why,
						   out->request_id[0] != '\0' ? " Request id: " : "",
						   out->request_id);
}

/* The first part of the path of https://AUTHORITY/TENANT…, which is a GUID. */
static int
read_tenant(const char *authorization, CmkChallenge *c)
{
	CmkEndpoint e;
	size_t		len;

	if (cmk_endpoint_parse(authorization, &e) < 0 || !e.tls || e.path[0] != '/')
		return -1;
	len = strcspn(e.path + 1, "/");
	if (len >= sizeof(c->tenant))
		return -1;
	memcpy(c->tenant, e.path + 1, len);
	c->tenant[len] = '\0';
	return cmk_is_guid(c->tenant) ? 0 : -1;
}

/* https://HOST[/] of a resource, or https://HOST/.default of a scope. */
static int
read_resource(const char *resource, CmkChallenge *c)
{
	CmkEndpoint e;

	if (cmk_endpoint_parse(resource, &e) < 0 || !e.tls || e.host[0] == '[')
		return -1;
	if (strcmp(e.path, "") != 0 && strcmp(e.path, "/") != 0 &&
		strcmp(e.path, "/.default") != 0 && strcmp(e.path, "//.default") != 0)
		return -1;

	/* a port would be part of another audience */
	if (strlen(e.base) != strlen("https://") + strlen(e.host))
		return -1;
	snprintf(c->resource, sizeof(c->resource), "%s", e.base);
	strcpy(c->resource_host, e.host);
	return 0;
}

int
cmk_challenge_parse(const char *lines, CmkChallenge *c, CmkOutcome *out)
{
	char		value[1024];

	memset(c, 0, sizeof(*c));
	if (cmk_challenge_param(lines, "Bearer", "authorization",
							value, sizeof(value)) < 0 &&
		cmk_challenge_param(lines, "Bearer", "authorization_uri",
							value, sizeof(value)) < 0)
		return refuse(out, "The answer 401 has no Bearer challenge that names an authority");
	if (read_tenant(value, c) < 0)
		return refuse(out, "Its challenge names no tenant in the form https://AUTHORITY/TENANT");
	if (cmk_challenge_param(lines, "Bearer", "resource",
							value, sizeof(value)) < 0 &&
		cmk_challenge_param(lines, "Bearer", "scope",
							value, sizeof(value)) < 0)
		return refuse(out, "Its challenge names neither resource nor scope");
	if (read_resource(value, c) < 0)
		return refuse(out, "Its challenge names a resource in another form than https://DOMAIN");
	return 0;
}

/*
 * Is the resource one of ours?  A host that is trusted by its whole name ("=")
 * need not have its domain in the list: then its parent domain will do, or, for
 * a vault on a host of its own, the host itself.
 */
static bool
resource_is_ours(const CmkChallenge *c, const char *vault_host,
				 const char *dns_suffixes)
{
	bool		below = cmk_host_below(vault_host, c->resource_host);

	if (cmk_host_trust(vault_host, dns_suffixes) == CMK_TRUST_EXACT)
		return strcasecmp(vault_host, c->resource_host) == 0 ||
			(below && strchr(c->resource_host, '.') != NULL);
	return below && cmk_domain_covered(c->resource_host, dns_suffixes);
}

int
cmk_challenge_check(const CmkChallenge *c, const char *vault_host,
					const char *dns_suffixes, const char *tenant,
					CmkOutcome *out)
{
	char		why[400];

	if (!resource_is_ours(c, vault_host, dns_suffixes))
	{
		snprintf(why, sizeof(why),
				 "It asks for a token for \"%.150s\", a domain that host \"%.150s\" is not in",
				 c->resource, vault_host);
		return refuse(out, why);
	}
	if (tenant != NULL && tenant[0] != '\0' && strcasecmp(tenant, c->tenant) != 0)
	{
		snprintf(why, sizeof(why),
				 "It belongs to tenant %s, the server to tenant %.60s",
				 c->tenant, tenant);
		return refuse(out, why);
	}
	return 0;
}
