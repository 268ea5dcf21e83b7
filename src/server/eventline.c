/*
 * eventline.c
 *	  One line of pg_cmk/events.  See eventline.h.
 *
 * What is read is printed again, and must come out the same: a line that a crash or a
 * hand has damaged is told as that, and not shown as an event that never was.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cjson/cJSON.h>

#include "eventline.h"

/* Everything but the time, in the order of the line. */
static const struct
{
	const char *name;
	size_t		offset;
	size_t		size;
	bool		required;		/* "" is no value */
}			members[] = {
#define MEMBER(m, required) \
	{#m, offsetof(CmkEventLine, m), sizeof(((CmkEventLine *) NULL)->m), required}
	MEMBER(event, true),
	MEMBER(state, true),
	MEMBER(reason, false),
	MEMBER(key_url, false),
	MEMBER(key_version, false),
	MEMBER(request_id, false),
	MEMBER(detail, false),
};

#define N_MEMBERS	((int) (sizeof(members) / sizeof(members[0])))

static bool
is_printable(unsigned char c)
{
	return c >= 0x20 && c < 0x7f;
}

void
cmk_printable(char *dst, const char *src, size_t size)
{
	size_t		i;

	for (i = 0; i + 1 < size && src[i] != '\0'; i++)
		dst[i] = is_printable((unsigned char) src[i]) ? src[i] : '?';
	dst[i] = '\0';
}

void
cmk_iso_time(int64_t time_ms, char buf[CMK_ISO_TIME_SIZE])
{
	time_t		seconds = (time_t) (time_ms / 1000);
	struct tm	tm;

	buf[0] = '\0';
	if (time_ms < 0 || gmtime_r(&seconds, &tm) == NULL || tm.tm_year > 9999 - 1900)
		return;
	snprintf(buf, CMK_ISO_TIME_SIZE, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
			 tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
			 tm.tm_hour, tm.tm_min, tm.tm_sec, (int) (time_ms % 1000));
}

/* Not checked any further; see cmk_eventline_parse(). */
static int
parse_time(const char *text, int64_t *time_ms)
{
	struct tm	tm;
	int			ms;

	memset(&tm, 0, sizeof(tm));
	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ", &tm.tm_year, &tm.tm_mon,
			   &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &ms) != 7)
		return -1;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	*time_ms = (int64_t) timegm(&tm) * 1000 + ms;
	return 0;
}

static bool
add_member(cJSON *object, const CmkEventLine *line, int i)
{
	char		value[CMK_KEY_URL_SIZE];

	cmk_printable(value, (const char *) line + members[i].offset, members[i].size);
	return cJSON_AddStringToObject(object, members[i].name, value) != NULL;
}

int
cmk_eventline_print(const CmkEventLine *line, char buf[CMK_EVENTLINE_SIZE])
{
	char		iso[CMK_ISO_TIME_SIZE];
	cJSON	   *object;
	bool		ok;
	int			i;
	int			len;

	cmk_iso_time(line->time_ms, iso);
	object = iso[0] != '\0' ? cJSON_CreateObject() : NULL;
	ok = object != NULL && cJSON_AddStringToObject(object, "time", iso) != NULL;
	for (i = 0; ok && i < N_MEMBERS; i++)
		ok = add_member(object, line, i);
	ok = ok && cJSON_PrintPreallocated(object, buf, CMK_EVENTLINE_SIZE - 1, 0);
	cJSON_Delete(object);
	if (!ok)
		return -1;
	len = (int) strlen(buf);
	buf[len++] = '\n';
	buf[len] = '\0';
	return len;
}

static bool
take_text(const cJSON *item, const char *name, char *dst, size_t size, bool required)
{
	const char *text = item != NULL ? cJSON_GetStringValue(item) : NULL;

	if (text == NULL || strcmp(item->string, name) != 0 || strlen(text) >= size ||
		(required && text[0] == '\0'))
		return false;
	strcpy(dst, text);
	return true;
}

static int
take_object(const cJSON *object, CmkEventLine *line)
{
	char		iso[CMK_ISO_TIME_SIZE];
	const cJSON *item = cJSON_IsObject(object) ? object->child : NULL;
	int			i;

	if (!take_text(item, "time", iso, sizeof(iso), true) ||
		parse_time(iso, &line->time_ms) < 0)
		return -1;
	for (i = 0; i < N_MEMBERS; i++)
	{
		item = item->next;
		if (!take_text(item, members[i].name, (char *) line + members[i].offset,
					   members[i].size, members[i].required))
			return -1;
	}
	return 0;
}

/* A line is what its content is printed as, byte for byte; anything else is damage. */
int
cmk_eventline_parse(const char *text, size_t len, CmkEventLine *line)
{
	char		again[CMK_EVENTLINE_SIZE];
	cJSON	   *object;
	int			rc;

	memset(line, 0, sizeof(*line));
	if (len == 0 || len >= CMK_EVENTLINE_SIZE)
		return -1;
	object = cJSON_ParseWithLength(text, len);
	rc = take_object(object, line);
	cJSON_Delete(object);
	if (rc == 0 && (cmk_eventline_print(line, again) != (int) len + 1 ||
					memcmp(again, text, len) != 0))
		rc = -1;
	if (rc < 0)
		memset(line, 0, sizeof(*line));
	return rc;
}
