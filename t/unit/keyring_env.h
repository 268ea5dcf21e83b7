/*
 * keyring_env.h
 *	  A keys file, and looks at it and at the registry, for the test_keyring*
 *	  programs.
 *
 * "Reload" is what a restart does: the registry is rebuilt from the file.  Tests
 * that open a file of their own run in a child, for a process opens one only.
 *
 *		if (!env_begin() || !env_create() || !env_open())
 *			return 1;
 *		RUN(…);
 *		return env_end();
 */
#ifndef CMK_KEYRING_ENV_H
#define CMK_KEYRING_ENV_H

#include "unit.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "../../src/keyring/keyring.h"

#define SYSID	UINT64_C(0x0123456789abcdef)

static char dir[] = "/tmp/cmk_keyring.XXXXXX";
static char path[sizeof(dir) + 16];
static int	file = -1;			/* the test's own descriptor of path */

static const CmkRootKey root_one = {1, {0xa1, 2}, {0x11, 3}, 0, {0}};
static const CmkRootKey root_two = {2, {0xb1, 2}, {0x22, 3}, 0, {0}};

static inline CmkRelId
rel_id(uint32_t rel)
{
	CmkRelId	id = {1663, 5, rel};

	return id;
}

/* ---- looking at the file ---- */

static inline void
read_record(uint32_t record, uint8_t *buf)
{
	memset(buf, 0xee, CMK_RECORD_SIZE);
	if (pread(file, buf, CMK_RECORD_SIZE, (off_t) record * 128) < 0)
		abort();
}

static inline void
write_record(uint32_t record, const uint8_t *buf)
{
	if (pwrite(file, buf, CMK_RECORD_SIZE, (off_t) record * 128) != 128)
		abort();
}

/* Whether the file has these bytes anywhere. */
static inline bool
file_has(const uint8_t *bytes, size_t len)
{
	struct stat st;
	uint8_t    *all;
	bool		found;

	if (fstat(file, &st) < 0 || (all = malloc((size_t) st.st_size)) == NULL ||
		pread(file, all, (size_t) st.st_size, 0) != st.st_size)
		abort();
	found = memmem(all, (size_t) st.st_size, bytes, len) != NULL;
	free(all);
	return found;
}

static inline off_t
file_size(void)
{
	struct stat st;

	return fstat(file, &st) < 0 ? -1 : st.st_size;
}

/* ---- looking at the registry ---- */

/* The record number of id, or 0; info and key may be NULL. */
static inline uint32_t
record_of(uint32_t rel, CmkDekInfo *info, uint8_t *key)
{
	CmkRelId	id = rel_id(rel);
	CmkDekRef	ref;

	if (!cmk_registry_find(&id, &ref) || !cmk_registry_read(&ref, info, key))
		return 0;
	return ref.slot + 1;
}

static inline CmkDekState
state_of(uint32_t rel)
{
	CmkDekInfo	info;

	return record_of(rel, &info, NULL) ? info.state : CMK_DEK_FREE;
}

static inline uint32_t
damaged_count(void)
{
	CmkDamaged	d;

	return cmk_registry_damaged(&d, 1);
}

/* ---- steps ---- */

static inline int
birth(uint32_t rel, uint8_t *image)
{
	CmkRelId	id = rel_id(rel);
	uint8_t		own[CMK_RECORD_SIZE];
	bool		is_new;

	return cmk_keyring_birth(&id, CMK_DEK_WHOLE, 0,
							 image != NULL ? image : own, &is_new, NULL);
}

static inline int
death(uint32_t rel, uint64_t lsn)
{
	CmkRelId	id = rel_id(rel);

	return cmk_keyring_death(&id, lsn, NULL);
}

static inline int
reload(void)
{
	return cmk_keyring_load(NULL);
}

/* An empty file and registry, root 1 open. */
static inline int
start_over(void)
{
	if (cmk_registry_set_roots(&root_one, 1, 1, NULL) < 0 ||
		ftruncate(file, 128) < 0)
		return -1;
	return reload();
}

static inline int
in_child(int (*fn) (void))
{
	pid_t		pid = fork();
	int			status;

	if (pid == 0)
		_exit(fn());
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

/* For children: says which line failed, in what they exit with. */
#define CHILD(cond) \
	do { \
		if (!(cond)) \
		{ \
			printf("# line %d: %s\n", __LINE__, #cond); \
			fflush(stdout); \
			return 1; \
		} \
	} while (0)

/* ---- the file ---- */

/* The registry, and a directory for the file. */
static inline bool
env_begin(void)
{
	if (mkdtemp(dir) == NULL || cmk_registry_create(NULL) < 0)
		return false;
	snprintf(path, sizeof(path), "%s/keys", dir);
	return true;
}

/* Root 1, and the file, made but not yet opened by the keyring of this process. */
static inline bool
env_create(void)
{
	pid_t		pid;
	int			status;

	if (cmk_registry_set_roots(&root_one, 1, 1, NULL) < 0)
		return false;
	pid = fork();
	if (pid == 0)
		_exit(cmk_keyring_open(path, SYSID, true, NULL) < 0);
	if (waitpid(pid, &status, 0) != pid || status != 0)
		return false;
	file = open(path, O_RDWR | O_CLOEXEC);
	return file >= 0;
}

static inline bool
env_open(void)
{
	return cmk_keyring_open(path, SYSID, false, NULL) == 0;
}

/* The program's exit status. */
static inline int
env_end(void)
{
	unlink(path);
	rmdir(dir);
	return unit_done();
}

#endif							/* CMK_KEYRING_ENV_H */
