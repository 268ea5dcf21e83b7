# No row stands in clear in WAL: not in pg_wal, not in the archive, not on a standby;
# and all that reads WAL still reads it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $marker = new_marker();
my $node = new_cmk_node(
	'primary',
	allows_streaming => 1,
	has_archiving    => 1,
	checksums        => 1,
	conf             => "wal_level = logical\nwal_keep_size = '256MB'\n"
	  . "autovacuum = off\nwal_compression = off\n");

ok(wait_wal_sealed($node), 'WAL is sealed soon after the first start');
is($node->safe_psql('postgres', q{SHOW pg_cmk.seal_wal}), 'on', 'without a setting');
my $first = $node->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_insert_lsn())');

# Rows of a plain table: what is sealed does not depend on the table.
my $rows = 0;

sub add_rows
{
	my ($on) = @_;
	$on->safe_psql('postgres', qq{
		INSERT INTO t SELECT g, '$marker' || g FROM generate_series(1, 1000) g;
		SELECT pg_logical_emit_message(false, 'test', '$marker')});
	$rows += 1000;
	return;
}

# The files of a directory that hold the marker, and how its pages are.
sub nothing_plain
{
	my ($dir, $what) = @_;
	my $pages = wal_pages($dir, $first);

	is_deeply([ wal_marker_files($dir, $marker) ], [], "$what: no row in clear");
	cmp_ok($pages->{sealed}, '>', 0, "$what: there are sealed pages");
	is($pages->{plain}, 0, "$what: and no plain one")
	  or diag(join("\n", @{ $pages->{where} }));
	return;
}

$node->safe_psql('postgres', q{
	CREATE EXTENSION pg_walinspect;
	CREATE TABLE t (id int, v text) USING heap;
	SELECT pg_create_logical_replication_slot('slot', 'test_decoding')});
add_rows($node);
$node->safe_psql('postgres', 'CHECKPOINT');
add_rows($node);
nothing_plain($node, 'the primary');

# What reads WAL inside the server

like($node->safe_psql('postgres',
		q{SELECT string_agg(data, '') FROM pg_logical_slot_get_changes('slot', NULL, NULL)}),
	qr/$marker/, 'logical decoding reads it');
cmp_ok($node->safe_psql('postgres',
		q{SELECT count(*) FROM pg_get_wal_records_info(
			(SELECT redo_lsn FROM pg_control_checkpoint()), pg_current_wal_flush_lsn())}),
	'>', 900, 'pg_walinspect reads it');

# Crash recovery, also right behind a switch of segments

foreach my $switch (0, 1)
{
	add_rows($node);
	$node->safe_psql('postgres', 'SELECT pg_switch_wal()') if $switch;
	$node->stop('immediate');
	$node->start;
	is($node->safe_psql('postgres', "SELECT count(*) FROM t WHERE v LIKE '$marker%'"),
		$rows, 'every row is there after a crash' . ($switch ? ' behind a switch' : ''));
}
nothing_plain($node, 'after crash recovery');

# Outside: not readable, but by pg_cmk exec

my $segment = $node->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_lsn())');
command_fails([ 'pg_waldump', $node->data_dir . "/pg_wal/$segment" ],
	'pg_waldump alone cannot read it');
command_like(
	[
		'pg_cmk', 'exec', '-D', $node->data_dir, '--', 'pg_waldump', '-n', '1',
		$node->data_dir . "/pg_wal/$segment"
	],
	qr/rmgr: /, 'pg_cmk exec makes it');

# The archive, by a command

sub archived
{
	my ($on) = @_;
	my $file = $on->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_lsn())');
	$on->safe_psql('postgres', q{SELECT pg_logical_emit_message(true, 'test', 'x'); SELECT pg_switch_wal()});
	return $on->poll_query_until('postgres',
		"SELECT coalesce(last_archived_wal, '') >= '$file' FROM pg_stat_archiver");
}

$node->backup('first');
nothing_plain($node, 'after a backup');
add_rows($node);
ok(archived($node), 'WAL is archived');
nothing_plain($node->archive_dir, 'the archive');

# A standby made by pg_basebackup -X stream, which brings plain WAL; and one behind it

cmp_ok(wal_pages($node->backup_dir . '/first/pg_wal')->{plain}, '>', 0,
	'a stock pg_basebackup -X stream brings plain WAL');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'first', has_streaming => 1);
$standby->append_conf('postgresql.conf', "archive_mode = off\n");
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
nothing_plain($standby, 'a standby');

my $cascade = PostgreSQL::Test::Cluster->new('cascade');
$standby->backup('second');
$cascade->init_from_backup($standby, 'second', has_streaming => 1);
$cascade->start;
add_rows($node);
sub follow
{
	my ($from) = @_;
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert')) if $from == $node;
	$standby->wait_for_catchup($cascade, 'replay', $standby->lsn('replay') || $standby->lsn('insert'));
	return;
}
follow($node);
is($_->safe_psql('postgres', "SELECT count(*) FROM t WHERE v LIKE '$marker%'"),
	$rows, $_->name . ' has every row')
  foreach $standby, $cascade;
nothing_plain($cascade, 'a standby of a standby');

# Many small flushes: pages are received, and read, in pieces
$node->safe_psql('postgres', join(';', map { "INSERT INTO t VALUES ($_, '$marker$_')" } 1 .. 300));
$rows += 300;
follow($node);
foreach my $s ($standby, $cascade)
{
	$s->stop($s == $standby ? 'immediate' : 'fast');
	$s->start;
	$s->poll_query_until('postgres', "SELECT count(*) = $rows FROM t");
	is($s->safe_psql('postgres', "SELECT count(*) FROM t WHERE v LIKE '$marker%'"),
		$rows, $s->name . ' has every row after a restart');
}

