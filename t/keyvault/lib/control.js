/*
 * The control API: what the owner of a subscription does in the portal, and what
 * no owner could do.  POST with { "method": …, "params": { … } } and the token of
 * ready.json; the answer is { "result": … } or { "error": … }.
 *
 * methods below is the whole of it; README.md describes each.
 */
'use strict';

const crypto = require('crypto');
const { Vault, ALL_OPS } = require('./keys');
const { grant, revoke } = require('./auth');
const { Application, federatedToken, accessToken, EXCHANGE } = require('./entra');
const { baseOf, kidOf, bundle } = require('./rest');
const { b64u } = require('./jose');
const { ServiceError } = require('./errors');

class Mistake extends Error {}

function required(params, ...names) {
	for (const name of names) {
		if (params[name] === undefined)
			throw new Mistake(`missing parameter: ${name}`);
	}
}

function vaultOf(world, { vault }) {
	const found = world.vaults.get(String(vault).toLowerCase());

	if (!found)
		throw new Mistake(`no such vault: ${vault}`);
	return found;
}

function tenantOf(world, id = world.tenant) {
	const tenant = world.tenants.get(id.toLowerCase());

	if (!tenant)
		throw new Mistake(`no such tenant: ${id}`);
	return tenant;
}

function appOf(world, { client_id, tenant }) {
	const app = tenantOf(world, tenant).apps.get(String(client_id).toLowerCase());

	if (!app)
		throw new Mistake(`no such application: ${client_id}`);
	return app;
}

/* An object id, from one, or from the client id of an application or identity. */
function oidOf(world, principal) {
	const wanted = String(principal).toLowerCase();

	for (const tenant of world.tenants.values()) {
		for (const app of tenant.apps.values()) {
			if (app.client_id.toLowerCase() === wanted)
				return app.oid;
		}
	}
	const identity = world.identities.find((i) => i.client_id.toLowerCase() === wanted);

	return identity ? identity.oid : principal;
}

function identityOf(world, { client_id }) {
	const found = world.identities.find((i) => (client_id ? i.client_id === client_id : i.kind === 'system'));

	if (!found)
		throw new Mistake(`no such identity: ${client_id || 'system-assigned'}`);
	return found;
}

const SETTABLE = ['location', 'rbac', 'purge_protection', 'soft_delete', 'retention_days',
	'protected_subscription', 'propagation_ms', 'firewall', 'api_versions', 'challenge', 'tenant',
	'legacy_policy_code', 'recovery_level', 'page_size'];

function settings(params) {
	const given = {};

	for (const [name, value] of Object.entries(params)) {
		if (SETTABLE.includes(name))
			given[name] = value;
		else if (!['vault', 'name', 'type', 'own_port'].includes(name))
			throw new Mistake(`no such setting of a vault: ${name}`);
	}
	if (![undefined, null, false, 'firewall', 'connection'].includes(given.firewall))
		throw new Mistake('firewall is "firewall", "connection" or null');
	return given;
}

/* What a test needs to know of a key version: both URLs and the public half. */
function described(world, vault, version) {
	const base = baseOf(world, vault);

	return {
		...bundle({ base, vault }, version),
		kid: kidOf({ base }, version),
		url: `${base}/keys/${version.name}`,
		version: version.id,
		public_key: version.publicKey.export({ type: 'spki', format: 'pem' }),
	};
}

const spread = ({ size, crv, kty = 'RSA', key_ops, exp, nbf, enabled, tags }) =>
	({ kty, key_size: size, crv, key_ops, tags, attributes: { exp, nbf, enabled } });

/* Like update, but null takes an attribute away, and nothing is checked. */
function setKey(vault, { key, version: id, enabled, exp, nbf, key_ops, all }) {
	const versions = all ? vault.key(key).versions : [vault.version(key, id)];

	for (const version of versions) {
		for (const [name, value] of Object.entries({ enabled, exp, nbf })) {
			if (value === null)
				delete version.attributes[name];
			else if (value !== undefined)
				version.attributes[name] = value;
		}
		if (key_ops !== undefined)
			version.ops = key_ops === null ? ALL_OPS : key_ops;
		version.attributes.updated = vault.now();
	}
	return versions.at(-1);
}

