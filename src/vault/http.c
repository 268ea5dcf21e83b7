/*
 * http.c
 *	  One request and its answer, over libcurl.
 *
 * The multi interface is used, though there is one transfer at a time, because
 * it leaves the waiting to us: between its steps we see whether the process is
 * to end, at most 100 ms late, and around each step signals are blocked, so that
 * the thread in which libcurl looks up a name inherits a mask that lets none of
 * them in.  (A server's signal handlers must not run in another thread.)
 *
 * Requests and answers carry tokens and, in base64url, the root key.  libcurl is
 * therefore given an allocator that wipes what it frees, and OpenSSL is told to
 * wipe plain text from its buffers once it was handed over.
 */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <curl/curl.h>
#include <openssl/ssl.h>

#include "../seal/kdf.h"
#include "http.h"
#include "vault.h"

#define SLICE_MS			100
#define MAX_HEADER_BYTES	65536

struct CmkHttp
{
	CURLM	   *multi;
	CURL	   *easy;
	const char *ca_file;
	int			(*interrupted) (void);
	char		body[CMK_VAULT_MAX_ANSWER + 1];
	size_t		len;
	bool		too_large;
	CmkHttpAnswer *ans;			/* of the running request */
	char		error[CURL_ERROR_SIZE];
};

int64_t
cmk_http_clock(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- memory ---- */

static void
wiping_free(void *p)
{
	if (p != NULL)
		cmk_cleanse(p, malloc_usable_size(p));
	free(p);
}

static void *
wiping_realloc(void *old, size_t size)
{
	size_t		have = old != NULL ? malloc_usable_size(old) : 0;
	void	   *new = malloc(size);

	if (new == NULL)
		return NULL;
	if (old != NULL)
		memcpy(new, old, have < size ? have : size);
	wiping_free(old);
	return new;
}

/*
 * If somebody else in the process has started libcurl before us, the allocator
 * is not taken and the rest works as usual.
 */
static int
start_libcurl(void)
{
	static bool started = false;

	if (!started && curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc,
										 wiping_free, wiping_realloc,
										 strdup, calloc) != CURLE_OK)
		return -1;
	started = true;
	return 0;
}

CmkHttp *
cmk_http_new(const char *ca_file, int (*interrupted) (void))
{
	CmkHttp    *http;

	if (start_libcurl() < 0)
		return NULL;
	http = calloc(1, sizeof(*http));
	if (http == NULL)
		return NULL;
	http->ca_file = ca_file != NULL && ca_file[0] != '\0' ? ca_file : NULL;
	http->interrupted = interrupted;
	return http;
}

void
cmk_http_reset(CmkHttp *http)
{
	curl_easy_cleanup(http->easy);
	if (http->multi != NULL)
		curl_multi_cleanup(http->multi);
	http->easy = NULL;
	http->multi = NULL;
	cmk_http_wipe(http);
}

void
cmk_http_free(CmkHttp *http)
{
	if (http == NULL)
		return;
	cmk_http_reset(http);
	free(http);
}

void
cmk_http_wipe(CmkHttp *http)
{
	cmk_cleanse(http->body, sizeof(http->body));
	http->len = 0;
}

/* ---- what libcurl calls ---- */

static size_t
on_body(char *data, size_t size, size_t n, void *arg)
{
	CmkHttp    *http = arg;

	n *= size;
	if (n > CMK_VAULT_MAX_ANSWER - http->len)
	{
		http->too_large = true;
		return n + 1;			/* not n: libcurl ends the transfer */
	}
	memcpy(http->body + http->len, data, n);
	http->len += n;
	http->body[http->len] = '\0';
	return n;
}

static size_t
on_header(char *data, size_t size, size_t n, void *arg)
{
	CmkHttp    *http = arg;

	n *= size;
	cmk_http_header(http->ans, data, n);
	if (http->ans->header_bytes > MAX_HEADER_BYTES)
	{
		http->too_large = true;
		return n + 1;
	}
	return n;
}

static CURLcode
on_ssl_ctx(CURL *easy, void *ctx, void *arg)
{
	(void) easy;
	(void) arg;
	SSL_CTX_set_options(ctx, SSL_OP_CLEANSE_PLAINTEXT);
	return CURLE_OK;
}

/* ---- setting up ---- */

#define SET(option, value) \
	do { \
		if (curl_easy_setopt(easy, option, value) != CURLE_OK) \
			return -1; \
	} while (0)

/* What no request changes. */
static int
set_rules(CmkHttp *http, CURL *easy)
{
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_PROXY_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_PROXY_SSL_VERIFYHOST, 2L);
	if (http->ca_file != NULL)
	{
		SET(CURLOPT_CAINFO, http->ca_file);
		SET(CURLOPT_CAPATH, NULL);
		SET(CURLOPT_PROXY_CAINFO, http->ca_file);
		SET(CURLOPT_PROXY_CAPATH, NULL);
	}
	SET(CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx);
	SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_HTTP09_ALLOWED, 0L);
	SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	SET(CURLOPT_USERAGENT, "pg_cmk");
	SET(CURLOPT_ERRORBUFFER, http->error);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, http);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, http);
	/* a name look-up that hangs is left behind, not waited for */
	SET(CURLOPT_QUICK_EXIT, 1L);
	return 0;
}

