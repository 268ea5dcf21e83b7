/*
 * tool.h
 *	  What "pg_cmk exec" hands to pg_cmk_exec.so in the tool that it runs.
 *
 * A file in memory, whose descriptor the environment names and the tool and its
 * children inherit.  It holds the current root key, and nothing of it is on disk.
 */
#ifndef CMK_TOOL_H
#define CMK_TOOL_H

#include <limits.h>
#include <stdint.h>

#include "../seal/kdf.h"

#define CMK_TOOL_ENV		"PG_CMK_EXEC_FD"
#define CMK_TOOL_MAGIC		"pg_cmk x"	/* 8 bytes */
#define CMK_ROOT_FILE_NAME	"pg_cmk/root.json"

typedef struct CmkToolKey
{
	char		magic[8];
	uint8_t		root[CMK_ROOT_KEY_SIZE];
	char		datadir[PATH_MAX];	/* absolute */
} CmkToolKey;

#endif							/* CMK_TOOL_H */
