/* SPDX-License-Identifier: GPL-2.0 */
/*
 * lkvm run -- COMMAND: the archives behind the user's initrd. See run-guest.h,
 * and guest-protocol.h for what they hold.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lkvm/arch.h>
#include <lkvm/guest-command.h>
#include <lkvm/guest-protocol.h>
#include <lkvm/initrd.h>
#include <lkvm/log.h>
#include <lkvm/net.h>
#include <lkvm/passt.h>
#include <lkvm/run-guest.h>
#include <lkvm/tap.h>
#include <lkvm/virtio.h>

#define MAX_NAMES 16

/* ---- modules ------------------------------------------------------------- */

static int find_modules(struct run_guest *guest,
			const struct run_options *options, const char *kernel)
{
	int fd = open(kernel, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char version[128] = "";

	/* One that cannot be read is refused where all kernels are. */
	if (fd >= 0) {
		arch_kernel_version(fd, version, sizeof(version));
		close(fd);
	}
	return modules_open(kernel, version, options->modules, &guest->modules);
}

static bool has_device(const struct run_options *options,
		       const struct device_type *type)
{
	for (unsigned int i = 0; i < options->nr_devices; i++)
		if (options->devices[i].type == type)
			return true;
	return false;
}

static int pack_modules(struct run_guest *guest,
			const struct run_options *options)
{
	const char *names[MAX_NAMES];
	unsigned int n = 0;
	int fd, err;

	names[n++] = options->transport ? "virtio_mmio" : "virtio_pci";
	names[n++] = "virtio_console";
	if (has_device(options, &virtio_net_type))
		names[n++] = "virtio_net";
	if (has_device(options, &virtio_blk_type))
		names[n++] = "virtio_blk";
	if (has_device(options, &virtio_rng_type))
		names[n++] = "virtio-rng";
	err = modules_pack(guest->modules, names, n, &guest->list, &fd);
	if (!err && fd >= 0)
		guest->fds[guest->nr_fds++] = fd;
	return err;
}

/* ---- records ------------------------------------------------------------- */

static void put(FILE *out, const char *key, const char *value)
{
	fprintf(out, "%s=%s%c", key, value, '\0');
}

/*
 * As passt tells by DHCP: the servers of this host's, and for one that only
 * the host can reach the host itself, where passt passes it on.
 */
static void put_name_servers(FILE *out, const char *host_ip)
{
	FILE *file = fopen("/etc/resolv.conf", "re");
	char line[256], server[64];
	struct in_addr address;

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "nameserver %63s", server) != 1 ||
		    inet_pton(AF_INET, server, &address) != 1)
			continue;
		put(out, "dns",
		    address.s_addr << 24 == 127U << 24 ? host_ip : server);
	}
	if (file)
		fclose(file);
}

static void put_network(FILE *out, const struct net_options *options)
{
	const char *host = options->host_ip ? options->host_ip : PASST_HOST_IP;
	const char *guest = options->guest_ip ? options->guest_ip :
						PASST_GUEST_IP;
	struct tap_address network;
	char text[INET_ADDRSTRLEN];

	/* Wrong ones are refused where the device is made. */
	if (tap_parse_address(host, &network))
		return;
	inet_ntop(AF_INET, &network.address, text, sizeof(text));
	fprintf(out, "net=%s/%d:%s:%u%c", guest,
		__builtin_popcount(network.mask.s_addr), text,
		options->mtu ? (unsigned int)options->mtu : PASST_MTU, '\0');
	put_name_servers(out, text);
}

static void put_records(FILE *out, const struct run_guest *guest,
			const struct run_options *options)
{
	for (unsigned int i = 0; i < guest->list.count; i++)
		put(out, "module", guest->list.names[i]);
	for (unsigned int i = 0; i < options->nr_devices; i++) {
		const struct net_options *net = options->devices[i].config;

		if (options->devices[i].type != &virtio_net_type ||
		    net->mode != NET_MODE_USER)
			continue;
		put_network(out, net);
		break;
	}
	guest_command_describe(&options->command, out);
}

/* ---- init ---------------------------------------------------------------- */

static int pack_init(struct run_guest *guest, const char *config, size_t len)
{
	struct initrd initrd;
	int fd;

	initrd_init(&initrd);
	initrd_add_folder(&initrd, "dev");
	initrd_add_folder(&initrd, INITRD_FOLDER + 1);
	initrd_add_file(&initrd, GUEST_INIT_PATH + 1, 0755, guest_init,
			(size_t)(guest_init_end - guest_init));
	initrd_add_file(&initrd, GUEST_CONFIG_PATH + 1, 0644, config, len);
	fd = initrd_finish(&initrd);
	if (fd < 0) {
		log_err("run", "cannot make the guest's initrd: %s",
			strerror(-fd));
		return fd;
	}
	guest->fds[guest->nr_fds++] = fd;
	return 0;
}

static int prepare_init(struct run_guest *guest,
			const struct run_options *options)
{
	char *config = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&config, &len);
	int err;

	if (!out) {
		log_err("run", "out of memory");
		return -ENOMEM;
	}
	put_records(out, guest, options);
	err = fclose(out) ? -ENOMEM : 0;
	if (!err && len > GUEST_CONFIG_MAX) {
		log_err("run",
			"the command and its environment are too long: "
			"%zu bytes, and at most %u can be passed",
			len, GUEST_CONFIG_MAX);
		err = -E2BIG;
	}
	if (!err)
		err = pack_init(guest, config, len);
	free(config);
	return err;
}

int run_guest_prepare(struct run_guest *guest,
		      const struct run_options *options, const char *kernel)
{
	int err;

	*guest = (struct run_guest) { .nr_fds = 0 };
	err = find_modules(guest, options, kernel);
	if (!err)
		err = pack_modules(guest, options);
	if (!err)
		err = prepare_init(guest, options);
	return err;
}

void run_guest_apply(const struct run_guest *guest, struct vm_config *config)
{
	for (unsigned int i = 0; i < guest->nr_fds; i++)
		config->own_initrds[config->nr_own_initrds++] =
			(struct boot_file) {
				.path = "of lkvm's own",
				.fd = guest->fds[i],
			};
}

void run_guest_release(struct run_guest *guest)
{
	for (unsigned int i = 0; i < guest->nr_fds; i++)
		close(guest->fds[i]);
	module_list_release(&guest->list);
	if (guest->modules)
		modules_close(guest->modules);
}
