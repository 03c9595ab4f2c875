/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ACPI tables of an ordinary board: what a kernel checks before it
 * believes them, what ACPICA's compiler says to them, and AML's lengths.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/aml.h>
#include <lkvm/hw.h>

#include "tables.h"

#define POWER_PORT 0x600

static const struct resource board[] = {
	{ RESOURCE_POWER, true, 0, POWER_PORT, POWER_REG_BYTES, 9 },
	{ RESOURCE_RTC, true, 0, 0x70, 2, 8 },
	{ RESOURCE_KEYBOARD, true, 0, 0x60, 5, 1 },
	{ RESOURCE_SERIAL, true, 0, 0x3f8, 8, 4 },
	{ RESOURCE_SERIAL, true, 1, 0x2f8, 8, 3 },
	{ RESOURCE_SERIAL, true, 2, 0x3e8, 8, 4 },
	{ RESOURCE_SERIAL, true, 3, 0x2e8, 8, 3 },
	{ RESOURCE_PVPANIC, true, 0, 0x505, 1, RESOURCE_NO_GSI },
	{ RESOURCE_PCI_CONFIG_PORTS, true, 0, 0xcf8, 8, RESOURCE_NO_GSI },
	{ RESOURCE_PCI_ECAM, false, 0, X86_ECAM_BASE, X86_ECAM_BYTES,
	  RESOURCE_NO_GSI },
	{ RESOURCE_PCI_MMIO, false, 0, X86_PCI_MMIO_BASE, X86_PCI_MMIO_BYTES,
	  RESOURCE_NO_GSI },
	{ RESOURCE_PCI_PORTS, true, 0, X86_PCI_PORTS, X86_PCI_PORTS_COUNT,
	  RESOURCE_NO_GSI },
	{ RESOURCE_VIRTIO_MMIO, false, 12, 0xf000c000, 0x1000, 20 },
	{ RESOURCE_VIRTIO_PLACE, false, 13, 0xf000d000, 0x1000, 21 },
};

static int setup(void **state)
{
	struct fixture *f;

	if (setup_ram(state))
		return -1;
	f = *state;
	for (size_t i = 0; i < ARRAY_SIZE(board); i++)
		machine_add_resource(&f->machine, &board[i]);
	return 0;
}

/* The table at @gpa, after all that is common to tables was checked. */
static const uint8_t *table_at(const struct fixture *f, uint64_t gpa)
{
	const uint8_t *table = f->ram + gpa;
	uint32_t len;

	assert_in_range(gpa, X86_ACPI_BASE + 36, X86_ACPI_END - 36);
	assert_int_equal(gpa % 16, 0);
	len = load(table + 4, 4);
	assert_in_range(len, 36, X86_ACPI_END - gpa);
	assert_int_equal(sum(table, len), 0);
	assert_memory_equal(table + 10, "LKVM  LKVMPC  ", 14);
	return table;
}

static const uint8_t *find_table(const struct fixture *f, const char *name)
{
	const uint8_t *xsdt = table_at(f, load(f->ram + X86_ACPI_BASE + 24, 8));
	uint32_t len = load(xsdt + 4, 4);

	for (uint32_t at = 36; at < len; at += 8) {
		const uint8_t *table = table_at(f, load(xsdt + at, 8));

		if (!memcmp(table, name, 4))
			return table;
	}
	return NULL;
}

static const uint8_t *find_dsdt(const struct fixture *f)
{
	return table_at(f, load(find_table(f, "FACP") + 140, 8));
}

static void rsdp_is_the_first_thing_at_its_address(void **state)
{
	struct fixture *f = *state;
	const uint8_t *rsdp = f->ram + X86_ACPI_BASE;

	assert_int_equal(x86_acpi_write(&f->machine, 1), 0);
	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, 36), 0);
	assert_int_equal(rsdp[15], 2);
	assert_int_equal(load(rsdp + 16, 4), 0); /* no RSDT */
	assert_int_equal(load(rsdp + 20, 4), 36);
}

