/*
 * pem.h
 *	  An RSA private key out of a PEM file, with an own message for each way in
 *	  which a file can fail to be one.
 *
 *		EVP_PKEY   *key = cmk_pem_load_rsa(path, &err);
 *
 *		if (key == NULL)
 *			…
 *		EVP_PKEY_free(key);
 */
#ifndef CMK_PEM_H
#define CMK_PEM_H

#include <openssl/evp.h>

#include "../seal/error.h"

/* A path or URL in a message: cut, so that the rest of the message fits too. */
#define CMK_PATH_FMT	"\"%.256s\""

/*
 * Reads the file, which must be as well kept as the server's SSL key: a regular
 * file, owned by the effective user and at most 0600, or by root and at most
 * 0640.  It must hold one private key (certificates and public keys beside it
 * are passed over), PKCS#8 or PKCS#1, without a passphrase, RSA of 2048, 3072
 * or 4096 bits.  The caller frees the key, which OpenSSL then wipes.  NULL with
 * CMK_ERR_NOT_FOUND, _PERMISSION, _IO or _KEY_UNUSABLE.  Not reentrant.  May
 * leave something in OpenSSL's error queue.
 */
extern EVP_PKEY *cmk_pem_load_rsa(const char *path, CmkError *err);

/*
 * Do the public and the private half of the key belong together, are its numbers
 * what they should be?  0, or -1 with CMK_ERR_KEY_UNUSABLE.  Takes a third of a
 * second for 4096 bits.
 */
extern int	cmk_pem_check_rsa(const char *path, EVP_PKEY *key, CmkError *err);

#endif							/* CMK_PEM_H */
