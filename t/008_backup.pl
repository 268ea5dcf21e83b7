# Backups: taken sealed, checked by the stock tools, and started from.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $marker = new_marker();
my $node = new_cmk_node(
	'main',
	allows_streaming => 1,
	has_archiving    => 1,
	checksums        => 1);
my $ts = $node->basedir . '/ts';
my $rows =
  "SELECT g AS id, '$marker' || g AS v, repeat('$marker', 200) AS big FROM generate_series(1, 500) g";

mkdir $ts;
$node->safe_psql('postgres', 'CREATE EXTENSION amcheck');
$node->safe_psql('postgres', "CREATE TABLESPACE ts LOCATION '$ts'");
$node->safe_psql(
	'postgres', qq{
	CREATE TABLE t (id int PRIMARY KEY, v text, big text) USING cmk_heap;
	ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
	INSERT INTO t $rows;
	CREATE TABLE s (id int PRIMARY KEY, v text, big text) USING cmk_heap TABLESPACE ts;
	INSERT INTO s $rows;
	CREATE INDEX ON s (v) TABLESPACE ts;
	CREATE UNLOGGED TABLE u (id int PRIMARY KEY, v text) USING cmk_heap;
	INSERT INTO u SELECT id, v FROM t;
	CREATE TABLE plain (id int PRIMARY KEY, v text) USING heap;
	INSERT INTO plain SELECT g, 'not secret' FROM generate_series(1, 500) g});

my $n = 0;

# Starts a server from a backup and asks it.
sub check_backup
{
	my ($path, $name, %opt) = @_;
	my $copy = PostgreSQL::Test::Cluster->new('copy' . ++$n);

	is_deeply([ marker_files($path, $marker) ],
		[], "$name: the backup holds no plain text");
	mkdir $copy->backup_dir;
	mkdir $copy->archive_dir;
	rename $path, $copy->data_dir or die "rename $path: $!";
	chmod 0700, $copy->data_dir;
	unlink $copy->data_dir . '/postmaster.pid';
	$copy->append_conf('postgresql.conf',
		    'port = ' . $copy->port . "\n"
		  . "unix_socket_directories = '" . $copy->host . "'\n"
		  . "archive_mode = off\n"
		  . ($opt{conf} || ''));
	$copy->append_conf('recovery.signal', '') if $opt{recovery};
	$copy->start;
	$copy->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
	is( $copy->safe_psql(
			'postgres', qq{
			SELECT (SELECT count(*) FROM t WHERE v LIKE '$marker%' AND big LIKE '$marker%'),
				(SELECT count(*) FROM s WHERE v LIKE '$marker%'),
				(SELECT count(*) FROM plain), (SELECT count(*) FROM u)}),
		'500|500|500|0',
		"$name: rows are there, the unlogged table is empty");
	$copy->safe_psql('postgres', qq{
		CREATE TABLE new_in_copy USING cmk_heap AS SELECT * FROM t;
		INSERT INTO u SELECT id, v FROM t;
		CHECKPOINT});
	is(sealed_faults($copy, 'postgres', 't', 's', 'u', 'new_in_copy'),
		'', "$name: and sealed");
	is(index_faults($copy, 'postgres'), '', "$name: indexes agree with tables");
	ok(wait_no_orphans($copy), "$name: every record has a file")
	  unless $opt{keep};
	return $copy if $opt{keep};
	finish($copy, $name);
	return;
}

sub finish
{
	my ($copy, $name) = @_;

	$copy->stop;
	command_ok([ 'pg_checksums', '--check', '-D', $copy->data_dir ],
		"$name: pg_checksums finds no fault");
	return;
}

# pg_basebackup, which verifies checksums by itself, and pg_verifybackup

foreach my $method ('stream', 'fetch')
{
	my $path = $node->backup_dir . "/$method";
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run(
		[
			'pg_basebackup', '-D', $path, '-X', $method, '--checkpoint',
			'fast', '--no-sync', '-T', "$ts=$path.ts", '-d',
			$node->connstr('postgres')
		],
		'>', \$out, '2>', \$err);

	ok($ok, "pg_basebackup -X $method") or diag($err);
	is($err, '', '... finds no checksum wrong');
	command_ok([ 'pg_verifybackup', '--no-parse-wal', $path ],
		'... and pg_verifybackup agrees');
	is( $node->safe_psql('postgres',
			q{SELECT sum(checksum_failures) FROM pg_stat_database}),
		0, '... no failure was counted');
	check_backup($path, "pg_basebackup -X $method");
}

