# A server started without pg_cmk meets sealed pages: it says "invalid page" and
# never takes ciphertext for rows.
#
# A table of access method cmk_heap cannot even be opened there, so the indexes
# are asked through pageinspect and amcheck, and the table after its catalog row
# has been made to say heap, which is the worst that a confused administrator
# could do.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

foreach my $checksums (0, 1)
{
	my $with = $checksums ? 'with checksums' : 'without checksums';
	# Sealed WAL would not even let it start (t/040_wal.pl).
	my $node = new_cmk_node(
		"node$checksums",
		checksums => $checksums,
		conf      => "pg_cmk.seal_wal = off\n");
	my $marker = new_marker();
	my $nothing = qr/invalid page|pg_cmk|cmk_heap/;

	$node->safe_psql(
		'postgres', qq{
		CREATE EXTENSION pageinspect; CREATE EXTENSION amcheck;
		CREATE TABLE t (id int PRIMARY KEY, v text, big text) USING cmk_heap;
		ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
		INSERT INTO t SELECT g, '$marker' || g, repeat('$marker', 200) FROM generate_series(1, 300) g;
		CREATE TABLE plain (id int PRIMARY KEY, v text) USING heap;
		INSERT INTO plain SELECT id, 'plain' FROM t;
		VACUUM t; CHECKPOINT});
	my $toast = $node->safe_psql('postgres',
		q{SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 't'::regclass});
	$node->stop;
	$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
	$node->start;

	is($node->safe_psql('postgres', 'SELECT count(*) FROM plain'),
		300, "$with: plain tables are readable");

	my $refused = sub {
		my ($sql, $what, $error) = @_;
		my ($ret, $out, $err) = $node->psql('postgres', $sql);

		isnt($ret, 0, "$with: $what is refused") or diag(substr($out, 0, 200));
		like($err, $error, '... with a clear error');
		unlike($out . $err, qr/$marker/, '... and no row');
		return;
	};

	$refused->('SELECT * FROM t', 'a sealed table', $nothing);
	$refused->("INSERT INTO t VALUES (0, 'x', 'y')", 'writing to it', $nothing);
	$refused->('VACUUM FULL t', 'rewriting it', $nothing);
	$refused->('CREATE TABLE n (i int) USING cmk_heap', 'a new table', $nothing);
	$refused->(q{SELECT * FROM bt_metap('t_pkey')}, 'its index', qr/invalid page in block 0/);

	# The catalog says heap now.
	$node->safe_psql('postgres', qq{
		SET allow_system_table_mods = on;
		UPDATE pg_class SET relam = (SELECT oid FROM pg_am WHERE amname = 'heap')
			WHERE oid IN ('t'::regclass, '$toast'::regclass)});
	foreach my $sql (
		'SELECT * FROM t',
		'SELECT count(*) FROM t',
		'SET enable_seqscan = off; SELECT * FROM t WHERE id = 7',
		"SELECT * FROM $toast",
		'VACUUM (FREEZE) t',
		'COPY t TO STDOUT',
		'UPDATE t SET id = id + 1',
		'VACUUM FULL t')
	{
		$refused->($sql, $sql, qr/invalid page in block \d+ of relation/);
	}

	# Not even the setting that makes the server ignore wrong checksums helps.
	$refused->('SET ignore_checksum_failure = on; SELECT * FROM t',
		'reading in spite of wrong checksums', qr/invalid page/);

	$node->safe_psql('postgres', qq{
		SET allow_system_table_mods = on;
		UPDATE pg_class SET relam = (SELECT oid FROM pg_am WHERE amname = 'cmk_heap')
			WHERE oid IN ('t'::regclass, '$toast'::regclass)});
	$node->stop;

	# With pg_cmk, everything is there again.
	$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "'pg_cmk'");
	$node->start;
	is( $node->safe_psql('postgres',
			"SELECT count(*) FROM t WHERE v LIKE '$marker%' AND big LIKE '$marker%'"),
		300, "$with: with pg_cmk again, every row is there");
	is(index_faults($node, 'postgres'), '', '... and the indexes agree');
	$node->safe_psql('postgres', 'CHECKPOINT');
	is(sealed_faults($node, 'postgres', 't'), '', '... sealed as before');
	$node->stop;
	command_ok([ 'pg_checksums', '--check', '-D', $node->data_dir ],
		'... and pg_checksums finds no fault')
	  if $checksums;
}

done_testing();
