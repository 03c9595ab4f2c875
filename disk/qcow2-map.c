/* SPDX-License-Identifier: GPL-2.0 */
/*
 * qcow2: where the disk's clusters are in the file ("Cluster mapping").
 *
 * L1 entries have been checked when the image was opened. L2 entries are
 * checked here, each time that one is used: the tables come and go.
 */
#include <errno.h>
#include <string.h>

#include <lkvm/qcow2.h>

struct qcow2_range qcow2_compressed_clusters(const struct qcow2 *q,
					     uint64_t entry)
{
	uint64_t offset, len;
	struct qcow2_range range;

	qcow2_compressed_bytes(q, entry, &offset, &len);
	range.first = offset / q->cluster_size;
	range.count = (offset + len - 1) / q->cluster_size - range.first + 1;
	return range;
}

void qcow2_compressed_bytes(const struct qcow2 *q, uint64_t entry,
			    uint64_t *offset, uint64_t *len)
{
	unsigned int shift = 62 - (q->cluster_bits - 8);
	uint64_t more = (entry & ~(QCOW2_COPIED | QCOW2_COMPRESSED)) >> shift;

	*offset = entry & (BIT_ULL(shift) - 1);
	*len = (more + 1) * 512 - (*offset & 511);
}

/* ---- reading ------------------------------------------------------------- */

static uint32_t l1_index(const struct qcow2 *q, uint64_t offset)
{
	return (uint32_t)(offset >> (q->cluster_bits + q->l2_bits));
}

static uint64_t *l2_entry(const struct qcow2 *q, struct qcow2_table *table,
			  uint64_t offset)
{
	uint64_t index = (offset >> q->cluster_bits) &
			 (BIT_ULL(q->l2_bits) - 1);

	return (uint64_t *)table->data + index;
}

/* Where what the L2 table of @offset describes ends, @end at most. */
static uint64_t l2_end(const struct qcow2 *q, uint64_t offset, uint64_t end)
{
	uint64_t span = BIT_ULL(q->cluster_bits + q->l2_bits);

	return MIN(align_down(offset, span) + span, end);
}

/* *@out is NULL when there is none. */
static int l2_for_read(struct qcow2 *q, uint64_t offset,
		       struct qcow2_table **out)
{
	uint64_t l2 = q->l1.entries[l1_index(q, offset)] & QCOW2_OFFSET_MASK;

	if (l2)
		return qcow2_get(q, &q->l2_cache, l2, out);
	*out = NULL;
	return 0;
}

static int bad_entry(struct qcow2 *q, uint64_t offset, uint64_t entry,
		     const char *what)
{
	return qcow2_corrupt(q, "the L2 entry %#llx of offset %#llx %s",
			     (unsigned long long)entry,
			     (unsigned long long)offset, what);
}

static int check_compressed(struct qcow2 *q, uint64_t offset, uint64_t entry)
{
	struct qcow2_range range = qcow2_compressed_clusters(q, entry);
	uint64_t at, len;

	qcow2_compressed_bytes(q, entry, &at, &len);
	if (!range.first || at >= q->file_end ||
	    at + len > qcow2_end(q, q->file_end))
		return bad_entry(q, offset, entry, "is not within the file");
	for (uint64_t i = 0; i < range.count; i++)
		if (qcow2_set_has(&q->metadata, range.first + i))
			return bad_entry(q, offset, entry, "names metadata");
	return 0;
}

static int check_standard(struct qcow2 *q, uint64_t offset, uint64_t entry)
{
	uint64_t host = entry & QCOW2_OFFSET_MASK;
	uint64_t reserved = QCOW2_L2_RESERVED;

	if (q->version < 3)
		reserved |= QCOW2_ZERO;
	if (entry & reserved)
		return bad_entry(q, offset, entry, "has reserved bits");
	if (!host)
		return entry & QCOW2_COPIED ?
			       bad_entry(q, offset, entry, "names the header") :
			       0;
	if (!qcow2_in_file(q, host, q->cluster_size))
		return bad_entry(q, offset, entry, "is not within the file");
	if (qcow2_set_has(&q->metadata, host / q->cluster_size))
		return bad_entry(q, offset, entry, "names metadata");
	return 0;
}

/* What @entry says of @offset, up to the cluster's end. */
static int interpret(struct qcow2 *q, uint64_t offset, uint64_t entry,
		     struct qcow2_run *out)
{
	struct qcow2_run run = {
		.entry = entry,
		.len = q->cluster_size - qcow2_within(q, offset),
	};
	int err;

