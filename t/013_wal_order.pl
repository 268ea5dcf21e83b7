# A replica replays a page as soon as its record comes.  If the relation's key
# came later, the replica would write the page in clear, in a file that the key
# record then calls wholly sealed.  So for every sealed relation, whatever path it
# came by, its key record stands in WAL before the first record that touches it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use CmkTest;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cmk_node('main', allows_streaming => 1);

$node->safe_psql('postgres', 'CREATE EXTENSION pg_walinspect');
my $spc = PostgreSQL::Test::Utils::tempdir;
$node->safe_psql('postgres', "CREATE TABLESPACE spc LOCATION '$spc'");
my $start = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');

my @paths = (
	'CREATE TABLE t (id int PRIMARY KEY, v text) USING cmk_heap;
	 INSERT INTO t SELECT g, repeat(md5(g::text), 100) FROM generate_series(1, 500) g',
	'CREATE TABLE c USING cmk_heap AS SELECT * FROM t',
	map({ "CREATE INDEX t_$_->[0] ON t USING $_->[0] ($_->[1])" }[ btree => 'md5(v)' ],
		[ hash => 'v' ], [ spgist => 'md5(v)' ], [ brin => 'id' ],
		[ gin => "to_tsvector('simple', left(v, 100))" ],
		[ gist => 'point(id, id)' ]),
	'CREATE INDEX CONCURRENTLY t_conc ON t (id)',
	'REINDEX TABLE t',
	'REINDEX INDEX t_pkey',
	'REINDEX TABLE CONCURRENTLY t',
	'REINDEX (TABLESPACE spc) INDEX t_conc',
	'VACUUM FULL t',
	'CLUSTER t USING t_pkey',
	'BEGIN; TRUNCATE t; INSERT INTO t SELECT * FROM c; COMMIT',
	'ALTER TABLE t ALTER id TYPE bigint',
	'ALTER TABLE t SET TABLESPACE spc',
	'ALTER INDEX t_pkey SET TABLESPACE spc',
	'ALTER INDEX t_hash SET TABLESPACE spc',
	'ALTER TABLE t SET UNLOGGED',
	'ALTER TABLE t SET LOGGED',
	'ALTER TABLE ALL IN TABLESPACE spc SET TABLESPACE pg_default',
	'ALTER INDEX ALL IN TABLESPACE spc SET TABLESPACE pg_default',
	'CREATE TABLE h (id int PRIMARY KEY, v text); INSERT INTO h SELECT * FROM c;
	 CREATE INDEX h_v ON h (md5(v))',
	'ALTER TABLE h SET ACCESS METHOD cmk_heap',
	'CREATE MATERIALIZED VIEW m USING cmk_heap AS SELECT * FROM c;
	 CREATE UNIQUE INDEX m_id ON m (id)',
	'REFRESH MATERIALIZED VIEW m',
	'REFRESH MATERIALIZED VIEW CONCURRENTLY m',
	q{BEGIN; CREATE TABLE p (id int PRIMARY KEY) USING cmk_heap; INSERT INTO p VALUES (1);
	  PREPARE TRANSACTION 'p'},
	q{COMMIT PREPARED 'p'});

# Rows of relations whose first page is logged before their key, or without one.
my $out_of_order = qq{
	WITH r AS MATERIALIZED (
		SELECT * FROM pg_get_wal_records_info('$start', pg_current_wal_flush_lsn())),
	born AS (
		SELECT (regexp_match(description, 'rel (\\d+/\\d+/\\d+) '))[1] AS rel,
			min(start_lsn) AS lsn
		FROM r WHERE resource_manager = 'pg_cmk' GROUP BY 1),
	touched AS (
		SELECT (regexp_matches(block_ref, 'rel (\\d+/\\d+/\\d+) ', 'g'))[1] AS rel,
			min(start_lsn) AS lsn
		FROM r GROUP BY 1)
	SELECT rel, born.lsn, touched.lsn FROM born JOIN touched USING (rel)
	WHERE touched.lsn < born.lsn};

foreach my $sql (@paths)
{
	$node->psql('postgres', $_, on_error_die => 1)
	  foreach $sql =~ /^BEGIN/ ? ($sql) : split(/;\s*/, $sql);
	is($node->safe_psql('postgres', $out_of_order), '', "keys come first: $sql");
}

is( $node->safe_psql(
		'postgres', qq{
		SELECT count(*) > 30 FROM pg_get_wal_records_info('$start', pg_current_wal_flush_lsn())
		WHERE resource_manager = 'pg_cmk'}),
	't',
	'there were keys to look at');

# The query can tell: a relation born by its first page would be seen.
is( $node->safe_psql(
		'postgres', $out_of_order =~ s/touched\.lsn < born\.lsn/touched.lsn > born.lsn LIMIT 1/r
	) ne '',
	1,
	'and they were before pages');

$node->stop;
done_testing();
