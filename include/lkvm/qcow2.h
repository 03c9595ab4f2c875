/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The qcow2 format, versions 2 and 3: what the files disk/qcow2*.c share, and
 * the three functions by which images are made and opened.
 *
 * Specified in QEMU's docs/interop/qcow2; its words are used here: cluster,
 * L1 and L2 table (guest cluster -> host cluster), refcount table and refcount
 * block (host cluster -> number of references).
 *
 * Data goes through each queue's engine. Metadata is cached, changed under
 * qcow2.lock by whichever thread needs it, and written back with plain system
 * calls, at a guest's flush, at eviction and at close, so that the file is
 * consistent at every moment (leaked clusters apart): see qcow2_write_back().
 * The lock is held across that I/O: it is the order of the tables.
 *
 * Every number in the file may be a lie. Nothing is believed that has not
 * been compared with the file's size, the alignment that is asked for, the
 * places of the metadata, and the limits below.
 */
#ifndef LKVM_QCOW2_H
#define LKVM_QCOW2_H

#include <endian.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/stat.h>

#include <lkvm/engine.h>
#include <lkvm/image.h>
#include <lkvm/log.h>
#include <lkvm/loop.h>
#include <lkvm/util.h>

struct image_file;

/* ---- limits -------------------------------------------------------------- */

#define QCOW2_MIN_CLUSTER_BITS 9
#define QCOW2_MAX_CLUSTER_BITS 21
#define QCOW2_MAX_REFCOUNT_ORDER 6
/* Held in memory whole. QEMU has the same limits. */
#define QCOW2_MAX_L1_BYTES (32 * MIB)
#define QCOW2_MAX_REFTABLE_BYTES (8 * MIB)
/* The snapshot table and the L1 tables that it names, together. */
#define QCOW2_MAX_SNAPSHOTS 65536
#define QCOW2_MAX_SNAPSHOT_BYTES (64 * MIB)
/* Caches of whole tables, and never less than QCOW2_MIN_TABLES of them. */
#define QCOW2_L2_CACHE_BYTES (32 * MIB)
#define QCOW2_REFCOUNT_CACHE_BYTES (4 * MIB)
#define QCOW2_MIN_TABLES 4
/* Ranges of clusters that wait to be freed. */
#define QCOW2_MAX_FREES 4096
/* Buffers for copy on write, of all requests in flight. */
#define QCOW2_COPY_BYTES (32 * MIB)
/* One count for each cluster of the file while refcounts are repaired. */
#define QCOW2_MAX_REPAIR_BYTES (256 * MIB)
#define QCOW2_MAX_CHAIN 64 /* backing files behind each other */
#define QCOW2_MAX_NAME 1023 /* of a backing file */
#define QCOW2_MAX_FORMAT_NAME 15

/* ---- what is in the file ------------------------------------------------- */

#define QCOW2_MAGIC 0x514649fbU
#define QCOW2_V2_HEADER_BYTES 72
#define QCOW2_V3_HEADER_BYTES 104

/* Big endian. Version 2 ends before incompatible. */
struct qcow2_header {
	uint32_t magic;
	uint32_t version;
	uint64_t backing_file_offset;
	uint32_t backing_file_size;
	uint32_t cluster_bits;
	uint64_t size;
	uint32_t crypt_method;
	uint32_t l1_size;
	uint64_t l1_table_offset;
	uint64_t refcount_table_offset;
	uint32_t refcount_table_clusters;
	uint32_t nb_snapshots;
	uint64_t snapshots_offset;
	uint64_t incompatible_features;
	uint64_t compatible_features;
	uint64_t autoclear_features;
	uint32_t refcount_order;
	uint32_t header_length;
	uint8_t compression_type; /* if header_length reaches here */
	uint8_t padding[7];
};
_Static_assert(sizeof(struct qcow2_header) == 112, "qcow2 header");
_Static_assert(offsetof(struct qcow2_header, incompatible_features) ==
		       QCOW2_V2_HEADER_BYTES,
	       "version 2 header");
_Static_assert(offsetof(struct qcow2_header, compression_type) ==
		       QCOW2_V3_HEADER_BYTES,
	       "version 3 header");

