/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Between the files of virtio/queue*: the two layouts of a ring behind the
 * functions of virtio.h. The queue's thread calls all of these, but for the
 * two start functions.
 */
#ifndef LKVM_VIRTQ_H
#define LKVM_VIRTQ_H

#include <lkvm/virtio.h>

/* Is chain @head popped and not yet pushed? (@head is below vq->size.) */
static inline bool virtq_in_flight(const struct virtq *vq, uint16_t head)
{
	return vq->in_flight_map[head / 64] & 1ULL << head % 64;
}

/*
 * Append one buffer to @chain. Returns NULL or what is wrong with it. @addr
 * and @len are copies of what the driver wrote.
 */
const char *virtq_add_buffer(const struct virtq *vq, struct virtq_chain *chain,
			     uint64_t addr, uint32_t len, bool writable);

/*
 * The indirect table at @addr. Returns NULL or what is wrong with it; sets
 * *@table, and *@entries (of sizeof(struct vring_desc) each).
 */
const char *virtq_map_table(const struct virtq *vq, uint64_t addr, uint32_t len,
			    const void **table, unsigned int *entries);

/* Map the three areas. Return NULL or what is wrong. */
const char *virtq_split_start(struct virtq *vq);
const char *virtq_packed_start(struct virtq *vq);

/*
 * Of a running queue that is not broken: as the functions of virtio.h. A
 * chain's head has been checked when it is there, and the caller notes that
 * it is in flight.
 */
int virtq_split_pop(struct virtq *vq, struct virtq_chain *chain);
int virtq_packed_pop(struct virtq *vq, struct virtq_chain *chain);
void virtq_packed_unpop(struct virtq *vq, uint16_t head);
void virtq_split_fill(struct virtq *vq, uint16_t head, uint32_t written);
void virtq_packed_fill(struct virtq *vq, uint16_t head, uint32_t written);
void virtq_split_show(struct virtq *vq);
void virtq_packed_show(struct virtq *vq);
bool virtq_split_should_signal(struct virtq *vq);
bool virtq_packed_should_signal(struct virtq *vq);
void virtq_split_disable_notify(struct virtq *vq);
void virtq_packed_disable_notify(struct virtq *vq);
bool virtq_split_enable_notify(struct virtq *vq);
bool virtq_packed_enable_notify(struct virtq *vq);

#endif
