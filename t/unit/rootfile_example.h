/*
 * rootfile_example.h
 *	  A root.json as docs/formats.md describes it, for the tests.
 *
 * Its system identifier is EXAMPLE_SYSID.  Root key 1 is the bytes 00 01 ... 1f,
 * root key 2, the current one, the bytes ff fe ... e0.  The wrapped values of
 * the KEKs are patterns.  The HMAC and the wrap of root 1 were computed again
 * with Python's hmac and the openssl command before they were stored here.
 */
#ifndef ROOTFILE_EXAMPLE_H
#define ROOTFILE_EXAMPLE_H

#define EXAMPLE_SYSID	UINT64_C(7436912345678901234)

static const char example[] =
"{\n"
"  \"format\": \"pg_cmk root\",\n"
"  \"version\": 1,\n"
"  \"serial\": 4,\n"
"  \"system_identifier\": \"7436912345678901234\",\n"
"  \"current_root\": 2,\n"
"  \"roots\": [\n"
"    {\n"
"      \"id\": 1,\n"
"      \"created\": \"2026-01-31T12:00:00Z\",\n"
"      \"salt\": \"oKGio6SlpqeoqaqrrK2urw\",\n"
"      \"wal_from\": \"0/0\",\n"
"      \"wraps\": [\n"
"        {\n"
"          \"recipient\": \"file:///etc/postgresql/kek.pem\",\n"
"          \"key_version\": \"sha256:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZ"
"G3hSuFU\",\n"
"          \"alg\": \"RSA-OAEP-256\",\n"
"          \"value\": \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJ"
"CUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0-P0BBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZW"
"ltcXV5fYGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6e3x9fn-AgYKDhIWGh4iJiouMjY6Pk"
"JGSk5SVlpeYmZqbnJ2en6ChoqOkpaanqKmqq6ytrq-wsbKztLW2t7i5uru8vb6_wMHCw8TFx"
"sfIycrLzM3Oz9DR0tPU1dbX2Nna29zd3t_g4eLj5OXm5-jp6uvs7e7v8PHy8_T19vf4-fr7_"
"P3-_w\",\n"
"          \"created\": \"2026-01-31T12:00:01Z\"\n"
"        }\n"
"      ],\n"
"      \"wrapped_by_root\": {\"id\": 2, \"value\": \"nvr2Qb9BxgkC-hrpj_fW"
"hHMR6lQTFhnYHHfNzYomjGTS3qHIsZiusg\"}\n"
"    },\n"
"    {\n"
"      \"id\": 2,\n"
"      \"created\": \"2026-05-01T12:00:00Z\",\n"
"      \"salt\": \"wMHCw8TFxsfIycrLzM3Ozw\",\n"
"      \"wal_from\": \"2/1A000000\",\n"
"      \"wraps\": [\n"
"        {\n"
"          \"recipient\": \"file:///etc/postgresql/kek.pem\",\n"
"          \"key_version\": \"sha256:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZ"
"G3hSuFU\",\n"
"          \"alg\": \"RSA-OAEP-256\",\n"
"          \"value\": \"__79_Pv6-fj39vX08_Lx8O_u7ezr6uno5-bl5OPi4eDf3t3c2"
"9rZ2NfW1dTT0tHQz87NzMvKycjHxsXEw8LBwL--vby7urm4t7a1tLOysbCvrq2sq6qpqKemp"
"aSjoqGgn56dnJuamZiXlpWUk5KRkI-OjYyLiomIh4aFhIOCgYB_fn18e3p5eHd2dXRzcnFwb"
"25tbGtqaWhnZmVkY2JhYF9eXVxbWllYV1ZVVFNSUVBPTk1MS0pJSEdGRURDQkFAPz49PDs6O"
"Tg3NjU0MzIxMC8uLSwrKikoJyYlJCMiISAfHh0cGxoZGBcWFRQTEhEQDw4NDAsKCQgHBgUEA"
"wIBAA\",\n"
"          \"created\": \"2026-05-01T12:00:01Z\"\n"
"        },\n"
"        {\n"
"          \"recipient\": \"file:///mnt/escrow/a%20\\\"quoted\\\"\\\\key."
"pem\",\n"
"          \"key_version\": \"sha256:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZ"
"G3hSuFU\",\n"
"          \"alg\": \"RSA-OAEP-256\",\n"
"          \"value\": \"WltYWV5fXF1SU1BRVldUVUpLSElOT0xNQkNAQUZHREV6e3h5f"
"n98fXJzcHF2d3R1amtoaW5vbG1iY2BhZmdkZRobGBkeHxwdEhMQERYXFBUKCwgJDg8MDQIDA"
"AEGBwQFOjs4OT4_PD0yMzAxNjc0NSorKCkuLywtIiMgISYnJCXa29jZ3t_c3dLT0NHW19TVy"
"svIyc7PzM3Cw8DBxsfExfr7-Pn-__z98vPw8fb39PXq6-jp7u_s7eLj4OHm5-TlmpuYmZ6fn"
"J2Sk5CRlpeUlYqLiImOj4yNgoOAgYaHhIW6u7i5vr-8vbKzsLG2t7S1qquoqa6vrK2io6Chp"
"qekpQ\",\n"
"          \"created\": \"2026-05-01T12:00:01Z\"\n"
"        }\n"
"      ],\n"
"      \"wrapped_by_root\": null\n"
"    }\n"
"  ],\n"
"  \"hmac\": \"SbU3ylWki_XpkxCZTzHWNagv1jySHZnzdn3Br5AwOoI\"\n"
"}\n";

#endif							/* ROOTFILE_EXAMPLE_H */
