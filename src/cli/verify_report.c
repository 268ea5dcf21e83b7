/*
 * verify_report.c
 *	  pg_cmk verify: counts and findings, as text and as JSON.  See verify.h.
 *
 * Names of files are printed as ASCII, with what is not as \xNN: they may be anything,
 * and go to terminals and log collectors.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../vault/json.h"
#include "verify.h"

/* ---- findings ---- */

/* malloc'd; NULL if there is no memory. */
static char *
printable(const char *path)
{
	char	   *result = malloc(4 * strlen(path) + 1);
	char	   *to = result;

	for (; result != NULL && *path != '\0'; path++)
	{
		unsigned char c = (unsigned char) *path;

		if (c < 0x20 || c > 0x7e || c == '\\')
			to += sprintf(to, "\\x%02x", c);
		else
			*to++ = (char) c;
	}
	if (result != NULL)
		*to = '\0';
	return result;
}

/* Does it go on where the last one ends? */
static bool
extends_last(CmkVerify *v, const char *path, uint64_t block, bool failure, const char *what)
{
	CmkVerifyFinding *last = v->nfindings > 0 ? &v->findings[v->nfindings - 1] : NULL;

	if (last == NULL || block == CMK_VERIFY_NO_BLOCK || last->from == CMK_VERIFY_NO_BLOCK ||
		last->to + 1 != block || last->failure != failure ||
		strcmp(last->path, path) != 0 || strcmp(last->what, what) != 0)
		return false;
	last->to = block;
	return true;
}

void
cmk_verify_find(CmkVerify *v, const char *path, uint64_t block, bool failure,
				const char *fmt,...)
{
	char		what[512];
	char	   *name = printable(path);
	CmkVerifyFinding *f;
	va_list		ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	if (failure)
		v->failures++;
	if (name != NULL && extends_last(v, name, block, failure, what))
	{
		free(name);
		return;
	}
	if (name != NULL && v->nfindings == v->room && v->room < CMK_VERIFY_MAX_FINDINGS)
	{
		size_t		more = v->room == 0 ? 64 : 2 * v->room;

		if (more > CMK_VERIFY_MAX_FINDINGS)
			more = CMK_VERIFY_MAX_FINDINGS;
		f = realloc(v->findings, more * sizeof(*f));
		if (f != NULL)
		{
			v->findings = f;
			v->room = more;
		}
	}
	if (name == NULL || v->nfindings == v->room)
	{
		free(name);
		v->dropped++;
		return;
	}
	f = &v->findings[v->nfindings];
	f->path = name;
	f->from = f->to = block;
	f->failure = failure;
	f->what = strdup(what);
	if (f->what == NULL)
	{
		free(name);
		v->dropped++;
		return;
	}
	v->nfindings++;
}

void
cmk_verify_report_free(CmkVerify *v)
{
	size_t		i;

	for (i = 0; i < v->nfindings; i++)
	{
		free(v->findings[i].path);
		free(v->findings[i].what);
	}
	free(v->findings);
}

/* ---- progress ---- */

void
cmk_verify_progress(CmkVerify *v, uint64_t bytes, bool end)
{
	static time_t last = 0;
	bool		terminal = isatty(STDERR_FILENO);
	time_t		now = time(NULL);

	v->done += bytes;
	if (!(terminal || v->cli->progress) || (now == last && !end))
		return;
	last = now;
	fprintf(stderr, "pg_cmk: %" PRIu64 "/%" PRIu64 " MB (%d%%)%s", v->done >> 20, v->total >> 20,
			v->total > 0 && v->done < v->total ? (int) (v->done * 100 / v->total) : 100,
			terminal && !end ? "\r" : "\n");
	fflush(stderr);
}

/* ---- text ---- */

static void
print_counts(const CmkVerify *v)
{
	int			i;

	printf("%-22s %8s %14s %10s %10s %10s %14s %12s\n", "", "files", "bytes",
		   "sealed", "plain", "zero", "clear", "unaccounted");
	printf("%-22s %8s %14s %10s %10s %10s %14s %12s\n", "", "", "",
		   "pages", "pages", "pages", "bytes", "bytes");
	for (i = 0; i < CMK_VERIFY_KINDS; i++)
	{
		const CmkVerifyCount *c = &v->counts[i];

		if (c->files > 0)
			printf("%-22s %8" PRIu64 " %14" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64
				   " %14" PRIu64 " %12" PRIu64 "\n", cmk_verify_kinds[i].name, c->files, c->bytes,
				   c->sealed, c->plain, c->zero, c->clear, c->unaccounted);
	}
}

static void
print_finding(const CmkVerifyFinding *f)
{
	printf("%s: \"%s\"", f->failure ? "failure" : "notice", f->path);
	if (f->from != CMK_VERIFY_NO_BLOCK)
	{
		printf(", block%s %" PRIu64, f->to > f->from ? "s" : "", f->from);
		if (f->to > f->from)
			printf(" to %" PRIu64, f->to);
	}
	printf(": %s\n", f->what);
}

