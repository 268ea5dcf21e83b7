/*
 * base64url.c
 *	  Base64 with the URL alphabet and without padding (RFC 4648 section 5).
 *
 * OpenSSL's decoder takes the other alphabet, skips white space and does not
 * look at the unused bits of the last character, so that several texts would
 * stand for the same bytes.
 */
#include "base64url.h"

static const char alphabet[] =
"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

size_t
cmk_base64url_encode(const void *in, size_t len, char *out)
{
	const uint8_t *p = in;
	char	   *o = out;
	uint32_t	bits = 0;
	int			nbits = 0;
	size_t		i;

	for (i = 0; i < len; i++)
	{
		bits = (bits << 8) | p[i];
		for (nbits += 8; nbits >= 6; nbits -= 6)
			*o++ = alphabet[(bits >> (nbits - 6)) & 0x3f];
	}
	if (nbits > 0)
		*o++ = alphabet[(bits << (6 - nbits)) & 0x3f];
	*o = '\0';
	return o - out;
}

/* The six bits that c stands for, or -1. */
static int
value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '-')
		return 62;
	if (c == '_')
		return 63;
	return -1;
}

ssize_t
cmk_base64url_decode(const char *in, size_t inlen, void *out, size_t outmax)
{
	uint8_t    *o = out;
	size_t		n = 0;
	uint32_t	bits = 0;
	int			nbits = 0;
	size_t		i;

	if (inlen % 4 == 1)
		return -1;
	for (i = 0; i < inlen; i++)
	{
		int			v = value_of(in[i]);

		if (v < 0)
			return -1;
		bits = (bits << 6) | (uint32_t) v;
		nbits += 6;
		if (nbits >= 8)
		{
			if (n >= outmax)
				return -1;
			nbits -= 8;
			o[n++] = (bits >> nbits) & 0xff;
		}
	}
	if ((bits & ((1U << nbits) - 1)) != 0)
		return -1;
	return n;
}
