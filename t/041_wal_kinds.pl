# Sealed WAL under the settings that change how WAL is written: O_DIRECT, segment sizes,
# wal_init_zero and wal_recycle; the change from plain to sealed, and from root to root.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @kinds = (
	[ 'minimal with O_DIRECT', [],
		"wal_level = minimal\nmax_wal_senders = 0\nwal_sync_method = open_datasync\nfsync = on\n" ],
	[ 'segments of 1 MB', ['--wal-segsize=1'], "wal_init_zero = off\nmin_wal_size = 5MB\nmax_wal_size = 5MB\n" ],
	[ 'segments of 64 MB', ['--wal-segsize=64'], "wal_recycle = off\nmin_wal_size = 128MB\n" ]);
my $n = 0;

foreach my $kind (@kinds)
{
	my ($name, $initdb, $conf) = @$kind;
	my $marker = new_marker();
	my $node = PostgreSQL::Test::Cluster->new('kind' . ++$n);

	$node->init(extra => $initdb);
	$node->append_conf('postgresql.conf', cmk_conf(make_kek($node->basedir . '/kek.pem')) . $conf);
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_cmk');
	ok(wait_wal_sealed($node), "$name: WAL is sealed");
	my $first = $node->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_insert_lsn())');
	my $script = $node->basedir . '/script.sql';
	append_to_file($script, "INSERT INTO t SELECT g, '$marker' || g FROM generate_series(1, 200) g;\n");
	$node->safe_psql('postgres', 'CREATE TABLE t (id int, v text)');
	foreach my $round (1 .. 3)
	{
		$node->command_ok([ 'pgbench', '-n', '-c', '4', '-t', '60', '-f', $script, 'postgres' ],
			"$name: rows are inserted by four sessions");
		$node->stop('immediate');
		$node->start;
		is($node->safe_psql('postgres', "SELECT count(*) FROM t WHERE v LIKE '$marker%'"),
			$round * 48000, '... and are there after a crash');
	}
	is_deeply([ wal_marker_files($node, $marker) ], [], '... none in clear');
	ok( wait_until(
			'recycled plain segments are removed',
			sub {
				$node->safe_psql('postgres', 'SELECT cmk.revalidate()');
				return wal_pages($node, $first)->{plain} == 0;
			}),
		'... and no page is plain') or diag(join("\n", @{ wal_pages($node, $first)->{where} }));
	$node->stop;
}

# A cluster that was plain: its recycled segments hold rows in clear until sealing begins.

