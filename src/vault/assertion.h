/*
 * assertion.h
 *	  Proof of a client certificate: a JSON Web Token signed with its key.
 *
 *		char	   *jwt = cmk_assertion_make(path, password, client_id, audience,
 *											 time(NULL), &err);
 *		…
 *		cmk_cleanse(jwt, strlen(jwt));
 *		free(jwt);
 */
#ifndef CMK_ASSERTION_H
#define CMK_ASSERTION_H

#include <stdint.h>

#include "../seal/error.h"

#define CMK_ASSERTION_LIFETIME	600 /* seconds */

/*
 * Reads key and certificate, both PEM, from the file (whose permissions must be
 * as secretfile.h says; password opens an encrypted key and may be NULL) and
 * signs an assertion for audience, the token endpoint: PS256, with the SHA-256
 * of the certificate as x5t#S256 ("Microsoft identity platform application
 * authentication certificate credentials").  malloc'd; NULL with
 * CMK_ERR_NOT_FOUND, _PERMISSION, _IO, _KEY_UNUSABLE, _CONFIG or _CRYPTO.
 */
extern char *cmk_assertion_make(const char *path, const char *password,
								const char *client_id, const char *audience,
								int64_t now, CmkError *err);

#endif							/* CMK_ASSERTION_H */
