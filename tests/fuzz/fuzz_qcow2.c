/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libFuzzer target: the input is a qcow2 file. It is opened for writing, used
 * as a guest would, closed, and read once more. See "make fuzz".
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lkvm/engine.h>
#include <lkvm/image.h>
#include <lkvm/log.h>
#include <lkvm/loop.h>
#include <lkvm/util.h>

#include "../unit/engine-wait.h"

#define BUFFER_BYTES (64 * KIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- instead of core/log.c: formats, and says nothing -------------------- */

static void format(const char *fmt, va_list args) PRINTF_LIKE(1, 0);

static void format(const char *fmt, va_list args)
{
	char text[512];

	vsnprintf(text, sizeof(text), fmt, args);
}

#define QUIET(name)                                            \
	void name(const char *subsystem, const char *fmt, ...) \
	{                                                      \
		va_list args;                                  \
                                                               \
		(void)subsystem;                               \
		va_start(args, fmt);                           \
		format(fmt, args);                             \
		va_end(args);                                  \
	}

QUIET(log_err)
QUIET(log_warn)
QUIET(log_info)
QUIET(log_debug)

void log_warn_limited(struct ratelimit *limit, const char *subsystem,
		      const char *fmt, ...)
{
	va_list args;

	(void)limit;
	(void)subsystem;
	va_start(args, fmt);
	format(fmt, args);
	va_end(args);
}

/* ---- a guest ------------------------------------------------------------- */

static void done(struct image_request *request, int result)
{
	(void)result;
	request->format_data = request;
}

static void use(struct image_queue *queue, enum image_op op, uint64_t offset,
		uint64_t len, void *buf)
{
	struct iovec iov = { buf, len };
	struct image_request request = {
		.op = op,
		.unmap = true,
		.offset = offset,
		.len = len,
		.iov = &iov,
		.iov_count = 1,
		.done = done,
	};

	image_submit(queue, &request);
	image_kick(queue);
	/* Nobody else is there whom it could wait for. */
	while (!request.format_data)
		engine_wait(queue->engine);
}

static void read_around(struct image_queue *queue, void *buf)
{
	uint64_t size = queue->image->size;

	use(queue, IMAGE_READ, 0, MIN(size, BUFFER_BYTES), buf);
	use(queue, IMAGE_READ, align_down(size / 2, 512), 512, buf);
	use(queue, IMAGE_READ, size - 512, 512, buf);
}

static void write_around(struct image_queue *queue, void *buf)
{
	uint64_t size = queue->image->size;
	uint64_t middle = align_down(size / 2, 512);

	use(queue, IMAGE_WRITE, 0, 512, buf);
	use(queue, IMAGE_WRITE, middle, MIN(size - middle, 8 * KIB), buf);
	use(queue, IMAGE_FLUSH, 0, 0, NULL);
	use(queue, IMAGE_WRITE, 0, MIN(size, BUFFER_BYTES), buf);
	use(queue, IMAGE_WRITE_ZEROES, 512, MIN(size - 512, 20 * KIB), NULL);
	use(queue, IMAGE_DISCARD, 0, MIN(size, MIB), NULL);
	use(queue, IMAGE_FLUSH, 0, 0, NULL);
	use(queue, IMAGE_WRITE, size - 512, 512, buf);
}

static void run(const char *path, bool read_only, void *buf)
{
	const struct image_options options = {
		.path = path,
		.format = IMAGE_FORMAT_QCOW2,
		.engine = ENGINE_SYNC,
		.cache = IMAGE_CACHE_UNSAFE,
		.read_only = read_only,
		.no_locking = true,
	};
	struct image_queue *queue;
	struct image *image;
	struct loop *loop;

	if (image_open(&options, &image))
		return;
	if (loop_create(&loop))
		abort();
	if (image_queue_create(image, loop, 16, &queue))
		abort();
	read_around(queue, buf);
	if (!read_only) {
		write_around(queue, buf);
		read_around(queue, buf);
	}
	image_queue_destroy(queue);
	image_close(image);
	loop_destroy(loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	char *buf = calloc(1, BUFFER_BYTES);
	char path[32];

	if (fd < 0 || !buf || write_full(fd, data, size))
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	run(path, false, buf);
	run(path, true, buf);
	free(buf);
	close(fd);
	return 0;
}
