/*
 * pass.c
 *	  What is not claimed behaves as if the seam were not there: bytes, modes,
 *	  error codes, and an errno that a call which succeeds does not touch.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "check.h"

/* Runs a call that must succeed, and checks that errno is what it was. */
#define CHECK_QUIET(name, call) \
	do { \
		errno = EXDEV; \
		check((call) && errno == EXDEV, "%s works and keeps errno", name); \
	} while (0)

static void
check_modes(void)
{
	struct stat st;
	int			fd;

	umask(027);
	fd = open(in_dir("mode1"), O_CREAT | O_WRONLY, 0666);
	check(fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0640,
		  "open gives the file its mode less the umask: %o", st.st_mode);
	close(fd);
	fd = open64(in_dir("mode2"), O_CREAT | O_WRONLY, 0600);
	check(fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0600,
		  "open64 gives the file its mode: %o", st.st_mode);
	close(fd);
	fd = openat(AT_FDCWD, in_dir("mode3"), O_CREAT | O_WRONLY, 0751);
	check(fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0750,
		  "openat gives the file its mode: %o", st.st_mode);
	close(fd);
	fd = creat(in_dir("mode4"), 0604);
	check(fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0600,
		  "creat gives the file its mode: %o", st.st_mode);
	close(fd);
	fd = open(in_dir("."), O_TMPFILE | O_RDWR, 0606);
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
		check(true, "O_TMPFILE: not known to this file system");
	else
		check(fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0600,
			  "O_TMPFILE gives the file its mode: %o", st.st_mode);
	close(fd);
	umask(022);
}

static void
check_bytes(int fd)
{
	char		buf[16];
	struct iovec two[2] = {{buf, 4}, {buf + 4, 4}};

	memcpy(buf, "abcdefgh", 9);
	CHECK_QUIET("write", write(fd, buf, 8) == 8);
	CHECK_QUIET("pwrite", pwrite(fd, buf, 8, 8) == 8);
	CHECK_QUIET("pwritev", pwritev(fd, two, 2, 16) == 8);
	CHECK_QUIET("pwritev2", pwritev2(fd, two, 2, 24, 0) == 8);
	CHECK_QUIET("writev", lseek(fd, 32, SEEK_SET) == 32 &&
				writev(fd, two, 2) == 8);
	check(strcmp(raw_bytes(in_dir("plain")),
				 "abcdefghabcdefghabcdefghabcdefghabcdefgh") == 0,
		  "the bytes are in the file as they were written");

	lseek(fd, 0, SEEK_SET);
	memset(buf, 0, sizeof(buf));
	CHECK_QUIET("read", read(fd, buf, 8) == 8 && memcmp(buf, "abcdefgh", 8) == 0);
	memset(buf, 0, sizeof(buf));
	CHECK_QUIET("pread", pread(fd, buf, 8, 1) == 8 &&
				memcmp(buf, "bcdefgha", 8) == 0);
	memset(buf, 0, sizeof(buf));
	CHECK_QUIET("preadv", preadv(fd, two, 2, 2) == 8 &&
				memcmp(buf, "cdefghab", 8) == 0);
	memset(buf, 0, sizeof(buf));
	CHECK_QUIET("preadv2", preadv2(fd, two, 2, 3, 0) == 8 &&
				memcmp(buf, "defghabc", 8) == 0);
	memset(buf, 0, sizeof(buf));
	CHECK_QUIET("readv", readv(fd, two, 2) == 8 &&
				memcmp(buf, "abcdefgh", 8) == 0);
	CHECK_QUIET("__read_chk", __read_chk(fd, buf, 8, 16) == 8);
	CHECK_QUIET("read at the end", lseek(fd, 0, SEEK_END) == 40 &&
				read(fd, buf, 8) == 0);
}

