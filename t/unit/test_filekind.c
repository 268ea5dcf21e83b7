/*
 * test_filekind.c
 *	  What a path is: every form that the server prints, and the near misses.
 *
 * Both directions of an error are bad: a data file that is not recognised is
 * written in clear, and another file that is taken for one is spoilt, or its
 * reader handed plain pages.  So the misses are as many as the hits.
 */
#include "unit.h"

#include <inttypes.h>

#include "../../src/seal/page.h"
#include "../../src/server/filekind.h"

#define DATA_DIR	"/var/lib/postgresql/15/main"
#define VERSION_DIR	"PG_15_202209061"
#define SPC_DIR		"pg_tblspc/16400/" VERSION_DIR

typedef struct Hit
{
	const char *path;
	CmkFileKind kind;
	CmkFileName name;
} Hit;

#define RELATION(path, spc, db, rel, fork, segno) \
	{path, CMK_FILE_RELATION, {{spc, db, rel}, fork, segno, 0, 0, 0, 0}}
#define TEMPORARY(path, spc, db, rel, fork, segno, backend) \
	{path, CMK_FILE_TEMP_RELATION, {{spc, db, rel}, fork, segno, backend, 0, 0, 0}}
#define SEGMENT(path, tli, log, seg) \
	{path, CMK_FILE_WAL, {{0, 0, 0}, 0, 0, 0, tli, log, seg}}

#define OTHER(path, kind) \
	{path, kind, {{0, 0, 0}, 0, 0, 0, 0, 0, 0}}

static const Hit hits[] = {
	RELATION("base/5/16384", 1663, 5, 16384, CMK_FORK_MAIN, 0),
	RELATION("base/5/16384_fsm", 1663, 5, 16384, CMK_FORK_FSM, 0),
	RELATION("base/5/16384_vm", 1663, 5, 16384, CMK_FORK_VM, 0),
	RELATION("base/5/16384_init", 1663, 5, 16384, CMK_FORK_INIT, 0),
	RELATION("base/5/16384.1", 1663, 5, 16384, CMK_FORK_MAIN, 1),
	RELATION("base/5/16384_fsm.12", 1663, 5, 16384, CMK_FORK_FSM, 12),
	RELATION("base/5/16384_vm.3", 1663, 5, 16384, CMK_FORK_VM, 3),
	RELATION("base/5/16384_init.4", 1663, 5, 16384, CMK_FORK_INIT, 4),
	RELATION("base/1/1", 1663, 1, 1, CMK_FORK_MAIN, 0),
	RELATION("base/4294967295/4294967295.32767",
			 1663, UINT32_MAX, UINT32_MAX, CMK_FORK_MAIN, 32767),
	RELATION("global/1262", 1664, 0, 1262, CMK_FORK_MAIN, 0),
	RELATION("global/1262_fsm", 1664, 0, 1262, CMK_FORK_FSM, 0),
	RELATION("global/1262_vm.1", 1664, 0, 1262, CMK_FORK_VM, 1),
	RELATION(SPC_DIR "/5/16385", 16400, 5, 16385, CMK_FORK_MAIN, 0),
	RELATION(SPC_DIR "/5/16385_vm", 16400, 5, 16385, CMK_FORK_VM, 0),
	RELATION(SPC_DIR "/70000/16385_init", 16400, 70000, 16385,
			 CMK_FORK_INIT, 0),
	RELATION(SPC_DIR "/5/16385.2", 16400, 5, 16385, CMK_FORK_MAIN, 2),
	TEMPORARY("base/5/t3_16390", 1663, 5, 16390, CMK_FORK_MAIN, 0, 3),
	TEMPORARY("base/5/t3_16390.1", 1663, 5, 16390, CMK_FORK_MAIN, 1, 3),
	TEMPORARY("base/5/t100_16390_fsm", 1663, 5, 16390, CMK_FORK_FSM, 0, 100),
	TEMPORARY("base/5/t0_16390_vm", 1663, 5, 16390, CMK_FORK_VM, 0, 0),
	TEMPORARY(SPC_DIR "/5/t7_16391", 16400, 5, 16391, CMK_FORK_MAIN, 0, 7),
	{"global/pg_control", CMK_FILE_CONTROL, {{0, 0, 0}, 0, 0, 0, 0, 0, 0}},
	{CMK_PROBE_FILE, CMK_FILE_PROBE, {{0, 0, 0}, 0, 0, 0, 0, 0, 0}},
	OTHER("base/pgsql_tmp/pgsql_tmp1234.0", CMK_FILE_TEMPORARY),
	OTHER("base/pgsql_tmp/pgsql_tmp1234.0.1", CMK_FILE_TEMPORARY),
	OTHER("base/pgsql_tmp/pgsql_tmp1234.5.sharedfileset/i3of8.p0.0", CMK_FILE_TEMPORARY),
	OTHER("base/pgsql_tmp/pgsql_tmp1234.5.fileset/12-345.changes.0", CMK_FILE_TEMPORARY),
	OTHER(SPC_DIR "/pgsql_tmp/pgsql_tmp1234.7", CMK_FILE_TEMPORARY),
	OTHER(SPC_DIR "/pgsql_tmp/pgsql_tmp1234.7.sharedfileset/0.0", CMK_FILE_TEMPORARY),
	OTHER("pg_replslot/a_slot1/xid-742-lsn-0-2000000.spill", CMK_FILE_SPILL),
	OTHER("pg_stat_tmp/pgss_query_texts.stat", CMK_FILE_TEXTS),
	OTHER("pg_stat/pg_stat_statements.stat", CMK_FILE_STATEMENTS),
	OTHER("pg_stat/pg_stat_statements.stat.tmp", CMK_FILE_STATEMENTS),
	OTHER("pg_twophase/000002F1", CMK_FILE_TWOPHASE),
	OTHER("pg_twophase/000002F1.tmp", CMK_FILE_TWOPHASE),
	{"pg_notify/0000", CMK_FILE_NOTIFY, {{0, 0, 0}, 0, 0, 0, 0, 0, 0}},
	{"pg_notify/1A2F", CMK_FILE_NOTIFY, {{0, 0, 0}, 0, 0x1a2f, 0, 0, 0, 0}},
	{"pg_notify/12345", CMK_FILE_NOTIFY, {{0, 0, 0}, 0, 0x12345, 0, 0, 0, 0}},
	SEGMENT("pg_wal/000000010000000000000001", 1, 0, 1),
	SEGMENT("pg_wal/000000FF0000001A000000FE", 0xff, 0x1a, 0xfe),
	SEGMENT("pg_wal/FFFFFFFFFFFFFFFFFFFFFFFF", UINT32_MAX, UINT32_MAX, UINT32_MAX),
	SEGMENT("pg_wal/000000010000000000000001.partial", 1, 0, 1),
	{"pg_wal/xlogtemp.1234", CMK_FILE_WAL_TEMP, {{0, 0, 0}, 0, 0, 0, 0, 0, 0}},
};

