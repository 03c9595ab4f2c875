/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio/net-frames.c: frames in chains of all shapes, also those that no
 * honest driver makes.
 */
#include "net.h"

#define RX 0
#define TX 1

/* Header and frame of @len bytes in all, each byte its own. */
static uint8_t *pattern(size_t len)
{
	uint8_t *bytes = malloc(len);

	assert_non_null(bytes);
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 256);
	memset(bytes, 0, MIN(len, HEADER));
	return bytes;
}

/* ---- from the guest ------------------------------------------------------ */

/* Send @len bytes in pieces of @step, and see them at the backend. */
static void send_in_steps(struct fixture *f, size_t len, size_t step)
{
	uint8_t *bytes = pattern(len);
	struct piece piece[SIZE];
	unsigned int count = 0;
	struct frame frame;
	uint16_t head;

	for (size_t at = 0; at < len; at += step)
		/* Apart from each other, so that the order counts. */
		piece[count++] = (struct piece) { (uint32_t)(2 * at),
						  (uint32_t)MIN(step, len - at),
						  0 };
	for (size_t at = 0; at < len; at += step)
		memcpy(f->driver.ram + BUFFERS + 2 * at, bytes + at,
		       MIN(step, len - at));
	head = offer(f, TX, piece, count);
	kick(f, TX);
	frame = sent_frame(f);
	assert_int_equal(frame.len, len);
	assert_memory_equal(frame.bytes, bytes, len);
	free(frame.bytes);
	free(bytes);
	assert_int_equal(next_used(f, TX).id, head);
}

static void frames_are_sent_whatever_their_pieces(void **state)
{
	struct fixture *f = *state;

	start(f, 0);
	send_in_steps(f, HEADER + 14, HEADER + 14);
	send_in_steps(f, HEADER + 14, 1); /* the header in twelve pieces */
	send_in_steps(f, HEADER + 60, 5);
	send_in_steps(f, HEADER + 1514, 100);
	send_in_steps(f, HEADER + 1514, 2 * HEADER);
	send_in_steps(f, HEADER + NET_MAX_FRAME, 4096);
	assert_int_equal(atomic_load(&net_of(f)->pair[0].sent.frames), 6);
	assert_int_equal(atomic_load(&net_of(f)->pair[0].sent.bytes),
			 14 + 14 + 60 + 1514 + 1514 + NET_MAX_FRAME);
}

static void what_is_no_frame_is_dropped_and_returned(void **state)
{
	static const struct piece bad[][2] = {
		{ { 0, HEADER, 0 } },
		{ { 0, HEADER + 13, 0 } },
		{ { 0, 1, 0 } },
		{ { 0, 0, 0 } },
		{ { 0, 2000, WRITE } },
		{ { 0, HEADER + NET_MAX_FRAME, 0 }, { 0, 1, 0 } },
		{ { 0, 1 * MIB, 0 }, { 0, 1 * MIB, 0 } },
	};
	struct fixture *f = *state;

	start(f, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		uint16_t head = offer(f, TX, bad[i], bad[i][1].len ? 2 : 1);
		struct vring_used_elem used;

		kick(f, TX);
		used = next_used(f, TX);
		assert_int_equal(used.id, head);
		assert_int_equal(used.len, 0);
	}
	assert_int_equal(atomic_load(&net_of(f)->pair[0].sent.drops),
			 ARRAY_SIZE(bad));
	/* Life goes on. */
	send_in_steps(f, HEADER + 64, 16);
	assert_int_equal(f->from_guest.put, 1);
}

static void a_frame_that_the_backend_refuses_is_lost(void **state)
{
	const struct piece piece = { 0, 100, 0 };
	struct fixture *f = *state;

	start(f, 0);
	atomic_store(&f->send_error, -EIO);
	offer(f, TX, &piece, 1);
	kick(f, TX);
	next_used(f, TX);
	assert_int_equal(atomic_load(&net_of(f)->pair[0].sent.drops), 1);
	atomic_store(&f->send_error, 0);
	send_in_steps(f, HEADER + 64, 16);
}

