/*
 * libc.c
 *	  Finds the calls that the seam stands in front of.
 *
 * dlsym(RTLD_NEXT) gives the next definition in the loader's search order,
 * which is the C library's, or that of a library preloaded beside the seam
 * (libeatmydata, say): the seam is one link of the chain, not its end.
 *
 * All names are looked up at once.  A look-up on first use of each would leave
 * some to be made in a signal handler, and dlsym takes the loader's lock there.
 * glibc's dlsym allocates nothing when it finds the name, so that an allocator
 * which opens files while it starts does not come back here in a circle.
 */
#include "libc.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>

CmkLibc		cmk_libc_table;
bool		cmk_libc_ready = false;

/* Says so without the calls of the table, which are what is missing. */
static void
die_without(const char *name)
{
	static const char head[] = "pg_cmk_seam: the C library has no function ";

	(void) syscall(SYS_write, STDERR_FILENO, head, sizeof(head) - 1);
	(void) syscall(SYS_write, STDERR_FILENO, name, strlen(name));
	(void) syscall(SYS_write, STDERR_FILENO, "\n", 1);
	abort();
}

/*
 * Two threads may do this at once: both write the same values, and neither
 * says that the table is ready before it is.
 */
void
cmk_libc_resolve(void)
{
	int			save_errno = errno;

	/* POSIX's way to assign what dlsym returns to a pointer to a function. */
#define CMK_LIBC_MAYBE(result, name, arguments) \
	*(void **) &cmk_libc_table.name = dlsym(RTLD_NEXT, #name);
#define CMK_LIBC_CALL(result, name, arguments) \
	CMK_LIBC_MAYBE(result, name, arguments) \
	if (cmk_libc_table.name == NULL) \
		die_without(#name);

	CMK_LIBC_CALLS(CMK_LIBC_CALL, CMK_LIBC_MAYBE)

#undef CMK_LIBC_CALL
#undef CMK_LIBC_MAYBE

	__atomic_store_n(&cmk_libc_ready, true, __ATOMIC_RELEASE);
	errno = save_errno;
}
