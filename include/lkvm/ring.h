/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A queue of bytes in a fixed buffer. No lock of its own: who puts in and who
 * takes out agree on one.
 */
#ifndef LKVM_RING_H
#define LKVM_RING_H

#include <stddef.h>

#define RING_BYTES 65536

/* Zeroed, it is empty. */
struct ring {
	size_t head; /* of the oldest byte */
	size_t len;
	char data[RING_BYTES];
};

/* Append as much of @data as there is room for; returns how much that was. */
size_t ring_put(struct ring *ring, const void *data, size_t len);

/*
 * The oldest bytes: as many as lie in one piece, which @data points to. They
 * stay in place until ring_drop(), whatever is put in. Returns 0 when empty.
 */
size_t ring_peek(const struct ring *ring, const char **data);

/* Forget the oldest @len bytes; there are that many. */
void ring_drop(struct ring *ring, size_t len);

#endif
