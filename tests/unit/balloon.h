/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For test-balloon.c: a balloon with a driver and a transport that this file
 * plays, and RAM without KVM.
 */
#ifndef TESTS_UNIT_BALLOON_H
#define TESTS_UNIT_BALLOON_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <endian.h>
#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include <lkvm/machine.h>
#include <lkvm/util.h>
#include <lkvm/virtio.h>

#define PAGE 4096
#define RAM (4 * MIB)
#define PAGES (RAM / PAGE)
#define QUEUES 5
#define SIZE 128

/* Below this are the rings and lists; above, pages to be given up. */
#define RING(queue) (0x4000ULL * (queue))
#define AVAIL 0x1000
#define USED 0x2000
#define LIST 0x20000
#define FREE 0x100000
#define FIRST (FREE / PAGE)

#define WRITE VRING_DESC_F_WRITE
#define NEXT VRING_DESC_F_NEXT

#define F(name) BIT_ULL(VIRTIO_BALLOON_F_##name)
#define BASE BIT_ULL(VIRTIO_F_VERSION_1)

struct fixture {
	struct machine machine;
	struct virtio_transport transport;
	struct device *device;
	struct virtio_device *vdev;
	uint8_t *ram;
	uint16_t avail_idx[QUEUES];
	int notify_fd[QUEUES];
	sem_t signalled;
	_Atomic unsigned int config_signals;
};

/* ---- the transport ------------------------------------------------------- */

static inline void fake_signal_queue(void *transport, struct virtq *vq)
{
	struct fixture *f = transport;

	(void)vq;
	sem_post(&f->signalled);
}

static inline void fake_signal_config(void *transport)
{
	struct fixture *f = transport;

	atomic_fetch_add(&f->config_signals, 1);
	sem_post(&f->signalled);
}

static inline int fake_attach_notify(void *transport, unsigned int index,
				     int fd)
{
	struct fixture *f = transport;

	f->notify_fd[index] = fd;
	return 0;
}

static inline void fake_detach_notify(void *transport, unsigned int index,
				      int fd)
{
	struct fixture *f = transport;

	assert_int_equal(f->notify_fd[index], fd);
	f->notify_fd[index] = -1;
}

static inline void fake_nothing(void *transport)
{
	(void)transport;
}

static const struct virtio_transport_ops fake_ops = {
	.signal_queue = fake_signal_queue,
	.signal_config = fake_signal_config,
	.attach_notify = fake_attach_notify,
	.detach_notify = fake_detach_notify,
	.destroy = fake_nothing,
	.reset = fake_nothing,
};

static inline int fake_attach(struct machine *machine,
			      struct virtio_device *vdev)
{
	vdev->transport_ops = &fake_ops;
	vdev->transport = container_of(machine, struct fixture, machine);
	return 0;
}

static inline int fake_attach_fails(struct machine *machine,
				    struct virtio_device *vdev)
{
	(void)machine;
	(void)vdev;
	return -ENOSPC;
}

/* ---- the driver ---------------------------------------------------------- */

static inline struct vring_desc *desc(struct fixture *f, unsigned int queue)
{
	return (struct vring_desc *)(f->ram + RING(queue));
}

static inline struct vring_avail *avail(struct fixture *f, unsigned int queue)
{
	return (struct vring_avail *)(f->ram + RING(queue) + AVAIL);
}

static inline struct vring_used *used(struct fixture *f, unsigned int queue)
{
	return (struct vring_used *)(f->ram + RING(queue) + USED);
}

static inline int try_create(struct fixture *f,
			     const struct virtio_balloon_options *options)
{
	int err = virtio_balloon_type.create(&f->machine, options, &f->device);

	if (!err)
		f->vdev = container_of(f->device, struct virtio_device, device);
	return err;
}

static inline void negotiate(struct fixture *f, uint64_t features)
{
	virtio_device_set_features(f->vdev, 0, (uint32_t)features);
	virtio_device_set_features(f->vdev, 1, (uint32_t)(features >> 32));
	virtio_device_set_status(f->vdev, VIRTIO_CONFIG_S_FEATURES_OK);
	assert_int_equal(virtio_device_get_status(f->vdev),
			 VIRTIO_CONFIG_S_FEATURES_OK);
}

static inline void set_up_queue(struct fixture *f, unsigned int i)
{
	struct virtio_device *vdev = f->vdev;

	memset(f->ram + RING(i), 0, 0x3000);
	f->avail_idx[i] = 0;
	virtio_device_set_queue(vdev, i, VIRTQ_REG_DESC, RING(i));
	virtio_device_set_queue(vdev, i, VIRTQ_REG_DRIVER, RING(i) + AVAIL);
	virtio_device_set_queue(vdev, i, VIRTQ_REG_DEVICE, RING(i) + USED);
	virtio_device_set_queue(vdev, i, VIRTQ_REG_SIZE, SIZE);
	virtio_device_set_queue(vdev, i, VIRTQ_REG_READY, 1);
}

