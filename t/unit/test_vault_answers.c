/*
 * test_vault_answers.c
 *	  Keys, lists of versions, values and tokens as the services answer them, and as they
 *	  must not.
 */
#include "../../src/seal/base64url.h"
#include "../../src/vault/answers.h"
#include "../../src/vault/json.h"
#include "unit.h"

#define BASE	"https://x.vault.azure.net/keys/kek"
#define VER		"0123456789abcdef0123456789abcdef"
#define KID		BASE "/" VER

static CmkOutcome out;

/* n of a number of so many bits, odd, in base64url. */
static const char *
modulus(int bits)
{
	static char text[CMK_BASE64URL_SIZE(1024)];
	uint8_t		n[1024];
	int			len = (bits + 7) / 8;

	memset(n, 0x5a, sizeof(n));
	n[0] = 1 << ((bits - 1) % 8);
	n[len - 1] |= 1;
	cmk_base64url_encode(n, len, text);
	return text;
}

/* A key bundle whose parts a test replaces. */
typedef struct Bundle
{
	const char *kid;
	const char *kty;
	const char *ops;
	const char *n;
	const char *e;
	const char *attributes;
} Bundle;

static const Bundle good = {
	"\"" KID "\"", "\"RSA\"", "[\"encrypt\",\"wrapKey\",\"unwrapKey\"]", NULL,
	"\"AQAB\"",
	"{\"enabled\":true,\"created\":1700000000,\"updated\":1700000001,"
	"\"recoveryLevel\":\"Recoverable+ProtectedSubscription\",\"recoverableDays\":90}"
};

static int
parse(const Bundle *b, const char *asked, CmkKeyInfo *key)
{
	char		text[8192];
	char		n[2048];
	CmkKeyUrl	url;

	memset(&out, 0, sizeof(out));
	snprintf(n, sizeof(n), "\"%s\"", modulus(2048));
	snprintf(text, sizeof(text),
			 "{\"key\":{\"kid\":%s,\"kty\":%s,\"key_ops\":%s,\"n\":%s,\"e\":%s},"
			 "\"attributes\":%s,\"tags\":{}}\r\n",
			 b->kid, b->kty, b->ops, b->n != NULL ? b->n : n, b->e, b->attributes);
	if (cmk_key_url_parse(asked, &url, NULL) < 0)
		return unit_fail(__FILE__, __LINE__, "bad URL in a test");
	return cmk_parse_key(text, strlen(text), &url, key, &out);
}

static void
a_key(void)
{
	CmkKeyInfo	key;
	Bundle		b = good;

	CHECK_INT(parse(&good, BASE, &key), 0);
	CHECK_STR(key.kid, KID);
	CHECK_STR(key.url.version, VER);
	CHECK_STR(key.kty, "RSA");
	CHECK_INT(key.bits, 2048);
	CHECK(key.enabled && key.can_wrap && key.can_unwrap);
	CHECK_INT(key.nbf, 0);
	CHECK_INT(key.exp, 0);
	CHECK_INT(key.created, 1700000000);
	CHECK_STR(key.recovery_level, "Recoverable+ProtectedSubscription");

	b.kty = "\"RSA-HSM\"";
	b.ops = "[]";
	b.attributes = "{\"enabled\":false,\"nbf\":5,\"exp\":6,\"created\":null}";
	CHECK_INT(parse(&b, KID, &key), 0);
	CHECK(!key.enabled && !key.can_wrap && !key.can_unwrap);
	CHECK_INT(key.nbf, 5);
	CHECK_INT(key.exp, 6);
	CHECK_STR(key.recovery_level, "");

	/* what it is, keycheck judges */
	b = good;
	b.kty = "\"EC\"";
	b.n = b.e = "null";
	CHECK_INT(parse(&b, KID, &key), 0);
	CHECK_INT(key.bits, 0);
}

