/*
 * test_file_key.c
 *	  The provider table and the PEM file provider: URLs, wrapping and
 *	  unwrapping, and that the openssl command understands what we wrap and we
 *	  what it wraps.  test_pem.c has the files that are no usable keys.
 */
#include <errno.h>
#include <sys/wait.h>

#include <openssl/err.h>

#include "../../src/seal/base64url.h"
#include "keyfiles.h"

/* ---- URLs ---- */

static void
schemes(void)
{
	CmkError	err;
	char		longer[2000];
	const char *strange[] = {
		"file:///a b", "file:///a\nb", "file:///\xc3\xa4", "https://v\r\n/keys/x"
	};
	size_t		i;

	CHECK(cmk_provider_for("file:///x", &err) == &cmk_file_provider);
	CHECK(cmk_provider_for("FILE:///x", &err) == &cmk_file_provider);
	CHECK_STR(cmk_file_provider.scheme, "file");

	CHECK(cmk_provider_for("", &err) == NULL);
	CHECK_INT(err.code, CMK_ERR_CONFIG);
	CHECK_STR(err.message, "key URL is empty");

	CHECK(cmk_provider_for("https://v.vault.azure.net/keys/k", &err) == NULL);
	CHECK_INT(err.code, CMK_ERR_CONFIG);
	CHECK_STR(err.message, "key URL \"https://v.vault.azure.net/keys/k\" is not supported");
	CHECK_STR(err.detail, "This version of pg_cmk can use a key in a PEM file.");
	CHECK_HAS(err.hint, "file:///");

	CHECK(cmk_provider_for("/etc/kek.pem", &err) == NULL);
	CHECK(cmk_provider_for("ftp://x/y", &err) == NULL);
	CHECK(cmk_provider_for("files:///x", &err) == NULL);
	CHECK(cmk_provider_for("fil:///x", &err) == NULL);
	CHECK(cmk_provider_for(":", &err) == NULL);

	memset(longer, 'x', sizeof(longer));
	memcpy(longer, "file:///", 8);
	longer[CMK_KEY_URL_SIZE] = '\0';
	CHECK(cmk_provider_for(longer, &err) == NULL);
	CHECK_STR(err.message, "key URL is too long");
	longer[CMK_KEY_URL_SIZE - 1] = '\0';
	CHECK(cmk_provider_for(longer, &err) == &cmk_file_provider);
	CHECK_INT(cmk_file_provider.check(longer, &err), 0);

	for (i = 0; i < sizeof(strange) / sizeof(strange[0]); i++)
	{
		CHECK(cmk_provider_for(strange[i], &err) == NULL);
		CHECK_INT(err.code, CMK_ERR_CONFIG);
		CHECK_STR(err.message, "key URL has a character that a URL cannot have");
		CHECK_HAS(err.hint, "as %XX");
	}
}

static void
file_urls(void)
{
	static const struct
	{
		const char *url;
		const char *detail;
	}			bad[] = {
		{"file:kek.pem", "does not begin with file://"},
		{"file:/kek.pem", "does not begin with file://"},
		{"file://", "must begin with a slash"},
		{"file://kek.pem", "must begin with a slash"},
		{"file://./kek.pem", "must begin with a slash"},
		{"file://localhost/kek.pem", "without a host"},
		{"file://host/kek.pem", "without a host"},
		{"file:///kek.pem?x=1", "no query or fragment"},
		{"file:///kek.pem#1", "no query or fragment"},
		{"file:///kek%", "two hexadecimal digits"},
		{"file:///kek%2", "two hexadecimal digits"},
		{"file:///kek%zz", "two hexadecimal digits"},
		{"file:///kek%2.pem", "two hexadecimal digits"},
		{"file:///kek%00.pem", "control character"},
		{"file:///kek%0a.pem", "control character"},
		{"file:///kek%7F.pem", "control character"},
	};
	CmkError	err;
	CmkWrapResult w;
	size_t		i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		CHECK(cmk_provider_for(bad[i].url, &err) == &cmk_file_provider);
		CHECK_INT(cmk_file_provider.check(bad[i].url, &err), -1);
		CHECK_INT(err.code, CMK_ERR_CONFIG);
		CHECK_HAS(err.message, bad[i].url);
		CHECK_HAS(err.message, "cannot be used");
		CHECK_HAS(err.detail, bad[i].detail);
		CHECK_INT(wrap(bad[i].url, &w, &err), -1);
		CHECK_INT(err.code, CMK_ERR_CONFIG);
	}
	CHECK_INT(cmk_file_provider.check("file:///does/not/exist", &err), 0);
}

