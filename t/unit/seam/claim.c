/*
 * claim.c
 *	  Registering, and what happens to a descriptor that is claimed: who is
 *	  asked at open, and that no name of a call leads round the table.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>

#include "check.h"

void
test_register(void)
{
	static CmkSeamOps other;
	int			fd = open(in_dir("before.claim"), O_CREAT | O_RDWR, 0600);

	check(pwrite(fd, "abc", 3, 0) == 3 &&
		  strcmp(raw_bytes(in_dir("before.claim")), "abc") == 0 &&
		  seen.opening == 0, "before registration all passes through");

	errno = 0;
	check(seam_register(NULL, &real) == -1 && errno == EINVAL,
		  "no table is refused: EINVAL");
	other = test_ops;
	other.abi = CMK_SEAM_ABI + 1;
	check(seam_register(&other, &real) == -1 && errno == EINVAL,
		  "another ABI is refused: EINVAL");
	other = test_ops;
	other.pwritev = NULL;
	check(seam_register(&other, &real) == -1 && errno == EINVAL,
		  "a table with a hole is refused: EINVAL");
	check(real.open == NULL, "a refused registration hands out nothing");

	check(seam_register(&test_ops, &real) == 0, "the table registers");
	check(real.open && real.close && real.read && real.write && real.pread &&
		  real.pwrite && real.pwritev && real.lseek && real.unlink,
		  "all real calls are handed out");
	check(seam_register(&test_ops, &real) == 0,
		  "registering the same table again is no error");
	other = test_ops;
	check(seam_register(&other, &real) == -1 && errno == EALREADY,
		  "a second table is refused: EALREADY");

	check(seam_file(fd) == NULL && close(fd) == 0 && seen.closing == 0,
		  "what was open before stays unclaimed");
	check(seam_file(-1) == NULL && seam_file(CMK_SEAM_MAX_FD) == NULL &&
		  seam_file(CMK_SEAM_MAX_FD - 1) == NULL,
		  "numbers out of range or never opened are not claimed");

	fd = real.open(in_dir("around.claim"), O_CREAT | O_RDWR, 0600);
	check(fd >= 0 && seen.opening == 0 && seam_file(fd) == NULL,
		  "the real open goes round the seam");
	real.close(fd);
}

void
test_open(void)
{
	const CmkSeamFile *file;
	int			fd;

	errno = EXDEV;
	fd = open(in_dir("a.claim"), O_CREAT | O_RDWR, 0600);
	check(fd >= 0 && errno == EXDEV, "open of a claimed file keeps errno");
	check(seen.opening == 1 && seen.opened == 1 && seen.opened_fd == fd,
		  "opening() and opened() were called once");
	file = seam_file(fd);
	check(file != NULL && file->kind == 7 && file->segno == 1 &&
		  file->open_flags == (O_CREAT | O_RDWR),
		  "what opening() filled in is kept");
	errno = EXDEV;
	check(close(fd) == 0 && errno == EXDEV, "its close keeps errno");
	check(seen.closing == 1 && seen.closing_fd == fd &&
		  seen.closing_segno == 1, "closing() was called once, with the file");
	check(seam_file(fd) == NULL, "the descriptor is forgotten");
	check(close(fd) == -1 && errno == EBADF && seen.closing == 1,
		  "a second close is EBADF and closes nothing");

	errno = 0;
	check(open(in_dir("b.refuse"), O_CREAT | O_RDWR, 0600) == -1 &&
		  errno == ENOKEY, "a refused open has the errno of opening()");
	check(access(in_dir("b.refuse"), F_OK) == -1, "and makes no file");

	check(open(in_dir("missing.claim"), O_RDWR) == -1 && errno == ENOENT &&
		  seen.opened == 1, "opened() is not called if open fails");

	check(open(in_dir("c.late"), O_CREAT | O_RDWR, 0600) == -1 &&
		  errno == EKEYREVOKED, "a failed opened() fails the open");
	check(fcntl(seen.opened_fd, F_GETFD) == -1 && errno == EBADF &&
		  seam_file(seen.opened_fd) == NULL, "and the descriptor is closed");
	check(access(in_dir("c.late"), F_OK) == 0,
		  "the file is opened()'s to remove");

	errno = EXDEV;
	fd = open(in_dir("d.unclaim"), O_CREAT | O_RDWR, 0600);
	check(fd >= 0 && errno == EXDEV && seam_file(fd) == NULL,
		  "opened() may leave the descriptor alone");
	check(write(fd, "abc", 3) == 3 && close(fd) == 0 && seen.closing == 1 &&
		  strcmp(raw_bytes(in_dir("d.unclaim")), "abc") == 0,
		  "which then passes through");

	errno = EXDEV;
	fd = open(in_dir("plain"), O_CREAT | O_RDWR, 0600);
	check(fd >= 0 && errno == EXDEV && seam_file(fd) == NULL,
		  "a name that opening() does not claim passes, errno is kept");
	close(fd);

	errno = EXDEV;
	check(unlink(in_dir("plain")) == 0 && errno == EXDEV &&
		  strcmp(seen.unlinked, in_dir("plain")) == 0,
		  "unlinked() hears the name, errno is kept");
	seen.unlinked[0] = '\0';
	check(unlink(in_dir("plain")) == -1 && errno == ENOENT &&
		  seen.unlinked[0] == '\0', "a failed unlink is not told");
	check(remove(in_dir("a.claim")) == 0 &&
		  strcmp(seen.unlinked, in_dir("a.claim")) == 0,
		  "unlinked() hears of remove");
	check(unlinkat(AT_FDCWD, in_dir("c.late"), 0) == 0 &&
		  strcmp(seen.unlinked, in_dir("c.late")) == 0,
		  "unlinked() hears of unlinkat");
}

/* What one open function returned, and whether it should have claimed it. */
static void
check_opener(const char *name, int fd, bool claims)
{
	check(fd >= 0 && (seam_file(fd) != NULL) == claims,
		  "%s %s", name, claims ? "claims" : "does not claim");
	close(fd);
}

