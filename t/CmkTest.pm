=pod

=head1 NAME

CmkTest - what the TAP tests of pg_cmk share

=head1 SYNOPSIS

	use FindBin;
	use lib $FindBin::RealBin;
	use CmkTest;

	my $node = new_cmk_node('main', checksums => 1);
	my $marker = new_marker();
	...
	is_deeply([ marker_files($node, $marker) ], [], 'no plain text on disk');
	is(sealed_faults($node, 'postgres', 't'), '', 'every page is sealed');

=head1 DESCRIPTION

The tests ask two questions of every path by which a file comes into being: can
a text that stands in the rows be found in any file, and does every page that is
not all zero carry the mark of a sealed page?  Both are answered from the bytes
on disk, read by this module and not by the server, and the second is held
against what cmk.pages() and cmk.is_sealed() say.  The first alone would be
content with a compressed plain page, the second alone with a page that is
marked but not encrypted.

Nothing here waits for a time: wait_until() waits for a condition.

=cut

package CmkTest;

use strict;
use warnings;

use Carp;
use Compress::Zlib ();
use Exporter 'import';
use Fcntl qw(SEEK_SET O_RDONLY O_RDWR);
use File::Basename qw(dirname);
use Time::HiRes qw(usleep);

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  make_kek new_cmk_node cmk_conf new_marker
  wait_until log_since start_fails hears
  wait_wal_sealed wal_files wal_marker_files wal_pages
  data_files marker_files file_contains copy_tree
  page_counts relations_of sealed_faults index_faults
  keys_path keys_records keys_text relation_files orphan_records live_dead
  wait_no_orphans settle_deaths find_record relid_of
  read_bytes write_bytes flip_byte fix_record_crc
  PAGE_SIZE RECORD_SIZE
);

use constant PAGE_SIZE   => 8192;
use constant RECORD_SIZE => 128;
use constant PD_SEALED   => 0x8000;

=head1 CLUSTERS

=over

=item make_kek($path, [$bits])

Makes an RSA private key in PEM form that only its owner can read.

=cut

sub make_kek
{
	my ($path, $bits) = @_;
	$bits ||= 2048;

	my $old_umask = umask 0077;
	system_or_bail('openssl', 'genpkey', '-quiet', '-algorithm', 'RSA',
		'-pkeyopt', "rsa_keygen_bits:$bits", '-out', $path);
	umask $old_umask;
	chmod 0600, $path or croak "chmod $path: $!";
	return $path;
}

=item cmk_conf($kek)

The lines of postgresql.conf that put pg_cmk to work; $kek may be undef.

=cut

sub cmk_conf
{
	my ($kek) = @_;
	my $conf = "shared_preload_libraries = 'pg_cmk'\n";

	$conf .= "pg_cmk.key = 'file://$kek'\n" if defined $kek;
	return $conf;
}

=item new_cmk_node($name, %options)

A new cluster with pg_cmk preloaded, a KEK file beside its data directory, the
extension created in "postgres", and started.  Statistics are not gathered by
themselves (they hold values of the rows) and statements are not logged.

Options: kek (a path, or undef for none), checksums, allows_streaming,
has_archiving, initdb (a list of more options), conf (more lines), preload => 0,
start => 0, extension => 0.

=cut

sub new_cmk_node
{
	my ($name, %opt) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my $kek;

	$node->init(
		extra            => [ $opt{checksums} ? '-k' : (), @{ $opt{initdb} || [] } ],
		allows_streaming => $opt{allows_streaming},
		has_archiving    => $opt{has_archiving});

	$kek =
	  exists $opt{kek} ? $opt{kek} : make_kek($node->basedir . '/kek.pem');
	$node->append_conf('postgresql.conf',
		    "autovacuum = off\n"
		  . "log_statement = none\n"
		  . "max_prepared_transactions = 10\n"
		  . "restart_after_crash = on\n"
		  . "checkpoint_timeout = 1h\n");
	$node->append_conf('postgresql.conf', cmk_conf($kek))
	  unless defined $opt{preload} && !$opt{preload};
	$node->append_conf('postgresql.conf', $opt{conf}) if defined $opt{conf};

	return $node if defined $opt{start} && !$opt{start};
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_cmk')
	  unless defined $opt{extension} && !$opt{extension};
	return $node;
}

