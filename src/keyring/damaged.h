/*
 * damaged.h
 *	  What keyring.c does about records that cannot be used as they are.
 */
#ifndef CMK_DAMAGED_H
#define CMK_DAMAGED_H

#include "registry.h"

/*
 * As cmk_record_decode(), for a record that was read from the file: one that was
 * copied in the middle of a change of state counts as live, and is put right.
 */
extern int	cmk_damaged_decode(uint8_t record[CMK_RECORD_SIZE],
							   CmkDekInfo *info, CmkError *err);

/* Fails with CMK_ERR_CORRUPT, the file's name, the record's number, and why. */
extern int	cmk_damaged_fail(CmkError *err, uint32_t record, const char *why);

/* Notes the record of slot in the registry, with the relation that it claims. */
extern void cmk_damaged_note(uint32_t slot, const uint8_t *record,
							 bool id_known);

/* 0 if no damaged record claims id; else -1 with CMK_ERR_CORRUPT. */
extern int	cmk_damaged_refuse(const CmkRelId *id, CmkError *err);

/* The damaged record that image, which came from WAL, repairs; 0: none. */
extern uint32_t cmk_damaged_repaired_by(const uint8_t *image);

#endif							/* CMK_DAMAGED_H */
