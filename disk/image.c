/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Disk images: opening them, queues, and the checks that every format shares.
 *
 * What a file is, is decided once, before the guest runs: by what the user
 * said, else by its first bytes. A guest that writes another format's magic
 * into a raw disk gains nothing (see image_options.format).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lkvm/file.h>
#include <lkvm/image.h>
#include <lkvm/log.h>
#include <lkvm/qcow2.h>
#include <lkvm/throttle.h>
#include <lkvm/util.h>

#define SECTOR 512

static int check_size(const struct image_file *file)
{
	if (!file->size) {
		log_err("disk",
			"disk image %s is empty (make one with: "
			"truncate -s 1G FILE)",
			file->path);
		return -EINVAL;
	}
	if (file->size % SECTOR) {
		log_err("disk",
			"disk image %s has %llu bytes, not a multiple "
			"of %u (round it up with: truncate -s %%%u "
			"FILE)",
			file->path, (unsigned long long)file->size, SECTOR,
			SECTOR);
		return -EINVAL;
	}
	if (file->size % file->align) {
		log_err("disk",
			"disk image %s has %llu bytes, not a multiple "
			"of %u, the block size of direct I/O there "
			"(leave out \",direct\")",
			file->path, (unsigned long long)file->size,
			file->align);
		return -EINVAL;
	}
	return 0;
}

static int open_raw(struct image_file *file, bool probed,
		    const struct image_options *options, struct image **out)
{
	int err = check_size(file);

	if (err)
		return err;
	err = raw_image_create(file, probed, options, out);
	if (err)
		log_err("disk", "cannot open disk image %s: %s", options->path,
			strerror(-err));
	return err;
}

enum image_format image_probe(const void *sector)
{
	static const uint8_t qcow2_magic[] = { 'Q', 'F', 'I', 0xfb };

	if (!memcmp(sector, qcow2_magic, sizeof(qcow2_magic)))
		return IMAGE_FORMAT_QCOW2;
	return IMAGE_FORMAT_RAW;
}

/* Decide what @file is. 0 or -errno. */
static int probe_file(const struct image_file *file, enum image_format *format)
{
	size_t bytes = MAX(file->align, SECTOR);
	void *sector;
	int err;

	if (*format != IMAGE_FORMAT_AUTO)
		return 0;
	sector = aligned_alloc(MAX(bytes, file->mem_align), bytes);
	if (!sector)
		return -ENOMEM;
	err = pread_full(file->fd, sector, bytes, 0);
	if (!err)
		*format = image_probe(sector);
	free(sector);
	/* What is shorter than a sector has no format; raw will say so. */
	if (err == -ENODATA) {
		*format = IMAGE_FORMAT_RAW;
		err = 0;
	}
	if (err)
		log_err("disk", "cannot read disk image %s: %s", file->path,
			strerror(-err));
	return err;
}

static int open_format(struct image_file *file,
		       const struct image_options *options, struct image **out)
{
	enum image_format format = options->format;
	int err = probe_file(file, &format);

	if (err)
		return err;
	if (format == IMAGE_FORMAT_QCOW2)
		return qcow2_open(file, options, out);
	return open_raw(file, options->format == IMAGE_FORMAT_AUTO, options,
			out);
}

static int open_plain(const struct image_options *options, struct image **out)
{
	const struct image_file_options file_options = {
		.path = options->path,
		.what = options->overlay ? "backing file" : "disk image",
		.read_only = options->read_only,
		.direct = options->cache == IMAGE_CACHE_NONE,
		.no_locking = options->no_locking,
	};
	struct image_file *file;
	int err = image_file_open(&file_options, &file);

	if (err)
		return err;
	err = open_format(file, options, out);
	if (err)
		image_file_close(file);
	return err;
}

static int make_overlay_file(void)
{
	const char *folder = getenv("TMPDIR");
	int fd;

	if (!folder || !*folder)
		folder = "/var/tmp";
	fd = unnamed_file(folder);
	if (fd < 0)
		log_err("disk",
			"cannot make a file for a snapshot in %s: %s (set "
			"TMPDIR to another folder)",
			folder, strerror(-fd));
	return fd;
}

static int open_snapshot(const struct image_options *options,
			 struct image **out)
{
	struct image_options base_options = *options;
	struct image *base;
	int err, fd;

	base_options.read_only = true;
	err = open_plain(&base_options, &base);
	if (err)
		return err;
	fd = make_overlay_file();
	if (fd < 0) {
		err = fd;
		goto close_base;
	}
	err = qcow2_create_overlay(fd, base, options, out);
	if (err) {
		log_err("disk", "cannot make a snapshot of %s: %s",
			options->path, strerror(-err));
		goto close_fd;
	}
	return 0;

close_fd:
	close(fd);
close_base:
	image_close(base);
	return err;
}

