/*
 * ddl.h
 *	  What statements and object accesses tell of files that are about to be.
 */
#ifndef CMK_DDL_H
#define CMK_DDL_H

/* Installs ProcessUtility_hook and object_access_hook; for _PG_init. */
extern void cmk_ddl_init(void);

#endif							/* CMK_DDL_H */
