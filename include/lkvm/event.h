/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What happens to a VM, told as it happens: QMP events of the control
 * socket's clients, and the lines of --events. docs/control.md lists them.
 *
 * An event is timed and written down by the thread that it happens on, and
 * delivered by the main thread.
 */
#ifndef LKVM_EVENT_H
#define LKVM_EVENT_H

#include <jansson.h>
#include <stdbool.h>

struct events;
struct vm;

/* Events that wait for the main thread; what comes on top is lost. */
#define EVENT_MAX_WAITING 256

/*
 * Make vm->events, which the next functions need: vm->machine.loop exists. Main
 * thread. Returns 0, or -errno after saying why.
 */
int events_create(struct vm *vm);

/*
 * Write each event as a line to where config->events says: a file that is made
 * or emptied, or config->events_fd. Main thread. Returns 0, or -errno after one
 * line that says what is wrong with it.
 */
int events_open(struct vm *vm);

/* Deliver what waits, and free. Main thread; vm->events may be NULL. */
void events_destroy(struct vm *vm);

/* Deliver what waits. Main thread; vm->events may be NULL. */
void events_deliver(struct vm *vm);

/*
 * @name ("STOP") has happened, with @data (a JSON object whose reference is
 * taken over; NULL: none). Any thread, also under a device's lock. A VM
 * without vm->events drops it.
 */
void vm_event(struct vm *vm, const char *name, json_t *data);

/* The same, for the lines of --events alone (START, END). */
void vm_event_own(struct vm *vm, const char *name, json_t *data);

#endif
