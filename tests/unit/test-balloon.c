/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio_balloon_type as a guest sees it (virtio 1.2, 5.5). See balloon.h.
 */
#include "balloon.h"

/* ---- identity ------------------------------------------------------------ */

static void options_choose_features(void **state)
{
	struct fixture *f = *state;
	struct virtio_balloon_options options = { .target = 64 * KIB + 1 };
	uint32_t all = F(STATS_VQ) | F(DEFLATE_ON_OOM) | F(FREE_PAGE_HINT) |
		       F(REPORTING);
	uint32_t features;

	assert_int_equal(try_create(f, &options), 0);
	features = virtio_device_get_features(f->driver.vdev, 0);
	assert_int_equal(features & all, 0);
	assert_true(features & F(MUST_TELL_HOST));
	assert_true(features & F(PAGE_POISON));
	assert_int_equal(f->driver.vdev->ops->id, VIRTIO_ID_BALLOON);
	assert_int_equal(le32toh(config(f).num_pages), 16);
	virtio_balloon_type.destroy(f->device);

	options = (struct virtio_balloon_options) {
		.stats_seconds = 1,
		.deflate_on_oom = true,
		.hinting = true,
		.reporting = true,
	};
	assert_int_equal(try_create(f, &options), 0);
	features = virtio_device_get_features(f->driver.vdev, 0);
	assert_int_equal(features & all, all);
}

static void bad_options_leave_nothing(void **state)
{
	struct fixture *f = *state;
	struct virtio_balloon_options options = virtio_balloon_defaults;
	struct device *first;

	options.target = RAM + 1;
	assert_int_equal(try_create(f, &options), -EINVAL);
	options.target = RAM;
	f->driver.transport.attach = driver_attach_refused;
	assert_int_equal(try_create(f, &options), -ENOSPC);
	assert_null(f->device);
	f->driver.transport.attach = driver_attach;
	assert_int_equal(try_create(f, &options), 0);
	first = f->device;
	f->driver.machine.devices = first;
	assert_int_equal(try_create(f, &options), -EEXIST);
	assert_ptr_equal(f->device, first);
	f->driver.machine.devices = NULL;
	/* A guest does not tell when it uses a reported huge page again. */
	f->driver.machine.memory.page_size = 2 * MIB;
	virtio_balloon_type.destroy(first);
	options.hinting = true;
	assert_int_equal(try_create(f, &options), -EINVAL);
	options.hinting = false;
	assert_int_equal(try_create(f, &options), 0);
	assert_false(virtio_device_get_features(f->driver.vdev, 0) &
		     F(REPORTING));
}

static void the_target_can_change(void **state)
{
	struct fixture *f = *state;
	struct virtio_balloon_info info;
	uint32_t generation;

	run(f, 0, 2);
	generation = virtio_device_config_generation(f->driver.vdev);
	assert_int_equal(virtio_balloon_set_target(f->device, 2 * MIB + 4095),
			 0);
	assert_int_equal(le32toh(config(f).num_pages), 512);
	assert_int_equal(atomic_load(&f->driver.config_signals), 1);
	assert_int_not_equal(virtio_device_config_generation(f->driver.vdev),
			     generation);
	assert_int_equal(virtio_balloon_set_target(f->device, RAM + 1),
			 -EINVAL);
	assert_int_equal(virtio_balloon_set_target(f->device, UINT64_MAX),
			 -EINVAL);
	assert_int_equal(le32toh(config(f).num_pages), 512);
	assert_int_equal(virtio_balloon_set_target(f->device, RAM), 0);
	virtio_balloon_info(f->device, &info);
	assert_int_equal(info.target, RAM);
	assert_int_equal(info.actual, 0);
}

static void the_driver_writes_its_own_fields_only(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[16];

	assert_int_equal(virtio_balloon_set_target(f->device, PAGE), 0);
	memset(bytes, 0x11, sizeof(bytes));
	virtio_device_write_config(f->driver.vdev, 0, bytes, sizeof(bytes));
	assert_int_equal(le32toh(config(f).num_pages), 1);
	assert_int_equal(config(f).actual, 0x11111111);
	assert_int_equal(config(f).free_page_hint_cmd_id, 0);
	assert_int_equal(config(f).poison_val, 0x11111111);
	bytes[0] = 0x22;
	virtio_device_write_config(f->driver.vdev, 7, bytes, 2);
	assert_int_equal(le32toh(config(f).actual), 0x22111111);
	assert_int_equal(config(f).free_page_hint_cmd_id, 0);
	virtio_device_write_config(f->driver.vdev, 15, bytes, 2);
	assert_int_equal(config(f).poison_val, 0x11111111);
}

