/*
 * test_rootfile.c
 *	  root.json: a stored example, everything that must be refused, mutations,
 *	  and the keys inside.  test_rootfile_io.c has the file operations.
 */
#include "../../src/keyring/rootfile.h"
#include "../../src/vault/provider.h"
#include "rootfile_example.h"
#include "unit.h"

#define EXAMPLE_LEN		(sizeof(example) - 1)

static uint8_t root1[CMK_ROOT_KEY_SIZE];
static uint8_t root2[CMK_ROOT_KEY_SIZE];

static void
set_example_keys(void)
{
	int			i;

	for (i = 0; i < CMK_ROOT_KEY_SIZE; i++)
	{
		root1[i] = (uint8_t) i;
		root2[i] = (uint8_t) (0xff - i);
	}
}

/* ---- the stored example ---- */

static void
reads_the_stored_example(void)
{
	CmkRootFile rf;
	CmkError	err;
	int			i;

	CHECK_INT(cmk_rootfile_parse(example, EXAMPLE_LEN, "root.json", &rf, &err), 0);
	CHECK_INT(rf.serial, 4);
	CHECK(rf.sysid == EXAMPLE_SYSID);
	CHECK_INT(rf.current_root, 2);
	CHECK_INT(rf.nroots, 2);

	CHECK_INT(rf.roots[0].id, 1);
	CHECK_INT(rf.roots[0].created, 1769860800);
	CHECK_INT(rf.roots[0].wal_from, 0);
	CHECK_INT(rf.roots[0].nwraps, 1);
	CHECK_INT(rf.roots[0].by_root_id, 2);
	CHECK_STR(rf.roots[0].wraps[0].recipient, "file:///etc/postgresql/kek.pem");
	CHECK_STR(rf.roots[0].wraps[0].key_version,
			  "sha256:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU");
	CHECK_STR(rf.roots[0].wraps[0].alg, "RSA-OAEP-256");
	CHECK_INT(rf.roots[0].wraps[0].created, 1769860801);
	CHECK_INT(rf.roots[0].wraps[0].len, 256);
	for (i = 0; i < 16; i++)
		CHECK_INT(rf.roots[0].salt[i], 0xa0 + i);
	for (i = 0; i < 256; i++)
		CHECK_INT(rf.roots[0].wraps[0].value[i], i);

	CHECK_INT(rf.roots[1].id, 2);
	CHECK_INT(rf.roots[1].created, 1777636800);
	CHECK(rf.roots[1].wal_from == UINT64_C(0x21A000000));
	CHECK_INT(rf.roots[1].nwraps, 2);
	CHECK_INT(rf.roots[1].by_root_id, 0);
	CHECK_STR(rf.roots[1].wraps[1].recipient,
			  "file:///mnt/escrow/a%20\"quoted\"\\key.pem");
	for (i = 0; i < 256; i++)
		CHECK_INT(rf.roots[1].wraps[1].value[i], i ^ 0x5a);

	for (i = 0; i < 294; i++)
	{
		CHECK_INT(rf.roots[1].wraps[0].public_key[i], (i * 7 + 1) & 0xff);
		CHECK_INT(rf.roots[1].wraps[1].public_key[i], (i * 7 + 2) & 0xff);
	}
	CHECK_INT(rf.roots[1].wraps[1].public_len, 294);
	CHECK(!rf.roots[0].wraps[0].local && !rf.roots[1].wraps[0].local);
	CHECK(rf.roots[1].wraps[1].local);

	CHECK_INT(rf.signed_len, strstr(example, "\"hmac\"") - example);
	CHECK_STR(rf.text, example);
	cmk_rootfile_free(&rf);
}

static void
verifies_the_stored_example(void)
{
	CmkRootFile rf;
	CmkError	err;
	CmkRootKey	keys[CMK_MAX_ROOTS];
	int			n;

	CHECK_INT(cmk_rootfile_parse(example, EXAMPLE_LEN, "root.json", &rf, &err), 0);
	CHECK_INT(cmk_rootfile_verify(&rf, "root.json", EXAMPLE_SYSID, root2, &err), 0);
	CHECK_INT(cmk_rootfile_open_all(&rf, "root.json", root2, keys, &n, &err), 0);
	CHECK_INT(n, 2);
	CHECK_INT(keys[0].id, 1);
	CHECK_MEM(keys[0].key, root1, CMK_ROOT_KEY_SIZE);
	CHECK_MEM(keys[0].salt, rf.roots[0].salt, CMK_SALT_SIZE);
	CHECK_INT(keys[1].id, 2);
	CHECK_MEM(keys[1].key, root2, CMK_ROOT_KEY_SIZE);
	cmk_rootfile_free(&rf);
}

static void
prints_the_stored_example(void)
{
	CmkRootFile rf;
	CmkError	err;

	CHECK_INT(cmk_rootfile_parse(example, EXAMPLE_LEN, "root.json", &rf, &err), 0);
	free(rf.text);
	rf.text = NULL;
	rf.signed_len = 0;
	memset(rf.hmac, 0, sizeof(rf.hmac));
	CHECK_INT(cmk_rootfile_print(&rf, root2, &err), 0);
	CHECK_STR(rf.text, example);
	CHECK_INT(rf.signed_len, strstr(example, "\"hmac\"") - example);
	CHECK_INT(cmk_rootfile_verify(&rf, "root.json", EXAMPLE_SYSID, root2, &err), 0);
	cmk_rootfile_free(&rf);
}

