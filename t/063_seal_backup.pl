# Sealing in place while a cluster is copied: pg_rewind, and base backups.
#
# Two servers part and each seals some tables: one alone, the other alone, both, one
# that was begun before they parted and is finished by neither.  The old primary is
# stopped at once, in the middle of it, and rewound while the new one seals.  Then base
# backups are taken of the standby and of the primary while pages are sealed.  Every copy
# starts, has the rows, and no page in it is unreadable; in the end all is sealed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SealTest;
use Test::More;

my $marker = new_marker();
my @tables = qw(none target source both begun slow late backup1 backup2);

# What is in the tables, by sequential scans and by indexes.
sub rows
{
	my ($node) = @_;
	return join(
		"\n",
		map {
			my $table = $_;
			"$table: " . $node->safe_psql('postgres', qq{
				SELECT count(*), md5(string_agg(concat_ws('/', id, k, v, big), ',' ORDER BY id)) FROM "$table";
				SET enable_seqscan = off;
				SELECT sum((SELECT count(*) FROM "$table" WHERE k = i)) FROM generate_series(0, 6) i;
				SELECT count(*) FROM "$table" WHERE point(id, id) <@ box '((0,0),(500,500))'})
		} @tables);
}

# Every block of every fork of the database's relations is read.
sub unreadable
{
	my ($node) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', q{
		SELECT count(length(get_raw_page(c.oid::regclass::text, f, b)))
		FROM pg_class c, unnest('{main,fsm,vm,init}'::text[]) f,
			generate_series(0, pg_relation_size(c.oid, f) / 8192 - 1) b
		WHERE c.relkind IN ('r', 'i', 't', 'm', 'S') AND c.relpersistence <> 't';
		SELECT count(bt_index_check(indexrelid, true)) FROM pg_index JOIN pg_class c ON c.oid = indexrelid
			WHERE relam = 403 AND relpersistence <> 't';
		SELECT verify_heapam.* FROM pg_class c, verify_heapam(c.oid) WHERE c.relkind IN ('r', 't')});

	return $ret == 0 && $out =~ /^[1-9]\d{3,}\n[1-9]\d+$/ ? '' : "$out $err";
}

sub check
{
	my ($node, $rows, $what) = @_;
	is(rows($node), $rows, "$what: the rows are there");
	is(unreadable($node), '', "$what: every page is read");
	return;
}

# How many pages of the main fork are sealed on disk, out of how many.
sub sealed_pages
{
	my ($node, $table) = @_;
	return split /\|/,
	  $node->safe_psql('postgres', qq{SELECT sealed, pages FROM cmk.pages('"$table"') WHERE fork = 'main'});
}

sub some_sealed
{
	my ($node, $table, $n) = @_;
	my ($sealed, $pages);

	wait_until("pages of $table are sealed", sub {
		($sealed, $pages) = sealed_pages($node, $table);
		return $sealed >= $n });
	return $sealed >= $n && $sealed < $pages;
}

sub set_rate
{
	my ($node, $rate) = @_;
	$node->adjust_conf('postgresql.conf', 'pg_cmk.seal_rate', $rate);
	$node->reload;
	return;
}

# ---- two servers that part ----

my $one = new_cmk_node('one', checksums => 1, allows_streaming => 1, has_archiving => 1,
	conf => "pg_cmk.seal_rate = 0\nwal_keep_size = 1GB\n");
$one->safe_psql('postgres', 'CREATE EXTENSION amcheck; CREATE EXTENSION pageinspect');
# Seven values of k: chains of overflow pages in the hash index.
$one->safe_psql('postgres', qq{
	CREATE TABLE "$_" (id int PRIMARY KEY, k int, v text, big text) USING heap;
	ALTER TABLE "$_" ALTER big SET STORAGE EXTERNAL;
	INSERT INTO "$_" SELECT g, g % 7, '$marker' || g || repeat('x', 200),
		CASE WHEN g % 50 = 0 THEN repeat('$marker', 150) END FROM generate_series(1, 8000) g;
	CREATE INDEX ON "$_" USING hash (k);
	CREATE INDEX ON "$_" USING gist (point(id, id))}) foreach @tables;
