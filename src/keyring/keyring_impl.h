/*
 * keyring_impl.h
 *	  What the files of the keyring share: keyring.c, keyring_load.c and
 *	  keyring_replay.c.  Nobody else includes this.
 *
 * All are for a writer, who holds the lock, and none syncs.
 */
#ifndef CMK_KEYRING_IMPL_H
#define CMK_KEYRING_IMPL_H

#include "keyring.h"

/*
 * The DEK of a record, of which cmk_record_decode() made info; the caller wipes it.  0;
 * -1 with CMK_ERR_CORRUPT if the record does not authenticate or its root is not open,
 * else as cmk_record_unwrap().
 */
extern int	cmk_keyring_unwrap(const uint8_t *record, const CmkDekInfo *info,
							   uint8_t *dek, CmkError *err);

/*
 * What the registry knows of id: its newest generation.  dek may be NULL; else the
 * caller wipes it.  false: nothing, and only dek may have been touched.
 */
extern bool cmk_keyring_lookup(const CmkRelId *id, uint32_t *slot, CmkDekInfo *info,
							   uint8_t *dek);

/* The same of the generation that is this one modulo CMK_GENERATIONS. */
extern bool cmk_keyring_lookup_generation(const CmkRelId *id, unsigned generation,
										  uint32_t *slot, CmkDekInfo *info, uint8_t *dek);

/* Overwrites a record with zeros, then frees its slot.  0 or -1. */
extern int	cmk_keyring_erase_slot(uint32_t slot, CmkError *err);

/* Erases the generations of id but the newest.  How many, or -1. */
extern int	cmk_keyring_erase_older(const CmkRelId *id, CmkError *err);

#endif							/* CMK_KEYRING_IMPL_H */
