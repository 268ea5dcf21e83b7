#!/usr/bin/env node
/*
 * A Key Vault for tests and for the demo.
 *
 *	node server.js --dir DIR [--port N] [--imds-port N] [--with-stdin]
 *
 * Speaks HTTPS for every vault (NAME.vault.localhost, NAME.managedhsm.localhost)
 * and for Entra ID (login.localhost) on one port, by the Host header; plain HTTP
 * for managed identity on another; and the control API on a third.  All on
 * 127.0.0.1 only, on ports that the system chooses unless told.
 *
 * DIR gets ca.pem, and ready.json when everything listens: the client of a test
 * needs nothing else.  ready.json holds the token of the control API and is
 * readable by its owner alone.  Nothing else is written but the challenge files
 * of Azure Arc (DIR/arc); keys of vaults live in memory.
 *
 * Ends on SIGTERM or SIGINT, and with --with-stdin when standard input ends, so
 * that it does not outlive whoever started it.
 */
'use strict';

const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const https = require('https');
const path = require('path');
const tls = require('tls');
const { Authority, variants } = require('./lib/ca');
const { World } = require('./lib/world');
const { serve } = require('./lib/http');
const { call } = require('./lib/control');
const entra = require('./lib/entra');
const imds = require('./lib/imds');
const rest = require('./lib/rest');

const HOST = '127.0.0.1';

function options(argv) {
	const given = { dir: null, port: 0, imds_port: 0, with_stdin: false };

	for (let i = 0; i < argv.length; i++) {
		if (argv[i] === '--dir')
			given.dir = argv[++i];
		else if (argv[i] === '--port')
			given.port = Number(argv[++i]);
		else if (argv[i] === '--imds-port')
			given.imds_port = Number(argv[++i]);
		else if (argv[i] === '--with-stdin')
			given.with_stdin = true;
		else
			throw new Error(`unknown option: ${argv[i]}`);
	}
	if (!given.dir || Number.isNaN(given.port) || Number.isNaN(given.imds_port))
		throw new Error('usage: server.js --dir DIR [--port N] [--imds-port N] [--with-stdin]');
	return given;
}

const listen = (server, port) => new Promise((resolve, reject) => {
	server.once('error', reject);
	server.listen(port, HOST, () => {
		server.removeListener('error', reject);
		resolve(server.address().port);
	});
});

/* Closed when this resolves: the port refuses connections. */
const close = (server) => new Promise((resolve) => {
	server.close(resolve);
	server.closeAllConnections();
});

class Servers {
	constructor(world) {
		this.world = world;
		this.authority = new Authority('pg_cmk test vault CA');
		this.certificates = variants(this.authority);
		this.contexts = {};
		for (const [name, { cert, key }] of Object.entries(this.certificates))
			this.contexts[name] = tls.createSecureContext({ cert, key });
		this.own = new Map();		/* Vault -> its server, if it has a port of its own */
		this.main = this.makeHttps(() => null);
	}

	/* fixed() gives the vault that this port belongs to, or null: by Host header. */
	makeHttps(fixed) {
		const { world } = this;
		const server = https.createServer({
			...this.certificates.good,
			minVersion: 'TLSv1.2',
			SNICallback: (name, done) => done(null, this.contexts[this.variant(name)]),
		}, (req, res) => this.route(req, res, fixed()));

		server.keepAliveTimeout = 120000;
		server.on('secureConnection', () => world.counts.connections++);
		server.on('tlsClientError', () => {});
		server.on('clientError', (e, socket) => socket.destroy());
		return server;
	}

	variant(name) {
		return this.world.tls.get(name) || this.world.tls.get('*') || 'good';
	}

	route(req, res, fixed) {
		const { world } = this;
		const host = (req.headers.host || '').toLowerCase().replace(/:\d+$/, '');
		const failed = (e) => {
			process.stderr.write(`${e.stack}\n`);
			req.socket.destroy();
		};

		if (host === 'login.localhost') {
			serve(world, req, res, entra.describe,
				(request, body, fault) => entra.answer(world, req, body, fault)).catch(failed);
			return;
		}
		const [, name, type] = /^([^.]+)\.(vault|managedhsm)\.localhost$/.exec(host) || [];
		const vault = fixed || world.vaults.get(name);

		/* A vault that does not exist has no name in DNS: nobody answers. */
		if (!vault || vault.name !== name || (vault.type === 'hsm') !== (type === 'managedhsm')) {
			req.socket.destroy();
			return;
		}
		serve(world, req, res, () => rest.describe(world, req, vault),
			(request, body) => rest.answer(world, req, vault, body)).catch(failed);
	}

