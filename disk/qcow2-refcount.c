/* SPDX-License-Identifier: GPL-2.0 */
/*
 * qcow2: which clusters of the file are in use ("Host cluster management").
 *
 * Counts only go from 0 to 1, and down: internal snapshots are made by others.
 * A count that is too high leaks a cluster, one that is too low loses data; so
 * counts rise before a cluster is named, and fall when nothing names it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/qcow2.h>

/* ---- counts of 1 to 64 bits ---------------------------------------------- */

static uint64_t get_count(const struct qcow2 *q, const void *block, uint64_t at)
{
	const uint8_t *bytes = block;
	unsigned int bits = 1U << q->refcount_order;
	unsigned int shift;

	switch (q->refcount_order) {
	case 4:
		return be16toh(((const uint16_t *)block)[at]);
	case 5:
		return be32toh(((const uint32_t *)block)[at]);
	case 6:
		return be64toh(((const uint64_t *)block)[at]);
	default:
		/* Bit 0 of a byte belongs to the first count in it. */
		shift = (unsigned int)(at * bits % 8);
		return (bytes[at * bits / 8] >> shift) & (BIT(bits) - 1);
	}
}

static void put_count(const struct qcow2 *q, void *block, uint64_t at,
		      uint64_t count)
{
	unsigned int bits = 1U << q->refcount_order;
	unsigned int shift, mask;
	uint8_t *byte;

	switch (q->refcount_order) {
	case 4:
		((uint16_t *)block)[at] = htobe16((uint16_t)count);
		break;
	case 5:
		((uint32_t *)block)[at] = htobe32((uint32_t)count);
		break;
	case 6:
		((uint64_t *)block)[at] = htobe64(count);
		break;
	default:
		byte = (uint8_t *)block + at * bits / 8;
		shift = (unsigned int)(at * bits % 8);
		mask = (unsigned int)(BIT(bits) - 1) << shift;
		*byte = (uint8_t)((*byte & ~mask) | (count << shift));
	}
}

static uint64_t block_entries(const struct qcow2 *q)
{
	return BIT_ULL(q->block_bits);
}

/* The refcount block of @cluster; *@out is NULL when there is none. */
static int get_block(struct qcow2 *q, uint64_t cluster,
		     struct qcow2_table **out)
{
	uint64_t index = cluster >> q->block_bits;
	uint64_t offset;

	offset = index < q->reftable.count ? q->reftable.entries[index] : 0;
	if (!offset) {
		*out = NULL;
		return 0;
	}
	return qcow2_get(q, &q->block_cache, offset, out);
}

int qcow2_refcount(struct qcow2 *q, uint64_t cluster, uint64_t *out)
{
	struct qcow2_table *block;
	int err = get_block(q, cluster, &block);

	if (err)
		return err;
	*out = 0;
	if (!block)
		return 0;
	*out = get_count(q, block->data, cluster & (block_entries(q) - 1));
	qcow2_put(block);
	return 0;
}

int qcow2_set_refcount(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
	struct qcow2_table *block;
	int err = get_block(q, cluster, &block);

	if (err)
		return err;
	if (!block)
		return -ENOENT;
	put_count(q, block->data, cluster & (block_entries(q) - 1), count);
	qcow2_dirty(&q->block_cache, block);
	qcow2_put(block);
	return 0;
}

/* ---- making room for counts ---------------------------------------------- */

/* What a longer refcount table and the blocks that count it look like. */
struct new_reftable {
	uint64_t first; /* cluster of the blocks; the table follows */
	uint64_t blocks, clusters;
	uint64_t old_first, old_clusters;
};

static int plan_reftable(const struct qcow2 *q, struct new_reftable *new)
{
	uint64_t entries = block_entries(q);
	uint64_t limit = QCOW2_MAX_REFTABLE_BYTES / q->cluster_size;

	/* No block counts what lies here: it is free. */
	new->first = q->reftable.count *entries;
	new->old_first = q->reftable.offset / q->cluster_size;
	new->old_clusters =
		q->reftable.count * sizeof(uint64_t) / q->cluster_size;
	new->clusters = MIN(new->old_clusters * 2, limit);
	if (new->clusters <= new->old_clusters)
		return -ENOSPC;
	new->blocks = 1;
	while (new->blocks * entries < new->blocks + new->clusters)
		new->blocks++;
	if ((new->old_clusters * q->cluster_size / sizeof(uint64_t)) +
		    new->blocks >
	    new->clusters * q->cluster_size / sizeof(uint64_t))
		return -ENOSPC;
	return 0;
}

/* The blocks that count themselves and the table, where nothing counted yet. */
static int make_blocks(struct qcow2 *q, const struct new_reftable *new)
{
	uint64_t used = new->blocks + new->clusters;

	for (uint64_t i = 0; i < new->blocks; i++) {
		uint64_t count =
			MIN(used - (i << q->block_bits), block_entries(q));
		struct qcow2_table *block;
		int err = qcow2_get_new(q, &q->block_cache,
					(new->first + i) * q->cluster_size,
					&block);

		if (err)
			return err;
		for (uint64_t at = 0; at < count; at++)
			put_count(q, block->data, at, 1);
		qcow2_put(block);
	}
	return 0;
}

