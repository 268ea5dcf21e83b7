/*
 * status.c
 *	  pg_cmk status: what the server last said of its key.
 *
 * It comes from pg_cmk/status.json, which the worker rewrites after each look at
 * the key.  How far that can be believed is told by the server that runs here (or
 * does not), by the pid in the file, which a copied directory has from elsewhere,
 * and by the time that has passed: a worker that hangs writes nothing, and the
 * server closes all the same when its hard deadline has passed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../keyring/keyring.h"
#include "../keyring/rootfile.h"
#include "../keyring/textfile.h"
#include "../vault/json.h"
#include "cli.h"
#include "datadir.h"

#define STATUS_FILE		"pg_cmk/status.json"
#define STATUS_MAX		65536
#define HARD_DEADLINE	600		/* s since the last success: the gate is closed */
#define OVERDUE			240		/* s; more than a validation can take */

typedef struct Seen
{
	CmkServer	server;
	cJSON	   *doc;			/* status.json of this very server, or NULL */
	const char *state;			/* "" if it is not known */
	const char *why;			/* …why not, or what is wrong with it, or "" */
	int64_t		age;			/* s since status.json was written */
} Seen;

/* Seconds since 1970 of a time as status.json has it; -1: none. */
static int64_t
member_time(const cJSON *doc, const char *name)
{
	const char *text = cmk_json_string(doc, name);
	struct tm	tm;

	memset(&tm, 0, sizeof(tm));
	if (text == NULL || strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) == NULL)
		return -1;
	return (int64_t) timegm(&tm);
}

/* Is what the file says still so? */
static void
judge_age(Seen *seen)
{
	int64_t		now = (int64_t) time(NULL);
	int64_t		written = member_time(seen->doc, "written_at");
	int64_t		validated = member_time(seen->doc, "last_validated");
	int64_t		next = member_time(seen->doc, "next_validation");

	seen->age = written < 0 ? -1 : now - written;
	if (validated >= 0 && now - validated > HARD_DEADLINE &&
		(strcmp(seen->state, "Ready") == 0 || strcmp(seen->state, "Degraded") == 0))
	{
		seen->state = "Inaccessible";
		seen->why = "the key was not validated for ten minutes";
	}
	else if (next >= 0 && now - next > OVERDUE)
	{
		seen->state = "";
		seen->why = "a validation is overdue: the key worker does not run or hangs";
	}
}

static void
look(Seen *seen)
{
	size_t		len;
	char	   *text;
	int64_t		pid;

	seen->state = "";
	seen->age = -1;
	if (seen->server.pid == 0)
	{
		seen->why = "the server is stopped";
		return;
	}
	text = cmk_textfile_read(STATUS_FILE, STATUS_MAX, false, &len, NULL);
	seen->doc = text != NULL ? cmk_json_parse(text, len) : NULL;
	free(text);
	if (seen->doc == NULL || cmk_json_string(seen->doc, "state") == NULL)
		seen->why = "the server has not said anything of its key yet, or has none";
	else if (cmk_json_integer(seen->doc, "pid", &pid) != 1 || pid != seen->server.pid)
		seen->why = "the server that runs has not said anything of its key yet";
	else
	{
		seen->state = cmk_json_string(seen->doc, "state");
		seen->why = "";
		judge_age(seen);
		return;
	}
	cmk_json_free(seen->doc);
	seen->doc = NULL;
}

/* ---- text ---- */

static void
line(const char *name, const char *value)
{
	if (value != NULL && value[0] != '\0')
		printf("%-17s %s\n", name, value);
}

static void
time_line(const Seen *seen, const char *name, const char *member)
{
	int64_t		t = member_time(seen->doc, member);

	if (t >= 0)
		line(name, cmk_time_text(t));
}

/* Unverified: the root is not open here. */
static void
print_recipients(const CmkRootFile *rf)
{
	const CmkRoot *root = cmk_rootfile_find_root(rf, rf->current_root);
	int			i;

	for (i = 0; root != NULL && i < root->nwraps; i++)
	{
		const CmkWrap *w = &root->wraps[i];

		printf("%-17s %s%s\n", "recipient:", w->recipient, w->local ? " (this copy only)" : "");
		printf("%-17s %s, wrapped %s\n", "", w->key_version, cmk_time_text(w->created));
	}
}

