/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Raw images: byte n of the disk is byte n of the file or block device.
 *
 * Requests go straight to the engine, but for those that O_DIRECT will not
 * have: they go one after the other, in aligned windows, through a buffer of
 * the queue's. A block that is written in part is read first; other writes to
 * it wait meanwhile, on whatever queue they are.
 */
#include <errno.h>
#include <stdatomic.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <lkvm/file.h>
#include <lkvm/image.h>
#include <lkvm/log.h>
#include <lkvm/util.h>

#define SECTOR 512

/* The bounce buffer, unless one block is larger. */
#define BOUNCE_BYTES (256 * KIB)

struct raw_image {
	struct image image;
	struct image_file *file;
	bool probed; /* nobody said that the file is raw */
	uint32_t block; /* what is read and written whole */
	struct ratelimit warn;

	/* Blocks larger than sectors: writes are kept apart. */
	pthread_mutex_t lock;
	struct image_request *active; /* lock; by next_write, as is waiting */
	struct image_request *waiting; /* lock; oldest first */
};

struct raw_queue {
	struct raw_image *raw;
	struct image_queue *queue;
	struct image_request *ready; /* raw->lock; have waited long enough */
	struct loop_source wake; /* eventfd: there are such; -1 if never */

	/* The window of the first of bouncing. */
	struct image_request *bouncing, **bouncing_tail;
	void *bounce; /* bounce_len bytes, a multiple of the block */
	uint64_t bounce_len;
	struct iovec window;
	uint64_t window_start;
	uint64_t window_bytes; /* that are the request's */
};

static struct raw_image *to_raw(struct image *image)
{
	return container_of(image, struct raw_image, image);
}

static void begin(struct raw_queue *rq, struct image_request *request);
static void bounce_step(struct raw_queue *rq);

/* ---- keeping writes apart ------------------------------------------------ */

/* Will a block be written in part? */
static bool is_partial(const struct raw_image *raw,
		       const struct image_request *request)
{
	return (request->offset | request->len) & (raw->block - 1);
}

static bool conflict(const struct raw_image *raw, const struct image_request *a,
		     const struct image_request *b)
{
	if (!is_partial(raw, a) && !is_partial(raw, b))
		return false;
	return align_down(a->offset, raw->block) <
		       align_up(b->offset + b->len, raw->block) &&
	       align_down(b->offset, raw->block) <
		       align_up(a->offset + a->len, raw->block);
}

/* With one from @list, up to @end? */
static bool conflicts(const struct raw_image *raw,
		      const struct image_request *request,
		      const struct image_request *list,
		      const struct image_request *end)
{
	for (; list != end; list = list->next_write)
		if (conflict(raw, request, list))
			return true;
	return false;
}

/* May @request begin? Otherwise it has been put to those that wait. */
static bool admit(struct raw_image *raw, struct image_request *request)
{
	struct image_request **tail = &raw->waiting;
	bool wait;

	pthread_mutex_lock(&raw->lock);
	wait = conflicts(raw, request, raw->active, NULL) ||
	       conflicts(raw, request, raw->waiting, NULL);
	if (wait) {
		while (*tail)
			tail = &(*tail)->next_write;
		request->next_write = NULL;
		*tail = request;
	} else {
		request->next_write = raw->active;
		raw->active = request;
	}
	pthread_mutex_unlock(&raw->lock);
	return !wait;
}

/* @request is over: those that waited for it alone are ready. */
static void leave(struct raw_image *raw, struct image_request *request)
{
	struct image_request **at = &raw->active;

	pthread_mutex_lock(&raw->lock);
	while (*at != request)
		at = &(*at)->next_write;
	*at = request->next_write;
	at = &raw->waiting;
	while (*at) {
		struct image_request *next = *at;
		struct raw_queue *rq = next->queue->format_data;

		if (conflicts(raw, next, raw->active, NULL) ||
		    conflicts(raw, next, raw->waiting, next)) {
			at = &next->next_write;
			continue;
		}
		*at = next->next_write;
		next->next_write = raw->active;
		raw->active = next;
		next->next = rq->ready;
		rq->ready = next;
		eventfd_write(rq->wake.fd, 1);
	}
	pthread_mutex_unlock(&raw->lock);
}

