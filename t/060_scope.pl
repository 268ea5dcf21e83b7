# pg_cmk.scope = cluster: every relation file that comes into being is sealed.
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
	conf             => "pg_cmk.scope = 'cluster'\n");
my $ts_dirs = $node->basedir;
my @markers;
my %expected;

is($node->safe_psql('postgres', 'SELECT scope FROM cmk.status'),
	'cluster', 'cmk.status says so');

foreach my $ts ('ts_paths', 'ts_all', 'ts_db')
{
	mkdir "$ts_dirs/$ts";
	$node->safe_psql('postgres',
		"CREATE TABLESPACE $ts LOCATION '$ts_dirs/$ts'");
}

# What the rows of a shared catalog hold stands in its file until that is
# replaced; here a rewrite does it, and t/061_seal.pl shows the sealing in place.
my $role = new_marker();
$node->safe_psql('postgres', "CREATE ROLE $role; CHECKPOINT");
ok(scalar(marker_files($node, $role)), 'control: a shared catalog of initdb is plain');
$node->safe_psql('postgres', 'VACUUM FULL pg_authid; CHECKPOINT');
is_deeply([ marker_files($node, $role) ], [], 'its rewrite is sealed');
is( $node->safe_psql('postgres', "SELECT cmk.is_sealed('pg_authid')"),
	't', '... and known as such');

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
