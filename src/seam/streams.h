/*
 * streams.h
 *	  Streams whose bytes pass through the table of functions.
 */
#ifndef CMK_SEAM_STREAMS_H
#define CMK_SEAM_STREAMS_H

#include <stdio.h>

/* The descriptor under such a stream; -1, errno untouched, for any other. */
extern CMK_SEAM_HIDDEN int cmk_stream_descriptor(FILE *stream);

#endif							/* CMK_SEAM_STREAMS_H */
