/*
 * recipients.h
 *	  Who can open the root: what cmk.recipients shows of it.
 */
#ifndef CMK_RECIPIENTS_H
#define CMK_RECIPIENTS_H

#include "postgres.h"

#include "../keyring/rootfile.h"

#define CMK_FINGERPRINT_SIZE	64

/*
 * "sha256:" and the SHA-256 of a public key (SubjectPublicKeyInfo in DER) in
 * base64url, as a key in a file has it for its version.
 */
extern void cmk_key_fingerprint(const uint8 *der, size_t len,
								char text[CMK_FINGERPRINT_SIZE]);

/* The wrap by which the governing key opens that root; NULL if it cannot. */
extern const CmkWrap *cmk_governing_wrap(const CmkRootFile *rf, uint32 root_id);

#endif							/* CMK_RECIPIENTS_H */
