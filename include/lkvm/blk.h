/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Between the files of virtio/blk*: a disk, its queues and their requests.
 *
 * Each queue has a worker (worker.h), which owns the queue's requests and its
 * way into the image as it does the queue.
 */
#ifndef LKVM_BLK_H
#define LKVM_BLK_H

#include <linux/virtio_blk.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <lkvm/image.h>
#include <lkvm/virtio.h>
#include <lkvm/worker.h>

#define BLK_SECTOR 512
#define BLK_MAX_QUEUES 16

/* Of one discard or write-zeroes request; each costs its room in the pool. */
#define BLK_MAX_SEGMENTS 16

/* Sectors of one segment: what a reset may have to wait for. */
#define BLK_MAX_RANGE (256 * 2048U)

/* ---- statistics (blk-stats.c) ------------------------------------------- */

enum blk_class {
	BLK_READ,
	BLK_WRITE,
	BLK_FLUSH,
	BLK_DISCARD,
	BLK_ZEROES,
	BLK_CLASSES
};

/* Latencies in nanoseconds, 8 buckets each power of two; up to 18 minutes. */
#define BLK_BUCKETS (38 * 8)

/* Written by the queue's thread alone, read by any. */
struct blk_counters {
	_Atomic uint64_t requests, bytes, ns;
	_Atomic uint64_t latency[BLK_BUCKETS];
};

/* A request of @class has succeeded. The queue's thread. */
void blk_count(struct blk_counters *counters, uint64_t bytes, uint64_t ns);

struct blk;

/* Add what @blk's queues have counted of @class to @out. Any thread. */
void blk_add_counts(const struct blk *blk, enum blk_class class,
		    struct virtio_blk_counts *out);

/* device_type.stats */
void blk_stats(struct device *device, struct stats_sink *sink);

/* ---- queues (blk-request.c) --------------------------------------------- */

struct blk_data {
	const struct iovec *iov;
	unsigned int count;
	uint64_t len;
};

struct blk_segment {
	uint64_t sector;
	uint32_t count; /* sectors */
	bool unmap;
};

struct blk_request {
	struct image_request image;
	struct blk_queue *queue;
	struct blk_request *next_free;
	enum blk_class class;
	uint32_t type; /* VIRTIO_BLK_T_* */
	uint64_t sector;
	uint64_t bytes; /* for the statistics */
	uint64_t started_ns;
	uint8_t *status; /* in guest RAM */
	struct blk_data out, in; /* without header and status */
	unsigned int segment, nr_segments; /* of discard, write zeroes */
	struct blk_segment segments[BLK_MAX_SEGMENTS];
	struct virtq_chain chain;
};

struct blk_queue {
	struct blk *blk;
	struct virtq *vq;
	struct virtio_worker worker;
	struct image_queue *image; /* on the worker's loop */
	struct blk_request *requests; /* NULL: the driver has no such queue */

	/* the worker's */
	struct blk_request *free;
	unsigned int in_flight;
	bool stopping; /* the last completion lets the worker be idle */
	uint64_t now_ns; /* when this batch began; 0: it has not */

	struct blk_counters counters[BLK_CLASSES];
	_Atomic uint64_t errors;
};

struct blk {
	struct virtio_device vdev;
	struct image *image;
	char serial[VIRTIO_BLK_ID_BYTES + 1];
	_Atomic bool write_through; /* the driver takes writes for stable */
	unsigned int nr_queues;
	struct blk_queue queue[];
};

extern const struct virtio_worker_ops blk_worker_ops;

/* For image_queue_on_batch(). */
void blk_queue_batch_done(void *queue);

#endif
