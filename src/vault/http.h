/*
 * http.h
 *	  One request and its answer, over libcurl, bounded in every way.
 *
 *		CmkHttp    *http = cmk_http_new(ca_file, interrupted);
 *		CmkHttpRequest req = {.method = "GET", .url = url, .deadline = deadline,
 *							  .timeout_ms = 10000};
 *		CmkHttpAnswer ans;
 *
 *		if (cmk_http_perform(http, &req, &ans, out) < 0)
 *			return -1;				no answer, and out says why
 *		… ans.status, ans.body …
 *		cmk_http_wipe(http);		if the body held a secret
 *
 * Certificates and host names are always verified, TLS is 1.2 or newer, no
 * redirect is followed, nothing is logged.  The connection is kept for the next
 * request.
 */
#ifndef CMK_HTTP_H
#define CMK_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "outcome.h"

#define CMK_HTTP_MAX_HEADERS	5
#define CMK_HTTP_MAX_CHALLENGE	4096

typedef struct CmkHttp CmkHttp;

typedef struct CmkHttpRequest
{
	const char *method;			/* GET or POST */
	const char *url;
	const char *headers[CMK_HTTP_MAX_HEADERS];	/* up to the first NULL */
	const char *body;			/* of a POST; NULL: empty */
	size_t		body_len;
	bool		local;			/* a token source on this machine: http is
								 * allowed, a proxy is not */
	int64_t		deadline;		/* of cmk_http_clock() */
	int			timeout_ms;		/* of this request */
} CmkHttpRequest;

typedef struct CmkHttpAnswer
{
	int			status;
	const char *body;			/* valid until the next request; NUL-terminated */
	size_t		len;
	char		challenge[CMK_HTTP_MAX_CHALLENGE];	/* WWW-Authenticate, one a line */
	char		retry_after[64];	/* as it came */
	char		request_id[64];
	int64_t		date;			/* Unix seconds; 0: none */
	size_t		header_bytes;
} CmkHttpAnswer;

/* NULL if there is no memory.  ca_file and interrupted may be NULL. */
extern CmkHttp *cmk_http_new(const char *ca_file, int (*interrupted) (void));
extern void cmk_http_free(CmkHttp *http);

/* Closes the connections; the next request opens a new one. */
extern void cmk_http_reset(CmkHttp *http);

/*
 * 0 and *ans if there was a whole answer, whatever its status; else -1 and *out
 * with CMK_REASON_DNS, _CONNECT, _TIMEOUT, _TLS, _MALFORMED or _CONFIG.  Sets
 * out->request_id and out->http_status as far as an answer came.
 */
extern int	cmk_http_perform(CmkHttp *http, const CmkHttpRequest *req,
							 CmkHttpAnswer *ans, CmkOutcome *out);

/* Wipes the last answer's body. */
extern void cmk_http_wipe(CmkHttp *http);

/* CLOCK_MONOTONIC in milliseconds. */
extern int64_t cmk_http_clock(void);

/*
 * Sleeps ms, in slices of at most 100 ms between which interrupted is asked.  0,
 * or -1 with CMK_REASON_TIMEOUT if it said so.
 */
extern int	cmk_http_sleep(CmkHttp *http, int ms, CmkOutcome *out);

/* ---- headers.c: what is read from headers ---- */

/* One header line, with or without its line end, into *ans. */
extern void cmk_http_header(CmkHttpAnswer *ans, const char *line, size_t len);

/*
 * Milliseconds that Retry-After asks for: seconds, or an HTTP date, which is
 * compared with date if that is not 0, else with now.  0 if it is neither or
 * past; at most a day.
 */
extern int	cmk_http_retry_after(const char *value, int64_t date, int64_t now);

/*
 * Copies text into out so that it can stand in a message: printable ASCII, one
 * line, no quote, nothing that looks like a token or a secret, cut.
 */
extern void cmk_http_printable(const char *text, char *out, size_t size);

#endif							/* CMK_HTTP_H */
