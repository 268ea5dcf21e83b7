/*
 * birth.c
 *	  When a relation file gets its DEK.  See birth.h.
 *
 * The order of a birth is: the registry and the keys file, then the WAL record,
 * then the storage (or, for the net and for indexes, the first page).  A
 * checkpoint that comes in between either has its redo pointer before the record,
 * and then replay brings it again, or behind it, and then the keys file was dirty
 * before the checkpoint's control file was opened, and was synced.  A record whose
 * file never came into being is an orphan and harmless: an abort buries it, and
 * the end of recovery what a crash left.
 */
#include "postgres.h"

#include "access/rmgr.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogutils.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "birth.h"
#include "birthguess.h"
#include "compat.h"
#include "keywal.h"
#include "state.h"

/* Relations with their own list in this backend, until the transaction ends. */
typedef struct RelList
{
	int			n;
	int			room;
	CmkRelId   *id;
} RelList;

CmkStatement *cmk_statement = NULL;

static RelList pending;			/* created, not yet spoken for */
static RelList born;			/* births of this transaction */

static bool
same_id(const CmkRelId *a, const CmkRelId *b)
{
	return a->rel == b->rel && a->db == b->db && a->spc == b->spc;
}

/* false: out of memory.  Does not ereport. */
static bool
list_add(RelList *list, const CmkRelId *id)
{
	if (list->n == list->room)
	{
		int			room = list->room == 0 ? 16 : list->room * 2;
		CmkRelId   *ids = realloc(list->id, room * sizeof(CmkRelId));

		if (ids == NULL)
			return false;
		list->id = ids;
		list->room = room;
	}
	list->id[list->n++] = *id;
	return true;
}

static int
list_find(const RelList *list, const CmkRelId *id)
{
	for (int i = list->n - 1; i >= 0; i--)
		if (same_id(&list->id[i], id))
			return i;
	return -1;
}

static void
list_remove(RelList *list, int i)
{
	list->id[i] = list->id[--list->n];
}

bool
cmk_is_born(const RelFileNode *rnode)
{
	CmkRelId	id = CMK_RELID(*rnode);
	CmkDekRef	ref;

	return cmk_registry_find(&id, &ref);
}

static void
require_configured(void)
{
	if (!cmk_is_configured())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot create a sealed relation: no key is configured"),
				 errhint("Set pg_cmk.key and restart the server.")));
}

/*
 * The birth itself.  ereport(ERROR) on failure; then nothing is left of it.
 */
static void
give_key(const CmkRelId *id, uint16 flags, XLogRecPtr birth_lsn)
{
	uint8		image[CMK_RECORD_SIZE];
	CmkError	err;
	bool		is_new;
	int			result;

	require_configured();
	if (cmk_keyring_file_moved(&err))
		cmk_report(ERROR, &err);
	cmk_lock_keyring();
	result = cmk_keyring_birth(id, flags, birth_lsn, image, &is_new, &err);
	cmk_unlock_keyring();
	if (result < 0)
		cmk_report(ERROR, &err);

	/*
	 * A key that was there already and is not of this transaction may be an
	 * orphan of which nobody else knows: it is logged like a new one.
	 */
	if (!is_new && list_find(&born, id) >= 0)
		return;
	if (!list_add(&born, id))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	cmk_debug_point("birth-after-file");
	cmk_log_birth(image);
	cmk_debug_point("birth-after-wal");
}

/* No page may be sealed on disk whose key is not there. */
static void
sync_keys(void)
{
	if (cmk_keyring_sync() < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not fsync file \"%s\": %m", CMK_KEYS_FILE)));
}

void
cmk_birth_in_place(const RelFileNode *rnode)
{
	CmkRelId	id = CMK_RELID(*rnode);

	give_key(&id, 0, GetXLogInsertRecPtr());
	sync_keys();
}

bool
cmk_birth_of_generation(const RelFileNode *rnode, int64 created)
{
	CmkRelId	id = CMK_RELID(*rnode);
	uint8		image[CMK_RECORD_SIZE];
	CmkError	err;
	CmkRotation rotation;

	require_configured();
	if (cmk_keyring_file_moved(&err))
		cmk_report(ERROR, &err);
	cmk_lock_keyring();
	rotation = cmk_keyring_rotate(&id, GetXLogInsertRecPtr(), created, image, &err);
	cmk_unlock_keyring();
	if (rotation == CMK_ROTATION_FAILED)
		cmk_report(ERROR, &err);
	if (rotation == CMK_ROTATION_MUST_WAIT)
		return false;
	cmk_debug_point("generation-after-file");
	cmk_log_birth(image);
	cmk_debug_point("generation-after-wal");
	sync_keys();
	return true;
}

void
cmk_birth(const RelFileNode *rnode, char persistence)
{
	CmkRelId	id = CMK_RELID(*rnode);

	if (persistence == RELPERSISTENCE_TEMP)
	{
		require_configured();
		return;
	}
	give_key(&id, CMK_DEK_WHOLE, InvalidXLogRecPtr);
}

void
cmk_birth_attribute(const RelFileNode *rnode, char persistence, bool seal)
{
	CmkRelId	id = CMK_RELID(*rnode);
	int			i;

	if (persistence == RELPERSISTENCE_TEMP)
		return;
	i = list_find(&pending, &id);
	if (seal)
		give_key(&id, CMK_DEK_WHOLE, InvalidXLogRecPtr);
	if (i >= 0)
		list_remove(&pending, i);
}

