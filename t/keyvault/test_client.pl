#!/usr/bin/perl
#
# The vault client (src/vault) against the test vault: what it asks, what it
# believes, whom it tells its secrets, and how long it takes.
#
#	make -C t/unit check-vault
#
# or perl t/keyvault/test_client.pl DRIVER, with the program made of test_client.c.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use Errno ();
use File::Temp qw(tempdir);
use IPC::Open2;
use JSON::PP;
use Test::More;

use KeyVault;

my $driver = shift or die "usage: test_client.pl DRIVER\n";
my $tmp = tempdir(CLEANUP => 1);
my $kv = KeyVault->start("$tmp/kv");
my $app = $kv->create_app;
my $id = $app->{client_id};

$SIG{PIPE} = 'IGNORE';
$kv->create_vault('demo', purge_protection => 1);
$kv->grant('demo', $id, [qw(get wrapKey unwrapKey)]);
my $key = $kv->create_key('demo', 'kek');
my ($url, $kid) = ($key->{url}, $key->{kid});
my $plain = '00112233445566778899aabbccddeeff' x 2;

# A client.  %opt: options of the driver, env => { … } beside the usual ones.
sub client
{
	my (%opt) = @_;
	my $env = delete $opt{env} // { AZURE_CLIENT_SECRET => $app->{client_secret} };
	my %args = (
		identity => 'clientsecret', client_id => $id,
		tenant_id => $kv->fact('tenant_id'), authority_host => $kv->fact('authority_host'),
		dns_suffixes => $kv->fact('dns_suffixes'), ca_file => $kv->fact('ca_file'),
		timeout_ms => 5000, deadline_ms => 20000, %opt);
	my ($out, $in);

	local @ENV{ grep { /^(AZURE_|IDENTITY_|IMDS_|PG_CMK_)|proxy$/i } keys %ENV };
	delete @ENV{ grep { /^(AZURE_|IDENTITY_|IMDS_|PG_CMK_)|proxy$/i } keys %ENV };
	local @ENV{ keys %$env } = values %$env;
	my $pid = open2($out, $in, $driver,
		map { "$_=$args{$_}" } grep { defined $args{$_} } sort keys %args);
	my $self = bless { pid => $pid, out => $out, in => $in }, 'Client';
	$self->{hello} = decode_json(scalar readline $out);
	return $self;
}

sub Client::do
{
	my ($self, @words) = @_;

	print { $self->{in} } "@words\n";
	$self->{in}->flush;
	my $line = readline $self->{out};
	return defined $line ? main::decode_json($line) : { rc => -2, reason => 'the client died' };
}

sub Client::DESTROY
{
	my ($self) = @_;

	local $?;
	close $self->{in};
	close $self->{out};
	waitpid $self->{pid}, 0;
	main::is($?, 0, 'the client ends well') if $?;
	return;
}

