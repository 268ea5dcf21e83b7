# Sealing in place: what the image in WAL is good for, why the page on disk and not its
# LSN says whether a write seals it, full_page_writes, and wal_level = minimal.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SealTest;
use Test::More;

sub path_of
{
	my ($node, $table) = @_;
	return $node->data_dir . '/' . $node->safe_psql('postgres', "SELECT pg_relation_filepath('$table')");
}

sub lsn_of
{
	my ($page) = @_;
	my ($high, $low) = unpack('VV', $page);
	return $high << 32 | $low;
}

sub is_sealed_page
{
	my ($page) = @_;
	return unpack('v', substr($page, 10, 2)) & 0x8000 ? 1 : 0;
}

# $new up to a sector boundary, $old behind it.
sub torn
{
	my ($old, $new, $sectors) = @_;
	return substr($new, 0, 512 * $sectors) . substr($old, 512 * $sectors);
}

# ---- a page torn between plain and sealed, with its image in WAL and without ----

# The same tear in two sets of tables.  What the job logged for the one is in the WAL that
# recovery reads; for the other it lies before the last checkpoint.
sub torn_with_and_without
{
	my ($node, $what) = @_;
	my (%path, %plain, @healed, @lost);

	foreach my $set ('with', 'without')
	{
		$node->safe_psql('postgres', join ';', map {
			"CREATE TABLE ${set}_$_ (id int, v text) USING heap; "
			  . "INSERT INTO ${set}_$_ SELECT g, repeat(md5(g::text), 6) FROM generate_series(1, 30) g"
		} 1 .. 15);
	}
	$node->safe_psql('postgres', 'CHECKPOINT');
	foreach my $set ('with', 'without')
	{
		foreach my $sectors (1 .. 15)
		{
			my $table = "${set}_$sectors";
			$path{$table} = path_of($node, $table);
			$plain{$table} = read_bytes($path{$table}, 0, PAGE_SIZE);
		}
	}
	$node->safe_psql('postgres', qq{SELECT cmk.seal(('${_}_' || g)::regclass) FROM generate_series(1, 15) g; }
		  . ($_ eq 'without' ? 'CHECKPOINT' : ''))
	  foreach 'without', 'with';
	$node->stop('immediate');
	foreach my $table (keys %path)
	{
		my ($sectors) = $table =~ /(\d+)/;
		my $sealed = read_bytes($path{$table}, 0, PAGE_SIZE);

		die "$table is not sealed" if is_sealed_page($plain{$table}) || !is_sealed_page($sealed);
		write_bytes($path{$table}, 0, torn($plain{$table}, $sealed, $sectors));
	}
	$node->start;
	foreach my $table (sort keys %path)
	{
		my ($ret, $out) = $node->psql('postgres',
			"SELECT count(*), bool_and(v = repeat(md5(id::text), 6)) FROM $table");
		push @{ $table =~ /^without/ ? \@lost : \@healed }, $table if $ret != 0 || $out ne '30|t';
		# Garbage in a row can end a session.
		wait_until('the server answers', sub { hears($node) eq '' }) if $ret != 0;
	}
	is(join(' ', @healed), '', "$what: a torn page is read after recovery from its image");
	is(scalar(@lost), 15, '... and is not without, wherever it is torn')
	  or diag("lost: @lost");
	return;
}

# ---- the first page of a hash bucket, which replay locks before it comes to its image ----

