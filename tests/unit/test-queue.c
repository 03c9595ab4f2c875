/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio/queue-split.c against a driver that this file plays, in RAM without KVM:
 * what a good driver may rely on, and everything a hostile one tries
 * (virtio 1.2, 2.7).
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

#include "queue.h"

/* Two regions that touch, and a large one with a hole before it. */
#define SECOND_END (2 * MIB)
#define LARGE (4 * GIB)
#define LARGE_SIZE (2 * GIB)

#define NEXT VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

#define ALL_FEATURES                        \
	(BIT_ULL(VIRTIO_RING_F_EVENT_IDX) | \
	 BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC))

static int setup(void **state)
{
	struct guest_memory *memory;

	log_set_level(LOG_LEVEL_ERROR);
	setup_queue(state);
	memory = &((struct fixture *)*state)->memory;
	assert_int_equal(
		memory_add_ram(memory, FIRST_END, SECOND_END - FIRST_END), 0);
	assert_int_equal(memory_add_ram(memory, LARGE, LARGE_SIZE), 0);
	return 0;
}

static void start(struct fixture *f, uint16_t size)
{
	configure(f, size);
	assert_int_equal(virtq_start(&f->vq, ALL_FEATURES), 0);
}

static struct vring_desc *table(struct fixture *f)
{
	return guest_map(&f->memory, TABLE, 4096 * 16);
}

/* Offer head 0 and expect the queue to be broken by it, for good. */
static void assert_breaks(struct fixture *f)
{
	offer(f, 0);
	assert_int_equal(pop(f), -EPROTO);
	assert_true(f->vq.broken);
	assert_int_equal(in_flight(f), 0);
	/* A good chain does not mend it. */
	set(&f->desc[0], BUFFER, 16, 0, 0);
	assert_int_equal(pop(f), 0);
	assert_false(virtq_enable_notify(&f->vq));
}

/* ---- start -------------------------------------------------------------- */

static void assert_no_start(struct fixture *f)
{
	assert_int_equal(virtq_start(&f->vq, ALL_FEATURES), -EINVAL);
	assert_true(f->vq.broken);
	assert_false(f->vq.running);
	assert_int_equal(pop(f), 0);
	assert_false(virtq_enable_notify(&f->vq));
	virtq_disable_notify(&f->vq);
}

static void start_refuses_bad_sizes(void **state)
{
	static const uint16_t bad[] = { 0, 3, 96, 2048, 0x8000, 0xffff };
	struct fixture *f = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		configure(f, bad[i]);
		assert_no_start(f);
	}
	start(f, 1);
	start(f, VIRTQ_MAX_SIZE);
}

static void start_checks_areas(void **state)
{
	static const struct {
		uint64_t desc, driver, device;
		bool good;
	} area[] = {
		/* alignment */
		{ DESC + 8, AVAIL, USED, false },
		{ DESC, AVAIL + 1, USED, false },
		{ DESC, AVAIL, USED + 2, false },
		/* ends of RAM, of 8 entries */
		{ SECOND_END, AVAIL, USED, false },
		{ FIRST_END - 7 * 16, AVAIL, USED, false },
		{ FIRST_END - 8 * 16, AVAIL, USED, true },
		/* rings count with the event index that ends them */
		{ DESC, FIRST_END - (4 + 8 * 2), USED, false },
		{ DESC, FIRST_END - (6 + 8 * 2), USED, true },
		{ DESC, AVAIL, FIRST_END - (4 + 8 * 8), false },
		{ DESC, AVAIL, FIRST_END - (8 + 8 * 8), true },
		{ DESC, AVAIL, UINT64_MAX & ~3ULL, false },
	};
	struct fixture *f = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(area); i++) {
		configure(f, 8);
		f->vq.desc_addr = area[i].desc;
		f->vq.driver_addr = area[i].driver;
		f->vq.device_addr = area[i].device;
		if (area[i].good)
			assert_int_equal(virtq_start(&f->vq, 0), 0);
		else
			assert_no_start(f);
	}
}

