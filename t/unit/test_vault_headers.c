/*
 * test_vault_headers.c
 *	  What is read from headers, and how foreign text is made printable.
 */
#include "../../src/vault/http.h"
#include "unit.h"

#define DATE	1800000000		/* Fri, 15 Jan 2027 08:00:00 GMT */

static void
feed(CmkHttpAnswer *ans, const char *line)
{
	cmk_http_header(ans, line, strlen(line));
}

static void
headers_of_an_answer(void)
{
	CmkHttpAnswer ans;

	memset(&ans, 0, sizeof(ans));
	feed(&ans, "HTTP/1.1 100 Continue\r\n");
	feed(&ans, "WWW-Authenticate: Basic x\r\n");
	feed(&ans, "HTTP/1.1 401 Unauthorized\r\n");
	feed(&ans, "date:  Fri, 15 Jan 2027 08:00:00 GMT \r\n");
	feed(&ans, "X-Ms-Request-Id:\tabc-123\r\n");
	feed(&ans, "Retry-After: 5\r\n");
	feed(&ans, "WWW-Authenticate: Bearer a=b\r\n");
	feed(&ans, "WWW-AUTHENTICATE: Basic c=d");
	feed(&ans, "\r\n");
	feed(&ans, "WWW-Authenticate2: no\r\n");
	CHECK_INT(ans.date, DATE);
	CHECK_STR(ans.request_id, "abc-123");
	CHECK_STR(ans.retry_after, "5");
	CHECK_STR(ans.challenge, "Bearer a=b\nBasic c=d\n");
}

static void
headers_that_are_not_for_us(void)
{
	CmkHttpAnswer ans;
	char		big[CMK_HTTP_MAX_CHALLENGE + 100];

	memset(&ans, 0, sizeof(ans));
	feed(&ans, "x-ms-request-id: a\x01" "b\r\n");
	CHECK_STR(ans.request_id, "");
	feed(&ans, "x-ms-request-id: 0123456789012345678901234567890123456789012345678901234567890123456789\r\n");
	CHECK_STR(ans.request_id, "");
	feed(&ans, "x-ms-request-id: eyJ0eXAiOiJKV1QiLCJhbGciOi\r\n");
	CHECK_STR(ans.request_id, "[removed]");
	feed(&ans, "Date: yesterday\r\n");
	CHECK_INT(ans.date, 0);
	feed(&ans, "Date:\r\n");
	CHECK_INT(ans.date, 0);
	cmk_http_header(&ans, "WWW-Authenticate: a\0b", 21);
	CHECK_STR(ans.challenge, "");
	memset(big, 'a', sizeof(big));
	memcpy(big, "WWW-Authenticate: ", 18);
	cmk_http_header(&ans, big, sizeof(big));
	CHECK_STR(ans.challenge, "");
	cmk_http_header(&ans, big, 3000);
	cmk_http_header(&ans, big, 3000);
	CHECK_INT(strlen(ans.challenge), 3000 - 18 + 1);
	CHECK(ans.header_bytes > 10000);
}

static void
retry_after(void)
{
	CHECK_INT(cmk_http_retry_after("", 0, DATE), 0);
	CHECK_INT(cmk_http_retry_after("0", 0, DATE), 0);
	CHECK_INT(cmk_http_retry_after("7", 0, DATE), 7000);
	CHECK_INT(cmk_http_retry_after("86400", 0, DATE), 86400000);
	CHECK_INT(cmk_http_retry_after("86401", 0, DATE), 86400000);
	CHECK_INT(cmk_http_retry_after("99999999999999999999", 0, DATE), 86400000);
	CHECK_INT(cmk_http_retry_after("-7", 0, DATE), 0);
	CHECK_INT(cmk_http_retry_after("7s", 0, DATE), 0);
	CHECK_INT(cmk_http_retry_after("soon", 0, DATE), 0);

	/* a date, by the answer's own clock if it gave one */
	CHECK_INT(cmk_http_retry_after("Fri, 15 Jan 2027 08:00:09 GMT", 0, DATE), 9000);
	CHECK_INT(cmk_http_retry_after("Fri, 15 Jan 2027 08:00:09 GMT", DATE + 5, DATE), 4000);
	CHECK_INT(cmk_http_retry_after("Fri, 15 Jan 2027 08:00:09 GMT", DATE + 50, DATE), 0);
	CHECK_INT(cmk_http_retry_after("Fri, 15 Jan 2037 08:00:09 GMT", 0, DATE), 86400000);
}

static void
printable(void)
{
	char		out[64];

	cmk_http_printable("plain text", out, sizeof(out));
	CHECK_STR(out, "plain text");
	cmk_http_printable("a\"b\r\n\tc\x7f\xff", out, sizeof(out));
	CHECK_STR(out, "a'b   c??");
	cmk_http_printable("x", out, 1);
	CHECK_STR(out, "");
	cmk_http_printable("abcdef", out, 4);
	CHECK_STR(out, "abc");

	/* a GUID is no secret, a longer run is */
	cmk_http_printable("72f988bf-86f1-41af-91ab-2d7cd011db47.", out, sizeof(out));
	CHECK_STR(out, "72f988bf-86f1-41af-91ab-2d7cd011db47.");
	cmk_http_printable("'0123456789012345678901234567890123456789'", out, sizeof(out));
	CHECK_STR(out, "'[removed]'");
	cmk_http_printable("at eyJhbGciOiJ.eyJhdWQiOiJ.c2ln.", out, sizeof(out));
	CHECK_STR(out, "at [removed]");
	cmk_http_printable("x=eyJhbGciOiJIUzI1NiJ9.e30.c2ln", out, sizeof(out));
	CHECK(strstr(out, "c2ln") == NULL);
	cmk_http_printable("0123456789012345678901234567890123456789", out, 5);
	CHECK_STR(out, "[rem");
}

int
main(void)
{
	RUN(headers_of_an_answer);
	RUN(headers_that_are_not_for_us);
	RUN(retry_after);
	RUN(printable);
	return unit_done();
}
