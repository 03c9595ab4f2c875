/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The control socket: a server for the QMP wire format, one a VM. Its clients,
 * what they send and what waits for them are the main thread's alone, and all
 * is bounded; see docs/control.md for the protocol.
 */
#ifndef LKVM_CONTROL_H
#define LKVM_CONTROL_H

#include <jansson.h>
#include <stddef.h>

struct control;
struct vm;

/* Clients at a time; more are turned away. */
#define CONTROL_MAX_CLIENTS 32

/* And of these as many are still told so in reply to their first command. */
#define CONTROL_MAX_REFUSED 8

/* Bytes of one command. */
#define CONTROL_MAX_MESSAGE (64 * 1024)

/* Bytes that wait for a client that does not read; more end it. */
#define CONTROL_MAX_OUTPUT (1024 * 1024)

/*
 * Listen on vm->config->control, and set vm->control. Main thread, with
 * vm->events and vm->console. Returns 0, or -errno after one line that says
 * what is wrong. A VM that has no name, and for whose socket there is no
 * folder, runs without one.
 */
int control_create(struct vm *vm);

/*
 * Send out what clients take at once, end them all, remove the socket. Main
 * thread; vm->control may be NULL.
 */
void control_destroy(struct vm *vm);

/*
 * Tell all clients that have negotiated of an event: @text, of @len bytes, is
 * one JSON object. Main thread.
 */
void control_event(struct control *control, const char *text, size_t len);

#endif
