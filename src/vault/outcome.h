/*
 * outcome.h
 *	  What came of a conversation about the KEK, and what it means.
 *
 * Azure answers a lost key in many ways, and not every failure is one: a
 * throttled or unreachable vault says nothing of the key.  So each answer is
 * given a reason, a name that stands in cmk.status and in the log and never
 * changes, and each reason a verdict (the table of docs/keyvault.md).
 *
 *	CMK_VERDICT_YES		the key can be used
 *	CMK_VERDICT_NO		a clear no: the key, or the right to it, is gone
 *	CMK_VERDICT_MAYBE	nothing is known of the key
 *	CMK_VERDICT_CONFIG	what was asked cannot be: a setting must change first
 */
#ifndef CMK_OUTCOME_H
#define CMK_OUTCOME_H

#include <stdbool.h>
#include <stdint.h>

#include "../seal/error.h"

typedef enum CmkVerdict
{
	CMK_VERDICT_YES,
	CMK_VERDICT_NO,
	CMK_VERDICT_MAYBE,
	CMK_VERDICT_CONFIG
} CmkVerdict;

typedef enum CmkReason
{
	CMK_REASON_NONE = 0,
	/* clear no, by the key */
	CMK_REASON_KEY_DISABLED,
	CMK_REASON_KEY_EXPIRED,
	CMK_REASON_KEY_NOT_YET_VALID,
	CMK_REASON_KEY_NOT_FOUND,	/* deleted, purged, version gone: confirm */
	CMK_REASON_KEY_OPERATION_FORBIDDEN, /* key_ops */
	CMK_REASON_KEY_UNSUITABLE,	/* not RSA, size, purge protection when set */
	/* clear no, by the right to it: confirm */
	CMK_REASON_FORBIDDEN_BY_RBAC,
	CMK_REASON_FORBIDDEN_BY_POLICY,
	CMK_REASON_FORBIDDEN_BY_FIREWALL,
	CMK_REASON_WRONG_TENANT,	/* 401 AKV10022, AKV10032 on a fresh token */
	CMK_REASON_IDENTITY_GONE,	/* AADSTS…, IMDS "Identity not found" */
	CMK_REASON_CREDENTIAL_REFUSED,	/* secret, certificate, federation */
	/* maybe */
	CMK_REASON_DNS,
	CMK_REASON_CONNECT,
	CMK_REASON_TIMEOUT,
	CMK_REASON_TLS,
	CMK_REASON_THROTTLED,
	CMK_REASON_SERVER_ERROR,	/* 408, 5xx */
	CMK_REASON_REDIRECT,
	CMK_REASON_MALFORMED,		/* truncated, oversized, not what was asked */
	CMK_REASON_CHALLENGE,		/* names another resource or tenant */
	CMK_REASON_CANARY,			/* opens to something else: an alarm */
	CMK_REASON_UNAUTHORIZED,	/* other 401 */
	CMK_REASON_FORBIDDEN,		/* 403 with an unknown code */
	CMK_REASON_TOKEN,			/* other AADSTS, other answers of a token source */
	CMK_REASON_UNKNOWN,			/* other status */
	/* configuration */
	CMK_REASON_CONFIG,			/* settings, credential files, URL */
	CMK_REASON_API_VERSION		/* 400 for an unknown api-version */
} CmkReason;

typedef struct CmkOutcome
{
	CmkVerdict	verdict;
	CmkReason	reason;
	bool		confirm;		/* a clear no that must be seen twice */
	int			http_status;	/* 0: no answer */
	int			retry_after_ms; /* as the service asked; 0: did not */
	char		request_id[64]; /* x-ms-request-id of the last answer, or "" */
	char		code[64];		/* the service's own code: KeyDisabled, AADSTS7000215 */
	CmkError	err;			/* message, detail, hint; no secret in it */
} CmkOutcome;

/* The stable name of a reason, like "KeyDisabled"; "" for NONE. */
extern const char *cmk_reason_name(CmkReason reason);

/* The verdict and whether it wants a second look. */
extern CmkVerdict cmk_reason_verdict(CmkReason reason);
extern bool cmk_reason_confirm(CmkReason reason);

/*
 * Fills *out: reason, its verdict and confirm, and a message in out->err.
 * Returns -1 unless reason is NONE.
 */
extern int	cmk_outcome(CmkOutcome *out, CmkReason reason, const char *fmt,...)
			__attribute__((format(printf, 3, 4)));

#endif							/* CMK_OUTCOME_H */
