# Ten crashes under load.
#
# pgbench's bank runs on sealed tables together with sessions that create, fill,
# rewrite and drop others, among them unlogged ones.  Each round ends in an
# immediate stop of the server or the death of one backend.  Then the accounts
# must add up, the indexes agree with the rows, unlogged tables be empty, and in
# the end no record be left without a file.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = 10;
my $node = new_cmk_node(
	'main',
	checksums => 1,

	# So few buffers that pages are written and read all the time
	conf => "shared_buffers = 2MB\nbgwriter_delay = 10ms\nmax_wal_size = 32MB\n"
	  . "min_wal_size = 32MB\nautovacuum = on\nautovacuum_naptime = 1s\n");
my $marker = new_marker();
my $port = $node->port;
my $host = $node->host;

$node->safe_psql('postgres',
	'CREATE EXTENSION amcheck; ALTER DATABASE postgres SET default_table_access_method = cmk_heap'
);
$node->command_ok(
	[ 'pgbench', '-i', '-q', '-s', '2', '--foreign-keys', 'postgres' ],
	'pgbench makes its tables');
$node->safe_psql('postgres', qq{
	CREATE UNLOGGED TABLE u (id int, v text UNIQUE);
	CREATE TABLE kept (id serial PRIMARY KEY, v text NOT NULL);
	CREATE INDEX ON pgbench_history (mtime);
	CREATE INDEX ON pgbench_accounts (abalance);
	CHECKPOINT});
is( $node->safe_psql(
		'postgres', q{
		SELECT bool_and(cmk.is_sealed(oid)) FROM pg_class
		WHERE relname LIKE 'pgbench%' AND relkind IN ('r', 'i')}),
	't',
	'they are sealed');

my $bank = $node->basedir . '/bank.sql';
append_to_file($bank, <<'SQL');
\set aid random(1, 100000 * :scale)
\set bid random(1, 1 * :scale)
\set tid random(1, 10 * :scale)
\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, now());
END;
SQL

my $ddl = $node->basedir . '/ddl.sql';
append_to_file($ddl, <<"SQL");
\\set n random(1, 1000000000)
CREATE TABLE x_:n (id int PRIMARY KEY, v text UNIQUE);
INSERT INTO x_:n SELECT g, '$marker' || g FROM generate_series(1, 50) g;
CREATE UNLOGGED TABLE y_:n AS SELECT * FROM x_:n;
CREATE INDEX ON y_:n (v);
TRUNCATE x_:n;
INSERT INTO x_:n SELECT * FROM y_:n;
INSERT INTO u SELECT id, :n || v FROM y_:n;
ALTER TABLE x_:n ALTER id TYPE bigint;
BEGIN;
CREATE TABLE z_:n (v text UNIQUE);
INSERT INTO z_:n SELECT v FROM x_:n;
ROLLBACK;
CREATE TEMP TABLE t_:n (v text UNIQUE);
INSERT INTO t_:n SELECT v FROM x_:n;
DROP TABLE t_:n, y_:n;
INSERT INTO kept (v) SELECT max(v) FROM x_:n;
DROP TABLE x_:n;
SQL

my $balance = q{
	SELECT (SELECT sum(abalance) FROM pgbench_accounts) = coalesce(sum(delta), 0)
		AND (SELECT sum(tbalance) FROM pgbench_tellers) = coalesce(sum(delta), 0)
		AND (SELECT sum(bbalance) FROM pgbench_branches) = coalesce(sum(delta), 0)
		AND (SELECT count(*) FROM pgbench_accounts) = 200000
	FROM pgbench_history};

foreach my $round (1 .. $rounds)
{
	my @load;
	my ($seen, $ddl_seen) = split /\|/, $node->safe_psql('postgres',
		'SELECT (SELECT count(*) FROM pgbench_history), (SELECT count(*) FROM kept)');
	my $offset = -s $node->logfile;

	foreach my $script ([ $bank, 3 ], [ $ddl, 2 ])
	{
		my ($out, $err) = ('', '');
		local $ENV{PGAPPNAME} = 'load';
		push @load,
		  IPC::Run::start(
			[
				'pgbench', '-n', '-h', $host, '-p', $port, '-s', '2',
				'-T', '600', '-c', $script->[1], '-f', $script->[0],
				'postgres'
			],
			'<', '/dev/null', '>', \$out, '2>', \$err);
	}
	ok( wait_until(
			'transactions and DDL have run',
			sub {
				my ($bank_n, $ddl_n, $u_n) = split /\|/,
				  $node->safe_psql('postgres',
					'SELECT (SELECT count(*) FROM pgbench_history), (SELECT count(*) FROM kept), (SELECT count(*) FROM u)'
				  );
				return $bank_n > $seen + 1000 && $ddl_n > $ddl_seen + 20 && $u_n > 100;
			}),
		"round $round: there is load");

	# In odd rounds a checkpoint is under way when it happens.
	my $checkpoint;
	if ($round % 2)
	{
		my ($out, $err) = ('', '');
		$checkpoint = IPC::Run::start(
			[ 'psql', '-X', '-h', $host, '-p', $port, '-c', 'CHECKPOINT', 'postgres' ],
			'<', '/dev/null', '>', \$out, '2>', \$err);
	}

	if ($round % 3)
	{
		$node->stop('immediate');
		$_->finish foreach grep { defined } @load, $checkpoint;
		$node->start;
	}
	else
	{
		my $pid = $node->safe_psql('postgres',
			q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name = 'load' ORDER BY random() LIMIT 1}
		);
		kill 'KILL', $pid;
		$_->finish foreach grep { defined } @load, $checkpoint;
		ok( wait_until(
				'the server is up again',
				sub {
					log_since($node, $offset) =~
					  /all server processes terminated; reinitializing/
					  && hears($node) eq '';
				}),
			"round $round: the server restarts its processes");
	}

	is($node->safe_psql('postgres', $balance), 't', "round $round: the accounts add up");
	is(index_faults($node, 'postgres'), '', "round $round: indexes agree with tables");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM u'),
		0, "round $round: the unlogged table is empty");
	is( $node->safe_psql('postgres', "SELECT count(*) FROM kept WHERE v NOT LIKE '$marker%'"),
		0, "round $round: what DDL sessions committed is readable");
	unlike(log_since($node, $offset),
		qr/invalid page|PANIC|could not read block|could not write block/,
		"round $round: no page was bad");

	# Tables that a session left behind, when it was cut off, are read, too.
	my @left = split /\n/, $node->safe_psql('postgres',
		q{SELECT relname FROM pg_class WHERE relname ~ '^[xyz]_\d+$' AND relkind = 'r'});
	my $sql = join('', map { "SELECT count(*) FROM $_; " } @left)
	  . join('', map { "DROP TABLE $_; " } @left);
	is(($node->psql('postgres', $sql))[0], 0, "round $round: tables left over are readable")
	  if @left;
}

ok(wait_no_orphans($node), 'every record has a file in the end');

# Autovacuum has gathered statistics, which are in the catalogs.
$node->append_conf('postgresql.conf', 'autovacuum = off');
$node->restart;
$node->safe_psql('postgres',
	'DELETE FROM pg_statistic; VACUUM FULL pg_statistic; CHECKPOINT');
is_deeply([ marker_files($node, $marker) ], [], 'no plain text is on disk');
$node->stop;
command_ok([ 'pg_checksums', '--check', '-D', $node->data_dir ],
	'pg_checksums finds no fault');

done_testing();
