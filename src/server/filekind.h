/*
 * filekind.h
 *	  What a path is: the one place where a file name gets a meaning.
 *
 * A file is one of the server's data files if its name, anchored to the data
 * directory, says so; never by the look of the last component, since lo_export
 * may write a file of any name.  The server opens its data files by a path
 * relative to the data directory (its working directory) or by the absolute path
 * that DataDir holds.  Base backups open relations as "./base/…" or by a
 * tablespace's own absolute path, match neither form, and so read them raw.
 *
 *		cmk_filekind_init(DataDir, TABLESPACE_VERSION_DIRECTORY);
 *		switch (cmk_filekind(path, &name)) …
 *
 * Plain C; async-signal-safe; no allocation.
 */
#ifndef CMK_FILEKIND_H
#define CMK_FILEKIND_H

#include "../keyring/record.h"

typedef enum CmkFileKind
{
	CMK_FILE_OTHER = 0,			/* none of ours: passed through */
	CMK_FILE_RELATION,
	CMK_FILE_TEMP_RELATION,		/* tN_M: backend N, relfilenode M */
	CMK_FILE_CONTROL,			/* global/pg_control */
	CMK_FILE_PROBE,				/* global/pg_cmk.probe, see proof.c */
	CMK_FILE_TEMPORARY,			/* anything below a pgsql_tmp */
	CMK_FILE_SPILL,				/* pg_replslot/SLOT/xid-*.spill */
	CMK_FILE_TEXTS,				/* query texts of pg_stat_statements */
	CMK_FILE_STATEMENTS,		/* … and all it keeps, over a restart */
	CMK_FILE_TWOPHASE,			/* pg_twophase/XID: a prepared transaction */
	CMK_FILE_NOTIFY,			/* pg_notify/SEGMENT */
	CMK_FILE_WAL,				/* a segment of WAL, also .partial */
	CMK_FILE_WAL_TEMP			/* pg_wal/xlogtemp.N: will be a segment or a history */
} CmkFileKind;

#define CMK_PROBE_FILE		"global/pg_cmk.probe"

/* As pg_stat_statements has them.  The second is written under a name in ".tmp". */
#define CMK_TEXTS_FILE		"pg_stat_tmp/pgss_query_texts.stat"
#define CMK_STATEMENTS_FILE	"pg_stat/pg_stat_statements.stat"

/* OIDs that the server's catalogs fix (pg_tablespace.dat). */
#define CMK_SPC_DEFAULT		1663
#define CMK_SPC_GLOBAL		1664

typedef struct CmkFileName
{
	CmkRelId	id;
	uint8_t		fork;
	uint32_t	segno;
	uint32_t	backend;		/* of a temporary relation */
	uint32_t	wal_tli;		/* of a WAL segment: the three numbers of its name */
	uint32_t	wal_log;
	uint32_t	wal_seg;
} CmkFileName;

/*
 * datadir is DataDir, absolute and canonical; version_dir the directory that the
 * server makes in each tablespace.  Both must stay valid.
 */
extern void cmk_filekind_init(const char *datadir, const char *version_dir);

/*
 * What path is.  *name is filled for relations and WAL segments only, and its segno
 * for what is CMK_FILE_NOTIFY.
 */
extern CmkFileKind cmk_filekind(const char *path, CmkFileName *name);

/*
 * The path, relative to the data directory, of one fork's first segment of a
 * permanent relation (the server's GetRelationPath).  buf has len bytes.
 */
extern void cmk_relation_path(const CmkRelId *id, unsigned fork,
							  char *buf, size_t len);

#endif							/* CMK_FILEKIND_H */
