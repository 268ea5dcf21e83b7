/*
 * rootfile_reader.c
 *	  Strict reading of JSON values.
 *
 * cJSON is more generous than JSON: it skips a byte order mark, takes any
 * control character as white space, keeps duplicate members, cuts a string at
 * \u0000.  So the text is looked over before cJSON sees it, and the tree after.
 * Numbers, positions and times in strings are read and then printed again: only
 * a text that comes out the same is taken.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../seal/base64url.h"
#include "rootfile_reader.h"

int
cmk_reader_bad(CmkReader *r, const char *member, const char *fmt,...)
{
	char		what[256];
	char		place[128];
	size_t		len;
	va_list		ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);

	errno = 0;
	cmk_fail(r->err, CMK_ERR_CORRUPT, "file \"%s\" is damaged", r->name);
	if (member != NULL)
	{
		len = snprintf(place, sizeof(place), "%s%s", r->where, member);
		if (member[0] == '\0' && len > 0)
			place[len - 1] = '\0';	/* the dot */
		cmk_fail_detail(r->err, "Member \"%s\" %s.", place, what);
	}
	else
		cmk_fail_detail(r->err, "%s.", what);
	return cmk_fail_hint(r->err, CMK_ROOTFILE_RESTORE);
}

int
cmk_reader_no_memory(CmkReader *r)
{
	return cmk_fail(r->err, CMK_ERR_NO_MEMORY,
					"out of memory while reading file \"%s\"", r->name);
}

/*
 * Length of the UTF-8 character at p (RFC 3629: shortest form, no surrogates, at
 * most U+10FFFF), 0 if it is none.
 */
