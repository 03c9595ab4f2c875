/* SPDX-License-Identifier: GPL-2.0 */
/*
 * disk/: what opening an image refuses and says, and that bytes go where they
 * should whatever the shape of a request.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/file.h>
#include <lkvm/image.h>
#include <lkvm/log.h>
#include <lkvm/util.h>

#include "engine-fault.h"

#define SIZE (1 * MIB)

struct fixture {
	char dir[64];
	char path[80]; /* of a file with SIZE bytes, each block its own */
	uint8_t *want; /* what the file should hold */
	int image_fd; /* of make_4k_image(): the image's own */
};

static unsigned int syncs;

/* Stands in for the C library's. */
int fdatasync(int fd)
{
	syncs++;
	return fsync(fd);
}

static int setup(void **state)
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

static int teardown(void **state)
{
	struct fixture *f = *state;

	unlink(f->path);
	rmdir(f->dir);
	free(f->want);
	free(f);
	return 0;
}

/* Opening fails with @err and one line on stderr that has @words in it. */
static void assert_open_fails(const struct image_options *options, int err,
			      const char *words)
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

static void assert_path_fails(const char *path, int err, const char *words)
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

static struct disk make_disk(struct image *image)
{
	struct disk disk = { .image = image };

	assert_int_equal(loop_create(&disk.loop), 0);
	assert_int_equal(
		image_queue_create(disk.image, disk.loop, 8, &disk.queue), 0);
	return disk;
}

static struct disk open_with(const struct image_options *options)
{
	struct image *image;

	assert_int_equal(image_open(options, &image), 0);
	return make_disk(image);
}

static struct disk open_disk(const struct fixture *f, bool read_only)
{
	const struct image_options options = {
		.path = f->path,
		.read_only = read_only,
	};

	return open_with(&options);
}

/* As if direct I/O wanted blocks of 4 KiB, on any file system. */
static struct image *make_4k_image(struct fixture *f)
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

static void close_disk(struct disk *disk)
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

static void call_done(struct image_request *request, int result)
{
	struct call *call = container_of(request, struct call, request);

	call->done++;
	call->result = result;
	if (call->left && !--*call->left)
		loop_stop(call->loop);
}

static int run_call(struct disk *disk, struct call *call)
{
	image_submit(disk->queue, &call->request);
	while (!call->done)
		engine_wait(disk->queue->engine);
	assert_int_equal(call->done, 1);
	return call->result;
}

