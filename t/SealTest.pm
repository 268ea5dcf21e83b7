=pod

=head1 NAME

SealTest - tables for the tests of what is sealed in place, and torn writes

=head1 SYNOPSIS

	use SealTest;

	make_table($node, 'postgres', 't', $marker, 1000);
	print row_faults($node, 'postgres', 't', $marker, 1000);

	my $tear = new_tear();
	$tear->tear(1, $pass, $sectors);
	$tear->start($node);

=cut

package SealTest;

use strict;
use warnings;

use Exporter 'import';
use FindBin;

use CmkTest;
use File::Copy ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(make_table row_faults new_tear sums_fault copy_of start_sealing torn_faults);

=head1 FUNCTIONS

=over

=item make_table($node, $db, $table, $marker, $rows, [am => …, unlogged => 1])

A table with all that may belong to it, of heap if no access method is given; its
rows follow from the arguments.

=cut

sub make_table
{
	my ($node, $db, $table, $marker, $rows, %opt) = @_;
	my $persistence = $opt{unlogged} ? 'UNLOGGED' : '';
	my $am = $opt{am} || 'heap';

	$node->safe_psql($db, qq{
		CREATE $persistence TABLE $table (id int PRIMARY KEY, v text, big text) USING $am;
		ALTER TABLE $table ALTER big SET STORAGE EXTERNAL;
		INSERT INTO $table SELECT g, '$marker' || g, repeat('$marker', 150) FROM generate_series(1, $rows) g;
		CREATE INDEX ON $table USING hash (v);
		CREATE INDEX ON $table USING gin (to_tsvector('simple', v));
		CREATE INDEX ON $table USING gist (point(id, id));
		CREATE INDEX ON $table USING spgist (v);
		CREATE INDEX ON $table USING brin (id);
		DELETE FROM $table WHERE id % 10 = 0;
		INSERT INTO $table SELECT g, '$marker' || g, repeat('$marker', 150) FROM generate_series(10, $rows, 10) g;
		VACUUM ANALYZE $table;
		CHECKPOINT});
	return;
}

=item row_faults($node, $db, $table, $marker, $rows)

What is wrong with a table's rows, read by every way; needs amcheck.

=cut

sub row_faults
{
	my ($node, $db, $table, $marker, $rows) = @_;
	my $got = $node->safe_psql($db, qq{
		SELECT count(*), count(DISTINCT id), bool_and(v = '$marker' || id), bool_and(big = repeat('$marker', 150))
		FROM $table;
		SET enable_seqscan = off;
		SELECT count(*) FROM $table WHERE v = '$marker' || '7';
		SELECT count(*) FROM $table WHERE to_tsvector('simple', v) @@ to_tsquery('simple', '${marker}8');
		SELECT count(*) FROM $table WHERE point(id, id) <@ box '((5,5),(9,9))';
		SELECT count(*) FROM $table WHERE v ^@ '${marker}77';
		SELECT count(bt_index_check(indexrelid, true)) > 0 FROM pg_index JOIN pg_class c ON c.oid = indexrelid
			WHERE indrelid = '$table'::regclass AND relam = 403;
		SELECT count(*) = 0 FROM pg_class c, verify_heapam(c.oid) WHERE c.oid = '$table'::regclass AND c.relam = 2});
	my $want = "$rows|$rows|t|t\n1\n1\n5\n";

	return $got =~ /^\Q$want\E[1-9]\d*\nt\nt$/ ? '' : "$table: $got";
}

=item sums_fault($node, $scale)

What pgbench's tables have that they should not have, '' if nothing.

=cut

sub sums_fault
{
	my ($node, $scale) = @_;
	my $sums = $node->safe_psql('postgres', q{
		SELECT (SELECT count(*) FROM pgbench_accounts), (SELECT sum(abalance) FROM pgbench_accounts) - (SELECT sum(bbalance) FROM pgbench_branches),
			(SELECT sum(tbalance) FROM pgbench_tellers) - (SELECT sum(bbalance) FROM pgbench_branches),
			(SELECT coalesce(sum(delta), 0) FROM pgbench_history) - (SELECT sum(bbalance) FROM pgbench_branches)});

	return $sums eq ($scale * 100000) . '|0|0|0' ? '' : $sums;
}

=item copy_of($node, $name, $backup, [%init_options])

A server from a backup of the node, with a copy of its key, not started.

=cut

sub copy_of
{
	my ($node, $name, $backup, %opt) = @_;
	my $copy = PostgreSQL::Test::Cluster->new($name);
	my $kek = $copy->basedir . '/kek.pem';

	$copy->init_from_backup($node, $backup, %opt);
	File::Copy::copy($node->basedir . '/kek.pem', $kek) or die "$kek: $!";
	chmod 0600, $kek;
	$copy->append_conf('postgresql.conf', "pg_cmk.key = 'file://$kek'");
	return $copy;
}

=item start_sealing($node, $relation, [$point, [$function]])

Starts cmk.seal(), or another function, in a session of its own, which pauses at that point (pg_cmk.debug_pause_at);
returns its handle.

