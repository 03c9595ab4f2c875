/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For the tests of virtio/blk*.c: a disk over a temporary file, with the driver
 * of driver.h, and system calls that are counted and made to fail.
 */
#ifndef TESTS_BLK_H
#define TESTS_BLK_H

#include "driver.h"

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <lkvm/engine.h>

#define DISK_SIZE (64 * KIB)
#define SECTORS (DISK_SIZE / 512)
#define QUEUE_SIZE 256
#define QUEUES 4

/* Above the rings. */
#define HEADER 0x28000
#define STATUS 0x29000
#define DATA 0x30000
#define RAM (4 * MIB)

#define NEXT VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE

#define FEATURES (BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_BLK_F_FLUSH))

struct fixture {
	struct driver driver;
	struct device *device;
	char path[64];
	int fd; /* of the file, for a look behind the device's back */
	unsigned int queue; /* which the driver uses: see use() */
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

/* ---- the driver --------------------------------------------------------- */

static inline int try_create(struct fixture *f,
			     const struct virtio_blk_options *options)
{
	return virtio_blk_type.create(&f->driver.machine, options, &f->device);
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
	f->queue = queue;
}

static inline void run(struct fixture *f, uint64_t features)
{
	driver_run(&f->driver, features);
	use(f, 0);
}

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	uint8_t sector[512];

	assert_non_null(f);
	driver_init_ram(&f->driver, RAM);
	f->driver.size = QUEUE_SIZE;
	atomic_store(&syncs, 0);
	atomic_store(&fallocates, 0);
	atomic_store(&write_error, 0);
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
	driver_release(&f->driver);
	free(f);
	return 0;
}

static inline void set(struct fixture *f, unsigned int index, uint64_t addr,
		       uint32_t len, unsigned int flags, unsigned int next)
{
	driver_put_desc(&f->driver, f->queue, index, addr, len, flags, next);
}

static inline void set_header(struct fixture *f, uint32_t type, uint64_t sector)
{
	const struct virtio_blk_outhdr header = {
		.type = htole32(type),
		.sector = htole64(sector),
	};

	memcpy(f->driver.ram + HEADER, &header, sizeof(header));
	f->driver.ram[STATUS] = 0xff;
}

static inline void offer(struct fixture *f, uint16_t head)
{
	driver_offer(&f->driver, f->queue, head);
}

static inline void kick(struct fixture *f)
{
	driver_kick(&f->driver, f->queue);
}

static inline uint16_t used_idx(struct fixture *f)
{
	return driver_used_idx(&f->driver, f->queue);
}

/* Wait until all that was offered is used; the last one's length. */
static inline uint32_t wait_used(struct fixture *f)
{
	return driver_wait_all(&f->driver, f->queue);
}

static inline void wait_broken(struct fixture *f)
{
	driver_wait_broken(&f->driver);
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
	return driver_counter(f->device, name);
}

#define BLK_TEST(name) \
	cmocka_unit_test_setup_teardown(name, setup_running, teardown)
#define IDLE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