/* The result of one request. */
static int submit(struct disk *disk, enum image_op op, uint64_t offset,
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

static int submit_flat(struct disk *disk, enum image_op op, uint64_t offset,
		       void *data, size_t len)
{
	struct iovec iov = { data, len };

	return submit(disk, op, offset, &iov, 1);
}

static void assert_file_is_as_wanted(const struct fixture *f)
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

/* ---- opening ------------------------------------------------------------ */

static void missing_file_is_named(void **state)
{
	(void)state;
	assert_path_fails("/nonexistent/disk.img", -ENOENT,
			  "cannot open disk image /nonexistent/disk.img: No "
			  "such file or directory");
}

static void wrong_kinds_are_refused(void **state)
{
	struct fixture *f = *state;

	assert_path_fails(f->dir, -EISDIR, "Is a directory");
	assert_path_fails("/dev/null", -EINVAL, "character device");
	unlink(f->path);
	assert_int_equal(mkfifo(f->path, 0600), 0);
	assert_path_fails(f->path, -EINVAL, "pipe");
}

static void wrong_sizes_are_refused(void **state)
{
	struct fixture *f = *state;
	struct disk disk;

	assert_int_equal(truncate(f->path, 0), 0);
	assert_path_fails(f->path, -EINVAL, "is empty");
	assert_int_equal(truncate(f->path, 511), 0);
	assert_path_fails(f->path, -EINVAL, "511 bytes, not a multiple of 512");
	assert_int_equal(truncate(f->path, 1025), 0);
	assert_path_fails(f->path, -EINVAL, "truncate -s %512");
	assert_int_equal(truncate(f->path, 1024), 0);
	disk = open_disk(f, false);
	close_disk(&disk);
}

/* As another user when this one is root, whom no mode stops. */
static void permissions_are_explained(void **state)
{
	struct fixture *f = *state;
	bool root = !geteuid();
	struct disk disk;

	assert_int_equal(chmod(f->path, 0444), 0);
	/* access() asks for the real user: both change. */
	if (root)
		assert_int_equal(setresuid(65534, 65534, 0), 0);
	assert_path_fails(f->path, -EACCES, "add \",ro\"");
	disk = open_disk(f, true);
	close_disk(&disk);
	if (root)
		assert_int_equal(setresuid(0, 0, 0), 0);

	assert_int_equal(chmod(f->path, 0), 0);
	if (root)
		assert_int_equal(setresuid(65534, 65534, 0), 0);
	assert_path_fails(f->path, -EACCES, "Permission denied");
	if (root)
		assert_int_equal(setresuid(0, 0, 0), 0);
}

static void descriptors_are_not_inherited(void **state)
{
	struct fixture *f = *state;
	int probe = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct disk disk;

	/* The lowest free number is the one that the image gets. */
	close(probe);
	disk = open_disk(f, true);
	assert_int_equal(fcntl(probe, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(probe, F_GETFL) & O_ACCMODE, O_RDONLY);
	close_disk(&disk);
	image_close(NULL);
}

/* ---- requests ----------------------------------------------------------- */

static void bytes_go_where_they_belong(void **state)
{
	struct fixture *f = *state;
	struct disk disk = open_disk(f, false);
	uint8_t data[4096];
	/* No element need be a sector, and empty ones are harmless. */
	const struct iovec iov[] = {
		{ data, 1 },	   { data, 0 },		 { data + 1, 510 },
		{ data + 511, 1 }, { data + 512, 3072 },
	};

	assert_int_equal(disk.image->size, SIZE);
	assert_int_equal(submit(&disk, IMAGE_READ, 8192, iov, 5), 0);
	assert_memory_equal(data, f->want + 8192, 3584);
	memset(data, 0x77, sizeof(data));
	memset(f->want + 512, 0x77, 3584);
	assert_int_equal(submit(&disk, IMAGE_WRITE, 512, iov, 5), 0);
	assert_int_equal(submit(&disk, IMAGE_FLUSH, 0, NULL, 0), 0);
	assert_int_equal(submit(&disk, IMAGE_READ, SIZE, NULL, 0), 0);
	close_disk(&disk);
	assert_file_is_as_wanted(f);
}

static void more_elements_than_one_call_takes(void **state)
{
	enum { COUNT = 2 * IOV_MAX + 512 };
	struct fixture *f = *state;
	struct disk disk = open_disk(f, false);
	struct iovec *iov = calloc(COUNT, sizeof(*iov));
	uint8_t *data = calloc(COUNT, 3);

	assert_non_null(iov);
	assert_non_null(data);
	for (unsigned int i = 0; i < COUNT; i++) {
		iov[i].iov_base = data + 3 * i;
		iov[i].iov_len = 3;
	}
	assert_int_equal(submit(&disk, IMAGE_READ, 1024, iov, COUNT), 0);
	assert_memory_equal(data, f->want + 1024, 3 * COUNT);
	memset(data, 0x33, 3 * COUNT);
	memset(f->want + 512, 0x33, 3 * COUNT);
	assert_int_equal(submit(&disk, IMAGE_WRITE, 512, iov, COUNT), 0);
	close_disk(&disk);
	free(iov);
	free(data);
	assert_file_is_as_wanted(f);
}

static void ranges_outside_are_refused(void **state)
{
	static const struct {
		uint64_t offset, len;
	} bad[] = {
		{ SIZE, 512 },
		{ SIZE - 512, 1024 },
		{ 0, 1 },
		{ 1, 512 },
		{ SIZE - 511, 512 },
		{ SIZE + 1, 0 },
		{ UINT64_MAX, 1 },
		{ UINT64_MAX - 511, 512 },
		{ 512, UINT64_MAX - 511 },
		{ 0, UINT64_MAX },
	};
	struct fixture *f = *state;
	struct disk disk = open_disk(f, false);

	for (unsigned int i = 0; i < 2 * ARRAY_SIZE(bad); i++) {
		struct call call = {
			.request = {
				.op = i & 1 ? IMAGE_WRITE : IMAGE_READ,
				.offset = bad[i / 2].offset,
				.len = bad[i / 2].len,
				.done = call_done,
			},
		};

		image_submit(disk.queue, &call.request);
		assert_int_equal(call.done, 1);
		assert_int_equal(call.result, -EINVAL);
	}
	close_disk(&disk);
	assert_file_is_as_wanted(f);
}

static void read_only_image_is_not_written(void **state)
{
	struct fixture *f = *state;
	struct disk disk = open_disk(f, true);
	uint8_t data[512] = { 0 };

	assert_int_equal(submit_flat(&disk, IMAGE_WRITE, 0, data, 512), -EROFS);
	assert_int_equal(submit_flat(&disk, IMAGE_READ, 0, data, 512), 0);
	assert_memory_equal(data, f->want, 512);
	assert_int_equal(submit(&disk, IMAGE_FLUSH, 0, NULL, 0), 0);
	close_disk(&disk);
	assert_file_is_as_wanted(f);
}

static void file_that_shrank_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct disk disk = open_disk(f, false);
	uint8_t data[1024];

	assert_int_equal(truncate(f->path, SIZE / 2), 0);
	assert_int_equal(submit_flat(&disk, IMAGE_READ, SIZE - 512, data, 512),
			 -EIO);
	assert_int_equal(submit_flat(&disk, IMAGE_READ, SIZE / 2 - 512, data,
				     1024),
			 -EIO);
	close_disk(&disk);
}

/* ---- O_DIRECT ----------------------------------------------------------- */

/* Shapes that need the bounce buffer, some larger than it is. */
static void try_odd_shapes(struct fixture *f, struct disk *disk)
{
	static const struct {
		uint64_t offset;
		size_t len;
		unsigned int skew; /* of the address */
	} shape[] = {
		{ 0, 4096, 0 },
		{ 0, 4096, 1 },
		{ 512, 512, 0 },
		{ 512, 8192, 3 },
		{ 4096, 512, 0 },
		{ 3584, 1024, 512 },
		{ 512, SIZE - 1024, 8 },
		{ SIZE - 512, 512, 0 },
		{ 256 * KIB - 512, 1024, 0 },
		{ 0, SIZE, 1 },
		{ 256 * KIB, 256 * KIB, 2 },
	};
	uint8_t *data = aligned_alloc(4096, SIZE + 4096);

	assert_non_null(data);
	for (unsigned int i = 0; i < ARRAY_SIZE(shape); i++) {
		uint8_t *at = data + shape[i].skew;
		struct iovec iov[] = {
			{ at, shape[i].len / 2 },
			{ at + shape[i].len / 2, shape[i].len / 2 },
		};

		memset(data, 0, SIZE + 4096);
		assert_int_equal(
			submit(disk, IMAGE_READ, shape[i].offset, iov, 2), 0);
		assert_memory_equal(at, f->want + shape[i].offset,
				    shape[i].len);
		memset(at, (int)i + 1, shape[i].len);
		memset(f->want + shape[i].offset, (int)i + 1, shape[i].len / 3);
		memcpy(at + shape[i].len / 3,
		       f->want + shape[i].offset + shape[i].len / 3,
		       shape[i].len - shape[i].len / 3);
		assert_int_equal(
			submit(disk, IMAGE_WRITE, shape[i].offset, iov, 2), 0);
		assert_file_is_as_wanted(f);
	}
	free(data);
}

/* With the alignment of a disk of large sectors, on any file system. */
static void bounced_requests_keep_their_neighbours(void **state)
{
	struct fixture *f = *state;
	struct disk disk = make_disk(make_4k_image(f));

	try_odd_shapes(f, &disk);
	assert_int_equal(truncate(f->path, SIZE / 2), 0);
	assert_int_equal(submit_flat(&disk, IMAGE_WRITE, SIZE - 512, f->want,
				     512),
			 -EIO);
	close_disk(&disk);
}

static void direct_takes_any_shape(void **state)
{
	struct fixture *f = *state;
	const struct image_options options = {
		.path = f->path,
		.cache = IMAGE_CACHE_NONE,
	};
	int probe = open(f->path, O_RDWR | O_DIRECT | O_CLOEXEC);
	struct disk disk;

	if (probe < 0) {
		assert_open_fails(&options, -EINVAL, "leave out \",direct\"");
		return;
	}
	close(probe);
	disk = open_with(&options);
	try_odd_shapes(f, &disk);
	assert_int_equal(submit(&disk, IMAGE_FLUSH, 0, NULL, 0), 0);
	close_disk(&disk);
}

/* ---- formats ------------------------------------------------------------- */

static void write_file(const struct fixture *f, uint64_t offset,
		       const void *data, size_t len)
{
	int fd = open(f->path, O_WRONLY | O_CLOEXEC);

	assert_int_equal(pwrite(fd, data, len, (off_t)offset), len);
	close(fd);
}

static const uint8_t magic[] = { 'Q', 'F', 'I', 0xfb };

static void named_format_is_not_probed(void **state)
{
	struct fixture *f = *state;
	const struct image_options options = {
		.path = f->path,
		.format = IMAGE_FORMAT_RAW,
	};
	struct disk disk;

	memcpy(f->want, magic, sizeof(magic));
	write_file(f, 0, magic, sizeof(magic));
	/* Probed, it is a bad qcow2. */
	assert_path_fails(f->path, -EINVAL, "qcow2");
	disk = open_with(&options);
	assert_string_equal(disk.image->ops->format, "raw");
	/* And its guest may write what it likes. */
	assert_int_equal(submit_flat(&disk, IMAGE_WRITE, 0, f->want, 4096), 0);
	close_disk(&disk);
	assert_file_is_as_wanted(f);
}

static void probed_raw_disk_stays_raw(void **state)
{
	struct fixture *f = *state;
	struct disk disk = open_disk(f, false);
	uint8_t *data = malloc(SIZE);

	assert_non_null(data);
	assert_string_equal(disk.image->ops->format, "raw");
	memset(data, 0x55, SIZE);
	memcpy(data, magic, sizeof(magic));
	log_set_level(LOG_LEVEL_ERROR);
	assert_int_equal(submit_flat(&disk, IMAGE_WRITE, 0, data, 512), -EPERM);
	assert_int_equal(submit_flat(&disk, IMAGE_WRITE, 0, data, SIZE),
			 -EPERM);
	log_set_level(LOG_LEVEL_WARNING);
	assert_file_is_as_wanted(f);
	/* It is the first sector alone that matters. */
	memcpy(f->want + 512, data, 512);
	assert_int_equal(submit_flat(&disk, IMAGE_WRITE, 512, data, 512), 0);
	data[0]++;
	memcpy(f->want, data, SIZE / 2);
	assert_int_equal(submit_flat(&disk, IMAGE_WRITE, 0, data, SIZE / 2), 0);
	close_disk(&disk);
	assert_file_is_as_wanted(f);
	free(data);
}

static void snapshot_leaves_the_file_alone(void **state)
{
	struct fixture *f = *state;
	const struct image_options options = {
		.path = f->path,
		.snapshot = true,
	};
	struct disk disk = open_with(&options);
	uint8_t data[1024], have[2048];

	assert_false(disk.image->read_only);
	memset(data, 0x77, sizeof(data));
	assert_int_equal(submit_flat(&disk, IMAGE_WRITE, 512, data, 1024), 0);
	assert_int_equal(submit(&disk, IMAGE_FLUSH, 0, NULL, 0), 0);
	assert_int_equal(submit_flat(&disk, IMAGE_READ, 0, have, 2048), 0);
	assert_memory_equal(have, f->want, 512);
	assert_memory_equal(have + 512, data, 1024);
	assert_memory_equal(have + 1536, f->want + 1536, 512);
	close_disk(&disk);
	assert_file_is_as_wanted(f);
}

/* ---- zeroes, holes, sizes ------------------------------------------------ */

static blkcnt_t blocks(const struct fixture *f)
{
	struct stat st;
	int fd = open(f->path, O_RDONLY | O_CLOEXEC);

	assert_int_equal(fsync(fd), 0);
	assert_int_equal(fstat(fd, &st), 0);
	close(fd);
	return st.st_blocks;
}

static int submit_range(struct disk *disk, enum image_op op, bool unmap,
			uint64_t offset, uint64_t len)
{
	struct call call = {
		.request = {
			.op = op,
			.unmap = unmap,
			.offset = offset,
			.len = len,
			.done = call_done,
		},
	};

	return run_call(disk, &call);
}

static void zeroes_are_written_with_blocks_or_without(void **state)
{
	struct fixture *f = *state;
	struct disk disk = open_disk(f, false);
	blkcnt_t before = blocks(f);

	memset(f->want + 65536, 0, 65536);
	assert_int_equal(submit_range(&disk, IMAGE_WRITE_ZEROES, false, 65536,
				      65536),
			 0);
	assert_file_is_as_wanted(f);
	assert_true(blocks(f) >= before);
	memset(f->want + 131072, 0, 65536);
	assert_int_equal(submit_range(&disk, IMAGE_WRITE_ZEROES, true, 131072,
				      65536),
			 0);
	assert_file_is_as_wanted(f);
	assert_true(blocks(f) < before);
	close_disk(&disk);
}

static void discard_punches_holes(void **state)
{
	struct fixture *f = *state;
	struct disk disk = open_disk(f, false);
	blkcnt_t before = blocks(f);

	assert_true(disk.image->discard_granularity);
	memset(f->want + 65536, 0, 65536);
	assert_int_equal(
		submit_range(&disk, IMAGE_DISCARD, false, 65536, 65536), 0);
	assert_true(blocks(f) < before);
	close_disk(&disk);
	assert_file_is_as_wanted(f);
}

static void discard_can_be_turned_off(void **state)
{
	struct fixture *f = *state;
	const struct image_options options = {
		.path = f->path,
		.no_discard = true,
	};
	struct disk disk = open_with(&options);
	blkcnt_t before = blocks(f);

	assert_int_equal(disk.image->discard_granularity, 0);
	assert_int_equal(submit_range(&disk, IMAGE_DISCARD, false, 0, SIZE), 0);
	assert_file_is_as_wanted(f);
	memset(f->want, 0, 65536);
	assert_int_equal(
		submit_range(&disk, IMAGE_WRITE_ZEROES, true, 0, 65536), 0);
	assert_true(blocks(f) >= before);
	close_disk(&disk);
	assert_file_is_as_wanted(f);
}

/* Blocks that are covered in part keep the rest, and are discarded never. */
static void ranges_that_are_not_aligned_keep_their_neighbours(void **state)
{
	static const struct {
		uint64_t offset, len;
	} range[] = {
		{ 512, 512 },	     { 3584, 1024 },	    { 512, 65536 },
		{ 65536, 512 },	     { 69632, 4096 + 512 }, { 81408, 12800 },
		{ SIZE - 512, 512 },
	};
	struct fixture *f = *state;
	struct disk disk = make_disk(make_4k_image(f));

	for (unsigned int i = 0; i < ARRAY_SIZE(range); i++) {
		uint64_t first = align_up(range[i].offset, 4096);
		uint64_t end = align_down(range[i].offset + range[i].len, 4096);

		if (first < end)
			memset(f->want + first, 0, end - first);
		assert_int_equal(submit_range(&disk, IMAGE_DISCARD, false,
					      range[i].offset, range[i].len),
				 0);
		assert_file_is_as_wanted(f);
		memset(f->want + range[i].offset, 0, range[i].len);
		assert_int_equal(submit_range(&disk, IMAGE_WRITE_ZEROES, i & 1,
					      range[i].offset, range[i].len),
				 0);
		assert_file_is_as_wanted(f);
	}
	close_disk(&disk);
}

static void new_size_is_seen(void **state)
{
	struct fixture *f = *state;
	struct disk disk = open_disk(f, false);
	uint8_t data[512];

	assert_int_equal(submit_flat(&disk, IMAGE_READ, SIZE, data, 512),
			 -EINVAL);
	assert_int_equal(truncate(f->path, 2 * SIZE + 100), 0);
	assert_int_equal(submit_flat(&disk, IMAGE_READ, SIZE, data, 512),
			 -EINVAL);
	assert_int_equal(image_refresh(disk.image), 0);
	assert_int_equal(disk.image->size, 2 * SIZE);
	assert_int_equal(submit_flat(&disk, IMAGE_READ, SIZE, data, 512), 0);
	assert_int_equal(truncate(f->path, 100), 0);
	assert_int_equal(image_refresh(disk.image), -EINVAL);
	assert_int_equal(disk.image->size, 2 * SIZE);
	close_disk(&disk);
}

static void unsafe_disk_is_never_synced(void **state)
{
	struct fixture *f = *state;
	struct image_options options = {
		.path = f->path,
		.engine = ENGINE_SYNC,
	};
	struct disk disk = open_with(&options);

	syncs = 0;
	assert_int_equal(submit(&disk, IMAGE_FLUSH, 0, NULL, 0), 0);
	assert_int_equal(syncs, 1);
	close_disk(&disk);
	options.cache = IMAGE_CACHE_UNSAFE;
	disk = open_with(&options);
	assert_int_equal(submit(&disk, IMAGE_FLUSH, 0, NULL, 0), 0);
	close_disk(&disk);
	assert_int_equal(syncs, 1);
}

/* ---- bad days ------------------------------------------------------------ */

static struct disk make_faulty_disk(struct image *image, struct faults *faults)
{
	struct disk disk = { .image = image };
	struct engine *engine;

	assert_int_equal(loop_create(&disk.loop), 0);
	engine = engine_create_fault(faults, 8, disk.loop);
	assert_int_equal(image_queue_create_on(image, engine, &disk.queue), 0);
	return disk;
}

/* Two queues write neighbouring sectors of the same blocks, all at once. */
static void parts_of_a_block_do_not_overwrite_each_other(void **state)
{
	enum { SECTORS = 64, ROUNDS = 200 };
	struct fixture *f = *state;
	struct faults faults = { .seed = 7, .reorder = true, .record_fd = -1 };
	struct image *image = make_4k_image(f);
	struct disk disk = make_faulty_disk(image, &faults);
	struct engine *engine = engine_create_fault(&faults, 8, disk.loop);
	struct image_queue *other;
	struct call call[SECTORS];
	struct iovec iov[SECTORS];
	unsigned int left = 0;

	assert_int_equal(image_queue_create_on(image, engine, &other), 0);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		unsigned int count = 0;

		memset(call, 0, sizeof(call));
		for (unsigned int at = 0; at < SECTORS; count++) {
			unsigned int n =
				1 + (unsigned int)rand_r(&faults.seed) % 11;
			uint8_t *data = f->want + 512 * at;

			n = MIN(n, SECTORS - at);
			memset(data, (int)(round + at), 512 * n);
			iov[count] = (struct iovec) { data, 512 * n };
			call[count].request = (struct image_request) {
				.op = IMAGE_WRITE,
				.offset = 512 * at,
				.len = 512 * n,
				.iov = &iov[count],
				.iov_count = 1,
				.done = call_done,
			};
			call[count].left = &left;
			call[count].loop = disk.loop;
			left++;
			at += n;
		}
		for (unsigned int i = 0; i < count; i++)
			image_submit(i & 1 ? disk.queue : other,
				     &call[i].request);
		image_kick(disk.queue);
		image_kick(other);
		assert_int_equal(loop_run(disk.loop), 0);
		for (unsigned int i = 0; i < count; i++)
			assert_int_equal(call[i].result, 0);
		assert_file_is_as_wanted(f);
	}
	image_queue_destroy(other);
	close_disk(&disk);
}

