# What a user meets who has set something up wrongly: a clear error, before any
# harm is done, and a server that works once the cause is gone.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Runs SQL that must fail; returns its error with SQLSTATE, detail and hint.
sub error_of
{
	my ($node, $sql) = @_;
	my ($ret, $out, $err) = $node->psql(
		'postgres', "\\set VERBOSITY verbose\n$sql",
		on_error_stop => 1);

	return $ret == 0 ? "no error: $out" : $err;
}

# The extension without the library preloaded

my $node = new_cmk_node('errors', preload => 0, extension => 0);
my $err = error_of($node, 'CREATE EXTENSION pg_cmk');
like($err, qr/shared_preload_libraries/,
	'CREATE EXTENSION without preloading says what to set');
like($err, qr/55000/, '... with SQLSTATE 55000');
is( $node->safe_psql(
		'postgres',
		q{SELECT count(*) FROM pg_extension WHERE extname = 'pg_cmk'}),
	'0',
	'... and leaves nothing behind');
is($node->safe_psql('postgres', 'SELECT 1'), '1', '... and the server up');
ok(!-e $node->data_dir . '/pg_cmk/root.json', '... and no root key made');

# Preloaded without a key

$node->append_conf('postgresql.conf', cmk_conf(undef));
$node->restart;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_cmk');
is($node->safe_psql('postgres', 'SELECT state FROM cmk.status'),
	'Unconfigured', 'without a key the state is Unconfigured');
$node->safe_psql('postgres',
	'CREATE TABLE plain (id int PRIMARY KEY) USING heap; INSERT INTO plain VALUES (1)'
);
foreach my $sql (
	'CREATE TABLE t (id int) USING cmk_heap',
	'CREATE TABLE t USING cmk_heap AS SELECT 1 AS id',
	'CREATE UNLOGGED TABLE t (id int) USING cmk_heap',
	'CREATE MATERIALIZED VIEW t USING cmk_heap AS SELECT 1 AS id',
	'ALTER TABLE plain SET ACCESS METHOD cmk_heap')
{
	$err = error_of($node, $sql);
	like($err, qr/55000.*pg_cmk\.key/s,
		"without a key there is no sealed table: $sql");
}
is($node->safe_psql('postgres', q{SELECT to_regclass('t') IS NULL}),
	't', '... and none is left behind');
is($node->safe_psql('postgres', 'SELECT cmk.is_sealed($$plain$$), * FROM plain'),
	'f|1', '... and plain ones are as they were');
ok(!-e $node->data_dir . '/pg_cmk/root.json', '... and no root key is made');

# Key files that are refused.  The server has no root yet, so that all it could
# do wrong is to make one.

my $dir = $node->basedir;
my $good = make_kek("$dir/good.pem");
my $other = make_kek("$dir/other.pem");

sub openssl
{
	system_or_bail('openssl', @_);
	return;
}

make_kek("$dir/small.pem",     1024);
make_kek("$dir/open_all.pem");
chmod 0644, "$dir/open_all.pem";
make_kek("$dir/open_group.pem");
chmod 0660, "$dir/open_group.pem";
make_kek("$dir/unreadable.pem");
chmod 0000, "$dir/unreadable.pem";
openssl('genpkey', '-quiet', '-algorithm', 'EC', '-pkeyopt',
	'ec_paramgen_curve:P-256', '-out', "$dir/ec.pem");
openssl('pkey', '-in', $good, '-pubout', '-out', "$dir/public.pem");
openssl('pkey', '-in', $good, '-aes256', '-passout', 'pass:secret', '-out',
	"$dir/encrypted.pem");
openssl('rsa', '-in', $good, '-traditional', '-aes256', '-passout',
	'pass:secret', '-out', "$dir/encrypted_old.pem");
append_to_file("$dir/garbage.pem",   "this is no key\n");
append_to_file("$dir/empty.pem",     '');
append_to_file("$dir/truncated.pem", substr(slurp_file($good), 0, 700));
mkdir "$dir/directory.pem";
chmod 0600, map { "$dir/$_.pem" }
  qw(small ec public encrypted encrypted_old garbage empty truncated);

my @bad = (
	[ 'missing'       => qr/No such file|does not exist|missing/i ],
	[ 'small'         => qr/1024|small|2048/ ],
	[ 'open_all'      => qr/permission|access|0600/i ],
	[ 'open_group'    => qr/permission|access|0600/i ],
	[ 'ec'            => qr/RSA/ ],
	[ 'public'        => qr/private|PEM/i ],
	[ 'encrypted'     => qr/encrypted|passphrase|password/i ],
	[ 'encrypted_old' => qr/encrypted|passphrase|password/i ],
	[ 'garbage'       => qr/PEM|private key/i ],
	[ 'empty'         => qr/PEM|private key|empty/i ],
	[ 'truncated'     => qr/PEM|private key/i ],
	[ 'directory'     => qr/file|directory/i ],);
