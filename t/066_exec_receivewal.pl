
# pg_cmk exec -- pg_receivewal: an archive that a client fills is sealed, page by page as
# the server's own WAL is, and serves recovery like one that the server filled.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use File::Path qw(rmtree);
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $marker = new_marker();
my $said;						# by the pg_receivewal that runs last

# pg_receivewal under pg_cmk exec (not so, if $dir is undef), with what it says in $said.
sub receivewal
{
	my ($dir, $node, $archive, @more) = @_;

	$said = '';
	mkdir $archive;
	return IPC::Run::start(
		[
			defined $dir ? ('pg_cmk', 'exec', '-D', $dir, '--') : (),
			'pg_receivewal', '-D', $archive, '--no-loop', '-s', '1',
			'-d', $node->connstr('postgres') . ' application_name=receiver', @more
		],
		'<', \undef, '>&', \$said, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
}

# The same to its end: its exit status.
sub receivewal_once
{
	my $h = receivewal(@_);

	$h->finish;
	return $? >> 8;
}

sub stop_receivewal
{
	my ($h) = @_;

	$h->signal('INT');
	$h->finish;
	return $? >> 8;
}

sub add_rows
{
	my ($node) = @_;
	$node->safe_psql('postgres', qq{INSERT INTO t SELECT g, '$marker' || g FROM generate_series(1, 1000) g});
	return;
}

sub rows
{
	my ($node) = @_;
	return $node->safe_psql('postgres', "SELECT count(*) FROM t WHERE v LIKE '$marker%'");
}

# The receiver has written all that there is.
sub received
{
	my ($node, $h) = @_;
	my $lsn = $node->safe_psql('postgres', 'SELECT CASE WHEN pg_is_in_recovery()
		THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END');

	return wait_until("$lsn is received", sub {
			$h->pump_nb;
			return $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_replication
				WHERE application_name = 'receiver' AND write_lsn >= '$lsn'") eq 1;
		});
}

# Writes rows and goes to another segment; the name of the one that is full now.
sub fill_segment
{
	my ($node) = @_;
	my $name = $node->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_insert_lsn())');

	add_rows($node);
	$name = $node->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_insert_lsn())');
	$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
	return $name;
}

sub nothing_plain
{
	my ($archive, $what) = @_;
	my $pages = wal_pages($archive);

	is_deeply([ wal_marker_files($archive, $marker) ], [], "$what: no row in clear");
	is($pages->{plain} + $pages->{other}, 0, '... no plain page') or diag("@{ $pages->{where} }");
	cmp_ok($pages->{sealed}, '>', 0, '... but sealed ones');
	return;
}

sub is_the_servers
{
	my ($node, $archive, $name, $what) = @_;

	return ok(-s "$archive/$name" && slurp_file("$archive/$name") eq slurp_file($node->data_dir . "/pg_wal/$name"), $what);
}

sub generation
{
	my ($path) = @_;
	return unpack('v', read_bytes($path, 2, 2)) >> 11 & 15;
}

# Recovery from a backup of $node with that archive alone; accepts no plain WAL.
sub recovers
{
	my ($node, $backup, $archive, $conf, $expected, $what) = @_;
	our $n;
	my $copy = PostgreSQL::Test::Cluster->new('copy' . ++$n);

	$copy->init_from_backup($node, $backup);
	$copy->append_conf('postgresql.conf', "restore_command = 'cp \"$archive/%f\" \"%p\"'\n"
		  . "archive_mode = off\npg_cmk.accept_plain_wal = off\nsynchronous_standby_names = ''\n"
		  . "recovery_target_action = promote\n$conf");
	$copy->append_conf('recovery.signal', '');
	unlink $copy->data_dir . '/standby.signal';	# of a standby's backup
	$copy->start;
	ok($copy->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), "$what: recovery ends");
	is(rows($copy), $expected, '... with every row');
	$copy->stop;
	$copy->clean_node;
	return;
}

# A base backup without WAL
sub backup
{
	my ($node, $name) = @_;
	my $dir = $node->backup_dir . "/$name";

	command_ok([ 'pg_basebackup', '-D', $dir, '-X', 'none', '-c', 'fast', '--no-sync', '-d', $node->connstr('postgres') ],
		"base backup \"$name\"");
	mkdir "$dir/pg_wal/archive_status";
	return $dir;
}

