/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The machine as a flattened device tree (Devicetree Specification 0.4), for
 * kernels without ACPI. As Linux's Documentation/x86/booting-dt.rst wants it,
 * RAM, command line and initrd are not in it: boot_params has them. Bindings
 * are those of Documentation/devicetree; x86's own are the CE4100's.
 *
 * What has no binding (power registers, pvpanic's port) is not there either.
 */
#include <errno.h>
#include <libfdt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <lkvm/machine.h>
#include <lkvm/pci.h>
#include <lkvm/util.h>
#include <lkvm/x86.h>

#define IOAPIC_PHANDLE 1
#define MAX_CELLS 14
#define UART_HZ 1843200

/* intel,ce4100-ioapic: the second cell of an interrupt. */
enum { SENSE_EDGE_RISING = 0, SENSE_LEVEL_LOW = 1 };

/* IEEE Std 1275 bus bindings: the space of an address on PCI and on ISA. */
#define PCI_SPACE_IO 0x01000000
#define PCI_SPACE_MEMORY32 0x02000000
#define PCI_RANGE_CELLS 7
#define ISA_SPACE_IO 1

struct fdt {
	void *blob;
	int error; /* libfdt's, the first; sticky */
};

static void check(struct fdt *fdt, int error)
{
	if (!fdt->error)
		fdt->error = error;
}

__attribute__((format(printf, 2, 3))) static void begin(struct fdt *fdt,
							const char *format, ...)
{
	char name[64];
	va_list args;

	va_start(args, format);
	vsnprintf(name, sizeof(name), format, args);
	va_end(args);
	check(fdt, fdt_begin_node(fdt->blob, name));
}

static void end(struct fdt *fdt)
{
	check(fdt, fdt_end_node(fdt->blob));
}

static void text(struct fdt *fdt, const char *name, const char *value)
{
	check(fdt, fdt_property_string(fdt->blob, name, value));
}

static void flag(struct fdt *fdt, const char *name)
{
	check(fdt, fdt_property(fdt->blob, name, NULL, 0));
}

static void cells(struct fdt *fdt, const char *name, const uint32_t *values,
		  unsigned int count)
{
	fdt32_t raw[MAX_CELLS];

	for (unsigned int i = 0; i < count; i++)
		raw[i] = cpu_to_fdt32(values[i]);
	check(fdt, fdt_property(fdt->blob, name, raw,
				(int)(count * sizeof(raw[0]))));
}

#define CELLS(fdt, name, ...)                                \
	cells(fdt, name, (const uint32_t[]) { __VA_ARGS__ }, \
	      ARRAY_SIZE(((const uint32_t[]) { __VA_ARGS__ })))

/* Two cells each for address and size, as the root says. */
static void reg(struct fdt *fdt, uint64_t base, uint64_t len)
{
	CELLS(fdt, "reg", (uint32_t)(base >> 32), (uint32_t)base,
	      (uint32_t)(len >> 32), (uint32_t)len);
}

static void address_cells(struct fdt *fdt, uint32_t address, uint32_t size)
{
	CELLS(fdt, "#address-cells", address);
	CELLS(fdt, "#size-cells", size);
}

/* ---- processors and interrupt controllers -------------------------------- */

static void add_cpus(struct fdt *fdt, unsigned int cpus)
{
	begin(fdt, "cpus");
	address_cells(fdt, 1, 0);
	for (unsigned int i = 0; i < cpus; i++) {
		begin(fdt, "cpu@%x", i);
		text(fdt, "device_type", "cpu");
		text(fdt, "compatible", "intel,ce4100");
		CELLS(fdt, "reg", i); /* the APIC's id */
		end(fdt);
	}
	end(fdt);
}

static void add_interrupt_controllers(struct fdt *fdt)
{
	begin(fdt, "interrupt-controller@%llx",
	      (unsigned long long)X86_IOAPIC_BASE);
	text(fdt, "compatible", "intel,ce4100-ioapic");
	reg(fdt, X86_IOAPIC_BASE, 0x1000);
	flag(fdt, "interrupt-controller");
	CELLS(fdt, "#interrupt-cells", 2);
	CELLS(fdt, "#address-cells", 0);
	CELLS(fdt, "phandle", IOAPIC_PHANDLE);
	end(fdt);

	begin(fdt, "lapic@%llx", (unsigned long long)X86_LAPIC_BASE);
	text(fdt, "compatible", "intel,ce4100-lapic");
	reg(fdt, X86_LAPIC_BASE, 0x1000);
	end(fdt);
}

/* ---- ISA ----------------------------------------------------------------- */

static void isa_device(struct fdt *fdt, const struct resource *res,
		       const char *name, const char *compatible)
{
	begin(fdt, "%s@i%llx", name, (unsigned long long)res->base);
	text(fdt, "compatible", compatible);
	CELLS(fdt, "reg", ISA_SPACE_IO, (uint32_t)res->base,
	      (uint32_t)res->len);
	CELLS(fdt, "interrupts", res->gsi, SENSE_EDGE_RISING);
}

static void add_isa(struct fdt *fdt, const struct machine *machine)
{
	begin(fdt, "isa@0");
	text(fdt, "device_type", "isa");
	text(fdt, "compatible", "isa");
	address_cells(fdt, 2, 1);
	CELLS(fdt, "ranges", ISA_SPACE_IO, 0, 0, 0, 0x10000);
	for (unsigned int i = 0; i < machine->nr_resources; i++) {
		const struct resource *res = &machine->resource[i];

		if (res->kind == RESOURCE_SERIAL) {
			isa_device(fdt, res, "serial", "ns16550a");
			CELLS(fdt, "clock-frequency", UART_HZ);
			end(fdt);
		} else if (res->kind == RESOURCE_RTC) {
			isa_device(fdt, res, "rtc", "motorola,mc146818");
			end(fdt);
		}
	}
	end(fdt);
}

/* ---- PCI ----------------------------------------------------------------- */

/* INTA of each slot. An entry: the slot's address, pin, controller, GSI. */
static void add_interrupt_map(struct fdt *fdt)
{
	fdt32_t map[PCI_SLOTS][7];

	for (unsigned int slot = 0; slot < PCI_SLOTS; slot++) {
		const uint32_t entry[7] = {
			slot << 11,
			0,
			0,
			1,
			IOAPIC_PHANDLE,
			pci_slot_gsi(slot),
			SENSE_LEVEL_LOW,
		};

		for (unsigned int i = 0; i < ARRAY_SIZE(entry); i++)
			map[slot][i] = cpu_to_fdt32(entry[i]);
	}
	CELLS(fdt, "#interrupt-cells", 1);
	CELLS(fdt, "interrupt-map-mask", 0xf800, 0, 0, 7);
	check(fdt, fdt_property(fdt->blob, "interrupt-map", map, sizeof(map)));
}

/* The windows for BARs: at the same addresses and ports on both sides. */
static void add_ranges(struct fdt *fdt, const struct machine *machine)
{
	uint32_t ranges[2 * PCI_RANGE_CELLS];
	unsigned int count = 0;

	for (unsigned int i = 0; i < machine->nr_resources; i++) {
		const struct resource *res = &machine->resource[i];
		bool ports = res->kind == RESOURCE_PCI_PORTS;
		const uint32_t range[PCI_RANGE_CELLS] = {
			ports ? PCI_SPACE_IO : PCI_SPACE_MEMORY32,
			0,
			(uint32_t)res->base,
			0,
			(uint32_t)res->base,
			0,
			(uint32_t)res->len,
		};

		if (!ports && res->kind != RESOURCE_PCI_MMIO)
			continue;
		if (count + PCI_RANGE_CELLS > ARRAY_SIZE(ranges))
			break;
		memcpy(&ranges[count], range, sizeof(range));
		count += PCI_RANGE_CELLS;
	}
	cells(fdt, "ranges", ranges, count);
}

static void add_pci(struct fdt *fdt, const struct machine *machine)
{
	const struct resource *ecam =
		machine_find_resource(machine, RESOURCE_PCI_ECAM, 0);
	const struct resource *window =
		machine_find_resource(machine, RESOURCE_PCI_MMIO, 0);

	if (!ecam || !window)
		return;
	begin(fdt, "pci@%llx", (unsigned long long)ecam->base);
	text(fdt, "device_type", "pci");
	text(fdt, "compatible", "pci");
	reg(fdt, ecam->base, ecam->len);
	address_cells(fdt, 3, 2);
	CELLS(fdt, "bus-range", 0, 0);
	add_ranges(fdt, machine);
	add_interrupt_map(fdt);
	end(fdt);
}

/* ---- the whole ----------------------------------------------------------- */

static void add_virtio_mmio(struct fdt *fdt, const struct machine *machine)
{
	for (unsigned int i = 0; i < machine->nr_resources; i++) {
		const struct resource *res = &machine->resource[i];

		if (res->kind != RESOURCE_VIRTIO_MMIO)
			continue;
		begin(fdt, "virtio_mmio@%llx", (unsigned long long)res->base);
		text(fdt, "compatible", "virtio,mmio");
		reg(fdt, res->base, res->len);
		CELLS(fdt, "interrupts", res->gsi, SENSE_LEVEL_LOW);
		end(fdt);
	}
}

static void add_root(struct fdt *fdt, const struct machine *machine)
{
	begin(fdt, "%s", "");
	text(fdt, "compatible", "lkvm,pc");
	text(fdt, "model", "lkvm");
	address_cells(fdt, 2, 2);
	CELLS(fdt, "interrupt-parent", IOAPIC_PHANDLE);
	add_cpus(fdt, machine->board->cpus);
	add_interrupt_controllers(fdt);
	add_isa(fdt, machine);
	add_pci(fdt, machine);
	add_virtio_mmio(fdt, machine);
	end(fdt);
}

int arch_device_tree(const struct machine *machine, void **out, size_t *size)
{
	struct fdt fdt = { .blob = malloc(X86_FDT_MAX) };

	if (!fdt.blob)
		return -ENOMEM;
	check(&fdt, fdt_create(fdt.blob, X86_FDT_MAX));
	check(&fdt, fdt_finish_reservemap(fdt.blob));
	add_root(&fdt, machine);
	check(&fdt, fdt_finish(fdt.blob));
	if (fdt.error) {
		free(fdt.blob);
		return fdt.error == -FDT_ERR_NOSPACE ? -ENOSPC : -EINVAL;
	}
	*size = fdt_totalsize(fdt.blob);
	*out = fdt.blob;
	return 0;
}
