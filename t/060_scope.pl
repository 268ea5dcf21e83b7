# pg_cmk.scope = cluster: every relation file that comes into being is sealed, and what
# was born plain is sealed in place.
#
# The paths of t/002_paths.pl are run with plain tables, statistics gathered, in a
# database that was made under this scope.  Besides: catalogs, whether mapped or
# not, and shared ones, which get new files; sequences, materialized views, and
# databases made by both strategies.  After each path the marker of its rows stands
# in no file of the data directory, and at the end no relation file of the database
# has a plain page.  A standby and a crash show the same.  Going back to scope
# tables leaves sealed what is sealed, and what replaces it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PathsTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cmk_node(
	'cluster',
	checksums        => 1,
	allows_streaming => 1,
	conf             => "wal_keep_size = 4GB\nallow_in_place_tablespaces = on\n");
my @markers;
my %expected;

$node->safe_psql('postgres', "CREATE TABLESPACE $_ LOCATION ''")
  foreach 'ts_paths', 'ts_all', 'ts_db';

# ---- what was born plain, when the scope becomes cluster ----

my $old = new_marker();
push @markers, $old;
$node->safe_psql('postgres', $_) foreach "CREATE DATABASE db_$old TABLESPACE ts_db", 'CREATE DATABASE closed';
$node->safe_psql('postgres', qq{
	CREATE ROLE $old;
	ALTER DATABASE closed ALLOW_CONNECTIONS false;
	CREATE TABLE plain (id int PRIMARY KEY, v text);
	INSERT INTO plain SELECT g, '$old' || g FROM generate_series(1, 5000) g;
	CREATE INDEX ON plain USING gist (point(id, id)) TABLESPACE ts_all;
	CREATE UNLOGGED TABLE plain_u AS SELECT * FROM plain;
	CREATE FUNCTION f_$old() RETURNS text LANGUAGE sql AS 'SELECT ''$old''';
	CREATE SEQUENCE s_$old;
	SELECT lo_from_bytea(0, '$old');
	ANALYZE;
	BEGIN; CREATE TABLE prepared AS SELECT * FROM plain; PREPARE TRANSACTION 'p'});
$node->safe_psql("db_$old", "CREATE TABLE plain AS SELECT '$old'::text AS v; ANALYZE");
my $standby = PostgreSQL::Test::Cluster->new('standby');
$node->backup('b');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
$node->safe_psql('postgres', 'CHECKPOINT');
ok(scalar(marker_files($node, $old)) > 10, 'control: catalogs and tables of scope tables are plain');

my $offset = -s $node->logfile;
$node->append_conf('postgresql.conf', "pg_cmk.scope = 'cluster'");
$node->restart;
is($node->safe_psql('postgres', 'SELECT scope FROM cmk.status'),
	'cluster', 'scope cluster: cmk.status says so');
ok(wait_until('all is sealed but the prepared table', sub {
	# With its TOAST table's index.
	return plain_relations($node) <= 2;
}), 'all that was born plain is sealed') or diag(join "\n", plain_relations($node));
ok(wait_until('the catalogs are known to be sealed', sub {
	$node->safe_psql('postgres', q{SELECT count(*) > 270 AND bool_and(cmk.is_sealed(oid)) FROM pg_class WHERE relkind IN ('r', 'i', 't', 'S', 'm')}) eq 't' }),
	'... and said to be');
$node->safe_psql('postgres', "COMMIT PREPARED 'p'");
ok(wait_until('the log says that all is sealed', sub {
	slurp_file($node->logfile, $offset) =~ /every relation file of the cluster is sealed/ }),
	'... then what was prepared, too');
is(join("\n", plain_relations($node)), '', '... so that no relation file has a plain page');
is_deeply([ marker_files($node, $old) ], [], '... and the marker stands nowhere');
is($node->safe_psql('postgres', 'SELECT count(*) FROM plain JOIN plain_u USING (id, v) JOIN prepared USING (id, v)'),
	5000, '... and rows are there');