static void
check_openers(void)
{
	const char *path = in_dir("names.claim");
	int			dir = open(in_dir("."), O_RDONLY | O_DIRECTORY);
	FILE	   *stream;

	check_opener("open", open(path, O_CREAT | O_RDWR, 0600), true);
	check_opener("open64", open64(path, O_RDWR), true);
	check_opener("creat", creat(path, 0600), true);
	check_opener("creat64", creat64(path, 0600), true);
	check_opener("__open_2", __open_2(path, O_RDWR), true);
	check_opener("__open64_2", __open64_2(path, O_RDWR), true);
	check_opener("openat from here", openat(AT_FDCWD, path, O_RDWR), true);
	check_opener("openat64 from here", openat64(AT_FDCWD, path, O_RDWR), true);
	check_opener("openat of a full name", openat(dir, path, O_RDWR), true);
	check_opener("__openat_2", __openat_2(AT_FDCWD, path, O_RDWR), true);
	check_opener("__openat64_2", __openat64_2(AT_FDCWD, path, O_RDWR), true);
	check_opener("openat below a directory",
				 openat(dir, "names.claim", O_RDWR), false);
	close(dir);
	stream = fopen(path, "r");
	check(stream != NULL && seam_file(fileno(stream)) == NULL,
		  "fopen does not claim");
	fclose(stream);
}

static void
check_writer(const char *name, ssize_t written)
{
	char		expected[7] = "ABCDEF";
	int			i;

	for (i = 0; i < 6; i++)
		expected[i] ^= FLIP;
	check(written == 6 && strcmp(raw_bytes(in_dir("w.claim")), expected) == 0,
		  "%s goes through the table", name);
	if (truncate(in_dir("w.claim"), 0) != 0)
		check(false, "truncate");
}

