/*
 * filekind.c
 *	  What a path is.  See filekind.h.
 *
 * The grammar is that of the server's common/relpath.c:
 *
 *		base/DB/FILE, global/FILE, pg_tblspc/SPC/VERSION/DB/FILE
 *		FILE = [tBACKEND_]RELFILENODE[_fsm|_vm|_init][.SEGMENT]
 *
 * and of what the server and pg_stat_statements keep for a while:
 *
 *		base/pgsql_tmp/…, pg_tblspc/SPC/VERSION/pgsql_tmp/…
 *		pg_replslot/SLOT/xid-….spill, pg_notify/HEX
 *		pg_stat_tmp/pgss_query_texts.stat, pg_stat/pg_stat_statements.stat[.tmp]
 *		pg_twophase/XXXXXXXX[.tmp]
 *
 *		pg_wal/TTTTTTTTLLLLLLLLSSSSSSSS[.partial], pg_wal/xlogtemp.PID
 *
 * Numbers of relations have no sign, no leading zero and fit in 32 bits, as the server
 * prints them: a name that the server would not print is not one of its files.
 */
#include <stdio.h>
#include <string.h>

#include "../seal/page.h"
#include "filekind.h"

static const char *data_dir;
static size_t data_dir_len;
static const char *tblspc_version;
static size_t tblspc_version_len;

void
cmk_filekind_init(const char *datadir, const char *version_dir)
{
	data_dir = datadir;
	data_dir_len = strlen(datadir);
	tblspc_version = version_dir;
	tblspc_version_len = strlen(version_dir);
}

/* Reads a number at *p and moves *p behind it. */
static bool
take_number(const char **p, uint32_t *value)
{
	const char *s = *p;
	uint64_t	v = 0;

	if (*s < '1' || *s > '9')
		return false;
	for (; *s >= '0' && *s <= '9'; s++)
	{
		v = v * 10 + (uint64_t) (*s - '0');
		if (v > UINT32_MAX)
			return false;
	}
	*value = (uint32_t) v;
	*p = s;
	return true;
}

static bool
take_word(const char **p, const char *word)
{
	size_t		len = strlen(word);

	if (strncmp(*p, word, len) != 0)
		return false;
	*p += len;
	return true;
}

/* A backend number may be 0-based in other versions: accept a lone zero. */
static bool
take_backend(const char **p, uint32_t *value)
{
	if ((*p)[0] == '0' && (*p)[1] == '_')
	{
		*value = 0;
		(*p)++;
		return true;
	}
	return take_number(p, value);
}

static CmkFileKind
relation_file(const char *p, CmkFileName *name)
{
	CmkFileKind kind = CMK_FILE_RELATION;

	name->backend = 0;
	name->segno = 0;
	if (*p == 't')
	{
		p++;
		if (!take_backend(&p, &name->backend) || !take_word(&p, "_"))
			return CMK_FILE_OTHER;
		kind = CMK_FILE_TEMP_RELATION;
	}
	if (!take_number(&p, &name->id.rel))
		return CMK_FILE_OTHER;

	if (take_word(&p, "_fsm"))
		name->fork = CMK_FORK_FSM;
	else if (take_word(&p, "_vm"))
		name->fork = CMK_FORK_VM;
	else if (take_word(&p, "_init"))
		name->fork = CMK_FORK_INIT;
	else
		name->fork = CMK_FORK_MAIN;

	if (take_word(&p, ".") && !take_number(&p, &name->segno))
		return CMK_FILE_OTHER;
	return *p == '\0' ? kind : CMK_FILE_OTHER;
}

static CmkFileKind
global_file(const char *p, CmkFileName *name)
{
	if (strcmp(p, "pg_control") == 0)
		return CMK_FILE_CONTROL;
	if (strcmp(p, CMK_PROBE_FILE + strlen("global/")) == 0)
		return CMK_FILE_PROBE;
	name->id.spc = CMK_SPC_GLOBAL;
	name->id.db = 0;
	return relation_file(p, name);
}

/*
 * Below pgsql_tmp are files, and directories of files that processes share.  No
 * name there begins with a dot, and so none leads out again.
 */
static bool
take_temporary(const char **p)
{
	return take_word(p, "pgsql_tmp/") && **p != '\0' && **p != '.' &&
		strstr(*p, "/.") == NULL;
}

/* Slots' names are of lower-case letters, numbers and underscores. */
static CmkFileKind
slot_file(const char *p)
{
	static const char suffix[] = ".spill";
	size_t		len;

	p = strchr(p, '/');
	if (p == NULL || !take_word(&p, "/xid-") || strchr(p, '/') != NULL)
		return CMK_FILE_OTHER;
	len = strlen(p);
	return len >= sizeof(suffix) &&
		strcmp(p + len - (sizeof(suffix) - 1), suffix) == 0 ?
		CMK_FILE_SPILL : CMK_FILE_OTHER;
}

