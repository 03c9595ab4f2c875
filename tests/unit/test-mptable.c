/* SPDX-License-Identifier: GPL-2.0 */
/* The MP table, walked as MultiProcessor Specification 1.4 tells kernels to. */
#include <errno.h>

#include "tables.h"

#define ENTRY_TYPES 5

/* Write the table and find it as a kernel does. */
static const uint8_t *write_and_find(struct fixture *f, unsigned int cpus)
{
	const uint8_t *pointer = f->ram + X86_MPTABLE_BASE;
	uint32_t at;

	assert_int_equal(x86_mptable_write(&f->machine, cpus), 0);
	assert_memory_equal(pointer, "_MP_", 4);
	assert_int_equal(sum(pointer, 16), 0);
	assert_int_equal(pointer[8], 1); /* of 16 bytes */
	assert_int_equal(pointer[9], 4); /* 1.4 */
	assert_int_equal(load(pointer + 11, 5), 0); /* has a table; no IMCR */
	at = load(pointer + 4, 4);
	assert_in_range(at, X86_MPTABLE_BASE + 16, X86_MPTABLE_END - 44);
	return f->ram + at;
}

/* Check the header, and return in @first the first entry of each type. */
static void walk(const uint8_t *table, unsigned int count[ENTRY_TYPES],
		 const uint8_t *first[ENTRY_TYPES])
{
	static const uint8_t bytes[ENTRY_TYPES] = { 20, 8, 8, 8, 8 };
	uint16_t len = load(table + 4, 2), entries = load(table + 34, 2);
	const uint8_t *entry = table + 44;
	uint8_t last = 0;

	assert_memory_equal(table, "PCMP", 4);
	assert_int_equal(sum(table, len), 0);
	assert_int_equal(table[6], 4);
	assert_memory_equal(table + 8, "LKVM    LKVMPC      ", 20);
	assert_int_equal(load(table + 36, 4), X86_LAPIC_BASE);
	assert_int_equal(load(table + 40, 4), 0); /* nothing extended */
	memset(count, 0, ENTRY_TYPES * sizeof(*count));
	while (entries--) {
		assert_in_range(entry[0], last, ENTRY_TYPES - 1);
		last = entry[0];
		if (!count[last]++)
			first[last] = entry;
		entry += bytes[last];
	}
	assert_ptr_equal(entry, table + len);
}

static void check_processors(struct fixture *f, unsigned int cpus)
{
	const uint8_t *first[ENTRY_TYPES];
	unsigned int count[ENTRY_TYPES];

	walk(write_and_find(f, cpus), count, first);
	assert_int_equal(count[0], cpus);
	for (unsigned int i = 0; i < cpus; i++) {
		const uint8_t *entry = first[0] + i * 20;

		assert_int_equal(entry[1], i);
		assert_int_equal(entry[3], i ? 1 : 3); /* enabled, boot */
	}
}

static void each_cpu_has_an_entry_and_the_first_boots(void **state)
{
	check_processors(*state, 1);
	check_processors(*state, 2);
	check_processors(*state, ARCH_MAX_CPUS);
}

static void pci_is_the_bus_of_number_zero(void **state)
{
	const uint8_t *first[ENTRY_TYPES];
	unsigned int count[ENTRY_TYPES];

	walk(write_and_find(*state, 1), count, first);
	assert_int_equal(count[1], 2);
	assert_int_equal(first[1][1], 0);
	assert_memory_equal(first[1] + 2, "PCI   ", 6);
	assert_int_equal(first[1][9], 1);
	assert_memory_equal(first[1] + 10, "ISA   ", 6);
}

static void there_is_one_ioapic(void **state)
{
	const uint8_t *first[ENTRY_TYPES];
	unsigned int count[ENTRY_TYPES];

	walk(write_and_find(*state, 1), count, first);
	assert_int_equal(count[2], 1);
	assert_int_equal(first[2][1], X86_IOAPIC_ID);
	assert_int_equal(first[2][3], 1); /* usable */
	assert_int_equal(load(first[2] + 4, 4), X86_IOAPIC_BASE);
}

static void isa_interrupts_are_identity_but_the_timer(void **state)
{
	const uint8_t *first[ENTRY_TYPES], *entry;
	unsigned int count[ENTRY_TYPES];
	uint32_t seen = 0;

	walk(write_and_find(*state, 1), count, first);
	assert_int_equal(count[3], 15 + PCI_SLOTS);
	entry = first[3];
	for (unsigned int i = 0; i < 15; i++, entry += 8) {
		uint8_t irq = entry[5];

		assert_int_equal(load(entry + 1, 3), 0); /* INT, as the bus */
		assert_int_equal(entry[4], 1);
		assert_in_range(irq, 0, 15);
		assert_int_equal(entry[6], X86_IOAPIC_ID);
		assert_int_equal(entry[7], irq ? irq : 2);
		seen |= 1U << irq;
	}
	assert_int_equal(seen, 0xffff & ~(1U << 2));
}

static void pci_slots_lead_to_their_gsi(void **state)
{
	const uint8_t *first[ENTRY_TYPES], *entry;
	unsigned int count[ENTRY_TYPES];

	walk(write_and_find(*state, 1), count, first);
	entry = first[3] + 15 * 8;
	for (unsigned int slot = 0; slot < PCI_SLOTS; slot++, entry += 8) {
		assert_int_equal(load(entry + 1, 3), 0);
		assert_int_equal(entry[4], 0);
		assert_int_equal(entry[5], slot << 2); /* INTA */
		assert_int_equal(entry[7], pci_slot_gsi(slot));
	}
}

static void local_interrupts_are_extint_and_nmi(void **state)
{
	const uint8_t *first[ENTRY_TYPES];
	unsigned int count[ENTRY_TYPES];

	walk(write_and_find(*state, 1), count, first);
	assert_int_equal(count[4], 2);
	assert_int_equal(first[4][1], 3); /* ExtINT */
	assert_int_equal(load(first[4] + 6, 2), 0x00ff); /* all, LINT0 */
	assert_int_equal(first[4][9], 1); /* NMI */
	assert_int_equal(load(first[4] + 14, 2), 0x01ff); /* all, LINT1 */
}

static void ram_too_small_is_an_error(void **state)
{
	struct machine *machine = calloc(1, sizeof(*machine));

	(void)state;
	assert_non_null(machine);
	memory_init(&machine->memory, -1);
	assert_int_equal(memory_add_ram(&machine->memory, 0, 64 * KIB), 0);
	assert_int_equal(x86_mptable_write(machine, 1), -EFAULT);
	memory_release(&machine->memory);
	free(machine);
}

#define IN_RAM(test) cmocka_unit_test_setup_teardown(test, setup_ram, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_RAM(each_cpu_has_an_entry_and_the_first_boots),
		IN_RAM(pci_is_the_bus_of_number_zero),
		IN_RAM(there_is_one_ioapic),
		IN_RAM(isa_interrupts_are_identity_but_the_timer),
		IN_RAM(pci_slots_lead_to_their_gsi),
		IN_RAM(local_interrupts_are_extint_and_nmi),
		cmocka_unit_test(ram_too_small_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
