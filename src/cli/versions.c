/*
 * versions.c
 *	  pg_cmk versions: which versions a key in a vault has, and which one governs.
 *
 * The one that governs is the version under which the root is wrapped for this
 * URL; root.json says it whether the server runs or not.  It is not verified here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../keyring/keyring.h"
#include "../keyring/rootfile.h"
#include "cli.h"

#define MAX_VERSIONS	500

/* "" if this URL opens nothing here. */
static void
governing_version(const char *url, char *version, size_t size)
{
	CmkRootFile rf;
	const CmkWrap *w;

	version[0] = '\0';
	if (cmk_rootfile_read(CMK_ROOT_FILE, &rf, NULL) < 0)
		return;
	w = cmk_rootfile_find_recipient(&rf, rf.current_root, url);
	if (w != NULL)
		snprintf(version, size, "%s", w->key_version);
	cmk_rootfile_free(&rf);
}

static void
print_versions(const CmkKeyVersion *list, int n, const char *governing)
{
	int			i;

	for (i = 0; i < n; i++)
	{
		const CmkKeyVersion *v = &list[i];

		printf("%s %s\n", strcmp(v->kid, governing) == 0 ? "*" : " ", v->kid);
		printf("    %s", v->enabled ? "enabled" : "disabled");
		if (v->created != 0)
			printf(", created %s", cmk_time_text(v->created));
		if (v->nbf != 0)
			printf(", not before %s", cmk_time_text(v->nbf));
		if (v->exp != 0)
			printf(", expires %s", cmk_time_text(v->exp));
		printf("%s\n", strcmp(v->kid, governing) == 0 ? ", governs" : "");
	}
}

static int
list_versions(const CmkCliSettings *s, const char *url)
{
	CmkKeyVersion *list = calloc(MAX_VERSIONS, sizeof(CmkKeyVersion));
	CmkVault   *vault;
	CmkOutcome	out;
	CmkError	err;
	char		governing[CMK_KEY_VERSION_SIZE];
	char		message[700];
	int			n = 0;
	int			result = -1;

	vault = list != NULL ? cmk_vault_new(&s->vault, &err) : NULL;
	if (list == NULL)
		cmk_say("out of memory", NULL, NULL);
	else if (vault == NULL)
		cmk_say_error(&err);
	else if (cmk_vault_list_versions(vault, url, list, MAX_VERSIONS, &n, &out) < 0)
	{
		snprintf(message, sizeof(message), "%s: %s", cmk_reason_name(out.reason), out.err.message);
		cmk_say(message, out.err.detail, out.err.hint);
	}
	else
	{
		governing_version(url, governing, sizeof(governing));
		print_versions(list, n, governing);
		result = 0;
	}
	if (vault != NULL)
		cmk_vault_free(vault);
	free(list);
	return result;
}

int
cmk_command_versions(const CmkCli *cli)
{
	static CmkCliSettings s;
	const char *url;
	CmkError	err;

	if (cmk_read_settings(cli, &s, &err) < 0)
	{
		cmk_say_error(&err);
		return CMK_EXIT_FAILED;
	}
	url = cli->url != NULL ? cli->url : s.key;
	if (url[0] == '\0')
	{
		cmk_say("pg_cmk.key is not set", NULL, "Name the key on the command line.");
		return CMK_EXIT_FAILED;
	}
	if (strncmp(url, "file:", 5) == 0)
	{
		cmk_say("a key in a file has no versions", url, NULL);
		return CMK_EXIT_FAILED;
	}
	if (cmk_check_key_url(url, &err) < 0)
	{
		cmk_say_error(&err);
		return CMK_EXIT_FAILED;
	}
	return list_versions(&s, url) == 0 ? CMK_EXIT_OK : CMK_EXIT_FAILED;
}
