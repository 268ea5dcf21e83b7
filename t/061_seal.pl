# Sealing in place.
#
# Tables that were born plain, with TOAST tables, indexes of every kind, sequences
# and unlogged tables, are sealed while pgbench writes to one of them.  The server is
# stopped at once, and its processes killed, in the middle; writes are torn at sector
# boundaries (t/modules/tear.c), with data checksums and without.  After each of these
# every row is there, and in the end all is sealed, on a standby too, and a plain page
# is refused.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SealTest;
use Test::More;

# ---- what it does ----

my $node = new_cmk_node('main', checksums => 1, allows_streaming => 1,
	conf => "pg_cmk.seal_rate = 0\nwal_keep_size = 1GB\n");
my $marker = new_marker();
$node->safe_psql('postgres', 'CREATE EXTENSION amcheck');
make_table($node, 'postgres', 't', $marker, 1000);
make_table($node, 'postgres', 'u', $marker, 100, unlogged => 1);
$node->safe_psql('postgres', qq{
	CREATE SEQUENCE s; SELECT nextval('s');
	CREATE TABLE p (id int, v text) PARTITION BY RANGE (id);
	CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (100);
	CREATE INDEX ON p (v);
	INSERT INTO p SELECT g, '$marker' || g FROM generate_series(1, 99) g;
	CREATE MATERIALIZED VIEW m AS SELECT * FROM p;
	CREATE TEMP TABLE tmp (i int); SELECT cmk.seal('tmp');
	CHECKPOINT});
ok(scalar(marker_files($node, $marker)) > 5, 'control: all of this is plain');

$node->backup('b');
my $standby = copy_of($node, 'standby', 'b', has_streaming => 1);
$standby->start;

my $sealed = $node->safe_psql('postgres', q{SELECT cmk.seal('t')});
is(sealed_faults($node, 'postgres', 't'), '', 'cmk.seal(): the table, its TOAST table and all indexes are sealed');
cmp_ok($sealed, '>', 100, '... as many pages as it says');
is($node->safe_psql('postgres', q{SELECT cmk.seal('t')}), 0, '... and nothing is left to do');
is(row_faults($node, 'postgres', 't', $marker, 1000), '', '... every row is there');
$node->safe_psql('postgres', qq{SELECT cmk.seal('$_')}) foreach 'u', 's', 'p', 'm';
is(row_faults($node, 'postgres', 'u', $marker, 100), '', 'an unlogged table');
is($node->safe_psql('postgres', q{SELECT nextval('s'), cmk.is_sealed('s')}), '2|t', 'a sequence');
is(sealed_faults($node, 'postgres', 'p', 'm'), '', 'partitions, and a materialized view');
# pg_statistic holds values too
$node->safe_psql('postgres', q{SELECT cmk.seal('pg_statistic'); CHECKPOINT});
$node->restart;
is_deeply([ marker_files($node, $marker) ], [], 'the marker stands nowhere any more');
is(sealed_faults($node, 'postgres', 'u'), '', '... nor is a page of the unlogged table plain');
$node->wait_for_catchup($standby);
$standby->safe_psql('postgres', 'CHECKPOINT');
is(sealed_faults($standby, 'postgres', 't', 'p', 'm'), '', 'the standby ends sealed');
is_deeply([ marker_files($standby, $marker) ], [], '... without the marker');
is($standby->safe_psql('postgres', q{SELECT cmk.is_sealed('t'), cmk.is_sealed('s')}), 't|t', '... and says so');
$standby->stop('immediate');
$standby->start;
is($standby->safe_psql('postgres', 'SELECT count(*) FROM t'), 1000, '... also after a crash of it');
my ($ret, $out, $err) = $standby->psql('postgres', q{SELECT cmk.seal('t')});
like($err, qr/cannot execute cmk\.seal\(\) during recovery/, '... where nothing is sealed in place');

# A rewrite in scope tables keeps the key.
$node->safe_psql('postgres', q{VACUUM FULL t; CLUSTER t USING t_pkey; ALTER TABLE t ADD c int DEFAULT random(); REFRESH MATERIALIZED VIEW m; ALTER TABLE p ADD q text; REINDEX TABLE t; CREATE INDEX t_late ON t (v); CHECKPOINT});
is(sealed_faults($node, 'postgres', 't', 'm', 'p'), '', 'what replaces it is sealed');