static bool is_tracked(const struct raw_image *raw,
		       const struct image_request *request)
{
	return raw->block > SECTOR && request->op != IMAGE_READ &&
	       request->op != IMAGE_FLUSH;
}

static void wake_ready(void *opaque, uint32_t events)
{
	struct raw_queue *rq = opaque;
	struct image_request *request;
	eventfd_t count;

	(void)events;
	eventfd_read(rq->wake.fd, &count);
	pthread_mutex_lock(&rq->raw->lock);
	request = rq->ready;
	rq->ready = NULL;
	pthread_mutex_unlock(&rq->raw->lock);
	while (request) {
		struct image_request *next = request->next;

		begin(rq, request);
		request = next;
	}
	image_end_batch(rq->queue);
}

static void finish(struct image_request *request, int result)
{
	struct raw_image *raw = to_raw(request->queue->image);

	/* A hint that the host has no use for is no error (2.5). */
	if (request->op == IMAGE_DISCARD && result == -EOPNOTSUPP)
		result = 0;
	if (is_tracked(raw, request))
		leave(raw, request);
	request->done(request, result);
}

/* ---- the bounce buffer --------------------------------------------------- */

static struct image_request *io_request(struct engine_io *io)
{
	return container_of(io, struct image_request, io);
}

static void bounce_io(struct raw_queue *rq, enum engine_op op, uint64_t offset,
		      uint64_t len,
		      void (*done)(struct engine_io *io, int result))
{
	struct engine_io *io = &rq->bouncing->io;

	io->op = op;
	io->fd = rq->raw->file->fd;
	io->offset = offset;
	io->len = len;
	io->iov = &rq->window;
	io->iov_count = 1;
	io->done = done;
	engine_submit(rq->queue->engine, io);
}

static void bounce_end(struct raw_queue *rq, int result)
{
	struct image_request *request = rq->bouncing;

	rq->bouncing = request->next;
	if (rq->bouncing)
		bounce_step(rq);
	else
		rq->bouncing_tail = &rq->bouncing;
	finish(request, result);
}

/* @result of the step: the next one, or the end. */
static void bounce_advance(struct raw_queue *rq, uint64_t bytes, int result)
{
	struct image_request *request = rq->bouncing;

	request->position += bytes;
	if (result || request->position == request->len)
		bounce_end(rq, result);
	else
		bounce_step(rq);
}

static void window_written(struct engine_io *io, int result)
{
	struct raw_queue *rq = io_request(io)->queue->format_data;

	bounce_advance(rq, rq->window_bytes, result);
}

/* Fill in what the request says, and write the window. */
static void write_window(struct raw_queue *rq)
{
	struct image_request *request = rq->bouncing;
	struct raw_image *raw = rq->raw;
	char *data = (char *)rq->window.iov_base +
		     (request->offset + request->position - rq->window_start);

	if (request->op == IMAGE_WRITE)
		iov_to_buf(request->iov, request->iov_count, request->position,
			   data, rq->window_bytes);
	else
		memset(data, 0, rq->window_bytes);
	/* In our copy: the guest's may change between a look and a write. */
	if (raw->probed && !rq->window_start &&
	    image_probe(rq->window.iov_base) != IMAGE_FORMAT_RAW) {
		log_warn_limited(&raw->warn, "disk",
				 "the guest may not make the raw image %s look "
				 "like another format (add \",format=raw\" to "
				 "let it)",
				 raw->file->path);
		bounce_end(rq, -EPERM);
		return;
	}
	bounce_io(rq, ENGINE_WRITE, rq->window_start, rq->window.iov_len,
		  window_written);
}

static void window_read(struct engine_io *io, int result)
{
	struct image_request *request = io_request(io);
	struct raw_queue *rq = request->queue->format_data;
	uint64_t skip = request->offset + request->position - rq->window_start;

	if (result) {
		bounce_end(rq, result);
	} else if (request->op == IMAGE_READ) {
		iov_from_buf(request->iov, request->iov_count,
			     request->position,
			     (char *)rq->window.iov_base + skip,
			     rq->window_bytes);
		bounce_advance(rq, rq->window_bytes, 0);
	} else {
		write_window(rq);
	}
}

