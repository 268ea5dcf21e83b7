/*
 * pem.c
 *	  An RSA private key out of a PEM file.
 *
 * Each way in which a file can fail to be a usable key has its own message:
 * whoever reads it may have no other way to look.  For that the PEM blocks are
 * taken one by one, instead of asking OpenSSL for "a private key", which tells
 * only that there was none.  A key with a passphrase is refused, because nobody
 * is there to type it.
 */
#include <errno.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "../seal/kdf.h"
#include "pem.h"
#include "public_key.h"
#include "rsa.h"
#include "secretfile.h"

#define MAX_FILE_SIZE	(64 * 1024)

static int
unusable(CmkError *err, const char *path, const char *what)
{
	errno = 0;
	return cmk_fail(err, CMK_ERR_KEY_UNUSABLE, "key file " CMK_PATH_FMT " %s",
					path, what);
}

/* ---- the PEM in it ---- */

/* What the blocks of a file were; key is the private key, if one was read. */
typedef struct PemFound
{
	EVP_PKEY   *key;
	int			nkeys;			/* private keys of any kind */
	int			nothers;		/* public keys, certificates, parameters */
	const char *problem;		/* of the private key, or NULL */
} PemFound;

static int
ends_with(const char *s, const char *end)
{
	size_t		ls = strlen(s);
	size_t		le = strlen(end);

	return ls >= le && strcmp(s + ls - le, end) == 0;
}

static void
look_at_block(const char *name, const char *header,
			  const uint8_t *data, long len, PemFound *found)
{
	const uint8_t *p = data;

	if (!ends_with(name, "PRIVATE KEY"))
	{
		found->nothers++;
		return;
	}
	found->nkeys++;
	if (strcmp(name, "ENCRYPTED PRIVATE KEY") == 0 ||
		strstr(header, "ENCRYPTED") != NULL)
		found->problem = "is protected by a passphrase";
	else if (strcmp(name, "EC PRIVATE KEY") == 0 ||
			 strcmp(name, "DSA PRIVATE KEY") == 0)
		found->problem = "holds a key that is not RSA";
	else if (strcmp(name, "PRIVATE KEY") != 0 &&
			 strcmp(name, "RSA PRIVATE KEY") != 0)
		found->problem = "holds a private key in a form that is not PKCS#8 or PKCS#1";
	else if (found->key == NULL)
	{
		found->key = d2i_AutoPrivateKey(NULL, &p, len);
		if (found->key == NULL || p != data + len)
			found->problem = "is damaged";
	}
}

/*
 * Goes through all PEM blocks.  PEM_FLAG_SECURE makes OpenSSL wipe its copies,
 * also when it has no secure heap.
 */
static int
scan_pem(const char *path, BIO *bio, PemFound *found, CmkError *err)
{
	char	   *name;
	char	   *header;
	uint8_t    *data;
	long		len;

	ERR_clear_error();
	while (PEM_read_bio_ex(bio, &name, &header, &data, &len,
						   PEM_FLAG_SECURE) == 1)
	{
		look_at_block(name, header, data, len, found);
		OPENSSL_secure_clear_free(name, strlen(name) + 1);
		OPENSSL_secure_clear_free(header, strlen(header) + 1);
		OPENSSL_secure_clear_free(data, len);
		if (found->problem != NULL)
			break;
		ERR_clear_error();
	}
	if (found->problem == NULL &&
		ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		found->problem = "is damaged";
	if (found->problem == NULL && found->nkeys > 1)
		found->problem = "holds more than one private key";
	if (found->problem == NULL && found->nkeys == 0)
		found->problem = found->nothers > 0 ?
			"holds no private key, only a public key or a certificate" :
			"is not a PEM file with a private key";
	if (found->problem == NULL)
		return 0;
	unusable(err, path, found->problem);
	if (strcmp(found->problem, "is damaged") == 0)
		cmk_fail_openssl(err);
	if (strcmp(found->problem, "is protected by a passphrase") == 0)
		cmk_fail_hint(err,
					  "The server cannot ask for a passphrase: store the key without one, readable only to the server's user.");
	return -1;
}

/* Is it an RSA key that a Key Vault could have too? */
static int
check_size(const char *path, EVP_PKEY *key, CmkError *err)
{
	int			bits;

	if (!EVP_PKEY_is_a(key, "RSA"))
		return unusable(err, path, "holds a key that is not RSA");
	bits = EVP_PKEY_get_bits(key);
	if (!cmk_rsa_bits_ok(bits))
	{
		unusable(err, path, bits < 2048 ? "holds a key that is too small" :
				 "holds a key of an unsupported size");
		return cmk_fail_detail(err,
							   "It has %d bits; an RSA key of 2048, 3072 or 4096 bits is needed.",
							   bits);
	}
	if (!cmk_rsa_exponent_ok(key))
	{
		unusable(err, path, "holds a key with an unsupported exponent");
		return cmk_fail_detail(err, "%s", CMK_RSA_EXPONENT_RULE);
	}
	return 0;
}

int
cmk_pem_check_rsa(const char *path, EVP_PKEY *key, CmkError *err)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	int			ok = ctx != NULL && EVP_PKEY_pairwise_check(ctx) == 1;

	EVP_PKEY_CTX_free(ctx);
	if (ok)
		return 0;
	unusable(err, path, "is damaged");
	return cmk_fail_detail(err,
						   "Its private key and its public key do not belong together.");
}

EVP_PKEY *
cmk_pem_load_rsa(const char *path, CmkError *err)
{
	static uint8_t buf[MAX_FILE_SIZE + 1];
	PemFound	found = {.key = NULL};
	BIO		   *bio = NULL;
	ssize_t		len;
	int			ok = 0;

	len = cmk_secretfile_read(path, "key file", CMK_SECRETFILE_OWN,
							  buf, sizeof(buf), err);
	if (len >= 0)
	{
		bio = BIO_new_mem_buf(buf, (int) len);
		if (bio == NULL)
			cmk_fail(err, CMK_ERR_NO_MEMORY,
					 "out of memory while reading key file " CMK_PATH_FMT, path);
		else
			ok = scan_pem(path, bio, &found, err) == 0 &&
				check_size(path, found.key, err) == 0;
	}
	BIO_free(bio);
	cmk_cleanse(buf, sizeof(buf));
	if (!ok)
	{
		EVP_PKEY_free(found.key);
		return NULL;
	}
	return found.key;
}
