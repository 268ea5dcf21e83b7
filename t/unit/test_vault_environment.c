/*
 * test_vault_environment.c
 *	  Credentials from the environment, and that they are gone from it.
 *
 * The program runs itself again with a secret in its environment, because only
 * what was there at exec stands in /proc/PID/environ.
 */
#include <unistd.h>

#include "../../src/vault/environment.h"
#include "../../src/vault/vault.h"
#include "unit.h"

#define SECRET	"sesame-open-4711"
#define CHILD	"CMK_TEST_CHILD"

/* Does the file hold the text anywhere? */
static bool
file_has(const char *path, const char *text)
{
	static char buf[1 << 20];
	FILE	   *f = fopen(path, "r");
	size_t		n = f != NULL ? fread(buf, 1, sizeof(buf), f) : 0;

	if (f != NULL)
		fclose(f);
	return memmem(buf, n, text, strlen(text)) != NULL;
}

static void
values_are_read(void)
{
	CmkError	err;

	CHECK(file_has("/proc/self/environ", SECRET));
	CHECK_INT(cmk_vault_read_environment(&err), 0);
	CHECK_STR(cmk_env(CMK_ENV_CLIENT_SECRET), SECRET "-a");
	CHECK_STR(cmk_env(CMK_ENV_CERTIFICATE_PASSWORD), SECRET "-b");
	CHECK_STR(cmk_env(CMK_ENV_IDENTITY_HEADER), SECRET "-c");
	CHECK_STR(cmk_env(CMK_ENV_CLIENT_ID), "the-client");
	CHECK(cmk_env(CMK_ENV_TENANT_ID) == NULL);
	CHECK(cmk_env(CMK_ENV_IMDS_ENDPOINT) == NULL);
}

static void
secrets_are_scrubbed(void)
{
	CHECK(getenv("AZURE_CLIENT_SECRET") == NULL);
	CHECK(getenv("AZURE_CLIENT_CERTIFICATE_PASSWORD") == NULL);
	CHECK(getenv("IDENTITY_HEADER") == NULL);
	CHECK(!file_has("/proc/self/environ", SECRET));

	/* and nothing else is */
	CHECK_STR(getenv("AZURE_CLIENT_ID"), "the-client");
	CHECK(file_has("/proc/self/environ", "AZURE_CLIENT_ID=the-client"));
	CHECK(file_has("/proc/self/environ", "NOT_AZURE_CLIENT_SECRET=kept"));
}

static void
a_second_reading_keeps_them(void)
{
	CmkError	err;

	setenv("AZURE_TENANT_ID", "later", 1);
	unsetenv("AZURE_CLIENT_ID");
	CHECK_INT(cmk_vault_read_environment(&err), 0);
	CHECK_STR(cmk_env(CMK_ENV_CLIENT_SECRET), SECRET "-a");
	CHECK_STR(cmk_env(CMK_ENV_TENANT_ID), "later");
	CHECK(cmk_env(CMK_ENV_CLIENT_ID) == NULL);
}

static void
one_that_is_too_long(void)
{
	static char big[5000];
	CmkError	err;

	memset(big, 'x', sizeof(big) - 1);
	setenv("AZURE_CLIENT_ID", big, 1);
	CHECK_INT(cmk_vault_read_environment(&err), -1);
	CHECK_INT(err.code, CMK_ERR_CONFIG);
	CHECK_HAS(err.message, "AZURE_CLIENT_ID");
	CHECK(strstr(err.message, "xxx") == NULL);
	unsetenv("AZURE_CLIENT_ID");
}

static void
forgetting(void)
{
	cmk_vault_forget_environment();
	CHECK(cmk_env(CMK_ENV_CLIENT_SECRET) == NULL);
	CHECK(cmk_env(CMK_ENV_TENANT_ID) == NULL);
}

/* The server moves environ away; what the kernel shows stays behind. */
static void
move_environ(void)
{
	char	  **copy;
	int			n;
	int			i;

	for (n = 0; environ[n] != NULL; n++)
		;
	copy = calloc(n + 1, sizeof(char *));
	for (i = 0; i < n; i++)
		copy[i] = strdup(environ[i]);
	environ = copy;
}

int
main(int argc, char **argv)
{
	if (getenv(CHILD) == NULL)
	{
		static char *const env[] = {
			CHILD "=1", "AZURE_CLIENT_ID=the-client", "AZURE_TENANT_ID=",
			"AZURE_CLIENT_SECRET=" SECRET "-a", "NOT_AZURE_CLIENT_SECRET=kept",
			"AZURE_CLIENT_CERTIFICATE_PASSWORD=" SECRET "-b",
			"IDENTITY_HEADER=" SECRET "-c", "ASAN_OPTIONS=detect_leaks=0", NULL
		};

		(void) argc;
		execve("/proc/self/exe", argv, env);
		return 1;
	}
	move_environ();
	RUN(values_are_read);
	RUN(secrets_are_scrubbed);
	RUN(a_second_reading_keeps_them);
	RUN(one_that_is_too_long);
	RUN(forgetting);
	return unit_done();
}
