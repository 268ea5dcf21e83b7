/*
 * All that the test vault knows, in one object: vaults, tenants, managed
 * identities, faults, and what was asked of it.  The services read it, the
 * control API changes it.
 */
'use strict';

const crypto = require('crypto');
const { Faults } = require('./http');

const LOG_SIZE = 10000;

class World {
	constructor() {
		const pair = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });

		this.signer = { ...pair, kid: crypto.randomBytes(20).toString('base64url') };
		this.issuer = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
		this.vaults = new Map();		/* name -> Vault, also deleted ones */
		this.tenants = new Map();		/* id -> Tenant of entra.js */
		this.identities = [];			/* managed identities of "this machine" */
		this.tls = new Map();			/* host name or '*' -> name of a certificate */
		this.faults = new Faults();
		this.clock_offset = 0;			/* seconds: the service's clock against ours */
		this.token_lifetime = 3599;
		this.identity_header = crypto.randomBytes(16).toString('hex');
		this.resetCounts();
		this.log = [];
	}

	clock() {
		return Date.now() + this.clock_offset * 1000;
	}

	resetCounts() {
		this.counts = {
			requests: 0, connections: 0,
			get: 0, wrap: 0, unwrap: 0, challenge: 0, token: 0, imds: 0,
		};
	}

	/* One request: counted, and kept in the log without its query and its body. */
	seen(entry) {
		this.counts.requests++;
		this.counts[entry.op] = (this.counts[entry.op] || 0) + 1;
		this.log.push(entry);
		if (this.log.length > LOG_SIZE)
			this.log.shift();
	}

	/* The headers that go with every answer of a service. */
	headers(req, request) {
		const id = req.headers['x-ms-client-request-id'];
		const common = {
			'Cache-Control': 'no-cache',
			'Pragma': 'no-cache',
			'Expires': '-1',
			'Date': new Date(this.clock()).toUTCString(),
			'x-ms-request-id': crypto.randomUUID(),
			...(id ? { 'x-ms-client-request-id': id } : {}),
			'Strict-Transport-Security': 'max-age=31536000;includeSubDomains',
			'X-Content-Type-Options': 'nosniff',
		};

		if (request.service === 'imds')
			return { 'Date': common.Date, 'Server': 'IMDS/150.870.65.1853' };
		if (request.service !== 'vault')
			return common;
		return {
			...common,
			'x-ms-keyvault-region': request.region,
			'x-ms-keyvault-service-version': '1.9.2784.1',
			'x-ms-keyvault-network-info': 'conn_type=Ipv4;addr=127.0.0.1;act_addr_fam=InterNetwork;',
		};
	}
}

module.exports = { World };