static int
set_request(CURL *easy, const CmkHttpRequest *req, struct curl_slist *headers,
			long timeout)
{
	SET(CURLOPT_URL, req->url);
	SET(CURLOPT_PROTOCOLS_STR, req->local ? "https,http" : "https");
	SET(CURLOPT_NOPROXY, req->local ? "*" : NULL);
	SET(CURLOPT_TIMEOUT_MS, timeout);
	SET(CURLOPT_CONNECTTIMEOUT_MS, timeout);
	SET(CURLOPT_HTTPHEADER, headers);
	if (strcmp(req->method, "POST") == 0)
	{
		SET(CURLOPT_POST, 1L);
		SET(CURLOPT_POSTFIELDS, req->body != NULL ? req->body : "");
		SET(CURLOPT_POSTFIELDSIZE, (long) (req->body != NULL ? req->body_len : 0));
	}
	else
		SET(CURLOPT_HTTPGET, 1L);
	return 0;
}

static struct curl_slist *
make_headers(const CmkHttpRequest *req)
{
	struct curl_slist *list = curl_slist_append(NULL, "Accept: application/json");
	int			i;

	for (i = -1; list != NULL && i < CMK_HTTP_MAX_HEADERS; i++)
	{
		const char *h = i < 0 ? "Expect:" : req->headers[i];
		struct curl_slist *more;

		if (h == NULL)
			break;
		more = curl_slist_append(list, h);
		if (more == NULL)
			curl_slist_free_all(list);
		list = more;
	}
	return list;
}

/* ---- running ---- */

/* One step with signals blocked; a SIGPIPE of ours is taken away. */
static CURLMcode
step(CURLM *multi, int *running)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
	const struct timespec none = {0, 0};
	sigset_t	block;
	sigset_t	old;
	sigset_t	pending;
	sigset_t	pipe_only;
	CURLMcode	rc;
	size_t		i;

	sigfillset(&block);
	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(&block, faults[i]);
	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &block, &old);
	sigpending(&pending);
	rc = curl_multi_perform(multi, running);
	if (!sigismember(&pending, SIGPIPE))
		while (sigtimedwait(&pipe_only, NULL, &none) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc;
}

static bool
is_interrupted(CmkHttp *http)
{
	return http->interrupted != NULL && http->interrupted() != 0;
}

/* To the end, the deadline or the interruption. */
static CURLcode
run(CmkHttp *http, int64_t until)
{
	CURLMsg    *msg;
	int			running = 1;
	int			left;

	while (running > 0)
	{
		if (is_interrupted(http))
			return CURLE_ABORTED_BY_CALLBACK;
		if (cmk_http_clock() > until)
			return CURLE_OPERATION_TIMEDOUT;
		if (step(http->multi, &running) != CURLM_OK)
			return CURLE_OUT_OF_MEMORY;
		if (running > 0)
			curl_multi_poll(http->multi, NULL, 0, SLICE_MS, NULL);
	}
	while ((msg = curl_multi_info_read(http->multi, &left)) != NULL)
	{
		if (msg->msg == CURLMSG_DONE)
			return msg->data.result;
	}
	return CURLE_OUT_OF_MEMORY;
}

static CmkReason
reason_of(CURLcode rc, bool answered)
{
	switch (rc)
	{
		case CURLE_COULDNT_RESOLVE_HOST:
			return CMK_REASON_DNS;
		case CURLE_OPERATION_TIMEDOUT:
		case CURLE_ABORTED_BY_CALLBACK:
			return CMK_REASON_TIMEOUT;
		case CURLE_SSL_CONNECT_ERROR:
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_CERTPROBLEM:
		case CURLE_SSL_CIPHER:
		case CURLE_SSL_ISSUER_ERROR:
		case CURLE_SSL_INVALIDCERTSTATUS:
		case CURLE_USE_SSL_FAILED:
			return CMK_REASON_TLS;
		case CURLE_SSL_CACERT_BADFILE:
		case CURLE_SSL_ENGINE_INITFAILED:
		case CURLE_URL_MALFORMAT:
			return CMK_REASON_CONFIG;
		case CURLE_COULDNT_CONNECT:
		case CURLE_COULDNT_RESOLVE_PROXY:
		case CURLE_PROXY:
		case CURLE_SEND_ERROR:
		case CURLE_GOT_NOTHING:
			return CMK_REASON_CONNECT;
		case CURLE_RECV_ERROR:
			return answered ? CMK_REASON_MALFORMED : CMK_REASON_CONNECT;
		default:
			/* an answer in HTTP/0.9 is an "unsupported protocol" */
			return answered || rc == CURLE_WEIRD_SERVER_REPLY ||
				rc == CURLE_UNSUPPORTED_PROTOCOL ?
				CMK_REASON_MALFORMED : CMK_REASON_CONNECT;
	}
}

