/*
 * A certificate authority of the test vault's own.
 *
 * The vault must be met over TLS that is verified, and tests must be able to
 * break that in every way: a certificate of another authority, for another
 * host, expired, not yet valid.  The openssl program cannot easily make the last
 * two, and Node has no function that makes certificates; so here they are
 * written in DER, which is about a hundred lines (X.690, RFC 5280).  All keys are
 * EC P-256, made afresh at each start.
 */
'use strict';

const crypto = require('crypto');

function tlv(tag, ...parts) {
	const body = Buffer.concat(parts);
	let len;

	if (body.length < 0x80)
		len = Buffer.from([body.length]);
	else if (body.length < 0x100)
		len = Buffer.from([0x81, body.length]);
	else
		len = Buffer.from([0x82, body.length >> 8, body.length & 0xff]);
	return Buffer.concat([Buffer.from([tag]), len, body]);
}

const seq = (...parts) => tlv(0x30, ...parts);
const octets = (...parts) => tlv(0x04, ...parts);
const bits = (buf, unused = 0) => tlv(0x03, Buffer.from([unused]), buf);
const TRUE = tlv(0x01, Buffer.from([0xff]));

function oid(dotted) {
	const [a, b, ...rest] = dotted.split('.').map(Number);
	const bytes = [a * 40 + b];

	for (let n of rest) {
		const group = [n & 0x7f];

		while ((n >>= 7) > 0)
			group.unshift(0x80 | (n & 0x7f));
		bytes.push(...group);
	}
	return tlv(0x06, Buffer.from(bytes));
}

const name = (cn) => seq(tlv(0x31, seq(oid('2.5.4.3'), tlv(0x0c, Buffer.from(cn)))));

/* UTCTime reaches to 2049, GeneralizedTime from there. */
function time(date) {
	const digits = date.toISOString().replace(/[-:T]/g, '').slice(0, 14);

	return date.getUTCFullYear() < 2050
		? tlv(0x17, Buffer.from(digits.slice(2) + 'Z'))
		: tlv(0x18, Buffer.from(digits + 'Z'));
}

const extension = (id, critical, value) =>
	seq(oid(id), ...(critical ? [TRUE] : []), octets(value));

/* The public key as it stands in SubjectPublicKeyInfo, hashed: RFC 5280, 4.2.1.2. */
const keyId = (spki) => crypto.createHash('sha1').update(spki.subarray(-65)).digest();

function serial() {
	const n = crypto.randomBytes(16);

	n[0] = (n[0] & 0x7f) | 0x40;
	return tlv(0x02, n);
}

const pem = (der) => '-----BEGIN CERTIFICATE-----\n' +
	der.toString('base64').replace(/.{64}/g, '$&\n').trimEnd() +
	'\n-----END CERTIFICATE-----\n';

const ECDSA_SHA256 = seq(oid('1.2.840.10045.4.3.2'));

function certificate(spec) {
	const tbs = seq(
		tlv(0xa0, tlv(0x02, Buffer.from([2]))),
		serial(), ECDSA_SHA256, name(spec.issuer),
		seq(time(spec.notBefore), time(spec.notAfter)),
		name(spec.subject), spec.spki, tlv(0xa3, seq(...spec.extensions)));

	return seq(tbs, ECDSA_SHA256, bits(crypto.sign('sha256', tbs, spec.signer)));
}

const DAY = 86400e3;

class Authority {
	constructor(cn) {
		const pair = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
		const spki = pair.publicKey.export({ type: 'spki', format: 'der' });

		this.cn = cn;
		this.key = pair.privateKey;
		this.keyId = keyId(spki);
		this.cert = pem(certificate({
			issuer: cn, subject: cn, spki, signer: this.key,
			notBefore: new Date(Date.now() - DAY), notAfter: new Date(Date.now() + 365 * DAY),
			extensions: [
				extension('2.5.29.19', true, seq(TRUE)),
				extension('2.5.29.15', true, bits(Buffer.from([0x06]), 1)),
				extension('2.5.29.14', false, octets(this.keyId)),
			],
		}));
	}

	/*
	 * A server certificate and its key in PEM, for DNS names and IPv4 addresses.
	 * from and to are days relative to now.
	 */
	issue({ names, ips = [], from = -1, to = 365 }) {
		const pair = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
		const spki = pair.publicKey.export({ type: 'spki', format: 'der' });
		const alt = names.map((n) => tlv(0x82, Buffer.from(n)))
			.concat(ips.map((ip) => tlv(0x87, Buffer.from(ip.split('.').map(Number)))));
		const der = certificate({
			issuer: this.cn, subject: names[0], spki, signer: this.key,
			notBefore: new Date(Date.now() + from * DAY), notAfter: new Date(Date.now() + to * DAY),
			extensions: [
				extension('2.5.29.17', false, seq(...alt)),
				extension('2.5.29.15', true, bits(Buffer.from([0x80]), 7)),
				extension('2.5.29.37', false, seq(oid('1.3.6.1.5.5.7.3.1'))),
				extension('2.5.29.14', false, octets(keyId(spki))),
				extension('2.5.29.35', false, seq(tlv(0x80, this.keyId))),
			],
		});

		return {
			cert: pem(der),
			key: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }),
		};
	}
}

const NAMES = ['*.vault.localhost', '*.managedhsm.localhost', 'login.localhost', 'localhost'];

/* The certificates that the server can show, by the name of what is wrong with them. */
function variants(authority) {
	const good = { names: NAMES, ips: ['127.0.0.1'] };

	return {
		'good': authority.issue(good),
		'wrong-ca': new Authority('A stranger').issue(good),
		'wrong-host': authority.issue({ names: ['vault.example'] }),
		'expired': authority.issue({ ...good, from: -30, to: -1 }),
		'not-yet-valid': authority.issue({ ...good, from: 10, to: 30 }),
	};
}

module.exports = { Authority, variants };
