/*
 * test_base64url.c
 *	  Base64url: the RFC's examples, and that a text has only one form.
 */
#include "../../src/seal/base64url.h"
#include "unit.h"

static void
examples_of_rfc_4648(void)
{
	static const struct
	{
		const char *bytes;
		const char *text;
	}			v[] = {
		{"", ""}, {"f", "Zg"}, {"fo", "Zm8"}, {"foo", "Zm9v"},
		{"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"},
		{"\xfb\xff\xbf", "-_-_"}
	};
	size_t		i;

	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++)
	{
		char		text[16];
		char		bytes[8];
		size_t		len = strlen(v[i].bytes);

		CHECK_INT(cmk_base64url_encode(v[i].bytes, len, text),
				  strlen(v[i].text));
		CHECK_STR(text, v[i].text);
		CHECK_INT(strlen(text), CMK_BASE64URL_LEN(len));
		CHECK_INT(cmk_base64url_decode(text, strlen(text), bytes, len), len);
		CHECK_MEM(bytes, v[i].bytes, len);
	}
}

/* The example of a SHA-256 thumbprint in RFC 7638 section 3.1. */
static void
example_of_rfc_7638(void)
{
	uint8_t		bytes[32];
	char		text[CMK_BASE64URL_SIZE(32)];

	CHECK_INT(unit_hex("3736cbb1787cb8309c77ee8c3705c5e1"
					   "6ffb9e859715901f1e4c59b11182f57b",
					   bytes, sizeof(bytes)), 32);
	cmk_base64url_encode(bytes, sizeof(bytes), text);
	CHECK_STR(text, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

static void
every_length_comes_back(void)
{
	uint8_t		in[600];
	uint8_t		out[600];
	char		text[CMK_BASE64URL_SIZE(600)];
	size_t		len;
	size_t		i;

	for (i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t) (i * 151 + i / 7);
	for (len = 0; len <= sizeof(in); len++)
	{
		size_t		n = cmk_base64url_encode(in, len, text);

		CHECK_INT(n, CMK_BASE64URL_LEN(len));
		CHECK_INT(cmk_base64url_decode(text, n, out, sizeof(out)), len);
		CHECK_MEM(in, out, len);
	}
}

/* All texts of one to three characters: decoding is one to one. */
static void
one_text_for_each_value(void)
{
	int			a;
	int			b;
	int			accepted = 0;

	for (a = 0; a < 256; a++)
	{
		for (b = 0; b < 256; b++)
		{
			char		in[2] = {(char) a, (char) b};
			char		again[8];
			uint8_t		out[2];

			if (cmk_base64url_decode(in, 2, out, sizeof(out)) < 0)
				continue;
			accepted++;
			cmk_base64url_encode(out, 1, again);
			CHECK_MEM(again, in, 2);
		}
	}
	CHECK_INT(accepted, 256);
}

static void
other_texts_are_refused(void)
{
	static const char *const bad[] = {
		"Z", "Zg=", "Zg==", "Zh", "Zm9", "Zm8=", "Zm9vY", " Zm9v", "Zm9v\n",
		"Zm 9v", "Zm+v", "Zm/v", "Zm9v.", "Zm\xc3\xa4"
	};
	uint8_t		out[16];
	size_t		i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		if (cmk_base64url_decode(bad[i], strlen(bad[i]), out, sizeof(out)) >= 0)
		{
			unit_fail(__FILE__, __LINE__, "\"%s\" was taken", bad[i]);
			return;
		}
	}
	/* a NUL within the length is a foreign character too */
	CHECK_INT(cmk_base64url_decode("Zm\0v", 4, out, sizeof(out)), -1);
}

static void
no_more_than_there_is_room_for(void)
{
	uint8_t		out[4] = {9, 9, 9, 9};

	CHECK_INT(cmk_base64url_decode("Zm9v", 4, out, 2), -1);
	CHECK_INT(out[2], 9);
	CHECK_INT(cmk_base64url_decode("Zm9v", 4, out, 3), 3);
	CHECK_INT(out[3], 9);
}

int
main(void)
{
	RUN(examples_of_rfc_4648);
	RUN(example_of_rfc_7638);
	RUN(every_length_comes_back);
	RUN(one_text_for_each_value);
	RUN(other_texts_are_refused);
	RUN(no_more_than_there_is_room_for);
	return unit_done();
}
