# Ways by which rows of a sealed table once reached the disk in clear.
#
# Each was found by looking for one.  They have in common that the file which is
# made, or written to, cannot be recognised by what it replaces: its number means
# another file by then, the statement says nothing of it, or its key record is
# lost.  After each the marker text that stands in the rows must be in no file,
# and every page of table and indexes must be sealed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cmk_node('main', checksums => 1);
my $dir = $node->data_dir;

foreach my $ts ('ts1', 'ts2')
{
	mkdir $node->basedir . "/$ts";
	$node->safe_psql('postgres',
		"CREATE TABLESPACE $ts LOCATION '" . $node->basedir . "/$ts'");
}
$node->safe_psql('postgres', 'CREATE EXTENSION amcheck');

# Runs statements, each a transaction of its own, and says what is wrong with the
# tables afterwards.
sub faults_after
{
	my ($marker, $tables, @statements) = @_;
	my @faults;

	foreach my $sql (@statements, 'CHECKPOINT')
	{
		my ($ret, $out, $err) = $node->psql('postgres', $sql);
		push @faults, "$sql: $err" if $ret != 0;
	}
	push @faults, map { "plain text in $_" } marker_files($node, $marker);
	push @faults, sealed_faults($node, 'postgres', @$tables) || ();
	push @faults, index_faults($node, 'postgres') || ();
	return join("\n", @faults);
}

sub is_sealed
{
	my ($relation) = @_;
	return $node->safe_psql('postgres', "SELECT cmk.is_sealed('$relation')");
}

# A cmk_heap table with $n rows, and its index "<table>_v".
sub make_table
{
	my ($table, $marker, $n) = @_;

	$node->safe_psql(
		'postgres', qq{
		CREATE TABLE $table (n int, v text, big text) USING cmk_heap;
		ALTER TABLE $table ALTER big SET STORAGE EXTERNAL;
		CREATE INDEX ${table}_v ON $table (v);
		INSERT INTO $table SELECT g, '$marker' || g, repeat('$marker', 200) FROM generate_series(1, $n) g;
		CHECKPOINT});
	return;
}

# REINDEX (TABLESPACE): the server has changed the index's tablespace before it
# says which file is replaced.

{
	my $marker = new_marker();

	make_table('r', $marker, 100);
	$node->safe_psql(
		'postgres', qq{
		CREATE TABLE rp (n int, v text) PARTITION BY RANGE (n);
		CREATE TABLE rp1 PARTITION OF rp FOR VALUES FROM (1) TO (1000) USING cmk_heap;
		CREATE INDEX rp_v ON rp (v);
		INSERT INTO rp SELECT n, v FROM r;
		CREATE TABLE rplain (n int, v text) USING heap;
		INSERT INTO rplain SELECT g, 'plain' || g FROM generate_series(1, 100) g;
		CREATE INDEX rplain_v ON rplain (v); CHECKPOINT});

	foreach my $ts ('ts1', 'ts1', 'ts2', 'pg_default')
	{
		is( faults_after(
				$marker, [ 'r', 'rp' ],
				"REINDEX (TABLESPACE $ts) INDEX r_v",
				"REINDEX (TABLESPACE $ts) INDEX rp_v"),
			'', "REINDEX (TABLESPACE $ts) INDEX");
		is( faults_after(
				$marker, [ 'r', 'rp' ],
				'REINDEX INDEX r_v', 'REINDEX INDEX rp_v'),
			'', '... and REINDEX INDEX where it is now');
		$node->safe_psql('postgres',
			"REINDEX (TABLESPACE $ts) INDEX rplain_v; CHECKPOINT");
		is(is_sealed('rplain_v'), 'f', '... an index of a plain table stays plain');
		my $path = $node->safe_psql('postgres', q{SELECT pg_relation_filepath('rplain_v')});
		ok(page_counts("$dir/$path")->{main}{sealed} == 0, '... on the disk, too');
	}
	foreach my $ts ('ts1', 'pg_default')
	{
		is( faults_after(
				$marker, [ 'r', 'rp' ],
				"REINDEX (TABLESPACE $ts) TABLE r",
				"REINDEX (TABLESPACE $ts) TABLE rp",
				'REINDEX TABLE r', 'REINDEX TABLE rp'),
			'', "REINDEX (TABLESPACE $ts) TABLE");
	}
	$node->safe_psql('postgres', 'DROP TABLE rplain');
}

