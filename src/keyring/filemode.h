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

/*
 * Gives the file that is open as fd and will be called path the mode 0640 if its
 * directory can be read by the group, else 0600; the process's umask does not count.
 * 0, or -1 with errno.
 */
extern int	cmk_set_file_mode(int fd, const char *path);

#endif
