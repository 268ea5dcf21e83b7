/*
 * rootfile_parse.c
 *	  From the text of root.json to a CmkRootFile.
 *
 * The text comes from a file that anybody with the disk may have changed, and
 * most of it has to be understood before a key is at hand that could tell.  So
 * the reader is strict: what cmk_rootfile_print() would not write is refused,
 * and no text has two meanings.
 *
 * The HMAC covers the text up to the quote that opens the name of the last
 * member, "hmac".  That place is found from the end of the text: what follows it
 * has only one form.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rootfile_reader.h"

static int
get_root_id(CmkReader *r, const char *member, const cJSON *item, uint32_t *out)
{
	uint64_t	v;

	if (cmk_reader_integer(r, member, item, UINT32_MAX, &v) < 0)
		return -1;
	*out = (uint32_t) v;
	return 0;
}

static int
parse_wrap(CmkReader *r, const cJSON *obj, const char *self, CmkWrap *w)
{
	enum
	{
		RECIPIENT, KEY_VERSION, ALG, PUBLIC_KEY, VALUE, CREATED, LOCAL, N
	};
	static const char *const names[N] = {
		"recipient", "key_version", "alg", "public_key", "value", "created",
		"local"
	};
	const cJSON *m[N];

	if (cmk_reader_members(r, obj, self, names, m, N) < 0 ||
		cmk_reader_text(r, names[RECIPIENT], m[RECIPIENT],
						w->recipient, sizeof(w->recipient)) < 0 ||
		cmk_reader_text(r, names[KEY_VERSION], m[KEY_VERSION],
						w->key_version, sizeof(w->key_version)) < 0 ||
		cmk_reader_text(r, names[ALG], m[ALG], w->alg, sizeof(w->alg)) < 0 ||
		cmk_reader_bytes(r, names[PUBLIC_KEY], m[PUBLIC_KEY], w->public_key,
						 1, sizeof(w->public_key), &w->public_len) < 0 ||
		cmk_reader_bytes(r, names[VALUE], m[VALUE],
						 w->value, 1, sizeof(w->value), &w->len) < 0 ||
		cmk_reader_time(r, names[CREATED], m[CREATED], &w->created) < 0 ||
		cmk_reader_bool(r, names[LOCAL], m[LOCAL], &w->local) < 0)
		return -1;
	return 0;
}

static int
parse_wraps(CmkReader *r, const cJSON *array, int rootno, CmkRoot *root)
{
	const cJSON *item;
	int			i;

	if (!cJSON_IsArray(array))
		return cmk_reader_bad(r, "wraps", "is not an array");
	cJSON_ArrayForEach(item, array)
	{
		CmkWrap    *w;

		if (root->nwraps >= CMK_MAX_RECIPIENTS)
			return cmk_reader_bad(r, "wraps", "has more than %d elements",
								  CMK_MAX_RECIPIENTS);
		w = &root->wraps[root->nwraps];
		snprintf(r->where, sizeof(r->where), "roots[%d].wraps[%d].",
				 rootno, root->nwraps);
		if (parse_wrap(r, item, "", w) < 0)
			return -1;
		for (i = 0; i < root->nwraps; i++)
		{
			if (strcmp(root->wraps[i].recipient, w->recipient) == 0)
				return cmk_reader_bad(r, "recipient", "is there twice");
		}
		root->nwraps++;
	}
	snprintf(r->where, sizeof(r->where), "roots[%d].", rootno);
	return 0;
}

static int
parse_by_root(CmkReader *r, const cJSON *obj, CmkRoot *root)
{
	static const char *const names[] = {"id", "value"};
	const cJSON *m[2];

	if (cJSON_IsNull(obj))
		return 0;
	if (cmk_reader_members(r, obj, "wrapped_by_root", names, m, 2) < 0 ||
		get_root_id(r, "wrapped_by_root.id", m[0], &root->by_root_id) < 0 ||
		cmk_reader_bytes(r, "wrapped_by_root.value", m[1], root->by_root,
						 sizeof(root->by_root), sizeof(root->by_root),
						 NULL) < 0)
		return -1;
	return 0;
}

static int
parse_root(CmkReader *r, const cJSON *obj, int rootno, CmkRoot *root)
{
	enum
	{
		ID, CREATED, SALT, WAL_FROM, WRAPS, BY_ROOT, N
	};
	static const char *const names[N] = {
		"id", "created", "salt", "wal_from", "wraps", "wrapped_by_root"
	};
	const cJSON *m[N];

	snprintf(r->where, sizeof(r->where), "roots[%d].", rootno);
	if (cmk_reader_members(r, obj, "", names, m, N) < 0 ||
		get_root_id(r, names[ID], m[ID], &root->id) < 0 ||
		cmk_reader_time(r, names[CREATED], m[CREATED], &root->created) < 0 ||
		cmk_reader_bytes(r, names[SALT], m[SALT], root->salt,
						 sizeof(root->salt), sizeof(root->salt), NULL) < 0 ||
		cmk_reader_lsn(r, names[WAL_FROM], m[WAL_FROM], &root->wal_from) < 0 ||
		parse_wraps(r, m[WRAPS], rootno, root) < 0 ||
		parse_by_root(r, m[BY_ROOT], root) < 0)
		return -1;
	return 0;
}

/*
 * Each root but the current one hangs on a newer one that exists, and the
 * current one, on which all hang in the end, on a KEK alone.
 */
