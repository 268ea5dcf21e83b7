# Nothing that a user put into the database stands in clear in any file that the server
# writes.
#
# A cluster in scope cluster, with data checksums, a standby, an archive and a logical
# slot, does the work of MarkerWork.pm, and runs the server's own regression suite.  While
# that goes on, and after the server was stopped in each way, every byte of both data
# directories, the archive and base backups made by every method is searched: for the
# markers, for texts of the suite, and for anything that looks like text.
#
# The control is another cluster that does the same work in clear: there each marker is
# found, in the kind of file that it is meant for.  That cluster is then sealed in place,
# and the search finds nothing any more.
#
# What is in clear, and is found to be: WAL that pg_basebackup or pg_receivewal get by the
# replication protocol; and MarkerWork's %CLEAR.  The server log is not searched: it is not
# below the data directory here, and what is written there is the administrator's choice.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use MarkerTest;
use MarkerWork;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Texts that the suite puts into tables that are there at its end, and who has them.
my %suite_texts = (
	'Zephyr                        Ave' => 'FROM road WHERE starts_with(name, $1)',
	'RFAAAA'                            => 'FROM onek WHERE stringu1 = $1',
	'VJAAAA'                            => 'FROM tenk1 WHERE stringu1 = $1',
	'Lafayette'                         => 'FROM real_city WHERE cname = $1',
	'coauthors'                         => 'FROM testjsonb WHERE j ? $1');
my @suite_texts = sort keys %suite_texts;

# Files for people and tools to read; docs/coverage.md has them.
my $text_files = qr{/(?:PG_VERSION|postmaster\.(?:opts|pid)|postgresql(?:\.auto)?\.conf|pg_hba\.conf|pg_ident\.conf
	|backup_label(?:\.old)?|backup_manifest|tablespace_map|[0-9A-F]{24}\.[0-9A-F]{8}\.backup|[0-9A-F]{8}\.history
	|pg_stat/pgstat\.stat|pg_cmk/(?:root\.json|events(?:\.\w+)?|status\.json)|pg_replslot/\w+/state)$
	# Names of system catalogs and of their indexes; two bits a transaction, which make U
	# when all are committed.
	|/pg_internal\.init$|/pg_xact/[0-9A-F]{4}$}x;

sub all_sealed
{
	my ($node, $offset) = @_;
	return wait_until('all is sealed in place',
		sub { log_since($node, $offset) =~ /every relation file of the cluster is sealed/ });
}

sub pages_like_text
{
	return join("\n", grep { $_ !~ $text_files } printable_files(@_));
}

# ---- the control: the same work in clear; then it is sealed ----

my $plain = new_cmk_node('plain', preload => 0, extension => 0, checksums => 1, allows_streaming => 'logical',
	conf => MarkerWork::conf() . "shared_preload_libraries = 'pg_stat_statements'\n");
my %plain = (plain => $plain->data_dir);
my $control = MarkerWork->new($plain, sealed => 0, dirs => sub { %plain });

is(join("\n", find_texts(\@suite_texts, %plain)), '', 'control: the texts of the suite are not in a new cluster');
$control->objects;
$control->held;
$control->ends;

{
	my $text = pages_like_text(%plain);
	ok($text =~ m{/base/\d+/\d+} && $text =~ m{/pg_wal/} && $text =~ m{pgss_query_texts}, 'control: what looks like text is found')
	  or diag($text);
}
$control->finish_prepared;
$control->drop_slot;
$plain->stop;
$plain->append_conf('postgresql.conf', cmk_conf(make_kek($plain->basedir . '/kek.pem'))
	  . "shared_preload_libraries = 'pg_stat_statements,pg_cmk'\npg_cmk.scope = 'cluster'\npg_cmk.seal_rate = 0\n");
my $offset = -s $plain->logfile;
$plain->start;
$plain->safe_psql('postgres', 'CREATE EXTENSION pg_cmk');
ok(all_sealed($plain, $offset), 'the cluster that was plain is sealed in place');
ok(wait_wal_sealed($plain), '... and its WAL');
my @left;
ok( wait_until('plain WAL is gone', sub {
		# As docs/operations.md says.
		$plain->safe_psql('postgres', 'CHECKPOINT; SELECT cmk.revalidate()');
		@left = MarkerWork::in_clear(find_markers(%plain));
		return !@left;
	}),
	'... and after some checkpoints no marker is in clear') or diag(join("\n", @left));
is(pages_like_text(%plain), '', '... and nothing looks like text');
is($plain->safe_psql(marker('database'), 'SELECT v FROM rows WHERE b IS NULL'), marker('copy'), '... but rows are read');
$plain->stop;
is(join("\n", MarkerWork::in_clear(find_markers(%plain))), '', '... and none when it is stopped');
$plain->clean_node;

# ---- a cluster, a standby, an archive ----

