/*
 * Microsoft Entra ID, as far as a service principal meets it: the token endpoint
 * with a client secret, a certificate or a federated token, and the documents by
 * which MSAL finds it.
 *
 * Errors carry the AADSTS number in the text and in error_codes; the client tells
 * a credential that was refused from one that could not be judged by nothing
 * else, so numbers, error names and status are those of the real service.
 */
'use strict';

const crypto = require('crypto');
const { sign, decode, verify } = require('./jose');

const ASSERTION = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
const EXCHANGE = 'api://AzureADTokenExchange';
const GUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/* number -> [status, error, text] */
const ERRORS = {
	50027: [400, 'invalid_request', () => 'JWT token is invalid or malformed.'],
	70011: [400, 'invalid_scope', (x) => `The provided request must include a 'scope' input parameter. The ` +
		`provided value for the input parameter 'scope' is not valid. The scope ${x.scope} is not valid.`],
	70021: [400, 'invalid_request', (x) => 'No matching federated identity record found for presented ' +
		`assertion. Assertion Issuer: '${x.iss}'. Assertion Subject: '${x.sub}'. Assertion Audience: '${x.aud}'. ` +
		'https://docs.microsoft.com/en-us/azure/active-directory/develop/workload-identity-federation'],
	90002: [400, 'invalid_request', (x) => `Tenant '${x.tenant}' not found. Check to make sure you have the ` +
		'correct tenant ID and are signing into the correct cloud. Check with your subscription ' +
		'administrator, this may happen if there are no active subscriptions for the tenant.'],
	90033: [503, 'temporarily_unavailable', () => 'A transient error has occurred. Please try again.'],
	700016: [400, 'unauthorized_client', (x) => `Application with identifier '${x.client}' was not found in the ` +
		`directory '${x.tenant}'. This can happen if the application has not been installed by the ` +
		'administrator of the tenant or consented to by any user in the tenant. You may have sent your ' +
		'authentication request to the wrong tenant.'],
	700023: [401, 'invalid_client', (x) => `Client assertion audience claim does not match Realm issuer. ` +
		`Expected audience: ${x.expected}.`],
	700024: [401, 'invalid_client', () => 'Client assertion is not within its valid time range.'],
	700027: [401, 'invalid_client', (x) => 'The certificate with identifier used to sign the client assertion ' +
		`is not registered on application. [Reason - The key was not found., Thumbprint of key used by client: ` +
		`'${x.thumbprint}']`],
	700211: [401, 'invalid_client', (x) => 'No matching federated identity record found for presented assertion ' +
		`issuer '${x.iss}'. Please check your federated identity credential Subject, Audience and Issuer ` +
		'against the presented assertion.'],
	700212: [401, 'invalid_client', (x) => 'No matching federated identity record found for presented assertion ' +
		`audience '${x.aud}'. Please check your federated identity credential Subject, Audience and Issuer ` +
		'against the presented assertion.'],
	700213: [401, 'invalid_client', (x) => 'No matching federated identity record found for presented assertion ' +
		`subject '${x.sub}'. Please check your federated identity credential Subject, Audience and Issuer ` +
		'against the presented assertion.'],
	900144: [400, 'invalid_request', (x) => "The request body must contain the following parameter: " +
		`'${x.parameter}'.`],
	900023: [400, 'invalid_request', (x) => `Specified tenant identifier '${x.tenant}' is neither a valid DNS ` +
		'name, nor a valid external domain.'],
	7000112: [401, 'unauthorized_client', (x) => `Application '${x.client}'(test) is disabled.`],
	7000215: [401, 'invalid_client', (x) => 'Invalid client secret provided. Ensure the secret being sent in ' +
		'the request is the client secret value, not the client secret ID, for a secret added to app ' +
		`'${x.client}'.`],
	7000218: [401, 'invalid_client', () => "The request body must contain the following parameter: " +
		"'client_assertion' or 'client_secret'."],
	7000222: [401, 'invalid_client', (x) => `The provided client secret keys for app '${x.client}' are expired. ` +
		'Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider ' +
		'using certificate credentials for added security: https://aka.ms/certCreds.'],
	7000229: [401, 'unauthorized_client', (x) => `The client application ${x.client} is missing service ` +
		`principal in the tenant ${x.tenant}. See instructions here: ` +
		'https://go.microsoft.com/fwlink/?linkid=2225119'],
};

function refusal(world, number, x) {
	const [status, error, text] = ERRORS[number] || [400, 'invalid_request', () => 'An error occurred.'];
	const stamp = new Date(world.clock()).toISOString().replace('T', ' ').replace(/\..*/, 'Z');
	const trace = crypto.randomUUID();
	const correlation = crypto.randomUUID();

	return {
		status,
		body: {
			error,
			error_description: `AADSTS${number}: ${text(x)} Trace ID: ${trace} Correlation ID: ${correlation} ` +
				`Timestamp: ${stamp}`,
			error_codes: [Number(number)],
			timestamp: stamp,
			trace_id: trace,
			correlation_id: correlation,
			error_uri: `${world.authority}/error?code=${number}`,
		},
	};
}

