/*
 * managed.c
 *	  Tokens of a managed identity: IMDS, App Service and Azure Arc.
 *
 * Each is a small HTTP service of the machine that the server runs on, found as
 * Azure's SDKs find it: IDENTITY_ENDPOINT with IDENTITY_HEADER is App Service (or
 * Container Apps), with IMDS_ENDPOINT Azure Arc, and without both it is the
 * instance metadata service at 169.254.169.254.  They are spoken to without a
 * proxy, and over plain http only if they are on this machine.
 *
 * An Arc agent gives a token to whoever can read a file that only its group can
 * read: the first answer is a 401 that names the file, whose content the second
 * request carries.  The file must lie directly in the agent's directory, or that
 * dance would send any file of the server to the endpoint.
 */
#include <stdio.h>
#include <string.h>

#include "../seal/kdf.h"
#include "environment.h"
#include "secretfile.h"
#include "vault_impl.h"

#define IMDS_HOST		"http://169.254.169.254"
#define IMDS_PATH		"/metadata/identity/oauth2/token"
#define ARC_TOKEN_DIR	"/var/opt/azcmagent/tokens"
#define ARC_KEY_MAX		4096

static int
misconfigured(CmkOutcome *out, const char *what, const char *why)
{
	cmk_outcome(out, CMK_REASON_CONFIG, "managed identity cannot be used");
	return cmk_fail_detail(&out->err, "%s %s.", what, why);
}

/* An endpoint out of the environment. */
static int
parse_endpoint(const char *name, const char *url, CmkEndpoint *e,
			   CmkOutcome *out)
{
	if (cmk_endpoint_parse(url, e) < 0)
		return misconfigured(out, name,
							 "is not a URL like http://HOST:PORT/PATH");
	if (!e->tls && !cmk_endpoint_is_local(e))
		return misconfigured(out, name,
							 "is on another machine and is not https");
	return 0;
}

/* Which user-assigned identity; NULL: the system-assigned one. */
static const char *
user_assigned(const CmkVault *v)
{
	if (v->cfg.client_id != NULL || v->identity != CMK_IDENTITY_DEFAULT)
		return v->cfg.client_id;
	return cmk_env(CMK_ENV_CLIENT_ID);
}

static int
make_url(CmkVault *v, const CmkEndpoint *e, const char *path,
		 const char *version, bool with_client, char *url, size_t size)
{
	const char *client = with_client ? user_assigned(v) : NULL;
	int			n;

	/* the resource is https:// and a host name: nothing to escape but ://  */
	n = snprintf(url, size, "%s%s?api-version=%s&resource=https%%3A%%2F%%2F%s%s%s",
				 e->base, path, version, v->challenge.resource_host,
				 client != NULL ? "&client_id=" : "",
				 client != NULL ? client : "");
	return n < (int) size ? 0 : -1;
}

static int
get(CmkVault *v, const char *url, const char *h1, const char *h2,
	int64_t deadline, CmkHttpAnswer *ans, CmkOutcome *out)
{
	CmkHttpRequest req = {
		.method = "GET",
		.url = url,
		.headers = {h1, h2},
		.local = true,
		.deadline = deadline
	};

	return cmk_request_send(v, &req, &v->counts.token, ans, out);
}

static int
from_imds(CmkVault *v, int64_t deadline, CmkOutcome *out)
{
	const char *host = cmk_env(CMK_ENV_POD_AUTHORITY_HOST);
	CmkEndpoint e;
	CmkHttpAnswer ans;
	char		url[1200];
	const char *path;

	if (parse_endpoint("AZURE_POD_IDENTITY_AUTHORITY_HOST",
					   host != NULL ? host : IMDS_HOST, &e, out) < 0)
		return -1;
	path = strlen(e.path) > 1 ? e.path : IMDS_PATH;
	if (make_url(v, &e, path, "2018-02-01", true, url, sizeof(url)) < 0)
		return misconfigured(out, "The client id", "is too long");
	if (get(v, url, "Metadata: true", NULL, deadline, &ans, out) < 0)
		return -1;
	return cmk_token_take(v, &ans, false, out);
}

/* A value that goes into a header must not end the header. */
static bool
fits_header(const char *s)
{
	for (; *s != '\0'; s++)
	{
		if (*s < 0x20 || *s >= 0x7f)
			return false;
	}
	return true;
}

