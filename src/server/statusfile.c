/*
 * statusfile.c
 *	  pg_cmk/status.json.  See statusfile.h.
 */
#include "postgres.h"

#include "statusfile.h"

void
cmk_write_status_file(const CmkStatus *st)
{
}
