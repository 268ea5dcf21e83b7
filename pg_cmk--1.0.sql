/* pg_cmk--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION pg_cmk" to load this file. \quit

-- The role that may change keys.  Roles are shared by all databases, so another
-- database's extension may have made it.
DO $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'cmk_admin') THEN
		CREATE ROLE cmk_admin NOLOGIN;
	END IF;
EXCEPTION
	WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

CREATE FUNCTION cmk_heap_handler(internal)
RETURNS table_am_handler
AS 'MODULE_PATHNAME', 'cmk_heap_handler'
LANGUAGE C STRICT;

CREATE ACCESS METHOD cmk_heap TYPE TABLE HANDLER cmk_heap_handler;
COMMENT ON ACCESS METHOD cmk_heap IS 'heap table access method, sealed by pg_cmk';

CREATE FUNCTION get_status(
	OUT state text, OUT reason text, OUT since timestamptz,
	OUT key_url text, OUT key_version text, OUT identity text,
	OUT last_validated timestamptz, OUT next_validation timestamptz,
	OUT scope text, OUT wal_sealed bool, OUT root_id int,
	OUT relations_sealed bigint)
AS 'MODULE_PATHNAME', 'cmk_status'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;

CREATE FUNCTION get_relations(
	OUT relation regclass, OUT sealed bool, OUT generation int,
	OUT created timestamptz)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'cmk_relations'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;

CREATE FUNCTION get_events(
	OUT "time" timestamptz, OUT event text, OUT state text, OUT reason text,
	OUT key_url text, OUT key_version text, OUT request_id text, OUT detail text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'cmk_events'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;

CREATE FUNCTION is_sealed(relation regclass) RETURNS bool
AS 'MODULE_PATHNAME', 'cmk_is_sealed'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION is_sealed(regclass)
IS 'has a data key, and nothing in it was left plain';

CREATE FUNCTION pages(
	relation regclass, OUT fork text, OUT pages bigint, OUT sealed bigint,
	OUT plain bigint, OUT zero bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'cmk_pages'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION pages(regclass)
IS 'pages of each fork as they are on disk, by kind';

CREATE FUNCTION revalidate() RETURNS text
AS 'MODULE_PATHNAME', 'cmk_revalidate'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION revalidate()
IS 'validates the customer-managed key now; returns the new state';
REVOKE ALL ON FUNCTION revalidate() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION revalidate() TO cmk_admin;

CREATE FUNCTION set_key(key_url text) RETURNS text
AS 'MODULE_PATHNAME', 'cmk_set_key'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION set_key(text)
IS 'has another customer-managed key, or another version, take over; returns the version that governs; not undone by a rollback';

CREATE FUNCTION add_recipient(key_url text, public_key text DEFAULT NULL) RETURNS void
AS 'MODULE_PATHNAME', 'cmk_add_recipient'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION add_recipient(text, text)
IS 'one more key that can open the root key; not undone by a rollback';

CREATE FUNCTION drop_recipient(key_url text) RETURNS void
AS 'MODULE_PATHNAME', 'cmk_drop_recipient'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION drop_recipient(text)
IS 'a new root key for all recipients but this one; not undone by a rollback';

CREATE FUNCTION rotate_root() RETURNS int
AS 'MODULE_PATHNAME', 'cmk_rotate_root'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION rotate_root()
IS 'a new root key for all recipients; returns its number; not undone by a rollback';

CREATE FUNCTION get_recipients(
	OUT key_url text, OUT key_version text, OUT algorithm text,
	OUT created timestamptz, OUT governing bool, OUT local bool,
	OUT public_key text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'cmk_recipients'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;

REVOKE ALL ON FUNCTION set_key(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION add_recipient(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION drop_recipient(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION rotate_root() FROM PUBLIC;
REVOKE ALL ON FUNCTION get_recipients() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION set_key(text) TO cmk_admin;
GRANT EXECUTE ON FUNCTION add_recipient(text, text) TO cmk_admin;
GRANT EXECUTE ON FUNCTION drop_recipient(text) TO cmk_admin;
GRANT EXECUTE ON FUNCTION rotate_root() TO cmk_admin;
GRANT EXECUTE ON FUNCTION get_recipients() TO pg_monitor, cmk_admin;

CREATE VIEW recipients AS SELECT * FROM @extschema@.get_recipients();
COMMENT ON VIEW recipients IS 'keys that can open the current root key';
GRANT SELECT ON recipients TO pg_monitor, cmk_admin;

CREATE VIEW status AS SELECT * FROM @extschema@.get_status();
COMMENT ON VIEW status IS 'state of the customer-managed key, one row';
CREATE VIEW relations AS SELECT * FROM @extschema@.get_relations();
COMMENT ON VIEW relations IS 'sealed relations of this database';
CREATE VIEW events AS SELECT * FROM @extschema@.get_events();
COMMENT ON VIEW events IS 'what happened to the keys, newest last';

REVOKE ALL ON FUNCTION get_status() FROM PUBLIC;
REVOKE ALL ON FUNCTION get_events() FROM PUBLIC;
REVOKE ALL ON FUNCTION get_relations() FROM PUBLIC;
REVOKE ALL ON FUNCTION is_sealed(regclass) FROM PUBLIC;
REVOKE ALL ON FUNCTION pages(regclass) FROM PUBLIC;

GRANT USAGE ON SCHEMA @extschema@ TO pg_monitor, cmk_admin;
GRANT EXECUTE ON FUNCTION get_status() TO pg_monitor, cmk_admin;
GRANT EXECUTE ON FUNCTION get_events() TO pg_monitor, cmk_admin;
GRANT EXECUTE ON FUNCTION get_relations() TO pg_monitor, cmk_admin;
GRANT EXECUTE ON FUNCTION is_sealed(regclass) TO pg_monitor, cmk_admin;
GRANT EXECUTE ON FUNCTION pages(regclass) TO pg_monitor, cmk_admin;
GRANT SELECT ON status, events, relations TO pg_monitor, cmk_admin;

CREATE FUNCTION seal(relation regclass) RETURNS bigint
AS 'MODULE_PATHNAME', 'cmk_seal'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION seal(regclass)
IS 'seals a relation, its TOAST table and indexes in place; returns how many pages became sealed; not undone by a rollback';

CREATE FUNCTION seal_database() RETURNS bigint
AS 'MODULE_PATHNAME', 'cmk_seal_database'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION seal_database()
IS 'has a worker seal all relations of this database and the shared ones in place; returns how many relation files became sealed';

CREATE FUNCTION rotate_dek(relation regclass) RETURNS bigint
AS 'MODULE_PATHNAME', 'cmk_rotate_dek'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION rotate_dek(regclass)
IS 'gives a relation, its TOAST table and indexes new data keys and seals their pages under them; returns how many pages; not undone by a rollback';

CREATE FUNCTION get_progress(
	OUT pid int, OUT datid oid, OUT datname name, OUT relid oid, OUT phase text,
	OUT blocks_total bigint, OUT blocks_done bigint, OUT blocks_sealed bigint,
	OUT relations_total bigint, OUT relations_done bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'cmk_progress'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;

CREATE VIEW progress AS SELECT * FROM @extschema@.get_progress();
COMMENT ON VIEW progress IS 'who seals in place now, and how far they are';

REVOKE ALL ON FUNCTION seal(regclass) FROM PUBLIC;
REVOKE ALL ON FUNCTION seal_database() FROM PUBLIC;
REVOKE ALL ON FUNCTION rotate_dek(regclass) FROM PUBLIC;
REVOKE ALL ON FUNCTION get_progress() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION seal(regclass) TO cmk_admin;
GRANT EXECUTE ON FUNCTION seal_database() TO cmk_admin;
GRANT EXECUTE ON FUNCTION rotate_dek(regclass) TO cmk_admin;
GRANT EXECUTE ON FUNCTION get_progress() TO pg_monitor, cmk_admin;
GRANT SELECT ON progress TO pg_monitor, cmk_admin;
