/*
 * rootwork.c
 *	  Changes of root.json: the first root, another key.  See keywork.h; recipients.c
 *	  has recipients and new roots.
 *
 * Each change has the same three steps.  What the new wraps need is asked of the
 * vaults, and proven; only then root.json is replaced, which is the moment at which
 * the change happens; then WAL is told, and that record is flushed, since on an idle
 * server nothing else would take it to a standby for long.  A crash before the
 * replacement has changed nothing.  One after it leaves a file that is newer than
 * WAL: the next look at the key logs it (cmk_keywork_settle), and so does the first
 * birth, whichever comes first.
 */
#include "postgres.h"

#include <time.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "../keyring/keyring.h"
#include "../seal/kdf.h"
#include "../vault/public_key.h"
#include "compat.h"
#include "events.h"
#include "keywal.h"
#include "keywork_impl.h"
#include "rootopen.h"
#include "settings.h"
#include "state.h"

/* A million changes on each timeline; 2^52 at the most, and JSON counts to 2^53. */
#define SERIAL_TIMELINE_SHIFT	20

bool		cmk_root_created = false;

int
cmk_set_flags(void)
{
	return cmk_require_purge_protection ? CMK_CHECK_PURGE_PROTECTION : 0;
}

void
cmk_note(const char *event, const char *detail)
{
	CmkStatus	st;

	if (cmk_shared == NULL)
		return;
	cmk_read_status(&st);
	cmk_event(event, &st, detail);
}

/* ---- wraps ---- */

static void
fill_wrap(CmkWrap *wrap, const char *url, const char *version, const CmkWrapResult *w,
		  const uint8 *public_key, size_t public_len)
{
	memset(wrap, 0, sizeof(*wrap));
	strlcpy(wrap->recipient, url, sizeof(wrap->recipient));
	strlcpy(wrap->key_version, version, sizeof(wrap->key_version));
	strlcpy(wrap->alg, w->alg, sizeof(wrap->alg));
	wrap->created = (int64) time(NULL);
	wrap->len = w->len;
	memcpy(wrap->value, w->value, w->len);
	wrap->public_len = public_len;
	memcpy(wrap->public_key, public_key, public_len);
}

int
cmk_wrap_root(CmkKeyWork *work, const char *url, const CmkKekInfo *info,
			  const uint8 *root, CmkWrap *wrap, CmkOutcome *out)
{
	CmkWrapResult w;
	uint8		back[CMK_ROOT_KEY_SIZE];
	size_t		len = 0;
	bool		same;

	if (cmk_kek_wrap(work->kek, url, info->version, root, CMK_ROOT_KEY_SIZE, &w, out) < 0 ||
		cmk_kek_unwrap(work->kek, url, w.key_version, w.alg, w.value, w.len,
					   back, sizeof(back), &len, out) < 0)
		return -1;
	same = len == sizeof(back) && cmk_equal(back, root, len);
	cmk_cleanse(back, sizeof(back));
	if (!same)
		return cmk_outcome(out, CMK_REASON_CANARY,
						   "the key does not unwrap what it wrapped");
	fill_wrap(wrap, url, w.key_version, &w, info->public_key, info->public_len);
	return 0;
}

/* The root for a recipient that is not asked. */
int
cmk_wrap_for(const char *url, const char *version, const uint8 *public_key, size_t public_len,
		 const uint8 *root, CmkWrap *wrap, CmkOutcome *out)
{
	CmkWrapResult w;
	CmkError	err;

	if (cmk_public_wrap(public_key, public_len, root, CMK_ROOT_KEY_SIZE, &w, &err) < 0)
		return cmk_local_failure(out, &err);
	fill_wrap(wrap, url, version, &w, public_key, public_len);
	return 0;
}

/* ---- root.json ---- */

int
cmk_read_root_file(CmkRootFile *rf, CmkOutcome *out)
{
	const CmkRootKey *root = cmk_registry_root();
	CmkError	err;

	if (cmk_rootfile_read(CMK_ROOT_FILE, rf, &err) < 0)
		return cmk_local_failure(out, &err);
	if (cmk_rootfile_verify(rf, CMK_ROOT_FILE, GetSystemIdentifier(), root->key, &err) < 0)
	{
		cmk_rootfile_free(rf);
		return cmk_local_failure(out, &err);
	}
	return 0;
}

/* True if it is in WAL, on disk. */
bool
cmk_try_log_root(void)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool ok = true;

	PG_TRY();
	{
		cmk_log_root();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		EmitErrorReport();
		FlushErrorState();
		ok = false;
	}
	PG_END_TRY();
	return ok;
}

/*
 * Above that of every file that an older timeline has made: a primary that lost one in
 * a crash, before it was in WAL, takes ours when it comes back as a standby.
 */
static uint64
next_serial(uint64 serial)
{
	return Max(serial, (uint64) (GetWALInsertionTimeLine() - 1) << SERIAL_TIMELINE_SHIFT) + 1;
}

int
cmk_commit_root_file(CmkRootFile *rf, const uint8 *root, CmkOutcome *out)
{
	CmkError	err;

	rf->serial = next_serial(rf->serial);
	if (cmk_rootfile_print(rf, root, &err) < 0)
		return cmk_local_failure(out, &err);
	cmk_debug_point("root-before-file");
	pg_atomic_write_u32(&cmk_shared->root_logged, 0);
	if (cmk_rootfile_write(CMK_ROOT_FILE, rf->text, strlen(rf->text), &err) < 0)
		return cmk_local_failure(out, &err);
	cmk_debug_point("root-after-file");
	(void) cmk_try_log_root();
	cmk_debug_point("root-after-wal");
	return 0;
}