static void reset_forgets_everything(void **state)
{
	struct fixture *f = *state;

	start(f, 8);
	set(&f->desc[0], BUFFER, 16, 0, 0);
	offer(f, 0);
	assert_int_equal(pop(f), 1);
	virtq_reset(&f->vq);
	assert_int_equal(f->vq.size, VIRTQ_MAX_SIZE);
	assert_int_equal(f->vq.vector, VIRTIO_MSI_NO_VECTOR);
	assert_false(f->vq.ready);
	assert_false(f->vq.running);
	assert_int_equal(f->vq.desc_addr, 0);
	assert_int_equal(in_flight(f), 0);
	/* The head that was in flight is free again. */
	start(f, 8);
	offer(f, 0);
	assert_int_equal(pop(f), 1);
}

/* ---- good chains -------------------------------------------------------- */

static void empty_ring_gives_nothing(void **state)
{
	struct fixture *f = *state;

	start(f, 8);
	assert_int_equal(pop(f), 0);
	assert_false(f->vq.broken);
}

static void chain_is_translated_in_order(void **state)
{
	struct fixture *f = *state;

	start(f, 8);
	set(&f->desc[5], BUFFER, 16, NEXT, 2);
	set(&f->desc[2], BUFFER + 100, 512, NEXT, 7);
	set(&f->desc[7], BUFFER + 1000, 1, WRITE, 0);
	offer(f, 5);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.head, 5);
	assert_int_equal(f->chain.out_count, 2);
	assert_int_equal(f->chain.out_len, 528);
	assert_int_equal(f->chain.in_count, 1);
	assert_int_equal(f->chain.in_len, 1);
	assert_ptr_equal(f->chain.iov[0].iov_base,
			 guest_map(&f->memory, BUFFER, 1));
	assert_int_equal(f->chain.iov[0].iov_len, 16);
	assert_ptr_equal(f->chain.iov[1].iov_base,
			 guest_map(&f->memory, BUFFER + 100, 1));
	assert_ptr_equal(f->chain.iov[2].iov_base,
			 guest_map(&f->memory, BUFFER + 1000, 1));
	assert_int_equal(in_flight(f), 1);
	assert_int_equal(pop(f), 0);
}

static void empty_buffers_are_left_out(void **state)
{
	struct fixture *f = *state;

	start(f, 8);
	/* Nobody looks at the address of nothing. */
	set(&f->desc[0], UINT64_MAX, 0, NEXT, 1);
	set(&f->desc[1], BUFFER, 16, NEXT, 2);
	set(&f->desc[2], BUFFER, 0, NEXT | WRITE, 3);
	set(&f->desc[3], BUFFER, 4, WRITE, 0);
	offer(f, 0);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.out_count, 1);
	assert_int_equal(f->chain.in_count, 1);
	assert_int_equal(f->chain.iov[1].iov_len, 4);
}

static void used_ring_tells_head_and_length(void **state)
{
	struct fixture *f = *state;

	start(f, 8);
	for (uint16_t i = 0; i < 3; i++) {
		set(&f->desc[i], BUFFER, 16, WRITE, 0);
		offer(f, i);
		assert_int_equal(pop(f), 1);
	}
	assert_int_equal(in_flight(f), 3);
	/* Any order. */
	virtq_push(&f->vq, 2, 7);
	virtq_push(&f->vq, 0, 0x10000);
	virtq_push(&f->vq, 1, 0);
	assert_int_equal(in_flight(f), 0);
	assert_int_equal(le16toh(f->used->idx), 3);
	assert_int_equal(le32toh(f->used->ring[0].id), 2);
	assert_int_equal(le32toh(f->used->ring[0].len), 7);
	assert_int_equal(le32toh(f->used->ring[1].id), 0);
	assert_int_equal(le32toh(f->used->ring[1].len), 0x10000);
	assert_int_equal(le32toh(f->used->ring[2].id), 1);
}