static size_t
utf8_length(const unsigned char *p, const unsigned char *end)
{
	size_t		n;
	size_t		i;

	if (*p < 0x80)
		return 1;
	else if (*p >= 0xc2 && *p <= 0xdf)
		n = 2;
	else if (*p >= 0xe0 && *p <= 0xef)
		n = 3;
	else if (*p >= 0xf0 && *p <= 0xf4)
		n = 4;
	else
		return 0;
	if ((size_t) (end - p) < n)
		return 0;
	for (i = 1; i < n; i++)
	{
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) ||
		(*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

static int
is_space(unsigned char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

int
cmk_reader_check_text(CmkReader *r, const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *) text;
	const unsigned char *end = p + len;
	int			depth = 0;
	int			in_string = 0;

	while (p < end)
	{
		size_t		n = utf8_length(p, end);

		if (n == 0)
			return cmk_reader_bad(r, NULL, "It is not UTF-8 at byte %zu",
								  (size_t) ((const char *) p - text));
		if (*p == 0x7f || (*p < 0x20 && (in_string || !is_space(*p))))
			return cmk_reader_bad(r, NULL,
								  "There is a control character at byte %zu",
								  (size_t) ((const char *) p - text));
		if (in_string && *p == '\\')
		{
			if (end - p >= 6 && memcmp(p, "\\u0000", 6) == 0)
				return cmk_reader_bad(r, NULL,
									  "There is a null character at byte %zu",
									  (size_t) ((const char *) p - text));
			n = 1 + (p + 1 < end && p[1] < 0x80 ? 1 : 0);
		}
		else if (*p == '"')
			in_string = !in_string;
		else if (!in_string && (*p == '{' || *p == '[') &&
				 ++depth > CMK_READER_MAX_DEPTH)
			return cmk_reader_bad(r, NULL, "It is nested too deeply");
		else if (!in_string && (*p == '}' || *p == ']'))
			depth--;
		p += n;
	}
	p = (const unsigned char *) text + strspn(text, " \t\n\r");
	if (*p != '{')
		return cmk_reader_bad(r, NULL, "It is not a JSON object");
	return 0;
}

int
cmk_reader_members(CmkReader *r, const cJSON *obj, const char *self,
				   const char *const names[], const cJSON *items[], int n)
{
	const cJSON *child;
	int			i;

	if (!cJSON_IsObject(obj))
		return cmk_reader_bad(r, self, "is not an object");
	memset(items, 0, n * sizeof(items[0]));
	for (child = obj->child; child != NULL; child = child->next)
	{
		for (i = 0; i < n && strcmp(child->string, names[i]) != 0; i++)
			;
		if (i == n)
		{
			if (r->where[0] == '\0' && self[0] == '\0')
				return cmk_reader_bad(r, NULL, "There is an unknown member");
			return cmk_reader_bad(r, self, "has an unknown member");
		}
		if (items[i] != NULL)
			return cmk_reader_bad(r, names[i], "is given twice");
		items[i] = child;
	}
	for (i = 0; i < n; i++)
	{
		if (items[i] == NULL)
			return cmk_reader_bad(r, names[i], "is missing");
	}
	return 0;
}

int
cmk_reader_integer(CmkReader *r, const char *member, const cJSON *item,
				   double max, uint64_t *out)
{
	if (!cJSON_IsNumber(item))
		return cmk_reader_bad(r, member, "is not a number");
	if (!(item->valuedouble >= 1 && item->valuedouble <= max) ||
		(double) (uint64_t) item->valuedouble != item->valuedouble)
		return cmk_reader_bad(r, member, "is not an integer from 1 to %.0f",
							  max);
	*out = (uint64_t) item->valuedouble;
	return 0;
}

int
cmk_reader_bool(CmkReader *r, const char *member, const cJSON *item, bool *out)
{
	if (!cJSON_IsBool(item))
		return cmk_reader_bad(r, member, "is not true or false");
	*out = cJSON_IsTrue(item);
	return 0;
}

int
cmk_reader_text(CmkReader *r, const char *member, const cJSON *item,
				char *out, size_t outsize)
{
	const unsigned char *p;

	if (!cJSON_IsString(item))
		return cmk_reader_bad(r, member, "is not a string");
	if (item->valuestring[0] == '\0')
		return cmk_reader_bad(r, member, "is empty");
	if (strlen(item->valuestring) >= outsize)
		return cmk_reader_bad(r, member, "is longer than %zu bytes",
							  outsize - 1);
	for (p = (const unsigned char *) item->valuestring; *p != '\0'; p++)
	{
		if (*p < 0x20 || *p == 0x7f)
			return cmk_reader_bad(r, member, "has a control character in it");
	}
	strcpy(out, item->valuestring);
	return 0;
}

int
cmk_reader_bytes(CmkReader *r, const char *member, const cJSON *item,
				 uint8_t *out, size_t min, size_t max, size_t *len)
{
	ssize_t		n;

	if (!cJSON_IsString(item))
		return cmk_reader_bad(r, member, "is not a string");
	n = cmk_base64url_decode(item->valuestring, strlen(item->valuestring),
							 out, max);
	if (n < 0 || (size_t) n < min)
	{
		if (min == max)
			return cmk_reader_bad(r, member, "is not %zu bytes in base64url",
								  max);
		return cmk_reader_bad(r, member, "is not %zu to %zu bytes in base64url",
							  min, max);
	}
	if (len != NULL)
		*len = n;
	return 0;
}

int
cmk_reader_uint64(CmkReader *r, const char *member, const cJSON *item,
				  uint64_t *out)
{
	char		again[24];

	if (!cJSON_IsString(item))
		return cmk_reader_bad(r, member, "is not a string");
	*out = strtoull(item->valuestring, NULL, 10);
	snprintf(again, sizeof(again), "%" PRIu64, *out);
	if (strcmp(again, item->valuestring) != 0)
		return cmk_reader_bad(r, member, "is not a decimal number of 64 bits");
	return 0;
}

int
cmk_reader_lsn(CmkReader *r, const char *member, const cJSON *item,
			   uint64_t *out)
{
	unsigned int hi = 0;
	unsigned int lo = 0;
	char		again[24];

	if (!cJSON_IsString(item))
		return cmk_reader_bad(r, member, "is not a string");
	if (strlen(item->valuestring) < sizeof(again))
		sscanf(item->valuestring, "%8X/%8X", &hi, &lo);
	snprintf(again, sizeof(again), "%X/%X", hi, lo);
	if (strcmp(again, item->valuestring) != 0)
		return cmk_reader_bad(r, member, "is not a WAL position");
	*out = ((uint64_t) hi << 32) | lo;
	return 0;
}

int
cmk_reader_time(CmkReader *r, const char *member, const cJSON *item,
				int64_t *out)
{
	struct tm	tm;
	char		again[CMK_ROOTFILE_TIME_SIZE];

	if (!cJSON_IsString(item))
		return cmk_reader_bad(r, member, "is not a string");
	memset(&tm, 0, sizeof(tm));
	if (strlen(item->valuestring) == CMK_ROOTFILE_TIME_SIZE - 1 &&
		sscanf(item->valuestring, "%4d-%2d-%2dT%2d:%2d:%2dZ",
			   &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
			   &tm.tm_hour, &tm.tm_min, &tm.tm_sec) == 6)
	{
		tm.tm_year -= 1900;
		tm.tm_mon -= 1;
		*out = timegm(&tm);
		if (cmk_rootfile_format_time(*out, again) == 0 &&
			strcmp(again, item->valuestring) == 0)
			return 0;
	}
	return cmk_reader_bad(r, member, "is not a time like 2026-01-31T12:00:00Z");
}

