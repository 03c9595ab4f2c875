/* SPDX-License-Identifier: GPL-2.0 */
/*
 * qcow2: the dirty bit. Who has lazy refcounts may leave refcounts behind that
 * are too low; here the tables are walked, refcounts are raised to what they
 * say, and the COPIED bits of the active tables made to agree. Counts that are
 * too high stay: leaks do no harm, and there may be clusters (of bitmaps) that
 * only others know.
 *
 * We never set the bit: refcounts of ours are never behind.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/qcow2.h>

struct repair {
	struct qcow2 *q;
	uint32_t *counts; /* of each cluster of the file */
	uint64_t clusters;
	uint64_t *l2; /* a buffer of one table */
};

static int give_up(const struct qcow2 *q, const char *why)
{
	log_err("disk",
		"disk image %s was not closed, and cannot be repaired here: "
		"%s (use: qemu-img check -r all FILE)",
		q->name, why);
	return -EIO;
}

static int count_clusters(struct repair *r, uint64_t first, uint64_t count)
{
	if (first >= r->clusters || count > r->clusters - first)
		return give_up(r->q, "a table names what is past the end");
	for (uint64_t i = first; i < first + count; i++)
		r->counts[i]++;
	return 0;
}

static int count_bytes(struct repair *r, uint64_t offset, uint64_t len)
{
	uint32_t cs = r->q->cluster_size;

	return count_clusters(r, offset / cs, (len + cs - 1) / cs);
}

static int count_l2(struct repair *r, uint64_t offset)
{
	struct qcow2 *q = r->q;
	int err = qcow2_pread(q, r->l2, q->cluster_size, offset);

	for (uint64_t i = 0; !err && i < BIT_ULL(q->l2_bits); i++) {
		uint64_t entry = be64toh(r->l2[i]);
		struct qcow2_range range;

		if (entry & QCOW2_COMPRESSED) {
			range = qcow2_compressed_clusters(q, entry);
			err = count_clusters(r, range.first, range.count);
		} else if (entry & QCOW2_OFFSET_MASK) {
			err = count_bytes(r, entry & QCOW2_OFFSET_MASK, 1);
		}
	}
	return err;
}

static int count_l1(struct repair *r, const struct qcow2_array *l1)
{
	int err = count_bytes(r, l1->offset, l1->count * sizeof(uint64_t));

	for (uint32_t i = 0; !err && i < l1->count; i++) {
		uint64_t offset = l1->entries[i] & QCOW2_OFFSET_MASK;

		if (!offset)
			continue;
		err = count_bytes(r, offset, 1);
		if (!err)
			err = count_l2(r, offset);
	}
	return err;
}

static int count_snapshots(struct repair *r)
{
	struct qcow2 *q = r->q;
	int err = count_clusters(r, q->snapshot_table.first,
				 q->snapshot_table.count);

	for (uint32_t i = 0; !err && i < q->snapshot_count; i++) {
		const struct qcow2_snapshot *snapshot = &q->snapshots[i];
		struct qcow2_array l1;

		if (!snapshot->l1_size)
			continue;
		err = qcow2_array_load(q, &l1, snapshot->l1_offset,
				       snapshot->l1_size);
		if (err)
			break;
		err = count_l1(r, &l1);
		free(l1.entries);
	}
	return err;
}

static int count_all(struct repair *r)
{
	struct qcow2 *q = r->q;
	int err = count_clusters(r, 0, 1);

	if (!err)
		err = count_bytes(r, q->reftable.offset,
				  q->reftable.count * sizeof(uint64_t));
	for (uint32_t i = 0; !err && i < q->reftable.count; i++)
		if (q->reftable.entries[i])
			err = count_bytes(r, q->reftable.entries[i], 1);
	if (!err)
		err = count_l1(r, &q->l1);
	if (!err)
		err = count_snapshots(r);
	return err;
}

