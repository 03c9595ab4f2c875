/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Disk images: bytes at offsets, with no word of virtio or of guest
 * addresses. Formats (raw, qcow2) are layers over files and engines.
 *
 * An image may be used by several I/O threads at once, each through an
 * image_queue of its own; a request is submitted and completed on the queue's
 * thread.
 */
#ifndef LKVM_IMAGE_H
#define LKVM_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <lkvm/engine.h>
#include <lkvm/throttle.h>

struct image;
struct image_file;
struct image_queue;
struct loop;

enum image_op {
	IMAGE_READ,
	IMAGE_WRITE,
	IMAGE_FLUSH, /* what completed before is on stable storage after */
	IMAGE_DISCARD, /* a hint; the range then reads as zero or as before */
	IMAGE_WRITE_ZEROES, /* the range reads as zero */
};

struct image_request {
	enum image_op op;
	bool unmap; /* WRITE_ZEROES: may give the blocks back */
	uint64_t offset; /* bytes, a multiple of 512 */
	uint64_t len; /* bytes of iov, or of the range; a multiple of 512 */
	const struct iovec *iov; /* READ, WRITE: valid until done() */
	unsigned int iov_count;
	/*
	 * @result: 0, or -errno and nothing is known of the data. Called on
	 * the queue's thread, maybe before image_submit() returns. The request
	 * may be freed, or submitted again, within.
	 */
	void (*done)(struct image_request *request, int result);

	/* the image's own, from here on */
	struct image_queue *queue;
	struct image_request *next;
	void *format_data;
	struct engine_io io; /* raw's, as is what follows */
	uint64_t position; /* bytes that went through the bounce buffer */
	struct image_request *next_write; /* of those that are kept apart */
};

enum image_format { IMAGE_FORMAT_AUTO, IMAGE_FORMAT_RAW, IMAGE_FORMAT_QCOW2 };

/* Who may lose what when the host fails (QEMU's names). */
enum image_cache {
	IMAGE_CACHE_WRITEBACK, /* page cache; flush reaches the disk */
	IMAGE_CACHE_NONE, /* O_DIRECT; flush reaches the disk */
	IMAGE_CACHE_UNSAFE, /* page cache; flush does nothing */
};

struct image_options {
	const char *path;
	/*
	 * AUTO: qcow2 if the file has its magic, raw otherwise; looked at once,
	 * at open. The guest of an image that was taken for raw in this way
	 * cannot write the magic to its first sector: the next open would
	 * believe it, and follow the guest to any backing file.
	 */
	enum image_format format;
	enum image_cache cache;
	enum engine_kind engine;
	bool read_only;
	bool snapshot; /* writes go to an unlinked overlay and vanish */
	bool no_locking; /* take no OFD locks */
	bool backing_ok; /* backing files outside the image's folder */
	const struct image *overlay; /* whose backing file it is; or NULL */
	bool no_discard; /* discards are accepted and ignored */
	uint64_t iops; /* requests a second; 0: no limit */
	uint64_t bandwidth; /* bytes a second; 0: no limit */
};

struct image_ops {
	const char *format; /* "raw", "qcow2" */
	/* Per-queue state; queue->engine exists. 0 or -errno. Optional. */
	int (*queue_init)(struct image_queue *queue);
	void (*queue_release)(struct image_queue *queue);
	/*
	 * Range, alignment to 512 and read_only have been checked, and len is
	 * not 0 (but for FLUSH).
	 */
	void (*submit)(struct image_queue *queue,
		       struct image_request *request);
	/* Write back what is cached; all queues are gone. Frees the image. */
	void (*close)(struct image *image);
	/*
	 * The file's size may have changed (block device, resized raw file):
	 * look again, set image->size. NULL: the size is the format's.
	 */
	int (*refresh)(struct image *image);
	/*
	 * Make the file so long, with refresh() to follow. The size has been
	 * checked. NULL: the format cannot. Returns 0 or -errno.
	 */
	int (*resize)(struct image *image, uint64_t size);
};

