
# What the server says where its WAL ends, and of WAL from the archive that is not what
# it should be: the words that it has without pg_cmk, or those of pg_cmk that tell more.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $size = 1024 * 1024;
my $node = new_cmk_node('main', has_archiving => 1, allows_streaming => 1, initdb => ['--wal-segsize=1'],
	conf => "min_wal_size = 16MB\nmax_wal_size = 16MB\n");

ok(wait_wal_sealed($node), 'WAL is sealed');
$node->safe_psql('postgres', 'CREATE TABLE t (i int) USING cmk_heap');

# ---- the end of WAL in a file that was used before ----

sub switch
{
	my ($times) = @_;

	$node->safe_psql('postgres', q{INSERT INTO t VALUES (1); SELECT pg_switch_wal()}) foreach 1 .. $times;
	return;
}

# Does the file where the next record would be hold sealed pages of an earlier place?
sub stands_before_old_file
{
	my $file = $node->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_insert_lsn() + 1)');
	my $path = $node->data_dir . "/pg_wal/$file";
	my ($low) = $file =~ /([0-9A-F]{8})$/;

	return 0 if !-e $path;
	my (undef, $info, undef, $addr) = unpack('vvVV', read_bytes($path, 0, 16));
	return ($info & 0x8000) && $addr != hex($low) * $size;
}

switch(20);
ok( wait_until(
		'a recycled segment is the next',
		sub {
			$node->safe_psql('postgres', 'CHECKPOINT');
			switch(1);
			return stands_before_old_file();
		}),
	'WAL ends before a recycled segment');
my $offset = -s $node->logfile;
$node->stop('immediate');
$node->start;
my $log = log_since($node, $offset);
like($log, qr/LOG:  unexpected pageaddr [0-9A-F]+\/[0-9A-F]+ in log segment/, '... and recovery says so, as it does without pg_cmk');
unlike($log, qr/invalid info bits/, '... and of no unknown bits');

# ---- another cluster's segment from the archive ----

my $stranger = new_cmk_node('stranger', initdb => ['--wal-segsize=1']);
ok(wait_wal_sealed($stranger), 'another cluster seals its WAL');
$stranger->safe_psql('postgres', 'SELECT pg_switch_wal()');
my ($foreign) = grep { unpack('x2v', read_bytes($_, 0, 4)) & 0x8000 } sort(wal_files($stranger->data_dir . '/pg_wal'));
$node->backup('b');
switch(3);
my $wanted = $node->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_lsn())');
ok( $node->poll_query_until('postgres', "SELECT last_archived_wal = pg_walfile_name('"
			  . $node->safe_psql('postgres', 'SELECT pg_current_wal_lsn() - 1') . "') FROM pg_stat_archiver"),
	'all is archived');
PostgreSQL::Test::Utils::system_log('cp', $foreign, $node->archive_dir . "/$wanted");
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($node, 'b', has_restoring => 1);
$copy->append_conf('postgresql.conf', "archive_mode = off\nhot_standby = on\n");
$copy->start;
my $said = qr/LOG:  (WAL file is from different database system|invalid info bits)/;
ok(wait_until('the segment is looked at', sub { slurp_file($copy->logfile) =~ $said }), 'a segment of another cluster is met');
my ($what) = slurp_file($copy->logfile) =~ $said;
is($what, 'WAL file is from different database system', '... and the server says that it is');
$_->stop foreach $copy, $stranger, $node;

done_testing();