/*
 * The next window of the first that bounces, or the whole blocks that it fills
 * with zeroes. Windows end within the image, whose size is whole blocks.
 */
static void bounce_step(struct raw_queue *rq)
{
	struct image_request *request = rq->bouncing;
	uint64_t block = rq->raw->block;
	uint64_t pos = request->offset + request->position;
	uint64_t end = request->offset + request->len;
	uint64_t start = align_down(pos, block);
	uint64_t stop = MIN(start + rq->bounce_len, align_up(end, block));

	if (request->op == IMAGE_WRITE_ZEROES) {
		if (pos == start && end - pos >= block) {
			rq->window_bytes = align_down(end, block) - pos;
			bounce_io(rq,
				  request->unmap ? ENGINE_WRITE_ZEROES :
						   ENGINE_ALLOCATE_ZEROES,
				  pos, rq->window_bytes, window_written);
			return;
		}
		stop = start + block;
	}
	rq->window_start = start;
	rq->window_bytes = MIN(stop, end) - pos;
	rq->window.iov_base = rq->bounce;
	rq->window.iov_len = stop - start;
	if (request->op == IMAGE_READ || rq->window_bytes != stop - start)
		bounce_io(rq, ENGINE_READ, start, stop - start, window_read);
	else
		write_window(rq);
}

static void bounce(struct raw_queue *rq, struct image_request *request)
{
	request->position = 0;
	request->next = NULL;
	*rq->bouncing_tail = request;
	rq->bouncing_tail = &request->next;
	if (rq->bouncing == request)
		bounce_step(rq);
}

/* ---- requests ------------------------------------------------------------ */

static bool needs_bounce(const struct raw_image *raw,
			 const struct image_request *request)
{
	const struct image_file *file = raw->file;
	uint64_t lens = request->offset | request->len;
	uintptr_t addresses = 0;

	if (request->op == IMAGE_WRITE && raw->probed && !request->offset)
		return true;
	if (request->op == IMAGE_READ || request->op == IMAGE_WRITE)
		for (unsigned int i = 0; i < request->iov_count; i++) {
			addresses |= (uintptr_t)request->iov[i].iov_base;
			lens |= request->iov[i].iov_len;
		}
	return (lens & (file->align - 1)) ||
	       (addresses & (file->mem_align - 1));
}

static void io_done(struct engine_io *io, int result)
{
	finish(io_request(io), result);
}

static enum engine_op engine_op_of(const struct image_request *request)
{
	switch (request->op) {
	case IMAGE_READ:
		return ENGINE_READ;
	case IMAGE_WRITE:
		return ENGINE_WRITE;
	case IMAGE_FLUSH:
		return ENGINE_SYNC_DATA;
	case IMAGE_DISCARD:
		return ENGINE_DISCARD;
	case IMAGE_WRITE_ZEROES:
		break;
	}
	return request->unmap ? ENGINE_WRITE_ZEROES : ENGINE_ALLOCATE_ZEROES;
}

static void begin(struct raw_queue *rq, struct image_request *request)
{
	struct raw_image *raw = rq->raw;
	struct engine_io *io = &request->io;

	if (request->op == IMAGE_FLUSH) {
		io->offset = io->len = 0;
	} else if (request->op == IMAGE_DISCARD) {
		/* A hint: what is no whole block may stay. */
		uint64_t end =
			align_down(request->offset + request->len, raw->block);

		io->offset = align_up(request->offset, raw->block);
		if (io->offset >= end) {
			finish(request, 0);
			return;
		}
		io->len = end - io->offset;
	} else if (needs_bounce(raw, request)) {
		bounce(rq, request);
		return;
	} else {
		io->offset = request->offset;
		io->len = request->len;
	}
	io->op = engine_op_of(request);
	io->fd = raw->file->fd;
	io->iov = request->iov;
	io->iov_count = request->iov_count;
	io->done = io_done;
	engine_submit(rq->queue->engine, io);
}