=item start_fails($node)

Tries to start the server; returns (true if it did not start, what it logged).

=cut

sub start_fails
{
	my ($node) = @_;
	my $offset = -s $node->logfile || 0;
	my $started = $node->start(fail_ok => 1);

	$node->stop('fast') if $started;
	return (!$started, slurp_file($node->logfile, $offset));
}

=item log_since($node, $offset)

What the server logged after that offset of its log file.

=cut

sub log_since
{
	my ($node, $offset) = @_;
	return slurp_file($node->logfile, $offset);
}

=item hears($node, [$connstr])

What a client hears who connects now, '' if it may.  Not by $node->psql(), which
hands the query over through a pipe and dies if nobody reads it any more.

=cut

sub hears
{
	my ($node, $more) = @_;
	my ($out, $err);
	my $connstr = $node->connstr('postgres') . ($more ? " $more" : '');
	my $ok = IPC::Run::run([ 'psql', '-XAtq', '-d', $connstr, '-c', 'SELECT 1' ],
		'<', \undef, '>', \$out, '2>', \$err);

	chomp $err;
	return $ok ? '' : $err;
}

=item wait_until($what, sub { ... })

Calls the function until it returns true; false if that takes longer than the
time that the server's own tests allow (PG_TEST_TIMEOUT_DEFAULT).

=cut

sub wait_until
{
	my ($what, $condition) = @_;
	my $deadline = time() + $PostgreSQL::Test::Utils::timeout_default;

	while (time() < $deadline)
	{
		return 1 if $condition->();
		usleep(100_000);
	}
	diag("timed out waiting until $what");
	return 0;
}

=back

=head1 BYTES ON DISK

=over

=item new_marker()

A text that stands nowhere else: 20 random lower-case letters, which no index
or text search configuration changes.

=cut

sub new_marker
{
	return join('', map { chr(ord('a') + int(rand(26))) } 1 .. 20);
}

=item data_files($dir)

All files below a data directory and its tablespaces but WAL; temporary files and
relations are there.

=cut

sub data_files
{
	my ($dir) = @_;
	my @dirs = ($dir);
	my @files;

	while (defined(my $d = shift @dirs))
	{
		opendir(my $dh, $d) or next;
		foreach my $name (readdir $dh)
		{
			next if $name =~ /^\.\.?$/;
			next if $name eq 'pg_wal';
			my $path = "$d/$name";
			if (-d $path) { push @dirs, $path }
			elsif (-f _) { push @files, $path }
		}
		closedir $dh;
	}
	return sort @files;
}

=item file_contains($path, $text)

True if the file holds the text.  A file that has vanished does not.

=cut

sub file_contains
{
	my ($path, $text) = @_;
	my $tail = '';
	my $buf;

	sysopen(my $fh, $path, O_RDONLY) or return 0;
	binmode $fh;
	while (sysread($fh, $buf, 1024 * 1024))
	{
		my $window = $tail . $buf;
		return 1 if index($window, $text) >= 0;
		$tail = substr($window, -(length($text) - 1));
	}
	close $fh;
	return 0;
}

=item wait_wal_sealed($node)

The worker begins to seal WAL when recovery is over: true once it has.

=cut

sub wait_wal_sealed
{
	my ($node) = @_;
	return wait_until('WAL is sealed',
		sub { ($node->psql('postgres', 'SELECT wal_sealed FROM cmk.status'))[1] eq 't' });
}

=item wal_files($dir)

All files of a directory, without those below it.

=cut

