/*
 * outcome.c
 *	  What each reason is called, what it means and what an operator does.
 *
 * One table, so that name, verdict and hint of a reason cannot part.  The names
 * stand in cmk.status, in the log and in people's alert rules: they never change.
 * docs/keyvault.md shows the table with the answers that lead to each row.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "outcome.h"

#define YES		CMK_VERDICT_YES
#define NO		CMK_VERDICT_NO
#define MAYBE	CMK_VERDICT_MAYBE
#define CONFIG	CMK_VERDICT_CONFIG

typedef struct Reason
{
	const char *name;
	CmkVerdict	verdict;
	bool		confirm;
	CmkErrorCode code;
	const char *hint;
} Reason;

static const Reason reasons[] = {
	[CMK_REASON_NONE] = {"", YES, false, CMK_OK, ""},

	[CMK_REASON_KEY_DISABLED] = {"KeyDisabled", NO, false, CMK_ERR_KEY_UNUSABLE,
	"Enable the key version in the key vault."},
	[CMK_REASON_KEY_EXPIRED] = {"KeyExpired", NO, false, CMK_ERR_KEY_UNUSABLE,
	"Extend the expiry date of the key version, or set a newer version of the key."},
	[CMK_REASON_KEY_NOT_YET_VALID] = {"KeyNotYetValid", NO, false, CMK_ERR_KEY_UNUSABLE,
	"Wait for the activation date of the key version, or change it."},
	[CMK_REASON_KEY_NOT_FOUND] = {"KeyNotFound", NO, true, CMK_ERR_NOT_FOUND,
	"Recover the deleted key or restore it from a backup, or set another key."},
	[CMK_REASON_KEY_OPERATION_FORBIDDEN] = {"KeyOperationForbidden", NO, false, CMK_ERR_KEY_UNUSABLE,
	"Permit the operations wrapKey and unwrapKey for the key."},
	[CMK_REASON_KEY_UNSUITABLE] = {"KeyUnsuitable", NO, false, CMK_ERR_KEY_UNUSABLE,
	"Use an RSA or RSA-HSM key of 2048, 3072 or 4096 bits in a vault with soft delete and purge protection."},

	[CMK_REASON_FORBIDDEN_BY_RBAC] = {"ForbiddenByRbac", NO, true, CMK_ERR_PERMISSION,
	"Assign the role Key Vault Crypto Service Encryption User on the key to the server's identity."},
	[CMK_REASON_FORBIDDEN_BY_POLICY] = {"ForbiddenByPolicy", NO, true, CMK_ERR_PERMISSION,
	"Grant the key permissions get, list, wrapKey and unwrapKey to the server's identity in the vault's access policy."},
	[CMK_REASON_FORBIDDEN_BY_FIREWALL] = {"ForbiddenByFirewall", NO, true, CMK_ERR_PERMISSION,
	"Let the server's network through the vault's firewall, or give it a private endpoint."},
	[CMK_REASON_WRONG_TENANT] = {"WrongTenant", NO, true, CMK_ERR_PERMISSION,
	"Check which tenant the vault belongs to, and that the server's identity is one of that tenant."},
	[CMK_REASON_IDENTITY_GONE] = {"IdentityGone", NO, true, CMK_ERR_PERMISSION,
	"Restore or enable the application or managed identity; a new one of the same name is a different one and needs its own role."},
	[CMK_REASON_CREDENTIAL_REFUSED] = {"CredentialRefused", NO, true, CMK_ERR_PERMISSION,
	"Give the server a client secret, certificate or federated credential that is registered for its application and has not expired."},

	[CMK_REASON_DNS] = {"NameNotResolved", MAYBE, false, CMK_ERR_IO,
	"Check the name in the key URL and the server's DNS; a deleted vault no longer resolves."},
	[CMK_REASON_CONNECT] = {"ConnectionFailed", MAYBE, false, CMK_ERR_IO,
	"Check the network, the proxy and the firewalls between the server and the service."},
	[CMK_REASON_TIMEOUT] = {"Timeout", MAYBE, false, CMK_ERR_IO,
	"Check the network between the server and the service, or raise pg_cmk.vault_timeout."},
	[CMK_REASON_TLS] = {"TlsFailed", MAYBE, false, CMK_ERR_IO,
	"Check the certificate of the service or proxy, pg_cmk.vault_ca_file and the server's clock."},
	[CMK_REASON_THROTTLED] = {"Throttled", MAYBE, false, CMK_ERR_IO,
	"Look for what else uses this vault so much."},
	[CMK_REASON_SERVER_ERROR] = {"ServerError", MAYBE, false, CMK_ERR_IO,
	"Look at the health of the service in your region."},
	[CMK_REASON_REDIRECT] = {"Redirect", MAYBE, false, CMK_ERR_IO,
	"A redirect is never followed: look for a proxy or portal that answers instead of the service."},
	[CMK_REASON_MALFORMED] = {"MalformedAnswer", MAYBE, false, CMK_ERR_IO,
	"Look for a proxy that cuts or changes answers."},
	[CMK_REASON_CHALLENGE] = {"ChallengeRefused", MAYBE, false, CMK_ERR_IO,
	"No token was sent. Check pg_cmk.tenant_id and pg_cmk.vault_dns_suffixes, and that the key URL names the vault that you mean."},
	[CMK_REASON_CANARY] = {"WrongValue", MAYBE, false, CMK_ERR_WRONG_KEY,
	"The vault does not give back what was wrapped: find out who changed the key, the vault or the files of pg_cmk."},
	[CMK_REASON_UNAUTHORIZED] = {"Unauthorized", MAYBE, false, CMK_ERR_PERMISSION,
	"Look for the request id in the vault's audit log."},
	[CMK_REASON_FORBIDDEN] = {"Forbidden", MAYBE, false, CMK_ERR_PERMISSION,
	"Look for the request id in the vault's audit log."},
	[CMK_REASON_TOKEN] = {"TokenRefused", MAYBE, false, CMK_ERR_PERMISSION,
	"Look the code up in the list of Microsoft Entra error codes."},
	[CMK_REASON_UNKNOWN] = {"UnexpectedAnswer", MAYBE, false, CMK_ERR_IO,
	"Look for the request id in the vault's audit log."},

	[CMK_REASON_CONFIG] = {"Configuration", CONFIG, false, CMK_ERR_CONFIG,
	"Correct the settings and reload the configuration."},
	[CMK_REASON_API_VERSION] = {"ApiVersion", CONFIG, false, CMK_ERR_CONFIG,
	"Use an api-version that this vault or managed HSM knows."},
};

#define N_REASONS	((int) (sizeof(reasons) / sizeof(reasons[0])))

/* A reason that is none counts as the last of the maybes. */
static const Reason *
look_up(CmkReason reason)
{
	if ((int) reason < 0 || (int) reason >= N_REASONS)
		reason = CMK_REASON_UNKNOWN;
	return &reasons[reason];
}

const char *
cmk_reason_name(CmkReason reason)
{
	return look_up(reason)->name;
}

CmkVerdict
cmk_reason_verdict(CmkReason reason)
{
	return look_up(reason)->verdict;
}

bool
cmk_reason_confirm(CmkReason reason)
{
	return look_up(reason)->confirm;
}

int
cmk_outcome(CmkOutcome *out, CmkReason reason, const char *fmt,...)
{
	const Reason *r = look_up(reason);
	char		message[sizeof(out->err.message)];
	va_list		ap;

	out->reason = reason;
	out->verdict = r->verdict;
	out->confirm = r->confirm;
	if (reason == CMK_REASON_NONE)
	{
		memset(&out->err, 0, sizeof(out->err));
		return 0;
	}
	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	errno = 0;
	cmk_fail(&out->err, r->code, "%s", message);
	return cmk_fail_hint(&out->err, "%s", r->hint);
}
