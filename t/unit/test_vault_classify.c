/*
 * test_vault_classify.c
 *	  Which failure is what: every row of the table in docs/keyvault.md.
 */
#include "../../src/vault/answers.h"
#include "unit.h"

#define YES		CMK_VERDICT_YES
#define NO		CMK_VERDICT_NO
#define MAYBE	CMK_VERDICT_MAYBE
#define CONFIG	CMK_VERDICT_CONFIG

#define E(code, msg)	"{\"error\":{\"code\":\"" code "\",\"message\":\"" msg "\"}}"
#define EI(inner)		"{\"error\":{\"code\":\"Forbidden\",\"message\":\"no\",\"innererror\":{\"code\":\"" inner "\"}}}"

static CmkHttpAnswer
answer(int status, const char *body)
{
	CmkHttpAnswer ans = {.status = status, .body = body, .len = strlen(body)};

	strcpy(ans.request_id, "01234567-89ab-cdef-0123-456789abcdef");
	return ans;
}

typedef struct Row
{
	int			status;
	CmkVaultOp	op;
	const char *body;
	const char *name;
	CmkVerdict	verdict;
	bool		confirm;
} Row;

static void
answers_of_a_vault(void)
{
	static const Row rows[] = {
		{403, CMK_OP_UNWRAP, EI("KeyDisabled"), "KeyDisabled", NO, false},
		{403, CMK_OP_UNWRAP, EI("KeyOperationForbidden"), "KeyOperationForbidden", NO, false},
		{403, CMK_OP_GET, EI("ForbiddenByRbac"), "ForbiddenByRbac", NO, true},
		{403, CMK_OP_WRAP, EI("ForbiddenByPolicy"), "ForbiddenByPolicy", NO, true},
		{403, CMK_OP_WRAP, EI("AccessDenied"), "ForbiddenByPolicy", NO, true},
		{403, CMK_OP_WRAP, E("AccessDenied", "x"), "ForbiddenByPolicy", NO, true},
		{403, CMK_OP_GET, EI("ForbiddenByFirewall"), "ForbiddenByFirewall", NO, true},
		{403, CMK_OP_GET, EI("ForbiddenByConnection"), "ForbiddenByFirewall", NO, true},
		{403, CMK_OP_GET,
			"{\"error\":{\"code\":\"Forbidden\",\"innerError\":{\"code\":\"KeyDisabled\"}}}",
		"KeyDisabled", NO, false},
		{403, CMK_OP_GET, EI("SomethingNew"), "Forbidden", MAYBE, false},
		{403, CMK_OP_GET, E("Forbidden", "The key has expired."), "Forbidden", MAYBE, false},
		{403, CMK_OP_GET, "<html>no</html>", "Forbidden", MAYBE, false},
		{403, CMK_OP_GET, "", "Forbidden", MAYBE, false},
		{403, CMK_OP_GET, "{\"error\":{\"innererror\":\"KeyDisabled\"}}", "Forbidden", MAYBE, false},

		{404, CMK_OP_GET, E("KeyNotFound", "A key with (name/id) x was not found"), "KeyNotFound", NO, true},
		{404, CMK_OP_GET, E("SecretNotFound", "x"), "UnexpectedAnswer", MAYBE, false},
		{404, CMK_OP_GET, "Not found", "UnexpectedAnswer", MAYBE, false},

		{401, CMK_OP_GET, E("Unauthorized", "AKV10022: Invalid audience. Expected x"), "WrongTenant", NO, true},
		{401, CMK_OP_GET, E("Unauthorized", "AKV10032: Invalid issuer. Expected x"), "WrongTenant", NO, true},
		{401, CMK_OP_GET, E("Unauthorized", "AKV10000: Request is missing a token"), "Unauthorized", MAYBE, false},
		{401, CMK_OP_GET, "", "Unauthorized", MAYBE, false},

		{400, CMK_OP_GET, E("BadParameter", "The specified version (9.9) is not recognized."), "ApiVersion", CONFIG, false},
		{400, CMK_OP_GET, E("BadParameter", "api-version must be specified"), "ApiVersion", CONFIG, false},
		{400, CMK_OP_UNWRAP, E("UnsupportedApiVersion", "x"), "ApiVersion", CONFIG, false},
		{400, CMK_OP_UNWRAP, E("BadParameter", "The parameter is incorrect."), "WrongValue", MAYBE, false},
		{400, CMK_OP_UNWRAP, "<html>", "UnexpectedAnswer", MAYBE, false},
		{400, CMK_OP_WRAP, E("BadParameter", "x"), "UnexpectedAnswer", MAYBE, false},
		{400, CMK_OP_GET, E("BadParameter", "x"), "UnexpectedAnswer", MAYBE, false},

		{429, CMK_OP_GET, E("Throttled", "x"), "Throttled", MAYBE, false},
		{408, CMK_OP_GET, "", "ServerError", MAYBE, false},
		{500, CMK_OP_GET, EI("KeyDisabled"), "ServerError", MAYBE, false},
		{502, CMK_OP_GET, "", "ServerError", MAYBE, false},
		{503, CMK_OP_GET, "", "ServerError", MAYBE, false},
		{504, CMK_OP_GET, "", "ServerError", MAYBE, false},
		{301, CMK_OP_GET, "", "Redirect", MAYBE, false},
		{302, CMK_OP_GET, EI("KeyDisabled"), "Redirect", MAYBE, false},
		{307, CMK_OP_WRAP, "", "Redirect", MAYBE, false},
		{204, CMK_OP_GET, "", "UnexpectedAnswer", MAYBE, false},
		{409, CMK_OP_GET, E("Conflict", "x"), "UnexpectedAnswer", MAYBE, false},
		{418, CMK_OP_GET, "", "UnexpectedAnswer", MAYBE, false},
	};
	size_t		i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
	{
		CmkHttpAnswer ans = answer(rows[i].status, rows[i].body);
		CmkOutcome	out = {.http_status = 0};

		CHECK_INT(cmk_classify_vault(&ans, rows[i].op, "could not", &out), -1);
		if (strcmp(cmk_reason_name(out.reason), rows[i].name) != 0 ||
			out.verdict != rows[i].verdict || out.confirm != rows[i].confirm)
		{
			unit_fail(__FILE__, __LINE__, "%d %s is %s, verdict %d, confirm %d",
					  rows[i].status, rows[i].body, cmk_reason_name(out.reason),
					  out.verdict, out.confirm);
			return;
		}
		CHECK_INT(out.http_status, rows[i].status);
		CHECK_STR(out.request_id, ans.request_id);
		CHECK_STR(out.err.message, "could not");
		CHECK_HAS(out.err.detail, "Request id: 01234567-89ab-cdef-0123-456789abcdef");
		CHECK(out.err.hint[0] != '\0' && out.err.code != CMK_OK);
	}
}

