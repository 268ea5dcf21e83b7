/*
 * keyvault.c
 *	  A conversation with Azure Key Vault: get, list versions, wrapkey, unwrapkey.
 *
 * The order in which trust grows is the point of this file.  A key URL is parsed
 * and its host compared with the list of suffixes before anything is sent.  The
 * first request to a vault carries neither token nor value; its answer, over
 * verified TLS, is the challenge, which is checked too (challenge.c).  Only then
 * is a token asked for, from the source that the configuration names, and only
 * with it is a value sent.  A 401 later begins that again, once: the token may
 * have been revoked, or the vault may have moved to another tenant.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../seal/base64url.h"
#include "../seal/kdf.h"
#include "environment.h"
#include "vault_impl.h"

#define DEFAULT_TIMEOUT_MS	10000
#define DEFAULT_DEADLINE_MS	30000
#define MAX_PLAIN			64		/* what is wrapped */
#define MAX_RSA				512		/* bytes of a modulus */

/* ---- a vault ---- */

static int
bad_setting(CmkError *err, const char *what, const char *value, const char *hint)
{
	errno = 0;
	cmk_fail(err, CMK_ERR_CONFIG, "%s \"%.100s\" cannot be used", what, value);
	return cmk_fail_hint(err, "%s", hint);
}

static const char *
unset_if_empty(const char *s)
{
	return s != NULL && s[0] != '\0' ? s : NULL;
}

/* These stand in URLs and in JSON as they are. */
static bool
is_plain_id(const char *s)
{
	return s[0] != '\0' && strlen(s) < 128 &&
		strspn(s, "0123456789abcdefghijklmnopqrstuvwxyz"
			   "ABCDEFGHIJKLMNOPQRSTUVWXYZ-._") == strlen(s);
}

/* Defaults into what is unset: from the environment, then our own. */
static void
fill_defaults(CmkVaultConfig *cfg)
{
	cfg->identity = unset_if_empty(cfg->identity);
	if (cfg->identity == NULL)
		cfg->identity = "default";
	cfg->client_id = unset_if_empty(cfg->client_id);
	cfg->tenant_id = unset_if_empty(cfg->tenant_id);
	if (cfg->tenant_id == NULL)
		cfg->tenant_id = cmk_env(CMK_ENV_TENANT_ID);
	cfg->authority_host = unset_if_empty(cfg->authority_host);
	if (cfg->authority_host == NULL)
		cfg->authority_host = cmk_env(CMK_ENV_AUTHORITY_HOST);
	if (cfg->authority_host == NULL)
		cfg->authority_host = CMK_DEFAULT_AUTHORITY;
	cfg->dns_suffixes = unset_if_empty(cfg->dns_suffixes);
	if (cfg->dns_suffixes == NULL)
		cfg->dns_suffixes = CMK_DEFAULT_DNS_SUFFIXES;
	cfg->api_version = unset_if_empty(cfg->api_version);
	if (cfg->api_version == NULL)
		cfg->api_version = CMK_DEFAULT_API_VERSION;
	if (cfg->timeout_ms <= 0)
		cfg->timeout_ms = DEFAULT_TIMEOUT_MS;
	if (cfg->deadline_ms <= 0)
		cfg->deadline_ms = DEFAULT_DEADLINE_MS;
}

/* The authority may be given as a host name alone, as Azure's SDKs allow. */
static int
parse_authority(const char *value, CmkEndpoint *e)
{
	char		url[300];

	if (strstr(value, "://") == NULL)
	{
		if (snprintf(url, sizeof(url), "https://%s", value) >= (int) sizeof(url))
			return -1;
		value = url;
	}
	if (cmk_endpoint_parse(value, e) < 0 || !e->tls ||
		(strcmp(e->path, "") != 0 && strcmp(e->path, "/") != 0))
		return -1;
	return 0;
}

