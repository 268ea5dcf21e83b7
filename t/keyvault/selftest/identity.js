/*
 * Tokens: the endpoint of Entra ID, and managed identity in its three forms.
 */
'use strict';

const assert = require('assert');
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const { execFileSync } = require('child_process');
const { describe, it } = require('node:test');
const { harness, now } = require('../lib/harness');
const { sign } = require('../lib/jose');

const h = harness();

describe('the token endpoint', () => {
	const refusal = async (form, number, status, error) => {
		const answer = await h.requestToken(form);

		assert.deepStrictEqual([answer.body.error_codes, answer.status, answer.body.error], [[number], status, error]);
		assert.match(answer.body.correlation_id, /^[0-9a-f-]{36}$/);
		assert.match(answer.body.error_description, new RegExp(`^AADSTS${number}: .* Trace ID: .* Timestamp: `));
	};

	it('gives tokens that say whose they are', async () => {
		const answer = await h.requestToken(h.app);
		const claims = JSON.parse(Buffer.from(answer.body.access_token.split('.')[1], 'base64url'));

		assert.deepStrictEqual([answer.body.token_type, answer.body.expires_in], ['Bearer', 3599]);
		assert.deepStrictEqual([claims.aud, claims.iss, claims.appid, claims.oid, claims.tid],
			['https://vault.localhost', `https://sts.windows.net/${h.facts.tenant_id}/`, h.app.client_id, h.app.oid, h.facts.tenant_id]);
		await h.call('token.lifetime', { seconds: 60 });
		assert.strictEqual((await h.requestToken(h.app)).body.expires_in, 60);
		await h.call('token.lifetime', { seconds: 3599 });
	});

	it('refuses what is not there or not right', async () => {
		const { client_id, client_secret } = h.app;

		await refusal({ client_id, client_secret: client_secret + 'x' }, 7000215, 401, 'invalid_client');
		await refusal({ client_id: crypto.randomUUID(), client_secret }, 700016, 400, 'unauthorized_client');
		await refusal({ client_id, client_secret, tenant: crypto.randomUUID() }, 90002, 400, 'invalid_request');
		await refusal({ client_id, client_secret, tenant: 'no_tenant' }, 900023, 400, 'invalid_request');
		await refusal({ client_id }, 7000218, 401, 'invalid_client');
		await refusal({ client_id, client_secret, scope: '' }, 900144, 400, 'invalid_request');
		await refusal({ client_id, client_secret, scope: 'user.read' }, 70011, 400, 'invalid_scope');
	});

	it('knows applications that are disabled, deleted, without a principal, with old secrets', async () => {
		const mine = await h.call('app.create');
		const { client_id } = mine;

		for (const [state, number, status] of [['disabled', 7000112, 401], ['missing_principal', 7000229, 401], ['deleted', 700016, 400]]) {
			await h.call('app.set', { client_id, [state]: true });
			await refusal(mine, number, status, 'unauthorized_client');
			await h.call('app.set', { client_id, [state]: false });
		}
		await h.call('app.expire_secrets', { client_id });
		await refusal(mine, 7000222, 401, 'invalid_client');
		const { client_secret } = await h.call('app.add_secret', { client_id });

		assert.strictEqual((await h.requestToken({ client_id, client_secret })).status, 200);
		await h.call('app.remove_secrets', { client_id });
		await refusal({ client_id, client_secret }, 7000215, 401, 'invalid_client');
	});

	it('verifies an assertion signed with a certificate, RS256 and PS256', async () => {
		const { client_id } = await h.call('app.create', { secret: false });
		const file = path.join(h.scratch, 'cert');

		execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=app', '-days', '2',
			'-keyout', file + '.key', '-out', file + '.crt'], { stdio: 'ignore' });
		const pem = fs.readFileSync(file + '.crt', 'utf8');
		const key = crypto.createPrivateKey(fs.readFileSync(file + '.key'));
		const { raw } = new crypto.X509Certificate(pem);
		const thumb = (hash) => crypto.createHash(hash).update(raw).digest('base64url');
		const endpoint = `${h.facts.authority_host}/${h.facts.tenant_id}/oauth2/v2.0/token`;
		const form = (header, claims = {}, signer = key) => ({
			client_id,
			client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
			client_assertion: sign({ aud: endpoint, iss: client_id, sub: client_id, jti: '1', nbf: now(), exp: now() + 600, ...claims },
				signer, header),
		});
		const rs = { alg: 'RS256', x5t: thumb('sha1') };

		await refusal(form(rs), 700027, 401, 'invalid_client');
		await h.call('app.add_certificate', { client_id, pem });
		for (const header of [rs, { alg: 'PS256', 'x5t#S256': thumb('sha256') }])
			assert.strictEqual((await h.requestToken(form(header))).status, 200);
		const stranger = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;

		await refusal(form(rs, {}, stranger), 700027, 401, 'invalid_client');
		await refusal(form(rs, { aud: 'https://elsewhere' }), 700023, 401, 'invalid_client');
		await refusal(form(rs, { nbf: now() - 7200, exp: now() - 3600 }), 700024, 401, 'invalid_client');
		await refusal({ ...form(rs), client_assertion: 'a.b' }, 50027, 400, 'invalid_request');
		await h.call('app.remove_certificates', { client_id });
		await refusal(form(rs), 700027, 401, 'invalid_client');
	});

	it('verifies a federated token', async () => {
		const { client_id } = await h.call('app.create', { secret: false });
		const subject = 'system:serviceaccount:ns:sa';
		const form = async (params = {}) => ({
			client_id,
			client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
			client_assertion: (await h.call('federated_token', { subject, ...params })).token,
		});

		await refusal(await form(), 700211, 401, 'invalid_client');
		await h.call('app.add_federated', { client_id, subject });
		assert.strictEqual((await h.requestToken(await form())).status, 200);
		await refusal(await form({ subject: 'x' }), 700213, 401, 'invalid_client');
		await refusal(await form({ audience: 'x' }), 700212, 401, 'invalid_client');
		await refusal(await form({ issuer: 'https://x' }), 700211, 401, 'invalid_client');
		await refusal(await form({ lifetime: -4000 }), 700024, 401, 'invalid_client');
		const forged = await form();

		forged.client_assertion = forged.client_assertion.replace(/.{10}$/, 'AAAAAAAAAA');
		await refusal(forged, 50027, 400, 'invalid_request');
	});

	it('loses and finds a tenant', async () => {
		const { tenant_id } = await h.call('tenant.create');
		const mine = await h.call('app.create', { tenant: tenant_id });
		const form = { ...mine, tenant: tenant_id };

		assert.strictEqual((await h.requestToken(form)).status, 200);
		await h.call('tenant.delete', { tenant: tenant_id });
		await refusal(form, 90002, 400, 'invalid_request');
		await h.call('tenant.recover', { tenant: tenant_id });
		assert.strictEqual((await h.requestToken(form)).status, 200);
	});
});

