/*
 * sqlkeys.c
 *	  SQL functions that change keys and recipients, and what shows them.
 *
 * The worker does the work; here is who may ask for it, where, and what is said to
 * him if it is refused.  None of it is undone when the transaction is rolled back:
 * who can open the root is a fact outside of the database.
 *
 * A key is set in two steps.  The worker has the new key take over, durably; then it
 * is written to postgresql.auto.conf, so that the next start asks it.  A crash between
 * the two leaves the old key in the setting, which still is a recipient.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/guc_tables.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "recipients.h"
#include "request.h"
#include "settings.h"
#include "state.h"

PG_FUNCTION_INFO_V1(cmk_set_key);
PG_FUNCTION_INFO_V1(cmk_add_recipient);
PG_FUNCTION_INFO_V1(cmk_drop_recipient);
PG_FUNCTION_INFO_V1(cmk_rotate_root);
PG_FUNCTION_INFO_V1(cmk_recipients);

/* ---- refusals ---- */

static int
outcome_sqlstate(const CmkOutcome *out)
{
	switch (out->reason)
	{
		case CMK_REASON_CONFIG:
		case CMK_REASON_API_VERSION:
			if (out->err.code == CMK_ERR_NOT_FOUND)
				return ERRCODE_UNDEFINED_OBJECT;
			if (out->err.code == CMK_ERR_KEY_UNUSABLE)
				return ERRCODE_INVALID_PARAMETER_VALUE;
			return cmk_error_sqlstate(&out->err);
		case CMK_REASON_KEY_NOT_FOUND:
			return ERRCODE_UNDEFINED_OBJECT;
		case CMK_REASON_KEY_DISABLED:
		case CMK_REASON_KEY_EXPIRED:
		case CMK_REASON_KEY_NOT_YET_VALID:
		case CMK_REASON_KEY_OPERATION_FORBIDDEN:
		case CMK_REASON_KEY_UNSUITABLE:
			return ERRCODE_INVALID_PARAMETER_VALUE;
		case CMK_REASON_FORBIDDEN_BY_RBAC:
		case CMK_REASON_FORBIDDEN_BY_POLICY:
		case CMK_REASON_FORBIDDEN_BY_FIREWALL:
		case CMK_REASON_FORBIDDEN:
		case CMK_REASON_UNAUTHORIZED:
		case CMK_REASON_WRONG_TENANT:
		case CMK_REASON_IDENTITY_GONE:
		case CMK_REASON_CREDENTIAL_REFUSED:
		case CMK_REASON_TOKEN:
		case CMK_REASON_CHALLENGE:
			return ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION;
		case CMK_REASON_DNS:
		case CMK_REASON_CONNECT:
		case CMK_REASON_TIMEOUT:
		case CMK_REASON_TLS:
		case CMK_REASON_THROTTLED:
		case CMK_REASON_SERVER_ERROR:
		case CMK_REASON_REDIRECT:
		case CMK_REASON_MALFORMED:
			return ERRCODE_CONNECTION_FAILURE;
		case CMK_REASON_NONE:
		case CMK_REASON_CANARY:
		case CMK_REASON_UNKNOWN:
			break;
	}
	return ERRCODE_SYSTEM_ERROR;
}

/* What the vault said, for the DETAIL. */
static char *
outcome_detail(const CmkOutcome *out)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, out->err.detail);
	if (out->reason == CMK_REASON_CONFIG)
		return buf.data;
	appendStringInfo(&buf, "%sReason: %s.", buf.len > 0 ? " " : "",
					 cmk_reason_name(out->reason));
	if (out->request_id[0] && strstr(out->err.detail, out->request_id) == NULL)
		appendStringInfo(&buf, " Request id: %s.", out->request_id);
	return buf.data;
}

