/*
 * tool.c
 *	  pg_cmk_exec.so: sealed WAL for a stock tool that "pg_cmk exec" runs.
 *
 * The command opens the root key, puts it into a file in memory that the tool
 * inherits, and preloads the seam and this library.  Here the roots are opened and the
 * same functions registered that the server uses for WAL; so a tool that reads WAL gets
 * it plain.  What such a tool starts inherits both libraries, and is let alone unless it
 * is one of these tools too; above all the server, which pg_rewind starts, registers its
 * own functions.
 *
 *		pg_waldump		reads any file with a segment's name
 *		pg_rewind		reads the target's pg_wal/; what it copies from the source is
 *						written as it comes, sealed
 *		pg_resetwal		seals the segment that it makes
 *		pg_receivewal	seals what it is sent, see receive.c
 *		pg_basebackup	the same; the rest of a backup is written as it comes, sealed
 *
 * pg_verifybackup reads no WAL itself: it starts pg_waldump.
 *
 * Nothing of this library is visible to others: the server's module has functions of
 * the same names.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../keyring/rootfile.h"
#include "../seal/walpage.h"
#include "../server/rawio.h"
#include "../server/walfile.h"
#include "receive.h"
#include "tool.h"

typedef enum ToolKind
{
	TOOL_OTHER = 0,				/* let alone */
	TOOL_READS_ANY,				/* a segment in any directory */
	TOOL_READS_DATADIR,			/* those of the data directory */
	TOOL_RESETS,
	TOOL_RECEIVES
} ToolKind;

static const struct
{
	const char *name;
	ToolKind	kind;
}			tools[] = {
	{"pg_waldump", TOOL_READS_ANY},
	{"pg_rewind", TOOL_READS_DATADIR},
	{"pg_resetwal", TOOL_RESETS},
	{"pg_receivewal", TOOL_RECEIVES},
	{"pg_basebackup", TOOL_RECEIVES},
};

static ToolKind tool;
static CmkWalConfig config;
static char root_path[PATH_MAX + 32];
static char wal_dir[PATH_MAX];

/* ---- which files ---- */

/* The size of its segments stands in clear in the first page.  False: no WAL. */
static bool
take_segment_size(const char *path)
{
	uint8_t		head[40];
	CmkWalHead	h;
	uint32_t	size;
	int			fd = cmk_real.open(path, O_RDONLY | O_CLOEXEC);
	ssize_t		n;

	if (fd < 0)
		return false;
	n = cmk_real.pread(fd, head, sizeof(head), 0);
	cmk_real.close(fd);
	if (n != (ssize_t) sizeof(head))
		return false;
	cmk_walpage_head(head, &h);
	memcpy(&size, head + 32, sizeof(size));
	if (!(h.info & CMK_XLP_LONG_HEADER) || size < 1024 * 1024 || (size & (size - 1)) != 0)
		return config.segment_size != 0;
	config.segment_size = size;
	config.magic = h.magic;
	return true;
}

static bool
is_in_wal_dir(const char *path, const char *base)
{
	char		dir[PATH_MAX];
	char		real[PATH_MAX];
	size_t		len = (size_t) (base - path);

	if (len == 0 || len >= sizeof(dir))
		return false;
	memcpy(dir, path, len);
	dir[len] = '\0';
	return realpath(dir, real) != NULL && strcmp(real, wal_dir) == 0;
}

/*
 * pg_resetwal removes all segments before it makes one: their size is learned before.
 * It works in the data directory.
 */
static void
learn_segment_size(void)
{
	DIR		   *dir = opendir(wal_dir);
	struct dirent *de;

	while (dir != NULL && (de = readdir(dir)) != NULL && config.segment_size == 0)
	{
		char		path[PATH_MAX + 300];

		snprintf(path, sizeof(path), "%s/%s", wal_dir, de->d_name);
		if (strlen(de->d_name) == 24)
			(void) take_segment_size(path);
	}
	if (dir != NULL)
		closedir(dir);
}

static int
tool_opening(const char *path, int *flags, CmkSeamFile *file)
{
	const char *base = strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path;
	char		name[64];
	CmkFileName parsed;

	if (tool == TOOL_RESETS ? !(*flags & O_CREAT) || config.segment_size == 0 :
		(*flags & O_ACCMODE) != O_RDONLY)
		return 0;
	snprintf(name, sizeof(name), "pg_wal/%s", base);
	if (strlen(base) > 40 || cmk_filekind(name, &parsed) != CMK_FILE_WAL ||
		(tool != TOOL_READS_ANY && !is_in_wal_dir(path, base)) ||
		(tool != TOOL_RESETS && !take_segment_size(path)))
		return 0;
	return cmk_walfile_opening(path, *flags, CMK_FILE_WAL, &parsed, file);
}

static int
tool_opened(int fd, const char *path, int flags, CmkSeamFile *file)
{
	(void) fd;
	(void) path;
	(void) flags;
	(void) file;
	return 0;
}

