
# Another key takes over: by cmk.set_key(), and by a changed setting.
#
# A key that cannot take over must change nothing: not a byte of root.json, and the
# old key governs on.  A crash at any step must leave a cluster that opens.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::BackgroundPsql;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VaultTest;

my $v    = new_vault();
my $kv   = $v->{kv};
my $node = new_vault_node('main', $v);
my $rows = 1000;
my $url  = $v->{key}{url};

# The role and the vaults of this test
my @all = qw(get wrapKey unwrapKey);
$kv->create_vault('other', purge_protection => 1);
$kv->grant('other', $v->{id}, \@all);
my $other  = $kv->create_key('other', 'kek');
my $second = $kv->create_key('demo', 'second');

$node->safe_psql('postgres', qq{
	CREATE TABLE t USING cmk_heap AS SELECT generate_series(1, $rows) AS i;
	CREATE ROLE admin LOGIN IN ROLE cmk_admin;
	CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
	CREATE ROLE nobody LOGIN});

sub root_json
{
	return slurp_file($node->data_dir . '/pg_cmk/root.json');
}

# What cmk.status and the setting say, once the setting has arrived.
sub governs
{
	my ($key, $when) = @_;

	is($node->safe_psql('postgres', 'SELECT key_url FROM cmk.status'), $key, "$when: it governs");
	ok(wait_until('the setting is there', sub { $node->safe_psql('postgres', 'SHOW pg_cmk.key') eq $key }),
		"$when: it is the setting");
	is($node->safe_psql('postgres', 'SELECT cmk.revalidate()'), 'Ready', "$when: Ready");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), $rows, "$when: all rows");
	is($node->safe_psql('postgres', 'SELECT key_url FROM cmk.recipients WHERE governing'),
		$key, "$when: cmk.recipients says so");
	return;
}

sub restart_node
{
	$node->stop('fast');
	start_vault_node($node, $v);
	return;
}

# What the client hears of an error, with its SQLSTATE
sub refusal
{
	my ($sql, $user) = @_;
	my ($ret, $out, $err) = $node->psql(
		'postgres', "\\set VERBOSITY verbose\n$sql",
		extra_params => $user ? [ '-U', $user ] : []);

	return $ret == 0 ? '' : $err;
}

# Keys that are taken

is($node->safe_psql('postgres', "SELECT cmk.set_key('$second->{url}')"), $second->{kid}, 'another key of the vault');
governs($second->{url}, 'another key');
is($node->safe_psql('postgres', "SELECT cmk.set_key('$other->{url}')", extra_params => [ '-U', 'admin' ]),
	$other->{kid}, 'a key of another vault, by cmk_admin');
governs($other->{url}, 'another vault');
my $newer = $kv->rotate_key('other', 'kek');
is($node->safe_psql('postgres', "SELECT cmk.set_key('$other->{kid}')"), $other->{kid}, 'an older version');
governs($other->{kid}, 'a version');
is($node->safe_psql('postgres', 'SELECT count(*) FROM cmk.recipients'), 4, 'all of them are recipients');
$node->safe_psql('postgres', "SELECT cmk.set_key('" . ($other->{kid} =~ s/^https/HTTPS/r =~ s/kek/KEK/r) . "/')");
governs($other->{kid}, 'the same in another spelling');
is($node->safe_psql('postgres', 'SELECT count(*) FROM cmk.recipients'), 4, 'which is no other recipient');
is($node->safe_psql('postgres', "SELECT string_agg(DISTINCT substr(event, 1, 7) || ' ' || (detail LIKE 'https://%'), ',') FROM cmk.events WHERE event = 'key set'"),
	'key set true', 'cmk.events has them');

$kv->vault_down('demo');
restart_node();
governs($other->{kid}, 'after a restart without the first vault');
$kv->vault_up('demo');

# Keys that are refused

