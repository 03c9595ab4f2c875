/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio/queue*.c: what holds in both layouts of a ring, against a driver that
 * speaks both; and the rules of packed rings alone (virtio 1.2, 2.8).
 */
#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "queue.h"

#define WRITE VRING_DESC_F_WRITE
#define NEXT VRING_DESC_F_NEXT
#define INDIRECT VRING_DESC_F_INDIRECT
#define PACKED BIT_ULL(VIRTIO_F_RING_PACKED)
#define EVENT_IDX BIT_ULL(VIRTIO_RING_F_EVENT_IDX)
#define TABLES BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC)

static int setup_split(void **state)
{
	log_set_level(LOG_LEVEL_ERROR);
	return setup_queue(state);
}

static int setup_packed(void **state)
{
	setup_split(state);
	((struct fixture *)*state)->packed = true;
	return 0;
}

static void start_with(struct fixture *f, uint16_t size, uint64_t features)
{
	configure(f, size);
	assert_int_equal(
		virtq_start(&f->vq, features | (f->packed ? PACKED : 0)), 0);
}

static void start(struct fixture *f, uint16_t size)
{
	start_with(f, size, EVENT_IDX | TABLES);
}

static const struct buffer out = { BUFFER, 16, 0 };
static const struct buffer in = { BUFFER + 0x100, 512, WRITE };

static void assert_used(struct fixture *f, uint16_t id, uint32_t len)
{
	uint16_t got_id = 0xffff;
	uint32_t got_len = 0;

	assert_true(get_used(f, &got_id, &got_len));
	assert_int_equal(got_id, id);
	assert_int_equal(got_len, len);
}

static void assert_none_used(struct fixture *f)
{
	uint16_t id;
	uint32_t len;

	assert_false(get_used(f, &id, &len));
}

static void assert_broken(struct fixture *f)
{
	unsigned int before = in_flight(f);

	assert_int_equal(pop(f), -EPROTO);
	assert_true(f->vq.broken);
	assert_int_equal(in_flight(f), before);
	assert_int_equal(pop(f), 0);
	assert_false(virtq_enable_notify(&f->vq));
}

/* ---- good drivers -------------------------------------------------------- */

static void chains_come_in_order_with_all_buffers(void **state)
{
	const struct buffer three[] = { out, { BUFFER + 64, 8, 0 }, in };
	struct fixture *f = *state;

	start(f, 8);
	assert_int_equal(pop(f), 0);
	put_chain(f, 5, three, 3);
	put_chain(f, 0, &in, 1);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.head, 5);
	assert_int_equal(f->chain.out_count, 2);
	assert_int_equal(f->chain.out_len, 24);
	assert_int_equal(f->chain.in_count, 1);
	assert_int_equal(f->chain.in_len, 512);
	assert_ptr_equal(f->chain.iov[1].iov_base,
			 guest_map(&f->memory, BUFFER + 64, 8));
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.head, 0);
	assert_int_equal(pop(f), 0);
	assert_int_equal(in_flight(f), 2);
	assert_none_used(f);
	virtq_push(&f->vq, 5, 100);
	virtq_push(&f->vq, 0, 512);
	assert_used(f, 5, 100);
	assert_used(f, 0, 512);
	assert_none_used(f);
}

static void tables_are_followed(void **state)
{
	const struct buffer three[] = { out, in, { BUFFER + 0x800, 1, WRITE } };
	struct fixture *f = *state;

	start(f, 4);
	for (unsigned int i = 0; i < 40; i++) {
		put_table(f, i % 4, three, 3);
		assert_int_equal(pop(f), 1);
		assert_int_equal(f->chain.head, i % 4);
		assert_int_equal(f->chain.out_count, 1);
		assert_int_equal(f->chain.in_count, 2);
		assert_int_equal(f->chain.in_len, 513);
		virtq_push(&f->vq, i % 4, i);
		assert_used(f, i % 4, i);
	}
}

/* Long enough for every index to wrap, with chains over the ring's end. */
static void rings_go_round(void **state)
{
	const struct buffer three[] = { out, in, in };
	struct fixture *f = *state;
	uint16_t size = f->packed ? 7 : 8;

	start(f, size);
	for (unsigned int i = 0; i < 70000; i++) {
		uint16_t id = (uint16_t)(i % size);
		unsigned int count = 1 + i % 3;

		put_chain(f, id, three, count);
		assert_int_equal(pop(f), 1);
		assert_int_equal(f->chain.head, id);
		assert_int_equal(f->chain.out_count + f->chain.in_count, count);
		assert_int_equal(pop(f), 0);
		virtq_push(&f->vq, id, i);
		assert_used(f, id, i);
		assert_none_used(f);
	}
}