/* All of these, also behind the data directory's path. */
static const char *const misses[] = {
	"",
	".",
	"16384",
	"base",
	"base/",
	"base/5",
	"base/5/",
	"base//1",
	"base/5//16384",
	"base/5/16384/",
	"base/5/6/7",
	"./base/5/16384",
	"base/./5/16384",
	"base/../base/5/16384",
	" base/5/16384",
	"Base/5/16384",
	"bases/5/16384",
	"base/5/16384 ",
	"base/5/16384\n",

	/* numbers that the server does not print */
	"base/05/16384",
	"base/5/016384",
	"base/0/16384",
	"base/5/0",
	"base/+5/16384",
	"base/5/+16384",
	"base/-5/16384",
	"base/5/-16384",
	"base/ 5/16384",
	"base/5/ 16384",
	"base/5/0x4000",
	"base/4294967296/1",
	"base/5/4294967296",
	"base/5/4294967297",
	"base/5/18446744073709551617",
	"base/5/340282366920938463463374607431768211457",
	"base/5/16384a",
	"base/5/a16384",
	"base/5a/16384",
	"base/x/16384",

	/* forks and segments */
	"base/5/16384_",
	"base/5/16384_foo",
	"base/5/16384_fs",
	"base/5/16384_fsmx",
	"base/5/16384_vm_init",
	"base/5/16384_main",
	"base/5/16384_FSM",
	"base/5/16384_init_",
	"base/5/_fsm",
	"base/5/16384.",
	"base/5/16384.0",
	"base/5/16384.01",
	"base/5/16384.-1",
	"base/5/16384.+1",
	"base/5/16384.1.",
	"base/5/16384.1.2",
	"base/5/16384..1",
	"base/5/16384.1_fsm",
	"base/5/16384.a",
	"base/5/16384.4294967296",
	"base/5/16384_fsm.",
	"base/5/16384_fsm.0",
	"base/5/16384.new",

	/* others of the server's files in these directories */
	"base/5/PG_VERSION",
	"base/5/pg_internal.init",
	"base/5/pg_internal.init.1234",
	"base/5/pg_filenode.map",
	"base/5/pg_filenode.map.tmp",
	"base/pgsql_tmp",
	"base/pgsql_tmp/",
	"base/pgsql_tmp/.",
	"base/pgsql_tmp/../16384",
	"base/pgsql_tmp/a/../../16384",
	"base/pgsql_tmp2/pgsql_tmp1.0",
	"base/5/pgsql_tmp/pgsql_tmp1.0",
	"global/pgsql_tmp/pgsql_tmp1.0",
	"./base/pgsql_tmp/pgsql_tmp1.0",
	SPC_DIR "/pgsql_tmp",
	SPC_DIR "/5/pgsql_tmp/pgsql_tmp1.0",
	"pg_replslot/slot/state",
	"pg_replslot/slot/state.tmp",
	"pg_replslot/slot/xid-742.snap",
	"pg_replslot/slot/xid-742.spill.old",
	"pg_replslot/slot/a/xid-742.spill",
	"pg_replslot/slot/xid-a/742.spill",
	"pg_replslot/xid-742.spill",
	"pg_stat_tmp/pgss_query_texts.stat.tmp",
	"pg_stat_tmp/",
	"pg_stat/pgstat.stat",
	"pg_stat/pg_stat_statements.stat.tmp2",
	"pg_twophase/000002f1",
	"pg_twophase/000002F1.tmp2",
	"pg_twophase/000002F10",
	"pg_twophase/0002F1",
	"pg_notify/000",
	"pg_notify/000G",
	"pg_notify/123456789",
	"pg_notify/00a0",
	"pg_notify/",
	"pg_xact/0000",
	"pg_logical/mappings/map-5-4-0_1-2-3",
	"global/pg_filenode.map",
	"global/pg_internal.init",
	"global/pg_control.old",
	"global/pg_contro",
	"global/pg_cmk.probe2",
	"global/pg_cmk",
	"global/",
	"global//1262",
	"global/0",
	"global/5/16384",
	"base/pg_control",
	"base/5/pg_control",
	"pg_control",
	"pg_cmk.probe",
	"pg_cmk/keys",
	"pg_cmk/root.json",
	"pg_wal",
	"pg_wal/",
	"pg_wal/00000001000000000000000",
	"pg_wal/0000000100000000000000011",
	"pg_wal/00000001000000000000000g",
	"pg_wal/0000000100000000000000fe",
	"pg_wal//000000010000000000000001",
	"./pg_wal/000000010000000000000001",
	"pg_wal/000000010000000000000001.partia",
	"pg_wal/000000010000000000000001.partial1",
	"pg_wal/000000010000000000000001.00000028.backup",
	"pg_wal/00000002.history",
	"pg_wal/RECOVERYXLOG",
	"pg_wal/RECOVERYHISTORY",
	"pg_wal/archive_status/000000010000000000000001.ready",
	"pg_wal/archive_status/000000010000000000000001",
	"pg_wal/xlogtemp",
	"pg_wal/xlogtemp.",
	"pg_wal/xlogtemp.cmk",
	"pg_wal/xlogtemp.1x",
	"000000010000000000000001",
	"pg_walx/000000010000000000000001",
	"pg_xact/0000",
	"pg_multixact/offsets/0000",
	"pg_logical/mappings/map-5-16384-0_1-2-3",
	"pg_replslot/16384/state",
	"pg_stat_tmp/16384",
	"postmaster.pid",

	/* temporary relations */
	"base/5/t",
	"base/5/t_16390",
	"base/5/t3",
	"base/5/t3_",
	"base/5/t3_0",
	"base/5/t03_16390",
	"base/5/t00_16390",
	"base/5/t-1_16390",
	"base/5/t3-16390",
	"base/5/t3_16390_foo",
	"base/5/t3_16390.0",
	"base/5/t3_t4_16390",
	"base/5/tt3_16390",
	"base/5/T3_16390",
	"base/5/t4294967296_16390",

	/* tablespaces */
	"pg_tblspc/16400",
	"pg_tblspc/16400/",
	SPC_DIR,
	SPC_DIR "/5",
	SPC_DIR "/5/",
	SPC_DIR "/16385",
	SPC_DIR "//16385",
	SPC_DIR "/5/16385_foo",
	SPC_DIR "/05/16385",
	SPC_DIR "x/5/16385",
	"pg_tblspc/016400/" VERSION_DIR "/5/16385",
	"pg_tblspc/0/" VERSION_DIR "/5/16385",
	"pg_tblspc//" VERSION_DIR "/5/16385",
	"pg_tblspc/16400/5/16385",
	"pg_tblspc/16400/PG_15_202209060/5/16385",
	"pg_tblspc/16400/PG_14_202107181/5/16385",
	"pg_tblspc/16400/PG_15_20220906/5/16385",
	"pg_tblspc/16400/PG_15_2022090612/5/16385",
	"pg_tblspc/4294967296/" VERSION_DIR "/5/16385",
};