class Refused extends Error {
	constructor(number, x) {
		super(`AADSTS${number}`);
		this.number = number;
		this.x = x;
	}
}

class Application {
	constructor(spec = {}) {
		this.client_id = spec.client_id || crypto.randomUUID();
		this.oid = spec.oid || crypto.randomUUID();
		this.secrets = [];			/* { value, expires } in seconds */
		this.certificates = [];		/* X509Certificate */
		this.federated = [];		/* { issuer, subject, audience } */
		this.disabled = false;
		this.deleted = false;
		this.missing_principal = false;
	}

	addSecret(value = crypto.randomBytes(30).toString('base64url'), expires = Infinity) {
		this.secrets.push({ value, expires });
		return value;
	}
}

/* ---- access tokens ---- */

function accessToken(world, tenant, principal, resource) {
	const now = Math.floor(world.clock() / 1000);
	const issuer = `https://sts.windows.net/${tenant}/`;

	return sign({
		aud: resource,
		iss: issuer,
		iat: now,
		nbf: now,
		exp: now + world.token_lifetime,
		appid: principal.client_id,
		appidacr: principal.kind ? '2' : '1',
		idp: issuer,
		oid: principal.oid,
		sub: principal.oid,
		tid: tenant,
		uti: crypto.randomBytes(16).toString('base64url'),
		ver: '1.0',
	}, world.signer.privateKey, { kid: world.signer.kid, x5t: world.signer.kid });
}

/* A token as a Kubernetes cluster would put it into a file, signed by its issuer. */
function federatedToken(world, { issuer = world.federation, subject, audience = EXCHANGE, lifetime = 3600 }) {
	const now = Math.floor(world.clock() / 1000);

	return sign({ iss: issuer, sub: subject, aud: [audience], iat: now, nbf: now, exp: now + lifetime },
		world.issuer.privateKey, { kid: 'federation' });
}

/* ---- the credentials ---- */

const same = (a, b) => {
	const [x, y] = [a, b].map((s) => crypto.createHash('sha256').update(s).digest());

	return crypto.timingSafeEqual(x, y);
};

function checkSecret(world, app, secret, x) {
	const found = app.secrets.find((s) => same(s.value, secret));

	if (!found)
		throw new Refused(7000215, x);
	if (found.expires <= world.clock() / 1000)
		throw new Refused(7000222, x);
}

function checkTimes(world, claims, x) {
	const now = world.clock() / 1000;
	const slack = 300;

	if (!(claims.exp > now - slack) || claims.nbf > now + slack)
		throw new Refused(700024, x);
}

/* Which registered certificate it is, x5t (SHA-1) or x5t#S256 says, as MSAL sends them. */
function checkCertificate(world, app, jwt, x, endpoint) {
	const { header, claims } = jwt;
	const digest = (cert, hash) => crypto.createHash(hash).update(cert.raw).digest('base64url');
	const found = app.certificates.find((cert) =>
		(header.x5t !== undefined && header.x5t === digest(cert, 'sha1')) ||
		(header['x5t#S256'] !== undefined && header['x5t#S256'] === digest(cert, 'sha256')));
	const id = header.x5t || header['x5t#S256'] || header.kid || '';
	const detail = { ...x, thumbprint: Buffer.from(String(id), 'base64url').toString('hex').toUpperCase() };

	if (!found || !verify(jwt, found.publicKey))
		throw new Refused(700027, detail);
	if (claims.iss !== app.client_id || claims.sub !== app.client_id)
		throw new Refused(700027, detail);
	const audiences = [endpoint, endpoint.replace('/oauth2/v2.0/token', '/v2.0')];

	if (![].concat(claims.aud).some((aud) => audiences.includes(aud)))
		throw new Refused(700023, { ...x, expected: endpoint });
	checkTimes(world, claims, x);
}

function checkFederation(world, app, jwt, x) {
	const { iss, sub } = jwt.claims;
	const aud = [].concat(jwt.claims.aud);
	const detail = { ...x, iss, sub, aud: aud.join(' ') };
	const byIssuer = app.federated.filter((f) => f.issuer === iss);
	const byAudience = byIssuer.filter((f) => aud.includes(f.audience));

	if (byIssuer.length === 0)
		throw new Refused(700211, detail);
	if (byAudience.length === 0)
		throw new Refused(700212, detail);
	if (!byAudience.some((f) => f.subject === sub))
		throw new Refused(700213, detail);
	if (!verify(jwt, world.issuer.publicKey))
		throw new Refused(50027, detail);
	checkTimes(world, jwt.claims, detail);
}

function checkAssertion(world, app, form, x, endpoint) {
	const jwt = decode(form.get('client_assertion'));

	if (form.get('client_assertion_type') !== ASSERTION)
		throw new Refused(900144, { ...x, parameter: 'client_assertion_type' });
	if (!jwt)
		throw new Refused(50027, x);
	if (jwt.claims.iss === app.client_id)
		checkCertificate(world, app, jwt, x, endpoint);
	else
		checkFederation(world, app, jwt, x);
}

