/*
 * The keys of a vault: versions, attributes, soft delete.
 *
 * A Vault is plain data and the operations that the REST API and the control
 * API share.  It knows no HTTP: what is refused is thrown as a ServiceError.  All
 * of it is in memory and dies with the process, private keys above all.
 */
'use strict';

const crypto = require('crypto');
const rsa = require('./rsa');
const err = require('./errors');
const { unb64u } = require('./jose');

const ALL_OPS = ['encrypt', 'decrypt', 'sign', 'verify', 'wrapKey', 'unwrapKey'];
const EC_OPS = ['sign', 'verify'];
const KNOWN_OPS = [...ALL_OPS, 'import', 'export'];
const SIZES = [2048, 3072, 4096];
const CURVES = ['P-256', 'P-384', 'P-521'];

class Vault {
	constructor(name, options, clock) {
		Object.assign(this, {
			name,
			type: 'vault',				/* or hsm */
			location: 'testregion',
			rbac: true,
			purge_protection: true,
			soft_delete: true,
			retention_days: 90,
			protected_subscription: false,
			propagation_ms: 0,			/* until a deleted or recovered key is seen */
			firewall: null,				/* firewall or connection: who denies */
			state: 'up',				/* down, deleted: does not answer */
			api_versions: null,			/* what it accepts, if less than all */
			page_size: 25,				/* items of a list in one answer, at most */
			challenge: {},				/* authorization, resource: instead of the true ones */
			legacy_policy_code: false,	/* AccessDenied, as it was before ForbiddenByPolicy */
		}, options);
		this.clock = clock;
		this.keys = new Map();			/* lower-case name -> key */
		this.deleted = new Map();
		this.grants = new Map();		/* oid -> Set of permissions */
	}

	now() {
		return Math.floor(this.clock() / 1000);
	}

	recoveryLevel() {
		if (!this.soft_delete)
			return 'Purgeable';
		const base = this.retention_days < 90 ? 'CustomizedRecoverable' : 'Recoverable';

		if (this.protected_subscription)
			return base + '+ProtectedSubscription';
		return this.purge_protection ? base : base + '+Purgeable';
	}

	/* A newer version must not be newer by the clock alone: versions are kept in order. */
	key(name) {
		const key = this.keys.get(name.toLowerCase());

		if (!key || key.visible_at > this.clock())
			throw err.keyNotFound(name);
		return key;
	}

	version(name, id) {
		const key = this.key(name);
		const found = id ? key.versions.find((v) => v.id === id.toLowerCase()) : key.versions.at(-1);

		if (!found)
			throw err.keyNotFound(name, id);
		return found;
	}

	/* ---- making versions ---- */

	add(name, privateKey, spec) {
		const now = this.now();
		const attributes = { enabled: true, ...readAttributes(spec.attributes), created: now, updated: now };
		const version = {
			id: crypto.randomBytes(16).toString('hex'),
			name,
			kty: spec.kty,
			privateKey,
			publicKey: crypto.createPublicKey(privateKey),
			ops: spec.key_ops || (spec.kty.startsWith('EC') ? EC_OPS : ALL_OPS),
			attributes,
			tags: spec.tags,
		};
		const lower = name.toLowerCase();

		if (!this.keys.has(lower))
			this.keys.set(lower, { name, versions: [], visible_at: 0, policy: null });
		this.keys.get(lower).versions.push(version);
		return version;
	}

	checkNew(name, spec) {
		if (!/^[0-9a-zA-Z-]{1,127}$/.test(name))
			throw err.bad(`The request URI contains an invalid name: ${name}`);
		if (this.deleted.has(name.toLowerCase()))
			throw err.keyIsDeleted(name);
		if (spec.key_ops)
			checkOps(spec.key_ops);
	}

	async create(name, spec) {
		const kty = spec.kty;
		const size = spec.key_size === undefined ? 2048 : spec.key_size;
		const crv = spec.crv || 'P-256';

		this.checkNew(name, spec);
		if (!['RSA', 'RSA-HSM', 'EC', 'EC-HSM'].includes(kty))
			throw err.bad('Property  has invalid value\r\n');
		if (this.type === 'hsm' && !kty.endsWith('-HSM'))
			throw err.bad('Invalid property: kty');
		if (kty.startsWith('RSA') && !SIZES.includes(size))
			throw err.bad('The requested key size is not supported.');
		if (kty.startsWith('EC') && !CURVES.includes(crv))
			throw err.bad('The requested curve is not supported.');
		readAttributes(spec.attributes);
		const privateKey = await rsa.generate(kty, { size, crv });

		this.checkNew(name, spec);		/* time has passed */
		return this.add(name, privateKey, spec);
	}

