-- cmk_heap is heap: what a table does, it does here too.
--
-- The server's own regression suite, run with cmk_heap as the default, is the
-- real test of this (make conformance); here is what makes use of a page in some
-- way of its own.

CREATE SCHEMA heap_like;
SET search_path = heap_like, public;
CREATE EXTENSION amcheck;
SET default_table_access_method = cmk_heap;

-- Rows come, change and go.
CREATE TABLE t (id int PRIMARY KEY, a int, v text, big text);
ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
INSERT INTO t SELECT g, g % 10, 'v' || g, repeat(chr(64 + g % 26), 3000)
FROM generate_series(1, 1000) g;
CREATE INDEX t_v ON t (v);
UPDATE t SET a = a + 1 WHERE id % 2 = 0;
UPDATE t SET v = v || 'x', big = big || 'y' WHERE id % 5 = 0;
DELETE FROM t WHERE id % 7 = 0;
INSERT INTO t VALUES (1, 0, 'again', '') ON CONFLICT (id) DO UPDATE SET a = 99;
MERGE INTO t USING (VALUES (2), (5000)) AS s (id) ON t.id = s.id
	WHEN MATCHED THEN UPDATE SET a = 98
	WHEN NOT MATCHED THEN INSERT VALUES (s.id, 97, 'merged', 'big');
SELECT count(*), sum(a), count(DISTINCT v), sum(length(big)) FROM t;
SELECT id, a, v, length(big) FROM t WHERE id IN (1, 2, 5, 10, 5000) ORDER BY id;
SELECT md5(string_agg(id || v || big, ',' ORDER BY id)) =
	(SELECT md5(string_agg(id || v || big, ',' ORDER BY id))
		FROM (SELECT * FROM t OFFSET 0) s) AS stable
FROM t;

-- Scans of every kind give the same
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS off) SELECT v FROM t WHERE v = 'v8';
SELECT id, v FROM t WHERE v = 'v8';
SELECT ctid IS NOT NULL AS tid, id FROM t WHERE ctid = (SELECT ctid FROM t WHERE id = 8);
VACUUM t;
EXPLAIN (COSTS off) SELECT count(*) FROM t WHERE id < 100;
SELECT count(*) FROM t WHERE id < 100;
SET enable_indexscan = off;
SET enable_indexonlyscan = off;
SET enable_bitmapscan = on;
SELECT count(*) FROM t WHERE id < 100 OR v = 'v500x';
RESET enable_seqscan;
RESET enable_bitmapscan;
RESET enable_indexscan;
RESET enable_indexonlyscan;
SELECT count(*) FROM t TABLESAMPLE SYSTEM (100);
SELECT count(*) > 0 AS some FROM t TABLESAMPLE BERNOULLI (50) REPEATABLE (1);
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS off) SELECT sum(a), sum(length(big)) FROM t;
SELECT sum(a), sum(length(big)) FROM t;
CREATE INDEX t_parallel ON t (a, v);
RESET max_parallel_workers_per_gather;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM t WHERE id = 3 FOR UPDATE;
FETCH 1 FROM c;
UPDATE t SET a = 96 WHERE CURRENT OF c;
COMMIT;
SELECT id FROM t WHERE a = 96;

-- Indexes agree with rows
SELECT c.relname, bt_index_check(c.oid, true), bt_index_parent_check(c.oid, true, true)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = 't'::regclass ORDER BY 1;
SELECT bt_index_check(i.indexrelid, true)
FROM pg_class c JOIN pg_index i ON i.indrelid = c.reltoastrelid
WHERE c.oid = 't'::regclass;
-- Tools that insist on heap refuse.
SELECT * FROM verify_heapam('t');

-- HOT: an update that changes no indexed column leaves the indexes alone.
CREATE TABLE hot (id int PRIMARY KEY, n int) WITH (fillfactor = 50);
INSERT INTO hot SELECT g, 0 FROM generate_series(1, 10) g;
UPDATE hot SET n = n + 1;
UPDATE hot SET n = n + 1;
SELECT pg_stat_force_next_flush();
SELECT n_tup_upd, n_tup_hot_upd
FROM pg_stat_user_tables WHERE relid = 'hot'::regclass;
SELECT sum(n) FROM hot;

-- Constraints
CREATE TABLE con (
	id int PRIMARY KEY, u text UNIQUE DEFERRABLE INITIALLY DEFERRED,
	n int CHECK (n > 0) NOT NULL, r int4range,
	EXCLUDE USING gist (r WITH &&));
