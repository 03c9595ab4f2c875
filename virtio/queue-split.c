/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Split virtqueues (virtio 1.2, 2.7): see queue.c.
 *
 * Sequentially consistent accesses stand in place of fences (a store and a
 * later load of that kind are not swapped), for thread sanitizers understand
 * these.
 */
#include <endian.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <string.h>

#include <lkvm/util.h>
#include <lkvm/virtq.h>

_Static_assert(sizeof(struct vring_desc) == 16, "2.7.5");
_Static_assert(sizeof(struct vring_avail) == 4, "2.7.6");
_Static_assert(sizeof(struct vring_used_elem) == 8, "2.7.8");
_Static_assert(sizeof(struct vring_used) == 4, "2.7.8");

/* Both rings end in an event index, there whether negotiated or not (2.7). */
#define EVENT_BYTES sizeof(__virtio16)

static const __virtio16 *used_event(const struct virtq *vq)
{
	return &vq->avail->ring[vq->size];
}

static __virtio16 *avail_event(const struct virtq *vq)
{
	return (__virtio16 *)&vq->used->ring[vq->size];
}

const char *virtq_split_start(struct virtq *vq)
{
	uint64_t size = vq->size;

	if (!is_power_of_two(size))
		return "its size is no power of 2";
	if (vq->desc_addr % VRING_DESC_ALIGN_SIZE ||
	    vq->driver_addr % VRING_AVAIL_ALIGN_SIZE ||
	    vq->device_addr % VRING_USED_ALIGN_SIZE)
		return "an area is not aligned";
	vq->desc =
		guest_map(vq->memory, vq->desc_addr, size * sizeof(*vq->desc));
	vq->avail = guest_map(vq->memory, vq->driver_addr,
			      sizeof(*vq->avail) + size * sizeof(__virtio16) +
				      EVENT_BYTES);
	vq->used =
		guest_map(vq->memory, vq->device_addr,
			  sizeof(*vq->used) + size * sizeof(vq->used->ring[0]) +
				  EVENT_BYTES);
	if (!vq->desc || !vq->avail || !vq->used)
		return "an area is not in RAM";
	return NULL;
}

/*
 * The one fetch of a descriptor. An indirect table need not be aligned, so
 * this is a byte copy; the fence keeps the compiler from going back to guest
 * memory for a field that has been checked.
 */
static struct vring_desc fetch(const void *table, unsigned int index)
{
	struct vring_desc raw;

	memcpy(&raw, (const char *)table + index * sizeof(raw), sizeof(raw));
	atomic_signal_fence(memory_order_seq_cst);
	return (struct vring_desc) {
		.addr = le64toh(raw.addr),
		.len = le32toh(raw.len),
		.flags = le16toh(raw.flags),
		.next = le16toh(raw.next),
	};
}

/*
 * Follow the chain that starts at chain->head. Returns NULL or what is wrong;
 * @chain is then undefined.
 */
static const char *walk(const struct virtq *vq, struct virtq_chain *chain)
{
	const void *table = vq->desc;
	unsigned int entries = vq->size;
	unsigned int index = chain->head;
	unsigned int count = 0;
	bool indirect = false;
	const char *error;

	for (;;) {
		struct vring_desc desc = fetch(table, index);

		if (desc.flags & VRING_DESC_F_INDIRECT) {
			/* 2.7.5.3.1: all that a driver must not do. */
			if (indirect)
				return "an indirect table is nested";
			if (desc.flags & VRING_DESC_F_NEXT)
				return "a chain goes on after its table";
			error = virtq_map_table(vq, desc.addr, desc.len, &table,
						&entries);
			if (error)
				return error;
			index = 0;
			indirect = true;
			continue;
		}
		/* 2.7.5.3.1: indirect ones count too; and so a loop ends. */
		if (count++ == vq->size)
			return "a chain is longer than the queue";
		error = virtq_add_buffer(vq, chain, desc.addr, desc.len,
					 desc.flags & VRING_DESC_F_WRITE);
		if (error)
			return error;
		if (!(desc.flags & VRING_DESC_F_NEXT))
			return NULL;
		if (desc.next >= entries)
			return "a descriptor's next is out of range";
		index = desc.next;
	}
}