static void frames_wait_for_a_busy_backend_in_order(void **state)
{
	struct fixture *f = *state;

	start(f, 0);
	atomic_store(&f->send_error, -EAGAIN);
	for (unsigned int i = 0; i < 5; i++) {
		const struct piece piece = { 0x1000 * i, 100 + i, 0 };

		offer(f, TX, &piece, 1);
		kick(f, TX);
	}
	settle(f);
	assert_int_equal(used_idx(f, TX), 0);
	/* Paused and gone on with, nothing is lost either. */
	virtio_net_type.quiesce(f->device);
	assert_int_equal(f->driver.vdev->queue[TX].last_avail, 0);
	virtio_net_type.resume(f->device);
	atomic_store(&f->send_error, 0);
	eventfd_write(f->source[0].fd, 1);
	for (unsigned int i = 0; i < 5; i++) {
		struct frame frame = sent_frame(f);

		assert_int_equal(frame.len, 100 + i);
		free(frame.bytes);
		next_used(f, TX);
	}
	assert_int_equal(atomic_load(&net_of(f)->pair[0].sent.drops), 0);
}

/* ---- to the guest -------------------------------------------------------- */

/* @count buffers of @len bytes, from BUFFERS + @at on, 8 KiB apart. */
static void offer_buffers(struct fixture *f, unsigned int count, uint32_t at,
			  uint32_t len)
{
	for (unsigned int i = 0; i < count; i++) {
		const struct piece piece = { at + 0x2000 * i, len, WRITE };

		offer(f, RX, &piece, 1);
	}
	kick(f, RX);
}

/* The next @buffers used ones hold @bytes, and say so. */
static void expect_frame(struct fixture *f, const uint8_t *bytes, size_t len,
			 unsigned int buffers)
{
	size_t at = 0;

	for (unsigned int i = 0; i < buffers; i++) {
		struct vring_used_elem used = next_used(f, RX);
		struct vring_desc *desc = &driver_desc(&f->driver, RX)[used.id];
		uint8_t *buffer = f->driver.ram + le64toh(desc->addr);

		if (!i) {
			/* All of them came at once. */
			assert_true((uint16_t)(used_idx(f, RX) -
					       f->driver.seen[RX]) >=
				    buffers - 1);
			assert_int_equal(buffer[10] | buffer[11] << 8, buffers);
			memcpy(buffer + 10, bytes + 10, 2);
		}
		assert_true(used.len <= le32toh(desc->len));
		assert_memory_equal(buffer, bytes + at, used.len);
		at += used.len;
	}
	assert_int_equal(at, len);
}

static void a_frame_is_spread_over_merged_buffers(void **state)
{
	uint8_t *bytes = pattern(HEADER + 1000);
	struct fixture *f = *state;

	start(f, MRG);
	offer_buffers(f, 40, 0, 64);
	arrive(f, bytes, HEADER + 1000);
	expect_frame(f, bytes, HEADER + 1000, 16);
	arrive(f, bytes, HEADER + 52);
	expect_frame(f, bytes, HEADER + 52, 1);
	arrive(f, bytes, HEADER + 53);
	expect_frame(f, bytes, HEADER + 53, 2);
	assert_int_equal(atomic_load(&net_of(f)->pair[0].received.frames), 3);
	free(bytes);
}

static void a_buffer_may_be_a_chain_and_begin_anywhere(void **state)
{
	static const struct piece pieces[] = {
		{ 0x0000, 3, WRITE },	{ 0x0003, 9, WRITE },
		{ 0x000c, 1, WRITE },	{ 0x000d, 499, WRITE },
		{ 0x0200, 512, WRITE }, { 0x0400, 1024, WRITE },
	};
	uint8_t *bytes = pattern(HEADER + 1514);
	struct fixture *f = *state;

	start(f, 0);
	offer(f, RX, pieces, ARRAY_SIZE(pieces));
	kick(f, RX);
	arrive(f, bytes, HEADER + 1514);
	assert_int_equal(next_used(f, RX).len, HEADER + 1514);
	/* 5.1.6.4.1: one buffer, told also when they are not merged. */
	assert_int_equal(f->driver.ram[BUFFERS + 10], 1);
	assert_memory_equal(f->driver.ram + BUFFERS + HEADER, bytes + HEADER,
			    1514);
	free(bytes);
}

static void a_frame_longer_than_the_buffer_is_lost(void **state)
{
	uint8_t *bytes = pattern(HEADER + NET_MAX_FRAME);
	struct fixture *f = *state;

	start(f, 0);
	offer_buffers(f, 3, 0, HEADER + 100);
	arrive(f, bytes, HEADER + 101);
	arrive(f, bytes, HEADER + NET_MAX_FRAME);
	arrive(f, bytes, HEADER + 100);
	expect_frame(f, bytes, HEADER + 100, 1);
	assert_int_equal(atomic_load(&net_of(f)->pair[0].received.drops), 2);
	free(bytes);
}

