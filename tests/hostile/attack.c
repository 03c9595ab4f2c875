/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Runs as root in a guest, and attacks the machine below it: ports, PCI
 * configuration, the registers and rings of a virtio disk, and packets of a
 * socket device (virtio 1.2).
 * The same seed does the same in every run. What would end the virtual machine
 * in a regular way, or only hurt this guest's own memory, is left out.
 *
 *	attack ports SEED COUNT
 *	attack config DEVICE SEED COUNT     DEVICE: 0000:00:01.0
 *	attack window DEVICE SEED COUNT     registers, below a running driver
 *	attack bar DEVICE SEED COUNT        registers, without a driver
 *	attack rings DEVICE SEED COUNT      queues set up by hand
 *	attack registers ADDRESS SEED COUNT a virtio-mmio device's, without a driver
 *	attack mmio ADDRESS SEED COUNT      its queue, split
 *	attack packed ADDRESS SEED COUNT    its queue, packed
 *	attack vsock DEVICE SEED COUNT      packets, and what is none
 *
 *	attack greet PORT                   says hello there, by AF_VSOCK
 */
#include <endian.h>
#include <err.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attack.h"

#define POWER_PORTS 0x600 /* sleep control, reset and power button */
#define POWER_PORTS_END 0x610

static uint64_t random_state;

uint32_t draw(void)
{
	random_state =
		random_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(random_state >> 32);
}

/* Bounds break at these. */
uint32_t draw_value(void)
{
	static const uint32_t special[] = {
		0,	1,	0x7f,	    0x80,	0xff,	    0x7fff,
		0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff,
	};
	uint32_t choice = draw();

	if (choice & 1)
		return special[draw() % (sizeof(special) / sizeof(*special))];
	return draw();
}

static unsigned int draw_size(void)
{
	return 1U << draw() % 3;
}

/* ---- ports ------------------------------------------------------------------ */

static bool port_ends_the_machine(uint16_t port)
{
	return (port >= POWER_PORTS && port < POWER_PORTS_END) ||
	       port == 0x60 || port == 0x64 || /* reset line */
	       port == 0xcf9 || port == 0x92 || /* the same, elsewhere */
	       port == 0x505; /* pvpanic */
}

/* Our voice and who shares its interrupt; PCI has attacks of its own. */
static bool port_is_needed(uint16_t port)
{
	return (port >= 0x3f8 && port < 0x400) ||
	       (port >= 0x3e8 && port < 0x3f0) ||
	       (port >= 0xcf8 && port < 0xd00);
}

static void touch_port(uint16_t port, unsigned int size, uint32_t value)
{
	bool quiet = false;

	for (unsigned int i = 0; i < size; i++)
		quiet |= port_ends_the_machine(port + i) ||
			 port_is_needed(port + i);
	switch (size) {
	case 1:
		(void)inb(port);
		if (!quiet)
			outb(value, port);
		break;
	case 2:
		(void)inw(port);
		if (!quiet)
			outw(value, port);
		break;
	default:
		(void)inl(port);
		if (!quiet)
			outl(value, port);
		break;
	}
}

static void attack_ports(unsigned int count)
{
	if (iopl(3))
		err(1, "iopl");
	for (uint32_t port = 0; port < 0x10000; port++)
		touch_port(port, 1, draw_value());
	for (unsigned int i = 0; i < count; i++)
		touch_port(draw(), draw_size(), draw_value());
}

/* ---- PCI configuration ------------------------------------------------------- */

static int open_device(const char *device, const char *file)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", device,
		 file);
	fd = open(path, O_RDWR | O_SYNC);
	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

static uint32_t config_read(int fd, unsigned int at, unsigned int size)
{
	uint32_t value = 0;

	if (pread(fd, &value, size, at) < 0)
		err(1, "configuration read at %u", at);
	return le32toh(value);
}

static void config_write(int fd, unsigned int at, unsigned int size,
			 uint32_t value)
{
	value = htole32(value);
	(void)!pwrite(fd, &value, size, at);
}

/* Everything there is, its own capabilities and BARs included. */
static void attack_config(int fd, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		unsigned int size = draw_size();
		unsigned int at =
			draw() % (draw() % 4 ? 256 : 4096) / size * size;

		(void)config_read(fd, at, size);
		config_write(fd, at, size, draw_value());
	}
}

/*
 * The capability of @type (4.1.4) in BAR @bar; *bar_offset is its structure's
 * place. 0: there is none.
 */
