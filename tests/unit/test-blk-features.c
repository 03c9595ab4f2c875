/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio_blk_type as a guest and a user see it (virtio 1.2, 5.2): discard and
 * write zeroes, cache mode, several queues, resizing, options, statistics. See
 * blk.h.
 */
#include "blk.h"

#include <linux/falloc.h>

#include <lkvm/blk.h>

#define ALL_FEATURES                                \
	(FEATURES | BIT_ULL(VIRTIO_BLK_F_DISCARD) | \
	 BIT_ULL(VIRTIO_BLK_F_WRITE_ZEROES) |       \
	 BIT_ULL(VIRTIO_BLK_F_CONFIG_WCE))

#define UNMAP VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP

static void create_with(struct fixture *f,
			const struct virtio_blk_options *options)
{
	assert_int_equal(try_create(f, options), 0);
}

static int setup_all_features(void **state)
{
	setup(state);
	create(*state, false);
	run(*state, ALL_FEATURES);
	return 0;
}

static struct virtio_blk_config config(struct fixture *f)
{
	struct virtio_blk_config config;

	virtio_device_read_config(f->driver.vdev, 0, &config, sizeof(config));
	return config;
}

static bool offers(struct fixture *f, unsigned int feature)
{
	return virtio_device_get_features(f->driver.vdev, 0) & BIT_ULL(feature);
}

/* ---- discard and write zeroes ------------------------------------------- */

static void set_segment(struct fixture *f, unsigned int index, uint64_t sector,
			uint32_t count, uint32_t flags)
{
	const struct virtio_blk_discard_write_zeroes segment = {
		.sector = htole64(sector),
		.num_sectors = htole32(count),
		.flags = htole32(flags),
	};

	memcpy(f->driver.ram + DATA + index * sizeof(segment), &segment,
	       sizeof(segment));
}

/* The status of a request with the first @count segments. */
static uint8_t ranges(struct fixture *f, uint32_t type, unsigned int count)
{
	assert_int_equal(request(f, type, 0, count * 16, false), 1);
	return f->driver.ram[STATUS];
}

static void assert_disk_is_untouched(struct fixture *f)
{
	for (unsigned int i = 0; i < SECTORS; i++)
		assert_sector_is(f, i, (uint8_t)i);
}

