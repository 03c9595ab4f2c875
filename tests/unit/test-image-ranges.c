/* SPDX-License-Identifier: GPL-2.0 */
/*
 * disk/: what gives blocks back, what keeps a block's parts apart, sizes that
 * change; and what a bad day of the host's disk does to a raw image.
 */
#include "engine-fault.h"
#include "image.h"

#include <sys/stat.h>

static unsigned int syncs;

/* Stands in for the C library's. */
int fdatasync(int fd)
{
	syncs++;
	return fsync(fd);
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

static void a_raw_disk_is_resized(void **state)
{
	struct fixture *f = *state;
	struct image_options options = { .path = f->path };
	struct disk disk = open_with(&options);
	struct stat st;

	assert_int_equal(image_resize(disk.image, 2 * SIZE), 0);
	assert_int_equal(image_refresh(disk.image), 0);
	assert_int_equal(disk.image->size, 2 * SIZE);
	assert_int_equal(image_resize(disk.image, 0), -EINVAL);
	assert_int_equal(image_resize(disk.image, SIZE + 1), -EINVAL);
	assert_int_equal(image_resize(disk.image, UINT64_MAX - 511), -EINVAL);
	close_disk(&disk);
	options.read_only = true;
	disk = open_with(&options);
	assert_int_equal(image_resize(disk.image, SIZE), -EROFS);
	close_disk(&disk);
	/* Writes go elsewhere: an overlay, which can grow, over the file. */
	options.read_only = false;
	options.snapshot = true;
	disk = open_with(&options);
	assert_int_equal(image_resize(disk.image, SIZE), -ENOTSUP);
	assert_int_equal(image_resize(disk.image, 4 * SIZE), 0);
	assert_int_equal(disk.image->size, 4 * SIZE);
	close_disk(&disk);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_size, 2 * SIZE);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		IMAGE_TEST(zeroes_are_written_with_blocks_or_without),
		IMAGE_TEST(discard_punches_holes),
		IMAGE_TEST(discard_can_be_turned_off),
		IMAGE_TEST(ranges_that_are_not_aligned_keep_their_neighbours),
		IMAGE_TEST(new_size_is_seen),
		IMAGE_TEST(a_raw_disk_is_resized),
		IMAGE_TEST(unsafe_disk_is_never_synced),
		IMAGE_TEST(parts_of_a_block_do_not_overwrite_each_other),
		IMAGE_TEST(errors_hit_one_request_each),
		IMAGE_TEST(flushed_data_survives_power_cuts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
