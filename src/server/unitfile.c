/*
 * unitfile.c
 *	  Reads and writes the content of a sealed file of any length.  See unitfile.h.
 *
 * A unit is sealed as a whole, so a write that covers a part of one reads it, puts
 * the new bytes into it and seals it again: at most two units of a call, its first
 * and its last.  Both are read before anything is written, since a file that
 * grows may cut its last unit in two.  A sort, and all that asks for whole blocks at
 * multiples of their size, reads nothing.
 *
 * Where the last unit ends follows from the file's size.  A write asks for that
 * unless the caller knows it, being the only one who writes.  A read asks for sixteen
 * bytes more than its units have; if it gets them, none of these was the last.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "../seal/kdf.h"
#include "rawio.h"
#include "unitfile.h"

#define UNIT		CMK_UNIT_SIZE
#define HEAD		CMK_UNIT_HEAD

/* Units in one call of the system: the server's blocks have two. */
#define IO_UNITS	16

/* One process, one thread, one call at a time. */
static uint8_t io[IO_UNITS * UNIT + CMK_UNIT_MIN] __attribute__((aligned(4096)));
static uint8_t plain[CMK_UNIT_MAX];

/* Old bytes in front of and behind what is written, in the same units. */
static uint8_t front[CMK_UNIT_MAX];
static uint8_t back[CMK_UNIT_MAX];

static inline size_t
smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

static int
damaged(void)
{
	errno = EIO;
	return -1;
}

/* pread() until all is there, the file ends, or it fails. */
static ssize_t
read_all(int fd, uint8_t *buf, size_t n, off_t off)
{
	size_t		done = 0;

	while (done < n)
	{
		ssize_t		r = cmk_real.pread(fd, buf + done, n - done,
									   off + (off_t) done);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -1;
		if (r == 0)
			break;
		done += (size_t) r;
	}
	return (ssize_t) done;
}

off_t
cmk_unitfile_length(int fd)
{
	struct stat st;

	if (cmk_real.fstat(fd, &st) < 0)
		return -1;
	return st.st_size < HEAD ? 0 : st.st_size - HEAD;
}

/* ---- reading ---- */

/* A file of less than 16 bytes: they stand in the head. */
static ssize_t
read_short(const CmkUnitFile *u, uint8_t *buf, size_t n, off_t off, size_t length)
{
	uint8_t		block[CMK_UNIT_MIN];
	ssize_t		got = read_all(u->fd, block, sizeof(block), CMK_UNIT_SHORT_AT);

	if (got < 0)
		return -1;
	if (got < (ssize_t) sizeof(block) ||
		cmk_unit_open_short(u->x, u->nonce, block, block) < 0)
		return damaged();
	n = smaller(n, length - (size_t) off);
	memcpy(buf, block + off, n);
	cmk_cleanse(block, sizeof(block));
	return (ssize_t) n;
}

/*
 * Opens unit n, of len bytes and at sealed, and copies those of its bytes that lie
 * in [off, off + want) to buf, which is the place of off.
 */
static int
open_into(const CmkUnitFile *u, uint64_t n, const uint8_t *sealed, size_t len,
		  uint8_t *buf, size_t want, off_t off)
{
	off_t		start = (off_t) n * UNIT;
	off_t		from = start > off ? start : off;
	off_t		end = off + (off_t) want;

	if (start >= off && start + (off_t) len <= end)
		return cmk_unit_open(u->x, u->nonce, n, buf + (start - off), sealed, len);
	if (start + (off_t) len < end)
		end = start + (off_t) len;
	if (cmk_unit_open(u->x, u->nonce, n, plain, sealed, len) < 0)
		return -1;
	memcpy(buf + (from - off), plain + (from - start), (size_t) (end - from));
	return 0;
}

/*
 * Reads from off to the end of as many units as are buffered at once.  As pread(),
 * but may stop before the end of the file.
 */
