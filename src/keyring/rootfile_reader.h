/*
 * rootfile_reader.h
 *	  Strict reading of JSON values; only rootfile_parse.c uses it.
 *
 * A CmkReader knows whose text is read and where in it we are.  Every function
 * returns 0, or -1 after filling the error: the file is damaged, and which
 * member is at fault.
 *
 *		snprintf(r->where, sizeof(r->where), "roots[%d].", i);
 *		if (cmk_reader_members(r, obj, "", names, m, N) < 0 ||
 *			cmk_reader_time(r, names[CREATED], m[CREATED], &created) < 0)
 *			return -1;
 */
#ifndef CMK_ROOTFILE_READER_H
#define CMK_ROOTFILE_READER_H

#include <cjson/cJSON.h>

#include "rootfile_internal.h"

typedef struct CmkReader
{
	const char *name;			/* of the file */
	CmkError   *err;
	char		where[64];		/* "roots[0].wraps[1].", or "" */
} CmkReader;

#define CMK_READER_MAX_DEPTH	8	/* root.json itself needs 5 */
#define CMK_READER_MAX_INTEGER	9007199254740991.0	/* 2^53 - 1 */

/*
 * Says that the file is damaged: member (its name without "where") and what is
 * wrong with it, or with member NULL a whole sentence.  Always -1.
 */
extern int	cmk_reader_bad(CmkReader *r, const char *member,
						   const char *fmt,...)
			__attribute__((format(printf, 3, 4)));

/* CMK_ERR_NO_MEMORY.  Always -1. */
extern int	cmk_reader_no_memory(CmkReader *r);

/*
 * Before cJSON sees the text (len bytes and a NUL): refuses what cJSON would let
 * pass, which is bytes that are not UTF-8, control characters, the escape
 * \u0000, something before the first brace, great depth.
 */
extern int	cmk_reader_check_text(CmkReader *r, const char *text, size_t len);

/*
 * Finds the n members of the object obj by name: all must be there, once, and no
 * others.  self is the name of obj, "" if "where" says it already.
 */
extern int	cmk_reader_members(CmkReader *r, const cJSON *obj,
							   const char *self, const char *const names[],
							   const cJSON *items[], int n);

/* A number without fraction, 1 to max (at most CMK_READER_MAX_INTEGER). */
extern int	cmk_reader_integer(CmkReader *r, const char *member,
							   const cJSON *item, double max, uint64_t *out);

/* true or false. */
extern int	cmk_reader_bool(CmkReader *r, const char *member,
							const cJSON *item, bool *out);

/* A text of 1 to outsize - 1 bytes without control characters. */
extern int	cmk_reader_text(CmkReader *r, const char *member,
							const cJSON *item, char *out, size_t outsize);

/* Between min and max bytes in base64url; len may be NULL. */
extern int	cmk_reader_bytes(CmkReader *r, const char *member,
							 const cJSON *item, uint8_t *out,
							 size_t min, size_t max, size_t *len);

/*
 * A string that is exactly as the server shows such a value: a 64-bit number in
 * decimal, an LSN (%X/%X); and a time as cmk_rootfile_format_time() prints it.
 */
extern int	cmk_reader_uint64(CmkReader *r, const char *member,
							  const cJSON *item, uint64_t *out);
extern int	cmk_reader_lsn(CmkReader *r, const char *member,
						   const cJSON *item, uint64_t *out);
extern int	cmk_reader_time(CmkReader *r, const char *member,
							const cJSON *item, int64_t *out);

#endif							/* CMK_ROOTFILE_READER_H */
