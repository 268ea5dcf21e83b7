/*
 * secret.c
 *	  The mapping that holds keys.  See secret.h.
 *
 * Why an anonymous shared mapping: the postmaster's children must see a key
 * that one of them brought, which a private mapping cannot show them, and the
 * mapping must have no name, which rules out shm_open() and the server's own
 * shared memory (that one is also dumped, and rebuilt by a crash restart).  The
 * price is that such memory is swapped and dumped like any other unless it is
 * told not to be.
 *
 * Wiping has two steps because either alone leaves something.  Giving the pages
 * back (MADV_REMOVE) makes them vanish for all processes, but the kernel clears
 * them only when it hands them out again.  Writing zeros clears them, but on a
 * region sized for a million keys it would first bring in every page that was
 * never used; so mincore() is asked which pages are there.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "kdf.h"
#include "secret.h"

/* Pages that one call of mincore() looks at: the array is on the stack. */
#define WIPE_PAGES		256

static size_t
page_size(void)
{
	return (size_t) sysconf(_SC_PAGESIZE);
}

static size_t
round_up(size_t size)
{
	size_t		page = page_size();

	return (size + page - 1) / page * page;
}

/*
 * Locks as much of the region's first want bytes as the kernel accepts, and
 * returns how much that is.  The limit counts what the process has locked
 * elsewhere too, so it is found by trying.
 */
static size_t
lock_prefix(void *base, size_t want)
{
	size_t		page = page_size();
	size_t		good = 0;
	size_t		bad = want / page + 1;

	if (want == 0 || mlock2(base, want, MLOCK_ONFAULT) == 0)
		return want;

	while (bad - good > 1)
	{
		size_t		middle = good + (bad - good) / 2;

		if (mlock2(base, middle * page, MLOCK_ONFAULT) == 0)
			good = middle;
		else
			bad = middle;
	}
	return good * page;
}

int
cmk_secret_create(CmkSecretRegion *region, size_t size, size_t want_locked,
				  CmkError *err)
{
	size_t		page = page_size();
	size_t		usable = round_up(size);
	char	   *whole;

	/* all of it is a guard at first, then the middle is opened */
	whole = mmap(NULL, usable + 2 * page, PROT_NONE,
				 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (whole == MAP_FAILED)
		return cmk_fail(err, CMK_ERR_NO_MEMORY,
						"could not map %zu bytes of memory for keys: %s",
						usable, strerror(errno));

	if (madvise(whole, usable + 2 * page, MADV_DONTDUMP) < 0 ||
		mprotect(whole + page, usable, PROT_READ | PROT_WRITE) < 0)
	{
		cmk_fail(err, CMK_ERR_NO_MEMORY,
				 "could not protect the memory for keys: %s",
				 strerror(errno));
		munmap(whole, usable + 2 * page);
		return -1;
	}

	/* one key should not cost two megabytes */
	(void) madvise(whole + page, usable, MADV_NOHUGEPAGE);

	region->base = whole + page;
	region->size = usable;
	region->creator = (int) getpid();
	want_locked = round_up(want_locked);
	region->locked = lock_prefix(region->base,
								 want_locked < usable ? want_locked : usable);
	return 0;
}

void
cmk_secret_lock(const CmkSecretRegion *region)
{
	int			save_errno = errno;

	(void) lock_prefix(region->base, region->locked);
	errno = save_errno;
}

/* Zeroes those pages of the region that are in memory. */
static void
zero_resident(char *base, size_t size, size_t page)
{
	unsigned char resident[WIPE_PAGES];
	size_t		chunk;
	size_t		done;
	size_t		i;

	for (done = 0; done < size; done += chunk)
	{
		chunk = size - done;
		if (chunk > WIPE_PAGES * page)
			chunk = WIPE_PAGES * page;

		/* if it cannot be told, they count as touched */
		if (mincore(base + done, chunk, resident) < 0)
			memset(resident, 1, sizeof(resident));
		for (i = 0; i < chunk / page; i++)
		{
			if (resident[i] & 1)
				cmk_cleanse(base + done + i * page, page);
		}
	}
}

void
cmk_secret_wipe(const CmkSecretRegion *region)
{
	int			save_errno = errno;

	if (region->base == NULL || region->creator != (int) getpid())
		return;

	zero_resident(region->base, region->size, page_size());

	/*
	 * Locked memory cannot be given back.  A page that was swapped out is freed
	 * here with its place in swap.  The region can be used again afterwards,
	 * and is then locked as before.
	 */
	if (region->locked > 0)
		(void) munlock(region->base, region->locked);
	(void) madvise(region->base, region->size, MADV_REMOVE);
	cmk_secret_lock(region);

	errno = save_errno;
}

void
cmk_secret_destroy(CmkSecretRegion *region)
{
	size_t		page = page_size();

	if (region->base == NULL || region->creator != (int) getpid())
		return;
	cmk_secret_wipe(region);
	munmap((char *) region->base - page, region->size + 2 * page);
	memset(region, 0, sizeof(*region));
}

int
cmk_secret_no_core(CmkError *err)
{
	struct rlimit limit = {1, 1};

	if (setrlimit(RLIMIT_CORE, &limit) == 0)
		return 0;

	/*
	 * A hard limit of 0 cannot be raised to 1, and does not stop the kernel
	 * from piping a dump to the program in core_pattern.  A process that is not
	 * dumpable leaves none at all; it also hides its /proc entries from others
	 * of its user, which is why this is not the first choice.
	 */
	if (errno == EPERM && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
		return 0;

	return cmk_fail(err, CMK_ERR_PERMISSION,
					"could not switch off core dumps: %s", strerror(errno));
}
