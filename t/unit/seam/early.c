/*
 * early.c
 *	  A library whose constructor uses files before the seam's has run.
 *
 * Preloaded behind the seam, it is initialised first.  The test reads what it
 * found: whether the calls worked, and that it really was early, which it knows
 * from a variable that the seam's constructor removes.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../../src/seam/seam.h"

int			early_was_early = 0;
int			early_worked = 0;

__attribute__((constructor))
static void
early_starts(void)
{
	char		byte = 'x';
	int			fd;

	early_was_early = getenv(CMK_SEAM_ENV_OLD) != NULL ||
		getenv(CMK_SEAM_ENV_HAD_NONE) != NULL;

	fd = open("/dev/zero", O_RDONLY);
	early_worked = fd >= 0 && read(fd, &byte, 1) == 1 && byte == 0 &&
		close(fd) == 0 && close(fd) == -1;
}
