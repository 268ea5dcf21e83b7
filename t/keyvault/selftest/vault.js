/*
 * Vaults and keys: the facts of the service that the client under test relies on.
 */
'use strict';

const assert = require('assert');
const crypto = require('crypto');
const { describe, it } = require('node:test');
const { harness, now, told, VALUE } = require('../lib/harness');
const { sign } = require('../lib/jose');

const h = harness();

describe('requests', () => {
	it('without a token get the challenge', async () => {
		for (const [type, host] of [['vault', 'vault.localhost'], ['hsm', 'managedhsm.localhost']]) {
			const { get } = await h.make({ type });
			const answer = await get('/keys/kek', { headers: { 'Authorization': '', 'x-ms-client-request-id': 'abc' } });

			assert.deepStrictEqual(told(answer), [401, 'Unauthorized', undefined]);
			assert.strictEqual(answer.headers['www-authenticate'],
				`Bearer authorization="${h.facts.authority_host}/${h.facts.tenant_id}", resource="https://${host}"`);
			assert.match(answer.headers['x-ms-request-id'], /^[0-9a-f-]{36}$/);
			assert.strictEqual(answer.headers['x-ms-client-request-id'], 'abc');
			assert.strictEqual(answer.headers['x-ms-keyvault-region'], 'testregion');
			assert.ok(Math.abs(new Date(answer.headers.date) - Date.now()) < 5000);
		}
	});

	it('need a token that is ours, for this service, of this tenant, and of this time', async () => {
		const { get, vault } = await h.make();
		const stranger = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
		const status = async (t) => told(await get('/keys/kek', { headers: { Authorization: `Bearer ${t}` } }));

		assert.deepStrictEqual(await status('rubbish'), [401, 'Unauthorized', undefined]);
		assert.deepStrictEqual(await status(sign({ aud: 'https://vault.localhost', exp: now() + 60 }, stranger)),
			[401, 'Unauthorized', undefined]);
		const wrong = await get('/keys/kek', { headers: { Authorization: `Bearer ${await h.bearer('https://other')}` } });

		assert.match(wrong.body.error.message, /^AKV10022: Invalid audience\. Expected https:\/\/vault\.localhost, found: https:\/\/other\.$/);
		assert.match(wrong.headers['www-authenticate'], /^Bearer authorization=/);
		const { tenant_id } = await h.call('tenant.create');

		await h.call('vault.set', { vault, tenant: tenant_id });
		const moved = await get('/keys/kek');

		assert.match(moved.body.error.message, /^AKV10032: Invalid issuer\. Expected one of https:\/\/sts\.windows\.net\//);
		assert.ok(moved.headers['www-authenticate'].includes(tenant_id));
		await h.call('vault.set', { vault, tenant: h.facts.tenant_id });
		await h.call('clock.offset', { seconds: 7200 });
		assert.match((await get('/keys/kek')).body.error.message, /expired/);
		await h.call('clock.offset', { seconds: 0 });
		assert.strictEqual((await get('/keys/kek')).status, 200);
	});

	it('need an api-version', async () => {
		const { get } = await h.make();

		assert.strictEqual((await get('/keys/kek', { version: '' })).body.error.message, 'api-version must be specified');
		assert.deepStrictEqual(told(await get('/keys/kek', { version: '9.9' })), [400, 'BadParameter', undefined]);
		for (const version of ['7.0', '7.6', '2025-07-01', '2026-04-01'])
			assert.strictEqual((await get('/keys/kek', { version })).status, 200);
	});

	it('match without regard to case, and to a slash at the end', async () => {
		const { get, post, key } = await h.make();

		for (const where of ['/keys/kek', '/KEYS/KeK', '/keys/kek/', `/keys/kek/${key.version}`, `/Keys/kek/${key.version.toUpperCase()}/`]) {
			const answer = await get(where);

			assert.strictEqual(answer.body.key.kid, key.kid, where);
		}
		for (const where of [`/keys/kek/${key.version}/wrapKey`, `/keys/kek/${key.version}/WRAPKEY`, '/keys/kek/wrapkey', '/keys/kek//wrapkey'])
			assert.strictEqual((await post(where, { body: VALUE })).body.kid, key.kid, where);
	});

	it('that make no sense are refused', async () => {
		const { get, post, url } = await h.make();

		assert.strictEqual((await get('/secrets/x')).status, 405);
		assert.strictEqual((await get('/keys/%E0%A4%A')).status, 405);
		for (const body of ['{', '[]', 'null', { alg: 'RSA-OAEP-256' }, { ...VALUE, value: 'a+b' }, { ...VALUE, alg: 'none' },
			{ ...VALUE, alg: 'toString' }, { ...VALUE, value: Buffer.alloc(300).toString('base64url') }])
			assert.strictEqual((await post('/keys/kek/wrapkey', { body })).status, 400, JSON.stringify(body));
		assert.strictEqual((await post('/keys/kek/unwrapkey', { body: VALUE })).status, 400);
		await assert.rejects(h.control.request('GET', url.replace('://v', '://x') + '/keys/kek'));
	});
});

describe('keys', () => {
	it('show what they are', async () => {
		const { get, key, url } = await h.make({ purge_protection: false, retention_days: 7 });
		const { body } = await get('/keys/kek');

		assert.deepStrictEqual(Object.keys(body), ['key', 'attributes']);
		assert.deepStrictEqual(body.key.kid, key.kid);
		assert.ok(key.kid.startsWith(`${url}/keys/kek/`));
		assert.strictEqual(key.url, `${url}/keys/kek`);
		assert.strictEqual(Buffer.from(body.key.n, 'base64url').length, 256);
		assert.doesNotMatch(body.key.n, /=/);
		assert.strictEqual(body.attributes.enabled, true);
		assert.strictEqual(body.attributes.recoveryLevel, 'CustomizedRecoverable+Purgeable');
		assert.strictEqual(body.attributes.recoverableDays, 7);
		assert.ok(Math.abs(body.attributes.created - now()) < 60);
	});

	it('are recoverable as their vault says', async () => {
		for (const [options, level] of [
			[{}, 'Recoverable'],
			[{ purge_protection: false }, 'Recoverable+Purgeable'],
			[{ retention_days: 30 }, 'CustomizedRecoverable'],
			[{ soft_delete: false, purge_protection: false }, 'Purgeable'],
			[{ protected_subscription: true }, 'Recoverable+ProtectedSubscription'],
		])
			assert.strictEqual((await h.make(options)).key.attributes.recoveryLevel, level);
	});

	it('disabled: seen, wrap, do not unwrap', async () => {
		const { get, post, vault } = await h.make();
		const { value } = (await post('/keys/kek/wrapkey', { body: VALUE })).body;

		await h.call('key.set', { vault, key: 'kek', enabled: false });
		assert.strictEqual((await get('/keys/kek')).body.attributes.enabled, false);
		assert.strictEqual((await post('/keys/kek/wrapkey', { body: VALUE })).status, 200);
		assert.deepStrictEqual(told(await post('/keys/kek/unwrapkey', { body: { ...VALUE, value } })), [403, 'Forbidden', 'KeyDisabled']);
		await h.call('key.set', { vault, key: 'kek', enabled: true });
		assert.strictEqual((await post('/keys/kek/unwrapkey', { body: { ...VALUE, value } })).body.value, VALUE.value);
	});

	it('expired or not yet valid: unwrap, do not wrap', async () => {
		const { post, vault } = await h.make();
		const { value } = (await post('/keys/kek/wrapkey', { body: VALUE })).body;

		for (const outside of [{ exp: now() - 1 }, { nbf: now() + 600 }]) {
			await h.call('key.set', { vault, key: 'kek', exp: null, nbf: null, ...outside });
			assert.deepStrictEqual(told(await post('/keys/kek/wrapkey', { body: VALUE })), [403, 'Forbidden', undefined]);
			assert.strictEqual((await post('/keys/kek/unwrapkey', { body: { ...VALUE, value } })).status, 200);
		}
	});

	it('rotate, lose a version, go and come back', async () => {
		const { get, post, vault, key } = await h.make();
		const second = await h.call('key.rotate', { vault, key: 'kek' });

		assert.strictEqual((await get('/keys/kek')).body.key.kid, second.kid);
		await h.call('key.drop_version', { vault, key: 'kek', version: second.version });
		assert.strictEqual((await get('/keys/kek')).body.key.kid, key.kid);
		const gone = await post(`/keys/kek/${second.version}/unwrapkey`, { body: VALUE });

		assert.deepStrictEqual(told(gone), [404, 'KeyNotFound', undefined]);
		await assert.rejects(h.call('key.drop_version', { vault, key: 'kek', version: key.version }), /only version/);
		await h.call('key.delete', { vault, key: 'kek' });
		assert.deepStrictEqual(told(await get('/keys/kek')), [404, 'KeyNotFound', undefined]);
		await h.call('key.recover', { vault, key: 'kek' });
		assert.strictEqual((await get('/keys/kek')).status, 200);
		await h.call('key.delete', { vault, key: 'kek' });
		await h.call('key.purge', { vault, key: 'kek' });
		assert.deepStrictEqual(told(await get('/deletedkeys/kek')), [404, 'KeyNotFound', undefined]);
	});

	it('list their versions in pages, and the next one is on the same host', async () => {
		const { get, vault, url } = await h.make();

		for (let i = 0; i < 26; i++)
			await h.call('key.create', { vault, key: 'kek', kty: 'EC' });
		const first = await get('/keys/kek/versions');

		assert.strictEqual(first.body.value.length, 25);
		assert.ok(first.body.nextLink.startsWith(`${url}/keys/kek/versions?`));
		const second = await get(first.body.nextLink, { version: '' });

		assert.strictEqual(second.body.value.length, 2);
		assert.strictEqual(second.body.nextLink, null);
		assert.strictEqual(new Set([...first.body.value, ...second.body.value].map((v) => v.kid)).size, 27);
	});
});

describe('denials', () => {
	it('by role: get and list are one action, and come before the key', async () => {
		const { get, vault } = await h.make();

		await h.call('revoke', { vault, principal: h.app.client_id, permissions: ['list'] });
		for (const where of ['/keys/kek', '/keys/kek/versions', '/keys', '/keys/nosuch']) {
			const no = await get(where);

			assert.deepStrictEqual(told(no), [403, 'Forbidden', 'ForbiddenByRbac']);
			assert.match(no.body.error.message, /Action: 'Microsoft\.KeyVault\/vaults\/keys\/read'\r\n/);
		}
		await h.call('grant', { vault, principal: h.app.oid, permissions: ['get'] });
		assert.strictEqual((await get('/keys')).status, 200);
	});

	it('by access policy: each permission is its own', async () => {
		const { get, vault } = await h.make({ rbac: false });

		await h.call('revoke', { vault, principal: h.app.client_id, permissions: ['list'] });
		assert.strictEqual((await get('/keys/kek')).status, 200);
		const no = await get('/keys');

		assert.deepStrictEqual(told(no), [403, 'Forbidden', 'ForbiddenByPolicy']);
		assert.match(no.body.error.message, /does not have keys list permission on key vault 'v[0-9a-f]+;location=testregion'/);
		await h.call('vault.set', { vault, legacy_policy_code: true });
		assert.deepStrictEqual(told(await get('/keys')), [403, 'Forbidden', 'AccessDenied']);
		await h.call('revoke', { vault, principal: h.app.client_id });
		assert.strictEqual((await get('/keys/kek')).status, 403);
	});

	it('by the network, before any permission', async () => {
		const { get, vault } = await h.make();

		await h.call('revoke', { vault, principal: h.app.client_id });
		await h.call('vault.set', { vault, firewall: 'firewall' });
		assert.deepStrictEqual(told(await get('/keys/kek')), [403, 'Forbidden', 'ForbiddenByFirewall']);
		await h.call('vault.set', { vault, firewall: 'connection' });
		assert.deepStrictEqual(told(await get('/keys/kek')), [403, 'Forbidden', 'ForbiddenByConnection']);
		await h.call('vault.set', { vault, firewall: null });
		assert.deepStrictEqual(told(await get('/keys/kek')), [403, 'Forbidden', 'ForbiddenByRbac']);
	});
});

describe('a vault', () => {
	it('with its own port refuses connections when it is down, and comes back there', async () => {
		const { get, vault, url, key } = await h.make({ own_port: true });
		const { port } = new URL(url);

		assert.notStrictEqual(Number(port), h.facts.port);
		assert.ok(key.kid.startsWith(url));
		assert.strictEqual((await get('/keys/kek', { agent: false })).status, 200);
		await h.call('vault.down', { vault });
		await assert.rejects(get('/keys/kek', { agent: false }), { code: 'ECONNREFUSED' });
		await h.call('vault.up', { vault });
		assert.strictEqual((await get('/keys/kek', { agent: false })).body.key.kid, key.kid);
	});

	it('without one closes connections', async () => {
		const { get, vault } = await h.make();

		await h.call('vault.down', { vault });
		await assert.rejects(get('/keys/kek', { agent: false }), /socket hang up|ECONNRESET/);
		await h.call('vault.up', { vault });
		assert.strictEqual((await get('/keys/kek', { agent: false })).status, 200);
	});

	it('loses its role assignments when it is deleted and recovered', async () => {
		const { get, vault } = await h.make();

		await h.call('vault.delete', { vault });
		await assert.rejects(get('/keys/kek', { agent: false }));
		await h.call('vault.up', { vault });
		assert.deepStrictEqual(told(await get('/keys/kek', { agent: false })), [403, 'Forbidden', 'ForbiddenByRbac']);
	});

	it('shows the certificate that a test wants', async () => {
		const { get } = await h.make();

		for (const [variant, code] of [
			['wrong-ca', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
			['wrong-host', 'ERR_TLS_CERT_ALTNAME_INVALID'],
			['expired', 'CERT_HAS_EXPIRED'],
			['not-yet-valid', 'CERT_NOT_YET_VALID'],
		]) {
			await h.call('tls.set', { variant });
			await assert.rejects(get('/keys/kek', { agent: false }), { code });
		}
		await h.call('tls.set', { variant: 'good' });
		await h.call('tls.set', { variant: 'expired', host: 'login.localhost' });
		assert.strictEqual((await get('/keys/kek', { agent: false })).status, 200);
		await assert.rejects(h.control.request('GET', h.facts.authority_host + '/', { agent: false }), { code: 'CERT_HAS_EXPIRED' });
		await h.call('tls.set', { host: 'login.localhost' });
		await assert.rejects(h.call('tls.set', { variant: 'nonsense' }), /nonsense|at fault|no such/);
	});
});