static int raise_refcounts(struct repair *r)
{
	struct qcow2 *q = r->q;
	unsigned int bits = 1U << q->refcount_order;
	uint64_t max = bits < 64 ? BIT_ULL(bits) - 1 : UINT64_MAX;

	for (uint64_t i = 0; i < r->clusters; i++) {
		uint64_t count;
		int err = qcow2_refcount(q, i, &count);

		if (err)
			return err;
		if (count >= r->counts[i])
			continue;
		if (r->counts[i] > max)
			return give_up(q, "a cluster is in use too often");
		err = qcow2_set_refcount(q, i, r->counts[i]);
		if (err == -ENOENT)
			return give_up(q, "refcount blocks are missing");
		if (err)
			return err;
	}
	return 0;
}

/* @entry as the refcount of its cluster wants it. */
static int fix_copied(struct qcow2 *q, uint64_t entry, uint64_t *out)
{
	uint64_t count;
	int err = qcow2_refcount(
		q, (entry & QCOW2_OFFSET_MASK) / q->cluster_size, &count);

	if (!err)
		*out = count == 1 ? entry | QCOW2_COPIED :
				    entry & ~QCOW2_COPIED;
	return err;
}

static int fix_l2(struct qcow2 *q, uint64_t offset)
{
	struct qcow2_table *table;
	int err = qcow2_get(q, &q->l2_cache, offset, &table);
	uint64_t *entries;

	if (err)
		return err;
	entries = table->data;
	for (uint64_t i = 0; !err && i < BIT_ULL(q->l2_bits); i++) {
		uint64_t entry = be64toh(entries[i]);
		uint64_t fixed = entry;

		if (!(entry & QCOW2_COMPRESSED) && entry & QCOW2_OFFSET_MASK)
			err = fix_copied(q, entry, &fixed);
		if (!err && fixed != entry) {
			entries[i] = htobe64(fixed);
			qcow2_dirty(&q->l2_cache, table);
		}
	}
	qcow2_put(table);
	return err;
}

static int fix_active_tables(struct qcow2 *q)
{
	int err = 0;

	for (uint32_t i = 0; !err && i < q->l1.count; i++) {
		uint64_t entry = q->l1.entries[i];
		uint64_t fixed;

		if (!(entry & QCOW2_OFFSET_MASK))
			continue;
		err = fix_l2(q, entry & QCOW2_OFFSET_MASK);
		if (!err)
			err = fix_copied(q, entry, &fixed);
		if (!err && fixed != entry)
			qcow2_array_set(&q->l1, i, fixed);
	}
	return err;
}

static int repair(struct repair *r)
{
	struct qcow2 *q = r->q;
	int err = qcow2_prepare_write(q);

	if (!err)
		err = count_all(r);
	if (!err)
		err = raise_refcounts(r);
	if (!err)
		err = fix_active_tables(q);
	if (!err)
		err = qcow2_write_back(q, NULL);
	if (err)
		return err;
	/* Only when all of it is durable. */
	q->incompatible &= ~QCOW2_INCOMPAT_DIRTY;
	err = qcow2_write_header64(
		q, offsetof(struct qcow2_header, incompatible_features),
		q->incompatible);
	return err ? err : qcow2_sync(q);
}

int qcow2_repair(struct qcow2 *q)
{
	struct repair r = {
		.q = q,
		.clusters = qcow2_end(q, q->file_end) / q->cluster_size,
	};
	int err = -ENOMEM;

	if (r.clusters > QCOW2_MAX_REPAIR_BYTES / sizeof(*r.counts))
		return give_up(q, "the file has too many clusters");
	log_info("disk", "%s was not closed: repairing its refcounts", q->name);
	r.counts = calloc(r.clusters, sizeof(*r.counts));
	r.l2 = malloc(q->cluster_size);
	if (r.counts && r.l2)
		err = repair(&r);
	free(r.counts);
	free(r.l2);
	if (err && err != -EIO)
		log_err("disk", "cannot repair disk image %s: %s", q->name,
			strerror(-err));
	return err;
}
