=pod

=head1 NAME

VaultTest - servers whose key is in the test vault

=head1 SYNOPSIS

	use VaultTest;

	my $v = new_vault();                       # KeyVault, an application, a key
	my $node = new_vault_node('main', $v);     # started, extension created
	my $from = log_position($node);

	$v->{kv}->disable_key('demo', 'kek');
	ok(wait_state($node, $from, 'Inaccessible', 'KeyDisabled'));
	like(denial($node), qr/57P03/);

=head1 DESCRIPTION

The clocks are scaled down: a validation each 500 ms in place of each minute, a
grace period of 1.5 s in place of 5 minutes and a hard deadline of 8 s in place
of 10 minutes.  States are taken from the server's log, in which every change
stands with its time, so that none is missed between two looks.

Each test that uses this module ends with a search for its client secrets, and for
tokens, in the logs and data directories of its servers, and fails if there is one.

=cut

package VaultTest;

use strict;
use warnings;

use Exporter 'import';
use FindBin;
use lib "$FindBin::RealBin/keyvault";
use Time::HiRes qw(usleep);
use Time::Local qw(timegm);

use CmkTest;
use KeyVault;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  new_vault vault_conf new_vault_node start_vault_node pg_ctl
  log_position wait_log logged_at wait_state states_since denial status_of
  key_worker server_pids secrets_left run_pg_cmk
);

# What the vault knows and the servers were told: for the search at the end.
my (@secrets, %started);

=head1 FUNCTIONS

=over

=item new_vault(%key_options)

A test vault with vault "demo", key "kek" in it, and an application that may use
it: { kv, app, key, id }.

=cut

sub new_vault
{
	my (%opt) = @_;
	my $kv  = KeyVault->start(PostgreSQL::Test::Utils::tempdir('keyvault'));
	my $app = $kv->create_app;

	push @secrets, $app->{client_secret};
	$kv->create_vault('demo', purge_protection => 1);
	$kv->grant('demo', $app->{client_id}, [qw(get wrapKey unwrapKey)]);
	return {
		kv  => $kv,
		app => $app,
		id  => $app->{client_id},
		key => $kv->create_key('demo', 'kek', %opt)
	};
}

=item run_pg_cmk($vault, @args)

Runs the command with the application's credentials: (exit status, stdout, stderr).

=cut

