/*
 * sessions.h
 *	  Those who are connected, when the server closes.
 */
#ifndef CMK_SESSIONS_H
#define CMK_SESSIONS_H

#include "postgres.h"

typedef enum CmkSessions
{
	CMK_WALSENDERS,				/* only these */
	CMK_CLIENTS,				/* and all other sessions of clients */
	CMK_WITH_DATABASE			/* and background workers that have a database open,
								 * autovacuum's included */
} CmkSessions;

/*
 * Sends a signal to all of these but this process; returns how many there were.  In
 * a process that has a PGPROC; takes a lock.
 */
extern int	cmk_signal_sessions(int signo, CmkSessions which);

#endif							/* CMK_SESSIONS_H */