/* Has the worker do it; an error if it did not. */
static void
ask(const CmkRequest *req)
{
	CmkOutcome	out;
	char	   *detail;
	int			sqlstate;

	cmk_ask(req, &out);
	if (out.verdict == CMK_VERDICT_YES)
		return;
	detail = outcome_detail(&out);
	sqlstate = outcome_sqlstate(&out);
	ereport(ERROR,
			(sqlstate != 0 ? errcode(sqlstate) : errcode_for_file_access(),
			 errmsg("%s", out.err.message),
			 detail[0] ? errdetail("%s", detail) : 0,
			 out.err.hint[0] ? errhint("%s", out.err.hint) : 0));
}

/* Before the worker is troubled. */
static void
require_primary(const char *function)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot execute %s during recovery", function),
				 errhint("Execute it on the primary; what it changes comes with its WAL.")));
	if (!cmk_has_key())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no customer-managed key is configured"),
				 errhint("Set pg_cmk.key and restart the server.")));
}

static void
set_url(CmkRequest *req, text *url)
{
	char	   *s = text_to_cstring(url);

	if (strlen(s) >= sizeof(req->url))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key URL is too long")));
	strlcpy(req->url, s, sizeof(req->url));
	cmk_key_url_normalize(req->url);
}

/* ---- cmk.set_key() ---- */

/*
 * A setting of the command line, or of the environment's PGOPTIONS for a standalone
 * backend, goes before every file: what was written there would never be read.
 */
static void
refuse_fixed_setting(void)
{
	struct config_generic **vars = get_guc_variables();

	for (int i = 0; i < GetNumConfigOptions(); i++)
		if (strcmp(vars[i]->name, "pg_cmk.key") == 0 && vars[i]->source > PGC_S_FILE)
			ereport(ERROR,
					(errcode(ERRCODE_CANT_CHANGE_RUNTIME_PARAM),
					 errmsg("parameter \"%s\" cannot be changed", "pg_cmk.key"),
					 errdetail("It was set on the server's command line."),
					 errhint("Start the server without it, and set it in postgresql.conf.")));
}

static void
explain_half_done(void *url)
{
	errcontext("key \"%s\" governs already; pg_cmk.key must be set to it before the server is restarted",
			   (char *) url);
}

/* ALTER SYSTEM and a reload, by whoever may change keys. */
static void
write_setting(char *url)
{
	AlterSystemStmt *stmt = makeNode(AlterSystemStmt);
	VariableSetStmt *set = makeNode(VariableSetStmt);
	A_Const    *value = makeNode(A_Const);
	ErrorContextCallback context;
	Oid			user;
	int			security;

	value->val.sval.type = T_String;
	value->val.sval.sval = url;
	value->location = -1;
	set->kind = VAR_SET_VALUE;
	set->name = "pg_cmk.key";
	set->args = list_make1(value);
	stmt->setstmt = set;

	context.callback = explain_half_done;
	context.arg = url;
	context.previous = error_context_stack;
	error_context_stack = &context;
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, security | SECURITY_LOCAL_USERID_CHANGE);
	AlterSystemSetConfigFile(stmt);
	cmk_set_setting(url);
	SetUserIdAndSecContext(user, security);
	error_context_stack = context.previous;
	if (kill(PostmasterPid, SIGHUP) != 0)
		ereport(WARNING, (errmsg("failed to send signal to postmaster: %m")));
}

/* Returns the key version that governs. */
Datum
cmk_set_key(PG_FUNCTION_ARGS)
{
	CmkRequest	req;
	char		url[CMK_KEY_URL_SIZE];
	char		version[CMK_KEY_VERSION_SIZE];

	require_primary("cmk.set_key()");
	memset(&req, 0, sizeof(req));
	req.kind = CMK_REQUEST_SET_KEY;
	set_url(&req, PG_GETARG_TEXT_PP(0));
	if (strncmp(req.url, "file:", 5) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a key in a file cannot be set from SQL"),
				 errhint("Set pg_cmk.key in postgresql.conf and reload the configuration.")));
	refuse_fixed_setting();
	ask(&req);
	cmk_debug_point("key-before-setting");
	write_setting(req.url);
	cmk_get_governing(url, version);
	PG_RETURN_TEXT_P(cstring_to_text(version));
}