/* ---- the endpoints ---- */

function token(world, id, form) {
	const tenant = world.tenants.get(id.toLowerCase());
	const x = { tenant: id, client: form.get('client_id'), scope: form.get('scope') };

	if (!GUID.test(id))
		throw new Refused(900023, x);
	if (!tenant)
		throw new Refused(90002, x);
	for (const parameter of ['client_id', 'grant_type', 'scope']) {
		if (!form.get(parameter))
			throw new Refused(900144, { ...x, parameter });
	}
	const app = tenant.apps.get(x.client.toLowerCase());

	if (!app || app.deleted)
		throw new Refused(700016, x);
	if (app.missing_principal)
		throw new Refused(7000229, x);
	if (app.disabled)
		throw new Refused(7000112, x);
	if (form.get('client_assertion'))
		checkAssertion(world, app, form, x, `${world.authority}/${id}/oauth2/v2.0/token`);
	else if (form.get('client_secret') !== null)
		checkSecret(world, app, form.get('client_secret'), x);
	else
		throw new Refused(7000218, x);
	const scope = x.scope.split(' ').find((s) => s.endsWith('/.default'));

	if (!scope)
		throw new Refused(70011, x);
	return {
		status: 200,
		headers: { 'Cache-Control': 'no-store, no-cache' },
		body: {
			token_type: 'Bearer',
			expires_in: world.token_lifetime,
			ext_expires_in: world.token_lifetime,
			access_token: accessToken(world, id.toLowerCase(), app, scope.slice(0, -'/.default'.length)),
		},
	};
}

function configuration(world, id) {
	const base = `${world.authority}/${id}`;

	return {
		token_endpoint: `${base}/oauth2/v2.0/token`,
		token_endpoint_auth_methods_supported: ['client_secret_post', 'private_key_jwt', 'client_secret_basic'],
		jwks_uri: `${base}/discovery/v2.0/keys`,
		response_modes_supported: ['query', 'fragment', 'form_post'],
		subject_types_supported: ['pairwise'],
		id_token_signing_alg_values_supported: ['RS256'],
		response_types_supported: ['code', 'id_token', 'code id_token', 'id_token token'],
		scopes_supported: ['openid', 'profile', 'email', 'offline_access'],
		issuer: `${base}/v2.0`,
		authorization_endpoint: `${base}/oauth2/v2.0/authorize`,
		device_authorization_endpoint: `${base}/oauth2/v2.0/devicecode`,
		end_session_endpoint: `${base}/oauth2/v2.0/logout`,
		claims_supported: ['sub', 'iss', 'aud', 'exp', 'iat', 'tid', 'ver'],
		tenant_region_scope: 'WW',
	};
}

function discovery(world) {
	const host = new URL(world.authority).host;

	return {
		'tenant_discovery_endpoint': `${world.authority}/common/v2.0/.well-known/openid-configuration`,
		'api-version': '1.1',
		'metadata': [{ preferred_network: host, preferred_cache: host, aliases: [host] }],
	};
}

const TOKEN = /^\/([^/]+)\/oauth2\/v2\.0\/token$/i;
const OPENID = /^\/([^/]+)\/v2\.0\/\.well-known\/openid-configuration$/i;
const KEYS = /^\/([^/]+)\/discovery\/v2\.0\/keys$/i;

function describe(req) {
	const path = req.url.split('?')[0];
	const op = TOKEN.test(path) ? 'token' : OPENID.test(path) ? 'openid' : KEYS.test(path) ? 'jwks'
		: path === '/common/discovery/instance' ? 'discovery' : 'unknown';

	return { service: 'entra', op, host: req.headers.host, method: req.method };
}

function answer(world, req, text, fault) {
	const path = req.url.split('?')[0];
	let match;

	if (req.method === 'POST' && (match = TOKEN.exec(path))) {
		const form = new URLSearchParams(text);

		try {
			if (fault.aadsts !== undefined)
				throw new Refused(fault.aadsts, { tenant: match[1], client: form.get('client_id') });
			return token(world, match[1], form);
		} catch (e) {
			if (!(e instanceof Refused))
				throw e;
			const refused = refusal(world, e.number, e.x);

			return { ...refused, status: fault.status || refused.status };
		}
	}
	if (req.method === 'GET' && path === '/common/discovery/instance')
		return { status: 200, body: discovery(world) };
	if (req.method === 'GET' && (match = OPENID.exec(path))) {
		if (match[1] !== 'common' && !world.tenants.has(match[1].toLowerCase()))
			return refusal(world, 90002, { tenant: match[1] });
		return { status: 200, body: configuration(world, match[1]) };
	}
	if (req.method === 'GET' && KEYS.test(path))
		return { status: 200, body: { keys: [{ use: 'sig', kid: world.signer.kid, ...world.signer.publicKey.export({ format: 'jwk' }) }] } };
	return { status: 404, body: '' };
}

module.exports = { Application, accessToken, federatedToken, describe, answer, EXCHANGE };
