# Ways by which keys, and with them rows, were once lost, and what is left to do
# when a key record really is.
#
# A tablespace that is not mounted; a standby's session that creates a table in
# the moment of promotion; the keys file removed under the running server; births
# that a savepoint takes back.  Then the procedure of docs/operations.md for giving
# one damaged record up, and crash recovery with records that are missing.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $marker = new_marker();
my $node = new_cmk_node('main', checksums => 1);
my $dir = $node->data_dir;
my $ts_dir = $node->basedir . '/ts1';

mkdir $ts_dir;
$node->safe_psql('postgres', "CREATE TABLESPACE ts1 LOCATION '$ts_dir'");
$node->safe_psql('postgres', 'CREATE EXTENSION amcheck');

sub count_rows
{
	my ($on, $table) = @_;
	my ($ret, $out, $err) = $on->psql('postgres',
		"SELECT count(*) FROM $table WHERE v LIKE '$marker%'");
	return $ret == 0 ? $out : $err;
}

sub fill
{
	my ($table, $options) = @_;
	return
	  "CREATE TABLE $table (id int PRIMARY KEY, v text) USING cmk_heap $options; INSERT INTO $table SELECT g, '$marker' || g FROM generate_series(1, 100) g;";
}

# A tablespace that is not mounted while the server recovers.  Replay makes the
# directory of the database anew at the mount point.

foreach my $when ('long before', 'just before')
{
	my $t = $when =~ /long/ ? 'm_long' : 'm_just';

	$node->safe_psql('postgres', fill($t, 'TABLESPACE ts1'));
	$node->safe_psql('postgres', 'CHECKPOINT');
	if ($when =~ /long/)
	{
		# The time of a checkpoint is known in seconds.
		my $then = time();
		wait_until('the second is over', sub { time() > $then + 1 });
		$node->safe_psql('postgres', 'CHECKPOINT');
	}

	# What replay makes in the directory, before it meets no page of $t
	$node->safe_psql('postgres', fill("other_$t", 'TABLESPACE ts1'));
	$node->stop('immediate');

	rename $ts_dir, "$ts_dir.away" or die "rename: $!";
	mkdir $ts_dir;
	$node->start;
	my @made = glob("$ts_dir/PG_*/*");
	ok(@made > 0,
		'replay has made the directories of an unmounted tablespace');
	isnt(count_rows($node, $t), 100, '... in which no row is to be found');
	settle_deaths($node) foreach 1 .. 2;
	$node->stop;

	rename $ts_dir, "$ts_dir.replayed" or die "rename: $!";
	rename "$ts_dir.away", $ts_dir or die "rename: $!";
	$node->start;
	is(count_rows($node, $t), 100,
		"a table created $when a checkpoint is there when its tablespace is mounted again");
	$node->psql('postgres', "INSERT INTO $t SELECT id + 1000, v FROM $t; CHECKPOINT");
	is(count_rows($node, $t), 200, '... and can be written to');

	# What lay in the tablespace only while it was away is lost, as without pg_cmk.
	$node->psql('postgres', "DROP TABLE $t, other_$t");
	rename "$ts_dir.replayed", "$ts_dir.old_$t";
}

# Births that a savepoint takes back: the record comes first, and here no file can
# follow it.

SKIP:
{
	my ($db_dir) = glob("$ts_dir/PG_*/*");

	skip 'root may write everywhere', 6 if $> == 0;
	ok(wait_no_orphans($node), 'every record has a file before')
	  or diag(keys_text($node));
	chmod 0500, $db_dir or die "chmod: $!";
	foreach my $end ('COMMIT', 'ROLLBACK')
	{
		my ($ret, $out, $err) = $node->psql(
			'postgres', qq{
			BEGIN; SAVEPOINT a;
			CREATE TABLE nofile (v text) USING cmk_heap TABLESPACE ts1;
			ROLLBACK TO a;
			CREATE TABLE n_$end (v text) USING cmk_heap;
			$end;}, on_error_stop => 0);
		like($err, qr/could not create file/, "a table whose file cannot be made, then $end");
		ok(wait_no_orphans($node), '... leaves no record');
	}
	chmod 0700, $db_dir;
	is( $node->safe_psql('postgres',
			q{SELECT to_regclass('nofile') IS NULL, to_regclass('n_COMMIT') IS NULL, to_regclass('n_ROLLBACK') IS NULL}),
		't|f|t', '... and no table, but what was committed');
}

