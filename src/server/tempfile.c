/*
 * tempfile.c
 *	  Sealed files of any length.  See tempfile.h.
 *
 * What a file is sealed with is in its head (seal/unit.h), not in its name: so
 * processes that share a file need nothing but the file, a file can be renamed,
 * and one that is made anew under an old name has another nonce.  The head is
 * written when a file is opened empty, and read when a descriptor is first used
 * for something.  A file whose head is not ours, left by a server that is gone,
 * cannot be read or written: ENOKEY.  The server removes such files when it
 * starts.
 *
 * The position that read() and write() use is the kernel's own, so that it is
 * shared where descriptors are: it stands behind the head.
 *
 * The query texts are the one file that several processes write to at once, at
 * places that the server gives them but not whole units.  Each call on it holds
 * a lock on the file and reads the head anew.  pg_stat_statements writes there only
 * once for each statement that it has not seen before.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../keyring/keycache.h"
#include "../seal/kdf.h"
#include "filekind.h"
#include "rawio.h"
#include "tempfile.h"
#include "unitfile.h"

#define HEAD		CMK_UNIT_HEAD

/*
 * CmkSeamFile.flags; slot is the root's number, version the nonce, spare the
 * length.
 */
#define HAS_HEAD	0x01		/* root and nonce are known */
#define HAS_LENGTH	0x04		/* so is the length */
#define APPENDS		0x02		/* write() goes to the end */

static const CmkTempHooks *hooks;

void
cmk_tempfile_init(const CmkTempHooks *h)
{
	hooks = h;
}

/* Does it outlive the server, and so is sealed under a key that follows from a root? */
static inline bool
is_kept(int kind)
{
	return kind == CMK_FILE_STATEMENTS || kind == CMK_FILE_TWOPHASE;
}

static inline bool
is_shared(const CmkSeamFile *file)
{
	return file->kind == CMK_FILE_TEXTS;
}

static int
lock(int fd)
{
	int			result;

	do
		result = flock(fd, LOCK_EX);
	while (result < 0 && errno == EINTR);
	return result;
}

static void
unlock(int fd)
{
	int			save_errno = errno;

	(void) flock(fd, LOCK_UN);
	errno = save_errno;
}

static CmkXts *
cipher(const CmkSeamFile *file)
{
	if (is_kept(file->kind))
		return cmk_keycache_get_file(file->kind == CMK_FILE_TWOPHASE ?
									 CMK_KEY_TWOPHASE : CMK_KEY_STATEMENTS, file->slot);
	return cmk_keycache_get_file(CMK_KEY_TEMPORARY, 0);
}

/* ---- the head ---- */

/* Makes an empty file a sealed one. */
static int
write_head(CmkSeamFile *file, int fd)
{
	static uint8_t buf[HEAD];	/* zero but for what is written here */
	CmkUnitHead head;
	const CmkRootKey *root = NULL;
	CmkXts	   *x;

	if (is_kept(file->kind))
	{
		root = cmk_registry_root();
		if (root == NULL)
		{
			errno = ENOKEY;
			return -1;
		}
	}
	head.root_id = root != NULL ? root->id : 0;
	file->slot = head.root_id;
	x = cipher(file);
	if (x == NULL)
		return -1;
	if (cmk_random_public(&head.nonce, sizeof(head.nonce)) < 0 ||
		cmk_unit_head_write(x, &head, buf) < 0)
	{
		errno = EIO;
		return -1;
	}
	if (cmk_write_all(fd, buf, HEAD, 0) < HEAD)
	{
		/* Nothing is to look like a head that is none. */
		int			save_errno = errno;

		(void) cmk_real.ftruncate(fd, 0);
		errno = save_errno;
		return -1;
	}
	file->version = head.nonce;
	file->flags |= HAS_HEAD;
	return 0;
}

/*
 * Reads the head of a file that may be empty.  0; -1 with errno, ENOKEY if the file
 * is not sealed under our key.
 */
static int
read_head(CmkSeamFile *file, int fd)
{
	uint8_t		buf[CMK_UNIT_HEAD_USED];
	CmkUnitHead head;
	CmkXts	   *x;
	ssize_t		got = cmk_real.pread(fd, buf, sizeof(buf), 0);

	file->flags &= (uint8_t) ~HAS_HEAD;
	if (got < 0)
		return -1;
	if (got == 0)
		return 0;				/* nothing to read, yet */
	if (got < (ssize_t) sizeof(buf) || !cmk_unit_head_read(buf, &head))
	{
		errno = ENOKEY;
		return -1;
	}
	file->slot = head.root_id;
	x = cipher(file);
	if (x == NULL)
		return -1;
	if (cmk_unit_head_check(x, &head, buf) != CMK_HEAD_OK)
	{
		errno = ENOKEY;
		return -1;
	}
	file->version = head.nonce;
	file->flags |= HAS_HEAD;
	return 0;
}