$one->safe_psql('postgres', 'VACUUM ANALYZE');
my $two = PostgreSQL::Test::Cluster->new('two');
$one->backup('b');
$two->init_from_backup($one, 'b', has_streaming => 1);
$two->start;

set_rate($one, '1MB');
my $begun = start_sealing($one, 'begun');
ok(some_sealed($one, 'begun', 50), 'a table is being sealed');
$one->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM cmk.progress});
$begun->finish;
set_rate($one, 0);
$one->safe_psql('postgres', 'CHECKPOINT');
$one->wait_for_catchup($two, 'replay', $one->lsn('insert'));
my ($sealed_before, $all) = sealed_pages($two, 'begun');
ok($sealed_before >= 50 && $sealed_before < $all, '... on the standby too');
$two->promote;

# Behind the checkpoint from which the rewound server will replay.  VACUUM of a hash index
# logs a bucket's first page without an image, if only the pages behind it change.
my $change = q{
	DELETE FROM "%s" WHERE id % 10 = 3 AND id > 4000; VACUUM "%s";
	UPDATE "%s" SET v = v || 'new' WHERE id % 17 = 0};
foreach my $node ($one, $two)
{
	foreach my $table (qw(none target source both begun))
	{
		my $sql = $change;
		$sql =~ s/%s/$table/g;
		$sql =~ s/'new'/"'" . $node->name . "'"/e;
		# What one server alone seals is changed on that one alone.
		next if $table eq 'target' && $node == $two || $table eq 'source' && $node == $one;
		$node->safe_psql('postgres', $sql);
	}
}
$one->safe_psql('postgres', qq{SELECT cmk.seal('"$_"')}) foreach 'target', 'both';
$two->safe_psql('postgres', qq{SELECT cmk.seal('"$_"')}) foreach 'source', 'both';
$two->safe_psql('postgres', 'CHECKPOINT');
is(sealed_faults($two, 'postgres', 'source', 'both'), '', 'the new primary sealed some');

# Both go on with the one that was begun; the old one is stopped in the middle of it.
set_rate($one, '1MB');
$begun = start_sealing($one, 'begun');
ok(wait_until('the old primary goes on', sub { (sealed_pages($one, 'begun'))[0] > $sealed_before + 50 }),
	'the old primary goes on sealing');
$one->stop('immediate');
$begun->finish;
my $counts = page_counts($one->data_dir . '/' . $two->safe_psql('postgres', q{SELECT pg_relation_filepath('begun')}));
cmp_ok($counts->{main}{plain}, '>', 0, '... and is stopped in the middle');

# ---- pg_rewind, while the source seals ----

set_rate($two, '50kB');
my $slow = start_sealing($two, 'slow');
ok(some_sealed($two, 'slow', 20), 'the source seals while it is copied');
# What must not begin meanwhile is held off by this.
my $backup = $two->background_psql('postgres');
$backup->query_safe(q{SET client_min_messages = error; SELECT pg_backup_start('rewind', true)});
my $late = start_sealing($two, 'late');
ok(wait_until('the second one waits', sub {
	$two->safe_psql('postgres', q{SELECT count(*) FROM cmk.progress WHERE phase = 'waiting for base backups'}) == 1 }),
	'... and pg_backup_start() keeps another table from being begun');
my $conf = slurp_file($one->data_dir . '/postgresql.conf');
command_ok(
	[
		'pg_cmk', 'exec', '-D', $one->data_dir, '--',
		'pg_rewind', '--target-pgdata', $one->data_dir,
		'--source-server', $two->connstr('postgres'), '--no-sync'
	],
	'pg_rewind');
