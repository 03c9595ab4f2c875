/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The network inside: the loopback interface, and the address that lkvm's
 * user-mode network would give by DHCP. Nothing here is worth failing for: a
 * command that needs a network will tell.
 */
#include <linux/if.h>
#include <linux/route.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/mount.h>
#include <sys/socket.h>

#include "init.h"

#define RESOLV_CONF "/etc/resolv.conf"
#define OUR_RESOLV_CONF "/run/lkvm-resolv.conf"

/* "192.168.33.15" in network order; 0 if it is none. */
static uint32_t parse_address(char *text)
{
	uint32_t address = 0;

	for (int i = 0; i < 4; i++) {
		char *next = text_cut(text, '.');
		long byte = text_number(text);

		if (byte < 0 || byte > 255)
			return 0;
		address |= (uint32_t)byte << (8 * i);
		text = next;
	}
	return address;
}

static void set_address(struct sockaddr *out, uint32_t address)
{
	struct sockaddr_in *in = (struct sockaddr_in *)out;

	memset(in, 0, sizeof(*in));
	in->sin_family = AF_INET;
	in->sin_addr.s_addr = address;
}

static void bring_up(int fd, struct ifreq *request)
{
	request->ifr_flags = IFF_UP;
	sys_ioctl(fd, SIOCSIFFLAGS, request);
}

/* The first interface that is not the loopback one; false: none. */
static bool find_interface(int fd, struct ifreq *request)
{
	for (int index = 1; index < 16; index++) {
		request->ifr_ifindex = index;
		if (sys_ioctl(fd, SIOCGIFNAME, request) ||
		    sys_ioctl(fd, SIOCGIFFLAGS, request))
			continue;
		if (!(request->ifr_flags & IFF_LOOPBACK) &&
		    text_after(request->ifr_name, "e"))
			return true;
	}
	return false;
}

/* A record net=ADDRESS/BITS:GATEWAY:MTU. */
static void configure(int fd, const char *record)
{
	struct ifreq request = { 0 };
	struct rtentry route = { .rt_flags = RTF_UP | RTF_GATEWAY };
	struct text text = { 0 };
	char *bits, *gateway, *mtu;
	long n;

	text_add(&text, record);
	gateway = text_cut(text.data, ':');
	mtu = text_cut(gateway, ':');
	bits = text_cut(text.data, '/');
	if (!find_interface(fd, &request))
		return;
	set_address(&request.ifr_addr, parse_address(text.data));
	sys_ioctl(fd, SIOCSIFADDR, &request);
	n = text_number(bits);
	if (n > 0 && n <= 32)
		set_address(&request.ifr_netmask,
			    __builtin_bswap32(~0U << (32 - n)));
	sys_ioctl(fd, SIOCSIFNETMASK, &request);
	request.ifr_mtu = (int)text_number(mtu);
	if (request.ifr_mtu > 0)
		sys_ioctl(fd, SIOCSIFMTU, &request);
	bring_up(fd, &request);
	set_address(&route.rt_dst, 0);
	set_address(&route.rt_genmask, 0);
	set_address(&route.rt_gateway, parse_address(gateway));
	sys_ioctl(fd, SIOCADDRT, &route);
}

/*
 * The root's own file may be a link to nowhere, or name a server that runs on
 * the host alone. A root that keeps what is written is not changed.
 */
static void set_name_servers(struct init *init)
{
	const char *server = config_find(init, "dns=", NULL);
	struct text text = { 0 };
	int fd;

	if (!server)
		return;
	for (; server; server = config_find(init, "dns=", server)) {
		text_add(&text, "nameserver ");
		text_add(&text, server);
		text_add(&text, "\n");
	}
	fd = sys_open(OUR_RESOLV_CONF, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0)
		return;
	sys_write(fd, text.data, text.len);
	sys_close(fd);
	if (!sys_mount(OUR_RESOLV_CONF, RESOLV_CONF, NULL, MS_BIND, NULL))
		return;
	if (config_find(init, "mount=rw:", NULL))
		return;
	sys_mkdir("/etc", 0755);
	sys(__NR_unlink, RESOLV_CONF, 0, 0, 0, 0);
	sys(__NR_symlink, OUR_RESOLV_CONF, RESOLV_CONF, 0, 0, 0);
}

void net_up(struct init *init)
{
	const char *record = config_find(init, "net=", NULL);
	struct ifreq loopback = { .ifr_name = "lo" };
	int fd = sys_socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	sys(__NR_sethostname, "lkvm", 4, 0, 0, 0);
	if (fd < 0)
		return;
	bring_up(fd, &loopback);
	if (record) {
		configure(fd, record);
		set_name_servers(init);
	}
	sys_close(fd);
}