static void discard_gives_every_segment_back(void **state)
{
	struct fixture *f = *state;

	set_segment(f, 0, 8, 8, 0);
	set_segment(f, 1, 32, 16, 0);
	set_segment(f, 2, 64, 0, 0);
	assert_int_equal(ranges(f, VIRTIO_BLK_T_DISCARD, 3), VIRTIO_BLK_S_OK);
	assert_int_equal(atomic_load(&fallocates), 2);
	assert_int_equal(atomic_load(&fallocate_mode),
			 FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
	for (unsigned int i = 0; i < SECTORS; i++)
		assert_sector_is(f, i,
				 (i >= 8 && i < 16) || (i >= 32 && i < 48) ?
					 0 :
					 (uint8_t)i);
	assert_int_equal(counter(f, "discards"), 1);
	assert_int_equal(counter(f, "discarded-bytes"), 24 * 512);
}

static void write_zeroes_keeps_blocks_unless_told(void **state)
{
	struct fixture *f = *state;

	set_segment(f, 0, 8, 8, 0);
	assert_int_equal(ranges(f, VIRTIO_BLK_T_WRITE_ZEROES, 1),
			 VIRTIO_BLK_S_OK);
	assert_false(atomic_load(&fallocate_mode) & FALLOC_FL_PUNCH_HOLE);
	set_segment(f, 0, 24, 8, UNMAP);
	assert_int_equal(ranges(f, VIRTIO_BLK_T_WRITE_ZEROES, 1),
			 VIRTIO_BLK_S_OK);
	assert_true(atomic_load(&fallocate_mode) & FALLOC_FL_PUNCH_HOLE);
	for (unsigned int i = 0; i < SECTORS; i++)
		assert_sector_is(f, i,
				 (i >= 8 && i < 16) || (i >= 24 && i < 32) ?
					 0 :
					 (uint8_t)i);
	assert_int_equal(counter(f, "write-zeroes"), 2);
}

static void bad_segments_are_refused_whole(void **state)
{
	static const struct {
		uint64_t sector;
		uint32_t count, flags;
		uint8_t status;
	} bad[] = {
		{ SECTORS, 1, 0, VIRTIO_BLK_S_IOERR },
		{ SECTORS - 1, 2, 0, VIRTIO_BLK_S_IOERR },
		{ UINT64_MAX, 1, 0, VIRTIO_BLK_S_IOERR },
		{ UINT64_MAX / 512 + 1, 1, 0, VIRTIO_BLK_S_IOERR },
		{ 0, UINT32_MAX, 0, VIRTIO_BLK_S_IOERR },
		/* 5.2.6.2 */
		{ 0, 1, 2, VIRTIO_BLK_S_UNSUPP },
		{ 0, 1, UNMAP | 1U << 31, VIRTIO_BLK_S_UNSUPP },
	};
	struct fixture *f = *state;

	/* A good segment does not begin when another is bad. */
	set_segment(f, 0, 8, 8, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		set_segment(f, 1, bad[i].sector, bad[i].count, bad[i].flags);
		assert_int_equal(ranges(f, VIRTIO_BLK_T_DISCARD, 2),
				 bad[i].status);
		assert_int_equal(ranges(f, VIRTIO_BLK_T_WRITE_ZEROES, 2),
				 bad[i].status);
	}
	set_segment(f, 1, 0, 1, UNMAP);
	assert_int_equal(ranges(f, VIRTIO_BLK_T_DISCARD, 2),
			 VIRTIO_BLK_S_UNSUPP);
	assert_disk_is_untouched(f);
}

static void segments_are_counted(void **state)
{
	static const uint32_t bad[] = {
		0, 1, 15, 17, 31, (BLK_MAX_SEGMENTS + 1) * 16,
	};
	struct fixture *f = *state;

	for (unsigned int i = 0; i <= BLK_MAX_SEGMENTS; i++)
		set_segment(f, i, i, 1, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		request(f, VIRTIO_BLK_T_DISCARD, 0, bad[i], false);
		assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_IOERR);
		request(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, bad[i], false);
		assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_IOERR);
	}
	assert_disk_is_untouched(f);
	assert_int_equal(ranges(f, VIRTIO_BLK_T_WRITE_ZEROES, BLK_MAX_SEGMENTS),
			 VIRTIO_BLK_S_OK);
	assert_sector_is(f, BLK_MAX_SEGMENTS - 1, 0);
	assert_sector_is(f, BLK_MAX_SEGMENTS, BLK_MAX_SEGMENTS);
}

static void long_segments_are_refused(void **state)
{
	struct fixture *f = *state;

	/* A disk in which they would have their place. */
	assert_int_equal(ftruncate(f->fd, 2ULL * BLK_MAX_RANGE * 512), 0);
	assert_int_equal(virtio_blk_resize(f->device), 0);
	set_segment(f, 0, 0, BLK_MAX_RANGE + 1, 0);
	assert_int_equal(ranges(f, VIRTIO_BLK_T_DISCARD, 1),
			 VIRTIO_BLK_S_IOERR);
	assert_disk_is_untouched(f);
	set_segment(f, 0, 0, BLK_MAX_RANGE, 0);
	assert_int_equal(ranges(f, VIRTIO_BLK_T_DISCARD, 1), VIRTIO_BLK_S_OK);
}

static void limits_of_segments_are_announced(void **state)
{
	struct fixture *f = *state;
	const struct virtio_blk_config c = config(f);

	assert_true(offers(f, VIRTIO_BLK_F_DISCARD));
	assert_true(offers(f, VIRTIO_BLK_F_WRITE_ZEROES));
	assert_int_equal(le32toh(c.max_discard_seg), BLK_MAX_SEGMENTS);
	assert_int_equal(le32toh(c.max_discard_sectors), BLK_MAX_RANGE);
	assert_true(le32toh(c.discard_sector_alignment) > 0);
	assert_int_equal(le32toh(c.max_write_zeroes_seg), BLK_MAX_SEGMENTS);
	assert_int_equal(le32toh(c.max_write_zeroes_sectors), BLK_MAX_RANGE);
	assert_int_equal(c.write_zeroes_may_unmap, 1);
}

