/*
 * datadir.c
 *	  A data directory, seen from outside the server.  See datadir.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../keyring/keyring.h"
#include "../keyring/textfile.h"
#include "../seal/page.h"
#include "datadir.h"

#define CONTROL_FILE		"global/pg_control"
#define PG_MAJOR			"15"
#define SMALL_FILE			65536

/* The first members of ControlFileData (catalog/pg_control.h of the server). */
typedef struct ControlStart
{
	uint64_t	system_identifier;
	uint32_t	pg_control_version;
	uint32_t	catalog_version_no;
	uint32_t	state;			/* DBState */
} ControlStart;

/* Where other members stand, in the layout of that version. */
#define OFF_REDO			40
#define OFF_BLCKSZ			216
#define OFF_RELSEG_SIZE		220
#define OFF_XLOG_BLCKSZ		224
#define OFF_XLOG_SEG_SIZE	228
#define OFF_CHECKSUMS		252
#define CONTROL_USED		292

#define CONTROL_VERSION		1300	/* of PostgreSQL 13 to 15 */
#define DB_SHUTDOWNED		1
#define DB_SHUTDOWNED_IN_RECOVERY 2
#define DB_IN_PRODUCTION	6

static int
check_version(const char *path, CmkError *err)
{
	size_t		len;
	char	   *text = cmk_textfile_read("PG_VERSION", 64, true, &len, NULL);
	bool		ours = text != NULL && strcmp(text, PG_MAJOR "\n") == 0;

	errno = 0;
	if (text == NULL)
		cmk_fail(err, CMK_ERR_CONFIG, "directory \"%s\" is not a data directory of PostgreSQL",
				 path);
	else if (!ours)
		cmk_fail(err, CMK_ERR_CONFIG, "directory \"%s\" is not of PostgreSQL %s", path, PG_MAJOR);
	free(text);
	return ours ? 0 : -1;
}

int
cmk_datadir_enter(const char *path, CmkError *err)
{
	struct stat st;

	if (chdir(path) < 0 || stat(".", &st) < 0)
		return cmk_fail(err, errno == ENOENT ? CMK_ERR_NOT_FOUND : CMK_ERR_PERMISSION,
						"could not access directory \"%s\": %s", path, strerror(errno));
	errno = 0;
	if (st.st_uid != geteuid())
	{
		cmk_fail(err, CMK_ERR_PERMISSION, "directory \"%s\" does not belong to this user", path);
		return cmk_fail_hint(err, "Run it as the user that owns the server.");
	}
	return check_version(path, err);
}

/* ---- the server ---- */

static bool
has_name_of_server(pid_t pid)
{
	char		path[64];
	char		comm[32] = "";
	FILE	   *f;
	bool		is;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int) pid);
	f = fopen(path, "re");
	if (f == NULL)
		return true;			/* not to be seen */
	is = fgets(comm, sizeof(comm), f) == NULL ||
		strncmp(comm, "postgres", 8) == 0 || strncmp(comm, "postmaster", 10) == 0;
	fclose(f);
	return is;
}

/* Is that the current directory?  1, 0, or -1 if it is not to be seen. */
static int
is_here(const char *path)
{
	struct stat theirs;
	struct stat ours;

	if (stat(path, &theirs) < 0 || stat(".", &ours) < 0)
		return -1;
	return theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

/*
 * A server that leaves no core dump may be hidden in /proc.  Then the directory that
 * it wrote into postmaster.pid tells the original of a copied file.
 */
static bool
is_alive(pid_t pid, const char *datadir)
{
	char		path[64];
	int			here;

	if (pid == getpid() || pid == getppid() || kill(pid, 0) < 0 ||
		!has_name_of_server(pid))
		return false;
	snprintf(path, sizeof(path), "/proc/%d/cwd", (int) pid);
	here = is_here(path);
	if (here < 0)
		here = is_here(datadir);
	return here != 0;
}

int
cmk_datadir_postmaster(CmkServer *server, CmkError *err)
{
	CmkError	e;
	size_t		len;
	char	   *text = cmk_textfile_read("postmaster.pid", SMALL_FILE, true, &len, &e);
	char	   *end;
	long		pid;

	server->pid = 0;
	server->standalone = false;
	if (text == NULL && e.code == CMK_ERR_NOT_FOUND)
		return 0;
	if (text == NULL)
	{
		*err = e;
		return -1;
	}
	errno = 0;
	pid = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\n' || pid == 0 ||
		pid > INT_MAX || pid < -INT_MAX)
	{
		free(text);
		errno = 0;
		cmk_fail(err, CMK_ERR_CORRUPT, "file \"%s\" names no process", "postmaster.pid");
		return cmk_fail_hint(err, "A server may be starting; try again.");
	}
	end++;
	end[strcspn(end, "\n")] = '\0';
	server->standalone = pid < 0;
	if (is_alive((pid_t) labs(pid), end))
		server->pid = (pid_t) labs(pid);
	free(text);
	return 0;
}

