# Replicas: the root and the DEKs reach them by WAL.
#
# Three ways to come to a replica: one made while the primary had no key yet, so
# that the root itself comes by WAL; one made from a primary with sealed tables;
# and one that is rewound after it has gone its own way.  On each, the same rows
# must be there, sealed under the same keys, and after promotion it must be able
# to go on by itself.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $marker = new_marker();
my $primary = new_cmk_node(
	'primary',
	allows_streaming => 1,
	checksums        => 1,
	kek              => undef,
	conf             => "max_slot_wal_keep_size = -1\nwal_keep_size = 512MB\n"

	  # so that two nodes on one machine have each its own
	  . "allow_in_place_tablespaces = on\n");
my $kek = make_kek($primary->basedir . '/kek.pem');

$primary->safe_psql('postgres', 'CREATE EXTENSION amcheck');

# What every node must answer.
sub check_node
{
	my ($node, $when, $rows, @tables) = @_;
	my @faults;

	foreach my $table (@tables)
	{
		my $n = $node->safe_psql('postgres',
			"SELECT count(*) FROM $table WHERE v LIKE '$marker%'");
		push @faults, "$table has $n rows" if $n != $rows;
	}
	push @faults, index_faults($node, 'postgres') || ();
	push @faults, sealed_faults($node, 'postgres', @tables) || ();
	push @faults, map { "plain text in $_" } marker_files($node, $marker);
	is(join("\n", @faults), '', $when);
	return;
}

sub catch_up
{
	my ($from, $to) = @_;

	$from->wait_for_catchup($to, 'replay', $from->lsn('insert'));
	# A root that came with WAL: its key is validated before sessions come in.
	$to->poll_query_until('postgres', 'SELECT true');

	# A restartpoint brings the standby's pages to its disk.
	$from->safe_psql('postgres', 'CHECKPOINT');
	$from->wait_for_catchup($to, 'replay', $from->lsn('insert'));
	$to->safe_psql('postgres', 'CHECKPOINT');
	return;
}

sub records_of
{
	my ($node) = @_;

	return { map { $_->{id} => $_->{birth_id} }
		  grep { $_->{state} == 1 } keys_records($node) };
}

# A standby that was there before the key

$primary->backup('before');
my $early = PostgreSQL::Test::Cluster->new('early');
$early->init_from_backup($primary, 'before', has_streaming => 1);
$early->append_conf('postgresql.conf', "pg_cmk.key = 'file://$kek'");
$early->start;
is($early->safe_psql('postgres', 'SELECT pg_is_in_recovery(), count(*) FROM cmk.status'),
	't|1', 'a standby starts with a key before its primary has one');
ok(!-e $early->data_dir . '/pg_cmk/root.json',
	'and makes no root key of its own');

$primary->append_conf('postgresql.conf', "pg_cmk.key = 'file://$kek'");
$primary->restart;
$primary->safe_psql(
	'postgres', qq{
	CREATE TABLE t (id int PRIMARY KEY, v text, big text) USING cmk_heap;
	ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
	INSERT INTO t SELECT g, '$marker' || g, repeat('$marker', 200) FROM generate_series(1, 500) g;
	CREATE INDEX ON t USING gin (string_to_array(v, ' '));
	CREATE UNLOGGED TABLE u (id int PRIMARY KEY, v text) USING cmk_heap;
	INSERT INTO u SELECT id, v FROM t;
	CREATE INDEX ON t (v); VACUUM t});
catch_up($primary, $early);
check_node($early, 'the root key and rows reach a standby by WAL', 500, 't');
is( $early->safe_psql('postgres', 'SELECT state FROM cmk.status'),
	'Ready', 'its state is Ready');
is( slurp_file($early->data_dir . '/pg_cmk/root.json'),
	slurp_file($primary->data_dir . '/pg_cmk/root.json'),
	'it has the same root.json');
is_deeply(records_of($early), records_of($primary), 'and the same DEKs');

# A standby made from a primary with sealed tables

$primary->backup('after');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'after', has_streaming => 1);
$standby->start;

$primary->safe_psql(
	'postgres', qq{
	CREATE TABLE later (id int PRIMARY KEY, v text) USING cmk_heap;
	INSERT INTO later SELECT id, v FROM t;
	CREATE TABLE rewritten (id int, v text) USING cmk_heap;
	INSERT INTO rewritten SELECT id, v FROM t;
	CREATE INDEX ON rewritten (v);
	ALTER TABLE rewritten ALTER id TYPE bigint;
	REINDEX TABLE rewritten;
	VACUUM FULL t;
	CREATE TABLE dropped USING cmk_heap AS SELECT * FROM t;
	CREATE TABLE truncated (id int PRIMARY KEY, v text) USING cmk_heap;
	INSERT INTO truncated SELECT id, v FROM t;
	TRUNCATE truncated;
	INSERT INTO truncated SELECT id, v FROM t;
	DROP TABLE dropped;
	CREATE TABLESPACE ts LOCATION '';
	CREATE TABLESPACE ts2 LOCATION '';
	CREATE TABLE spaced (id int PRIMARY KEY, v text) USING cmk_heap;
	INSERT INTO spaced SELECT id, v FROM t;
	ALTER TABLE spaced SET TABLESPACE ts;
	ALTER INDEX spaced_pkey SET TABLESPACE ts;
	CREATE INDEX ON spaced (v) TABLESPACE ts;
	CREATE DATABASE moved TEMPLATE postgres TABLESPACE ts2 STRATEGY wal_log;
	ALTER DATABASE moved SET TABLESPACE pg_default});
