/*
 * report.c
 *	  What the pg_cmk command says.  See cli.h.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli.h"

void
cmk_say(const char *message, const char *detail, const char *hint)
{
	fflush(stdout);
	fprintf(stderr, "pg_cmk: error: %s\n", message);
	if (detail != NULL && detail[0] != '\0')
		fprintf(stderr, "pg_cmk: detail: %s\n", detail);
	if (hint != NULL && hint[0] != '\0')
		fprintf(stderr, "pg_cmk: hint: %s\n", hint);
}

void
cmk_say_error(const CmkError *err)
{
	cmk_say(err->message, err->detail, err->hint);
}

int
cmk_exit_of_state(const char *state)
{
	if (strcmp(state, "Ready") == 0)
		return CMK_EXIT_OK;
	if (strcmp(state, "Degraded") == 0 || strcmp(state, "Starting") == 0)
		return 1;
	if (strcmp(state, "Inaccessible") == 0)
		return 2;
	return CMK_EXIT_UNKNOWN;
}

const char *
cmk_time_text(int64_t t)
{
	static char buf[64];
	time_t		seconds = (time_t) t;
	struct tm	tm;

	if (gmtime_r(&seconds, &tm) == NULL ||
		strftime(buf, sizeof(buf), "%Y-%m-%d %H:%M:%S+00", &tm) == 0)
		strcpy(buf, "?");
	return buf;
}
