/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The machine for kernels without ACPI: floating pointer and configuration
 * table of the MultiProcessor Specification 1.4, chapter 4.
 *
 * The table cannot name the resources of machine.h; it tells how interrupts
 * reach the I/O APIC, and the board's fixed wiring is all of that.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/machine.h>
#include <lkvm/pci.h>
#include <lkvm/util.h>
#include <lkvm/x86.h>

struct mp_pointer { /* 4.1 */
	char signature[4];
	uint32_t table;
	uint8_t length; /* in units of 16 bytes */
	uint8_t spec_revision;
	uint8_t checksum;
	uint8_t features[5]; /* zero: the table exists, no IMCR */
} __attribute__((packed));
_Static_assert(sizeof(struct mp_pointer) == 16, "MP floating pointer");

struct mp_header { /* 4.2 */
	char signature[4];
	uint16_t length;
	uint8_t spec_revision;
	uint8_t checksum;
	char oem_id[8];
	char product_id[12];
	uint32_t oem_table;
	uint16_t oem_table_size;
	uint16_t entry_count;
	uint32_t local_apic_address;
	uint16_t extended_length;
	uint8_t extended_checksum;
	uint8_t reserved;
} __attribute__((packed));
_Static_assert(sizeof(struct mp_header) == 44, "MP table header");

struct mp_processor { /* 4.3.1 */
	uint8_t type;
	uint8_t apic_id;
	uint8_t apic_version;
	uint8_t flags;
	uint32_t signature;
	uint32_t features;
	uint32_t reserved[2];
} __attribute__((packed));
_Static_assert(sizeof(struct mp_processor) == 20, "MP processor");
#define MP_CPU_ENABLED 0x01
#define MP_CPU_BOOT 0x02

struct mp_bus { /* 4.3.2 */
	uint8_t type;
	uint8_t id;
	char name[6];
} __attribute__((packed));
_Static_assert(sizeof(struct mp_bus) == 8, "MP bus");

struct mp_ioapic { /* 4.3.3 */
	uint8_t type;
	uint8_t id;
	uint8_t version;
	uint8_t flags;
	uint32_t address;
} __attribute__((packed));
_Static_assert(sizeof(struct mp_ioapic) == 8, "MP I/O APIC");
#define MP_IOAPIC_ENABLED 0x01

struct mp_interrupt { /* 4.3.4 and, for a local APIC's input, 4.3.5 */
	uint8_t type;
	uint8_t kind;
	uint16_t flags; /* zero: polarity and trigger as the bus has them */
	uint8_t bus;
	uint8_t bus_irq;
	uint8_t apic_id;
	uint8_t apic_input;
} __attribute__((packed));
_Static_assert(sizeof(struct mp_interrupt) == 8, "MP interrupt");

enum mp_entry {
	MP_PROCESSOR,
	MP_BUS,
	MP_IOAPIC,
	MP_INTERRUPT,
	MP_LOCAL_INTERRUPT,
};

enum mp_kind { MP_INT, MP_NMI, MP_SMI, MP_EXTINT };

#define MP_REVISION 4
#define MP_LOCAL_APIC_VERSION 0x14 /* integrated; KVM's */
#define MP_IOAPIC_VERSION 0x11
#define MP_ALL_LOCAL_APICS 0xff
/* Linux takes the id of a PCI bus here for its number. */
#define MP_BUS_PCI 0
#define MP_BUS_ISA 1

struct mp_table {
	size_t len;
	unsigned int entries;
	bool full;
	uint8_t bytes[X86_MPTABLE_END - X86_MPTABLE_BASE];
};

static void add(struct mp_table *table, const void *entry, size_t len)
{
	if (len > sizeof(table->bytes) - table->len) {
		table->full = true;
		return;
	}
	memcpy(table->bytes + table->len, entry, len);
	table->len += len;
	table->entries++;
}

static void add_processors(struct mp_table *table, unsigned int cpus)
{
	struct mp_processor cpu = {
		.type = MP_PROCESSOR,
		.apic_version = MP_LOCAL_APIC_VERSION,
		.signature = htole32(0x600), /* family 6; CPUID knows better */
		.features = htole32(1U << 9 | 1U << 0), /* local APIC, FPU */
	};

	for (unsigned int i = 0; i < cpus; i++) {
		cpu.apic_id = i;
		cpu.flags = MP_CPU_ENABLED | (i ? 0 : MP_CPU_BOOT);
		add(table, &cpu, sizeof(cpu));
	}
}