static void frames_wait_for_buffers(void **state)
{
	uint8_t *bytes = pattern(HEADER + 5000);
	struct fixture *f = *state;

	start(f, MRG);
	arrive(f, bytes, HEADER + 200);
	settle(f);
	/* Not even read. */
	assert_int_equal(f->to_guest.taken, 0);
	offer_buffers(f, 1, 0, 1000);
	expect_frame(f, bytes, HEADER + 200, 1);
	/* Half of one fits; the rest follows when there is room. */
	offer_buffers(f, 2, 0x4000, 1000);
	arrive(f, bytes, HEADER + 5000);
	settle(f);
	assert_int_equal(used_idx(f, RX), 1);
	offer_buffers(f, 2, 0x8000, 1000);
	settle(f);
	assert_int_equal(used_idx(f, RX), 1);
	offer_buffers(f, 3, 0xc000, 1000);
	expect_frame(f, bytes, HEADER + 5000, 6);
	assert_int_equal(atomic_load(&net_of(f)->pair[0].received.drops), 0);
	free(bytes);
}

static void buffers_without_frames_go_back_to_the_ring(void **state)
{
	uint8_t *bytes = pattern(HEADER + 5000);
	struct fixture *f = *state;

	start(f, MRG);
	offer_buffers(f, 3, 0, 1000);
	arrive(f, bytes, HEADER + 100);
	expect_frame(f, bytes, HEADER + 100, 1);
	/* This one is too long for what is there, and is given up. */
	arrive(f, bytes, HEADER + 5000);
	settle(f);
	virtio_net_type.quiesce(f->device);
	assert_int_equal(f->driver.vdev->queue[RX].last_avail, 1);
	virtio_net_type.resume(f->device);
	assert_int_equal(atomic_load(&net_of(f)->pair[0].received.drops), 1);
	arrive(f, bytes, HEADER + 1500);
	expect_frame(f, bytes, HEADER + 1500, 2);

	/* And a driver that starts over finds the device as new. */
	virtio_device_set_status(f->driver.vdev, 0);
	start(f, 0);
	offer_buffers(f, 1, 0, 2000);
	arrive(f, bytes, HEADER + 1500);
	expect_frame(f, bytes, HEADER + 1500, 1);
	free(bytes);
}

static void a_buffer_shorter_than_a_header_breaks_the_device(void **state)
{
	const struct piece short_one = { 0, HEADER - 1, WRITE };
	const struct piece readable = { 0, 2000, 0 };
	uint8_t *bytes = pattern(HEADER + 100);
	struct fixture *f = *state;

	for (unsigned int i = 0; i < 4; i++) {
		start(f, i & 2 ? MRG : 0);
		offer(f, RX, i & 1 ? &short_one : &readable, 1);
		kick(f, RX);
		arrive(f, bytes, HEADER + 100);
		await_broken(f);
		assert_int_equal(used_idx(f, RX), 0);
		virtio_device_set_status(f->driver.vdev, 0);
	}
	free(bytes);
}

static void tiny_buffers_hold_what_they_can(void **state)
{
	uint8_t *bytes = pattern(HEADER + NET_MAX_FRAME);
	struct fixture *f = *state;

	start(f, MRG);
	/* 64 of 12 bytes; what needs more of them never comes. */
	offer_buffers(f, SIZE, 0, HEADER);
	arrive(f, bytes, SIZE * HEADER);
	expect_frame(f, bytes, SIZE * HEADER, SIZE);
	free(bytes);
}

static uint16_t shown_status(struct fixture *f)
{
	__virtio16 status;

	virtio_device_read_config(f->driver.vdev,
				  offsetof(struct virtio_net_config, status),
				  &status, sizeof(status));
	return le16toh(status);
}

