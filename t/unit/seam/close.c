/*
 * close.c
 *	  The ways in which a descriptor is closed or doubled, and what may come in
 *	  between: signals, fork, threads, numbers too high.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "check.h"

static int
claimed_file(void)
{
	int			fd = open(in_dir("c.claim"), O_CREAT | O_RDWR, 0600);

	seen.closing = 0;
	if (seam_file(fd) == NULL)
		check(false, "a file is claimed");
	return fd;
}

static bool
is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void
check_dup(void)
{
	int			fd = claimed_file();
	int			fd2;

	fd2 = dup(fd);
	check(seam_file(fd2) != NULL &&
		  memcmp(seam_file(fd), seam_file(fd2), sizeof(CmkSeamFile)) == 0,
		  "dup copies the claim");
	close(fd2);
	check(seen.closing == 1 && seam_file(fd) != NULL,
		  "closing the copy leaves the original claimed");

	fd2 = fcntl(fd, F_DUPFD_CLOEXEC, 60);
	check(fd2 >= 60 && seam_file(fd2) != NULL && seen.closing == 1,
		  "fcntl(F_DUPFD_CLOEXEC) copies the claim");
	close(fd2);
	fd2 = fcntl64(fd, F_DUPFD, 2000);
	check(fd2 >= 2000 && seam_file(fd2) != NULL,
		  "fcntl64(F_DUPFD) copies the claim to a high number");
	close(fd2);
	close(fd);
	check(seen.closing == 4, "closing() was called once for each");
}

static void
check_dup2(void)
{
	int			fd = claimed_file();
	int			plain = open("/dev/null", O_RDWR);
	int			fd2 = dup(plain);

	check(dup2(fd, fd2) == fd2 && seam_file(fd2) != NULL && seen.closing == 0,
		  "dup2 copies the claim");
	check(dup2(plain, fd2) == fd2 && seam_file(fd2) == NULL &&
		  seen.closing == 1 && seen.closing_fd == fd2,
		  "dup2 onto a claimed descriptor closes it, once");
	check(dup2(fd, fd) == fd && seam_file(fd) != NULL && seen.closing == 1,
		  "dup2 onto itself changes nothing");
	errno = 0;
	check(dup2(-1, fd) == -1 && errno == EBADF && seam_file(fd) != NULL &&
		  is_open(fd) && seen.closing == 1,
		  "dup2 of a bad descriptor leaves the claimed one as it was");
	check(dup3(plain, fd, 0x1) == -1 && errno == EINVAL &&
		  seam_file(fd) != NULL && is_open(fd) && seen.closing == 1,
		  "dup3 with bad flags leaves the claimed one as it was");
	check(dup3(fd, fd2, O_CLOEXEC) == fd2 && seam_file(fd2) != NULL,
		  "dup3 copies the claim");
	close(fd2);
	close(plain);
	errno = EXDEV;
	check(close(fd) == 0 && errno == EXDEV && seen.closing == 3,
		  "closing() was called once for each");
}

static void
check_streams(void)
{
	int			fd = claimed_file();
	FILE	   *stream = fopen("/dev/null", "r");
	int			number = fileno(stream);

	dup2(fd, number);
	check(seam_file(number) != NULL, "dup2 onto a stream's descriptor");
	errno = EXDEV;
	check(fclose(stream) == 0 && errno == EXDEV && seen.closing == 1 &&
		  seen.closing_fd == number && seam_file(number) == NULL,
		  "fclose ends the claim, once, and keeps errno");

	stream = fopen("/dev/null", "r");
	number = fileno(stream);
	dup2(fd, number);
	stream = freopen("/dev/zero", "r", stream);
	check(stream != NULL && seen.closing == 2 && seen.closing_fd == number &&
		  seam_file(fileno(stream)) == NULL, "freopen ends the claim, once");
	fclose(stream);
	check(seen.closing == 2, "fclose of an unclaimed stream tells nobody");
	close(fd);
}

static void
check_ranges(void)
{
	int			fd = claimed_file();
	int			low = fcntl(fd, F_DUPFD, 100);
	int			high = fcntl(fd, F_DUPFD, 3000);

	check(close_range((unsigned int) low, (unsigned int) low,
					  CLOSE_RANGE_CLOEXEC) == 0 && seam_file(low) != NULL &&
		  seen.closing == 0, "close_range(CLOEXEC) closes nothing");
	check(close_range(70, ~0U, 0) == 0 && seen.closing == 2 &&
		  seam_file(low) == NULL && seam_file(high) == NULL &&
		  !is_open(low) && !is_open(high) && seam_file(fd) != NULL,
		  "close_range ends the claims in the range alone");
	low = fcntl(fd, F_DUPFD, 100);
	closefrom(70);
	check(seen.closing == 3 && !is_open(low) && seam_file(low) == NULL &&
		  seam_file(fd) != NULL, "closefrom ends the claims from there on");
	close(fd);
}

/*
 * A descriptor closed by a way that the seam cannot see: what next gets the
 * number must not inherit the claim.
 */
