/*
 * url.c
 *	  Which URL is a key, and which host may be told a secret.
 *
 * libcurl has a URL parser, and so have browsers, proxies and Azure; where two
 * of them differ, one checks a host and another is spoken to.  So a URL is taken
 * only if it is written in the one plain way in which all of them agree: letters,
 * digits, hyphens and dots in the host, no user, no escapes, no backslash, no
 * trailing dot.  What is sent is put together again from the parts that were
 * checked.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "pem.h"
#include "url.h"

/* ---- hosts ---- */

static bool
is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
		(c >= 'A' && c <= 'Z');
}

/* A DNS name or an IPv4 address: labels of letters, digits and inner hyphens. */
static bool
host_is_plain(const char *host)
{
	size_t		len = strlen(host);
	size_t		label = 0;
	size_t		i;

	if (len == 0 || len > 253)
		return false;
	for (i = 0; i <= len; i++)
	{
		if (host[i] == '.' || host[i] == '\0')
		{
			if (label == 0 || label > 63 || host[i - 1] == '-')
				return false;
			label = 0;
		}
		else if (is_alnum(host[i]) || (host[i] == '-' && label > 0))
			label++;
		else
			return false;
	}
	return true;
}

/* "[::1]", the one IPv6 address that is of use: for endpoints on this machine. */
static bool
host_is_ipv6_loopback(const char *host)
{
	return strcmp(host, "[::1]") == 0;
}

/* No top-level domain is a number, so a last label of digits is an address. */
static bool
host_is_numeric(const char *host)
{
	const char *last = strrchr(host, '.');

	last = last != NULL ? last + 1 : host;
	if (strncasecmp(last, "0x", 2) == 0)
		return true;
	return strspn(last, "0123456789") == strlen(last);
}

/*
 * Four numbers in decimal.  "127.1", "0177.0.0.1" and "0x7f000001" are the same
 * address to some readers, libcurl among them, and something else to others.
 */
static bool
host_is_ipv4(const char *host)
{
	int			i;

	for (i = 0; i < 4; i++)
	{
		size_t		n = strspn(host, "0123456789");

		if (n == 0 || n > 3 || (n > 1 && host[0] == '0') || atoi(host) > 255 ||
			host[n] != (i < 3 ? '.' : '\0'))
			return false;
		host += n + 1;
	}
	return true;
}

bool
cmk_host_below(const char *host, const char *domain)
{
	size_t		lh = strlen(host);
	size_t		ld = strlen(domain);

	return ld > 0 && lh > ld + 1 && host[lh - ld - 1] == '.' &&
		strcasecmp(host + lh - ld, domain) == 0;
}

/*
 * The next entry of a comma-separated list, trimmed, into entry (256 bytes);
 * false at the end.  One that is too long becomes "", which matches nothing.
 */
static bool
next_entry(const char **list, char *entry)
{
	const char *p = *list;
	size_t		len;

	if (p == NULL || *p == '\0')
		return false;
	len = strcspn(p, ",");
	*list = p[len] == ',' ? p + len + 1 : p + len;
	while (len > 0 && isspace((unsigned char) *p))
		p++, len--;
	while (len > 0 && isspace((unsigned char) p[len - 1]))
		len--;
	if (len > 255)
		len = 0;
	memcpy(entry, p, len);
	entry[len] = '\0';
	return true;
}

CmkTrust
cmk_host_trust(const char *host, const char *dns_suffixes)
{
	char		entry[256];
	CmkTrust	trust = CMK_TRUST_NONE;

	while (next_entry(&dns_suffixes, entry))
	{
		if (entry[0] == '=' && strcasecmp(host, entry + 1) == 0)
			return CMK_TRUST_EXACT;
		if (entry[0] != '=' && !host_is_numeric(host) &&
			cmk_host_below(host, entry))
			trust = CMK_TRUST_SUFFIX;
	}
	return trust;
}

bool
cmk_domain_covered(const char *domain, const char *dns_suffixes)
{
	char		entry[256];

	while (next_entry(&dns_suffixes, entry))
	{
		if (entry[0] != '=' && (strcasecmp(domain, entry) == 0 ||
								cmk_host_below(domain, entry)))
			return true;
	}
	return false;
}