static int
check_config(CmkVault *v, CmkError *err)
{
	const CmkVaultConfig *cfg = &v->cfg;
	const char *client_id;

	v->identity = cmk_identity_by_name(cfg->identity);
	if (v->identity == CMK_IDENTITY_NONE)
		return bad_setting(err, "identity", cfg->identity,
						   "It is one of default, environment, clientsecret, clientcertificate, workloadidentity and managedidentity.");
	client_id = cmk_token_client_id(v);
	if (client_id != NULL && !is_plain_id(client_id))
		return bad_setting(err, "client id", client_id,
						   "It is the GUID of an application or managed identity.");
	if (cfg->tenant_id != NULL && !cmk_is_guid(cfg->tenant_id))
		return bad_setting(err, "tenant id", cfg->tenant_id,
						   "It is the GUID of a tenant, not its domain name.");
	if (parse_authority(cfg->authority_host, &v->authority) < 0)
		return bad_setting(err, "authority host", cfg->authority_host,
						   "It is a URL like https://login.microsoftonline.com.");
	if (!is_plain_id(cfg->api_version))
		return bad_setting(err, "api-version", cfg->api_version,
						   "It is a version like 7.6.");
	return 0;
}

CmkVault *
cmk_vault_new(const CmkVaultConfig *cfg, CmkError *err)
{
	CmkVault   *v;

	if (cmk_vault_read_environment(err) < 0)
		return NULL;
	v = calloc(1, sizeof(*v));
	if (v == NULL)
	{
		cmk_fail(err, CMK_ERR_NO_MEMORY, "out of memory");
		return NULL;
	}
	v->cfg = *cfg;
	fill_defaults(&v->cfg);
	if (check_config(v, err) < 0)
	{
		free(v);
		return NULL;
	}
	v->http = cmk_http_new(v->cfg.ca_file, v->cfg.interrupted);
	if (v->http == NULL)
	{
		cmk_fail(err, CMK_ERR_NO_MEMORY, "could not start libcurl");
		free(v);
		return NULL;
	}
	return v;
}

void
cmk_vault_free(CmkVault *v)
{
	if (v == NULL)
		return;
	cmk_http_free(v->http);
	cmk_cleanse(v, sizeof(*v));
	free(v);
}

void
cmk_vault_reset(CmkVault *v, bool pin)
{
	cmk_http_reset(v->http);
	cmk_token_forget(v);
	v->challenge_base[0] = '\0';
	if (pin)
		v->pinned = CMK_IDENTITY_NONE;
}

void
cmk_vault_counts(const CmkVault *v, CmkVaultCounts *counts)
{
	*counts = v->counts;
}

const char *
cmk_vault_identity(const CmkVault *v)
{
	return cmk_identity_name(v->pinned);
}

/* ---- one operation ---- */

typedef struct Call
{
	CmkVaultOp	op;
	CmkKeyUrl	key;
	char		url[CMK_NEXT_LINK_SIZE];
	char		body[1024];		/* of wrapkey and unwrapkey */
	char		what[512];		/* for messages */
	int64_t		deadline;
	uint64_t   *count;
} Call;

/* Parses and trusts the URL, or not; what is to be done, in words. */
static int
begin(CmkVault *v, CmkVaultOp op, const char *url, Call *call, CmkOutcome *out)
{
	static const struct
	{
		const char *path;
		const char *what;
	}			ops[] = {
		[CMK_OP_GET] = {"", "read"},
		[CMK_OP_WRAP] = {"/wrapkey", "wrap with"},
		[CMK_OP_UNWRAP] = {"/unwrapkey", "unwrap with"},
		[CMK_OP_LIST] = {"/versions", "list the versions of"},
	};
	CmkError	err;

	memset(out, 0, sizeof(*out));
	memset(call, 0, sizeof(*call));
	call->op = op;
	call->deadline = cmk_http_clock() + v->cfg.deadline_ms;
	call->count = op == CMK_OP_GET ? &v->counts.get :
		op == CMK_OP_LIST ? &v->counts.list :
		op == CMK_OP_WRAP ? &v->counts.wrap : &v->counts.unwrap;
	if (cmk_key_url_parse(url, &call->key, &err) < 0 ||
		cmk_key_url_trusted(&call->key, v->cfg.dns_suffixes, &err) < 0)
		return cmk_outcome_config(out, &err);
	if (op == CMK_OP_LIST)
		call->key.version[0] = '\0';
	else if (op != CMK_OP_GET && call->key.version[0] == '\0')
		return cmk_outcome(out, CMK_REASON_CONFIG,
						   "key URL \"%.256s\" names no version", url);
	snprintf(call->url, sizeof(call->url), "%s/keys/%s%s%s%s?api-version=%s",
			 call->key.base, call->key.name,
			 call->key.version[0] != '\0' ? "/" : "", call->key.version,
			 ops[op].path, v->cfg.api_version);
	snprintf(call->what, sizeof(call->what), "could not %s key \"%.300s\"",
			 ops[op].what, url);
	return 0;
}