/* These as they stand. */
static const char *const absolute_misses[] = {
	"/",
	"//",
	DATA_DIR,
	DATA_DIR "2/base/5/16384",
	DATA_DIR "-old/base/5/16384",
	DATA_DIR ".bak/global/pg_control",
	"/var/lib/postgresql/15/mai/base/5/16384",
	"/var/lib/postgresql/15/base/5/16384",
	"/var/lib/postgresql/15/main/../main/base/5/16384",
	"/" DATA_DIR "/base/5/16384",
	"var/lib/postgresql/15/main/base/5/16384",
	DATA_DIR "base/5/16384",
	DATA_DIR "2base/5/16384",
	DATA_DIR "_global/pg_control",
	DATA_DIR "//base/5/16384",
	DATA_DIR "/./base/5/16384",
	DATA_DIR DATA_DIR "/base/5/16384",

	/* a tablespace by its own place, as a base backup opens it */
	"/mnt/fast/ts1/" VERSION_DIR "/5/16385",
	"/mnt/fast/pg_tblspc/16400/" VERSION_DIR "/5/16385",

	/* lo_export(), COPY … TO, a program's own files */
	"/tmp/16384",
	"/tmp/base/5/16384",
	"/base/5/16384",
	"/global/pg_control",
	"/tmp/t3_16390",
};

