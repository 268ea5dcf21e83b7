
# What goes on while the key is inaccessible, under deny and under terminate, and
# that the server can be stopped in every state.
#
# One server has all that may go on: sessions, parallel workers, an extension's
# background workers, a standby, a subscriber, a subscription of its own,
# autovacuum.  The table in docs/vault.md says what becomes of each; each of its
# rows is asserted here.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use File::Copy qw(copy);
use IPC::Run ();
use PostgreSQL::Test::BackgroundPsql;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VaultTest;

my $refusal = qr/the customer-managed key of this server is inaccessible/;

# The background workers of t/modules/busy.c, built outside the tree.
my $modules = PostgreSQL::Test::Utils::tempdir('modules');
copy("$FindBin::RealBin/modules/$_", $modules) foreach 'Makefile', 'busy.c';
{
	my ($out, $err);
	IPC::Run::run([ 'make', '-s', '-C', $modules ], '<', \undef, '>', \$out, '2>', \$err)
	  or BAIL_OUT("t/modules/busy.c could not be built: $out$err");
}

my $v    = new_vault();
my $kv   = $v->{kv};
my $node = new_vault_node(
	'main', $v,
	allows_streaming => 'logical',
	conf             => "shared_preload_libraries = 'pg_cmk, busy'\n"
	  . "dynamic_library_path = '$modules:\$libdir'\n"
	  . "busy.statement_0 = 'INSERT INTO busy VALUES (0)'\n"
	  . "busy.statement_1 = 'LOCK TABLE busy IN ACCESS SHARE MODE'\n"
	  . "autovacuum = on\nautovacuum_naptime = 1s\nautovacuum_vacuum_cost_delay = 0\n"
	  . "wal_retrieve_retry_interval = 200ms\n"
	  . "log_line_prefix = '%m [%p] %e %b '\n");
$node->safe_psql(
	'postgres', q{
	CREATE TABLE busy (i int) USING cmk_heap;
	CREATE TABLE t (i int) USING cmk_heap;
	CREATE TABLE outgoing (i int PRIMARY KEY) USING cmk_heap;
	CREATE TABLE incoming (i int PRIMARY KEY) USING cmk_heap;
	CREATE TABLE late (i int PRIMARY KEY) USING cmk_heap;
	CREATE TABLE dead (i int) USING cmk_heap WITH (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0);
	CREATE PUBLICATION outgoing FOR TABLE outgoing;
	INSERT INTO t SELECT generate_series(1, 10000);
	INSERT INTO dead SELECT generate_series(1, 1000)});

my $other = PostgreSQL::Test::Cluster->new('other');
$other->init(allows_streaming => 'logical');
$other->append_conf('postgresql.conf', "wal_retrieve_retry_interval = 200ms\n");
$other->start;
$other->safe_psql(
	'postgres', q{
	CREATE TABLE outgoing (i int PRIMARY KEY);
	CREATE TABLE incoming (i int PRIMARY KEY);
	CREATE TABLE late (i int PRIMARY KEY);
	INSERT INTO late VALUES (1);
	CREATE PUBLICATION incoming FOR TABLE incoming});
$other->safe_psql('postgres', "CREATE SUBSCRIPTION outgoing CONNECTION '" . $node->connstr . " dbname=postgres' PUBLICATION outgoing");
$node->safe_psql('postgres', "CREATE SUBSCRIPTION incoming CONNECTION '" . $other->connstr . ' dbname=postgres'
	  . "' PUBLICATION incoming WITH (disable_on_error = true)");

# The standby has an identity of its own, so that its key can be lost alone.
my $app = $kv->create_app;
$kv->grant('demo', $app->{client_id}, [qw(get wrapKey unwrapKey)]);
$node->backup('one');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'one', has_streaming => 1);
start_vault_node($standby, { %$v, app => $app });

sub session
{
	my ($n) = @_;
	return $n->background_psql('postgres', on_error_stop => 0);
}

sub count_in
{
	my ($from, $table) = @_;
	my $query = "SELECT count(*) FROM $table";

	return $from->isa('PostgreSQL::Test::Cluster') ? $from->safe_psql('postgres', $query) : $from->query_safe($query);
}

