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
#include "settings.h"

struct CmkKeyWork;

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

/* For _PG_init, after the settings are defined: registers the worker. */
extern void cmk_worker_init(void);

/* For the start of a postmaster: ereport(FATAL) if there was no room for the worker. */
extern void cmk_require_worker(void);

/* Milliseconds of CLOCK_BOOTTIME. */
extern int64 cmk_boottime(void);

/* Copies what is published. */
extern void cmk_read_status(CmkStatus *status);

/*
 * Feeds the outcome of a try to the published state; logs and acts if the state
 * changed.  For the worker, and for whoever opens the root before it runs.
 */
extern CmkHealthStep cmk_publish(const CmkOutcome *outcome);

/*
 * In the worker: one look at the key, and what came of it; published, and logged if
 * the state changed.
 */
extern CmkHealthStep cmk_look(struct CmkKeyWork *work, CmkOutcome *out);

/* Asks the worker to look now and waits for its answer; for SQL functions. */
extern void cmk_ask_worker(void);

#endif							/* CMK_WORKER_H */