CREATE TABLE ref (id int REFERENCES con ON DELETE CASCADE);
INSERT INTO con VALUES (1, 'a', 1, '[1,5)'), (2, 'b', 1, '[5,9)');
INSERT INTO ref VALUES (1), (2);
\set VERBOSITY sqlstate
INSERT INTO con VALUES (1, 'c', 1, NULL);
INSERT INTO con VALUES (3, 'a', 1, NULL);
INSERT INTO con VALUES (3, 'c', 0, NULL);
INSERT INTO con VALUES (3, 'c', NULL, NULL);
INSERT INTO con VALUES (3, 'c', 1, '[4,6)');
INSERT INTO ref VALUES (3);
\set VERBOSITY default
BEGIN;
UPDATE con SET u = CASE u WHEN 'a' THEN 'b' ELSE 'a' END;
COMMIT;
DELETE FROM con WHERE id = 1;
SELECT * FROM con, ref;

-- Triggers, row security, generated columns, identity
CREATE TABLE trg (id int GENERATED ALWAYS AS IDENTITY, n int,
	d int GENERATED ALWAYS AS (n * 2) STORED);
CREATE TABLE log (op text, old trg, new trg);
CREATE FUNCTION logger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO heap_like.log VALUES (TG_OP, OLD, NEW);
	RETURN NEW;
END
$$;
CREATE TRIGGER logs AFTER INSERT OR UPDATE OR DELETE ON trg
	FOR EACH ROW EXECUTE FUNCTION logger();
INSERT INTO trg (n) VALUES (1), (2);
UPDATE trg SET n = 10 WHERE n = 1;
DELETE FROM trg WHERE n = 2;
SELECT * FROM log;
SELECT * FROM trg;

-- Partitions: rows move between a sealed one and a plain one.
CREATE TABLE part (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (10) USING cmk_heap;
CREATE TABLE part2 PARTITION OF part FOR VALUES FROM (10) TO (20) USING heap;
INSERT INTO part SELECT g, 'v' || g FROM generate_series(0, 9) g;
UPDATE part SET id = id + 10 WHERE id % 2 = 0;
SELECT tableoid::regclass, count(*) FROM part GROUP BY 1 ORDER BY 1;

-- Materialized views
CREATE MATERIALIZED VIEW mv AS SELECT a, count(*) FROM t GROUP BY a;
CREATE UNIQUE INDEX ON mv (a);
UPDATE t SET a = 95 WHERE a = 99;
REFRESH MATERIALIZED VIEW CONCURRENTLY mv;
SELECT * FROM mv WHERE a > 90 ORDER BY a;

-- Locks and old snapshots
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM (SELECT FROM t WHERE a = 3 FOR SHARE SKIP LOCKED) s;
SAVEPOINT s;
DELETE FROM t WHERE a = 3;
SELECT count(*) FROM t WHERE a = 3;
ROLLBACK TO s;
SELECT count(*) FROM t WHERE a = 3;
COMMIT;

-- Large values
CREATE TABLE large (id int, v text, b bytea);
ALTER TABLE large ALTER b SET STORAGE EXTERNAL;
INSERT INTO large SELECT g, repeat(md5(g::text), 20000), decode(repeat(md5(g::text), 20000), 'hex')
FROM generate_series(1, 3) g;
UPDATE large SET id = id + 1;
VACUUM FULL large;
SELECT id, length(v), length(b), v = repeat(md5((id - 1)::text), 20000) AS v,
	encode(b, 'hex') = v AS b, substr(v, 600000, 8) = substr(repeat(md5((id - 1)::text), 20000), 600000, 8) AS slice
FROM large ORDER BY id;

-- ANALYZE, statistics, system columns, whole rows
ANALYZE t;
SELECT reltuples > 800 AS counted FROM pg_class WHERE oid = 't'::regclass;
SELECT tableoid::regclass, xmin <> 0 AS xmin, hot FROM hot WHERE id = 1;
SELECT pg_relation_size('t') > 0 AS size, pg_table_size('t') > pg_relation_size('t') AS toast;

-- Logical decoding's view of it is that of any table; here only that it may be
-- in a publication, and have any replica identity.
SET client_min_messages = error;
CREATE PUBLICATION cmk_pub FOR TABLE t;
RESET client_min_messages;
ALTER TABLE t REPLICA IDENTITY FULL;
DROP PUBLICATION cmk_pub;

SET client_min_messages = warning;
DROP SCHEMA heap_like CASCADE;
