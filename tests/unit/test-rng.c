/* SPDX-License-Identifier: GPL-2.0 */
/* virtio/rng.c with a driver that this file plays. */
#include "driver.h"

#include <unistd.h>

#define W VRING_DESC_F_WRITE
#define N VRING_DESC_F_NEXT

struct fixture {
	struct driver driver;
	struct device *device;
};

/* As `--rng` followed by @keys, NULL or a list. */
static void create(struct fixture *f, const char *keys)
{
	uint64_t config[8];
	char list[64] = "";

	assert_in_range(virtio_rng_type.config_size, 1, sizeof(config));
	memcpy(config, virtio_rng_type.defaults, virtio_rng_type.config_size);
	if (keys) {
		strcpy(list, keys);
		assert_int_equal(options_parse_list(virtio_rng_keys, NULL,
						    "--rng", list, config),
				 0);
	}
	assert_int_equal(virtio_rng_type.create(&f->driver.machine, config,
						&f->device),
			 0);
	driver_set_up(&f->driver, 0);
	driver_start(&f->driver);
	assert_false(driver_broken(&f->driver));
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	driver_init(&f->driver);
	f->driver.size = 64;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	virtio_rng_type.destroy(f->device);
	driver_release(&f->driver);
	free(f);
	return 0;
}

/* The chain at descriptor 0; returns what the device says it wrote. */
static uint32_t get(struct fixture *f)
{
	uint32_t len;

	driver_offer(&f->driver, 0, 0);
	driver_kick(&f->driver, 0);
	assert_int_equal(driver_wait(&f->driver, 0, &len), 0);
	return len;
}

static void buffers_are_filled(void **state)
{
	struct fixture *f = *state;
	uint8_t *data = driver_data(&f->driver, 0, 0);
	uint8_t first[64];
	unsigned int zeroes = 0;

	create(f, NULL);
	driver_set_desc(&f->driver, 0, 0, sizeof(first), W, 0);
	assert_int_equal(get(f), sizeof(first));
	memcpy(first, data, sizeof(first));
	assert_int_equal(get(f), sizeof(first));
	assert_memory_not_equal(first, data, sizeof(first));
	for (unsigned int i = 0; i < sizeof(first); i++)
		zeroes += !first[i];
	assert_true(zeroes < sizeof(first) / 2);
	/* Not a byte beyond the buffer's end. */
	for (unsigned int i = 0; i < 64; i++)
		assert_int_equal(data[sizeof(first) + i], 0);
	assert_int_equal(driver_counter(f->device, "requests"), 2);
	assert_int_equal(driver_counter(f->device, "bytes"), 128);
	assert_int_equal(driver_counter(f->device, "waits"), 0);
}

static void several_buffers_make_one(void **state)
{
	struct fixture *f = *state;
	unsigned int zeroes = 0;

	create(f, NULL);
	for (unsigned int i = 0; i < 3; i++)
		driver_set_desc(&f->driver, 0, i, 20, i < 2 ? W | N : W, i + 1);
	assert_int_equal(get(f), 60);
	for (unsigned int i = 0; i < 3; i++)
		for (unsigned int at = 0; at < 20; at++)
			zeroes += !driver_data(&f->driver, 0, i)[at];
	assert_true(zeroes < 30);
}

static void a_large_buffer_gets_its_beginning_filled(void **state)
{
	struct fixture *f = *state;

	create(f, NULL);
	driver_set_desc(&f->driver, 0, 0, 1 * MIB, W, 0);
	assert_int_equal(get(f), 4096);
	/* And one that goes over the limit inside of its second part. */
	driver_set_desc(&f->driver, 0, 0, 4000, W | N, 1);
	driver_set_desc(&f->driver, 0, 1, 4000, W, 0);
	memset(driver_data(&f->driver, 0, 1), 0, 4000);
	assert_int_equal(get(f), 4096);
	for (unsigned int i = 96; i < 4000; i++)
		assert_int_equal(driver_data(&f->driver, 0, 1)[i], 0);
}

static void breaks(struct fixture *f)
{
	driver_offer(&f->driver, 0, 0);
	driver_kick(&f->driver, 0);
	driver_wait_broken(&f->driver);
	assert_int_equal(driver_used_idx(&f->driver, 0), 0);
}

static void readable_buffers_break_the_queue(void **state)
{
	struct fixture *f = *state;

	create(f, NULL);
	driver_set_desc(&f->driver, 0, 0, 16, N, 1);
	driver_set_desc(&f->driver, 0, 1, 16, W, 0);
	breaks(f);
}

static void empty_buffers_break_the_queue(void **state)
{
	struct fixture *f = *state;

	create(f, NULL);
	driver_set_desc(&f->driver, 0, 0, 0, W, 0);
	breaks(f);
}

/* 1000 bytes overdraw the bucket: the next buffer waits, and is not lost. */
static void a_limit_makes_buffers_wait(void **state)
{
	struct fixture *f = *state;

	create(f, "rate=5K");
	driver_set_desc(&f->driver, 0, 0, 1000, W, 0);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(get(f), 1000);
	assert_true(driver_counter(f->device, "waits") > 0);
}

static void a_reset_does_not_wait_for_the_limit(void **state)
{
	struct fixture *f = *state;

	create(f, "rate=1");
	driver_set_desc(&f->driver, 0, 0, 4000, W, 0);
	get(f);
	driver_offer(&f->driver, 0, 0);
	driver_kick(&f->driver, 0);
	while (!driver_counter(f->device, "waits"))
		usleep(1000);
	driver_reset(&f->driver);
	assert_int_equal(driver_used_idx(&f->driver, 0), 1);
	/* Nor is it a way around it. */
	driver_set_up(&f->driver, 0);
	driver_offer(&f->driver, 0, 0);
	driver_start(&f->driver);
	while (driver_counter(f->device, "waits") < 2)
		usleep(1000);
	assert_int_equal(driver_used_idx(&f->driver, 0), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(buffers_are_filled),
		TEST(several_buffers_make_one),
		TEST(a_large_buffer_gets_its_beginning_filled),
		TEST(readable_buffers_break_the_queue),
		TEST(empty_buffers_break_the_queue),
		TEST(a_limit_makes_buffers_wait),
		TEST(a_reset_does_not_wait_for_the_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
