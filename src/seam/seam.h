/*
 * seam.h
 *	  The interface of pg_cmk_seam.so, the library that stands between the
 *	  server and the C library.
 *
 * pg_cmk_seam.so is put in front of LD_PRELOAD.  It defines the file calls that
 * the server makes (docs/seam.md lists them all) and passes each straight to
 * the C library unless the descriptor was claimed when it was opened.  It knows
 * no PostgreSQL and no cryptography.  Whoever does registers one table:
 *
 *		static const CmkSeamOps ops = {
 *			.abi = CMK_SEAM_ABI,
 *			.opening = …, .opened = …, .pread = …, …
 *		};
 *		register_fn = dlsym(RTLD_DEFAULT, "cmk_seam_register");
 *		register_fn(&ops, &real);
 *
 * and gets back the table of the real calls, which go round the seam.  Until
 * then everything passes through.
 *
 * Rules for the functions of the table: they never throw (no longjmp leaves
 * them), they report a failure with -1 and errno, and those that are called for
 * descriptors that are not claimed (none but those that are given a name) do not
 * exist: a pass-through write or close is async-signal-safe, as the server's
 * signal handlers need.  errno is kept by the seam around its own bookkeeping.
 */
#ifndef CMK_SEAM_H
#define CMK_SEAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#define CMK_SEAM_ABI	2

/*
 * What is known of one descriptor.  Zeroed when the descriptor is closed by
 * any way; a zero kind is "pass through".  All but kind belongs to the owner of
 * the table, which fills it in opened().
 */
typedef struct CmkSeamFile
{
	uint8_t		kind;			/* 0: not claimed */
	uint8_t		fork;
	uint8_t		flags;
	uint8_t		unused;
	uint32_t	segno;
	uint32_t	spc;			/* identity of the relation */
	uint32_t	db;
	uint32_t	rel;
	uint32_t	backend;		/* of a temporary relation */
	uint32_t	slot;			/* cached key: place, … */
	uint32_t	open_flags;		/* as given to open() */
	uint64_t	version;		/* … its version, … */
	uint64_t	epoch;			/* … and when that was looked up */
	uint64_t	spare;
} CmkSeamFile;

/* The calls as the C library has them. */
typedef struct CmkSeamReal
{
	int			(*open) (const char *path, int flags,...);
	int			(*close) (int fd);
	ssize_t		(*read) (int fd, void *buf, size_t n);
	ssize_t		(*write) (int fd, const void *buf, size_t n);
	ssize_t		(*pread) (int fd, void *buf, size_t n, off_t off);
	ssize_t		(*pwrite) (int fd, const void *buf, size_t n, off_t off);
	ssize_t		(*pwritev) (int fd, const struct iovec *iov, int n, off_t off);
	off_t		(*lseek) (int fd, off_t off, int whence);
	int			(*unlink) (const char *path);
	int			(*fstat) (int fd, struct stat *st);
	int			(*ftruncate) (int fd, off_t len);
	int			(*fallocate) (int fd, int mode, off_t off, off_t len);
} CmkSeamReal;

typedef struct CmkSeamOps
{
	int			abi;

	/*
	 * Before open(): decides by name alone.  Returns 0 to go on, -1 with errno
	 * to refuse the open.  May fill *file; kind 0 leaves the descriptor alone,
	 * and then opened() is not called.  Of a file that it claims it may change
	 * *flags, with which the file is then opened; opened() is told the caller's
	 * own.
	 */
	int			(*opening) (const char *path, int *flags, CmkSeamFile *file);

	/*
	 * After a successful open() of a path that opening() claimed.  -1 with errno
	 * makes the seam close the descriptor and fail the open; a file that this
	 * very call created is the callee's to remove.  May set kind back to 0.
	 */
	int			(*opened) (int fd, const char *path, int flags,
						   CmkSeamFile *file);

	/*
	 * Before a claimed descriptor is closed; may not refuse.  errno may be
	 * clobbered.  The seam forgets the descriptor afterwards, then closes it.
	 */
	void		(*closing) (int fd, CmkSeamFile *file);

	/* For claimed descriptors, with the contract of the call of that name. */
	ssize_t		(*pread) (CmkSeamFile *file, int fd, void *buf, size_t n,
						  off_t off);
	ssize_t		(*pwrite) (CmkSeamFile *file, int fd, const void *buf,
						   size_t n, off_t off);
	ssize_t		(*pwritev) (CmkSeamFile *file, int fd,
							const struct iovec *iov, int n, off_t off);
	ssize_t		(*read) (CmkSeamFile *file, int fd, void *buf, size_t n);
	ssize_t		(*write) (CmkSeamFile *file, int fd, const void *buf, size_t n);

	/*
	 * After a successful unlink() of any path.  errno may be clobbered (the
	 * seam restores it).  Cheap for names that do not matter.
	 */
	void		(*unlinked) (const char *path);

	/*
	 * For claimed descriptors whose position or size is not the file's own, with
	 * the contract of the call of that name; fallocate() as Linux has it.  May be
	 * NULL: the real call is right for all of them.
	 */
	off_t		(*lseek) (CmkSeamFile *file, int fd, off_t off, int whence);
	int			(*fstat) (CmkSeamFile *file, int fd, struct stat *st);
	int			(*ftruncate) (CmkSeamFile *file, int fd, off_t len);
	int			(*fallocate) (CmkSeamFile *file, int fd, int mode, off_t off,
							  off_t len);

	/*
	 * After a successful stat() or lstat() of any path: may put right what *st
	 * says of the file's size.  Cheap for names that do not matter.  May be NULL.
	 */
	void		(*stated) (const char *path, struct stat *st);

	/*
	 * Whether fopen() of this path is to pass through the table: then the stream
	 * is made of a descriptor that open() may claim.  Others are the C library's
	 * own and never claimed.  May be NULL.
	 */
	bool		(*streams) (const char *path);
} CmkSeamOps;

/*
 * Registers the table, once per process image, and fills *real.  0; -1 with
 * EINVAL for another ABI, EALREADY if a different table is registered.
 */
extern int	cmk_seam_register(const CmkSeamOps *ops, CmkSeamReal *real);

/* What is known of fd, or NULL if it is not claimed or out of range. */
extern CmkSeamFile *cmk_seam_file(int fd);

/*
 * Descriptors at or above this number cannot be claimed (open fails, EMFILE).
 * A multiple of 1024; the unit test builds with a smaller one.
 */
#ifndef CMK_SEAM_MAX_FD
#define CMK_SEAM_MAX_FD		(1 << 20)
#endif

/*
 * Environment: the preloader sets LD_PRELOAD to the seam and what was there
 * before, and this variable to what was there before (may be empty, "unset" is
 * told from "" by CMK_SEAM_ENV_HAD_NONE).  The seam's constructor restores
 * LD_PRELOAD from it and removes it, so that children do not inherit the seam.
 */
#define CMK_SEAM_ENV_OLD		"PG_CMK_SEAM_OLD_PRELOAD"
#define CMK_SEAM_ENV_HAD_NONE	"PG_CMK_SEAM_NO_PRELOAD"

#endif							/* CMK_SEAM_H */
