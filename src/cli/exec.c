/*
 * exec.c
 *	  pg_cmk exec: a stock tool that reads and writes sealed WAL.
 *
 * Opens the root key as the server would, hands it to the tool in a file in memory
 * (src/exec/tool.h) and becomes the tool, with the seam and pg_cmk_exec.so preloaded.
 * The tool runs in the directory in which the command was started.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../exec/tool.h"
#include "cli.h"

/* The descriptor of a file in memory with the key, or -1, said. */
static int
make_key_file(const CmkCli *cli)
{
	static CmkToolKey key;
	int			fd = -1;

	memcpy(key.magic, CMK_TOOL_MAGIC, sizeof(key.magic));
	if (getcwd(key.datadir, sizeof(key.datadir)) == NULL)
		cmk_say("could not find the data directory", strerror(errno), NULL);
	else if (cmk_open_root_offline(cli, key.root) == 0)
	{
		fd = memfd_create("pg_cmk", 0);
		if (fd < 0 || write(fd, &key, sizeof(key)) != (ssize_t) sizeof(key))
		{
			cmk_say("could not make a file in memory", strerror(errno), NULL);
			fd = -1;
		}
	}
	cmk_cleanse(&key, sizeof(key));
	return fd;
}

static int
set_environment(int fd)
{
	const char *old = getenv("LD_PRELOAD");
	char		preload[8192];
	char		number[16];

	snprintf(number, sizeof(number), "%d", fd);
	if (snprintf(preload, sizeof(preload), "%s/pg_cmk_seam.so:%s/pg_cmk_exec.so%s%s",
				 CMK_PKGLIBDIR, CMK_PKGLIBDIR, old != NULL && old[0] ? ":" : "",
				 old != NULL ? old : "") >= (int) sizeof(preload))
		return -1;
	return setenv("LD_PRELOAD", preload, 1) != 0 || setenv(CMK_TOOL_ENV, number, 1) != 0 ?
		-1 : 0;
}

int
cmk_command_exec(const CmkCli *cli)
{
	int			fd = make_key_file(cli);

	if (fd < 0)
		return CMK_EXIT_FAILED;
	if (fchdir(cli->cwd) < 0 || set_environment(fd) < 0)
	{
		cmk_say("could not prepare the tool's start", strerror(errno), NULL);
		return CMK_EXIT_FAILED;
	}
	execvp(cli->args[0], cli->args);
	cmk_say("could not execute the tool", cli->args[0], strerror(errno));
	return CMK_EXIT_FAILED;
}