/*
 * Storage that replay creates.  If its own SMGR record creates it, or the copy of
 * a database, and no key record came before, it is plain.  If the record is any
 * other, the relation is one that is dropped later in WAL and nothing is known of
 * it: then it gets a key of this node, so that its pages do not lie there in
 * clear until they are.
 */
static int
created_in_replay(const CmkRelId *id)
{
	uint8		image[CMK_RECORD_SIZE];
	CmkError	err;
	bool		is_new;
	int			rmid = cmk_replayed_rmid();
	int			result;

	if (rmid < 0 || rmid == RM_SMGR_ID || rmid == RM_DBASE_ID)
		return 0;
	if (cmk_fork_exists(id, INIT_FORKNUM))
		return 0;				/* the unlogged reset: as its init fork */

	cmk_lock_keyring();
	result = cmk_keyring_birth(id, CMK_DEK_LOCAL, 0, image, &is_new, &err);
	cmk_unlock_keyring();
	if (result < 0)
	{
		ereport(LOG, (errmsg("%s", err.message)));
		errno = err.saved_errno ? err.saved_errno : EIO;
	}
	return result;
}

/* give_key() where no error may leave: -1 with errno instead. */
static int
give_key_quietly(const CmkRelId *id, uint16 flags)
{
	MemoryContext context = CurrentMemoryContext;
	uint32		holdoff = InterruptHoldoffCount;
	volatile int result = 0;

	if (CritSectionCount > 0)
	{
		errno = ENOKEY;
		return -1;
	}
	PG_TRY();
	{
		give_key(id, flags, InvalidXLogRecPtr);
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(context);
		edata = CopyErrorData();
		FlushErrorState();
		InterruptHoldoffCount = holdoff;	/* the caller holds what it held */
		ereport(LOG,
				(errcode(edata->sqlerrcode), errmsg("%s", edata->message),
				 edata->detail ? errdetail("%s", edata->detail) : 0));
		errno = edata->sqlerrcode == ERRCODE_DISK_FULL ? ENOSPC : ENOKEY;
		FreeErrorData(edata);
		result = -1;
	}
	PG_END_TRY();
	return result;
}

int
cmk_birth_net_created(const CmkRelId *id, bool first)
{
	if (!cmk_is_configured())
		return 0;
	/* Forks and segments follow their relation; copydir() comes in any order. */
	if (!first && (cmk_statement == NULL ||
				   cmk_statement->kind != CMK_STMT_COPY_DATABASE))
		return 0;
	if (InRecovery)
		return created_in_replay(id);
	if (!IsTransactionState() && !cmk_seal_all)
		return 0;

	switch (cmk_birth_guess(id))
	{
		case CMK_GUESS_PLAIN:
			return 0;
		case CMK_GUESS_SEALED:

			/*
			 * Now, and not with the first page: the server may log that page
			 * before it writes it, and a replica must have the key before.
			 */
			return give_key_quietly(id, CMK_DEK_WHOLE);
		case CMK_GUESS_UNKNOWN:
			break;
	}
	if (!list_add(&pending, id))
	{
		errno = ENOMEM;
		return -1;
	}
	return 0;
}

int
cmk_birth_net_write(const CmkRelId *id)
{
	int			i;

	if (pending.n == 0)
		return 0;
	i = list_find(&pending, id);
	if (i < 0)
		return 0;

	/*
	 * A path that nobody thought of.  The page may be in WAL already, and a
	 * replica may have written it in clear: so the file is not called whole.
	 */
	if (give_key_quietly(id, 0) < 0)
		return -1;
	list_remove(&pending, i);
	return 0;
}

static bool
storage_exists(const CmkRelId *id)
{
	return cmk_fork_exists(id, MAIN_FORKNUM) || cmk_fork_exists(id, INIT_FORKNUM);
}

/* Before commit: what nobody spoke for, and nothing was written to yet. */
static void
settle_pending(void)
{
	while (pending.n > 0)
	{
		CmkRelId	id = pending.id[pending.n - 1];

		if (storage_exists(&id))
			give_key(&id, CMK_DEK_WHOLE, InvalidXLogRecPtr);
		pending.n--;
	}
}

/* After an abort: births whose storage was never made. */
static void
bury_stillborn(void)
{
	CmkError	err;

	for (int i = 0; i < born.n; i++)
	{
		if (storage_exists(&born.id[i]))
			continue;
		cmk_lock_keyring();
		(void) cmk_keyring_death(&born.id[i],
								 RecoveryInProgress() ? 0 : GetXLogInsertRecPtr(),
								 &err);
		cmk_unlock_keyring();
	}
}

static void
birth_xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			settle_pending();
			break;
		case XACT_EVENT_ABORT:
			bury_stillborn();
			/* FALLTHROUGH */
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			pending.n = 0;
			born.n = 0;
			break;
		default:
			break;
	}
}

/* A savepoint's files are still there: what has none never had one. */
static void
birth_subxact_callback(SubXactEvent event, SubTransactionId mySubid,
					   SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		bury_stillborn();
}

bool
cmk_database_may_seal(void)
{
	uint32		cursor = 0;
	CmkDekInfo	info;

	if (!cmk_is_configured())
		return false;
	if (cmk_seal_all || OidIsValid(get_table_am_oid("cmk_heap", true)))
		return true;
	while (cmk_registry_next(&cursor, &info))
		if (info.id.db == MyDatabaseId)
			return true;
	return false;
}

void
cmk_birth_init(void)
{
	RegisterXactCallback(birth_xact_callback, NULL);
	RegisterSubXactCallback(birth_subxact_callback, NULL);
}