static void
sizes_of_keys(void)
{
	static const int sizes[] = {512, 1024, 2047, 2048, 2049, 3072, 4096, 8192};
	size_t		i;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		Bundle		b = good;
		CmkKeyInfo	key;
		char		n[2048];

		snprintf(n, sizeof(n), "\"%s\"", modulus(sizes[i]));
		b.n = n;
		CHECK_INT(parse(&b, KID, &key), 0);
		CHECK_INT(key.bits, sizes[i]);
		CHECK((key.public_len > 0) ==
			  (sizes[i] == 2048 || sizes[i] == 3072 || sizes[i] == 4096));
	}
}

/* The public key is made of n and e, if they are of a kind that is supported. */
static void
the_public_key(void)
{
	/* SubjectPublicKeyInfo of an RSA key of 2048 bits with e 65537 begins so */
	static const uint8_t head[] = {
		0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86,
		0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00, 0x03, 0x82, 0x01, 0x0f, 0x00,
		0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00
	};
	static const uint8_t tail[] = {0x02, 0x03, 0x01, 0x00, 0x01};
	static const char *const small[] = {"\"Aw\"", "\"EQ\"", "\"__8\"", "\"AP__\""};
	static const char *const large[] = {"\"AQAB\"", "\"AAEAAQ\"", "\"AQAD\"", "\"__________8\""};
	Bundle		b = good;
	CmkKeyInfo	key;
	size_t		i;

	CHECK_INT(parse(&good, KID, &key), 0);
	CHECK_INT(key.public_len, sizeof(head) + 256 + sizeof(tail));
	CHECK_MEM(key.public_key, head, sizeof(head));
	CHECK_INT(key.public_key[sizeof(head)], 0x80);
	CHECK_INT(key.public_key[sizeof(head) + 1], 0x5a);
	CHECK_MEM(key.public_key + sizeof(head) + 256, tail, sizeof(tail));
	for (i = 0; i < 4; i++)
	{
		b.e = small[i];
		CHECK_INT(parse(&b, KID, &key), 0);
		CHECK_INT(key.public_len, 0);
		CHECK_INT(key.bits, 2048);
		b.e = large[i];
		CHECK_INT(parse(&b, KID, &key), 0);
		CHECK(key.public_len > 290);
	}
}

/* An answer about a key that was not asked for. */
static void
another_key(void)
{
	static const char *const kids[] = {
		"\"" BASE "\"", "\"" BASE "/0123456789abcdef0123456789abcdee\"",
		"\"https://y.vault.azure.net/keys/kek/" VER "\"",
		"\"https://x.vault.azure.net:444/keys/kek/" VER "\"",
		"\"https://x.vault.azure.net/keys/kek2/" VER "\"",
		"\"http://x.vault.azure.net/keys/kek/" VER "\"",
		"\"https://x.vault.azure.net/secrets/kek/" VER "\"",
		"\"\"", "null", "1", "{}", "\"" KID "/x\"", "\"" KID " \"",
	};
	Bundle		b = good;
	CmkKeyInfo	key;
	size_t		i;

	for (i = 0; i < sizeof(kids) / sizeof(kids[0]); i++)
	{
		b.kid = kids[i];
		if (parse(&b, KID, &key) == 0)
		{
			unit_fail(__FILE__, __LINE__, "taken: %s", kids[i]);
			return;
		}
		CHECK_INT(out.reason, CMK_REASON_MALFORMED);
		CHECK_STR(key.kid, "");
	}
	b.kid = "\"https://X.VAULT.azure.net:443/keys/KEK/0123456789ABCDEF0123456789ABCDEF\"";
	CHECK_INT(parse(&b, KID, &key), 0);
}