# dd under the name of a tool that receives WAL: what that tool could write, and never
# should be able to in clear.
sub written_otherwise
{
	my ($node, $plain, $name) = @_;
	my $dd = $node->basedir . '/pg_receivewal';
	my $to = $node->basedir . '/otherwise';
	my $junk = "$to/junk";
	my $tool = sub {
		my ($from, $file, @more) = @_;
		my $h = IPC::Run::start([ 'pg_cmk', 'exec', '-D', $node->data_dir, '--', $dd, "if=$from", "of=$to/$file", @more ],
			'<', \undef, '>&', \$said, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));

		$said = '';
		$h->finish;
		return $? >> 8;
	};
	my $refused = sub {
		my ($why, $what, @args) = @_;

		isnt($tool->(@args), 0, "$what is refused");
		like($said, $why, '... with the reason');
		is_deeply([ wal_marker_files($to, $marker) ], [], '... no row in clear');
		unlink "$to/$args[1]";
	};

	mkdir $to;
	symlink((grep { -x } map { "$_/dd" } split /:/, $ENV{PATH})[0], $dd);
	is($tool->($plain, $name, 'bs=4999', 'conv=notrunc'), 0, 'pieces of any length');
	is_the_servers($node, $to, $name, '... are sealed');
	is($tool->($plain, $name, 'bs=777', 'conv=notrunc'), 0, '... and written again');
	is_the_servers($node, $to, $name, '... the same bytes');
	unlink "$to/$name";
	is($tool->($plain, $name, 'bs=24576'), 0, 'a file that is copied');
	is_the_servers($node, $to, $name, '... is sealed');
	is($tool->($node->data_dir . "/pg_wal/$name", $name, 'bs=24576'), 0, 'a sealed file that is copied');
	is_the_servers($node, $to, $name, '... stays as it is');
	unlink "$to/$name";

	$refused->(qr/is not written in whole pages/, 'a copy in other pieces', $plain, $name, 'bs=1000');
	$refused->(qr/came in too small a piece/, 'a first piece without a header', $plain, $name, 'bs=30', 'conv=notrunc');
	$refused->(qr/is not written from its start on/, 'a segment without a beginning', $plain, $name, 'bs=8192', 'skip=1', 'seek=1', 'conv=notrunc');
	$refused->(qr/does not begin like that segment/, 'another segment', $plain, '0000000100000000000000FE', 'bs=8192', 'conv=notrunc');
	append_to_file($junk, "$marker\n" x 1000);
	rename $junk, $node->basedir . '/junk';
	$refused->(qr/does not begin like that segment/, 'what is no WAL', $node->basedir . '/junk', $name, 'bs=8192', @$_)
	  foreach [], ['conv=notrunc'];
	append_to_file("$to/$name", 'something else');
	$refused->(qr/holds something else than WAL/, 'a file of something else', $plain, $name, 'bs=8192', 'conv=notrunc');

	# a page of another place, as the end of a recycled segment has it
	my $recycled = slurp_file($plain);
	my $path = $node->basedir . '/recycled';
	substr($recycled, 2 * PAGE_SIZE, PAGE_SIZE) = substr($recycled, PAGE_SIZE, PAGE_SIZE);
	append_to_file($path, $recycled);
	is($tool->($path, $name, 'bs=24576'), 0, 'a copy with a left-over page');
	is(read_bytes("$to/$name", 2 * PAGE_SIZE, PAGE_SIZE), "\0" x PAGE_SIZE, '... which becomes zeros');
	is_deeply([ wal_marker_files($to, $marker) ], [], '... no row in clear');
	return;
}