#define QCOW2_INCOMPAT_DIRTY BIT_ULL(0)
#define QCOW2_INCOMPAT_CORRUPT BIT_ULL(1)
#define QCOW2_INCOMPAT_DATA_FILE BIT_ULL(2)
#define QCOW2_INCOMPAT_COMPRESSION BIT_ULL(3)
#define QCOW2_INCOMPAT_EXTENDED_L2 BIT_ULL(4)

enum qcow2_compression { QCOW2_ZLIB, QCOW2_ZSTD };

/* L1 and L2 entries. */
#define QCOW2_COPIED BIT_ULL(63) /* refcount is exactly one */
#define QCOW2_COMPRESSED BIT_ULL(62)
#define QCOW2_ZERO BIT_ULL(0) /* version 3: reads as zeroes */
#define QCOW2_OFFSET_MASK 0x00fffffffffffe00ULL
/* Where all of an entry's bits that are not named above must be zero. */
#define QCOW2_L1_RESERVED (~(QCOW2_COPIED | QCOW2_OFFSET_MASK))
#define QCOW2_L2_RESERVED (QCOW2_L1_RESERVED & ~QCOW2_ZERO)
#define QCOW2_REFTABLE_RESERVED 0x1ffULL

/* ---- in memory ----------------------------------------------------------- */

/* An L2 table or refcount block in memory. */
struct qcow2_table {
	uint64_t offset; /* its cluster */
	void *data; /* big endian, as in the file */
	unsigned int pins; /* callers that hold it: not to be evicted */
	bool dirty;
	LIST_ENTRY(qcow2_table) hash;
	TAILQ_ENTRY(qcow2_table) lru;
	TAILQ_ENTRY(qcow2_table) dirty_link; /* when dirty */
};

LIST_HEAD(qcow2_table_list, qcow2_table);
TAILQ_HEAD(qcow2_table_queue, qcow2_table);

struct qcow2_cache {
	struct qcow2_table_list *buckets;
	unsigned int bucket_bits;
	unsigned int limit, count; /* tables */
	bool ordered; /* L2: data and refcounts are written first */
	struct qcow2_table_queue lru; /* least recently used first */
	struct qcow2_table_queue dirty;
};

/* The L1 or refcount table: whole, in host order, with what is unwritten. */
struct qcow2_array {
	uint64_t *entries;
	uint32_t count;
	uint64_t offset;
	uint32_t dirty_first, dirty_end; /* equal: clean */
};

/* A set of cluster numbers, none of them 0. */
struct qcow2_set {
	uint64_t *slots; /* 0: empty */
	uint32_t bits; /* of the number of slots */
	uint32_t count;
};

struct qcow2_range {
	uint64_t first, count; /* clusters */
};

struct qcow2_snapshot {
	uint64_t l1_offset;
	uint32_t l1_size;
};

struct qcow2_inflater;
struct qcow2_queue;
struct qcow2_request;
TAILQ_HEAD(qcow2_request_list, qcow2_request);
LIST_HEAD(qcow2_queue_list, qcow2_queue);

struct qcow2 {
	struct image image;
	struct image_file *file; /* NULL: an overlay that we made */
	const char *name; /* for messages; file's, or a constant */
	/* Buffered: metadata, and data that is not aligned to pages. */
	int fd;
	int direct_fd; /* -1, or O_DIRECT: the rest; file's */
	uint32_t direct_align; /* of addresses and lengths in memory there */
	struct image *backing; /* owned, read-only; or NULL */
	bool is_block_device;
	bool syncs; /* not cache=unsafe */

	/* The header, as it is used. */
	uint32_t version;
	uint32_t cluster_bits;
	uint32_t cluster_size;
	uint32_t l2_bits; /* log2 of the entries of an L2 table */
	uint32_t refcount_order; /* log2 of a refcount's bits */
	uint32_t block_bits; /* log2 of the entries of a refcount block */
	enum qcow2_compression compression;
	struct qcow2_snapshot *snapshots;
	uint32_t snapshot_count;
	struct qcow2_range snapshot_table;

	/* Guards all that follows. */
	pthread_mutex_t lock;
	uint64_t incompatible, autoclear; /* as in the file */
	bool write_ready; /* see qcow2_prepare_write() */
	bool corrupt; /* no writes any more */
	int failed; /* -errno of a sync that failed: nothing is certain */
	struct ratelimit limit; /* of messages */
	uint64_t file_end; /* bytes; reads as zero from here */
	uint64_t fresh_from; /* bytes; nothing was written from here on */
	bool grown; /* file_end is ahead of need */
	struct qcow2_array l1, reftable;
	struct qcow2_cache l2_cache, block_cache;
	struct qcow2_set metadata; /* clusters that no L2 entry may name */
	uint64_t free_hint; /* no cluster before it is free */
	struct qcow2_range *frees; /* QCOW2_MAX_FREES, unmapped, not freed */
	unsigned int free_count;

