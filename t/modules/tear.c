/*
 * tear.c
 *	  A library that tears writes, for t/SealTest.pm: preloaded behind the seam, it
 *	  sees what goes to the disk.
 *
 * The file that TEAR_CONTROL names holds four numbers of 32 bits, shared with the
 * test: what to tear (0 nothing; 1 the write of a sealed page over a plain one; 3 that
 * over one of another generation; 2 any other write of a page over one that differs),
 * how many of these to let pass
 * before, how many sectors of 512 bytes to write, and, set by us, whether it was
 * done.  The process that wrote is then killed, as by a loss of power.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE	8192
#define SECTOR	512

typedef struct Control
{
	uint32_t	what;
	uint32_t	pass;
	uint32_t	sectors;
	uint32_t	done;
} Control;

static volatile Control *control;
static ssize_t (*real_pwrite) (int, const void *, size_t, off_t);
static ssize_t (*real_pread) (int, void *, size_t, off_t);

static void __attribute__((constructor))
start(void)
{
	const char *path = getenv("TEAR_CONTROL");
	int			fd = path ? open(path, O_RDWR) : -1;
	void	   *p;

	real_pwrite = (ssize_t (*) (int, const void *, size_t, off_t)) dlsym(RTLD_NEXT, "pwrite");
	real_pread = (ssize_t (*) (int, void *, size_t, off_t)) dlsym(RTLD_NEXT, "pread");
	if (fd < 0)
		return;
	p = mmap(NULL, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p != MAP_FAILED)
		control = p;
}

static int
is_sealed(const unsigned char *page)
{
	return page[11] & 0x80;
}

/* In bits 11-14 of pd_flags. */
static int
generation(const unsigned char *page)
{
	return page[11] >> 3 & 15;
}

/* Is it what is to be torn?  A page that was all zero says nothing. */
static int
matches(int fd, const unsigned char *new, size_t n, off_t off)
{
	static const unsigned char zeros[16];
	unsigned char old[PAGE];
	char		link[64];
	char		path[4096];
	ssize_t		len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (n != PAGE || off % PAGE != 0 || len < 0)
		return 0;
	path[len] = '\0';
	if (strstr(path, "/base/") == NULL && strstr(path, "/global/") == NULL)
		return 0;
	if (real_pread(fd, old, PAGE, off) != PAGE || memcmp(old, zeros, 16) == 0)
		return 0;
	if (is_sealed(new) && !is_sealed(old))
		return control->what == 1;
	if (is_sealed(new) && generation(old) != generation(new))
		return control->what == 3;
	return control->what == 2 && memcmp(old, new, PAGE) != 0;
}

ssize_t
pwrite(int fd, const void *buf, size_t n, off_t off)
{
	if (control != NULL && control->what != 0 && matches(fd, buf, n, off))
	{
		if (control->pass > 0)
			control->pass--;
		else
		{
			control->what = 0;
			real_pwrite(fd, buf, control->sectors * SECTOR, off);
			control->done = 1;
			kill(getpid(), SIGKILL);
		}
	}
	return real_pwrite(fd, buf, n, off);
}

ssize_t		pwrite64(int fd, const void *buf, size_t n, off_t off)
			__attribute__((alias("pwrite")));
