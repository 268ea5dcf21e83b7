/*
 * The server itself: what it listens on, what it writes, who controls it.
 */
'use strict';

const assert = require('assert');
const fs = require('fs');
const http = require('http');
const net = require('net');
const path = require('path');
const { execFileSync } = require('child_process');
const { describe, it } = require('node:test');
const { harness, startServer, until, VALUE } = require('../lib/harness');

const h = harness();

describe('the server', () => {
	it('listens on the loopback address alone', () => {
		const ports = [h.facts.port, ...[h.facts.imds_url, h.facts.control.url].map((u) => Number(new URL(u).port))]
			.map((p) => p.toString(16).toUpperCase().padStart(4, '0'));
		const listening = fs.readFileSync('/proc/net/tcp', 'utf8').split('\n')
			.map((line) => line.trim().split(/\s+/)).filter((f) => f[3] === '0A').map((f) => f[1]);

		for (const port of ports)
			assert.ok(listening.includes(`0100007F:${port}`));
		for (const file of ['/proc/net/tcp', '/proc/net/tcp6'].filter((f) => fs.existsSync(f))) {
			for (const port of ports)
				assert.doesNotMatch(fs.readFileSync(file, 'utf8'), new RegExp(` 0{8,32}:${port} .* 0A `));
		}
	});

	it('keeps no key on disk, and its secrets to its owner', async () => {
		await h.make();
		assert.deepStrictEqual(fs.readdirSync(h.dir).sort(), ['ca.pem', 'ready.json']);
		assert.strictEqual(fs.statSync(path.join(h.dir, 'ready.json')).mode & 0o777, 0o600);
		assert.doesNotMatch(fs.readFileSync(path.join(h.dir, 'ca.pem'), 'utf8'), /PRIVATE/);
	});

	it('lets nobody control it without the token', async () => {
		const url = new URL(h.facts.control.url);
		const status = await new Promise((resolve) => http.request(
			{ host: url.hostname, port: url.port, method: 'POST', headers: { Authorization: 'Bearer no' } },
			(res) => { res.resume(); resolve(res.statusCode); }).end('{"method":"ping"}'));

		assert.strictEqual(status, 401);
		await assert.rejects(h.call('no.such'), /no such method/);
		await assert.rejects(h.call('key.create', { vault: 'nosuch', key: 'k' }), /no such vault/);
		await assert.rejects(h.call('vault.set', { vault: (await h.make()).vault, colour: 'red' }), /no such setting/);
	});

	it('ends with its standard input, and on SIGTERM', async () => {
		for (const end of [(child) => child.stdin.end(), (child) => child.kill('SIGTERM')]) {
			const where = fs.mkdtempSync(path.join(h.scratch, 'second.'));
			const child = await startServer(where);
			const ended = new Promise((resolve) => child.on('exit', resolve));

			end(child);
			assert.strictEqual(await ended, 0);
			assert.ok(!fs.existsSync(path.join(where, 'ready.json')));
		}
	});

	it('counts and logs requests, without what is secret', async () => {
		const { vault, post, get } = await h.make();

		await h.call('counts', { reset: true });
		await h.call('log', { reset: true });
		await get('/keys/kek');
		const wrapped = await post('/keys/kek/wrapkey', { body: VALUE });

		await post('/keys/kek/unwrapkey', { body: { ...VALUE, value: wrapped.body.value } });
		await get('/keys/kek', { headers: { Authorization: '' } });
		await h.bearer();
		const counts = await h.call('counts', { reset: true });

		assert.deepStrictEqual([counts.get, counts.wrap, counts.unwrap, counts.challenge, counts.token, counts.requests],
			[1, 1, 1, 1, 1, 5]);
		const log = await h.call('log');

		assert.deepStrictEqual(log.map((entry) => [entry.op, entry.status]),
			[['get', 200], ['wrap', 200], ['unwrap', 200], ['challenge', 401], ['token', 200]]);
		assert.strictEqual(log[0].vault, vault);
		for (const secret of [h.token, h.app.client_secret, VALUE.value, wrapped.body.value])
			assert.ok(!JSON.stringify(log).includes(secret));
		assert.strictEqual((await h.call('counts')).requests, 0);
	});

	it('counts connections, and drops them', async () => {
		const { get } = await h.make();

		await h.call('disconnect');
		await until('a new connection', () => get('/keys/kek').then(() => true, () => false));
		await h.call('counts', { reset: true });
		for (let i = 0; i < 3; i++)
			await get('/keys/kek');
		assert.strictEqual((await h.call('counts')).connections, 0);
		await get('/keys/kek', { agent: false });
		assert.strictEqual((await h.call('counts')).connections, 1);
	});
});

describe('ctl.js', () => {
	const ctl = (...args) => execFileSync(process.execPath, [path.join(__dirname, '..', 'ctl.js'), ...args], { encoding: 'utf8', stdio: 'pipe' }).trim();

	it('starts, asks and stops a server', () => {
		const where = path.join(h.scratch, 'ctl');

		ctl(where, 'start');
		const port = ctl(where, 'get', 'port');

		assert.strictEqual(ctl(where, 'vault.create', 'name=demo', '-o', 'url'), `https://demo.vault.localhost:${port}`);
		assert.match(ctl(where, 'key.create', 'vault=demo', 'key=kek', '-o', 'kid'), /\/keys\/kek\/[0-9a-f]{32}$/);
		assert.strictEqual(JSON.parse(ctl(where, 'key.set', 'vault=demo', 'key=kek', 'enabled=false')).attributes.enabled, false);
		assert.throws(() => ctl(where, 'key.get', 'vault=demo', 'key=none'), /was not found/);
		ctl(where, 'stop');
		assert.throws(() => ctl(where, 'ping'), /ready\.json/);
		const refused = net.connect(Number(port), '127.0.0.1');

		return new Promise((resolve, reject) => {
			refused.on('error', resolve);
			refused.on('connect', () => reject(new Error('still listening')));
		});
	});
});
