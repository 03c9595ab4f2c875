/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For the tests of virtio/blk*.c: a disk over a temporary file, with a driver
 * and a transport that this file plays, RAM without KVM, and system calls that
 * are counted and made to fail.
 */
#ifndef TESTS_BLK_H
#define TESTS_BLK_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <lkvm/engine.h>
#include <lkvm/machine.h>
#include <lkvm/util.h>
#include <lkvm/virtio.h>

#define DISK_SIZE (64 * KIB)
#define SECTORS (DISK_SIZE / 512)
#define QUEUE_SIZE 256
#define QUEUES 4

#define RING(queue) (0x100000 + 0x8000ULL * (queue))
#define DESC 0
#define AVAIL 0x4000
#define USED 0x5000
#define HEADER 0x10000
#define STATUS 0x11000
#define DATA 0x20000
#define RAM (4 * MIB)

#define NEXT VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE

#define FEATURES (BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_BLK_F_FLUSH))

struct fixture {
	struct machine machine;
	struct virtio_transport transport;
	struct device *device;
	struct virtio_device *vdev;
	char path[64];
	int fd; /* of the file, for a look behind the device's back */
	uint8_t *ram;
	/* The queue that the driver uses at the moment: see use(). */
	unsigned int queue;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t avail_idx[QUEUES];
	uint16_t size; /* of every queue */
	int notify_fd[QUEUES];
	sem_t signalled;
	_Atomic unsigned int signals, config_signals;
};

/* What the C library was asked for, and which error it shall answer with. */
static _Atomic unsigned int syncs;
static _Atomic unsigned int fallocates;
static _Atomic int fallocate_mode;
static _Atomic int write_error;

int fdatasync(int fd)
{
	(void)fd;
	atomic_fetch_add(&syncs, 1);
	return 0;
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	atomic_fetch_add(&fallocates, 1);
	atomic_store(&fallocate_mode, mode);
	return (int)syscall(SYS_fallocate, fd, mode, offset, len);
}

ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
	if (atomic_load(&write_error)) {
		errno = atomic_load(&write_error);
		return -1;
	}
	return syscall(SYS_pwritev, fd, iov, (long)count, offset, 0L);
}

/* The kernel would do it without a call of the C library's. */
int engine_create_uring(bool direct, unsigned int depth, struct loop *loop,
			struct engine **out)
{
	(void)direct;
	(void)depth;
	(void)loop;
	(void)out;
	return -ENOTSUP;
}

static inline void fake_signal_queue(void *transport, struct virtq *vq)
{
	struct fixture *f = transport;

	(void)vq;
	atomic_fetch_add(&f->signals, 1);
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

	assert_in_range(index, 0, QUEUES - 1);
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

static const struct virtio_transport_ops fake_transport_ops = {
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
	vdev->transport_ops = &fake_transport_ops;
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

/* ---- the driver --------------------------------------------------------- */

static inline int try_create(struct fixture *f,
			     const struct virtio_blk_options *options)
{
	int err = virtio_blk_type.create(&f->machine, options, &f->device);

	if (!err)
		f->vdev = container_of(f->device, struct virtio_device, device);
	return err;
}

/* What the user gets who says nothing. */
static inline struct virtio_blk_options defaults(struct fixture *f)
{
	struct virtio_blk_options options = virtio_blk_defaults;

	options.path = f->path;
	return options;
}

static inline void create(struct fixture *f, bool read_only)
{
	struct virtio_blk_options options = defaults(f);

	options.read_only = read_only;
	assert_int_equal(try_create(f, &options), 0);
}

/* From here on the driver uses @queue. */
static inline void use(struct fixture *f, unsigned int queue)
{
	uint8_t *ring = f->ram + RING(queue);

	f->queue = queue;
	f->desc = (struct vring_desc *)(ring + DESC);
	f->avail = (struct vring_avail *)(ring + AVAIL);
	f->used = (struct vring_used *)(ring + USED);
}

static inline void negotiate(struct fixture *f, uint64_t features)
{
	virtio_device_set_features(f->vdev, 0, (uint32_t)features);
	virtio_device_set_features(f->vdev, 1, (uint32_t)(features >> 32));
	virtio_device_set_status(f->vdev, VIRTIO_CONFIG_S_FEATURES_OK);
	assert_int_equal(virtio_device_get_status(f->vdev),
			 VIRTIO_CONFIG_S_FEATURES_OK);
}

static inline void run(struct fixture *f, uint64_t features)
{
	struct virtio_device *vdev = f->vdev;

	negotiate(f, features);
	for (unsigned int i = 0; i < vdev->nr_queues; i++) {
		use(f, i);
		memset(f->avail, 0, sizeof(*f->avail));
		memset(f->used, 0, sizeof(*f->used));
		f->avail_idx[i] = 0;
		virtio_device_set_queue(vdev, i, VIRTQ_REG_DESC,
					RING(i) + DESC);
		virtio_device_set_queue(vdev, i, VIRTQ_REG_DRIVER,
					RING(i) + AVAIL);
		virtio_device_set_queue(vdev, i, VIRTQ_REG_DEVICE,
					RING(i) + USED);
		virtio_device_set_queue(vdev, i, VIRTQ_REG_SIZE, f->size);
		virtio_device_set_queue(vdev, i, VIRTQ_REG_READY, 1);
	}
	use(f, 0);
	virtio_device_set_status(vdev, VIRTIO_CONFIG_S_DRIVER_OK);
	assert_int_equal(virtio_device_get_status(vdev),
			 VIRTIO_CONFIG_S_FEATURES_OK |
				 VIRTIO_CONFIG_S_DRIVER_OK);
}

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	uint8_t sector[512];

	assert_non_null(f);
	log_set_level(LOG_LEVEL_ERROR);
	atomic_store(&syncs, 0);
	atomic_store(&fallocates, 0);
	atomic_store(&write_error, 0);
	memory_init(&f->machine.memory, -1);
	assert_int_equal(memory_add_ram(&f->machine.memory, 0, RAM), 0);
	f->ram = guest_map(&f->machine.memory, 0, RAM);
	use(f, 0);
	f->size = QUEUE_SIZE;
	f->transport.attach = fake_attach;
	f->machine.virtio_transport = &f->transport;
	for (unsigned int i = 0; i < QUEUES; i++)
		f->notify_fd[i] = -1;
	sem_init(&f->signalled, 0, 0);

	strcpy(f->path, "/tmp/lkvm-blk-XXXXXX");
	f->fd = mkostemp(f->path, O_CLOEXEC);
	assert_true(f->fd >= 0);
	for (unsigned int i = 0; i < SECTORS; i++) {
		memset(sector, (int)i, sizeof(sector));
		assert_true(write(f->fd, sector, 512) == 512);
	}
	*state = f;
	return 0;
}

/* With a device that runs, as most tests want it. */
static inline int setup_running(void **state)
{
	setup(state);
	create(*state, false);
	run(*state, FEATURES);
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->device)
		virtio_blk_type.destroy(f->device);
	close(f->fd);
	unlink(f->path);
	sem_destroy(&f->signalled);
	memory_release(&f->machine.memory);
	free(f);
	return 0;
}

