/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A command that runs in the guest (`lkvm run -- COMMAND`): the host's ends of
 * the ports by which init in the guest (guest/, guest-protocol.h) passes the
 * command's standard streams, signals and status.
 *
 * All of it belongs to the main thread, but for the ports' host ends.
 */
#ifndef LKVM_GUEST_COMMAND_H
#define LKVM_GUEST_COMMAND_H

#include <stdbool.h>
#include <stdio.h>

#include <lkvm/virtio.h>

struct console_hub;
struct guest_command;
struct loop;
struct terminal;

/* What the user asked for; strings are borrowed. */
struct guest_command_options {
	char *const *argv; /* NULL-ended, not empty; NULL: no command */
	const char *const *env; /* NAME=VALUE each */
	unsigned int nr_env;
	const char *cwd; /* NULL: @try_cwd */
	const char *try_cwd; /* if it is there; NULL: / */
	const char *user; /* NULL: root */
	bool tty; /* stdin and stdout are a terminal */
};

/*
 * Write the records of GUEST_CONFIG_PATH that tell init of the command; others
 * may stand before and after them. Any thread.
 */
void guest_command_describe(const struct guest_command_options *options,
			    FILE *out);

/* The program for GUEST_INIT_PATH: its bytes, and how many. Never freed. */
extern const char guest_init[];
extern const size_t guest_init_size;

struct guest_command_callbacks {
	/*
	 * The command's status, and all its output has been written; or it
	 * cannot be run, @status is 125 and @why says why (NULL: it has been
	 * said).
	 */
	void (*ended)(void *opaque, int status, const char *why);
	void *opaque;
};

/*
 * stdin and stdout are @terminal's, which has not been started; stderr is this
 * process's. Returns 0 or -errno.
 */
int guest_command_create(struct loop *loop, struct terminal *terminal,
			 const struct guest_command_callbacks *callbacks,
			 struct guest_command **out);

/* Write out what is left for stderr, until nobody has read for a second. */
void guest_command_flush(struct guest_command *command);

/*
 * The machine boots again, and the command will run once more, with what is
 * left of stdin. Devices are at rest.
 */
void guest_command_reset(struct guest_command *command);

/* The device of the ports is gone. NULL is allowed. */
void guest_command_destroy(struct guest_command *command);

/* The ports to make a device of; of no command: to plan one of (device.h). */
void guest_command_ports(struct guest_command *command,
			 struct virtio_console_options *options);

/* Let the guest's kernel forget names and inodes that it caches. Any thread. */
void guest_command_drop_caches(struct guest_command *command);

/*
 * Pass @signo on to the command. Returns false if there is none to take it,
 * yet or any more.
 */
bool guest_command_signal(struct guest_command *command, int signo);

/* How far it has come: each after those before it. */
enum guest_command_state {
	COMMAND_BOOTING,
	COMMAND_HELLO, /* init is there */
	COMMAND_RUNNING,
	COMMAND_EXITED, /* its output is still on the way */
	COMMAND_OVER, /* ended() has been called */
};

enum guest_command_state
guest_command_state(const struct guest_command *command);

/* The status that ended() was called with. */
int guest_command_status(const struct guest_command *command);

/*
 * Look at the console for what init says there when it finds no port, until
 * it does. Before guest_command_destroy() the hub is still there.
 */
void guest_command_watch(struct guest_command *command,
			 struct console_hub *hub);

#endif