/* First member of each format's own struct, zeroed, filled by its open. */
struct image {
	const struct image_ops *ops;
	struct image_options options; /* path: the format's own copy */
	_Atomic uint64_t size; /* bytes, a multiple of 512 */
	bool read_only;
	uint32_t block_size; /* logical; 512, or 4096 of a 4Kn disk */
	uint32_t physical_block_size;
	uint32_t discard_granularity; /* bytes; 0: no discard */
	struct throttle *throttle; /* NULL: there can be no limits */
};

/* One I/O thread's way into an image. */
struct image_queue {
	struct image *image;
	struct engine *engine; /* owned */
	void *format_data;
	struct throttle_queue *throttle; /* NULL: there can be no limits */
	void (*batch_fn)(void *opaque);
	void *batch_opaque;
};

/*
 * Open @options->path: a regular file or block device, with its backing
 * files. Returns 0, or -errno after one line on stderr that names file and
 * fix. Nothing of the file is changed before the first write, except the
 * locks and, in a writable qcow2, what its specification asks for.
 */
int image_open(const struct image_options *options, struct image **out);

/* No queue exists. Writes back metadata, releases locks. NULL is allowed. */
void image_close(struct image *image);

/*
 * The file may have been resized: look, and set image->size. Returns 0, or
 * -errno and the size is as it was. Any thread.
 */
int image_refresh(struct image *image);

/*
 * Make it @size bytes, a multiple of its blocks; image_refresh() then shows
 * that. Returns 0, -EINVAL, -EROFS, -ENOTSUP and -ERANGE (the format cannot, or
 * not so), or another -errno of the file. Any thread.
 */
int image_resize(struct image *image, uint64_t size);

/* Other rate limits, from now on, or those that hold. Any thread. */
void image_set_limits(struct image *image,
		      const struct throttle_limits *limits);
void image_get_limits(const struct image *image, struct throttle_limits *out);

/* @depth: requests in flight at most. On @loop's thread or before it runs. */
int image_queue_create(struct image *image, struct loop *loop,
		       unsigned int depth, struct image_queue **out);

/* As before, over an engine that exists: the queue owns it, but on error. */
int image_queue_create_on(struct image *image, struct engine *engine,
			  struct image_queue **out);

/* No request is in flight. NULL is allowed. */
void image_queue_destroy(struct image_queue *queue);

/*
 * Start @request. What is not within the image, a multiple of 512, or a write
 * to a read-only one, is answered with -EINVAL or -EROFS without reaching the
 * format.
 */
void image_submit(struct image_queue *queue, struct image_request *request);

/* After a batch of image_submit(): hand it to the kernel. Calls done(). */
void image_kick(struct image_queue *queue);

/*
 * Call @fn(@opaque) after batches of done(), for what costs per batch. A done()
 * from within image_submit() is none of them.
 */
void image_queue_on_batch(struct image_queue *queue, void (*fn)(void *opaque),
			  void *opaque);

/*
 * While @hurry, nothing waits for the disk's rate limits, and what waited goes:
 * somebody waits for all requests to end (a reset, a pause).
 */
void image_queue_hurry(struct image_queue *queue, bool hurry);

/* ---- between the files of disk/ ------------------------------------------ */

/*
 * For what calls image_submit() or done() from a loop source of its own: kick,
 * and call what image_queue_on_batch() set. The last thing that it does.
 */
void image_end_batch(struct image_queue *queue);

/* What IMAGE_FORMAT_AUTO takes a file with this first sector for. */
enum image_format image_probe(const void *sector);

/*
 * The raw format over @file, which then belongs to the image. @probed: nobody
 * named the format. Returns 0 or -errno.
 */
int raw_image_create(struct image_file *file, bool probed,
		     const struct image_options *options, struct image **out);

#endif