static void note_change(struct machine *machine, uint64_t bytes)
{
	struct driver *driver = container_of(machine, struct driver, machine);
	struct fixture *f = container_of(driver, struct fixture, driver);

	f->changes++;
	f->changed_to = bytes;
}

static void a_change_of_the_balloon_is_told(void **state)
{
	struct fixture *f = *state;
	struct virtio_device *vdev = f->driver.vdev;
	__le32 actual = htole32(0x100000);
	unsigned int at = offsetof(struct virtio_balloon_config, actual);

	f->driver.machine.balloon_changed = note_change;
	virtio_device_write_config(vdev, at, &actual, sizeof(actual));
	assert_int_equal(f->changes, 1);
	assert_int_equal(f->changed_to, 4 * GIB);
	/* The same again is no news, nor is what else is written. */
	virtio_device_write_config(vdev, at, &actual, sizeof(actual));
	virtio_device_write_config(vdev, 0, &actual, sizeof(actual));
	assert_int_equal(f->changes, 1);
}

/* ---- inflate and deflate ------------------------------------------------- */

static void inflated_pages_are_gone(void **state)
{
	struct fixture *f = *state;
	/* Out of order, twice, in three ranges. */
	const uint32_t pfns[] = { FIRST + 7, FIRST + 2, FIRST + 1, FIRST + 7,
				  FIRST + 3, PAGES - 1, FIRST + 2 };

	run(f, F(MUST_TELL_HOST), 2);
	send_list(f, 0, pfns, ARRAY_SIZE(pfns));
	assert_int_equal(driver_used(&f->driver, 0)->ring[0].len, 0);
	pages_are(f, FIRST, 1, 0xa5);
	pages_are(f, FIRST + 1, 3, 0);
	pages_are(f, FIRST + 4, 3, 0xa5);
	pages_are(f, FIRST + 7, 1, 0);
	pages_are(f, FIRST + 8, PAGES - 1 - FIRST - 8, 0xa5);
	pages_are(f, PAGES - 1, 1, 0);
	assert_int_equal(counter(f, "inflated-pages"), 5);
	assert_int_equal(counter(f, "ranges"), 3);
	assert_int_equal(counter(f, "not-ram-pages"), 0);
}

static void deflated_pages_keep_what_is_in_them(void **state)
{
	struct fixture *f = *state;
	const uint32_t pfns[] = { FIRST, FIRST + 1, PAGES };

	run(f, F(MUST_TELL_HOST), 2);
	send_list(f, 1, pfns, ARRAY_SIZE(pfns));
	pages_are(f, FIRST, 2, 0xa5);
	assert_int_equal(counter(f, "deflated-pages"), 2);
	assert_int_equal(counter(f, "not-ram-pages"), 1);
}

static void pages_that_are_no_ram_are_ignored(void **state)
{
	struct fixture *f = *state;
	const uint32_t pfns[] = { UINT32_MAX, PAGES, FIRST, 0x80000000,
				  PAGES + 1 };

	run(f, 0, 2);
	send_list(f, 0, pfns, ARRAY_SIZE(pfns));
	pages_are(f, FIRST, 1, 0);
	pages_are(f, FIRST + 1, PAGES - FIRST - 1, 0xa5);
	assert_int_equal(counter(f, "inflated-pages"), 1);
	assert_int_equal(counter(f, "not-ram-pages"), 4);
}

