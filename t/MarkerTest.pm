=pod

=head1 NAME

MarkerTest - searches every byte of directories for what users put into a database

=head1 DESCRIPTION

A marker is a word that stands nowhere else: eight random letters, the same for
all markers of a run, and a name that says where it was put.  So one pass over a
file finds all of them, however many there are, and says which it was.

A text does not stand in every file as it was typed.  What is searched for:

- the letters themselves;
- the letters as the decimal numbers with which the server writes a constant
  into an expression that it keeps (defaults, indexes, partitions, views).

Eight letters, because a value compressed by pglz begins with eight bytes as they
are, and goes on with a control byte in their midst.  That eight bytes of
ciphertext happen to be these has a chance of one to 10^19 for each byte.

And because ciphertext hardly ever looks like text (32 printable bytes in a row: one
to 10^13 for each byte), printable_files() finds what no marker was put into.

=cut

package MarkerTest;

use strict;
use warnings;

use Carp;
use Exporter 'import';
use Fcntl qw(O_RDONLY);
use File::Copy qw(copy);
use FindBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(
  marker fill_markers files_below filled_files find_markers find_texts searched printable_files
  regress_suite
);

use constant CHUNK => 1024 * 1024;

# What of the end of a chunk is searched again with the next one: the longest
# marker, in its longest form.
use constant OVERLAP => 256;