sub run_pg_cmk
{
	my ($v, @args) = @_;
	my ($out, $err);
	local %ENV = %ENV;

	$ENV{AZURE_CLIENT_ID}     = $v->{app}{client_id};
	$ENV{AZURE_CLIENT_SECRET} = $v->{app}{client_secret};
	delete $ENV{PGDATA};
	IPC::Run::run([ 'pg_cmk', @args ], '<', \undef, '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

=item vault_conf($v, [$url])

The lines of postgresql.conf for a key in that vault.

=cut

sub vault_conf
{
	my ($v, $url) = @_;
	my $kv = $v->{kv};

	$url ||= $v->{key}{url};
	return
	    "shared_preload_libraries = 'pg_cmk'\n"
	  . "pg_cmk.key = '$url'\n"
	  . "pg_cmk.vault_ca_file = '" . $kv->fact('ca_file') . "'\n"
	  . "pg_cmk.vault_dns_suffixes = '" . $kv->fact('dns_suffixes') . "'\n"
	  . "pg_cmk.authority_host = '" . $kv->fact('authority_host') . "'\n"
	  . "pg_cmk.tenant_id = '" . $kv->fact('tenant_id') . "'\n"
	  . "pg_cmk.revalidate_interval = 500ms\n"
	  . "pg_cmk.grace_period = 1500ms\n"
	  . "pg_cmk.debug_deadline = 8s\n"
	  . "pg_cmk.vault_timeout = 1s\n"
	  . "log_line_prefix = '%m [%p] %e %q%a '\n"
	  . "log_timezone = 'UTC'\n";
}

=item new_vault_node($name, $v, %options)

As new_cmk_node(), with the key in the vault.  More options: url; nowait => 1
starts it without waiting for it to accept connections.

=cut

sub new_vault_node
{
	my ($name, $v, %opt) = @_;
	my $conf = vault_conf($v, $opt{url}) . ($opt{conf} || '');
	my $node = new_cmk_node(
		$name, %opt,
		kek     => undef,
		preload => 0,
		start   => 0,
		conf    => $conf);

	return $node if defined $opt{start} && !$opt{start};
	start_vault_node($node, $v, $opt{nowait});
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_cmk')
	  unless $opt{nowait} || (defined $opt{extension} && !$opt{extension});
	return $node;
}

=item start_vault_node($node, $v, [$nowait])

Starts the server with the application's credentials in its environment, and in
that of nothing else.

=cut

sub start_vault_node
{
	my ($node, $v, $nowait) = @_;
	local %ENV = %ENV;

	$ENV{AZURE_CLIENT_ID}     = $v->{app}{client_id};
	$ENV{AZURE_CLIENT_SECRET} = $v->{app}{client_secret};
	$started{ $node->data_dir } = $node;
	if ($nowait)
	{
		pg_ctl($node, '-W', '-l', $node->logfile, 'start');
		wait_until('there is a postmaster',
			sub { -s $node->data_dir . '/postmaster.pid' });
		$node->_update_pid(1);
	}
	else
	{
		$node->start;
	}
	return;
}

=item pg_ctl($node, @args)

Runs pg_ctl; true if it succeeded.

=cut

sub pg_ctl
{
	my ($node, @args) = @_;
	local %ENV = %ENV;

	delete $ENV{PGAPPNAME};
	return system('pg_ctl', '-s', '-D', $node->data_dir, @args) == 0;
}

=item log_position($node)

=cut

sub log_position
{
	my ($node) = @_;
	return -s $node->logfile || 0;
}

=item wait_log($node, $from, $pattern)

Waits until the pattern stands in the log after that position; true if it came.

=cut

sub wait_log
{
	my ($node, $from, $pattern) = @_;

	return wait_until("the log says $pattern",
		sub { log_since($node, $from) =~ $pattern });
}

=item logged_at($node, $from, $pattern)

When the first line that matches was logged after that position, in seconds since
the epoch, or undef.  Times in the log are UTC.

=cut

sub logged_at
{
	my ($node, $from, $pattern) = @_;

	foreach (split /\n/, log_since($node, $from))
	{
		return timegm(0, $5, $4, $3, $2 - 1, $1) + $6
		  if /^(\d+)-(\d+)-(\d+) (\d+):(\d+):([\d.]+) .*$pattern/;
	}
	return;
}

=item states_since($node, $from)

What the worker said of the state: a list of [ state, reason, seconds ].

=cut

sub states_since
{
	my ($node, $from) = @_;
	my @states;

	foreach (split /\n/, log_since($node, $from))
	{
		push @states, [ $4, $5 // '', $1 * 3600 + $2 * 60 + $3 ]
		  if
		  /^\S+ (\d+):(\d+):([\d.]+) .*LOG:  pg_cmk: state is (\w+)(?:, reason (\w+))?$/;
	}
	return @states;
}

=item wait_state($node, $from, $state, [$reason])

Waits until the log says that; true if it came.

=cut

sub wait_state
{
	my ($node, $from, $state, $reason) = @_;
	my $ok = wait_until(
		"state is $state" . ($reason ? ", reason $reason" : ''),
		sub {
			grep { $_->[0] eq $state && (!defined $reason || $_->[1] =~ /^(?:$reason)$/) }
			  states_since($node, $from);
		});

	diag('states: ' . join(' ', map { "$_->[0]($_->[1])" } states_since($node, $from)))
	  unless $ok;
	return $ok;
}

=item denial($node, [$connstr])

Tries to connect; what the client and the log say, or '' if it was let in.

=cut

sub denial
{
	my ($node, $more) = @_;
	my $from = log_position($node);
	my $err  = hears($node, $more) || return '';

	# Of this connection: others may be ended at the same time.
	my ($message) = $err =~ /FATAL:  (.*)/ or return "????? $err";
	my ($code) = log_since($node, $from) =~ / (\w{5}) .*FATAL:  \Q$message\E/;
	return ($code // '?????') . " $err";
}

=item status_of($session_or_node)

"state|reason" of cmk.status.

=cut

sub status_of
{
	my ($from) = @_;
	my $query = "SELECT state || '|' || coalesce(reason, '') FROM cmk.status";

	return $from->isa('PostgreSQL::Test::Cluster')
	  ? $from->safe_psql('postgres', $query)
	  : $from->query_safe($query);
}

=item server_pids($node)

The postmaster and its children.

=cut

sub server_pids
{
	my ($node) = @_;
	my ($pm) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
	my $children = -e "/proc/$pm/task/$pm/children"
	  ? slurp_file("/proc/$pm/task/$pm/children")
	  : `ps -o pid= --ppid $pm`;

	return ($pm, split ' ', $children);
}

=item key_worker($node)

The worker's process id, or undef.

=cut

sub key_worker
{
	my ($node) = @_;

	foreach my $pid (server_pids($node))
	{
		open my $fh, '<', "/proc/$pid/cmdline" or next;
		local $/;
		my $title = <$fh> // '';
		return $pid if $title =~ /pg_cmk key worker/;
	}
	return;
}

=item secrets_left($node, @more)

The files of the server, its log among them, in which a client secret stands, a
JSON Web Token, or one of the other texts given.

=cut

sub secrets_left
{
	my ($node, @more) = @_;
	my $any = join '|', 'eyJ0eXAi', 'eyJhbGci', map { quotemeta } @secrets, @more;
	my @files = ($node->logfile, glob($node->data_dir . '/pg_wal/0*'), data_files($node->data_dir));
	my @found;

	foreach my $path (@files)
	{
		my $tail = '';
		my $buf;

		open my $fh, '<:raw', $path or next;
		while (sysread($fh, $buf, 1024 * 1024))
		{
			$buf = $tail . $buf;
			if ($buf =~ /$any/)
			{
				push @found, $path;
				last;
			}
			$tail = substr($buf, -200);
		}
		close $fh;
	}
	return @found;
}

END
{
	my $status = $?;

	foreach my $node (values %started)
	{
		my @found = secrets_left($node);

		next unless @found;
		diag("secrets are left in: @found");
		$status ||= 1;
	}
	$? = $status;
}

=back

=cut

1;
