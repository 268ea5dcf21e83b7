/*
 * statusfile.c
 *	  pg_cmk/status.json: cmk.status for those who cannot connect.
 *
 * A JSON object with the columns of cmk.status, those that are null there left
 * out; times are text, UTC.  And what tells its reader how much it is worth:
 *
 *		written_at	when; after each look at the key, so that a file much older than
 *					pg_cmk.revalidate_interval is one that nobody keeps
 *		pid			of the postmaster; a copy of a data directory has another one's
 *		worker		"running", or "stopped" when the worker has ended in order
 *		request_id	of the last answer of the vault
 *		message		what was seen, one sentence; only if there is a reason
 *
 * It is renamed over the former one, so that a reader finds a whole one, and not
 * synced: after a crash nobody wants it.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "common/file_perm.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "../keyring/keyring.h"
#include "eventline.h"
#include "events.h"
#include "state.h"
#include "statusfile.h"
#include "walops.h"

#define TEMPORARY_FILE	CMK_STATUS_FILE ".tmp"

static bool complained = false;

static void
complain(const char *what)
{
	if (!complained)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("pg_cmk: could not %s file \"%s\": %m", what, CMK_STATUS_FILE),
				 errdetail("It is not kept up to date until it can be written again.")));
	complained = true;
}

static void
add_text(cJSON *object, const char *name, const char *value)
{
	char		text[CMK_KEY_URL_SIZE];

	cmk_printable(text, value, sizeof(text));
	if (text[0] != '\0')
		cJSON_AddStringToObject(object, name, text);
}

static void
add_time(cJSON *object, const char *name, TimestampTz t)
{
	char		iso[CMK_ISO_TIME_SIZE];

	if (t == 0)
		return;
	cmk_iso_time(cmk_unix_ms(t), iso);
	add_text(object, name, iso);
}

/* malloced, or NULL if memory is short. */
static char *
status_text(const CmkStatus *st, const char *worker)
{
	cJSON	   *o = cJSON_CreateObject();
	char	   *text;

	add_text(o, "state", cmk_state_name(st->health.state));
	add_text(o, "reason", cmk_reason_name(st->health.reason));
	add_time(o, "since", st->since);
	add_text(o, "key_url", st->key_url);
	add_text(o, "key_version", st->key_version);
	add_text(o, "identity", st->identity);
	add_time(o, "last_validated", st->last_validated);
	add_time(o, "next_validation", st->next_validation);
	add_text(o, "scope", cmk_scope);
	cJSON_AddBoolToObject(o, "wal_sealed", cmk_wal_is_sealed());
	if (cmk_is_configured())
		cJSON_AddNumberToObject(o, "root_id", cmk_registry_root()->id);
	cJSON_AddNumberToObject(o, "relations_sealed", cmk_registry_count());
	add_text(o, "message", st->reason);
	add_text(o, "request_id", st->request_id);
	add_text(o, "worker", worker);
	cJSON_AddNumberToObject(o, "pid", PostmasterPid);
	add_time(o, "written_at", GetCurrentTimestamp());
	text = cJSON_Print(o);
	cJSON_Delete(o);
	return text;
}

static bool
write_temporary(const char *text)
{
	size_t		len = strlen(text);
	bool		ok;
	int			fd;

	/* one that is left over, whatever it is */
	unlink(TEMPORARY_FILE);
	fd = open(TEMPORARY_FILE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, pg_file_create_mode);
	if (fd < 0)
		return false;
	errno = 0;
	ok = write(fd, text, len) == (ssize_t) len && write(fd, "\n", 1) == 1;
	if (!ok && errno == 0)
		errno = ENOSPC;
	if (!ok)
	{
		int			save_errno = errno;

		close(fd);
		errno = save_errno;
		return false;
	}
	return close(fd) == 0;
}

static void
replace_file(const CmkStatus *st, const char *worker)
{
	char	   *text;

	/* not made yet: this cluster has no root */
	if (access(CMK_DIR, F_OK) < 0)
		return;
	text = status_text(st, worker);
	if (text == NULL)
	{
		errno = ENOMEM;
		complain("write");
		return;
	}
	if (!write_temporary(text))
		complain("write");
	else if (rename(TEMPORARY_FILE, CMK_STATUS_FILE) < 0)
		complain("rename");
	else if (complained)
	{
		complained = false;
		ereport(LOG, (errmsg("pg_cmk: file \"%s\" is written again", CMK_STATUS_FILE)));
	}
	cJSON_free(text);
}

void
cmk_write_status_file(const CmkStatus *st)
{
	replace_file(st, "running");
}

void
cmk_write_own_status(bool running)
{
	CmkStatus	st;

	cmk_read_status(&st);
	replace_file(&st, running ? "running" : "stopped");
}