my $prefix = substr(new_marker(), 0, 8);
my %names;
my $decimal = join(' ', map { ord } split //, $prefix);
my $searched_files = 0;
my $searched_bytes = 0;

=over

=item marker($name)

The marker of that name, which is of lower-case letters.

=cut

sub marker
{
	my ($name) = @_;

	croak "name of a marker: \"$name\"" if $name !~ /^[a-z]{2,40}$/;
	$names{$name} = 1;
	return $prefix . $name;
}

=item fill_markers($text)

The text with each @name@ replaced by the marker of that name.

=cut

sub fill_markers
{
	my ($text) = @_;
	return $text =~ s/\@([a-z]+)\@/marker($1)/ger;
}

=item files_below($dir)

All files, relative to the directory, through symbolic links: those of
tablespaces and of a pg_wal elsewhere lead to them.  Vanished ones are not there.

=cut

sub files_below
{
	my ($dir) = @_;
	my @todo = ('');
	my @files;

	while (defined(my $rel = shift @todo))
	{
		opendir(my $dh, "$dir/$rel") or next;
		foreach my $name (sort readdir $dh)
		{
			next if $name =~ /^\.\.?$/;
			my $path = $rel eq '' ? $name : "$rel/$name";

			if    (-d "$dir/$path") { push @todo, $path }
			elsif (-f _)            { push @files, $path }
		}
		closedir $dh;
	}
	return @files;
}

=item filled_files($dir, ...)

The files ("name/file"; the directories as for find_markers) that are not empty.

=cut

sub filled_files
{
	my %dirs = @_;
	return map {
		my $label = $_;
		map { "$label/$_" } grep { -s "$dirs{$label}/$_" } files_below($dirs{$label})
	} sort keys %dirs;
}

# Calls the function with each window of the file, and how far in it a text may begin
# to be of this window; what begins later is in the next one again.
sub _windows
{
	my ($path, $look) = @_;
	my $window = '';
	my $at_end = 0;

	if (!sysopen(my $fh, $path, O_RDONLY))
	{
		croak "open $path: $!" unless $!{ENOENT};
		return;
	}
	else
	{
		binmode $fh;
		$searched_files++;
		while (!$at_end)
		{
			my $n = sysread($fh, $window, CHUNK, length $window);

			croak "read $path: $!" unless defined $n;
			$searched_bytes += $n;
			$at_end = $n == 0;
			my $limit = $at_end ? length $window : length($window) - OVERLAP;
			next if $limit <= 0;
			$look->(\$window, $limit);
			substr($window, 0, $limit, '');
		}
	}
	return;
}

# The name behind a marker's letters, or behind its numbers: the longest that there is, since
# what follows it in the file may be a letter, too.
sub _name_at
{
	my ($window, $pos, $form) = @_;
	my $rest = substr($$window, $pos + length $form, OVERLAP - length $form);

	if ($form eq $decimal)
	{
		$rest =~ s/ ?(\d+)/chr($1 & 255)/ge;
	}
	my $name = $rest =~ /^([a-z]{2,40})/ ? $1 : '';
	chop $name until $name eq '' || $names{$name};
	return $name || '(cut)';
}

=item find_markers($dir, ...)

Searches every byte of every file below the directories, given as pairs: a name for
the report, and the path.  Returns { "name/file" => { marker's name => times } }.

=cut

sub find_markers
{
	my %dirs = @_;
	my %found;

	foreach my $label (sort keys %dirs)
	{
		foreach my $file (files_below($dirs{$label}))
		{
			_windows("$dirs{$label}/$file", sub {
				my ($window, $limit) = @_;

				foreach my $form ($prefix, $decimal)
				{
					my $pos = -1;

					while (($pos = index($$window, $form, $pos + 1)) >= 0 && $pos < $limit)
					{
						$found{"$label/$file"}{ _name_at($window, $pos, $form) }++;
					}
				}
			});
		}
	}
	return \%found;
}

=item find_texts(\@texts, $dir, ...)

The same for some fixed texts: a list of "name/file: text".

=cut

sub find_texts
{
	my ($texts, %dirs) = @_;
	my $any = join('|', map { quotemeta } @$texts);
	my %found;

	$any = qr/$any/;
	foreach my $label (sort keys %dirs)
	{
		foreach my $file (files_below($dirs{$label}))
		{
			_windows("$dirs{$label}/$file", sub {
				my ($window) = @_;
				$found{"$label/$file: $1"} = 1 while $$window =~ /($any)/g;
			});
		}
	}
	return sort keys %found;
}

=item searched()

How many files and bytes were read by all searches so far, as a text.

=cut

sub searched
{
	return sprintf '%d files, %d MB', $searched_files, $searched_bytes / (1024 * 1024);
}

=item printable_files($dir, ...)

The files ("name/file") in which 32 printable bytes follow one another.  By grep, which
is ten times as fast as this language.

=cut

sub printable_files
{
	my %dirs = @_;
	my @found;

	foreach my $label (sort keys %dirs)
	{
		my @files = map { "$dirs{$label}/$_" } files_below($dirs{$label});

		while (my @some = splice @files, 0, 500)
		{
			my ($out, $err) = ('', '');

			local $ENV{LC_ALL} = 'C';
			IPC::Run::run([ 'grep', '-laP', '[ -~]{32}', '--', @some ], '<', \undef, '>', \$out, '2>', \$err);
			foreach (split /\n/, $err)
			{
				croak $_ unless /No such file/;
			}
			push @found, map { s/^\Q$dirs{$label}\E/$label/r } split /\n/, $out;
		}
	}
	return @found;
}

=back

=head1 THE SERVER'S REGRESSION SUITE

=over

=item regress_suite($work)

Unpacks its sources below an empty directory and builds the library that it loads.
Where they are is said as to scripts/conformance, by PG_REGRESS_SRC or PG_REGRESS_TARBALL.
Returns (undef, the command that runs it but for options that name the server), or (why
it cannot be run).

=cut

sub regress_suite
{
	my ($work) = @_;
	my $src = $ENV{PG_REGRESS_SRC};
	my $tarball = $ENV{PG_REGRESS_TARBALL} || "$FindBin::RealBin/../../shared/postgresql-15-regress.tar.xz";
	my $suite = "$work/regress";
	my %dir;

	return "no sources of the server's regression suite: set PG_REGRESS_SRC or PG_REGRESS_TARBALL"
	  unless defined $src || -e $tarball;
	foreach my $what ('bindir', 'pkglibdir', 'includedir', 'includedir-server')
	{
		chomp($dir{$what} = readpipe(($ENV{PG_CONFIG} || 'pg_config') . " --$what"));
	}
	my $pg_regress = "$dir{pkglibdir}/pgxs/src/test/regress/pg_regress";
	return "no $pg_regress" unless -x $pg_regress;

	mkdir $_ or croak "mkdir $_: $!" foreach $work, "$work/lib", "$work/out";
	system_or_bail(defined $src ? ('cp', '-r', $src, $suite) : ('tar', '-xJf', $tarball, '-C', $work));
	croak "no regression suite in " . ($src || $tarball) unless -e "$suite/parallel_schedule";
	system_or_bail('gcc', '-O1', '-w', '-fPIC', '-shared', '-D_GNU_SOURCE', "-I$dir{'includedir-server'}",
		"-I$dir{includedir}", '-o', "$work/lib/regress.so", "$suite/regress.c");
	copy("$dir{pkglibdir}/$_.so", "$work/lib/$_.so") or croak "copy $_.so: $!"
	  foreach 'autoinc', 'refint';
	return (undef, $pg_regress, "--bindir=$dir{bindir}", "--inputdir=$suite", "--outputdir=$work/out",
		"--dlpath=$work/lib", '--max-concurrent-tests=20', "--schedule=$suite/parallel_schedule");
}

=back

=cut

1;
