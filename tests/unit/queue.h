/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A driver's side of one virtqueue, in RAM without KVM: for the tests of
 * virtio/queue*.c. Those for either layout hide which layout the ring has.
 */
#ifndef TESTS_UNIT_QUEUE_H
#define TESTS_UNIT_QUEUE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <endian.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include <lkvm/util.h>
#include <lkvm/virtio.h>

#define DESC 0x1000
#define AVAIL 0x6000
#define USED 0x8000
#define BUFFER 0x20000
#define TABLE 0x10000

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
	/* A driver that does not care for the layout; packed: places, laps. */
	bool packed;
	struct vring_packed_desc *ring; /* at desc */
	struct vring_packed_desc_event *driver_event; /* at avail */
	struct vring_packed_desc_event *device_event; /* at used */
	bool avail_wrap, used_wrap;
	uint16_t used_idx;
	uint16_t slots[VIRTQ_MAX_SIZE]; /* by id */
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
	f->ring = (struct vring_packed_desc *)f->desc;
	f->driver_event = (struct vring_packed_desc_event *)f->avail;
	f->device_event = (struct vring_packed_desc_event *)f->used;
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
	if (f->packed)
		memset(f->desc, 0, size * sizeof(*f->desc));
	f->avail_idx = 0;
	f->used_idx = 0;
	f->avail_wrap = true;
	f->used_wrap = true;
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

/* Chains that were popped and not pushed. */
static inline unsigned int in_flight(const struct fixture *f)
{
	unsigned int count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(f->vq.in_flight_map); i++)
		count += (unsigned int)__builtin_popcountll(
			f->vq.in_flight_map[i]);
	return count;
}

/* ---- either layout ------------------------------------------------------- */

struct buffer {
	uint64_t addr;
	uint32_t len;
	unsigned int flags; /* WRITE, or what a driver must not set */
};

/* The next slot of a packed ring; returns its flags, which are not written. */
static inline struct vring_packed_desc *
place(struct fixture *f, const struct buffer *b, uint16_t id, uint16_t *flags)
{
	struct vring_packed_desc *desc = &f->ring[f->avail_idx];

	*flags = (uint16_t)(b->flags |
			    1U << (f->avail_wrap ? VRING_PACKED_DESC_F_AVAIL :
						   VRING_PACKED_DESC_F_USED));
	desc->addr = htole64(b->addr);
	desc->len = htole32(b->len);
	desc->id = htole16(id);
	if (++f->avail_idx == f->vq.size) {
		f->avail_idx = 0;
		f->avail_wrap = !f->avail_wrap;
	}
	return desc;
}

static inline void put_packed(struct fixture *f, uint16_t id,
			      const struct buffer *buffers, unsigned int count)
{
	struct vring_packed_desc *first = NULL;
	uint16_t first_flags = 0;

	for (unsigned int i = 0; i < count; i++) {
		struct buffer b = buffers[i];
		struct vring_packed_desc *desc;
		uint16_t flags;

		b.flags |= i + 1 < count ? VRING_DESC_F_NEXT : 0U;
		desc = place(f, &b, id, &flags);
		if (first) {
			desc->flags = htole16(flags);
		} else {
			first = desc;
			first_flags = flags;
		}
	}
	if (id < VIRTQ_MAX_SIZE)
		f->slots[id] = (uint16_t)count;
	__atomic_store_n(&first->flags, htole16(first_flags), __ATOMIC_RELEASE);
}

/* Offer chain @id; split: it takes the descriptors from @id on. */
static inline void put_chain(struct fixture *f, uint16_t id,
			     const struct buffer *buffers, unsigned int count)
{
	if (f->packed) {
		put_packed(f, id, buffers, count);
		return;
	}
	for (unsigned int i = 0; i < count; i++) {
		unsigned int next = (id + i + 1) % f->vq.size;

		set(&f->desc[(id + i) % f->vq.size], buffers[i].addr,
		    buffers[i].len,
		    buffers[i].flags | (i + 1 < count ? VRING_DESC_F_NEXT : 0U),
		    next);
	}
	offer(f, id);
}

/* Offer the chain @id in an indirect table at TABLE + 0x100 * @id. */
static inline void put_table(struct fixture *f, uint16_t id,
			     const struct buffer *buffers, unsigned int count)
{
	uint64_t at = TABLE + 0x100ULL * id;
	const struct buffer whole = { at, count * 16, VRING_DESC_F_INDIRECT };
	struct vring_desc *entry = guest_map(&f->memory, at, count * 16ULL);

	for (unsigned int i = 0; i < count; i++) {
		struct vring_packed_desc packed = {
			.addr = htole64(buffers[i].addr),
			.len = htole32(buffers[i].len),
			.id = htole16(0xdead), /* 2.8.7: ignored */
			.flags = htole16((uint16_t)buffers[i].flags),
		};

		if (f->packed)
			memcpy(&entry[i], &packed, sizeof(packed));
		else
			set(&entry[i], buffers[i].addr, buffers[i].len,
			    buffers[i].flags |
				    (i + 1 < count ? VRING_DESC_F_NEXT : 0U),
			    i + 1);
	}
	put_chain(f, id, &whole, 1);
}