static void lists_come_in_pieces_and_are_long(void **state)
{
	struct fixture *f = *state;
	uint32_t pfns[3000];

	for (unsigned int i = 0; i < ARRAY_SIZE(pfns); i++)
		pfns[i] = FIRST + i % 700;
	run(f, 0, 2);
	put_list(f, pfns, ARRAY_SIZE(pfns));
	/* Three pieces, whose ends are not those of numbers. */
	set_desc(f, 0, 0, LIST, 4097, NEXT);
	set_desc(f, 0, 1, LIST + 4097, 2, NEXT);
	set_desc(f, 0, 2, LIST + 4099, sizeof(pfns) - 4099, 0);
	offer(f, 0, 0);
	wait_used(f, 0);
	pages_are(f, FIRST, 700, 0);
	pages_are(f, FIRST + 700, PAGES - FIRST - 700, 0xa5);
	assert_int_equal(counter(f, "not-ram-pages"), 0);
}

static void buffers_without_a_list_are_returned(void **state)
{
	struct fixture *f = *state;

	run(f, 0, 2);
	set_desc(f, 0, 0, FREE, PAGE, WRITE);
	offer(f, 0, 0);
	wait_used(f, 0);
	pages_are(f, FIRST, 1, 0xa5);
	assert_int_equal(counter(f, "inflated-pages"), 0);
}

static void a_broken_number_breaks_the_queue(void **state)
{
	struct fixture *f = *state;

	run(f, 0, 2);
	set_desc(f, 0, 0, LIST, 6, 0);
	offer(f, 0, 0);
	wait_broken(f);
	assert_int_equal(used_idx(f, 0), 0);
}

static void a_list_without_end_breaks_the_queue(void **state)
{
	struct fixture *f = *state;

	run(f, 0, 2);
	set_desc(f, 1, 0, LIST, 256 * KIB, 0);
	offer(f, 1, 0);
	wait_used(f, 1);
	set_desc(f, 1, 0, LIST, 256 * KIB + 4, 0);
	offer(f, 1, 0);
	wait_broken(f);
}

/* ---- pages of the host's that are larger --------------------------------- */

#define HUGE (256 * KIB)
#define PER_HUGE (HUGE / PAGE)

static void inflate_run(struct fixture *f, unsigned int queue,
			unsigned int first, unsigned int n)
{
	uint32_t pfns[2 * PER_HUGE];

	for (unsigned int i = 0; i < n; i++)
		pfns[i] = FIRST + first + i;
	send_list(f, queue, pfns, n);
}

static int setup_huge(void **state)
{
	struct fixture *f;

	setup(state);
	f = *state;
	f->driver.machine.memory.page_size = HUGE;
	return try_create(f, &virtio_balloon_defaults);
}

static void a_huge_page_goes_when_all_of_it_is_there(void **state)
{
	struct fixture *f = *state;

	run(f, F(MUST_TELL_HOST), 2);
	inflate_run(f, 0, 1, PER_HUGE);
	pages_are(f, FIRST, PAGES - FIRST, 0xa5);
	inflate_run(f, 0, 0, 1);
	pages_are(f, FIRST, PER_HUGE, 0);
	pages_are(f, FIRST + PER_HUGE, PER_HUGE, 0xa5);
	/* What has left the balloon counts no longer. */
	inflate_run(f, 1, PER_HUGE, 1);
	inflate_run(f, 0, PER_HUGE + 1, PER_HUGE - 1);
	pages_are(f, FIRST + PER_HUGE, PER_HUGE, 0xa5);
	inflate_run(f, 0, PER_HUGE, 1);
	pages_are(f, FIRST + PER_HUGE, PER_HUGE, 0);
	assert_int_equal(counter(f, "kept-ranges"), 0);
}

static void a_reset_empties_the_balloon(void **state)
{
	struct fixture *f = *state;

	run(f, F(MUST_TELL_HOST), 2);
	inflate_run(f, 0, 0, PER_HUGE - 1);
	virtio_device_set_status(f->driver.vdev, 0);
	run(f, F(MUST_TELL_HOST), 2);
	inflate_run(f, 0, PER_HUGE - 1, 1);
	pages_are(f, FIRST, PER_HUGE, 0xa5);
}

/* ---- statistics ---------------------------------------------------------- */

static void put_stat(struct fixture *f, unsigned int at, uint16_t tag,
		     uint64_t value)
{
	const struct virtio_balloon_stat stat = {
		.tag = htole16(tag),
		.val = htole64(value),
	};

	memcpy(f->driver.ram + LIST + at * sizeof(stat), &stat, sizeof(stat));
}

