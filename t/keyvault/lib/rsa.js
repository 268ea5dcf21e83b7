/*
 * What the vault does with an RSA key: the three algorithms that the Keys API
 * offers for wrapping (and, with the same mathematics, for encrypting).
 */
'use strict';

const crypto = require('crypto');
const { promisify } = require('util');
const { bad } = require('./errors');

const generateKeyPair = promisify(crypto.generateKeyPair);
const { RSA_PKCS1_OAEP_PADDING, RSA_PKCS1_PADDING, RSA_NO_PADDING } = crypto.constants;

/* oaepHash is also the hash of MGF1, as the service has it (RFC 7518, 4.3). */
const ALGORITHMS = {
	'RSA-OAEP-256': { padding: RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' },
	'RSA-OAEP': { padding: RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha1' },
	'RSA1_5': { padding: RSA_PKCS1_PADDING },
};

function algorithm(alg) {
	if (typeof alg !== 'string' || !Object.hasOwn(ALGORITHMS, alg))
		throw bad(`The algorithm '${alg}' is not supported with this key type.`);
	return ALGORITHMS[alg];
}

function encrypt(alg, publicKey, data) {
	const options = algorithm(alg);

	try {
		return crypto.publicEncrypt({ key: publicKey, ...options }, data);
	} catch (e) {
		throw bad('The parameter is incorrect.\r\n');
	}
}

/*
 * Recent releases of Node refuse RSA_PKCS1_PADDING here, for the sake of
 * callers that let an attacker see the difference; a test vault may take it off
 * by hand (RFC 8017, 7.2.2).
 */
function unpad15(block) {
	const end = block.indexOf(0, 2);

	if (block[0] !== 0 || block[1] !== 2 || end < 10)
		throw new Error('padding');
	return block.subarray(end + 1);
}

function decrypt(alg, privateKey, data) {
	const options = algorithm(alg);

	try {
		if (options.padding === RSA_PKCS1_PADDING)
			return unpad15(crypto.privateDecrypt({ key: privateKey, padding: RSA_NO_PADDING }, data));
		return crypto.privateDecrypt({ key: privateKey, ...options }, data);
	} catch (e) {
		throw bad('The parameter is incorrect.\r\n');
	}
}

/* Off the main thread, so that other requests are answered meanwhile. */
async function generate(kty, { size = 2048, crv = 'P-256' }) {
	const ec = kty.startsWith('EC');
	const pair = ec
		? await generateKeyPair('ec', { namedCurve: crv })
		: await generateKeyPair('rsa', { modulusLength: size });

	return pair.privateKey;
}

module.exports = { ALGORITHMS, encrypt, decrypt, generate };
