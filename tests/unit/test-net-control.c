/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio/net-control.c, and what virtio/net.c makes of it: commands good and
 * bad, the filter, config space, the queues' places.
 */
#include "net.h"

#define COMMAND 0x0
#define ANSWER 0x8000

#define ALL_CTRL                                                           \
	(CTRL | BIT_ULL(VIRTIO_NET_F_CTRL_RX) |                            \
	 BIT_ULL(VIRTIO_NET_F_CTRL_RX_EXTRA) |                             \
	 BIT_ULL(VIRTIO_NET_F_CTRL_VLAN) |                                 \
	 BIT_ULL(VIRTIO_NET_F_CTRL_MAC_ADDR) |                             \
	 BIT_ULL(VIRTIO_NET_F_GUEST_ANNOUNCE) | BIT_ULL(VIRTIO_NET_F_MQ) | \
	 BIT_ULL(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) |                       \
	 BIT_ULL(VIRTIO_NET_F_GUEST_CSUM) | BIT_ULL(VIRTIO_NET_F_GUEST_TSO4))

static const uint8_t own[ETH_ALEN] = { 2, 0, 0, 0, 0, 1 };

/* ---- the parser alone ---------------------------------------------------- */

struct bytes {
	uint8_t data[4096];
	size_t len;
};

static void add(struct bytes *b, const void *data, size_t len)
{
	assert_true(b->len + len <= sizeof(b->data));
	memcpy(b->data + b->len, data, len);
	b->len += len;
}

static struct bytes command(uint8_t class, uint8_t cmd)
{
	struct bytes b = { .data = { class, cmd }, .len = 2 };

	return b;
}

static void add_macs(struct bytes *b, uint32_t said, unsigned int count,
		     uint8_t first)
{
	uint32_t entries = htole32(said);

	add(b, &entries, sizeof(entries));
	for (unsigned int i = 0; i < count; i++)
		add(b,
		    (const uint8_t[ETH_ALEN]) { first, 0, 0, 0, 1, (uint8_t)i },
		    ETH_ALEN);
}

static uint8_t run(struct net_control *control, const struct bytes *b)
{
	/* Exactly as long as it is: a sanitizer sees a byte too far. */
	uint8_t *copy = malloc(b->len);
	struct iovec iov = { copy, b->len };
	uint8_t ack;

	assert_non_null(copy);
	memcpy(copy, b->data, b->len);
	ack = net_control_command(control, &iov, 1);
	free(copy);
	return ack;
}

static uint8_t run_with(struct net_control *control, uint8_t class, uint8_t cmd,
			const void *data, size_t len)
{
	struct bytes b = command(class, cmd);

	add(&b, data, len);
	return run(control, &b);
}

static bool accepts(const struct net_control *control, const char *mac)
{
	uint8_t frame[NET_FILTER_BYTES] = { 0 };

	assert_int_equal(sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &frame[0],
				&frame[1], &frame[2], &frame[3], &frame[4],
				&frame[5]),
			 6);
	return net_filter_accepts(&control->filter, frame, sizeof(frame));
}

static bool accepts_vlan(const struct net_control *control, unsigned int tag)
{
	uint8_t frame[NET_FILTER_BYTES] = {
		2,
		0,
		0,
		0,
		0,
		1,
		[12] = 0x81,
		0,
		(uint8_t)(tag >> 8),
		(uint8_t)tag,
	};

	return net_filter_accepts(&control->filter, frame, sizeof(frame));
}

static void set_mode(struct net_control *control, uint8_t mode, uint8_t on)
{
	assert_int_equal(run_with(control, VIRTIO_NET_CTRL_RX, mode, &on, 1),
			 VIRTIO_NET_OK);
}

