# New data keys, in adverse circumstances: pages that a crash damaged, sessions that
# caught an error, files that are truncated meanwhile, processes that are idle.

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

# Generations of the live records of a relation, "1 2".
sub live_generations
{
	my ($node, $relation) = @_;
	my $id = relid_of($node, 'postgres', $relation);

	return join(' ', sort map { $_->{generation} } grep { $_->{id} eq $id && $_->{state} == 1 } keys_records($node));
}

sub set_rate
{
	my ($node, $rate) = @_;

	$node->append_conf('postgresql.conf', "pg_cmk.seal_rate = '$rate'");
	$node->reload;
	return;
}

my $marker = new_marker();
my $node = new_cmk_node('main', checksums => 1, conf => "pg_cmk.seal_rate = 0\nmax_worker_processes = 8\n");

# ---- a free space map and a visibility map that are damaged, as a crash may leave them ----

foreach my $table ('new_key', 'first_key')
{
	my $am = $table eq 'new_key' ? 'cmk_heap' : 'heap';

	$node->safe_psql('postgres', qq{
		CREATE TABLE $table (id int, v text) USING $am;
		INSERT INTO $table SELECT g, '$marker' || g FROM generate_series(1, 5000) g;
		DELETE FROM $table WHERE id % 3 = 0; VACUUM $table; CHECKPOINT});
}
my %path = map { $_ => $node->data_dir . '/' . $node->safe_psql('postgres', "SELECT pg_relation_filepath('$_')") } 'new_key', 'first_key';
$node->stop;
flip_byte("$path{$_}_fsm", 3000), flip_byte("$path{$_}_vm", 3000) foreach 'new_key', 'first_key';
$node->start;
foreach my $case ([ 'new_key', 'cmk.rotate_dek' ], [ 'first_key', 'cmk.seal' ])
{
	my ($table, $function) = @$case;
	my (undef, undef, $err) = $node->psql('postgres', "SET statement_timeout = '60s'; SELECT $function('$table')");

	like($err, qr/invalid page in block 0 of relation \S+_fsm; zeroing/, 'control: a map is damaged');
	unlike($err, qr/ERROR/, "$function() ends all the same");
	is($node->safe_psql('postgres', "SELECT count(*) FROM $table"), 3334, '... every row is there');
	is($node->safe_psql('postgres', "SELECT sum(plain), cmk.is_sealed('$table') FROM cmk.pages('$table')"), '0|t', '... no page is plain');
}
is(live_generations($node, 'new_key'), '2', '... or under the old key');

# ---- a page that the server zeroed in memory alone ----

$node->safe_psql('postgres', qq{
	CREATE TABLE zeroed (id int, v text) USING cmk_heap;
	INSERT INTO zeroed SELECT g, '$marker' || g FROM generate_series(1, 5000) g; CHECKPOINT});
my $zeroed = $node->data_dir . '/' . $node->safe_psql('postgres', q{SELECT pg_relation_filepath('zeroed')});
$node->stop;
flip_byte($zeroed, 5 * PAGE_SIZE + 3000);
$node->start;
my (undef, undef, $error) = $node->psql('postgres', q{SELECT cmk.rotate_dek('zeroed')});
like($error, qr/ERROR:  invalid page in block 5/, 'a damaged page stops cmk.rotate_dek()');
(undef, undef, $error) = $node->psql('postgres', q{SET statement_timeout = '60s'; SET zero_damaged_pages = on;
	SET client_min_messages = error; SELECT count(*) > 4000 FROM zeroed; SELECT cmk.rotate_dek('zeroed')});
like($error, qr/ERROR:  cannot seal 1 pages of relation "zeroed" in place/, '... and one that was zeroed in memory ends it with an error');
$node->safe_psql('postgres', q{SET zero_damaged_pages = on; VACUUM FULL zeroed});
is(live_generations($node, 'zeroed'), '1', '... until the table is rewritten');

# ---- a session that caught the error, and goes on ----

$node->safe_psql('postgres', qq{
	CREATE TABLE caught (id int, v text) USING cmk_heap;
	INSERT INTO caught SELECT g, repeat('$marker', 10) FROM generate_series(1, 5000) g});
