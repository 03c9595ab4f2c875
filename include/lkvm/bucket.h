/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A token bucket: so much a second, and what a tenth of a second brings at
 * once, or more. Whatever passes may overdraw it: so something large passes a
 * small limit, and is paid for by those after it.
 *
 * Told by time instead of tokens: by when the bucket will be full again. It is
 * empty if that takes as long as what it holds, or more.
 */
#ifndef LKVM_BUCKET_H
#define LKVM_BUCKET_H

#include <stdint.h>

/* A bucket holds what this time brings, as a rule, and is full at first. */
#define BUCKET_BURST_NS 100000000ULL

/* The owner's lock guards it; zeroed but for these two, it is full. */
struct bucket {
	uint64_t rate; /* tokens a second; 0: no limit */
	uint64_t burst_ns; /* it holds what this brings; 0: BUCKET_BURST_NS */
	uint64_t full_at; /* ns */
};

/* Nanoseconds from @now on until there is something in it; 0: there is. */
uint64_t bucket_wait(const struct bucket *bucket, uint64_t now);

/* Take @tokens at @now, whether it has them or not. */
void bucket_pay(struct bucket *bucket, uint64_t tokens, uint64_t now);

#endif
