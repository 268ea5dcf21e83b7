/*
 * Managed identity: the instance metadata service of a virtual machine, and the
 * endpoints that App Service and Azure Arc give instead.  One plain HTTP port on
 * the loopback address serves all three, told apart by path.
 */
'use strict';

const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const { accessToken } = require('./entra');

const IMDS = '/metadata/identity/oauth2/token';
const APP_SERVICE = '/msi/token';
const ARC = '/arc' + IMDS;

const refuse = (status, error, description) => ({ status, body: { error, error_description: description } });
const invalid = (description) => refuse(400, 'invalid_request', description);

/*
 * The identity that a request means: by client_id, or else the system-assigned
 * one, or else the only one.  A string says why there is none.
 */
function choose(world, query, systemOnly = false) {
	const present = world.identities.filter((i) => !i.removed && (!systemOnly || i.kind === 'system'));
	const wanted = query.get('client_id');

	if (wanted !== null) {
		return present.find((i) => i.client_id.toLowerCase() === wanted.toLowerCase()) ||
			'Identity not found';
	}
	const system = present.find((i) => i.kind === 'system');

	if (system)
		return system;
	if (present.length > 1)
		return 'Multiple user assigned identities exist, please specify the clientId / resourceId of the ' +
			'identity in the token request';
	return present[0] || 'Identity not found';
}

/* Numbers as strings, as IMDS gives them. */
function tokenFor(world, identity, resource) {
	const now = Math.floor(world.clock() / 1000);

	return {
		access_token: accessToken(world, identity.tenant, identity, resource),
		client_id: identity.client_id,
		expires_in: String(world.token_lifetime),
		expires_on: String(now + world.token_lifetime),
		ext_expires_in: String(world.token_lifetime),
		not_before: String(now),
		resource,
		token_type: 'Bearer',
	};
}

function imds(world, req, query) {
	if ((req.headers.metadata || '').toLowerCase() !== 'true')
		return invalid('Required metadata header not specified');
	if (req.headers['x-forwarded-for'] !== undefined)
		return invalid('Requests with X-Forwarded-For are not allowed');
	if (!query.get('api-version'))
		return invalid("Required query variable 'api-version' is missing");
	if (!query.get('resource'))
		return invalid("Required query variable 'resource' is missing");
	const identity = choose(world, query);

	return typeof identity === 'string'
		? invalid(identity)
		: { status: 200, body: tokenFor(world, identity, query.get('resource')) };
}

function appService(world, req, query) {
	const error = (status, message) =>
		({ status, body: { statusCode: status, message, correlationId: crypto.randomUUID() } });

	if (req.headers['x-identity-header'] !== world.identity_header)
		return error(401, 'Unauthorized');
	if (query.get('api-version') !== '2019-08-01')
		return error(400, 'Unsupported api-version');
	if (!query.get('resource'))
		return error(400, 'The resource parameter is missing');
	const identity = choose(world, query);

	if (typeof identity === 'string')
		return error(400, 'No Managed Identity found for specified ClientId/ResourceId/PrincipalId.');
	const { access_token, expires_on, resource, token_type, client_id } =
		tokenFor(world, identity, query.get('resource'));

	return { status: 200, body: { access_token, expires_on, resource, token_type, client_id } };
}

/*
 * Azure Arc proves that the client may read a file of the agent: the first answer
 * names it, the second request brings what stands in it, once.
 */
function arc(world, req, query) {
	const secrets = world.arcSecrets || (world.arcSecrets = new Map());
	const [, given] = /^Basic +(\S+)$/.exec(req.headers.authorization || '') || [];

	if ((req.headers.metadata || '').toLowerCase() !== 'true')
		return invalid('Required metadata header not specified');
	if (query.get('api-version') !== '2019-11-01')
		return invalid('Unsupported api-version');
	if (given === undefined) {
		const file = path.join(world.arc_token_dir, crypto.randomUUID() + '.key');
		const secret = crypto.randomBytes(32).toString('hex');

		fs.mkdirSync(world.arc_token_dir, { recursive: true });
		fs.writeFileSync(file, secret, { mode: 0o600 });
		secrets.set(secret, file);
		return { status: 401, headers: { 'WWW-Authenticate': `Basic realm=${file}` }, body: '' };
	}
	if (!secrets.has(given))
		return refuse(401, 'unauthorized_client', 'The challenge token is not valid');
	fs.rmSync(secrets.get(given), { force: true });
	secrets.delete(given);
	const identity = choose(world, query, true);

	return typeof identity === 'string'
		? invalid(identity)
		: { status: 200, body: tokenFor(world, identity, query.get('resource')) };
}

/* MSAL puts a slash behind the path, and the real endpoints do not mind. */
const bare = (url) => url.replace(/\/(?=\?|$)/, '');

function describe(req) {
	const where = bare(req.url).split('?')[0];
	const op = { [IMDS]: 'imds', [APP_SERVICE]: 'appservice', [ARC]: 'arc' }[where] || 'unknown';

	return { service: 'imds', op, host: req.headers.host, method: req.method };
}

const ENDPOINTS = { imds, appservice: appService, arc };

function answer(world, req, { op }) {
	if (req.method !== 'GET')
		return { status: 405, body: '' };
	if (!ENDPOINTS[op])
		return { status: 404, body: '' };
	return ENDPOINTS[op](world, req, new URL(req.url, 'http://localhost').searchParams);
}

module.exports = { describe, answer, IMDS, APP_SERVICE, ARC };