static void xsdt_names_every_table_once(void **state)
{
	struct fixture *f = *state;
	const uint8_t *xsdt;

	assert_int_equal(x86_acpi_write(&f->machine, 1), 0);
	xsdt = table_at(f, load(f->ram + X86_ACPI_BASE + 24, 8));
	assert_memory_equal(xsdt, "XSDT", 4);
	assert_int_equal(xsdt[8], 1);
	assert_int_equal(load(xsdt + 4, 4), 36 + 3 * 8);
	assert_non_null(find_table(f, "FACP"));
	assert_non_null(find_table(f, "APIC"));
	assert_non_null(find_table(f, "MCFG"));
}

static void assert_register(const uint8_t *gas, uint64_t port)
{
	static const uint8_t byte_port[4] = { 1, 8, 0, 1 };

	assert_memory_equal(gas, byte_port, 4);
	assert_int_equal(load(gas + 4, 8), port);
}

static void fadt_describes_a_hardware_reduced_machine(void **state)
{
	struct fixture *f = *state;
	const uint8_t *fadt;
	uint32_t flags;

	assert_int_equal(x86_acpi_write(&f->machine, 1), 0);
	fadt = find_table(f, "FACP");
	assert_int_equal(load(fadt + 4, 4), 276);
	assert_int_equal(fadt[8], 6);
	assert_int_equal(fadt[131], 4);
	flags = load(fadt + 112, 4);
	assert_true(flags & 1U << 20); /* HW_REDUCED_ACPI */
	assert_true(flags & 1U << 10); /* RESET_REG_SUP */
	assert_int_equal(load(fadt + 40, 4), load(fadt + 140, 8));
	assert_int_equal(load(fadt + 36, 4), 0); /* no FACS */
	assert_int_equal(sum(fadt + 46, 62), 0); /* no fixed hardware */
	assert_int_equal(sum(fadt + 148, 96), 0);
	assert_int_equal(fadt[108], 0x32); /* century */
	/* no 8042 to probe, no VGA; MSI and the CMOS clock are there */
	assert_int_equal(load(fadt + 109, 2) & 0x2e, 0x04);
	assert_register(fadt + 116, POWER_PORT + POWER_REG_RESET);
	assert_int_equal(fadt[128], POWER_RESET_VALUE);
	assert_register(fadt + 244, POWER_PORT + POWER_REG_SLEEP_CONTROL);
	assert_register(fadt + 256, POWER_PORT + POWER_REG_SLEEP_STATUS);
}

static void power_registers_may_be_memory(void **state)
{
	struct fixture *f = *state;
	const uint8_t *fadt;

	f->machine.resource[0].pio = false;
	f->machine.resource[0].base = 0xc8001000;
	assert_int_equal(x86_acpi_write(&f->machine, 1), 0);
	fadt = find_table(f, "FACP");
	assert_int_equal(fadt[116], 0);
	assert_int_equal(load(fadt + 120, 8), 0xc8001000 + POWER_REG_RESET);
}

/* Walk the MADT of @cpus: every entry is well formed, each CPU is there. */
static void check_madt(struct fixture *f, unsigned int cpus)
{
	unsigned int seen[5] = { 0 };
	const uint8_t *madt, *entry, *end;

	assert_int_equal(x86_acpi_write(&f->machine, cpus), 0);
	madt = find_table(f, "APIC");
	assert_int_equal(load(madt + 36, 4), X86_LAPIC_BASE);
	end = madt + load(madt + 4, 4);
	for (entry = madt + 44; entry < end; entry += entry[1]) {
		static const uint8_t length[5] = { 8, 12, 10, 0, 6 };

		assert_in_range(entry[0], 0, 4);
		assert_int_equal(entry[1], length[entry[0]]);
		if (entry[0] == 0) {
			assert_int_equal(entry[2], seen[0]);
			assert_int_equal(entry[3], seen[0]);
			assert_int_equal(load(entry + 4, 4), 1);
		} else if (entry[0] == 1) {
			assert_int_equal(entry[2], X86_IOAPIC_ID);
			assert_int_equal(load(entry + 4, 4), X86_IOAPIC_BASE);
			assert_int_equal(load(entry + 8, 4), 0);
		} else if (entry[0] == 2) {
			assert_int_equal(load(entry + 2, 2), 0);
			assert_int_equal(load(entry + 4, 4), 2);
		}
		seen[entry[0]]++;
	}
	assert_ptr_equal(entry, end);
	assert_int_equal(seen[0], cpus);
	assert_int_equal(seen[1], 1);
	assert_int_equal(seen[2], 1);
	assert_int_equal(seen[4], 1);
}

