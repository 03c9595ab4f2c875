/* SPDX-License-Identifier: GPL-2.0 */
/* virtio/pci.c: identity, capabilities, registers, reset. */
#include "virtio-pci.h"

/* ---- identity and capabilities ------------------------------------------ */

static void identity_is_of_a_modern_device(void **state)
{
	struct setup *s = *state;

	assert_int_equal(get(s, FUNCTION + PCI_VENDOR_ID, 4),
			 (0x1040 + VIRTIO_ID_RNG) << 16 | 0x1af4);
	assert_int_equal(get(s, FUNCTION + PCI_CLASS_REVISION, 4), 0xff123401);
	assert_int_equal(get(s, FUNCTION + PCI_SUBSYSTEM_VENDOR_ID, 2), 0x1af4);
	assert_true(get(s, FUNCTION + PCI_SUBSYSTEM_ID, 2) >= 0x40);
}

static void capabilities_are_sane(void **state)
{
	struct setup *s = *state;
	unsigned int types = 0;
	bool taken[PCI_CFG_SPACE_SIZE] = { false };
	bool bar_taken[0x8000] = { false };
	uint64_t at = get(s, FUNCTION + PCI_CAPABILITY_LIST, 1);

	assert_true(get(s, FUNCTION + PCI_STATUS, 2) & PCI_STATUS_CAP_LIST);
	for (unsigned int n = 0; at; n++) {
		uint64_t cap = FUNCTION + at;
		uint64_t len = PCI_CAP_MSIX_SIZEOF;
		uint64_t offset, bytes, type;

		assert_true(n < 16 && at >= PCI_STD_HEADER_SIZEOF && !(at % 4));
		if (get(s, cap, 1) == PCI_CAP_ID_VNDR)
			len = get(s, cap + VIRTIO_PCI_CAP_LEN, 1);
		assert_true(at + len <= PCI_CFG_SPACE_SIZE);
		for (uint64_t i = at; i < at + len; i++) {
			assert_false(taken[i]);
			taken[i] = true;
		}
		at = get(s, cap + PCI_CAP_LIST_NEXT, 1);
		if (get(s, cap, 1) != PCI_CAP_ID_VNDR)
			continue;
		type = get(s, cap + VIRTIO_PCI_CAP_CFG_TYPE, 1);
		types |= 1U << type;
		if (type == VIRTIO_PCI_CAP_PCI_CFG)
			continue;
		assert_int_equal(get(s, cap + VIRTIO_PCI_CAP_BAR, 1), 0);
		offset = get(s, cap + VIRTIO_PCI_CAP_OFFSET, 4);
		bytes = get(s, cap + VIRTIO_PCI_CAP_LENGTH, 4);
		assert_true(bytes && !(offset % 4));
		assert_true(offset + bytes <= sizeof(bar_taken));
		for (uint64_t i = offset; i < offset + bytes; i++) {
			assert_false(bar_taken[i]);
			bar_taken[i] = true;
		}
	}
	assert_int_equal(types, 0x3e);
	put(s, FUNCTION + PCI_BASE_ADDRESS_0, 0xffffffff, 4);
	assert_int_equal(get(s, FUNCTION + PCI_BASE_ADDRESS_0, 4),
			 ~(uint32_t)sizeof(bar_taken) + 1);
}

static void no_config_space_means_no_capability(void **state)
{
	struct setup *s = *state;

	plug(s, QUEUES, 0);
	assert_int_equal(virtio_capability(s, VIRTIO_PCI_CAP_DEVICE_CFG), 0);
}

static void as_many_queues_as_there_can_be_fit(void **state)
{
	struct setup *s = *state;
	uint64_t cap;

	plug(s, VIRTIO_MAX_QUEUES, VIRTIO_CONFIG_MAX);
	cap = msix_capability(s);
	assert_int_equal(get(s, cap + PCI_MSIX_FLAGS, 2), VIRTIO_MAX_QUEUES);
	assert_int_equal(GET(s, NUMQ, 2), VIRTIO_MAX_QUEUES);
	assert_int_equal(notify_address(s, VIRTIO_MAX_QUEUES - 1),
			 structure(s, VIRTIO_PCI_CAP_NOTIFY_CFG) +
				 4 * (VIRTIO_MAX_QUEUES - 1));
}

static void a_full_bus_is_an_error_that_leaves_nothing(void **state)
{
	static const struct pci_identity id = { .vendor = 1, .device = 2 };
	struct setup *s = *state;
	struct pci_device *filler = calloc(PCI_SLOTS, sizeof(*filler));

	assert_non_null(filler);
	for (unsigned int i = 1; i < PCI_SLOTS; i++) {
		pci_device_init(&filler[i], &id);
		assert_int_equal(pci_register(s->machine.pci, &filler[i]), 0);
	}
	virtio_device_init(&s->vdev, &s->machine, &fake_type, &fake_ops, 0,
			   QUEUES, QUEUE_SIZE);
	assert_int_equal(virtio_device_plug(&s->vdev), -ENOSPC);
	assert_null(s->vdev.transport_ops);
	virtio_device_release(&s->vdev);
	for (unsigned int i = 1; i < PCI_SLOTS; i++)
		pci_unregister(&filler[i]);
	free(filler);
}

