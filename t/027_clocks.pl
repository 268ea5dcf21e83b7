
# The promises about time, with the default settings, scaled.
#
# Promised is: a clear no is acted upon within 60 s, a maybe within 10 minutes,
# whatever becomes of the worker, and the return of the key is noticed within 60 s.
# The durations that a server has by default are read from one, divided by FACTOR,
# and set; what is measured must then lie within the promises divided by FACTOR.  A
# default that would break a promise breaks this test.
#
# Only clocks scale.  A request to the test vault, a fork and the scheduler of a
# busy machine take what they take, which is 20 times as much of a scaled promise
# as of the real one.  SLACK allows for that: with it, a promise of 60 s is tested
# as one of 65 s, one of 600 s as one of 605 s.  What was measured is printed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use POSIX ();
use PostgreSQL::Test::BackgroundPsql;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use VaultTest;

use constant FACTOR => 20;
use constant SLACK  => 0.25;

# In seconds, of a server with default settings.
use constant { NO => 60, MAYBE => 600, RETURN => 60 };

my @durations = map { "pg_cmk.$_" } qw(revalidate_interval grace_period debug_deadline vault_timeout);
my %scaled;

# A server whose durations are the defaults, and then the scaled defaults.
sub clock_node
{
	my ($name, $v) = @_;
	my $node = new_vault_node($name, $v, start => 0);

	$node->adjust_conf('postgresql.conf', $_, undef) foreach @durations;
	start_vault_node($node, $v);
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_cmk');
	foreach my $name (@durations)
	{
		my $ms = $node->safe_psql('postgres', "SELECT 1000 * extract(epoch FROM current_setting('$name')::interval)::float8");
		my $boot = $node->safe_psql('postgres', "SELECT boot_val FROM pg_settings WHERE name = '$name'");

		BAIL_OUT("$name is $ms by default, and boot_val says $boot") if $boot ne '' && $boot != $ms;
		$scaled{$name} = $ms / FACTOR;
		$node->append_conf('postgresql.conf', "$name = " . int($ms / FACTOR) . 'ms');
	}
	$node->reload;
	wait_until('the settings', sub { $node->safe_psql('postgres', 'SHOW pg_cmk.grace_period') ne '5min' });
	return $node;
}

sub within
{
	my ($took, $promise, $name) = @_;
	my $most = $promise / FACTOR + SLACK;

	ok(defined $took && $took <= $most,
		sprintf('%s: %s of %.2f s', $name, defined $took ? sprintf('%.2f', $took) : 'never', $promise / FACTOR));
	return;
}

# The worst moment for a change is right after a look at the key.
sub after_a_look
{
	my ($session) = @_;
	my $query  = 'SELECT next_validation FROM cmk.status';
	my $before = $session->query_safe($query);

	wait_until('a look', sub { usleep(10_000); $session->query_safe($query) ne $before });
	return;
}

# How long until the log says that state, from now on.
sub how_long
{
	my ($node, $change, $state) = @_;
	my $from  = log_position($node);
	my $start = time;

	$change->();
	wait_state($node, $from, $state);
	my $end = logged_at($node, $from, "pg_cmk: state is $state\\b");
	return defined $end ? $end - $start : undef;
}

my $v    = new_vault();
my $kv   = $v->{kv};
my $node = clock_node('main', $v);
my $session = $node->background_psql('postgres', on_error_stop => 0);
my @grants  = ('demo', $v->{id}, [qw(get wrapKey unwrapKey)]);

is($scaled{'pg_cmk.debug_deadline'} * FACTOR, MAYBE * 1000, 'the hard deadline is what was promised');

# A maybe, and workers that cannot tell.  These take half a minute, in which a child
# process looks after them and notes when each denied a connection first.

my $v2   = new_vault();
my %slow = map { $_ => clock_node($_, $v2) } 'silent', 'stopped', 'ended', 'killed';
my %began = map { $_ => log_position($slow{$_}) } keys %slow;
my %state = map { $_ => $slow{$_}->background_psql('postgres', on_error_stop => 0) } 'stopped', 'ended';
my $stopped = key_worker($slow{stopped});
my $notes = $node->basedir . '/denied';

kill 'STOP', $stopped;
$v2->{kv}->pause;
my $start = time;
my %last_yes = map { $_ => $state{$_}->query_safe('SELECT extract(epoch FROM last_validated) FROM cmk.status') } keys %state;

