/*
 * test_rootfile_io.c
 *	  Replacing root.json: in which order, and what is left when a step fails.
 *
 * This program has its own write, fsync and rename, which note their
 * calls and fail where a test wants them to; then the disk need not be full, nor
 * broken, to see what happens.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/keyring/rootfile.h"
#include "rootfile_example.h"
#include "unit.h"

#define EXAMPLE_LEN		(sizeof(example) - 1)

static char dir[64] = "/tmp/cmk_rootfile.XXXXXX";
static char path[128];
static char tmp[128];

/* ---- the calls of the C library that may fail ---- */

static char calls[256];			/* "write fsync rename fsync-dir " */
static const char *fail_call;	/* which one fails, NULL: none */
static int	fail_errno;			/* 0: write writes nothing, then one byte */
static bool interrupt_first;

static bool
fails(const char *call)
{
	size_t		len = strlen(calls);

	snprintf(calls + len, sizeof(calls) - len, "%s ", call);
	if (fail_call == NULL || strcmp(call, fail_call) != 0)
		return false;
	errno = fail_errno;
	return true;
}

/* Once for each call, as a signal would. */
static bool
interrupted(const char *call)
{
	static char last[16];

	if (!interrupt_first || strcmp(last, call) == 0)
	{
		last[0] = '\0';
		return false;
	}
	strcpy(last, call);
	errno = EINTR;
	return true;
}

ssize_t
write(int fd, const void *buf, size_t n)
{
	if (fd <= 2)
		return syscall(SYS_write, fd, buf, n);
	if (interrupted("write"))
		return -1;
	if (fails("write"))
	{
		/* what a full disk does: half of it, and then the error */
		if (n > 1)
			return syscall(SYS_write, fd, buf, n / 2);
		return fail_errno == 0 ? 0 : -1;
	}
	return syscall(SYS_write, fd, buf, n);
}

int
fsync(int fd)
{
	struct stat st;

	if (interrupted("fsync"))
		return -1;
	if (fails(fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? "fsync-dir" : "fsync"))
		return -1;
	return syscall(SYS_fsync, fd);
}

int
rename(const char *from, const char *to)
{
	if (fails("rename"))
		return -1;
	return syscall(SYS_rename, from, to);
}

static void
no_faults(void)
{
	calls[0] = '\0';
	fail_call = NULL;
	fail_errno = 0;
	interrupt_first = false;
}

/* ---- files ---- */

/* Is the content of the file this text?  NULL: is there none? */
static bool
file_is(const char *name, const char *text)
{
	char		buf[2 * EXAMPLE_LEN];
	int			fd = open(name, O_RDONLY | O_NOFOLLOW);
	ssize_t		n;

	if (fd < 0 || text == NULL)
	{
		if (fd >= 0)
			close(fd);
		return fd < 0 && errno == ENOENT && text == NULL;
	}
	n = read(fd, buf, sizeof(buf));
	close(fd);
	return n == (ssize_t) strlen(text) && memcmp(buf, text, n) == 0;
}

static void
put_file(const char *name, const char *text, mode_t mode)
{
	int			fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, mode);

	if (fd < 0 ||
		syscall(SYS_write, fd, text, strlen(text)) != (ssize_t) strlen(text) ||
		fchmod(fd, mode) < 0)
		abort();
	close(fd);
}

static void
clean(void)
{
	no_faults();
	unlink(path);
	unlink(tmp);
	rmdir(path);
}

/* ---- the tests ---- */

static void
written_synced_renamed_synced(void)
{
	CmkError	err;
	struct stat st;
	mode_t		mask = umask(0);
	int			rc;

	clean();
	CHECK_INT(chmod(dir, 0700), 0);
	rc = cmk_rootfile_write(path, example, EXAMPLE_LEN, &err);
	umask(mask);
	CHECK_INT(rc, 0);
	CHECK_STR(calls, "write fsync rename fsync-dir ");
	CHECK(file_is(path, example));
	CHECK(file_is(tmp, NULL));
	CHECK_INT(stat(path, &st), 0);
	CHECK_INT(st.st_mode, S_IFREG | 0600);

	/* and over an old one */
	put_file(path, "old", 0600);
	CHECK_INT(cmk_rootfile_write(path, example, EXAMPLE_LEN, &err), 0);
	CHECK(file_is(path, example));
}

/* A user of the group who takes backups gets it too, whatever the umask. */
static void
as_readable_as_its_directory(void)
{
	CmkError	err;
	struct stat st;
	mode_t		mask = umask(0077);
	int			rc;

	clean();
	CHECK_INT(chmod(dir, 0750), 0);
	rc = cmk_rootfile_write(path, example, EXAMPLE_LEN, &err);
	umask(mask);
	CHECK_INT(rc, 0);
	CHECK_INT(stat(path, &st), 0);
	CHECK_INT(st.st_mode, S_IFREG | 0640);
}

