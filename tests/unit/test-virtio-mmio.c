/* SPDX-License-Identifier: GPL-2.0 */
/* virtio/mmio.c: places, registers, the interrupt's level, reset. */
#include <linux/virtio_mmio.h>

#include "virtio-fake.h"

#define BASE 0xf0000000ULL
#define PLACES 2
#define GSI 17 /* of both */

/* ---- the machine --------------------------------------------------------- */

static int setup_machine(void **state)
{
	struct setup *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	log_set_level(LOG_LEVEL_ERROR);
	memset(&seen, 0, sizeof(seen));
	memset(line_level, 0, sizeof(line_level));
	memory_init(&s->machine.memory, -1);
	assert_int_equal(memory_add_ram(&s->machine.memory, 0, 0x10000), 0);
	bus_init(&s->machine.mmio);
	assert_int_equal(irq_init(&s->machine.irq, FAKE_VM_FD), 0);
	for (unsigned int i = 0; i < PLACES; i++) {
		const struct resource place = {
			.kind = RESOURCE_VIRTIO_PLACE,
			.index = i,
			.base = BASE + i * VIRTIO_MMIO_BYTES,
			.len = VIRTIO_MMIO_BYTES,
			.gsi = GSI,
		};

		assert_int_equal(machine_add_resource(&s->machine, &place), 0);
	}
	s->machine.virtio_transport = &virtio_mmio_transport;
	for (unsigned int i = 0; i < QUEUES; i++)
		s->fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	*state = s;
	return 0;
}

static int setup(void **state)
{
	setup_machine(state);
	plug(*state, QUEUES, CONFIG_BYTES);
	return 0;
}

static void unplug(struct setup *s)
{
	if (!s->plugged)
		return;
	virtio_device_set_status(&s->vdev, 0);
	virtio_device_release(&s->vdev);
	s->plugged = false;
}

static int teardown(void **state)
{
	struct setup *s = *state;

	unplug(s);
	/* Nothing stays behind in KVM. */
	assert_int_equal(seen.ioeventfds, 0);
	assert_false(line_level[GSI]);
	for (unsigned int i = 0; i < QUEUES; i++)
		close(s->fd[i]);
	irq_release(&s->machine.irq);
	bus_release(&s->machine.mmio);
	memory_release(&s->machine.memory);
	free(s);
	return 0;
}

#define GET(s, reg) ((uint32_t)get(s, BASE + VIRTIO_MMIO_##reg, 4))
#define PUT(s, reg, value) put(s, BASE + VIRTIO_MMIO_##reg, value, 4)