# Names that are dropped and created in one transaction

$node->safe_psql('postgres', fill('again', '') . 'CREATE TABLE again_plain (v text) USING heap');
foreach my $end ('ROLLBACK', 'COMMIT')
{
	$node->safe_psql(
		'postgres', qq{
		BEGIN; DROP TABLE again; } . fill('again', '') . qq{
		SAVEPOINT a; DROP TABLE again; } . fill('again', '') . qq{
		ROLLBACK TO a; DROP TABLE again_plain; CREATE TABLE again_plain (v text) USING heap;
		INSERT INTO again_plain SELECT 'plain' || id FROM again; $end; CHECKPOINT});
	is(count_rows($node, 'again'), 100, "DROP and CREATE in one transaction, $end");
	is(sealed_faults($node, 'postgres', 'again'), '', '... sealed');
	ok(wait_no_orphans($node), '... and each record has a file');
	$node->stop('immediate');
	$node->start;
	is(count_rows($node, 'again'), 100, '... also after a crash');
	ok(wait_no_orphans($node), '... after which each record has a file');
}

# A standby: what a statement says of a relation is not asked where it cannot run.

my $primary = new_cmk_node(
	'primary',
	allows_streaming => 1,

	# so that two nodes on one machine have each its own
	conf => "allow_in_place_tablespaces = on\n");

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$primary->safe_psql('postgres', q{CREATE TABLESPACE ts1 LOCATION ''});

# A library that stops the startup process, on request, at two moments: when it
# is about to write that the server is in production, which backends know
# already; and after it has looked in vain for a relation's file.
my $hold = $standby->basedir . '/hold';
my $have_cc = grep { -x "$_/cc" } split /:/, $ENV{PATH};

if ($have_cc)
{
	my $source = "$hold.c";

	append_to_file($source, <<'C');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#define CONTROL_FILE_SIZE	8192
#define STATE_OFFSET		16
#define IN_PRODUCTION		6

static int
is_startup(void)
{
	char		line[256];
	int			fd = open("/proc/self/cmdline", O_RDONLY);
	ssize_t		n = fd < 0 ? 0 : pread(fd, line, sizeof(line) - 1, 0);

	if (fd >= 0)
		close(fd);
	line[n < 0 ? 0 : n] = '\0';
	return strstr(line, ": startup") != NULL;
}

/* Says that it is there, and waits until the file NAME is gone. */
static void
wait_at(const char *name)
{
	int			(*real) (const char *, int) = dlsym(RTLD_NEXT, "access");
	char		path[1024];
	char		reached[1100];
	int			fd;

	snprintf(path, sizeof(path), "%s_%s", HOLD, name);
	if (real(path, F_OK) != 0 || !is_startup())
		return;
	snprintf(reached, sizeof(reached), "%s_reached", path);
	fd = open(reached, O_CREAT | O_WRONLY, 0600);
	if (fd >= 0)
		close(fd);
	while (real(path, F_OK) == 0)
		usleep(10000);
}

ssize_t
write(int fd, const void *buf, size_t n)
{
	ssize_t		(*real) (int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
	int			state;

	if (n == CONTROL_FILE_SIZE)
	{
		memcpy(&state, (const char *) buf + STATE_OFFSET, sizeof(state));
		if (state == IN_PRODUCTION)
			wait_at("write");
	}
	return real(fd, buf, n);
}

ssize_t
pwrite(int fd, const void *buf, size_t n, off_t off)
{
	ssize_t		(*real) (int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");
	int			state;

	if (n == CONTROL_FILE_SIZE && off == 0)
	{
		memcpy(&state, (const char *) buf + STATE_OFFSET, sizeof(state));
		if (state == IN_PRODUCTION)
			wait_at("write");
	}
	return real(fd, buf, n, off);
}

int
access(const char *path, int mode)
{
	int			(*real) (const char *, int) = dlsym(RTLD_NEXT, "access");
	int			result = real(path, mode);
	int			save_errno = errno;

	if (result < 0 && save_errno == ENOENT && strncmp(path, "base/", 5) == 0)
		wait_at("access");
	errno = save_errno;
	return result;
}
C
	system_or_bail('cc', '-shared', '-fPIC', "-DHOLD=\"$hold\"", '-o',
		"$hold.so", $source, '-ldl');
	local $ENV{LD_PRELOAD} = "$hold.so";
	$standby->start;
}
else
{
	$standby->start;
}
$primary->safe_psql('postgres', fill('p_before', '') . 'CHECKPOINT');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));

