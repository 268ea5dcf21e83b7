/*
 * exchange.h
 *	  Asking a running server through a file; the other side is server/reqfile.c.
 *
 *		rc = cmk_ask_server(server.pid, "set-key", url, 60, &answer, &err);
 *		rc == CMK_ASKED_ANSWERED: answer is filled
 */
#ifndef CMK_EXCHANGE_H
#define CMK_EXCHANGE_H

#include <stdbool.h>
#include <sys/types.h>

#include "../seal/error.h"

typedef struct CmkAnswer
{
	bool		ok;
	char		state[32];		/* as in cmk.status */
	char		reason[64];		/* "" if ok */
	char		message[512];
	char		detail[512];
	char		hint[512];
} CmkAnswer;

#define CMK_ASKED_ANSWERED	0
#define CMK_ASKED_NOT		(-1)	/* err says why; the server will not do it */
#define CMK_ASKED_UNKNOWN	1	/* err says why; it may do it, or have done it */

/*
 * Writes the request, sends SIGHUP to the postmaster, and waits at most wait_s
 * seconds for the answer; on a terminal dots show that it waits.  A request that
 * the server has not taken by then, or at SIGINT or SIGTERM, is withdrawn.
 * The caller holds cmk_datadir_lock().  url may be NULL.
 */
extern int	cmk_ask_server(pid_t postmaster, const char *request, const char *url,
						   int wait_s, CmkAnswer *answer, CmkError *err);

#endif							/* CMK_EXCHANGE_H */
