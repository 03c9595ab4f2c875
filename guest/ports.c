/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ports to lkvm: waiting for their devices, and telling what the kernel
 * lacks when there can be none; and what it lacks for other devices.
 */
#include <linux/netlink.h>
#include <linux/virtio_ids.h>
#include <sys/socket.h>

#include "init.h"

#define PORTS_FOLDER "/sys/class/virtio-ports"
#define DEVICES_FOLDER "/sys/bus/virtio/devices"

/* All devices are there by then, or something is wrong. */
#define PORTS_TIMEOUT_MS 30000

/* ---- folders ------------------------------------------------------------- */

struct entry { /* of getdents64(2) */
	uint64_t inode;
	int64_t offset;
	uint16_t len;
	uint8_t type;
	char name[];
};

struct folder {
	int fd; /* below 0: there is none, and so no entries */
	long at, len;
	char entries[2048] __attribute__((aligned(8)));
};

static void folder_open(struct folder *folder, const char *path)
{
	/* The entries too: analyzers do not know what sys() fills. */
	*folder = (struct folder) {
		.fd = sys_open(path, O_RDONLY | O_DIRECTORY, 0),
	};
}

/* The next entry's name that is not hidden, or NULL. */
static const char *folder_next(struct folder *folder)
{
	const struct entry *entry;

	do {
		if (folder->at >= folder->len) {
			folder->at = 0;
			folder->len = sys(__NR_getdents64, folder->fd,
					  folder->entries,
					  sizeof(folder->entries), 0, 0);
			if (folder->len <= 0)
				return NULL;
		}
		entry = (const void *)(folder->entries + folder->at);
		folder->at += entry->len;
	} while (entry->name[0] == '.');
	return entry->name;
}

static bool folder_has_entries(const char *path)
{
	struct folder folder;
	bool has;

	folder_open(&folder, path);
	has = folder_next(&folder);
	sys_close(folder.fd);
	return has;
}

/* ---- what may be missing ------------------------------------------------- */

/*
 * Drivers find their devices while they are loaded, or before this program
 * runs; so what is missing now stays so.
 */
static void check_drivers(struct init *init)
{
	if (sys_access("/sys/bus/virtio"))
		init_fail(init, "this kernel has no virtio", NULL, 0,
			  init->mmio ? "CONFIG_VIRTIO_MMIO and "
				       "CONFIG_VIRTIO_CONSOLE, or modules "
				       "virtio_mmio and virtio_console" :
				       "CONFIG_VIRTIO_PCI and "
				       "CONFIG_VIRTIO_CONSOLE, or modules "
				       "virtio_pci and virtio_console");
	if (sys_access("/sys/bus/virtio/drivers/virtio_console"))
		init_fail(init,
			  "this kernel has no driver for virtio's console "
			  "ports",
			  NULL, 0,
			  "CONFIG_VIRTIO_CONSOLE, or module virtio_console");
}

static void check_devices(struct init *init)
{
	if (folder_has_entries(DEVICES_FOLDER))
		return;
	if (init->mmio)
		init_fail(init, "this kernel has no driver for virtio on MMIO",
			  NULL, 0, "CONFIG_VIRTIO_MMIO, or module virtio_mmio");
	if (folder_has_entries("/sys/bus/pci/devices"))
		init_fail(init, "this kernel has no driver for virtio on PCI",
			  NULL, 0, "CONFIG_VIRTIO_PCI, or module virtio_pci");
	init_fail(init, "this kernel finds no virtio devices", NULL, 0,
		  "CONFIG_PCI and CONFIG_VIRTIO_PCI");
}

/* The device's type, which sysfs prints as "0x0001"; 0: not known. */
static unsigned int device_type(const char *folder)
{
	struct text path = { 0 };
	char digits[8] = "";
	unsigned int type = 0;
	int fd;

	text_add(&path, folder);
	text_add(&path, "/device");
	fd = sys_open(path.data, O_RDONLY, 0);
	sys_read(fd, digits, sizeof(digits) - 1);
	sys_close(fd);
	for (size_t i = 2; i < 6; i++) {
		char c = digits[i];

		type = type << 4 |
		       (unsigned int)(c >= 'a' ? c - 'a' + 10 : c - '0');
	}
	return digits[0] ? type : 0;
}

