/*
 * request.c
 *	  What the worker is asked to do with the keys.  See request.h.
 *
 * The slot goes round: free, asked, taken, done, free.  Who asks frees it when it has
 * read the answer; who goes away before that leaves it to the worker, or frees it if
 * the worker has not begun.  Nothing of it survives a crash restart, which ends all
 * who could wait.
 *
 * A key that was set for somebody who went away is in no file: nobody wrote the
 * setting.  So the setting is followed again, as if it had been changed; the key that
 * it names takes over once more, if it can.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/memutils.h"

#include "compat.h"
#include "request.h"
#include "settings.h"
#include "state.h"
#include "worker.h"

typedef enum SlotState
{
	SLOT_FREE,
	SLOT_ASKED,
	SLOT_TAKEN,
	SLOT_DONE
} SlotState;

typedef struct RequestSlot
{
	slock_t		mutex;			/* of all that follows */
	SlotState	state;
	bool		abandoned;		/* nobody waits for the answer */
	bool		unwritten;		/* a key was set for one who went away */
	CmkRequest	req;
	CmkOutcome	out;
	ConditionVariable changed;
} RequestSlot;

static RequestSlot *slot = NULL;

void
cmk_request_space(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(RequestSlot)));
}

void
cmk_request_shmem(void)
{
	bool		found;

	slot = ShmemInitStruct("pg_cmk request", sizeof(RequestSlot), &found);
	if (found)
		return;
	memset(slot, 0, sizeof(RequestSlot));
	SpinLockInit(&slot->mutex);
	ConditionVariableInit(&slot->changed);
}

/* ---- the worker ---- */

static void
execute(CmkKeyWork *work, const CmkRequest *req, CmkOutcome *out)
{
	switch (req->kind)
	{
		case CMK_REQUEST_REVALIDATE:
			(void) cmk_look(work, out);
			return;
		case CMK_REQUEST_SET_KEY:
			(void) cmk_keywork_set_key(work, req->url, out);
			return;
		case CMK_REQUEST_ADD_RECIPIENT:
			(void) cmk_keywork_add_recipient(work, req->url, req->public_key, out);
			return;
		case CMK_REQUEST_DROP_RECIPIENT:
			(void) cmk_keywork_rotate_root(work, req->url, out);
			return;
		case CMK_REQUEST_ROTATE_ROOT:
			(void) cmk_keywork_rotate_root(work, NULL, out);
			return;
	}
	cmk_outcome(out, CMK_REASON_CONFIG, "unknown request %d", (int) req->kind);
}

void
cmk_execute_request(CmkKeyWork *work, const CmkRequest *req, CmkOutcome *out)
{
	MemoryContext context = CurrentMemoryContext;

	memset(out, 0, sizeof(*out));
	PG_TRY();
	{
		execute(work, req, out);
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(context);
		edata = CopyErrorData();
		EmitErrorReport();
		FlushErrorState();
		LWLockReleaseAll();
		cmk_outcome(out, CMK_REASON_UNKNOWN, "%s", edata->message);
		FreeErrorData(edata);
	}
	PG_END_TRY();
}

/* With the mutex held: nobody gets this answer. */
static void
lose_answer(void)
{
	if (slot->req.kind == CMK_REQUEST_SET_KEY && slot->out.verdict == CMK_VERDICT_YES)
		slot->unwritten = true;
}

/* With the mutex held: the answer is there, if anybody still wants it. */
static void
finish(const CmkOutcome *out)
{
	slot->out = *out;
	if (slot->abandoned)
		lose_answer();
	slot->state = slot->abandoned ? SLOT_FREE : SLOT_DONE;
}

void
cmk_request_begin(void)
{
	CmkOutcome	out;

	memset(&out, 0, sizeof(out));
	cmk_outcome(&out, CMK_REASON_UNKNOWN, "the key worker ended while it was at it");
	SpinLockAcquire(&slot->mutex);
	if (slot->state == SLOT_TAKEN)
		finish(&out);
	SpinLockRelease(&slot->mutex);
	ConditionVariableBroadcast(&slot->changed);
}

bool
cmk_request_waits(void)
{
	bool		waits;

	SpinLockAcquire(&slot->mutex);
	waits = slot->state == SLOT_ASKED || slot->unwritten;
	SpinLockRelease(&slot->mutex);
	return waits;
}

/* The next look goes by the setting as it stands. */
static void
follow_anew(void)
{
	bool		unwritten;

	SpinLockAcquire(&slot->mutex);
	unwritten = slot->unwritten;
	slot->unwritten = false;
	SpinLockRelease(&slot->mutex);
	if (unwritten)
		cmk_set_followed("");
}

void
cmk_serve_request(CmkKeyWork *work)
{
	CmkRequest	req;
	CmkOutcome	out;
	bool		asked;

	SpinLockAcquire(&slot->mutex);
	asked = slot->state == SLOT_ASKED;
	if (asked)
	{
		slot->state = SLOT_TAKEN;
		req = slot->req;
	}
	SpinLockRelease(&slot->mutex);
	if (asked)
	{
		cmk_execute_request(work, &req, &out);
		SpinLockAcquire(&slot->mutex);
		finish(&out);
		SpinLockRelease(&slot->mutex);
		ConditionVariableBroadcast(&slot->changed);
	}
	follow_anew();
}

/* ---- those who ask ---- */

static void
wake_worker(void)
{
	SpinLockAcquire(&cmk_shared->mutex);
	if (cmk_shared->worker != NULL)
		SetLatch(cmk_shared->worker);
	SpinLockRelease(&cmk_shared->mutex);
}

/* Our request is in the slot, and we shall not wait for it. */
static void
abandon(int code, Datum arg)
{
	SpinLockAcquire(&slot->mutex);
	if (slot->state == SLOT_TAKEN)
		slot->abandoned = true;
	else
	{
		if (slot->state == SLOT_DONE)
			lose_answer();
		slot->state = SLOT_FREE;
	}
	SpinLockRelease(&slot->mutex);
	wake_worker();
	ConditionVariableBroadcast(&slot->changed);
}

static bool
put_request(const CmkRequest *req)
{
	bool		free;

	SpinLockAcquire(&slot->mutex);
	free = slot->state == SLOT_FREE;
	if (free)
	{
		slot->state = SLOT_ASKED;
		slot->abandoned = false;
		slot->req = *req;
	}
	SpinLockRelease(&slot->mutex);
	return free;
}

static bool
take_answer(CmkOutcome *out)
{
	bool		done;

	SpinLockAcquire(&slot->mutex);
	done = slot->state == SLOT_DONE;
	if (done)
	{
		*out = slot->out;
		slot->state = SLOT_FREE;
	}
	SpinLockRelease(&slot->mutex);
	return done;
}

void
cmk_ask(const CmkRequest *req, CmkOutcome *out)
{
	ConditionVariablePrepareToSleep(&slot->changed);
	while (!put_request(req))
		ConditionVariableTimedSleep(&slot->changed, 1000, PG_WAIT_EXTENSION);

	PG_ENSURE_ERROR_CLEANUP(abandon, (Datum) 0);
	{
		wake_worker();
		while (!take_answer(out))
			ConditionVariableTimedSleep(&slot->changed, 1000, PG_WAIT_EXTENSION);
	}
	PG_END_ENSURE_ERROR_CLEANUP(abandon, (Datum) 0);
	ConditionVariableCancelSleep();
	ConditionVariableBroadcast(&slot->changed);
}
