/*
 * test_secret.c
 *	  The protected memory: guards, dumps, locks, sharing and wiping.
 *
 * What ends a process or changes its limits is done in a forked child.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/seal/secret.h"
#include "unit.h"

#define PAGES(n)	((size_t) (n) * (size_t) sysconf(_SC_PAGESIZE))

/* Runs fn in a child and returns how the child ended, or -1. */
static int
in_child(int (*fn) (void *), void *arg)
{
	int			status = -1;
	pid_t		pid = fork();

	if (pid == 0)
		_exit(fn(arg));
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return status;
}

/* The flags of the mapping that holds addr, from /proc/self/smaps. */
static void
vm_flags(const void *addr, char *flags, size_t size)
{
	FILE	   *f = fopen("/proc/self/smaps", "r");
	char		line[4096];
	bool		here = false;

	flags[0] = '\0';
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
	{
		unsigned long from;
		unsigned long to;

		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = (unsigned long) addr >= from && (unsigned long) addr < to;
		else if (here && strncmp(line, "VmFlags:", 8) == 0)
			snprintf(flags, size, "%s", line + 8);
	}
	if (f != NULL)
		fclose(f);
}

static size_t
resident_pages(const CmkSecretRegion *r)
{
	size_t		n = r->size / PAGES(1);
	unsigned char *vec = malloc(n);
	size_t		count = 0;
	size_t		i;

	if (vec == NULL || mincore(r->base, r->size, vec) < 0)
		abort();
	for (i = 0; i < n; i++)
		count += vec[i] & 1;
	free(vec);
	return count;
}

static int
touch(void *arg)
{
	/* the sanitizer would report it and go on to exit in its own way */
	signal(SIGSEGV, SIG_DFL);
	*(volatile char *) arg = 1;
	return 0;
}

static void
guard_pages_stand_on_both_sides(void)
{
	CmkSecretRegion r;
	CmkError	err;
	char	   *base;
	int			status;

	CHECK_INT(cmk_secret_create(&r, PAGES(3) - 5, 0, &err), 0);
	base = r.base;
	CHECK_INT(r.size, PAGES(3));
	CHECK_INT((uintptr_t) base % PAGES(1), 0);
	CHECK_INT(in_child(touch, base), 0);
	CHECK_INT(in_child(touch, base + r.size - 1), 0);
	status = in_child(touch, base - 1);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	status = in_child(touch, base + r.size);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	cmk_secret_destroy(&r);
	CHECK(r.base == NULL);
}

static void
out_of_core_dumps_and_locked(void)
{
	CmkSecretRegion r;
	CmkError	err;
	char		flags[256];
	char	   *base;

	CHECK_INT(cmk_secret_create(&r, PAGES(8), PAGES(2), &err), 0);
	base = r.base;
	CHECK_INT(r.locked, PAGES(2));
	vm_flags(base, flags, sizeof(flags));
	CHECK_HAS(flags, " dd");
	CHECK_HAS(flags, " lo");
	CHECK_HAS(flags, " sh");
	vm_flags(base + PAGES(2) - 1, flags, sizeof(flags));
	CHECK_HAS(flags, " lo");
	vm_flags(base + PAGES(2), flags, sizeof(flags));
	CHECK_HAS(flags, " dd");
	CHECK(strstr(flags, " lo") == NULL);
	vm_flags(base + PAGES(8) - 1, flags, sizeof(flags));
	CHECK_HAS(flags, " dd");
	cmk_secret_destroy(&r);

	/* more cannot be locked than there is */
	CHECK_INT(cmk_secret_create(&r, PAGES(2), PAGES(9), &err), 0);
	CHECK_INT(r.locked, PAGES(2));
	cmk_secret_destroy(&r);
}

static void
only_what_is_touched_costs(void)
{
	CmkSecretRegion r;
	CmkError	err;
	char	   *base;

	CHECK_INT(cmk_secret_create(&r, PAGES(65536), PAGES(64), &err), 0);
	base = r.base;
	CHECK_INT(resident_pages(&r), 0);
	CHECK_INT(base[0], 0);
	base[PAGES(1000)] = 1;
	base[PAGES(65535)] = 1;
	CHECK_INT(resident_pages(&r), 3);
	cmk_secret_wipe(&r);
	CHECK_INT(base[PAGES(1000)], 0);
	cmk_secret_destroy(&r);
}

static int
lock_under_a_limit(void *arg)
{
	size_t		allowed = PAGES(*(int *) arg);
	struct rlimit limit = {allowed, allowed};
	CmkSecretRegion r;
	CmkError	err;
	char		flags[256];

	/* root may lock without limit */
	if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0)
		return 2;
	if (geteuid() == 0 && setuid(65534) != 0)
		return 3;
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);	/* for /proc/self/smaps */

	if (cmk_secret_create(&r, PAGES(100), PAGES(50), &err) != 0)
		return 4;
	if (r.locked != allowed || resident_pages(&r) != 0)
		return 5;
	vm_flags(r.base, flags, sizeof(flags));
	if ((strstr(flags, " lo") != NULL) != (allowed > 0))
		return 6;
	vm_flags((char *) r.base + allowed, flags, sizeof(flags));
	if (strstr(flags, " lo") != NULL || strstr(flags, " dd") == NULL)
		return 7;
	return 0;
}

