/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How a run ends: what the console says (--expect, --fail, a panic), the clock
 * (--timeout, --grace) and signals; whether it goes on after all (another boot,
 * a pause), and with which status it ends.
 *
 * All of it is the main thread's.
 */
#ifndef LKVM_ENDINGS_H
#define LKVM_ENDINGS_H

#include <stdbool.h>

struct vm;

/*
 * Begin to watch the console, and the clock. vm->console exists. Returns 0 or
 * -errno; sets vm->endings.
 */
int endings_start(struct vm *vm);

/* End to watch, and free. vm->endings may be NULL. */
void endings_stop(struct vm *vm);

/*
 * A signal asks for the end: the first one presses the power button, and a
 * guest that has not powered off after --grace is forced off, as it is by the
 * second one.
 */
void endings_signal(struct vm *vm, unsigned int signo);

/* Is the VM paused because its guest panicked? Without endings it is not. */
bool endings_panicked(const struct vm *vm);

/*
 * The loop has ended: pauses the VM, and finds out what vm->end is in the light
 * of what the console said. Returns true if the run goes on.
 */
bool endings_go_on(struct vm *vm);

/*
 * The exit status of how the run ended, after saying on stderr what a user
 * must know of it. The VM is paused, and the terminal stopped.
 */
int endings_report(struct vm *vm);

#endif
