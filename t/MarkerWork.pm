=pod

=head1 NAME

MarkerWork - what users do with a database, with a marker in all that they put there

=head1 DESCRIPTION

The same work is done on a cluster that is plain and on one in which everything is
sealed.  Every step names the markers that it wrote and in which files they must be found
where nothing is sealed: so it is shown that the search finds what was written there,
by this server, in this form.  On the sealed cluster none may be found, wherever.

	my $work = MarkerWork->new($node, sealed => 1, dirs => sub { primary => $dir, ... });
	$work->objects;
	$work->held;

What stands in clear by design, and is documented as such, is in %CLEAR.

=cut

package MarkerWork;

use strict;
use warnings;

use CmkTest;
use MarkerTest;
use PostgreSQL::Test::Utils;
use Test::More;

# Markers that may stand in clear, and where.  Names of files, and
# what the server keeps in text files for people to read.
our %CLEAR = (
	slot     => qr{/pg_replslot/\w+/state$|/pg_stat/pgstat\.stat$},
	autoconf => qr{/postgresql\.auto\.conf$|\.tar$},
	label    => qr{/backup_label(\.old)?$|/[0-9A-F]{24}\.[0-9A-F]{8}\.backup$|\.tar$});

# Of those, which were met, and where.
our %met;

# Rows to sort: more than fit into the memory for it, the marker not among them.
use constant ROWS => 20000;

# What the work needs of postgresql.conf.
sub conf
{
	return q{
max_connections = 60
max_replication_slots = 10
max_worker_processes = 16
shared_buffers = 32MB
work_mem = '256kB'
logical_decoding_work_mem = '64kB'
allow_in_place_tablespaces = on
compute_query_id = regress
pg_stat_statements.track_utility = on
remove_temp_files_after_crash = off
restart_after_crash = on
max_wal_size = 1GB
};
}

sub new
{
	my ($class, $node, %opt) = @_;
	return bless { node => $node, db => 'postgres', go => $node->basedir . '/go', %opt }, $class;
}

sub sql
{
	my ($self, $sql) = @_;
	return $self->{node}->safe_psql($self->{db}, fill_markers($sql));
}

sub session
{
	my ($self) = @_;
	return $self->{node}->background_psql($self->{db}, on_error_stop => 1);
}

# The markers of a search's result that should not be there: "file: markers".
sub in_clear
{
	my ($found) = @_;
	my @bad;

	foreach my $file (sort keys %$found)
	{
		my @names = grep { !(exists $CLEAR{$_} && $file =~ $CLEAR{$_}) } sort keys %{ $found->{$file} };

		$met{$_}{$file} = 1 foreach grep { exists $CLEAR{$_} } keys %{ $found->{$file} };
		push @bad, "$file: @names" if @names;
	}
	return @bad;
}

# Searches.  For each marker a pattern of files, or "rel:" and an expression of type regclass.
sub look
{
	my ($self, $title, %where) = @_;
	my $found;
	my @missing;

	if ($self->{sealed})
	{
		# Files must be there in which something could be.
		foreach my $name (grep { ref $where{$_} } sort keys %where)
		{
			push @missing, "no file for $name" unless grep { $_ =~ $where{$name} } filled_files($self->{dirs}->());
		}
		is(join("\n", in_clear(find_markers($self->{dirs}->())), @missing), '', "$title: nothing in clear");
		return;
	}
	foreach my $name (grep { !ref $where{$_} } keys %where)
	{
		my ($rel) = $where{$name} =~ /^rel:(.*)$/s;
		my $path = $self->sql("SELECT pg_relation_filepath(" . ($rel =~ /^\w+$/ ? "'$rel'::regclass" : $rel) . ")");
		$where{$name} = qr{/\Q$path\E(?:\.\d+)?$};
	}
	$found = find_markers($self->{dirs}->());
	foreach my $name (sort keys %where)
	{
		next if grep { $_ =~ $where{$name} && $found->{$_}{$name} } keys %$found;
		push @missing, "$name (it is in: " . join(', ', grep { $found->{$_}{$name} } sort keys %$found) . ')';
	}
	is(join("\n", @missing), '', "control: $title: in a plain cluster the search finds each");
	return;
}

# ---- what stays ----

