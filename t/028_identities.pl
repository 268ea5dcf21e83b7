
# Servers that are somebody: each kind of identity, out of a server's environment.
#
# The client's own tests have every answer of a token endpoint.  Here real servers
# start with what an operator would set, lose their identity, close with the
# reason that belongs to it, and come back; and what they were started with must
# not be found in their processes.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::BackgroundPsql;
use PostgreSQL::Test::Utils;
use Test::More;
use VaultTest;

my $v    = new_vault();
my $kv   = $v->{kv};
my $app  = $v->{app};
my $id   = $v->{id};
my $dir  = PostgreSQL::Test::Utils::tempdir('credentials');
my $node = new_vault_node('main', $v);

# A token for each validation.
$kv->token_lifetime(1);
$node->append_conf('postgresql.conf', 'pg_cmk.grace_period = 2min');
$node->safe_psql('postgres', 'CREATE TABLE t USING cmk_heap AS SELECT generate_series(1, 100) i');

sub write_file
{
	my ($name, $text, $mode) = @_;
	my $path = "$dir/$name";

	# as whoever rotates it does: never half of it
	open my $fh, '>', "$path.new" or die "$path.new: $!";
	print $fh $text;
	close $fh;
	chmod $mode, "$path.new";
	rename "$path.new", $path or die "$path: $!";
	return $path;
}

# Starts the server with these settings and this environment.
sub start_as
{
	my ($settings, $env, $nowait) = @_;
	local %ENV = %ENV;

	$node->stop('fast', fail_ok => 1);
	delete @ENV{ grep { /^(AZURE_|IDENTITY_|IMDS_|PG_CMK_)/ } keys %ENV };
	$ENV{$_} = $env->{$_} foreach keys %$env;
	foreach my $name ('identity', 'client_id')
	{
		$node->adjust_conf('postgresql.conf', "pg_cmk.$name", undef);
		$node->append_conf('postgresql.conf', "pg_cmk.$name = '$settings->{$name}'") if defined $settings->{$name};
	}
	if ($nowait)
	{
		pg_ctl($node, '-W', '-l', $node->logfile, 'start');
		wait_until('there is a postmaster', sub { -s $node->data_dir . '/postmaster.pid' });
		$node->_update_pid(1);
	}
	else
	{
		$node->start;
	}
	return;
}

sub is_ready_as
{
	my ($identity, $name) = @_;

	is($node->safe_psql('postgres', 'SELECT cmk.revalidate(), (SELECT identity FROM cmk.status), (SELECT count(*) FROM t)'),
		"Ready|$identity|100", "$name: Ready");
	return;
}

# The identity is taken away, and given back.
sub lost_and_found
{
	my ($name, $reason, $comes, $goes) = @_;
	my $from = log_position($node);

	$comes->();
	ok(wait_state($node, $from, 'Inaccessible', $reason), "$name: Inaccessible, $reason");
	like(denial($node), qr/^57P03 /, "$name: and closed");
	$from = log_position($node);
	$goes->();
	ok(wait_state($node, $from, 'Ready'), "$name: Ready when it is back");
	is(denial($node), '', "$name: and open");
	return;
}

# The server waits at its start, with this reason and these words, until it is
# made right.
sub refused_at_start
{
	my ($name, $settings, $env, $reason, $words, $goes) = @_;
	my $from = log_position($node);

	start_as($settings, $env, 'nowait');
	ok(wait_state($node, $from, 'Starting', $reason), "$name: $reason");
	like(log_since($node, $from), $words, "$name: and the log says why");
	like(hears($node), qr/Waiting for the customer-managed key: $reason\./, "$name: and a client hears it");
	$from = log_position($node);
	$goes->();
	ok(wait_log($node, $from, qr/database system is ready to accept connections/), "$name: made right, it starts");
	return;
}

