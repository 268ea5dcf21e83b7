/*
 * filemode.h
 *	  Who may read the files that hold wrapped keys.
 *
 * A cluster made with initdb --allow-group-access can be backed up by a user of the
 * server's group.  That user must get these files too: a backup without them cannot
 * be read.  What they hold is wrapped.
 */
#ifndef CMK_FILEMODE_H
#define CMK_FILEMODE_H

#include <sys/types.h>

/*
 * The mode of a file called path: 0640 if its directory can be read by the group,
 * else 0600.  To be set by fchmod(), since the process's umask does not count.
 */
extern mode_t cmk_file_mode(const char *path);

#endif