static int
from_app_service(CmkVault *v, int64_t deadline, CmkOutcome *out)
{
	CmkEndpoint e;
	CmkHttpAnswer ans;
	char		url[1200];
	char		header[4200];
	int			rc;

	if (parse_endpoint("IDENTITY_ENDPOINT", cmk_env(CMK_ENV_IDENTITY_ENDPOINT),
					   &e, out) < 0)
		return -1;
	if (!fits_header(cmk_env(CMK_ENV_IDENTITY_HEADER)))
		return misconfigured(out, "IDENTITY_HEADER",
							 "has a control character or one that is not ASCII in it");
	if (make_url(v, &e, e.path, "2019-08-01", true, url, sizeof(url)) < 0)
		return misconfigured(out, "The client id", "is too long");
	snprintf(header, sizeof(header), "X-IDENTITY-HEADER: %s",
			 cmk_env(CMK_ENV_IDENTITY_HEADER));
	rc = get(v, url, header, NULL, deadline, &ans, out);
	cmk_cleanse(header, sizeof(header));
	return rc < 0 ? -1 : cmk_token_take(v, &ans, false, out);
}

/* ---- Azure Arc ---- */

bool
cmk_arc_path_allowed(const char *path, const char *dir)
{
	size_t		ld = strlen(dir);
	size_t		lp = strlen(path);

	while (ld > 1 && dir[ld - 1] == '/')
		ld--;
	return lp > ld + 1 + strlen(".key") && strncmp(path, dir, ld) == 0 &&
		path[ld] == '/' && strchr(path + ld + 1, '/') == NULL &&
		strcmp(path + lp - strlen(".key"), ".key") == 0;
}

/* The header for the second request, from the file that the first named. */
static int
arc_authorization(const CmkHttpAnswer *ans, char *header, size_t size,
				  CmkOutcome *out)
{
	const char *dir = cmk_env(CMK_ENV_ARC_TOKEN_DIR);
	char		path[512];
	char		secret[ARC_KEY_MAX + 1];
	CmkError	err;
	int			rc = -1;

	if (cmk_challenge_param(ans->challenge, "Basic", "realm",
							path, sizeof(path)) < 0 ||
		!cmk_arc_path_allowed(path, dir != NULL ? dir : ARC_TOKEN_DIR))
	{
		cmk_outcome(out, CMK_REASON_CHALLENGE,
					"the Azure Arc agent's request for a key file cannot be answered");
		return cmk_fail_detail(&out->err,
							   "Its challenge names no file that ends in .key directly in \"%.256s\".",
							   dir != NULL ? dir : ARC_TOKEN_DIR);
	}
	if (cmk_secretfile_read(path, "Azure Arc key file", 0, secret,
							sizeof(secret), &err) < 0)
		cmk_outcome_config(out, &err);
	else
	{
		secret[strcspn(secret, "\r\n")] = '\0';
		snprintf(header, size, "Authorization: Basic %s", secret);
		rc = fits_header(secret) ? 0 :
			misconfigured(out, "The key file of the Azure Arc agent",
						  "is not a text");
	}
	cmk_cleanse(secret, sizeof(secret));
	return rc;
}

static int
from_arc(CmkVault *v, int64_t deadline, CmkOutcome *out)
{
	CmkEndpoint e;
	CmkHttpAnswer ans;
	char		url[1200];
	char		header[ARC_KEY_MAX + 64];
	int			rc;

	if (user_assigned(v) != NULL)
		return misconfigured(out, "Azure Arc",
							 "has only a system-assigned identity: a client id cannot be chosen");
	if (parse_endpoint("IDENTITY_ENDPOINT", cmk_env(CMK_ENV_IDENTITY_ENDPOINT),
					   &e, out) < 0)
		return -1;
	if (make_url(v, &e, e.path, "2019-11-01", false, url, sizeof(url)) < 0)
		return misconfigured(out, "IDENTITY_ENDPOINT", "is too long");
	if (get(v, url, "Metadata: true", NULL, deadline, &ans, out) < 0)
		return -1;
	if (ans.status != 401)
		return cmk_token_take(v, &ans, false, out);
	if (arc_authorization(&ans, header, sizeof(header), out) < 0)
		return -1;
	rc = get(v, url, "Metadata: true", header, deadline, &ans, out);
	cmk_cleanse(header, sizeof(header));
	return rc < 0 ? -1 : cmk_token_take(v, &ans, false, out);
}

int
cmk_managed_token(CmkVault *v, int64_t deadline, CmkOutcome *out)
{
	if (cmk_env(CMK_ENV_IDENTITY_ENDPOINT) != NULL &&
		cmk_env(CMK_ENV_IDENTITY_HEADER) != NULL)
		return from_app_service(v, deadline, out);
	if (cmk_env(CMK_ENV_IDENTITY_ENDPOINT) != NULL &&
		cmk_env(CMK_ENV_IMDS_ENDPOINT) != NULL)
		return from_arc(v, deadline, out);
	return from_imds(v, deadline, out);
}