static void filled_chains_are_shown_together(void **state)
{
	struct fixture *f = *state;

	start(f, 4);
	for (uint16_t i = 0; i < 3; i++) {
		set(&f->desc[i], BUFFER, 16, WRITE, 0);
		offer(f, i);
		assert_int_equal(pop(f), 1);
	}
	virtq_fill(&f->vq, 1, 5);
	virtq_fill(&f->vq, 0, 6);
	assert_int_equal(f->used->idx, 0);
	assert_int_equal(in_flight(f), 1);
	virtq_show(&f->vq);
	assert_int_equal(le16toh(f->used->idx), 2);
	assert_int_equal(le32toh(f->used->ring[0].id), 1);
	assert_int_equal(le32toh(f->used->ring[1].len), 6);
	virtq_push(&f->vq, 2, 7);
	assert_int_equal(le16toh(f->used->idx), 3);
}

static void chains_can_be_given_back_unseen(void **state)
{
	struct fixture *f = *state;

	start(f, 4);
	for (unsigned int i = 0; i < 3; i++) {
		set(&f->desc[i], BUFFER + i * 0x100, 16, VRING_DESC_F_WRITE, 0);
		offer(f, i);
		assert_int_equal(pop(f), 1);
	}
	virtq_unpop(&f->vq, 2);
	virtq_unpop(&f->vq, 1);
	assert_int_equal(in_flight(f), 1);
	/* Those before them go on; the next pop takes the same again. */
	virtq_push(&f->vq, 0, 1);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.head, 1);
	assert_ptr_equal(f->chain.iov[0].iov_base,
			 guest_map(&f->memory, BUFFER + 0x100, 16));
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.head, 2);
	assert_int_equal(pop(f), 0);
	assert_int_equal(in_flight(f), 2);
}

static void goes_on_where_another_has_stopped(void **state)
{
	struct fixture *f = *state;

	start(f, 4);
	for (unsigned int i = 0; i < 3; i++) {
		set(&f->desc[i], BUFFER, 16, VRING_DESC_F_WRITE, 0);
		offer(f, i);
	}
	/* The other one has used two of the three. */
	f->used->idx = htole16(2);
	virtq_set_position(&f->vq, 2);
	assert_false(virtq_should_signal(&f->vq));
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.head, 2);
	virtq_push(&f->vq, 2, 5);
	assert_int_equal(le16toh(f->used->idx), 3);
	assert_int_equal(le32toh(f->used->ring[2].len), 5);
}

static void indices_wrap_at_65536(void **state)
{
	struct fixture *f = *state;

	start(f, 8);
	for (unsigned int i = 0; i < 8; i++)
		set(&f->desc[i], BUFFER + 64 * i, 16, WRITE, 0);
	for (unsigned int i = 0; i < 70000; i++) {
		uint16_t head = (i * 3) % 8;

		offer(f, head);
		assert_int_equal(pop(f), 1);
		assert_int_equal(f->chain.head, head);
		virtq_push(&f->vq, head, i);
		assert_int_equal(le16toh(f->used->idx), (uint16_t)(i + 1));
		assert_int_equal(le32toh(f->used->ring[i % 8].id), head);
		assert_int_equal(le32toh(f->used->ring[i % 8].len), i);
	}
	assert_int_equal(pop(f), 0);
}

static void chain_as_long_as_the_queue_is_good(void **state)
{
	struct fixture *f = *state;

	start(f, VIRTQ_MAX_CHAIN);
	for (unsigned int i = 0; i < VIRTQ_MAX_CHAIN; i++)
		set(&f->desc[i], BUFFER + i, 1,
		    i + 1 < VIRTQ_MAX_CHAIN ? NEXT : 0, i + 1);
	offer(f, 0);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.out_count, VIRTQ_MAX_CHAIN);
}

/* ---- bad chains --------------------------------------------------------- */

