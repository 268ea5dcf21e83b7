# A new root key that nobody asked for: after so much WAL, and on promotion.
#
# Rows that were written before, between and after must be readable on both nodes and
# after a crash, and what needs no new root must not make one.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = new_cmk_node('primary', allows_streaming => 1,
	conf => "pg_cmk.revalidate_interval = 200ms\nwal_keep_size = 256MB\n");

sub root_id
{
	my ($node) = @_;

	return $node->safe_psql('postgres', 'SELECT root_id FROM cmk.status');
}

sub rotations
{
	my ($node) = @_;

	return $node->safe_psql('postgres', q{SELECT count(*) FROM cmk.events WHERE event = 'root rotated'});
}

# Two looks at the key that began after this call have ended.
sub two_looks
{
	my ($node) = @_;

	$node->safe_psql('postgres', 'SELECT cmk.revalidate()') for 1 .. 2;
}

sub write_wal
{
	my ($node, $mb) = @_;

	$node->safe_psql('postgres', qq{
		INSERT INTO t SELECT i, repeat(md5(i::text), 30) FROM generate_series(1, @{[ $mb * 1000 ]}) i;
		SELECT pg_switch_wal()});
}

wait_wal_sealed($primary);
$primary->safe_psql('postgres', 'CREATE TABLE t (i int, v text) USING cmk_heap');

# Volume
write_wal($primary, 10);
two_looks($primary);
is(root_id($primary), 1, 'the default limit is far away');

my $offset = -s $primary->logfile;
$primary->append_conf('postgresql.conf', 'pg_cmk.root_wal_limit = 8MB');
$primary->reload;
ok(wait_until('a new root', sub { root_id($primary) == 2 }), '8 MB of WAL are enough now');
ok(wait_until('the event', sub { rotations($primary) == 1 }), 'an event says so');
like(log_since($primary, $offset), qr/LOG:  pg_cmk: root key 2 is the current one from now on/, '... and the log');
write_wal($primary, 12);
two_looks($primary);
is(root_id($primary), 2, 'the new root has sealed no WAL yet: it is not renewed');

$primary->append_conf('postgresql.conf', 'pg_cmk.root_wal_limit = 0');
$primary->reload;
my ($ret, $out, $err) = $primary->psql('postgres', 'ALTER SYSTEM SET pg_cmk.root_wal_limit = -1');
like($err, qr/-1 MB is outside the valid range for parameter "pg_cmk.root_wal_limit"/, 'a wrong limit is refused');

# Promotion
$primary->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'b', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'hot_standby = on');
$standby->start;
write_wal($primary, 2);
$primary->wait_for_catchup($standby);
two_looks($standby);
is(root_id($standby), 2, 'a standby makes no root');
$standby->restart;
two_looks($standby);
is(root_id($standby), 2, '... nor does its restart');

foreach my $mode ('fast', 'immediate')
{
	$primary->stop($mode);
	$primary->start;
	two_looks($primary);
	is(root_id($primary), 2, "stop $mode and start of a primary make none");
}

$primary->wait_for_catchup($standby);
my $rows = $primary->safe_psql('postgres', 'SELECT count(*), md5(string_agg(v, NULL ORDER BY i, v)) FROM t');
$primary->stop;
$standby->promote;
ok(wait_until('a new root', sub { root_id($standby) == 3 }), 'a promoted standby makes a root of its own');
is($standby->safe_psql('postgres', 'SELECT count(*), md5(string_agg(v, NULL ORDER BY i, v)) FROM t'), $rows, 'it has all rows');
two_looks($standby);
is(root_id($standby), 3, 'and only one root');
$standby->restart;
two_looks($standby);
is(root_id($standby), 3, 'none after its restart either');

# The old primary comes back as its standby, and gets the root.
$primary->append_conf('postgresql.conf', "primary_conninfo = '@{[ $standby->connstr ]}'");
$primary->append_conf('postgresql.conf', 'hot_standby = on');
append_to_file($primary->data_dir . '/standby.signal', '');
$primary->start;
write_wal($standby, 2);
$standby->wait_for_catchup($primary, 'replay', $standby->lsn('insert'));
ok(wait_until('the root', sub { root_id($primary) == 3 }), 'the old primary has the new root');
my $query = 'SELECT count(*), md5(string_agg(v, NULL ORDER BY i, v)) FROM t';
is($primary->safe_psql('postgres', $query), $standby->safe_psql('postgres', $query), '... and all rows');

done_testing();