static void errors_hit_one_request_each(void **state)
{
	struct fixture *f = *state;
	struct faults faults = {
		.seed = 3,
		.error = -EIO,
		.error_permille = 300,
		.short_permille = 300,
		.reorder = true,
		.record_fd = -1,
	};
	struct disk disk = make_faulty_disk(make_4k_image(f), &faults);
	uint8_t data[2048];
	unsigned int failed = 0;

	for (unsigned int i = 0; i < 300; i++) {
		int err = submit_flat(&disk, IMAGE_READ, 512 * i, data, 2048);

		assert_true(err == 0 || err == -EIO);
		if (err)
			failed++;
		else
			assert_memory_equal(data, f->want + 512 * i, 2048);
	}
	assert_in_range(failed, 30, 270);
	/* What is written over itself survives all of it. */
	for (unsigned int i = 0; i < 300; i++)
		submit_flat(&disk, IMAGE_WRITE, 512 * i, f->want + 512 * i,
			    2048);
	close_disk(&disk);
	assert_file_is_as_wanted(f);
}

static void flushed_data_survives_power_cuts(void **state)
{
	struct fixture *f = *state;
	struct image *image = make_4k_image(f);
	struct faults faults = {
		.seed = 5,
		.short_permille = 200,
		.reorder = true,
		.record_fd = f->image_fd,
	};
	struct disk disk = make_faulty_disk(image, &faults);
	uint8_t *data = malloc(SIZE);

	assert_non_null(data);
	for (unsigned int i = 0; i < 100; i++) {
		uint64_t at = 512 * (i * 13 % 1000);

		memset(f->want + at, (int)i, 5120);
		assert_int_equal(submit_flat(&disk, IMAGE_WRITE, at,
					     f->want + at, 5120),
				 0);
		assert_int_equal(submit(&disk, IMAGE_FLUSH, 0, NULL, 0), 0);
		/* Not flushed: lost, or there, but nothing else. */
		memset(data, 0xaa, 1024);
		assert_int_equal(submit_flat(&disk, IMAGE_WRITE, SIZE - 1024,
					     data, 1024),
				 0);
		fault_power_cut(disk.queue->engine);
		assert_int_equal(submit_flat(&disk, IMAGE_READ, 0, data, SIZE),
				 0);
		assert_memory_equal(data, f->want, SIZE - 1024);
	}
	close_disk(&disk);
	free(data);
}

