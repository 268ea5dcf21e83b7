# Temporary files of a single-user server, and what pg_stat_statements keeps while a
# server is down whose key is in a vault.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VaultTest;

# What a sealed file is longer than what is in it.
use constant HEAD => 8192;

sub temp_files
{
	my ($node) = @_;
	return grep { m{/pgsql_tmp/pgsql_tmp} && -s $_ > HEAD } data_files($node->data_dir);
}

# ---- single-user ----

{
	my $marker = new_marker();
	my $node = new_cmk_node('single');
	my ($in, $out, $err) = ('', '', '');

	wait_wal_sealed($node);
	$node->safe_psql('postgres', qq{
		CREATE TABLE t (n int, v text) USING cmk_heap;
		INSERT INTO t SELECT g, '$marker' || g || repeat('x', 60) FROM generate_series(1, 40000) g});
	$node->stop;
	my $server = IPC::Run::start(
		[ 'postgres', '--single', '-D', $node->data_dir, '-c', 'work_mem=64kB', '-c', 'temp_buffers=800kB', 'postgres' ],
		'<', \$in, '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	$in .= "CREATE TEMP TABLE tmp AS SELECT v || 'tmp' AS v FROM t\n"
	  . "BEGIN\nDECLARE c CURSOR FOR SELECT v FROM t ORDER BY v\nFETCH 5 FROM c\nSELECT 'spilt' AS done\n";
	$server->pump until $out =~ /done = "spilt"/;
	cmp_ok(scalar(temp_files($node)), '>', 0, 'a single-user server spills');
	cmp_ok(scalar(grep { m{/t\d+_\d+$} && -s $_ } data_files($node->data_dir)), '>', 0, '... and writes a temporary table');
	is_deeply([ marker_files($node, $marker) ], [], '... and no row is in clear');
	is_deeply([ wal_marker_files($node, $marker) ], [], '... not in WAL either');
	$in .= "MOVE ALL FROM c\nCOMMIT\nSELECT count(*) AS rows FROM tmp JOIN t ON tmp.v = t.v || 'tmp'\n";
	$server->pump until $out =~ /rows = "/;
	$server->finish;
	like($out, qr/v = "${marker}1[0x]/, 'the rows come in order');
	like($out, qr/rows = "40000"/, '... all of them');
	is(scalar(temp_files($node)), 0, 'no file is left');
	$node->start;
	is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 40000, 'the server starts after it');
	$node->stop;
}

# ---- pg_stat_statements, the key in a vault ----

{
	my $marker = new_marker();
	my $v = new_vault();
	my $node = new_vault_node('vault', $v,
		conf => "shared_preload_libraries = 'pg_stat_statements,pg_cmk'\npg_stat_statements.track_utility = on\n");
	my $dump = $node->data_dir . '/pg_stat/pg_stat_statements.stat';
	my $texts = sub {
		$node->safe_psql('postgres', qq{SELECT count(*) FROM pg_stat_statements WHERE query LIKE 'SET $marker.$_[0] = %'}) };

	$node->safe_psql('postgres', qq{CREATE EXTENSION pg_stat_statements; SET $marker.first = '1'});
	is($texts->('first'), 1, 'a statement is kept');
	$node->stop;
	ok(-s $dump, 'a server with a key in a vault keeps statements when it stops');
	is_deeply([ marker_files($node, $marker) ], [], '... sealed');

	# The postmaster reads them before the worker can have asked the vault.
	my $from = log_position($node);
	start_vault_node($node, $v);
	is($texts->('first'), 0, 'the next start begins anew');
	like(log_since($node, $from), qr/could not read file "pg_stat\/pg_stat_statements.stat": Required key not available/,
		'... and says why');
	ok(!-e $dump, '... and removes the file');
	$node->safe_psql('postgres', qq{SET $marker.second = '1'});
	is($texts->('second'), 1, '... then statements are kept again');
	is_deeply([ marker_files($node, $marker) ], [], '... and none is in clear');

	# Processes that are restarted in place.
	$from = log_position($node);
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	kill 'KILL', $session->query_safe('SELECT pg_backend_pid()');
	ok(wait_until('the server is back', sub {
		log_since($node, $from) =~ /ready to accept connections/ && hears($node) eq '' }), 'after a crash of one process');
	eval { $session->quit };
	$node->safe_psql('postgres', qq{SET $marker.third = '1'});
	is($texts->('third'), 1, '... statements are kept');
	$node->stop;
	ok(-s $dump, '... and written at the end');
	is_deeply([ marker_files($node, $marker) ], [], '... sealed');
}

done_testing();