static void
check_writers(int fd)
{
	char		data[] = "ABCDEF";
	struct iovec two[3] = {{data, 2}, {data, 0}, {data + 2, 4}};

	check_writer("pwrite", pwrite(fd, data, 6, 0));
	check_writer("pwrite64", pwrite64(fd, data, 6, 0));
	check_writer("pwritev", pwritev(fd, two, 3, 0));
	check_writer("pwritev64", pwritev64(fd, two, 3, 0));
	check_writer("pwritev2", pwritev2(fd, two, 3, 0, 0));
	check_writer("pwritev64v2", pwritev64v2(fd, two, 3, 0, 0));
	lseek(fd, 0, SEEK_SET);
	check_writer("write", write(fd, data, 6));
	lseek(fd, 0, SEEK_SET);
	check_writer("writev", writev(fd, two, 3));
	lseek(fd, 0, SEEK_SET);
	check_writer("pwritev2 at the position", pwritev2(fd, two, 3, -1, 0));
	errno = 0;
	check(pwritev2(fd, two, 3, 0, RWF_DSYNC) == -1 && errno == EOPNOTSUPP,
		  "pwritev2 with flags is refused");
}

static void
check_readers(int fd)
{
	char		buf[7];
	struct iovec two[3] = {{buf, 2}, {buf, 0}, {buf + 2, 4}};
	struct iovec big[2] = {{buf, 3}, {buf, 7}};
	volatile int minus_one = -1;	/* unknown to the compiler */

#define CHECK_READER(name, call) \
	do { \
		memset(buf, 0, sizeof(buf)); \
		lseek(fd, 0, SEEK_SET); \
		check((call) == 6 && strcmp(buf, "ABCDEF") == 0, \
			  "%s goes through the table", name); \
	} while (0)

	check(pwrite(fd, "ABCDEF", 6, 0) == 6, "bytes to read are written");
	CHECK_READER("pread", pread(fd, buf, 6, 0));
	CHECK_READER("pread64", pread64(fd, buf, 6, 0));
	CHECK_READER("__pread_chk", __pread_chk(fd, buf, 6, 0, 7));
	CHECK_READER("__pread64_chk", __pread64_chk(fd, buf, 6, 0, 7));
	CHECK_READER("preadv", preadv(fd, two, 3, 0));
	CHECK_READER("preadv64", preadv64(fd, two, 3, 0));
	CHECK_READER("preadv2", preadv2(fd, two, 3, 0, 0));
	CHECK_READER("preadv64v2", preadv64v2(fd, two, 3, 0, 0));
	CHECK_READER("preadv2 at the position", preadv2(fd, two, 3, -1, 0));
	CHECK_READER("read", read(fd, buf, 6));
	CHECK_READER("__read_chk", __read_chk(fd, buf, 6, 7));
	CHECK_READER("readv", readv(fd, two, 3));

	check(preadv(fd, big, 2, 0) == 6, "preadv stops at the end of the file");
	errno = 0;
	check(preadv(fd, two, 3, -1) == -1 && errno == EINVAL,
		  "preadv before the beginning: EINVAL");
	check(preadv(fd, two, minus_one, 0) == -1 && errno == EINVAL,
		  "preadv of a negative number of pieces: EINVAL");
	check(preadv2(fd, two, 3, 0, RWF_NOWAIT) == -1 && errno == EOPNOTSUPP,
		  "preadv2 with flags is refused");
}

/* A hardened call that would overrun its buffer ends the process. */
static void
check_abort(const char *name, int fd, int which)
{
	char		buf[8];
	volatile size_t eight = 8;
	int			status = 0;
	pid_t		child;

	fflush(stdout);
	child = fork();
	if (child == 0)
	{
		close(STDERR_FILENO);
		if (which == 0)
			(void) __read_chk(fd, buf, eight, 4);
		else if (which == 1)
			(void) __pread_chk(fd, buf, eight, 0, 4);
		else
			(void) __open_2(in_dir("x.claim"), O_CREAT | O_RDWR);
		_exit(0);
	}
	waitpid(child, &status, 0);
	check(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT,
		  "%s aborts as in libc", name);
}

void
test_names(void)
{
	int			fd;

	check_openers();
	fd = open(in_dir("w.claim"), O_CREAT | O_RDWR, 0600);
	check_writers(fd);
	check_readers(fd);
	check_abort("__read_chk past its buffer", fd, 0);
	check_abort("__pread_chk past its buffer", fd, 1);
	check_abort("__open_2 that would need a mode", fd, 2);
	close(fd);
}
