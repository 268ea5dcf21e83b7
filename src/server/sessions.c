/*
 * sessions.c
 *	  Those who are connected.  See sessions.h.
 *
 * They are found by their backend ids: the PGPROC of one that has gone keeps its
 * process id and its database, which may then be another process's.
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/proc.h"
#include "storage/sinvaladt.h"

#include "compat.h"
#include "sessions.h"

static bool
is_walsender(int pid)
{
	for (int i = 0; i < max_wal_senders; i++)
		if (WalSndCtl->walsnds[i].pid == pid)
			return true;
	return false;
}

static bool
is_meant(const PGPROC *proc, CmkSessions which)
{
	switch (which)
	{
		case CMK_WITH_DATABASE:
			if (OidIsValid(proc->databaseId))
				return true;
			break;
		case CMK_CLIENTS:
			if (OidIsValid(proc->databaseId) && OidIsValid(proc->roleId))
				return true;
			break;
		case CMK_WALSENDERS:
			break;
	}
	return is_walsender(proc->pid);
}

int
cmk_signal_sessions(int signo, CmkSessions which)
{
	int			n = 0;

	for (int id = 1; id <= MaxBackends; id++)
	{
		PGPROC	   *proc = BackendIdGetProc(id);

		if (proc == NULL || proc->pid == 0 || proc->pid == MyProcPid ||
			!is_meant(proc, which))
			continue;
		n++;
		(void) kill(proc->pid, signo);
	}
	return n;
}
