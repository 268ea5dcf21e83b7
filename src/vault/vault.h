/*
 * vault.h
 *	  Azure Key Vault and Managed HSM: keys, wrapped and unwrapped there.
 *
 * Plain C on libcurl and cJSON.  One CmkVault is one connection's worth of state
 * (curl handle, token cache, pinned identity) and belongs to one process: the
 * background worker, a standalone backend or the command-line tool.
 *
 *		CmkVaultConfig cfg = {...};
 *		CmkVault   *v = cmk_vault_new(&cfg, &err);
 *		CmkKeyInfo	key;
 *
 *		if (cmk_vault_get_key(v, url, &key, &out) < 0 ||
 *			cmk_key_check(&key, …, &out) < 0 ||
 *			cmk_vault_wrap(v, &key, value, 32, &wrapped, &out) < 0) …
 *
 * Whom it trusts: a host whose name ends, on a label boundary and after at least
 * one label, in one of dns_suffixes (an entry that begins with "=" is one whole
 * host name, and the only way to name an IPv4 address); over verified TLS (https
 * only, but for loopback when the test setting of identity endpoints says so, and
 * IMDS); after a challenge whose resource that host belongs to and whose tenant is the
 * configured one (if one is).  Neither token nor secret nor a value to wrap is sent before all of that
 * holds.  No redirect is followed.  Answers are bounded (64 kB), parsed strictly,
 * and must name the key that was asked for.
 *
 * Every call is bounded by cfg.timeout_ms per request and by deadline_ms in all,
 * retries included (429 and 5xx with backoff and Retry-After, at most 3 tries).
 * All return 0, or -1 with *out filled.
 */
#ifndef CMK_VAULT_H
#define CMK_VAULT_H

#include <stddef.h>
#include <stdint.h>

#include "outcome.h"
#include "provider.h"

#define CMK_DEFAULT_API_VERSION	"7.6"
#define CMK_DEFAULT_DNS_SUFFIXES \
	"vault.azure.net,managedhsm.azure.net," \
	"vault.azure.cn,managedhsm.azure.cn," \
	"vault.usgovcloudapi.net,managedhsm.usgovcloudapi.net"
#define CMK_DEFAULT_AUTHORITY	"https://login.microsoftonline.com"
#define CMK_VAULT_MAX_ANSWER	65536

/* All strings are the caller's and must stay valid; NULL and "" mean unset. */
typedef struct CmkVaultConfig
{
	const char *identity;		/* default, environment, clientsecret,
								 * clientcertificate, workloadidentity,
								 * managedidentity */
	const char *client_id;
	const char *tenant_id;
	const char *authority_host;
	const char *dns_suffixes;	/* comma-separated */
	const char *ca_file;		/* PEM, instead of the system's */
	const char *api_version;
	int			timeout_ms;		/* one request */
	int			deadline_ms;	/* one call of this API, retries included */

	/*
	 * Asked at least every 100 ms while a call waits; not 0 ends the call with
	 * CMK_REASON_TIMEOUT, so that a shutdown never waits for a hung vault.
	 * NULL: never.
	 */
	int			(*interrupted) (void);
} CmkVaultConfig;

typedef struct CmkVault CmkVault;

/* A parsed key URL: https://HOST[:PORT]/keys/NAME[/VERSION]. */
typedef struct CmkKeyUrl
{
	char		host[256];		/* without port */
	char		base[300];		/* https://HOST[:PORT] */
	char		name[128];		/* 1-127 of [0-9A-Za-z-] */
	char		version[64];	/* 32 hex digits in the service; "" for versionless */
} CmkKeyUrl;

typedef struct CmkKeyInfo
{
	char		kid[600];		/* with version, as the service says it */
	CmkKeyUrl	url;			/* kid, parsed */
	char		kty[16];		/* RSA, RSA-HSM, … */
	int			bits;			/* of n */
	bool		enabled;
	bool		can_wrap;		/* key_ops */
	bool		can_unwrap;
	int64_t		nbf;			/* Unix seconds; 0: none */
	int64_t		exp;			/* 0: none */
	int64_t		created;
	int64_t		server_time;	/* the answer's Date; 0: none */
	char		recovery_level[64];
	size_t		public_len;		/* 0: of a kind or size that is not supported */
	uint8_t		public_key[CMK_PUBLIC_KEY_SIZE];	/* SubjectPublicKeyInfo, DER */
} CmkKeyInfo;

/* One of a key's versions, as the list of them says it. */
typedef struct CmkKeyVersion
{
	char		kid[600];
	bool		enabled;
	int64_t		created;		/* Unix seconds; 0: not said */
	int64_t		nbf;			/* 0: none */
	int64_t		exp;			/* 0: none */
} CmkKeyVersion;

