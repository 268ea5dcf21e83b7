/*
 * test_vault_assertion.c
 *	  The client assertion, verified by OpenSSL and by its parts; and the files
 *	  that keys and secrets come from.
 */
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "../../src/seal/base64url.h"
#include "../../src/vault/assertion.h"
#include "../../src/vault/json.h"
#include "../../src/vault/secretfile.h"
#include "unit.h"

#define CLIENT	"11111111-2222-3333-4444-555555555555"
#define AUD		"https://login.microsoftonline.com/t/oauth2/v2.0/token"
#define NOW		1800000000

static char dir[] = "/tmp/cmk-assertion.XXXXXX";
static EVP_PKEY *key;
static EVP_PKEY *other;
static X509 *cert;

static const char *
in_dir(const char *name)
{
	static char path[200];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static X509 *
self_signed(EVP_PKEY *k)
{
	X509	   *x = X509_new();
	X509_NAME  *name = X509_get_subject_name(x);

	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), 0);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
							   (const unsigned char *) "test", -1, -1, 0);
	X509_set_issuer_name(x, name);
	X509_set_pubkey(x, k);
	X509_sign(x, k, EVP_sha256());
	return x;
}

/* Writes certificate and key, each if not NULL, the key under a password or not. */
static const char *
write_pem(const char *name, X509 *c, EVP_PKEY *k, const char *password, mode_t mode)
{
	const char *path = in_dir(name);
	FILE	   *f = fopen(path, "w");

	if (f == NULL)
		abort();
	if (c != NULL)
		PEM_write_X509(f, c);
	if (k != NULL)
		PEM_write_PrivateKey(f, k, password ? EVP_aes_256_cbc() : NULL,
							 (const unsigned char *) password,
							 password ? (int) strlen(password) : 0, NULL, NULL);
	fclose(f);
	chmod(path, mode);
	return path;
}

/* Splits the token; returns the parsed part. */
static cJSON *
part(const char *jwt, int which)
{
	static char buf[4096];
	ssize_t		n;
	size_t		len;

	for (; which > 0; which--)
		jwt = strchr(jwt, '.') + 1;
	len = strcspn(jwt, ".");
	n = cmk_base64url_decode(jwt, len, buf, sizeof(buf));
	return n < 0 ? NULL : cmk_json_parse(buf, n);
}

static int
signature_is_good(const char *jwt, EVP_PKEY *k)
{
	const char *dot = strrchr(jwt, '.');
	uint8_t		sig[1024];
	ssize_t		len = cmk_base64url_decode(dot + 1, strlen(dot + 1), sig, sizeof(sig));
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pctx;
	int			ok;

	ok = len > 0 &&
		EVP_DigestVerifyInit(ctx, &pctx, EVP_sha256(), NULL, k) == 1 &&
		EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) > 0 &&
		EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, 32) > 0 &&
		EVP_DigestVerify(ctx, sig, len, (const uint8_t *) jwt, dot - jwt) == 1;
	EVP_MD_CTX_free(ctx);
	return ok;
}

static void
an_assertion(void)
{
	CmkError	err;
	char	   *jwt = cmk_assertion_make(write_pem("good", cert, key, NULL, 0600),
										 NULL, CLIENT, AUD, NOW, &err);
	uint8_t		md[32];
	unsigned int mdlen;
	char		thumb[64];
	cJSON	   *header;
	cJSON	   *claims;
	int64_t		n;

	CHECK(jwt != NULL);
	CHECK(signature_is_good(jwt, key));
	CHECK(!signature_is_good(jwt, other));
	header = part(jwt, 0);
	CHECK_STR(cmk_json_string(header, "alg"), "PS256");
	CHECK_STR(cmk_json_string(header, "typ"), "JWT");
	X509_digest(cert, EVP_sha256(), md, &mdlen);
	cmk_base64url_encode(md, mdlen, thumb);
	CHECK_STR(cmk_json_string(header, "x5t#S256"), thumb);
	claims = part(jwt, 1);
	CHECK_STR(cmk_json_string(claims, "aud"), AUD);
	CHECK_STR(cmk_json_string(claims, "iss"), CLIENT);
	CHECK_STR(cmk_json_string(claims, "sub"), CLIENT);
	CHECK_INT(strlen(cmk_json_string(claims, "jti")), 36);
	CHECK(cmk_json_integer(claims, "nbf", &n) == 1 && n == NOW);
	CHECK(cmk_json_integer(claims, "iat", &n) == 1 && n == NOW);
	CHECK(cmk_json_integer(claims, "exp", &n) == 1 && n == NOW + 600);
	cmk_json_free(header);
	cmk_json_free(claims);
	free(jwt);
}

static void
no_two_are_equal(void)
{
	const char *path = write_pem("good", cert, key, NULL, 0600);
	char	   *a = cmk_assertion_make(path, NULL, CLIENT, AUD, NOW, NULL);
	char	   *b = cmk_assertion_make(path, NULL, CLIENT, AUD, NOW, NULL);
	cJSON	   *ca;
	cJSON	   *cb;

	CHECK(a != NULL && b != NULL);
	ca = part(a, 1);
	cb = part(b, 1);
	CHECK(strcmp(cmk_json_string(ca, "jti"), cmk_json_string(cb, "jti")) != 0);
	cmk_json_free(ca);
	cmk_json_free(cb);
	free(a);
	free(b);
}

