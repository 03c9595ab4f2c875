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

#include <lkvm/image.h>
#include <lkvm/log.h>
#include <lkvm/util.h>

#define SIZE (1 * MIB)

struct fixture {
	char dir[64];
	char path[80]; /* of a file with SIZE bytes, each block its own */
	uint8_t *want; /* what the file should hold */
};

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
	assert_int_equal(write(fd, f->want, SIZE), SIZE);
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

static struct image *open_image(const struct fixture *f, bool read_only)
{
	const struct image_options options = {
		.path = f->path,
		.read_only = read_only,
	};
	struct image *image;

	assert_int_equal(image_open(&options, &image), 0);
	return image;
}

struct call {
	struct image_request request;
	unsigned int done;
	int result;
};

static void call_done(struct image_request *request, int result)
{
	struct call *call = container_of(request, struct call, request);

	call->done++;
	call->result = result;
}

/* The result of one request. */
static int submit(struct image *image, enum image_op op, uint64_t offset,
		  const struct iovec *iov, unsigned int count)
{
	struct call call = {
		.request = {
			.op = op,
			.offset = offset,
			.iov = iov,
			.iov_count = count,
			.done = call_done,
		},
	};

	for (unsigned int i = 0; i < count; i++)
		call.request.len += iov[i].iov_len;
	image_submit(image, &call.request);
	assert_int_equal(call.done, 1);
	return call.result;
}

static int submit_flat(struct image *image, enum image_op op, uint64_t offset,
		       void *data, size_t len)
{
	struct iovec iov = { data, len };

	return submit(image, op, offset, &iov, 1);
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

	assert_int_equal(truncate(f->path, 0), 0);
	assert_path_fails(f->path, -EINVAL, "is empty");
	assert_int_equal(truncate(f->path, 511), 0);
	assert_path_fails(f->path, -EINVAL, "511 bytes, not a multiple of 512");
	assert_int_equal(truncate(f->path, 1025), 0);
	assert_path_fails(f->path, -EINVAL, "truncate -s %512");
	assert_int_equal(truncate(f->path, 1024), 0);
	image_close(open_image(f, false));
}

