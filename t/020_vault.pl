
# What happens to the key, and what the server does.
#
# Each cause is brought about in the test vault while pgbench writes to sealed
# tables.  The server must close with the reason that belongs to it, tell a
# session that was there before, deny a new one, and come back by itself when the
# cause is gone: a clear no at once, one that may be propagation after a second
# look, and a maybe after the grace period.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::BackgroundPsql;
use PostgreSQL::Test::Utils;
use Test::More;
use VaultTest;

use constant GRACE => 1.5;

my $v    = new_vault();
my $kv   = $v->{kv};
my $id   = $v->{id};
my $node = new_vault_node('main', $v, checksums => 1);

is(status_of($node), 'Ready|', 'a new cluster with a key in a vault is Ready');
is($node->safe_psql('postgres', 'SELECT identity, key_version FROM cmk.status'),
	"clientsecret|$v->{key}{kid}", 'with the identity and key version in use');

# Tokens that are renewed at every validation: what happens to the identity is
# seen at the next.
$kv->token_lifetime(1);
$node->reload;

$node->safe_psql(
	'postgres', q{
	CREATE TABLE account (id int PRIMARY KEY, balance int) USING cmk_heap;
	CREATE TABLE history (id int, v text) USING cmk_heap;
	INSERT INTO account SELECT i, 0 FROM generate_series(1, 1000) i;
	CREATE TABLE go_on ()});

# pgbench ends when a client's first statement fails, before it has written.
my $script = $node->basedir . '/writes.sql';
append_to_file($script, q{
SELECT FROM go_on;
\set id random(1, 1000)
BEGIN;
UPDATE account SET balance = balance + 1 WHERE id = :id;
INSERT INTO history VALUES (:id, repeat('row ', 20));
END;
});
my ($bench_out, $bench_err) = ('', '');
my $bench = IPC::Run::start(
	[
		'pgbench', '-n', '-c', '2', '-R', '50', '-T', '3600', '-f', $script,
		'-h', $node->host, '-p', $node->port, 'postgres'
	],
	'<', \undef, '>', \$bench_out, '2>', \$bench_err);
my $session = $node->background_psql('postgres', on_error_stop => 0);

sub written
{
	return $session->query_safe('SELECT count(*) FROM history');
}
ok(wait_until('pgbench writes', sub { written() > 0 }), 'pgbench runs');

sub forbid
{
	my ($inner, %match) = @_;

	return sub { $kv->fault(match => {%match}, status => 403, inner => $inner) };
}

my $clear = sub { $kv->clear_faults };
my $now   = time;

