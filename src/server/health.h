/*
 * health.h
 *	  The state of the customer's key, and what an outcome does to it.
 *
 *		Unconfigured -> Starting -> Ready <-> Degraded -> Inaccessible -> Ready
 *
 * Plain C without a clock of its own: whoever asks the vault feeds each outcome
 * with the time at which it came, and does what the step says.
 *
 *		cmk_health_start(&h);
 *		step = cmk_health_feed(&h, &config, &outcome, now);
 *		if (step.changed) ...			-- tell the log, end sessions
 *		wait(step.next_ms);				-- the time of the next try
 *
 * - Yes makes it Ready, from any state.
 * - A clear no makes it Inaccessible; if its reason wants to be confirmed, only
 *	 when a second try on a new connection, a twelfth of the interval later but
 *	 still inside it, says no too.
 * - A maybe makes it Degraded, and Inaccessible when no yes has come for the grace
 *	 period.
 * - Whatever it was: Inaccessible when the hard deadline has passed since the last
 *	 yes.  The gate asks cmk_health_closed() itself, so that a worker that hangs
 *	 or died cannot keep the server open.
 * - Before the first yes it stays Starting: there is nothing to be taken away.  But
 *	 after a crash the root is still open, and what closes a Ready server makes it
 *	 Inaccessible, too.
 *
 * The longest wait between two looks is ten twelfths of the interval, whatever a
 * Retry-After asks for, so that what happens to the key is acted upon within the
 * interval, and its return noticed.
 *
 * Times are milliseconds of CLOCK_BOOTTIME, which goes on while the machine
 * sleeps and does not jump.
 */
#ifndef CMK_HEALTH_H
#define CMK_HEALTH_H

#include "../vault/outcome.h"

typedef enum CmkState
{
	CMK_STATE_UNCONFIGURED,
	CMK_STATE_STARTING,
	CMK_STATE_READY,
	CMK_STATE_DEGRADED,
	CMK_STATE_INACCESSIBLE
} CmkState;

/* Azure's promise: connections are denied within 10 minutes. */
#define CMK_HARD_DEADLINE_MS	(10 * 60 * 1000)

typedef struct CmkHealthConfig
{
	int64_t		interval_ms;	/* pg_cmk.revalidate_interval */
	int64_t		grace_ms;		/* pg_cmk.grace_period */
	int64_t		deadline_ms;	/* since the last yes */
} CmkHealthConfig;

typedef struct CmkHealth
{
	CmkState	state;
	bool		open;			/* in Starting: the root is open already */
	CmkReason	reason;			/* why it is not Ready; NONE in Ready */
	int64_t		last_yes;		/* 0: never */
	int64_t		first_maybe;	/* of the present row of maybes; 0: none */
	CmkReason	unconfirmed;	/* a clear no that waits for its second look */
	int			failures;		/* in a row, for the pace of retries */
} CmkHealth;

typedef struct CmkHealthStep
{
	bool		changed;		/* the state is another one */
	bool		fresh;			/* make the next try on a new connection */
	int64_t		next_ms;		/* from now to the next try, before jitter */
} CmkHealthStep;

/* A key is configured, nothing is known of it. */
extern void cmk_health_start(CmkHealth *h);

/* What a try at the key came to, at that time: the new state, and what to do next. */
extern CmkHealthStep cmk_health_feed(CmkHealth *h, const CmkHealthConfig *config,
									 const CmkOutcome *outcome, int64_t now);

/* Must new connections be denied?  Async-signal-safe. */
extern bool cmk_health_closed(const CmkHealth *h, const CmkHealthConfig *config,
							  int64_t now);

/* "Unconfigured", "Starting", … as cmk.status shows them. */
extern const char *cmk_state_name(CmkState state);

#endif							/* CMK_HEALTH_H */
