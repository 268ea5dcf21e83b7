/*
 * What all HTTP services of the test vault share: reading a request, giving an
 * answer, counting both, and the faults that a test asked for.
 *
 * A service is a function from a request to an answer { status, headers, body }.
 * It never writes to the connection itself; so whatever a service can answer, a
 * fault can delay, damage or replace.
 *
 * A fault is what a test gave to fault.add:
 *
 *	match		{ op, vault, key, host, method }: strings that must be equal; op
 *				may be a list.  Nothing matches everything.
 *	skip		how many matching requests pass before it begins
 *	count		how many it meets then; without it, all
 *
 * then what happens, in this order and combined as far as it makes sense:
 *
 *	delay_ms	before anything else
 *	hang		never an answer (until the fault is cleared)
 *	close		the connection is closed without an answer
 *	raw			these bytes instead of an HTTP answer, then closed
 *	redirect	302 to this URL
 *	aadsts		the token endpoint's error of this number
 *	status		instead of the service: with body, or with the error that the
 *				service gives with that status
 *	code, inner, message	of that error
 *	retry_after	a Retry-After header, in seconds or as a date
 *	headers		set, or with null removed
 *	body		replaces the body: text as it is, anything else as JSON
 *	patch		merged into the JSON body of a true answer (RFC 7396)
 *	oversize	a member of so many bytes is put before the others
 *	garbage		so many random bytes are the body
 *	gzip		the body is compressed, and says so
 *	truncate	the answer ends after so many bytes of the body, and the
 *				connection with it; Content-Length says otherwise
 *	trickle_ms	the body comes byte by byte, with so long between two
 */
'use strict';

const crypto = require('crypto');
const zlib = require('zlib');
const { ServiceError } = require('./errors');

const MAX_REQUEST = 1 << 20;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function readBody(req) {
	const chunks = [];
	let size = 0;

	for await (const chunk of req) {
		size += chunk.length;
		if (size > MAX_REQUEST)
			throw new ServiceError(413, 'RequestEntityTooLarge', 'The request body is too large.');
		chunks.push(chunk);
	}
	return Buffer.concat(chunks).toString('utf8');
}

class Faults {
	constructor() {
		this.list = [];
		this.lastId = 0;
	}

	add(spec) {
		const fault = { skip: 0, count: Infinity, match: {}, ...spec, id: ++this.lastId, met: 0, held: new Set() };

		if (fault.count === null)
			fault.count = Infinity;
		this.list.push(fault);
		return fault.id;
	}

	/* All without an id.  What hangs is let go by closing its connection. */
	clear(id) {
		for (const fault of this.list.filter((f) => id === undefined || f.id === id)) {
			for (const socket of fault.held)
				socket.destroy();
			this.list.splice(this.list.indexOf(fault), 1);
		}
	}

	take(request) {
		for (const fault of this.list) {
			const fits = Object.entries(fault.match).every(([name, wanted]) =>
				Array.isArray(wanted) ? wanted.includes(request[name]) : wanted === request[name]);

			if (!fits || fault.count <= 0)
				continue;
			if (fault.skip > 0) {
				fault.skip--;
				continue;
			}
			fault.count--;
			fault.met++;
			return fault;
		}
		return null;
	}

	report() {
		return this.list.map(({ held, count, ...rest }) =>
			({ ...rest, count: Number.isFinite(count) ? count : null }));
	}
}

/* RFC 7396 */
function mergePatch(target, patch) {
	if (patch === null || typeof patch !== 'object' || Array.isArray(patch))
		return patch;
	const result = target !== null && typeof target === 'object' && !Array.isArray(target) ? { ...target } : {};

	for (const [name, value] of Object.entries(patch)) {
		if (value === null)
			delete result[name];
		else
			result[name] = mergePatch(result[name], value);
	}
	return result;
}

const USUAL = {
	400: ['BadParameter', 'The parameter is incorrect.\r\n'],
	401: ['Unauthorized', 'AKV10000: Request is missing a Bearer or PoP token.'],
	403: ['Forbidden', 'Access denied.'],
	404: ['KeyNotFound', 'A key with (name/id) was not found in this key vault.'],
	408: ['RequestTimeout', 'The request timed out.'],
	429: ['Throttled', 'Request was not processed because too many requests were received. ' +
		'Reason: VaultRequestTypeLimitReached'],
	500: ['InternalServerError', 'An unexpected error occurred.'],
	502: ['BadGateway', 'Bad gateway.'],
	503: ['ServiceUnavailable', 'Service is temporarily unavailable.'],
	504: ['GatewayTimeout', 'Gateway timeout.'],
};

