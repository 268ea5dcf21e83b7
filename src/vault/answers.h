/*
 * answers.h
 *	  What the services' answers say: keys, values, errors, challenges, tokens.
 *
 * Pure functions from text to structs, so that they can be tested and fuzzed
 * without a network.  Each returns 0, or -1 with *out filled; none puts a value
 * or a token in a message.
 */
#ifndef CMK_ANSWERS_H
#define CMK_ANSWERS_H

#include "http.h"
#include "url.h"

typedef enum CmkVaultOp
{
	CMK_OP_GET,
	CMK_OP_WRAP,
	CMK_OP_UNWRAP,
	CMK_OP_LIST
} CmkVaultOp;

/* ---- keyanswer.c ---- */

/*
 * The answer to GET key.  asked is the URL that was asked for: the key in the
 * answer must be of the same host and port and name, and of the same version
 * if asked has one.  Fills all of *key but server_time.
 */
extern int	cmk_parse_key(const char *text, size_t len, const CmkKeyUrl *asked,
						  CmkKeyInfo *key, CmkOutcome *out);

/*
 * The answer to wrapkey or unwrapkey under the key version that asked names:
 * value gets *vlen bytes, at most vmax; it is wiped on failure.  kid (600
 * bytes) gets the key id of the answer.
 */
extern int	cmk_parse_value(const char *text, size_t len, const CmkKeyUrl *asked,
							char kid[600], uint8_t *value, size_t vmax,
							size_t *vlen, CmkOutcome *out);

/* The newest versions so far, newest first. */
typedef struct CmkVersionList
{
	CmkKeyVersion *list;		/* the caller's, room for max */
	int			max;
	int			n;
} CmkVersionList;

#define CMK_NEXT_LINK_SIZE	2048

/*
 * One page of the answer to GET versions of the key that asked names without a
 * version.  Its versions go into *versions, where the oldest give way once it is
 * full.  next gets the URL of the next page, "" if this was the last: printable,
 * https, a path below /keys/ at the host and port of asked; anything else is
 * malformed.  *versions is not defined on failure.
 */
extern int	cmk_parse_versions(const char *text, size_t len,
							   const CmkKeyUrl *asked,
							   CmkVersionList *versions,
							   char next[CMK_NEXT_LINK_SIZE], CmkOutcome *out);

/* ---- classify.c ---- */

/*
 * What an answer of the vault other than 2xx means.  Uses status, body,
 * retry_after, date and request_id.  what names the request in the message,
 * like "could not unwrap with key \"https://…\"".  Always -1.
 */
extern int	cmk_classify_vault(const CmkHttpAnswer *ans, CmkVaultOp op,
							   const char *what, CmkOutcome *out);

/*
 * The same for a token source.  entra: Microsoft Entra's token endpoint, else a
 * managed identity endpoint.
 */
extern int	cmk_classify_token(const CmkHttpAnswer *ans, bool entra,
							   const char *what, CmkOutcome *out);

/* ---- challenge.c ---- */

typedef struct CmkChallenge
{
	char		tenant[40];		/* GUID */
	char		resource[270];	/* https://HOST, without a slash at the end */
	char		resource_host[256];
} CmkChallenge;

/*
 * From the WWW-Authenticate lines of a 401.  CMK_REASON_CHALLENGE if there is no
 * Bearer challenge, or one that names no tenant or resource in the known forms.
 */
extern int	cmk_challenge_parse(const char *lines, CmkChallenge *c,
								CmkOutcome *out);

/*
 * May a token for this challenge be sent to vault_host?  Its resource must be a
 * domain that vault_host is in (on a label boundary) and that dns_suffixes
 * covers, its tenant the configured one if tenant is not NULL or "".
 */
extern int	cmk_challenge_check(const CmkChallenge *c, const char *vault_host,
								const char *dns_suffixes, const char *tenant,
								CmkOutcome *out);

/*
 * The value of one parameter of a challenge of that scheme (like "Basic",
 * "realm"), into value.  0, or -1 if it is not there, twice there or too long.
 */
extern int	cmk_challenge_param(const char *lines, const char *scheme,
								const char *name, char *value, size_t size);

/* ---- tokenanswer.c ---- */

#define CMK_TOKEN_MAX	32768

/*
 * A token source's 200: the token itself into token (CMK_TOKEN_MAX bytes), and
 * for how many seconds it is good, counted from now (Unix seconds).
 */
extern int	cmk_parse_token(const char *text, size_t len, int64_t now,
							char *token, int64_t *lifetime, CmkOutcome *out);

#endif							/* CMK_ANSWERS_H */
