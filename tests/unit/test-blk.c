/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio_blk_type as a guest sees it (virtio 1.2, 5.2): requests, their framing
 * and their errors. See blk.h.
 */
#include "blk.h"

/* ---- identity ----------------------------------------------------------- */

static void features_and_config_describe_the_disk(void **state)
{
	struct fixture *f = *state;
	uint32_t features = virtio_device_get_features(f->driver.vdev, 0);
	struct virtio_blk_config config;

	assert_true(features & BIT_ULL(VIRTIO_BLK_F_FLUSH));
	assert_true(features & BIT_ULL(VIRTIO_BLK_F_SEG_MAX));
	assert_true(features & BIT_ULL(VIRTIO_BLK_F_BLK_SIZE));
	assert_false(features & BIT_ULL(VIRTIO_BLK_F_RO));
	assert_int_equal(f->driver.vdev->ops->id, VIRTIO_ID_BLOCK);
	virtio_device_read_config(f->driver.vdev, 0, &config, sizeof(config));
	assert_int_equal(le64toh(config.capacity), SECTORS);
	assert_int_equal(le32toh(config.blk_size), 512);
	/* With header and status, the longest chain that a queue takes. */
	assert_int_equal(le32toh(config.seg_max), VIRTQ_MAX_CHAIN - 2);
	/* 254 of these are less than a system call's limit. */
	assert_int_equal(le32toh(config.size_max), 4 * MIB);
	/* The driver cannot write any of it. */
	memset(&config, 0xff, sizeof(config));
	virtio_device_write_config(f->driver.vdev, 0, &config, sizeof(config));
	virtio_device_read_config(f->driver.vdev, 0, &config, sizeof(config));
	assert_int_equal(le64toh(config.capacity), SECTORS);
}

static void names_follow_the_order_of_creation(void **state)
{
	static const struct {
		unsigned int earlier;
		const char *name;
	} expect[] = { { 0, "vda" },   { 1, "vdb" },	{ 25, "vdz" },
		       { 26, "vdaa" }, { 27, "vdab" },	{ 51, "vdaz" },
		       { 52, "vdba" }, { 701, "vdzz" }, { 702, "vdaaa" } };
	static const struct device_type other = { .name = "other" };
	struct fixture *f = *state;
	struct device *list = calloc(703, sizeof(*list));

	assert_non_null(list);
	for (unsigned int i = 0; i < ARRAY_SIZE(expect); i++) {
		/* A device of another kind, then disks. */
		list[0].type = &other;
		for (unsigned int n = 1; n <= expect[i].earlier; n++) {
			list[n].type = &virtio_blk_type;
			list[n - 1].next = &list[n];
		}
		f->driver.machine.devices = list;
		create(f, false);
		assert_string_equal(f->device->name, expect[i].name);
		virtio_blk_type.destroy(f->device);
	}
	f->driver.machine.devices = NULL;
	f->device = NULL;
	free(list);
}

static void failed_creation_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_options options = defaults(f);
	int before = dup(f->fd);
	int after;

	f->driver.transport.attach = driver_attach_refused;
	options.queues = QUEUES;
	assert_int_equal(try_create(f, &options), -ENOSPC);
	assert_null(f->device);
	/* No descriptor is left open: the next number is the next one. */
	after = dup(f->fd);
	assert_int_equal(after, before + 1);
	close(before);
	close(after);
}

/* ---- requests ----------------------------------------------------------- */

static void reads_fill_the_guests_buffer(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(request(f, VIRTIO_BLK_T_IN, 5, 1024, true), 1025);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_OK);
	assert_memory_is(f->driver.ram + DATA, 5, 512);
	assert_memory_is(f->driver.ram + DATA + 512, 6, 512);
	assert_memory_is(f->driver.ram + DATA + 1024, 0, 16);
	assert_int_equal(counter(f, "reads"), 1);
	assert_int_equal(counter(f, "read-bytes"), 1024);
	assert_int_equal(counter(f, "errors"), 0);
}

static void writes_reach_the_file(void **state)
{
	struct fixture *f = *state;

	memset(f->driver.ram + DATA, 0xa5, 1024);
	assert_int_equal(request(f, VIRTIO_BLK_T_OUT, SECTORS - 2, 1024, false),
			 1);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_OK);
	assert_sector_is(f, SECTORS - 3, SECTORS - 3);
	assert_sector_is(f, SECTORS - 2, 0xa5);
	assert_sector_is(f, SECTORS - 1, 0xa5);
	assert_int_equal(counter(f, "writes"), 1);
	assert_int_equal(counter(f, "written-bytes"), 1024);
	/* The driver says when to flush. */
	assert_int_equal(atomic_load(&syncs), 0);
}