static void
check_stale(void)
{
	int			plain = open("/dev/null", O_RDWR);
	int			dir = open(in_dir("."), O_RDONLY | O_DIRECTORY);
	int			fd = claimed_file();

#define CHECK_REUSE(name, call) \
	do { \
		int			again_; \
		syscall(SYS_close, fd); \
		again_ = (call); \
		check(again_ == fd && seam_file(again_) == NULL, \
			  "%s clears an old claim on the number it gets", name); \
		close(again_); \
		fd = claimed_file(); \
	} while (0)

	CHECK_REUSE("open", open("/dev/null", O_RDWR));
	CHECK_REUSE("openat", openat(dir, "c.claim", O_RDWR));
	CHECK_REUSE("dup", dup(plain));
	CHECK_REUSE("fcntl", fcntl(plain, F_DUPFD, 0));
	CHECK_REUSE("open of what opened() leaves alone",
				open(in_dir("s.unclaim"), O_CREAT | O_RDWR, 0600));
	close(fd);
	check(seen.closing == 1, "closing() was called for the last alone");
	close(plain);
	close(dir);
}

void
test_close(void)
{
	check_dup();
	check_dup2();
	check_streams();
	check_ranges();
	check_stale();
}

void
test_refused(void)
{
	int			fd = claimed_file();
	int			plain = open(in_dir("plain"), O_CREAT | O_RDWR, 0600);
	off_t		off = 0;

	if (write(fd, "abc", 3) != 3 || write(plain, "abc", 3) != 3)
		check(false, "the files are written");

	errno = 0;
	check(fdopen(fd, "r") == NULL && errno == EOPNOTSUPP,
		  "no stream is made of a claimed descriptor");
	check(sendfile(plain, fd, &off, 3) == -1 && errno == EINVAL,
		  "sendfile from a claimed descriptor is refused");
	errno = 0;
	check(sendfile64(fd, plain, &off, 3) == -1 && errno == EINVAL,
		  "sendfile64 to a claimed descriptor is refused");
	check(copy_file_range(fd, &off, plain, NULL, 3, 0) == -1 &&
		  errno == EOPNOTSUPP, "copy_file_range from it is refused");
	errno = 0;
	check(copy_file_range(plain, &off, fd, NULL, 3, 0) == -1 &&
		  errno == EOPNOTSUPP, "copy_file_range to it is refused");
	check(is_open(fd) && seam_file(fd) != NULL, "it stays open and claimed");
	close(fd);
	close(plain);
}

static int	handler_pipe[2];
static volatile sig_atomic_t handled = 0;

/* As the server's handlers do: a byte into a pipe, and errno is kept. */
static void
handler(int signo)
{
	int			save_errno = errno;
	int			fd = dup(handler_pipe[1]);

	if (write(fd, "x", 1) == 1 && close(fd) == 0)
		handled++;
	errno = save_errno;
}

void
test_signal(void)
{
	struct sigaction action;
	char		buf[64];
	int			before;
	int			fd;

	if (pipe(handler_pipe) != 0)
		check(false, "pipe");
	memset(&action, 0, sizeof(action));
	action.sa_handler = handler;
	sigaction(SIGUSR1, &action, NULL);
	raise_in_ops = SIGUSR1;

	fd = open(in_dir("s.claim"), O_CREAT | O_RDWR, 0600);
	check(fd >= 0 && handled == 2, "a handler writes during open");
	errno = EXDEV;
	check(pwrite(fd, "abcdef", 6, 0) == 6 && handled == 3,
		  "a handler writes during pwrite");
	check(pread(fd, buf, 6, 0) == 6 && memcmp(buf, "abcdef", 6) == 0 &&
		  handled == 4, "a handler writes during pread");
	before = handled;
	check(close(fd) == 0 && handled == before + 1,
		  "a handler writes during close");
	check(unlink(in_dir("s.claim")) == 0 && handled == before + 2,
		  "a handler writes during unlink");
	check(read(handler_pipe[0], buf, sizeof(buf)) == handled,
		  "the pipe holds a byte for each");
	raise_in_ops = 0;
}