	import(name, spec) {
		const jwk = spec.key || {};
		let privateKey;

		this.checkNew(name, jwk);
		try {
			privateKey = crypto.createPrivateKey({
				key: { ...jwk, kty: String(jwk.kty).replace('-HSM', '') }, format: 'jwk',
			});
		} catch (e) {
			throw err.bad('Invalid key value');
		}
		const kty = String(jwk.kty).replace('-HSM', '') + (spec.Hsm || spec.hsm || this.type === 'hsm' ? '-HSM' : '');

		return this.add(name, privateKey, { ...spec, kty, key_ops: jwk.key_ops });
	}

	async rotate(name) {
		const key = this.key(name);
		const last = key.versions.at(-1);
		const details = last.publicKey.asymmetricKeyDetails;
		const privateKey = await rsa.generate(last.kty,
			{ size: details.modulusLength, crv: last.publicKey.export({ format: 'jwk' }).crv });
		const attributes = {};

		if (key.policy && key.policy.attributes && key.policy.attributes.expiryTime)
			attributes.exp = this.now() + seconds(key.policy.attributes.expiryTime);
		return this.add(key.name, privateKey,
			{ kty: last.kty, key_ops: last.ops, tags: last.tags, attributes });
	}

	update(name, id, spec) {
		const version = this.version(name, id);

		if (spec.key_ops) {
			checkOps(spec.key_ops);
			version.ops = spec.key_ops;
		}
		Object.assign(version.attributes, readAttributes(spec.attributes), { updated: this.now() });
		if (spec.tags)
			version.tags = spec.tags;
		return version;
	}

	/* ---- soft delete ---- */

	delete(name) {
		const key = this.key(name);
		const now = this.now();
		const record = {
			key,
			deletedDate: now,
			scheduledPurgeDate: now + this.retention_days * 86400,
			visible_at: this.clock() + this.propagation_ms,
		};

		this.keys.delete(name.toLowerCase());
		if (this.soft_delete)
			this.deleted.set(name.toLowerCase(), record);
		return record;
	}

	getDeleted(name) {
		const record = this.deleted.get(name.toLowerCase());

		if (!record || record.visible_at > this.clock())
			throw err.deletedKeyNotFound(name);
		return record;
	}

	recover(name) {
		const { key } = this.getDeleted(name);

		this.deleted.delete(name.toLowerCase());
		key.visible_at = this.clock() + this.propagation_ms;
		this.keys.set(name.toLowerCase(), key);
		return key.versions.at(-1);
	}

	/* forced: what the service itself does after the retention period */
	purge(name, forced = false) {
		this.getDeleted(name);
		if (!forced && (this.purge_protection || this.protected_subscription))
			throw err.purgeProtected();
		this.deleted.delete(name.toLowerCase());
	}

	/* ---- using a key ---- */

	/* op is encrypt, decrypt, wrapKey or unwrapKey.  { version, value: Buffer } */
	use(op, name, id, { alg, value }) {
		const version = this.version(name, id);
		const { enabled, nbf, exp } = version.attributes;
		const opens = op === 'unwrapKey' || op === 'decrypt';
		let data;

		if (opens && !enabled)
			throw err.keyDisabled(op);
		if (!opens && exp !== undefined && this.now() >= exp)
			throw err.keyExpired(op);
		if (!opens && nbf !== undefined && this.now() < nbf)
			throw err.keyNotYetValid(op);
		if (!version.ops.includes(op))
			throw err.keyOperationForbidden(op);
		if (!version.kty.startsWith('RSA'))
			throw err.bad(`The algorithm '${alg}' is not supported with this key type.`);
		try {
			data = unb64u(value);
		} catch (e) {
			throw err.bad('Property value has invalid value\r\n');
		}
		return {
			version,
			value: opens ? rsa.decrypt(alg, version.privateKey, data) : rsa.encrypt(alg, version.publicKey, data),
		};
	}
}

function checkOps(ops) {
	if (!Array.isArray(ops) || ops.some((op) => !KNOWN_OPS.includes(op)))
		throw err.bad('Property key_ops has invalid value\r\n');
}

/* Only what a client may set.  null, as the SDKs may send it, is as if absent. */
function readAttributes(attributes) {
	const read = {};

	for (const [name, type] of [['enabled', 'boolean'], ['nbf', 'number'], ['exp', 'number']]) {
		const value = attributes ? attributes[name] : undefined;

		if (value === undefined || value === null)
			continue;
		if (typeof value !== type || (type === 'number' && !Number.isSafeInteger(value)))
			throw err.bad(`Property ${name} has invalid value\r\n`);
		read[name] = value;
	}
	if (read.nbf !== undefined && read.exp !== undefined && read.exp <= read.nbf)
		throw err.bad('Expiry time must be after the activation time.');
	return read;
}

/* An ISO 8601 duration of years, months, days and hours. */
function seconds(duration) {
	const m = /^P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)D)?(?:T(\d+)H)?$/.exec(duration);

	if (!m)
		throw err.bad('Invalid ISO 8601 duration.');
	const [years, months, days, hours] = m.slice(1).map((n) => Number(n || 0));

	return ((years * 365 + months * 30 + days) * 24 + hours) * 3600;
}

module.exports = { Vault, ALL_OPS };