/* Four to eight hexadecimal digits: the server prints "%04X". */
static CmkFileKind
notify_file(const char *p, CmkFileName *name)
{
	size_t		len = strspn(p, "0123456789ABCDEF");
	uint32_t	segno = 0;

	if (len < 4 || len > 8 || p[len] != '\0')
		return CMK_FILE_OTHER;
	for (; *p != '\0'; p++)
		segno = segno << 4 | (uint32_t) (*p <= '9' ? *p - '0' : *p - 'A' + 10);
	name->segno = segno;
	return CMK_FILE_NOTIFY;
}

/* Eight hexadecimal digits, as the server prints them. */
static bool
take_hex8(const char **p, uint32_t *value)
{
	uint32_t	v = 0;
	int			i;

	for (i = 0; i < 8; i++)
	{
		char		c = (*p)[i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint32_t) (c - '0');
		else if (c >= 'A' && c <= 'F')
			v = v << 4 | (uint32_t) (c - 'A' + 10);
		else
			return false;
	}
	*value = v;
	*p += 8;
	return true;
}

static CmkFileKind
wal_file(const char *p, CmkFileName *name)
{
	uint32_t	pid;

	if (take_word(&p, "xlogtemp."))
		return take_number(&p, &pid) && *p == '\0' ? CMK_FILE_WAL_TEMP : CMK_FILE_OTHER;
	if (!take_hex8(&p, &name->wal_tli) || !take_hex8(&p, &name->wal_log) ||
		!take_hex8(&p, &name->wal_seg))
		return CMK_FILE_OTHER;
	(void) take_word(&p, ".partial");
	return *p == '\0' ? CMK_FILE_WAL : CMK_FILE_OTHER;
}

CmkFileKind
cmk_filekind(const char *path, CmkFileName *name)
{
	const char *p = path;

	if (*p == '/')
	{
		if (data_dir == NULL ||
			strncmp(p, data_dir, data_dir_len) != 0 || p[data_dir_len] != '/')
			return CMK_FILE_OTHER;
		p += data_dir_len + 1;
	}

	if (take_word(&p, "base/"))
	{
		if (take_temporary(&p))
			return CMK_FILE_TEMPORARY;
		name->id.spc = CMK_SPC_DEFAULT;
		if (!take_number(&p, &name->id.db) || !take_word(&p, "/"))
			return CMK_FILE_OTHER;
		return relation_file(p, name);
	}
	if (take_word(&p, "global/"))
		return global_file(p, name);
	if (take_word(&p, "pg_wal/"))
	{
		memset(name, 0, sizeof(*name));
		return wal_file(p, name);
	}
	if (take_word(&p, "pg_tblspc/"))
	{
		if (tblspc_version == NULL ||
			!take_number(&p, &name->id.spc) || !take_word(&p, "/") ||
			strncmp(p, tblspc_version, tblspc_version_len) != 0)
			return CMK_FILE_OTHER;
		p += tblspc_version_len;
		if (!take_word(&p, "/"))
			return CMK_FILE_OTHER;
		if (take_temporary(&p))
			return CMK_FILE_TEMPORARY;
		if (!take_number(&p, &name->id.db) || !take_word(&p, "/"))
			return CMK_FILE_OTHER;
		return relation_file(p, name);
	}
	if (take_word(&p, "pg_replslot/"))
		return slot_file(p);
	if (take_word(&p, "pg_notify/"))
		return notify_file(p, name);
	if (take_word(&p, "pg_twophase/"))
		return strspn(p, "0123456789ABCDEF") == 8 &&
			(p[8] == '\0' || strcmp(p + 8, ".tmp") == 0) ?
			CMK_FILE_TWOPHASE : CMK_FILE_OTHER;
	if (strcmp(p, CMK_TEXTS_FILE) == 0)
		return CMK_FILE_TEXTS;
	if (take_word(&p, CMK_STATEMENTS_FILE) &&
		(*p == '\0' || strcmp(p, ".tmp") == 0))
		return CMK_FILE_STATEMENTS;
	return CMK_FILE_OTHER;
}

void
cmk_relation_path(const CmkRelId *id, unsigned fork, char *buf, size_t len)
{
	static const char *const suffix[] = {"", "_fsm", "_vm", "_init"};

	if (id->spc == CMK_SPC_GLOBAL)
		snprintf(buf, len, "global/%u%s", id->rel, suffix[fork & 3]);
	else if (id->spc == CMK_SPC_DEFAULT)
		snprintf(buf, len, "base/%u/%u%s", id->db, id->rel, suffix[fork & 3]);
	else
		snprintf(buf, len, "pg_tblspc/%u/%s/%u/%u%s", id->spc, tblspc_version,
				 id->db, id->rel, suffix[fork & 3]);
}
