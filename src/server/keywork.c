/*
 * keywork.c
 *	  What the worker does with the KEK: opening the root, and validation.  See
 *	  keywork.h.
 *
 * Validation never asks for the root key: it wraps 32 random bytes, and unwraps a
 * canary, 32 other random bytes that the governing version wrapped before.  So
 * nothing that a validation sends or gets opens anything.  The canary is older
 * than the validation that opens it, because an expired or disabled key refuses
 * one of the two operations and not the other.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "utils/memutils.h"

#include "../keyring/keyring.h"
#include "../seal/kdf.h"
#include "compat.h"
#include "keywork_impl.h"
#include "rootopen.h"
#include "settings.h"
#include "state.h"

static int
shutdown_requested(void)
{
	return ShutdownRequestPending;
}

CmkKeyWork *
cmk_keywork_new(void)
{
	CmkKeyWork *work = MemoryContextAllocZero(TopMemoryContext, sizeof(CmkKeyWork));
	char		version[CMK_KEY_VERSION_SIZE];
	CmkError	err;

	cmk_vault_settings(&work->config, shutdown_requested);
	cmk_get_governing(work->url, version);
	work->kek = cmk_kek_new(&work->config, &err);
	if (work->kek == NULL)
		cmk_report(ERROR, &err);
	return work;
}

void
cmk_keywork_free(CmkKeyWork *work)
{
	cmk_kek_free(work->kek);
	pfree(work);
}

void
cmk_keywork_reset(CmkKeyWork *work)
{
	cmk_kek_reset(work->kek);
}

const char *
cmk_keywork_identity(CmkKeyWork *work)
{
	CmkVault   *vault = cmk_kek_vault(work->kek);

	return vault ? cmk_vault_identity(vault) : "";
}

int
cmk_local_failure(CmkOutcome *out, const CmkError *err)
{
	cmk_outcome(out, CMK_REASON_CONFIG, "%s", err->message);
	out->err = *err;
	return -1;
}

void
cmk_switch_key(CmkKeyWork *work, const char *url)
{
	strlcpy(work->url, url, sizeof(work->url));
	work->have_canary = false;
	work->warned[0] = '\0';
	work->warned_expiry = false;
	cmk_set_governing(url);
}

/* ---- opening ---- */

static int
no_recipient(const char *url, CmkOutcome *out)
{
	cmk_outcome(out, CMK_REASON_CONFIG,
				"key \"%.300s\" is no recipient of this cluster's root key", url);
	return cmk_fail_hint(&out->err, "File \"%s\" lists the recipients.", CMK_ROOT_FILE);
}

/* The current root by the wrap of that key.  version gets the one that opened it. */
static int
unwrap_root(CmkKeyWork *work, const char *url, const CmkRootFile *rf, uint8 *root,
			char *version, CmkOutcome *out)
{
	const CmkWrap *w = cmk_rootfile_find_recipient(rf, rf->current_root, url);
	size_t		len = 0;

	if (w == NULL)
		return no_recipient(url, out);
	if (cmk_kek_unwrap(work->kek, url, w->key_version, w->alg, w->value, w->len,
					   root, CMK_ROOT_KEY_SIZE, &len, out) < 0)
		return -1;
	if (len != CMK_ROOT_KEY_SIZE)
		return cmk_outcome(out, CMK_REASON_CANARY, "the root key is %zu bytes long", len);
	strlcpy(version, w->key_version, CMK_KEY_VERSION_SIZE);
	return 0;
}

/* The governing key's wrap of the current root; what it says opens the cluster. */
static int
open_root(CmkKeyWork *work, const CmkRootFile *rf, CmkOutcome *out)
{
	uint8		root[CMK_ROOT_KEY_SIZE];
	char		version[CMK_KEY_VERSION_SIZE];
	CmkError	err;
	int			result;

	if (cmk_rootfile_check_sysid(rf, CMK_ROOT_FILE, GetSystemIdentifier(), &err) < 0)
		return cmk_local_failure(out, &err);
	result = unwrap_root(work, work->url, rf, root, version, out);
	if (result == 0 && cmk_install_root(rf, root, &err) < 0)
		result = cmk_local_failure(out, &err);
	cmk_cleanse(root, sizeof(root));
	if (result == 0)
		cmk_set_governing_version(version);
	return result;
}

int
cmk_keywork_open_root(CmkKeyWork *work, CmkOutcome *out)
{
	CmkRootFile rf;
	CmkError	err;
	int			result;

	if (cmk_rootfile_read(CMK_ROOT_FILE, &rf, &err) == 0)
	{
		result = open_root(work, &rf, out);
		cmk_rootfile_free(&rf);
	}
	else if (err.code != CMK_ERR_NOT_FOUND)
		result = cmk_local_failure(out, &err);
	else if (cmk_is_archive_recovery())
		result = cmk_outcome(out, CMK_REASON_CONFIG, "the root key has not come with WAL yet");
	else
		result = cmk_create_root(work, out);
	return result < 0 ? -1 : cmk_outcome(out, CMK_REASON_NONE, "%s", "");
}

