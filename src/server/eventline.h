/*
 * eventline.h
 *	  One line of pg_cmk/events: one event as a JSON object.
 *
 *		{"time":"2026-01-31T12:00:00.123Z","event":"state","state":"Inaccessible",
 *		 "reason":"KeyDisabled","key_url":"https://…","key_version":"https://…",
 *		 "request_id":"…","detail":"…"}
 *
 * without the line break, all members always there.  A line is printable ASCII
 * alone, so that cmk.events shows it in a database of any encoding, a terminal
 * does nothing but print it, and a line break is always the end of an event.
 *
 * Plain C, allocation by cJSON only.
 */
#ifndef CMK_EVENTLINE_H
#define CMK_EVENTLINE_H

#include <stddef.h>
#include <stdint.h>

#include "../vault/kek.h"

/* Room for the longest line, each byte of it escaped, with line break and NUL. */
#define CMK_EVENTLINE_SIZE	8192

#define CMK_ISO_TIME_SIZE	32

typedef struct CmkEventLine
{
	int64_t		time_ms;		/* since 1970-01-01 00:00:00 UTC */
	char		event[32];
	char		state[32];
	char		reason[64];		/* a reason's name, or "" */
	char		key_url[CMK_KEY_URL_SIZE];
	char		key_version[CMK_KEY_VERSION_SIZE];
	char		request_id[64];
	char		detail[512];	/* one sentence, or "" */
} CmkEventLine;

/* Copies text, cut to size, with a '?' for each byte that is not printable ASCII. */
extern void cmk_printable(char *dst, const char *src, size_t size);

/* "2026-01-31T12:00:00.123Z"; "" for a time before 1970 or after 9999. */
extern void cmk_iso_time(int64_t time_ms, char buf[CMK_ISO_TIME_SIZE]);

/*
 * Prints the line with its line break and a NUL.  Its length, or -1 if memory is
 * short or the time cannot be printed.
 */
extern int	cmk_eventline_print(const CmkEventLine *line, char buf[CMK_EVENTLINE_SIZE]);

/*
 * Reads a line of len bytes, without its line break.  0, or -1 if it is not
 * exactly what cmk_eventline_print() would have printed: a member is missing, twice
 * there, unknown, of another type, too long or not printable ASCII, or the time is none.
 */
extern int	cmk_eventline_parse(const char *text, size_t len, CmkEventLine *line);

#endif							/* CMK_EVENTLINE_H */