# A tar backup that goes to another place and is unpacked there
{
	my $path = $node->backup_dir . '/tar';

	command_ok(
		[
			'pg_basebackup', '-D', $path, '-Ft', '-X', 'fetch', '--checkpoint',
			'fast', '--no-sync', '-d', $node->connstr('postgres')
		],
		'pg_basebackup -Ft');
	my $oid = $node->safe_psql('postgres', q{SELECT oid FROM pg_tablespace WHERE spcname = 'ts'});
	ok(-s "$path/$oid.tar", '... has the tablespace');
	ok(!file_contains("$path/$oid.tar", $marker), '... in which there is no plain text');
}

# A low-level backup: files copied while the server works.  A record of the keys
# file may be copied half written; replay then brings it again, if it was born
# after the backup began, as only such a record can be torn.

foreach my $torn (0, 1)
{
	my $path = $node->backup_dir . "/lowlevel$torn";
	my $name = 'a low-level backup' . ($torn ? ' with a torn record' : '');
	my $session = $node->background_psql('postgres');

	$session->query_safe(
		q{SET client_min_messages = warning; SELECT pg_backup_start('low', true)});
	$node->safe_psql('postgres', qq{
		UPDATE t SET id = -id WHERE id % 2 = 0;
		CREATE TABLE during$torn USING cmk_heap AS SELECT * FROM t;
		CHECKPOINT});
	my $record = find_record($node, relid_of($node, 'postgres', "during$torn"));
	copy_tree($node->data_dir, $path,
		qr{^(pg_wal/.|pg_tblspc/.|postmaster\.|pg_replslot/.)});
	copy_tree($ts, "$path.ts");
	$node->safe_psql('postgres', 'UPDATE t SET id = -id WHERE id < 0; CHECKPOINT');
	my ($label, $map) = split /\0/,
	  $session->query_safe(
		q{SELECT labelfile || E'\n--map--\n' || spcmapfile FROM pg_backup_stop()}
	  ) =~ s/\n--map--\n/\0/r;
	$session->quit;
	append_to_file("$path/backup_label", $label . "\n");
	my ($oid) = $map =~ /^(\d+)/;
	symlink "$path.ts", "$path/pg_tblspc/$oid" or die "symlink: $!";
	$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
	write_bytes(keys_path($path), $record->{offset} + 64, "\0" x 64) if $torn;
	my $archive = $node->archive_dir;
	my $copy = check_backup($path, $name,
		recovery => 1,
		keep     => 1,
		conf     => "restore_command = 'cp $archive/%f %p'\n");
	is( $copy->safe_psql('postgres',
			"SELECT count(*) FROM during$torn WHERE v LIKE '$marker%'"),
		500, "$name: a table made meanwhile is readable");
	is(sealed_faults($copy, 'postgres', "during$torn"), '', '... and sealed');
	ok(wait_no_orphans($copy), '... and every record has a file');
	finish($copy, $name);
}

# A backup while tables come and go

