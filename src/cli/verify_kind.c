/*
 * verify_kind.c
 *	  What a file of a data directory is.  See verify.h.
 *
 * For what is sealed this asks the same function as the server does (filekind.h), so
 * that the two cannot come apart.  The rest is known by name: the server's directories
 * hold files of fixed forms, and one of another form, or at another place, is one that
 * somebody else put there.  docs/coverage.md says of each kind what is in it;
 * t/065_verify.pl compares that table with this one.
 */
#include <regex.h>
#include <stdio.h>
#include <string.h>

#include "verify.h"

enum
{
	KIND_RELATION,
	KIND_TEMP_RELATION,
	KIND_TEMP_FILE,
	KIND_WAL,
	KIND_SPILL,
	KIND_TEXTS,
	KIND_NOTIFY,
	KIND_SHARED_MEMORY,
	KIND_WAL_HISTORY,
	KIND_ARCHIVE_STATUS,
	KIND_CONTROL,
	KIND_MAP,
	KIND_CACHE,
	KIND_XACT,
	KIND_TWOPHASE,
	KIND_SNAPSHOT,
	KIND_LOGICAL,
	KIND_SLOT,
	KIND_STATISTICS,
	KIND_VERSION,
	KIND_KEYS,
	KIND_CONFIGURATION,
	KIND_TLS,
	KIND_SERVER,
	KIND_LABEL,
	KIND_MANIFEST,
	KIND_LOG,
	KIND_OTHER
};

_Static_assert(KIND_OTHER == CMK_VERIFY_OTHER, "the last kind is that of all others");

const CmkVerifyKind cmk_verify_kinds[CMK_VERIFY_KINDS] = {
	[KIND_RELATION] = {"relation", CMK_VERIFY_PAGES, "tables, indexes, TOAST, sequences, catalogs: rows"},
	[KIND_TEMP_RELATION] = {"temporary relation", CMK_VERIFY_TEMP_PAGES, "temporary tables: rows"},
	[KIND_TEMP_FILE] = {"temporary file", CMK_VERIFY_UNITS, "sorts, hashes, cursors, index builds: rows"},
	[KIND_WAL] = {"WAL", CMK_VERIFY_WAL, "every change, with its rows"},
	[KIND_SPILL] = {"decoding spill", CMK_VERIFY_UNITS, "large transactions: rows"},
	[KIND_TEXTS] = {"query texts", CMK_VERIFY_UNITS, "pg_stat_statements: statements"},
	[KIND_NOTIFY] = {"notifications", CMK_VERIFY_NOTIFY, "channels and payloads"},
	[KIND_SHARED_MEMORY] = {"shared memory", CMK_VERIFY_PLAIN, "dynamic_shared_memory_type = mmap: rows"},
	[KIND_WAL_HISTORY] = {"WAL history", CMK_VERIFY_CLEAR, "timelines, LSNs, labels of backups"},
	[KIND_ARCHIVE_STATUS] = {"archive status", CMK_VERIFY_CLEAR, "nothing but names"},
	[KIND_CONTROL] = {"control file", CMK_VERIFY_CLEAR, "state, LSNs, settings that must not change"},
	[KIND_MAP] = {"relation map", CMK_VERIFY_CLEAR, "file numbers of catalogs"},
	[KIND_CACHE] = {"relation cache", CMK_VERIFY_CLEAR, "descriptions of the server's own catalogs"},
	[KIND_XACT] = {"transaction status", CMK_VERIFY_CLEAR, "numbers and times of transactions"},
	[KIND_TWOPHASE] = {"prepared transactions", CMK_VERIFY_UNITS, "identifiers, locks, invalidations; no rows"},
	[KIND_SNAPSHOT] = {"exported snapshots", CMK_VERIFY_CLEAR, "numbers of transactions"},
	[KIND_LOGICAL] = {"decoding state", CMK_VERIFY_CLEAR, "numbers of transactions, positions of rows"},
	[KIND_SLOT] = {"replication slots", CMK_VERIFY_CLEAR, "names, LSNs"},
	[KIND_STATISTICS] = {"statistics", CMK_VERIFY_CLEAR, "counts, by number of relation"},
	[KIND_VERSION] = {"version", CMK_VERIFY_CLEAR, "15"},
	[KIND_KEYS] = {"keys", CMK_VERIFY_CLEAR, "wrapped keys, state, events"},
	[KIND_CONFIGURATION] = {"configuration", CMK_VERIFY_CLEAR, "needed before any key is open"},
	[KIND_TLS] = {"TLS", CMK_VERIFY_CLEAR, "needed before any key is open"},
	[KIND_SERVER] = {"server state", CMK_VERIFY_CLEAR, "process numbers, command line, signals"},
	[KIND_LABEL] = {"backup label", CMK_VERIFY_CLEAR, "where recovery begins, label of the backup, tablespaces"},
	[KIND_MANIFEST] = {"backup manifest", CMK_VERIFY_CLEAR, "names, sizes and checksums of sealed files"},
	[KIND_LOG] = {"server log", CMK_VERIFY_CLEAR, "what the settings say, also statements"},
	[KIND_OTHER] = {"unknown", CMK_VERIFY_UNKNOWN, "no rule knows what is in it"},
};