static ssize_t
read_some(const CmkUnitFile *u, uint8_t *buf, size_t n, off_t off)
{
	uint64_t	first = (uint64_t) off / UNIT;
	off_t		start = (off_t) first * UNIT;
	size_t		units = smaller(((size_t) (off - start) + n + UNIT - 1) / UNIT,
								IO_UNITS);
	size_t		want = units * UNIT + CMK_UNIT_MIN;
	ssize_t		got = read_all(u->fd, io, want, HEAD + start);
	uint64_t	length = UINT64_MAX;	/* of the file, or not known */
	uint64_t	i;
	off_t		end;

	if (got < 0)
		return -1;
	if (got < (ssize_t) want)
	{
		length = (uint64_t) start + (uint64_t) got;
		if ((uint64_t) off >= length)
			return 0;
		if (length < CMK_UNIT_MIN)
			return read_short(u, buf, n, off, (size_t) length);
		if (got < CMK_UNIT_MIN)
		{
			/* what we want are the last bytes of the unit before */
			size_t		len = UNIT + (size_t) got;

			n = smaller(n, (size_t) (length - (uint64_t) off));
			got = read_all(u->fd, io, len, HEAD + start - UNIT);
			if (got != (ssize_t) len ||
				open_into(u, first - 1, io, len, buf, n, off) < 0)
				return got < 0 ? -1 : damaged();
			return (ssize_t) n;
		}
	}

	end = start + (off_t) (units * UNIT);
	if (length != UINT64_MAX)
	{
		units = (size_t) (cmk_unit_last(length) - first) + 1;
		end = (off_t) length;
	}
	n = smaller(n, (size_t) (end - off));
	for (i = first; i < first + units && (off_t) i * UNIT < off + (off_t) n; i++)
		if (open_into(u, i, io + (i - first) * UNIT, cmk_unit_length(i, length),
					  buf, n, off) < 0)
			return damaged();
	return (ssize_t) n;
}

ssize_t
cmk_unitfile_read(const CmkUnitFile *u, void *buf, size_t n, off_t off)
{
	size_t		done = 0;

	if (off < 0)
	{
		errno = EINVAL;
		return -1;
	}
	while (done < n)
	{
		ssize_t		r = read_some(u, (uint8_t *) buf + done, n - done,
								  off + (off_t) done);

		if (r < 0 && done == 0)
			return -1;
		if (r <= 0)
			break;
		done += (size_t) r;
	}
	return (ssize_t) done;
}

/* All n bytes, which the file has. */
static int
read_old(const CmkUnitFile *u, uint8_t *buf, size_t n, off_t off)
{
	ssize_t		got = n > 0 ? cmk_unitfile_read(u, buf, n, off) : 0;

	if (got == (ssize_t) n)
		return 0;
	return got < 0 ? -1 : damaged();
}

/* ---- writing ---- */

/* Makes the n < 16 bytes at src the content.  The file is of that length or shorter. */
static int
write_short(const CmkUnitFile *u, const uint8_t *src, size_t n, off_t length)
{
	uint8_t		block[CMK_UNIT_MIN];
	int			result;

	memset(block, 0, sizeof(block));
	memcpy(block, src, n);
	result = cmk_unit_seal_short(u->x, u->nonce, block, block);
	if (result < 0)
	{
		cmk_cleanse(block, sizeof(block));
		return damaged();
	}
	if (cmk_write_all(u->fd, block, sizeof(block), CMK_UNIT_SHORT_AT) < (ssize_t) sizeof(block))
		return -1;
	return length == (off_t) n ? 0 :
		cmk_real.ftruncate(u->fd, HEAD + (off_t) n);
}

/* What a write is to put into the file: front, the caller's bytes, and back. */
typedef struct Change
{
	const uint8_t *buf;
	off_t		off;			/* the caller's first byte, … */
	off_t		end;			/* … and behind the last one */
	off_t		start;			/* front is from here to off */
	off_t		length;			/* of the file, before … */
	off_t		new_length;		/* … and after */
	uint64_t	first;			/* units to be sealed */
	uint64_t	last;
} Change;

