
# A copy of a cluster gets a key of its own before its first start, with
# pg_cmk set-key: the original's vault is gone by the time it starts.  WAL that is
# replayed there brings root files of the original, which must not take it away.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use File::Copy qw(copy move);
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::BackgroundPsql;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VaultTest;

my $v  = new_vault();
my $kv = $v->{kv};

$kv->create_vault('away', purge_protection => 1);
$kv->grant('away', $v->{id}, [qw(get wrapKey unwrapKey)]);
my $away = $kv->create_key('away', 'kek');
my $rows = 0;

sub pg_cmk { return run_pg_cmk($v, @_) }

sub root_file
{
	my ($node) = @_;

	return decode_json(slurp_file($node->data_dir . '/pg_cmk/root.json'));
}

# "URL local" of each recipient of the current root, in order.
sub recipients
{
	my ($node) = @_;
	my $file = root_file($node);
	my ($root) = grep { $_->{id} == $file->{current_root} } @{ $file->{roots} };

	return map { $_->{recipient} . ($_->{local} ? ' local' : '') } @{ $root->{wraps} };
}

sub add_rows
{
	my ($node, $n) = @_;

	$node->safe_psql('postgres', "INSERT INTO t SELECT generate_series(1, $n)");
	$rows += $n;
	return;
}

# set-key on a stopped copy, to the key of the other vault.
sub give_own_key
{
	my ($node, $what, $local, @args) = @_;
	my $serial = root_file($node)->{serial};
	my ($rc, $out, $err) = pg_cmk('set-key', '-D', $node->data_dir, @args, $away->{url});

	is("$rc $err", '0 ', "$what: set-key");
	is($out, "key \"$away->{url}\" governs when the server starts" . ($local ? '; it is a recipient of this copy only' : '') . "\n",
		"$what: what it says");
	is(root_file($node)->{serial}, $serial + ($local ? 0 : 1), "$what: the serial");
	ok((grep { $_ eq $away->{url} . ($local ? ' local' : '') } recipients($node)), "$what: the recipient");
	return;
}

sub opens_by_itself
{
	my ($node, $what) = @_;

	is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), $rows, "$what: every row");
	is($node->safe_psql('postgres', 'SELECT key_url FROM cmk.status'), $away->{url}, "$what: its own key governs");
	is($node->safe_psql('postgres', 'SELECT cmk.revalidate()'), 'Ready', "$what: and is validated");
	ok((grep { /^\Q$away->{url}\E/ } recipients($node)), "$what: its recipient is still there");
	return;
}

my $main = new_vault_node('main', $v, allows_streaming => 1, has_archiving => 1);

$main->safe_psql('postgres', 'CREATE TABLE t (i int) USING cmk_heap');
add_rows($main, 500);
$main->backup('base');

# A backup during which the key is rotated: WAL brings a newer root file than the
# copy has.