foreach my $sql (
	'ALTER TABLE p_before SET TABLESPACE ts1',
	'ALTER INDEX p_before_pkey SET TABLESPACE ts1',
	'ALTER TABLE p_before ALTER v TYPE varchar, SET TABLESPACE ts1',
	'ALTER TABLE p_before SET ACCESS METHOD cmk_heap',
	'ALTER TABLE ALL IN TABLESPACE pg_default SET TABLESPACE ts1',
	'CREATE DATABASE d TEMPLATE postgres')
{
	my ($ret, $out, $err) =
	  $standby->psql('postgres', "\\set VERBOSITY verbose\n$sql");
	like($err, qr/ERROR:  25006/, "read-only on a standby: $sql");
}

# Promotion, with a session that is between its record and its file

SKIP:
{
	skip 'no C compiler', 9 unless $have_cc;

	my $continue = $standby->data_dir . '/pg_cmk/debug_continue';
	my $session = $standby->background_psql('postgres', on_error_stop => 0);
	my $id_of_new = sub {
		my %before = map { $_->{birth_id} => 1 } @_;
		return grep { !$before{ $_->{birth_id} } } keys_records($standby);
	};

	$session->query_safe("SET pg_cmk.debug_pause_at = 'birth-after-wal'");
	my @before = keys_records($standby);
	append_to_file("${hold}_$_", '') foreach 'write', 'access';
	$standby->safe_psql('postgres', 'SELECT pg_promote(false)');
	ok(wait_until('the server is about to be in production', sub { -e "${hold}_write_reached" }),
		'backends may write before the startup process has said so on disk');

	$session->query_until(qr/sent/,
		"\\echo sent\nCREATE TABLE p_new (v text) USING cmk_heap;\n");
	ok(wait_until('the session has made its record', sub { $id_of_new->(@before) == 1 }),
		'a session makes a record then');
	my ($new) = $id_of_new->(@before);
	ok(!exists relation_files($standby)->{ $new->{id} }, '... which has no file yet');
	unlink "${hold}_write";
	ok(wait_until('the sweep has looked for it', sub { -e "${hold}_access_reached" }),
		'... when the sweep of the end of recovery looks');

	append_to_file($continue, '');
	$session->query_safe("INSERT INTO p_new SELECT '$marker' || g FROM generate_series(1, 100) g");
	ok(exists relation_files($standby)->{ $new->{id} }, 'now the table has one');
	unlink "${hold}_access";
	$session->quit;
	$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
	ok( wait_until(
			'the server is in production',
			sub {
				settle_deaths($standby);
				$standby->safe_psql('postgres',
					q{SELECT count(*) FROM pg_control_checkpoint() WHERE timeline_id > 1}) == 1;
			}),
		'the server is in production');
	settle_deaths($standby) foreach 1 .. 2;
	my $now = find_record($standby, $new->{id});
	is($now ? $now->{state} : 'none', 1, 'its record is live');
	$standby->restart;
	is(count_rows($standby, 'p_new'), 100, 'and its rows are there after a restart');
	is(count_rows($standby, 'p_before'), 100, 'as are the others');
}
$_->stop foreach $standby, $primary;

# The keys file is removed while the server runs.

