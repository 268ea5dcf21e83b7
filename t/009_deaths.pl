# Death: a DEK whose file is gone is gone from the keys file in the end.
#
# A dropped table's backups and archived WAL stay readable with the wrapped DEK
# that stands in them, but the server's own directory forgets it, at the second
# checkpoint after the drop, and not while a backup runs that began before: the
# backup may still copy the file, and would then hold what nobody can read.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cmk_node('main', allows_streaming => 1);
my $rows = "SELECT g AS id, 'v' || g AS v FROM generate_series(1, 200) g";
my $ts = $node->basedir . '/ts';

mkdir $ts;
$node->safe_psql('postgres', "CREATE TABLESPACE ts LOCATION '$ts'");
$node->safe_psql('postgres',
	"CREATE TABLE t (id int PRIMARY KEY, v text) USING cmk_heap; INSERT INTO t $rows");
ok(wait_no_orphans($node), 'at the beginning every record has a file');
my $baseline = baseline();

sub baseline
{
	return join("\n", sort map { "$_->{id} $_->{birth_id}" } keys_records($node));
}

sub raw_keys
{
	return slurp_file(keys_path($node));
}

# The ids of all relations of a table.
sub ids_of
{
	my ($db, @tables) = @_;

	return map { relid_of($node, $db, $_->{name}) }
	  relations_of($node, $db, @tables);
}

# [ name, SQL that makes something, what to look at, SQL that ends it ]
foreach my $case (
	[ 'DROP TABLE',
		"CREATE TABLE x (id int PRIMARY KEY, v text UNIQUE) USING cmk_heap; INSERT INTO x $rows",
		'DROP TABLE x' ],
	[ 'DROP TABLE in a tablespace',
		"CREATE TABLE x (id int, v text) USING cmk_heap TABLESPACE ts; INSERT INTO x $rows; CREATE INDEX ON x (v) TABLESPACE ts",
		'DROP TABLE x' ],
	[ 'DROP of an unlogged table',
		"CREATE UNLOGGED TABLE x (id int PRIMARY KEY, v text) USING cmk_heap; INSERT INTO x $rows",
		'DROP TABLE x' ],
	[ 'DROP MATERIALIZED VIEW',
		'CREATE MATERIALIZED VIEW x USING cmk_heap AS SELECT * FROM t; CREATE INDEX ON x (v)',
		'DROP MATERIALIZED VIEW x' ],
	[ 'DROP SCHEMA CASCADE',
		"CREATE SCHEMA sx; CREATE TABLE sx.x (id int PRIMARY KEY) USING cmk_heap; CREATE VIEW x AS SELECT 1",
		'DROP VIEW x; DROP SCHEMA sx CASCADE' ],
	[ 'a rolled-back CREATE', undef,
		"BEGIN; CREATE TABLE x (id int PRIMARY KEY, v text) USING cmk_heap; INSERT INTO x $rows; CHECKPOINT; ROLLBACK" ],
	[ 'a rolled-back subtransaction', undef,
		"BEGIN; SAVEPOINT a; CREATE TABLE x USING cmk_heap AS SELECT * FROM t; ROLLBACK TO a; COMMIT" ],
	[ 'an error in CREATE TABLE AS', undef,
		'DO $$ BEGIN CREATE TABLE x USING cmk_heap AS SELECT 1 / (200 - id) AS i FROM t; EXCEPTION WHEN division_by_zero THEN NULL; END $$' ],
	[ 'a rolled-back prepared transaction', undef,
		'BEGIN; CREATE TABLE x USING cmk_heap AS SELECT * FROM t; PREPARE TRANSACTION $$p$$; CHECKPOINT; ROLLBACK PREPARED $$p$$' ],
	[ 'SET ACCESS METHOD heap',
		"CREATE TABLE x (id int, v text) USING cmk_heap; INSERT INTO x $rows",
		'ALTER TABLE x SET ACCESS METHOD heap; DROP TABLE x' ],
	[ 'a temporary table', undef,
		"CREATE TEMP TABLE x (id int PRIMARY KEY, v text) USING cmk_heap; INSERT INTO x $rows" ],
	[ 'CREATE INDEX that fails', undef,
		'DO $$ BEGIN CREATE INDEX x ON t ((1 / (id - id))); EXCEPTION WHEN division_by_zero THEN NULL; END $$' ])
{
	my ($name, $make, $end) = @$case;
	my @ids;

	if (defined $make)
	{
		$node->safe_psql('postgres', $make);
		isnt(baseline(), $baseline, "$name: there are new records");
	}
	$node->safe_psql('postgres', $end);
	ok(wait_no_orphans($node), "$name: every record has a file in the end");
	is(baseline(), $baseline, "$name: and there are no others than before");
}