int
cmk_keywork_open(CmkKeyWork *work, CmkOutcome *out)
{
	if (cmk_keywork_open_root(work, out) < 0)
		return -1;
	cmk_load_keyring();
	return 0;
}

/* A root that replay put into root.json, for which it waits. */
static int
open_newer_root(CmkKeyWork *work, CmkOutcome *out)
{
	CmkRootFile rf;
	CmkError	err;
	int			result = 0;

	if (cmk_rootfile_read(CMK_ROOT_FILE, &rf, &err) < 0)
		return cmk_local_failure(out, &err);
	if (cmk_registry_root_by_id(rf.current_root) == NULL)
		result = open_root(work, &rf, out);
	cmk_rootfile_free(&rf);
	return result;
}

/* ---- a changed setting ---- */

/*
 * What the next validation will ask of a key, asked before it governs: one that opens
 * its wrap of the root may have expired, and would close a server that is well.
 */
static int
could_govern(CmkKeyWork *work, const char *url, const char *version, CmkOutcome *out)
{
	const char *which = strncmp(url, "file:", 5) == 0 ? url : version;
	uint8		fresh[CANARY_SIZE];
	CmkKekInfo	info;
	CmkWrapResult w;

	if (cmk_kek_inspect(work->kek, which, cmk_set_flags(), &info, out) < 0)
		return -1;
	if (cmk_random_public(fresh, sizeof(fresh)) < 0)
		return cmk_outcome(out, CMK_REASON_UNKNOWN, "could not get random bytes");
	return cmk_kek_wrap(work->kek, url, version, fresh, sizeof(fresh), &w, out);
}

/*
 * A recipient that opens the root that is open already: nothing has to be written,
 * so a standby can do it, too.
 */
static int
govern_by_recipient(CmkKeyWork *work, const char *url, CmkOutcome *out)
{
	const CmkRootKey *open = cmk_registry_root();
	CmkRootFile rf;
	uint8		root[CMK_ROOT_KEY_SIZE];
	char		version[CMK_KEY_VERSION_SIZE];
	int			result;

	if (cmk_read_root_file(&rf, out) < 0)
		return -1;
	result = unwrap_root(work, url, &rf, root, version, out);
	if (result == 0 && !cmk_equal(root, open->key, sizeof(root)))
		result = cmk_outcome(out, CMK_REASON_CANARY,
							 "the key opens its wrap of the root key to something else");
	if (result == 0)
		result = could_govern(work, url, version, out);
	cmk_cleanse(root, sizeof(root));
	cmk_rootfile_free(&rf);
	if (result == 0)
	{
		cmk_switch_key(work, url);
		cmk_set_governing_version(version);
		ereport(LOG, (errmsg("pg_cmk: key \"%s\" governs from now on", url)));
		cmk_note("key set", url);
	}
	return result;
}

static bool
is_recipient(const char *url)
{
	CmkRootFile rf;
	CmkError	err;
	bool		found = false;

	if (cmk_rootfile_read(CMK_ROOT_FILE, &rf, &err) == 0)
	{
		found = cmk_rootfile_find_recipient(&rf, rf.current_root, url) != NULL;
		cmk_rootfile_free(&rf);
	}
	return found;
}

/*
 * While the root is not open the old key is of no use, and the setting governs as it
 * stands.  Once it is open the old key governs until the new one has taken over.
 */
void
cmk_keywork_follow_setting(CmkKeyWork *work)
{
	CmkOutcome	out;
	int			result;

	if (cmk_key_url[0] == '\0' || strcmp(cmk_key_url, cmk_followed_setting()) == 0)
		return;
	if (strcmp(cmk_key_url, work->url) == 0)
		result = 0;
	else if (!cmk_is_configured())
	{
		cmk_switch_key(work, cmk_key_url);
		result = 0;
	}
	else if (is_recipient(cmk_key_url))
		result = govern_by_recipient(work, cmk_key_url, &out);
	else if (RecoveryInProgress())
		result = no_recipient(cmk_key_url, &out);
	else
		result = cmk_keywork_set_key(work, cmk_key_url, &out);

	if (result == 0)
	{
		cmk_set_followed(cmk_key_url);
		work->warned_setting[0] = '\0';
		return;
	}
	if (strcmp(work->warned_setting, cmk_key_url) != 0)
		ereport(WARNING,
				(errmsg("pg_cmk.key was changed to a key that cannot take over: %s",
						out.err.message),
				 errdetail("Key \"%s\"; key \"%s\" governs on.", cmk_key_url, work->url),
				 out.err.hint[0] ? errhint("%s", out.err.hint) : 0));
	strlcpy(work->warned_setting, cmk_key_url, sizeof(work->warned_setting));
}