static void madt_has_an_entry_for_each_cpu(void **state)
{
	check_madt(*state, 1);
	check_madt(*state, 2);
	check_madt(*state, ARCH_MAX_CPUS);
}

static void mcfg_names_the_ecam_window(void **state)
{
	struct fixture *f = *state;
	const uint8_t *mcfg;

	assert_int_equal(x86_acpi_write(&f->machine, 1), 0);
	mcfg = find_table(f, "MCFG");
	assert_int_equal(load(mcfg + 4, 4), 60);
	assert_int_equal(load(mcfg + 44, 8), X86_ECAM_BASE);
	assert_int_equal(load(mcfg + 52, 4), 0); /* segment 0, bus 0 to 0 */

	f->machine.resource[9].len = 2 * MIB;
	assert_int_equal(x86_acpi_write(&f->machine, 1), 0);
	mcfg = find_table(f, "MCFG");
	assert_int_equal(load(mcfg + 52, 4), 1 << 24); /* bus 0 to 1 */
}

static void no_ecam_means_no_mcfg(void **state)
{
	struct fixture *f = *state;

	f->machine.nr_resources = 9; /* up to the configuration ports */
	assert_int_equal(x86_acpi_write(&f->machine, 1), 0);
	assert_null(find_table(f, "MCFG"));
	assert_non_null(find_table(f, "APIC"));
}

static void ram_too_small_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct machine *small = calloc(1, sizeof(*small));

	assert_non_null(small);
	*small = f->machine;
	memory_init(&small->memory, -1);
	assert_int_equal(memory_add_ram(&small->memory, 0, 64 * KIB), 0);
	assert_int_equal(x86_acpi_write(small, 1), -EFAULT);
	memory_release(&small->memory);
	free(small);
}

static void unnameable_resource_is_an_error(void **state)
{
	struct fixture *f = *state;

	/* The ECAM window's descriptor has 32-bit addresses. */
	f->machine.resource[9].base = 1ULL << 32;
	assert_int_equal(x86_acpi_write(&f->machine, 1), -EINVAL);
	f->machine.resource[9].base = UINT32_MAX;
	assert_int_equal(x86_acpi_write(&f->machine, 1), -EINVAL);
}

static void pci_windows_are_named(void **state)
{
	static const uint8_t expected[] =
		/* ports, producer, fixed, the entire range: 0xc000 to 0xdfff */
		"\x88\x0d\x00\x01\x0c\x03\x00\x00"
		"\x00\xc0\xff\xdf\x00\x00\x00\x20";
	struct fixture *f = *state;
	const uint8_t *dsdt;

	assert_int_equal(x86_acpi_write(&f->machine, 1), 0);
	dsdt = find_dsdt(f);
	assert_non_null(memmem(dsdt, load(dsdt + 4, 4), expected,
			       sizeof(expected) - 1));
}

static void virtio_mmio_devices_are_named_and_places_are_not(void **state)
{
	static const uint8_t expected[] =
		"LNRO0005\0"
		"\x08_UID\x0a\x0c"
		"\x08_CRS\x11\x1b\x0b\x17\x00"
		/* memory, writable: base and length */
		"\x86\x09\x00\x01\x00\xc0\x00\xf0\x00\x10\x00\x00"
		/* consumer, level, active low, shared: one GSI */
		"\x89\x06\x00\x0d\x01\x14\x00\x00\x00"
		"\x79\x00";
	struct fixture *f = *state;
	const uint8_t *dsdt, *found;
	size_t len;

	assert_int_equal(x86_acpi_write(&f->machine, 1), 0);
	dsdt = find_dsdt(f);
	len = load(dsdt + 4, 4);
	found = memmem(dsdt, len, "LNRO", 4);
	assert_non_null(found);
	assert_memory_equal(found, expected, sizeof(expected) - 1);
	assert_memory_equal(found - 10, "VR12\x08_HID\x0d", 10);
	len -= (size_t)(found + 4 - dsdt);
	assert_null(memmem(found + 4, len, "LNRO", 4));
}

