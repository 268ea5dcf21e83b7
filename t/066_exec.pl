
# pg_cmk exec: base backups of which the WAL is sealed, by whatever way it came, and
# their verification.  The same tools without it are the control: what they stream
# holds the rows in clear.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use File::Path qw(rmtree);
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $marker = new_marker();

# The command by which a tool runs under pg_cmk exec, with that data directory.
sub under_exec
{
	my ($dir, @tool) = @_;
	return ('pg_cmk', 'exec', '-D', ref $dir ? $dir->data_dir : $dir, '--', @tool);
}

# Runs a command; its exit status, and what it said.
sub run_tool
{
	my (@cmd) = @_;
	my $out = '';
	my $h = IPC::Run::start(\@cmd, '<', \undef, '>&', \$out,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));

	$h->finish;
	return ($? >> 8, $out);
}

# pg_basebackup into that directory, under pg_cmk exec with the data directory $exec unless
# that is undef.  It is stopped while it copies files, and rows are written, so that there is
# WAL of the backup's own time, and a segment that is full.  Its exit status.
sub backup_with_rows
{
	my ($node, $exec, $dir, @more) = @_;
	my $out = '';
	my @tool = ('pg_basebackup', '-D', $dir, '-c', 'fast', '--max-rate=10M', '--no-sync',
		'-d', $node->connstr('postgres'), @more);
	my $h = IPC::Run::start([ defined $exec ? under_exec($exec, @tool) : @tool ],
		'<', \undef, '>&', \$out, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));

	until (-e "$dir/backup_label" || -e "$dir/base.tar" || !$h->pumpable)
	{
		$h->pump_nb;
		usleep(10_000);
	}
	$h->signal('STOP');
	foreach (1 .. 2)
	{
		$node->safe_psql('postgres',
			qq{INSERT INTO t SELECT g, '$marker' || g FROM generate_series(1, 1000) g});
		$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
	}
	$h->signal('CONT');
	$h->finish;
	diag($out) if $?;
	return $? >> 8;
}

sub rows
{
	my ($node) = @_;
	return $node->safe_psql('postgres', "SELECT count(*) FROM t WHERE v LIKE '$marker%'");
}

# No row in clear in it, and every page of its WAL is sealed.
sub is_sealed_backup
{
	my ($dir, $what) = @_;
	my $pages = wal_pages("$dir/pg_wal");

	is_deeply([ marker_files($dir, $marker), wal_marker_files("$dir/pg_wal", $marker) ], [],
		"$what: no row in clear");
	is($pages->{plain} + $pages->{other}, 0, '... no page of WAL is plain')
	  or diag("@{ $pages->{where} }");
	cmp_ok($pages->{sealed}, '>', 0, '... and some are sealed');
}

# A server started from it, which accepts no plain WAL, has at least that many rows.
sub starts_with
{
	my ($dir, $least, $what) = @_;
	our $n;
	my $copy = PostgreSQL::Test::Cluster->new('copy' . ++$n);

	copy_tree($dir, $copy->data_dir);
	$copy->append_conf('postgresql.conf', 'port = ' . $copy->port . "\narchive_mode = off\n"
		  . "unix_socket_directories = '" . $copy->host . "'\npg_cmk.accept_plain_wal = off\n");
	$copy->start;
	cmp_ok(rows($copy), '>=', $least, "$what: a server starts from it and has the rows");
	is($copy->safe_psql('postgres', 'SELECT count(*) FROM t WHERE v IS NULL'), 0, '... all of them');
	$copy->stop;
	$copy->clean_node;
	return;
}

