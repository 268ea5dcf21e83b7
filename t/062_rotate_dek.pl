# New data keys: cmk.rotate_dek().
#
# Every page of a table, its TOAST table and indexes comes under a new key while it is
# used, on a standby too, and the old key is gone from the keys file and from memory
# in the end.  What interrupts it (a cancelled session, a crash at any moment, writes
# torn between the two keys, a promotion, a copy of the database, a base backup)
# loses nothing, and it is gone on with.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use MemoryTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SealTest;
use Test::More;

my $marker = new_marker();

# { generation modulo 16 => pages } of what is on disk of a relation, all forks; "plain"
# and "unmet" are counted too.
sub generations_of
{
	my ($rel) = @_;
	my %n;

	foreach my $path (glob("$rel->{path} $rel->{path}_* $rel->{path}.*"))
	{
		my $bytes = slurp_file($path);

		for (my $off = 0; $off + PAGE_SIZE <= length $bytes; $off += PAGE_SIZE)
		{
			my $page = substr($bytes, $off, PAGE_SIZE);
			my $flags = unpack('v', substr($page, 10, 2));

			next if ($page =~ tr/\0//c) == 0;
			$n{ $flags & 0x8000 ? $flags >> 11 & 15 : 'plain' }++;
			$n{unmet}++ if $flags & 0x8000 && $flags & 0x0400;
		}
	}
	return \%n;
}

# The same of tables, with all that belongs to them.
sub generations
{
	my ($node, $db, @tables) = @_;
	my %sum;

	foreach my $rel (relations_of($node, $db, @tables))
	{
		my $n = generations_of($rel);
		$sum{$_} += $n->{$_} foreach keys %$n;
	}
	return \%sum;
}

# The generations that the pages have, as text.
sub generations_on_disk
{
	my $n = generations(@_);
	return join(' ', sort grep { $_ ne 'unmet' } keys %$n);
}

# Generations that the records of the tables have, "3 4* 4": those of tombstones with a star.
sub generations_of_records
{
	my ($node, $db, @tables) = @_;
	my %ids = map { relid_of($node, $db, $_->{name}) => 1 } relations_of($node, $db, @tables);
	my %seen = map { $_->{generation} . ($_->{state} == 2 ? '*' : '') => 1 }
	  grep { $ids{ $_->{id} } } keys_records($node);

	return join(' ', sort keys %seen);
}

sub records_of
{
	my ($node, $db, @tables) = @_;
	my %ids = map { relid_of($node, $db, $_->{name}) => 1 } relations_of($node, $db, @tables);

	return grep { $ids{ $_->{id} } } keys_records($node);
}

# Nobody is at work any more, and all records of the tables are of one generation.
sub is_through
{
	my ($node, $db, @tables) = @_;
	my %live = map { $_->{id} => 0 } records_of($node, $db, @tables);

	$live{ $_->{id} }++ foreach grep { $_->{state} == 1 } records_of($node, $db, @tables);
	return !grep { $_ != 1 } values %live;
}

# Begins a rotation and stops it in the middle, by ending the session.
sub half_rotate
{
	my ($node, $db, $table) = @_;
	my $session;

	$node->append_conf('postgresql.conf', 'pg_cmk.seal_rate = 512');
	$node->reload;
	$session = $node->background_psql($db);
	$session->query_until(qr/started/, "\\echo started\nSELECT cmk.rotate_dek('$table');\n");
	wait_until('some pages came under the new key', sub {
		$node->safe_psql($db, 'SELECT coalesce(max(blocks_sealed), 0) FROM cmk.progress') >= 4 });
	$node->safe_psql($db, q{SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE query LIKE '%cmk.rotate_dek%' AND pid <> pg_backend_pid()});
	eval { $session->quit };
	return;
}

sub full_speed
{
	my ($node) = @_;

	$node->append_conf('postgresql.conf', 'pg_cmk.seal_rate = 0');
	$node->reload;
	return;
}

# ---- what it does ----

my $node = new_cmk_node('main', checksums => 1, allows_streaming => 1,
	conf => "pg_cmk.seal_rate = 0\nwal_keep_size = 1GB\n");
$node->safe_psql('postgres', 'CREATE EXTENSION amcheck');
make_table($node, 'postgres', 't', $marker, 1000, am => 'cmk_heap');
make_table($node, 'postgres', 'u', $marker, 100, am => 'cmk_heap', unlogged => 1);
make_table($node, 'postgres', 'late', $marker, 300);
$node->safe_psql('postgres', qq{
	SELECT cmk.seal('late');
	CREATE SEQUENCE s; SELECT nextval('s'); SELECT cmk.seal('s');
	CREATE TABLE p (id int, v text) PARTITION BY RANGE (id);
	CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (100) USING cmk_heap;
	CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (200) USING cmk_heap;
	CREATE INDEX ON p (v);
	INSERT INTO p SELECT g, '$marker' || g FROM generate_series(1, 199) g;
	CREATE MATERIALIZED VIEW m USING cmk_heap AS SELECT * FROM p;
	CREATE TABLE plain (i int) USING heap; INSERT INTO plain VALUES (1);
	CREATE VIEW v AS SELECT 1;
	CREATE ROLE joe; CREATE ROLE admin; GRANT cmk_admin TO admin; GRANT USAGE ON SCHEMA cmk TO joe;
	CHECKPOINT});
$node->backup('b');
my $standby = copy_of($node, 'standby', 'b', has_streaming => 1);
$standby->start;

is(generations_on_disk($node, 'postgres', 't'), '1', 'control: all pages are of the first generation');
my %old_keys = known_keys($node, root_from_file($node, $node->basedir . '/kek.pem'));
my @old = records_of($node, 'postgres', 't');
my $size = $node->safe_psql('postgres', q{SELECT pg_total_relation_size('t') / 8192});
my $pages = $node->safe_psql('postgres', q{SELECT cmk.rotate_dek('t')});
cmp_ok($pages, '>', $size * 0.9, 'cmk.rotate_dek(): as many pages as there are');
is(generations_on_disk($node, 'postgres', 't'), '2', '... are of the second generation on disk, at once');
is(sealed_faults($node, 'postgres', 't'), '', '... sealed all');
is(row_faults($node, 'postgres', 't', $marker, 1000), '', '... every row is there');
is($node->safe_psql('postgres', q{SELECT DISTINCT generation, sealed FROM cmk.relations WHERE relation::text LIKE 't%'}),
	'2|t', 'cmk.relations shows it');
is($node->safe_psql('postgres', q{SELECT relations_sealed = (SELECT count(*) FROM cmk.relations) FROM cmk.status}), 't', '... each relation once');
is(generations_of_records($node, 'postgres', 't'), '1* 2', 'in the keys file the old keys are tombstones');
settle_deaths($node);
is(generations_of_records($node, 'postgres', 't'), '2', '... and after a checkpoint they are gone');
my $keys = slurp_file(keys_path($node));
is(scalar(grep { index($keys, substr($_->{raw}, 56)) >= 0 } @old), 0, '... with their wrapped bytes');

# Memory: the other keys are a control.
$node->safe_psql('postgres', 'SELECT count(*) FROM t; CHECKPOINT');
my %new_keys = known_keys($node, root_from_file($node, $node->basedir . '/kek.pem'));
my %is_new = map { $_ => 1 } values %new_keys;
my %gone = map { $_ => $old_keys{$_} } grep { !$is_new{ $old_keys{$_} } } keys %old_keys;
is(scalar(keys %gone), 2 * @old, 'as many keys are gone as the table had');
my @found;
wait_until('no process has them', sub { @found = memory_of($node, \%gone); !@found });
is_deeply(\@found, [], '... from the memory of all processes');
cmp_ok(scalar(memory_of($node, \%new_keys)), '>', 0, '... in which the others are');

$node->safe_psql('postgres', qq{SELECT cmk.rotate_dek('$_')}) foreach 'u', 's', 'p', 'm', 'late';
is(generations_on_disk($node, 'postgres', 'p', 'm', 'late'), '2', 'partitions, a materialized view, a table that was sealed in place');
is(row_faults($node, 'postgres', 'late', $marker, 300), '', '... with its rows');
is($node->safe_psql('postgres', q{SELECT nextval('s'), cmk.is_sealed('s')}), '2|t', 'a sequence');
is(row_faults($node, 'postgres', 'u', $marker, 100), '', 'an unlogged table');
$node->restart;
is(generations_on_disk($node, 'postgres', 'u'), '2', '... is under the new key');
is(row_faults($node, 'postgres', 'u', $marker, 100), '', '... with its rows after a restart');
$node->safe_psql('postgres', q{SELECT cmk.rotate_dek('u')});
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', 'SELECT count(*) FROM u'), 0, '... and empty after a crash');
$node->safe_psql('postgres', "INSERT INTO u SELECT g, 'x' FROM generate_series(1, 9) g; CHECKPOINT");
is(generations_on_disk($node, 'postgres', 'u'), '3', '... under the newest key');

# The standby
$node->wait_for_catchup($standby);
is(generations_on_disk($standby, 'postgres', 't', 'p', 'm', 'late'), '2', 'the standby ends without a page under the old key');
settle_deaths($node);
$node->wait_for_catchup($standby);
ok(wait_until('the standby erased the old keys', sub {
	$node->safe_psql('postgres', q{CHECKPOINT; SELECT pg_logical_emit_message(false, 'test', 'some WAL')});
	$node->wait_for_catchup($standby);
	$standby->safe_psql('postgres', 'CHECKPOINT');
	generations_of_records($standby, 'postgres', 't', 'p', 'm', 'late') eq '2' }), '... and without an old key');
is($standby->safe_psql('postgres', q{SELECT count(*), (SELECT generation FROM cmk.relations WHERE relation = 't'::regclass) FROM t}), '1000|2', '... and reads');
my ($ret, $out, $err) = $standby->psql('postgres', q{SELECT cmk.rotate_dek('t')});
like($err, qr/cannot execute cmk\.rotate_dek\(\) during recovery/, '... where nothing is rotated');

# Refused
foreach my $case (
	[ 'plain', qr/relation "plain" is not wholly sealed.*HINT:.*cmk\.seal\(\)/s, 'a plain table' ],
	[ 'v', qr/cannot rotate the data key of "v".*not supported for views/s, 'a view' ],
	[ 'tmp', qr/temporary relation "tmp".*in memory only/s, 'a temporary table', 'CREATE TEMP TABLE tmp (i int);' ],
	[ 't', qr/permission denied for function rotate_dek/, 'for everybody', 'SET ROLE joe;' ],
	[ 't', qr/full_page_writes/, 'without full_page_writes' ])
{
	$node->append_conf('postgresql.conf', 'full_page_writes = ' . ($case->[2] =~ /full_page/ ? 'off' : 'on'));
	$node->reload;
	($ret, $out, $err) = $node->psql('postgres', ($case->[3] || '') . "SELECT cmk.rotate_dek('$case->[0]')");
	like($err, $case->[1], "not $case->[2]");
}
$node->append_conf('postgresql.conf', 'full_page_writes = on');
$node->reload;
# As long as the server knows that they were off, it takes a checkpoint.
ok(wait_until('it is known to be on', sub {
	$node->safe_psql('postgres', 'CHECKPOINT');
	return ($node->psql('postgres', q{SET ROLE admin; SELECT cmk.rotate_dek('p1') > 0}))[1] eq 't' }),
	'cmk_admin may');

# One index alone; the whole alphabet of generations, and once more.
$node->safe_psql('postgres', "CREATE TABLE small (id int PRIMARY KEY, v text) USING cmk_heap; INSERT INTO small SELECT g, '$marker' FROM generate_series(1, 300) g");
$node->safe_psql('postgres', q{SELECT cmk.rotate_dek('small_pkey'); CHECKPOINT});
is(generations_on_disk($node, 'postgres', 'small'), '1 2', 'an index alone');
my @wrong;
for (my $g = 3; $g <= 36; $g++)
{
	$node->safe_psql('postgres', q{UPDATE small SET v = v || 'x' WHERE id % 5 = 0; SELECT cmk.rotate_dek('small')});
	my ($table, $index) = (($g - 1) % 16, $g % 16);
	push @wrong, "generation $g: " . generations_on_disk($node, 'postgres', 'small')
	  if generations_on_disk($node, 'postgres', 'small') ne join(' ', sort $table, $index);
	push @wrong, "generation $g: rows" if $node->safe_psql('postgres', 'SELECT count(*) FROM small') != 300;
}
is(join("\n", @wrong), '', '34 rotations in a row, more than a page can tell apart');
is($node->safe_psql('postgres', q{SELECT count(bt_index_check('small_pkey', true)), (SELECT generation FROM cmk.relations WHERE relation = 'small'::regclass)}), '1|35', '... without a fault');
cmp_ok(scalar(records_of($node, 'postgres', 'small')), '<=', 32, '... and the keys file has not more than can be told apart');
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', 'SELECT count(*) FROM small'), 300, '... nor on the standby');
settle_deaths($node);
is(generations_of_records($node, 'postgres', 'small'), '35 36', '... and one key each is left');
$standby->stop('immediate');
$standby->start;
is($standby->safe_psql('postgres', 'SELECT count(*) FROM small'), 300, '... after a crash of the standby too');
$standby->stop;

# A crash between the steps of a birth
foreach my $step ('generation-after-file', 'generation-after-wal', 'seal-logged', 'whole-logged')
{
	$node->psql('postgres', qq{SET pg_cmk.debug_crash_at = '$step'; SELECT cmk.rotate_dek('late')});
	wait_until('the server is back', sub { hears($node) eq '' });
	is(row_faults($node, 'postgres', 'late', $marker, 300), '', "a crash at $step: every row is there");
	ok(wait_until('it is finished', sub { is_through($node, 'postgres', 'late') }), '... and it is finished by itself');
}

$node->stop;

# ---- interrupted ----

# So few workers that nobody finishes what is begun here: one for the key, one for the
# launcher.
my $half = new_cmk_node('half', allows_streaming => 1,
	conf => "max_worker_processes = 2\nwal_keep_size = 1GB\n");
my $ts = $half->basedir . '/ts';
mkdir $ts;
$half->safe_psql('postgres', "CREATE TABLESPACE ts LOCATION '$ts'; CREATE DATABASE half");
$half->safe_psql('half', 'CREATE EXTENSION pg_cmk; CREATE EXTENSION amcheck');
make_table($half, 'half', $_, $marker, 400, am => 'cmk_heap') foreach 't', 'x1', 'x2', 'x3', 'x4';
half_rotate($half, 'half', $_) foreach 't', 'x1', 'x2', 'x3', 'x4';
is(generations_on_disk($half, 'half', 't'), '1 2', 'a session that is ended leaves pages under both keys');
like(generations_of_records($half, 'half', 't'), qr/^1 .*2$/, '... and both keys');
is(row_faults($half, 'half', 't', $marker, 400), '', '... every row is there');
$half->safe_psql('postgres', 'SELECT cmk.rotate_root(); CHECKPOINT');
$half->stop('immediate');
$half->start;
is(row_faults($half, 'half', 't', $marker, 400), '', '... and after a new root and a crash');
$half->safe_psql('half', 'UPDATE t SET v = v WHERE id % 2 = 0; VACUUM t; CHECKPOINT');
is(generations_on_disk($half, 'half', 't'), '1 2', 'ordinary writes leave a page what it is');

foreach my $strategy ('file_copy', 'wal_log')
{
	$half->safe_psql('postgres', "CREATE DATABASE $strategy TEMPLATE half STRATEGY $strategy; CHECKPOINT");
	is(row_faults($half, $strategy, 't', $marker, 400), '', "CREATE DATABASE STRATEGY $strategy in the middle: every row");
	is(generations_on_disk($half, $strategy, 't'), '1', '... under keys of its own');
}
$half->safe_psql('postgres', 'ALTER DATABASE half SET TABLESPACE ts; CHECKPOINT');
is(row_faults($half, 'half', 't', $marker, 400), '', 'ALTER DATABASE SET TABLESPACE in the middle');
is(generations_on_disk($half, 'half', 't'), '1', '... has one key again');
$half->safe_psql('postgres', 'ALTER DATABASE half SET TABLESPACE pg_default');
$half->safe_psql('postgres', 'DROP TABLESPACE ts');
half_rotate($half, 'half', 't');
is(generations_on_disk($half, 'half', 't'), '1 2', 'again in the middle');
half_rotate($half, 'half', $_) foreach 'x1', 'x2', 'x3', 'x4';
$half->safe_psql('half', 'TRUNCATE x1; VACUUM FULL x2; REINDEX TABLE x3; DROP TABLE x4; CHECKPOINT');
is($half->safe_psql('half', 'SELECT count(*) FROM x1'), 0, 'TRUNCATE in the middle');
is(row_faults($half, 'half', 'x2', $marker, 400), '', 'VACUUM FULL in the middle');
is(generations_on_disk($half, 'half', 'x2'), '1', '... ends it: a new file has one key');
is(row_faults($half, 'half', 'x3', $marker, 400), '', 'REINDEX in the middle');
ok(wait_no_orphans($half), 'DROP in the middle: no key is left of what is gone');

# A base backup in the middle
$half->backup('mid', backup_options => []);
my $restored = copy_of($half, 'restored', 'mid');
$restored->append_conf('postgresql.conf', "pg_cmk.seal_rate = 0\n");
$restored->start;
is(row_faults($restored, 'half', 't', $marker, 400), '', 'a base backup in the middle, restored: every row');
is(generations_on_disk($restored, 'half', 't'), '1 2', '... and in the middle');
$restored->safe_psql('half', q{SELECT cmk.rotate_dek('t')});
is(generations_on_disk($restored, 'half', 't'), '2', '... where it can be finished, with the same key');
is(generations_of_records($restored, 'half', 't'), '1* 2', '... and no third');
$restored->stop;

# A promotion in the middle
my $promoted = copy_of($half, 'promoted', 'mid', has_streaming => 1);
$promoted->append_conf('postgresql.conf', "pg_cmk.seal_rate = 0\nmax_worker_processes = 8\n");
$promoted->start;
make_table($half, 'half', 'y', $marker, 400, am => 'cmk_heap');
half_rotate($half, 'half', 'y');
$half->wait_for_catchup($promoted);
like(generations_of_records($promoted, 'half', 'y'), qr/^1 .*2$/, 'a standby in the middle has both keys');
$promoted->promote;
ok(wait_until('it is finished', sub { is_through($promoted, 'half', 't', 'x3', 'y') }), '... and finishes it when it is promoted, by itself');
is(generations_on_disk($promoted, 'half', 'y', 't'), '2', '... no page is under the old key');
is(row_faults($promoted, 'half', $_, $marker, 400), '', "... every row of $_") foreach 't', 'x3', 'y';
$promoted->stop;

# The call goes on with it
full_speed($half);
$half->safe_psql('half', q{SELECT cmk.rotate_dek('t')});
is(generations_on_disk($half, 'half', 't'), '2', 'the next call goes on with what was begun');
is(generations_of_records($half, 'half', 't'), '1* 2', '... and makes no third key');

# A start goes on with the rest
$half->append_conf('postgresql.conf', 'max_worker_processes = 8');
$half->stop('immediate');
$half->start;
ok(wait_until('it is finished', sub { is_through($half, 'half', 'x3', 'y') }), 'the next start finishes what is left, by itself');
is(generations_on_disk($half, 'half', 'y'), '2', '... no page is under the old key');
make_table($half, 'half', 'z', $marker, 400, am => 'cmk_heap');
half_rotate($half, 'half', 'z');
full_speed($half);
ok(wait_until('it is finished', sub { is_through($half, 'half', 'z') }), 'and when a session is ended it is finished without a start');
is(generations_on_disk($half, 'half', 'z'), '2', '... no page is under the old key');
ok(wait_no_orphans($half), '... and no old key is left');
is_deeply([ map { "$_->{id} $_->{generation}" } grep { my $r = $_; grep { $_->{id} eq $r->{id} && $_->{n} != $r->{n} } keys_records($half) } keys_records($half) ], [], '... of any relation');

# It waits for a base backup, at its begin and at its end.
my $backup = $half->background_psql('postgres');
$backup->query_safe(q{SET client_min_messages = error; SELECT pg_backup_start('x', true)});
my $session = $half->background_psql('half');
$session->query_until(qr/started/, "\\echo started\nSELECT cmk.rotate_dek('z');\n");
ok(wait_until('it waits for the backup', sub {
	$half->safe_psql('postgres', q{SELECT phase FROM cmk.progress}) eq 'waiting for base backups' }), 'a base backup holds it up');
is(generations($half, 'half', 'z')->{3} || 0, 0, '... before any page comes under the new key');
$backup->query_safe('SELECT count(*) FROM pg_backup_stop()');
$backup->quit;
ok(wait_until('it is finished', sub { is_through($half, 'half', 'z') }), '... until it ends');
$session->quit;
$half->stop;

# ---- scope cluster: catalogs, mapped and shared ----

my $all = new_cmk_node('all', checksums => 1, conf => "pg_cmk.scope = cluster\npg_cmk.seal_rate = 0\n");
my @catalogs = ('pg_class', 'pg_attribute', 'pg_proc', 'pg_database', 'pg_authid', 'pg_statistic');
ok(wait_until('all is sealed', sub {
	log_since($all, 0) =~ /every relation file of the cluster is sealed/ }), 'scope cluster: all is sealed');
$all->safe_psql('postgres', "SELECT cmk.rotate_dek('$_')") foreach @catalogs;
$all->safe_psql('postgres', 'CHECKPOINT');
is(generations_on_disk($all, 'postgres', @catalogs), '2', 'catalogs, mapped ones and shared ones, are under the new key');
$all->psql('postgres', q{SET pg_cmk.debug_crash_at = 'seal-logged'; SELECT cmk.rotate_dek('pg_authid'), cmk.rotate_dek('pg_class')});
wait_until('the server is back', sub { hears($all) eq '' });
ok(wait_until('it is finished', sub { is_through($all, 'postgres', @catalogs) }), '... and after a crash it is finished by itself');
$all->restart;
is($all->safe_psql('template1', 'SELECT count(*) > 300 FROM pg_class'), 't', '... and a restart reads them');
$all->stop;

# ---- torn writes ----

my $tear = new_tear();
foreach my $checksums (1, 0)
{
	my $torn = new_cmk_node("torn$checksums", checksums => $checksums,
		conf => "pg_cmk.seal_rate = 0\nrestart_after_crash = off\n");

	$torn->safe_psql('postgres', 'CREATE EXTENSION amcheck');
	$torn->stop;
	my ($faults, $n) = torn_faults($tear, $torn, what => 3, function => 'cmk.rotate_dek', am => 'cmk_heap',
		check => sub {
			my ($table) = @_;
			return generations($torn, 'postgres', $table)->{1} ? "$table: " . generations_on_disk($torn, 'postgres', $table) : () });
	is($faults, '', "pages torn between two keys, at every sector (checksums $checksums)");
	is($n, 15, '... were really torn');
}

# ---- crashes at any moment, under load ----

my $busy = new_cmk_node('busy', checksums => 1, allows_streaming => 1,
	conf => "pg_cmk.seal_rate = 20MB\nwal_keep_size = 4GB\nshared_buffers = 4MB\n"
	  . "autovacuum = on\nautovacuum_naptime = 1s\nautovacuum_vacuum_cost_delay = 0\n"
	  . "default_table_access_method = cmk_heap\n");
my $scale = $ENV{CMK_SEAL_SCALE} || 2;
my $rounds = $ENV{CMK_SEAL_ROUNDS} || 10;

$busy->safe_psql('postgres', 'CREATE EXTENSION amcheck');
$busy->command_ok([ 'pgbench', '-i', '-q', '-s', $scale, '-p', $busy->port, '-h', $busy->host, 'postgres' ],
	'pgbench -i');
make_table($busy, 'postgres', 'still', $marker, 1000, am => 'cmk_heap');
$busy->backup('b');
my $copy = copy_of($busy, 'copy', 'b', has_streaming => 1);
$copy->start;

my @tables = ('pgbench_accounts', 'pgbench_branches', 'pgbench_tellers', 'pgbench_history', 'still');
my @faults;
my $crashes = 0;
my $in_the_middle = 0;
for (my $round = 1; $round <= $rounds; $round++)
{
	my ($in, $pgbench_out, $seal_out) = ('', '', '');
	my $pgbench = IPC::Run::start(
		[ 'pgbench', '-n', '-c', 3, '-T', 600, '-p', $busy->port, '-h', $busy->host, 'postgres' ],
		'<', \$in, '>&', \$pgbench_out);
	my $rotating = IPC::Run::start(
		[
			'psql', '-XAtq', '-h', $busy->host, '-p', $busy->port, '-d', 'postgres', '-c',
			join('; ', map { "SELECT cmk.rotate_dek('$_')" } (@tables[ $round % 3 .. $#tables ], @tables) x 3)
		],
		'<', \$in, '>&', \$seal_out);
	my $target = int(rand(3000));
	my $seen = 0;

	# Until so many pages are done, over all that are looked at.
	wait_until('some pages came under a new key', sub {
		my ($n) = $busy->safe_psql('postgres', 'SELECT coalesce(max(blocks_sealed), 0) FROM cmk.progress');
		$seen += $n;
		return $seen >= $target && $n > 0; });
	if ($round % 3 == 0)
	{
		# One backend by itself: the postmaster restarts all.
		my $pid = $busy->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND query LIKE '%cmk.rotate_dek%' LIMIT 1});
		if ($pid) { kill 'KILL', $pid; $crashes++ }
		$pgbench->signal('KILL');
		wait_until('the server is back', sub { hears($busy) eq '' });
	}
	else
	{
		$copy->stop('immediate') if $round % 3 == 2;
		$busy->stop('immediate');
		$crashes++;
		$in_the_middle++ unless is_through_on_disk();
		$busy->start;
		$copy->start if $round % 3 == 2;
	}
	$_->kill_kill foreach $pgbench, $rotating;
	push @faults, "round $round: $_" foreach sums_fault($busy, $scale) || ();
	push @faults, "round $round: $_" foreach row_faults($busy, 'postgres', 'still', $marker, 1000) || ();
	push @faults, "round $round: an index" if $busy->safe_psql('postgres', q{
		SELECT count(bt_index_check(indexrelid, true)) FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE relam = 403}) < 50;
}

# Does the keys file of the server, which is down, say that nothing is under way?
sub is_through_on_disk
{
	my %live;

	$live{ $_->{id} }++ foreach grep { $_->{state} == 1 } keys_records($busy);
	return !grep { $_ > 1 } values %live;
}
is(join("\n", @faults), '', "$crashes crashes while keys are rotated under load: no row lost, no page unreadable");
cmp_ok($crashes, '>=', $rounds * 2 / 3, '... as many as there should be');
cmp_ok($in_the_middle, '>', 0, '... in the middle of it');
$busy->append_conf('postgresql.conf', 'pg_cmk.seal_rate = 0');
$busy->reload;
ok(wait_until('all is finished', sub { is_through($busy, 'postgres', @tables) }), '... and it is finished by itself');
my $last = $busy->safe_psql('postgres', q{SELECT max(generation) FROM cmk.relations});
$busy->safe_psql('postgres', "SELECT cmk.rotate_dek('$_')") foreach @tables;
$busy->safe_psql('postgres', 'CHECKPOINT');
is(sealed_faults($busy, 'postgres', @tables), '', '... no page is plain');
sub strays
{
	my ($n) = @_;
	my @strays;

	foreach my $rel (relations_of($n, 'postgres', @tables))
	{
		my $g = $n->safe_psql('postgres', "SELECT generation % 16 FROM cmk.relations WHERE relation = '$rel->{name}'::regclass");
		my @on_disk = sort grep { /^\d+$/ } keys %{ generations_of($rel) };
		push @strays, "$rel->{name}: @on_disk, not $g" if "@on_disk" ne $g;
	}
	return join("\n", @strays);
}
is(strays($busy), '', '... nor under an older key');
$busy->wait_for_catchup($copy);
$copy->safe_psql('postgres', 'CHECKPOINT');
is(strays($copy), '', '... on the standby, which crashed too');
is($copy->safe_psql('postgres', 'SELECT sum(abalance) FROM pgbench_accounts'),
	$busy->safe_psql('postgres', 'SELECT sum(abalance) FROM pgbench_accounts'), '... which has the same rows');
$copy->promote;
is(row_faults($copy, 'postgres', 'still', $marker, 1000), '', '... and can be promoted');
ok(wait_no_orphans($busy), 'no old key is left');
is(scalar(keys_records($busy)), $busy->safe_psql('postgres', 'SELECT relations_sealed FROM cmk.status'), '... one for each relation');
$busy->stop;
command_ok([ 'pg_checksums', '--check', '-D', $busy->data_dir ], 'pg_checksums finds no fault');
done_testing();
