/*
 * environment.h
 *	  The environment variables that credentials come from, as they were read
 *	  once by cmk_vault_read_environment().
 *
 *		const char *id = cmk_env(CMK_ENV_CLIENT_ID);		NULL: unset or empty
 */
#ifndef CMK_ENVIRONMENT_H
#define CMK_ENVIRONMENT_H

typedef enum CmkEnv
{
	CMK_ENV_CLIENT_ID,
	CMK_ENV_TENANT_ID,
	CMK_ENV_AUTHORITY_HOST,
	CMK_ENV_CLIENT_SECRET,
	CMK_ENV_CLIENT_SECRET_FILE,
	CMK_ENV_CERTIFICATE_PATH,
	CMK_ENV_CERTIFICATE_PASSWORD,
	CMK_ENV_FEDERATED_TOKEN_FILE,
	CMK_ENV_POD_AUTHORITY_HOST,
	CMK_ENV_IDENTITY_ENDPOINT,
	CMK_ENV_IDENTITY_HEADER,
	CMK_ENV_IMDS_ENDPOINT,
	CMK_ENV_ARC_TOKEN_DIR,
	CMK_N_ENV
} CmkEnv;

/* Reads the environment now if that was not done; then the value, or NULL. */
extern const char *cmk_env(CmkEnv which);

#endif							/* CMK_ENVIRONMENT_H */