	if (entry & QCOW2_COMPRESSED) {
		err = check_compressed(q, offset, entry);
		run.kind = QCOW2_IS_COMPRESSED;
	} else {
		err = check_standard(q, offset, entry);
		run.host =
			(entry & QCOW2_OFFSET_MASK) + qcow2_within(q, offset);
		if (entry & QCOW2_ZERO)
			run.kind = QCOW2_IS_ZERO;
		else if (entry & QCOW2_OFFSET_MASK)
			run.kind = QCOW2_IS_DATA;
		run.in_place = run.kind == QCOW2_IS_DATA &&
			       entry & QCOW2_COPIED;
	}
	if (err)
		return err;
	/* The last cluster of a file may be cut short. */
	if (run.kind == QCOW2_IS_DATA && run.host >= q->file_end) {
		run.kind = QCOW2_IS_ZERO;
		run.in_place = false;
	} else if (run.kind == QCOW2_IS_DATA) {
		run.len = MIN(run.len, q->file_end - run.host);
	}
	*out = run;
	return 0;
}

static bool continues(const struct qcow2_run *run, const struct qcow2_run *next)
{
	if (run->kind != next->kind || run->in_place != next->in_place)
		return false;
	switch (run->kind) {
	case QCOW2_IS_COMPRESSED:
		return false;
	case QCOW2_IS_DATA:
		return run->host + run->len == next->host;
	default:
		return true;
	}
}

/* Add what @table says of [@pos, @end) to @run, as far as it fits. */
static int extend(struct qcow2 *q, struct qcow2_table *table, uint64_t pos,
		  uint64_t end, struct qcow2_run *run)
{
	struct qcow2_run next;

	while (pos < end) {
		int err = interpret(q, pos, be64toh(*l2_entry(q, table, pos)),
				    &next);

		if (err)
			return err;
		if (run->len && !continues(run, &next))
			break;
		if (!run->len)
			*run = next;
		else
			run->len += next.len;
		pos += next.len;
		/* A cluster that the file's end cuts is the last of its run. */
		if (qcow2_within(q, pos))
			break;
	}
	return 0;
}

int qcow2_map(struct qcow2 *q, uint64_t offset, uint64_t len,
	      struct qcow2_run *out)
{
	struct qcow2_run run = { .len = 0 };
	uint64_t end = offset + len;
	uint64_t pos = offset;
	struct qcow2_table *table;
	int err;

	while (pos < end) {
		uint64_t stop = l2_end(q, pos, end);

		err = l2_for_read(q, pos, &table);
		if (err)
			return err;
		if (table) {
			err = extend(q, table, pos, stop, &run);
			qcow2_put(table);
			if (err)
				return err;
		} else if (run.len && run.kind != QCOW2_IS_UNALLOCATED) {
			break;
		} else {
			run.kind = QCOW2_IS_UNALLOCATED;
			run.len += stop - pos;
		}
		pos = offset + run.len;
		if (pos < stop)
			break;
	}
	run.len = MIN(run.len, len);
	*out = run;
	return 0;
}

/*
 * A COPIED bit where the refcount is not 1 would have us write into a
 * snapshot, or into what is soon to be allocated for something else.
 */
static int check_copied(struct qcow2 *q, uint64_t host)
{
	uint64_t count;
	int err = qcow2_refcount(q, host / q->cluster_size, &count);

	if (!err && count != 1)
		err = qcow2_corrupt(
			q, "the cluster at %#llx is in use with refcount %llu",
			(unsigned long long)host, (unsigned long long)count);
	return err;
}

int qcow2_map_for_write(struct qcow2 *q, uint64_t offset, uint64_t len,
			struct qcow2_run *out)
{
	struct qcow2_run run;
	int err = qcow2_map(q, offset, len, &run);

	for (uint64_t at = 0; !err && run.in_place && at < run.len;
	     at = qcow2_end(q, run.host + at + 1) - run.host)
		err = check_copied(q, qcow2_start(q, run.host + at));
	if (!err)
		*out = run;
	return err;
}

/* ---- changing ------------------------------------------------------------ */

/* The first L2 table of this part of the disk, or one that no snapshot has. */
static int new_l2(struct qcow2 *q, uint32_t index, struct qcow2_table **out)
{
	uint64_t old = q->l1.entries[index] & QCOW2_OFFSET_MASK;
	struct qcow2_table *table, *old_table = NULL;
	struct qcow2_allocation new;
	int err = qcow2_allocate(q, 1, &new);

	if (err)
		return err;
	err = qcow2_set_add(&q->metadata, new.host / q->cluster_size);
	if (err)
		goto free_cluster;
	if (old)
		err = qcow2_get(q, &q->l2_cache, old, &old_table);
	if (err)
		goto remove;
	err = qcow2_get_new(q, &q->l2_cache, new.host, &table);
	if (err)
		goto put_old;
	qcow2_array_set(&q->l1, index, new.host | QCOW2_COPIED);
	if (old) {
		memcpy(table->data, old_table->data, q->cluster_size);
		qcow2_put(old_table);
		qcow2_forget(&q->l2_cache, old);
		qcow2_set_remove(&q->metadata, old / q->cluster_size);
		qcow2_free_later(q, old / q->cluster_size, 1);
	}
	*out = table;
	return 0;

put_old:
	if (old)
		qcow2_put(old_table);
remove:
	qcow2_set_remove(&q->metadata, new.host / q->cluster_size);
free_cluster:
	qcow2_free_now(q, new.host / q->cluster_size, 1);
	return err;
}

