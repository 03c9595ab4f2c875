/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtio device that notes what happens to it, and KVM's side as far as a
 * transport needs it: for the tests of virtio/pci.c and virtio/mmio.c.
 */
#ifndef TESTS_UNIT_VIRTIO_FAKE_H
#define TESTS_UNIT_VIRTIO_FAKE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <linux/kvm.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>

#include <lkvm/machine.h>
#include <lkvm/virtio.h>

#ifndef FAKE_VM_FD
#define FAKE_VM_FD 1000
int ioctl(int fd, unsigned long request, ...);
#endif

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
	struct kvm_ioeventfd ioeventfd[16];
	bool refuse_ioeventfds;
} seen;

static inline bool same_ioeventfd(const struct kvm_ioeventfd *a,
				  const struct kvm_ioeventfd *b)
{
	return a->addr == b->addr && a->len == b->len &&
	       a->datamatch == b->datamatch && a->fd == b->fd;
}

static inline int see_ioeventfd(const struct kvm_ioeventfd *event)
{
	unsigned int i = 0;

	if (!(event->flags & KVM_IOEVENTFD_FLAG_DEASSIGN)) {
		if (seen.refuse_ioeventfds || seen.ioeventfds == 16) {
			errno = ENOSPC;
			return -1;
		}
		seen.ioeventfd[seen.ioeventfds++] = *event;
		return 0;
	}
	while (i < seen.ioeventfds &&
	       !same_ioeventfd(&seen.ioeventfd[i], event))
		i++;
	if (i == seen.ioeventfds) {
		errno = ENOENT;
		return -1;
	}
	seen.ioeventfd[i] = seen.ioeventfd[--seen.ioeventfds];
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
	struct device *host; /* of PCI; NULL without */
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

static inline void signal_queue(struct setup *s, unsigned int index)
{
	s->vdev.transport_ops->signal_queue(s->vdev.transport,
					    &s->vdev.queue[index]);
}

static inline void signal_config(struct setup *s)
{
	s->vdev.transport_ops->signal_config(s->vdev.transport);
}

#endif