is($node->safe_psql('template1', 'SELECT count(*) > 300 FROM pg_class'), 't', '... and template1 is read');
$node->wait_for_catchup($standby);
is(join("\n", plain_relations($standby)), '', 'the standby ends sealed');
is_deeply([ marker_files($standby, $old) ], [], '... and the marker stands nowhere');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM plain JOIN prepared USING (id, v)'), 5000, '... but in its rows');
is($standby->safe_psql('postgres', q{SELECT count(*) > 270, bool_and(cmk.is_sealed(oid)) FROM pg_class WHERE relkind IN ('r', 'i', 't', 'S', 'm')}),
	't|t', '... and all is said to be sealed');
$offset = -s $node->logfile;
$node->restart;
ok(wait_until('the launcher looks again', sub {
	slurp_file($node->logfile, $offset) =~ /every relation file of the cluster is sealed/ }),
	'the next start looks again');
unlike(slurp_file($node->logfile, $offset), qr/to be sealed in place/, '... and finds nothing to do');
$standby->stop;

# ---- what is new ----

$node->safe_psql('postgres', "CREATE DATABASE d STRATEGY $_->[0] $_->[1]; DROP DATABASE d")
  foreach [ 'wal_log', '' ], [ 'file_copy', 'TABLESPACE ts_db' ];
$node->safe_psql('postgres', 'CREATE DATABASE d STRATEGY file_copy');
$node->safe_psql('postgres', 'CREATE DATABASE d2 STRATEGY wal_log');
$node->safe_psql($_,
	'CREATE EXTENSION pg_cmk; CREATE EXTENSION btree_gist; CREATE EXTENSION bloom; CREATE EXTENSION amcheck'
) foreach 'd', 'd2';
is(plain_files($_), '', "every file of database $_ is sealed from the start")
  foreach 'd', 'd2';

# The paths.
foreach my $path (@paths)
{
	my ($name, $sql, $tables, $after_crash) = @$path;
	my $marker = new_marker();

	push @markers, $marker;
	$sql = fill_in($sql, $marker);
	$sql =~ s/cmk_heap/heap/g;
	my ($ret, $out, $err) = $node->psql('d', "$sql;\nANALYZE " . join(', ', @$tables) . ";\nCHECKPOINT;\n",
		on_error_die => 0, on_error_stop => 1);
	if ($ret != 0)
	{
		fail($name);
		diag($err);
		next;
	}
	$node->restart if defined $after_crash;
	is(join("\n", marker_files($node, $marker)) . sealed_faults($node, 'd', @$tables),
		'', $name);
	$expected{"$_ $marker"} = defined $after_crash ? $after_crash : 40
	  foreach @$tables;
}

# Catalogs: new files for mapped, shared and ordinary ones.
my $marker = new_marker();
push @markers, $marker;
$node->safe_psql(
	'd', qq{
	CREATE FUNCTION f_$marker() RETURNS text LANGUAGE sql AS 'SELECT ''$marker''';
	COMMENT ON FUNCTION f_$marker() IS '$marker';
	CREATE TABLE $marker (v text DEFAULT '$marker');
	CREATE VIEW v_$marker AS SELECT '$marker'::text AS m;
	CREATE SEQUENCE s_$marker;
	SELECT nextval('s_$marker');
	ALTER SEQUENCE s_$marker RESTART;
	CHECKPOINT});
is_deeply([ marker_files($node, $marker) ], [], 'names, sources and comments in catalogs');
$node->safe_psql(
	'd', q{
	VACUUM FULL pg_class; VACUUM FULL pg_proc; VACUUM FULL pg_type; VACUUM FULL pg_attribute;
	VACUUM FULL pg_statistic; VACUUM FULL pg_shdescription; VACUUM FULL pg_database;
	VACUUM FULL pg_auth_members; CLUSTER pg_description USING pg_description_o_c_o_index;
	REINDEX TABLE pg_class; REINDEX TABLE pg_proc; REINDEX INDEX pg_database_oid_index;
	REINDEX SYSTEM d; VACUUM; CHECKPOINT});
is_deeply([ marker_files($node, $marker) ], [], '... rewritten');
is(plain_files('d'), '', 'no relation file of the database has a plain page');
is($node->safe_psql('d', "SELECT nextval('s_$marker'), (SELECT m FROM v_$marker)"),
	"1|$marker", '... and they are read');

