/*
 * token.c
 *	  Who the server is: choosing an identity, and keeping its token.
 *
 * The names and their order are those of Azure's SDKs.  The chain of "default"
 * takes the first kind whose configuration is there, whether or not it works,
 * and stays with it: falling through to another identity when one is refused
 * would go round the very revocation that it should notice.
 *
 * A token is good for an hour or a day, also after its identity was deleted.  So
 * none is kept for more than five minutes: that shows a deleted application or
 * an expired secret within the time in which the database has to close.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "../seal/kdf.h"
#include "environment.h"
#include "vault_impl.h"

#define MAX_AGE_MS		(5 * 60 * 1000)
#define MARGIN_S		60		/* not used in the last minute of its life */

static const struct
{
	const char *name;
	CmkIdentity identity;
}			identities[] = {
	{"default", CMK_IDENTITY_DEFAULT},
	{"environment", CMK_IDENTITY_ENVIRONMENT},
	{"clientsecret", CMK_IDENTITY_SECRET},
	{"clientcertificate", CMK_IDENTITY_CERTIFICATE},
	{"workloadidentity", CMK_IDENTITY_WORKLOAD},
	{"managedidentity", CMK_IDENTITY_MANAGED},
};

#define N_IDENTITIES	(sizeof(identities) / sizeof(identities[0]))

CmkIdentity
cmk_identity_by_name(const char *name)
{
	size_t		i;

	for (i = 0; i < N_IDENTITIES; i++)
	{
		if (strcasecmp(name, identities[i].name) == 0)
			return identities[i].identity;
	}
	return CMK_IDENTITY_NONE;
}

const char *
cmk_identity_name(CmkIdentity identity)
{
	size_t		i;

	for (i = 0; i < N_IDENTITIES; i++)
	{
		if (identities[i].identity == identity)
			return identities[i].name;
	}
	return "";
}

const char *
cmk_token_client_id(const CmkVault *v)
{
	return v->cfg.client_id != NULL ? v->cfg.client_id :
		cmk_env(CMK_ENV_CLIENT_ID);
}

/* Is what this kind needs configured? */
static bool
is_configured(const CmkVault *v, CmkIdentity identity)
{
	bool		app = cmk_token_client_id(v) != NULL;

	switch (identity)
	{
		case CMK_IDENTITY_SECRET:
			return app && (cmk_env(CMK_ENV_CLIENT_SECRET) != NULL ||
						   cmk_env(CMK_ENV_CLIENT_SECRET_FILE) != NULL);
		case CMK_IDENTITY_CERTIFICATE:
			return app && cmk_env(CMK_ENV_CERTIFICATE_PATH) != NULL;
		case CMK_IDENTITY_WORKLOAD:
			return app && cmk_env(CMK_ENV_FEDERATED_TOKEN_FILE) != NULL;
		default:
			return identity == CMK_IDENTITY_MANAGED;
	}
}

/* The first of a chain that is configured, or the one kind that was asked for. */
static CmkIdentity
choose(const CmkVault *v)
{
	CmkIdentity first = CMK_IDENTITY_SECRET;
	CmkIdentity last = CMK_IDENTITY_MANAGED;
	CmkIdentity i;

	if (v->identity == CMK_IDENTITY_ENVIRONMENT)
		last = CMK_IDENTITY_CERTIFICATE;
	else if (v->identity != CMK_IDENTITY_DEFAULT)
		first = last = v->identity;
	for (i = first; i <= last; i++)
	{
		if (is_configured(v, i))
			return i;
	}
	return CMK_IDENTITY_NONE;
}

static int
nothing_configured(const CmkVault *v, CmkOutcome *out)
{
	const char *need = "";

	switch (v->identity)
	{
		case CMK_IDENTITY_SECRET:
			need = "AZURE_CLIENT_SECRET or AZURE_CLIENT_SECRET_FILE";
			break;
		case CMK_IDENTITY_CERTIFICATE:
			need = "AZURE_CLIENT_CERTIFICATE_PATH";
			break;
		case CMK_IDENTITY_WORKLOAD:
			need = "AZURE_FEDERATED_TOKEN_FILE";
			break;
		default:
			need = "AZURE_CLIENT_SECRET, AZURE_CLIENT_SECRET_FILE or AZURE_CLIENT_CERTIFICATE_PATH";
	}
	cmk_outcome(out, CMK_REASON_CONFIG, "identity \"%s\" is not configured",
				cmk_identity_name(v->identity));
	return cmk_fail_detail(&out->err,
						   "It needs a client id (pg_cmk.client_id or AZURE_CLIENT_ID) and the environment variable %s when the server starts.",
						   need);
}

void
cmk_token_forget(CmkVault *v)
{
	cmk_cleanse(&v->token, sizeof(v->token));
}

static bool
is_fresh(const CmkVault *v)
{
	const CmkToken *t = &v->token;

	return t->value[0] != '\0' && cmk_http_clock() < t->good_until &&
		strcasecmp(t->challenge.tenant, v->challenge.tenant) == 0 &&
		strcmp(t->challenge.resource, v->challenge.resource) == 0;
}

int
cmk_token_take(CmkVault *v, const CmkHttpAnswer *ans, bool entra,
			   CmkOutcome *out)
{
	int64_t		lifetime;
	int64_t		ms;
	char		what[128];

	if (ans->status != 200)
	{
		snprintf(what, sizeof(what),
				 "could not get a token for the key vault as \"%s\"",
				 cmk_identity_name(v->pinned));
		return cmk_classify_token(ans, entra, what, out);
	}
	if (cmk_parse_token(ans->body, ans->len, time(NULL), v->token.value,
						&lifetime, out) < 0)
		return -1;

	/* a token of a few seconds is still worth using once */
	lifetime -= lifetime > 2 * MARGIN_S ? MARGIN_S : lifetime / 2;
	ms = lifetime * 1000 < MAX_AGE_MS ? lifetime * 1000 : MAX_AGE_MS;
	v->token.good_until = cmk_http_clock() + ms;
	v->token.challenge = v->challenge;
	return 0;
}

int
cmk_token_get(CmkVault *v, int64_t deadline, CmkOutcome *out)
{
	int			rc;

	if (is_fresh(v))
		return 0;
	cmk_token_forget(v);

	/* what the vault answered last has nothing to do with what comes now */
	out->http_status = 0;
	out->request_id[0] = '\0';
	if (v->pinned == CMK_IDENTITY_NONE)
		v->pinned = choose(v);
	if (v->pinned == CMK_IDENTITY_NONE)
		return nothing_configured(v, out);
	if (v->pinned == CMK_IDENTITY_MANAGED)
		rc = cmk_managed_token(v, deadline, out);
	else
		rc = cmk_entra_token(v, deadline, out);
	cmk_http_wipe(v->http);
	if (rc < 0)
		cmk_token_forget(v);
	return rc;
}
