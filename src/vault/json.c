/*
 * json.c
 *	  JSON that came over the network.
 *
 * cJSON is more generous than JSON: it keeps members of one name, cuts strings
 * at \u0000 and recurses as deep as the text is nested.  So the text is looked
 * over before, and the tree after.  Answers carry tokens and unwrapped keys:
 * the tree is wiped before it is freed.
 */
#include <stdlib.h>
#include <string.h>

#include "../seal/kdf.h"
#include "json.h"

#define MAX_DEPTH	16
#define MAX_MEMBERS	256
#define MAX_INTEGER	9007199254740991.0	/* 2^53 - 1 */

/* Before cJSON sees it: depth, NUL bytes, \u0000. */
static int
text_is_sane(const char *text, size_t len)
{
	size_t		i;
	int			depth = 0;
	int			in_string = 0;

	for (i = 0; i < len; i++)
	{
		char		c = text[i];

		if (c == '\0')
			return 0;
		if (in_string && c == '\\')
		{
			if (len - i >= 6 && memcmp(text + i, "\\u0000", 6) == 0)
				return 0;
			i++;
			if (i < len && text[i] == '\0')
				return 0;
		}
		else if (c == '"')
			in_string = !in_string;
		else if (!in_string && (c == '{' || c == '['))
		{
			if (++depth > MAX_DEPTH)
				return 0;
		}
		else if (!in_string && (c == '}' || c == ']'))
			depth--;
	}
	return 1;
}

/* No object with a name twice, or with very many. */
static int
tree_is_sane(const cJSON *item)
{
	const cJSON *a;
	const cJSON *b;
	int			n = 0;

	for (a = item->child; a != NULL; a = a->next)
	{
		if (cJSON_IsObject(item))
		{
			if (++n > MAX_MEMBERS)
				return 0;
			for (b = item->child; b != a; b = b->next)
			{
				if (strcmp(a->string, b->string) == 0)
					return 0;
			}
		}
		if (!tree_is_sane(a))
			return 0;
	}
	return 1;
}

cJSON *
cmk_json_parse(const char *text, size_t len)
{
	const char *end;
	cJSON	   *doc;

	if (len == 0 || !text_is_sane(text, len))
		return NULL;
	doc = cJSON_ParseWithLengthOpts(text, len, &end, 0);
	if (doc == NULL)
		return NULL;
	while (end < text + len && strchr(" \t\r\n", *end) != NULL)
		end++;
	if (end != text + len || !cJSON_IsObject(doc) || !tree_is_sane(doc))
	{
		cmk_json_free(doc);
		return NULL;
	}
	return doc;
}

static void
wipe_tree(cJSON *item)
{
	cJSON	   *child;

	if (item->valuestring != NULL)
		cmk_cleanse(item->valuestring, strlen(item->valuestring));
	for (child = item->child; child != NULL; child = child->next)
		wipe_tree(child);
}

void
cmk_json_free(cJSON *doc)
{
	if (doc == NULL)
		return;
	wipe_tree(doc);
	cJSON_Delete(doc);
}

const cJSON *
cmk_json_get(const cJSON *obj, const char *name)
{
	const cJSON *child;

	if (!cJSON_IsObject(obj))
		return NULL;
	for (child = obj->child; child != NULL; child = child->next)
	{
		if (strcmp(child->string, name) == 0)
			return child;
	}
	return NULL;
}

const cJSON *
cmk_json_object(const cJSON *obj, const char *name)
{
	const cJSON *item = cmk_json_get(obj, name);

	return cJSON_IsObject(item) ? item : NULL;
}

const char *
cmk_json_string(const cJSON *obj, const char *name)
{
	const cJSON *item = cmk_json_get(obj, name);

	return cJSON_IsString(item) ? item->valuestring : NULL;
}

int
cmk_json_integer(const cJSON *obj, const char *name, int64_t *out)
{
	const cJSON *item = cmk_json_get(obj, name);
	double		v;

	*out = 0;
	if (item == NULL || cJSON_IsNull(item))
		return 0;
	if (!cJSON_IsNumber(item))
		return -1;
	v = item->valuedouble;
	if (!(v >= 0 && v <= MAX_INTEGER) || (double) (int64_t) v != v)
		return -1;
	*out = (int64_t) v;
	return 1;
}

int
cmk_json_integer_or_text(const cJSON *obj, const char *name, int64_t *out)
{
	const char *s = cmk_json_string(obj, name);

	if (s == NULL)
		return cmk_json_integer(obj, name, out);
	*out = 0;
	if (s[0] == '\0' || strlen(s) > 15 || strspn(s, "0123456789") != strlen(s))
		return -1;
	*out = strtoll(s, NULL, 10);
	return 1;
}
