/* SPDX-License-Identifier: GPL-2.0 */
/*
 * qcow2: opening and closing images. The header and what it names are checked
 * here, once; entries of L2 tables and refcount blocks where they are used.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lkvm/file.h>
#include <lkvm/qcow2.h>

/* "Header extensions" */
#define EXT_END 0
#define EXT_BACKING_FORMAT 0xe2792acaU
#define EXT_FEATURE_NAMES 0x6803f857U

#define FEATURE_NAME_BYTES 48 /* kind, bit, and 46 of the name */

/* An entry of the snapshot table; ID, name and more follow. */
struct snapshot_header {
	uint64_t l1_table_offset;
	uint32_t l1_size;
	uint16_t id_size;
	uint16_t name_size;
	uint32_t date_sec;
	uint32_t date_nsec;
	uint64_t vm_clock_nsec;
	uint32_t vm_state_size;
	uint32_t extra_data_size;
};
_Static_assert(sizeof(struct snapshot_header) == 40, "snapshot header");

static int refuse(const struct qcow2 *q, const char *fmt, ...)
	PRINTF_LIKE(2, 3);

static int refuse(const struct qcow2 *q, const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	log_err("disk", "cannot open disk image %s: %s", q->name, text);
	return -EINVAL;
}

static int cannot_read(const struct qcow2 *q, int err)
{
	log_err("disk", "cannot read disk image %s: %s", q->name,
		strerror(-err));
	return err;
}

int qcow2_corrupt(struct qcow2 *q, const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	log_warn_limited(&q->limit, "disk", "%s is corrupt: %s%s", q->name,
			 text, q->image.read_only ? "" : " (no more writes)");
	if (q->corrupt || q->image.read_only)
		return -EIO;
	q->corrupt = true;
	if (q->version >= 3) {
		q->incompatible |= QCOW2_INCOMPAT_CORRUPT;
		qcow2_write_header64(
			q, offsetof(struct qcow2_header, incompatible_features),
			q->incompatible);
	}
	return -EIO;
}

int qcow2_write_header64(struct qcow2 *q, size_t at, uint64_t value)
{
	value = htobe64(value);
	return qcow2_pwrite(q, &value, sizeof(value), at);
}

int qcow2_prepare_write(struct qcow2 *q)
{
	int err = 0;

	if (q->write_ready)
		return 0;
	if (q->autoclear) {
		err = qcow2_write_header64(
			q, offsetof(struct qcow2_header, autoclear_features),
			0);
		if (!err)
			err = qcow2_sync(q);
	}
	if (!err && !q->is_block_device)
		err = qcow2_grow(q, qcow2_end(q, q->file_end));
	if (err)
		return err;
	q->autoclear = 0;
	q->write_ready = true;
	return 0;
}

/* ---- the header ---------------------------------------------------------- */

static void header_to_host(struct qcow2_header *h)
{
	h->magic = be32toh(h->magic);
	h->version = be32toh(h->version);
	h->backing_file_offset = be64toh(h->backing_file_offset);
	h->backing_file_size = be32toh(h->backing_file_size);
	h->cluster_bits = be32toh(h->cluster_bits);
	h->size = be64toh(h->size);
	h->crypt_method = be32toh(h->crypt_method);
	h->l1_size = be32toh(h->l1_size);
	h->l1_table_offset = be64toh(h->l1_table_offset);
	h->refcount_table_offset = be64toh(h->refcount_table_offset);
	h->refcount_table_clusters = be32toh(h->refcount_table_clusters);
	h->nb_snapshots = be32toh(h->nb_snapshots);
	h->snapshots_offset = be64toh(h->snapshots_offset);
	h->incompatible_features = be64toh(h->incompatible_features);
	h->compatible_features = be64toh(h->compatible_features);
	h->autoclear_features = be64toh(h->autoclear_features);
	h->refcount_order = be32toh(h->refcount_order);
	h->header_length = be32toh(h->header_length);
}

/* What version 2 does not have, and what is past the header's end. */
static void set_defaults(struct qcow2_header *h)
{
	char *from = (char *)&h->incompatible_features;

	if (h->version == 2) {
		memset(from, 0, (size_t)((char *)(h + 1) - from));
		h->refcount_order = 4;
		h->header_length = QCOW2_V2_HEADER_BYTES;
	} else if (h->header_length == QCOW2_V3_HEADER_BYTES) {
		h->compression_type = 0;
	}
}

