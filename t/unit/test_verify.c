/*
 * test_verify.c
 *	  pg_cmk verify: what a file is called, what looks like ciphertext, and that
 *	  files of any content and length are read to their end and counted.
 *
 * Keys are played by this program (t/065_verify.pl has real ones).  Run with a
 * sanitizer, the cases with garbage are what a fuzzer would do for a second.
 */
#include "unit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../src/cli/verify.h"
#include "../../src/seal/unit.h"

#define PAGE		CMK_PAGE_SIZE
#define VERSION_DIR "PG_15_202209061"
#define SPC			"pg_tblspc/16400/" VERSION_DIR

static CmkVerify v;
static CmkCli cli;

/* ---- keys ---- */

static CmkVerifyDek play_dek;
static CmkOpenResult play_page;
static bool play_wal;
static int	tablespaces_asked;

void
cmk_verify_keys_of(CmkVerify *verify, const CmkRelId *id, CmkVerifyDek *dek)
{
	(void) verify;
	(void) id;
	*dek = play_dek;
}

bool
cmk_verify_keys_has_generation(const uint8_t *page)
{
	return cmk_page_generation(page) == 1;
}

CmkOpenResult
cmk_verify_keys_open_page(const CmkVerify *verify, uint8_t *page, uint32_t block, unsigned fork)
{
	(void) verify;
	(void) page;
	(void) block;
	(void) fork;
	return play_page;
}

bool
cmk_verify_keys_open_wal(uint8_t *page)
{
	(void) page;
	return play_wal;
}

bool
cmk_verify_keys_check_head(CmkFileKey which, uint32_t root_id, const uint8_t *head)
{
	(void) which;
	(void) root_id;
	(void) head;
	return play_wal;
}

void
cmk_verify_keys_tablespaces(CmkVerify *verify)
{
	(void) verify;
	tablespaces_asked++;
}

/* ---- the case ---- */

static uint64_t seed = 1;

/* xorshift64*: the same bytes in every run */
static uint8_t
random_byte(void)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (uint8_t) ((seed * UINT64_C(2685821657736338717)) >> 56);
}

static void
fill_random(uint8_t *buf, size_t len)
{
	while (len-- > 0)
		*buf++ = random_byte();
}

static void
fill_text(uint8_t *buf, size_t len)
{
	static const char row[] = "a row in clear, ";

	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t) row[i % 16];
}

static void
reset(void)
{
	cmk_verify_report_free(&v);
	memset(&v, 0, sizeof(v));
	v.cli = &cli;
	v.control.segment_blocks = 64;
	v.control.wal_segment = 1024 * 1024;
	v.has_key = true;
	v.settled = UINT64_MAX;
	v.wal_from = 0;
	strcpy(v.version_dir, VERSION_DIR);
	memset(&play_dek, 0, sizeof(play_dek));
	play_dek.known = 1;
	play_page = CMK_OPEN_OK;
	play_wal = true;
}

static void
write_file(const char *path, const void *buf, size_t len)
{
	int			fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || write(fd, buf, len) != (ssize_t) len)
		abort();
	close(fd);
}

static const CmkVerifyCount *
count_of(const char *path)
{
	CmkFileName name;

	return &v.counts[cmk_verify_kind(path, &name)];
}

/* ---- names ---- */

