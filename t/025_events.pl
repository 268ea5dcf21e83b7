
# What operators are told: pg_cmk/events and cmk.events, pg_cmk.event_command,
# pg_cmk/status.json, and the queries and alert rules of docs/monitoring.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use Cwd qw(getcwd);
use File::Basename qw(basename dirname);
use JSON::PP;
use PostgreSQL::Test::BackgroundPsql;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use VaultTest;

my $v  = new_vault();
my $kv = $v->{kv};
my $dir = PostgreSQL::Test::Utils::tempdir('command');
my $command = "$dir/record";

# Appends what it was given and what it finds, in one write.  Files in its directory
# tell it to hang, to hang whatever it is told, or to fail.
sub write_command
{
	my ($file) = @_;

	open my $fh, '>', $file or die "$file: $!";
	print $fh "#!$^X\n", sprintf("my \$dir = '%s';\n", $dir), <<'END';
use strict;
use warnings;
use JSON::PP;
my %fd;
opendir my $dh, "/proc/$$/fd" or die;
foreach my $n (grep { /^\d+$/ } readdir $dh)
{
	my $to = readlink("/proc/$$/fd/$n") // next;
	$fd{$n} = $to unless $to eq $0 || $to eq "/proc/$$/fd";
}
my %status = do { open my $s, '<', '/proc/self/status' or die; map { /^(\w+):\s+(.*)/ ? ($1, $2) : () } <$s> };
my $line = encode_json({
	argv => \@ARGV, env => \%ENV, fd => \%fd, ppid => getppid, pid => $$, group => getpgrp,
	blocked => $status{SigBlk}, ignored => $status{SigIgn} }) . "\n";
print STDERR "a word from the event command\n";
open my $out, '>>', "$dir/calls" or die;
if (-e "$dir/hang")
{
	$SIG{TERM} = 'IGNORE' if -e "$dir/stubborn";
	my $child = fork;
	syswrite $out, $line if $child;
	sleep 1 while -e "$dir/hang";
	exit;
}
syswrite $out, $line;
exit 3 if -e "$dir/fail";
END
	close $fh;
	chmod 0755, $file or die;
	return;
}
write_command($command);

sub touch { open my $fh, '>', "$dir/$_" or die foreach @_; return }
sub calls
{
	my @lines = -e "$dir/calls" ? split(/\n/, slurp_file("$dir/calls")) : ();

	# In the order of the events: two commands may run at once.
	return sort { $a->{argv}[2] cmp $b->{argv}[2] } map { decode_json($_) } @lines;
}
sub told { return map { "$_->{argv}[0]/$_->{argv}[1]" } @_ }

sub wait_calls
{
	my ($n) = @_;

	wait_until("there are $n calls", sub { scalar(calls()) >= $n });
	return calls();
}
sub is_alive { return kill(0, $_[0]) && slurp_file("/proc/$_[0]/stat") !~ /\) [ZX] / }

my $node;
{
	# What a command must not get is there to be got.
	local $ENV{LD_PRELOAD}   = 'libm.so.6';
	local $ENV{OTHER_SECRET} = 'mind-your-own';
	$node = new_vault_node('main', $v, conf => "restart_after_crash = on\n");
}
my $events = $node->data_dir . '/pg_cmk/events';
my $status = $node->data_dir . '/pg_cmk/status.json';
my $from;

sub set_conf
{
	my (@lines) = @_;

	$node->append_conf('postgresql.conf', join "\n", @lines);
	$node->reload;
	return;
}

# One change away from Ready and back, each seen in the log.
sub away_and_back
{
	my $from = log_position($node);

	$kv->disable_key('demo', 'kek');
	ok(wait_state($node, $from, 'Inaccessible', 'KeyDisabled'), 'the key is gone');
	$from = log_position($node);
	$kv->enable_key('demo', 'kek');
	ok(wait_state($node, $from, 'Ready'), 'the key is back');
	ok(wait_until('open', sub { denial($node) eq '' }), 'connections are accepted');
	return;
}