/*
 * Begins a call on the content; locks a file that is shared.  1, or 0 if the file is
 * empty and has no head; -1 with errno.  end() follows if it is not -1.
 */
static int
begin(CmkSeamFile *file, int fd, bool to_write, CmkUnitFile *u)
{
	int			result = 0;

	if (is_shared(file) && lock(fd) < 0)
		return -1;
	if (is_shared(file) || !(file->flags & HAS_HEAD))
		result = read_head(file, fd);
	if (result == 0 && to_write && !(file->flags & HAS_HEAD))
		result = write_head(file, fd);
	if (result == 0 && (file->flags & HAS_HEAD))
	{
		u->x = cipher(file);
		u->nonce = file->version;
		u->fd = fd;
		u->length = (file->flags & HAS_LENGTH) ? (off_t) file->spare : -1;
		result = u->x != NULL ? 1 : -1;
	}
	if (result < 0 && is_shared(file))
		unlock(fd);
	return result;
}

/*
 * A temporary file is written through one descriptor of one process, as long as it
 * is open: so what a write left as its length stays that.  Of others it is asked for.
 */
static void
keep_length(CmkSeamFile *file, const CmkUnitFile *u)
{
	if (file->kind != CMK_FILE_TEMPORARY || u->length < 0)
		file->flags &= (uint8_t) ~HAS_LENGTH;
	else
	{
		file->flags |= HAS_LENGTH;
		file->spare = (uint64_t) u->length;
	}
}

/* Texts are not left lying about in the postmaster, nor its children. */
static void
end(const CmkSeamFile *file, int fd)
{
	if (is_kept(file->kind) || file->kind == CMK_FILE_TEXTS)
		cmk_unitfile_forget();
	if (is_shared(file))
		unlock(fd);
}

/* ---- content ---- */

static ssize_t
temp_pread(CmkSeamFile *file, int fd, void *buf, size_t n, off_t off)
{
	CmkUnitFile u;
	ssize_t		result = begin(file, fd, false, &u);

	if (result < 0)
		return -1;
	if (result > 0)
		result = cmk_unitfile_read(&u, buf, n, off);
	end(file, fd);
	return result;
}

static ssize_t
temp_pwrite(CmkSeamFile *file, int fd, const void *buf, size_t n, off_t off)
{
	CmkUnitFile u;
	ssize_t		result;

	if ((file->open_flags & O_ACCMODE) == O_RDONLY)
	{
		errno = EBADF;
		return -1;
	}
	if (begin(file, fd, true, &u) < 0)
		return -1;
	result = cmk_unitfile_write(&u, buf, n, off);
	keep_length(file, &u);
	end(file, fd);
	return result;
}

static ssize_t
temp_pwritev(CmkSeamFile *file, int fd, const struct iovec *iov, int cnt,
			 off_t off)
{
	return cmk_write_vector(file, fd, iov, cnt, off, temp_pwrite);
}

/* ---- position and size ---- */

/* Where the next read() or write() is; -1 with errno. */
static off_t
position(int fd)
{
	off_t		at = cmk_real.lseek(fd, 0, SEEK_CUR);

	return at < 0 ? -1 : at - HEAD;
}

static int
set_position(int fd, off_t off)
{
	return cmk_real.lseek(fd, HEAD + off, SEEK_SET) < 0 ? -1 : 0;
}

static ssize_t
temp_read(CmkSeamFile *file, int fd, void *buf, size_t n)
{
	return cmk_read_by_position(file, fd, buf, n, HEAD, temp_pread);
}

static ssize_t
temp_write(CmkSeamFile *file, int fd, const void *buf, size_t n)
{
	off_t		off = (file->flags & APPENDS) ? cmk_unitfile_length(fd) :
		position(fd);
	ssize_t		done = off < 0 ? -1 : temp_pwrite(file, fd, buf, n, off);

	if (done > 0 && set_position(fd, off + done) < 0)
		return -1;
	return done;
}

static off_t
temp_lseek(CmkSeamFile *file, int fd, off_t off, int whence)
{
	off_t		base = 0;

	(void) file;
	switch (whence)
	{
		case SEEK_SET:
			break;
		case SEEK_CUR:
			base = position(fd);
			break;
		case SEEK_END:
			base = cmk_unitfile_length(fd);
			break;
		default:
			errno = EINVAL;
			return -1;
	}
	if (base < 0)
		return -1;
	if (off < -base || off > INT64_MAX - HEAD - base)
	{
		errno = EINVAL;
		return -1;
	}
	return set_position(fd, base + off) < 0 ? -1 : base + off;
}

