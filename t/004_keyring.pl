# Damaged, exchanged and forged key files and pages.
#
# root.json and the keys file decide whether anything can be read, so whatever is
# done to them must end in an error that names the file and the record, never in
# a server that goes on with another key, and never in a second root beside the
# first.  Each test works on a copy that is put back afterwards, after which all
# rows must be there: the server has not made it worse.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CmkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cmk_node('main');
my $other =
  new_cmk_node('other', kek => $node->basedir . '/kek.pem');
my $marker = new_marker();

foreach my $n ($node, $other)
{
	$n->safe_psql(
		'postgres', qq{
		CREATE TABLE t (id int PRIMARY KEY, v text) USING cmk_heap;
		INSERT INTO t SELECT g, '$marker' || g FROM generate_series(1, 500) g;
		CREATE TABLE u (id int PRIMARY KEY, v text) USING cmk_heap;
		INSERT INTO u SELECT * FROM t;
		CREATE TABLE plain (id int PRIMARY KEY, v text) USING heap;
		INSERT INTO plain SELECT * FROM t;
		CHECKPOINT});
}
my $dir = $node->data_dir;
my $root_path = "$dir/pg_cmk/root.json";
my $keys_path = keys_path($node);
my $t_id = relid_of($node, 'postgres', 't');
my $u_id = relid_of($node, 'postgres', 'u');
my $t_file = "$dir/" . $node->safe_psql('postgres', q{SELECT pg_relation_filepath('t')});
my $plain_file = "$dir/" . $node->safe_psql('postgres', q{SELECT pg_relation_filepath('plain')});
my $foreign_root = slurp_file($other->data_dir . '/pg_cmk/root.json');
my $foreign_keys = slurp_file(keys_path($other));
my ($foreign_t) = map { find_record($other, relid_of($other, 'postgres', $_)) } 't';

$other->stop;
$node->stop;
my $root = slurp_file($root_path);
my $keys = slurp_file($keys_path);

sub put
{
	my ($path, $content) = @_;

	unlink $path;
	return unless defined $content;
	append_to_file($path, $content);
	chmod 0600, $path;
	return;
}

sub put_back
{
	put($root_path, $root);
	put($keys_path, $keys);
	return;
}

sub replaced
{
	my ($text, $from, $to) = @_;
	my $n = ($text =~ s/$from/$to/e);

	die "nothing to replace in root.json: $from" unless $n;
	return $text;
}

# root.json