function dropVersion(vault, { key, version }) {
	const found = vault.version(key, version);
	const { versions } = vault.key(key);

	if (versions.length === 1)
		throw new Mistake('that is the only version of the key');
	versions.splice(versions.indexOf(found), 1);
}

/* (world, params, server) -> result; server is what server.js offers. */
const methods = {
	'ping': () => ({}),

	'vault.create': async (world, params, server) => {
		required(params, 'name');
		const name = params.name.toLowerCase();

		if (!/^[a-z][a-z0-9-]{1,22}[a-z0-9]$/.test(name))
			throw new Mistake('a vault has a name of 3 to 24 letters, digits and hyphens');
		if (world.vaults.has(name))
			throw new Mistake(`the vault ${name} exists`);
		const vault = new Vault(name,
			{ type: params.type || 'vault', tenant: world.tenant, ...settings(params) },
			() => world.clock());

		if (params.own_port)
			await server.listenFor(vault);
		world.vaults.set(name, vault);
		return { url: baseOf(world, vault), port: vault.port || world.port };
	},
	'vault.set': (world, params) => void Object.assign(vaultOf(world, params), settings(params)),
	'vault.down': (world, params, server) => server.stop(vaultOf(world, params), 'down'),
	'vault.delete': (world, params, server) => server.stop(vaultOf(world, params), 'deleted'),
	/* Role assignments are lost when a vault is deleted and recovered. */
	'vault.up': async (world, params, server) => {
		const vault = vaultOf(world, params);

		if (vault.state === 'deleted' && vault.rbac)
			vault.grants.clear();
		await server.start(vault);
	},

	'grant': (world, params) => {
		required(params, 'principal', 'permissions');
		grant(vaultOf(world, params), oidOf(world, params.principal), params.permissions);
	},
	'revoke': (world, params) => {
		required(params, 'principal');
		revoke(vaultOf(world, params), oidOf(world, params.principal), params.permissions);
	},

	'key.create': async (world, params) => {
		required(params, 'key');
		const vault = vaultOf(world, params);
		const kty = params.kty || (vault.type === 'hsm' ? 'RSA-HSM' : 'RSA');

		return described(world, vault, await vault.create(params.key, spread({ ...params, kty })));
	},
	'key.rotate': async (world, params) => {
		const vault = vaultOf(world, params);

		return described(world, vault, await vault.rotate(params.key));
	},
	'key.get': (world, params) => {
		const vault = vaultOf(world, params);

		return described(world, vault, vault.version(params.key, params.version));
	},
	'key.set': (world, params) => {
		const vault = vaultOf(world, params);

		return described(world, vault, setKey(vault, params));
	},
	'key.delete': (world, params) => void vaultOf(world, params).delete(params.key),
	'key.recover': (world, params) => void vaultOf(world, params).recover(params.key),
	'key.purge': (world, params) => void vaultOf(world, params).purge(params.key, true),
	'key.drop_version': (world, params) => dropVersion(vaultOf(world, params), params),
	/* As the service would, but asked of nobody: to see that a value is what it should be. */
	'key.use': (world, params) => {
		required(params, 'op', 'value');
		const vault = vaultOf(world, params);
		const { version, value } = vault.use(params.op, params.key, params.version,
			{ alg: params.alg || 'RSA-OAEP-256', value: params.value });

		return { kid: kidOf({ base: baseOf(world, vault) }, version), value: b64u(value) };
	},

	'tenant.create': (world) => {
		const id = crypto.randomUUID();

		world.tenants.set(id, { id, apps: new Map() });
		return { tenant_id: id };
	},
	'tenant.delete': (world, params) => {
		const tenant = tenantOf(world, params.tenant);

		world.tenants.delete(tenant.id);
		world.goneTenants.set(tenant.id, tenant);
	},
	'tenant.recover': (world, params) => {
		const id = params.tenant || world.tenant;
		const tenant = world.goneTenants.get(id);

		if (!tenant)
			throw new Mistake(`no such deleted tenant: ${id}`);
		world.goneTenants.delete(id);
		world.tenants.set(id, tenant);
	},

	'app.create': (world, params) => {
		const tenant = tenantOf(world, params.tenant);
		const app = new Application(params);

		tenant.apps.set(app.client_id.toLowerCase(), app);
		return {
			tenant_id: tenant.id, client_id: app.client_id, oid: app.oid,
			client_secret: params.secret === false ? null : app.addSecret(params.secret || undefined),
		};
	},
	'app.set': (world, params) => {
		const app = appOf(world, params);

		for (const name of ['disabled', 'deleted', 'missing_principal']) {
			if (params[name] !== undefined)
				app[name] = Boolean(params[name]);
		}
	},
	'app.add_secret': (world, params) => ({
		client_secret: appOf(world, params).addSecret(params.secret,
			params.expires === undefined || params.expires === null ? Infinity : params.expires),
	}),
	/* expires: of all secrets there are; or they are taken away */
	'app.expire_secrets': (world, params) => {
		for (const secret of appOf(world, params).secrets)
			secret.expires = params.expires === null ? Infinity : params.expires || 1;
	},
	'app.remove_secrets': (world, params) => void (appOf(world, params).secrets = []),
	'app.add_certificate': (world, params) => {
		required(params, 'pem');
		appOf(world, params).certificates.push(new crypto.X509Certificate(params.pem));
	},
	'app.remove_certificates': (world, params) => void (appOf(world, params).certificates = []),
	'app.add_federated': (world, params) => {
		required(params, 'subject');
		const credential = {
			issuer: params.issuer || world.federation,
			subject: params.subject,
			audience: params.audience || EXCHANGE,
		};

		appOf(world, params).federated.push(credential);
		return credential;
	},
	'app.remove_federated': (world, params) => void (appOf(world, params).federated = []),
	'federated_token': (world, params) => {
		required(params, 'subject');
		return { token: federatedToken(world, params) };
	},

	'identity.create': (world, params) => {
		const identity = {
			kind: params.kind || 'system',
			client_id: crypto.randomUUID(),
			oid: crypto.randomUUID(),
			tenant: tenantOf(world, params.tenant).id,
			removed: false,
		};

		world.identities.push(identity);
		return identity;
	},
	'identity.remove': (world, params) => void (identityOf(world, params).removed = true),
	'identity.restore': (world, params) => void (identityOf(world, params).removed = false),

	/* An access token without asking anybody, also for what no real one would be issued. */
	'token.issue': (world, params) => {
		required(params, 'client_id', 'resource');
		return {
			token: accessToken(world, params.tenant || world.tenant,
				{ client_id: params.client_id, oid: oidOf(world, params.client_id) }, params.resource),
		};
	},
	'token.lifetime': (world, params) => void (world.token_lifetime = params.seconds),
	'clock.offset': (world, params) => void (world.clock_offset = params.seconds),

	'fault.add': (world, params) => ({ id: world.faults.add(params) }),
	'fault.clear': (world, params) => void world.faults.clear(params.id),
	'fault.list': (world) => world.faults.report(),

	'tls.set': (world, params, server) => server.setCertificate(params.host || '*', params.variant || 'good'),
	/* Closes every connection that is open, so that the next request makes a new one. */
	'disconnect': (world, params, server) => server.disconnect(),

	'counts': (world, params) => {
		const counts = { ...world.counts };

		if (params.reset)
			world.resetCounts();
		return counts;
	},
	'log': (world, params) => {
		const log = [...world.log];

		if (params.reset)
			world.log.length = 0;
		return log;
	},
};

async function call(world, server, text) {
	try {
		const { method, params = {} } = JSON.parse(text);

		if (!Object.hasOwn(methods, method))
			throw new Mistake(`no such method: ${method}`);
		const result = await methods[method](world, params || {}, server);

		return { status: 200, body: { result: result === undefined ? null : result } };
	} catch (e) {
		if (!(e instanceof Mistake) && !(e instanceof ServiceError) && !(e instanceof SyntaxError))
			process.stderr.write(`control: ${e.stack}\n`);
		return { status: 400, body: { error: e.message } };
	}
}

module.exports = { call };
