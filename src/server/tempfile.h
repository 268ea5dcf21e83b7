/*
 * tempfile.h
 *	  Files of any length, on their way to the disk: those that live as long as the
 *	  server at most, and some that outlive it.
 *
 * These are the functions that the seam calls for
 *
 *	- temporary files: what sorts, hashes, materialised results and index builds
 *	  do not keep in memory, in files of one process or of several;
 *	- what logical decoding spills of large transactions;
 *	- the query texts of pg_stat_statements, and the file in which it keeps them
 *	  while the server is down;
 *	- prepared transactions that a checkpoint met, with the identifiers that the
 *	  application gave them.
 *
 * They are sealed files of any length (unitfile.h), a head longer on disk than the
 * server knows: lseek, fstat, stat and ftruncate are answered here.
 * Plain C: no lock but for the query texts, no allocation, nothing is thrown.
 */
#ifndef CMK_TEMPFILE_H
#define CMK_TEMPFILE_H

#include "../seam/seam.h"

typedef struct CmkTempHooks
{
	/*
	 * Must what outlives the server be sealed?  False: no key is configured.
	 */
	bool		(*configured) (void);
} CmkTempHooks;

/* Must stay valid. */
extern void cmk_tempfile_init(const CmkTempHooks *hooks);

/* Parts of the table that fileops.c makes; opening() claims the kinds above. */
extern const CmkSeamOps cmk_tempfile_ops;

#endif							/* CMK_TEMPFILE_H */
