/*
 * Is the test vault like the real one?  Judged by a client that nobody here
 * wrote: what Azure's SDK makes of its answers, and of its refusals.
 *
 * Started by the script run beside this file.
 */
'use strict';

const assert = require('assert');
const crypto = require('crypto');
const { before, describe, it } = require('node:test');
const { ClientSecretCredential } = require('@azure/identity');
const {
	authority, call, cryptoOf, failure, keysOf, list, makeVault, refused, theApp,
} = require('./harness');

const now = () => Math.floor(Date.now() / 1000);

describe('keys', () => {
	for (const size of [2048, 3072, 4096]) {
		it(`are created with ${size} bits, and read`, async () => {
			const { client, url } = await makeVault();
			const made = await client.createRsaKey('kek', { keySize: size });
			const read = await client.getKey('kek');

			assert.strictEqual(read.id, made.id);
			assert.match(read.id, new RegExp(`^${url}/keys/kek/[0-9a-f]{32}$`));
			assert.strictEqual(read.keyType, 'RSA');
			assert.strictEqual(read.key.n[0] & 0x80, 0x80);
			assert.strictEqual(read.key.n.length, size / 8);
			assert.deepStrictEqual([...read.key.e], [1, 0, 1]);
			assert.deepStrictEqual(read.keyOperations, ['encrypt', 'decrypt', 'sign', 'verify', 'wrapKey', 'unwrapKey']);
			assert.strictEqual(read.properties.enabled, true);
			assert.strictEqual(read.properties.recoveryLevel, 'Recoverable');
			assert.strictEqual(read.properties.recoverableDays, 90);
			assert.ok(read.properties.createdOn instanceof Date);
		});
	}

	it('are created with attributes', async () => {
		const { client } = await makeVault({ purge_protection: false, retention_days: 7 });
		const expiresOn = new Date((now() + 3600) * 1000);
		const notBefore = new Date((now() - 60) * 1000);
		const made = await client.createRsaKey('kek', {
			expiresOn, notBefore, enabled: false, keyOps: ['wrapKey', 'unwrapKey'], tags: { of: 'test' },
		});

		assert.strictEqual(made.properties.enabled, false);
		assert.strictEqual(made.properties.recoveryLevel, 'CustomizedRecoverable+Purgeable');
		assert.strictEqual(made.properties.recoverableDays, 7);
		assert.deepStrictEqual(made.properties.expiresOn, expiresOn);
		assert.deepStrictEqual(made.properties.notBefore, notBefore);
		assert.deepStrictEqual(made.properties.tags, { of: 'test' });
		assert.deepStrictEqual(made.keyOperations, ['wrapKey', 'unwrapKey']);
	});

	it('are updated, one version or the newest', async () => {
		const { client } = await makeVault();
		const first = await client.createRsaKey('kek');
		const second = await client.rotateKey('kek');
		const updated = await client.updateKeyProperties('kek', { enabled: false, keyOps: ['unwrapKey'] });

		assert.strictEqual(updated.id, second.id);
		assert.strictEqual((await client.getKey('kek')).properties.enabled, false);
		assert.deepStrictEqual((await client.getKey('kek')).keyOperations, ['unwrapKey']);
		await client.updateKeyProperties('kek', first.properties.version, { tags: { old: 'yes' } });
		const old = await client.getKey('kek', { version: first.properties.version });

		assert.strictEqual(old.properties.enabled, true);
		assert.deepStrictEqual(old.properties.tags, { old: 'yes' });
	});

	it('rotate: a new version, the old one stays', async () => {
		const { client } = await makeVault();
		const first = await client.createRsaKey('kek', { keySize: 3072 });
		const second = await client.rotateKey('kek');

		assert.notStrictEqual(second.properties.version, first.properties.version);
		assert.strictEqual(second.key.n.length, 384);
		assert.strictEqual((await client.getKey('kek')).id, second.id);
		assert.strictEqual((await client.getKey('kek', { version: first.properties.version })).id, first.id);
	});

	it('list their versions, page by page', async () => {
		const { client } = await makeVault();
		const ids = [(await client.createRsaKey('kek')).id];

		for (let i = 0; i < 4; i++)
			ids.push((await client.rotateKey('kek')).id);
		const pages = await list(client.listPropertiesOfKeyVersions('kek').byPage({ maxPageSize: 2 }));

		assert.deepStrictEqual(pages.map((p) => p.length), [2, 2, 1]);
		assert.deepStrictEqual(pages.flat().map((p) => p.id).sort(), ids.sort());
		await client.createRsaKey('other');
		assert.deepStrictEqual((await list(client.listPropertiesOfKeys())).map((p) => p.name).sort(), ['kek', 'other']);
	});

	it('are imported', async () => {
		const { client } = await makeVault();
		const pair = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
		const jwk = pair.privateKey.export({ format: 'jwk' });
		const key = { kty: 'RSA', keyOps: ['wrapKey', 'unwrapKey'] };

		for (const name of ['n', 'e', 'd', 'p', 'q', 'dp', 'dq', 'qi'])
			key[name] = Buffer.from(jwk[name], 'base64url');
		const imported = await client.importKey('kek', key);
		const wrapped = crypto.publicEncrypt({ key: pair.publicKey, oaepHash: 'sha256' }, Buffer.from('value'));
		const { result } = await cryptoOf(imported.id).unwrapKey('RSA-OAEP-256', wrapped);

		assert.strictEqual(Buffer.from(result).toString(), 'value');
	});

	it('have a rotation policy', async () => {
		const { client } = await makeVault();

		await client.createRsaKey('kek');
		assert.strictEqual((await client.getKeyRotationPolicy('kek')).lifetimeActions[0].action, 'Notify');
		await client.updateKeyRotationPolicy('kek',
			{ lifetimeActions: [{ action: 'Rotate', timeAfterCreate: 'P20D' }], expiresIn: 'P50D' });
		assert.strictEqual((await client.getKeyRotationPolicy('kek')).expiresIn, 'P50D');
		const { expiresOn } = (await client.rotateKey('kek')).properties;

		assert.ok(Math.abs(expiresOn / 1000 - now() - 50 * 86400) < 60);
	});

	it('of a managed HSM', async () => {
		const { client, url } = await makeVault({ type: 'hsm' });

		assert.match(url, /\.managedhsm\.localhost:/);
		assert.strictEqual((await refused(client.createKey('kek', 'RSA'))).status, 400);
		const key = await client.createRsaKey('kek', { hsm: true });

		assert.strictEqual(key.keyType, 'RSA-HSM');
		const wrapped = await cryptoOf(key).wrapKey('RSA-OAEP-256', Buffer.from('value'));
		const { result } = await cryptoOf(key.id).unwrapKey('RSA-OAEP-256', wrapped.result);

		assert.strictEqual(Buffer.from(result).toString(), 'value');
	});
});

