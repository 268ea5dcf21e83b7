/*
 * reexec.h
 *	  How the seam gets into the server process.
 */
#ifndef CMK_REEXEC_H
#define CMK_REEXEC_H

/*
 * Called by _PG_init in the postmaster or a standalone backend.  Returns if the
 * seam is in the process; else executes the server again, in place, with the
 * seam preloaded.  ereport(FATAL) if that cannot be done, or was done and the
 * seam is still not there.
 */
extern void cmk_require_seam(void);

#endif							/* CMK_REEXEC_H */
