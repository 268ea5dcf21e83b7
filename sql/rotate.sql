-- cmk.rotate_dek(): who may, of what, and what one sees of it.

SET client_min_messages = warning;
CREATE SCHEMA rotate;
SET search_path = rotate;

CREATE TABLE t (id int PRIMARY KEY, v text) USING cmk_heap;
INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 1000) g;
CREATE TABLE p (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (10) USING cmk_heap;
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20) USING cmk_heap;
CREATE INDEX p_v ON p (v);
INSERT INTO p SELECT g, 'row ' || g FROM generate_series(1, 19) g;
CREATE VIEW generations AS
	SELECT relation, generation, sealed FROM cmk.relations
	WHERE relation::text ~ '^(t|p[0-9])' ORDER BY relation::text;

SELECT cmk.rotate_dek('t') > 5 AS rotated;
SELECT cmk.rotate_dek('p_v') > 1 AS rotated;
SELECT * FROM generations;
SELECT cmk.rotate_dek('p') > 3 AS rotated;
SELECT cmk.rotate_dek('t') > 5 AS rotated;
SELECT * FROM generations;
SELECT count(*), sum(id), cmk.is_sealed('t') FROM t;
SELECT fork, plain FROM cmk.pages('t') WHERE pages > 0 ORDER BY fork;

-- A rollback does not undo it; a rewrite begins anew.
BEGIN;
SELECT cmk.rotate_dek('t_pkey') > 1 AS rotated;
ROLLBACK;
SELECT * FROM generations WHERE relation = 't_pkey'::regclass;
VACUUM FULL t;
SELECT * FROM generations WHERE relation IN ('t'::regclass, 't_pkey'::regclass);
SELECT count(*), sum(id) FROM t;

-- What has no data key that could be rotated
CREATE TABLE plain (id int PRIMARY KEY) USING heap;
CREATE TEMP TABLE tmp (id int) USING cmk_heap;
CREATE TYPE composite AS (i int);
SELECT cmk.rotate_dek('plain');
SELECT cmk.rotate_dek('plain_pkey');
SELECT cmk.rotate_dek('tmp');
SELECT cmk.rotate_dek('generations');
SELECT cmk.rotate_dek('composite');
SELECT cmk.rotate_dek('none');
SELECT cmk.rotate_dek(NULL) IS NULL AS strict;
CREATE TABLE p3 PARTITION OF p FOR VALUES FROM (20) TO (30) USING heap;
SELECT cmk.rotate_dek('p');
SELECT * FROM generations WHERE relation IN ('p1'::regclass, 'p2'::regclass);

-- Who may
CREATE ROLE rotate_nobody;
CREATE ROLE rotate_monitor IN ROLE pg_monitor;
CREATE ROLE rotate_admin IN ROLE cmk_admin;
GRANT USAGE ON SCHEMA rotate, cmk TO rotate_nobody, rotate_admin, rotate_monitor;
SET ROLE rotate_nobody;
SELECT cmk.rotate_dek('t');
SET ROLE rotate_monitor;
SELECT cmk.rotate_dek('t');
SET ROLE rotate_admin;
SELECT cmk.rotate_dek('t') > 5 AS rotated;
RESET ROLE;

DROP SCHEMA rotate CASCADE;
DROP OWNED BY rotate_nobody, rotate_monitor, rotate_admin;
DROP ROLE rotate_nobody, rotate_monitor, rotate_admin;
