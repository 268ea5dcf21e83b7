
# What of the vault's business is to be found elsewhere, how often the vault is
# asked, and a standby that opens the same root by itself.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use MemoryTest;
use MIME::Base64 qw(encode_base64);
use PostgreSQL::Test::BackgroundPsql;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VaultTest;

my $v    = new_vault();
my $kv   = $v->{kv};
my $node = new_vault_node('main', $v, allows_streaming => 1);

# Calls

$node->safe_psql('postgres', 'CREATE TABLE t USING cmk_heap AS SELECT generate_series(1, 100) i');

sub calls
{
	my $c = $kv->counts;
	return join ' ', map { "$_ " . ($c->{$_} // 0) } qw(get wrap unwrap);
}

# What a start and one validation ask, with the clock out of the way.
sub count_calls
{
	my ($what) = @_;
	my $start;

	$node->stop('fast');
	$kv->counts(reset => 1);
	start_vault_node($node, $v);
	$start = calls();
	$kv->counts(reset => 1);
	$node->safe_psql('postgres', 'SELECT cmk.revalidate()');
	note("$what: start: $start; first validation: " . calls());
	$kv->counts(reset => 1);
	$node->safe_psql('postgres', 'SELECT cmk.revalidate()');
	note("$what: validation: " . calls());
	return ($start, calls());
}

$node->append_conf('postgresql.conf', "pg_cmk.revalidate_interval = 5min\npg_cmk.debug_deadline = 10min");
my @few = count_calls('1 relation');
$node->safe_psql('postgres', join ';', map { "CREATE TABLE many_$_ (i int) USING cmk_heap" } 1 .. 300);
cmp_ok($node->safe_psql('postgres', 'SELECT relations_sealed FROM cmk.status'), '>', 300, 'many relations');
my @many = count_calls('301 relations');
like($few[0], qr/^get \d+ wrap 0 unwrap 1$/, 'a start: one unwrap opens the cluster');
is($few[1], 'get 1 wrap 1 unwrap 1', 'a validation: three requests');
is_deeply(\@many, \@few, 'the same with 300 relations more');

$node->append_conf('postgresql.conf', "pg_cmk.revalidate_interval = 500ms\npg_cmk.debug_deadline = 8s");
$node->reload;

# A standby

$node->backup('one');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'one', has_streaming => 1);
start_vault_node($standby, $v);
is($standby->safe_psql('postgres', 'SELECT count(*) FROM t'), 100, 'a standby opens the root with the same key');
my $rotated = $kv->rotate_key('demo', 'kek');
foreach my $n ($node, $standby)
{
	ok( wait_until(
			'the new version governs',
			sub { $n->safe_psql('postgres', 'SELECT key_version FROM cmk.status') eq $rotated->{kid} }),
		$n->name . ' follows rotation');
}
is($standby->safe_psql('postgres', 'SELECT cmk.revalidate()'), 'Ready', 'the standby validates the new version');
my $from = log_position($standby);
my $session = $standby->background_psql('postgres', on_error_stop => 0);
$node->safe_psql('postgres', 'INSERT INTO t VALUES (101)');
$kv->disable_key('demo', 'kek');
ok(wait_state($standby, $from, 'Inaccessible', 'KeyDisabled'), 'a standby has a gate of its own');
like(denial($standby), qr/^57P03 .*customer-managed key/, 'it denies connections');
$session->quit;
$kv->enable_key('demo', 'kek');
ok(wait_until('both are open', sub { denial($node) eq '' && denial($standby) eq '' }), 'both come back');
$node->safe_psql('postgres', 'INSERT INTO t VALUES (102)');
ok(wait_until('the standby follows', sub { $standby->safe_psql('postgres', 'SELECT count(*) FROM t') == 102 }), 'and the standby streams again');

# Secrets: what was asked with a wrong token, a refused secret and a hang is in the log too.
$from = log_position($node);
$kv->fault(match => { op => 'get' }, status => 401, message => 'no');
wait_state($node, $from, 'Inaccessible');
$kv->clear_faults;
ok(wait_until('open', sub { denial($node) eq '' }), 'open');
my $secret = $v->{app}{client_secret};
my $found = '';
foreach my $n ($node, $standby)
{
	foreach my $pid (server_pids($n))
	{
		foreach my $file ('environ', 'cmdline')
		{
			my $text = do { local $/; open(my $fh, '<', "/proc/$pid/$file") or next; <$fh> } // '';
			$found .= " $pid/$file" if index($text, $secret) >= 0 || $text =~ /eyJ[\w-]{20}/;
		}
	}
}
is($found, '', 'no secret and no token in the environment and the arguments of processes');
cmp_ok(scalar(server_pids($node)), '>=', 5, 'processes were looked at');
is(system('grep', '-qa', 'AZURE_CLIENT_ID', '/proc/' . (server_pids($node))[0] . '/environ'), 0, 'and their environments could be read');

# Keys in no file: the root, and the DEKs that it opens, as they are and as text.
my %keys = known_keys($node, root_from_vault($node, $kv, 'demo', 'kek'));
my @forms;
foreach my $key (values %keys)
{
	my $base64 = encode_base64($key, '');
	$base64 =~ s/=+$//;
	push @forms, $key, unpack('H*', $key), uc unpack('H*', $key), $base64, $base64 =~ tr{+/}{-_}r;
}
cmp_ok(scalar(keys %keys), '>', 600, 'the keys of all relations are known');
foreach my $n ($node, $standby)
{
	my $name = $n->name;
	my @all  = data_files($n->data_dir);

	foreach my $file ('root.json', 'keys', 'events', 'status.json')
	{
		is(scalar(grep { $_ eq $n->data_dir . "/pg_cmk/$file" } @all), 1, "$name: pg_cmk/$file is among what is searched");
	}
	is(join(' ', secrets_left($n, @forms)), '', "$name: no secret, token or key in the log, the data directory and WAL");
}
# That the search would find one:
foreach my $form ($secret, $forms[0], $forms[1], 'eyJhbGciOiJSUzI1NiJ9')
{
	append_to_file($node->data_dir . '/pg_cmk/planted', 'x' x 1048570 . $form);
	is(join(' ', secrets_left($node, @forms)), $node->data_dir . '/pg_cmk/planted', 'one that is there is found');
	unlink $node->data_dir . '/pg_cmk/planted';
}

# Core dumps.  A dump would hold plain pages and key schedules; none is written, for
# whatever reason a process dies, and what the region has would not be in it.

# Which of the keys are in what a dump of that process would have, or in what
# madvise(2) has excluded from it (VmFlags dd).
sub keys_in
{
	my ($pid, $excluded, $needles) = @_;
	my (@ranges, %seen);
	no warnings 'portable';

	foreach (split /\n/, slurp_file("/proc/$pid/smaps"))
	{
		push @ranges, { from => hex $1, to => hex $2, read => $3 eq 'r', name => $4 }
		  if /^([0-9a-f]+)-([0-9a-f]+) (.)\S+ \S+ \S+ \S+\s*(.*)$/;
		$ranges[-1]{excluded} = / dd\b/ ? 1 : 0 if /^VmFlags:/;
	}
	open my $mem, '<:raw', "/proc/$pid/mem" or die "/proc/$pid/mem: $!";
	foreach my $r (grep { $_->{read} && $_->{name} !~ /^\[v/ && $_->{excluded} == $excluded } @ranges)
	{
		# in pieces that overlap by more than a key
		for (my $at = $r->{from}; $at < $r->{to}; $at += 1 << 22)
		{
			my $want = $r->{to} - $at < (1 << 22) + 256 ? $r->{to} - $at : (1 << 22) + 256;
			my $buf;

			sysseek($mem, $at, 0) or next;
			defined sysread($mem, $buf, $want) or next;
			index($buf, $needles->{$_}) >= 0 and $seen{$_} = 1 foreach keys %$needles;
		}
	}
	return sort keys %seen;
}

my %root = map { $_ => $keys{$_} } grep { /^root/ } keys %keys;
cmp_ok(scalar(keys %root), '>=', 1, 'the root is known');
my $worker = key_worker($node);
foreach my $pid (server_pids($node))
{
	my ($soft, $hard) = slurp_file("/proc/$pid/limits") =~ /^Max core file size\s+(\S+)\s+(\S+)/m;

	$found .= " $pid may dump $soft/$hard;" if "$soft $hard" ne '1 1';
	$found .= " $pid: $_ would be in a dump;" foreach keys_in($pid, 0, \%root);
}
is($found, '', 'no process may dump core, and none has the root where a dump would have it');
is(join(' ', keys_in($worker, 1, \%root)), join(' ', sort keys %root), 'the root is in memory that no dump has');

# Where a core would be: if a process without our limit leaves one there, a server
# process must not.
my $data = $node->data_dir;
sub cores_in
{
	my ($dir) = @_;
	return join ' ', glob("$dir/core $dir/core.* $dir/*/core $dir/*/core.*");
}
my $control = PostgreSQL::Test::Utils::tempdir('core');
system('sh', '-c', 'cd "$1" && ulimit -c unlimited 2>/dev/null; kill -SEGV $$', 'sh', $control);
my $dumps = grep { -e } split / /, cores_in($control);
note($dumps ? 'this machine writes core dumps into the working directory' : 'this machine does not write core dumps into the working directory');
my $idle = $node->background_psql('postgres', on_error_stop => 0);
my %victim = (worker => $worker, session => $idle->query_safe('SELECT pg_backend_pid() FROM t LIMIT 1'));
foreach my $who ('session', 'worker')
{
	$from = log_position($node);
	kill 'SEGV', $who eq 'worker' ? key_worker($node) : $victim{$who};
	ok(wait_log($node, $from, qr/was terminated by signal 11.*database system is ready to accept connections/s), "a $who that crashes: a crash restart");
	unlike(log_since($node, $from), qr/core dumped/, "a $who that crashes: the kernel dumped no core");
	is(join(' ', grep { -e } split / /, cores_in($data)), '', "a $who that crashes: and left none");
	wait_until('open', sub { denial($node) eq '' });
}
eval { $idle->quit };

$standby->stop('fast');
$node->stop('fast');
done_testing();