int virtq_split_pop(struct virtq *vq, struct virtq_chain *chain)
{
	const char *error;
	uint16_t pending;
	uint16_t head;

	/* Acquire: what the driver wrote before idx is seen after it. */
	pending = le16toh(__atomic_load_n(&vq->avail->idx, __ATOMIC_ACQUIRE)) -
		  vq->last_avail;
	if (!pending)
		return 0;
	if (pending > vq->size)
		return virtq_break(vq, "the avail index jumped");

	head = le16toh(__atomic_load_n(
		&vq->avail->ring[vq->last_avail & (vq->size - 1)],
		__ATOMIC_RELAXED));
	if (head >= vq->size)
		return virtq_break(vq, "a head is out of range");
	if (virtq_in_flight(vq, head))
		return virtq_break(vq, "a head is in flight already");

	chain->head = head;
	error = walk(vq, chain);
	if (error)
		return virtq_break(vq, error);
	vq->last_avail++;
	return 1;
}

void virtq_set_position(struct virtq *vq, uint16_t last_avail)
{
	vq->last_avail = last_avail;
	vq->used_idx = le16toh(
		__atomic_load_n(&vq->used->idx, __ATOMIC_ACQUIRE));
	vq->signalled_used = vq->used_idx;
}

void virtq_split_fill(struct virtq *vq, uint16_t head, uint32_t written)
{
	struct vring_used_elem *elem =
		&vq->used->ring[vq->used_idx & (vq->size - 1)];

	__atomic_store_n(&elem->id, htole32(head), __ATOMIC_RELAXED);
	__atomic_store_n(&elem->len, htole32(written), __ATOMIC_RELAXED);
	vq->used_idx++;
}

void virtq_split_show(struct virtq *vq)
{
	/* Buffers and elements are written before idx shows them (2.7.8.2). */
	__atomic_store_n(&vq->used->idx, htole16(vq->used_idx),
			 __ATOMIC_RELEASE);
}

bool virtq_split_should_signal(struct virtq *vq)
{
	uint16_t old = vq->signalled_used;
	uint16_t event;

	/*
	 * The driver writes used_event (or flags), then looks at idx once
	 * more before it sleeps. We write idx, then look at used_event: each
	 * writes first and reads second, both in one total order, so one of
	 * the two sees the other's write and no wake-up is lost. (idx is
	 * written again for the order's sake, once for all that was pushed.)
	 */
	vq->signalled_used = vq->used_idx;
	__atomic_store_n(&vq->used->idx, htole16(vq->used_idx),
			 __ATOMIC_SEQ_CST);
	if (!vq->event_idx)
		return !(le16toh(__atomic_load_n(&vq->avail->flags,
						 __ATOMIC_SEQ_CST)) &
			 VRING_AVAIL_F_NO_INTERRUPT);
	event = le16toh(__atomic_load_n(used_event(vq), __ATOMIC_SEQ_CST));
	return vring_need_event(event, vq->used_idx, old);
}

/* With event indices flags must be 0 (2.7.10.2), and this is not called. */
void virtq_split_disable_notify(struct virtq *vq)
{
	__atomic_store_n(&vq->used->flags, htole16(VRING_USED_F_NO_NOTIFY),
			 __ATOMIC_RELAXED);
}

bool virtq_split_enable_notify(struct virtq *vq)
{
	uint16_t avail_idx;

	/*
	 * The mirror image of virtq_split_should_signal(): we write
	 * avail_event or flags and then look at avail idx; the driver writes
	 * idx and then looks at ours. Whichever comes last sees the other's.
	 */
	if (vq->event_idx)
		__atomic_store_n(avail_event(vq), htole16(vq->last_avail),
				 __ATOMIC_SEQ_CST);
	else
		__atomic_store_n(&vq->used->flags, 0, __ATOMIC_SEQ_CST);
	avail_idx = le16toh(__atomic_load_n(&vq->avail->idx, __ATOMIC_SEQ_CST));
	return avail_idx != vq->last_avail;
}