static void loops_break_the_queue(void **state)
{
	struct fixture *f = *state;

	start(f, 8);
	set(&f->desc[0], BUFFER, 16, NEXT, 0);
	assert_breaks(f);

	start(f, 8);
	set(&f->desc[0], BUFFER, 16, NEXT, 1);
	set(&f->desc[1], BUFFER, 16, NEXT, 2);
	set(&f->desc[2], BUFFER, 16, NEXT, 1);
	assert_breaks(f);

	/* With empty buffers neither capacity nor length would end it. */
	start(f, 8);
	set(&f->desc[0], BUFFER, 0, NEXT, 0);
	assert_breaks(f);

	start(f, 8);
	set(&f->desc[0], TABLE, 32, INDIRECT, 0);
	set(&table(f)[0], BUFFER, 0, NEXT, 1);
	set(&table(f)[1], BUFFER, 0, NEXT, 0);
	assert_breaks(f);
}

static void chain_above_capacity_breaks_the_queue(void **state)
{
	struct fixture *f = *state;

	start(f, VIRTQ_MAX_SIZE);
	for (unsigned int i = 0; i <= VIRTQ_MAX_CHAIN; i++)
		set(&f->desc[i], BUFFER + i, 1, i < VIRTQ_MAX_CHAIN ? NEXT : 0,
		    i + 1);
	assert_breaks(f);
}

static void indirect_chain_counts_against_the_queue(void **state)
{
	struct fixture *f = *state;

	for (unsigned int extra = 0; extra < 2; extra++) {
		unsigned int count = 8 + extra;

		start(f, 8);
		for (unsigned int i = 0; i < count; i++)
			set(&table(f)[i], BUFFER, 1, i + 1 < count ? NEXT : 0,
			    i + 1);
		set(&f->desc[0], TABLE, 16 * count, INDIRECT, 0);
		if (extra) {
			assert_breaks(f);
		} else {
			offer(f, 0);
			assert_int_equal(pop(f), 1);
		}
	}
}

static void next_out_of_range_breaks_the_queue(void **state)
{
	struct fixture *f = *state;

	start(f, 8);
	set(&f->desc[0], BUFFER, 16, NEXT, 8);
	set(&f->desc[8], BUFFER, 16, 0, 0);
	assert_breaks(f);
	start(f, 8);
	set(&f->desc[0], BUFFER, 16, NEXT, 0xffff);
	assert_breaks(f);
}

static void head_out_of_range_breaks_the_queue(void **state)
{
	struct fixture *f = *state;

	start(f, 8);
	set(&f->desc[8], BUFFER, 16, 0, 0);
	offer(f, 8);
	assert_int_equal(pop(f), -EPROTO);
	start(f, 8);
	offer(f, 0xffff);
	assert_int_equal(pop(f), -EPROTO);
}

static void avail_index_jump_breaks_the_queue(void **state)
{
	struct fixture *f = *state;

	set(&f->desc[0], BUFFER, 16, 0, 0);
	start(f, 8);
	f->avail->idx = htole16(8);
	assert_int_equal(pop(f), 1);
	start(f, 8);
	f->avail->idx = htole16(9);
	assert_int_equal(pop(f), -EPROTO);
	/* Backwards is a jump by 65535. */
	start(f, 8);
	f->avail->idx = htole16(0xffff);
	assert_int_equal(pop(f), -EPROTO);
}

static void head_in_flight_twice_breaks_the_queue(void **state)
{
	struct fixture *f = *state;

	start(f, 128);
	set(&f->desc[70], BUFFER, 16, 0, 0);
	set(&f->desc[6], BUFFER, 16, 0, 0);
	offer(f, 70);
	assert_int_equal(pop(f), 1);
	virtq_push(&f->vq, 70, 0);
	offer(f, 70);
	assert_int_equal(pop(f), 1);
	offer(f, 6);
	assert_int_equal(pop(f), 1);
	offer(f, 70);
	assert_int_equal(pop(f), -EPROTO);
	assert_int_equal(in_flight(f), 2);
	/* What is in flight still comes back. */
	virtq_push(&f->vq, 70, 0);
	virtq_push(&f->vq, 6, 0);
	assert_int_equal(in_flight(f), 0);
	assert_int_equal(le16toh(f->used->idx), 3);
}

