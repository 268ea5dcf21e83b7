/*
 * The test vault's clients in Node: of the control API, and of its HTTPS services
 * without a name server.  The system's resolver need not know *.localhost (glibc
 * alone does not; libcurl resolves it by itself, RFC 6761): see resolve.js.
 */
'use strict';

const fs = require('fs');
const http = require('http');
const https = require('https');
const path = require('path');
require('./resolve');

function exchange(module, options, body) {
	return new Promise((resolve, reject) => {
		const req = module.request(options, (res) => {
			const chunks = [];

			res.on('data', (chunk) => chunks.push(chunk));
			res.on('error', reject);
			res.on('end', () => resolve({
				status: res.statusCode,
				headers: res.headers,
				raw: Buffer.concat(chunks),
				socket: res.socket,
				get body() {
					return JSON.parse(this.raw.toString());
				},
			}));
		});

		req.on('error', reject);
		req.end(body);
	});
}

class Client {
	constructor(dir) {
		this.facts = JSON.parse(fs.readFileSync(path.join(dir, 'ready.json')));
		this.ca = fs.readFileSync(this.facts.ca_file);
		this.agent = new https.Agent({ keepAlive: true, ca: this.ca });
	}

	async call(method, params = {}) {
		const url = new URL(this.facts.control.url);
		const answer = await exchange(http, {
			host: url.hostname, port: url.port, path: '/', method: 'POST', agent: false,
			headers: { Authorization: `Bearer ${this.facts.control.token}` },
		}, JSON.stringify({ method, params }));

		if (answer.status !== 200)
			throw new Error(`${method}: ${answer.body.error}`);
		return answer.body.result;
	}

	/* { status, headers, raw, body } */
	request(method, url, { headers = {}, body, agent = this.agent } = {}) {
		const { protocol, hostname, port, pathname, search } = new URL(url);
		const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);

		return exchange(protocol === 'https:' ? https : http, {
			method, host: hostname, servername: hostname, port, path: pathname + search,
			agent: protocol === 'https:' ? agent : undefined, ca: this.ca,
			headers: { ...(typeof body === 'object' ? { 'Content-Type': 'application/json' } : {}), ...headers },
		}, text);
	}

	close() {
		this.agent.destroy();
	}
}

module.exports = { connect: (dir) => new Client(dir) };