static void chains_are_used_in_any_order(void **state)
{
	const struct buffer two[] = { out, in };
	struct fixture *f = *state;

	start(f, 8);
	for (unsigned int round = 0; round < 10; round++) {
		put_chain(f, 4, two, 2);
		put_chain(f, 1, &in, 1);
		put_chain(f, 6, two, 2);
		for (unsigned int i = 0; i < 3; i++)
			assert_int_equal(pop(f), 1);
		virtq_push(&f->vq, 6, 60);
		virtq_push(&f->vq, 4, 40);
		assert_used(f, 6, 60);
		assert_used(f, 4, 40);
		assert_none_used(f);
		virtq_push(&f->vq, 1, 10);
		assert_used(f, 1, 10);
	}
}

static void what_is_filled_is_seen_when_it_is_shown(void **state)
{
	const struct buffer two[] = { out, in };
	struct fixture *f = *state;

	start(f, 8);
	for (unsigned int round = 0; round < 10; round++) {
		put_chain(f, 3, two, 2);
		put_chain(f, 0, &in, 1);
		put_chain(f, 5, two, 2);
		for (unsigned int i = 0; i < 3; i++)
			assert_int_equal(pop(f), 1);
		virtq_fill(&f->vq, 3, 30);
		virtq_fill(&f->vq, 0, 1);
		virtq_fill(&f->vq, 5, 50);
		assert_none_used(f);
		virtq_show(&f->vq);
		assert_used(f, 3, 30);
		assert_used(f, 0, 1);
		assert_used(f, 5, 50);
		virtq_show(&f->vq);
		assert_none_used(f);
	}
}

static void chains_can_be_given_back(void **state)
{
	const struct buffer three[] = { out, in, in };
	struct fixture *f = *state;

	start(f, 8);
	for (unsigned int round = 0; round < 20; round++) {
		put_chain(f, 0, &in, 1);
		put_chain(f, 1, three, 3);
		put_chain(f, 4, three, 3);
		for (unsigned int i = 0; i < 3; i++)
			assert_int_equal(pop(f), 1);
		virtq_unpop(&f->vq, 4);
		virtq_unpop(&f->vq, 1);
		assert_int_equal(in_flight(f), 1);
		virtq_push(&f->vq, 0, 1);
		assert_int_equal(pop(f), 1);
		assert_int_equal(f->chain.head, 1);
		assert_int_equal(f->chain.in_len, 1024);
		assert_int_equal(pop(f), 1);
		assert_int_equal(f->chain.head, 4);
		virtq_push(&f->vq, 4, 4);
		virtq_push(&f->vq, 1, 2);
		assert_used(f, 0, 1);
		assert_used(f, 4, 4);
		assert_used(f, 1, 2);
	}
}

static void a_chain_may_fill_the_ring(void **state)
{
	struct buffer all[8];
	struct fixture *f = *state;

	for (unsigned int i = 0; i < 8; i++)
		all[i] = in;
	start(f, 8);
	for (unsigned int round = 0; round < 3; round++) {
		put_chain(f, 0, all, 8);
		assert_int_equal(pop(f), 1);
		assert_int_equal(f->chain.in_count, 8);
		assert_int_equal(pop(f), 0);
		virtq_push(&f->vq, 0, 8);
		assert_used(f, 0, 8);
	}
}

/* ---- bad drivers --------------------------------------------------------- */

static void bad_buffers_break_the_queue(void **state)
{
	static const struct buffer bad[][2] = {
		{ { FIRST_END, 1, 0 }, { BUFFER, 1, 0 } },
		{ { FIRST_END - 1, 2, 0 }, { BUFFER, 1, 0 } },
		{ { BUFFER, 1, 0 }, { UINT64_MAX, 2, 0 } },
		{ { BUFFER, 1, 0 }, { 0, UINT32_MAX, WRITE } },
		{ { BUFFER, 1, WRITE }, { BUFFER, 1, 0 } },
	};
	struct fixture *f = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		start(f, 8);
		put_chain(f, 0, bad[i], 2);
		assert_broken(f);
		start(f, 8);
		put_table(f, 0, bad[i], 2);
		assert_broken(f);
	}
}

