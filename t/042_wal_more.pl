# Sealed WAL at its edges: plain WAL that came honestly or was slipped in, a standby that
# got its first root late, and one that lags over two new roots.

use strict;
use warnings;

use File::Basename qw(basename);
use File::Copy qw(copy);
use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $refused = qr/it is plain, but WAL is sealed there/;

sub add_rows
{
	my ($node, $marker, $n) = @_;
	$node->safe_psql('postgres', "INSERT INTO t SELECT g, '$marker' || g FROM generate_series(1, $n) g");
	return;
}

sub count_rows
{
	my ($node, $marker) = @_;
	return $node->safe_psql('postgres', "SELECT count(*) FROM t WHERE v LIKE '$marker%'");
}

# The name of the current segment; then a new one is begun.
sub switch_wal
{
	my ($node) = @_;
	my $name = $node->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_lsn())');
	$node->safe_psql('postgres', q{SELECT pg_logical_emit_message(true, 'x', 'y'); SELECT pg_switch_wal()});
	return $name;
}

# All the WAL that a server has, in clear, into a new directory.
sub receive
{
	my ($node, $dir) = @_;
	my ($start) = sort grep { /^[0-9A-F]{24}$/ } map { s{.*/}{}r } wal_files($node->data_dir . '/pg_wal');
	my $end = $node->safe_psql('postgres', 'SELECT pg_current_wal_flush_lsn()');

	# Something behind the end, so that it need not wait for it.
	$node->safe_psql('postgres', q{SELECT pg_logical_emit_message(true, 'x', 'y')});

	# Without it, pg_receivewal begins with the current segment.
	mkdir $dir;
	append_to_file("$dir/$start.partial", '');
	system_or_bail('pg_receivewal', '-D', $dir, '--endpos', $end, '--no-loop', '--no-sync',
		'-d', $node->connstr('postgres'));
	return;
}

sub run_log_out
{
	my ($out, $err);
	IPC::Run::run([@_], '<', \undef, '>', \$out, '2>', \$err) or die "@_: $err";
	return $out;
}

# ---- which plain WAL is accepted ----