# Promotion in the middle of a segment; the cascading one follows to the new timeline

$node->stop;
$standby->promote;
add_rows($standby);
$standby->wait_for_catchup($cascade, 'replay', $standby->lsn('insert'));
is($cascade->safe_psql('postgres', "SELECT count(*) FROM t WHERE v LIKE '$marker%'"),
	$rows, 'the standby of a promoted standby follows');
$standby->stop('immediate');
$standby->start;
is($standby->safe_psql('postgres', "SELECT count(*) FROM t WHERE v LIKE '$marker%'"),
	$rows, 'a promoted standby recovers from a crash');
nothing_plain($_, $_->name . ' on the new timeline') foreach $standby, $cascade;
$_->stop foreach $standby, $cascade;
$node->start;
$rows = $node->safe_psql('postgres', 'SELECT count(*) FROM t');

# Point-in-time recovery from sealed archive

$node->safe_psql('postgres', q{SELECT pg_create_restore_point('here')});
my $at_point = $rows;
add_rows($node);
ok(archived($node), 'WAL is archived up to a point and beyond');
my $pitr = PostgreSQL::Test::Cluster->new('pitr');
$pitr->init_from_backup($node, 'first', has_restoring => 1);
$pitr->append_conf('postgresql.conf',
	"recovery_target_name = 'here'\nrecovery_target_action = promote\narchive_mode = off\n"
	  . "wal_decode_buffer_size = '1048575kB'\n");
$pitr->start;
$pitr->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
is($pitr->safe_psql('postgres', 'SELECT count(*) FROM t'), $at_point,
	'point-in-time recovery from a sealed archive, with the largest decode buffer');
add_rows($pitr);
$rows -= 1000;
nothing_plain($pitr, 'the recovered server');
$pitr->stop;

# -X fetch takes WAL as it is on disk

my $fetch = $node->backup_dir . '/fetch';
command_ok([ 'pg_basebackup', '-D', $fetch, '-X', 'fetch', '--no-sync', '-c', 'fast', '-d', $node->connstr('postgres') ],
	'pg_basebackup -X fetch');
nothing_plain("$fetch/pg_wal", 'its WAL');
command_ok([ 'pg_verifybackup', '--no-parse-wal', $fetch ], 'pg_verifybackup agrees');
my $fetched = PostgreSQL::Test::Cluster->new('fetched');
rename $fetch, $fetched->data_dir or mkdir $fetched->basedir;
rename $fetch, $fetched->data_dir if -d $fetch;
chmod 0700, $fetched->data_dir;
$fetched->append_conf('postgresql.conf', 'port = ' . $fetched->port . "\narchive_mode = off\n"
	  . "unix_socket_directories = '" . $fetched->host . "'\npg_cmk.accept_plain_wal = off\n");
$fetched->start;
is($fetched->safe_psql('postgres', "SELECT count(*) FROM t WHERE v LIKE '$marker%'"),
	$node->safe_psql('postgres', 'SELECT count(*) FROM t'),
	'a server starts from it, although plain WAL is forbidden');
$fetched->stop;

# A backup with plain WAL, where that is forbidden

my $refused = PostgreSQL::Test::Cluster->new('refused');
$refused->init_from_backup($node, 'first');
$refused->append_conf('postgresql.conf', "pg_cmk.accept_plain_wal = off\narchive_mode = off\n");
my ($fails, $log) = start_fails($refused);
ok($fails, 'pg_cmk.accept_plain_wal = off: a backup with plain WAL does not start');
like($log, qr/plain, but WAL is sealed there/, '... and the log says why');

# An archive library reads WAL in a server process

$node->append_conf('postgresql.conf',
	"archive_library = 'basic_archive'\narchive_command = ''\n"
	  . "basic_archive.archive_directory = '" . $node->archive_dir . "'\n");
$node->restart;
unlink foreach wal_files($node->archive_dir);
add_rows($node);
ok(archived($node), 'basic_archive archives');
nothing_plain($node->archive_dir, 'what it archived');

# Damage is not the end of WAL

sub damaged
{
	my ($offset, $what, $error) = @_;
	my $path;
	my $bytes;

	$node->safe_psql('postgres', 'CHECKPOINT');
	my $file = $node->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_insert_lsn())');
	my $page = $node->safe_psql('postgres',
		q{SELECT (pg_walfile_name_offset(pg_current_wal_insert_lsn())).file_offset / 8192}) + 3;
	add_rows($node);
	add_rows($node);
	$node->stop('immediate');
	$path = $node->data_dir . "/pg_wal/$file";
	$bytes = read_bytes($path, $page * 8192 + $offset, 1);
	write_bytes($path, $page * 8192 + $offset, chr(ord($bytes) ^ 0x08));
	my ($stopped, $why) = start_fails($node);
	ok($stopped, "$what stops recovery");
	like($why, $error, '... with an error');
	write_bytes($path, $page * 8192 + $offset, $bytes);
	$node->start;
	is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), $rows += 0,
		'... and nothing is lost once it is repaired');
	return;
}
$rows = $node->safe_psql('postgres', 'SELECT count(*) FROM t');
damaged(3, 'a page of a root that is not known', qr/could not open the page of WAL at .*not known/);
damaged(21, 'a page that does not open', qr/could not open the page of WAL at .*damaged/);
$node->stop;

# Without pg_cmk the server does not take sealed WAL for its end

$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
($fails, $log) = start_fails($node);
ok($fails, 'a server without pg_cmk does not start');
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "'pg_cmk'");
$node->start;
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), $rows, '... and with it all is there');
$node->stop;

done_testing();