describe('managed identity', () => {
	const query = (more = {}) => new URLSearchParams({ 'api-version': '2018-02-01', resource: 'https://vault.localhost', ...more });
	const imds = (q, headers = { Metadata: 'true' }) =>
		h.control.request('GET', `${h.facts.imds_url}/metadata/identity/oauth2/token?${q}`, { headers });

	it('by the metadata service', async () => {
		const none = await imds(query());

		assert.deepStrictEqual([none.status, none.body], [400, { error: 'invalid_request', error_description: 'Identity not found' }]);
		const user = await h.call('identity.create', { kind: 'user' });

		assert.strictEqual((await imds(query())).body.client_id, user.client_id);
		const second = await h.call('identity.create', { kind: 'user' });

		assert.match((await imds(query())).body.error_description, /^Multiple user assigned identities exist/);
		assert.strictEqual((await imds(query({ client_id: second.client_id }))).body.client_id, second.client_id);
		const system = await h.call('identity.create', { kind: 'system' });
		const { body } = await imds(query());

		assert.strictEqual(body.client_id, system.client_id);
		for (const name of ['expires_in', 'expires_on', 'not_before'])
			assert.match(body[name], /^\d+$/);
		const { vault, get } = await h.make();
		const headers = { Authorization: `Bearer ${body.access_token}` };

		assert.strictEqual((await get('/keys/kek', { headers })).status, 403);
		await h.call('grant', { vault, principal: system.client_id, permissions: 'Key Vault Crypto Service Encryption User' });
		assert.strictEqual((await get('/keys/kek', { headers })).status, 200);
		await h.call('identity.remove', { client_id: system.client_id });
		await h.call('identity.remove', { client_id: second.client_id });
		assert.strictEqual((await imds(query({ client_id: second.client_id }))).body.error_description, 'Identity not found');
		/* a token once issued goes on working */
		assert.strictEqual((await get('/keys/kek', { headers })).status, 200);
		await h.call('identity.restore', { client_id: system.client_id });
	});

	it('by the metadata service, but only as it wants to be asked', async () => {
		assert.strictEqual((await imds(query(), {})).body.error_description, 'Required metadata header not specified');
		assert.strictEqual((await imds(query(), { 'Metadata': 'true', 'X-Forwarded-For': '1.2.3.4' })).status, 400);
		assert.strictEqual((await imds(query({ resource: '' }))).status, 400);
		assert.strictEqual((await imds(query({ 'api-version': '' }))).status, 400);
	});

	it('by App Service', async () => {
		const ask = (header, version = '2019-08-01') => h.control.request('GET',
			`${h.facts.app_service.endpoint}?${query({ 'api-version': version })}`, { headers: { 'X-IDENTITY-HEADER': header } });

		assert.strictEqual((await ask('wrong')).status, 401);
		assert.strictEqual((await ask(h.facts.app_service.header, '2018-02-01')).status, 400);
		const { body } = await ask(h.facts.app_service.header);

		assert.match(body.expires_on, /^\d+$/);
		assert.strictEqual(body.token_type, 'Bearer');
	});

	it('by Arc, to who can read its file, once', async () => {
		const ask = (headers) => h.control.request('GET',
			`${h.facts.arc.endpoint}?${query({ 'api-version': '2019-11-01' })}`, { headers: { Metadata: 'true', ...headers } });
		const first = await ask({});

		assert.strictEqual(first.status, 401);
		const [, file] = /^Basic realm=(.*)$/.exec(first.headers['www-authenticate']);

		assert.strictEqual(path.dirname(file), h.facts.arc.token_dir);
		assert.match(file, /\.key$/);
		const secret = fs.readFileSync(file, 'utf8');

		assert.ok(secret.length <= 4096);
		assert.strictEqual((await ask({ Authorization: 'Basic no' })).status, 401);
		assert.strictEqual((await ask({ Authorization: `Basic ${secret}` })).body.token_type, 'Bearer');
		assert.strictEqual((await ask({ Authorization: `Basic ${secret}` })).status, 401);
	});
});
