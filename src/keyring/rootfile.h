/*
 * rootfile.h
 *	  $PGDATA/pg_cmk/root.json: the root keys, each wrapped by the KEK of every
 *	  recipient.
 *
 * Losing this file loses the data, so it is only ever replaced atomically
 * (temporary file, fsync, rename, fsync of the directory).  It is JSON, as LUKS2
 * does it, so that a person can see who can open a cluster:
 *
 *	{ "format": "pg_cmk root", "version": 1, "serial": 1,
 *	  "system_identifier": "7436…",            (decimal, as pg_controldata shows it)
 *	  "current_root": 1,
 *	  "roots": [ { "id": 1, "created": "2026-01-31T12:00:00Z", "salt": "…",
 *	               "wal_from": "0/0",
 *	               "wraps": [ { "recipient": "file:///etc/kek.pem",
 *	                            "key_version": "sha256:…", "alg": "RSA-OAEP-256",
 *	                            "public_key": "…", "value": "…",
 *	                            "created": "…", "local": false } ],
 *	               "wrapped_by_root": null } ],
 *	  "hmac": "…" }
 *
 * Binary values are base64url without padding.  With its public key a recipient
 * can be given a new root without being asked.  An older root is wrapped
 * (AES-KW) by the next newer one: "wrapped_by_root": {"id": 2, "value": "…"}.
 * The HMAC-SHA-256, under a key derived from the current root, covers every byte
 * of the text before the member "hmac", which is the last.  serial grows with
 * every change and every timeline.  docs/formats.md has it all.
 *
 *		if (cmk_rootfile_read(path, &rf, &err) < 0 ||
 *			cmk_rootfile_check_sysid(&rf, path, sysid, &err) < 0)
 *			…
 *		wrap = cmk_rootfile_find_wrap(&rf, rf.current_root, key_url);
 *		… the provider of vault/ unwraps it into root …
 *		if (cmk_rootfile_verify(&rf, path, sysid, root, &err) < 0 ||
 *			cmk_rootfile_open_all(&rf, path, root, keys, &nkeys, &err) < 0)
 *			…
 *
 * rootfile_parse.c reads the text, rootfile_print.c writes it, rootfile_io.c
 * has the files, rootfile.c the keys, rootfile_wraps.c the recipients.
 */
#ifndef CMK_ROOTFILE_H
#define CMK_ROOTFILE_H

#include <stdbool.h>

#include "registry.h"

#define CMK_MAX_RECIPIENTS	16
#define CMK_URL_MAX			1024
#define CMK_WRAP_MAX		512		/* RSA 4096 */
#define CMK_PUBLIC_KEY_MAX	600		/* the same, as SubjectPublicKeyInfo in DER */
#define CMK_ROOTFILE_MAX	(1024 * 1024)

typedef struct CmkWrap
{
	char		recipient[CMK_URL_MAX];	/* key URL as configured */
	char		key_version[256];
	char		alg[32];
	int64_t		created;		/* seconds since 1970 */
	size_t		len;
	uint8_t		value[CMK_WRAP_MAX];
	size_t		public_len;
	uint8_t		public_key[CMK_PUBLIC_KEY_MAX];	/* SubjectPublicKeyInfo, DER */
	bool		local;			/* added on this copy only, see keep_local */
} CmkWrap;

typedef struct CmkRoot
{
	uint32_t	id;
	int64_t		created;
	uint64_t	wal_from;
	uint8_t		salt[CMK_SALT_SIZE];
	int			nwraps;
	CmkWrap		wraps[CMK_MAX_RECIPIENTS];
	uint32_t	by_root_id;		/* 0: not wrapped by another root */
	uint8_t		by_root[CMK_ROOT_KEY_SIZE + CMK_KW_OVERHEAD];
} CmkRoot;

typedef struct CmkRootFile
{
	uint64_t	serial;
	uint64_t	sysid;
	uint32_t	current_root;
	int			nroots;
	CmkRoot    *roots;			/* malloc'd, cmk_rootfile_free() */
	char	   *text;			/* as read or printed, NUL-terminated; malloc'd */
	size_t		signed_len;		/* bytes of text that the HMAC covers */
	uint8_t		hmac[CMK_HMAC_SIZE];
} CmkRootFile;

/*
 * Parses and checks the form: every field, its type, its length, no unknown
 * version, no duplicate ids.  The HMAC cannot be checked before the root is
 * open.  name is used in messages.  0, or -1 with CMK_ERR_CORRUPT naming it, or
 * CMK_ERR_NO_MEMORY.  *rf need not be initialised; on failure it is empty and
 * need not be freed.
 */
extern int	cmk_rootfile_parse(const char *text, size_t len, const char *name,
							   CmkRootFile *rf, CmkError *err);

/*
 * Reads path and parses, as above.  CMK_ERR_NOT_FOUND if it is missing,
 * CMK_ERR_PERMISSION if it may not be read, CMK_ERR_IO.
 */
extern int	cmk_rootfile_read(const char *path, CmkRootFile *rf, CmkError *err);

/*
 * Is it a file of this cluster?  CMK_ERR_FOREIGN if not.  Needs no key: ask
 * before the KEK is, so that the message says what is wrong.
 */
extern int	cmk_rootfile_check_sysid(const CmkRootFile *rf, const char *name,
									 uint64_t sysid, CmkError *err);

/*
 * Checks sysid (CMK_ERR_FOREIGN) and the HMAC of rf->text (CMK_ERR_CORRUPT).
 * Nothing of rf may be relied on before this says 0.
 */
extern int	cmk_rootfile_verify(const CmkRootFile *rf, const char *name,
								uint64_t sysid,
								const uint8_t current[CMK_ROOT_KEY_SIZE],
								CmkError *err);