static void offer_stats(struct fixture *f, size_t len)
{
	set_desc(f, 2, 0, LIST, len, 0);
	offer(f, 2, 0);
}

static void wait_counter(struct fixture *f, const char *name, uint64_t value)
{
	while (counter(f, name) != value)
		sched_yield();
}

static void statistics_are_read_and_the_buffer_kept(void **state)
{
	struct fixture *f = *state;

	run(f, F(STATS_VQ), 3);
	put_stat(f, 0, VIRTIO_BALLOON_S_MEMFREE, 12345);
	put_stat(f, 1, VIRTIO_BALLOON_S_NR, 77);
	put_stat(f, 2, VIRTIO_BALLOON_S_MEMTOT, 1ULL << 40);
	put_stat(f, 3, VIRTIO_BALLOON_S_AVAIL, 7);
	/* The last is cut off. */
	offer_stats(f, 4 * sizeof(struct virtio_balloon_stat) - 1);
	wait_counter(f, "stats-received", 1);
	assert_int_equal(counter(f, "guest-free-memory"), 12345);
	assert_int_equal(counter(f, "guest-total-memory"), 1ULL << 40);
	assert_int_equal(counter(f, "guest-available-memory"), UINT64_MAX);
	assert_int_equal(used_idx(f, 2), 0);
	/* Nothing is in flight in a pause: it goes back. */
	virtio_balloon_type.quiesce(f->device);
	assert_int_equal(used_idx(f, 2), 1);
	offer_stats(f, 0);
	virtio_balloon_type.resume(f->device);
	wait_counter(f, "stats-received", 2);
	assert_int_equal(counter(f, "guest-free-memory"), 12345);
}

static void many_statistics_are_cut(void **state)
{
	struct fixture *f = *state;

	run(f, F(STATS_VQ), 3);
	for (unsigned int i = 0; i < 65; i++)
		put_stat(f, i, VIRTIO_BALLOON_S_MEMFREE, i);
	offer_stats(f, 65 * sizeof(struct virtio_balloon_stat));
	wait_counter(f, "stats-received", 1);
	assert_int_equal(counter(f, "guest-free-memory"), 63);
}

static void a_second_buffer_of_statistics_breaks_the_queue(void **state)
{
	struct fixture *f = *state;

	run(f, F(STATS_VQ), 3);
	offer_stats(f, 0);
	wait_counter(f, "stats-received", 1);
	set_desc(f, 2, 1, LIST, 10, 0);
	offer(f, 2, 1);
	wait_broken(f);
	/* And neither goes back to a ring that is broken. */
	virtio_balloon_type.quiesce(f->device);
	assert_int_equal(used_idx(f, 2), 0);
}

static void the_timer_asks_for_statistics(void **state)
{
	struct fixture *f = *state;
	struct virtio_balloon_options options = { .stats_seconds = 1 };

	assert_int_equal(try_create(f, &options), 0);
	run(f, F(STATS_VQ), 3);
	offer_stats(f, 0);
	wait_used(f, 2);
	offer_stats(f, 0);
	wait_used(f, 2);
	assert_int_equal(counter(f, "stats-received"), 2);
}

/* ---- free pages ---------------------------------------------------------- */

static void report(struct fixture *f, unsigned int queue)
{
	set_desc(f, queue, 0, FREE, 16 * PAGE, WRITE | NEXT);
	set_desc(f, queue, 1, FREE + 32 * PAGE + 100, 3 * PAGE, WRITE);
	offer(f, queue, 0);
	wait_used(f, queue);
}

static void check_reported(struct fixture *f)
{
	pages_are(f, FIRST, 16, 0);
	pages_are(f, FIRST + 16, 16, 0xa5);
	/* Of an odd range, whole pages. */
	pages_are(f, FIRST + 32, 1, 0xa5);
	pages_are(f, FIRST + 33, 2, 0);
	pages_are(f, FIRST + 35, 1, 0xa5);
}

static void reported_pages_are_gone(void **state)
{
	struct fixture *f = *state;

	run(f, F(REPORTING) | F(STATS_VQ) | F(FREE_PAGE_HINT), 5);
	report(f, 4);
	check_reported(f);
	assert_int_equal(counter(f, "reported-bytes"), 19 * PAGE);
}