cmp_ok((sealed_pages($two, 'slow'))[0], '<', (sealed_pages($two, 'slow'))[1], '... in the middle of sealing');
is((sealed_pages($two, 'late'))[0], 0, '... and the other table is plain');
$backup->query_safe('SELECT count(*) FROM pg_backup_stop()');
$backup->quit;
unlink $one->data_dir . '/postgresql.conf';
append_to_file($one->data_dir . '/postgresql.conf', $conf);
chmod 0600, $one->data_dir . '/postgresql.conf';
$one->enable_streaming($two);
my $started = $one->start(fail_ok => 1);
ok($started, 'the rewound server starts');
BAIL_OUT('it does not: ' . join "\n", grep { /FATAL|ERROR|CONTEXT|could not|pg_cmk/ } (split /\n/, slurp_file($one->logfile))[ -40 .. -1 ]) unless $started;
my $rows = rows($two);
like($rows, qr/^none: 7600\|/, 'control: rows were deleted');
$two->wait_for_catchup($one, 'replay', $two->lsn('insert'));
check($one, $rows, 'the rewound server');
$two->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM cmk.progress});
$_->finish foreach $slow, $late;
set_rate($two, 0);
my @sealed = qw(none target source both begun slow late);
$two->safe_psql('postgres', qq{SELECT cmk.seal('"$_"')}) foreach @sealed;
$two->safe_psql('postgres', 'CHECKPOINT');
$two->wait_for_catchup($one, 'replay', $two->lsn('insert'));
$one->safe_psql('postgres', 'CHECKPOINT');
is(sealed_faults($_, 'postgres', map { qq{"$_"} } @sealed), '', $_->name . ' ends sealed') foreach $one, $two;
$one->restart;
check($one, $rows, 'the rewound server after a restart');

# ---- base backups ----

sub restored
{
	my ($name, $table, %opt) = @_;
	my $copy = PostgreSQL::Test::Cluster->new($name);

	$copy->init_from_backup($one, $name, has_restoring => 1, standby => 0);
	unlink $copy->data_dir . '/standby.signal';
	$copy->append_conf('postgresql.conf',
		"archive_mode = off\nprimary_conninfo = ''\npg_cmk.seal_rate = 0\n");
	$copy->start;
	$copy->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
	check($copy, $rows, $name);
	$copy->stop('immediate');
	$copy->start;
	$copy->safe_psql('postgres', qq{SELECT cmk.seal('"$table"'); CHECKPOINT});
	is(sealed_faults($copy, 'postgres', qq{"$table"}), '', "$name: ends sealed");
	check($copy, $rows, "$name, sealed");
	$copy->stop;
	command_ok([ 'pg_checksums', '--check', '-D', $copy->data_dir ], "$name: pg_checksums finds no fault");
	return;
}

foreach my $case ([ 'of_standby', $one, 'backup1', 'none' ], [ 'of_primary', $two, 'backup2', 'stream' ])
{
	my ($name, $from, $table, $wal) = @$case;

	set_rate($two, '1MB');
	my $job = start_sealing($two, $table);
	ok(some_sealed($from, $table, 20), "$name: pages are sealed when it begins");
	my ($before) = sealed_pages($from, $table);
	command_ok(
		[
			'pg_basebackup', '-D', $one->backup_dir . "/$name", '-X', $wal, '-c', 'fast', '--no-sync',
			'--max-rate', '25M', '-d', $from->connstr('postgres')
		],
		"$name: pg_basebackup -X $wal");
	my ($after, $pages) = sealed_pages($from, $table);
	cmp_ok($after, '>', $before, '... more when it ends');
	$two->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM cmk.progress});
	$job->finish;
	my $file = $two->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_lsn())');
	$two->safe_psql('postgres', 'SELECT pg_switch_wal()');
	$two->poll_query_until('postgres', "SELECT coalesce(last_archived_wal, '') >= '$file' FROM pg_stat_archiver");
	restored($name, $table);
}
$_->stop foreach $one, $two;
done_testing();