/* The len bytes at off of what is to be in the file: all in one piece, or put together. */
static const uint8_t *
new_bytes(const Change *c, off_t off, size_t len)
{
	off_t		end = off + (off_t) len;
	off_t		at = off;

	if (off >= c->off && end <= c->end)
		return c->buf + (off - c->off);
	while (at < end)
	{
		const uint8_t *src;
		off_t		stop;

		if (at < c->off)
		{
			src = front + (at - c->start);
			stop = c->off;
		}
		else if (at < c->end)
		{
			src = c->buf + (at - c->off);
			stop = c->end;
		}
		else
		{
			src = back + (at - c->end);
			stop = end;
		}
		if (stop > end)
			stop = end;
		memcpy(plain + (at - off), src, (size_t) (stop - at));
		at = stop;
	}
	return plain;
}

/* Which units change, and what of them is in the file already. */
static int
prepare(const CmkUnitFile *u, Change *c)
{
	uint64_t	length = (uint64_t) c->length;
	uint64_t	new_length = (uint64_t) c->new_length;
	uint64_t	old_last = cmk_unit_last(length);
	off_t		stop;

	c->first = cmk_unit_at((uint64_t) c->off, new_length);
	c->last = cmk_unit_at((uint64_t) c->end - 1, new_length);

	/* What was the last unit may be cut, or grow, in front of what is written. */
	if (c->first > old_last && cmk_unit_length(old_last, length) !=
		cmk_unit_length(old_last, new_length))
		c->first = old_last;

	c->start = (off_t) c->first * UNIT;
	stop = (off_t) c->last * UNIT + (off_t) cmk_unit_length(c->last, new_length);
	if (read_old(u, front, (size_t) (c->off - c->start), c->start) < 0)
		return -1;
	return read_old(u, back, (size_t) (stop - c->end), c->end);
}

/*
 * A write failed; the units before unit n are sealed as they should be, what is
 * behind is not known.  What to return: the caller's bytes that count, or -1.
 */
static ssize_t
broke_off(const CmkUnitFile *u, const Change *c, uint64_t n)
{
	off_t		good = (off_t) n * UNIT;
	int			save_errno = errno;
	ssize_t		result = good > c->off ? (ssize_t) (good - c->off) : -1;

	if (result > 0 || c->off < c->length)
	{
		if (c->new_length > c->length)
			(void) cmk_real.ftruncate(u->fd, HEAD +
									  (good > c->length ? good : c->length));
	}
	else if (c->length < CMK_UNIT_MIN)
	{
		/* The head still has the content; its place is zero. */
		(void) cmk_real.ftruncate(u->fd, HEAD);
		(void) cmk_real.ftruncate(u->fd, HEAD + c->length);
	}
	else
	{
		/* An append: front is the whole of what was the last unit, or nothing. */
		size_t		len = (size_t) (c->off - c->start);

		(void) cmk_real.ftruncate(u->fd, HEAD + c->length);
		if (len > 0 && cmk_unit_seal(u->x, u->nonce, c->first, io, front, len) == 0)
			(void) cmk_write_all(u->fd, io, len, HEAD + c->start);
	}
	errno = save_errno;
	return result;
}

/* Seals and writes the units of a change. */
static ssize_t
write_units(const CmkUnitFile *u, const Change *c)
{
	uint64_t	n = c->first;

	while (n <= c->last)
	{
		uint64_t	from = n;
		size_t		filled = 0;
		ssize_t		written;

		for (; n <= c->last && n - from < IO_UNITS; n++)
		{
			size_t		len = cmk_unit_length(n, (uint64_t) c->new_length);

			if (cmk_unit_seal(u->x, u->nonce, n, io + filled,
							  new_bytes(c, (off_t) n * UNIT, len), len) < 0)
			{
				errno = EIO;
				return broke_off(u, c, from);
			}
			filled += len;
		}
		written = cmk_write_all(u->fd, io, filled, HEAD + (off_t) from * UNIT);
		if (written < (ssize_t) filled)
			return broke_off(u, c, from + smaller(written < 0 ? 0 : (size_t) written / UNIT,
												  n - from - 1));
	}
	return (ssize_t) (c->end - c->off);
}

/* Whether n bytes at off are more than a file can have. */
static bool
too_long(off_t off, size_t n)
{
	return n > SSIZE_MAX || off > INT64_MAX - HEAD - (off_t) n;
}