# SET TABLESPACE of a plain parent, together with a rewrite that reaches a sealed
# child.

foreach my $how (
	[ 'partitioned', 'PARTITION BY RANGE (k)', 'PARTITION OF p FOR VALUES FROM (1) TO (1000) USING cmk_heap' ],
	[ 'inherited', 'USING heap', '() INHERITS (p) USING cmk_heap' ])
{
	my ($name, $parent, $child) = @$how;
	my $marker = new_marker();

	$node->safe_psql(
		'postgres', qq{
		CREATE TABLE p (k int, n int, v text) $parent;
		CREATE TABLE p1 $child;
		CREATE INDEX p1_v ON p1 (v); CREATE INDEX p1_n ON p1 (n, v);
		INSERT INTO p1 SELECT g, g, '$marker' || g FROM generate_series(1, 100) g; CHECKPOINT});
	is( faults_after(
			$marker, ['p1'],
			'ALTER TABLE p ALTER n TYPE bigint, SET TABLESPACE ts1',
			'REINDEX TABLE p1',
			'ALTER TABLE p SET TABLESPACE pg_default, ALTER n TYPE int'),
		'', "SET TABLESPACE and a rewrite, of a plain parent ($name)");
	$node->safe_psql('postgres', 'DROP TABLE p CASCADE');
}

# An event trigger that changes the relation after the statement was looked at

{
	my $marker = new_marker();

	$node->safe_psql(
		'postgres', qq{
		CREATE TABLE et_rows (n int, v text) USING cmk_heap;
		INSERT INTO et_rows SELECT g, '$marker' || g FROM generate_series(1, 100) g;
		CREATE TABLE et (n int, v text) USING heap;
		CREATE INDEX et_v ON et (v);
		CREATE FUNCTION et_seal() RETURNS event_trigger LANGUAGE plpgsql AS \$\$
		BEGIN
			ALTER TABLE et SET ACCESS METHOD cmk_heap;
			INSERT INTO et SELECT * FROM et_rows;
		END \$\$;
		CREATE EVENT TRIGGER et ON ddl_command_start WHEN TAG IN ('ALTER INDEX')
			EXECUTE FUNCTION et_seal(); CHECKPOINT});
	is( faults_after($marker, ['et'], 'ALTER INDEX et_v SET TABLESPACE ts1'),
		'', 'an event trigger that seals what a statement moves, meanwhile');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM et'),
		100, '... did its work');
	$node->safe_psql('postgres', 'DROP EVENT TRIGGER et; DROP TABLE et, et_rows');
}

# What a transaction dropped is not what a new table replaces.

{
	my $marker = new_marker();

	$node->safe_psql('postgres', 'CREATE TABLE d (v text) USING heap; CREATE INDEX ON d (v)');
	is( faults_after(
			$marker, ['d'],
			"BEGIN; DROP TABLE d; CREATE TABLE d (v text) USING cmk_heap; CREATE INDEX d_v ON d (v); INSERT INTO d SELECT '$marker' || g FROM generate_series(1, 100) g; CREATE INDEX ON d (lower(v)); COMMIT"),
		'', 'DROP of a plain table and CREATE of a sealed one in one transaction');
}

# A key record that is lost does not make a table plain.

sub put_keys
{
	my ($content) = @_;

	unlink keys_path($node);
	append_to_file(keys_path($node), $content);
	chmod 0600, keys_path($node);
	return;
}

