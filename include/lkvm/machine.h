/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The machine as its devices see it: memory, buses, interrupts, the resources
 * they occupy, and whom to tell when the guest powers off.
 *
 * Part of struct vm; lower layers know this much of it and no more.
 */
#ifndef LKVM_MACHINE_H
#define LKVM_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include <lkvm/bus.h>
#include <lkvm/chardev.h>
#include <lkvm/device.h>
#include <lkvm/irq.h>
#include <lkvm/memory.h>

struct board;
struct loop;
struct machine;
struct pci_bus;
struct virtio_transport;

/* What a piece of the machine is, for those who describe it to a guest. */
enum resource_kind {
	RESOURCE_SERIAL,
	RESOURCE_RTC,
	RESOURCE_KEYBOARD, /* i8042: ports base and base + 4 */
	RESOURCE_POWER, /* sleep, reset and event registers: see hw.h */
	RESOURCE_PVPANIC,
	RESOURCE_DEBUG_EXIT,
	RESOURCE_BOOT_TIMER,
	RESOURCE_PCI_CONFIG_PORTS,
	RESOURCE_PCI_ECAM,
	RESOURCE_PCI_MMIO, /* window for memory BARs */
	RESOURCE_PCI_PORTS, /* window for I/O BARs; not on all boards */
	RESOURCE_VIRTIO_PLACE, /* room for one of the next; not described */
	RESOURCE_VIRTIO_MMIO, /* a device of virtio/mmio.c */
};

#define RESOURCE_NO_GSI UINT32_MAX

/*
 * One neutral line of the machine's description: ACPI, MP table and device
 * tree are all written from these, and devices are created from them.
 */
struct resource {
	enum resource_kind kind;
	bool pio; /* base is a port, not an address */
	unsigned int index; /* counts the resources of one kind */
	uint64_t base;
	uint64_t len;
	uint32_t gsi; /* or RESOURCE_NO_GSI */
};

#define MACHINE_MAX_RESOURCES 128

#define MACHINE_SERIALS 4 /* UARTs that can have a host end */

/* Why a guest asks to stop, or the machine must. */
enum machine_event {
	MACHINE_POWEROFF, /* ACPI S5 */
	MACHINE_RESET, /* reset register, keyboard controller */
	MACHINE_PANIC, /* pvpanic */
	MACHINE_DEBUG_EXIT, /* detail: the byte written */
};

struct machine {
	struct guest_memory memory;
	struct bus pio;
	struct bus mmio;
	struct irq irq;
	struct loop *loop; /* the main thread's; not owned */
	struct board *board; /* the architecture's own */
	struct pci_bus *pci; /* NULL before the host bridge is created */
	const struct virtio_transport *virtio_transport;
	struct chardev *serial[MACHINE_SERIALS]; /* host ends of the UARTs; NULL: none */
	struct chardev *console; /* of the console port; NULL: none */

	unsigned int nr_resources; /* fixed once vCPUs run */
	struct resource resource[MACHINE_MAX_RESOURCES];

	struct device *devices; /* in order of creation */

	/*
	 * The guest asks for @event. Any thread, also under a device's lock:
	 * it only notes the request and wakes the main thread.
	 */
	void (*request)(struct machine *machine, enum machine_event event,
			unsigned int detail);
	/*
	 * The guest marks a moment of its boot (the boot-timer port), and the
	 * time is noted. Any thread.
	 */
	void (*boot_mark)(struct machine *machine, unsigned int value);
	/*
	 * Ask the guest to drop what it caches, because that keeps too much of
	 * the host: a shared folder's handles. Any thread, also under a
	 * device's lock. NULL: nobody in the guest could do that.
	 */
	void (*drop_caches)(struct machine *machine);

	/*
	 * The guest says that its balloon has @bytes now; a request to the disk
	 * called @device has failed with @err (-errno). Set by who wants to
	 * know, or NULL. Any thread, also under a device's lock.
	 */
	void (*balloon_changed)(struct machine *machine, uint64_t bytes);
	void (*disk_error)(struct machine *machine, const char *device,
			   bool write, int err);

	/* Set by the device that has a power button: press it. Any thread. */
	void (*power_button)(void *opaque);
	void *power_button_opaque;
};

/* How many devices of @type there are. Main thread. */
unsigned int machine_count(const struct machine *machine,
			   const struct device_type *type);

/* Returns 0 or -ENOSPC. Before vCPUs run. */
int machine_add_resource(struct machine *machine,
			 const struct resource *resource);

/* The resource of @kind with number @index, or NULL. */
const struct resource *machine_find_resource(const struct machine *machine,
					     enum resource_kind kind,
					     unsigned int index);

/*
 * Map @region, whose name, ops and opaque are set, where @resource says.
 * Main thread. Returns as bus_map(); bus_unmap() undoes it.
 */
int machine_map(struct machine *machine, const struct resource *resource,
		struct bus_region *region);

#endif