{
	my $marker = new_marker();
	my $node = new_cmk_node('accepts', allows_streaming => 1, has_archiving => 1,
		conf => "wal_keep_size = '1GB'\nautovacuum = off\n");
	my $plain = $node->basedir . '/plain';

	ok(wait_wal_sealed($node), 'WAL is sealed');
	$node->safe_psql('postgres', 'CREATE TABLE t (id int, v text) USING cmk_heap');

	# Backups; then WAL goes on, and is received in clear.
	add_rows($node, $marker, 1000);
	$node->backup('streamed');
	command_ok([ 'pg_basebackup', '-D', $node->backup_dir . '/bare', '-X', 'none', '-c', 'fast', '--no-sync',
		'-d', $node->connstr('postgres') ], 'a backup without WAL');
	add_rows($node, $marker, 1000);
	my $file = switch_wal($node);
	add_rows($node, $marker, 1000);
	$node->safe_psql('postgres', 'CHECKPOINT');
	mkdir $plain;
	add_rows($node, $marker, 1000);
	my $last = switch_wal($node);
	my $received = $node->backup_dir . '/received';
	receive($node, $received);
	ok(-s "$received/$last", 'pg_receivewal has all segments');
	ok(scalar(wal_marker_files($received, $marker)), '... in clear');

	# One of them put into pg_wal/ of the server, which was stopped.
	$node->stop('immediate');
	my ($redo) = run_log_out('pg_controldata', $node->data_dir) =~ /REDO WAL file:\s+(\S+)/;
	is($redo, $last, 'recovery begins in a segment that was received');
	copy($node->data_dir . "/pg_wal/$last", "$plain/$last");
	foreach my $accept ('backup', 'off')
	{
		copy("$received/$last", $node->data_dir . "/pg_wal/$last");
		$node->append_conf('postgresql.conf', "pg_cmk.accept_plain_wal = $accept");
		my ($fails, $log) = start_fails($node);
		ok($fails && $log =~ $refused, "accept_plain_wal = $accept: a plain segment that was slipped in is refused")
		  or diag($log);
	}
	$node->append_conf('postgresql.conf', 'pg_cmk.accept_plain_wal = on');
	my $offset = -s $node->logfile;
	$node->start;
	like(log_since($node, $offset), qr/sealed plain WAL file "pg_wal\/$last"/, 'accept_plain_wal = on: it is sealed');
	is(count_rows($node, $marker), 4000, '... and read');
	is_deeply([ wal_marker_files($node, $marker) ], [], '... and stands there in clear no more');
	$node->append_conf('postgresql.conf', 'pg_cmk.accept_plain_wal = backup');
	$node->restart;

	# The streamed backup brings plain WAL, once.
	my $copy = PostgreSQL::Test::Cluster->new('streamed');
	$copy->init_from_backup($node, 'streamed');
	$copy->append_conf('postgresql.conf', "archive_mode = off\n");
	cmp_ok(wal_pages($copy)->{plain}, '>', 0, 'pg_basebackup -X stream brings plain WAL');
	$copy->start;
	is(count_rows($copy, $marker), 1000, '... which is accepted');
	is_deeply([ wal_marker_files($copy, $marker) ], [], '... and sealed');
	is(wal_pages($copy)->{plain}, 0, '... all of it');
	$copy->safe_psql('postgres', 'CHECKPOINT');
	add_rows($copy, $marker, 500);
	$copy->stop('immediate');
	($redo) = run_log_out('pg_controldata', $copy->data_dir) =~ /REDO WAL file:\s+(\S+)/;
	my $seg = $copy->data_dir . "/pg_wal/$redo";
	copy($seg, "$plain/$redo");
	copy("$received/$redo", $seg) or die "there is no $redo: $!";
	my ($fails, $log) = start_fails($copy);
	ok($fails && $log =~ $refused, 'the same again, later, is refused') or diag($log);
	copy("$plain/$redo", $seg);
	$copy->start;
	is(count_rows($copy, $marker), 1500, '... and with what was there nothing is lost');
	$copy->stop;

	# An archive that pg_receivewal filled.
	foreach my $accept ('backup', 'on')
	{
		my $pitr = PostgreSQL::Test::Cluster->new("received_$accept");

		$pitr->init_from_backup($node, 'bare');
		$pitr->append_conf('recovery.signal', '');
		$pitr->append_conf('postgresql.conf', "archive_mode = off\npg_cmk.accept_plain_wal = $accept\n"
			  . "restore_command = 'cp \"$received/%f\" \"%p\"'\n");
		my ($failed, $why) = (!$pitr->start(fail_ok => 1), '');
		if ($accept eq 'backup')
		{
			wait_until('it ends', sub { ($why = slurp_file($pitr->logfile)) =~ /$refused.*database system is shut down/s });
			like($why, $refused, 'an archive of plain WAL completes a backup, and no more');
			$pitr->_update_pid(0);
		}
		else
		{
			$pitr->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
			is(count_rows($pitr, $marker), 4000, '... unless pg_cmk.accept_plain_wal is on');
			is_deeply([ wal_marker_files($pitr, $marker) ], [], '... then it is sealed');
			$pitr->stop;
		}
	}
	$node->stop;
}

# ---- a standby that got its first root late ----

