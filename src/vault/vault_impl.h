/*
 * vault_impl.h
 *	  What the files of the vault client share and nobody else needs.
 *
 * keyvault.c speaks to the vault and asks token.c for a token; token.c chooses
 * the identity and asks entra.c or managed.c; all send through request.c.
 */
#ifndef CMK_VAULT_IMPL_H
#define CMK_VAULT_IMPL_H

#include "answers.h"

typedef enum CmkIdentity
{
	CMK_IDENTITY_NONE,			/* nothing chosen yet */
	CMK_IDENTITY_DEFAULT,		/* chain: all of the following */
	CMK_IDENTITY_ENVIRONMENT,	/* chain: secret, certificate */
	CMK_IDENTITY_SECRET,
	CMK_IDENTITY_CERTIFICATE,
	CMK_IDENTITY_WORKLOAD,
	CMK_IDENTITY_MANAGED
} CmkIdentity;

typedef struct CmkToken
{
	char		value[CMK_TOKEN_MAX];	/* "": none */
	CmkChallenge challenge;		/* for which it was got */
	int64_t		good_until;		/* cmk_http_clock() */
} CmkToken;

struct CmkVault
{
	CmkVaultConfig cfg;			/* with defaults filled in */
	CmkEndpoint authority;
	CmkIdentity identity;		/* as configured */
	CmkIdentity pinned;			/* as chosen */
	CmkHttp    *http;
	CmkVaultCounts counts;
	char		challenge_base[300];	/* whose challenge is known; "": none */
	CmkChallenge challenge;
	CmkToken	token;
	char		auth[CMK_TOKEN_MAX + 64];	/* header, only while it is sent */
};

/* ---- request.c ---- */

/*
 * Sends, and again after a while if the answer was 408, 429, 500, 502, 503 or
 * 504 (from a local token source also 404 and 410, as IMDS answers while it is
 * updated), at most 3 times (5 to a local one), as long as the deadline allows
 * and honouring Retry-After.  Counts each time.  0 and the last answer of any
 * status, or -1 if there was none.
 */
extern int	cmk_request_send(CmkVault *v, CmkHttpRequest *req, uint64_t *count,
							 CmkHttpAnswer *ans, CmkOutcome *out);

/* *out from an error of the configuration.  Always -1. */
extern int	cmk_outcome_config(CmkOutcome *out, const CmkError *err);

/* ---- token.c ---- */

extern CmkIdentity cmk_identity_by_name(const char *name);
extern const char *cmk_identity_name(CmkIdentity identity);

/* Fills v->token for v->challenge, from the cache if it is fresh enough. */
extern int	cmk_token_get(CmkVault *v, int64_t deadline, CmkOutcome *out);
extern void cmk_token_forget(CmkVault *v);

/*
 * The answer of a token source into v->token, or why not.  entra as for
 * cmk_classify_token().
 */
extern int	cmk_token_take(CmkVault *v, const CmkHttpAnswer *ans, bool entra,
						   CmkOutcome *out);

/* The application to be, from the setting or AZURE_CLIENT_ID; or NULL. */
extern const char *cmk_token_client_id(const CmkVault *v);

/* ---- entra.c, managed.c: one kind of source each, filling v->token ---- */

extern int	cmk_entra_token(CmkVault *v, int64_t deadline, CmkOutcome *out);
extern int	cmk_managed_token(CmkVault *v, int64_t deadline, CmkOutcome *out);

/* ---- managed.c ---- */

/*
 * The file that an Arc agent's challenge names: directly in dir, ending in .key.
 */
extern bool cmk_arc_path_allowed(const char *path, const char *dir);

#endif							/* CMK_VAULT_IMPL_H */
