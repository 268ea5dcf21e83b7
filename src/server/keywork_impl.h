/*
 * keywork_impl.h
 *	  What keywork.c (opening, validation) and rootwork.c (changes of root.json)
 *	  share.  Nobody else includes this.
 */
#ifndef CMK_KEYWORK_IMPL_H
#define CMK_KEYWORK_IMPL_H

#include "postgres.h"

#include "../keyring/rootfile.h"
#include "keywork.h"

#define CANARY_SIZE		32

struct CmkKeyWork
{
	CmkVaultConfig config;
	CmkKek	   *kek;
	char		url[CMK_KEY_URL_SIZE];	/* the key that governs */
	bool		have_canary;
	uint8_t		canary[CANARY_SIZE];
	CmkWrapResult wrapped_canary;	/* under key_version */
	char		warned[CMK_KEY_VERSION_SIZE];	/* version last warned of */
	bool		warned_expiry;
	char		warned_setting[CMK_KEY_URL_SIZE];	/* last warned of */
};

/* What is not the vault's fault, as an outcome.  Returns -1. */
extern int	cmk_local_failure(CmkOutcome *out, const CmkError *err);

/* This key governs from now on; forgets what was kept for the old one. */
extern void cmk_switch_key(CmkKeyWork *work, const char *url);

/* Flags for looking at a key that is about to be set. */
extern int	cmk_set_flags(void);

/*
 * Wraps the root by one version of the key of url and proves that it comes back
 * before anything is written.
 */
extern int	cmk_wrap_root(CmkKeyWork *work, const char *url, const CmkKekInfo *info,
						  const uint8_t *root, CmkWrap *wrap, CmkOutcome *out);

/* A wrap for a recipient that is not asked. */
extern int	cmk_wrap_for(const char *url, const char *version,
						 const uint8_t *public_key, size_t public_len,
						 const uint8_t *root, CmkWrap *wrap, CmkOutcome *out);

/* Can a key of this URL be set?  Can root.json be changed here and now? */
extern int	cmk_check_change(const char *url, CmkOutcome *out);
extern int	cmk_check_writable(CmkOutcome *out);

/* root.json, verified under the open root; the caller frees it. */
extern int	cmk_read_root_file(CmkRootFile *rf, CmkOutcome *out);

/*
 * Raises the serial, prints and writes root.json, whose current root's key is given,
 * and logs it.  0 once it is in its file: what could not be logged then is logged
 * at the next look at the key.
 */
extern int	cmk_commit_root_file(CmkRootFile *rf, const uint8_t *root, CmkOutcome *out);

/* Logs root.json as it is; true if it is in WAL, on disk. */
extern bool cmk_try_log_root(void);

/* An event, with the status as it is. */
extern void cmk_note(const char *event, const char *detail);

/* First start with a key: a root of our own. */
extern int	cmk_create_root(CmkKeyWork *work, CmkOutcome *out);

/* A new version that passed every check takes over. */
extern int	cmk_adopt_version(CmkKeyWork *work, const CmkKekInfo *info, CmkOutcome *out);

#endif							/* CMK_KEYWORK_IMPL_H */
