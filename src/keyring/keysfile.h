/*
 * keysfile.h
 *	  The keys file as records by slot: opening it, its space, reading, writing.
 *
 * Only keyring.c uses this; what the records mean is its business.  Slot i of
 * the registry is record i + 1 of the file.
 */
#ifndef CMK_KEYSFILE_H
#define CMK_KEYSFILE_H

#include "record.h"

/* As cmk_keyring_open(). */
extern int	cmk_keysfile_open(const char *path, uint64_t sysid, bool create,
							  CmkError *err);

/* Its name as it was opened, for messages, and the cluster it belongs to. */
extern const char *cmk_keysfile_name(void);
extern uint64_t cmk_keysfile_sysid(void);

/*
 * Reads up to n records from slot on.  Returns how many whole ones there are, 0
 * at the end of the file, or -1.
 */
extern int	cmk_keysfile_read(uint32_t slot, uint8_t *records, int n,
							  CmkError *err);

/*
 * Sees to it that the file has space for slot.  0, or -1 with CMK_ERR_NO_SPACE or
 * CMK_ERR_IO; then the file is as long as it was.
 */
extern int	cmk_keysfile_extend(uint32_t slot, CmkError *err);

/*
 * Overwrites one record, and counts that as a change that is to be synced.  0, or
 * -1; then what stood there is put back as far as the disk lets us.
 */
extern int	cmk_keysfile_write(uint32_t slot,
							   const uint8_t record[CMK_RECORD_SIZE],
							   CmkError *err);

/* As cmk_keyring_file_moved(). */
extern bool cmk_keysfile_moved(CmkError *err);

/* As cmk_keyring_sync(). */
extern int	cmk_keysfile_sync(void);

#endif							/* CMK_KEYSFILE_H */
