/*
 * kek.c
 *	  The KEK, wherever it is.  See kek.h.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../seal/kdf.h"
#include "kek.h"

struct CmkKek
{
	const CmkVaultConfig *config;
	CmkVault   *vault;			/* made when a vault is first spoken to */
};

CmkKek *
cmk_kek_new(const CmkVaultConfig *config, CmkError *err)
{
	CmkKek	   *kek = calloc(1, sizeof(CmkKek));

	if (kek == NULL)
		cmk_fail(err, CMK_ERR_NO_MEMORY, "out of memory");
	else
		kek->config = config;
	return kek;
}

void
cmk_kek_free(CmkKek *kek)
{
	if (kek == NULL)
		return;
	if (kek->vault != NULL)
		cmk_vault_free(kek->vault);
	free(kek);
}

CmkVault *
cmk_kek_vault(CmkKek *kek)
{
	return kek->vault;
}

void
cmk_kek_reset(CmkKek *kek)
{
	if (kek->vault != NULL)
		cmk_vault_reset(kek->vault, false);
}

/* What a file's error is among the reasons of a key. */
static int
file_outcome(CmkOutcome *out, const CmkError *err)
{
	CmkReason	reason;

	switch (err->code)
	{
		case CMK_ERR_NOT_FOUND:
			reason = CMK_REASON_KEY_NOT_FOUND;
			break;
		case CMK_ERR_PERMISSION:
			reason = CMK_REASON_FORBIDDEN;
			break;
		case CMK_ERR_KEY_UNUSABLE:
		case CMK_ERR_WRONG_KEY:
			reason = CMK_REASON_KEY_UNSUITABLE;
			break;
		case CMK_ERR_CONFIG:
			reason = CMK_REASON_CONFIG;
			break;
		default:
			reason = CMK_REASON_UNKNOWN;
			break;
	}
	cmk_outcome(out, reason, "%s", err->message);
	out->err = *err;
	return -1;
}

static bool
is_file(const char *url)
{
	return strncmp(url, "file:", 5) == 0;
}

static CmkVault *
vault_of(CmkKek *kek, CmkOutcome *out)
{
	CmkError	err;

	if (kek->vault == NULL)
		kek->vault = cmk_vault_new(kek->config, &err);
	if (kek->vault == NULL)
	{
		cmk_outcome(out, CMK_REASON_CONFIG, "%s", err.message);
		out->err = err;
	}
	return kek->vault;
}

/*
 * A PEM file shows no more of itself than that it can be used: so it is, on
 * random bytes.
 */
static int
inspect_file(const char *url, CmkKekInfo *info, CmkOutcome *out)
{
	uint8_t		probe[32];
	CmkWrapResult wrapped;
	CmkError	err;

	if (cmk_random_public(probe, sizeof(probe)) < 0 ||
		cmk_file_provider.check(url, &err) < 0 ||
		cmk_file_provider.wrap(url, probe, sizeof(probe), &wrapped, &err) < 0)
		return file_outcome(out, &err);
	strcpy(info->version, wrapped.key_version);
	info->public_len = wrapped.public_len;
	memcpy(info->public_key, wrapped.public_key, wrapped.public_len);
	return cmk_outcome(out, CMK_REASON_NONE, "%s", "");
}

int
cmk_kek_inspect(CmkKek *kek, const char *url, int flags, CmkKekInfo *info,
				CmkOutcome *out)
{
	CmkKeyInfo	key;
	CmkVault   *vault;

	memset(info, 0, sizeof(*info));
	if (is_file(url))
		return inspect_file(url, info, out);
	vault = vault_of(kek, out);
	if (vault == NULL || cmk_vault_get_key(vault, url, &key, out) < 0 ||
		cmk_key_check(&key, (int64_t) time(NULL), flags, &info->warnings, out) < 0)
		return -1;
	if (strlen(key.kid) >= sizeof(info->version))
		return cmk_outcome(out, CMK_REASON_CONFIG, "key identifier is too long");
	strcpy(info->version, key.kid);
	info->public_len = key.public_len;
	memcpy(info->public_key, key.public_key, key.public_len);
	return cmk_outcome(out, CMK_REASON_NONE, "%s", "");
}

int
cmk_kek_wrap(CmkKek *kek, const char *url, const char *version,
			 const uint8_t *in, size_t len, CmkWrapResult *wrapped,
			 CmkOutcome *out)
{
	CmkVaultWrap w;
	CmkVault   *vault;
	CmkError	err;

	if (is_file(url))
	{
		if (cmk_file_provider.wrap(url, in, len, wrapped, &err) < 0)
			return file_outcome(out, &err);
		return cmk_outcome(out, CMK_REASON_NONE, "%s", "");
	}
	vault = vault_of(kek, out);
	if (vault == NULL || cmk_vault_wrap(vault, version, in, len, &w, out) < 0)
		return -1;
	memset(wrapped, 0, sizeof(*wrapped));
	strcpy(wrapped->key_version, version);
	strcpy(wrapped->alg, CMK_ALG_RSA_OAEP_256);
	wrapped->len = w.len;
	memcpy(wrapped->value, w.value, w.len);
	return 0;
}

int
cmk_kek_unwrap(CmkKek *kek, const char *url, const char *version,
			   const char *alg, const uint8_t *in, size_t len,
			   uint8_t *plain, size_t max, size_t *plainlen, CmkOutcome *out)
{
	CmkVault   *vault;
	CmkError	err;

	if (is_file(url))
	{
		if (cmk_file_provider.unwrap(url, version, alg, in, len, plain, max,
									 plainlen, &err) < 0)
			return file_outcome(out, &err);
		return cmk_outcome(out, CMK_REASON_NONE, "%s", "");
	}
	if (strcmp(alg, CMK_ALG_RSA_OAEP_256) != 0)
		return cmk_outcome(out, CMK_REASON_CONFIG,
						   "algorithm \"%.32s\" of a wrapped key is not known", alg);
	vault = vault_of(kek, out);
	if (vault == NULL)
		return -1;
	return cmk_vault_unwrap(vault, version, in, len, plain, max, plainlen, out);
}
