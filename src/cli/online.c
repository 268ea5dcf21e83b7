/*
 * online.c
 *	  pg_cmk revalidate, and set-key on a running server.
 *
 * Both ask the key worker through a file (exchange.h), so that they work when
 * nobody can connect.  After a set-key the worker is governed by the new key; the
 * setting follows here, because the worker has no business in the server's
 * configuration, and SIGHUP makes the server read it.  Should this be cut short
 * in between, the old key, which is still a recipient, opens the server at its next
 * start.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "autoconf.h"
#include "cli.h"
#include "datadir.h"
#include "exchange.h"

/* The server that runs here, and the lock.  0 or -1, which was said. */
static int
find_server(CmkServer *server)
{
	CmkError	err;

	if (cmk_datadir_postmaster(server, &err) < 0)
	{
		cmk_say_error(&err);
		return -1;
	}
	if (server->pid != 0 && server->standalone)
	{
		cmk_say("a single-user server runs in this data directory", NULL, "Stop it first.");
		return -1;
	}
	if (cmk_datadir_lock(&err) < 0)
	{
		cmk_say_error(&err);
		return -1;
	}
	return 0;
}

int
cmk_command_revalidate(const CmkCli *cli)
{
	CmkServer	server;
	CmkAnswer	answer;
	CmkError	err;

	if (find_server(&server) < 0)
		return CMK_EXIT_UNKNOWN;
	if (server.pid == 0)
	{
		cmk_say("the server is not running", NULL, "A server looks at its key when it starts.");
		return CMK_EXIT_UNKNOWN;
	}
	if (cmk_ask_server(server.pid, "revalidate", NULL, cli->wait, &answer, &err) !=
		CMK_ASKED_ANSWERED)
	{
		cmk_say_error(&err);
		return CMK_EXIT_UNKNOWN;
	}
	if (answer.reason[0] != '\0')
		printf("%s: %s: %s\n", answer.state, answer.reason, answer.message);
	else
		printf("%s\n", answer.state);
	return cmk_exit_of_state(answer.state);
}

static int
refuse_command_line(void)
{
	cmk_say("pg_cmk.key was given on the server's command line, where it cannot be changed",
			"File \"postmaster.opts\" has the command line of the last start.",
			"Start the server without it, and set pg_cmk.key in its configuration.");
	return CMK_EXIT_FAILED;
}

/* pg_cmk.key follows. */
static int
set_setting(const CmkCli *cli, pid_t postmaster)
{
	CmkAutoconf conf;
	CmkError	err;

	if (cmk_autoconf_prepare(&conf, "pg_cmk.key", cli->url, &err) < 0 ||
		cmk_autoconf_commit(&conf, &err) != 0)
	{
		snprintf(err.hint, sizeof(err.hint),
				 "The key governs this server already, but pg_cmk.key must be set to it before the server is started again.");
		cmk_say_error(&err);
		return CMK_EXIT_NO_ANSWER;
	}
	if (kill(postmaster, SIGHUP) < 0)
	{
		cmk_say("the server has ended", "The key is set all the same.", NULL);
		return CMK_EXIT_NO_ANSWER;
	}
	return CMK_EXIT_OK;
}

static int
set_key_online(const CmkCli *cli, pid_t postmaster)
{
	CmkAnswer	answer;
	CmkError	err;
	int			asked;

	if (cli->from != NULL)
	{
		cmk_say("--from is for a stopped server", "A server that runs has its root key open, or opens it with pg_cmk.key.",
				NULL);
		return CMK_EXIT_FAILED;
	}
	if (cli->sets[0] != NULL)
	{
		cmk_say("--set is for a stopped server", "A server that runs has its own settings.", NULL);
		return CMK_EXIT_FAILED;
	}
	if (cmk_datadir_set_by_command_line("pg_cmk.key"))
		return refuse_command_line();
	asked = cmk_ask_server(postmaster, "set-key", cli->url, cli->wait, &answer, &err);
	if (asked != CMK_ASKED_ANSWERED)
	{
		cmk_say_error(&err);
		return asked == CMK_ASKED_UNKNOWN ? CMK_EXIT_NO_ANSWER : CMK_EXIT_FAILED;
	}
	if (!answer.ok)
	{
		char		message[700];

		snprintf(message, sizeof(message), "the server refused the key: %s%s%s", answer.reason,
				 answer.reason[0] ? ": " : "", answer.message);
		cmk_say(message, answer.detail, answer.hint);
		return CMK_EXIT_FAILED;
	}
	if (set_setting(cli, postmaster) != CMK_EXIT_OK)
		return CMK_EXIT_NO_ANSWER;
	printf("key \"%s\" governs; state %s\n", cli->url, answer.state);
	return CMK_EXIT_OK;
}

int
cmk_command_set_key(const CmkCli *cli)
{
	CmkServer	server;
	CmkError	err;

	if (cmk_check_key_url(cli->url, &err) < 0)
	{
		cmk_say_error(&err);
		return CMK_EXIT_FAILED;
	}
	if (find_server(&server) < 0)
		return CMK_EXIT_FAILED;
	if (server.pid != 0)
		return set_key_online(cli, server.pid);
	return cmk_set_key_offline(cli);
}
