/*
 * libc.h
 *	  The calls that the seam stands in front of, as the next library has them.
 *
 * Every source file of the seam includes this first, before any system header:
 * it switches off the two macros with which those headers would rename or
 * inline the very functions that are defined here.
 *
 *		return cmk_libc()->pread(fd, buf, n, off);
 *
 * The table is complete before any function of the server runs.  It can be
 * needed earlier, because other libraries' constructors open and close files
 * before the seam's own constructor has run: then the first call fills it.
 * After that no call looks anything up, which is what makes a pass-through
 * write() or close() safe in a signal handler.
 */
#ifndef CMK_SEAM_LIBC_H
#define CMK_SEAM_LIBC_H

#undef _FORTIFY_SOURCE			/* or the headers define read(), open(), … */
#undef _FILE_OFFSET_BITS		/* or they rename open() to open64() */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

/* The names with and without 64 are one function only where this holds. */
_Static_assert(sizeof(off_t) == 8, "pg_cmk_seam needs a 64-bit platform");

#define CMK_SEAM_EXPORT		__attribute__((visibility("default")))
#define CMK_SEAM_HIDDEN		__attribute__((visibility("hidden")))

/*
 * CALL(result, name, arguments) for what every C library in question has,
 * MAYBE() for what an older glibc lacks: those are NULL there.
 */
#define CMK_LIBC_CALLS(CALL, MAYBE) \
	CALL(int, open, (const char *path, int flags,...)) \
	CALL(int, openat, (int dirfd, const char *path, int flags,...)) \
	CALL(int, close, (int fd)) \
	CALL(ssize_t, read, (int fd, void *buf, size_t n)) \
	CALL(ssize_t, readv, (int fd, const struct iovec *iov, int n)) \
	CALL(ssize_t, pread, (int fd, void *buf, size_t n, off_t off)) \
	CALL(ssize_t, preadv, (int fd, const struct iovec *iov, int n, off_t off)) \
	CALL(ssize_t, write, (int fd, const void *buf, size_t n)) \
	CALL(ssize_t, writev, (int fd, const struct iovec *iov, int n)) \
	CALL(ssize_t, pwrite, (int fd, const void *buf, size_t n, off_t off)) \
	CALL(ssize_t, pwritev, (int fd, const struct iovec *iov, int n, off_t off)) \
	CALL(off_t, lseek, (int fd, off_t off, int whence)) \
	CALL(int, ftruncate, (int fd, off_t len)) \
	CALL(int, fallocate, (int fd, int mode, off_t off, off_t len)) \
	CALL(int, posix_fallocate, (int fd, off_t off, off_t len)) \
	CALL(int, unlink, (const char *path)) \
	CALL(int, unlinkat, (int dirfd, const char *path, int flags)) \
	CALL(int, remove, (const char *path)) \
	CALL(int, dup, (int fd)) \
	CALL(int, dup2, (int fd, int newfd)) \
	CALL(int, dup3, (int fd, int newfd, int flags)) \
	CALL(int, fcntl, (int fd, int cmd,...)) \
	CALL(FILE *, fdopen, (int fd, const char *mode)) \
	CALL(FILE *, freopen, (const char *path, const char *mode, FILE *stream)) \
	CALL(FILE *, fopen, (const char *path, const char *mode)) \
	CALL(int, fileno, (FILE *stream)) \
	CALL(int, fclose, (FILE *stream)) \
	CALL(ssize_t, sendfile, (int out, int in, off_t *off, size_t n)) \
	MAYBE(ssize_t, __read_chk, (int fd, void *buf, size_t n, size_t space)) \
	MAYBE(ssize_t, __pread_chk, (int fd, void *buf, size_t n, off_t off, \
								 size_t space)) \
	MAYBE(int, __open_2, (const char *path, int flags)) \
	MAYBE(int, __openat_2, (int dirfd, const char *path, int flags)) \
	MAYBE(ssize_t, preadv2, (int fd, const struct iovec *iov, int n, \
							 off_t off, int flags)) \
	MAYBE(ssize_t, pwritev2, (int fd, const struct iovec *iov, int n, \
							  off_t off, int flags)) \
	MAYBE(ssize_t, copy_file_range, (int in, off_t *in_off, int out, \
									 off_t *out_off, size_t n, \
									 unsigned int flags)) \
	MAYBE(int, close_range, (unsigned int first, unsigned int last, int flags)) \
	MAYBE(void, closefrom, (int first)) \
	MAYBE(int, stat, (const char *path, struct stat *st)) \
	MAYBE(int, lstat, (const char *path, struct stat *st)) \
	MAYBE(int, fstat, (int fd, struct stat *st)) \
	MAYBE(int, fstatat, (int dirfd, const char *path, struct stat *st, int flags))

typedef struct CmkLibc
{
#define CMK_LIBC_FIELD(result, name, arguments) result (*name) arguments;
	CMK_LIBC_CALLS(CMK_LIBC_FIELD, CMK_LIBC_FIELD)
#undef CMK_LIBC_FIELD
} CmkLibc;

extern CMK_SEAM_HIDDEN CmkLibc cmk_libc_table;
extern CMK_SEAM_HIDDEN bool cmk_libc_ready;

/*
 * Fills the table, at the latest when the seam's constructor runs.  Ends the
 * process if the C library lacks a call without which nothing works.
 */
extern CMK_SEAM_HIDDEN void cmk_libc_resolve(void);

static inline const CmkLibc *
cmk_libc(void)
{
	if (!__atomic_load_n(&cmk_libc_ready, __ATOMIC_ACQUIRE))
		cmk_libc_resolve();
	return &cmk_libc_table;
}

#endif							/* CMK_SEAM_LIBC_H */