my ($value) = $root =~ /"value"\s*:\s*"([^"]+)"/;
my ($hmac)  = $root =~ /"hmac"\s*:\s*"([^"]+)"/;
my $twist = sub { my $s = shift; substr($s, 20, 1) =~ tr/A-Za-z/B-ZAb-za/ or substr($s, 20, 1, 'A'); $s };
my @damages = (
	[ 'is empty',        '' ],
	[ 'is cut off',      substr($root, 0, length($root) / 2) ],
	[ 'is garbage',      "\0\1\2garbage" x 20 ],
	[ 'is no object',    "[]\n" ],
	[ 'has an unknown version',
		replaced($root, qr/"version"\s*:\s*1/, sub { '"version": 77' }) ],
	[ 'has an unknown format',
		replaced($root, qr/pg_cmk root/, sub { 'pg_cmk tree' }) ],
	[ 'has a changed wrap', replaced($root, quotemeta $value, sub { $twist->($value) }) ],
	[ 'has a shortened wrap', replaced($root, quotemeta $value, sub { substr($value, 0, 40) }) ],
	[ 'has a changed HMAC', replaced($root, quotemeta $hmac, sub { $twist->($hmac) }) ],
	[ 'has no HMAC', replaced($root, qr/,\s*"hmac"\s*:\s*"[^"]+"/, sub { '' }) ],
	[ 'has a changed serial number',
		replaced($root, qr/("serial"\s*:\s*)(\d+)/, sub { $1 . ($2 + 1) }) ],
	[ 'has a changed WAL position',
		replaced($root, qr/("wal_from"\s*:\s*")[^"]*/, sub { $1 . '0/1000000' }) ],
	[ 'has a changed time',
		replaced($root, qr/("created"\s*:\s*")\d{4}/, sub { $1 . '2001' }) ],
	[ 'has a changed salt',
		replaced($root, qr/("salt"\s*:\s*")([^"]+)/, sub { $1 . ($2 =~ tr/A-Za-z/B-ZAb-za/r) }) ],
	[ 'has another current root',
		replaced($root, qr/("current_root"\s*:\s*)(\d+)/, sub { $1 . ($2 + 1) }) ],
	[ 'is of another cluster', $foreign_root ],
	[ 'is missing', undef ]);

foreach my $damage (@damages)
{
	my ($what, $content) = @$damage;

	put($root_path, $content);
	my ($failed, $log) = start_fails($node);
	ok($failed, "the server does not start when root.json $what");
	like($log, qr/FATAL:.*root\.json/s, '... and names the file');
	is(-e $root_path ? slurp_file($root_path) : undef,
		$content, '... and does not touch it');
	is(slurp_file($keys_path), $keys, '... nor the keys');
	put_back();
}
chmod 0000, $root_path;
SKIP:
{
	skip 'root may read everything', 2 if $> == 0;
	my ($failed, $log) = start_fails($node);
	ok($failed, 'the server does not start when root.json is unreadable');
	like($log, qr/FATAL:.*root\.json.*ermission denied/s, '... and names the file');
}
put_back();

# A foreign root.json is told from one that the KEK does not open.
put($root_path, $foreign_root);
my (undef, $log) = start_fails($node);
like($log, qr/FATAL:.*(cluster|system identifier)/is,
	'a root.json of another cluster is called that');
put_back();

# The keys file as a whole

foreach my $damage (
	[ 'is missing',       undef ],
	[ 'is empty',         '' ],
	[ 'is cut off in its header', substr($keys, 0, 60) ],
	[ 'is of another cluster', $foreign_keys ],
	[ 'has a damaged magic', ("\1" . substr($keys, 1)) ],
	[ 'has a damaged system identifier',
		do { my $k = $keys; substr($k, 16, 8) = "\x77" x 8; $k } ],
	[ 'has a header of zeros', ("\0" x RECORD_SIZE) . substr($keys, RECORD_SIZE) ])
{
	my ($what, $content) = @$damage;

	put($keys_path, $content);
	my ($failed, $log) = start_fails($node);
	ok($failed, "the server does not start when the keys file $what");
	like($log, qr/FATAL:.*pg_cmk\/keys/s, '... and names the file');
	put_back();
}

# One record: its table is an error that names file and record, all others work.
# A forger can compute a CRC; what stops him is that the record is authenticated.

my ($t_rec, $u_rec) = map { find_record($node, $_) } $t_id, $u_id;

sub with_bytes
{
	my ($raw, $offset, $bytes) = @_;

	substr($raw, $offset, length $bytes) = $bytes;
	return $raw;
}

sub flipped
{
	my ($raw, $offset) = @_;
	return with_bytes($raw, $offset, chr(ord(substr($raw, $offset, 1)) ^ 0x10));
}

foreach my $damage (
	[ 'a flipped bit in the wrapped key', flipped($t_rec->{raw}, 80) ],
	[ 'a flipped bit in the CRC',         flipped($t_rec->{raw}, 1) ],
	[ 'a flipped bit in the wrapped key and a fitting CRC',
		fix_record_crc(flipped($t_rec->{raw}, 80)) ],
	[ 'a flipped bit in the birth id and a fitting CRC',
		fix_record_crc(flipped($t_rec->{raw}, 41)) ],
	[ 'a changed birth LSN and a fitting CRC',
		fix_record_crc(with_bytes($t_rec->{raw}, 32, pack('Q<', 12345678))) ],
	[ 'a changed generation and a fitting CRC',
		fix_record_crc(with_bytes($t_rec->{raw}, 24, pack('v', 7))) ],
	[ 'the flag that forbids plain pages taken away and a fitting CRC',
		fix_record_crc(with_bytes($t_rec->{raw}, 6, "\0\0")) ],
	[ 'an unknown root and a fitting CRC',
		fix_record_crc(with_bytes($t_rec->{raw}, 8, pack('V', 9))) ],
	[ 'an unknown format and a fitting CRC',
		fix_record_crc(with_bytes($t_rec->{raw}, 4, "\x09")) ],
	[ 'the key of another table under this one\'s name',
		fix_record_crc(with_bytes($u_rec->{raw}, 12, substr($t_rec->{raw}, 12, 12))) ],
	[ 'the record that another cluster has for the same relation',
		fix_record_crc(with_bytes($foreign_t->{raw}, 12, substr($t_rec->{raw}, 12, 12))) ])
{
	my ($what, $raw) = @$damage;
	my $offset = -s $node->logfile;

	write_bytes($keys_path, $t_rec->{offset}, $raw);
	$node->start;
	my ($ret, $out, $err) = $node->psql('postgres', 'SELECT * FROM t');
	isnt($ret, 0, "a record with $what is an error") or diag(substr($out, 0, 200));
	unlike($out . $err, qr/$marker/, '... no row comes out');
	like(log_since($node, $offset) . $err,
		qr/(record $t_rec->{n}\b.*pg_cmk\/keys|pg_cmk\/keys.*record $t_rec->{n}\b)/s,
		'... that names file and record');
	isnt(($node->psql('postgres', q{INSERT INTO t VALUES (0, 'new')}))[0],
		0, '... writing fails, too');
	is($node->safe_psql('postgres', "SELECT count(*) FROM u WHERE v LIKE '$marker%'"),
		500, '... while other tables work');
	is(sealed_faults($node, 'postgres', 'u'), '', '... and are sealed');
	$node->safe_psql('postgres',
		'CREATE TABLE n USING cmk_heap AS SELECT * FROM u; CHECKPOINT; DROP TABLE n');
	settle_deaths($node);
	is(unpack('H*', read_bytes($keys_path, $t_rec->{offset}, RECORD_SIZE)),
		unpack('H*', $raw), '... and the record is not written over');
	$node->stop;
	write_bytes($keys_path, $t_rec->{offset}, $t_rec->{raw});
	$keys = slurp_file($keys_path);
}

# The record is gone, as if an older keys file had been put back.
write_bytes($keys_path, $t_rec->{offset}, "\0" x RECORD_SIZE);
$node->start;
my ($ret, $out, $err) = $node->psql('postgres', 'SELECT * FROM t');
isnt($ret, 0, 'without its record a table cannot be read');
unlike($out . $err, qr/$marker/, '... no row comes out');
$node->stop;
write_bytes($keys_path, $t_rec->{offset}, $t_rec->{raw});

# Two keys exchanged between two relations, in place
write_bytes($keys_path, $t_rec->{offset},
	fix_record_crc(with_bytes($t_rec->{raw}, 12, substr($u_rec->{raw}, 12, 12))));
write_bytes($keys_path, $u_rec->{offset},
	fix_record_crc(with_bytes($u_rec->{raw}, 12, substr($t_rec->{raw}, 12, 12))));
$node->start;
foreach my $table ('t', 'u')
{
	($ret, $out, $err) = $node->psql('postgres', "SELECT * FROM $table");
	isnt($ret, 0, "with exchanged records $table cannot be read");
	unlike($out . $err, qr/$marker/, '... no row comes out');
}
$node->stop;
write_bytes($keys_path, $_->{offset}, $_->{raw}) foreach $t_rec, $u_rec;

$node->start;
is($node->safe_psql('postgres',
		'SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM u), (SELECT count(*) FROM plain)'),
	'500|500|500', 'with the records put back, every row is there');
$node->stop;

# Pages: a plain one slipped in, one from another place, one damaged

my $page = read_bytes($t_file, 0, PAGE_SIZE);
my $zero_lsn = pack('V2', 0, 0);
foreach my $forged (
	[ 'a plain page of another table', read_bytes($plain_file, 0, PAGE_SIZE) ],
	[ 'the next page of the same table', read_bytes($t_file, PAGE_SIZE, PAGE_SIZE) ],
	[ 'a page whose mark was taken away',
		with_bytes($page, 10, pack('v', unpack('v', substr($page, 10, 2)) & 0x7)) ],
	[ 'a page with another LSN', with_bytes($page, 0, pack('V2', 0, 4711)) ],
	[ 'a page with a damaged header block', flipped($page, 20) ])
{
	my ($what, $bytes) = @$forged;

	write_bytes($t_file, 0, $bytes);
	$node->start;
	my ($ret, $out, $err) = $node->psql('postgres', 'SELECT * FROM t');
	isnt($ret, 0, "$what is an error") or diag(substr($out, 0, 200));
	unlike($out, qr/$marker/, '... and no row of it comes out');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM u'),
		500, '... while other tables work');
	$node->stop;
	write_bytes($t_file, 0, $page);
}
$node->start;
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'),
	500, 'with the page put back, every row is there');

# Two tables with the same rows, at the same LSNs or not, share no ciphertext.
my $u_file = "$dir/" . $node->safe_psql('postgres', q{SELECT pg_relation_filepath('u')});
my %seen;
foreach my $file ($t_file, $u_file)
{
	my $data = slurp_file($file);

	for (my $at = 0; $at < length $data; $at += PAGE_SIZE)
	{
		$seen{$_}++ foreach unpack('(a16)*', substr($data, $at + 16, PAGE_SIZE - 16));
	}
}
is(scalar(grep { $_ > 1 } values %seen),
	0, 'no 16-byte block of ciphertext is there twice');
$node->stop;

done_testing();
