/*
 * sizes.c
 *	  Files whose size, position and flags are the table's to say, and streams.
 *
 * The table here is that of ops.c, and hides the first HIDDEN bytes of every
 * claimed file: as a head that the caller does not know of.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

#define HIDDEN	10

extern int	fileno_unlocked(FILE *stream);

static CmkSeamOps hiding;
static int	told_flags;			/* as given to opened() */
static int	fallocates;

static bool
is_claimed_name(const char *path)
{
	size_t		n = strlen(path);

	return n >= 6 && strcmp(path + n - 6, ".claim") == 0;
}

/* Makes a file writable for reading too, and takes O_APPEND away. */
static int
hiding_opening(const char *path, int *flags, CmkSeamFile *file)
{
	if (test_ops.opening(path, flags, file) < 0)
		return -1;
	if (file->kind != 0 && (*flags & O_ACCMODE) == O_WRONLY)
		*flags = (*flags & ~(O_ACCMODE | O_APPEND)) | O_RDWR;
	return 0;
}

static int
hiding_opened(int fd, const char *path, int flags, CmkSeamFile *file)
{
	told_flags = flags;
	if (real.lseek(fd, HIDDEN, SEEK_SET) != HIDDEN)
		return -1;
	return test_ops.opened(fd, path, flags, file);
}

static off_t
hiding_lseek(CmkSeamFile *file, int fd, off_t off, int whence)
{
	off_t		at = real.lseek(fd, whence == SEEK_SET ? off + HIDDEN : off, whence);

	return at < 0 ? -1 : at - HIDDEN;
}

static int
hiding_fstat(CmkSeamFile *file, int fd, struct stat *st)
{
	int			result = real.fstat(fd, st);

	st->st_size -= HIDDEN;
	return result;
}

static int
hiding_ftruncate(CmkSeamFile *file, int fd, off_t len)
{
	return real.ftruncate(fd, len + HIDDEN);
}

static int
hiding_fallocate(CmkSeamFile *file, int fd, int mode, off_t off, off_t len)
{
	fallocates++;
	errno = EOPNOTSUPP;
	return -1;
}

static void
hiding_stated(const char *path, struct stat *st)
{
	errno = ENOTBLK;
	if (is_claimed_name(path))
		st->st_size -= HIDDEN;
}

static bool
hiding_streams(const char *path)
{
	return is_claimed_name(path) || strstr(path, ".refuse") != NULL ||
		strstr(path, ".unclaim") != NULL;
}

/* A claimed file that holds HIDDEN bytes and then text. */
static int
hidden_file(const char *text)
{
	int			fd = open(in_dir("h.claim"), O_CREAT | O_RDWR | O_TRUNC, 0600);

	if (write(fd, text, strlen(text)) != (ssize_t) strlen(text))
		check(false, "write");
	return fd;
}

static void
check_positions(void)
{
	int			fd = hidden_file("abcdef");
	struct stat st;
	struct stat64 st64;

	check(lseek(fd, 0, SEEK_END) == 6, "lseek goes through the table");
	check(lseek64(fd, 2, SEEK_SET) == 2 && lseek(fd, 0, SEEK_CUR) == 2,
		  "lseek64 too");
	check(fstat(fd, &st) == 0 && st.st_size == 6, "fstat goes through the table");
	check(fstat64(fd, &st64) == 0 && st64.st_size == 6, "fstat64 too");
	check(fstatat(fd, "", &st, AT_EMPTY_PATH) == 0 && st.st_size == 6,
		  "fstatat of the descriptor too");
	check(ftruncate(fd, 4) == 0 && lseek(fd, 0, SEEK_END) == 4,
		  "ftruncate goes through the table");
	check(ftruncate64(fd, 3) == 0 && fstat(fd, &st) == 0 && st.st_size == 3,
		  "ftruncate64 too");
	errno = EXDEV;
	check(posix_fallocate(fd, 0, 100) == EOPNOTSUPP && errno == EXDEV,
		  "posix_fallocate returns the table's error, errno is kept");
	check(posix_fallocate64(fd, 0, 100) == EOPNOTSUPP, "posix_fallocate64 too");
	check(fallocate(fd, 0, 0, 100) == -1 && errno == EOPNOTSUPP,
		  "fallocate goes through the table");
	check(fallocate64(fd, 0, 0, 100) == -1 && fallocates == 4, "fallocate64 too");
	close(fd);
}

