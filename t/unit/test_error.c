/*
 * test_error.c
 *	  Errors of the plain-C layers.
 */
#include <errno.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "../../src/seal/error.h"
#include "unit.h"

static void
fills_all_fields(void)
{
	CmkError	err;

	memset(&err, 'x', sizeof(err));
	errno = ENOENT;
	CHECK_INT(cmk_fail(&err, CMK_ERR_NOT_FOUND, "no file \"%s\" of %d",
					   "keys", 3), -1);
	CHECK_INT(errno, ENOENT);
	CHECK_INT(err.code, CMK_ERR_NOT_FOUND);
	CHECK_INT(err.saved_errno, ENOENT);
	CHECK_STR(err.message, "no file \"keys\" of 3");
	CHECK_STR(err.detail, "");
	CHECK_STR(err.hint, "");

	CHECK_INT(cmk_fail_detail(&err, "It was at %s.", "home"), -1);
	CHECK_INT(cmk_fail_hint(&err, "Look %s.", "again"), -1);
	CHECK_INT(errno, ENOENT);
	CHECK_STR(err.message, "no file \"keys\" of 3");
	CHECK_STR(err.detail, "It was at home.");
	CHECK_STR(err.hint, "Look again.");

	/* the next failure starts clean */
	errno = 0;
	cmk_fail(&err, CMK_ERR_CONFIG, "other");
	CHECK_INT(err.saved_errno, 0);
	CHECK_STR(err.detail, "");
	CHECK_STR(err.hint, "");
}

static void
nobody_need_be_listening(void)
{
	errno = EIO;
	CHECK_INT(cmk_fail(NULL, CMK_ERR_IO, "x"), -1);
	CHECK_INT(cmk_fail_detail(NULL, "x"), -1);
	CHECK_INT(cmk_fail_hint(NULL, "x"), -1);
	CHECK_INT(cmk_fail_openssl(NULL), -1);
	CHECK_INT(errno, EIO);
}

static void
long_texts_are_cut(void)
{
	CmkError	err;
	char		big[2000];

	memset(big, 'a', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	cmk_fail(&err, CMK_ERR_IO, "%s", big);
	cmk_fail_detail(&err, "%s", big);
	cmk_fail_hint(&err, "%s", big);
	CHECK_INT(strlen(err.message), sizeof(err.message) - 1);
	CHECK_INT(strlen(err.detail), sizeof(err.detail) - 1);
	CHECK_INT(strlen(err.hint), sizeof(err.hint) - 1);

	/* and a full detail has no room for OpenSSL's reason */
	ERR_raise(ERR_LIB_EVP, EVP_R_UNSUPPORTED_CIPHER);
	cmk_fail_openssl(&err);
	CHECK_INT(strlen(err.detail), sizeof(err.detail) - 1);
	CHECK_INT(ERR_peek_error(), 0);
}

static void
openssl_reason_is_appended(void)
{
	CmkError	err;

	cmk_fail(&err, CMK_ERR_KEY_UNUSABLE, "could not read the key");
	ERR_raise(ERR_LIB_EVP, EVP_R_BAD_DECRYPT);
	ERR_raise(ERR_LIB_PEM, PEM_R_NO_START_LINE);
	CHECK_INT(cmk_fail_openssl(&err), -1);
	CHECK_STR(err.detail, "OpenSSL says: no start line.");
	CHECK_INT(ERR_peek_error(), 0);

	cmk_fail_detail(&err, "The file is empty.");
	ERR_raise(ERR_LIB_PEM, PEM_R_NO_START_LINE);
	cmk_fail_openssl(&err);
	CHECK_STR(err.detail, "The file is empty. OpenSSL says: no start line.");

	/* nothing in the queue, nothing to say */
	cmk_fail(&err, CMK_ERR_CRYPTO, "x");
	cmk_fail_openssl(&err);
	CHECK_STR(err.detail, "");

	/* a system call that failed inside OpenSSL */
	ERR_raise(ERR_LIB_SYS, EACCES);
	cmk_fail_openssl(&err);
	CHECK_STR(err.detail, "OpenSSL says: Permission denied.");
}

int
main(void)
{
	RUN(fills_all_fields);
	RUN(nobody_need_be_listening);
	RUN(long_texts_are_cut);
	RUN(openssl_reason_is_appended);
	return unit_done();
}
