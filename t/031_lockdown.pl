# pg_cmk.on_inaccessible = lockdown: nothing that opens a page, and no page that was
# open, is left in any process; and all of it comes back with the key.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use MemoryTest;
use PostgreSQL::Test::BackgroundPsql;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VaultTest;

my $conf = "pg_cmk.on_inaccessible = lockdown\nshared_buffers = 16MB\n";

# The marker is made in the server, so that no statement carries it whole.
sub fill
{
	my ($node, $marker) = @_;
	my ($head, $tail) = $marker =~ /^(.{10})(.*)$/;

	$node->safe_psql('postgres', "
		CREATE TABLE t USING cmk_heap AS
		  SELECT i, '$head' || '$tail' || i AS m FROM generate_series(1, 2000) i;
		CREATE INDEX ON t (m);
		CREATE UNLOGGED TABLE u USING cmk_heap AS SELECT * FROM t;
		CREATE TABLE plain AS SELECT 1");
	return;
}

sub rows
{
	my ($node) = @_;

	return $node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT m) FROM t');
}

# Works on the table until it is ended; every row that it says is in must be there.
sub worker_session
{
	my ($node) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	$session->query_safe('SELECT count(*) FROM t');
	$session->query_safe('SELECT count(*) FROM u');
	return $session;
}

# A primary and its standby, with a key in a vault

my $v       = new_vault();
my $kv      = $v->{kv};
my $node    = new_vault_node('main', $v, allows_streaming => 1, conf => $conf);
my $marker  = new_marker();
my $standby = PostgreSQL::Test::Cluster->new('standby');

fill($node, $marker);
$node->backup('one');
$standby->init_from_backup($node, 'one', has_streaming => 1);
start_vault_node($standby, $v);
$node->safe_psql('postgres', 'INSERT INTO t VALUES (0, $$x$$)');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));

my @sessions = map { worker_session($_) } $node;
$standby->safe_psql('postgres', 'SELECT count(*) FROM t');
my %needles = (
	known_keys($node, root_from_vault($node, $kv, 'demo', 'kek')),
	row => $marker);
my %keys = %needles;
delete $keys{row};
cmp_ok(scalar(keys %keys), '>=', 7, 'the root, and data and tweak keys of t, its index and u');

foreach my $n ($node, $standby)
{
	my @before = memory_of($n, \%needles);
	my %kinds  = map { /: ([a-z ]+?)( \d+)?$/; ($1 => 1) } @before;

	is_deeply([ sort keys %kinds ], [ 'data key', 'root', 'row', 'tweak key' ],
		$n->name . ': the search finds root, keys and rows while they are there');
}

my %from = map { $_->name => log_position($_) } $node, $standby;
my $acid = $node->background_psql('postgres', on_error_stop => 0);
$acid->query_safe('INSERT INTO t SELECT i, $$y$$ FROM generate_series(1, 500) i');
$kv->disable_key('demo', 'kek');
foreach my $n ($node, $standby)
{
	ok(wait_log($n, $from{ $n->name }, qr/pg_cmk: locked down: no key is in memory/),
		$n->name . ' locks down');
	ok(wait_log($n, $from{ $n->name }, qr/pg_cmk: waiting for the customer-managed key/),
		'it waits for the key');
	like(hears($n), qr/(?:starting up|in recovery mode|not yet accepting connections)\nDETAIL:  Waiting for the customer-managed key: KeyDisabled/,
		'and says so to clients');
	is_deeply([ memory_of($n, \%needles) ], [],
		'no key, no key schedule and no row is in its memory');
}
like(log_since($node, $from{main}), qr/shutting down/, 'the primary shut down cleanly');
unlike(log_since($node, $from{main}), qr/PANIC|not clean in time/, 'without a panic');
eval { $_->quit } foreach @sessions, $acid;

