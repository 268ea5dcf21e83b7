
# Recipients: a standby with a vault of its own, one with a key file, escrow; and a
# new root key for those who stay.
#
# The primary never speaks to the vaults of the others: it has their public keys.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VaultTest;

my $v    = new_vault();
my $kv   = $v->{kv};
my $rows = 1000;
my @all  = qw(get wrapKey unwrapKey);

# The standby's vault, with an application that may use no other; and an escrow
my $app = $kv->create_app;
$kv->create_vault('replica', purge_protection => 1);
$kv->grant('replica', $app->{client_id}, \@all);
my $replica_key = $kv->create_key('replica', 'kek');
my $replica_v   = { kv => $kv, app => $app, id => $app->{client_id}, key => $replica_key };
$kv->create_vault('escrow', purge_protection => 1);
my $escrow = $kv->create_key('escrow', 'kek');

my $primary = new_vault_node('primary', $v, allows_streaming => 1, conf => "wal_keep_size = 256MB\n");
my $kek = make_kek($primary->basedir . '/replica.pem');
my $pem = `openssl pkey -in $kek -pubout`;

$primary->safe_psql('postgres', "CREATE TABLE t USING cmk_heap AS SELECT generate_series(1, $rows) AS i");
$primary->safe_psql('postgres', 'CREATE ROLE admin LOGIN IN ROLE cmk_admin');

sub root_json
{
	my ($node) = @_;

	return decode_json(slurp_file($node->data_dir . '/pg_cmk/root.json'));
}

sub refusal
{
	my ($node, $sql, @params) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql", @params);

	return $ret == 0 ? '' : $err;
}

sub roots_of_records
{
	my ($node) = @_;
	my %roots = map { $_->{root} => 1 } keys_records($node);

	return join ',', sort keys %roots;
}

sub quote_pem
{
	my ($text) = @_;
	return "\$pem\$$text\$pem\$";
}

# Registering

is(refusal($primary, "SELECT cmk.add_recipient('$replica_key->{kid}', " . quote_pem($replica_key->{public_key}) . ')',
		extra_params => [ '-U', 'admin' ]), '', 'a replica\'s key, by URL and public key, by cmk_admin');
is(refusal($primary, "SELECT cmk.add_recipient('file://$kek', " . quote_pem($pem) . ')'), '', 'a key in a file, by its public key');
is(refusal($primary, "SELECT cmk.add_recipient('$escrow->{kid}', " . quote_pem($escrow->{public_key}) . ')'), '', 'an escrow');
is($primary->safe_psql('postgres', q{SELECT count(*), count(*) FILTER (WHERE governing), count(*) FILTER (WHERE local), bool_and(public_key ~ '^sha256:[A-Za-z0-9_-]{43}$') FROM cmk.recipients}),
	'4|1|0|t', 'cmk.recipients');
is($primary->safe_psql('postgres', "SELECT key_version = public_key FROM cmk.recipients WHERE key_url LIKE 'file:%'"),
	't', 'the version of a key in a file is its fingerprint');

my $second = $kv->create_key('demo', 'second');
is(refusal($primary, "SELECT cmk.add_recipient('$second->{url}')"), '', 'a key of the vault, whose public key is asked for');
like(refusal($primary, "SELECT cmk.add_recipient('$replica_key->{url}', " . quote_pem($replica_key->{public_key}) . ')'),
	qr/ERROR:  22023: .*no version/, 'a public key needs a version');
like(refusal($primary, "SELECT cmk.add_recipient('$v->{key}{url}', " . quote_pem($escrow->{public_key}) . ')'),
	qr/ERROR:  22023: .*governs already/, 'the governing key cannot be replaced like that');
like(refusal($primary, "SELECT cmk.add_recipient('$escrow->{kid}', 'none')"), qr/ERROR:  22023:/, 'what is no public key');
my $private = slurp_file($kek);
my $err = refusal($primary, "SELECT cmk.add_recipient('$escrow->{kid}', " . quote_pem($private) . ')');
like($err, qr/ERROR:  22023:/, 'a private key is refused');
my $short = `openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:1024 | openssl pkey -pubout`;
like(refusal($primary, "SELECT cmk.add_recipient('$escrow->{kid}', " . quote_pem($short) . ')'), qr/ERROR:  22023:/, 'a key of 1024 bits');

