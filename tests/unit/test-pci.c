/* SPDX-License-Identifier: GPL-2.0 */
/*
 * hw/pci.c: both configuration mechanisms, BARs and their moves, command and
 * status register, shared interrupt lines. KVM's side is this file's ioctl().
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/kvm.h>
#include <linux/pci_regs.h>

#include "pci-host.h"

/* The levels of the lines, as KVM was told last. */
static bool line_level[IRQ_NR_LINES];
static unsigned int line_changes;

int ioctl(int fd, unsigned long request, ...)
{
	const struct kvm_irq_level *line;
	va_list args;

	assert_int_equal(fd, FAKE_VM_FD);
	assert_int_equal(request, KVM_IRQ_LINE);
	va_start(args, request);
	line = va_arg(args, const struct kvm_irq_level *);
	va_end(args);
	assert_in_range(line->irq, 0, IRQ_NR_LINES - 1);
	line_level[line->irq] = line->level;
	line_changes++;
	return 0;
}

/* A function that notes what the bus calls it for. */
struct fake {
	struct pci_device pci;
	unsigned int moves;
	uint64_t base;
	bool mapped;
	unsigned int reads, writes;
	unsigned int offset, len; /* of the last write */
};

static uint64_t bar_read(void *opaque, uint64_t offset, unsigned int len)
{
	(void)opaque;
	(void)len;
	return 0x1000 + offset;
}

static void bar_write(void *opaque, uint64_t offset, uint64_t value,
		      unsigned int len)
{
	(void)opaque;
	(void)offset;
	(void)value;
	(void)len;
}

static const struct bus_ops bar_ops = { .read = bar_read, .write = bar_write };

static void bar_moved(struct pci_device *pci, unsigned int bar, uint64_t base,
		      bool mapped)
{
	struct fake *fake = container_of(pci, struct fake, pci);

	assert_true(bar == 0 || bar == 2);
	/* Strictly in turn, and it leaves the address that it had. */
	assert_true(fake->mapped != mapped);
	if (!mapped)
		assert_true(base == fake->base);
	fake->moves++;
	fake->base = base;
	fake->mapped = mapped;
}

static void config_reading(struct pci_device *pci, unsigned int offset,
			   unsigned int len)
{
	assert_true(offset < PCI_CFG_SPACE_SIZE && len);
	container_of(pci, struct fake, pci)->reads++;
}

static void config_written(struct pci_device *pci, unsigned int offset,
			   unsigned int len)
{
	struct fake *fake = container_of(pci, struct fake, pci);

	assert_true(offset + len <= PCI_CFG_SPACE_SIZE);
	fake->writes++;
	fake->offset = offset;
	fake->len = len;
}

struct setup {
	struct machine machine;
	struct device *host;
	struct fake fake[PCI_SLOTS];
};

static int setup_board(void **state, bool with_ports)
{
	struct setup *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	memset(line_level, 0, sizeof(line_level));
	line_changes = 0;
	if (with_ports)
		pci_machine_with_ports(&s->machine);
	s->host = pci_machine_init(&s->machine);
	*state = s;
	return 0;
}

static int setup(void **state)
{
	return setup_board(state, false);
}

static int setup_with_ports(void **state)
{
	return setup_board(state, true);
}

static int teardown(void **state)
{
	struct setup *s = *state;

	for (unsigned int i = 0; i < PCI_SLOTS; i++)
		if (s->fake[i].pci.bus)
			pci_unregister(&s->fake[i].pci);
	pci_machine_release(&s->machine, s->host);
	free(s);
	return 0;
}

static void fake_init(struct setup *s, unsigned int slot)
{
	static const struct pci_identity id = {
		.vendor = 0x1234,
		.device = 0x5678,
		.subsystem_vendor = 0x9abc,
		.subsystem = 0xdef0,
		.class_code = 0x010203,
		.revision = 4,
	};
	struct fake *fake = &s->fake[slot];

	pci_device_init(&fake->pci, &id);
	fake->pci.bar_moved = bar_moved;
	fake->pci.config_reading = config_reading;
	fake->pci.config_written = config_written;
}

