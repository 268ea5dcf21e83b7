/*
 * verify_keys.c
 *	  pg_cmk verify: whether a sealed page opens.
 *
 * The roots are opened as a server would open them.  The records of the keys file are
 * read into a list, still wrapped, and those of one relation are unwrapped when its
 * files are met: so a cluster of any size needs few keys in memory.  The registry,
 * which does this for the server, would take every record at once and change none of
 * what is asked here.
 *
 * Without the root what the records say is believed as it stands: whether a relation
 * is wholly sealed is then not proven either.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../keyring/damaged.h"
#include "../keyring/keysfile.h"
#include "../seal/kdf.h"
#include "../seal/secret.h"
#include "../seal/unit.h"
#include "verify.h"

#define MAX_GENERATIONS	16		/* that a page can tell apart */
#define READ_RECORDS	64

typedef struct Record
{
	CmkDekInfo	info;
	bool		damaged;
	uint8_t		raw[CMK_RECORD_SIZE];
} Record;

typedef struct Secrets
{
	CmkRootKey	roots[CMK_MAX_ROOTS];
	uint8_t		current[CMK_ROOT_KEY_SIZE];
	uint8_t		key[CMK_DEK_SIZE];
} Secrets;

static CmkSecretRegion region;
static Secrets *secrets;
static int	nroots = 0;
static uint64_t sysid;

static Record *records;
static size_t nrecords = 0;
static size_t room = 0;

static CmkKeyWrap *keywrap;
static CmkXts *wal_xts[CMK_MAX_ROOTS];
static CmkXts *head_xts;

/* The relation that was asked for last. */
static CmkRelId last_id;
static bool last_valid = false;
static CmkVerifyDek last_dek;
static unsigned last_generation[MAX_GENERATIONS];
static CmkXts *last_xts[MAX_GENERATIONS];

static int
compare_ids(const CmkRelId *a, const CmkRelId *b)
{
	if (a->spc != b->spc)
		return a->spc < b->spc ? -1 : 1;
	if (a->db != b->db)
		return a->db < b->db ? -1 : 1;
	if (a->rel != b->rel)
		return a->rel < b->rel ? -1 : 1;
	return 0;
}

/* Of one relation the newest generation first, and the live record before a dead one. */
static int
compare_records(const void *one, const void *other)
{
	const CmkDekInfo *a = &((const Record *) one)->info;
	const CmkDekInfo *b = &((const Record *) other)->info;
	int			c = compare_ids(&a->id, &b->id);

	if (c == 0 && a->state != b->state)
		c = a->state == CMK_DEK_LIVE ? -1 : 1;
	if (c == 0 && a->generation != b->generation)
		c = a->generation > b->generation ? -1 : 1;
	return c;
}

/* ---- reading the files ---- */

static int
say(const CmkError *err)
{
	cmk_say_error(err);
	return -1;
}

static int
add_record(CmkVerify *v, uint32_t number, uint8_t *raw)
{
	CmkDekInfo	info;
	Record	   *r;

	if (cmk_damaged_decode(raw, &info, NULL) < 0)
	{
		/* One that a backup copied while it was written comes again with WAL. */
		cmk_verify_find(v, CMK_KEYS_FILE, CMK_VERIFY_NO_BLOCK, !v->is_backup,
						"record %u is damaged", number);
		return 0;
	}
	if (info.state == CMK_DEK_FREE)
		return 0;
	if (nrecords == room)
	{
		size_t		more = room == 0 ? 1024 : 2 * room;
		Record	   *bigger = realloc(records, more * sizeof(Record));

		if (bigger == NULL)
			return -1;
		records = bigger;
		room = more;
	}
	r = &records[nrecords++];
	r->info = info;
	r->damaged = false;
	memcpy(r->raw, raw, CMK_RECORD_SIZE);
	return 0;
}

static int
read_records(CmkVerify *v)
{
	uint8_t		raw[READ_RECORDS * CMK_RECORD_SIZE];
	CmkError	err;
	uint32_t	slot = 0;
	int			n;
	int			i;

	if (cmk_keysfile_open(CMK_KEYS_FILE, v->control.sysid, false, &err) < 0)
	{
		/* A root, and no relation born yet */
		if (err.code == CMK_ERR_NOT_FOUND)
			return 0;
		if (v->cli->no_key)
		{
			cmk_verify_find(v, CMK_KEYS_FILE, CMK_VERIFY_NO_BLOCK, true, "%s", err.message);
			return 0;
		}
		cmk_fail_hint(&err, "Put the file back from a backup. With --no-key the other files are looked at without it.");
		return say(&err);
	}
	while ((n = cmk_keysfile_read(slot, raw, READ_RECORDS, &err)) > 0)
	{
		for (i = 0; i < n; i++)
			if (add_record(v, slot + (uint32_t) i + 1, raw + i * CMK_RECORD_SIZE) < 0)
			{
				cmk_say("out of memory", NULL, NULL);
				return -1;
			}
		slot += (uint32_t) n;
	}
	if (n < 0)
		return say(&err);
	if (nrecords > 0)
		qsort(records, nrecords, sizeof(Record), compare_records);
	return 0;
}