# Waits until the table has more rows than it has now.
sub grows
{
	my ($from, $table) = @_;
	my $before = count_in($from, $table);

	return wait_until("$table grows", sub { count_in($from, $table) > $before });
}

my $session = session($node);

# Rows that pass through both subscriptions and to the standby.
my $passed = 0;

sub send_rows
{
	$passed++;
	$session->query_safe("INSERT INTO outgoing VALUES ($passed)");
	$other->safe_psql('postgres', "INSERT INTO incoming VALUES ($passed)");
	return;
}

sub rows_arrive
{
	my ($when) = @_;

	ok(wait_until('rows at the subscriber', sub { count_in($other, 'outgoing') == $passed }), "$when: the subscriber has all rows");
	ok(wait_until('rows at the standby', sub { count_in($standby, 'outgoing') == $passed }), "$when: so has the standby");
	ok(wait_until('rows from the publisher', sub { count_in($session, 'incoming') == $passed }), "$when: this server has all rows of its publisher");
	return;
}

# What a session that was ended hears when it asks again.
sub last_words
{
	my ($psql) = @_;

	$psql->{stdin} .= "SELECT 1;\n";
	$psql->{run}->finish;
	return $psql->{stderr};
}

sub lose_key
{
	my $from = log_position($node);

	$kv->disable_key('demo', 'kek');
	ok(wait_state($node, $from, 'Inaccessible', 'KeyDisabled'), 'the key is disabled: Inaccessible');
	return $from;
}

sub bring_key
{
	my $from = log_position($node);

	$kv->enable_key('demo', 'kek');
	ok(wait_state($node, $from, 'Ready'), 'the key is enabled: Ready');
	ok(wait_until('the standby is open', sub { denial($standby) eq '' }), 'the standby, which has the same key, too');
	return;
}

# What each is doing is what the rest of this file relies on.
send_rows();
rows_arrive('Ready');
ok(grows($session, 'busy'), 'Ready: background workers write');

# A standby that has lost its key replays on.

my $standby_session = session($standby);
my $from = log_position($standby);
$kv->revoke('demo', $app->{client_id});
ok(wait_state($standby, $from, 'Inaccessible', 'ForbiddenByRbac'), 'a standby alone: Inaccessible');
send_rows();
ok(wait_until('replay', sub { count_in($standby_session, 'outgoing') == $passed }), 'it receives and replays what its primary does, and its sessions read it');
like(denial($standby), qr/^57P03 .*$refusal/s, 'but lets nobody in');
$standby_session->quit;
$kv->grant('demo', $app->{client_id}, [qw(get wrapKey unwrapKey)]);
ok(wait_until('the standby is open', sub { denial($standby) eq '' }), 'until it has its key again');

# deny

my ($standby_log, $other_log) = map { log_position($_) } $standby, $other;
$from = lose_key();

like(denial($node), qr/^57P03 .*$refusal/s, 'deny: no new connection');
$session->query_safe('INSERT INTO t VALUES (0)');
is($session->query_safe('SELECT count(*) FROM t WHERE i = 0'), 1, 'deny: a running session writes and reads sealed tables');
$session->query_safe('CREATE TABLE made USING cmk_heap AS SELECT 1 AS i');
is($session->query_safe("SELECT cmk.is_sealed('made')"), 't', 'deny: and makes new ones, sealed');
my $plan = $session->query_safe(
	q{SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
	EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT count(*) FROM t});
like($plan, qr/Workers Launched: [1-9]/, 'deny: its parallel workers run');
is($session->query_safe('SELECT count(*) FROM t'), 10001, 'deny: and see all rows');

