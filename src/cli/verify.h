/*
 * verify.h
 *	  pg_cmk verify: what its parts share.
 *
 *		verify.c			the command: what is to be demanded, and the exit status
 *		verify_kind.c		what a file of a data directory is
 *		verify_walk.c		which files there are
 *		verify_read.c		what stands in them
 *		verify_keys.c		whether a sealed page opens
 *		verify_report.c		counts and findings, as text and as JSON
 *
 * Every file is of one kind, and every byte of it is counted as one of: a page that
 * is sealed, plain or zero; clear, in a kind of file that is so by design; or not
 * accounted for.  What is wrong is a finding, with the file's name and the block.
 *
 * All in the current directory, the data directory.  Nothing is written there.
 */
#ifndef CMK_VERIFY_H
#define CMK_VERIFY_H

#include "../keyring/keyring.h"
#include "../keyring/rootfile.h"
#include "../seal/page.h"
#include "../seal/walpage.h"
#include "../server/filekind.h"
#include "cli.h"
#include "datadir.h"

/* How the bytes of a kind of file are looked at. */
typedef enum CmkVerifyHow
{
	CMK_VERIFY_PAGES,			/* data pages, under the keys of pg_cmk/keys */
	CMK_VERIFY_TEMP_PAGES,		/* data pages, under keys that died with the server */
	CMK_VERIFY_WAL,
	CMK_VERIFY_UNITS,			/* sealed files of any length (seal/unit.h) */
	CMK_VERIFY_NOTIFY,			/* pages without a mark */
	CMK_VERIFY_PLAIN,			/* rows in clear, whatever stands there */
	CMK_VERIFY_CLEAR,			/* in clear by design */
	CMK_VERIFY_UNKNOWN			/* no rule knows it */
} CmkVerifyHow;

typedef struct CmkVerifyKind
{
	const char *name;			/* as docs/coverage.md has it */
	CmkVerifyHow how;
	const char *what;			/* what is in it; of a clear one, why that may be */
} CmkVerifyKind;

#define CMK_VERIFY_KINDS	28

/* The last one is that of files that no rule knows. */
extern const CmkVerifyKind cmk_verify_kinds[CMK_VERIFY_KINDS];
#define CMK_VERIFY_OTHER	(CMK_VERIFY_KINDS - 1)

typedef struct CmkVerifyCount
{
	uint64_t	files;
	uint64_t	bytes;
	uint64_t	sealed;			/* pages; of a file of any length the last may be short */
	uint64_t	plain;
	uint64_t	zero;
	uint64_t	clear;			/* bytes */
	uint64_t	unaccounted;	/* bytes */
} CmkVerifyCount;

#define CMK_VERIFY_NO_BLOCK	UINT64_MAX

typedef struct CmkVerifyFinding
{
	char	   *path;			/* fit to be printed */
	uint64_t	from;			/* blocks of the file, or CMK_VERIFY_NO_BLOCK */
	uint64_t	to;
	char	   *what;
	bool		failure;		/* else it is only told */
} CmkVerifyFinding;

#define CMK_VERIFY_MAX_FINDINGS	100000

typedef struct CmkVerify
{
	const CmkCli *cli;
	CmkControl	control;
	bool		cluster;		/* scope: nothing may be plain */
	bool		has_key;		/* there is a pg_cmk/root.json */
	bool		opens;			/* the root is open, and every page is */
	bool		running;
	bool		is_backup;		/* there is a backup_label */
	uint64_t	settled;		/* recovery writes pages from this LSN on anew */
	uint64_t	wal_from;		/* WAL is sealed from here on; UINT64_MAX: nowhere */
	bool		plain_wal;		/* a finding of that kind was made */
	char		log_dir[CMK_SETTING_MAX];	/* relative, or "" */
	char		version_dir[64];

	CmkVerifyCount counts[CMK_VERIFY_KINDS];
	CmkVerifyFinding *findings;
	size_t		nfindings;
	size_t		room;
	size_t		failures;		/* those that the list has no room for included */
	size_t		dropped;

	uint64_t	total;			/* bytes to be read, for the progress */
	uint64_t	done;
} CmkVerify;

