/*
 * rootopen.c
 *	  How the root keys and the keyring come to be open.  See rootopen.h.
 *
 * The root is opened in the postmaster, when shared memory is made: before the
 * startup process reads the first page.  After a crash of a child the region
 * with the roots is still there, and only the registry is rebuilt from the keys
 * file, which then may hold births that the crashed process had not finished.
 *
 * Whatever is wrong with the KEK, root.json or the keys file's header stops the
 * server here, with the file's name: going on would make a cluster that cannot
 * read its own tables, or worse, one that makes a second root beside the first.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "postmaster/startup.h"
#include "storage/fd.h"
#include "storage/pmsignal.h"
#include "storage/proc.h"

#include "../vault/provider.h"
#include "compat.h"
#include "gate.h"
#include "keywork.h"
#include "orphans.h"
#include "rootopen.h"
#include "settings.h"
#include "state.h"

bool
cmk_file_exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

/* A server that follows another gets its root from there. */
bool
cmk_is_archive_recovery(void)
{
	return cmk_file_exists("standby.signal") || cmk_file_exists("recovery.signal");
}

/*
 * The wrap that a key in a file opens: the recipient of that URL, else (a replica
 * or a restored copy may keep the same KEK under another name) any wrap that it can
 * open.  version gets the one that did.
 */
static int
unwrap_current(const CmkRootFile *rf, uint8 *key, char *version, CmkError *err)
{
	char		url[CMK_KEY_URL_SIZE];
	const CmkProvider *p;
	const CmkRoot *root = cmk_rootfile_find_root(rf, rf->current_root);
	CmkError	first;
	bool		tried = false;

	cmk_get_governing(url, version);
	p = cmk_provider_for(url, err);
	if (p == NULL || p->check(url, err) < 0)
		return -1;
	for (int pass = 0; root != NULL && pass < 2; pass++)
		for (int i = 0; i < root->nwraps; i++)
		{
			const CmkWrap *w = &root->wraps[i];
			bool		same = strcmp(w->recipient, url) == 0;
			size_t		len;

			if (same != (pass == 0))
				continue;
			if (p->unwrap(url, w->key_version, w->alg, w->value, w->len,
						  key, CMK_ROOT_KEY_SIZE, &len, err) == 0)
			{
				if (len == CMK_ROOT_KEY_SIZE)
				{
					strlcpy(version, w->key_version, CMK_KEY_VERSION_SIZE);
					return 0;
				}
				cmk_fail(err, CMK_ERR_CORRUPT, "the root key in file \"%s\" is %zu bytes long",
						 CMK_ROOT_FILE, len);
			}
			if (!tried)
				first = *err;
			tried = true;
		}
	if (tried)
		*err = first;
	else
		cmk_fail(err, CMK_ERR_CORRUPT, "file \"%s\" holds no wrap of the current root key",
				 CMK_ROOT_FILE);
	return -1;
}

/*
 * In the keyring's lock, if there are others to be locked out: a birth takes the
 * root and enters the registry under it, so that when this returns every record
 * under an older root is there to be seen.
 */
int
cmk_install_root(const CmkRootFile *rf, const uint8 current[CMK_ROOT_KEY_SIZE],
				 CmkError *err)
{
	static CmkRootKey keys[CMK_MAX_ROOTS];
	int			n = 0;
	int			result = -1;

	if (MyProc != NULL)
		cmk_lock_keyring();
	if (cmk_rootfile_verify(rf, CMK_ROOT_FILE, GetSystemIdentifier(), current, err) == 0 &&
		cmk_rootfile_open_all(rf, CMK_ROOT_FILE, current, keys, &n, err) == 0 &&
		cmk_registry_set_roots(keys, n, rf->current_root, err) == 0)
		result = cmk_keyring_reread_damaged(err);
	if (MyProc != NULL)
		cmk_unlock_keyring();
	cmk_cleanse(keys, sizeof(keys));
	return result;
}

/* Opens the root of rf with a key in a file. */
static int
open_root(const CmkRootFile *rf, CmkError *err)
{
	uint8		current[CMK_ROOT_KEY_SIZE];
	char		version[CMK_KEY_VERSION_SIZE];
	int			result = -1;

	/* A foreign file is told from a wrong key before the KEK is asked. */
	if (cmk_rootfile_check_sysid(rf, CMK_ROOT_FILE, GetSystemIdentifier(), err) == 0 &&
		unwrap_current(rf, current, version, err) == 0)
		result = cmk_install_root(rf, current, err);
	cmk_cleanse(current, sizeof(current));
	if (result == 0)
		cmk_set_governing_version(version);
	return result;
}

/* ---- replay ---- */