$kv->create_vault('purgeable', purge_protection => 0);
$kv->grant('purgeable', $v->{id}, \@all);
$kv->create_vault('closed', purge_protection => 1);
my $tenant = $kv->create_tenant;
$kv->create_vault('foreign', purge_protection => 1, tenant => ref $tenant ? $tenant->{tenant_id} || $tenant->{id} : $tenant);
my $disabled = $kv->create_key('demo', 'disabled');
$kv->disable_key('demo', 'disabled');
my ($host) = $url =~ m{^(https://[^/]+)};
my ($port) = $host =~ /:(\d+)$/;
my %bad = (
	'a disabled key' => [ $disabled->{url}, '22023', 'KeyDisabled' ],
	'an expired key' => [ $kv->create_key('demo', 'expired', exp => time - 3600)->{url}, '22023', 'KeyExpired' ],
	'a key without wrapKey' => [ $kv->create_key('demo', 'nowrap', key_ops => ['unwrapKey'])->{url}, '22023', 'KeyOperationForbidden|KeyUnsuitable' ],
	'a purgeable key' => [ $kv->create_key('purgeable', 'kek')->{url}, '22023', 'KeyUnsuitable' ],
	'an EC key' => [ $kv->create_key('demo', 'ec', kty => 'EC', crv => 'P-256')->{url}, '22023', 'KeyUnsuitable' ],
	'a key that is not there' => [ "$host/keys/nothing", '42704', 'KeyNotFound' ],
	'a key that may not be used' => [ $kv->create_key('closed', 'kek')->{url}, '28000', 'ForbiddenByRbac|ForbiddenByPolicy' ],
	'a vault of another tenant' => [ $kv->create_key('foreign', 'kek')->{url}, '28000', 'WrongTenant|ChallengeRefused' ],
	'a host that is not trusted' => [ "https://demo.example.com:$port/keys/kek", '22023', undef ],
	'what is no URL' => [ 'kek', '22023', undef ],
	'a key in a file' => [ 'file:///etc/kek.pem', '22023', undef ],
	'nothing' => [ '', '22023', undef ]);
my $before = root_json();
foreach my $what (sort keys %bad)
{
	my ($key, $code, $reason) = @{ $bad{$what} };
	my $err = refusal("SELECT cmk.set_key('$key')");

	like($err, qr/ERROR:  $code:/, "$what: SQLSTATE");
	like($err, qr/DETAIL:  .*Reason: (?:$reason)\./, "$what: the reason") if defined $reason;
}
$kv->vault_down('demo');
like(refusal("SELECT cmk.set_key('$url')"), qr/ERROR:  08006:/, 'a vault that is down: SQLSTATE');
$kv->vault_up('demo');
is(root_json(), $before, 'root.json is as it was');
governs($other->{kid}, 'after all these');

foreach my $user ('nobody', 'monitor')
{
	foreach my $call ("set_key('$url')", "add_recipient('$url')", "drop_recipient('$url')", 'rotate_root()')
	{
		like(refusal("SELECT cmk.$call", $user), qr/ERROR:  42501:/, "$user may not call $call");
	}
}
like(refusal('SELECT * FROM cmk.recipients', 'nobody'), qr/ERROR:  42501:/, 'nobody may not see the recipients');
is(refusal('SELECT * FROM cmk.recipients', 'monitor'), '', 'pg_monitor may');
like(refusal("SELECT cmk.add_recipient('file:///etc/kek.pem')", 'admin'), qr/ERROR:  42501:/,
	'cmk_admin may not use files');

# The setting

like(refusal("ALTER SYSTEM SET pg_cmk.key = ''"), qr/ERROR:  22023: .*cannot be unset/, 'the setting cannot be emptied');
like(refusal("ALTER SYSTEM SET pg_cmk.key = 'https://demo.example.com/keys/kek'"), qr/ERROR:  22023:/,
	'nor set to a host that is not trusted');
my $auto = slurp_file($node->data_dir . '/postgresql.auto.conf');
my $from = log_position($node);
append_to_file($node->data_dir . '/postgresql.auto.conf', "pg_cmk.key = ''\n");
pg_ctl($node, 'reload');
ok(wait_log($node, $from, qr/pg_cmk\.key cannot be unset while the server runs/), 'a reload that would empty it: refused');
is($node->safe_psql('postgres', 'SHOW pg_cmk.key'), $other->{kid}, 'and the old value stays');

sub set_by_file
{
	my ($key, $more) = @_;

	open my $fh, '>', $node->data_dir . '/postgresql.auto.conf' or die $!;
	print $fh "pg_cmk.key = '$key'\n" . ($more || '');
	close $fh;
	pg_ctl($node, 'reload');
	return;
}

# While Ready: a recipient, and a key that becomes one
set_by_file($second->{url});
ok(wait_until('the recipient governs', sub { $node->safe_psql('postgres', 'SELECT key_url FROM cmk.status') eq $second->{url} }),
	'a reload with a recipient: it governs');
my $third = $kv->create_key('demo', 'third');
set_by_file($third->{url});
ok(wait_until('the new key governs', sub { $node->safe_psql('postgres', 'SELECT key_url FROM cmk.status') eq $third->{url} }),
	'a reload with a new key: it governs');
governs($third->{url}, 'a new key by reload');

$from = log_position($node);
$before = root_json();
set_by_file($disabled->{url});
ok(wait_log($node, $from, qr/WARNING:  pg_cmk\.key was changed to a key that cannot take over/), 'a reload with a bad key: a warning');
is($node->safe_psql('postgres', 'SELECT key_url FROM cmk.status'), $third->{url}, 'the old key governs on');
is(root_json(), $before, 'root.json is as it was');
$kv->enable_key('demo', 'disabled');
ok(wait_until('it takes over', sub { $node->safe_psql('postgres', 'SELECT key_url FROM cmk.status') eq $disabled->{url} }),
	'it is tried again, and takes over when it can');
governs($disabled->{url}, 'a key that became good');

# A recipient that still opens the root, but could not govern, must not close the server
my $lapsed = $kv->create_key('demo', 'lapsed');
$node->safe_psql('postgres', "SELECT cmk.add_recipient('$lapsed->{url}')");
$kv->set_key('demo', 'lapsed', exp => time - 3600, all => 1);
$from = log_position($node);
set_by_file($lapsed->{url});
ok(wait_log($node, $from, qr/WARNING:  pg_cmk\.key was changed to a key that cannot take over: .*has expired/),
	'a reload with an expired recipient: a warning');
is($node->safe_psql('postgres', 'SELECT cmk.revalidate()'), 'Ready', 'the server stays open');
is($node->safe_psql('postgres', 'SELECT key_url FROM cmk.status'), $disabled->{url}, 'the old key governs on');

# The setting names a key that does not govern: dropping it would be found out at the next start
set_by_file($second->{url}, "pg_cmk.vault_timeout = 5s\n");
wait_until('the recipient governs', sub { $node->safe_psql('postgres', 'SELECT key_url FROM cmk.status') eq $second->{url} });
set_by_file($lapsed->{url});
ok(wait_until('the setting is there', sub { $node->safe_psql('postgres', 'SHOW pg_cmk.key') eq $lapsed->{url} }), 'the setting is a key that cannot govern');
like(refusal("SELECT cmk.drop_recipient('$lapsed->{url}')"), qr/ERROR:  22023: .*is the setting pg_cmk\.key/, 'it cannot be dropped');
set_by_file($disabled->{url});
wait_until('it governs', sub { $node->safe_psql('postgres', 'SELECT key_url FROM cmk.status') eq $disabled->{url} });
governs($disabled->{url}, 'back');

# Cancelled while the vault is asked: what the worker finishes is not left without a setting
my $slow = $kv->create_key('demo', 'slow');
$kv->fault(match => { key => 'slow', op => 'unwrap' }, delay_ms => 600, count => 1);
$from = log_position($node);
like(refusal("SET statement_timeout = '200ms'; SELECT cmk.set_key('$slow->{url}')"), qr/ERROR:  57014:/, 'cmk.set_key() can be cancelled');
ok(wait_log($node, $from, qr/key "\Q$slow->{url}\E" governs from now on.*key "\Q$disabled->{url}\E" governs from now on/s),
	'the key that it set gives way to the setting');
governs($disabled->{url}, 'after a call that was cancelled');
is($node->safe_psql('postgres', "SELECT cmk.set_key('$slow->{url}')"), $slow->{kid}, 'and is set when it is asked for again');
is(refusal("SELECT cmk.drop_recipient('$disabled->{url}'); SELECT cmk.add_recipient('$disabled->{url}')"), '', 'the old key can be dropped at once');
is($node->safe_psql('postgres', "SELECT cmk.set_key('$disabled->{url}')"), $disabled->{kid}, 'the old key');
governs($disabled->{url}, 'the old key again');

# While Inaccessible
$from = log_position($node);
$kv->disable_key('demo', 'disabled');
ok(wait_state($node, $from, 'Inaccessible', 'KeyDisabled'), 'the key is disabled');
my $fourth = $kv->create_key('other', 'fourth');
$from = log_position($node);
set_by_file($fourth->{url});
ok(wait_state($node, $from, 'Ready'), 'while Inaccessible a reload with a new key is the way back');
ok(wait_until('connections are accepted', sub { denial($node) eq '' }), 'and connections are accepted');
governs($fourth->{url}, 'back by another key');

# Another identity: the application loses its right, another one has it.  The secret stands in
# the environment of the server's start, so that the new one must have the same.
my $app = $kv->create_app(secret => $v->{app}{client_secret});
$kv->grant($_, $app->{client_id}, \@all) foreach ('demo', 'other');
$from = log_position($node);
$kv->revoke('other', $v->{id});
ok(wait_state($node, $from, 'Inaccessible', 'ForbiddenByRbac|ForbiddenByPolicy'), 'the application has lost its right');
$from = log_position($node);
set_by_file($fourth->{url}, "pg_cmk.client_id = '$app->{client_id}'\n");
ok(wait_state($node, $from, 'Ready'), 'while Inaccessible a reload with another identity is the way back');
ok(wait_until('connections are accepted', sub { denial($node) eq '' }), 'and connections are accepted');
governs($fourth->{url}, 'back by another identity');
$kv->grant('other', $v->{id}, \@all);

# Started without the key: the setting is the way in, too
$kv->disable_key('other', 'fourth');
$node->stop('fast');
$from = log_position($node);
start_vault_node($node, $v, 'nowait');
ok(wait_log($node, $from, qr/reason KeyDisabled/), 'start without the key');
set_by_file($third->{url});
ok(wait_log($node, $from, qr/database system is ready to accept connections/), 'a reload with another recipient opens the server');
wait_state($node, $from, 'Ready');
governs($third->{url}, 'opened by another recipient');
$kv->enable_key('other', 'fourth');

# Crashes

sub crash_at
{
	my ($point) = @_;

	$node->append_conf('postgresql.conf', "pg_cmk.debug_crash_at = '$point'\n");
	restart_node();
	return;
}

foreach my $point ('root-before-file', 'root-after-file', 'root-after-wal', 'key-before-setting')
{
	my $key  = $kv->create_key('demo', "crash-$point");
	my $old  = $node->safe_psql('postgres', 'SHOW pg_cmk.key');

	crash_at($point);
	$before = root_json();
	$from = log_position($node);
	isnt(refusal("SELECT cmk.set_key('$key->{url}')"), '', "$point: the session is lost");
	ok(wait_log($node, $from, qr/crashing at "$point".*database system is ready to accept connections/s), "$point: a crash restart");
	wait_until('connections are accepted', sub { denial($node) eq '' });
	$node->append_conf('postgresql.conf', "pg_cmk.debug_crash_at = ''\n");
	if ($point eq 'root-before-file')
	{
		is(root_json(), $before, "$point: root.json is as it was");
	}
	else
	{
		like(root_json(), qr/\Q$key->{url}\E/, "$point: root.json has the new recipient");
	}
	restart_node();
	is($node->safe_psql('postgres', 'SELECT cmk.revalidate()'), 'Ready', "$point: the next start is Ready");
	governs($old, "$point: the setting is the old key");
	is($node->safe_psql('postgres', "SELECT cmk.set_key('$key->{url}')"), $key->{kid}, "$point: it can be set again");
	governs($key->{url}, "$point: set again");
}

# A setting that no file can change
my $now = $node->safe_psql('postgres', 'SHOW pg_cmk.key');
$node->stop('fast');
{
	local %ENV = %ENV;

	$ENV{AZURE_CLIENT_ID}     = $v->{app}{client_id};
	$ENV{AZURE_CLIENT_SECRET} = $v->{app}{client_secret};
	pg_ctl($node, '-w', '-l', $node->logfile, '-o', "-c pg_cmk.key=$now", 'start');
	$node->_update_pid(1);
}
like(refusal("SELECT cmk.set_key('$url')"), qr/ERROR:  55P02:/, 'a key of the command line cannot be set');
$node->stop('fast');

done_testing();