foreach my $worker ([ 'statement', 'INSERT INTO busy' ], [ 'utility statement', 'LOCK TABLE busy' ])
{
	my ($what, $sql) = @$worker;
	ok(wait_log($node, $from, qr/57P03 busy ERROR:  $refusal\n[^\n]*DETAIL:  Inaccessible since [^\n]*: KeyDisabled\.\n[^\n]*HINT:  The server accepts connections again[^\n]*\n[^\n]*CONTEXT:  SQL statement "\Q$sql\E/),
		"deny: a background worker is refused at its next $what");
}
my $busy = count_in($session, 'busy');
my $again = log_position($node);
ok(wait_log($node, $again, qr/57P03 busy ERROR:  $refusal\n[^\n]*DETAIL:[^\n]*\n[^\n]*HINT:[^\n]*\n(?![^\n]*CONTEXT:)/), 'deny: and when it is started again');
is(count_in($session, 'busy'), $busy, 'deny: it has written nothing');

send_rows();
ok(wait_log($node, $from, qr/57P03 logical replication worker ERROR:  $refusal/), 'deny: so is the apply worker of a subscription');
$other->safe_psql('postgres', 'ALTER PUBLICATION incoming ADD TABLE late');
$session->query_safe('ALTER SUBSCRIPTION incoming REFRESH PUBLICATION');
is($session->query_safe('SELECT subenabled FROM pg_subscription'), 't', 'deny: disable_on_error does not disable the subscription');

ok(wait_until('no walsender', sub { count_in($session, 'pg_stat_replication') == 0 }), 'deny: walsenders are ended');
ok(wait_log($standby, $standby_log, qr/could not connect to the primary server: .*$refusal/), 'deny: a standby cannot come back');
ok(wait_log($other, $other_log, qr/could not connect to the publisher: .*$refusal/), 'deny: a subscriber cannot either');
my ($out, $err);
ok(!IPC::Run::run([ 'pg_basebackup', '-D', PostgreSQL::Test::Utils::tempdir('copy') . '/x', '-h', $node->host, '-p', $node->port, '-c', 'fast' ],
		'<', \undef, '>', \$out, '2>', \$err), 'deny: no base backup');
like($err, $refusal, 'deny: pg_basebackup hears why');

my $vacuums = q{SELECT autovacuum_count FROM pg_stat_user_tables WHERE relname = 'dead'};

sub autovacuum_runs
{
	my ($when) = @_;
	my $before = $session->query_safe($vacuums);

	$session->query_safe('UPDATE dead SET i = i + 1');
	ok(wait_until('autovacuum', sub { $session->query_safe($vacuums) > $before }), $when);
	return;
}
autovacuum_runs('deny: autovacuum goes on');
my $checkpoint = $session->query_safe('SELECT checkpoint_lsn FROM pg_control_checkpoint()');
$session->query_safe('CHECKPOINT');
cmp_ok($session->query_safe("SELECT checkpoint_lsn > '$checkpoint' FROM pg_control_checkpoint()"), 'eq', 't', 'deny: checkpoints go on');

is(count_in($session, 'incoming'), $passed - 1, 'deny: nothing was applied');
is(count_in($session, 'late'), 0, 'deny: and nothing copied');
is(count_in($other, 'outgoing'), $passed - 1, 'deny: and nothing sent');

bring_key();
rows_arrive('Ready again');
ok(wait_until('the copy', sub { count_in($session, 'late') == 1 }), 'Ready again: tables are copied');
ok(grows($session, 'busy'), 'Ready again: background workers write');

# terminate

$node->append_conf('postgresql.conf', "pg_cmk.on_inaccessible = terminate\nlog_autovacuum_min_duration = 0");
$node->reload;
ok(wait_until('the setting', sub { $session->query_safe('SHOW pg_cmk.on_inaccessible') eq 'terminate' }), 'terminate is set');
my $rows = count_in($session, 't');
my $open = session($node);
$open->query_safe('BEGIN');
$open->query_safe('INSERT INTO t VALUES (-1)');
$node->append_conf('postgresql.conf', 'autovacuum = off');
$node->reload;
ok(wait_until('the setting', sub { $session->query_safe('SHOW autovacuum') eq 'off' }), 'autovacuum waits');
$session->query_safe('UPDATE dead SET i = i + 1');
send_rows();
$from = lose_key();
foreach my $s ([ $session, 'an idle session' ], [ $open, 'one in a transaction' ])
{
	my ($psql, $what) = @$s;

	like(last_words($psql), qr/FATAL:  terminating connection due to administrator command\nDETAIL:  The customer-managed key of this server is inaccessible\./,
		"terminate: $what is ended and hears why");
}
like(log_since($node, $from), qr/57P01 client backend FATAL:  terminating connection due to administrator command/, 'terminate: with 57P01');
ok(wait_log($node, $from, qr/57P03 busy ERROR:  $refusal/), 'terminate: background workers are refused');
ok(wait_log($node, $from, qr/57P03 logical replication worker ERROR:  $refusal/), 'terminate: so are apply workers');
like(denial($node), qr/^57P03 .*$refusal/s, 'terminate: no new connection');
$from = log_position($node);
$node->append_conf('postgresql.conf', 'autovacuum = on');
$node->reload;
ok(wait_log($node, $from, qr/automatic vacuum of table "postgres\.public\.dead"/), 'terminate: autovacuum goes on');

bring_key();
$session = session($node);
is(count_in($session, 't'), $rows, 'terminate: what was committed is there, and nothing else');
rows_arrive('after terminate');
ok(grows($session, 'busy'), 'after terminate: background workers write');
$session->quit;
$standby->stop('fast');
$other->stop('fast');
$node->stop('fast');

# Stop in every state, each way, and start again with the key

my $stops = new_vault_node('stops', $v);
$stops->safe_psql('postgres', 'CREATE TABLE t (i int) USING cmk_heap');
my $written = 0;
my %reach = (
	Inaccessible => [ sub { $kv->disable_key('demo', 'kek') }, sub { $kv->enable_key('demo', 'kek') } ],
	Degraded     => [ sub { $kv->fault(match => { op => 'get' }, status => 503) }, sub { $kv->clear_faults } ]);
$stops->append_conf('postgresql.conf', 'pg_cmk.grace_period = 7s');
$stops->reload;

sub stop_it
{
	my ($mode, $state) = @_;

	ok(pg_ctl($stops, '-m', $mode, '-w', '-t', '30', 'stop'), "$state: stop -m $mode");
	$stops->_update_pid(0);
	return;
}

sub write_row
{
	my ($psql) = @_;

	$written++;
	$psql->query_safe("INSERT INTO t VALUES ($written)");
	return;
}

sub start_it
{
	my ($when) = @_;

	start_vault_node($stops, $v);
	is($stops->safe_psql('postgres', 'SELECT count(*), sum(i) FROM t'),
		$written . '|' . $written * ($written + 1) / 2, "$when: started again, and no row is lost");
	return;
}

foreach my $state ('Degraded', 'Inaccessible')
{
	foreach my $mode ('smart', 'fast', 'immediate')
	{
		my $psql = session($stops);
		my $begin = log_position($stops);

		write_row($psql);
		$reach{$state}[0]->();
		ok(wait_state($stops, $begin, $state), "$state before stop -m $mode");
		write_row($psql);
		$psql->quit if $mode eq 'smart';    # it waits for sessions
		stop_it($mode, $state);
		like(log_since($stops, $begin), qr/database system is shut down/, "$state: stop -m $mode: in order") unless $mode eq 'immediate';
		eval { $psql->quit } unless $mode eq 'smart';
		$reach{$state}[1]->();
		start_it("$state, stop -m $mode");
	}
}
foreach my $mode ('smart', 'fast', 'immediate')
{
	my $psql = session($stops);

	# What is in WAL alone is to be replayed after a server that waited was stopped.
	write_row($psql);
	pg_ctl($stops, '-m', 'immediate', '-w', 'stop');
	$stops->_update_pid(0);
	eval { $psql->quit };
	$kv->disable_key('demo', 'kek');
	my $begin = log_position($stops);
	start_vault_node($stops, $v, 'nowait');
	ok(wait_log($stops, $begin, qr/pg_cmk: waiting for the customer-managed key.*KeyDisabled|KeyDisabled.*pg_cmk: waiting for the customer-managed key/s), "Starting before stop -m $mode");
	stop_it($mode, 'Starting');
	$kv->enable_key('demo', 'kek');
	start_it("Starting, stop -m $mode");
}
$stops->stop('fast');
done_testing();