static int
make_ciphers(void)
{
	int			i;
	bool		ok;

	keywrap = cmk_keywrap_new();
	head_xts = cmk_xts_new();
	ok = keywrap != NULL && head_xts != NULL;
	for (i = 0; ok && i < MAX_GENERATIONS; i++)
		ok = (last_xts[i] = cmk_xts_new()) != NULL;
	for (i = 0; ok && i < nroots; i++)
		ok = (wal_xts[i] = cmk_xts_new()) != NULL &&
			cmk_xts_set_key(wal_xts[i], secrets->roots[i].wal_key) == 0;
	if (!ok)
		cmk_say("out of memory", NULL, NULL);
	return ok ? 0 : -1;
}

static int
open_roots(CmkVerify *v, CmkRootFile *rf)
{
	CmkError	err;

	if (cmk_secret_create(&region, sizeof(Secrets), sizeof(Secrets), &err) < 0)
		return say(&err);
	secrets = region.base;
	if (cmk_open_root_offline(v->cli, secrets->current) < 0)
	{
		fprintf(stderr, "pg_cmk: hint: With --no-key pages are counted by their marks, and not opened.\n");
		return -1;
	}
	if (cmk_rootfile_verify(rf, CMK_ROOT_FILE, v->control.sysid, secrets->current, &err) < 0 ||
		cmk_rootfile_open_all(rf, CMK_ROOT_FILE, secrets->current, secrets->roots, &nroots, &err) < 0)
		return say(&err);
	cmk_cleanse(secrets->current, sizeof(secrets->current));
	v->opens = true;
	return make_ciphers();
}

int
cmk_verify_keys_open(CmkVerify *v)
{
	CmkRootFile rf;
	CmkError	err;
	int			result;
	int			i;

	v->wal_from = UINT64_MAX;
	sysid = v->control.sysid;
	if (cmk_rootfile_read(CMK_ROOT_FILE, &rf, &err) < 0)
	{
		if (err.code == CMK_ERR_NOT_FOUND && access(CMK_KEYS_FILE, F_OK) < 0)
			return 0;			/* a cluster without a key */
		cmk_fail_hint(&err, "Without this file nothing that is sealed can be opened. Put it back from a backup.");
		return say(&err);
	}
	v->has_key = true;
	if (cmk_rootfile_check_sysid(&rf, CMK_ROOT_FILE, v->control.sysid, &err) < 0)
		result = say(&err);
	else
		result = v->cli->no_key ? 0 : open_roots(v, &rf);
	for (i = 0; i < rf.nroots; i++)
		if (rf.roots[i].wal_from != 0 && rf.roots[i].wal_from < v->wal_from)
			v->wal_from = rf.roots[i].wal_from;
	cmk_rootfile_free(&rf);
	return result < 0 ? -1 : read_records(v);
}

void
cmk_verify_keys_close(void)
{
	int			i;

	for (i = 0; i < MAX_GENERATIONS; i++)
		cmk_xts_free(last_xts[i]);
	for (i = 0; i < CMK_MAX_ROOTS; i++)
		cmk_xts_free(wal_xts[i]);
	cmk_xts_free(head_xts);
	cmk_keywrap_free(keywrap);
	if (secrets != NULL)
		cmk_secret_destroy(&region);
	free(records);
}

/* ---- relations ---- */

static const CmkRootKey *
find_root(uint32_t id)
{
	int			i;

	for (i = 0; i < nroots; i++)
		if (secrets->roots[i].id == id)
			return &secrets->roots[i];
	return NULL;
}

/* Gives x the key of a record.  False, and the reason in *why. */
static bool
unwrap(const Record *r, CmkXts *x, const char **why)
{
	const CmkRootKey *root = find_root(r->info.root_id);
	CmkRecordKey rk;
	bool		ok;

	*why = "is under a root key that is not known";
	if (root == NULL)
		return false;
	rk.root_id = root->id;
	rk.root_key = root->key;
	memcpy(rk.salt, root->salt, sizeof(rk.salt));
	rk.sysid = sysid;
	*why = "does not open: it is damaged, or was changed";
	ok = cmk_record_unwrap(&rk, keywrap, r->raw, secrets->key, NULL) == 0 &&
		cmk_xts_set_key(x, secrets->key) == 0;
	cmk_cleanse(secrets->key, sizeof(secrets->key));
	return ok;
}