# What replaces a file leaves the old key behind, which goes, too.

foreach my $sql (
	'TRUNCATE t', 'VACUUM FULL t', 'REINDEX TABLE t',
	'REINDEX TABLE CONCURRENTLY t', 'ALTER TABLE t ALTER id TYPE bigint',
	'CLUSTER t USING t_pkey', 'ALTER TABLE t SET TABLESPACE ts',
	'ALTER INDEX t_pkey SET TABLESPACE ts',
	'ALTER TABLE t SET UNLOGGED', 'ALTER TABLE t SET LOGGED')
{
	my %before = map { $_->{birth_id} => $_ } keys_records($node);

	$node->safe_psql('postgres', $sql);
	ok(wait_no_orphans($node), "$sql: every record has a file in the end");
	my @after = keys_records($node);
	is(scalar @after, scalar keys %before, "$sql: as many records as before");
	cmp_ok(scalar(grep { !exists $before{ $_->{birth_id} } } @after),
		'>', 0, "$sql: with a new key among them");
	my %current = map { $_ => 1 } ids_of('postgres', 't');
	is(join(' ', sort map { $_->{id} } @after),
		join(' ', sort keys %current), "$sql: one for each file of the table");
}
$baseline = baseline();

# The bytes of a record that is gone are nowhere in the file.

$node->safe_psql('postgres', "CREATE TABLE x USING cmk_heap AS $rows");
my $record = find_record($node, relid_of($node, 'postgres', 'x'));
ok(index(raw_keys(), substr($record->{raw}, 56)) > 0, 'a live key is in the file');
$node->safe_psql('postgres', 'DROP TABLE x');
ok(wait_no_orphans($node), '... dropped');
is(index(raw_keys(), substr($record->{raw}, 56)), -1, '... it is not any more');
my $size = -s keys_path($node);

# Its place is used again: the file does not grow with every table ever made.
foreach my $round (1 .. 5)
{
	$node->safe_psql('postgres',
		join('; ', map { "CREATE TABLE x$_ (id int PRIMARY KEY, v text) USING cmk_heap" } 1 .. 20));
	$node->safe_psql('postgres', 'DROP TABLE ' . join(', ', map { "x$_" } 1 .. 20));
	ok(wait_no_orphans($node), "twenty tables come and go, round $round");
	$size = -s keys_path($node) if $round == 1;
}
is(-s keys_path($node), $size, 'the keys file does not grow');

# Databases

foreach my $strategy ('wal_log', 'file_copy')
{
	my $extension = 'CREATE EXTENSION IF NOT EXISTS pg_cmk';

	$node->safe_psql('postgres', "CREATE DATABASE d TEMPLATE postgres STRATEGY $strategy");
	$node->safe_psql('d', "$extension; CREATE TABLE x (id int PRIMARY KEY, v text) USING cmk_heap TABLESPACE ts; INSERT INTO x $rows");
	my $oid = $node->safe_psql('postgres', q{SELECT oid FROM pg_database WHERE datname = 'd'});
	cmp_ok(scalar(grep { $_->{db} == $oid } keys_records($node)),
		'>', 2, "a database made with $strategy has records");
	$node->safe_psql('postgres', 'DROP DATABASE d');
	ok(wait_no_orphans($node), 'DROP DATABASE: every record has a file in the end');
	is(baseline(), $baseline, 'DROP DATABASE: and there are no others than before');
}
$node->safe_psql('postgres', 'CREATE DATABASE d');
$node->safe_psql('d', "CREATE EXTENSION pg_cmk; CREATE TABLE x USING cmk_heap AS $rows");
$node->safe_psql('postgres', 'ALTER DATABASE d SET TABLESPACE ts');
ok(wait_no_orphans($node), 'ALTER DATABASE SET TABLESPACE: every record has a file');
is($node->safe_psql('d', 'SELECT count(*) FROM x'), 200, '... and every row is there');
$node->safe_psql('postgres', 'DROP DATABASE d');
ok(wait_no_orphans($node), '... until it is dropped');
is(baseline(), $baseline, '... without a trace');

