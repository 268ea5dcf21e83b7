/*
 * relfile.c
 *	  Data pages on their way between the server and a file.  See relfile.h.
 *
 * What the server relies on, and so must hold here:
 *
 * - a call moves whole pages or fails: a page half written through us could not
 *	 be completed by a caller who goes on in the middle of it;
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
#include "relfile.h"
#include "relfile_key.h"
#include "walfile.h"

/* Pages sealed into one write. */
#define BOUNCE_PAGES	16

CmkSeamReal cmk_real;

static const CmkFileConfig *config;
static const CmkFileHooks *hooks;

/* One process, one thread, one write at a time.  Aligned for O_DIRECT. */
static uint8_t bounce[BOUNCE_PAGES * CMK_PAGE_SIZE] __attribute__((aligned(4096)));

void
cmk_relfile_init(const CmkFileConfig *c, const CmkFileHooks *h)
{
	config = c;
	hooks = h;
	cmk_filekey_init(c, h);
}

static void
path_of(const CmkSeamFile *file, char *buf, size_t len)
{
	CmkRelId	id = cmk_filekey_id(file);

	cmk_relation_path(&id, file->fork, buf, len);
}

static inline uint32_t
block_at(const CmkSeamFile *file, off_t off)
{
	return file->segno * config->segment_blocks +
		(uint32_t) (off / CMK_PAGE_SIZE);
}

static inline uint16_t
stored_checksum(const uint8_t *page)
{
	uint16_t	value;

	memcpy(&value, page + 8, sizeof(value));
	return value;
}

static void
log_page(const CmkSeamFile *file, uint32_t block, const char *what,
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
		log_page(file, block, "no key is known for this file", generation);
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
	log_page(file, block, "it is damaged; its image should follow in WAL",
			 cmk_page_generation(page));
	memset(page, 0, CMK_PAGE_SIZE);
	memcpy(page + 12, head, sizeof(head));	/* pd_lower and what follows */
	if (config->checksums)
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
			if ((file->flags & CMK_FILEKEY_IN_PLACE) && config->checksums &&
				hooks->image_comes() &&
				cmk_page_checksum(page, block) != stored_checksum(page))
				return hand_on_damaged(file, page, block, copied);
			if (!(file->flags & CMK_FILEKEY_WHOLE) || hooks->plain_yet())
				return 0;
			log_page(file, block, "the page is plain, but the file is wholly sealed", 0);
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
		if (config->checksums &&
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
		log_page(file, block, "the key of this generation is not known", generation);
		return 0;
	}

	switch (cmk_page_open(x, page, block, file->fork, config->checksums))
	{
		case CMK_OPEN_OK:
			return 0;
		case CMK_OPEN_BAD_CHECKSUM:
			return hand_on_damaged(file, page, block, copied);
		case CMK_OPEN_NOT_SANE:
			log_page(file, block, "it is damaged, or sealed under another key", generation);
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
			cmk_filekey_has_dek(file) : config->seal_temp;

		if (!sealed)
			return n;
		errno = EINVAL;
		return -1;
	}
	for (left = n; left >= CMK_PAGE_SIZE; left -= CMK_PAGE_SIZE)
	{
		if (open_page(file, page, block_at(file, off), copied) < 0)
			return -1;
		page += CMK_PAGE_SIZE;
		off += CMK_PAGE_SIZE;
	}
	return n;
}

static inline bool
is_wal(const CmkSeamFile *file)
{
	return file->kind == CMK_FILE_WAL || file->kind == CMK_FILE_WAL_TEMP;
}

