# What the server writes for a while: temporary files, what logical decoding
# spills, notifications, the query texts of pg_stat_statements.
#
# A query that writes them is held in the middle, by a cursor that was not read to
# its end, and every byte below the data directory and the tablespaces is searched
# for the marker that stands in its rows.  The same rows are read back afterwards, and the
# sizes that the server shows are compared with those of the files.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use File::Basename qw(basename);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# What a sealed file is longer than what is in it.
use constant HEAD => 8192;

# WAL is plain here, so that a server without pg_cmk can start.
my $node = new_cmk_node(
	'main',
	checksums        => 1,
	allows_streaming => 'logical',
	conf             => q{
shared_preload_libraries = 'pg_stat_statements,pg_cmk'
pg_stat_statements.track_utility = on
work_mem = '64kB'
maintenance_work_mem = '1MB'
logical_decoding_work_mem = '64kB'
max_parallel_workers_per_gather = 2
min_parallel_table_scan_size = 0
parallel_setup_cost = 0
parallel_tuple_cost = 0
log_temp_files = 0
jit = off
pg_cmk.seal_wal = off
});
my $dir = $node->data_dir;
my $spc = $node->basedir . '/spc';
mkdir $spc or die "mkdir $spc: $!";
$node->safe_psql('postgres', "CREATE TABLESPACE spc LOCATION '$spc'");
$node->safe_psql('postgres', 'CREATE EXTENSION pg_stat_statements');
my $spc_oid = $node->safe_psql('postgres',
	q{SELECT oid FROM pg_tablespace WHERE spcname = 'spc'});

my $marker = new_marker();
$node->safe_psql(
	'postgres', qq{
	CREATE TABLE t (n int, v text) USING cmk_heap;
	INSERT INTO t SELECT g, '$marker' || g || repeat('x', 60) FROM generate_series(1, 40000) g;
	CREATE TABLE u (n int, v text) USING cmk_heap;
	INSERT INTO u SELECT n, v FROM t;
	ANALYZE t; ANALYZE u; CHECKPOINT});

# Temporary files that there are now, with their sizes on disk.
sub temp_files
{
	my %found;

	foreach my $path (data_files($dir), data_files($spc))
	{
		$found{$path} = -s $path if $path =~ m{/pgsql_tmp/};
	}
	return %found;
}

# In no file, wherever: the tablespace is searched through its link, too.
sub nowhere
{
	my ($text, $name) = @_;
	is_deeply([ marker_files($node, $text) ], [], $name);
	return;
}

my $session = $node->background_psql('postgres', on_error_stop => 1);

# Opens a cursor, reads some rows, looks at the files, reads the rest.
sub held
{
	my ($name, $settings, $query, %opt) = @_;
	my $rows;

	$session->query_safe("$settings; BEGIN; DECLARE c CURSOR FOR $query");
	$session->query_safe('FETCH 10 FROM c');
	my %files = temp_files();
	my @content = grep { $files{$_} > HEAD } keys %files;
	ok(@content > 0, "$name: there are temporary files with something in them");
	nowhere($marker, "$name: no row stands in any file");
	ok(!grep({ $_ !~ $opt{where} } @content), "$name: they are where they should be")
	  if $opt{where};
	$session->query_safe('MOVE ALL FROM c');
	$session->query_safe('COMMIT; RESET ALL');
	return;
}

# A query twice, once with memory enough: the results must be the same.
sub same_result
{
	my ($name, $settings, $query) = @_;
	my $offset = -s $node->logfile;
	my $spilled = $node->safe_psql('postgres', "$settings; $query");

	ok(log_since($node, $offset) =~ /temporary file: path/, "$name: spills");
	is($spilled,
		$node->safe_psql('postgres',
			"SET work_mem = '500MB'; SET hash_mem_multiplier = 4; SET maintenance_work_mem = '500MB'; "
			  . "SET max_parallel_workers_per_gather = 0; $query"),
		"$name: the result is that of a query in memory");
	return;
}

# A query that takes the lock that another session has, in the middle; its result.
# Cursors have no parallel plans.
sub held_by_lock
{
	my ($name, $where, $query) = @_;
	my ($out, $err);

	$session->query_safe('SELECT pg_advisory_lock(1)');
	my $run = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $query ],
		'>', \$out, '2>', \$err);
	ok( wait_until(
			'the query waits',
			sub {
				$node->safe_psql('postgres',
					q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}) > 0;
			}),
		"$name: is held in the middle");
	my %files = temp_files();
	ok(scalar(grep { $_ =~ $where && $files{$_} > HEAD } keys %files),
		"$name: there are such temporary files with something in them")
	  or diag(explain(\%files));
	nowhere($marker, "$name: no row stands in any file");
	$session->query_safe('SELECT pg_advisory_unlock(1)');
	$run->finish;
	is($err, '', "$name: no error");
	chomp $out;
	return $out;
}

