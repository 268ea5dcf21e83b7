-- Every way by which the files of a sealed table come into being, as seen by
-- cmk.pages and cmk.is_sealed (the bytes themselves are for t/002_paths.pl).
--
-- The view "faults" lists what should not be: a relation that belongs to a
-- cmk_heap table and is not sealed or has plain pages, or one that belongs to a
-- heap table and is sealed all the same.  It is empty after each step; that it
-- can be otherwise is shown first.

CREATE SCHEMA ddl;
SET search_path = ddl;
CREATE VIEW tables AS
	SELECT c.oid, a.amname = 'cmk_heap' AS should
	FROM pg_class c JOIN pg_am a ON a.oid = c.relam
	WHERE c.relnamespace = 'ddl'::regnamespace AND c.relkind IN ('r', 'm');
CREATE VIEW all_relations AS
	WITH h AS (
		SELECT oid, should FROM tables
		UNION ALL
		SELECT c.reltoastrelid, should FROM tables JOIN pg_class c USING (oid)
		WHERE c.reltoastrelid <> 0)
	SELECT oid, should FROM h
	UNION ALL
	SELECT i.indexrelid, should FROM h JOIN pg_index i ON i.indrelid = h.oid
		JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relkind = 'i';
CREATE VIEW faults AS
	SELECT oid::regclass AS relation, cmk.is_sealed(oid) AS sealed, sum(plain) AS plain
	FROM all_relations, cmk.pages(oid)
	WHERE should
	GROUP BY oid
	HAVING NOT cmk.is_sealed(oid) OR sum(plain) > 0;
CREATE FUNCTION check_faults(tables int) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
	f record;
	n int := (SELECT count(*) FROM ddl.tables WHERE should);
BEGIN
	FOR f IN SELECT * FROM ddl.faults ORDER BY relation::text COLLATE "C" LOOP
		RETURN NEXT format('%s: sealed %s, plain %s', f.relation, f.sealed, f.plain);
	END LOOP;
	IF n <> tables THEN
		RETURN NEXT format('%s sealed tables instead of %s', n, tables);
	END IF;
	IF NOT EXISTS (SELECT FROM ddl.all_relations, cmk.pages(oid) WHERE should AND sealed > 0) THEN
		RETURN NEXT 'no sealed page';
	END IF;
END
$$;

-- The check can fail: ask it of a plain table.
CREATE TABLE control (id int PRIMARY KEY, v text) USING heap;
INSERT INTO control VALUES (1, 'plain');
CHECKPOINT;
CREATE OR REPLACE VIEW tables AS
	SELECT c.oid, true AS should FROM pg_class c WHERE c.oid = 'ddl.control'::regclass;
SELECT regexp_replace(f, 'pg_toast_\d+', 'pg_toast_N') AS fault
FROM check_faults(2) f ORDER BY f COLLATE "C";
CREATE OR REPLACE VIEW tables AS
	SELECT c.oid, a.amname = 'cmk_heap' AS should
	FROM pg_class c JOIN pg_am a ON a.oid = c.relam
	WHERE c.relnamespace = 'ddl'::regnamespace AND c.relkind IN ('r', 'm');
DROP TABLE control;

CREATE VIEW rows AS
	SELECT g AS id, 'value ' || g AS v, repeat('long ' || g, 1000) AS big
	FROM generate_series(1, 30) g;

-- Tables
CREATE TABLE t1 (id int PRIMARY KEY, v text UNIQUE, big text) USING cmk_heap;
INSERT INTO t1 SELECT * FROM rows;
CREATE TABLE t2 USING cmk_heap AS SELECT * FROM rows;
SET default_table_access_method = cmk_heap;
SELECT * INTO t3 FROM rows;
CREATE TABLE t4 (LIKE t1 INCLUDING ALL);
RESET default_table_access_method;
COPY t4 FROM stdin;
1	value 1	long
2	value 2	long
\.
BEGIN;
CREATE TABLE t5 (id int, v text, big text) USING cmk_heap;
COPY t5 FROM stdin (FREEZE);
1	value 1	long
2	value 2	long
\.
COMMIT;
CHECKPOINT;
SELECT * FROM check_faults(5);

-- Indexes
CREATE INDEX t2_btree ON t2 (v);
CREATE INDEX t2_hash ON t2 USING hash (v);
CREATE INDEX t2_gin ON t2 USING gin (to_tsvector('simple', v));
CREATE INDEX t2_gist ON t2 USING gist (to_tsvector('simple', v));
CREATE INDEX t2_spgist ON t2 USING spgist (v);
CREATE INDEX t2_brin ON t2 USING brin (v);
CREATE INDEX t2_expr ON t2 (lower(v)) WHERE id > 3;
CREATE INDEX CONCURRENTLY t2_concurrently ON t2 (v DESC);
ALTER TABLE t3 ADD PRIMARY KEY (id), ADD EXCLUDE (v WITH =);
CHECKPOINT;
SELECT * FROM check_faults(5);
INSERT INTO t2 SELECT id + 100, v, big FROM rows;
REINDEX INDEX t2_btree;
REINDEX TABLE t2;
REINDEX INDEX CONCURRENTLY t2_hash;
REINDEX TABLE CONCURRENTLY t2;
REINDEX SCHEMA ddl;
CHECKPOINT;
SELECT * FROM check_faults(5);

