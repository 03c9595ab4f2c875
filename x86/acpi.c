/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The machine as ACPI tables: RSDP, XSDT, FADT (hardware-reduced), MADT, MCFG
 * and a DSDT (ACPI 6.4, chapter 5; PCI Firmware Specification 3.2, 4.1.2 for
 * the MCFG). Everything that has an address or an interrupt comes from the
 * machine's list of resources.
 *
 * What is left out is left out on purpose: without SCI, PM timer, VGA and
 * i8042 in the tables, a kernel does not wait for any of them.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/aml.h>
#include <lkvm/hw.h>
#include <lkvm/machine.h>
#include <lkvm/pci.h>
#include <lkvm/util.h>
#include <lkvm/x86.h>

#define OEM_ID "LKVM  "
#define OEM_TABLE_ID "LKVMPC  "
#define CREATOR_ID "LKVM"
#define TABLE_ALIGN 16
#define MAX_TABLES 4 /* in the XSDT */

struct acpi_rsdp { /* 5.2.5.3 */
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt_address;
	uint32_t length;
	uint64_t xsdt_address;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_rsdp) == 36, "RSDP");
#define RSDP_V1_BYTES 20

struct acpi_header { /* 5.2.6 */
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_header) == 36, "table header");

struct acpi_address { /* 5.2.3.2: generic address structure */
	uint8_t space_id;
	uint8_t bit_width;
	uint8_t bit_offset;
	uint8_t access_size;
	uint64_t address;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_address) == 12, "GAS");
#define ACCESS_BYTE 1

struct acpi_fadt { /* 5.2.9, after the header */
	uint32_t firmware_ctrl;
	uint32_t dsdt;
	uint8_t reserved0;
	uint8_t preferred_pm_profile;
	uint8_t fixed_hardware[62]; /* 46..107: reduced hardware has none */
	uint8_t century; /* in the RTC's memory */
	uint16_t iapc_boot_arch;
	uint8_t reserved1;
	uint32_t flags;
	struct acpi_address reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_version;
	uint64_t x_firmware_ctrl;
	uint64_t x_dsdt;
	struct acpi_address x_fixed_hardware[8];
	struct acpi_address sleep_control;
	struct acpi_address sleep_status;
	char hypervisor_id[8];
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_fadt) + sizeof(struct acpi_header) == 276,
	       "FADT");
#define FADT_REVISION 6
#define FADT_MINOR 4
#define FADT_WBINVD (1U << 0)
#define FADT_POWER_BUTTON (1U << 4) /* none in fixed hardware */
#define FADT_SLEEP_BUTTON (1U << 5)
#define FADT_RESET_REG_SUP (1U << 10)
#define FADT_HW_REDUCED (1U << 20)
/* IA-PC boot flags: ISA devices (COM1, RTC) exist, and no VGA. */
#define FADT_LEGACY_DEVICES (1U << 0)
#define FADT_NO_VGA (1U << 2)

struct acpi_madt { /* 5.2.12 */
	uint32_t local_apic_address;
	uint32_t flags;
} __attribute__((packed));
#define MADT_PCAT_COMPAT (1U << 0) /* there is a pair of 8259s, too */

struct madt_local_apic { /* 5.2.12.2 */
	uint8_t type, length;
	uint8_t uid, apic_id;
	uint32_t flags;
} __attribute__((packed));
_Static_assert(sizeof(struct madt_local_apic) == 8, "local APIC");
#define MADT_LOCAL_APIC 0
#define MADT_ENABLED (1U << 0)

struct madt_ioapic { /* 5.2.12.3 */
	uint8_t type, length;
	uint8_t id, reserved;
	uint32_t address;
	uint32_t gsi_base;
} __attribute__((packed));
_Static_assert(sizeof(struct madt_ioapic) == 12, "I/O APIC");
#define MADT_IOAPIC 1

struct madt_override { /* 5.2.12.5 */
	uint8_t type, length;
	uint8_t bus, source;
	uint32_t gsi;
	uint16_t flags;
} __attribute__((packed));
_Static_assert(sizeof(struct madt_override) == 10, "source override");
#define MADT_OVERRIDE 2

struct madt_local_nmi { /* 5.2.12.7 */
	uint8_t type, length;
	uint8_t uid;
	uint16_t flags;
	uint8_t lint;
} __attribute__((packed));
_Static_assert(sizeof(struct madt_local_nmi) == 6, "local APIC NMI");
#define MADT_LOCAL_NMI 4
#define MADT_ALL_CPUS 0xff