/* ---- recipients and roots ---- */

Datum
cmk_add_recipient(PG_FUNCTION_ARGS)
{
	CmkRequest	req;

	require_primary("cmk.add_recipient()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("key_url must not be null")));
	memset(&req, 0, sizeof(req));
	req.kind = CMK_REQUEST_ADD_RECIPIENT;
	set_url(&req, PG_GETARG_TEXT_PP(0));
	if (strncmp(req.url, "file:", 5) == 0 && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to use a key in a file"),
				 errdetail("Only superusers may.")));
	if (!PG_ARGISNULL(1))
	{
		char	   *pem = text_to_cstring(PG_GETARG_TEXT_PP(1));

		if (pem[0] == '\0' || strlen(pem) >= sizeof(req.public_key))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("public_key is empty or too long")));
		strlcpy(req.public_key, pem, sizeof(req.public_key));
	}
	ask(&req);
	PG_RETURN_VOID();
}

Datum
cmk_drop_recipient(PG_FUNCTION_ARGS)
{
	CmkRequest	req;

	require_primary("cmk.drop_recipient()");
	memset(&req, 0, sizeof(req));
	req.kind = CMK_REQUEST_DROP_RECIPIENT;
	set_url(&req, PG_GETARG_TEXT_PP(0));
	ask(&req);
	PG_RETURN_VOID();
}

/* Returns the number of the new root. */
Datum
cmk_rotate_root(PG_FUNCTION_ARGS)
{
	CmkRequest	req;

	require_primary("cmk.rotate_root()");
	memset(&req, 0, sizeof(req));
	req.kind = CMK_REQUEST_ROTATE_ROOT;
	ask(&req);
	PG_RETURN_INT32((int32) cmk_registry_root()->id);
}

static void
put_recipient(ReturnSetInfo *rsinfo, const CmkWrap *w, bool governing)
{
	Datum		values[7];
	bool		nulls[7] = {0};
	char		fingerprint[CMK_FINGERPRINT_SIZE];

	cmk_key_fingerprint(w->public_key, w->public_len, fingerprint);
	values[0] = CStringGetTextDatum(w->recipient);
	values[1] = CStringGetTextDatum(w->key_version);
	values[2] = CStringGetTextDatum(w->alg);
	values[3] = TimestampTzGetDatum(time_t_to_timestamptz((pg_time_t) w->created));
	values[4] = BoolGetDatum(governing);
	values[5] = BoolGetDatum(w->local);
	values[6] = CStringGetTextDatum(fingerprint);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* Those of the current root, from root.json once that has proven genuine. */
Datum
cmk_recipients(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	CmkRootFile rf;
	CmkError	err;
	const CmkRootKey *key;
	const CmkRoot *root;
	bool		ok;

	InitMaterializedSRF(fcinfo, 0);
	if (!cmk_is_configured())
		return (Datum) 0;
	if (cmk_rootfile_read(CMK_ROOT_FILE, &rf, &err) < 0)
		cmk_report(ERROR, &err);

	/* A root that came with WAL may not be open yet. */
	key = cmk_registry_root_by_id(rf.current_root);
	if (key == NULL)
		ok = cmk_fail(&err, CMK_ERR_CONFIG, "root key %u is not open yet", rf.current_root) == 0;
	else
		ok = cmk_rootfile_verify(&rf, CMK_ROOT_FILE, GetSystemIdentifier(), key->key, &err) == 0;
	root = cmk_rootfile_find_root(&rf, rf.current_root);
	PG_TRY();
	{
		const CmkWrap *governing = ok ? cmk_governing_wrap(&rf, rf.current_root) : NULL;

		for (int i = 0; ok && i < root->nwraps; i++)
			put_recipient(rsinfo, &root->wraps[i], &root->wraps[i] == governing);
	}
	PG_FINALLY();
	{
		cmk_rootfile_free(&rf);
	}
	PG_END_TRY();
	if (!ok)
		cmk_report(ERROR, &err);
	return (Datum) 0;
}
