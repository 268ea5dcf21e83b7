/*
 * rootfile_wraps.c
 *	  Who can open the root keys: the wraps of the recipients.
 *
 * A wrap belongs to a recipient, a key URL as somebody wrote it.  What a server
 * is configured with may be another writing of it: a key without a version, where
 * the recipient was registered by one version's public key, or was wrapped by one
 * version that stands in key_version.  cmk_rootfile_find_recipient() knows that;
 * all else here compares whole URLs, so that what is dropped or replaced is
 * exactly what was named.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "rootfile_internal.h"

/* Its place among the root's wraps, or -1. */
static int
wrap_index(const CmkRoot *root, const char *recipient)
{
	int			i;

	for (i = 0; i < root->nwraps; i++)
	{
		if (strcmp(root->wraps[i].recipient, recipient) == 0)
			return i;
	}
	return -1;
}

const CmkWrap *
cmk_rootfile_find_wrap(const CmkRootFile *rf, uint32_t root_id,
					   const char *recipient)
{
	const CmkRoot *root = cmk_rootfile_find_root(rf, root_id);
	int			i = root != NULL ? wrap_index(root, recipient) : -1;

	return i >= 0 ? &root->wraps[i] : NULL;
}

/* Is url the key that base names without a version, with one? */
static bool
is_version_of(const char *url, const char *base)
{
	size_t		n = strlen(base);

	return strncmp(base, "https://", 8) == 0 && strncmp(url, base, n) == 0 &&
		url[n] == '/' && url[n + 1] != '\0' && strchr(url + n + 1, '/') == NULL;
}

const CmkWrap *
cmk_rootfile_find_recipient(const CmkRootFile *rf, uint32_t root_id,
							const char *url)
{
	const CmkRoot *root = cmk_rootfile_find_root(rf, root_id);
	const CmkWrap *found = cmk_rootfile_find_wrap(rf, root_id, url);
	int			i;

	if (root == NULL || found != NULL)
		return found;
	for (i = 0; i < root->nwraps; i++)
	{
		const CmkWrap *w = &root->wraps[i];

		if ((is_version_of(w->recipient, url) ||
			 is_version_of(w->key_version, url)) &&
			(found == NULL || w->created > found->created))
			found = w;
	}
	return found;
}

int
cmk_rootfile_add_wrap(CmkRootFile *rf, uint32_t root_id, const CmkWrap *wrap,
					  CmkError *err)
{
	CmkRoot    *root = cmk_rootfile_find_root(rf, root_id);
	int			i;

	errno = 0;
	if (root == NULL)
		return cmk_fail(err, CMK_ERR_CONFIG,
						"there is no root key %" PRIu32, root_id);
	i = wrap_index(root, wrap->recipient);
	if (i < 0)
	{
		if (root->nwraps >= CMK_MAX_RECIPIENTS)
			return cmk_fail(err, CMK_ERR_LIMIT,
							"root key %" PRIu32 " has %d recipients already",
							root_id, CMK_MAX_RECIPIENTS);
		i = root->nwraps++;
	}
	root->wraps[i] = *wrap;
	return 0;
}

int
cmk_rootfile_drop_recipient(CmkRootFile *rf, const char *recipient,
							CmkError *err)
{
	const CmkRoot *current = cmk_rootfile_find_root(rf, rf->current_root);
	bool		found = false;
	int			i;
	int			j;

	errno = 0;
	for (i = 0; i < rf->nroots; i++)
	{
		if (wrap_index(&rf->roots[i], recipient) >= 0)
			found = true;
	}
	if (!found)
		return cmk_fail(err, CMK_ERR_NOT_FOUND,
						"\"%.300s\" is no recipient of the root key", recipient);
	if (current != NULL && current->nwraps == 1 &&
		wrap_index(current, recipient) == 0)
	{
		cmk_fail(err, CMK_ERR_CONFIG,
				 "\"%.300s\" is the last recipient of the root key", recipient);
		return cmk_fail_hint(err,
							 "Add another recipient first: without one nobody could open the data.");
	}
	for (i = 0; i < rf->nroots; i++)
	{
		CmkRoot    *root = &rf->roots[i];

		j = wrap_index(root, recipient);
		if (j >= 0)
		{
			root->nwraps--;
			memmove(&root->wraps[j], &root->wraps[j + 1],
					(root->nwraps - j) * sizeof(CmkWrap));
		}
	}
	return 0;
}

int
cmk_rootfile_drop_wraps(CmkRootFile *rf, uint32_t root_id, CmkError *err)
{
	CmkRoot    *root = cmk_rootfile_find_root(rf, root_id);

	errno = 0;
	if (root == NULL)
		return cmk_fail(err, CMK_ERR_CONFIG,
						"there is no root key %" PRIu32, root_id);
	if (root_id == rf->current_root)
		return cmk_fail(err, CMK_ERR_CONFIG,
						"root key %" PRIu32 " is the current one and must keep its recipients",
						root_id);
	root->nwraps = 0;
	return 0;
}

int
cmk_rootfile_keep_local(CmkRootFile *theirs, const CmkRootFile *ours,
						bool *changed, CmkError *err)
{
	CmkRoot    *root = cmk_rootfile_find_root(theirs, theirs->current_root);
	const CmkRoot *our = cmk_rootfile_find_root(ours, ours->current_root);
	int			had;
	int			i;

	*changed = false;
	if (root == NULL || our == NULL || theirs->sysid != ours->sysid ||
		root->id != our->id ||
		memcmp(root->salt, our->salt, sizeof(root->salt)) != 0)
		return 0;
	had = root->nwraps;
	for (i = 0; i < our->nwraps; i++)
	{
		const CmkWrap *w = &our->wraps[i];

		if (!w->local || wrap_index(root, w->recipient) >= 0)
			continue;
		if (cmk_rootfile_add_wrap(theirs, root->id, w, err) < 0)
		{
			root->nwraps = had;
			return -1;
		}
	}
	*changed = root->nwraps > had;
	return 0;
}