-- Rewrites
TRUNCATE t1;
INSERT INTO t1 SELECT * FROM rows;
BEGIN;
CREATE TABLE t6 (id int PRIMARY KEY, v text) USING cmk_heap;
INSERT INTO t6 SELECT id, v FROM rows;
TRUNCATE t6;
INSERT INTO t6 SELECT id, v FROM rows;
COMMIT;
VACUUM FULL t2;
CLUSTER t3 USING t3_pkey;
ALTER TABLE t1 ALTER id TYPE bigint;
ALTER TABLE t1 ADD COLUMN extra float8 DEFAULT random();
CHECKPOINT;
SELECT * FROM check_faults(6);

-- The access method, both ways
CREATE TABLE t7 (id int PRIMARY KEY, v text, big text) USING heap;
INSERT INTO t7 SELECT * FROM rows;
CHECKPOINT;
SELECT cmk.is_sealed('t7') AS table, cmk.is_sealed('t7_pkey') AS index;
ALTER TABLE t7 SET ACCESS METHOD cmk_heap;
CHECKPOINT;
SELECT * FROM check_faults(7);
SELECT cmk.is_sealed('t7') AS table, cmk.is_sealed('t7_pkey') AS index;
ALTER TABLE t7 SET ACCESS METHOD heap;
CHECKPOINT;
SELECT cmk.is_sealed('t7') AS table;
SELECT sum(sealed) AS sealed, sum(plain) > 0 AS has_plain FROM cmk.pages('t7');
SELECT count(*) FROM t7 JOIN rows USING (id, v, big);
DROP TABLE t7;

-- Logged, unlogged
ALTER TABLE t1 SET UNLOGGED;
CREATE UNLOGGED TABLE t7 (id int PRIMARY KEY, v text, big text) USING cmk_heap;
INSERT INTO t7 SELECT * FROM rows;
CHECKPOINT;
SELECT * FROM check_faults(7);
SELECT fork, sealed, plain FROM cmk.pages('t7_pkey') WHERE fork = 'init';
ALTER TABLE t1 SET LOGGED;
ALTER TABLE t7 SET LOGGED;
CHECKPOINT;
SELECT * FROM check_faults(7);

-- Materialized views
CREATE MATERIALIZED VIEW m1 USING cmk_heap AS SELECT * FROM t1 WITH NO DATA;
CREATE UNIQUE INDEX ON m1 (id);
REFRESH MATERIALIZED VIEW m1;
CHECKPOINT;
SELECT * FROM check_faults(8);
UPDATE t1 SET v = v || ' changed' WHERE id % 2 = 0;
REFRESH MATERIALIZED VIEW CONCURRENTLY m1;
CHECKPOINT;
SELECT * FROM check_faults(8);
SELECT count(*) FROM m1 WHERE v LIKE '% changed';

-- Partitions
CREATE TABLE p (id int, v text) PARTITION BY RANGE (id);
CREATE INDEX ON p (v);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10) USING cmk_heap;
CREATE TABLE p2 (id int, v text) USING cmk_heap;
ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20);
CREATE TABLE p3 PARTITION OF p DEFAULT USING heap;
INSERT INTO p SELECT id, v FROM rows;
UPDATE p SET id = id + 5;
ALTER TABLE p DETACH PARTITION p2;
REINDEX TABLE p2;
CHECKPOINT;
SELECT * FROM check_faults(10);
SELECT cmk.is_sealed('p1_v_idx') AS sealed, cmk.is_sealed('p2_v_idx') AS sealed,
	cmk.is_sealed('p3_v_idx') AS plain;

-- Transactions that do not happen, and subtransactions
BEGIN;
CREATE TABLE gone USING cmk_heap AS SELECT * FROM rows;
TRUNCATE t2;
ROLLBACK;
BEGIN;
SAVEPOINT a;
CREATE TABLE gone USING cmk_heap AS SELECT * FROM rows;
ROLLBACK TO a;
CREATE TABLE t8 (id int PRIMARY KEY) USING cmk_heap;
SAVEPOINT b;
INSERT INTO t8 SELECT id FROM rows;
ALTER TABLE t8 ALTER id TYPE bigint;
RELEASE b;
COMMIT;
DO $$
BEGIN
	TRUNCATE ddl.t8;
	RAISE division_by_zero;
EXCEPTION
	WHEN division_by_zero THEN INSERT INTO ddl.t8 VALUES (1000);
END
$$;
CHECKPOINT;
SELECT * FROM check_faults(11);
SELECT count(*) FROM t8;
SELECT count(*) FROM t2;

-- CREATE TABLE AS and the like inside functions
CREATE FUNCTION make() RETURNS void LANGUAGE sql
AS 'CREATE TABLE ddl.t9 (id int PRIMARY KEY, v text) USING cmk_heap';
SELECT make();
DO $$
BEGIN
	EXECUTE 'CREATE TABLE ddl.t10 USING cmk_heap AS SELECT * FROM ddl.rows';
	EXECUTE 'CREATE INDEX ON ddl.t10 (v)';
	EXECUTE 'TRUNCATE ddl.t10';
	INSERT INTO ddl.t10 SELECT * FROM ddl.rows;
END
$$;
CHECKPOINT;
SELECT * FROM check_faults(13);

SET client_min_messages = warning;
DROP SCHEMA ddl CASCADE;