static int check_geometry(const struct qcow2 *q, const struct qcow2_header *h)
{
	if (h->cluster_bits < QCOW2_MIN_CLUSTER_BITS ||
	    h->cluster_bits > QCOW2_MAX_CLUSTER_BITS)
		return refuse(q,
			      "clusters of 2^%u bytes (2^9 to 2^21 are "
			      "possible)",
			      h->cluster_bits);
	if (h->version >= 3 &&
	    (h->header_length < QCOW2_V3_HEADER_BYTES ||
	     h->header_length > BIT(h->cluster_bits) || h->header_length % 8))
		return refuse(q, "a header of %u bytes", h->header_length);
	if (h->refcount_order > QCOW2_MAX_REFCOUNT_ORDER)
		return refuse(q,
			      "refcounts of 2^%u bits (at most 64 bits are "
			      "possible)",
			      h->refcount_order);
	if (!h->size || h->size % 512 || h->size > INT64_MAX)
		return refuse(q,
			      "a disk of %llu bytes (a multiple of 512 is "
			      "needed)",
			      (unsigned long long)h->size);
	return 0;
}

static int check_features(const struct qcow2 *q, const struct qcow2_header *h)
{
	uint64_t bits = h->incompatible_features;

	if (h->crypt_method)
		return refuse(q, "it is encrypted, which is not supported");
	if (bits & QCOW2_INCOMPAT_DATA_FILE)
		return refuse(q, "it has an external data file, which is not "
				 "supported");
	if (bits & QCOW2_INCOMPAT_EXTENDED_L2)
		return refuse(q, "it has extended L2 entries, which are not "
				 "supported");
	if (!(bits & QCOW2_INCOMPAT_COMPRESSION) != !h->compression_type ||
	    h->compression_type > QCOW2_ZSTD)
		return refuse(q, "compression type %u is not supported",
			      h->compression_type);
	if ((bits & QCOW2_INCOMPAT_CORRUPT) && !q->image.read_only) {
		refuse(q, "it is marked as corrupt (repair it with: qemu-img "
			  "check -r all FILE; or add \",ro\")");
		return -EROFS;
	}
	return 0;
}

/* "Feature name table": what the image calls incompatible bit @bit. */
static void feature_name(const uint8_t *table, size_t len, unsigned int bit,
			 char out[FEATURE_NAME_BYTES])
{
	for (; len >= FEATURE_NAME_BYTES; len -= FEATURE_NAME_BYTES) {
		if (table[0] == 0 && table[1] == bit) {
			memcpy(out, table + 2, FEATURE_NAME_BYTES - 2);
			out[FEATURE_NAME_BYTES - 2] = '\0';
		}
		table += FEATURE_NAME_BYTES;
	}
	/* Somebody else's text, on its way to a terminal. */
	for (char *c = out; *c; c++)
		if (!isprint((unsigned char)*c))
			*c = '?';
}

static int refuse_unknown(const struct qcow2 *q, uint64_t bits,
			  const uint8_t *names, size_t names_len)
{
	char name[FEATURE_NAME_BYTES] = "unknown";
	unsigned int bit = (unsigned int)__builtin_ctzll(bits);

	feature_name(names, names_len, bit, name);
	return refuse(q, "feature bit %u (%s) is not supported", bit, name);
}

struct extensions {
	char format[QCOW2_MAX_FORMAT_NAME + 1];
	const uint8_t *names; /* of features */
	size_t names_len;
};

/* Between the header and the backing file's name, or the cluster's end. */
static int read_extensions(const struct qcow2 *q, const uint8_t *cluster,
			   size_t at, size_t end, struct extensions *out)
{
	uint32_t field[2];

	while (at + sizeof(field) <= end) {
		uint32_t type, len;

		memcpy(field, cluster + at, sizeof(field));
		type = be32toh(field[0]);
		len = be32toh(field[1]);
		at += sizeof(field);
		if (type == EXT_END)
			return 0;
		if (len > end - at)
			return refuse(q, "header extension %#x is too long",
				      type);
		if (type == EXT_BACKING_FORMAT) {
			if (len > QCOW2_MAX_FORMAT_NAME)
				return refuse(q, "the name of the backing "
						 "file's format is too long");
			memcpy(out->format, cluster + at, len);
			out->format[len] = '\0';
		} else if (type == EXT_FEATURE_NAMES) {
			out->names = cluster + at;
			out->names_len = len;
		}
		at += align_up(len, 8);
	}
	return 0;
}