static void
wake_worker(void)
{
	SpinLockAcquire(&cmk_shared->mutex);
	if (cmk_shared->status.health.state == CMK_STATE_UNCONFIGURED)
		cmk_health_start(&cmk_shared->status.health);
	cmk_shared->asked++;
	if (cmk_shared->worker != NULL)
		SetLatch(cmk_shared->worker);
	SpinLockRelease(&cmk_shared->mutex);
}

/*
 * Until the worker has opened that root.  Sessions of a standby go on meanwhile: what
 * they read is under roots that are open.
 */
static void
await_root(uint32 id)
{
	if (cmk_registry_root_by_id(id) == NULL)
		ereport(LOG,
				(errmsg("pg_cmk: waiting for the customer-managed key to open root key %u, which came with WAL",
						id)));
	while (cmk_registry_root_by_id(id) == NULL)
	{
		HandleStartupProcInterrupts();
		if (!PostmasterIsAlive())
			exit(1);
		pg_usleep(100000L);
	}

	/* The worker may still be reading records that were waiting for it. */
	cmk_lock_keyring();
	cmk_unlock_keyring();
}

/* Another root file around a root that is open: its key speaks for the file. */
static int
take_wraps(CmkRootFile *theirs, const CmkRootFile *ours, const CmkRootKey *root,
		   CmkError *err)
{
	char		url[CMK_KEY_URL_SIZE];
	char		version[CMK_KEY_VERSION_SIZE];
	const CmkWrap *w;
	bool		changed = false;

	if (cmk_rootfile_verify(theirs, CMK_ROOT_FILE, GetSystemIdentifier(), root->key, err) < 0)
		return -1;
	if (ours != NULL && ours->current_root == root->id &&
		cmk_rootfile_verify(ours, CMK_ROOT_FILE, GetSystemIdentifier(), root->key, err) == 0 &&
		(cmk_rootfile_keep_local(theirs, ours, &changed, err) < 0 ||
		 (changed && cmk_rootfile_print(theirs, root->key, err) < 0)))
		return -1;
	if (cmk_rootfile_write(CMK_ROOT_FILE, theirs->text, strlen(theirs->text), err) < 0)
		return -1;

	/* The version under which the governing recipient's wrap was made last. */
	cmk_get_governing(url, version);
	w = cmk_rootfile_find_recipient(theirs, theirs->current_root, url);
	if (w != NULL)
		cmk_set_governing_version(w->key_version);
	return 0;
}

int
cmk_take_root(CmkRootFile *theirs, const CmkRootFile *ours, CmkError *err)
{
	const CmkRootKey *known = cmk_registry_root_by_id(theirs->current_root);
	bool		first = !cmk_is_configured();

	if (known != NULL)
		return take_wraps(theirs, ours, known, err);
	if (cmk_key_is_file() && open_root(theirs, err) < 0)
		return -1;
	if (cmk_rootfile_write(CMK_ROOT_FILE, theirs->text, strlen(theirs->text), err) < 0)
		return -1;
	if (first)
	{
		/* From here on there is something to be sealed. */
		pg_atomic_write_u32(&cmk_shared->open, 0);
		pg_atomic_write_u32(&cmk_shared->expected, 1);
		if (cmk_key_is_file())
			cmk_load_keyring();
	}
	wake_worker();
	await_root(theirs->current_root);
	return first ? cmk_await_root() : 0;
}

/* ---- the start ---- */

/* First start with a key, which is no vault's or there is no worker. */
static void
create_or_open_root(bool have_root)
{
	CmkKeyWork *work = cmk_keywork_new();
	CmkRootFile rf;
	CmkError	err;
	CmkOutcome	out;
	bool		ok = true;

	if (have_root && cmk_key_is_file())
	{
		ok = cmk_rootfile_read(CMK_ROOT_FILE, &rf, &err) == 0;
		if (ok)
		{
			ok = open_root(&rf, &err) == 0;
			cmk_rootfile_free(&rf);
		}
	}
	else if (cmk_keywork_open_root(work, &out) < 0)
	{
		err = out.err;
		ok = false;
	}
	cmk_keywork_free(work);
	if (!ok)
		cmk_report(FATAL, &err);
}

/* Is there more in the keys file than its header and unused space? */
static bool
keys_file_has_records(void)
{
	uint8		buf[CMK_RECORD_SIZE];
	bool		found = false;
	int			fd = OpenTransientFile(CMK_KEYS_FILE, O_RDONLY | PG_BINARY);

	if (fd < 0 || lseek(fd, CMK_RECORD_SIZE, SEEK_SET) < 0)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", CMK_KEYS_FILE)));
	while (!found && read(fd, buf, sizeof(buf)) == sizeof(buf))
		for (size_t i = 0; i < sizeof(buf); i++)
			if (buf[i] != 0)
				found = true;
	CloseTransientFile(fd);
	return found;
}

static void
refuse_lost_root(void)
{
	ereport(FATAL,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("file \"%s\" is missing", CMK_ROOT_FILE),
			 errdetail("File \"%s\" holds keys that only the missing file opens.",
					   CMK_KEYS_FILE),
			 errhint("Restore file \"%s\" from a backup of this cluster.", CMK_ROOT_FILE)));
}