static void fake_bar(struct fake *fake, unsigned int index, uint64_t size,
		     bool is_64bit)
{
	fake->pci.bar[index] = (struct pci_bar) {
		.size = size,
		.is_64bit = is_64bit,
		.region = { .name = "bar", .ops = &bar_ops },
	};
}

/* A function with one 32-bit BAR of @size bytes in the next slot. */
static struct fake *plug(struct setup *s, unsigned int slot, uint64_t size)
{
	struct fake *fake = &s->fake[slot];

	fake_init(s, slot);
	fake_bar(fake, 0, size, false);
	assert_int_equal(pci_register(s->machine.pci, &fake->pci), 0);
	assert_int_equal(fake->pci.slot, slot);
	return fake;
}

static uint64_t mask(unsigned int len)
{
	return len == 8 ? ~0ULL : (1ULL << (8 * len)) - 1;
}

static uint64_t ecam_read(struct setup *s, unsigned int slot,
			  unsigned int offset, unsigned int len)
{
	uint64_t value;

	assert_non_null(bus_read(&s->machine.mmio, NULL,
				 ECAM + slot * 0x8000 + offset, len, &value));
	return value & mask(len);
}

static void ecam_write(struct setup *s, unsigned int slot, unsigned int offset,
		       uint64_t value, unsigned int len)
{
	assert_non_null(bus_write(&s->machine.mmio, NULL,
				  ECAM + slot * 0x8000 + offset, len, value));
}

static uint64_t port_read(struct setup *s, uint64_t port, unsigned int len)
{
	uint64_t value;

	bus_read(&s->machine.pio, NULL, port, len, &value);
	return value & mask(len);
}

static void port_write(struct setup *s, uint64_t port, uint64_t value,
		       unsigned int len)
{
	bus_write(&s->machine.pio, NULL, port, len, value);
}

/* What answers at @addr: bar_read() gives 0x1000 + offset. */
static uint64_t mmio_read(struct setup *s, uint64_t addr)
{
	uint64_t value;

	bus_read(&s->machine.mmio, NULL, addr, 4, &value);
	return value;
}

/* ---- configuration mechanisms ------------------------------------------- */

static void host_bridge_is_function_zero(void **state)
{
	struct setup *s = *state;

	assert_int_equal(ecam_read(s, 0, PCI_VENDOR_ID, 4), 0x00081b36);
	assert_int_equal(ecam_read(s, 0, PCI_CLASS_REVISION, 4), 0x06000000);
	assert_int_equal(ecam_read(s, 0, PCI_HEADER_TYPE, 1), 0);
	assert_int_equal(ecam_read(s, 0, PCI_INTERRUPT_PIN, 1), 0);
}

static void header_shows_the_identity(void **state)
{
	struct setup *s = *state;

	plug(s, 1, 0);
	assert_int_equal(ecam_read(s, 1, PCI_VENDOR_ID, 2), 0x1234);
	assert_int_equal(ecam_read(s, 1, PCI_DEVICE_ID, 2), 0x5678);
	assert_int_equal(ecam_read(s, 1, PCI_CLASS_REVISION, 4), 0x01020304);
	assert_int_equal(ecam_read(s, 1, PCI_SUBSYSTEM_VENDOR_ID, 4),
			 0xdef09abc);
	assert_int_equal(ecam_read(s, 1, PCI_INTERRUPT_PIN, 1), 1);
	assert_int_equal(ecam_read(s, 1, PCI_INTERRUPT_LINE, 1),
			 pci_slot_gsi(1));
	assert_int_equal(ecam_read(s, 1, PCI_COMMAND, 2), PCI_COMMAND_MEMORY);
	assert_int_equal(ecam_read(s, 1, PCI_STATUS, 2), 0);
}

