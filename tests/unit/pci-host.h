/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A machine with a host bridge and nothing behind it: for the tests of PCI,
 * MSI-X and virtio over PCI. KVM's side is each test's own ioctl(), which
 * stands in for the C library's.
 */
#ifndef TESTS_UNIT_PCI_HOST_H
#define TESTS_UNIT_PCI_HOST_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <lkvm/machine.h>
#include <lkvm/pci.h>

#define FAKE_VM_FD 1000
#define PORTS 0xcf8
#define ECAM 0xc0000000ULL
#define FUNCTION (ECAM + 0x8000) /* slot 1: the first behind the bridge */
#define WINDOW 0xd0000000ULL
#define WINDOW_BYTES 0x100000ULL
#define IO_WINDOW 0xc000
#define IO_WINDOW_BYTES 0x100

int ioctl(int fd, unsigned long request, ...);

/* Before pci_machine_init(): a board with ports for I/O BARs. */
static inline void pci_machine_with_ports(struct machine *machine)
{
	static const struct resource ports = {
		RESOURCE_PCI_PORTS, true, 0, IO_WINDOW, IO_WINDOW_BYTES, 0
	};

	assert_int_equal(machine_add_resource(machine, &ports), 0);
}

static inline struct device *pci_machine_init(struct machine *machine)
{
	static const struct resource resources[] = {
		{ RESOURCE_PCI_CONFIG_PORTS, true, 0, PORTS, 8, 0 },
		{ RESOURCE_PCI_ECAM, false, 0, ECAM, MIB, 0 },
		{ RESOURCE_PCI_MMIO, false, 0, WINDOW, WINDOW_BYTES, 0 },
	};
	struct device *host;

	bus_init(&machine->pio);
	bus_init(&machine->mmio);
	assert_int_equal(irq_init(&machine->irq, FAKE_VM_FD), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(resources); i++)
		assert_int_equal(machine_add_resource(machine, &resources[i]),
				 0);
	assert_int_equal(pci_host_type.create(machine, NULL, &host), 0);
	return host;
}

static inline void pci_machine_release(struct machine *machine,
				       struct device *host)
{
	pci_host_type.destroy(host);
	assert_null(machine->pci);
	irq_release(&machine->irq);
	bus_release(&machine->mmio);
	bus_release(&machine->pio);
}

#endif
