/*
 * request.h
 *	  What the worker is asked to do with the keys, by SQL and by the command line.
 *
 * One request at a time: a slot in shared memory for SQL functions, whose callers
 * wait for it and for the answer, and a file for the pg_cmk command (reqfile.h),
 * which works also while the server lets nobody in.
 */
#ifndef CMK_REQUEST_H
#define CMK_REQUEST_H

#include "postgres.h"

#include "../keyring/rootfile.h"
#include "keywork.h"

typedef enum CmkRequestKind
{
	CMK_REQUEST_REVALIDATE,
	CMK_REQUEST_SET_KEY,
	CMK_REQUEST_ADD_RECIPIENT,
	CMK_REQUEST_DROP_RECIPIENT,
	CMK_REQUEST_ROTATE_ROOT
} CmkRequestKind;

#define CMK_PUBLIC_PEM_MAX	4096

typedef struct CmkRequest
{
	CmkRequestKind kind;
	char		url[CMK_URL_MAX];
	char		public_key[CMK_PUBLIC_PEM_MAX];	/* PEM; "": ask the vault */
} CmkRequest;

/* The slot: room for it, and making it, with AddinShmemInitLock held. */
extern void cmk_request_space(void);
extern void cmk_request_shmem(void);

/*
 * In the worker: does what is asked and fills *out (verdict YES, or why not).  What
 * fails leaves everything as it was.  Does not throw.
 */
extern void cmk_execute_request(CmkKeyWork *work, const CmkRequest *req, CmkOutcome *out);

/* In the worker: when it begins, what the one before it did not finish has failed. */
extern void cmk_request_begin(void);

/* In the worker: is there a request in the slot?  And does it, if there is. */
extern bool cmk_request_waits(void);
extern void cmk_serve_request(CmkKeyWork *work);

/*
 * In a backend: hands the request to the worker, waits for its turn and its
 * answer, and copies that to *out.  Can be cancelled; the request may then be done
 * all the same.
 */
extern void cmk_ask(const CmkRequest *req, CmkOutcome *out);

#endif							/* CMK_REQUEST_H */
