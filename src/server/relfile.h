/*
 * relfile.h
 *	  Data pages on their way between the server and a file.
 *
 * These are the functions that the seam calls for relation files.  The way of a
 * page: the server's pwrite() comes through the seam to cmk_relfile_pwrite(), which
 * asks the keyring for the file's key and seal/ for its sealed bytes, and calls
 * the real pwrite().  pread() comes the same way back.
 *
 * Nothing here throws, allocates or takes a lock on the way of a page.  What
 * needs the server (births, locks, its log) is called through CmkFileHooks, which
 * server/seamops.c fills.  So this file is plain C, and the command-line tool can
 * use it with hooks of its own.
 */
#ifndef CMK_RELFILE_H
#define CMK_RELFILE_H

#include "../seam/seam.h"
#include "filekind.h"

typedef struct CmkFileHooks
{
	/*
	 * A relation's file is about to be opened: 0 if the keys are there, else
	 * waits for them or returns -1 with errno.
	 */
	int			(*opening) (void);

	/*
	 * A file was opened with O_CREAT, and nothing is known of its relation.
	 * first tells whether it is the main fork's first segment, with which the
	 * server begins a relation; only a copy of a directory begins with others.
	 * 0, or -1 with errno to fail the open.
	 */
	int			(*created) (const CmkRelId *id, bool first);

	/* A file of a tombstoned relation was opened with O_CREAT.  0 or -1. */
	int			(*revived) (const CmkRelId *id);

	/*
	 * Something is about to be written to a relation that has no DEK.  Must be
	 * cheap: called for every such write.  0 to go on (the DEK is looked up
	 * again), -1 with errno to fail the write.
	 */
	int			(*plain_write) (const CmkRelId *id);

	/*
	 * A plain page was read in a file that is known to be wholly sealed: may it be
	 * there yet?  Asked only then.
	 */
	bool		(*plain_yet) (void);

	/*
	 * A damaged page was read in a file that is being sealed in place, or whose key
	 * is being rotated: does this process replay WAL that should have its image yet?
	 * Asked only then.
	 */
	bool		(*image_comes) (void);

	/* The last file of a relation with a live DEK is gone. */
	void		(*died) (const CmkRelId *id);

	/* The control file is opened for writing: 0 or -1 with errno. */
	int			(*control_opening) (void);

	/* … and about to be closed, synced. */
	void		(*control_closing) (int fd);

	/* One line for the log; never throws.  No key, no page content. */
	void		(*log) (const char *fmt,...)
				__attribute__((format(printf, 1, 2)));
} CmkFileHooks;

/* Settings that do not change while the server runs. */
typedef struct CmkFileConfig
{
	bool		checksums;		/* data checksums are on */
	bool		seal_temp;		/* temporary relations are sealed */
	uint32_t	segment_blocks; /* RELSEG_SIZE */
} CmkFileConfig;

/*
 * Both must stay valid.  cmk_relfile_ops is this file's part of the table that
 * fileops.c registers with the seam.
 */
extern void cmk_relfile_init(const CmkFileConfig *config,
							 const CmkFileHooks *hooks);
extern const CmkSeamOps cmk_relfile_ops;

#endif							/* CMK_RELFILE_H */