/* ---- common configuration ----------------------------------------------- */

static void features_are_read_and_written_in_halves(void **state)
{
	struct setup *s = *state;
	uint64_t offered;

	PUT(s, DFSELECT, 1, 4);
	offered = GET(s, DF, 4) << 32;
	PUT(s, DFSELECT, 0, 4);
	offered |= GET(s, DF, 4);
	assert_int_equal(offered, s->vdev.offered);
	PUT(s, DFSELECT, 2, 4);
	assert_int_equal(GET(s, DF, 4), 0);
	for (uint32_t i = 0; i < 3; i++) {
		PUT(s, GFSELECT, i, 4);
		PUT(s, GF, 0x10 + i, 4);
	}
	assert_int_equal(s->vdev.driver_features, 0x1100000010);
	assert_int_equal(GET(s, GF, 4), 0);
	PUT(s, GFSELECT, 1, 4);
	assert_int_equal(GET(s, GF, 4), 0x11);
}

static void fields_answer_to_their_own_width_only(void **state)
{
	struct setup *s = *state;

	/* Every other width and offset, in the structure and behind it. */
	for (unsigned int len = 1; len <= 8; len *= 2)
		for (unsigned int reg = 0; reg < 0x80; reg++)
			common_get(s, reg, len);
	PUT(s, STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE, 1);
	PUT(s, STATUS, 0, 2);
	PUT(s, STATUS, 0, 4);
	PUT(s, NUMQ, 0, 4);
	assert_int_equal(GET(s, STATUS, 1), VIRTIO_CONFIG_S_ACKNOWLEDGE);
	assert_int_equal(GET(s, NUMQ, 4), 0);
	PUT(s, Q_SELECT, 1, 1);
	PUT(s, Q_SELECT, 1, 4);
	assert_int_equal(GET(s, Q_SELECT, 2), 0);
	PUT(s, Q_DESCLO, 0x1234, 2);
	PUT(s, Q_DESCHI, 0x1234, 8);
	assert_int_equal(GET(s, Q_DESCLO, 8), 0);
}

static void queue_addresses_are_two_halves_or_one_whole(void **state)
{
	static const unsigned int fields[] = {
		VIRTIO_PCI_COMMON_Q_DESCLO,
		VIRTIO_PCI_COMMON_Q_AVAILLO,
		VIRTIO_PCI_COMMON_Q_USEDLO,
	};
	struct setup *s = *state;

	PUT(s, Q_SELECT, 1, 2);
	for (unsigned int i = 0; i < ARRAY_SIZE(fields); i++) {
		common_put(s, fields[i] + 4, 0x11223344, 4);
		common_put(s, fields[i], 0x55667780 + i, 4);
		assert_int_equal(common_get(s, fields[i], 4), 0x55667780 + i);
		assert_int_equal(common_get(s, fields[i] + 4, 4), 0x11223344);
		common_put(s, fields[i] + 4, 0x11223355, 4);
		assert_int_equal(common_get(s, fields[i], 4), 0x55667780 + i);
		common_put(s, fields[i] + 4, 0x11223344, 4);
	}
	assert_int_equal(s->vdev.queue[1].desc_addr, 0x1122334455667780);
	assert_int_equal(s->vdev.queue[1].driver_addr, 0x1122334455667781);
	assert_int_equal(s->vdev.queue[1].device_addr, 0x1122334455667782);
	for (unsigned int i = 0; i < ARRAY_SIZE(fields); i++) {
		common_put(s, fields[i], 0x99aabbccddeeff00 + i, 8);
		assert_int_equal(common_get(s, fields[i], 8),
				 0x99aabbccddeeff00 + i);
	}
	assert_int_equal(s->vdev.queue[0].desc_addr, 0);
}

static void queue_enable_takes_only_one(void **state)
{
	struct setup *s = *state;

	PUT(s, Q_ENABLE, 2, 2);
	assert_int_equal(GET(s, Q_ENABLE, 2), 0);
	PUT(s, Q_ENABLE, 1, 2);
	PUT(s, Q_ENABLE, 0, 2);
	assert_int_equal(GET(s, Q_ENABLE, 2), 1);
}