static void
print_text(const Seen *seen, const CmkRootFile *rf)
{
	if (seen->server.pid != 0)
		printf("%-17s running (PID %d)\n", "server:", (int) seen->server.pid);
	else
		line("server:", "stopped");
	if (seen->server.pid != 0)
		line("state:", seen->state[0] ? seen->state : "unknown");
	if (seen->server.pid != 0)
		line("", seen->why);
	line("reason:", cmk_json_string(seen->doc, "reason"));
	line("message:", cmk_json_string(seen->doc, "message"));
	time_line(seen, "since:", "since");
	line("key:", cmk_json_string(seen->doc, "key_url"));
	line("key version:", cmk_json_string(seen->doc, "key_version"));
	line("identity:", cmk_json_string(seen->doc, "identity"));
	time_line(seen, "last validated:", "last_validated");
	time_line(seen, "next validation:", "next_validation");
	if (seen->age >= 0)
		printf("%-17s %lld s ago\n", "said:", (long long) seen->age);
	if (rf != NULL)
		print_recipients(rf);
}

/* ---- JSON ---- */

static void
add_recipients(cJSON *o, const CmkRootFile *rf)
{
	const CmkRoot *root = cmk_rootfile_find_root(rf, rf->current_root);
	cJSON	   *list = cJSON_AddArrayToObject(o, "recipients");
	int			i;

	for (i = 0; root != NULL && i < root->nwraps; i++)
	{
		cJSON	   *r = cJSON_CreateObject();

		cJSON_AddStringToObject(r, "key_url", root->wraps[i].recipient);
		cJSON_AddStringToObject(r, "key_version", root->wraps[i].key_version);
		cJSON_AddBoolToObject(r, "local", root->wraps[i].local);
		cJSON_AddItemToArray(list, r);
	}
}

/* The members of status.json, with what was found out here in front of them. */
static void
print_json(const Seen *seen, const CmkRootFile *rf)
{
	cJSON	   *o = cJSON_CreateObject();
	const cJSON *member;
	char	   *text;

	cJSON_AddBoolToObject(o, "running", seen->server.pid != 0);
	cJSON_AddStringToObject(o, "state", seen->state);
	cJSON_AddStringToObject(o, "note", seen->why);
	if (seen->age >= 0)
		cJSON_AddNumberToObject(o, "age", (double) seen->age);
	if (seen->doc != NULL)
		cJSON_ArrayForEach(member, seen->doc)
			if (cJSON_GetObjectItemCaseSensitive(o, member->string) == NULL)
				cJSON_AddItemToObject(o, member->string, cJSON_Duplicate(member, 1));
	if (rf != NULL)
		add_recipients(o, rf);
	text = cJSON_Print(o);
	cJSON_Delete(o);
	if (text != NULL)
		puts(text);
	free(text);
}

int
cmk_command_status(const CmkCli *cli)
{
	Seen		seen;
	CmkRootFile rf;
	CmkError	err;
	bool		have_root = false;
	int			result;

	memset(&seen, 0, sizeof(seen));
	if (cmk_datadir_postmaster(&seen.server, &err) < 0)
	{
		cmk_say_error(&err);
		return CMK_EXIT_UNKNOWN;
	}
	look(&seen);
	if (seen.server.pid == 0)
	{
		have_root = cmk_rootfile_read(CMK_ROOT_FILE, &rf, &err) == 0;
		if (!have_root && err.code != CMK_ERR_NOT_FOUND)
			cmk_say_error(&err);
	}
	if (cli->json)
		print_json(&seen, have_root ? &rf : NULL);
	else
		print_text(&seen, have_root ? &rf : NULL);
	result = cmk_exit_of_state(seen.state);
	if (have_root)
		cmk_rootfile_free(&rf);
	cmk_json_free(seen.doc);
	return result;
}
