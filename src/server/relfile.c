/*
 * relfile.c
 *	  Data pages on their way between the server and a file.  See relfile.h.
 *
 * What the server relies on, and so must hold here:
 *
 * - a page that cannot be opened is handed on as it is, still marked, and the
 *	 server reports it as invalid in its own words, with relation and block.  Why
 *	 it could not be opened goes to the log;
 * - the file's key is asked for with every page (relfile_key.c): a relation may
 *	 get its DEK after this descriptor was opened.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "../keyring/keyring.h"
#include "../seal/page.h"
#include "rawio.h"
#include "relfile_impl.h"
#include "relfile_key.h"

const CmkFileConfig *cmk_relfile_config;
static const CmkFileHooks *hooks;

void
cmk_relfile_init(const CmkFileConfig *c, const CmkFileHooks *h)
{
	cmk_relfile_config = c;
	hooks = h;
	cmk_filekey_init(c, h);
}

static void
path_of(const CmkSeamFile *file, char *buf, size_t len)
{
	CmkRelId	id = cmk_filekey_id(file);

	cmk_relation_path(&id, file->fork, buf, len);
}

static inline uint16_t
stored_checksum(const uint8_t *page)
{
	uint16_t	value;

	memcpy(&value, page + 8, sizeof(value));
	return value;
}

void
cmk_relfile_log_page(const CmkSeamFile *file, uint32_t block, const char *what,
					 unsigned generation)
{
	char		path[128];

	path_of(file, path, sizeof(path));
	hooks->log("could not open sealed page: block %u of file \"%s\", generation %u: %s",
			   block, path, generation, what);
}

static void
log_no_key(const CmkSeamFile *file, uint32_t block, unsigned generation)
{
	CmkDamaged	damaged;
	char		path[128];

	if (cmk_registry_damaged(&damaged, 1) == 0)
	{
		cmk_relfile_log_page(file, block, "no key is known for this file", generation);
		return;
	}
	path_of(file, path, sizeof(path));
	hooks->log("could not open sealed page: block %u of file \"%s\", generation %u: "
			   "no key is known for this file, and record %u of file \"%s\" is damaged",
			   block, path, generation, damaged.record, CMK_KEYS_FILE);
}

/*
 * A page that the sealing job may have torn.  Replay reads some before it comes to
 * their image, though not for what is in them: the records that VACUUM writes of a hash
 * index name the first page of a bucket for its lock alone.  An empty page is locked as
 * well; and if no image should come, because the page is damaged otherwise, an
 * index's access method reports it.  Not for copies of files.  0, with another page or
 * as it was.
 */
static int
hand_on_damaged(CmkSeamFile *file, uint8_t *page, uint32_t block, bool copied)
{
	static const uint16_t head[] = {24, CMK_PAGE_SIZE, CMK_PAGE_SIZE, CMK_PAGE_SIZE | 4};
	uint16_t	checksum;

	if (!(file->flags & CMK_FILEKEY_MIXED) || copied || !hooks->image_comes())
		return 0;
	cmk_relfile_log_page(file, block, "it is damaged; its image should follow in WAL",
						 cmk_page_generation(page));
	memset(page, 0, CMK_PAGE_SIZE);
	memcpy(page + 12, head, sizeof(head));	/* pd_lower and what follows */
	if (cmk_relfile_config->checksums)
	{
		checksum = cmk_page_checksum(page, block);
		memcpy(page + 8, &checksum, sizeof(checksum));
	}
	return 0;
}

/*
 * Opens the page at buf, if it is sealed.  -1 with errno if it must not reach
 * the server at all; 0 also when the page is handed on still marked.  copied: what is
 * read is to be written to another file.
 */
static int
open_page(CmkSeamFile *file, uint8_t *page, uint32_t block, bool copied)
{
	CmkXts	   *x;
	bool		sealed;
	unsigned	generation;

	switch (cmk_page_kind(page))
	{
		case CMK_PAGE_ZERO:
			return 0;
		case CMK_PAGE_PLAIN:
			if (file->kind != CMK_FILE_RELATION || !cmk_filekey_has_dek(file))
				return 0;
			if ((file->flags & CMK_FILEKEY_IN_PLACE) && cmk_relfile_config->checksums &&
				hooks->image_comes() &&
				cmk_page_checksum(page, block) != stored_checksum(page))
				return hand_on_damaged(file, page, block, copied);
			if (!(file->flags & CMK_FILEKEY_WHOLE) || hooks->plain_yet())
				return 0;
			cmk_relfile_log_page(file, block, "the page is plain, but the file is wholly sealed", 0);
			errno = EIO;
			return -1;
		case CMK_PAGE_SEALED:
			break;
	}

	generation = cmk_page_generation(page);
	x = cmk_filekey_cipher(file, &sealed);
	if (x == NULL)
	{
		if (sealed && !(file->flags & CMK_FILEKEY_LOST))
			return -1;
		if (cmk_relfile_config->checksums &&
			cmk_page_checksum(page, block) != stored_checksum(page))
			return 0;
		log_no_key(file, block, generation);
		errno = ENOKEY;
		return -1;
	}
	if (generation != file->spare % CMK_GENERATIONS)
		x = cmk_filekey_cipher_of(file, generation);
	if (x == NULL)
	{
		if (errno != ENOKEY || cmk_registry_epoch() == 0)
			return -1;
		cmk_relfile_log_page(file, block, "the key of this generation is not known", generation);
		return 0;
	}

	switch (cmk_page_open(x, page, block, file->fork, cmk_relfile_config->checksums))
	{
		case CMK_OPEN_OK:
			return 0;
		case CMK_OPEN_BAD_CHECKSUM:
			return hand_on_damaged(file, page, block, copied);
		case CMK_OPEN_NOT_SANE:
			cmk_relfile_log_page(file, block, "it is damaged, or sealed under another key",
								 generation);
			return hand_on_damaged(file, page, block, copied);
		case CMK_OPEN_CRYPTO:
			break;
	}
	errno = EIO;
	return -1;
}

