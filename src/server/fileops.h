/*
 * fileops.h
 *	  The table of functions that is registered with the seam.
 */
#ifndef CMK_FILEOPS_H
#define CMK_FILEOPS_H

#include "../seam/seam.h"

extern const CmkSeamOps cmk_file_ops;

#endif							/* CMK_FILEOPS_H */