static void
check_names(void)
{
	const char *path = in_dir("h.claim");
	int			fd = hidden_file("abcdef");
	int			dir = open(in_dir("."), O_RDONLY | O_DIRECTORY);
	struct stat st;
	struct stat64 st64;

	errno = EXDEV;
	check(stat(path, &st) == 0 && st.st_size == 6 && errno == EXDEV,
		  "stat is put right, errno is kept");
	check(lstat(path, &st) == 0 && st.st_size == 6, "lstat too");
	check(stat64(path, &st64) == 0 && st64.st_size == 6, "stat64 too");
	check(lstat64(path, &st64) == 0 && st64.st_size == 6, "lstat64 too");
	check(fstatat(AT_FDCWD, path, &st, 0) == 0 && st.st_size == 6, "fstatat too");
	check(fstatat64(AT_FDCWD, path, &st64, 0) == 0 && st64.st_size == 6,
		  "fstatat64 too");
	check(fstatat(dir, "h.claim", &st, 0) == 0 && st.st_size == 6 + HIDDEN,
		  "fstatat below a directory is the file's own");
	check(stat(in_dir("missing.claim"), &st) == -1 && errno == ENOENT,
		  "stat of what is not there: ENOENT");
	close(dir);
	close(fd);
}

static void
check_unclaimed(void)
{
	int			fd = open(in_dir("plain"), O_CREAT | O_RDWR | O_TRUNC, 0600);
	struct stat st;

	check(write(fd, "abc", 3) == 3 && lseek(fd, 0, SEEK_CUR) == 3 &&
		  fstat(fd, &st) == 0 && st.st_size == 3 && ftruncate(fd, 1) == 0 &&
		  stat(in_dir("plain"), &st) == 0 && st.st_size == 1,
		  "what is not claimed has its own size and position");
	check(posix_fallocate(fd, 0, 5) == 0 && fallocate(fd, 0, 0, 7) == 0 &&
		  fstat(fd, &st) == 0 && st.st_size == 7 && fallocates == 4,
		  "and is allocated as it asks");
	close(fd);
	errno = 0;
	check(lseek(-1, 0, SEEK_SET) == -1 && errno == EBADF, "lseek of nothing: EBADF");
	errno = 0;
	check(fstat(-1, &st) == -1 && errno == EBADF, "fstat of nothing: EBADF");
	errno = 0;
	check(ftruncate(-1, 0) == -1 && errno == EBADF, "ftruncate of nothing: EBADF");
}

static void
check_flags(void)
{
	int			fd = hidden_file("abc");
	char		c = 0;

	close(fd);
	fd = open(in_dir("h.claim"), O_WRONLY | O_APPEND);
	check((fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND)) == O_RDWR,
		  "the file is opened with the flags that opening() wants");
	check((told_flags & (O_ACCMODE | O_APPEND)) == (O_WRONLY | O_APPEND),
		  "opened() is told the caller's");
	check(read(fd, &c, 1) == 1 && c == 'a', "which can do what it could not");
	close(fd);
}

