/*
 * test_vault_keycheck.c
 *	  What a key must be, to the second.
 */
#include "../../src/vault/vault.h"
#include "unit.h"

#define NOW		1800000000
#define DAY		86400

static CmkOutcome out;
static CmkKeyWarnings warn;

static CmkKeyInfo
good_key(void)
{
	CmkKeyInfo	key = {.bits = 2048, .enabled = true, .can_wrap = true, .can_unwrap = true,
		.public_len = 294};

	strcpy(key.kid, "https://x.vault.azure.net/keys/kek/1");
	strcpy(key.kty, "RSA");
	strcpy(key.recovery_level, "Recoverable");
	return key;
}

/* The reason's name; "" if the key is good. */
static const char *
check(const CmkKeyInfo *key, int64_t now, int flags)
{
	memset(&out, 0, sizeof(out));
	return cmk_key_check(key, now, flags, &warn, &out) == 0 ? "" :
		cmk_reason_name(out.reason);
}

static void
kind_and_size(void)
{
	static const int good[] = {2048, 3072, 4096};
	static const int bad[] = {0, 1024, 2047, 2049, 8192};
	CmkKeyInfo	key = good_key();
	size_t		i;

	for (i = 0; i < 3; i++)
	{
		key.bits = good[i];
		CHECK_STR(check(&key, NOW, CMK_CHECK_PURGE_PROTECTION), "");
	}
	for (i = 0; i < 5; i++)
	{
		key.bits = bad[i];
		CHECK_STR(check(&key, NOW, 0), "KeyUnsuitable");
		CHECK_HAS(out.err.message, "unsupported size");
	}
	key.bits = 2048;
	strcpy(key.kty, "RSA-HSM");
	CHECK_STR(check(&key, NOW, 0), "");
	strcpy(key.kty, "EC");
	CHECK_STR(check(&key, NOW, 0), "KeyUnsuitable");
	CHECK_HAS(out.err.message, "not an RSA key");
	strcpy(key.kty, "oct-HSM");
	CHECK_STR(check(&key, NOW, 0), "KeyUnsuitable");

	/* no public key of the right size: what it has is its exponent */
	strcpy(key.kty, "RSA");
	key.public_len = 0;
	CHECK_STR(check(&key, NOW, 0), "KeyUnsuitable");
	CHECK_HAS(out.err.message, "unsupported exponent");
}

static void
disabled(void)
{
	CmkKeyInfo	key = good_key();

	key.enabled = false;
	CHECK_STR(check(&key, NOW, 0), "KeyDisabled");
	CHECK_HAS(out.err.message, "is disabled");
	CHECK_INT(out.verdict, CMK_VERDICT_NO);

	/* more than its dates */
	key.exp = NOW - 1;
	CHECK_STR(check(&key, NOW, 0), "KeyDisabled");
}

static void
expiry_by_the_local_clock(void)
{
	CmkKeyInfo	key = good_key();

	key.exp = NOW + 1;
	CHECK_STR(check(&key, NOW, 0), "");
	key.exp = NOW;
	CHECK_STR(check(&key, NOW, 0), "KeyExpired");
	CHECK_HAS(out.err.detail, "2027-01-15 08:00:00 UTC");
	key.exp = 1;
	CHECK_STR(check(&key, NOW, 0), "KeyExpired");
}

static void
activation_by_the_local_clock(void)
{
	CmkKeyInfo	key = good_key();

	key.nbf = NOW;
	CHECK_STR(check(&key, NOW, 0), "");
	key.nbf = NOW + 1;
	CHECK_STR(check(&key, NOW, 0), "KeyNotYetValid");
	CHECK_HAS(out.err.detail, "2027-01-15 08:00:01 UTC");
}

