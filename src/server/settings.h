/*
 * settings.h
 *	  The settings of the key, its place and its validation; and which key governs.
 *
 * The governing key is the one that opens the root and is validated.  It is the one
 * that pg_cmk.key names when the server starts; after that the setting is a wish: a
 * change of it takes effect when the worker has seen that the new key can take
 * over.  So who wants to know the key of this server asks here, not the setting.
 */
#ifndef CMK_SETTINGS_H
#define CMK_SETTINGS_H

#include "postgres.h"

#include "../vault/kek.h"
#include "health.h"

/* what pg_cmk.key says, in this process; "" if it is not set */
extern char *cmk_key_url;
extern char *cmk_identity;
extern char *cmk_client_id;
extern char *cmk_tenant_id;
extern char *cmk_authority_host;
extern char *cmk_vault_dns_suffixes;
extern char *cmk_vault_ca_file;
extern char *cmk_vault_api_version;
extern int	cmk_vault_timeout;
extern int	cmk_revalidate_interval;
extern int	cmk_grace_period;
extern int	cmk_root_wal_limit; /* MB; 0: none */
extern int	cmk_hard_deadline;
extern int	cmk_on_inaccessible;
extern bool cmk_require_purge_protection;

#define CMK_ON_DENY			0
#define CMK_ON_TERMINATE	1
#define CMK_ON_LOCKDOWN		2

/*
 * Defines them, and makes the memory that says which key governs, which outlives a
 * crash restart; for _PG_init.  ereport(FATAL).
 */
extern void cmk_settings_init(void);

/* *config as the settings say. */
extern void cmk_health_settings(CmkHealthConfig *config);

/*
 * The configuration of a vault client.  interrupted may be NULL (vault.h).
 */
extern void cmk_vault_settings(CmkVaultConfig *config, int (*interrupted) (void));

/* Can a key have this URL, and may keys be sent there?  Contacts nobody.  0 or -1. */
extern int	cmk_check_key_url(const char *url, CmkError *err);

/* Is a key configured?  Not changed by a reload. */
extern bool cmk_has_key(void);

/* Is the governing key in a file, which the postmaster opens itself? */
extern bool cmk_key_is_file(void);

/* Copies of what governs; the version is "" before the root was opened once. */
extern void cmk_get_governing(char url[CMK_KEY_URL_SIZE],
							  char version[CMK_KEY_VERSION_SIZE]);

/* From now on this key governs.  The worker's, or before there is one. */
extern void cmk_set_governing(const char *url);
extern void cmk_set_governing_version(const char *version);

/*
 * The value of pg_cmk.key that was last done justice to.  The worker's alone; it
 * outlives the worker, and a crash restart.
 */
extern const char *cmk_followed_setting(void);
extern void cmk_set_followed(const char *url);

/*
 * The value of pg_cmk.key that the next start would find, as far as is known here:
 * what a session has just written may not have come by a reload yet.
 */
extern void cmk_get_setting(char url[CMK_KEY_URL_SIZE]);
extern void cmk_set_setting(const char *url);

#endif							/* CMK_SETTINGS_H */