/* The answer that a fault gives instead of the service, or null. */
function replacement(fault, request) {
	if (fault.redirect)
		return { status: fault.status || 302, headers: { Location: fault.redirect } };
	if (fault.status === undefined || fault.aadsts !== undefined)
		return null;
	const [code, message] = USUAL[fault.status] || ['Unknown', 'Unknown error.'];

	return fault.status < 400
		? { status: fault.status }
		: new ServiceError(fault.status, fault.code || code, fault.message || message, fault.inner,
			fault.status === 401 ? request.unauthorized : undefined).answer();
}

function encodeBody(answer, fault) {
	let { body } = answer;

	if (fault.patch !== undefined)
		body = mergePatch(body, fault.patch);
	if (fault.body !== undefined)
		body = fault.body;
	if (fault.oversize)
		body = { padding: 'x'.repeat(fault.oversize), ...body };
	if (fault.garbage)
		return crypto.randomBytes(fault.garbage);
	if (body === undefined || body === null)
		return Buffer.alloc(0);
	return Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
}

async function deliver(req, res, answer, fault) {
	const headers = {
		...answer.headers,
		...(fault.retry_after !== undefined ? { 'Retry-After': String(fault.retry_after) } : {}),
		...fault.headers,
	};
	let data = encodeBody(answer, fault);

	if (data.length > 0 && headers['Content-Type'] === undefined)
		headers['Content-Type'] = 'application/json; charset=utf-8';
	if (fault.gzip) {
		data = zlib.gzipSync(data);
		headers['Content-Encoding'] = 'gzip';
	}
	if (answer.status !== 204)
		headers['Content-Length'] = String(data.length);
	for (const [name, value] of Object.entries(headers)) {
		if (value !== null && value !== undefined)
			res.setHeader(name, value);
	}
	if (fault.headers && fault.headers.Date === null)
		res.sendDate = false;
	res.statusCode = answer.status;
	if (fault.trickle_ms) {
		res.flushHeaders();
		for (let i = 0; i < data.length && !res.destroyed; i++) {
			res.write(data.subarray(i, i + 1));
			await sleep(fault.trickle_ms);
		}
		res.end();
	} else if (fault.truncate !== undefined) {
		res.flushHeaders();
		res.write(data.subarray(0, fault.truncate), () => req.socket.destroySoon());
	} else {
		res.end(data);
	}
}

/*
 * Serves one request.  describe(req) says what it is, without its body:
 * { service, op, vault, key, host, method }, and of a vault also region, the
 * headers of a 401 and whether it is gone, so that nobody answers.
 * answer(request, body, fault) is the service.
 */
async function serve(world, req, res, describe, answer) {
	const request = describe(req);
	const { gone, unauthorized, region, ...told } = request;
	const entry = { at: new Date().toISOString(), ...told, path: req.url.split('?')[0], status: 0 };

	world.seen(entry);
	if (gone) {
		req.socket.destroy();
		return;
	}
	const fault = world.faults.take(request) || {};
	let given;

	try {
		const body = await readBody(req);

		if (fault.delay_ms)
			await sleep(fault.delay_ms);
		if (fault.hang) {
			fault.held.add(req.socket);
			return;
		}
		if (fault.close || fault.raw !== undefined) {
			if (fault.raw !== undefined)
				req.socket.write(fault.raw);
			req.socket.destroySoon();
			return;
		}
		given = replacement(fault, request) || await answer(request, body, fault);
	} catch (e) {
		if (req.socket.destroyed)
			return;
		if (!(e instanceof ServiceError)) {
			process.stderr.write(`${request.op}: ${e.stack}\n`);
			e = new ServiceError(500, 'InternalServerError', 'The test vault is at fault, see its log.');
		}
		given = e.answer();
	}
	given.headers = { ...world.headers(req, request), ...given.headers };
	entry.status = given.status;
	await deliver(req, res, given, fault);
}

module.exports = { Faults, serve };