static void modes_decide_what_is_received(void **state)
{
	struct net_control c;

	(void)state;
	net_control_init(&c, ALL_CTRL, 2, own);
	/* A driver that sets no filter gets everything. */
	assert_true(accepts(&c, "06:00:00:00:00:01"));
	set_mode(&c, VIRTIO_NET_CTRL_RX_PROMISC, 0);
	assert_false(accepts(&c, "06:00:00:00:00:01"));
	assert_true(accepts(&c, "02:00:00:00:00:01"));
	assert_true(accepts(&c, "ff:ff:ff:ff:ff:ff"));
	assert_false(accepts(&c, "33:33:00:00:00:01"));
	set_mode(&c, VIRTIO_NET_CTRL_RX_ALLMULTI, 1);
	assert_true(accepts(&c, "33:33:00:00:00:01"));
	set_mode(&c, VIRTIO_NET_CTRL_RX_NOMULTI, 1);
	assert_false(accepts(&c, "33:33:00:00:00:01"));
	set_mode(&c, VIRTIO_NET_CTRL_RX_ALLUNI, 1);
	assert_true(accepts(&c, "06:00:00:00:00:01"));
	set_mode(&c, VIRTIO_NET_CTRL_RX_NOUNI, 1);
	assert_false(accepts(&c, "02:00:00:00:00:01"));
	set_mode(&c, VIRTIO_NET_CTRL_RX_NOBCAST, 1);
	assert_false(accepts(&c, "ff:ff:ff:ff:ff:ff"));
	set_mode(&c, VIRTIO_NET_CTRL_RX_PROMISC, 1);
	assert_true(accepts(&c, "ff:ff:ff:ff:ff:ff"));
	/* Too short to be a frame. */
	set_mode(&c, VIRTIO_NET_CTRL_RX_PROMISC, 0);
	assert_false(net_filter_accepts(&c.filter, own, sizeof(own)));
}

static void tables_of_addresses_are_kept_or_all_pass(void **state)
{
	struct net_control c;
	struct bytes b =
		command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET);

	(void)state;
	net_control_init(&c, ALL_CTRL, 2, own);
	set_mode(&c, VIRTIO_NET_CTRL_RX_PROMISC, 0);
	add_macs(&b, 2, 2, 0x06);
	add_macs(&b, 1, 1, 0x33);
	assert_int_equal(run(&c, &b), VIRTIO_NET_OK);
	assert_true(accepts(&c, "06:00:00:00:01:01"));
	assert_false(accepts(&c, "06:00:00:00:01:02"));
	assert_true(accepts(&c, "33:00:00:00:01:00"));
	assert_false(accepts(&c, "33:00:00:00:01:01"));
	/* As many as there is room for, exactly. */
	b = command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET);
	add_macs(&b, NET_MAX_MACS, NET_MAX_MACS, 0x06);
	add_macs(&b, NET_MAX_MACS + 1, NET_MAX_MACS + 1, 0x33);
	assert_int_equal(run(&c, &b), VIRTIO_NET_OK);
	assert_true(accepts(&c, "06:00:00:00:01:3f"));
	assert_false(accepts(&c, "06:00:00:00:01:40"));
	/* One more: all multicast passes. */
	assert_true(accepts(&c, "33:00:00:00:01:77"));
}

static void bad_tables_change_nothing(void **state)
{
	static const uint32_t said[] = { 3,	     64,	 65,
					 0x10000000, 0x2aaaaaab, 0x80000000,
					 0xffffffff };
	struct net_control c;

	(void)state;
	net_control_init(&c, ALL_CTRL, 2, own);
	for (unsigned int i = 0; i < ARRAY_SIZE(said); i++) {
		struct bytes b = command(VIRTIO_NET_CTRL_MAC,
					 VIRTIO_NET_CTRL_MAC_TABLE_SET);

		add_macs(&b, said[i], 2, 0x06);
		assert_int_equal(run(&c, &b), VIRTIO_NET_ERR);
		b = command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET);
		add_macs(&b, 2, 2, 0x06);
		assert_int_equal(run(&c, &b), VIRTIO_NET_ERR);
		add_macs(&b, said[i], 2, 0x33);
		assert_int_equal(run(&c, &b), VIRTIO_NET_ERR);
	}
	assert_int_equal(c.filter.unicast.count, 0);
	assert_int_equal(c.filter.multicast.count, 0);
}