my $serial = 'SET max_parallel_workers_per_gather = 0';
my $sum = q{md5(string_agg(v, ',' ORDER BY v))};

# ---- temporary files of one process ----

held('sort', $serial, 'SELECT * FROM t ORDER BY v');
held('hash join', "$serial; SET enable_mergejoin = off; SET enable_nestloop = off",
	'SELECT t.v, u.v FROM t JOIN u USING (v)');
held('hash aggregate', "$serial; SET enable_sort = off", 'SELECT v, count(*) FROM t GROUP BY v');
held('materialised CTE', $serial,
	'WITH c AS MATERIALIZED (SELECT * FROM t) SELECT * FROM c a JOIN (SELECT max(n) m FROM c) b ON true');
held('window function', $serial, 'SELECT v, count(*) OVER (PARTITION BY n % 2) FROM t');
held('in a tablespace', "$serial; SET temp_tablespaces = spc", 'SELECT * FROM t ORDER BY v',
	where => qr{/pg_tblspc/$spc_oid/|^\Q$spc\E/});

same_result('sort', $serial, 'SELECT md5(string_agg(v, $$,$$)) FROM (SELECT v FROM t ORDER BY v DESC) x');
same_result('hash join', "$serial; SET enable_mergejoin = off; SET enable_nestloop = off",
	"SELECT count(*), md5(min(t.v) || max(u.v)), sum(t.n) FROM t JOIN u USING (v)");
same_result('hash aggregate', "$serial; SET enable_sort = off",
	'SELECT count(*), sum(s), min(v) FROM (SELECT v, sum(n) s FROM t GROUP BY v) x');
same_result('CTE read from two places', $serial,
	'WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 20000),
	 c AS MATERIALIZED (SELECT n, v FROM t) SELECT count(*), min(a.v), max(b.v), sum(r.i)
	 FROM c a JOIN c b ON a.n = b.n + 1 JOIN r ON r.i = a.n');
same_result('except and distinct', $serial,
	"SELECT count(*), sum(hashtext(v)::bigint) FROM (SELECT DISTINCT v FROM t EXCEPT ALL SELECT v FROM u WHERE n % 3 = 0) x");

# A holdable cursor outlives its transaction, and is read forwards and backwards.
$session->query_safe('BEGIN; DECLARE h SCROLL CURSOR WITH HOLD FOR SELECT n, v FROM t ORDER BY n; COMMIT');
ok(scalar(grep { $_ > HEAD } values %{ { temp_files() } }), 'holdable cursor: in a file');
nowhere($marker, 'holdable cursor: no row stands in any file');
is($session->query_safe(q{FETCH ABSOLUTE 39999 FROM h}), "39999|${marker}39999" . 'x' x 60,
	'... a row near the end');
is($session->query_safe(q{FETCH ABSOLUTE 2 FROM h}), "2|${marker}2" . 'x' x 60,
	'... and one near the beginning');
is($session->query_safe(q{FETCH RELATIVE 20000 FROM h}), "20002|${marker}20002" . 'x' x 60,
	'... and one in the middle');

# ---- sizes, as the server sees them ----

{
	my %files = temp_files();
	my %shown = map { split /\|/ } split /\n/,
	  $node->safe_psql('postgres', 'SELECT name, size FROM pg_ls_tmpdir()');
	my %disk = map { basename($_) => $files{$_} - HEAD } keys %files;

	is_deeply(\%shown, \%disk, 'pg_ls_tmpdir() shows sizes without the head');
	my ($path) = grep { $files{$_} > HEAD } keys %files;
	(my $rel = $path) =~ s/^\Q$dir\E\///;
	is($node->safe_psql('postgres', "SELECT size FROM pg_stat_file('$rel')"),
		$files{$path} - HEAD, 'so does pg_stat_file()');
	is(-s $path, $files{$path}, 'the file on disk is that much longer');

	my $offset = -s $node->logfile;
	$session->query_safe('CLOSE h');
	my ($logged) = log_since($node, $offset) =~ /temporary file: path "[^"]*", size (\d+)/;
	is($logged, $files{$path} - HEAD, 'and log_temp_files the size without it');
	is(scalar(keys %{ { temp_files() } }), 0, 'no file is left');
}

