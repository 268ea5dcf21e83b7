/*
 * proof.c
 *	  That the seam really stands between the server and its files.
 *
 * The seam works by the dynamic loader's symbol order.  A server linked in an
 * unusual way (statically, with -Bsymbolic, with direct bindings) would not pass
 * through it, and would then write every page in clear without anybody noticing.
 * So this is tried at every start, with the calls that the server's own binary
 * makes: BasicOpenFile() opens, pg_pwritev_with_retry() writes; then every call
 * that the seam defines is looked up the way the loader does it.
 */
#include "postgres.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/relpath.h"
#include "miscadmin.h"
#include "storage/bufpage.h"
#include "storage/fd.h"

#include "../keyring/keycache.h"
#include "../seal/page.h"
#include "compat.h"
#include "filekind.h"
#include "fileops.h"
#include "proof.h"
#include "rawio.h"
#include "seamops.h"
#include "walops.h"

#define PROOF_TEXT		"pg_cmk: this text must not be on disk"

static void
no_seam(const char *what)
{
	ereport(FATAL,
			(errmsg("pg_cmk does not stand between this server and its files"),
			 errdetail("%s.", what),
			 errhint("The server would write in clear what it should seal, and does not start. See docs/seam.md.")));
}

void
cmk_register_seam(void)
{
	int			(*reg) (const CmkSeamOps *, CmkSeamReal *);

	*(void **) &reg = dlsym(RTLD_DEFAULT, "cmk_seam_register");
	if (reg == NULL)
		no_seam("The library pg_cmk_seam.so is not in the process");
	cmk_filekind_init(DataDir, TABLESPACE_VERSION_DIRECTORY);
	cmk_seamops_init();
	cmk_walops_init();
	if (reg(&cmk_file_ops, &cmk_real) < 0)
		ereport(FATAL,
				(errmsg("could not register with pg_cmk_seam.so: %m"),
				 errhint("pg_cmk.so and pg_cmk_seam.so must be of the same version.")));
}

/* Every call by which the server reaches a data file must lead to the seam. */
static void
prove_symbols(void)
{
	static const char *const calls[] = {
		"open", "close", "read", "write", "pread", "pwrite", "pwritev",
		"unlink", "dup2", "lseek", "stat", "lstat", "fstat", "ftruncate",
		"fopen", "fileno"
	};
	Dl_info		seam;
	Dl_info		info;

	if (dladdr(dlsym(RTLD_DEFAULT, "cmk_seam_register"), &seam) == 0)
		no_seam("The library pg_cmk_seam.so is not in the process");
	for (int i = 0; i < (int) lengthof(calls); i++)
		if (dladdr(dlsym(RTLD_DEFAULT, calls[i]), &info) == 0 ||
			info.dli_fbase != seam.dli_fbase)
			no_seam(psprintf("The server's %s() leads to \"%s\"", calls[i],
							 info.dli_fname ? info.dli_fname : "?"));
}

static void
make_page(PGAlignedBlock *page)
{
	PageInit(page->data, BLCKSZ, 0);
	((PageHeader) page->data)->pd_upper = BLCKSZ - 64;
	strlcpy(page->data + BLCKSZ - 64, PROOF_TEXT, 64);
}

/* What really is in the file, by system calls that nothing can stand before. */
static bool
read_around(char *buf)
{
	long		fd = syscall(SYS_openat, AT_FDCWD, CMK_PROBE_FILE, O_RDONLY | O_CLOEXEC);
	long		n;

	if (fd < 0)
		return false;
	n = syscall(SYS_pread64, fd, buf, BLCKSZ, 0);
	syscall(SYS_close, fd);
	return n == BLCKSZ;
}

void
cmk_prove_seam(void)
{
	PGAlignedBlock page;
	PGAlignedBlock back;
	PGAlignedBlock disk;
	struct iovec iov = {page.data, BLCKSZ};
	int			fd;
	bool		on_disk;

	prove_symbols();
	make_page(&page);

	fd = BasicOpenFile(CMK_PROBE_FILE, O_RDWR | O_CREAT | O_TRUNC | PG_BINARY);
	if (fd < 0)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", CMK_PROBE_FILE)));
	if (pg_pwritev_with_retry(fd, &iov, 1, 0) != BLCKSZ)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", CMK_PROBE_FILE)));
	on_disk = read_around(disk.data);
	if (pg_pread(fd, back.data, BLCKSZ, 0) != BLCKSZ)
		no_seam("A page that was written could not be read back");
	close(fd);
	unlink(CMK_PROBE_FILE);

	if (!on_disk)
		no_seam("A page that was written is not in its file");
	if (cmk_page_kind(disk.data) != CMK_PAGE_SEALED ||
		memmem(disk.data, BLCKSZ, PROOF_TEXT, strlen(PROOF_TEXT)) != NULL)
		no_seam("A page that was written through it is plain on disk");
	((PageHeader) back.data)->pd_checksum = 0;
	if (memcmp(back.data, page.data, BLCKSZ) != 0)
		no_seam("A page that was read through it is not what was written");
	ereport(DEBUG1, (errmsg_internal("pg_cmk: the seam is in place")));
}