static void readable_after_writable_breaks_the_queue(void **state)
{
	struct fixture *f = *state;

	start(f, 8);
	set(&f->desc[0], BUFFER, 16, NEXT | WRITE, 1);
	set(&f->desc[1], BUFFER, 16, 0, 0);
	assert_breaks(f);

	/* Also across the edge of an indirect table. */
	start(f, 8);
	set(&f->desc[0], BUFFER, 16, NEXT | WRITE, 1);
	set(&f->desc[1], TABLE, 16, INDIRECT, 0);
	set(&table(f)[0], BUFFER, 16, 0, 0);
	assert_breaks(f);
}

static void buffer_outside_ram_breaks_the_queue(void **state)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
	} bad[] = {
		{ SECOND_END, 1 },	   { SECOND_END - 1, 2 },
		{ FIRST_END - 1, 2 }, /* RAM on both sides */
		{ LARGE - 1, 1 },	   { LARGE - 1, 2 },
		{ LARGE + LARGE_SIZE, 1 }, { UINT64_MAX, 1 },
		{ UINT64_MAX, 2 },	   { UINT64_MAX - 0xfff, 0x2000 },
		{ 0, UINT32_MAX },
	};
	struct fixture *f = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		start(f, 8);
		set(&f->desc[0], bad[i].addr, bad[i].len, i & 1 ? WRITE : 0, 0);
		assert_breaks(f);
	}
	start(f, 8);
	set(&f->desc[0], SECOND_END - 1, 1, 0, 0);
	offer(f, 0);
	assert_int_equal(pop(f), 1);
}

static void chain_of_4_gib_breaks_the_queue(void **state)
{
	struct fixture *f = *state;

	start(f, 8);
	set(&f->desc[0], LARGE, LARGE_SIZE, NEXT, 1);
	set(&f->desc[1], LARGE, LARGE_SIZE - 1, WRITE, 0);
	offer(f, 0);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.out_len + f->chain.in_len, UINT32_MAX);

	start(f, 8);
	set(&f->desc[1], LARGE, LARGE_SIZE, WRITE, 0);
	assert_breaks(f);
}

/* ---- indirect ----------------------------------------------------------- */

static void indirect_table_is_followed(void **state)
{
	struct fixture *f = *state;

	start(f, 8);
	/* After direct ones; WRITE on the table means nothing (2.7.5.3.2). */
	set(&f->desc[0], BUFFER, 16, NEXT, 3);
	set(&f->desc[3], TABLE, 48, INDIRECT | WRITE, 0);
	set(&table(f)[0], BUFFER + 16, 1, NEXT, 2);
	set(&table(f)[2], BUFFER + 32, 2, NEXT | WRITE, 1);
	set(&table(f)[1], BUFFER + 48, 3, WRITE, 0);
	offer(f, 0);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.out_count, 2);
	assert_int_equal(f->chain.in_count, 2);
	assert_int_equal(f->chain.out_len, 17);
	assert_int_equal(f->chain.in_len, 5);
}

static void indirect_table_needs_no_alignment(void **state)
{
	struct fixture *f = *state;
	struct vring_desc desc;

	start(f, 8);
	set(&desc, BUFFER, 16, 0, 0);
	assert_int_equal(guest_write(&f->memory, TABLE + 3, &desc, 16), 0);
	set(&f->desc[0], TABLE + 3, 16, INDIRECT, 0);
	offer(f, 0);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.out_len, 16);
}

