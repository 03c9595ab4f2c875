/* SPDX-License-Identifier: GPL-2.0 */
/*
 * qcow2: tables in memory, and the order in which they reach the file.
 *
 * A crash may keep any part of what was written since the last sync. So what
 * a table names is durable before the table is written, and a cluster is free
 * for another use only when the table that does not name it is durable.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/qcow2.h>

static struct qcow2_table_list *bucket_of(const struct qcow2_cache *cache,
					  uint64_t offset)
{
	uint64_t hash =
		(offset >> QCOW2_MIN_CLUSTER_BITS) * 0x9e3779b97f4a7c15ULL;

	return &cache->buckets[hash >> (64 - cache->bucket_bits)];
}

int qcow2_cache_init(struct qcow2 *q, struct qcow2_cache *cache, uint64_t bytes,
		     bool ordered)
{
	cache->limit = (unsigned int)MAX(bytes / q->cluster_size,
					 (uint64_t)QCOW2_MIN_TABLES);
	cache->ordered = ordered;
	cache->bucket_bits = 64 - (unsigned int)__builtin_clzll(cache->limit);
	TAILQ_INIT(&cache->lru);
	TAILQ_INIT(&cache->dirty);
	/* An array of empty lists is zeroes. */
	cache->buckets =
		calloc(BIT_ULL(cache->bucket_bits), sizeof(*cache->buckets));
	return cache->buckets ? 0 : -ENOMEM;
}

static void destroy_table(struct qcow2_cache *cache, struct qcow2_table *table)
{
	if (table->dirty)
		TAILQ_REMOVE(&cache->dirty, table, dirty_link);
	TAILQ_REMOVE(&cache->lru, table, lru);
	LIST_REMOVE(table, hash);
	cache->count--;
	free(table->data);
	free(table);
}

void qcow2_cache_release(struct qcow2_cache *cache)
{
	if (!cache->buckets)
		return;
	while (!TAILQ_EMPTY(&cache->lru))
		destroy_table(cache, TAILQ_FIRST(&cache->lru));
	free(cache->buckets);
}

static struct qcow2_table *find_table(const struct qcow2_cache *cache,
				      uint64_t offset)
{
	struct qcow2_table *table;

	LIST_FOREACH(table, bucket_of(cache, offset), hash)
	{
		if (table->offset == offset)
			return table;
	}
	return NULL;
}

static int write_table(struct qcow2 *q, struct qcow2_cache *cache,
		       struct qcow2_table *table)
{
	int err = qcow2_pwrite(q, table->data, q->cluster_size, table->offset);

	if (err)
		return err;
	table->dirty = false;
	TAILQ_REMOVE(&cache->dirty, table, dirty_link);
	return 0;
}

/* Refcount blocks may be early: a count that is too high is but a leak. */
static int make_room(struct qcow2 *q, struct qcow2_cache *cache)
{
	struct qcow2_table *table;
	int err = 0;

	if (cache->count < cache->limit)
		return 0;
	TAILQ_FOREACH(table, &cache->lru, lru)
	{
		if (!table->pins)
			break;
	}
	if (!table) /* a few callers hold one table each: one more is no harm */
		return 0;
	if (table->dirty)
		err = cache->ordered ? qcow2_write_back(q, NULL) :
				       write_table(q, cache, table);
	if (!err)
		destroy_table(cache, table);
	return err;
}

static int add_table(struct qcow2 *q, struct qcow2_cache *cache,
		     uint64_t offset, struct qcow2_table **out)
{
	struct qcow2_table *table;
	int err = make_room(q, cache);

	if (err)
		return err;
	table = calloc(1, sizeof(*table));
	if (!table)
		return -ENOMEM;
	table->data = calloc(1, q->cluster_size);
	if (!table->data) {
		free(table);
		return -ENOMEM;
	}
	table->offset = offset;
	LIST_INSERT_HEAD(bucket_of(cache, offset), table, hash);
	TAILQ_INSERT_TAIL(&cache->lru, table, lru);
	cache->count++;
	*out = table;
	return 0;
}

int qcow2_get(struct qcow2 *q, struct qcow2_cache *cache, uint64_t offset,
	      struct qcow2_table **out)
{
	struct qcow2_table *table = find_table(cache, offset);
	int err;

	if (table) {
		TAILQ_REMOVE(&cache->lru, table, lru);
		TAILQ_INSERT_TAIL(&cache->lru, table, lru);
	} else {
		err = add_table(q, cache, offset, &table);
		if (err)
			return err;
		err = qcow2_pread(q, table->data, q->cluster_size, offset);
		if (err) {
			destroy_table(cache, table);
			return err;
		}
	}
	table->pins++;
	*out = table;
	return 0;
}