static void
members_of_a_wrong_kind(void)
{
	static const struct
	{
		size_t		member;
		const char *value;
	}			bad[] = {
#define M(m)	offsetof(Bundle, m)
		{M(kty), "null"}, {M(kty), "1"}, {M(kty), "\"RSA \""},
		{M(kty), "\"aaaaaaaaaaaaaaaaaaaa\""},
		{M(ops), "null"}, {M(ops), "\"wrapKey\""}, {M(ops), "[1]"}, {M(ops), "{}"},
		{M(n), "null"}, {M(n), "\"\""}, {M(n), "\"AAAA\""}, {M(n), "\"a\""},
		{M(n), "\"AQAB=\""}, {M(n), "\"AQ+B\""}, {M(n), "\"AQAC\""}, {M(n), "[]"},
		{M(e), "null"}, {M(e), "\"\""}, {M(e), "\"AQ\""}, {M(e), "\"AA\""},
		{M(e), "\"Ag\""}, {M(e), "65537"}, {M(e), "\"AQEBAQEBAQEBAQ\""},
		{M(attributes), "null"}, {M(attributes), "{}"}, {M(attributes), "[]"},
		{M(attributes), "{\"enabled\":null}"}, {M(attributes), "{\"enabled\":1}"},
		{M(attributes), "{\"enabled\":\"true\"}"},
		{M(attributes), "{\"Enabled\":true}"},
		{M(attributes), "{\"enabled\":true,\"enabled\":true}"},
		{M(attributes), "{\"enabled\":true,\"exp\":\"6\"}"},
		{M(attributes), "{\"enabled\":true,\"exp\":-1}"},
		{M(attributes), "{\"enabled\":true,\"exp\":1.5}"},
		{M(attributes), "{\"enabled\":true,\"exp\":1e30}"},
		{M(attributes), "{\"enabled\":true,\"nbf\":true}"},
		{M(attributes), "{\"enabled\":true,\"created\":[]}"},
		{M(attributes), "{\"enabled\":true,\"recoveryLevel\":1}"},
		{M(attributes), "{\"enabled\":true,\"recoveryLevel\":\"a\\nb\"}"},
	};
	size_t		i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		Bundle		b = good;
		CmkKeyInfo	key;

		*(const char **) ((char *) &b + bad[i].member) = bad[i].value;
		if (parse(&b, KID, &key) == 0)
		{
			unit_fail(__FILE__, __LINE__, "taken: %s", bad[i].value);
			return;
		}
		CHECK_INT(out.reason, CMK_REASON_MALFORMED);
		CHECK(out.err.detail[0] != '\0');
	}
}

/* ---- lists of versions ---- */

#define ITEM(v, attributes) \
	"{\"kid\":\"" BASE "/" v "\",\"attributes\":" attributes ",\"tags\":{\"a\":\"b\"}}"
#define LIST(items)	"{\"value\":[" items "],\"nextLink\":null}"

static char next[CMK_NEXT_LINK_SIZE];

static int
versions(const char *text, CmkVersionList *into)
{
	CmkKeyUrl	url;

	memset(&out, 0, sizeof(out));
	if (cmk_key_url_parse(BASE, &url, NULL) < 0)
		return unit_fail(__FILE__, __LINE__, "bad URL in a test");
	return cmk_parse_versions(text, strlen(text), &url, into, next, &out);
}