#define IMAGE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IMAGE_TEST(missing_file_is_named),
		IMAGE_TEST(wrong_kinds_are_refused),
		IMAGE_TEST(wrong_sizes_are_refused),
		IMAGE_TEST(permissions_are_explained),
		IMAGE_TEST(descriptors_are_not_inherited),
		IMAGE_TEST(bytes_go_where_they_belong),
		IMAGE_TEST(more_elements_than_one_call_takes),
		IMAGE_TEST(ranges_outside_are_refused),
		IMAGE_TEST(read_only_image_is_not_written),
		IMAGE_TEST(file_that_shrank_is_an_error),
		IMAGE_TEST(bounced_requests_keep_their_neighbours),
		IMAGE_TEST(direct_takes_any_shape),
		IMAGE_TEST(named_format_is_not_probed),
		IMAGE_TEST(probed_raw_disk_stays_raw),
		IMAGE_TEST(snapshot_leaves_the_file_alone),
		IMAGE_TEST(zeroes_are_written_with_blocks_or_without),
		IMAGE_TEST(discard_punches_holes),
		IMAGE_TEST(discard_can_be_turned_off),
		IMAGE_TEST(ranges_that_are_not_aligned_keep_their_neighbours),
		IMAGE_TEST(new_size_is_seen),
		IMAGE_TEST(unsafe_disk_is_never_synced),
		IMAGE_TEST(parts_of_a_block_do_not_overwrite_each_other),
		IMAGE_TEST(errors_hit_one_request_each),
		IMAGE_TEST(flushed_data_survives_power_cuts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
