/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio/pci.c: interrupts, notifications, and the window in configuration
 * space, which reaches both.
 */
#include "virtio-pci.h"

/* ---- interrupts --------------------------------------------------------- */

static void intx_goes_by_the_isr(void **state)
{
	struct setup *s = *state;
	uint64_t isr = structure(s, VIRTIO_PCI_CAP_ISR_CFG);

	start(s);
	signal_queue(s, 0);
	assert_true(line());
	assert_true(get(s, FUNCTION + PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	signal_config(s);
	/* Another width reads nothing, and clears nothing. */
	assert_int_equal(get(s, isr, 4), 0);
	assert_true(line());
	assert_int_equal(get(s, isr, 1), 3);
	assert_false(line());
	assert_int_equal(get(s, isr, 1), 0);
	assert_int_equal(seen.routes, 0);
}

/* How often @vector's irqfd was signalled since the last look. */
static uint64_t fired(unsigned int vector)
{
	eventfd_t count = 0;

	if (seen.irqfd[vector])
		(void)eventfd_read(seen.irqfd[vector], &count);
	return count;
}

static void msix_goes_by_the_vectors(void **state)
{
	struct setup *s = *state;

	enable_msix(s);
	start(s);
	signal_queue(s, 1);
	assert_int_equal(seen.msi_data, MSI_DATA + 2);
	assert_int_equal(fired(2), 1);
	signal_config(s);
	assert_int_equal(seen.msi_data, MSI_DATA);
	assert_int_equal(fired(0), 1);
	assert_false(line());
	/* 4.1.4.5.1: the ISR says so with MSI-X, too. */
	assert_int_equal(get(s, structure(s, VIRTIO_PCI_CAP_ISR_CFG), 1),
			 VIRTIO_PCI_ISR_CONFIG);
}

static void no_vector_means_no_interrupt(void **state)
{
	struct setup *s = *state;

	enable_msix(s);
	negotiate(s);
	signal_queue(s, 0);
	signal_config(s);
	assert_int_equal(seen.routes, 0);
	assert_false(line());
}

static void enabling_msix_takes_the_line_down(void **state)
{
	struct setup *s = *state;
	uint64_t cap = msix_capability(s);

	start(s);
	signal_config(s);
	assert_true(line());
	put(s, cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
	assert_false(line());
	put(s, cap + PCI_MSIX_FLAGS, 0, 2);
	assert_true(line());
}

/* ---- notifications ------------------------------------------------------ */

static void notifications_reach_their_queue(void **state)
{
	struct setup *s = *state;
	uint64_t notify = structure(s, VIRTIO_PCI_CAP_NOTIFY_CFG);

	/* Nothing runs before DRIVER_OK. */
	put(s, notify, 0, 2);
	assert_int_equal(s->notified[0], 0);
	start(s);
	put(s, notify_address(s, 0), 0, 2);
	put(s, notify_address(s, 1), 1, 2);
	/* The address decides, whatever is written there. */
	put(s, notify_address(s, 1), 0, 2);
	assert_int_equal(s->notified[0], 1);
	assert_int_equal(s->notified[1], 2);
	/* Between two queues, and behind the last. */
	put(s, notify + 2, 0, 2);
	for (unsigned int i = 4 * QUEUES; i < 0x1000; i += 2)
		put(s, notify + i, 0, 2);
	assert_int_equal(s->notified[0], 1);
	assert_int_equal(s->notified[1], 2);
	assert_int_equal(get(s, notify, 2), 0);
}

static bool has_ioeventfd(uint64_t addr)
{
	for (unsigned int i = 0; i < seen.ioeventfds; i++)
		if (seen.ioeventfd[i].addr == addr && !seen.ioeventfd[i].len)
			return true;
	return false;
}

static void ioeventfds_follow_the_bar(void **state)
{
	struct setup *s = *state;
	uint64_t old;

	s->with_fds = true;
	start(s);
	old = notify_address(s, 1);
	assert_int_equal(seen.ioeventfds, QUEUES);
	assert_true(has_ioeventfd(notify_address(s, 0)) && has_ioeventfd(old));
	put(s, FUNCTION + PCI_BASE_ADDRESS_0, WINDOW + 0x40000, 4);
	assert_int_equal(seen.ioeventfds, QUEUES);
	assert_true(has_ioeventfd(notify_address(s, 1)));
	assert_false(has_ioeventfd(old));
	put(s, FUNCTION + PCI_COMMAND, 0, 2);
	assert_int_equal(seen.ioeventfds, 0);
	put(s, FUNCTION + PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_int_equal(seen.ioeventfds, QUEUES);
	PUT(s, STATUS, 0, 1);
	assert_int_equal(seen.ioeventfds, 0);
}

static void ioeventfds_wait_for_a_mapped_bar(void **state)
{
	struct setup *s = *state;

	start(s);
	put(s, FUNCTION + PCI_COMMAND, 0, 2);
	assert_int_equal(virtio_device_notify_fd(&s->vdev, 1, s->fd[1]), 0);
	assert_int_equal(seen.ioeventfds, 0);
	put(s, FUNCTION + PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_int_equal(seen.ioeventfds, 1);
	assert_true(has_ioeventfd(notify_address(s, 1)));
}

static void a_refused_ioeventfd_is_an_error(void **state)
{
	struct setup *s = *state;

	start(s);
	seen.refuse_ioeventfds = true;
	assert_int_equal(virtio_device_notify_fd(&s->vdev, 0, s->fd[0]),
			 -ENOSPC);
	seen.refuse_ioeventfds = false;
	put(s, FUNCTION + PCI_BASE_ADDRESS_0, WINDOW + 0x40000, 4);
	assert_int_equal(seen.ioeventfds, 0);
	assert_int_equal(s->vdev.transport_ops->attach_notify(
				 s->vdev.transport, VIRTIO_MAX_QUEUES, 0),
			 -EINVAL);
}

static int setup_with_ports(void **state)
{
	setup_board(state, true);
	plug(*state, QUEUES, CONFIG_BYTES);
	return 0;
}

static uint64_t notify_port(struct setup *s, unsigned int index)
{
	return (get(s, FUNCTION + PCI_BASE_ADDRESS_1, 4) &
		PCI_BASE_ADDRESS_IO_MASK) +
	       4 * index;
}

static void ports_come_first_where_the_board_has_them(void **state)
{
	struct setup *s = *state;
	uint64_t cap = virtio_capability(s, VIRTIO_PCI_CAP_NOTIFY_CFG);

	assert_int_equal(get(s, cap + VIRTIO_PCI_CAP_BAR, 1), 1);
	assert_int_equal(get(s, cap + VIRTIO_PCI_CAP_OFFSET, 4), 0);
	start(s);
	bus_write(&s->machine.pio, NULL, notify_port(s, 1), 2, 0);
	assert_int_equal(s->notified[1], 1);
	/* Between two, and behind the last. */
	bus_write(&s->machine.pio, NULL, notify_port(s, 1) + 2, 2, 0);
	bus_write(&s->machine.pio, NULL, notify_port(s, QUEUES), 2, 0);
	assert_int_equal(s->notified[0], 0);
	assert_int_equal(s->notified[1], 1);
	/* Memory works as well, for drivers without ports. */
	put(s, bar_address(s) + 0x3000, 0, 2);
	assert_int_equal(s->notified[0], 1);
}

static void ioeventfds_are_on_the_ports(void **state)
{
	struct setup *s = *state;
	uint64_t old;

	s->with_fds = true;
	start(s);
	old = notify_port(s, 1);
	assert_int_equal(seen.ioeventfds, QUEUES);
	assert_true(has_ioeventfd(notify_port(s, 0)) && has_ioeventfd(old));
	for (unsigned int i = 0; i < QUEUES; i++)
		assert_true(seen.ioeventfd[i].flags & KVM_IOEVENTFD_FLAG_PIO);
	/* The memory BAR may go where it likes. */
	put(s, FUNCTION + PCI_BASE_ADDRESS_0, WINDOW + 0x40000, 4);
	assert_true(has_ioeventfd(old));
	put(s, FUNCTION + PCI_BASE_ADDRESS_1, IO_WINDOW + 0x80, 4);
	assert_int_equal(seen.ioeventfds, QUEUES);
	assert_true(has_ioeventfd(IO_WINDOW + 0x84));
	assert_false(has_ioeventfd(old));
}

/* ---- the window in configuration space ---------------------------------- */

static uint64_t window_aim(struct setup *s, uint32_t bar, uint32_t offset,
			   uint32_t length)
{
	uint64_t cap = virtio_capability(s, VIRTIO_PCI_CAP_PCI_CFG);

	put(s, cap + VIRTIO_PCI_CAP_BAR, bar, 1);
	put(s, cap + VIRTIO_PCI_CAP_OFFSET, offset, 4);
	put(s, cap + VIRTIO_PCI_CAP_LENGTH, length, 4);
	return cap + sizeof(struct virtio_pci_cap);
}

static void the_window_works_without_a_mapped_bar(void **state)
{
	struct setup *s = *state;
	uint64_t notify = notify_address(s, 1) - bar_address(s);
	uint64_t data;

	start(s);
	put(s, FUNCTION + PCI_COMMAND, 0, 2);
	data = window_aim(s, 0, VIRTIO_PCI_COMMON_NUMQ, 2);
	assert_int_equal(get(s, data, 4), QUEUES);
	assert_int_equal(get(s, data, 1), QUEUES);
	data = window_aim(s, 0, VIRTIO_PCI_COMMON_DFSELECT, 4);
	put(s, data, 0xa0b0c0d0, 4);
	assert_int_equal(get(s, data, 4), 0xa0b0c0d0);
	data = window_aim(s, 0, VIRTIO_PCI_COMMON_STATUS, 1);
	assert_int_equal(get(s, data, 4),
			 DRIVER_STATUS | VIRTIO_CONFIG_S_DRIVER_OK);
	data = window_aim(s, 0, (uint32_t)notify, 2);
	put(s, data, 1, 2);
	assert_int_equal(s->notified[1], 1);
	data = window_aim(s, 0, VIRTIO_PCI_COMMON_STATUS, 1);
	put(s, data, 0, 1);
	assert_int_equal(s->deactivations, 1);
}

static void the_window_checks_what_it_is_aimed_at(void **state)
{
	static const struct {
		uint32_t bar, offset, length;
	} bad[] = {
		{ 1, 0, 4 },	  { 0xff, 0, 4 },	{ 0, 0, 0 },
		{ 0, 0, 3 },	  { 0, 0, 8 },		{ 0, 0, 0xffffffff },
		{ 0, 1, 2 },	  { 0, 2, 4 },		{ 0, 0x8000, 1 },
		{ 0, 0x8000, 4 }, { 0, 0xfffffffc, 4 }, { 0, 0xffffffff, 1 },
	};
	struct setup *s = *state;
	uint32_t config =
		(uint32_t)(structure(s, VIRTIO_PCI_CAP_DEVICE_CFG) - WINDOW);
	uint64_t data;

	/* Register 0 would read back as this. */
	PUT(s, DFSELECT, 0xffffffff, 4);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		data = window_aim(s, bad[i].bar, bad[i].offset, bad[i].length);
		put(s, data, 0x12345678, 4);
		assert_int_equal(get(s, data, 4), 0);
	}
	assert_int_equal(GET(s, DFSELECT, 4), 0xffffffff);
	/* Alignment counts where the BAR itself would take any. */
	data = window_aim(s, 0, config + 1, 2);
	assert_int_equal(get(s, data, 4), 0);
	data = window_aim(s, 0, config + 2, 2);
	assert_int_equal(get(s, data, 4), 0x1312);
	data = window_aim(s, 0, 0x7ffc, 4);
	assert_int_equal(get(s, data, 4), 0);
}

static void reading_elsewhere_has_no_side_effect(void **state)
{
	struct setup *s = *state;
	uint64_t data;

	start(s);
	signal_config(s);
	data = window_aim(s, 0,
			  (uint32_t)(structure(s, VIRTIO_PCI_CAP_ISR_CFG) -
				     bar_address(s)),
			  1);
	for (unsigned int i = 0; i < PCI_CFG_SPACE_SIZE; i += 4)
		if (FUNCTION + i != data)
			get(s, FUNCTION + i, 4);
	assert_true(line());
	assert_int_equal(get(s, data, 1), VIRTIO_PCI_ISR_CONFIG);
	assert_false(line());
}

static void the_window_reaches_the_ports(void **state)
{
	struct setup *s = *state;
	uint64_t data;

	start(s);
	data = window_aim(s, 1, 4, 2);
	put(s, data, 0, 2);
	assert_int_equal(s->notified[1], 1);
	/* Behind its end. */
	data = window_aim(s, 1, 0x40, 2);
	put(s, data, 0, 2);
	assert_int_equal(s->notified[0], 0);
}

#define TEST_PORTS(name) \
	cmocka_unit_test_setup_teardown(name, setup_with_ports, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(intx_goes_by_the_isr),
		TEST(msix_goes_by_the_vectors),
		TEST(no_vector_means_no_interrupt),
		TEST(enabling_msix_takes_the_line_down),
		TEST(notifications_reach_their_queue),
		TEST(ioeventfds_follow_the_bar),
		TEST(ioeventfds_wait_for_a_mapped_bar),
		TEST(a_refused_ioeventfd_is_an_error),
		TEST_PORTS(ports_come_first_where_the_board_has_them),
		TEST_PORTS(ioeventfds_are_on_the_ports),
		TEST_PORTS(the_window_reaches_the_ports),
		TEST(the_window_works_without_a_mapped_bar),
		TEST(the_window_checks_what_it_is_aimed_at),
		TEST(reading_elsewhere_has_no_side_effect),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
