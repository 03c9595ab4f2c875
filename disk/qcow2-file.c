/* SPDX-License-Identifier: GPL-2.0 */
/*
 * qcow2: the file below it, by system calls, and the set of its clusters that
 * hold metadata. What the functions promise is in qcow2.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lkvm/qcow2.h>

/* A file grows by this much at once: a system call less for each cluster. */
#define GROW_BYTES (1 * MIB)

int qcow2_pread(struct qcow2 *q, void *buf, size_t len, uint64_t offset)
{
	char *at = buf;

	while (len) {
		ssize_t n = pread(q->fd, at, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		at += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	memset(at, 0, len);
	return 0;
}

int qcow2_pwrite(struct qcow2 *q, const void *buf, size_t len, uint64_t offset)
{
	const char *at = buf;

	while (len) {
		ssize_t n = pwrite(q->fd, at, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	q->file_end = MAX(q->file_end, offset);
	q->fresh_from = MAX(q->fresh_from, qcow2_end(q, offset));
	return 0;
}

/*
 * The kernel reports a failed write-back once, and drops the pages: what was
 * written before may be gone, so no table may be written that speaks of it.
 */
int qcow2_sync(struct qcow2 *q)
{
	if (q->failed)
		return q->failed;
	if (!q->syncs || !fdatasync(q->fd))
		return 0;
	q->failed = -errno;
	log_warn_limited(&q->limit, "disk",
			 "%s: cannot sync: %s (no more writes)", q->name,
			 strerror(-q->failed));
	return q->failed;
}

int qcow2_grow(struct qcow2 *q, uint64_t end)
{
	uint64_t ahead = align_up(end, GROW_BYTES);

	if (end <= q->file_end)
		return 0;
	if (q->is_block_device)
		return -ENOSPC;
	if (ftruncate(q->fd, (off_t)ahead))
		return -errno;
	q->file_end = ahead;
	q->grown = true;
	return 0;
}

void qcow2_punch(struct qcow2 *q, uint64_t offset, uint64_t len)
{
	/* A hint: where it fails, the blocks stay allocated. */
	if (!q->image.options.no_discard)
		(void)!fallocate(q->fd,
				 FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 (off_t)offset, (off_t)len);
}

bool qcow2_in_file(const struct qcow2 *q, uint64_t offset, uint64_t len)
{
	/* The last cluster of a file may be cut short. */
	uint64_t end = qcow2_end(q, q->file_end);

	return offset && !qcow2_within(q, offset) && offset < q->file_end &&
	       len <= end - offset;
}

/* ---- the set of metadata clusters ---------------------------------------- */

static uint32_t set_slot(const struct qcow2_set *set, uint64_t cluster)
{
	/* Fibonacci hashing: the numbers come in rows. */
	return (uint32_t)((cluster * 0x9e3779b97f4a7c15ULL) >>
			  (64 - set->bits));
}

/* Where @cluster is, or the empty slot where it would be. */
static uint64_t *set_find(const struct qcow2_set *set, uint64_t cluster)
{
	uint32_t mask = (uint32_t)(BIT_ULL(set->bits) - 1);
	uint32_t slot = set_slot(set, cluster);

	while (set->slots[slot] && set->slots[slot] != cluster)
		slot = (slot + 1) & mask;
	return &set->slots[slot];
}

/* At most half full, so that look-ups are short and end. */
static int set_grow(struct qcow2_set *set)
{
	struct qcow2_set bigger = { .bits = set->slots ? set->bits + 1 : 6 };

	bigger.slots = calloc(BIT_ULL(bigger.bits), sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (uint64_t i = 0; set->slots && i < BIT_ULL(set->bits); i++)
		if (set->slots[i])
			*set_find(&bigger, set->slots[i]) = set->slots[i];
	bigger.count = set->count;
	free(set->slots);
	*set = bigger;
	return 0;
}

int qcow2_set_add(struct qcow2_set *set, uint64_t cluster)
{
	uint64_t *slot;
	int err;

	if (!set->slots || set->count >= BIT_ULL(set->bits - 1)) {
		err = set_grow(set);
		if (err)
			return err;
	}
	slot = set_find(set, cluster);
	if (*slot)
		return -EEXIST;
	*slot = cluster;
	set->count++;
	return 0;
}

void qcow2_set_remove(struct qcow2_set *set, uint64_t cluster)
{
	uint32_t mask = (uint32_t)(BIT_ULL(set->bits) - 1);
	uint64_t *slot = set_find(set, cluster);
	uint32_t at = (uint32_t)(slot - set->slots);

	if (!*slot)
		return;
	*slot = 0;
	set->count--;
	/* Those after it may have wished to be here: put them in anew. */
	for (at = (at + 1) & mask; set->slots[at]; at = (at + 1) & mask) {
		uint64_t moved = set->slots[at];

		set->slots[at] = 0;
		*set_find(set, moved) = moved;
	}
}

bool qcow2_set_has(const struct qcow2_set *set, uint64_t cluster)
{
	return *set_find(set, cluster) != 0;
}