describe('wrapping', () => {
	for (const alg of ['RSA-OAEP-256', 'RSA-OAEP', 'RSA1_5']) {
		it(`${alg}: what is wrapped in the vault or outside opens in the vault`, async () => {
			const { client, name } = await makeVault();
			const key = await client.createRsaKey('kek');
			const value = crypto.randomBytes(32);
			/* by id alone the SDK must fetch the key; from a bundle it may wrap by itself */
			const results = [
				await cryptoOf(key).wrapKey(alg, value),
				await cryptoOf(key.id).wrapKey(alg, value),
				{ result: Buffer.from((await call('key.use',
					{ vault: name, key: 'kek', op: 'wrapKey', alg, value: value.toString('base64url') })).value, 'base64url') },
			];

			for (const { result } of results) {
				const opened = await cryptoOf(key.id).unwrapKey(alg, result);

				assert.deepStrictEqual(Buffer.from(opened.result), value);
				assert.strictEqual(opened.keyID, key.id);
			}
		});
	}

	it('is done by the vault for RSA-OAEP-256', async () => {
		const { client, name } = await makeVault();
		const key = await client.createRsaKey('kek');

		await call('log', { reset: true });
		await cryptoOf(key).wrapKey('RSA-OAEP-256', Buffer.alloc(32));
		const log = (await call('log')).filter((entry) => entry.vault === name);

		assert.ok(log.some((entry) => entry.op === 'wrap' && entry.status === 200));
	});

	it('by an old version after a rotation', async () => {
		const { client } = await makeVault();
		const first = await client.createRsaKey('kek');
		const { result } = await cryptoOf(first).wrapKey('RSA-OAEP-256', Buffer.from('value'));
		const second = await client.rotateKey('kek');

		assert.strictEqual(Buffer.from((await cryptoOf(first).unwrapKey('RSA-OAEP-256', result)).result).toString(), 'value');
		assert.strictEqual((await refused(cryptoOf(second).unwrapKey('RSA-OAEP-256', result))).code, 'BadParameter');
	});

	it('encrypt and decrypt', async () => {
		const { client } = await makeVault();
		const key = await client.createRsaKey('kek');
		const { result } = await cryptoOf(key).encrypt('RSA-OAEP-256', Buffer.from('value'));

		assert.strictEqual(Buffer.from((await cryptoOf(key).decrypt('RSA-OAEP-256', result)).result).toString(), 'value');
	});
});

