/* SPDX-License-Identifier: GPL-2.0 */
/* Guest memory: translation at every boundary. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lkvm/memory.h>

#define LOW_SIZE (4 * MIB)
#define HIGH_BASE (4 * GIB)
#define HIGH_SIZE (1 * MIB)

static int setup(void **state)
{
	struct guest_memory *mem = malloc(sizeof(*mem));

	memory_init(mem, -1);
	assert_int_equal(memory_add_ram(mem, 0, LOW_SIZE), 0);
	assert_int_equal(memory_add_ram(mem, HIGH_BASE, HIGH_SIZE), 0);
	*state = mem;
	return 0;
}

static int teardown(void **state)
{
	memory_release(*state);
	free(*state);
	return 0;
}

static void maps_whole_regions_and_their_edges(void **state)
{
	struct guest_memory *mem = *state;
	uint8_t *low = guest_map(mem, 0, LOW_SIZE);
	uint8_t *high = guest_map(mem, HIGH_BASE, HIGH_SIZE);

	assert_non_null(low);
	assert_non_null(high);
	assert_ptr_equal(guest_map(mem, LOW_SIZE - 1, 1), low + LOW_SIZE - 1);
	assert_ptr_equal(guest_map(mem, HIGH_BASE, 1), high);
	assert_ptr_equal(guest_map(mem, HIGH_BASE + HIGH_SIZE - 8, 8),
			 high + HIGH_SIZE - 8);
}

/* Otherwise KVM maps no huge page (whatever the host's mmap() prefers). */
static void ram_begins_at_a_huge_page_of_the_host(void **state)
{
	struct guest_memory *mem = *state;

	assert_int_equal((uintptr_t)guest_map(mem, 0, LOW_SIZE) % (2 * MIB), 0);
	assert_int_equal(
		(uintptr_t)guest_map(mem, HIGH_BASE, HIGH_SIZE) % (2 * MIB), 0);
}

static void refuses_ranges_that_leave_a_region(void **state)
{
	struct guest_memory *mem = *state;

	assert_null(guest_map(mem, LOW_SIZE - 1, 2));
	assert_null(guest_map(mem, LOW_SIZE, 1));
	assert_null(guest_map(mem, 0, LOW_SIZE + 1));
	assert_null(guest_map(mem, HIGH_BASE - 1, 2));
	assert_null(guest_map(mem, HIGH_BASE + HIGH_SIZE - 1, 2));
	assert_null(guest_map(mem, HIGH_BASE + HIGH_SIZE, 1));
	/* From one region into the other, over the hole. */
	assert_null(guest_map(mem, 0, HIGH_BASE + 1));
}

static void refuses_empty_and_wrapping_ranges(void **state)
{
	struct guest_memory *mem = *state;

	assert_null(guest_map(mem, 0, 0));
	assert_null(guest_map(mem, 16, UINT64_MAX));
	assert_null(guest_map(mem, 16, UINT64_MAX - 15));
	assert_null(guest_map(mem, UINT64_MAX, 1));
	assert_null(guest_map(mem, UINT64_MAX, UINT64_MAX));
	assert_null(guest_map(mem, HIGH_BASE, UINT64_MAX - HIGH_BASE + 1));
}

static void a_refused_copy_changes_nothing(void **state)
{
	struct guest_memory *mem = *state;
	uint32_t value = 0x11223344;

	assert_int_equal(guest_write(mem, LOW_SIZE - 2, &value, 4), -EFAULT);
	assert_int_equal(guest_read(mem, LOW_SIZE - 4, &value, 4), 0);
	assert_int_equal(value, 0);
	value = 7;
	assert_int_equal(guest_read(mem, LOW_SIZE - 2, &value, 4), -EFAULT);
	assert_int_equal(value, 7);
}

static void copies_what_was_written(void **state)
{
	struct guest_memory *mem = *state;
	uint64_t in = 0x1122334455667788, out = 0;

	assert_int_equal(guest_write(mem, HIGH_BASE + 3, &in, 8), 0);
	assert_int_equal(guest_read(mem, HIGH_BASE + 3, &out, 8), 0);
	assert_int_equal(in, out);
}

static void regions_must_ascend_and_be_whole_pages(void **state)
{
	struct guest_memory *mem = *state;

	assert_int_equal(memory_add_ram(mem, LOW_SIZE, MIB), -EINVAL);
	assert_int_equal(memory_add_ram(mem, 8 * GIB + 1, MIB), -EINVAL);
	assert_int_equal(memory_add_ram(mem, 8 * GIB, 100), -EINVAL);
	assert_int_equal(memory_add_ram(mem, 8 * GIB, 0), -EINVAL);
	assert_int_equal(memory_add_ram(mem, UINT64_MAX - 4095, 8192), -EINVAL);
}

static void clear_gives_back_zeroes(void **state)
{
	struct guest_memory *mem = *state;
	uint64_t value = ~0ULL;

	assert_int_equal(guest_write(mem, 8192, &value, 8), 0);
	assert_int_equal(memory_clear(mem), 0);
	assert_int_equal(guest_read(mem, 8192, &value, 8), 0);
	assert_int_equal(value, 0);
}

static void load_names_short_files(void **state)
{
	struct guest_memory *mem = *state;
	char path[] = "/tmp/lkvm-test-XXXXXX";
	int fd = mkstemp(path);
	char byte = 0;

	unlink(path);
	assert_int_equal(write(fd, "abcdef", 6), 6);
	assert_int_equal(guest_load(mem, 4096, fd, 2, 4), 0);
	assert_int_equal(guest_read(mem, 4099, &byte, 1), 0);
	assert_int_equal(byte, 'f');
	assert_int_equal(guest_load(mem, 4096, fd, 2, 5), -ENODATA);
	assert_int_equal(guest_load(mem, LOW_SIZE - 2, fd, 0, 6), -EFAULT);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(maps_whole_regions_and_their_edges),
		cmocka_unit_test(ram_begins_at_a_huge_page_of_the_host),
		cmocka_unit_test(refuses_ranges_that_leave_a_region),
		cmocka_unit_test(refuses_empty_and_wrapping_ranges),
		cmocka_unit_test(a_refused_copy_changes_nothing),
		cmocka_unit_test(copies_what_was_written),
		cmocka_unit_test(regions_must_ascend_and_be_whole_pages),
		cmocka_unit_test(clear_gives_back_zeroes),
		cmocka_unit_test(load_names_short_files),
	};

	return cmocka_run_group_tests_name("memory", tests, setup, teardown);
}
