
=pod

=head1 NAME

KeyVault - the test vault for TAP tests

=head1 SYNOPSIS

	use FindBin;
	use lib "$FindBin::RealBin/keyvault";
	use KeyVault;

	my $kv = KeyVault->start($dir);             # node server.js, stopped at the end
	my $app = $kv->create_app;                  # { client_id, client_secret, … }
	$kv->create_vault('demo');
	$kv->grant('demo', $app->{client_id}, [qw(get wrapKey unwrapKey)]);
	my $key = $kv->create_key('demo', 'kek');   # { url, kid, version, … }

	# what the server under test is given
	my $conf = "pg_cmk.key = '$key->{url}'\n"
	  . "pg_cmk.vault_ca_file = '" . $kv->fact('ca_file') . "'\n"
	  . "pg_cmk.vault_dns_suffixes = '" . $kv->fact('dns_suffixes') . "'\n"
	  . "pg_cmk.authority_host = '" . $kv->fact('authority_host') . "'\n"
	  . "pg_cmk.tenant_id = '" . $kv->fact('tenant_id') . "'\n";

	$kv->disable_key('demo', 'kek');
	…
	$kv->enable_key('demo', 'kek');
	$kv->fault(match => { op => 'unwrap' }, status => 429, retry_after => 1, count => 2);
	$kv->clear_faults;
	is($kv->counts->{unwrap}, 1, 'one unwrap opens the cluster');

=head1 DESCRIPTION

Each method is one of the control API (README.md says what each does); the table
below gives its name there and its positional arguments.  More go as NAME => VALUE.
What comes back is the result, a hash or a list.  An error dies with the vault's
message.

Nothing but core Perl is needed: HTTP::Tiny and JSON::PP.

=cut

package KeyVault;

use strict;
use warnings;

use Carp;
use File::Basename qw(dirname);
use File::Path qw(make_path);
use HTTP::Tiny;
use JSON::PP;
use POSIX ();
use Scalar::Util qw(weaken);
use Time::HiRes qw(usleep);

my $here = dirname(__FILE__);

# method => [ its name in the control API, its positional arguments ]
my %methods = (
	create_vault    => [ 'vault.create', 'name' ],
	set_vault       => [ 'vault.set',    'vault' ],
	vault_down      => [ 'vault.down',   'vault' ],
	delete_vault    => [ 'vault.delete', 'vault' ],
	vault_up        => [ 'vault.up',     'vault' ],

	grant  => [ 'grant',  'vault', 'principal', 'permissions' ],
	revoke => [ 'revoke', 'vault', 'principal', 'permissions' ],

	create_key   => [ 'key.create',       'vault', 'key' ],
	rotate_key   => [ 'key.rotate',       'vault', 'key' ],
	get_key      => [ 'key.get',          'vault', 'key' ],
	set_key      => [ 'key.set',          'vault', 'key' ],
	delete_key   => [ 'key.delete',       'vault', 'key' ],
	recover_key  => [ 'key.recover',      'vault', 'key' ],
	purge_key    => [ 'key.purge',        'vault', 'key' ],
	drop_version => [ 'key.drop_version', 'vault', 'key', 'version' ],
	use_key      => [ 'key.use',          'vault', 'key', 'op', 'value' ],

	create_tenant  => ['tenant.create'],
	delete_tenant  => [ 'tenant.delete', 'tenant' ],
	recover_tenant => [ 'tenant.recover', 'tenant' ],

	create_app          => ['app.create'],
	set_app             => [ 'app.set',                 'client_id' ],
	add_secret          => [ 'app.add_secret',          'client_id' ],
	expire_secrets      => [ 'app.expire_secrets',      'client_id' ],
	remove_secrets      => [ 'app.remove_secrets',      'client_id' ],
	add_certificate     => [ 'app.add_certificate',     'client_id', 'pem' ],
	remove_certificates => [ 'app.remove_certificates', 'client_id' ],
	add_federated       => [ 'app.add_federated',       'client_id', 'subject' ],
	remove_federated    => [ 'app.remove_federated',    'client_id' ],
	federated_token     => [ 'federated_token',         'subject' ],

	create_identity  => [ 'identity.create',  'kind' ],
	remove_identity  => [ 'identity.remove',  'client_id' ],
	restore_identity => [ 'identity.restore', 'client_id' ],

	issue_token    => [ 'token.issue', 'client_id', 'resource' ],
	token_lifetime => [ 'token.lifetime', 'seconds' ],
	clock_offset   => [ 'clock.offset',   'seconds' ],

	fault        => ['fault.add'],
	clear_faults => [ 'fault.clear', 'id' ],
	faults       => ['fault.list'],

	certificate => [ 'tls.set', 'variant' ],
	disconnect  => ['disconnect'],

	counts      => ['counts'],
	request_log => ['log'],
);

for my $name (keys %methods)
{
	my ($remote, @positional) = @{ $methods{$name} };

	no strict 'refs';
	*{$name} = sub {
		my ($self, @args) = @_;
		my %params;

		for my $p (@positional)
		{
			last unless @args;
			$params{$p} = shift @args;
		}
		croak "$name: odd number of named arguments" if @args % 2;
		return $self->call($remote, %params, @args);
	};
}

# The table, for the test of this module.
sub methods
{
	return \%methods;
}

