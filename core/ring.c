/* SPDX-License-Identifier: GPL-2.0 */
/* A queue of bytes: see ring.h. */
#include <string.h>

#include <lkvm/ring.h>
#include <lkvm/util.h>

size_t ring_put(struct ring *ring, const void *data, size_t len)
{
	size_t taken = MIN(len, RING_BYTES - ring->len);
	size_t tail = (ring->head + ring->len) % RING_BYTES;
	size_t first = MIN(taken, RING_BYTES - tail);

	memcpy(ring->data + tail, data, first);
	memcpy(ring->data, (const char *)data + first, taken - first);
	ring->len += taken;
	return taken;
}

size_t ring_peek(const struct ring *ring, const char **data)
{
	*data = ring->data + ring->head;
	return MIN(ring->len, RING_BYTES - ring->head);
}

void ring_drop(struct ring *ring, size_t len)
{
	ring->len -= len;
	/* Starting over keeps the ring's other pages untouched. */
	ring->head = ring->len ? (ring->head + len) % RING_BYTES : 0;
}
