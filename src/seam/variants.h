/*
 * variants.h
 *	  What seam.c lends to the files that define the calls' other names.
 */
#ifndef CMK_SEAM_VARIANTS_H
#define CMK_SEAM_VARIANTS_H

#include <fcntl.h>
#include <stdarg.h>
#include <sys/types.h>

/* Whether open() with these flags has a third argument. */
#define CMK_TAKES_MODE(flags) \
	(((flags) & O_CREAT) != 0 || ((flags) & O_TMPFILE) == O_TMPFILE)

/* Takes that argument, if there is one, in a function whose last is flags. */
#define CMK_GET_MODE(mode, flags) \
	do { \
		if (CMK_TAKES_MODE(flags)) \
		{ \
			va_list		args_; \
			va_start(args_, flags); \
			(mode) = va_arg(args_, mode_t); \
			va_end(args_); \
		} \
	} while (0)

/* open(), with the mode as an ordinary argument (0 where none is given). */
extern CMK_SEAM_HIDDEN int cmk_open_and_claim(const char *path, int flags,
											  mode_t mode);

/*
 * To be called with the result of a call that removes a name: tells the owner
 * of the table if it succeeded, keeps errno, and gives the result back.
 */
extern CMK_SEAM_HIDDEN int cmk_unlinked(const char *path, int result);

#endif							/* CMK_SEAM_VARIANTS_H */