static void
names_may_be_encoded(void)
{
	CmkError	err;
	CmkWrapResult w;

	put_key("k k%3F\xc3\xa4.pem", rsa2048, PKCS8);
	CHECK_INT(wrap(url_of("k%20k%253F%c3%A4.pem"), &w, &err), 0);
	CHECK_INT(wrap(url_of("%6b%20k%25%33F%c3%A4.pem"), &w, &err), 0);
	CHECK_INT(wrap(url_of("k%20k%3F%c3%A4.pem"), &w, &err), -1);
	CHECK_INT(err.code, CMK_ERR_NOT_FOUND);
	unlink(in_dir("k k%3F\xc3\xa4.pem"));
}

/* ---- wrapping ---- */

static void
check_size(int bits, EVP_PKEY *key, Form form)
{
	CmkError	err;
	CmkWrapResult w;
	CmkWrapResult again;
	uint8_t		out[64];
	size_t		outlen;

	put_key("kek.pem", key, form);
	CHECK_INT(wrap(url_of("kek.pem"), &w, &err), 0);
	CHECK_INT(w.len, bits / 8);
	CHECK_STR(w.alg, "RSA-OAEP-256");
	CHECK_INT(strlen(w.key_version), 7 + 43);
	CHECK_INT(strncmp(w.key_version, "sha256:", 7), 0);
	CHECK_INT(ERR_peek_error(), 0);

	CHECK_INT(unwrap(url_of("kek.pem"), &w, out, &outlen, &err), 0);
	CHECK_INT(outlen, sizeof(secret));
	CHECK_MEM(out, secret, sizeof(secret));
	CHECK_INT(ERR_peek_error(), 0);

	/* OAEP is randomised */
	CHECK_INT(wrap(url_of("kek.pem"), &again, &err), 0);
	CHECK_STR(again.key_version, w.key_version);
	CHECK(memcmp(again.value, w.value, w.len) != 0);
}

static void
all_sizes_and_forms(void)
{
	EVP_PKEY   *key;

	check_size(2048, rsa2048, PKCS8);
	check_size(2048, rsa2048, PKCS1);
	key = make_rsa(3072);
	check_size(3072, key, PKCS8);
	EVP_PKEY_free(key);
	key = make_rsa(4096);
	check_size(4096, key, PKCS8);
	EVP_PKEY_free(key);
}

/* The version is the hash of what "openssl pkey -pubout -outform DER" writes. */
static void
version_is_the_hash_of_the_public_key(void)
{
	CmkError	err;
	CmkWrapResult w;
	char		pem[4096];
	uint8_t		der[2048];
	uint8_t		md[32];
	char		expected[64] = "sha256:";
	size_t		len = pem_of(rsa2048, PUBLIC, pem, sizeof(pem) - 1);
	char	   *begin;
	int			n;

	pem[len] = '\0';
	begin = strchr(pem, '\n') + 1;
	*strstr(begin, "-----END") = '\0';
	{
		EVP_ENCODE_CTX *ctx = EVP_ENCODE_CTX_new();
		int			m;

		EVP_DecodeInit(ctx);
		CHECK(EVP_DecodeUpdate(ctx, der, &n, (unsigned char *) begin, (int) strlen(begin)) >= 0);
		CHECK(EVP_DecodeFinal(ctx, der + n, &m) >= 0);
		n += m;
		EVP_ENCODE_CTX_free(ctx);
	}
	CHECK_INT(n, 294);			/* SubjectPublicKeyInfo of RSA 2048 */
	CHECK_INT(EVP_Q_digest(NULL, "SHA256", NULL, der, n, md, NULL), 1);
	cmk_base64url_encode(md, sizeof(md), expected + 7);

	put_key("kek.pem", rsa2048, PKCS8);
	CHECK_INT(wrap(url_of("kek.pem"), &w, &err), 0);
	CHECK_STR(w.key_version, expected);
}

