/* SPDX-License-Identifier: GPL-2.0 */
/*
 * lkvm run -- COMMAND: its root, and the archives behind the user's initrd. See
 * run-guest.h, and guest-protocol.h for what these hold.
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
#include <lkvm/util.h>
#include <lkvm/virtio.h>

#define MAX_VERSION 96

/* What drives a device, beside its bus. */
static const struct {
	const struct device_type *type;
	const char *module;
} drivers[] = {
	{ &virtio_9p_type, "9pnet_virtio" },
	{ &virtio_9p_type, "9p" },
	{ &virtio_balloon_type, "virtio_balloon" },
	{ &virtio_blk_type, "virtio_blk" },
	{ &virtio_net_type, "virtio_net" },
	{ &virtio_rng_type, "virtio_rng" },
	{ &virtio_vsock_type, "vmw_vsock_virtio_transport" },
};

#define MAX_NAMES (2 + ROOTFS_MAX_MODULES + ARRAY_SIZE(drivers))

static int read_version(const char *kernel, char version[MAX_VERSION])
{
	int fd = open(kernel, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int err;

	if (fd < 0)
		return -errno;
	err = arch_kernel_version(fd, version, MAX_VERSION);
	close(fd);
	return err;
}

/* ---- the default --------------------------------------------------------- */

static bool has_device(const struct run_options *options,
		       const struct device_type *type)
{
	for (unsigned int i = 0; i < options->nr_devices; i++) {
		const struct device_request *device = &options->devices[i];
		const struct net_options *net = device->config;

		if (device->type == type &&
		    (type != &virtio_net_type || net->mode != NET_MODE_NONE))
			return true;
	}
	return false;
}

/* Do @options name nothing that could run? Other kernels need no root. */
static bool has_nothing_to_run(const struct run_options *options,
			       const char *kernel)
{
	static const char *const words[] = { "root=", "init=", "rdinit=" };
	char version[MAX_VERSION];

	if (options->nodefaults || options->initrd || options->folder.found ||
	    has_device(options, &virtio_blk_type))
		return false;
	for (unsigned int i = 0; i < ARRAY_SIZE(words); i++)
		if (run_options_has_param(options, words[i]))
			return false;
	return !read_version(kernel, version);
}

void run_guest_default(struct run_options *options, const char *kernel)
{
	const struct rootfs_options *rootfs = &options->rootfs;
	const bool host = !rootfs->root.path && !options->initrd;
	char *own = getenv("SHELL");
	static char sh[] = "/bin/sh";

	if (options->command.argv ||
	    (!rootfs->root.path && !rootfs->nr_shares &&
	     !has_nothing_to_run(options, kernel)))
		return;
	/* The user's own one is in the host's root, for all that is known. */
	options->shell[0] = host && own && own[0] == '/' ? own : sh;
	options->command.argv = options->shell;
}

/* ---- modules ------------------------------------------------------------- */

static int find_modules(struct run_guest *guest,
			const struct run_options *options, const char *kernel)
{
	char version[MAX_VERSION] = "";

	/* One that cannot be read is refused where all kernels are. */
	read_version(kernel, version);
	return modules_open(kernel, version, options->modules, &guest->modules);
}

static int pack_modules(struct run_guest *guest,
			const struct run_options *options)
{
	const char *names[MAX_NAMES];
	unsigned int n = 0;
	int fd, err;

	names[n++] = options->transport ? "virtio_mmio" : "virtio_pci";
	names[n++] = "virtio_console";
	for (unsigned int i = 0; i < guest->rootfs.nr_modules; i++)
		names[n++] = guest->rootfs.modules[i];
	for (unsigned int i = 0; i < ARRAY_SIZE(drivers); i++)
		if (has_device(options, drivers[i].type))
			names[n++] = drivers[i].module;
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
	if (options->transport)
		put(out, "mmio", "1");
	fwrite(guest->rootfs.config, 1, guest->rootfs.config_bytes, out);
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
	initrd_add_folder(&initrd, &INITRD_FOLDER[1]);
	initrd_add_file(&initrd, &GUEST_INIT_PATH[1], 0755, guest_init,
			guest_init_size);
	initrd_add_file(&initrd, &GUEST_CONFIG_PATH[1], 0644, config, len);
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

/* ---- devices ------------------------------------------------------------- */

/* The user's come first, and keep their names. */
static int join_devices(struct run_guest *guest,
			const struct run_options *options)
{
	unsigned int own = options->nr_devices;

	guest->nr_devices = own + guest->rootfs.nr_parts;
	guest->devices = calloc(guest->nr_devices + 1, sizeof(*guest->devices));
	if (!guest->devices) {
		log_err("run", "out of memory");
		return -ENOMEM;
	}
	for (unsigned int i = 0; i < guest->nr_devices; i++)
		guest->devices[i] = i < own ? options->devices[i] :
					      guest->rootfs.devices[i - own];
	return 0;
}

/* ---- all of it ----------------------------------------------------------- */

int run_guest_prepare(struct run_guest *guest,
		      const struct run_options *options, const char *kernel)
{
	struct rootfs_options rootfs = options->rootfs;
	int err;

	*guest = (struct run_guest) { .nr_fds = 0 };
	if (!options->command.argv)
		return 0;
	rootfs.initrd = options->initrd && !rootfs.root.path;
	rootfs.dry_run = options->dry_run;
	err = find_modules(guest, options, kernel);
	if (!err)
		err = rootfs_create(&rootfs, kernel, guest->modules,
				    &guest->rootfs);
	if (!err)
		err = join_devices(guest, options);
	/* What these pack changes nothing that a dry run prints. */
	if (err || options->dry_run)
		return err;
	err = pack_modules(guest, options);
	if (!err)
		err = prepare_init(guest, options);
	return err;
}

void run_guest_apply(const struct run_guest *guest, struct vm_config *config)
{
	if (!guest->devices)
		return;
	for (unsigned int i = 0; i < guest->nr_fds; i++)
		config->own_initrds[config->nr_own_initrds++] =
			(struct boot_file) {
				.path = "of lkvm's own",
				.fd = guest->fds[i],
			};
	config->devices = guest->devices;
	config->nr_devices = guest->nr_devices;
}

void run_guest_release(struct run_guest *guest)
{
	for (unsigned int i = 0; i < guest->nr_fds; i++)
		close(guest->fds[i]);
	free(guest->devices);
	rootfs_release(&guest->rootfs);
	module_list_release(&guest->list);
	modules_close(guest->modules);
}
