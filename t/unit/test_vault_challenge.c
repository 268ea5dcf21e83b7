/*
 * test_vault_challenge.c
 *	  Whose request for a token is answered.
 */
#include "../../src/vault/answers.h"
#include "../../src/vault/vault_impl.h"
#include "unit.h"

#define TENANT	"72f988bf-86f1-41af-91ab-2d7cd011db47"
#define OTHER	"2ac36096-05f9-482e-ae23-1bdb78adb0bb"
#define AUTH	"authorization=\"https://login.microsoftonline.com/" TENANT "\""
#define RES		"resource=\"https://vault.azure.net\""
#define AZURE	CMK_DEFAULT_DNS_SUFFIXES

static CmkOutcome out;

static int
parse(const char *lines, CmkChallenge *c)
{
	memset(&out, 0, sizeof(out));
	return cmk_challenge_parse(lines, c, &out);
}

static void
forms_that_are_known(void)
{
	static const char *const good[] = {
		"Bearer " AUTH ", " RES "\n",
		"bearer " AUTH "," RES "\n",
		"Bearer " AUTH " " RES "\n",
		"Bearer " RES ", " AUTH "\n",
		"Basic realm=\"x\"\nBearer " AUTH ", " RES "\n",
		"Bearer authorization_uri=\"https://login.windows.net/" TENANT "\", " RES "\n",
		"Bearer " AUTH ", scope=\"https://vault.azure.net/.default\"\n",
		"Bearer " AUTH ", resource=\"https://vault.azure.net/\", error=\"x, y=\\\"z\\\"\"\n",
		"Bearer authorization=https://login.microsoftonline.com/" TENANT "/, resource=https://vault.azure.net",
	};
	CmkChallenge c;
	size_t		i;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
	{
		if (parse(good[i], &c) < 0)
		{
			unit_fail(__FILE__, __LINE__, "refused: %s", good[i]);
			return;
		}
		CHECK_STR(c.tenant, TENANT);
		CHECK_STR(c.resource, "https://vault.azure.net");
		CHECK_STR(c.resource_host, "vault.azure.net");
	}
}

static void
forms_that_are_not(void)
{
	static const char *const bad[] = {
		"", "\n", "Bearer\n", "Bearer \n", "Basic " AUTH ", " RES "\n",
		"Bearer " AUTH "\n", "Bearer " RES "\n", "BearerX " AUTH ", " RES "\n",
		"Bearer " AUTH ", " AUTH ", " RES "\n",
		"Bearer " AUTH ", " RES ", " RES "\n",
		"Bearer authorization=\"https://login.microsoftonline.com/" TENANT ", " RES "\n",
		"Bearer authorization=\"http://login.microsoftonline.com/" TENANT "\", " RES "\n",
		"Bearer authorization=\"https://login.microsoftonline.com/common\", " RES "\n",
		"Bearer authorization=\"https://login.microsoftonline.com/\", " RES "\n",
		"Bearer authorization=\"https://login.microsoftonline.com\", " RES "\n",
		"Bearer authorization=\"https://u@login.microsoftonline.com/" TENANT "\", " RES "\n",
		"Bearer " AUTH ", resource=\"vault.azure.net\"\n",
		"Bearer " AUTH ", resource=\"http://vault.azure.net\"\n",
		"Bearer " AUTH ", resource=\"https://vault.azure.net/x\"\n",
		"Bearer " AUTH ", resource=\"https://vault.azure.net:444\"\n",
		"Bearer " AUTH ", resource=\"https://vault.azure.net?x\"\n",
		"Bearer " AUTH ", resource=\"\"\n",
		"Bearer =x, " AUTH ", " RES "\n",
	};
	CmkChallenge c;
	size_t		i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		if (parse(bad[i], &c) == 0)
		{
			unit_fail(__FILE__, __LINE__, "taken: %s", bad[i]);
			return;
		}
		CHECK_INT(out.reason, CMK_REASON_CHALLENGE);
		CHECK_INT(out.verdict, CMK_VERDICT_MAYBE);
	}
}

static bool
answered(const char *resource, const char *host, const char *suffixes,
		 const char *tenant)
{
	char		line[600];
	CmkChallenge c;

	snprintf(line, sizeof(line), "Bearer " AUTH ", resource=\"https://%s\"\n",
			 resource);
	return parse(line, &c) == 0 &&
		cmk_challenge_check(&c, host, suffixes, tenant, &out) == 0;
}

