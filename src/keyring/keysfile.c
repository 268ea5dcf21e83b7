/*
 * keysfile.c
 *	  $PGDATA/pg_cmk/keys, opened once and written in place.
 *
 * Why in place, and not as a new file renamed over the old: a birth would rewrite
 * up to 128 MB.  That a record can be overwritten safely follows from its size: 128
 * bytes at a multiple of 128 never cross a sector, and a sector is written whole
 * or not at all, which the server relies on for pg_control and pg_filenode.map
 * as well.  A power failure so leaves the old record or the new one.
 *
 * Why no sync at a birth: nothing depends on a record before a checkpoint's
 * redo pointer is behind the WAL record of the birth; until then recovery brings
 * it again.  So the file is synced before a checkpoint counts, and until then
 * the operating system may write it or not.
 *
 * A change is counted (cmk_registry_set_dirty) after it was written, not before:
 * a sync between the count and the write would take the count back, and the
 * write would stay unsynced.  Counted after it, the write can be missed only by a
 * sync that comes before the count, hence before the birth is logged; and if the
 * writer dies between the two, the load that follows counts one change for
 * whatever it found.  The sync itself takes back what it read before fdatasync
 * began, so what is counted meanwhile stays.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "crc32.h"
#include "filemode.h"
#include "keyring.h"
#include "keysfile.h"
#include "readat.h"

/* The header, as long as a record; docs/formats.md has the table. */
#define HEADER_SIZE		CMK_RECORD_SIZE
#define HEADER_MAGIC	"pg_cmk keys\0\0\0\0"	/* 16 bytes with the last NUL */
#define HEADER_FORMAT	1
#define OFF_FORMAT		16
#define OFF_SYSID		24
#define OFF_CRC			124

#define EXTEND_RECORDS	64		/* 8 kB */

static int	keys_fd = -1;
static char keys_name[1024];
static uint64_t keys_sysid;

static off_t
offset_of(uint32_t slot)
{
	return HEADER_SIZE + (off_t) slot * CMK_RECORD_SIZE;
}

/* Fails with the code that errno calls for. */
static int
fail_io(CmkError *err, const char *what)
{
	switch (errno)
	{
		case ENOSPC:
		case EDQUOT:
		case EFBIG:				/* RLIMIT_FSIZE */
			cmk_fail(err, CMK_ERR_NO_SPACE, "could not %s file \"%s\": %s",
					 what, keys_name, strerror(errno));
			return cmk_fail_hint(err, "Free some space on the file system of the data directory.");
		case ENOENT:
			return cmk_fail(err, CMK_ERR_NOT_FOUND,
							"could not %s file \"%s\": %s",
							what, keys_name, strerror(errno));
		case EACCES:
		case EPERM:
			return cmk_fail(err, CMK_ERR_PERMISSION,
							"could not %s file \"%s\": %s",
							what, keys_name, strerror(errno));
		default:
			return cmk_fail(err, CMK_ERR_IO, "could not %s file \"%s\": %s",
							what, keys_name, strerror(errno));
	}
}

/* Writes all of len bytes.  0, or -1 with errno. */
static int
write_at(int fd, const void *buf, size_t len, off_t offset)
{
	size_t		done = 0;

	while (done < len)
	{
		ssize_t		n = pwrite(fd, (const char *) buf + done, len - done,
							   offset + (off_t) done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = ENOSPC;
		if (n <= 0)
			return -1;
		done += (size_t) n;
	}
	return 0;
}

/* ---- opening ---- */

static int
sync_directory(const char *path)
{
	char		copy[sizeof(keys_name)];
	int			fd,
				rc;

	snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	rc = fsync(fd);
	close(fd);
	return rc;
}

/*
 * Makes the file with its header under another name and renames it, so that a
 * crash leaves no file or a whole one.  Returns its descriptor, or -1.
 */
static int
create_file(uint64_t sysid, CmkError *err)
{
	char		temp[sizeof(keys_name) + 4];
	uint8_t		header[HEADER_SIZE];
	int			fd;

	memset(header, 0, sizeof(header));
	memcpy(header, HEADER_MAGIC, OFF_FORMAT);
	cmk_put32(header + OFF_FORMAT, HEADER_FORMAT);
	cmk_put64(header + OFF_SYSID, sysid);
	cmk_put32(header + OFF_CRC, cmk_crc32(header, OFF_CRC));

	snprintf(temp, sizeof(temp), "%s.tmp", keys_name);
	fd = open(temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail_io(err, "create");
	if (fchmod(fd, cmk_file_mode(temp)) < 0 ||
		write_at(fd, header, sizeof(header), 0) < 0 || fsync(fd) < 0 ||
		rename(temp, keys_name) < 0 || sync_directory(keys_name) < 0)
	{
		fail_io(err, "create");
		close(fd);
		unlink(temp);
		return -1;
	}
	return fd;
}

static int
check_header(int fd, uint64_t sysid, CmkError *err)
{
	uint8_t		header[HEADER_SIZE];
	ssize_t		n = cmk_read_at(fd, header, sizeof(header), 0);

	if (n < 0)
		return fail_io(err, "read");
	if (n < HEADER_SIZE || memcmp(header, HEADER_MAGIC, OFF_FORMAT) != 0)
		return cmk_fail(err, CMK_ERR_CORRUPT, "file \"%s\" is not a file of keys",
						keys_name);
	if (cmk_get32(header + OFF_CRC) != cmk_crc32(header, OFF_CRC))
		return cmk_fail(err, CMK_ERR_CORRUPT,
						"header of file \"%s\" has a wrong CRC", keys_name);
	if (cmk_get32(header + OFF_FORMAT) != HEADER_FORMAT)
		return cmk_fail(err, CMK_ERR_CORRUPT,
						"file \"%s\" has unknown format %u", keys_name,
						cmk_get32(header + OFF_FORMAT));
	if (cmk_get64(header + OFF_SYSID) != sysid)
	{
		cmk_fail(err, CMK_ERR_FOREIGN,
				 "file \"%s\" belongs to another database cluster", keys_name);
		return cmk_fail_detail(err, "The file's system identifier is %llu, the cluster's is %llu.",
							   (unsigned long long) cmk_get64(header + OFF_SYSID),
							   (unsigned long long) sysid);
	}
	return 0;
}

int
cmk_keysfile_open(const char *path, uint64_t sysid, bool create, CmkError *err)
{
	int			fd;

	if (keys_fd >= 0)
		return 0;
	if (strlen(path) >= sizeof(keys_name))
		return cmk_fail(err, CMK_ERR_CONFIG, "name \"%s\" is too long", path);
	strcpy(keys_name, path);

	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 && errno == EROFS)	/* a backup that is only to be read */
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && create)
		fd = create_file(sysid, err);
	else if (fd < 0)
		fail_io(err, "open");
	if (fd < 0)
		return -1;
	if (check_header(fd, sysid, err) < 0)
	{
		close(fd);
		return -1;
	}
	keys_fd = fd;
	keys_sysid = sysid;
	return 0;
}