/* ---- scheme, host and port ---- */

/* The port after the colon: 1 to 65535 without leading zeros, or 0. */
static int
parse_port(const char *s, size_t len)
{
	char		digits[6];

	if (len == 0 || len > 5 || s[0] == '0' ||
		strspn(s, "0123456789") < len)
		return 0;
	memcpy(digits, s, len);
	digits[len] = '\0';
	return atoi(digits) <= 65535 ? atoi(digits) : 0;
}

/* Fills host and base from what is between scheme and path. */
static int
parse_authority(const char *s, size_t len, CmkEndpoint *out)
{
	const char *colon;
	size_t		hostlen = len;
	int			port = out->tls ? 443 : 80;
	size_t		i;

	colon = memchr(s, ']', len);
	colon = memchr(colon != NULL ? colon : s, ':',
				   len - (colon != NULL ? (size_t) (colon - s) : 0));
	if (colon != NULL)
	{
		hostlen = colon - s;
		port = parse_port(colon + 1, len - hostlen - 1);
	}
	if (port == 0 || hostlen >= sizeof(out->host))
		return -1;
	for (i = 0; i < hostlen; i++)
		out->host[i] = s[i] >= 'A' && s[i] <= 'Z' ? s[i] + 32 : s[i];
	out->host[hostlen] = '\0';
	if (!host_is_plain(out->host) && !host_is_ipv6_loopback(out->host))
		return -1;
	if (host_is_numeric(out->host) && !host_is_ipv4(out->host))
		return -1;
	if (port == (out->tls ? 443 : 80))
		snprintf(out->base, sizeof(out->base), "%s://%s",
				 out->tls ? "https" : "http", out->host);
	else
		snprintf(out->base, sizeof(out->base), "%s://%s:%d",
				 out->tls ? "https" : "http", out->host, port);
	return 0;
}

int
cmk_endpoint_parse(const char *url, CmkEndpoint *out)
{
	const char *p;
	size_t		len;

	memset(out, 0, sizeof(*out));
	if (strncasecmp(url, "https://", 8) == 0)
	{
		out->tls = true;
		p = url + 8;
	}
	else if (strncasecmp(url, "http://", 7) == 0)
		p = url + 7;
	else
		return -1;
	len = strcspn(p, "/");
	if (parse_authority(p, len, out) < 0)
		return -1;
	p += len;
	if (strlen(p) >= sizeof(out->path))
		return -1;
	for (len = 0; p[len] != '\0'; len++)
	{
		if (!is_alnum(p[len]) && strchr("/-._~", p[len]) == NULL)
			return -1;
	}
	strcpy(out->path, p);
	return 0;
}

bool
cmk_endpoint_is_local(const CmkEndpoint *e)
{
	if (strcmp(e->host, "localhost") == 0 ||
		cmk_host_below(e->host, "localhost") || host_is_ipv6_loopback(e->host))
		return true;
	return host_is_ipv4(e->host) && (strncmp(e->host, "127.", 4) == 0 ||
									 strncmp(e->host, "169.254.", 8) == 0);
}

/* ---- key URLs ---- */

static int
bad_url(CmkError *err, const char *url, const char *why)
{
	errno = 0;
	cmk_fail(err, CMK_ERR_CONFIG, "key URL " CMK_PATH_FMT " cannot be used", url);
	cmk_fail_detail(err, "%s", why);
	return cmk_fail_hint(err,
						 "Use a URL like https://VAULT.vault.azure.net/keys/NAME or https://VAULT.vault.azure.net/keys/NAME/VERSION.");
}

/*
 * Copies one part of the path, up to the slash, if it has only the characters
 * allowed.  Returns what follows it, or NULL.
 */
static const char *
take_part(const char *p, char *out, size_t size, const char *extra)
{
	size_t		len = strcspn(p, "/");
	size_t		i;

	if (len == 0 || len >= size)
		return NULL;
	for (i = 0; i < len; i++)
	{
		if (!is_alnum(p[i]) && (extra[0] == '\0' || p[i] != extra[0]))
			return NULL;
		out[i] = p[i];
	}
	out[len] = '\0';
	return p + len;
}

