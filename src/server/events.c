/*
 * events.c
 *	  What happened to the keys.  See events.h.
 */
#include "postgres.h"

#include "events.h"

void
cmk_events_init(void)
{
}

void
cmk_event(const char *event, const CmkStatus *st, const char *detail)
{
}

void
cmk_events_reap(void)
{
}
