# An encrypted table from CREATE to restart, and every way to start the server.
#
# The seam comes into the process by re-executing the server in place, so what
# could go wrong lies in how the server was called: relative paths, which mean
# something else once it has changed directory, the environment, and the pid
# that pg_ctl waits for.  Each way of starting is followed by the same questions:
# is the seam there, are the old rows readable, does a new table come out sealed?

use strict;
use warnings;

use Cwd qw(getcwd);
use POSIX ();
use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cmk_node('main', allows_streaming => 1);
my $marker = new_marker();
my $dir = $node->data_dir;
my $basedir = $node->basedir;
my $bindir = $node->config_data('--bindir');

# A cluster at work

ok(wait_wal_sealed($node), 'WAL is sealed soon after the first start');

like($node->safe_psql('postgres', 'SELECT state, reason FROM cmk.status'),
	qr/^Ready\|/, 'the state is Ready');
is( $node->safe_psql(
		'postgres', q{
		SELECT count(*), min(scope), bool_or(wal_sealed),
			min(key_url) = current_setting('pg_cmk.key'), min(root_id) > 0,
			bool_and(since <= now())
		FROM cmk.status}),
	'1|tables|t|t|t|t',
	'cmk.status has one row that tells what is configured');

$node->safe_psql('postgres',
	"CREATE EXTENSION amcheck; "
	  . "CREATE TABLE plain (id int PRIMARY KEY, v text) USING heap; "
	  . "INSERT INTO plain SELECT g, 'plain$marker' FROM generate_series(1, 100) g; "
	  . "CREATE TABLE t (id int PRIMARY KEY, v text, big text) USING cmk_heap; "
	  . "ALTER TABLE t ALTER big SET STORAGE EXTERNAL; "
	  . "INSERT INTO t SELECT g, '$marker' || g, repeat('$marker', 500) "
	  . "FROM generate_series(1, 100) g; "
	  . 'CREATE INDEX ON t (v); CHECKPOINT');
is_deeply([ marker_files($node, "plain$marker") ],
	[ $node->safe_psql('postgres', q{SELECT pg_relation_filepath('plain')}) ],
	'the rows of a plain table are found on disk, so the search can fail');
$node->safe_psql('postgres', 'DROP TABLE plain; CHECKPOINT');
is_deeply([ marker_files($node, $marker) ],
	[], 'the rows of the sealed one are not');
is(sealed_faults($node, 'postgres', 't'), '', 'all its pages are sealed');
is( $node->safe_psql(
		'postgres', q{
		SELECT count(*), bool_and(sealed), bool_and(created <= now()), min(generation) >= 0
		FROM cmk.relations
		WHERE relation IN ('t'::regclass, 't_pkey'::regclass, 't_v_idx'::regclass)}
	),
	'3|t|t|t',
	'cmk.relations lists the table and its indexes');

my $mode = sprintf '%04o', (stat "$dir/pg_cmk/root.json")[2] & 07777;
is($mode, '0600', 'root.json is for the server alone');
$mode = sprintf '%04o', (stat keys_path($node))[2] & 07777;
is($mode, '0600', 'the keys file is for the server alone');

$node->restart;
check_server('after a restart');
$node->stop('immediate');
$node->start;
check_server('after crash recovery');

# The environment of children, and the re-execution itself

my $environment = 'CREATE TEMP TABLE e (l text); '
  . q{COPY e FROM PROGRAM 'env' (DELIMITER E'\x01'); }
  . q{SELECT l FROM e WHERE l ~ 'LD_PRELOAD|CMK' ORDER BY l};

is($node->safe_psql('postgres', $environment),
	'', 'children of the server do not inherit the seam');
my $pid = slurp_file("$dir/postmaster.pid") =~ /^(\d+)$/m ? $1 : 0;
like(slurp_file("/proc/$pid/maps"),
	qr/pg_cmk_seam\.so/, 'the seam is in the postmaster');
