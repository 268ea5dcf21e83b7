/*
 * The Keys REST API: paths, bodies and pages.  What a key is and may do is in
 * keys.js, who may use it in auth.js.
 */
'use strict';

const { b64u } = require('./jose');
const { ServiceError, bad } = require('./errors');
const { authenticate, challenge, checkNetwork, checkPermission } = require('./auth');

const API_VERSIONS = ['7.0', '7.1', '7.2', '7.3', '7.4', '7.5', '7.6', '2025-07-01', '2026-04-01'];
const PAGE = 25;

/* Method and path, and what they mean: operation, permission, function. */
const ROUTES = [
	['GET', /^\/keys$/i, 'list', 'list', listKeys],
	['GET', /^\/deletedkeys$/i, 'list-deleted', 'list', listDeleted],
	['GET', /^\/deletedkeys\/([^/]+)$/i, 'get-deleted', 'get', getDeleted],
	['DELETE', /^\/deletedkeys\/([^/]+)$/i, 'purge', 'purge', purge],
	['POST', /^\/deletedkeys\/([^/]+)\/recover$/i, 'recover', 'recover', recover],
	['POST', /^\/keys\/([^/]+)\/create$/i, 'create', 'create', create],
	['POST', /^\/keys\/([^/]+)\/rotate$/i, 'rotate', 'rotate', rotate],
	['GET', /^\/keys\/([^/]+)\/versions$/i, 'versions', 'list', listVersions],
	['GET', /^\/keys\/([^/]+)\/rotationpolicy$/i, 'get-policy', 'getrotationpolicy', getPolicy],
	['PUT', /^\/keys\/([^/]+)\/rotationpolicy$/i, 'set-policy', 'setrotationpolicy', setPolicy],
	['POST', /^\/keys\/([^/]+)(?:\/([^/]*))?\/wrapkey$/i, 'wrap', 'wrapKey', use('wrapKey')],
	['POST', /^\/keys\/([^/]+)(?:\/([^/]*))?\/unwrapkey$/i, 'unwrap', 'unwrapKey', use('unwrapKey')],
	['POST', /^\/keys\/([^/]+)(?:\/([^/]*))?\/encrypt$/i, 'encrypt', 'encrypt', use('encrypt')],
	['POST', /^\/keys\/([^/]+)(?:\/([^/]*))?\/decrypt$/i, 'decrypt', 'decrypt', use('decrypt')],
	['PUT', /^\/keys\/([^/]+)$/i, 'import', 'import', importKey],
	['DELETE', /^\/keys\/([^/]+)$/i, 'delete', 'delete', deleteKey],
	['GET', /^\/keys\/([^/]+)(?:\/([^/]*))?$/i, 'get', 'get', getKey],
	['PATCH', /^\/keys\/([^/]+)(?:\/([^/]*))?$/i, 'update', 'update', update],
];

/* Paths match without regard to case; a name keeps its own. */
function route(method, encoded) {
	let path;

	try {
		path = decodeURI(encoded);
	} catch (e) {
		return null;
	}
	const plain = path.length > 1 ? path.replace(/\/$/, '') : path;

	for (const [verb, pattern, op, permission, handler] of ROUTES) {
		const match = method === verb && pattern.exec(plain);

		if (match)
			return { op, permission, handler, name: match[1], version: match[2] || '' };
	}
	return null;
}

/* ---- what stands in an answer ---- */

const baseOf = (world, vault) =>
	`https://${vault.name}.${vault.type === 'hsm' ? 'managedhsm' : 'vault'}.localhost:${vault.port || world.port}`;

const kidOf = (cx, version) => `${cx.base}/keys/${version.name}/${version.id}`;

function attributesOf(vault, version) {
	const { enabled, nbf, exp, created, updated } = version.attributes;

	return {
		enabled, nbf, exp, created, updated,
		recoveryLevel: vault.recovery_level || vault.recoveryLevel(),
		...(vault.soft_delete ? { recoverableDays: vault.retention_days } : {}),
		...(vault.type === 'hsm' ? { exportable: false } : {}),
	};
}

function bundle(cx, version) {
	const { kty, ...jwk } = version.publicKey.export({ format: 'jwk' });

	return {
		key: { kid: kidOf(cx, version), kty: version.kty, key_ops: version.ops, ...jwk },
		attributes: attributesOf(cx.vault, version),
		...(version.tags ? { tags: version.tags } : {}),
	};
}

function deletedBundle(cx, record) {
	const version = record.key.versions.at(-1);

	return {
		...(cx.vault.soft_delete ? {
			recoveryId: `${cx.base}/deletedkeys/${record.key.name}`,
			deletedDate: record.deletedDate,
			scheduledPurgeDate: record.scheduledPurgeDate,
		} : {}),
		...bundle(cx, version),
	};
}

const item = (cx, kid, version) => ({
	kid,
	attributes: attributesOf(cx.vault, version),
	...(version.tags ? { tags: version.tags } : {}),
});