# The standbys

$primary->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'b', has_streaming => 1);
$standby->append_conf('postgresql.conf', "pg_cmk.key = '$replica_key->{url}'");
my $filed = PostgreSQL::Test::Cluster->new('filed');
$filed->init_from_backup($primary, 'b', has_streaming => 1);
$filed->append_conf('postgresql.conf', "pg_cmk.key = 'file://$kek'");
start_vault_node($standby, $replica_v);
$filed->start;

sub caught_up
{
	my ($when, $table) = @_;

	foreach my $node ($standby, $filed)
	{
		$primary->wait_for_catchup($node, 'replay', $primary->lsn('flush'));
		is($node->safe_psql('postgres', "SELECT count(*) FROM $table"), $rows, $when . ' (' . $node->name . ')');
	}
	return;
}

caught_up('the standbys have the rows', 't');
is($standby->safe_psql('postgres', 'SELECT key_url, key_version FROM cmk.status'), "$replica_key->{url}|$replica_key->{kid}",
	'the standby is governed by its own key');
like(refusal($standby, "SELECT cmk.$_"), qr/ERROR:  25006: .*during recovery/, "$_: not during recovery")
  foreach ("set_key('$replica_key->{url}')", "add_recipient('$replica_key->{url}')", "drop_recipient('$replica_key->{url}')", 'rotate_root()');

# Without the primary's vault
$kv->vault_down('demo');
$standby->stop('fast');
start_vault_node($standby, $replica_v);
is($standby->safe_psql('postgres', 'SELECT count(*) FROM t'), $rows, 'the standby starts without the primary\'s vault');
is(status_of($standby), 'Ready|', 'and is Ready');
$kv->vault_up('demo');
ok(wait_until('the primary is open', sub { denial($primary) eq '' && status_of($primary) eq 'Ready|' }), 'the primary comes back');

# A new root

is($primary->safe_psql('postgres', 'SELECT cmk.rotate_root()'), '2', 'a new root');
$primary->safe_psql('postgres', "CREATE TABLE t2 USING cmk_heap AS SELECT generate_series(1, $rows) AS i");
caught_up('what is born under the new root', 't2');
is($_->safe_psql('postgres', 'SELECT root_id FROM cmk.status'), 2, $_->name . ': root 2') foreach ($primary, $standby, $filed);
ok(wait_until('all records are under the new root', sub { roots_of_records($_) eq '2' }), $_->name . ': every record is under it')
  foreach ($primary, $standby, $filed);
my ($old, $new) = @{ root_json($primary)->{roots} };
is(scalar @{ $old->{wraps} }, 0, 'the old root has no wraps');
is(scalar @{ $new->{wraps} }, 5, 'the new one has one for each recipient');
my %records = map { $_->{id} => $_->{raw} } keys_records($primary);
is(join(',', grep { defined $records{ $_->{id} } && $records{ $_->{id} } ne $_->{raw} } keys_records($standby)),
	'', 'every node comes to the same bytes');

# Dropping

my ($wrap) = grep { $_->{recipient} eq $escrow->{kid} } @{ $new->{wraps} };
my $opened = $kv->use_key('escrow', 'kek', 'unwrapKey', $wrap->{value}, alg => 'RSA-OAEP-256');
$opened = $opened->{value} if ref $opened;
like($opened, qr/^[A-Za-z0-9_-]{43}$/, 'the escrow can open the root');
is(refusal($primary, "SELECT cmk.drop_recipient('$escrow->{kid}')"), '', 'the escrow is dropped');
my $json = slurp_file($primary->data_dir . '/pg_cmk/root.json');
unlike($json, qr/\Q$escrow->{kid}\E/, 'root.json does not name it any more');
is($primary->safe_psql('postgres', 'SELECT root_id FROM cmk.status'), 3, 'there is a new root');
my @opens;
foreach my $root (@{ root_json($primary)->{roots} })
{
	foreach my $w (@{ $root->{wraps} })
	{
		push @opens, $w->{recipient}
		  if eval { $kv->use_key('escrow', 'kek', 'unwrapKey', $w->{value}, alg => 'RSA-OAEP-256'); 1 };
	}
}
is("@opens", '', 'the escrow\'s private key opens no wrap that is left');
like(refusal($primary, "SELECT cmk.drop_recipient('$escrow->{kid}')"), qr/ERROR:  42704:/, 'it cannot be dropped twice');
like(refusal($primary, "SELECT cmk.drop_recipient('$v->{key}{url}')"), qr/ERROR:  22023: .*governs/, 'the governing key cannot be dropped');
$primary->safe_psql('postgres', "CREATE TABLE t3 USING cmk_heap AS SELECT generate_series(1, $rows) AS i");
caught_up('after the drop', 't3');