describe('a key that cannot be used', () => {
	let vault;
	let key;
	let wrapped;
	let blind;

	/*
	 * The SDK reads a key before it uses it, and refuses by itself what the key's
	 * dates and operations forbid.  Who may not read it gets the vault's word.
	 */
	before(async () => {
		const other = await call('app.create');

		blind = new ClientSecretCredential(other.tenant_id, other.client_id, other.client_secret, authority);
		vault = await makeVault();
		await call('grant', { vault: vault.name, principal: other.client_id, permissions: ['wrapKey', 'unwrapKey'] });
		key = await vault.client.createRsaKey('kek');
		wrapped = (await cryptoOf(key).wrapKey('RSA-OAEP-256', Buffer.from('value'))).result;
	});

	const wrap = () => cryptoOf(key.id, blind).wrapKey('RSA-OAEP-256', Buffer.from('value'));
	const unwrap = () => cryptoOf(key.id, blind).unwrapKey('RSA-OAEP-256', wrapped);
	const set = (params) => call('key.set', { vault: vault.name, key: 'kek', ...params });

	it('is disabled', async () => {
		await set({ enabled: false });
		assert.strictEqual((await vault.client.getKey('kek')).properties.enabled, false);
		const no = await refused(unwrap());

		assert.deepStrictEqual([no.status, no.code, no.inner], [403, 'Forbidden', 'KeyDisabled']);
		assert.strictEqual(no.message, 'Operation unwrapKey is not allowed on a disabled key.');
		await wrap();
		await set({ enabled: true });
		await unwrap();
	});

	it('has expired, or is not yet valid', async () => {
		for (const outside of [{ exp: now() - 60 }, { nbf: now() + 3600 }]) {
			await set(outside);
			await unwrap();
			const no = await refused(wrap());

			assert.deepStrictEqual([no.status, no.code, no.inner], [403, 'Forbidden', undefined]);
			await set({ exp: null, nbf: null });
			await wrap();
		}
	});

	it('may not do what it is asked', async () => {
		await set({ key_ops: ['wrapKey'] });
		const no = await refused(unwrap());

		assert.deepStrictEqual([no.status, no.code, no.inner], [403, 'Forbidden', 'KeyOperationForbidden']);
		assert.strictEqual(no.message, 'Operation unwrapKey is not permitted on this key.');
		await set({ key_ops: null });
		await unwrap();
	});

	it('is not there', async () => {
		for (const ask of [
			() => vault.client.getKey('nokey'),
			() => vault.client.getKey('kek', { version: '0'.repeat(32) }),
			() => vault.client.beginDeleteKey('nokey'),
			() => cryptoOf(key.id.replace(/.{32}$/, '0'.repeat(32)), blind).unwrapKey('RSA-OAEP-256', wrapped),
		]) {
			const no = await refused(ask());

			assert.deepStrictEqual([no.status, no.code, no.inner], [404, 'KeyNotFound', undefined]);
			assert.match(no.message, /^A key with \(name\/id\) .* was not found in this key vault\./);
		}
	});
});

