/*
 * keywork.h
 *	  What the worker does with the KEK: open the root, validate, follow rotation.
 *
 * A CmkKeyWork is the worker's own: the conversation with the KEK's place and the
 * canary.  Its functions fill an outcome and do not ereport; they may take as long
 * as the vault's timeouts allow.
 */
#ifndef CMK_KEYWORK_H
#define CMK_KEYWORK_H

#include "../vault/kek.h"

typedef struct CmkKeyWork CmkKeyWork;

/* From the settings as they are now.  ereport(ERROR) if out of memory. */
extern CmkKeyWork *cmk_keywork_new(void);
extern void cmk_keywork_free(CmkKeyWork *work);

/* New connections and tokens from here on. */
extern void cmk_keywork_reset(CmkKeyWork *work);

/* The identity in use, or "". */
extern const char *cmk_keywork_identity(CmkKeyWork *work);

/*
 * Opens the root with the governing key, or makes one if this cluster has none,
 * loads the keyring, and lets the other processes know (cmk_root_is_open).
 */
extern void cmk_keywork_open(CmkKeyWork *work, CmkOutcome *out);

/*
 * One validation: look at the key, wrap something random, unwrap the canary.  Three
 * requests, whatever the number of relations.  If pg_cmk.key has no version and the
 * newest version is another one than that which governs, and passes every check,
 * the root is wrapped by it and it governs from then on.
 */
extern void cmk_keywork_validate(CmkKeyWork *work, CmkOutcome *out);

#endif							/* CMK_KEYWORK_H */
