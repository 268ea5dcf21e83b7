/*
 * offline.c
 *	  pg_cmk set-key on a stopped server: another key for a restored copy.
 *
 * A backup is opened by the keys that were recipients when it was made.  This
 * command opens the root with one of them, has it wrapped by another key, and makes
 * that the governing one, so that the copy needs nothing of the original's vault
 * from then on.
 *
 * Order: everything that can fail is done before anything is written; then
 * root.json, which now has one recipient more and is good for both settings; then
 * the setting.  If that fails, root.json is put back; but not when the setting is in
 * place and only could not be synced, since it must name a recipient.
 *
 * What WAL may bring later decides on the serial.  A copy that will replay its
 * origin's WAL (datadir.h) keeps the serial, so that any root file which the origin
 * made since is still the newer one and is taken, with the new roots in it; the wrap
 * is marked local, and replay keeps it (cmk_rootfile_keep_local).  Elsewhere this is
 * a change like any other: no record in WAL can have a serial above the file's,
 * which is always written first.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../keyring/keyring.h"
#include "../keyring/rootfile.h"
#include "../keyring/textfile.h"
#include "../seal/kdf.h"
#include "../seal/secret.h"
#include "autoconf.h"
#include "cli.h"
#include "datadir.h"

typedef struct Keys
{
	uint8_t		root[CMK_ROOT_KEY_SIZE];
	uint8_t		back[CMK_ROOT_KEY_SIZE];
} Keys;

typedef struct Offline
{
	const CmkCli *cli;
	CmkCliSettings settings;
	CmkKek	   *kek;
	CmkSecretRegion region;
	Keys	   *keys;			/* in region */
	uint64_t	sysid;
	CmkRootFile rf;
} Offline;

/* Says what a KEK's place answered. */
static int
say_outcome(const char *what, const char *url, const CmkOutcome *out)
{
	char		message[1800];

	snprintf(message, sizeof(message), "%s \"%s\": %s%s%s", what, url,
			 cmk_reason_name(out->reason), out->reason != CMK_REASON_NONE ? ": " : "",
			 out->err.message);
	cmk_say(message, out->err.detail, out->err.hint);
	return -1;
}

static int
say_error(const CmkError *err)
{
	cmk_say_error(err);
	return -1;
}

/* ---- opening ---- */

/* Does this wrap open with that key?  Then the root is in keys, and it is this file's. */
static int
try_wrap(Offline *off, const char *url, const CmkWrap *w, CmkOutcome *out)
{
	size_t		len = 0;

	if (cmk_kek_unwrap(off->kek, url, w->key_version, w->alg, w->value, w->len,
					   off->keys->root, CMK_ROOT_KEY_SIZE, &len, out) < 0)
		return -1;
	if (len != CMK_ROOT_KEY_SIZE)
		return cmk_outcome(out, CMK_REASON_CANARY, "the root key is %zu bytes long", len);
	if (cmk_rootfile_verify(&off->rf, CMK_ROOT_FILE, off->sysid, off->keys->root,
							&out->err) == 0)
		return 0;
	cmk_cleanse(off->keys, sizeof(Keys));
	out->reason = CMK_REASON_CONFIG;
	return -1;
}

/*
 * The recipient of that URL; a key in a file may have come here under another name,
 * so for one every wrap is tried.
 */
static int
open_with(Offline *off, const char *url)
{
	const CmkRoot *root = cmk_rootfile_find_root(&off->rf, off->rf.current_root);
	const CmkWrap *w = cmk_rootfile_find_recipient(&off->rf, off->rf.current_root, url);
	CmkOutcome	out;
	int			i;

	if (w != NULL)
		return try_wrap(off, url, w, &out) == 0 ? 0 :
			say_outcome("could not open the root key with key", url, &out);
	if (strncmp(url, "file:", 5) == 0)
		for (i = 0; root != NULL && i < root->nwraps; i++)
			if (try_wrap(off, url, &root->wraps[i], &out) == 0)
				return 0;
	cmk_say("the key that is to open the root key is no recipient of it", url,
			"pg_cmk status lists the recipients; --from says which of them to use.");
	return -1;
}

