/*
 * test_client.c
 *	  The vault client, driven by test_client.pl: one CmkVault, told what to do by
 *	  lines on standard input, saying what came of it in a line of JSON each.
 *
 *		test_client [identity=…] [client_id=…] [tenant_id=…] [authority_host=…]
 *			[dns_suffixes=…] [ca_file=…] [api_version=…] [timeout_ms=…]
 *			[deadline_ms=…] [interrupt_ms=…]
 *
 *		get URL				check URL PURGE		wrap KID HEX	unwrap KID HEX
 *		versions URL MAX	keywrap URL HEX		pemwrap FILE HEX
 *		counts				reset PIN			interrupt MS	search HEX
 *
 * keywrap wraps here, under the public key that GET shows of the key, pemwrap
 * under the one of a PEM file.
 *
 * interrupt MS: the interruption callback says yes so long after the next
 * command has begun; 0: never.  search: how often the bytes, as they are or in
 * base64url, as they travel, stand in the memory of this process.
 *
 * With CMK_TEST_SLOW_DNS in the environment a look-up takes so many seconds, and
 * "resolver_blocks" tells whether a signal could have reached its thread.
 */
#include <dlfcn.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "../../src/seal/base64url.h"
#include "../../src/seal/kdf.h"
#include "../../src/vault/http.h"
#include "../../src/vault/public_key.h"
#include "../../src/vault/vault.h"

static int64_t interrupt_ms = 0;
static int64_t began;

/* -1: nothing was looked up; else whether SIGTERM was blocked while it was. */
static volatile int resolver_blocks = -1;

/* Stands before the C library's, for libcurl too. */
int
getaddrinfo(const char *node, const char *service,
			const struct addrinfo *hints, struct addrinfo **res)
{
	int			(*real) (const char *, const char *, const struct addrinfo *,
						 struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");
	const char *slow = getenv("CMK_TEST_SLOW_DNS");
	sigset_t	mask;

	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	resolver_blocks = sigismember(&mask, SIGTERM);
	if (slow != NULL)
		sleep(atoi(slow));
	return real(node, service, hints, res);
}

static int
interrupted(void)
{
	return interrupt_ms > 0 && cmk_http_clock() >= began + interrupt_ms;
}

static void
set_option(CmkVaultConfig *cfg, char *arg)
{
	char	   *value = strchr(arg, '=');
	const struct
	{
		const char *name;
		const char **where;
	}			texts[] = {
		{"identity", &cfg->identity}, {"client_id", &cfg->client_id},
		{"tenant_id", &cfg->tenant_id}, {"authority_host", &cfg->authority_host},
		{"dns_suffixes", &cfg->dns_suffixes}, {"ca_file", &cfg->ca_file},
		{"api_version", &cfg->api_version},
	};
	size_t		i;

	if (value == NULL)
		exit(2);
	*value++ = '\0';
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		if (strcmp(arg, texts[i].name) == 0)
		{
			*texts[i].where = value;
			return;
		}
	}
	if (strcmp(arg, "timeout_ms") == 0)
		cfg->timeout_ms = atoi(value);
	else if (strcmp(arg, "deadline_ms") == 0)
		cfg->deadline_ms = atoi(value);
	else
		exit(2);
}

static size_t
from_hex(const char *hex, uint8_t *out, size_t max)
{
	size_t		n = 0;
	unsigned	byte;

	while (n < max && sscanf(hex + 2 * n, "%2x", &byte) == 1)
		out[n++] = (uint8_t) byte;
	return n;
}

static void
add_hex(cJSON *answer, const char *name, const uint8_t *in, size_t len)
{
	char		hex[2 * 512 + 1] = "";
	size_t		i;

	for (i = 0; i < len; i++)
		sprintf(hex + 2 * i, "%02x", in[i]);
	cJSON_AddStringToObject(answer, name, hex);
}

static void
add_error(cJSON *answer, const CmkError *err)
{
	cJSON_AddStringToObject(answer, "message", err->message);
	cJSON_AddStringToObject(answer, "detail", err->detail);
	cJSON_AddStringToObject(answer, "hint", err->hint);
}

static void
add_outcome(cJSON *answer, int rc, const CmkOutcome *out)
{
	static const char *const verdicts[] = {"yes", "no", "maybe", "config"};

	cJSON_AddNumberToObject(answer, "rc", rc);
	cJSON_AddStringToObject(answer, "reason", cmk_reason_name(out->reason));
	cJSON_AddStringToObject(answer, "verdict", verdicts[out->verdict]);
	cJSON_AddBoolToObject(answer, "confirm", out->confirm);
	cJSON_AddNumberToObject(answer, "status", out->http_status);
	cJSON_AddNumberToObject(answer, "retry_after_ms", out->retry_after_ms);
	cJSON_AddStringToObject(answer, "request_id", out->request_id);
	cJSON_AddStringToObject(answer, "code", out->code);
	if (rc < 0)
		add_error(answer, &out->err);
}

