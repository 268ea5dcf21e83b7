/*
 * Managed identity as App Service has it.  In a process of its own: MSAL looks
 * once where managed identity comes from, and keeps to it.
 */
'use strict';

const assert = require('assert');
const path = require('path');
const { it } = require('node:test');
const { connect } = require('../lib/client');
const { ManagedIdentityCredential } = require('@azure/identity');
const { KeyClient } = require('@azure/keyvault-keys');

const control = connect(path.dirname(process.env.NODE_EXTRA_CA_CERTS));
const quick = { retryOptions: { maxRetries: 0 } };

it('a managed identity of App Service reads a key', async () => {
	const { app_service } = control.facts;
	const vault = 'appservice';
	const { client_id: clientId } = await control.call('identity.create', { kind: 'user' });
	const { url } = await control.call('vault.create', { name: vault });
	const key = await control.call('key.create', { vault, key: 'kek' });
	const read = () => new KeyClient(url, new ManagedIdentityCredential({ clientId, ...quick }), quick).getKey('kek');

	await control.call('grant', { vault, principal: clientId, permissions: ['get'] });
	process.env.IDENTITY_ENDPOINT = app_service.endpoint;
	process.env.IDENTITY_HEADER = app_service.header;
	await control.call('identity.remove', { client_id: clientId });
	await assert.rejects(read(), /No Managed Identity found/);
	await control.call('identity.restore', { client_id: clientId });
	assert.strictEqual((await read()).id, key.kid);
});