/* Linux counts the queues that it uses. */
static void the_queue_of_reports_may_be_any(void **state)
{
	struct fixture *f = *state;

	run(f, F(REPORTING), 3);
	report(f, 2);
	check_reported(f);
}

/* The specification counts all of them. */
static void the_queue_of_reports_may_be_the_fifth(void **state)
{
	struct fixture *f = *state;

	driver_negotiate(&f->driver, F(REPORTING));
	driver_set_queue(&f->driver, 0);
	driver_set_queue(&f->driver, 1);
	driver_set_queue(&f->driver, 4);
	driver_ok(f);
	report(f, 4);
	check_reported(f);
}

static void without_the_feature_nothing_is_taken(void **state)
{
	struct fixture *f = *state;

	run(f, F(STATS_VQ), 5);
	set_desc(f, 4, 0, FREE, PAGE, WRITE);
	offer(f, 4, 0);
	offer_stats(f, 0);
	wait_counter(f, "stats-received", 1);
	virtio_balloon_type.quiesce(f->device);
	assert_int_equal(used_idx(f, 4), 0);
	pages_are(f, FIRST, 1, 0xa5);
}

static void poisoned_pages_stay(void **state)
{
	struct fixture *f = *state;
	const uint32_t poison = htole32(0xaaaaaaaa);

	virtio_device_write_config(f->driver.vdev, 12, &poison, 4);
	run(f, F(REPORTING) | F(PAGE_POISON), 3);
	report(f, 2);
	pages_are(f, FIRST, PAGES - FIRST, 0xa5);
	/* A driver whose pages are zero loses nothing. */
	virtio_device_set_status(f->driver.vdev, 0);
	assert_int_equal(config(f).poison_val, 0);
	run(f, F(REPORTING) | F(PAGE_POISON), 3);
	report(f, 2);
	check_reported(f);
}

static void prepare_command(struct fixture *f, uint32_t id)
{
	id = htole32(id);
	memcpy(f->driver.ram + LIST, &id, 4);
	set_desc(f, 2, 0, LIST, 4, 0);
}

static void command(struct fixture *f, uint32_t id)
{
	prepare_command(f, id);
	offer(f, 2, 0);
	/* There was no eventfd: it is over. */
	assert_int_equal(used_idx(f, 2), f->driver.avail_idx[2]);
}

static void hint(struct fixture *f, unsigned int page)
{
	set_desc(f, 2, 0, FREE + page * (uint64_t)PAGE, PAGE, WRITE);
	offer(f, 2, 0);
	assert_int_equal(used_idx(f, 2), f->driver.avail_idx[2]);
}

static void a_round_of_hints_takes_free_pages(void **state)
{
	struct fixture *f = *state;
	uint32_t id;

	run(f, F(FREE_PAGE_HINT), 3);
	assert_int_equal(virtio_balloon_hint(f->device), 0);
	assert_int_equal(virtio_balloon_hint(f->device), -EBUSY);
	assert_int_equal(atomic_load(&f->driver.config_signals), 1);
	id = le32toh(config(f).free_page_hint_cmd_id);
	assert_true(id > VIRTIO_BALLOON_CMD_ID_DONE);

	hint(f, 0); /* before it begins */
	command(f, id + 1);
	hint(f, 1); /* of another round */
	command(f, id);
	hint(f, 2);
	hint(f, 3);
	pages_are(f, FIRST, 2, 0xa5);
	pages_are(f, FIRST + 2, 2, 0);
	command(f, VIRTIO_BALLOON_CMD_ID_STOP);
	assert_int_equal(le32toh(config(f).free_page_hint_cmd_id),
			 VIRTIO_BALLOON_CMD_ID_DONE);
	assert_int_equal(atomic_load(&f->driver.config_signals), 2);
	hint(f, 4); /* after its end */
	pages_are(f, FIRST + 4, 1, 0xa5);
	assert_int_equal(counter(f, "hinted-bytes"), 2 * PAGE);

	/* The next round has another number. */
	assert_int_equal(virtio_balloon_hint(f->device), 0);
	assert_int_equal(le32toh(config(f).free_page_hint_cmd_id), id + 1);
}

