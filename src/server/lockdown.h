/*
 * lockdown.h
 *	  pg_cmk.on_inaccessible = lockdown: nothing that opens anything stays in memory.
 *
 * When the key is gone, the keys that it opened and what they opened go, too.  The
 * worker ends all sessions and has the checkpointer shut down, which leaves a
 * clean shutdown on disk; the postmaster takes the end of the checkpointer for a
 * crash, ends all other processes, and begins anew in place.  No shared buffer,
 * WAL buffer, key schedule or row that a process kept outlives that, and the key
 * region, which does, is wiped by the postmaster when the last other process is
 * gone.  From there on it is a start with an inaccessible key: the startup process
 * waits, the worker asks, clients hear why.
 */
#ifndef CMK_LOCKDOWN_H
#define CMK_LOCKDOWN_H

#include "postgres.h"

#include "worker.h"

/* Makes what outlives a crash restart; for _PG_init, in the postmaster. */
extern void cmk_lockdown_init(void);

/*
 * Locks the server down.  For the worker; does not return, unless no key is in
 * memory.  st is what the server is closed with.
 */
extern void cmk_lockdown(const CmkStatus *st);

/* For the worker's loop: goes on with a lockdown that an error or its end cut short. */
extern void cmk_lockdown_resume(void);

/*
 * Has a lockdown begun, in which this process may open nothing any more?  Cheap; no
 * lock.
 */
extern bool cmk_lockdown_bars(void);

/*
 * For the postmaster, when it makes shared memory: does it begin anew after a
 * lockdown?  Then the key region has been wiped, and *st is what the server was
 * closed with.
 */
extern bool cmk_lockdown_begins(CmkStatus *st);

#endif							/* CMK_LOCKDOWN_H */
