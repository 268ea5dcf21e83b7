/*
 * See the script interop beside this file, which sets what must be set before
 * Node starts.
 */
'use strict';

const fs = require('fs');
const { connect } = require('../lib/client');

const { ClientSecretCredential } = require('@azure/identity');
const { CryptographyClient } = require('@azure/keyvault-keys');

async function main() {
	const { facts } = connect(process.argv[2]);
	const request = JSON.parse(fs.readFileSync(0, 'utf8'));
	const credential = new ClientSecretCredential(facts.tenant_id, request.client_id, request.client_secret,
		{ authorityHost: facts.authority_host, disableInstanceDiscovery: true });
	const client = new CryptographyClient(request.kid, credential);
	const alg = request.alg || 'RSA-OAEP-256';
	const value = Buffer.from(request.value, 'base64url');
	const answer = request.op === 'wrap'
		? await client.wrapKey(alg, value)
		: await client.unwrapKey(alg, value);

	process.stdout.write(JSON.stringify({
		kid: answer.keyID, value: Buffer.from(answer.result).toString('base64url'),
	}) + '\n');
}

main().then(() => process.exit(0), (e) => {
	process.stdout.write(JSON.stringify({ error: e.message, code: e.code, status: e.statusCode }) + '\n');
	process.exit(1);
});