static void
a_list_of_versions(void)
{
	CmkKeyVersion v[8];
	CmkVersionList list = {.list = v, .max = 8};

	CHECK_INT(versions(LIST(ITEM("a1", "{\"enabled\":true,\"created\":100}") ","
							ITEM("a2", "{\"enabled\":false,\"created\":300,\"nbf\":5,\"exp\":6}") ","
							ITEM("a3", "{\"enabled\":true}")), &list), 0);
	CHECK_INT(list.n, 3);
	CHECK_STR(next, "");
	CHECK_STR(v[0].kid, BASE "/a2");
	CHECK(!v[0].enabled);
	CHECK_INT(v[0].created, 300);
	CHECK_INT(v[0].nbf, 5);
	CHECK_INT(v[0].exp, 6);
	CHECK_STR(v[1].kid, BASE "/a1");
	CHECK(v[1].enabled && v[1].nbf == 0 && v[1].exp == 0);
	CHECK_STR(v[2].kid, BASE "/a3");
	CHECK_INT(v[2].created, 0);

	/* the next page goes among them, equals after equals */
	CHECK_INT(versions(LIST(ITEM("b1", "{\"enabled\":true,\"created\":100}") ","
							ITEM("b2", "{\"enabled\":true,\"created\":400}")), &list), 0);
	CHECK_INT(list.n, 5);
	CHECK_STR(v[0].kid, BASE "/b2");
	CHECK_STR(v[2].kid, BASE "/a1");
	CHECK_STR(v[3].kid, BASE "/b1");
	CHECK_INT(versions("{\"value\":[]}", &list), 0);
	CHECK_INT(list.n, 5);
}

/* Without room for all, the newest are kept; nothing is written behind them. */
static void
more_versions_than_asked_for(void)
{
	CmkKeyVersion v[3];
	CmkVersionList list = {.list = v, .max = 2};
	CmkVersionList none = {.list = NULL, .max = 0};
	const char *text = LIST(ITEM("a2", "{\"enabled\":true,\"created\":2}") ","
							ITEM("a4", "{\"enabled\":true,\"created\":4}") ","
							ITEM("a1", "{\"enabled\":true,\"created\":1}") ","
							ITEM("a5", "{\"enabled\":true,\"created\":5}") ","
							ITEM("a3", "{\"enabled\":true,\"created\":3}"));

	memset(v, 'x', sizeof(v));
	CHECK_INT(versions(text, &list), 0);
	CHECK_INT(list.n, 2);
	CHECK_STR(v[0].kid, BASE "/a5");
	CHECK_STR(v[1].kid, BASE "/a4");
	CHECK_INT(v[2].kid[0], 'x');
	CHECK_INT(versions(text, &none), 0);
	CHECK_INT(none.n, 0);
}

static void
lists_that_are_none(void)
{
	static const char *const bad[] = {
		"", "[]", "{}", "{\"value\":null}", "{\"value\":{}}", "{\"value\":[1]}", "{\"value\":[{}]}",
		"{\"value\":[{\"kid\":\"" KID "\"}]}", "{\"value\":[],\"value\":[]}",
		LIST(ITEM("a", "{}")), LIST(ITEM("a", "{\"enabled\":1}")), LIST(ITEM("a", "null")),
		LIST(ITEM("a", "{\"enabled\":true,\"created\":\"1\"}")),
		LIST("{\"kid\":\"" BASE "\",\"attributes\":{\"enabled\":true}}"),
		LIST("{\"kid\":\"https://x.vault.azure.net/keys/kek2/a\",\"attributes\":{\"enabled\":true}}"),
		LIST("{\"kid\":\"https://y.vault.azure.net/keys/kek/a\",\"attributes\":{\"enabled\":true}}"),
		LIST("{\"attributes\":{\"enabled\":true}}"),
		LIST(ITEM("a", "{\"enabled\":true}")) " x",
	};
	CmkKeyVersion v[4];
	size_t		i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		CmkVersionList list = {.list = v, .max = 4};

		if (versions(bad[i], &list) == 0)
		{
			unit_fail(__FILE__, __LINE__, "taken: %s", bad[i]);
			return;
		}
		CHECK_INT(out.reason, CMK_REASON_MALFORMED);
		CHECK(out.err.detail[0] != '\0');
	}
}

