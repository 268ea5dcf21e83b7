/*
 * settings.c
 *	  The settings of the key, and which key governs.  See settings.h.
 *
 * What governs lies in a mapping of its own and not in the server's shared memory,
 * which a crash restart makes anew: the key may have been changed since the start,
 * and a server that came back by its old key would be told by a vault that nobody
 * means any more.  Readers copy it under a spinlock, which after a crash may be held
 * by a process that is gone, so that shared memory's beginning frees it.
 */
#include "postgres.h"

#include <sys/mman.h>

#include "access/parallel.h"
#include "miscadmin.h"
#include "storage/spin.h"
#include "utils/guc.h"

#include "settings.h"
#include "state.h"

#define ROOT_WAL_LIMIT_MB	(64 * 1024 * 1024)	/* 64 TB: see rootrenew.c */

typedef struct Governing
{
	char		url[CMK_KEY_URL_SIZE];
	char		version[CMK_KEY_VERSION_SIZE];
	char		followed[CMK_KEY_URL_SIZE];
	char		setting[CMK_KEY_URL_SIZE];	/* what the files say */
} Governing;

static Governing *governing = NULL;

char	   *cmk_key_url = NULL;
char	   *cmk_identity = NULL;
char	   *cmk_client_id = NULL;
char	   *cmk_tenant_id = NULL;
char	   *cmk_authority_host = NULL;
char	   *cmk_vault_dns_suffixes = NULL;
char	   *cmk_vault_ca_file = NULL;
char	   *cmk_vault_api_version = NULL;
int			cmk_vault_timeout = 10000;
int			cmk_revalidate_interval = 60000;
int			cmk_grace_period = 300000;
int			cmk_root_wal_limit = ROOT_WAL_LIMIT_MB;
int			cmk_hard_deadline = CMK_HARD_DEADLINE_MS;
int			cmk_on_inaccessible = CMK_ON_DENY;
bool		cmk_require_purge_protection = true;

static const struct config_enum_entry inaccessible_options[] = {
	{"deny", CMK_ON_DENY, false},
	{"terminate", CMK_ON_TERMINATE, false},
	{"lockdown", CMK_ON_LOCKDOWN, false},
	{NULL, 0, false}
};

/* ---- which key governs ---- */

/* Before there is shared memory there is one process, which needs no lock. */
static void
lock_governing(void)
{
	if (cmk_shared != NULL)
		SpinLockAcquire(&cmk_shared->mutex);
}

static void
unlock_governing(void)
{
	if (cmk_shared != NULL)
		SpinLockRelease(&cmk_shared->mutex);
}

bool
cmk_has_key(void)
{
	return governing->url[0] != '\0';
}

bool
cmk_key_is_file(void)
{
	char		url[CMK_KEY_URL_SIZE];
	char		version[CMK_KEY_VERSION_SIZE];

	cmk_get_governing(url, version);
	return strncmp(url, "file:", 5) == 0;
}

void
cmk_get_governing(char url[CMK_KEY_URL_SIZE], char version[CMK_KEY_VERSION_SIZE])
{
	lock_governing();
	memcpy(url, governing->url, CMK_KEY_URL_SIZE);
	memcpy(version, governing->version, CMK_KEY_VERSION_SIZE);
	unlock_governing();
}

void
cmk_set_governing(const char *url)
{
	lock_governing();
	strlcpy(governing->url, url, sizeof(governing->url));
	if (cmk_shared != NULL)
		strlcpy(cmk_shared->status.key_url, url, sizeof(cmk_shared->status.key_url));
	unlock_governing();
}

void
cmk_set_governing_version(const char *version)
{
	lock_governing();
	strlcpy(governing->version, version, sizeof(governing->version));
	if (cmk_shared != NULL)
		strlcpy(cmk_shared->status.key_version, version,
				sizeof(cmk_shared->status.key_version));
	unlock_governing();
}

const char *
cmk_followed_setting(void)
{
	return governing->followed;
}

void
cmk_set_followed(const char *url)
{
	strlcpy(governing->followed, url, sizeof(governing->followed));
}

void
cmk_get_setting(char url[CMK_KEY_URL_SIZE])
{
	lock_governing();
	memcpy(url, governing->setting, CMK_KEY_URL_SIZE);
	unlock_governing();
}

void
cmk_set_setting(const char *url)
{
	lock_governing();
	strlcpy(governing->setting, url, sizeof(governing->setting));
	unlock_governing();
}

/* ---- the settings ---- */

void
cmk_health_settings(CmkHealthConfig *config)
{
	config->interval_ms = cmk_revalidate_interval;
	config->grace_ms = cmk_grace_period;
	config->deadline_ms = cmk_hard_deadline;
}

void
cmk_vault_settings(CmkVaultConfig *config, int (*interrupted) (void))
{
	memset(config, 0, sizeof(*config));
	config->identity = cmk_identity;
	config->client_id = cmk_client_id;
	config->tenant_id = cmk_tenant_id;
	config->authority_host = cmk_authority_host;
	config->dns_suffixes = cmk_vault_dns_suffixes;
	config->ca_file = cmk_vault_ca_file;
	config->api_version = cmk_vault_api_version;
	config->timeout_ms = cmk_vault_timeout;
	config->deadline_ms = cmk_vault_timeout * 3;
	config->interrupted = interrupted;
}