static void raw_submit(struct image_queue *queue, struct image_request *request)
{
	struct raw_image *raw = to_raw(queue->image);

	if (request->op == IMAGE_FLUSH &&
	    raw->image.options.cache == IMAGE_CACHE_UNSAFE)
		request->done(request, 0);
	else if (!is_tracked(raw, request) || admit(raw, request))
		begin(queue->format_data, request);
}

/* ---- life ---------------------------------------------------------------- */

static int raw_queue_init(struct image_queue *queue)
{
	struct raw_image *raw = to_raw(queue->image);
	struct raw_queue *rq = calloc(1, sizeof(*rq));
	int err = -ENOMEM;

	if (!rq)
		return -ENOMEM;
	rq->raw = raw;
	rq->queue = queue;
	rq->bouncing_tail = &rq->bouncing;
	rq->wake = (struct loop_source) {
		.fd = -1,
		.ready = wake_ready,
		.opaque = rq,
	};
	if (raw->file->direct || raw->probed) {
		rq->bounce_len = MAX(BOUNCE_BYTES, raw->block);
		rq->bounce = aligned_alloc(
			MAX(raw->block, raw->file->mem_align), rq->bounce_len);
		if (!rq->bounce)
			goto free_rq;
	}
	if (raw->block > SECTOR) {
		rq->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (rq->wake.fd < 0) {
			err = -errno;
			goto free_bounce;
		}
		err = loop_add(queue->engine->loop, &rq->wake, EPOLLIN);
		if (err)
			goto close_wake;
	}
	queue->format_data = rq;
	return 0;

close_wake:
	close(rq->wake.fd);
free_bounce:
	free(rq->bounce);
free_rq:
	free(rq);
	return err;
}

static void raw_queue_release(struct image_queue *queue)
{
	struct raw_queue *rq = queue->format_data;

	loop_del(queue->engine->loop, &rq->wake);
	if (rq->wake.fd >= 0)
		close(rq->wake.fd);
	free(rq->bounce);
	free(rq);
}

static int raw_refresh(struct image *image)
{
	struct raw_image *raw = to_raw(image);
	uint64_t size;
	int err = image_file_size(raw->file, &size);

	if (err)
		return err;
	size = align_down(size, raw->block);
	if (!size)
		return -EINVAL;
	atomic_store(&image->size, size);
	return 0;
}

static int raw_resize(struct image *image, uint64_t size)
{
	struct raw_image *raw = to_raw(image);

	if (size % raw->block)
		return -EINVAL;
	/* Whoever owns a device makes it larger; here it is only looked at. */
	if (raw->file->is_block_device)
		return 0;
	return ftruncate(raw->file->fd, (off_t)size) ? -errno : 0;
}

static void raw_close(struct image *image)
{
	struct raw_image *raw = to_raw(image);

	image_file_close(raw->file);
	pthread_mutex_destroy(&raw->lock);
	free(raw);
}

static const struct image_ops raw_ops = {
	.format = "raw",
	.queue_init = raw_queue_init,
	.queue_release = raw_queue_release,
	.submit = raw_submit,
	.close = raw_close,
	.refresh = raw_refresh,
	.resize = raw_resize,
};

int raw_image_create(struct image_file *file, bool probed,
		     const struct image_options *options, struct image **out)
{
	struct raw_image *raw = calloc(1, sizeof(*raw));

	if (!raw)
		return -ENOMEM;
	pthread_mutex_init(&raw->lock, NULL);
	raw->file = file;
	raw->probed = probed && !file->read_only;
	raw->block = MAX(file->align, SECTOR);
	raw->image.ops = &raw_ops;
	raw->image.options = *options;
	raw->image.options.path = file->path;
	raw->image.size = file->size;
	raw->image.read_only = file->read_only;
	raw->image.block_size = file->block_size;
	raw->image.physical_block_size = file->physical_block_size;
	raw->image.discard_granularity = file->discard_granularity;
	*out = &raw->image;
	return 0;
}
