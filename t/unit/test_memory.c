/*
 * test_memory.c
 *	  What the ciphers do to the heap: nothing on the page path, and no key is
 *	  left there.
 *
 * OpenSSL is given allocation functions of ours, which count, keep a list of
 * the live blocks, and look at every block that is freed.  So each test can ask
 * whether a key stands anywhere in OpenSSL's memory.  malloc() and its kin are
 * counted too, by the linker's --wrap, for what our own code might call.
 */
#include <openssl/crypto.h>

#include "../../src/seal/kdf.h"
#include "../../src/seal/keywrap.h"
#include "../../src/seal/page.h"
#include "unit.h"

extern void *__real_malloc(size_t size);
extern void *__real_calloc(size_t n, size_t size);
extern void *__real_realloc(void *p, size_t size);
extern void *__wrap_malloc(size_t size);
extern void *__wrap_calloc(size_t n, size_t size);
extern void *__wrap_realloc(void *p, size_t size);

static volatile long calls = 0;

void *
__wrap_malloc(size_t size)
{
	calls++;
	return __real_malloc(size);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	calls++;
	return __real_calloc(n, size);
}

void *
__wrap_realloc(void *p, size_t size)
{
	calls++;
	return __real_realloc(p, size);
}

typedef struct Block
{
	struct Block *next;
	struct Block *prev;
	size_t		size;
	size_t		unused;			/* keeps what follows aligned to 16 */
} Block;

static Block live = {&live, &live, 0, 0};

/* The secret that must not be found, kept in a form that is not found itself. */
static uint8_t hidden[16];
static bool watching = false;
static int	freed_with_secret = 0;

static bool
holds_secret(const Block *b)
{
	const uint8_t *p = (const uint8_t *) (b + 1);
	size_t		i;
	size_t		j;

	for (i = 0; i + sizeof(hidden) <= b->size; i++)
	{
		for (j = 0; j < sizeof(hidden) && (p[i + j] ^ hidden[j]) == 0xff; j++)
			;
		if (j == sizeof(hidden))
			return true;
	}
	return false;
}

static void *
ssl_malloc(size_t size, const char *file, int line)
{
	Block	   *b = __real_malloc(sizeof(Block) + size);

	(void) file;
	(void) line;
	calls++;
	if (b == NULL)
		return NULL;
	b->size = size;
	b->next = live.next;
	b->prev = &live;
	b->next->prev = b;
	live.next = b;
	return b + 1;
}

static void
ssl_free(void *p, const char *file, int line)
{
	Block	   *b;

	(void) file;
	(void) line;
	if (p == NULL)
		return;
	b = (Block *) p - 1;
	if (watching && holds_secret(b))
		freed_with_secret++;
	b->next->prev = b->prev;
	b->prev->next = b->next;
	free(b);
}

static void *
ssl_realloc(void *p, size_t size, const char *file, int line)
{
	void	   *q = ssl_malloc(size, file, line);
	size_t		old = p != NULL ? ((Block *) p - 1)->size : 0;

	if (q != NULL && p != NULL)
	{
		memcpy(q, p, old < size ? old : size);
		ssl_free(p, file, line);
	}
	return q;
}

/* From here on: key's first 16 bytes must not be found. */
static void
watch_for(const uint8_t *key)
{
	size_t		i;

	for (i = 0; i < sizeof(hidden); i++)
		hidden[i] = key[i] ^ 0xff;
	watching = true;
	freed_with_secret = 0;
}

static int
blocks_with_secret(void)
{
	const Block *b;
	int			n = 0;

	for (b = live.next; b != &live; b = b->next)
		n += holds_secret(b);
	return n;
}

static uint8_t page[CMK_PAGE_SIZE];
static uint8_t sealed[CMK_PAGE_SIZE];

static void
make_page(void)
{
	size_t		i;

	for (i = 0; i < sizeof(page); i++)
		page[i] = (uint8_t) (i * 7);
	memcpy(page + 10, "\0\0\x40\0\0\x10\0\x20\x04\x20", 10);
}

static void
the_counters_count(void)
{
	void	   *volatile p;

	calls = 0;
	p = malloc(10);
	free(p);
	CHECK_INT(calls, 1);
	p = OPENSSL_malloc(10);
	OPENSSL_free(p);
	CHECK_INT(calls, 2);
}