#define DATABASE	"(base/[0-9]+|pg_tblspc/[0-9]+/PG_[0-9]+_[0-9]+/[0-9]+)"

static const struct
{
	int			kind;
	const char *pattern;		/* POSIX extended; of the whole name */
}			rules[] = {
	{KIND_WAL, "pg_wal/RECOVERYXLOG"},
	{KIND_SHARED_MEMORY, "pg_dynshmem/mmap\\.[0-9]+"},
	{KIND_WAL_HISTORY, "pg_wal/([0-9A-F]{8}\\.history|[0-9A-F]{24}\\.[0-9A-F]{8}\\.backup|RECOVERYHISTORY)"},
	{KIND_ARCHIVE_STATUS, "pg_wal/archive_status/[0-9A-Z.a-z]+\\.(ready|done)"},
	{KIND_CONTROL, "global/pg_control"},
	{KIND_MAP, "(global|" DATABASE ")/pg_filenode\\.map"},
	{KIND_CACHE, "(global|" DATABASE ")/pg_internal\\.init(\\.[0-9]+)?"},
	{KIND_XACT, "(pg_xact|pg_subtrans|pg_multixact/members|pg_multixact/offsets|pg_commit_ts|pg_serial)/[0-9A-F]{4,8}"},
	{KIND_SNAPSHOT, "pg_snapshots/[0-9A-F]{8}-[0-9A-F]{8}-[0-9]+(\\.tmp)?"},
	{KIND_LOGICAL, "pg_logical/(replorigin_checkpoint(\\.tmp)?|mappings/map-[-0-9a-f_A-F]+|snapshots/[-0-9A-F]+\\.snap(\\.[0-9]+\\.tmp)?)"},
	{KIND_SLOT, "pg_replslot/[a-z0-9_]+(\\.tmp)?/state(\\.tmp)?"},
	{KIND_STATISTICS, "pg_stat/pgstat\\.(stat|tmp)"},
	{KIND_VERSION, "(" DATABASE "/)?PG_VERSION"},
	{KIND_KEYS, "pg_cmk/(keys|root\\.json|status\\.json|request\\.json|answer\\.json|events|events\\.1|wal_was_plain)(\\.tmp)?"},
	{KIND_CONFIGURATION, "([^/]+|conf\\.d/[^/]+)\\.conf|postgresql\\.auto\\.conf\\.(tmp|pg_cmk)"},
	{KIND_TLS, "[^/]+\\.(crt|key|crl)"},
	{KIND_SERVER, "postmaster\\.(pid|opts)|current_logfiles(\\.tmp)?|(standby|recovery)\\.signal|promote|fallback_promote|logrotate|autoprewarm\\.blocks(\\.tmp)?"},
	{KIND_LABEL, "(backup_label|tablespace_map)(\\.old|\\.tmp)?"},
	{KIND_MANIFEST, "backup_manifest(\\.tmp)?"},
};

#define N_RULES		(sizeof(rules) / sizeof(rules[0]))

static regex_t compiled[N_RULES];
static bool is_compiled = false;
static const char *log_dir = "";

int
cmk_verify_kind_init(const char *logs, const char *version_dir, CmkError *err)
{
	char		pattern[512];
	size_t		i;

	log_dir = logs;
	cmk_filekind_init("/", version_dir);
	for (i = 0; i < N_RULES && !is_compiled; i++)
	{
		snprintf(pattern, sizeof(pattern), "^(%s)$", rules[i].pattern);
		if (regcomp(&compiled[i], pattern, REG_EXTENDED | REG_NOSUB) != 0)
			return cmk_fail(err, CMK_ERR_NO_MEMORY, "out of memory");
	}
	is_compiled = true;
	return 0;
}

static bool
is_log(const char *path)
{
	size_t		len = strlen(log_dir);

	return len > 0 && strncmp(path, log_dir, len) == 0 && path[len] == '/' &&
		strchr(path + len + 1, '/') == NULL;
}

int
cmk_verify_kind(const char *path, CmkFileName *name)
{
	size_t		i;

	memset(name, 0, sizeof(*name));
	switch (cmk_filekind(path, name))
	{
		case CMK_FILE_RELATION:
			return KIND_RELATION;
		case CMK_FILE_TEMP_RELATION:
			return KIND_TEMP_RELATION;
		case CMK_FILE_TEMPORARY:
			return KIND_TEMP_FILE;
		case CMK_FILE_SPILL:
			return KIND_SPILL;
		case CMK_FILE_TEXTS:
		case CMK_FILE_STATEMENTS:
			return KIND_TEXTS;
		case CMK_FILE_TWOPHASE:
			return KIND_TWOPHASE;
		case CMK_FILE_NOTIFY:
			return KIND_NOTIFY;
		case CMK_FILE_WAL:
		case CMK_FILE_WAL_TEMP:
			return KIND_WAL;
		case CMK_FILE_CONTROL:
			return KIND_CONTROL;
		case CMK_FILE_PROBE:
			return KIND_KEYS;
		case CMK_FILE_OTHER:
			break;
	}
	for (i = 0; i < N_RULES; i++)
		if (regexec(&compiled[i], path, 0, NULL, 0) == 0)
			return rules[i].kind;
	return is_log(path) ? KIND_LOG : KIND_OTHER;
}