static void bad_tables_break_the_queue(void **state)
{
	static const struct buffer bad[] = {
		{ TABLE, 0, INDIRECT },
		{ TABLE, 15, INDIRECT },
		{ TABLE, 17, INDIRECT },
		{ FIRST_END, 16, INDIRECT },
		{ FIRST_END - 16, 32, INDIRECT },
		{ TABLE, 0xfffffff0, INDIRECT },
	};
	const struct buffer more[] = { { TABLE, 16, INDIRECT }, in };
	struct fixture *f = *state;

	memset(guest_map(&f->memory, TABLE, 16), 0, 16);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		start(f, 8);
		put_chain(f, 0, &bad[i], 1);
		assert_broken(f);
	}
	start(f, 8);
	put_chain(f, 0, more, 2);
	assert_broken(f);
	start_with(f, 8, EVENT_IDX);
	put_table(f, 0, &in, 1);
	assert_broken(f);
}

static void tables_count_against_the_queue(void **state)
{
	struct buffer many[9];
	struct fixture *f = *state;

	for (unsigned int i = 0; i < 9; i++)
		many[i] = in;
	start(f, 8);
	put_table(f, 0, many, 8);
	assert_int_equal(pop(f), 1);
	start(f, 8);
	put_table(f, 0, many, 9);
	assert_broken(f);
}

static void chains_above_capacity_break_the_queue(void **state)
{
	static struct buffer many[VIRTQ_MAX_CHAIN + 1];
	struct fixture *f = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = in;
	start(f, VIRTQ_MAX_SIZE);
	put_chain(f, 0, many, VIRTQ_MAX_CHAIN);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.in_count, VIRTQ_MAX_CHAIN);
	put_chain(f, 512, many, VIRTQ_MAX_CHAIN + 1);
	assert_broken(f);
}

static void an_id_twice_in_flight_breaks_the_queue(void **state)
{
	struct fixture *f = *state;

	start(f, 128);
	put_chain(f, 70, &in, 1);
	assert_int_equal(pop(f), 1);
	put_chain(f, 70, &in, 1);
	assert_broken(f);
	virtq_push(&f->vq, 70, 1);
	assert_used(f, 70, 1);
}

static void an_id_out_of_range_breaks_the_queue(void **state)
{
	struct fixture *f = *state;

	start(f, 8);
	if (f->packed)
		put_chain(f, 8, &in, 1);
	else
		offer(f, 8);
	assert_broken(f);
	start(f, 8);
	if (f->packed)
		put_chain(f, 0xffff, &in, 1);
	else
		offer(f, 0xffff);
	assert_broken(f);
}

static void areas_are_checked(void **state)
{
	static const struct {
		uint64_t desc, driver, device;
	} bad[] = {
		{ DESC + 8, AVAIL, USED },	  { DESC, AVAIL + 1, USED },
		{ DESC, AVAIL, USED + 2 },	  { FIRST_END, AVAIL, USED },
		{ FIRST_END - 112, AVAIL, USED }, { DESC, FIRST_END, USED },
		{ DESC, AVAIL, FIRST_END },	  { DESC, AVAIL, ~15ULL },
	};
	struct fixture *f = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		configure(f, 8);
		f->vq.desc_addr = bad[i].desc;
		f->vq.driver_addr = bad[i].driver;
		f->vq.device_addr = bad[i].device;
		assert_int_equal(virtq_start(&f->vq, f->packed ? PACKED : 0),
				 -EINVAL);
		assert_false(f->vq.running);
		assert_int_equal(pop(f), 0);
		virtq_disable_notify(&f->vq);
	}
	for (unsigned int size = 0; size < 0x10000; size += 0x401) {
		configure(f, (uint16_t)size);
		assert_int_equal(virtq_start(&f->vq, f->packed ? PACKED : 0),
				 -EINVAL);
	}
}

/* ---- packed alone -------------------------------------------------------- */