static unsigned int find_cap(int fd, unsigned int type, unsigned int bar,
			     uint32_t *bar_offset)
{
	unsigned int at = config_read(fd, PCI_CAPABILITY_LIST, 1);

	for (; at; at = config_read(fd, at + 1, 1)) {
		if (config_read(fd, at, 1) != PCI_CAP_ID_VNDR ||
		    config_read(fd, at + 3, 1) != type ||
		    config_read(fd, at + 4, 1) != bar)
			continue;
		*bar_offset = config_read(fd, at + 8, 4);
		return at;
	}
	return 0;
}

static unsigned int virtio_cap(int fd, unsigned int type, uint32_t *bar_offset)
{
	unsigned int at = find_cap(fd, type, 0, bar_offset);

	if (!at)
		errx(1, "no virtio capability %u", type);
	return at;
}

/*
 * 4.1.4.9: BAR accesses by way of configuration space, which nothing keeps
 * root from making while the driver works. The status register is spared every
 * other time, for a device that was reset is no target.
 */
static void attack_window(int fd, unsigned int count)
{
	uint32_t ignored;
	unsigned int cap = virtio_cap(fd, VIRTIO_PCI_CAP_PCI_CFG, &ignored);

	for (unsigned int i = 0; i < count; i++) {
		uint32_t offset = draw() % 2 ? draw() % 0x40 : draw() % 0x8000;
		uint32_t size = draw_size();

		if (draw() % 16 == 0)
			offset = draw_value();
		if (draw() % 16 == 0)
			size = draw_value();
		if (offset <= VIRTIO_PCI_COMMON_STATUS &&
		    offset + size > VIRTIO_PCI_COMMON_STATUS && draw() % 2)
			continue;
		config_write(fd, cap + 4, 1, draw() % 8 ? 0 : draw_value());
		config_write(fd, cap + 8, 4, offset);
		config_write(fd, cap + 12, 4, size);
		if (draw() % 4)
			config_write(fd, cap + 16, 4, draw_value());
		else
			(void)config_read(fd, cap + 16, 4);
	}
}

/* ---- registers ---------------------------------------------------------------- */

static struct bar map_bar(const char *device, int config)
{
	int fd = open_device(device, "resource0");
	struct bar bar;
	struct stat st;

	if (fstat(fd, &st))
		err(1, "%s's BAR", device);
	bar.len = (size_t)st.st_size;

	config_write(config, PCI_COMMAND, 2,
		     PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	bar.base =
		mmap(NULL, bar.len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (bar.base == MAP_FAILED)
		err(1, "mmap of %zu bytes of %s", bar.len, device);
	close(fd);
	return bar;
}

static void attack_bar(struct bar bar, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		unsigned int size = draw_size();
		size_t at = draw() % 2 ? draw() % 0x40 : draw() % (bar.len - 8);
		volatile uint8_t *reg = bar.base + at;
		uint32_t value = draw_value();

		switch (size) {
		case 1:
			(void)*reg;
			*reg = value;
			break;
		case 2:
			(void)*(volatile uint16_t *)reg;
			*(volatile uint16_t *)reg = value;
			break;
		default:
			(void)*(volatile uint32_t *)reg;
			*(volatile uint32_t *)reg = value;
			break;
		}
	}
}

/* ---- rings -------------------------------------------------------------------- */

static uint64_t physical_address(void *page)
{
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY);
	off_t at = (off_t)((uintptr_t)page / PAGE * sizeof(entry));

	if (fd < 0 || pread(fd, &entry, sizeof(entry), at) != sizeof(entry) ||
	    !(entry >> 63))
		err(1, "pagemap");
	close(fd);
	return (entry & ((1ULL << 55) - 1)) * PAGE;
}

static void rings_init(struct rings *rings)
{
	memset(rings, 0, sizeof(*rings));
	for (unsigned int i = 0; i < 4; i++) {
		uint8_t *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED |
					     MAP_POPULATE,
				     -1, 0);

		if (page == MAP_FAILED)
			err(1, "mmap");
		rings->pages[i] = page;
		rings->physical[i] = physical_address(page);
	}
}

void rings_init_pci(struct rings *rings, int config, struct bar bar)
{
	uint32_t common, notify;
	unsigned int cap;

	rings_init(rings);
	virtio_cap(config, VIRTIO_PCI_CAP_COMMON_CFG, &common);
	cap = virtio_cap(config, VIRTIO_PCI_CAP_NOTIFY_CFG, &notify);
	rings->notify_multiplier = config_read(config, cap + 16, 4);
	rings->common = (void *)(bar.base + common);
	rings->notify = (void *)(bar.base + notify);
	if (!find_cap(config, VIRTIO_PCI_CAP_NOTIFY_CFG, 1, &notify))
		return;
	rings->notify_port =
		(config_read(config, PCI_BASE_ADDRESS_1, 4) & ~3U) + notify;
	if (iopl(3))
		err(1, "iopl");
}

