/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Packed virtqueues (virtio 1.2, 2.8): see queue.c.
 *
 * One ring holds what the driver makes available and, in its place, what the
 * device has used. Both sides go round it with a wrap counter each, and the
 * flags of a descriptor say by the counter's value whose it is. A chain is
 * known by its buffer id, and a used one covers as many slots of the ring as
 * the driver took for it: the device notes how many these were.
 */
#include <endian.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <string.h>

#include <lkvm/util.h>
#include <lkvm/virtq.h>

_Static_assert(sizeof(struct vring_packed_desc) == 16, "2.8.13");
_Static_assert(sizeof(struct vring_packed_desc_event) == 4, "2.8.14");

#define DESC_ALIGN 16 /* 2.8.10.1, as the next */
#define EVENT_ALIGN 4

#define AVAIL BIT_ULL(VRING_PACKED_DESC_F_AVAIL)
#define USED BIT_ULL(VRING_PACKED_DESC_F_USED)
#define EVENT_FLAGS 0x3 /* of vring_packed_desc_event.flags */
#define EVENT_WRAP BIT_ULL(VRING_PACKED_EVENT_F_WRAP_CTR)

const char *virtq_packed_start(struct virtq *vq)
{
	uint64_t size = vq->size;

	if (vq->desc_addr % DESC_ALIGN || vq->driver_addr % EVENT_ALIGN ||
	    vq->device_addr % EVENT_ALIGN)
		return "an area is not aligned";
	vq->packed_desc = guest_map(vq->memory, vq->desc_addr,
				    size * sizeof(*vq->packed_desc));
	vq->driver_event = guest_map(vq->memory, vq->driver_addr,
				     sizeof(*vq->driver_event));
	vq->device_event = guest_map(vq->memory, vq->device_addr,
				     sizeof(*vq->device_event));
	if (!vq->packed_desc || !vq->driver_event || !vq->device_event)
		return "an area is not in RAM";
	return NULL;
}

/* 2.8.1: made available on the lap of the ring that is @wrap's. */
static bool is_available(uint16_t flags, bool wrap)
{
	return !!(flags & AVAIL) == wrap && !!(flags & USED) != wrap;
}

/* The one fetch of a descriptor: as its namesake in queue-split.c. */
static struct vring_packed_desc fetch(const void *table, unsigned int index)
{
	struct vring_packed_desc raw;

	memcpy(&raw, (const char *)table + index * sizeof(raw), sizeof(raw));
	atomic_signal_fence(memory_order_seq_cst);
	return (struct vring_packed_desc) {
		.addr = le64toh(raw.addr),
		.len = le32toh(raw.len),
		.id = le16toh(raw.id),
		.flags = le16toh(raw.flags),
	};
}

/* 2.8.7: the whole table in its order; WRITE is the only flag in it. */
static const char *walk_table(const struct virtq *vq, struct virtq_chain *chain,
			      const struct vring_packed_desc *desc)
{
	unsigned int entries;
	const void *table;
	const char *error =
		virtq_map_table(vq, desc->addr, desc->len, &table, &entries);

	if (!error && entries > vq->size)
		error = "a chain is longer than the queue";
	for (unsigned int i = 0; !error && i < entries; i++) {
		struct vring_packed_desc entry = fetch(table, i);

		error = virtq_add_buffer(vq, chain, entry.addr, entry.len,
					 entry.flags & VRING_DESC_F_WRITE);
	}
	return error;
}

/*
 * Follow the chain that starts in the next slot, whose flags have been read:
 * sets its id and *@slots. Returns NULL or what is wrong; @chain is then
 * undefined.
 */
static const char *walk(const struct virtq *vq, uint16_t first_flags,
			struct virtq_chain *chain, uint16_t *slots)
{
	struct vring_packed_desc desc = fetch(vq->packed_desc, vq->last_avail);
	unsigned int room = vq->size - (unsigned int)vq->slots_in_flight;
	unsigned int index = vq->last_avail;
	unsigned int count = 1;
	const char *error;

	desc.flags = first_flags;
	while (!(desc.flags & VRING_DESC_F_INDIRECT)) {
		error = virtq_add_buffer(vq, chain, desc.addr, desc.len,
					 desc.flags & VRING_DESC_F_WRITE);
		if (error)
			return error;
		if (!(desc.flags & VRING_DESC_F_NEXT))
			break;
		/* What is in flight still has its slots; and so this ends. */
		if (count++ == room)
			return "a chain is longer than the ring's free part";
		index = index + 1 == vq->size ? 0 : index + 1;
		desc = fetch(vq->packed_desc, index);
	}
	if (desc.flags & VRING_DESC_F_INDIRECT) {
		/* 2.8.19: all that a driver must not do. */
		if (desc.flags & VRING_DESC_F_NEXT || count > 1)
			return "an indirect table is part of a chain";
		error = walk_table(vq, chain, &desc);
		if (error)
			return error;
	}
	chain->head = desc.id; /* of the last one (2.8.6) */
	*slots = (uint16_t)count;
	return NULL;
}

