/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Rate limits of a disk: a token bucket for requests and one for bytes, shared
 * by all queues of the disk. What has to wait costs no thread: each queue has
 * a timer on its own loop.
 *
 * A request goes when both buckets have something left, and may overdraw them:
 * so a large one passes a small limit, and is paid for by those after it.
 */
#ifndef LKVM_THROTTLE_H
#define LKVM_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * So much a second; and while that has not been used up for a time, @max a
 * second for @seconds. Without @max, a tenth of a second's is what may come at
 * once; with @max for one second, as much as @max.
 */
struct throttle_limit {
	uint64_t rate; /* 0: no limit */
	uint64_t max; /* not less than @rate; 0: none */
	uint64_t seconds; /* of @max; not 0 with one */
};

/* max * seconds may be what @rate brings in this time, and not more. */
#define THROTTLE_BURST_SECONDS (24 * 3600)

struct throttle_limits {
	struct throttle_limit requests, bytes;
};

struct image_queue;
struct image_request;
struct throttle;
struct throttle_queue;

/* @iops and @bandwidth are per second; 0: no limit. Returns 0 or -ENOMEM. */
int throttle_create(uint64_t iops, uint64_t bandwidth, struct throttle **out);

/* No queue exists. NULL is allowed. */
void throttle_destroy(struct throttle *throttle);

/* Other limits, from now on: what waits for the old ones looks again. */
void throttle_set(struct throttle *throttle,
		  const struct throttle_limits *limits);

/* The limits that hold. Any thread. */
void throttle_get(struct throttle *throttle, struct throttle_limits *out);

/*
 * May a request of @bytes go at @at_ns? Returns 0, and it is paid for, as it is
 * with @force in any case; or the nanoseconds after which it is worth while to
 * ask again. Any thread.
 */
uint64_t throttle_take(struct throttle *throttle, uint64_t bytes, bool force,
		       uint64_t at_ns);

/*
 * What waits on @queue's loop; @submit gets each request when its time has
 * come, and image_end_batch() follows. Returns 0 or -errno.
 */
int throttle_queue_create(struct throttle *throttle, struct image_queue *queue,
			  void (*submit)(struct image_queue *queue,
					 struct image_request *request),
			  struct throttle_queue **out);

/* Nothing waits. NULL is allowed. */
void throttle_queue_destroy(struct throttle_queue *tq);

/* May @request go now? Otherwise it waits. Flushes always may. */
bool throttle_pass(struct throttle_queue *tq, struct image_request *request);

/*
 * While @hurry, submit all that waits and let all else pass: it is paid for by
 * what comes later.
 */
void throttle_hurry(struct throttle_queue *tq, bool hurry);

#endif
