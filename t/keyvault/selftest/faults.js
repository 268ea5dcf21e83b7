/*
 * Each fault that a test can order, seen from the other end of the connection.
 */
'use strict';

const assert = require('assert');
const zlib = require('zlib');
const { afterEach, before, describe, it } = require('node:test');
const { harness, until, now, told, VALUE } = require('../lib/harness');

const h = harness();

describe('faults', () => {
	let v;

	before(async () => {
		v = await h.make();
	});
	afterEach(() => h.call('fault.clear'));

	const fault = (spec) => h.call('fault.add', { match: { vault: v.vault, op: 'get' }, ...spec });
	const get = () => v.get('/keys/kek', { agent: false });

	it('meet what they match, after skip and count times', async () => {
		await fault({ status: 503, skip: 1, count: 2 });
		const statuses = [];

		for (let i = 0; i < 4; i++)
			statuses.push((await get()).status);
		assert.deepStrictEqual(statuses, [200, 503, 503, 200]);
		assert.strictEqual((await h.call('fault.list'))[0].met, 2);
		await fault({ match: { vault: v.vault, op: ['wrap', 'unwrap'] }, status: 500 });
		assert.strictEqual((await get()).status, 200);
		assert.strictEqual((await v.post('/keys/kek/wrapkey', { body: VALUE })).status, 500);
	});

	it('are one at a time cleared', async () => {
		const id = (await fault({ status: 500 })).id;

		await fault({ status: 502 });
		assert.strictEqual((await get()).status, 500);
		await h.call('fault.clear', { id });
		assert.strictEqual((await get()).status, 502);
	});

	it('status, with the error of the service, Retry-After and other headers', async () => {
		await fault({ status: 429, retry_after: 7, headers: { 'X-Extra': 'yes', 'x-ms-request-id': null } });
		const answer = await get();

		assert.deepStrictEqual(told(answer), [429, 'Throttled', undefined]);
		assert.deepStrictEqual([answer.headers['retry-after'], answer.headers['x-extra'], answer.headers['x-ms-request-id']],
			['7', 'yes', undefined]);
		await h.call('fault.clear');
		await fault({ status: 403, code: 'Forbidden', inner: 'SomethingNew', message: 'No.' });
		assert.deepStrictEqual(told(await get()), [403, 'Forbidden', 'SomethingNew']);
		await h.call('fault.clear');
		await fault({ status: 401, message: 'AKV10022: Invalid audience.' });
		assert.match((await get()).headers['www-authenticate'], /^Bearer authorization=/);
	});

	it('patch, body, garbage, oversize', async () => {
		await fault({ patch: { key: { kid: 'https://elsewhere/keys/kek/1', n: null }, attributes: { enabled: null } } });
		const patched = (await get()).body;

		assert.strictEqual(patched.key.kid, 'https://elsewhere/keys/kek/1');
		assert.strictEqual(patched.key.n, undefined);
		assert.strictEqual(patched.attributes.enabled, undefined);
		assert.strictEqual(patched.key.e, 'AQAB');
		await h.call('fault.clear');
		await fault({ status: 200, body: '<html>', headers: { 'Content-Type': 'text/html' } });
		const page = await get();

		assert.deepStrictEqual([page.status, page.raw.toString(), page.headers['content-type']], [200, '<html>', 'text/html']);
		await h.call('fault.clear');
		await fault({ garbage: 333 });
		assert.strictEqual((await get()).raw.length, 333);
		await h.call('fault.clear');
		await fault({ oversize: 1000000 });
		const big = await get();

		assert.ok(big.raw.length > 1000000);
		assert.strictEqual(big.body.key.kid, v.key.kid);
	});

	it('gzip, truncate, trickle', async () => {
		await fault({ gzip: true });
		const zipped = await get();

		assert.strictEqual(zipped.headers['content-encoding'], 'gzip');
		assert.strictEqual(JSON.parse(zlib.gunzipSync(zipped.raw)).key.kid, v.key.kid);
		await h.call('fault.clear');
		await fault({ truncate: 100 });
		await assert.rejects(get(), { code: 'ECONNRESET' });
		await h.call('fault.clear');
		await fault({ trickle_ms: 1 });
		assert.strictEqual((await get()).body.key.kid, v.key.kid);
	});

	it('close, raw, redirect', async () => {
		await fault({ close: true, count: 1 });
		await assert.rejects(get());
		await fault({ raw: 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}', count: 1 });
		assert.deepStrictEqual((await get()).body, {});
		await fault({ raw: 'not HTTP at all\r\n\r\n', count: 1 });
		await assert.rejects(get());
		await fault({ redirect: 'https://elsewhere/' });
		const answer = await get();

		assert.deepStrictEqual([answer.status, answer.headers.location], [302, 'https://elsewhere/']);
	});

	it('delay, and hang until they are cleared', async () => {
		await fault({ delay_ms: 300, count: 1 });
		const began = Date.now();

		assert.strictEqual((await get()).status, 200);
		assert.ok(Date.now() - began >= 300);
		await fault({ hang: true });
		let ended = false;
		const hanging = get().then(() => assert.fail('was answered'), () => { ended = true; });

		await until('the request hangs', async () => (await h.call('fault.list')).some((f) => f.met > 0 && f.hang));
		assert.strictEqual(ended, false);
		assert.strictEqual((await v.post('/keys/kek/wrapkey', { body: VALUE })).status, 200);
		await h.call('fault.clear');
		await hanging;
	});

	it('of the token endpoint, by AADSTS number', async () => {
		for (const [number, status] of [[7000215, 401], [700016, 400], [90033, 503], [50196, 400]]) {
			await h.call('fault.add', { match: { op: 'token' }, aadsts: number, count: 1 });
			const { status: got, body } = await h.requestToken(h.app);

			assert.strictEqual(got, status);
			assert.deepStrictEqual(body.error_codes, [number]);
			assert.ok(body.error_description.startsWith(`AADSTS${number}: `));
		}
	});
});