static void
make_directory(void)
{
	if (MakePGDirectory(CMK_DIR) < 0 && errno != EEXIST)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m", CMK_DIR)));
}

void
cmk_open_keyring(bool worker_opens)
{
	CmkError	err;
	bool		have_root = cmk_file_exists(CMK_ROOT_FILE);

	if (!cmk_has_key())
	{
		if (have_root)
			ereport(FATAL,
					(errcode(ERRCODE_CONFIG_FILE_ERROR),
					 errmsg("pg_cmk.key is not set, but this cluster holds sealed data"),
					 errdetail("File \"%s\" exists: relations of this cluster are sealed under the root key that it holds.",
							   CMK_ROOT_FILE),
					 errhint("Set pg_cmk.key to the key that opens it; the file names its recipients.")));
		return;
	}
	make_directory();
	if (have_root && !cmk_file_exists(CMK_KEYS_FILE))
		ereport(FATAL,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("file \"%s\" is missing", CMK_KEYS_FILE),
				 errdetail("File \"%s\" exists, so relations of this cluster may be sealed under keys that the missing file held.",
						   CMK_ROOT_FILE),
				 errhint("Restore directory \"%s\" from a backup of this cluster.", CMK_DIR)));
	if (cmk_keyring_open(CMK_KEYS_FILE, GetSystemIdentifier(), true, &err) < 0)
		cmk_report(FATAL, &err);

	/* The whole setting: what governs would be cut where it is too long. */
	if (cmk_check_key_url(cmk_key_url, &err) < 0 || cmk_vault_read_environment(&err) < 0)
		cmk_report(FATAL, &err);
	if (!have_root && keys_file_has_records())
		refuse_lost_root();
	if (worker_opens)
		return;
	if (have_root || !cmk_is_archive_recovery())
		create_or_open_root(have_root);
	else
		ereport(LOG,
				(errmsg("pg_cmk: no root key yet; it comes with the primary's WAL")));
}

/*
 * Whoever has the KEK's public half can write a new root.json that verifies.  None
 * of the keys would open under it, and new ones would be made under a root that
 * somebody else knows.  A record whose CRC is right was not torn by a backup; but it
 * may be under a newer root than the backup's root.json, which WAL brings.
 */
static void
refuse_foreign_root(const CmkDamaged *damaged, uint32 n)
{
	bool		from_backup = cmk_file_exists("backup_label") || cmk_is_archive_recovery();

	for (uint32 i = 0; i < n; i++)
		if (damaged[i].id_known &&
			!(from_backup && damaged[i].root_id > cmk_registry_root()->id))
			ereport(FATAL,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("file \"%s\" and file \"%s\" do not belong together",
							CMK_ROOT_FILE, CMK_KEYS_FILE),
					 errdetail("No key record opens under the root key; record %u is the first that does not.",
							   damaged[i].record),
					 errhint("Restore directory \"%s\" from a backup of this cluster.", CMK_DIR)));
}

void
cmk_rebuild_registry(void)
{
	CmkError	err;
	CmkDamaged	damaged[CMK_MAX_DAMAGED];
	uint32		n;

	if (!cmk_is_configured())
		return;
	if (cmk_keyring_load(&err) < 0)
		cmk_report(FATAL, &err);
	n = cmk_registry_damaged(damaged, CMK_MAX_DAMAGED);
	if (n > 0 && cmk_registry_count() + cmk_registry_dead_count() == 0)
		refuse_foreign_root(damaged, Min(n, CMK_MAX_DAMAGED));
	cmk_revive_living();
	for (uint32 i = 0; i < Min(n, CMK_MAX_DAMAGED); i++)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("record %u of file \"%s\" is damaged",
						damaged[i].record, CMK_KEYS_FILE),
				 errdetail("The relation file whose key it holds cannot be read until WAL replay brings the record again.")));
	ereport(LOG,
			(errmsg("pg_cmk: root key %u is open, %u relation keys",
					cmk_registry_root()->id, cmk_registry_count())));
}

void
cmk_report_locked(void)
{
	size_t		wanted;
	size_t		locked;

	cmk_registry_lock_report(&wanted, &locked);
	if (locked < wanted)
		ereport(LOG,
				(errmsg("pg_cmk: %zu of %zu kB of key memory are locked",
						locked / 1024, wanted / 1024),
				 errhint("Raise RLIMIT_MEMLOCK (LimitMEMLOCK in a systemd unit), or encrypt the swap space.")));
}

void
cmk_load_keyring(void)
{
	cmk_lock_keyring();
	cmk_rebuild_registry();
	cmk_unlock_keyring();
	cmk_report_locked();
	pg_atomic_write_u32(&cmk_shared->open, 1);
}