#define A(n, codes) \
	"{\"error\":\"invalid_client\",\"error_description\":\"AADSTS" n ": text. Trace ID: x\"," \
	"\"error_codes\":[" codes "]}"

typedef struct TokenRow
{
	int			status;
	bool		entra;
	const char *body;
	const char *name;
	const char *code;
	CmkVerdict	verdict;
} TokenRow;

static void
answers_of_token_sources(void)
{
	static const TokenRow rows[] = {
		{400, true, A("700016", "700016"), "IdentityGone", "AADSTS700016", NO},
		{401, true, A("7000229", "7000229"), "IdentityGone", "AADSTS7000229", NO},
		{401, true, A("7000112", "7000112"), "IdentityGone", "AADSTS7000112", NO},
		{400, true, A("90002", "90002"), "IdentityGone", "AADSTS90002", NO},
		{401, true, A("7000215", "7000215"), "CredentialRefused", "AADSTS7000215", NO},
		{401, true, A("7000222", "7000222"), "CredentialRefused", "AADSTS7000222", NO},
		{401, true, A("700027", "700027"), "CredentialRefused", "AADSTS700027", NO},
		{400, true, A("70021", "70021"), "CredentialRefused", "AADSTS70021", NO},
		{401, true, A("700211", "700211"), "CredentialRefused", "AADSTS700211", NO},
		{401, true, A("700212", "700212"), "CredentialRefused", "AADSTS700212", NO},
		{401, true, A("700213", "700213"), "CredentialRefused", "AADSTS700213", NO},
		{401, true, A("7002138", "7002138"), "CredentialRefused", "AADSTS7002138", NO},
		{401, true, A("7000214", "7000214"), "CredentialRefused", "AADSTS7000214", NO},

		/* the time of our clock or of an assertion: not a judgement */
		{401, true, A("700024", "700024"), "TokenRefused", "AADSTS700024", MAYBE},
		{400, true, A("70011", "70011"), "TokenRefused", "AADSTS70011", MAYBE},
		{400, true, A("7002140", "7002140"), "TokenRefused", "AADSTS7002140", MAYBE},

		/* codes or text alone; of several the one that is known */
		{401, true, "{\"error\":\"x\",\"error_codes\":[7000215]}", "CredentialRefused", "AADSTS7000215", NO},
		{401, true, "{\"error\":\"x\",\"error_description\":\"AADSTS7000215: x\"}", "CredentialRefused", "AADSTS7000215", NO},
		{401, true, A("70002", "70002,7000215"), "CredentialRefused", "AADSTS7000215", NO},
		{401, true, A("70002", "\"7000215\",-1,1e99,null"), "TokenRefused", "AADSTS70002", MAYBE},
		{400, true, "{\"error\":\"invalid_request\"}", "TokenRefused", "invalid_request", MAYBE},
		{400, true, "AADSTS700016", "TokenRefused", "", MAYBE},

		/* a code in an answer that judges nothing */
		{429, true, A("700016", "700016"), "Throttled", "AADSTS700016", MAYBE},
		{503, true, A("700016", "700016"), "ServerError", "AADSTS700016", MAYBE},
		{408, true, "", "ServerError", "", MAYBE},
		{302, true, A("700016", "700016"), "Redirect", "AADSTS700016", MAYBE},
		{200, true, A("700016", "700016"), "TokenRefused", "AADSTS700016", MAYBE},
		{404, true, A("700016", "700016"), "TokenRefused", "AADSTS700016", MAYBE},

		{400, false, "{\"error\":\"invalid_request\",\"error_description\":\"Identity not found\"}", "IdentityGone", "invalid_request", NO},
		{400, true, "{\"error\":\"invalid_request\",\"error_description\":\"Identity not found\"}", "TokenRefused", "invalid_request", MAYBE},
		{400, false, "{\"statusCode\":400,\"message\":\"No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId.\"}", "IdentityGone", "", NO},
		{400, false, "{\"error\":\"invalid_request\",\"error_description\":\"Multiple user assigned identities exist\"}", "TokenRefused", "invalid_request", MAYBE},
		{404, false, "", "TokenRefused", "", MAYBE},
		{410, false, "", "TokenRefused", "", MAYBE},
		{500, false, "{\"error_description\":\"Identity not found\"}", "ServerError", "", MAYBE},
	};
	size_t		i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
	{
		CmkHttpAnswer ans = answer(rows[i].status, rows[i].body);
		CmkOutcome	out = {.http_status = 0};

		CHECK_INT(cmk_classify_token(&ans, rows[i].entra, "no token", &out), -1);
		if (strcmp(cmk_reason_name(out.reason), rows[i].name) != 0 ||
			strcmp(out.code, rows[i].code) != 0 ||
			out.verdict != rows[i].verdict ||
			out.confirm != (rows[i].verdict == NO))
		{
			unit_fail(__FILE__, __LINE__, "%d %s is %s, %s", rows[i].status,
					  rows[i].body, cmk_reason_name(out.reason), out.code);
			return;
		}
	}
}

