/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The host's end of the console: standard input and output, raw when they are
 * a terminal, with kvmtool's Ctrl-a commands; batched and with back-pressure
 * in both directions.
 */
#ifndef LKVM_TERMINAL_H
#define LKVM_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

#include <lkvm/machine.h>

struct loop;
struct terminal;

/* What Ctrl-a commands do; one whose callback is NULL is no command. */
struct terminal_callbacks {
	void (*quit)(void *opaque); /* Ctrl-a x */
	void (*detach)(void *opaque); /* Ctrl-a d */
	/* Ctrl-a c: from now on keys go to prompt_key(), or no longer. */
	void (*prompt)(void *opaque, bool on);
	void (*prompt_key)(void *opaque, char key);
	void *opaque;
};

/*
 * Prepare, without touching the terminal yet. Main thread. 0 or -errno.
 */
int terminal_create(struct loop *loop, const struct terminal_callbacks *cb,
		    struct terminal **out);

/*
 * Read stdin as a pipe is read, even if it is a terminal: its mode stays, and
 * no key is a command. Before terminal_start(); main thread.
 */
void terminal_set_plain(struct terminal *terminal);

/*
 * Make stdin raw when it is a terminal, and begin to watch it. From here
 * until terminal_stop() the terminal is restored even if the process dies of
 * a signal. End of file on stdin is not an error: input just ends. Main
 * thread. Returns 0 or -errno.
 */
int terminal_start(struct terminal *terminal);

/*
 * Write out what is still buffered (until nobody has read for a second),
 * stop watching stdin and restore the terminal. Idempotent; main thread.
 */
void terminal_stop(struct terminal *terminal);

/* terminal_stop(), and free. NULL is allowed. */
void terminal_destroy(struct terminal *terminal);

/*
 * Show @len bytes of lkvm's own among the guest's output; each newline returns
 * the carriage as well. What there is no room for is lost. Any thread.
 */
void terminal_print(struct terminal *terminal, const char *text, size_t len);

/*
 * The end to plug into the console; it is told the window's size, the end of
 * stdin, and what becomes of its output.
 */
struct chardev *terminal_chardev(struct terminal *terminal);

/* Has all output been written out? Any thread. */
bool terminal_is_written(struct terminal *terminal);

/* A second writer's end, without input: what it writes is shown as well. */
struct chardev *terminal_output(struct terminal *terminal);

#endif