foreach my $n ($node, $standby)
{
	$from{ $n->name } = log_position($n);
}
my @pids = map { (server_pids($_))[0] } $node, $standby;
$kv->enable_key('demo', 'kek');
foreach my $n ($node, $standby)
{
	ok(wait_until('it is open', sub { hears($n) eq '' }), $n->name . ' comes back by itself');
}
is_deeply([ map { (server_pids($_))[0] } $node, $standby ], \@pids, 'without a restart');
is(rows($node), '2501|2002', 'no row is lost');
is($node->safe_psql('postgres', 'SELECT count(*) FROM u'), 2000, 'nor one of an unlogged table');
unlike(log_since($node, $from{main}), qr/redo starts/, 'and there was nothing to recover');
$node->safe_psql('postgres', 'INSERT INTO t VALUES (-1, $$z$$)');
ok( wait_until('the standby streams',
		sub { rows($standby) eq '2502|2003' }), 'the standby follows again');
is($node->safe_psql('postgres', 'SELECT state FROM cmk.status'), 'Ready', 'Ready');

# A second lockdown under load, stopped and started while it lasts

my $dir = PostgreSQL::Test::Utils::tempdir('load');
append_to_file("$dir/insert.sql", "INSERT INTO t VALUES (7, 'w');\n");
my $load = IPC::Run::start(
	[ 'pgbench', '-n', '-c2', '-T600', '-f', "$dir/insert.sql", '-h', $node->host, '-p', $node->port, 'postgres' ],
	'<', \undef, '>', "$dir/out", '2>', "$dir/err");
ok( wait_until('load', sub { $node->safe_psql('postgres', 'SELECT count(*) FROM t WHERE i = 7') > 50 }),
	'rows come in');
$from{main} = log_position($node);
$kv->disable_key('demo', 'kek');
ok(wait_log($node, $from{main}, qr/pg_cmk: locked down/), 'locks down under load');
$load->finish;
my ($done) = slurp_file("$dir/out") =~ /number of transactions actually processed: (\d+)/;
ok(pg_ctl($node, '-m', 'fast', 'stop'), 'a locked down server can be stopped');
$node->_update_pid(0);
start_vault_node($node, $v, 1);
ok(wait_log($node, $from{main}, qr/pg_cmk: waiting for the customer-managed key(?s:.*)pg_cmk: waiting for/),
	'started, it waits');
is_deeply([ memory_of($node, \%needles) ], [], 'with nothing in its memory');
$kv->enable_key('demo', 'kek');
ok(wait_until('it is open', sub { hears($node) eq '' }), 'it comes back');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM t WHERE i = 7'), '>=', $done,
	"all $done rows that were committed are there");
is(rows($node) =~ s/\|.*//r, $node->safe_psql('postgres', "SET enable_seqscan = off; SELECT count(*) FROM t WHERE m > ''"),
	'the index has them, too');

# A session that does not end in time: a crash, and WAL has everything

$node->append_conf('postgresql.conf', 'pg_cmk.debug_deadline = 2s');
$node->reload;
my $stuck = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $stuck->query_safe('SELECT pg_backend_pid()');
my $all = $node->safe_psql('postgres', "INSERT INTO t VALUES (8, 'v'); SELECT count(*) FROM t");
kill 'STOP', $pid;
$from{main} = log_position($node);
$kv->disable_key('demo', 'kek');
ok(wait_log($node, $from{main}, qr/pg_cmk: locked down: no key is in memory/), 'a stopped session does not hold it up for ever');
like(log_since($node, $from{main}), qr/not clean in time/, 'which the log says');
is_deeply([ memory_of($node, \%needles) ], [], 'nothing is in memory');
eval { $stuck->quit };
$kv->enable_key('demo', 'kek');
ok(wait_until('it is open', sub { hears($node) eq '' }), 'it comes back');
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), $all, 'with every row');

# The key goes together with a crash, which leaves keys in memory

