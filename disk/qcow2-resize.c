/* SPDX-License-Identifier: GPL-2.0 */
/*
 * qcow2: a disk that grows while it is in use. Only as far as the L1 table has
 * room in its own clusters: 4 TiB and more with clusters of 64 KiB.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/qcow2.h>

/* What no image can do, and what this one cannot. */
static int check(const struct qcow2 *q, uint64_t size)
{
	uint64_t old = q->image.size;

	if (q->corrupt || q->failed)
		return -EIO;
	/* Clusters would have to go, from under the guest's requests. */
	if (size < old)
		return -ENOTSUP;
	/* Snapshots of version 2 do not know how large the disk was. */
	if (q->version < 3 && q->snapshot_count)
		return -ENOTSUP;
	/* What the backing file has there must not come to light. */
	if (q->backing && q->backing->size > old)
		return -ENOTSUP;
	return 0;
}

/*
 * What lies past the disk's end, in the tail of its last cluster or where a
 * snapshot was larger, would become part of it.
 */
static int check_past_end(struct qcow2 *q)
{
	uint64_t end = (uint64_t)q->l1.count << (q->cluster_bits + q->l2_bits);
	struct qcow2_run run;

	for (uint64_t at = q->image.size; at < end; at += run.len) {
		int err = qcow2_map(q, at, end - at, &run);

		if (err)
			return err;
		if (run.kind == QCOW2_IS_DATA ||
		    run.kind == QCOW2_IS_COMPRESSED)
			return -ENOTSUP;
	}
	return 0;
}

/* Entries in the file up to @count, all that are new of them zero. */
static int grow_l1(struct qcow2 *q, uint64_t count)
{
	struct qcow2_array *l1 = &q->l1;
	uint64_t room = qcow2_end(q, l1->count * sizeof(*l1->entries));
	uint64_t from = l1->count * sizeof(*l1->entries);
	uint64_t len = count * sizeof(*l1->entries);
	uint64_t *entries;
	int err;

	if (len > room || len > QCOW2_MAX_L1_BYTES)
		return -ERANGE;
	entries = realloc(l1->entries, len);
	if (!entries)
		return -ENOMEM;
	l1->entries = entries;
	memset(entries + l1->count, 0, len - from);
	err = qcow2_pwrite(q, entries + l1->count, len - from,
			   l1->offset + from);
	if (!err)
		err = qcow2_sync(q);
	/* Together with what is before it: an encryption of none. */
	if (!err)
		err = qcow2_write_header64(
			q, offsetof(struct qcow2_header, crypt_method), count);
	if (!err)
		l1->count = (uint32_t)count;
	return err;
}

static int grow(struct qcow2 *q, uint64_t size)
{
	uint64_t count = ((size - 1) >> (q->cluster_bits + q->l2_bits)) + 1;
	int err = check(q, size);

	if (!err)
		err = check_past_end(q);
	if (!err)
		err = qcow2_prepare_write(q);
	if (!err && count > q->l1.count)
		err = grow_l1(q, count);
	/* The disk is never larger than its L1 table, after a crash as well. */
	if (!err)
		err = qcow2_sync(q);
	if (!err)
		err = qcow2_write_header64(
			q, offsetof(struct qcow2_header, size), size);
	if (!err)
		err = qcow2_sync(q);
	if (!err)
		atomic_store(&q->image.size, size);
	return err;
}

int qcow2_resize(struct image *image, uint64_t size)
{
	struct qcow2 *q = qcow2_of(image);
	int err;

	pthread_mutex_lock(&q->lock);
	err = grow(q, size);
	pthread_mutex_unlock(&q->lock);
	return err;
}
