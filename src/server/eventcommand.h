/*
 * eventcommand.h
 *	  pg_cmk.event_command: the program that is told of each change of state.
 */
#ifndef CMK_EVENTCOMMAND_H
#define CMK_EVENTCOMMAND_H

#include "postgres.h"

extern char *cmk_event_command;

/* The settings; for _PG_init. */
extern void cmk_eventcommand_init(void);

/* When the worker begins: its latch is set when a command ends. */
extern void cmk_eventcommand_start(void);

/*
 * Runs the command, if one is set, with these three arguments.  Returns once the
 * program has begun or could not; never throws, what failed is logged.
 */
extern void cmk_eventcommand_run(const char *state, const char *reason, const char *time);

/* As cmk_events_reap() and, for the commands, cmk_events_stop(). */
extern long cmk_eventcommand_reap(void);
extern void cmk_eventcommand_stop(void);

#endif							/* CMK_EVENTCOMMAND_H */