/*
 * What else is in the first cluster: extensions, the backing file's name. An
 * unknown feature is refused here, before it makes the tables look broken.
 */
static int load_first_cluster(struct qcow2 *q, const struct qcow2_header *h,
			      struct qcow2_backing_name *out)
{
	const uint64_t known = QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT |
			       QCOW2_INCOMPAT_COMPRESSION;
	struct extensions ext = { .format = "" };
	uint64_t at = h->backing_file_offset;
	uint64_t len = h->backing_file_size;
	uint8_t *cluster;
	int err;

	if (at && (len > QCOW2_MAX_NAME || at > q->cluster_size ||
		   len > q->cluster_size - at))
		return refuse(q, "the backing file's name is not in the "
				 "first cluster");
	cluster = malloc(q->cluster_size);
	if (!cluster)
		return -ENOMEM;
	err = qcow2_pread(q, cluster, q->cluster_size, 0);
	if (err)
		err = cannot_read(q, err);
	else
		err = read_extensions(q, cluster, h->header_length,
				      at ? at : q->cluster_size, &ext);
	if (!err && (q->incompatible & ~known))
		err = refuse_unknown(q, q->incompatible & ~known, ext.names,
				     ext.names_len);
	if (!err && at) {
		memcpy(out->name, cluster + at, len);
		out->name[len] = '\0';
		memcpy(out->format, ext.format, sizeof(out->format));
	}
	free(cluster);
	return err;
}

/* ---- the tables ---------------------------------------------------------- */

/* A table's clusters: nothing else may be there. */
static int claim_table(struct qcow2 *q, const char *what, uint64_t offset,
		       uint64_t len)
{
	if (!qcow2_in_file(q, offset, len))
		return refuse(q, "the %s is not within the file", what);
	for (uint64_t at = offset; at < offset + len; at += q->cluster_size) {
		int err = qcow2_set_add(&q->metadata, at / q->cluster_size);

		if (err == -EEXIST)
			return refuse(q, "the %s overlaps other tables", what);
		if (err)
			return err;
	}
	return 0;
}

/* What the entries of a table in memory name. */
static int claim_entries(struct qcow2 *q, const char *what,
			 const struct qcow2_array *array, uint64_t reserved)
{
	for (uint32_t i = 0; i < array->count; i++) {
		uint64_t entry = array->entries[i];
		int err;

		if (!entry)
			continue;
		if (entry & reserved)
			return refuse(q, "the entry of %s %u has reserved bits",
				      what, i);
		err = claim_table(q, what, entry & ~QCOW2_COPIED,
				  q->cluster_size);
		if (err)
			return err;
	}
	return 0;
}

static int load_l1(struct qcow2 *q, const struct qcow2_header *h)
{
	uint64_t len = h->l1_size * sizeof(uint64_t);
	unsigned int span = q->cluster_bits + q->l2_bits;
	uint64_t needed = ((h->size - 1) >> span) + 1;
	int err;

	if (len > QCOW2_MAX_L1_BYTES)
		return refuse(q, "the L1 table is too large");
	if (h->l1_size < needed)
		return refuse(q, "the L1 table is too small for the disk");
	err = claim_table(q, "L1 table", h->l1_table_offset, len);
	if (err)
		return err;
	err = qcow2_array_load(q, &q->l1, h->l1_table_offset, h->l1_size);
	if (err)
		return cannot_read(q, err);
	return claim_entries(q, "L2 table", &q->l1, QCOW2_L1_RESERVED);
}

static int load_reftable(struct qcow2 *q, const struct qcow2_header *h)
{
	uint64_t len = (uint64_t)h->refcount_table_clusters * q->cluster_size;
	int err;

	if (!len || len > QCOW2_MAX_REFTABLE_BYTES)
		return refuse(q, "a refcount table of %u clusters",
			      h->refcount_table_clusters);
	err = claim_table(q, "refcount table", h->refcount_table_offset, len);
	if (err)
		return err;
	err = qcow2_array_load(q, &q->reftable, h->refcount_table_offset,
			       (uint32_t)(len / sizeof(uint64_t)));
	if (err)
		return cannot_read(q, err);
	return claim_entries(q, "refcount block", &q->reftable,
			     QCOW2_REFTABLE_RESERVED);
}

