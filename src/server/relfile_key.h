/*
 * relfile_key.h
 *	  Which key the pages of a claimed file have.
 *
 * relfile.c asks here for every page that is marked, and for every write:
 *
 *		x = cmk_filekey_cipher(file, &sealed);
 *		if (x != NULL)			-- open the page with x, generation file->spare
 *		else if (sealed)		-- a key that cannot be used; errno says why
 *		else					-- none: a plain file, as far as is known
 *
 * The answer is kept in the CmkSeamFile until the registry's epoch moves.  Plain C:
 * no lock, no allocation, nothing is thrown.
 */
#ifndef CMK_RELFILE_KEY_H
#define CMK_RELFILE_KEY_H

#include "../keyring/registry.h"
#include "../seal/xts.h"
#include "relfile.h"

#define CMK_FILEKEY_NO_SLOT	UINT32_MAX	/* CmkSeamFile.slot of a new descriptor */

/* CmkSeamFile.flags */
#define CMK_FILEKEY_WHOLE	0x01	/* no page of it may be plain */
#define CMK_FILEKEY_LOST	0x02	/* it has a key, but its record is lost */
#define CMK_FILEKEY_PLAIN	0x04	/* looked at: a plain file */
#define CMK_FILEKEY_IN_PLACE	0x08	/* it has pages from before its key, … */
#define CMK_FILEKEY_ROTATING	0x10	/* … or from before its newest generation */
#define CMK_FILEKEY_MIXED	(CMK_FILEKEY_IN_PLACE | CMK_FILEKEY_ROTATING)

/*
 * Set by the sealing job, and by replay of its records, while this process writes
 * pages that it has logged in full and holds locked: they become sealed under the
 * newest generation.
 */
extern bool cmk_filekey_sealing;

/* Both must stay valid. */
extern void cmk_filekey_init(const CmkFileConfig *config,
							 const CmkFileHooks *hooks);

static inline CmkRelId
cmk_filekey_id(const CmkSeamFile *file)
{
	CmkRelId	id = {file->spc, file->db, file->rel};

	return id;
}

/*
 * What is known of a relation; false: it has no DEK.  One that is replaced in
 * place at this moment does not look as if it were none.
 */
extern bool cmk_filekey_lookup(const CmkRelId *id, CmkDekRef *ref,
							   CmkDekInfo *info);

/*
 * Does the relation of this file have a DEK now?  Sets slot, version, spare (the
 * generation) and flags of *file.
 */
extern bool cmk_filekey_has_dek(CmkSeamFile *file);

/*
 * The file's cipher of its newest generation, ready until the next call.  NULL with
 * *sealed false: it has no DEK.  NULL with *sealed true: it has one that cannot be
 * used now, with errno.
 */
extern CmkXts *cmk_filekey_cipher(CmkSeamFile *file, bool *sealed);

/*
 * That of the generation that a page carries; as above.  NULL with errno; ENOKEY:
 * this generation is not known.
 */
extern CmkXts *cmk_filekey_cipher_of(const CmkSeamFile *file, unsigned generation);

/*
 * A file is closed: this process keeps no prepared cipher of its relation.  So one that
 * has closed its files has none of any relation.
 */
extern void cmk_filekey_closing(const CmkSeamFile *file);

/*
 * The cipher to write with at off of fd, which must be readable.  NULL and 0 in
 * *fail for a plain file; NULL and -1 with errno if the write must not happen:
 * ENOKEY if the file is sealed and its key is not known, which is logged once per
 * descriptor and epoch.
 */
extern CmkXts *cmk_filekey_cipher_for_write(CmkSeamFile *file, int fd,
											off_t off, int *fail);

/*
 * For a file with CMK_FILEKEY_MIXED: as what is the page at off of fd to be written?
 * CMK_AS_PLAIN; or a generation modulo 16, with CMK_PAGE_UNMET or without; or -1 with
 * errno.
 */
#define CMK_AS_PLAIN		0x20000
extern int	cmk_filekey_write_as(const CmkSeamFile *file, int fd, off_t off);

/*
 * What the first page of an open file is that is not all zero; *off is where it
 * stands.  Only the first 8 MB are looked at.  CMK_PAGE_ZERO: there is none; -1
 * with errno.
 */
extern int	cmk_filekey_first_page(int fd, off_t *off);

#endif							/* CMK_RELFILE_KEY_H */
