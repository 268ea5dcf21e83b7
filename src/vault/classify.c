/*
 * classify.c
 *	  Which failure is what: from an answer that is not 200 to a reason.
 *
 * The rule in every doubt: what the service says plainly about the key or about
 * the right to it is a clear no, everything else a maybe.  A clear no closes the
 * database within the interval, so a code that nobody has seen before, an answer
 * without a body or one of a proxy must not be one; a maybe closes it too, after
 * the grace period.
 *
 * The codes are from "Azure Key Vault REST API error codes", "Common error codes
 * for Azure Key Vault", "Microsoft Entra authentication and authorization error
 * codes" and from what the services were seen to answer: docs/keyvault.md.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "answers.h"
#include "json.h"

#define MAX_TEXT	200

/* What an error body says; texts are printable and cut. */
typedef struct ServiceError
{
	char		code[64];
	char		inner[64];
	char		text[MAX_TEXT + 1];
} ServiceError;

/* ---- the vault's error body ---- */

/*
 * {"error":{"code":…,"message":…,"innererror":{"code":…}}}, innererror also
 * spelt innerError.  What is not there stays empty.
 */
static void
read_vault_error(const cJSON *doc, ServiceError *e)
{
	const cJSON *error = cmk_json_object(doc, "error");
	const cJSON *inner = cmk_json_object(error, "innererror");
	const char *s;

	if (inner == NULL)
		inner = cmk_json_object(error, "innerError");
	if ((s = cmk_json_string(error, "code")) != NULL)
		cmk_http_printable(s, e->code, sizeof(e->code));
	if ((s = cmk_json_string(inner, "code")) != NULL)
		cmk_http_printable(s, e->inner, sizeof(e->inner));
	if ((s = cmk_json_string(error, "message")) != NULL)
		cmk_http_printable(s, e->text, sizeof(e->text));
}

/* 403: the inner code decides; AccessDenied was seen at both places. */
static CmkReason
reason_of_forbidden(const ServiceError *e)
{
	static const struct
	{
		const char *code;
		CmkReason	reason;
	}			known[] = {
		{"KeyDisabled", CMK_REASON_KEY_DISABLED},
		{"KeyOperationForbidden", CMK_REASON_KEY_OPERATION_FORBIDDEN},
		{"ForbiddenByRbac", CMK_REASON_FORBIDDEN_BY_RBAC},
		{"ForbiddenByPolicy", CMK_REASON_FORBIDDEN_BY_POLICY},
		{"AccessDenied", CMK_REASON_FORBIDDEN_BY_POLICY},
		{"ForbiddenByFirewall", CMK_REASON_FORBIDDEN_BY_FIREWALL},
		{"ForbiddenByConnection", CMK_REASON_FORBIDDEN_BY_FIREWALL},
	};
	const char *code = e->inner[0] != '\0' ? e->inner : e->code;
	size_t		i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
	{
		if (strcmp(code, known[i].code) == 0)
			return known[i].reason;
	}
	return CMK_REASON_FORBIDDEN;
}

/* 400 because of the api-version: a code of its own, or BadParameter and a text. */
static bool
is_api_version_error(const ServiceError *e)
{
	return strcmp(e->code, "UnsupportedApiVersion") == 0 ||
		strcmp(e->code, "UnsupportedApiVersionValue") == 0 ||
		strcmp(e->code, "InvalidApiVersionParameter") == 0 ||
		strcasestr(e->text, "api-version") != NULL ||
		strcasestr(e->text, "The specified version (") != NULL;
}

static CmkReason
reason_of_vault(int status, CmkVaultOp op, const ServiceError *e)
{
	if (status == 401)
		return strstr(e->text, "AKV10022") != NULL ||
			strstr(e->text, "AKV10032") != NULL ?
			CMK_REASON_WRONG_TENANT : CMK_REASON_UNAUTHORIZED;
	if (status == 403)
		return reason_of_forbidden(e);
	if (status == 404 && strcmp(e->code, "KeyNotFound") == 0)
		return CMK_REASON_KEY_NOT_FOUND;
	if (status == 400 && is_api_version_error(e))
		return CMK_REASON_API_VERSION;

	/* a value that this key once wrapped, and does not open */
	if (status == 400 && op == CMK_OP_UNWRAP && e->code[0] != '\0')
		return CMK_REASON_CANARY;
	if (status == 429)
		return CMK_REASON_THROTTLED;
	if (status == 408 || (status >= 500 && status <= 599))
		return CMK_REASON_SERVER_ERROR;
	if (status >= 300 && status <= 399)
		return CMK_REASON_REDIRECT;
	return CMK_REASON_UNKNOWN;
}

/* ---- the token sources' error body ---- */