static void
check_stream(void)
{
	const char *path = in_dir("s.claim");
	char		want[] = {'o' ^ FLIP, 'n' ^ FLIP, 'e' ^ FLIP, '\n' ^ FLIP, 0};
	char		line[20];
	FILE	   *stream = fopen(path, "w");
	int			fd;

	check(stream != NULL, "a stream of a claimed file is opened");
	fd = fileno(stream);
	check(seam_file(fd) != NULL && fileno_unlocked(stream) == fd,
		  "fileno is its descriptor, which is claimed");
	seen.closing = 0;
	seen.writes = 0;
	check(fputs("one\n", stream) >= 0 && seen.writes == 0, "it has a buffer");
	check(fclose(stream) == 0 && seen.writes > 0 && seen.closing == 1,
		  "closing it writes, and closes the descriptor once");
	check(seam_file(fd) == NULL && fcntl(fd, F_GETFD) == -1, "which is gone");
	check(memcmp(raw_bytes(path) + HIDDEN, want, 4) == 0,
		  "what is on disk came through the table");

	stream = fopen64(path, "r+");
	check(stream != NULL && fgets(line, sizeof(line), stream) == line &&
		  strcmp(line, "one\n") == 0, "it is read back");
	check(fseek(stream, 1, SEEK_SET) == 0 && fgetc(stream) == 'n' &&
		  ftell(stream) == 2 && fseek(stream, 0, SEEK_END) == 0 &&
		  ftell(stream) == 4, "fseek and ftell");
	check(fputs("two", stream) >= 0 && fflush(stream) == 0 &&
		  ftruncate(fileno(stream), 5) == 0 && fseek(stream, 0, SEEK_SET) == 0 &&
		  fread(line, 1, sizeof(line), stream) == 5 &&
		  memcmp(line, "one\nt", 5) == 0 && feof(stream),
		  "a part is written behind, and some of it cut off");
	errno = 0;
	check(freopen(path, "r", stream) == NULL && errno == EOPNOTSUPP &&
		  fseek(stream, 0, SEEK_SET) == 0 && fgetc(stream) == 'o',
		  "freopen is refused, and leaves it open");
	fclose(stream);
}

static void
check_streams(void)
{
	FILE	   *streams[70];
	FILE	   *stream;
	int			n = 0;
	int			fd;

	check_stream();
	errno = 0;
	check(fopen(in_dir("missing.claim"), "r") == NULL && errno == ENOENT,
		  "a stream of what is not there: ENOENT");
	errno = 0;
	check(fopen(in_dir("s.refuse"), "w") == NULL && errno == ENOKEY,
		  "a stream of what opening() refuses: its errno");
	errno = 0;
	check(fopen(in_dir("s.claim"), "?") == NULL && errno == EINVAL,
		  "a mode that is none: EINVAL");
	errno = 0;
	check(fopen(in_dir("s.claim"), "wx") == NULL && errno == EEXIST,
		  "a stream that is to be new: EEXIST");

	stream = fopen(in_dir("s.unclaim"), "w");
	check(stream != NULL && fputs("abc", stream) >= 0 && fclose(stream) == 0 &&
		  strcmp(raw_bytes(in_dir("s.unclaim")) + HIDDEN, "abc") == 0,
		  "a stream of what opened() leaves alone is the C library's");
	stream = fopen(in_dir("plain"), "w");
	fd = stream != NULL ? fileno(stream) : -1;
	check(fd >= 0 && seam_file(fd) == NULL && fputs("abc", stream) >= 0 &&
		  fclose(stream) == 0 && strcmp(raw_bytes(in_dir("plain")), "abc") == 0,
		  "and so is every other");

	while (n < 70 && (streams[n] = fopen(in_dir("s.claim"), "r")) != NULL)
		n++;
	check(n == 64 && errno == EMFILE, "more than 64 streams at once: EMFILE");
	fd = open("/dev/null", O_RDONLY);
	close(fd);
	while (n-- > 0)
		fclose(streams[n]);
	stream = fopen(in_dir("s.claim"), "a");
	check(stream != NULL && fclose(stream) == 0, "and there is room again");
	check(seam_file(fd) == NULL, "a descriptor of the one too many is not left");
}

void
test_sizes(void)
{
	hiding = test_ops;
	hiding.opening = hiding_opening;
	hiding.opened = hiding_opened;
	hiding.lseek = hiding_lseek;
	hiding.fstat = hiding_fstat;
	hiding.ftruncate = hiding_ftruncate;
	hiding.fallocate = hiding_fallocate;
	hiding.stated = hiding_stated;
	hiding.streams = hiding_streams;
	check(seam_register(&hiding, &real) == 0 && real.fstat && real.ftruncate &&
		  real.fallocate, "a table that says sizes registers");
	check_positions();
	check_names();
	check_unclaimed();
	check_flags();
	check_streams();
}
