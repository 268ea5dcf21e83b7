/*
 * Each identity of the SDK that the test vault can serve gets a key with it, and
 * its refusals are what the SDK knows.  Started by the script run beside this
 * file.
 */
'use strict';

const assert = require('assert');
const crypto = require('crypto');
const fs = require('fs');
const os = require('os');
const path = require('path');
const { execFileSync } = require('child_process');
const { after, before, describe, it } = require('node:test');
const {
	ClientCertificateCredential, ClientSecretCredential, ManagedIdentityCredential, WorkloadIdentityCredential,
} = require('@azure/identity');
const { authority, call, facts, keysOf, makeVault, quick } = require('./harness');

describe('identities', () => {
	let vault;
	let scratch;

	before(async () => {
		scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'keyvault-sdk-test.'));
		vault = await makeVault();
		await vault.client.createRsaKey('kek');
	});

	after(() => fs.rmSync(scratch, { recursive: true }));

	const allow = (principal) => call('grant', { vault: vault.name, principal, permissions: ['get'] });
	const read = (who) => keysOf(vault.url, who).getKey('kek');

	/* The number in error_codes of the token endpoint's answer. */
	async function aadsts(who) {
		try {
			await read(who);
		} catch (e) {
			assert.match(e.name, /^Authentication(Required)?Error$/, e.stack);
			return Number(/AADSTS(\d+)/.exec(e.message)[1]);
		}
		return assert.fail('was not refused');
	}

	it('a client secret, and its refusals', async () => {
		const mine = await call('app.create');
		const make = (secret = mine.client_secret, tenant = mine.tenant_id, id = mine.client_id) =>
			new ClientSecretCredential(tenant, id, secret, { ...authority, additionallyAllowedTenants: ['*'] });

		await allow(mine.client_id);
		await read(make());
		assert.strictEqual(await aadsts(make('wrong')), 7000215);
		assert.strictEqual(await aadsts(make(undefined, undefined, crypto.randomUUID())), 700016);
		await call('app.expire_secrets', { client_id: mine.client_id });
		assert.strictEqual(await aadsts(make()), 7000222);
		await call('app.expire_secrets', { client_id: mine.client_id, expires: null });
		for (const [state, number] of [['disabled', 7000112], ['missing_principal', 7000229], ['deleted', 700016]]) {
			await call('app.set', { client_id: mine.client_id, [state]: true });
			assert.strictEqual(await aadsts(make()), number);
			await call('app.set', { client_id: mine.client_id, [state]: false });
		}
		await read(make());
		const { tenant_id } = await call('tenant.create');

		await call('vault.set', { vault: vault.name, tenant: tenant_id });
		await call('tenant.delete', { tenant: tenant_id });
		await assert.rejects(read(make()), /90002|endpoints_resolution_error/);
		await call('vault.set', { vault: vault.name, tenant: facts.tenant_id });
	});

	it('a certificate', async () => {
		const mine = await call('app.create', { secret: false });
		const file = path.join(scratch, 'app.pem');

		execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=app', '-days', '2',
			'-keyout', file + '.key', '-out', file + '.crt'], { stdio: 'ignore' });
		fs.writeFileSync(file, fs.readFileSync(file + '.key') + fs.readFileSync(file + '.crt'), { mode: 0o600 });
		const make = () => new ClientCertificateCredential(mine.tenant_id, mine.client_id, file, authority);

		await allow(mine.client_id);
		assert.strictEqual(await aadsts(make()), 700027);
		await call('app.add_certificate', { client_id: mine.client_id, pem: fs.readFileSync(file + '.crt', 'utf8') });
		await read(make());
	});

	it('a federated token', async () => {
		const mine = await call('app.create', { secret: false });
		const file = path.join(scratch, 'token');
		const subject = 'system:serviceaccount:test:postgres';
		const make = async (params = {}) => {
			fs.writeFileSync(file, (await call('federated_token', { subject, ...params })).token);
			return new WorkloadIdentityCredential(
				{ tenantId: mine.tenant_id, clientId: mine.client_id, tokenFilePath: file, ...authority });
		};

		await allow(mine.client_id);
		assert.strictEqual(await aadsts(await make()), 700211);
		await call('app.add_federated', { client_id: mine.client_id, subject });
		await read(await make());
		assert.strictEqual(await aadsts(await make({ subject: 'another' })), 700213);
		assert.strictEqual(await aadsts(await make({ audience: 'another' })), 700212);
		assert.strictEqual(await aadsts(await make({ lifetime: -3600 })), 700024);
	});

	it('a managed identity, system- and user-assigned, and one that is removed', async () => {
		const system = await call('identity.create', { kind: 'system' });
		const user = await call('identity.create', { kind: 'user' });

		await allow(system.client_id);
		await allow(user.client_id);
		process.env.AZURE_POD_IDENTITY_AUTHORITY_HOST = facts.imds_url;
		/* removed first: MSAL keeps a token once it has it, for the whole process */
		const assigned = () => new ManagedIdentityCredential({ clientId: user.client_id, ...quick });

		await call('identity.remove', { client_id: user.client_id });
		await assert.rejects(read(assigned()), { name: /^(CredentialUnavailableError|Authentication(Required)?Error)$/ });
		await call('identity.restore', { client_id: user.client_id });
		await read(assigned());
		await read(new ManagedIdentityCredential(quick));
		delete process.env.AZURE_POD_IDENTITY_AUTHORITY_HOST;
	});
});
