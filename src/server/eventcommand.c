/*
 * eventcommand.c
 *	  pg_cmk.event_command: the program that is told of each change of state.
 *
 * It is run as a program with three arguments, never by a shell: the name of the
 * state, the name of the reason and the time, all of which this server made.  Nothing
 * that a vault said is among them.
 *
 * posix_spawn() begins it: what runs between fork and exec is the C library's alone,
 * with all signals blocked, and a program that cannot be run is known at once.  The
 * worker's OOM score is no longer the postmaster's (fork_process), so the command
 * inherits a harmless one.  It gets /dev/null as its input, the server's log as its
 * output, no other descriptor, a process group of its own, signals as a program
 * expects them, and from the environment only what is known to be no secret: the
 * server's environment is where its credentials come from.
 *
 * Every change runs its command at once, up to MAX_RUNNING of them: to let one wait for
 * another would hold back the very news that matters most, and lose it if the server is
 * locked down meanwhile.  Who needs their order has the time.  A command that hangs is
 * killed with its group.  When the worker ends in order they are told to end too, since
 * they hold the log open, and killed half a second later.  When it ends by a crash, an
 * immediate stop or a lockdown, they are left to end by themselves.
 */
#include "postgres.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/guc.h"

#include "eventcommand.h"
#include "worker.h"

#define MAX_RUNNING			8
#define MAX_ENVIRONMENT		64
#define LONGEST_NAP_MS		60000
#define STOP_TRIES			50
#define STOP_NAP_US			10000

extern char **environ;

typedef struct Running
{
	pid_t		pid;			/* 0: free */
	int64		began;			/* cmk_boottime() */
	bool		killed;
	char		state[32];
} Running;

char	   *cmk_event_command = NULL;

static int	command_timeout = 60000;
static Running running[MAX_RUNNING];

/* Variables that a command may need and that hold no secret; "*" ends a prefix. */
static const char *const passed_on[] = {
	"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR"
};

static bool
check_command(char **newval, void **extra, GucSource source)
{
	const char *p;

	if ((*newval)[0] == '\0')
		return true;
	if ((*newval)[0] != '/')
	{
		GUC_check_errdetail("The path of the program must be absolute.");
		return false;
	}
	for (p = *newval; *p != '\0'; p++)
		if ((unsigned char) *p < 0x20 || *p == 0x7f)
		{
			GUC_check_errdetail("The path of the program must not contain control characters.");
			return false;
		}
	if (p - *newval >= MAXPGPATH)
	{
		GUC_check_errdetail("The path of the program is too long.");
		return false;
	}
	return true;
}

void
cmk_eventcommand_init(void)
{
	DefineCustomStringVariable("pg_cmk.event_command",
							   "Program that is run on each change of the key's state.",
							   "An absolute path, without arguments; it is given the state, the reason and the time.",
							   &cmk_event_command, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   check_command, NULL, NULL);
	DefineCustomIntVariable("pg_cmk.debug_event_timeout",
							"For tests: how long an event command may run.",
							NULL, &command_timeout, 60000, 100, 60000,
							PGC_SIGHUP, GUC_UNIT_MS | GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL,
							NULL, NULL, NULL);
}

static void
command_ended(SIGNAL_ARGS)
{
	int			save_errno = errno;

	SetLatch(MyLatch);
	errno = save_errno;
}

void
cmk_eventcommand_start(void)
{
	pqsignal(SIGCHLD, command_ended);
}

static bool
is_passed_on(const char *variable)
{
	for (size_t i = 0; i < lengthof(passed_on); i++)
	{
		size_t		len = strlen(passed_on[i]);

		if (passed_on[i][len - 1] == '*' ?
			strncmp(variable, passed_on[i], len - 1) == 0 :
			strncmp(variable, passed_on[i], len) == 0 && variable[len] == '=')
			return true;
	}
	return false;
}

/* With our own PGDATA: the server's may be relative to where it was started, or none. */
static void
make_environment(char *env[MAX_ENVIRONMENT])
{
	static char pgdata[MAXPGPATH + 8];
	int			n = 0;

	snprintf(pgdata, sizeof(pgdata), "PGDATA=%s", DataDir);
	env[n++] = pgdata;
	for (char **e = environ; *e != NULL && n < MAX_ENVIRONMENT - 1; e++)
		if (is_passed_on(*e))
			env[n++] = *e;
	env[n] = NULL;
}