# By $function, which is cmk.seal() or cmk.rotate_dek().
sub torn_buckets
{
	my ($node, $what, $function) = @_;
	my $torn = 0;
	my $am = $function eq 'seal' ? 'heap' : 'cmk_heap';

	$what .= ", cmk.$function()";
	$node->safe_psql('postgres', qq{
		DROP TABLE IF EXISTS h;
		CREATE TABLE h (id int, k int) USING $am;
		INSERT INTO h SELECT g, g % 7 FROM generate_series(1, 20000) g;
		CREATE INDEX h_k ON h USING hash (k); VACUUM h; CHECKPOINT});
	my $path = path_of($node, 'h_k');
	my $before = slurp_file($path);
	$node->safe_psql('postgres', q{DELETE FROM h WHERE id % 10 = 3 AND id > 10000; VACUUM h});

	# Until all pages are sealed, but not known to be.
	unlink $node->data_dir . '/pg_cmk/debug_continue';
	my $job = start_sealing($node, 'h_k', 'whole-logged', $function);
	ok(wait_until('its pages are sealed', sub {
		$node->safe_psql('postgres', q{SELECT sum(plain), (SELECT phase FROM cmk.progress) FROM cmk.pages('h_k')}) eq '0|syncing files' }),
		"$what: a hash index is sealed");
	$node->stop('immediate');
	$job->finish;
	my $after = slurp_file($path);
	for (my $off = 0; $off < length($before); $off += PAGE_SIZE)
	{
		my ($old, $new) = map { substr($_, $off, PAGE_SIZE) } $before, $after;
		next if $old eq $new || $old !~ /[^\0]/;
		write_bytes($path, $off, torn($old, $new, $torn % 15 + 1));
		$torn++;
	}
	my $offset = -s $node->logfile;
	ok($node->start(fail_ok => 1), "$what: the server starts with $torn torn pages of a hash index");
	is(log_since($node, $offset) =~ /it is damaged; its image should follow in WAL/ ? 1 : 0, $what =~ /without/ ? 0 : 1,
		'... of which some are read before their image comes');
	is($node->safe_psql('postgres', q{SET enable_seqscan = off; SELECT sum((SELECT count(*) FROM h WHERE k = i)) FROM generate_series(0, 6) i}),
		19000, '... and finds every row by it');
	$node->safe_psql('postgres', "SELECT cmk.$function('h'); CHECKPOINT");
	is(sealed_faults($node, 'postgres', 'h'), '', '... and ends sealed');
	return;
}

# ---- hint bits on a standby, on a page that is younger than the key's birth ----

my $node = new_cmk_node('lsn', allows_streaming => 1,
	conf => "pg_cmk.seal_rate = 0\nwal_keep_size = 1GB\nwal_log_hints = off\n");
$node->safe_psql('postgres', q{
	CREATE TABLE r (id int, a name) USING heap;
	INSERT INTO r SELECT g, md5(g::text) FROM generate_series(1, 60) g; VACUUM FREEZE r});
my $standby = PostgreSQL::Test::Cluster->new('standby');
$node->backup('b');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;

# A restartpoint as new as the primary's checkpoint; returns where its redo begins.
sub restartpoint
{
	$node->safe_psql('postgres', 'CHECKPOINT');
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
	$standby->safe_psql('postgres', 'CHECKPOINT');
	my ($redo, $want) = map {
		$_->safe_psql('postgres', 'SELECT redo_lsn FROM pg_control_checkpoint()') } $standby, $node;
	is($redo, $want, 'a restartpoint');
	return $redo;
}

# The records that touch the page, from there on.
sub records_of_page
{
	my ($from) = @_;
	my ($out, $err);
	my $file = $node->safe_psql('postgres', "SELECT pg_walfile_name('$from')");

	IPC::Run::run(
		[
			'pg_cmk', 'exec', '-D', $standby->data_dir, '--', 'pg_waldump', '-p', $standby->data_dir . '/pg_wal',
			'-s', $from, '-R', relid_of($node, 'postgres', 'r'), '-B', '0', $file
		],
		'<', \undef, '>', \$out, '2>', \$err);
	my @records = grep { /^rmgr/ } split /\n/, $out;
	die "pg_waldump: $err" if $err !~ /^(?:.*(?:invalid record length|error in WAL record).*)?$/s;
	return @records;
}

my $before = restartpoint();
my $id = relid_of($node, 'postgres', 'r');
my $path = path_of($standby, 'r');

# The key is made; before its record is in WAL somebody changes the page, and the standby,
# which cannot know of the key, writes it.
my $job = start_sealing($node, 'r', 'birth-after-file');
ok(wait_until('the key is there', sub { find_record($node, $id) }), 'a key is born');
$node->safe_psql('postgres', 'DELETE FROM r WHERE id % 2 = 0');
my $redo = restartpoint();
my $old = read_bytes($path, 0, PAGE_SIZE);
cmp_ok(lsn_of($old), '>', find_record($node, $id)->{birth_lsn}, "a page's LSN is behind that of the birth");
is(is_sealed_page($old), 0, '... and the standby has written it plain');
is(find_record($standby, $id), undef, '... before the key came');

