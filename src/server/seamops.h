/*
 * seamops.h
 *	  What relfile.c needs of the server: births, deaths, the log, checkpoints.
 */
#ifndef CMK_SEAMOPS_H
#define CMK_SEAMOPS_H

/* Gives relfile.c its settings and hooks. */
extern void cmk_seamops_init(void);

/* For pg_backup_start/_stop, see ddl.c: this session may have a backup running. */
extern void cmk_note_backup(void);
extern void cmk_check_backup_over(void);

/* Does anybody take a base backup of this server, as far as it can be known? */
extern bool cmk_backup_is_running(void);

#endif							/* CMK_SEAMOPS_H */