static void write_through_without_flush_feature(void **state)
{
	struct fixture *f = *state;

	virtio_device_set_status(f->driver.vdev, 0);
	run(f, BIT_ULL(VIRTIO_F_VERSION_1));
	memset(f->driver.ram + DATA, 0xa5, 512);
	assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 3, 512, false), 1);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_OK);
	assert_sector_is(f, 3, 0xa5);
	assert_int_equal(atomic_load(&syncs), 1);
	assert_int_equal(counter(f, "writes"), 1);
}

static void flush_succeeds(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(request(f, VIRTIO_BLK_T_FLUSH, 0, 0, false), 1);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_OK);
	assert_int_equal(counter(f, "flushes"), 1);
	assert_int_equal(atomic_load(&syncs), 1);
}

static void id_names_the_disk(void **state)
{
	static const char id[VIRTIO_BLK_ID_BYTES] = "lkvm-vda";
	struct fixture *f = *state;

	memset(f->driver.ram + DATA, 0xee, 64);
	assert_int_equal(request(f, VIRTIO_BLK_T_GET_ID, 0, 20, true), 21);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_OK);
	assert_memory_equal(f->driver.ram + DATA, id, 20);
	assert_memory_is(f->driver.ram + DATA + 20, 0xee, 8);
	/* A short buffer gets what fits, a long one no more than there is. */
	memset(f->driver.ram + DATA, 0xee, 64);
	assert_int_equal(request(f, VIRTIO_BLK_T_GET_ID, 0, 4, true), 5);
	assert_memory_equal(f->driver.ram + DATA, "lkvm\xee", 5);
	assert_int_equal(request(f, VIRTIO_BLK_T_GET_ID, 0, 40, true), 20);
	assert_memory_is(f->driver.ram + DATA + 20, 0xee, 20);
}

static void unknown_types_are_unsupported(void **state)
{
	static const uint32_t type[] = {
		2, 3, 5, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_BARRIER, UINT32_MAX,
	};
	struct fixture *f = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(type); i++) {
		request(f, type[i], 0, 512, i & 1);
		assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_UNSUPP);
	}
	assert_sector_is(f, 0, 0);
}

static void ranges_outside_the_disk_are_errors(void **state)
{
	static const struct {
		uint64_t sector;
		uint32_t len;
	} bad[] = {
		{ SECTORS, 512 },
		{ SECTORS - 1, 1024 },
		{ UINT64_MAX, 512 },
		{ UINT64_MAX / 512, 512 },
		{ UINT64_MAX / 512 + 1, 512 }, /* times 512: 0 */
		{ 0, DISK_SIZE + 512 },
		{ 0, 511 },
		{ 0, 513 },
	};
	struct fixture *f = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		memset(f->driver.ram + DATA, 0xa5, DISK_SIZE + 512);
		request(f, VIRTIO_BLK_T_OUT, bad[i].sector, bad[i].len, false);
		assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_IOERR);
		/* Nothing of the buffer counts as written. */
		assert_int_equal(request(f, VIRTIO_BLK_T_IN, bad[i].sector,
					 bad[i].len, true),
				 0);
		assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_IOERR);
		assert_memory_is(f->driver.ram + DATA, 0xa5, DISK_SIZE + 512);
	}
	for (unsigned int i = 0; i < SECTORS; i++)
		assert_sector_is(f, i, (uint8_t)i);
	assert_int_equal(counter(f, "errors"), 2 * ARRAY_SIZE(bad));
}

static void read_only_disk_is_not_written(void **state)
{
	struct fixture *f = *state;

	create(f, true);
	assert_true(virtio_device_get_features(f->driver.vdev, 0) &
		    BIT_ULL(VIRTIO_BLK_F_RO));
	/* A driver that overlooks the feature is refused all the same. */
	run(f, FEATURES);
	memset(f->driver.ram + DATA, 0xa5, 512);
	request(f, VIRTIO_BLK_T_OUT, 3, 512, false);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_IOERR);
	assert_sector_is(f, 3, 3);
	request(f, VIRTIO_BLK_T_IN, 3, 512, true);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_OK);
	assert_memory_is(f->driver.ram + DATA, 3, 512);
}

static void errors_of_the_file_are_errors_of_the_disk(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ftruncate(f->fd, 512), 0);
	assert_int_equal(request(f, VIRTIO_BLK_T_IN, 5, 512, true), 0);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_IOERR);
	request(f, VIRTIO_BLK_T_IN, 0, 512, true);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_OK);
}

/* ---- framing (2.7.4.1) -------------------------------------------------- */

