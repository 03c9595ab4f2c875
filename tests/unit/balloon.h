/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For test-balloon.c: a balloon with the driver of driver.h.
 */
#ifndef TESTS_UNIT_BALLOON_H
#define TESTS_UNIT_BALLOON_H

#include "driver.h"

#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <stdio.h>

#define PAGE 4096
#define RAM (4 * MIB)
#define PAGES (RAM / PAGE)
#define SIZE 128

/* Below these are the rings; above, pages to be given up. */
#define LIST 0x30000
#define FREE 0x100000
#define FIRST (FREE / PAGE)

#define WRITE VRING_DESC_F_WRITE
#define NEXT VRING_DESC_F_NEXT

#define F(name) BIT_ULL(VIRTIO_BALLOON_F_##name)

struct fixture {
	struct driver driver;
	struct device *device;
	unsigned int changes; /* that the VM's owner was told of */
	uint64_t changed_to;
};

static inline int try_create(struct fixture *f,
			     const struct virtio_balloon_options *options)
{
	return virtio_balloon_type.create(&f->driver.machine, options,
					  &f->device);
}

static inline void driver_ok(struct fixture *f)
{
	driver_start(&f->driver);
	assert_false(driver_broken(&f->driver));
}

/* A driver that sets up @queues of them, as Linux does. */
static inline void run(struct fixture *f, uint64_t features,
		       unsigned int queues)
{
	driver_negotiate(&f->driver, features);
	for (unsigned int i = 0; i < queues; i++)
		driver_set_queue(&f->driver, i);
	driver_ok(f);
}

static inline void set_desc(struct fixture *f, unsigned int queue,
			    unsigned int index, uint64_t addr, size_t len,
			    unsigned int flags)
{
	driver_put_desc(&f->driver, queue, index, addr, (uint32_t)len, flags,
			index + 1);
}

static inline void notify(struct fixture *f, unsigned int queue)
{
	if (f->driver.notify_fd[queue] >= 0)
		driver_kick(&f->driver, queue);
	else
		virtio_device_notify(f->driver.vdev, queue);
}

static inline void offer(struct fixture *f, unsigned int queue, uint16_t head)
{
	driver_offer(&f->driver, queue, head);
	notify(f, queue);
}

static inline uint16_t used_idx(struct fixture *f, unsigned int queue)
{
	return driver_used_idx(&f->driver, queue);
}

static inline void wait_used(struct fixture *f, unsigned int queue)
{
	driver_wait_all(&f->driver, queue);
}

static inline void wait_broken(struct fixture *f)
{
	driver_wait_broken(&f->driver);
}

static inline void put_list(struct fixture *f, const uint32_t *pfns,
			    unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		uint32_t pfn = htole32(pfns[i]);

		memcpy(f->driver.ram + LIST + 4ULL * i, &pfn, 4);
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

	virtio_device_read_config(f->driver.vdev, 0, &c, sizeof(c));
	return c;
}

/* A row of --stats; UINT64_MAX when there is none. */
static inline uint64_t counter(struct fixture *f, const char *name)
{
	struct wanted_count wanted = { .name = name };
	struct stats_sink sink = { .row = look_for_count, .opaque = &wanted };

	virtio_balloon_type.stats(f->device, &sink);
	return wanted.found ? wanted.count : UINT64_MAX;
}

static inline void pages_are(struct fixture *f, unsigned int first,
			     unsigned int n, uint8_t value)
{
	for (size_t i = 0; i < n * (size_t)PAGE; i++)
		if (f->driver.ram[first * (size_t)PAGE + i] != value)
			fail_msg("page %zu of %u: %#x, not %#x", i / PAGE,
				 first, f->driver.ram[first * (size_t)PAGE + i],
				 value);
}

/* ---- before and after ---------------------------------------------------- */

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	driver_init_ram(&f->driver, RAM);
	f->driver.size = SIZE;
	memset(f->driver.ram + FREE, 0xa5, RAM - FREE);
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
	driver_release(&f->driver);
	free(f);
	return 0;
}

#endif