static void vlans_are_filtered_once_negotiated(void **state)
{
	const uint16_t seven = htole16(7), last = htole16(4095),
		       none = htole16(4096);
	struct net_control c;

	(void)state;
	net_control_init(&c, ALL_CTRL & ~BIT_ULL(VIRTIO_NET_F_CTRL_VLAN), 2,
			 own);
	set_mode(&c, VIRTIO_NET_CTRL_RX_PROMISC, 0);
	assert_true(accepts_vlan(&c, 7));
	assert_int_equal(run_with(&c, VIRTIO_NET_CTRL_VLAN,
				  VIRTIO_NET_CTRL_VLAN_ADD, &seven, 2),
			 VIRTIO_NET_ERR);
	net_control_init(&c, ALL_CTRL, 2, own);
	set_mode(&c, VIRTIO_NET_CTRL_RX_PROMISC, 0);
	assert_false(accepts_vlan(&c, 7));
	assert_true(accepts(&c, "02:00:00:00:00:01"));
	assert_int_equal(run_with(&c, VIRTIO_NET_CTRL_VLAN,
				  VIRTIO_NET_CTRL_VLAN_ADD, &seven, 2),
			 VIRTIO_NET_OK);
	assert_int_equal(run_with(&c, VIRTIO_NET_CTRL_VLAN,
				  VIRTIO_NET_CTRL_VLAN_ADD, &last, 2),
			 VIRTIO_NET_OK);
	/* The tag's upper bits are its priority. */
	assert_true(accepts_vlan(&c, 0xe007));
	assert_true(accepts_vlan(&c, 0x0fff));
	assert_false(accepts_vlan(&c, 8));
	assert_int_equal(run_with(&c, VIRTIO_NET_CTRL_VLAN,
				  VIRTIO_NET_CTRL_VLAN_DEL, &seven, 2),
			 VIRTIO_NET_OK);
	assert_false(accepts_vlan(&c, 7));
	assert_int_equal(run_with(&c, VIRTIO_NET_CTRL_VLAN,
				  VIRTIO_NET_CTRL_VLAN_ADD, &none, 2),
			 VIRTIO_NET_ERR);
	assert_int_equal(run_with(&c, VIRTIO_NET_CTRL_VLAN, 2, &seven, 2),
			 VIRTIO_NET_ERR);
}

static void numbers_out_of_range_are_refused(void **state)
{
	const uint64_t more = htole64(BIT_ULL(VIRTIO_NET_F_GUEST_CSUM) |
				      BIT_ULL(VIRTIO_NET_F_GUEST_TSO6));
	const uint64_t less = htole64(BIT_ULL(VIRTIO_NET_F_GUEST_CSUM));
	struct net_control c;

	(void)state;
	net_control_init(&c, ALL_CTRL, 2, own);
	for (unsigned int pairs = 0; pairs < 5; pairs++) {
		uint16_t value = htole16((uint16_t)pairs);
		bool good = pairs == 1 || pairs == 2;

		assert_int_equal(run_with(&c, VIRTIO_NET_CTRL_MQ,
					  VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
					  &value, 2),
				 good ? VIRTIO_NET_OK : VIRTIO_NET_ERR);
	}
	assert_int_equal(c.pairs, 2);
	assert_int_equal(run_with(&c, VIRTIO_NET_CTRL_GUEST_OFFLOADS,
				  VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &more, 8),
			 VIRTIO_NET_ERR);
	assert_int_equal(run_with(&c, VIRTIO_NET_CTRL_GUEST_OFFLOADS,
				  VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &less, 8),
			 VIRTIO_NET_OK);
	assert_int_equal(c.offloads, BIT_ULL(VIRTIO_NET_F_GUEST_CSUM));
	/* A group's address is nobody's. */
	assert_int_equal(run_with(&c, VIRTIO_NET_CTRL_MAC,
				  VIRTIO_NET_CTRL_MAC_ADDR_SET, "\1\0\0\0\0\1",
				  ETH_ALEN),
			 VIRTIO_NET_ERR);
}