int qcow2_get_new(struct qcow2 *q, struct qcow2_cache *cache, uint64_t offset,
		  struct qcow2_table **out)
{
	struct qcow2_table *table;
	int err;

	qcow2_forget(cache, offset);
	err = add_table(q, cache, offset, &table);
	if (err)
		return err;
	table->pins++;
	qcow2_dirty(cache, table);
	*out = table;
	return 0;
}

void qcow2_put(struct qcow2_table *table)
{
	table->pins--;
}

void qcow2_dirty(struct qcow2_cache *cache, struct qcow2_table *table)
{
	if (table->dirty)
		return;
	table->dirty = true;
	TAILQ_INSERT_TAIL(&cache->dirty, table, dirty_link);
}

void qcow2_forget(struct qcow2_cache *cache, uint64_t offset)
{
	struct qcow2_table *table = find_table(cache, offset);

	if (table)
		destroy_table(cache, table);
}

/* ---- tables that are in memory whole ------------------------------------- */

int qcow2_array_load(struct qcow2 *q, struct qcow2_array *array,
		     uint64_t offset, uint32_t count)
{
	uint64_t *entries = malloc((size_t)count * sizeof(*entries));
	int err;

	if (!entries)
		return -ENOMEM;
	err = qcow2_pread(q, entries, (size_t)count * sizeof(*entries), offset);
	if (err) {
		free(entries);
		return err;
	}
	for (uint32_t i = 0; i < count; i++)
		entries[i] = be64toh(entries[i]);
	*array = (struct qcow2_array) {
		.entries = entries,
		.count = count,
		.offset = offset,
	};
	return 0;
}

void qcow2_array_set(struct qcow2_array *array, uint32_t index, uint64_t value)
{
	if (array->dirty_first == array->dirty_end) {
		array->dirty_first = index;
		array->dirty_end = index + 1;
	}
	array->entries[index] = value;
	array->dirty_first = MIN(array->dirty_first, index);
	array->dirty_end = MAX(array->dirty_end, index + 1);
}

static bool array_is_dirty(const struct qcow2_array *array)
{
	return array->dirty_first != array->dirty_end;
}

int qcow2_array_write(struct qcow2 *q, struct qcow2_array *array)
{
	uint64_t buf[512];
	uint32_t i = array->dirty_first;
	int err;

	while (i < array->dirty_end) {
		uint32_t n = MIN(array->dirty_end - i, ARRAY_SIZE(buf));

		for (uint32_t k = 0; k < n; k++)
			buf[k] = htobe64(array->entries[i + k]);
		err = qcow2_pwrite(q, buf, n * sizeof(buf[0]),
				   array->offset + i * sizeof(buf[0]));
		if (err)
			return err;
		i += n;
	}
	array->dirty_first = array->dirty_end = 0;
	return 0;
}

/* ---- the order ----------------------------------------------------------- */

int qcow2_write_tables(struct qcow2 *q, struct qcow2_cache *cache)
{
	int err = 0;

	while (!err && !TAILQ_EMPTY(&cache->dirty))
		err = write_table(q, cache, TAILQ_FIRST(&cache->dirty));
	return err;
}

/* What names others, after what it names. */
static int write_names(struct qcow2 *q)
{
	int err = 0;

	if (array_is_dirty(&q->reftable)) {
		err = qcow2_sync(q);
		if (!err)
			err = qcow2_array_write(q, &q->reftable);
	}
	/* This sync is the one that covers the guest's data. */
	if (!err && !TAILQ_EMPTY(&q->l2_cache.dirty)) {
		err = qcow2_sync(q);
		if (!err)
			err = qcow2_write_tables(q, &q->l2_cache);
	}
	if (!err && array_is_dirty(&q->l1)) {
		err = qcow2_sync(q);
		if (!err)
			err = qcow2_array_write(q, &q->l1);
	}
	return err;
}

int qcow2_write_back(struct qcow2 *q, bool *synced)
{
	int err;

	if (q->failed)
		return q->failed;
	if (TAILQ_EMPTY(&q->block_cache.dirty) &&
	    TAILQ_EMPTY(&q->l2_cache.dirty) && !array_is_dirty(&q->reftable) &&
	    !array_is_dirty(&q->l1) && !q->free_count)
		return 0;
	err = qcow2_write_tables(q, &q->block_cache);
	if (!err)
		err = write_names(q);
	if (!err)
		err = qcow2_sync(q);
	if (err)
		return err;
	qcow2_apply_frees(q);
	if (synced)
		*synced = true;
	return 0;
}
