/*
 * base64url.h
 *	  Base64 with the URL alphabet and without padding (RFC 4648 section 5), the
 *	  form in which JSON Web Keys and Key Vault carry bytes.
 *
 *		char		text[CMK_BASE64URL_SIZE(sizeof(bytes))];
 *
 *		cmk_base64url_encode(bytes, sizeof(bytes), text);
 *		len = cmk_base64url_decode(text, strlen(text), bytes, sizeof(bytes));
 *
 * Every byte sequence has exactly one text, and every other text is refused, so
 * that a file cannot be changed without changing what it says.  Not for keys:
 * the time depends on the content.
 */
#ifndef CMK_BASE64URL_H
#define CMK_BASE64URL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Characters for len bytes, without and with the terminating NUL. */
#define CMK_BASE64URL_LEN(len)	(((len) * 4 + 2) / 3)
#define CMK_BASE64URL_SIZE(len)	(CMK_BASE64URL_LEN(len) + 1)

/*
 * Writes len bytes as text, NUL-terminated, to out, which has room for
 * CMK_BASE64URL_SIZE(len).  Returns the length of the text.
 */
extern size_t cmk_base64url_encode(const void *in, size_t len, char *out);

/*
 * Reads inlen characters into out, which has room for outmax bytes.  Returns how
 * many bytes there are; -1 for a foreign character (padding and white space
 * included), an impossible length, unused bits that are not zero, or more than
 * outmax bytes.  out may be partly written then.
 */
extern ssize_t cmk_base64url_decode(const char *in, size_t inlen,
									void *out, size_t outmax);

#endif							/* CMK_BASE64URL_H */
