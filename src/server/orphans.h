/*
 * orphans.h
 *	  Key records whose relation has no file.
 */
#ifndef CMK_ORPHANS_H
#define CMK_ORPHANS_H

/*
 * Before the startup process runs, in the process that starts it: remembers from
 * which checkpoint it will begin.
 */
extern void cmk_note_replay_start(void);

/*
 * Makes tombstones of all live records whose relation has no file.  In the startup
 * process, when recovery has ended.  Does not ereport; takes the keyring's lock.
 */
extern void cmk_sweep_orphans(void);

#endif							/* CMK_ORPHANS_H */