static void
check_descriptors(int fd)
{
	FILE	   *stream;
	off_t		off = 0;
	char		buf[8];
	int			newfd = -1;
	int			target = fcntl(fd, F_DUPFD, 50);

	CHECK_QUIET("dup", (newfd = dup(fd)) >= 0);
	CHECK_QUIET("close", close(newfd) == 0);
	CHECK_QUIET("dup2", dup2(fd, target) == target);
	CHECK_QUIET("dup2 onto itself", dup2(fd, fd) == fd);
	CHECK_QUIET("dup3", dup3(fd, target, O_CLOEXEC) == target);
	check(fcntl(target, F_GETFD) == FD_CLOEXEC, "dup3 takes its flags");
	CHECK_QUIET("fcntl(F_SETFD)", fcntl(target, F_SETFD, 0) == 0);
	check(fcntl64(target, F_GETFD) == 0, "fcntl takes its third argument");
	CHECK_QUIET("fcntl(F_GETFL)",
				(fcntl(target, F_GETFL) & O_ACCMODE) == O_RDWR);

	stream = fdopen(target, "r");
	check(stream != NULL && fseek(stream, 0, SEEK_SET) == 0 &&
		  fread(buf, 1, 8, stream) == 8 && memcmp(buf, "abcdefgh", 8) == 0,
		  "a stream made by fdopen reads");
	stream = freopen("/dev/zero", "r", stream);
	check(stream != NULL && fgetc(stream) == 0, "freopen works");
	check(fclose(stream) == 0 && fcntl(target, F_GETFD) == -1 &&
		  errno == EBADF, "fclose closes the descriptor");
	stream = fmemopen(buf, sizeof(buf), "r");
	CHECK_QUIET("fclose of a stream without descriptor", fclose(stream) == 0);

	newfd = open(in_dir("copy"), O_CREAT | O_RDWR, 0600);
	off = 0;
	CHECK_QUIET("sendfile", sendfile(newfd, fd, &off, 8) == 8);
	off = 8;
	check(copy_file_range(fd, &off, newfd, NULL, 8, 0) == 8 ||
		  errno == ENOSYS || errno == EOPNOTSUPP || errno == EXDEV,
		  "copy_file_range copies or is unknown to the system");
	CHECK_QUIET("close_range", close_range((unsigned int) newfd,
										   (unsigned int) newfd, 0) == 0);
	check(close(newfd) == -1 && errno == EBADF, "close_range closed it");
}

void
test_passthrough(void)
{
	int			fd = open(in_dir("plain"), O_CREAT | O_RDWR, 0600);

	check(fd >= 0, "open makes a file");
	if (fd < 0)
		return;
	check(seam_file(fd) == NULL, "it is not claimed");
	check_bytes(fd);
	check_descriptors(fd);
	CHECK_QUIET("close", close(fd) == 0);
	CHECK_QUIET("unlink", unlink(in_dir("plain")) == 0);
	fd = open(in_dir("plain"), O_CREAT | O_RDWR, 0600);
	close(fd);
	CHECK_QUIET("remove", remove(in_dir("plain")) == 0);
	fd = open(in_dir("plain"), O_CREAT | O_RDWR, 0600);
	close(fd);
	CHECK_QUIET("unlinkat", unlinkat(AT_FDCWD, in_dir("plain"), 0) == 0);
	check_modes();
}

