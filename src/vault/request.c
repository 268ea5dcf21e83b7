/*
 * request.c
 *	  Sending a request, and sending it again when the service asks for patience.
 *
 * Exponential backoff with jitter, so that servers which lost the vault at one
 * moment do not come back at one moment.  What was asked with Retry-After is
 * waited for if the deadline allows it; if not, there is no use in asking sooner,
 * and the answer is handed to the caller at once.
 */
#include <time.h>

#include "../seal/kdf.h"
#include "vault_impl.h"

#define BACKOFF_MS		800
#define TRIES			3
#define LOCAL_TRIES		5

static bool
is_worth_a_retry(int status, bool local)
{
	switch (status)
	{
		case 408:
		case 429:
		case 500:
		case 502:
		case 503:
		case 504:
			return true;
		case 404:
		case 410:
			return local;
		default:
			return false;
	}
}

/* The wait before the next try: doubled each time, and up to a quarter more. */
static int
backoff(int tried, int retry_after)
{
	uint16_t	r = 0;
	int			ms = BACKOFF_MS << (tried - 1);

	cmk_random_public(&r, sizeof(r));
	ms += (int) ((int64_t) ms / 4 * r / UINT16_MAX);
	return ms > retry_after ? ms : retry_after;
}

int
cmk_request_send(CmkVault *v, CmkHttpRequest *req, uint64_t *count,
				 CmkHttpAnswer *ans, CmkOutcome *out)
{
	int			tries = req->local ? LOCAL_TRIES : TRIES;
	int			tried;

	req->timeout_ms = v->cfg.timeout_ms;
	for (tried = 1;; tried++)
	{
		int			wait;

		(*count)++;
		if (cmk_http_perform(v->http, req, ans, out) < 0)
			return -1;
		if (tried == tries || !is_worth_a_retry(ans->status, req->local))
			return 0;
		wait = backoff(tried, cmk_http_retry_after(ans->retry_after, ans->date,
												   time(NULL)));
		if (wait >= req->deadline - cmk_http_clock())
			return 0;
		if (cmk_http_sleep(v->http, wait, out) < 0)
			return cmk_fail_detail(&out->err,
								   "The last answer was %d.%s%s", ans->status,
								   ans->request_id[0] != '\0' ? " Request id: " : "",
								   ans->request_id);
	}
}

int
cmk_outcome_config(CmkOutcome *out, const CmkError *err)
{
	CmkError	copy = *err;

	cmk_outcome(out, CMK_REASON_CONFIG, "%s", copy.message);
	if (copy.hint[0] == '\0')
		cmk_fail_hint(&copy, "%s", out->err.hint);
	out->err = copy;
	return -1;
}