static void
the_resource_must_be_a_domain_of_the_host(void)
{
	CHECK(answered("vault.azure.net", "x.vault.azure.net", AZURE, NULL));
	CHECK(answered("VAULT.azure.net", "x.vault.azure.net", AZURE, NULL));
	CHECK(answered("managedhsm.azure.net", "x.managedhsm.azure.net", AZURE, NULL));
	CHECK(answered("vault.localhost", "x.vault.localhost", "vault.localhost", NULL));

	CHECK(!answered("managedhsm.azure.net", "x.vault.azure.net", AZURE, NULL));
	CHECK_INT(out.reason, CMK_REASON_CHALLENGE);
	CHECK_HAS(out.err.detail, "managedhsm.azure.net");
	CHECK(!answered("management.azure.com", "x.vault.azure.net", AZURE, NULL));
	CHECK(!answered("x.vault.azure.net", "x.vault.azure.net", AZURE, NULL));
	CHECK(!answered("ault.azure.net", "x.vault.azure.net", AZURE, NULL));

	/* a domain of the host, but none of ours */
	CHECK(!answered("azure.net", "x.vault.azure.net", AZURE, NULL));
	CHECK(!answered("net", "x.vault.azure.net", AZURE, NULL));
	CHECK(!answered("vault.azure.net", "x.vault.azure.net", "other.example", NULL));
}

static void
for_a_host_that_is_named_whole(void)
{
	CHECK(answered("localhost", "localhost", "=localhost", NULL));
	CHECK(answered("vault.azure.net", "x.vault.azure.net", "=x.vault.azure.net", NULL));
	CHECK(!answered("net", "x.vault.azure.net", "=x.vault.azure.net", NULL));
	CHECK(!answered("vault.azure.net", "localhost", "=localhost", NULL));
	CHECK(!answered("localhost", "x.localhost", "=localhost", NULL));
}

static void
the_tenant_must_be_the_configured_one(void)
{
	CHECK(answered("vault.azure.net", "x.vault.azure.net", AZURE, ""));
	CHECK(answered("vault.azure.net", "x.vault.azure.net", AZURE, TENANT));
	CHECK(answered("vault.azure.net", "x.vault.azure.net", AZURE,
				   "72F988BF-86F1-41AF-91AB-2D7CD011DB47"));
	CHECK(!answered("vault.azure.net", "x.vault.azure.net", AZURE, OTHER));
	CHECK_INT(out.reason, CMK_REASON_CHALLENGE);
	CHECK_HAS(out.err.detail, TENANT);
	CHECK_HAS(out.err.detail, OTHER);
	CHECK_HAS(out.err.hint, "No token was sent");
}

static void
realm_of_azure_arc(void)
{
	char		value[64];

	CHECK_INT(cmk_challenge_param("Basic realm=/a/b.key\n", "Basic", "realm",
								  value, sizeof(value)), 0);
	CHECK_STR(value, "/a/b.key");
	CHECK_INT(cmk_challenge_param("Bearer realm=x\nBasic realm=\"/a/b c.key\"",
								  "Basic", "realm", value, sizeof(value)), 0);
	CHECK_STR(value, "/a/b c.key");
	CHECK_INT(cmk_challenge_param("Basic realm=\"/a/b", "Basic", "realm",
								  value, sizeof(value)), -1);
	CHECK_INT(cmk_challenge_param("Basic realm=/a/b.key", "Basic", "realm",
								  value, 8), -1);
	CHECK_INT(cmk_challenge_param("Basic realm=/a/b.key", "Basic", "realm",
								  value, 9), 0);
}

static void
files_of_azure_arc(void)
{
	const char *dir = "/var/opt/azcmagent/tokens";

	CHECK(cmk_arc_path_allowed("/var/opt/azcmagent/tokens/a.key", dir));
	CHECK(cmk_arc_path_allowed("/var/opt/azcmagent/tokens/a.key", "/var/opt/azcmagent/tokens//"));
	CHECK(!cmk_arc_path_allowed("/var/opt/azcmagent/tokens/.key", dir));
	CHECK(!cmk_arc_path_allowed("/var/opt/azcmagent/tokens/a.pem", dir));
	CHECK(!cmk_arc_path_allowed("/var/opt/azcmagent/tokens/a/b.key", dir));
	CHECK(!cmk_arc_path_allowed("/var/opt/azcmagent/tokens/../a.key", dir));
	CHECK(!cmk_arc_path_allowed("/var/opt/azcmagent/tokens2/a.key", dir));
	CHECK(!cmk_arc_path_allowed("/var/opt/azcmagent/a.key", dir));
	CHECK(!cmk_arc_path_allowed("a.key", dir));
	CHECK(!cmk_arc_path_allowed("", dir));
}

int
main(void)
{
	RUN(forms_that_are_known);
	RUN(forms_that_are_not);
	RUN(the_resource_must_be_a_domain_of_the_host);
	RUN(for_a_host_that_is_named_whole);
	RUN(the_tenant_must_be_the_configured_one);
	RUN(realm_of_azure_arc);
	RUN(files_of_azure_arc);
	return unit_done();
}