sub look_after
{
	my %open = %slow;

	open my $fh, '>', $notes or return 1;
	$fh->autoflush(1);
	while (%open && time < $start + MAYBE / FACTOR + 10)
	{
		foreach my $name (keys %open)
		{
			my $worker = $name eq 'ended' || $name eq 'killed' ? key_worker($open{$name}) : undef;

			# Asked before: right after it the server says that it recovers.
			my $heard = hears($open{$name});

			kill $name eq 'ended' ? 'TERM' : 'KILL', $worker if $worker;
			next unless $heard =~ /customer-managed key/;
			printf $fh "%s %.3f\n", $name, time - $start;
			delete $open{$name};
		}
		usleep(100_000);
	}
	return 0;
}

my $child = fork // BAIL_OUT("fork: $!");
if ($child == 0)
{
	POSIX::_exit(eval { look_after() } // 1);
}

# A clear no, and its end

my %cases = (
	'a no' => [ sub { $kv->disable_key('demo', 'kek') }, sub { $kv->enable_key('demo', 'kek') } ],
	'a no that wants a second look' => [ sub { $kv->revoke('demo', $v->{id}) }, sub { $kv->grant(@grants) } ]);

sub no_and_return
{
	my ($name, $comes, $goes) = @_;

	after_a_look($session);
	within(how_long($node, $comes, 'Inaccessible'), NO, $name);
	like(denial($node), qr/^57P03 /, "$name: new connections are denied");
	# retries slow down
	after_a_look($session) foreach 1 .. 3;
	within(how_long($node, $goes, 'Ready'), RETURN, "$name: the return");
	return;
}

foreach my $name (sort keys %cases)
{
	no_and_return($name, @{ $cases{$name} });
}

# The same after a row of failures, when retries are slow, and a service that asks
# for an hour of silence.
$kv->fault(match => { op => 'get' }, status => 429, retry_after => 3600);
my $from = log_position($node);
wait_state($node, $from, 'Degraded', 'Throttled');
after_a_look($session);
within(how_long($node, sub { $kv->clear_faults }, 'Ready'), RETURN, 'throttled, with Retry-After: the return');
$from = log_position($node);
$kv->fault(match => { op => 'get' }, status => 503);
wait_state($node, $from, 'Degraded', 'ServerError');
after_a_look($session) foreach 1 .. 3;
within(
	how_long($node, sub { $kv->clear_faults; $kv->revoke('demo', $v->{id}) }, 'Inaccessible'),
	NO, 'a no that wants a second look, after a row of failures');
$kv->grant(@grants);
wait_state($node, $from, 'Ready');
$session->quit;

# What became of the others

waitpid $child, 0;
is($?, 0, 'the others were looked after');
my %denied = map { split / / } split /\n/, slurp_file($notes);
within($denied{silent}, MAYBE, 'a vault that says nothing: denied');
cmp_ok($denied{silent}, '>=', $scaled{'pg_cmk.grace_period'} / 1000 - SLACK, 'and not before the grace period');
my ($first_maybe, $closed) = map { logged_at($slow{silent}, $began{silent}, "pg_cmk: state is $_\\b") } 'Degraded', 'Inaccessible';
note(sprintf('the log: Degraded after %.2f s, Inaccessible after %.2f s', $first_maybe - $start, $closed - $start));
within($denied{stopped}, MAYBE, 'a worker that is stopped: denied by the clock of the gate');
within($denied{ended}, MAYBE, 'a worker that is ended whenever it is started: denied by the clock of the gate');
foreach my $name ('stopped', 'ended')
{
	my $open = $start + $denied{$name} - $last_yes{$name};
	cmp_ok($open, '>=', MAYBE / FACTOR, sprintf('%s: not before the deadline: %.2f s after the last success', $name, $open));
}
within($denied{killed}, MAYBE, 'a worker that is killed whenever it is started: denied');

$_->quit foreach values %state;
within(how_long($slow{silent}, sub { $v2->{kv}->resume }, 'Ready'), RETURN, 'a vault that speaks again: the return');
is(hears($slow{silent}), '', 'and connections are accepted');
kill 'CONT', $stopped;
foreach my $name ('stopped', 'ended', 'killed')
{
	ok(wait_until('the gate opens', sub { hears($slow{$name}) eq '' }), "a worker that is left alone ($name): connections are accepted");
}

$_->stop('fast') foreach $node, values %slow;
done_testing();