static void
locks_what_the_limit_allows(void)
{
	static const int limits[] = {0, 1, 2, 7, 31, 49};
	size_t		i;

	for (i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
	{
		int			pages = limits[i];

		CHECK_INT(in_child(lock_under_a_limit, &pages), 0);
	}
}

static int
lock_in_the_child(void *arg)
{
	const CmkSecretRegion *r = arg;
	char		flags[256];

	vm_flags(r->base, flags, sizeof(flags));
	if (strstr(flags, " lo") != NULL)
		return 1;				/* locks are not inherited */
	errno = 77;
	cmk_secret_lock(r);
	if (errno != 77)
		return 2;
	vm_flags(r->base, flags, sizeof(flags));
	return strstr(flags, " lo") != NULL ? 0 : 3;
}

static void
a_child_can_lock_for_itself(void)
{
	CmkSecretRegion r;
	CmkError	err;

	CHECK_INT(cmk_secret_create(&r, PAGES(8), PAGES(2), &err), 0);
	CHECK_INT(r.locked, PAGES(2));
	CHECK_INT(in_child(lock_in_the_child, &r), 0);
	cmk_secret_destroy(&r);
}

static int
write_and_try_to_wipe(void *arg)
{
	CmkSecretRegion *r = arg;

	((char *) r->base)[PAGES(1)] = 'c';
	cmk_secret_wipe(r);
	cmk_secret_destroy(r);
	/* neither did anything: the mapping is still there and filled */
	return r->base != NULL && ((char *) r->base)[0] == 'p' ? 0 : 1;
}

static void
shared_over_fork_and_wiped_by_its_creator_alone(void)
{
	CmkSecretRegion r;
	CmkError	err;
	char	   *base;

	CHECK_INT(cmk_secret_create(&r, PAGES(4), PAGES(1), &err), 0);
	base = r.base;
	CHECK_INT(r.creator, getpid());
	base[0] = 'p';
	CHECK_INT(in_child(write_and_try_to_wipe, &r), 0);
	CHECK_INT(base[0], 'p');
	CHECK_INT(base[PAGES(1)], 'c');
	cmk_secret_destroy(&r);
}

typedef struct Reader
{
	const char *base;
	int			ready[2];		/* pipes: the child has seen the keys, */
	int			wiped[2];		/* and it may look again */
} Reader;

static int
read_before_and_after(void *arg)
{
	Reader	   *reader = arg;
	volatile const char *base = reader->base;
	char		c = base[0] & base[PAGES(1)] & base[PAGES(699)];

	if (c != 'k' || write(reader->ready[1], &c, 1) != 1)
		return 1;
	/* ends as well if the parent does */
	close(reader->wiped[1]);
	if (read(reader->wiped[0], &c, 1) != 1)
		return 2;
	c = base[0] | base[PAGES(1)] | base[PAGES(699)];
	return c == 0 ? 0 : 3;
}

static void
a_wipe_zeroes_for_everyone(void)
{
	CmkSecretRegion r;
	CmkError	err;
	volatile char *base;
	Reader		reader;
	char		flags[256];
	char		c;
	size_t		i;
	int			status;
	pid_t		pid;

	/* more pages than are looked at in one go */
	CHECK_INT(cmk_secret_create(&r, PAGES(700), PAGES(4), &err), 0);
	base = r.base;
	memset(r.base, 'k', r.size);
	reader.base = r.base;
	CHECK(pipe(reader.ready) == 0 && pipe(reader.wiped) == 0);
	pid = fork();
	if (pid == 0)
		_exit(read_before_and_after(&reader));
	close(reader.ready[1]);
	CHECK_INT(read(reader.ready[0], &c, 1), 1);

	errno = 77;
	cmk_secret_wipe(&r);
	CHECK_INT(errno, 77);
#if !UNIT_ASAN
	/* the sanitizer makes munlock() do nothing, and locked pages stay */
	CHECK_INT(resident_pages(&r), 0);
#endif
	for (i = 0; i < r.size; i++)
	{
		if (base[i] != 0)
			break;
	}
	CHECK_INT(i, r.size);

	CHECK_INT(write(reader.wiped[1], "", 1), 1);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK_INT(status, 0);
	close(reader.ready[0]);
	close(reader.wiped[0]);
	close(reader.wiped[1]);

	/* and it can be used again, locked as before */
	vm_flags(r.base, flags, sizeof(flags));
	CHECK_HAS(flags, " lo");
	CHECK_HAS(flags, " dd");
	base[0] = 'n';
	CHECK_INT(base[0], 'n');
	cmk_secret_destroy(&r);
	cmk_secret_wipe(&r);		/* of nothing */
}

static void
too_much_is_an_error(void)
{
	CmkSecretRegion r;
	CmkError	err;

	CHECK_INT(cmk_secret_create(&r, (size_t) 1 << 60, 0, &err), -1);
	CHECK_INT(err.code, CMK_ERR_NO_MEMORY);
	CHECK_INT(err.saved_errno, ENOMEM);
	CHECK_HAS(err.message, "could not map 1152921504606846976 bytes");
}

static char dump_dir[] = "/tmp/cmk_unit_core.XXXXXX";

static int
limit_and_abort(void *arg)
{
	struct rlimit big = {RLIM_INFINITY, RLIM_INFINITY};
	struct rlimit now;
	bool		limited = *(bool *) arg;
	CmkError	err;

	if (chdir(dump_dir) != 0)
		return 1;
	/* the most that is allowed here */
	if (setrlimit(RLIMIT_CORE, &big) != 0)
	{
		if (getrlimit(RLIMIT_CORE, &now) != 0)
			return 2;
		now.rlim_cur = now.rlim_max;
		setrlimit(RLIMIT_CORE, &now);
	}
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	if (limited && cmk_secret_no_core(&err) != 0)
		return 3;
	signal(SIGABRT, SIG_DFL);
	abort();
}

static int
count_dumps(void)
{
	DIR		   *dir = opendir(dump_dir);
	struct dirent *de;
	int			n = 0;

	while (dir != NULL && (de = readdir(dir)) != NULL)
	{
		char		path[sizeof(dump_dir) + sizeof(de->d_name) + 1];

		if (de->d_name[0] == '.')
			continue;
		n++;
		snprintf(path, sizeof(path), "%s/%s", dump_dir, de->d_name);
		unlink(path);
	}
	if (dir != NULL)
		closedir(dir);
	return n;
}

static void
no_core_leaves_no_core(void)
{
	bool		limited = true;
	int			status;

	CHECK(mkdtemp(dump_dir) != NULL);
	status = in_child(limit_and_abort, &limited);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	CHECK(!WCOREDUMP(status));
	CHECK_INT(count_dumps(), 0);

#if !UNIT_ASAN
	/*
	 * That a dump would have been written else can be shown only where dumps
	 * are allowed at all; the sanitizer's address space is not worth dumping.
	 */
	limited = false;
	status = in_child(limit_and_abort, &limited);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	if (WCOREDUMP(status))
		printf("# without it, a core dump is written here\n");
	else
		printf("# core dumps are impossible here anyway\n");
	count_dumps();
#endif
	rmdir(dump_dir);
}

static int
limits_after_no_core(void *arg)
{
	struct rlimit limit;
	bool		can_be_one;
	CmkError	err;

	(void) arg;
	/* an ordinary user cannot raise a hard limit of 0; see the next test */
	if (getrlimit(RLIMIT_CORE, &limit) != 0)
		return 1;
	can_be_one = limit.rlim_max > 0 || geteuid() == 0;

	if (cmk_secret_no_core(&err) != 0 || cmk_secret_no_core(&err) != 0)
		return 2;
	if (getrlimit(RLIMIT_CORE, &limit) != 0)
		return 3;
	if (can_be_one)
		return limit.rlim_cur == 1 && limit.rlim_max == 1 ? 0 : 4;
	return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : 5;
}

static int
no_core_from_a_hard_limit_of_zero(void *arg)
{
	struct rlimit zero = {0, 0};
	CmkError	err;

	(void) arg;
	if (setrlimit(RLIMIT_CORE, &zero) != 0)
		return 1;
	if (geteuid() == 0 && setuid(65534) != 0)
		return 2;
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 1)
		return 3;
	if (cmk_secret_no_core(&err) != 0)
		return 4;
	return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : 5;
}

static void
no_core_sets_the_limit_or_makes_undumpable(void)
{
	CHECK_INT(in_child(limits_after_no_core, NULL), 0);
	CHECK_INT(in_child(no_core_from_a_hard_limit_of_zero, NULL), 0);
}

int
main(void)
{
	RUN(guard_pages_stand_on_both_sides);
	RUN(out_of_core_dumps_and_locked);
	RUN(only_what_is_touched_costs);
	RUN(locks_what_the_limit_allows);
	RUN(a_child_can_lock_for_itself);
	RUN(shared_over_fork_and_wiped_by_its_creator_alone);
	RUN(a_wipe_zeroes_for_everyone);
	RUN(too_much_is_an_error);
	RUN(no_core_leaves_no_core);
	RUN(no_core_sets_the_limit_or_makes_undumpable);
	return unit_done();
}
