/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The PCI host bridge and bus 0: PCI Local Bus 3.0 (configuration mechanism #1
 * in 3.2.2.3.2, configuration space in 6.1 and 6.2), and the memory-mapped
 * configuration window of PCI Express 5.0, 7.2.2.
 *
 * The functions are conventional PCI: bytes above 255 of their window read as
 * zero, which says that there are no extended capabilities.
 *
 * Lock order: the bus's lock is taken inside every lock of a device, and
 * outside the locks of both buses, of struct irq, and of bar_moved().
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/pci_regs.h>

#include <lkvm/machine.h>
#include <lkvm/pci.h>

/* The identity that kernels know as a plain host bridge with no quirks. */
#define BRIDGE_VENDOR 0x1b36
#define BRIDGE_DEVICE 0x0008
#define BRIDGE_CLASS 0x060000

/* CONFIG_ADDRESS (3.2.2.3.2): enable, then bus, device, function, dword. */
#define CONFIG_DATA 4
#define CONFIG_ENABLE 0x80000000U
#define CONFIG_ADDRESS_MASK 0x80fffffcU

#define ECAM_FUNCTION_SHIFT 12
#define ECAM_FUNCTION_BYTES (1U << ECAM_FUNCTION_SHIFT)

#define BAR_REGISTER(index) (PCI_BASE_ADDRESS_0 + 4 * (index))
#define BAR_REGISTERS_END BAR_REGISTER(PCI_STD_NUM_BARS)

/* Where BARs of a kind may be; [base, end) is empty where there are none. */
struct pci_window {
	struct bus *bus;
	uint64_t base, end;
	uint64_t next; /* first byte that no BAR was placed at */
};

struct pci_bus {
	struct device device;
	struct machine *machine;
	struct bus_region config_ports;
	struct bus_region ecam;
	struct pci_device bridge;
	struct pci_window memory, ports;
	struct pci_device *slot[PCI_SLOTS]; /* fixed while vCPUs run */
	pthread_mutex_t lock; /* guards what follows and all functions */
	uint32_t config_address;
};

static const struct state_field pci_host_fields[] = {
	STATE_FIELD(struct pci_bus, config_address, 1, 0),
	STATE_ARRAY(struct pci_bus, bridge.config, 1, 0),
	STATE_END,
};

static const struct state_table pci_host_state = {
	.name = "pci-host",
	.version = 1,
	.fields = pci_host_fields,
};

/* ---- bytes of a configuration space ------------------------------------- */

/* What lies behind the end reads as zero. */
static uint64_t bytes_get(const uint8_t *config, unsigned int offset,
			  unsigned int len)
{
	uint64_t value = 0;

	for (unsigned int i = 0; i < len; i++)
		if (offset + i < PCI_CFG_SPACE_SIZE)
			value |= (uint64_t)config[offset + i] << (8 * i);
	return value;
}

static void bytes_put(uint8_t *config, unsigned int offset, uint64_t value,
		      unsigned int len)
{
	for (unsigned int i = 0; i < len; i++)
		if (offset + i < PCI_CFG_SPACE_SIZE)
			config[offset + i] = (uint8_t)(value >> (8 * i));
}

static bool overlaps(unsigned int offset, unsigned int len, unsigned int start,
		     unsigned int end)
{
	return offset < end && start < offset + len;
}

/* ---- INTx --------------------------------------------------------------- */

uint32_t pci_slot_gsi(unsigned int slot)
{
	return PCI_FIRST_GSI + slot % PCI_NR_GSIS;
}

static bool pci_drives_line(const struct pci_device *pci)
{
	uint64_t command = bytes_get(pci->config, PCI_COMMAND, 2);

	return pci->line_asserted && !(command & PCI_COMMAND_INTX_DISABLE);
}

/* INTA is wired-OR with the other slots of this GSI. */
static void pci_update_line_locked(struct pci_device *pci)
{
	irq_set_line(&pci->bus->machine->irq, pci_slot_gsi(pci->slot),
		     pci->slot, pci_drives_line(pci));
}

static void pci_set_intx_locked(struct pci_device *pci, bool level)
{
	pci->line_asserted = level;
	/* 6.2.3: shows the request, whether or not the line is disabled. */
	if (level)
		pci->config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
	else
		pci->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT;
	pci_update_line_locked(pci);
}

void pci_set_intx(struct pci_device *pci, bool level)
{
	pthread_mutex_lock(&pci->bus->lock);
	if (level != pci->line_asserted)
		pci_set_intx_locked(pci, level);
	pthread_mutex_unlock(&pci->bus->lock);
}