/* Our own memory, or none at all: what is in between is this guest's. */
static uint64_t draw_address(const struct rings *rings)
{
	static const uint64_t nowhere[] = {
		0xc0000000, /* ECAM */
		0xd0000000, /* BARs, maybe the disk's own */
		0xfec00000, /* IOAPIC */
		1ULL << 40, 0x7ffffffffffff000, UINT64_MAX,
	};

	if (draw() % 4)
		return rings->physical[draw() % 4] + draw() % 64 * 8;
	return nowhere[draw() % (sizeof(nowhere) / sizeof(*nowhere))];
}

/* Within one page from any of the addresses above, or beyond all RAM. */
uint32_t draw_length(void)
{
	static const uint32_t lengths[] = {
		0,   1,	   15,	 16,	     17,	 511,
		512, 1024, 3072, 0x80000000, 0xfffffff0, 0xffffffff,
	};

	return lengths[draw() % (sizeof(lengths) / sizeof(*lengths))];
}

static void fill_rings(struct rings *rings)
{
	struct vring_desc *desc = (void *)rings->pages[0];
	struct vring_avail *avail = (void *)rings->pages[1];
	struct virtio_blk_outhdr *header = (void *)rings->pages[3];

	for (unsigned int i = 0; i < QUEUE_SIZE; i++) {
		desc[i].addr = htole64(draw_address(rings));
		desc[i].len = htole32(draw_length());
		desc[i].flags = htole16(draw() % 8);
		desc[i].next =
			htole16(draw() % (draw() % 4 ? QUEUE_SIZE : 0x10000));
		avail->ring[i] =
			htole16(draw() % (draw() % 4 ? QUEUE_SIZE : 0x10000));
	}
	header->type = htole32(draw() % 12);
	header->sector = htole64(draw() % 2 ? draw() % 8 : draw_value());
	avail->flags = 0;
	avail->idx = htole16(draw() % 4 ? 1 + draw() % QUEUE_SIZE : draw());
}

/* One request as it should be (5.2.6), all of it in the last page. */
static void fill_good_rings(struct rings *rings)
{
	struct vring_desc *desc = (void *)rings->pages[0];
	struct vring_avail *avail = (void *)rings->pages[1];
	const uint16_t flags[] = {
		VRING_DESC_F_NEXT,
		VRING_DESC_F_NEXT | VRING_DESC_F_WRITE,
		VRING_DESC_F_WRITE,
	};
	const uint32_t lengths[] = { sizeof(struct virtio_blk_outhdr), 512, 1 };

	for (unsigned int i = 0; i < 3; i++)
		desc[i] = (struct vring_desc) {
			.addr = htole64(rings->physical[3] + 1024 * i),
			.len = htole32(lengths[i]),
			.flags = htole16(flags[i]),
			.next = htole16(i + 1),
		};
	avail->idx = htole16(1);
}

/* The same as in fill_rings(), in a packed ring: all is available. */
static void fill_packed(struct rings *rings, bool good)
{
	struct vring_packed_desc *desc = (void *)rings->pages[0];
	struct virtio_blk_outhdr *header = (void *)rings->pages[3];
	uint16_t flags[QUEUE_SIZE];

	if (good) {
		fill_good_rings(rings);
	} else {
		fill_rings(rings);
		header->type = htole32(draw() % 12);
	}
	/* What was a head's flags and next becomes an id and flags. */
	for (unsigned int i = 0; i < QUEUE_SIZE; i++) {
		flags[i] = le16toh(desc[i].id);
		desc[i].id = htole16(good ? 0 : draw() % (QUEUE_SIZE + 1));
		if (good && i > 2)
			flags[i] = 0;
		else
			flags[i] |= 1U << (draw() % 16 || good ?
						   VRING_PACKED_DESC_F_AVAIL :
						   VRING_PACKED_DESC_F_USED);
	}
	for (unsigned int i = QUEUE_SIZE; i-- > 0;)
		desc[i].flags = htole16(flags[i]);
}

static void fill(struct rings *rings, bool good)
{
	if (rings->packed)
		fill_packed(rings, good);
	else if (good)
		fill_good_rings(rings);
	else
		fill_rings(rings);
}