static ssize_t
relfile_pread(CmkSeamFile *file, int fd, void *buf, size_t n, off_t off)
{
	ssize_t		got;

	if (is_wal(file))
		return cmk_walfile_pread(file, fd, buf, n, off);
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

	if (is_wal(file))
		return cmk_walfile_read(file, fd, buf, n);
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
seal_into(CmkXts *x, const CmkSeamFile *file, unsigned generation,
		  uint8_t *dst, const uint8_t *src, uint32_t block)
{
	switch (cmk_page_kind(src))
	{
		case CMK_PAGE_ZERO:
			memset(dst, 0, CMK_PAGE_SIZE);
			return 0;
		case CMK_PAGE_SEALED:
			log_page(file, block, "it could not be opened, and is not copied",
					 cmk_page_generation(src));
			errno = EIO;
			return -1;
		case CMK_PAGE_PLAIN:
			break;
	}
	if (cmk_page_seal(x, dst, src, block, file->fork,
					  generation, config->checksums) < 0)
	{
		errno = EIO;
		return -1;
	}
	return 0;
}

/*
 * Seals and writes whole pages.  Returns the bytes of the pages that are wholly
 * written, or -1 with errno if there are none: a part of a page is never
 * reported.
 */
static ssize_t
write_sealed(CmkXts *x, CmkSeamFile *file, unsigned generation, int fd,
			 const uint8_t *buf, size_t n, off_t off)
{
	size_t		done = 0;

	while (done < n)
	{
		size_t		chunk = n - done;
		ssize_t		w;
		size_t		i;

		if (chunk > sizeof(bounce))
			chunk = sizeof(bounce);
		for (i = 0; i < chunk; i += CMK_PAGE_SIZE)
			if (seal_into(x, file, generation, bounce + i, buf + done + i,
						  block_at(file, off + (off_t) (done + i))) < 0)
				return done > 0 ? (ssize_t) done : -1;

		w = cmk_write_all(fd, bounce, chunk, off + (off_t) done);
		if (w < (ssize_t) chunk)
		{
			if (w > 0)
				done += (size_t) w / CMK_PAGE_SIZE * CMK_PAGE_SIZE;
			return done > 0 ? (ssize_t) done : -1;
		}
		done += chunk;
	}
	return (ssize_t) done;
}

/* One page over a plain one, of a file that is being sealed in place. */
static ssize_t
write_plain(CmkSeamFile *file, int fd, const uint8_t *page, off_t off)
{
	ssize_t		w;

	if (cmk_page_head_kind(page) == CMK_PAGE_SEALED)
	{
		log_page(file, block_at(file, off), "it could not be opened, and is not copied",
				 cmk_page_generation(page));
		errno = EIO;
		return -1;
	}
	w = cmk_write_all(fd, page, CMK_PAGE_SIZE, off);
	if (w >= 0 && w < CMK_PAGE_SIZE)
	{
		errno = ENOSPC;
		return -1;
	}
	return w;
}

/* One page as cmk_filekey_write_as() says. */
static ssize_t
write_as(CmkSeamFile *file, int as, int fd, const uint8_t *page, off_t off)
{
	CmkXts	   *x;

	if (as == CMK_AS_PLAIN)
		return write_plain(file, fd, page, off);
	x = cmk_filekey_cipher_of(file, (unsigned) as % CMK_GENERATIONS);
	if (x == NULL)
		return -1;
	return write_sealed(x, file, (unsigned) as, fd, page, CMK_PAGE_SIZE, off);
}

/*
 * Writes whole pages of a file that has a key.  While they are not all alike, each
 * page is asked what it is.  Returns as write_sealed().
 */
static ssize_t
write_pages(CmkXts *x, CmkSeamFile *file, int fd, const uint8_t *buf,
			size_t n, off_t off)
{
	unsigned	generation = (unsigned) (file->spare % CMK_GENERATIONS);
	size_t		done;

	if (!(file->flags & CMK_FILEKEY_MIXED) || file->kind != CMK_FILE_RELATION)
		return write_sealed(x, file, generation, fd, buf, n, off);

	for (done = 0; done < n; done += CMK_PAGE_SIZE)
	{
		off_t		at = off + (off_t) done;
		int			as = cmk_filekey_write_as(file, fd, at);

		if (as < 0 || write_as(file, as, fd, buf + done, at) < CMK_PAGE_SIZE)
			return done > 0 ? (ssize_t) done : -1;
	}
	return (ssize_t) done;
}

static ssize_t
relfile_pwrite(CmkSeamFile *file, int fd, const void *buf, size_t n, off_t off)
{
	CmkXts	   *x;
	int			fail;

	if (is_wal(file))
		return cmk_walfile_pwrite(file, fd, buf, n, off);
	if (file->kind == CMK_FILE_CONTROL)
		return cmk_real.pwrite(fd, buf, n, off);
	x = cmk_filekey_cipher_for_write(file, fd, off, &fail);
	if (fail < 0)
		return -1;
	if (x == NULL)
		return cmk_real.pwrite(fd, buf, n, off);
	if (n % CMK_PAGE_SIZE != 0 || off % CMK_PAGE_SIZE != 0)
	{
		errno = EINVAL;
		return -1;
	}
	return write_pages(x, file, fd, buf, n, off);
}

/*
 * write() at the file's position: copydir() and the unlogged reset.  Bytes behind
 * the last whole page of a file (left by a crash during an extension) are no
 * content for the server; zeros take their place.
 */
static ssize_t
relfile_write(CmkSeamFile *file, int fd, const void *buf, size_t n)
{
	static const uint8_t zeros[CMK_PAGE_SIZE];
	CmkXts	   *x;
	size_t		whole = n / CMK_PAGE_SIZE * CMK_PAGE_SIZE;
	ssize_t		done = 0;
	off_t		off;
	int			fail;

	if (is_wal(file))
		return cmk_walfile_write(file, fd, buf, n);
	if (file->kind == CMK_FILE_CONTROL)
		return cmk_real.write(fd, buf, n);
	off = cmk_real.lseek(fd, 0, SEEK_CUR);
	if (off < 0)
		return -1;
	x = cmk_filekey_cipher_for_write(file, fd, off, &fail);
	if (fail < 0)
		return -1;
	if (x == NULL)
		return cmk_real.write(fd, buf, n);

	if (off % CMK_PAGE_SIZE != 0)
	{
		errno = EINVAL;
		return -1;
	}
	if (whole > 0)
	{
		done = write_pages(x, file, fd, buf, whole, off);
		if (done < 0)
			return -1;
	}
	if (done == (ssize_t) whole && whole < n)
	{
		ssize_t		w = cmk_write_all(fd, zeros, n - whole, off + done);

		if (w > 0)
			done += w;
		else if (done == 0)
			return -1;
	}
	if (cmk_real.lseek(fd, off + done, SEEK_SET) < 0)
		return -1;
	return done;
}

static ssize_t
relfile_pwritev(CmkSeamFile *file, int fd, const struct iovec *iov, int cnt,
				off_t off)
{
	if (is_wal(file))
		return cmk_walfile_pwritev(file, fd, iov, cnt, off);
	return cmk_write_vector(file, fd, iov, cnt, off, relfile_pwrite);
}

static int
relfile_opening(const char *path, int *flags, CmkSeamFile *file)
{
	CmkFileName name;
	CmkFileKind kind = cmk_filekind(path, &name);

	switch (kind)
	{
		case CMK_FILE_OTHER:
		case CMK_FILE_TEMPORARY:
		case CMK_FILE_SPILL:
		case CMK_FILE_TEXTS:
		case CMK_FILE_STATEMENTS:
		case CMK_FILE_TWOPHASE:
		case CMK_FILE_NOTIFY:
			return 0;
		case CMK_FILE_CONTROL:
			if ((*flags & O_ACCMODE) == O_RDONLY)
				return 0;
			break;
		case CMK_FILE_PROBE:
			break;
		case CMK_FILE_WAL:
		case CMK_FILE_WAL_TEMP:
			return cmk_walfile_opening(path, *flags, kind, &name, file);
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
	.pwrite = relfile_pwrite,
	.pwritev = relfile_pwritev,
	.read = relfile_read,
	.write = relfile_write,
	.unlinked = relfile_unlinked
};