/* One entry at @offset of the table; @bytes counts against the limit. */
static int load_snapshot(struct qcow2 *q, uint64_t offset, uint64_t *len,
			 uint64_t *bytes, struct qcow2_snapshot *out)
{
	struct snapshot_header h;
	int err = qcow2_pread(q, &h, sizeof(h), offset);

	if (err)
		return cannot_read(q, err);
	out->l1_offset = be64toh(h.l1_table_offset);
	out->l1_size = be32toh(h.l1_size);
	*len = align_up(sizeof(h) + (uint64_t)be32toh(h.extra_data_size) +
				be16toh(h.id_size) + be16toh(h.name_size),
			8);
	*bytes += *len + out->l1_size * sizeof(uint64_t);
	if (*bytes > QCOW2_MAX_SNAPSHOT_BYTES)
		return refuse(q, "the tables of its snapshots are too large");
	if (!out->l1_size)
		return 0;
	return claim_table(q, "L1 table of a snapshot", out->l1_offset,
			   out->l1_size * sizeof(uint64_t));
}

static int load_snapshots(struct qcow2 *q, const struct qcow2_header *h)
{
	uint64_t offset = h->snapshots_offset;
	uint64_t bytes = 0;
	uint64_t len = 0;
	int err = 0;

	if (!h->nb_snapshots)
		return 0;
	if (h->nb_snapshots > QCOW2_MAX_SNAPSHOTS)
		return refuse(q, "%u snapshots (%u are possible)",
			      h->nb_snapshots, QCOW2_MAX_SNAPSHOTS);
	if (!qcow2_in_file(q, offset, sizeof(struct snapshot_header)))
		return refuse(q, "the snapshot table is not within the file");
	q->snapshots = calloc(h->nb_snapshots, sizeof(*q->snapshots));
	if (!q->snapshots)
		return -ENOMEM;
	q->snapshot_count = h->nb_snapshots;
	for (uint32_t i = 0; !err && i < h->nb_snapshots; i++) {
		err = load_snapshot(q, offset, &len, &bytes, &q->snapshots[i]);
		offset += len;
	}
	if (err)
		return err;
	len = offset - h->snapshots_offset;
	q->snapshot_table = (struct qcow2_range) {
		.first = h->snapshots_offset / q->cluster_size,
		.count = qcow2_end(q, len) / q->cluster_size,
	};
	return claim_table(q, "snapshot table", h->snapshots_offset, len);
}

static int load_tables(struct qcow2 *q, const struct qcow2_header *h)
{
	int err = qcow2_cache_init(q, &q->l2_cache, QCOW2_L2_CACHE_BYTES, true);

	if (!err)
		err = qcow2_cache_init(q, &q->block_cache,
				       QCOW2_REFCOUNT_CACHE_BYTES, false);
	q->frees = calloc(QCOW2_MAX_FREES, sizeof(*q->frees));
	if (err || !q->frees)
		return -ENOMEM;
	err = load_reftable(q, h);
	if (!err)
		err = load_l1(q, h);
	if (!err)
		err = load_snapshots(q, h);
	return err;
}

static void use_header(struct qcow2 *q, const struct qcow2_header *h)
{
	q->version = h->version;
	q->cluster_bits = h->cluster_bits;
	q->cluster_size = 1U << h->cluster_bits;
	q->l2_bits = h->cluster_bits - 3;
	q->refcount_order = h->refcount_order;
	q->block_bits = h->cluster_bits + 3 - h->refcount_order;
	q->compression = h->compression_type;
	q->incompatible = h->incompatible_features;
	q->autoclear = h->autoclear_features;
	q->fresh_from = qcow2_end(q, q->file_end);
	q->image.size = h->size;
	q->image.block_size = 512;
	q->image.discard_granularity =
		q->image.options.no_discard ? 0 : q->cluster_size;
}

int qcow2_load(struct qcow2 *q, struct qcow2_backing_name *backing)
{
	struct qcow2_header h;
	int err = qcow2_pread(q, &h, sizeof(h), 0);

	if (err)
		return cannot_read(q, err);
	header_to_host(&h);
	if (h.magic != QCOW2_MAGIC)
		return refuse(q, "it is not a qcow2 image");
	if (h.version < 2 || h.version > 3)
		return refuse(q, "qcow2 version %u is not supported",
			      h.version);
	set_defaults(&h);
	err = check_geometry(q, &h);
	if (!err)
		err = check_features(q, &h);
	if (err)
		return err;
	use_header(q, &h);
	err = load_first_cluster(q, &h, backing);
	return err ? err : load_tables(q, &h);
}

