
# Ten thousand sealed relations.
#
# The vault wraps one root key, however many relations there are: a start, a
# validation and a rotation of the key must ask it the same number of times with 10
# relations as with 10,000.  What grows with them is the work of a start: each
# relation's key is authenticated and unwrapped then.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::BackgroundPsql;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use VaultTest;

use constant { FEW => 10, MANY => 10_000, ROUNDS => 3 };

# The server's own work at a start is some 300 ms, and a key costs some 10 to 50 µs.
# That makes 100 to 500 ms for 10,000 and a ratio of 1.3 to 3 (docs/performance.md).
# A vault call for each key, even of 1 ms, would make it 30.  Between the two the
# bound has to leave room for a busy machine.
use constant MOST => 10;

my $v    = new_vault();
my $kv   = $v->{kv};
my %node = map {
	$_ => new_vault_node(
		$_, $v,
		conf => "pg_cmk.revalidate_interval = 5min\npg_cmk.debug_deadline = 10min\npg_cmk.grace_period = 10min\n"
		  . "max_locks_per_transaction = 1024\nshared_buffers = 64MB\n")
} 'few', 'many';

sub make_tables
{
	my ($node, $count) = @_;
	my $batch = 1000;
	my $start = time;

	# one column that is never out of line: no TOAST table, so one key each
	for (my $i = 1; $i <= $count; $i += $batch)
	{
		my $last = $i + $batch - 1 < $count ? $i + $batch - 1 : $count;
		$node->safe_psql('postgres',
			"DO \$\$ BEGIN FOR i IN $i..$last LOOP EXECUTE 'CREATE TABLE many_' || i || ' (i int) USING cmk_heap'; END LOOP; END \$\$");
	}
	note(sprintf('%d tables in %.1f s', $count, time - $start));
	is($node->safe_psql('postgres', 'SELECT relations_sealed FROM cmk.status'), $count, "$count relations are sealed");
	return;
}
make_tables($node{few}, FEW);
make_tables($node{many}, MANY);

sub calls
{
	my $c = $kv->counts(reset => 1);

	# an operation that the counts have and that is none of these would be missed
	return join ' ', map { "$_ $c->{$_}" } sort grep { !ref $c->{$_} && $_ ne 'connections' && $c->{$_} } keys %$c;
}

sub revalidate
{
	my ($node) = @_;

	return $node->safe_psql('postgres', 'SELECT cmk.revalidate()');
}

# A start, with nothing to recover: how long it took until connections were
# accepted, and for how long of that it waited for the root and the relations' keys.
sub start_time
{
	my ($node) = @_;

	$node->stop('fast');
	my $from  = log_position($node);
	my $start = time;
	start_vault_node($node, $v);
	my ($asked, $there, $ready) = map { logged_at($node, $from, $_) }
	  'pg_cmk: waiting for the customer-managed key', 'pg_cmk: the customer-managed key is there',
	  'database system is ready to accept connections';
	return { all => $ready - $start, keys => $there - $asked };
}

my (%calls, %times);
foreach my $name ('few', 'many')
{
	my $node = $node{$name};

	# The validation that follows a start comes when it comes; it is asked for here.
	start_time($node);
	is(revalidate($node), 'Ready', "$name: Ready");
	calls();
	start_time($node);
	revalidate($node);
	$calls{start}{$name} = calls();
	revalidate($node);
	$calls{validation}{$name} = calls();
}
my $rotated = $kv->rotate_key('demo', 'kek');
foreach my $name ('few', 'many')
{
	my $node = $node{$name};

	calls();
	is(revalidate($node), 'Ready', "$name: Ready");
	is($node->safe_psql('postgres', 'SELECT key_version FROM cmk.status'), $rotated->{kid}, "$name: the new version governs");
	$calls{rotation}{$name} = calls();
}
foreach my $what (sort keys %calls)
{
	note("$what: $calls{$what}{few}");
	like($calls{$what}{few}, qr/unwrap \d/, "$what: the vault was asked");
	is($calls{$what}{many}, $calls{$what}{few}, "$what: as often with 10,000 relations as with 10");
}

# Start times, in pairs, so that what else the machine does meets both alike.
foreach (1 .. ROUNDS)
{
	push @{ $times{$_} }, start_time($node{$_}) foreach 'few', 'many';
}
sub median
{
	my ($name, $what) = @_;
	return (sort { $a <=> $b } map { $_->{$what} } @{ $times{$name} })[ ROUNDS / 2 ];
}
my ($few, $many) = map { median($_, 'all') } 'few', 'many';
my $keys  = median('many', 'keys') - median('few', 'keys');
my $ratio = $many / $few;
diag(sprintf('start with %d relations: %.0f ms; with %d: %.0f ms, of which their keys %.0f ms; ratio %.2f',
		FEW, 1000 * $few, MANY, 1000 * $many, 1000 * $keys, $ratio));
cmp_ok($ratio, '<', MOST, 'the start with 10,000 relations is not out of proportion');

$_->stop('fast') foreach values %node;
done_testing();
