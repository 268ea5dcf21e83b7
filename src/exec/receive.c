/*
 * receive.c
 *	  WAL that a tool is sent, on its way into a file.  See receive.h.
 *
 * A walsender sends plain WAL, and a tool that streams it (pg_receivewal, pg_basebackup
 * -X stream) writes it into a file of a segment's name: filled with zeros, then
 * written from its start on, in pieces of any length.  It is written through
 * walfile.c, as by a standby's walreceiver, and so becomes what the server itself has.
 *
 * pg_basebackup -X fetch gets files as they are on the server's disk, and writes them as
 * a stream that makes the file anew (O_TRUNC tells).  There every page says what it
 * is: a sealed one stays, a plain one, from before WAL was sealed, is sealed.
 *
 * By which root: the one that seals WAL at that place, else the current one; of those
 * in root.json when the tool was started.  A newer root, which only the customer's key
 * could open, is told of and not used: WAL under an older one stays readable.
 *
 * What is in no such file is not recognised as WAL: compressed segments and pg_wal.tar.
 * They are refused by their names, which the tools fix.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../keyring/rootfile.h"
#include "../seal/pagehead.h"
#include "../seal/walpage.h"
#include "../server/rawio.h"
#include "receive.h"

#define PAGE			CMK_PAGE_SIZE
#define LONG_HEADER		40
#define SEGMENT_NAME	24		/* hexadecimal digits */

/* CmkSeamFile.fork: its first page has been looked at */
#define BEGUN			1

static CmkWalConfig *config;
static uint64_t sysid;
static const char *root_path;
static pid_t tool_pid;

/* These tools write one segment at a time. */
static char current[PATH_MAX];

static uint8_t first[PAGE] __attribute__((aligned(4096)));

/*
 * Ends the program; so that pg_basebackup removes what it made.  A child of it must not
 * run what its parent registered for the end: that would hang up the parent's
 * connection.  And a stream that is flushed at the end may lead here once more.
 */
static void __attribute__((noreturn, format(printf, 2, 3)))
stop(const char *hint, const char *fmt,...)
{
	static bool stopping = false;
	va_list		ap;

	if (stopping)
		_exit(1);
	stopping = true;
	fputs("pg_cmk: error: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\npg_cmk: hint: %s\n", hint);
	if (getpid() != tool_pid)
		_exit(1);
	exit(1);
}

/* ---- which files ---- */

static const char *
base_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

static bool
is_segment(const char *base, CmkFileName *name)
{
	char		path[64];

	return snprintf(path, sizeof(path), "pg_wal/%s", base) < (int) sizeof(path) &&
		cmk_filekind(path, name) == CMK_FILE_WAL;
}

/*
 * WAL in a form that cannot be sealed page by page.  Of what else begins with a segment's
 * name, the archiver's marks hold nothing, and histories of backups are text.
 */
static void
refuse_other_forms(const char *path, const char *base)
{
	size_t		digits = strspn(base, "0123456789ABCDEF");
	const char *end = base + strlen(base);

	if (strncmp(base, "pg_wal.tar", 10) == 0)
		stop("Use --format=plain, or --wal-method=fetch: WAL comes sealed by it.",
			 "file \"%s\" would hold streamed WAL in clear", path);
	if (digits == SEGMENT_NAME && base[digits] == '.' &&
		!(end - base > 5 && strcmp(end - 5, ".done") == 0) &&
		!(end - base > 6 && strcmp(end - 6, ".ready") == 0) &&
		!(end - base > 7 && strcmp(end - 7, ".backup") == 0))
		stop("Run the tool without --compress. Sealed WAL does not get smaller by compression.",
			 "file \"%s\" would hold compressed WAL, which cannot be sealed", path);
}

