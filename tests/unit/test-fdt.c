/* SPDX-License-Identifier: GPL-2.0 */
/*
 * x86/fdt.c: the tree as libfdt and dtc read it.
 */
#include "tables.h"

#include <libfdt.h>
#include <stdio.h>
#include <unistd.h>

#include <lkvm/virtio.h>

static const struct resource resources[] = {
	{ RESOURCE_POWER, true, 0, 0x600, 16, 9 },
	{ RESOURCE_RTC, true, 0, 0x70, 2, 8 },
	{ RESOURCE_SERIAL, true, 0, 0x3f8, 8, 4 },
	{ RESOURCE_SERIAL, true, 1, 0x2f8, 8, 3 },
	{ RESOURCE_PCI_CONFIG_PORTS, true, 0, 0xcf8, 8, RESOURCE_NO_GSI },
	{ RESOURCE_PCI_ECAM, false, 0, X86_ECAM_BASE, X86_ECAM_BYTES,
	  RESOURCE_NO_GSI },
	{ RESOURCE_PCI_MMIO, false, 0, X86_PCI_MMIO_BASE, X86_PCI_MMIO_BYTES,
	  RESOURCE_NO_GSI },
	{ RESOURCE_PCI_PORTS, true, 0, X86_PCI_PORTS, X86_PCI_PORTS_COUNT,
	  RESOURCE_NO_GSI },
	{ RESOURCE_VIRTIO_MMIO, false, 0, 0xf0000000, 0x1000, 16 },
	{ RESOURCE_VIRTIO_MMIO, false, 1, 0xf0001000, 0x1000, 17 },
	{ RESOURCE_VIRTIO_PLACE, false, 2, 0xf0002000, 0x1000, 18 },
};

static struct board board;

static int setup(void **state)
{
	struct fixture *f;

	if (setup_ram(state))
		return -1;
	f = *state;
	board.cpus = 2;
	f->machine.board = &board;
	for (size_t i = 0; i < ARRAY_SIZE(resources); i++)
		machine_add_resource(&f->machine, &resources[i]);
	return 0;
}

static void *tree_of(struct fixture *f)
{
	void *tree;
	size_t size;

	assert_int_equal(arch_device_tree(&f->machine, &tree, &size), 0);
	assert_int_equal(fdt_check_full(tree, size), 0);
	return tree;
}

/* @index of the property's cells. */
static uint32_t cell(const void *tree, int node, const char *name,
		     unsigned int index)
{
	const fdt32_t *values;
	int len;

	assert_true(node >= 0);
	values = fdt_getprop(tree, node, name, &len);
	assert_non_null(values);
	assert_true(len >= 0 && index < (unsigned int)len / 4);
	return fdt32_to_cpu(values[index]);
}

static unsigned int count_compatible(const void *tree, const char *compatible)
{
	unsigned int count = 0;
	int node = -1;

	while ((node = fdt_node_offset_by_compatible(tree, node, compatible)) >=
	       0)
		count++;
	return count;
}

static void each_cpu_has_its_apic_id(void **state)
{
	struct fixture *f = *state;
	void *tree;
	int node;

	board.cpus = ARCH_MAX_CPUS;
	tree = tree_of(f);
	assert_int_equal(count_compatible(tree, "intel,ce4100"), ARCH_MAX_CPUS);
	node = fdt_path_offset(tree, "/cpus/cpu@fe");
	assert_int_equal(cell(tree, node, "reg", 0), 254);
	assert_true(fdt_totalsize(tree) < X86_FDT_MAX);
	free(tree);
}

static void virtio_mmio_devices_are_there_and_places_are_not(void **state)
{
	void *tree = tree_of(*state);
	int node = fdt_path_offset(tree, "/virtio_mmio@f0001000");

	assert_int_equal(count_compatible(tree, "virtio,mmio"), 2);
	assert_int_equal(cell(tree, node, "reg", 0), 0);
	assert_int_equal(cell(tree, node, "reg", 1), 0xf0001000);
	assert_int_equal(cell(tree, node, "reg", 2), 0);
	assert_int_equal(cell(tree, node, "reg", 3), 0x1000);
	assert_int_equal(cell(tree, node, "interrupts", 0), 17);
	assert_int_equal(cell(tree, node, "interrupts", 1), 1);
	free(tree);
}

static void interrupts_go_to_the_ioapic(void **state)
{
	void *tree = tree_of(*state);
	uint32_t phandle = cell(tree, 0, "interrupt-parent", 0);
	int ioapic = fdt_node_offset_by_phandle(tree, phandle);
	int pci = fdt_path_offset(tree, "/pci@c0000000");

	assert_int_equal(fdt_node_check_compatible(tree, ioapic,
						   "intel,ce4100-ioapic"),
			 0);
	assert_int_equal(cell(tree, ioapic, "reg", 1), X86_IOAPIC_BASE);
	assert_int_equal(cell(tree, pci, "ranges", 7), 0x01000000);
	assert_int_equal(cell(tree, pci, "ranges", 9), X86_PCI_PORTS);
	assert_int_equal(cell(tree, pci, "ranges", 13), X86_PCI_PORTS_COUNT);
	/* Slot 9, INTA, as everywhere. */
	assert_int_equal(cell(tree, pci, "interrupt-map", 9 * 7), 9 << 11);
	assert_int_equal(cell(tree, pci, "interrupt-map", 9 * 7 + 3), 1);
	assert_int_equal(cell(tree, pci, "interrupt-map", 9 * 7 + 4), phandle);
	assert_int_equal(cell(tree, pci, "interrupt-map", 9 * 7 + 5),
			 pci_slot_gsi(9));
	free(tree);
}

static void isa_devices_have_ports(void **state)
{
	void *tree = tree_of(*state);
	int uart = fdt_path_offset(tree, "/isa@0/serial@i2f8");

	assert_int_equal(count_compatible(tree, "ns16550a"), 2);
	assert_int_equal(cell(tree, uart, "reg", 0), 1); /* I/O space */
	assert_int_equal(cell(tree, uart, "reg", 1), 0x2f8);
	assert_int_equal(cell(tree, uart, "interrupts", 0), 3);
	free(tree);
}

static void without_pci_there_is_no_node_of_it(void **state)
{
	struct fixture *f = *state;
	void *tree;

	f->machine.nr_resources = 5;
	tree = tree_of(f);
	assert_true(fdt_path_offset(tree, "/pci@c0000000") < 0);
	free(tree);
}

static void dtc_has_nothing_to_say(void **state)
{
	void *tree = tree_of(*state);
	char file[] = "/tmp/lkvm-fdt-XXXXXX";
	char command[128];
	char said[1024];
	int fd = mkstemp(file);
	FILE *pipe;
	size_t len;

	if (system("dtc -v >/dev/null 2>&1"))
		skip();
	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, tree, fdt_totalsize(tree)), 0);
	close(fd);
	snprintf(command, sizeof(command),
		 "dtc -I dtb -O dts -o /dev/null %s 2>&1", file);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	len = fread(said, 1, sizeof(said) - 1, pipe);
	said[len] = '\0';
	assert_int_equal(pclose(pipe), 0);
	unlink(file);
	free(tree);
	assert_string_equal(said, "");
}

#define ON_BOARD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOARD(each_cpu_has_its_apic_id),
		ON_BOARD(virtio_mmio_devices_are_there_and_places_are_not),
		ON_BOARD(interrupts_go_to_the_ioapic),
		ON_BOARD(isa_devices_have_ports),
		ON_BOARD(without_pci_there_is_no_node_of_it),
		ON_BOARD(dtc_has_nothing_to_say),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
