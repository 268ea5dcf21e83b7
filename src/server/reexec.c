/*
 * reexec.c
 *	  How the seam gets into the server process.
 *
 * The dynamic loader reads LD_PRELOAD when a program starts, so the process that
 * finds itself without the seam must start again.  It does so in place: the same
 * pid, so that pg_ctl, systemd and the lock file in the data directory see one
 * and the same server (CreateLockFile takes its own pid for a stale one).
 * Nothing but reading the configuration has happened yet: no socket, no shared
 * memory, no child.
 *
 * The server has changed its directory to the data directory by then, so what
 * the user gave relative to the old one must be made absolute: the program's name,
 * -D, PGDATA and the file-location settings, on the command line and in the
 * configuration file.  Everything else on the command line stays as it was,
 * since pg_ctl and Debian's tools compare it.
 */
#include "postgres.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/guc.h"

#include "../seam/seam.h"
#include "reexec.h"

#define SEAM_NAME			"pg_cmk_seam.so"

/* Set for the new image: a second try would loop. */
#define ENV_REEXECUTED		"PG_CMK_REEXECUTED"

/* As in postmaster.c and postgres.c. */
#define SERVER_OPTIONS		"B:bc:C:D:d:EeFf:h:ijk:lN:nOPp:r:S:sTt:v:W:-:"

extern char **environ;

typedef struct Args
{
	int			argc;
	char	  **argv;
} Args;

/* The path of the seam: beside this very library. */
static char *
seam_path(void)
{
	Dl_info		info;
	char		path[MAXPGPATH];

	if (dladdr((void *) cmk_require_seam, &info) == 0 || info.dli_fname == NULL)
		ereport(FATAL,
				(errmsg("could not find the path of the pg_cmk library")));
	strlcpy(path, info.dli_fname, sizeof(path));
	get_parent_directory(path);
	join_path_components(path, path, SEAM_NAME);
	return pstrdup(path);
}

static Args
read_own_arguments(void)
{
	Args		args;
	StringInfoData buf;
	int			fd = OpenTransientFile("/proc/self/cmdline", O_RDONLY);
	ssize_t		n;
	char		chunk[4096];
	char	   *p;

	if (fd < 0)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", "/proc/self/cmdline"),
				 errhint("pg_cmk needs the proc file system to start the server with its preloaded library.")));
	initStringInfo(&buf);
	while ((n = read(fd, chunk, sizeof(chunk))) > 0)
		appendBinaryStringInfo(&buf, chunk, (int) n);
	CloseTransientFile(fd);
	if (n < 0 || buf.len == 0 || buf.data[buf.len - 1] != '\0')
		ereport(FATAL,
				(errmsg("could not read the server's own command line from \"%s\"",
						"/proc/self/cmdline")));

	args.argc = 0;
	for (p = buf.data; p < buf.data + buf.len; p += strlen(p) + 1)
		args.argc++;
	args.argv = palloc((args.argc + 1) * sizeof(char *));
	args.argc = 0;
	for (p = buf.data; p < buf.data + buf.len; p += strlen(p) + 1)
		args.argv[args.argc++] = p;
	args.argv[args.argc] = NULL;
	return args;
}

/* Is s "name=…", with - and _ alike?  Returns what follows the sign. */
static const char *
setting_value(const char *s, const char *name)
{
	for (; *name; name++, s++)
		if (*s != *name && !(*name == '_' && *s == '-'))
			return NULL;
	return *s == '=' ? s + 1 : NULL;
}

/*
 * The directory that -D or PGDATA named.  Where config_file was not given it is
 * the directory of that file.  Where it was, the option only says where the data
 * and the other files are, and these are on the command line by then.
 */
static char *
config_directory(bool have_config_file)
{
	char	   *dir;

	if (have_config_file)
		return DataDir;
	dir = pstrdup(GetConfigOption("config_file", false, false));
	get_parent_directory(dir);
	return dir;
}

/* Replaces the part of the argument vector that value points into. */
static void
replace_value(Args *args, const char *value, const char *absolute)
{
	for (int i = 0; i < args->argc; i++)
	{
		char	   *arg = args->argv[i];
		size_t		len = strlen(arg);

		if (value >= arg && value <= arg + len)
		{
			args->argv[i] = psprintf("%.*s%s", (int) (value - arg), arg, absolute);
			return;
		}
	}
}

static void
append_setting(Args *args, const char *name)
{
	args->argv = repalloc(args->argv, (args->argc + 3) * sizeof(char *));
	args->argv[args->argc++] = "-c";
	args->argv[args->argc++] = psprintf("%s=%s", name,
										GetConfigOption(name, false, false));
	args->argv[args->argc] = NULL;
}

/*
 * Locations that a configuration file gives relative to the directory in which the
 * server was started: what the server made of them goes to the command line.
 */