static void descriptors_of_another_lap_are_not_available(void **state)
{
	struct fixture *f = *state;

	start(f, 4);
	/* Zeroes, both bits, and what the other lap's look like. */
	f->ring[0].flags = htole16(1U << 7 | 1U << 15);
	assert_int_equal(pop(f), 0);
	f->ring[0].flags = htole16(1U << 15);
	assert_int_equal(pop(f), 0);
	assert_false(virtq_enable_notify(&f->vq));
	f->ring[0].flags = htole16(1U << 7);
	assert_true(virtq_enable_notify(&f->vq));
}

static void more_than_the_ring_holds_breaks_the_queue(void **state)
{
	const struct buffer two[] = { out, in };
	const struct buffer on = { BUFFER, 0, NEXT };
	struct fixture *f = *state;

	/* All slots are in flight, and the driver writes over the first. */
	start(f, 4);
	put_chain(f, 0, two, 2);
	put_chain(f, 1, two, 2);
	assert_int_equal(pop(f), 1);
	assert_int_equal(pop(f), 1);
	put_chain(f, 2, &in, 1);
	assert_broken(f);

	/* A chain that runs into one in flight, whose id has changed. */
	start(f, 4);
	put_chain(f, 0, &in, 1);
	assert_int_equal(pop(f), 1);
	for (unsigned int i = 1; i < 4; i++)
		put_chain(f, 1, &on, 1);
	f->ring[0].id = htole16(1);
	assert_broken(f);

	/* One that runs into itself. */
	start(f, 4);
	for (unsigned int i = 0; i < 4; i++)
		put_chain(f, 1, &on, 1);
	assert_broken(f);
}

static void flags_in_a_table_are_ignored(void **state)
{
	const struct buffer odd[] = { { BUFFER, 1, NEXT | INDIRECT },
				      { BUFFER, 2, WRITE | NEXT } };
	struct fixture *f = *state;

	start(f, 8);
	put_table(f, 0, odd, 2);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.out_len, 1);
	assert_int_equal(f->chain.in_len, 2);
}

static void a_table_within_a_chain_breaks_the_queue(void **state)
{
	const struct buffer chain[] = { out, { TABLE, 16, INDIRECT } };
	struct fixture *f = *state;

	memset(guest_map(&f->memory, TABLE, 16), 0, 16);
	start(f, 8);
	put_chain(f, 0, chain, 2);
	assert_broken(f);
}

static void no_bytes_written_means_no_write_flag(void **state)
{
	struct fixture *f = *state;

	start(f, 8);
	put_chain(f, 0, &in, 1);
	assert_int_equal(pop(f), 1);
	virtq_push(&f->vq, 0, 0);
	assert_int_equal(le16toh(f->ring[0].flags), 1U << 7 | 1U << 15);
}

/* ---- events -------------------------------------------------------------- */

static void cycle(struct fixture *f)
{
	uint16_t id;
	uint32_t len;

	put_chain(f, 0, &in, 1);
	assert_int_equal(pop(f), 1);
	virtq_push(&f->vq, 0, 1);
	assert_true(get_used(f, &id, &len));
}

/* An event for the slot @ahead used ones from now, at every place. */
static void an_event_is_signalled_once(void **state)
{
	struct fixture *f = *state;

	start(f, 4);
	for (unsigned int round = 0; round < 300; round++) {
		unsigned int ahead = round % 3;
		uint16_t at = f->used_idx;
		bool wrap = f->used_wrap;

		for (unsigned int i = 0; i < ahead; i++) {
			f->used_idx++;
			if (f->packed && f->used_idx == 4) {
				f->used_idx = 0;
				f->used_wrap = !f->used_wrap;
			}
		}
		want_event(f);
		f->used_idx = at;
		f->used_wrap = wrap;
		assert_false(virtq_should_signal(&f->vq));
		for (unsigned int i = 0; i < ahead; i++) {
			cycle(f);
			assert_false(virtq_should_signal(&f->vq));
		}
		cycle(f);
		assert_true(virtq_should_signal(&f->vq));
		cycle(f);
		assert_false(virtq_should_signal(&f->vq));
		/* In the middle of a batch, which may be the whole ring. */
		want_event(f);
		for (unsigned int i = 0; i <= ahead + 1; i++)
			cycle(f);
		assert_true(virtq_should_signal(&f->vq));
	}
}