static int
receive_opening(const char *path, int *flags, CmkSeamFile *file)
{
	const char *base = base_of(path);
	CmkFileName name;

	if ((*flags & O_ACCMODE) == O_RDONLY || !(*flags & O_CREAT))
		return 0;
	if (!is_segment(base, &name))
	{
		refuse_other_forms(path, base);
		return 0;
	}
	if (strlen(path) >= sizeof(current))
	{
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(current, path);
	file->kind = CMK_FILE_WAL;
	file->open_flags = (uint32_t) *flags;
	file->rel = name.wal_tli;
	file->spc = name.wal_log;
	file->db = name.wal_seg;

	/* a page that is written in pieces is read back */
	*flags = (*flags & ~O_ACCMODE) | O_RDWR;
	return 0;
}

static int
receive_opened(int fd, const char *path, int flags, CmkSeamFile *file)
{
	(void) fd;
	(void) path;
	(void) flags;
	(void) file;
	return 0;
}

/* A segment below a pg_wal/, which pg_basebackup extracts from the server's archive. */
static bool
receive_streams(const char *path)
{
	const char *base = base_of(path);
	CmkFileName name;

	return base - path >= 7 && strncmp(base - 7, "pg_wal/", 7) == 0 &&
		(base - path == 7 || base[-8] == '/') && is_segment(base, &name);
}

/* ---- the first page ---- */

static uint32_t
get32(const uint8_t *p)
{
	uint32_t	v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* Is it the head of this very segment, of our cluster?  Then its place is known. */
static void
take_first_page(CmkSeamFile *file, const uint8_t *page, size_t n)
{
	CmkWalHead	head;
	uint64_t	id;
	uint32_t	size;

	if (n < LONG_HEADER)
		stop("Nothing of it was written.", "the first page of \"%s\" came in too small a piece", current);
	cmk_walpage_head(page, &head);
	memcpy(&id, page + 24, sizeof(id));
	size = get32(page + 32);
	if (!(head.info & CMK_XLP_LONG_HEADER) || get32(page + 36) != PAGE ||
		size < 1024 * 1024 || size > 1024 * 1024 * 1024 || (size & (size - 1)) != 0 ||
		head.tli > file->rel ||
		head.pageaddr != ((uint64_t) file->spc << 32) + (uint64_t) file->db * size)
		stop("Nothing of it was written.",
			 "what should be written to \"%s\" does not begin like that segment of WAL", current);
	if (id != sysid)
		stop("Name with -D a data directory of the cluster whose WAL this is.",
			 "file \"%s\" would get WAL of another cluster than that of \"%s\"", current, root_path);
	if (config->segment_size == 0)
	{
		config->segment_size = size;
		config->magic = head.magic;
	}
	if (config->segment_size != size || config->magic != head.magic)
		stop("Start the tool again.", "the WAL for \"%s\" is not of the kind of that before", current);
	file->version = head.pageaddr;
}

/* What is there already, from an earlier run, must be ours to go on with. */
static void
check_old_content(CmkSeamFile *file, int fd)
{
	CmkWalHead	head;
	ssize_t		n = cmk_real.pread(fd, first, PAGE, 0);

	if (n < 0)
		stop("See what is wrong with the file.", "could not read file \"%s\": %s",
			 current, strerror(errno));
	if (n == 0 || (n == PAGE && cmk_walpage_is_zero(first)))
		return;
	cmk_walpage_head(first, &head);
	if (n < PAGE || head.magic != config->magic || head.pageaddr != file->version)
		stop("Move it away.", "file \"%s\" holds something else than WAL of its place", current);
	if (!(head.info & CMK_XLP_SEALED))
		stop("Remove it: its segment is sent again from the start.",
			 "file \"%s\" holds plain WAL", current);
	if (cmk_walfile_pread(file, fd, first, PAGE, 0) != PAGE)
		stop("Name with -D a data directory that has the root key by which it is sealed.",
			 "could not go on with file \"%s\"", current);
}

static void
warn_of_newer_root(void)
{
	static uint32_t told = 0;
	CmkRootFile rf;
	CmkError	err;

	if (cmk_rootfile_read(root_path, &rf, &err) < 0)
		return;
	if (rf.current_root != told && cmk_registry_root_by_id(rf.current_root) == NULL)
	{
		fprintf(stderr, "pg_cmk: warning: there is a newer root key, number %u; WAL goes on to be sealed under number %u\n"
				"pg_cmk: hint: Start the tool again to have WAL sealed under the new one.\n",
				rf.current_root, cmk_registry_root()->id);
		told = rf.current_root;
	}
	cmk_rootfile_free(&rf);
}

static void
begin(CmkSeamFile *file, int fd, const uint8_t *buf, size_t n, off_t off)
{
	if (off != 0)
		stop("Nothing of it was written.", "\"%s\" is not written from its start on", current);
	take_first_page(file, buf, n);
	check_old_content(file, fd);
	warn_of_newer_root();
	file->fork |= BEGUN;
}

/* ---- writing ---- */

typedef enum PageKind
{
	AS_IT_IS,					/* sealed, or all zero */
	PLAIN,
	LEFT_OVER					/* of what the file was before: counts as zeros */
} PageKind;

static PageKind
kind_of(const CmkSeamFile *file, const uint8_t *page, off_t off)
{
	CmkWalHead	head;

	cmk_walpage_head(page, &head);
	if (head.magic == config->magic && (head.info & CMK_XLP_SEALED))
		return AS_IT_IS;
	if (head.magic == config->magic && head.pageaddr == file->version + (uint64_t) off)
		return PLAIN;
	return cmk_walpage_is_zero(page) ? AS_IT_IS : LEFT_OVER;
}

/* Pages of a file that the server sent as it is on its disk. */
static ssize_t
write_copy(CmkSeamFile *file, int fd, const uint8_t *buf, size_t n, off_t off)
{
	static const uint8_t zeros[PAGE];
	size_t		done = 0;

	/* the buffer of a stream is a page, or a multiple of it */
	if (n % PAGE != 0 || off % PAGE != 0)
		stop("Use --wal-method=stream.", "\"%s\" is not written in whole pages", current);
	while (done < n)
	{
		off_t		at = off + (off_t) done;
		PageKind	kind = kind_of(file, buf + done, at);
		size_t		len = PAGE;
		ssize_t		w;

		while (kind != LEFT_OVER && done + len < n &&
			   kind_of(file, buf + done + len, at + (off_t) len) == kind)
			len += PAGE;
		if (kind == PLAIN)
			w = cmk_walfile_pwrite(file, fd, buf + done, len, at);
		else
			w = cmk_write_all(fd, kind == AS_IT_IS ? buf + done : zeros, len, at);
		if (w > 0)
			done += (size_t) w;
		if (w < (ssize_t) len)
			break;
	}
	return done > 0 ? (ssize_t) done : -1;
}

static ssize_t
receive_pwrite(CmkSeamFile *file, int fd, const void *buf, size_t n, off_t off)
{
	if (n == 0 || off < 0)
		return cmk_real.pwrite(fd, buf, n, off);
	if (!(file->fork & BEGUN))
	{
		if (n % PAGE == 0 && cmk_is_zero(buf, n))
			return cmk_write_all(fd, buf, n, off);
		begin(file, fd, buf, n, off);
	}
	if (file->open_flags & O_TRUNC)
		return write_copy(file, fd, buf, n, off);
	return cmk_walfile_pwrite(file, fd, buf, n, off);
}

static ssize_t
receive_pwritev(CmkSeamFile *file, int fd, const struct iovec *iov, int cnt, off_t off)
{
	return cmk_write_vector(file, fd, iov, cnt, off, receive_pwrite);
}

static ssize_t
receive_write(CmkSeamFile *file, int fd, const void *buf, size_t n)
{
	return cmk_write_by_position(file, fd, buf, n, receive_pwrite);
}

const CmkSeamOps cmk_receive_ops = {
	.abi = CMK_SEAM_ABI,
	.opening = receive_opening,
	.opened = receive_opened,
	.pread = cmk_walfile_pread,
	.pwrite = receive_pwrite,
	.pwritev = receive_pwritev,
	.read = cmk_walfile_read,
	.write = receive_write,
	.streams = receive_streams
};

void
cmk_receive_init(CmkWalConfig *c, uint64_t id, const char *path)
{
	config = c;
	sysid = id;
	root_path = path;
	tool_pid = getpid();
}
