/* SPDX-License-Identifier: GPL-2.0 */
/* The command line of passt(1): see passt.h; and forwards, see net.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/log.h>
#include <lkvm/passt.h>
#include <lkvm/tap.h>
#include <lkvm/util.h>

/* The host's end of the link, as kvmtool has it. */
#define HOST_MAC "02:01:01:01:01:01"

/* ---- forwards ------------------------------------------------------------ */

/* "PORT", of @len bytes. */
static int parse_port(const char *text, size_t len, uint16_t *out)
{
	char digits[6];
	uint64_t port;

	if (len >= sizeof(digits))
		return -EINVAL;
	memcpy(digits, text, len);
	digits[len] = '\0';
	if (strspn(digits, "0123456789") != len || digits[0] == '0' ||
	    parse_uint(digits, 1, UINT16_MAX, &port))
		return -EINVAL;
	*out = (uint16_t)port;
	return 0;
}

/* An IPv4 address, or one of IPv6 in brackets, or nothing. */
static int parse_address(const char *text, size_t len, char *out)
{
	uint8_t bytes[sizeof(struct in6_addr)];
	bool brackets = len && text[0] == '[';

	if (brackets && (len < 2 || text[len - 1] != ']'))
		return -EINVAL;
	if (brackets) {
		text++;
		len -= 2;
	}
	if (len >= INET6_ADDRSTRLEN)
		return -EINVAL;
	memcpy(out, text, len);
	out[len] = '\0';
	if (!len && !brackets)
		return 0;
	return inet_pton(brackets ? AF_INET6 : AF_INET, out, bytes) == 1 ?
		       0 :
		       -EINVAL;
}

int net_forward_parse(const char *text, struct net_forward *out,
		      const char **why)
{
	struct net_forward forward = { .udp = !strncmp(text, "udp:", 4) };
	const char *host = text + 4;
	const char *guest = strstr(text, "-:");
	const char *port;

	*why = "use tcp|udp:[ADDR:]PORT-:PORT";
	if ((!forward.udp && strncmp(text, "tcp:", 4) != 0) || !guest ||
	    guest < host)
		return -EINVAL;
	/* Of an address in front, the last colon before the port tells. */
	port = memrchr(host, ':', (size_t)(guest - host));
	if (port &&
	    parse_address(host, (size_t)(port - host), forward.address)) {
		*why = "its address is neither IPv4 nor [IPv6]";
		return -EINVAL;
	}
	port = port ? port + 1 : host;
	if (parse_port(port, (size_t)(guest - port), &forward.host_port) ||
	    parse_port(guest + 2, strlen(guest + 2), &forward.guest_port)) {
		*why = "a port is a number from 1 to 65535";
		return -EINVAL;
	}
	*out = forward;
	return 0;
}

/* ---- the host's routes --------------------------------------------------- */

/*
 * passt takes the interface of the default route for its model. Without one it
 * gives up, but the loopback interface will do: the host can then be reached,
 * and nothing else. Sets @name to the interface to name, or leaves it empty.
 */
static void choose_interface(char *name, size_t size)
{
	char line[256], destination[33], mask[9], interface[16];
	unsigned int bits;
	FILE *routes = fopen("/proc/net/route", "re");
	bool found = false;

	while (routes && !found && fgets(line, sizeof(line), routes))
		found = sscanf(line, "%*s %8s %*s %*s %*s %*s %*s %8s",
			       destination, mask) == 2 &&
			!strcmp(destination, "00000000") &&
			!strcmp(mask, "00000000");
	if (routes)
		fclose(routes);
	if (found)
		return;
	snprintf(name, size, "lo");
	routes = fopen("/proc/net/ipv6_route", "re");
	while (routes && fgets(line, sizeof(line), routes))
		if (sscanf(line, "%32s %2x %*s %*s %*s %*s %*s %*s %*s %15s",
			   destination, &bits, interface) == 3 &&
		    !bits && strspn(destination, "0") == 32 &&
		    strcmp(interface, "lo") != 0)
			snprintf(name, size, "%s", interface);
	if (routes)
		fclose(routes);
}

/* ---- arguments ----------------------------------------------------------- */

static void add(struct passt_args *args, const char *fmt, ...)
	PRINTF_LIKE(2, 3);

/* Short of memory, argv stays short: passt_args_init() looks once. */
static void add(struct passt_args *args, const char *fmt, ...)
{
	va_list list;
	char *text;

	va_start(list, fmt);
	if (vasprintf(&text, fmt, list) < 0)
		args->failed = true;
	else
		args->argv[args->argc++] = text;
	va_end(list);
}