sub objects
{
	my ($self) = @_;

	$self->sql($_) foreach 'CREATE DATABASE @database@', q{CREATE TABLESPACE spc LOCATION ''};
	$self->{db} = marker('database');
	$self->catalogs;
	$self->tables;
	$self->indexes;
	$self->statistics;
	$self->sql(q{SELECT pg_logical_emit_message(true, 'm', '@message@')});
	$self->look('WAL', map { $_ => qr{/pg_wal/[0-9A-F]{24}$} } 'message', 'heap', 'toast', 'function', 'mcv', 'ibtree');
	return;
}

sub catalogs
{
	my ($self) = @_;
	# So many that they go to the TOAST table.
	my $views = join(', ', map { "'\@view\@'::text AS v$_" } 1 .. 20);

	$self->sql(q{
		CREATE EXTENSION bloom; CREATE EXTENSION btree_gist; CREATE EXTENSION postgres_fdw;
		CREATE EXTENSION pg_stat_statements;
		CREATE ROLE @role@ LOGIN PASSWORD '@password@';
		ALTER ROLE @role@ SET my.x = '@roleset@';
		ALTER DATABASE @database@ SET my.x = '@dbset@';
		COMMENT ON DATABASE @database@ IS '@shcomment@';
		GRANT SET ON PARAMETER my.@parameter@ TO @role@;
		CREATE SCHEMA @schema@;
		CREATE TYPE mood AS ENUM ('@enum@', 'b');
		CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT '@function@' $$;
		CREATE AGGREGATE a (text) (SFUNC = textcat, STYPE = text, INITCOND = '@aggregate@');
		CREATE TABLE c (id int, v text DEFAULT '@attrdef@', @attribute@ int,
			g text GENERATED ALWAYS AS (v || '@generated@') STORED,
			CONSTRAINT ck CHECK (v <> '@check@'));
		COMMENT ON TABLE c IS '@comment@';
		CREATE POLICY p ON c USING (v <> '@policy@');
		CREATE TRIGGER tr BEFORE UPDATE ON c FOR EACH ROW
			EXECUTE FUNCTION suppress_redundant_updates_trigger('@trigger@');
		CREATE SEQUENCE @sequence@;
		CREATE SERVER srv FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '@server@');
		CREATE USER MAPPING FOR CURRENT_USER SERVER srv OPTIONS (user 'u', password '@mapping@');
		CREATE FOREIGN TABLE ft (v text OPTIONS (column_name '@foreigncol@')) SERVER srv OPTIONS (table_name '@foreign@');
		CREATE PUBLICATION @publication@ FOR TABLE c WHERE (v <> '@rowfilter@');
		SET client_min_messages = error;
		CREATE SUBSCRIPTION sub CONNECTION 'host=/nowhere password=@subscription@' PUBLICATION p WITH (connect = false);
		RESET client_min_messages;
		SELECT pg_replication_origin_create('@origin@');
		SELECT lo_from_bytea(0, '@largeobject@');
		SET allow_system_table_mods = on;
		ALTER TABLE pg_rewrite ALTER ev_action SET STORAGE EXTERNAL;
		CREATE VIEW w AS SELECT @views@;
		CREATE TABLE part (v text) PARTITION BY LIST (v);
		CREATE TABLE part_a PARTITION OF part FOR VALUES IN ('@bound@');
		CHECKPOINT} =~ s/\@views\@/$views/r);
	$self->look(
		'catalogs',
		database    => 'rel:pg_database',
		role        => 'rel:pg_authid',
		password    => qr{/pg_stat_tmp/pgss_query_texts\.stat$},
		roleset     => 'rel:pg_db_role_setting',
		dbset       => 'rel:pg_db_role_setting',
		shcomment   => 'rel:pg_shdescription',
		parameter   => 'rel:pg_parameter_acl',
		schema      => 'rel:pg_namespace',
		enum        => 'rel:pg_enum',
		function    => 'rel:pg_proc',
		aggregate   => 'rel:pg_aggregate',
		attribute   => 'rel:pg_attribute',
		attrdef     => 'rel:pg_attrdef',
		generated   => 'rel:pg_attrdef',
		check       => 'rel:pg_constraint',
		comment     => 'rel:pg_description',
		policy      => 'rel:pg_policy',
		trigger     => 'rel:pg_trigger',
		sequence    => 'rel:pg_class',
		server      => 'rel:pg_foreign_server',
		mapping     => 'rel:pg_user_mapping',
		foreign     => 'rel:pg_foreign_table',
		foreigncol  => 'rel:pg_attribute',
		publication => 'rel:pg_publication',
		rowfilter   => 'rel:pg_publication_rel',
		subscription => 'rel:pg_subscription',
		origin      => 'rel:pg_replication_origin',
		largeobject => 'rel:pg_largeobject',
		view        => q{rel:(SELECT reltoastrelid FROM pg_class WHERE oid = 'pg_rewrite'::regclass)},
		bound       => 'rel:pg_class');
	return;
}