struct acpi_mcfg { /* with the one segment group that there is */
	uint64_t reserved0;
	uint64_t base;
	uint16_t segment;
	uint8_t first_bus, last_bus;
	uint32_t reserved1;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_mcfg) == 24, "MCFG");

/* The tables as they will lie in guest RAM from X86_ACPI_BASE on. */
struct tables {
	const struct machine *machine;
	size_t len;
	size_t start; /* of the table that is being written */
	bool full;
	unsigned int count;
	uint64_t address[MAX_TABLES]; /* for the XSDT */
	uint8_t bytes[X86_ACPI_END - X86_ACPI_BASE];
};

uint8_t x86_checksum(const void *data, size_t len)
{
	const uint8_t *bytes = data;
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += bytes[i];
	return -sum;
}

static void append(struct tables *tables, const void *data, size_t len)
{
	if (len > sizeof(tables->bytes) - tables->len) {
		tables->full = true;
		return;
	}
	memcpy(tables->bytes + tables->len, data, len);
	tables->len += len;
}

static void table_begin(struct tables *tables, const char *signature,
			uint8_t revision)
{
	struct acpi_header header = {
		.revision = revision,
		.oem_revision = htole32(1),
		.creator_revision = htole32(1),
	};

	memcpy(header.signature, signature, sizeof(header.signature));
	memcpy(header.oem_id, OEM_ID, sizeof(header.oem_id));
	memcpy(header.oem_table_id, OEM_TABLE_ID, sizeof(header.oem_table_id));
	memcpy(header.creator_id, CREATOR_ID, sizeof(header.creator_id));
	tables->len =
		MIN(align_up(tables->len, TABLE_ALIGN), sizeof(tables->bytes));
	tables->start = tables->len;
	append(tables, &header, sizeof(header));
}

/* Returns the guest physical address of the finished table. */
static uint64_t table_end(struct tables *tables)
{
	size_t len = tables->len - tables->start;
	struct acpi_header header;

	if (tables->full)
		return 0;
	memcpy(&header, tables->bytes + tables->start, sizeof(header));
	header.length = htole32(len);
	memcpy(tables->bytes + tables->start, &header, sizeof(header));
	header.checksum = x86_checksum(tables->bytes + tables->start, len);
	memcpy(tables->bytes + tables->start, &header, sizeof(header));
	return X86_ACPI_BASE + tables->start;
}

/* As table_end(), for a table that the XSDT names. */
static void table_end_listed(struct tables *tables)
{
	tables->address[tables->count++] = table_end(tables);
}

/* ---- DSDT --------------------------------------------------------------- */

static void dsdt_io_irq(struct aml *aml, const struct resource *res)
{
	aml_name(aml, "_CRS");
	aml_resources(aml);
	aml_io(aml, res->base, res->len);
	if (res->gsi != RESOURCE_NO_GSI)
		aml_isa_irq(aml, res->gsi, AML_IRQ_EDGE_SHARED);
	aml_resources_end(aml);
}

/* COM1 and COM3, COM2 and COM4 share a line each, as on every PC. */
static void dsdt_serial(struct aml *aml, const struct resource *res)
{
	char name[] = "COM1";

	name[3] += res->index;
	aml_device(aml, name);
	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0501");
	aml_name_integer(aml, "_UID", res->index + 1);
	dsdt_io_irq(aml, res);
	aml_end(aml);
}

static void dsdt_rtc(struct aml *aml, const struct resource *res)
{
	aml_device(aml, "RTC");
	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0B00");
	dsdt_io_irq(aml, res);
	aml_end(aml);
}

static void dsdt_pvpanic(struct aml *aml, const struct resource *res)
{
	aml_device(aml, "PANC");
	aml_name(aml, "_HID");
	aml_string(aml, "QEMU0001");
	aml_name_integer(aml, "_STA", 0x0f);
	dsdt_io_irq(aml, res);
	aml_end(aml);
}

/*
 * The power button: a generic event device (5.6.9) whose method reads the
 * event register, which also lowers the line, and tells the button (4.8.2.2).
 */
