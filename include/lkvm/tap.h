/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The host's network interface behind a tap: what is set on one that we made,
 * and the scripts that users bring. All of it is for the main thread, says
 * what is wrong, and returns 0 or -errno.
 */
#ifndef LKVM_TAP_H
#define LKVM_TAP_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>

#include <lkvm/net.h>

/* Where taps are made and opened. */
#define TUN_NODE "/dev/net/tun"

/* The address that a host's end gets when nobody says another. */
#define TAP_HOST_IP "192.168.33.1/24"

struct tap_address {
	struct in_addr address;
	struct in_addr mask;
};

/* Parse @text, "ADDRESS" (of a /24) or "ADDRESS/BITS". Says nothing. */
int tap_parse_address(const char *text, struct tap_address *out);

/*
 * Interface @name gets @mtu, unless 0, and @address, unless NULL, and goes up
 * if @up.
 */
int tap_set_up(const char *name, unsigned int mtu,
	       const struct tap_address *address, bool up);

/*
 * What the host thinks of interface @name. Out-parameters may be NULL, and
 * keep what they have when the host does not tell. Says nothing.
 */
int tap_ask(const char *name, unsigned int *mtu, bool *up);

/*
 * What the host has counted on interface @name: @in came from it, @out went
 * there. Says nothing. Any thread.
 */
int tap_count(const char *name, struct net_counts *in, struct net_counts *out);

/*
 * Run @script with @name as its one argument, no input, its output on our
 * stderr, and none of our other descriptors; wait for its end.
 */
int tap_run_script(const char *script, const char *name);

#endif
