/* SPDX-License-Identifier: GPL-2.0 */
/* Token buckets: see bucket.h. */
#include <lkvm/bucket.h>
#include <lkvm/util.h>

#define SECOND_NS 1000000000ULL

/* Whatever was asked for: an hour later it is forgiven. */
#define MAX_DEBT_NS (3600 * SECOND_NS)

static uint64_t burst_ns(const struct bucket *bucket)
{
	return bucket->burst_ns ? bucket->burst_ns : BUCKET_BURST_NS;
}

uint64_t bucket_wait(const struct bucket *bucket, uint64_t now)
{
	uint64_t empty_until = now + burst_ns(bucket);

	if (!bucket->rate || bucket->full_at < empty_until)
		return 0;
	return bucket->full_at - empty_until + 1;
}

void bucket_pay(struct bucket *bucket, uint64_t tokens, uint64_t now)
{
	unsigned __int128 ns;

	if (!bucket->rate)
		return;
	ns = (unsigned __int128)tokens * SECOND_NS / bucket->rate;
	bucket->full_at = MAX(bucket->full_at, now) +
			  (uint64_t)MIN(ns, (unsigned __int128)MAX_DEBT_NS);
	bucket->full_at =
		MIN(bucket->full_at, now + burst_ns(bucket) + MAX_DEBT_NS);
}