/* Each command that is good, cut short anywhere, and without its feature. */
static void commands_need_their_bytes_and_their_feature(void **state)
{
	static const struct {
		uint8_t class, cmd, len, data[16];
		unsigned int feature;
	} good[] = {
		{ VIRTIO_NET_CTRL_RX, 0, 1, { 1 }, VIRTIO_NET_F_CTRL_RX },
		{ VIRTIO_NET_CTRL_RX, 1, 1, { 1 }, VIRTIO_NET_F_CTRL_RX },
		{ VIRTIO_NET_CTRL_RX, 5, 1, { 1 }, VIRTIO_NET_F_CTRL_RX_EXTRA },
		{ VIRTIO_NET_CTRL_MAC, 0, 14, { 1 }, VIRTIO_NET_F_CTRL_RX },
		{ VIRTIO_NET_CTRL_MAC, 1, 6, { 2 }, VIRTIO_NET_F_CTRL_MAC_ADDR },
		{ VIRTIO_NET_CTRL_VLAN, 0, 2, { 1 }, VIRTIO_NET_F_CTRL_VLAN },
		{ VIRTIO_NET_CTRL_VLAN, 1, 2, { 1 }, VIRTIO_NET_F_CTRL_VLAN },
		{ VIRTIO_NET_CTRL_ANNOUNCE,
		  0,
		  0,
		  { 0 },
		  VIRTIO_NET_F_GUEST_ANNOUNCE },
		{ VIRTIO_NET_CTRL_MQ, 0, 2, { 1 }, VIRTIO_NET_F_MQ },
		{ VIRTIO_NET_CTRL_GUEST_OFFLOADS,
		  0,
		  8,
		  { 2 },
		  VIRTIO_NET_F_CTRL_GUEST_OFFLOADS },
	};
	struct net_control c;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(good); i++) {
		struct bytes b = command(good[i].class, good[i].cmd);

		net_control_init(&c, ALL_CTRL, 2, own);
		add(&b, good[i].data, good[i].len);
		assert_int_equal(run(&c, &b), VIRTIO_NET_OK);
		while (b.len--)
			if (b.len)
				assert_int_equal(run(&c, &b), VIRTIO_NET_ERR);
		b.len = 2 + good[i].len;
		net_control_init(&c, ALL_CTRL & ~BIT_ULL(good[i].feature), 2,
				 own);
		assert_int_equal(run(&c, &b), VIRTIO_NET_ERR);
	}
	/* No such class, or command. */
	net_control_init(&c, ALL_CTRL, 2, own);
	for (unsigned int class = 0; class < 256; class ++)
		assert_int_equal(run_with(&c, (uint8_t) class, 6,
					  "\1\0\0\0\0\0", 6),
				 VIRTIO_NET_ERR);
}

/* ---- the device ---------------------------------------------------------- */

/* Send a command by queue @queue; returns the answer. */
static uint8_t ask(struct fixture *f, unsigned int queue, const struct bytes *b)
{
	const struct piece pieces[] = {
		{ COMMAND, 1, 0 },
		{ COMMAND + 1, (uint32_t)b->len - 1, 0 },
		{ ANSWER, 1, WRITE },
	};

	memcpy(f->driver.ram + BUFFERS + COMMAND, b->data, b->len);
	f->driver.ram[BUFFERS + ANSWER] = 0x55;
	offer(f, queue, pieces, ARRAY_SIZE(pieces));
	kick(f, queue);
	assert_int_equal(next_used(f, queue).len, 1);
	return f->driver.ram[BUFFERS + ANSWER];
}

static uint8_t ask_pairs(struct fixture *f, uint16_t pairs)
{
	struct bytes b =
		command(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET);
	uint16_t value = htole16(pairs);

	add(&b, &value, sizeof(value));
	return ask(f, 4, &b);
}

