/* SPDX-License-Identifier: GPL-2.0 */
/*
 * --fdt as a kernel sees it: boot_params' list of setup_data holds the device
 * tree (Linux's Documentation/x86/boot.rst, "setup_data"), and there is no
 * other description of the machine.
 */
#include "harness.h"

#include <asm/bootparam.h>
#include <endian.h>
#include <libfdt.h>
#include <linux/virtio_mmio.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <lkvm/virtio.h>
#include <lkvm/x86.h>

#define HEADER(field) (X86_BOOT_PARAMS + offsetof(struct boot_params, field))

struct list {
	uint64_t next;
	uint32_t type, len;
};
_Static_assert(sizeof(struct list) == sizeof(struct setup_data), "its head");

static void check(struct guest *g)
{
	struct agent_op ops[] = {
		{ AGENT_READ64, HEADER(hdr.setup_data), 0, 0 },
		{ AGENT_READ64, HEADER(acpi_rsdp_addr), 0, 0 },
		{ AGENT_READ32, X86_ACPI_BASE, 0, 0 },
		{ AGENT_READ32, X86_MPTABLE_BASE, 0, 0 },
		{ AGENT_READ64, X86_SETUP_DATA, 0, 0 },
		{ AGENT_READ32, X86_SETUP_DATA + 8, 0, 0 },
		{ AGENT_READ32, X86_SETUP_DATA + 12, 0, 0 },
		{ AGENT_READ32, X86_SETUP_DATA + 16, 0, 0 },
		{ AGENT_READ32, X86_SETUP_DATA + 20, 0, 0 },
		{ AGENT_READ32, X86_VIRTIO_MMIO_BASE, 0, 0 },
		{ AGENT_OUT8, DEBUG_EXIT, 0, 0 },
	};

	assert_int_equal(agent_run(g, ops, ARRAY_SIZE(ops)), 1);
	assert_int_equal(ops[0].result, X86_SETUP_DATA);
	assert_int_equal(ops[1].result, 0); /* no RSDP by pointer, */
	assert_int_equal(ops[2].result, 0); /* nor where it would be found */
	assert_int_equal(ops[3].result, 0);
	assert_int_equal(ops[4].result, 0); /* the list's end */
	assert_int_equal(ops[5].result, SETUP_DTB);
	assert_int_equal(be32toh((uint32_t)ops[7].result), FDT_MAGIC);
	assert_int_equal(be32toh((uint32_t)ops[8].result), ops[6].result);
	assert_int_equal(ops[9].result, 0x74726976); /* the disk is there */
}

/* The tree as it lies in RAM, and the file, name the disk. */
static void check_tree(struct guest *g, const char *file)
{
	char buffer[64 * KIB];
	const struct list *list = guest_map(&g->vm->machine.memory,
					    X86_SETUP_DATA,
					    sizeof(*list) + sizeof(buffer));
	FILE *dump = fopen(file, "r");
	const void *tree = list + 1;
	size_t len;

	assert_non_null(dump);
	len = fread(buffer, 1, sizeof(buffer), dump);
	fclose(dump);
	assert_int_equal(len, list->len);
	assert_memory_equal(buffer, tree, len);
	assert_int_equal(fdt_check_full(tree, len), 0);
	assert_true(fdt_path_offset(tree, "/virtio_mmio@f0000000") > 0);
	assert_true(fdt_path_offset(tree, "/virtio_mmio@f0001000") < 0);
}

static void setup_data_holds_the_device_tree(void **state)
{
	char disk[] = "/tmp/lkvm-test-XXXXXX";
	char dump[] = "/tmp/lkvm-test-XXXXXX";
	struct virtio_blk_options blk = virtio_blk_defaults;
	const struct device_request device = { &virtio_blk_type, &blk };
	int fd = mkstemp(disk);
	struct guest g;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4096), 0);
	close(fd);
	fd = mkstemp(dump);
	assert_true(fd >= 0);
	close(fd);
	blk.path = disk;
	guest_init(&g, "agent64");
	g.config.virtio_transport = &virtio_mmio_transport;
	g.config.devices = &device;
	g.config.nr_devices = 1;
	g.config.fdt = true;
	g.config.dump_dtb = dump;
	guest_create(&g);
	unlink(disk);
	check(&g);
	check_tree(&g, dump);
	unlink(dump);
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		kvm_test(setup_data_holds_the_device_tree),
	};

	return cmocka_run_group_tests_name("fdt", tests, NULL, NULL);
}
