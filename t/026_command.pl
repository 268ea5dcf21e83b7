
# The pg_cmk command: status, revalidate, set-key and versions, on servers that
# run, that let nobody in, that wait for their key, and on stopped copies.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use Fcntl ':flock';
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VaultTest;

my $v    = new_vault();
my $kv   = $v->{kv};
my $rows = 1000;

sub add_vault
{
	my ($name) = @_;

	$kv->create_vault($name, purge_protection => 1);
	$kv->grant($name, $v->{id}, [qw(get wrapKey unwrapKey)]);
	return $kv->create_key($name, 'kek');
}

my $second = add_vault('second');
my $third  = add_vault('third');

sub pg_cmk { return run_pg_cmk($v, @_) }

# Exit status and output as wanted; on failure both are shown.
sub runs
{
	my ($args, $status, $out_like, $err_like, $name) = @_;
	my ($rc, $out, $err) = pg_cmk(@$args);

	subtest $name => sub {
		is($rc, $status, 'exit status');
		like($out, $out_like, 'stdout') if defined $out_like;
		defined $err_like ? like($err, $err_like, 'stderr') : is($err, '', 'nothing on stderr');
	} or diag("exit $rc\n$out$err");
	return ($out, $err);
}

sub rows_are_there
{
	my ($node, $when) = @_;

	is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), $rows, "$when: no row is lost");
	return;
}

sub files_of
{
	my ($node) = @_;

	return join "\n--\n", map { slurp_file($node->data_dir . "/$_") } 'pg_cmk/root.json', 'postgresql.auto.conf';
}

sub postmaster_of
{
	my ($node) = @_;

	return (slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/)[0];
}

sub set_clocks
{
	my ($node, $interval, $deadline) = @_;

	$node->append_conf('postgresql.conf', "pg_cmk.revalidate_interval = $interval\npg_cmk.debug_deadline = $deadline");
	$node->reload;
	return;
}

# What needs no server

runs(['--help'], 0, qr/Usage:\n  pg_cmk status/, undef, '--help');
runs([ 'set-key', '--help' ], 0, qr/Usage:\n  pg_cmk status/, undef, 'COMMAND --help');
runs(['--version'], 0, qr/^pg_cmk \d+\.\d+$/, undef, '--version');
runs([], 3, qr/^$/, qr/^pg_cmk: error: a command is wanted\npg_cmk: hint: Try "pg_cmk --help"/, 'no command');
runs(['frob'], 3, qr/^$/, qr/error: there is no command "frob"/, 'an unknown command');
runs(['status'], 3, qr/^$/, qr/no data directory specified/, 'no data directory');
runs([ 'status', '-D', '/', '--wait', '1' ], 3, qr/^$/, qr/does not belong to command "status"/, "another command's option");
runs([ 'set-key', '-D', '/' ], 1, qr/^$/, qr/key URL is wanted/, 'no key URL');
runs([ 'versions', '-D', '/', 'a', 'b' ], 1, qr/^$/, qr/too many arguments, the first one is "b"/, 'too many arguments');
runs([ 'revalidate', '-D', '/', '-w', '1x' ], 3, qr/^$/, qr/number of seconds is wanted, not "1x"/, 'no number');
runs([ 'status', '-D', '/nonexistent' ], 3, qr/^$/, qr/could not access directory "\/nonexistent": No such file/, 'no such directory');
runs([ 'status', '-D', '/' ], 3, qr/^$/, qr/does not belong to this user\n.*hint: Run it as the user that owns the server/, 'a directory of another user');
runs([ 'status', '-D', PostgreSQL::Test::Utils::tempdir ], 3, qr/^$/, qr/is not a data directory of PostgreSQL/, 'no data directory of a server');

# A server that runs and is Ready

my $node = new_vault_node('main', $v);
my @D    = ('-D', $node->data_dir);
my ($out, $err, $from, $before);

$node->safe_psql('postgres', "CREATE TABLE t USING cmk_heap AS SELECT generate_series(1, $rows) AS i");
$node->safe_psql('postgres', 'ALTER SYSTEM SET work_mem = 12345');
$node->safe_psql('postgres', 'SELECT cmk.revalidate()');
my $pid = postmaster_of($node);