{
	my $marker = new_marker();
	my $node = new_cmk_node('late', kek => undef, extension => 0, allows_streaming => 1, conf => "wal_keep_size = '1GB'\n");
	my $standby = PostgreSQL::Test::Cluster->new('late_standby');
	my $mark = $standby->data_dir . '/pg_cmk/wal_was_plain';
	my $key = "pg_cmk.key = 'file://" . make_kek($node->basedir . '/kek.pem') . "'\n";

	$node->safe_psql('postgres', 'CREATE TABLE t (id int, v text)');
	$node->backup('b');
	$standby->init_from_backup($node, 'b', has_streaming => 1);
	$standby->append_conf('postgresql.conf', $key);
	$standby->start;
	$node->safe_psql('postgres', q{SELECT pg_logical_emit_message(true, 'x', 'y')});
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
	$standby->stop;
	$node->append_conf('postgresql.conf', $key);
	$node->restart;
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_cmk');
	ok(wait_wal_sealed($node), 'WAL begins to be sealed on the primary');
	my $first = $node->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_insert_lsn())');
	foreach (1 .. 3)
	{
		add_rows($node, $marker, 1000);
		switch_wal($node);
	}
	is(scalar(wal_marker_files($node, $marker)), 0, '... where no row is in clear');

	# What a walreceiver writes that is ahead of replay, and knows no root.
	receive($node, $node->basedir . '/received');
	foreach (grep { /[0-9A-F]{24}$/ } wal_files($node->basedir . '/received'))
	{
		copy($_, $standby->data_dir . '/pg_wal');
		chmod 0600, $standby->data_dir . '/pg_wal/' . basename($_);
	}
	cmp_ok(wal_pages($standby, $first)->{plain}, '>', 0, 'a standby without a root has received it in clear');
	$standby->start;

	# The root is new to it: sessions are let in when its worker has asked for the key.
	ok(wait_until('sessions are let in', sub { hears($standby) eq '' }), '... begins to replay it');
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
	is(count_rows($standby, $marker), 3000, '... replays it');
	ok(-e $mark, '... and notes that there is plain WAL');
	add_rows($node, $marker, 1000);
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
	foreach my $round (1, 2)
	{
		$standby->stop('immediate');
		$standby->start;
		$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
		is(count_rows($standby, $marker), 4000, "start $round after a crash: all is there");
		ok(!-e $mark, '... the note is gone');
		is(wal_pages($standby, $first)->{plain}, 0, '... as is plain WAL where it should be sealed');
		is_deeply([ wal_marker_files($standby, $marker) ], [], '... and no row is in clear');
	}
	add_rows($node, $marker, 1000);
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
	$standby->stop;
	$standby->start;
	$standby->promote;
	is(count_rows($standby, $marker), 5000, '... and it can be promoted');
	$_->stop foreach $node, $standby;
}

# ---- recycled segments of a standby ----

{
	my $marker = new_marker();
	my $node = PostgreSQL::Test::Cluster->new('recycles');
	my $standby = PostgreSQL::Test::Cluster->new('recycled');
	my $key = "pg_cmk.key = 'file://" . make_kek($node->basedir . '/kek.pem') . "'\n";

	$node->init(extra => ['--wal-segsize=1'], allows_streaming => 1);
	$node->append_conf('postgresql.conf', cmk_conf() . "autovacuum = off\nmin_wal_size = 60MB\nmax_wal_size = 60MB\n"
		  . "wal_recycle = on\nwal_keep_size = 4MB\n");
	$node->start;
	$node->safe_psql('postgres', 'CREATE TABLE t (id int, v text)');
	$node->backup('b');
	$standby->init_from_backup($node, 'b', has_streaming => 1);
	$standby->append_conf('postgresql.conf', $key);
	$standby->start;
	my $round = sub {
		add_rows($node, $marker, 100);
		switch_wal($node);
		$node->safe_psql('postgres', 'CHECKPOINT');
		$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));

		# Its first root comes with WAL, and is validated before sessions are let in.
		wait_until('sessions are let in', sub { hears($standby) eq '' });
		$standby->safe_psql('postgres', 'CHECKPOINT'); };
	my $ahead = sub {
		my $current = $node->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_lsn())');
		return grep { /^[0-9A-F]{24}$/ && $_ gt $current } wal_marker_files($standby, $marker); };
	foreach (1 .. 3)
	{
		add_rows($node, $marker, 40000);
		$round->();
	}
	$node->append_conf('postgresql.conf', $key);
	$node->restart;
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_cmk');
	ok(wait_wal_sealed($node), 'WAL is sealed where it was plain');
	$round->();
	my $n = $ahead->();
	my $offset = -s $standby->logfile;
	my $rounds = 0;
	ok(wait_until('none is in clear', sub { $round->(); $rounds++; return !wal_marker_files($standby, $marker) }),
		'no recycled segment of a standby holds a row in clear');
	like(slurp_file($standby->logfile), qr/removed \d+ recycled WAL files that held plain WAL/, '... they were removed');
	is(count_rows($standby, $marker), count_rows($node, $marker), '... and nothing is lost');
	$standby->stop('immediate');
	$standby->start;
	$round->();
	is(count_rows($standby, $marker), count_rows($node, $marker), '... also after a crash');
	note("$n segments ahead, $rounds rounds");
	$_->stop foreach $standby, $node;
}

# ---- a standby that lags over two new roots ----

