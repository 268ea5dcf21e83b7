/*
 * test_vault_url.c
 *	  Which URL is a key, and which host may be told a secret.
 */
#include "../../src/vault/url.h"
#include "unit.h"

#define GOOD	"https://x.vault.azure.net/keys/kek"

static int
parse(const char *url, CmkKeyUrl *out)
{
	CmkError	err;

	return cmk_key_url_parse(url, out, &err);
}

static bool
trusted(const char *host, const char *suffixes)
{
	CmkKeyUrl	url;
	char		text[600];
	CmkError	err;

	snprintf(text, sizeof(text), "https://%s/keys/kek", host);
	return parse(text, &url) == 0 &&
		cmk_key_url_trusted(&url, suffixes, &err) == 0;
}

static void
parts_of_a_key_url(void)
{
	CmkKeyUrl	url;

	CHECK_INT(parse("HTTPS://My-Vault.Vault.Azure.NET/Keys/My-Key/0123456789abcdef0123456789ABCDEF/", &url), 0);
	CHECK_STR(url.host, "my-vault.vault.azure.net");
	CHECK_STR(url.base, "https://my-vault.vault.azure.net");
	CHECK_STR(url.name, "My-Key");
	CHECK_STR(url.version, "0123456789abcdef0123456789ABCDEF");

	CHECK_INT(parse(GOOD, &url), 0);
	CHECK_STR(url.version, "");
	CHECK_INT(parse(GOOD "/", &url), 0);
	CHECK_STR(url.version, "");
	CHECK_INT(parse("https://x.vault.azure.net:443/keys/kek", &url), 0);
	CHECK_STR(url.base, "https://x.vault.azure.net");
	CHECK_INT(parse("https://x.vault.localhost:8443/keys/kek", &url), 0);
	CHECK_STR(url.host, "x.vault.localhost");
	CHECK_STR(url.base, "https://x.vault.localhost:8443");
}

/* Each is one step from a good URL. */
static void
what_is_no_key_url(void)
{
	static const char *const bad[] = {
		"", "https://", "https:///keys/kek", "x.vault.azure.net/keys/kek",
		"http://x.vault.azure.net/keys/kek", "file:///keys/kek",
		"https://user@x.vault.azure.net/keys/kek",
		"https://user:pw@x.vault.azure.net/keys/kek",
		"https://x.vault.azure.net@evil.com/keys/kek",
		"https://evil.com\\@x.vault.azure.net/keys/kek",
		"https://evil.com#x.vault.azure.net/keys/kek",
		"https://evil.com?x.vault.azure.net/keys/kek",
		"https://x.vault.azure.net%2eevil.com/keys/kek",
		"https://x.vault.azure.net./keys/kek", "https://.vault.azure.net/keys/kek",
		"https://x..vault.azure.net/keys/kek", "https://-x.vault.azure.net/keys/kek",
		"https://x-.vault.azure.net/keys/kek", "https://x_y.vault.azure.net/keys/kek",
		"https://x.vault.azure.net:/keys/kek", "https://x.vault.azure.net:0/keys/kek",
		"https://x.vault.azure.net:65536/keys/kek", "https://x.vault.azure.net:0443/keys/kek",
		"https://x.vault.azure.net:44a/keys/kek", "https://x.vault.azure.net:443:1/keys/kek",
		"https://127.1/keys/kek", "https://1/keys/kek", "https://0x7f000001/keys/kek",
		"https://0177.0.0.1/keys/kek", "https://1.2.3.256/keys/kek",
		"https://x.vault.azure.0x1/keys/kek", "https://x.1/keys/kek",
		"https://[::1]/keys/kek", "https://[::ffff:1.2.3.4]/keys/kek",
		"https://x.vault.azure.net", "https://x.vault.azure.net/",
		"https://x.vault.azure.net/keys", "https://x.vault.azure.net/keys/",
		"https://x.vault.azure.net//keys/kek", "https://x.vault.azure.net/keys//kek",
		"https://x.vault.azure.net/secrets/kek", "https://x.vault.azure.net/keys/a_b",
		"https://x.vault.azure.net/keys/a.b", "https://x.vault.azure.net/keys/../x",
		GOOD "//", GOOD "/v/w", GOOD "/v/wrapkey", GOOD "/v-w", GOOD "?x=1",
		GOOD "#f", GOOD " ", " " GOOD, GOOD "\n", "https://x.vault\t.azure.net/keys/kek",
		"https://\xd1\x85.vault.azure.net/keys/kek",
		"https://x.vault.azure.net\xe3\x80\x82" "evil.com/keys/kek",
	};
	CmkKeyUrl	url;
	CmkError	err;
	size_t		i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		if (cmk_key_url_parse(bad[i], &url, &err) == 0)
		{
			unit_fail(__FILE__, __LINE__, "taken: \"%s\"", bad[i]);
			return;
		}
		CHECK_INT(err.code, CMK_ERR_CONFIG);
		CHECK(err.detail[0] != '\0');
	}
}

