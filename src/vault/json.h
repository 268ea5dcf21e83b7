/*
 * json.h
 *	  JSON that came over the network, read without trust.
 *
 *		cJSON	   *doc = cmk_json_parse(text, len);
 *		const char *kid = cmk_json_string(cmk_json_object(doc, "key"), "kid");
 *
 *		cmk_json_free(doc);
 *
 * Every getter takes NULL for an object that is not there, and knows no member
 * of a wrong type.  Names are compared exactly.
 */
#ifndef CMK_JSON_H
#define CMK_JSON_H

#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

/*
 * One JSON object and nothing else.  NULL if it is anything else, is nested more
 * than 16 deep, has a NUL in a string, the same name twice in an object or more
 * than 256 members in one.
 */
extern cJSON *cmk_json_parse(const char *text, size_t len);

/* Wipes every string in it, then frees.  NULL is allowed. */
extern void cmk_json_free(cJSON *doc);

/* The member, of any type; NULL if there is none. */
extern const cJSON *cmk_json_get(const cJSON *obj, const char *name);

/* NULL if there is none or it is no object, no string. */
extern const cJSON *cmk_json_object(const cJSON *obj, const char *name);
extern const char *cmk_json_string(const cJSON *obj, const char *name);

/*
 * A whole number from 0 to 2^53 - 1 into *out: 1; absent or null: 0, and *out
 * is 0; anything else: -1.  cmk_json_integer_or_text takes one in a string too,
 * as token sources write it.
 */
extern int	cmk_json_integer(const cJSON *obj, const char *name, int64_t *out);
extern int	cmk_json_integer_or_text(const cJSON *obj, const char *name,
									 int64_t *out);

#endif							/* CMK_JSON_H */