/* A token is sent to where the next page is. */
static void
the_next_page(void)
{
	static const char *const good_links[] = {
		"https://x.vault.azure.net/keys/kek/versions?api-version=7.6&$skiptoken=eyJ%20=&maxresults=25",
		"https://x.vault.azure.net:443/keys/kek/versions?$skiptoken=a/b",
		"https://X.VAULT.azure.net/keys/KEK/versions",
	};
	static const char *const bad_links[] = {
		"\"http://x.vault.azure.net/keys/kek/versions?a\"",
		"\"https://x.vault.azure.net:444/keys/kek/versions?a\"",
		"\"https://y.vault.azure.net/keys/kek/versions?a\"",
		"\"https://x.vault.azure.net.evil.example/keys/kek/versions?a\"",
		"\"https://evil.example/keys/?x.vault.azure.net\"",
		"\"https://evil.example?https://x.vault.azure.net/keys/\"",
		"\"https://x.vault.azure.net@evil.example/keys/kek/versions\"",
		"\"https://x.vault.azure.net:443@evil.example/keys/kek/versions\"",
		"\"https://evil.example\\\\@x.vault.azure.net/keys/kek/versions\"",
		"\"https://x.vault.azure.net\\\\.evil.example/keys/kek/versions\"",
		"\"https://x.vault.azure.net?/keys/kek/versions\"",
		"\"https://x.vault.azure.net#/keys/kek/versions\"",
		"\"https://x.vault.azure.net/keys/kek/versions?a#b\"",
		"\"https://x.vault.azure.net/secrets/kek/versions?a\"",
		"\"https://x.vault.azure.net/keys/../secrets/kek\"",
		"\"https://x.vault.azure.net/keys/./kek\"",
		"\"//x.vault.azure.net/keys/kek/versions\"", "\"/keys/kek/versions?a\"",
		"\"https://x.vault.azure.net/keys/kek/versions?a b\"",
		"\"https://x.vault.azure.net/keys/kek/versions?a\\r\\nX: y\"",
		"\"https://x.vault.azure.net/keys/kek/versions?\xc3\xa4\"",
		"\"\"", "1", "[]", "{}", "false",
	};
	CmkVersionList list = {.list = NULL, .max = 0};
	char		text[CMK_NEXT_LINK_SIZE + 200];
	size_t		i;

	for (i = 0; i < 3; i++)
	{
		snprintf(text, sizeof(text), "{\"value\":[],\"nextLink\":\"%s\"}", good_links[i]);
		CHECK_INT(versions(text, &list), 0);
		CHECK_STR(next, good_links[i]);
	}
	for (i = 0; i < sizeof(bad_links) / sizeof(bad_links[0]); i++)
	{
		snprintf(text, sizeof(text), "{\"value\":[],\"nextLink\":%s}", bad_links[i]);
		if (versions(text, &list) == 0)
		{
			unit_fail(__FILE__, __LINE__, "taken: %s", bad_links[i]);
			return;
		}
		CHECK_INT(out.reason, CMK_REASON_MALFORMED);
		CHECK_STR(next, "");
	}
	sprintf(text, "{\"value\":[],\"nextLink\":\"%s", good_links[0]);
	memset(text + strlen(text), 'a', CMK_NEXT_LINK_SIZE);
	strcpy(text + CMK_NEXT_LINK_SIZE + 40, "\"}");
	CHECK_INT(versions(text, &list), -1);
	CHECK_STR(next, "");
}

/* ---- values and tokens ---- */

static int
value(const char *text, uint8_t *buf, size_t max, size_t *len)
{
	CmkKeyUrl	url;
	char		kid[600];

	memset(&out, 0, sizeof(out));
	if (cmk_key_url_parse(KID, &url, NULL) < 0)
		return -1;
	return cmk_parse_value(text, strlen(text), &url, kid, buf, max, len, &out);
}

