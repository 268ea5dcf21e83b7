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
 * When the registry was loaded: brings tombstones back to life whose relation has
 * a file.  A record's state is not authenticated, and erasing the key of a file
 * that is in use would leave its pages to be written in clear.  The caller holds
 * the keyring's lock, or is alone.  ereport(FATAL) if the file cannot be written.
 */
extern void cmk_revive_living(void);

/*
 * Makes tombstones of all live records whose relation has no file.  In the startup
 * process, when recovery has ended.  Does not ereport; takes the keyring's lock.
 */
extern void cmk_sweep_orphans(void);

#endif							/* CMK_ORPHANS_H */
