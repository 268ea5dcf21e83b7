/*
 * test_seam.c
 *	  Test of the seam: the scenarios' common ground, and its environment.
 *
 *		test_seam SCENARIO DIRECTORY
 *		test_seam env EXPECTED DIRECTORY
 *
 * is to be started with the seam in LD_PRELOAD (run.sh does), DIRECTORY being
 * an empty one.  EXPECTED is what LD_PRELOAD must be afterwards, "unset" if
 * nothing.  The variant that is linked together with the seam's sources under
 * the sanitizers is started without.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>

#include "check.h"

int			(*seam_register) (const CmkSeamOps *ops, CmkSeamReal *real);
CmkSeamFile *(*seam_file) (int fd);

static const char *directory;
static bool failed = false;

void
check(bool good, const char *format,...)
{
	int			save_errno = errno;
	va_list		args;

	fputs(good ? "ok - " : "not ok - ", stdout);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	if (!good)
		printf(" (errno: %s)", strerror(save_errno));
	putchar('\n');
	fflush(stdout);
	if (!good)
		failed = true;
	errno = save_errno;
}

const char *
in_dir(const char *file)
{
	static char paths[8][4096];
	static int	next = 0;
	char	   *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", directory, file);
	return path;
}

const char *
raw_bytes(const char *path)
{
	static char bytes[65536];
	long		fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY, 0);
	long		n = fd < 0 ? -1 : syscall(SYS_read, fd, bytes,
										  sizeof(bytes) - 1);

	if (fd >= 0)
		syscall(SYS_close, fd);
	bytes[n > 0 ? n : 0] = '\0';
	return bytes;
}

/* The value of a variable as a child started by the C library sees it. */
static const char *
value_in_child(const char *name)
{
	static char value[8192];
	char		command[256];
	FILE	   *out;
	size_t		n;

	snprintf(command, sizeof(command),
			 "[ \"${%s+x}\" ] && printf 'value=%%s' \"$%s\" || printf unset",
			 name, name);
	out = popen(command, "r");
	n = out == NULL ? 0 : fread(value, 1, sizeof(value) - 1, out);
	value[n] = '\0';
	if (out != NULL)
		pclose(out);
	return value;
}

static void
test_env(const char *expected)
{
	int		   *early_was_early = dlsym(RTLD_DEFAULT, "early_was_early");
	int		   *early_worked = dlsym(RTLD_DEFAULT, "early_worked");
	const char *value = value_in_child("LD_PRELOAD");

	check(strcmp(value, expected) == 0,
		  "a child has LD_PRELOAD %s, expected %s", value, expected);
	value = value_in_child(CMK_SEAM_ENV_OLD);
	check(strcmp(value, "unset") == 0, "a child has no " CMK_SEAM_ENV_OLD);
	value = value_in_child(CMK_SEAM_ENV_HAD_NONE);
	check(strcmp(value, "unset") == 0, "a child has no " CMK_SEAM_ENV_HAD_NONE);

	check(system("test \"$test_seam_variable\" = here") == 0,
		  "system() hands on the other variables");

	if (early_worked != NULL)
	{
		check(*early_was_early, "a constructor ran before that of the seam");
		check(*early_worked, "its open, read and close worked");
	}
}

static const struct
{
	const char *name;
	void		(*run) (void);
	bool		registers;
}			scenarios[] = {
	{"passthrough", test_passthrough, false},
	{"errors", test_errors, false},
	{"errors-registered", test_errors, true},
	{"passthrough-registered", test_passthrough, true},
	{"register", test_register, false},
	{"open", test_open, true},
	{"names", test_names, true},
	{"close", test_close, true},
	{"refused", test_refused, true},
	{"signal", test_signal, true},
	{"fork", test_fork, true},
	{"thread", test_thread, true},
	{"limit", test_limit, true},
	{"sizes", test_sizes, false},
};

int
main(int argc, char **argv)
{
	size_t		i;

	if (argc < 3)
	{
		fprintf(stderr, "usage: test_seam SCENARIO [EXPECTED] DIRECTORY\n");
		return 2;
	}
	directory = argv[argc - 1];
	*(void **) &seam_register = dlsym(RTLD_DEFAULT, "cmk_seam_register");
	*(void **) &seam_file = dlsym(RTLD_DEFAULT, "cmk_seam_file");
	check(seam_register != NULL && seam_file != NULL,
		  "%s: the seam is in the process", argv[1]);
	if (failed)
		return 1;

	if (strcmp(argv[1], "env") == 0)
		test_env(argv[2]);
	for (i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
	{
		if (strcmp(argv[1], scenarios[i].name) != 0)
			continue;
		if (scenarios[i].registers)
			check(seam_register(&test_ops, &real) == 0, "the table registers");
		scenarios[i].run();
	}
	printf("done - %s\n", argv[1]);
	return failed ? 1 : 0;
}
