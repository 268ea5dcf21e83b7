/*
 * recipients.c
 *	  Who can open the root, and a new root for them.  See keywork.h.
 *
 * A new root is given to the registry only after its record is in WAL: a birth under
 * it must not be replayed before it.  The records of the keys file are wrapped anew
 * by each node for itself.  In WAL they would bring back to life what a standby knows
 * to be dead, since deaths are not logged, and each would cost a record; and they
 * come out the same everywhere.  Until it has happened nothing is lost, because the
 * new root opens the older ones: so it may be put off, and is finished at a later look
 * at the key if a crash comes in between.
 */
#include "postgres.h"

#include <time.h>

#include <openssl/evp.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "miscadmin.h"

#include "../keyring/keyring.h"
#include "../seal/base64url.h"
#include "../seal/kdf.h"
#include "../vault/public_key.h"
#include "compat.h"
#include "keywork_impl.h"
#include "recipients.h"
#include "rootopen.h"
#include "seamops.h"
#include "settings.h"
#include "state.h"

#define REWRAP_AT_ONCE		100		/* records in one holding of the lock */

const CmkWrap *
cmk_governing_wrap(const CmkRootFile *rf, uint32 root_id)
{
	const CmkRoot *root = cmk_rootfile_find_root(rf, root_id);
	char		url[CMK_KEY_URL_SIZE];
	char		version[CMK_KEY_VERSION_SIZE];
	const CmkWrap *w;

	cmk_get_governing(url, version);
	w = cmk_rootfile_find_recipient(rf, root_id, url);

	/* A file may have another name here than where its wrap was made. */
	for (int i = 0; w == NULL && root != NULL && i < root->nwraps; i++)
		if (strcmp(root->wraps[i].key_version, version) == 0)
			w = &root->wraps[i];
	return w;
}

/* By that name, or by the one that root.json has for it. */
static bool
is_governing(const CmkKeyWork *work, const CmkRootFile *rf, const char *url)
{
	const CmkWrap *w = cmk_governing_wrap(rf, rf->current_root);

	return strcmp(url, work->url) == 0 || (w != NULL && strcmp(w->recipient, url) == 0);
}

/* The next start would ask it. */
static bool
is_setting(const CmkRootFile *rf, const char *url)
{
	char		setting[CMK_KEY_URL_SIZE];
	const CmkWrap *w;

	cmk_get_setting(setting);
	w = cmk_rootfile_find_recipient(rf, rf->current_root, setting);
	return w != NULL && strcmp(w->recipient, url) == 0;
}

/* Not by the server's own functions, which want a resource owner: the worker has none. */
void
cmk_key_fingerprint(const uint8 *der, size_t len, char text[CMK_FINGERPRINT_SIZE])
{
	uint8		hash[EVP_MAX_MD_SIZE];
	unsigned int hashlen;

	memcpy(text, "sha256:", 8);
	if (EVP_Digest(der, len, hash, &hashlen, EVP_sha256(), NULL) == 1)
		cmk_base64url_encode(hash, hashlen, text + 7);
}

/* Version and public key of a recipient from what the caller knows of it. */
static int
known_recipient(const char *url, const char *pem, CmkKekInfo *info, CmkOutcome *out)
{
	CmkKeyUrl	parsed;
	CmkError	err;

	memset(info, 0, sizeof(*info));
	if (cmk_public_from_pem(pem, strlen(pem), info->public_key, sizeof(info->public_key),
							&info->public_len, &err) < 0)
		return cmk_local_failure(out, &err);
	if (strncmp(url, "file:", 5) == 0)
		cmk_key_fingerprint(info->public_key, info->public_len, info->version);
	else if (cmk_key_url_parse(url, &parsed, &err) < 0)
		return cmk_local_failure(out, &err);
	else if (parsed.version[0] == '\0')
	{
		cmk_outcome(out, CMK_REASON_CONFIG, "key URL has no version");
		cmk_fail_detail(&out->err, "A public key belongs to one version of a key.");
		return cmk_fail_hint(&out->err, "Name the version of which it is the public key.");
	}
	else
		strlcpy(info->version, url, sizeof(info->version));
	return 0;
}

static int
governs_already(const char *url, CmkOutcome *out)
{
	cmk_outcome(out, CMK_REASON_CONFIG, "key \"%.300s\" governs already", url);
	return cmk_fail_hint(&out->err, "Its wrap is made by the key itself, with cmk.set_key().");
}

