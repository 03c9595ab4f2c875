/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Virtqueues (virtio 1.2, 2.6): what both layouts have in common. Together
 * with queue-split.c and queue-packed.c the only code that reads a ring.
 *
 * The driver may rewrite any byte of a ring while it is read here. So every
 * index and every descriptor is fetched once, into a local, and only the copy
 * is checked and used. The first broken rule ends the queue's life until the
 * device is reset.
 *
 * Ring indices are accessed atomically; the orderings are named where they
 * matter.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include <lkvm/util.h>
#include <lkvm/virtq.h>

_Static_assert(sizeof(struct vring_desc) == sizeof(struct vring_packed_desc),
	       "2.7.5, 2.8.13: the entries of an indirect table");

int virtq_break(struct virtq *vq, const char *why)
{
	vq->broken = true;
	log_warn_limited(&vq->warn, "virtio",
			 "%s: the guest broke queue %u: %s",
			 vq->device->device.name, vq->index, why);
	return -EPROTO;
}

int virtq_start(struct virtq *vq, uint64_t features)
{
	const char *error;

	vq->packed = features & BIT_ULL(VIRTIO_F_RING_PACKED);
	vq->event_idx = features & BIT_ULL(VIRTIO_RING_F_EVENT_IDX);
	vq->indirect = features & BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);
	if (!vq->size || vq->size > vq->max_size)
		error = "its size is zero or above the maximum";
	else if (vq->packed)
		error = virtq_packed_start(vq);
	else
		error = virtq_split_start(vq);
	if (error) {
		virtq_break(vq, error);
		return -EINVAL;
	}
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
	vq->packed = false;
	vq->event_idx = false;
	vq->indirect = false;
	vq->last_avail = 0;
	vq->used_idx = 0;
	vq->signalled_used = 0;
	vq->avail_wrap = true; /* 2.8.1 */
	vq->used_wrap = true;
	vq->slots_in_flight = 0;
	vq->first_hidden = NULL;
	memset(vq->in_flight_map, 0, sizeof(vq->in_flight_map));
	vq->desc = NULL;
	vq->avail = NULL;
	vq->used = NULL;
	vq->packed_desc = NULL;
	vq->driver_event = NULL;
	vq->device_event = NULL;
}

const char *virtq_add_buffer(const struct virtq *vq, struct virtq_chain *chain,
			     uint64_t addr, uint32_t len, bool writable)
{
	unsigned int at = chain->out_count + chain->in_count;
	void *host;

	/* 2.7.4.2, 2.8.17; devices rely on it to find their headers. */
	if (!writable && chain->in_count)
		return "a readable buffer follows a writable one";
	/* Nothing forbids an empty buffer; there is nothing to hand out. */
	if (!len)
		return NULL;
	if (at == VIRTQ_MAX_CHAIN)
		return "a chain has too many buffers";
	/* 2.7.5.2; also keeps any length of a chain within 32 bits. */
	if (chain->out_len + chain->in_len + len > UINT32_MAX)
		return "a chain is longer than 4 GiB";
	host = guest_map(vq->memory, addr, len);
	if (!host)
		return "a buffer is not in RAM";

	chain->iov[at].iov_base = host;
	chain->iov[at].iov_len = len;
	if (writable) {
		chain->in_count++;
		chain->in_len += len;
	} else {
		chain->out_count++;
		chain->out_len += len;
	}
	return NULL;
}

const char *virtq_map_table(const struct virtq *vq, uint64_t addr, uint32_t len,
			    const void **table, unsigned int *entries)
{
	if (!vq->indirect)
		return "an indirect table was not negotiated";
	if (!len || len % sizeof(struct vring_desc))
		return "an indirect table has a bad length";
	*table = guest_map(vq->memory, addr, len);
	if (!*table)
		return "an indirect table is not in RAM";
	*entries = len / sizeof(struct vring_desc);
	return NULL;
}

int virtq_pop(struct virtq *vq, struct virtq_chain *chain)
{
	int got;

	if (!vq->running || vq->broken)
		return 0;
	chain->out_count = 0;
	chain->in_count = 0;
	chain->out_len = 0;
	chain->in_len = 0;
	got = vq->packed ? virtq_packed_pop(vq, chain) :
			   virtq_split_pop(vq, chain);
	if (got > 0)
		vq->in_flight_map[chain->head / 64] |=
			BIT_ULL(chain->head % 64);
	return got;
}

void virtq_unpop(struct virtq *vq, uint16_t head)
{
	vq->in_flight_map[head / 64] &= ~BIT_ULL(head % 64);
	if (vq->packed)
		virtq_packed_unpop(vq, head);
	else
		vq->last_avail--;
}

void virtq_fill(struct virtq *vq, uint16_t head, uint32_t written)
{
	vq->in_flight_map[head / 64] &= ~BIT_ULL(head % 64);
	if (vq->packed)
		virtq_packed_fill(vq, head, written);
	else
		virtq_split_fill(vq, head, written);
}

void virtq_show(struct virtq *vq)
{
	if (vq->packed)
		virtq_packed_show(vq);
	else
		virtq_split_show(vq);
}

void virtq_push(struct virtq *vq, uint16_t head, uint32_t written)
{
	virtq_fill(vq, head, written);
	virtq_show(vq);
}

bool virtq_should_signal(struct virtq *vq)
{
	if (vq->signalled_used == vq->used_idx)
		return false;
	return vq->packed ? virtq_packed_should_signal(vq) :
			    virtq_split_should_signal(vq);
}

void virtq_disable_notify(struct virtq *vq)
{
	/*
	 * With event indices nothing is to do: the one that we wrote stays
	 * behind, and the driver notifies only when it passes it.
	 */
	if (!vq->running || vq->event_idx)
		return;
	if (vq->packed)
		virtq_packed_disable_notify(vq);
	else
		virtq_split_disable_notify(vq);
}

bool virtq_enable_notify(struct virtq *vq)
{
	if (!vq->running || vq->broken)
		return false;
	return vq->packed ? virtq_packed_enable_notify(vq) :
			    virtq_split_enable_notify(vq);
}