# temp_file_limit counts what a query wrote, as ever.
{
	my ($ret, $out, $err) = $node->psql('postgres',
		"SET temp_file_limit = '256kB'; $serial; SELECT count(*) FROM (SELECT v FROM t ORDER BY v OFFSET 1) x");
	isnt($ret, 0, 'temp_file_limit ends a query');
	like($err, qr/temporary file size exceeds temp_file_limit \(256kB\)/, '... with its message');
	is(scalar(keys %{ { temp_files() } }), 0, '... and no file is left');
}

# ---- files that processes share ----

my $parallel = 'SET max_parallel_workers_per_gather = 2; SET parallel_leader_participation = off; '
  . 'SET enable_mergejoin = off; SET enable_nestloop = off';

like($node->safe_psql('postgres', "$parallel; EXPLAIN (COSTS off) SELECT t.v, u.v FROM t JOIN u USING (v)"),
	qr/Parallel Hash Join/, 'the plan is a parallel hash join');
is( held_by_lock(
		'parallel hash join', qr/\.(?:shared)?fileset\//,
		"$parallel; SELECT count(*), md5(min(v) || max(v)), sum(n) FROM (SELECT t.v, t.n, "
		  . 'pg_advisory_lock_shared(1) FROM t JOIN u USING (v)) x'),
	$node->safe_psql('postgres', 'SELECT count(*), md5(min(v) || max(v)), sum(n) FROM t'),
	'... and its result is right');
