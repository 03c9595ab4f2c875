/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For the tests of disk/image.c and raw.c: a file in a folder of its own, an
 * image of it, requests one at a time.
 */
#ifndef TESTS_IMAGE_H
#define TESTS_IMAGE_H

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
#include <unistd.h>

#include <lkvm/file.h>
#include <lkvm/image.h>
#include <lkvm/log.h>
#include <lkvm/util.h>

#include "engine-wait.h"

#define SIZE (1 * MIB)

struct fixture {
	char dir[64];
	char path[80]; /* of a file with SIZE bytes, each block its own */
	uint8_t *want; /* what the file should hold */
	int image_fd; /* of make_4k_image(): the image's own */
};

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fd;

	assert_non_null(f);
	strcpy(f->dir, "/tmp/lkvm-image-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(chmod(f->dir, 0755), 0);
	snprintf(f->path, sizeof(f->path), "%s/disk", f->dir);
	f->want = malloc(SIZE);
	assert_non_null(f->want);
	for (size_t i = 0; i < SIZE; i++)
		f->want[i] = (uint8_t)(i ^ i >> 8 ^ i >> 16);
	fd = open(f->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, f->want, SIZE), 0);
	close(fd);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	unlink(f->path);
	rmdir(f->dir);
	free(f->want);
	free(f);
	return 0;
}

/* Opening fails with @err and one line on stderr that has @words in it. */
static inline void assert_open_fails(const struct image_options *options,
				     int err, const char *words)
{
	struct image *const untouched = (struct image *)&err;
	struct image *image = untouched;
	int saved = dup(STDERR_FILENO);
	char line[1024] = "";
	int fds[2];
	int got;

	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	dup2(fds[1], STDERR_FILENO);
	got = image_open(options, &image);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(fds[1]);
	(void)!read(fds[0], line, sizeof(line) - 1);
	close(fds[0]);

	assert_int_equal(got, err);
	assert_ptr_equal(image, untouched);
	assert_non_null(strstr(line, options->path));
	if (!strstr(line, words))
		fail_msg("'%s' lacks '%s'", line, words);
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static inline void assert_path_fails(const char *path, int err,
				     const char *words)
{
	const struct image_options options = { .path = path };

	assert_open_fails(&options, err, words);
}

/* An image, and a queue of it on a loop that nobody runs. */
struct disk {
	struct image *image;
	struct image_queue *queue;
	struct loop *loop;
};

static inline struct disk make_disk(struct image *image)
{
	struct disk disk = { .image = image };

	assert_int_equal(loop_create(&disk.loop), 0);
	assert_int_equal(
		image_queue_create(disk.image, disk.loop, 8, &disk.queue), 0);
	return disk;
}

static inline struct disk open_with(const struct image_options *options)
{
	struct image *image;

	assert_int_equal(image_open(options, &image), 0);
	return make_disk(image);
}

static inline struct disk open_disk(const struct fixture *f, bool read_only)
{
	const struct image_options options = {
		.path = f->path,
		.read_only = read_only,
	};

	return open_with(&options);
}

/* As if direct I/O wanted blocks of 4 KiB, on any file system. */
static inline struct image *make_4k_image(struct fixture *f)
{
	const struct image_file_options file_options = {
		.path = f->path,
		.what = "disk image",
	};
	const struct image_options options = { .path = f->path };
	struct image_file *file;
	struct image *image;

	assert_int_equal(image_file_open(&file_options, &file), 0);
	file->direct = true;
	file->align = file->mem_align = 4096;
	f->image_fd = file->fd;
	assert_int_equal(raw_image_create(file, false, &options, &image), 0);
	return image;
}

static inline void close_disk(struct disk *disk)
{
	image_queue_destroy(disk->queue);
	loop_destroy(disk->loop);
	image_close(disk->image);
}

struct call {
	struct image_request request;
	unsigned int done;
	int result;
	unsigned int *left; /* of several, if not NULL */
	struct loop *loop; /* to be stopped by the last */
};

static inline void call_done(struct image_request *request, int result)
{
	struct call *call = container_of(request, struct call, request);

	call->done++;
	call->result = result;
	if (call->left && !--*call->left)
		loop_stop(call->loop);
}

static inline int run_call(struct disk *disk, struct call *call)
{
	image_submit(disk->queue, &call->request);
	while (!call->done)
		engine_wait(disk->queue->engine);
	assert_int_equal(call->done, 1);
	return call->result;
}

/* The result of one request. */
static inline int submit(struct disk *disk, enum image_op op, uint64_t offset,
			 const struct iovec *iov, unsigned int count)
{
	struct call call = {
		.request = {
			.op = op,
			.offset = offset,
			.iov = iov,
			.iov_count = count,
			.len = iov_length(iov, count),
			.done = call_done,
		},
	};

	return run_call(disk, &call);
}

static inline int submit_flat(struct disk *disk, enum image_op op,
			      uint64_t offset, void *data, size_t len)
{
	struct iovec iov = { data, len };

	return submit(disk, op, offset, &iov, 1);
}

static inline void assert_file_is_as_wanted(const struct fixture *f)
{
	int fd = open(f->path, O_RDONLY | O_CLOEXEC);
	uint8_t *have = malloc(SIZE);
	struct stat st;

	assert_non_null(have);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, SIZE);
	assert_int_equal(pread_full(fd, have, SIZE, 0), 0);
	assert_memory_equal(have, f->want, SIZE);
	free(have);
	close(fd);
}

#define IMAGE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
