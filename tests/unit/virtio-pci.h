/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For the tests of virtio/pci.c: a machine with a fake virtio device in slot 1,
 * driven as a guest drives it, through the ECAM window and the BAR.
 */
#ifndef TESTS_VIRTIO_PCI_H
#define TESTS_VIRTIO_PCI_H

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

#include "pci-host.h"
#include "virtio-fake.h"

static inline int setup_board(void **state, bool with_ports)
{
	struct setup *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	memset(&seen, 0, sizeof(seen));
	memset(line_level, 0, sizeof(line_level));
	memory_init(&s->machine.memory, -1);
	assert_int_equal(memory_add_ram(&s->machine.memory, 0, 0x10000), 0);
	if (with_ports)
		pci_machine_with_ports(&s->machine);
	s->host = pci_machine_init(&s->machine);
	s->machine.virtio_transport = &virtio_pci_transport;
	for (unsigned int i = 0; i < QUEUES; i++)
		s->fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	*state = s;
	return 0;
}

static inline int setup_machine(void **state)
{
	return setup_board(state, false);
}

static inline int setup(void **state)
{
	setup_machine(state);
	plug(*state, QUEUES, CONFIG_BYTES);
	return 0;
}

static inline int teardown(void **state)
{
	struct setup *s = *state;

	if (s->plugged) {
		virtio_device_set_status(&s->vdev, 0);
		virtio_device_release(&s->vdev);
	}
	/* Nothing stays behind in KVM. */
	assert_int_equal(seen.ioeventfds, 0);
	assert_int_equal(seen.routes, 0);
	for (unsigned int i = 0; i < QUEUES; i++)
		close(s->fd[i]);
	pci_machine_release(&s->machine, s->host);
	memory_release(&s->machine.memory);
	free(s);
	return 0;
}

/* Address in configuration space of the structure's capability, or 0. */
static inline uint64_t find_capability(struct setup *s, uint8_t id,
				       uint8_t type)
{
	uint64_t at = get(s, FUNCTION + PCI_CAPABILITY_LIST, 1);

	while (at) {
		if (get(s, FUNCTION + at, 1) == id &&
		    (id != PCI_CAP_ID_VNDR ||
		     get(s, FUNCTION + at + VIRTIO_PCI_CAP_CFG_TYPE, 1) ==
			     type))
			return FUNCTION + at;
		at = get(s, FUNCTION + at + PCI_CAP_LIST_NEXT, 1);
	}
	return 0;
}

static inline uint64_t virtio_capability(struct setup *s, uint8_t type)
{
	return find_capability(s, PCI_CAP_ID_VNDR, type);
}

static inline uint64_t msix_capability(struct setup *s)
{
	return find_capability(s, PCI_CAP_ID_MSIX, 0);
}

static inline uint64_t bar_address(struct setup *s)
{
	return get(s, FUNCTION + PCI_BASE_ADDRESS_0, 4) & 0xfffffff0;
}

static inline bool line(void)
{
	return line_level[pci_slot_gsi(1)];
}

/* Address of a structure in the BAR. */
static inline uint64_t structure(struct setup *s, uint8_t type)
{
	uint64_t cap = virtio_capability(s, type);

	assert_true(cap != 0);
	return bar_address(s) + get(s, cap + VIRTIO_PCI_CAP_OFFSET, 4);
}

static inline uint64_t common_get(struct setup *s, unsigned int reg,
				  unsigned int len)
{
	return get(s, structure(s, VIRTIO_PCI_CAP_COMMON_CFG) + reg, len);
}

static inline void common_put(struct setup *s, unsigned int reg, uint64_t value,
			      unsigned int len)
{
	put(s, structure(s, VIRTIO_PCI_CAP_COMMON_CFG) + reg, value, len);
}

#define GET(s, reg, len) common_get(s, VIRTIO_PCI_COMMON_##reg, len)
#define PUT(s, reg, value, len) \
	common_put(s, VIRTIO_PCI_COMMON_##reg, value, len)

static inline uint64_t notify_address(struct setup *s, unsigned int index)
{
	uint64_t cap = virtio_capability(s, VIRTIO_PCI_CAP_NOTIFY_CFG);

	PUT(s, Q_SELECT, index, 2);
	return structure(s, VIRTIO_PCI_CAP_NOTIFY_CFG) +
	       GET(s, Q_NOFF, 2) *
		       get(s, cap + sizeof(struct virtio_pci_cap), 4);
}

static inline void negotiate(struct setup *s)
{
	PUT(s, STATUS, 0, 1);
	PUT(s, STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER, 1);
	PUT(s, GFSELECT, 1, 4);
	PUT(s, GF, 1, 4); /* VERSION_1 */
	PUT(s, STATUS, DRIVER_STATUS, 1);
	assert_int_equal(GET(s, STATUS, 1), DRIVER_STATUS);
}

/* Bring the device up as a driver does; queue n has vector n + 1. */
static inline void start(struct setup *s)
{
	negotiate(s);
	PUT(s, MSIX, 0, 2);
	for (unsigned int i = 0; i < QUEUES; i++) {
		uint64_t ring = RING + i * 0x4000;

		PUT(s, Q_SELECT, i, 2);
		PUT(s, Q_MSIX, i + 1, 2);
		PUT(s, Q_DESCLO, ring, 4);
		PUT(s, Q_DESCHI, 0, 4);
		PUT(s, Q_AVAILLO, ring + 0x1000, 4);
		PUT(s, Q_AVAILHI, 0, 4);
		PUT(s, Q_USEDLO, ring + 0x2000, 8);
		PUT(s, Q_ENABLE, 1, 2);
	}
	PUT(s, STATUS, DRIVER_STATUS | VIRTIO_CONFIG_S_DRIVER_OK, 1);
	assert_int_equal(s->activations, s->deactivations + 1);
}

static inline void enable_msix(struct setup *s)
{
	uint64_t cap = msix_capability(s);
	uint64_t table = bar_address(s) + (get(s, cap + PCI_MSIX_TABLE, 4) &
					   PCI_MSIX_TABLE_OFFSET);

	for (unsigned int i = 0; i <= QUEUES; i++) {
		put(s, table + i * 16, 0xfee00000, 8);
		put(s, table + i * 16 + 8, MSI_DATA + i, 8);
	}
	put(s, cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_UNPLUGGED(name) \
	cmocka_unit_test_setup_teardown(name, setup_machine, teardown)

#endif