int virtq_packed_pop(struct virtq *vq, struct virtq_chain *chain)
{
	const char *error;
	uint16_t flags;
	uint16_t slots;

	/* Acquire: flags are what the driver writes last (2.8.21.1). */
	flags = le16toh(__atomic_load_n(&vq->packed_desc[vq->last_avail].flags,
					__ATOMIC_ACQUIRE));
	if (!is_available(flags, vq->avail_wrap))
		return 0;
	/* The used ones that are still to come need their slots. */
	if (vq->slots_in_flight == vq->size)
		return virtq_break(vq, "more is available than the ring holds");
	error = walk(vq, flags, chain, &slots);
	if (error)
		return virtq_break(vq, error);
	/* Ids are the driver's to choose; all known ones count the buffers. */
	if (chain->head >= vq->size)
		return virtq_break(vq, "a buffer id is out of range");
	if (virtq_in_flight(vq, chain->head))
		return virtq_break(vq, "a buffer id is in flight already");

	vq->slots[chain->head] = slots;
	vq->slots_in_flight += slots;
	vq->last_avail += slots;
	if (vq->last_avail >= vq->size) {
		vq->last_avail -= vq->size;
		vq->avail_wrap = !vq->avail_wrap;
	}
	return 1;
}

void virtq_packed_unpop(struct virtq *vq, uint16_t head)
{
	uint16_t slots = vq->slots[head];

	vq->slots_in_flight -= slots;
	if (vq->last_avail < slots) {
		vq->last_avail += vq->size;
		vq->avail_wrap = !vq->avail_wrap;
	}
	vq->last_avail -= slots;
}

void virtq_packed_fill(struct virtq *vq, uint16_t head, uint32_t written)
{
	struct vring_packed_desc *desc = &vq->packed_desc[vq->used_idx];
	uint16_t flags = vq->used_wrap ? AVAIL | USED : 0;

	if (written)
		flags |= VRING_DESC_F_WRITE; /* 2.8.4: the length counts */
	__atomic_store_n(&desc->id, htole16(head), __ATOMIC_RELAXED);
	__atomic_store_n(&desc->len, htole32(written), __ATOMIC_RELAXED);
	/* 2.8.9: the driver looks at none before the first one's flags. */
	if (vq->first_hidden) {
		__atomic_store_n(&desc->flags, htole16(flags),
				 __ATOMIC_RELAXED);
	} else {
		vq->first_hidden = desc;
		vq->first_flags = flags;
	}

	vq->slots_in_flight -= vq->slots[head];
	vq->used_idx += vq->slots[head];
	if (vq->used_idx >= vq->size) {
		vq->used_idx -= vq->size;
		vq->used_wrap = !vq->used_wrap;
		/* Stays as far behind, maybe below zero (modulo 2^16). */
		vq->signalled_used -= vq->size;
	}
}

void virtq_packed_show(struct virtq *vq)
{
	if (!vq->first_hidden)
		return;
	/* Buffers and all that was filled are written before these flags. */
	__atomic_store_n(&vq->first_hidden->flags, htole16(vq->first_flags),
			 __ATOMIC_RELEASE);
	vq->first_hidden = NULL;
}

/*
 * 2.8.10: does going from @old to vq->used_idx, both on the lap of
 * vq->used_wrap, pass the slot that @off_wrap names?
 */
static bool passes(const struct virtq *vq, uint16_t off_wrap, uint16_t old)
{
	uint16_t event = off_wrap & (EVENT_WRAP - 1);

	if (!!(off_wrap & EVENT_WRAP) != vq->used_wrap)
		event -= vq->size; /* on the lap before */
	return vring_need_event(event, vq->used_idx, old);
}

bool virtq_packed_should_signal(struct virtq *vq)
{
	uint16_t old = vq->signalled_used;
	uint16_t off_wrap;
	uint16_t flags;

	/*
	 * As in the split layout: the driver writes its event structure and
	 * then looks at the ring, we wrote the ring and now look at the
	 * structure. A fence, for used descriptors must not be written twice
	 * (2.8.15).
	 */
	vq->signalled_used = vq->used_idx;
	atomic_thread_fence(memory_order_seq_cst);
	/* The driver writes flags last, so they are read first. */
	flags = le16toh(__atomic_load_n(&vq->driver_event->flags,
					__ATOMIC_ACQUIRE)) &
		EVENT_FLAGS;
	if (flags == VRING_PACKED_EVENT_FLAG_DESC && vq->event_idx) {
		off_wrap = le16toh(__atomic_load_n(&vq->driver_event->off_wrap,
						   __ATOMIC_RELAXED));
		return passes(vq, off_wrap, old);
	}
	return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
}

void virtq_packed_disable_notify(struct virtq *vq)
{
	__atomic_store_n(&vq->device_event->flags,
			 htole16(VRING_PACKED_EVENT_FLAG_DISABLE),
			 __ATOMIC_RELAXED);
}

bool virtq_packed_enable_notify(struct virtq *vq)
{
	uint16_t off_wrap = vq->last_avail | (vq->avail_wrap ? EVENT_WRAP : 0);
	uint16_t flags = VRING_PACKED_EVENT_FLAG_ENABLE;

	if (vq->event_idx) {
		__atomic_store_n(&vq->device_event->off_wrap, htole16(off_wrap),
				 __ATOMIC_RELAXED);
		flags = VRING_PACKED_EVENT_FLAG_DESC;
	}
	__atomic_store_n(&vq->device_event->flags, htole16(flags),
			 __ATOMIC_RELEASE);
	/* The mirror image of virtq_packed_should_signal(). */
	atomic_thread_fence(memory_order_seq_cst);
	flags = le16toh(__atomic_load_n(&vq->packed_desc[vq->last_avail].flags,
					__ATOMIC_RELAXED));
	return is_available(flags, vq->avail_wrap);
}
