/*
 * filemode.c
 *	  Who may read the files that hold wrapped keys.  See filemode.h.
 */
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "filemode.h"

mode_t
cmk_file_mode(const char *path)
{
	char		copy[PATH_MAX];
	struct stat st;

	snprintf(copy, sizeof(copy), "%s", path);
	return stat(dirname(copy), &st) == 0 && (st.st_mode & S_IRGRP) != 0 ? 0640 : 0600;
}
