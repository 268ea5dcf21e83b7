/*
 * test_eventline.c
 *	  A line of pg_cmk/events: what is printed is read back, and nothing else is read.
 */
#include "../../src/server/eventline.h"
#include "unit.h"

static const char example[] =
"{\"time\":\"2026-01-31T12:00:00.123Z\",\"event\":\"state\",\"state\":\"Inaccessible\","
"\"reason\":\"KeyDisabled\",\"key_url\":\"https://v.vault.azure.net/keys/k\","
"\"key_version\":\"https://v.vault.azure.net/keys/k/1\",\"request_id\":\"r-1\","
"\"detail\":\"key \\\"k\\\" is disabled\"}";

static CmkEventLine
a_line(void)
{
	CmkEventLine line = {
		.time_ms = 1769860800123,
		.event = "state",
		.state = "Inaccessible",
		.reason = "KeyDisabled",
		.key_url = "https://v.vault.azure.net/keys/k",
		.key_version = "https://v.vault.azure.net/keys/k/1",
		.request_id = "r-1",
		.detail = "key \"k\" is disabled"
	};

	return line;
}

static int
parse(const char *text)
{
	CmkEventLine line;

	return cmk_eventline_parse(text, strlen(text), &line);
}

static void
prints_the_documented_line(void)
{
	CmkEventLine line = a_line();
	char		buf[CMK_EVENTLINE_SIZE];
	int			len = cmk_eventline_print(&line, buf);

	CHECK_INT(len, sizeof(example));
	CHECK_INT(buf[len - 1], '\n');
	buf[len - 1] = '\0';
	CHECK_STR(buf, example);
}

static void
reads_what_it_printed(void)
{
	CmkEventLine line = a_line();
	CmkEventLine again;

	CHECK_INT(cmk_eventline_parse(example, strlen(example), &again), 0);
	CHECK_MEM(&again, &line, sizeof(line));
}

static void
the_longest_line_fits(void)
{
	CmkEventLine line = a_line();
	CmkEventLine again;
	char		buf[CMK_EVENTLINE_SIZE];
	int			len;

	memset(line.event, '"', sizeof(line.event) - 1);
	memset(line.state, '\\', sizeof(line.state) - 1);
	memset(line.reason, '"', sizeof(line.reason) - 1);
	memset(line.key_url, '"', sizeof(line.key_url) - 1);
	memset(line.key_version, '"', sizeof(line.key_version) - 1);
	memset(line.request_id, '"', sizeof(line.request_id) - 1);
	memset(line.detail, '"', sizeof(line.detail) - 1);
	memset(&again, 0, sizeof(again));
	len = cmk_eventline_print(&line, buf);
	CHECK(len > 0);
	CHECK_INT(cmk_eventline_parse(buf, len - 1, &again), 0);
	CHECK_STR(again.detail, line.detail);
	CHECK_STR(again.key_url, line.key_url);
}

static void
is_one_line_of_printable_ascii(void)
{
	CmkEventLine line = a_line();
	char		buf[CMK_EVENTLINE_SIZE];
	int			len;
	int			i;

	strcpy(line.detail, "a\nb\tc\033[31m\x7f g\xc3\xa4 \xff");
	len = cmk_eventline_print(&line, buf);
	CHECK(len > 0);
	for (i = 0; i < len - 1; i++)
		CHECK(buf[i] >= 0x20 && buf[i] < 0x7f);
	CHECK_HAS(buf, "\"a?b?c?[31m? g?? ?\"");
}

/* Every beginning of a line, and every line with one byte changed or gone. */
static void
a_damaged_line_is_none_or_another(void)
{
	size_t		n = strlen(example);
	CmkEventLine line;
	char		bad[sizeof(example)];
	size_t		i;

	for (i = 0; i < n; i++)
		CHECK_INT(cmk_eventline_parse(example, i, &line), -1);
	for (i = 0; i < n; i++)
	{
		strcpy(bad, example);
		bad[i] = '\0';
		CHECK_INT(cmk_eventline_parse(bad, n, &line), -1);
		bad[i] = '\n';
		CHECK_INT(cmk_eventline_parse(bad, n, &line), -1);
		bad[i] = (char) 0xc3;
		CHECK_INT(cmk_eventline_parse(bad, n, &line), -1);
	}
}