{
	my $keys = keys_path($node);
	my $offset = -s $node->logfile;

	$node->safe_psql('postgres', fill('k', ''));
	unlink $keys or die "unlink: $!";
	my ($ret, $out, $err) = $node->psql('postgres',
		"\\set VERBOSITY verbose\n" . fill('k2', ''));
	like($err,
		qr/ERROR:  58P01: file "pg_cmk\/keys" was removed or replaced while the server runs/,
		'without the keys file no sealed table can be created');
	is($node->safe_psql('postgres', q{SELECT to_regclass('k2') IS NULL}),
		't', '... and none is');
	$node->safe_psql('postgres', "INSERT INTO k VALUES (0, '$marker'); CHECKPOINT");
	is(count_rows($node, 'k'), 101, '... while those that are there go on');
	my $log = log_since($node, $offset);
	like($log, qr/WARNING:  file "pg_cmk\/keys" was removed or replaced/,
		'a checkpoint warns of it');
	my ($fd) = $log =~ m{HINT:  Copy /proc/PID/fd/(\d+) of a server process back};
	ok(defined $fd, '... and says where it can be had');

	my $pid = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	my $content = slurp_file("/proc/$pid/fd/$fd");
	append_to_file($keys, $content);
	chmod 0600, $keys;
	($ret, $out, $err) = $node->psql('postgres', fill('k2', ''));
	like($err, qr/was removed or replaced/, 'a copy is not the file that is open');
	$node->restart;
	$node->safe_psql('postgres', fill('k2', '') . 'CHECKPOINT');
	is(count_rows($node, $_), $_ eq 'k' ? 101 : 100, "after a restart $_ is there")
	  foreach 'k', 'k2', 'again';
	is(sealed_faults($node, 'postgres', 'k', 'k2'), '', '... sealed');
}

# Records that are lost without a trace, before crash recovery: it must not write
# in clear what it finds in WAL, over pages that the right key will open.

sub put_keys
{
	my ($content) = @_;
	my $keys = keys_path($node);

	unlink $keys or die "unlink: $!";
	append_to_file($keys, $content);
	chmod 0600, $keys or die "chmod: $!";
}

sub zero_record
{
	my ($r) = @_;
	system_or_bail('dd', 'if=/dev/zero', 'of=' . keys_path($node), 'bs=128', "seek=$r->{n}",
		'count=1', 'conv=notrunc,fsync', 'status=none');
}

foreach my $way ('a zeroed record', 'an older keys file')
{
	my $t = $way =~ /zeroed/ ? 'r_zeroed' : 'r_older';
	my $older = slurp_file(keys_path($node));

	# After the checkpoint every page that is touched is in WAL as a whole.
	$node->safe_psql('postgres', fill($t, '') . "DELETE FROM $t WHERE id = 50; CHECKPOINT");
	$node->safe_psql('postgres',
		"INSERT INTO $t VALUES (50, '$marker'); UPDATE $t SET v = v || 'x' WHERE id = 7");
	my $r = find_record($node, relid_of($node, 'postgres', $t));
	$node->stop('immediate');
	my $right = slurp_file(keys_path($node));
	$way =~ /zeroed/ ? zero_record($r) : put_keys($older);

	# again, for what the first attempt may have left
	foreach my $attempt (1, 2)
	{
		my ($failed, $log) = start_fails($node);
		ok($failed, "crash recovery with $way does not end, attempt $attempt");
		like($log, qr/pg_cmk: could not write block \d+ of file "[^"]+": block \d+ of file "[^"]+" is sealed, but no key is known for relation \d+\/\d+\/\d+; put file "pg_cmk\/keys"/,
			'... and says which block and what to do')
		  or diag($log);
		is_deeply([ marker_files($node, $marker) ], [ ], '... nothing is on disk in clear');
	}
	put_keys($right);
	$node->start;
	is(count_rows($node, $t), 100, '... with the right keys all rows are there');
	is(sealed_faults($node, 'postgres', $t), '', '... sealed');
	is($node->safe_psql('postgres', "SELECT v LIKE '%7x' FROM $t WHERE id = 7"), 't',
		'... as they were last');
}

# A record that is damaged for good, and the procedure of docs/operations.md to
# give its relation up.