void
test_fork(void)
{
	int			fd = claimed_file();
	int			status = -1;
	char		buf[4] = "";
	pid_t		child;

	if (pwrite(fd, "abc", 3, 0) != 3)
		check(false, "pwrite");
	fflush(stdout);
	child = fork();
	if (child == 0)
	{
		bool		good = seam_file(fd) != NULL &&
			pread(fd, buf, 3, 0) == 3 && strcmp(buf, "abc") == 0;
		int			fd2 = open(in_dir("child.claim"), O_CREAT | O_RDWR, 0600);

		good = good && seam_file(fd2) != NULL && close(fd) == 0 &&
			seen.closing == 1 && seam_file(fd) == NULL;
		_exit(good ? 0 : 1);
	}
	waitpid(child, &status, 0);
	check(WIFEXITED(status) && WEXITSTATUS(status) == 0,
		  "a child inherits the claim, and gives it up for itself");
	check(seam_file(fd) != NULL && seen.closing == 0 &&
		  pread(fd, buf, 3, 0) == 3 && strcmp(buf, "abc") == 0,
		  "the parent's claim stays");
	check(seam_file(fd + 1) == NULL, "what the child claims is its own");
	close(fd);
}

static volatile bool thread_stops = false;

static void *
thread_main(void *arg)
{
	long		rounds = 0;

	while (!thread_stops || rounds == 0)
	{
		int			pair[2];

		if (pipe(pair) == 0)
		{
			rounds += write(pair[1], "x", 1);
			close(pair[0]);
			close(pair[1]);
		}
		close(-1);
	}
	*(long *) arg = rounds;
	return NULL;
}

void
test_thread(void)
{
	pthread_t	thread;
	long		rounds = 0;
	bool		good = true;
	char		buf[4];
	int			i;

	if (pthread_create(&thread, NULL, thread_main, &rounds) != 0)
	{
		check(false, "pthread_create");
		return;
	}
	for (i = 0; i < 2000 && good; i++)
	{
		int			fd = open(in_dir("t.claim"), O_CREAT | O_RDWR, 0600);

		good = seam_file(fd) != NULL && pwrite(fd, "abc", 3, 0) == 3 &&
			pread(fd, buf, 3, 0) == 3 && memcmp(buf, "abc", 3) == 0 &&
			close(fd) == 0;
	}
	thread_stops = true;
	pthread_join(thread, NULL);
	check(good && rounds > 0,
		  "a library's thread uses descriptors of its own meanwhile");
}

/*
 * Built with a CMK_SEAM_MAX_FD of 1024; that many descriptors are soon open.
 */
void
test_limit(void)
{
	struct rlimit limit;
	int			plain = open("/dev/null", O_RDWR);
	int			fd = claimed_file();
	int			last = plain;
	int			fd2;

	check(getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
		  limit.rlim_max > CMK_SEAM_MAX_FD + 64, "enough descriptors allowed");
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);

	errno = 0;
	check(fcntl(fd, F_DUPFD, CMK_SEAM_MAX_FD) == -1 && errno == EMFILE &&
		  !is_open(CMK_SEAM_MAX_FD),
		  "a claimed descriptor is not doubled beyond the limit: EMFILE");
	errno = 0;
	check(dup2(fd, CMK_SEAM_MAX_FD + 3) == -1 && errno == EMFILE &&
		  !is_open(CMK_SEAM_MAX_FD + 3), "nor by dup2");
	check(dup2(plain, CMK_SEAM_MAX_FD + 3) == CMK_SEAM_MAX_FD + 3,
		  "an unclaimed one is");

	while (last >= 0 && last < CMK_SEAM_MAX_FD - 1)
		last = dup(plain);
	check(last == CMK_SEAM_MAX_FD - 1, "all numbers below the limit are used");
	errno = 0;
	check(open(in_dir("old.claim"), O_CREAT | O_RDWR, 0600) == -1 &&
		  errno == EMFILE && !is_open(CMK_SEAM_MAX_FD),
		  "open beyond the limit: EMFILE, and nothing stays open");
	errno = 0;
	check(open(in_dir("new.claim"), O_CREAT | O_EXCL | O_RDWR, 0600) == -1 &&
		  errno == EMFILE && access(in_dir("new.claim"), F_OK) != 0,
		  "what O_EXCL made is removed");
	fd2 = open(in_dir("plain"), O_CREAT | O_RDWR, 0600);
	check(fd2 == CMK_SEAM_MAX_FD && write(fd2, "abc", 3) == 3 &&
		  close(fd2) == 0, "an unclaimed file opens beyond the limit");
	close(last);
	fd2 = open(in_dir("last.claim"), O_CREAT | O_RDWR, 0600);
	check(fd2 == CMK_SEAM_MAX_FD - 1 && seam_file(fd2) != NULL,
		  "the last number below the limit is claimed");
}
