/*
 * deny.h
 *	  What background workers may do while the key is inaccessible: nothing.
 */
#ifndef CMK_DENY_H
#define CMK_DENY_H

/* Installs the hooks; for _PG_init. */
extern void cmk_deny_init(void);

#endif							/* CMK_DENY_H */
