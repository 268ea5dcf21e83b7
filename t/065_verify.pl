
# pg_cmk verify: of a stopped cluster, of base backups and of a standby, in both scopes,
# it tells what is sealed and what is not, and finds what was planted.  At the end the
# table of docs/coverage.md must have the kinds of files that the command knows.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# (exit status, stdout, stderr)
sub run_verify
{
	my ($dir, @args) = @_;
	my ($out, $err);
	local %ENV = %ENV;

	delete $ENV{PGDATA};
	IPC::Run::run([ 'pg_cmk', 'verify', '-D', $dir, @args ], '<', \undef, '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

# The report, with the exit status in {status}, counts by kind in {of}, and each finding
# as "severity file[ blocks]: what" in {list}.
sub verify
{
	my ($dir, @args) = @_;
	my ($status, $out, $err) = run_verify($dir, '--json', @args);
	my $r = eval { decode_json($out) } || { findings => [], kinds => [] };

	$r->{status} = $status;
	$r->{err}    = $err;
	$r->{of}     = { map { $_->{kind} => $_ } @{ $r->{kinds} } };
	$r->{list}   = [
		map {
			my $f = $_;
			my $blocks = !defined $f->{first_block} ? '' :
			  $f->{first_block} == $f->{last_block} ? " $f->{first_block}" : " $f->{first_block}-$f->{last_block}";
			"$f->{severity} $f->{file}$blocks: $f->{what}"
		} @{ $r->{findings} } ];
	return $r;
}

sub passes
{
	my ($dir, $name, @args) = @_;
	my $r = verify($dir, @args);

	is($r->{status}, 0, $name) or diag(join("\n", $r->{err}, @{ $r->{list} }[ 0 .. 20 ]));
	return $r;
}

# Fails with these findings and no others.
sub finds
{
	my ($dir, $findings, $name, @args) = @_;
	my $r = verify($dir, @args);
	my $status = scalar(grep { /^failure/ } @$findings) ? 1 : 0;

	subtest $name => sub {
		is($r->{status}, $status, 'exit status');
		is_deeply($r->{list}, $findings, 'findings');
	} or diag($r->{err});
	return $r;
}

sub cannot_run
{
	my ($dir, $like, $name, @args) = @_;
	my ($status, $out, $err) = run_verify($dir, @args);

	subtest $name => sub {
		is($status, 2, 'exit status');
		like($err, $like, 'message');
		is($out, '', 'no report');
	} or diag("$out$err");
	return;
}

# { sealed, plain, zero } of all relation files, counted by this test.
sub counts_on_disk
{
	my ($dir) = @_;
	my %n = (sealed_pages => 0, plain_pages => 0, zero_pages => 0);

	foreach my $path (map { @$_ } values %{ relation_files($dir) })
	{
		for (my $at = 0; $at < -s $path; $at += PAGE_SIZE)
		{
			my $page = read_bytes($path, $at, PAGE_SIZE);

			$n{ unpack('v', substr($page, 10, 2)) & 0x8000 ? 'sealed_pages' :
				$page =~ tr/\0//c ? 'plain_pages' : 'zero_pages' }++;
		}
	}
	return \%n;
}

sub counted
{
	my ($r) = @_;

	return { map { $_ => $r->{of}{relation}{$_} } 'sealed_pages', 'plain_pages', 'zero_pages' };
}

# ---- scope tables ----

my $ts   = PostgreSQL::Test::Utils::tempdir_short();
my $node = new_cmk_node('tables', checksums => 1, allows_streaming => 1, conf => "wal_level = logical\n");
my $dir  = $node->data_dir;
my $kek  = $node->basedir . '/kek.pem';

ok(wait_wal_sealed($node), 'WAL is sealed');
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->safe_psql('postgres', "CREATE TABLESPACE ts LOCATION '$ts'");
$node->safe_psql('postgres', q{
	CREATE TABLE t (id int PRIMARY KEY, v text) USING cmk_heap;
	INSERT INTO t SELECT g, repeat(md5(g::text), 5) FROM generate_series(1, 5000) g;
	CREATE TABLE other (id int PRIMARY KEY, v text) USING cmk_heap;
	INSERT INTO other SELECT * FROM t;
	CREATE UNLOGGED TABLE u USING cmk_heap AS SELECT * FROM t;
	CREATE TABLE moved (v text) USING cmk_heap TABLESPACE ts;
	INSERT INTO moved SELECT v FROM t;
	CREATE TABLE plain (v text) USING heap;
	INSERT INTO plain VALUES ('a row in clear');
	VACUUM t;
	LISTEN c; NOTIFY c, 'payload'});
$node->safe_psql('postgres', $_) foreach q{SELECT pg_create_logical_replication_slot('s', 'test_decoding')},
  q{BEGIN; INSERT INTO t VALUES (0, 'x'); PREPARE TRANSACTION 'gid'};
my %path = map { $_ => $node->safe_psql('postgres', "SELECT pg_relation_filepath('$_')") } 't', 'other', 'u', 'moved', 'plain';
$node->safe_psql('postgres', 'CHECKPOINT');

cannot_run($dir, qr/a server is running in this data directory \(PID \d+\)\npg_cmk: hint: Stop it first/,
	'a running server is refused');
cannot_run($dir, qr/a server is running/, '... also without the key', '--no-key');
my $running = verify($dir, '--running');
is($running->{status}, 0, 'a running server may be looked at on demand') or diag(join "\n", @{ $running->{list} });
cmp_ok($running->{of}{relation}{sealed_pages}, '>', 0, '... and has sealed pages');

my $backups = $node->backup_dir;
mkdir $backups;
foreach my $method ('fetch', 'stream', 'exec')
{
	my $map = PostgreSQL::Test::Utils::tempdir_short();
	my @exec = $method eq 'exec' ? ('pg_cmk', 'exec', '-D', $dir, '--') : ();

	$node->command_ok([ @exec, 'pg_basebackup', '-D', "$backups/$method", '-h', $node->host, '-p', $node->port,
			'--checkpoint', 'fast', '--no-sync', '-X', @exec ? 'stream' : $method, '-T', "$ts=$map" ], "pg_basebackup: $method");
}
$node->stop;

my $r = passes($dir, 'scope tables passes');
is_deeply(counted($r), counts_on_disk($dir), '... with as many pages as there are');
cmp_ok($r->{of}{relation}{plain_pages}, '>', 100, '... plain ones in catalogs');
cmp_ok($r->{of}{WAL}{sealed_pages}, '>', 100, '... and sealed ones in WAL');
is($r->{of}{unknown}{files}, 0, '... no file is unknown');
is_deeply([ grep { $r->{of}{$_}{files} == 0 }
		'relation', 'WAL', 'control file', 'relation map', 'transaction status', 'prepared transactions',
		'replication slots', 'statistics', 'version', 'keys', 'configuration' ],
	[], '... and files of the usual kinds are there');
is($r->{opened} ? 'opened' : '', 'opened', '... and every sealed page was opened');
is_deeply([ map { $_->{kind} } grep { $_->{meant_to_be} eq 'sealed' && $_->{clear_bytes} + $_->{unaccounted_bytes} > 0 } @{ $r->{kinds} } ],
	[], '... all of what is meant to be sealed is pages');
my $bytes = 0;
$bytes += -s $_ foreach data_files($dir), wal_files("$dir/pg_wal");
my $read = 0;
$read += $_->{bytes} foreach @{ $r->{kinds} };
is($read, $bytes, '... and every byte of every file is counted');

my $marks = passes($dir, 'without the key, too', '--no-key');
is_deeply([ map { [ @$_{qw(kind files sealed_pages plain_pages zero_pages)} ] } @{ $marks->{kinds} } ],
	[ map { [ @$_{qw(kind files sealed_pages plain_pages zero_pages)} ] } @{ $r->{kinds} } ], '... with the same counts');
ok(!$marks->{opened}, '... of which it says that nothing was opened');

my ($status, $text, $err) = run_verify($dir);
like($text, qr/^scope tables; every sealed page was opened with its key\n/, 'as text: what was demanded');
like($text, qr/^relation +$r->{of}{relation}{files} +$r->{of}{relation}{bytes} +$r->{of}{relation}{sealed_pages} +$r->{of}{relation}{plain_pages} /m,
	'... counts');
like($text, qr/\npassed: all is sealed that must be\n$/, '... and the result');
is($err, '', '... and no progress if stderr is no terminal');
($status, $text, $err) = run_verify($dir, '--progress');
like($err, qr/^pg_cmk: (\d+)\/\1 MB \(100%\)\n\z/m, '... but on demand');

my $cluster = verify($dir, '-c', 'pg_cmk.scope=cluster');
is($cluster->{status}, 1, 'scope cluster fails');
ok(scalar(grep { $_ eq "failure $path{plain} 0: plain" } @{ $cluster->{list} }), '... the plain table is named');
ok(scalar(grep { m{^failure global/1262 0: plain$} } @{ $cluster->{list} }), '... and pg_database');
is_deeply([ grep { m{^failure (?:\Q$path{t}\E|\Q$path{u}\E|\Q$path{moved}\E)} } @{ $cluster->{list} } ], [], '... but no sealed table');
like((run_verify($dir, '-c', 'pg_cmk.scope=cluster'))[1], qr/^failure: "\Q$path{plain}\E", block 0: plain$/m, '... also as text');
cannot_run($dir, qr/neither "tables" nor "cluster"/, 'an unknown scope', '-c', 'pg_cmk.scope=all');

# ---- keys that are not the right ones ----

my $stranger = make_kek($node->basedir . '/stranger.pem');
cannot_run($dir, qr/no recipient of it|could not open the root key.*\n.*--no-key/s, 'with another key', '-c', "pg_cmk.key=file://$stranger");
cannot_run($dir, qr/error: .*\n(?:.*\n)*pg_cmk: hint: With --no-key/, 'without the key file', '-c', 'pg_cmk.key=file:///nonexistent.pem');
passes($dir, '... --no-key needs none', '--no-key', '-c', 'pg_cmk.key=file:///nonexistent.pem');
cannot_run('/nonexistent', qr/could not access directory/, 'no directory');

# ---- what is planted into a copy ----

my $n = 0;

# A copy of the stopped server with its own tablespace, changed by the function.
sub planted
{
	my ($change) = @_;
	my $copy = $node->basedir . '/copy' . ++$n;
	my ($link) = glob("$dir/pg_tblspc/*");
	my ($oid) = $link =~ /(\d+)$/;

	copy_tree($dir, $copy, qr{^pg_tblspc/\d+$});
	chmod 0700, $copy;
	symlink($ts, "$copy/pg_tblspc/$oid") or die "symlink: $!";
	$change->($copy, $oid);
	return $copy;
}

my $plain_page = read_bytes("$dir/$path{plain}", 0, PAGE_SIZE);

sub plants
{
	my ($name, $change, $findings, @args) = @_;
	my $copy = planted($change);
	my $result = finds($copy, $findings, $name, @args);

	system_or_bail('chmod', '-R', 'u+rwX', $copy);
	PostgreSQL::Test::Utils::system_log('rm', '-rf', $copy);
	return $result;
}

plants('a copy as it is', sub { }, []);
plants('a plain page in a sealed file',
	sub { write_bytes("$_[0]/$path{t}", 3 * PAGE_SIZE, $plain_page x 2) },
	["failure $path{t} 3-4: plain, in a file that is wholly sealed"]);
plants('a page of another relation',
	sub { write_bytes("$_[0]/$path{t}", 2 * PAGE_SIZE, read_bytes("$_[0]/$path{other}", 2 * PAGE_SIZE, PAGE_SIZE)) },
	["failure $path{t} 2: does not open: it is damaged, or sealed under another key"]);
plants('a page of another generation', sub {
	my $flags = unpack('v', read_bytes("$_[0]/$path{t}", PAGE_SIZE + 10, 2));
	write_bytes("$_[0]/$path{t}", PAGE_SIZE + 10, pack('v', $flags ^ 7 << 11));
}, ["failure $path{t} 1: sealed under a generation of the key that is not known"]);
plants('a flipped bit', sub { flip_byte("$_[0]/$path{u}", PAGE_SIZE + 5000) },
	["failure $path{u} 1: damaged: its checksum is wrong"]);
plants('... which is seen without the key', sub { flip_byte("$_[0]/$path{u}", PAGE_SIZE + 5000) },
	["failure $path{u} 1: damaged: its checksum is wrong"], '--no-key');

# A segment with sealed pages, which are not left over from another one.
my ($wal) = map { s/^\Q$dir\E\///r } grep {
	my ($log, $seg) = map { hex } m{/[0-9A-F]{8}([0-9A-F]{8})([0-9A-F]{8})$};
	my ($magic, $info, $tli, $low, $high) = unpack('vvVVV', read_bytes($_, 2 * PAGE_SIZE, 16));
	defined $seg && ($info & 0x8000) && $high == $log && $low == $seg * 16 * 1024 * 1024 + 2 * PAGE_SIZE
} grep { m{/[0-9A-F]{24}$} } wal_files("$dir/pg_wal");
plants('a plain page in sealed WAL', sub {
	my $info = unpack('v', read_bytes("$_[0]/$wal", 2 * PAGE_SIZE + 2, 2));
	write_bytes("$_[0]/$wal", 2 * PAGE_SIZE + 2, pack('v', $info & 0x07ff));
}, [ sprintf("failure $wal 2: plain, but WAL is sealed from %s on", (slurp_file("$dir/pg_cmk/root.json") =~ /"wal_from": "([^"]+)"/)[0]) ]);
plants('a page of WAL that is marked and not encrypted', sub {
	write_bytes("$_[0]/$wal", 2 * PAGE_SIZE + 16, 'a row in clear ' x 500);
}, ["failure $wal 2: marked as sealed, but it is not encrypted"]);
plants('... without the key', sub {
	write_bytes("$_[0]/$wal", 2 * PAGE_SIZE + 16, 'a row in clear ' x 500);
}, ["failure $wal 2: marked as sealed, but it is not encrypted"], '--no-key');
plants('a damaged page of WAL', sub { flip_byte("$_[0]/$wal", 2 * PAGE_SIZE + 20) },
	["failure $wal 2: does not open: it is damaged, or sealed under another key"]);

plants('a plain temporary file', sub {
	mkdir "$_[0]/base/pgsql_tmp";
	append_to_file("$_[0]/base/pgsql_tmp/pgsql_tmp1.0", 'a row in clear');
}, ['failure base/pgsql_tmp/pgsql_tmp1.0 0: plain']);
plants('a plain spill file, notifications, a file of shared memory', sub {
	append_to_file("$_[0]/pg_replslot/s/xid-1-lsn-0-1.spill", 'a row in clear' x 1000);
	append_to_file("$_[0]/pg_notify/0000", ('a payload in clear' x 456)[0]);
	append_to_file("$_[0]/pg_dynshmem/mmap.1", 'a row in clear');
}, [ 'failure pg_dynshmem/mmap.1 0: plain', 'failure pg_notify/0000 0-1: plain', 'failure pg_replslot/s/xid-1-lsn-0-1.spill 0-1: plain' ]);
plants('files that nobody knows', sub {
	append_to_file("$_[0]/export.csv", 'a row in clear');
	append_to_file("$_[0]/base/5/16384_x\n", 'x');
	append_to_file("$_[0]/pg_xact/copy", 'x');
	append_to_file("$_[0]/pg_wal/empty", '');
}, [ map { "notice $_: no rule knows this file" } 'base/5/16384_x\x0a', 'export.csv', 'pg_xact/copy' ]);
my $copy = planted(sub { append_to_file("$_[0]/export.csv", 'a row in clear') });
ok(scalar(grep { $_ eq 'failure export.csv: no rule knows this file' } @{ verify($copy, '-c', 'pg_cmk.scope=cluster')->{list} }),
	'... are a failure in scope cluster');
plants('links, and what cannot be read', sub {
	symlink('1', "$_[0]/base/9") or die;
	symlink('loop', "$_[0]/base/1/loop") or die;
	symlink('/etc/hostname', "$_[0]/extra.conf") or die;
	chmod 0, "$_[0]/$path{t}" or die;
	mkdir "$_[0]/pg_logical/closed", 0 or die;
	PostgreSQL::Test::Utils::system_log('mkfifo', "$_[0]/fifo");
}, [ sort { substr($a, 8) cmp substr($b, 8) }
	  'failure base/1/loop: is a symbolic link, which is not followed; what it leads to was not read',
	'failure base/9: is a symbolic link, which is not followed; what it leads to was not read',
	"failure $path{t}: could not be read: Permission denied",
	'failure fifo: is neither a file nor a directory',
	'failure pg_logical/closed: could not be read: Permission denied' ]);
plants('a tablespace that is away', sub {
	my ($c, $oid) = @_;
	unlink "$c/pg_tblspc/$oid" or die;
	symlink('/nonexistent', "$c/pg_tblspc/$oid") or die;
	symlink('77777', "$c/pg_tblspc/77777") or die;
}, [ 'failure pg_tblspc/' . ($path{moved} =~ m{/(\d+)/})[0] . ': could not be read: No such file or directory',
	  'failure pg_tblspc/77777: could not be read: Too many levels of symbolic links' ]);
plants('... or not mounted', sub {
	unlink "$_[0]/pg_tblspc/$_[1]" or die;
	symlink(PostgreSQL::Test::Utils::tempdir_short(), "$_[0]/pg_tblspc/$_[1]") or die;
}, [ 'failure pg_tblspc/' . ($path{moved} =~ m{/(\d+)/})[0] .
	  ': the tablespace has no directory "PG_15_202209061"; its files were not read' ]);
plants('... whose link is, too', sub { unlink "$_[0]/pg_tblspc/$_[1]" or die },
	[ 'failure pg_tblspc/' . ($path{moved} =~ m{/(\d+)/})[0] . ': the tablespace is not there; its files were not read' ]);
plants('a short file, and a huge one that is a hole', sub {
	my ($c) = @_;
	truncate "$c/$path{t}", 2 * PAGE_SIZE + 100 or die;
	append_to_file("$c/base/5/99999", '');
	truncate "$c/base/5/99999", 1024 * 1024 * 1024 * 1024 or die "truncate: $!";
}, ["notice $path{t} 2: not a whole page"]);
plants('a lost key record', sub {
	my $rec = find_record($_[0], relid_of_path($path{u}));
	write_bytes(keys_path($_[0]), $rec->{offset}, "\0" x RECORD_SIZE);
}, [ sprintf('failure %s%s: sealed, but no key is known for it', $path{u}, blocks_of("$dir/$path{u}")),
	init_fork($path{u}, 'sealed, but no key is known for it') ]);
plants('a changed key record', sub {
	my $rec = find_record($_[0], relid_of_path($path{u}));
	my $raw = $rec->{raw};
	substr($raw, 70, 1) ^= "\1";
	write_bytes(keys_path($_[0]), $rec->{offset}, fix_record_crc($raw));
}, [ 'failure pg_cmk/keys: the key record of relation ' . relid_of_path($path{u}) . ' does not open: it is damaged, or was changed',
	sprintf('failure %s%s: sealed, and its key record cannot be used', $path{u}, blocks_of("$dir/$path{u}")),
	init_fork($path{u}, 'sealed, and its key record cannot be used') ]);

sub relid_of_path
{
	my ($p) = @_;
	return join '/', 1663, $p =~ m{^base/(\d+)/(\d+)$};
}

sub blocks_of
{
	my ($file) = @_;
	my $pages = (-s $file) / PAGE_SIZE;

	return $pages > 1 ? ' 0-' . ($pages - 1) : ' 0';
}

# An empty table's init fork has no page.
sub init_fork
{
	my ($p, $what) = @_;
	return -s "$dir/${p}_init" ? "failure ${p}_init" . blocks_of("$dir/${p}_init") . ": $what" : ();
}

# The log is known by where it is, whatever links lead there.
$copy = planted(sub { mkdir "$_[0]/log" or die; append_to_file("$_[0]/log/server.log", 'a line') });
symlink($copy, $node->basedir . '/link') or die;
finds($copy, [], 'the log, by a path that leads through a link', '-c', 'log_directory=' . $node->basedir . '/link/log/');
finds($copy, [], '... by its own path', '-c', "log_directory=$copy/log");
finds($copy, ['notice log/server.log: no rule knows this file'], '... but not a directory that is no log',
	'-c', 'log_directory=' . $node->basedir . '/log');

$copy = planted(sub { PostgreSQL::Test::Utils::system_log('cp', $kek, "$_[0]/kek.pem"); chmod 0600, "$_[0]/kek.pem" });
ok(scalar(grep { $_ eq 'failure kek.pem: is the key that opens this cluster: who has the files has the key' }
		@{ verify($copy, '-c', "pg_cmk.key=file://$copy/kek.pem")->{list} }), 'a key among the files it protects');

$copy = planted(sub { });
foreach my $garbage ("{}", '', "\0" x 1000, '{"format": "pg_cmk root", "version": 1, ')
{
	write_file("$copy/pg_cmk/root.json", $garbage);
	cannot_run($copy, qr{pg_cmk/root\.json}, 'garbage in root.json', '--no-key');
}
unlink "$copy/pg_cmk/root.json";
cannot_run($copy, qr{pg_cmk/root\.json.*\n.*hint: Without this file nothing that is sealed can be opened}s, 'no root.json');
PostgreSQL::Test::Utils::system_log('cp', "$dir/pg_cmk/root.json", "$copy/pg_cmk/root.json");
write_file("$copy/pg_cmk/keys", 'garbage');
cannot_run($copy, qr{file "pg_cmk/keys" is not a file of keys\n.*Put the file back}s, 'garbage in the keys file');
$r = verify($copy, '--no-key');
is($r->{status}, 1, '... without the key all else is looked at');
is($r->{list}[0], 'failure pg_cmk/keys: file "pg_cmk/keys" is not a file of keys', '... and the file is named');
write_file("$copy/global/pg_control", 'garbage');
cannot_run($copy, qr{global/pg_control}, 'garbage in pg_control', '--no-key');

sub write_file
{
	my ($file, $content) = @_;

	unlink $file;
	append_to_file($file, $content);
	return;
}

# ---- base backups ----

$r = passes("$backups/fetch", 'a backup with -X fetch passes');
ok($r->{backup}, '... and is known to be one');
is($r->{of}{WAL}{plain_pages}, 0, '... with no plain WAL');
cmp_ok($r->{of}{'backup manifest'}{files}, '==', 1, '... and a manifest');

$r = passes("$backups/exec", 'so does one with -X stream that pg_cmk exec ran');
is($r->{of}{WAL}{plain_pages}, 0, '... with no plain WAL');

foreach my $scope ('tables', 'cluster')
{
	$r = verify("$backups/stream", '-c', "pg_cmk.scope=$scope");
	is($r->{status}, 1, "a backup with -X stream fails in scope $scope");
	ok(scalar(grep { m{^failure pg_wal/[0-9A-F]{24} 0(?:-\d+)?: plain, but WAL is sealed from } } @{ $r->{list} }),
		'... its WAL is named') or diag(join "\n", @{ $r->{list} });
	is(scalar(grep { !m{ pg_wal/} } @{ $r->{list} }), 0, '... and nothing else') if $scope eq 'tables';
}
like((run_verify("$backups/stream"))[1], qr/^hint: .*"pg_cmk exec -- pg_basebackup"/m, '... with a hint');
PostgreSQL::Test::Utils::system_log('rm', '-rf', "$backups/fetch/pg_tblspc");
mkdir "$backups/fetch/pg_tblspc", 0700;
append_to_file("$backups/fetch/tablespace_map", ($path{moved} =~ m{/(\d+)/})[0] . " $ts\n");
finds("$backups/fetch", [ 'failure pg_tblspc/' . ($path{moved} =~ m{/(\d+)/})[0] .
		': the tablespace is in tablespace_map, but not there; its files were not read' ],
	'a backup whose tablespaces are elsewhere');

# ---- after a crash ----

$node->start;
{
	my $session = $node->background_psql('postgres');

	$session->query_safe(q{SET work_mem = '64kB'; SET temp_buffers = '800kB';
		CREATE TEMP TABLE tmp AS SELECT g, repeat('y', 100) FROM generate_series(1, 30000) g;
		BEGIN; DECLARE c CURSOR FOR SELECT * FROM t ORDER BY v; FETCH 10 FROM c});
	$node->stop('immediate');
	eval { $session->quit };
}
$r = passes($dir, 'a crashed server passes');
cmp_ok($r->{of}{'temporary file'}{sealed_pages}, '>', 1, '... with a temporary file that is left');
cmp_ok($r->{of}{'temporary relation'}{sealed_pages}, '>', 10, '... and a temporary table');

# ---- a cluster without a key ----

my $bare = new_cmk_node('bare', kek => undef, extension => 0);
$bare->stop;
$r = passes($bare->data_dir, 'a cluster without a key has nothing to be sealed');
is($r->{of}{relation}{sealed_pages}, 0, '... and nothing is');
$r = verify($bare->data_dir, '-c', 'pg_cmk.scope=cluster');
is($r->{status}, 1, '... which scope cluster does not accept');
ok(scalar(grep { m{^failure pg_wal/[0-9A-F]{24} 0-\d+: plain: WAL is not sealed there$} } @{ $r->{list} }), '... nor its WAL');

# ---- scope cluster, while it is being sealed and then; a standby ----

my $full = new_cmk_node('cluster', allows_streaming => 1);
my $dir2 = $full->data_dir;
ok(wait_wal_sealed($full), 'WAL is sealed');
$full->safe_psql('postgres', q{CREATE TABLE big AS SELECT g, repeat(md5(g::text), 30) AS v FROM generate_series(1, 40000) g});
my $big = $full->safe_psql('postgres', "SELECT pg_relation_filepath('big')");
$full->append_conf('postgresql.conf', "pg_cmk.scope = 'cluster'\npg_cmk.seal_rate = 1\n");
$full->restart;
ok(wait_until('the job is at work',
		sub { CmkTest::page_counts("$dir2/$big")->{main}{sealed} > 0 || $full->safe_psql('postgres', q{SELECT count(*) FROM pg_class WHERE cmk.is_sealed(oid)}) > 0 }),
	'sealing has begun');
$full->stop;
$r = verify($dir2);
is($r->{status}, 1, 'a cluster in the middle of being sealed fails');
is($r->{scope}, 'cluster', '... the scope is that of its configuration');
cmp_ok($r->{of}{relation}{sealed_pages}, '>', 0, '... some pages are sealed');
cmp_ok($r->{of}{relation}{plain_pages}, '>', 0, '... and some are plain');
is_deeply(counted($r), counts_on_disk($dir2), '... as many as there are');
passes($dir2, '... as scope tables it passes', '-c', 'pg_cmk.scope=tables');

$full->append_conf('postgresql.conf', "pg_cmk.seal_rate = 0\n");
my $offset = -s $full->logfile;
$full->start;
ok(wait_until('all is sealed', sub { slurp_file($full->logfile, $offset) =~ /every relation file of the cluster is sealed/ }),
	'all is sealed in the end');
# Plain WAL from before goes with the checkpoints.
ok(wait_until('no WAL is plain', sub {
	$full->safe_psql('postgres', 'SELECT pg_switch_wal(); CHECKPOINT; SELECT cmk.revalidate()');
	wal_pages($full)->{plain} == 0 }), '... and WAL');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$full->command_ok([ 'pg_basebackup', '-D', $full->backup_dir . '/b', '-h', $full->host, '-p', $full->port,
		'--checkpoint', 'fast', '--no-sync', '-X', 'fetch' ], 'a backup');
passes($full->backup_dir . '/b', '... passes');
$standby->init_from_backup($full, 'b', has_streaming => 1);
$standby->start;
$full->safe_psql('postgres', q{CREATE TABLE more AS SELECT * FROM big; CREATE INDEX ON more (v); CHECKPOINT});
$full->wait_for_catchup($standby);
$standby->stop;
$full->stop;
foreach my $s ($full, $standby)
{
	my $d = $s->data_dir;

	$r = passes($d, $s->name . ' passes in scope cluster');
	is($r->{of}{$_}{plain_pages}, 0, "... no page is plain: $_") foreach 'relation', 'WAL';
	is($r->{of}{unknown}{files}, 0, '... and no file unknown');
}
append_to_file("$dir2/base/notes.txt", 'a row in clear');
write_bytes("$dir2/$big", 0, $plain_page);
finds($dir2, [ "failure $big 0: plain, in a file that is wholly sealed", 'failure base/notes.txt: no rule knows this file' ],
	'what is planted there is found');

# ---- the documentation ----

my $coverage = slurp_file("$FindBin::RealBin/../docs/coverage.md");
my %documented;
foreach my $line (split /\n/, $coverage)
{
	$documented{$1} = $2 if $line =~ /^\| `([^`]+)` \|.*?\| (sealed|clear|refused|unknown)\b[^|]*\|/;
}
is_deeply(\%documented, { map { $_->{kind} => $_->{meant_to_be} } @{ $r->{kinds} } },
	'docs/coverage.md has the kinds of files that the command knows, and what each is meant to be');

done_testing();
