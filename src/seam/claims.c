/*
 * claims.c
 *	  The table of claimed descriptors.
 *
 * An array over all descriptor numbers, in chunks that come into being when a
 * number in them is first claimed.  One array of full size would be simpler,
 * and the kernel would give it memory only as touched; but under
 * vm.overcommit_memory = 2, which PostgreSQL's manual recommends, each of the
 * server's processes would be charged for all 56 MB of it.  A server whose
 * descriptors are below 1024 gets one chunk of 56 kB.
 *
 * The chunks are private memory: after fork() parent and child each have their
 * own, which is right, since descriptors are copied by fork() as well.  They
 * come from mmap and not malloc, since open() may be called from wherever.
 */
#include "libc.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "claims.h"

_Static_assert(CMK_SEAM_MAX_FD % CMK_CLAIM_CHUNK == 0,
			   "CMK_SEAM_MAX_FD must be a multiple of the chunk");

const CmkSeamOps *cmk_seam_ops = NULL;
CmkSeamFile *cmk_claim_chunks[CMK_CLAIM_CHUNKS];

int
cmk_claim_reserve(int fd)
{
	void	   *chunk;

	if (fd < 0 || fd >= CMK_SEAM_MAX_FD)
	{
		errno = EMFILE;
		return -1;
	}
	if (cmk_claim_chunks[fd / CMK_CLAIM_CHUNK] != NULL)
		return 0;

	chunk = mmap(NULL, CMK_CLAIM_CHUNK * sizeof(CmkSeamFile),
				 PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (chunk == MAP_FAILED)
	{
		errno = ENOMEM;
		return -1;
	}
	cmk_claim_chunks[fd / CMK_CLAIM_CHUNK] = chunk;
	return 0;
}

void
cmk_claim_set(int fd, const CmkSeamFile *file)
{
	cmk_claim_chunks[fd / CMK_CLAIM_CHUNK][fd % CMK_CLAIM_CHUNK] = *file;
}

void
cmk_claim_forget(int fd)
{
	CmkSeamFile *file = cmk_claim(fd);

	if (file != NULL)
		memset(file, 0, sizeof(*file));
}

void
cmk_claim_end(int fd)
{
	CmkSeamFile *file = cmk_claim(fd);
	int			save_errno;

	if (file == NULL)
		return;

	save_errno = errno;
	if (cmk_seam_ops->closing != NULL)
		cmk_seam_ops->closing(fd, file);
	memset(file, 0, sizeof(*file));
	errno = save_errno;
}

CMK_SEAM_EXPORT CmkSeamFile *
cmk_seam_file(int fd)
{
	return cmk_claim(fd);
}
