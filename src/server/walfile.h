/*
 * walfile.h
 *	  WAL pages on their way between the server and a file below pg_wal/.
 *
 * The seam's functions for files of kind CMK_FILE_WAL (a segment, also .partial) and
 * CMK_FILE_WAL_TEMP (xlogtemp.N).  The server writes whole pages (XLogWrite), bytes at
 * any place (walreceiver) and whole pages at the file's position (XLogFileCopy), and
 * reads likewise.
 *
 * A page says itself by which root it is sealed.  A segment is sealed by one root or
 * not at all: that is decided by its first page if that is there, else by where the
 * segment stands (cmk_registry_wal_root).  So no page is ever rewritten under another
 * key, whatever a process learned meanwhile.
 *
 * A page whose xlp_pageaddr is not that of its place is left over from the segment
 * that the file was before: it is handed on as it is when read, and counts as zeros
 * when it is patched.  A page at its place that cannot be opened, or is plain where
 * WAL is sealed, never reaches the server.
 *
 * Plain C: no lock, no allocation, nothing is thrown but by the hook unopened().
 */
#ifndef CMK_WALFILE_H
#define CMK_WALFILE_H

#include "../keyring/registry.h"
#include "../seam/seam.h"
#include "filekind.h"

/* What does not change while the server runs. */
typedef struct CmkWalConfig
{
	uint32_t	segment_size;
	uint16_t	magic;			/* XLOG_PAGE_MAGIC */
} CmkWalConfig;

typedef struct CmkWalHooks
{
	/*
	 * A segment is about to be opened: 0; 1 if this process is to read it as it
	 * is on disk; -1 with errno.
	 */
	int			(*opening) (const char *path, uint64_t start, int flags);

	/* No root is open, and one is needed.  0 if there is one now, else -1. */
	int			(*await_root) (void);

	/*
	 * Does this process write what another server sends, and so should seal it as
	 * soon as there is a root at all?
	 */
	bool		(*receives) (void);

	/* Must a plain page at this place be refused? */
	bool		(*plain_refused) (uint64_t pageaddr);

	/*
	 * Can it be that the page which is being read is being written?  False saves
	 * a second look.
	 */
	bool		(*is_live) (void);

	/*
	 * A page at its place cannot be handed on.  Where the server would take a
	 * failed read for the end of WAL this does not return; else -1 with errno.
	 */
	int			(*unopened) (uint64_t pageaddr, uint32_t tli, const char *why);

	void		(*log) (const char *fmt,...)
				__attribute__((format(printf, 1, 2)));
} CmkWalHooks;

/*
 * Makes the cipher contexts; both must stay valid.  Once, in the postmaster.  0 or
 * -1 with CMK_ERR_NO_MEMORY.
 */
extern int	cmk_walfile_init(const CmkWalConfig *config, const CmkWalHooks *hooks,
							 CmkError *err);

/*
 * The room of WAL in the table of fileops.c.  The programs of src/exec make tables of
 * their own of its functions.
 */
extern const CmkSeamOps cmk_walfile_ops;

/* Bytes that are no multiple of a page, and pages that do not lie on one, too. */
extern ssize_t cmk_walfile_pread(CmkSeamFile *file, int fd, void *buf, size_t n, off_t off);
extern ssize_t cmk_walfile_read(CmkSeamFile *file, int fd, void *buf, size_t n);

/*
 * Returns how many of the bytes lie in pages that were written whole; -1 with errno
 * if that is none.  Up to CMK_WAL_BOUNCE bytes are one call of the system.
 */
extern ssize_t cmk_walfile_pwrite(CmkSeamFile *file, int fd, const void *buf, size_t n,
								  off_t off);
extern ssize_t cmk_walfile_pwritev(CmkSeamFile *file, int fd, const struct iovec *iov,
								   int n, off_t off);
extern ssize_t cmk_walfile_write(CmkSeamFile *file, int fd, const void *buf, size_t n);

/*
 * For the seam's opening(): fills *file of a file of one of these kinds.  0, also if this
 * process reads it as it is on disk, or -1 with errno.
 */
extern int	cmk_walfile_opening(const char *path, int flags, CmkFileKind kind,
								const CmkFileName *name, CmkSeamFile *file);

/* Where the segment of that name starts; false if there is no such segment. */
extern bool cmk_walfile_start(const CmkFileName *name, uint64_t *start);

#define CMK_WAL_BOUNCE	(256 * 1024)

/* CmkSeamFile.flags; slot is then the number of the root, 0: plain */
#define CMK_WAL_DECIDED	0x01

/* ---- walkey.c ---- */

/* Makes the cipher contexts.  0 or -1 with CMK_ERR_NO_MEMORY. */
extern int	cmk_walkey_init(CmkError *err);

/* The cipher of an open root, until the next call; NULL with errno. */
extern CmkXts *cmk_walkey_cipher(const CmkRootKey *root);

#endif							/* CMK_WALFILE_H */