static void negotiate(struct setup *s)
{
	PUT(s, STATUS, 0);
	PUT(s, STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	PUT(s, DRIVER_FEATURES_SEL, 1);
	PUT(s, DRIVER_FEATURES, 1); /* VERSION_1 */
	PUT(s, STATUS, DRIVER_STATUS);
	assert_int_equal(GET(s, STATUS), DRIVER_STATUS);
}

static void start(struct setup *s)
{
	negotiate(s);
	for (unsigned int i = 0; i < QUEUES; i++) {
		uint32_t ring = RING + i * 0x4000;

		PUT(s, QUEUE_SEL, i);
		PUT(s, QUEUE_NUM, QUEUE_SIZE);
		PUT(s, QUEUE_DESC_LOW, ring);
		PUT(s, QUEUE_DESC_HIGH, 0);
		PUT(s, QUEUE_AVAIL_LOW, ring + 0x1000);
		PUT(s, QUEUE_AVAIL_HIGH, 0);
		PUT(s, QUEUE_USED_LOW, ring + 0x2000);
		PUT(s, QUEUE_USED_HIGH, 0);
		PUT(s, QUEUE_READY, 1);
	}
	PUT(s, STATUS, DRIVER_STATUS | VIRTIO_CONFIG_S_DRIVER_OK);
	assert_int_equal(s->activations, s->deactivations + 1);
}

/* ---- places -------------------------------------------------------------- */

static void a_device_takes_a_place_and_leaves_it(void **state)
{
	struct setup *s = *state;
	const struct resource *place = s->machine.resource;

	assert_int_equal(place[0].kind, RESOURCE_VIRTIO_MMIO);
	assert_int_equal(place[1].kind, RESOURCE_VIRTIO_PLACE);
	unplug(s);
	assert_int_equal(place[0].kind, RESOURCE_VIRTIO_PLACE);
	assert_int_equal((uint32_t)get(s, BASE, 4), UINT32_MAX);
}

static void without_a_place_it_is_an_error(void **state)
{
	struct setup *s = *state;

	s->machine.nr_resources = 0;
	virtio_device_init(&s->vdev, &s->machine, &fake_type, &fake_ops, 0,
			   QUEUES, QUEUE_SIZE);
	log_set_level(LOG_LEVEL_ERROR);
	assert_int_equal(virtio_device_plug(&s->vdev), -ENOSPC);
	assert_null(s->vdev.transport_ops);
	virtio_device_release(&s->vdev);
}

/* ---- registers ----------------------------------------------------------- */

static void identity_is_of_version_2(void **state)
{
	struct setup *s = *state;

	assert_int_equal(GET(s, MAGIC_VALUE), 0x74726976);
	assert_int_equal(GET(s, VERSION), 2);
	assert_int_equal(GET(s, DEVICE_ID), VIRTIO_ID_RNG);
	assert_int_equal(GET(s, VENDOR_ID), 0x4d564b4c);
}

static void features_are_read_and_written_in_halves(void **state)
{
	struct setup *s = *state;
	uint64_t offered;

	PUT(s, DEVICE_FEATURES_SEL, 1);
	offered = (uint64_t)GET(s, DEVICE_FEATURES) << 32;
	PUT(s, DEVICE_FEATURES_SEL, 0);
	offered |= GET(s, DEVICE_FEATURES);
	assert_int_equal(offered, s->vdev.offered);
	PUT(s, DEVICE_FEATURES_SEL, 2);
	assert_int_equal(GET(s, DEVICE_FEATURES), 0);
	for (uint32_t i = 0; i < 3; i++) {
		PUT(s, DRIVER_FEATURES_SEL, i);
		PUT(s, DRIVER_FEATURES, 0x10 + i);
	}
	assert_int_equal(s->vdev.driver_features, 0x1100000010);
}

static void registers_answer_to_whole_accesses_only(void **state)
{
	static const unsigned int lens[] = { 1, 2, 8 };
	struct setup *s = *state;

	PUT(s, STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	for (unsigned int i = 0; i < ARRAY_SIZE(lens); i++)
		for (unsigned int at = 0; at + lens[i] <= VIRTIO_MMIO_CONFIG;
		     at++) {
			assert_int_equal(get(s, BASE + at, lens[i]), 0);
			put(s, BASE + at, 0, lens[i]);
		}
	for (unsigned int at = 0; at < VIRTIO_MMIO_CONFIG; at++)
		if (at % 4)
			put(s, BASE + at, 0, 4);
	assert_int_equal(GET(s, STATUS), VIRTIO_CONFIG_S_ACKNOWLEDGE);
	assert_int_equal(get(s, BASE + 1, 4), 0);
	/* Nor do bits above the status make a reset of it. */
	PUT(s, STATUS, 0x100);
	assert_int_equal(GET(s, STATUS), VIRTIO_CONFIG_S_ACKNOWLEDGE);
}

static void write_only_registers_read_as_zero(void **state)
{
	static const unsigned int offsets[] = {
		VIRTIO_MMIO_DEVICE_FEATURES_SEL, VIRTIO_MMIO_DRIVER_FEATURES,
		VIRTIO_MMIO_DRIVER_FEATURES_SEL, VIRTIO_MMIO_QUEUE_SEL,
		VIRTIO_MMIO_QUEUE_NUM,		 VIRTIO_MMIO_QUEUE_NOTIFY,
		VIRTIO_MMIO_QUEUE_DESC_LOW,	 VIRTIO_MMIO_QUEUE_USED_HIGH,
	};
	struct setup *s = *state;

	PUT(s, QUEUE_SEL, 1);
	PUT(s, DRIVER_FEATURES_SEL, 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(offsets); i++)
		assert_int_equal(get(s, BASE + offsets[i], 4), 0);
}

static void queue_registers_are_of_the_selected_queue(void **state)
{
	struct setup *s = *state;

	PUT(s, QUEUE_SEL, 1);
	assert_int_equal(GET(s, QUEUE_NUM_MAX), QUEUE_SIZE);
	PUT(s, QUEUE_NUM, 16);
	PUT(s, QUEUE_DESC_HIGH, 0x11223344);
	PUT(s, QUEUE_DESC_LOW, 0x55667788);
	PUT(s, QUEUE_AVAIL_LOW, 0x55667789);
	PUT(s, QUEUE_AVAIL_HIGH, 0x11223345);
	PUT(s, QUEUE_USED_LOW, 0x5566778a);
	PUT(s, QUEUE_USED_HIGH, 0x11223346);
	PUT(s, QUEUE_READY, 1);
	assert_int_equal(s->vdev.queue[1].size, 16);
	assert_int_equal(s->vdev.queue[1].desc_addr, 0x1122334455667788);
	assert_int_equal(s->vdev.queue[1].driver_addr, 0x1122334555667789);
	assert_int_equal(s->vdev.queue[1].device_addr, 0x112233465566778a);
	assert_int_equal(GET(s, QUEUE_READY), 1);
	PUT(s, QUEUE_SEL, 0);
	assert_int_equal(GET(s, QUEUE_READY), 0);
	assert_int_equal(s->vdev.queue[0].desc_addr, 0);
	/* 4.2.2.2: so a driver takes a queue back before DRIVER_OK. */
	PUT(s, QUEUE_SEL, 1);
	PUT(s, QUEUE_READY, 0);
	assert_int_equal(GET(s, QUEUE_READY), 0);
	/* Not the size that the low 16 bits would be. */
	PUT(s, QUEUE_NUM, 0x10010);
	assert_int_equal(s->vdev.queue[1].size, 0);
}

static void queues_that_do_not_exist_are_not_available(void **state)
{
	static const uint32_t absent[] = { QUEUES, VIRTIO_MAX_QUEUES, 0x10000,
					   UINT32_MAX };
	struct setup *s = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(absent); i++) {
		PUT(s, QUEUE_SEL, absent[i]);
		for (uint64_t at = VIRTIO_MMIO_QUEUE_NUM;
		     at <= VIRTIO_MMIO_QUEUE_USED_HIGH; at += 4)
			if (at != VIRTIO_MMIO_STATUS)
				put(s, BASE + at, UINT32_MAX, 4);
		assert_int_equal(GET(s, QUEUE_NUM_MAX), 0);
		assert_int_equal(GET(s, QUEUE_READY), 0);
	}
	for (unsigned int i = 0; i < QUEUES; i++)
		assert_int_equal(s->vdev.queue[i].desc_addr, 0);
}

static void there_is_no_shared_memory(void **state)
{
	struct setup *s = *state;

	PUT(s, SHM_SEL, 0);
	for (uint64_t at = VIRTIO_MMIO_SHM_LEN_LOW;
	     at <= VIRTIO_MMIO_SHM_BASE_HIGH; at += 4)
		assert_int_equal(get(s, BASE + at, 4), UINT32_MAX);
}

static void device_config_is_bounded(void **state)
{
	struct setup *s = *state;
	uint64_t config = BASE + VIRTIO_MMIO_CONFIG;

	assert_int_equal(get(s, config, 8), 0x1716151413121110);
	assert_int_equal(get(s, config + 3, 1), 0x13);
	assert_int_equal(get(s, config + 8, 2), 0x1918);
	assert_int_equal(get(s, config + 8, 4), 0);
	assert_int_equal(get(s, BASE + VIRTIO_MMIO_BYTES - 8, 8), 0);
	put(s, config + 2, 0xa1b2c3d4, 4);
	assert_memory_equal(s->written + 2, "\xd4\xc3\xb2\xa1", 4);
	put(s, config + 9, 0xffff, 2);
	assert_int_equal(s->written[9], 0);
	virtio_device_config_changed(&s->vdev);
	assert_int_equal(GET(s, CONFIG_GENERATION), 1);
}

static void a_running_queue_is_frozen(void **state)
{
	struct setup *s = *state;

	start(s);
	PUT(s, QUEUE_SEL, 0);
	PUT(s, QUEUE_DESC_LOW, 0x7000);
	PUT(s, QUEUE_NUM, 4);
	PUT(s, QUEUE_READY, 0);
	assert_int_equal(s->vdev.queue[0].desc_addr, RING);
	assert_int_equal(s->vdev.queue[0].size, QUEUE_SIZE);
	assert_int_equal(GET(s, QUEUE_READY), 1);
}

/* ---- interrupts ---------------------------------------------------------- */

static void the_line_is_high_until_all_is_acknowledged(void **state)
{
	struct setup *s = *state;

	start(s);
	signal_queue(s, 0);
	assert_true(line_level[GSI]);
	signal_queue(s, 1);
	signal_config(s);
	assert_int_equal(GET(s, INTERRUPT_STATUS), 3);
	PUT(s, INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	assert_int_equal(GET(s, INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	assert_true(line_level[GSI]);
	PUT(s, INTERRUPT_ACK, UINT32_MAX);
	assert_false(line_level[GSI]);
	assert_int_equal(GET(s, INTERRUPT_STATUS), 0);
}

static void devices_share_a_line(void **state)
{
	struct setup *s = *state;
	struct virtio_device other = { .device = { .name = "fake1" } };
	uint64_t second = BASE + VIRTIO_MMIO_BYTES;

	virtio_device_init(&other, &s->machine, &fake_type, &fake_ops, 0, 1,
			   QUEUE_SIZE);
	assert_int_equal(virtio_device_plug(&other), 0);
	signal_queue(s, 0);
	other.transport_ops->signal_queue(other.transport, &other.queue[0]);
	PUT(s, INTERRUPT_ACK, 1);
	assert_true(line_level[GSI]);
	assert_int_equal(GET(s, INTERRUPT_STATUS), 0);
	put(s, second + VIRTIO_MMIO_INTERRUPT_ACK, 1, 4);
	assert_false(line_level[GSI]);
	/* A device that goes leaves the line to the others. */
	other.transport_ops->signal_queue(other.transport, &other.queue[0]);
	virtio_device_release(&other);
	assert_false(line_level[GSI]);
}

/* ---- notifications ------------------------------------------------------- */

static void notifications_reach_the_queue_that_is_written(void **state)
{
	struct setup *s = *state;

	PUT(s, QUEUE_NOTIFY, 0);
	assert_int_equal(s->notified[0], 0);
	start(s);
	PUT(s, QUEUE_NOTIFY, 1);
	PUT(s, QUEUE_NOTIFY, QUEUES);
	PUT(s, QUEUE_NOTIFY, 0x10001);
	PUT(s, QUEUE_NOTIFY, UINT32_MAX);
	assert_int_equal(s->notified[0], 0);
	assert_int_equal(s->notified[1], 1);
}

static void ioeventfds_match_the_queue(void **state)
{
	struct setup *s = *state;

	s->with_fds = true;
	start(s);
	assert_int_equal(seen.ioeventfds, QUEUES);
	for (unsigned int i = 0; i < QUEUES; i++) {
		assert_int_equal(seen.ioeventfd[i].addr,
				 BASE + VIRTIO_MMIO_QUEUE_NOTIFY);
		assert_int_equal(seen.ioeventfd[i].len, 4);
		assert_int_equal(seen.ioeventfd[i].datamatch, i);
		assert_int_equal(seen.ioeventfd[i].fd, s->fd[i]);
		assert_true(seen.ioeventfd[i].flags &
			    KVM_IOEVENTFD_FLAG_DATAMATCH);
	}
	PUT(s, STATUS, 0);
	assert_int_equal(seen.ioeventfds, 0);
}

/* ---- reset --------------------------------------------------------------- */

static void assert_as_new(struct setup *s)
{
	assert_int_equal(s->activations, s->deactivations);
	assert_int_equal(GET(s, STATUS), 0);
	assert_int_equal(GET(s, INTERRUPT_STATUS), 0);
	assert_int_equal(GET(s, QUEUE_READY), 0);
	assert_false(line_level[GSI]);
	/* The selections are those of queue 0 and the low features. */
	assert_int_equal(GET(s, DEVICE_FEATURES), (uint32_t)s->vdev.offered);
	PUT(s, QUEUE_NUM, 8);
	assert_int_equal(s->vdev.queue[0].size, 8);
}

static void status_zero_resets_all_registers(void **state)
{
	struct setup *s = *state;

	start(s);
	signal_config(s);
	PUT(s, DEVICE_FEATURES_SEL, 1);
	PUT(s, STATUS, 0);
	assert_as_new(s);
}

static void machine_reset_is_power_on(void **state)
{
	struct setup *s = *state;

	s->with_fds = true;
	start(s);
	signal_config(s);
	PUT(s, DEVICE_FEATURES_SEL, 1);
	virtio_device_machine_reset(&s->vdev.device);
	assert_int_equal(seen.ioeventfds, 0);
	assert_as_new(s);
	start(s);
	assert_int_equal(seen.ioeventfds, QUEUES);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_device_takes_a_place_and_leaves_it),
		cmocka_unit_test_setup_teardown(without_a_place_it_is_an_error,
						setup_machine, teardown),
		TEST(identity_is_of_version_2),
		TEST(features_are_read_and_written_in_halves),
		TEST(registers_answer_to_whole_accesses_only),
		TEST(write_only_registers_read_as_zero),
		TEST(queue_registers_are_of_the_selected_queue),
		TEST(queues_that_do_not_exist_are_not_available),
		TEST(there_is_no_shared_memory),
		TEST(device_config_is_bounded),
		TEST(a_running_queue_is_frozen),
		TEST(the_line_is_high_until_all_is_acknowledged),
		TEST(devices_share_a_line),
		TEST(notifications_reach_the_queue_that_is_written),
		TEST(ioeventfds_match_the_queue),
		TEST(status_zero_resets_all_registers),
		TEST(machine_reset_is_power_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
