/*
 * test_rootfile_wraps.c
 *	  The recipients of root.json: found by a URL, dropped, kept over what comes
 *	  with WAL.
 */
#include "../../src/keyring/rootfile.h"
#include "unit.h"

#define KEK		"https://v.vault.azure.net/keys/kek"

static uint8_t key[CMK_ROOT_KEY_SIZE];

static void
add(CmkRootFile *rf, uint32_t root, const char *recipient, const char *version,
	int64_t created, bool local)
{
	CmkWrap		w;
	CmkError	err;

	memset(&w, 0, sizeof(w));
	snprintf(w.recipient, sizeof(w.recipient), "%s", recipient);
	snprintf(w.key_version, sizeof(w.key_version), "%s", version);
	strcpy(w.alg, "RSA-OAEP-256");
	w.created = created;
	w.len = 256;
	w.public_len = 294;
	w.local = local;
	CHECK_INT(cmk_rootfile_add_wrap(rf, root, &w, &err), 0);
}

static void
begin(CmkRootFile *rf)
{
	CmkError	err;

	CHECK_INT(cmk_rootfile_new(7, 1000, rf, key, &err), 0);
}

static void
next_root(CmkRootFile *rf)
{
	CmkError	err;

	CHECK_INT(cmk_rootfile_add_root(rf, key, 0, 1000, key, &err), 0);
}

static int
nwraps(const CmkRootFile *rf, uint32_t root)
{
	return cmk_rootfile_find_root(rf, root)->nwraps;
}

/* The recipient of the wrap found, or "". */
static const char *
found(const CmkRootFile *rf, const char *url)
{
	const CmkWrap *w = cmk_rootfile_find_recipient(rf, rf->current_root, url);

	return w != NULL ? w->recipient : "";
}

static void
a_versionless_url_finds_its_versions(void)
{
	CmkRootFile rf;

	begin(&rf);
	add(&rf, 1, "file:///etc/kek.pem", "sha256:x", 5, false);
	add(&rf, 1, KEK "/v0", KEK "/v0", 5, false);
	add(&rf, 1, KEK "/v2", KEK "/v2", 20, false);
	add(&rf, 1, KEK "/v1", KEK "/v1", 10, false);
	add(&rf, 1, KEK "2", KEK "2/v9", 30, false);
	add(&rf, 1, "https://alias.vault.azure.net/keys/a", "https://w.vault.azure.net/keys/b/v1", 1, false);

	CHECK_STR(found(&rf, KEK "/v1"), KEK "/v1");
	CHECK_STR(found(&rf, KEK "/v3"), "");
	CHECK_STR(found(&rf, KEK "2"), KEK "2");
	CHECK_STR(found(&rf, KEK), KEK "/v2");	/* the one made last */
	CHECK_STR(found(&rf, "https://w.vault.azure.net/keys/b"),
			  "https://alias.vault.azure.net/keys/a");
	CHECK(cmk_rootfile_find_wrap(&rf, 1, KEK) == NULL);
	CHECK(cmk_rootfile_find_recipient(&rf, 2, KEK) == NULL);

	/* an exact recipient comes first, however old */
	add(&rf, 1, KEK, KEK "/v0", 1, false);
	CHECK_STR(found(&rf, KEK), KEK);
	cmk_rootfile_free(&rf);
}

static void
what_is_no_version_of_a_key_is_not_found(void)
{
	CmkRootFile rf;

	begin(&rf);
	add(&rf, 1, "file:///etc/kek.pem", "sha256:x", 5, false);
	add(&rf, 1, KEK "/", KEK "/", 5, false);
	add(&rf, 1, KEK "/v1", KEK "/v1", 5, false);
	CHECK_STR(found(&rf, "file:///etc"), "");
	CHECK_STR(found(&rf, "sha256:"), "");
	CHECK_STR(found(&rf, "https://v.vault.azure.net/keys"), "");
	CHECK_STR(found(&rf, "https://v.vault.azure.net"), "");
	CHECK_STR(found(&rf, "https:/"), "");
	CHECK_STR(found(&rf, "https://v.vault.azure.net/keys/ke"), "");
	CHECK_STR(found(&rf, ""), "");
	CHECK_STR(found(&rf, KEK), KEK "/v1");
	cmk_rootfile_free(&rf);
}