static const char *driver_of(unsigned int type)
{
	switch (type) {
	case VIRTIO_ID_NET:
		return "the network device (CONFIG_VIRTIO_NET, or module "
		       "virtio_net)";
	case VIRTIO_ID_BLOCK:
		return "disks (CONFIG_VIRTIO_BLK, or module virtio_blk)";
	case VIRTIO_ID_RNG:
		return "the entropy device (CONFIG_HW_RANDOM_VIRTIO, or module "
		       "virtio_rng)";
	case VIRTIO_ID_BALLOON:
		return "the balloon (CONFIG_VIRTIO_BALLOON, or module "
		       "virtio_balloon)";
	case VIRTIO_ID_9P:
		return "shared folders (CONFIG_NET_9P_VIRTIO, or module "
		       "9pnet_virtio)";
	case VIRTIO_ID_VSOCK:
		return "the socket device (CONFIG_VIRTIO_VSOCKETS, or module "
		       "vmw_vsock_virtio_transport)";
	}
	return NULL;
}

void devices_without_driver(struct init *init)
{
	struct text line = { 0 };
	struct folder folder;
	uint64_t told = 0; /* types */
	const char *name;

	folder_open(&folder, DEVICES_FOLDER);
	while ((name = folder_next(&folder))) {
		struct text path = { 0 };
		unsigned int type;

		text_add(&path, DEVICES_FOLDER "/");
		text_add(&path, name);
		type = device_type(path.data);
		text_add(&path, "/driver");
		if (!driver_of(type) || told >> type & 1 ||
		    !sys_access(path.data))
			continue;
		text_add(&line, told ? ", nor for " :
				       "this kernel has no driver for ");
		text_add(&line, driver_of(type));
		told |= 1ULL << type;
	}
	sys_close(folder.fd);
	/* In one line: of many at once, the host drops some. */
	if (told)
		init_send(init, GUEST_SAY, line.data, line.len);
}

/* ---- the ports ----------------------------------------------------------- */

void uevents_open(struct init *init)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK,
				       .nl_groups = 1 };

	init->uevents = sys_socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC,
				   NETLINK_KOBJECT_UEVENT);
	if (init->uevents < 0)
		init_fail(init, "cannot hear of devices", NULL, init->uevents,
			  "CONFIG_NET");
	sys(__NR_bind, init->uevents, &address, sizeof(address), 0, 0);
}

static void open_port(struct init *init, const char *device)
{
	static const char *const names[PORT_COUNT] = {
		[PORT_CONTROL] = GUEST_PORT_CONTROL "\n",
		[PORT_STDIO] = GUEST_PORT_STDIO "\n",
		[PORT_STDERR] = GUEST_PORT_STDERR "\n",
	};
	struct text path = { 0 };
	char name[80] = "";
	int fd;

	text_add(&path, PORTS_FOLDER "/");
	text_add(&path, device);
	text_add(&path, "/name");
	fd = sys_open(path.data, O_RDONLY, 0);
	sys_read(fd, name, sizeof(name) - 1);
	sys_close(fd);
	for (int i = 0; i < PORT_COUNT; i++) {
		if (init->ports[i] >= 0 || !text_is(name, names[i]))
			continue;
		path = (struct text) { 0 };
		text_add(&path, "/dev/");
		text_add(&path, device);
		fd = sys_open(path.data, O_RDWR, 0);
		if (fd < 0)
			init_fail(init, "cannot open", path.data, fd, NULL);
		init->ports[i] = fd;
	}
}

/* Open those that have come by now. Are they complete? */
static bool look_for_ports(struct init *init)
{
	struct folder folder;
	const char *device;
	bool all = true;

	folder_open(&folder, PORTS_FOLDER);
	while ((device = folder_next(&folder)))
		open_port(init, device);
	sys_close(folder.fd);
	for (int i = 0; i < PORT_COUNT; i++)
		if (init->ports[i] < 0)
			all = false;
	return all;
}

void ports_open(struct init *init)
{
	struct pollfd event = { .fd = init->uevents, .events = POLLIN };
	char text[2048];

	check_drivers(init);
	check_devices(init);
	while (!look_for_ports(init)) {
		if (!sys(__NR_poll, &event, 1, PORTS_TIMEOUT_MS, 0, 0))
			init_fail(init, "lkvm's console ports did not come up",
				  NULL, 0, NULL);
		sys_read(init->uevents, text, sizeof(text));
	}
	/*
	 * Until Linux knows that the host's end is open, it makes writers wait
	 * and tells readers of an end: so write first. That goes for the
	 * control port too, where the first message does it.
	 */
	sys_write(init->ports[PORT_STDIO], "", 1);
}
