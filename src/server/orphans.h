/*
 * orphans.h
 *	  Key records whose relation has no file.
 */
#ifndef CMK_ORPHANS_H
#define CMK_ORPHANS_H

/*
 * Makes tombstones of all live records whose relation has no file.  Only when no
 * process can be between the steps of a birth: in the startup process, when
 * recovery has ended.  Does not ereport; takes the keyring's lock.
 */
extern void cmk_sweep_orphans(void);

#endif							/* CMK_ORPHANS_H */