# Perl does not tell 1 from true, nor "1" from 1; JSON does.
my %boolean = map { $_ => 1 } qw(enabled all rbac purge_protection soft_delete
  protected_subscription own_port disabled deleted missing_principal reset hang
  close gzip legacy_policy_code);
my %number = map { $_ => 1 } qw(size exp nbf retention_days propagation_ms seconds
  expires lifetime status count skip delay_ms oversize garbage truncate trickle_ms
  aadsts id);

sub _typed
{
	my (%params) = @_;

	for my $name (keys %params)
	{
		next if !defined $params{$name} || ref $params{$name};
		$params{$name} = $params{$name} ? JSON::PP::true : JSON::PP::false if $boolean{$name};
		$params{$name} += 0 if $number{$name};
	}
	return \%params;
}

my @running;

=pod

=head1 METHODS

=over

=item KeyVault->start($dir, @options)

Starts a server whose files are in $dir, and waits until it is ready.  It ends with
the object, with the process, and when that is killed.

=cut

sub start
{
	my ($class, $dir, @options) = @_;
	my $node = $ENV{NODE} || 'node';

	make_path($dir);
	unlink "$dir/ready.json";
	pipe(my $theirs, my $ours) or croak "pipe: $!";
	my $pid = fork;
	croak "fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		close $ours;
		open STDIN, '<&', $theirs or POSIX::_exit(1);
		open STDOUT, '>>', "$dir/server.log" or POSIX::_exit(1);
		open STDERR, '>&', \*STDOUT or POSIX::_exit(1);
		exec($node, "$here/server.js", '--dir', $dir, '--with-stdin', @options)
		  or print "could not run $node: $!\n";
		POSIX::_exit(1);
	}
	close $theirs;
	my $self = bless { pid => $pid, owner => $$, stdin => $ours, dir => $dir }, $class;
	push @running, $self;
	weaken($running[-1]);

	until (-e "$dir/ready.json")
	{
		if (waitpid($pid, 1) == $pid)    # WNOHANG
		{
			$self->{pid} = undef;
			croak "the test vault did not start:\n" . _slurp("$dir/server.log");
		}
		usleep(20_000);
	}
	$self->{facts} = decode_json(_slurp("$dir/ready.json"));
	$self->{http} = HTTP::Tiny->new(timeout => 60);
	return $self;
}

sub _slurp
{
	my ($file) = @_;

	open my $fh, '<', $file or croak "$file: $!";
	local $/;
	return scalar <$fh>;
}

=pod

=item $kv->fact($name)

What ready.json says: ca_file, authority_host, tenant_id, dns_suffixes, imds_url,
port, app_service (a hash: endpoint, header), arc (endpoint, imds_endpoint, token_dir) …

=cut

sub fact
{
	my ($self, $name) = @_;

	croak "no such fact: $name" unless exists $self->{facts}{$name};
	return $self->{facts}{$name};
}

=pod

=item $kv->call($method, %params)

Any method of the control API.

=cut

sub call
{
	my ($self, $method, %params) = @_;
	my $control = $self->{facts}{control};
	my $response = $self->{http}->post(
		$control->{url},
		{
			headers => {
				'Authorization' => "Bearer $control->{token}",
				'Content-Type' => 'application/json',
			},
			content => encode_json({ method => $method, params => _typed(%params) }),
		});

	croak "$method: $response->{content}" if $response->{status} == 599;
	my $answer = decode_json($response->{content});
	croak "$method: $answer->{error}" unless $response->{success};
	return $answer->{result};
}

=pod

=item $kv->disable_key($vault, $key), $kv->enable_key($vault, $key)

All versions of it; or one, with version => VERSION.

=cut

sub enable_key
{
	my ($self, $vault, $key, %params) = @_;

	return $self->set_key($vault, $key, enabled => 1, all => !exists $params{version}, %params);
}

sub disable_key
{
	my ($self, $vault, $key, %params) = @_;

	return $self->set_key($vault, $key, enabled => 0, all => !exists $params{version}, %params);
}

=pod

=item $kv->firewall($vault, 'firewall' | 'connection' | undef)

Who denies: the firewall, the lack of a private link, nobody.

=cut

sub firewall
{
	my ($self, $vault, $how) = @_;

	return $self->set_vault($vault, firewall => $how);
}

=pod

=item $kv->pause, $kv->resume

A paused server accepts connections, as the kernel does, and says nothing at all.

=cut

sub pause
{
	my ($self) = @_;

	kill 'STOP', $self->{pid};
	return;
}

sub resume
{
	my ($self) = @_;

	kill 'CONT', $self->{pid};
	return;
}

=pod

=item $kv->stop

Ends the server and waits for it.  Its port refuses connections from then on.

=back

=cut

sub stop
{
	my ($self) = @_;

	return unless $self->{pid} && $self->{owner} == $$;
	local ($?, $!, $@);
	kill 'CONT', $self->{pid};
	kill 'TERM', $self->{pid};
	waitpid $self->{pid}, 0;
	close $self->{stdin};
	$self->{pid} = undef;
	return;
}

sub DESTROY
{
	my ($self) = @_;

	$self->stop;
	return;
}

END
{
	for my $self (@running)
	{
		$self->stop if defined $self;
	}
}

1;