	/* Requests of all queues, as they arrived: see qcow2-io.c. */
	struct qcow2_request_list requests;
	unsigned int barriers; /* of them, those that later ones wait for */
	unsigned int waiting;
	uint64_t copy_bytes; /* of QCOW2_COPY_BYTES, in use */
	struct qcow2_queue_list queues;
};

static inline struct qcow2 *qcow2_of(struct image *image)
{
	return container_of(image, struct qcow2, image);
}

/* Cluster-aligned offsets, and places within a cluster. */
static inline uint64_t qcow2_start(const struct qcow2 *q, uint64_t offset)
{
	return align_down(offset, q->cluster_size);
}

static inline uint64_t qcow2_end(const struct qcow2 *q, uint64_t offset)
{
	return align_up(offset, q->cluster_size);
}

static inline uint64_t qcow2_within(const struct qcow2 *q, uint64_t offset)
{
	return offset & (q->cluster_size - 1);
}

/* ---- qcow2.c ------------------------------------------------------------- */

/*
 * The image in @file, which then belongs to it, with its backing files.
 * Returns 0, or -errno after one line on stderr; @file is the caller's then.
 */
int qcow2_open(struct image_file *file, const struct image_options *options,
	       struct image **out);

/* A backing file as the image names it; "": none, or no format. */
struct qcow2_backing_name {
	char name[QCOW2_MAX_NAME + 1];
	char format[QCOW2_MAX_FORMAT_NAME + 1];
};

/*
 * Read header and tables into @q, which has fd, file_end and name. Returns 0,
 * or -errno after one line on stderr (none for -ENOMEM); what it allocated is
 * q's then, too.
 */
int qcow2_load(struct qcow2 *q, struct qcow2_backing_name *backing);

/* A zeroed image with its lock and lists ready; and its end. */
struct qcow2 *qcow2_new(const struct image_options *options);
void qcow2_free(struct qcow2 *q);

/* The file is inconsistent: say so, mark it. Lock held. Returns -EIO. */
int qcow2_corrupt(struct qcow2 *q, const char *fmt, ...) PRINTF_LIKE(2, 3);

/*
 * Before the first change of the file: clear the autoclear bits, make the
 * file end at a cluster's end. Lock held. Returns 0 or -errno.
 */
int qcow2_prepare_write(struct qcow2 *q);

/* Replace 8 bytes of the header, big endian. 0 or -errno. */
int qcow2_write_header64(struct qcow2 *q, size_t at, uint64_t value);

extern const struct image_ops qcow2_ops;

/* ---- qcow2-backing.c ----------------------------------------------------- */

/* Open @q's backing file. Returns 0, or -errno after one line on stderr. */
int qcow2_open_backing(struct qcow2 *q,
		       const struct qcow2_backing_name *backing);

/* ---- qcow2-create.c ------------------------------------------------------ */

struct qcow2_geometry {
	uint64_t size; /* of the disk, bytes */
	uint32_t version; /* 2 or 3 */
	uint32_t cluster_bits;
	uint32_t refcount_order; /* 4 in version 2 */
};

/* Make the empty file @fd an image with no data. Returns 0 or -errno. */
int qcow2_create(int fd, const struct qcow2_geometry *geometry);

/*
 * Make the empty file @fd an image over @base, and open it: what is written
 * goes to the file, and is never synced. Both belong to the image then.
 * Returns 0 or -errno.
 */
int qcow2_create_overlay(int fd, struct image *base,
			 const struct image_options *options,
			 struct image **out);

/* ---- qcow2-resize.c ------------------------------------------------------ */

/*
 * As image_ops.resize: larger, while requests are in flight. -ENOTSUP if
 * @size is less than before, or an image of version 2 has snapshots, or the
 * backing file is larger than the disk was, or there is data past its end;
 * -ERANGE if the L1 table would have to move.
 */
int qcow2_resize(struct image *image, uint64_t size);