{
	my $marker = new_marker();
	my $node = PostgreSQL::Test::Cluster->new('roots');
	my $archive;

	# So that replay reads ahead as far as it can: it must not need a root that is yet to come.
	my $ahead = "recovery_prefetch = on\nwal_decode_buffer_size = '1048575kB'\n";

	$node->init(extra => ['--wal-segsize=1'], allows_streaming => 1);
	$archive = $node->archive_dir;
	mkdir $archive;
	$node->append_conf('postgresql.conf', cmk_conf(make_kek($node->basedir . '/kek.pem'))
		  . "autovacuum = off\nmin_wal_size = 64MB\nmax_wal_size = 64MB\ncheckpoint_timeout = 1h\n"
		  . "archive_mode = on\narchive_library = 'basic_archive'\nbasic_archive.archive_directory = '$archive'\n");
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_cmk; CREATE TABLE t (id int, v text) USING cmk_heap');
	ok(wait_wal_sealed($node), 'segments of 1 MB are sealed');
	$node->backup('b');
	my $standby = PostgreSQL::Test::Cluster->new('lagging');
	$standby->init_from_backup($node, 'b', has_streaming => 1);
	$standby->append_conf('postgresql.conf', "archive_mode = off\n$ahead");
	$standby->start;
	$node->safe_psql('postgres', q{SELECT pg_create_physical_replication_slot('s')});
	$standby->append_conf('postgresql.conf', "primary_slot_name = 's'");
	$standby->reload;
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
	$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
	my $from;
	foreach my $root (2, 3)
	{
		$node->safe_psql('postgres', "SELECT cmk.rotate_root(); CREATE TABLE t$root (v text) USING cmk_heap; INSERT INTO t$root VALUES ('$marker')");
		ok(wait_until("root $root has its place", sub {
			($from) = slurp_file($node->data_dir . '/pg_cmk/root.json') =~ /"id": $root,.*?"wal_from": "([^"]+)"/s;
			return ($from || '0/0') ne '0/0' }), "root $root has a place in WAL");
		$node->safe_psql('postgres', q{SELECT pg_logical_emit_message(true, 'x', 'y'), pg_switch_wal() FROM generate_series(1, 20)});
		add_rows($node, $marker, 1000);
	}
	while ($node->safe_psql('postgres', "SELECT pg_current_wal_insert_lsn() < '$from'::pg_lsn + 20000000") eq 't')
	{
		add_rows($node, $marker, 100);
		$node->safe_psql('postgres', q{SELECT pg_logical_emit_message(true, 'x', 'y'), pg_switch_wal() FROM generate_series(1, 100)});
	}
	add_rows($node, $marker, 1000);
	my $rows = count_rows($node, $marker);
	$node->wait_for_catchup($standby, 'write', $node->lsn('insert'));
	is($standby->safe_psql('postgres', 'SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) > 1024 * 1024 * 1024'),
		't', 'a standby has received a gigabyte that it has not replayed');
	is($standby->safe_psql('postgres', 'SELECT root_id FROM cmk.status'), 1, '... with the first root only');
	is(`grep -lr $marker @{[ $standby->data_dir ]}/pg_wal`, '', '... and nothing in clear');
	$standby->stop('immediate');
	$standby->start;
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
	is(count_rows($standby, $marker), $rows, 'after a crash it replays all');
	is($standby->safe_psql('postgres', 'SELECT v FROM t2 JOIN t3 USING (v)'), $marker, '... tables under both roots too');
	is($standby->safe_psql('postgres', 'SELECT root_id FROM cmk.status'), 3, '... and has the last root');
	$standby->stop('immediate');
	$standby->start;
	add_rows($node, $marker, 1000);
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
	is(count_rows($standby, $marker), $rows + 1000, '... and follows');
	$standby->stop;

	my $last = switch_wal($node);
	ok($node->poll_query_until('postgres', "SELECT coalesce(last_archived_wal, '') >= '$last' FROM pg_stat_archiver"),
		'all is archived');
	is(`grep -lr $marker $archive`, '', '... sealed');
	my $old = PostgreSQL::Test::Cluster->new('old');
	$old->init_from_backup($node, 'b', has_restoring => 1, standby => 0);
	$old->append_conf('postgresql.conf', "archive_mode = off\n$ahead");
	$old->start;
	$old->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
	is(count_rows($old, $marker), $rows + 1000, 'a backup of before is restored from the archive');
	is($old->safe_psql('postgres', 'SELECT v FROM t2 JOIN t3 USING (v)'), $marker, '... with the tables under both roots');
	$_->stop foreach $old, $node;
}

done_testing();
