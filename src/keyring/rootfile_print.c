/*
 * rootfile_print.c
 *	  From a CmkRootFile to the text of root.json.
 *
 * The layout is fixed, one member a line, so that the same content always gives
 * the same text and two versions of the file can be compared with diff.  What is
 * printed is read back by the parser before anybody can write it: a root file
 * that cannot be read is lost data.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../seal/base64url.h"
#include "rootfile_internal.h"

#define MAX_BYTES	CMK_PUBLIC_KEY_MAX	/* the longest value */

/* A text that grows.  After a failure it takes no more. */
typedef struct Out
{
	char	   *text;
	size_t		len;
	size_t		size;
	bool		too_long;
	bool		no_memory;
} Out;

static bool
make_room(Out *o, size_t need)
{
	size_t		size = o->size;
	char	   *text;

	if (o->too_long || o->no_memory)
		return false;
	if (o->len + need > CMK_ROOTFILE_MAX)
	{
		o->too_long = true;
		return false;
	}
	while (size < o->len + need + 1)
		size = size == 0 ? 4096 : size * 2;
	if (size > o->size)
	{
		text = realloc(o->text, size);
		if (text == NULL)
		{
			o->no_memory = true;
			return false;
		}
		o->text = text;
		o->size = size;
	}
	return true;
}

static void
put(Out *o, const char *s)
{
	size_t		n = strlen(s);

	if (make_room(o, n))
	{
		memcpy(o->text + o->len, s, n + 1);
		o->len += n;
	}
}

/* At most 127 characters at a time. */
static void putf(Out *o, const char *fmt,...)
			__attribute__((format(printf, 2, 3)));

static void
putf(Out *o, const char *fmt,...)
{
	char		buf[128];
	va_list		ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	put(o, buf);
}

/*
 * A JSON string.  Control characters go out as they are: the parser refuses
 * them in every form.
 */
static void
put_string(Out *o, const char *s)
{
	char		c[3];

	put(o, "\"");
	for (; *s != '\0'; s++)
	{
		if (*s == '"' || *s == '\\')
			snprintf(c, sizeof(c), "\\%c", *s);
		else
			snprintf(c, sizeof(c), "%c", *s);
		put(o, c);
	}
	put(o, "\"");
}

static void
put_bytes(Out *o, const uint8_t *bytes, size_t len)
{
	char		text[CMK_BASE64URL_SIZE(MAX_BYTES)];

	if (len > MAX_BYTES)
		len = 0;				/* which the parser refuses */
	cmk_base64url_encode(bytes, len, text);
	put(o, "\"");
	put(o, text);
	put(o, "\"");
}

int
cmk_rootfile_format_time(int64_t t, char out[CMK_ROOTFILE_TIME_SIZE])
{
	time_t		tt = t;
	struct tm	tm;

	out[0] = '\0';
	if (t < 0 || gmtime_r(&tt, &tm) == NULL || tm.tm_year > 9999 - 1900)
		return -1;
	return strftime(out, CMK_ROOTFILE_TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ",
					&tm) == CMK_ROOTFILE_TIME_SIZE - 1 ? 0 : -1;
}

static void
put_time(Out *o, int64_t t)
{
	char		text[CMK_ROOTFILE_TIME_SIZE];

	(void) cmk_rootfile_format_time(t, text);	/* "", which is refused */
	put_string(o, text);
}

static void
put_wrap(Out *o, const CmkWrap *w)
{
	put(o, "        {\n          \"recipient\": ");
	put_string(o, w->recipient);
	put(o, ",\n          \"key_version\": ");
	put_string(o, w->key_version);
	put(o, ",\n          \"alg\": ");
	put_string(o, w->alg);
	put(o, ",\n          \"public_key\": ");
	put_bytes(o, w->public_key, w->public_len);
	put(o, ",\n          \"value\": ");
	put_bytes(o, w->value, w->len);
	put(o, ",\n          \"created\": ");
	put_time(o, w->created);
	put(o, ",\n          \"local\": ");
	put(o, w->local ? "true" : "false");
	put(o, "\n        }");
}