/* Every call on a descriptor that does not exist says what libc says. */
static void
check_bad_descriptor(int bad, const char *which)
{
	char		buf[8] = "";
	struct iovec one = {buf, sizeof(buf)};
	int			good = open("/dev/null", O_RDWR);

#define CHECK_EBADF(name, call) \
	do { \
		errno = 0; \
		check((call) == -1 && errno == EBADF, "%s of %s: EBADF", name, which); \
	} while (0)

	CHECK_EBADF("close", close(bad));
	CHECK_EBADF("read", read(bad, buf, 8));
	CHECK_EBADF("__read_chk", __read_chk(bad, buf, 8, 8));
	CHECK_EBADF("write", write(bad, buf, 8));
	CHECK_EBADF("pread", pread(bad, buf, 8, 0));
	CHECK_EBADF("pread64", pread64(bad, buf, 8, 0));
	CHECK_EBADF("__pread_chk", __pread_chk(bad, buf, 8, 0, 8));
	CHECK_EBADF("__pread64_chk", __pread64_chk(bad, buf, 8, 0, 8));
	CHECK_EBADF("pwrite", pwrite(bad, buf, 8, 0));
	CHECK_EBADF("pwrite64", pwrite64(bad, buf, 8, 0));
	CHECK_EBADF("readv", readv(bad, &one, 1));
	CHECK_EBADF("writev", writev(bad, &one, 1));
	CHECK_EBADF("preadv", preadv(bad, &one, 1, 0));
	CHECK_EBADF("preadv64", preadv64(bad, &one, 1, 0));
	CHECK_EBADF("preadv2", preadv2(bad, &one, 1, 0, 0));
	CHECK_EBADF("preadv64v2", preadv64v2(bad, &one, 1, 0, 0));
	CHECK_EBADF("pwritev", pwritev(bad, &one, 1, 0));
	CHECK_EBADF("pwritev64", pwritev64(bad, &one, 1, 0));
	CHECK_EBADF("pwritev2", pwritev2(bad, &one, 1, 0, 0));
	CHECK_EBADF("pwritev64v2", pwritev64v2(bad, &one, 1, 0, 0));
	CHECK_EBADF("dup", dup(bad));
	CHECK_EBADF("dup2", dup2(bad, good));
	CHECK_EBADF("dup2 onto itself", dup2(bad, bad));
	CHECK_EBADF("dup3", dup3(bad, good, 0));
	CHECK_EBADF("fcntl", fcntl(bad, F_GETFD));
	CHECK_EBADF("fcntl(F_DUPFD)", fcntl(bad, F_DUPFD, 0));
	CHECK_EBADF("fcntl64", fcntl64(bad, F_DUPFD_CLOEXEC, 0));
	CHECK_EBADF("openat", openat(bad == AT_FDCWD ? -1 : bad, "x", O_RDONLY));
	CHECK_EBADF("unlinkat", unlinkat(bad == AT_FDCWD ? -1 : bad, "x", 0));
	CHECK_EBADF("sendfile", sendfile(good, bad, NULL, 8));
	CHECK_EBADF("copy_file_range", copy_file_range(bad, NULL, good, NULL, 8, 0));
	errno = 0;
	check(fdopen(bad, "r") == NULL && errno == EBADF, "fdopen of %s: EBADF",
		  which);
	check(fcntl(good, F_GETFD) >= 0, "no call closed the good descriptor");
	close(good);
}

void
test_errors(void)
{
	int			low = open("/dev/null", O_RDONLY);
	int			was_open = fcntl(low, F_DUPFD, 200);	/* not soon given out */

	close(was_open);
	close(low);
	check_bad_descriptor(-1, "-1");
	check_bad_descriptor(INT_MIN, "INT_MIN");
	check_bad_descriptor(INT_MAX, "INT_MAX");
	check_bad_descriptor(CMK_SEAM_MAX_FD, "CMK_SEAM_MAX_FD");
	check_bad_descriptor(was_open + 40, "one not yet open");
	check_bad_descriptor(was_open, "one no longer open");

	errno = 0;
	check(open(in_dir("none"), O_RDONLY) == -1 && errno == ENOENT,
		  "open of a missing file: ENOENT");
	check(open(in_dir("."), O_WRONLY) == -1 && errno == EISDIR,
		  "open of a directory to write: EISDIR");
	check(open("", O_RDONLY) == -1 && errno == ENOENT,
		  "open of an empty name: ENOENT");
	check(__open_2(in_dir("none"), O_RDONLY) == -1 && errno == ENOENT,
		  "__open_2 of a missing file: ENOENT");
	check(unlink(in_dir("none")) == -1 && errno == ENOENT,
		  "unlink of a missing file: ENOENT");
	check(remove(in_dir("none")) == -1 && errno == ENOENT,
		  "remove of a missing file: ENOENT");
	check(close_range(9, 3, 0) == -1 && errno == EINVAL,
		  "close_range backwards: EINVAL");
	check(dup3(0, 0, 0) == -1 && errno == EINVAL,
		  "dup3 onto itself: EINVAL");
}
