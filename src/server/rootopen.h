/*
 * rootopen.h
 *	  How the root keys and the keyring come to be open.
 *
 * A key in a file is asked by the postmaster when it makes shared memory, or by the
 * startup process when a new root comes with WAL; a key in a vault by the worker
 * (keywork.h), which calls cmk_install_root() and cmk_load_keyring() with what it
 * got.  A standalone backend does either by itself.
 */
#ifndef CMK_ROOTOPEN_H
#define CMK_ROOTOPEN_H

#include "postgres.h"

#include "../keyring/keyring.h"
#include "../keyring/rootfile.h"

/* Is there such a file?  Symbolic links are not followed. */
extern bool cmk_file_exists(const char *path);

/* Does this server take its root from another one's WAL? */
extern bool cmk_is_archive_recovery(void);

/*
 * In the postmaster, at its start: opens the keys file, and the root unless the
 * worker will (worker_opens).  ereport(FATAL): whatever is wrong with the KEK,
 * root.json or the keys file stops the server here.
 */
extern void cmk_open_keyring(bool worker_opens);

/* In the postmaster: the registry from the keys file, if a root is open. */
extern void cmk_rebuild_registry(void);
extern void cmk_report_locked(void);

/*
 * Gives the roots of rf, of which the current one's key is given, to the registry.
 * Records that no root opened before are tried again.  0 or -1.
 */
extern int	cmk_install_root(const CmkRootFile *rf,
							 const uint8 current[CMK_ROOT_KEY_SIZE], CmkError *err);

/* After that: loads the keyring and lets everybody go on.  ereport(FATAL). */
extern void cmk_load_keyring(void);

/*
 * For replay: takes a newer root file, which WAL brought, in place of ours (NULL:
 * there is none), and opens it.  Recipients that were added on this copy only stay.
 * Waits for the worker if the key is in a vault.  0 or -1.
 */
extern int	cmk_take_root(CmkRootFile *theirs, const CmkRootFile *ours, CmkError *err);

#endif							/* CMK_ROOTOPEN_H */
