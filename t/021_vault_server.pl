
# A server whose key is in a vault: start, stop, rotation, worker, sessions.
#
# Whatever the vault does, the server must wait for the key when it starts, stop
# when it is told to, follow the key to a new version, live on without its worker,
# and close by its own clock if nobody validates the key.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use IPC::Run ();
use PostgreSQL::Test::BackgroundPsql;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VaultTest;

my $v    = new_vault();
my $kv   = $v->{kv};
my $node = new_vault_node('main', $v, allows_streaming => 1);
my $rows = 1000;
my $from;

$node->safe_psql('postgres', "CREATE TABLE t USING cmk_heap AS SELECT generate_series(1, $rows) AS i");

sub rows_are_there
{
	my ($when) = @_;

	is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), $rows, $when);
	return;
}

sub stop_node
{
	my ($mode, $when) = @_;
	my $from = log_position($node);
	my $ok   = pg_ctl($node, '-m', $mode, '-w', '-t', '30', 'stop');

	ok($ok, "stop -m $mode $when");
	like(log_since($node, $from), qr/database system is shut down/, "stop -m $mode $when: in order")
	  unless $mode eq 'immediate';
	$node->_update_pid(0);
	return;
}

# Start without the key, and stop in that state

my %unavailable = (
	'while the key is disabled' => [ 'KeyDisabled', sub { $kv->disable_key('demo', 'kek') }, sub { $kv->enable_key('demo', 'kek') } ],
	'while the vault hangs' => [ 'Timeout', sub { $kv->pause }, sub { $kv->resume } ],
	'while the vault is throttled' => [ 'Throttled', sub { $kv->fault(status => 429, match => { op => 'unwrap' }) }, sub { $kv->clear_faults } ]);
foreach my $when (sort keys %unavailable)
{
	my ($reason, $comes, $goes) = @{ $unavailable{$when} };

	# A crash restart reads sealed pages before anybody is let in.
	$node->safe_psql('postgres', 'UPDATE t SET i = i WHERE i <= 10');
	$comes->();
	foreach my $mode ('fast', 'smart', 'immediate')
	{
		stop_node($mode, $mode eq 'fast' ? "of a running server $when" : "of a waiting server $when");
		last if $mode eq 'immediate';
		$from = log_position($node);
		start_vault_node($node, $v, 'nowait');
		ok(wait_log($node, $from, qr/pg_cmk: state is Starting, reason $reason|reason $reason/),
			"start $when: the reason is in the log");
	}
	$from = log_position($node);
	start_vault_node($node, $v, 'nowait');
	ok( wait_until(
			"clients hear $reason",
			sub { hears($node) =~ /the database system is (?:starting up|not yet accepting connections)\nDETAIL:  Waiting for the customer-managed key: $reason\./ }),
		"start $when: clients hear why");
	$goes->();
	ok(wait_log($node, $from, qr/database system is ready to accept connections/), "start $when: comes up");
	wait_state($node, $from, 'Ready');
	rows_are_there("start $when: all rows");
}

# Stop in every state

foreach my $mode ('fast', 'smart', 'immediate')
{
	$from = log_position($node);
	$kv->pause;
	ok(wait_state($node, $from, 'Degraded'), 'the vault hangs') if $mode ne 'smart';
	ok(wait_state($node, $from, 'Inaccessible', 'Timeout'), 'and the server is Inaccessible') if $mode eq 'smart';
	stop_node($mode, 'while the vault hangs');
	$kv->resume;
	start_vault_node($node, $v);
	rows_are_there("after stop -m $mode");
}

# Rotation

my $version = $kv->rotate_key('demo', 'kek');
ok( wait_until(
		'the new version governs',
		sub { $node->safe_psql('postgres', 'SELECT key_version FROM cmk.status') eq $version->{kid} }),
	'rotation is followed');
like(slurp_file($node->data_dir . '/pg_cmk/root.json'), qr/\Q$version->{version}\E/, 'root.json names the new version');
$from = log_position($node);
$kv->disable_key('demo', 'kek', version => $v->{key}{version});
is($node->safe_psql('postgres', 'SELECT cmk.revalidate()'), 'Ready', 'the old version may be disabled then');
$node->stop('fast');
start_vault_node($node, $v);
rows_are_there('a restart needs only the new version');

# A new version that cannot be used
$from = log_position($node);
$kv->fault(match => { op => [ 'get', 'wrap' ] }, status => 503);
my $bad = $kv->rotate_key('demo', 'kek');
$kv->set_key('demo', 'kek', version => $bad->{version}, exp => time - 3600);
$kv->clear_faults;
ok(wait_log($node, $from, qr/WARNING:  .*new.* version/), 'a new version that cannot be used: a warning');
is($node->safe_psql('postgres', 'SELECT cmk.revalidate()'), 'Ready', 'the server stays Ready');
is($node->safe_psql('postgres', 'SELECT key_version FROM cmk.status'), $version->{kid}, 'by the version that governs');
$kv->set_key('demo', 'kek', version => $bad->{version}, exp => undef);
ok( wait_until(
		'the newest version governs',
		sub { $node->safe_psql('postgres', 'SELECT key_version FROM cmk.status') eq $bad->{kid} }),
	'and follows it when it can be used');