/* Within five minutes the kinder of the two clocks. */
static void
two_clocks_that_are_near(void)
{
	CmkKeyInfo	key = good_key();

	key.exp = NOW;
	key.server_time = NOW - 1;
	CHECK_STR(check(&key, NOW, 0), "");
	key.server_time = NOW - 300;
	CHECK_STR(check(&key, NOW + 0, 0), "");
	key.server_time = NOW + 300;
	CHECK_STR(check(&key, NOW - 1, 0), "KeyExpired");
	key.server_time = NOW + 299;
	CHECK_STR(check(&key, NOW - 1, 0), "");
	key.server_time = NOW + 10;
	CHECK_STR(check(&key, NOW, 0), "KeyExpired");

	key.exp = 0;
	key.nbf = NOW;
	key.server_time = NOW;
	CHECK_STR(check(&key, NOW - 300, 0), "");
	key.server_time = NOW - 300;
	CHECK_STR(check(&key, NOW, 0), "");
	key.server_time = NOW - 1;
	CHECK_STR(check(&key, NOW - 1, 0), "KeyNotYetValid");
}

/* Farther apart, the one by which the service goes. */
static void
two_clocks_that_are_far(void)
{
	CmkKeyInfo	key = good_key();

	key.exp = NOW;
	key.server_time = NOW - 301;
	CHECK_STR(check(&key, NOW, 0), "");
	CHECK_STR(check(&key, NOW + 10 * 365 * DAY, 0), "");
	key.server_time = NOW + 1;
	CHECK_STR(check(&key, NOW - 301, 0), "KeyExpired");
	CHECK_STR(check(&key, 0, 0), "KeyExpired");

	key.exp = 0;
	key.nbf = NOW;
	key.server_time = NOW;
	CHECK_STR(check(&key, 0, 0), "");
	key.server_time = NOW - 1;
	CHECK_STR(check(&key, NOW + 1000, 0), "KeyNotYetValid");
}

static void
operations(void)
{
	CmkKeyInfo	key = good_key();

	key.can_wrap = false;
	CHECK_STR(check(&key, NOW, 0), "KeyOperationForbidden");
	CHECK_STR(out.err.detail, "Its permitted operations lack wrapKey.");
	key.can_unwrap = false;
	CHECK_STR(check(&key, NOW, 0), "KeyOperationForbidden");
	CHECK_STR(out.err.detail, "Its permitted operations lack wrapKey and unwrapKey.");
	key.can_wrap = true;
	CHECK_STR(check(&key, NOW, 0), "KeyOperationForbidden");
	CHECK_STR(out.err.detail, "Its permitted operations lack unwrapKey.");
}

static void
purge_protection(void)
{
	static const char *const safe[] = {
		"Recoverable", "Recoverable+ProtectedSubscription",
		"CustomizedRecoverable", "CustomizedRecoverable+ProtectedSubscription"
	};
	static const char *const unsafe[] = {
		"Purgeable", "Recoverable+Purgeable", "CustomizedRecoverable+Purgeable", ""
	};
	CmkKeyInfo	key = good_key();
	size_t		i;

	for (i = 0; i < 4; i++)
	{
		strcpy(key.recovery_level, safe[i]);
		CHECK_STR(check(&key, NOW, CMK_CHECK_PURGE_PROTECTION), "");
		CHECK(!warn.purgeable);
		strcpy(key.recovery_level, unsafe[i]);
		CHECK_STR(check(&key, NOW, CMK_CHECK_PURGE_PROTECTION), "KeyUnsuitable");
		CHECK_HAS(out.err.message, "purged");
		CHECK_HAS(out.err.hint, "pg_cmk.require_purge_protection");
		CHECK_STR(check(&key, NOW, 0), "");
		CHECK(warn.purgeable);
	}
}

static void
expiry_that_is_near(void)
{
	CmkKeyInfo	key = good_key();

	CHECK_STR(check(&key, NOW, 0), "");
	CHECK(!warn.expires_soon);
	key.exp = NOW + 30 * DAY;
	CHECK_STR(check(&key, NOW, 0), "");
	CHECK(!warn.expires_soon);
	CHECK_INT(warn.expires_in, 30 * DAY);
	key.exp--;
	CHECK_STR(check(&key, NOW, 0), "");
	CHECK(warn.expires_soon);
	CHECK_INT(cmk_key_check(&key, NOW, 0, NULL, &out), 0);
}

int
main(void)
{
	RUN(kind_and_size);
	RUN(disabled);
	RUN(expiry_by_the_local_clock);
	RUN(activation_by_the_local_clock);
	RUN(two_clocks_that_are_near);
	RUN(two_clocks_that_are_far);
	RUN(operations);
	RUN(purge_protection);
	RUN(expiry_that_is_near);
	return unit_done();
}