# Copies of a database in which all is sealed
$node->safe_psql('postgres', "CREATE DATABASE copy_$_->[0] TEMPLATE d STRATEGY $_->[0] $_->[1]; CHECKPOINT")
  foreach [ 'wal_log', 'TABLESPACE ts_db' ], [ 'file_copy', '' ];
$node->safe_psql('postgres', 'ALTER DATABASE copy_file_copy SET TABLESPACE ts_db; CHECKPOINT');
is(plain_files($_), '', "database $_ is sealed") foreach 'copy_wal_log', 'copy_file_copy';
is_deeply([ map { marker_files($node, $_) } @markers ], [], 'no marker stands anywhere');

# A crash
# Relation files with plain pages.
sub plain_relations
{
	my ($n) = @_;
	my $files = relation_files($n);
	my @plain;

	$n->safe_psql('postgres', 'CHECKPOINT');
	foreach my $path (map { @$_ } values %$files)
	{
		next unless $path =~ m{/\d+$};
		my $counts = page_counts($path);

		foreach my $fork (keys %$counts)
		{
			push @plain, "$path: $counts->{$fork}{plain} plain pages ($fork)"
			  if $counts->{$fork}{plain};
		}
	}
	return @plain;
}

sub plain_files
{
	my ($db) = @_;
	my $oid = $node->safe_psql('postgres', "SELECT oid FROM pg_database WHERE datname = '$db'");
	my @plain;
	my $files = 0;

	$node->safe_psql('postgres', 'CHECKPOINT');
	foreach my $path (data_files($node->data_dir))
	{
		next unless $path =~ m{/$oid/\d+$};
		my $counts = page_counts($path);

		$files++;
		foreach my $fork (keys %$counts)
		{
			push @plain, "$path: $counts->{$fork}{plain} plain pages ($fork)"
			  if $counts->{$fork}{plain};
		}
	}
	push @plain, "no files of database $db" if $files < 200;
	return join("\n", @plain);
}

$node->stop('immediate');
$node->start;
my @wrong;
foreach my $key (sort keys %expected)
{
	my ($table, $mark) = split / /, $key;
	my $n = $node->safe_psql('d',
		"SELECT count(*) FROM $table t WHERE v LIKE '$mark%' AND big LIKE '%$mark%'");
	push @wrong, "$table: $n rows instead of $expected{$key}" if $n != $expected{$key};
}
is(join("\n", @wrong), '', 'rows after a crash');
is(plain_files('d'), '', '... and every page is sealed');

# Back to scope tables
$node->adjust_conf('postgresql.conf', 'pg_cmk.scope', "'tables'");
$node->restart;
$marker = new_marker();
$node->safe_psql('d', fill_in(q{
	INSERT INTO t_create @ROWS@; CREATE INDEX t_create_new ON t_create (v);
	ALTER TABLE t_copy ADD extra text DEFAULT '@M@'; VACUUM FULL t_create; CLUSTER t_create USING t_create_new;
	ALTER TABLE t_create ALTER id TYPE bigint;
	VACUUM FULL t_create; TRUNCATE t_copy; INSERT INTO t_copy (id, v, big) @ROWS@;
	REFRESH MATERIALIZED VIEW m_refresh;
	VACUUM FULL pg_class; VACUUM FULL pg_attribute; REINDEX SYSTEM d;
	ALTER TABLE t_copy ALTER v SET STATISTICS 10; ANALYZE t_copy; CHECKPOINT}, $marker));
is_deeply([ marker_files($node, $marker) ], [], 'scope tables: what replaces a sealed table is sealed');
is(plain_files('d'), '', '... catalogs too');
is(sealed_faults($node, 'd', 't_create', 't_copy', 'm_refresh'), '', '... and known as sealed');
$node->safe_psql('d', fill_in('CREATE TABLE t_plain (v text); INSERT INTO t_plain SELECT v FROM (@ROWS@) s; CHECKPOINT', $marker));
is_deeply(
	[ marker_files($node, $marker) ],
	[ $node->safe_psql('d', "SELECT pg_relation_filepath('t_plain')") ],
	'a new plain table is plain');

$node->stop;
command_ok([ 'pg_checksums', '--check', '-D', $node->data_dir ], 'pg_checksums finds no fault');
done_testing();