static const struct virtio_net_config *config(struct fixture *f)
{
	return (const struct virtio_net_config *)f->driver.vdev->config;
}

static void the_backend_follows_pairs_and_offloads(void **state)
{
	struct bytes b = command(VIRTIO_NET_CTRL_GUEST_OFFLOADS,
				 VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET);
	struct fixture *f = *state;

	start(f, ALL_CTRL);
	assert_int_equal(atomic_load(&f->configured_pairs), 1);
	assert_true(atomic_load(&f->configured) &
		    BIT_ULL(VIRTIO_NET_F_GUEST_TSO4));
	assert_int_equal(ask_pairs(f, 2), VIRTIO_NET_OK);
	assert_int_equal(atomic_load(&f->configured_pairs), 2);
	add(&b, (const uint8_t[8]) { 0 }, 8);
	assert_int_equal(ask(f, 4, &b), VIRTIO_NET_OK);
	assert_int_equal(atomic_load(&f->configured_pairs), 2);
	assert_int_equal(atomic_load(&f->configured) & net_guest_offloads, 0);
	/* What it refuses, the driver is refused. */
	atomic_store(&f->configure_error, -EIO);
	assert_int_equal(ask_pairs(f, 1), VIRTIO_NET_ERR);
	assert_int_equal(net_of(f)->control.pairs, 2);
	atomic_store(&f->configure_error, 0);
	assert_int_equal(ask_pairs(f, 3), VIRTIO_NET_ERR);
	/* A reset forgets all that. */
	virtio_device_set_status(f->driver.vdev, 0);
	start(f, ALL_CTRL);
	assert_int_equal(atomic_load(&f->configured_pairs), 1);
	assert_true(atomic_load(&f->configured) &
		    BIT_ULL(VIRTIO_NET_F_GUEST_TSO4));
}

static void without_mq_the_control_queue_is_the_third(void **state)
{
	struct bytes b =
		command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC);
	struct fixture *f = *state;

	add(&b, "\0", 1);
	start(f, ALL_CTRL & ~BIT_ULL(VIRTIO_NET_F_MQ));
	assert_int_equal(ask(f, 2, &b), VIRTIO_NET_OK);
	assert_false(net_of(f)->pair[0].filter.promiscuous);
	assert_int_equal(config(f)->max_virtqueue_pairs, htole16(2));
	/* And without CTRL_VQ it is a queue like others that nobody serves. */
	virtio_device_set_status(f->driver.vdev, 0);
	start(f, 0);
	assert_null(net_of(f)->ctrl);
}

static void a_new_address_is_seen_until_reset(void **state)
{
	struct bytes b =
		command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET);
	struct fixture *f = *state;
	uint8_t first[ETH_ALEN];

	memcpy(first, config(f)->mac, ETH_ALEN);
	add(&b, own, sizeof(own));
	start(f, ALL_CTRL & ~BIT_ULL(VIRTIO_NET_F_MQ));
	assert_int_equal(ask(f, 2, &b), VIRTIO_NET_OK);
	settle(f);
	assert_memory_equal(config(f)->mac, own, ETH_ALEN);
	assert_int_equal(atomic_load(&f->driver.config_signals), 0);
	virtio_device_set_status(f->driver.vdev, 0);
	assert_memory_equal(config(f)->mac, first, ETH_ALEN);
}

static void the_link_and_the_announcement_are_told(void **state)
{
	struct bytes b =
		command(VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK);
	struct fixture *f = *state;
	struct net_backend *backend = &f->backend;

	start(f, ALL_CTRL & ~BIT_ULL(VIRTIO_NET_F_MQ));
	assert_int_equal(config(f)->status, htole16(VIRTIO_NET_S_LINK_UP));
	backend->frontend->link(backend->opaque, false);
	settle(f);
	assert_int_equal(config(f)->status, 0);
	assert_int_equal(atomic_load(&f->driver.config_signals), 1);
	backend->frontend->link(backend->opaque, true);
	settle(f);
	assert_int_equal(config(f)->status,
			 htole16(VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE));
	assert_int_equal(ask(f, 2, &b), VIRTIO_NET_OK);
	settle(f);
	assert_int_equal(config(f)->status, htole16(VIRTIO_NET_S_LINK_UP));
	/* After a pause, switches may have forgotten the guest. */
	virtio_net_type.quiesce(f->device);
	virtio_net_type.resume(f->device);
	settle(f);
	assert_int_equal(config(f)->status,
			 htole16(VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE));
}