/* The first record of a relation, or nrecords. */
static size_t
find_records(const CmkRelId *id)
{
	size_t		low = 0;
	size_t		high = nrecords;

	while (low < high)
	{
		size_t		mid = low + (high - low) / 2;

		if (compare_ids(&records[mid].info.id, id) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/*
 * A tombstone counts as well: a server that starts makes it live again, since there
 * is a file.  Of live records the newest says whether the file is wholly sealed.
 */
static void
look_up(CmkVerify *v, const CmkRelId *id, CmkVerifyDek *dek)
{
	bool		decided = false;
	size_t		i;

	memset(dek, 0, sizeof(*dek));
	for (i = find_records(id); i < nrecords && compare_ids(&records[i].info.id, id) == 0; i++)
	{
		const CmkDekInfo *info = &records[i].info;
		const char *why;

		if (v->opens && dek->known < MAX_GENERATIONS &&
			!unwrap(&records[i], last_xts[dek->known], &why))
		{
			dek->damaged = true;
			cmk_verify_find(v, CMK_KEYS_FILE, CMK_VERIFY_NO_BLOCK, !v->is_backup,
							"the key record of relation %u/%u/%u %s", id->spc, id->db, id->rel, why);
			continue;
		}
		if (dek->known < MAX_GENERATIONS)
			last_generation[dek->known++] = info->generation % MAX_GENERATIONS;
		if (!decided)
			dek->whole = (info->flags & CMK_DEK_WHOLE) != 0;
		decided = true;
	}
}

void
cmk_verify_keys_of(CmkVerify *v, const CmkRelId *id, CmkVerifyDek *dek)
{
	if (!last_valid || compare_ids(id, &last_id) != 0)
	{
		last_id = *id;
		last_valid = true;
		look_up(v, id, &last_dek);
	}
	*dek = last_dek;
}

bool
cmk_verify_keys_has_generation(const uint8_t *page)
{
	unsigned	generation = cmk_page_generation(page);
	int			i;

	for (i = 0; i < last_dek.known; i++)
		if (last_generation[i] == generation)
			return true;
	return false;
}

CmkOpenResult
cmk_verify_keys_open_page(const CmkVerify *v, uint8_t *page, uint32_t block, unsigned fork)
{
	unsigned	generation = cmk_page_generation(page);
	CmkOpenResult result = CMK_OPEN_NOT_SANE;
	int			i;

	for (i = 0; i < last_dek.known && result == CMK_OPEN_NOT_SANE; i++)
		if (last_generation[i] == generation)
			result = cmk_page_open(last_xts[i], page, block, fork, v->control.checksums);
	return result;
}

/* ---- WAL, and files of any length ---- */

bool
cmk_verify_keys_open_wal(uint8_t *page)
{
	CmkWalHead	head;
	int			i;

	cmk_walpage_head(page, &head);
	for (i = nroots - 1; i >= 0; i--)
		if (secrets->roots[i].id % 16 == cmk_walpage_generation(&head) &&
			cmk_walpage_open(wal_xts[i], page) == CMK_OPEN_OK)
			return true;
	return false;
}

bool
cmk_verify_keys_check_head(CmkFileKey which, uint32_t root_id, const uint8_t *head)
{
	const CmkRootKey *root = find_root(root_id);
	CmkUnitHead parsed;
	bool		ok;

	if (root == NULL || !cmk_unit_head_read(head, &parsed))
		return false;
	ok = cmk_keyring_derive(which, root, secrets->key) == 0 &&
		cmk_xts_set_key(head_xts, secrets->key) == 0 &&
		cmk_unit_head_check(head_xts, &parsed, head) == CMK_HEAD_OK;
	cmk_cleanse(secrets->key, sizeof(secrets->key));
	return ok;
}

void
cmk_verify_keys_tablespaces(CmkVerify *v)
{
	uint32_t	last = 0;
	struct stat st;
	char		path[64];
	size_t		i;

	for (i = 0; i < nrecords; i++)
	{
		uint32_t	spc = records[i].info.id.spc;

		if (spc == last || spc == CMK_SPC_DEFAULT || spc == CMK_SPC_GLOBAL ||
			records[i].info.state != CMK_DEK_LIVE)
			continue;
		last = spc;
		snprintf(path, sizeof(path), "pg_tblspc/%u", spc);
		if (lstat(path, &st) < 0 && errno == ENOENT)
			cmk_verify_find(v, path, CMK_VERIFY_NO_BLOCK, true,
							"the tablespace is not there; its files were not read");
	}
}