bool
cmk_datadir_set_by_command_line(const char *name)
{
	size_t		len;
	char	   *text = cmk_textfile_read("postmaster.opts", SMALL_FILE, true, &len, NULL);
	char		want[128];
	char	   *c;
	bool		found;

	if (text == NULL)
		return false;
	/* --pg-cmk.key=… is pg_cmk.key to the server, and case does not matter */
	for (c = text; *c != '\0'; c++)
		*c = *c == '-' ? '_' : *c >= 'A' && *c <= 'Z' ? *c + ('a' - 'A') : *c;
	snprintf(want, sizeof(want), "%s=", name);
	found = strstr(text, want) != NULL;
	free(text);
	return found;
}

int
cmk_datadir_lock(CmkError *err)
{
	int			fd = open(CMK_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT)
	{
		errno = 0;
		cmk_fail(err, CMK_ERR_CONFIG, "this server has no customer-managed key");
		cmk_fail_detail(err, "Directory \"%s\" does not exist.", CMK_DIR);
		return cmk_fail_hint(err, "Set pg_cmk.key and start the server.");
	}
	if (fd < 0)
		return cmk_fail(err, CMK_ERR_IO, "could not open directory \"%s\": %s", CMK_DIR,
						strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
	{
		close(fd);
		errno = 0;
		return cmk_fail(err, CMK_ERR_CONFIG,
						"another pg_cmk command is at work in this data directory");
	}
	return 0;					/* fd stays open: it is the lock */
}

/* ---- pg_control ---- */

/* The whole of it, which the caller frees; its first members in *c.  NULL: err. */
static char *
read_control(ControlStart *c, CmkError *err)
{
	size_t		len = 0;
	char	   *text = cmk_textfile_read(CONTROL_FILE, SMALL_FILE, true, &len, err);

	if (text == NULL)
		return NULL;
	if (len >= CONTROL_USED)
	{
		memcpy(c, text, sizeof(*c));
		if (c->pg_control_version == CONTROL_VERSION)
			return text;
	}
	free(text);
	errno = 0;
	cmk_fail(err, CMK_ERR_CORRUPT, "file \"%s\" is not of PostgreSQL %s", CONTROL_FILE, PG_MAJOR);
	return NULL;
}

static uint32_t
member32(const char *text, size_t offset)
{
	uint32_t	v;

	memcpy(&v, text + offset, sizeof(v));
	return v;
}

int
cmk_datadir_control(CmkControl *control, CmkError *err)
{
	ControlStart c;
	char	   *text = read_control(&c, err);
	uint32_t	size;

	if (text == NULL)
		return -1;
	control->sysid = c.system_identifier;
	control->catalog_version = c.catalog_version_no;
	control->clean = c.state == DB_SHUTDOWNED || c.state == DB_SHUTDOWNED_IN_RECOVERY;
	memcpy(&control->redo, text + OFF_REDO, sizeof(control->redo));
	control->segment_blocks = member32(text, OFF_RELSEG_SIZE);
	control->wal_segment = size = member32(text, OFF_XLOG_SEG_SIZE);
	control->checksums = member32(text, OFF_CHECKSUMS) != 0;
	errno = 0;
	if (member32(text, OFF_BLCKSZ) != CMK_PAGE_SIZE || member32(text, OFF_XLOG_BLCKSZ) != CMK_PAGE_SIZE ||
		control->segment_blocks == 0 || size < 1024 * 1024 || size > 1024 * 1024 * 1024 ||
		(size & (size - 1)) != 0)
	{
		cmk_fail(err, CMK_ERR_CORRUPT, "file \"%s\" is damaged, or of a server with other page sizes",
				 CONTROL_FILE);
		free(text);
		return cmk_fail_hint(err, "Compare with what pg_controldata says.");
	}
	free(text);
	return 0;
}

int
cmk_datadir_sysid(uint64_t *sysid, CmkError *err)
{
	ControlStart c;
	char	   *text = read_control(&c, err);

	if (text == NULL)
		return -1;
	*sysid = c.system_identifier;
	free(text);
	return 0;
}

bool
cmk_datadir_is_copy(void)
{
	static const char *const signs[] = {"backup_label", "standby.signal", "recovery.signal"};
	ControlStart c;
	struct stat st;
	char	   *text;
	size_t		i;

	for (i = 0; i < sizeof(signs) / sizeof(signs[0]); i++)
		if (lstat(signs[i], &st) == 0)
			return true;
	text = read_control(&c, NULL);
	free(text);
	return text == NULL || (c.state != DB_SHUTDOWNED && c.state != DB_IN_PRODUCTION);
}