static void
names(void)
{
	static const char *const list[][2] = {
		{"base/5/16384", "relation"}, {"global/1262_fsm.1", "relation"}, {SPC "/5/16385_vm", "relation"},
		{"base/5/t3_16390", "temporary relation"}, {"base/pgsql_tmp/pgsql_tmp1.0", "temporary file"},
		{SPC "/pgsql_tmp/pgsql_tmp1.fileset/x", "temporary file"},
		{"pg_wal/000000010000000000000001", "WAL"}, {"pg_wal/000000010000000000000001.partial", "WAL"},
		{"pg_wal/xlogtemp.77", "WAL"}, {"pg_wal/RECOVERYXLOG", "WAL"},
		{"pg_wal/00000002.history", "WAL history"},
		{"pg_wal/000000010000000000000001.00000028.backup", "WAL history"},
		{"pg_wal/archive_status/000000010000000000000001.ready", "archive status"},
		{"pg_replslot/s/xid-1-lsn-0-1.spill", "decoding spill"}, {"pg_replslot/s/state", "replication slots"},
		{"pg_stat_tmp/pgss_query_texts.stat", "query texts"}, {"pg_stat/pg_stat_statements.stat", "query texts"},
		{"pg_notify/0000", "notifications"}, {"pg_dynshmem/mmap.123", "shared memory"},
		{"global/pg_control", "control file"}, {"base/5/pg_filenode.map", "relation map"},
		{"global/pg_internal.init.77", "relation cache"}, {"pg_xact/0000", "transaction status"},
		{"pg_multixact/members/0000", "transaction status"}, {"pg_twophase/000002F1", "prepared transactions"},
		{"pg_snapshots/00000003-00000002-1", "exported snapshots"},
		{"pg_logical/mappings/map-5-4eb-0_1A2B3C-2f1-2f2", "decoding state"},
		{"pg_logical/snapshots/0-1A2B3C.snap", "decoding state"}, {"pg_stat/pgstat.stat", "statistics"},
		{"PG_VERSION", "version"}, {SPC "/5/PG_VERSION", "version"}, {"pg_cmk/root.json.tmp", "keys"},
		{"postgresql.auto.conf", "configuration"}, {"conf.d/a.conf", "configuration"}, {"server.key", "TLS"},
		{"postmaster.opts", "server state"}, {"autoprewarm.blocks", "server state"},
		{"backup_label.old", "backup label"}, {"backup_manifest", "backup manifest"},
		{"log/postgresql-1.csv", "server log"},
		/* near misses */
		{"base/5/016384", "unknown"}, {"base/5/16384_x", "unknown"}, {"base/5/16384.bak", "unknown"},
		{"base/5/x/16384", "unknown"}, {"global/5/1", "unknown"},
		{"pg_wal/00000001000000000000000G", "unknown"}, {"pg_wal/000000010000000000000001 ", "unknown"},
		{"pg_wal/x/000000010000000000000001", "unknown"}, {"pg_xact/0000.bak", "unknown"}, {"pg_xact/00", "unknown"},
		{"pg_tblspc/16400/PG_14_1/5/1", "unknown"}, {"pg_tblspc/16400/x", "unknown"},
		{"pg_cmk/kek.pem", "unknown"}, {"core", "unknown"}, {"data.csv", "unknown"}, {"log/x/y", "unknown"},
		{"logx", "unknown"}, {"pg_stat_tmp/other", "unknown"}, {"base/PG_VERSION", "unknown"},
		{"base/pgsql_tmp/../5/1", "unknown"}, {"pg_hba.conf\n", "unknown"}
	};
	CmkFileName name;
	size_t		i;

	for (i = 0; i < sizeof(list) / sizeof(list[0]); i++)
	{
		const char *is = cmk_verify_kinds[cmk_verify_kind(list[i][0], &name)].name;

		if (strcmp(is, list[i][1]) != 0)
		{
			(void) unit_fail(__FILE__, __LINE__, "%s is %s", list[i][0], is);
			return;
		}
	}
	CHECK_INT(cmk_verify_kind("base/5/16384_init.2", &name), 0);
	CHECK_INT(name.id.rel, 16384);
	CHECK_INT(name.fork, CMK_FORK_INIT);
	CHECK_INT(name.segno, 2);
}

/* ---- looks ---- */

static void
what_looks_sealed(void)
{
	uint8_t		buf[PAGE];
	size_t		len;
	int			i;

	for (i = 0; i < 2000; i++)
	{
		fill_random(buf, sizeof(buf));
		CHECK(cmk_verify_looks_sealed(buf, sizeof(buf)));
		CHECK(cmk_verify_looks_sealed(buf, 4096));
		CHECK(cmk_verify_looks_sealed(buf, 300));
	}
	for (len = 256; len <= PAGE; len += 61)
	{
		fill_text(buf, len);
		CHECK(!cmk_verify_looks_sealed(buf, len));
		memset(buf, 0, len);
		CHECK(!cmk_verify_looks_sealed(buf, len));
	}

	/* a page of which an eighth is text */
	fill_random(buf, sizeof(buf));
	fill_text(buf + 3000, 1024);
	CHECK(!cmk_verify_looks_sealed(buf, sizeof(buf)));

	/* base64: six bits of each byte */
	for (i = 0; i < PAGE; i++)
		buf[i] = (uint8_t) ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[random_byte() & 63]);
	CHECK(!cmk_verify_looks_sealed(buf, sizeof(buf)));
}

/* ---- files ---- */

