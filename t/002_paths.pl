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
use PathsTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

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
