/*
 * test_pem.c
 *	  Every way in which a file is no usable key has its own message, whether
 *	  something is to be wrapped or unwrapped.
 */
#include <sys/wait.h>

#include <openssl/ec.h>
#include <openssl/err.h>

#include "keyfiles.h"

/* Neither wrap nor unwrap works with that file, both say why, and nothing else. */
static int
refused(const char *name, CmkErrorCode code, const char *message,
		const char *detail)
{
	CmkError	err;
	CmkWrapResult w;
	uint8_t		out[64];
	size_t		outlen = 99;
	int			i;

	for (i = 0; i < 2; i++)
	{
		if (i == 0)
		{
			if (wrap(url_of(name), &w, &err) != -1)
				return unit_fail(__FILE__, __LINE__, "%s was taken", name);
		}
		else
		{
			strcpy(w.key_version, "sha256:none");
			strcpy(w.alg, CMK_ALG_RSA_OAEP_256);
			w.len = 256;
			if (unwrap(url_of(name), &w, out, &outlen, &err) != -1)
				return unit_fail(__FILE__, __LINE__, "%s was taken", name);
			if (outlen != 0)
				return unit_fail(__FILE__, __LINE__, "%s: outlen", name);
		}
		if (err.code != code || strstr(err.message, message) == NULL ||
			strstr(err.message, in_dir(name)) == NULL ||
			strstr(err.detail, detail) == NULL)
			return unit_fail(__FILE__, __LINE__, "%s: %d \"%s\" \"%s\"",
							 name, err.code, err.message, err.detail);
		if (ERR_peek_error() != 0)
			return unit_fail(__FILE__, __LINE__,
							 "%s: OpenSSL's error queue is not empty", name);
	}
	return 0;
}

#define CHECK_REFUSED(name, code, message, detail) \
	CHECK_INT(refused(name, code, message, detail), 0)

static void
missing(void)
{
	CHECK_REFUSED("none.pem", CMK_ERR_NOT_FOUND, "does not exist", "");
	put_file("file", "x", 1, 0600);
	CHECK_REFUSED("file/kek.pem", CMK_ERR_NOT_FOUND, "does not exist", "");
	unlink(in_dir("file"));
	/* a symbolic link is followed, and may lead nowhere */
	CHECK_INT(symlink("none.pem", in_dir("link.pem")), 0);
	CHECK_REFUSED("link.pem", CMK_ERR_NOT_FOUND, "does not exist", "");
	unlink(in_dir("link.pem"));
}

static void
not_regular(void)
{
	CHECK_INT(mkdir(in_dir("dir.pem"), 0700), 0);
	CHECK_REFUSED("dir.pem", CMK_ERR_KEY_UNUSABLE, "is not a regular file", "");
	rmdir(in_dir("dir.pem"));
	CHECK_INT(mkfifo(in_dir("fifo.pem"), 0600), 0);
	CHECK_REFUSED("fifo.pem", CMK_ERR_KEY_UNUSABLE, "is not a regular file", "");
	unlink(in_dir("fifo.pem"));
}