static void
another_key_is_told_from_a_damaged_wrap(void)
{
	CmkError	err;
	CmkWrapResult w;
	CmkWrapResult bad;
	CmkWrapResult theirs;
	uint8_t		out[64];
	static const uint8_t zeros[64];
	size_t		outlen;

	put_key("kek.pem", rsa2048, PKCS8);
	put_key("other.pem", other2048, PKCS8);
	CHECK_INT(wrap(url_of("kek.pem"), &w, &err), 0);
	CHECK_INT(wrap(url_of("other.pem"), &theirs, &err), 0);

	memset(out, 0x55, sizeof(out));
	CHECK_INT(unwrap(url_of("other.pem"), &w, out, &outlen, &err), -1);
	CHECK_INT(err.code, CMK_ERR_WRONG_KEY);
	CHECK_HAS(err.message, "is not the one that wrapped the root key");
	CHECK_HAS(err.message, in_dir("other.pem"));
	CHECK_HAS(err.detail, w.key_version);
	CHECK_HAS(err.detail, theirs.key_version);
	CHECK_INT(outlen, 0);
	CHECK_MEM(out, zeros, sizeof(out));

	/* the same said of the version, but it is not true */
	bad = w;
	strcpy(bad.key_version, theirs.key_version);
	CHECK_INT(unwrap(url_of("other.pem"), &bad, out, &outlen, &err), -1);
	CHECK_INT(err.code, CMK_ERR_WRONG_KEY);
	CHECK_HAS(err.message, "does not open the wrapped root key");

	bad = w;
	bad.value[100] ^= 1;
	CHECK_INT(unwrap(url_of("kek.pem"), &bad, out, &outlen, &err), -1);
	CHECK_INT(err.code, CMK_ERR_WRONG_KEY);
	CHECK_HAS(err.detail, "the wrapped value is damaged");
	CHECK_INT(ERR_peek_error(), 0);

	bad = w;
	bad.len--;
	CHECK_INT(unwrap(url_of("kek.pem"), &bad, out, &outlen, &err), -1);
	bad.len = 0;
	CHECK_INT(unwrap(url_of("kek.pem"), &bad, out, &outlen, &err), -1);
	bad.len = sizeof(bad.value);
	CHECK_INT(unwrap(url_of("kek.pem"), &bad, out, &outlen, &err), -1);
	CHECK_MEM(out, zeros, sizeof(out));

	bad = w;
	strcpy(bad.alg, "RSA1_5");
	CHECK_INT(unwrap(url_of("kek.pem"), &bad, out, &outlen, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CONFIG);
	CHECK_STR(err.message, "key wrap algorithm \"RSA1_5\" is not supported");
}

static void
no_more_than_there_is_room_for(void)
{
	CmkError	err;
	CmkWrapResult w;
	uint8_t		out[64];
	size_t		outlen;
	int			i;

	put_key("kek.pem", rsa2048, PKCS8);
	CHECK_INT(wrap(url_of("kek.pem"), &w, &err), 0);
	memset(out, 0x55, sizeof(out));
	CHECK_INT(cmk_file_provider.unwrap(url_of("kek.pem"), w.key_version, w.alg,
									   w.value, w.len, out, 31, &outlen, &err), -1);
	CHECK_INT(outlen, 0);
	for (i = 0; i < 31; i++)
		CHECK_INT(out[i], 0);
	CHECK_INT(out[31], 0x55);
	CHECK_INT(cmk_file_provider.unwrap(url_of("kek.pem"), w.key_version, w.alg,
									   w.value, w.len, out, 32, &outlen, &err), 0);
	CHECK_INT(outlen, 32);
	CHECK_INT(out[32], 0x55);
}

/* ---- the openssl command ---- */

/* Runs openssl with these arguments; its exit status. */
static int
run_openssl(char *const argv[])
{
	int			status = -1;
	pid_t		pid = fork();

	if (pid == 0)
	{
		int			fd = open("/dev/null", O_WRONLY);

		dup2(fd, 2);
		execvp("openssl", argv);
		_exit(127);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ?
		WEXITSTATUS(status) : -1;
}

static int
pkeyutl(char *what, const char *in, const char *out)
{
	char	   *argv[] = {
		"openssl", "pkeyutl", what, "-inkey", (char *) in_dir("kek.pem"),
		"-in", (char *) in_dir(in), "-out", (char *) in_dir(out),
		"-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256",
		"-pkeyopt", "rsa_mgf1_md:sha256", NULL
	};

	return run_openssl(argv);
}

static void
the_openssl_command_opens_what_we_wrapped(void)
{
	CmkError	err;
	CmkWrapResult w;
	uint8_t		back[64];

	put_key("kek.pem", rsa2048, PKCS8);
	CHECK_INT(wrap(url_of("kek.pem"), &w, &err), 0);
	put_file("wrapped", w.value, w.len, 0600);
	CHECK_INT(pkeyutl("-decrypt", "wrapped", "plain"), 0);
	CHECK_INT(get_file("plain", back, sizeof(back)), sizeof(secret));
	CHECK_MEM(back, secret, sizeof(secret));
	unlink(in_dir("plain"));

	/* with another MGF1 digest it does not: the parameters are what they say */
	{
		char	   *argv[] = {
			"openssl", "pkeyutl", "-decrypt", "-inkey", (char *) in_dir("kek.pem"),
			"-in", (char *) in_dir("wrapped"), "-out", (char *) in_dir("plain"),
			"-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256",
			"-pkeyopt", "rsa_mgf1_md:sha1", NULL
		};

		CHECK(run_openssl(argv) != 0);
	}
	unlink(in_dir("plain"));
	unlink(in_dir("wrapped"));
}

static void
we_open_what_the_openssl_command_wrapped(void)
{
	CmkError	err;
	CmkWrapResult w;
	uint8_t		out[64];
	size_t		outlen;

	put_key("kek.pem", rsa2048, PKCS8);
	CHECK_INT(wrap(url_of("kek.pem"), &w, &err), 0);
	put_file("plain", secret, sizeof(secret), 0600);
	CHECK_INT(pkeyutl("-encrypt", "plain", "wrapped"), 0);
	w.len = get_file("wrapped", w.value, sizeof(w.value));
	CHECK_INT(w.len, 256);
	CHECK_INT(unwrap(url_of("kek.pem"), &w, out, &outlen, &err), 0);
	CHECK_INT(outlen, sizeof(secret));
	CHECK_MEM(out, secret, sizeof(secret));
	unlink(in_dir("plain"));
	unlink(in_dir("wrapped"));
}

int
main(void)
{
	if (keyfiles_begin() < 0)
		return 1;
	RUN(schemes);
	RUN(file_urls);
	RUN(names_may_be_encoded);
	RUN(all_sizes_and_forms);
	RUN(version_is_the_hash_of_the_public_key);
	RUN(another_key_is_told_from_a_damaged_wrap);
	RUN(no_more_than_there_is_room_for);
	RUN(the_openssl_command_opens_what_we_wrapped);
	RUN(we_open_what_the_openssl_command_wrapped);
	keyfiles_done();
	return unit_done();
}