static void
relation_pages(void)
{
	uint8_t		buf[4 * PAGE];

	reset();
	fill_random(buf, sizeof(buf));
	memset(buf, 0, PAGE);
	buf[PAGE + 10] = 0;
	buf[PAGE + 11] = 0x88;		/* sealed, generation 1 */
	buf[2 * PAGE + 11] = 0;
	buf[3 * PAGE + 11] = 0;
	write_file("base/5/1", buf, sizeof(buf));
	cmk_verify_file(&v, "base/5/1");
	CHECK_INT(v.counts[0].zero, 1);
	CHECK_INT(v.counts[0].sealed, 1);
	CHECK_INT(v.counts[0].plain, 2);
	CHECK_INT(v.failures, 0);

	reset();
	play_dek.whole = true;
	cmk_verify_file(&v, "base/5/1");
	CHECK_INT(v.failures, 2);
	CHECK_INT(v.nfindings, 1);
	CHECK_INT(v.findings[0].from, 2);
	CHECK_INT(v.findings[0].to, 3);

	/* one that does not open, before the place where recovery begins, and behind */
	reset();
	v.opens = true;
	play_page = CMK_OPEN_NOT_SANE;
	cmk_verify_file(&v, "base/5/1");
	CHECK_INT(v.failures, 1);
	reset();
	v.opens = true;
	v.settled = 0;
	play_page = CMK_OPEN_NOT_SANE;
	cmk_verify_file(&v, "base/5/1");
	CHECK_INT(v.failures, 0);
	CHECK_INT(v.nfindings, 1);

	/* marked, and text behind the mark */
	reset();
	fill_text(buf + PAGE + 16, PAGE - 16);
	write_file("base/5/1", buf, sizeof(buf));
	cmk_verify_file(&v, "base/5/1");
	CHECK_INT(v.failures, 1);
	CHECK(strstr(v.findings[0].what, "not encrypted") != NULL);
}

static void
temporary_files(void)
{
	static uint8_t buf[CMK_UNIT_HEAD + 3 * PAGE];
	CmkUnitHead head = {42, 0};
	uint8_t		key[CMK_XTS_KEY_SIZE];
	CmkXts	   *x = cmk_xts_new();

	fill_random(key, sizeof(key));
	CHECK(x != NULL && cmk_xts_set_key(x, key) == 0);
	memset(buf, 0, sizeof(buf));
	CHECK_INT(cmk_unit_head_write(x, &head, buf), 0);
	fill_random(buf + CMK_UNIT_HEAD, PAGE);
	fill_random(buf + CMK_UNIT_HEAD + 2 * PAGE, 4096);	/* and a unit that was never written */
	reset();
	write_file("base/pgsql_tmp/pgsql_tmp1.0", buf, sizeof(buf));
	cmk_verify_file(&v, "base/pgsql_tmp/pgsql_tmp1.0");
	CHECK_INT(count_of("base/pgsql_tmp/pgsql_tmp1.0")->sealed, 3);
	CHECK_INT(count_of("base/pgsql_tmp/pgsql_tmp1.0")->zero, 1);
	CHECK_INT(v.nfindings, 0);

	fill_text(buf + CMK_UNIT_HEAD + PAGE + 4096, 4096);
	buf[100] = 1;
	write_file("base/pgsql_tmp/pgsql_tmp1.0", buf, sizeof(buf));
	cmk_verify_file(&v, "base/pgsql_tmp/pgsql_tmp1.0");
	CHECK_INT(v.failures, 1);
	CHECK_INT(v.nfindings, 2);
	CHECK(strstr(v.findings[0].what, "head") != NULL);
	CHECK_INT(v.findings[1].from, 2);
	cmk_xts_free(x);
}

/* What is in a file must come out again as one number or another. */
static bool
all_is_counted(const CmkVerifyCount *c, size_t len)
{
	uint64_t	pages = c->sealed + c->plain + c->zero;

	return c->files == 1 && c->bytes == len &&
		pages * PAGE + c->clear + c->unaccounted + PAGE > len &&
		pages * PAGE + c->clear + c->unaccounted < len + 2 * PAGE;
}

