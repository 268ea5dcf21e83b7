/*
 * lockdown.c
 *	  Closing the server.  See lockdown.h.
 */
#include "postgres.h"

#include "lockdown.h"

void
cmk_lockdown_init(void)
{
}

void
cmk_lockdown(const CmkStatus *st)
{
}

bool
cmk_lockdown_begins(CmkStatus *st)
{
	return false;
}
