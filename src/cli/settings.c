/*
 * settings.c
 *	  What the server would find in its configuration.  See cli.h.
 *
 * postgres -C prints one setting and ends; of an extension that is not loaded it
 * knows the settings that stand in a file, and none of the others, which then have
 * their defaults.  It says so in English, because it is told to: a setting that
 * cannot be read for another reason must not pass for its default.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"

#define MAX_ARGS	64

typedef struct Output
{
	int			status;			/* of waitpid() */
	char		out[CMK_SETTING_MAX];
	char		err[CMK_SETTING_MAX];
} Output;

/* postgres beside this program, else the one in PATH. */
static const char *
server_program(void)
{
	static char path[PATH_MAX];
	ssize_t		n = readlink("/proc/self/exe", path, sizeof(path) - 16);
	char	   *slash;

	path[n > 0 ? n : 0] = '\0';
	slash = strrchr(path, '/');
	if (slash != NULL)
	{
		strcpy(slash + 1, "postgres");
		if (access(path, X_OK) == 0)
			return path;
	}
	return "postgres";
}

static void
read_pipe(int fd, char *buf)
{
	size_t		len = 0;
	char		rest[512];
	ssize_t		n = 1;

	while (n != 0)
	{
		bool		room = len < CMK_SETTING_MAX - 1;

		n = room ? read(fd, buf + len, CMK_SETTING_MAX - 1 - len) : read(fd, rest, sizeof(rest));
		if (n < 0 && errno != EINTR)
			break;
		if (n > 0 && room)
			len += n;
	}
	buf[len] = '\0';
	close(fd);
}

/* stderr goes to a file without a name: two pipes would want to be read at once. */
static int
run(const char *const *args, Output *o, CmkError *err)
{
	FILE	   *log = tmpfile();
	int			out[2] = {-1, -1};
	pid_t		pid;

	if (log == NULL || pipe(out) < 0 || (pid = fork()) < 0)
	{
		cmk_fail(err, CMK_ERR_IO, "could not run \"%s\": %s", args[0], strerror(errno));
		if (log != NULL)
			fclose(log);
		return -1;
	}
	if (pid == 0)
	{
		dup2(out[1], STDOUT_FILENO);
		dup2(fileno(log), STDERR_FILENO);
		close(out[0]);
		close(out[1]);
		execvp(args[0], (char *const *) args);
		fprintf(stderr, "could not execute \"%s\": %s\n", args[0], strerror(errno));
		_exit(127);
	}
	close(out[1]);
	read_pipe(out[0], o->out);
	while (waitpid(pid, &o->status, 0) < 0 && errno == EINTR)
		;
	rewind(log);
	read_pipe(dup(fileno(log)), o->err);
	fclose(log);
	return 0;
}

static int
ask_postgres(const CmkCli *cli, const char *name, Output *o, CmkError *err)
{
	char		cwd[PATH_MAX];
	char		datadir[PATH_MAX + 32];
	char		config[PATH_MAX + 32];
	const char *args[MAX_ARGS];
	int			n = 0;
	int			i;

	if (getcwd(cwd, sizeof(cwd)) == NULL)
		return cmk_fail(err, CMK_ERR_IO, "could not identify the data directory: %s",
						strerror(errno));
	args[n++] = server_program();
	args[n++] = "-D";
	args[n++] = cwd;
	args[n++] = "-C";
	args[n++] = name;
	if (cli->config_file != NULL)
	{
		snprintf(config, sizeof(config), "config_file=%s", cli->config_file);
		args[n++] = "-c";
		args[n++] = config;
	}
	for (i = 0; cli->sets[i] != NULL && n < MAX_ARGS - 6; i++)
	{
		args[n++] = "-c";
		args[n++] = cli->sets[i];
	}

	/* A copied configuration may name the directory that it was copied from. */
	snprintf(datadir, sizeof(datadir), "data_directory=%s", cwd);
	args[n++] = "-c";
	args[n++] = datadir;
	args[n++] = "-c";
	args[n++] = "lc_messages=C";
	args[n] = NULL;
	return run(args, o, err);
}

