/*
 * health.c
 *	  The state of the customer's key.  See health.h.
 */
#include <string.h>

#include "health.h"

/*
 * The interval is a promise: within it, whatever happens to the key is acted upon.
 * So the longest wait leaves two twelfths of it: one for the wait before a no is
 * confirmed, one for the two looks themselves, which take a few requests each.
 */
#define RETRY_PART		12
#define LONGEST_WAIT(config)	((config)->interval_ms / RETRY_PART * (RETRY_PART - 2))

void
cmk_health_start(CmkHealth *h)
{
	memset(h, 0, sizeof(*h));
	h->state = CMK_STATE_STARTING;
}

/*
 * The pace while things are not well: a twelfth of the interval, doubled with
 * each failure up to the longest wait, so that a short trouble is over soon and
 * a long one asks for little.
 */
static int64_t
retry_ms(const CmkHealth *h, const CmkHealthConfig *config)
{
	int64_t		ms = config->interval_ms / RETRY_PART;
	int			i;

	for (i = 1; i < h->failures && ms < LONGEST_WAIT(config); i++)
		ms *= 2;
	return ms;
}

static bool
deadline_passed(const CmkHealth *h, const CmkHealthConfig *config, int64_t now)
{
	return h->last_yes != 0 && now - h->last_yes >= config->deadline_ms;
}

static void
feed_yes(CmkHealth *h, int64_t now)
{
	h->state = CMK_STATE_READY;
	h->reason = CMK_REASON_NONE;
	h->last_yes = now;
	h->first_maybe = 0;
	h->unconfirmed = CMK_REASON_NONE;
	h->failures = 0;
}

/* Returns whether this no counts. */
static bool
feed_no(CmkHealth *h, const CmkOutcome *outcome)
{
	bool		counts = !outcome->confirm || h->unconfirmed != CMK_REASON_NONE;

	h->unconfirmed = outcome->reason;
	return counts;
}

/* Returns whether it has lasted too long. */
static bool
feed_maybe(CmkHealth *h, const CmkHealthConfig *config, int64_t now)
{
	if (h->first_maybe == 0)
		h->first_maybe = now;
	h->unconfirmed = CMK_REASON_NONE;
	return now - h->first_maybe >= config->grace_ms;
}

CmkHealthStep
cmk_health_feed(CmkHealth *h, const CmkHealthConfig *config,
				const CmkOutcome *outcome, int64_t now)
{
	CmkHealthStep step = {false, false, LONGEST_WAIT(config)};
	CmkState	before = h->state;
	bool		lost;

	if (outcome->verdict == CMK_VERDICT_YES)
	{
		feed_yes(h, now);
		step.changed = h->state != before;
		return step;
	}

	h->failures++;
	h->reason = outcome->reason;
	if (outcome->verdict == CMK_VERDICT_NO)
		lost = feed_no(h, outcome);
	else
		lost = feed_maybe(h, config, now);

	if (lost || deadline_passed(h, config, now))
	{
		if (before != CMK_STATE_STARTING || h->open)
			h->state = CMK_STATE_INACCESSIBLE;
	}
	else if (before != CMK_STATE_STARTING && before != CMK_STATE_INACCESSIBLE)
		h->state = CMK_STATE_DEGRADED;

	step.changed = h->state != before;
	step.fresh = true;
	if (outcome->verdict == CMK_VERDICT_NO && !lost)
		step.next_ms = config->interval_ms / RETRY_PART;
	else
		step.next_ms = retry_ms(h, config);
	if (outcome->retry_after_ms > step.next_ms)
		step.next_ms = outcome->retry_after_ms;
	if (step.next_ms > LONGEST_WAIT(config))
		step.next_ms = LONGEST_WAIT(config);
	return step;
}

bool
cmk_health_closed(const CmkHealth *h, const CmkHealthConfig *config,
				  int64_t now)
{
	switch (h->state)
	{
		case CMK_STATE_UNCONFIGURED:
			return false;
		case CMK_STATE_STARTING:
		case CMK_STATE_INACCESSIBLE:
			return true;
		case CMK_STATE_READY:
		case CMK_STATE_DEGRADED:
			break;
	}
	return deadline_passed(h, config, now);
}

const char *
cmk_state_name(CmkState state)
{
	switch (state)
	{
		case CMK_STATE_UNCONFIGURED:
			return "Unconfigured";
		case CMK_STATE_STARTING:
			return "Starting";
		case CMK_STATE_READY:
			return "Ready";
		case CMK_STATE_DEGRADED:
			return "Degraded";
		case CMK_STATE_INACCESSIBLE:
			return "Inaccessible";
	}
	return "?";
}
