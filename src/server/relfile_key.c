/*
 * relfile_key.c
 *	  Which key the pages of a claimed file have.  See relfile_key.h.
 *
 * The registry says it, and what it said is kept with the descriptor until the
 * epoch moves.  "No DEK" is the answer that must be right, since what is written
 * then is plain; so it is asked for again whenever something might have changed
 * meanwhile.
 *
 * It can be true and yet wrong: the record of the key was lost (zeroed, or an older
 * keys file put back).  Who has to read the file first is stopped by its marked
 * pages.  Replay of a full-page image reads nothing: it would write the page in
 * clear over a sealed one, and the right keys file, put back later, would find a
 * file that is half plain.  So before the first plain write through a descriptor
 * the file is asked what it is: a file that begins with a sealed page is a sealed
 * file.  Pages that are all zero say nothing, and are passed over: the server
 * extends a file with them, and pages come to the disk in any order.  A fork or
 * a segment that says nothing by itself is what its relation's first segment is.
 * The answer holds until the epoch moves, since only who has a DEK seals a page.
 *
 * What this cannot tell: a relation of whose pages none was on disk yet when its
 * record was lost.  Its file is that of a new, plain relation.
 *
 * A file that is being sealed in place has plain and sealed pages, and one whose key
 * is being rotated has pages of two generations.  Which one a page is must not change
 * by an ordinary write: torn between the two it could not be read, and a write that
 * only carries hint bits is in no WAL that would repair it.  So the page on disk says
 * what is to be written over it; a page that is not there yet, or all zero, is sealed
 * under the newest generation, but marked as one that the job has not met: a standby
 * may have written it before that came.  Only the sealing job changes what a page
 * is, and says so in cmk_filekey_sealing.  docs/decisions.md has the whole argument.
 * It costs a look at 16 bytes for every write until the file is whole.
 */
#include <errno.h>
#include <fcntl.h>

#include "../keyring/damaged.h"
#include "../keyring/keycache.h"
#include "../keyring/keyring.h"
#include "../seal/page.h"
#include "rawio.h"
#include "relfile_key.h"

#define NO_EPOCH		UINT64_MAX	/* that the registry never reaches */

/* The server extends a table by 512 pages at a time at most. */
#define LOOK_BLOCKS		1024

bool		cmk_filekey_sealing = false;

static const CmkFileConfig *config;
static const CmkFileHooks *hooks;

void
cmk_filekey_init(const CmkFileConfig *c, const CmkFileHooks *h)
{
	config = c;
	hooks = h;
}

bool
cmk_filekey_lookup(const CmkRelId *id, CmkDekRef *ref, CmkDekInfo *info)
{
	while (cmk_registry_find(id, ref))
		if (cmk_registry_read(ref, info, NULL))
			return true;
	return false;
}

/*
 * Looks it up if the registry changed since the last time, and again if it
 * changes meanwhile.  A change may be that a key is gone: then it is not kept here
 * either.
 */
bool
cmk_filekey_has_dek(CmkSeamFile *file)
{
	static uint64_t swept = 0;
	uint64_t	epoch = cmk_registry_epoch();
	CmkRelId	id = cmk_filekey_id(file);
	CmkDekRef	ref;
	CmkDekInfo	info;

	if (epoch != swept)
		cmk_keycache_sweep();
	swept = epoch;
	while (file->epoch != epoch)
	{
		file->slot = CMK_FILEKEY_NO_SLOT;
		file->flags = 0;
		if (cmk_filekey_lookup(&id, &ref, &info))
		{
			file->slot = ref.slot;
			file->version = ref.version;
			file->spare = info.generation;
			if (info.flags & CMK_DEK_WHOLE)
				file->flags |= CMK_FILEKEY_WHOLE;
			else if (info.birth_lsn != 0)
				file->flags |= CMK_FILEKEY_IN_PLACE;
			if (cmk_registry_has_older(&id))
				file->flags |= CMK_FILEKEY_ROTATING;
		}
		else if (cmk_damaged_refuse(&id, NULL) < 0)
			file->flags |= CMK_FILEKEY_LOST;
		file->epoch = epoch;
		epoch = cmk_registry_epoch();
	}
	return file->slot != CMK_FILEKEY_NO_SLOT;
}

