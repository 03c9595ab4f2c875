/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Split virtqueues (virtio 1.2, 2.7) with VIRTIO_F_EVENT_IDX and
 * VIRTIO_F_INDIRECT_DESC. The only code that reads a ring.
 *
 * The driver may rewrite any byte of a ring while it is read here. So every
 * index and every descriptor is fetched once, into a local, and only the copy
 * is checked and used. The first broken rule ends the queue's life until the
 * device is reset.
 *
 * Ring indices are accessed atomically; the orderings are named where they
 * matter. Sequentially consistent accesses stand in place of fences (a store
 * and a later load of that kind are not swapped), for thread sanitizers
 * understand these.
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <string.h>

#include <lkvm/util.h>
#include <lkvm/virtio.h>

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

int virtq_break(struct virtq *vq, const char *why)
{
	vq->broken = true;
	log_warn_limited(&vq->warn, "virtio",
			 "%s: the guest broke queue %u: %s",
			 vq->device->device.name, vq->index, why);
	return -EPROTO;
}

static const char *start_error(const struct virtq *vq)
{
	if (!is_power_of_two(vq->size) || vq->size > vq->max_size)
		return "its size is no power of 2 or above the maximum";
	if (vq->desc_addr % VRING_DESC_ALIGN_SIZE ||
	    vq->driver_addr % VRING_AVAIL_ALIGN_SIZE ||
	    vq->device_addr % VRING_USED_ALIGN_SIZE)
		return "an area is not aligned";
	return NULL;
}

int virtq_start(struct virtq *vq, uint64_t features)
{
	const char *error = start_error(vq);
	uint64_t size = vq->size;

	if (!error) {
		vq->desc = guest_map(vq->memory, vq->desc_addr,
				     size * sizeof(*vq->desc));
		vq->avail = guest_map(vq->memory, vq->driver_addr,
				      sizeof(*vq->avail) +
					      size * sizeof(__virtio16) +
					      EVENT_BYTES);
		vq->used = guest_map(vq->memory, vq->device_addr,
				     sizeof(*vq->used) +
					     size * sizeof(vq->used->ring[0]) +
					     EVENT_BYTES);
		if (!vq->desc || !vq->avail || !vq->used)
			error = "an area is not in RAM";
	}
	if (error) {
		virtq_break(vq, error);
		return -EINVAL;
	}
	vq->event_idx = features & BIT_ULL(VIRTIO_RING_F_EVENT_IDX);
	vq->indirect = features & BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);
	vq->running = true;
	return 0;
}

void virtq_reset(struct virtq *vq)
{
	vq->size = vq->max_size; /* 4.1.4.3 */
	vq->ready = false;
	vq->vector = VIRTIO_MSI_NO_VECTOR;
	vq->desc_addr = 0;
	vq->driver_addr = 0;
	vq->device_addr = 0;
	vq->running = false;
	vq->broken = false;
	vq->event_idx = false;
	vq->indirect = false;
	vq->last_avail = 0;
	vq->used_idx = 0;
	vq->signalled_used = 0;
	memset(vq->in_flight_map, 0, sizeof(vq->in_flight_map));
	vq->desc = NULL;
	vq->avail = NULL;
	vq->used = NULL;
}

/*
 * The one fetch of a descriptor. An indirect table need not be aligned, so
 * this is a byte copy; the fence keeps the compiler from going back to guest
 * memory for a field that has been checked.
 */
static struct vring_desc fetch(const struct vring_desc *table,
			       unsigned int index)
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

/* Append one buffer to @chain. Returns NULL or what is wrong with it. */
static const char *add_buffer(const struct virtq *vq, struct virtq_chain *chain,
			      const struct vring_desc *desc)
{
	unsigned int at = chain->out_count + chain->in_count;
	bool writable = desc->flags & VRING_DESC_F_WRITE;
	void *host;

	/* 2.7.4.2; devices rely on the order to find their headers. */
	if (!writable && chain->in_count)
		return "a readable buffer follows a writable one";
	/* Nothing forbids an empty buffer; there is nothing to hand out. */
	if (!desc->len)
		return NULL;
	if (at == VIRTQ_MAX_CHAIN)
		return "a chain has too many buffers";
	/* 2.7.5.2; also keeps any length of a chain within 32 bits. */
	if (chain->out_len + chain->in_len + desc->len > UINT32_MAX)
		return "a chain is longer than 4 GiB";
	host = guest_map(vq->memory, desc->addr, desc->len);
	if (!host)
		return "a buffer is not in RAM";

	chain->iov[at].iov_base = host;
	chain->iov[at].iov_len = desc->len;
	if (writable) {
		chain->in_count++;
		chain->in_len += desc->len;
	} else {
		chain->out_count++;
		chain->out_len += desc->len;
	}
	return NULL;
}

/*
 * Follow the chain that starts at chain->head. Returns NULL or what is wrong;
 * @chain is then undefined.
 */