($out) = runs([ 'status', @D ], 0, qr/^server: +running \(PID $pid\)\nstate: +Ready\n/, undef, 'status of a server that is Ready');
like($out, qr/^key: +\Q$v->{key}{url}\E\nkey version: +\Q$v->{key}{kid}\E$/m, 'status: key and version');
like($out, qr/^last validated: +\d{4}-.*\nnext validation: +\d{4}-.*\nsaid: +\d+ s ago$/m, 'status: times');
($out) = runs([ 'status', '--json', @D ], 0, qr/^\{/, undef, 'status --json');
my $doc = decode_json($out);
is("$doc->{running} $doc->{state} $doc->{key_url}", "1 Ready $v->{key}{url}", 'status --json: its members');
runs([ 'revalidate', @D ], 0, qr/^Ready$/, undef, 'revalidate');
{
	local $ENV{PGDATA} = $node->data_dir;
	is(system('pg_cmk status >' . PostgreSQL::Test::Utils::tempdir . '/out'), 0, 'PGDATA names the data directory');
}

my $version2 = $kv->rotate_key('demo', 'kek');
$node->poll_query_until('postgres', "SELECT key_version = '$version2->{kid}' FROM cmk.status");
$kv->disable_key('demo', 'kek', version => $v->{key}{version});
runs([ 'versions', @D ], 0, qr/^\* \Q$version2->{kid}\E\n +enabled, created [^\n]*, governs\n  \Q$v->{key}{kid}\E\n +disabled, created [^\n]*\n$/, undef, 'versions');
runs([ 'versions', @D, $second->{url} ], 0, qr/^  \Q$second->{kid}\E\n +enabled, created [^\n]*\n$/, undef, 'versions of another key');
runs([ 'versions', @D, 'file:///tmp/x' ], 1, qr/^$/, qr/a key in a file has no versions/, 'versions of a file');
$kv->enable_key('demo', 'kek', version => $v->{key}{version});

runs([ 'set-key', @D, $second->{url} ], 0, qr/^key "\Q$second->{url}\E" governs; state Ready$/, undef, 'set-key on a server that is Ready');
is($node->safe_psql('postgres', 'SELECT key_url FROM cmk.status'), $second->{url}, 'set-key: the new key governs');
ok($node->poll_query_until('postgres', "SELECT current_setting('pg_cmk.key') = '$second->{url}'"), 'set-key: the setting follows');
like(slurp_file($node->data_dir . '/postgresql.auto.conf'), qr/^work_mem = '12345'\npg_cmk\.key = '\Q$second->{url}\E'\n\z/m, 'set-key: other settings stay');
is(join(' ', grep { -e $node->data_dir . "/$_" } qw(pg_cmk/request.json pg_cmk/answer.json postgresql.auto.conf.pg_cmk)), '', 'set-key: nothing is left over');
$kv->vault_down('demo');
$node->stop('fast');
start_vault_node($node, $v);
rows_are_there($node, 'a restart without the old vault');
$kv->vault_up('demo');

# Keys that cannot be used

$before = files_of($node);
my $bad = $kv->create_key('third', 'bad', enabled => JSON::PP::false);
my %refused = (
	'a key that is disabled' => [ $bad->{url}, qr/error: the server refused the key: KeyDisabled: / ],
	'a key that is not there' => [ $third->{url} . 'x', qr/error: the server refused the key: (?:KeyNotFound|ForbiddenByRbac): / ],
	'a host that is not trusted' => [ 'https://vault.example.org/keys/kek', qr/error: the server refused the key: Configuration: / ],
	'a URL with a user name' => [ 'https://x@' . substr($third->{url}, 8), qr/^pg_cmk: error: / ],
	'a URL with a quote and a line break' => [ $third->{url} . "'\nwork_mem = '1", qr/^pg_cmk: error: / ],
	'plain http' => [ 'http' . substr($third->{url}, 5), qr/^pg_cmk: error: / ],
	'an empty URL' => [ '', qr/^pg_cmk: error: / ],
	'a file that is not there' => [ 'file:///nonexistent/kek.pem', qr/^pg_cmk: error: / ],
	'--from' => [ '--from', $second->{url}, $third->{url}, qr/--from is for a stopped server/ ],
	'--set' => [ '-c', 'pg_cmk.identity=environment', $third->{url}, qr/--set is for a stopped server/ ]);
foreach my $what (sort keys %refused)
{
	my (@args) = @{ $refused{$what} };
	my $like = pop @args;

	runs([ 'set-key', @D, @args ], 1, qr/^$/, $like, "set-key with $what");
}
is(files_of($node), $before, 'a refused key leaves both files as they were');
is(status_of($node), 'Ready|', 'and the server Ready');

# Inaccessible

$from = log_position($node);
$pid = postmaster_of($node);
$kv->disable_key('second', 'kek');
ok(wait_state($node, $from, 'Inaccessible', 'KeyDisabled'), 'the key is disabled');
runs([ 'status', @D ], 2, qr/^state: +Inaccessible\nreason: +KeyDisabled$/m, undef, 'status while Inaccessible');
runs([ 'revalidate', @D ], 2, qr/^Inaccessible: KeyDisabled: .+$/, undef, 'revalidate while Inaccessible');
like(denial($node), qr/^57P03/, 'nobody is let in');
runs([ 'set-key', @D, $bad->{url} ], 1, qr/^$/, qr/refused the key: KeyDisabled/, 'set-key to a bad key while Inaccessible');
like(denial($node), qr/^57P03/, 'nobody is let in after that either');
runs([ 'set-key', @D, $third->{url} ], 0, qr/governs; state Ready$/, undef, 'set-key while Inaccessible brings the server back');
is(denial($node), '', 'and lets clients in at once');
rows_are_there($node, 'set-key while Inaccessible');
is(postmaster_of($node), $pid, 'without a restart');
$kv->enable_key('second', 'kek');

set_clocks($node, '5min', '10min');
runs([ 'revalidate', @D ], 0, qr/^Ready$/, undef, 'a long interval');
$kv->disable_key('third', 'kek');
runs([ 'revalidate', @D ], 2, qr/^Inaccessible: KeyDisabled/, undef, 'revalidate sees at once that the key is disabled');
like(denial($node), qr/^57P03/, 'nobody is let in');
$kv->enable_key('third', 'kek');
runs([ 'revalidate', @D ], 0, qr/^Ready$/, undef, 'revalidate sees at once that the key is enabled');
is(denial($node), '', 'and lets clients in at once');
set_clocks($node, '500ms', '8s');

# Starting

$kv->disable_key('third', 'kek');
$node->stop('fast');
start_vault_node($node, $v, 'nowait');
ok(wait_until('clients hear why', sub { hears($node) =~ /KeyDisabled/ }), 'a server waits for its key');
runs([ 'status', @D ], 1, qr/^state: +Starting\nreason: +KeyDisabled$/m, undef, 'status while Starting');
runs([ 'revalidate', @D ], 1, qr/^Starting: KeyDisabled: .+$/, undef, 'revalidate while Starting');
my $fourth = add_vault('fourth');
runs([ 'set-key', @D, '--wait', 30, $fourth->{url} ], 1, qr/^$/, qr/refused the key: .*\n.*recipient/s, 'set-key while Starting: the key must be a recipient');
runs([ 'set-key', @D, $second->{url} ], 0, qr/governs; state (?:Ready|Starting)$/, undef, 'set-key to another recipient while Starting');
ok(wait_until('clients are let in', sub { hears($node) eq '' }), 'opens the server');
$kv->enable_key('third', 'kek');
rows_are_there($node, 'set-key while Starting');

# Locked down: no key is in the server's memory

$node->append_conf('postgresql.conf', "pg_cmk.on_inaccessible = lockdown");
$node->reload;
foreach my $way ('revalidate', 'set-key')
{
	my ($now) = $node->safe_psql('postgres', 'SELECT key_url FROM cmk.status');
	my $key = $now eq $second->{url} ? 'second' : 'third';

	$from = log_position($node);
	$pid  = postmaster_of($node);
	$kv->disable_key($key, 'kek');
	ok(wait_log($node, $from, qr/all server processes terminated; reinitializing/), "$way: the server locks itself down");
	ok(wait_until('clients hear why', sub { hears($node) =~ /KeyDisabled/ }), "$way: nobody is let in");
	runs([ 'status', @D ], 2, qr/^state: +Inaccessible\nreason: +KeyDisabled$/m, undef, "$way: status of a server that is locked down");
	$kv->enable_key($key, 'kek') if $way eq 'revalidate';
	runs($way eq 'revalidate' ? [ 'revalidate', @D ] : [ 'set-key', @D, $third->{url} ], 0, qr/Ready$/, undef, "$way opens it");
	ok(wait_until('clients are let in', sub { hears($node) eq '' }), "$way: clients are let in");
	rows_are_there($node, "$way after lockdown");
	is(postmaster_of($node), $pid, "$way: the postmaster is the same");
	$kv->enable_key($key, 'kek');
}
runs([ 'set-key', @D, $second->{url} ], 0, qr/Ready$/, undef, 'back to the second key');
$node->append_conf('postgresql.conf', "pg_cmk.on_inaccessible = deny");
$node->reload;

# Files that are no requests

sub request_file
{
	return $node->data_dir . '/pg_cmk/request.json';
}

sub put_request
{
	my ($text, $mode) = @_;

	open my $fh, '>', request_file() . '.new' or die $!;
	print $fh $text;
	close $fh;
	chmod $mode // 0600, request_file() . '.new';
	rename request_file() . '.new', request_file() or die $!;
	return;
}

my $request = '{"id": "' . ('0' x 32) . '", "request": "revalidate"}';
my %strange = (
	'one that others may read' => [ qr/others may read or write it/, sub { put_request($request, 0640) } ],
	'a symbolic link' => [ qr/it is a symbolic link/, sub { symlink '/etc/passwd', request_file() or die $! } ],
	'a FIFO' => [ qr/it is no regular file/, sub { POSIX::mkfifo(request_file(), 0600) or die $! } ],
	'an empty one' => [ qr/its size is wrong/, sub { put_request('') } ],
	'a long one' => [ qr/its size is wrong/, sub { put_request(' ' x 5000 . $request) } ],
	'no JSON' => [ qr/it is no request/, sub { put_request("\0\xff{") } ],
	'no id' => [ qr/it is no request/, sub { put_request('{"request": "revalidate"}') } ],
	'an id that is none' => [ qr/it is no request/, sub { put_request('{"id": "../../x", "request": "revalidate"}') } ],
	'the same member twice' => [ qr/it is no request/, sub { put_request('{"id": "' . ('0' x 32) . '", "request": "x", "request": "revalidate"}') } ],
	'a request of another type' => [ qr/it is no request/, sub { put_request('{"id": "' . ('0' x 32) . '", "request": 1}') } ]);
foreach my $what (sort keys %strange)
{
	my ($why, $make) = @{ $strange{$what} };

	$from = log_position($node);
	$make->();
	$node->reload;
	ok(wait_log($node, $from, qr/WARNING:  pg_cmk: file "pg_cmk\/request\.json" is refused: $why/), "a request file: $what: is refused");
	ok(!-l request_file() && !-e request_file(), 'and removed');
}
mkdir request_file() or die $!;
$from = log_position($node);
$node->reload;
ok(wait_log($node, $from, qr/is refused: it is no regular file/), 'a directory is refused');
rmdir request_file() or die $!;
runs([ 'revalidate', @D ], 0, qr/^Ready$/, undef, 'and once it is gone');
$from = log_position($node);
put_request('');
$node->reload;
ok(wait_log($node, $from, qr/is refused: its size is wrong/), 'the next one is told, too');
{
	# Who asks holds this lock.
	open my $lock, '<', $node->data_dir . '/pg_cmk' or die $!;
	flock $lock, LOCK_EX or die $!;
	put_request('{"id": "' . ('0' x 32) . '", "request": "set-key", "url": "' . 'x' x 2000 . '"}');
	$node->reload;
	ok(wait_until('there is an answer', sub { -e $node->data_dir . '/pg_cmk/answer.json' }), 'a request with a URL that is too long is answered');
	is(decode_json(slurp_file($node->data_dir . '/pg_cmk/answer.json'))->{ok} ? 'yes' : 'no', 'no', 'with no');
}
runs([ 'revalidate', @D ], 0, qr/^Ready$/, undef, 'the server goes on');

# No answer

my $worker = key_worker($node);
kill 'STOP', $worker;
runs([ 'revalidate', @D, '--wait', 1 ], 3, qr/^$/, qr/the server has not answered in time\n.*hint: The server has not taken the request, which is withdrawn/s, 'a worker that hangs: revalidate gives up');
ok(!-e request_file(), 'and withdraws the request');
$before = files_of($node);
runs([ 'set-key', @D, '--wait', 1, $third->{url} ], 1, qr/^$/, qr/has not answered in time/, 'so does set-key');
is(files_of($node), $before, 'and changes nothing');
my ($first_out, $first_err) = ('', '');
my $first = IPC::Run::start([ 'pg_cmk', 'revalidate', @D ], '<', \undef, '>', \$first_out, '2>', \$first_err);
ok(wait_until('there is a request', sub { -e request_file() }), 'a command waits');
runs([ 'revalidate', @D ], 3, qr/^$/, qr/another pg_cmk command is at work/, 'another one is refused meanwhile');
kill 'CONT', $worker;
$first->finish;
is($first->result(0) . " $first_out$first_err", "0 Ready\n", 'the first one gets its answer');

# A command that ends before its request is taken

sub wait_for_request
{
	return wait_until('there is a request', sub { -e request_file() });
}

my @set_third = ('pg_cmk', 'set-key', @D, $third->{url});
kill 'STOP', $worker;
$first = IPC::Run::start(\@set_third, '<', \undef, '>', \$first_out, '2>', \$first_err);
wait_for_request();
$first->signal('HUP');
$first->finish;
is($first->result(0), 1, 'a command whose terminal is gone ends');
ok(!-e request_file(), 'and withdraws its request');
$first = IPC::Run::start(\@set_third, '<', \undef, '>', \$first_out, '2>', \$first_err);
wait_for_request();
$from = log_position($node);
$first->signal('KILL');
$first->finish;
ok(-e request_file(), 'one that is killed leaves it');
kill 'CONT', $worker;
ok(wait_log($node, $from, qr/WARNING:  pg_cmk: file "pg_cmk\/request\.json" is refused: nobody waits for the answer/), 'where it is not obeyed');
is($node->safe_psql('postgres', 'SELECT key_url FROM cmk.status'), $second->{url}, 'the key is the same');
$node->stop('fast');
put_request('{"id": "' . ('0' x 32) . '", "request": "set-key", "url": "' . $third->{url} . '"}');
$from = log_position($node);
start_vault_node($node, $v);
ok(wait_log($node, $from, qr/is refused: nobody waits for the answer/), 'nor by a server that is started with it');
is($node->safe_psql('postgres', 'SELECT key_url FROM cmk.status'), $second->{url}, 'the key is the same');

# The copy of a running server whose process is not to be seen

$node->stop('fast');
{
	local %ENV = %ENV;
	$ENV{AZURE_CLIENT_ID}     = $v->{app}{client_id};
	$ENV{AZURE_CLIENT_SECRET} = $v->{app}{client_secret};
	is(system('sh', '-c', 'ulimit -c 0; exec pg_ctl -s -w -D "$1" -l "$2" start', 'sh', $node->data_dir, $node->logfile), 0, 'a server that may not dump core');
	$node->_update_pid(1);
}
runs([ 'status', @D ], 0, qr/^server: +running/, undef, 'it runs');
my $copy = PostgreSQL::Test::Utils::tempdir . '/copy';
is(system('cp', '-a', $node->data_dir, $copy), 0, 'a copy, with postmaster.pid');
($out) = runs([ 'status', '-D', $copy ], 3, qr/^server: +stopped$/m, undef, 'no server runs in it');

# The command line of the server

ok($node->stop('fast'), 'stop');
{
	local %ENV = %ENV;
	$ENV{AZURE_CLIENT_ID}     = $v->{app}{client_id};
	$ENV{AZURE_CLIENT_SECRET} = $v->{app}{client_secret};
	ok(pg_ctl($node, '-w', '-l', $node->logfile, '-o', "-c pg_cmk.key=$second->{url}", 'start'), 'pg_cmk.key on the command line');
	$node->_update_pid(1);
}
runs([ 'set-key', @D, $third->{url} ], 1, qr/^$/, qr/was given on the server's command line.*\n.*hint: Start the server without it/s, 'set-key is refused beforehand');
$node->stop('fast');

# A stopped server

($out) = runs([ 'status', @D ], 3, qr/^server: +stopped$/m, undef, 'status of a stopped server');
like($out, qr/^recipient: +\Q$_\E$/m, "status: recipient $_") foreach $v->{key}{url}, $second->{url}, $third->{url};
runs([ 'revalidate', @D ], 3, qr/^$/, qr/the server is not running/, 'revalidate of a stopped server');
append_to_file($node->data_dir . '/postmaster.pid', "$$\n");
runs([ 'set-key', @D, $bad->{url} ], 1, qr/^$/, qr/KeyDisabled/, "a postmaster.pid that names no server");
unlink $node->data_dir . '/postmaster.pid';

# To a key nobody knows, with another recipient than the one that governs.
$before = files_of($node);
foreach my $what (
	[ 'the governing key is not there', $fourth->{url}, qr/could not open the root key with key .*KeyDisabled/, [] ],
	[ '--from is no recipient', $fourth->{url}, qr/is no recipient/, [ '--from', $fourth->{url} ] ],
	[ 'the new key is disabled', $bad->{url}, qr/cannot use key .*KeyDisabled/, [ '--from', $third->{url} ] ],
	[ 'the settings cannot be read', $third->{url}, qr/could not read the settings.*\n.*detail: .*nonsense/s, [ '-c', 'work_mem=nonsense' ] ])
{
	$kv->disable_key('second', 'kek');
	runs([ 'set-key', @D, @{ $what->[3] }, $what->[1] ], 1, qr/^$/, $what->[2], "set-key of a stopped server: $what->[0]");
}
is(files_of($node), $before, 'both files are as they were');
runs([ 'set-key', @D, '--from', $third->{url}, $fourth->{url} ], 0, qr/^key "\Q$fourth->{url}\E" governs when the server starts$/, undef, 'set-key of a stopped server, opened by another recipient');
$kv->disable_key('third', 'kek');
start_vault_node($node, $v);
rows_are_there($node, 'set-key of a stopped server');
is($node->safe_psql('postgres', 'SELECT key_url FROM cmk.status'), $fourth->{url}, 'the new key governs');
$node->stop('fast');

# What failed halfway, or would: no space beside a root file that cannot be replaced.
$before = files_of($node);
mkdir $node->data_dir . '/pg_cmk/root.json.tmp';
runs([ 'set-key', @D, $v->{key}{url} ], 1, qr/^$/, qr/root\.json/, 'root.json cannot be written');
is(files_of($node), $before, 'both files are as they were');
rmdir $node->data_dir . '/pg_cmk/root.json.tmp';
mkdir $node->data_dir . '/postgresql.auto.conf.pg_cmk';
runs([ 'set-key', @D, $v->{key}{url} ], 1, qr/^$/, qr/postgresql\.auto\.conf/, 'postgresql.auto.conf cannot be written');
is(files_of($node), $before, 'both files are as they were');
rmdir $node->data_dir . '/postgresql.auto.conf.pg_cmk';

# root.json is another one when the command comes back from a slow vault.
my $root_json = $node->data_dir . '/pg_cmk/root.json';
my $root_text = slurp_file($root_json);
$kv->counts(reset => 1);
$kv->fault(match => { op => 'get' }, delay_ms => 3000);
{
	local %ENV = %ENV;
	$ENV{AZURE_CLIENT_ID}     = $v->{app}{client_id};
	$ENV{AZURE_CLIENT_SECRET} = $v->{app}{client_secret};
	($first_out, $first_err) = ('', '');
	$first = IPC::Run::start([ 'pg_cmk', 'set-key', @D, '-c', 'pg_cmk.vault_timeout=30s', $v->{key}{url} ], '<', \undef, '>', \$first_out, '2>', \$first_err);
}
ok(wait_until('the root key was opened', sub { $kv->counts->{unwrap} }), 'a command waits for a slow vault');
append_to_file($root_json, "\n");
$first->finish;
is($first->result(0), 1, 'it does not replace a file that it has not read');
like($first_err, qr/error: file "pg_cmk\/root\.json" was changed meanwhile/, 'and says so');
is(slurp_file($root_json), "$root_text\n", 'the newer file is there');
$kv->clear_faults;
open my $root_fh, '>', $root_json or die $!;
print $root_fh $root_text;
close $root_fh;

# A directory that cannot be synced, since it cannot be opened.
chmod 0300, $node->data_dir or die $!;
runs([ 'set-key', @D, $v->{key}{url} ], 2, qr/^$/, qr/could not fsync directory.*\n.*hint: The key governs when the server starts/, 'the setting cannot be synced');
chmod 0700, $node->data_dir or die $!;
start_vault_node($node, $v);
is($node->safe_psql('postgres', 'SELECT key_url FROM cmk.status'), $v->{key}{url}, 'the key of the setting is a recipient');
rows_are_there($node, 'set-key that could not be synced');
$kv->enable_key($_, 'kek') foreach 'second', 'third';

done_testing();
