/*
 * kek.h
 *	  The KEK, wherever it is: one way to ask a PEM file and a vault.
 *
 * A CmkKek belongs to one process and is asked by one caller at a time.  Its
 * functions return 0, or -1 with *out filled; what they contact is bounded in
 * time (vault.h).
 *
 *		CmkKek	   *kek = cmk_kek_new(&config, &err);
 *
 *		if (cmk_kek_inspect(kek, url, flags, &info, &out) < 0 ||
 *			cmk_kek_wrap(kek, info.version, key, 32, &wrapped, &out) < 0) …
 *
 * A version names one key for good: a vault's kid with its version, or for a file
 * the fingerprint of its public half.  It is what root.json keeps as key_version.
 */
#ifndef CMK_KEK_H
#define CMK_KEK_H

#include "provider.h"
#include "vault.h"

#define CMK_KEY_VERSION_SIZE	256

typedef struct CmkKek CmkKek;

typedef struct CmkKekInfo
{
	char		version[CMK_KEY_VERSION_SIZE];
	CmkKeyWarnings warnings;
	size_t		public_len;
	uint8_t		public_key[CMK_PUBLIC_KEY_SIZE];	/* SubjectPublicKeyInfo, DER */
} CmkKekInfo;

/* config is used by vaults only and must stay valid. */
extern CmkKek *cmk_kek_new(const CmkVaultConfig *config, CmkError *err);
extern void cmk_kek_free(CmkKek *kek);

/* NULL for a kek that never spoke to a vault. */
extern CmkVault *cmk_kek_vault(CmkKek *kek);

/* New connections and tokens from here on. */
extern void cmk_kek_reset(CmkKek *kek);

/*
 * Can the key that url names be used as KEK?  Every requirement of keycheck is
 * looked at; nothing is wrapped.  flags: CMK_CHECK_…
 */
extern int	cmk_kek_inspect(CmkKek *kek, const char *url, int flags,
							CmkKekInfo *info, CmkOutcome *out);

extern int	cmk_kek_wrap(CmkKek *kek, const char *url, const char *version,
						 const uint8_t *in, size_t len,
						 CmkWrapResult *wrapped, CmkOutcome *out);

/* plain has room for max bytes; the caller wipes it. */
extern int	cmk_kek_unwrap(CmkKek *kek, const char *url, const char *version,
						   const char *alg, const uint8_t *in, size_t len,
						   uint8_t *plain, size_t max, size_t *plainlen,
						   CmkOutcome *out);

#endif							/* CMK_KEK_H */
