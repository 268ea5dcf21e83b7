/*
 * events.h
 *	  What happened to the keys: kept in pg_cmk/events across restarts, shown by
 *	  cmk.events, and told to pg_cmk.event_command.
 */
#ifndef CMK_EVENTS_H
#define CMK_EVENTS_H

#include "postgres.h"

#include "worker.h"

/* The settings of events; for _PG_init. */
extern void cmk_events_init(void);

/*
 * Notes that something happened to the keys, and runs pg_cmk.event_command if it is
 * a change of state.  event is one of the stable names of docs/monitoring.md ("state",
 * "root created", "key version adopted", "key set", "recipient added",
 * "recipient dropped", "root rotated", "lockdown", "alarm"); detail is one sentence or "".
 * In the worker only; never throws: what cannot be written is logged.
 */
extern void cmk_event(const char *event, const CmkStatus *st, const char *detail);

/* Reaps event commands that have ended; for the worker's loop.  Never waits. */
extern void cmk_events_reap(void);

#endif							/* CMK_EVENTS_H */
