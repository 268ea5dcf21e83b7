/*
 * keycache.h
 *	  Prepared cipher contexts of this process, by DEK.
 *
 * A pool of CMK_KEYCACHE_SIZE contexts is made once, in the postmaster, so that
 * children inherit it and the page path allocates nothing.  A context is found
 * by slot and version; if the pool does not hold the key, the least recently
 * used context of its set is given it.
 */
#ifndef CMK_KEYCACHE_H
#define CMK_KEYCACHE_H

#include "keyring.h"

#define CMK_KEYCACHE_SIZE	128		/* sets of 4 */

/* Allocates the pool.  Once.  0, or -1 with CMK_ERR_NO_MEMORY. */
extern int	cmk_keycache_init(CmkError *err);

/*
 * The context for what ref points to, ready for use until the next call.  NULL
 * with errno ENOKEY if the slot changed (look up again), EIO if the cipher
 * refuses.  No allocation, no lock.
 */
extern CmkXts *cmk_keycache_get(const CmkDekRef *ref);

/* The same for a temporary relation's derived key. */
extern CmkXts *cmk_keycache_get_temp(const CmkRelId *id, uint32_t backend);

/*
 * The same for a file of no relation, see cmk_keyring_file_key().  NULL with errno
 * ENOKEY if the keys were wiped or the root is not open, EIO if the cipher refuses.
 */
extern CmkXts *cmk_keycache_get_file(CmkFileKey which, uint32_t root_id);

/* Wipes the context for what ref points to, if there is one. */
extern void cmk_keycache_forget(const CmkDekRef *ref);

/*
 * Wipes the contexts of this process whose DEK is gone or was replaced; for when the
 * registry's epoch has moved.
 */
extern void cmk_keycache_sweep(void);

/* Wipes every context of this process. */
extern void cmk_keycache_wipe(void);

#endif							/* CMK_KEYCACHE_H */
