/*
 * Who may do what with a vault's keys: the token, the network, the permission,
 * in the order in which the service looks at them.
 */
'use strict';

const { ServiceError, forbidden } = require('./errors');
const { decode, verify } = require('./jose');

/* Permission of an access policy -> data action of a role. */
const ACTIONS = {
	get: 'read',
	list: 'read',
	create: 'create/action',
	import: 'import/action',
	update: 'update/action',
	rotate: 'rotate/action',
	delete: 'delete',
	recover: 'recover/action',
	purge: 'purge/action',
	encrypt: 'encrypt/action',
	decrypt: 'decrypt/action',
	wrapKey: 'wrap/action',
	unwrapKey: 'unwrap/action',
	getrotationpolicy: 'rotationpolicy/read',
	setrotationpolicy: 'rotationpolicy/write',
};

const ROLES = {
	'Key Vault Crypto Service Encryption User': ['get', 'list', 'wrapKey', 'unwrapKey'],
	'Key Vault Crypto Officer': Object.keys(ACTIONS),
	'Key Vault Reader': ['get', 'list'],
};

/* A role's name, or a list of permissions. */
function permissions(granted) {
	if (typeof granted === 'string' && Object.hasOwn(ROLES, granted))
		return ROLES[granted];
	const list = Array.isArray(granted) ? granted : String(granted).split(',');

	for (const permission of list) {
		if (!Object.hasOwn(ACTIONS, permission))
			throw new Error(`no such permission or role: ${permission}`);
	}
	return list;
}

function grant(vault, oid, granted) {
	const held = vault.grants.get(oid) || new Set();

	for (const permission of permissions(granted))
		held.add(permission);
	vault.grants.set(oid, held);
}

/* Without a list, all.  Under RBAC get and list are one action and go together. */
function revoke(vault, oid, revoked) {
	const held = vault.grants.get(oid) || new Set();
	const list = revoked === undefined ? [...held] : permissions(revoked);

	for (const permission of list) {
		for (const other of [...held]) {
			if (other === permission || (vault.rbac && ACTIONS[other] === ACTIONS[permission]))
				held.delete(other);
		}
	}
}

const resourceOf = (vault) =>
	vault.type === 'hsm' ? 'https://managedhsm.localhost' : 'https://vault.localhost';

function challenge(world, vault, extra = '') {
	const authorization = vault.challenge.authorization || `${world.authority}/${vault.tenant}`;
	const resource = vault.challenge.resource || resourceOf(vault);

	return { 'WWW-Authenticate': `Bearer authorization="${authorization}", resource="${resource}"${extra}` };
}

/* The claims of the bearer token, or 401 with the challenge. */
function authenticate(world, vault, req) {
	const refuse = (message, extra) =>
		new ServiceError(401, 'Unauthorized', message, undefined, challenge(world, vault, extra));
	const [, token] = /^Bearer +(\S+)$/i.exec(req.headers.authorization || '') || [];

	if (!token)
		throw refuse('AKV10000: Request is missing a Bearer or PoP token.');
	const jwt = decode(token);

	if (!jwt || !verify(jwt, world.signer.publicKey))
		throw refuse('[BearerReadAccessTokenFailed] Error validating token: IDX10511: Signature validation failed.',
			', error="invalid_token", error_description="Signature validation failed."');
	const { aud, iss, exp } = jwt.claims;
	const resource = resourceOf(vault);
	const issuer = `https://sts.windows.net/${vault.tenant}/`;

	if (exp <= world.clock() / 1000)
		throw refuse('[TokenExpired] Error validating token: IDX10223: Lifetime validation failed. The token is expired.',
			', error="invalid_token", error_description="The token is expired."');
	if (aud !== resource && aud !== resource + '/')
		throw refuse(`AKV10022: Invalid audience. Expected ${resource}, found: ${aud}.`);
	if (iss !== issuer)
		throw refuse(`AKV10032: Invalid issuer. Expected one of ${issuer}, found ${iss}.`);
	return jwt.claims;
}

const callerOf = (claims) => `appid=${claims.appid};oid=${claims.oid};iss=${claims.iss}`;

function checkNetwork(vault, claims) {
	const caller = `Caller: ${callerOf(claims)}\r\nVault: ${vault.name};location=${vault.location}`;

	if (vault.firewall === 'connection')
		throw forbidden('Public network access is disabled and request is not from a trusted service nor via ' +
			`an approved private link.\r\n${caller}`, 'ForbiddenByConnection');
	if (vault.firewall)
		throw forbidden('Client address is not authorized and caller is not a trusted service.\r\n' +
			`Client address: 127.0.0.1\r\n${caller}`, 'ForbiddenByFirewall');
}

function checkPermission(vault, claims, permission, key) {
	const held = vault.grants.get(claims.oid) || new Set();
	const where = `${vault.name};location=${vault.location}`;

	if (!vault.rbac) {
		if (!held.has(permission))
			throw forbidden(`The user, group or application '${callerOf(claims)}' does not have keys ` +
				`${permission} permission on key vault '${where}'. For help resolving this issue, ` +
				'please see https://go.microsoft.com/fwlink/?linkid=2125287',
			vault.legacy_policy_code ? 'AccessDenied' : 'ForbiddenByPolicy');
		return;
	}
	const action = ACTIONS[permission];

	if (![...held].some((p) => ACTIONS[p] === action))
		throw forbidden('Caller is not authorized to perform action on resource.\r\n' +
			'If role assignments, deny assignments or role definitions were changed recently, please ' +
			`observe propagation time.\r\nCaller: ${callerOf(claims)}\r\n` +
			`Action: 'Microsoft.KeyVault/vaults/keys/${action}'\r\n` +
			"Resource: '/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/test/providers/" +
			`microsoft.keyvault/vaults/${vault.name}${key ? '/keys/' + key.toLowerCase() : ''}'\r\n` +
			`Assignment: (not found)\r\nDenyAssignmentId: null\r\nDecisionReason: null \r\nVault: ${where}\r\n`,
		'ForbiddenByRbac');
}

module.exports = { authenticate, challenge, checkNetwork, checkPermission, grant, revoke, resourceOf };