sub tables
{
	my ($self) = @_;

	$self->sql(q{
		CREATE TABLE rows (v text, b bytea, j jsonb, a text[], c char(60), n name, s tsvector);
		INSERT INTO rows VALUES ('@heap@', '@bytea@', '{"@jsonkey@": ["@jsonb@"]}', '{@array@}', '@char@', '@nametype@',
			to_tsvector('simple', '@tsvector@'));
		COPY rows (v) FROM STDIN;
} . fill_markers('@copy@') . q{
\.
		CREATE TABLE upd (v text);
		INSERT INTO upd VALUES ('@updated@'), ('@deleted@'), ('x');
		UPDATE upd SET v = 'y' WHERE v = '@updated@';
		DELETE FROM upd WHERE v = '@deleted@';
		BEGIN; INSERT INTO upd VALUES ('@rolledback@'); ROLLBACK;
		CREATE TABLE big (v text);
		ALTER TABLE big ALTER v SET STORAGE EXTERNAL;
		INSERT INTO big SELECT repeat('@toast@ ', 1000);
		CREATE TABLE pglz (v text COMPRESSION pglz);
		INSERT INTO pglz SELECT '@pglz@' || repeat('abcdefghij', 1000);
		CREATE TABLE lz (v text COMPRESSION lz4);
		INSERT INTO lz SELECT '@lz@' || repeat('abcdefghij', 1000);
		CREATE TABLE as_query AS SELECT '@ctas@'::text AS v;
		CREATE MATERIALIZED VIEW mv AS SELECT '@matview@' || v AS v FROM upd;
		INSERT INTO part VALUES ('@bound@');
		CREATE TABLE parent (v text); CREATE TABLE child () INHERITS (parent);
		INSERT INTO child VALUES ('@child@');
		CREATE TABLE elsewhere (v text) TABLESPACE spc;
		INSERT INTO elsewhere VALUES ('@tablespace@');
		CREATE TABLE added (id int);
		INSERT INTO added VALUES (1);
		ALTER TABLE added ADD v text DEFAULT '@missing@';
		CREATE UNLOGGED TABLE unl AS SELECT '@unlogged@'::text AS v;
		CREATE TABLE t AS SELECT g AS n, 'v' || lpad(g::text, 7, '0') || repeat('x', 60) AS v FROM generate_series(1, @rows@) g;
		ANALYZE t;
		CHECKPOINT} =~ s/\@rows\@/ROWS/er);
	$self->look(
		'tables',
		(map { $_ => 'rel:rows' } 'heap', 'bytea', 'jsonkey', 'jsonb', 'array', 'char', 'nametype', 'tsvector', 'copy'),
		(map { $_ => 'rel:upd' } 'updated', 'deleted', 'rolledback'),
		toast      => q{rel:(SELECT reltoastrelid FROM pg_class WHERE relname = 'big')},
		'(cut)'    => 'rel:pglz',
		lz         => 'rel:lz',
		ctas       => 'rel:as_query',
		matview    => 'rel:mv',
		bound      => 'rel:part_a',
		child      => 'rel:child',
		tablespace => 'rel:elsewhere',
		missing    => 'rel:pg_attribute');
	return;
}