static int
open_root(Offline *off)
{
	const char *from = off->cli->from != NULL ? off->cli->from : off->settings.key;
	CmkError	err;

	if (from[0] == '\0')
	{
		cmk_say("pg_cmk.key is not set", NULL, "Say with --from which recipient opens the root key.");
		return -1;
	}
	if (cmk_check_key_url(from, &err) < 0 ||
		cmk_datadir_sysid(&off->sysid, &err) < 0 ||
		cmk_rootfile_read(CMK_ROOT_FILE, &off->rf, &err) < 0)
		return say_error(&err);
	if (cmk_rootfile_check_sysid(&off->rf, CMK_ROOT_FILE, off->sysid, &err) < 0)
		return say_error(&err);
	return open_with(off, from);
}

/* ---- the new wrap ---- */

static void
warn(const CmkKekInfo *info)
{
	if (info->warnings.expires_soon)
		fprintf(stderr, "pg_cmk: warning: the key expires in %lld days\n",
				(long long) (info->warnings.expires_in / 86400));
	if (info->warnings.purgeable)
		fprintf(stderr, "pg_cmk: warning: the key can be purged\n");
}

/* Every requirement, wrapkey, unwrapkey, and the same bytes back. */
static int
make_wrap(Offline *off, CmkWrap *wrap)
{
	const char *url = off->cli->url;
	CmkKekInfo	info;
	CmkWrapResult w;
	CmkOutcome	out;
	size_t		len = 0;

	if (cmk_kek_inspect(off->kek, url, off->settings.check_flags, &info, &out) < 0)
		return say_outcome("cannot use key", url, &out);
	warn(&info);
	if (cmk_kek_wrap(off->kek, url, info.version, off->keys->root, CMK_ROOT_KEY_SIZE, &w, &out) < 0)
		return say_outcome("could not wrap with key", url, &out);
	if (cmk_kek_unwrap(off->kek, url, w.key_version, w.alg, w.value, w.len, off->keys->back,
					   CMK_ROOT_KEY_SIZE, &len, &out) < 0)
		return say_outcome("could not unwrap with key", url, &out);
	if (len != CMK_ROOT_KEY_SIZE || !cmk_equal(off->keys->back, off->keys->root, len))
	{
		cmk_say("the key does not unwrap what it wrapped", url, NULL);
		return -1;
	}
	memset(wrap, 0, sizeof(*wrap));
	snprintf(wrap->recipient, sizeof(wrap->recipient), "%s", url);
	strcpy(wrap->key_version, w.key_version);
	strcpy(wrap->alg, w.alg);
	wrap->created = (int64_t) time(NULL);
	wrap->len = w.len;
	memcpy(wrap->value, w.value, w.len);
	wrap->public_len = info.public_len;
	memcpy(wrap->public_key, info.public_key, info.public_len);
	return 0;
}

/* ---- writing ---- */

/*
 * A server may have been started and stopped while this command waited for a vault,
 * and have changed the file; a root key that only the newer one has must not be lost.
 */
static bool
root_file_is(const char *text)
{
	size_t		len;
	char	   *now = cmk_textfile_read(CMK_ROOT_FILE, CMK_ROOTFILE_MAX, true, &len, NULL);
	bool		same = now != NULL && len == strlen(text) && memcmp(now, text, len) == 0;

	free(now);
	return same;
}

