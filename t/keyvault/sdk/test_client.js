/*
 * Our client and Azure's SDK at the same vault: what one wraps the other unwraps,
 * and both see the same versions.
 *
 * Started by the script run beside this file, which says in CMK_CLIENT where the
 * program made of ../test_client.c is.
 */
'use strict';

const assert = require('assert');
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const readline = require('readline');
const { spawn } = require('child_process');
const { after, describe, it } = require('node:test');
const { cryptoOf, dir, facts, list, makeVault, theApp } = require('./harness');

const value = crypto.randomBytes(32);
const clients = [];

/* Our client, as the application that the SDK is too. */
function ourClient() {
	const app = theApp();
	const env = Object.fromEntries(Object.entries(process.env)
		.filter(([name]) => !/^(AZURE_|IDENTITY_|IMDS_|PG_CMK_)|proxy$/i.test(name)));
	const child = spawn(process.env.CMK_CLIENT, ['identity=clientsecret', `client_id=${app.client_id}`,
		`tenant_id=${facts.tenant_id}`, `authority_host=${facts.authority_host}`,
		`dns_suffixes=${facts.dns_suffixes}`, `ca_file=${facts.ca_file}`],
	{ env: { ...env, AZURE_CLIENT_SECRET: app.client_secret }, stdio: ['pipe', 'pipe', 'inherit'] });
	const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
	const read = async () => {
		const { value: line, done } = await lines.next();

		assert.ok(!done, 'our client ended');
		return JSON.parse(line);
	};
	const hello = read();

	clients.push(child);
	return async (...words) => {
		assert.ok((await hello).ok, (await hello).message);
		child.stdin.write(words.join(' ') + '\n');
		const answer = await read();

		assert.strictEqual(answer.rc, 0, answer.message);
		return answer;
	};
}

after(() => clients.forEach((child) => child.stdin.end()));

const hex = (bytes) => Buffer.from(bytes).toString('hex');

/* The SDK's public key as PEM in a file: what somebody would hand over. */
function pemFile(key) {
	const jwk = { kty: 'RSA', n: Buffer.from(key.n).toString('base64url'), e: Buffer.from(key.e).toString('base64url') };
	const file = path.join(dir, `${crypto.randomUUID()}.pem`);

	fs.writeFileSync(file, crypto.createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' }));
	return file;
}

describe('our client and the SDK', () => {
	for (const size of [2048, 3072, 4096]) {
		it(`wrap for each other with ${size} bits`, async () => {
			const { client } = await makeVault();
			const { id, key } = await client.createRsaKey('kek', { keySize: size });
			const ours = ourClient();
			const theirs = cryptoOf(id);
			const unwrap = async (wrapped) => hex((await theirs.unwrapKey('RSA-OAEP-256', Buffer.from(wrapped, 'hex'))).result);

			/* by the vault; here, with what GET shows; here, with what was handed over */
			assert.strictEqual(await unwrap((await ours('wrap', id, hex(value))).value), hex(value));
			assert.strictEqual(await unwrap((await ours('keywrap', id, hex(value))).value), hex(value));
			assert.strictEqual(await unwrap((await ours('pemwrap', pemFile(key), hex(value))).value), hex(value));

			const { result } = await theirs.wrapKey('RSA-OAEP-256', value);

			assert.strictEqual((await ours('unwrap', id, hex(result))).value, hex(value));
		});
	}

	it('list the same versions', async () => {
		const { client, url } = await makeVault({ page_size: 2 });
		const ids = [(await client.createRsaKey('kek')).id];

		for (let i = 0; i < 4; i++)
			ids.push((await client.rotateKey('kek')).id);
		await client.updateKeyProperties('kek', ids[1].split('/').pop(), { enabled: false });
		const theirs = await list(client.listPropertiesOfKeyVersions('kek'));
		const ours = await ourClient()('versions', `${url}/keys/kek`, 10);
		const seen = (versions) => versions.map((v) => [v.id, v.enabled, v.created]).sort();

		assert.deepStrictEqual(theirs.map((v) => v.id).sort(), ids.sort());
		assert.deepStrictEqual(
			seen(ours.versions.map((v) => ({ id: v.kid, enabled: v.enabled, created: v.created }))),
			seen(theirs.map((v) => ({ id: v.id, enabled: v.enabled, created: v.createdOn / 1000 }))));
	});
});
