/*
 * cmk_heap.h
 *	  The table access method: PostgreSQL's heap, sealed.
 */
#ifndef CMK_HEAP_H
#define CMK_HEAP_H

#include "utils/rel.h"

/* Is it a table, TOAST table or materialized view USING cmk_heap? */
extern bool cmk_is_cmk_heap(Relation rel);

/* Is the access method of that OID ours?  Catalog access. */
extern bool cmk_is_cmk_heap_am(Oid amoid);

/* Registers the relcache callback; for _PG_init. */
extern void cmk_heap_init(void);

#endif							/* CMK_HEAP_H */