static int
temp_fstat(CmkSeamFile *file, int fd, struct stat *st)
{
	int			result = cmk_real.fstat(fd, st);

	(void) file;
	if (result == 0)
		st->st_size = st->st_size < HEAD ? 0 : st->st_size - HEAD;
	return result;
}

/* By name alone: what is there was written by a server with the seam. */
static void
temp_stated(const char *path, struct stat *st)
{
	CmkFileName name;

	if (!S_ISREG(st->st_mode))
		return;
	switch (cmk_filekind(path, &name))
	{
		case CMK_FILE_TEMPORARY:
		case CMK_FILE_SPILL:
		case CMK_FILE_TEXTS:
			st->st_size = st->st_size < HEAD ? 0 : st->st_size - HEAD;
			break;
		default:
			break;
	}
}

static int
temp_ftruncate(CmkSeamFile *file, int fd, off_t length)
{
	CmkUnitFile u;
	int			result;

	if ((file->open_flags & O_ACCMODE) == O_RDONLY)
	{
		errno = EINVAL;
		return -1;
	}
	if (begin(file, fd, true, &u) < 0)
		return -1;
	result = cmk_unitfile_resize(&u, length);
	keep_length(file, &u);
	end(file, fd);
	return result;
}

/* The server asks for this of no such file. */
static int
temp_fallocate(CmkSeamFile *file, int fd, int mode, off_t off, off_t len)
{
	(void) file;
	(void) fd;
	(void) mode;
	(void) off;
	(void) len;
	errno = EOPNOTSUPP;
	return -1;
}

/* ---- opening ---- */

/*
 * To change a part of a unit one must read it, and nothing can be written in front
 * of the end of a descriptor that appends: so neither O_WRONLY nor O_APPEND reach
 * the system.
 */
static int
temp_opening(const char *path, int *flags, CmkSeamFile *file)
{
	CmkFileName name;
	CmkFileKind kind = cmk_filekind(path, &name);

	switch (kind)
	{
		case CMK_FILE_STATEMENTS:
		case CMK_FILE_TWOPHASE:
			if ((*flags & O_ACCMODE) != O_RDONLY && !hooks->configured())
				return 0;
			break;
		case CMK_FILE_TEMPORARY:
		case CMK_FILE_SPILL:
		case CMK_FILE_TEXTS:
			break;
		default:
			return 0;
	}
	file->kind = (uint8_t) kind;
	file->open_flags = (uint32_t) *flags;
	if (*flags & O_APPEND)
		file->flags |= APPENDS;
	*flags &= ~O_APPEND;
	if ((*flags & O_ACCMODE) == O_WRONLY)
		*flags = (*flags & ~O_ACCMODE) | O_RDWR;
	return 0;
}

/*
 * A plain file of pg_stat_statements, or of a prepared transaction, is one from before
 * there was a key; it is read as it is, and removed in time.
 */
static bool
is_plain(const CmkSeamFile *file, int fd, off_t size)
{
	uint8_t		buf[CMK_UNIT_HEAD_USED];
	CmkUnitHead head;

	return is_kept(file->kind) && size > 0 &&
		(cmk_real.pread(fd, buf, sizeof(buf), 0) != sizeof(buf) ||
		 !cmk_unit_head_read(buf, &head));
}

static int
temp_opened(int fd, const char *path, int flags, CmkSeamFile *file)
{
	struct stat st;
	int			result = 0;

	(void) path;
	if (cmk_real.fstat(fd, &st) < 0)
		return -1;
	if (!S_ISREG(st.st_mode) || is_plain(file, fd, st.st_size))
	{
		file->kind = 0;
		return 0;
	}
	if ((flags & O_ACCMODE) != O_RDONLY && st.st_size == 0)
	{
		/* Another process may be making the head of a shared file. */
		if (is_shared(file))
		{
			CmkUnitFile u;

			result = begin(file, fd, true, &u);
			if (result >= 0)
				end(file, fd);
		}
		else
			result = write_head(file, fd);
	}
	return result < 0 ? -1 : set_position(fd, 0);
}

/* Whose stream is ours: pg_stat_statements' alone are read and written as such. */
static bool
temp_streams(const char *path)
{
	CmkFileName name;
	CmkFileKind kind = cmk_filekind(path, &name);

	return kind == CMK_FILE_TEXTS || kind == CMK_FILE_STATEMENTS;
}

const CmkSeamOps cmk_tempfile_ops = {
	.abi = CMK_SEAM_ABI,
	.opening = temp_opening,
	.opened = temp_opened,
	.pread = temp_pread,
	.pwrite = temp_pwrite,
	.pwritev = temp_pwritev,
	.read = temp_read,
	.write = temp_write,
	.lseek = temp_lseek,
	.fstat = temp_fstat,
	.ftruncate = temp_ftruncate,
	.fallocate = temp_fallocate,
	.stated = temp_stated,
	.streams = temp_streams
};