static void
a_recipient_is_dropped_under_every_root(void)
{
	CmkRootFile rf;
	CmkError	err;

	begin(&rf);
	add(&rf, 1, "file:///a", "1", 1, false);
	add(&rf, 1, "file:///b", "1", 1, false);
	add(&rf, 1, "file:///c", "1", 1, false);
	next_root(&rf);
	add(&rf, 2, "file:///c", "2", 1, false);
	add(&rf, 2, "file:///a", "2", 1, false);
	CHECK_INT(cmk_rootfile_drop_recipient(&rf, "file:///a", &err), 0);
	CHECK(cmk_rootfile_find_wrap(&rf, 1, "file:///a") == NULL);
	CHECK(cmk_rootfile_find_wrap(&rf, 2, "file:///a") == NULL);
	CHECK_INT(nwraps(&rf, 1), 2);
	CHECK_STR(cmk_rootfile_find_wrap(&rf, 1, "file:///b")->recipient, "file:///b");
	CHECK_STR(cmk_rootfile_find_wrap(&rf, 1, "file:///c")->recipient, "file:///c");
	CHECK_STR(cmk_rootfile_find_wrap(&rf, 2, "file:///c")->key_version, "2");

	/* the first of several may go, if it stands alone under an older root too */
	add(&rf, 2, "file:///d", "2", 1, false);
	CHECK_INT(cmk_rootfile_drop_recipient(&rf, "file:///c", &err), 0);
	CHECK_INT(nwraps(&rf, 2), 1);
	add(&rf, 1, "file:///c", "1", 1, false);
	add(&rf, 2, "file:///c", "2", 1, false);
	CHECK_INT(cmk_rootfile_drop_recipient(&rf, "file:///d", &err), 0);

	/* one of an older root alone may go too */
	CHECK_INT(cmk_rootfile_drop_recipient(&rf, "file:///b", &err), 0);
	CHECK_INT(nwraps(&rf, 1), 1);
	CHECK_INT(cmk_rootfile_drop_recipient(&rf, "file:///b", &err), -1);
	CHECK_INT(err.code, CMK_ERR_NOT_FOUND);
	CHECK_INT(cmk_rootfile_drop_recipient(&rf, "file:///", &err), -1);
	CHECK_INT(err.code, CMK_ERR_NOT_FOUND);

	/* the last one not, and then nothing is changed */
	CHECK_INT(cmk_rootfile_drop_recipient(&rf, "file:///c", &err), -1);
	CHECK_INT(err.code, CMK_ERR_CONFIG);
	CHECK_INT(nwraps(&rf, 1), 1);
	CHECK_INT(nwraps(&rf, 2), 1);
	CHECK_INT(cmk_rootfile_print(&rf, key, &err), 0);
	cmk_rootfile_free(&rf);
}