# None of these texts is in a process or in the log.
sub not_found
{
	my ($name, %secrets) = @_;
	my $found = '';
	my @pids  = server_pids($node);

	foreach my $what (sort keys %secrets)
	{
		foreach my $pid (@pids)
		{
			foreach my $file ('environ', 'cmdline')
			{
				open my $fh, '<', "/proc/$pid/$file" or next;
				my $text = do { local $/; <$fh> } // '';
				$found .= " $what in $file of $pid;" if index($text, $secrets{$what}) >= 0;
			}
		}
		$found .= " $what in the log;" if index(slurp_file($node->logfile), $secrets{$what}) >= 0;
	}
	is($found, '', "$name: no secret in the processes and the log");
	cmp_ok(scalar @pids, '>=', 5, "$name: processes were looked at");
	return;
}

# clientsecret

start_as({ identity => 'clientsecret' }, { AZURE_CLIENT_ID => $id, AZURE_CLIENT_SECRET => $app->{client_secret} });
is_ready_as('clientsecret', 'a secret');
not_found('a secret', secret => $app->{client_secret});
my $path = write_file('secret', "$app->{client_secret}\n", 0600);
start_as({ identity => 'clientsecret', client_id => $id }, { AZURE_CLIENT_SECRET_FILE => $path });
is_ready_as('clientsecret', 'a secret in a file');
not_found('a secret in a file', secret => $app->{client_secret});
my $second = $kv->add_secret($id, secret => 'another-Secret_0123456789~');
lost_and_found(
	'a secret that was replaced', 'CredentialRefused',
	sub { $kv->remove_secrets($id); $kv->add_secret($id, secret => 'another-Secret_0123456789~') },
	sub { write_file('secret', 'another-Secret_0123456789~', 0600) });
$kv->add_secret($id, secret => $app->{client_secret});

# clientcertificate

my $pem = "$dir/certificate.pem";
system("umask 077; openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=test -days 2 -keyout '$pem' -out '$dir/crt' 2>/dev/null && cat '$dir/crt' >>'$pem'") == 0
  or BAIL_OUT('openssl req');
$kv->add_certificate($id, slurp_file("$dir/crt"));
my @certificate = ({ identity => 'clientcertificate', client_id => $id }, { AZURE_CLIENT_CERTIFICATE_PATH => $pem });
start_as(@certificate);
is_ready_as('clientcertificate', 'a certificate');
lost_and_found(
	'a certificate', 'CredentialRefused',
	sub { $kv->remove_certificates($id) },
	sub { $kv->add_certificate($id, slurp_file("$dir/crt")) });
chmod 0644, $pem;
refused_at_start('a certificate that others can read', @certificate, 'Configuration', qr/group or world access/, sub { chmod 0600, $pem });
is_ready_as('clientcertificate', 'a certificate that was hidden again');
system('openssl', 'pkey', '-in', $pem, '-aes256', '-passout', 'pass:Pass-Word_0815', '-out', "$dir/locked.pem") == 0 or BAIL_OUT('openssl pkey');
write_file('locked.pem', slurp_file("$dir/locked.pem") . slurp_file("$dir/crt"), 0600);
start_as(
	{ identity => 'clientcertificate', client_id => $id },
	{ AZURE_CLIENT_CERTIFICATE_PATH => "$dir/locked.pem", AZURE_CLIENT_CERTIFICATE_PASSWORD => 'Pass-Word_0815' });
is_ready_as('clientcertificate', 'a certificate with a password');
not_found('a certificate with a password', password => 'Pass-Word_0815');

# workloadidentity

my $token = sub { $kv->federated_token('pod', @_)->{token} };
$kv->add_federated($id, 'pod');
my $first = $token->();
$path = write_file('federated', $first, 0600);
start_as({ identity => 'workloadidentity' }, { AZURE_CLIENT_ID => $id, AZURE_FEDERATED_TOKEN_FILE => $path });
is_ready_as('workloadidentity', 'a federated token');
my $from = log_position($node);
write_file('federated', $kv->federated_token('other')->{token}, 0600);
ok(wait_state($node, $from, 'Inaccessible', 'CredentialRefused'), 'the file of the token is read while the server runs');
write_file('federated', $token->(), 0600);
ok(wait_state($node, $from, 'Ready'), 'a token that was rotated');
lost_and_found(
	'a federation', 'CredentialRefused',
	sub { $kv->remove_federated($id) },
	sub { $kv->add_federated($id, 'pod') });
