# Numbers that are used again: file descriptors and relfilenodes.
#
# What the seam knows of a descriptor must go when the descriptor is closed, in
# whichever way, or a plain page would be opened with the key of the file that
# had the number before.  The server is given so few descriptors that it closes
# one for nearly every file it opens, with sealed and plain tables in turn.
#
# A relfilenode comes again when the counter of OIDs wraps round, which
# pg_resetwal brings about here: then a sealed table stands where a plain one was,
# and the other way round, before and after the old key was erased.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $tables = 80;
my $node = new_cmk_node(
	'main',
	checksums => 1,
	conf      => "max_files_per_process = 64\nshared_buffers = 1MB\n");
my $marker = new_marker();

# Descriptors

$node->safe_psql('postgres', 'CREATE EXTENSION amcheck');
$node->safe_psql(
	'postgres',
	join('', map {
			my $am = $_ % 2 ? 'cmk_heap' : 'heap';
			my $text = $_ % 2 ? $marker : 'plain';
			"CREATE TABLE t$_ (id int PRIMARY KEY, v text) USING $am; "
			  . "INSERT INTO t$_ SELECT g, '$text' || $_ FROM generate_series(1, 20) g; "
		} 1 .. $tables));

foreach my $round (1 .. 3)
{
	# Each session goes through all tables in an order of its own, reading and
	# writing; half of the tables get new files on the way.
	$node->safe_psql('postgres', qq{
		DO \$\$
		DECLARE
			i int;
			n int;
		BEGIN
			FOR i IN SELECT g FROM generate_series(1, $tables) g ORDER BY random() LOOP
				EXECUTE format('UPDATE t%s SET v = v WHERE id %% 3 = 0', i);
				EXECUTE format('SELECT count(*) FROM t%s WHERE v = %L || %s', i,
					CASE WHEN i % 2 = 1 THEN '$marker' ELSE 'plain' END, i) INTO n;
				IF n <> 20 THEN
					RAISE 'table t% has % rows', i, n;
				END IF;
				IF random() < 0.5 THEN
					EXECUTE format('ALTER TABLE t%s ALTER id TYPE int USING id + 0', i);
				END IF;
			END LOOP;
		END
		\$\$;
		CHECKPOINT});
	is(index_faults($node, 'postgres'), '', "round $round: indexes agree with tables");
	is(sealed_faults($node, 'postgres', map { "t$_" } grep { $_ % 2 } 1 .. $tables),
		'', "round $round: sealed tables are sealed");
	is( $node->safe_psql('postgres',
			"SELECT sum(sealed), sum(plain) > 0 FROM generate_series(2, $tables, 2) g, cmk.pages(('t' || g)::regclass)"
		),
		'0|t',
		"round $round: plain ones are plain");
	is_deeply([ marker_files($node, $marker) ], [], "round $round: no plain text");
}
$node->stop('immediate');
$node->start;
is( $node->safe_psql('postgres',
		join(' UNION ALL ',
			map { "SELECT count(*) FROM t$_ WHERE v LIKE '%$_' HAVING count(*) <> 20" } 1 .. $tables)),
	'', 'after a crash every row is there');
$node->safe_psql('postgres', "DROP TABLE t$_") foreach 1 .. $tables;
ok(wait_no_orphans($node), 'and every record has a file');

# Relfilenodes

my $n = 0;

# Drops a table, makes the server give its number to the next one, and creates
# that.  With $settle the old key is erased first, without it is still there.
sub reuse
{
	my ($old_am, $new_am, $settle, $unlogged) = @_;
	my $what = "$new_am after $old_am"
	  . ($settle ? '' : ', at once') . ($unlogged ? ', unlogged' : '');
	my $kind = $unlogged ? 'UNLOGGED TABLE' : 'TABLE';
	my ($old, $new) = ('o' . ++$n, 'n' . $n);
	my $text = "$marker$n";

	$node->safe_psql('postgres',
		"CREATE $kind $old (v text) USING $old_am; INSERT INTO $old SELECT 'old' || g FROM generate_series(1, 300) g; CHECKPOINT"
	);
	my $filenode = $node->safe_psql('postgres', "SELECT pg_relation_filenode('$old')");
	my ($record) = find_record($node, relid_of($node, 'postgres', $old));
	# (dead rows of the catalog would keep the number from being used)
	$node->safe_psql('postgres', "DROP TABLE $old; VACUUM pg_class");
	settle_deaths($node) if $settle;
	$node->stop;
	command_ok([ 'pg_cmk', 'exec', '-D', $node->data_dir, '--', 'pg_resetwal', '-f', '-o', $filenode, '-D', $node->data_dir ],
		"$what: pg_resetwal");
	$node->start;
	$node->safe_psql('postgres',
		"CREATE $kind $new (v text) USING $new_am; INSERT INTO $new SELECT '$text' || g FROM generate_series(1, 300) g; CHECKPOINT"
	);
	is($node->safe_psql('postgres', "SELECT pg_relation_filenode('$new')"),
		$filenode, "$what: the number is used again");
	$node->stop($unlogged ? 'fast' : 'immediate');
	$node->start;
	is($node->safe_psql('postgres', "SELECT count(*) FROM $new WHERE v LIKE '$text%'"),
		300, "$what: rows are there");
	if ($new_am eq 'cmk_heap')
	{
		is(sealed_faults($node, 'postgres', $new), '', "$what: sealed");
		is_deeply([ marker_files($node, $text) ], [], "$what: no plain text");
		my $now = find_record($node, relid_of($node, 'postgres', $new));
		isnt($now->{birth_id}, $record->{birth_id}, "$what: under a new key")
		  if defined $record && $settle;
	}
	$node->safe_psql('postgres', "DROP TABLE $new");
	ok(wait_no_orphans($node), "$what: every record has a file in the end");
	return;
}

foreach my $settle (1, 0)
{
	reuse('cmk_heap', 'heap',     $settle);
	reuse('heap',     'cmk_heap', $settle);
	reuse('cmk_heap', 'cmk_heap', $settle);
}
reuse('cmk_heap', 'heap',     1, 1);
reuse('heap',     'cmk_heap', 1, 1);

$node->stop;
command_ok([ 'pg_checksums', '--check', '-D', $node->data_dir ],
	'pg_checksums finds no fault');
done_testing();
