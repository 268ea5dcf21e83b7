=pod

=head1 NAME

MemoryTest - what lies in the memory of a server's processes

=head1 SYNOPSIS

	use MemoryTest;

	my %needles = (known_keys($node, $root), 'a row' => $marker);
	my @found   = memory_of($node, \%needles);   # "checkpointer: dek 3", …

=cut

package MemoryTest;

use strict;
use warnings;

use Carp;
use Exporter 'import';
use FindBin;
use JSON::PP;
use MIME::Base64 qw(decode_base64url);

use CmkTest;
use PostgreSQL::Test::Utils;
use VaultTest;

our @EXPORT = qw(root_from_vault root_from_file known_keys memory_of);

=head1 FUNCTIONS

=over

=item root_from_vault($node, $kv, $vault, $key), root_from_file($node, $pem)

The current root key, as whoever has the KEK gets it from root.json.

=cut

sub _current_wrap
{
	my ($node, $recipient) = @_;
	my $json = decode_json(slurp_file($node->data_dir . '/pg_cmk/root.json'));
	my ($root) = grep { $_->{id} == $json->{current_root} } @{ $json->{roots} };
	my ($wrap) = grep { $_->{recipient} =~ $recipient } @{ $root->{wraps} };

	return $wrap || croak "no wrap for $recipient";
}

sub root_from_vault
{
	my ($node, $kv, $vault, $key) = @_;
	my $wrap = _current_wrap($node, qr/^https:.*\/\Q$key\E(\/|$)/);
	my ($version) = $wrap->{key_version} =~ /([^\/]+)$/;
	my $plain = $kv->use_key($vault, $key, 'unwrapKey', $wrap->{value}, version => $version);

	return decode_base64url(ref $plain ? $plain->{value} : $plain);
}

sub root_from_file
{
	my ($node, $pem) = @_;
	my $wrap = _current_wrap($node, qr/^file:/);
	my $in   = $node->basedir . '/wrap.bin';
	my $root;

	open my $fh, '>:raw', $in or croak "$in: $!";
	print $fh decode_base64url($wrap->{value});
	close $fh;
	$root = `openssl pkeyutl -decrypt -inkey '$pem' -in '$in' -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256`;
	unlink $in;
	return $root;
}

=item known_keys($node, $root)

name => bytes of every key that this root opens.  Both halves of a DEK are keys of
their own (data and tweak); an AES-256 key schedule begins, or in its inverse
ends, with the key itself.

=cut

sub known_keys
{
	my ($node, $root) = @_;
	my $bin = PostgreSQL::Test::Utils::tempdir('tools');
	my $pid;
	my %keys;
	my $n = 0;

	system_or_bail('make', '-s', '-C', "$FindBin::RealBin/tools", "BIN=$bin");
	open my $fh, '>:raw', "$bin/root" or croak $!;
	print $fh $root;
	close $fh;
	foreach (`$bin/keydump '@{[ $node->data_dir ]}/pg_cmk' <$bin/root`)
	{
		my ($kind, $hex) = /^(\w+) ([0-9a-f]+)$/ or croak "keydump: $_";

		$n++;
		if ($kind eq 'dek')
		{
			$keys{"data key $n"}  = pack 'H*', substr($hex, 0, 64);
			$keys{"tweak key $n"} = pack 'H*', substr($hex, 64);
		}
		else
		{
			$keys{"$kind $n"} = pack 'H*', $hex;
		}
	}
	unlink "$bin/root";
	croak 'keydump found nothing' unless $n;
	return %keys;
}

=item memory_of($node, \%needles)

What of the needles is in which process: a list of "title: name".  Every readable
byte of every process of the server is read.

=cut

sub memory_of
{
	my ($node, $needles) = @_;
	my @found;

	foreach my $pid (server_pids($node))
	{
		my ($title, %seen);

		# One that ended meanwhile has no memory any more.
		eval {
			$title = slurp_file("/proc/$pid/cmdline");
			_search_process($pid, $needles, \%seen);
			1;
		} or -d "/proc/$pid" && croak $@ or next;
		$title =~ tr/\0/ /;
		push @found, map { "$title: $_" } sort keys %seen;
	}
	return @found;
}

sub _search_process
{
	my ($pid, $needles, $seen) = @_;

	open my $mem, '<:raw', "/proc/$pid/mem" or croak "/proc/$pid/mem: $!";
	foreach (split /\n/, slurp_file("/proc/$pid/maps"))
	{
		my ($from, $to, $mode, $name) = /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)$/;
		no warnings 'portable';

		next unless $mode =~ /^r/ && $name !~ /^\[v/;
		_search_range($mem, hex $from, hex $to, $needles, $seen);
	}
	close $mem;
	return;
}

# In pieces that overlap by as much as a needle may be long.
sub _search_range
{
	my ($mem, $from, $to, $needles, $seen) = @_;
	my $step = 8 * 1024 * 1024;

	for (my $at = $from; $at < $to; $at += $step)
	{
		my $want = $to - $at < $step + 256 ? $to - $at : $step + 256;
		my $buf;

		sysseek($mem, $at, 0) or next;
		defined sysread($mem, $buf, $want) or next;
		foreach my $name (keys %$needles)
		{
			$seen->{$name} = 1 if index($buf, $needles->{$name}) >= 0;
		}
	}
	return;
}

=back

=cut

1;
