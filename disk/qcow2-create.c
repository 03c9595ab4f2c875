/* SPDX-License-Identifier: GPL-2.0 */
/*
 * qcow2: new images, and the nameless overlay behind a disk's "snapshot". The
 * layout is header, refcount table, refcount blocks, L1 table, with no data.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lkvm/qcow2.h>

/* What an overlay is made of: QEMU's defaults. */
#define OVERLAY_CLUSTER_BITS 16
#define OVERLAY_REFCOUNT_ORDER 4

/* Clusters of each part. */
struct layout {
	uint64_t cluster_size;
	uint64_t l1_entries;
	uint64_t reftable, blocks, l1;
};

static uint64_t divide_up(uint64_t value, uint64_t by)
{
	return (value + by - 1) / by;
}

static int plan(const struct qcow2_geometry *g, struct layout *out)
{
	uint64_t cs = BIT_ULL(g->cluster_bits);
	uint64_t entries = cs * 8 >> g->refcount_order; /* of a block */
	struct layout l = { .cluster_size = cs };
	uint64_t total;

	l.l1_entries = divide_up(g->size, cs * (cs / sizeof(uint64_t)));
	l.l1 = divide_up(l.l1_entries * sizeof(uint64_t), cs);
	if (l.l1_entries * sizeof(uint64_t) > QCOW2_MAX_L1_BYTES)
		return -EFBIG;
	/* Blocks and table count themselves, too. */
	do {
		total = 1 + l.reftable + l.blocks + l.l1;
		l.blocks = divide_up(total, entries);
		l.reftable = divide_up(l.blocks * sizeof(uint64_t), cs);
	} while (1 + l.reftable + l.blocks + l.l1 != total);
	*out = l;
	return 0;
}

static void fill_header(const struct qcow2_geometry *g, const struct layout *l,
			struct qcow2_header *h)
{
	uint64_t cs = l->cluster_size;

	h->magic = htobe32(QCOW2_MAGIC);
	h->version = htobe32(g->version);
	h->cluster_bits = htobe32(g->cluster_bits);
	h->size = htobe64(g->size);
	h->l1_size = htobe32((uint32_t)l->l1_entries);
	h->l1_table_offset = htobe64((1 + l->reftable + l->blocks) * cs);
	h->refcount_table_offset = htobe64(cs);
	h->refcount_table_clusters = htobe32((uint32_t)l->reftable);
	if (g->version < 3)
		return;
	h->refcount_order = htobe32(g->refcount_order);
	h->header_length = htobe32(sizeof(*h));
}

/* Set the first @count refcounts, which follow each other, to 1. */
static void fill_blocks(const struct qcow2_geometry *g, uint8_t *blocks,
			uint64_t count)
{
	uint64_t bits = BIT_ULL(g->refcount_order);

	for (uint64_t i = 0; i < count; i++) {
		if (bits < 8)
			blocks[i * bits / 8] |= (uint8_t)BIT(i * bits % 8);
		else
			blocks[(i + 1) * bits / 8 - 1] = 1;
	}
}

static int write_at(int fd, const void *buf, size_t len, uint64_t offset)
{
	if (lseek(fd, (off_t)offset, SEEK_SET) < 0)
		return -errno;
	return write_full(fd, buf, len);
}

int qcow2_create(int fd, const struct qcow2_geometry *g)
{
	struct qcow2_header header = { .magic = 0 };
	struct layout l;
	uint64_t *table;
	uint8_t *buf;
	int err = plan(g, &l);

	if (err)
		return err;
	fill_header(g, &l, &header);
	/* All that is not zero: header, refcount table, blocks. */
	buf = calloc(1 + l.reftable + l.blocks, l.cluster_size);
	if (!buf)
		return -ENOMEM;
	memcpy(buf, &header,
	       g->version < 3 ? QCOW2_V2_HEADER_BYTES : sizeof(header));
	table = (uint64_t *)(buf + l.cluster_size);
	for (uint64_t i = 0; i < l.blocks; i++)
		table[i] = htobe64((1 + l.reftable + i) * l.cluster_size);
	fill_blocks(g, buf + (1 + l.reftable) * l.cluster_size,
		    1 + l.reftable + l.blocks + l.l1);
	err = write_at(fd, buf, (1 + l.reftable + l.blocks) * l.cluster_size,
		       0);
	free(buf);
	if (!err && ftruncate(fd, (off_t)((1 + l.reftable + l.blocks + l.l1) *
					  l.cluster_size)))
		err = -errno;
	return err;
}

int qcow2_create_overlay(int fd, struct image *base,
			 const struct image_options *options,
			 struct image **out)
{
	const struct qcow2_geometry geometry = {
		.size = base->size,
		.version = 3,
		.cluster_bits = OVERLAY_CLUSTER_BITS,
		.refcount_order = OVERLAY_REFCOUNT_ORDER,
	};
	struct qcow2_backing_name ignored = { .name = "" };
	struct qcow2 *q;
	off_t end;
	int err = qcow2_create(fd, &geometry);

	if (err)
		return err;
	end = lseek(fd, 0, SEEK_END);
	if (end < 0)
		return -errno;
	q = qcow2_new(options);
	if (!q)
		return -ENOMEM;
	q->name = "the snapshot's overlay";
	q->fd = fd;
	q->file_end = (uint64_t)end;
	q->image.read_only = false;
	q->syncs = false;
	q->image.physical_block_size = base->physical_block_size;
	err = qcow2_load(q, &ignored);
	if (err) {
		q->fd = -1;
		qcow2_free(q);
		return err;
	}
	q->backing = base;
	q->image.options.path = base->options.path;
	*out = &q->image;
	return 0;
}