static int
check_hit(const char *path, const Hit *h)
{
	CmkFileName name;
	CmkFileKind kind;

	/* every field must be set by the call, not be what was there before */
	memset(&name, 0xa5, sizeof(name));
	kind = cmk_filekind(path, &name);
	if (kind != h->kind)
		return unit_fail(__FILE__, __LINE__, "\"%s\" is of kind %d, not %d",
						 path, kind, h->kind);
	if (kind == CMK_FILE_NOTIFY && name.segno != h->name.segno)
		return unit_fail(__FILE__, __LINE__, "\"%s\" is of segment %x", path, name.segno);
	if (kind == CMK_FILE_WAL &&
		(name.wal_tli != h->name.wal_tli || name.wal_log != h->name.wal_log ||
		 name.wal_seg != h->name.wal_seg))
		return unit_fail(__FILE__, __LINE__, "\"%s\" is read as %u %u %u", path,
						 name.wal_tli, name.wal_log, name.wal_seg);
	if (kind != CMK_FILE_RELATION && kind != CMK_FILE_TEMP_RELATION)
		return 0;
	if (name.id.spc != h->name.id.spc || name.id.db != h->name.id.db ||
		name.id.rel != h->name.id.rel || name.fork != h->name.fork ||
		name.segno != h->name.segno || name.backend != h->name.backend)
		return unit_fail(__FILE__, __LINE__,
						 "\"%s\" is read as %u/%u/%u fork %u segment %u backend %u",
						 path, name.id.spc, name.id.db, name.id.rel,
						 name.fork, name.segno, name.backend);
	return 0;
}

static int
check_miss(const char *path)
{
	CmkFileName name;
	CmkFileKind kind = cmk_filekind(path, &name);

	if (kind != CMK_FILE_OTHER)
		return unit_fail(__FILE__, __LINE__, "\"%.200s\" is of kind %d",
						 path, kind);
	return 0;
}

#define COUNT(a)	(sizeof(a) / sizeof((a)[0]))

/* Before the data directory is known nothing may be read beyond a NULL. */
static void
nothing_is_known_before_init(void)
{
	CmkFileName name;

	CHECK_INT(cmk_filekind(DATA_DIR "/base/5/16384", &name), CMK_FILE_OTHER);
	CHECK_INT(cmk_filekind(SPC_DIR "/5/16385", &name), CMK_FILE_OTHER);
}