static void
limits_of_a_key_url(void)
{
	CmkKeyUrl	url;
	char		text[1024];
	char		part[300];

	memset(part, 'a', sizeof(part));
	snprintf(text, sizeof(text), "https://x.vault.azure.net/keys/%.127s", part);
	CHECK_INT(parse(text, &url), 0);
	snprintf(text, sizeof(text), "https://x.vault.azure.net/keys/%.128s", part);
	CHECK_INT(parse(text, &url), -1);
	snprintf(text, sizeof(text), GOOD "/%.63s", part);
	CHECK_INT(parse(text, &url), 0);
	snprintf(text, sizeof(text), GOOD "/%.64s", part);
	CHECK_INT(parse(text, &url), -1);
	snprintf(text, sizeof(text), "https://%.63s.vault.azure.net/keys/k", part);
	CHECK_INT(parse(text, &url), 0);
	snprintf(text, sizeof(text), "https://%.64s.vault.azure.net/keys/k", part);
	CHECK_INT(parse(text, &url), -1);
	snprintf(text, sizeof(text), "https://%.60s.%.60s.%.60s.%.60s.%.60s/keys/k",
			 part, part, part, part, part);
	CHECK_INT(parse(text, &url), -1);
}

static void
hosts_that_are_trusted(void)
{
	const char *suffixes = CMK_DEFAULT_DNS_SUFFIXES;

	CHECK(trusted("x.vault.azure.net", suffixes));
	CHECK(trusted("X.VAULT.AZURE.NET", suffixes));
	CHECK(trusted("x.managedhsm.azure.net", suffixes));
	CHECK(trusted("x.vault.azure.cn", suffixes));
	CHECK(trusted("x.managedhsm.usgovcloudapi.net", suffixes));
	CHECK(trusted("x.vault.localhost:1234", " vault.localhost , b.c "));
	CHECK(trusted("x.b.c", " vault.localhost , b.c "));
}

static void
hosts_that_only_look_so(void)
{
	const char *suffixes = CMK_DEFAULT_DNS_SUFFIXES;

	CHECK(!trusted("vault.azure.net", suffixes));
	CHECK(!trusted("evilvault.azure.net", suffixes));
	CHECK(!trusted("x.evilvault.azure.net", suffixes));
	CHECK(!trusted("x.vault.azure.net.evil.com", suffixes));
	CHECK(!trusted("x.vault-azure.net", suffixes));
	CHECK(!trusted("x.vault.azure.ne", suffixes));
	CHECK(!trusted("x.azure.net", suffixes));
	CHECK(!trusted("evil.com", suffixes));
	CHECK(!trusted("localhost", suffixes));
	CHECK(!trusted("169.254.169.254", suffixes));

	/* no list trusts nobody, and an empty entry is no suffix */
	CHECK(!trusted("x.vault.azure.net", ""));
	CHECK(!trusted("x.vault.azure.net", NULL));
	CHECK(!trusted("x.vault.azure.net", ",, ,"));
}

static void
a_whole_host_must_be_named_as_such(void)
{
	CHECK(trusted("localhost:8443", "=localhost"));
	CHECK(trusted("127.0.0.1", "=127.0.0.1"));
	CHECK(!trusted("x.localhost", "=localhost"));
	CHECK(!trusted("localhost", "localhost"));
	CHECK(!trusted("127.0.0.1", "127.0.0.1"));

	/* an address is below no suffix */
	CHECK(!trusted("10.0.0.1", "0.0.1"));
	CHECK(!trusted("10.0.0.1", "1"));
	CHECK_INT(cmk_host_trust("x.y.z", "y.z,=x.y.z"), CMK_TRUST_EXACT);
	CHECK_INT(cmk_host_trust("x.y.z", "y.z"), CMK_TRUST_SUFFIX);
}

