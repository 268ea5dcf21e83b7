#!/usr/bin/perl
#
# KeyVault.pm: a server starts, each method finds its counterpart, types survive
# the way through JSON, and nothing is left running.
#
#	perl selftest.pl

use strict;
use warnings;

use File::Temp qw(tempdir);
use FindBin;
use IO::Socket::INET;
use JSON::PP;
use Test::More;

use lib $FindBin::RealBin;
use KeyVault;

my $tmp = tempdir(CLEANUP => 1);

sub accepts
{
	my ($port) = @_;

	return defined IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port", Timeout => 10);
}

my $kv = KeyVault->start("$tmp/a");
my $port = $kv->fact('port');

ok(accepts($port), 'the vault listens');
ok(-e $kv->fact('ca_file'), 'its CA is there');
eval { $kv->fact('nosuch') };
like($@, qr/no such fact/, 'an unknown fact');

my $app = $kv->create_app;
is($app->{tenant_id}, $kv->fact('tenant_id'), 'an application in the tenant');
my $vault = $kv->create_vault('demo', purge_protection => 0, retention_days => "7");
is($vault->{url}, "https://demo.vault.localhost:$port", 'a vault');
$kv->grant('demo', $app->{client_id}, [qw(get wrapKey)]);

my $key = $kv->create_key('demo', 'kek', size => "2048", tags => { of => 'test' });
is($key->{url}, "$vault->{url}/keys/kek", 'a key');
is($key->{attributes}{recoveryLevel}, 'CustomizedRecoverable+Purgeable', 'numbers and booleans arrive');

ok(!$kv->disable_key('demo', 'kek')->{attributes}{enabled}, 'disabled');
ok($kv->enable_key('demo', 'kek')->{attributes}{enabled}, 'enabled');
is($kv->set_key('demo', 'kek', exp => "2000000000")->{attributes}{exp}, 2000000000, 'exp');
ok(!exists $kv->set_key('demo', 'kek', exp => undef)->{attributes}{exp}, 'undef takes it away');

my $second = $kv->rotate_key('demo', 'kek');
isnt($second->{version}, $key->{version}, 'rotated');
$kv->disable_key('demo', 'kek', version => $key->{version});
ok(!$kv->get_key('demo', 'kek', version => $key->{version})->{attributes}{enabled}, 'one version disabled');
ok($kv->get_key('demo', 'kek')->{attributes}{enabled}, 'the other not');
$kv->disable_key('demo', 'kek');
ok(!$kv->get_key('demo', 'kek', version => $_)->{attributes}{enabled}, "all are: $_")
  for $key->{version}, $second->{version};

my $wrapped = $kv->use_key('demo', 'kek', 'wrapKey', 'AAECAw');
$kv->enable_key('demo', 'kek');
is($kv->use_key('demo', 'kek', 'unwrapKey', $wrapped->{value})->{value}, 'AAECAw', 'wrapped and unwrapped');

$kv->delete_key('demo', 'kek');
eval { $kv->get_key('demo', 'kek') };
like($@, qr/^key\.get: .* was not found in this key vault/, 'an error says what the vault says');
$kv->recover_key('demo', 'kek');
is($kv->get_key('demo', 'kek')->{kid}, $second->{kid}, 'recovered');

$kv->fault(match => { op => 'get', vault => 'demo' }, status => "429", hang => 0, count => 2);
my ($fault) = @{ $kv->faults };
is_deeply([ $fault->{status}, $fault->{count}, $fault->{met} ], [ 429, 2, 0 ], 'a fault');
$kv->clear_faults;
is_deeply($kv->faults, [], 'cleared');
$kv->firewall('demo', $_) for 'firewall', undef;
is($kv->counts->{unwrap}, 0, 'control is not counted');
is_deeply($kv->request_log, [], 'nor logged');

my $own = $kv->create_vault('own', own_port => 1);
ok(accepts($own->{port}), 'a port of its own');
$kv->vault_down('own');
ok(!accepts($own->{port}), 'closed');
$kv->vault_up('own');
ok(accepts($own->{port}), 'open again');

# Every method reaches the server: with nothing given it may only miss something.
for my $name (sort keys %{ KeyVault::methods() })
{
	next if $name =~ /^(disconnect|certificate)$/;
	eval { $kv->$name };
	unlike($@, qr/no such method/, "$name is known to the server");
}

my $other = KeyVault->start("$tmp/b");
my $other_port = $other->fact('port');
undef $other;
ok(!accepts($other_port), 'ends with its object');
ok(accepts($port), 'and that one alone');

# A process that is killed has no time to tidy up.
my $pid = fork;
if ($pid == 0)
{
	my $theirs = KeyVault->start("$tmp/c");

	kill 'KILL', $$;
}
waitpid $pid, 0;
my $orphan = "$tmp/c/ready.json";
for (1 .. 1500)
{
	last unless -e $orphan;
	select(undef, undef, undef, 0.02);
}
ok(!-e $orphan, 'ends when who started it is killed');

$kv->pause;
$kv->stop;
ok(!accepts($port), 'stops, even if paused');

done_testing();