/*
 * Before anything in the file names them: the blocks, which may be old ones
 * that only the cache has as well, and the table.
 */
static int write_reftable(struct qcow2 *q, const struct new_reftable *new,
			  struct qcow2_array *table)
{
	int err = qcow2_grow(q, (new->first + new->blocks + new->clusters) *
					q->cluster_size);

	if (!err)
		err = make_blocks(q, new);
	if (!err)
		err = qcow2_write_tables(q, &q->block_cache);
	if (!err)
		err = qcow2_array_write(q, table);
	return err ? err : qcow2_sync(q);
}

/* Offset and size stand in one sector of the header: no crash parts them. */
static int name_reftable(struct qcow2 *q, uint64_t offset, uint64_t clusters)
{
	struct {
		uint64_t offset;
		uint32_t clusters;
	} __attribute__((packed)) fields = {
		.offset = htobe64(offset),
		.clusters = htobe32((uint32_t)clusters),
	};
	int err = qcow2_pwrite(q, &fields, sizeof(fields),
			       offsetof(struct qcow2_header,
					refcount_table_offset));

	if (!err)
		err = qcow2_sync(q);
	/* Which of both tables is the one now is not known. */
	if (err)
		q->failed = err;
	return err;
}

static void unclaim(struct qcow2 *q, uint64_t first, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		qcow2_set_remove(&q->metadata, first + i);
}

/* There will be metadata in @count clusters from @first on, which are free. */
static int claim(struct qcow2 *q, uint64_t first, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		int err = qcow2_set_add(&q->metadata, first + i);

		if (!err)
			continue;
		unclaim(q, first, i);
		return err != -EEXIST ?
			       err :
			       qcow2_corrupt(q,
					     "metadata at %#llx is not "
					     "counted",
					     (unsigned long long)(first + i) *
						     q->cluster_size);
	}
	return 0;
}

static int grow_reftable(struct qcow2 *q)
{
	struct new_reftable new;
	struct qcow2_array table;
	int err = plan_reftable(q, &new);

	if (err)
		return err;
	err = claim(q, new.first, new.blocks + new.clusters);
	if (err)
		return err;
	table.count = (uint32_t)(new.clusters << (q->cluster_bits - 3));
	table.offset = (new.first + new.blocks) * q->cluster_size;
	table.dirty_first = 0;
	table.dirty_end = table.count;
	table.entries = calloc(table.count, sizeof(*table.entries));
	if (!table.entries) {
		err = -ENOMEM;
		goto unclaim;
	}
	memcpy(table.entries, q->reftable.entries,
	       q->reftable.count * sizeof(*table.entries));
	for (uint64_t i = 0; i < new.blocks; i++)
		table.entries[q->reftable.count + i] =
			(new.first + i) * q->cluster_size;
	err = write_reftable(q, &new, &table);
	if (!err)
		err = name_reftable(q, table.offset, new.clusters);
	if (err)
		goto forget_blocks;
	free(q->reftable.entries);
	q->reftable = table;
	unclaim(q, new.old_first, new.old_clusters);
	qcow2_free_now(q, new.old_first, new.old_clusters);
	return 0;

forget_blocks:
	for (uint64_t i = 0; i < new.blocks; i++)
		qcow2_forget(&q->block_cache,
			     (new.first + i) * q->cluster_size);
	free(table.entries);
unclaim:
	unclaim(q, new.first, new.blocks + new.clusters);
	return err;
}

/*
 * A block for a part of the file that has none, and where nothing is in use
 * therefore: its own first cluster is free to hold it.
 */
static int add_block(struct qcow2 *q, uint64_t index, struct qcow2_table **out)
{
	uint64_t cluster = index << q->block_bits;
	uint64_t offset = cluster * q->cluster_size;
	struct qcow2_table *block;
	int err;

	if (!cluster) {
		qcow2_corrupt(q, "the header is not counted");
		return -EIO;
	}
	err = qcow2_grow(q, offset + q->cluster_size);
	if (!err)
		err = claim(q, cluster, 1);
	if (err)
		return err;
	err = qcow2_get_new(q, &q->block_cache, offset, &block);
	if (err) {
		unclaim(q, cluster, 1);
		return err;
	}
	q->fresh_from = MAX(q->fresh_from, offset + q->cluster_size);
	put_count(q, block->data, 0, 1);
	qcow2_array_set(&q->reftable, (uint32_t)index, offset);
	*out = block;
	return 0;
}

/* The block that counts @cluster, made if need be. */
static int need_block(struct qcow2 *q, uint64_t cluster,
		      struct qcow2_table **out)
{
	uint64_t index = cluster >> q->block_bits;
	int err;

