/*
 * exchange.c
 *	  Asking a running server through a file.  See exchange.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../keyring/textfile.h"
#include "../seal/kdf.h"
#include "../vault/json.h"
#include "exchange.h"

#define REQUEST_FILE	"pg_cmk/request.json"
#define ANSWER_FILE		"pg_cmk/answer.json"
#define ANSWER_MAX		16384
#define POLL_MS			50
#define ID_SIZE			33

static volatile sig_atomic_t interrupted = 0;

static void
note_signal(int signo)
{
	interrupted = signo;
}

/* Not those that are ignored, as by nohup. */
static void
catch_signal(int signo)
{
	struct sigaction sa;

	if (sigaction(signo, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN)
		return;
	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = note_signal;
	sigaction(signo, &sa, NULL);
}

static int
make_id(char *id, CmkError *err)
{
	uint8_t		raw[ID_SIZE / 2];
	size_t		i;

	if (cmk_random_public(raw, sizeof(raw)) < 0)
		return cmk_fail(err, CMK_ERR_CRYPTO, "could not get random bytes");
	for (i = 0; i < sizeof(raw); i++)
		sprintf(id + 2 * i, "%02x", raw[i]);
	return 0;
}

/* Renamed into place, so that the server finds a whole one or none. */
static int
write_request(const char *id, const char *request, const char *url, CmkError *err)
{
	cJSON	   *doc = cJSON_CreateObject();
	char	   *text;
	int			result;

	cJSON_AddStringToObject(doc, "id", id);
	cJSON_AddStringToObject(doc, "request", request);
	if (url != NULL)
		cJSON_AddStringToObject(doc, "url", url);
	text = cJSON_Print(doc);
	cJSON_Delete(doc);
	if (text == NULL)
		return cmk_fail(err, CMK_ERR_NO_MEMORY, "out of memory");
	result = cmk_textfile_write(REQUEST_FILE ".tmp", text, strlen(text), 0600, false, err);
	free(text);
	if (result == 0 && rename(REQUEST_FILE ".tmp", REQUEST_FILE) < 0)
	{
		result = cmk_fail(err, CMK_ERR_IO, "could not make file \"%s\": %s", REQUEST_FILE,
						  strerror(errno));
		unlink(REQUEST_FILE ".tmp");
	}
	return result;
}

static void
copy_text(char *to, size_t size, const cJSON *doc, const char *name)
{
	const char *text = cmk_json_string(doc, name);

	snprintf(to, size, "%s", text != NULL ? text : "");
}

/* Is the answer to id there? */
static bool
read_answer(const char *id, CmkAnswer *answer)
{
	size_t		len;
	char	   *text = cmk_textfile_read(ANSWER_FILE, ANSWER_MAX, false, &len, NULL);
	cJSON	   *doc;
	const char *theirs;
	bool		ours;

	if (text == NULL)
		return false;
	doc = cmk_json_parse(text, len);
	free(text);
	theirs = cmk_json_string(doc, "id");
	ours = theirs != NULL && strcmp(theirs, id) == 0;
	if (ours)
	{
		answer->ok = cJSON_IsTrue(cmk_json_get(doc, "ok"));
		copy_text(answer->state, sizeof(answer->state), doc, "state");
		copy_text(answer->reason, sizeof(answer->reason), doc, "reason");
		copy_text(answer->message, sizeof(answer->message), doc, "message");
		copy_text(answer->detail, sizeof(answer->detail), doc, "detail");
		copy_text(answer->hint, sizeof(answer->hint), doc, "hint");
		unlink(ANSWER_FILE);
	}
	cmk_json_free(doc);
	return ours;
}

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* 0: answered; else why not is in *err. */
static int
wait_for_answer(pid_t postmaster, const char *id, int wait_s, CmkAnswer *answer,
				CmkError *err)
{
	int64_t		start = now_ms();
	int64_t		dots = 0;
	bool		tty = isatty(STDERR_FILENO);
	const char *why = NULL;

	while (!read_answer(id, answer))
	{
		int64_t		waited = now_ms() - start;

		if (interrupted)
			why = "interrupted while waiting for the server's answer";
		else if (kill(postmaster, 0) < 0)
			why = "the server has ended without an answer";
		else if (waited >= (int64_t) wait_s * 1000)
			why = "the server has not answered in time";
		if (why != NULL)
			break;
		if (tty && waited / 1000 > dots)
		{
			if (dots++ == 0)
				fputs("waiting for the server's answer", stderr);
			fputc('.', stderr);
		}
		usleep(POLL_MS * 1000);
	}
	if (dots > 0)
		fputc('\n', stderr);
	errno = 0;
	if (why == NULL)
		return 0;
	cmk_fail(err, CMK_ERR_IO, "%s", why);
	return cmk_fail_detail(err, "It was waited for %d s.", (int) ((now_ms() - start) / 1000));
}

/* Takes the request back.  True if the server had not taken it. */
static bool
withdraw(CmkError *err)
{
	if (unlink(REQUEST_FILE) == 0)
	{
		cmk_fail_hint(err, "The server has not taken the request, which is withdrawn: its log says what it does.  "
					  "A server that was started without pg_cmk.key takes none.");
		return true;
	}
	cmk_fail_hint(err, "The server has taken the request and may do it all the same: see its log, and pg_cmk status.");
	return false;
}

int
cmk_ask_server(pid_t postmaster, const char *request, const char *url, int wait_s,
			   CmkAnswer *answer, CmkError *err)
{
	char		id[ID_SIZE];

	memset(answer, 0, sizeof(*answer));
	catch_signal(SIGINT);
	catch_signal(SIGTERM);
	catch_signal(SIGHUP);		/* the terminal is gone */

	if (make_id(id, err) < 0 || write_request(id, request, url, err) < 0)
		return CMK_ASKED_NOT;
	if (kill(postmaster, SIGHUP) < 0)
	{
		cmk_fail(err, CMK_ERR_IO, "could not send a signal to the server (PID %d): %s",
				 (int) postmaster, strerror(errno));
		unlink(REQUEST_FILE);
		return CMK_ASKED_NOT;
	}
	if (wait_for_answer(postmaster, id, wait_s, answer, err) == 0)
		return CMK_ASKED_ANSWERED;
	return withdraw(err) ? CMK_ASKED_NOT : CMK_ASKED_UNKNOWN;
}
