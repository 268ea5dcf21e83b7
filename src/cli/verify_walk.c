/*
 * verify_walk.c
 *	  pg_cmk verify: which files there are.  See verify.h.
 *
 * All of them, whatever their names, so that nothing can be overlooked; but of symbolic
 * links only those are followed that are part of a data directory: pg_wal, the
 * tablespaces, and the directories that an operator moves elsewhere (the log,
 * pg_stat_tmp).  Of a tablespace only the directory of this server version is read;
 * others belong to other clusters.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../keyring/textfile.h"
#include "verify.h"

#define MAX_DEPTH	40

static void walk(CmkVerify *v, const char *dir, int depth, bool reads);

/* pg_tblspc/N, and nothing behind. */
static bool
is_tablespace(const char *path)
{
	size_t		len = strlen("pg_tblspc/");

	return strncmp(path, "pg_tblspc/", len) == 0 && path[len] != '\0' &&
		strspn(path + len, "0123456789") == strlen(path + len);
}

static bool
is_to_be_followed(const CmkVerify *v, const char *path)
{
	return is_tablespace(path) || strcmp(path, "pg_wal") == 0 || strcmp(path, "pg_stat_tmp") == 0 ||
		(v->log_dir[0] != '\0' && strcmp(path, v->log_dir) == 0);
}

static void
unreadable(CmkVerify *v, const char *path, const char *why, bool reads)
{
	if (reads && !(v->running && errno == ENOENT))
		cmk_verify_find(v, path, CMK_VERIFY_NO_BLOCK, true, "could not be read: %s", why);
}

/*
 * A link to a file that is in clear anyway says nothing of the data: configuration
 * and certificates often are elsewhere.
 */
static void
visit_link(CmkVerify *v, const char *path, int depth, bool reads)
{
	struct stat st;
	CmkFileName name;
	char		deeper[PATH_MAX];
	int			kind;

	if (is_to_be_followed(v, path))
	{
		if (stat(path, &st) < 0)
			unreadable(v, path, strerror(errno), reads);
		else if (!S_ISDIR(st.st_mode))
			unreadable(v, path, strerror(ENOTDIR), reads);
		else if (!is_tablespace(path))
			walk(v, path, depth, reads);
		else
		{
			snprintf(deeper, sizeof(deeper), "%.200s/%.60s", path, v->version_dir);
			if (lstat(deeper, &st) == 0)
				walk(v, deeper, depth, reads);
			else if (reads)		/* an empty mount point? */
				cmk_verify_find(v, path, CMK_VERIFY_NO_BLOCK, true,
								"the tablespace has no directory \"%s\"; its files were not read",
								v->version_dir);
		}
		return;
	}
	kind = cmk_verify_kind(path, &name);
	if (!reads)
		return;
	v->counts[kind].files++;
	if (cmk_verify_kinds[kind].how != CMK_VERIFY_CLEAR)
		cmk_verify_find(v, path, CMK_VERIFY_NO_BLOCK, true,
						"is a symbolic link, which is not followed; what it leads to was not read");
}

static void
visit(CmkVerify *v, const char *path, int depth, bool reads)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		unreadable(v, path, strerror(errno), reads);
	else if (S_ISLNK(st.st_mode))
		visit_link(v, path, depth, reads);
	else if (S_ISDIR(st.st_mode))
		walk(v, path, depth, reads);
	else if (S_ISREG(st.st_mode) && !reads)
		v->total += (uint64_t) st.st_size;
	else if (S_ISREG(st.st_mode))
		cmk_verify_file(v, path);
	else if (reads && !S_ISSOCK(st.st_mode))
		cmk_verify_find(v, path, CMK_VERIFY_NO_BLOCK, true, "is neither a file nor a directory");
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

/* The names in a directory but "." and ".."; how many, or -1 with errno. */
static ssize_t
read_names(const char *dir, char ***names)
{
	DIR		   *d = opendir(dir[0] != '\0' ? dir : ".");
	struct dirent *de;
	size_t		n = 0;
	size_t		room = 0;
	int			failed = 0;

	*names = NULL;
	if (d == NULL)
		return -1;
	while (errno = 0, failed == 0 && (de = readdir(d)) != NULL)
	{
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		if (n == room)
		{
			char	  **more = realloc(*names, (2 * room + 64) * sizeof(char *));

			if (more != NULL)
			{
				*names = more;
				room = 2 * room + 64;
			}
		}
		if (n == room || ((*names)[n] = strdup(de->d_name)) == NULL)
			failed = ENOMEM;
		else
			n++;
	}
	if (failed == 0)
		failed = errno;
	closedir(d);
	if (n > 0)
		qsort(*names, n, sizeof(char *), compare_names);
	errno = failed;
	return failed == 0 || n > 0 ? (ssize_t) n : -1;
}

static void
walk(CmkVerify *v, const char *dir, int depth, bool reads)
{
	char		path[PATH_MAX];
	char	  **names;
	ssize_t		n;
	ssize_t		i;

	if (depth > MAX_DEPTH)
	{
		unreadable(v, dir, "directories are nested too deeply", reads);
		return;
	}
	n = read_names(dir, &names);
	if (n < 0 || errno != 0)
		unreadable(v, dir[0] != '\0' ? dir : ".", strerror(errno), reads);
	for (i = 0; i < n; i++)
	{
		if (snprintf(path, sizeof(path), "%s%s%s", dir, dir[0] != '\0' ? "/" : "", names[i]) >=
			(int) sizeof(path))
			unreadable(v, dir, strerror(ENAMETOOLONG), reads);
		else
			visit(v, path, depth + 1, reads);
		free(names[i]);
	}
	free(names);
}

/*
 * In a backup that was taken as tar archives the tablespaces are archives of their own,
 * and tablespace_map says where a server would put them.  What lies there now may well
 * be the original.
 */
static void
look_at_tablespace_map(CmkVerify *v)
{
	size_t		len;
	char	   *text = cmk_textfile_read("tablespace_map", 1024 * 1024, false, &len, NULL);
	char	   *line;
	char	   *next;
	char		path[64];
	struct stat st;

	if (text == NULL)
	{
		cmk_verify_keys_tablespaces(v);
		return;
	}
	for (line = text; line != NULL && *line != '\0'; line = next)
	{
		unsigned long oid = strtoul(line, NULL, 10);

		next = strchr(line, '\n');
		if (next != NULL)
			*next++ = '\0';
		snprintf(path, sizeof(path), "pg_tblspc/%lu", oid);
		if (oid > 0 && lstat(path, &st) < 0)
			cmk_verify_find(v, path, CMK_VERIFY_NO_BLOCK, true,
							"the tablespace is in tablespace_map, but not there; its files were not read");
	}
	free(text);
}

void
cmk_verify_walk(CmkVerify *v)
{
	walk(v, "", 0, false);
	walk(v, "", 0, true);
	look_at_tablespace_map(v);
}