	while (index >= q->reftable.count) {
		err = grow_reftable(q);
		if (err)
			return err;
	}
	err = get_block(q, cluster, out);
	if (!err && !*out)
		err = add_block(q, index, out);
	return err;
}

/* ---- allocating ---------------------------------------------------------- */

/*
 * Count up to @wanted free clusters in @block from @at on, as used. A cluster
 * that is known to hold metadata and yet counts 0 is a trap.
 */
static int take(struct qcow2 *q, struct qcow2_table *block, uint64_t first,
		uint64_t wanted, uint32_t *out)
{
	uint64_t at = first & (block_entries(q) - 1);
	uint32_t n = 0;

	while (n < wanted && at + n < block_entries(q) &&
	       !get_count(q, block->data, at + n)) {
		if (!(first + n) || qcow2_set_has(&q->metadata, first + n))
			return qcow2_corrupt(q,
					     "metadata at %#llx has refcount 0",
					     (unsigned long long)(first + n) *
						     q->cluster_size);
		n++;
	}
	for (uint32_t i = 0; i < n; i++)
		put_count(q, block->data, at + i, 1);
	if (n)
		qcow2_dirty(&q->block_cache, block);
	*out = n;
	return 0;
}

/* The first free cluster from q->free_hint on, and its block. */
static int find_free(struct qcow2 *q, uint64_t *cluster,
		     struct qcow2_table **out)
{
	uint64_t at = q->free_hint;

	for (;;) {
		uint64_t i = at & (block_entries(q) - 1);
		int err = need_block(q, at, out);

		if (err)
			return err;
		while (i < block_entries(q) && get_count(q, (*out)->data, i))
			i++;
		at = align_down(at, block_entries(q)) + i;
		if (i < block_entries(q))
			break;
		qcow2_put(*out);
	}
	*cluster = at;
	return 0;
}

int qcow2_allocate(struct qcow2 *q, uint64_t wanted,
		   struct qcow2_allocation *out)
{
	struct qcow2_table *block;
	uint64_t first = 0, host, end;
	uint32_t n = 0;
	int err;

	if (q->failed)
		return q->failed;
	if (q->corrupt)
		return -EIO;
	err = find_free(q, &first, &block);
	if (err)
		return err;
	err = take(q, block, first, wanted, &n);
	qcow2_put(block);
	if (err)
		return err;
	q->free_hint = first + n;
	host = first * q->cluster_size;
	end = host + (uint64_t)n * q->cluster_size;
	err = qcow2_grow(q, end);
	if (err) {
		qcow2_free_now(q, first, n);
		return err;
	}
	out->host = host;
	out->clusters = n;
	out->fresh = !q->is_block_device && host >= q->fresh_from;
	q->fresh_from = MAX(q->fresh_from, end);
	return 0;
}

/* ---- freeing ------------------------------------------------------------- */

/* *@freed: the count is 0 now. */
static int decrement(struct qcow2 *q, uint64_t cluster, bool *freed)
{
	uint64_t count;
	int err = qcow2_refcount(q, cluster, &count);

	if (!err && !count)
		err = qcow2_corrupt(
			q, "the cluster at %#llx was in use with refcount 0",
			(unsigned long long)cluster * q->cluster_size);
	if (!err)
		err = qcow2_set_refcount(q, cluster, count - 1);
	*freed = !err && count == 1;
	return err;
}

/* An error leaks clusters; what they held is gone, so nobody is told. */
void qcow2_free_now(struct qcow2 *q, uint64_t first, uint64_t count)
{
	uint64_t hole = first; /* [hole, i) is free */
	bool freed;

	for (uint64_t i = first; i < first + count; i++) {
		if (decrement(q, i, &freed))
			freed = false;
		if (freed) {
			q->free_hint = MIN(q->free_hint, i);
			continue;
		}
		if (hole < i)
			qcow2_punch(q, hole * q->cluster_size,
				    (i - hole) * q->cluster_size);
		hole = i + 1;
	}
	if (hole < first + count)
		qcow2_punch(q, hole * q->cluster_size,
			    (first + count - hole) * q->cluster_size);
}

void qcow2_free_later(struct qcow2 *q, uint64_t first, uint64_t count)
{
	struct qcow2_range *last;

	if (q->free_count) {
		last = &q->frees[q->free_count - 1];
		if (last->first + last->count == first) {
			last->count += count;
			return;
		}
	}
	/* When nothing can be written these leak, which is allowed. */
	if (q->free_count == QCOW2_MAX_FREES && qcow2_write_back(q, NULL))
		return;
	q->frees[q->free_count++] = (struct qcow2_range) { first, count };
}

void qcow2_apply_frees(struct qcow2 *q)
{
	unsigned int count = q->free_count;

	/* Looking up blocks never adds to the list. */
	q->free_count = 0;
	for (unsigned int i = 0; i < count; i++)
		qcow2_free_now(q, q->frees[i].first, q->frees[i].count);
}
