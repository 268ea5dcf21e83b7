/*
 * error.h
 *	  How the plain-C layers say what went wrong.
 *
 * seal/, keyring/ and vault/ know nothing of ereport, because the command-line
 * tool and the unit tests link them without a server.  A function that can fail
 * takes a CmkError * as its last argument, fills it and returns -1 (or false);
 * the server turns it into errmsg, errdetail, errhint and the SQLSTATE that fits
 * the code.  Use:
 *
 *		CmkError	err;
 *
 *		if (cmk_rootfile_read(path, &root, &err) < 0)
 *			report(&err);
 *
 * No text in a CmkError ever holds a key, a token or the plain content of a
 * page; the functions below are given file names, URLs, numbers and the text of
 * errno or of the OpenSSL error queue only.
 */
#ifndef CMK_ERROR_H
#define CMK_ERROR_H

#include <stddef.h>

typedef enum CmkErrorCode
{
	CMK_OK = 0,
	CMK_ERR_IO,					/* a file operation failed; saved_errno says why */
	CMK_ERR_NO_SPACE,			/* ENOSPC or EDQUOT */
	CMK_ERR_NOT_FOUND,			/* a file that must be there is missing */
	CMK_ERR_PERMISSION,			/* unreadable, or readable by others */
	CMK_ERR_CONFIG,				/* a setting or a URL that cannot be used */
	CMK_ERR_KEY_UNUSABLE,		/* not RSA, wrong size, encrypted PEM, … */
	CMK_ERR_WRONG_KEY,			/* a KEK that does not open this root.json */
	CMK_ERR_CORRUPT,			/* CRC, HMAC, key-wrap or syntax of a file wrong */
	CMK_ERR_FOREIGN,			/* file of another cluster */
	CMK_ERR_LIMIT,				/* no room: 1,000,000 DEKs */
	CMK_ERR_CRYPTO,				/* OpenSSL refused something that cannot fail */
	CMK_ERR_NO_MEMORY
} CmkErrorCode;

typedef struct CmkError
{
	CmkErrorCode code;
	int			saved_errno;	/* 0 if no system call is to blame */
	char		message[512];	/* one sentence, lower case, no full stop: errmsg */
	char		detail[512];	/* full sentences, or "" : errdetail */
	char		hint[512];		/* what to do, or "": errhint */
} CmkError;

/*
 * Fills *err (NULL is allowed and ignored) with the code, errno as it stands
 * and the formatted message; detail and hint become "".  Always returns -1, so
 * that a caller can write "return cmk_fail(err, …)".  errno survives.
 */
extern int	cmk_fail(CmkError *err, CmkErrorCode code, const char *fmt,...)
			__attribute__((format(printf, 3, 4)));

/* Set detail or hint of an error that cmk_fail() filled.  Return -1 too. */
extern int	cmk_fail_detail(CmkError *err, const char *fmt,...)
			__attribute__((format(printf, 2, 3)));
extern int	cmk_fail_hint(CmkError *err, const char *fmt,...)
			__attribute__((format(printf, 2, 3)));

/*
 * Appends the reason of the newest error in OpenSSL's queue to err->detail
 * ("OpenSSL says: …") and empties the queue.
 */
extern int	cmk_fail_openssl(CmkError *err);

#endif							/* CMK_ERROR_H */