/* The end of a round came when nobody served the queue, and is seen late. */
static void a_round_of_hints_can_end_in_a_pause(void **state)
{
	struct fixture *f = *state;

	run(f, F(FREE_PAGE_HINT), 3);
	assert_int_equal(virtio_balloon_hint(f->device), 0);
	command(f, le32toh(config(f).free_page_hint_cmd_id));
	virtio_balloon_type.quiesce(f->device);
	prepare_command(f, VIRTIO_BALLOON_CMD_ID_STOP);
	driver_offer(&f->driver, 2, 0);
	virtio_balloon_type.resume(f->device);
	assert_int_equal(le32toh(config(f).free_page_hint_cmd_id),
			 VIRTIO_BALLOON_CMD_ID_DONE);
	assert_int_equal(virtio_balloon_hint(f->device), 0);
}

static void a_reset_ends_a_round_of_hints(void **state)
{
	struct fixture *f = *state;

	run(f, F(FREE_PAGE_HINT), 3);
	assert_int_equal(virtio_balloon_hint(f->device), 0);
	command(f, le32toh(config(f).free_page_hint_cmd_id));
	virtio_device_set_status(f->driver.vdev, 0);
	assert_int_equal(config(f).free_page_hint_cmd_id, 0);
	assert_int_equal(virtio_balloon_hint(f->device), -ENOTSUP);
	run(f, F(FREE_PAGE_HINT), 3);
	hint(f, 0);
	pages_are(f, FIRST, 1, 0xa5);
	assert_int_equal(virtio_balloon_hint(f->device), 0);
}

static void hints_need_the_drivers_consent(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(virtio_balloon_hint(f->device), -ENOTSUP);
	run(f, 0, 2);
	assert_int_equal(virtio_balloon_hint(f->device), -ENOTSUP);
}

static void a_short_command_breaks_the_queue(void **state)
{
	struct fixture *f = *state;

	run(f, F(FREE_PAGE_HINT), 3);
	set_desc(f, 2, 0, LIST, 3, 0);
	offer(f, 2, 0);
	wait_broken(f);
}

#define BARE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define DEVICE_TEST(name) \
	cmocka_unit_test_setup_teardown(name, setup_device, teardown)
#define HUGE_TEST(name) \
	cmocka_unit_test_setup_teardown(name, setup_huge, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BARE_TEST(options_choose_features),
		BARE_TEST(bad_options_leave_nothing),
		DEVICE_TEST(the_target_can_change),
		DEVICE_TEST(a_change_of_the_balloon_is_told),
		DEVICE_TEST(the_driver_writes_its_own_fields_only),
		DEVICE_TEST(inflated_pages_are_gone),
		DEVICE_TEST(deflated_pages_keep_what_is_in_them),
		DEVICE_TEST(pages_that_are_no_ram_are_ignored),
		DEVICE_TEST(lists_come_in_pieces_and_are_long),
		DEVICE_TEST(buffers_without_a_list_are_returned),
		DEVICE_TEST(a_broken_number_breaks_the_queue),
		DEVICE_TEST(a_list_without_end_breaks_the_queue),
		HUGE_TEST(a_huge_page_goes_when_all_of_it_is_there),
		HUGE_TEST(a_reset_empties_the_balloon),
		DEVICE_TEST(statistics_are_read_and_the_buffer_kept),
		DEVICE_TEST(many_statistics_are_cut),
		DEVICE_TEST(a_second_buffer_of_statistics_breaks_the_queue),
		BARE_TEST(the_timer_asks_for_statistics),
		DEVICE_TEST(reported_pages_are_gone),
		DEVICE_TEST(the_queue_of_reports_may_be_any),
		DEVICE_TEST(the_queue_of_reports_may_be_the_fifth),
		DEVICE_TEST(without_the_feature_nothing_is_taken),
		DEVICE_TEST(poisoned_pages_stay),
		DEVICE_TEST(a_round_of_hints_takes_free_pages),
		DEVICE_TEST(a_round_of_hints_can_end_in_a_pause),
		DEVICE_TEST(a_reset_ends_a_round_of_hints),
		DEVICE_TEST(hints_need_the_drivers_consent),
		DEVICE_TEST(a_short_command_breaks_the_queue),
	};

	return cmocka_run_group_tests_name("balloon", tests, NULL, NULL);
}