{
	my $keys = keys_path($node);

	$node->safe_psql('postgres', fill('g', '') . fill('g_other', '') . 'CHECKPOINT');
	my $r = find_record($node, relid_of($node, 'postgres', 'g'));
	$node->safe_psql('postgres', fill('g_later', ''));
	my $backup = $node->basedir . '/keys.backup';
	append_to_file($backup, slurp_file($keys));
	$node->safe_psql('postgres', fill('g_last', ''));
	$node->stop('immediate');
	flip_byte($keys, $r->{offset} + 70);

	my ($failed, $log) = start_fails($node);
	ok($failed, 'a damaged record ends recovery, if WAL does not bring it');
	like($log,
		qr/WARNING:  record $r->{n} of file "pg_cmk\/keys" is damaged.*FATAL:  record $r->{n} of file "pg_cmk\/keys" is damaged/s,
		'... with its number, twice');

	# Whose it is: od -A n -t u4 -j $((128 * N + 12)) -N 12 pg_cmk/keys
	my $whose = `od -A n -t u4 -j \$((128 * $r->{n} + 12)) -N 12 $keys`;
	is(join('/', split(' ', $whose)), $r->{id}, 'od shows which relation it belongs to');

	# docs/operations.md says both with N for the record's number.
	system_or_bail('dd', "if=$backup", "of=$keys", 'bs=128', "skip=$r->{n}",
		"seek=$r->{n}", 'count=1', 'conv=notrunc,fsync', 'status=none');
	$node->start;
	is(count_rows($node, $_), 100, "with the record from a backup $_ is there")
	  foreach 'g', 'g_later', 'g_last';
	$node->safe_psql('postgres', 'CHECKPOINT');
	$node->stop('immediate');
	flip_byte($keys, $r->{offset} + 70);
	zero_record($r);
	$node->start;
	is($node->safe_psql('postgres', "SELECT pg_filenode_relation($r->{spc}, $r->{rel})"),
		'g', 'the server starts without it, and names the relation');
	is(count_rows($node, $_), 100, "... $_ is there") foreach 'g_other', 'g_later';
	my ($ret, $out, $err) = $node->psql('postgres', 'SELECT * FROM g');
	isnt($ret, 0, '... what was given up cannot be read');
	unlike($out . $err, qr/$marker/, '... no row of it comes out');
	isnt(($node->psql('postgres', "INSERT INTO g VALUES (-1, '$marker')"))[0],
		0, '... nor written to');
	$node->safe_psql('postgres', "TRUNCATE g; INSERT INTO g VALUES (-1, '$marker'); CHECKPOINT");
	is(count_rows($node, 'g'), 1, '... but emptied and filled again');
	is(sealed_faults($node, 'postgres', 'g', 'g_other', 'g_later'), '', '... sealed');
	is_deeply([ marker_files($node, $marker) ], [ ], 'with nothing on disk in clear');
}

# The same when WAL has pages of it: its files are moved away, so that replay finds
# nothing that it could not write to.

{
	$node->safe_psql('postgres', fill('h', '') . 'CHECKPOINT');
	$node->safe_psql('postgres', "INSERT INTO h SELECT id + 1000, v FROM h; UPDATE h SET v = v || 'x'");
	my $r = find_record($node, relid_of($node, 'postgres', 'h'));
	my $path = "$dir/" . $node->safe_psql('postgres', q{SELECT pg_relation_filepath('h')});
	my $away = $node->basedir . '/away';

	$node->stop('immediate');
	zero_record($r);
	ok((start_fails($node))[0], 'recovery does not end, as WAL has pages of what is given up');
	mkdir $away or die "mkdir: $!";
	system_or_bail('sh', '-c', "mv $path ${path}[._]* $away");
	$node->start;
	is($node->safe_psql('postgres', "SELECT pg_filenode_relation($r->{spc}, $r->{rel})"),
		'h', 'it does without the files, and the relation has its name');
	is(count_rows($node, $_), 100, "... $_ is there") foreach 'g_other', 'r_older';
	isnt(($node->psql('postgres', "INSERT INTO h VALUES (-1, '$marker')"))[0],
		0, '... what was given up is not written to');
	$node->safe_psql('postgres', "TRUNCATE h; INSERT INTO h VALUES (-1, '$marker'); CHECKPOINT");
	is(count_rows($node, 'h'), 1, '... but emptied and filled again');
	is(sealed_faults($node, 'postgres', 'h'), '', '... sealed');
	is_deeply([ marker_files($node, $marker) ], [ ], 'with nothing on disk in clear');
}

$node->stop('immediate');
$node->start;
is(index_faults($node, 'postgres'), '', 'indexes agree with tables');
$node->stop;
command_ok([ 'pg_checksums', '--check', '-D', $dir ], 'pg_checksums finds no fault');
done_testing();