static const CmkSeamOps ops = {
	.abi = CMK_SEAM_ABI,
	.opening = tool_opening,
	.opened = tool_opened,
	.pread = cmk_walfile_pread,
	.pwrite = cmk_walfile_pwrite,
	.pwritev = cmk_walfile_pwritev,
	.read = cmk_walfile_read,
	.write = cmk_walfile_write
};

/* ---- hooks ---- */

static int
on_opening(const char *path, uint64_t start, int flags)
{
	(void) path;
	(void) start;
	(void) flags;
	return 0;
}

static int
on_await_root(void)
{
	errno = ENOKEY;
	return -1;
}

static bool
never(void)
{
	return false;
}

static bool
on_receives(void)
{
	return tool == TOOL_RECEIVES;
}

static bool
on_plain_refused(uint64_t pageaddr)
{
	(void) pageaddr;
	return false;
}

static int
on_unopened(uint64_t pageaddr, uint32_t tli, const char *why)
{
	fprintf(stderr, "pg_cmk: could not open the page of WAL at %X/%X, timeline %u: %s\n",
			(unsigned) (pageaddr >> 32), (unsigned) pageaddr, tli, why);
	errno = ENOKEY;
	return -1;
}

static void __attribute__((format(printf, 1, 2)))
on_log(const char *fmt,...)
{
	va_list		ap;

	fputs("pg_cmk: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static const CmkWalHooks hooks = {
	.opening = on_opening,
	.await_root = on_await_root,
	.receives = on_receives,
	.plain_refused = on_plain_refused,
	.is_live = never,
	.unopened = on_unopened,
	.log = on_log
};

/* ---- the start ---- */

static void
fail(const char *what)
{
	fprintf(stderr, "pg_cmk: error: %s\n", what);
	_exit(1);
}

static void
open_roots(const CmkToolKey *key)
{
	static CmkRootKey roots[CMK_MAX_ROOTS];
	char		path[PATH_MAX + 32];
	CmkRootFile rf;
	CmkError	err;
	int			n = 0;

	snprintf(root_path, sizeof(root_path), "%s/%s", key->datadir, CMK_ROOT_FILE_NAME);
	if (cmk_registry_create(&err) < 0 ||
		cmk_rootfile_read(root_path, &rf, &err) < 0 ||
		cmk_rootfile_verify(&rf, root_path, rf.sysid, key->root, &err) < 0 ||
		cmk_rootfile_open_all(&rf, root_path, key->root, roots, &n, &err) < 0 ||
		cmk_registry_set_roots(roots, n, rf.current_root, &err) < 0 ||
		cmk_walfile_init(&config, &hooks, &err) < 0)
		fail(err.message);
	cmk_cleanse(roots, sizeof(roots));
	cmk_receive_init(&config, rf.sysid, root_path);
	cmk_rootfile_free(&rf);
	snprintf(path, sizeof(path), "%s/pg_wal", key->datadir);
	if (realpath(path, wal_dir) == NULL)
		wal_dir[0] = '\0';
}

static ToolKind
tool_of_name(const char *name)
{
	size_t		i;

	for (i = 0; i < sizeof(tools) / sizeof(tools[0]); i++)
		if (strcmp(tools[i].name, name) == 0)
			return tools[i].kind;
	return TOOL_OTHER;
}

/* By the name by which it was called, or, if that is a link's, by its file's. */
static ToolKind
which_tool(void)
{
	char		path[PATH_MAX];
	ssize_t		n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	ToolKind	kind = tool_of_name(program_invocation_short_name);

	path[n > 0 ? n : 0] = '\0';
	if (kind == TOOL_OTHER && strrchr(path, '/') != NULL)
		kind = tool_of_name(strrchr(path, '/') + 1);
	return kind;
}

__attribute__((constructor))
static void
tool_starts(void)
{
	const char *fd_text = getenv(CMK_TOOL_ENV);
	int			(*reg) (const CmkSeamOps *, CmkSeamReal *);
	CmkToolKey	key;
	int			fd;

	tool = which_tool();
	if (fd_text == NULL || tool == TOOL_OTHER)
		return;
	fd = atoi(fd_text);
	if (pread(fd, &key, sizeof(key), 0) != sizeof(key) ||
		memcmp(key.magic, CMK_TOOL_MAGIC, sizeof(key.magic)) != 0)
		fail("the key that pg_cmk exec opened is not there");
	open_roots(&key);
	cmk_cleanse(&key, sizeof(key));
	*(void **) &reg = dlsym(RTLD_DEFAULT, "cmk_seam_register");
	if (reg == NULL || reg(tool == TOOL_RECEIVES ? &cmk_receive_ops : &ops, &cmk_real) < 0)
		fail("pg_cmk_seam.so is not in the process");
	if (tool == TOOL_RESETS)
		learn_segment_size();
}
