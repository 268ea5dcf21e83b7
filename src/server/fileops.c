/*
 * fileops.c
 *	  Which of the rooms of src/server has a file: the table of functions that is
 *	  registered with the seam.
 *
 * Each room has a table of its own, of the same form: relfile.c relations and the
 * control file, walfile.c WAL, tempfile.c what is temporary, notifyfile.c the queue of
 * notifications.  What a file is is decided when it is opened (filekind.c), and is its
 * kind then; here is only looked up whose that is.
 */
#include "fileops.h"
#include "filekind.h"
#include "notifyfile.h"
#include "rawio.h"
#include "relfile.h"
#include "tempfile.h"
#include "walfile.h"

static inline const CmkSeamOps *
room_of(CmkFileKind kind)
{
	switch (kind)
	{
		case CMK_FILE_WAL:
		case CMK_FILE_WAL_TEMP:
			return &cmk_walfile_ops;
		case CMK_FILE_TEMPORARY:
		case CMK_FILE_SPILL:
		case CMK_FILE_TEXTS:
		case CMK_FILE_STATEMENTS:
		case CMK_FILE_TWOPHASE:
			return &cmk_tempfile_ops;
		case CMK_FILE_NOTIFY:
			return &cmk_notifyfile_ops;
		default:
			return &cmk_relfile_ops;
	}
}

static inline const CmkSeamOps *
room(const CmkSeamFile *file)
{
	return room_of((CmkFileKind) file->kind);
}

static int
file_opening(const char *path, int *flags, CmkSeamFile *file)
{
	CmkFileName name;
	CmkFileKind kind = cmk_filekind(path, &name);

	return kind == CMK_FILE_OTHER ? 0 : room_of(kind)->opening(path, flags, file);
}

static int
file_opened(int fd, const char *path, int flags, CmkSeamFile *file)
{
	const CmkSeamOps *ops = room(file);

	return ops->opened != NULL ? ops->opened(fd, path, flags, file) : 0;
}

static void
file_closing(int fd, CmkSeamFile *file)
{
	if (room(file)->closing != NULL)
		room(file)->closing(fd, file);
}

static ssize_t
file_pread(CmkSeamFile *file, int fd, void *buf, size_t n, off_t off)
{
	return room(file)->pread(file, fd, buf, n, off);
}

static ssize_t
file_pwrite(CmkSeamFile *file, int fd, const void *buf, size_t n, off_t off)
{
	return room(file)->pwrite(file, fd, buf, n, off);
}

static ssize_t
file_pwritev(CmkSeamFile *file, int fd, const struct iovec *iov, int n, off_t off)
{
	return room(file)->pwritev(file, fd, iov, n, off);
}

static ssize_t
file_read(CmkSeamFile *file, int fd, void *buf, size_t n)
{
	return room(file)->read(file, fd, buf, n);
}

static ssize_t
file_write(CmkSeamFile *file, int fd, const void *buf, size_t n)
{
	return room(file)->write(file, fd, buf, n);
}

static off_t
file_lseek(CmkSeamFile *file, int fd, off_t off, int whence)
{
	const CmkSeamOps *ops = room(file);

	return ops->lseek != NULL ? ops->lseek(file, fd, off, whence) :
		cmk_real.lseek(fd, off, whence);
}

static int
file_fstat(CmkSeamFile *file, int fd, struct stat *st)
{
	const CmkSeamOps *ops = room(file);

	return ops->fstat != NULL ? ops->fstat(file, fd, st) : cmk_real.fstat(fd, st);
}

static int
file_ftruncate(CmkSeamFile *file, int fd, off_t length)
{
	const CmkSeamOps *ops = room(file);

	return ops->ftruncate != NULL ? ops->ftruncate(file, fd, length) :
		cmk_real.ftruncate(fd, length);
}

static int
file_fallocate(CmkSeamFile *file, int fd, int mode, off_t off, off_t len)
{
	const CmkSeamOps *ops = room(file);

	return ops->fallocate != NULL ? ops->fallocate(file, fd, mode, off, len) :
		cmk_real.fallocate(fd, mode, off, len);
}

static void
file_unlinked(const char *path)
{
	cmk_relfile_ops.unlinked(path);
}

static void
file_stated(const char *path, struct stat *st)
{
	cmk_tempfile_ops.stated(path, st);
}

static bool
file_streams(const char *path)
{
	return cmk_tempfile_ops.streams(path);
}

const CmkSeamOps cmk_file_ops = {
	.abi = CMK_SEAM_ABI,
	.opening = file_opening,
	.opened = file_opened,
	.closing = file_closing,
	.pread = file_pread,
	.pwrite = file_pwrite,
	.pwritev = file_pwritev,
	.read = file_read,
	.write = file_write,
	.unlinked = file_unlinked,
	.lseek = file_lseek,
	.fstat = file_fstat,
	.ftruncate = file_ftruncate,
	.fallocate = file_fallocate,
	.stated = file_stated,
	.streams = file_streams
};