{
	my $script = $node->basedir . '/ddl.sql';
	my $path = $node->backup_dir . '/busy';

	append_to_file($script, <<"SQL");
\\set n random(1, 1000000000)
CREATE TABLE x_:n (id int PRIMARY KEY, v text) USING cmk_heap;
INSERT INTO x_:n SELECT id, v FROM t;
CREATE UNLOGGED TABLE y_:n USING cmk_heap AS SELECT * FROM x_:n;
CREATE INDEX ON x_:n (v);
TRUNCATE x_:n;
DROP TABLE y_:n;
INSERT INTO x_:n SELECT id, v FROM t;
VACUUM FULL x_:n;
DROP TABLE x_:n;
SQL
	my ($out, $err) = ('', '');
	my $load = IPC::Run::start(
		[
			'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-T', '600',
			'-c', '3', '-f', $script, 'postgres'
		],
		'<', '/dev/null', '>', \$out, '2>', \$err);

	ok( wait_until(
			'tables come and go',
			sub {
				$node->safe_psql('postgres',
					q{SELECT max(oid::int8) FROM pg_class WHERE relname ~ '^x_'}) ne '';
			}),
		'tables come and go');

	# A slow backup, so that many do
	my ($bout, $berr) = ('', '');
	ok( IPC::Run::run(
			[
				'pg_basebackup', '-D', $path, '-X', 'stream', '--checkpoint',
				'fast', '--no-sync', '-T', "$ts=$path.ts", '-r', '12M', '-d',
				$node->connstr('postgres')
			],
			'>', \$bout, '2>', \$berr),
		'... while a backup is taken') or diag($berr);
	unlike($berr, qr/checksum/, '... that finds no checksum wrong');

	ok($load->pumpable, '... and still do at its end') or diag($err);
	$load->signal('TERM');
	$load->finish;
	my $copy = check_backup($path, 'a backup of a busy server', keep => 1);

	my @left = split /\n/, $copy->safe_psql('postgres',
		q{SELECT relname FROM pg_class WHERE relname ~ '^[xy]_\d+$' AND relkind = 'r'});
	my ($ret, $o, $e) = $copy->psql('postgres', join('', map { "SELECT count(*) FROM $_;" } 'plain', @left));
	is($ret, 0, 'tables that were just being made are readable') or diag($e);
	$copy->safe_psql('postgres', "DROP TABLE $_") foreach @left;
	ok(wait_no_orphans($copy), 'every record has a file in the end');
	finish($copy, 'a backup of a busy server');
	my @mine = split /\n/, $node->safe_psql('postgres',
		q{SELECT relname FROM pg_class WHERE relname ~ '^[xy]_\d+$' AND relkind = 'r'});
	$node->safe_psql('postgres', "DROP TABLE $_") foreach @mine;
}

# Point-in-time recovery from the archive, to a moment between two tables

{
	my $path = $node->backup_dir . '/pitr';
	my $archive = $node->archive_dir;

	$node->backup('pitr', backup_options => [ '-T', "$ts=$path.ts" ]);
	$node->safe_psql('postgres', qq{
		CREATE TABLE a (id int PRIMARY KEY, v text) USING cmk_heap;
		INSERT INTO a SELECT id, v FROM t;
		SELECT pg_create_restore_point('between');
		DROP TABLE a;
		CREATE TABLE b USING cmk_heap AS SELECT * FROM t;
		TRUNCATE t;
		SELECT pg_switch_wal()});
	my $copy = check_backup(
		$path, 'point-in-time recovery',
		recovery => 1,
		keep     => 1,
		conf     => "restore_command = 'cp $archive/%f %p'\n"
		  . "recovery_target_name = 'between'\nrecovery_target_action = promote\n");
	is( $copy->safe_psql('postgres',
			q{SELECT count(*), to_regclass('b') IS NULL FROM a}),
		'500|t', 'point-in-time recovery: it stopped where it should');
	is(sealed_faults($copy, 'postgres', 'a'), '', '... and the table is sealed');
	ok(wait_no_orphans($copy), '... and every record has a file');
	finish($copy, 'point-in-time recovery');
}

$node->stop;
command_ok([ 'pg_checksums', '--check', '-D', $node->data_dir ],
	'pg_checksums finds no fault in the original');

# pg_checksums can also switch checksums off and on again.
command_ok([ 'pg_checksums', '--disable', '--no-sync', '-D', $node->data_dir ],
	'pg_checksums --disable');
$node->start;
$node->safe_psql('postgres', "INSERT INTO t $rows; CHECKPOINT");
is(sealed_faults($node, 'postgres', 't'), '', 'without checksums pages are sealed');
$node->stop;
command_ok([ 'pg_checksums', '--enable', '--no-sync', '-D', $node->data_dir ],
	'pg_checksums --enable');
$node->start;
is($node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM s)'),
	'500|500', 'pages that pg_checksums has written are readable');
$node->stop;

# A cluster of which a user of the server's group may take backups: all that pg_cmk
# makes in it can be read by that user, whatever the writer's umask.
my $group = new_cmk_node('group', start => 0);
chmod_recursive($group->data_dir, 0750, 0640);
$group->start;
$group->safe_psql('postgres',
	'CREATE EXTENSION pg_cmk; CREATE TABLE t USING cmk_heap AS SELECT 1 AS id; CHECKPOINT');
wait_wal_sealed($group);
ok(-s $group->data_dir . "/pg_cmk/$_", "group access: there is pg_cmk/$_")
  foreach 'root.json', 'keys', 'events', 'status.json';
$group->stop;
ok(check_mode_recursive($group->data_dir, 0750, 0640),
	'... and every file can be read by the group');

done_testing();