static CmkReason
reason_of_aadsts(int64_t n)
{
	switch (n)
	{
		case 700016:			/* application not found in the tenant */
		case 700011:
		case 7000229:			/* no service principal in the tenant */
		case 7000112:			/* application disabled */
		case 70001:
		case 90002:				/* tenant not found */
			return CMK_REASON_IDENTITY_GONE;
		case 7000215:			/* wrong secret */
		case 7000222:			/* expired secret */
		case 700027:			/* assertion not signed with a registered key */
		case 700030:			/* certificate of another subject */
		case 7000214:			/* certificate revoked */
		case 1000502:			/* certificate expired */
		case 70021:				/* no federated credential matches … */
		case 700211:			/* … the issuer */
		case 700212:			/* … the audience */
		case 700213:			/* … the subject */
			return CMK_REASON_CREDENTIAL_REFUSED;
		default:
			/* 7002131 to 7002139: the subject differs, in one way or another */
			return n >= 7002130 && n <= 7002139 ?
				CMK_REASON_CREDENTIAL_REFUSED : CMK_REASON_TOKEN;
	}
}

/* The number after "AADSTS" in a text, or 0. */
static int64_t
find_aadsts(const char *text)
{
	const char *p = text != NULL ? strstr(text, "AADSTS") : NULL;
	size_t		n = p != NULL ? strspn(p + 6, "0123456789") : 0;

	return n > 0 && n < 12 ? strtoll(p + 6, NULL, 10) : 0;
}

/*
 * {"error":…,"error_description":"AADSTS7000215: …","error_codes":[7000215]}.
 * Of several codes the first that we know decides.
 */
static CmkReason
read_token_error(const cJSON *doc, bool entra, ServiceError *e)
{
	const cJSON *codes = cmk_json_get(doc, "error_codes");
	const char *error = cmk_json_string(doc, "error");
	const char *text = cmk_json_string(doc, "error_description");
	int64_t		shown = find_aadsts(text);
	CmkReason	reason = reason_of_aadsts(shown);
	const cJSON *item;

	if (text == NULL)
		text = cmk_json_string(doc, "message");
	if (text != NULL)
		cmk_http_printable(text, e->text, sizeof(e->text));
	if (cJSON_IsArray(codes))
	{
		cJSON_ArrayForEach(item, codes)
		{
			int64_t		n = cJSON_IsNumber(item) && item->valuedouble > 0 &&
				item->valuedouble < 1e12 ? (int64_t) item->valuedouble : 0;

			if (n > 0 && (shown == 0 || (reason == CMK_REASON_TOKEN &&
										 reason_of_aadsts(n) != CMK_REASON_TOKEN)))
			{
				shown = n;
				reason = reason_of_aadsts(n);
			}
		}
	}
	if (shown > 0)
		snprintf(e->code, sizeof(e->code), "AADSTS%lld", (long long) shown);
	else if (error != NULL)
		cmk_http_printable(error, e->code, sizeof(e->code));

	/* IMDS and Arc say the one, App Service the other */
	if (!entra && text != NULL &&
		(strcasestr(text, "Identity not found") != NULL ||
		 strcasestr(text, "Managed Identity found for specified") != NULL))
		reason = CMK_REASON_IDENTITY_GONE;
	return reason;
}

/* ---- both ---- */

static int
report(const CmkHttpAnswer *ans, const ServiceError *e, CmkReason reason,
	   const char *what, CmkOutcome *out)
{
	const char *code = e->inner[0] != '\0' ? e->inner : e->code;

	out->http_status = ans->status;
	snprintf(out->code, sizeof(out->code), "%s", code);
	snprintf(out->request_id, sizeof(out->request_id), "%s", ans->request_id);
	out->retry_after_ms = cmk_http_retry_after(ans->retry_after, ans->date,
											   time(NULL));
	cmk_outcome(out, reason, "%s", what);
	return cmk_fail_detail(&out->err, "Answer %d%s%s.%s%s%s%s%s",
						   ans->status,
						   code[0] != '\0' ? ", " : "", code,
						   e->text[0] != '\0' ? " The service says: \"" : "",
						   e->text,
						   e->text[0] != '\0' ? "\"." : "",
						   ans->request_id[0] != '\0' ? " Request id: " : "",
						   ans->request_id);
}

int
cmk_classify_vault(const CmkHttpAnswer *ans, CmkVaultOp op, const char *what,
				   CmkOutcome *out)
{
	ServiceError e = {.code = ""};
	cJSON	   *doc = cmk_json_parse(ans->body, ans->len);

	read_vault_error(doc, &e);
	cmk_json_free(doc);
	return report(ans, &e, reason_of_vault(ans->status, op, &e), what, out);
}

int
cmk_classify_token(const CmkHttpAnswer *ans, bool entra, const char *what,
				   CmkOutcome *out)
{
	ServiceError e = {.code = ""};
	cJSON	   *doc = cmk_json_parse(ans->body, ans->len);
	CmkReason	reason = read_token_error(doc, entra, &e);

	cmk_json_free(doc);
	if (ans->status == 429)
		reason = CMK_REASON_THROTTLED;
	else if (ans->status == 408 || (ans->status >= 500 && ans->status <= 599))
		reason = CMK_REASON_SERVER_ERROR;
	else if (ans->status >= 300 && ans->status <= 399)
		reason = CMK_REASON_REDIRECT;

	/* only these carry a judgement; a code in another answer proves nothing */
	else if (ans->status != 400 && ans->status != 401 && ans->status != 403)
		reason = CMK_REASON_TOKEN;
	return report(ans, &e, reason, what, out);
}
