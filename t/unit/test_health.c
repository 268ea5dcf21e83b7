/*
 * test_health.c
 *	  What each outcome does to the state of the key, and when the gate closes.
 */
#include "../../src/server/health.h"
#include "unit.h"

static const CmkHealthConfig config = {
	.interval_ms = 60000, .grace_ms = 300000, .deadline_ms = CMK_HARD_DEADLINE_MS
};

static CmkOutcome
outcome(CmkReason reason)
{
	CmkOutcome	o;

	memset(&o, 0, sizeof(o));
	o.reason = reason;
	o.verdict = cmk_reason_verdict(reason);
	o.confirm = cmk_reason_confirm(reason);
	return o;
}

static CmkHealthStep
feed(CmkHealth *h, CmkReason reason, int64_t now)
{
	CmkOutcome	o = outcome(reason);

	return cmk_health_feed(h, &config, &o, now);
}

static CmkHealth
ready_at(int64_t now)
{
	CmkHealth	h;

	cmk_health_start(&h);
	feed(&h, CMK_REASON_NONE, now);
	return h;
}

static void
starting_stays_starting_until_a_yes(void)
{
	CmkHealth	h;

	cmk_health_start(&h);
	CHECK(cmk_health_closed(&h, &config, 1));
	CHECK(!feed(&h, CMK_REASON_KEY_DISABLED, 1000).changed);
	CHECK(!feed(&h, CMK_REASON_TIMEOUT, 2000000).changed);
	CHECK_INT(h.state, CMK_STATE_STARTING);
	CHECK_INT(h.reason, CMK_REASON_TIMEOUT);
	CHECK(feed(&h, CMK_REASON_NONE, 2000001).changed);
	CHECK_INT(h.state, CMK_STATE_READY);
	CHECK_INT(h.reason, CMK_REASON_NONE);
	CHECK(!cmk_health_closed(&h, &config, 2000001));
}

/* After a crash: closed until the first yes, but what is open can be lost. */
static void
starting_with_an_open_root_can_become_inaccessible(void)
{
	CmkHealth	h;

	cmk_health_start(&h);
	h.open = true;
	feed(&h, CMK_REASON_KEY_NOT_FOUND, 1000);
	CHECK_INT(h.state, CMK_STATE_STARTING);
	CHECK(cmk_health_closed(&h, &config, 1000));
	CHECK(feed(&h, CMK_REASON_KEY_NOT_FOUND, 6000).changed);
	CHECK_INT(h.state, CMK_STATE_INACCESSIBLE);

	cmk_health_start(&h);
	h.open = true;
	feed(&h, CMK_REASON_TIMEOUT, 1000);
	feed(&h, CMK_REASON_TIMEOUT, 1000 + config.grace_ms - 1);
	CHECK_INT(h.state, CMK_STATE_STARTING);
	CHECK(feed(&h, CMK_REASON_TIMEOUT, 1000 + config.grace_ms).changed);
	CHECK_INT(h.state, CMK_STATE_INACCESSIBLE);
}

static void
a_clear_no_closes_at_once(void)
{
	CmkHealth	h = ready_at(1000);
	CmkHealthStep step = feed(&h, CMK_REASON_KEY_DISABLED, 61000);

	CHECK(step.changed);
	CHECK_INT(h.state, CMK_STATE_INACCESSIBLE);
	CHECK(cmk_health_closed(&h, &config, 61000));
	CHECK(feed(&h, CMK_REASON_NONE, 62000).changed);
	CHECK_INT(h.state, CMK_STATE_READY);
}

static void
a_no_that_may_be_propagation_is_asked_twice(void)
{
	CmkHealth	h = ready_at(1000);
	CmkHealthStep step = feed(&h, CMK_REASON_FORBIDDEN_BY_RBAC, 61000);

	CHECK_INT(h.state, CMK_STATE_DEGRADED);
	CHECK(!cmk_health_closed(&h, &config, 61000));
	CHECK(step.fresh);
	CHECK(step.next_ms >= 5000 && step.next_ms < config.interval_ms);
	feed(&h, CMK_REASON_NONE, 66000);
	CHECK_INT(h.state, CMK_STATE_READY);

	feed(&h, CMK_REASON_KEY_NOT_FOUND, 126000);
	CHECK_INT(h.state, CMK_STATE_DEGRADED);
	feed(&h, CMK_REASON_FORBIDDEN_BY_RBAC, 131000);
	CHECK_INT(h.state, CMK_STATE_INACCESSIBLE);
}

static void
a_maybe_between_two_noes_confirms_nothing(void)
{
	CmkHealth	h = ready_at(1000);

	feed(&h, CMK_REASON_KEY_NOT_FOUND, 61000);
	feed(&h, CMK_REASON_TIMEOUT, 66000);
	feed(&h, CMK_REASON_KEY_NOT_FOUND, 76000);
	CHECK_INT(h.state, CMK_STATE_DEGRADED);
}

