/*
 * worker.h
 *	  The background worker that owns the conversation with the vault, and what
 *	  it lets the other processes know.
 *
 * One worker, from postmaster start, without a database connection.  It opens the
 * root when a key in a vault is configured, then validates the key on a clock, and
 * publishes what it finds.  Nobody waits for it but the startup process (until the
 * root is open) and cmk.revalidate().  It restarts after any exit; and since the
 * gate reads the clock of the last success itself, a dead worker closes the server
 * too.
 */
#ifndef CMK_WORKER_H
#define CMK_WORKER_H

#include "datatype/timestamp.h"

#include "../vault/kek.h"
#include "health.h"

/* What cmk.status shows; a copy, taken under a spinlock. */
typedef struct CmkStatus
{
	CmkHealth	health;
	TimestampTz since;			/* of the state */
	TimestampTz last_validated;
	TimestampTz next_validation;
	char		reason[512];	/* one sentence, or "" */
	char		request_id[64];
	char		identity[32];
	char		key_url[CMK_KEY_URL_SIZE];	/* the one that governs */
	char		key_version[CMK_KEY_VERSION_SIZE];
} CmkStatus;

/* settings */
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
extern int	cmk_hard_deadline;
extern int	cmk_on_inaccessible;
extern bool cmk_require_purge_protection;

#define CMK_ON_DENY			0
#define CMK_ON_TERMINATE	1
#define CMK_ON_LOCKDOWN		2

/* Settings of the above; for _PG_init, which also registers the worker. */
extern void cmk_worker_init(void);

/* Milliseconds of CLOCK_BOOTTIME. */
extern int64 cmk_boottime(void);

extern void cmk_health_settings(CmkHealthConfig *config);

/* The configuration of a vault client, from the settings. */
extern void cmk_vault_settings(CmkVaultConfig *config);

/* Copies what is published. */
extern void cmk_read_status(CmkStatus *status);

/*
 * Feeds the outcome of a try to the published state; logs and acts if the state
 * changed.  For the worker, and for whoever opens the root before it runs.
 */
extern CmkHealthStep cmk_publish(const CmkOutcome *outcome);
extern void cmk_publish_key_version(const char *version);

/* Asks the worker to look now and waits for its answer; for SQL functions. */
extern void cmk_ask_worker(void);

#endif							/* CMK_WORKER_H */