/* ---- verify_kind.c ---- */

/* Compiles the rules; log_dir is CmkVerify's.  0, or -1 with err. */
extern int	cmk_verify_kind_init(const char *log_dir, const char *version_dir, CmkError *err);

/*
 * The kind of the file of that name, relative to the data directory: an index into
 * cmk_verify_kinds.  *name is filled for relations, WAL and notifications as by
 * cmk_filekind().
 */
extern int	cmk_verify_kind(const char *path, CmkFileName *name);

/* ---- verify_walk.c ---- */

/*
 * Reads all files below the current directory, in the order of their names, and of
 * symbolic links follows those that the server itself makes or has made.
 */
extern void cmk_verify_walk(CmkVerify *v);

/* ---- verify_read.c ---- */

/* Reads one regular file, counts its bytes and notes what is wrong. */
extern void cmk_verify_file(CmkVerify *v, const char *path);

/*
 * Can that be the output of a cipher?  Of the bytes of a text, a page or a row some
 * values are far more frequent than others; those of a cipher differ as chance has
 * it (chi-square test, 255 degrees of freedom, at 15 standard deviations).  What was
 * compressed without a header looks the same.  True for less than 256 bytes, which
 * tell nothing.
 */
extern bool cmk_verify_looks_sealed(const uint8_t *buf, size_t len);

/* ---- verify_keys.c ---- */

/*
 * Reads root.json and the keys file, and opens the root unless cli->no_key.  Sets
 * has_key, opens and wal_from.  0; -1 if it cannot be, said.
 */
extern int	cmk_verify_keys_open(CmkVerify *v);
extern void cmk_verify_keys_close(void);

/* What is known of the keys of a relation. */
typedef struct CmkVerifyDek
{
	int			known;			/* keys, of one generation or several */
	bool		whole;			/* no page of the file may be plain */
	bool		damaged;		/* a record claims it that cannot be used */
} CmkVerifyDek;

/* Reads it from the records, and keeps the keys for the functions that follow. */
extern void cmk_verify_keys_of(CmkVerify *v, const CmkRelId *id, CmkVerifyDek *dek);

/* Is there a key of the generation that a page of the relation asked for last carries? */
extern bool cmk_verify_keys_has_generation(const uint8_t *page);

/* Opens such a page; it stays as it was if that fails. */
extern CmkOpenResult cmk_verify_keys_open_page(const CmkVerify *v, uint8_t *page,
											   uint32_t block, unsigned fork);

/*
 * The same with a page of WAL, and the head of a file of any length that outlives a
 * server.
 */
extern bool cmk_verify_keys_open_wal(uint8_t *page);
extern bool cmk_verify_keys_check_head(CmkFileKey which, uint32_t root_id,
									   const uint8_t *head);

/* Tablespaces that the keys file knows and the data directory does not. */
extern void cmk_verify_keys_tablespaces(CmkVerify *v);

/* ---- verify_report.c ---- */

/*
 * Notes what is wrong with a block of a file, or with the file.  Blocks that follow
 * each other and have the same fault are one finding.
 */
extern void cmk_verify_find(CmkVerify *v, const char *path, uint64_t block, bool failure,
							const char *fmt,...) __attribute__((format(printf, 5, 6)));

/* So many bytes more are read; told on stderr from time to time, and at the end. */
extern void cmk_verify_progress(CmkVerify *v, uint64_t bytes, bool end);

/* On stdout.  0 or -1 if that could not be written. */
extern int	cmk_verify_report(const CmkVerify *v);
extern void cmk_verify_report_free(CmkVerify *v);

#endif							/* CMK_VERIFY_H */
