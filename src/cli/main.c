/*
 * main.c
 *	  The pg_cmk command: its command line.
 *
 * What must be done to the key of a server when nobody can connect to it, because
 * the key is inaccessible or the server is stopped.  It runs as the user that owns
 * the server and can do nothing that this user could not do by hand.
 *
 * Secrets in the environment are read and scrubbed before anything else runs
 * (cmk_vault_read_environment), and no core dump is left.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../seal/secret.h"
#include "cli.h"
#include "datadir.h"

#define WAIT_S		60
#define MAX_SETS	32

static const struct
{
	const char *name;
	const char *allowed;		/* short options */
	int			min_args;
	int			max_args;
	int			on_error;		/* exit status when it cannot be begun */
	int			(*run) (const CmkCli *cli);
}			commands[] = {
	{"status", "Dj", 0, 0, CMK_EXIT_UNKNOWN, cmk_command_status},
	{"revalidate", "Dw", 0, 0, CMK_EXIT_UNKNOWN, cmk_command_revalidate},
	{"set-key", "Dwfco", 1, 1, CMK_EXIT_FAILED, cmk_command_set_key},
	{"versions", "Dco", 0, 1, CMK_EXIT_FAILED, cmk_command_versions},
	{"verify", "DjfcokrP", 0, 0, CMK_EXIT_NOT_RUN, cmk_command_verify},
	{"exec", "Dfco", 1, INT_MAX, CMK_EXIT_FAILED, cmk_command_exec},
};

#define N_COMMANDS	((int) (sizeof(commands) / sizeof(commands[0])))

static const struct option long_options[] = {
	{"pgdata", required_argument, NULL, 'D'},
	{"json", no_argument, NULL, 'j'},
	{"wait", required_argument, NULL, 'w'},
	{"from", required_argument, NULL, 'f'},
	{"set", required_argument, NULL, 'c'},
	{"config-file", required_argument, NULL, 'o'},
	{"no-key", no_argument, NULL, 'k'},
	{"running", no_argument, NULL, 'r'},
	{"progress", no_argument, NULL, 'P'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0}
};

static void
help(void)
{
	printf("pg_cmk tends the customer-managed key of a PostgreSQL server.\n\n"
		   "Usage:\n"
		   "  pg_cmk status     [-D DATADIR] [--json]\n"
		   "  pg_cmk revalidate [-D DATADIR] [--wait SECONDS]\n"
		   "  pg_cmk set-key    [-D DATADIR] [--wait SECONDS] URL\n"
		   "  pg_cmk set-key    [-D DATADIR] [--from URL] [-c NAME=VALUE] [--config-file FILE] URL\n"
		   "  pg_cmk versions   [-D DATADIR] [-c NAME=VALUE] [--config-file FILE] [URL]\n"
		   "  pg_cmk verify     [-D DATADIR] [--json] [--no-key] [--from URL] [-c NAME=VALUE] [--config-file FILE]\n"
		   "                    [--running] [--progress]\n"
		   "  pg_cmk exec       [-D DATADIR] [--from URL] [-c NAME=VALUE] [--config-file FILE] -- TOOL [ARGUMENT]...\n\n"
		   "Commands:\n"
		   "  status            what the server last said of its key\n"
		   "  revalidate        have a running server look at its key now\n"
		   "  set-key           another key or key version governs, of a running server or a stopped one\n"
		   "  versions          list the versions of a key in a vault\n"
		   "  verify            read every file and tell what is sealed and what is not\n"
		   "                    (docs/coverage.md says which files there are, and what is in them)\n"
		   "  exec              run a tool so that it reads and writes sealed WAL: pg_waldump,\n"
		   "                    pg_verifybackup, pg_rewind, pg_resetwal, pg_basebackup, pg_receivewal\n\n");
	printf("Options:\n"
		   "  -D, --pgdata=DATADIR    location of the data directory (default: PGDATA)\n"
		   "  -j, --json              print one JSON object\n"
		   "  -w, --wait=SECONDS      how long to wait for a running server (default: %d)\n"
		   "  -f, --from=URL          of a stopped server: the recipient that opens the root key\n"
		   "                          (default: the setting pg_cmk.key)\n"
		   "  -c, --set=NAME=VALUE    a setting, in place of the configuration files'\n"
		   "  -o, --config-file=FILE  the server's postgresql.conf, if it is not in DATADIR\n"
		   "  -P, --progress          tell how far it has come also if stderr is no terminal\n"
		   "      --no-key            verify: without the key; sealed pages are not opened\n"
		   "      --running           verify: also if a server runs, which changes what is read\n"
		   "  -V, --version           output version information, then exit\n"
		   "  -?, --help              show this help, then exit\n\n"
		   "Exit status of status and revalidate: 0 Ready, 1 Degraded or Starting,\n"
		   "2 Inaccessible, 3 not known; of verify: 0 as it should be, 1 it is not, 2 could\n"
		   "not be looked at; of the others: 0 done, 1 failed and nothing changed, 2 not\n"
		   "known whether it is done.\n", WAIT_S);
}