static int
setting(const CmkCli *cli, const char *name, const char *deflt, char *buf, size_t size,
		CmkError *err)
{
	Output		o;
	char	   *nl;

	if (ask_postgres(cli, name, &o, err) < 0)
		return -1;
	errno = 0;
	if (!WIFEXITED(o.status) || WEXITSTATUS(o.status) != 0)
	{
		if (strstr(o.err, "unrecognized configuration parameter \"pg_cmk.") == NULL)
		{
			cmk_fail(err, CMK_ERR_CONFIG, "could not read the settings of the server");
			return cmk_fail_detail(err, "%.400s", o.err);
		}
		strcpy(o.out, deflt);
	}
	nl = strrchr(o.out, '\n');
	if (nl != NULL && nl[1] == '\0')
		*nl = '\0';
	if (strlen(o.out) >= size)
		return cmk_fail(err, CMK_ERR_CONFIG, "setting %s is too long", name);
	strcpy(buf, o.out);
	return 0;
}

int
cmk_setting_ms(const char *value)
{
	static const struct
	{
		const char *unit;
		double		ms;
	}			units[] = {{"", 1}, {"us", 0.001}, {"ms", 1}, {"s", 1000}, {"min", 60000}};
	char	   *end;
	double		n = strtod(value, &end);
	size_t		i;

	if (end == value || !(n > 0))
		return -1;
	while (*end == ' ')
		end++;
	for (i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(end, units[i].unit) == 0)
			return n * units[i].ms <= 3600000 ? (int) (n * units[i].ms) : -1;
	return -1;
}

int
cmk_check_key_url(const char *url, CmkError *err)
{
	const CmkProvider *p;
	CmkKeyUrl	parsed;

	if (strncmp(url, "file:", 5) != 0)
		return cmk_key_url_parse(url, &parsed, err);
	p = cmk_provider_for(url, err);
	return p == NULL ? -1 : p->check(url, err);
}

bool
cmk_setting_is_on(const char *value)
{
	size_t		n = strlen(value);

	if (n == 0)
		return true;
	return !(strcasecmp(value, "0") == 0 ||
			 strncasecmp(value, "false", n) == 0 ||
			 strncasecmp(value, "no", n) == 0 ||
			 (n >= 2 && strncasecmp(value, "off", n) == 0));
}

int
cmk_read_setting(const CmkCli *cli, const char *name, const char *deflt, char *buf, size_t size,
				 CmkError *err)
{
	return setting(cli, name, deflt, buf, size, err);
}

int
cmk_read_settings(const CmkCli *cli, CmkCliSettings *s, CmkError *err)
{
	char		timeout[64];
	char		purge[64];

	memset(s, 0, sizeof(*s));
	if (setting(cli, "pg_cmk.key", "", s->key, sizeof(s->key), err) < 0 ||
		setting(cli, "pg_cmk.identity", "default", s->identity, CMK_SETTING_MAX, err) < 0 ||
		setting(cli, "pg_cmk.client_id", "", s->client_id, CMK_SETTING_MAX, err) < 0 ||
		setting(cli, "pg_cmk.tenant_id", "", s->tenant_id, CMK_SETTING_MAX, err) < 0 ||
		setting(cli, "pg_cmk.authority_host", "", s->authority_host, CMK_SETTING_MAX, err) < 0 ||
		setting(cli, "pg_cmk.vault_dns_suffixes", CMK_DEFAULT_DNS_SUFFIXES, s->dns_suffixes,
				CMK_SETTING_MAX, err) < 0 ||
		setting(cli, "pg_cmk.vault_ca_file", "", s->ca_file, CMK_SETTING_MAX, err) < 0 ||
		setting(cli, "pg_cmk.vault_api_version", CMK_DEFAULT_API_VERSION, s->api_version,
				CMK_SETTING_MAX, err) < 0 ||
		setting(cli, "pg_cmk.vault_timeout", "10s", timeout, sizeof(timeout), err) < 0 ||
		setting(cli, "pg_cmk.require_purge_protection", "on", purge, sizeof(purge), err) < 0)
		return -1;
	cmk_key_url_normalize(s->key);
	s->check_flags = cmk_setting_is_on(purge) ? CMK_CHECK_PURGE_PROTECTION : 0;
	s->vault.identity = s->identity;
	s->vault.client_id = s->client_id;
	s->vault.tenant_id = s->tenant_id;
	s->vault.authority_host = s->authority_host;
	s->vault.dns_suffixes = s->dns_suffixes;
	s->vault.ca_file = s->ca_file;
	s->vault.api_version = s->api_version;
	s->vault.timeout_ms = cmk_setting_ms(timeout);
	errno = 0;
	if (s->vault.timeout_ms < 0)
		return cmk_fail(err, CMK_ERR_CONFIG, "setting pg_cmk.vault_timeout is \"%s\", which is no time",
						timeout);
	s->vault.deadline_ms = 3 * s->vault.timeout_ms;
	return 0;
}
