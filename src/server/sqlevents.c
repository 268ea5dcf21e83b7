/*
 * sqlevents.c
 *	  The SQL function behind view cmk.events.
 *
 * It reads the files as they are, without the worker.  A line that is damaged is left
 * out, with one warning for all of them.  What stands behind the last line break is no
 * line yet: it is being written, or the next event cuts it off.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "eventline.h"
#include "events.h"

PG_FUNCTION_INFO_V1(cmk_events);

/* What the worker writes is no longer; of a longer one the beginning is left out. */
#define READ_MAX	(2 * CMK_EVENTS_MAX)

/* The text of a file, palloced, its length in *len; NULL if there is none. */
static char *
read_events(const char *path, size_t *len)
{
	int			fd = OpenTransientFile(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
	struct stat st;
	char	   *text;
	ssize_t		n;

	if (fd < 0 && errno == ENOENT)
		return NULL;
	if (fd < 0 || fstat(fd, &st) < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", path)));
	if (!S_ISREG(st.st_mode))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("file \"%s\" is not a regular file", path)));
	text = palloc(READ_MAX);
	*len = 0;
	if (st.st_size > READ_MAX)
		lseek(fd, st.st_size - READ_MAX, SEEK_SET);
	while (*len < READ_MAX && (n = read(fd, text + *len, READ_MAX - *len)) != 0)
	{
		if (n < 0 && errno != EINTR)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read file \"%s\": %m", path)));
		if (n > 0)
			*len += n;
		CHECK_FOR_INTERRUPTS();
	}
	CloseTransientFile(fd);
	return text;
}

static void
put_row(ReturnSetInfo *rsinfo, const CmkEventLine *line)
{
	const char *texts[] = {line->event, line->state, line->reason, line->key_url,
	line->key_version, line->request_id, line->detail};
	Datum		values[lengthof(texts) + 1];
	bool		nulls[lengthof(texts) + 1] = {0};

	values[0] = TimestampTzGetDatum((line->time_ms - cmk_unix_ms(0)) * 1000);
	for (size_t i = 0; i < lengthof(texts); i++)
	{
		nulls[i + 1] = texts[i][0] == '\0';
		values[i + 1] = nulls[i + 1] ? (Datum) 0 : CStringGetTextDatum(texts[i]);
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* Returns how many lines are damaged. */
static int
put_file(ReturnSetInfo *rsinfo, const char *path)
{
	size_t		len = 0;
	char	   *text = read_events(path, &len);
	char	   *p = text;
	char	   *end;
	int			damaged = 0;

	while (p != NULL && (end = memchr(p, '\n', text + len - p)) != NULL)
	{
		CmkEventLine line;

		CHECK_FOR_INTERRUPTS();
		if (cmk_eventline_parse(p, end - p, &line) == 0)
			put_row(rsinfo, &line);
		else
			damaged++;
		p = end + 1;
	}
	if (text != NULL)
		pfree(text);
	return damaged;
}

/* One row an event, the newest last. */
Datum
cmk_events(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			damaged;

	InitMaterializedSRF(fcinfo, 0);
	damaged = put_file(rsinfo, CMK_EVENTS_OLDER);
	damaged += put_file(rsinfo, CMK_EVENTS_FILE);
	if (damaged > 0)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg_plural("%d damaged line of file \"%s\" is left out",
							   "%d damaged lines of file \"%s\" are left out",
							   damaged, damaged, CMK_EVENTS_FILE)));
	return (Datum) 0;
}
