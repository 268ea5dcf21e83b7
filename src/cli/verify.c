/*
 * verify.c
 *	  pg_cmk verify: is everything sealed that must be?
 *
 * Reads every file of a stopped cluster or of a base backup, and changes nothing.
 * What is demanded:
 *
 *	- in scope cluster: no page is plain, in no kind of file that holds what a user put
 *	  into the database, and no file is there that no rule knows;
 *	- in scope tables: no page is plain in a file that its key record calls wholly sealed,
 *	  in WAL from the place on where it is sealed, and in temporary files;
 *	- in both: what is sealed opens under a key that is known.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "../keyring/textfile.h"
#include "verify.h"

/* The server's PG_MAJORVERSION; cmk_datadir_enter() has made sure of it. */
#define PG_MAJOR	"15"

static int
say(const CmkError *err)
{
	cmk_say_error(err);
	return -1;
}

static int
refuse_running(CmkVerify *v)
{
	CmkServer	server;
	CmkError	err;
	char		message[100];

	if (cmk_datadir_postmaster(&server, &err) < 0)
		return say(&err);
	v->running = server.pid != 0;
	if (!v->running || v->cli->running)
		return 0;
	snprintf(message, sizeof(message), "a server is running in this data directory (PID %d)",
			 (int) server.pid);
	cmk_say(message, NULL, "Stop it first; or look at a base backup; or use --running, which tells less: "
			"files change while they are read.");
	return -1;
}

/*
 * Without a leading path to the data directory, and without a slash at the end; "" if
 * outside.
 */
static void
make_relative(char *dir)
{
	char	   *cwd = getcwd(NULL, 0);
	size_t		len = cwd != NULL ? strlen(cwd) : 0;

	if (strncmp(dir, "./", 2) == 0)
		memmove(dir, dir + 2, strlen(dir + 2) + 1);
	if (dir[0] == '/' && len > 0 && strncmp(dir, cwd, len) == 0 && dir[len] == '/')
		memmove(dir, dir + len + 1, strlen(dir + len + 1) + 1);
	free(cwd);
	len = strlen(dir);
	while (len > 0 && dir[len - 1] == '/')
		dir[--len] = '\0';
	if (dir[0] == '/' || dir[0] == '.')
		dir[0] = '\0';
}

/* A key that is in the data directory protects nothing of it. */
static void
look_at_key_file(CmkVerify *v, const char *url)
{
	static const char scheme[] = "file://";
	char	   *path;
	char	   *cwd;
	size_t		len;

	if (strncmp(url, scheme, sizeof(scheme) - 1) != 0)
		return;
	path = realpath(url + sizeof(scheme) - 1, NULL);
	cwd = getcwd(NULL, 0);
	len = cwd != NULL ? strlen(cwd) : 0;
	if (path != NULL && len > 0 && strncmp(path, cwd, len) == 0 && path[len] == '/')
		cmk_verify_find(v, path + len + 1, CMK_VERIFY_NO_BLOCK, true,
						"is the key that opens this cluster: who has the files has the key");
	free(path);
	free(cwd);
}

static int
read_settings(CmkVerify *v)
{
	char		scope[CMK_SETTING_MAX];
	char		url[CMK_SETTING_MAX];
	CmkError	err;

	if (cmk_read_setting(v->cli, "pg_cmk.scope", "tables", scope, sizeof(scope), &err) < 0 ||
		cmk_read_setting(v->cli, "pg_cmk.key", "", url, sizeof(url), &err) < 0 ||
		cmk_read_setting(v->cli, "log_directory", "log", v->log_dir, sizeof(v->log_dir), &err) < 0)
		return say(&err);
	v->cluster = strcasecmp(scope, "cluster") == 0;
	if (!v->cluster && strcasecmp(scope, "tables") != 0)
	{
		cmk_say("setting pg_cmk.scope is neither \"tables\" nor \"cluster\"", scope, NULL);
		return -1;
	}
	make_relative(v->log_dir);
	look_at_key_file(v, url);
	return 0;
}

/* From which LSN on recovery will write pages anew: none after an orderly shutdown. */
static void
read_start_of_recovery(CmkVerify *v)
{
	size_t		len;
	char	   *text = cmk_textfile_read("backup_label", 65536, false, &len, NULL);
	unsigned	high;
	unsigned	low;

	v->settled = v->control.clean ? UINT64_MAX : v->control.redo;
	v->is_backup = text != NULL;
	if (text != NULL && sscanf(text, "START WAL LOCATION: %X/%X", &high, &low) == 2)
		v->settled = (uint64_t) high << 32 | low;
	free(text);
}

/* 0, or -1 and it cannot be looked at, said. */
static int
prepare(CmkVerify *v)
{
	CmkError	err;

	if (refuse_running(v) < 0)
		return -1;
	if (cmk_datadir_control(&v->control, &err) < 0)
		return say(&err);
	snprintf(v->version_dir, sizeof(v->version_dir), "PG_" PG_MAJOR "_%u", v->control.catalog_version);
	read_start_of_recovery(v);
	if (read_settings(v) < 0)
		return -1;
	if (cmk_verify_kind_init(v->log_dir, v->version_dir, &err) < 0)
		return say(&err);
	return cmk_verify_keys_open(v);
}

int
cmk_command_verify(const CmkCli *cli)
{
	static CmkVerify v;
	int			result = CMK_EXIT_NOT_RUN;

	v.cli = cli;
	if (prepare(&v) == 0)
	{
		cmk_verify_walk(&v);
		cmk_verify_progress(&v, 0, true);
		if (cmk_verify_report(&v) < 0)
			cmk_say("could not write the report", strerror(errno), NULL);
		else
			result = v.failures > 0 ? CMK_EXIT_FINDINGS : CMK_EXIT_OK;
	}
	cmk_verify_keys_close();
	cmk_verify_report_free(&v);
	return result;
}