/* ---- AML ---------------------------------------------------------------- */

/* A scope with @body bytes of content gets exactly the @len expected bytes. */
static void check_package_length(uint32_t body, const uint8_t *expected,
				 size_t len)
{
	size_t size = body + 16, used;
	uint8_t *data = malloc(size);
	struct aml aml;

	assert_non_null(data);
	aml_init(&aml, data, size);
	aml_scope(&aml, "_SB"); /* four bytes of the body */
	for (uint32_t i = 4; i < body; i++)
		aml_integer(&aml, 1); /* one each */
	aml_end(&aml);
	assert_int_equal(aml_finish(&aml, &used), 0);
	assert_int_equal(used, 1 + len + body);
	assert_memory_equal(data + 1, expected, len);
	assert_memory_equal(data + 1 + len, "_SB_", 4);
	assert_int_equal(data[used - 1], body > 4 ? 1 : '_');
	free(data);
}

static void package_lengths_use_the_shortest_form(void **state)
{
	(void)state;
	check_package_length(4, (const uint8_t[]) { 5 }, 1);
	check_package_length(62, (const uint8_t[]) { 63 }, 1);
	check_package_length(63, (const uint8_t[]) { 0x41, 0x04 }, 2);
	check_package_length(4093, (const uint8_t[]) { 0x4f, 0xff }, 2);
	check_package_length(4094, (const uint8_t[]) { 0x81, 0x00, 0x01 }, 3);
	check_package_length((1 << 20) - 4,
			     (const uint8_t[]) { 0x8f, 0xff, 0xff }, 3);
	check_package_length((1 << 20) - 3,
			     (const uint8_t[]) { 0xc1, 0x00, 0x00, 0x01 }, 4);
}

static void integers_use_the_shortest_form(void **state)
{
	static const uint8_t expected[] = {
		0x00, /* Zero */
		0x01, /* One */
		0x0a, 0x02, 0x0a, 0xff, /* bytes */
		0x0b, 0x00, 0x01, 0x0b, 0xff, 0xff, /* words */
		0x0c, 0x00, 0x00, 0x01, 0x00, /* dword */
		0x0e, 0,    0,	  0,	0,    1,    0, 0, 0, /* qword */
	};
	uint8_t data[64];
	struct aml aml;
	size_t len;

	(void)state;
	aml_init(&aml, data, sizeof(data));
	aml_integer(&aml, 0);
	aml_integer(&aml, 1);
	aml_integer(&aml, 2);
	aml_integer(&aml, 0xff);
	aml_integer(&aml, 0x100);
	aml_integer(&aml, 0xffff);
	aml_integer(&aml, 0x10000);
	aml_integer(&aml, 1ULL << 32);
	assert_int_equal(aml_finish(&aml, &len), 0);
	assert_int_equal(len, sizeof(expected));
	assert_memory_equal(data, expected, len);
}

static void names_are_encoded_as_the_grammar_says(void **state)
{
	static const uint8_t expected[] = "A___"
					  "\\_SB_"
					  "\\\x2e_SB_PCI0"
					  "\x2f\x03_SB_PCI0COM1";
	uint8_t data[64];
	struct aml aml;
	size_t len;

	(void)state;
	aml_init(&aml, data, sizeof(data));
	aml_path(&aml, "A");
	aml_path(&aml, "\\_SB");
	aml_path(&aml, "\\_SB.PCI0");
	aml_path(&aml, "_SB.PCI0.COM1");
	assert_int_equal(aml_finish(&aml, &len), 0);
	assert_int_equal(len, sizeof(expected) - 1);
	assert_memory_equal(data, expected, len);
}