static void
signals_do_not_disturb(void)
{
	CmkError	err;

	clean();
	interrupt_first = true;
	CHECK_INT(cmk_rootfile_write(path, example, EXAMPLE_LEN, &err), 0);
	CHECK(file_is(path, example));
}

static void
a_failed_step_leaves_the_old_file(void)
{
	static const struct
	{
		const char *call;
		int			error;
		CmkErrorCode code;
		const char *text;
	}			c[] = {
		{"write", ENOSPC, CMK_ERR_NO_SPACE, "could not write file"},
		{"write", EDQUOT, CMK_ERR_NO_SPACE, "could not write file"},
		{"write", 0, CMK_ERR_NO_SPACE, "could not write file"},
		{"write", EIO, CMK_ERR_IO, "could not write file"},
		{"fsync", EIO, CMK_ERR_IO, "could not fsync file"},
		{"fsync", ENOSPC, CMK_ERR_NO_SPACE, "could not fsync file"},
		{"rename", EACCES, CMK_ERR_PERMISSION, "could not replace file"},
		{"rename", EIO, CMK_ERR_IO, "could not replace file"},
	};
	CmkError	err;
	size_t		i;

	for (i = 0; i < sizeof(c) / sizeof(c[0]); i++)
	{
		clean();
		put_file(path, "old", 0600);
		fail_call = c[i].call;
		fail_errno = c[i].error;
		CHECK_INT(cmk_rootfile_write(path, example, EXAMPLE_LEN, &err), -1);
		CHECK_INT(err.code, c[i].code);
		CHECK_HAS(err.message, c[i].text);
		CHECK_HAS(err.message, path);
		CHECK(file_is(path, "old"));
		CHECK(file_is(tmp, NULL));

		/* the next one succeeds */
		no_faults();
		CHECK_INT(cmk_rootfile_write(path, example, EXAMPLE_LEN, &err), 0);
		CHECK(file_is(path, example));
	}
}

static void
a_failed_directory_sync_is_told(void)
{
	CmkError	err;

	clean();
	put_file(path, "old", 0600);
	fail_call = "fsync-dir";
	fail_errno = EIO;
	CHECK_INT(cmk_rootfile_write(path, example, EXAMPLE_LEN, &err), -1);
	CHECK_INT(err.code, CMK_ERR_IO);
	CHECK_INT(err.saved_errno, EIO);
	CHECK_HAS(err.message, "could not fsync directory");
	CHECK(file_is(path, example));
}