static void discard_off_keeps_every_block(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_options options = defaults(f);

	options.discard = false;
	create_with(f, &options);
	assert_false(offers(f, VIRTIO_BLK_F_DISCARD));
	run(f, FEATURES | BIT_ULL(VIRTIO_BLK_F_WRITE_ZEROES));
	assert_int_equal(config(f).write_zeroes_may_unmap, 0);
	set_segment(f, 0, 8, 8, 0);
	assert_int_equal(ranges(f, VIRTIO_BLK_T_DISCARD, 1),
			 VIRTIO_BLK_S_UNSUPP);
	set_segment(f, 0, 8, 8, UNMAP);
	assert_int_equal(ranges(f, VIRTIO_BLK_T_WRITE_ZEROES, 1),
			 VIRTIO_BLK_S_OK);
	assert_false(atomic_load(&fallocate_mode) & FALLOC_FL_PUNCH_HOLE);
	assert_sector_is(f, 8, 0);
}

static void read_only_disk_keeps_its_ranges(void **state)
{
	struct fixture *f = *state;

	create(f, true);
	assert_false(offers(f, VIRTIO_BLK_F_DISCARD));
	assert_false(offers(f, VIRTIO_BLK_F_WRITE_ZEROES));
	run(f, FEATURES);
	set_segment(f, 0, 8, 8, 0);
	ranges(f, VIRTIO_BLK_T_DISCARD, 1);
	assert_int_not_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_OK);
	ranges(f, VIRTIO_BLK_T_WRITE_ZEROES, 1);
	assert_int_not_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_OK);
	assert_disk_is_untouched(f);
}

static void data_of_the_wrong_direction_is_an_error(void **state)
{
	struct fixture *f = *state;

	request(f, VIRTIO_BLK_T_IN, 3, 512, false);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_IOERR);
	memset(f->driver.ram + DATA, 0xa5, 512);
	request(f, VIRTIO_BLK_T_OUT, 3, 512, true);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_IOERR);
	assert_memory_is(f->driver.ram + DATA, 0xa5, 512);
	request(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, true);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_IOERR);
	assert_disk_is_untouched(f);
}

/* ---- cache mode (5.2.5, 5.2.6.2) ---------------------------------------- */

static unsigned int syncs_of_a_write(struct fixture *f)
{
	unsigned int before = atomic_load(&syncs);

	request(f, VIRTIO_BLK_T_OUT, 3, 512, false);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_OK);
	return atomic_load(&syncs) - before;
}

static void set_wce(struct fixture *f, uint8_t wce)
{
	virtio_device_write_config(f->driver.vdev,
				   offsetof(struct virtio_blk_config, wce),
				   &wce, 1);
}

static void driver_chooses_the_cache_mode(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(config(f).wce, 1);
	assert_int_equal(syncs_of_a_write(f), 0);
	set_wce(f, 0);
	assert_int_equal(config(f).wce, 0);
	assert_int_equal(syncs_of_a_write(f), 1);
	set_segment(f, 0, 8, 8, UNMAP);
	ranges(f, VIRTIO_BLK_T_WRITE_ZEROES, 1);
	assert_int_equal(atomic_load(&syncs), 2);
	set_wce(f, 0xff);
	assert_int_equal(config(f).wce, 1);
	assert_int_equal(syncs_of_a_write(f), 0);
	/* A reset forgets it. */
	set_wce(f, 0);
	virtio_device_set_status(f->driver.vdev, 0);
	run(f, ALL_FEATURES);
	assert_int_equal(syncs_of_a_write(f), 0);
}

static void cache_is_through_when_nobody_flushes(void **state)
{
	struct fixture *f = *state;

	create(f, false);
	run(f, BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_BLK_F_CONFIG_WCE));
	assert_int_equal(config(f).wce, 0);
	assert_int_equal(syncs_of_a_write(f), 1);
}