static void
a_value(void)
{
	static const char *const bad[] = {
		"", "[]", "{}", "null", "{\"kid\":\"" KID "\"}",
		"{\"kid\":\"" KID "\",\"value\":null}", "{\"kid\":\"" KID "\",\"value\":\"\"}",
		"{\"kid\":\"" KID "\",\"value\":\"AQIDBA\"}",	/* too long */
		"{\"kid\":\"" KID "\",\"value\":\"AQI=\"}", "{\"kid\":\"" KID "\",\"value\":\"AR\"}",
		"{\"kid\":\"" KID "\",\"value\":\"A/ID\"}", "{\"kid\":\"" KID "\",\"value\":\"AQI\\u0000\"}",
		"{\"kid\":\"" BASE "\",\"value\":\"AQID\"}", "{\"value\":\"AQID\"}",
		"{\"kid\":\"https://y.vault.azure.net/keys/kek/" VER "\",\"value\":\"AQID\"}",
		"{\"kid\":\"" KID "\",\"value\":\"AQID\"} x",
		"{\"kid\":\"" KID "\",\"value\":\"AQID\"", "{\"kid\":\"" KID "\",\"value\":\"AQID\",\"value\":\"AQID\"}",
	};
	uint8_t		buf[3];
	const uint8_t want[3] = {1, 2, 3};
	const uint8_t zero[3] = {0};
	size_t		len;
	size_t		i;

	CHECK_INT(value("{\"value\":\"AQID\",\"kid\":\"" KID "\",\"more\":1}", buf, 3, &len), 0);
	CHECK_INT(len, 3);
	CHECK_MEM(buf, want, 3);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		memset(buf, 'x', 3);
		if (value(bad[i], buf, 3, &len) == 0)
		{
			unit_fail(__FILE__, __LINE__, "taken: %s", bad[i]);
			return;
		}
		CHECK_INT(len, 0);
		CHECK_MEM(buf, zero, 3);
		CHECK_INT(out.reason, CMK_REASON_MALFORMED);
	}
}

static int
token(const char *text, char *buf, int64_t *life)
{
	memset(&out, 0, sizeof(out));
	return cmk_parse_token(text, strlen(text), 1000, buf, life, &out);
}

static void
a_token(void)
{
	static char buf[CMK_TOKEN_MAX];
	static const char *const bad[] = {
		"", "{}", "\"x\"", "{\"access_token\":\"abc\"}",
		"{\"access_token\":\"\",\"expires_in\":1}", "{\"access_token\":1,\"expires_in\":1}",
		"{\"access_token\":\"a b\",\"expires_in\":1}", "{\"access_token\":\"a\\r\\nX: y\",\"expires_in\":1}",
		"{\"access_token\":\"\xc3\xa9\",\"expires_in\":1}",
		"{\"access_token\":\"a\",\"expires_in\":0}", "{\"access_token\":\"a\",\"expires_in\":-5}",
		"{\"access_token\":\"a\",\"expires_in\":\"5s\"}", "{\"access_token\":\"a\",\"expires_in\":\"\"}",
		"{\"access_token\":\"a\",\"expires_in\":true}", "{\"access_token\":\"a\",\"expires_on\":\"1000\"}",
		"{\"access_token\":\"a\",\"expires_on\":\"9/14/2017 00:00:00 PM +00:00\"}",
		"{\"access_token\":\"a\",\"expires_in\":5,\"token_type\":\"pop\"}",
		"{\"access_token\":\"a\",\"expires_in\":5,\"access_token\":\"b\"}",
	};
	int64_t		life;
	size_t		i;

	CHECK_INT(token("{\"token_type\":\"Bearer\",\"expires_in\":3599,\"access_token\":\"abc\"}", buf, &life), 0);
	CHECK_STR(buf, "abc");
	CHECK_INT(life, 3599);
	CHECK_INT(token("{\"expires_in\":\"86399\",\"access_token\":\"abc\",\"expires_on\":\"5\"}", buf, &life), 0);
	CHECK_INT(life, 86399);
	CHECK_INT(token("{\"token_type\":\"bearer\",\"expires_on\":\"1600\",\"access_token\":\"abc\"}", buf, &life), 0);
	CHECK_INT(life, 600);
	CHECK_INT(token("{\"expires_in\":999999999,\"access_token\":\"abc\"}", buf, &life), 0);
	CHECK_INT(life, 30 * 86400);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		if (token(bad[i], buf, &life) == 0)
		{
			unit_fail(__FILE__, __LINE__, "taken: %s", bad[i]);
			return;
		}
		CHECK_STR(buf, "");
		CHECK_INT(out.reason, CMK_REASON_MALFORMED);
	}
}