sub event_rows
{
	my ($where) = @_;
	return $node->safe_psql('postgres',
		"SELECT event, state, coalesce(reason, '') FROM cmk.events WHERE " . ($where // 'true'));
}

# The file and the view

is(event_rows(), "worker started|Starting|\nroot created|Starting|\nstate|Ready|", 'a first start is three events');
is((stat $events)[2] & 07777, 0600, 'the file is for its owner alone');
away_and_back();
like(event_rows(), qr/\nstate\|Inaccessible\|KeyDisabled\nstate\|Ready\|$/, 'changes of state, the newest last');
is($node->safe_psql('postgres',
		"SELECT count(*) FROM cmk.events WHERE time NOT BETWEEN now() - interval '1 hour' AND now() OR key_url IS DISTINCT FROM '$v->{key}{url}'"),
	0, 'with time and key');
isnt($node->safe_psql('postgres', "SELECT request_id FROM cmk.events WHERE reason = 'KeyDisabled'"), '', 'and the id of the request');
is($node->safe_psql('postgres', 'SELECT bool_and(time >= coalesce(lag, time)) FROM (SELECT time, lag(time) OVER () FROM cmk.events) x'),
	't', 'in order of time');
is(scalar(calls()), 0, 'no command is set, none was run');

# Who may read

$node->safe_psql('postgres', 'CREATE ROLE nobody LOGIN; CREATE ROLE watcher LOGIN IN ROLE pg_monitor');
sub psql_as
{
	my ($role, $sql) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', $role ]);
	return $ret == 0 ? $out : $err;
}
like(psql_as('nobody', 'SELECT * FROM cmk.events'), qr/permission denied/, 'events are not for everybody');
like(psql_as('nobody', 'SELECT * FROM cmk.get_events()'), qr/permission denied/, 'nor by the function');
is(psql_as('watcher', 'SELECT count(*) > 0 FROM cmk.events'), 't', 'but for pg_monitor');
like(psql_as('nobody', 'SHOW pg_cmk.event_command'), qr/must be superuser|permission denied/, 'the command is not for everybody');

# The setting

foreach my $bad ('relative/path', '../x', "/a\nb")
{
	my ($ret, $out, $err) = $node->psql('postgres', "ALTER SYSTEM SET pg_cmk.event_command = E'" . ($bad =~ s/\n/\\n/r) . "'");
	like($err, qr/invalid value for parameter "pg_cmk.event_command"/, 'refused: ' . ($bad =~ s/\n/\\n/r));
}

# The command

set_conf("pg_cmk.event_command = '$command'");
away_and_back();
my @calls = wait_calls(2);
is_deeply([ told(@calls) ], [ 'Inaccessible/KeyDisabled', 'Ready/' ], 'run on each change of state');
is(scalar(grep { @{ $_->{argv} } != 3 } @calls), 0, 'with three arguments');
foreach my $call (@calls)
{
	my ($state, $reason, $time) = @{ $call->{argv} };

	like($time, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/, "$state: a time");
	is($node->safe_psql('postgres', "SELECT state FROM cmk.events WHERE event = 'state' AND time = '$time'"),
		$state, "$state: that of the event");
	is(join(' ', grep { /^(?:AZURE|LD_|PG_CMK|OTHER)/ || $call->{env}{$_} =~ /\Q$v->{app}{client_secret}\E|mind-your-own/ } sort keys %{ $call->{env} }),
		'', "$state: nothing secret and no preload in the environment");
	ok($call->{env}{PATH}, "$state: but a PATH");
	is(join(' ', sort keys %{ $call->{fd} }), '0 1 2', "$state: three descriptors");
	is($call->{fd}{0}, '/dev/null', "$state: no input");
	is($call->{group}, $call->{pid}, "$state: a process group of its own");
	is(hex $call->{blocked}, 0, "$state: no signal is blocked");
	# Perl ignores SIGFPE by itself, and the C library those two that are its own.
	is(substr($call->{ignored}, 8) =~ s/80000080$/00000000/r, '0' x 8, "$state: none is ignored");
}
my ($pm) = server_pids($node);
my $environ = slurp_file("/proc/$pm/environ");
like($environ, qr/mind-your-own/, 'the server had what the command did not get');
like(slurp_file($node->logfile), qr/^a word from the event command$/m, 'what it says is in the log');

# What a vault says does not reach it.

my $n = @calls;
my $hostile = "\$(touch $dir/pwned) `touch $dir/pwned`; touch $dir/pwned '\" \n\x1b[31m\xe4";
$from = log_position($node);
$kv->fault(status => 403, code => $hostile, message => $hostile, inner => $hostile, headers => { 'x-ms-request-id' => '$(id)' }, match => { op => 'get' });
ok(wait_state($node, $from, 'Inaccessible'), 'a vault that says such things');
$kv->clear_faults;
ok(wait_state($node, $from, 'Ready'), 'and is well again');
ok(wait_until('open', sub { denial($node) eq '' }), 'connections are accepted');
ok(wait_until('the command was told Ready', sub { my @c = calls(); @c > $n && $c[-1]{argv}[0] eq 'Ready' }), 'the command was run');
@calls = calls();
is(scalar(grep { $_->{argv}[0] !~ /^\w+$/ || $_->{argv}[1] !~ /^\w*$/ || $_->{argv}[2] !~ /^[\dT:.Z-]+$/ } @calls),
	0, 'with names and a time alone');
ok(scalar(grep { $_->{argv}[0] eq 'Inaccessible' } @calls[ $n .. $#calls ]), 'Inaccessible among them');
ok(!-e "$dir/pwned", 'no shell saw what the vault said');
unlike(slurp_file($events), qr/[^\x20-\x7e\n]/, 'the file of events is printable ASCII');
my $secret = $v->{app}{client_secret};
unlike(slurp_file($_), qr/\Q$secret\E|eyJ[\w-]{20}/, "no secret in $_") foreach $events, $status, "$dir/calls";

# Not run when empty

set_conf("pg_cmk.event_command = ''");
$n = calls();
away_and_back();
touch('fail');
set_conf("pg_cmk.event_command = '$command'");
$from = log_position($node);
away_and_back();
@calls = wait_calls($n + 2);
is(scalar(@calls), $n + 2, 'not run while it was empty');
ok(wait_log($node, $from, qr/LOG:  pg_cmk: event command failed for state Ready\n.*DETAIL:  It exited with status 3\./), 'a failure is logged');
unlink "$dir/fail";

set_conf("pg_cmk.event_command = '$dir/missing'");
$from = log_position($node);
away_and_back();
ok(wait_log($node, $from, qr/WARNING:  pg_cmk: event command failed for state Inaccessible\n.*DETAIL:  "\Q$dir\E\/missing" could not be run: No such file/),
	'a program that is not there is warned of');

# One that hangs

touch('hang');
set_conf("pg_cmk.event_command = '$command'");
$n = calls();
$from = log_position($node);
my $session = $node->background_psql('postgres', on_error_stop => 0);
$kv->disable_key('demo', 'kek');
is($session->query_safe('SELECT cmk.revalidate()'), 'Inaccessible', 'the state changes');
@calls = wait_calls($n + 1);
my $hung = $calls[-1]{pid};
foreach (1 .. 3)
{
	is($session->query_safe('SELECT cmk.revalidate()'), 'Inaccessible', 'the key is looked at while a command hangs');
}
$kv->enable_key('demo', 'kek');
is($session->query_safe('SELECT cmk.revalidate()'), 'Ready', 'and comes back');
ok(is_alive($hung), 'it hangs still');
foreach my $i (1 .. 4)
{
	$kv->disable_key('demo', 'kek');
	$session->query_safe('SELECT cmk.revalidate()');
	$kv->enable_key('demo', 'kek');
	is($session->query_safe('SELECT cmk.revalidate()'), 'Ready', "and again ($i)");
}
like(log_since($node, $from), qr/LOG:  pg_cmk: event command failed for state \w+\n.*DETAIL:  "\Q$command\E" was not run, because 8 of it still run\./,
	'no more than eight run at once');
@calls = wait_calls($n + 8);
my @pids = map { $_->{pid} } @calls[ $n .. $#calls ];
is(scalar(@pids), 8, 'eight run');
my @children = map { split ' ', slurp_file("/proc/$_/task/$_/children") } @pids;
is(scalar(@children), 8, 'each with a child');
$from = log_position($node);
set_conf('pg_cmk.debug_event_timeout = 500ms');
ok(wait_log($node, $from, qr/event command failed for state Inaccessible\n.*DETAIL:  It ran longer than 500 ms and was killed\./), 'what takes too long is killed');
ok(wait_until('all are gone', sub { !grep { is_alive($_) } @pids, @children }), 'with its children');
is($session->query_safe('SELECT cmk.revalidate()'), 'Ready', 'the worker lives on');
set_conf('pg_cmk.debug_event_timeout = 60s');

# A shutdown does not wait for it, and does not leave it.
touch('stubborn');
$n = calls();
$kv->disable_key('demo', 'kek');
$session->query_safe('SELECT cmk.revalidate()');
@calls = wait_calls($n + 1);
$hung = $calls[-1]{pid};
$kv->enable_key('demo', 'kek');
$session->query_safe('SELECT cmk.revalidate()');
$session->quit;
$node->stop('fast');
ok(!is_alive($hung), 'one that does not want to end is ended with the worker');
unlink "$dir/hang", "$dir/stubborn";
my $last = decode_json(slurp_file($status));
is("$last->{state} $last->{worker}", 'Ready stopped', 'status.json of a stopped server says so');

# Across restart and crash

my $kept = slurp_file($events);
like($kept, qr/"worker stopped"[^\n]*\n\z/, 'the end of the worker is an event');
start_vault_node($node, $v);
is(index(slurp_file($events), $kept), 0, 'events are kept across a restart');
$kept = slurp_file($events);
$from = log_position($node);
kill 'KILL', key_worker($node);
ok(wait_log($node, $from, qr/all server processes terminated; reinitializing/), 'a crash');
ok(wait_until('open', sub { denial($node) eq '' }), 'is over');
is(index(slurp_file($events), $kept), 0, 'events are kept across a crash');
like(substr(slurp_file($events), length $kept), qr/^\{[^\n]*"worker started"/, 'new ones are appended');
$node->stop('immediate');

# Damage

my @lines = split /(?<=\n)/, slurp_file($events);
my $whole = @lines;
$lines[2] =~ s/"state":"Ready"/"state":Ready/ or die;
my $torn = substr $lines[0], 0, 60;
open my $fh, '>', $events or die;
print $fh @lines, $torn;
close $fh;
$from = log_position($node);
start_vault_node($node, $v);
ok(wait_log($node, $from, qr/pg_cmk: cut off an unfinished line of 60 bytes at the end of file "pg_cmk\/events"/), 'a torn line is cut off');
my ($ret, $out, $err) = $node->psql('postgres', 'SELECT count(*) FROM cmk.events');
is($ret, 0, 'a damaged line is no error');
cmp_ok($out, '>=', $whole, 'the others are there');
like($err, qr/WARNING:  1 damaged line of file "pg_cmk\/events" is left out/, 'one warning');
@lines = split /(?<=\n)/, slurp_file($events);
open $fh, '>>', $events or die;
print $fh $torn;
close $fh;
unlike(($node->psql('postgres', 'SELECT count(*) FROM cmk.events'))[2], qr/WARNING:  2/, 'an unfinished line is none yet');

# A full file

$node->stop('fast');
open $fh, '>', $events or die;
my $good = $lines[0];
print $fh $good x (1024 * 1024 / length($good) + 1);
close $fh;
my $full = (-s $events) / length($good);
start_vault_node($node, $v);
cmp_ok(-s $events, '<', 10000, 'a full file makes room');
is(-s "$events.1", $full * length($good), 'it becomes the older one');
is((split /\n/, event_rows())[-1], 'state|Ready|', 'the newer after the older');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM cmk.events'), '>', $full, 'all of it');

# What cannot be written

$node->stop('fast');
unlink $events, "$events.1", $status or die;
mkdir $events or die;
mkdir $status or die;
$from = log_position($node);
start_vault_node($node, $v);
away_and_back();
foreach my $what ('open file "pg_cmk/events"', 'rename file "pg_cmk/status.json"')
{
	my @n = log_since($node, $from) =~ /LOG:  pg_cmk: could not \Q$what\E: /g;
	is(scalar(@n), 1, "could not $what: logged once, and the server goes on");
}
rmdir $events or die;
rmdir $status or die;
$from = log_position($node);
away_and_back();
like(log_since($node, $from), qr/file "pg_cmk\/events" is written again/, 'until it can be written again');
like(log_since($node, $from), qr/file "pg_cmk\/status.json" is written again/, 'as can the other');

# The status file

sub status_file { return decode_json(slurp_file($status)) }
is((stat $status)[2] & 07777, 0600, 'status.json is for its owner alone');
my $st = status_file();
is($st->{pid}, (server_pids($node))[0], 'it names the server');
is($st->{worker}, 'running', 'and says that somebody keeps it');
my %columns = map { split /\|/ } split /\n/, $node->safe_psql('postgres',
	q{SELECT key || '|' || value FROM cmk.status, json_each_text(to_json(status)) WHERE value IS NOT NULL});
foreach my $column (sort keys %columns)
{
	ok(defined $st->{$column}, "it has $column");
	like($st->{$column}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/, "$column is a time")
	  if $column =~ /^(?:since|last_validated|next_validation)$/;
	is($st->{$column}, $columns{$column}, "$column is that of cmk.status")
	  if $column =~ /^(?:state|key_url|key_version|identity|scope|root_id|relations_sealed)$/;
}
ok(wait_until('it is rewritten', sub { status_file()->{written_at} gt $st->{written_at} }), 'it is rewritten after each look');
$from = log_position($node);
$kv->disable_key('demo', 'kek');
ok(wait_state($node, $from, 'Inaccessible'), 'while nobody can connect');
ok(wait_until('the file says so', sub { my $s = status_file(); "$s->{state} $s->{reason}" eq 'Inaccessible KeyDisabled' && $s->{message} ne '' && $s->{request_id} ne '' }),
	'it says why');
$kv->enable_key('demo', 'kek');
ok(wait_state($node, $from, 'Ready'), 'the key is back');
ok(wait_until('open', sub { denial($node) eq '' }), 'connections are accepted');

# The queries and the alerts of the documentation

my $doc = "$FindBin::RealBin/../docs/monitoring";
my (%query, %usage, $name, $column, $in_query);
foreach (split /\n/, slurp_file("$doc/queries.yaml"))
{
	next if /^#/ || /^\s*$/;
	if (/^(\w+):$/) { ($name, $in_query) = ($1, 0) }
	elsif (/^  query: \|$/) { $in_query = 1 }
	elsif (/^  \w/) { $in_query = 0 }
	elsif ($in_query) { $query{$name} .= "$_\n" }
	elsif (/^    - (\w+):$/) { $column = $1 }
	elsif (/^        usage: (\w+)$/) { $usage{$name}{$column} = $1 }
	elsif (!/^        description: \S/) { fail("queries.yaml: $_") }
}
my %metric = (pg_up => 1);
cmp_ok(scalar(keys %query), '>=', 4, 'queries.yaml was read');
foreach my $q (sort keys %query)
{
	my $rows = psql_as('watcher', "SELECT coalesce(json_agg(q), '[]') FROM ($query{$q}) q");
	my @rows = @{ decode_json($rows) };

	ok(scalar(@rows), "$q gives rows to pg_monitor");
	foreach my $row (@rows)
	{
		is_deeply([ sort keys %$row ], [ sort keys %{ $usage{$q} } ], "$q: the columns that the file names");
		foreach my $c (grep { $usage{$q}{$_} ne 'LABEL' } keys %$row)
		{
			like($row->{$c}, qr/^-?[\d.]+$/, "$q: $c is a number");
		}
	}
	$metric{"${q}_$_"} = 1 foreach grep { $usage{$q}{$_} ne 'LABEL' } keys %{ $usage{$q} };
	is(join(' ', grep { !/^(?:LABEL|GAUGE|COUNTER)$/ } values %{ $usage{$q} }), '', "$q: usages that there are");
}
$metric{$_} = 1 foreach slurp_file("$doc/textfile-collector") =~ /^# TYPE (\w+) /mg;
my @exprs = slurp_file("$doc/alerts.yaml") =~ /^\s+expr: (.*)$/mg;
cmp_ok(scalar(@exprs), '>=', 5, 'alerts.yaml was read');
foreach my $expr (@exprs)
{
	my @used = $expr =~ /\b(pg_\w+)/g;

	ok(@used && !(grep { !$metric{$_} } @used), "there are such metrics: $expr");
}
my $prom = "$dir/pg_cmk.prom";
is(system('sh', "$doc/textfile-collector", $node->data_dir, $prom), 0, 'textfile-collector runs');
is(slurp_file($prom) =~ /^(?!#)(.*)$/m ? $1 : '', 'pg_cmk_command_status 0', 'and says that the key is Ready');
my ($watched) = $query{pg_cmk_events} =~ /ARRAY\[(.*?)\]/s;
like($watched, qr/'$_'/, "the event of an alert is counted: $_") foreach map { /event="([^"]+)"/ ? $1 : () } @exprs;

# Where the server was started does not matter to the command.

$node->stop('fast');
{
	my $cwd = getcwd();
	local %ENV = %ENV;

	$ENV{AZURE_CLIENT_ID}     = $v->{app}{client_id};
	$ENV{AZURE_CLIENT_SECRET} = $v->{app}{client_secret};
	chdir dirname($node->data_dir) or die $!;
	ok(pg_ctl($node, '-w', '-l', $node->logfile, '-D', basename($node->data_dir), 'start'), 'a server that is started in a relative directory');
	$node->_update_pid(1);
	chdir $cwd or die $!;
}
$n = calls();
set_conf("pg_cmk.event_command = '$command'");
away_and_back();
@calls = wait_calls($n + 1);
my $pgdata = $calls[-1]{env}{PGDATA};
like($pgdata, qr/^\//, 'the command is told the absolute one');
is((stat "$pgdata/PG_VERSION")[1], (stat $node->data_dir . '/PG_VERSION')[1], 'which is the right one');

$node->stop('fast');
done_testing();