/* Whatever a service writes: one printable line, cut, no token. */
static void
foreign_text_in_a_message(void)
{
	CmkHttpAnswer ans;
	CmkOutcome	out = {.http_status = 0};
	char		body[4096];
	char		big[1500];

	memset(big, ' ', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	snprintf(body, sizeof(body), "{\"error\":{\"code\":\"%s\",\"message\":\"a\\\"\\r\\nb\\u0007 \xc3\xa9"
			 " eyJ0eXAiOiJKV1Q.eyJhdWQ.sig 0123456789abcdef0123456789abcdef01234567 %s\"}}",
			 big, big);
	ans = answer(403, body);
	cmk_classify_vault(&ans, CMK_OP_GET, "could not", &out);
	CHECK_HAS(out.err.detail, "\"a'  b? ?? [removed] [removed]");
	CHECK(strstr(out.err.detail, "eyJ") == NULL);
	CHECK(strstr(out.err.detail, "0123456789abcdef0123") == NULL);
	CHECK_INT(strlen(out.code), sizeof(out.code) - 1);
	CHECK_HAS(out.err.detail, "Request id: 01234567-89ab-cdef-0123-456789abcdef");
	CHECK(strlen(out.err.detail) < sizeof(out.err.detail) - 1);
}

static void
retry_after_goes_along(void)
{
	CmkHttpAnswer ans = answer(429, "");
	CmkOutcome	out = {.http_status = 0};

	strcpy(ans.retry_after, "17");
	cmk_classify_vault(&ans, CMK_OP_GET, "could not", &out);
	CHECK_INT(out.retry_after_ms, 17000);
}

/* Names are for ever; no two are equal, and each has what the table needs. */
static void
reasons(void)
{
	int			i;
	int			j;

	for (i = 0; i <= CMK_REASON_API_VERSION; i++)
	{
		CmkOutcome	out = {.http_status = 0};
		int			rc = cmk_outcome(&out, i, "%s", "x");

		CHECK_INT(rc, i == CMK_REASON_NONE ? 0 : -1);
		CHECK_INT(out.verdict, cmk_reason_verdict(i));
		CHECK_INT(out.confirm, cmk_reason_confirm(i));
		CHECK((cmk_reason_name(i)[0] == '\0') == (i == CMK_REASON_NONE));
		CHECK((out.err.hint[0] == '\0') == (i == CMK_REASON_NONE));
		CHECK((out.verdict == YES) == (i == CMK_REASON_NONE));
		CHECK(!out.confirm || out.verdict == NO);
		for (j = 0; j < i; j++)
			CHECK(strcmp(cmk_reason_name(i), cmk_reason_name(j)) != 0);
	}
	CHECK_STR(cmk_reason_name(-1), "UnexpectedAnswer");
	CHECK_STR(cmk_reason_name(1000), "UnexpectedAnswer");
	CHECK_INT(cmk_reason_verdict(1000), MAYBE);
	CHECK_STR(cmk_reason_name(CMK_REASON_DNS), "NameNotResolved");
	CHECK_STR(cmk_reason_name(CMK_REASON_KEY_EXPIRED), "KeyExpired");
}

int
main(void)
{
	RUN(answers_of_a_vault);
	RUN(answers_of_token_sources);
	RUN(foreign_text_in_a_message);
	RUN(retry_after_goes_along);
	RUN(reasons);
	return unit_done();
}