foreach my $mb (1, 16)
{
	my $node = new_cmk_node("main$mb", allows_streaming => 1,
		initdb => ["--wal-segsize=$mb"], conf => "wal_keep_size = '256MB'\n");
	my $dir = $node->data_dir;
	my $archive = $node->basedir . '/received';
	my $slot_of;
	my ($h, $name);

	ok(wait_wal_sealed($node), "segments of $mb MB: WAL is sealed");
	$node->safe_psql('postgres', 'CREATE TABLE t (id int, v text) USING cmk_heap');
	mkdir $node->backup_dir;

	# Forms that cannot be sealed are refused before anything is written

	$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
	foreach my $method ('gzip', 'lz4')
	{
		isnt(receivewal_once($dir, $node, "$archive.$method", "--compress=$method"), 0, "--compress=$method is refused");
		like($said, qr/would hold compressed WAL, which cannot be sealed\n.*hint: .*without --compress/, '... with the reason');
		is_deeply([ wal_files("$archive.$method") ], [], '... and nothing is written');
	}

	# Alone it writes rows in clear, and its last file is not gone on with

	is(receivewal_once($dir, $node, $archive, '--create-slot', '-S', 'archive'), 0, 'a slot is made');
	is(receivewal_once($dir, $node, $archive, '--create-slot', '-S', 'archive', '--if-not-exists'), 0, '... once');
	$h = receivewal(undef, $node, "$archive.plain");
	$name = fill_segment($node);
	add_rows($node);
	ok(received($node, $h), 'pg_receivewal alone');
	stop_receivewal($h);
	cmp_ok(scalar wal_marker_files("$archive.plain", $marker), '>', 0, '... writes rows in clear');
	isnt(receivewal_once($dir, $node, "$archive.plain"), 0, '... and is not gone on with');
	like($said, qr/partial" holds plain WAL\n.*hint: Remove it/, '... with the reason');

	written_otherwise($node, "$archive.plain/$name", $name);

	# Synchronous, with a slot

	$h = receivewal($dir, $node, $archive, '-S', 'archive', '--synchronous');
	add_rows($node);
	ok(received($node, $h), 'pg_receivewal has begun');
	my $backup = backup($node, 'begin');
	$node->safe_psql('postgres', q{ALTER SYSTEM SET synchronous_standby_names = 'receiver'});
	$node->reload;
	add_rows($node) foreach 1 .. 5;
	ok(received($node, $h), 'pg_receivewal --synchronous');
	nothing_plain($archive, 'a segment that is not full');
	my $partial = (grep { /partial$/ } wal_files($archive))[-1];
	my ($first) = $partial =~ m{/([0-9A-F]{24})\.partial$};
	$name = fill_segment($node);
	ok(received($node, $h), '... is a synchronous standby');
	ok(wait_until("$name is there", sub { $h->pump_nb; -e "$archive/$name" }), '... and fills segments');
	is_the_servers($node, $archive, $name, "... $name is what the server has");
	is_the_servers($node, $archive, $first, "... and $first");

	# Killed in the middle of a segment, and gone on with

	add_rows($node);
	ok(received($node, $h), 'in the middle of a segment');
	$h->kill_kill;
	($partial) = grep { /partial$/ } wal_files($archive);
	my $before = slurp_file($partial);
	$node->safe_psql('postgres', q{ALTER SYSTEM RESET synchronous_standby_names});
	$node->reload;
	add_rows($node);
	$h = receivewal($dir, $node, $archive, '-S', 'archive');
	ok(received($node, $h), 'killed, started again');
	is(substr(slurp_file($partial), 0, PAGE_SIZE), substr($before, 0, PAGE_SIZE), '... the same bytes')
	  if -e $partial;
	$name = fill_segment($node);
	ok(received($node, $h), '... it goes on');
	ok(wait_until("$name is there", sub { $h->pump_nb; -e "$archive/$name" }), '... to the end of the segment');
	is_the_servers($node, $archive, $name, '... which is what the server has');
	nothing_plain($archive, '... the archive');
	command_like([ 'pg_cmk', 'exec', '-D', $backup, '--', 'pg_waldump', '-n', '1', "$archive/$name" ],
		qr/rmgr: /, '... pg_waldump reads it, with a backup for a data directory');
	is(stop_receivewal($h), 0, '... it ends when asked to');
	recovers($node, 'begin', $archive, "recovery_target_timeline = current\n", rows($node), 'from this archive');

	# A new root key: the running one stays with those that it has

	$h = receivewal($dir, $node, $archive, '-S', 'archive');
	add_rows($node);
	ok(received($node, $h), 'pg_receivewal runs');
	$node->safe_psql('postgres', 'SELECT cmk.rotate_root()');
	$name = fill_segment($node);
	add_rows($node);
	ok(received($node, $h), '... over a new root key');
	ok(wait_until("$name is there", sub { $h->pump_nb; -e "$archive/$name" }), '... to the next segment');
	like($said, qr/warning: there is a newer root key, number 2;.*number 1\n.*hint: Start the tool again/, '... and says so');
	stop_receivewal($h);
	$h = receivewal($dir, $node, $archive, '-S', 'archive');
	$name = fill_segment($node);
	ok(received($node, $h), '... started again');
	ok(wait_until("$name is there", sub { $h->pump_nb; -e "$archive/$name" }), '... it goes on');
	unlike($said, qr/warning/, '... without a word');
	is_the_servers($node, $archive, $name, '... and has what the server has');
	stop_receivewal($h);

	# A change of timelines, from a standby that is promoted; and on to the new one

	my $standby = PostgreSQL::Test::Cluster->new("standby$mb");
	my $of_standby = $node->basedir . '/standby';
	$standby->init_from_backup($node, 'begin', has_streaming => 1);
	$standby->append_conf('postgresql.conf', "wal_keep_size = '256MB'\n");
	$standby->start;
	$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
	$h = receivewal($standby->data_dir, $standby, $of_standby);
	add_rows($node);
	$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
	ok(received($standby, $h), 'pg_receivewal from a standby');
	$node->safe_psql('postgres', 'CHECKPOINT');
	$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
	my $backup2 = backup($standby, 'of_standby') && 'of_standby';
	$name = fill_segment($node);
	$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
	ok(wait_until("$name is there", sub { $h->pump_nb; -e "$of_standby/$name" }), '... it fills segments');
	add_rows($node);
	$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
	$standby->promote;
	add_rows($standby);
	$name = fill_segment($standby);
	like($name, qr/^00000002/, 'the standby is promoted');
	ok(wait_until("$name is there", sub { $h->pump_nb; -e "$of_standby/$name" }), '... and its new timeline received');
	like(slurp_file("$of_standby/00000002.history"), qr{^1\t[0-9A-F]+/[0-9A-F]+\t}, '... its history is text');
	foreach my $path (grep { m{/00000002[0-9A-F]{16}$} } wal_files($of_standby))
	{
		is_the_servers($standby, $of_standby, ($path =~ s/.*\///r), '... its segment is what the server has');
	}
	nothing_plain($of_standby, '... the archive');
	stop_receivewal($h);
	recovers($standby, $backup2, $of_standby, "recovery_target_timeline = latest\n", rows($standby), 'over the change of timelines');
	$standby->stop;

	# Behind the place from which the new root seals WAL

	if ($mb == 16)
	{
		my ($from) = slurp_file("$dir/pg_cmk/root.json") =~ /"id": 2.*?"wal_from": "([^"]+)"/s;

		$node->safe_psql('postgres', q{SELECT pg_drop_replication_slot('archive')});
		$node->safe_psql('postgres', q{ALTER SYSTEM SET wal_keep_size = '64MB'});
		$node->reload;
		$node->safe_psql('postgres', q{SELECT pg_logical_emit_message(true, 'x', 'y'); SELECT pg_switch_wal()})
		  while $node->safe_psql('postgres', "SELECT pg_current_wal_insert_lsn() < '$from'::pg_lsn") eq 't';
		$h = receivewal($dir, $node, "$archive.new");
		my $old = receivewal($backup, $node, "$archive.old");
		ok(wait_until('both have begun',
				sub { $_->pump_nb foreach $h, $old; wal_files("$archive.new") && wal_files("$archive.old") }),
			'two of them, with different root.json');
		backup($node, 'late');
		$name = fill_segment($node);
		foreach my $a ("$archive.new", "$archive.old")
		{
			ok(wait_until("$name is there", sub { $_->pump_nb foreach $h, $old; -e "$a/$name" }), 'behind the place of the new root');
			nothing_plain($a, '... the archive');
		}
		stop_receivewal($_) foreach $h, $old;
		is_the_servers($node, "$archive.new", $name, '... is what the server has');
		is(generation("$archive.new/$name"), 2, '... under the new root');
		is(generation("$archive.old/$name"), 1, '... under the old one, by the root.json of an old backup');
		recovers($node, 'late', "$archive.$_", "recovery_target_timeline = current\n", rows($node), "under the $_ root")
		  foreach 'new', 'old';

		# an old root.json cannot go on with what a newer root has sealed
		add_rows($node);
		$h = receivewal($dir, $node, "$archive.new");
		ok(received($node, $h), 'a segment under the new root is begun');
		stop_receivewal($h);
		isnt(receivewal_once($backup, $node, "$archive.new"), 0, 'who does not know it cannot go on');
		like($said, qr/could not go on with file/, '... and says so');
	}
	$node->stop;
}

done_testing();