/* One page of items, and the link to the next. */
function page(cx, items) {
	const max = Number(cx.query.get('maxresults') || cx.vault.page_size);
	const token = cx.query.get('$skiptoken');
	const start = token ? Number(Buffer.from(token, 'base64url').toString()) : 0;

	if (!Number.isInteger(max) || max < 1 || max > PAGE)
		throw bad(`Invalid maxresults: must be between 1 and ${PAGE}`);
	if (!Number.isInteger(start) || start < 0)
		throw bad('Invalid $skiptoken');
	const end = start + max;
	const next = `${cx.base}${cx.path}?api-version=${cx.query.get('api-version')}` +
		`&$skiptoken=${b64u(String(end))}&maxresults=${max}`;

	return { value: items.slice(start, end), nextLink: end < items.length ? next : null };
}

/* ---- operations: (cx) -> body ---- */

const visible = (cx, map) => [...map.values()].filter((entry) => !(entry.visible_at > cx.vault.clock()));

function listKeys(cx) {
	return page(cx, visible(cx, cx.vault.keys).map((key) =>
		item(cx, `${cx.base}/keys/${key.name}`, key.versions.at(-1))));
}

/* By id and so in no order of time, as the service does. */
function listVersions(cx) {
	const { versions } = cx.vault.key(cx.name);
	const sorted = [...versions].sort((a, b) => (a.id < b.id ? -1 : 1));

	return page(cx, sorted.map((version) => item(cx, kidOf(cx, version), version)));
}

function listDeleted(cx) {
	return page(cx, visible(cx, cx.vault.deleted).map((record) => ({
		...item(cx, `${cx.base}/keys/${record.key.name}`, record.key.versions.at(-1)),
		recoveryId: `${cx.base}/deletedkeys/${record.key.name}`,
		deletedDate: record.deletedDate,
		scheduledPurgeDate: record.scheduledPurgeDate,
	})));
}

function getKey(cx) {
	return bundle(cx, cx.vault.version(cx.name, cx.version));
}

async function create(cx) {
	return bundle(cx, await cx.vault.create(cx.name, cx.body));
}

function importKey(cx) {
	return bundle(cx, cx.vault.import(cx.name, cx.body));
}

async function rotate(cx) {
	return bundle(cx, await cx.vault.rotate(cx.name));
}

function update(cx) {
	return bundle(cx, cx.vault.update(cx.name, cx.version, cx.body));
}

function deleteKey(cx) {
	return deletedBundle(cx, cx.vault.delete(cx.name));
}

function getDeleted(cx) {
	return deletedBundle(cx, cx.vault.getDeleted(cx.name));
}

function recover(cx) {
	return bundle(cx, cx.vault.recover(cx.name));
}

function purge(cx) {
	cx.vault.purge(cx.name);
}

function policyOf(cx) {
	const key = cx.vault.key(cx.name);

	return {
		id: `${cx.base}/keys/${key.name}/rotationpolicy`,
		lifetimeActions: [{ trigger: { timeBeforeExpiry: 'P30D' }, action: { type: 'Notify' } }],
		attributes: {},
		...key.policy,
	};
}

function getPolicy(cx) {
	return policyOf(cx);
}

function setPolicy(cx) {
	const { lifetimeActions, attributes } = cx.body;

	cx.vault.key(cx.name).policy = JSON.parse(JSON.stringify({ lifetimeActions, attributes }));
	return policyOf(cx);
}

function use(op) {
	return (cx) => {
		const { version, value } = cx.vault.use(op, cx.name, cx.version, cx.body);

		return { kid: kidOf(cx, version), value: b64u(value) };
	};
}

/* ---- the service ---- */

function checkApiVersion(vault, query) {
	const asked = query.get('api-version');
	const accepted = vault.api_versions || API_VERSIONS;

	if (asked === null || asked === '')
		throw bad('api-version must be specified');
	if (!accepted.includes(asked))
		throw bad(`The specified version (${asked}) is not recognized. ` +
			`Consider using the latest supported version (${accepted.at(-1)}).`);
}

function parse(text) {
	if (text === '')
		return {};
	try {
		const body = JSON.parse(text);

		if (body !== null && typeof body === 'object' && !Array.isArray(body))
			return body;
	} catch (e) {
		/* the same to the client */
	}
	throw bad('The request body is not valid JSON.');
}

/* The vault that a Host header names, and what is asked of it. */
function describe(world, req, vault) {
	const found = route(req.method, req.url.split('?')[0]);

	return {
		service: 'vault',
		op: !req.headers.authorization ? 'challenge' : found ? found.op : 'unknown',
		vault: vault.name,
		key: found && found.name ? found.name : '',
		host: req.headers.host,
		method: req.method,
		region: vault.location,
		unauthorized: challenge(world, vault),
		gone: vault.state !== 'up',
	};
}

async function answer(world, req, vault, text) {
	const url = new URL(req.url, 'https://localhost');
	const claims = authenticate(world, vault, req);
	const found = route(req.method, url.pathname);

	checkApiVersion(vault, url.searchParams);
	if (!found)
		throw new ServiceError(405, 'MethodNotAllowed', 'The requested operation is not supported.');
	checkNetwork(vault, claims);
	checkPermission(vault, claims, found.permission, found.name);
	const body = await found.handler({
		vault,
		base: baseOf(world, vault),
		path: url.pathname,
		query: url.searchParams,
		name: found.name,
		version: found.version,
		body: parse(text),
	});

	return body === undefined ? { status: 204 } : { status: 200, body };
}

module.exports = { describe, answer, baseOf, kidOf, bundle };
