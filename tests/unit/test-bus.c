/* SPDX-License-Identifier: GPL-2.0 */
/* Bus look-up: edges, gaps, moves, the cache, and changes during look-ups. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include <lkvm/bus.h>
#include <lkvm/util.h>

struct probe {
	uint64_t offset, value;
	unsigned int len;
};

static uint64_t probe_read(void *opaque, uint64_t offset, unsigned int len)
{
	struct probe *probe = opaque;

	if (probe) {
		probe->offset = offset;
		probe->len = len;
	}
	return 0x1122334455667788;
}

static void probe_write(void *opaque, uint64_t offset, uint64_t value,
			unsigned int len)
{
	struct probe *probe = opaque;

	probe->offset = offset;
	probe->value = value;
	probe->len = len;
}

static const struct bus_ops probe_ops = {
	.read = probe_read,
	.write = probe_write,
};

static struct bus_region region_at(uint64_t base, uint64_t len,
				   struct probe *probe)
{
	return (struct bus_region) {
		.name = "probe",
		.ops = &probe_ops,
		.opaque = probe,
		.base = base,
		.len = len,
	};
}

/* Who answers there? */
static struct bus_region *find(struct bus *bus, struct bus_cache *cache,
			       uint64_t addr, unsigned int len)
{
	uint64_t value;

	return bus_read(bus, cache, addr, len, &value);
}

static int setup(void **state)
{
	struct bus *bus = malloc(sizeof(*bus));

	bus_init(bus);
	*state = bus;
	return 0;
}

static int teardown(void **state)
{
	bus_release(*state);
	free(*state);
	return 0;
}

static void finds_first_and_last_byte_and_no_more(void **state)
{
	struct bus_region r = region_at(0x1000, 0x10, NULL);
	struct bus *bus = *state;

	assert_int_equal(bus_map(bus, &r), 0);
	assert_null(find(bus, NULL, 0xfff, 1));
	assert_ptr_equal(find(bus, NULL, 0x1000, 1), &r);
	assert_ptr_equal(find(bus, NULL, 0x100f, 1), &r);
	assert_null(find(bus, NULL, 0x1010, 1));
}

static void an_access_across_the_end_belongs_to_nobody(void **state)
{
	struct bus_region r = region_at(0x1000, 0x10, NULL);
	struct bus_region next = region_at(0x1010, 0x10, NULL);
	struct bus *bus = *state;

	assert_int_equal(bus_map(bus, &r), 0);
	assert_int_equal(bus_map(bus, &next), 0);
	assert_ptr_equal(find(bus, NULL, 0x100c, 4), &r);
	assert_null(find(bus, NULL, 0x100d, 4));
	assert_null(find(bus, NULL, 0xfff, 2));
}

static void reads_of_nothing_are_all_ones(void **state)
{
	uint64_t value = 0;

	assert_null(bus_read(*state, NULL, 0x80, 1, &value));
	assert_int_equal(value, UINT64_MAX);
	assert_null(bus_write(*state, NULL, 0x80, 1, 0));
}

static void offsets_count_from_the_region(void **state)
{
	struct probe probe = { 0 };
	struct bus_region r = region_at(0xcf8, 8, &probe);
	struct bus *bus = *state;
	uint64_t value;

	assert_int_equal(bus_map(bus, &r), 0);
	assert_ptr_equal(bus_write(bus, NULL, 0xcfc, 4, 0xabcd), &r);
	assert_int_equal(probe.offset, 4);
	assert_int_equal(probe.value, 0xabcd);
	assert_int_equal(probe.len, 4);
	assert_ptr_equal(bus_read(bus, NULL, 0xcff, 1, &value), &r);
	assert_int_equal(probe.offset, 7);
}