static void
append_locations_of_file(Args *args, const char *const *names, int n,
						 const char **given)
{
	ConfigVariable *head = NULL;
	ConfigVariable *tail = NULL;

	(void) ParseConfigFile(GetConfigOption("config_file", false, false), true,
						   NULL, 0, 0, DEBUG1, &head, &tail);
	for (int i = 0; i < n; i++)
	{
		const char *value = NULL;

		for (ConfigVariable *item = head; item != NULL; item = item->next)
			if (!item->ignore && item->errmsg == NULL &&
				pg_strcasecmp(item->name, names[i]) == 0)
				value = item->value;
		if (given[i] == NULL && value != NULL && !is_absolute_path(value))
		{
			append_setting(args, names[i]);
			given[i] = value;
		}
	}
	FreeConfigVariables(head);
}

/*
 * Makes the locations on the command line and in PGDATA absolute.  getopt() runs
 * over a copy of the pointers, since it reorders them.
 */
static void
make_locations_absolute(Args *args)
{
	static const char *const files[] = {
		"config_file", "data_directory", "hba_file", "ident_file"
	};
	const char *given[lengthof(files)] = {NULL};
	const char *dir = NULL;
	const char *pgdata = getenv("PGDATA");
	int			argc = args->argc;
	char	  **argv = palloc((argc + 1) * sizeof(char *));
	bool		have_config_file;
	int			skip;
	int			opt;

	memcpy(argv, args->argv, (argc + 1) * sizeof(char *));
	/* --single must be the first argument, and getopt() does not know it. */
	skip = argc > 1 && strcmp(argv[1], "--single") == 0 ? 1 : 0;
	optind = 0;					/* glibc: start afresh */
	opterr = 0;
	while ((opt = getopt(argc - skip, argv + skip, SERVER_OPTIONS)) != -1)
	{
		if (opt == 'D')
			dir = optarg;
		else if (opt == 'c' || opt == '-')
			for (int i = 0; i < (int) lengthof(files); i++)
			{
				const char *value = setting_value(optarg, files[i]);

				if (value != NULL)
					given[i] = value;
			}
	}
	optind = 1;

	have_config_file = given[0] != NULL;
	for (int i = 0; i < (int) lengthof(files); i++)
		if (given[i] != NULL && !is_absolute_path(given[i]))
			replace_value(args, given[i], GetConfigOption(files[i], false, false));

	append_locations_of_file(args, files, (int) lengthof(files), given);
	if ((dir != NULL && !is_absolute_path(dir)) ||
		(dir == NULL && pgdata != NULL && !is_absolute_path(pgdata)))
	{
		char	   *absolute = config_directory(have_config_file);

		if (dir != NULL)
			replace_value(args, dir, absolute);
		else
			setenv("PGDATA", absolute, 1);
		if (have_config_file)
			for (int i = 1; i < (int) lengthof(files); i++)
				if (given[i] == NULL)
					append_setting(args, files[i]);
	}
	pfree(argv);
}

static void
set_preload(const char *seam)
{
	const char *old = getenv("LD_PRELOAD");

	if (old != NULL)
	{
		setenv(CMK_SEAM_ENV_OLD, old, 1);
		setenv("LD_PRELOAD", psprintf("%s:%s", seam, old), 1);
	}
	else
	{
		setenv(CMK_SEAM_ENV_HAD_NONE, "1", 1);
		setenv("LD_PRELOAD", seam, 1);
	}
	setenv(ENV_REEXECUTED, "1", 1);
}

void
cmk_require_seam(void)
{
	char	   *seam;
	Args		args;

	if (dlsym(RTLD_DEFAULT, "cmk_seam_register") != NULL)
	{
		unsetenv(ENV_REEXECUTED);
		return;
	}
	seam = seam_path();
	if (getenv(ENV_REEXECUTED) != NULL)
		ereport(FATAL,
				(errmsg("the dynamic loader did not preload \"%s\"", seam),
				 errdetail("The server was executed again with LD_PRELOAD set, and the library is still not in the process."),
				 errhint("Check that the file can be read by the server's user and that the server binary is neither set-user-ID nor has file capabilities.")));
	if (access(seam, R_OK) != 0)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not access file \"%s\": %m", seam),
				 errhint("It is installed beside pg_cmk.so by \"make install\".")));

	args = read_own_arguments();
	if (!is_absolute_path(args.argv[0]) && strchr(args.argv[0], '/') != NULL)
		args.argv[0] = my_exec_path;	/* found from where it was started */
	make_locations_absolute(&args);
	set_preload(seam);
	ereport(DEBUG1, (errmsg_internal("pg_cmk: executing \"%s\" again with \"%s\"",
									 my_exec_path, seam)));
	execve(my_exec_path, args.argv, environ);
	ereport(FATAL,
			(errcode_for_file_access(),
			 errmsg("could not execute \"%s\" again: %m", my_exec_path)));
}