# The expressions are in no table, only in the index.
sub indexes
{
	my ($self) = @_;

	$self->sql(q{
		CREATE TABLE ix (n int, v text);
		INSERT INTO ix SELECT g, 'v' || g FROM generate_series(1, 50) g;
		CREATE INDEX i_btree ON ix ((v || '@ibtree@'));
		CREATE UNIQUE INDEX i_unique ON ix ((v || '@iunique@')) INCLUDE (n);
		CREATE INDEX i_partial ON ix (n) WHERE v <> '@ipartial@';
		CREATE INDEX i_gin ON ix USING gin ((ARRAY[v || '@igin@']));
		CREATE INDEX i_gist ON ix USING gist ((v || '@igist@'));
		CREATE INDEX i_spgist ON ix USING spgist (('@ispgist@' || v));
		CREATE INDEX i_brin ON ix USING brin (('@ibrin@' || v));
		CREATE INDEX i_hash ON ix USING hash ((v || '@ihash@'));
		CREATE INDEX i_bloom ON ix USING bloom ((v || '@ibloom@'));
		ALTER TABLE ix ADD CONSTRAINT i_exclusion EXCLUDE USING gist ((v || '@iexclusion@') WITH =);
		CREATE TABLE pend (v text);
		CREATE INDEX i_pending ON pend USING gin ((ARRAY[v || '@ipending@'])) WITH (fastupdate = on);
		INSERT INTO pend SELECT 'v' || g FROM generate_series(1, 50) g;
		CREATE INDEX i_tablespace ON ix ((v || '@itablespace@')) TABLESPACE spc;
		CHECKPOINT});
	$self->look(
		'indexes',
		(map { +"i$_" => "rel:i_$_" } 'btree', 'unique', 'gin', 'gist', 'spgist', 'brin', 'exclusion', 'pending', 'tablespace'),
		ipartial => 'rel:pg_index',
		ihash    => 'rel:pg_index',
		ibloom   => 'rel:pg_index');
	return;
}

sub statistics
{
	my ($self) = @_;

	$self->sql(q{
		CREATE TABLE st (m text, h text, a text, b text);
		INSERT INTO st SELECT '@mcv@' || g % 3, '@histogram@' || g, '@extmcv@' || g % 3, 'b' || g % 3 FROM generate_series(1, 300) g;
		ALTER TABLE st ALTER h SET STATISTICS 10;
		CREATE STATISTICS s_mcv (mcv) ON a, b FROM st;
		CREATE STATISTICS s_expr ON (a || '@statexpr@') FROM st;
		ANALYZE st;
		CHECKPOINT});
	$self->look(
		'statistics',
		mcv       => 'rel:pg_statistic',
		histogram => 'rel:pg_statistic',
		extmcv    => 'rel:pg_statistic_ext_data',
		statexpr  => 'rel:pg_statistic_ext_data');
	return;
}

# ---- what the server writes for a while ----

# A cursor that was not read to its end, in a session of its own; how to end it.
sub cursor
{
	my ($self, $settings, $query, $options) = @_;
	my $session = $self->session;

	$session->query_safe(fill_markers("$settings; BEGIN; DECLARE c CURSOR " . ($options || '') . " FOR $query"));
	$session->query_safe($options ? 'COMMIT' : 'FETCH 10 FROM c');
	return $session;
}

