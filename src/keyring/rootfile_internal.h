/*
 * rootfile_internal.h
 *	  What the rootfile_*.c files share and nobody else needs.
 */
#ifndef CMK_ROOTFILE_INTERNAL_H
#define CMK_ROOTFILE_INTERNAL_H

#include "rootfile.h"

#define CMK_ROOTFILE_FORMAT		"pg_cmk root"
#define CMK_ROOTFILE_VERSION	1

#define CMK_ROOTFILE_RESTORE \
	"Restore it from a backup of this cluster; without it the sealed data cannot be opened."

/*
 * The form of a time stamp, "2026-01-31T12:00:00Z": 20 characters.  Fills out;
 * -1 for a time before 1970 or after 9999.
 */
#define CMK_ROOTFILE_TIME_SIZE	21
extern int	cmk_rootfile_format_time(int64_t t, char out[CMK_ROOTFILE_TIME_SIZE]);

/* The HMAC of len bytes of a root file under a root key.  0 or -1. */
extern int	cmk_rootfile_hmac(const uint8_t root[CMK_ROOT_KEY_SIZE],
							  uint64_t sysid, const char *text, size_t len,
							  uint8_t mac[CMK_HMAC_SIZE]);

#endif							/* CMK_ROOTFILE_INTERNAL_H */
