/*
 * events.c
 *	  What happened to the keys.  See events.h.
 *
 * An event is one line of pg_cmk/events, which one write appends and which is synced
 * before the command is run and before sessions are ended: what an operator reads
 * after a crash ends with what came before it.  A crash or a full disk can leave half
 * a line at the end.  The next event cuts it off, and until then readers leave it out.
 *
 * The file is renamed when it is full, over its predecessor.  To drop its older half by
 * rewriting it would need space, which may be the very thing that is short, and
 * could lose events that were there already.
 *
 * Nothing depends on the file.  If it cannot be written, the log says so once, and once
 * more when it can again.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "storage/fd.h"
#include "utils/timestamp.h"

#include "../keyring/keyring.h"
#include "eventcommand.h"
#include "eventline.h"
#include "events.h"

/* The state that the command was told last, or that the worker found. */
static CmkState known_state = CMK_STATE_UNCONFIGURED;

static bool complained = false;

void
cmk_events_init(void)
{
	cmk_eventcommand_init();
}

int64
cmk_unix_ms(TimestampTz t)
{
	return (t + ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)) * USECS_PER_DAY) / 1000;
}

static int
fail(const char *what)
{
	if (!complained)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("pg_cmk: could not %s file \"%s\": %m", what, CMK_EVENTS_FILE),
				 errdetail("Events are not kept until it can be written again.")));
	complained = true;
	return -1;
}

/* Makes room: the full file becomes the older one.  0 or -1. */
static int
rename_full(void)
{
	struct stat st;

	if (lstat(CMK_EVENTS_FILE, &st) < 0 || st.st_size < CMK_EVENTS_MAX ||
		rename(CMK_EVENTS_FILE, CMK_EVENTS_OLDER) == 0)
		return 0;
	return fail("rename");
}

/* Makes the name of a new file durable, as well as can be. */
static void
sync_directory(void)
{
	int			fd = open(CMK_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void) pg_fsync(fd);
	close(fd);
}

static int
open_events(void)
{
	const int	flags = O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
	struct stat st;
	int			fd;

	if (rename_full() < 0)
		return -1;
	fd = open(CMK_EVENTS_FILE, flags, pg_file_create_mode);
	if (fd < 0 && errno == ENOENT && MakePGDirectory(CMK_DIR) == 0)
		fd = open(CMK_EVENTS_FILE, flags, pg_file_create_mode);
	if (fd < 0)
		return fail("open");
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return fd;
	close(fd);
	errno = EINVAL;
	return fail("open");
}

/* Cuts off what stands behind the last line break, and returns the file's size. */
static off_t
mend(int fd)
{
	char		tail[CMK_EVENTLINE_SIZE];
	off_t		size = lseek(fd, 0, SEEK_END);
	off_t		from = Max(size - (off_t) sizeof(tail), 0);
	ssize_t		n;
	ssize_t		keep;

	if (size <= 0)
		return size;
	n = pread(fd, tail, size - from, from);
	if (n < 0)
		return -1;
	for (keep = n; keep > 0 && tail[keep - 1] != '\n'; keep--)
		;
	/* No line is that long: leave it to its readers, but begin a new line. */
	if (keep == 0 && from > 0)
		return write(fd, "\n", 1) == 1 ? size + 1 : -1;
	if (keep == n)
		return size;
	if (ftruncate(fd, from + keep) < 0)
		return -1;
	ereport(LOG,
			(errmsg("pg_cmk: cut off an unfinished line of %d bytes at the end of file \"%s\"",
					(int) (n - keep), CMK_EVENTS_FILE)));
	return from + keep;
}

/* 0 or -1; a line that could not be written as a whole leaves nothing. */
static int
append(int fd, const char *text, int len)
{
	off_t		size = mend(fd);
	ssize_t		n;

	if (size < 0)
		return fail("mend");
	errno = 0;
	n = write(fd, text, len);
	if (n != len)
	{
		int			save_errno = n < 0 ? errno : ENOSPC;

		if (n > 0 && ftruncate(fd, size) < 0)
			ereport(DEBUG1, (errmsg_internal("could not truncate \"%s\": %m", CMK_EVENTS_FILE)));
		errno = save_errno;
		return fail("write");
	}
	if (pg_fsync(fd) < 0)
		return fail("fsync");
	if (size == 0)
		sync_directory();
	return 0;
}

static void
keep(const CmkEventLine *line)
{
	char		text[CMK_EVENTLINE_SIZE];
	int			len = cmk_eventline_print(line, text);
	int			fd;

	if (len < 0)
	{
		errno = ENOMEM;
		fail("write");
		return;
	}
	fd = open_events();
	if (fd < 0)
		return;
	if (append(fd, text, len) == 0 && complained)
	{
		complained = false;
		ereport(LOG, (errmsg("pg_cmk: file \"%s\" is written again", CMK_EVENTS_FILE)));
	}
	close(fd);
}

void
cmk_event(const char *event, const CmkStatus *st, const char *detail)
{
	const char *state = cmk_state_name(st->health.state);
	const char *reason = cmk_reason_name(st->health.reason);
	char		iso[CMK_ISO_TIME_SIZE];
	CmkEventLine line = {.time_ms = cmk_unix_ms(GetCurrentTimestamp())};

	strlcpy(line.event, event, sizeof(line.event));
	strlcpy(line.state, state, sizeof(line.state));
	strlcpy(line.reason, reason, sizeof(line.reason));
	strlcpy(line.key_url, st->key_url, sizeof(line.key_url));
	strlcpy(line.key_version, st->key_version, sizeof(line.key_version));
	strlcpy(line.request_id, st->request_id, sizeof(line.request_id));
	strlcpy(line.detail, detail, sizeof(line.detail));
	keep(&line);

	if (st->health.state != known_state)
	{
		known_state = st->health.state;
		cmk_iso_time(line.time_ms, iso);
		cmk_eventcommand_run(state, reason, iso);
	}
}

void
cmk_events_start(void)
{
	CmkStatus	st;

	cmk_eventcommand_start();
	cmk_read_status(&st);
	known_state = st.health.state;
	cmk_event("worker started", &st, "");
}

long
cmk_events_reap(void)
{
	return cmk_eventcommand_reap();
}

void
cmk_events_stop(void)
{
	CmkStatus	st;

	cmk_read_status(&st);
	cmk_event("worker stopped", &st, "");
	cmk_eventcommand_stop();
}
