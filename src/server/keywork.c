/*
 * keywork.c
 *	  What the worker does with the KEK.  See keywork.h.
 *
 * Validation never asks for the root key: it wraps 32 random bytes, and unwraps a
 * canary, 32 other random bytes that the governing version wrapped before.  So
 * nothing that a validation sends or gets opens anything.  The canary is older
 * than the validation that opens it, because an expired or disabled key refuses
 * one of the two operations and not the other.
 */
#include "postgres.h"

#include <time.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "../seal/kdf.h"
#include "compat.h"
#include "keywal.h"
#include "keywork.h"
#include "state.h"
#include "worker.h"

#define CANARY_SIZE		32

struct CmkKeyWork
{
	CmkVaultConfig config;
	CmkKek	   *kek;
	bool		have_canary;
	uint8		canary[CANARY_SIZE];
	CmkWrapResult wrapped_canary;	/* under key_version */
	char		warned[CMK_KEY_VERSION_SIZE];	/* version last warned of */
	bool		warned_expiry;
};

CmkKeyWork *
cmk_keywork_new(void)
{
	CmkKeyWork *work = MemoryContextAllocZero(TopMemoryContext, sizeof(CmkKeyWork));
	CmkError	err;

	cmk_vault_settings(&work->config);
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

/* A file's error, where an outcome is wanted: what cannot be the vault's fault. */
static int
local_failure(CmkOutcome *out, const CmkError *err)
{
	cmk_outcome(out, CMK_REASON_CONFIG, "%s", err->message);
	out->err = *err;
	return -1;
}

static int
wrap_flags(void)
{
	return cmk_require_purge_protection ? CMK_CHECK_PURGE_PROTECTION : 0;
}

/*
 * Wraps the root under one version of the governing key and proves that it comes
 * back before anything is written.
 */
static int
wrap_root(CmkKeyWork *work, const CmkKekInfo *info, const uint8 *root, CmkWrap *wrap,
		  CmkOutcome *out)
{
	CmkWrapResult w;
	uint8		back[CMK_ROOT_KEY_SIZE];
	size_t		len = 0;
	bool		same;

	if (cmk_kek_wrap(work->kek, cmk_key_url, info->version, root, CMK_ROOT_KEY_SIZE, &w, out) < 0 ||
		cmk_kek_unwrap(work->kek, cmk_key_url, w.key_version, w.alg, w.value, w.len,
					   back, sizeof(back), &len, out) < 0)
		return -1;
	same = len == sizeof(back) && cmk_equal(back, root, len);
	cmk_cleanse(back, sizeof(back));
	if (!same)
		return cmk_outcome(out, CMK_REASON_CANARY,
						   "the key does not unwrap what it wrapped");
	memset(wrap, 0, sizeof(*wrap));
	strlcpy(wrap->recipient, cmk_key_url, sizeof(wrap->recipient));
	strlcpy(wrap->key_version, w.key_version, sizeof(wrap->key_version));
	strlcpy(wrap->alg, w.alg, sizeof(wrap->alg));
	wrap->created = (int64) time(NULL);
	wrap->len = w.len;
	memcpy(wrap->value, w.value, w.len);
	wrap->public_len = info->public_len;
	memcpy(wrap->public_key, info->public_key, info->public_len);
	return 0;
}

static int
write_root_file(CmkRootFile *rf, const uint8 *root, CmkOutcome *out)
{
	CmkError	err;

	if (cmk_rootfile_print(rf, root, &err) < 0 ||
		cmk_rootfile_write(CMK_ROOT_FILE, rf->text, strlen(rf->text), &err) < 0)
		return local_failure(out, &err);
	return 0;
}

/* First start with a key. */
static int
create_root(CmkKeyWork *work, CmkOutcome *out)
{
	CmkRootFile rf;
	CmkKekInfo	info;
	CmkWrap		wrap;
	CmkError	err;
	uint8		root[CMK_ROOT_KEY_SIZE];
	int			result = -1;

	if (cmk_kek_inspect(work->kek, cmk_key_url, wrap_flags(), &info, out) < 0)
		return -1;
	if (cmk_rootfile_new(GetSystemIdentifier(), (int64) time(NULL), &rf, root, &err) < 0)
		return local_failure(out, &err);
	if (wrap_root(work, &info, root, &wrap, out) == 0)
	{
		if (cmk_rootfile_add_wrap(&rf, rf.current_root, &wrap, &err) < 0)
			local_failure(out, &err);
		else if (write_root_file(&rf, root, out) == 0)
		{
			if (cmk_install_root(&rf, root, &err) < 0)
				local_failure(out, &err);
			else
				result = 0;
		}
	}
	cmk_cleanse(root, sizeof(root));
	cmk_rootfile_free(&rf);
	if (result == 0)
	{
		cmk_publish_key_version(info.version);
		ereport(LOG,
				(errmsg("pg_cmk: new root key, wrapped by \"%s\"", info.version)));
	}
	return result;
}

/* The governing key's wrap of the current root; what it says opens the cluster. */
static int
open_root(CmkKeyWork *work, const CmkRootFile *rf, CmkOutcome *out)
{
	const CmkWrap *w = cmk_rootfile_find_wrap(rf, rf->current_root, cmk_key_url);
	uint8		root[CMK_ROOT_KEY_SIZE];
	size_t		len = 0;
	CmkError	err;
	int			result;

	if (cmk_rootfile_check_sysid(rf, CMK_ROOT_FILE, GetSystemIdentifier(), &err) < 0)
		return local_failure(out, &err);
	if (w == NULL)
	{
		cmk_outcome(out, CMK_REASON_CONFIG,
					"the key that pg_cmk.key names is no recipient of this cluster's root key");
		cmk_fail_hint(&out->err, "File \"%s\" lists the recipients.", CMK_ROOT_FILE);
		return -1;
	}
	if (cmk_kek_unwrap(work->kek, cmk_key_url, w->key_version, w->alg, w->value, w->len,
					   root, sizeof(root), &len, out) < 0)
		return -1;
	if (len != sizeof(root))
		result = cmk_outcome(out, CMK_REASON_CANARY, "the root key is %zu bytes long", len);
	else if ((result = cmk_install_root(rf, root, &err)) < 0)
		local_failure(out, &err);
	else
		cmk_publish_key_version(w->key_version);
	cmk_cleanse(root, sizeof(root));
	return result;
}

void
cmk_keywork_open(CmkKeyWork *work, CmkOutcome *out)
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
		result = local_failure(out, &err);
	else if (cmk_is_archive_recovery())
		result = cmk_outcome(out, CMK_REASON_CONFIG, "the root key has not come with WAL yet");
	else
		result = create_root(work, out);

	if (result == 0)
	{
		cmk_load_keyring();
		cmk_outcome(out, CMK_REASON_NONE, "%s", "");
	}
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
	if (cmk_kek_wrap(work->kek, cmk_key_url, version, fresh, sizeof(fresh), &w, out) < 0)
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

	if (cmk_kek_unwrap(work->kek, cmk_key_url, w->key_version, w->alg, w->value, w->len,
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

/*
 * A new version that passed every check: the root is wrapped by it, and root.json
 * and its copy in WAL say so.  A standby waits for the primary's.
 */
static int
adopt_version(CmkKeyWork *work, const CmkKekInfo *info, CmkOutcome *out)
{
	const char *version = info->version;
	CmkRootFile rf;
	CmkWrap		wrap;
	CmkError	err;
	const CmkRootKey *root = cmk_registry_root();
	int			result = -1;

	if (try_wrap(work, version, out) < 0 || try_unwrap(work, out) < 0 ||
		wrap_root(work, info, root->key, &wrap, out) < 0)
		return -1;
	if (cmk_rootfile_read(CMK_ROOT_FILE, &rf, &err) < 0)
		return local_failure(out, &err);
	rf.serial++;
	if (cmk_rootfile_verify(&rf, CMK_ROOT_FILE, GetSystemIdentifier(), root->key, &err) < 0 ||
		cmk_rootfile_add_wrap(&rf, rf.current_root, &wrap, &err) < 0)
		local_failure(out, &err);
	else if (write_root_file(&rf, root->key, out) == 0)
	{
		cmk_log_root();

		/* Nothing may follow for long that would take it to a standby. */
		XLogFlush(XactLastRecEnd);
		cmk_publish_key_version(version);
		ereport(LOG, (errmsg("pg_cmk: key version \"%s\" governs from now on", version)));
		result = 0;
	}
	cmk_rootfile_free(&rf);
	return result;
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

/* The newest version is not the one that governs: adopt it, or say why not. */
static void
follow(CmkKeyWork *work, const CmkKekInfo *newest)
{
	CmkOutcome	why;

	if (RecoveryInProgress() || adopt_version(work, newest, &why) == 0)
		return;
	work->have_canary = false;
	warn_unusable(work, newest->version, why.err.message);
}

void
cmk_keywork_validate(CmkKeyWork *work, CmkOutcome *out)
{
	CmkStatus	st;
	CmkKekInfo	info;
	bool		usable;

	cmk_read_status(&st);
	usable = cmk_kek_inspect(work->kek, cmk_key_url, 0, &info, out) == 0;
	if (usable && strcmp(info.version, st.key_version) != 0)
	{
		follow(work, &info);
		cmk_read_status(&st);
		usable = strcmp(info.version, st.key_version) == 0;
		if (!usable)
			cmk_outcome(out, CMK_REASON_KEY_UNSUITABLE, "the newest key version cannot be used");
	}

	/* The newest version is no good: the one that governs must speak for itself. */
	if (!usable)
	{
		CmkOutcome	newest = *out;

		if (out->verdict != CMK_VERDICT_NO || cmk_key_is_file() ||
			cmk_kek_inspect(work->kek, st.key_version, 0, &info, out) < 0)
			return;
		if (work->warned[0] == '\0' && !newest.confirm && !RecoveryInProgress())
			warn_unusable(work, cmk_key_url, newest.err.message);
	}
	else
		work->warned[0] = '\0';
	warn_once(work, &info);
	if (try_wrap(work, st.key_version, out) < 0 || try_unwrap(work, out) < 0)
		return;
	cmk_outcome(out, CMK_REASON_NONE, "%s", "");
}