static void
put_root(Out *o, const CmkRoot *root)
{
	int			i;

	putf(o, "    {\n      \"id\": %" PRIu32 ",\n      \"created\": ", root->id);
	put_time(o, root->created);
	put(o, ",\n      \"salt\": ");
	put_bytes(o, root->salt, sizeof(root->salt));
	putf(o, ",\n      \"wal_from\": \"%" PRIX32 "/%" PRIX32 "\",\n",
		 (uint32_t) (root->wal_from >> 32), (uint32_t) root->wal_from);
	put(o, "      \"wraps\": [");
	for (i = 0; i < root->nwraps; i++)
	{
		put(o, i == 0 ? "\n" : ",\n");
		put_wrap(o, &root->wraps[i]);
	}
	put(o, root->nwraps > 0 ? "\n      ],\n" : "],\n");
	put(o, "      \"wrapped_by_root\": ");
	if (root->by_root_id == 0)
		put(o, "null\n    }");
	else
	{
		putf(o, "{\"id\": %" PRIu32 ", \"value\": ", root->by_root_id);
		put_bytes(o, root->by_root, sizeof(root->by_root));
		put(o, "}\n    }");
	}
}

/* Everything that the HMAC covers. */
static void
put_signed(Out *o, const CmkRootFile *rf)
{
	int			i;

	putf(o, "{\n  \"format\": \"%s\",\n  \"version\": %d,\n",
		 CMK_ROOTFILE_FORMAT, CMK_ROOTFILE_VERSION);
	putf(o, "  \"serial\": %" PRIu64 ",\n", rf->serial);
	putf(o, "  \"system_identifier\": \"%" PRIu64 "\",\n", rf->sysid);
	putf(o, "  \"current_root\": %" PRIu32 ",\n  \"roots\": [", rf->current_root);
	for (i = 0; i < rf->nroots; i++)
	{
		put(o, i == 0 ? "\n" : ",\n");
		put_root(o, &rf->roots[i]);
	}
	put(o, "\n  ],\n  ");
}

static int
print_failed(const Out *o, CmkError *err)
{
	errno = 0;
	if (o->no_memory)
		return cmk_fail(err, CMK_ERR_NO_MEMORY,
						"out of memory while printing the root keys");
	if (o->too_long)
		return cmk_fail(err, CMK_ERR_LIMIT,
						"the root keys with all their wraps need more than %d bytes",
						CMK_ROOTFILE_MAX);
	return cmk_fail(err, CMK_ERR_CRYPTO,
					"could not authenticate the root keys");
}

/* Does the parser read text as what rf holds, and does the HMAC fit? */
static int
read_back(const CmkRootFile *rf, const Out *o, const uint8_t *current,
		  CmkRootFile *again, CmkError *err)
{
	CmkError	why;

	if (cmk_rootfile_parse(o->text, o->len, "root.json", again, &why) == 0)
	{
		if (cmk_rootfile_verify(again, "root.json", rf->sysid, current,
								&why) == 0)
			return 0;
		cmk_rootfile_free(again);
	}
	errno = 0;
	cmk_fail(err, why.code,
			 "the root keys cannot be printed so that they could be read again");
	return cmk_fail_detail(err, "%s", why.detail);
}

int
cmk_rootfile_print(CmkRootFile *rf, const uint8_t current[CMK_ROOT_KEY_SIZE],
				   CmkError *err)
{
	Out			o = {.text = NULL};
	CmkRootFile again;
	uint8_t		hmac[CMK_HMAC_SIZE];
	size_t		signed_len;

	put_signed(&o, rf);
	signed_len = o.len;
	if (o.no_memory || o.too_long ||
		cmk_rootfile_hmac(current, rf->sysid, o.text, o.len, hmac) < 0)
	{
		print_failed(&o, err);
		free(o.text);
		return -1;
	}
	put(&o, "\"hmac\": ");
	put_bytes(&o, hmac, sizeof(hmac));
	put(&o, "\n}\n");
	if (o.no_memory || o.too_long)
	{
		print_failed(&o, err);
		free(o.text);
		return -1;
	}
	if (read_back(rf, &o, current, &again, err) < 0)
	{
		free(o.text);
		return -1;
	}
	cmk_rootfile_free(&again);
	free(rf->text);
	rf->text = o.text;
	rf->signed_len = signed_len;
	memcpy(rf->hmac, hmac, sizeof(hmac));
	return 0;
}