void passt_args_release(struct passt_args *args)
{
	for (unsigned int i = 0; i < args->argc; i++)
		free(args->argv[i]);
	*args = (struct passt_args) { 0 };
}

/* What a tap can do and a user's network cannot. */
static int refuse_others(const struct net_options *options, const char *name)
{
	const char *key = NULL;

	if (options->tapif)
		key = "tapif";
	else if (options->fd != NET_NO_FD)
		key = "fd";
	else if (options->script)
		key = "script";
	else if (options->downscript)
		key = "downscript";
	else if (options->pairs > 1)
		key = "mq";
	else if (options->mtu > PASST_MTU)
		key = "mtu";
	if (!key)
		return 0;
	if (!strcmp(key, "mtu"))
		log_err("net", "%s: mtu: mode=user carries at most %u bytes",
			name, PASST_MTU);
	else
		log_err("net", "%s: %s: mode=user has no use for it", name,
			key);
	return -EINVAL;
}

static int choose_addresses(struct passt_args *args,
			    const struct net_options *options, const char *name,
			    unsigned int *bits)
{
	const char *guest = options->guest_ip ? options->guest_ip :
						PASST_GUEST_IP;
	const char *host = options->host_ip ? options->host_ip : PASST_HOST_IP;
	struct tap_address network;

	if (inet_pton(AF_INET, guest, &args->guest_ip) != 1) {
		log_err("net", "%s: guest_ip: %s is no IPv4 address", name,
			guest);
		return -EINVAL;
	}
	if (tap_parse_address(host, &network)) {
		log_err("net",
			"%s: host_ip: %s is no IPv4 address (ADDR or "
			"ADDR/BITS)",
			name, host);
		return -EINVAL;
	}
	args->host_ip = network.address;
	*bits = (unsigned int)__builtin_popcount(network.mask.s_addr);
	if ((args->guest_ip.s_addr ^ args->host_ip.s_addr) &
	    network.mask.s_addr) {
		log_err("net",
			"%s: guest_ip %s and host_ip %s are not in one "
			"network of %u bits",
			name, guest, host, *bits);
		return -EINVAL;
	}
	if (args->guest_ip.s_addr == args->host_ip.s_addr) {
		log_err("net", "%s: %s cannot be both guest_ip and host_ip",
			name, guest);
		return -EINVAL;
	}
	return 0;
}

static void add_addresses(struct passt_args *args, unsigned int bits)
{
	char text[INET_ADDRSTRLEN];
	char interface[16] = "";

	add(args, "-a");
	add(args, "%s",
	    inet_ntop(AF_INET, &args->guest_ip, text, sizeof(text)));
	add(args, "-g");
	add(args, "%s", inet_ntop(AF_INET, &args->host_ip, text, sizeof(text)));
	add(args, "-n");
	add(args, "%u", bits);
	add(args, "-M");
	add(args, HOST_MAC);
	choose_interface(interface, sizeof(interface));
	if (!*interface)
		return;
	add(args, "-i");
	add(args, "%s", interface);
	/* What it would find on lo is the host's own ::1. */
	if (!strcmp(interface, "lo"))
		add(args, "-4");
}

static void add_forwards(struct passt_args *args,
			 const struct net_options *options)
{
	bool some[2] = { false, false };

	for (unsigned int i = 0; i < options->nr_forwards; i++) {
		const struct net_forward *f = &options->forward[i];

		some[f->udp] = true;
		add(args, f->udp ? "-u" : "-t");
		add(args, "%s%s%u:%u", f->address, *f->address ? "/" : "",
		    f->host_port, f->guest_port);
	}
	for (unsigned int udp = 0; udp < 2; udp++)
		if (!some[udp]) {
			add(args, udp ? "-u" : "-t");
			add(args, "none");
		}
}

int passt_args_init(struct passt_args *args, const struct net_options *options,
		    const char *name, int fd)
{
	unsigned int bits;
	int err = refuse_others(options, name);

	*args = (struct passt_args) { 0 };
	if (!err)
		err = choose_addresses(args, options, name, &bits);
	if (err)
		return err;
	add(args, "passt");
	add(args, "--foreground");
	add(args, "--quiet");
	/* It ends when the socket does, however we end. */
	add(args, "--fd");
	add(args, "%d", fd);
	add(args, "--mtu");
	add(args, "%u", options->mtu ? (unsigned int)options->mtu : PASST_MTU);
	add_addresses(args, bits);
	add_forwards(args, options);
	if (!args->failed)
		return 0;
	log_err("net", "%s: out of memory", name);
	passt_args_release(args);
	return -ENOMEM;
}
