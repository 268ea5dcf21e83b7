/*
 * cli.h
 *	  The pg_cmk command: what its parts share.
 *
 * main.c reads the command line; each command is one file with one function, which
 * returns the exit status.  All of them run in the data directory, as the user that
 * owns it.
 */
#ifndef CMK_CLI_H
#define CMK_CLI_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "../vault/kek.h"

/*
 * Exit statuses.  Of status and revalidate they are those of a monitoring plugin;
 * of the others the first two; verify has its own.  docs/command.md has them.
 */
#define CMK_EXIT_OK			0	/* done; Ready */
#define CMK_EXIT_FAILED		1	/* nothing was changed; Degraded or Starting */
#define CMK_EXIT_NO_ANSWER	2	/* may be done all the same; Inaccessible */
#define CMK_EXIT_UNKNOWN	3	/* the state is not known */

#define CMK_EXIT_FINDINGS	1	/* verify: something is as it must not be */
#define CMK_EXIT_NOT_RUN	2	/* verify: it could not be looked at */

typedef struct CmkCli
{
	const char *command;
	const char *datadir;		/* as given */
	const char *config_file;	/* absolute, or NULL */
	const char **sets;			/* NAME=VALUE, NULL-terminated */
	const char *from;			/* set-key: the key that opens the root */
	const char *url;			/* the argument, or NULL */
	char	  **args;			/* exec: the tool and its arguments */
	int			cwd;			/* the directory in which the command was started */
	int			wait;			/* seconds to wait for an answer */
	bool		json;
	bool		no_key;			/* verify: do not open anything */
	bool		running;		/* verify: also with a server at work */
	bool		progress;
} CmkCli;

/*
 * The commands, one function each.  The exit status, as docs/command.md has it; what
 * went wrong is said.
 */
extern int	cmk_command_status(const CmkCli *cli);
extern int	cmk_command_revalidate(const CmkCli *cli);
extern int	cmk_command_set_key(const CmkCli *cli);
extern int	cmk_command_versions(const CmkCli *cli);
extern int	cmk_command_exec(const CmkCli *cli);
extern int	cmk_command_verify(const CmkCli *cli);

/* set-key on a stopped server; in the data directory, locked. */
extern int	cmk_set_key_offline(const CmkCli *cli);

/*
 * The current root key, opened as the server would; in the data directory.  0 or -1,
 * said.
 */
extern int	cmk_open_root_offline(const CmkCli *cli, uint8_t *root);

/* ---- report.c ---- */

/* "pg_cmk: error: …" with detail and hint, on stderr. */
extern void cmk_say_error(const CmkError *err);

/* The same for what was said elsewhere; detail and hint may be "" or NULL. */
extern void cmk_say(const char *message, const char *detail, const char *hint);

/* Exit status for a state's name, as cmk.status shows it. */
extern int	cmk_exit_of_state(const char *state);

/* "2026-01-31 12:00:00+00" of seconds since 1970; a static buffer. */
extern const char *cmk_time_text(int64_t t);

/* ---- settings.c ---- */

#define CMK_SETTING_MAX	4096

/* What the server would find in its configuration. */
typedef struct CmkCliSettings
{
	char		key[CMK_KEY_URL_SIZE];
	char		identity[CMK_SETTING_MAX];
	char		client_id[CMK_SETTING_MAX];
	char		tenant_id[CMK_SETTING_MAX];
	char		authority_host[CMK_SETTING_MAX];
	char		dns_suffixes[CMK_SETTING_MAX];
	char		ca_file[CMK_SETTING_MAX];
	char		api_version[CMK_SETTING_MAX];
	int			check_flags;	/* CMK_CHECK_… for cmk_kek_inspect() */
	CmkVaultConfig vault;		/* points into this */
} CmkCliSettings;

/*
 * Asks the server's own program (postgres -C), so that includes, quoting and the
 * order of files need no second parser.  0, or -1 with CMK_ERR_CONFIG and what
 * postgres says as detail.
 */
extern int	cmk_read_settings(const CmkCli *cli, CmkCliSettings *s, CmkError *err);

/* One setting, in the same way; deflt is that of an extension that is not loaded. */
extern int	cmk_read_setting(const CmkCli *cli, const char *name, const char *deflt,
							 char *buf, size_t size, CmkError *err);

/* Milliseconds of a value like "500ms", "10s" or "10000"; -1: none. */
extern int	cmk_setting_ms(const char *value);

/* What can be said of a key URL without asking anybody.  0 or -1. */
extern int	cmk_check_key_url(const char *url, CmkError *err);

/* A Boolean as the server reads it; what it would refuse is true. */
extern bool cmk_setting_is_on(const char *value);

#endif							/* CMK_CLI_H */
