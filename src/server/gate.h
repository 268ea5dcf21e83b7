/*
 * gate.h
 *	  Who may come in: new connections while the key is inaccessible.
 */
#ifndef CMK_GATE_H
#define CMK_GATE_H

/* Installs the hooks; for _PG_init. */
extern void cmk_gate_init(void);

/*
 * Must nobody come in?  By what the worker last published and the clock.  Takes a
 * spinlock for a few loads; never fails.
 */
extern bool cmk_gate_is_closed(void);

/*
 * Tells whom the closed gate refuses, and why: ereport with 57P03 at this level.
 * What it says is the worker's last word, which may be newer than the question.
 */
extern void cmk_gate_refuse(int elevel);

/*
 * For the startup process, before it touches what may be sealed: waits until the
 * root is open, honouring shutdown and postmaster death.  Other processes do not
 * wait: -1 with errno ENOKEY if it is not open.  0 at once if it is, or if none is
 * expected.
 */
extern int	cmk_await_root(void);

#endif							/* CMK_GATE_H */
