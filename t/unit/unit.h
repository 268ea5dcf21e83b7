/*
 * unit.h
 *	  What a unit test needs, and no more.
 *
 * A test program is one file t/unit/test_NAME.c; the Makefile finds it.  A test
 * case is a function without arguments that returns at the first CHECK that
 * does not hold:
 *
 *		static void
 *		wraps_like_the_rfc(void)
 *		{
 *			CHECK(kw != NULL);
 *			CHECK_INT(cmk_keywrap_wrap(kw, kek, in, 32, out), 0);
 *			CHECK_MEM(out, expected, 40);
 *		}
 *
 *		int
 *		main(void)
 *		{
 *			RUN(wraps_like_the_rfc);
 *			return unit_done();
 *		}
 *
 * Each case prints "ok name" or "not ok name: file:line: what", a program ends
 * with "N passed, N failed" and fails if a case did.  A CHECK in a helper that
 * is not void is written as "if (…) return unit_fail(…)".
 */
#ifndef CMK_UNIT_H
#define CMK_UNIT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define UNIT_ASAN	1
#else
#define UNIT_ASAN	0
#endif

static int	unit_passed = 0;
static int	unit_failed = 0;
static bool unit_case_failed;
static char unit_why[1024];

/* Notes why the running case fails; the first reason stays.  Returns -1. */
static inline int __attribute__((format(printf, 3, 4)))
unit_fail(const char *file, int line, const char *fmt,...)
{
	va_list		ap;
	int			n;

	if (unit_case_failed)
		return -1;
	unit_case_failed = true;
	n = snprintf(unit_why, sizeof(unit_why), "%s:%d: ", file, line);
	va_start(ap, fmt);
	vsnprintf(unit_why + n, sizeof(unit_why) - n, fmt, ap);
	va_end(ap);
	return -1;
}

/* Where two pieces of memory differ first, or -1. */
static inline long
unit_differ(const void *a, const void *b, size_t len)
{
	size_t		i;

	for (i = 0; i < len; i++)
	{
		if (((const uint8_t *) a)[i] != ((const uint8_t *) b)[i])
			return (long) i;
	}
	return -1;
}

/* Reads hexadecimal text into out; a wrong length or digit ends the program. */
static inline size_t
unit_hex(const char *hex, uint8_t *out, size_t max)
{
	size_t		len = strlen(hex) / 2;
	size_t		i;

	for (i = 0; i < len && len <= max; i++)
	{
		unsigned	byte;

		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			break;
		out[i] = (uint8_t) byte;
	}
	if (i < len || strlen(hex) % 2 != 0)
	{
		fprintf(stderr, "bad hexadecimal text in a test: %.40s\n", hex);
		abort();
	}
	return len;
}

static inline void
unit_run(void (*fn) (void), const char *name)
{
	unit_case_failed = false;
	fn();
	if (unit_case_failed)
	{
		unit_failed++;
		printf("not ok %s: %s\n", name, unit_why);
	}
	else
	{
		unit_passed++;
		printf("ok %s\n", name);
	}
	/* a forked child must not print it again */
	fflush(stdout);
}

/* Prints the last line; main() returns its result. */
static inline int
unit_done(void)
{
	printf("%d passed, %d failed\n", unit_passed, unit_failed);
	return unit_failed > 0 || unit_passed == 0;
}

#define RUN(fn)		unit_run(fn, #fn)

#define CHECK(cond) \
	do { \
		if (!(cond)) \
		{ \
			unit_fail(__FILE__, __LINE__, "%s", #cond); \
			return; \
		} \
	} while (0)

#define CHECK_INT(got, want) \
	do { \
		long long	unit_g = (long long) (got); \
		long long	unit_w = (long long) (want); \
		if (unit_g != unit_w) \
		{ \
			unit_fail(__FILE__, __LINE__, "%s is %lld (0x%llx), not %lld (0x%llx)", \
					  #got, unit_g, unit_g, unit_w, unit_w); \
			return; \
		} \
	} while (0)

#define CHECK_STR(got, want) \
	do { \
		const char *unit_g = (got); \
		const char *unit_w = (want); \
		if (strcmp(unit_g, unit_w) != 0) \
		{ \
			unit_fail(__FILE__, __LINE__, "%s is \"%s\", not \"%s\"", \
					  #got, unit_g, unit_w); \
			return; \
		} \
	} while (0)

/* The text holds this piece of text. */
#define CHECK_HAS(got, piece) \
	do { \
		const char *unit_g = (got); \
		const char *unit_w = (piece); \
		if (strstr(unit_g, unit_w) == NULL) \
		{ \
			unit_fail(__FILE__, __LINE__, "%s is \"%s\", without \"%s\"", \
					  #got, unit_g, unit_w); \
			return; \
		} \
	} while (0)

#define CHECK_MEM(got, want, len) \
	do { \
		long		unit_d = unit_differ(got, want, len); \
		if (unit_d >= 0) \
		{ \
			unit_fail(__FILE__, __LINE__, "%s differs from %s at byte %ld", \
					  #got, #want, unit_d); \
			return; \
		} \
	} while (0)

#endif							/* CMK_UNIT_H */
