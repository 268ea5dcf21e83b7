/*
 * datadir.h
 *	  A data directory, seen from outside the server: whose it is, whether a server
 *	  runs in it, and what it will do when it starts.
 *
 *		if (cmk_datadir_enter(path, &err) < 0 ||
 *			cmk_datadir_postmaster(&server, &err) < 0) …
 *		if (server.pid == 0) …				-- it is stopped
 */
#ifndef CMK_DATADIR_H
#define CMK_DATADIR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "../seal/error.h"

typedef struct CmkServer
{
	pid_t		pid;			/* 0: stopped */
	bool		standalone;		/* a single-user server */
} CmkServer;

/*
 * Makes path the current directory, after checking that it is a data directory of
 * PostgreSQL 15 that belongs to this process's user.  0 or -1.
 */
extern int	cmk_datadir_enter(const char *path, CmkError *err);

/*
 * The server that runs here.  As pg_ctl does: postmaster.pid names a process that is
 * alive and neither this one nor its parent; and, where that can be seen, one whose
 * program is postgres and whose current directory is this one, so that a pid that
 * is somebody else's by now is no server.  Where the directory cannot be seen, the
 * one that the file names must be this one.  0; -1 if the file makes no sense.
 */
extern int	cmk_datadir_postmaster(CmkServer *server, CmkError *err);

/* Did the last start's command line (postmaster.opts) set this? */
extern bool cmk_datadir_set_by_command_line(const char *name);

/*
 * One pg_cmk command at a time: held until the process ends.  0, or -1 if another
 * one has it.  On a file system without such locks everybody gets it.
 */
extern int	cmk_datadir_lock(CmkError *err);

/* What pg_control says. */
typedef struct CmkControl
{
	uint64_t	sysid;
	uint64_t	redo;			/* where recovery would begin without backup_label */
	uint32_t	catalog_version;
	uint32_t	segment_blocks; /* of a relation */
	uint32_t	wal_segment;	/* bytes */
	bool		checksums;
	bool		clean;			/* shut down in order, also on a standby */
} CmkControl;

/* 0; -1 if the file is not there, not of this version, or makes no sense. */
extern int	cmk_datadir_control(CmkControl *control, CmkError *err);

/* The system identifier, from pg_control.  0 or -1. */
extern int	cmk_datadir_sysid(uint64_t *sysid, CmkError *err);

/*
 * Will WAL of another server, or of a later time than the files, be replayed here?
 * So after a base backup, on a standby, and when a recovery was broken off.
 */
extern bool cmk_datadir_is_copy(void);

#endif							/* CMK_DATADIR_H */