static void methods_are_serialized(void **state)
{
	static const uint8_t expected[] = "\x14\x06_EVT\x09";
	uint8_t data[16];
	struct aml aml;
	size_t len;

	(void)state;
	aml_init(&aml, data, sizeof(data));
	aml_method(&aml, "_EVT", 1);
	aml_end(&aml);
	assert_int_equal(aml_finish(&aml, &len), 0);
	assert_int_equal(len, sizeof(expected) - 1);
	assert_memory_equal(data, expected, len);
}

static void eisa_ids_are_compressed(void **state)
{
	static const uint8_t expected[] = { 0x0c, 0x41, 0xd0, 0x0a, 0x08 };
	uint8_t data[8];
	struct aml aml;
	size_t len;

	(void)state;
	aml_init(&aml, data, sizeof(data));
	aml_eisa_id(&aml, "PNP0A08");
	assert_int_equal(aml_finish(&aml, &len), 0);
	assert_int_equal(len, sizeof(expected));
	assert_memory_equal(data, expected, len);
}

static void malformed_names_are_refused(void **state)
{
	static const char *const bad[] = { "",	   "TOOLONG", "1ABC", "abcd",
					   "A..B", "\\",      "A B",  "AB." };
	uint8_t data[64];
	struct aml aml;
	size_t len = 77;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		aml_init(&aml, data, sizeof(data));
		aml_path(&aml, bad[i]);
		assert_int_equal(aml_finish(&aml, &len), -EINVAL);
	}
	aml_init(&aml, data, sizeof(data));
	aml_eisa_id(&aml, "PN");
	assert_int_equal(aml_finish(&aml, &len), -EINVAL);
	assert_int_equal(len, 77);
}

static void overflow_is_sticky_and_writes_nothing_behind(void **state)
{
	uint8_t data[24] = { 0 };
	struct aml aml;
	size_t len;

	(void)state;
	aml_init(&aml, data, 6);
	aml_string(&aml, "too long");
	assert_int_equal(aml_finish(&aml, &len), -ENOSPC);
	aml_integer(&aml, 1);
	assert_int_equal(aml_finish(&aml, &len), -ENOSPC);
	assert_int_equal(sum(data + 6, sizeof(data) - 6), 0);

	/* the length itself has no room */
	aml_init(&aml, data, 6);
	aml_scope(&aml, "_SB"); /* five bytes */
	aml_integer(&aml, 1);
	aml_end(&aml);
	assert_int_equal(aml_finish(&aml, &len), -ENOSPC);
	assert_int_equal(sum(data + 6, sizeof(data) - 6), 0);
}

static void unbalanced_ends_are_refused(void **state)
{
	uint8_t data[64];
	struct aml aml;
	size_t len;

	(void)state;
	aml_init(&aml, data, sizeof(data));
	aml_scope(&aml, "_SB");
	assert_int_equal(aml_finish(&aml, &len), -EINVAL);
	aml_end(&aml);
	assert_int_equal(aml_finish(&aml, &len), 0);
	aml_end(&aml);
	assert_int_equal(aml_finish(&aml, &len), -EINVAL);
}

static void nesting_is_bounded(void **state)
{
	uint8_t data[256];
	struct aml aml;
	size_t len;

	(void)state;
	aml_init(&aml, data, sizeof(data));
	for (unsigned int i = 0; i <= AML_MAX_DEPTH; i++)
		aml_if(&aml);
	assert_int_equal(aml_finish(&aml, &len), -ENOSPC);
}