is( held_by_lock(
		'parallel sort', qr/\/pgsql_tmp\d+\.\d+$/,
		q{SET max_parallel_workers_per_gather = 2; SELECT md5(string_agg(v, ',')) FROM (SELECT v, }
		  . 'pg_advisory_lock_shared(1) FROM (SELECT v FROM t ORDER BY v OFFSET 0) x) y'),
	$node->safe_psql('postgres', "SET work_mem = '500MB'; SELECT md5(string_agg(v, ',')) FROM (SELECT v FROM t ORDER BY v) x"),
	'... and its result is right');

# Indexes: each worker of a parallel build hands its part to the leader in a file.
foreach my $workers (0, 2)
{
	my $offset = -s $node->logfile;
	my $mem = $workers ? '96MB' : '1MB';

	$node->safe_psql(
		'postgres', qq{
		SET max_parallel_maintenance_workers = $workers;
		SET maintenance_work_mem = '$mem';
		SET client_min_messages = warning;
		ALTER TABLE t SET (parallel_workers = $workers);
		CREATE EXTENSION IF NOT EXISTS amcheck;
		SET log_min_messages = debug1;
		CREATE INDEX t_v$workers ON t (v);
		RESET log_min_messages;
		SELECT bt_index_check('t_v$workers', true)});
	like(log_since($node, $offset),
		$workers ? qr/building index "t_v2" on table "t" with request for [12] parallel worker/ : qr/temporary file: path/,
		"CREATE INDEX with $workers workers, which " . ($workers ? 'pass on what they sorted in files' : 'spills'));
	is($node->safe_psql('postgres',
			"SET enable_seqscan = off; SET enable_bitmapscan = off; SELECT count(*) FROM t WHERE v >= '$marker'"),
		40000, '... and the index finds every row');
}

nowhere($marker, 'after all of them no row stands in any file');

# ---- temporary tables ----

{
	my $text = new_marker();

	$session->query_safe(qq{SET temp_buffers = '800kB';
		CREATE TEMP TABLE tmp (n int, v text);
		INSERT INTO tmp SELECT g, '$text' || g || repeat('y', 100) FROM generate_series(1, 30000) g;
		CREATE INDEX ON tmp (v)});
	ok(scalar(grep { m{/t\d+_\d+$} && -s $_ } data_files($dir)), 'a temporary table is on disk');
	nowhere($text, 'none of its rows is there in clear');
	is($session->query_safe(q{SELECT count(*), sum(n) FROM tmp}), '30000|450015000', 'they are read back');
	$session->query_safe('DROP TABLE tmp');
}
$session->quit;

# ---- logical decoding ----

{
	my $text = new_marker();
	my @spill;

	$node->safe_psql(
		'postgres', qq{
		CREATE TABLE l (n int PRIMARY KEY, v text) USING cmk_heap;
		SELECT pg_create_logical_replication_slot('s', 'test_decoding')});
	$node->safe_psql(
		'postgres', qq{
		BEGIN; INSERT INTO l SELECT g, '$text' || g FROM generate_series(1, 20000) g;
		SAVEPOINT a; UPDATE l SET v = v || 'u' WHERE n % 2 = 0; RELEASE a;
		SAVEPOINT b; DELETE FROM l WHERE n % 5 = 0; ROLLBACK TO b; COMMIT});

	# A transaction that is not over yet, so that what was read of it stays.
	my $open = $node->background_psql('postgres', on_error_stop => 1);
	$open->query_safe("BEGIN; INSERT INTO l SELECT g, '$text' || g FROM generate_series(100001, 120000) g");
	$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
	my $recv_file = $node->basedir . '/received';
	my $recv = IPC::Run::start(
		[
			'pg_recvlogical', '-d', $node->connstr('postgres'), '--slot', 's', '--start',
			'-f', $recv_file, '-o', 'include-xids=0', '-F', '1', '-s', '1'
		],
		'<', '/dev/null', '2>', \my $recv_err);
	ok( wait_until(
			'decoding spills',
			sub {
				@spill = grep { (-s $_ || 0) > 100_000 } glob("$dir/pg_replslot/s/xid-*.spill");
				return @spill > 0;
			}),
		'a large transaction spills');
	nowhere($text, 'what is spilt is not in clear');
	my ($ls) = $node->safe_psql('postgres',
		"SELECT size FROM pg_stat_file('pg_replslot/s/" . basename($spill[0]) . "', true)");
	ok($ls ne '' && $ls % 4096 != 0, 'the server sees the size of the content') or diag($ls);
	$open->query_safe('COMMIT');
	$open->quit;
	my $rows = sub {
		my $all = -e $recv_file ? slurp_file($recv_file) : '';
		my %n;
		$n{$1} = $2 while $all =~ /(?:INSERT|UPDATE): n\[integer\]:(\d+) v\[text\]:'([a-z]+\d+u?)'/g;
		return \%n;
	};
	wait_until('all is decoded', sub { exists $rows->()->{120000} });
	$recv->signal('INT');
	$recv->finish;
	my %want = map { $_ => "$text$_" . ($_ <= 20000 && $_ % 2 == 0 ? 'u' : '') } 1 .. 20000, 100001 .. 120000;
	is_deeply($rows->(), \%want, 'and every change of it comes back');
	unlink $recv_file;
	is(scalar(glob("$dir/pg_replslot/s/xid-*.spill")), undef, 'no spill file is left');
	$node->safe_psql('postgres', q{SELECT pg_drop_replication_slot('s')});
}

# ---- a subscriber that is streamed to: files that live as long as its worker ----

{
	my $text = new_marker();
	my $sub = new_cmk_node('sub', conf => "log_temp_files = 0\n");

	$node->safe_psql('postgres',
		'CREATE TABLE st (n int PRIMARY KEY, v text) USING cmk_heap; CREATE PUBLICATION p FOR TABLE st');
	$sub->safe_psql('postgres', 'CREATE TABLE st (n int PRIMARY KEY, v text) USING cmk_heap');
	$sub->safe_psql('postgres',
		"CREATE SUBSCRIPTION s CONNECTION \$\$" . $node->connstr('postgres') . "\$\$ PUBLICATION p WITH (streaming = on)");
	$sub->wait_for_subscription_sync($node, 's');
	my $open = $node->background_psql('postgres', on_error_stop => 1);
	$open->query_safe("BEGIN; INSERT INTO st SELECT g, '$text' || g FROM generate_series(1, 10000) g;
		SAVEPOINT a; INSERT INTO st SELECT g, '$text' || g FROM generate_series(10001, 20000) g");
	my @changes;
	ok( wait_until(
			'changes are streamed',
			sub {
				@changes = grep { m{\.fileset/.*\.changes\.\d+$} && -s $_ > HEAD } data_files($sub->data_dir);
				return @changes > 0;
			}),
		'a transaction is streamed to the subscriber');
	is_deeply([ marker_files($sub, $text) ], [], 'none of it stands in a file in clear');
	$open->query_safe("ROLLBACK TO a; INSERT INTO st SELECT g, '$text' || g FROM generate_series(10001, 15000) g; COMMIT");
	$open->quit;
	$node->wait_for_catchup('s');
	is($sub->safe_psql('postgres', "SELECT count(*), sum(n), count(*) FILTER (WHERE v = '$text' || n) FROM st"),
		'15000|112507500|15000', 'and it is applied');
	$sub->safe_psql('postgres', 'DROP SUBSCRIPTION s');
	$sub->stop;
}

# ---- notifications ----

{
	my $text = new_marker();
	my $listener = $node->background_psql('postgres', on_error_stop => 1);
	my @queue;

	# More than the server keeps in its buffers, while a listener does not listen.
	$listener->query_safe('LISTEN c; BEGIN; SELECT 1');
	$node->safe_psql('postgres',
		"SELECT pg_notify('c', '$text' || g || repeat('z', 500)) FROM generate_series(1, 1500) g");
	@queue = grep { -s $_ } glob("$dir/pg_notify/*");
	ok(@queue > 0, 'notifications are on disk');
	is((-s $queue[0]) % 8192, 0, '... in whole pages');
	nowhere($text, '... and not in clear');
	$listener->query_safe('COMMIT');
	$listener->quit;
	my ($ret, $out) = $node->psql('postgres', q{SELECT pg_notification_queue_usage() < 0.5});
	is($out, 't', 'the queue can be asked');

	my $second = $node->background_psql('postgres', on_error_stop => 1);
	$second->query_safe('LISTEN c');
	$node->safe_psql('postgres',
		"SELECT pg_notify('c', '$text' || g) FROM generate_series(1, 2000) g");
	my $got = $second->query('SELECT 1');
	$second->quit;
	my @heard = $got =~ /payload "${text}(\d+)"/g;
	is(scalar(@heard), 2000, 'every notification arrives') or diag(substr($got, 0, 500));
}

# ---- query texts ----

my $texts = 'pg_stat_tmp/pgss_query_texts.stat';
my $dump = "$dir/pg_stat/pg_stat_statements.stat";

# A statement like this is kept as it was given, with its literal, under an entry of
# its own.
sub statement
{
	my ($marker, $name) = @_;
	return "SET $marker.$name = '1'";
}

# How many of them there are to be read.
sub texts_like
{
	my ($pattern) = @_;
	return $node->safe_psql('postgres',
		qq{SELECT count(DISTINCT query) FROM pg_stat_statements WHERE query ~ '^SET $pattern = .1.\$'});
}

{
	my $text = new_marker();
	my $long = 'x' x 20_000;

	$node->safe_psql('postgres', statement($text, 'short') . '; ' . statement($text, "l$long"));
	ok(-s "$dir/$texts" > HEAD, 'query texts are in their file');
	nowhere($text, '... and not in clear');
	is(texts_like("$text.short"), 1, '... and can be read');
	is( $node->safe_psql('postgres', "SELECT query FROM pg_stat_statements WHERE query LIKE 'SET $text.lx%'"),
		statement($text, "l$long"),
		'... a long one, too');
	is( $node->safe_psql('postgres', "SELECT size FROM pg_stat_file('$texts')"),
		(-s "$dir/$texts") - HEAD,
		'... with the size that the server knows');

	# Several sessions write at once.
	my @sessions = map {
		my $i = $_;
		my $file = $node->basedir . "/q$i.sql";
		append_to_file($file, join('', map { statement($text, "s${i}_$_") . ";\n" } 1 .. 200));
		IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-f', $file ], '>', \my $o)
	} 1 .. 4;
	$_->finish foreach @sessions;
	is(texts_like("$text.s._[0-9]+"), 800, 'four sessions at once write 800 texts, which can be read');
	nowhere($text, '... and none is in clear');

	# It outlives the server, sealed.
	$node->stop;
	ok(-s $dump, 'they are kept while the server is down');
	ok(!file_contains($dump, $text), '... not in clear');
	$node->start;
	is(texts_like("$text.s._[0-9]+"), 800, 'the server that is started has them again');
	ok(!-e $dump, '... and removes the file when it was read');
	nowhere($text, '... and nothing is in clear');

	# Texts are thrown out, and the file written anew, when there are too many.
	my $offset = -s $node->logfile;
	$node->append_conf('postgresql.conf', "pg_stat_statements.max = 100\n");
	$node->restart;
	foreach my $round (1 .. 3)
	{
		my $file = $node->basedir . "/gc$round.sql";
		append_to_file($file, join('', map { statement($text, "g${round}_${_}$long") . ";\n" } 1 .. 150));
		$node->command_ok([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-o', '/dev/null', '-f', $file ],
			"many texts, round $round");
	}
	$node->safe_psql('postgres', statement($text, 'last'));
	is(texts_like("$text.last"), 1, 'after that texts can be read');
	ok(-s "$dir/$texts" < 450 * 20_000, '... the file was written anew');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_statements WHERE query IS NULL}),
		0, '... and every entry has its text');
	unlike(log_since($node, $offset), qr/could not (?:read|write|truncate|create) file/, '... and nothing failed');
	nowhere($text, '... and nothing is in clear');

	$node->safe_psql('postgres', 'SELECT pg_stat_statements_reset()');
	$node->safe_psql('postgres', statement($text, 'again'));
	is(texts_like("$text.again"), 1, 'after a reset, too');
}