static int
check_roots(CmkReader *r, const CmkRootFile *rf)
{
	int			i;

	for (i = 1; i < rf->nroots; i++)
	{
		snprintf(r->where, sizeof(r->where), "roots[%d].", i);
		if (rf->roots[i].id <= rf->roots[i - 1].id)
			return cmk_reader_bad(r, "id",
								  "is not greater than that of the root before it");
	}
	for (i = 0; i < rf->nroots; i++)
	{
		const CmkRoot *root = &rf->roots[i];

		snprintf(r->where, sizeof(r->where), "roots[%d].", i);
		if (i < rf->nroots - 1 &&
			(root->by_root_id <= root->id ||
			 cmk_rootfile_find_root(rf, root->by_root_id) == NULL))
			return cmk_reader_bad(r, "wrapped_by_root",
								  "does not name a newer root");
	}
	if (rf->roots[rf->nroots - 1].id != rf->current_root)
	{
		r->where[0] = '\0';
		return cmk_reader_bad(r, "current_root",
							  "is not the number of the newest root");
	}
	if (rf->roots[rf->nroots - 1].by_root_id != 0)
		return cmk_reader_bad(r, "wrapped_by_root",
							  "is not null in the current root");
	if (rf->roots[rf->nroots - 1].nwraps == 0)
		return cmk_reader_bad(r, "wraps", "is empty in the current root");
	return 0;
}

static int
parse_roots(CmkReader *r, const cJSON *array, CmkRootFile *rf)
{
	const cJSON *item;
	int			n;

	if (!cJSON_IsArray(array))
		return cmk_reader_bad(r, "roots", "is not an array");
	n = cJSON_GetArraySize(array);
	if (n < 1 || n > CMK_MAX_ROOTS)
		return cmk_reader_bad(r, "roots", "has not 1 to %d elements",
							  CMK_MAX_ROOTS);
	rf->roots = calloc(n, sizeof(CmkRoot));
	if (rf->roots == NULL)
		return cmk_reader_no_memory(r);
	cJSON_ArrayForEach(item, array)
	{
		if (parse_root(r, item, rf->nroots, &rf->roots[rf->nroots]) < 0)
			return -1;
		rf->nroots++;
	}
	return check_roots(r, rf);
}

/*
 * Is it our format, in a version that we know?  Asked before anything else is
 * looked at, because nothing else is known of a later version.
 */
static int
check_version(CmkReader *r, const cJSON *top)
{
	const cJSON *format = cJSON_GetObjectItemCaseSensitive(top, "format");
	const cJSON *version = cJSON_GetObjectItemCaseSensitive(top, "version");
	uint64_t	v;

	if (!cJSON_IsString(format) ||
		strcmp(format->valuestring, CMK_ROOTFILE_FORMAT) != 0)
		return cmk_reader_bad(r, "format", "is not \"%s\"",
							  CMK_ROOTFILE_FORMAT);
	if (version == NULL)
		return cmk_reader_bad(r, "version", "is missing");
	if (cmk_reader_integer(r, "version", version,
						   CMK_READER_MAX_INTEGER, &v) < 0)
		return -1;
	if (v > CMK_ROOTFILE_VERSION)
	{
		errno = 0;
		cmk_fail(r->err, CMK_ERR_CORRUPT,
				 "file \"%s\" has version %" PRIu64 ", which is not known here",
				 r->name, v);
		cmk_fail_detail(r->err, "This pg_cmk knows version %d.",
						CMK_ROOTFILE_VERSION);
		return cmk_fail_hint(r->err,
							 "It was written by a newer pg_cmk: use that one.");
	}
	return 0;
}