foreach my $mb (1, 16)
{
	my $node = new_cmk_node("main$mb", allows_streaming => 1, checksums => 1,
		initdb => ["--wal-segsize=$mb"], conf => "wal_keep_size = '256MB'\n");
	my $base = $node->backup_dir;
	my ($status, $out);

	mkdir $base;
	ok(wait_wal_sealed($node), "segments of $mb MB: WAL is sealed");
	$node->safe_psql('postgres', 'CREATE TABLE t (id int, v text) USING cmk_heap');

	# -X stream, the default

	$status = backup_with_rows($node, undef, "$base/plain");
	is($status, 0, 'pg_basebackup alone');
	cmp_ok(scalar wal_marker_files("$base/plain/pg_wal", $marker), '>', 0, '... brings rows in clear');

	my $least = rows($node);
	$status = backup_with_rows($node, $node, "$base/stream");
	is($status, 0, 'pg_basebackup -X stream');
	is_sealed_backup("$base/stream", '-X stream');
	my ($whole) = grep { -e "$base/stream/pg_wal/archive_status/$_.done" }
	  map { s/.*\///r } wal_files("$base/stream/pg_wal");
	ok(-s "$base/stream/pg_wal/$whole" == $mb * 1024 * 1024
		  && slurp_file("$base/stream/pg_wal/$whole") eq slurp_file($node->data_dir . "/pg_wal/$whole"),
		"... segment $whole is what the server has");
	starts_with("$base/stream", $least + 2000, '-X stream');

	# Its verification

	($status, $out) = run_tool('pg_verifybackup', "$base/stream");
	isnt($status, 0, 'pg_verifybackup alone cannot read its WAL');
	($status, $out) = run_tool(under_exec($node, 'pg_verifybackup', "$base/stream"));
	is($status, 0, 'pg_cmk exec makes it') or diag($out);
	($status, $out) = run_tool(under_exec("$base/stream", 'pg_verifybackup', "$base/stream"));
	is($status, 0, '... also with the backup itself for a data directory') or diag($out);
	flip_byte("$base/stream/pg_wal/$whole", PAGE_SIZE + 100);
	($status, $out) = run_tool(under_exec($node, 'pg_verifybackup', "$base/stream"));
	isnt($status, 0, '... and finds a damaged byte of WAL');
	like($out, qr/WAL parsing failed/, '... which it says');
	flip_byte("$base/stream/pg_wal/$whole", PAGE_SIZE + 100);
	my $relation = $node->safe_psql('postgres', q{SELECT pg_relation_filepath('t')});
	flip_byte("$base/stream/$relation", 100);
	($status, $out) = run_tool(under_exec($node, 'pg_verifybackup', "$base/stream"));
	isnt($status, 0, '... and one of a table');
	like($out, qr/checksum mismatch for file "\Q$relation\E"/, '... which it says');

	# With the WAL elsewhere

	$least = rows($node);
	$status = backup_with_rows($node, $node, "$base/waldir", '--waldir', "$base/wal");
	is($status, 0, 'pg_basebackup --waldir');
	is_deeply([ wal_marker_files("$base/wal", $marker) ], [], '... no row in clear');
	cmp_ok(wal_pages("$base/wal")->{sealed}, '>', 0, '... but sealed pages');
	unlink "$base/waldir/pg_wal";
	($status, $out) = run_tool(under_exec($node, 'pg_verifybackup', '-w', "$base/wal", "$base/waldir"));
	is($status, 0, 'pg_verifybackup --wal-directory') or diag($out);

	# -X fetch brings WAL as it is on the server's disk

	$least = rows($node);
	$status = backup_with_rows($node, $node, "$base/fetch", '-X', 'fetch');
	is($status, 0, 'pg_basebackup -X fetch');
	is_sealed_backup("$base/fetch", '-X fetch');
	($status, $out) = run_tool(under_exec($node, 'pg_verifybackup', "$base/fetch"));
	is($status, 0, '... is verified') or diag($out);
	starts_with("$base/fetch", $least + 2000, '-X fetch');

	# Forms in which WAL cannot be sealed: refused, and nothing is left

	foreach my $more ([], ['-z'])
	{
		($status, $out) = run_tool(under_exec($node, 'pg_basebackup', '-D', "$base/tar", '-Ft', @$more,
			'-c', 'fast', '--no-sync', '-d', $node->connstr('postgres')));
		isnt($status, 0, join(' ', 'pg_basebackup -Ft -X stream', @$more, 'is refused'));
		like($out, qr/pg_wal\.tar[.gz]*" would hold streamed WAL in clear\n.*hint: .*--wal-method=fetch/, '... with the reason');
		ok(!-e "$base/tar", '... and nothing is left');
	}
	foreach my $method ('fetch', 'none')
	{
		$status = backup_with_rows($node, $node, "$base/tar", '-Ft', '-X', $method);
		is($status, 0, "pg_basebackup -Ft -X $method");
		is_deeply([ marker_files("$base/tar", $marker) ], [], '... no row in clear');
		rmtree("$base/tar");
	}

	# A data directory without the key, or of another cluster

	my $other = make_kek($node->basedir . '/other.pem');
	($status, $out) = run_tool('pg_cmk', 'exec', '-D', $node->data_dir, '-c', "pg_cmk.key=file://$other", '--',
		'pg_basebackup', '-D', "$base/none", '-d', $node->connstr('postgres'));
	is($status, 1, 'with another key nothing is begun');
	ok(!-e "$base/none", '... nothing written');
	like($out, qr/no recipient/, '... and it says why');

	$node->stop;
	rmtree($base);
}

# Another cluster's data directory, and a server that does not seal its WAL

my $node = new_cmk_node('unsealed', allows_streaming => 1, conf => "pg_cmk.seal_wal = off\n");
my $other = new_cmk_node('other');
my $base = $node->backup_dir;
my ($status, $out);

mkdir $base;
$other->stop;
$node->safe_psql('postgres', 'CREATE TABLE t (id int, v text) USING cmk_heap');
($status, $out) = run_tool(under_exec($other, 'pg_basebackup', '-D', "$base/other",
	'-c', 'fast', '--no-sync', '-d', $node->connstr('postgres')));
isnt($status, 0, 'a data directory of another cluster is refused');
like($out, qr/would get WAL of another cluster/, '... with the reason');
ok(!-e "$base/other", '... and nothing is left');

foreach my $method ('stream', 'fetch')
{
	my $least = rows($node);

	$status = backup_with_rows($node, undef, "$base/plain$method", '-X', $method);
	is($status, 0, "a server that does not seal WAL: pg_basebackup -X $method alone");
	cmp_ok(scalar wal_marker_files("$base/plain$method/pg_wal", $marker), '>', 0, '... brings rows in clear');
	$least = rows($node);
	$status = backup_with_rows($node, $node, "$base/$method", '-X', $method);
	is($status, 0, '... and not under pg_cmk exec');
	is_sealed_backup("$base/$method", "-X $method");
	($status, $out) = run_tool(under_exec($node, 'pg_verifybackup', "$base/$method"));
	is($status, 0, '... is verified') or diag($out);
	starts_with("$base/$method", $least + 2000, "-X $method");
}

# A core dump of the tool would have the key schedules.  A limit of 0 does not stop a dump
# that core_pattern pipes to a program; then the process must not be dumpable at all, and
# by that /proc shows it as root's.
mkdir "$base/received";
foreach my $limit ('unlimited', '0')
{
	my ($said, $pid) = ('');
	my $h = IPC::Run::start(
		[
			'sh', '-c', "ulimit -c $limit 2>/dev/null; exec \"\$@\"", 'sh',
			under_exec($node, 'pg_receivewal', '--no-loop', '-D', "$base/received",
				'-d', $node->connstr('postgres') . ' application_name=receiver')
		],
		'<', \undef, '>&', \$said, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));

	ok( wait_until(
			'the tool runs',
			sub {
				$h->pump_nb;
				$pid = $h->{KIDS}[0]{PID};
				return $node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_replication WHERE application_name = 'receiver'}) eq 1;
			}),
		"a tool under ulimit -c $limit") or diag($said);
	my ($soft, $hard) = slurp_file("/proc/$pid/limits") =~ /^Max core file size\s+(\S+)\s+(\S+)/m;
	my $owner = (stat("/proc/$pid/environ"))[4];
	ok("$soft $hard" eq '1 1' || $owner == 0, '... leaves no core dump')
	  or diag("limits $soft $hard, /proc is of user $owner");
	$h->signal('INT');
	$h->finish;
	$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_replication WHERE application_name = 'receiver'});
}
$node->stop;

done_testing();
