/*
 * record.h
 *	  One record of $PGDATA/pg_cmk/keys: 128 bytes that hold one wrapped DEK.
 *
 * The same 128 bytes go into the file, into WAL and to every replica.  All
 * integers are little-endian.  docs/formats.md is the description; offsets:
 *
 *		  0  4  CRC-32 (zlib) of bytes 4-127
 *		  4  1  format, 1
 *		  5  1  state: 1 live, 2 dead (a tombstone)
 *		  6  2  flags: CMK_DEK_…
 *		  8  4  number of the root key that wraps the DEK
 *		 12  4  tablespace     \
 *		 16  4  database        > the relation file (RelFileNode)
 *		 20  4  relfilenode    /
 *		 24  2  generation, from 1
 *		 26  6  zero
 *		 32  8  LSN at which the generation was born; 0: born with the file, else it
 *				is given to the pages of a file that was there, one by one
 *		 40  8  birth id, random
 *		 48  8  created, microseconds since 1970
 *		 56 72  the DEK, 64 bytes, in AES-KW
 *
 * The DEK is wrapped under KDF(root key, "pg_cmk dek", sysid || salt || bytes
 * 4 and 6-55), so that every byte but the state is authenticated and bound to
 * the cluster.  The state is not, because a death is noted when no root need be
 * open; it decides nothing but when the record may be erased.
 */
#ifndef CMK_RECORD_H
#define CMK_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "../seal/error.h"
#include "../seal/kdf.h"
#include "../seal/keywrap.h"
#include "../seal/xts.h"

#define CMK_RECORD_SIZE		128
#define CMK_RECORD_FORMAT	1
#define CMK_DEK_SIZE		CMK_XTS_KEY_SIZE
#define CMK_SALT_SIZE		16

#define CMK_DEK_WHOLE		0x0001	/* no page of the file is plain, ever again */
#define CMK_DEK_LOCAL		0x0002	/* known to this node only: not in WAL */

typedef enum CmkDekState
{
	CMK_DEK_FREE = 0,
	CMK_DEK_LIVE = 1,
	CMK_DEK_DEAD = 2
} CmkDekState;

/* The server's RelFileNode, without its headers. */
typedef struct CmkRelId
{
	uint32_t	spc;
	uint32_t	db;
	uint32_t	rel;
} CmkRelId;

typedef struct CmkDekInfo
{
	CmkRelId	id;
	CmkDekState state;
	uint16_t	flags;
	uint16_t	generation;
	uint32_t	root_id;
	uint64_t	birth_lsn;
	uint64_t	birth_id;
	int64_t		created;
	bool		older;			/* in the registry: there is a newer generation */
} CmkDekInfo;

/* What wraps and unwraps records; the root key is the caller's, not copied. */
typedef struct CmkRecordKey
{
	uint32_t	root_id;
	const uint8_t *root_key;	/* CMK_ROOT_KEY_SIZE bytes */
	uint8_t		salt[CMK_SALT_SIZE];
	uint64_t	sysid;
} CmkRecordKey;

/* Encodes and wraps.  0 or -1 (CMK_ERR_CRYPTO). */
extern int	cmk_record_encode(const CmkRecordKey *rk, CmkKeyWrap *kw,
							  const CmkDekInfo *info,
							  const uint8_t dek[CMK_DEK_SIZE],
							  uint8_t record[CMK_RECORD_SIZE], CmkError *err);

/*
 * Reads what stands in clear: format, CRC and field values are checked.  0; -1
 * with CMK_ERR_CORRUPT.  An all-zero record is state FREE.
 */
extern int	cmk_record_decode(const uint8_t record[CMK_RECORD_SIZE],
							  CmkDekInfo *info, CmkError *err);

/* Unwraps the DEK of a decoded record.  -1 with CMK_ERR_CORRUPT if it does not
 * authenticate.  The halves are checked to differ. */
extern int	cmk_record_unwrap(const CmkRecordKey *rk, CmkKeyWrap *kw,
							  const uint8_t record[CMK_RECORD_SIZE],
							  uint8_t dek[CMK_DEK_SIZE], CmkError *err);

/* Changes the state and the CRC in place. */
extern void cmk_record_set_state(uint8_t record[CMK_RECORD_SIZE],
								 CmkDekState state);

#endif							/* CMK_RECORD_H */