/* ---- qcow2-file.c: system calls on fd; 0 or -errno ----------------------- */

/* What lies past the file's end reads as zeroes. */
int qcow2_pread(struct qcow2 *q, void *buf, size_t len, uint64_t offset);
int qcow2_pwrite(struct qcow2 *q, const void *buf, size_t len, uint64_t offset);

/* fdatasync(), unless nobody asks for it; q->failed when it fails. */
int qcow2_sync(struct qcow2 *q);

/* Make the file reach to @end at least. -ENOSPC at a device's end. */
int qcow2_grow(struct qcow2 *q, uint64_t end);

/* Give back the file's blocks in [@offset, +@len), if that is possible. */
void qcow2_punch(struct qcow2 *q, uint64_t offset, uint64_t len);

/* Is [@offset, +@len), a whole table, within the file? */
bool qcow2_in_file(const struct qcow2 *q, uint64_t offset, uint64_t len);

int qcow2_set_add(struct qcow2_set *set, uint64_t cluster);
void qcow2_set_remove(struct qcow2_set *set, uint64_t cluster);
bool qcow2_set_has(const struct qcow2_set *set, uint64_t cluster);

/* ---- qcow2-cache.c: lock held -------------------------------------------- */

int qcow2_cache_init(struct qcow2 *q, struct qcow2_cache *cache, uint64_t bytes,
		     bool ordered);
void qcow2_cache_release(struct qcow2_cache *cache);

/* The table at @offset, pinned until qcow2_put(). Returns 0 or -errno. */
int qcow2_get(struct qcow2 *q, struct qcow2_cache *cache, uint64_t offset,
	      struct qcow2_table **out);

/* As before for a cluster just allocated: zeroed, dirty, not read. */
int qcow2_get_new(struct qcow2 *q, struct qcow2_cache *cache, uint64_t offset,
		  struct qcow2_table **out);
void qcow2_put(struct qcow2_table *table);
void qcow2_dirty(struct qcow2_cache *cache, struct qcow2_table *table);

/* The cluster is no table any more; it is clean, or its content is moot. */
void qcow2_forget(struct qcow2_cache *cache, uint64_t offset);

int qcow2_array_load(struct qcow2 *q, struct qcow2_array *array,
		     uint64_t offset, uint32_t count);
void qcow2_array_set(struct qcow2_array *array, uint32_t index, uint64_t value);

/* What is dirty; the caller sees to the order. */
int qcow2_array_write(struct qcow2 *q, struct qcow2_array *array);

/* Write what is dirty, unsynced; in order only if the caller sees to it. */
int qcow2_write_tables(struct qcow2 *q, struct qcow2_cache *cache);

/*
 * Make all metadata durable, and with it all data that it speaks of; then free
 * what was unmapped. Returns 0 or -errno. @synced (may be NULL): data has been
 * synced on the way.
 */
int qcow2_write_back(struct qcow2 *q, bool *synced);

/* ---- qcow2-refcount.c: lock held ----------------------------------------- */

int qcow2_refcount(struct qcow2 *q, uint64_t cluster, uint64_t *out);

/* For repairs: set the count of a cluster that a refcount block covers. */
int qcow2_set_refcount(struct qcow2 *q, uint64_t cluster, uint64_t count);

struct qcow2_allocation {
	uint64_t host; /* bytes */
	uint32_t clusters;
	bool fresh; /* reads as zeroes */
};

/* Up to @wanted clusters in a row, refcount 1. Returns 0 or -errno. */
int qcow2_allocate(struct qcow2 *q, uint64_t wanted,
		   struct qcow2_allocation *out);

/* Give clusters back that nothing in the file names. */
void qcow2_free_now(struct qcow2 *q, uint64_t first, uint64_t count);

/* ... that nothing will name once the tables are written. */
void qcow2_free_later(struct qcow2 *q, uint64_t first, uint64_t count);
void qcow2_apply_frees(struct qcow2 *q);

/* ---- qcow2-repair.c ------------------------------------------------------ */

/* After a crash with lazy refcounts: make them right. Logs its errors. */
int qcow2_repair(struct qcow2 *q);

/* ---- qcow2-map.c: lock held ---------------------------------------------- */

enum qcow2_kind {
	QCOW2_IS_UNALLOCATED, /* the backing file's, or zeroes */
	QCOW2_IS_ZERO,
	QCOW2_IS_DATA,
	QCOW2_IS_COMPRESSED,
};