describe('soft delete', () => {
	it('deletes, shows, recovers', async () => {
		const { client } = await makeVault({ propagation_ms: 300 });
		const key = await client.createRsaKey('kek');
		const deleting = await client.beginDeleteKey('kek', { intervalInMs: 50 });
		const deleted = await deleting.pollUntilDone();

		assert.strictEqual(deleted.id, key.id);
		assert.match(deleted.properties.recoveryId, /\/deletedkeys\/kek$/);
		assert.strictEqual(Math.round((deleted.properties.scheduledPurgeDate - deleted.properties.deletedOn) / 864e5), 90);
		assert.strictEqual((await refused(client.getKey('kek'))).code, 'KeyNotFound');
		assert.strictEqual((await client.getDeletedKey('kek')).id, key.id);
		assert.deepStrictEqual((await list(client.listDeletedKeys())).map((k) => k.name), ['kek']);
		const conflict = await refused(client.createRsaKey('kek'));

		assert.deepStrictEqual([conflict.status, conflict.inner], [409, 'ObjectIsDeletedButRecoverable']);
		const recovering = await client.beginRecoverDeletedKey('kek', { intervalInMs: 50 });

		assert.strictEqual((await recovering.pollUntilDone()).id, key.id);
		assert.strictEqual((await client.getKey('kek')).id, key.id);
		assert.strictEqual((await refused(client.getDeletedKey('kek'))).message, 'Deleted Key not found: kek');
	});

	it('purges, unless purge protection forbids it', async () => {
		const open = await makeVault({ purge_protection: false });
		const closed = await makeVault();

		for (const { client } of [open, closed]) {
			await client.createRsaKey('kek');
			await (await client.beginDeleteKey('kek', { intervalInMs: 50 })).pollUntilDone();
		}
		await open.client.purgeDeletedKey('kek');
		assert.strictEqual((await refused(open.client.getDeletedKey('kek'))).code, 'KeyNotFound');
		assert.strictEqual((await refused(closed.client.purgeDeletedKey('kek'))).status, 403);
		assert.strictEqual((await closed.client.getDeletedKey('kek')).name, 'kek');
	});
});