static int l2_for_write(struct qcow2 *q, uint64_t offset,
			struct qcow2_table **out)
{
	uint32_t index = l1_index(q, offset);
	uint64_t entry = q->l1.entries[index];
	int err;

	if (q->corrupt)
		return -EIO;
	if (!(entry & QCOW2_COPIED))
		return new_l2(q, index, out);
	err = check_copied(q, entry & QCOW2_OFFSET_MASK);
	return err ? err :
		     qcow2_get(q, &q->l2_cache, entry & QCOW2_OFFSET_MASK, out);
}

/* The clusters of an entry that is no more. */
static void drop(struct qcow2 *q, uint64_t entry)
{
	struct qcow2_range range = {
		(entry & QCOW2_OFFSET_MASK) / q->cluster_size, 1
	};

	if (entry & QCOW2_COMPRESSED)
		range = qcow2_compressed_clusters(q, entry);
	if (range.first)
		qcow2_free_later(q, range.first, range.count);
}

static void replace(struct qcow2 *q, struct qcow2_table *table, uint64_t *entry,
		    uint64_t value)
{
	uint64_t old = be64toh(*entry);

	*entry = htobe64(value);
	qcow2_dirty(&q->l2_cache, table);
	/* After: freeing may write this very table back. */
	drop(q, old);
}

int qcow2_link(struct qcow2 *q, uint64_t offset, uint64_t host, uint64_t count)
{
	uint64_t end = offset + count * q->cluster_size;
	struct qcow2_run ignored;
	int err = 0;

	while (!err && offset < end) {
		uint64_t stop = l2_end(q, offset, end);
		struct qcow2_table *table;

		err = l2_for_write(q, offset, &table);
		if (err)
			break;
		while (offset < stop) {
			uint64_t *entry = l2_entry(q, table, offset);

			/* What is to be freed must make sense. */
			err = interpret(q, offset, be64toh(*entry), &ignored);
			if (err)
				break;
			replace(q, table, entry, host | QCOW2_COPIED);
			offset += q->cluster_size;
			host += q->cluster_size;
		}
		qcow2_put(table);
	}
	if (err)
		qcow2_free_now(q, host / q->cluster_size,
			       (end - offset) / q->cluster_size);
	return err;
}

/* Does unlinking change this entry? */
static bool is_to_change(const struct qcow2 *q, uint64_t entry, bool zero)
{
	if (entry & (QCOW2_COMPRESSED | QCOW2_OFFSET_MASK))
		return true;
	return zero && q->backing && !(entry & QCOW2_ZERO);
}

/* All within one L2 table, which is made writable if it must change. */
static int unlink_in_table(struct qcow2 *q, uint64_t offset, uint64_t end,
			   bool zero)
{
	/* An unallocated cluster would show what the backing file has. */
	uint64_t value = q->backing ? QCOW2_ZERO : 0;
	struct qcow2_table *table;
	struct qcow2_run ignored;
	bool writable = false;
	int err = l2_for_read(q, offset, &table);

	if (err || (!table && !(zero && q->backing)))
		return err;
	for (; !err && offset < end; offset += q->cluster_size) {
		uint64_t *entry = NULL;

		if (table) {
			entry = l2_entry(q, table, offset);
			err = interpret(q, offset, be64toh(*entry), &ignored);
			if (err)
				break;
			if (!is_to_change(q, be64toh(*entry), zero))
				continue;
		}
		if (!writable) {
			if (table)
				qcow2_put(table);
			err = l2_for_write(q, offset, &table);
			if (err)
				return err;
			writable = true;
			entry = l2_entry(q, table, offset);
		}
		replace(q, table, entry, value);
	}
	if (table)
		qcow2_put(table);
	return err;
}

int qcow2_unlink(struct qcow2 *q, uint64_t offset, uint64_t len, bool zero)
{
	uint64_t end = offset + len;
	int err = 0;

	/* Version 2 has no way to hide a backing file. */
	if (q->backing && q->version < 3)
		return 0;
	while (!err && offset < end) {
		uint64_t stop = l2_end(q, offset, end);

		err = unlink_in_table(q, offset, stop, zero);
		offset = stop;
	}
	return err;
}