/* 0, or an errno. */
static int
spawn(pid_t *pid, char *const argv[])
{
	char	   *env[MAX_ENVIRONMENT];
	posix_spawnattr_t attr;
	posix_spawn_file_actions_t actions;
	sigset_t	defaults;
	sigset_t	mask;
	int			rc;

	sigfillset(&defaults);
	sigdelset(&defaults, SIGKILL);
	sigdelset(&defaults, SIGSTOP);
	sigemptyset(&mask);
	make_environment(env);

	if ((rc = posix_spawnattr_init(&attr)) != 0)
		return rc;
	if ((rc = posix_spawn_file_actions_init(&actions)) != 0)
	{
		posix_spawnattr_destroy(&attr);
		return rc;
	}
	if ((rc = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP |
									   POSIX_SPAWN_SETSIGDEF |
									   POSIX_SPAWN_SETSIGMASK)) == 0 &&
		(rc = posix_spawnattr_setpgroup(&attr, 0)) == 0 &&
		(rc = posix_spawnattr_setsigdefault(&attr, &defaults)) == 0 &&
		(rc = posix_spawnattr_setsigmask(&attr, &mask)) == 0 &&
		(rc = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)) == 0 &&
		(rc = posix_spawn_file_actions_addclosefrom_np(&actions, 3)) == 0)
		rc = posix_spawn(pid, argv[0], &actions, &attr, argv, env);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return rc;
}

static void
log_failure(int elevel, const char *state, const char *detail)
{
	ereport(elevel,
			(errmsg("pg_cmk: event command failed for state %s", state),
			 errdetail_internal("%s", detail)));
}

void
cmk_eventcommand_run(const char *state, const char *reason, const char *time)
{
	char		why[MAXPGPATH + 128];
	char	   *argv[] = {cmk_event_command, unconstify(char *, state),
	unconstify(char *, reason), unconstify(char *, time), NULL};
	Running    *r = NULL;
	int			rc;

	if (cmk_event_command[0] == '\0')
		return;
	cmk_eventcommand_reap();
	for (int i = 0; r == NULL && i < MAX_RUNNING; i++)
		if (running[i].pid == 0)
			r = &running[i];
	if (r == NULL)
	{
		snprintf(why, sizeof(why), "\"%s\" was not run, because %d of it still run.",
				 cmk_event_command, MAX_RUNNING);
		log_failure(LOG, state, why);
		return;
	}

	rc = spawn(&r->pid, argv);
	if (rc != 0)
	{
		r->pid = 0;
		snprintf(why, sizeof(why), "\"%s\" could not be run: %s.",
				 cmk_event_command, strerror(rc));
		log_failure(WARNING, state, why);
		return;
	}
	r->began = cmk_boottime();
	r->killed = false;
	strlcpy(r->state, state, sizeof(r->state));
}

static void
log_end(const Running *r, int status)
{
	char		why[128];

	if (r->killed)
		snprintf(why, sizeof(why), "It ran longer than %d ms and was killed.", command_timeout);
	else if (WIFSIGNALED(status))
		snprintf(why, sizeof(why), "It was terminated by signal %d.", WTERMSIG(status));
	else if (WEXITSTATUS(status) != 0)
		snprintf(why, sizeof(why), "It exited with status %d.", WEXITSTATUS(status));
	else
		return;
	log_failure(LOG, r->state, why);
}

/* Takes note of those that have ended; how many still run. */
static int
reap_ended(void)
{
	int			n = 0;

	for (Running *r = running; r < running + MAX_RUNNING; r++)
	{
		int			status = 0;
		pid_t		pid;

		if (r->pid == 0)
			continue;
		do
			pid = waitpid(r->pid, &status, WNOHANG);
		while (pid < 0 && errno == EINTR);
		if (pid == 0)
		{
			n++;
			continue;
		}
		if (pid > 0)
			log_end(r, status);
		r->pid = 0;
	}
	return n;
}

/* To its group, and to itself, should it have left that. */
static void
send_signal(const Running *r, int signo)
{
	kill(-r->pid, signo);
	kill(r->pid, signo);
}

long
cmk_eventcommand_reap(void)
{
	int64		now = cmk_boottime();
	int64		nap = LONGEST_NAP_MS;

	reap_ended();
	for (Running *r = running; r < running + MAX_RUNNING; r++)
	{
		int64		left = r->began + command_timeout - now;

		if (r->pid == 0 || r->killed)
			continue;
		if (left <= 0)
		{
			/* not reaped yet, so that the number is still its own */
			send_signal(r, SIGKILL);
			r->killed = true;
		}
		else
			nap = Min(nap, left);
	}
	return (long) nap;
}

static void
signal_all(int signo)
{
	for (Running *r = running; r < running + MAX_RUNNING; r++)
		if (r->pid != 0)
			send_signal(r, signo);
}

void
cmk_eventcommand_stop(void)
{
	if (reap_ended() == 0)
		return;
	signal_all(SIGTERM);
	for (int i = 0; i < STOP_TRIES; i++)
	{
		if (reap_ended() == 0)
			return;
		pg_usleep(STOP_NAP_US);
	}
	signal_all(SIGKILL);
	pg_usleep(STOP_NAP_US);
	reap_ended();
}