static void refuses_overlaps_and_wrapping_regions(void **state)
{
	struct bus_region a = region_at(0x1000, 0x100, NULL);
	struct bus_region over = region_at(0x10ff, 1, NULL);
	struct bus_region around = region_at(0xfff, 0x1000, NULL);
	struct bus_region wraps = region_at(UINT64_MAX - 3, 8, NULL);
	struct bus_region empty = region_at(0x5000, 0, NULL);
	struct bus *bus = *state;

	assert_int_equal(bus_map(bus, &a), 0);
	assert_int_equal(bus_map(bus, &over), -EEXIST);
	assert_int_equal(bus_map(bus, &around), -EEXIST);
	assert_int_equal(bus_map(bus, &wraps), -EINVAL);
	assert_int_equal(bus_map(bus, &empty), -EINVAL);
	assert_int_equal(bus_map(bus, &a), -EINVAL);
}

static void a_cached_hit_follows_a_move(void **state)
{
	struct bus_region r = region_at(0x1000, 0x10, NULL);
	struct bus_cache cache = { 0 };
	struct bus *bus = *state;

	assert_int_equal(bus_map(bus, &r), 0);
	assert_ptr_equal(find(bus, &cache, 0x1000, 4), &r);
	bus_unmap(&r);
	assert_null(find(bus, &cache, 0x1000, 4));
	r.base = 0x2000;
	assert_int_equal(bus_map(bus, &r), 0);
	assert_null(find(bus, &cache, 0x1000, 4));
	assert_ptr_equal(find(bus, &cache, 0x2000, 4), &r);
	assert_int_equal(r.id, 0);
}

static void holds_its_limit_of_regions_and_says_so(void **state)
{
	struct bus_region *many = calloc(BUS_MAX_REGIONS + 1, sizeof(*many));
	struct bus *bus = *state;

	/* From both ends, so that insertions shift the table. */
	for (unsigned int i = 0; i < BUS_MAX_REGIONS; i++) {
		uint64_t at = i % 2 ? 0x10000 - i * 16ULL : 0x10000 + i * 16ULL;

		many[i] = region_at(at, 16, NULL);
		assert_int_equal(bus_map(bus, &many[i]), 0);
	}
	many[BUS_MAX_REGIONS] = region_at(0, 16, NULL);
	assert_int_equal(bus_map(bus, &many[BUS_MAX_REGIONS]), -ENOSPC);
	for (unsigned int i = 0; i < BUS_MAX_REGIONS; i++)
		assert_ptr_equal(find(bus, NULL, many[i].base + 15, 1),
				 &many[i]);
	bus_unmap(&many[7]);
	assert_null(find(bus, NULL, many[7].base, 1));
	assert_ptr_equal(find(bus, NULL, many[8].base, 1), &many[8]);
	free(many);
}

struct mover {
	struct bus *bus;
	struct bus_region *region;
	_Atomic bool stop;
};

static void *move_about(void *opaque)
{
	struct mover *mover = opaque;

	for (unsigned int i = 0; !atomic_load(&mover->stop); i++) {
		bus_unmap(mover->region);
		mover->region->base = i % 2 ? 0x100 : 0x9000;
		bus_map(mover->bus, mover->region);
	}
	return NULL;
}

static void look_ups_stay_right_while_another_region_moves(void **state)
{
	struct bus_region fixed = region_at(0x4000, 0x10, NULL);
	struct bus_region moving = region_at(0x100, 0x10, NULL);
	struct mover mover = { .bus = *state, .region = &moving };
	struct bus_cache cache = { 0 };
	pthread_t thread;

	assert_int_equal(bus_map(mover.bus, &fixed), 0);
	assert_int_equal(pthread_create(&thread, NULL, move_about, &mover), 0);
	for (unsigned int i = 0; i < 200000; i++) {
		assert_ptr_equal(find(mover.bus, &cache, 0x4008, 8), &fixed);
		assert_null(find(mover.bus, NULL, 0x4010, 1));
	}
	atomic_store(&mover.stop, true);
	pthread_join(thread, NULL);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(finds_first_and_last_byte_and_no_more),
		TEST(an_access_across_the_end_belongs_to_nobody),
		TEST(reads_of_nothing_are_all_ones),
		TEST(offsets_count_from_the_region),
		TEST(refuses_overlaps_and_wrapping_regions),
		TEST(a_cached_hit_follows_a_move),
		TEST(holds_its_limit_of_regions_and_says_so),
		TEST(look_ups_stay_right_while_another_region_moves),
	};

	return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}