static void add_buses(struct mp_table *table)
{
	const struct mp_bus bus[] = {
		{ .type = MP_BUS, .id = MP_BUS_PCI, .name = "PCI   " },
		{ .type = MP_BUS, .id = MP_BUS_ISA, .name = "ISA   " },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(bus); i++)
		add(table, &bus[i], sizeof(bus[i]));
}

static void add_ioapic(struct mp_table *table)
{
	const struct mp_ioapic ioapic = {
		.type = MP_IOAPIC,
		.id = X86_IOAPIC_ID,
		.version = MP_IOAPIC_VERSION,
		.flags = MP_IOAPIC_ENABLED,
		.address = htole32(X86_IOAPIC_BASE),
	};

	add(table, &ioapic, sizeof(ioapic));
}

static void add_interrupt(struct mp_table *table, uint8_t bus, uint8_t bus_irq,
			  uint8_t input)
{
	const struct mp_interrupt interrupt = {
		.type = MP_INTERRUPT,
		.kind = MP_INT,
		.bus = bus,
		.bus_irq = bus_irq,
		.apic_id = X86_IOAPIC_ID,
		.apic_input = input,
	};

	add(table, &interrupt, sizeof(interrupt));
}

static void add_interrupts(struct mp_table *table)
{
	add_interrupt(table, MP_BUS_ISA, 0, X86_TIMER_PIN);
	for (unsigned int irq = 1; irq < X86_ISA_IRQS; irq++) {
		if (irq != X86_TIMER_PIN)
			add_interrupt(table, MP_BUS_ISA, irq, irq);
	}
	/* D.3: bits 6..2 the slot, bits 1..0 the pin, 0 for INTA */
	for (unsigned int slot = 0; slot < PCI_SLOTS; slot++)
		add_interrupt(table, MP_BUS_PCI, slot << 2, pci_slot_gsi(slot));
}

/* The 8259s reach every LINT0, and LINT1 is the NMI. */
static void add_local_interrupts(struct mp_table *table)
{
	static const uint8_t kind[] = { MP_EXTINT, MP_NMI };

	for (unsigned int lint = 0; lint < ARRAY_SIZE(kind); lint++) {
		const struct mp_interrupt interrupt = {
			.type = MP_LOCAL_INTERRUPT,
			.kind = kind[lint],
			.bus = MP_BUS_ISA,
			.apic_id = MP_ALL_LOCAL_APICS,
			.apic_input = lint,
		};

		add(table, &interrupt, sizeof(interrupt));
	}
}

/* Both headers, once the entries are known. */
static void finish(struct mp_table *table)
{
	struct mp_pointer pointer = {
		.signature = { '_', 'M', 'P', '_' },
		.table = htole32(X86_MPTABLE_BASE + sizeof(pointer)),
		.length = sizeof(pointer) / 16,
		.spec_revision = MP_REVISION,
	};
	uint8_t *start = table->bytes + sizeof(pointer);
	size_t len = table->len - sizeof(pointer);
	struct mp_header header = {
		.signature = { 'P', 'C', 'M', 'P' },
		.length = htole16(len),
		.spec_revision = MP_REVISION,
		.oem_id = { 'L', 'K', 'V', 'M', ' ', ' ', ' ', ' ' },
		.entry_count = htole16(table->entries),
		.local_apic_address = htole32(X86_LAPIC_BASE),
	};

	memcpy(header.product_id, "LKVMPC      ", sizeof(header.product_id));
	memcpy(start, &header, sizeof(header));
	header.checksum = x86_checksum(start, len);
	memcpy(start, &header, sizeof(header));
	pointer.checksum = x86_checksum(&pointer, sizeof(pointer));
	memcpy(table->bytes, &pointer, sizeof(pointer));
}

int x86_mptable_write(const struct machine *machine, unsigned int cpus)
{
	struct mp_table *table = calloc(1, sizeof(*table));
	int ret = -ENOSPC;

	if (!table)
		return -ENOMEM;
	table->len = sizeof(struct mp_pointer) + sizeof(struct mp_header);
	add_processors(table, cpus);
	add_buses(table);
	add_ioapic(table);
	add_interrupts(table);
	add_local_interrupts(table);
	if (table->full)
		goto out;
	finish(table);
	ret = guest_write(&machine->memory, X86_MPTABLE_BASE, table->bytes,
			  table->len);
out:
	free(table);
	return ret;
}