static void cache_mode_is_fixed_unless_negotiated(void **state)
{
	struct fixture *f = *state;

	create(f, false);
	run(f, FEATURES);
	set_wce(f, 0);
	assert_int_equal(config(f).wce, 1);
	assert_int_equal(syncs_of_a_write(f), 0);
}

static void cache_unsafe_never_syncs(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_options options = defaults(f);

	options.cache = IMAGE_CACHE_UNSAFE;
	create_with(f, &options);
	run(f, ALL_FEATURES);
	set_wce(f, 0);
	assert_int_equal(syncs_of_a_write(f), 0);
	request(f, VIRTIO_BLK_T_FLUSH, 0, 0, false);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_OK);
	assert_int_equal(atomic_load(&syncs), 0);
}

/* ---- several queues ------------------------------------------------------ */

static void create_queues(struct fixture *f)
{
	struct virtio_blk_options options = defaults(f);

	options.queues = QUEUES;
	create_with(f, &options);
}

static void every_queue_is_served(void **state)
{
	struct fixture *f = *state;

	create_queues(f);
	assert_true(offers(f, VIRTIO_BLK_F_MQ));
	assert_int_equal(le16toh(config(f).num_queues), QUEUES);
	for (unsigned int round = 0; round < 3; round++) {
		run(f, FEATURES | BIT_ULL(VIRTIO_BLK_F_MQ));
		for (unsigned int i = 0; i < QUEUES; i++) {
			use(f, i);
			request(f, VIRTIO_BLK_T_IN, 5 + i, 512, true);
			assert_int_equal(f->driver.ram[STATUS],
					 VIRTIO_BLK_S_OK);
			assert_memory_is(f->driver.ram + DATA, (uint8_t)(5 + i),
					 512);
		}
		virtio_device_set_status(f->driver.vdev, 0);
	}
	assert_int_equal(counter(f, "reads"), 3 * QUEUES);
}

static void queues_work_at_the_same_time(void **state)
{
	struct fixture *f = *state;

	create_queues(f);
	run(f, FEATURES | BIT_ULL(VIRTIO_BLK_F_MQ));
	/* All offer before the first is kicked; each has its own buffers. */
	for (unsigned int i = 0; i < QUEUES; i++) {
		const struct virtio_blk_outhdr header = {
			.type = htole32(VIRTIO_BLK_T_OUT),
			.sector = htole64(16 * i),
		};

		use(f, i);
		memcpy(f->driver.ram + HEADER + 16 * i, &header,
		       sizeof(header));
		memset(f->driver.ram + DATA + 8192 * i, 0xa0 + (int)i, 8192);
		set(f, 0, HEADER + 16 * i, 16, NEXT, 1);
		set(f, 1, DATA + 8192 * i, 8192, NEXT, 2);
		set(f, 2, STATUS + i, 1, WRITE, 0);
		offer(f, 0);
	}
	for (unsigned int i = 0; i < QUEUES; i++) {
		use(f, i);
		kick(f);
	}
	for (unsigned int i = 0; i < QUEUES; i++) {
		use(f, i);
		wait_used(f);
		assert_int_equal(f->driver.ram[STATUS + i], VIRTIO_BLK_S_OK);
		assert_sector_is(f, 16 * i, (uint8_t)(0xa0 + i));
		assert_sector_is(f, 16 * i + 15, (uint8_t)(0xa0 + i));
	}
}

static void all_queues_quiesce(void **state)
{
	struct fixture *f = *state;

	create_queues(f);
	run(f, FEATURES | BIT_ULL(VIRTIO_BLK_F_MQ));
	virtio_blk_type.quiesce(f->device);
	for (unsigned int i = 0; i < QUEUES; i++) {
		use(f, i);
		set_header(f, VIRTIO_BLK_T_FLUSH, 0);
		set(f, 0, HEADER, 16, NEXT, 1);
		set(f, 1, STATUS + i, 1, WRITE, 0);
		offer(f, 0);
		kick(f);
		assert_int_equal(used_idx(f), 0);
	}
	virtio_blk_type.resume(f->device);
	for (unsigned int i = 0; i < QUEUES; i++) {
		use(f, i);
		wait_used(f);
	}
	assert_int_equal(counter(f, "flushes"), QUEUES);
}