# With the server stopped, $lose->() takes keys away.  Statements that would write
# must fail then, and nothing may be lost once the keys are back.
sub check_lost
{
	my ($what, $lose, @statements) = @_;
	my $marker = new_marker();
	my $rows = sub {
		$node->safe_psql('postgres',
			q{SELECT (SELECT count(*) FROM l), (SELECT count(*) FROM lfull), (SELECT count(big) FROM lfull)});
	};
	my $before = $rows->();

	$node->stop;
	my $saved = $node->basedir . '/pg_cmk.saved';
	copy_tree("$dir/pg_cmk", $saved);
	$lose->();
	$node->start;
	foreach my $sql (@statements)
	{
		my $text = $sql =~ s/\@M\@/$marker/gr;
		my ($ret, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$text");
		isnt($ret, 0, "$what: refused: " . substr($sql, 0, 40));
		like($err, qr/ERROR:  (XX001|58030)|Required key not available/,
			'... with an error that says so');
	}
	$node->psql('postgres', 'CHECKPOINT');
	is_deeply([ marker_files($node, $marker) ], [], "$what: nothing on disk in clear");
	$node->stop;
	is_deeply([ marker_files($node, $marker) ], [], '... nor after a shutdown');

	unlink $_ foreach glob("$dir/pg_cmk/*");
	rmdir "$dir/pg_cmk";
	rename $saved, "$dir/pg_cmk" or die "rename $saved: $!";
	$node->start;
	is($rows->(), $before, "$what: with the keys back, no row is lost");
	$node->safe_psql('postgres',
		"INSERT INTO l VALUES (1, '$marker', repeat('$marker', 200)); UPDATE lfull SET big = repeat('$marker', 200) WHERE n = 1; CHECKPOINT; TRUNCATE l");
	is(sealed_faults($node, 'postgres', 'lfull'), '', '... and it goes on, sealed');
	is_deeply([ marker_files($node, $marker) ], [], '... with nothing in clear');
	return;
}

my $lmarker = new_marker();
my $older = slurp_file(keys_path($node));
$node->safe_psql(
	'postgres', qq{
	CREATE TABLE l (n int, v text, big text) USING cmk_heap;
	ALTER TABLE l ALTER big SET STORAGE EXTERNAL;
	CREATE TABLE lfull (n int, v text, big text) USING cmk_heap;
	ALTER TABLE lfull ALTER big SET STORAGE EXTERNAL;
	INSERT INTO lfull SELECT g, '$lmarker' || g FROM generate_series(1, 50) g;
	CREATE INDEX lfull_v ON lfull (v)});
my $record = sub {
	my ($relation) = @_;
	return find_record($node, relid_of($node, 'postgres', $relation));
};
my @into_empty = (
	"INSERT INTO l VALUES (1, '\@M\@')",
	"INSERT INTO l SELECT g, '\@M\@' FROM generate_series(1, 2000) g",
	"COPY l FROM stdin;\n1\t\@M\@\t\@M\@\n\\.\n",
	"BEGIN; CREATE UNIQUE INDEX ON l (n); INSERT INTO l VALUES (1, '\@M\@') ON CONFLICT (n) DO NOTHING; COMMIT");
my @into_full = ("UPDATE lfull SET v = '\@M\@'", "INSERT INTO lfull VALUES (0, '\@M\@')");

foreach my $offset (60, 20, 4)
{
	my $r = $record->('l');

	check_lost("one byte of an empty table's record ($offset)",
		sub { flip_byte(keys_path($node), $r->{offset} + $offset) }, @into_empty);
}
{
	my $r = $record->('l');
	my $f = $record->('lfull');

	check_lost('records of zeros',
		sub { write_bytes(keys_path($node), $_->{offset}, "\0" x RECORD_SIZE) foreach $r, $f },
		@into_empty, @into_full);
}
check_lost('an older keys file', sub { put_keys($older) }, @into_empty, @into_full);

# Without the directory there is no root: WAL cannot be read, and the server does not start.
{
	my $rows  = $node->safe_psql('postgres', 'SELECT count(*) FROM lfull');
	my $saved = $node->basedir . '/pg_cmk.saved';

	$node->stop;
	rename "$dir/pg_cmk", $saved or die "rename $dir/pg_cmk: $!";
	my ($failed, $log) = start_fails($node);
	ok($failed, 'directory pg_cmk removed: the server does not start');
	like($log, qr/FATAL:  could not open the page of WAL/, '... since it cannot read WAL');
	unlink $_ foreach glob("$dir/pg_cmk/*");
	rmdir "$dir/pg_cmk";
	rename $saved, "$dir/pg_cmk" or die "rename $saved: $!";
	$node->start;
	is($node->safe_psql('postgres', 'SELECT count(*) FROM lfull'), $rows, '... and with the directory back, no row is lost');
}

# The TOAST table's record alone: a row that fits the table can be written, and
# one that does not is refused.
foreach my $damage ('zeros', 'a byte')
{
	# By now its file holds values; of an empty one nothing had to be read.
	$node->safe_psql('postgres',
		"CREATE TABLE lt (n int, v text, big text) USING cmk_heap; ALTER TABLE lt ALTER big SET STORAGE EXTERNAL; INSERT INTO lt VALUES (1, 'x')");
	my $id = relid_of($node, 'postgres',
		$node->safe_psql('postgres', q{SELECT reltoastrelid::regclass FROM pg_class WHERE relname = 'lt'}));
	my $r = find_record($node, $id);

	check_lost(
		"the TOAST table's record, $damage",
		sub {
			if ($damage eq 'zeros') { write_bytes(keys_path($node), $r->{offset}, "\0" x RECORD_SIZE) }
			else { flip_byte(keys_path($node), $r->{offset} + 70) }
		},
		"UPDATE lt SET big = repeat('\@M\@', 200)",
		"INSERT INTO lt VALUES (2, 'x', repeat('\@M\@', 200))");
	$node->safe_psql('postgres', 'DROP TABLE lt');
}

# An index whose record is lost is not replaced by a plain one.  REINDEX is what
# one would try first.
foreach my $damage ('zeros', 'a byte of the key', 'a byte of the name')
{
	foreach my $sql ('REINDEX INDEX i_v', 'REINDEX (TABLESPACE ts1) INDEX i_v',
		'REINDEX TABLE i', 'VACUUM FULL i', 'ALTER TABLE i ALTER n TYPE bigint',
		'ALTER INDEX i_v SET TABLESPACE ts1',
		"TRUNCATE i; INSERT INTO i SELECT * FROM i_copy")
	{
		my $marker = new_marker();

		make_table('i', $marker, 100);
		$node->safe_psql('postgres', 'CREATE TABLE i_copy USING cmk_heap AS SELECT * FROM i; CHECKPOINT');
		my $r = $record->('i_v');
		my $keys = keys_path($node);

		$node->stop;
		if ($damage eq 'zeros') { write_bytes($keys, $r->{offset}, "\0" x RECORD_SIZE) }
		else { flip_byte($keys, $r->{offset} + ($damage =~ /key/ ? 70 : 20)) }
		$node->start;
		$node->psql('postgres', $sql);
		$node->psql('postgres', 'CHECKPOINT');
		is_deeply([ marker_files($node, $marker) ],
			[], "an index without its record ($damage), then $sql");
		$node->stop;
		write_bytes($keys, $r->{offset}, $r->{raw});
		$node->start;
		$node->safe_psql('postgres', 'DROP TABLE i, i_copy');
		settle_deaths($node);
	}
}

# The state of a record is not authenticated: a live one made a tombstone would be
# erased by the checkpoints, and pages in memory then written without a key.
{
	my $marker = new_marker();

	# One page, with room: the update makes no other file, which would show that
	# the relation lives.
	$node->safe_psql('postgres',
		"CREATE TABLE td (n int, v text) USING cmk_heap; INSERT INTO td SELECT g, '$marker' FROM generate_series(1, 100) g; CHECKPOINT");
	my $r = $record->('td');
	$node->stop;
	write_bytes(keys_path($node), $r->{offset}, fix_record_crc(
			substr($r->{raw}, 0, 5) . "\2" . substr($r->{raw}, 6)));
	$node->start;
	foreach my $sql ('UPDATE td SET n = n + 1 WHERE n <= 10', 'DELETE FROM td WHERE n = 100')
	{
		$node->psql('postgres', $sql);
		settle_deaths($node) foreach 1 .. 2;
		$node->psql('postgres', 'SELECT * FROM td');
	}
	is_deeply([ marker_files($node, $marker) ],
		[], 'a live record made a tombstone: nothing in clear');
	$node->restart;
	is($node->psql('postgres', 'SELECT count(*) FROM td'),
		0, '... and the table can be read');
	is(find_record($node, $r->{id})->{state}, 1, '... under a record that is live again')
	  if ok(find_record($node, $r->{id}), '... whose key is not erased');
}

is(index_faults($node, 'postgres'), '', 'indexes agree with tables');
$node->stop;
command_ok([ 'pg_checksums', '--check', '-D', $dir ], 'pg_checksums finds no fault');

# Rows that parallel workers hand over through mapped files

$node->append_conf('postgresql.conf', 'dynamic_shared_memory_type = mmap');
my ($failed, $log) = start_fails($node);
ok($failed, 'the server does not start with dynamic_shared_memory_type = mmap');
like($log, qr/FATAL:.*dynamic_shared_memory_type = mmap cannot be used with pg_cmk/,
	'... and says so');
$node->adjust_conf('postgresql.conf', 'dynamic_shared_memory_type', 'posix');
$node->start;
is($node->safe_psql('postgres', 'SELECT count(*) FROM lfull'),
	50, '... and starts with posix');
$node->stop;

done_testing();