static void bad_indirect_table_breaks_the_queue(void **state)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
		unsigned int flags;
	} bad[] = {
		{ TABLE, 0, INDIRECT },
		{ TABLE, 15, INDIRECT },
		{ TABLE, 17, INDIRECT },
		{ TABLE, 16, INDIRECT | NEXT },
		{ SECOND_END, 16, INDIRECT },
		{ SECOND_END - 16, 32, INDIRECT },
		{ UINT64_MAX - 15, 32, INDIRECT },
		{ TABLE, 0xfffffff0, INDIRECT },
	};
	struct fixture *f = *state;

	set(&table(f)[0], BUFFER, 16, 0, 0);
	set(&f->desc[1], BUFFER, 16, 0, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		start(f, 8);
		set(&f->desc[0], bad[i].addr, bad[i].len, bad[i].flags, 1);
		assert_breaks(f);
	}
}

static void nested_indirect_table_breaks_the_queue(void **state)
{
	struct fixture *f = *state;

	start(f, 8);
	set(&f->desc[0], TABLE, 16, INDIRECT, 0);
	set(&table(f)[0], TABLE + 16, 16, INDIRECT, 0);
	set(&table(f)[1], BUFFER, 16, 0, 0);
	assert_breaks(f);

	/* Even into itself, which would never end. */
	start(f, 8);
	set(&f->desc[0], TABLE, 16, INDIRECT, 0);
	set(&table(f)[0], TABLE, 16, INDIRECT, 0);
	assert_breaks(f);
}

static void next_outside_indirect_table_breaks_the_queue(void **state)
{
	struct fixture *f = *state;

	start(f, 8);
	set(&f->desc[0], TABLE, 32, INDIRECT, 0);
	set(&table(f)[0], BUFFER, 16, NEXT, 2);
	set(&table(f)[2], BUFFER, 16, 0, 0);
	assert_breaks(f);
}

static void indirect_not_negotiated_breaks_the_queue(void **state)
{
	struct fixture *f = *state;

	configure(f, 8);
	assert_int_equal(virtq_start(&f->vq, 0), 0);
	set(&f->desc[0], TABLE, 16, INDIRECT, 0);
	set(&table(f)[0], BUFFER, 16, 0, 0);
	assert_breaks(f);
}

#define QUEUE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		QUEUE_TEST(start_refuses_bad_sizes),
		QUEUE_TEST(start_checks_areas),
		QUEUE_TEST(reset_forgets_everything),
		QUEUE_TEST(empty_ring_gives_nothing),
		QUEUE_TEST(chain_is_translated_in_order),
		QUEUE_TEST(empty_buffers_are_left_out),
		QUEUE_TEST(used_ring_tells_head_and_length),
		QUEUE_TEST(filled_chains_are_shown_together),
		QUEUE_TEST(chains_can_be_given_back_unseen),
		QUEUE_TEST(goes_on_where_another_has_stopped),
		QUEUE_TEST(indices_wrap_at_65536),
		QUEUE_TEST(chain_as_long_as_the_queue_is_good),
		QUEUE_TEST(loops_break_the_queue),
		QUEUE_TEST(chain_above_capacity_breaks_the_queue),
		QUEUE_TEST(indirect_chain_counts_against_the_queue),
		QUEUE_TEST(next_out_of_range_breaks_the_queue),
		QUEUE_TEST(head_out_of_range_breaks_the_queue),
		QUEUE_TEST(avail_index_jump_breaks_the_queue),
		QUEUE_TEST(head_in_flight_twice_breaks_the_queue),
		QUEUE_TEST(readable_after_writable_breaks_the_queue),
		QUEUE_TEST(buffer_outside_ram_breaks_the_queue),
		QUEUE_TEST(chain_of_4_gib_breaks_the_queue),
		QUEUE_TEST(indirect_table_is_followed),
		QUEUE_TEST(indirect_table_needs_no_alignment),
		QUEUE_TEST(bad_indirect_table_breaks_the_queue),
		QUEUE_TEST(nested_indirect_table_breaks_the_queue),
		QUEUE_TEST(next_outside_indirect_table_breaks_the_queue),
		QUEUE_TEST(indirect_not_negotiated_breaks_the_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
