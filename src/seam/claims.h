/*
 * claims.h
 *	  Which descriptors are claimed, and by whom.
 *
 *		CmkSeamFile *file = cmk_claim(fd);
 *
 *		if (file != NULL)
 *			return cmk_seam_ops->pread(file, fd, buf, n, off);
 *
 * cmk_claim() is what every interposed call begins with: two loads for a
 * descriptor that is not claimed, no lock, no system call, errno untouched.
 * Before a table of functions is registered nothing is claimed, so cmk_seam_ops
 * is never NULL where cmk_claim() is not.
 */
#ifndef CMK_SEAM_CLAIMS_H
#define CMK_SEAM_CLAIMS_H

#include "seam.h"

#define CMK_CLAIM_CHUNK		1024
#define CMK_CLAIM_CHUNKS	(CMK_SEAM_MAX_FD / CMK_CLAIM_CHUNK)

extern CMK_SEAM_HIDDEN const CmkSeamOps *cmk_seam_ops;
extern CMK_SEAM_HIDDEN CmkSeamFile *cmk_claim_chunks[CMK_CLAIM_CHUNKS];

/* The claim on fd, any int; NULL if there is none.  Async-signal-safe. */
static inline CmkSeamFile *
cmk_claim(int fd)
{
	unsigned int place = (unsigned int) fd; /* negative: beyond the end */
	CmkSeamFile *file;

	if (place >= CMK_SEAM_MAX_FD)
		return NULL;
	file = cmk_claim_chunks[place / CMK_CLAIM_CHUNK];
	if (file == NULL)
		return NULL;
	file += place % CMK_CLAIM_CHUNK;
	return file->kind != 0 ? file : NULL;
}

/*
 * Makes sure that fd could be claimed, so that cmk_claim_set() cannot fail.
 * 0; -1 with EMFILE beyond CMK_SEAM_MAX_FD, ENOMEM without memory.
 */
extern CMK_SEAM_HIDDEN int cmk_claim_reserve(int fd);

/* Writes down the claim on a descriptor that was reserved. */
extern CMK_SEAM_HIDDEN void cmk_claim_set(int fd, const CmkSeamFile *file);

/*
 * Forgets what is known of a number that the kernel has just given out anew.
 * Its owner is not told: what it knew of has long been closed.
 */
extern CMK_SEAM_HIDDEN void cmk_claim_forget(int fd);

/*
 * Ends the claim on fd, if there is one, before fd is closed: tells the owner,
 * then forgets.  errno is kept.
 */
extern CMK_SEAM_HIDDEN void cmk_claim_end(int fd);

#endif							/* CMK_SEAM_CLAIMS_H */