unlike(slurp_file("/proc/$pid/maps"),
	qr/libanl/, '(libanl is not, which the next test loads)');
$node->stop;

my ($libanl) = grep { -e } glob('/lib/*/libanl.so.1'),
  glob('/usr/lib/*/libanl.so.1'), '/lib64/libanl.so.1';

SKIP:
{
	skip 'no harmless library to preload found', 5 unless defined $libanl;

	my $archived = "$basedir/archive_env";

	$node->append_conf('postgresql.conf',
		    "archive_mode = on\n"
		  . "archive_command = 'env >$archived.tmp && mv $archived.tmp $archived'\n"
	);
	{
		local $ENV{LD_PRELOAD} = $libanl;
		$node->start;
	}
	$pid = slurp_file("$dir/postmaster.pid") =~ /^(\d+)$/m ? $1 : 0;
	like(slurp_file("/proc/$pid/maps"),
		qr/libanl/, 'an LD_PRELOAD that was set keeps its effect');
	is($node->safe_psql('postgres', $environment),
		"LD_PRELOAD=$libanl", 'children see the old LD_PRELOAD');
	$node->safe_psql('postgres',
		'CREATE TABLE seg (i int); SELECT pg_switch_wal(); DROP TABLE seg');
	ok(wait_until('WAL is archived', sub { -e $archived }), 'WAL is archived');
	is( join(',',
			grep { /LD_PRELOAD|CMK/ } split /\n/, slurp_file($archived)),
		"LD_PRELOAD=$libanl",
		'and the archive command sees the old LD_PRELOAD, too');
	check_server('with an LD_PRELOAD of its own');
	$node->stop;
	$node->append_conf('postgresql.conf', 'archive_mode = off');
}

# How the server can be called.  pg_ctl is not used here but for the one test of
# it: the pid must be that of the process that was started.

my $conf = "$basedir/conf";
mkdir $conf;
foreach my $file ('postgresql.conf', 'pg_hba.conf', 'pg_ident.conf')
{
	append_to_file("$conf/$file", slurp_file("$dir/$file"));
}
append_to_file("$conf/postgresql.conf",
	    "data_directory = '$dir'\n"
	  . "hba_file = '$conf/pg_hba.conf'\n"
	  . "ident_file = '$conf/pg_ident.conf'\n");
mkdir "$basedir/relconf";
append_to_file("$basedir/relconf/postgresql.conf",
	    slurp_file("$dir/postgresql.conf")
	  . "data_directory = 'pgdata'\n"
	  . "hba_file = 'conf/pg_hba.conf'\n"
	  . "ident_file = 'conf/pg_ident.conf'\n");

foreach my $way (
	[ 'absolute -D',            $basedir, {}, '-D', $dir ],
	[ 'relative -D',            $basedir, {}, '-D', 'pgdata' ],
	[ '-D with dots',           $conf,    {}, '-D', '../conf/../pgdata/' ],
	[ '-Dpgdata in one word',   $basedir, {}, '-Dpgdata' ],
	[ '-D .',                   $dir,     {}, '-D', '.' ],
	[ 'absolute PGDATA',        '/',      { PGDATA => $dir } ],
	[ 'relative PGDATA',        $basedir, { PGDATA => 'pgdata' } ],
	[ '-D names a configuration directory', $basedir, {}, '-D', 'conf' ],
	[ 'absolute config_file', '/', {}, '-c', "config_file=$conf/postgresql.conf" ],
	[ 'relative config_file', $basedir, {}, '-c', 'config_file=conf/postgresql.conf' ],
	[ 'relative --config-file', $basedir, {}, '--config-file=conf/postgresql.conf' ],
	[ '-D and a relative config_file', $basedir, {}, '-D', 'pgdata', '-c',
		'config_file=conf/postgresql.conf' ],
	[ 'relative names inside a relative config_file', $basedir, {}, '-c',
		'config_file=relconf/postgresql.conf' ],
	[ 'relative data_directory and hba_file as options', $basedir, {},
		'--config_file=conf/postgresql.conf', '-c', 'data_directory=pgdata',
		'-c', 'hba_file=conf/pg_hba.conf' ])
{
	my ($name, $cwd, $env, @args) = @$way;

	run_directly($name, $cwd, $env, @args);
}