typedef struct CmkVaultWrap
{
	char		kid[600];
	char		version[64];
	size_t		len;
	uint8_t		value[512];
} CmkVaultWrap;

/* How many requests of which kind were sent, for tests and cmk.status. */
typedef struct CmkVaultCounts
{
	uint64_t	get;
	uint64_t	wrap;
	uint64_t	unwrap;
	uint64_t	token;
	uint64_t	list;
} CmkVaultCounts;

/*
 * Once per process image, before it forks: reads the AZURE_*, IDENTITY_* and
 * IMDS_* variables that credentials come from into memory and removes the secret
 * ones from the environment, overwriting them where they lay (so that
 * /proc/PID/environ does not show them).  0 or -1.
 */
extern int	cmk_vault_read_environment(CmkError *err);

/* For a process that will never speak to a vault: wipes what was read, here. */
extern void cmk_vault_forget_environment(void);

/*
 * Checks the configuration; contacts nobody.  NULL with CMK_ERR_CONFIG or
 * CMK_ERR_NO_MEMORY.  Timeouts of 0 mean 10 and 30 seconds.
 */
extern CmkVault *cmk_vault_new(const CmkVaultConfig *cfg, CmkError *err);
extern void cmk_vault_free(CmkVault *v);	/* wipes tokens */
extern void cmk_vault_counts(const CmkVault *v, CmkVaultCounts *counts);

/* Which identity the chain chose, like "workloadidentity"; "" before the first token. */
extern const char *cmk_vault_identity(const CmkVault *v);

/* Forget cached tokens, connection and (if pin) the choice of the chain. */
extern void cmk_vault_reset(CmkVault *v, bool pin);

/* Syntax, scheme, host rules.  CMK_ERR_CONFIG. */
extern int	cmk_key_url_parse(const char *url, CmkKeyUrl *out, CmkError *err);

/*
 * Writes a key URL in the one form in which it is compared and kept: in lower case
 * (the service takes no regard of it) and without a slash at the end.  In place; what
 * is no key URL of a vault is left as it is.
 */
extern void cmk_key_url_normalize(char *url);
extern int	cmk_key_url_trusted(const CmkKeyUrl *url, const char *dns_suffixes,
								CmkError *err);

/* GET key.  url may be versionless: then the newest version answers. */
extern int	cmk_vault_get_key(CmkVault *v, const char *url, CmkKeyInfo *key,
							  CmkOutcome *out);

/*
 * wrapkey and unwrapkey with RSA-OAEP-256 on the version that kid names (the
 * server's own kid, or one stored).  in: at most 64 bytes.  out of unwrap has
 * room for outmax; the caller wipes it.
 */
extern int	cmk_vault_wrap(CmkVault *v, const char *kid,
						   const uint8_t *in, size_t len,
						   CmkVaultWrap *wrapped, CmkOutcome *out);
extern int	cmk_vault_unwrap(CmkVault *v, const char *kid,
							 const uint8_t *in, size_t len,
							 uint8_t *plain, size_t outmax, size_t *outlen,
							 CmkOutcome *out);

/*
 * GET versions: the newest max of them into list, newest first as far as created
 * tells, and *n how many these are.  A version in url is passed over.  The list
 * comes in pages; the next one is asked for only where the first one was, else
 * the answer is malformed, as one with more than CMK_VAULT_MAX_PAGES is.
 */
#define CMK_VAULT_MAX_PAGES	100

extern int	cmk_vault_list_versions(CmkVault *v, const char *url,
									CmkKeyVersion *list, int max, int *n,
									CmkOutcome *out);

/* What a key must be.  See KEYVAULT facts in docs/keyvault.md. */
#define CMK_CHECK_PURGE_PROTECTION	0x01	/* refuse Purgeable, else warn */

typedef struct CmkKeyWarnings
{
	bool		expires_soon;	/* in less than 30 days */
	int64_t		expires_in;		/* seconds */
	bool		purgeable;
} CmkKeyWarnings;

/*
 * RSA or RSA-HSM, 2048, 3072 or 4096 bits, enabled, nbf past and exp ahead (by
 * now and, if known, by the answer's Date, whichever is kinder; if they are more
 * than 5 minutes apart, by Date alone, which is the clock that the service goes
 * by), wrapKey and unwrapKey allowed, recoverable with purge protection.
 * warnings may be NULL.
 */
extern int	cmk_key_check(const CmkKeyInfo *key, int64_t now, int flags,
						  CmkKeyWarnings *warnings, CmkOutcome *out);

#endif							/* CMK_VAULT_H */
