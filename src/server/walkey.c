/*
 * walkey.c
 *	  Prepared ciphers of the roots that seal WAL.
 *
 * A process writes under one root and reads under one or two, so a few contexts do;
 * they are made in the postmaster, and giving one a key allocates nothing.  The key
 * itself was derived when the root was opened.
 */
#include <errno.h>

#include "walfile.h"

#define CIPHERS		4

typedef struct WalCipher
{
	uint32_t	root_id;		/* 0: none */
	CmkXts	   *xts;
} WalCipher;

static WalCipher ciphers[CIPHERS];
static unsigned next_to_go = 0;

int
cmk_walkey_init(CmkError *err)
{
	int			i;

	for (i = 0; i < CIPHERS; i++)
	{
		if (ciphers[i].xts == NULL)
			ciphers[i].xts = cmk_xts_new();
		if (ciphers[i].xts == NULL)
			return cmk_fail(err, CMK_ERR_NO_MEMORY, "out of memory");
		ciphers[i].root_id = 0;
	}
	return 0;
}

CmkXts *
cmk_walkey_cipher(const CmkRootKey *root)
{
	WalCipher  *c;
	uint32_t	id = root != NULL ? root->id : 0;
	int			i;

	/* wiped: the server is going down */
	if (id == 0 || cmk_registry_epoch() == 0)
	{
		errno = ENOKEY;
		return NULL;
	}
	for (i = 0; i < CIPHERS; i++)
		if (ciphers[i].root_id == id)
			return ciphers[i].xts;

	c = &ciphers[next_to_go++ % CIPHERS];
	c->root_id = 0;
	if (cmk_xts_set_key(c->xts, root->wal_key) < 0)
	{
		errno = EIO;
		return NULL;
	}
	c->root_id = id;
	return c->xts;
}
