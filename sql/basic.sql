-- What a user sees: views and functions of schema cmk, and who may see them.
--
-- Runs in a database that has the extension (pg_regress --load-extension=pg_cmk),
-- on a server with a key.

-- The server that has just made its root seals WAL a moment later.
SET statement_timeout = '60s';
DO $$
BEGIN
	WHILE NOT (SELECT wal_sealed FROM cmk.status) LOOP
		PERFORM pg_sleep(0.05);
	END LOOP;
END
$$;
RESET statement_timeout;

SELECT state, reason, scope, wal_sealed, root_id > 0 AS has_root,
	key_url = current_setting('pg_cmk.key') AS key_is_configured,
	key_version <> '' AS has_version, since <= now() AS since,
	last_validated <= now() AS validated, relations_sealed >= 0 AS counted
FROM cmk.status;
SELECT count(*) FROM cmk.status;
\d cmk.status
\d cmk.relations
\d cmk.events

-- The access method
SELECT amname, amtype, amhandler FROM pg_am WHERE amname = 'cmk_heap';

-- A sealed table, its TOAST table and its index; a plain one beside it
CREATE SCHEMA basic;
SET search_path = basic;
CREATE TABLE sealed (id int PRIMARY KEY, v text) USING cmk_heap;
CREATE TABLE plain (id int PRIMARY KEY, v text) USING heap;
INSERT INTO sealed SELECT g, 'row ' || g FROM generate_series(1, 1000) g;
INSERT INTO plain SELECT * FROM sealed;

SELECT cmk.is_sealed('sealed') AS sealed, cmk.is_sealed('sealed_pkey') AS index,
	cmk.is_sealed(reltoastrelid) AS toast
FROM pg_class WHERE oid = 'sealed'::regclass;
SELECT cmk.is_sealed('plain') AS plain, cmk.is_sealed('plain_pkey') AS index,
	cmk.is_sealed('pg_class') AS catalog;

SELECT relation, sealed, created BETWEEN now() - interval '1 hour' AND now() AS recent
FROM cmk.relations
WHERE relation IN ('sealed'::regclass, 'sealed_pkey'::regclass,
	'plain'::regclass, 'plain_pkey'::regclass)
ORDER BY relation::text;

-- Pages are counted on disk, so that a checkpoint comes first.
CHECKPOINT;
SELECT fork, pages > 0 AS has_pages, sealed = pages AS all_sealed, plain, zero
FROM cmk.pages('sealed') WHERE fork = 'main';
SELECT fork, pages > 0 AS has_pages, sealed, plain = pages AS all_plain, zero
FROM cmk.pages('plain') WHERE fork = 'main';
SELECT sum(plain) AS plain FROM cmk.pages('sealed');
SELECT sum(sealed) AS sealed FROM cmk.pages('plain');
SELECT pages = pg_relation_size('sealed') / 8192 AS size_agrees
FROM cmk.pages('sealed') WHERE fork = 'main';
VACUUM sealed;
CHECKPOINT;
SELECT fork, pages > 0 AS has_pages, plain FROM cmk.pages('sealed')
WHERE pages > 0 ORDER BY fork;

-- A temporary table is sealed under a key in memory, whatever its access method.
CREATE TEMP TABLE temp_sealed (v text) USING cmk_heap;
CREATE TEMP TABLE temp_plain (v text) USING heap;
INSERT INTO temp_sealed VALUES ('sealed');
INSERT INTO temp_plain VALUES ('too');
SELECT * FROM temp_sealed, temp_plain;
DROP TABLE temp_sealed, temp_plain;

-- What has no file
CREATE VIEW nofile AS SELECT * FROM sealed;
CREATE TABLE parent (id int) PARTITION BY LIST (id);
SELECT cmk.is_sealed('nofile') AS view, cmk.is_sealed('parent') AS partitioned;
SELECT * FROM cmk.pages('nofile');
SELECT * FROM cmk.pages('parent');
SELECT cmk.is_sealed(NULL) IS NULL AS null_is_null;
SELECT cmk.is_sealed(0::oid::regclass);
SELECT cmk.is_sealed(4294967295::oid::regclass);
SELECT * FROM cmk.pages(4294967295::oid::regclass);
SELECT cmk.is_sealed('does_not_exist');

-- Privileges: keys are for cmk_admin, reading is for pg_monitor.
SELECT rolname, rolcanlogin, rolsuper FROM pg_roles WHERE rolname = 'cmk_admin';
SELECT p.proname, pg_get_function_identity_arguments(p.oid) AS args,
	has_function_privilege('public', p.oid, 'EXECUTE') AS public
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = 'cmk' AND has_function_privilege('public', p.oid, 'EXECUTE')
	AND p.prorettype <> 'table_am_handler'::regtype;

CREATE ROLE regress_cmk_nobody;
CREATE ROLE regress_cmk_monitor IN ROLE pg_monitor;
CREATE ROLE regress_cmk_admin IN ROLE cmk_admin;
GRANT ALL ON SCHEMA basic TO regress_cmk_nobody, regress_cmk_monitor, regress_cmk_admin;
\set VERBOSITY sqlstate
SET ROLE regress_cmk_nobody;
SELECT state FROM cmk.status;
SELECT count(*) FROM cmk.relations;
SELECT count(*) FROM cmk.events;
SELECT cmk.is_sealed('basic.sealed');
SELECT * FROM cmk.pages('basic.sealed');
SET pg_cmk.debug_crash_at = '';
SET pg_cmk.debug_pause_at = '';
-- The access method is for everyone, as heap is.
CREATE TABLE nobodys (id int PRIMARY KEY, v text) USING cmk_heap;
INSERT INTO nobodys SELECT g, 'row ' || g FROM generate_series(1, 10) g;
CREATE INDEX ON nobodys (v);
SELECT count(*) FROM nobodys;
TRUNCATE nobodys;
ALTER TABLE nobodys ALTER id TYPE bigint;
REINDEX TABLE nobodys;
RESET ROLE;
SELECT cmk.is_sealed('nobodys') AND cmk.is_sealed('nobodys_pkey')
	AND cmk.is_sealed('nobodys_v_idx') AS sealed;
SET ROLE regress_cmk_monitor;
SELECT state FROM cmk.status;
SELECT count(*) > 0 AS some FROM cmk.relations;
SELECT count(*) > 0 AS some FROM cmk.events;
SELECT cmk.is_sealed('basic.sealed');
SELECT sum(plain) AS plain FROM cmk.pages('basic.sealed');
RESET ROLE;
SET ROLE regress_cmk_admin;
SELECT state FROM cmk.status;
SELECT cmk.is_sealed('basic.sealed');
RESET ROLE;

-- Settings that decide what is sealed are set when the server starts.
SET pg_cmk.key = 'file:///tmp/other.pem';
SET pg_cmk.scope = 'tables';
SELECT name, context FROM pg_settings
WHERE name IN ('pg_cmk.key', 'pg_cmk.scope') ORDER BY name;
\set VERBOSITY default

-- A reserved prefix: a misspelt setting is an error, not silence.
SET pg_cmk.kye = 'file:///tmp/other.pem';

DROP OWNED BY regress_cmk_nobody, regress_cmk_monitor, regress_cmk_admin;
DROP ROLE regress_cmk_nobody, regress_cmk_monitor, regress_cmk_admin;
SET client_min_messages = warning;
DROP SCHEMA basic CASCADE;