=cut

sub start_sealing
{
	my ($node, $relation, $point, $function) = @_;
	local $ENV{PGOPTIONS} = defined $point ? "-c pg_cmk.debug_pause_at=$point" : '';
	my $out = '';

	$function = 'seal' unless $function;
	return IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "SELECT cmk.$function('$relation')" ],
		'<', \undef, '>&', \$out);
}

=back

=head1 TORN WRITES

=over

=item new_tear()

Builds t/modules/tear.c, which says what it does.

=item $tear->tear($what, $pass, $sectors)

What is to be torn by the servers that run with it; nothing if $what is 0.

=item $tear->done

How many writes were torn since: 0 or 1.

=item $tear->start($node)

Starts a server with it.

=item $tear->recover($node)

Starts a server that may go down while it recovers, or right after, and takes it down.

=item $tear->wait_down($node)

Waits until the server, which does not restart after a crash, is down.

=item torn_faults($tear, $node, what => …, function => …, am => …, check => sub { … })

For each sector of a page a table of that access method, at which that function
(C<cmk.seal>, C<cmk.rotate_dek>) is called and a write torn; its rows are read after
recovery, and the function is called again.  check gets the table and its marker, and
returns what else is wrong.  Returns what is wrong, '' if nothing, and how many writes
were torn.  The node, which does not restart after a crash, is down before and afterwards.

=cut

sub new_tear
{
	my $dir = PostgreSQL::Test::Utils::tempdir('tear');
	my $self = bless { so => "$dir/tear.so", control => "$dir/control" }, __PACKAGE__;

	system_or_bail('gcc', '-O1', '-w', '-shared', '-fPIC', '-o', $self->{so},
		"$FindBin::RealBin/modules/tear.c", '-ldl');
	append_to_file($self->{control}, pack('V4', 0, 0, 0, 0));
	return $self;
}

sub torn_faults
{
	my ($tear, $node, %opt) = @_;
	my @faults;
	my $n = 0;

	for (my $sectors = 1; $sectors < 16; $sectors++)
	{
		my $marker = new_marker();
		my $table = "t$sectors";

		$tear->tear(0, 0, 0);
		$tear->start($node);
		make_table($node, 'postgres', $table, $marker, 200, am => $opt{am});
		# Rows after the checkpoint, whose pages are on disk; then hint bits alone.
		$node->safe_psql('postgres', qq{
			UPDATE $table SET id = id WHERE id % 3 = 0; SELECT count(*) FROM $table;
			CHECKPOINT; SELECT count(*) FROM $table});
		$tear->tear($opt{what}, int(rand(60)), $sectors);
		$node->psql('postgres', "SELECT $opt{function}('$table')", timed_out => \my $timed_out, timeout => 60);
		push @faults, "$table: no write was torn" unless $tear->done;
		$n += $tear->done;
		$tear->wait_down($node);
		$tear->tear(0, 0, 0);
		# Every other time recovery's own writes are torn as well.
		if ($sectors % 2)
		{
			$tear->tear($opt{what}, int(rand(5)), 16 - $sectors);
			$tear->recover($node);
			$tear->tear(0, 0, 0);
		}
		$tear->start($node);
		push @faults, row_faults($node, 'postgres', $table, $marker, 200) || ();
		$node->safe_psql('postgres', "SELECT $opt{function}('$table'); CHECKPOINT");
		push @faults, sealed_faults($node, 'postgres', $table) || ();
		push @faults, row_faults($node, 'postgres', $table, $marker, 200) || ();
		push @faults, $opt{check}->($table, $marker);
		$node->stop;
	}
	return (join("\n", @faults), $n);
}

sub tear
{
	my ($self, $what, $pass, $sectors) = @_;

	write_bytes($self->{control}, 0, pack('V4', $what, $pass, $sectors, 0));
	return;
}

sub done
{
	my ($self) = @_;
	return (unpack('V4', read_bytes($self->{control}, 0, 16)))[3];
}

sub start
{
	my ($self, $node) = @_;
	local $ENV{LD_PRELOAD} = $self->{so};
	local $ENV{TEAR_CONTROL} = $self->{control};

	return $node->start;
}

# Not by $node->start(), which bails out if the server is down again so soon.
sub recover
{
	my ($self, $node) = @_;
	local $ENV{LD_PRELOAD} = $self->{so};
	local $ENV{TEAR_CONTROL} = $self->{control};

	system_log('pg_ctl', '-w', '-D', $node->data_dir, '-l', $node->logfile, 'start');
	system_log('pg_ctl', '-w', '-D', $node->data_dir, '-m', 'immediate', 'stop');
	$self->wait_down($node);
	return;
}

sub wait_down
{
	my ($self, $node) = @_;
	my $pidfile = $node->data_dir . '/postmaster.pid';

	wait_until('the server is down',
		sub { !-e $pidfile || !kill(0, (split /\n/, slurp_file($pidfile))[0]) });
	$node->_update_pid(0);
	return;
}

=back

=cut

1;
