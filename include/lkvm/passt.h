/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The command line of passt(1), made of what the user asked for.
 */
#ifndef LKVM_PASST_H
#define LKVM_PASST_H

#include <lkvm/net.h>

/* The guest's address, and the one where it reaches the host. */
#define PASST_GUEST_IP "192.168.33.15"
#define PASST_HOST_IP "192.168.33.1"

/* The longest packet of passt: what a length of 16 bits leaves an IP packet. */
#define PASST_MTU 65520

/* Options before the forwards, and a pair for each of those. */
#define PASST_MAX_ARGS (32 + 2 * NET_MAX_FORWARDS)

struct passt_args {
	struct in_addr guest_ip, host_ip; /* as in argv */
	char *argv[PASST_MAX_ARGS + 1]; /* NULL-ended; owned */
	unsigned int argc;
	bool failed; /* memory was short */
};

/*
 * The arguments for @options and a socket that is descriptor @fd there.
 * Returns 0, or -errno after a message that begins with @name; nothing is left
 * then. passt_args_release() frees.
 */
int passt_args_init(struct passt_args *args, const struct net_options *options,
		    const char *name, int fd);
void passt_args_release(struct passt_args *args);

#endif
