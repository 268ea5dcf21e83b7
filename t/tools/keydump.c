/*
 * keydump.c
 *	  For tests: the keys that a server has in memory, in hexadecimal.
 *
 *		keydump DATADIR/pg_cmk <root key, 32 bytes on stdin
 *
 * Prints a line "root HEX" for each root that the current one opens, and
 * "dek HEX" for each record of the keys file: what a search of a process's
 * memory is given as needles.  It reads the files with the project's own code, so
 * that it finds what the server would.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/keyring/record.h"
#include "../../src/keyring/rootfile.h"

static void
fail(const char *what, const CmkError *err)
{
	fprintf(stderr, "keydump: %s: %s\n", what, err ? err->message : "");
	exit(1);
}

static void
print_key(const char *kind, const uint8_t *key, size_t len)
{
	printf("%s ", kind);
	for (size_t i = 0; i < len; i++)
		printf("%02x", key[i]);
	printf("\n");
}

static void
print_record(const CmkRootFile *rf, const CmkRootKey *roots, int n,
			 CmkKeyWrap *kw, const uint8_t *record)
{
	CmkDekInfo	info;
	CmkError	err;
	CmkRecordKey rk;
	uint8_t		dek[CMK_DEK_SIZE];

	if (cmk_record_decode(record, &info, &err) < 0 || info.state == CMK_DEK_FREE)
		return;
	for (int i = 0; i < n; i++)
	{
		if (roots[i].id != info.root_id)
			continue;
		rk.root_id = roots[i].id;
		rk.root_key = roots[i].key;
		memcpy(rk.salt, roots[i].salt, CMK_SALT_SIZE);
		rk.sysid = rf->sysid;
		if (cmk_record_unwrap(&rk, kw, record, dek, &err) < 0)
			fail("record", &err);
		print_key("dek", dek, sizeof(dek));
	}
}

int
main(int argc, char **argv)
{
	char		path[4096];
	uint8_t		current[CMK_ROOT_KEY_SIZE];
	uint8_t		record[CMK_RECORD_SIZE];
	CmkRootKey	roots[CMK_MAX_ROOTS];
	CmkRootFile rf;
	CmkError	err;
	CmkKeyWrap *kw = cmk_keywrap_new();
	FILE	   *keys;
	int			n;

	if (argc != 2 || fread(current, 1, sizeof(current), stdin) != sizeof(current))
		fail("usage: keydump DATADIR/pg_cmk <root", NULL);
	snprintf(path, sizeof(path), "%s/root.json", argv[1]);
	if (cmk_rootfile_read(path, &rf, &err) < 0 ||
		cmk_rootfile_verify(&rf, path, rf.sysid, current, &err) < 0 ||
		cmk_rootfile_open_all(&rf, path, current, roots, &n, &err) < 0)
		fail(path, &err);
	for (int i = 0; i < n; i++)
		print_key("root", roots[i].key, sizeof(roots[i].key));
	snprintf(path, sizeof(path), "%s/keys", argv[1]);
	keys = fopen(path, "rb");
	if (keys == NULL || fread(record, 1, sizeof(record), keys) != sizeof(record))
		fail(path, NULL);
	while (fread(record, 1, sizeof(record), keys) == sizeof(record))
		print_record(&rf, roots, n, kw, record);
	fclose(keys);
	return 0;
}
