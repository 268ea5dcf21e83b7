
# A changed root.json, and another server that takes over or a copy that was made
# meanwhile.
#
# Two moments at which a server knows more than WAL has told it for good: root.json is
# written before its record is, and a standby replays further than its control file says.

use strict;
use warnings;

use File::Copy;
use File::Path qw(rmtree);
use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VaultTest;

my $v    = new_vault();
my $kv   = $v->{kv};
my $rows = 1000;
my ($second, $third) = map { $kv->create_key('demo', $_) } qw(second third);

sub recipients
{
	my ($node) = @_;

	return $node->safe_psql('postgres', q{SELECT string_agg(key_url, ' ' ORDER BY key_url) FROM cmk.recipients});
}

sub new_pair
{
	my ($name) = @_;
	my $primary = new_vault_node($name, $v, allows_streaming => 1, conf => "wal_keep_size = 256MB\n");
	my $standby = PostgreSQL::Test::Cluster->new($name . '_standby');

	$primary->safe_psql('postgres', "CREATE TABLE t USING cmk_heap AS SELECT generate_series(1, $rows) AS i");
	$primary->backup('b');
	$standby->init_from_backup($primary, 'b', has_streaming => 1);
	start_vault_node($standby, $v);
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('flush'));
	return ($primary, $standby);
}

# The primary is lost when root.json has changed and WAL does not know; its standby takes over,
# makes a change of its own, and the old primary becomes its standby.
sub lose_change
{
	my ($name, $change) = @_;
	my ($old, $new) = new_pair($name);
	my $from;

	$old->append_conf('postgresql.conf', "pg_cmk.debug_crash_at = 'root-after-file'\nrestart_after_crash = off\n");
	$old->stop('fast');
	start_vault_node($old, $v);
	$old->wait_for_catchup($new, 'replay', $old->lsn('flush'));
	$from = log_position($old);
	$old->psql('postgres', $change);
	ok(wait_log($old, $from, qr/crashing at "root-after-file".*database system is shut down/s), "$name: the primary is lost");
	$old->_update_pid(0);
	$new->promote;
	ok(wait_until('promoted', sub { $new->safe_psql('postgres', 'SELECT pg_is_in_recovery()') eq 'f' }), "$name: the standby takes over");
	$new->safe_psql('postgres', "SELECT cmk.set_key('$third->{url}')");
	$new->safe_psql('postgres', "CREATE TABLE t2 USING cmk_heap AS SELECT generate_series(1, $rows) AS i");
	$old->append_conf('postgresql.conf', "pg_cmk.debug_crash_at = ''\nprimary_conninfo = '" . $new->connstr . "'\n");
	$old->append_conf('standby.signal', '');
	return ($old, $new);
}

my ($old, $new) = lose_change('recipient', "SELECT cmk.set_key('$second->{url}')");
start_vault_node($old, $v);
$new->wait_for_catchup($old, 'replay', $new->lsn('flush'));
is($old->safe_psql('postgres', 'SELECT count(*) FROM t2'), $rows, 'a recipient: the old primary follows');
is(recipients($old), recipients($new), 'a recipient: and knows the same recipients');
$_->stop('fast') foreach ($old, $new);

($old, $new) = lose_change('root', 'SELECT cmk.rotate_root()');
my $from = log_position($old);
start_vault_node($old, $v, 'nowait');
ok(wait_log($old, $from, qr/FATAL:  file "pg_cmk\/root.json" has a root key that the primary does not know.*database system is shut down/s),
	'a root: the old primary says that it cannot follow');
$old->_update_pid(0);
like(slurp_file($old->data_dir . '/pg_cmk/root.json'), qr/"current_root": 2/, 'a root: and keeps its own root');
is($new->safe_psql('postgres', 'SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM t2)'), "$rows|$rows", 'a root: nothing is lost where it counts');
$new->stop('fast');

# A backup of a standby: root.json as it was, and then keys under the new root
my ($primary, $standby) = new_pair('copied');
my $copy = $primary->backup_dir . '/low';
$standby->safe_psql('postgres', 'CHECKPOINT');
my $session = $standby->background_psql('postgres');
$session->query_safe(q{SELECT pg_backup_start('test', true)});
copy_tree($standby->data_dir, $copy);
$primary->safe_psql('postgres', 'SELECT cmk.rotate_root()');

# Not committed: a commit that makes files would take the minimum recovery point along
my $open = $primary->background_psql('postgres');
$open->query_safe('BEGIN; CREATE TABLE t2 USING cmk_heap AS SELECT 1 AS i');
$primary->safe_psql('postgres', 'SELECT txid_current()');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('flush'));
is(join(',', sort map { $_->{root} } keys_records($standby)), '1,2', 'a backup of a standby has keys of both roots');
foreach ('base', 'pg_wal')
{
	rmtree("$copy/$_");
	copy_tree($standby->data_dir . "/$_", "$copy/$_");
}
copy($standby->data_dir . "/$_", "$copy/$_") || die "$_: $!" foreach ('pg_cmk/keys', 'global/pg_control');
my $label = $session->query_safe('SELECT labelfile FROM pg_backup_stop(false)');
$session->quit;
$open->quit;
append_to_file("$copy/backup_label", "$label\n");
unlink map { "$copy/$_" } qw(postmaster.pid postmaster.opts standby.signal);
like(slurp_file("$copy/pg_cmk/root.json"), qr/"current_root": 1/, 'and the old root.json');

my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($primary, 'low');
$restored->append_conf('postgresql.conf',
	"primary_conninfo = ''\nrestore_command = 'false'\nrecovery_target = 'immediate'\nrecovery_target_action = 'promote'\n");
$restored->append_conf('recovery.signal', '');
$from = log_position($restored);
start_vault_node($restored, $v, 'nowait');
ok(wait_log($restored, $from, qr/archive recovery complete|database system is shut down/), 'it is restored to its own end');
ok(wait_until('connections are accepted', sub { hears($restored) eq '' || !-e $restored->data_dir . '/postmaster.pid' }), 'it starts');
is(hears($restored), '', 'and is open');
is($restored->safe_psql('postgres', 'SELECT count(*) FROM t'), $rows, 'with all rows') if hears($restored) eq '';

$restored->stop('immediate', fail_ok => 1);
$_->stop('fast') foreach ($standby, $primary);
done_testing();
