-- Errors that can be had on a server that is set up well; the others are in
-- t/003_errors.pl.

CREATE SCHEMA errors;
SET search_path = errors;

-- One extension for a database, and it does not move.
\set VERBOSITY terse
CREATE EXTENSION pg_cmk;
ALTER EXTENSION pg_cmk SET SCHEMA public;
CREATE TABLE needs (id int) USING cmk_heap;
DROP EXTENSION pg_cmk;
DROP ACCESS METHOD cmk_heap;
\set VERBOSITY default

-- Functions of the access method are not for SQL.
SELECT cmk.cmk_heap_handler(NULL);

-- It is a table access method and nothing else.
\set VERBOSITY sqlstate
CREATE INDEX ON needs USING cmk_heap (id);
\set VERBOSITY default
CREATE SEQUENCE s USING cmk_heap;
CREATE VIEW v USING cmk_heap AS SELECT 1;
CREATE TABLE partitioned (id int) PARTITION BY LIST (id) USING cmk_heap;

-- An error in the middle leaves neither table nor index.
CREATE TABLE half USING cmk_heap AS SELECT 1 / (3 - g) AS i FROM generate_series(1, 5) g;
CREATE TABLE half (id int PRIMARY KEY, id int) USING cmk_heap;
INSERT INTO needs VALUES (0), (1);
CREATE UNIQUE INDEX half_index ON needs ((id * 0));
ALTER TABLE needs ALTER id TYPE int USING 1 / id;
SELECT to_regclass('half') IS NULL AS no_table, to_regclass('half_index') IS NULL AS no_index;
SELECT count(*), cmk.is_sealed('needs') FROM needs;

-- A concurrent build that fails leaves an invalid index, sealed as well.
CREATE UNIQUE INDEX CONCURRENTLY invalid ON needs ((id * 0));
SELECT indisvalid, cmk.is_sealed(indexrelid) FROM pg_index WHERE indexrelid = 'invalid'::regclass;
REINDEX INDEX CONCURRENTLY invalid;
DROP INDEX invalid;

SET client_min_messages = warning;
DROP SCHEMA errors CASCADE;