/* ---- the first root ---- */

int
cmk_create_root(CmkKeyWork *work, CmkOutcome *out)
{
	CmkRootFile rf;
	CmkKekInfo	info;
	CmkWrap		wrap;
	CmkError	err;
	uint8		root[CMK_ROOT_KEY_SIZE];
	int			result = -1;

	if (cmk_kek_inspect(work->kek, work->url, cmk_set_flags(), &info, out) < 0)
		return -1;
	if (cmk_rootfile_new(GetSystemIdentifier(), (int64) time(NULL), &rf, root, &err) < 0)
		return cmk_local_failure(out, &err);
	if (cmk_wrap_root(work, work->url, &info, root, &wrap, out) == 0)
	{
		if (cmk_rootfile_add_wrap(&rf, rf.current_root, &wrap, &err) < 0 ||
			cmk_rootfile_print(&rf, root, &err) < 0 ||
			cmk_rootfile_write(CMK_ROOT_FILE, rf.text, strlen(rf.text), &err) < 0 ||
			cmk_install_root(&rf, root, &err) < 0)
			cmk_local_failure(out, &err);
		else
			result = 0;
	}
	cmk_cleanse(root, sizeof(root));
	cmk_rootfile_free(&rf);
	if (result == 0)
	{
		cmk_set_governing_version(wrap.key_version);
		ereport(LOG,
				(errmsg("pg_cmk: new root key, wrapped by \"%s\"", wrap.key_version)));
		if (cmk_shared == NULL)
			cmk_root_created = true;	/* the worker, once there is one, notes it */
		else
			cmk_note("root created", wrap.key_version);
	}
	return result;
}

/* ---- another key, or another version of it ---- */

/* Proven already: the root is wrapped by it, too, and it governs. */
static int
commit_governing(CmkKeyWork *work, const CmkWrap *wrap, CmkOutcome *out)
{
	const CmkRootKey *root = cmk_registry_root();
	CmkRootFile rf;
	CmkError	err;
	int			result;

	if (cmk_read_root_file(&rf, out) < 0)
		return -1;
	if (cmk_rootfile_add_wrap(&rf, rf.current_root, wrap, &err) < 0)
		result = cmk_local_failure(out, &err);
	else
		result = cmk_commit_root_file(&rf, root->key, out);
	cmk_rootfile_free(&rf);
	return result;
}

int
cmk_adopt_version(CmkKeyWork *work, const CmkKekInfo *info, CmkOutcome *out)
{
	CmkWrap		wrap;

	if (cmk_wrap_root(work, work->url, info, cmk_registry_root()->key, &wrap, out) < 0 ||
		commit_governing(work, &wrap, out) < 0)
		return -1;
	cmk_set_governing_version(wrap.key_version);
	ereport(LOG, (errmsg("pg_cmk: key version \"%s\" governs from now on", wrap.key_version)));
	cmk_note("key version adopted", wrap.key_version);
	return 0;
}

/* No root in memory: only who is a recipient can open it. */
static int
open_by_key(CmkKeyWork *work, const char *url, CmkOutcome *out)
{
	char		old[CMK_KEY_URL_SIZE];

	strlcpy(old, work->url, sizeof(old));
	cmk_switch_key(work, url);
	if (cmk_keywork_open(work, out) == 0)
		return 0;
	cmk_switch_key(work, old);
	return -1;
}

int
cmk_check_change(const char *url, CmkOutcome *out)
{
	CmkError	err;

	if (strlen(url) >= CMK_URL_MAX)
		return cmk_outcome(out, CMK_REASON_CONFIG, "key URL is too long");
	if (cmk_check_key_url(url, &err) < 0)
		return cmk_local_failure(out, &err);
	return 0;
}

/* What changes root.json on a standby comes with WAL. */
int
cmk_check_writable(CmkOutcome *out)
{
	if (RecoveryInProgress())
	{
		cmk_outcome(out, CMK_REASON_CONFIG, "the root file cannot be changed during recovery");
		return cmk_fail_hint(&out->err, "Make the change on the primary; it comes with its WAL.");
	}
	if (!cmk_is_configured())
		return cmk_outcome(out, CMK_REASON_CONFIG, "the root key is not open");
	return 0;
}

int
cmk_keywork_set_key(CmkKeyWork *work, const char *url, CmkOutcome *out)
{
	CmkKekInfo	info;
	CmkWrap		wrap;

	if (cmk_check_change(url, out) < 0)
		return -1;
	if (!cmk_is_configured())
	{
		if (open_by_key(work, url, out) < 0)
			return -1;
	}
	else
	{
		if (cmk_check_writable(out) < 0 ||
			cmk_kek_inspect(work->kek, url, cmk_set_flags(), &info, out) < 0 ||
			cmk_wrap_root(work, url, &info, cmk_registry_root()->key, &wrap, out) < 0 ||
			commit_governing(work, &wrap, out) < 0)
			return -1;
		cmk_switch_key(work, url);
		cmk_set_governing_version(wrap.key_version);
	}
	ereport(LOG, (errmsg("pg_cmk: key \"%s\" governs from now on", url)));
	cmk_note("key set", url);
	return cmk_outcome(out, CMK_REASON_NONE, "%s", "");
}
