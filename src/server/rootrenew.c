/*
 * rootrenew.c
 *	  A new root key without being asked: by volume, and on promotion.
 *
 * WAL is sealed under a key that follows from the root.  XTS with one key shows, with a
 * probability that grows with the square of what it sealed, that two blocks are alike:
 * about 2^-44 after the 2^42 blocks of the default limit (IEEE 1619-2018, annex D).
 *
 * Two servers that were promoted from copies of one both write WAL, and if neither
 * knows of the other they do so on the same timeline, at the same places, under the
 * same key; so a server that was promoted makes a root of its own.  Like every root it
 * seals WAL only CMK_WAL_DISTANCE later (walwork.c).
 *
 * What cannot be done now, because the vault does not answer or there are too many
 * roots, is tried again with the next look at the key, and said once.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"

#include "compat.h"
#include "keywork_impl.h"
#include "settings.h"
#include "state.h"

/* Promotions leave so many for those who rotate on purpose. */
#define ROOTS_TO_SPARE	(CMK_MAX_ROOTS / 2)

static TimeLineID first_tli = 0;	/* when this process began; 0: not known yet */
static bool promoted = false;
static bool said = false;

/*
 * pg_control has the timeline from which recovery begins; one that writes WAL on
 * another was promoted since.
 */
static void
look_for_promotion(void)
{
	if (first_tli == 0)
	{
		bool		crc_ok;
		ControlFileData *control = get_controlfile(".", &crc_ok);

		if (crc_ok)
			first_tli = control->checkPointCopy.ThisTimeLineID;
		pfree(control);
	}
	else if (!RecoveryInProgress() && GetWALInsertionTimeLine() != first_tli)
	{
		first_tli = GetWALInsertionTimeLine();
		promoted = true;
	}
}

static bool
limit_is_reached(const CmkRootKey *root)
{
	XLogRecPtr	now = GetXLogInsertRecPtr();

	return cmk_root_wal_limit > 0 && root->wal_from != 0 && now > root->wal_from &&
		(now - root->wal_from) / (1024 * 1024) >= (uint64) cmk_root_wal_limit;
}

static void
say_once(int level, const char *why, const CmkError *err)
{
	if (said)
		return;
	said = true;
	ereport(level,
			(errmsg("pg_cmk: could not make a new root key %s yet", why),
			 errdetail("%s", err->message),
			 err->hint[0] ? errhint("%s", err->hint) : 0));
}

void
cmk_keywork_renew_root(CmkKeyWork *work)
{
	const CmkRootKey *root = cmk_registry_root();
	const char *why = NULL;
	CmkOutcome	out;

	look_for_promotion();
	if (RecoveryInProgress() || !cmk_is_configured() || cmk_registry_wal_begin() == 0)
		return;
	if (promoted && root->id > ROOTS_TO_SPARE)
	{
		ereport(LOG,
				(errmsg("pg_cmk: no new root key after promotion, since there are %u", root->id),
				 errhint("cmk.rotate_root() makes one.")));
		promoted = false;
	}
	if (limit_is_reached(root))
		why = "after pg_cmk.root_wal_limit was reached";
	else if (promoted)
		why = "after promotion";
	if (why == NULL)
		return;
	if (cmk_keywork_rotate_root(work, NULL, &out) < 0)
	{
		say_once(WARNING, why, &out.err);
		return;
	}
	promoted = false;
	said = false;
}