# name => [ kind, reason, how it comes, how it goes ]
my @causes = (
	'key disabled' => [
		'no', 'KeyDisabled',
		sub { $kv->disable_key('demo', 'kek') },
		sub { $kv->enable_key('demo', 'kek') }
	],
	'key expired' => [
		'no', 'KeyExpired',
		sub { $kv->set_key('demo', 'kek', exp => $now - 86400, all => 1) },
		sub { $kv->set_key('demo', 'kek', exp => undef, all => 1) }
	],
	'key not yet valid' => [
		'no', 'KeyNotYetValid',
		sub { $kv->set_key('demo', 'kek', nbf => $now + 86400, all => 1) },
		sub { $kv->set_key('demo', 'kek', nbf => undef, all => 1) }
	],
	'operation taken from the key' => [
		'no', 'KeyOperationForbidden',
		sub { $kv->set_key('demo', 'kek', key_ops => ['wrapKey'], all => 1) },
		sub { $kv->set_key('demo', 'kek', key_ops => undef, all => 1) }
	],
	'key disabled, which only unwrapKey shows' =>
	  [ 'no', 'KeyDisabled', forbid('KeyDisabled', op => 'unwrap'), $clear ],
	'key deleted' => [
		'confirm', 'KeyNotFound',
		sub { $kv->delete_key('demo', 'kek') },
		sub { $kv->recover_key('demo', 'kek') }
	],
	'key version gone' => [
		'confirm', 'KeyNotFound',
		sub { $kv->fault(match => { op => [ 'unwrap', 'wrap' ] }, status => 404) }, $clear
	],
	(map {
		my $permission = $_;
		"role without $permission" => [
			'confirm', 'ForbiddenByRbac',
			sub { $kv->revoke('demo', $id, [$permission]) },
			sub { $kv->grant('demo', $id, [$permission]) }
		]
	  } qw(get wrapKey unwrapKey)),
	'no access policy' => [
		'confirm', 'ForbiddenByPolicy',
		sub { $kv->revoke('demo', $id); $kv->set_vault('demo', rbac => 0) },
		sub {
			$kv->set_vault('demo', rbac => 1);
			$kv->grant('demo', $id, [qw(get wrapKey unwrapKey)]);
		}
	],
	'firewall' => [
		'confirm', 'ForbiddenByFirewall',
		sub { $kv->firewall('demo', 'firewall') },
		sub { $kv->firewall('demo', undef) }
	],
	'private link' => [
		'confirm', 'ForbiddenByFirewall',
		sub { $kv->firewall('demo', 'connection') },
		sub { $kv->firewall('demo', undef) }
	],
	(map {
		my $code = $_;
		"vault or tenant moved ($code)" => [
			'confirm', 'WrongTenant',
			sub { $kv->fault(match => { op => 'get' }, status => 401, message => "$code: no") }, $clear
		]
	  } qw(AKV10022 AKV10032)),
	'application deleted' => [
		'confirm', 'IdentityGone',
		sub { $kv->set_app($id, deleted => 1) },
		sub { $kv->set_app($id, deleted => 0) }
	],
	'application disabled' => [
		'confirm', 'IdentityGone',
		sub { $kv->set_app($id, disabled => 1) },
		sub { $kv->set_app($id, disabled => 0) }
	],
	'tenant gone' => [
		'confirm', 'IdentityGone',
		sub { $kv->fault(match => { op => 'token' }, aadsts => 90002) }, $clear
	],
	'secret removed' => [
		'confirm', 'CredentialRefused',
		sub { $kv->remove_secrets($id) },
		sub { $kv->add_secret($id, secret => $v->{app}{client_secret}) }
	],
	'secret expired' => [
		'confirm', 'CredentialRefused',
		sub { $kv->expire_secrets($id) },
		sub {
			$kv->remove_secrets($id);
			$kv->add_secret($id, secret => $v->{app}{client_secret});
		}
	],

	'403 with an unknown code' =>
	  [ 'maybe', 'Forbidden', forbid('ForbiddenByMoon', op => 'get'), $clear ],
	'another 401' => [
		'maybe', 'Unauthorized',
		sub { $kv->fault(match => { op => 'get' }, status => 401, message => 'no') }, $clear
	],
	'another AADSTS' => [
		'maybe', 'TokenRefused',
		sub { $kv->fault(match => { op => 'token' }, aadsts => 50196) }, $clear
	],
	'throttled' => [
		'maybe', 'Throttled',
		sub { $kv->fault(match => { op => 'wrap' }, status => 429, retry_after => 60) }, $clear
	],
	'503' => [
		'maybe', 'ServerError',
		sub { $kv->fault(match => { op => 'get' }, status => 503) }, $clear
	],
	'vault down' => [
		'maybe', 'ConnectionFailed',
		sub { $kv->vault_down('demo') },
		sub { $kv->vault_up('demo') }
	],
	'vault deleted' => [
		'maybe', 'ConnectionFailed',
		sub { $kv->delete_vault('demo') },
		sub {
			$kv->vault_up('demo');
			$kv->grant('demo', $id, [qw(get wrapKey unwrapKey)]);
		}
	],
	'token endpoint not resolved' => [
		'maybe',
		'NameNotResolved',
		sub { $node->append_conf('postgresql.conf', "pg_cmk.authority_host = 'https://login.invalid'"); $node->reload },
		sub {
			$node->append_conf('postgresql.conf',
				"pg_cmk.authority_host = '" . $kv->fact('authority_host') . "'");
			$node->reload;
		}
	],
	'request hangs' => [
		'maybe', 'Timeout',
		sub { $kv->fault(match => { op => 'unwrap' }, hang => 1) }, $clear
	],
	'vault hangs' => [ 'maybe', 'Timeout', sub { $kv->pause }, sub { $kv->resume } ],
	(map {
		my $variant = $_;
		"TLS: $variant" => [
			'maybe', 'TlsFailed',
			sub { $kv->certificate($variant) },
			sub { $kv->certificate('good') }
		]
	  } qw(wrong-ca expired)),
	'redirect' => [
		'maybe', 'Redirect',
		sub { $kv->fault(match => { op => 'get' }, redirect => 'https://other.vault.localhost/') }, $clear
	],
	(map {
		my ($what, @fault) = @$_;
		"$what answer" => [
			'maybe', 'MalformedAnswer',
			sub { $kv->fault(match => { op => 'get' }, @fault) }, $clear
		]
	  } ([ 'truncated', truncate => 20 ], [ 'oversized', oversize => 70000 ], [ 'garbage', garbage => 300 ],
		 [ 'another key\'s', patch => { key => { kid => "$v->{key}{url}x/0123456789abcdef0123456789abcdef" } } ],
		 [ 'incomplete', patch => { attributes => { enabled => undef } } ])),
	'canary opens to something else' => [
		'maybe', 'WrongValue',
		sub { $kv->fault(match => { op => 'unwrap' }, patch => { value => 'A' x 43 }) }, $clear
	],
	'challenge names another resource' => [
		'maybe',
		'ChallengeRefused',
		sub {
			$kv->set_vault('demo', challenge => { resource => 'https://evil.example' });
			$node->reload;
		},
		sub { $kv->set_vault('demo', challenge => {}) }
	],
	'challenge names another tenant' => [
		'maybe',
		'ChallengeRefused',
		sub {
			$kv->set_vault('demo', challenge => { authorization =>
				$kv->fact('authority_host') . '/11111111-2222-3333-4444-555555555555' });
			$node->reload;
		},
		sub { $kv->set_vault('demo', challenge => {}) }
	],
);