static void framing_does_not_matter_to_a_write(void **state)
{
	struct fixture *f = *state;

	set_header(f, VIRTIO_BLK_T_OUT, 7);
	/* Header and data adjacent, cut at odd places. */
	memset(f->driver.ram + HEADER + 16, 0x5a, 512);
	set(f, 0, HEADER, 3, NEXT, 1);
	set(f, 1, HEADER + 3, 12, NEXT, 2);
	set(f, 2, HEADER + 15, 100, NEXT, 3);
	set(f, 3, HEADER + 115, 413, NEXT, 4);
	set(f, 4, STATUS, 1, WRITE, 0);
	offer(f, 0);
	kick(f);
	assert_int_equal(wait_used(f), 1);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_OK);
	assert_sector_is(f, 6, 6);
	assert_sector_is(f, 7, 0x5a);
	assert_sector_is(f, 8, 8);
}

static void framing_does_not_matter_to_a_read(void **state)
{
	struct fixture *f = *state;

	set_header(f, VIRTIO_BLK_T_IN, 7);
	memset(f->driver.ram + DATA, 0xee, 2048);
	/* The status is the last byte of the last buffer, data before it. */
	set(f, 0, HEADER, 16, NEXT, 1);
	set(f, 1, DATA, 1, NEXT | WRITE, 2);
	set(f, 2, DATA + 1, 0, NEXT | WRITE, 3);
	set(f, 3, DATA + 1, 1024, WRITE, 0);
	offer(f, 0);
	kick(f);
	assert_int_equal(wait_used(f), 1025);
	assert_memory_is(f->driver.ram + DATA, 7, 512);
	assert_memory_is(f->driver.ram + DATA + 512, 8, 512);
	assert_int_equal(f->driver.ram[DATA + 1024], VIRTIO_BLK_S_OK);
	assert_int_equal(f->driver.ram[DATA + 1025], 0xee);
}

static void largest_chain_is_served(void **state)
{
	struct fixture *f = *state;
	unsigned int last = VIRTQ_MAX_CHAIN - 1;

	set_header(f, VIRTIO_BLK_T_IN, 0);
	set(f, 0, HEADER, 16, NEXT, 1);
	for (unsigned int i = 1; i < last; i++)
		set(f, i, DATA + 128 * i, i < 253 ? 128 : 256, NEXT | WRITE,
		    i + 1);
	set(f, last, STATUS, 1, WRITE, 0);
	offer(f, 0);
	kick(f);
	assert_int_equal(wait_used(f), 252 * 128 + 2 * 256 + 1);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_OK);
	assert_memory_is(f->driver.ram + DATA + 128 * 9, 2, 128);
}

static void request_without_status_breaks_the_queue(void **state)
{
	struct fixture *f = *state;

	set_header(f, VIRTIO_BLK_T_OUT, 7);
	set(f, 0, HEADER, 16, NEXT, 1);
	set(f, 1, DATA, 512, 0, 0);
	offer(f, 0);
	kick(f);
	wait_broken(f);
	assert_int_equal(used_idx(f), 0);
	assert_sector_is(f, 7, 7);

	/* A reset mends it. */
	virtio_device_set_status(f->driver.vdev, 0);
	run(f, FEATURES);
	request(f, VIRTIO_BLK_T_IN, 7, 512, true);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_OK);
}

static void request_without_header_breaks_the_queue(void **state)
{
	struct fixture *f = *state;

	set_header(f, VIRTIO_BLK_T_IN, 7);
	set(f, 0, HEADER, 15, NEXT, 1);
	set(f, 1, STATUS, 1, WRITE, 0);
	offer(f, 0);
	kick(f);
	wait_broken(f);
	assert_int_equal(f->driver.ram[STATUS], 0xff);
}

static void broken_ring_breaks_the_device(void **state)
{
	struct fixture *f = *state;

	set(f, 0, HEADER, 16, NEXT, 0);
	offer(f, 0);
	kick(f);
	wait_broken(f);
	assert_int_equal(used_idx(f), 0);
}

/* ---- many requests, and none -------------------------------------------- */

/* A whole queue of reads, one sector each, over one shared header each. */
static void offer_full_queue(struct fixture *f)
{
	for (unsigned int i = 0; i < 64; i++) {
		const struct virtio_blk_outhdr header = {
			.type = htole32(VIRTIO_BLK_T_IN),
			.sector = htole64(i),
		};

		memcpy(f->driver.ram + HEADER + 16 * i, &header,
		       sizeof(header));
		f->driver.ram[STATUS + i] = 0xff;
		set(f, 3 * i, HEADER + 16 * i, 16, NEXT, 3 * i + 1);
		set(f, 3 * i + 1, DATA + 512 * i, 512, NEXT | WRITE, 3 * i + 2);
		set(f, 3 * i + 2, STATUS + i, 1, WRITE, 0);
		offer(f, (uint16_t)(3 * i));
	}
}

