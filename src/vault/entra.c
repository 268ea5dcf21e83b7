/*
 * entra.c
 *	  Tokens from Microsoft Entra: client secret, client certificate, workload
 *	  identity.
 *
 * All three post the client credentials grant to
 * {authority}/{tenant}/oauth2/v2.0/token ("OAuth 2.0 client credentials flow on
 * the Microsoft identity platform"); they differ in what proves the application.
 * The authority is the configured one; only the tenant may come from the vault's
 * challenge.  Files are read anew each time, so that a renewed secret needs no
 * restart.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../seal/kdf.h"
#include "assertion.h"
#include "environment.h"
#include "secretfile.h"
#include "vault_impl.h"

#define MAX_PROOF		16384
#define FORM_SIZE		(3 * MAX_PROOF + 2048)
#define ASSERTION_TYPE	"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

/* What proves the application. */
typedef struct Proof
{
	bool		assertion;		/* else a secret */
	char		value[MAX_PROOF];
} Proof;

/* Appends "&name=value", escaped; -1 if it does not fit. */
static int
form_add(char *form, const char *name, const char *value)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t		n = strlen(form);
	const unsigned char *p;

	n += snprintf(form + n, FORM_SIZE - n, "%s%s=", n > 0 ? "&" : "", name);
	for (p = (const unsigned char *) value; *p != '\0'; p++)
	{
		if (n + 4 > FORM_SIZE)
			return -1;
		if ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') ||
			(*p >= 'A' && *p <= 'Z') || strchr("-._~", *p) != NULL)
			form[n++] = *p;
		else
		{
			form[n++] = '%';
			form[n++] = hex[*p >> 4];
			form[n++] = hex[*p & 15];
		}
	}
	form[n] = '\0';
	return 0;
}

/* A secret or token out of a file, without white space around it. */
static int
read_proof(const char *path, const char *what, int flags, Proof *proof,
		   CmkError *err)
{
	ssize_t		len = cmk_secretfile_read(path, what, flags, proof->value,
										  sizeof(proof->value), err);
	size_t		skip;

	if (len < 0)
		return -1;
	while (len > 0 && strchr(" \t\r\n", proof->value[len - 1]) != NULL)
		proof->value[--len] = '\0';
	skip = strspn(proof->value, " \t\r\n");
	memmove(proof->value, proof->value + skip, len - skip + 1);
	if (proof->value[0] == '\0')
		return cmk_fail(err, CMK_ERR_KEY_UNUSABLE, "%s \"%.256s\" is empty",
						what, path);
	return 0;
}

static int
prove_by_secret(Proof *proof, CmkError *err)
{
	const char *secret = cmk_env(CMK_ENV_CLIENT_SECRET);

	proof->assertion = false;
	if (secret == NULL)
		return read_proof(cmk_env(CMK_ENV_CLIENT_SECRET_FILE),
						  "client secret file", CMK_SECRETFILE_OWN, proof, err);
	strcpy(proof->value, secret);
	return 0;
}

static int
prove_by_certificate(const char *client_id, const char *url, Proof *proof,
					 CmkError *err)
{
	char	   *jwt;
	int			rc = 0;

	jwt = cmk_assertion_make(cmk_env(CMK_ENV_CERTIFICATE_PATH),
							 cmk_env(CMK_ENV_CERTIFICATE_PASSWORD),
							 client_id, url, time(NULL), err);
	if (jwt == NULL)
		return -1;
	if (strlen(jwt) < sizeof(proof->value))
		strcpy(proof->value, jwt);
	else
		rc = cmk_fail(err, CMK_ERR_LIMIT, "client assertion is too long");
	cmk_cleanse(jwt, strlen(jwt));
	free(jwt);
	proof->assertion = true;
	return rc;
}

static int
prove(CmkVault *v, const char *client_id, const char *url, Proof *proof,
	  CmkError *err)
{
	if (v->pinned == CMK_IDENTITY_SECRET)
		return prove_by_secret(proof, err);
	if (v->pinned == CMK_IDENTITY_CERTIFICATE)
		return prove_by_certificate(client_id, url, proof, err);
	proof->assertion = true;
	return read_proof(cmk_env(CMK_ENV_FEDERATED_TOKEN_FILE),
					  "federated token file", 0, proof, err);
}

static int
fill_form(char *form, const char *client_id, const char *resource,
		  const Proof *proof)
{
	char		scope[300];

	snprintf(scope, sizeof(scope), "%s/.default", resource);
	form[0] = '\0';
	if (form_add(form, "client_id", client_id) < 0 ||
		form_add(form, "grant_type", "client_credentials") < 0 ||
		form_add(form, "scope", scope) < 0)
		return -1;
	if (!proof->assertion)
		return form_add(form, "client_secret", proof->value);
	if (form_add(form, "client_assertion_type", ASSERTION_TYPE) < 0)
		return -1;
	return form_add(form, "client_assertion", proof->value);
}

static int
post(CmkVault *v, const char *url, const char *form, int64_t deadline,
	 CmkOutcome *out)
{
	CmkHttpAnswer ans;
	CmkHttpRequest req = {
		.method = "POST",
		.url = url,
		.headers = {"Content-Type: application/x-www-form-urlencoded"},
		.body = form,
		.body_len = strlen(form),
		.deadline = deadline
	};

	if (cmk_request_send(v, &req, &v->counts.token, &ans, out) < 0)
		return -1;
	return cmk_token_take(v, &ans, true, out);
}

int
cmk_entra_token(CmkVault *v, int64_t deadline, CmkOutcome *out)
{
	const char *tenant = v->cfg.tenant_id != NULL ? v->cfg.tenant_id :
		v->challenge.tenant;
	const char *client_id = cmk_token_client_id(v);
	Proof	   *proof = calloc(1, sizeof(*proof));
	char	   *form = malloc(FORM_SIZE);
	char		url[400];
	CmkError	err;
	int			rc;

	snprintf(url, sizeof(url), "%s/%s/oauth2/v2.0/token", v->authority.base,
			 tenant);
	if (proof == NULL || form == NULL)
		rc = cmk_outcome(out, CMK_REASON_TOKEN, "out of memory");
	else if (prove(v, client_id, url, proof, &err) < 0)
		rc = cmk_outcome_config(out, &err);
	else if (fill_form(form, client_id, v->challenge.resource, proof) < 0)
		rc = cmk_outcome(out, CMK_REASON_CONFIG,
						 "credential of the server's identity is too long");
	else
		rc = post(v, url, form, deadline, out);
	if (proof != NULL)
		cmk_cleanse(proof, sizeof(*proof));
	if (form != NULL)
		cmk_cleanse(form, FORM_SIZE);
	free(proof);
	free(form);
	return rc;
}
