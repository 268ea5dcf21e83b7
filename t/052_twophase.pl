# Prepared transactions outlive the server in pg_twophase/: sealed under a key that
# follows from the root, since the identifier is text of the application.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($before, $first, $second, $third) = map { new_marker() } 1 .. 4;
my $node = new_cmk_node('primary', preload => 0, extension => 0, allows_streaming => 1);

sub prepare
{
	my ($node, $gid) = @_;

	$node->safe_psql('postgres', "BEGIN; INSERT INTO t VALUES ('$gid'); PREPARE TRANSACTION '$gid'");
}

sub files
{
	my ($node) = @_;

	my @files = sort(glob($node->data_dir . '/pg_twophase/*'));

	return @files;
}

sub prepared
{
	my ($node) = @_;

	return $node->safe_psql('postgres', 'SELECT gid FROM pg_prepared_xacts ORDER BY prepared');
}

# A plain one, from before there was a key
$node->safe_psql('postgres', 'CREATE TABLE t (v text)');
prepare($node, $before);
$node->safe_psql('postgres', 'CHECKPOINT');
my ($plain) = files($node);
ok(file_contains($plain, $before), 'without a key the identifier stands in clear (so the search can find it)');
$node->stop;
$node->append_conf('postgresql.conf', cmk_conf($node->basedir . '/kek.pem'));
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_cmk');
is(prepared($node), $before, 'it is there after the first start with a key');

# Sealed ones
prepare($node, $first);
$node->safe_psql('postgres', 'CHECKPOINT');
my ($sealed) = grep { $_ ne $plain } files($node);
ok(defined $sealed && -s $sealed, 'a checkpoint writes it');
ok(!file_contains($sealed, $first), '... and not in clear');
foreach my $mode ('immediate', 'fast')
{
	$node->stop($mode);
	$node->start;
	is(prepared($node), "$before\n$first", "both are there after stop $mode");
}
$node->safe_psql('postgres', 'SELECT cmk.rotate_root()');
prepare($node, $second);
$node->safe_psql('postgres', 'CHECKPOINT');
$node->restart;
is(prepared($node), "$before\n$first\n$second", 'after a new root, too');
my ($under_new) = grep { $_ ne $plain && $_ ne $sealed } files($node);
isnt(unpack('V', read_bytes($under_new, 8, 4)), unpack('V', read_bytes($sealed, 8, 4)),
	'their files name two roots');

# A backup has the files as they are; its server has the transactions, and ends them.
$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'hot_standby = on');
$standby->start;
prepare($node, $third);
$node->safe_psql('postgres', 'CHECKPOINT');
$node->wait_for_catchup($standby);
$standby->safe_psql('postgres', 'CHECKPOINT');
foreach my $gid ($first, $second, $third)
{
	my @found = grep { file_contains($_, $gid) } files($node), files($standby);
	is("@found", '', "no file has $gid");
}
is(scalar(files($standby)), 4, 'the restartpoint has written the last one');
$node->stop('immediate');
$standby->promote;
is(prepared($standby), "$before\n$first\n$second\n$third", 'all are there after the promotion');
$standby->safe_psql('postgres', "COMMIT PREPARED '$before'");
$standby->safe_psql('postgres', "COMMIT PREPARED '$first'");
$standby->safe_psql('postgres', "ROLLBACK PREPARED '$second'");
$standby->safe_psql('postgres', "COMMIT PREPARED '$third'");
is($standby->safe_psql('postgres', 'SELECT v FROM t ORDER BY v COLLATE "C"'), join("\n", sort($before, $first, $third)), 'they end as asked');
$standby->safe_psql('postgres', 'CHECKPOINT');
is(scalar(files($standby)), 0, 'and their files are gone');
$standby->stop;

# Damage is an error that names the file, as it is without sealing.
flip_byte($sealed, 60);
my ($failed, $log) = start_fails($node);
ok($failed, 'a damaged head: no start');
like($log, qr{FATAL:  could not read file "pg_twophase/[0-9A-F]{8}": Required key not available}, '... and the file is named');
flip_byte($sealed, 60);
flip_byte($sealed, 8192 + 40);
($failed, $log) = start_fails($node);
ok($failed, 'damaged content: no start');
like($log, qr{FATAL:  .*file "?"?pg_twophase/|calculated CRC checksum does not match value stored in file "pg_twophase/|invalid (?:size|magic)}, '... and the file is named');
flip_byte($sealed, 8192 + 40);
$node->start;
is(prepared($node), "$before\n$first\n$second\n$third", 'put right, all are there');
$node->stop;

done_testing();