static void resource_templates_count_their_bytes(void **state)
{
	static const uint8_t expected[] = {
		0x11, 0x0e, 0x0b, 0x0a, 0x00, /* Buffer (10) */
		0x47, 0x01, 0xf8, 0x03, 0xf8, 0x03, 0x01, 0x08, /* IO */
		0x79, 0x00, /* end tag */
	};
	uint8_t data[64];
	struct aml aml;
	size_t len;

	(void)state;
	aml_init(&aml, data, sizeof(data));
	aml_resources(&aml);
	aml_io(&aml, 0x3f8, 8);
	aml_resources_end(&aml);
	assert_int_equal(aml_finish(&aml, &len), 0);
	assert_int_equal(len, sizeof(expected));
	assert_memory_equal(data, expected, len);
}

/* ---- ACPICA's opinion --------------------------------------------------- */

static void write_table(const char *dir, const char *name, const uint8_t *table)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(table, load(table + 4, 4), 1, file), 1);
	assert_int_equal(fclose(file), 0);
}

static void remove_dir(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	assert_non_null(dir);
	while ((entry = readdir(dir)))
		unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
	assert_int_equal(rmdir(path), 0);
}

/* Run @command and return its output; it must succeed. */
static char *run(const char *command)
{
	size_t size = 64 * KIB;
	char *text = calloc(1, size);
	FILE *pipe = popen(command, "r");
	size_t len;

	assert_true(text && pipe);
	len = fread(text, 1, size - 1, pipe);
	text[len] = '\0';
	if (pclose(pipe)) {
		print_error("%s\n%s\n", command, text);
		fail();
	}
	return text;
}

static void check_with_iasl(const char *dir, const char *name)
{
	char command[512];
	char *text;

	snprintf(command, sizeof(command),
		 "cd %s && iasl -d %s.dat 2>&1 && iasl -p %s-again %s.dsl 2>&1",
		 dir, name, name, name);
	text = run(command);
	if (strstr(text, "Error ") || strstr(text, "Warning ") ||
	    !strstr(text, "0 Errors, 0 Warnings, 0 Remarks")) {
		print_error("%s\n", text);
		fail();
	}
	free(text);
}

static void tables_survive_disassembly_and_compilation(void **state)
{
	static const char *const names[] = { "FACP", "APIC", "MCFG" };
	struct fixture *f = *state;
	char dir[] = "/tmp/lkvm-acpi-XXXXXX";
	char file[16];

	if (system("iasl -v >/dev/null 2>&1"))
		skip();
	assert_int_equal(x86_acpi_write(&f->machine, 2), 0);
	assert_non_null(mkdtemp(dir));
	write_table(dir, "DSDT.dat", find_dsdt(f));
	check_with_iasl(dir, "DSDT");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(file, sizeof(file), "%s.dat", names[i]);
		write_table(dir, file, find_table(f, names[i]));
		check_with_iasl(dir, names[i]);
	}
	remove_dir(dir);
}

#define ON_BOARD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOARD(rsdp_is_the_first_thing_at_its_address),
		ON_BOARD(xsdt_names_every_table_once),
		ON_BOARD(fadt_describes_a_hardware_reduced_machine),
		ON_BOARD(power_registers_may_be_memory),
		ON_BOARD(madt_has_an_entry_for_each_cpu),
		ON_BOARD(mcfg_names_the_ecam_window),
		ON_BOARD(no_ecam_means_no_mcfg),
		ON_BOARD(ram_too_small_is_an_error),
		ON_BOARD(unnameable_resource_is_an_error),
		ON_BOARD(pci_windows_are_named),
		ON_BOARD(virtio_mmio_devices_are_named_and_places_are_not),
		cmocka_unit_test(package_lengths_use_the_shortest_form),
		cmocka_unit_test(integers_use_the_shortest_form),
		cmocka_unit_test(names_are_encoded_as_the_grammar_says),
		cmocka_unit_test(methods_are_serialized),
		cmocka_unit_test(eisa_ids_are_compressed),
		cmocka_unit_test(malformed_names_are_refused),
		cmocka_unit_test(overflow_is_sticky_and_writes_nothing_behind),
		cmocka_unit_test(unbalanced_ends_are_refused),
		cmocka_unit_test(nesting_is_bounded),
		cmocka_unit_test(resource_templates_count_their_bytes),
		ON_BOARD(tables_survive_disassembly_and_compilation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