/* Both ways; and neither the backend's link nor a pause plugs it in again. */
static void a_pulled_cable_carries_nothing(void **state)
{
	uint8_t *bytes = pattern(HEADER + 100);
	const struct piece piece = { 0, HEADER + 100, 0 };
	struct fixture *f = *state;
	struct net *net = net_of(f);

	start(f, MRG);
	assert_int_equal(shown_status(f), VIRTIO_NET_S_LINK_UP);
	virtio_net_set_link(f->device, false);
	settle(f);
	assert_int_equal(shown_status(f), 0);
	f->backend.frontend->link(f->backend.opaque, true);
	virtio_net_type.quiesce(f->device);
	virtio_net_type.resume(f->device);
	settle(f);
	assert_int_equal(shown_status(f) & VIRTIO_NET_S_LINK_UP, 0);
	offer(f, TX, &piece, 1);
	kick(f, TX);
	next_used(f, TX);
	assert_int_equal(f->from_guest.put, 0);
	assert_int_equal(atomic_load(&net->pair[0].sent.drops), 1);
	offer_buffers(f, 1, 0x4000, 1000);
	arrive(f, bytes, HEADER + 100);
	settle(f);
	assert_int_equal(used_idx(f, RX), 0);
	assert_int_equal(atomic_load(&net->pair[0].received.drops), 1);
	virtio_net_set_link(f->device, true);
	settle(f);
	assert_int_equal(shown_status(f) & VIRTIO_NET_S_LINK_UP,
			 VIRTIO_NET_S_LINK_UP);
	arrive(f, bytes, HEADER + 100);
	expect_frame(f, bytes, HEADER + 100, 1);
	/* Nor does the user's plug help where the backend has no link. */
	f->backend.frontend->link(f->backend.opaque, false);
	virtio_net_set_link(f->device, true);
	settle(f);
	assert_int_equal(shown_status(f) & VIRTIO_NET_S_LINK_UP, 0);
	free(bytes);
}

static void short_frames_and_errors_are_counted(void **state)
{
	uint8_t *bytes = pattern(HEADER + 100);
	struct fixture *f = *state;
	unsigned int calls;

	start(f, MRG);
	offer_buffers(f, 4, 0, 2000);
	arrive(f, bytes, HEADER + 13);
	arrive(f, bytes, 5);
	arrive(f, bytes, HEADER + 14);
	expect_frame(f, bytes, HEADER + 14, 1);
	assert_int_equal(atomic_load(&net_of(f)->pair[0].received.drops), 2);
	/* An error that stays is not asked for again and again. */
	settle(f);
	atomic_store(&f->receive_error, -EBADFD);
	calls = atomic_load(&f->receives);
	eventfd_write(f->source[0].fd, 1);
	settle(f);
	assert_int_equal(atomic_load(&f->receives), calls + 1);
	atomic_store(&f->receive_error, 0);
	arrive(f, bytes, HEADER + 100);
	expect_frame(f, bytes, HEADER + 100, 1);
	free(bytes);
}

static void flags_are_for_drivers_that_know_them(void **state)
{
	uint8_t *bytes = pattern(HEADER + 100);
	struct fixture *f = *state;

	bytes[0] = VIRTIO_NET_HDR_F_DATA_VALID;
	start(f, 0);
	offer_buffers(f, 1, 0, 2000);
	arrive(f, bytes, HEADER + 100);
	next_used(f, RX);
	assert_int_equal(f->driver.ram[BUFFERS], 0);
	virtio_device_set_status(f->driver.vdev, 0);
	start(f, BIT_ULL(VIRTIO_NET_F_GUEST_CSUM));
	offer_buffers(f, 1, 0, 2000);
	arrive(f, bytes, HEADER + 100);
	next_used(f, RX);
	assert_int_equal(f->driver.ram[BUFFERS], VIRTIO_NET_HDR_F_DATA_VALID);
	free(bytes);
}

static void many_frames_come_in_order(void **state)
{
	uint8_t *bytes = pattern(HEADER + 3000);
	struct fixture *f = *state;

	start(f, MRG);
	for (unsigned int round = 0; round < 200; round++) {
		size_t len = HEADER + 14 + round * 13;
		unsigned int buffers = (unsigned int)((len + 511) / 512);

		offer_buffers(f, buffers, 0x2000 * (round % 8), 512);
		bytes[HEADER] = (uint8_t)(2 * round);
		arrive(f, bytes, len);
		expect_frame(f, bytes, len, buffers);
	}
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(frames_are_sent_whatever_their_pieces),
		TEST(what_is_no_frame_is_dropped_and_returned),
		TEST(a_frame_that_the_backend_refuses_is_lost),
		TEST(frames_wait_for_a_busy_backend_in_order),
		TEST(a_pulled_cable_carries_nothing),
		TEST(a_frame_is_spread_over_merged_buffers),
		TEST(a_buffer_may_be_a_chain_and_begin_anywhere),
		TEST(a_frame_longer_than_the_buffer_is_lost),
		TEST(frames_wait_for_buffers),
		TEST(buffers_without_frames_go_back_to_the_ring),
		TEST(a_buffer_shorter_than_a_header_breaks_the_device),
		TEST(tiny_buffers_hold_what_they_can),
		TEST(short_frames_and_errors_are_counted),
		TEST(flags_are_for_drivers_that_know_them),
		TEST(many_frames_come_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
