/*
 * headers.c
 *	  What is read from an answer's headers, and how foreign text is made fit for
 *	  a message.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "http.h"

#define MAX_RETRY_AFTER	86400		/* seconds */
#define MIN_SECRET		40			/* a GUID has 36 characters */

/* Is this the header of that name?  Then its value, trimmed. */
static bool
header_value(const char *line, size_t len, const char *name,
			 const char **value, size_t *vlen)
{
	size_t		n = strlen(name);

	if (len <= n || line[n] != ':' || strncasecmp(line, name, n) != 0)
		return false;
	line += n + 1;
	len -= n + 1;
	while (len > 0 && (*line == ' ' || *line == '\t'))
		line++, len--;
	while (len > 0 && strchr(" \t\r\n", line[len - 1]) != NULL)
		len--;
	*value = line;
	*vlen = len;
	return true;
}

/* Copies a value that is short and printable, else leaves out empty. */
static void
take(char *out, size_t size, const char *value, size_t len)
{
	size_t		i;

	out[0] = '\0';
	if (len >= size)
		return;
	for (i = 0; i < len; i++)
	{
		if (value[i] < 0x20 || value[i] >= 0x7f)
			return;
	}
	memcpy(out, value, len);
	out[len] = '\0';
}

void
cmk_http_header(CmkHttpAnswer *ans, const char *line, size_t len)
{
	char		text[64];
	const char *value;
	size_t		vlen;
	size_t		used;

	ans->header_bytes += len;

	/* the status line of this answer, after that of an interim one */
	if (len >= 5 && memcmp(line, "HTTP/", 5) == 0)
	{
		ans->challenge[0] = ans->retry_after[0] = ans->request_id[0] = '\0';
		ans->date = 0;
	}
	else if (header_value(line, len, "x-ms-request-id", &value, &vlen))
		cmk_http_printable((take(text, sizeof(text), value, vlen), text),
						   ans->request_id, sizeof(ans->request_id));
	else if (header_value(line, len, "Retry-After", &value, &vlen))
		take(ans->retry_after, sizeof(ans->retry_after), value, vlen);
	else if (header_value(line, len, "Date", &value, &vlen))
	{
		take(text, sizeof(text), value, vlen);
		ans->date = text[0] != '\0' ? (int64_t) curl_getdate(text, NULL) : 0;
		if (ans->date < 0)
			ans->date = 0;
	}
	else if (header_value(line, len, "WWW-Authenticate", &value, &vlen))
	{
		used = strlen(ans->challenge);
		if (used + vlen + 2 <= sizeof(ans->challenge) &&
			memchr(value, '\0', vlen) == NULL)
		{
			memcpy(ans->challenge + used, value, vlen);
			ans->challenge[used + vlen] = '\n';
			ans->challenge[used + vlen + 1] = '\0';
		}
	}
}

int
cmk_http_retry_after(const char *value, int64_t date, int64_t now)
{
	int64_t		seconds;

	if (value[0] == '\0')
		return 0;
	if (strspn(value, "0123456789") == strlen(value))
		seconds = strlen(value) > 9 ? MAX_RETRY_AFTER : atoll(value);
	else
	{
		int64_t		when = (int64_t) curl_getdate(value, NULL);

		if (when < 0)
			return 0;
		seconds = when - (date != 0 ? date : now);
	}
	if (seconds <= 0)
		return 0;
	return (int) (seconds < MAX_RETRY_AFTER ? seconds : MAX_RETRY_AFTER) * 1000;
}

static bool
is_secret_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
		(c >= 'A' && c <= 'Z') || (c != '\0' && strchr("-_~+=", c) != NULL);
}

/*
 * How many characters from p on look like a token or secret: a JSON Web Token
 * (which begins with "eyJ", the base64 of an opening brace), or a run longer
 * than a GUID.  0 if they do not.
 */
static size_t
secret_length(const char *p)
{
	bool		jwt = strncmp(p, "eyJ", 3) == 0;
	size_t		n = 0;

	while (is_secret_char(p[n]) || (jwt && p[n] == '.'))
		n++;
	return n >= MIN_SECRET || (jwt && n >= 12) ? n : 0;
}

void
cmk_http_printable(const char *text, char *out, size_t size)
{
	static const char removed[] = "[removed]";
	size_t		n = 0;

	while (*text != '\0' && n + 1 < size)
	{
		size_t		skip = secret_length(text);

		if (skip > 0)
		{
			n += snprintf(out + n, size - n, "%s", removed);
			if (n >= size)
				n = size - 1;
			text += skip;
			continue;
		}
		do
		{
			char		c = *text++;

			if (c == '\r' || c == '\n' || c == '\t')
				c = ' ';
			else if (c == '"')
				c = '\'';
			else if (c < 0x20 || c >= 0x7f)
				c = '?';
			out[n++] = c;
		} while (*text != '\0' && n + 1 < size && is_secret_char(text[-1]) &&
				 strncmp(text, "eyJ", 3) != 0);
	}
	out[n] = '\0';
}