static void
every_form_relative(void)
{
	size_t		i;

	for (i = 0; i < COUNT(hits); i++)
		if (check_hit(hits[i].path, &hits[i]) < 0)
			return;
}

static void
every_form_absolute(void)
{
	char		path[256];
	size_t		i;

	for (i = 0; i < COUNT(hits); i++)
	{
		snprintf(path, sizeof(path), "%s/%s", DATA_DIR, hits[i].path);
		if (check_hit(path, &hits[i]) < 0)
			return;
	}
}

static void
near_misses_relative(void)
{
	size_t		i;

	for (i = 0; i < COUNT(misses); i++)
		if (check_miss(misses[i]) < 0)
			return;
}

static void
near_misses_absolute(void)
{
	char		path[256];
	size_t		i;

	for (i = 0; i < COUNT(misses); i++)
	{
		snprintf(path, sizeof(path), "%s/%s", DATA_DIR, misses[i]);
		if (check_miss(path) < 0)
			return;
	}
	for (i = 0; i < COUNT(absolute_misses); i++)
		if (check_miss(absolute_misses[i]) < 0)
			return;
}

/*
 * What a path begins with is a file of its own name or none: what is found in
 * it, printed, is the path again.  Nothing is read beyond its end (the copy has
 * no room there; the sanitizer looks).
 */
static int
check_prefix(const char *path, size_t len)
{
	char	   *copy = malloc(len + 1);
	char		printed[160];
	CmkFileName name;
	CmkFileKind kind;
	int			rc = 0;

	if (copy == NULL)
		return unit_fail(__FILE__, __LINE__, "out of memory");
	memcpy(copy, path, len);
	copy[len] = '\0';
	kind = cmk_filekind(copy, &name);
	if (kind == CMK_FILE_RELATION)
	{
		cmk_relation_path(&name.id, name.fork, printed, sizeof(printed));
		if (name.segno > 0)
			snprintf(printed + strlen(printed),
					 sizeof(printed) - strlen(printed), ".%" PRIu32,
					 name.segno);
		if (strcmp(printed, copy) != 0)
			rc = unit_fail(__FILE__, __LINE__, "\"%s\" is read as \"%s\"",
						   copy, printed);
	}
	else if (kind == CMK_FILE_TEMPORARY)
	{
		/* any name there is */
		if (strstr(copy, "/pgsql_tmp/") == NULL)
			rc = unit_fail(__FILE__, __LINE__, "\"%s\" is of kind %d", copy, kind);
	}
	else if (kind == CMK_FILE_NOTIFY || kind == CMK_FILE_STATEMENTS ||
			 kind == CMK_FILE_TWOPHASE)
	{
		if (len < strlen("pg_notify/0000"))
			rc = unit_fail(__FILE__, __LINE__, "\"%s\" is of kind %d", copy, kind);
	}
	else if (kind == CMK_FILE_WAL || kind == CMK_FILE_WAL_TEMP)
	{
		if (strncmp(copy, "pg_wal/", 7) != 0 &&
			strncmp(copy, DATA_DIR "/pg_wal/", strlen(DATA_DIR) + 8) != 0)
			rc = unit_fail(__FILE__, __LINE__, "\"%s\" is of kind %d", copy, kind);
	}
	else if (kind != CMK_FILE_OTHER && kind != CMK_FILE_TEMP_RELATION)
		rc = unit_fail(__FILE__, __LINE__, "\"%s\" is of kind %d", copy, kind);
	free(copy);
	return rc;
}

static void
beginnings_of_paths(void)
{
	size_t		i;
	size_t		len;

	for (i = 0; i < COUNT(hits); i++)
		for (len = 0; len < strlen(hits[i].path); len++)
			if (check_prefix(hits[i].path, len) < 0)
				return;
}

/* A path of any length is no more than a path. */
static void
very_long_paths(void)
{
	enum
	{
		LEN = 1 << 20
	};
	char	   *path = malloc(LEN + 1);
	int			bad = 0;

	CHECK(path != NULL);
	path[LEN] = '\0';

	memset(path, 'a', LEN);
	bad |= check_miss(path);
	memset(path, '/', LEN);
	bad |= check_miss(path);
	memset(path, '1', LEN);
	memcpy(path, "base/5/", 7);
	bad |= check_miss(path);
	memcpy(path, "base/5/16384.", 13);
	bad |= check_miss(path);
	memset(path, '0', LEN);
	memcpy(path, "base/5/16384.", 13);
	bad |= check_miss(path);
	memset(path, '/', LEN);
	memcpy(path + LEN - 12, "base/5/16384", 12);
	bad |= check_miss(path);
	free(path);
	CHECK_INT(bad, 0);
}