set_rate($node, '512kB');
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query(q{BEGIN; SAVEPOINT s; SET LOCAL statement_timeout = '1s'; SELECT cmk.rotate_dek('caught'); ROLLBACK TO s; COMMIT;});
is(live_generations($node, 'caught'), '1 2', 'a call is canceled, in a savepoint');
is($node->safe_psql('postgres', q{SELECT count(*) FROM cmk.progress p JOIN pg_stat_activity a USING (pid) WHERE backend_type = 'client backend'}),
	0, '... cmk.progress does not show the session any more');
set_rate($node, '0');
ok(wait_until('it is finished', sub { live_generations($node, 'caught') eq '2' }), '... and a worker finishes it, while the session lives');
$session->quit;

# ---- truncated while a worker is at it ----

$node->safe_psql('postgres', q{
	CREATE TABLE shrinks (id int, v text) USING cmk_heap; ALTER TABLE shrinks ALTER v SET STORAGE PLAIN;
	INSERT INTO shrinks SELECT g, repeat('x', 7000) FROM generate_series(1, 5000) g});
set_rate($node, '512kB');
$node->psql('postgres', q{SET statement_timeout = '1s'; SELECT cmk.rotate_dek('shrinks')});
is(live_generations($node, 'shrinks'), '1 2', 'another call is canceled');
my $offset = -s $node->logfile;
set_rate($node, '8MB');
ok(wait_until('a worker is at it', sub { $node->safe_psql('postgres', q{SELECT coalesce(max(blocks_sealed), 0) FROM cmk.progress}) > 0 }), 'a worker goes on');
$node->safe_psql('postgres', q{DELETE FROM shrinks WHERE id > 10; VACUUM shrinks});
is($node->safe_psql('postgres', q{SELECT pg_relation_size('shrinks') / 8192}), 10, '... VACUUM truncates the table meanwhile');
set_rate($node, '0');
ok(wait_until('it is finished', sub { live_generations($node, 'shrinks') eq '2' }), '... it is finished');
is(join("\n", log_since($node, $offset) =~ /^.*(?:ERROR|could not).*$/mg), '', '... without an error');
is($node->safe_psql('postgres', 'SELECT count(*) FROM shrinks'), 10, '... every row is there');

# ---- a shared relation, when template1 is not what initdb made ----

$node->safe_psql('postgres', $_) foreach
  q{UPDATE pg_database SET datistemplate = false WHERE datname = 'template1'}, 'DROP DATABASE template1',
  'CREATE DATABASE template1 TEMPLATE template0', q{SELECT cmk.seal('pg_authid')};
$node->psql('postgres', q{SET pg_cmk.debug_crash_at = 'generation-after-wal'; SELECT cmk.rotate_dek('pg_authid')});
wait_until('the server is back', sub { hears($node) eq '' });
ok(wait_until('it is finished', sub { live_generations($node, 'pg_authid') eq '2' }), 'a shared relation is finished without the first template1');

# ---- processes that are idle ----

# They have used the old keys, and do nothing any more; one is in a transaction.
make_table($node, 'postgres', 'idle', $marker, 300, am => 'cmk_heap');
my @idle = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 2;
my %old = known_keys($node, root_from_file($node, $node->basedir . '/kek.pem'));
$_->query_safe('SET enable_seqscan = off; SELECT count(*) FROM idle WHERE id < 100') foreach @idle;
$idle[1]->query_safe('BEGIN');
my $other = $node->background_psql('postgres');
$other->query_safe(q{SELECT cmk.rotate_dek('idle')});
my %new = map { $_ => 1 } values %{ { known_keys($node, root_from_file($node, $node->basedir . '/kek.pem')) } };
settle_deaths($node);
my %now = map { $_ => 1 } values %{ { known_keys($node, root_from_file($node, $node->basedir . '/kek.pem')) } };
my %gone = map { $_ => $old{$_} } grep { !$now{ $old{$_} } } keys %old;
cmp_ok(scalar(keys %gone), '>=', 18, 'the old keys of a table and what belongs to it are erased');
my @found;
wait_until('no process has them', sub { @found = memory_of($node, \%gone); !@found });
is_deeply(\@found, [], '... and no process has them in its memory, be it idle');
is($idle[$_]->query_safe('SELECT count(*) FROM idle'), 300, '... and reads on') foreach 0, 1;
$_->quit foreach @idle, $other;

# ---- a shutdown right after the start ----

foreach my $n (1 .. 3)
{
	$offset = -s $node->logfile;
	$node->restart;
}
$node->stop;
unlike(log_since($node, $offset), qr/FATAL/, 'a server that is stopped soon after its start logs nothing fatal');

done_testing();
