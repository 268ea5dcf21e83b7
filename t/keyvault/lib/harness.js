/*
 * What the self-test files share: a server of their own, and a client that asks
 * it by hand.  Each file calls harness() once and gets an object that is filled
 * when its tests run.
 */
'use strict';

const assert = require('assert');
const crypto = require('crypto');
const fs = require('fs');
const os = require('os');
const path = require('path');
const { spawn } = require('child_process');
const { after, before } = require('node:test');
const { connect } = require('./client');

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const now = () => Math.floor(Date.now() / 1000);

/* Waits for a condition, half a minute at most. */
async function until(what, condition) {
	for (let i = 0; i < 1500; i++) {
		if (await condition())
			return;
		await sleep(20);
	}
	assert.fail(`waited in vain: ${what}`);
}

async function startServer(where, ...options) {
	const child = spawn(process.execPath, [path.join(__dirname, '..', 'server.js'), '--dir', where, '--with-stdin', ...options],
		{ stdio: ['pipe', 'inherit', 'inherit'] });

	await until('the server', () => fs.existsSync(path.join(where, 'ready.json')));
	return child;
}

const VALUE = { alg: 'RSA-OAEP-256', value: Buffer.alloc(32, 7).toString('base64url') };

/* status, code and inner code of an error */
const told = ({ status, body: { error } }) =>
	[status, error.code, error.innererror ? error.innererror.code : undefined];

/*
 * { scratch, dir, control, facts, app, call, bearer, requestToken, make }; app is
 * an application with a secret, token an access token of it.
 */
function harness() {
	const h = {
		scratch: fs.mkdtempSync(path.join(os.tmpdir(), 'keyvault-selftest.')),
		call: (method, params) => h.control.call(method, params),
		requestToken, bearer, make,
	};
	let server;

	h.dir = path.join(h.scratch, 'vault');
	before(async () => {
		server = await startServer(h.dir);
		h.control = connect(h.dir);
		h.facts = h.control.facts;
		h.app = await h.call('app.create');
		h.token = await bearer();
	});
	after(() => {
		h.control.close();
		server.kill();
		fs.rmSync(h.scratch, { recursive: true });
	});

	function requestToken({ tenant = h.facts.tenant_id, resource = 'https://vault.localhost', ...form }) {
		return h.control.request('POST', `${h.facts.authority_host}/${tenant}/oauth2/v2.0/token`, {
			headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
			body: new URLSearchParams({ grant_type: 'client_credentials', scope: `${resource}/.default`, ...form }).toString(),
		});
	}

	async function bearer(resource = 'https://vault.localhost') {
		const { client_id, client_secret } = h.app;
		const answer = await requestToken({ client_id, client_secret, resource });

		assert.strictEqual(answer.status, 200, answer.raw.toString());
		return answer.body.access_token;
	}

	/* A vault of its own, with a key, and get and post to it with a good token. */
	async function make(options = {}) {
		const vault = 'v' + crypto.randomBytes(6).toString('hex');
		const { url } = await h.call('vault.create', { name: vault, ...options });

		await h.call('grant', { vault, principal: h.app.client_id, permissions: 'Key Vault Crypto Officer' });
		const key = await h.call('key.create', { vault, key: 'kek' });
		const ask = (method) => (where, { version = '7.6', headers = {}, body, ...rest } = {}) =>
			h.control.request(method,
				(where.startsWith('https:') ? where : url + where) + (version ? `?api-version=${version}` : ''),
				{ headers: { Authorization: `Bearer ${h.token}`, ...headers }, body, ...rest });

		return { vault, url, key, get: ask('GET'), post: ask('POST') };
	}

	return h;
}

module.exports = { harness, startServer, until, now, told, VALUE };