static void
a_token_that_is_too_long(void)
{
	static char buf[CMK_TOKEN_MAX];
	static char text[CMK_TOKEN_MAX + 100];
	int64_t		life;
	int			n = sprintf(text, "{\"expires_in\":5,\"access_token\":\"");

	memset(text + n, 'a', CMK_TOKEN_MAX);
	strcpy(text + n + CMK_TOKEN_MAX - 1, "\"}");
	CHECK_INT(token(text, buf, &life), 0);
	CHECK_INT(strlen(buf), CMK_TOKEN_MAX - 1);
	memset(text + n, 'a', CMK_TOKEN_MAX + 2);
	strcpy(text + n + CMK_TOKEN_MAX, "\"}");
	CHECK_INT(token(text, buf, &life), -1);
}

static void
json_that_is_taken(void)
{
	const char *text = " {\"a\":{\"b\":\"x\\\"{\"},\"n\":7,\"t\":\"12\"} \r\n";
	cJSON	   *doc = cmk_json_parse(text, strlen(text));
	int64_t		n;

	CHECK(doc != NULL);
	CHECK_STR(cmk_json_string(cmk_json_object(doc, "a"), "b"), "x\"{");
	CHECK(cmk_json_string(doc, "a") == NULL);
	CHECK(cmk_json_object(doc, "n") == NULL);
	CHECK(cmk_json_get(NULL, "a") == NULL);
	CHECK_INT(cmk_json_integer(doc, "n", &n), 1);
	CHECK_INT(n, 7);
	CHECK_INT(cmk_json_integer(doc, "none", &n), 0);
	CHECK_INT(cmk_json_integer(doc, "t", &n), -1);
	CHECK_INT(cmk_json_integer_or_text(doc, "t", &n), 1);
	CHECK_INT(n, 12);
	cmk_json_free(doc);
	cmk_json_free(NULL);
}

static void
json_that_is_not(void)
{
	char		deep[64];
	char		many[4096] = "{";
	int			i;

	CHECK(cmk_json_parse("", 0) == NULL);
	CHECK(cmk_json_parse("{}", 1) == NULL);
	CHECK(cmk_json_parse("{}\0", 3) == NULL);
	CHECK(cmk_json_parse("{\"a\":1}x", 8) == NULL);
	CHECK(cmk_json_parse("{\"a\":\"\\u0000\"}", 14) == NULL);
	CHECK(cmk_json_parse("{\"a\":1,\"a\":1}", 13) == NULL);
	CHECK(cmk_json_parse("{\"b\":{\"a\":1,\"a\":1}}", 19) == NULL);
	memset(deep, '[', sizeof(deep));
	memcpy(deep, "{\"a\":", 5);
	CHECK(cmk_json_parse(deep, sizeof(deep)) == NULL);
	for (i = 0; i < 257; i++)
		sprintf(many + strlen(many), "%s\"%d\":1", i > 0 ? "," : "", i);
	strcat(many, "}");
	CHECK(cmk_json_parse(many, strlen(many)) == NULL);
}

int
main(void)
{
	RUN(a_key);
	RUN(sizes_of_keys);
	RUN(the_public_key);
	RUN(another_key);
	RUN(members_of_a_wrong_kind);
	RUN(a_list_of_versions);
	RUN(more_versions_than_asked_for);
	RUN(lists_that_are_none);
	RUN(the_next_page);
	RUN(a_value);
	RUN(a_token);
	RUN(a_token_that_is_too_long);
	RUN(json_that_is_taken);
	RUN(json_that_is_not);
	return unit_done();
}