/* The kernel's own refusal, not one of ours. */
static void
a_file_size_limit_leaves_the_old_file(void)
{
	struct rlimit lim;
	int			status;
	pid_t		pid;

	clean();
	put_file(path, "old", 0600);
	pid = fork();
	if (pid == 0)
	{
		CmkError	err;

		signal(SIGXFSZ, SIG_IGN);
		lim.rlim_cur = lim.rlim_max = 100;
		setrlimit(RLIMIT_FSIZE, &lim);
		_exit(cmk_rootfile_write(path, example, EXAMPLE_LEN, &err) == -1 &&
			  err.code == CMK_ERR_IO && err.saved_errno == EFBIG ? 0 : 1);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(file_is(path, "old"));
	CHECK(file_is(tmp, NULL));
}

static void
a_stale_temporary_file_is_replaced(void)
{
	CmkError	err;
	char		victim[128];

	clean();
	put_file(tmp, "half of a fil", 0644);
	CHECK_INT(cmk_rootfile_write(path, example, EXAMPLE_LEN, &err), 0);
	CHECK(file_is(path, example));
	CHECK(file_is(tmp, NULL));

	/* a symbolic link there is removed, not followed */
	snprintf(victim, sizeof(victim), "%s/victim", dir);
	put_file(victim, "precious", 0600);
	CHECK_INT(symlink(victim, tmp), 0);
	CHECK_INT(cmk_rootfile_write(path, example, EXAMPLE_LEN, &err), 0);
	CHECK(file_is(path, example));
	CHECK(file_is(victim, "precious"));
	unlink(victim);

	/* a directory there is in the way, and said to be */
	CHECK_INT(mkdir(tmp, 0700), 0);
	CHECK_INT(cmk_rootfile_write(path, "x", 1, &err), -1);
	CHECK_HAS(err.message, "could not remove file");
	CHECK_INT(rmdir(tmp), 0);
	CHECK(file_is(path, example));
}

static void
no_directory_no_file(void)
{
	CmkError	err;
	char		deep[256];
	char		longer[5000];

	clean();
	snprintf(deep, sizeof(deep), "%s/none/root.json", dir);
	CHECK_INT(cmk_rootfile_write(deep, example, EXAMPLE_LEN, &err), -1);
	CHECK_INT(err.code, CMK_ERR_NOT_FOUND);
	CHECK_HAS(err.message, "could not create file");

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	CHECK_INT(cmk_rootfile_write(longer, example, EXAMPLE_LEN, &err), -1);
	CHECK_INT(err.saved_errno, ENAMETOOLONG);
}

/* The server works with names relative to its data directory. */
static void
relative_names(void)
{
	CmkError	err;
	CmkRootFile rf;
	char		old[4096];

	clean();
	CHECK(getcwd(old, sizeof(old)) != NULL);
	CHECK_INT(chdir(dir), 0);
	CHECK_INT(cmk_rootfile_write("root.json", example, EXAMPLE_LEN, &err), 0);
	CHECK_INT(cmk_rootfile_read("root.json", &rf, &err), 0);
	cmk_rootfile_free(&rf);
	CHECK_INT(chdir(old), 0);
	CHECK(file_is(path, example));
}

static void
reads_what_was_written(void)
{
	CmkError	err;
	CmkRootFile rf;

	clean();
	CHECK_INT(cmk_rootfile_write(path, example, EXAMPLE_LEN, &err), 0);
	CHECK_INT(cmk_rootfile_read(path, &rf, &err), 0);
	CHECK_STR(rf.text, example);
	CHECK(rf.sysid == EXAMPLE_SYSID);
	cmk_rootfile_free(&rf);

	put_file(path, "{}", 0600);
	CHECK_INT(cmk_rootfile_read(path, &rf, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CORRUPT);
	CHECK_HAS(err.message, path);
	CHECK_HAS(err.message, "is damaged");
	CHECK(rf.text == NULL && rf.roots == NULL);
}

static void
what_cannot_be_read(void)
{
	CmkError	err;
	CmkRootFile rf;
	int			status;
	pid_t		pid;

	clean();
	CHECK_INT(cmk_rootfile_read(path, &rf, &err), -1);
	CHECK_INT(err.code, CMK_ERR_NOT_FOUND);
	CHECK_HAS(err.message, "does not exist");
	CHECK_HAS(err.hint, "Restore it");

	CHECK_INT(mkdir(path, 0700), 0);
	CHECK_INT(cmk_rootfile_read(path, &rf, &err), -1);
	CHECK_HAS(err.message, "is not a regular file");
	CHECK_INT(rmdir(path), 0);

	CHECK_INT(mkfifo(path, 0600), 0);
	CHECK_INT(cmk_rootfile_read(path, &rf, &err), -1);
	CHECK_HAS(err.message, "is not a regular file");
	CHECK_INT(unlink(path), 0);

	put_file(path, example, 0);
	pid = fork();
	if (pid == 0)
	{
		if (geteuid() == 0 && seteuid(65534) < 0)
			_exit(2);
		_exit(cmk_rootfile_read(path, &rf, &err) == -1 &&
			  err.code == CMK_ERR_PERMISSION &&
			  strstr(err.message, "could not open file") != NULL ? 0 : 1);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK_INT(status, 0);
}

static void
a_file_that_is_too_long(void)
{
	CmkError	err;
	CmkRootFile rf;

	clean();
	put_file(path, example, 0600);
	CHECK_INT(truncate(path, INT64_C(1) << 40), 0);
	CHECK_INT(cmk_rootfile_read(path, &rf, &err), -1);
	CHECK_INT(err.code, CMK_ERR_CORRUPT);
	CHECK_HAS(err.detail, "longer than");
}

int
main(void)
{
	if (mkdtemp(dir) == NULL || chmod(dir, 0755) < 0)
	{
		perror(dir);
		return 1;
	}
	snprintf(path, sizeof(path), "%s/root.json", dir);
	snprintf(tmp, sizeof(tmp), "%s/root.json.tmp", dir);

	RUN(written_synced_renamed_synced);
	RUN(as_readable_as_its_directory);
	RUN(signals_do_not_disturb);
	RUN(a_failed_step_leaves_the_old_file);
	RUN(a_failed_directory_sync_is_told);
	RUN(a_file_size_limit_leaves_the_old_file);
	RUN(a_stale_temporary_file_is_replaced);
	RUN(no_directory_no_file);
	RUN(relative_names);
	RUN(reads_what_was_written);
	RUN(what_cannot_be_read);
	RUN(a_file_that_is_too_long);

	clean();
	rmdir(dir);
	return unit_done();
}