# Crashes in between leave a cluster that opens, and that finishes by itself
my $root = 3;
foreach my $point ('root-after-file', 'root-after-wal', 'rewrap')
{
	my $from;

	$primary->append_conf('postgresql.conf', "pg_cmk.debug_crash_at = '$point'");
	$primary->stop('fast');
	start_vault_node($primary, $v);
	$from = log_position($primary);
	refusal($primary, 'SELECT cmk.rotate_root()');
	ok(wait_log($primary, $from, qr/crashing at "$point"/), "$point: the worker crashes");
	$primary->append_conf('postgresql.conf', "pg_cmk.debug_crash_at = ''");
	pg_ctl($primary, 'reload');
	ok(wait_until('connections are accepted', sub { denial($primary) eq '' }), "$point: the server is back");
	$root++;
	ok( wait_until("root $root is the current one",
			sub { $primary->safe_psql('postgres', 'SELECT root_id FROM cmk.status') == $root && roots_of_records($primary) eq $root }),
		"$point: the new root is open, and every record is under it");
	is($primary->safe_psql('postgres', 'SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM t3)'), "$rows|$rows", "$point: all rows");
	caught_up("$point: the standbys follow", 't3');
	ok(wait_until("the standbys have root $root", sub { $standby->safe_psql('postgres', 'SELECT root_id FROM cmk.status') == $root }),
		"$point: root $root reaches an idle standby");
}

# A backup that runs keeps the records as they are
my $session = $primary->background_psql('postgres');
$session->query_safe(q{SELECT pg_backup_start('test', true)});
$primary->safe_psql('postgres', 'SELECT cmk.rotate_root()');
is(roots_of_records($primary), $root, 'while a base backup runs the records stay under the old root');
$session->query_safe('SELECT pg_backup_stop(false)');
$session->quit;
$root++;
ok(wait_until('the records are under the new root', sub { roots_of_records($primary) eq $root }), 'and follow when it is over');

# A copy that is restored somewhere else
$primary->backup('c');
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($primary, 'c');
$copy->append_conf('postgresql.conf', "pg_cmk.key = '$replica_key->{url}'");
start_vault_node($copy, $replica_v);
is($copy->safe_psql('postgres', 'SELECT count(*) FROM t2'), $rows, 'a restored copy opens by another recipient');
$copy->stop('fast');

# The last one
my $from = log_position($standby);
$primary->safe_psql('postgres', "SELECT cmk.drop_recipient('$_')")
  foreach ("file://$kek", $second->{url}, $replica_key->{kid});
like(refusal($primary, "SELECT cmk.drop_recipient('$v->{key}{url}')"), qr/ERROR:  22023: .*last/, 'the last recipient cannot be dropped');
ok(wait_log($standby, $from, qr/waiting for the customer-managed key to open root key \d+, which came with WAL/),
	'a standby whose key was dropped waits at the new root');
ok(wait_state($standby, $from, 'Inaccessible', 'Configuration'), 'and becomes Inaccessible');
like(log_since($standby, $from), qr/DETAIL:  key "\Q$replica_key->{url}\E" is no recipient/, 'the log says why');

$_->stop('fast') foreach ($primary, $standby);
$filed->stop('immediate', fail_ok => 1);
done_testing();
