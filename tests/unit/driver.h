/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A driver and a transport for any virtio device, in RAM without KVM: for the
 * tests of devices.
 *
 * Queue q's descriptor i has its buffer at driver_data(q, i); the driver
 * offers chains of the descriptors that it has set.
 */
#ifndef TESTS_UNIT_DRIVER_H
#define TESTS_UNIT_DRIVER_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include <lkvm/machine.h>
#include <lkvm/util.h>
#include <lkvm/virtio.h>

#define DRIVER_RAM (32 * MIB)
#define DRIVER_RING(q) (0x8000ULL * (q))
#define DRIVER_DESC 0
#define DRIVER_AVAIL 0x4000
#define DRIVER_USED 0x5000
#define DRIVER_DATA (2 * MIB)

/* What each descriptor's buffer may have. */
#define DRIVER_BUFFER (8 * KIB)
#define DRIVER_BUFFERS 64 /* of a queue; descriptors beyond share them */

struct driver {
	struct machine machine;
	struct virtio_transport transport;
	struct virtio_device *vdev;
	uint8_t *ram;
	uint16_t size; /* of every queue */
	uint16_t avail_idx[VIRTIO_MAX_QUEUES];
	uint16_t seen[VIRTIO_MAX_QUEUES]; /* used elements that were taken */
	int notify_fd[VIRTIO_MAX_QUEUES];
	unsigned int attach_fails; /* queue whose notify_fd is refused, + 1 */
	sem_t signalled;
	_Atomic unsigned int signals, config_signals;
};

static inline void driver_signal_queue(void *transport, struct virtq *vq)
{
	struct driver *d = transport;

	(void)vq;
	atomic_fetch_add(&d->signals, 1);
	sem_post(&d->signalled);
}

static inline void driver_signal_config(void *transport)
{
	struct driver *d = transport;

	atomic_fetch_add(&d->config_signals, 1);
	sem_post(&d->signalled);
}

static inline int driver_attach_notify(void *transport, unsigned int index,
				       int fd)
{
	struct driver *d = transport;

	assert_in_range(index, 0, d->vdev->nr_queues - 1);
	if (d->attach_fails == index + 1)
		return -ENOSPC;
	d->notify_fd[index] = fd;
	return 0;
}

static inline void driver_detach_notify(void *transport, unsigned int index,
					int fd)
{
	struct driver *d = transport;

	if (d->notify_fd[index] != fd)
		abort();
	d->notify_fd[index] = -1;
}

static inline void driver_nothing(void *transport)
{
	(void)transport;
}

static const struct virtio_transport_ops driver_transport_ops = {
	.signal_queue = driver_signal_queue,
	.signal_config = driver_signal_config,
	.attach_notify = driver_attach_notify,
	.detach_notify = driver_detach_notify,
	.destroy = driver_nothing,
	.reset = driver_nothing,
};

static inline int driver_attach(struct machine *machine,
				struct virtio_device *vdev)
{
	struct driver *d = container_of(machine, struct driver, machine);

	vdev->transport_ops = &driver_transport_ops;
	vdev->transport = d;
	d->vdev = vdev;
	return 0;
}

/* Instead of driver_attach(): no place for the device. */
static inline int driver_attach_refused(struct machine *machine,
					struct virtio_device *vdev)
{
	(void)machine;
	(void)vdev;
	return -ENOSPC;
}

/* The zeroed @d gets @bytes of RAM, and its machine a transport. */
static inline void driver_init_ram(struct driver *d, uint64_t bytes)
{
	log_set_level(LOG_LEVEL_ERROR);
	memory_init(&d->machine.memory, -1);
	assert_int_equal(memory_add_ram(&d->machine.memory, 0, bytes), 0);
	d->ram = guest_map(&d->machine.memory, 0, bytes);
	d->size = 256;
	d->transport.attach = driver_attach;
	d->machine.virtio_transport = &d->transport;
	for (unsigned int i = 0; i < VIRTIO_MAX_QUEUES; i++)
		d->notify_fd[i] = -1;
	sem_init(&d->signalled, 0, 0);
}

static inline void driver_init(struct driver *d)
{
	driver_init_ram(d, DRIVER_RAM);
}

/* The device is gone. */
static inline void driver_release(struct driver *d)
{
	sem_destroy(&d->signalled);
	memory_release(&d->machine.memory);
}

static inline struct vring_desc *driver_desc(struct driver *d, unsigned int q)
{
	return (struct vring_desc *)(d->ram + DRIVER_RING(q) + DRIVER_DESC);
}

static inline struct vring_avail *driver_avail(struct driver *d, unsigned int q)
{
	return (struct vring_avail *)(d->ram + DRIVER_RING(q) + DRIVER_AVAIL);
}

static inline struct vring_used *driver_used(struct driver *d, unsigned int q)
{
	return (struct vring_used *)(d->ram + DRIVER_RING(q) + DRIVER_USED);
}

static inline uint64_t driver_data_gpa(unsigned int q, unsigned int i)
{
	return DRIVER_DATA +
	       (q * DRIVER_BUFFERS + i % DRIVER_BUFFERS) * DRIVER_BUFFER;
}

static inline uint8_t *driver_data(struct driver *d, unsigned int q,
				   unsigned int i)
{
	return d->ram + driver_data_gpa(q, i);
}

