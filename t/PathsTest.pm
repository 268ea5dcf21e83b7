=pod

=head1 NAME

PathsTest - every path by which the file of a table or index comes into being

=head1 DESCRIPTION

The list that t/002_paths.pl runs for tables USING cmk_heap and t/060_scope.pl for
plain tables of a cluster in which everything is sealed.

=cut

package PathsTest;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(@paths $columns fill_in);

# What stands for itself in the SQL below: @M@ the marker, @ROWS@ a query of 40
# rows that hold it, @TABLE(name)@ a table with these rows, @TS@ a tablespace.
my $rows =
  q{SELECT g AS id, '@M@' || g AS v, repeat('@M@', 250) AS big FROM generate_series(1, 40) g};
our $columns = '(id int, v text, big text)';

# [ name, SQL, tables, rows after a crash ]; each table ends with the 40 rows, and
# has them after a crash unless the last element says otherwise.
our @paths = (
	[ 'CREATE TABLE', '@TABLE(t_create)@', ['t_create'] ],
	[
		'CREATE TABLE by default_table_access_method',
		"SET default_table_access_method = cmk_heap; CREATE TABLE t_default $columns; INSERT INTO t_default \@ROWS\@",
		['t_default']
	],
	[
		'CREATE TABLE AS',
		'CREATE TABLE t_ctas USING cmk_heap AS @ROWS@',
		['t_ctas']
	],
	[
		'CREATE TABLE AS EXECUTE',
		'PREPARE q AS @ROWS@; CREATE TABLE t_ctas_exec USING cmk_heap AS EXECUTE q',
		['t_ctas_exec']
	],
	[
		'EXPLAIN ANALYZE CREATE TABLE AS',
		'EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) CREATE TABLE t_explain USING cmk_heap AS @ROWS@',
		['t_explain']
	],
	[
		'SELECT INTO',
		'SET default_table_access_method = cmk_heap; SELECT * INTO t_into FROM (@ROWS@) s',
		['t_into']
	],
	[
		'CREATE TABLE AS in a DO block',
		'DO $$ BEGIN CREATE TABLE t_do USING cmk_heap AS @ROWS@; END $$',
		['t_do']
	],
	[
		'CREATE SCHEMA with a table in it',
		"CREATE SCHEMA s_elements CREATE TABLE t $columns USING cmk_heap CREATE INDEX t_v ON t (v); INSERT INTO s_elements.t \@ROWS\@",
		['s_elements.t']
	],
	[
		'CREATE TABLE LIKE',
		'@TABLE(t_like_src)@; CREATE INDEX ON t_like_src (v); CREATE TABLE t_like (LIKE t_like_src INCLUDING ALL) USING cmk_heap; INSERT INTO t_like @ROWS@',
		[ 't_like', 't_like_src' ]
	],
	[
		'a TOAST table that comes later',
		'CREATE TABLE t_latetoast (id int) USING cmk_heap; ALTER TABLE t_latetoast ADD v text, ADD big text; ALTER TABLE t_latetoast ALTER big SET STORAGE EXTERNAL; INSERT INTO t_latetoast @ROWS@',
		['t_latetoast']
	],
	[
		'COPY',
		"CREATE TABLE t_copy $columns USING cmk_heap;\nCOPY t_copy FROM stdin;\n"
		  . join('', map { "$_\t\@M\@$_\t\@M\@\n" } 1 .. 40) . "\\.\n",
		['t_copy']
	],
	[
		'COPY FREEZE',
		"BEGIN;\nCREATE TABLE t_freeze $columns USING cmk_heap;\nCOPY t_freeze FROM stdin (FREEZE);\n"
		  . join('', map { "$_\t\@M\@$_\t\@M\@\n" } 1 .. 40)
		  . "\\.\nCOMMIT;\n",
		['t_freeze']
	],
	[
		'COPY FREEZE after TRUNCATE',
		"\@TABLE(t_freeze2)\@;\nBEGIN;\nTRUNCATE t_freeze2;\nCOPY t_freeze2 FROM stdin (FREEZE);\n"
		  . join('', map { "$_\t\@M\@$_\t\@M\@\n" } 1 .. 40)
		  . "\\.\nCOMMIT;\n",
		['t_freeze2']
	],
	[
		'PRIMARY KEY',
		'CREATE TABLE t_pk (id int, v text PRIMARY KEY, big text) USING cmk_heap; INSERT INTO t_pk @ROWS@',
		['t_pk']
	],
	[
		'PRIMARY KEY added later',
		'@TABLE(t_addpk)@; ALTER TABLE t_addpk ADD PRIMARY KEY (v)',
		['t_addpk']
	],
	[
		'UNIQUE',
		'CREATE TABLE t_unique (id int UNIQUE, v text UNIQUE DEFERRABLE, big text) USING cmk_heap; INSERT INTO t_unique @ROWS@',
		['t_unique']
	],
	[
		'UNIQUE USING INDEX',
		'@TABLE(t_usingix)@; CREATE UNIQUE INDEX t_usingix_v ON t_usingix (v); ALTER TABLE t_usingix ADD UNIQUE USING INDEX t_usingix_v',
		['t_usingix']
	],
	[
		'EXCLUDE',
		'CREATE TABLE t_exclude (id int, v text, big text, EXCLUDE USING gist (v WITH =)) USING cmk_heap; INSERT INTO t_exclude @ROWS@',
		['t_exclude']
	],
	[
		'an index of every kind',
		'@TABLE(t_indexes)@; '
		  . 'CREATE INDEX ON t_indexes USING btree (v); '
		  . 'CREATE INDEX ON t_indexes USING hash (v); '
		  . 'CREATE INDEX ON t_indexes USING gin (string_to_array(v, $$ $$)); '
		  . 'CREATE INDEX ON t_indexes USING gin (to_tsvector($$simple$$, v)) WITH (fastupdate = off); '
		  . 'CREATE INDEX ON t_indexes USING gist (v gist_text_ops); '
		  . 'CREATE INDEX ON t_indexes USING spgist (v); '
		  . 'CREATE INDEX ON t_indexes USING brin (v) WITH (pages_per_range = 1); '
		  . 'CREATE INDEX ON t_indexes USING bloom (v); '
		  . 'CREATE INDEX ON t_indexes (lower(v)); '
		  . 'CREATE INDEX ON t_indexes (id) INCLUDE (v) WHERE id > 3',
		['t_indexes']
	],
	[
		'rows inserted into indexes of every kind',
		"CREATE TABLE t_indexes2 $columns USING cmk_heap; "
		  . 'CREATE INDEX ON t_indexes2 USING btree (v); '
		  . 'CREATE INDEX ON t_indexes2 USING hash (v); '
		  . 'CREATE INDEX ON t_indexes2 USING gin (string_to_array(v, $$ $$)); '
		  . 'CREATE INDEX ON t_indexes2 USING gist (v gist_text_ops); '
		  . 'CREATE INDEX ON t_indexes2 USING spgist (v); '
		  . 'CREATE INDEX ON t_indexes2 USING brin (v); '
		  . 'CREATE INDEX ON t_indexes2 USING bloom (v); '
		  . 'INSERT INTO t_indexes2 @ROWS@',
		['t_indexes2']
	],
	[
		'CREATE INDEX CONCURRENTLY',
		'@TABLE(t_cic)@; CREATE INDEX CONCURRENTLY t_cic_v ON t_cic (v); CREATE UNIQUE INDEX CONCURRENTLY ON t_cic (lower(v)); CREATE INDEX CONCURRENTLY ON t_cic USING gist (v gist_text_ops)',
		['t_cic']
	],
	[
		'REINDEX INDEX and TABLE',
		'@TABLE(t_reindex)@; CREATE INDEX t_reindex_v ON t_reindex (v); CREATE INDEX t_reindex_h ON t_reindex USING hash (v); CHECKPOINT; REINDEX INDEX t_reindex_v; REINDEX TABLE t_reindex',
		['t_reindex']
	],
	[
		'REINDEX CONCURRENTLY',
		'@TABLE(t_reindexc)@; CREATE INDEX t_reindexc_v ON t_reindexc (v); CREATE INDEX t_reindexc_g ON t_reindexc USING gist (v gist_text_ops); CHECKPOINT; REINDEX INDEX CONCURRENTLY t_reindexc_v; REINDEX TABLE CONCURRENTLY t_reindexc',
		['t_reindexc']
	],
	[
		'REINDEX with TABLESPACE',
		'@TABLE(t_reindexts)@; CREATE INDEX t_reindexts_v ON t_reindexts (v); CHECKPOINT; REINDEX (TABLESPACE @TS@) INDEX t_reindexts_v; REINDEX (TABLESPACE pg_default) TABLE t_reindexts',
		['t_reindexts']
	],
	[
		'REINDEX CONCURRENTLY with TABLESPACE',
		'@TABLE(t_reindextsc)@; CREATE INDEX t_reindextsc_v ON t_reindextsc (v); CHECKPOINT; REINDEX (TABLESPACE @TS@, CONCURRENTLY) TABLE t_reindextsc',
		['t_reindextsc']
	],
	[
		'REINDEX SCHEMA',
		"CREATE SCHEMA s_reindex; CREATE TABLE s_reindex.t $columns USING cmk_heap; INSERT INTO s_reindex.t \@ROWS\@; CREATE INDEX ON s_reindex.t (v); CHECKPOINT; REINDEX SCHEMA s_reindex",
		['s_reindex.t']
	],
	[
		'TRUNCATE',
		'@TABLE(t_truncate)@; CREATE INDEX ON t_truncate (v); CREATE INDEX ON t_truncate USING gist (v gist_text_ops); CHECKPOINT; TRUNCATE t_truncate; INSERT INTO t_truncate @ROWS@',
		['t_truncate']
	],
	[
		'TRUNCATE in the creating transaction',
		'BEGIN; @TABLE(t_truncate2)@; CREATE INDEX ON t_truncate2 (v); TRUNCATE t_truncate2; INSERT INTO t_truncate2 @ROWS@; COMMIT',
		['t_truncate2']
	],
	[
		'TRUNCATE in a function',
		'@TABLE(t_truncate3)@; CREATE INDEX ON t_truncate3 (v); CHECKPOINT; DO $$ BEGIN TRUNCATE t_truncate3; END $$; INSERT INTO t_truncate3 @ROWS@',
		['t_truncate3']
	],
	[
		'TRUNCATE CASCADE',
		"CREATE TABLE t_trunc_parent (id int PRIMARY KEY) USING cmk_heap; CREATE TABLE t_trunc_child (id int REFERENCES t_trunc_parent, v text UNIQUE, big text) USING cmk_heap; TRUNCATE t_trunc_parent CASCADE; INSERT INTO t_trunc_parent SELECT generate_series(1, 40); INSERT INTO t_trunc_child \@ROWS\@",
		['t_trunc_child']
	],
	[
		'VACUUM FULL',
		'@TABLE(t_vacfull)@; CREATE INDEX ON t_vacfull (v); CHECKPOINT; VACUUM FULL t_vacfull',
		['t_vacfull']
	],
	[
		'VACUUM, for the free space and visibility maps',
		'@TABLE(t_vacuum)@; CREATE INDEX ON t_vacuum (v); DELETE FROM t_vacuum; INSERT INTO t_vacuum @ROWS@; VACUUM t_vacuum',
		['t_vacuum']
	],
	[
		'CLUSTER',
		'@TABLE(t_cluster)@; CREATE INDEX t_cluster_v ON t_cluster (v); CHECKPOINT; CLUSTER t_cluster USING t_cluster_v',
		['t_cluster']
	],
	[
		'ALTER TABLE that rewrites',
		'@TABLE(t_rewrite)@; CREATE INDEX ON t_rewrite (v); CHECKPOINT; ALTER TABLE t_rewrite ALTER id TYPE bigint; ALTER TABLE t_rewrite ADD r float8 DEFAULT random()',
		['t_rewrite']
	],
	[
		'ALTER TYPE that rewrites a typed table',
		'CREATE TYPE y_rewrite AS (id int, v text, big text); CREATE TABLE t_typed OF y_rewrite USING cmk_heap; INSERT INTO t_typed @ROWS@; CREATE INDEX ON t_typed (v); CHECKPOINT; ALTER TYPE y_rewrite ALTER ATTRIBUTE id TYPE bigint CASCADE',
		['t_typed']
	],
	[
		'ALTER TABLE that keeps the files of its indexes',
		'CREATE TABLE t_reuse (id int, v varchar(100), big text) USING cmk_heap; INSERT INTO t_reuse @ROWS@; CREATE INDEX ON t_reuse (v); CHECKPOINT; ALTER TABLE t_reuse ALTER v TYPE varchar(200)',
		['t_reuse']
	],
	[
		'ALTER TABLE that rebuilds an index alone',
		'@TABLE(t_rebuild)@; CREATE INDEX ON t_rebuild (v); CHECKPOINT; ALTER TABLE t_rebuild ALTER v TYPE text COLLATE "C"',
		['t_rebuild']
	],
	[
		'SET ACCESS METHOD cmk_heap',
		"CREATE TABLE t_setam $columns USING heap; ALTER TABLE t_setam ALTER big SET STORAGE EXTERNAL; INSERT INTO t_setam \@ROWS\@; CREATE INDEX ON t_setam (v); ALTER TABLE t_setam SET ACCESS METHOD cmk_heap",
		['t_setam']
	],
	[
		'SET ACCESS METHOD there and back',
		'@TABLE(t_setam2)@; CREATE INDEX ON t_setam2 (v); ALTER TABLE t_setam2 SET ACCESS METHOD heap; ALTER TABLE t_setam2 SET ACCESS METHOD cmk_heap',
		['t_setam2']
	],
	[
		'CREATE TABLE and INDEX in a tablespace',
		"CREATE TABLE t_ts $columns USING cmk_heap TABLESPACE \@TS\@; INSERT INTO t_ts \@ROWS\@; CREATE INDEX ON t_ts (v) TABLESPACE \@TS\@",
		['t_ts']
	],
	[
		'SET TABLESPACE of table and index',
		'@TABLE(t_setts)@; CREATE INDEX t_setts_v ON t_setts (v); CREATE INDEX t_setts_h ON t_setts USING hash (v); CHECKPOINT; ALTER TABLE t_setts SET TABLESPACE @TS@; ALTER INDEX t_setts_v SET TABLESPACE @TS@; DO $$ BEGIN ALTER INDEX t_setts_h SET TABLESPACE @TS@; END $$',
		['t_setts']
	],
	[
		'SET TABLESPACE there and back',
		'@TABLE(t_setts2)@; CREATE INDEX t_setts2_v ON t_setts2 (v); VACUUM t_setts2; ALTER TABLE t_setts2 SET TABLESPACE @TS@; ALTER INDEX t_setts2_v SET TABLESPACE @TS@; CHECKPOINT; ALTER TABLE t_setts2 SET TABLESPACE pg_default; ALTER INDEX t_setts2_v SET TABLESPACE pg_default',
		['t_setts2']
	],
	[
		'ALTER TABLE ALL IN TABLESPACE',
		"CREATE TABLE t_allts $columns USING cmk_heap TABLESPACE ts_all; INSERT INTO t_allts \@ROWS\@; CREATE INDEX ON t_allts (v) TABLESPACE ts_all; "
		  . 'CREATE MATERIALIZED VIEW m_allts USING cmk_heap TABLESPACE ts_all AS SELECT * FROM t_allts; CHECKPOINT; '
		  . 'ALTER TABLE ALL IN TABLESPACE ts_all SET TABLESPACE @TS@; ALTER INDEX ALL IN TABLESPACE ts_all SET TABLESPACE @TS@; ALTER MATERIALIZED VIEW ALL IN TABLESPACE ts_all SET TABLESPACE @TS@',
		[ 't_allts', 'm_allts' ]
	],
	[
		'UNLOGGED',
		"CREATE UNLOGGED TABLE t_unlogged (id int, v text UNIQUE, big text) USING cmk_heap; CREATE INDEX ON t_unlogged USING gist (v gist_text_ops); ALTER TABLE t_unlogged ALTER big SET STORAGE EXTERNAL; INSERT INTO t_unlogged \@ROWS\@",
		['t_unlogged'], 0
	],
	[
		'SET LOGGED',
		"CREATE UNLOGGED TABLE t_logged $columns USING cmk_heap; INSERT INTO t_logged \@ROWS\@; CREATE INDEX ON t_logged (v); CHECKPOINT; ALTER TABLE t_logged SET LOGGED",
		['t_logged']
	],
	[
		'SET UNLOGGED',
		'@TABLE(t_setunlogged)@; CREATE INDEX ON t_setunlogged (v); CHECKPOINT; ALTER TABLE t_setunlogged SET UNLOGGED',
		['t_setunlogged'], 0
	],
	[
		'SET TABLESPACE of an unlogged table',
		"CREATE UNLOGGED TABLE t_unloggedts (id int, v text PRIMARY KEY, big text) USING cmk_heap; INSERT INTO t_unloggedts \@ROWS\@; CHECKPOINT; ALTER TABLE t_unloggedts SET TABLESPACE \@TS\@; ALTER INDEX t_unloggedts_pkey SET TABLESPACE \@TS\@",
		['t_unloggedts'], 0
	],
	[
		'CREATE MATERIALIZED VIEW',
		'@TABLE(t_matview)@; CREATE MATERIALIZED VIEW m_create USING cmk_heap AS SELECT * FROM t_matview; CREATE INDEX ON m_create (v)',
		['m_create']
	],
	[
		'REFRESH MATERIALIZED VIEW',
		"CREATE TABLE t_refresh $columns USING cmk_heap; CREATE MATERIALIZED VIEW m_refresh USING cmk_heap AS SELECT * FROM t_refresh; CREATE UNIQUE INDEX ON m_refresh (v); INSERT INTO t_refresh \@ROWS\@; REFRESH MATERIALIZED VIEW m_refresh",
		['m_refresh']
	],
	[
		'REFRESH MATERIALIZED VIEW CONCURRENTLY',
		"CREATE TABLE t_refreshc $columns USING cmk_heap; CREATE MATERIALIZED VIEW m_refreshc USING cmk_heap AS SELECT * FROM t_refreshc; CREATE UNIQUE INDEX ON m_refreshc (v); INSERT INTO t_refreshc \@ROWS\@; REFRESH MATERIALIZED VIEW CONCURRENTLY m_refreshc; "
		  # It analyzes the rows that differ.
		  . 'DELETE FROM pg_statistic; VACUUM FULL pg_statistic',
		['m_refreshc']
	],
	[
		'partitions, attached',
		"CREATE TABLE t_part $columns PARTITION BY RANGE (id); CREATE INDEX ON t_part (v); "
		  . 'CREATE TABLE t_part1 PARTITION OF t_part FOR VALUES FROM (1) TO (21) USING cmk_heap; '
		  . "CREATE TABLE t_part2 $columns USING cmk_heap; ALTER TABLE t_part ATTACH PARTITION t_part2 FOR VALUES FROM (21) TO (100); "
		  . 'INSERT INTO t_part @ROWS@; CREATE INDEX ON t_part (lower(v))',
		['t_part']
	],
	[
		'a partition, detached and rewritten',
		"CREATE TABLE t_detach $columns PARTITION BY RANGE (id); CREATE INDEX ON t_detach (v); "
		  . 'CREATE TABLE t_detach1 PARTITION OF t_detach FOR VALUES FROM (1) TO (100) USING cmk_heap; '
		  . 'INSERT INTO t_detach @ROWS@; ALTER TABLE t_detach DETACH PARTITION t_detach1; VACUUM FULL t_detach1',
		['t_detach1']
	],
	[
		'a partition, detached concurrently',
		"CREATE TABLE t_detachc $columns PARTITION BY RANGE (id); CREATE INDEX ON t_detachc (v); "
		  . 'CREATE TABLE t_detachc1 PARTITION OF t_detachc FOR VALUES FROM (1) TO (100) USING cmk_heap; '
		  . 'INSERT INTO t_detachc @ROWS@; ALTER TABLE t_detachc DETACH PARTITION t_detachc1 CONCURRENTLY; REINDEX TABLE t_detachc1',
		['t_detachc1']
	],
	[
		'REINDEX, TRUNCATE and SET TABLESPACE of partitioned tables and indexes',
		"CREATE TABLE t_parent $columns PARTITION BY RANGE (id); CREATE INDEX t_parent_v ON t_parent (v); "
		  . 'CREATE TABLE t_parent1 PARTITION OF t_parent FOR VALUES FROM (1) TO (100) USING cmk_heap; '
		  . 'INSERT INTO t_parent @ROWS@; CHECKPOINT; REINDEX INDEX t_parent_v; REINDEX (TABLESPACE @TS@) TABLE t_parent; TRUNCATE t_parent; INSERT INTO t_parent @ROWS@',
		['t_parent']
	],
	[
		'children that inherit',
		'CREATE TABLE t_inherit (id int, v text UNIQUE, big text) USING cmk_heap; CREATE TABLE t_inherit1 (UNIQUE (v)) INHERITS (t_inherit) USING cmk_heap; INSERT INTO t_inherit1 @ROWS@',
		['t_inherit1']
	],
	[
		'values of a megabyte, out of line',
		"CREATE TABLE t_toast $columns USING cmk_heap; ALTER TABLE t_toast ALTER big SET STORAGE EXTERNAL; INSERT INTO t_toast SELECT g, '\@M\@' || g, repeat('\@M\@', 50000) FROM generate_series(1, 40) g WHERE g <= 2; INSERT INTO t_toast SELECT * FROM (\@ROWS\@) s WHERE id > 2; UPDATE t_toast SET big = big || 'x' WHERE id = 1",
		['t_toast']
	],
	[
		'subtransactions',
		"BEGIN; SAVEPOINT a; \@TABLE(t_subxact)\@; CREATE INDEX ON t_subxact (v); SAVEPOINT b; TRUNCATE t_subxact; INSERT INTO t_subxact \@ROWS\@; CREATE TABLE t_gone USING cmk_heap AS \@ROWS\@; ROLLBACK TO b; SAVEPOINT c; ALTER TABLE t_subxact ALTER id TYPE bigint; RELEASE c; COMMIT",
		['t_subxact']
	],
	[
		'an exception block that rolls a rewrite back',
		'@TABLE(t_exception)@; CREATE INDEX ON t_exception (v); DO $$ BEGIN BEGIN TRUNCATE t_exception; ALTER TABLE t_exception ALTER id TYPE bigint; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN INSERT INTO t_exception (id) VALUES (0); END; END $$',
		['t_exception']
	],
	[
		'a transaction that is rolled back',
		'@TABLE(t_rolledback)@; CREATE INDEX ON t_rolledback (v); BEGIN; TRUNCATE t_rolledback; INSERT INTO t_rolledback @ROWS@; CREATE TABLE t_gone2 USING cmk_heap AS @ROWS@; CHECKPOINT; ROLLBACK',
		['t_rolledback']
	],
	[
		'a prepared transaction, committed',
		'BEGIN; @TABLE(t_prepared)@; CREATE INDEX ON t_prepared (v); PREPARE TRANSACTION $$p1$$; CHECKPOINT; COMMIT PREPARED $$p1$$',
		['t_prepared']
	],
	[
		'a prepared transaction, rolled back',
		'@TABLE(t_prepared2)@; CREATE INDEX ON t_prepared2 (v); BEGIN; TRUNCATE t_prepared2; INSERT INTO t_prepared2 @ROWS@; PREPARE TRANSACTION $$p2$$; CHECKPOINT; ROLLBACK PREPARED $$p2$$',
		['t_prepared2']
	]);

=head1 FUNCTIONS

=over

=item fill_in($sql, $marker)

The macros of the list.

=back

=cut

sub fill_in
{
	my ($sql, $marker) = @_;

	$sql =~
	  s/\@TABLE\((\w+)\)\@/CREATE TABLE $1 $columns USING cmk_heap; ALTER TABLE $1 ALTER big SET STORAGE EXTERNAL; INSERT INTO $1 \@ROWS\@/g;
	$sql =~ s/\@ROWS\@/$rows/g;
	$sql =~ s/\@TS\@/ts_paths/g;
	$sql =~ s/\@M\@/$marker/g;
	return $sql;
}

1;