# Not while a backup runs

my $session = $node->background_psql('postgres');
$node->safe_psql('postgres', "CREATE TABLE x USING cmk_heap AS $rows");
my $id = relid_of($node, 'postgres', 'x');
$session->query_safe(q{SELECT pg_backup_start('b', true)});
$node->safe_psql('postgres', 'DROP TABLE x');
settle_deaths($node) foreach 1 .. 4;
ok(!exists relation_files($node)->{$id}, 'during a backup: the file of a dropped table is gone');
ok(defined find_record($node, $id), 'during a backup: its key is kept');
$session->query_safe(q{SELECT pg_backup_stop(false)});
ok(wait_no_orphans($node), 'after the backup it is erased');
is(baseline(), $baseline, '... and nothing else');

# A session that dies during a backup ends it.
$node->safe_psql('postgres', "CREATE TABLE x USING cmk_heap AS $rows");
$session->query_safe(q{SELECT pg_backup_start('b', true)});
$session->quit;
$node->safe_psql('postgres', 'DROP TABLE x');
ok(wait_no_orphans($node), 'a session that goes away in a backup does not keep keys for ever');

# A backup by the replication protocol counts as well.
$node->safe_psql('postgres', "CREATE TABLE x USING cmk_heap AS $rows");
$id = relid_of($node, 'postgres', 'x');
my ($out, $err) = ('', '');
my $backup = IPC::Run::start(
	[
		'pg_basebackup', '-D', $node->backup_dir . '/slow', '-X', 'none',
		'-r', '64k', '--checkpoint', 'fast', '--no-sync', '-T',
		"$ts=" . $node->backup_dir . '/slow.ts', '-d',
		$node->connstr('postgres')
	],
	'<', '/dev/null', '>', \$out, '2>', \$err);
ok( $node->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM pg_stat_progress_basebackup WHERE phase = 'streaming database files'}
	),
	'a base backup is running');
$node->safe_psql('postgres', 'DROP TABLE x');
settle_deaths($node) foreach 1 .. 4;
ok(defined find_record($node, $id), 'during a base backup a key is kept');
ok($backup->pumpable, '(the base backup still runs)') or diag($err);
$backup->signal('TERM');
eval { $backup->finish };
ok(wait_no_orphans($node), 'when it is broken off, the key is erased');
is(baseline(), $baseline, '... and nothing else');

# Crashes: the unlink of a dropped table may be replayed, a file left over.

$node->safe_psql('postgres', "CREATE TABLE x (id int PRIMARY KEY) USING cmk_heap; CREATE TABLE y USING cmk_heap AS $rows; CHECKPOINT; DROP TABLE x");
$node->stop('immediate');
$node->start;
$node->safe_psql('postgres', 'DROP TABLE y');
ok(wait_no_orphans($node), 'after a crash: every record has a file in the end');
is(baseline(), $baseline, 'after a crash: and there are no others than before');

# A dead record survives a restart, and goes afterwards.
$node->safe_psql('postgres', "CREATE TABLE x USING cmk_heap AS $rows; DROP TABLE x");
$node->restart;
ok(wait_no_orphans($node), 'after a restart: every record has a file in the end');
is(baseline(), $baseline, 'after a restart: and there are no others than before');

is($node->safe_psql('postgres', 'SELECT relations_sealed FROM cmk.status'),
	scalar(keys_records($node)), 'cmk.status counts the live keys');
is($node->safe_psql('postgres', 'SELECT count(*) FROM cmk.relations WHERE sealed'),
	scalar(keys_records($node)), 'and cmk.relations lists them');
$node->stop;

done_testing();