my $node = new_cmk_node('primary', checksums => 1, allows_streaming => 'logical', has_archiving => 1, start => 0,
	conf => MarkerWork::conf() . "shared_preload_libraries = 'pg_stat_statements,pg_cmk'\n"
	  . "pg_cmk.scope = 'cluster'\npg_cmk.seal_rate = 0\n");
my %dirs = (primary => $node->data_dir, archive => $node->archive_dir);
my $work = MarkerWork->new($node, sealed => 1, dirs => sub { %dirs });
my $seen = "SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver";

# All WAL that there is, archived.
sub archive_all
{
	my $last = $node->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_insert_lsn())');

	$node->safe_psql('postgres', "SELECT pg_logical_emit_message(true, 'x', 'y'); SELECT pg_switch_wal()");
	ok($node->poll_query_until('postgres', "SELECT ($seen) >= '$last'"), 'all is archived');
	return;
}

sub nothing
{
	my ($name, %where) = @_;
	return is(join("\n", MarkerWork::in_clear(find_markers(%where))), '', $name);
}

$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_cmk; CREATE TABLE during (v text)');
ok(all_sealed($node, 0) && wait_wal_sealed($node), 'a cluster in scope cluster');
# What initdb wrote to WAL is in clear there: it knew no user yet.
archive_all();
{
	my $first = $node->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_insert_lsn())');
	foreach (wal_files($node->archive_dir))
	{
		unlink if m{/([0-9A-F]{24})$} && $1 lt $first;
	}
}
$work->objects;

# Somebody who writes all the time, so that what is streamed during a backup has rows.
sub while_writing
{
	my ($do) = @_;
	my $script = $node->basedir . '/during.sql';
	my $count = 'SELECT count(*) FROM during';
	my $before = $node->safe_psql('postgres', $count);
	my $out;

	append_to_file($script, fill_markers("INSERT INTO during VALUES ('\@during\@');\n")) unless -e $script;
	my $writer = IPC::Run::start([ 'pgbench', '-n', '-c', 1, '-T', 3600, '-f', $script, $node->connstr('postgres') ],
		'<', \undef, '>&', \$out);
	wait_until('it writes', sub { $node->safe_psql('postgres', $count) > $before });
	$do->();
	$writer->signal('TERM');
	$writer->finish;
	return;
}

# Makes a base backup and adds it to what is searched.  The tool's data directory is that
# of the backup.
sub base_backup
{
	my ($name, $server, $method, %opt) = @_;
	my $dir = $node->backup_dir . "/$name";
	my @target = $opt{server_side} ? ("--target=server:$dir") : ('-D', $dir);

	mkdir $node->backup_dir;
	while_writing(sub {
		command_ok(
			[
				@{ $opt{run} || [] }, 'pg_basebackup', @target, '-X', $method, '-d', $server->connstr('postgres'), '--no-sync',
				'--checkpoint=fast', '--label=' . marker('label'), @{ $opt{options} || [] }
			],
			"base backup $name");
	});
	return $dir;
}

# One that holds WAL in clear, by design: there the markers are, and nowhere else.
sub streamed_backup
{
	my ($name, $where, @options) = @_;
	my $dir = base_backup($name, $node, 'stream', options => \@options);
	my $found = find_markers($name => $dir);
	my @wal = grep { $_ =~ $where } keys %$found;

	ok(scalar(grep { $found->{$_}{during} } @wal), "$name: WAL that was streamed is in clear");
	delete @$found{@wal};
	is(join("\n", MarkerWork::in_clear($found)), '', '... and nothing else');
	return;
}

$node->safe_psql('postgres', q{SELECT pg_create_physical_replication_slot('standby', true)});
streamed_backup('streamed', qr{^streamed/pg_wal/[0-9A-F]{24}$});
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'streamed', has_streaming => 1);
$standby->append_conf('postgresql.conf', "archive_mode = off\nprimary_slot_name = 'standby'\n");
$dirs{standby} = $standby->data_dir;
$standby->start;
$node->wait_for_catchup($standby);
$work->look('a standby made of it');

$work->held;
{
	my $on_standby = MarkerWork->new($standby, sealed => 1, db => $work->{db}, dirs => sub { %dirs });
	$node->wait_for_catchup($standby);
	my $session = $on_standby->cursor('', q{SELECT n FROM t ORDER BY v || '@sort@'});
	ok(scalar(grep { m{^base/pgsql_tmp/.} } files_below($standby->data_dir)), 'a sort spills on the standby');
	$on_standby->look('sort on the standby');
	$session->quit;
}
$work->sql(q{ALTER SYSTEM SET bonjour_name = '@autoconf@'});
$work->ends;

# ---- base backups ----

$dirs{fetch} = base_backup('fetch', $node, 'fetch');
$dirs{none} = base_backup('none', $node, 'none');
$dirs{tar} = base_backup('tar', $node, 'fetch', options => ['-Ft']);
$dirs{server_side} = base_backup('server_side', $node, 'fetch', server_side => 1);
$dirs{of_standby} = base_backup('of_standby', $standby, 'fetch');
streamed_backup('streamed_tar', qr{^streamed_tar/pg_wal\.tar$}, '-Ft');