# By its relative name, found through argv[0], and with the name of the link that
# some installations use.
run_directly('a relative program name', $bindir, {}, { program => './postgres' },
	'-D', $dir);

# Single-user mode, and what else the postgres program can do

foreach my $single (
	[ 'absolute', $basedir, $dir ],
	[ 'relative', $basedir, 'pgdata' ])
{
	my ($name, $cwd, $d) = @$single;
	my ($out, $err) = ('', '');
	my $sql = "SELECT count(*) AS rows FROM t WHERE v LIKE '$marker%'\n"
	  . "CREATE TABLE single_$name (v text) USING cmk_heap\n"
	  . "INSERT INTO single_$name VALUES ('${marker}single')\n"
	  . "CHECKPOINT\n";
	my $old = getcwd();

	chdir $cwd;
	IPC::Run::run([ "$bindir/postgres", '--single', '-D', $d, 'postgres' ],
		'<', \$sql, '>', \$out, '2>', \$err);
	chdir $old;
	like($out, qr/rows = "100"/, "postgres --single reads rows ($name -D)")
	  or diag($err);
	is_deeply([ marker_files($node, $marker) ],
		[], "and writes sealed ones ($name -D)");
}

# A process that believes it was re-executed, but has no seam: the loader may have
# its reasons to ignore LD_PRELOAD.  It must neither go on nor try for ever.
{
	my ($out, $err) = ('', '');
	local $ENV{PG_CMK_REEXECUTED} = '1';
	ok( !IPC::Run::run(
			[ "$bindir/postgres", '-D', $dir ], '<', '/dev/null', '>', \$out,
			'2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default)),
		'without the seam the server does not start');
	like($err, qr/FATAL:.*pg_cmk_seam|FATAL:.*seam/s, '... and says so');
}

{
	my ($out, $err) = ('', '');

	IPC::Run::run(
		[ "$bindir/postgres", '-D', $dir, '-C', 'shared_memory_size' ],
		'>', \$out, '2>', \$err);
	like($out, qr/^\d+$/, 'postgres -C of a computed setting works')
	  or diag($err);
}

# Debian's own tool

SKIP:
{
	my ($ctl) = grep { -x } map { "$_/pg_ctlcluster" } split /:/, $ENV{PATH};
	skip 'pg_ctlcluster is not installed', 4 unless defined $ctl;
	skip 'pg_ctlcluster would hand over to systemd', 4
	  if $> == 0;

	my $etc = "$basedir/etc";
	my $version = $node->pg_version->major;
	my $cluster = "$etc/$version/cmk";
	my $run = "$basedir/ctlcluster.pid";

	# What pg_createcluster would have made: it is not called, since it reserves
	# a port that other tests may use at the same time.
	mkdir $_ foreach $etc, "$etc/$version", $cluster;
	append_to_file("$cluster/postgresql.conf",
		    slurp_file("$conf/postgresql.conf")
		  . "hba_file = '$cluster/pg_hba.conf'\n"
		  . "ident_file = '$cluster/pg_ident.conf'\n"
		  . "external_pid_file = '$run'\n");
	append_to_file("$cluster/pg_hba.conf", slurp_file("$dir/pg_hba.conf"));
	append_to_file("$cluster/pg_ident.conf", slurp_file("$dir/pg_ident.conf"));
	append_to_file("$cluster/start.conf", "manual\n");
	append_to_file("$cluster/pg_ctl.conf", "pg_ctl_options = ''\n");
	symlink $node->logfile, "$cluster/log";

	local $ENV{PG_CLUSTER_CONF_ROOT} = $etc;
	my ($out, $err);
	my $ok = IPC::Run::run([ $ctl, $version, 'cmk', 'start' ],
		'<', \'', '>', \$out, '2>', \$err);
	ok($ok, 'pg_ctlcluster starts the server') or diag($err);
	$node->_update_pid(-1);
	check_server('under pg_ctlcluster') if $ok;
	ok( IPC::Run::run([ $ctl, $version, 'cmk', 'stop' ],
			'>', \$out, '2>', \$err),
		'pg_ctlcluster stops it') or diag($err);
	$node->_update_pid(-1);
}

# A dump keeps the access method.

$node->start;
my $dump = "$basedir/dump.sql";
$node->command_ok([ 'pg_dump', '-f', $dump, 'postgres' ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
$node->command_ok(
	[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, 'restored' ],
	'its restoration');
unlink $dump;
$node->safe_psql('restored', 'CHECKPOINT');
is(sealed_faults($node, 'restored', 't'), '', 'a restored table is sealed');
is($node->safe_psql('restored', "SELECT count(*) FROM t WHERE v LIKE '$marker%'"),
	'100', '... with its rows');
is_deeply([ marker_files($node, $marker) ], [], '... and no plain text is on disk');
$node->safe_psql('postgres', 'DROP DATABASE restored');
$node->stop;

# The extension can go and come back, as long as no table needs it.

$node->start;
my ($ret, $out, $err) = $node->psql('postgres', 'DROP EXTENSION pg_cmk');
isnt($ret, 0, 'the extension cannot be dropped while tables use cmk_heap');
is($node->safe_psql('postgres', "SELECT count(*) FROM t WHERE v LIKE '$marker%'"),
	'100', 'whose rows are there');
is(index_faults($node, 'postgres'), '', 'and the indexes agree with the rows');
$node->stop;

done_testing();

# The questions that are asked of a running server.
sub check_server
{
	my ($when) = @_;
	my $table = 'n' . new_marker();
	my ($ret, $out, $err) = $node->psql(
		'postgres',
		"SELECT count(*) FROM t WHERE v LIKE '$marker%' AND big LIKE '%$marker'; "
		  . "SET enable_seqscan = off; SELECT id FROM t WHERE v = '${marker}7'; "
		  . "CREATE TABLE $table USING cmk_heap AS SELECT '$marker' AS v; "
		  . 'CHECKPOINT');
	my @faults;

	push @faults, "psql: $out $err" if $ret != 0 || $out ne "100\n7";
	push @faults, 'plain text in ' . join(', ', marker_files($node, $marker))
	  if marker_files($node, $marker);
	push @faults, sealed_faults($node, 'postgres', 't', $table) || ();
	is(join("\n", @faults), '', "old rows and new ones are there, sealed, $when");
	$node->psql('postgres', "DROP TABLE $table");
	return;
}

# Runs the postgres program itself, checks and stops the server.
sub run_directly
{
	my ($name, $cwd, $env, @args) = @_;
	my $program = ref $args[0] ? (shift @args)->{program} : "$bindir/postgres";
	my $child;

	local %ENV = $node->_get_env(PGAPPNAME => undef, %$env);
	$child = fork();
	die "fork: $!" unless defined $child;
	if ($child == 0)
	{
		chdir $cwd or POSIX::_exit(97);
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>>', $node->logfile);
		open(STDERR, '>>', $node->logfile);
		exec { $program } $program, @args or POSIX::_exit(98);
	}

	my $up = wait_until(
		"the server is up ($name)",
		sub {
			return 1 if waitpid($child, POSIX::WNOHANG()) == $child;
			return hears($node) eq '';
		})
	  && kill(0, $child);
	ok($up, "server starts with $name");
	return unless $up;

	is( (split /\n/, slurp_file("$dir/postmaster.pid"))[0],
		$child, "... keeps its pid");
	check_server("with $name");
	kill 'INT', $child;
	waitpid($child, 0);
	is($?, 0, "... and stops");
	return;
}