static void dsdt_power_button(struct aml *aml, const struct resource *res)
{
	aml_device(aml, "PWRB");
	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0C0C");
	aml_end(aml);

	aml_device(aml, "GED");
	aml_name(aml, "_HID");
	aml_string(aml, "ACPI0013");
	aml_name(aml, "_CRS");
	aml_resources(aml);
	aml_interrupt(aml, res->gsi, AML_IRQ_LEVEL);
	aml_resources_end(aml);
	aml_op_region(aml, "EREG", res->pio ? AML_SYSTEM_IO : AML_SYSTEM_MEMORY,
		      res->base + POWER_REG_EVENT, 1);
	aml_field(aml, "EREG");
	aml_field_unit(aml, "EVNT", 8);
	aml_end(aml);
	aml_method(aml, "_EVT", 1);
	aml_if(aml);
	aml_op(aml, AML_AND);
	aml_path(aml, "EVNT");
	aml_integer(aml, POWER_EVENT_BUTTON);
	aml_op(aml, AML_NULL_TARGET);
	aml_op(aml, AML_NOTIFY);
	aml_path(aml, "\\_SB.PWRB");
	aml_integer(aml, 0x80);
	aml_end(aml);
	aml_end(aml);
	aml_end(aml);
}

/* 6.2.13: INTA of each slot, wired to a GSI for good. */
static void dsdt_pci_routing(struct aml *aml)
{
	aml_name(aml, "_PRT");
	aml_package(aml, PCI_SLOTS);
	for (unsigned int slot = 0; slot < PCI_SLOTS; slot++) {
		aml_package(aml, 4);
		aml_integer(aml, (uint64_t)slot << 16 | 0xffff);
		aml_integer(aml, 0);
		aml_integer(aml, 0);
		aml_integer(aml, pci_slot_gsi(slot));
		aml_end(aml);
	}
	aml_end(aml);
}

/*
 * _OSC (6.2.11.3): no firmware keeps a PCI Express feature for itself, so a
 * kernel gets whatever it asks for. Bit 2: the UUID is not the one we know.
 */
static void dsdt_pci_osc(struct aml *aml)
{
	static const uint8_t uuid[16] = {
		/* 33DB4D5B-1FF7-401C-9657-... */
		0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40,
		0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66,
	};

	aml_method(aml, "_OSC", 4);
	aml_if(aml);
	aml_op(aml, AML_EQUAL);
	aml_op(aml, AML_ARG0);
	aml_buffer(aml, uuid, sizeof(uuid));
	aml_op(aml, AML_RETURN);
	aml_op(aml, AML_ARG3);
	aml_end(aml);
	aml_op(aml, AML_CREATE_DWORD_FIELD);
	aml_op(aml, AML_ARG3);
	aml_integer(aml, 0);
	aml_path(aml, "STAT");
	aml_op(aml, AML_OR);
	aml_path(aml, "STAT");
	aml_integer(aml, 1U << 2);
	aml_path(aml, "STAT");
	aml_op(aml, AML_RETURN);
	aml_op(aml, AML_ARG3);
	aml_end(aml);
}

static void dsdt_pci(struct aml *aml, const struct machine *machine,
		     const struct resource *ports)
{
	const struct resource *window =
		machine_find_resource(machine, RESOURCE_PCI_MMIO, 0);
	const struct resource *io =
		machine_find_resource(machine, RESOURCE_PCI_PORTS, 0);

	aml_device(aml, "PCI0");
	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0A08");
	aml_name(aml, "_CID");
	aml_eisa_id(aml, "PNP0A03");
	aml_name_integer(aml, "_UID", 0);
	aml_name_integer(aml, "_SEG", 0);
	aml_name_integer(aml, "_BBN", 0);
	aml_name(aml, "_CRS");
	aml_resources(aml);
	aml_bus_numbers(aml, 0, 0);
	aml_io(aml, ports->base, ports->len);
	if (window)
		aml_pci_window(aml, window->base, window->len);
	if (io)
		aml_pci_ports(aml, io->base, io->len);
	aml_resources_end(aml);
	dsdt_pci_routing(aml);
	dsdt_pci_osc(aml);
	aml_end(aml);
}

/* PCI Firmware Specification 3.2, 4.1.2: the window is nobody else's. */
static void dsdt_ecam(struct aml *aml, const struct resource *res)
{
	aml_device(aml, "ECAM");
	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0C02");
	aml_name_integer(aml, "_UID", 0);
	aml_name(aml, "_CRS");
	aml_resources(aml);
	aml_memory32(aml, res->base, res->len);
	aml_resources_end(aml);
	aml_end(aml);
}