$node->append_conf('postgresql.conf', "pg_cmk.debug_deadline = 8s\npg_cmk.revalidate_interval = 5s");
$node->reload;
$node->safe_psql('postgres', 'SELECT cmk.revalidate()');
my $victim = $node->background_psql('postgres', on_error_stop => 0);
$pid = $victim->query_safe('SELECT pg_backend_pid()');
$from{main} = log_position($node);
$kv->firewall('demo', 'firewall');
kill 'KILL', $pid;
ok(wait_log($node, $from{main}, qr/terminated by signal 9.*pg_cmk: locked down: no key is in memory/s),
	'a server that crashed before it saw the loss locks down');
is_deeply([ memory_of($node, \%needles) ], [], 'nothing is in memory');
eval { $victim->quit };
$kv->firewall('demo', undef);
ok(wait_until('it is open', sub { hears($node) eq '' }), 'it comes back');
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), $all, 'with every row');

# A stop that comes before the postmaster has heard that the startup process waits

$node->append_conf('postgresql.conf', 'pg_cmk.debug_pause_at = await_root');
$node->reload;
$from{main} = log_position($node);
$kv->disable_key('demo', 'kek');
ok(wait_log($node, $from{main}, qr/pg_cmk: locked down(?s:.*)pg_cmk: waiting for/), 'locks down');
ok(wait_until('there is a checkpointer', sub { `ps -o args= -p @{[ join ',', server_pids($node) ]}` =~ /checkpointer/ }),
	'it has a checkpointer again');
pg_ctl($node, '-W', '-m', 'fast', 'stop');
ok(wait_log($node, $from{main}, qr/received fast shutdown request/), 'it is told to stop');
append_to_file($node->data_dir . '/pg_cmk/debug_continue', '');
ok(wait_until('it ended', sub { !-e $node->data_dir . '/postmaster.pid' }), 'it stops')
  or pg_ctl($node, '-m', 'immediate', 'stop');
$node->_update_pid(0);
unlink $node->data_dir . '/pg_cmk/debug_continue';
$node->adjust_conf('postgresql.conf', 'pg_cmk.debug_pause_at', undef);
$kv->enable_key('demo', 'kek');
start_vault_node($node, $v);
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), $all, 'with every row');

$standby->stop('fast');
$node->stop('fast');

# A key in a file

my $kek  = make_kek(PostgreSQL::Test::Utils::tempdir('kek') . '/kek.pem');
my $file = new_cmk_node('file', kek => $kek, conf => $conf . "pg_cmk.revalidate_interval = 200ms\n");

$marker = new_marker();
fill($file, $marker);
%needles = (known_keys($file, root_from_file($file, $kek)), row => $marker);
my $session = worker_session($file);
cmp_ok(scalar(memory_of($file, \%needles)), '>=', 8, 'a key in a file: keys and rows are in memory');
$from{file} = log_position($file);
rename $kek, "$kek.away" or die;
ok(wait_log($file, $from{file}, qr/pg_cmk: locked down: no key is in memory/), 'the file is gone: it locks down');
is_deeply([ memory_of($file, \%needles) ], [], 'nothing is in memory, the postmaster\'s included');
eval { $session->quit };
rename "$kek.away", $kek or die;
ok(wait_until('it is open', sub { hears($file) eq '' }), 'the file is back: so is the server');
is(rows($file), '2000|2000', 'and the rows');

# A server that may not restart its processes ends

$file->append_conf('postgresql.conf', 'restart_after_crash = off');
$file->reload;
$from{file} = log_position($file);
rename $kek, "$kek.away" or die;
ok(wait_until('it ended', sub { !-e $file->data_dir . '/postmaster.pid' }), 'restart_after_crash = off: it ends');
like(log_since($file, $from{file}), qr/The server stops, because restart_after_crash is off/, 'and says why');
$file->_update_pid(0);
rename "$kek.away", $kek or die;
$file->start;
is(rows($file), '2000|2000', 'started again, it has its rows');
$file->stop('fast');

done_testing();
