/*
 * keywork.h
 *	  What the worker does with the KEK: open the root, validate, follow rotation,
 *	  change keys and recipients.
 *
 * A CmkKeyWork is the worker's own: the conversation with the KEK's place and the
 * canary.  Its functions fill an outcome and do not ereport an error; they may take
 * as long as the vault's timeouts allow.  They return 0, or -1 when the verdict is
 * not YES.
 *
 * keywork.c opens and validates, rootwork.c changes root.json.
 */
#ifndef CMK_KEYWORK_H
#define CMK_KEYWORK_H

#include "../keyring/rootfile.h"
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
 * Opens the root with the governing key, or makes one if this cluster has none, and
 * gives it to the registry.
 */
extern int	cmk_keywork_open_root(CmkKeyWork *work, CmkOutcome *out);

/*
 * The same, loads the keyring, and lets the other processes know (cmk_root_is_open).
 * ereport(FATAL) if the keys file does not go with the root.
 */
extern int	cmk_keywork_open(CmkKeyWork *work, CmkOutcome *out);

/*
 * One validation: look at the key, wrap something random, unwrap the canary.  Three
 * requests, whatever the number of relations.  If the governing key has no version
 * and the newest version is another one than that which governs, and passes every
 * check, the root is wrapped by it and it governs from then on.  A root that came
 * with WAL is opened.
 */
extern int	cmk_keywork_validate(CmkKeyWork *work, CmkOutcome *out);

/*
 * Does justice to a changed setting pg_cmk.key, and warns once if it cannot; to be
 * called before each look at the key.
 */
extern void cmk_keywork_follow_setting(CmkKeyWork *work);

/*
 * Finishes what a crash, or a base backup that was running, has left of a change:
 * root.json that is not in WAL yet, records that are under an older root.
 */
extern void cmk_keywork_settle(CmkKeyWork *work);

/* The first root was made before there was shared memory, and nobody noted it. */
extern bool cmk_root_created;

/* ---- changes of root.json; on failure all is as it was ---- */

/*
 * The root is wrapped by the key of that URL, which governs from then on.  While the
 * root is not open: opens it by that key, if it is a recipient.
 */
extern int	cmk_keywork_set_key(CmkKeyWork *work, const char *url, CmkOutcome *out);

/* public_key: PEM, or "" to ask the vault. */
extern int	cmk_keywork_add_recipient(CmkKeyWork *work, const char *url,
									  const char *public_key, CmkOutcome *out);

/* A new root, for all recipients but drop (NULL: for all). */
extern int	cmk_keywork_rotate_root(CmkKeyWork *work, const char *drop, CmkOutcome *out);

/*
 * rootrenew.c: makes a new root if WAL under the current one has reached
 * pg_cmk.root_wal_limit or if this server was promoted.  To be called at each look at
 * the key that went well, the first before recovery can have ended; what fails is
 * logged and tried again.
 */
extern void cmk_keywork_renew_root(CmkKeyWork *work);

#endif							/* CMK_KEYWORK_H */