/* Opens the whole pages among the n bytes that were read from off. */
static ssize_t
open_pages(CmkSeamFile *file, void *buf, ssize_t n, off_t off, bool copied)
{
	uint8_t    *page = buf;
	ssize_t		left;

	if (n < CMK_PAGE_SIZE)
		return n;
	if (off % CMK_PAGE_SIZE != 0)
	{
		bool		sealed = file->kind == CMK_FILE_RELATION ?
			cmk_filekey_has_dek(file) : cmk_relfile_config->seal_temp;

		if (!sealed)
			return n;
		errno = EINVAL;
		return -1;
	}
	for (left = n; left >= CMK_PAGE_SIZE; left -= CMK_PAGE_SIZE)
	{
		if (open_page(file, page, cmk_relfile_block_at(file, off), copied) < 0)
			return -1;
		page += CMK_PAGE_SIZE;
		off += CMK_PAGE_SIZE;
	}
	return n;
}

static ssize_t
relfile_pread(CmkSeamFile *file, int fd, void *buf, size_t n, off_t off)
{
	ssize_t		got;

	got = cmk_real.pread(fd, buf, n, off);
	if (got <= 0 || file->kind == CMK_FILE_CONTROL)
		return got;
	return open_pages(file, buf, got, off, false);
}

static ssize_t
relfile_read(CmkSeamFile *file, int fd, void *buf, size_t n)
{
	off_t		off;
	ssize_t		got;

	if (file->kind == CMK_FILE_CONTROL)
		return cmk_real.read(fd, buf, n);
	off = cmk_real.lseek(fd, 0, SEEK_CUR);
	if (off < 0)
		return -1;
	got = cmk_real.read(fd, buf, n);
	if (got <= 0)
		return got;
	return open_pages(file, buf, got, off, true);
}

static int
relfile_opening(const char *path, int *flags, CmkSeamFile *file)
{
	CmkFileName name;
	CmkFileKind kind = cmk_filekind(path, &name);

	switch (kind)
	{
		case CMK_FILE_CONTROL:
			if ((*flags & O_ACCMODE) == O_RDONLY)
				return 0;
			break;
		case CMK_FILE_PROBE:
			break;
		case CMK_FILE_RELATION:
		case CMK_FILE_TEMP_RELATION:
			file->fork = name.fork;
			file->segno = name.segno;
			file->spc = name.id.spc;
			file->db = name.id.db;
			file->rel = name.id.rel;
			file->backend = name.backend;
			file->slot = CMK_FILEKEY_NO_SLOT;
			break;
		default:
			return 0;
	}
	file->kind = (uint8_t) kind;
	file->open_flags = (uint32_t) *flags;
	if (kind == CMK_FILE_CONTROL)
		return hooks->control_opening();
	if (kind == CMK_FILE_RELATION)
		return hooks->opening();
	return 0;
}

static int
relfile_opened(int fd, const char *path, int flags, CmkSeamFile *file)
{
	CmkRelId	id = cmk_filekey_id(file);
	CmkDekRef	ref;
	CmkDekInfo	info;
	int			result = 0;
	int			save_errno;

	(void) fd;
	if (file->kind != CMK_FILE_RELATION || !(flags & O_CREAT))
		return 0;

	if (!cmk_filekey_lookup(&id, &ref, &info))
		result = hooks->created(&id, file->fork == CMK_FORK_MAIN && file->segno == 0);
	else if (info.state == CMK_DEK_DEAD)
		result = hooks->revived(&id);

	if (result < 0 && (flags & O_EXCL))
	{
		save_errno = errno;
		cmk_real.unlink(path);
		errno = save_errno;
	}
	return result;
}

static void
relfile_closing(int fd, CmkSeamFile *file)
{
	if (file->kind == CMK_FILE_CONTROL)
		hooks->control_closing(fd);
	else
		cmk_filekey_closing(file);
}

/* A relation is dead when no fork of it has a first segment any more. */
static void
relfile_unlinked(const char *path)
{
	CmkFileName name;
	CmkDekRef	ref;
	CmkDekInfo	info;
	unsigned	fork;
	char		buf[128];

	if (cmk_filekind(path, &name) != CMK_FILE_RELATION ||
		!cmk_filekey_lookup(&name.id, &ref, &info) ||
		info.state != CMK_DEK_LIVE)
		return;
	for (fork = CMK_FORK_MAIN; fork <= CMK_FORK_INIT; fork++)
	{
		cmk_relation_path(&name.id, fork, buf, sizeof(buf));
		if (access(buf, F_OK) == 0 || errno != ENOENT)
			return;
	}
	hooks->died(&name.id);
}

const CmkSeamOps cmk_relfile_ops = {
	.abi = CMK_SEAM_ABI,
	.opening = relfile_opening,
	.opened = relfile_opened,
	.closing = relfile_closing,
	.pread = relfile_pread,
	.pwrite = cmk_relfile_pwrite,
	.pwritev = cmk_relfile_pwritev,
	.read = relfile_read,
	.write = cmk_relfile_write,
	.unlinked = relfile_unlinked
};