static void put_register(struct rings *rings, unsigned int at, uint32_t value)
{
	*(volatile uint32_t *)(rings->mmio + at) = htole32(value);
}

static void start_mmio(struct rings *rings)
{
	uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	put_register(rings, VIRTIO_MMIO_STATUS, 0);
	put_register(rings, VIRTIO_MMIO_STATUS, status);
	put_register(rings, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	put_register(rings, VIRTIO_MMIO_DRIVER_FEATURES,
		     1 | (rings->packed ? 1U << (VIRTIO_F_RING_PACKED - 32) :
					  0));
	put_register(rings, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	put_register(rings, VIRTIO_MMIO_DRIVER_FEATURES,
		     1U << VIRTIO_RING_F_INDIRECT_DESC);
	status |= VIRTIO_CONFIG_S_FEATURES_OK;
	put_register(rings, VIRTIO_MMIO_STATUS, status);
	put_register(rings, VIRTIO_MMIO_QUEUE_SEL, 0);
	put_register(rings, VIRTIO_MMIO_QUEUE_NUM, QUEUE_SIZE);
	for (unsigned int i = 0; i < 3; i++) {
		uint64_t address = draw() % 16 ? rings->physical[i] :
						 draw_address(rings) & ~0xfULL;

		put_register(rings, VIRTIO_MMIO_QUEUE_DESC_LOW + 16 * i,
			     (uint32_t)address);
		put_register(rings, VIRTIO_MMIO_QUEUE_DESC_HIGH + 16 * i,
			     (uint32_t)(address >> 32));
	}
	put_register(rings, VIRTIO_MMIO_QUEUE_READY, 1);
	put_register(rings, VIRTIO_MMIO_STATUS,
		     status | VIRTIO_CONFIG_S_DRIVER_OK);
}

void notify_pci(struct rings *rings, uint32_t offset, uint16_t value)
{
	if (rings->notify_port && draw() % 4)
		outw(value, rings->notify_port + offset);
	else
		*(volatile uint16_t *)((volatile uint8_t *)rings->notify +
				       offset) = htole16(value);
}

static void notify_device(struct rings *rings, uint16_t value)
{
	if (rings->mmio)
		put_register(rings, VIRTIO_MMIO_QUEUE_NOTIFY, value);
	else
		notify_pci(rings, 0, value);
}

uint8_t device_status(struct rings *rings)
{
	if (rings->mmio)
		return (uint8_t)le32toh(*(
			volatile uint32_t *)(rings->mmio + VIRTIO_MMIO_STATUS));
	return rings->common->device_status;
}

static bool has_used(struct rings *rings)
{
	volatile struct vring_used *used = (void *)rings->pages[2];
	volatile struct vring_packed_desc *desc = (void *)rings->pages[0];

	if (rings->packed)
		return (le16toh(desc->flags) &
			(1U << VRING_PACKED_DESC_F_USED |
			 1U << VRING_PACKED_DESC_F_AVAIL)) ==
		       (1U << VRING_PACKED_DESC_F_USED |
			1U << VRING_PACKED_DESC_F_AVAIL);
	return used->idx;
}

/* 3.1.1, up to the queues; returns the status then. */
uint8_t negotiate_pci(struct rings *rings)
{
	volatile struct virtio_pci_common_cfg *common = rings->common;
	uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	common->device_status = 0;
	while (common->device_status)
		;
	common->device_status = status;
	common->guest_feature_select = 1;
	common->guest_feature = htole32(1); /* VIRTIO_F_VERSION_1 */
	common->guest_feature_select = 0;
	common->guest_feature = htole32(1U << VIRTIO_RING_F_INDIRECT_DESC);
	status |= VIRTIO_CONFIG_S_FEATURES_OK;
	common->device_status = status;
	return status;
}

/* With an error now and then. */
void set_up_pci(struct rings *rings)
{
	volatile struct virtio_pci_common_cfg *common = rings->common;
	uint64_t address[3];

	for (unsigned int i = 0; i < 3; i++)
		address[i] = rings->sound || draw() % 16 ?
				     rings->physical[i] :
				     draw_address(rings) & ~0xfULL;
	common->queue_select = htole16(rings->queue);
	common->queue_size = htole16(QUEUE_SIZE);
	common->queue_desc_lo = htole32((uint32_t)address[0]);
	common->queue_desc_hi = htole32((uint32_t)(address[0] >> 32));
	common->queue_avail_lo = htole32((uint32_t)address[1]);
	common->queue_avail_hi = htole32((uint32_t)(address[1] >> 32));
	common->queue_used_lo = htole32((uint32_t)address[2]);
	common->queue_used_hi = htole32((uint32_t)(address[2] >> 32));
	common->queue_enable = htole16(1);
}

static void start_pci(struct rings *rings)
{
	uint8_t status = negotiate_pci(rings);

	set_up_pci(rings);
	rings->common->device_status = status | VIRTIO_CONFIG_S_DRIVER_OK;
}

/* A broken queue is told by the status, a good request by the used index. */
static void await_answer(struct rings *rings)
{
	for (unsigned int i = 0; i < 200; i++) {
		if (device_status(rings) & VIRTIO_CONFIG_S_NEEDS_RESET) {
			rings->broken++;
			return;
		}
		if (has_used(rings)) {
			rings->answered++;
			return;
		}
		usleep(100);
	}
}

static void attack_rings(struct rings *rings, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		bool good = draw() % 4 == 0;

		for (unsigned int j = 0; j < 4; j++)
			memset(rings->pages[j], 0, PAGE);
		fill(rings, good);
		if (rings->mmio)
			start_mmio(rings);
		else
			start_pci(rings);
		notify_device(rings, 0);
		/* Change it under the device's hands. */
		if (!good && draw() % 4 == 0)
			fill(rings, false);
		notify_device(rings, (uint16_t)draw());
		await_answer(rings);
	}
	if (rings->mmio)
		put_register(rings, VIRTIO_MMIO_STATUS, 0);
	else
		rings->common->device_status = 0;
	printf("broken=%u\nanswered=%u\n", rings->broken, rings->answered);
}

/* ---- virtio-mmio --------------------------------------------------------- */

static volatile uint8_t *map_device(uint64_t address)
{
	int fd = open("/dev/mem", O_RDWR | O_SYNC);
	void *at;

	if (fd < 0)
		err(1, "/dev/mem");
	at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		  (off_t)address);
	if (at == MAP_FAILED)
		err(1, "no registers at %#llx", (unsigned long long)address);
	close(fd);
	return at;
}

