/*
 * rootfile.c
 *	  The root keys: where they come from, how they hang together, and how a
 *	  root file is known to be genuine.
 *
 * A root key is random and stands nowhere in clear.  The current one is wrapped
 * by the KEKs; an older one by a newer one, never the other way round, so that
 * whoever had an old root learns nothing of the next, and one call to the vault
 * opens all of them.  Each use of a root is under a key of its own, derived with
 * a label and with the system identifier of the cluster:
 *
 *		"pg_cmk root.json"	sysid						the HMAC of the file
 *		"pg_cmk root wrap"	older id, newer id, sysid	AES-KW of an older root
 *		"pg_cmk wal"		sysid						WAL pages, 64 bytes
 *
 * (integers little-endian, ids of 4 bytes, sysid of 8).  The HMAC is checked
 * after the KEK has opened the current root, so it also proves that the root is
 * the right one: a wrap that was exchanged for one of a root that somebody else
 * knows does not go with the rest of the file, unless that somebody wrote the
 * whole file anew.  The KEK's public half is enough for that, and no cipher can
 * tell it from the real file; but no DEK of this cluster opens then.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "rootfile_internal.h"

int
cmk_rootfile_hmac(const uint8_t root[CMK_ROOT_KEY_SIZE], uint64_t sysid,
				  const char *text, size_t len, uint8_t mac[CMK_HMAC_SIZE])
{
	uint8_t		context[8];
	uint8_t		key[32];
	int			rc;

	cmk_put64(context, sysid);
	rc = cmk_kdf(root, CMK_ROOT_KEY_SIZE, "pg_cmk root.json",
				 context, sizeof(context), key, sizeof(key));
	if (rc == 0)
		rc = cmk_hmac(key, sizeof(key), text, len, mac);
	cmk_cleanse(key, sizeof(key));
	return rc;
}

/* The key under which the newer root wraps the older one. */
static int
root_wrap_key(const uint8_t newer[CMK_ROOT_KEY_SIZE], uint32_t newer_id,
			  uint32_t older_id, uint64_t sysid, uint8_t kek[32])
{
	uint8_t		context[16];

	cmk_put32(context, older_id);
	cmk_put32(context + 4, newer_id);
	cmk_put64(context + 8, sysid);
	return cmk_kdf(newer, CMK_ROOT_KEY_SIZE, "pg_cmk root wrap",
				   context, sizeof(context), kek, 32);
}

int
cmk_rootfile_check_sysid(const CmkRootFile *rf, const char *name,
						 uint64_t sysid, CmkError *err)
{
	if (rf->sysid == sysid)
		return 0;
	errno = 0;
	cmk_fail(err, CMK_ERR_FOREIGN, "file \"%s\" belongs to another cluster",
			 name);
	cmk_fail_detail(err,
					"The file is of system identifier %" PRIu64 ", this cluster has %" PRIu64 ".",
					rf->sysid, sysid);
	return cmk_fail_hint(err, CMK_ROOTFILE_RESTORE);
}

int
cmk_rootfile_verify(const CmkRootFile *rf, const char *name, uint64_t sysid,
					const uint8_t current[CMK_ROOT_KEY_SIZE], CmkError *err)
{
	uint8_t		mac[CMK_HMAC_SIZE];

	if (cmk_rootfile_check_sysid(rf, name, sysid, err) < 0)
		return -1;
	errno = 0;
	if (cmk_rootfile_hmac(current, sysid, rf->text, rf->signed_len, mac) < 0)
		return cmk_fail(err, CMK_ERR_CRYPTO,
						"could not authenticate file \"%s\"", name);
	if (!cmk_equal(mac, rf->hmac, sizeof(mac)))
	{
		cmk_fail(err, CMK_ERR_CORRUPT, "file \"%s\" is not authentic", name);
		cmk_fail_detail(err,
						"Its HMAC does not fit its content under root key %" PRIu32 ": it has been changed or damaged.",
						rf->current_root);
		return cmk_fail_hint(err, CMK_ROOTFILE_RESTORE);
	}
	return 0;
}