/* More than a batch, more than a turn of the loop, all at once. */
static void longest_queue_is_served(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_options options = defaults(f);

	options.queue_size = VIRTQ_MAX_SIZE;
	create_with(f, &options);
	assert_int_equal(virtio_device_get_queue(f->driver.vdev, 0,
						 VIRTQ_REG_MAX_SIZE),
			 VIRTQ_MAX_SIZE);
	f->driver.size = VIRTQ_MAX_SIZE;
	run(f, FEATURES);
	set_header(f, VIRTIO_BLK_T_FLUSH, 0);
	for (unsigned int i = 0; i < VIRTQ_MAX_SIZE / 2; i++) {
		set(f, 2 * i, HEADER, 16, NEXT, 2 * i + 1);
		set(f, 2 * i + 1, STATUS, 1, WRITE, 0);
		offer(f, (uint16_t)(2 * i));
	}
	kick(f);
	wait_used(f);
	assert_int_equal(counter(f, "flushes"), VIRTQ_MAX_SIZE / 2);
}

/* The driver may set up less than it is offered. */
static void shorter_queue_is_served(void **state)
{
	struct fixture *f = *state;

	create(f, false);
	f->driver.size = 4;
	run(f, FEATURES);
	for (unsigned int i = 0; i < 20; i++) {
		request(f, VIRTIO_BLK_T_IN, i, 512, true);
		assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_OK);
		assert_memory_is(f->driver.ram + DATA, (uint8_t)i, 512);
	}
}

static void small_queues_get_short_chains(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_options options = defaults(f);

	options.queue_size = 4;
	create_with(f, &options);
	assert_int_equal(le32toh(config(f).seg_max), 2);
}

/* ---- failures ------------------------------------------------------------ */

static void full_host_disk_is_an_io_error(void **state)
{
	struct fixture *f = *state;

	atomic_store(&write_error, ENOSPC);
	for (unsigned int i = 0; i < 100; i++) {
		request(f, VIRTIO_BLK_T_OUT, 3, 512, false);
		assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_IOERR);
	}
	atomic_store(&write_error, 0);
	request(f, VIRTIO_BLK_T_OUT, 3, 512, false);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_OK);
	assert_int_equal(counter(f, "errors"), 100);
	assert_int_equal(virtio_device_get_status(f->driver.vdev) &
				 VIRTIO_CONFIG_S_NEEDS_RESET,
			 0);
}

/* ---- resizing ------------------------------------------------------------ */

static void growing_is_told_to_the_guest(void **state)
{
	struct fixture *f = *state;
	uint32_t generation = virtio_device_config_generation(f->driver.vdev);

	/* Nothing changed, nothing told. */
	assert_int_equal(virtio_blk_resize(f->device), 0);
	assert_int_equal(atomic_load(&f->driver.config_signals), 0);

	request(f, VIRTIO_BLK_T_IN, SECTORS, 512, true);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_IOERR);
	assert_int_equal(ftruncate(f->fd, 2 * DISK_SIZE), 0);
	assert_int_equal(virtio_blk_resize(f->device), 0);
	assert_int_equal(atomic_load(&f->driver.config_signals), 1);
	assert_int_not_equal(virtio_device_config_generation(f->driver.vdev),
			     generation);
	assert_int_equal(le64toh(config(f).capacity), 2 * SECTORS);
	request(f, VIRTIO_BLK_T_IN, 2 * SECTORS - 1, 512, true);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_OK);
	request(f, VIRTIO_BLK_T_IN, 2 * SECTORS, 512, true);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_IOERR);
}

