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
 *	                            "value": "…", "created": "…" } ],
 *	               "wrapped_by_root": null } ],
 *	  "hmac": "…" }
 *
 * Binary values are base64url without padding.  An older root is wrapped
 * (AES-KW) by the next newer one: "wrapped_by_root": {"id": 2, "value": "…"}.
 * The HMAC-SHA-256, under a key derived from the current root, covers every byte
 * of the text before the member "hmac", which is the last.  serial grows with
 * every change.  docs/formats.md has it all.
 */
#ifndef CMK_ROOTFILE_H
#define CMK_ROOTFILE_H

#include "registry.h"

#define CMK_MAX_RECIPIENTS	16
#define CMK_URL_MAX			1024
#define CMK_WRAP_MAX		512		/* RSA 4096 */
#define CMK_ROOTFILE_MAX	(1024 * 1024)

typedef struct CmkWrap
{
	char		recipient[CMK_URL_MAX];	/* key URL as configured */
	char		key_version[256];
	char		alg[32];
	int64_t		created;		/* seconds since 1970 */
	size_t		len;
	uint8_t		value[CMK_WRAP_MAX];
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
 * open.  name is used in messages.  0, or -1 with CMK_ERR_CORRUPT naming it.
 */
extern int	cmk_rootfile_parse(const char *text, size_t len, const char *name,
							   CmkRootFile *rf, CmkError *err);

/* Reads path and parses.  CMK_ERR_NOT_FOUND if it is missing. */
extern int	cmk_rootfile_read(const char *path, CmkRootFile *rf, CmkError *err);

/* Checks sysid (CMK_ERR_FOREIGN) and the HMAC (CMK_ERR_CORRUPT). */
extern int	cmk_rootfile_verify(const CmkRootFile *rf, const char *name,
								uint64_t sysid,
								const uint8_t current[CMK_ROOT_KEY_SIZE],
								CmkError *err);

/* Prints rf->… to rf->text with a new HMAC under the current root's key. */
extern int	cmk_rootfile_print(CmkRootFile *rf,
							   const uint8_t current[CMK_ROOT_KEY_SIZE],
							   CmkError *err);

/* Replaces path by text, atomically and durably; mode 0600. */
extern int	cmk_rootfile_write(const char *path, const char *text, size_t len,
							   CmkError *err);

/*
 * Unwraps the roots below the current one, given the current key: fills
 * keys[0..*n-1] (room for CMK_MAX_ROOTS).  The caller wipes them.
 */
extern int	cmk_rootfile_open_all(const CmkRootFile *rf, const char *name,
								  const uint8_t current[CMK_ROOT_KEY_SIZE],
								  CmkRootKey *keys, int *n, CmkError *err);

extern void cmk_rootfile_free(CmkRootFile *rf);

#endif							/* CMK_ROOTFILE_H */
