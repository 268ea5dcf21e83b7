/*
 * check.h
 *	  What the parts of the seam's test share.
 *
 * The test is one program with several scenarios, each of which needs a process
 * of its own: a table can be registered only once, and preloading happens when
 * a process starts.  It prints "ok - …" or "not ok - …" for each check and
 * "done - SCENARIO" as its last line, which tells a finished scenario from one
 * that crashed.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "../../../src/seam/seam.h"

/* The test's secret cipher. */
#define FLIP	0x5A

/* Prints the line; remembers a failure for the exit code.  Keeps errno. */
extern void check(bool good, const char *format,...)
			__attribute__((format(printf, 2, 3)));

/* "FILE" in the scenario's own directory; valid until the 8th call after. */
extern const char *in_dir(const char *file);

/* The bytes of a file, read round the seam, NUL at the end. */
extern const char *raw_bytes(const char *path);

/* The table of functions (ops.c) and what was seen by it. */
extern const CmkSeamOps test_ops;
extern CmkSeamReal real;

typedef struct Seen
{
	int			opening;
	int			opened;
	int			closing;
	int			reads;			/* by read, pread */
	int			writes;			/* by write, pwrite, pwritev */
	int			opened_fd;
	int			closing_fd;
	uint32_t	closing_segno;
	char		unlinked[4096];
} Seen;

extern Seen seen;

/* When set, every function of the table raises this signal. */
extern int	raise_in_ops;

/* From the seam, found as pg_cmk.so finds it. */
extern int	(*seam_register) (const CmkSeamOps *ops, CmkSeamReal *real);
extern CmkSeamFile *(*seam_file) (int fd);

/* The names that no header declares, or only when the compiler hardens. */
extern int	__open_2(const char *path, int flags);
extern int	__open64_2(const char *path, int flags);
extern int	__openat_2(int dirfd, const char *path, int flags);
extern int	__openat64_2(int dirfd, const char *path, int flags);
extern ssize_t __read_chk(int fd, void *buf, size_t n, size_t space);
extern ssize_t __pread_chk(int fd, void *buf, size_t n, off_t off,
						   size_t space);
extern ssize_t __pread64_chk(int fd, void *buf, size_t n, off_t off,
							 size_t space);

/* The scenarios. */
extern void test_passthrough(void); /* pass.c */
extern void test_errors(void);
extern void test_register(void);	/* claim.c */
extern void test_open(void);
extern void test_names(void);
extern void test_close(void);	/* close.c */
extern void test_refused(void);
extern void test_signal(void);
extern void test_fork(void);
extern void test_thread(void);
extern void test_limit(void);
extern void test_sizes(void);	/* sizes.c */

#endif							/* CHECK_H */