sub wal_files
{
	my ($dir) = @_;

	opendir(my $dh, $dir) or croak "opendir $dir: $!";
	my @files = sort grep { -f } map { "$dir/$_" } readdir $dh;
	closedir $dh;
	return @files;
}

=item wal_marker_files($node_or_dir, $marker)

The files of a WAL directory (of a node's pg_wal) in which the marker stands.

=cut

sub wal_marker_files
{
	my ($node, $marker) = @_;
	my $dir = ref $node ? $node->data_dir . '/pg_wal' : $node;
	my @hits = grep { file_contains($_, $marker) } wal_files($dir);

	s/^\Q$dir\E\/// foreach @hits;
	return @hits;
}

=item wal_pages($node_or_dir, [$from])

{ sealed, plain, zero, other } pages of the WAL segments from the one of that name on
(other: without a WAL page's magic), and where some plain ones are.

=cut

sub wal_pages
{
	my ($node, $from) = @_;
	my $dir = ref $node ? $node->data_dir . '/pg_wal' : $node;
	my %n = (sealed => 0, plain => 0, zero => 0, other => 0, where => []);

	foreach my $path (wal_files($dir))
	{
		my ($name) = $path =~ m{/([0-9A-F]{24})(\.partial)?$} or next;
		my $page;

		next if defined $from && $name lt $from;
		sysopen(my $fh, $path, O_RDONLY) or next;
		binmode $fh;
		while ((sysread($fh, $page, PAGE_SIZE) || 0) == PAGE_SIZE)
		{
			my ($magic, $info) = unpack('vv', $page);

			$n{ ($page =~ tr/\0//c) == 0 ? 'zero'
				: $magic != 0xD110 ? 'other'
				: $info & 0x8000   ? 'sealed' : 'plain' }++;
			push @{ $n{where} },
			  sprintf('%s: timeline %d, %X/%X', $name, (unpack('VVVV', $page))[1, 3, 2])
			  if $magic == 0xD110 && !($info & 0x8000) && @{ $n{where} || [] } < 5;
		}
		close $fh;
	}
	return \%n;
}

=item marker_files($node_or_dir, $marker)

The files, relative to the data directory, in which the marker stands.

=cut

sub marker_files
{
	my ($node, $marker) = @_;
	my $dir = ref $node ? $node->data_dir : $node;
	my @hits = grep { file_contains($_, $marker) } data_files($dir);

	s/^\Q$dir\E\/// foreach @hits;
	return @hits;
}

=item copy_tree($from, $to, [$skip])

Copies a directory that may change meanwhile, as a backup script would: what
vanishes is not copied.  $skip is a pattern for paths below $from.

=cut

sub copy_tree
{
	my ($from, $to, $skip) = @_;
	my @todo = ('');

	while (defined(my $rel = shift @todo))
	{
		my $src = "$from$rel";
		my $dst = "$to$rel";

		next if $rel ne '' && defined $skip && substr($rel, 1) =~ $skip;
		if (-d $src)
		{
			mkdir $dst, 0700 or croak "mkdir $dst: $!";
			opendir(my $dh, $src) or next;
			push @todo, map { "$rel/$_" } grep { !/^\.\.?$/ } readdir $dh;
			closedir $dh;
		}
		elsif (-f _)
		{
			my $buf;

			sysopen(my $in, $src, O_RDONLY) or next;
			open(my $out, '>', $dst) or croak "open $dst: $!";
			binmode $_ foreach $in, $out;
			print $out $buf while sysread($in, $buf, 65536);
			close $out or croak "close $dst: $!";
			chmod 0600, $dst;
		}
	}
	return;
}

=item page_counts($path)

Counts the pages of a relation file, given the path of its main fork's first
segment: { fork => { pages, sealed, plain, zero } } for the forks that exist.

=cut

sub page_counts
{
	my ($path) = @_;
	my %counts;

	foreach my $fork ('main', 'fsm', 'vm', 'init')
	{
		my $base = $fork eq 'main' ? $path : "${path}_$fork";

		for (my $seg = 0;; $seg++)
		{
			my $file = $seg ? "$base.$seg" : $base;
			my $page;

			sysopen(my $fh, $file, O_RDONLY) or last;
			binmode $fh;
			my $c = ($counts{$fork} ||=
				  { pages => 0, sealed => 0, plain => 0, zero => 0 });
			while ((sysread($fh, $page, PAGE_SIZE) || 0) == PAGE_SIZE)
			{
				$c->{pages}++;
				$c->{ _page_kind($page) }++;
			}
			close $fh;
		}
	}
	return \%counts;
}

sub _page_kind
{
	my ($page) = @_;

	return 'sealed' if unpack('v', substr($page, 10, 2)) & PD_SEALED;
	return ($page =~ tr/\0//c) == 0 ? 'zero' : 'plain';
}

=item relations_of($node, $db, @tables)

Every relation with storage that belongs to the tables: themselves, their
partitions, TOAST tables and indexes.  A list of { name, path, sealed, pages,
persistence }, where sealed and pages are what cmk.is_sealed() and cmk.pages()
say.

=cut

sub relations_of
{
	my ($node, $db, @tables) = @_;
	my $list = join(', ', map { "'$_'::regclass" } @tables);
	my $out = $node->safe_psql(
		$db, qq{
		WITH t AS (SELECT unnest(ARRAY[$list]) AS oid),
		p AS (SELECT oid::oid FROM t
			UNION SELECT relid FROM t, pg_partition_tree(t.oid)),
		h AS (SELECT oid FROM p
			UNION SELECT reltoastrelid FROM p JOIN pg_class c USING (oid)
				WHERE reltoastrelid <> 0),
		a AS (SELECT oid FROM h
			UNION SELECT indexrelid FROM h JOIN pg_index ON indrelid = oid)
		SELECT c.oid::regclass, pg_relation_filepath(c.oid),
			cmk.is_sealed(c.oid),
			(SELECT string_agg(concat_ws('/', fork, pages, sealed, plain, zero),
					',' ORDER BY fork)
				FROM cmk.pages(c.oid) WHERE pages > 0),
			c.relpersistence
		FROM a JOIN pg_class c USING (oid)
		WHERE c.relkind IN ('r', 'm', 't', 'i')
		ORDER BY c.oid});

	return map {
		my ($name, $path, $sealed, $pages, $persistence) = split /\|/, $_, -1;
		{
			name   => $name,
			path   => $node->data_dir . "/$path",
			sealed => $sealed,
			pages  => $pages,
			persistence => $persistence
		}
	} split /\n/, $out;
}

=item sealed_faults($node, $db, @tables)

Holds what is on disk against what it should be: every relation of the tables
has a DEK, no fork of it a plain page, and cmk.pages() counts what stands there.
Run a CHECKPOINT first.  That does not write unlogged relations, which only a
shutdown does, so of these the sealed and zero pages are not compared.  Returns a
text that names every fault, '' if none.

=cut

sub sealed_faults
{
	my ($node, $db, @tables) = @_;
	my @faults;
	my $sealed_pages = 0;

	foreach my $rel (relations_of($node, $db, @tables))
	{
		my $counts = page_counts($rel->{path});
		my @lines;

		push @faults, "$rel->{name} is not sealed" if $rel->{sealed} ne 't';
		push @faults, "$rel->{name} has no file $rel->{path}"
		  unless exists $counts->{main};
		foreach my $fork (sort keys %$counts)
		{
			my $c = $counts->{$fork};

			push @faults, "$rel->{name} has $c->{plain} plain pages ($fork)"
			  if $c->{plain};
			push @lines,
			  $rel->{persistence} eq 'u'
			  ? "$fork/$c->{pages}/$c->{plain}"
			  : join('/', $fork, @$c{qw(pages sealed plain zero)})
			  if $c->{pages};
			$sealed_pages += $c->{sealed};
		}
		$rel->{pages} =~ s{(\w+/\d+)/\d+/(\d+)/\d+}{$1/$2}g
		  if $rel->{persistence} eq 'u';
		push @faults,
		  "cmk.pages($rel->{name}) says \"$rel->{pages}\", the disk \""
		  . join(',', @lines) . '"'
		  if $rel->{pages} ne join(',', @lines);
	}
	push @faults, "no sealed page in @tables" if $sealed_pages == 0;
	return join("\n", @faults);
}

=item index_faults($node, $db)

bt_index_check with heapallindexed over every valid btree index on a cmk_heap
table of the database; what it complains about, '' if nothing.

=cut

sub index_faults
{
	my ($node, $db) = @_;
	my ($ret, $out, $err) = $node->psql(
		$db, q{
		SELECT count(bt_index_check(i.indexrelid, true))
		FROM pg_index i
			JOIN pg_class c ON c.oid = i.indexrelid
			JOIN pg_class t ON t.oid = i.indrelid
		WHERE i.indisvalid AND c.relkind = 'i' AND t.relpersistence <> 't'
			AND c.relam = (SELECT oid FROM pg_am WHERE amname = 'btree')
			AND t.relam = (SELECT oid FROM pg_am WHERE amname = 'cmk_heap')});

	return $err if $ret != 0;
	return $out > 0 ? '' : 'there is no index to check';
}

=back

=head1 THE KEYS FILE

A header of 128 bytes, then records of 128 bytes; see src/keyring/record.h.

=over

=item keys_path($node_or_dir)

=cut

sub keys_path
{
	my ($node) = @_;
	return (ref $node ? $node->data_dir : $node) . '/pg_cmk/keys';
}

=item keys_records($node_or_dir)

The records in use, each { n, offset, state, flags, root, spc, db, rel, id,
generation, birth_lsn, birth_id, raw }; n counts from 1, id is "spc/db/rel".

=cut

sub keys_records
{
	my ($node) = @_;
	my $data = slurp_file(keys_path($node));
	my @records;

	for (my $n = 1; length($data) >= ($n + 1) * RECORD_SIZE; $n++)
	{
		my $raw = substr($data, $n * RECORD_SIZE, RECORD_SIZE);
		my %r = (n => $n, offset => $n * RECORD_SIZE, raw => $raw);

		next if ($raw =~ tr/\0//c) == 0;
		@r{
			qw(crc format state flags root spc db rel generation birth_lsn
			  birth_id)
		} = unpack('V C C v V V V V v x6 Q< Q<', $raw);
		$r{id} = "$r{spc}/$r{db}/$r{rel}";
		push @records, \%r;
	}
	return @records;
}

=item keys_text($node)

The records in words, for diagnostics.

=cut

sub keys_text
{
	my ($node) = @_;
	return join("\n",
		map { "record $_->{n}: $_->{id} state $_->{state}" }
		  keys_records($node));
}

=item relation_files($node_or_dir)

{ "spc/db/rel" => [ paths ] } for every relation file that exists, whatever
fork or segment.  Temporary relations are left out, since their keys are not in
the file.

=cut

sub relation_files
{
	my ($node) = @_;
	my $dir = ref $node ? $node->data_dir : $node;
	my %found;

	foreach my $path (data_files($dir))
	{
		my $rel = substr($path, length($dir) + 1);
		my $id;

		if ($rel =~ m{^base/(\d+)/(\d+)(_[a-z]+)?(\.\d+)?$})
		{
			$id = "1663/$1/$2";
		}
		elsif ($rel =~ m{^global/(\d+)(_[a-z]+)?(\.\d+)?$})
		{
			$id = "1664/0/$1";
		}
		elsif (
			$rel =~ m{^pg_tblspc/(\d+)/PG_[^/]+/(\d+)/(\d+)(_[a-z]+)?(\.\d+)?$})
		{
			$id = "$1/$2/$3";
		}
		push @{ $found{$id} }, $path if defined $id;
	}
	return \%found;
}

=item orphan_records($node_or_dir)

Records of which no file is left.

=cut

sub orphan_records
{
	my ($node) = @_;
	my $files = relation_files($node);

	return grep { !exists $files->{ $_->{id} } } keys_records($node);
}

=item live_dead($node)

How many records are live, and how many dead.

=cut

sub live_dead
{
	my ($node) = @_;
	my @records = keys_records($node);

	return (
		scalar(grep { $_->{state} == 1 } @records),
		scalar(grep { $_->{state} != 1 } @records));
}

=item settle_deaths($node)

Two checkpoints with a little WAL between them: after the first the files of
what was dropped are gone, and the second has a later redo pointer.

=cut

sub settle_deaths
{
	my ($node) = @_;

	$node->safe_psql('postgres', $_)
	  foreach (
		'CHECKPOINT',
		q{SELECT pg_logical_emit_message(false, 'test', 'some WAL')},
		'CHECKPOINT');
	return;
}

=item wait_no_orphans($node)

Settles deaths until no record is dead and each has a file; true if it came to
that.

=cut

sub wait_no_orphans
{
	my ($node) = @_;
	my $ok = wait_until(
		'every record of the keys file has a file',
		sub {
			settle_deaths($node);
			return !orphan_records($node) && (live_dead($node))[1] == 0;
		});

	diag(keys_text($node)) unless $ok;
	return $ok;
}

=item relid_of($node, $db, $relation)

"spc/db/rel" of a relation, as the keys file has it.

=cut

sub relid_of
{
	my ($node, $db, $relation) = @_;
	return $node->safe_psql(
		$db, qq{
		SELECT concat_ws('/',
			CASE WHEN c.reltablespace = 0 THEN d.dattablespace
				ELSE c.reltablespace END,
			CASE WHEN c.relisshared THEN 0 ELSE d.oid END, pg_relation_filenode(c.oid))
		FROM pg_class c, pg_database d
		WHERE c.oid = '$relation'::regclass
			AND d.datname = current_database()});
}

=item find_record($node_or_dir, $id)

The record of a relation, or undef.

=cut

sub find_record
{
	my ($node, $id) = @_;
	return (grep { $_->{id} eq $id } keys_records($node))[0];
}

=item read_bytes($path, $offset, $length), write_bytes($path, $offset, $bytes)

=item flip_byte($path, $offset)

=cut

sub read_bytes
{
	my ($path, $offset, $length) = @_;
	my $buf;

	sysopen(my $fh, $path, O_RDONLY) or croak "open $path: $!";
	binmode $fh;
	sysseek($fh, $offset, SEEK_SET);
	(sysread($fh, $buf, $length) || 0) == $length
	  or croak "$path is too short for $length bytes at $offset";
	close $fh;
	return $buf;
}

sub write_bytes
{
	my ($path, $offset, $bytes) = @_;

	sysopen(my $fh, $path, O_RDWR) or croak "open $path: $!";
	binmode $fh;
	sysseek($fh, $offset, SEEK_SET);
	(syswrite($fh, $bytes) || 0) == length($bytes) or croak "write $path: $!";
	close $fh or croak "close $path: $!";
	return;
}

sub flip_byte
{
	my ($path, $offset) = @_;

	write_bytes($path, $offset,
		chr(ord(read_bytes($path, $offset, 1)) ^ 0x40));
	return;
}

=item fix_record_crc($raw)

The record with a CRC that fits the rest of it, as a forger would write it.

=back

=cut

sub fix_record_crc
{
	my ($raw) = @_;
	return pack('V', Compress::Zlib::crc32(substr($raw, 4))) . substr($raw, 4);
}

1;
