/*
 * error.c
 *	  Filling a CmkError.  See error.h.
 *
 * Nothing here can fail: a text that is too long is cut, because a cut message
 * is better than none and the code says what happened anyway.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>

#include "error.h"

int
cmk_fail(CmkError *err, CmkErrorCode code, const char *fmt,...)
{
	int			save_errno = errno;
	va_list		ap;

	if (err == NULL)
		return -1;

	err->code = code;
	err->saved_errno = save_errno;
	err->detail[0] = '\0';
	err->hint[0] = '\0';

	va_start(ap, fmt);
	vsnprintf(err->message, sizeof(err->message), fmt, ap);
	va_end(ap);

	errno = save_errno;
	return -1;
}

int
cmk_fail_detail(CmkError *err, const char *fmt,...)
{
	int			save_errno = errno;
	va_list		ap;

	if (err == NULL)
		return -1;

	va_start(ap, fmt);
	vsnprintf(err->detail, sizeof(err->detail), fmt, ap);
	va_end(ap);

	errno = save_errno;
	return -1;
}

int
cmk_fail_hint(CmkError *err, const char *fmt,...)
{
	int			save_errno = errno;
	va_list		ap;

	if (err == NULL)
		return -1;

	va_start(ap, fmt);
	vsnprintf(err->hint, sizeof(err->hint), fmt, ap);
	va_end(ap);

	errno = save_errno;
	return -1;
}

int
cmk_fail_openssl(CmkError *err)
{
	int			save_errno = errno;
	unsigned long code = ERR_peek_last_error();

	if (err != NULL && code != 0)
	{
		const char *reason = ERR_reason_error_string(code);
		size_t		used = strlen(err->detail);

		/* a failed system call has no reason string but an errno */
		if (reason == NULL && ERR_SYSTEM_ERROR(code))
			reason = strerror(ERR_GET_REASON(code));
		snprintf(err->detail + used, sizeof(err->detail) - used,
				 "%sOpenSSL says: %s.", used > 0 ? " " : "",
				 reason != NULL ? reason : "unknown reason");
	}
	ERR_clear_error();

	errno = save_errno;
	return -1;
}