sub held
{
	my ($self) = @_;
	my $tmp = qr{/pgsql_tmp/};
	my $off = 'SET max_parallel_workers_per_gather = 0';

	foreach my $held (
		[ 'sort', $off, q{SELECT n FROM t ORDER BY v || '@sort@'} ],
		[ 'tablespace', "$off; SET temp_tablespaces = 'spc'", q{SELECT n FROM t ORDER BY v || '@sortspc@'} ],
		[ 'hash join', "$off; SET enable_mergejoin = off; SET enable_nestloop = off",
			q{SELECT * FROM (SELECT v, '@hashjoin@' || v AS x FROM t OFFSET 0) r JOIN (SELECT v, '@hashjoin@' || v AS y FROM t OFFSET 0) s USING (v)} ],
		[ 'hash aggregate', "$off; SET enable_sort = off", q{SELECT v || '@hashagg@', count(*) FROM t GROUP BY 1} ],
		[ 'common table expression', $off,
			q{WITH c AS MATERIALIZED (SELECT v || '@cte@' AS x FROM t) SELECT x, (SELECT count(*) FROM c) FROM c} ],
		[ 'window', $off, q{SELECT x, count(*) OVER () FROM (SELECT v || '@window@' AS x FROM t OFFSET 0) s} ],
		[ 'cursor with hold', $off, q{SELECT v || '@withhold@' FROM t}, 'WITH HOLD' ])
	{
		my ($title, @args) = @$held;
		my $session = $self->cursor(@args);
		my ($name) = $args[1] =~ /\@(\w+)\@/;

		$self->look($title, $name => $name eq 'sortspc' ? qr{/pg_tblspc/.*/pgsql_tmp/} : $tmp);
		$session->quit;
	}

	# Processes that share files wait for a file to appear, each at the last row.
	$self->sql(q{
		CREATE FUNCTION hold(n int) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
		BEGIN
			WHILE n = @rows@ AND (pg_stat_file('@go@', true)).size IS NULL LOOP
				PERFORM pg_sleep(0.01);
			END LOOP;
			RETURN '';
		END $$} =~ s/\@rows\@/ROWS/er =~ s/\@go\@/$self->{go}/r);
	my $parallel = 'SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; '
	  . 'SET min_parallel_table_scan_size = 0; SET enable_mergejoin = off; SET enable_nestloop = off';
	$self->at_last_row('index build that spills',
		q{SET maintenance_work_mem = '1MB'; CREATE INDEX t_serial ON t ((v || '@buildserial@' || hold(n)))}, buildserial => $tmp);
	$self->at_last_row('parallel index build',
		q{ALTER TABLE t SET (parallel_workers = 2); SET max_parallel_maintenance_workers = 2; SET maintenance_work_mem = '96MB';
			CREATE INDEX t_parallel ON t ((v || '@buildparallel@' || hold(n)))}, buildparallel => qr{/pgsql_tmp/.*fileset/});
	$self->at_last_row('parallel hash join',
		qq{$parallel; CREATE TABLE tp AS SELECT n, v || '\@phj\@' AS v FROM t; ANALYZE tp;
			SELECT count(*) FROM tp a JOIN tp b USING (v) WHERE hold(a.n) = ''}, phj => qr{/pgsql_tmp/.*fileset/});

	$self->temp_table;
	$self->notify;
	# In this order: a slot is not made while a prepared transaction is open.
	$self->decoding;
	$self->prepared;
	return;
}

# Runs a statement that calls hold(), looks when it waits, lets it go on.
sub at_last_row
{
	my ($self, $title, $sql, %where) = @_;
	my ($out, $err) = ('', '');
	my $run = IPC::Run::start([ 'psql', '-XAtq', '-d', $self->{node}->connstr($self->{db}), '-c', fill_markers($sql) ],
		'<', \undef, '>', \$out, '2>', \$err);

	wait_until('one waits, and all others do, too', sub {
		$self->sql(q{SELECT bool_or(wait_event = 'PgSleep') AND bool_and(coalesce(wait_event = 'PgSleep' OR wait_event_type = 'IPC', false))
			FROM pg_stat_activity WHERE (query ~ 'hold\(' OR backend_type = 'parallel worker') AND pid <> pg_backend_pid()}) eq 't';
	});
	$self->look($title, %where);
	append_to_file($self->{go}, 'x');
	$run->finish;
	is($err, '', "... and ends well");
	unlink $self->{go};
	return;
}

sub temp_table
{
	my ($self) = @_;
	my $session = $self->session;

	$session->query_safe(fill_markers(q{SET temp_buffers = '800kB';
		CREATE TEMP TABLE tmp AS SELECT v || '@temptable@' AS v FROM t; CREATE INDEX ON tmp ((v || '@tempindex@'))}));
	$self->look('temporary table', temptable => qr{/t\d+_\d+$}, tempindex => qr{/t\d+_\d+$});
	$session->quit;
	return;
}

sub notify
{
	my ($self) = @_;
	my $listener = $self->session;

	$listener->query_safe(fill_markers('LISTEN @channel@; BEGIN; SELECT 1'));
	$self->sql(q{SELECT pg_notify('@channel@', '@payload@' || g || repeat('z', 500)) FROM generate_series(1, 1500) g});
	$self->look('notifications', channel => qr{/pg_notify/}, payload => qr{/pg_notify/});
	$listener->query_safe('COMMIT');
	$listener->quit;
	return;
}