static void
do_get(CmkVault *v, cJSON *answer, const char *url, const char *flags)
{
	CmkKeyInfo	key;
	CmkKeyWarnings warn = {.expires_soon = false};
	CmkOutcome	out;
	int			rc = cmk_vault_get_key(v, url, &key, &out);

	if (rc == 0 && flags != NULL)
		rc = cmk_key_check(&key, time(NULL), atoi(flags), &warn, &out);
	add_outcome(answer, rc, &out);
	cJSON_AddStringToObject(answer, "kid", key.kid);
	cJSON_AddStringToObject(answer, "version", key.url.version);
	cJSON_AddStringToObject(answer, "kty", key.kty);
	cJSON_AddNumberToObject(answer, "bits", key.bits);
	cJSON_AddBoolToObject(answer, "enabled", key.enabled);
	cJSON_AddStringToObject(answer, "recovery_level", key.recovery_level);
	cJSON_AddNumberToObject(answer, "server_time", (double) key.server_time);
	cJSON_AddBoolToObject(answer, "expires_soon", warn.expires_soon);
	cJSON_AddBoolToObject(answer, "purgeable", warn.purgeable);
}

static void
do_wrap(CmkVault *v, cJSON *answer, const char *kid, const char *hex)
{
	uint8_t		in[128];
	size_t		len = from_hex(hex, in, sizeof(in));
	CmkVaultWrap w;
	CmkOutcome	out;
	int			rc = cmk_vault_wrap(v, kid, in, len, &w, &out);

	add_outcome(answer, rc, &out);
	cJSON_AddStringToObject(answer, "kid", w.kid);
	cJSON_AddStringToObject(answer, "version", w.version);
	add_hex(answer, "value", w.value, w.len);
}

static void
do_unwrap(CmkVault *v, cJSON *answer, const char *kid, const char *hex)
{
	uint8_t		in[600];
	size_t		len = from_hex(hex, in, sizeof(in));
	uint8_t		plain[64];
	size_t		n;
	CmkOutcome	out;
	int			rc = cmk_vault_unwrap(v, kid, in, len, plain, sizeof(plain), &n, &out);

	add_outcome(answer, rc, &out);
	add_hex(answer, "value", plain, n);
}

static void
do_versions(CmkVault *v, cJSON *answer, const char *url, const char *max)
{
	int			room = atoi(max);
	CmkKeyVersion *list = calloc(room, sizeof(*list));
	cJSON	   *array = cJSON_AddArrayToObject(answer, "versions");
	CmkOutcome	out;
	int			n;
	int			i;
	int			rc = cmk_vault_list_versions(v, url, list, room, &n, &out);

	add_outcome(answer, rc, &out);
	for (i = 0; i < n; i++)
	{
		cJSON	   *item = cJSON_CreateObject();

		cJSON_AddStringToObject(item, "kid", list[i].kid);
		cJSON_AddBoolToObject(item, "enabled", list[i].enabled);
		cJSON_AddNumberToObject(item, "created", (double) list[i].created);
		cJSON_AddNumberToObject(item, "nbf", (double) list[i].nbf);
		cJSON_AddNumberToObject(item, "exp", (double) list[i].exp);
		cJSON_AddItemToArray(array, item);
	}
	free(list);
}

/* Wraps under a public key, here. */
static void
add_public_wrap(cJSON *answer, const uint8_t *der, size_t derlen, const char *hex)
{
	uint8_t		in[128];
	size_t		len = from_hex(hex, in, sizeof(in));
	CmkWrapResult w;
	CmkError	err;
	int			rc = cmk_public_wrap(der, derlen, in, len, &w, &err);

	cJSON_AddNumberToObject(answer, "rc", rc);
	if (rc < 0)
		add_error(answer, &err);
	else
	{
		cJSON_AddStringToObject(answer, "alg", w.alg);
		add_hex(answer, "value", w.value, w.len);
	}
}

static void
do_keywrap(CmkVault *v, cJSON *answer, const char *url, const char *hex)
{
	CmkKeyInfo	key;
	CmkOutcome	out;

	if (cmk_vault_get_key(v, url, &key, &out) < 0)
		add_outcome(answer, -1, &out);
	else
	{
		cJSON_AddStringToObject(answer, "kid", key.kid);
		add_public_wrap(answer, key.public_key, key.public_len, hex);
	}
}

static void
do_pemwrap(cJSON *answer, const char *path, const char *hex)
{
	FILE	   *f = fopen(path, "r");
	char		pem[8192];
	size_t		len = f != NULL ? fread(pem, 1, sizeof(pem), f) : 0;
	uint8_t		der[CMK_PUBLIC_KEY_SIZE];
	size_t		derlen;
	CmkError	err;

	if (f != NULL)
		fclose(f);
	if (cmk_public_from_pem(pem, len, der, sizeof(der), &derlen, &err) < 0)
	{
		cJSON_AddNumberToObject(answer, "rc", -1);
		add_error(answer, &err);
	}
	else
		add_public_wrap(answer, der, derlen, hex);
}