# ---- what a server leaves that ends at once ----

{
	my $text = new_marker();
	my $holder = $node->background_psql('postgres', on_error_stop => 1);

	$holder->query_safe("BEGIN; DECLARE c CURSOR FOR SELECT v || '$text' FROM t ORDER BY 1; FETCH 10 FROM c");
	my %before = temp_files();
	my ($left) = grep { $before{$_} > HEAD } keys %before;
	my $copy = $node->basedir . '/left';
	copy_tree("$dir/base/pgsql_tmp", $copy);
	$node->stop('immediate');
	eval { $holder->quit };
	ok(-e $left, 'a server that is stopped at once leaves its temporary files');
	nowhere($text, '... in which nobody finds a row');
	$node->start;
	ok(!-e $left, '... and removes them when it starts');

	# A file of another life of the server, put back: ciphertext of a lost key.
	my $name = basename($left);
	command_ok([ 'cp', "$copy/$name", "$dir/base/pgsql_tmp/$name" ], 'one of them is put back');
	my ($ret, $out, $err) = $node->psql('postgres',
		"SELECT length(pg_read_binary_file('base/pgsql_tmp/$name', 0, 100000, false))");
	is($ret, 0, 'as bytes it can be read');
	ok(!file_contains("$dir/base/pgsql_tmp/$name", $text), '... in which nothing is to be seen');
	unlink "$dir/base/pgsql_tmp/$name";
}