int
cmk_check_key_url(const char *url, CmkError *err)
{
	CmkKeyUrl	parsed;

	if (strncmp(url, "file:", 5) == 0)
	{
		const CmkProvider *p = cmk_provider_for(url, err);

		return p == NULL ? -1 : p->check(url, err);
	}
	if (cmk_key_url_parse(url, &parsed, err) < 0)
		return -1;
	return cmk_key_url_trusted(&parsed, cmk_vault_dns_suffixes, err);
}

/*
 * At the start whoever opens the key says what is wrong with it, and stops the start:
 * a value that is refused here would leave the setting empty, and the server plain.
 * While the server runs a bad value is refused, so that the old one stays; and the
 * key of a sealed server cannot be taken away.  A first key is accepted, but a
 * server that began without one has no worker and makes no root: so at the next start.
 * A parallel worker takes its leader's settings, after all have their first values.
 */
static bool
check_key(char **newval, void **extra, GucSource source)
{
	CmkError	err;

	cmk_key_url_normalize(*newval);
	if (cmk_shared == NULL || InitializingParallelWorker)
		return true;
	if ((*newval)[0] == '\0')
	{
		if (!cmk_has_key())
			return true;
		GUC_check_errmsg("pg_cmk.key cannot be unset while the server runs");
		GUC_check_errdetail("The root key of this cluster is wrapped by the key that it names.");
		GUC_check_errhint("cmk.set_key() changes to another key.");
		return false;
	}
	if (cmk_check_key_url(*newval, &err) < 0)
	{
		GUC_check_errmsg("%s", err.message);
		if (err.detail[0])
			GUC_check_errdetail("%s", err.detail);
		if (err.hint[0])
			GUC_check_errhint("%s", err.hint);
		return false;
	}
	return true;
}

/* The postmaster speaks for all. */
static void
assign_key(const char *newval, void *extra)
{
	if (cmk_shared != NULL && !cmk_has_key() && newval[0] != '\0' &&
		PostmasterPid == MyProcPid)
		ereport(LOG,
				(errmsg("parameter \"%s\" takes effect when the server is restarted", "pg_cmk.key"),
				 errdetail("The server was started without a key.")));
}

static void
define_settings(void)
{
	DefineCustomStringVariable("pg_cmk.key",
							   "The key that wraps the root key: https://VAULT/keys/NAME[/VERSION] or file:///path/kek.pem.",
							   "Empty: nothing is sealed, and tables USING cmk_heap cannot be created.",
							   &cmk_key_url, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   check_key, assign_key, NULL);
	DefineCustomStringVariable("pg_cmk.identity",
							   "How this server proves who it is to Microsoft Entra ID.",
							   "default, environment, clientsecret, clientcertificate, workloadidentity or managedidentity.",
							   &cmk_identity, "default", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("pg_cmk.client_id",
							   "Client id of the application or of the user-assigned identity.",
							   NULL, &cmk_client_id, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("pg_cmk.tenant_id", "The tenant of the vault.",
							   NULL, &cmk_tenant_id, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("pg_cmk.authority_host",
							   "Where tokens are asked for; credentials go nowhere else.",
							   NULL, &cmk_authority_host, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("pg_cmk.vault_dns_suffixes",
							   "Hosts that keys may be sent to: names that end in one of these.",
							   NULL, &cmk_vault_dns_suffixes, CMK_DEFAULT_DNS_SUFFIXES,
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("pg_cmk.vault_ca_file",
							   "Certificates that a vault is verified with, instead of the system's.",
							   NULL, &cmk_vault_ca_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("pg_cmk.vault_api_version",
							   "The api-version of the vault's REST interface.",
							   NULL, &cmk_vault_api_version, CMK_DEFAULT_API_VERSION,
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable("pg_cmk.vault_timeout", "The longest that one request may take.",
							NULL, &cmk_vault_timeout, 10000, 10, 60000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("pg_cmk.revalidate_interval", "How often the key is validated.",
							NULL, &cmk_revalidate_interval, 60000, 100, 300000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("pg_cmk.grace_period",
							"How long the key may be unreachable before the server closes.",
							NULL, &cmk_grace_period, 300000, 100, CMK_HARD_DEADLINE_MS,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("pg_cmk.root_wal_limit",
							"How much WAL is sealed under one root key before the worker makes a new one.",
							"0: any amount.",
							&cmk_root_wal_limit, ROOT_WAL_LIMIT_MB, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("pg_cmk.debug_deadline",
							"For tests: the hard deadline since the last successful validation.",
							NULL, &cmk_hard_deadline, CMK_HARD_DEADLINE_MS, 100, CMK_HARD_DEADLINE_MS,
							PGC_SIGHUP, GUC_UNIT_MS | GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL,
							NULL, NULL, NULL);
	DefineCustomEnumVariable("pg_cmk.on_inaccessible",
							 "What happens to running sessions when the key is inaccessible.",
							 NULL, &cmk_on_inaccessible, CMK_ON_DENY, inaccessible_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("pg_cmk.require_purge_protection",
							 "Refuse a key that somebody could purge, when it is set.",
							 NULL, &cmk_require_purge_protection, true,
							 PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
}

void
cmk_settings_init(void)
{
	define_settings();
	governing = mmap(NULL, sizeof(Governing), PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (governing == MAP_FAILED)
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not map %zu bytes of memory: %m", sizeof(Governing))));
	cmk_set_governing(cmk_key_url);
	cmk_set_followed(cmk_key_url);
	cmk_set_setting(cmk_key_url);
}