/* cmk_filekey_cipher() as long as the registry is not wiped. */
static CmkXts *
find_cipher(CmkSeamFile *file, bool *sealed)
{
	if (file->kind != CMK_FILE_RELATION)
	{
		CmkRelId	id = cmk_filekey_id(file);

		*sealed = config->seal_temp;
		return *sealed ? cmk_keycache_get_temp(&id, file->backend) : NULL;
	}

	while ((*sealed = cmk_filekey_has_dek(file)))
	{
		CmkDekRef	ref = {file->slot, file->version};
		CmkXts	   *x = cmk_keycache_get(&ref);

		if (x != NULL || errno != ENOKEY)
			return x;

		/* The slot changed.  The epoch follows only after it: do not wait. */
		file->epoch = NO_EPOCH;
	}
	if (file->flags & CMK_FILEKEY_LOST)
	{
		*sealed = true;
		errno = ENOKEY;
	}
	return NULL;
}

CmkXts *
cmk_filekey_cipher(CmkSeamFile *file, bool *sealed)
{
	CmkXts	   *x = find_cipher(file, sealed);

	/*
	 * Wiped: the server is going down, and nobody can tell what is sealed.  Asked
	 * after the look-up, since the epoch is the first that a wipe takes away:
	 * a key or a "none" that it left behind must not be used.
	 */
	if (cmk_registry_epoch() == 0)
	{
		*sealed = true;
		errno = ENOKEY;
		return NULL;
	}
	return x;
}

CmkXts *
cmk_filekey_cipher_of(const CmkSeamFile *file, unsigned generation)
{
	CmkRelId	id = cmk_filekey_id(file);
	CmkDekRef	ref;
	CmkXts	   *x = NULL;

	errno = ENOKEY;
	while (file->kind == CMK_FILE_RELATION &&
		   x == NULL && errno == ENOKEY && cmk_registry_epoch() != 0 &&
		   cmk_registry_find_generation(&id, generation, &ref))
		x = cmk_keycache_get(&ref);

	/* As in cmk_filekey_cipher(). */
	if (x != NULL && cmk_registry_epoch() == 0)
	{
		errno = ENOKEY;
		return NULL;
	}
	return x;
}

void
cmk_filekey_closing(const CmkSeamFile *file)
{
	CmkRelId	id = cmk_filekey_id(file);
	CmkDekRef	ref = {file->slot, file->version};
	unsigned	generation;

	if (file->kind != CMK_FILE_RELATION || file->slot == CMK_FILEKEY_NO_SLOT ||
		cmk_registry_epoch() == 0)
		return;
	cmk_keycache_forget(&ref);
	cmk_keycache_sweep();
	if (!(file->flags & CMK_FILEKEY_ROTATING))
		return;
	for (generation = 0; generation < CMK_GENERATIONS; generation++)
		if (cmk_registry_find_generation(&id, generation, &ref))
			cmk_keycache_forget(&ref);
}

/* ---- what a file without a DEK says of itself ---- */

/* A CmkPageKind by the page's head; CMK_PAGE_ZERO behind the end of the file. */
static int
kind_at(int fd, off_t off, bool *end)
{
	uint8_t		head[CMK_PAGE_HEAD];
	ssize_t		n = cmk_real.pread(fd, head, sizeof(head), off);

	*end = n < (ssize_t) sizeof(head);
	if (n < 0)
		return -1;
	return *end ? CMK_PAGE_ZERO : (int) cmk_page_head_kind(head);
}

int
cmk_filekey_write_as(const CmkSeamFile *file, int fd, off_t off)
{
	uint8_t		head[CMK_PAGE_HEAD];
	CmkRelId	id = cmk_filekey_id(file);
	CmkDekRef	ref;
	int			newest = (int) (file->spare % CMK_GENERATIONS);
	int			save_errno = errno;
	unsigned	generation;
	ssize_t		n;

	if (cmk_filekey_sealing)
		return newest;
	n = cmk_real.pread(fd, head, sizeof(head), off);
	if (n < 0)
		return -1;
	errno = save_errno;
	if (n < (ssize_t) sizeof(head))
		return newest | CMK_PAGE_UNMET;
	switch (cmk_page_head_kind(head))
	{
		case CMK_PAGE_ZERO:
			return newest | CMK_PAGE_UNMET;
		case CMK_PAGE_PLAIN:
			return file->flags & CMK_FILEKEY_IN_PLACE ?
				CMK_AS_PLAIN : newest | CMK_PAGE_UNMET;
		case CMK_PAGE_SEALED:
			break;
	}
	generation = cmk_page_generation(head);

	/* What nobody can read is written over whole, and may be so by anybody. */
	if (!cmk_registry_find_generation(&id, generation, &ref))
		return newest | CMK_PAGE_UNMET;
	return (int) generation | (cmk_page_is_unmet(head) ? CMK_PAGE_UNMET : 0);
}

