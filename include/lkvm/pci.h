/* SPDX-License-Identifier: GPL-2.0 */
/*
 * PCI: one host bridge, bus 0, 32 slots of one function each (PCI Local Bus
 * 3.0; configuration mechanism #1 by ports 0xCF8/0xCFC, and ECAM of PCI
 * Express 5.0, 7.2.2).
 *
 * A function's configuration space is a byte array with a mask of the bits
 * that a guest may write; the bus implements everything that is common (BARs
 * and their moves, command register, capabilities, INTx). All guest access is
 * bounded here.
 */
#ifndef LKVM_PCI_H
#define LKVM_PCI_H

#include <linux/pci_regs.h>
#include <stdbool.h>
#include <stdint.h>

#include <lkvm/bus.h>
#include <lkvm/device.h>

struct machine;
struct pci_bus;
struct pci_device;

#define PCI_SLOTS 32
#define PCI_BAR_MIN_BYTES 16U

struct pci_bar {
	uint64_t size; /* power of two; 0: not implemented */
	bool is_64bit; /* takes the next BAR's register as well */
	bool is_io; /* in ports */
	struct bus_region region; /* ops, opaque, name set by the owner */
	bool mapped; /* the bus's own, guarded by its lock */
};

struct pci_device {
	/*
	 * Called after a guest wrote [@offset, @offset + @len) of the
	 * configuration space, and the bytes that may change have changed.
	 * vCPU's thread, with no lock held. May be NULL.
	 */
	void (*config_written)(struct pci_device *pci, unsigned int offset,
			       unsigned int len);
	/*
	 * Called before a guest reads, so that a window register can be
	 * refreshed (virtio's PCI_CAP_PCI_CFG). May be NULL.
	 */
	void (*config_reading)(struct pci_device *pci, unsigned int offset,
			       unsigned int len);
	/*
	 * BAR @bar was mapped at a new address, or unmapped (@mapped false);
	 * for ioeventfds, which name addresses. @base is the address that it
	 * has, or had. With the bus's lock held. May be NULL.
	 */
	void (*bar_moved)(struct pci_device *pci, unsigned int bar,
			  uint64_t base, bool mapped);
	struct pci_bar bar[PCI_STD_NUM_BARS];

	/* the bus's own */
	struct pci_bus *bus;
	unsigned int slot;
	uint8_t config[PCI_CFG_SPACE_SIZE]; /* guarded by the bus's lock */
	uint8_t writable[PCI_CFG_SPACE_SIZE]; /* fixed after pci_register() */
	uint8_t initial[PCI_CFG_SPACE_SIZE]; /* what reset restores */
	unsigned int capability_end; /* first free byte */
	bool line_asserted; /* guarded by the bus's lock */
};

/* Identity of a function, as its header shows it. */
struct pci_identity {
	uint16_t vendor, device;
	uint16_t subsystem_vendor, subsystem;
	uint32_t class_code; /* 24 bits: class, subclass, interface */
	uint8_t revision;
};

/* The host bridge with its configuration ports and ECAM window. */
extern const struct device_type pci_host_type;

/*
 * Fill @pci's header. Callbacks and bar[] are set by the caller between this
 * and pci_register().
 */
void pci_device_init(struct pci_device *pci, const struct pci_identity *id);

/*
 * Add a capability of @len bytes (its two header bytes included) before
 * registration. Returns its offset, or -ENOSPC. @writable_mask (may be NULL)
 * has @len bytes.
 */
int pci_add_capability(struct pci_device *pci, uint8_t id, const void *data,
		       unsigned int len, const uint8_t *writable_mask);

/*
 * Plug @pci into the next free slot, place its BARs in the windows, and enable
 * decoding (a kernel with pci=off or without PCI firmware support finds them
 * working). Returns 0, -ENOSPC (no slot, no room) or -EINVAL (a BAR's size);
 * after an error, @bus can be destroyed and no more. Main thread, before vCPUs
 * run.
 */
int pci_register(struct pci_bus *bus, struct pci_device *pci);

/* Does @bus have ports to place I/O BARs at? */
bool pci_has_ports(const struct pci_bus *bus);

/* Unmap the BARs and leave the slot. vCPUs are gone. */
void pci_unregister(struct pci_device *pci);

/* Configuration space, BAR placement and line as after pci_register(). */
void pci_device_reset(struct pci_device *pci);

/*
 * Read or replace @len (1, 2 or 4) bytes of the configuration space at
 * @offset, whatever a guest may write there. Any thread; takes the bus's lock,
 * so not from bar_moved().
 */
uint32_t pci_config_get(struct pci_device *pci, unsigned int offset,
			unsigned int len);
void pci_config_set(struct pci_device *pci, unsigned int offset, uint32_t value,
		    unsigned int len);

/*
 * Drive INTA (level), through the slot's GSI, unless the command register
 * disables it. Any thread.
 */
void pci_set_intx(struct pci_device *pci, bool level);

/* GSI of INTA of @slot: for the _PRT and the MP table. */
uint32_t pci_slot_gsi(unsigned int slot);
#define PCI_FIRST_GSI 16
#define PCI_NR_GSIS 8

#endif