# The states that a kind of cause goes through: a second look may come at once.
my %way = (
	no      => qr/^Inaccessible$/,
	confirm => qr/^Degraded Inaccessible$/,
	maybe   => qr/^Degraded Inaccessible$/);

sub one_cause
{
	my ($name, $kind, $reason, $comes, $goes) = @_;
	my $from   = log_position($node);
	my $before = written();

	$comes->();
	ok(wait_state($node, $from, 'Inaccessible', $reason), "$name: Inaccessible, $reason");
	my @states = states_since($node, $from);
	my @names  = map { $_->[0] } @states;
	my $way    = join ' ', grep { defined } map { $_ && $names[$_] eq $names[ $_ - 1 ] ? undef : $names[$_] } 0 .. $#names;
	like($way, $way{$kind}, "$name: the way there");
	if ($kind eq 'maybe')
	{
		my $took = $states[-1][2] - $states[0][2];

		$took += 86400 if $took < 0;
		cmp_ok($took, '>=', GRACE - 0.05, "$name: not before the grace period");
	}
	like(status_of($session), qr/^Inaccessible\|(?:$reason)$/, "$name: in cmk.status");
	like(
		denial($node),
		qr/^57P03 .*FATAL:  the customer-managed key of this server is inaccessible\nDETAIL:  Inaccessible since .*: (?:$reason)\.\nHINT:  The server accepts connections again by itself/s,
		"$name: a new connection is denied");
	ok(wait_until('pgbench goes on', sub { written() > $before }), "$name: sessions go on");

	$from = log_position($node);
	$goes->();
	ok(wait_state($node, $from, 'Ready'), "$name: Ready again when it is over");
	is(denial($node), '', "$name: and open");
	return;
}

while (my ($name, $cause) = splice @causes, 0, 2)
{
	one_cause($name, @$cause);
}

# One 403 or 404 may be propagation: nobody is shut out.
foreach my $case (
	[ 'one 403', status => 403, inner => 'ForbiddenByRbac' ],
	[ 'one 404', status => 404 ])
{
	my ($name, @fault) = @$case;
	my $from = log_position($node);

	$kv->fault(match => { op => 'wrap' }, count => 1, @fault);
	ok(wait_state($node, $from, 'Ready'), "$name: passes");
	is(join(' ', map { $_->[0] } states_since($node, $from)), 'Degraded Ready', "$name: and does not close the server");
	$kv->clear_faults;
}

$node->safe_psql('postgres', 'DROP TABLE go_on');
$bench->finish;
my ($processed) = $bench_out =~ /transactions actually processed: (\d+)/;
cmp_ok($processed // 0, '>', 100, 'pgbench wrote throughout');
is($node->safe_psql('postgres', 'SELECT count(*), (SELECT sum(balance) FROM account) FROM history'),
	"$processed|$processed", 'and no row was lost');
$session->quit;

# A key that was purged does not come back, but the server can be stopped.
my $from = log_position($node);
$kv->delete_key('demo', 'kek');
$kv->purge_key('demo', 'kek');
ok(wait_state($node, $from, 'Inaccessible', 'KeyNotFound'), 'key purged');
ok(pg_ctl($node, '-m', 'fast', 'stop'), 'a server whose key is gone stops');
$node->_update_pid(0);

done_testing();