int image_open(const struct image_options *options, struct image **out)
{
	struct throttle *throttle;
	int err;

	err = throttle_create(options->iops, options->bandwidth, &throttle);
	if (err)
		return err;
	/* What cannot be written needs no protection from writes. */
	if (options->snapshot && !options->read_only)
		err = open_snapshot(options, out);
	else
		err = open_plain(options, out);
	if (err) {
		throttle_destroy(throttle);
		return err;
	}
	(*out)->throttle = throttle;
	if (options->no_discard || (*out)->read_only)
		(*out)->discard_granularity = 0;
	return 0;
}

void image_close(struct image *image)
{
	struct throttle *throttle;

	if (!image)
		return;
	throttle = image->throttle;
	image->ops->close(image);
	throttle_destroy(throttle);
}

int image_refresh(struct image *image)
{
	return image->ops->refresh ? image->ops->refresh(image) : 0;
}

int image_resize(struct image *image, uint64_t size)
{
	if (!image->ops->resize)
		return -ENOTSUP;
	if (image->read_only)
		return -EROFS;
	if (!size || size > INT64_MAX || size % image->block_size)
		return -EINVAL;
	return image->ops->resize(image, size);
}

void image_set_limits(struct image *image, const struct throttle_limits *limits)
{
	throttle_set(image->throttle, limits);
}

void image_get_limits(const struct image *image, struct throttle_limits *out)
{
	throttle_get(image->throttle, out);
}

/* ---- queues -------------------------------------------------------------- */

int image_queue_create_on(struct image *image, struct engine *engine,
			  struct image_queue **out)
{
	struct image_queue *queue = calloc(1, sizeof(*queue));
	int err = 0;

	if (!queue)
		return -ENOMEM;
	queue->image = image;
	queue->engine = engine;
	if (image->throttle)
		err = throttle_queue_create(image->throttle, queue,
					    image->ops->submit,
					    &queue->throttle);
	if (err)
		goto free_queue;
	if (image->ops->queue_init)
		err = image->ops->queue_init(queue);
	if (err)
		goto destroy_throttle;
	*out = queue;
	return 0;

destroy_throttle:
	throttle_queue_destroy(queue->throttle);
free_queue:
	free(queue);
	return err;
}

int image_queue_create(struct image *image, struct loop *loop,
		       unsigned int depth, struct image_queue **out)
{
	struct engine *engine;
	int err;

	err = engine_create(image->options.engine,
			    image->options.cache == IMAGE_CACHE_NONE, depth,
			    loop, &engine);
	if (err)
		return err;
	err = image_queue_create_on(image, engine, out);
	if (err)
		engine_destroy(engine);
	return err;
}

void image_queue_destroy(struct image_queue *queue)
{
	if (!queue)
		return;
	if (queue->image->ops->queue_release)
		queue->image->ops->queue_release(queue);
	throttle_queue_destroy(queue->throttle);
	engine_destroy(queue->engine);
	free(queue);
}

void image_kick(struct image_queue *queue)
{
	engine_kick(queue->engine);
}

void image_queue_on_batch(struct image_queue *queue, void (*fn)(void *opaque),
			  void *opaque)
{
	queue->batch_fn = fn;
	queue->batch_opaque = opaque;
	engine_on_batch(queue->engine, fn, opaque);
}

void image_end_batch(struct image_queue *queue)
{
	image_kick(queue);
	if (queue->batch_fn)
		queue->batch_fn(queue->batch_opaque);
}

void image_queue_hurry(struct image_queue *queue, bool hurry)
{
	if (queue->throttle)
		throttle_hurry(queue->throttle, hurry);
}

/* ---- requests ------------------------------------------------------------ */

static int check_request(const struct image *image,
			 const struct image_request *request)
{
	uint64_t size = atomic_load(&image->size);
	bool reads = request->op == IMAGE_READ || request->op == IMAGE_FLUSH;

	if (image->read_only && !reads)
		return -EROFS;
	if (request->op == IMAGE_FLUSH)
		return 0;
	if ((request->offset | request->len) % SECTOR)
		return -EINVAL;
	if (request->offset > size || request->len > size - request->offset)
		return -EINVAL;
	return 0;
}

void image_submit(struct image_queue *queue, struct image_request *request)
{
	struct image *image = queue->image;
	int err = check_request(image, request);
	bool nothing = !request->len && request->op != IMAGE_FLUSH;

	if (image->options.no_discard) {
		nothing |= request->op == IMAGE_DISCARD;
		request->unmap = false;
	}
	if (err || nothing) {
		request->done(request, err);
		return;
	}
	request->queue = queue;
	if (!queue->throttle || throttle_pass(queue->throttle, request))
		image->ops->submit(queue, request);
}
