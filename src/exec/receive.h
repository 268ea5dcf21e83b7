/*
 * receive.h
 *	  WAL that a tool is sent, on its way into a file: it is sealed there.
 *
 *		cmk_receive_init(&config, sysid, "/data/pg_cmk/root.json");
 *		cmk_seam_register(&cmk_receive_ops, &cmk_real);
 *
 * For pg_receivewal and pg_basebackup.  The hook receives() must say true.
 */
#ifndef CMK_RECEIVE_H
#define CMK_RECEIVE_H

#include "../seam/seam.h"
#include "../server/walfile.h"

/*
 * config, whose fields are 0 until the first segment tells them, and root_path (of the
 * root.json from which the roots were opened) must stay valid; sysid is that of the
 * roots' cluster.
 */
extern void cmk_receive_init(CmkWalConfig *config, uint64_t sysid, const char *root_path);

/*
 * The functions for the seam.  They end the program, with a message, where WAL would
 * otherwise be written in clear, or where nobody could read it again.
 */
extern const CmkSeamOps cmk_receive_ops;

#endif							/* CMK_RECEIVE_H */