static void attack_mmio(const char *what, uint64_t address, unsigned int count)
{
	volatile uint8_t *base = map_device(address);
	struct bar bar = { base, PAGE };
	struct rings rings;

	if (*(volatile uint32_t *)base != htole32(0x74726976))
		errx(1, "no device at %#llx", (unsigned long long)address);
	if (!strcmp(what, "registers")) {
		/* Four of five within what a driver knows. */
		bar.len = 0x120;
		attack_bar(bar, count / 5 * 4);
		bar.len = PAGE;
		attack_bar(bar, count / 5);
		*(volatile uint32_t *)(base + VIRTIO_MMIO_STATUS) = 0;
		return;
	}
	rings_init(&rings);
	rings.mmio = base;
	rings.packed = !strcmp(what, "packed");
	attack_rings(&rings, count);
}

/* -------------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
	bool ports = argc == 4 && !strcmp(argv[1], "ports");
	unsigned int count;
	struct rings rings;
	int config;

	if (argc == 3 && !strcmp(argv[1], "greet")) {
		greet((unsigned int)strtoul(argv[2], NULL, 0));
		return 0;
	}
	if (!ports && argc != 5)
		errx(2, "usage: attack WHAT [DEVICE] SEED COUNT");
	random_state = strtoull(argv[argc - 2], NULL, 0);
	count = (unsigned int)strtoul(argv[argc - 1], NULL, 0);
	if (ports) {
		attack_ports(count);
		return 0;
	}
	if (!strncmp(argv[2], "0x", 2)) {
		attack_mmio(argv[1], strtoull(argv[2], NULL, 0), count);
		return 0;
	}
	config = open_device(argv[2], "config");
	if (!strcmp(argv[1], "config")) {
		attack_config(config, count);
	} else if (!strcmp(argv[1], "window")) {
		attack_window(config, count);
	} else if (!strcmp(argv[1], "bar")) {
		attack_bar(map_bar(argv[2], config), count);
	} else if (!strcmp(argv[1], "rings")) {
		rings_init_pci(&rings, config, map_bar(argv[2], config));
		attack_rings(&rings, count);
	} else if (!strcmp(argv[1], "vsock")) {
		attack_vsock(config, map_bar(argv[2], config), count);
	} else {
		errx(2, "no attack '%s'", argv[1]);
	}
	return 0;
}