static size_t
skip_back(const char *text, size_t pos)
{
	while (pos > 0 && strchr(" \t\n\r", text[pos - 1]) != NULL)
		pos--;
	return pos;
}

/*
 * Where the HMAC's cover ends: before «"hmac" : "value" }», with white space
 * allowed between and after.  0 if the text does not end so.  The quote before
 * the name might be an escaped one inside a longer name; the caller knows that
 * the last name is "hmac", which excludes it.
 */
static size_t
find_signed_len(const char *text, size_t len, const char *value)
{
	size_t		vlen = strlen(value);
	size_t		pos = skip_back(text, len);

	if (pos == 0 || text[pos - 1] != '}')
		return 0;
	pos = skip_back(text, pos - 1);
	if (pos < vlen + 2 || text[pos - 1] != '"' || text[pos - vlen - 2] != '"' ||
		memcmp(text + pos - vlen - 1, value, vlen) != 0)
		return 0;
	pos = skip_back(text, pos - vlen - 2);
	if (pos == 0 || text[pos - 1] != ':')
		return 0;
	pos = skip_back(text, pos - 1);
	if (pos < 6 || memcmp(text + pos - 6, "\"hmac\"", 6) != 0)
		return 0;
	return pos - 6;
}

static int
parse_tree(CmkReader *r, const cJSON *top, size_t len, CmkRootFile *rf)
{
	enum
	{
		FORMAT, VERSION, SERIAL, SYSID, CURRENT, ROOTS, HMAC, N
	};
	static const char *const names[N] = {
		"format", "version", "serial", "system_identifier", "current_root",
		"roots", "hmac"
	};
	const cJSON *m[N];

	if (check_version(r, top) < 0 ||
		cmk_reader_members(r, top, "", names, m, N) < 0 ||
		cmk_reader_integer(r, names[SERIAL], m[SERIAL],
						   CMK_READER_MAX_INTEGER, &rf->serial) < 0 ||
		cmk_reader_uint64(r, names[SYSID], m[SYSID], &rf->sysid) < 0 ||
		get_root_id(r, names[CURRENT], m[CURRENT], &rf->current_root) < 0 ||
		cmk_reader_bytes(r, names[HMAC], m[HMAC], rf->hmac,
						 sizeof(rf->hmac), sizeof(rf->hmac), NULL) < 0)
		return -1;
	if (m[HMAC]->next == NULL)
		rf->signed_len = find_signed_len(rf->text, len, m[HMAC]->valuestring);
	if (rf->signed_len == 0)
		return cmk_reader_bad(r, names[HMAC], "is not the last member");
	return parse_roots(r, m[ROOTS], rf);
}

static int
parse_text(CmkReader *r, size_t len, CmkRootFile *rf)
{
	const char *end = NULL;
	cJSON	   *top;
	int			rc;

	if (cmk_reader_check_text(r, rf->text, len) < 0)
		return -1;
	errno = 0;
	top = cJSON_ParseWithLengthOpts(rf->text, len, &end, 0);
	if (top == NULL)
	{
		if (errno == ENOMEM)
			return cmk_reader_no_memory(r);
		return cmk_reader_bad(r, NULL, "It is not JSON at byte %zu",
							  (size_t) (end != NULL ? end - rf->text : 0));
	}
	if (end[strspn(end, " \t\n\r")] != '\0')
		rc = cmk_reader_bad(r, NULL, "Something follows the JSON object");
	else
		rc = parse_tree(r, top, len, rf);
	cJSON_Delete(top);
	return rc;
}

int
cmk_rootfile_parse(const char *text, size_t len, const char *name,
				   CmkRootFile *rf, CmkError *err)
{
	CmkReader	r = {.name = name, .err = err, .where = ""};

	memset(rf, 0, sizeof(*rf));
	if (len == 0)
		return cmk_reader_bad(&r, NULL, "It is empty");
	if (len > CMK_ROOTFILE_MAX)
		return cmk_reader_bad(&r, NULL, "It is longer than %d bytes",
							  CMK_ROOTFILE_MAX);
	rf->text = malloc(len + 1);
	if (rf->text == NULL)
		return cmk_reader_no_memory(&r);
	memcpy(rf->text, text, len);
	rf->text[len] = '\0';
	if (parse_text(&r, len, rf) < 0)
	{
		cmk_rootfile_free(rf);
		return -1;
	}
	return 0;
}