/* Between which hosts it failed, for a message: without path and query. */
static int
origin_length(const char *url)
{
	const char *p = strstr(url, "://");

	return (int) (p != NULL ? p + 3 - url + strcspn(p + 3, "/?") : strcspn(url, "/?"));
}

static int
failed(CmkHttp *http, const CmkHttpRequest *req, CURLcode rc, CmkOutcome *out)
{
	char		text[200];
	CmkReason	reason = reason_of(rc, out->http_status != 0);
	int			n = origin_length(req->url);

	if (n > 256)
		n = 256;
	if (http->too_large)
		cmk_outcome(out, CMK_REASON_MALFORMED,
					"the answer of \"%.*s\" is too large", n, req->url);
	else if (rc == CURLE_ABORTED_BY_CALLBACK)
		cmk_outcome(out, reason,
					"the conversation with \"%.*s\" was interrupted", n, req->url);
	else if (reason == CMK_REASON_MALFORMED)
		cmk_outcome(out, reason,
					"the answer of \"%.*s\" is truncated or is not HTTP", n, req->url);
	else if (rc == CURLE_SSL_CACERT_BADFILE)
		cmk_outcome(out, reason, "CA file \"%.256s\" cannot be used",
					http->ca_file != NULL ? http->ca_file : "");
	else
		cmk_outcome(out, reason, "could not speak to \"%.*s\"", n, req->url);
	cmk_http_printable(http->error[0] != '\0' ? http->error :
					   curl_easy_strerror(rc), text, sizeof(text));
	if (rc != CURLE_ABORTED_BY_CALLBACK && !http->too_large)
		cmk_fail_detail(&out->err, "libcurl says: %s.%s%s", text,
						out->request_id[0] != '\0' ? " Request id: " : "",
						out->request_id);
	return -1;
}

static int
no_memory(CmkOutcome *out)
{
	return cmk_outcome(out, CMK_REASON_CONNECT,
					   "out of memory while preparing a request");
}

static int
prepare(CmkHttp *http)
{
	if (http->multi == NULL)
		http->multi = curl_multi_init();
	if (http->easy == NULL)
	{
		http->easy = curl_easy_init();
		if (http->easy != NULL && set_rules(http, http->easy) < 0)
		{
			curl_easy_cleanup(http->easy);
			http->easy = NULL;
		}
	}
	return http->multi != NULL && http->easy != NULL ? 0 : -1;
}

int
cmk_http_perform(CmkHttp *http, const CmkHttpRequest *req, CmkHttpAnswer *ans,
				 CmkOutcome *out)
{
	struct curl_slist *headers;
	int64_t		left = req->deadline - cmk_http_clock();
	CURLcode	rc;
	long		status = 0;

	memset(ans, 0, sizeof(*ans));
	ans->body = http->body;
	cmk_http_wipe(http);
	http->ans = ans;
	http->too_large = false;
	http->error[0] = '\0';
	out->http_status = 0;
	out->request_id[0] = '\0';
	if (left > req->timeout_ms)
		left = req->timeout_ms;
	if (left <= 0)
		return failed(http, req, CURLE_OPERATION_TIMEDOUT, out);

	headers = make_headers(req);
	if (headers == NULL || prepare(http) < 0 ||
		set_request(http->easy, req, headers, (long) left) < 0 ||
		curl_multi_add_handle(http->multi, http->easy) != CURLM_OK)
	{
		curl_slist_free_all(headers);
		return no_memory(out);
	}
	rc = run(http, cmk_http_clock() + left);
	curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_multi_remove_handle(http->multi, http->easy);
	curl_easy_setopt(http->easy, CURLOPT_HTTPHEADER, NULL);
	curl_easy_setopt(http->easy, CURLOPT_POSTFIELDS, NULL);
	curl_slist_free_all(headers);

	out->http_status = (int) status;
	strcpy(out->request_id, ans->request_id);
	if (rc != CURLE_OK)
	{
		cmk_http_wipe(http);
		return failed(http, req, rc, out);
	}
	ans->status = (int) status;
	ans->len = http->len;
	return 0;
}

int
cmk_http_sleep(CmkHttp *http, int ms, CmkOutcome *out)
{
	int64_t		until = cmk_http_clock() + ms;

	for (;;)
	{
		int64_t		left = until - cmk_http_clock();
		struct timespec ts = {0, 0};

		if (is_interrupted(http))
			return cmk_outcome(out, CMK_REASON_TIMEOUT,
							   "the conversation with the key vault was interrupted");
		if (left <= 0)
			return 0;
		ts.tv_nsec = (left < SLICE_MS ? left : SLICE_MS) * 1000000L;
		nanosleep(&ts, NULL);
	}
}