static const char *walk(const struct virtq *vq, struct virtq_chain *chain)
{
	const struct vring_desc *table = vq->desc;
	unsigned int entries = vq->size;
	unsigned int index = chain->head;
	unsigned int count = 0;
	bool indirect = false;
	const char *error;

	for (;;) {
		struct vring_desc desc = fetch(table, index);

		if (desc.flags & VRING_DESC_F_INDIRECT) {
			/* 2.7.5.3.1: all that a driver must not do. */
			if (!vq->indirect)
				return "an indirect table was not negotiated";
			if (indirect)
				return "an indirect table is nested";
			if (desc.flags & VRING_DESC_F_NEXT)
				return "a chain goes on after its table";
			if (!desc.len || desc.len % sizeof(desc))
				return "an indirect table has a bad length";
			table = guest_map(vq->memory, desc.addr, desc.len);
			if (!table)
				return "an indirect table is not in RAM";
			entries = desc.len / sizeof(desc);
			index = 0;
			indirect = true;
			continue;
		}
		/* 2.7.5.3.1: indirect ones count too; and so a loop ends. */
		if (count++ == vq->size)
			return "a chain is longer than the queue";
		error = add_buffer(vq, chain, &desc);
		if (error)
			return error;
		if (!(desc.flags & VRING_DESC_F_NEXT))
			return NULL;
		if (desc.next >= entries)
			return "a descriptor's next is out of range";
		index = desc.next;
	}
}

int virtq_pop(struct virtq *vq, struct virtq_chain *chain)
{
	const char *error;
	uint16_t pending;
	uint16_t head;

	if (!vq->running || vq->broken)
		return 0;
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
	if (vq->in_flight_map[head / 64] & BIT_ULL(head % 64))
		return virtq_break(vq, "a head is in flight already");

	chain->head = head;
	chain->out_count = 0;
	chain->in_count = 0;
	chain->out_len = 0;
	chain->in_len = 0;
	error = walk(vq, chain);
	if (error)
		return virtq_break(vq, error);

	vq->last_avail++;
	vq->in_flight_map[head / 64] |= BIT_ULL(head % 64);
	return 1;
}

void virtq_unpop(struct virtq *vq, uint16_t head)
{
	vq->last_avail--;
	vq->in_flight_map[head / 64] &= ~BIT_ULL(head % 64);
}

void virtq_set_position(struct virtq *vq, uint16_t last_avail)
{
	vq->last_avail = last_avail;
	vq->used_idx = le16toh(
		__atomic_load_n(&vq->used->idx, __ATOMIC_ACQUIRE));
	vq->signalled_used = vq->used_idx;
}

void virtq_fill(struct virtq *vq, uint16_t head, uint32_t written)
{
	struct vring_used_elem *elem =
		&vq->used->ring[vq->used_idx & (vq->size - 1)];

	vq->in_flight_map[head / 64] &= ~BIT_ULL(head % 64);
	__atomic_store_n(&elem->id, htole32(head), __ATOMIC_RELAXED);
	__atomic_store_n(&elem->len, htole32(written), __ATOMIC_RELAXED);
	vq->used_idx++;
}

void virtq_show(struct virtq *vq)
{
	/* Buffers and elements are written before idx shows them (2.7.8.2). */
	__atomic_store_n(&vq->used->idx, htole16(vq->used_idx),
			 __ATOMIC_RELEASE);
}

void virtq_push(struct virtq *vq, uint16_t head, uint32_t written)
{
	virtq_fill(vq, head, written);
	virtq_show(vq);
}

bool virtq_should_signal(struct virtq *vq)
{
	uint16_t old = vq->signalled_used;
	uint16_t event;

	if (old == vq->used_idx)
		return false;
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

void virtq_disable_notify(struct virtq *vq)
{
	/*
	 * With event indices nothing is to do: avail_event stays behind, and
	 * the driver notifies only when it passes it. flags must be 0 then
	 * (2.7.10.2).
	 */
	if (vq->running && !vq->event_idx)
		__atomic_store_n(&vq->used->flags,
				 htole16(VRING_USED_F_NO_NOTIFY),
				 __ATOMIC_RELAXED);
}

bool virtq_enable_notify(struct virtq *vq)
{
	uint16_t avail_idx;

	if (!vq->running || vq->broken)
		return false;
	/*
	 * The mirror image of virtq_should_signal(): we write avail_event or
	 * flags and then look at avail idx; the driver writes idx and then
	 * looks at ours. Whichever comes last sees the other's.
	 */
	if (vq->event_idx)
		__atomic_store_n(avail_event(vq), htole16(vq->last_avail),
				 __ATOMIC_SEQ_CST);
	else
		__atomic_store_n(&vq->used->flags, 0, __ATOMIC_SEQ_CST);
	avail_idx = le16toh(__atomic_load_n(&vq->avail->idx, __ATOMIC_SEQ_CST));
	return avail_idx != vq->last_avail;
}