$primary->safe_psql('postgres', "CREATE DATABASE copied TEMPLATE postgres STRATEGY $_; DROP DATABASE copied")
  foreach 'wal_log', 'file_copy';
$primary->safe_psql('postgres', 'CREATE DATABASE copied TEMPLATE postgres STRATEGY file_copy');

foreach my $node ($early, $standby)
{
	catch_up($primary, $node);
	check_node($node, 'every kind of change reaches ' . $node->name,
		500, 't', 'later', 'rewritten', 'truncated', 'spaced');
	foreach my $db ('copied', 'moved')
	{
		is( sealed_faults($node, $db, 't', 'later', 'spaced'),
			'', "a $db database is sealed on " . $node->name);
		is( $node->safe_psql($db, "SELECT count(*) FROM t WHERE v LIKE '$marker%'"),
			500, 'and readable');
	}
	my ($ret, $out, $err) = $node->psql('postgres',
		'CREATE TABLE no (i int) USING cmk_heap');
	isnt($ret, 0, 'a standby creates no table');
}

# A standby crashes and restarts, with WAL still to be replayed.

$primary->safe_psql('postgres',
	'CREATE TABLE atcrash (id int PRIMARY KEY, v text) USING cmk_heap; INSERT INTO atcrash SELECT id, v FROM t'
);
$primary->wait_for_catchup($standby, 'flush', $primary->lsn('insert'));
$standby->stop('immediate');
$primary->safe_psql('postgres', 'CREATE INDEX ON atcrash (v)');
$standby->start;
catch_up($primary, $standby);
check_node($standby, 'a standby recovers from a crash', 500, 't', 'atcrash');

$primary->safe_psql('postgres',
	# pg_rewind knows no tablespaces inside the data directory.
	'DROP TABLE atcrash, later, spaced; DROP DATABASE copied; DROP DATABASE moved; DROP TABLESPACE ts; DROP TABLESPACE ts2'
);
settle_deaths($primary);
ok(wait_no_orphans($primary), 'the primary erases the keys of what was dropped');
foreach my $node ($early, $standby)
{
	# Each node erases by itself, at restartpoints.
	ok( wait_until(
			'the standby has erased the keys of dropped tables',
			sub {
				settle_deaths($primary);
				$primary->wait_for_catchup($node, 'replay', $primary->lsn('insert'));
				$node->safe_psql('postgres', 'CHECKPOINT');
				return !orphan_records($node) && (live_dead($node))[1] == 0;
			}),
		$node->name . ' erases them, too') or diag(keys_text($node));
}

# Promotion; unlogged tables come up empty

$standby->promote;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM u'),
	0, 'an unlogged table is empty on a promoted standby');
$standby->safe_psql('postgres', qq{
	INSERT INTO u SELECT id, v FROM t;
	CREATE TABLE promoted (id int PRIMARY KEY, v text) USING cmk_heap;
	INSERT INTO promoted SELECT id, v FROM t;
	UPDATE t SET id = id + 1000;
	CHECKPOINT});
check_node($standby, 'a promoted standby goes on',
	500, 't', 'u', 'rewritten', 'promoted');
$standby->stop('immediate');
$standby->start;
check_node($standby, '... and recovers from a crash', 500, 't', 'promoted');

# The old primary has gone its own way, is rewound and follows.

$primary->safe_psql('postgres', qq{
	CREATE TABLE lost (id int PRIMARY KEY, v text) USING cmk_heap;
	INSERT INTO lost SELECT id, v FROM t;
	UPDATE t SET v = v || 'lost';
	CREATE TABLE truncated2 USING cmk_heap AS SELECT * FROM t;
	VACUUM FULL rewritten;
	CHECKPOINT});
$primary->stop;
$standby->safe_psql('postgres', 'CHECKPOINT');
my $conf = slurp_file($primary->data_dir . '/postgresql.conf');
command_ok(
	[
		'pg_cmk', 'exec', '-D', $primary->data_dir, '--',
		'pg_rewind', '--target-pgdata', $primary->data_dir,
		'--source-server', $standby->connstr('postgres'), '--no-sync'
	],
	'pg_rewind takes an old primary back');
unlink $primary->data_dir . '/postgresql.conf';
append_to_file($primary->data_dir . '/postgresql.conf', $conf);
chmod 0600, $primary->data_dir . '/postgresql.conf';
$primary->enable_streaming($standby);
$primary->start;
$standby->safe_psql('postgres', qq{
	CREATE TABLE afterrewind (id int PRIMARY KEY, v text) USING cmk_heap;
	INSERT INTO afterrewind SELECT id, v FROM t});
catch_up($standby, $primary);
check_node($primary, '... which then follows',
	500, 't', 'rewritten', 'promoted', 'afterrewind');
is($primary->safe_psql('postgres', q{SELECT to_regclass('lost') IS NULL, count(*) FROM t WHERE v LIKE '%lost'}),
	't|0', '... without what it had made alone');

$_->stop foreach $early, $primary, $standby;
foreach my $node ($early, $primary, $standby)
{
	command_ok([ 'pg_checksums', '--check', '-D', $node->data_dir ],
		'pg_checksums finds no fault on ' . $node->name);
}

done_testing();