static void
endpoints(void)
{
	CmkEndpoint e;

	CHECK_INT(cmk_endpoint_parse("http://169.254.169.254/metadata/identity", &e), 0);
	CHECK(!e.tls && cmk_endpoint_is_local(&e));
	CHECK_STR(e.base, "http://169.254.169.254");
	CHECK_STR(e.path, "/metadata/identity");
	CHECK_INT(cmk_endpoint_parse("http://LocalHost:40342/x", &e), 0);
	CHECK(cmk_endpoint_is_local(&e));
	CHECK_STR(e.base, "http://localhost:40342");
	CHECK_INT(cmk_endpoint_parse("http://[::1]:80", &e), 0);
	CHECK(cmk_endpoint_is_local(&e));
	CHECK_INT(cmk_endpoint_parse("http://127.9.9.9", &e), 0);
	CHECK(cmk_endpoint_is_local(&e));

	CHECK_INT(cmk_endpoint_parse("http://128.0.0.1", &e), 0);
	CHECK(!cmk_endpoint_is_local(&e));
	CHECK_INT(cmk_endpoint_parse("http://169.253.169.254", &e), 0);
	CHECK(!cmk_endpoint_is_local(&e));
	CHECK_INT(cmk_endpoint_parse("http://127.0.0.1.evil.com", &e), 0);
	CHECK(!cmk_endpoint_is_local(&e));
	CHECK_INT(cmk_endpoint_parse("http://localhost.evil.com", &e), 0);
	CHECK(!cmk_endpoint_is_local(&e));
	CHECK_INT(cmk_endpoint_parse("http://127.0.0.256", &e), -1);
	CHECK_INT(cmk_endpoint_parse("http://127.1", &e), -1);
	CHECK_INT(cmk_endpoint_parse("http://2130706433", &e), -1);

	CHECK_INT(cmk_endpoint_parse("http://u@127.0.0.1", &e), -1);
	CHECK_INT(cmk_endpoint_parse("http://127.0.0.1/?a=b", &e), -1);
	CHECK_INT(cmk_endpoint_parse("http://127.0.0.1/a b", &e), -1);
	CHECK_INT(cmk_endpoint_parse("ftp://127.0.0.1/", &e), -1);
	CHECK_INT(cmk_endpoint_parse("https://[::1", &e), -1);
	CHECK_INT(cmk_endpoint_parse("https://a]:1", &e), -1);
}

static void
the_same_key(void)
{
	CmkKeyUrl	a;
	CmkKeyUrl	b;

	CHECK_INT(parse(GOOD "/abc", &a), 0);
	CHECK_INT(parse("https://X.vault.azure.net:443/keys/KEK", &b), 0);
	CHECK(cmk_key_url_same(&a, &b));
	CHECK(!cmk_key_url_same(&b, &a));
	CHECK_INT(parse(GOOD "/ABC", &b), 0);
	CHECK(cmk_key_url_same(&a, &b));
	CHECK_INT(parse(GOOD "/abd", &b), 0);
	CHECK(!cmk_key_url_same(&a, &b));
	CHECK_INT(parse("https://x.vault.azure.net:444/keys/kek", &b), 0);
	CHECK(!cmk_key_url_same(&a, &b));
	CHECK_INT(parse("https://y.vault.azure.net/keys/kek", &b), 0);
	CHECK(!cmk_key_url_same(&a, &b));
}

/* One key, one spelling. */
static void
normal_form(void)
{
	static const char *const spellings[] = {
		"https://X.vault.AZURE.net/keys/KEK", "HTTPS://x.vault.azure.net/KEYS/kek/",
		"https://x.vault.azure.net:443/keys/Kek", GOOD
	};
	static const char *const others[] = {
		"file:///A/b/", "https://x.vault.azure.net/secrets/KEK", "", "HTTPS://"
	};
	char		url[1024];
	size_t		i;

	for (i = 0; i < sizeof(spellings) / sizeof(*spellings); i++)
	{
		strcpy(url, spellings[i]);
		cmk_key_url_normalize(url);
		CHECK_STR(url, GOOD);
	}
	strcpy(url, GOOD "/ABC/");
	cmk_key_url_normalize(url);
	CHECK_STR(url, GOOD "/abc");
	for (i = 0; i < sizeof(others) / sizeof(*others); i++)
	{
		strcpy(url, others[i]);
		cmk_key_url_normalize(url);
		CHECK_STR(url, others[i]);
	}
}

static void
guids(void)
{
	CHECK(cmk_is_guid("72f988bf-86f1-41AF-91ab-2d7cd011db47"));
	CHECK(!cmk_is_guid("72f988bf-86f1-41af-91ab-2d7cd011db4"));
	CHECK(!cmk_is_guid("72f988bf-86f1-41af-91ab-2d7cd011db478"));
	CHECK(!cmk_is_guid("72f988bf086f1-41af-91ab-2d7cd011db47"));
	CHECK(!cmk_is_guid("72f988bg-86f1-41af-91ab-2d7cd011db47"));
	CHECK(!cmk_is_guid("common"));
	CHECK(!cmk_is_guid(""));
}

int
main(void)
{
	RUN(parts_of_a_key_url);
	RUN(what_is_no_key_url);
	RUN(limits_of_a_key_url);
	RUN(hosts_that_are_trusted);
	RUN(hosts_that_only_look_so);
	RUN(a_whole_host_must_be_named_as_such);
	RUN(endpoints);
	RUN(the_same_key);
	RUN(normal_form);
	RUN(guids);
	return unit_done();
}