{
	my $marker = new_marker();
	my $node = new_cmk_node('born_plain', kek => undef, extension => 0, allows_streaming => 1, has_archiving => 1,
		conf => "wal_recycle = on\nmin_wal_size = 160MB\n");

	$node->safe_psql('postgres', 'CREATE TABLE t (id int, v text)');
	foreach (1 .. 3)
	{
		$node->safe_psql('postgres', qq{
			INSERT INTO t SELECT g, '$marker' || g FROM generate_series(1, 100000) g;
			SELECT pg_switch_wal();
			CHECKPOINT});
	}
	cmp_ok(scalar(wal_marker_files($node, $marker)), '>', 0, 'plain WAL holds rows');
	$node->backup('plain');
	$node->append_conf('postgresql.conf', "pg_cmk.key = 'file://" . make_kek($node->basedir . '/kek.pem') . "'\n");
	$node->stop('immediate');
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_cmk');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 300000, 'what was there in clear still reads');
	ok(wait_wal_sealed($node), 'WAL is sealed from the next segment on');
	ok( wait_until(
			'no row is in clear in WAL',
			sub {
				$node->safe_psql('postgres', 'CHECKPOINT; SELECT cmk.revalidate()');
				return !wal_marker_files($node, $marker);
			}),
		'recycled segments with plain WAL are removed');
	$node->stop('immediate');
	$node->start;
	is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 300000, 'and nothing is lost');

	# Plain WAL that somebody put there is refused.
	$node->safe_psql('postgres', q{CHECKPOINT; INSERT INTO t SELECT g, 'x' FROM generate_series(1, 1000) g});
	my ($file, $page) = split /\|/, $node->safe_psql('postgres', q{
		SELECT (pg_walfile_name_offset(redo_lsn)).file_name,
			(pg_walfile_name_offset(redo_lsn)).file_offset / 8192 + 2
		FROM pg_control_checkpoint()});
	$node->stop('immediate');
	my $path = $node->data_dir . "/pg_wal/$file";
	my $info = read_bytes($path, $page * 8192 + 2, 2);
	write_bytes($path, $page * 8192 + 2, pack('v', unpack('v', $info) & 0x07ff));
	my ($fails, $log) = start_fails($node);
	ok($fails, 'a page that says it is plain stops recovery');
	like($log, qr/it is plain, but WAL is sealed there/, '... with an error');
	write_bytes($path, $page * 8192 + 2, $info);
	$node->start;

	# A new root: it seals WAL a gigabyte further on.
	my $standby = PostgreSQL::Test::Cluster->new('follower');
	$node->append_conf('postgresql.conf', "wal_keep_size = '64MB'\n");
	$node->reload;
	$node->backup('sealed');
	$standby->init_from_backup($node, 'sealed', has_streaming => 1);
	$standby->append_conf('postgresql.conf', "wal_decode_buffer_size = '64MB'\n");
	$standby->start;
	$node->safe_psql('postgres', 'SELECT cmk.rotate_root()');
	my ($from) = slurp_file($node->data_dir . '/pg_cmk/root.json') =~ /"id": 2.*?"wal_from": "([^"]+)"/s;
	ok( wait_until(
			'the new root has its place in WAL',
			sub {
				($from) = slurp_file($node->data_dir . '/pg_cmk/root.json') =~ /"id": 2.*?"wal_from": "([^"]+)"/s;
				return $from ne '0/0';
			}),
		'a new root gets a place in WAL');
	is($node->safe_psql('postgres', "SELECT '$from'::pg_lsn - pg_current_wal_insert_lsn() > 900 * 1024 * 1024"),
		't', '... far enough for every reader');
	while ($node->safe_psql('postgres', "SELECT pg_current_wal_insert_lsn() < '$from'::pg_lsn") eq 't')
	{
		$node->safe_psql('postgres', q{SELECT pg_logical_emit_message(true, 'x', 'y'); SELECT pg_switch_wal()});
	}
	$node->safe_psql('postgres', qq{INSERT INTO t SELECT g, '$marker' FROM generate_series(1, 1000) g});
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
	is($standby->safe_psql('postgres', "SELECT count(*) FROM t WHERE v = '$marker'"), 1000,
		'a standby follows over the change');
	foreach my $s ($node, $standby)
	{
		my $path = $s->data_dir . '/pg_wal/' . $node->safe_psql('postgres', "SELECT pg_walfile_name('$from'::pg_lsn + 1)");
		is(unpack('v', read_bytes($path, 2, 2)) >> 11 & 15, 2, $s->name . ' seals by the new root there');
		$s->stop('immediate');
		$s->start;
		is($s->safe_psql('postgres', "SELECT count(*) FROM t WHERE v = '$marker'"), 1000,
			$s->name . ' recovers from a crash there');
		is_deeply([ wal_marker_files($s, $marker) ], [], $s->name . ': no row in clear');
	}

	# A backup from before there was a key: replay brings both roots, then what they seal.
	my $old = PostgreSQL::Test::Cluster->new('old');
	my $file2 = $node->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_lsn())');
	$node->safe_psql('postgres', q{SELECT pg_switch_wal()});
	ok($node->poll_query_until('postgres',
			"SELECT coalesce(last_archived_wal, '') >= '$file2' FROM pg_stat_archiver"),
		'all is archived');
	$old->init_from_backup($node, 'plain', has_restoring => 1);
	$old->append_conf('postgresql.conf', "pg_cmk.key = 'file://" . $node->basedir . "/kek.pem'\n"
		  . "archive_mode = off\nrecovery_target_timeline = latest\n");
	$old->start;
	ok($old->poll_query_until('postgres', "SELECT count(*) = 1000 FROM t WHERE v = '$marker'"),
		'a backup from before the first key replays all of it');
	is($old->safe_psql('postgres', 'SELECT wal_sealed, root_id FROM cmk.status'), 't|2',
		'... and has the same roots');
	$_->stop foreach $standby, $old, $node;
}

done_testing();