static void
do_counts(CmkVault *v, cJSON *answer)
{
	CmkVaultCounts c;

	cmk_vault_counts(v, &c);
	cJSON_AddNumberToObject(answer, "get", (double) c.get);
	cJSON_AddNumberToObject(answer, "wrap", (double) c.wrap);
	cJSON_AddNumberToObject(answer, "unwrap", (double) c.unwrap);
	cJSON_AddNumberToObject(answer, "token", (double) c.token);
	cJSON_AddNumberToObject(answer, "list", (double) c.list);
}

/* In every writable mapping; what is on our own stack frames does not count. */
static int
count_in_memory(const void *needle, size_t len)
{
	FILE	   *maps = fopen("/proc/self/maps", "r");
	char		line[512];
	int			found = 0;

	while (maps != NULL && fgets(line, sizeof(line), maps) != NULL)
	{
		unsigned long from;
		unsigned long to;
		char		mode[5];
		const char *p;

		if (sscanf(line, "%lx-%lx %4s", &from, &to, mode) != 3 ||
			mode[0] != 'r' || mode[1] != 'w' || strstr(line, "[stack]") != NULL)
			continue;
		for (p = (const char *) from;
			 (p = memmem(p, (const char *) to - p, needle, len)) != NULL; p++)
			found++;
	}
	if (maps != NULL)
		fclose(maps);
	return found;
}

static void
do_search(cJSON *answer, const char *hex)
{
	uint8_t		bytes[64];
	char		text[CMK_BASE64URL_SIZE(sizeof(bytes))];
	size_t		len = from_hex(hex, bytes, sizeof(bytes));

	cmk_base64url_encode(bytes, len, text);
#ifdef __SANITIZE_ADDRESS__
	/* its shadow is not to be read, and it keeps what was freed */
	cJSON_AddTrueToObject(answer, "cannot");
	return;
#endif
	cJSON_AddNumberToObject(answer, "plain", count_in_memory(bytes, len));
	cJSON_AddNumberToObject(answer, "text", count_in_memory(text, strlen(text) - 1));
	cmk_cleanse(bytes, sizeof(bytes));
}

static void
command(CmkVault *v, cJSON *answer, char *line)
{
	char	   *name = strtok(line, " \n");
	char	   *a = strtok(NULL, " \n");
	char	   *b = strtok(NULL, " \n");

	began = cmk_http_clock();
	if (name != NULL && strcmp(name, "counts") == 0)
		do_counts(v, answer);
	else if (name == NULL || a == NULL)
		exit(2);
	else if (strcmp(name, "get") == 0)
		do_get(v, answer, a, NULL);
	else if (strcmp(name, "reset") == 0)
		cmk_vault_reset(v, atoi(a) != 0);
	else if (strcmp(name, "interrupt") == 0)
		interrupt_ms = atoi(a);
	else if (strcmp(name, "search") == 0)
		do_search(answer, a);
	else if (b == NULL)
		exit(2);
	else if (strcmp(name, "check") == 0)
		do_get(v, answer, a, b);
	else if (strcmp(name, "wrap") == 0)
		do_wrap(v, answer, a, b);
	else if (strcmp(name, "unwrap") == 0)
		do_unwrap(v, answer, a, b);
	else if (strcmp(name, "versions") == 0)
		do_versions(v, answer, a, b);
	else if (strcmp(name, "keywrap") == 0)
		do_keywrap(v, answer, a, b);
	else if (strcmp(name, "pemwrap") == 0)
		do_pemwrap(answer, a, b);
	else
		exit(2);
	cJSON_AddNumberToObject(answer, "ms", (double) (cmk_http_clock() - began));
	cJSON_AddStringToObject(answer, "identity", cmk_vault_identity(v));
	cJSON_AddNumberToObject(answer, "resolver_blocks", resolver_blocks);
}

static void
say(cJSON *answer)
{
	char	   *text = cJSON_PrintUnformatted(answer);

	puts(text);
	fflush(stdout);
	free(text);
	cJSON_Delete(answer);
}

int
main(int argc, char **argv)
{
	CmkVaultConfig cfg = {.interrupted = interrupted};
	CmkVault   *v;
	CmkError	err;
	char		line[8192];
	cJSON	   *hello = cJSON_CreateObject();
	int			i;

	for (i = 1; i < argc; i++)
		set_option(&cfg, argv[i]);
	v = cmk_vault_new(&cfg, &err);
	cJSON_AddBoolToObject(hello, "ok", v != NULL);
	if (v == NULL)
		add_error(hello, &err);
	say(hello);
	while (v != NULL && fgets(line, sizeof(line), stdin) != NULL)
	{
		cJSON	   *answer = cJSON_CreateObject();

		command(v, answer, line);
		say(answer);
	}
	cmk_vault_free(v);
	return 0;
}
