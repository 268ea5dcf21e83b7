/*
 * fuzz.h
 *	  What a fuzz target needs.
 *
 * A target is one file fuzz_NAME.c with one function, which libFuzzer calls with
 * arbitrary bytes; the Makefile finds it.  Beside what the sanitizers see, a
 * target MUSTs what the parser promises of what it takes.
 */
#ifndef CMK_FUZZ_H
#define CMK_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(cond) \
	do { \
		if (!(cond)) \
		{ \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
			abort(); \
		} \
	} while (0)

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input as a text of its own length, so that AddressSanitizer sees its end. */
static inline char *
fuzz_text(const uint8_t *data, size_t size)
{
	char	   *text = malloc(size + 1);

	if (text == NULL)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	return text;
}

/* A text in a message: printable, one line, ended. */
static inline void
fuzz_must_be_printable(const char *s, size_t size)
{
	size_t		i;

	MUST(memchr(s, '\0', size) != NULL);
	for (i = 0; s[i] != '\0'; i++)
		MUST(s[i] >= 0x20 && s[i] < 0x7f);
}

#define FUZZ_PRINTABLE(array)	fuzz_must_be_printable(array, sizeof(array))

#endif							/* CMK_FUZZ_H */