push @bad, [ 'unreadable' => qr/permission denied/i ] if $> != 0;

$node->stop;
$node->append_conf('postgresql.conf', "pg_cmk.key = ''");
foreach my $case (@bad)
{
	my ($name, $why) = @$case;

	$node->adjust_conf('postgresql.conf', 'pg_cmk.key',
		"'file://$dir/$name.pem'");
	my ($failed, $log) = start_fails($node);
	ok($failed, "the server does not start with a bad key file: $name");
	my ($fatal) = $log =~ /(FATAL:.*)/s;
	$fatal = '' unless defined $fatal;
	like($fatal, qr/\Q$dir\E\/$name\.pem/, '... it names the file');
	like($fatal, $why, '... and says what is wrong with it');
	unlike($log, qr/PRIVATE KEY-----/, '... without its content');
}
foreach my $url (
	'/etc/kek.pem', 'file://relative.pem',
	'ftp://host/kek.pem', 'file://', 'nonsense')
{
	$node->adjust_conf('postgresql.conf', 'pg_cmk.key', "'$url'");
	my ($failed, $log) = start_fails($node);
	ok($failed, "the server does not start with a key named \"$url\"");
	like($log, qr/FATAL:.*\Q$url\E/s, '... and names it');
}
ok(!-e $node->data_dir . '/pg_cmk/root.json',
	'none of them made a root key');

$node->adjust_conf('postgresql.conf', 'pg_cmk.key', "'file://$good'");
$node->append_conf('postgresql.conf', "pg_cmk.scope = 'everything'");
my ($failed, $log) = start_fails($node);
ok($failed,
	'the server does not go on with less than was asked for: an unknown scope');
like($log, qr/FATAL:.*pg_cmk\.scope/s, '... and names the setting');
$node->adjust_conf('postgresql.conf', 'pg_cmk.scope', "'tables'");

# The right key makes it work, and what was plain stays readable.

$node->start;
is($node->safe_psql('postgres', 'SELECT state FROM cmk.status'),
	'Ready', 'with a good key the state is Ready');
$node->safe_psql('postgres',
	'CREATE TABLE t (id int, v text) USING cmk_heap; INSERT INTO t SELECT g, $$row$$ || g FROM generate_series(1, 100) g; CHECKPOINT'
);
is( $node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM t), * FROM plain'),
	'100|1', 'sealed and plain tables live side by side');

# Another KEK, or none, for a cluster that has sealed tables

$node->stop;
my $root = slurp_file($node->data_dir . '/pg_cmk/root.json');
foreach my $case (
	[ "'file://$other'",           qr/root\.json|\Q$other\E/, 'the wrong KEK' ],
	[ "'file://$dir/missing.pem'", qr/\Q$dir\E\/missing\.pem/, 'no KEK file' ],
	[ "''",                        qr/pg_cmk\.key/, 'no KEK set' ])
{
	my ($value, $names, $what) = @$case;

	$node->adjust_conf('postgresql.conf', 'pg_cmk.key', $value);
	($failed, $log) = start_fails($node);
	ok($failed, "a cluster with sealed tables does not start with $what");
	like($log, qr/FATAL:.*$names/s, '... and names the cause');
	is(slurp_file($node->data_dir . '/pg_cmk/root.json'),
		$root, '... and leaves root.json alone');
}
make_kek("$dir/moved.pem");
unlink "$dir/moved.pem";
rename $good, "$dir/moved.pem";
$node->adjust_conf('postgresql.conf', 'pg_cmk.key', "'file://$dir/moved.pem'");
$node->start;
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'),
	'100', 'the right KEK under another name opens it');
$node->stop;

# Without its worker the server would be closed by the clock, and never open again.
$node->append_conf('postgresql.conf', 'max_worker_processes = 0');
($failed, $log) = start_fails($node);
ok($failed, 'no start without room for the key worker');
like($log, qr/FATAL:.*key worker.*HINT:.*max_worker_processes/s, '... and the log names the setting');
$node->adjust_conf('postgresql.conf', 'max_worker_processes', undef);
$node->start;

# The disk is full while a DEK is born.  A preloaded library answers for the C
# library that there is no space, for the keys file alone and as long as a certain
# file exists; the records that are there already are used up first.

