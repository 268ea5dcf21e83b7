/*
 * reqfile.c
 *	  Requests of the pg_cmk command, which come as a file.  See reqfile.h.
 *
 * The file is removed before what it asks is done: a request that ends the worker
 * must not be found again by the next one.  Whoever waits for that answer waits in
 * vain, and says so when his time is up.
 *
 * And it is done only while somebody waits for it.  A command that was killed, or
 * whose data directory was copied, leaves a file that would change the key of a server
 * that is started with it much later.  The command holds a lock as long as it lives.
 *
 * Reading is strict, and is done on what was opened (O_NOFOLLOW, then fstat), so
 * that no name can be exchanged between the check and the use.  O_NONBLOCK keeps a
 * FIFO from holding up the worker.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../keyring/keyring.h"
#include "../vault/json.h"
#include "reqfile.h"
#include "request.h"
#include "worker.h"

#define REQUEST_MAX		4096
#define ID_LEN			32
#define ANSWER_TMP		CMK_ANSWER_FILE ".tmp"

/* The one request that is under way in this process. */
static struct
{
	bool		pending;
	bool		looks;			/* revalidate: the state is the answer */
	char		id[ID_LEN + 1];
	CmkOutcome	outcome;
}			current;

/* ---- taking ---- */

static const char *
why_not(const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return "it is no regular file";
	if (st->st_uid != geteuid())
		return "it does not belong to the server's user";
	if ((st->st_mode & 077) != 0)
		return "others may read or write it";
	if (st->st_size == 0 || st->st_size > REQUEST_MAX)
		return "its size is wrong";
	return NULL;
}

/* A file that was refused and could not be removed; it is met again at each turn. */
static bool stays = false;

/* Says once why a file is refused. */
static void
refuse(const char *why)
{
	if (!stays)
		ereport(WARNING,
				(errmsg("pg_cmk: file \"%s\" is refused: %s", CMK_REQUEST_FILE, why)));
	stays = unlink(CMK_REQUEST_FILE) < 0 && errno != ENOENT;
}

/* Reads the file into buf (REQUEST_MAX + 1 bytes) and removes it; its length, or -1. */
static int
take_file(char *buf)
{
	int			fd = open(CMK_REQUEST_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	const char *why;
	ssize_t		len;

	if (fd < 0 && errno == ENOENT)
	{
		stays = false;
		return -1;
	}
	if (fd < 0)
	{
		refuse(errno == ELOOP ? "it is a symbolic link" : strerror(errno));
		return -1;
	}
	why = fstat(fd, &st) < 0 ? strerror(errno) : why_not(&st);
	len = why == NULL ? read(fd, buf, REQUEST_MAX) : -1;
	if (why == NULL && len != st.st_size)
		why = "it could not be read whole";
	close(fd);
	if (why == NULL && unlink(CMK_REQUEST_FILE) < 0)
		why = strerror(errno);
	if (why == NULL)
	{
		stays = false;
		return (int) len;
	}
	refuse(why);
	return -1;
}

static bool
is_id(const char *s)
{
	return s != NULL && strlen(s) == ID_LEN &&
		strspn(s, "0123456789abcdef") == ID_LEN;
}

/* By the lock of cmk_datadir_lock(); where there are no such locks it is believed. */
static bool
somebody_waits(void)
{
	int			fd = open(CMK_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool		nobody = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;

	if (fd >= 0)
		close(fd);
	return !nobody;
}

static void
set_key(CmkKeyWork *work, const char *url)
{
	CmkRequest	req;

	memset(&req, 0, sizeof(req));
	req.kind = CMK_REQUEST_SET_KEY;
	if (url == NULL || strlen(url) >= sizeof(req.url))
	{
		cmk_outcome(&current.outcome, CMK_REASON_CONFIG, "the request names no key URL");
		return;
	}
	strcpy(req.url, url);
	cmk_key_url_normalize(req.url);
	cmk_execute_request(work, &req, &current.outcome);
}

bool
cmk_serve_request_file(CmkKeyWork *work)
{
	char		buf[REQUEST_MAX + 1];
	int			len = take_file(buf);
	cJSON	   *doc;
	const char *id;
	const char *what;

	if (len < 0)
		return current.pending;
	doc = cmk_json_parse(buf, len);
	id = cmk_json_string(doc, "id");
	what = cmk_json_string(doc, "request");
	if (!is_id(id) || what == NULL)
		refuse("it is no request");
	else if (!somebody_waits())
		refuse("nobody waits for the answer");
	else
	{
		strcpy(current.id, id);
		current.pending = true;
		current.looks = strcmp(what, "revalidate") == 0;
		ereport(LOG,
				(errmsg("pg_cmk: the pg_cmk command asks for \"%s\"",
						current.looks || strcmp(what, "set-key") == 0 ? what : "?")));
		if (strcmp(what, "set-key") == 0)
			set_key(work, cmk_json_string(doc, "url"));
		else if (!current.looks)
			cmk_outcome(&current.outcome, CMK_REASON_CONFIG,
						"the request is none that this server knows");
	}
	cmk_json_free(doc);
	return current.pending;
}

/* ---- answering ---- */

static char *
answer_text(void)
{
	CmkStatus	st;
	const CmkOutcome *out = &current.outcome;
	bool		ok;
	cJSON	   *doc = cJSON_CreateObject();
	char	   *text;

	cmk_read_status(&st);
	ok = current.looks ? st.health.state == CMK_STATE_READY :
		out->verdict == CMK_VERDICT_YES;
	cJSON_AddStringToObject(doc, "id", current.id);
	cJSON_AddBoolToObject(doc, "ok", ok);
	cJSON_AddStringToObject(doc, "state", cmk_state_name(st.health.state));
	cJSON_AddStringToObject(doc, "reason", ok ? "" :
							cmk_reason_name(current.looks ? st.health.reason : out->reason));
	cJSON_AddStringToObject(doc, "message", ok ? "" :
							current.looks ? st.reason : out->err.message);
	cJSON_AddStringToObject(doc, "detail", ok || current.looks ? "" : out->err.detail);
	cJSON_AddStringToObject(doc, "hint", ok || current.looks ? "" : out->err.hint);
	text = cJSON_Print(doc);
	cJSON_Delete(doc);
	return text;
}

static bool
write_all(const char *path, const char *text)
{
	int			fd;
	size_t		len = strlen(text);
	bool		ok;

	if (unlink(path) < 0 && errno != ENOENT)
		return false;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	errno = ENOSPC;
	ok = write(fd, text, len) == (ssize_t) len;
	return close(fd) == 0 && ok;
}

void
cmk_answer_request_file(void)
{
	char	   *text;

	if (!current.pending)
		return;
	text = answer_text();
	if (text == NULL)
		errno = ENOMEM;
	if (text == NULL || !write_all(ANSWER_TMP, text) ||
		rename(ANSWER_TMP, CMK_ANSWER_FILE) < 0)
		ereport(LOG,
				(errmsg("could not write file \"%s\": %m", CMK_ANSWER_FILE)));
	free(text);
	memset(&current, 0, sizeof(current));
}