static int
send_call(CmkVault *v, Call *call, const char *auth, CmkHttpAnswer *ans,
	 CmkOutcome *out)
{
	bool		get = call->op == CMK_OP_GET || call->op == CMK_OP_LIST;
	CmkHttpRequest req = {
		.method = get ? "GET" : "POST",
		.url = call->url,
		.deadline = call->deadline
	};
	int			n = 0;

	if (!get)
		req.headers[n++] = "Content-Type: application/json";
	if (auth != NULL)
	{
		req.headers[n++] = auth;
		req.body = call->body;
		req.body_len = strlen(call->body);
	}
	return cmk_request_send(v, &req, call->count, ans, out);
}

/* The challenge of a 401 becomes the vault's, if it may be answered. */
static int
take_challenge(CmkVault *v, const Call *call, const CmkHttpAnswer *ans,
			   CmkOutcome *out)
{
	v->challenge_base[0] = '\0';
	if (cmk_challenge_parse(ans->challenge, &v->challenge, out) < 0 ||
		cmk_challenge_check(&v->challenge, call->key.host, v->cfg.dns_suffixes,
							v->cfg.tenant_id, out) < 0)
		return -1;
	strcpy(v->challenge_base, call->key.base);
	return 0;
}

/* The request without token and body, whose answer is a challenge. */
static int
ask_challenge(CmkVault *v, Call *call, CmkOutcome *out)
{
	CmkHttpAnswer ans;

	if (strcmp(v->challenge_base, call->key.base) == 0)
		return 0;
	if (send_call(v, call, NULL, &ans, out) < 0)
		return -1;
	if (ans.status == 401)
		return take_challenge(v, call, &ans, out);
	if (ans.status / 100 != 2)
		return cmk_classify_vault(&ans, call->op, call->what, out);
	cmk_outcome(out, CMK_REASON_MALFORMED, "%s", call->what);
	return cmk_fail_detail(&out->err,
						   "The vault answered %d without asking for a token.",
						   ans.status);
}

/* 0 and the answer 200, or -1. */
static int
perform(CmkVault *v, Call *call, CmkHttpAnswer *ans, CmkOutcome *out)
{
	bool		renewed = false;
	int			rc;

	if (ask_challenge(v, call, out) < 0)
		return -1;
	for (;;)
	{
		if (cmk_token_get(v, call->deadline, out) < 0)
			return -1;
		snprintf(v->auth, sizeof(v->auth), "Authorization: Bearer %s",
				 v->token.value);
		rc = send_call(v, call, v->auth, ans, out);
		cmk_cleanse(v->auth, sizeof(v->auth));
		if (rc < 0)
			return -1;
		if (ans->status != 401 || renewed)
			break;
		renewed = true;
		cmk_token_forget(v);
		if (take_challenge(v, call, ans, out) < 0)
			return -1;
	}
	if (ans->status == 200)
		return 0;

	/* a token that the vault refuses is not offered again */
	if (ans->status == 401)
		cmk_token_forget(v);
	return cmk_classify_vault(ans, call->op, call->what, out);
}

int
cmk_vault_get_key(CmkVault *v, const char *url, CmkKeyInfo *key,
				  CmkOutcome *out)
{
	Call		call;
	CmkHttpAnswer ans;

	memset(key, 0, sizeof(*key));
	if (begin(v, CMK_OP_GET, url, &call, out) < 0 ||
		perform(v, &call, &ans, out) < 0 ||
		cmk_parse_key(ans.body, ans.len, &call.key, key, out) < 0)
		return -1;
	key->server_time = ans.date;
	return 0;
}

