/*
 * lockdown.h
 *	  pg_cmk.on_inaccessible = lockdown: nothing that opens anything stays in memory.
 */
#ifndef CMK_LOCKDOWN_H
#define CMK_LOCKDOWN_H

#include "postgres.h"

#include "worker.h"

/* Makes what outlives a crash restart; for _PG_init, in the postmaster. */
extern void cmk_lockdown_init(void);

/*
 * Closes the server: ends all sessions, has everything written, and ends every
 * process, so that the postmaster begins anew without a key.  For the worker; does
 * not return, unless the server is locked down already (then it does nothing).
 */
extern void cmk_lockdown(const CmkStatus *st);

/*
 * For the postmaster, when it makes shared memory anew after a crash restart: was
 * this a lockdown?  Then the key region is wiped and made anew, and *st is what the
 * server was closed with.
 */
extern bool cmk_lockdown_begins(CmkStatus *st);

#endif							/* CMK_LOCKDOWN_H */
