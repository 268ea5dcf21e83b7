/*
 * proof.h
 *	  That the seam really stands between the server and its files.
 */
#ifndef CMK_PROOF_H
#define CMK_PROOF_H

/* Registers the page functions with the seam.  ereport(FATAL) on failure. */
extern void cmk_register_seam(void);

/*
 * Writes a page through the server's own file functions, reads it back around the
 * seam and through it, and compares.  ereport(FATAL) if the bytes on disk are
 * plain, or anything else is not as it must be.  Needs the registry and the key
 * cache; once, in the postmaster or a standalone backend.
 */
extern void cmk_prove_seam(void);

#endif							/* CMK_PROOF_H */
