/*
 * JSON Web Tokens and base64url, as much as a token endpoint and a vault need:
 * RS256 and PS256, compact serialisation (RFC 7515, RFC 7518).
 */
'use strict';

const crypto = require('crypto');

const b64u = (data) => Buffer.from(data).toString('base64url');

/* Strict: no padding, no other alphabet, no dangling bits.  Throws. */
function unb64u(text) {
	if (typeof text !== 'string' || !/^[A-Za-z0-9_-]*$/.test(text))
		throw new Error('not base64url');
	const data = Buffer.from(text, 'base64url');

	if (data.toString('base64url') !== text)
		throw new Error('not base64url');
	return data;
}

function padding(alg, key) {
	if (alg === 'RS256')
		return { key, padding: crypto.constants.RSA_PKCS1_PADDING };
	if (alg === 'PS256')
		return { key, padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
	return null;
}

function sign(claims, key, header = {}) {
	const full = { typ: 'JWT', alg: 'RS256', ...header };
	const input = b64u(JSON.stringify(full)) + '.' + b64u(JSON.stringify(claims));

	return input + '.' + b64u(crypto.sign('sha256', Buffer.from(input), padding(full.alg, key)));
}

/* { header, claims, input, signature }, or null if it is no token at all. */
function decode(token) {
	const parts = String(token).split('.');

	if (parts.length !== 3)
		return null;
	try {
		return {
			header: JSON.parse(unb64u(parts[0])),
			claims: JSON.parse(unb64u(parts[1])),
			input: Buffer.from(parts[0] + '.' + parts[1]),
			signature: unb64u(parts[2]),
		};
	} catch (e) {
		return null;
	}
}

function verify(jwt, publicKey) {
	const options = padding(jwt.header.alg, publicKey);

	return options !== null && crypto.verify('sha256', jwt.input, options, jwt.signature);
}

module.exports = { b64u, unb64u, sign, decode, verify };