# A plain page is refused.
my $path = $node->data_dir . '/' . $node->safe_psql('postgres', q{SELECT pg_relation_filepath('p1')});
$node->stop;
my $page = read_bytes($path, 0, PAGE_SIZE);
write_bytes($path, 10, pack('v', unpack('v', substr($page, 10, 2)) & 0x7fff));
$node->start;
($ret, $out, $err) = $node->psql('postgres', 'SELECT * FROM p1');
isnt($ret, 0, 'a plain page in a sealed relation is refused');
$node->stop;
write_bytes($path, 0, $page);
$node->start;

# A rollback leaves pages sealed, and the relation known as it is.
make_table($node, 'postgres', 'r', $marker, 100);
$node->safe_psql('postgres', q{BEGIN; SELECT cmk.seal('r'); ROLLBACK});
is(row_faults($node, 'postgres', 'r', $marker, 100), '', 'a rollback');
$node->safe_psql('postgres', q{SELECT cmk.seal('r'); CHECKPOINT});
is(sealed_faults($node, 'postgres', 'r'), '', '... after which it is sealed all the same');

# Refused
$node->safe_psql('postgres', 'CREATE ROLE joe; GRANT USAGE ON SCHEMA cmk TO joe');
($ret, $out, $err) = $node->psql('postgres', q{SET ROLE joe; SELECT cmk.seal('r')});
like($err, qr/permission denied/, 'not for everybody');
$node->append_conf('postgresql.conf', 'full_page_writes = off');
$node->reload;
make_table($node, 'postgres', 'f', $marker, 100);
($ret, $out, $err) = $node->psql('postgres', q{SELECT cmk.seal('f')});
like($err, qr/full_page_writes/, 'not without full_page_writes');
$node->append_conf('postgresql.conf', 'full_page_writes = on');
$node->reload;
ok(wait_until('it is known to be on', sub {
	$node->safe_psql('postgres', 'CHECKPOINT');
	return ($node->psql('postgres', q{CREATE TABLE IF NOT EXISTS on_again (i int) USING heap; SELECT cmk.seal('on_again')}))[0] == 0 }),
	'... but with them, after a checkpoint');

# Waits for a base backup
my $backup = $node->background_psql('postgres');
$backup->query_safe(q{SET client_min_messages = error; SELECT pg_backup_start('x', true)});
my $seal = $node->background_psql('postgres');
$seal->query_until(qr/started/, "\\echo started\nSELECT cmk.seal('f');\n");
ok(wait_until('it waits for the backup', sub {
	$node->safe_psql('postgres', q{SELECT phase FROM cmk.progress}) eq 'waiting for base backups' }),
	'a base backup holds it up');
is($node->safe_psql('postgres', q{SELECT sum(sealed) FROM cmk.pages('f')}), 0, '... before any page is sealed');
$backup->query_safe('SELECT count(*) FROM pg_backup_stop()');
$backup->quit;
ok(wait_until('it is sealed', sub {
	$node->safe_psql('postgres', q{SELECT cmk.is_sealed('f')}) eq 't' }), '... until it ends');
$seal->quit;
is($node->safe_psql('postgres', 'SELECT count(*) FROM cmk.progress'), 0, 'nobody is at work any more');
$node->stop;
$standby->stop;

# ---- torn writes ----

my $tear = new_tear();
foreach my $checksums (1, 0)
{
	my $torn = new_cmk_node("torn$checksums", checksums => $checksums,
		conf => "pg_cmk.seal_rate = 0\nrestart_after_crash = off\n");

	$torn->safe_psql('postgres', 'CREATE EXTENSION amcheck; CREATE EXTENSION pageinspect');
	$torn->stop;
	my ($faults, $n) = torn_faults($tear, $torn, what => 1, function => 'cmk.seal', am => 'heap',
		check => sub { my ($table, $mark) = @_; return map { "plain text in $_" } marker_files($torn, $mark) });
	is($faults, '', "pages torn between plain and sealed, at every sector (checksums $checksums)");
	is($n, 15, '... were really torn');
}

# ---- crashes at any moment, under load ----

my $busy = new_cmk_node('busy', checksums => 1, allows_streaming => 1,
	conf => "pg_cmk.seal_rate = 20MB\nwal_keep_size = 4GB\nshared_buffers = 4MB\n"
	  . "autovacuum = on\nautovacuum_naptime = 1s\nautovacuum_vacuum_cost_delay = 0\n");
my $scale = $ENV{CMK_SEAL_SCALE} || 2;
my $rounds = $ENV{CMK_SEAL_ROUNDS} || 10;