CmkRoot *
cmk_rootfile_find_root(const CmkRootFile *rf, uint32_t root_id)
{
	int			i;

	for (i = 0; i < rf->nroots; i++)
	{
		if (rf->roots[i].id == root_id)
			return &rf->roots[i];
	}
	return NULL;
}

/* A random key and salt for a root.  On failure key is wiped. */
static int
make_root(CmkRoot *root, uint32_t id, uint64_t wal_from, int64_t now,
		  uint8_t key[CMK_ROOT_KEY_SIZE], CmkError *err)
{
	memset(root, 0, sizeof(*root));
	root->id = id;
	root->created = now;
	root->wal_from = wal_from;
	if (cmk_random_key(key, CMK_ROOT_KEY_SIZE) < 0 ||
		cmk_random_public(root->salt, sizeof(root->salt)) < 0)
	{
		cmk_cleanse(key, CMK_ROOT_KEY_SIZE);
		errno = 0;
		return cmk_fail(err, CMK_ERR_CRYPTO,
						"could not get random bytes for a root key");
	}
	return 0;
}

int
cmk_rootfile_new(uint64_t sysid, int64_t now, CmkRootFile *rf,
				 uint8_t key[CMK_ROOT_KEY_SIZE], CmkError *err)
{
	memset(rf, 0, sizeof(*rf));
	cmk_cleanse(key, CMK_ROOT_KEY_SIZE);
	rf->roots = calloc(1, sizeof(CmkRoot));
	if (rf->roots == NULL)
		return cmk_fail(err, CMK_ERR_NO_MEMORY,
						"out of memory while making a root key");
	if (make_root(&rf->roots[0], 1, 0, now, key, err) < 0)
	{
		cmk_rootfile_free(rf);
		return -1;
	}
	rf->serial = 1;
	rf->sysid = sysid;
	rf->current_root = 1;
	rf->nroots = 1;
	return 0;
}

/* Wraps older, whose key is given, by newer. */
static int
wrap_older(CmkRoot *older, const uint8_t older_key[CMK_ROOT_KEY_SIZE],
		   const CmkRoot *newer, const uint8_t newer_key[CMK_ROOT_KEY_SIZE],
		   uint64_t sysid)
{
	CmkKeyWrap *kw = cmk_keywrap_new();
	uint8_t		kek[32];
	int			rc = -1;

	if (kw != NULL &&
		root_wrap_key(newer_key, newer->id, older->id, sysid, kek) == 0)
		rc = cmk_keywrap_wrap(kw, kek, older_key, CMK_ROOT_KEY_SIZE,
							  older->by_root);
	if (rc == 0)
		older->by_root_id = newer->id;
	cmk_cleanse(kek, sizeof(kek));
	cmk_keywrap_free(kw);
	return rc;
}

int
cmk_rootfile_add_root(CmkRootFile *rf,
					  const uint8_t current[CMK_ROOT_KEY_SIZE],
					  uint64_t wal_from, int64_t now,
					  uint8_t key[CMK_ROOT_KEY_SIZE], CmkError *err)
{
	CmkRoot    *roots;
	CmkRoot    *newer;
	uint8_t		newer_key[CMK_ROOT_KEY_SIZE];	/* key may be current */
	int			rc = -1;

	errno = 0;
	if (rf->nroots < 1 || rf->nroots >= CMK_MAX_ROOTS ||
		rf->current_root == UINT32_MAX)
		return cmk_fail(err, CMK_ERR_LIMIT,
						"there is no room for another root key");
	roots = realloc(rf->roots, (rf->nroots + 1) * sizeof(CmkRoot));
	if (roots == NULL)
		return cmk_fail(err, CMK_ERR_NO_MEMORY,
						"out of memory while making a root key");
	rf->roots = roots;
	newer = &roots[rf->nroots];
	if (make_root(newer, rf->current_root + 1, wal_from, now,
				  newer_key, err) < 0)
		return -1;
	if (wrap_older(newer - 1, current, newer, newer_key, rf->sysid) < 0)
		cmk_fail(err, CMK_ERR_CRYPTO,
				 "could not wrap root key %" PRIu32, rf->current_root);
	else
	{
		memcpy(key, newer_key, CMK_ROOT_KEY_SIZE);
		rf->current_root = newer->id;
		rf->nroots++;
		rc = 0;
	}
	cmk_cleanse(newer_key, sizeof(newer_key));
	return rc;
}