/* The id that Linux's driver answers to, in want of one from OASIS. */
static void dsdt_virtio_mmio(struct aml *aml, const struct resource *res)
{
	char name[] = "VR00";

	name[2] += (char)(res->index / 10);
	name[3] += (char)(res->index % 10);
	aml_device(aml, name);
	aml_name(aml, "_HID");
	aml_string(aml, "LNRO0005");
	aml_name_integer(aml, "_UID", res->index);
	aml_name(aml, "_CRS");
	aml_resources(aml);
	aml_memory32(aml, res->base, res->len);
	aml_interrupt(aml, res->gsi, AML_IRQ_LEVEL_LOW_SHARED);
	aml_resources_end(aml);
	aml_end(aml);
}

static void dsdt_resource(struct aml *aml, const struct machine *machine,
			  const struct resource *res)
{
	switch (res->kind) {
	case RESOURCE_SERIAL:
		dsdt_serial(aml, res);
		break;
	case RESOURCE_RTC:
		dsdt_rtc(aml, res);
		break;
	case RESOURCE_POWER:
		dsdt_power_button(aml, res);
		break;
	case RESOURCE_PVPANIC:
		dsdt_pvpanic(aml, res);
		break;
	case RESOURCE_PCI_CONFIG_PORTS:
		dsdt_pci(aml, machine, res);
		break;
	case RESOURCE_PCI_ECAM:
		dsdt_ecam(aml, res);
		break;
	case RESOURCE_VIRTIO_MMIO:
		dsdt_virtio_mmio(aml, res);
		break;
	case RESOURCE_PCI_MMIO: /* within PCI0 */
	case RESOURCE_PCI_PORTS:
	case RESOURCE_VIRTIO_PLACE: /* nothing there */
	case RESOURCE_KEYBOARD: /* a PNP0303 would be probed for a keyboard */
	case RESOURCE_DEBUG_EXIT: /* for guests that know the port */
	case RESOURCE_BOOT_TIMER:
		break;
	}
}

/* Returns its address in *@address. */
static int write_dsdt(struct tables *tables, uint64_t *address)
{
	const struct machine *machine = tables->machine;
	struct aml aml;
	size_t len;
	int ret;

	table_begin(tables, "DSDT", 2); /* 2: integers have 64 bits */
	aml_init(&aml, tables->bytes + tables->len,
		 sizeof(tables->bytes) - tables->len);

	aml_name(&aml, "\\_S5");
	aml_package(&aml, 4);
	aml_integer(&aml, POWER_SLP_TYP_S5);
	for (unsigned int i = 1; i < 4; i++)
		aml_integer(&aml, 0);
	aml_end(&aml);

	aml_scope(&aml, "\\_SB");
	for (unsigned int i = 0; i < machine->nr_resources; i++)
		dsdt_resource(&aml, machine, &machine->resource[i]);
	aml_end(&aml);

	ret = aml_finish(&aml, &len);
	if (ret)
		return ret;
	tables->len += len;
	*address = table_end(tables);
	return 0;
}

/* ---- the other tables --------------------------------------------------- */

static struct acpi_address power_register(const struct resource *power,
					  unsigned int offset)
{
	return (struct acpi_address) {
		.space_id = power->pio ? AML_SYSTEM_IO : AML_SYSTEM_MEMORY,
		.bit_width = 8,
		.access_size = ACCESS_BYTE,
		.address = htole64(power->base + offset),
	};
}

static void write_fadt(struct tables *tables, uint64_t dsdt)
{
	const struct resource *power =
		machine_find_resource(tables->machine, RESOURCE_POWER, 0);
	uint32_t flags = FADT_HW_REDUCED | FADT_WBINVD | FADT_POWER_BUTTON |
			 FADT_SLEEP_BUTTON;
	struct acpi_fadt fadt = {
		.dsdt = htole32(dsdt),
		.x_dsdt = htole64(dsdt),
		.century = RTC_CENTURY,
		/*
		 * No 8042 bit: a kernel then asks no keyboard controller, and
		 * may still pulse its reset line (Linux: reboot=k).
		 */
		.iapc_boot_arch = htole16(FADT_LEGACY_DEVICES | FADT_NO_VGA),
		.minor_version = FADT_MINOR,
		.hypervisor_id = "LKVM",
	};

	if (power) {
		flags |= FADT_RESET_REG_SUP;
		fadt.reset_reg = power_register(power, POWER_REG_RESET);
		fadt.reset_value = POWER_RESET_VALUE;
		fadt.sleep_control =
			power_register(power, POWER_REG_SLEEP_CONTROL);
		fadt.sleep_status =
			power_register(power, POWER_REG_SLEEP_STATUS);
	}
	fadt.flags = htole32(flags);
	table_begin(tables, "FACP", FADT_REVISION);
	append(tables, &fadt, sizeof(fadt));
	table_end_listed(tables);
}