$busy->safe_psql('postgres', 'CREATE EXTENSION amcheck');
$busy->command_ok([ 'pgbench', '-i', '-q', '-s', $scale, '-p', $busy->port, '-h', $busy->host, 'postgres' ],
	'pgbench -i');
make_table($busy, 'postgres', 'still', $marker, 1000);
$busy->backup('b');
my $copy = copy_of($busy, 'copy', 'b', has_streaming => 1);
$copy->start;

my @tables = ('pgbench_accounts', 'pgbench_branches', 'pgbench_tellers', 'pgbench_history', 'still', 'pg_statistic', 'pg_class', 'pg_attribute');
my @faults;
my $crashes = 0;
my $finished = 0;
for (my $round = 1; $round <= $rounds; $round++)
{
	my ($in, $pgbench_out, $seal_out) = ('', '', '');
	my $pgbench = IPC::Run::start(
		[ 'pgbench', '-n', '-c', 3, '-T', 600, '-p', $busy->port, '-h', $busy->host, 'postgres' ],
		'<', \$in, '>&', \$pgbench_out);
	my $sealing = IPC::Run::start(
		[
			'psql', '-XAtq', '-h', $busy->host, '-p', $busy->port, '-d', 'postgres', '-c',
			join('; ', map { "SELECT cmk.seal('$_')" } @tables[ $round % 3 .. $#tables ], @tables)
		],
		'<', \$in, '>&', \$seal_out);
	my $target = int(rand(3000));
	my $all = 0;

	# Until it is so far, or through.
	wait_until('some pages are sealed', sub {
		my ($n) = $busy->safe_psql('postgres', 'SELECT coalesce(max(blocks_sealed), 0) FROM cmk.progress');
		$all = $busy->safe_psql('postgres', "SELECT bool_and(cmk.is_sealed(c::regclass)) FROM unnest('{@{[join(',', @tables)]}}'::text[]) c") eq 't';
		return $all || $n >= $target; });
	$target /= 2;
	if ($round % 3 == 0)
	{
		# One backend by itself: the postmaster restarts all.
		my $pid = $busy->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND query LIKE '%cmk.seal%' LIMIT 1});
		if ($pid) { kill 'KILL', $pid; $crashes++ }
		$pgbench->signal('KILL');
		wait_until('the server is back', sub {
			return hears($busy) eq '' });
	}
	elsif ($round % 3 == 1)
	{
		$busy->stop('immediate');
		$crashes++;
		$busy->start;
	}
	else
	{
		$copy->stop('immediate');
		$busy->stop('immediate');
		$crashes++;
		$busy->start;
		$copy->start;
	}
	$_->kill_kill foreach $pgbench, $sealing;
	push @faults, "round $round: $_" foreach sums_fault($busy, $scale) || ();
	push @faults, "round $round: " . $_ foreach row_faults($busy, 'postgres', 'still', $marker, 1000) || ();
	push @faults, "round $round: an index" if $busy->safe_psql('postgres', q{
		SELECT count(bt_index_check(indexrelid, true)) FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE relam = 403}) < 50;
	push @faults, "round $round: heap" if $busy->safe_psql('postgres', q{
		SELECT count(*) FROM pg_class c, verify_heapam(c.oid) WHERE c.relkind IN ('r', 't', 'm')});
	$finished = $all;
}
is(join("\n", @faults), '', "$crashes crashes while pages are sealed under load: no row lost, no page unreadable");
cmp_ok($crashes, '>=', $rounds * 2 / 3, '... as many as there should be');
$busy->safe_psql('postgres', "SELECT cmk.seal('$_')") foreach @tables;
$busy->safe_psql('postgres', 'CHECKPOINT');
is(sealed_faults($busy, 'postgres', @tables), '', '... and it is finished');
$busy->wait_for_catchup($copy);
$copy->safe_psql('postgres', 'CHECKPOINT');
is(sealed_faults($copy, 'postgres', @tables), '', '... on the standby, which crashed too');
is($copy->safe_psql('postgres', 'SELECT sum(abalance) FROM pgbench_accounts'),
	$busy->safe_psql('postgres', 'SELECT sum(abalance) FROM pgbench_accounts'), '... which has the same rows');
$copy->promote;
is(row_faults($copy, 'postgres', 'still', $marker, 1000), '', '... and can be promoted');
$busy->stop;
command_ok([ 'pg_checksums', '--check', '-D', $busy->data_dir ], 'pg_checksums finds no fault');
done_testing();
