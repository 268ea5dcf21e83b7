/*
 * walfile_impl.h
 *	  What walfile.c, which opens and reads, and walfile_write.c share.  Nobody else
 *	  includes this.
 */
#ifndef CMK_WALFILE_IMPL_H
#define CMK_WALFILE_IMPL_H

#include "../seal/walpage.h"
#include "walfile.h"

/* As cmk_walfile_init() was given them. */
extern const CmkWalConfig *cmk_walfile_config;
extern const CmkWalHooks *cmk_walfile_hooks;

static inline uint64_t
cmk_walfile_addr_at(const CmkSeamFile *file, off_t off)
{
	return file->version + (uint64_t) off;
}

static inline bool
cmk_walfile_is_at_place(const CmkWalHead *head, uint64_t addr)
{
	return head->magic == cmk_walfile_config->magic && head->pageaddr == addr;
}

/*
 * Opens a sealed page at its place.  0, also if it was handed on as it is since the
 * server takes no notice of it: then it is still marked.  -1 with errno.
 */
extern int	cmk_walfile_open_sealed(const CmkSeamFile *file, uint8_t *page,
									const CmkWalHead *head);

#endif							/* CMK_WALFILE_IMPL_H */