static void shrinking_is_told_to_the_guest(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ftruncate(f->fd, DISK_SIZE / 2), 0);
	assert_int_equal(virtio_blk_resize(f->device), 0);
	assert_int_equal(le64toh(config(f).capacity), SECTORS / 2);
	request(f, VIRTIO_BLK_T_OUT, SECTORS / 2, 512, false);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_IOERR);
	request(f, VIRTIO_BLK_T_OUT, SECTORS / 2 - 1, 512, false);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_OK);
	/* It has not grown again by the write. */
	assert_int_equal(lseek(f->fd, 0, SEEK_END), DISK_SIZE / 2);
}

/* ---- options ------------------------------------------------------------- */

static void parse_ok(const char *text, struct virtio_blk_options *options,
		     char *copy)
{
	*options = virtio_blk_defaults;
	strcpy(copy, text);
	assert_int_equal(options_parse_list(virtio_blk_keys, NULL, "--disk",
					    copy, options),
			 0);
}

static void every_key_is_understood(void **state)
{
	struct virtio_blk_options o;
	char copy[256];

	(void)state;
	parse_ok("ro,format=qcow2,cache=unsafe,engine=aio,snapshot,serial=S 1,"
		 "queues=4,queue-size=64,discard=off,iops=100,bw=2M,"
		 "locking=off,backing-ok",
		 &o, copy);
	assert_true(o.read_only && o.snapshot && o.backing_ok);
	assert_false(o.direct || o.discard || o.locking);
	assert_int_equal(o.format, IMAGE_FORMAT_QCOW2);
	assert_int_equal(o.cache, IMAGE_CACHE_UNSAFE);
	assert_int_equal(o.engine, ENGINE_AIO);
	assert_string_equal(o.serial, "S 1");
	assert_int_equal(o.queues, 4);
	assert_int_equal(o.queue_size, 64);
	assert_int_equal(o.iops, 100);
	assert_int_equal(o.bandwidth, 2 * MIB);

	/* Names and enums are in the same order. */
	parse_ok("format=raw,cache=none,engine=sync", &o, copy);
	assert_int_equal(o.format, IMAGE_FORMAT_RAW);
	assert_int_equal(o.cache, IMAGE_CACHE_NONE);
	assert_int_equal(o.engine, ENGINE_SYNC);
	parse_ok("format=auto,cache=writeback,engine=io_uring,direct", &o,
		 copy);
	assert_int_equal(o.format, IMAGE_FORMAT_AUTO);
	assert_int_equal(o.cache, IMAGE_CACHE_WRITEBACK);
	assert_int_equal(o.engine, ENGINE_IO_URING);
	assert_true(o.direct && o.discard && o.locking);
}

static void wrong_values_are_refused(void **state)
{
	static const char *const bad[] = {
		"format=vmdk",	  "cache=",	     "cache=writethrough",
		"engine=threads", "queues=0",	     "queues=17",
		"queue-size=2",	  "queue-size=2048", "discard=maybe",
		"iops=0",	  "iops=-1",	     "bw=0",
		"bw=fast",	  "serial=",	     "locking=yes",
		"nosuch",
	};
	char copy[64];

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		struct virtio_blk_options options = virtio_blk_defaults;

		strcpy(copy, bad[i]);
		if (!options_parse_list(virtio_blk_keys, NULL, "--disk", copy,
					&options))
			fail_msg("%s was accepted", bad[i]);
	}
}

static void options_that_contradict_are_refused(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_options options = defaults(f);

	options.direct = true;
	options.cache = IMAGE_CACHE_UNSAFE;
	assert_int_equal(try_create(f, &options), -EINVAL);
	options = defaults(f);
	options.queue_size = 100;
	assert_int_equal(try_create(f, &options), -EINVAL);
	options = defaults(f);
	options.serial = "123456789012345678901";
	assert_int_equal(try_create(f, &options), -EINVAL);
}

static void serial_is_the_users(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_options options = defaults(f);

	options.serial = "12345678901234567890";
	create_with(f, &options);
	run(f, FEATURES);
	request(f, VIRTIO_BLK_T_GET_ID, 0, 20, true);
	assert_memory_equal(f->driver.ram + DATA, options.serial, 20);
}

/* ---- statistics ---------------------------------------------------------- */