static void absent_functions_read_as_ones(void **state)
{
	struct setup *s = *state;
	uint64_t value;

	plug(s, 1, 0);
	for (unsigned int slot = 2; slot < PCI_SLOTS; slot++)
		assert_int_equal(ecam_read(s, slot, 0, 4), 0xffffffff);
	for (unsigned int function = 1; function < 8; function++) {
		bus_read(&s->machine.mmio, NULL, ECAM + function * 0x1000, 4,
			 &value);
		assert_int_equal((uint32_t)value, 0xffffffff);
		port_write(s, PORTS, 0x80000000 | function << 8, 4);
		assert_int_equal(port_read(s, PORTS + 4, 4), 0xffffffff);
	}
	/* Another bus. */
	port_write(s, PORTS, 0x80010000, 4);
	assert_int_equal(port_read(s, PORTS + 4, 4), 0xffffffff);
	port_write(s, PORTS + 4, 0, 4);
}

static void extended_space_reads_as_zero(void **state)
{
	struct setup *s = *state;
	struct fake *fake = plug(s, 1, 0);

	ecam_write(s, 1, 252, 0xffffffff, 4);
	ecam_write(s, 1, 256, 0xffffffff, 4);
	assert_int_equal(fake->writes, 1);
	assert_int_equal(ecam_read(s, 1, 256, 4), 0);
	assert_int_equal(ecam_read(s, 1, 4092, 4), 0);
	assert_int_equal(fake->reads, 0);
	/* Across the end of the 256 bytes, and of the page. */
	ecam_write(s, 1, 254, ~0ULL, 8);
	assert_int_equal(fake->offset, 254);
	assert_int_equal(fake->len, 2);
	assert_int_equal(ecam_read(s, 1, 254, 8), 0);
	assert_int_equal(ecam_read(s, 1, 4094, 4), 0xffffffff);
	ecam_write(s, 1, 4094, 0, 4);
}

static void ports_give_each_byte_at_each_width(void **state)
{
	static const uint8_t want[8] = { 0x34, 0x12, 0x78, 0x56,
					 0x02, 0x00, 0x00, 0x00 };
	struct setup *s = *state;

	plug(s, 1, 0);
	for (unsigned int reg = 0; reg < 8; reg += 4) {
		port_write(s, PORTS, 0x80000800 | reg, 4);
		for (unsigned int i = 0; i < 4; i++)
			assert_int_equal(port_read(s, PORTS + 4 + i, 1),
					 want[reg + i]);
		for (unsigned int i = 0; i < 3; i++)
			assert_int_equal(port_read(s, PORTS + 4 + i, 2),
					 want[reg + i] | want[reg + i + 1]
								 << 8);
	}
	assert_int_equal(port_read(s, PORTS + 4, 4), 2);
	port_write(s, PORTS + 5, PCI_COMMAND_INTX_DISABLE >> 8, 1);
	assert_int_equal(port_read(s, PORTS + 4, 4),
			 PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE);
	/* Past the last port nobody answers. */
	assert_int_equal(port_read(s, PORTS + 5, 4), 0xffffffff);
}

static void config_address_is_a_whole_dword(void **state)
{
	struct setup *s = *state;

	port_write(s, PORTS, 0xffffffff, 4);
	assert_int_equal(port_read(s, PORTS, 4), 0x80fffffc);
	port_write(s, PORTS, 0x80000000, 4);
	port_write(s, PORTS + 3, 0x01, 1);
	port_write(s, PORTS, 0x1234, 2);
	assert_int_equal(port_read(s, PORTS, 4), 0x80000000);
	assert_int_equal(port_read(s, PORTS + 1, 1), 0xff);
	assert_int_equal(port_read(s, PORTS + 2, 4), 0xffffffff);
	/* Without the enable bit nothing is a configuration access. */
	port_write(s, PORTS, 0, 4);
	assert_int_equal(port_read(s, PORTS + 4, 4), 0xffffffff);
}

