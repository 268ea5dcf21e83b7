# The order of a birth: memory and keys file, then WAL, then the storage.
#
# A backend is killed after each of the steps, and a checkpoint is made to come
# between them, after which recovery starts behind what was done before.  Either
# way the server must come up, the rows of what was committed must be there, and
# no record may be left without a file.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @points = ('birth-after-file', 'birth-after-wal', 'birth-after-storage');

my $node = new_cmk_node('main', checksums => 1);
my $continue = $node->data_dir . '/pg_cmk/debug_continue';
my $marker = new_marker();

$node->safe_psql('postgres',
	"CREATE TABLE t (id int PRIMARY KEY, v text) USING cmk_heap; INSERT INTO t SELECT g, '$marker' || g FROM generate_series(1, 300) g; CREATE EXTENSION amcheck"
);
ok(wait_no_orphans($node), 'every record has a file at the beginning');
my @kept = map { "$_->{id} $_->{birth_id}" } keys_records($node);

sub is_up
{
	return hears($node) eq '';
}

# What must hold when the server is back: old rows, no new table, and a record
# for each file that is there, no more and no less.
sub check_after
{
	my ($when, $committed) = @_;

	is($node->safe_psql('postgres', "SELECT count(*) FROM t WHERE v LIKE '$marker%'"),
		300, "$when: old rows are there");
	if ($committed)
	{
		is($node->safe_psql('postgres', "SELECT count(*) FROM n WHERE v LIKE '$marker%'"),
			100, "$when: and the new ones");
		$node->safe_psql('postgres', "INSERT INTO n VALUES (0, '$marker'); CHECKPOINT");
		is(sealed_faults($node, 'postgres', 'n'), '', "$when: sealed");
	}
	else
	{
		is($node->safe_psql('postgres', q{SELECT to_regclass('n') IS NULL}),
			't', "$when: no table is left");
	}
	is(index_faults($node, 'postgres'), '', "$when: indexes agree");
	$node->safe_psql('postgres', 'DROP TABLE IF EXISTS n');
	ok(wait_no_orphans($node), "$when: no record without a file is left");

	# A crash leaves the file of a transaction that did not end behind, as it does
	# without pg_cmk, and with the file its record.
	my %now = map { ("$_->{id} $_->{birth_id}" => 1) } keys_records($node);
	is_deeply([ grep { $now{$_} } @kept ],
		\@kept, "$when: and the others are as they were");
	$node->safe_psql('postgres',
		"CREATE TABLE n (id int PRIMARY KEY, v text) USING cmk_heap; INSERT INTO n SELECT * FROM t; CHECKPOINT"
	);
	is(sealed_faults($node, 'postgres', 'n'), '', "$when: a new table is sealed");
	$node->safe_psql('postgres', 'DROP TABLE n');
	ok(wait_no_orphans($node), "$when: and goes with its record");
	return;
}

# A crash after each step

foreach my $point (@points)
{
	foreach my $sql (
		'CREATE TABLE n USING cmk_heap AS SELECT * FROM t',
		"BEGIN; CREATE TABLE n USING cmk_heap AS SELECT * FROM t; SET pg_cmk.debug_crash_at = '$point'; ALTER TABLE n ALTER id TYPE bigint; COMMIT",
		'TRUNCATE t')
	{
		my $offset = -s $node->logfile;
		my ($ret, $out, $err) = $node->psql('postgres',
			($sql =~ /SET pg/ ? '' : "SET pg_cmk.debug_crash_at = '$point'; ")
			  . $sql);
		my $what = "crash at $point in \"" . substr($sql, 0, 15) . '..."';

		isnt($ret, 0, "$what: the session is gone");
		ok( wait_until(
				'the server is up again',
				sub {
					# In this order: it was up before it noticed, too.
					log_since($node, $offset) =~
					  /all server processes terminated; reinitializing/
					  && is_up();
				}),
			"$what: the server restarts its processes");
		like(log_since($node, $offset), qr/crashing at "\Q$point\E"/,
			"$what: it was that point");
		check_after($what, 0);
	}
}

# A checkpoint between the steps, and then

foreach my $point (@points)
{
	foreach my $then ('crash', 'crash before commit', 'commit', 'rollback')
	{
		my $what = "a checkpoint at $point, then $then";
		my $offset = -s $node->logfile;

		my %before = map { ($_->{birth_id} => 1) } keys_records($node);

		unlink $continue;
		my $session = $node->background_psql('postgres', on_error_stop => 0);
		my $pid = $session->query_safe('SELECT pg_backend_pid()');
		$session->query_safe('BEGIN');
		$session->query_safe("SET pg_cmk.debug_pause_at = '$point'");

		# Sent without waiting for an answer, which comes only when it goes on
		$session->query_until(qr/sent/,
			"\\echo sent\nCREATE TABLE n (id int PRIMARY KEY, v text) USING cmk_heap;\n"
		);
		ok( wait_until(
				'the session waits in the birth',
				sub {
					my $active = $node->safe_psql('postgres',
						"SELECT count(*) FROM pg_stat_activity WHERE pid = $pid AND state = 'active' AND query LIKE 'CREATE TABLE n%'"
					);
					return $active == 1 && new_records(\%before);
				}),
			"$what: the session waits in the birth");
		$node->safe_psql('postgres', 'CHECKPOINT');
		settle_deaths($node);

		if ($then eq 'crash before commit')
		{
			$node->stop('immediate');
			append_to_file($continue, '');
			$session->{run}->kill_kill;
			$node->start;
			check_after($what, 0);
			next;
		}

		append_to_file($continue, '');
		$session->query_safe("INSERT INTO n SELECT g, '$marker' || g FROM generate_series(1, 100) g");
		if ($then eq 'rollback')
		{
			$session->query_safe('ROLLBACK');
			$session->quit;
			check_after($what, 0);
			next;
		}
		$session->query_safe('COMMIT');
		$session->quit;
		if ($then eq 'crash')
		{
			$node->stop('immediate');
			$node->start;
		}
		check_after($what, 1);
	}
}

# A prepared transaction, whose files outlive a crash without being committed

foreach my $end ('COMMIT', 'ROLLBACK')
{
	$node->safe_psql('postgres', qq{
		BEGIN;
		CREATE TABLE n (id int PRIMARY KEY, v text) USING cmk_heap;
		INSERT INTO n SELECT * FROM t WHERE id <= 100;
		PREPARE TRANSACTION 'p'});
	$node->stop('immediate');
	$node->start;
	settle_deaths($node);
	$node->safe_psql('postgres', "$end PREPARED 'p'");
	check_after("a crash, then $end PREPARED", $end eq 'COMMIT');
}

# A crash while the server recovers from a crash: the records that replay brings
# are there already.
$node->safe_psql('postgres',
	"CREATE TABLE n (id int PRIMARY KEY, v text) USING cmk_heap; INSERT INTO n SELECT * FROM t WHERE id <= 100"
);
foreach my $round (1 .. 3)
{
	$node->stop('immediate');
	$node->start;
}
check_after('three crashes in a row', 1);

$node->stop;
command_ok([ 'pg_checksums', '--check', '-D', $node->data_dir ],
	'pg_checksums finds no fault');
done_testing();

# Records that were not there before.
sub new_records
{
	my ($before) = @_;

	return grep { !$before->{ $_->{birth_id} } } keys_records($node);
}