int
cmk_keywork_add_recipient(CmkKeyWork *work, const char *url, const char *public_key,
						  CmkOutcome *out)
{
	const CmkRootKey *root = cmk_registry_root();
	CmkRootFile rf;
	CmkKekInfo	info;
	CmkWrap		wrap;
	CmkError	err;
	int			result;

	if (cmk_check_change(url, out) < 0 || cmk_check_writable(out) < 0)
		return -1;
	if (strcmp(url, work->url) == 0)
		return governs_already(url, out);
	if ((public_key[0] != '\0' ? known_recipient(url, public_key, &info, out) :
		 cmk_kek_inspect(work->kek, url, cmk_set_flags(), &info, out)) < 0 ||
		cmk_wrap_for(url, info.version, info.public_key, info.public_len, root->key, &wrap, out) < 0 ||
		cmk_read_root_file(&rf, out) < 0)
		return -1;
	if (is_governing(work, &rf, url))
		result = governs_already(url, out);
	else if (cmk_rootfile_add_wrap(&rf, rf.current_root, &wrap, &err) < 0)
		result = cmk_local_failure(out, &err);
	else
		result = cmk_commit_root_file(&rf, root->key, out);
	cmk_rootfile_free(&rf);
	if (result < 0)
		return -1;
	ereport(LOG, (errmsg("pg_cmk: key \"%s\" is a recipient of the root key from now on", url)));
	cmk_note("recipient added", url);
	return cmk_outcome(out, CMK_REASON_NONE, "%s", "");
}

/* ---- a new root ---- */

/*
 * Where the new root would begin to seal WAL: at the start of a segment, and so far
 * behind what is inserted now that no reader's prefetch meets it before replay.
 */
static XLogRecPtr
wal_from_here(void)
{
	XLogSegNo	segno;
	XLogRecPtr	start;

	XLByteToSeg(GetXLogInsertRecPtr() + CMK_ROOTFILE_MAX, segno, wal_segment_size);
	XLogSegNoOffsetToRecPtr(segno + 2, 0, wal_segment_size, start);
	return start;
}

/* The new root for everybody who could open the old one; the governing key is asked. */
static int
wrap_for_all(CmkKeyWork *work, CmkRootFile *rf, uint32 old_id, const uint8 *root,
			 CmkOutcome *out)
{
	const CmkRoot *old = cmk_rootfile_find_root(rf, old_id);
	const CmkWrap *governing = cmk_governing_wrap(rf, old_id);
	char		url[CMK_KEY_URL_SIZE];
	CmkKekInfo	info;
	CmkWrap		wrap;
	CmkError	err;

	memset(&info, 0, sizeof(info));
	cmk_get_governing(url, info.version);
	if (governing == NULL)
		return cmk_outcome(out, CMK_REASON_CONFIG, "the governing key is no recipient");
	for (int i = 0; i < old->nwraps; i++)
	{
		const CmkWrap *w = &old->wraps[i];

		if (w == governing)
		{
			memcpy(info.public_key, w->public_key, w->public_len);
			info.public_len = w->public_len;
			if (cmk_wrap_root(work, work->url, &info, root, &wrap, out) < 0)
				return -1;
			strlcpy(wrap.recipient, w->recipient, sizeof(wrap.recipient));
		}
		else if (cmk_wrap_for(w->recipient, w->key_version, w->public_key, w->public_len,
						  root, &wrap, out) < 0)
			return -1;
		wrap.local = w->local;
		if (cmk_rootfile_add_wrap(rf, rf->current_root, &wrap, &err) < 0)
			return cmk_local_failure(out, &err);
	}
	return 0;
}

/* The older roots are opened by the new one only. */
static int
drop_older_wraps(CmkRootFile *rf, CmkOutcome *out)
{
	CmkError	err;

	for (int i = 0; i < rf->nroots; i++)
		if (rf->roots[i].id != rf->current_root &&
			cmk_rootfile_drop_wraps(rf, rf->roots[i].id, &err) < 0)
			return cmk_local_failure(out, &err);
	return 0;
}

static int
new_root(CmkKeyWork *work, CmkRootFile *rf, CmkOutcome *out)
{
	const CmkRootKey *old = cmk_registry_root();
	uint32		old_id = old->id;
	uint8		root[CMK_ROOT_KEY_SIZE];
	CmkError	err;
	int			result;

	if (cmk_rootfile_add_root(rf, old->key, wal_from_here(), (int64) time(NULL), root, &err) < 0)
	{
		if (err.code == CMK_ERR_LIMIT)
			cmk_fail_detail(&err, "Older roots are kept, because backups and archived WAL name them; there can be %d.",
							CMK_MAX_ROOTS);
		return cmk_local_failure(out, &err);
	}
	result = wrap_for_all(work, rf, old_id, root, out);
	if (result == 0)
		result = drop_older_wraps(rf, out);
	if (result == 0)
		result = cmk_commit_root_file(rf, root, out);
	if (result == 0 && cmk_install_root(rf, root, &err) < 0)
		result = cmk_local_failure(out, &err);
	cmk_cleanse(root, sizeof(root));
	return result;
}