# The reason, or what else came of it.
sub reason_is
{
	my ($answer, $reason, $name) = @_;

	is($answer->{reason} // 'none', $reason, $name)
	  or diag(explain($answer));
	if ($reason ne '')
	{
		unlike("@{$answer}{qw(message detail hint)}",
			qr/eyJ|\Q$app->{client_secret}\E/, "$name: no secret in the message");
		like($answer->{detail}, qr/Request id: \Q$answer->{request_id}\E$/,
			"$name: the request id is in the detail")
		  if $answer->{request_id} ne '' && $answer->{status} >= 400;
	}
	return;
}

sub wrapped
{
	my ($c, $under) = @_;

	return $c->do('wrap', $under // $kid, $plain)->{value};
}

subtest 'get, wrap, unwrap' => sub {
	my $c = client();
	my $a = $c->do('get', $url);

	$kv->counts(reset => 1);
	reason_is($a, '', 'versionless get');
	is($a->{kid}, $kid, 'kid with version');
	is($a->{bits}, 2048, 'bits');
	ok($a->{enabled} && $a->{server_time} > 1e9, 'attributes and date');
	reason_is($c->do('check', $kid, 1), '', 'meets every requirement');
	my $w = $c->do('wrap', $kid, $plain);
	reason_is($w, '', 'wrap');
	is($w->{kid}, $kid, 'wrapped by that version');
	is(length $w->{value}, 512, 'as long as the modulus');
	my $u = $c->do('unwrap', $kid, $w->{value});
	reason_is($u, '', 'unwrap');
	is($u->{value}, $plain, 'what was wrapped');
	is($c->{identity} // $u->{identity}, 'clientsecret', 'identity');

	my $counts = $c->do('counts');
	is_deeply([ @$counts{qw(get wrap unwrap token)} ], [ 3, 1, 1, 1 ],
		'one challenge, one token, then one request each');
	is($kv->counts->{connections}, 0, 'on one connection');
	reason_is($c->do('unwrap', $kid, 'ab' x 256), 'WrongValue', 'a value that it never wrapped');
	is($c->do('unwrap', $kid, 'ab' x 256)->{verdict}, 'maybe', 'is a maybe');
};

subtest 'keys of all sizes, and of a managed HSM' => sub {
	$kv->create_vault('hsm', type => 'hsm', purge_protection => 1);
	$kv->grant('hsm', $id, [qw(get wrapKey unwrapKey)]);
	my @keys = (
		$kv->create_key('demo', 'k3', size => 3072),
		$kv->create_key('demo', 'k4', size => 4096),
		$kv->create_key('hsm', 'h2'));
	my $c = client();

	for my $k (@keys)
	{
		reason_is($c->do('check', $k->{url}, 1), '', "$k->{kid} is good");
		is($c->do('unwrap', $k->{kid}, wrapped($c, $k->{kid}))->{value}, $plain, 'there and back');
	}
	my $ec = $kv->create_key('demo', 'ec', kty => 'EC', crv => 'P-256', key_ops => ['sign']);
	reason_is($c->do('check', $ec->{url}, 0), 'KeyUnsuitable', 'an EC key');
};

# The clock of the vault moves on, so that each version has a time of its own.
sub versions_of
{
	my ($vault, $name, $n) = @_;
	my @keys = ($kv->create_key($vault, $name));

	for my $i (1 .. $n - 1)
	{
		$kv->clock_offset($i * 10);
		push @keys, $kv->rotate_key($vault, $name);
	}
	$kv->clock_offset(0);
	return reverse map { $_->{kid} } @keys;
}

subtest 'the versions of a key' => sub {
	my $c = client();

	$kv->create_vault('many', page_size => 2, purge_protection => 1);
	$kv->grant('many', $id, [qw(get list)]);
	my @kids = versions_of('many', 'kek', 5);
	my $base = $kids[0] =~ s{/[^/]+$}{}r;
	my ($old) = $kids[4] =~ m{([^/]+)$};

	$kv->set_key('many', 'kek', version => $old, enabled => JSON::PP::false, exp => 2e9, nbf => 1e9);
	my $a = $c->do('versions', $base, 10);
	reason_is($a, '', 'listed');
	is_deeply([ map { $_->{kid} } @{ $a->{versions} } ], \@kids, 'newest first');
	is($c->do('counts')->{list}, 4, 'a challenge and three pages');
	is_deeply([ map { $_->{enabled} ? 1 : 0 } @{ $a->{versions} } ], [ 1, 1, 1, 1, 0 ], 'enabled or not');
	is_deeply([ @{ $a->{versions}[4] }{qw(nbf exp)} ], [ 1e9, 2e9 ], 'with their dates');
	is_deeply([ @{ $a->{versions}[0] }{qw(nbf exp)} ], [ 0, 0 ], 'or without');
	is_deeply([ map { $_->{kid} } @{ $c->do('versions', $kids[2], 3)->{versions} } ], [ @kids[ 0 .. 2 ] ],
		'the newest three, though the URL has a version');
	reason_is($c->do('versions', "$base-other", 3), 'KeyNotFound', 'of no key');
	$kv->revoke('many', $id, [qw(get list)]);
	my $denied = $c->do('versions', $base, 3);
	reason_is($denied, 'ForbiddenByRbac', 'without the right to list');
	like($denied->{message}, qr/could not list the versions of key "\Q$base\E"/, 'and it says what could not be done');
	is(@{ $denied->{versions} }, 0, 'nothing is given');
	$kv->grant('many', $id, [qw(get list)]);
};

subtest 'where the next page is' => sub {
	my $port = $kv->fact('port');
	my $stranger = $kv->create_vault('stranger', own_port => 1);
	my ($many) = $kv->create_key('many', 'two')->{url} =~ m{^(https://[^/]+)/};

	for my $next ("$stranger->{url}/keys/two/versions?api-version=7.6", "https://demo.vault.localhost:$port/keys/two/versions",
		"$many\@demo.vault.localhost:$port/keys/two/versions", "https://many.vault.localhost:1/keys/two/versions",
		"http://many.vault.localhost:$port/keys/two/versions", "$many/secrets/two/versions", '/keys/two/versions', 5)
	{
		my $c = client();

		$kv->fault(match => { op => 'versions' }, count => 1, patch => { nextLink => $next });
		$kv->counts(reset => 1);
		my $a = $c->do('versions', "$many/keys/two", 5);
		reason_is($a, 'MalformedAnswer', "the next page at $next");
		is(@{ $a->{versions} }, 0, 'nothing is given');
		is($c->do('counts')->{list}, 2, 'a challenge and a page');
		my $counts = $kv->counts;
		is(($counts->{challenge} // 0) + ($counts->{versions} // 0), 2, 'nobody else was asked');
		$kv->clear_faults;
	}
	my $c = client();
	$kv->fault(match => { op => 'versions' }, patch => { nextLink => "$many/keys/two/versions?api-version=7.6" });
	my $a = $c->do('versions', "$many/keys/two", 5);
	reason_is($a, 'MalformedAnswer', 'pages without end');
	like($a->{detail}, qr/more than 100 pages/, 'are left');
	$kv->clear_faults;
	$kv->fault(match => { op => 'versions' }, count => 1, skip => 0, truncate => 20);
	reason_is($c->do('versions', "$many/keys/two", 5), 'MalformedAnswer', 'a page that is cut off');
	$kv->clear_faults;
	reason_is($c->do('versions', "$many/keys/two", 5), '', 'all is well again');
};

subtest 'wrapped here, unwrapped there' => sub {
	my $c = client();

	for my $k ($key, $kv->create_key('demo', 'p3', size => 3072), $kv->create_key('demo', 'p4', size => 4096))
	{
		my $w = $c->do('keywrap', $k->{url}, $plain);
		is($w->{rc}, 0, "under the public key of $k->{kid}");
		is($w->{alg}, 'RSA-OAEP-256', 'algorithm');
		is($c->do('unwrap', $k->{kid}, $w->{value})->{value}, $plain, 'the vault unwraps it');

		open my $fh, '>', "$tmp/public.pem" or die;
		print $fh $k->{public_key};
		close $fh;
		my $before = $c->do('counts');
		$w = $c->do('pemwrap', "$tmp/public.pem", $plain);
		is_deeply([ @{ $c->do('counts') }{qw(get wrap token)} ], [ @$before{qw(get wrap token)} ], 'nobody was asked');
		is($c->do('unwrap', $k->{kid}, $w->{value})->{value}, $plain, 'nor is a PEM text any other key');
	}
};

subtest 'the state of the key' => sub {
	my $c = client();
	my $value = wrapped($c);

	$kv->disable_key('demo', 'kek');
	reason_is($c->do('check', $url, 0), 'KeyDisabled', 'disabled, as GET shows it');
	reason_is($c->do('unwrap', $kid, $value), 'KeyDisabled', 'disabled, as unwrap says it');
	$kv->enable_key('demo', 'kek');
	is($c->do('unwrap', $kid, $value)->{value}, $plain, 'enabled again');

	$kv->set_key('demo', 'kek', exp => time - 1000);
	reason_is($c->do('check', $url, 0), 'KeyExpired', 'expired');
	reason_is($c->do('wrap', $kid, $plain), 'Forbidden', 'wrap with an expired key');
	$kv->set_key('demo', 'kek', exp => time + 86400 * 10);
	ok($c->do('check', $url, 0)->{expires_soon}, 'expires soon');
	$kv->set_key('demo', 'kek', exp => undef, nbf => time + 1000);
	reason_is($c->do('check', $url, 0), 'KeyNotYetValid', 'not yet valid');
	$kv->set_key('demo', 'kek', nbf => undef, key_ops => ['wrapKey']);
	reason_is($c->do('check', $url, 0), 'KeyOperationForbidden', 'key_ops, as GET shows them');
	reason_is($c->do('unwrap', $kid, $value), 'KeyOperationForbidden', 'key_ops, as unwrap says it');
	$kv->set_key('demo', 'kek', key_ops => undef);

	$kv->delete_key('demo', 'kek');
	my $a = $c->do('get', $url);
	reason_is($a, 'KeyNotFound', 'deleted');
	ok($a->{confirm} && $a->{verdict} eq 'no', 'a clear no, to be confirmed');
	reason_is($c->do('unwrap', $kid, $value), 'KeyNotFound', 'unwrap with a deleted key');
	$kv->recover_key('demo', 'kek');
	is($c->do('unwrap', $kid, $value)->{value}, $plain, 'recovered');

	my $new = $kv->rotate_key('demo', 'kek');
	is($c->do('get', $url)->{kid}, $new->{kid}, 'rotation is followed without a version');
	is($c->do('get', $kid)->{kid}, $kid, 'and not with one');
	is($c->do('unwrap', $kid, $value)->{value}, $plain, 'the old version still opens');
	reason_is($c->do('unwrap', $new->{kid}, $value), 'WrongValue', 'the new one does not');
	reason_is($c->do('get', "$url/0123456789abcdef0123456789abcdef"), 'KeyNotFound', 'no such version');

	$kv->create_vault('soft', purge_protection => 0);
	$kv->grant('soft', $id, [qw(get wrapKey unwrapKey)]);
	my $soft = $kv->create_key('soft', 'kek');
	reason_is($c->do('check', $soft->{url}, 1), 'KeyUnsuitable', 'no purge protection, required');
	my $w = $c->do('check', $soft->{url}, 0);
	reason_is($w, '', 'not required');
	ok($w->{purgeable}, 'a warning');
};

subtest 'the right to it' => sub {
	my $c = client();
	my $value = wrapped($c);

	for my $right ([ get => 'get', $url ], [ wrapKey => 'wrap', $kid, $plain ],
		[ unwrapKey => 'unwrap', $kid, $value ])
	{
		my ($permission, @command) = @$right;

		$kv->revoke('demo', $id, [$permission]);
		reason_is($c->do(@command), 'ForbiddenByRbac', "without $permission");
		$kv->grant('demo', $id, [$permission]);
		reason_is($c->do(@command), '', "with $permission again");
	}
	$kv->create_vault('policy', rbac => JSON::PP::false, purge_protection => 1);
	my $pk = $kv->create_key('policy', 'kek');
	reason_is($c->do('get', $pk->{url}), 'ForbiddenByPolicy', 'without an access policy');
	$kv->set_vault('policy', legacy_policy_code => JSON::PP::true);
	reason_is($c->do('get', $pk->{url}), 'ForbiddenByPolicy', 'the same in the older code');
	for my $how ('firewall', 'connection')
	{
		$kv->firewall('demo', $how);
		reason_is($c->do('get', $url), 'ForbiddenByFirewall', "denied by $how");
		$kv->firewall('demo', undef);
	}
	reason_is($c->do('get', $url), '', 'all is well again');
};

subtest 'what stays in memory' => sub {
	my $c = client();
	my $value = wrapped($c);

	$c->do('unwrap', $kid, $value);
	my $found = $c->do('search', $plain);
	plan skip_all => 'memory is not searched under AddressSanitizer' if $found->{cannot};
	is($found->{plain}, 0, 'not the value');
	is($found->{text}, 0, 'nor its text, in any buffer of ours, of libcurl or of OpenSSL');
	$c->do('reset', 1);
	$found = $c->do('search', unpack('H*', substr($app->{client_secret}, 0, 30)));
	is($found->{plain}, 1, 'of the client secret the one copy that is kept');
};

subtest 'proxies' => sub {
	my %secret = (AZURE_CLIENT_SECRET => $app->{client_secret});
	my %nowhere = (https_proxy => 'http://127.0.0.1:1', http_proxy => 'http://127.0.0.1:1',
		all_proxy => 'http://127.0.0.1:1');
	my $c = client(env => { %secret, %nowhere });

	reason_is($c->do('get', $url), 'ConnectionFailed', 'a proxy that is not there');
	$c = client(env => { %secret, %nowhere, no_proxy => '.localhost' });
	reason_is($c->do('get', $url), '', 'a host that it is not for');
	$kv->create_identity('system');
	$c = client(identity => 'managedidentity', client_id => undef,
		env => { %nowhere, no_proxy => 'vault.localhost', AZURE_POD_IDENTITY_AUTHORITY_HOST => $kv->fact('imds_url') });
	$c->do('get', $url);
	is($c->do('counts')->{token}, 1, 'a token source is asked');
	is($c->do('get', $url)->{reason}, 'ForbiddenByRbac', 'without the proxy');
	$kv->remove_identity;
};

subtest 'client secret' => sub {
	my $c = client();

	reason_is($c->do('get', $url), '', 'good');
	$kv->remove_secrets($id);
	reason_is($c->do('get', $url), '', 'the token is kept');
	$c->do('reset', 0);
	my $a = $c->do('get', $url);
	reason_is($a, 'CredentialRefused', 'a secret that is not known');
	is($a->{code}, 'AADSTS7000215', 'with its code');
	$kv->add_secret($id, secret => $app->{client_secret}, expires => 1000);
	is($c->do('get', $url)->{code}, 'AADSTS7000222', 'an expired one');
	$kv->remove_secrets($id);
	$kv->add_secret($id, secret => $app->{client_secret});
	reason_is($c->do('get', $url), '', 'good again');

	for my $case ([ disabled => 'AADSTS7000112' ], [ deleted => 'AADSTS700016' ],
		[ missing_principal => 'AADSTS7000229' ])
	{
		my ($what, $code) = @$case;

		$kv->set_app($id, $what => JSON::PP::true);
		$c->do('reset', 0);
		my $refused = $c->do('get', $url);
		reason_is($refused, 'IdentityGone', "application $what");
		is($refused->{code}, $code, $code);
		$kv->set_app($id, $what => JSON::PP::false);
	}
	my $path = "$tmp/secret";
	open my $fh, '>', $path or die;
	print $fh "$app->{client_secret}\n";
	close $fh;
	chmod 0600, $path;
	$c = client(env => { AZURE_CLIENT_SECRET_FILE => $path });
	reason_is($c->do('get', $url), '', 'out of a file');
	chmod 0644, $path;
	$c->do('reset', 0);
	my $refused = $c->do('get', $url);
	reason_is($refused, 'Configuration', 'out of a file that others can read');
	like($refused->{message}, qr/group or world access/, 'and it says so');
};

subtest 'client certificate' => sub {
	my ($pem, $der) = ("$tmp/cert.pem", "$tmp/cert.crt");

	system("openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=test -days 2 "
		  . "-keyout $pem -out $der 2>/dev/null && cat $der >>$pem && chmod 600 $pem") == 0
	  or die "openssl";
	open my $fh, '<', $der or die;
	my $cert = do { local $/; <$fh> };
	my $c = client(identity => 'clientcertificate', env => { AZURE_CLIENT_CERTIFICATE_PATH => $pem });

	is($c->do('get', $url)->{code}, 'AADSTS700027', 'a certificate that is not registered');
	$kv->add_certificate($id, $cert);
	my $a = $c->do('get', $url);
	reason_is($a, '', 'one that is');
	is($a->{identity}, 'clientcertificate', 'identity');
	unlink $pem;
	$c->do('reset', 0);
	reason_is($c->do('get', $url), 'Configuration', 'the file is gone');
};

subtest 'workload identity' => sub {
	my $path = "$tmp/federated";
	my $write = sub {
		open my $fh, '>', $path or die;
		print $fh $_[0];
		close $fh;
	};
	my $c = client(identity => 'workloadidentity', env => { AZURE_FEDERATED_TOKEN_FILE => $path });

	$write->($kv->federated_token('pod')->{token});
	my $a = $c->do('get', $url);
	reason_is($a, 'CredentialRefused', 'a subject that is not registered');
	$kv->add_federated($id, 'pod');
	reason_is($c->do('get', $url), '', 'one that is');
	$c->do('reset', 0);
	$write->($kv->federated_token('other')->{token});
	reason_is($c->do('get', $url), 'CredentialRefused', 'the file is read anew');
	$write->('');
	reason_is($c->do('get', $url), 'Configuration', 'an empty file');
};

subtest 'managed identity' => sub {
	my $system = $kv->create_identity('system');
	my $user = $kv->create_identity('user');
	my %imds = (AZURE_POD_IDENTITY_AUTHORITY_HOST => $kv->fact('imds_url'));
	my $appservice = $kv->fact('app_service');
	my $arc = $kv->fact('arc');

	$kv->grant('demo', $_->{client_id}, [qw(get wrapKey unwrapKey)]) for $system, $user;
	my $c = client(identity => 'managedidentity', client_id => undef, env => \%imds);
	my $a = $c->do('get', $url);
	reason_is($a, '', 'system-assigned, by IMDS');
	is($a->{identity}, 'managedidentity', 'identity');
	$kv->remove_identity($system->{client_id});
	my $u = client(identity => 'managedidentity', client_id => $user->{client_id}, env => \%imds);
	reason_is($u->do('get', $url), '', 'user-assigned');
	$kv->remove_identity($user->{client_id});
	$_->do('reset', 0) for $c, $u;
	reason_is($u->do('get', $url), 'IdentityGone', 'user-assigned, removed');
	reason_is($c->do('get', $url), 'IdentityGone', 'system-assigned, removed');
	$kv->restore_identity($_->{client_id}) for $system, $user;
	reason_is($c->do('get', $url), '', 'restored');

	# IMDS while it is updated
	$c->do('reset', 0);
	$kv->fault(match => { op => 'imds' }, status => 410, count => 1);
	$kv->fault(match => { op => 'imds' }, status => 404, skip => 0, count => 1);
	reason_is($c->do('get', $url), '', '410 and 404 are tried again');
	$kv->clear_faults;

	my %service = (IDENTITY_ENDPOINT => $appservice->{endpoint}, IDENTITY_HEADER => $appservice->{header});
	$c = client(identity => 'managedidentity', client_id => undef, env => \%service);
	reason_is($c->do('get', $url), '', 'by App Service');
	$c = client(identity => 'managedidentity', client_id => $user->{client_id}, env => \%service);
	reason_is($c->do('get', $url), '', 'by App Service, user-assigned');
	$kv->remove_identity($user->{client_id});
	$c->do('reset', 0);
	reason_is($c->do('get', $url), 'IdentityGone', 'by App Service, removed');
	$c = client(identity => 'managedidentity', client_id => undef,
		env => { %service, IDENTITY_HEADER => 'wrong' });
	reason_is($c->do('get', $url), 'TokenRefused', 'by App Service, with a wrong header');

	my %arc = (IDENTITY_ENDPOINT => $arc->{endpoint}, IMDS_ENDPOINT => $arc->{imds_endpoint});
	$c = client(identity => 'managedidentity', client_id => undef,
		env => { %arc, PG_CMK_ARC_TOKEN_DIR => $arc->{token_dir} });
	reason_is($c->do('get', $url), '', 'by Azure Arc');
	$c = client(identity => 'managedidentity', client_id => undef, env => \%arc);
	reason_is($c->do('get', $url), 'ChallengeRefused', 'by Azure Arc, a file elsewhere');
	$c = client(identity => 'managedidentity', client_id => $user->{client_id},
		env => { %arc, PG_CMK_ARC_TOKEN_DIR => $arc->{token_dir} });
	reason_is($c->do('get', $url), 'Configuration', 'by Azure Arc, user-assigned');

	$c = client(identity => 'managedidentity', client_id => undef,
		env => { AZURE_POD_IDENTITY_AUTHORITY_HOST => 'http://192.0.2.1' });
	reason_is($c->do('get', $url), 'Configuration', 'plain http to another machine');
};

subtest 'the chain, and its pin' => sub {
	my %secret = (AZURE_CLIENT_SECRET => $app->{client_secret}, AZURE_CLIENT_ID => $id);
	my %all = (%secret, AZURE_CLIENT_CERTIFICATE_PATH => '/nonexistent',
		AZURE_FEDERATED_TOKEN_FILE => '/nonexistent',
		AZURE_POD_IDENTITY_AUTHORITY_HOST => $kv->fact('imds_url'));
	my $c = client(identity => undef, client_id => undef, env => \%all);

	is($c->do('get', $url)->{identity}, 'clientsecret', 'the secret comes first');
	$kv->remove_secrets($id);
	$c->do('reset', 0);
	my $a = $c->do('get', $url);
	reason_is($a, 'CredentialRefused', 'refused');
	is($a->{identity}, 'clientsecret', 'and no other is tried');
	$kv->add_secret($id, secret => $app->{client_secret});

	delete $all{AZURE_CLIENT_SECRET};
	$c = client(identity => undef, client_id => undef, env => \%all);
	is($c->do('get', $url)->{identity}, 'clientcertificate', 'then the certificate');
	delete $all{AZURE_CLIENT_CERTIFICATE_PATH};
	$c = client(identity => undef, client_id => undef, env => \%all);
	is($c->do('get', $url)->{identity}, 'workloadidentity', 'then workload identity');
	delete @all{qw(AZURE_FEDERATED_TOKEN_FILE AZURE_CLIENT_ID)};
	$c = client(identity => undef, client_id => undef, env => \%all);
	is($c->do('get', $url)->{identity}, 'managedidentity', 'then managed identity');
	$c->do('reset', 0);
	is($c->do('counts')->{identity}, 'managedidentity', 'a reset keeps the pin');
	$c->do('reset', 1);
	is($c->do('counts')->{identity}, '', 'or not');

	$c = client(identity => 'environment', client_id => undef, env => {});
	reason_is($c->do('get', $url), 'Configuration', 'an environment without anything');
	$c = client(identity => 'environment', client_id => undef, env => \%secret);
	is($c->do('get', $url)->{identity}, 'clientsecret', 'an environment with a secret');
};

subtest 'tokens' => sub {
	my $c = client();

	$c->do('get', $url);
	$c->do('get', $url) for 1 .. 3;
	is($c->do('counts')->{token}, 1, 'a token is kept');
	my $before = $c->do('counts');
	$kv->fault(match => { op => 'get' }, status => 401, count => 1);
	reason_is($c->do('get', $url), '', 'a 401 is answered with a new token');
	is($c->do('counts')->{token}, 2, 'one');
	is($c->do('counts')->{get}, $before->{get} + 2, 'and one more request');
	$kv->fault(match => { op => 'get' }, status => 401, count => 2,
		message => 'AKV10000: no');
	reason_is($c->do('get', $url), 'Unauthorized', 'a second 401 is not');
	$kv->clear_faults;
	$kv->fault(match => { op => 'get' }, status => 401, message => 'AKV10032: Invalid issuer.');
	my $a = $c->do('get', $url);
	reason_is($a, 'WrongTenant', 'AKV10032 on a fresh token');
	ok($a->{confirm} && $a->{verdict} eq 'no', 'a clear no, to be confirmed');
	$kv->clear_faults;
	$kv->token_lifetime(2);
	$c->do('reset', 0);
	my $n = $c->do('get', $url) && $c->do('counts')->{token};
	select undef, undef, undef, 1.2;
	$c->do('get', $url);
	is($c->do('counts')->{token}, $n + 1, 'a token is not used to the end of its life');
	$kv->token_lifetime(3600);
};

subtest 'whom it tells its secrets' => sub {
	my $tenant = $kv->create_tenant->{tenant_id};

	my $c = client(tenant_id => $tenant);
	reason_is($c->do('get', $url), 'ChallengeRefused', 'a vault of another tenant');
	is($c->do('counts')->{token}, 0, 'no token was asked for');

	for my $bad ('https://management.azure.com', 'https://localhost', 'https://evil.example', 'https://demo.vault.localhost')
	{
		$kv->fault(match => { op => [ 'challenge', 'get' ] }, status => 401, headers => {
			'WWW-Authenticate' => sprintf('Bearer authorization="%s/%s", resource="%s"',
				$kv->fact('authority_host'), $kv->fact('tenant_id'), $bad) });
		$c = client();
		reason_is($c->do('get', $url), 'ChallengeRefused', "resource $bad");
		is($c->do('counts')->{token}, 0, 'no token was asked for');
		$kv->clear_faults;
	}
	$kv->fault(match => { op => 'challenge' }, count => 1, status => 401, headers => {
		'WWW-Authenticate' => sprintf('Bearer authorization="https://evil.localhost:%d/%s", resource="https://vault.localhost"',
			$kv->fact('port'), $kv->fact('tenant_id')) });
	$c = client();
	reason_is($c->do('get', $url), '', 'another authority in the challenge is not spoken to');
	$kv->clear_faults;

	$c = client(dns_suffixes => 'ault.localhost');
	reason_is($c->do('get', $url), 'Configuration', 'a suffix that begins within a label');
	is($c->do('counts')->{get}, 0, 'nothing was sent');
	$c = client(dns_suffixes => '=demo.vault.localhost');
	reason_is($c->do('get', $url), '', 'a whole host');

	$kv->fault(match => { op => 'challenge' }, redirect => 'https://other.vault.localhost/');
	$c = client();
	reason_is($c->do('get', $url), 'Redirect', 'a redirect is not followed');
	is($c->do('counts')->{token}, 0, 'no token was asked for');
	$kv->clear_faults;
	$c->do('get', $url);
	$kv->fault(match => { op => 'get' }, redirect => 'https://other.vault.localhost/');
	reason_is($c->do('get', $url), 'Redirect', 'nor one that comes later');
	$kv->clear_faults;
	$kv->fault(match => { service => 'entra' }, redirect => 'https://other.vault.localhost/');
	$c = client();
	reason_is($c->do('get', $url), 'Redirect', 'nor one of the token endpoint');
	$kv->clear_faults;

	$c = client();
	my $value = wrapped($c);
	$c = client();
	$kv->fault(match => { op => 'challenge' }, status => 200, body => {});
	reason_is($c->do('unwrap', $kid, $value), 'MalformedAnswer', 'a vault that wants no token gets none');
	is($c->do('counts')->{token}, 0, 'none was asked for');
	$kv->clear_faults;
};

subtest 'TLS' => sub {
	my $c = client();

	for my $variant (qw(expired not-yet-valid wrong-ca wrong-host))
	{
		$kv->certificate($variant);
		$c->do('reset', 0);
		my $a = $c->do('get', $url);
		reason_is($a, 'TlsFailed', "certificate: $variant");
		is($a->{verdict}, 'maybe', 'a maybe');
	}
	$kv->certificate('good');
	reason_is($c->do('get', $url), '', 'a good certificate again');
	$c = client(ca_file => undef);
	reason_is($c->do('get', $url), 'TlsFailed', 'the system does not know the CA');
	$c = client(ca_file => '/nonexistent');
	reason_is($c->do('get', $url), 'Configuration', 'a CA file that is not there');
};

subtest 'patience' => sub {
	my $c = client();

	$c->do('get', $url);
	my $before = $c->do('counts')->{get};
	$kv->fault(match => { op => 'get' }, status => 503, count => 2);
	reason_is($c->do('get', $url), '', 'two 503 are outlasted');
	is($c->do('counts')->{get}, $before + 3, 'with three tries');
	$kv->clear_faults;

	for my $case ([ 429, 'Throttled' ], [ 500, 'ServerError' ], [ 408, 'ServerError' ])
	{
		my ($status, $reason) = @$case;

		$before = $c->do('counts')->{get};
		$kv->fault(match => { op => 'get' }, status => $status);
		reason_is($c->do('get', $url), $reason, "$status for good");
		is($c->do('counts')->{get}, $before + 3, 'after three tries');
		$kv->clear_faults;
	}
	$kv->fault(match => { op => 'get' }, status => 429, retry_after => 2, count => 1);
	my $a = $c->do('get', $url);
	reason_is($a, '', 'Retry-After');
	cmp_ok($a->{ms}, '>=', 2000, 'is honoured');
	$kv->clear_faults;
	$kv->fault(match => { op => 'get' }, status => 429, retry_after => 3600);
	$a = $c->do('get', $url);
	reason_is($a, 'Throttled', 'Retry-After beyond the deadline');
	cmp_ok($a->{ms}, '<', 3000, 'is not waited for');
	is($a->{retry_after_ms}, 3600000, 'but told');
	$kv->clear_faults;
	$before = $c->do('counts')->{get};
	$kv->fault(match => { op => 'get' }, status => 400);
	reason_is($c->do('get', $url), 'UnexpectedAnswer', 'a 400');
	is($c->do('counts')->{get}, $before + 1, 'is not tried again');
	$kv->clear_faults;
	reason_is(client(api_version => '1.0')->do('get', $url), 'ApiVersion', 'an api-version that is not known');
};

subtest 'time' => sub {
	my $c = client(timeout_ms => 700, deadline_ms => 3000);

	reason_is($c->do('get', $url), '', 'in time');
	$kv->fault(match => { op => 'get' }, hang => JSON::PP::true);
	my $a = $c->do('get', $url);
	reason_is($a, 'Timeout', 'a vault that hangs');
	cmp_ok($a->{ms}, '<', 3000, 'is left');
	$kv->clear_faults;
	$kv->fault(match => { op => 'get' }, trickle_ms => 50);
	reason_is($c->do('get', $url), 'Timeout', 'an answer that trickles');
	$kv->clear_faults;
	$kv->fault(match => { op => 'get' }, delay_ms => 300);
	reason_is($c->do('get', $url), '', 'a slow one is waited for');
	$kv->clear_faults;

	$c = client(timeout_ms => 60000, deadline_ms => 60000);
	$c->do('get', $url);
	$c->do('interrupt', 300);
	$kv->fault(match => { op => 'get' }, hang => JSON::PP::true);
	$a = $c->do('get', $url);
	reason_is($a, 'Timeout', 'interrupted while waiting');
	like($a->{message}, qr/interrupted/, 'and it says so');
	cmp_ok($a->{ms}, '<', 5000, 'at once');
	$kv->clear_faults;
	$kv->fault(match => { op => 'get' }, status => 429, retry_after => 30);
	$a = $c->do('get', $url);
	reason_is($a, 'Timeout', 'interrupted between two tries');
	cmp_ok($a->{ms}, '<', 5000, 'at once');
	$kv->clear_faults;

	$c = client(timeout_ms => 1000, deadline_ms => 2000);
	$kv->pause;
	reason_is($c->do('get', $url), 'Timeout', 'a service that is stopped');
	$kv->resume;
	reason_is($c->do('get', $url), '', 'and goes on');
};

subtest 'answers that are none' => sub {
	my $c = client();
	my $value = wrapped($c);

	for my $case (
		[ 'truncated', truncate => 20 ],
		[ 'oversized', oversize => 70000 ],
		[ 'garbage', garbage => 300 ],
		[ 'compressed', gzip => JSON::PP::true ],
		[ 'empty', body => '' ],
		[ 'not HTTP', raw => "hello\r\n\r\n" ],
		[ 'HTTP/0.9', raw => '{"kid":"x"}' ],
		[ 'a huge header', headers => { 'X-Pad' => 'x' x 15000 } ],
		[ 'a page of a portal', body => '<html>sign in</html>' ])
	{
		my ($what, @fault) = @$case;

		for my $op ('get', 'unwrap')
		{
			$kv->fault(match => { op => $op }, @fault);
			my $a = $c->do($op eq 'get' ? ('get', $url) : ('unwrap', $kid, $value));
			if ($what eq 'a huge header')
			{
				reason_is($a, '', "$op: $what of 15 kB is passed over");
			}
			else
			{
				reason_is($a, 'MalformedAnswer', "$op: $what");
				is($a->{verdict}, 'maybe', 'a maybe');
				is($a->{value} // '', '', 'and no value');
			}
			$kv->clear_faults;
		}
	}
	$kv->fault(match => { op => 'get' }, close => JSON::PP::true);
	reason_is($c->do('get', $url), 'ConnectionFailed', 'no answer at all');
	$kv->clear_faults;
	my $other = $kv->create_key('demo', 'other')->{kid};
	for my $case ([ get => { key => { kid => $other } } ], [ get => { attributes => { enabled => undef } } ],
		[ get => { key => { n => 'AQAB' x 3 . '=' } } ], [ unwrap => { kid => $other } ],
		[ unwrap => { value => 'a+b/' } ], [ unwrap => { value => 'A' x 200 } ])
	{
		my ($op, $patch) = @$case;

		$kv->fault(match => { op => $op }, patch => $patch);
		reason_is($c->do($op eq 'get' ? ('get', $kid) : ('unwrap', $kid, $value)),
			'MalformedAnswer', "$op: " . encode_json($patch));
		$kv->clear_faults;
	}
	$kv->fault(match => { op => 'wrap' }, patch => { value => 'AQID' });
	reason_is($c->do('wrap', $kid, $plain), 'MalformedAnswer', 'a wrapped value of three bytes');
	$kv->clear_faults;
	reason_is($c->do('get', $url), '', 'all is well again');
};

subtest 'nobody there' => sub {
	my $c = client();

	reason_is($c->do('get', 'https://none.vault.localhost:' . $kv->fact('port') . '/keys/kek'),
		'ConnectionFailed', 'a vault that does not answer');
	$c = client(dns_suffixes => 'vault.invalid');
	my $a = $c->do('get', 'https://demo.vault.invalid/keys/kek');
	reason_is($a, 'NameNotResolved', 'a vault that does not resolve');
	is($a->{resolver_blocks}, 1, 'no signal could have reached the thread that looked it up');
	$c = client(dns_suffixes => 'vault.invalid', timeout_ms => 600,
		env => { AZURE_CLIENT_SECRET => $app->{client_secret}, CMK_TEST_SLOW_DNS => 20 });
	$a = $c->do('get', 'https://demo.vault.invalid/keys/kek');
	reason_is($a, 'Timeout', 'a name server that hangs');
	cmp_ok($a->{ms}, '<', 5000, 'is left in time');
	$c->do('interrupt', 300);
	$a = $c->do('get', 'https://demo.vault.invalid/keys/kek');
	like($a->{message}, qr/interrupted/, 'interrupted during a look-up');
	cmp_ok($a->{ms}, '<', 5000, 'at once');
	my $gone = $kv->create_vault('gone', own_port => 1);
	$kv->grant('gone', $id, ['get']);
	my $k = $kv->create_key('gone', 'kek');
	$c = client();
	reason_is($c->do('get', $k->{url}), '', 'a vault on its own port');
	$kv->vault_down('gone');
	reason_is($c->do('get', $k->{url}), 'ConnectionFailed', 'that is closed');
	$kv->vault_up('gone');
	reason_is($c->do('get', $k->{url}), '', 'and opened');
	$c = client(authority_host => 'https://login.invalid');
	reason_is($c->do('get', $url), 'NameNotResolved', 'a token endpoint that does not resolve');
};

subtest 'settings that cannot be' => sub {
	for my $case ([ identity => 'nobody' ], [ tenant_id => 'contoso.example' ], [ tenant_id => 'common' ],
		[ authority_host => 'http://login.localhost' ], [ authority_host => 'https://login.localhost/x' ],
		[ client_id => 'a"b' ], [ api_version => '7.6&x=y' ])
	{
		my $c = client(@$case);

		ok(!$c->{hello}{ok}, "@$case");
		like($c->{hello}{message}, qr/cannot be used/, 'is refused');
	}
	my $c = client(identity => 'clientsecret', env => {});
	my $a = $c->do('get', $url);
	reason_is($a, 'Configuration', 'no secret');
	like($a->{detail}, qr/AZURE_CLIENT_SECRET/, 'and it says what is missing');
	is($c->do('get', 'https://x/keys/k?v')->{reason}, 'Configuration', 'a URL that is none');
	is($c->do('wrap', $url, $plain)->{reason}, 'Configuration', 'wrap without a version');
};

$kv->stop;
done_testing();