static inline void driver_set_queue(struct driver *d, unsigned int q)
{
	memset(driver_avail(d, q), 0, sizeof(struct vring_avail));
	memset(driver_used(d, q), 0, sizeof(struct vring_used));
	d->avail_idx[q] = 0;
	d->seen[q] = 0;
	virtio_device_set_queue(d->vdev, q, VIRTQ_REG_DESC,
				DRIVER_RING(q) + DRIVER_DESC);
	virtio_device_set_queue(d->vdev, q, VIRTQ_REG_DRIVER,
				DRIVER_RING(q) + DRIVER_AVAIL);
	virtio_device_set_queue(d->vdev, q, VIRTQ_REG_DEVICE,
				DRIVER_RING(q) + DRIVER_USED);
	virtio_device_set_queue(d->vdev, q, VIRTQ_REG_SIZE, d->size);
	virtio_device_set_queue(d->vdev, q, VIRTQ_REG_READY, 1);
}

/* Agree on @features and VERSION_1. */
static inline void driver_negotiate(struct driver *d, uint64_t features)
{
	features |= BIT_ULL(VIRTIO_F_VERSION_1);
	virtio_device_set_features(d->vdev, 0, (uint32_t)features);
	virtio_device_set_features(d->vdev, 1, (uint32_t)(features >> 32));
	virtio_device_set_status(d->vdev, VIRTIO_CONFIG_S_FEATURES_OK);
	assert_int_equal(virtio_device_get_status(d->vdev),
			 VIRTIO_CONFIG_S_FEATURES_OK);
}

/* The same, and set up all queues; not yet run. */
static inline void driver_set_up(struct driver *d, uint64_t features)
{
	driver_negotiate(d, features);
	for (unsigned int q = 0; q < d->vdev->nr_queues; q++)
		driver_set_queue(d, q);
}

static inline void driver_start(struct driver *d)
{
	virtio_device_set_status(d->vdev, VIRTIO_CONFIG_S_DRIVER_OK);
}

static inline bool driver_broken(struct driver *d)
{
	return virtio_device_get_status(d->vdev) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* All of it, and the device must run then. */
static inline void driver_run(struct driver *d, uint64_t features)
{
	driver_set_up(d, features);
	driver_start(d);
	assert_int_equal(virtio_device_get_status(d->vdev),
			 VIRTIO_CONFIG_S_FEATURES_OK |
				 VIRTIO_CONFIG_S_DRIVER_OK);
}

static inline void driver_reset(struct driver *d)
{
	virtio_device_set_status(d->vdev, 0);
}

/* Descriptor @i with a buffer anywhere. */
static inline void driver_put_desc(struct driver *d, unsigned int q,
				   unsigned int i, uint64_t addr, uint32_t len,
				   unsigned int flags, unsigned int next)
{
	driver_desc(d, q)[i] = (struct vring_desc) {
		.addr = htole64(addr),
		.len = htole32(len),
		.flags = htole16((uint16_t)flags),
		.next = htole16((uint16_t)next),
	};
}

static inline void driver_set_desc(struct driver *d, unsigned int q,
				   unsigned int i, uint32_t len,
				   unsigned int flags, unsigned int next)
{
	driver_put_desc(d, q, i, driver_data_gpa(q, i), len, flags, next);
}

/* Make the chain that begins with @head available; no notification. */
static inline void driver_offer(struct driver *d, unsigned int q,
				unsigned int head)
{
	struct vring_avail *avail = driver_avail(d, q);

	__atomic_store_n(&avail->ring[d->avail_idx[q] % d->size],
			 htole16((uint16_t)head), __ATOMIC_RELAXED);
	d->avail_idx[q]++;
	__atomic_store_n(&avail->idx, htole16(d->avail_idx[q]),
			 __ATOMIC_SEQ_CST);
}

static inline void driver_kick(struct driver *d, unsigned int q)
{
	assert_int_equal(eventfd_write(d->notify_fd[q], 1), 0);
}

static inline uint16_t driver_used_idx(struct driver *d, unsigned int q)
{
	return le16toh(
		__atomic_load_n(&driver_used(d, q)->idx, __ATOMIC_SEQ_CST));
}

static inline uint16_t driver_used_flags(struct driver *d, unsigned int q)
{
	return le16toh(
		__atomic_load_n(&driver_used(d, q)->flags, __ATOMIC_RELAXED));
}

/* Wait for the next used chain; returns its head, and its length in @len. */
static inline unsigned int driver_wait(struct driver *d, unsigned int q,
				       uint32_t *len)
{
	const struct vring_used_elem *elem =
		&driver_used(d, q)->ring[d->seen[q] % d->size];

	while (driver_used_idx(d, q) == d->seen[q])
		sem_wait(&d->signalled);
	d->seen[q]++;
	if (len)
		*len = le32toh(__atomic_load_n(&elem->len, __ATOMIC_RELAXED));
	return le32toh(__atomic_load_n(&elem->id, __ATOMIC_RELAXED));
}

/* Wait until all that was offered is used; returns the last one's length. */
static inline uint32_t driver_wait_all(struct driver *d, unsigned int q)
{
	uint32_t len = 0;

	while (d->seen[q] != d->avail_idx[q])
		driver_wait(d, q, &len);
	return len;
}

static inline void driver_wait_broken(struct driver *d)
{
	while (!driver_broken(d))
		sem_wait(&d->signalled);
}

struct wanted_count {
	const char *name;
	uint64_t count;
	bool found;
};

static inline void look_for_count(struct stats_sink *sink, const char *who,
				  const char *what, uint64_t count)
{
	struct wanted_count *wanted = sink->opaque;

	(void)who;
	if (strcmp(what, wanted->name) != 0)
		return;
	wanted->count = count;
	wanted->found = true;
}

/* A number out of a device's rows of --stats. */
static inline uint64_t driver_counter(struct device *device, const char *name)
{
	struct wanted_count wanted = { .name = name };
	struct stats_sink sink = { .row = look_for_count, .opaque = &wanted };

	device->type->stats(device, &sink);
	assert_true(wanted.found);
	return wanted.count;
}

#endif