static inline void driver_ok(struct fixture *f)
{
	virtio_device_set_status(f->vdev, VIRTIO_CONFIG_S_DRIVER_OK);
	assert_false(virtio_device_get_status(f->vdev) &
		     VIRTIO_CONFIG_S_NEEDS_RESET);
}

/* A driver that sets up @queues of them, as Linux does. */
static inline void run(struct fixture *f, uint64_t features,
		       unsigned int queues)
{
	negotiate(f, features | BASE);
	for (unsigned int i = 0; i < queues; i++)
		set_up_queue(f, i);
	driver_ok(f);
}

static inline void set_desc(struct fixture *f, unsigned int queue,
			    unsigned int index, uint64_t addr, size_t len,
			    unsigned int flags)
{
	desc(f, queue)[index] = (struct vring_desc) {
		.addr = htole64(addr),
		.len = htole32((uint32_t)len),
		.flags = htole16((uint16_t)flags),
		.next = htole16((uint16_t)(index + 1)),
	};
}

static inline void notify(struct fixture *f, unsigned int queue)
{
	if (f->notify_fd[queue] >= 0)
		assert_int_equal(eventfd_write(f->notify_fd[queue], 1), 0);
	else
		virtio_device_notify(f->vdev, queue);
}

static inline void offer(struct fixture *f, unsigned int queue, uint16_t head)
{
	avail(f, queue)->ring[f->avail_idx[queue] % SIZE] = htole16(head);
	f->avail_idx[queue]++;
	__atomic_store_n(&avail(f, queue)->idx, htole16(f->avail_idx[queue]),
			 __ATOMIC_SEQ_CST);
	notify(f, queue);
}

static inline uint16_t used_idx(struct fixture *f, unsigned int queue)
{
	return le16toh(__atomic_load_n(&used(f, queue)->idx, __ATOMIC_SEQ_CST));
}

static inline void wait_used(struct fixture *f, unsigned int queue)
{
	while (used_idx(f, queue) != f->avail_idx[queue])
		sem_wait(&f->signalled);
}

static inline void wait_broken(struct fixture *f)
{
	while (!(virtio_device_get_status(f->vdev) &
		 VIRTIO_CONFIG_S_NEEDS_RESET))
		sem_wait(&f->signalled);
}

static inline void put_list(struct fixture *f, const uint32_t *pfns,
			    unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		uint32_t pfn = htole32(pfns[i]);

		memcpy(f->ram + LIST + 4ULL * i, &pfn, 4);
	}
}

static inline void send_list(struct fixture *f, unsigned int queue,
			     const uint32_t *pfns, unsigned int n)
{
	put_list(f, pfns, n);
	set_desc(f, queue, 0, LIST, 4ULL * n, 0);
	offer(f, queue, 0);
	wait_used(f, queue);
}

static inline struct virtio_balloon_config config(struct fixture *f)
{
	struct virtio_balloon_config c;

	virtio_device_read_config(f->vdev, 0, &c, sizeof(c));
	return c;
}

/* A row of --stats; UINT64_MAX when there is none. */
static inline uint64_t counter(struct fixture *f, const char *name)
{
	uint64_t found = UINT64_MAX;
	unsigned long long value;
	char *text = NULL;
	char key[40];
	size_t len;
	FILE *out = open_memstream(&text, &len);

	virtio_balloon_type.stats(f->device, out);
	fclose(out);
	for (char *line = text; *line; line = strchr(line, '\n') + 1)
		if (sscanf(line, "balloon %39s %llu", key, &value) == 2 &&
		    !strcmp(key, name))
			found = value;
	free(text);
	return found;
}

static inline void pages_are(struct fixture *f, unsigned int first,
			     unsigned int n, uint8_t value)
{
	for (size_t i = 0; i < n * (size_t)PAGE; i++)
		if (f->ram[first * (size_t)PAGE + i] != value)
			fail_msg("page %zu of %u: %#x, not %#x", i / PAGE,
				 first, f->ram[first * (size_t)PAGE + i],
				 value);
}

/* ---- before and after ---------------------------------------------------- */

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	log_set_level(LOG_LEVEL_ERROR);
	memory_init(&f->machine.memory, -1);
	assert_int_equal(memory_add_ram(&f->machine.memory, 0, RAM), 0);
	f->ram = guest_map(&f->machine.memory, 0, RAM);
	memset(f->ram + FREE, 0xa5, RAM - FREE);
	f->transport.attach = fake_attach;
	f->machine.virtio_transport = &f->transport;
	for (unsigned int i = 0; i < QUEUES; i++)
		f->notify_fd[i] = -1;
	sem_init(&f->signalled, 0, 0);
	*state = f;
	return 0;
}

static inline int setup_device(void **state)
{
	struct virtio_balloon_options options = virtio_balloon_defaults;

	setup(state);
	options.hinting = true;
	options.stats_seconds = 3600;
	return try_create(*state, &options);
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->device)
		virtio_balloon_type.destroy(f->device);
	sem_destroy(&f->signalled);
	memory_release(&f->machine.memory);
	free(f);
	return 0;
}

#endif
