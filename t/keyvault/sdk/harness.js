/*
 * What the files of the SDK test share: the vault that run started, an
 * application in it, and the SDK's clients for both.
 */
'use strict';

const assert = require('assert');
const crypto = require('crypto');
const path = require('path');
const { after, before } = require('node:test');
const { connect } = require('../lib/client');
const { ClientSecretCredential } = require('@azure/identity');
const { CryptographyClient, KeyClient } = require('@azure/keyvault-keys');

/* run starts the vault beside its own temporary files and names it by its CA. */
const dir = path.dirname(process.env.NODE_EXTRA_CA_CERTS);
const control = connect(dir);
const { facts } = control;
const call = (method, params) => control.call(method, params);
const authority = { authorityHost: facts.authority_host, disableInstanceDiscovery: true };

let app;			/* the application that may do all, and its credential */
let credential;

const quick = { retryOptions: { maxRetries: 0 } };
const keysOf = (url, who = credential, options = quick) => new KeyClient(url, who, options);
const cryptoOf = (key, who = credential, options = quick) => new CryptographyClient(key, who, options);

/* A vault of its own for a test, where app may do everything. */
async function makeVault(options = {}) {
	const name = 'v' + crypto.randomBytes(6).toString('hex');
	const { url } = await call('vault.create', { name, ...options });

	await call('grant', { vault: name, principal: app.client_id, permissions: 'Key Vault Crypto Officer' });
	return { name, url, client: keysOf(url) };
}

/* The promise fails as a RestError of the service: { statusCode, code, inner }. */
async function refused(promise) {
	try {
		await promise;
	} catch (e) {
		if (e.name !== 'RestError')
			throw e;
		/* the SDK's spelling; on the wire it is innererror */
		const { innerError } = e.details.error;

		return { status: e.statusCode, code: e.code, message: e.message, inner: innerError && innerError.code };
	}
	return assert.fail('was not refused');
}

/*
 * Why it fails on a new connection.  Those that were open are closed when the
 * vault changes underneath, which the client may find out only on using one.
 */
async function failure(ask) {
	for (;;) {
		const e = await ask().then(() => ({}), (error) => error);

		if (!/socket hang up|ECONNRESET/.test(e.message))
			return e;
	}
}

async function list(iterator) {
	const all = [];

	for await (const entry of iterator)
		all.push(entry);
	return all;
}

before(async () => {
	app = await call('app.create');
	credential = new ClientSecretCredential(app.tenant_id, app.client_id, app.client_secret, authority);
});

after(() => control.close());

module.exports = {
	call, dir, facts, authority, quick, keysOf, cryptoOf, makeVault, refused, failure, list,
	theApp: () => app,
};