int
cmk_key_url_parse(const char *url, CmkKeyUrl *out, CmkError *err)
{
	CmkEndpoint e;
	const char *p;

	memset(out, 0, sizeof(*out));
	for (p = url; *p != '\0'; p++)
	{
		if (*p <= ' ' || *p >= 0x7f)
			return bad_url(err, "(not shown)",
						   "It has a space, a control character or a character that is not ASCII in it.");
	}
	if (strncasecmp(url, "https://", 8) != 0)
		return bad_url(err, url, "It does not begin with https://.");
	if (strpbrk(url, "@?#%\\") != NULL)
		return bad_url(err, url,
					   "It must have no user name, query, fragment, escape or backslash.");
	if (cmk_endpoint_parse(url, &e) < 0 || e.host[0] == '[')
		return bad_url(err, url,
					   "Host and port must be a name of letters, digits, hyphens and dots and a number from 1 to 65535.");
	if (strncasecmp(e.path, "/keys/", 6) != 0)
		return bad_url(err, url, "The path must begin with /keys/.");
	p = take_part(e.path + 6, out->name, sizeof(out->name), "-");
	if (p == NULL)
		return bad_url(err, url,
					   "The name of a key has 1 to 127 letters, digits and hyphens.");
	if (p[0] == '/' && p[1] != '\0')
	{
		p = take_part(p + 1, out->version, sizeof(out->version), "");
		if (p == NULL)
			return bad_url(err, url,
						   "The version of a key has 1 to 63 letters and digits.");
	}
	if (strcmp(p, "") != 0 && strcmp(p, "/") != 0)
		return bad_url(err, url, "There is something after the version.");
	strcpy(out->host, e.host);
	strcpy(out->base, e.base);
	return 0;
}

void
cmk_key_url_normalize(char *url)
{
	CmkKeyUrl	u;
	CmkError	err;
	char		plain[sizeof(u.base) + sizeof(u.name) + sizeof(u.version) + 16];
	char	   *p;

	if (strncmp(url, "file:", 5) == 0 || cmk_key_url_parse(url, &u, &err) < 0)
		return;
	snprintf(plain, sizeof(plain), "%s/keys/%s%s%s", u.base, u.name,
			 u.version[0] ? "/" : "", u.version);
	for (p = plain; *p != '\0'; p++)
		*p = (char) tolower((unsigned char) *p);
	if (strlen(plain) <= strlen(url))
		strcpy(url, plain);
}

int
cmk_key_url_trusted(const CmkKeyUrl *url, const char *dns_suffixes,
					CmkError *err)
{
	if (cmk_host_trust(url->host, dns_suffixes) != CMK_TRUST_NONE)
		return 0;
	errno = 0;
	cmk_fail(err, CMK_ERR_CONFIG,
			 "host \"%s\" is not one that keys may be sent to", url->host);
	cmk_fail_detail(err,
					"Its name does not end in one of pg_cmk.vault_dns_suffixes: \"%.256s\".",
					dns_suffixes != NULL ? dns_suffixes : "");
	return cmk_fail_hint(err,
						 "Check the key URL. If the vault is in a cloud of another name, the setting must be changed and the server restarted.");
}

bool
cmk_key_url_same(const CmkKeyUrl *have, const CmkKeyUrl *want)
{
	return strcasecmp(have->base, want->base) == 0 &&
		strcasecmp(have->name, want->name) == 0 &&
		(want->version[0] == '\0' ||
		 strcasecmp(have->version, want->version) == 0);
}

bool
cmk_is_guid(const char *s)
{
	int			i;

	for (i = 0; i < 36; i++)
	{
		if (i == 8 || i == 13 || i == 18 || i == 23)
		{
			if (s[i] != '-')
				return false;
		}
		else if (!isxdigit((unsigned char) s[i]))
			return false;
	}
	return s[36] == '\0';
}
