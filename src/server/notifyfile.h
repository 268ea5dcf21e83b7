/*
 * notifyfile.h
 *	  pg_notify: the payloads of NOTIFY, on their way to the disk.
 */
#ifndef CMK_NOTIFYFILE_H
#define CMK_NOTIFYFILE_H

#include "../seam/seam.h"

/* The room of CMK_FILE_NOTIFY in the table of fileops.c. */
extern const CmkSeamOps cmk_notifyfile_ops;

#endif							/* CMK_NOTIFYFILE_H */
