/*
 * environment.c
 *	  Credentials from the environment, read once and then scrubbed from it.
 *
 * /proc/PID/environ shows the bytes that the kernel laid out at exec, to every
 * process of the same user, for the life of the process and of all it forks; and
 * the server moves its environ away from there at start, to make room for its
 * process title, so that unsetenv() alone leaves the secret where it was.  So the
 * value is overwritten both where environ points and where the kernel put it.
 *
 * What was read is kept in pages of their own, which stay out of core dumps.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../seal/kdf.h"
#include "environment.h"
#include "vault.h"

#define SLOT_SIZE	4096

static const struct
{
	const char *name;
	bool		secret;
}			variables[CMK_N_ENV] = {
	[CMK_ENV_CLIENT_ID] = {"AZURE_CLIENT_ID", false},
	[CMK_ENV_TENANT_ID] = {"AZURE_TENANT_ID", false},
	[CMK_ENV_AUTHORITY_HOST] = {"AZURE_AUTHORITY_HOST", false},
	[CMK_ENV_CLIENT_SECRET] = {"AZURE_CLIENT_SECRET", true},
	[CMK_ENV_CLIENT_SECRET_FILE] = {"AZURE_CLIENT_SECRET_FILE", false},
	[CMK_ENV_CERTIFICATE_PATH] = {"AZURE_CLIENT_CERTIFICATE_PATH", false},
	[CMK_ENV_CERTIFICATE_PASSWORD] = {"AZURE_CLIENT_CERTIFICATE_PASSWORD", true},
	[CMK_ENV_FEDERATED_TOKEN_FILE] = {"AZURE_FEDERATED_TOKEN_FILE", false},
	[CMK_ENV_POD_AUTHORITY_HOST] = {"AZURE_POD_IDENTITY_AUTHORITY_HOST", false},
	[CMK_ENV_IDENTITY_ENDPOINT] = {"IDENTITY_ENDPOINT", false},
	[CMK_ENV_IDENTITY_HEADER] = {"IDENTITY_HEADER", true},
	[CMK_ENV_IMDS_ENDPOINT] = {"IMDS_ENDPOINT", false},

	/*
	 * The directory of the Arc agent's one-time keys is fixed on Linux; a test
	 * cannot write there.  Whoever sets this could as well set
	 * IDENTITY_ENDPOINT, so it gives nobody more than he has.
	 */
	[CMK_ENV_ARC_TOKEN_DIR] = {"PG_CMK_ARC_TOKEN_DIR", false},
};

/* One slot a variable; NULL: not read yet. */
static char (*slots)[SLOT_SIZE] = NULL;

/* ---- scrubbing ---- */

/* The value in "NAME=value", if that is what the text is. */
static char *
value_of(char *text, const char *name)
{
	size_t		n = strlen(name);

	return strncmp(text, name, n) == 0 && text[n] == '=' ? text + n + 1 : NULL;
}

/*
 * Where the kernel put the environment: env_start and env_end, fields 50 and 51
 * of /proc/self/stat (proc(5)).  0, or -1 if that cannot be known.
 */
static int
kernel_environment(char **start, char **end)
{
	char		stat[2048];
	FILE	   *f = fopen("/proc/self/stat", "re");
	char	   *p;
	size_t		n;
	int			field;
	unsigned long from = 0;
	unsigned long to = 0;

	if (f == NULL)
		return -1;
	n = fread(stat, 1, sizeof(stat) - 1, f);
	fclose(f);
	stat[n] = '\0';

	/* the name in field 2 may have anything in it, but no later parenthesis */
	p = strrchr(stat, ')');
	for (field = 2; p != NULL && field < 50; field++)
		p = strchr(p + 1, ' ');
	if (p == NULL || sscanf(p, "%lu %lu", &from, &to) != 2 || from == 0 ||
		to <= from)
		return -1;
	*start = (char *) from;
	*end = (char *) to;
	return 0;
}

static void
scrub_kernel_copy(const char *name)
{
	char	   *p;
	char	   *end;

	if (kernel_environment(&p, &end) < 0)
		return;
	while (p < end)
	{
		size_t		len = strnlen(p, end - p);
		char	   *value = len > strlen(name) ? value_of(p, name) : NULL;

		if (value != NULL)
			cmk_cleanse(value, p + len - value);
		p += len + 1;
	}
}

static void
scrub(const char *name)
{
	char	  **e;

	for (e = environ; e != NULL && *e != NULL; e++)
	{
		char	   *value = value_of(*e, name);

		if (value != NULL)
			cmk_cleanse(value, strlen(value));
	}
	unsetenv(name);
	scrub_kernel_copy(name);
}

/* ---- reading ---- */

static int
map_slots(CmkError *err)
{
	void	   *p = mmap(NULL, sizeof(*slots) * CMK_N_ENV,
						 PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
						 -1, 0);

	if (p == MAP_FAILED)
		return cmk_fail(err, CMK_ERR_NO_MEMORY,
						"could not map memory for credentials");
	madvise(p, sizeof(*slots) * CMK_N_ENV, MADV_DONTDUMP);
	slots = p;
	return 0;
}

int
cmk_vault_read_environment(CmkError *err)
{
	int			i;

	if (slots == NULL && map_slots(err) < 0)
		return -1;
	for (i = 0; i < CMK_N_ENV; i++)
	{
		const char *value = getenv(variables[i].name);

		/* a secret that an earlier call took away is still known */
		if (value == NULL && variables[i].secret)
			continue;
		cmk_cleanse(slots[i], SLOT_SIZE);
		if (value == NULL)
			continue;
		if (strlen(value) >= SLOT_SIZE)
		{
			errno = 0;
			cmk_fail(err, CMK_ERR_CONFIG,
					 "environment variable %s is too long", variables[i].name);
			return cmk_fail_detail(err, "It may have %d bytes.", SLOT_SIZE - 1);
		}
		strcpy(slots[i], value);
		if (variables[i].secret)
			scrub(variables[i].name);
	}
	return 0;
}

void
cmk_vault_forget_environment(void)
{
	if (slots != NULL)
		cmk_cleanse(slots, sizeof(*slots) * CMK_N_ENV);
}

const char *
cmk_env(CmkEnv which)
{
	if (slots == NULL && cmk_vault_read_environment(NULL) < 0)
		return NULL;
	return slots[which][0] != '\0' ? slots[which] : NULL;
}