static void packed_flags_decide_interrupts(void **state)
{
	struct fixture *f = *state;

	start_with(f, 4, 0);
	cycle(f);
	assert_true(virtq_should_signal(&f->vq));
	f->driver_event->flags = htole16(VRING_PACKED_EVENT_FLAG_DISABLE);
	cycle(f);
	assert_false(virtq_should_signal(&f->vq));
	/* One that was not negotiated is not obeyed, and nobody waits. */
	f->driver_event->flags = htole16(VRING_PACKED_EVENT_FLAG_DESC);
	f->driver_event->off_wrap = htole16(0x8003);
	cycle(f);
	assert_true(virtq_should_signal(&f->vq));
	/* Two bits of it count. */
	f->driver_event->flags =
		htole16(0xfffc | VRING_PACKED_EVENT_FLAG_DISABLE);
	cycle(f);
	assert_false(virtq_should_signal(&f->vq));
}

static void packed_flags_ask_for_notifications(void **state)
{
	struct fixture *f = *state;

	start_with(f, 4, 0);
	virtq_disable_notify(&f->vq);
	assert_int_equal(le16toh(f->device_event->flags),
			 VRING_PACKED_EVENT_FLAG_DISABLE);
	put_chain(f, 0, &in, 1);
	assert_true(virtq_enable_notify(&f->vq));
	assert_int_equal(f->device_event->flags, 0);
	assert_int_equal(pop(f), 1);
	assert_false(virtq_enable_notify(&f->vq));
}

/* Both sides sleep whenever they may; a lost wake-up leaves this hanging. */
static void no_wake_up_is_lost(void **state)
{
	struct fixture *f = *state;
	struct stress s = { f, eventfd(0, EFD_CLOEXEC),
			    eventfd(0, EFD_CLOEXEC) };
	unsigned int sent = 0, back = 0;
	pthread_t thread;

	start(f, 4);
	assert_int_equal(pthread_create(&thread, NULL, device_thread, &s), 0);
	while (back < STRESS_ROUNDS) {
		uint16_t id, old = f->avail_idx;
		bool old_wrap = f->avail_wrap;
		uint32_t len;

		for (unsigned int i = sent % 3 + 1; i; i--)
			if (sent < STRESS_ROUNDS)
				put_chain(f, (uint16_t)(sent++ % 4), &in, 1);
		if (must_notify(f, old, old_wrap))
			eventfd_write(s.kick_fd, 1);
		while (back < sent) {
			if (get_used(f, &id, &len)) {
				back++;
				continue;
			}
			want_event(f);
			if (get_used(f, &id, &len))
				back++;
			else
				wait_fd(s.irq_fd);
		}
	}
	pthread_join(thread, NULL);
	close(s.kick_fd);
	close(s.irq_fd);
}

#define LAYOUT(test, layout)                                             \
	{                                                                \
		.name = #test " (" #layout ")", .test_func = test,       \
		.setup_func = setup_##layout, .teardown_func = teardown, \
	}
#define PACKED_ONLY(test) LAYOUT(test, packed)
#define BOTH(test) LAYOUT(test, split), LAYOUT(test, packed)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(chains_come_in_order_with_all_buffers),
		BOTH(tables_are_followed),
		BOTH(rings_go_round),
		BOTH(chains_are_used_in_any_order),
		BOTH(what_is_filled_is_seen_when_it_is_shown),
		BOTH(chains_can_be_given_back),
		BOTH(a_chain_may_fill_the_ring),
		BOTH(bad_buffers_break_the_queue),
		BOTH(bad_tables_break_the_queue),
		BOTH(tables_count_against_the_queue),
		BOTH(chains_above_capacity_break_the_queue),
		BOTH(an_id_twice_in_flight_breaks_the_queue),
		BOTH(an_id_out_of_range_breaks_the_queue),
		BOTH(areas_are_checked),
		BOTH(an_event_is_signalled_once),
		BOTH(no_wake_up_is_lost),
		PACKED_ONLY(descriptors_of_another_lap_are_not_available),
		PACKED_ONLY(more_than_the_ring_holds_breaks_the_queue),
		PACKED_ONLY(flags_in_a_table_are_ignored),
		PACKED_ONLY(a_table_within_a_chain_breaks_the_queue),
		PACKED_ONLY(no_bytes_written_means_no_write_flag),
		PACKED_ONLY(packed_flags_decide_interrupts),
		PACKED_ONLY(packed_flags_ask_for_notifications),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