# What closes the exception: the same tools under pg_cmk exec.
my @exec = ('pg_cmk', 'exec', '-D', $node->data_dir, '--');
$dirs{streamed_exec} = base_backup('streamed_exec', $node, 'stream', run => \@exec);
foreach my $run ([], \@exec)
{
	my $name = @$run ? 'received_exec' : 'received';
	my $dir = $node->backup_dir . "/$name";

	mkdir $dir or die "mkdir $dir: $!";
	while_writing(sub {
		my $end = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn() + 100000');
		command_ok([ @$run, 'pg_receivewal', '-D', $dir, '--endpos', $end, '--no-loop', '-d', $node->connstr('postgres') ],
			"WAL is $name");
	});
	ok(scalar(wal_marker_files($dir, marker('during'))), '... in clear') unless @$run;
	$dirs{$name} = $dir if @$run;
}
foreach my $dir ("$dirs{streamed_exec}/pg_wal", $dirs{received_exec})
{
	my $pages = wal_pages($dir);
	ok($pages->{sealed} > 0 && $pages->{plain} == 0, 'under pg_cmk exec its pages are sealed');
}
$work->look('backups by all methods');
archive_all();

# What the backup and the archive hold is the data.
my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($node, 'none', has_restoring => 1, standby => 0);
$restored->append_conf('postgresql.conf', "archive_mode = off\n");
$dirs{restored} = $restored->data_dir;
$restored->start;
$restored->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
is($restored->safe_psql(marker('database'), 'SELECT v FROM rows WHERE b IS NULL'), marker('copy'), 'a backup and the archive restore rows');
$work->look('a restored server');
$restored->stop;
$work->finish_prepared;
$work->drop_slot;
delete @dirs{ 'fetch', 'none', 'tar', 'server_side', 'of_standby', 'streamed_exec', 'received_exec', 'restored' };

# ---- the server's own regression suite ----

my $library_dir = $node->basedir . '/archive_library';
mkdir $library_dir or die "mkdir $library_dir: $!";
$dirs{archive_library} = $library_dir;
$node->append_conf('postgresql.conf',
	"archive_library = 'basic_archive'\narchive_command = ''\nbasic_archive.archive_directory = '$library_dir'\n");
$node->restart;

my ($why_not, @suite) = regress_suite($node->basedir . '/suite');
diag("the server's regression suite is left out: $why_not") if defined $why_not;

SKIP:
{
	skip $why_not, 1 if defined $why_not;
	my $log = $node->basedir . '/suite.log';

	my $run = IPC::Run::start([ @suite, '--host=' . $node->host, '--port=' . $node->port, '--user=' . getpwuid($<) ],
		'<', \undef, '>', $log, '2>&1');
	ok(wait_until('the suite has begun', sub { -s $log && $node->psql('postgres', 'CHECKPOINT') == 0
		&& slurp_file($log) =~ /parallel group/ }), 'the regression suite runs');
	# Searches when so many tests are done, and waits for the last line, as long as there
	# are new ones.
	my @at = (20, 80, 140, 190);
	my @bad;
	my $end = qr/^ *(All \d+ tests passed|\d+ of \d+ tests failed.*)/m;
	my $so_far = '';
	while ($so_far !~ $end && wait_until('the suite goes on', sub { -s $log > length $so_far }))
	{
		$so_far = slurp_file($log);
		my $done = () = $so_far =~ / \.\.\. /g;

		next unless @at && $done >= $at[0];
		shift @at while @at && $done >= $at[0];
		push @bad, MarkerWork::in_clear(find_markers(%dirs)), find_texts(\@suite_texts, %dirs);
	}
	$run->finish;
	is(join("\n", @bad), '', 'nothing in clear while it runs');
	my ($summary) = $so_far =~ $end;
	ok(defined $summary, 'the suite ran to its end') or diag($so_far);
	note $summary || '';
	is( join(', ', grep {
				my $condition = $suite_texts{$_} =~ s/\$1/'$_'/r;
				$node->safe_psql('regression', "SELECT count(*) > 0 $condition") ne 't'
			} @suite_texts),
		'', '... and its tables have its texts');
}

# ---- the end ----

archive_all();
$dirs{fetch} = base_backup('fetch_all', $node, 'fetch');
$node->wait_for_catchup($standby);
# On the primary once more, when no slot keeps plain WAL of initdb's any more.
$_->safe_psql('postgres', 'CHECKPOINT') foreach $node, $standby, $node;
nothing('nothing in clear at the end', %dirs);
$standby->stop('immediate');
$node->stop('fast');
nothing('... and when both servers are stopped', %dirs);
is(join("\n", find_texts(\@suite_texts, %dirs)), '', '... no text of the suite');
is(pages_like_text(%dirs), '', '... and nothing that looks like text');
is(join(', ', grep { !$MarkerWork::met{$_} } sort keys %MarkerWork::CLEAR), '', 'what is said to be in clear is');
note 'searched: ' . searched();

done_testing();
