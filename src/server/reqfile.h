/*
 * reqfile.h
 *	  Requests of the pg_cmk command, which come as a file.
 *
 * A server that is Inaccessible, or waits for its key, lets nobody in, so whoever
 * brings the key back cannot ask by SQL.  What he can do, as the operating-system
 * user of the server, is write into its data directory and send it a signal:
 *
 *	pg_cmk/request.json		{ "id": "…", "request": "revalidate" }
 *							{ "id": "…", "request": "set-key", "url": "…" }
 *	SIGHUP					to the postmaster, so that the worker looks
 *	pg_cmk/answer.json		{ "id": "…", "ok": true, "state": "Ready", … }
 *
 * id is random, 32 hexadecimal digits, and tells one's own answer from an older
 * one.  docs/command.md has the members.
 *
 * Whoever can write such a file could as well change postgresql.auto.conf, so the
 * file gives nobody more than he has.  That this is so is checked: it must belong
 * to the server's user and be out of everybody else's reach.  And whoever asks holds
 * an exclusive flock() on directory pg_cmk until he has the answer: a file that was
 * left behind is not obeyed.
 *
 *		cmk_serve_request_file(work);
 *		… look at the key …
 *		cmk_answer_request_file();
 */
#ifndef CMK_REQFILE_H
#define CMK_REQFILE_H

#include "postgres.h"

#include "keywork.h"

#define CMK_REQUEST_FILE	"pg_cmk/request.json"
#define CMK_ANSWER_FILE		"pg_cmk/answer.json"

/*
 * In the worker: takes the request file, if there is one, and does what it asks;
 * a look at the key, which both requests end with, is the caller's to take.  A file
 * that is refused is logged and removed.  True if a request is to be answered.
 * Never throws.
 */
extern bool cmk_serve_request_file(CmkKeyWork *work);

/*
 * Answers the request that is unanswered, if there is one, with what came of it and
 * the published state.  Never throws: what cannot be written is logged.
 */
extern void cmk_answer_request_file(void);

#endif							/* CMK_REQFILE_H */