static void only_writable_bits_change(void **state)
{
	struct setup *s = *state;
	struct fake *fake = plug(s, 1, 0);

	for (unsigned int i = 0; i < PCI_CFG_SPACE_SIZE; i += 4)
		ecam_write(s, 1, i, 0xffffffff, 4);
	assert_int_equal(fake->writes, PCI_CFG_SPACE_SIZE / 4);
	assert_int_equal(ecam_read(s, 1, PCI_VENDOR_ID, 4), 0x56781234);
	assert_int_equal(ecam_read(s, 1, PCI_COMMAND, 4),
			 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
				 PCI_COMMAND_INTX_DISABLE);
	assert_int_equal(ecam_read(s, 1, PCI_INTERRUPT_LINE, 4), 0x1ff);
	for (unsigned int i = 0; i < PCI_STD_NUM_BARS; i++)
		assert_int_equal(ecam_read(s, 1, PCI_BASE_ADDRESS_0 + 4 * i, 4),
				 0);
	assert_int_equal(ecam_read(s, 1, PCI_ROM_ADDRESS, 4), 0);
}

/* ---- capabilities ------------------------------------------------------- */

static void capabilities_chain_in_order(void **state)
{
	struct setup *s = *state;
	struct pci_device *pci = &s->fake[1].pci;
	const uint8_t data[7] = { 0xee, 0xee, 2, 3, 4, 5, 6 };
	const uint8_t writable[7] = { 0xff, 0xff, 0xff, 0, 0x0f, 0, 0 };

	fake_init(s, 1);
	assert_int_equal(pci_add_capability(pci, 0x09, data, 7, NULL), 0x40);
	assert_int_equal(pci_add_capability(pci, 0x11, data, 7, writable),
			 0x48);
	assert_int_equal(pci_register(s->machine.pci, pci), 0);
	assert_true(ecam_read(s, 1, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST);
	assert_int_equal(ecam_read(s, 1, PCI_CAPABILITY_LIST, 1), 0x40);
	assert_int_equal(ecam_read(s, 1, 0x40, 4), 0x03024809);
	assert_int_equal(ecam_read(s, 1, 0x48, 4), 0x03020011);
	ecam_write(s, 1, 0x48, ~0ULL, 8);
	assert_int_equal(ecam_read(s, 1, 0x48, 4), 0x03ff0011);
	assert_int_equal(ecam_read(s, 1, 0x4c, 4), 0x0006050f);
}

static void capabilities_end_with_the_space(void **state)
{
	struct setup *s = *state;
	struct pci_device *pci = &s->fake[1].pci;
	const uint8_t data[PCI_CFG_SPACE_SIZE] = { 0 };

	fake_init(s, 1);
	assert_int_equal(pci_add_capability(pci, 9, data, 1, NULL), -ENOSPC);
	assert_int_equal(pci_add_capability(pci, 9, data, 193, NULL), -ENOSPC);
	assert_int_equal(pci_add_capability(pci, 9, data, 189, NULL), 0x40);
	assert_int_equal(pci_add_capability(pci, 9, data, 4, NULL), -ENOSPC);
}

/* ---- BARs --------------------------------------------------------------- */

static void bars_are_placed_aligned_and_mapped(void **state)
{
	struct setup *s = *state;
	struct fake *small = plug(s, 1, 0x100);
	struct fake *large = plug(s, 2, 0x4000);

	assert_true(small->mapped && small->base == WINDOW);
	assert_true(large->mapped && large->base == WINDOW + 0x4000);
	assert_int_equal(mmio_read(s, WINDOW + 0xfc), 0x10fc);
	assert_int_equal(mmio_read(s, WINDOW + 0x4010), 0x1010);
	assert_int_equal(ecam_read(s, 2, PCI_BASE_ADDRESS_0, 4),
			 WINDOW + 0x4000);
}

static void sizing_gives_the_size_and_maps_nothing(void **state)
{
	struct setup *s = *state;
	struct fake *fake = plug(s, 1, 0x4000);

	ecam_write(s, 1, PCI_BASE_ADDRESS_0, 0xffffffff, 4);
	assert_int_equal(ecam_read(s, 1, PCI_BASE_ADDRESS_0, 4), 0xffffc000);
	assert_false(fake->mapped);
	ecam_write(s, 1, PCI_BASE_ADDRESS_0, WINDOW, 4);
	assert_true(fake->mapped && fake->base == WINDOW);
}

static void sizing_a_64_bit_bar_uses_two_registers(void **state)
{
	struct setup *s = *state;
	struct fake *fake = &s->fake[1];

	fake_init(s, 1);
	fake_bar(fake, 2, 0x2000, true);
	assert_int_equal(pci_register(s->machine.pci, &fake->pci), 0);
	assert_int_equal(ecam_read(s, 1, PCI_BASE_ADDRESS_2, 4), WINDOW | 4);
	ecam_write(s, 1, PCI_BASE_ADDRESS_3, 0xffffffff, 4);
	assert_false(fake->mapped);
	ecam_write(s, 1, PCI_BASE_ADDRESS_2, 0xffffffff, 4);
	assert_int_equal(ecam_read(s, 1, PCI_BASE_ADDRESS_2, 4), 0xffffe004);
	assert_int_equal(ecam_read(s, 1, PCI_BASE_ADDRESS_3, 4), 0xffffffff);
	ecam_write(s, 1, PCI_BASE_ADDRESS_2, WINDOW + 0x2000, 8);
	assert_true(fake->mapped && fake->base == WINDOW + 0x2000);
}

static void memory_decoding_follows_the_command_bit(void **state)
{
	struct setup *s = *state;
	struct fake *fake = plug(s, 1, 0x1000);

	ecam_write(s, 1, PCI_COMMAND, 0, 2);
	assert_false(fake->mapped);
	assert_int_equal((uint32_t)mmio_read(s, WINDOW), 0xffffffff);
	/* Moved while it does not decode. */
	ecam_write(s, 1, PCI_BASE_ADDRESS_0, WINDOW + 0x8000, 4);
	assert_false(fake->mapped);
	ecam_write(s, 1, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_true(fake->mapped && fake->base == WINDOW + 0x8000);
	assert_int_equal(mmio_read(s, WINDOW + 0x8004), 0x1004);
	/* One map at registration, one unmap, one map. */
	ecam_write(s, 1, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_int_equal(fake->moves, 3);
}

static void bars_stay_inside_the_window(void **state)
{
	static const uint64_t outside[] = {
		0,
		0x1000,
		ECAM,
		WINDOW - 0x1000,
		WINDOW + WINDOW_BYTES,
		0xfec00000,
		0xfee00000,
		0xfffff000,
	};
	struct setup *s = *state;
	struct fake *fake = plug(s, 1, 0x1000);

	for (unsigned int i = 0; i < ARRAY_SIZE(outside); i++) {
		ecam_write(s, 1, PCI_BASE_ADDRESS_0, outside[i], 4);
		assert_false(fake->mapped);
	}
	ecam_write(s, 1, PCI_BASE_ADDRESS_0, WINDOW + WINDOW_BYTES - 0x1000, 4);
	assert_true(fake->mapped);
}

static void an_overlapping_bar_waits_for_room(void **state)
{
	struct setup *s = *state;
	struct fake *a = plug(s, 1, 0x1000);
	struct fake *b = plug(s, 2, 0x4000);

	/* a over the middle of b: b goes on, a is gone. */
	ecam_write(s, 1, PCI_BASE_ADDRESS_0, WINDOW + 0x5000, 4);
	assert_false(a->mapped);
	assert_true(b->mapped);
	assert_int_equal(mmio_read(s, WINDOW + 0x5000), 0x2000);
	/* b moves away: a decodes without being written again. */
	ecam_write(s, 2, PCI_BASE_ADDRESS_0, WINDOW + 0x8000, 4);
	assert_true(a->mapped && a->base == WINDOW + 0x5000);
	assert_true(b->mapped && b->base == WINDOW + 0x8000);
	assert_int_equal(mmio_read(s, WINDOW + 0x5000), 0x1000);
}

static struct fake *plug_io(struct setup *s, int expected)
{
	struct fake *fake = &s->fake[1];

	fake_init(s, 1);
	fake_bar(fake, 0, 0x20, false);
	fake->pci.bar[0].is_io = true;
	assert_int_equal(pci_register(s->machine.pci, &fake->pci), expected);
	return fake;
}

static void an_io_bar_decodes_ports(void **state)
{
	struct setup *s = *state;
	struct fake *fake = plug_io(s, 0);

	assert_int_equal(ecam_read(s, 1, PCI_BASE_ADDRESS_0, 4),
			 IO_WINDOW | PCI_BASE_ADDRESS_SPACE_IO);
	assert_int_equal(port_read(s, IO_WINDOW + 8, 4), 0x1008);
	ecam_write(s, 1, PCI_BASE_ADDRESS_0, 0xffffffff, 4);
	assert_int_equal(ecam_read(s, 1, PCI_BASE_ADDRESS_0, 4), 0xffffffe1);
	assert_false(fake->mapped);
	ecam_write(s, 1, PCI_BASE_ADDRESS_0, IO_WINDOW + 0x40, 4);
	assert_int_equal(port_read(s, IO_WINDOW + 0x44, 4), 0x1004);
	/* Memory decoding is another matter. */
	ecam_write(s, 1, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_false(fake->mapped);
	ecam_write(s, 1, PCI_COMMAND, PCI_COMMAND_IO, 2);
	assert_true(fake->mapped);
	/* Not over the configuration ports, nor over memory. */
	ecam_write(s, 1, PCI_BASE_ADDRESS_0, PORTS & ~0x1fU, 4);
	assert_false(fake->mapped);
	ecam_write(s, 1, PCI_BASE_ADDRESS_0, WINDOW, 4);
	assert_false(fake->mapped);
}

static void an_io_bar_needs_a_board_with_ports(void **state)
{
	struct fake *fake = plug_io(*state, -ENOSPC);

	fake->pci.bus = NULL;
}

static void slots_and_window_run_out_with_an_error(void **state)
{
	struct setup *s = *state;

	fake_init(s, 1);
	fake_bar(&s->fake[1], 0, WINDOW_BYTES * 2, false);
	assert_int_equal(pci_register(s->machine.pci, &s->fake[1].pci),
			 -ENOSPC);
	for (unsigned int i = 1; i < PCI_SLOTS; i++)
		plug(s, i, 0x1000);
	fake_init(s, 0);
	assert_int_equal(pci_register(s->machine.pci, &s->fake[0].pci),
			 -ENOSPC);
}

static void reset_restores_everything(void **state)
{
	struct setup *s = *state;
	struct fake *a = plug(s, 1, 0x1000);
	struct fake *b = plug(s, 2, 0x1000);
	uint8_t before[PCI_CFG_SPACE_SIZE];

	memcpy(before, a->pci.config, sizeof(before));
	/* Swapped, so that the first reset finds its place taken. */
	ecam_write(s, 1, PCI_BASE_ADDRESS_0, WINDOW + 0x8000, 4);
	ecam_write(s, 2, PCI_BASE_ADDRESS_0, WINDOW, 4);
	ecam_write(s, 1, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
	port_write(s, PORTS, 0x80000800, 4);
	pci_set_intx(&a->pci, true);
	pci_host_type.reset(s->host);
	pci_device_reset(&a->pci);
	assert_false(a->mapped);
	pci_device_reset(&b->pci);
	assert_true(a->mapped && a->base == WINDOW);
	assert_true(b->mapped && b->base == WINDOW + 0x1000);
	assert_memory_equal(a->pci.config, before, sizeof(before));
	assert_false(line_level[pci_slot_gsi(1)]);
	assert_int_equal(port_read(s, PORTS, 4), 0);
	assert_int_equal(ecam_read(s, 0, PCI_VENDOR_ID, 4), 0x00081b36);
}

static void unregistering_leaves_nothing_behind(void **state)
{
	struct setup *s = *state;
	struct fake *fake = plug(s, 1, 0x1000);

	pci_set_intx(&fake->pci, true);
	pci_unregister(&fake->pci);
	assert_false(fake->mapped);
	assert_false(line_level[pci_slot_gsi(1)]);
	assert_int_equal(ecam_read(s, 1, 0, 4), 0xffffffff);
	fake->pci.bus = NULL;
}

/* ---- interrupt lines ---------------------------------------------------- */

static void a_shared_line_is_the_or_of_its_functions(void **state)
{
	struct setup *s = *state;
	uint32_t gsi = pci_slot_gsi(1);

	assert_int_equal(gsi, pci_slot_gsi(9));
	for (unsigned int i = 1; i <= 9; i++)
		plug(s, i, 0);
	pci_set_intx(&s->fake[1].pci, true);
	pci_set_intx(&s->fake[9].pci, true);
	assert_true(line_level[gsi]);
	assert_false(line_level[pci_slot_gsi(2)]);
	pci_set_intx(&s->fake[1].pci, false);
	assert_true(line_level[gsi]);
	pci_set_intx(&s->fake[9].pci, false);
	assert_false(line_level[gsi]);
	assert_int_equal(line_changes, 2);
}

static void all_slots_have_a_line_of_the_ioapic(void **state)
{
	(void)state;
	for (unsigned int slot = 0; slot < PCI_SLOTS; slot++)
		assert_in_range(pci_slot_gsi(slot), PCI_FIRST_GSI,
				IRQ_NR_LINES - 1);
}

static void intx_disable_takes_the_line_but_not_the_status(void **state)
{
	struct setup *s = *state;
	struct fake *fake = plug(s, 1, 0);
	uint32_t gsi = pci_slot_gsi(1);

	pci_set_intx(&fake->pci, true);
	assert_true(ecam_read(s, 1, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	ecam_write(s, 1, PCI_COMMAND, PCI_COMMAND_INTX_DISABLE, 2);
	assert_false(line_level[gsi]);
	assert_true(ecam_read(s, 1, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	ecam_write(s, 1, PCI_COMMAND, 0, 2);
	assert_true(line_level[gsi]);
	pci_set_intx(&fake->pci, false);
	assert_false(line_level[gsi]);
	assert_false(ecam_read(s, 1, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(host_bridge_is_function_zero),
		TEST(header_shows_the_identity),
		TEST(absent_functions_read_as_ones),
		TEST(extended_space_reads_as_zero),
		TEST(ports_give_each_byte_at_each_width),
		TEST(config_address_is_a_whole_dword),
		TEST(only_writable_bits_change),
		TEST(capabilities_chain_in_order),
		TEST(capabilities_end_with_the_space),
		TEST(bars_are_placed_aligned_and_mapped),
		TEST(sizing_gives_the_size_and_maps_nothing),
		TEST(sizing_a_64_bit_bar_uses_two_registers),
		TEST(memory_decoding_follows_the_command_bit),
		TEST(bars_stay_inside_the_window),
		TEST(an_overlapping_bar_waits_for_room),
		cmocka_unit_test_setup_teardown(an_io_bar_decodes_ports,
						setup_with_ports, teardown),
		TEST(an_io_bar_needs_a_board_with_ports),
		TEST(slots_and_window_run_out_with_an_error),
		TEST(reset_restores_everything),
		TEST(unregistering_leaves_nothing_behind),
		TEST(a_shared_line_is_the_or_of_its_functions),
		TEST(all_slots_have_a_line_of_the_ioapic),
		TEST(intx_disable_takes_the_line_but_not_the_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