/* As another user when this one is root, whom no mode stops. */
static void permissions_are_explained(void **state)
{
	struct fixture *f = *state;
	bool root = !geteuid();

	assert_int_equal(chmod(f->path, 0444), 0);
	/* access() asks for the real user: both change. */
	if (root)
		assert_int_equal(setresuid(65534, 65534, 0), 0);
	assert_path_fails(f->path, -EACCES, "add \",ro\"");
	image_close(open_image(f, true));
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
	struct image *image;

	/* The lowest free number is the one that the image gets. */
	close(probe);
	image = open_image(f, true);
	assert_int_equal(fcntl(probe, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(probe, F_GETFL) & O_ACCMODE, O_RDONLY);
	image_close(image);
	image_close(NULL);
}

/* ---- requests ----------------------------------------------------------- */

static void bytes_go_where_they_belong(void **state)
{
	struct fixture *f = *state;
	struct image *image = open_image(f, false);
	uint8_t data[4096];
	/* Nothing assumes sectors, and empty elements are harmless. */
	const struct iovec iov[] = {
		{ data, 1 },	   { data, 0 },		 { data + 1, 510 },
		{ data + 511, 1 }, { data + 512, 3072 },
	};

	assert_int_equal(image->size, SIZE);
	assert_int_equal(submit(image, IMAGE_READ, 8192, iov, 5), 0);
	assert_memory_equal(data, f->want + 8192, 3584);
	memset(data, 0x77, sizeof(data));
	memset(f->want + 512, 0x77, 3584);
	assert_int_equal(submit(image, IMAGE_WRITE, 512, iov, 5), 0);
	assert_int_equal(submit(image, IMAGE_FLUSH, 0, NULL, 0), 0);
	assert_int_equal(submit(image, IMAGE_READ, SIZE, NULL, 0), 0);
	image_close(image);
	assert_file_is_as_wanted(f);
}

static void more_elements_than_one_call_takes(void **state)
{
	enum { COUNT = 2 * IOV_MAX + 7 };
	struct fixture *f = *state;
	struct image *image = open_image(f, false);
	struct iovec *iov = calloc(COUNT, sizeof(*iov));
	uint8_t *data = calloc(COUNT, 3);

	assert_non_null(iov);
	assert_non_null(data);
	for (unsigned int i = 0; i < COUNT; i++) {
		iov[i].iov_base = data + 3 * i;
		iov[i].iov_len = 3;
	}
	assert_int_equal(submit(image, IMAGE_READ, 1024, iov, COUNT), 0);
	assert_memory_equal(data, f->want + 1024, 3 * COUNT);
	memset(data, 0x33, 3 * COUNT);
	memset(f->want + 5, 0x33, 3 * COUNT);
	assert_int_equal(submit(image, IMAGE_WRITE, 5, iov, COUNT), 0);
	image_close(image);
	free(iov);
	free(data);
	assert_file_is_as_wanted(f);
}

static void ranges_outside_are_refused(void **state)
{
	static const struct {
		uint64_t offset, len;
	} bad[] = {
		{ SIZE, 1 },
		{ SIZE - 511, 512 },
		{ SIZE + 1, 0 },
		{ UINT64_MAX, 1 },
		{ UINT64_MAX - 511, 512 },
		{ 512, UINT64_MAX - 511 },
		{ 0, UINT64_MAX },
	};
	struct fixture *f = *state;
	struct image *image = open_image(f, false);

	for (unsigned int i = 0; i < 2 * ARRAY_SIZE(bad); i++) {
		struct call call = {
			.request = {
				.op = i & 1 ? IMAGE_WRITE : IMAGE_READ,
				.offset = bad[i / 2].offset,
				.len = bad[i / 2].len,
				.done = call_done,
			},
		};

		image_submit(image, &call.request);
		assert_int_equal(call.done, 1);
		assert_int_equal(call.result, -EINVAL);
	}
	image_close(image);
	assert_file_is_as_wanted(f);
}

static void read_only_image_is_not_written(void **state)
{
	struct fixture *f = *state;
	struct image *image = open_image(f, true);
	uint8_t data[512] = { 0 };

	assert_int_equal(submit_flat(image, IMAGE_WRITE, 0, data, 512), -EROFS);
	assert_int_equal(submit_flat(image, IMAGE_READ, 0, data, 512), 0);
	assert_memory_equal(data, f->want, 512);
	assert_int_equal(submit(image, IMAGE_FLUSH, 0, NULL, 0), 0);
	image_close(image);
	assert_file_is_as_wanted(f);
}

static void file_that_shrank_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct image *image = open_image(f, false);
	uint8_t data[1024];

	assert_int_equal(truncate(f->path, SIZE / 2), 0);
	assert_int_equal(submit_flat(image, IMAGE_READ, SIZE - 512, data, 512),
			 -EIO);
	assert_int_equal(submit_flat(image, IMAGE_READ, SIZE / 2 - 512, data,
				     1024),
			 -EIO);
	image_close(image);
}

/* ---- O_DIRECT ----------------------------------------------------------- */

/* Shapes that need the bounce buffer, some larger than it is. */
static void try_odd_shapes(struct fixture *f, struct image *image)
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
			submit(image, IMAGE_READ, shape[i].offset, iov, 2), 0);
		assert_memory_equal(at, f->want + shape[i].offset,
				    shape[i].len);
		memset(at, (int)i + 1, shape[i].len);
		memset(f->want + shape[i].offset, (int)i + 1, shape[i].len / 3);
		memcpy(at + shape[i].len / 3,
		       f->want + shape[i].offset + shape[i].len / 3,
		       shape[i].len - shape[i].len / 3);
		assert_int_equal(
			submit(image, IMAGE_WRITE, shape[i].offset, iov, 2), 0);
		assert_file_is_as_wanted(f);
	}
	free(data);
}

/* With the alignment of a disk of large sectors, on any file system. */
static void bounced_requests_keep_their_neighbours(void **state)
{
	struct fixture *f = *state;
	int fd = open(f->path, O_RDWR | O_CLOEXEC);
	struct image *image;

	assert_int_equal(raw_image_create(fd, SIZE, false, 4096, &image), 0);
	try_odd_shapes(f, image);
	assert_int_equal(truncate(f->path, SIZE / 2), 0);
	assert_int_equal(submit_flat(image, IMAGE_WRITE, SIZE - 512, f->want,
				     512),
			 -EIO);
	image_close(image);
}

static void direct_takes_any_shape(void **state)
{
	struct fixture *f = *state;
	const struct image_options options = {
		.path = f->path,
		.direct = true,
	};
	int probe = open(f->path, O_RDWR | O_DIRECT | O_CLOEXEC);
	struct image *image;

	if (probe < 0) {
		assert_open_fails(&options, -EINVAL, "leave out \",direct\"");
		return;
	}
	close(probe);
	assert_int_equal(image_open(&options, &image), 0);
	try_odd_shapes(f, image);
	assert_int_equal(submit(image, IMAGE_FLUSH, 0, NULL, 0), 0);
	image_close(image);
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
