# A relation of more than one file.
#
# Block numbers count over all segments, and stand in the tweak.  A table is made
# longer than a segment without writing a gigabyte: its first file is extended to
# its full size with a hole while the server is down, which is a legal state (the
# server itself extends files with zero pages).

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cmk_node('main', checksums => 1, conf => "shared_buffers = 8MB\n");
my $marker = new_marker();

$node->safe_psql(
	'postgres', qq{
	CREATE EXTENSION amcheck;
	CREATE TABLE t (id int PRIMARY KEY, v text) USING cmk_heap;
	INSERT INTO t SELECT g, '$marker' || g FROM generate_series(1, 500) g;
	CHECKPOINT});
my $segment = $node->safe_psql('postgres',
	q{SELECT setting::int8 FROM pg_settings WHERE name = 'segment_size'});
my $blocks = $segment;
my $path = $node->data_dir . '/'
  . $node->safe_psql('postgres', q{SELECT pg_relation_filepath('t')});

$node->stop;
truncate $path, $blocks * PAGE_SIZE or die "truncate $path: $!";
$node->start;

# The last page of the first segment, then those of the second
$node->safe_psql(
	'postgres', qq{
	INSERT INTO t SELECT g, '$marker' || g FROM generate_series(501, 2000) g;
	CHECKPOINT});
is( $node->safe_psql('postgres', qq{
		SELECT max((ctid::text::point)[0]) > $blocks,
			bool_or((ctid::text::point)[0] = $blocks - 1),
			bool_or((ctid::text::point)[0] = $blocks)
		FROM t WHERE id > 500}),
	't|t|t',
	'rows stand on both sides of the border');
ok(-s "$path.1", 'there is a second file');
is(sealed_faults($node, 'postgres', 't'), '', 'all pages of both files are sealed');
is_deeply([ marker_files($node, $marker) ], [], 'no plain text is on disk');

# The same block of the two files is sealed with different tweaks: exchanged,
# they are not taken for each other, checksums or not.
$node->restart;
is( $node->safe_psql('postgres',
		"SET enable_seqscan = off; SELECT count(*) FROM t WHERE id > 0 AND v LIKE '$marker%'"),
	2000, 'every row is read back');
is(index_faults($node, 'postgres'), '', 'and the index agrees with the table');

$node->stop('immediate');
$node->start;
$node->safe_psql('postgres', 'DELETE FROM t WHERE id > 1000; VACUUM (TRUNCATE off) t');
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'),
	1000, 'after a crash and VACUUM, too');
$node->stop;
command_ok([ 'pg_checksums', '--check', '-D', $node->data_dir ],
	'pg_checksums finds no fault in either file');

my ($first, $second) =
  (read_bytes($path, 0, PAGE_SIZE), read_bytes("$path.1", 0, PAGE_SIZE));
write_bytes("$path.1", 0, $first);
$node->start;
my ($ret, $out, $err) = $node->psql('postgres',
	"SET ignore_checksum_failure = on; SELECT * FROM t WHERE ctid >= '($blocks,0)'");
isnt($ret, 0, 'a page from the first file is not taken for one of the second');
unlike($out . $err, qr/$marker/, '... and gives no row');
$node->stop;
write_bytes("$path.1", 0, $second);

# Both files go with the table, and then its key.
$node->start;
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 1000, 'put back, it is right');
$node->safe_psql('postgres', 'TRUNCATE t');
ok(wait_no_orphans($node), 'TRUNCATE removes all files, then the key');
ok(!-e "$path.1" && !-e $path, '... both');
$node->stop;

done_testing();
