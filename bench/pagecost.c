/*
 * pagecost.c
 *	  What one page costs to seal and to open, without a server.
 *
 * bench/run prints this next to what "openssl speed" gives for the same cipher
 * and length, so that it can be seen what the way from a plain to a sealed page
 * adds to the cipher itself.  The pages are as random as sealed ones, and as
 * many as fit a second-level cache: the cost of memory is the server's.
 *
 * Absolute numbers of a busy machine say little, so each quantity is measured
 * in ROUNDS rounds which alternate between all quantities, and what is printed
 * is the median, the quartiles, and the ratio of medians to the bare cipher.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../src/seal/kdf.h"
#include "../src/seal/page.h"
#include "../src/seal/xts.h"

#define PAGES		32
#define ROUNDS		401

static uint8_t plain[PAGES][CMK_PAGE_SIZE] __attribute__((aligned(4096)));
static uint8_t sealed[PAGES][CMK_PAGE_SIZE] __attribute__((aligned(4096)));
static uint8_t work[PAGES][CMK_PAGE_SIZE] __attribute__((aligned(4096)));
static uint8_t key[CMK_XTS_KEY_SIZE];
static CmkXts *xts;

static void
fail(const char *what)
{
	fprintf(stderr, "pagecost: %s failed\n", what);
	exit(1);
}

static double
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * 1e9 + ts.tv_nsec;
}

/* ---- the quantities; each handles PAGES pages ---- */

static void
cipher_encrypt(void)
{
	static const uint8_t tweak[CMK_XTS_TWEAK_SIZE] = {1};
	int			i;

	for (i = 0; i < PAGES; i++)
	{
		if (cmk_xts_encrypt(xts, tweak, work[i] + CMK_PAGE_HEAD,
							plain[i] + CMK_PAGE_HEAD, CMK_PAGE_BODY) < 0)
			fail("encryption");
	}
}

static void
cipher_decrypt(void)
{
	static const uint8_t tweak[CMK_XTS_TWEAK_SIZE] = {1};
	int			i;

	for (i = 0; i < PAGES; i++)
	{
		if (cmk_xts_decrypt(xts, tweak, work[i] + CMK_PAGE_HEAD,
							work[i] + CMK_PAGE_HEAD, CMK_PAGE_BODY) < 0)
			fail("decryption");
	}
}

static void
seal_pages(bool checksums)
{
	int			i;

	for (i = 0; i < PAGES; i++)
	{
		if (cmk_page_seal(xts, work[i], plain[i], i, CMK_FORK_MAIN, 0,
						  checksums) < 0)
			fail("sealing");
	}
}

static void
open_pages(bool checksums)
{
	int			i;

	for (i = 0; i < PAGES; i++)
	{
		if (cmk_page_open(xts, work[i], i, CMK_FORK_MAIN,
						  checksums) != CMK_OPEN_OK)
			fail("opening");
	}
}

static void
seal_without(void)
{
	seal_pages(false);
}

static void
seal_with(void)
{
	seal_pages(true);
}

static void
open_without(void)
{
	open_pages(false);
}

static void
open_with(void)
{
	open_pages(true);
}

static void
checksum_only(void)
{
	volatile uint16_t sink;
	int			i;

	for (i = 0; i < PAGES; i++)
		sink = cmk_page_checksum(plain[i], i);
	(void) sink;
}

static void
change_key(void)
{
	int			i;

	for (i = 0; i < PAGES; i++)
	{
		if (cmk_xts_set_key(xts, key) < 0)
			fail("setting a key");
	}
}

typedef struct Quantity
{
	const char *name;
	void		(*run) (void);
	double		ns[ROUNDS];		/* per page */
} Quantity;

static Quantity quantities[] = {
	{"AES-256-XTS encrypt, 8176 bytes", cipher_encrypt, {0}},
	{"AES-256-XTS decrypt, 8176 bytes", cipher_decrypt, {0}},
	{"seal a page", seal_without, {0}},
	{"seal a page, data checksums", seal_with, {0}},
	{"open a page", open_without, {0}},
	{"open a page, data checksums", open_with, {0}},
	{"the server's checksum of a page", checksum_only, {0}},
	{"give a context another key", change_key, {0}},
};

#define NQUANTITIES	((int) (sizeof(quantities) / sizeof(quantities[0])))

/* Plain pages that pass for the server's: a sane header, anything below it. */
static void
make_pages(void)
{
	int			i;

	for (i = 0; i < PAGES; i++)
	{
		static const uint8_t rest[] = {
			0, 0, 0, 0,			/* pd_checksum, pd_flags */
			24, 0, 0, 32,		/* pd_lower 24, pd_upper 8192 */
			0, 32, 4, 32,		/* pd_special 8192, size 8192 | version 4 */
			0, 0, 0, 0			/* pd_prune_xid */
		};

		if (cmk_random_public(plain[i], CMK_PAGE_SIZE) < 0)
			fail("random numbers");
		memcpy(plain[i] + 8, rest, sizeof(rest));
		if (cmk_page_seal(xts, sealed[i], plain[i], i, CMK_FORK_MAIN, 0,
						  true) < 0)
			fail("sealing");
	}
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

int
main(void)
{
	int			round;
	int			i;

	xts = cmk_xts_new();
	if (xts == NULL || cmk_random_key(key, sizeof(key)) < 0 ||
		cmk_xts_set_key(xts, key) < 0)
		fail("set-up");
	make_pages();

	for (round = -10; round < ROUNDS; round++)
	{
		for (i = 0; i < NQUANTITIES; i++)
		{
			Quantity   *q = &quantities[i];
			double		start;

			/* what is opened or decrypted must be sealed, and in the cache */
			memcpy(work, sealed, sizeof(work));
			start = now_ns();
			q->run();
			if (round >= 0)
				q->ns[round] = (now_ns() - start) / PAGES;
		}
	}

	printf("%-34s %8s %17s %9s\n", "", "ns", "quartiles", "to cipher");
	for (i = 0; i < NQUANTITIES; i++)
	{
		Quantity   *q = &quantities[i];

		qsort(q->ns, ROUNDS, sizeof(double), compare);
		printf("%-34s %8.0f %8.0f-%-8.0f %9.2f\n", q->name,
			   q->ns[ROUNDS / 2], q->ns[ROUNDS / 4], q->ns[ROUNDS * 3 / 4],
			   q->ns[ROUNDS / 2] / quantities[0].ns[ROUNDS / 2]);
	}
	cmk_xts_free(xts);
	return 0;
}