/* ---- validation ---- */

/* Wraps random bytes: proves the permission, and makes the next canary. */
static int
try_wrap(CmkKeyWork *work, const char *version, CmkOutcome *out)
{
	uint8		fresh[CANARY_SIZE];
	CmkWrapResult w;

	if (cmk_random_public(fresh, sizeof(fresh)) < 0)
		return cmk_outcome(out, CMK_REASON_UNKNOWN, "could not get random bytes");
	if (cmk_kek_wrap(work->kek, work->url, version, fresh, sizeof(fresh), &w, out) < 0)
		return -1;
	if (!work->have_canary || strcmp(work->wrapped_canary.key_version, version) != 0)
	{
		memcpy(work->canary, fresh, sizeof(fresh));
		work->wrapped_canary = w;
		work->have_canary = true;
	}
	return 0;
}

static int
try_unwrap(CmkKeyWork *work, CmkOutcome *out)
{
	const CmkWrapResult *w = &work->wrapped_canary;
	uint8		back[CANARY_SIZE];
	size_t		len = 0;

	if (cmk_kek_unwrap(work->kek, work->url, w->key_version, w->alg, w->value, w->len,
					   back, sizeof(back), &len, out) < 0)
		return -1;
	if (len != sizeof(back) || !cmk_equal(back, work->canary, len))
		return cmk_outcome(out, CMK_REASON_CANARY,
						   "the key opens the canary to something else");
	return 0;
}

static void
warn_once(CmkKeyWork *work, const CmkKekInfo *info)
{
	if (info->warnings.expires_soon && !work->warned_expiry)
		ereport(WARNING,
				(errmsg("the customer-managed key expires in %lld days",
						(long long) (info->warnings.expires_in / 86400)),
				 errdetail("Key \"%s\".", info->version),
				 errhint("Rotate the key, or extend its expiry date.")));
	work->warned_expiry = info->warnings.expires_soon;
}

/* Once until the newest version is good again; one that was not seen goes by the URL. */
static void
warn_unusable(CmkKeyWork *work, const char *version, const char *why)
{
	if (strcmp(work->warned, version) != 0)
		ereport(WARNING,
				(errmsg("a new version of the customer-managed key cannot be used: %s", why),
				 errdetail("Key \"%s\"; the version that governs goes on.", version)));
	strlcpy(work->warned, version, sizeof(work->warned));
}

static int
try_version(CmkKeyWork *work, const CmkKekInfo *newest, CmkOutcome *out)
{
	if (try_wrap(work, newest->version, out) < 0 || try_unwrap(work, out) < 0)
		return -1;
	return cmk_adopt_version(work, newest, out);
}

/* The newest version is not the one that governs: adopt it, or say why not. */
static void
follow(CmkKeyWork *work, const CmkKekInfo *newest)
{
	CmkOutcome	why;

	if (RecoveryInProgress() || try_version(work, newest, &why) == 0)
		return;
	work->have_canary = false;
	warn_unusable(work, newest->version, why.err.message);
}

/* Looks at the newest version, at the one that governs, and at what they can do. */
static int
look_at_key(CmkKeyWork *work, CmkKekInfo *info, CmkStatus *st, CmkOutcome *out)
{
	CmkOutcome	newest;
	bool		usable = cmk_kek_inspect(work->kek, work->url, 0, info, out) == 0;

	if (usable && strcmp(info->version, st->key_version) != 0)
	{
		follow(work, info);
		cmk_read_status(st);
		usable = strcmp(info->version, st->key_version) == 0;
		if (!usable)
			cmk_outcome(out, CMK_REASON_KEY_UNSUITABLE, "the newest key version cannot be used");
	}
	if (usable)
	{
		work->warned[0] = '\0';
		return 0;
	}

	/* The newest version is no good: the one that governs must speak for itself. */
	newest = *out;
	if (out->verdict != CMK_VERDICT_NO || cmk_key_is_file() || st->key_version[0] == '\0' ||
		cmk_kek_inspect(work->kek, st->key_version, 0, info, out) < 0)
		return -1;
	if (work->warned[0] == '\0' && !newest.confirm && !RecoveryInProgress())
		warn_unusable(work, work->url, newest.err.message);
	return 0;
}

int
cmk_keywork_validate(CmkKeyWork *work, CmkOutcome *out)
{
	CmkStatus	st;
	CmkKekInfo	info;

	cmk_read_status(&st);
	if (look_at_key(work, &info, &st, out) < 0)
		return -1;
	warn_once(work, &info);
	if (try_wrap(work, st.key_version, out) < 0 || try_unwrap(work, out) < 0 ||
		open_newer_root(work, out) < 0)
		return -1;
	return cmk_outcome(out, CMK_REASON_NONE, "%s", "");
}