static char *
replaced(char *buf, const char *from, const char *to)
{
	const char *p = strstr(example, from);

	if (p == NULL)
		abort();
	sprintf(buf, "%.*s%s%s", (int) (p - example), example, to, p + strlen(from));
	return buf;
}

static void
members_are_held_to_what_is_printed(void)
{
	char		buf[2 * CMK_EVENTLINE_SIZE];
	char		longer[300];

	CHECK_INT(parse(replaced(buf, "\"reason\"", "\"reason\"")), 0);
	CHECK_INT(parse(replaced(buf, "KeyDisabled", "")), 0);
	CHECK_INT(parse(replaced(buf, "\"reason\":\"KeyDisabled\",", "")), -1);
	CHECK_INT(parse(replaced(buf, "\"reason\":\"KeyDisabled\"", "\"reason\":1")), -1);
	CHECK_INT(parse(replaced(buf, "\"reason\":\"KeyDisabled\"", "\"reason\":null")), -1);
	CHECK_INT(parse(replaced(buf, "\"reason\":\"KeyDisabled\"",
							 "\"reason\":\"KeyDisabled\",\"reason\":\"\"")), -1);
	CHECK_INT(parse(replaced(buf, "\"}", "\",\"more\":\"\"}")), -1);
	CHECK_INT(parse(replaced(buf, "\"state\",", "\"\",")), -1);
	CHECK_INT(parse(replaced(buf, "\"r-1\"", "\"\\u00e4\"")), -1);
	CHECK_INT(parse(replaced(buf, "\"r-1\"", "\"\\n\"")), -1);
	CHECK_INT(parse(replaced(buf, "\"r-1\"", "\"a\\u0000b\"")), -1);
	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	CHECK_INT(parse(replaced(buf, "r-1", longer)), -1);
	CHECK_INT(parse(replaced(buf, "\"}", "\"}{}")), -1);
	CHECK_INT(parse("[]"), -1);
	CHECK_INT(parse("{}"), -1);
	CHECK_INT(parse("\"time\""), -1);
	memset(buf, '[', CMK_EVENTLINE_SIZE - 1);
	buf[CMK_EVENTLINE_SIZE - 1] = '\0';
	CHECK_INT(parse(buf), -1);
}

static void
times_are_times(void)
{
	static const char *const bad[] = {
		"2026-02-30T12:00:00.123Z", "2026-01-31T24:00:00.123Z", "2026-01-31 12:00:00.123Z",
		"2026-01-31T12:00:00.123", "2026-1-31T12:00:00.1234Z", "1969-12-31T23:59:59.999Z",
		"2026-01-31T12:00:60.123Z", "+026-01-31T12:00:00.123Z", "2026-01-31T12:00:00.-23Z", ""
	};
	char		buf[2 * CMK_EVENTLINE_SIZE];
	char		iso[CMK_ISO_TIME_SIZE];
	size_t		i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_INT(parse(replaced(buf, "2026-01-31T12:00:00.123Z", bad[i])), -1);
	CHECK_INT(parse(replaced(buf, "2026-01-31T12:00:00.123Z", "2028-02-29T23:59:59.999Z")), 0);
	cmk_iso_time(0, iso);
	CHECK_STR(iso, "1970-01-01T00:00:00.000Z");
	cmk_iso_time(-1, iso);
	CHECK_STR(iso, "");
	cmk_iso_time(253402300799999, iso);
	CHECK_STR(iso, "9999-12-31T23:59:59.999Z");
	cmk_iso_time(253402300800000, iso);
	CHECK_STR(iso, "");
}

static void
a_cut_text_ends(void)
{
	char		buf[4];

	cmk_printable(buf, "abcdef", sizeof(buf));
	CHECK_STR(buf, "abc");
	cmk_printable(buf, "", sizeof(buf));
	CHECK_STR(buf, "");
}

int
main(void)
{
	RUN(prints_the_documented_line);
	RUN(reads_what_it_printed);
	RUN(the_longest_line_fits);
	RUN(is_one_line_of_printable_ascii);
	RUN(a_damaged_line_is_none_or_another);
	RUN(members_are_held_to_what_is_printed);
	RUN(times_are_times);
	RUN(a_cut_text_ends);
	return unit_done();
}