# Processes that are restarted in place have the same key, and begin with nothing.
{
	my $pid = $node->safe_psql('postgres', 'SELECT pg_backend_pid()');
	my $victim = $node->background_psql('postgres', on_error_stop => 0);
	$victim->query_safe("BEGIN; DECLARE c CURSOR FOR SELECT v FROM t ORDER BY 1; FETCH 10 FROM c");
	my $victim_pid = $victim->query_safe('SELECT pg_backend_pid()');
	my $offset = -s $node->logfile;

	kill 'KILL', $victim_pid;
	ok( wait_until(
			'the server is back',
			sub {
				return log_since($node, $offset) =~ /database system is ready to accept connections/
				  && hears($node) eq '';
			}),
		'a crash of one process restarts all');
	eval { $victim->quit };
	is(scalar(keys %{ { temp_files() } }), 0, 'temporary files of before are removed');
	same_result('after that', $serial, "SELECT $sum FROM t");
	nowhere($marker, '... and nothing is in clear');
}

# ---- a key that is not there when the file is wanted ----

{
	my $text = new_marker();
	my $offset;

	$node->safe_psql('postgres', statement($text, 'kept'));
	$node->stop;
	ok(-s $dump && !file_contains($dump, $text), 'texts are kept, sealed');
	$offset = -s $node->logfile;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_stat_statements'\n");
	$node->start;
	is(texts_like("$text.kept"), 0, 'a server without pg_cmk has them not');
	like(log_since($node, $offset), qr/ignoring invalid data in file "pg_stat\/pg_stat_statements.stat"/,
		'... and says why');
	unlike(log_since($node, $offset), qr/$text/, '... without showing them');

	# What it kept itself is read, and sealed from then on; in either order of the
	# libraries.
	$node->safe_psql('postgres', statement($text, 'plain'));
	$node->stop;
	ok(file_contains($dump, $text), 'what it keeps itself is plain');
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_cmk,pg_stat_statements'\n");
	$node->start;
	is(texts_like("$text.plain"), 1, 'with pg_cmk it is taken over');
	nowhere($text, '... and not in clear any more');
	$node->restart;
	is(texts_like("$text.plain"), 1, 'and kept, sealed');
}

$node->stop;
done_testing();