/* The key of the WAL pages that this root seals; its halves differ, as XTS needs. */
static int
wal_key(const uint8_t root[CMK_ROOT_KEY_SIZE], uint64_t sysid,
		uint8_t key[CMK_DEK_SIZE])
{
	uint8_t		context[8];

	cmk_put64(context, sysid);
	if (cmk_kdf(root, CMK_ROOT_KEY_SIZE, "pg_cmk wal", context, sizeof(context),
				key, CMK_DEK_SIZE) < 0)
		return -1;
	return cmk_equal(key, key + CMK_DEK_SIZE / 2, CMK_DEK_SIZE / 2) ? -1 : 0;
}

/* Opens root number i; those after it, one of which wraps it, are open. */
static int
open_root(const CmkRootFile *rf, int i, CmkKeyWrap *kw, CmkRootKey *keys)
{
	const CmkRoot *root = &rf->roots[i];
	uint8_t		kek[32];
	int			rc = -1;
	int			j;

	for (j = i + 1; j < rf->nroots && keys[j].id != root->by_root_id; j++)
		;
	if (j < rf->nroots &&
		root_wrap_key(keys[j].key, keys[j].id, root->id, rf->sysid, kek) == 0)
		rc = cmk_keywrap_unwrap(kw, kek, root->by_root, sizeof(root->by_root),
								keys[i].key);
	cmk_cleanse(kek, sizeof(kek));
	return rc;
}

int
cmk_rootfile_open_all(const CmkRootFile *rf, const char *name,
					  const uint8_t current[CMK_ROOT_KEY_SIZE],
					  CmkRootKey *keys, int *n, CmkError *err)
{
	CmkKeyWrap *kw = cmk_keywrap_new();
	int			i;

	*n = 0;
	if (kw == NULL)
		return cmk_fail(err, CMK_ERR_NO_MEMORY,
						"out of memory while opening the root keys");
	for (i = rf->nroots - 1; i >= 0; i--)
	{
		keys[i].id = rf->roots[i].id;
		memcpy(keys[i].salt, rf->roots[i].salt, CMK_SALT_SIZE);
		keys[i].wal_from = rf->roots[i].wal_from;
		if (i == rf->nroots - 1)
			memcpy(keys[i].key, current, CMK_ROOT_KEY_SIZE);
		else if (open_root(rf, i, kw, keys) < 0)
		{
			cmk_cleanse(keys, rf->nroots * sizeof(CmkRootKey));
			cmk_keywrap_free(kw);
			errno = 0;
			cmk_fail(err, CMK_ERR_CORRUPT, "file \"%s\" is damaged", name);
			cmk_fail_detail(err,
							"Root key %" PRIu32 " cannot be opened with root key %" PRIu32 ", which wraps it.",
							rf->roots[i].id, rf->roots[i].by_root_id);
			return cmk_fail_hint(err, CMK_ROOTFILE_RESTORE);
		}
		if (wal_key(keys[i].key, rf->sysid, keys[i].wal_key) < 0)
		{
			cmk_cleanse(keys, rf->nroots * sizeof(CmkRootKey));
			cmk_keywrap_free(kw);
			errno = 0;
			return cmk_fail(err, CMK_ERR_CRYPTO,
							"could not derive the WAL key of root key %" PRIu32,
							rf->roots[i].id);
		}
	}
	cmk_keywrap_free(kw);
	*n = rf->nroots;
	return 0;
}

void
cmk_rootfile_free(CmkRootFile *rf)
{
	free(rf->roots);
	free(rf->text);
	memset(rf, 0, sizeof(*rf));
}