	/* ---- for the control API ---- */

	async listenFor(vault) {
		const server = this.makeHttps(() => vault);

		vault.port = await listen(server, vault.port || 0);
		this.own.set(vault, server);
	}

	async stop(vault, state) {
		const server = this.own.get(vault);

		vault.state = state;
		if (server) {
			this.own.delete(vault);
			await close(server);
		}
	}

	async start(vault) {
		if (vault.port && !this.own.has(vault))
			await this.listenFor(vault);
		vault.state = 'up';
	}

	/* For connections to come; those that are open are closed. */
	setCertificate(host, variant) {
		if (!this.contexts[variant])
			throw new Error(`no such certificate: ${variant}`);
		this.world.tls.set(host, variant);
		for (const server of [this.main, ...this.own.values()])
			server.setSecureContext(this.certificates[this.variant('*')]);
		this.disconnect();
	}

	disconnect() {
		for (const server of [this.main, ...this.own.values()])
			server.closeAllConnections();
	}
}

/* The control API: one token, one path, and errors of its own. */
function makeControl(world, servers, token) {
	return http.createServer(async (req, res) => {
		let text = '';

		for await (const chunk of req)
			text += chunk;
		const answer = req.headers.authorization !== `Bearer ${token}`
			? { status: 401, body: { error: 'wrong token' } }
			: await call(world, servers, text);

		res.writeHead(answer.status, { 'Content-Type': 'application/json', 'Connection': 'close' });
		res.end(JSON.stringify(answer.body));
	});
}

async function main() {
	const given = options(process.argv.slice(2));
	const dir = path.resolve(given.dir);
	const ready = path.join(dir, 'ready.json');

	fs.mkdirSync(dir, { recursive: true });
	fs.rmSync(ready, { force: true });

	const world = new World();
	const servers = new Servers(world);
	const token = crypto.randomBytes(24).toString('hex');
	const metadata = http.createServer((req, res) =>
		void serve(world, req, res, imds.describe, (request) => imds.answer(world, req, request)));
	const control = makeControl(world, servers, token);

	world.goneTenants = new Map();
	world.tenant = crypto.randomUUID();
	world.tenants.set(world.tenant, { id: world.tenant, apps: new Map() });
	world.arc_token_dir = path.join(dir, 'arc');
	world.port = await listen(servers.main, given.port);
	world.authority = `https://login.localhost:${world.port}`;
	world.federation = `https://oidc.localhost:${world.port}/`;
	fs.writeFileSync(path.join(dir, 'ca.pem'), servers.authority.cert);

	const imdsUrl = `http://${HOST}:${await listen(metadata, given.imds_port)}`;
	const facts = {
		pid: process.pid,
		port: world.port,
		vault_url: `https://{vault}.vault.localhost:${world.port}`,
		hsm_url: `https://{vault}.managedhsm.localhost:${world.port}`,
		dns_suffixes: 'vault.localhost,managedhsm.localhost',
		authority_host: world.authority,
		tenant_id: world.tenant,
		federation_issuer: world.federation,
		ca_file: path.join(dir, 'ca.pem'),
		imds_url: imdsUrl,
		app_service: { endpoint: imdsUrl + imds.APP_SERVICE, header: world.identity_header },
		arc: { endpoint: imdsUrl + imds.ARC, imds_endpoint: imdsUrl, token_dir: world.arc_token_dir },
		control: { url: `http://${HOST}:${await listen(control, 0)}/`, token },
	};

	for (const signal of ['SIGTERM', 'SIGINT'])
		process.on(signal, () => process.exit(0));
	process.on('exit', () => {
		fs.rmSync(ready, { force: true });
		fs.rmSync(world.arc_token_dir, { recursive: true, force: true });
	});
	if (given.with_stdin) {
		process.stdin.on('end', () => process.exit(0));
		process.stdin.on('error', () => process.exit(0));
		process.stdin.resume();
	}
	fs.writeFileSync(ready + '.tmp', JSON.stringify(facts, null, '\t') + '\n', { mode: 0o600 });
	fs.renameSync(ready + '.tmp', ready);
}

main().catch((e) => {
	process.stderr.write(`keyvault: ${e.message}\n`);
	process.exit(1);
});
