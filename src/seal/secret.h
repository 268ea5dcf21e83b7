/*
 * secret.h
 *	  Memory that holds keys: one mapping, shared over fork, out of core dumps.
 *
 * The region is an anonymous shared mapping between two guard pages, created by
 * the postmaster before it forks and inherited by every server process.  It is
 * excluded from core dumps (MADV_DONTDUMP), and is not there any more after an
 * exec.  Pages are locked as they are touched (mlock2 with MLOCK_ONFAULT) as
 * far as RLIMIT_MEMLOCK allows.  Locks are not inherited by fork, so a child
 * calls cmk_secret_lock() for the part that it touches most.  The region is
 * wiped on exit by its creator alone, because atexit handlers run in every
 * forked child.
 */
#ifndef CMK_SECRET_H
#define CMK_SECRET_H

#include "error.h"

typedef struct CmkSecretRegion
{
	void	   *base;			/* first usable byte, page-aligned */
	size_t		size;			/* usable bytes, a multiple of the page size */
	size_t		locked;			/* bytes that mlock2 accepted; from base on */
	int			creator;		/* pid that may wipe it */
} CmkSecretRegion;

/*
 * Maps a region of at least size bytes, zeroed, not yet backed by memory
 * (MAP_NORESERVE): only what is touched costs.  want_locked is how many bytes
 * from base should be locked on fault; if RLIMIT_MEMLOCK allows fewer, as many
 * whole pages as it allows are, and region->locked tells.  0, or -1 with err.
 */
extern int	cmk_secret_create(CmkSecretRegion *region, size_t size,
							  size_t want_locked, CmkError *err);

/* Locks on fault in this process what region->locked says; errors ignored. */
extern void cmk_secret_lock(const CmkSecretRegion *region);

/*
 * Zeroes all that was touched of the region and returns its memory to the
 * system, if the caller is its creator; else does nothing.  Async-signal-safe.
 */
extern void cmk_secret_wipe(const CmkSecretRegion *region);

/* Wipes and unmaps; for tests.  Creator only. */
extern void cmk_secret_destroy(CmkSecretRegion *region);

/*
 * Makes this process and those it forks leave no core dump: RLIMIT_CORE soft
 * and hard become 1 byte, which the kernel takes as "none" for files and for
 * core_pattern pipes alike (core(5)).  A dump of a server process would hold
 * plain pages and key schedules.  Where the hard limit is 0 already and may not
 * be raised, the process is made undumpable instead (prctl(2)).  0, or -1.
 */
extern int	cmk_secret_no_core(CmkError *err);

#endif							/* CMK_SECRET_H */