static void assert_full_queue_served(struct fixture *f)
{
	wait_used(f);
	for (unsigned int i = 0; i < 64; i++) {
		assert_int_equal(f->driver.ram[STATUS + i], VIRTIO_BLK_S_OK);
		assert_memory_is(f->driver.ram + DATA + 512 * i, (uint8_t)i,
				 512);
	}
}

static void full_queue_is_served_with_few_interrupts(void **state)
{
	struct fixture *f = *state;

	offer_full_queue(f);
	kick(f);
	assert_full_queue_served(f);
	/* One each batch, not one each request. */
	assert_in_range(atomic_load(&f->driver.signals), 1, 8);
}

static void notification_by_register_is_served(void **state)
{
	struct fixture *f = *state;

	set_header(f, VIRTIO_BLK_T_FLUSH, 0);
	set(f, 0, HEADER, 16, NEXT, 1);
	set(f, 1, STATUS, 1, WRITE, 0);
	offer(f, 0);
	virtio_device_notify(f->driver.vdev, 0);
	assert_int_equal(wait_used(f), 1);
}

static void requests_wait_while_quiesced(void **state)
{
	struct fixture *f = *state;

	virtio_blk_type.quiesce(f->device);
	offer_full_queue(f);
	kick(f);
	assert_int_equal(used_idx(f), 0);
	virtio_blk_type.resume(f->device);
	assert_full_queue_served(f);

	/* A machine reset comes between the two. */
	virtio_blk_type.quiesce(f->device);
	virtio_blk_type.reset(f->device);
	virtio_blk_type.resume(f->device);
	assert_int_equal(virtio_device_get_status(f->driver.vdev), 0);
	assert_int_equal(f->driver.notify_fd[0], -1);
	run(f, FEATURES);
	request(f, VIRTIO_BLK_T_IN, 1, 512, true);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_OK);
}

static void reset_stops_requests(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 0; i < 200; i++) {
		offer_full_queue(f);
		kick(f);
		virtio_device_set_status(f->driver.vdev, 0);
		/* Whatever was begun has ended; RAM is the driver's again. */
		memset(f->driver.ram, 0x11, RAM);
		assert_memory_is(f->driver.ram, 0x11, RAM / 16);
		run(f, FEATURES);
	}
	offer_full_queue(f);
	kick(f);
	assert_full_queue_served(f);
}

static void driver_without_a_queue_is_harmless(void **state)
{
	struct fixture *f = *state;

	create(f, false);
	virtio_device_set_features(f->driver.vdev, 1,
				   (uint32_t)(FEATURES >> 32));
	virtio_device_set_status(f->driver.vdev,
				 VIRTIO_CONFIG_S_FEATURES_OK |
					 VIRTIO_CONFIG_S_DRIVER_OK);
	virtio_device_notify(f->driver.vdev, 0);
	virtio_blk_type.quiesce(f->device);
	virtio_blk_type.resume(f->device);
	virtio_device_set_status(f->driver.vdev, 0);
	run(f, FEATURES);
	request(f, VIRTIO_BLK_T_IN, 1, 512, true);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BLK_TEST(features_and_config_describe_the_disk),
		IDLE_TEST(names_follow_the_order_of_creation),
		IDLE_TEST(failed_creation_leaves_nothing),
		BLK_TEST(reads_fill_the_guests_buffer),
		BLK_TEST(writes_reach_the_file),
		BLK_TEST(write_through_without_flush_feature),
		BLK_TEST(flush_succeeds),
		BLK_TEST(id_names_the_disk),
		BLK_TEST(unknown_types_are_unsupported),
		BLK_TEST(ranges_outside_the_disk_are_errors),
		IDLE_TEST(read_only_disk_is_not_written),
		BLK_TEST(errors_of_the_file_are_errors_of_the_disk),
		BLK_TEST(framing_does_not_matter_to_a_write),
		BLK_TEST(framing_does_not_matter_to_a_read),
		BLK_TEST(largest_chain_is_served),
		BLK_TEST(request_without_status_breaks_the_queue),
		BLK_TEST(request_without_header_breaks_the_queue),
		BLK_TEST(broken_ring_breaks_the_device),
		BLK_TEST(full_queue_is_served_with_few_interrupts),
		BLK_TEST(notification_by_register_is_served),
		BLK_TEST(requests_wait_while_quiesced),
		BLK_TEST(reset_stops_requests),
		IDLE_TEST(driver_without_a_queue_is_harmless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