SKIP:
{
	my $full = "$dir/disk_is_full";
	my $source = "$dir/full.c";

	append_to_file($source, <<'C');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int
posix_fallocate(int fd, off_t offset, off_t len)
{
	int			(*real) (int, off_t, off_t) = dlsym(RTLD_NEXT, "posix_fallocate");
	char		link[64];
	char		path[4096];
	ssize_t		n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = '\0';
	if (strstr(path, "/pg_cmk/keys") && access(FULL, F_OK) == 0)
		return ENOSPC;
	return real(fd, offset, len);
}
C
	skip 'no C compiler', 40
	  unless grep { -x "$_/cc" } split /:/, $ENV{PATH};
	system_or_bail('cc', '-shared', '-fPIC', "-DFULL=\"$full\"", '-o',
		"$dir/full.so", $source, '-ldl');
	$node->stop;
	{
		local $ENV{LD_PRELOAD} = "$dir/full.so";
		$node->start;
	}

	# The record of such a table is the only one that it needs.
	my $filler = sub {
		my ($name) = @_;
		$node->safe_psql('postgres', "CREATE TABLE $name (id int) USING cmk_heap");
	};

	$node->safe_psql('postgres', 'CREATE INDEX t_v ON t (v)');
	ok(wait_no_orphans($node), 'every record has a file');
	my $free = sub { (-s keys_path($node)) / RECORD_SIZE - 1 - keys_records($node) };
	my $n = 0;
	$filler->('filler' . $n++) until $free->() == 0;
	append_to_file($full, '');

	foreach my $left (0, 1)
	{
		# With one record to be had, what needs several fails in the middle.
		if ($left)
		{
			$node->safe_psql('postgres', 'DROP TABLE filler0');
			ok(wait_no_orphans($node), 'every record has a file');
			is($free->(), 1, 'one place is left');
		}
		my @before = map { "$_->{n} $_->{id} $_->{birth_id}" } keys_records($node);

		foreach my $sql (
			'CREATE TABLE full1 (id int PRIMARY KEY, v text) USING cmk_heap',
			'CREATE TABLE full2 USING cmk_heap AS SELECT * FROM t',
			'CREATE INDEX full_ix1 ON t (v); CREATE INDEX full_ix2 ON t (id)',
			'TRUNCATE t',
			'ALTER TABLE t ALTER id TYPE bigint',
			'VACUUM FULL t',
			'BEGIN; REINDEX INDEX t_v; REINDEX INDEX t_v; COMMIT',
			'CREATE DATABASE full3 TEMPLATE postgres STRATEGY wal_log',
			'CREATE DATABASE full3 TEMPLATE postgres STRATEGY file_copy')
		{
			$err = error_of($node, $sql);
			like($err, qr/53100/, "a full disk is an error ($left left): $sql");
			$node->psql('postgres', 'DROP INDEX full_ix1');
			is( $node->safe_psql(
					'postgres',
					q{SELECT state, (SELECT count(*) FROM t), to_regclass('full1') IS NULL,
					to_regclass('full2') IS NULL,
					(SELECT count(*) FROM pg_database WHERE datname = 'full3')
					FROM cmk.status}),
				'Ready|100|t|t|0',
				'... the server is up, no table is left and none lost');
			ok(wait_no_orphans($node), '... no DEK without a file is left');
			is_deeply(
				[ sort map { "$_->{n} $_->{id} $_->{birth_id}" } keys_records($node) ],
				[ sort @before ],
				'... and no DEK is lost');
		}
	}
	unlink $full;
	$node->safe_psql('postgres',
		'CREATE TABLE full1 (id int PRIMARY KEY, v text) USING cmk_heap; INSERT INTO full1 SELECT * FROM t; CHECKPOINT'
	);
	is(sealed_faults($node, 'postgres', 'full1', 't'),
		'', 'with room on the disk a table can be created');
	$node->restart;
	is( $node->safe_psql('postgres', 'SELECT count(*) FROM t JOIN full1 USING (id, v)'),
		'100', 'and all rows are there after a restart');
}

# Settings that decide what is sealed cannot be changed in passing.

foreach my $setting ('pg_cmk.key', 'pg_cmk.scope')
{
	like(error_of($node, "SET $setting = 'tables'"),
		qr/55P02/, "$setting cannot be set in a session");
}
$node->safe_psql('postgres', 'CREATE ROLE someone');
foreach my $setting ('pg_cmk.debug_crash_at', 'pg_cmk.debug_pause_at')
{
	like(error_of($node, "SET ROLE someone; SET $setting = 'birth-after-file'"),
		qr/42501/, "$setting is for superusers");
}

$node->stop;
done_testing();