static void
a_key_under_a_password(void)
{
	const char *path = write_pem("enc", cert, key, "pass word", 0600);
	CmkError	err;
	char	   *jwt = cmk_assertion_make(path, "pass word", CLIENT, AUD, NOW, &err);

	CHECK(jwt != NULL);
	CHECK(signature_is_good(jwt, key));
	free(jwt);
	CHECK(cmk_assertion_make(path, "wrong", CLIENT, AUD, NOW, &err) == NULL);
	CHECK_INT(err.code, CMK_ERR_KEY_UNUSABLE);
	CHECK(cmk_assertion_make(path, NULL, CLIENT, AUD, NOW, &err) == NULL);
	CHECK_INT(err.code, CMK_ERR_KEY_UNUSABLE);
}

/* The certificate of the key is found among others. */
static void
the_certificate_of_the_key(void)
{
	X509	   *foreign = self_signed(other);
	CmkError	err;
	FILE	   *f;
	char	   *jwt;

	f = fopen(in_dir("chain"), "w");
	PEM_write_X509(f, foreign);
	PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
	PEM_write_X509(f, cert);
	fclose(f);
	chmod(in_dir("chain"), 0600);
	jwt = cmk_assertion_make(in_dir("chain"), NULL, CLIENT, AUD, NOW, &err);
	CHECK(jwt != NULL);
	free(jwt);

	CHECK(cmk_assertion_make(write_pem("b", foreign, key, NULL, 0600), NULL,
							 CLIENT, AUD, NOW, &err) == NULL);
	CHECK_HAS(err.message, "no certificate of its private key");
	CHECK(cmk_assertion_make(write_pem("b", cert, NULL, NULL, 0600), NULL,
							 CLIENT, AUD, NOW, &err) == NULL);
	CHECK_HAS(err.message, "no private key");
	CHECK(cmk_assertion_make(write_pem("b", NULL, key, NULL, 0600), NULL,
							 CLIENT, AUD, NOW, &err) == NULL);
	CHECK_HAS(err.message, "no certificate");
	X509_free(foreign);
}

static void
a_key_that_is_too_small(void)
{
	EVP_PKEY   *small = EVP_RSA_gen(1024);
	X509	   *c = self_signed(small);
	CmkError	err;

	CHECK(cmk_assertion_make(write_pem("s", c, small, NULL, 0600), NULL,
							 CLIENT, AUD, NOW, &err) == NULL);
	CHECK_HAS(err.message, "at least 2048 bits");
	X509_free(c);
	EVP_PKEY_free(small);
}

static void
files_that_others_can_read(void)
{
	static const mode_t modes[] = {0644, 0604, 0660, 0666, 0610};
	CmkError	err;
	size_t		i;

	for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
	{
		CHECK(cmk_assertion_make(write_pem("m", cert, key, NULL, modes[i]), NULL,
								 CLIENT, AUD, NOW, &err) == NULL);
		CHECK_INT(err.code, CMK_ERR_PERMISSION);
		CHECK_HAS(err.message, "has group or world access");
	}
	CHECK(cmk_assertion_make(in_dir("none"), NULL, CLIENT, AUD, NOW, &err) == NULL);
	CHECK_INT(err.code, CMK_ERR_NOT_FOUND);
	CHECK(cmk_assertion_make(dir, NULL, CLIENT, AUD, NOW, &err) == NULL);
	CHECK_HAS(err.message, "not a regular file");
}

static void
files_without_that_rule(void)
{
	const char *path = in_dir("token");
	char		buf[8];
	CmkError	err;
	FILE	   *f = fopen(path, "w");

	fputs("abc\n", f);
	fclose(f);
	chmod(path, 0644);
	CHECK_INT(cmk_secretfile_read(path, "token file", 0, buf, sizeof(buf), &err), 4);
	CHECK_STR(buf, "abc\n");
	CHECK_INT(cmk_secretfile_read(path, "token file", 0, buf, 5, &err), 4);
	CHECK_INT(cmk_secretfile_read(path, "token file", 0, buf, 4, &err), -1);
	CHECK_HAS(err.message, "token file");
	CHECK_HAS(err.message, "too large");
	CHECK_INT(cmk_secretfile_read(path, "token file", CMK_SECRETFILE_OWN, buf, 5, &err), -1);
	CHECK_INT(err.code, CMK_ERR_PERMISSION);
}

/* Opening a pipe without a writer must not wait for one. */
static void
a_pipe_is_no_file(void)
{
	const char *path = in_dir("fifo");
	char		buf[8];
	CmkError	err;

	CHECK_INT(mkfifo(path, 0600), 0);
	CHECK_INT(cmk_secretfile_read(path, "token file", 0, buf, sizeof(buf), &err), -1);
	CHECK_HAS(err.message, "not a regular file");
}

int
main(void)
{
	char		command[100];

	if (mkdtemp(dir) == NULL)
		abort();
	key = EVP_RSA_gen(2048);
	other = EVP_RSA_gen(2048);
	cert = self_signed(key);
	RUN(an_assertion);
	RUN(no_two_are_equal);
	RUN(a_key_under_a_password);
	RUN(the_certificate_of_the_key);
	RUN(a_key_that_is_too_small);
	RUN(files_that_others_can_read);
	RUN(files_without_that_rule);
	RUN(a_pipe_is_no_file);
	X509_free(cert);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command) != 0 || unit_done();
}