int
cmk_vault_list_versions(CmkVault *v, const char *url, CmkKeyVersion *list,
						int max, int *n, CmkOutcome *out)
{
	CmkVersionList versions = {.list = list, .max = max};
	Call		call;
	CmkHttpAnswer ans;
	int			page;

	*n = 0;
	if (begin(v, CMK_OP_LIST, url, &call, out) < 0)
		return -1;
	for (page = 0; page < CMK_VAULT_MAX_PAGES; page++)
	{
		char		next[CMK_NEXT_LINK_SIZE];

		if (perform(v, &call, &ans, out) < 0 ||
			cmk_parse_versions(ans.body, ans.len, &call.key, &versions, next,
							   out) < 0)
			return -1;
		if (next[0] == '\0')
		{
			*n = versions.n;
			return 0;
		}
		strcpy(call.url, next);
	}
	cmk_outcome(out, CMK_REASON_MALFORMED, "%s", call.what);
	return cmk_fail_detail(&out->err, "The list has more than %d pages.",
						   CMK_VAULT_MAX_PAGES);
}

/* wrapkey and unwrapkey: value in, value out; all that carried it is wiped. */
static int
exchange(CmkVault *v, CmkVaultOp op, const char *kid,
		 const uint8_t *in, size_t len, char answer_kid[600], char *version,
		 uint8_t *value, size_t vmax, size_t *vlen, CmkOutcome *out)
{
	Call		call;
	CmkHttpAnswer ans;
	int			rc = -1;
	int			n;

	*vlen = 0;
	answer_kid[0] = '\0';
	if (begin(v, op, kid, &call, out) == 0)
	{
		n = snprintf(call.body, sizeof(call.body),
					 "{\"alg\":\"RSA-OAEP-256\",\"value\":\"");
		n += (int) cmk_base64url_encode(in, len, call.body + n);
		strcpy(call.body + n, "\"}");
		if (perform(v, &call, &ans, out) == 0)
			rc = cmk_parse_value(ans.body, ans.len, &call.key, answer_kid,
								 value, vmax, vlen, out);
		if (rc == 0 && version != NULL)
			strcpy(version, call.key.version);
	}
	cmk_http_wipe(v->http);
	cmk_cleanse(&call, sizeof(call));
	return rc;
}

int
cmk_vault_wrap(CmkVault *v, const char *kid, const uint8_t *in, size_t len,
			   CmkVaultWrap *wrapped, CmkOutcome *out)
{
	memset(wrapped, 0, sizeof(*wrapped));
	memset(out, 0, sizeof(*out));
	if (len == 0 || len > MAX_PLAIN)
		return cmk_outcome(out, CMK_REASON_CONFIG,
						   "a value of %zu bytes cannot be wrapped", len);
	if (exchange(v, CMK_OP_WRAP, kid, in, len, wrapped->kid, wrapped->version,
				 wrapped->value, sizeof(wrapped->value), &wrapped->len, out) < 0)
		return -1;
	if (wrapped->len == 256 || wrapped->len == 384 || wrapped->len == 512)
		return 0;
	cmk_outcome(out, CMK_REASON_MALFORMED,
				"key \"%.300s\" gave back a wrapped value of %zu bytes",
				wrapped->kid, wrapped->len);
	memset(wrapped, 0, sizeof(*wrapped));
	return cmk_fail_detail(&out->err,
						   "It must be as long as an RSA key of 2048, 3072 or 4096 bits.");
}

int
cmk_vault_unwrap(CmkVault *v, const char *kid, const uint8_t *in, size_t len,
				 uint8_t *plain, size_t outmax, size_t *outlen,
				 CmkOutcome *out)
{
	char		answer_kid[600];

	memset(out, 0, sizeof(*out));
	*outlen = 0;
	cmk_cleanse(plain, outmax);
	if (len == 0 || len > MAX_RSA)
		return cmk_outcome(out, CMK_REASON_CONFIG,
						   "a wrapped value of %zu bytes cannot be unwrapped", len);
	return exchange(v, CMK_OP_UNWRAP, kid, in, len, answer_kid, NULL,
					plain, outmax, outlen, out);
}
