/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For the tests of virtio/pci.c: a machine with a fake virtio device in slot 1,
 * driven as a guest drives it, through the ECAM window and the BAR. KVM's side
 * is the ioctl() in here.
 */
#ifndef TESTS_VIRTIO_PCI_H
#define TESTS_VIRTIO_PCI_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <linux/kvm.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>

#include <lkvm/virtio.h>

#include "pci-host.h"

#define QUEUES 2
#define MSI_DATA 0x40 /* of vector 0 */
#define QUEUE_SIZE 64
#define CONFIG_BYTES 10
#define RING 0x1000 /* queue n's areas: RING + n * 0x4000 */
#define DRIVER_STATUS                                           \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | \
	 VIRTIO_CONFIG_S_FEATURES_OK)

/* What KVM was asked for. */
static bool line_level[IRQ_NR_LINES];
static struct {
	unsigned int routes;
	uint32_t msi_data; /* of the last route */
	int irqfd[QUEUES + 1]; /* by data, see enable_msix() */
	unsigned int ioeventfds;
	uint64_t ioeventfd_addr[16];
	bool refuse_ioeventfds;
} seen;

static inline int see_ioeventfd(const struct kvm_ioeventfd *event)
{
	unsigned int i = 0;

	assert_int_equal(event->len, 0);
	if (!(event->flags & KVM_IOEVENTFD_FLAG_DEASSIGN)) {
		if (seen.refuse_ioeventfds || seen.ioeventfds == 16) {
			errno = ENOSPC;
			return -1;
		}
		seen.ioeventfd_addr[seen.ioeventfds++] = event->addr;
		return 0;
	}
	while (i < seen.ioeventfds && seen.ioeventfd_addr[i] != event->addr)
		i++;
	if (i == seen.ioeventfds) {
		errno = ENOENT;
		return -1;
	}
	seen.ioeventfd_addr[i] = seen.ioeventfd_addr[--seen.ioeventfds];
	return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
	const struct kvm_irq_routing *routing;
	const struct kvm_irq_level *line;
	const struct kvm_irqfd *irqfd;
	va_list args;
	void *arg;

	assert_int_equal(fd, FAKE_VM_FD);
	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	switch (request) {
	case KVM_IRQ_LINE:
		line = arg;
		line_level[line->irq] = line->level;
		return 0;
	case KVM_IOEVENTFD:
		return see_ioeventfd(arg);
	case KVM_SET_GSI_ROUTING:
		routing = arg;
		seen.routes = routing->nr;
		if (routing->nr)
			seen.msi_data =
				routing->entries[routing->nr - 1].u.msi.data;
		return 0;
	case KVM_IRQFD:
		irqfd = arg;
		if (!(irqfd->flags & KVM_IRQFD_FLAG_DEASSIGN))
			seen.irqfd[seen.msi_data - MSI_DATA] = (int)irqfd->fd;
		return 0;
	default:
		return 0;
	}
}

struct setup {
	struct machine machine;
	struct device *host;
	struct virtio_device vdev;
	int fd[QUEUES]; /* attached by activate() when with_fds */
	bool with_fds;
	bool plugged;
	unsigned int activations, deactivations;
	unsigned int notified[QUEUES];
	uint8_t written[CONFIG_BYTES];
};

static inline struct setup *to_setup(struct virtio_device *vdev)
{
	return container_of(vdev, struct setup, vdev);
}

static inline int fake_activate(struct virtio_device *vdev, uint64_t features)
{
	struct setup *s = to_setup(vdev);

	(void)features;
	s->activations++;
	for (unsigned int i = 0; s->with_fds && i < QUEUES; i++)
		assert_int_equal(virtio_device_notify_fd(vdev, i, s->fd[i]), 0);
	return 0;
}

static inline void fake_deactivate(struct virtio_device *vdev)
{
	struct setup *s = to_setup(vdev);

	s->deactivations++;
	for (unsigned int i = 0; i < QUEUES; i++)
		virtio_device_notify_fd(vdev, i, -1);
}

static inline void fake_handle_queue(struct virtio_device *vdev,
				     unsigned int index)
{
	assert_in_range(index, 0, QUEUES - 1);
	to_setup(vdev)->notified[index]++;
}

static inline void fake_config_write(struct virtio_device *vdev,
				     unsigned int offset, const void *data,
				     unsigned int len)
{
	assert_true(offset + len <= CONFIG_BYTES);
	memcpy(to_setup(vdev)->written + offset, data, len);
}

static const struct virtio_device_ops fake_ops = {
	.id = VIRTIO_ID_RNG,
	.pci_class = 0xff1234,
	.activate = fake_activate,
	.deactivate = fake_deactivate,
	.handle_queue = fake_handle_queue,
	.config_write = fake_config_write,
};

static const struct device_type fake_type = { .name = "fake" };

static inline void plug(struct setup *s, unsigned int nr_queues,
			unsigned int config_len)
{
	virtio_device_init(&s->vdev, &s->machine, &fake_type, &fake_ops,
			   BIT_ULL(40) | 1, nr_queues, QUEUE_SIZE);
	memcpy(s->vdev.device.name, "fake0", 6);
	s->vdev.config_len = config_len;
	for (unsigned int i = 0; i < config_len; i++)
		s->vdev.config[i] = (uint8_t)(0x10 + i);
	assert_int_equal(virtio_device_plug(&s->vdev), 0);
	s->plugged = true;
}

static inline int setup_machine(void **state)
{
	struct setup *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	memset(&seen, 0, sizeof(seen));
	memset(line_level, 0, sizeof(line_level));
	memory_init(&s->machine.memory, -1);
	assert_int_equal(memory_add_ram(&s->machine.memory, 0, 0x10000), 0);
	s->host = pci_machine_init(&s->machine);
	s->machine.virtio_transport = &virtio_pci_transport;
	for (unsigned int i = 0; i < QUEUES; i++)
		s->fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	*state = s;
	return 0;
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

static inline uint64_t get(struct setup *s, uint64_t addr, unsigned int len)
{
	uint64_t value;

	bus_read(&s->machine.mmio, NULL, addr, len, &value);
	return len == 8 ? value : value & ((1ULL << (8 * len)) - 1);
}

static inline void put(struct setup *s, uint64_t addr, uint64_t value,
		       unsigned int len)
{
	bus_write(&s->machine.mmio, NULL, addr, len, value);
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

static inline void signal_queue(struct setup *s, unsigned int index)
{
	s->vdev.transport_ops->signal_queue(s->vdev.transport,
					    &s->vdev.queue[index]);
}

static inline void signal_config(struct setup *s)
{
	s->vdev.transport_ops->signal_config(s->vdev.transport);
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
