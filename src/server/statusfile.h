/*
 * statusfile.h
 *	  pg_cmk/status.json: cmk.status for those who cannot connect.
 */
#ifndef CMK_STATUSFILE_H
#define CMK_STATUSFILE_H

#include "postgres.h"

#include "worker.h"

/* Replaces the file; in the worker, after each look at the key.  Never throws. */
extern void cmk_write_status_file(const CmkStatus *st);

#endif							/* CMK_STATUSFILE_H */