/* Does the driver see a used chain? Which, and how much was written? */
static inline bool get_used(struct fixture *f, uint16_t *id, uint32_t *len)
{
	struct vring_packed_desc *desc = &f->ring[f->used_idx];
	uint16_t flags;

	if (!f->packed) {
		const struct vring_used_elem *elem =
			&f->used->ring[f->used_idx % f->vq.size];

		if (le16toh(__atomic_load_n(&f->used->idx, __ATOMIC_SEQ_CST)) ==
		    f->used_idx)
			return false;
		*id = (uint16_t)le32toh(elem->id);
		*len = le32toh(elem->len);
		f->used_idx++;
		return true;
	}
	flags = le16toh(__atomic_load_n(&desc->flags, __ATOMIC_SEQ_CST));
	if (!!(flags & 1U << VRING_PACKED_DESC_F_USED) != f->used_wrap ||
	    !!(flags & 1U << VRING_PACKED_DESC_F_AVAIL) != f->used_wrap)
		return false;
	*id = le16toh(desc->id);
	*len = flags & VRING_DESC_F_WRITE ? le32toh(desc->len) : 0;
	f->used_idx += f->slots[*id];
	if (f->used_idx >= f->vq.size) {
		f->used_idx -= f->vq.size;
		f->used_wrap = !f->used_wrap;
	}
	return true;
}

/* As 2.7.7 and 2.8.10 have it: an interrupt for the next used chain. */
static inline void want_event(struct fixture *f)
{
	uint16_t off_wrap = f->used_idx | (f->used_wrap ? 0x8000 : 0);

	if (f->packed) {
		__atomic_store_n(&f->driver_event->off_wrap, htole16(off_wrap),
				 __ATOMIC_RELAXED);
		__atomic_store_n(&f->driver_event->flags,
				 htole16(VRING_PACKED_EVENT_FLAG_DESC),
				 __ATOMIC_SEQ_CST);
	} else {
		__atomic_store_n(&f->avail->ring[f->vq.size],
				 htole16(f->used_idx), __ATOMIC_SEQ_CST);
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Must the driver notify, having gone on from @old (and @old_wrap)? */
static inline bool must_notify(struct fixture *f, uint16_t old, bool old_wrap)
{
	uint16_t new = f->avail_idx;
	uint16_t event, off_wrap;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!f->packed) {
		event = le16toh(
			__atomic_load_n((uint16_t *)&f->used->ring[f->vq.size],
					__ATOMIC_SEQ_CST));
		return vring_need_event(event, new, old);
	}
	if (le16toh(__atomic_load_n(&f->device_event->flags,
				    __ATOMIC_SEQ_CST)) !=
	    VRING_PACKED_EVENT_FLAG_DESC)
		return true;
	off_wrap = le16toh(
		__atomic_load_n(&f->device_event->off_wrap, __ATOMIC_SEQ_CST));
	event = off_wrap & 0x7fff;
	if (!!(off_wrap & 0x8000) != f->avail_wrap)
		event -= f->vq.size;
	if (old_wrap != f->avail_wrap)
		old -= f->vq.size;
	return vring_need_event(event, new, old);
}

/* ---- a device on a thread ------------------------------------------------- */

#define STRESS_ROUNDS 30000

struct stress {
	struct fixture *f;
	int kick_fd; /* driver to device */
	int irq_fd; /* device to driver */
};

static inline void wait_fd(int fd)
{
	eventfd_t count;

	assert_int_equal(eventfd_read(fd, &count), 0);
}

/* Serves all chains of @opaque, a stress, and sleeps whenever it may. */
static inline void *device_thread(void *opaque)
{
	struct stress *s = opaque;
	struct virtq *vq = &s->f->vq;
	unsigned int done = 0;

	while (done < STRESS_ROUNDS) {
		virtq_disable_notify(vq);
		do {
			while (virtq_pop(vq, &s->f->chain) > 0) {
				virtq_push(vq, s->f->chain.head, 1);
				done++;
			}
		} while (virtq_enable_notify(vq));
		if (virtq_should_signal(vq))
			eventfd_write(s->irq_fd, 1);
		if (done < STRESS_ROUNDS)
			wait_fd(s->kick_fd);
	}
	return NULL;
}

#endif
