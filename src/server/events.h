/*
 * events.h
 *	  What happened to the keys: kept in pg_cmk/events across restarts, shown by
 *	  cmk.events, and told to pg_cmk.event_command.
 *
 * In the worker only:
 *
 *		cmk_events_start();
 *		for (;;)
 *		{
 *			cmk_event("state", &status, "one sentence");
 *			WaitLatch(…, cmk_events_reap(), …);
 *		}
 *		cmk_events_stop();
 */
#ifndef CMK_EVENTS_H
#define CMK_EVENTS_H

#include "postgres.h"

#include "worker.h"

/* The older file is the one that the newer one became when it was full. */
#define CMK_EVENTS_FILE		"pg_cmk/events"
#define CMK_EVENTS_OLDER	"pg_cmk/events.1"

/* Such a file is full; the two together are what is kept. */
#define CMK_EVENTS_MAX		(1024 * 1024)

/* Milliseconds since 1970-01-01 00:00:00 UTC, as times are written in files. */
extern int64 cmk_unix_ms(TimestampTz t);

/* The settings of events; for _PG_init. */
extern void cmk_events_init(void);

/* When the worker begins, before the first event; notes "worker started". */
extern void cmk_events_start(void);

/*
 * Notes that something happened to the keys, and runs pg_cmk.event_command if it is
 * a change of state.  event is one of the stable names of docs/monitoring.md ("state",
 * "root created", "key version adopted", "key set", "recipient added",
 * "recipient dropped", "root rotated", "lockdown", "alarm"); detail is one sentence or "".
 * In the worker only; never throws: what cannot be written is logged.
 */
extern void cmk_event(const char *event, const CmkStatus *st, const char *detail);

/*
 * Reaps event commands that have ended, and ends those that run too long; for the
 * worker's loop.  Never waits.  Returns in how many milliseconds it wants to be
 * called again, if the latch is not set before by one that ends; 60000 at most.
 */
extern long cmk_events_reap(void);

/*
 * When the worker ends in order: notes "worker stopped" and ends the commands that
 * still run, which takes half a second at most.
 */
extern void cmk_events_stop(void);

#endif							/* CMK_EVENTS_H */
