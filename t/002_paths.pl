# Every path by which the file of an encrypted table or index comes into being.
#
# Each path is run with a marker text of its own in the rows, in uncompressed
# TOAST values and in index keys.  After a checkpoint no file of the data
# directory or a tablespace may hold the marker, and no page of the relations may
# be plain.  The same rows in a plain table are found, so the search can fail.
# At the end every table is read again after a crash, which replays the paths,
# and pg_checksums and pg_basebackup are asked.
#
# The list is run twice, since wal_level = minimal takes other ways: what was
# created in the same transaction is not logged but written and synced at commit.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# What stands for itself in the SQL below: @M@ the marker, @ROWS@ a query of 40
# rows that hold it, @TABLE(name)@ a table with these rows, @TS@ a tablespace.
my $rows =
  q{SELECT g AS id, '@M@' || g AS v, repeat('@M@', 250) AS big FROM generate_series(1, 40) g};
my $columns = '(id int, v text, big text)';

# [ name, SQL, tables, rows after a crash ]; each table ends with the 40 rows, and
# has them after a crash unless the last element says otherwise.
my @paths = (
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

foreach my $setup (
	[ 'minimal', checksums => 1, allows_streaming => 0 ],
	[ 'replica', checksums => 0, allows_streaming => 1 ])
{
	run_paths(@$setup);
}
done_testing();

sub run_paths
{
	my ($level, %opt) = @_;
	my $node = new_cmk_node($level, %opt);
	my $db = 'postgres';
	my (@markers, %expected);

	$node->safe_psql($db,
		'CREATE EXTENSION btree_gist; CREATE EXTENSION bloom; CREATE EXTENSION amcheck'
	);
	foreach my $ts ('ts_paths', 'ts_all', 'ts_db')
	{
		my $dir = $node->basedir . "/$ts";
		mkdir $dir;
		$node->safe_psql($db, "CREATE TABLESPACE $ts LOCATION '$dir'");
	}

	control($node, $db);

	foreach my $path (@paths)
	{
		my ($name, $sql, $tables, $after_crash) = @$path;
		my $marker = new_marker();

		push @markers, $marker;
		$sql = fill_in($sql, $marker) . ";\nCHECKPOINT;\n";
		my ($ret, $out, $err) =
		  $node->psql($db, $sql, on_error_die => 0, on_error_stop => 1);
		if ($ret != 0)
		{
			fail("$name ($level)");
			diag($err);
			next;
		}
		# A checkpoint does not write unlogged tables.
		$node->restart if defined $after_crash;
		is(faults($node, $db, $marker, @$tables), '', "$name ($level)");
		$expected{"$_ $marker"} = defined $after_crash ? $after_crash : 40
		  foreach @$tables;
	}

	to_heap($node, $db);
	push @markers, databases($node, $level);
	push @markers, temporary($node, $db, $level);
	push @markers, in_flight($node, $db, $level);

	# What the server's own maintenance of all of it would write
	$node->safe_psql($db,
		q{SET client_min_messages = error; VACUUM; CHECKPOINT; REINDEX DATABASE postgres; CHECKPOINT}
	);
	is_deeply([ map { marker_files($node, $_) } @markers ],
		[], "VACUUM and REINDEX DATABASE ($level)");
	is(index_faults($node, $db), '', "indexes agree with tables ($level)");

	# Replay of all of it
	$node->stop('immediate');
	$node->start;
	my @wrong;
	foreach my $key (sort keys %expected)
	{
		my ($table, $marker) = split / /, $key;
		my $n = $node->safe_psql($db,
			"SELECT count(*) FROM $table t WHERE v LIKE '$marker%' AND big LIKE '%$marker%'"
		);
		push @wrong, "$table: $n rows instead of $expected{$key}"
		  if $n != $expected{$key};
	}
	is(join("\n", @wrong), '', "rows after a crash ($level)");
	is(index_faults($node, $db), '', "indexes after a crash ($level)");
	$node->safe_psql($db, "INSERT INTO t_unlogged (id, v) VALUES (1, '$markers[0]')");
	$node->safe_psql($db, 'CHECKPOINT');
	is( sealed_faults($node, $db, 't_unlogged'),
		'', "an unlogged table, reset after a crash, is sealed ($level)");
	is_deeply([ map { marker_files($node, $_) } @markers ],
		[], "no plain text on disk after a crash ($level)");
	ok(wait_no_orphans($node), "every record has a file in the end ($level)");

	if ($opt{allows_streaming})
	{
		my @map = map {
			my $from = readlink $_;
			(my $to = $from) =~ s/$/_backup/;
			('-T', "$from=$to")
		} glob($node->data_dir . '/pg_tblspc/*');

		$node->backup('all', backup_options => [@map]);
		is_deeply(
			[ map { marker_files($node->backup_dir . '/all', $_) } @markers ],
			[], "no plain text in a base backup ($level)");
	}
	$node->stop;
	command_ok([ 'pg_checksums', '--check', '-D', $node->data_dir ],
		"pg_checksums finds no fault ($level)")
	  if $opt{checksums};
	return;
}

# The macros of the list.
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

# What is wrong with tables that should hold 40 rows with the marker, sealed.
sub faults
{
	my ($node, $db, $marker, @tables) = @_;
	my @faults = map { "plain text in $_" } marker_files($node, $marker);

	push @faults, sealed_faults($node, $db, @tables) || ();
	foreach my $table (@tables)
	{
		my $n = $node->safe_psql($db,
			"SELECT count(*) FROM $table t WHERE v LIKE '$marker%' AND big LIKE '%$marker%'"
		);
		push @faults, "$table has $n rows" if $n != 40;
	}
	return join("\n", @faults);
}

# A plain table of the same form: the search finds table, TOAST table and index.
sub control
{
	my ($node, $db) = @_;
	my $marker = new_marker();
	(my $sql = fill_in('@TABLE(t_control)@', $marker)) =~ s/cmk_heap/heap/;

	$node->safe_psql($db,
		"$sql; CREATE INDEX ON t_control (v); CREATE INDEX ON t_control USING gist (v gist_text_ops); CHECKPOINT"
	);
	my %expected = map { ($_->{path} =~ s/.*pgdata\///r => 1) }
	  grep { $_->{name} !~ /pg_toast_\d+_index/ }
	  relations_of($node, $db, 't_control');
	is_deeply({ map { $_ => 1 } marker_files($node, $marker) },
		\%expected, 'control: a plain table, its TOAST table and indexes are found');
	$node->safe_psql($db, 'DROP TABLE t_control; CHECKPOINT');
	is_deeply([ marker_files($node, $marker) ], [], '... until they are dropped');
	return;
}

# SET ACCESS METHOD heap: the owner wants it plain, and then it is.
sub to_heap
{
	my ($node, $db) = @_;
	my $marker = new_marker();

	$node->safe_psql($db,
		fill_in(
			'@TABLE(t_toheap)@; CREATE INDEX ON t_toheap (v); ALTER TABLE t_toheap SET ACCESS METHOD heap; CHECKPOINT',
			$marker));
	my ($path, $sealed, $rows) = split /\|/,
	  $node->safe_psql($db,
		"SELECT pg_relation_filepath('t_toheap'), cmk.is_sealed('t_toheap'), (SELECT count(*) FROM t_toheap WHERE v LIKE '$marker%')"
	  );
	my $counts = page_counts($node->data_dir . "/$path")->{main};

	is($sealed, 'f', 'SET ACCESS METHOD heap: not sealed any more');
	is($rows,   40,  '... the rows are there');
	ok($counts->{plain} > 0 && $counts->{sealed} == 0, '... on plain pages');
	ok(file_contains($node->data_dir . "/$path", $marker),
		'... where the marker is found');
	$node->safe_psql($db, 'DROP TABLE t_toheap; CHECKPOINT');
	return;
}

# Databases made from a template that holds sealed tables, and moved ones.
sub databases
{
	my ($node, $level) = @_;
	my $marker = new_marker();

	$node->safe_psql('postgres', 'CREATE DATABASE src');
	$node->safe_psql('src',
		fill_in(
			'CREATE EXTENSION pg_cmk; @TABLE(t_db)@; CREATE INDEX ON t_db (v); VACUUM t_db; '
			  . "CREATE UNLOGGED TABLE t_dbu $columns USING cmk_heap; INSERT INTO t_dbu \@ROWS\@; CREATE INDEX ON t_dbu (v); "
			  . 'CREATE TABLE t_dbplain (i int) USING heap; CHECKPOINT',
			$marker));
	foreach my $copy (
		[ 'copy_wal',  'STRATEGY wal_log' ],
		[ 'copy_file', 'STRATEGY file_copy' ],
		[ 'copy_wal_ts',  'STRATEGY wal_log TABLESPACE ts_db' ],
		[ 'copy_file_ts', 'STRATEGY file_copy TABLESPACE ts_db' ])
	{
		my ($db, $how) = @$copy;

		$node->safe_psql('postgres',
			"CREATE DATABASE $db TEMPLATE src $how; CHECKPOINT");
		is(faults($node, $db, $marker, 't_db', 't_dbu'),
			'', "CREATE DATABASE ... $how ($level)");

		is( $node->safe_psql($db,
				q{SELECT cmk.is_sealed('t_dbplain'), cmk.is_sealed('pg_class')}),
			'f|f',
			"... plain tables of it stay plain ($level)");

		my ($old, $new) = map { find_record($node, relid_of($node, $_, 't_db')) }
		  'src', $db;
		isnt(unpack('H*', $new->{raw} =~ s/^.{40}//sr),
			unpack('H*', $old->{raw} =~ s/^.{40}//sr),
			"... the copy has a DEK of its own ($level)");
	}
	foreach my $move ('ts_db', 'pg_default')
	{
		$node->safe_psql('postgres',
			"ALTER DATABASE src SET TABLESPACE $move; CHECKPOINT");
		is(faults($node, 'src', $marker, 't_db', 't_dbu'),
			'', "ALTER DATABASE SET TABLESPACE $move ($level)");
	}
	$node->stop('immediate');
	$node->start;
	foreach my $db ('src', 'copy_wal', 'copy_file', 'copy_wal_ts', 'copy_file_ts')
	{
		$node->safe_psql($db, 'INSERT INTO t_dbu SELECT * FROM t_db; CHECKPOINT');
		is(faults($node, $db, $marker, 't_db', 't_dbu'),
			'', "database $db after a crash ($level)");
	}
	$node->safe_psql('postgres', "DROP DATABASE $_")
	  foreach 'copy_wal', 'copy_file', 'copy_wal_ts', 'copy_file_ts', 'src';
	return $marker;
}

# Temporary tables of every kind, whose local buffers are too few to hold them.
sub temporary
{
	my ($node, $db, $level) = @_;
	my $marker = new_marker();
	my $session = $node->background_psql($db);

	$session->query_safe(
		fill_in(
			"SET temp_buffers = 100; CREATE TEMP TABLE t_temp $columns USING cmk_heap; "
			  . 'ALTER TABLE t_temp ALTER big SET STORAGE EXTERNAL; '
			  . 'INSERT INTO t_temp SELECT s.* FROM (@ROWS@) s, generate_series(1, 20); '
			  . 'CREATE INDEX ON t_temp (v); '
			  . 'CREATE TEMP TABLE t_temp_plain USING heap AS SELECT * FROM t_temp; '
			  . 'CREATE TEMP TABLE t_temp_drop ON COMMIT DROP AS SELECT * FROM t_temp; '
			  . 'CREATE INDEX ON t_temp_plain (v); ANALYZE pg_class; '
			  . 'TRUNCATE t_temp_plain; INSERT INTO t_temp_plain SELECT * FROM t_temp',
			$marker));
	my @files = map { split /\|/ } split /\n/,
	  $session->query_safe(
		q{SELECT pg_relation_filepath('t_temp') || '|' || pg_relation_filepath('t_temp_plain')}
	  );
	foreach my $file (@files)
	{
		my $counts = page_counts($node->data_dir . "/$file")->{main};

		ok( $counts->{sealed} > 0 && $counts->{plain} == 0,
			"a temporary table's file is sealed ($level)")
		  or diag(explain($counts));
	}
	is_deeply([ marker_files($node, $marker) ],
		[], "temporary tables leave no plain text on disk ($level)");
	is( $session->query_safe(
			"SELECT count(*) FROM t_temp JOIN t_temp_plain USING (id, v) WHERE v LIKE '$marker%' AND t_temp.big = t_temp_plain.big"
		),
		40 * 20 * 20,
		"and are read back ($level)");
	$session->quit;
	return $marker;
}

# A transaction that is still open, when its pages go to disk.
sub in_flight
{
	my ($node, $db, $level) = @_;
	my $marker = new_marker();
	my $session = $node->background_psql($db);

	$session->query_safe(
		fill_in(
			'BEGIN; @TABLE(t_flight)@; CREATE INDEX ON t_flight (v); ALTER TABLE t_create ALTER id TYPE bigint',
			$marker));
	$node->safe_psql($db, 'CHECKPOINT');
	is_deeply([ marker_files($node, $marker) ],
		[], "an open transaction leaves no plain text on disk ($level)");
	$session->query_safe('ROLLBACK');
	$session->quit;
	return $marker;
}