static void queues_that_do_not_exist_read_as_zero(void **state)
{
	static const uint16_t absent[] = { QUEUES, VIRTIO_MAX_QUEUES, 0xffff };
	struct setup *s = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(absent); i++) {
		PUT(s, Q_SELECT, absent[i], 2);
		for (unsigned int reg = VIRTIO_PCI_COMMON_Q_SIZE; reg < 0x40;
		     reg += 2)
			common_put(s, reg, 0xffff, 2);
		PUT(s, Q_DESCLO, ~0ULL, 8);
		assert_int_equal(GET(s, Q_SIZE, 2), 0);
		assert_int_equal(GET(s, Q_NOFF, 2), 0);
		assert_int_equal(GET(s, Q_DESCLO, 8), 0);
		assert_int_equal(GET(s, Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	}
}

static void vectors_out_of_range_read_back_as_none(void **state)
{
	static const unsigned int fields[] = { VIRTIO_PCI_COMMON_MSIX,
					       VIRTIO_PCI_COMMON_Q_MSIX };
	struct setup *s = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(fields); i++) {
		assert_int_equal(common_get(s, fields[i], 2),
				 VIRTIO_MSI_NO_VECTOR);
		common_put(s, fields[i], QUEUES, 2);
		assert_int_equal(common_get(s, fields[i], 2), QUEUES);
		common_put(s, fields[i], QUEUES + 1, 2);
		assert_int_equal(common_get(s, fields[i], 2),
				 VIRTIO_MSI_NO_VECTOR);
		common_put(s, fields[i], 0xfffe, 2);
		assert_int_equal(common_get(s, fields[i], 2),
				 VIRTIO_MSI_NO_VECTOR);
	}
}

static void status_zero_resets_all_registers(void **state)
{
	struct setup *s = *state;

	start(s);
	signal_config(s);
	assert_true(line());
	PUT(s, DFSELECT, 1, 4);
	PUT(s, STATUS, 0, 1);
	assert_int_equal(s->deactivations, 1);
	assert_int_equal(GET(s, STATUS, 1), 0);
	assert_int_equal(GET(s, MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	assert_int_equal(GET(s, DFSELECT, 4), 0);
	assert_int_equal(GET(s, GFSELECT, 4), 0);
	assert_int_equal(GET(s, Q_SELECT, 2), 0);
	assert_int_equal(GET(s, Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	assert_int_equal(GET(s, Q_ENABLE, 2), 0);
	assert_false(line());
	assert_int_equal(get(s, structure(s, VIRTIO_PCI_CAP_ISR_CFG), 1), 0);
}

/* ---- device configuration ----------------------------------------------- */

static void device_config_is_bounded(void **state)
{
	struct setup *s = *state;
	uint64_t config = structure(s, VIRTIO_PCI_CAP_DEVICE_CFG);

	assert_int_equal(get(s, config, 8), 0x1716151413121110);
	assert_int_equal(get(s, config + 8, 2), 0x1918);
	assert_int_equal(get(s, config + 8, 4), 0);
	assert_int_equal(get(s, config + 9, 2), 0);
	assert_int_equal(get(s, config + 0xffc, 8), 0);
	put(s, config + 2, 0xa1b2c3d4, 4);
	assert_memory_equal(s->written + 2, "\xd4\xc3\xb2\xa1", 4);
	put(s, config + 9, 0xffff, 2);
	assert_int_equal(s->written[9], 0);
	virtio_device_config_changed(&s->vdev);
	assert_int_equal(GET(s, CFGGENERATION, 1), 1);
}

/* ---- machine reset ------------------------------------------------------ */

static void machine_reset_is_power_on(void **state)
{
	struct setup *s = *state;
	uint64_t bar = bar_address(s);

	s->with_fds = true;
	enable_msix(s);
	start(s);
	signal_config(s);
	put(s, FUNCTION + PCI_BASE_ADDRESS_0, WINDOW + 0x40000, 4);
	virtio_device_machine_reset(&s->vdev.device);
	assert_int_equal(seen.ioeventfds, 0);
	assert_int_equal(seen.routes, 0);
	assert_int_equal(bar_address(s), bar);
	assert_int_equal(get(s, msix_capability(s) + PCI_MSIX_FLAGS, 2),
			 QUEUES);
	assert_int_equal(GET(s, STATUS, 1), 0);
	assert_int_equal(GET(s, MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	start(s);
	assert_int_equal(seen.ioeventfds, QUEUES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(identity_is_of_a_modern_device),
		TEST(capabilities_are_sane),
		TEST_UNPLUGGED(no_config_space_means_no_capability),
		TEST_UNPLUGGED(as_many_queues_as_there_can_be_fit),
		TEST_UNPLUGGED(a_full_bus_is_an_error_that_leaves_nothing),
		TEST(features_are_read_and_written_in_halves),
		TEST(fields_answer_to_their_own_width_only),
		TEST(queue_addresses_are_two_halves_or_one_whole),
		TEST(queue_enable_takes_only_one),
		TEST(queues_that_do_not_exist_read_as_zero),
		TEST(vectors_out_of_range_read_back_as_none),
		TEST(status_zero_resets_all_registers),
		TEST(device_config_is_bounded),
		TEST(machine_reset_is_power_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