static inline void set(struct fixture *f, unsigned int index, uint64_t addr,
		       uint32_t len, unsigned int flags, unsigned int next)
{
	f->desc[index].addr = htole64(addr);
	f->desc[index].len = htole32(len);
	f->desc[index].flags = htole16((uint16_t)flags);
	f->desc[index].next = htole16((uint16_t)next);
}

static inline void set_header(struct fixture *f, uint32_t type, uint64_t sector)
{
	const struct virtio_blk_outhdr header = {
		.type = htole32(type),
		.sector = htole64(sector),
	};

	memcpy(f->ram + HEADER, &header, sizeof(header));
	f->ram[STATUS] = 0xff;
}

static inline void offer(struct fixture *f, uint16_t head)
{
	f->avail->ring[f->avail_idx[f->queue] % f->size] = htole16(head);
	f->avail_idx[f->queue]++;
	__atomic_store_n(&f->avail->idx, htole16(f->avail_idx[f->queue]),
			 __ATOMIC_SEQ_CST);
}

static inline void kick(struct fixture *f)
{
	assert_int_equal(eventfd_write(f->notify_fd[f->queue], 1), 0);
}

static inline uint16_t used_idx(struct fixture *f)
{
	return le16toh(__atomic_load_n(&f->used->idx, __ATOMIC_SEQ_CST));
}

/* Wait until all that was offered is used; the last one's length. */
static inline uint32_t wait_used(struct fixture *f)
{
	uint16_t end = f->avail_idx[f->queue];

	while (used_idx(f) != end)
		sem_wait(&f->signalled);
	return le32toh(f->used->ring[(end - 1) % f->size].len);
}

static inline void wait_broken(struct fixture *f)
{
	while (!(virtio_device_get_status(f->vdev) &
		 VIRTIO_CONFIG_S_NEEDS_RESET))
		sem_wait(&f->signalled);
}

/* One request of the usual three buffers; returns the used length. */
static inline uint32_t request(struct fixture *f, uint32_t type,
			       uint64_t sector, uint32_t len, bool to_guest)
{
	set_header(f, type, sector);
	set(f, 0, HEADER, 16, NEXT, len ? 1 : 2);
	set(f, 1, DATA, len, NEXT | (to_guest ? WRITE : 0), 2);
	set(f, 2, STATUS, 1, WRITE, 0);
	offer(f, 0);
	kick(f);
	return wait_used(f);
}

static inline void assert_memory_is(const uint8_t *at, uint8_t value,
				    size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (at[i] != value)
			fail_msg("byte %zu is %#x, not %#x", i, at[i], value);
}

static inline void assert_sector_is(struct fixture *f, uint64_t sector,
				    uint8_t value)
{
	uint8_t data[512];

	assert_int_equal(pread_full(f->fd, data, 512, (off_t)(sector * 512)),
			 0);
	assert_memory_is(data, value, 512);
}

static inline uint64_t counter(struct fixture *f, const char *name)
{
	unsigned long long value = UINT64_MAX;
	char *text = NULL;
	char key[32];
	size_t len;
	FILE *out = open_memstream(&text, &len);

	virtio_blk_type.stats(f->device, out);
	fclose(out);
	for (char *line = text; line && *line; line = strchr(line, '\n') + 1)
		if (sscanf(line, "%*s %31s %llu", key, &value) == 2 &&
		    !strcmp(key, name))
			break;
	free(text);
	assert_string_equal(key, name);
	return value;
}

#define BLK_TEST(name) \
	cmocka_unit_test_setup_teardown(name, setup_running, teardown)
#define IDLE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
