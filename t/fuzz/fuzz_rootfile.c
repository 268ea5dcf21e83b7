/*
 * fuzz_rootfile.c
 *	  root.json, which anybody with the disk may have changed, before a key is at
 *	  hand that could tell.
 */
#include "../../src/keyring/rootfile.h"
#include "fuzz.h"

static void
must_be_whole(const CmkRootFile *rf, const CmkRoot *root, const CmkWrap *w)
{
	MUST(w->len >= 1 && w->len <= CMK_WRAP_MAX);
	MUST(w->public_len >= 1 && w->public_len <= CMK_PUBLIC_KEY_MAX);
	MUST(w->local == true || w->local == false);
	MUST(cmk_rootfile_find_recipient(rf, root->id, w->recipient) == w);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text = fuzz_text(data, size);
	CmkRootFile rf;
	CmkError	err;
	int			i;
	int			j;

	memset(&err, 0, sizeof(err));
	if (cmk_rootfile_parse(text, size, "root.json", &rf, &err) == 0)
	{
		MUST(rf.nroots >= 1 && rf.signed_len < size);
		MUST(cmk_rootfile_find_root(&rf, rf.current_root) != NULL);
		for (i = 0; i < rf.nroots; i++)
		{
			MUST(rf.roots[i].nwraps <= CMK_MAX_RECIPIENTS);
			for (j = 0; j < rf.roots[i].nwraps; j++)
				must_be_whole(&rf, &rf.roots[i], &rf.roots[i].wraps[j]);
		}
		cmk_rootfile_free(&rf);
	}
	else
	{
		MUST(err.code == CMK_ERR_CORRUPT);
		MUST(rf.roots == NULL && rf.text == NULL);
	}
	free(text);
	return 0;
}