static void
usage_error(const char *message, const char *what)
{
	fprintf(stderr, "pg_cmk: error: %s", message);
	if (what != NULL)
		fprintf(stderr, " \"%s\"", what);
	fprintf(stderr, "\npg_cmk: hint: Try \"pg_cmk --help\" for more information.\n");
}

static int
find_command(const char *name)
{
	int			i;

	for (i = 0; i < N_COMMANDS; i++)
		if (strcmp(commands[i].name, name) == 0)
			return i;
	return -1;
}

/* An option's value.  0 or -1, said. */
static int
take_option(CmkCli *cli, const char **sets, int *nsets, int c, char *value)
{
	char	   *end;
	long		n;

	switch (c)
	{
		case 'D':
			cli->datadir = value;
			break;
		case 'j':
			cli->json = true;
			break;
		case 'k':
			cli->no_key = true;
			break;
		case 'r':
			cli->running = true;
			break;
		case 'P':
			cli->progress = true;
			break;
		case 'w':
			errno = 0;
			n = strtol(value, &end, 10);
			if (errno != 0 || end == value || *end != '\0' || n < 1 || n > 86400)
			{
				usage_error("a number of seconds is wanted, not", value);
				return -1;
			}
			cli->wait = (int) n;
			break;
		case 'f':
			cmk_key_url_normalize(value);
			cli->from = value;
			break;
		case 'c':
			if (strchr(value, '=') == NULL || *nsets == MAX_SETS)
			{
				usage_error("a setting is wanted, NAME=VALUE, not", value);
				return -1;
			}
			sets[(*nsets)++] = value;
			break;
		case 'o':
			cli->config_file = realpath(value, NULL);
			if (cli->config_file == NULL)
			{
				usage_error("could not find file", value);
				return -1;
			}
			break;
	}
	return 0;
}

/* All that follows the command's name.  0 or -1, said. */
static int
read_command_line(CmkCli *cli, int which, int argc, char **argv)
{
	static const char *sets[MAX_SETS + 1];
	int			nsets = 0;
	int			c;

	cli->sets = sets;
	while ((c = getopt_long(argc, argv, "D:jw:f:c:o:P", long_options, NULL)) != -1)
	{
		if (c == 'h')
		{
			help();
			exit(0);
		}
		if (c == '?' || strchr(commands[which].allowed, c) == NULL)
		{
			usage_error(c == '?' ? "that option is not known or wants a value; command" :
						"an option does not belong to command", cli->command);
			return -1;
		}
		if (take_option(cli, sets, &nsets, c, optarg) < 0)
			return -1;
	}
	if (argc - optind < commands[which].min_args)
		usage_error(strcmp(cli->command, "exec") == 0 ? "a tool is wanted by command" :
					"a key URL is wanted by command", cli->command);
	else if (argc - optind > commands[which].max_args)
		usage_error("too many arguments, the first one is", argv[optind + commands[which].max_args]);
	else if (cli->datadir == NULL || cli->datadir[0] == '\0')
		usage_error("no data directory specified, neither by -D nor by PGDATA", NULL);
	else
	{
		if (argv[optind] != NULL)
			cmk_key_url_normalize(argv[optind]);
		cli->url = argv[optind];
		cli->args = argv + optind;
		return 0;
	}
	return -1;
}

static int
prepare(const CmkCli *cli)
{
	CmkError	err;

	if (geteuid() == 0)
	{
		cmk_say("cannot be run as root", NULL, "Run it as the (unprivileged) user that owns the server.");
		return -1;
	}
	if (cmk_secret_no_core(&err) < 0 || cmk_vault_read_environment(&err) < 0 ||
		cmk_datadir_enter(cli->datadir, &err) < 0)
	{
		cmk_say_error(&err);
		return -1;
	}
	return 0;
}

int
main(int argc, char **argv)
{
	CmkCli		cli;
	int			which;

	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-?") == 0))
	{
		help();
		return 0;
	}
	if (argc > 1 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0))
	{
		printf("pg_cmk %s\n", CMK_VERSION);
		return 0;
	}
	which = argc > 1 ? find_command(argv[1]) : -1;
	if (which < 0)
	{
		usage_error(argc > 1 ? "there is no command" : "a command is wanted",
					argc > 1 ? argv[1] : NULL);
		return CMK_EXIT_UNKNOWN;
	}

	memset(&cli, 0, sizeof(cli));
	cli.command = argv[1];
	cli.datadir = getenv("PGDATA");
	cli.wait = WAIT_S;
	cli.cwd = open(".", O_PATH | O_CLOEXEC);
	argv[1] = argv[0];
	if (read_command_line(&cli, which, argc - 1, argv + 1) < 0 || prepare(&cli) < 0)
		return commands[which].on_error;
	return commands[which].run(&cli);
}
