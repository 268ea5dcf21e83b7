/*
 * statusfile.h
 *	  pg_cmk/status.json: cmk.status for those who cannot connect.
 */
#ifndef CMK_STATUSFILE_H
#define CMK_STATUSFILE_H

#include "postgres.h"

#include "worker.h"

#define CMK_STATUS_FILE		"pg_cmk/status.json"

/* Replaces the file; in the worker, after each look at the key.  Never throws. */
extern void cmk_write_status_file(const CmkStatus *st);

/* The same, when the worker begins and when it ends in order. */
extern void cmk_write_own_status(bool running);

#endif							/* CMK_STATUSFILE_H */
