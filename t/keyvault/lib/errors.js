/*
 * Errors of the Key Vault service, in its own words.  README.md says which were
 * seen in recordings and reports of the real service and which are guesses.
 */
'use strict';

class ServiceError extends Error {
	constructor(status, code, message, inner, headers) {
		super(message);
		this.status = status;
		this.code = code;
		this.inner = inner;
		this.headers = headers;
	}

	/* The answer as deliver() of http.js takes it. */
	answer() {
		const error = { code: this.code, message: this.message };

		if (this.inner)
			error.innererror = { code: this.inner };
		return { status: this.status, headers: this.headers, body: { error } };
	}
}

const bad = (message) => new ServiceError(400, 'BadParameter', message);
const forbidden = (message, inner) => new ServiceError(403, 'Forbidden', message, inner);

const keyNotFound = (name, version) => new ServiceError(404, 'KeyNotFound',
	`A key with (name/id) ${name}${version ? '/' + version : ''} was not found in this key vault. ` +
	'If you recently deleted this key you may be able to recover it using the correct recovery ' +
	'command. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182');

const deletedKeyNotFound = (name) =>
	new ServiceError(404, 'KeyNotFound', `Deleted Key not found: ${name}`);

const keyIsDeleted = (name) => new ServiceError(409, 'Conflict',
	`Key ${name} is currently in a deleted but recoverable state, and its name cannot be reused; ` +
	'in this state, the key can only be recovered or purged.', 'ObjectIsDeletedButRecoverable');

const keyDisabled = (op) =>
	forbidden(`Operation ${op} is not allowed on a disabled key.`, 'KeyDisabled');

const keyOperationForbidden = (op) =>
	forbidden(`Operation ${op} is not permitted on this key.`, 'KeyOperationForbidden');

/* What the service says here is not documented, nor any inner code. */
const keyExpired = (op) => forbidden(`Operation ${op} is not allowed on an expired key.`);
const keyNotYetValid = (op) => forbidden(`Operation ${op} is not allowed on a key that is not yet valid.`);

const purgeProtected = () => forbidden('Operation "purge" is not allowed because purge protection is ' +
	'enabled for this vault. Key Vault service will automatically purge it after the retention period has passed.');

module.exports = {
	ServiceError, bad, forbidden, keyNotFound, deletedKeyNotFound, keyIsDeleted, keyDisabled,
	keyOperationForbidden, keyExpired, keyNotYetValid, purgeProtected,
};