/* ---- BARs --------------------------------------------------------------- */

static struct pci_window *window_of(struct pci_bus *bus,
				    const struct pci_bar *bar)
{
	return bar->is_io ? &bus->ports : &bus->memory;
}

/*
 * Should BAR @index decode, and where? Only inside its window: anywhere else
 * a guest could lay it over the interrupt controllers or over RAM.
 */
static bool pci_bar_wanted(const struct pci_device *pci, unsigned int index,
			   uint64_t *base)
{
	const struct pci_bar *bar = &pci->bar[index];
	const struct pci_window *window = window_of(pci->bus, bar);
	uint64_t command = bytes_get(pci->config, PCI_COMMAND, 2);
	uint64_t addr;

	if (!bar->size ||
	    !(command & (bar->is_io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
		return false;
	addr = bytes_get(pci->config, BAR_REGISTER(index),
			 bar->is_64bit ? 8 : 4);
	addr = align_down(addr, PCI_BAR_MIN_BYTES);
	if (addr < window->base || addr > window->end ||
	    bar->size > window->end - addr)
		return false;
	*base = addr;
	return true;
}

static void pci_unmap_stale(struct pci_device *pci, unsigned int index)
{
	struct pci_bar *bar = &pci->bar[index];
	uint64_t base;

	if (!bar->mapped)
		return;
	if (pci_bar_wanted(pci, index, &base) && base == bar->region.base)
		return;
	bus_unmap(&bar->region);
	bar->mapped = false;
	if (pci->bar_moved)
		pci->bar_moved(pci, index, bar->region.base, false);
}

static void pci_map_wanted(struct pci_device *pci, unsigned int index)
{
	struct pci_bar *bar = &pci->bar[index];
	uint64_t base;

	if (bar->mapped || !pci_bar_wanted(pci, index, &base))
		return;
	bar->region.base = base;
	/* Over another BAR: nothing decodes here until one of them moves. */
	if (bus_map(window_of(pci->bus, bar)->bus, &bar->region))
		return;
	bar->mapped = true;
	if (pci->bar_moved)
		pci->bar_moved(pci, index, base, true);
}

/*
 * Make the buses agree with all BARs: first take away what has moved, then
 * map what has room now, which may be another function's BAR.
 */
static void pci_update_bars_locked(struct pci_bus *bus)
{
	for (unsigned int i = 0; i < PCI_SLOTS * PCI_STD_NUM_BARS; i++)
		if (bus->slot[i / PCI_STD_NUM_BARS])
			pci_unmap_stale(bus->slot[i / PCI_STD_NUM_BARS],
					i % PCI_STD_NUM_BARS);
	for (unsigned int i = 0; i < PCI_SLOTS * PCI_STD_NUM_BARS; i++)
		if (bus->slot[i / PCI_STD_NUM_BARS])
			pci_map_wanted(bus->slot[i / PCI_STD_NUM_BARS],
				       i % PCI_STD_NUM_BARS);
}

/* ---- guest access to configuration spaces ------------------------------- */

/* @function is bus, device and function number as in CONFIG_ADDRESS. */
static struct pci_device *pci_find(struct pci_bus *bus, uint64_t function)
{
	if (function / 8 >= PCI_SLOTS || function % 8)
		return NULL;
	return bus->slot[function / 8];
}

static uint64_t pci_config_read(struct pci_bus *bus, uint64_t function,
				unsigned int offset, unsigned int len)
{
	struct pci_device *pci = pci_find(bus, function);
	uint64_t value;

	if (!pci)
		return ~0ULL;
	if (pci->config_reading && offset < PCI_CFG_SPACE_SIZE)
		pci->config_reading(pci, offset, len);
	pthread_mutex_lock(&bus->lock);
	value = bytes_get(pci->config, offset, len);
	pthread_mutex_unlock(&bus->lock);
	return value;
}

static void pci_config_write(struct pci_bus *bus, uint64_t function,
			     unsigned int offset, uint64_t value,
			     unsigned int len)
{
	struct pci_device *pci = pci_find(bus, function);
	bool command;

	if (!pci || offset >= PCI_CFG_SPACE_SIZE)
		return;
	len = MIN(len, PCI_CFG_SPACE_SIZE - offset);
	command = overlaps(offset, len, PCI_COMMAND, PCI_COMMAND + 2);
	pthread_mutex_lock(&bus->lock);
	for (unsigned int i = offset; i < offset + len; i++) {
		uint8_t byte = (uint8_t)(value >> (8 * (i - offset)));
		uint8_t mask = pci->writable[i];

		pci->config[i] = (pci->config[i] & ~mask) | (byte & mask);
	}
	if (command ||
	    overlaps(offset, len, PCI_BASE_ADDRESS_0, BAR_REGISTERS_END))
		pci_update_bars_locked(bus);
	if (command)
		pci_update_line_locked(pci);
	pthread_mutex_unlock(&bus->lock);
	if (pci->config_written)
		pci->config_written(pci, offset, len);
}

/*
 * 3.2.2.3.2: only a whole dword reaches CONFIG_ADDRESS; other accesses to its
 * ports are plain I/O, and nobody is there.
 */
static uint64_t pci_ports_read(void *opaque, uint64_t offset, unsigned int len)
{
	struct pci_bus *bus = opaque;
	uint32_t address;

	pthread_mutex_lock(&bus->lock);
	address = bus->config_address;
	pthread_mutex_unlock(&bus->lock);
	if (offset == 0 && len == 4)
		return address;
	if (offset < CONFIG_DATA || !(address & CONFIG_ENABLE))
		return ~0ULL;
	return pci_config_read(
		bus, (address & ~CONFIG_ENABLE) >> 8,
		(address & 0xff) + (unsigned int)(offset - CONFIG_DATA), len);
}

static void pci_ports_write(void *opaque, uint64_t offset, uint64_t value,
			    unsigned int len)
{
	struct pci_bus *bus = opaque;
	uint32_t address;

	pthread_mutex_lock(&bus->lock);
	if (offset == 0 && len == 4)
		bus->config_address = (uint32_t)value & CONFIG_ADDRESS_MASK;
	address = bus->config_address;
	pthread_mutex_unlock(&bus->lock);
	if (offset < CONFIG_DATA || !(address & CONFIG_ENABLE))
		return;
	pci_config_write(bus, (address & ~CONFIG_ENABLE) >> 8,
			 (address & 0xff) +
				 (unsigned int)(offset - CONFIG_DATA),
			 value, len);
}

static const struct bus_ops pci_ports_ops = {
	.read = pci_ports_read,
	.write = pci_ports_write,
};

/* An access across the end of a function's page belongs to neither. */
static bool ecam_crosses(uint64_t offset, unsigned int len)
{
	return offset % ECAM_FUNCTION_BYTES + len > ECAM_FUNCTION_BYTES;
}

static uint64_t pci_ecam_read(void *opaque, uint64_t offset, unsigned int len)
{
	if (ecam_crosses(offset, len))
		return ~0ULL;
	return pci_config_read(opaque, offset >> ECAM_FUNCTION_SHIFT,
			       offset % ECAM_FUNCTION_BYTES, len);
}

static void pci_ecam_write(void *opaque, uint64_t offset, uint64_t value,
			   unsigned int len)
{
	if (ecam_crosses(offset, len))
		return;
	pci_config_write(opaque, offset >> ECAM_FUNCTION_SHIFT,
			 offset % ECAM_FUNCTION_BYTES, value, len);
}

static const struct bus_ops pci_ecam_ops = {
	.read = pci_ecam_read,
	.write = pci_ecam_write,
};

/* ---- functions ---------------------------------------------------------- */

uint32_t pci_config_get(struct pci_device *pci, unsigned int offset,
			unsigned int len)
{
	uint32_t value;

	pthread_mutex_lock(&pci->bus->lock);
	value = (uint32_t)bytes_get(pci->config, offset, len);
	pthread_mutex_unlock(&pci->bus->lock);
	return value;
}

void pci_config_set(struct pci_device *pci, unsigned int offset, uint32_t value,
		    unsigned int len)
{
	pthread_mutex_lock(&pci->bus->lock);
	bytes_put(pci->config, offset, value, len);
	pthread_mutex_unlock(&pci->bus->lock);
}

void pci_device_init(struct pci_device *pci, const struct pci_identity *id)
{
	memset(pci, 0, sizeof(*pci));
	bytes_put(pci->config, PCI_VENDOR_ID, id->vendor, 2);
	bytes_put(pci->config, PCI_DEVICE_ID, id->device, 2);
	bytes_put(pci->config, PCI_REVISION_ID, id->revision, 1);
	bytes_put(pci->config, PCI_CLASS_PROG, id->class_code, 3);
	bytes_put(pci->config, PCI_SUBSYSTEM_VENDOR_ID, id->subsystem_vendor,
		  2);
	bytes_put(pci->config, PCI_SUBSYSTEM_ID, id->subsystem, 2);
	bytes_put(pci->config, PCI_INTERRUPT_PIN, 1, 1);

	bytes_put(pci->writable, PCI_COMMAND,
		  PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
			  PCI_COMMAND_INTX_DISABLE,
		  2);
	/* No effect here, but drivers expect to find what they wrote. */
	bytes_put(pci->writable, PCI_CACHE_LINE_SIZE, 0xff, 1);
	bytes_put(pci->writable, PCI_LATENCY_TIMER, 0xff, 1);
	bytes_put(pci->writable, PCI_INTERRUPT_LINE, 0xff, 1);
	pci->capability_end = PCI_STD_HEADER_SIZEOF;
}

int pci_add_capability(struct pci_device *pci, uint8_t id, const void *data,
		       unsigned int len, const uint8_t *writable_mask)
{
	unsigned int offset = (unsigned int)align_up(pci->capability_end, 4);
	unsigned int link = PCI_CAPABILITY_LIST;

	if (len < PCI_CAP_FLAGS || len > PCI_CFG_SPACE_SIZE - offset)
		return -ENOSPC;
	/* At the tail: the order is one of preference (virtio 1.2, 4.1.4). */
	while (pci->config[link])
		link = pci->config[link] + PCI_CAP_LIST_NEXT;
	pci->config[link] = (uint8_t)offset;
	pci->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;

	memcpy(&pci->config[offset], data, len);
	pci->config[offset + PCI_CAP_LIST_ID] = id;
	pci->config[offset + PCI_CAP_LIST_NEXT] = 0;
	if (writable_mask)
		memcpy(&pci->writable[offset], writable_mask, len);
	/* Identity and link are nobody's to change. */
	bytes_put(pci->writable, offset, 0, PCI_CAP_FLAGS);
	pci->capability_end = offset + len;
	return (int)offset;
}

/* Give BAR @index of @pci the next address in its window. */
static int pci_place_bar(struct pci_bus *bus, struct pci_device *pci,
			 unsigned int index)
{
	struct pci_bar *bar = &pci->bar[index];
	struct pci_window *window = window_of(bus, bar);
	unsigned int width = bar->is_64bit ? 8 : 4;
	uint64_t kind = bar->is_io    ? PCI_BASE_ADDRESS_SPACE_IO :
			bar->is_64bit ? PCI_BASE_ADDRESS_MEM_TYPE_64 :
					PCI_BASE_ADDRESS_MEM_TYPE_32;
	uint64_t base;
	int err;

	if (!is_power_of_two(bar->size) || bar->size < PCI_BAR_MIN_BYTES)
		return -EINVAL;
	base = align_up(window->next, bar->size);
	if (base < window->next || base > window->end ||
	    bar->size > window->end - base)
		return -ENOSPC;
	bar->region.len = bar->size;
	err = bus_register(window->bus, &bar->region);
	if (err)
		return err;
	bytes_put(pci->config, BAR_REGISTER(index), base | kind, width);
	/* What sizing reads back: the bits below the size are 0. */
	bytes_put(pci->writable, BAR_REGISTER(index), ~(bar->size - 1), width);
	if (bar->is_io) {
		pci->writable[PCI_COMMAND] |= PCI_COMMAND_IO;
		pci->config[PCI_COMMAND] |= PCI_COMMAND_IO;
	}
	window->next = base + bar->size;
	return 0;
}

static int pci_place_bars(struct pci_bus *bus, struct pci_device *pci)
{
	int err = 0;

	for (unsigned int i = 0; i < PCI_STD_NUM_BARS && !err; i++)
		if (pci->bar[i].size)
			err = pci_place_bar(bus, pci, i);
	return err;
}

bool pci_has_ports(const struct pci_bus *bus)
{
	return bus->ports.end > bus->ports.base;
}

int pci_register(struct pci_bus *bus, struct pci_device *pci)
{
	unsigned int slot = 0;
	int err;

	while (slot < PCI_SLOTS && bus->slot[slot])
		slot++;
	if (slot == PCI_SLOTS)
		return -ENOSPC;
	err = pci_place_bars(bus, pci);
	if (err)
		return err;
	pci->bus = bus;
	pci->slot = slot;
	if (pci->config[PCI_INTERRUPT_PIN])
		bytes_put(pci->config, PCI_INTERRUPT_LINE, pci_slot_gsi(slot),
			  1);
	pci->config[PCI_COMMAND] |= PCI_COMMAND_MEMORY;
	memcpy(pci->initial, pci->config, sizeof(pci->initial));

	pthread_mutex_lock(&bus->lock);
	bus->slot[slot] = pci;
	pci_update_bars_locked(bus);
	pthread_mutex_unlock(&bus->lock);
	return 0;
}

void pci_unregister(struct pci_device *pci)
{
	struct pci_bus *bus = pci->bus;

	pthread_mutex_lock(&bus->lock);
	bytes_put(pci->config, PCI_COMMAND, 0, 2);
	pci_update_bars_locked(bus);
	pci_set_intx_locked(pci, false);
	bus->slot[pci->slot] = NULL;
	pthread_mutex_unlock(&bus->lock);
}

void pci_device_reset(struct pci_device *pci)
{
	pthread_mutex_lock(&pci->bus->lock);
	memcpy(pci->config, pci->initial, sizeof(pci->config));
	pci_set_intx_locked(pci, false);
	pci_update_bars_locked(pci->bus);
	pthread_mutex_unlock(&pci->bus->lock);
}

/* ---- the host bridge ---------------------------------------------------- */

static int pci_map_windows(struct pci_bus *bus, const struct resource *ports,
			   const struct resource *ecam)
{
	struct machine *machine = bus->machine;
	int err;

	bus->config_ports = (struct bus_region) {
		.name = "pci-config",
		.ops = &pci_ports_ops,
		.opaque = bus,
	};
	bus->ecam = (struct bus_region) {
		.name = "pci-ecam",
		.ops = &pci_ecam_ops,
		.opaque = bus,
	};
	err = machine_map(machine, ports, &bus->config_ports);
	if (err)
		return err;
	err = machine_map(machine, ecam, &bus->ecam);
	if (err)
		bus_unmap(&bus->config_ports);
	return err;
}

static void window_init(struct pci_window *window, struct bus *bus,
			const struct resource *res)
{
	window->bus = bus;
	if (!res)
		return;
	window->base = res->base;
	window->next = res->base;
	window->end = res->base + res->len;
}

static int pci_host_create(struct machine *machine, const void *config,
			   struct device **out)
{
	static const struct pci_identity bridge = {
		.vendor = BRIDGE_VENDOR,
		.device = BRIDGE_DEVICE,
		.class_code = BRIDGE_CLASS,
	};
	const struct resource *ports =
		machine_find_resource(machine, RESOURCE_PCI_CONFIG_PORTS, 0);
	const struct resource *ecam =
		machine_find_resource(machine, RESOURCE_PCI_ECAM, 0);
	const struct resource *window =
		machine_find_resource(machine, RESOURCE_PCI_MMIO, 0);
	struct pci_bus *bus;
	int err;

	(void)config;
	if (!ports || !ecam || !window)
		return -EINVAL;
	bus = calloc(1, sizeof(*bus));
	if (!bus)
		return -ENOMEM;
	bus->device.type = &pci_host_type;
	memcpy(bus->device.name, "pci", sizeof("pci"));
	bus->machine = machine;
	window_init(&bus->memory, &machine->mmio, window);
	window_init(&bus->ports, &machine->pio,
		    machine_find_resource(machine, RESOURCE_PCI_PORTS, 0));
	pthread_mutex_init(&bus->lock, NULL);

	pci_device_init(&bus->bridge, &bridge);
	bus->bridge.config[PCI_INTERRUPT_PIN] = 0;
	err = pci_register(bus, &bus->bridge);
	if (err)
		goto free_bus;
	err = pci_map_windows(bus, ports, ecam);
	if (err)
		goto free_bus;
	machine->pci = bus;
	bus->device.place.pci = &bus->bridge;
	*out = &bus->device;
	return 0;

free_bus:
	pthread_mutex_destroy(&bus->lock);
	free(bus);
	return err;
}

static void pci_host_destroy(struct device *device)
{
	struct pci_bus *bus = container_of(device, struct pci_bus, device);

	bus->machine->pci = NULL;
	bus_unmap(&bus->ecam);
	bus_unmap(&bus->config_ports);
	pthread_mutex_destroy(&bus->lock);
	free(bus);
}

static void pci_host_reset(struct device *device)
{
	struct pci_bus *bus = container_of(device, struct pci_bus, device);

	pthread_mutex_lock(&bus->lock);
	state_reset(&pci_host_state, bus);
	pthread_mutex_unlock(&bus->lock);
	/* The bridge's header is not all zero. */
	pci_device_reset(&bus->bridge);
}

const struct device_type pci_host_type = {
	.name = "pci-host",
	.create = pci_host_create,
	.destroy = pci_host_destroy,
	.reset = pci_host_reset,
	.state = &pci_host_state,
};