static uint64_t percentile(struct blk *blk, const char *name)
{
	return driver_counter(&blk->vdev.device, name);
}

static void percentiles_are_of_all_queues(void **state)
{
	struct blk *blk = calloc(1, sizeof(*blk) + 2 * sizeof(*blk->queue));

	(void)state;
	assert_non_null(blk);
	blk->nr_queues = 2;
	blk->vdev.device.type = &virtio_blk_type;
	strcpy(blk->vdev.device.name, "vda");
	/* 90 of 100 us, 9 of 1 ms, one of 1 s. */
	for (unsigned int i = 0; i < 90; i++)
		blk_count(&blk->queue[i % 2].counters[BLK_READ], 512, 100000);
	for (unsigned int i = 0; i < 9; i++)
		blk_count(&blk->queue[0].counters[BLK_READ], 512, 1000000);
	blk_count(&blk->queue[1].counters[BLK_READ], 512, 1000000000);
	assert_int_equal(percentile(blk, "reads"), 100);
	assert_int_equal(percentile(blk, "read-bytes"), 51200);
	/* A bucket is an eighth of its power of two wide. */
	assert_in_range(percentile(blk, "read-p50-us"), 100, 112);
	assert_in_range(percentile(blk, "read-p99-us"), 1000, 1125);
	free(blk);
}

static void latencies_of_any_size_are_counted(void **state)
{
	static const uint64_t ns[] = {
		0,    1,    7,	  8,	      9,	  15,
		16,   17,   1000, 1000000,    1000000000, UINT64_MAX / 2,
		1023, 1024, 1025, UINT64_MAX,
	};
	struct blk *blk;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(ns); i++) {
		uint64_t us;

		blk = calloc(1, sizeof(*blk) + sizeof(*blk->queue));
		assert_non_null(blk);
		blk->nr_queues = 1;
		blk->vdev.device.type = &virtio_blk_type;
		strcpy(blk->vdev.device.name, "vda");
		blk_count(&blk->queue[0].counters[BLK_WRITE], 512, ns[i]);
		us = percentile(blk, "write-p50-us");
		if (ns[i] <= 1000000000)
			assert_in_range(us, ns[i] / 1000,
					(ns[i] + ns[i] / 8) / 1000);
		free(blk);
	}
}

#define FULL_TEST(name) \
	cmocka_unit_test_setup_teardown(name, setup_all_features, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FULL_TEST(discard_gives_every_segment_back),
		FULL_TEST(write_zeroes_keeps_blocks_unless_told),
		FULL_TEST(bad_segments_are_refused_whole),
		FULL_TEST(segments_are_counted),
		FULL_TEST(long_segments_are_refused),
		FULL_TEST(limits_of_segments_are_announced),
		IDLE_TEST(discard_off_keeps_every_block),
		IDLE_TEST(read_only_disk_keeps_its_ranges),
		FULL_TEST(data_of_the_wrong_direction_is_an_error),
		FULL_TEST(driver_chooses_the_cache_mode),
		IDLE_TEST(cache_is_through_when_nobody_flushes),
		IDLE_TEST(cache_mode_is_fixed_unless_negotiated),
		IDLE_TEST(cache_unsafe_never_syncs),
		IDLE_TEST(every_queue_is_served),
		IDLE_TEST(queues_work_at_the_same_time),
		IDLE_TEST(all_queues_quiesce),
		IDLE_TEST(longest_queue_is_served),
		IDLE_TEST(shorter_queue_is_served),
		IDLE_TEST(small_queues_get_short_chains),
		BLK_TEST(full_host_disk_is_an_io_error),
		BLK_TEST(growing_is_told_to_the_guest),
		BLK_TEST(shrinking_is_told_to_the_guest),
		cmocka_unit_test(every_key_is_understood),
		cmocka_unit_test(wrong_values_are_refused),
		IDLE_TEST(options_that_contradict_are_refused),
		IDLE_TEST(serial_is_the_users),
		cmocka_unit_test(percentiles_are_of_all_queues),
		cmocka_unit_test(latencies_of_any_size_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