int
cmk_keywork_rotate_root(CmkKeyWork *work, const char *drop, CmkOutcome *out)
{
	CmkRootFile rf;
	CmkError	err;
	char		detail[64];
	int			result = 0;

	if (cmk_check_writable(out) < 0 || cmk_read_root_file(&rf, out) < 0)
		return -1;
	if (drop != NULL && is_governing(work, &rf, drop) &&
		cmk_rootfile_find_recipient(&rf, rf.current_root, drop) != NULL &&
		cmk_rootfile_find_root(&rf, rf.current_root)->nwraps > 1)
	{
		result = cmk_outcome(out, CMK_REASON_CONFIG,
							 "key \"%.300s\" governs and cannot be dropped", drop);
		cmk_fail_hint(&out->err, "Set another key first.");
	}
	else if (drop != NULL && is_setting(&rf, drop) &&
			 cmk_rootfile_find_root(&rf, rf.current_root)->nwraps > 1)
	{
		result = cmk_outcome(out, CMK_REASON_CONFIG,
							 "key \"%.300s\" is the setting pg_cmk.key and cannot be dropped", drop);
		cmk_fail_detail(&out->err, "Key \"%.300s\" governs, but the next start would ask the dropped one.",
						work->url);
		cmk_fail_hint(&out->err, "Set pg_cmk.key to the key that governs first, for example with cmk.set_key().");
	}
	else if (drop != NULL && cmk_rootfile_drop_recipient(&rf, drop, &err) < 0)
		result = cmk_local_failure(out, &err);
	if (result == 0)
		result = new_root(work, &rf, out);
	cmk_rootfile_free(&rf);
	if (result < 0)
		return -1;

	snprintf(detail, sizeof(detail), "root key %u", cmk_registry_root()->id);
	ereport(LOG, (errmsg("pg_cmk: root key %u is the current one from now on",
						 cmk_registry_root()->id)));
	cmk_note("root rotated", detail);
	if (drop != NULL)
		cmk_note("recipient dropped", drop);
	cmk_keywork_settle(work);
	return cmk_outcome(out, CMK_REASON_NONE, "%s", "");
}

/*
 * Not while a base backup runs: it may have copied root.json already, and then must
 * not copy records that only the new root opens, since replay would need them before
 * it comes to the new root.  One that begins now copies the new file.
 */
static void
rewrap_records(void)
{
	uint32		cursor = 0;
	uint64		total = 0;
	CmkError	err;
	int			n;

	if (cmk_backup_is_running())
		return;
	do
	{
		cmk_lock_keyring();
		n = cmk_keyring_rewrap(&cursor, REWRAP_AT_ONCE, &err);
		cmk_unlock_keyring();
		if (n > 0)
			cmk_debug_point("rewrap");
		total += n > 0 ? n : 0;
	} while (n == REWRAP_AT_ONCE);
	if (n < 0)
	{
		cmk_report(WARNING, &err);
		return;
	}
	if (total == 0)
		return;
	if (cmk_keyring_sync() < 0)
		ereport(WARNING,
				(errcode_for_file_access(),
				 errmsg("could not fsync file \"%s\": %m", CMK_KEYS_FILE)));
	ereport(LOG, (errmsg("pg_cmk: %llu relation keys are under root key %u now",
						 (unsigned long long) total, cmk_registry_root()->id)));
}

void
cmk_keywork_settle(CmkKeyWork *work)
{
	CmkRootFile rf;
	CmkError	err;
	bool		current;

	if (!cmk_is_configured())
		return;
	if (!RecoveryInProgress() && pg_atomic_read_u32(&cmk_shared->root_logged) == 0)
		(void) cmk_try_log_root();

	/* Not under a root that is about to be replaced. */
	if (cmk_registry_root()->id == 1 || cmk_rootfile_read(CMK_ROOT_FILE, &rf, &err) < 0)
		return;
	current = rf.current_root == cmk_registry_root()->id;
	cmk_rootfile_free(&rf);
	if (current)
		rewrap_records();
}
