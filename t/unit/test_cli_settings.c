/*
 * test_cli_settings.c
 *	  Values of settings as the command reads them: units and Booleans, which the
 *	  server would have read for it.
 */
#include "../../src/cli/cli.h"
#include "unit.h"

static void
times(void)
{
	CHECK_INT(cmk_setting_ms("10000"), 10000);
	CHECK_INT(cmk_setting_ms("500ms"), 500);
	CHECK_INT(cmk_setting_ms("10s"), 10000);
	CHECK_INT(cmk_setting_ms("0.5 s"), 500);
	CHECK_INT(cmk_setting_ms("1min"), 60000);
	CHECK_INT(cmk_setting_ms("10000us"), 10);
}

static void
what_is_no_time(void)
{
	CHECK_INT(cmk_setting_ms(""), -1);
	CHECK_INT(cmk_setting_ms("soon"), -1);
	CHECK_INT(cmk_setting_ms("10 parsecs"), -1);
	CHECK_INT(cmk_setting_ms("0"), -1);
	CHECK_INT(cmk_setting_ms("-1s"), -1);
	CHECK_INT(cmk_setting_ms("nan"), -1);
	CHECK_INT(cmk_setting_ms("inf"), -1);
	CHECK_INT(cmk_setting_ms("1e9"), -1);
}

/* What the server would refuse keeps the requirement. */
static void
booleans(void)
{
	CHECK(cmk_setting_is_on("on"));
	CHECK(cmk_setting_is_on("yes"));
	CHECK(cmk_setting_is_on("TRUE"));
	CHECK(cmk_setting_is_on("1"));
	CHECK(cmk_setting_is_on(""));
	CHECK(cmk_setting_is_on("o"));
	CHECK(cmk_setting_is_on("offf"));
	CHECK(cmk_setting_is_on("00"));
	CHECK(!cmk_setting_is_on("off"));
	CHECK(!cmk_setting_is_on("OF"));
	CHECK(!cmk_setting_is_on("false"));
	CHECK(!cmk_setting_is_on("f"));
	CHECK(!cmk_setting_is_on("No"));
	CHECK(!cmk_setting_is_on("0"));
}

static void
key_urls(void)
{
	CmkError	err;

	CHECK_INT(cmk_check_key_url("https://v.vault.azure.net/keys/k", &err), 0);
	CHECK_INT(cmk_check_key_url("file:///etc/kek.pem", &err), 0);
	CHECK_INT(cmk_check_key_url("", &err), -1);
	CHECK_INT(cmk_check_key_url("http://v.vault.azure.net/keys/k", &err), -1);
	CHECK_INT(cmk_check_key_url("https://u@v.vault.azure.net/keys/k", &err), -1);
	CHECK_INT(cmk_check_key_url("https://v.vault.azure.net/keys/k'\nx = 'y", &err), -1);
	CHECK_INT(cmk_check_key_url("FILE:///etc/kek.pem", &err), -1);
	CHECK_INT(cmk_check_key_url("file://relative", &err), -1);
}

int
main(void)
{
	RUN(times);
	RUN(what_is_no_time);
	RUN(booleans);
	RUN(key_urls);
	return unit_done();
}