my $hot     = $main->backup_dir . '/hot';
my $session = $main->background_psql('postgres');
my $serial  = root_file($main)->{serial};
$session->query_safe("SET client_min_messages = warning; SELECT pg_backup_start('hot', true)");
copy_tree($main->data_dir, $hot, qr/^postmaster\.|^pg_wal\//);
my $version = $kv->rotate_key('demo', 'kek');
ok($main->poll_query_until('postgres', "SELECT key_version = '$version->{kid}' FROM cmk.status"), 'the key is rotated during a backup');
add_rows($main, 500);
$main->safe_psql('postgres', 'CREATE TABLE u USING cmk_heap AS SELECT 1 AS i');
append_to_file("$hot/backup_label", $session->query_safe('SELECT labelfile FROM pg_backup_stop()') . "\n");
$session->quit;
rmdir "$hot/pg_wal";
copy_tree($main->data_dir . '/pg_wal', "$hot/pg_wal");
cmp_ok(root_file($main)->{serial}, '>', $serial, 'and root.json has a higher serial');

my $segment = $main->safe_psql('postgres', 'SELECT pg_walfile_name(pg_switch_wal())');
ok($main->poll_query_until('postgres', "SELECT last_archived_wal >= '$segment' FROM pg_stat_archiver"), 'WAL is archived');
my %copy;
$copy{$_} = PostgreSQL::Test::Cluster->new($_) foreach qw(archive base hot crashed standby);
$copy{archive}->init_from_backup($main, 'base', has_restoring => 1, standby => 0);
$copy{base}->init_from_backup($main, 'base');
$copy{hot}->init_from_backup($main, 'hot');
$copy{standby}->init_from_backup($main, 'base', has_streaming => 1);
my ($rows_base, $rows_all) = (500, $rows);

# The standby has a vault of its own while the primary goes on.

give_own_key($copy{standby}, 'a standby', 1);
start_vault_node($copy{standby}, $v);
$main->wait_for_catchup($copy{standby});
opens_by_itself($copy{standby}, 'a standby');
is(root_file($copy{standby})->{serial}, root_file($main)->{serial}, "a standby: the primary's root file came with WAL");
$main->safe_psql('postgres', "SELECT cmk.add_recipient('" . $kv->create_key('demo', 'more')->{url} . "')");
add_rows($main, 10);
$main->wait_for_catchup($copy{standby});
is(root_file($copy{standby})->{serial}, root_file($main)->{serial}, 'a standby: so did the next one');
$copy{standby}->stop('fast');
start_vault_node($copy{standby}, $v);
opens_by_itself($copy{standby}, 'a standby, restarted');
$copy{standby}->stop('fast');
$rows_all = $rows;

# Files as a crash leaves them.

$main->stop('immediate');
copy_tree($main->data_dir, $main->backup_dir . '/crashed', qr/^postmaster\./);
$copy{crashed}->init_from_backup($main, 'crashed');

# Keys are given while the original's vault is still there; then it is not.

give_own_key($copy{archive}, 'archive recovery', 1);
give_own_key($copy{base}, 'a base backup', 1);
give_own_key($copy{hot}, 'a backup with a newer root in WAL', 1);

# A configuration that is not in the data directory, and names another one.
my $conf = $copy{crashed}->data_dir . '/postgresql.conf';
my $elsewhere = PostgreSQL::Test::Utils::tempdir . '/postgresql.conf';
move($conf, $elsewhere);
append_to_file($elsewhere, "data_directory = '" . $main->data_dir . "'\n");
my ($rc, $out, $err) = pg_cmk('set-key', '-D', $copy{crashed}->data_dir, $away->{url});
like("$rc $err", qr/^1 pg_cmk: error: could not read the settings of the server\npg_cmk: detail: /, 'no configuration file');
give_own_key($copy{crashed}, 'files after a crash', 0, '--config-file', $elsewhere);
unlike(slurp_file($main->data_dir . '/postgresql.auto.conf'), qr/away/, 'the original is left alone');
copy($elsewhere, $conf);
$copy{crashed}->append_conf('postgresql.conf', "data_directory = '" . $copy{crashed}->data_dir . "'");

$kv->vault_down('demo');
foreach ([ 'archive', 'archive recovery', undef ],
	[ 'base', 'a base backup', $rows_base ],
	[ 'hot', 'a backup with a newer root in WAL', 1000 ],
	[ 'crashed', 'files after a crash', $rows_all ])
{
	my ($name, $what, $want) = @$_;
	my $node = $copy{$name};
	my $from = log_position($node);

	start_vault_node($node, $v);
	$node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
	$rows = $want // $node->safe_psql('postgres', 'SELECT count(*) FROM t');
	cmp_ok($rows, '>=', 1000, "$what: WAL of after the backup was replayed") unless defined $want;
	opens_by_itself($node, $what);
	like(log_since($node, $from), qr/pg_cmk: root key 1 came with WAL/, "$what: with a newer root file")
	  if $name eq 'archive' || $name eq 'hot';
	is($node->safe_psql('postgres', 'SELECT i FROM u'), 1, "$what: and a table of after the backup") unless $name eq 'base';

	# its own from here on
	$node->safe_psql('postgres', 'CREATE TABLE own USING cmk_heap AS SELECT 1 AS i; INSERT INTO t VALUES (1)');
	$rows++;
	$node->stop('immediate');
	start_vault_node($node, $v);
	opens_by_itself($node, "$what, after a crash of its own");
	$node->stop('fast');
}

done_testing();
