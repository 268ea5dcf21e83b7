/*
 * keycheck.c
 *	  What a key must be to govern a database.
 *
 * The requirements of Azure's database service.  They are checked from the key's
 * own attributes and not by trying, because the service goes on unwrapping with
 * an expired key and wrapping with a disabled one.
 */
#include <string.h>
#include <time.h>

#include "public_key.h"
#include "rsa.h"
#include "vault.h"

#define CLOCK_SKEW		300
#define SOON			(30 * 86400)

/*
 * The time by which a date is judged: the local clock or the service's, which
 * ever is kinder; but if they are far apart the service's alone, because its
 * clock decides there and ours may be unset.
 */
static int64_t
kind_time(const CmkKeyInfo *key, int64_t now, bool later)
{
	int64_t		date = key->server_time;

	if (date == 0)
		return now;
	if (date > now + CLOCK_SKEW || date < now - CLOCK_SKEW)
		return date;
	return later == (date > now) ? date : now;
}

static void
format_time(int64_t t, char out[32])
{
	time_t		tt = (time_t) t;
	struct tm	tm;

	if (gmtime_r(&tt, &tm) == NULL ||
		strftime(out, 32, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
		strcpy(out, "a time beyond all calendars");
}

static int
check_kind(const CmkKeyInfo *key, CmkOutcome *out)
{
	if (strcmp(key->kty, "RSA") != 0 && strcmp(key->kty, "RSA-HSM") != 0)
	{
		cmk_outcome(out, CMK_REASON_KEY_UNSUITABLE,
					"key \"%.256s\" is not an RSA key", key->kid);
		return cmk_fail_detail(&out->err, "It is of type %s.", key->kty);
	}
	if (!cmk_rsa_bits_ok(key->bits))
	{
		cmk_outcome(out, CMK_REASON_KEY_UNSUITABLE,
					"key \"%.256s\" has an unsupported size", key->kid);
		return cmk_fail_detail(&out->err,
							   "It has %d bits; 2048, 3072 or 4096 are supported.",
							   key->bits);
	}
	if (key->public_len == 0)
	{
		cmk_outcome(out, CMK_REASON_KEY_UNSUITABLE,
					"key \"%.256s\" has an unsupported exponent", key->kid);
		return cmk_fail_detail(&out->err, "%s", CMK_RSA_EXPONENT_RULE);
	}
	return 0;
}

static int
check_dates(const CmkKeyInfo *key, int64_t now, CmkOutcome *out)
{
	char		when[32];

	if (key->nbf != 0 && kind_time(key, now, true) < key->nbf)
	{
		format_time(key->nbf, when);
		cmk_outcome(out, CMK_REASON_KEY_NOT_YET_VALID,
					"key \"%.256s\" is not yet valid", key->kid);
		return cmk_fail_detail(&out->err, "Its activation date is %s.", when);
	}
	if (key->exp != 0 && kind_time(key, now, false) >= key->exp)
	{
		format_time(key->exp, when);
		cmk_outcome(out, CMK_REASON_KEY_EXPIRED,
					"key \"%.256s\" has expired", key->kid);
		return cmk_fail_detail(&out->err, "Its expiry date was %s.", when);
	}
	return 0;
}

static int
check_ops(const CmkKeyInfo *key, CmkOutcome *out)
{
	if (key->can_wrap && key->can_unwrap)
		return 0;
	cmk_outcome(out, CMK_REASON_KEY_OPERATION_FORBIDDEN,
				"key \"%.256s\" may not be used to %s", key->kid,
				key->can_unwrap ? "wrap" : key->can_wrap ? "unwrap" :
				"wrap and unwrap");
	return cmk_fail_detail(&out->err, "Its permitted operations lack %s.",
						   key->can_unwrap ? "wrapKey" :
						   key->can_wrap ? "unwrapKey" :
						   "wrapKey and unwrapKey");
}

int
cmk_key_check(const CmkKeyInfo *key, int64_t now, int flags,
			  CmkKeyWarnings *warnings, CmkOutcome *out)
{
	CmkKeyWarnings w = {.expires_soon = false};

	/* every level but those that contain "Purgeable" protects from a purge */
	w.purgeable = key->recovery_level[0] == '\0' ||
		strstr(key->recovery_level, "Purgeable") != NULL;
	if (key->exp != 0)
	{
		w.expires_in = key->exp - kind_time(key, now, false);
		w.expires_soon = w.expires_in < SOON;
	}
	if (warnings != NULL)
		*warnings = w;

	if (check_kind(key, out) < 0)
		return -1;
	if (!key->enabled)
		return cmk_outcome(out, CMK_REASON_KEY_DISABLED,
						   "key \"%.256s\" is disabled", key->kid);
	if (check_dates(key, now, out) < 0 || check_ops(key, out) < 0)
		return -1;
	if (w.purgeable && (flags & CMK_CHECK_PURGE_PROTECTION))
	{
		cmk_outcome(out, CMK_REASON_KEY_UNSUITABLE,
					"key \"%.256s\" is not protected from being purged", key->kid);
		cmk_fail_detail(&out->err,
						"Its recovery level is \"%s\": whoever may purge it can destroy the data for good.",
						key->recovery_level);
		return cmk_fail_hint(&out->err,
							 "Turn on soft delete and purge protection of the vault, or turn off pg_cmk.require_purge_protection.");
	}
	return 0;
}