# The key comes.  The job waits for a base backup, so that no page is logged.
my $backup = $node->background_psql('postgres');
$backup->query_safe(q{SET client_min_messages = error; SELECT pg_backup_start('x', true)});
append_to_file($node->data_dir . '/pg_cmk/debug_continue', '');
ok(wait_until('it waits', sub {
	$node->safe_psql('postgres', 'SELECT phase FROM cmk.progress') eq 'waiting for base backups' }),
	'the job waits for a base backup');
$redo = restartpoint();
is(find_record($standby, $id)->{birth_lsn}, find_record($node, $id)->{birth_lsn}, 'the standby has the key');

# Hint bits: no WAL, no new LSN, but a write.
is($standby->safe_psql('postgres', 'SELECT count(*) FROM r'), 30, 'it reads the page, and sets hint bits');
$node->safe_psql('postgres', q{SELECT pg_logical_emit_message(true, 'x', 'x')});
restartpoint();
my $new = read_bytes($path, 0, PAGE_SIZE);
isnt($new, $old, '... and writes it');
is(lsn_of($new), lsn_of($old), '... under the same LSN');
cmp_ok(scalar(records_of_page($before)), '>=', 1, 'control: pg_waldump shows the change of rows');
is(join("\n", records_of_page($redo)), '', '... but nothing of the page in the WAL that a recovery would read');
is(is_sealed_page($new), 0, 'by its LSN the page would have been sealed; it is still plain');
$standby->stop('immediate');
write_bytes($path, 0, torn($old, $new, 8));
$standby->start;
is($standby->safe_psql('postgres', 'SELECT count(*), count(DISTINCT a) FROM r'), '30|30',
	'... so that it can be read when that write was torn');

$backup->query_safe('SELECT count(*) FROM pg_backup_stop()');
$backup->quit;
$job->finish;
restartpoint();
is(is_sealed_page(read_bytes($path, 0, PAGE_SIZE)), 1, 'the job seals it');
is($standby->safe_psql('postgres', q{SELECT count(*), cmk.is_sealed('r') FROM r}), '30|t', '... there, too');

# The same tear, if that write had sealed it.
my $sealed = read_bytes($path, 0, PAGE_SIZE);
$standby->stop('immediate');
write_bytes($path, 0, torn($old, $sealed, 8));
$standby->start;
my ($ret, $rows) = $standby->psql('postgres', 'SELECT count(*), count(DISTINCT a) FROM r');
ok($ret != 0 || $rows ne '30|30', 'a page torn between plain and sealed cannot be read there');
$standby->stop('immediate');
torn_with_and_without($node, 'without checksums');
torn_buckets($node, 'without checksums', $_) foreach 'seal', 'rotate_dek';

# ---- full_page_writes was off ----

# The key worker, which notes it, looks at its settings before it looks at the key.
sub set_full_page_writes
{
	my ($value) = @_;
	my $offset = -s $node->logfile;

	$node->append_conf('postgresql.conf', "full_page_writes = $value");
	$node->reload;
	wait_until('it is known', sub { log_since($node, $offset) =~ /parameter "full_page_writes" changed/ });
	$node->safe_psql('postgres', 'SELECT cmk.revalidate()');
	return;
}

$node->safe_psql('postgres', 'CREATE TABLE images AS SELECT g AS id FROM generate_series(1, 1000) g; CHECKPOINT');
set_full_page_writes('off');
($ret, undef, my $err) = $node->psql('postgres', q{SELECT cmk.seal('images')});
like($err, qr/cannot seal in place with full_page_writes = off/, 'not with full_page_writes = off');
set_full_page_writes('on');
($ret, undef, $err) = $node->psql('postgres', q{SELECT cmk.seal('images')});
like($err, qr/full_page_writes was off since the last checkpoint/, 'nor behind it');
is($node->safe_psql('postgres', q{SELECT sum(sealed) FROM cmk.pages('images')}), 0, '... no page is sealed');
$node->safe_psql('postgres', q{SELECT pg_logical_emit_message(false, 'x', 'x'); CHECKPOINT; SELECT cmk.seal('images')});
is($node->safe_psql('postgres', q{SELECT cmk.is_sealed('images')}), 't', '... until a checkpoint has begun after it');
$node->stop;

# ---- wal_level = minimal ----

my $minimal = new_cmk_node('minimal', checksums => 1,
	conf => "pg_cmk.seal_rate = 0\nwal_level = minimal\nmax_wal_senders = 0\nshared_buffers = 1MB\n");
