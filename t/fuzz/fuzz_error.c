/*
 * fuzz_error.c
 *	  What an error means: two bytes choose the status, the operation and whose
 *	  answer it is, the rest is its body.
 */
#include "../../src/vault/answers.h"
#include "fuzz.h"

static const int statuses[] = {400, 401, 403, 404, 408, 409, 429, 500, 503, 302, 200, 418};

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CmkHttpAnswer ans;
	CmkOutcome	out;
	char	   *text;

	if (size < 2)
		return 0;
	text = fuzz_text(data + 2, size - 2);
	memset(&ans, 0, sizeof(ans));
	memset(&out, 0, sizeof(out));
	ans.status = statuses[data[0] % (sizeof(statuses) / sizeof(statuses[0]))];
	ans.body = text;
	ans.len = size - 2;
	strcpy(ans.request_id, "01234567-89ab-cdef-0123-456789abcdef");
	if (data[1] % 5 < 3)
		MUST(cmk_classify_vault(&ans, data[1] % 5, "could not", &out) == -1);
	else
		MUST(cmk_classify_token(&ans, data[1] % 5 == 3, "could not", &out) == -1);
	MUST(out.reason != CMK_REASON_NONE && out.verdict != CMK_VERDICT_YES);

	/* only these can be a clear no */
	MUST(out.verdict != CMK_VERDICT_NO ||
		 (ans.status >= 400 && ans.status <= 404));
	FUZZ_PRINTABLE(out.err.message);
	FUZZ_PRINTABLE(out.err.detail);
	FUZZ_PRINTABLE(out.code);
	MUST(strstr(out.err.detail, ans.request_id) != NULL);
	free(text);
	return 0;
}