/* ---- life ---------------------------------------------------------------- */

struct qcow2 *qcow2_new(const struct image_options *options)
{
	struct qcow2 *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->image.ops = &qcow2_ops;
	q->image.options = *options;
	q->image.options.path = NULL; /* the file's, when there is one */
	q->image.read_only = options->read_only;
	q->syncs = options->cache != IMAGE_CACHE_UNSAFE;
	q->fd = -1;
	q->direct_fd = -1;
	pthread_mutex_init(&q->lock, NULL);
	TAILQ_INIT(&q->requests);
	LIST_INIT(&q->queues);
	return q;
}

void qcow2_free(struct qcow2 *q)
{
	image_close(q->backing);
	qcow2_cache_release(&q->l2_cache);
	qcow2_cache_release(&q->block_cache);
	free(q->l1.entries);
	free(q->reftable.entries);
	free(q->metadata.slots);
	free(q->snapshots);
	free(q->frees);
	if (q->fd >= 0 && (!q->file || q->fd != q->file->fd))
		close(q->fd);
	image_file_close(q->file);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

/*
 * Tables go through the page cache even where data does not: they are smaller
 * than O_DIRECT likes, and cached here anyway.
 */
static int open_buffered(struct qcow2 *q, const struct image_file *file)
{
	char path[32];

	if (!file->direct) {
		q->fd = file->fd;
		return 0;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file->fd);
	q->fd = open(path, (file->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	return q->fd < 0 ? -errno : 0;
}

static void use_direct(struct qcow2 *q, const struct image_file *file)
{
	uint32_t align = MAX(file->align, 4096U);

	if (!file->direct)
		return;
	/* A page is never shared by O_DIRECT and the page cache. */
	if (q->cluster_size < align || align > 4096) {
		log_warn("disk",
			 "%s: direct I/O is not possible with clusters "
			 "of %u bytes; it goes through the page cache",
			 q->name, q->cluster_size);
		return;
	}
	q->direct_fd = file->fd;
	q->direct_align = MAX(MAX(file->align, file->mem_align), 512U);
}

int qcow2_open(struct image_file *file, const struct image_options *options,
	       struct image **out)
{
	struct qcow2 *q = qcow2_new(options);
	struct qcow2_backing_name backing = { .name = "" };
	int err;

	if (!q)
		return -ENOMEM;
	q->file = file;
	q->name = file->path;
	q->image.options.path = file->path;
	q->is_block_device = file->is_block_device;
	q->file_end = file->size;
	q->image.physical_block_size = file->physical_block_size;
	err = open_buffered(q, file);
	if (err)
		err = cannot_read(q, err);
	else
		err = qcow2_load(q, &backing);
	if (err)
		goto fail;
	use_direct(q, file);
	if (backing.name[0])
		err = qcow2_open_backing(q, &backing);
	if (!err && !options->read_only &&
	    q->incompatible & QCOW2_INCOMPAT_DIRTY)
		err = qcow2_repair(q);
	if (err)
		goto fail;
	*out = &q->image;
	return 0;

fail:
	if (err == -ENOMEM)
		cannot_read(q, err);
	if (q->fd == file->fd)
		q->fd = -1;
	q->file = NULL;
	qcow2_free(q);
	return err;
}

static void qcow2_close(struct image *image)
{
	struct qcow2 *q = qcow2_of(image);
	int err = 0;

	/* An overlay that we made has no name: it ends here. */
	if (q->file && !image->read_only && q->write_ready) {
		/* The first may free clusters, which changes refcounts. */
		err = qcow2_write_back(q, NULL);
		if (!err)
			err = qcow2_write_back(q, NULL);
		if (!err && q->grown && ftruncate(q->fd, (off_t)q->fresh_from))
			err = -errno;
		if (err)
			log_err("disk", "cannot write to disk image %s: %s",
				q->name, strerror(-err));
	}
	qcow2_free(q);
}

const struct image_ops qcow2_ops = {
	.format = "qcow2",
	.queue_init = qcow2_queue_init,
	.queue_release = qcow2_queue_release,
	.submit = qcow2_submit,
	.close = qcow2_close,
	.resize = qcow2_resize,
};
