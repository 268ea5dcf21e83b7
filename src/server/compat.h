/*
 * compat.h
 *	  All that differs between server versions.
 *
 * pg_cmk is tested with PostgreSQL 15 and refuses to build for any other: each
 * version must be looked at (docs/seam.md says what to look at) before it is
 * added here.
 */
#ifndef CMK_COMPAT_H
#define CMK_COMPAT_H

#include "pg_config.h"

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 160000
#error "pg_cmk supports PostgreSQL 15 only"
#endif

/* RelFileNode became RelFileLocator in 16, with other member names. */
#define CMK_RELID(rnode) \
	((CmkRelId) {(rnode).spcNode, (rnode).dbNode, (rnode).relNode})

#endif							/* CMK_COMPAT_H */