static void
wraps_of_an_older_root_are_dropped(void)
{
	CmkRootFile rf;
	CmkRootKey	keys[CMK_MAX_ROOTS];
	CmkError	err;
	int			n;

	begin(&rf);
	add(&rf, 1, "file:///a", "1", 1, false);
	CHECK_INT(cmk_rootfile_drop_wraps(&rf, 1, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CONFIG);
	CHECK_INT(nwraps(&rf, 1), 1);
	next_root(&rf);
	add(&rf, 2, "file:///a", "1", 1, false);
	CHECK_INT(cmk_rootfile_drop_wraps(&rf, 3, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CONFIG);
	CHECK_INT(cmk_rootfile_drop_wraps(&rf, 1, &err), 0);
	CHECK_INT(nwraps(&rf, 1), 0);
	CHECK_INT(nwraps(&rf, 2), 1);
	CHECK_INT(cmk_rootfile_print(&rf, key, &err), 0);
	CHECK_INT(cmk_rootfile_open_all(&rf, "x", key, keys, &n, &err), 0);
	CHECK_INT(n, 2);
	cmk_rootfile_free(&rf);
}

/* Another reading of the same file, as a copy of it has. */
static void
copy(CmkRootFile *from, CmkRootFile *to)
{
	CmkError	err;

	CHECK_INT(cmk_rootfile_print(from, key, &err), 0);
	CHECK_INT(cmk_rootfile_parse(from->text, strlen(from->text), "x", to, &err), 0);
}

static void
local_wraps_are_kept(void)
{
	CmkRootFile theirs;
	CmkRootFile ours;
	CmkError	err;
	bool		changed;

	begin(&theirs);
	add(&theirs, 1, "file:///a", "1", 1, false);
	add(&theirs, 1, "file:///dropped", "1", 1, false);
	copy(&theirs, &ours);
	CHECK_INT(cmk_rootfile_drop_recipient(&theirs, "file:///dropped", &err), 0);
	CHECK_INT(cmk_rootfile_keep_local(&theirs, &ours, &changed, &err), 0);
	CHECK(!changed);
	CHECK_INT(nwraps(&theirs, 1), 1);

	add(&ours, 1, "file:///ours", "ours", 1, true);
	add(&ours, 1, "file:///a", "ours", 1, true);
	CHECK_INT(cmk_rootfile_keep_local(&theirs, &ours, &changed, &err), 0);
	CHECK(changed);
	CHECK_INT(nwraps(&theirs, 1), 2);
	CHECK(cmk_rootfile_find_wrap(&theirs, 1, "file:///ours")->local);
	CHECK_STR(cmk_rootfile_find_wrap(&theirs, 1, "file:///a")->key_version, "1");
	CHECK(!cmk_rootfile_find_wrap(&theirs, 1, "file:///a")->local);
	CHECK_INT(cmk_rootfile_print(&theirs, key, &err), 0);

	/* a second time there is nothing to add */
	CHECK_INT(cmk_rootfile_keep_local(&theirs, &ours, &changed, &err), 0);
	CHECK(!changed);
	cmk_rootfile_free(&theirs);
	cmk_rootfile_free(&ours);
}

static void
local_wraps_of_another_root_are_not(void)
{
	CmkRootFile theirs;
	CmkRootFile ours;
	CmkRootFile stranger;
	CmkError	err;
	bool		changed = true;

	begin(&stranger);
	add(&stranger, 1, "file:///s", "1", 1, true);
	begin(&theirs);
	add(&theirs, 1, "file:///a", "1", 1, false);
	copy(&theirs, &ours);
	add(&ours, 1, "file:///ours", "1", 1, true);

	/* the same number, another root */
	CHECK_INT(cmk_rootfile_keep_local(&theirs, &stranger, &changed, &err), 0);
	CHECK(!changed);

	/* another cluster */
	ours.sysid++;
	CHECK_INT(cmk_rootfile_keep_local(&theirs, &ours, &changed, &err), 0);
	CHECK(!changed);
	ours.sysid--;

	/* theirs has a newer one */
	next_root(&theirs);
	add(&theirs, 2, "file:///a", "1", 1, false);
	CHECK_INT(cmk_rootfile_keep_local(&theirs, &ours, &changed, &err), 0);
	CHECK(!changed);
	CHECK_INT(nwraps(&theirs, 1), 1);
	CHECK_INT(nwraps(&theirs, 2), 1);
	cmk_rootfile_free(&theirs);
	cmk_rootfile_free(&ours);
	cmk_rootfile_free(&stranger);
}

static void
local_wraps_without_room_are_an_error(void)
{
	CmkRootFile theirs;
	CmkRootFile ours;
	CmkError	err;
	bool		changed = true;
	char		name[64];
	int			i;

	begin(&theirs);
	add(&theirs, 1, "file:///0", "1", 1, false);
	copy(&theirs, &ours);
	add(&ours, 1, "file:///ours", "1", 1, true);
	add(&ours, 1, "file:///ours too", "1", 1, true);
	for (i = 1; i < CMK_MAX_RECIPIENTS - 1; i++)
	{
		snprintf(name, sizeof(name), "file:///%d", i);
		add(&theirs, 1, name, "1", 1, false);
	}
	CHECK_INT(cmk_rootfile_keep_local(&theirs, &ours, &changed, &err), -1);
	CHECK_INT(err.code, CMK_ERR_LIMIT);
	CHECK(!changed);
	CHECK_INT(nwraps(&theirs, 1), CMK_MAX_RECIPIENTS - 1);
	CHECK(cmk_rootfile_find_wrap(&theirs, 1, "file:///ours") == NULL);
	cmk_rootfile_free(&theirs);
	cmk_rootfile_free(&ours);
}

int
main(void)
{
	RUN(a_versionless_url_finds_its_versions);
	RUN(what_is_no_version_of_a_key_is_not_found);
	RUN(a_recipient_is_dropped_under_every_root);
	RUN(wraps_of_an_older_root_are_dropped);
	RUN(local_wraps_are_kept);
	RUN(local_wraps_of_another_root_are_not);
	RUN(local_wraps_without_room_are_an_error);
	return unit_done();
}
