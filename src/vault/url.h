/*
 * url.h
 *	  Names of hosts and URLs, as far as vault/ needs them; see vault.h for the
 *	  key URL.
 *
 *		CmkEndpoint e;
 *
 *		if (cmk_endpoint_parse("https://login.microsoftonline.com/", &e) < 0)
 *			…
 *		cmk_host_below("x.vault.azure.net", "vault.azure.net")	is true
 */
#ifndef CMK_URL_H
#define CMK_URL_H

#include <stdbool.h>

#include "vault.h"

/* http://HOST[:PORT][/PATH] or https://…, without user, query and fragment. */
typedef struct CmkEndpoint
{
	bool		tls;
	char		host[256];		/* lower case, "[…]" for IPv6 */
	char		base[300];		/* SCHEME://HOST[:PORT], default port left out */
	char		path[512];		/* from the first slash on, or "" */
} CmkEndpoint;

/* 0, or -1 if it is not of that form. */
extern int	cmk_endpoint_parse(const char *url, CmkEndpoint *out);

/*
 * May a plain http request go there?  Only to this machine: loopback, or the
 * link-local addresses 169.254/16 at which Azure's hosts give out tokens.
 */
extern bool cmk_endpoint_is_local(const CmkEndpoint *e);

/* Is host domain with at least one label before it?  Without regard to case. */
extern bool cmk_host_below(const char *host, const char *domain);

/* How dns_suffixes covers a host. */
typedef enum CmkTrust
{
	CMK_TRUST_NONE,
	CMK_TRUST_SUFFIX,			/* below one */
	CMK_TRUST_EXACT				/* named whole, with "=" */
} CmkTrust;

extern CmkTrust cmk_host_trust(const char *host, const char *dns_suffixes);

/* Is domain one of the suffixes, or below one? */
extern bool cmk_domain_covered(const char *domain, const char *dns_suffixes);

/* Do both name the same key?  An empty version of want stands for any. */
extern bool cmk_key_url_same(const CmkKeyUrl *have, const CmkKeyUrl *want);

/* 8-4-4-4-12 hexadecimal digits? */
extern bool cmk_is_guid(const char *s);

#endif							/* CMK_URL_H */
