/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The first process of a guest that runs a command for lkvm: what its files
 * share. What it says to lkvm, and what it finds in the initrd, is specified
 * in lkvm/guest-protocol.h.
 *
 * It is a program without a library, so that it runs wherever the kernel does
 * and costs a few kilobytes. Nothing in it waits for time to pass.
 */
#ifndef GUEST_INIT_H
#define GUEST_INIT_H

#include <stdbool.h>

#include <lkvm/guest-protocol.h>

#include "sys.h"
#include "text.h"

enum port { PORT_CONTROL, PORT_STDIO, PORT_STDERR, PORT_COUNT };

struct init {
	const char *config; /* records; the last byte is a NUL */
	size_t config_len;
	int uevents; /* netlink socket */
	int ports[PORT_COUNT]; /* -1: not found yet */
	bool host_listens; /* on the control port */
	bool tty;
	bool mmio; /* devices are on virtio-mmio, not PCI */
	int signals; /* a signalfd */
};

/* ---- init.c -------------------------------------------------------------- */

/*
 * The value of the first record that begins with @key ("arg=") and stands
 * behind the value @after, or behind the beginning for NULL. NULL: none.
 */
const char *config_find(const struct init *init, const char *key,
			const char *after);

/*
 * Tell the user why the command cannot run: "WHAT NAME: ERROR (HINT)"; @name
 * and @hint may be NULL, @err is -errno or 0. Ends the machine.
 */
void __attribute__((noreturn))
init_fail(struct init *init, const char *what, const char *name, int err,
	  const char *hint);

/* Send a message on the control port. */
void init_send(struct init *init, enum guest_message_type type,
	       const void *data, size_t len);

/* After the last message. */
void __attribute__((noreturn)) init_end(struct init *init);

/* ---- ports.c ------------------------------------------------------------- */

/* Hear of devices from now on. */
void uevents_open(struct init *init);

/* Wait until all ports are there and lkvm is at their other ends. */
void ports_open(struct init *init);

/* Tell the user which devices nobody drives; after that the command runs. */
void devices_without_driver(struct init *init);

/* ---- mounts.c ------------------------------------------------------------ */

/* What the kernel shows of itself: /proc, /sys, /dev. */
void mount_kernel(struct init *init);

/* The root that the command shall see, and all in it. */
void mount_root(struct init *init);

/* Let what has been written reach the disks. */
void mounts_finish(struct init *init);

/* ---- net.c --------------------------------------------------------------- */

void net_up(struct init *init);

/* ---- user.c -------------------------------------------------------------- */

#define USER_MAX_GROUPS 256

struct user {
	unsigned int uid, gid;
	unsigned int groups[USER_MAX_GROUPS];
	unsigned int nr_groups;
	const char *name, *home, *shell; /* NULL: not known */
};

/* The user that the command runs as. */
void user_find(struct init *init, struct user *user);

/* ---- command.c ----------------------------------------------------------- */

struct command {
	int pid;
	/* init's ends, non-blocking; of a terminal @err is -1. */
	int in, out, err;
};

/*
 * Start the command. If it cannot be run that has been told, with the status
 * that it has then, and the machine ends.
 */
void command_start(struct init *init, const struct guest_size *size,
		   struct command *command);

void command_resize(const struct command *command,
		    const struct guest_size *size);

/* ---- relay.c ------------------------------------------------------------- */

/* Wait until lkvm says that the command may start. */
void receive_start(struct init *init, struct guest_size *size);

/* Pass bytes and signals until the command ends; report that. */
void relay(struct init *init, struct command *command);

#endif
