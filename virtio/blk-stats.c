/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A disk's rows of --stats: counts, bytes and latencies by kind of request,
 * over all its queues.
 *
 * Latencies are counted in buckets whose width is an eighth of their power of
 * two, so a percentile is at most that much too large.
 */
#include <lkvm/blk.h>
#include <lkvm/util.h>

static unsigned int bucket_of(uint64_t ns)
{
	unsigned int exponent;
	unsigned int bucket;

	if (ns < 8)
		return (unsigned int)ns;
	exponent = 63 - (unsigned int)__builtin_clzll(ns);
	bucket = (exponent - 2) * 8 + ((ns >> (exponent - 3)) & 7);
	return MIN(bucket, BLK_BUCKETS - 1);
}

/* The largest latency of the bucket. */
static uint64_t bucket_end(unsigned int bucket)
{
	if (bucket < 8)
		return bucket;
	return ((uint64_t)(8 + bucket % 8 + 1) << (bucket / 8 - 1)) - 1;
}

void blk_count(struct blk_counters *counters, uint64_t bytes, uint64_t ns)
{
	counter_add(&counters->requests, 1);
	counter_add(&counters->bytes, bytes);
	counter_add(&counters->ns, ns);
	counter_add(&counters->latency[bucket_of(ns)], 1);
}

static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void blk_add_counts(const struct blk *blk, enum blk_class class,
		    struct virtio_blk_counts *out)
{
	for (unsigned int q = 0; q < blk->nr_queues; q++) {
		const struct blk_counters *c = &blk->queue[q].counters[class];

		out->requests += get(&c->requests);
		out->bytes += get(&c->bytes);
		out->ns += get(&c->ns);
	}
}

/* All queues' latencies of @class: nanoseconds that @percent are within. */
static uint64_t percentile(const struct blk *blk, enum blk_class class,
			   unsigned int percent)
{
	uint64_t sum[BLK_BUCKETS] = { 0 };
	uint64_t total = 0;
	uint64_t seen = 0;
	unsigned int i;

	for (unsigned int q = 0; q < blk->nr_queues; q++)
		for (i = 0; i < BLK_BUCKETS; i++) {
			uint64_t n =
				get(&blk->queue[q].counters[class].latency[i]);

			sum[i] += n;
			total += n;
		}
	for (i = 0; i < BLK_BUCKETS - 1; i++) {
		seen += sum[i];
		if (seen * 100 >= total * percent)
			break;
	}
	return bucket_end(i);
}

static void print_class(const struct blk *blk, enum blk_class class,
			struct stats_sink *sink)
{
	static const struct {
		const char *requests, *bytes, *p50, *p99;
	} names[BLK_CLASSES] = {
		[BLK_READ] = { "reads", "read-bytes", "read-p50-us",
			       "read-p99-us" },
		[BLK_WRITE] = { "writes", "written-bytes", "write-p50-us",
				"write-p99-us" },
		[BLK_FLUSH] = { "flushes", NULL, "flush-p50-us",
				"flush-p99-us" },
		[BLK_DISCARD] = { "discards", "discarded-bytes",
				  "discard-p50-us", "discard-p99-us" },
		[BLK_ZEROES] = { "write-zeroes", "zeroed-bytes",
				 "write-zeroes-p50-us", "write-zeroes-p99-us" },
	};
	const char *who = blk->vdev.device.name;
	struct virtio_blk_counts counts = { 0 };

	blk_add_counts(blk, class, &counts);
	stats_count(sink, who, names[class].requests, counts.requests);
	if (names[class].bytes)
		stats_count(sink, who, names[class].bytes, counts.bytes);
	if (!counts.requests)
		return;
	stats_count(sink, who, names[class].p50,
		    percentile(blk, class, 50) / 1000);
	stats_count(sink, who, names[class].p99,
		    percentile(blk, class, 99) / 1000);
}

void blk_stats(struct device *device, struct stats_sink *sink)
{
	const struct blk *blk = container_of(device, struct blk, vdev.device);
	uint64_t errors = 0;

	for (enum blk_class class = 0; class < BLK_CLASSES; class ++)
		print_class(blk, class, sink);
	for (unsigned int q = 0; q < blk->nr_queues; q++)
		errors += get(&blk->queue[q].errors);
	stats_count(sink, device->name, "errors", errors);
}
