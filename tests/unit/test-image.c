/* SPDX-License-Identifier: GPL-2.0 */
/*
 * disk/: what opening an image refuses and says, and that bytes go where they
 * should whatever the shape of a request.
 */
#include <limits.h>

#include "image.h"

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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