describe('access', () => {
	for (const rbac of [true, false]) {
		it(`is denied by ${rbac ? 'roles' : 'access policy'}, permission by permission`, async () => {
			const { name, client } = await makeVault({ rbac });
			const key = await client.createRsaKey('kek');
			const { result } = await cryptoOf(key).wrapKey('RSA-OAEP-256', Buffer.from('value'));
			const uses = {
				get: () => client.getKey('kek'),
				wrapKey: () => cryptoOf(key).wrapKey('RSA-OAEP-256', Buffer.from('value')),
				unwrapKey: () => cryptoOf(key).unwrapKey('RSA-OAEP-256', result),
			};

			for (const [permission, use] of Object.entries(uses)) {
				await call('revoke', { vault: name, principal: theApp().client_id, permissions: [permission] });
				const no = await refused(use());

				assert.deepStrictEqual([no.status, no.code, no.inner],
					[403, 'Forbidden', rbac ? 'ForbiddenByRbac' : 'ForbiddenByPolicy']);
				assert.ok(no.message.includes(theApp().oid));
				await call('grant', { vault: name, principal: theApp().client_id, permissions: [permission] });
				await use();
			}
		});
	}

	it('is denied by the network', async () => {
		const { name, client } = await makeVault();

		await client.createRsaKey('kek');
		for (const [how, code] of [['firewall', 'ForbiddenByFirewall'], ['connection', 'ForbiddenByConnection']]) {
			await call('vault.set', { vault: name, firewall: how });
			const no = await refused(client.getKey('kek'));

			assert.deepStrictEqual([no.status, no.code, no.inner], [403, 'Forbidden', code]);
		}
		await call('vault.set', { vault: name, firewall: null });
		await client.getKey('kek');
	});

	it('is denied with a token of another tenant, or for another service', async () => {
		const { url } = await makeVault();
		const { tenant_id } = await call('tenant.create');
		const holding = async (params) => {
			const { token } = await call('token.issue', { client_id: theApp().client_id, resource: 'https://vault.localhost', ...params });

			return { getToken: () => Promise.resolve({ token, expiresOnTimestamp: Date.now() + 3600e3 }) };
		};

		for (const [params, message] of [
			[{ tenant: tenant_id }, /^AKV10032: Invalid issuer\. Expected one of /],
			[{ resource: 'https://management.azure.com/' }, /^AKV10022: Invalid audience\. Expected https:\/\/vault\.localhost/],
		]) {
			const no = await refused(keysOf(url, await holding(params)).getKey('kek'));

			assert.deepStrictEqual([no.status, no.code], [401, 'Unauthorized']);
			assert.match(no.message, message);
		}
	});

	it('is not asked of a vault whose challenge names a stranger', async () => {
		const { name, client } = await makeVault();

		await call('vault.set', { vault: name, challenge: { resource: 'https://elsewhere.localhost' } });
		await assert.rejects(client.getKey('kek'), /does not match the requested domain/);
	});
});

describe('the way to the vault', () => {
	it('is TLS that is verified', async () => {
		const { client } = await makeVault();

		await client.createRsaKey('kek');
		for (const variant of ['wrong-ca', 'wrong-host', 'expired', 'not-yet-valid']) {
			await call('tls.set', { variant });
			const e = await failure(() => client.getKey('kek'));


			await call('tls.set', { variant: 'good' });
			assert.match(String(e.code), /CERT|SIGNATURE|ALTNAME/, `${variant}: ${e.stack}`);
		}
		await client.getKey('kek');
	});

	it('is tried again when throttled, after Retry-After', async () => {
		const { name, client, url } = await makeVault();

		await client.createRsaKey('kek');
		await call('fault.add', { match: { vault: name, op: 'get' }, status: 429, retry_after: 1, count: 2 });
		const patient = keysOf(url, undefined, {});
		const began = Date.now();

		await patient.getKey('kek');
		assert.ok(Date.now() - began >= 1900);
		await call('fault.clear');
		await call('fault.add', { match: { vault: name, op: 'get' }, status: 429, count: 1 });
		assert.strictEqual((await refused(client.getKey('kek'))).code, 'Throttled');
		await call('fault.clear');
	});

	it('needs an api-version that the service knows', async () => {
		const { url } = await makeVault({ api_versions: ['7.1', '7.2'] });
		const no = await refused(keysOf(url).getKey('kek'));

		assert.deepStrictEqual([no.status, no.code], [400, 'BadParameter']);
		assert.match(no.message, /^The specified version \(.*\) is not recognized\./);
	});

	it('ends when the vault is gone', async () => {
		const { name, client } = await makeVault({ own_port: true });

		await client.createRsaKey('kek');
		await call('vault.down', { vault: name });
		assert.strictEqual((await failure(() => client.getKey('kek'))).code, 'ECONNREFUSED');
		await call('vault.up', { vault: name });
		await client.getKey('kek');
	});
});