my $marker = new_marker();

$minimal->safe_psql('postgres', 'CREATE EXTENSION amcheck');
foreach my $threshold ('0', '1GB')
{
	my $fill = sub { "INSERT INTO $_[0] SELECT g, '$marker' || g, repeat('$marker', 120) FROM generate_series($_[1], $_[1] + 1999) g" };
	my $make = sub {
		"CREATE TABLE $_[0] (id int PRIMARY KEY, v text, big text) USING heap; ALTER TABLE $_[0] ALTER big SET STORAGE EXTERNAL; "
		  . "CREATE INDEX ON $_[0] USING gist (point(id, id)); CREATE INDEX ON $_[0] USING hash (v)" };
	my @tables = map { "${_}_" . lc $threshold } qw(made truncated old rewritten lost);
	my ($made, $truncated, $oldest, $rewritten, $lost) = @tables;

	# wal_skip_threshold decides whether commit syncs the files or logs them.
	$minimal->safe_psql('postgres', "ALTER SYSTEM SET wal_skip_threshold = '$threshold'");
	$minimal->reload;
	$minimal->safe_psql('postgres', $_) foreach
	  map { $make->($_) . '; ' . $fill->($_, 1) } $truncated, $oldest, $rewritten, $lost;
	$minimal->safe_psql('postgres', 'CHECKPOINT');
	$minimal->safe_psql('postgres', "BEGIN; $_; COMMIT") foreach
	  $make->($made) . '; ' . $fill->($made, 1) . "; SELECT cmk.seal('$made'); " . $fill->($made, 2001),
	  "TRUNCATE $truncated; " . $fill->($truncated, 1) . "; SELECT cmk.seal('$truncated'); " . $fill->($truncated, 2001),
	  "SELECT cmk.seal('$oldest'); " . $fill->($oldest, 2001),
	  $fill->($rewritten, 2001) . "; ALTER TABLE $rewritten ADD c int DEFAULT random(); SELECT cmk.seal('$rewritten')";
	$minimal->safe_psql('postgres', "BEGIN; TRUNCATE $lost; " . $fill->($lost, 1) . "; SELECT cmk.seal('$lost'); ROLLBACK");
	$minimal->stop('immediate');
	$minimal->start;
	is( join(' ', map { $minimal->safe_psql('postgres', qq{
			SET enable_seqscan = off;
			SELECT count(*) || '/' || count(DISTINCT id) || '/' || count(*) FILTER (WHERE v = '$marker' || id AND big = repeat('$marker', 120)) FROM "$_"})
		} @tables),
		join(' ', ('4000/4000/4000') x 4, '2000/2000/2000'),
		"wal_level = minimal, wal_skip_threshold = $threshold: rows after a crash");
	is( $minimal->safe_psql('postgres', q{
			SELECT count(bt_index_check(indexrelid, true)) > 50 FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE relam = 403;
			SELECT count(*) FROM pg_class c, verify_heapam(c.oid) WHERE c.relkind IN ('r', 't')}),
		"t\n0", '... and no page is damaged');
	$minimal->safe_psql('postgres', "SELECT cmk.seal('$lost'); CHECKPOINT");
	is(sealed_faults($minimal, 'postgres', @tables), '', '... and all is sealed');
}
$minimal->safe_psql('postgres', q{SELECT cmk.seal('pg_statistic')});
$minimal->restart;
is_deeply([ marker_files($minimal, $marker) ], [], 'nothing stands in clear');
torn_with_and_without($minimal, 'with checksums');
torn_buckets($minimal, 'with checksums', $_) foreach 'seal', 'rotate_dek';

# ---- a file that belongs to no relation ----

my $session = $minimal->background_psql('postgres', on_error_stop => 0);
my $orphan = $session->query_safe(q{BEGIN; CREATE TABLE orphan AS SELECT 1 AS i; SELECT pg_relation_filenode('orphan')});
$minimal->safe_psql('postgres', 'CHECKPOINT');
$minimal->stop('immediate');
eval { $session->quit };
$minimal->start;
my ($query) = slurp_file("$FindBin::RealBin/../docs/operations.md") =~ /^    (SELECT name FROM .*?;)$/ms;
is($minimal->safe_psql('postgres', $query), $orphan, 'the query of docs/operations.md names a file that a crash left');
$minimal->stop;
done_testing();
