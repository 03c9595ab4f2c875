/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests of qcow2 share: a disk on a loop of its own, and qemu-img. */
#ifndef TESTS_QCOW2_H
#define TESTS_QCOW2_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lkvm/engine.h>
#include <lkvm/image.h>
#include <lkvm/loop.h>
#include <lkvm/qcow2.h>
#include <lkvm/util.h>

#include "engine-wait.h"

#define UNUSED __attribute__((unused))

/* An open image with one queue. */
struct disk {
	struct loop *loop;
	struct image *image;
	struct image_queue *queue;
};

struct call {
	struct image_request request;
	struct iovec iov;
	unsigned int done;
	int result;
};

static void call_done(struct image_request *request, int result)
{
	struct call *call = container_of(request, struct call, request);

	call->done++;
	call->result = result;
}

static UNUSED void disk_attach(struct disk *disk, struct image *image,
			       enum engine_kind kind)
{
	struct engine *engine;

	disk->image = image;
	assert_int_equal(loop_create(&disk->loop), 0);
	if (engine_create(kind, false, 64, disk->loop, &engine))
		assert_int_equal(engine_create(ENGINE_SYNC, false, 64,
					       disk->loop, &engine),
				 0);
	assert_int_equal(image_queue_create_on(image, engine, &disk->queue), 0);
}

static UNUSED int disk_open_with(struct disk *disk,
				 const struct image_options *options)
{
	struct image *image;
	int err = image_open(options, &image);

	if (!err)
		disk_attach(disk, image, options->engine);
	return err;
}

static UNUSED void disk_open(struct disk *disk, const char *path,
			     bool read_only, enum engine_kind engine)
{
	const struct image_options options = {
		.path = path,
		.engine = engine,
		.read_only = read_only,
	};

	assert_int_equal(disk_open_with(disk, &options), 0);
}

static UNUSED void disk_close(struct disk *disk)
{
	image_queue_destroy(disk->queue);
	image_close(disk->image);
	loop_destroy(disk->loop);
}

static void call_start(struct disk *disk, struct call *call, enum image_op op,
		       uint64_t offset, void *data, uint64_t len, bool unmap)
{
	*call = (struct call) {
		.iov = { data, len },
		.request = {
			.op = op,
			.offset = offset,
			.len = len,
			.unmap = unmap,
			.iov = data ? &call->iov : NULL,
			.iov_count = data ? 1 : 0,
			.done = call_done,
		},
	};
	image_submit(disk->queue, &call->request);
}

static int call_end(struct disk *disk, struct call *call)
{
	image_kick(disk->queue);
	while (!call->done) {
		assert_true(engine_in_flight(disk->queue->engine) > 0);
		engine_wait(disk->queue->engine);
	}
	assert_int_equal(call->done, 1);
	return call->result;
}

static UNUSED int disk_do(struct disk *disk, enum image_op op, uint64_t offset,
			  void *data, uint64_t len)
{
	struct call call;

	call_start(disk, &call, op, offset, data, len, true);
	return call_end(disk, &call);
}

/* ---- files and tools ----------------------------------------------------- */

static char *make_folder_in(const char *parent)
{
	char *folder = NULL;

	assert_true(asprintf(&folder, "%s/lkvm-qcow2-XXXXXX", parent) > 0);
	assert_non_null(mkdtemp(folder));
	return folder;
}

/* In memory where possible: these tests sync all the time. */
static UNUSED char *make_folder(void)
{
	return make_folder_in(access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
}

static PRINTF_LIKE(1, 2) UNUSED int run(const char *fmt, ...)
{
	char command[1024];
	va_list args;
	int status;

	va_start(args, fmt);
	vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static UNUSED void remove_folder(char *folder)
{
	assert_int_equal(run("rm -rf %s", folder), 0);
	free(folder);
}

static UNUSED bool have_qemu_img(void)
{
	return !run("qemu-img --version >/dev/null 2>&1");
}

/* 0: clean; 3: leaks, which are allowed if @leaks; the rest is corruption. */
static UNUSED void check_image(const char *path, bool leaks)
{
	int status = run("qemu-img check -q %s >%s.check 2>&1", path, path);

	if (status && !(leaks && status == 3)) {
		run("head -20 %s.check", path);
		fail_msg("qemu-img check %s: %d", path, status);
	}
}

/* Compare @path, qcow2, with a raw file of @len bytes at @data. */
static UNUSED void compare_image(const char *path, const void *data, size_t len)
{
	char raw[256];
	int fd;

	snprintf(raw, sizeof(raw), "%s.want", path);
	fd = open(raw, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, data, len), 0);
	close(fd);
	assert_int_equal(
		run("qemu-img compare -q -f qcow2 -F raw %s %s", path, raw), 0);
	unlink(raw);
}

/* xorshift: the same numbers each time, so that failures come again. */
static UNUSED uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static UNUSED void fill_random(uint64_t *state, void *data, size_t len)
{
	uint64_t *words = data;

	for (size_t i = 0; i < len / sizeof(*words); i++)
		words[i] = next_random(state);
}

static UNUSED bool long_run(void)
{
	return getenv("LKVM_LONG") != NULL;
}

#endif