static void
garbage(void)
{
	static const char *const paths[] = {
		"base/5/1", "base/5/t3_1", "base/pgsql_tmp/pgsql_tmp1.0", "pg_wal/000000010000000000000001",
		"pg_wal/xlogtemp.1", "pg_notify/0000", "pg_dynshmem/mmap.1", "unknown", "postgresql.conf"
	};
	static uint8_t buf[4 * PAGE];
	size_t		i;
	int			round;

	for (round = 0; round < 400; round++)
	{
		size_t		len = (random_byte() << 8 | random_byte()) % sizeof(buf);
		size_t		at;

		fill_random(buf, sizeof(buf));
		for (at = 0; at < sizeof(buf); at += PAGE)
			switch (random_byte() % 6)
			{
				case 0:
					memset(buf + at, 0, PAGE);
					break;
				case 1:
					fill_text(buf + at, PAGE);
					break;
				case 2:			/* a page of WAL */
					buf[at] = 0x10;
					buf[at + 1] = 0xd1;
					break;
				case 3:			/* the head of a temporary file */
					memcpy(buf + at, "pg_cmk\0\1", 8);
					memset(buf + at + 12, 0, 4);
					memset(buf + at + 24, 0, 8);
					break;
				case 4:
					memset(buf + at + 64, 0, PAGE - 64);
					break;
			}
		if (round % 10 == 0)
			len = len / PAGE * PAGE;
		for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		{
			reset();
			v.cluster = random_byte() & 1;
			v.opens = random_byte() & 1;
			v.control.checksums = random_byte() & 1;
			v.settled = random_byte() & 1 ? UINT64_MAX : 0;
			play_dek.known = random_byte() & 1;
			play_wal = random_byte() & 1;
			play_page = (CmkOpenResult) (random_byte() % 3);
			write_file(paths[i], buf, len);
			cmk_verify_file(&v, paths[i]);
			if (strcmp(paths[i], "pg_wal/xlogtemp.1") != 0 && !all_is_counted(count_of(paths[i]), len))
			{
				(void) unit_fail(__FILE__, __LINE__, "%s of %zu bytes in round %d", paths[i], len, round);
				return;
			}
		}
	}
}

static void
a_hole_is_not_read(void)
{
	uint64_t	size = UINT64_C(1) << 43;
	int			fd;

	reset();
	fd = open("base/5/2", O_WRONLY | O_CREAT | O_TRUNC, 0600);
	CHECK(fd >= 0);
	if (ftruncate(fd, (off_t) size) == 0)
	{
		cmk_verify_file(&v, "base/5/2");
		CHECK_INT(v.counts[0].zero, size / PAGE);
		CHECK_INT(v.nfindings, 0);
	}
	close(fd);
	unlink("base/5/2");
}

static void
findings_are_bounded(void)
{
	size_t		i;

	reset();
	for (i = 0; i < CMK_VERIFY_MAX_FINDINGS + 10; i++)
		cmk_verify_find(&v, "base/5/\x1b[1m\xff\n", 2 * i, true, "plain");
	CHECK_INT(v.nfindings, CMK_VERIFY_MAX_FINDINGS);
	CHECK_INT(v.dropped, 10);
	CHECK_INT(v.failures, CMK_VERIFY_MAX_FINDINGS + 10);
	CHECK_STR(v.findings[0].path, "base/5/\\x1b[1m\\xff\\x0a");
	reset();
}

static void
the_walk(void)
{
	uint8_t		page[PAGE];

	reset();
	fill_text(page, sizeof(page));
	unlink("unknown");
	CHECK_INT(mkdir("deep", 0700), 0);
	write_file("deep/file", page, 10);
	CHECK_INT(symlink("deep", "link"), 0);
	CHECK_INT(symlink(".", "pg_stat_tmp"), 0);	/* one that is followed, round and round */
	write_file("tablespace_map", "17000 /srv/ts\n18000 /srv/ts2\ngarbage", 34);
	tablespaces_asked = 0;
	cmk_verify_walk(&v);
	CHECK(v.total > 0);
	CHECK_INT(v.done, v.total);
	CHECK_INT(tablespaces_asked, 0);
	CHECK(v.failures >= 3);
	CHECK_STR(v.findings[v.nfindings - 1].path, "pg_tblspc/18000");
	CHECK_STR(v.findings[v.nfindings - 2].path, "pg_tblspc/17000");
	unlink("tablespace_map");
	unlink("pg_stat_tmp");
	reset();
	cmk_verify_walk(&v);
	CHECK_INT(tablespaces_asked, 1);
	reset();
}

int
main(void)
{
	static const char *const dirs[] = {
		"base", "base/5", "base/pgsql_tmp", "pg_wal", "pg_notify", "pg_dynshmem"
	};
	char		dir[] = "/tmp/test_verify.XXXXXX";
	char		command[64];
	CmkError	err;
	size_t		i;

	if (mkdtemp(dir) == NULL || chdir(dir) < 0 || cmk_verify_kind_init("log", VERSION_DIR, &err) < 0)
		abort();
	for (i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		if (mkdir(dirs[i], 0700) < 0)
			abort();
	reset();
	RUN(names);
	RUN(what_looks_sealed);
	RUN(relation_pages);
	RUN(temporary_files);
	RUN(garbage);
	RUN(a_hole_is_not_read);
	RUN(findings_are_bounded);
	RUN(the_walk);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command) == 0 ? unit_done() : 1;
}