static void a_command_without_room_for_an_answer_breaks_the_device(void **state)
{
	const struct piece piece = { COMMAND, 3, 0 };
	struct fixture *f = *state;

	start(f, ALL_CTRL & ~BIT_ULL(VIRTIO_NET_F_MQ));
	offer(f, 2, &piece, 1);
	kick(f, 2);
	await_broken(f);
	assert_int_equal(used_idx(f, 2), 0);
}

static void an_empty_command_is_answered(void **state)
{
	const struct piece piece = { ANSWER, 64, WRITE };
	struct fixture *f = *state;

	start(f, ALL_CTRL & ~BIT_ULL(VIRTIO_NET_F_MQ));
	offer(f, 2, &piece, 1);
	kick(f, 2);
	assert_int_equal(next_used(f, 2).len, 1);
	assert_int_equal(f->driver.ram[BUFFERS + ANSWER], VIRTIO_NET_ERR);
}

static void the_filter_works_on_frames(void **state)
{
	struct bytes b =
		command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC);
	const struct piece piece = { 0x10000, 2000, WRITE };
	uint8_t frame[HEADER + 60] = { 0 };
	struct fixture *f = *state;

	add(&b, "\0", 1);
	start(f, ALL_CTRL & ~BIT_ULL(VIRTIO_NET_F_MQ));
	assert_int_equal(ask(f, 2, &b), VIRTIO_NET_OK);
	offer(f, 0, &piece, 1);
	kick(f, 0);
	frame[HEADER] = 6; /* somebody else's */
	arrive(f, frame, sizeof(frame));
	memset(frame + HEADER, 0xff, ETH_ALEN);
	frame[HEADER + 20] = 0x77;
	arrive(f, frame, sizeof(frame));
	assert_int_equal(next_used(f, 0).len, sizeof(frame));
	assert_int_equal(f->driver.ram[BUFFERS + 0x10000 + HEADER + 20], 0x77);
	assert_int_equal(atomic_load(&net_of(f)->pair[0].received.frames), 1);
	/* It is nobody's loss. */
	assert_int_equal(atomic_load(&net_of(f)->pair[0].received.drops), 0);
}

static void an_address_is_made_up_or_the_backends(void **state)
{
	struct fixture *f = *state;

	assert_memory_equal(config(f)->mac, "\x02\x15\x15", 3);
	io_thread_call(f->main, destroy_on_main, f);
	memcpy(f->backend.mac, own, ETH_ALEN);
	create_with(f, 1);
	assert_memory_equal(config(f)->mac, own, ETH_ALEN);
}

#define TEST2(name) \
	cmocka_unit_test_setup_teardown(name, setup_two_pairs, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(modes_decide_what_is_received),
		cmocka_unit_test(tables_of_addresses_are_kept_or_all_pass),
		cmocka_unit_test(bad_tables_change_nothing),
		cmocka_unit_test(vlans_are_filtered_once_negotiated),
		cmocka_unit_test(numbers_out_of_range_are_refused),
		cmocka_unit_test(commands_need_their_bytes_and_their_feature),
		TEST2(the_backend_follows_pairs_and_offloads),
		TEST2(without_mq_the_control_queue_is_the_third),
		TEST(a_new_address_is_seen_until_reset),
		TEST(the_link_and_the_announcement_are_told),
		TEST(a_command_without_room_for_an_answer_breaks_the_device),
		TEST(an_empty_command_is_answered),
		TEST(the_filter_works_on_frames),
		TEST(an_address_is_made_up_or_the_backends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
