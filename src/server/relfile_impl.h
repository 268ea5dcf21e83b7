/*
 * relfile_impl.h
 *	  What relfile.c, which opens and reads, and relfile_write.c share.  Nobody else
 *	  includes this.
 */
#ifndef CMK_RELFILE_IMPL_H
#define CMK_RELFILE_IMPL_H

#include "../seal/page.h"
#include "relfile.h"

/* As cmk_relfile_init() was given it. */
extern const CmkFileConfig *cmk_relfile_config;

/* The block of the fork in which offset off of this segment lies. */
static inline uint32_t
cmk_relfile_block_at(const CmkSeamFile *file, off_t off)
{
	return file->segno * cmk_relfile_config->segment_blocks +
		(uint32_t) (off / CMK_PAGE_SIZE);
}

/* One line for the log: what is wrong with a page. */
extern void cmk_relfile_log_page(const CmkSeamFile *file, uint32_t block, const char *what,
								 unsigned generation);

/* ---- relfile_write.c: for the table ---- */

extern ssize_t cmk_relfile_pwrite(CmkSeamFile *file, int fd, const void *buf, size_t n,
								  off_t off);
extern ssize_t cmk_relfile_write(CmkSeamFile *file, int fd, const void *buf, size_t n);
extern ssize_t cmk_relfile_pwritev(CmkSeamFile *file, int fd, const struct iovec *iov,
								   int cnt, off_t off);

#endif							/* CMK_RELFILE_IMPL_H */