/* xorshift64: the same numbers in every run, so a failure can be repeated. */
static uint32_t
next_random(void)
{
	static uint64_t state = UINT64_C(0x9e3779b97f4a7c15);

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t) (state >> 32);
}

/* Numbers of all lengths, and never 0. */
static uint32_t
random_oid(void)
{
	uint32_t	v = next_random() >> next_random() % 32;

	return v == 0 ? UINT32_MAX : v;
}

static int
round_trip(const CmkRelId *id, unsigned fork, uint32_t segno, bool absolute)
{
	char		path[128];
	char		full[256];
	CmkFileName name;

	cmk_relation_path(id, fork, path, sizeof(path));
	snprintf(full, sizeof(full), "%s%s", absolute ? DATA_DIR "/" : "", path);
	if (segno > 0)
		snprintf(full + strlen(full), sizeof(full) - strlen(full),
				 ".%" PRIu32, segno);
	memset(&name, 0xa5, sizeof(name));
	if (cmk_filekind(full, &name) != CMK_FILE_RELATION ||
		name.id.spc != id->spc || name.id.db != id->db ||
		name.id.rel != id->rel || name.fork != fork || name.segno != segno ||
		name.backend != 0)
		return unit_fail(__FILE__, __LINE__, "\"%s\" comes back as %u/%u/%u "
						 "fork %u segment %u", full, name.id.spc, name.id.db,
						 name.id.rel, name.fork, name.segno);
	return 0;
}

static void
paths_come_back(void)
{
	int			i;

	for (i = 0; i < 20000; i++)
	{
		CmkRelId	id;

		id.rel = random_oid();
		id.db = random_oid();
		switch (next_random() % 3)
		{
			case 0:
				id.spc = CMK_SPC_DEFAULT;
				break;
			case 1:
				id.spc = CMK_SPC_GLOBAL;
				id.db = 0;
				break;
			default:
				do
					id.spc = random_oid();
				while (id.spc == CMK_SPC_DEFAULT || id.spc == CMK_SPC_GLOBAL);
				break;
		}
		if (round_trip(&id, next_random() % 4,
					   next_random() % 2 ? random_oid() : 0,
					   next_random() % 2) < 0)
			return;
	}
}

/* As the server's GetRelationPath() prints them. */
static void
paths_as_the_server_prints(void)
{
	static const CmkRelId base = {CMK_SPC_DEFAULT, 5, 16384};
	static const CmkRelId global = {CMK_SPC_GLOBAL, 0, 1262};
	static const CmkRelId spc = {16400, 5, 16385};
	static const CmkRelId longest = {UINT32_MAX, UINT32_MAX, UINT32_MAX};
	char		path[128];

	cmk_relation_path(&base, CMK_FORK_MAIN, path, sizeof(path));
	CHECK_STR(path, "base/5/16384");
	cmk_relation_path(&base, CMK_FORK_FSM, path, sizeof(path));
	CHECK_STR(path, "base/5/16384_fsm");
	cmk_relation_path(&global, CMK_FORK_VM, path, sizeof(path));
	CHECK_STR(path, "global/1262_vm");
	cmk_relation_path(&spc, CMK_FORK_INIT, path, sizeof(path));
	CHECK_STR(path, SPC_DIR "/5/16385_init");
	cmk_relation_path(&longest, CMK_FORK_INIT, path, sizeof(path));
	CHECK_STR(path, "pg_tblspc/4294967295/" VERSION_DIR
			  "/4294967295/4294967295_init");

	/* a buffer that is too short is not overrun */
	memset(path, 'x', sizeof(path));
	cmk_relation_path(&base, CMK_FORK_MAIN, path, 5);
	CHECK_STR(path, "base");
	CHECK_INT(path[5], 'x');
}

int
main(void)
{
	RUN(nothing_is_known_before_init);
	cmk_filekind_init(DATA_DIR, VERSION_DIR);
	RUN(every_form_relative);
	RUN(every_form_absolute);
	RUN(near_misses_relative);
	RUN(near_misses_absolute);
	RUN(beginnings_of_paths);
	RUN(very_long_paths);
	RUN(paths_as_the_server_prints);
	RUN(paths_come_back);
	return unit_done();
}