# Left open: finish_prepared() ends them.
sub prepared
{
	my ($self) = @_;

	$self->sql(q{
		CREATE TABLE prep (v text);
		BEGIN; INSERT INTO prep VALUES ('@preparedrow@'); CREATE TABLE @preparedtable@ AS SELECT '@preparednew@'::text AS v;
		PREPARE TRANSACTION '@gid@';
		CHECKPOINT});
	$self->look('prepared transaction', preparedrow => 'rel:prep', preparedtable => 'rel:pg_class', preparednew => qr{/base/},
		gid => qr{/pg_twophase/});
	return;
}

sub finish_prepared
{
	my ($self) = @_;
	return $self->sql(q{COMMIT PREPARED '@gid@'});
}

sub decoding
{
	my ($self) = @_;
	my $open;
	my $dir = $self->{node}->data_dir . '/pg_replslot/' . marker('slot');
	my $received = $self->{node}->basedir . '/received';

	$self->sql(q{
		CREATE TABLE dec (n int PRIMARY KEY, v text);
		SELECT pg_create_logical_replication_slot('@slot@', 'test_decoding')});
	$open = $self->session;
	$open->query_safe(fill_markers(q{BEGIN; INSERT INTO dec SELECT g, '@decoded@' || g FROM generate_series(1, 5000) g;
		SAVEPOINT a; UPDATE dec SET v = '@decodedsub@' || n; RELEASE a}));
	$self->sql('SELECT pg_switch_wal()');
	my $run = IPC::Run::start(
		[
			'pg_recvlogical', '-d', $self->{node}->connstr($self->{db}), '--slot', marker('slot'), '--start', '-f', $received,
			'-F', 1, '-s', 1
		],
		'<', \undef, '2>', \my $err);
	# The subtransaction has a file of its own.
	ok(wait_until('decoding spills', sub { (grep { (-s $_ || 0) > 100_000 } glob("$dir/xid-*.spill")) > 1 }),
		'a large transaction spills');
	$self->look('logical decoding', decoded => qr{/pg_replslot/.*\.spill$}, decodedsub => qr{/pg_replslot/.*\.spill$},
		slot => qr{/pg_replslot/\w+/state$});
	$open->query_safe('COMMIT');
	$open->quit;
	my $last = marker('decodedsub') . '5000';
	ok(wait_until('all is decoded', sub { -e $received && file_contains($received, $last) }), '... and is decoded');
	$run->signal('INT');
	$run->finish;
	unlink $received;
	return;
}

sub drop_slot
{
	my ($self) = @_;
	return $self->sql(q{SELECT pg_drop_replication_slot('@slot@')});
}

# ---- the ends of a server ----

# A process that is killed, the whole server at once, and in order.
sub ends
{
	my ($self) = @_;
	my $node = $self->{node};
	my $tmp = qr{/pgsql_tmp/};
	my $victim = $self->cursor('SET max_parallel_workers_per_gather = 0', q{SELECT n FROM t ORDER BY v || '@killed@'});
	my $pid = $victim->query_safe('SELECT pg_backend_pid()');
	my $offset = -s $node->logfile;

	kill 'KILL', $pid;
	ok( wait_until('the server is back', sub {
			return log_since($node, $offset) =~ /database system is ready to accept connections/ && hears($node) eq '';
		}),
		'a crash of one process restarts all');
	eval { $victim->quit };
	$self->look('temporary files that a crash left', killed => $tmp);

	$victim = $self->cursor('SET max_parallel_workers_per_gather = 0', q{SELECT n FROM t ORDER BY v || '@atonce@'});
	$node->stop('immediate');
	eval { $victim->quit };
	$self->look('stopped at once', atonce => $tmp, heap => qr{/base/});
	$node->start;
	$self->sql(q{DROP TABLE unl; CREATE UNLOGGED TABLE unl AS SELECT '@unlogged@'::text AS v; SET my.@utility@ = 'x'});
	$node->stop('fast');
	$self->look('stopped', unlogged => qr{/base/}, utility => qr{/pg_stat/pg_stat_statements\.stat$});
	$node->start;
	return;
}

1;
