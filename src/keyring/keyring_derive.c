/*
 * keyring_derive.c
 *	  Keys of what has no record in the keys file.  See keyring.h.
 *
 * What dies with the server has a key that does too; what outlives it has one that
 * follows from a root alone, so that nothing more has to be kept for it.  The labels
 * are what makes one key differ from the other, and part of the format.
 */
#include <errno.h>

#include "bytes.h"
#include "keyring.h"

int
cmk_keyring_temp_key(const CmkRelId *id, uint32_t backend,
					 uint8_t key[CMK_DEK_SIZE])
{
	uint8_t		context[16];

	cmk_put32(context, id->spc);
	cmk_put32(context + 4, id->db);
	cmk_put32(context + 8, id->rel);
	cmk_put32(context + 12, backend);
	return cmk_kdf(cmk_registry_ephemeral(), CMK_ROOT_KEY_SIZE,
				   "pg_cmk temporary relation", context, sizeof(context),
				   key, CMK_DEK_SIZE);
}

static const char *const file_key_label[CMK_FILE_KEYS] = {
	"pg_cmk temporary files", "pg_cmk notifications", "pg_cmk query texts",
	"pg_cmk prepared transactions"
};

int
cmk_keyring_derive(CmkFileKey which, const CmkRootKey *root, uint8_t key[CMK_DEK_SIZE])
{
	return cmk_kdf(root->key, sizeof(root->key), file_key_label[which],
				   root->salt, sizeof(root->salt), key, CMK_DEK_SIZE);
}

int
cmk_keyring_file_key(CmkFileKey which, uint32_t root_id,
					 uint8_t key[CMK_DEK_SIZE])
{
	const CmkRootKey *root;
	int			result;

	if (which != CMK_KEY_STATEMENTS && which != CMK_KEY_TWOPHASE)
		result = cmk_kdf(cmk_registry_ephemeral(), CMK_ROOT_KEY_SIZE,
						 file_key_label[which], NULL, 0, key, CMK_DEK_SIZE);
	else
	{
		root = cmk_registry_root_by_id(root_id);
		if (root == NULL)
		{
			errno = ENOKEY;
			return -1;
		}
		result = cmk_keyring_derive(which, root, key);
	}
	if (result < 0)
		errno = EIO;
	return result;
}