static void
the_page_path_allocates_nothing(void)
{
	CmkXts	   *x = cmk_xts_new();
	uint8_t		key[CMK_XTS_KEY_SIZE];
	uint8_t		other[CMK_XTS_KEY_SIZE];
	int			i;

	CHECK_INT(cmk_random_key(key, sizeof(key)), 0);
	CHECK_INT(cmk_random_key(other, sizeof(other)), 0);
	make_page();

	/* from the first page on, not only when all is warm */
	calls = 0;
	for (i = 0; i < 3; i++)
	{
		CHECK_INT(cmk_xts_set_key(x, key), 0);
		CHECK_INT(cmk_page_seal(x, sealed, page, i, CMK_FORK_MAIN, 1, true), 0);
		CHECK_INT(cmk_page_open(x, sealed, i, CMK_FORK_MAIN, true),
				  CMK_OPEN_OK);

		/* failing ways too */
		CHECK_INT(cmk_page_seal(x, sealed, page, i, CMK_FORK_MAIN, 1, false), 0);
		CHECK_INT(cmk_xts_set_key(x, other), 0);
		CHECK_INT(cmk_page_open(x, sealed, i, CMK_FORK_MAIN, false),
				  CMK_OPEN_NOT_SANE);
		memset(other, 0, sizeof(other));
		CHECK_INT(cmk_xts_set_key(x, other), -1);
		CHECK_INT(cmk_page_open(x, sealed, i, CMK_FORK_MAIN, false),
				  CMK_OPEN_CRYPTO);
		CHECK_INT(cmk_page_seal(x, sealed, page, i, CMK_FORK_MAIN, 1, false), -1);
		other[5] = 1;
		cmk_xts_wipe(x);
	}
	CHECK_INT(calls, 0);
	cmk_xts_free(x);
}

static void
a_wiped_page_key_is_gone(void)
{
	CmkXts	   *x = cmk_xts_new();
	uint8_t		key[CMK_XTS_KEY_SIZE];
	int			half;

	for (half = 0; half < 2; half++)
	{
		CHECK_INT(cmk_random_key(key, sizeof(key)), 0);
		watch_for(key + 32 * half);
		CHECK_INT(cmk_xts_set_key(x, key), 0);
#if defined(__x86_64__)
		/* a schedule begins, or ends, with the key itself */
		if (__builtin_cpu_supports("aes"))
			CHECK(blocks_with_secret() > 0);
#endif
		cmk_xts_wipe(x);
		CHECK_INT(blocks_with_secret(), 0);

		CHECK_INT(cmk_xts_set_key(x, key), 0);
		cmk_xts_free(x);
		CHECK_INT(blocks_with_secret(), 0);
		CHECK_INT(freed_with_secret, 0);
		x = cmk_xts_new();
	}
	cmk_xts_free(x);
}

static void
key_wrapping_leaves_no_key(void)
{
	CmkKeyWrap *kw = cmk_keywrap_new();
	uint8_t		kek[32];
	uint8_t		dek[64];
	uint8_t		wrapped[72];
	uint8_t		out[64];

	CHECK_INT(cmk_random_key(kek, sizeof(kek)), 0);
	CHECK_INT(cmk_random_key(dek, sizeof(dek)), 0);

	watch_for(kek);
	CHECK_INT(cmk_keywrap_wrap(kw, kek, dek, 64, wrapped), 0);
	CHECK_INT(blocks_with_secret(), 0);
	CHECK_INT(cmk_keywrap_unwrap(kw, kek, wrapped, 72, out), 0);
	CHECK_INT(blocks_with_secret(), 0);

	watch_for(dek);
	CHECK_INT(cmk_keywrap_wrap(kw, kek, dek, 64, wrapped), 0);
	CHECK_INT(cmk_keywrap_unwrap(kw, kek, wrapped, 72, out), 0);
	wrapped[70] ^= 1;
	CHECK_INT(cmk_keywrap_unwrap(kw, kek, wrapped, 72, out), -1);
	CHECK_INT(blocks_with_secret(), 0);
	cmk_keywrap_free(kw);
	CHECK_INT(freed_with_secret, 0);
}

static void
deriving_leaves_no_key(void)
{
	uint8_t		key[32];
	uint8_t		out[64];

	CHECK_INT(cmk_random_key(key, sizeof(key)), 0);
	watch_for(key);
	CHECK_INT(cmk_kdf(key, sizeof(key), "label", key + 16, 16,
					  out, sizeof(out)), 0);
	CHECK_INT(blocks_with_secret(), 0);
	CHECK_INT(cmk_hmac(key, sizeof(key), "data", 4, out), 0);
	CHECK_INT(blocks_with_secret(), 0);
	CHECK_INT(freed_with_secret, 0);
}

int
main(void)
{
	if (CRYPTO_set_mem_functions(ssl_malloc, ssl_realloc, ssl_free) != 1)
		return 1;
	RUN(the_counters_count);
	RUN(the_page_path_allocates_nothing);
	RUN(a_wiped_page_key_is_gone);
	RUN(key_wrapping_leaves_no_key);
	RUN(deriving_leaves_no_key);
	return unit_done();
}