/* A child with the rights of the user runs fn; true if it returned 0. */
static bool
as_user(uid_t uid, int (*fn) (void))
{
	int			status = -1;
	pid_t		pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
	{
		if (geteuid() != uid && (setegid(65534) < 0 || seteuid(uid) < 0))
			_exit(2);
		unit_case_failed = false;
		if (fn() != 0)
		{
			printf("# in the child: %s\n", unit_why);
			fflush(stdout);
			_exit(1);
		}
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && status == 0;
}

#define NOBODY	65534

static int
unreadable_is_refused(void)
{
	return refused("kek.pem", CMK_ERR_PERMISSION, "could not open key file", "");
}

static int
access_is_refused(void)
{
	return refused("kek.pem", CMK_ERR_PERMISSION, "has group or world access",
				   "u=rw,g=r (0640) or less if owned by root");
}

static int
owner_is_refused(void)
{
	return refused("kek.pem", CMK_ERR_PERMISSION,
				   "must be owned by the database user or root", "");
}

static int
is_accepted(void)
{
	CmkError	err;
	CmkWrapResult w;

	if (wrap(url_of("kek.pem"), &w, &err) != 0)
		return unit_fail(__FILE__, __LINE__, "%s", err.message);
	return 0;
}

static void
unreadable(void)
{
	put_key("kek.pem", rsa2048, PKCS8);
	CHECK_INT(chmod(in_dir("kek.pem"), 0), 0);
	CHECK(as_user(geteuid() == 0 ? NOBODY : geteuid(), unreadable_is_refused));
}

/* The rule of the server's SSL key, for each mode and owner. */
static void
access_for_others(void)
{
	static const struct
	{
		mode_t		mode;
		bool		own;		/* allowed if it is the user's own */
		bool		root;		/* allowed if it is root's */
	}			m[] = {
		{0600, true, true}, {0400, true, true}, {0700, true, true},
		{0640, false, true}, {0440, false, true},
		{0660, false, false}, {0650, false, false}, {0604, false, false},
		{0602, false, false}, {0601, false, false}, {0644, false, false},
		{0777, false, false},
	};
	size_t		i;

	put_key("kek.pem", rsa2048, PKCS8);
	for (i = 0; i < sizeof(m) / sizeof(m[0]); i++)
	{
		bool		ok;

		CHECK_INT(chmod(in_dir("kek.pem"), m[i].mode), 0);
		ok = geteuid() == 0 ? m[i].root : m[i].own;
		CHECK_INT(ok ? is_accepted() : access_is_refused(), 0);
		if (geteuid() != 0)
			continue;
		/* root's file, read through its group */
		if (m[i].mode & 040)
		{
			CHECK_INT(chown(in_dir("kek.pem"), 0, NOBODY), 0);
			CHECK_INT(chmod(in_dir("kek.pem"), m[i].mode), 0);
			CHECK(as_user(NOBODY, m[i].root ? is_accepted : access_is_refused));
		}
		/* the user's own file */
		CHECK_INT(chown(in_dir("kek.pem"), NOBODY, 0), 0);
		CHECK_INT(chmod(in_dir("kek.pem"), m[i].mode), 0);
		CHECK(as_user(NOBODY, m[i].own ? is_accepted : access_is_refused));
		CHECK_INT(chown(in_dir("kek.pem"), 0, 0), 0);
	}
}

static void
somebody_elses_file(void)
{
	if (geteuid() != 0)
	{
		printf("# only root can give a file away: not tested\n");
		return;
	}
	put_key("kek.pem", rsa2048, PKCS8);
	CHECK_INT(chown(in_dir("kek.pem"), NOBODY, 0), 0);
	CHECK_INT(owner_is_refused(), 0);
	unlink(in_dir("kek.pem"));
}

static void
symbolic_links_are_followed(void)
{
	put_key("real.pem", rsa2048, PKCS8);
	unlink(in_dir("kek.pem"));
	CHECK_INT(symlink("real.pem", in_dir("kek.pem")), 0);
	CHECK_INT(is_accepted(), 0);
	/* it is the file itself whose mode counts */
	CHECK_INT(chmod(in_dir("real.pem"), 0644), 0);
	CHECK_INT(access_is_refused(), 0);
	unlink(in_dir("kek.pem"));
	unlink(in_dir("real.pem"));
}

static void
no_private_key_in_it(void)
{
	static const char cert[] =
	"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
	static char big[64 * 1024 + 1];

	put_file("bad.pem", "", 0, 0600);
	CHECK_REFUSED("bad.pem", CMK_ERR_KEY_UNUSABLE, "is not a PEM file with a private key", "");
	put_file("bad.pem", "\0\1\2\3 not a key", 14, 0600);
	CHECK_REFUSED("bad.pem", CMK_ERR_KEY_UNUSABLE, "is not a PEM file with a private key", "");
	put_key("bad.pem", rsa2048, PUBLIC);
	CHECK_REFUSED("bad.pem", CMK_ERR_KEY_UNUSABLE, "holds no private key, only a public key or a certificate", "");
	put_file("bad.pem", cert, sizeof(cert) - 1, 0600);
	CHECK_REFUSED("bad.pem", CMK_ERR_KEY_UNUSABLE, "holds no private key, only a public key or a certificate", "");
	memset(big, 'x', sizeof(big));
	put_file("bad.pem", big, sizeof(big), 0600);
	CHECK_REFUSED("bad.pem", CMK_ERR_KEY_UNUSABLE, "is too large to be a key file", "");
	put_file("bad.pem", big, sizeof(big) - 1, 0600);
	CHECK_REFUSED("bad.pem", CMK_ERR_KEY_UNUSABLE, "is not a PEM file with a private key", "");
}

static void
passphrase(void)
{
	put_key("bad.pem", rsa2048, ENCRYPTED);
	CHECK_REFUSED("bad.pem", CMK_ERR_KEY_UNUSABLE, "is protected by a passphrase", "");
	put_key("bad.pem", rsa2048, ENCRYPTED_OLD);
	CHECK_REFUSED("bad.pem", CMK_ERR_KEY_UNUSABLE, "is protected by a passphrase", "");
}

static void
not_rsa(void)
{
	EVP_PKEY   *ec = EVP_EC_gen("P-256");
	EVP_PKEY   *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA-PSS", NULL);
	EVP_PKEY   *pss = NULL;

	put_key("bad.pem", ec, PKCS8);
	CHECK_REFUSED("bad.pem", CMK_ERR_KEY_UNUSABLE, "holds a key that is not RSA", "");
	put_key("bad.pem", ec, PKCS1);	/* BEGIN EC PRIVATE KEY */
	CHECK_REFUSED("bad.pem", CMK_ERR_KEY_UNUSABLE, "holds a key that is not RSA", "");
	put_key("bad.pem", ed, PKCS8);
	CHECK_REFUSED("bad.pem", CMK_ERR_KEY_UNUSABLE, "holds a key that is not RSA", "");
	/* an RSA key that may only sign */
	CHECK(EVP_PKEY_keygen_init(ctx) > 0 && EVP_PKEY_keygen(ctx, &pss) > 0);
	put_key("bad.pem", pss, PKCS8);
	CHECK_REFUSED("bad.pem", CMK_ERR_KEY_UNUSABLE, "holds a key that is not RSA", "");
	EVP_PKEY_free(ec);
	EVP_PKEY_free(ed);
	EVP_PKEY_free(pss);
	EVP_PKEY_CTX_free(ctx);
}

static void
size_of_key(void)
{
	EVP_PKEY   *key = make_rsa(1024);

	put_key("bad.pem", key, PKCS8);
	CHECK_REFUSED("bad.pem", CMK_ERR_KEY_UNUSABLE, "holds a key that is too small", "It has 1024 bits");
	EVP_PKEY_free(key);
	key = make_rsa(2047);
	put_key("bad.pem", key, PKCS8);
	CHECK_REFUSED("bad.pem", CMK_ERR_KEY_UNUSABLE, "holds a key that is too small", "It has 2047 bits");
	EVP_PKEY_free(key);
	key = make_rsa(2560);
	put_key("bad.pem", key, PKCS8);
	CHECK_REFUSED("bad.pem", CMK_ERR_KEY_UNUSABLE, "holds a key of an unsupported size", "It has 2560 bits");
	EVP_PKEY_free(key);
}

static void
two_keys(void)
{
	char		buf[16384];
	size_t		len = pem_of(rsa2048, PKCS8, buf, sizeof(buf));

	len += pem_of(other2048, PKCS8, buf + len, sizeof(buf) - len);
	put_file("bad.pem", buf, len, 0600);
	CHECK_REFUSED("bad.pem", CMK_ERR_KEY_UNUSABLE, "holds more than one private key", "");

	/* but a public key beside it, and text around it, do no harm */
	len = snprintf(buf, sizeof(buf), "The key of the cluster\n\n");
	len += pem_of(rsa2048, PUBLIC, buf + len, sizeof(buf) - len);
	len += pem_of(rsa2048, PKCS8, buf + len, sizeof(buf) - len);
	len += snprintf(buf + len, sizeof(buf) - len, "\nThe end\n");
	put_file("kek.pem", buf, len, 0600);
	CHECK_INT(is_accepted(), 0);
}

static void
damaged(void)
{
	static const char odd_kind[] =
	"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
	char		buf[16384];
	size_t		len = pem_of(rsa2048, PKCS8, buf, sizeof(buf));
	char		was = buf[300];

	put_file("bad.pem", buf, len / 2, 0600);
	CHECK_REFUSED("bad.pem", CMK_ERR_KEY_UNUSABLE, "is damaged", "OpenSSL says: ");
	buf[300] = '!';
	put_file("bad.pem", buf, len, 0600);
	CHECK_REFUSED("bad.pem", CMK_ERR_KEY_UNUSABLE, "is damaged", "OpenSSL says: ");
	buf[300] = was;

	/* good base64, but not a key: the first bytes of the DER */
	buf[strlen("-----BEGIN PRIVATE KEY-----\n")] = 'A';
	put_file("bad.pem", buf, len, 0600);
	CHECK_REFUSED("bad.pem", CMK_ERR_KEY_UNUSABLE, "is damaged", "");

	/* a good key, and something behind it in the same block */
	{
		uint8_t		der[4096];
		uint8_t    *p = der;
		int			derlen = i2d_PrivateKey(rsa2048, &p);
		BIO		   *bio = BIO_new(BIO_s_mem());

		memset(p, 0, 3);
		PEM_write_bio(bio, "RSA PRIVATE KEY", "", der, derlen + 3);
		len = BIO_read(bio, buf, sizeof(buf));
		BIO_free(bio);
		put_file("bad.pem", buf, len, 0600);
		CHECK_REFUSED("bad.pem", CMK_ERR_KEY_UNUSABLE, "is damaged", "");
	}

	put_file("bad.pem", odd_kind, sizeof(odd_kind) - 1, 0600);
	CHECK_REFUSED("bad.pem", CMK_ERR_KEY_UNUSABLE, "in a form that is not PKCS#8 or PKCS#1", "");
}

/* A key whose numbers do not fit: readable, and good for nothing. */
static void
halves_that_do_not_fit(void)
{
	CmkError	err;
	CmkWrapResult w;
	uint8_t		out[64];
	size_t		outlen;
	uint8_t		der[4096];
	uint8_t    *p = der;
	int			len = i2d_PrivateKey(rsa2048, &p);	/* PKCS#1 */
	BIO		   *bio = BIO_new(BIO_s_mem());
	char		buf[8192];
	int			n;

	CHECK(len > 1000);
	put_key("kek.pem", rsa2048, PKCS8);
	CHECK_INT(wrap(url_of("kek.pem"), &w, &err), 0);

	der[len - 20] ^= 4;			/* the coefficient, the last number */
	der[500] ^= 4;				/* the private exponent */
	PEM_write_bio(bio, "RSA PRIVATE KEY", "", der, len);
	n = BIO_read(bio, buf, sizeof(buf));
	BIO_free(bio);
	put_file("bad.pem", buf, n, 0600);

	/* the public half is whole, so that the version is the same */
	CHECK_INT(unwrap(url_of("bad.pem"), &w, out, &outlen, &err), -1);
	CHECK_INT(err.code, CMK_ERR_KEY_UNUSABLE);
	CHECK_HAS(err.message, "is damaged");
	CHECK_HAS(err.detail, "do not belong together");
	CHECK_INT(wrap(url_of("bad.pem"), &w, &err), -1);
	CHECK_INT(err.code, CMK_ERR_KEY_UNUSABLE);
	CHECK_HAS(err.detail, "do not belong together");
	CHECK_INT(w.len, 0);
	CHECK_INT(ERR_peek_error(), 0);
}

int
main(void)
{
	if (keyfiles_begin() < 0)
		return 1;
	RUN(missing);
	RUN(not_regular);
	RUN(unreadable);
	RUN(access_for_others);
	RUN(somebody_elses_file);
	RUN(symbolic_links_are_followed);
	RUN(no_private_key_in_it);
	RUN(passphrase);
	RUN(not_rsa);
	RUN(size_of_key);
	RUN(two_keys);
	RUN(damaged);
	RUN(halves_that_do_not_fit);
	keyfiles_done();
	return unit_done();
}