const char *
cmk_keysfile_name(void)
{
	return keys_name;
}

uint64_t
cmk_keysfile_sysid(void)
{
	return keys_sysid;
}

/* ---- records ---- */

int
cmk_keysfile_read(uint32_t slot, uint8_t *records, int n, CmkError *err)
{
	ssize_t		len = cmk_read_at(keys_fd, records, (size_t) n * CMK_RECORD_SIZE,
							  offset_of(slot));

	if (len < 0)
		return fail_io(err, "read");
	return (int) (len / CMK_RECORD_SIZE);
}

/* Some file systems cannot reserve space; on them zeros do it.  0 or -1. */
static int
allocate(off_t from, off_t to)
{
	static const uint8_t zero[CMK_RECORD_SIZE];
	int			rc;

	do
		rc = posix_fallocate(keys_fd, from, to - from);
	while (rc == EINTR);
	if (rc != EOPNOTSUPP && rc != EINVAL)
	{
		errno = rc;
		return rc == 0 ? 0 : -1;
	}
	for (; from < to; from += CMK_RECORD_SIZE)
		if (write_at(keys_fd, zero, sizeof(zero), from) < 0)
			return -1;
	return 0;
}

int
cmk_keysfile_extend(uint32_t slot, CmkError *err)
{
	struct stat st;
	off_t		end = offset_of(slot / EXTEND_RECORDS * EXTEND_RECORDS +
								EXTEND_RECORDS);

	if (fstat(keys_fd, &st) < 0)
		return fail_io(err, "stat");
	if (st.st_size >= offset_of(slot + 1))
		return 0;

	/*
	 * A base backup that copied the file while it grew may have cut the last
	 * record.  What is left of it was not loaded, and must not become part of
	 * a record that then looks damaged.
	 */
	st.st_size -= st.st_size % CMK_RECORD_SIZE;
	if (ftruncate(keys_fd, st.st_size) < 0)
		return fail_io(err, "truncate");

	if (allocate(st.st_size, end) < 0)
	{
		fail_io(err, "extend");
		if (ftruncate(keys_fd, st.st_size) < 0)
			return -1;			/* zeros at its end do no harm */
		return -1;
	}
	cmk_registry_set_dirty();
	return 0;
}

int
cmk_keysfile_write(uint32_t slot, const uint8_t record[CMK_RECORD_SIZE],
				   CmkError *err)
{
	uint8_t		old[CMK_RECORD_SIZE];
	int			rc = 0;

	memset(old, 0, sizeof(old));
	if (cmk_read_at(keys_fd, old, sizeof(old), offset_of(slot)) < 0)
		return fail_io(err, "read");
	if (write_at(keys_fd, record, CMK_RECORD_SIZE, offset_of(slot)) < 0)
	{
		rc = fail_io(err, "write");
		if (write_at(keys_fd, old, sizeof(old), offset_of(slot)) < 0)
			cmk_fail_detail(err, "Record %u may be damaged.", slot + 1);
	}
	cmk_registry_set_dirty();
	return rc;
}

bool
cmk_keysfile_moved(CmkError *err)
{
	struct stat ours;
	struct stat named;

	if (fstat(keys_fd, &ours) == 0 && stat(keys_name, &named) == 0 &&
		ours.st_dev == named.st_dev && ours.st_ino == named.st_ino)
		return false;
	errno = 0;
	cmk_fail(err, CMK_ERR_NOT_FOUND,
			 "file \"%s\" was removed or replaced while the server runs", keys_name);
	cmk_fail_detail(err, "The keys of new relations would be lost.");
	cmk_fail_hint(err, "Copy /proc/PID/fd/%d of a server process back to that name before the server stops, then restart it.",
				  keys_fd);
	return true;
}

int
cmk_keysfile_sync(void)
{
	uint64_t	mark;

	if (!cmk_registry_dirty(&mark))
		return 0;
	while (fdatasync(keys_fd) < 0)
		if (errno != EINTR)
			return -1;
	cmk_registry_clean(mark);
	return 0;
}