# cmk.revalidate()

$node->safe_psql('postgres', 'CREATE ROLE admin LOGIN IN ROLE cmk_admin; CREATE ROLE nobody LOGIN');
my ($ret, $out, $err);
($ret, $out, $err) = $node->psql('postgres', 'SELECT cmk.revalidate()', extra_params => [ '-U', 'admin' ]);
is($out, 'Ready', 'cmk_admin may revalidate');
($ret, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT cmk.revalidate()", extra_params => [ '-U', 'nobody' ]);
like($err, qr/ERROR:  42501:/, 'others may not');

# On request the key is looked at whatever the interval is.
$node->append_conf('postgresql.conf', "pg_cmk.revalidate_interval = 5min\npg_cmk.debug_deadline = 10min");
$node->reload;
is($node->safe_psql('postgres', 'SELECT cmk.revalidate()'), 'Ready', 'a long interval');
my $session = $node->background_psql('postgres', on_error_stop => 0);
$kv->disable_key('demo', 'kek');
is($session->query_safe('SELECT cmk.revalidate()'), 'Inaccessible', 'revalidate finds the key disabled at once');
$kv->enable_key('demo', 'kek', version => $bad->{version});
is($session->query_safe('SELECT cmk.revalidate()'), 'Ready', 'and enabled');
$node->append_conf('postgresql.conf', "pg_cmk.revalidate_interval = 500ms\npg_cmk.debug_deadline = 4s");
$node->reload;

# The worker

my $worker = key_worker($node);
ok($worker, 'there is a worker');
$from = log_position($node);
kill 'TERM', $worker;
ok(wait_until('there is another worker', sub { my $w = key_worker($node); $w && $w != $worker }), 'a worker that was ended is started again');
is($session->query_safe('SELECT cmk.revalidate()'), 'Ready', 'and validates');
is(denial($node), '', 'the server stayed open');
unlike(log_since($node, $from), qr/all server processes terminated|pg_cmk: state is/, 'nobody noticed');

$worker = key_worker($node);
kill 'STOP', $worker;
ok( wait_until('the gate closes by itself', sub { denial($node) =~ /^57P03 .*the customer-managed key of this server is inaccessible\nDETAIL:  Not validated since .*: the key worker does not answer\./s }),
	'a worker that hangs: the hard deadline closes the gate');
is($session->query_safe('SELECT count(*) FROM t'), $rows, 'sessions go on');
kill 'CONT', $worker;
ok(wait_until('the gate opens', sub { denial($node) eq '' }), 'and a worker that goes on opens it');
$session->quit;

$from = log_position($node);
kill 'KILL', key_worker($node);
ok(wait_log($node, $from, qr/all server processes terminated; reinitializing.*database system is ready to accept connections/s), 'a worker that was killed: a crash restart');
ok(wait_until('connections are accepted', sub { denial($node) eq '' }), 'from which the server comes back');
rows_are_there('with all rows');

# Running sessions and replication

$session = $node->background_psql('postgres', on_error_stop => 0);
my $receiver_dir = PostgreSQL::Test::Utils::tempdir('wal');
my $receiver = IPC::Run::start([ 'pg_receivewal', '-n', '-D', $receiver_dir, '-h', $node->host, '-p', $node->port ], '<', \undef, '>', \my $rout, '2>', \my $rerr);
ok(wait_until('there is a walsender', sub { $session->query_safe('SELECT count(*) FROM pg_stat_replication') == 1 }), 'a walsender runs');
$from = log_position($node);
$kv->disable_key('demo', 'kek');
ok(wait_state($node, $from, 'Inaccessible', 'KeyDisabled'), 'deny: Inaccessible');
ok(wait_until('the walsender is gone', sub { $session->query_safe('SELECT count(*) FROM pg_stat_replication') == 0 }), 'deny: the walsender was ended');
is($session->query_safe('SELECT count(*) FROM t'), $rows, 'deny: sessions go on');
like(denial($node, 'replication=database'), qr/^57P03 /, 'deny: logical replication connections are denied');
like(denial($node, 'replication=true'), qr/^57P03 /, 'deny: physical replication connections are denied');
$receiver->finish;

$node->append_conf('postgresql.conf', "pg_cmk.on_inaccessible = terminate");
$node->reload;
ok(wait_log($node, $from, qr/57P01 \S+ FATAL:  terminating connection due to administrator command\n(?!.*START_REPLICATION)/),
	'terminate: sessions are ended');
eval { $session->quit };
$kv->enable_key('demo', 'kek', version => $bad->{version});
ok(wait_until('connections are accepted', sub { denial($node) eq '' }), 'terminate: open again');
rows_are_there('terminate: all rows');

$node->stop('fast');
done_testing();