static void write_madt(struct tables *tables, unsigned int cpus)
{
	const struct acpi_madt madt = {
		.local_apic_address = htole32(X86_LAPIC_BASE),
		.flags = htole32(MADT_PCAT_COMPAT),
	};
	const struct madt_ioapic ioapic = {
		.type = MADT_IOAPIC,
		.length = sizeof(ioapic),
		.id = X86_IOAPIC_ID,
		.address = htole32(X86_IOAPIC_BASE),
	};
	const struct madt_override timer = {
		.type = MADT_OVERRIDE,
		.length = sizeof(timer),
		.gsi = htole32(X86_TIMER_PIN),
	};
	const struct madt_local_nmi nmi = {
		.type = MADT_LOCAL_NMI,
		.length = sizeof(nmi),
		.uid = MADT_ALL_CPUS,
		.lint = 1,
	};
	struct madt_local_apic apic = {
		.type = MADT_LOCAL_APIC,
		.length = sizeof(apic),
		.flags = htole32(MADT_ENABLED),
	};

	table_begin(tables, "APIC", 5);
	append(tables, &madt, sizeof(madt));
	for (unsigned int i = 0; i < cpus; i++) {
		apic.uid = i;
		apic.apic_id = i;
		append(tables, &apic, sizeof(apic));
	}
	append(tables, &ioapic, sizeof(ioapic));
	append(tables, &timer, sizeof(timer));
	append(tables, &nmi, sizeof(nmi));
	table_end_listed(tables);
}

static void write_mcfg(struct tables *tables)
{
	const struct resource *ecam =
		machine_find_resource(tables->machine, RESOURCE_PCI_ECAM, 0);
	struct acpi_mcfg mcfg = { 0 };

	if (!ecam)
		return;
	mcfg.base = htole64(ecam->base);
	mcfg.last_bus = ecam->len / MIB - 1; /* 1 MiB each */
	table_begin(tables, "MCFG", 1);
	append(tables, &mcfg, sizeof(mcfg));
	table_end_listed(tables);
}

static uint64_t write_xsdt(struct tables *tables)
{
	table_begin(tables, "XSDT", 1);
	for (unsigned int i = 0; i < tables->count; i++) {
		uint64_t entry = htole64(tables->address[i]);

		append(tables, &entry, sizeof(entry));
	}
	return table_end(tables);
}

static void write_rsdp(struct tables *tables, uint64_t xsdt)
{
	struct acpi_rsdp rsdp = {
		.revision = 2,
		.length = htole32(sizeof(rsdp)),
		.xsdt_address = htole64(xsdt),
	};

	memcpy(rsdp.signature, "RSD PTR ", sizeof(rsdp.signature));
	memcpy(rsdp.oem_id, OEM_ID, sizeof(rsdp.oem_id));
	rsdp.checksum = x86_checksum(&rsdp, RSDP_V1_BYTES);
	rsdp.extended_checksum = x86_checksum(&rsdp, sizeof(rsdp));
	memcpy(tables->bytes, &rsdp, sizeof(rsdp));
}

int x86_acpi_write(const struct machine *machine, unsigned int cpus)
{
	struct tables *tables = calloc(1, sizeof(*tables));
	uint64_t dsdt, xsdt;
	int ret;

	if (!tables)
		return -ENOMEM;
	tables->machine = machine;
	tables->len = sizeof(struct acpi_rsdp);
	ret = write_dsdt(tables, &dsdt);
	if (ret)
		goto out;
	write_fadt(tables, dsdt);
	write_madt(tables, cpus);
	write_mcfg(tables);
	xsdt = write_xsdt(tables);
	write_rsdp(tables, xsdt);
	ret = -ENOSPC;
	if (tables->full)
		goto out;
	ret = guest_write(&machine->memory, X86_ACPI_BASE, tables->bytes,
			  tables->len);
out:
	free(tables);
	return ret;
}