static void
another_cluster_is_told_from_damage(void)
{
	CmkRootFile rf;
	CmkError	err;

	CHECK_INT(cmk_rootfile_parse(example, EXAMPLE_LEN, "pg_cmk/root.json", &rf, &err), 0);
	CHECK_INT(cmk_rootfile_check_sysid(&rf, "pg_cmk/root.json", EXAMPLE_SYSID, &err), 0);
	CHECK_INT(cmk_rootfile_verify(&rf, "pg_cmk/root.json", 42, root2, &err), -1);
	CHECK_INT(err.code, CMK_ERR_FOREIGN);
	CHECK_STR(err.message, "file \"pg_cmk/root.json\" belongs to another cluster");
	CHECK_HAS(err.detail, "7436912345678901234");
	CHECK_HAS(err.detail, " 42.");

	CHECK_INT(cmk_rootfile_verify(&rf, "pg_cmk/root.json", EXAMPLE_SYSID, root1, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CORRUPT);
	CHECK_STR(err.message, "file \"pg_cmk/root.json\" is not authentic");
	CHECK_HAS(err.hint, "Restore it from a backup of this cluster");
	cmk_rootfile_free(&rf);
}

/* ---- what the form does not allow ---- */

/* Parses the example with its first "from" after "after" turned into "to". */
static int
parse_changed(const char *after, const char *from, const char *to, CmkError *err)
{
	const char *start = strstr(example, after);
	const char *p = start == NULL ? NULL : strstr(start, from);
	size_t		lto = strlen(to);
	size_t		lfrom = strlen(from);
	char	   *text;
	CmkRootFile rf;
	int			rc;

	if (p == NULL)
		return unit_fail(__FILE__, __LINE__, "no \"%s\" in the example", from);
	text = malloc(EXAMPLE_LEN + lto);
	memcpy(text, example, p - example);
	memcpy(text + (p - example), to, lto);
	memcpy(text + (p - example) + lto, p + lfrom,
		   EXAMPLE_LEN - (p - example) - lfrom);
	rc = cmk_rootfile_parse(text, EXAMPLE_LEN - lfrom + lto, "root.json",
							&rf, err);
	free(text);
	if (rc == 0)
		cmk_rootfile_free(&rf);
	return rc;
}

typedef struct Change
{
	const char *after;
	const char *from;
	const char *to;
	const char *detail;			/* a piece of it */
} Change;

static void
check_changes(const Change *c, int n)
{
	int			i;

	for (i = 0; i < n; i++)
	{
		CmkError	err;

		memset(&err, 0, sizeof(err));
		if (parse_changed(c[i].after, c[i].from, c[i].to, &err) == 0)
			unit_fail(__FILE__, __LINE__, "%s as %s was taken",
					  c[i].from, c[i].to);
		else if (err.code != CMK_ERR_CORRUPT ||
				 strcmp(err.message, "file \"root.json\" is damaged") != 0 ||
				 strstr(err.detail, c[i].detail) == NULL ||
				 strstr(err.hint, "Restore it from a backup") == NULL)
			unit_fail(__FILE__, __LINE__, "%s as %s: %d %s / %s, not %s",
					  c[i].from, c[i].to, err.code, err.message, err.detail,
					  c[i].detail);
	}
}

#define CHECK_CHANGES(c) check_changes(c, sizeof(c) / sizeof((c)[0]))

static void
top_level_is_strict(void)
{
	static const Change c[] = {
		{"{", "pg_cmk root", "pg_tde root", "Member \"format\" is not"},
		{"{", "\"version\": 1", "\"version\": \"1\"", "\"version\" is not a number"},
		{"{", "\"version\": 1", "\"version\": 0", "\"version\" is not an integer"},
		{"{", "\"version\": 1", "\"version\": 1.5", "\"version\" is not an integer"},
		{"{", "\"version\": 1,", "", "\"version\" is missing"},
		{"{", "\"version\": 1", "\"version\": 1, \"version\": 1", "given twice"},
		{"{", "\"version\": 1", "\"version\": 1, \"colour\": 1", "unknown member"},
		{"{", "\"serial\": 4", "\"serial\": null", "\"serial\" is not a number"},
		{"{", "\"serial\": 4", "\"serial\": 0", "\"serial\" is not an integer"},
		{"{", "\"serial\": 4", "\"serial\": -4", "\"serial\" is not an integer"},
		{"{", "\"serial\": 4", "\"serial\": 1e999", "\"serial\" is not an integer"},
		{"{", "\"serial\": 4", "\"serial\": 9007199254740992", "\"serial\" is not an integer"},
		{"{", "\"serial\": 4", "\"serial\": 9007199254740993", "\"serial\" is not an integer"},
		{"{", "\"7436912345678901234\"", "7436912345678901234", "\"system_identifier\" is not a string"},
		{"{", "7436912345678901234", "18446744073709551616", "decimal number of 64 bits"},
		{"{", "7436912345678901234", "07436912345678901234", "decimal number of 64 bits"},
		{"{", "7436912345678901234", " 7436912345678901234", "decimal number of 64 bits"},
		{"{", "7436912345678901234", "-1", "decimal number of 64 bits"},
		{"{", "7436912345678901234", "", "decimal number of 64 bits"},
		{"{", "\"current_root\": 2", "\"current_root\": 1", "\"current_root\" is not the number of the newest"},
		{"{", "\"current_root\": 2", "\"current_root\": 3", "\"current_root\" is not the number of the newest"},
		{"{", "\"current_root\": 2", "\"current_root\": 4294967296", "not an integer from 1 to 4294967295"},
		{"\"hmac\"", "s9wj", "s9w", "\"hmac\" is not 32 bytes"},
		{"\"hmac\"", "u0E\"", "u0F\"", "\"hmac\" is not 32 bytes"},
		{"\"hmac\"", "u0E\"", "u0E=\"", "\"hmac\" is not 32 bytes"},
		{"\"hmac\"", "u0E\"", "u0E\", \"x\": 1", "unknown member"},
		{"\"hmac\"", "hmac", "hmaC", "unknown member"},
		{"\"hmac\"", "hmac", "\\u0068mac", "\"hmac\" is not the last"},
		{"\"hmac\"", "s9wj", "\\u00739wj", "\"hmac\" is not the last"},
		{"\"hmac\"", "\"s9", "12, \"s9", "not JSON"},
	};

	CHECK_CHANGES(c);
}

/* 309 bytes more */
#define A103 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" \
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define A412 A103 A103 A103 A103

static void
roots_and_wraps_are_strict(void)
{
	static const Change c[] = {
		{"\"roots\"", "\"id\": 1", "\"id\": 0", "\"roots[0].id\" is not an integer"},
		{"\"roots\"", "\"id\": 1", "\"id\": 2", "\"roots[1].id\" is not greater"},
		{"\"roots\"", "\"id\": 1", "\"id\": 7", "\"roots[1].id\" is not greater"},
		{"\"roots\"", "\"id\": 1,", "", "\"roots[0].id\" is missing"},
		{"\"roots\"", "\"id\": 1,", "\"id\": 1, \"id\": 1,", "\"roots[0].id\" is given twice"},
		{"\"roots\"", "\"id\": 1,", "\"id\": 1, \"label\": 1,", "\"roots[0]\" has an unknown member"},
		{"\"roots\"", "2026-01-31T12:00:00Z", "2026-02-30T12:00:00Z", "\"roots[0].created\" is not a time"},
		{"\"roots\"", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00", "\"roots[0].created\" is not a time"},
		{"\"roots\"", "2026-01-31T12:00:00Z", "2026-01-31 12:00:00Z", "\"roots[0].created\" is not a time"},
		{"\"roots\"", "2026-01-31T12:00:00Z", "2026-01-31T24:00:00Z", "\"roots[0].created\" is not a time"},
		{"\"roots\"", "2026-01-31T12:00:00Z", "1969-12-31T23:59:59Z", "\"roots[0].created\" is not a time"},
		{"\"roots\"", "\"2026-01-31T12:00:00Z\"", "1769860800", "\"roots[0].created\" is not a string"},
		{"\"roots\"", "oKGio6Sl", "oKGio6S", "\"roots[0].salt\" is not 16 bytes"},
		{"\"roots\"", "oKGio6Sl", "oKGio6SlAAAA", "\"roots[0].salt\" is not 16 bytes"},
		{"\"roots\"", "oKGio6Sl", "oKGi o6Sl", "\"roots[0].salt\" is not 16 bytes"},
		{"\"roots\"", "\"0/0\"", "\"0/00\"", "\"roots[0].wal_from\" is not a WAL position"},
		{"\"roots\"", "\"0/0\"", "\"0\"", "\"roots[0].wal_from\" is not a WAL position"},
		{"\"roots\"", "\"0/0\"", "\"0/a\"", "\"roots[0].wal_from\" is not a WAL position"},
		{"\"roots\"", "\"0/0\"", "\"0/100000000\"", "\"roots[0].wal_from\" is not a WAL position"},
		{"\"roots\"", "\"0/0\"", "0", "\"roots[0].wal_from\" is not a string"},
		{"\"id\": 1", "{\"id\": 2", "{\"id\": 3", "\"roots[0].wrapped_by_root\" does not name a newer"},
		{"\"id\": 1", "{\"id\": 2", "{\"id\": 1", "\"roots[0].wrapped_by_root\" does not name a newer"},
		{"\"id\": 1", "{\"id\": 2", "{\"ID\": 2", "\"roots[0].wrapped_by_root\" has an unknown member"},
		{"\"id\": 1", "\"value\": \"nvr2", "\"value\": \"nvr", "\"roots[0].wrapped_by_root.value\" is not 40 bytes"},
		{"\"id\": 1", "\"wrapped_by_root\": {", "\"wrapped_by_root\": null, \"x\": {", "\"roots[0]\" has an unknown member"},
		{"\"id\": 2,", "\"wrapped_by_root\": null", "\"wrapped_by_root\": 1", "\"roots[1].wrapped_by_root\" is not an object"},
		{"\"id\": 2,\n", "\"id\": 2", "\"id\": 1", "\"roots[1].id\" is not greater"},
		{"\"wraps\"", "file:///etc/postgresql/kek.pem", "", "\"roots[0].wraps[0].recipient\" is empty"},
		{"\"wraps\"", "file:///etc/postgresql/kek.pem", "a\\nb", "\"roots[0].wraps[0].recipient\" has a control character"},
		{"\"wraps\"", "file:///etc/postgresql/kek.pem", "a\\u0001b", "\"roots[0].wraps[0].recipient\" has a control character"},
		{"\"wraps\"", "\"file:///etc/postgresql/kek.pem\"", "[]", "\"roots[0].wraps[0].recipient\" is not a string"},
		{"\"wraps\"", "\"recipient\"", "\"Recipient\"", "\"roots[0].wraps[0]\" has an unknown member"},
		{"\"wraps\"", "RSA-OAEP-256", "RSA-OAEP-256-and-much-more-than-that", "\"roots[0].wraps[0].alg\" is longer than 31"},
		{"\"wraps\"", "\"value\": \"AAEC", "\"value\": \"AAE", "\"roots[0].wraps[0].value\" is not 1 to 512 bytes"},
		{"\"wraps\"", "\"public_key\": \"AQgP", "\"public_key\": \"" A412 "AQgP", "\"roots[0].wraps[0].public_key\" is not 1 to 600 bytes"},
		{"\"wraps\"", "\"public_key\": \"AQgP", "\"public_key\": \"AQ=gP", "\"roots[0].wraps[0].public_key\" is not 1 to 600 bytes"},
		{"\"wraps\"", "\"public_key\"", "\"publicKey\"", "\"roots[0].wraps[0]\" has an unknown member"},
		{"\"wraps\"", "\"local\": false", "\"local\": 0", "\"roots[0].wraps[0].local\" is not true or false"},
		{"\"wraps\"", "\"local\": false", "\"local\": null", "\"roots[0].wraps[0].local\" is not true or false"},
		{"\"wraps\"", ",\n          \"local\": false", "", "\"roots[0].wraps[0].local\" is missing"},
		{"\"value\": \"__79", "file:///mnt/escrow/a%20\\\"quoted\\\"\\\\key.pem", "file:///etc/postgresql/kek.pem", "\"roots[1].wraps[1].recipient\" is there twice"},
	};

	CHECK_CHANGES(c);
}

static void
text_is_strict(void)
{
	static const Change c[] = {
		{"{", "{", "\xef\xbb\xbf{", "not a JSON object"},
		{"{", "{", "[{", "not a JSON object"},
		{"{", "{\n", "{\v", "control character at byte 1"},
		{"{", "\"format\"", "\"for\tmat\"", "control character"},
		{"{", "pg_cmk root", "pg_cmk root\\u0000 2", "null character"},
		{"{", "pg_cmk root", "pg_cmk\xff", "not UTF-8 at byte 21"},
		{"{", "pg_cmk root", "\xc0\xaf", "not UTF-8"},
		{"{", "pg_cmk root", "\xed\xa0\x80", "not UTF-8"},
		{"{", "pg_cmk root", "\xf4\x90\x80\x80", "not UTF-8"},
		{"{", "pg_cmk root", "\xe2\x82", "not UTF-8"},
		{"{", "pg_cmk root", "\x7f", "control character"},
		{"{", "\"version\": 1,", "\"version\": 1", "not JSON at byte"},
		{"{", "\"version\": 1", "\"version\": [[[[[[[[1]]]]]]]]", "nested too deeply"},
		{"\"hmac\"", "}\n", "}\n}", "Something follows"},
		{"\"hmac\"", "}\n", "} //", "Something follows"},
		{"\"hmac\"", "}\n", "\n", "not JSON"},
	};
	CmkRootFile rf;
	CmkError	err;
	char	   *big;

	CHECK_CHANGES(c);

	CHECK_INT(cmk_rootfile_parse("", 0, "root.json", &rf, &err), -1);
	CHECK_HAS(err.detail, "It is empty");
	/* sizeof: with the NUL at its end */
	CHECK_INT(cmk_rootfile_parse(example, sizeof(example), "root.json", &rf, &err), -1);
	CHECK_HAS(err.detail, "control character");

	big = malloc(CMK_ROOTFILE_MAX + 1);
	memset(big, ' ', CMK_ROOTFILE_MAX + 1);
	memcpy(big, example, EXAMPLE_LEN);
	CHECK_INT(cmk_rootfile_parse(big, CMK_ROOTFILE_MAX, "root.json", &rf, &err), 0);
	cmk_rootfile_free(&rf);
	CHECK_INT(cmk_rootfile_parse(big, CMK_ROOTFILE_MAX + 1, "root.json", &rf, &err), -1);
	CHECK_HAS(err.detail, "longer than 1048576");
	memset(big, '[', CMK_ROOTFILE_MAX);
	CHECK_INT(cmk_rootfile_parse(big, CMK_ROOTFILE_MAX, "root.json", &rf, &err), -1);
	CHECK_HAS(err.detail, "nested too deeply");
	free(big);
}

static void
later_version_says_so(void)
{
	CmkError	err;

	CHECK_INT(parse_changed("{", "\"version\": 1", "\"version\": 2", &err), -1);
	CHECK_INT(err.code, CMK_ERR_CORRUPT);
	CHECK_STR(err.message, "file \"root.json\" has version 2, which is not known here");
	CHECK_HAS(err.hint, "written by a newer pg_cmk");

	/* and whatever else such a file has in it */
	CHECK_INT(parse_changed("{", "\"version\": 1",
							"\"version\": 9, \"roots2\": {}", &err), -1);
	CHECK_HAS(err.hint, "written by a newer pg_cmk");
}

/* Writing that the HMAC covers, or white space that says nothing, is accepted. */
static void
other_layouts_can_be_read(void)
{
	CmkError	err;

	CHECK_INT(parse_changed("\"hmac\"", "\"hmac\": ", "\"hmac\"\r\n :\t", &err), 0);
	CHECK_INT(parse_changed("{", "\"serial\": 4", "\"serial\" :9007199254740991", &err), 0);
	CHECK_INT(parse_changed("{", "7436912345678901234", "18446744073709551615", &err), 0);
	CHECK_INT(parse_changed("\"roots\"", "file:///etc/postgresql/kek.pem",
							"file:///\xc3\xa4/\xe2\x82\xac/\xf0\x9f\x94\x91", &err), 0);
}

/* An HMAC that something follows covers too little. */
static void
the_hmac_must_be_last(void)
{
	const char *hmac = strstr(example, "\"hmac\"");
	size_t		comma = strrchr(example, ']') + 1 - example;
	char	   *text = malloc(2 * EXAMPLE_LEN);
	CmkRootFile rf;
	CmkError	err;

	/* it first, and the rest behind it */
	sprintf(text, "{ %.53s, %.*s }", hmac, (int) comma - 1, example + 1);
	CHECK_INT(cmk_rootfile_parse(text, strlen(text), "root.json", &rf, &err), -1);
	CHECK_STR(err.detail, "Member \"hmac\" is not the last member.");

	/* it first, and a member that ends as it does */
	sprintf(text, "{ %.53s, %.*s, \"x\\%.53s }", hmac, (int) comma - 1,
			example + 1, hmac);
	CHECK_INT(cmk_rootfile_parse(text, strlen(text), "root.json", &rf, &err), -1);
	CHECK_STR(err.detail, "There is an unknown member.");
	free(text);
}

/* ---- mutations ---- */

/* Is text taken as a genuine root file of the example's cluster? */
static bool
is_taken(const char *text, size_t len, CmkRootFile *rf)
{
	CmkError	err;

	if (cmk_rootfile_parse(text, len, "root.json", rf, &err) < 0)
		return false;
	if (cmk_rootfile_verify(rf, "root.json", EXAMPLE_SYSID, root2, &err) == 0)
		return true;
	cmk_rootfile_free(rf);
	return false;
}

static void
no_flipped_bit_is_taken(void)
{
	char	   *text = malloc(EXAMPLE_LEN);
	CmkRootFile rf;
	size_t		i;
	int			bit;

	memcpy(text, example, EXAMPLE_LEN);
	CHECK(is_taken(text, EXAMPLE_LEN, &rf));
	cmk_rootfile_free(&rf);
	for (i = 0; i < EXAMPLE_LEN; i++)
	{
		for (bit = 0; bit < 8; bit++)
		{
			text[i] = (char) (example[i] ^ (1 << bit));
			if (is_taken(text, EXAMPLE_LEN, &rf))
			{
				unit_fail(__FILE__, __LINE__, "bit %d of byte %zu", bit, i);
				return;
			}
		}
		text[i] = example[i];
	}
	free(text);
}

static void
no_part_of_it_is_taken(void)
{
	CmkRootFile rf;
	size_t		len;

	/* all but the last line feed is needed */
	for (len = 0; len < EXAMPLE_LEN - 1; len++)
		CHECK(!is_taken(example, len, &rf));
	CHECK(is_taken(example, EXAMPLE_LEN - 1, &rf));
	cmk_rootfile_free(&rf);
}

/* xorshift64: the same mutations at every run */
static uint64_t seed = UINT64_C(0x9e3779b97f4a7c15);

static size_t
below(size_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

/* Changes text (with room to double) in one way or another; its new length. */
static size_t
mutate(char *text, size_t len)
{
	static const char *const bits[] = {
		"\"", "\\", "{", "}", "[", "]", ",", ":", "null", "-", "1e9", "\\u0000",
		"\"hmac\"", "\"id\": 1,", "\xff", "\"value\": \"\"", " ", "\n"
	};
	size_t		at = below(len);
	size_t		n = 1 + below(len - at < 40 ? len - at : 40);

	switch (below(5))
	{
		case 0:					/* another byte */
			text[at] = (char) below(256);
			return len;
		case 1:					/* a piece less */
			memmove(text + at, text + at + n, len - at - n);
			return len - n;
		case 2:					/* a piece twice */
			memmove(text + at + n, text + at, len - at);
			return len + n;
		case 3:					/* a piece from elsewhere */
			memmove(text + at, text + below(len - n + 1), n);
			return len;
		default:				/* something that means something */
			{
				const char *s = bits[below(sizeof(bits) / sizeof(bits[0]))];

				memmove(text + at + strlen(s), text + at, len - at);
				memcpy(text + at, s, strlen(s));
				return len + strlen(s);
			}
	}
}

/*
 * What is taken must say what the example says, byte by byte as far as the HMAC
 * covers it; only white space behind that may differ.
 */
static void
no_mutation_says_something_else(void)
{
	char	   *text = malloc(2 * EXAMPLE_LEN);
	int			round;

	for (round = 0; round < 20000; round++)
	{
		size_t		len = EXAMPLE_LEN;
		size_t		changes = 1 + below(4);
		CmkRootFile rf;

		memcpy(text, example, EXAMPLE_LEN);
		while (changes-- > 0)
			len = mutate(text, len);
		if (is_taken(text, len, &rf))
		{
			bool		same = rf.signed_len < EXAMPLE_LEN &&
				memcmp(text, example, rf.signed_len) == 0 &&
				memcmp(example + rf.signed_len, "\"hmac\"", 6) == 0;

			cmk_rootfile_free(&rf);
			CHECK(same);
		}
	}
	free(text);
}

/* ---- keys ---- */

static CmkWrap
a_wrap(const char *recipient)
{
	CmkWrap		w;

	memset(&w, 0, sizeof(w));
	snprintf(w.recipient, sizeof(w.recipient), "%s", recipient);
	strcpy(w.key_version, "1");
	strcpy(w.alg, "RSA-OAEP-256");
	w.len = sizeof(w.value);
	memset(w.value, 0x77, w.len);
	w.public_len = sizeof(w.public_key);
	memset(w.public_key, 0x55, w.public_len);
	return w;
}

static void
a_new_root_file(void)
{
	CmkRootFile rf;
	CmkRootFile other;
	CmkError	err;
	CmkWrap		w = a_wrap("file:///kek.pem");
	uint8_t		key[CMK_ROOT_KEY_SIZE];
	uint8_t		key2[CMK_ROOT_KEY_SIZE];
	static const uint8_t zeros[CMK_ROOT_KEY_SIZE];

	CHECK_INT(cmk_rootfile_new(UINT64_MAX, 1000, &rf, key, &err), 0);
	CHECK_INT(cmk_rootfile_new(UINT64_MAX, 1000, &other, key2, &err), 0);
	CHECK(memcmp(key, zeros, sizeof(key)) != 0);
	CHECK(memcmp(key, key2, sizeof(key)) != 0);
	CHECK(memcmp(rf.roots[0].salt, other.roots[0].salt, CMK_SALT_SIZE) != 0);
	cmk_rootfile_free(&other);

	/* it cannot be printed before it can be opened again */
	CHECK_INT(cmk_rootfile_print(&rf, key, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CORRUPT);
	CHECK_HAS(err.detail, "\"roots[0].wraps\" is empty");
	CHECK(rf.text == NULL);

	CHECK_INT(cmk_rootfile_add_wrap(&rf, 1, &w, &err), 0);
	CHECK_INT(cmk_rootfile_print(&rf, key, &err), 0);
	CHECK_INT(cmk_rootfile_parse(rf.text, strlen(rf.text), "x", &other, &err), 0);
	CHECK_INT(cmk_rootfile_verify(&other, "x", UINT64_MAX, key, &err), 0);
	CHECK_INT(cmk_rootfile_verify(&other, "x", UINT64_MAX, key2, &err), -1);
	CHECK_INT(other.serial, 1);
	CHECK_INT(other.roots[0].created, 1000);
	CHECK_MEM(other.roots[0].wraps[0].value, w.value, w.len);
	CHECK_INT(other.roots[0].wraps[0].public_len, w.public_len);
	CHECK_MEM(other.roots[0].wraps[0].public_key, w.public_key, w.public_len);
	cmk_rootfile_free(&other);
	cmk_rootfile_free(&rf);
}

static void
wraps_are_found_replaced_and_limited(void)
{
	CmkRootFile rf;
	CmkError	err;
	CmkWrap		w;
	uint8_t		key[CMK_ROOT_KEY_SIZE];
	char		name[64];
	int			i;

	CHECK(sizeof(w.recipient) == CMK_KEY_URL_SIZE);
	CHECK(sizeof(w.public_key) == CMK_PUBLIC_KEY_SIZE);
	CHECK_INT(cmk_rootfile_new(1, 0, &rf, key, &err), 0);
	for (i = 0; i < CMK_MAX_RECIPIENTS; i++)
	{
		snprintf(name, sizeof(name), "file:///%d", i);
		w = a_wrap(name);
		CHECK_INT(cmk_rootfile_add_wrap(&rf, 1, &w, &err), 0);
	}
	w = a_wrap("file:///too-many");
	CHECK_INT(cmk_rootfile_add_wrap(&rf, 1, &w, &err), -1);
	CHECK_INT(err.code, CMK_ERR_LIMIT);
	CHECK(cmk_rootfile_find_wrap(&rf, 1, "file:///too-many") == NULL);

	w = a_wrap("file:///3");
	strcpy(w.key_version, "2");
	CHECK_INT(cmk_rootfile_add_wrap(&rf, 1, &w, &err), 0);
	CHECK_INT(rf.roots[0].nwraps, CMK_MAX_RECIPIENTS);
	CHECK_STR(cmk_rootfile_find_wrap(&rf, 1, "file:///3")->key_version, "2");
	CHECK_STR(cmk_rootfile_find_wrap(&rf, 1, "file:///4")->key_version, "1");
	CHECK(cmk_rootfile_find_wrap(&rf, 2, "file:///3") == NULL);
	CHECK_INT(cmk_rootfile_add_wrap(&rf, 2, &w, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CONFIG);
	CHECK_INT(cmk_rootfile_print(&rf, key, &err), 0);
	cmk_rootfile_free(&rf);
}

/* As many roots as there may be, each wrapped by the next. */
static void
a_chain_of_roots_opens(void)
{
	static CmkRootKey keys[CMK_MAX_ROOTS];
	static uint8_t made[CMK_MAX_ROOTS + 1][CMK_ROOT_KEY_SIZE];
	CmkRootFile rf;
	CmkError	err;
	CmkWrap		w = a_wrap("file:///kek.pem");
	int			i;
	int			n;

	CHECK_INT(cmk_rootfile_new(5, 0, &rf, made[0], &err), 0);
	for (i = 1; i < CMK_MAX_ROOTS; i++)
		CHECK_INT(cmk_rootfile_add_root(&rf, made[i - 1], i * UINT64_C(0x1000000),
										i, made[i], &err), 0);
	CHECK_INT(cmk_rootfile_add_root(&rf, made[i - 1], 0, 0, made[i], &err), -1);
	CHECK_INT(err.code, CMK_ERR_LIMIT);
	CHECK_INT(rf.nroots, CMK_MAX_ROOTS);
	CHECK_INT(cmk_rootfile_add_wrap(&rf, CMK_MAX_ROOTS, &w, &err), 0);
	CHECK_INT(cmk_rootfile_print(&rf, made[CMK_MAX_ROOTS - 1], &err), 0);

	CHECK_INT(cmk_rootfile_open_all(&rf, "x", made[CMK_MAX_ROOTS - 1], keys, &n, &err), 0);
	CHECK_INT(n, CMK_MAX_ROOTS);
	for (i = 0; i < n; i++)
	{
		CHECK_INT(keys[i].id, i + 1);
		CHECK_MEM(keys[i].key, made[i], CMK_ROOT_KEY_SIZE);
	}

	/* another current root opens nothing, and leaves nothing */
	CHECK_INT(cmk_rootfile_open_all(&rf, "x", made[3], keys, &n, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CORRUPT);
	CHECK_HAS(err.detail, "Root key 63 cannot be opened with root key 64");
	CHECK_INT(n, 0);
	for (i = 0; i < (int) sizeof(keys); i++)
		CHECK_INT(((uint8_t *) keys)[i], 0);

	/* the wrap is bound to both numbers and to the cluster */
	rf.sysid = 6;
	CHECK_INT(cmk_rootfile_open_all(&rf, "x", made[CMK_MAX_ROOTS - 1], keys, &n, &err), -1);
	rf.sysid = 5;
	memcpy(rf.roots[10].by_root, rf.roots[11].by_root, sizeof(rf.roots[10].by_root));
	CHECK_INT(cmk_rootfile_open_all(&rf, "x", made[CMK_MAX_ROOTS - 1], keys, &n, &err), -1);
	CHECK_HAS(err.detail, "Root key 11 cannot be opened with root key 12");
	cmk_rootfile_free(&rf);
}

/* The new key may be put where the old one stands. */
static void
a_root_key_may_be_replaced_in_place(void)
{
	CmkRootKey	keys[CMK_MAX_ROOTS];
	CmkRootFile rf;
	CmkError	err;
	uint8_t		key[CMK_ROOT_KEY_SIZE];
	uint8_t		old[CMK_ROOT_KEY_SIZE];
	int			n;

	CHECK_INT(cmk_rootfile_new(5, 0, &rf, key, &err), 0);
	memcpy(old, key, sizeof(old));
	CHECK_INT(cmk_rootfile_add_root(&rf, key, 0, 0, key, &err), 0);
	CHECK(memcmp(old, key, sizeof(old)) != 0);
	CHECK_INT(cmk_rootfile_open_all(&rf, "x", key, keys, &n, &err), 0);
	CHECK_MEM(keys[0].key, old, sizeof(old));
	CHECK_MEM(keys[1].key, key, sizeof(key));
	cmk_rootfile_free(&rf);
}

static void
what_could_not_be_read_is_not_printed(void)
{
	CmkRootFile rf;
	CmkError	err;
	CmkWrap		w = a_wrap("file:///kek.pem");
	uint8_t		key[CMK_ROOT_KEY_SIZE];
	char	   *before;

	CHECK_INT(cmk_rootfile_new(5, 0, &rf, key, &err), 0);
	CHECK_INT(cmk_rootfile_add_wrap(&rf, 1, &w, &err), 0);
	CHECK_INT(cmk_rootfile_print(&rf, key, &err), 0);
	before = rf.text;

	strcpy(rf.roots[0].wraps[0].recipient, "file:///a\nb");
	CHECK_INT(cmk_rootfile_print(&rf, key, &err), -1);
	strcpy(rf.roots[0].wraps[0].recipient, "file:///\xff");
	CHECK_INT(cmk_rootfile_print(&rf, key, &err), -1);
	strcpy(rf.roots[0].wraps[0].recipient, "file:///kek.pem");
	rf.roots[0].wraps[0].len = 0;
	CHECK_INT(cmk_rootfile_print(&rf, key, &err), -1);
	rf.roots[0].wraps[0].len = 256;
	rf.roots[0].wraps[0].public_len = 0;
	CHECK_INT(cmk_rootfile_print(&rf, key, &err), -1);
	CHECK_HAS(err.detail, "public_key");
	rf.roots[0].wraps[0].public_len = CMK_PUBLIC_KEY_MAX + 1;
	CHECK_INT(cmk_rootfile_print(&rf, key, &err), -1);
	rf.roots[0].wraps[0].public_len = 294;
	CHECK_INT(cmk_rootfile_print(&rf, key, &err), 0);
	CHECK(rf.text != before);
	before = rf.text;
	rf.roots[0].created = -1;
	CHECK_INT(cmk_rootfile_print(&rf, key, &err), -1);
	rf.roots[0].created = INT64_MAX;
	CHECK_INT(cmk_rootfile_print(&rf, key, &err), -1);
	rf.roots[0].created = INT64_C(253402300800);	/* the year 10000 */
	CHECK_INT(cmk_rootfile_print(&rf, key, &err), -1);
	rf.roots[0].created = INT64_C(253402300799);
	CHECK_INT(cmk_rootfile_print(&rf, key, &err), 0);
	before = rf.text;
	rf.serial = UINT64_C(9007199254740992);
	CHECK_INT(cmk_rootfile_print(&rf, key, &err), -1);
	rf.serial = 0;
	CHECK_INT(cmk_rootfile_print(&rf, key, &err), -1);
	rf.serial = 2;
	rf.roots[0].by_root_id = 1;
	CHECK_INT(cmk_rootfile_print(&rf, key, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CORRUPT);
	CHECK_HAS(err.message, "cannot be printed");
	CHECK(rf.text == before);
	cmk_rootfile_free(&rf);
}

static void
a_text_that_would_be_too_long(void)
{
	CmkRootFile rf;
	CmkError	err;
	uint8_t		key[CMK_ROOT_KEY_SIZE];
	char		name[CMK_URL_MAX];
	int			i;
	int			j;

	CHECK_INT(cmk_rootfile_new(5, 0, &rf, key, &err), 0);
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	for (i = 1; i <= CMK_MAX_ROOTS; i++)
	{
		if (i > 1)
			CHECK_INT(cmk_rootfile_add_root(&rf, key, 0, 0, key, &err), 0);
		for (j = 0; j < CMK_MAX_RECIPIENTS; j++)
		{
			CmkWrap		w;

			name[0] = (char) ('a' + j);
			w = a_wrap(name);
			CHECK_INT(cmk_rootfile_add_wrap(&rf, i, &w, &err), 0);
		}
	}
	CHECK_INT(cmk_rootfile_print(&rf, key, &err), -1);
	CHECK_INT(err.code, CMK_ERR_LIMIT);
	CHECK(rf.text == NULL);
	cmk_rootfile_free(&rf);
}

int
main(void)
{
	set_example_keys();
	RUN(reads_the_stored_example);
	RUN(verifies_the_stored_example);
	RUN(prints_the_stored_example);
	RUN(another_cluster_is_told_from_damage);
	RUN(top_level_is_strict);
	RUN(roots_and_wraps_are_strict);
	RUN(text_is_strict);
	RUN(later_version_says_so);
	RUN(other_layouts_can_be_read);
	RUN(the_hmac_must_be_last);
	RUN(no_flipped_bit_is_taken);
	RUN(no_part_of_it_is_taken);
	RUN(no_mutation_says_something_else);
	RUN(a_new_root_file);
	RUN(wraps_are_found_replaced_and_limited);
	RUN(a_chain_of_roots_opens);
	RUN(a_root_key_may_be_replaced_in_place);
	RUN(what_could_not_be_read_is_not_printed);
	RUN(a_text_that_would_be_too_long);
	return unit_done();
}