/* Both files, or neither: an exit status. */
static int
write_files(Offline *off, const char *old_text)
{
	CmkAutoconf conf;
	CmkServer	server;
	CmkError	err;
	CmkError	again;
	int			committed = -1;

	if (cmk_autoconf_prepare(&conf, "pg_cmk.key", off->cli->url, &err) < 0)
	{
		cmk_say_error(&err);
		return CMK_EXIT_FAILED;
	}
	if (cmk_datadir_postmaster(&server, &err) < 0 || server.pid != 0)
	{
		cmk_autoconf_abort(&conf);
		cmk_say("a server was started in this data directory meanwhile", "Nothing was changed.", NULL);
		return CMK_EXIT_FAILED;
	}
	if (!root_file_is(old_text))
	{
		cmk_autoconf_abort(&conf);
		cmk_say("file \"" CMK_ROOT_FILE "\" was changed meanwhile", "Nothing was changed by this command.",
				"Run it again.");
		return CMK_EXIT_FAILED;
	}
	if (cmk_rootfile_write(CMK_ROOT_FILE, off->rf.text, strlen(off->rf.text), &err) < 0)
		cmk_autoconf_abort(&conf);
	else
		committed = cmk_autoconf_commit(&conf, &err);
	if (committed == 0)
		return CMK_EXIT_OK;
	if (committed > 0)
		cmk_fail_hint(&err, "The key governs when the server starts, unless this machine crashes before the files are on disk.");
	else if (cmk_rootfile_write(CMK_ROOT_FILE, old_text, strlen(old_text), &again) < 0)
		cmk_say_error(&again);
	cmk_say_error(&err);
	return committed > 0 ? CMK_EXIT_NO_ANSWER : CMK_EXIT_FAILED;
}

static int
write_files_undisturbed(Offline *off, const char *old_text)
{
	sigset_t	block;
	sigset_t	before;
	int			result;

	sigemptyset(&block);
	sigaddset(&block, SIGINT);
	sigaddset(&block, SIGTERM);
	sigaddset(&block, SIGHUP);
	sigprocmask(SIG_BLOCK, &block, &before);
	result = write_files(off, old_text);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return result;
}

/* An exit status. */
static int
add_recipient(Offline *off, CmkWrap *wrap)
{
	CmkRootFile *rf = &off->rf;
	const CmkWrap *old = cmk_rootfile_find_wrap(rf, rf->current_root, wrap->recipient);
	bool		copy = cmk_datadir_is_copy();
	char	   *old_text = strdup(rf->text);
	CmkError	err;
	int			result = CMK_EXIT_FAILED;

	wrap->local = copy && (old == NULL || old->local);
	if (!copy)
		rf->serial++;
	if (old_text == NULL)
		cmk_say("out of memory", NULL, NULL);
	else if (cmk_rootfile_add_wrap(rf, rf->current_root, wrap, &err) < 0 ||
			 cmk_rootfile_print(rf, off->keys->root, &err) < 0)
		say_error(&err);
	else
		result = write_files_undisturbed(off, old_text);
	free(old_text);
	return result;
}

static int
set_key(Offline *off)
{
	CmkWrap		wrap;
	int			result;

	if (open_root(off) < 0 || make_wrap(off, &wrap) < 0)
		return CMK_EXIT_FAILED;
	result = add_recipient(off, &wrap);
	if (result == CMK_EXIT_OK)
		printf("key \"%s\" governs when the server starts%s\n", off->cli->url,
			   wrap.local ? "; it is a recipient of this copy only" : "");
	return result;
}

/* Settings, memory for the root, and a way to the key.  0 or -1, said. */
static int
begin(Offline *off, const CmkCli *cli)
{
	CmkError	err;

	memset(off, 0, sizeof(*off));
	off->cli = cli;
	if (cmk_read_settings(cli, &off->settings, &err) < 0 ||
		cmk_secret_create(&off->region, sizeof(Keys), sizeof(Keys), &err) < 0)
		return say_error(&err);
	off->keys = off->region.base;
	off->kek = cmk_kek_new(&off->settings.vault, &err);
	if (off->kek == NULL)
	{
		cmk_secret_destroy(&off->region);
		return say_error(&err);
	}
	return 0;
}

static void
end(Offline *off)
{
	cmk_kek_free(off->kek);
	cmk_rootfile_free(&off->rf);
	cmk_secret_destroy(&off->region);
}

int
cmk_set_key_offline(const CmkCli *cli)
{
	static Offline off;
	int			result;

	if (begin(&off, cli) < 0)
		return CMK_EXIT_FAILED;
	result = set_key(&off);
	end(&off);
	return result;
}

int
cmk_open_root_offline(const CmkCli *cli, uint8_t *root)
{
	static Offline off;
	int			result;

	if (begin(&off, cli) < 0)
		return -1;
	result = open_root(&off);
	if (result == 0)
		memcpy(root, off.keys->root, CMK_ROOT_KEY_SIZE);
	end(&off);
	return result;
}