static const char *
how_opened(const CmkVerify *v)
{
	if (!v->has_key)
		return "there is no key: nothing is sealed";
	return v->opens ? "every sealed page was opened with its key" :
		"sealed pages were told by their marks and looks, and not opened";
}

static const char plain_wal_hint[] =
"Plain WAL comes with a backup by \"pg_basebackup -X stream\"; run as \"pg_cmk exec -- pg_basebackup\" it writes "
"sealed WAL. A server that starts from this backup seals it first.";

static void
print_text(const CmkVerify *v)
{
	size_t		i;

	printf("scope %s; %s\n\n", v->cluster ? "cluster" : "tables", how_opened(v));
	print_counts(v);
	if (v->nfindings > 0)
		putchar('\n');
	for (i = 0; i < v->nfindings; i++)
		print_finding(&v->findings[i]);
	if (v->dropped > 0)
		printf("… and %zu more\n", v->dropped);
	if (v->plain_wal)
		printf("hint: %s\n", plain_wal_hint);
	if (v->failures > 0)
		printf("\nfailed: not all is as it must be\n");
	else
		printf("\npassed: %s\n", v->cluster ? "nothing is plain but what must stay clear" :
			   "all is sealed that must be");
}

/* ---- JSON ---- */

static cJSON *
json_counts(const CmkVerify *v)
{
	static const char *const hows[] = {
		[CMK_VERIFY_PAGES] = "sealed", [CMK_VERIFY_TEMP_PAGES] = "sealed", [CMK_VERIFY_WAL] = "sealed",
		[CMK_VERIFY_UNITS] = "sealed", [CMK_VERIFY_NOTIFY] = "sealed", [CMK_VERIFY_PLAIN] = "refused",
		[CMK_VERIFY_CLEAR] = "clear", [CMK_VERIFY_UNKNOWN] = "unknown"
	};
	cJSON	   *list = cJSON_CreateArray();
	int			i;

	for (i = 0; i < CMK_VERIFY_KINDS; i++)
	{
		const CmkVerifyCount *c = &v->counts[i];
		cJSON	   *o = cJSON_CreateObject();

		cJSON_AddStringToObject(o, "kind", cmk_verify_kinds[i].name);
		cJSON_AddStringToObject(o, "meant_to_be", hows[cmk_verify_kinds[i].how]);
		cJSON_AddStringToObject(o, "content", cmk_verify_kinds[i].what);
		cJSON_AddNumberToObject(o, "files", (double) c->files);
		cJSON_AddNumberToObject(o, "bytes", (double) c->bytes);
		cJSON_AddNumberToObject(o, "sealed_pages", (double) c->sealed);
		cJSON_AddNumberToObject(o, "plain_pages", (double) c->plain);
		cJSON_AddNumberToObject(o, "zero_pages", (double) c->zero);
		cJSON_AddNumberToObject(o, "clear_bytes", (double) c->clear);
		cJSON_AddNumberToObject(o, "unaccounted_bytes", (double) c->unaccounted);
		cJSON_AddItemToArray(list, o);
	}
	return list;
}

static cJSON *
json_findings(const CmkVerify *v)
{
	cJSON	   *list = cJSON_CreateArray();
	size_t		i;

	for (i = 0; i < v->nfindings; i++)
	{
		const CmkVerifyFinding *f = &v->findings[i];
		cJSON	   *o = cJSON_CreateObject();

		cJSON_AddStringToObject(o, "severity", f->failure ? "failure" : "notice");
		cJSON_AddStringToObject(o, "file", f->path);
		if (f->from != CMK_VERIFY_NO_BLOCK)
		{
			cJSON_AddNumberToObject(o, "first_block", (double) f->from);
			cJSON_AddNumberToObject(o, "last_block", (double) f->to);
		}
		cJSON_AddStringToObject(o, "what", f->what);
		cJSON_AddItemToArray(list, o);
	}
	return list;
}

static int
print_json(const CmkVerify *v)
{
	cJSON	   *o = cJSON_CreateObject();
	char	   *text;
	int			result;

	cJSON_AddBoolToObject(o, "passed", v->failures == 0);
	cJSON_AddStringToObject(o, "scope", v->cluster ? "cluster" : "tables");
	cJSON_AddBoolToObject(o, "has_key", v->has_key);
	cJSON_AddBoolToObject(o, "opened", v->opens);
	cJSON_AddBoolToObject(o, "backup", v->is_backup);
	cJSON_AddItemToObject(o, "kinds", json_counts(v));
	cJSON_AddItemToObject(o, "findings", json_findings(v));
	cJSON_AddNumberToObject(o, "findings_left_out", (double) v->dropped);
	text = cJSON_Print(o);
	cJSON_Delete(o);
	result = text != NULL && puts(text) >= 0 ? 0 : -1;
	free(text);
	return result;
}

int
cmk_verify_report(const CmkVerify *v)
{
	int			result = 0;

	if (v->cli->json)
		result = print_json(v);
	else
		print_text(v);
	return fflush(stdout) != 0 || ferror(stdout) ? -1 : result;
}