int
cmk_filekey_first_page(int fd, off_t *off)
{
	int			kind = CMK_PAGE_ZERO;
	bool		end = false;
	int			i;

	for (i = 0; i < LOOK_BLOCKS && !end && kind == CMK_PAGE_ZERO; i++)
	{
		*off = (off_t) i * CMK_PAGE_SIZE;
		kind = kind_at(fd, *off, &end);
	}
	return kind;
}

/* cmk_filekey_first_page() of the first segment of the relation's main fork. */
static int
first_page_of_relation(const CmkRelId *id, off_t *off)
{
	char		path[128];
	int			kind;
	int			save_errno;
	int			fd;

	cmk_relation_path(id, CMK_FORK_MAIN, path, sizeof(path));
	fd = cmk_real.open(path, O_RDONLY);
	if (fd < 0)
		return errno == ENOENT ? CMK_PAGE_ZERO : -1;
	kind = cmk_filekey_first_page(fd, off);
	save_errno = errno;
	cmk_real.close(fd);
	errno = save_errno;
	return kind;
}

static void
log_lost(const CmkSeamFile *file, off_t off, unsigned fork, uint32_t sealed_block)
{
	CmkRelId	id = cmk_filekey_id(file);
	char		path[128];
	char		sealed_path[128];

	cmk_relation_path(&id, file->fork, path, sizeof(path));
	cmk_relation_path(&id, fork, sealed_path, sizeof(sealed_path));
	hooks->log("could not write block %u of file \"%s\": block %u of file \"%s\" is sealed, "
			   "but no key is known for relation %u/%u/%u; put file \"%s\", or the "
			   "record of this relation in it, back from a backup",
			   file->segno * config->segment_blocks + (uint32_t) (off / CMK_PAGE_SIZE),
			   path, sealed_block, sealed_path, id.spc, id.db, id.rel, CMK_KEYS_FILE);
}

/*
 * Looks at a file without a DEK that is to be written at off, and notes in its
 * flags what it is.  -1 with errno if it could not be looked at.
 */
static int
look(CmkSeamFile *file, int fd, off_t off)
{
	CmkRelId	id = cmk_filekey_id(file);
	off_t		at = off - off % CMK_PAGE_SIZE;
	uint32_t	first = file->segno * config->segment_blocks;
	unsigned	fork = file->fork;
	CmkDekRef	ref;
	CmkDekInfo	info;
	bool		end;
	int			save_errno = errno;
	int			kind = kind_at(fd, at, &end);

	if (kind == CMK_PAGE_ZERO || kind == CMK_PAGE_PLAIN)
		kind = cmk_filekey_first_page(fd, &at);
	if (kind == CMK_PAGE_ZERO && (fork != CMK_FORK_MAIN || first > 0))
	{
		kind = first_page_of_relation(&id, &at);
		fork = CMK_FORK_MAIN;
		first = 0;
	}
	if (kind < 0)
		return -1;
	errno = save_errno;
	if (kind != CMK_PAGE_SEALED)
	{
		file->flags |= CMK_FILEKEY_PLAIN;
		return 0;
	}

	/* Somebody may have sealed it meanwhile, and the epoch not moved yet. */
	if (cmk_filekey_lookup(&id, &ref, &info))
	{
		file->epoch = NO_EPOCH;
		return 0;
	}
	file->flags |= CMK_FILEKEY_LOST;
	log_lost(file, off, fork, first + (uint32_t) (at / CMK_PAGE_SIZE));
	return 0;
}

CmkXts *
cmk_filekey_cipher_for_write(CmkSeamFile *file, int fd, off_t off, int *fail)
{
	CmkRelId	id = cmk_filekey_id(file);
	bool		sealed;
	CmkXts	   *x = cmk_filekey_cipher(file, &sealed);

	*fail = 0;
	if (x == NULL && !sealed && file->kind == CMK_FILE_RELATION)
	{
		*fail = hooks->plain_write(&id);
		while (*fail == 0)
		{
			x = cmk_filekey_cipher(file, &sealed);
			if (x != NULL || sealed || (file->flags & CMK_FILEKEY_PLAIN))
				break;
			*fail = look(file, fd, off);
		}
	}
	if (x == NULL && sealed)
		*fail = -1;
	return x;
}
