/*
 * keyfiles.h
 *	  Key files for the tests of the file provider: a temporary directory, two
 *	  RSA keys, PEM files of all kinds, and wrap and unwrap with one of them.
 */
#ifndef KEYFILES_H
#define KEYFILES_H

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "../../src/vault/provider.h"
#include "unit.h"

static char dir[64] = "/tmp/cmk_file_key.XXXXXX";

/* Made once: they are slow to make. */
static EVP_PKEY *rsa2048;
static EVP_PKEY *other2048;

static const uint8_t secret[32] = {
	0x53, 0x65, 0x63, 0x72, 0x65, 0x74, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
	10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25
};

/* ---- names and files ---- */

/* A path in the directory; four may be in use at once. */
static inline const char *
in_dir(const char *name)
{
	static char buf[4][256];
	static int	next = 0;
	char	   *s = buf[next++ % 4];

	snprintf(s, sizeof(buf[0]), "%s/%s", dir, name);
	return s;
}

static inline const char *
url_of(const char *name)
{
	static char buf[4][256];
	static int	next = 0;
	char	   *s = buf[next++ % 4];

	snprintf(s, sizeof(buf[0]), "file://%s/%s", dir, name);
	return s;
}

static inline void
put_file(const char *name, const void *data, size_t len, mode_t mode)
{
	const char *path = in_dir(name);
	int			fd;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0 || write(fd, data, len) != (ssize_t) len || fchmod(fd, mode) < 0)
		abort();
	close(fd);
}

static inline size_t
get_file(const char *name, void *data, size_t max)
{
	int			fd = open(in_dir(name), O_RDONLY);
	ssize_t		n = fd < 0 ? -1 : read(fd, data, max);

	if (fd >= 0)
		close(fd);
	return n < 0 ? 0 : (size_t) n;
}

typedef enum Form
{
	PKCS8, PKCS1, PUBLIC, ENCRYPTED, ENCRYPTED_OLD
} Form;

/* The key as PEM text in buf; its length. */
static inline size_t
pem_of(EVP_PKEY *key, Form form, char *buf, size_t max)
{
	BIO		   *bio = BIO_new(BIO_s_mem());
	int			ok = 0;
	int			n;

	if (form == PKCS8)
		ok = PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
	else if (form == PKCS1)
		ok = PEM_write_bio_PrivateKey_traditional(bio, key, NULL, NULL, 0,
												  NULL, NULL);
	else if (form == PUBLIC)
		ok = PEM_write_bio_PUBKEY(bio, key);
	else if (form == ENCRYPTED)
		ok = PEM_write_bio_PrivateKey(bio, key, EVP_aes_256_cbc(),
									  (const unsigned char *) "pw", 2,
									  NULL, NULL);
	else if (form == ENCRYPTED_OLD)
		ok = PEM_write_bio_PrivateKey_traditional(bio, key, EVP_aes_256_cbc(),
												  (const unsigned char *) "pw", 2,
												  NULL, NULL);
	n = BIO_read(bio, buf, (int) max);
	BIO_free(bio);
	if (!ok || n <= 0 || n == (int) max)
		abort();
	return n;
}

static inline void
put_key(const char *name, EVP_PKEY *key, Form form)
{
	char		buf[16384];

	put_file(name, buf, pem_of(key, form, buf, sizeof(buf)), 0600);
}

static inline EVP_PKEY *
make_rsa(int bits)
{
	EVP_PKEY   *key = EVP_RSA_gen(bits);

	if (key == NULL)
		abort();
	return key;
}

/* ---- looking at results ---- */

static inline int
wrap(const char *url, CmkWrapResult *w, CmkError *err)
{
	const CmkProvider *p = cmk_provider_for(url, err);

	memset(err, 0, sizeof(*err));
	return p == NULL ? -1 : p->wrap(url, secret, sizeof(secret), w, err);
}

static inline int
unwrap(const char *url, const CmkWrapResult *w, uint8_t out[64], size_t *outlen,
	   CmkError *err)
{
	const CmkProvider *p = cmk_provider_for(url, err);

	memset(err, 0, sizeof(*err));
	return p == NULL ? -1 :
		p->unwrap(url, w->key_version, w->alg, w->value, w->len,
				  out, 64, outlen, err);
}

static inline int
keyfiles_begin(void)
{
	if (mkdtemp(dir) == NULL || chmod(dir, 0755) < 0)
	{
		perror(dir);
		return -1;
	}
	rsa2048 = make_rsa(2048);
	other2048 = make_rsa(2048);
	return 0;
}

static inline void
keyfiles_done(void)
{
	static const char *const names[] = {
		"kek.pem", "other.pem", "bad.pem", "wrapped", "plain"
	};
	size_t		i;

	EVP_PKEY_free(rsa2048);
	EVP_PKEY_free(other2048);
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(in_dir(names[i]));
	if (rmdir(dir) < 0)
		perror(dir);
}

#endif							/* KEYFILES_H */