ssize_t
cmk_unitfile_write(CmkUnitFile *u, const void *buf, size_t n, off_t off)
{
	Change		c;
	uint8_t		block[CMK_UNIT_MIN];
	ssize_t		result;

	if (off < 0)
	{
		errno = EINVAL;
		return -1;
	}
	if (too_long(off, n))
	{
		errno = EFBIG;
		return -1;
	}
	if (n == 0)
		return 0;
	c.length = u->length >= 0 ? u->length : cmk_unitfile_length(u->fd);
	u->length = -1;				/* until it is known again */
	if (c.length < 0)
		return -1;
	if (off > c.length)
	{
		if (cmk_unitfile_resize(u, off) < 0)
			return -1;
		c.length = off;
	}
	c.buf = buf;
	c.off = off;
	c.end = off + (off_t) n;
	c.new_length = c.end > c.length ? c.end : c.length;

	if (c.new_length < CMK_UNIT_MIN)
	{
		if (read_old(u, block, (size_t) c.length, 0) < 0)
			return -1;
		memcpy(block + off, buf, n);
		result = write_short(u, block, (size_t) c.new_length, c.length) < 0 ?
			-1 : (ssize_t) n;
	}
	else if (prepare(u, &c) < 0)
		return -1;
	else
		result = write_units(u, &c);
	if (result == (ssize_t) n)
		u->length = c.new_length;
	return result;
}

/* ---- resizing ---- */

/*
 * From length to a greater one.  Zeros are written as far as units have bytes of
 * the file already or might get some that are not theirs; from then on a hole
 * says it.
 */
static int
grow(CmkUnitFile *u, off_t length, off_t new_length)
{
	static const uint8_t zeros[3 * UNIT];
	off_t		stop = new_length;

	if (new_length - length > (off_t) sizeof(zeros))
		stop = (off_t) (cmk_unit_last((uint64_t) length) + 2) * UNIT;
	while (length < stop)
	{
		ssize_t		w = cmk_unitfile_write(u, zeros, (size_t) (stop - length),
										   length);

		if (w < 0)
			return -1;
		length += w;
	}
	return stop == new_length ? 0 : cmk_real.ftruncate(u->fd, HEAD + new_length);
}

static int
shrink(const CmkUnitFile *u, off_t length, off_t new_length)
{
	uint64_t	last = cmk_unit_last((uint64_t) new_length);
	size_t		len = cmk_unit_length(last, (uint64_t) new_length);
	off_t		start = (off_t) last * UNIT;

	if (len == cmk_unit_length(last, (uint64_t) length) && len >= CMK_UNIT_MIN)
		return cmk_real.ftruncate(u->fd, HEAD + new_length);
	if (read_old(u, front, len, start) < 0)
		return -1;
	if (new_length < CMK_UNIT_MIN)
	{
		if (cmk_real.ftruncate(u->fd, HEAD) < 0)
			return -1;
		return len == 0 ? 0 : write_short(u, front, len, 0);
	}
	if (cmk_unit_seal(u->x, u->nonce, last, io, front, len) < 0)
		return damaged();
	if (cmk_write_all(u->fd, io, len, HEAD + start) < (ssize_t) len)
		return -1;
	return cmk_real.ftruncate(u->fd, HEAD + new_length);
}

int
cmk_unitfile_resize(CmkUnitFile *u, off_t new_length)
{
	off_t		length = cmk_unitfile_length(u->fd);
	int			result;

	u->length = -1;
	if (length < 0)
		return -1;
	if (new_length < 0)
	{
		errno = EINVAL;
		return -1;
	}
	if (too_long(new_length, 0))
	{
		errno = EFBIG;
		return -1;
	}
	if (new_length == length)
		return 0;
	result = new_length > length ? grow(u, length, new_length) :
		shrink(u, length, new_length);
	u->length = -1;				/* grow() knew only one on the way */
	return result;
}

void
cmk_unitfile_forget(void)
{
	cmk_cleanse(io, sizeof(io));
	cmk_cleanse(plain, sizeof(plain));
	cmk_cleanse(front, sizeof(front));
	cmk_cleanse(back, sizeof(back));
}