not_found('a federated token', token => $first);

# managedidentity

my %managed = map { $_ => $kv->create_identity($_) } 'system', 'user';
$kv->grant('demo', $managed{$_}{client_id}, [qw(get wrapKey unwrapKey)]) foreach keys %managed;
my $service = $kv->fact('app_service');
my $arc     = $kv->fact('arc');
my %imds    = (AZURE_POD_IDENTITY_AUTHORITY_HOST => $kv->fact('imds_url'));
my %app_service = (IDENTITY_ENDPOINT => $service->{endpoint}, IDENTITY_HEADER => $service->{header});
my %arc = (IDENTITY_ENDPOINT => $arc->{endpoint}, IMDS_ENDPOINT => $arc->{imds_endpoint}, PG_CMK_ARC_TOKEN_DIR => $arc->{token_dir});

foreach my $case (
	[ 'IMDS, system-assigned', 'system', 'imds', \%imds ],
	[ 'IMDS, user-assigned', 'user', 'imds', \%imds ],
	[ 'App Service, user-assigned', 'user', 'appservice', \%app_service ],
	[ 'Arc', 'system', 'arc', \%arc ])
{
	my ($name, $kind, $op, $env) = @$case;
	my $client = $managed{$kind}{client_id};
	# IMDS gives the only one if none is asked for
	my ($other) = grep { $_ ne $kind } keys %managed;

	$kv->counts(reset => 1);
	start_as({ identity => 'managedidentity', client_id => $kind eq 'user' ? $client : undef }, $env);
	is_ready_as('managedidentity', $name);
	cmp_ok($kv->counts->{$op} // 0, '>', 0, "$name: its token came from there");
	$kv->remove_identity($managed{$other}{client_id});
	lost_and_found(
		"$name, removed", 'IdentityGone',
		sub { $kv->remove_identity($client) },
		sub { $kv->restore_identity($client) });
	$kv->restore_identity($managed{$other}{client_id});
	not_found($name, header => $service->{header}) if $op eq 'appservice';
}

# default: the first that is configured, and no other when that one is refused

my %all = (%imds, AZURE_CLIENT_ID => $id, AZURE_FEDERATED_TOKEN_FILE => $path, AZURE_CLIENT_CERTIFICATE_PATH => $pem);
start_as({}, { %all, AZURE_CLIENT_SECRET => $app->{client_secret} });
is_ready_as('clientsecret', 'default: the secret');
$kv->counts(reset => 1);
$from = log_position($node);
my $session = $node->background_psql('postgres', on_error_stop => 0);
$kv->remove_secrets($id);
ok(wait_state($node, $from, 'Inaccessible', 'CredentialRefused'), 'default: a secret that is refused closes the server');
# several looks later, and after a reload, it has still asked as nobody else
$node->reload;
is($session->query_safe('SELECT cmk.revalidate()'), 'Inaccessible', 'default: a reload does not open it') foreach 1, 2;
is($session->query_safe('SELECT identity FROM cmk.status'), 'clientsecret', 'default: it stays with its choice');
is($kv->counts->{imds} // 0, 0, 'default: and asks for no other token');
$session->quit;
refused_at_start(
	'default, started anew', {}, { %all, AZURE_CLIENT_SECRET => $app->{client_secret} }, 'CredentialRefused', qr/AADSTS7000215/,
	sub { $kv->add_secret($id, secret => $app->{client_secret}) });
start_as({}, \%all);
is_ready_as('clientcertificate', 'default: without a secret the certificate');
delete $all{AZURE_CLIENT_CERTIFICATE_PATH};
start_as({}, \%all);
is_ready_as('workloadidentity', 'default: then the federated token');
start_as({}, \%imds);
is_ready_as('managedidentity', 'default: then the managed identity');

is(join(' ', secrets_left($node, 'another-Secret_0123456789~', 'Pass-Word_0815', $service->{header}, $first)), '',
	'nothing of what the server was started with is in its files');
$node->stop('fast');
done_testing();
