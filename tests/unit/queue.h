/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A driver's side of one virtqueue, in RAM without KVM: for the tests of
 * virtio/queue.c.
 */
#ifndef TESTS_UNIT_QUEUE_H
#define TESTS_UNIT_QUEUE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <endian.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/util.h>
#include <lkvm/virtio.h>

#define DESC 0x1000
#define AVAIL 0x6000
#define USED 0x8000
#define BUFFER 0x20000

#define FIRST_END (1 * MIB)

struct fixture {
	struct guest_memory memory;
	struct virtio_device vdev;
	struct virtq vq;
	struct virtq_chain chain;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t avail_idx;
};

/* RAM up to FIRST_END, and a queue that has not been set up. */
static inline int setup_queue(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	memory_init(&f->memory, -1);
	assert_int_equal(memory_add_ram(&f->memory, 0, FIRST_END), 0);
	f->vq.device = &f->vdev;
	f->vq.memory = &f->memory;
	f->vq.max_size = VIRTQ_MAX_SIZE;
	f->desc = guest_map(&f->memory, DESC, 16 * VIRTQ_MAX_SIZE);
	f->avail = guest_map(&f->memory, AVAIL, 6 + 2 * VIRTQ_MAX_SIZE);
	f->used = guest_map(&f->memory, USED, 6 + 8 * VIRTQ_MAX_SIZE);
	virtq_reset(&f->vq);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	memory_release(&f->memory);
	free(f);
	return 0;
}

/* Empty rings of @size entries, as a driver registers them. */
static inline void configure(struct fixture *f, uint16_t size)
{
	virtq_reset(&f->vq);
	f->vq.size = size;
	f->vq.ready = true;
	f->vq.desc_addr = DESC;
	f->vq.driver_addr = AVAIL;
	f->vq.device_addr = USED;
	memset(f->avail, 0, sizeof(*f->avail));
	memset(f->used, 0, sizeof(*f->used));
	f->avail_idx = 0;
}

static inline void set(struct vring_desc *desc, uint64_t addr, uint32_t len,
		       unsigned int flags, unsigned int next)
{
	desc->addr = htole64(addr);
	desc->len = htole32(len);
	desc->flags = htole16((uint16_t)flags);
	desc->next = htole16((uint16_t)next);
}

static inline void offer(struct fixture *f, uint16_t head)
{
	f->avail->ring[f->avail_idx % f->vq.size] = htole16(head);
	f->avail_idx++;
	__atomic_store_n(&f->avail->idx, htole16(f->avail_idx),
			 __ATOMIC_RELEASE);
}

static inline int pop(struct fixture *f)
{
	return virtq_pop(&f->vq, &f->chain);
}

#endif