/*
 * Begins the root file of a cluster: serial 1, one root with number 1, a random
 * salt and no wraps yet, created now (seconds since 1970).  key gets the random
 * root key, which is nowhere else: the caller has it wrapped by the KEK, adds
 * that with cmk_rootfile_add_wrap(), prints and writes, and wipes it.  0; -1
 * with CMK_ERR_CRYPTO or CMK_ERR_NO_MEMORY, key wiped and *rf empty.
 */
extern int	cmk_rootfile_new(uint64_t sysid, int64_t now, CmkRootFile *rf,
							 uint8_t key[CMK_ROOT_KEY_SIZE], CmkError *err);

/*
 * Adds a new root, one number higher, which becomes the current one and seals
 * WAL from wal_from on; the root that was current, whose key the caller gives,
 * is wrapped by it.  key gets the new root key, as in cmk_rootfile_new(); it may
 * be the same place as current.  The new root has no wraps yet.  0; -1 with
 * CMK_ERR_LIMIT, _CRYPTO or _NO_MEMORY, and rf and key as they were.
 */
extern int	cmk_rootfile_add_root(CmkRootFile *rf,
								  const uint8_t current[CMK_ROOT_KEY_SIZE],
								  uint64_t wal_from, int64_t now,
								  uint8_t key[CMK_ROOT_KEY_SIZE],
								  CmkError *err);

/* The root of that number, or NULL.  Valid until rf changes. */
extern CmkRoot *cmk_rootfile_find_root(const CmkRootFile *rf, uint32_t root_id);

/* That root's wrap for a recipient, or NULL.  Valid until rf changes. */
extern const CmkWrap *cmk_rootfile_find_wrap(const CmkRootFile *rf,
											 uint32_t root_id,
											 const char *recipient);

/*
 * The wrap under that root which the key of this URL should open: the one whose
 * recipient is url; else, if url names an https key without a version, the one
 * made last among those whose recipient or key_version is url with a version.
 * NULL if there is none.  Valid until rf changes.
 */
extern const CmkWrap *cmk_rootfile_find_recipient(const CmkRootFile *rf,
												  uint32_t root_id,
												  const char *url);

/*
 * Puts a copy of wrap under that root, in place of the one that its recipient
 * has.  0; -1 with CMK_ERR_LIMIT (too many recipients) or CMK_ERR_CONFIG (no
 * such root), rf unchanged.
 */
extern int	cmk_rootfile_add_wrap(CmkRootFile *rf, uint32_t root_id,
								  const CmkWrap *wrap, CmkError *err);

/*
 * Takes a recipient (that exact URL) away: its wraps under every root.  Whoever
 * unwrapped the current root before still knows it, so a new root is the
 * caller's next step.  0; -1 with CMK_ERR_NOT_FOUND if it has no wrap, or
 * CMK_ERR_CONFIG if the current root would be left without one, rf unchanged.
 */
extern int	cmk_rootfile_drop_recipient(CmkRootFile *rf, const char *recipient,
										CmkError *err);

/*
 * Takes all wraps of an older root away; from then on only a newer root opens
 * it.  0; -1 with CMK_ERR_CONFIG if there is no such root or it is the current
 * one, rf unchanged.
 */
extern int	cmk_rootfile_drop_wraps(CmkRootFile *rf, uint32_t root_id,
									CmkError *err);

/*
 * For a copy that replays the WAL of its origin, where theirs came with WAL and
 * ours is in the file: local wraps of our current root, if it is theirs too
 * (cluster, number and salt), whose recipients have no wrap there, are added to
 * theirs, still local.  *changed says whether there were any; the caller prints
 * theirs then.  Both are verified.  0; -1 with CMK_ERR_LIMIT (too many
 * recipients), theirs unchanged.
 */
extern int	cmk_rootfile_keep_local(CmkRootFile *theirs,
									const CmkRootFile *ours, bool *changed,
									CmkError *err);

/*
 * Prints rf->… to rf->text with a new HMAC under the current root's key, and
 * sets signed_len and hmac.  serial is printed as it is: the caller raises it
 * once for each file it writes.  The text is parsed and verified before it
 * replaces the old one, so that nothing can be written that could not be read.
 * 0; -1 with CMK_ERR_CORRUPT (a field that the form does not allow, as a wrap
 * without a public key),
 * CMK_ERR_LIMIT (the text would be too long), _CRYPTO or _NO_MEMORY, and rf as
 * it was.
 */
extern int	cmk_rootfile_print(CmkRootFile *rf,
							   const uint8_t current[CMK_ROOT_KEY_SIZE],
							   CmkError *err);

/*
 * Replaces path by text, atomically and durably; its mode is as filemode.h says.
 * Callers serialise.
 * On failure (CMK_ERR_NO_SPACE, _PERMISSION, _IO) the old file is untouched and
 * the temporary one removed, with one exception: if only the last step, the
 * fsync of the directory, fails, the new file is in place but a crash of the
 * machine may bring back the old one; both are whole.
 */
extern int	cmk_rootfile_write(const char *path, const char *text, size_t len,
							   CmkError *err);

/*
 * Opens all roots, given the current one's key: fills keys[0..*n-1] (room for
 * CMK_MAX_ROOTS) in the order of rf->roots, the current one included.  The
 * caller wipes them.  rf must have been verified.  -1 with CMK_ERR_CORRUPT if
 * an older root does not open; keys are wiped then.
 */
extern int	cmk_rootfile_open_all(const CmkRootFile *rf, const char *name,
								  const uint8_t current[CMK_ROOT_KEY_SIZE],
								  CmkRootKey *keys, int *n, CmkError *err);

/* Frees what rf points to and empties it. */
extern void cmk_rootfile_free(CmkRootFile *rf);

#endif							/* CMK_ROOTFILE_H */