/* A part of the disk that lies in one piece. */
struct qcow2_run {
	enum qcow2_kind kind;
	bool in_place; /* data that may be overwritten */
	uint64_t host; /* DATA: bytes */
	uint64_t entry; /* COMPRESSED: one cluster, by its L2 entry */
	uint64_t len; /* at least 1, at most what was asked for */
};

/* What is at @offset of the disk, for up to @len bytes. 0 or -errno. */
int qcow2_map(struct qcow2 *q, uint64_t offset, uint64_t len,
	      struct qcow2_run *out);

/* May what is at @offset be overwritten? Its refcount is looked at. */
int qcow2_map_for_write(struct qcow2 *q, uint64_t offset, uint64_t len,
			struct qcow2_run *out);

/*
 * Let @count clusters from @offset on be those from @host on, just allocated.
 * On error those that were not linked are free again.
 */
int qcow2_link(struct qcow2 *q, uint64_t offset, uint64_t host, uint64_t count);

/*
 * Take the clusters of [@offset, +@len) away. With @zero they read as zeroes
 * after, otherwise as zeroes or, if there is nothing of their own, as before.
 */
int qcow2_unlink(struct qcow2 *q, uint64_t offset, uint64_t len, bool zero);

/* Clusters that the compressed data of @entry touches, and its bytes. */
struct qcow2_range qcow2_compressed_clusters(const struct qcow2 *q,
					     uint64_t entry);
void qcow2_compressed_bytes(const struct qcow2 *q, uint64_t entry,
			    uint64_t *offset, uint64_t *len);

/* ---- qcow2-io.c: on the queue's thread ----------------------------------- */

/* Several pieces of I/O, under way at once; done() after the last. */
struct qcow2_op {
	struct qcow2_queue *queue;
	unsigned int pending; /* and one for whoever adds pieces */
	int error; /* the first */
	void (*done)(struct qcow2_op *op);
};

void qcow2_op_put(struct qcow2_op *op, int error);

/* Bytes from @skip on of a request's vector. */
struct qcow2_vector {
	const struct iovec *iov;
	unsigned int count;
	uint64_t skip;
};

/*
 * Add pieces to @op. On an error that is known at once, @op->error is set and
 * the rest is left out.
 */
void qcow2_read_range(struct qcow2_op *op, uint64_t offset, uint64_t len,
		      struct qcow2_vector vector);
void qcow2_write_range(struct qcow2_op *op, uint64_t offset, uint64_t len,
		       struct qcow2_vector vector);

/* An operation on the file without data: zeroes, sync. */
void qcow2_operate(struct qcow2_op *op, enum engine_op kind, uint64_t host,
		   uint64_t len);

/* Does @run at @offset read as zeroes, the backing file included? */
bool qcow2_reads_as_zero(const struct qcow2 *q, uint64_t offset,
			 const struct qcow2_run *run);

/* ---- qcow2-request.c: on the queue's thread ------------------------------ */

struct qcow2_queue {
	struct image_queue *queue;
	struct image_queue backing; /* on the same engine; image NULL: none */
	struct qcow2_inflater *inflater;
	LIST_ENTRY(qcow2_queue) link; /* qcow2.lock */
	unsigned int waiting; /* qcow2.lock */
	struct loop_source wake; /* eventfd: requests of others have ended */
	bool resuming, again; /* inside the loop over waiting requests */
};

static inline struct qcow2 *qcow2_of_queue(const struct qcow2_queue *queue)
{
	return qcow2_of(queue->queue->image);
}

int qcow2_queue_init(struct image_queue *queue);
void qcow2_queue_release(struct image_queue *queue);
void qcow2_submit(struct image_queue *queue, struct image_request *request);

/* ---- qcow2-compressed.c: on the queue's thread --------------------------- */

/*
 * Read @len bytes at @skip of the compressed cluster @entry into @vector, as
 * one more piece of @op.
 */
void qcow2_read_compressed(struct qcow2_op *op, uint64_t entry, uint64_t skip,
			   uint64_t len, struct qcow2_vector vector);
int qcow2_inflater_create(struct qcow2_queue *queue,
			  struct qcow2_inflater **out);
void qcow2_inflater_destroy(struct qcow2_inflater *inflater);

#endif