static void
a_maybe_closes_after_the_grace_period(void)
{
	CmkHealth	h = ready_at(1000);

	feed(&h, CMK_REASON_DNS, 61000);
	CHECK_INT(h.state, CMK_STATE_DEGRADED);
	feed(&h, CMK_REASON_THROTTLED, 61000 + config.grace_ms - 1);
	CHECK_INT(h.state, CMK_STATE_DEGRADED);
	feed(&h, CMK_REASON_THROTTLED, 61000 + config.grace_ms);
	CHECK_INT(h.state, CMK_STATE_INACCESSIBLE);
	feed(&h, CMK_REASON_NONE, 61000 + config.grace_ms + 1);
	CHECK_INT(h.state, CMK_STATE_READY);

	/* the grace period begins anew */
	feed(&h, CMK_REASON_DNS, 500000);
	CHECK_INT(h.state, CMK_STATE_DEGRADED);
}

static void
the_hard_deadline_needs_no_worker(void)
{
	CmkHealth	h = ready_at(1000);

	CHECK(!cmk_health_closed(&h, &config, 1000 + CMK_HARD_DEADLINE_MS - 1));
	CHECK(cmk_health_closed(&h, &config, 1000 + CMK_HARD_DEADLINE_MS));
	CHECK_INT(h.state, CMK_STATE_READY);
	feed(&h, CMK_REASON_DNS, 1000 + CMK_HARD_DEADLINE_MS);
	CHECK_INT(h.state, CMK_STATE_INACCESSIBLE);
}

/*
 * From the loss to the state: the longest wait, the wait for the second look, and
 * time for the looks, whatever went before.
 */
static void
a_no_is_confirmed_within_the_interval(void)
{
	CmkHealth	h = ready_at(1000);
	int64_t		longest = feed(&h, CMK_REASON_NONE, 2000).next_ms;
	int			i;

	CHECK(longest + feed(&h, CMK_REASON_KEY_NOT_FOUND, 3000).next_ms <=
		  config.interval_ms - 5000);

	feed(&h, CMK_REASON_NONE, 4000);
	for (i = 0; i < 10; i++)
		CHECK(feed(&h, CMK_REASON_THROTTLED, 5000 + i).next_ms <= longest);
	CHECK_INT(feed(&h, CMK_REASON_KEY_NOT_FOUND, 6000).next_ms, 5000);
	feed(&h, CMK_REASON_KEY_NOT_FOUND, 7000);
	CHECK_INT(h.state, CMK_STATE_INACCESSIBLE);
}

static void
retries_slow_down_but_not_beyond_the_longest_wait(void)
{
	CmkHealth	h = ready_at(1000);
	int64_t		last = 0;
	int			i;

	for (i = 0; i < 20; i++)
	{
		int64_t		next = feed(&h, CMK_REASON_CONNECT, 2000 + i).next_ms;

		CHECK(next >= last && next <= config.interval_ms);
		last = next;
	}
	CHECK_INT(last, config.interval_ms * 10 / 12);
	CHECK_INT(feed(&h, CMK_REASON_NONE, 3000).next_ms, config.interval_ms * 10 / 12);
	CHECK_INT(feed(&h, CMK_REASON_CONNECT, 4000).next_ms, config.interval_ms / 12);
}

static void
a_retry_after_is_kept_within_the_interval(void)
{
	CmkHealth	h = ready_at(1000);
	CmkOutcome	o = outcome(CMK_REASON_THROTTLED);

	o.retry_after_ms = 20000;
	CHECK_INT(cmk_health_feed(&h, &config, &o, 2000).next_ms, 20000);
	o.retry_after_ms = 3600000;
	CHECK_INT(cmk_health_feed(&h, &config, &o, 3000).next_ms, config.interval_ms * 10 / 12);
}

static void
unconfigured_is_open(void)
{
	CmkHealth	h;

	memset(&h, 0, sizeof(h));
	CHECK_INT(h.state, CMK_STATE_UNCONFIGURED);
	CHECK(!cmk_health_closed(&h, &config, 1000000000));
	CHECK_STR(cmk_state_name(h.state), "Unconfigured");
	CHECK_STR(cmk_state_name(CMK_STATE_INACCESSIBLE), "Inaccessible");
}

int
main(void)
{
	RUN(starting_stays_starting_until_a_yes);
	RUN(starting_with_an_open_root_can_become_inaccessible);
	RUN(a_clear_no_closes_at_once);
	RUN(a_no_that_may_be_propagation_is_asked_twice);
	RUN(a_maybe_between_two_noes_confirms_nothing);
	RUN(a_maybe_closes_after_the_grace_period);
	RUN(the_hard_deadline_needs_no_worker);
	RUN(a_no_is_confirmed_within_the_interval);
	RUN(retries_slow_down_but_not_beyond_the_longest_wait);
	RUN(a_retry_after_is_kept_within_the_interval);
	RUN(unconfigured_is_open);
	return unit_done();
}
