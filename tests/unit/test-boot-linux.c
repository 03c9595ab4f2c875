/* SPDX-License-Identifier: GPL-2.0 */
/*
 * bzImages, good, truncated and lying; initrd, command line and memory map:
 * what comes into RAM, and that the rest is refused in one line.
 */
#include <lkvm/hw.h>

#include "boot.h"

#define SECTORS 3
#define IMAGE_BYTES ((SECTORS + 1) * 512 + CODE_BYTES)
#define HEADER_END 0x26c

/* ---- bzImage ------------------------------------------------------------ */

/* setup_header lies in the file where it lies in boot_params. */
static struct setup_header *header_of(struct fixture *f)
{
	return &((struct boot_params *)f->image)->hdr;
}

static void make_bzimage(struct fixture *f)
{
	struct setup_header *hdr = header_of(f);

	memset(f->image, 0xee, sizeof(f->image));
	memset(hdr, 0, HEADER_END - 0x1f1);
	hdr->setup_sects = SECTORS;
	hdr->syssize = htole32(CODE_BYTES / 16);
	hdr->boot_flag = htole16(0xaa55);
	hdr->jump = htole16(0x00eb | (HEADER_END - 0x202) << 8);
	hdr->header = htole32(0x53726448);
	hdr->version = htole16(0x020f);
	hdr->loadflags = LOADED_HIGH;
	hdr->code32_start = htole32(0x100000);
	hdr->initrd_addr_max = htole32(0x7fffffff);
	hdr->kernel_alignment = htole32(0x200000);
	hdr->relocatable_kernel = 1;
	hdr->xloadflags = htole16(XLF_KERNEL_64);
	hdr->cmdline_size = htole32(2047);
	hdr->pref_address = htole64(4 * MIB);
	hdr->init_size = htole32(2 * MIB);
	for (size_t i = 0; i < CODE_BYTES; i++)
		f->image[IMAGE_BYTES - CODE_BYTES + i] = code_byte(i);
	f->size = IMAGE_BYTES;
}

static void bzimage_is_entered_in_64_bit_mode(void **state)
{
	struct fixture *f = *state;
	struct boot_params p;
	char cmdline[14];

	make_bzimage(f);
	assert_int_equal(load(f, x86_load_bzimage, f->size), 0);
	assert_int_equal(f->entry.mode, X86_ENTRY_LONG);
	assert_int_equal(f->entry.ip, 4 * MIB + 0x200);
	assert_int_equal(f->entry.info, X86_BOOT_PARAMS);
	assert_code_at(f, 4 * MIB);

	p = params_in_ram(f);
	assert_int_equal(p.hdr.type_of_loader, 0xff);
	assert_int_equal(p.hdr.code32_start, 4 * MIB);
	assert_int_equal(p.hdr.cmd_line_ptr, X86_CMDLINE);
	assert_int_equal(p.hdr.ramdisk_size, 0);
	assert_int_equal(p.acpi_rsdp_addr, X86_ACPI_BASE);
	assert_int_equal(p.e820_entries, 6);
	assert_int_equal(p.e820_table[3].addr, X86_HIGH_RAM);
	assert_int_equal(p.e820_table[3].size, RAM - X86_HIGH_RAM);
	read_ram(f, X86_CMDLINE, cmdline, sizeof(cmdline));
	assert_string_equal(cmdline, "console=ttyS0");
}

static void assert_cmdline(struct fixture *f, const char *expected)
{
	char cmdline[256];

	assert_true(strlen(expected) < sizeof(cmdline));
	read_ram(f, X86_CMDLINE, cmdline, strlen(expected) + 1);
	assert_string_equal(cmdline, expected);
}

static void devices_go_to_the_command_line_where_no_table_tells(void **state)
{
	static const struct resource devices[] = {
		{ RESOURCE_VIRTIO_MMIO, false, 0, 0xf0000000, 0x1000, 16 },
		{ RESOURCE_VIRTIO_MMIO, false, 1, 0xf0001000, 0x1000, 17 },
		{ RESOURCE_VIRTIO_PLACE, false, 2, 0xf0002000, 0x1000, 18 },
	};
	struct fixture *f = *state;

	make_bzimage(f);
	for (unsigned int i = 0; i < ARRAY_SIZE(devices); i++)
		machine_add_resource(&f->machine, &devices[i]);
	f->boot.add_devices = true;
	f->boot.cmdline = "acpi=offline xacpi=off";
	assert_int_equal(load(f, x86_load_bzimage, f->size), 0);
	assert_cmdline(f, "acpi=offline xacpi=off");
	f->boot.cmdline = "quiet acpi=off -- x";
	assert_int_equal(load(f, x86_load_bzimage, f->size), 0);
	assert_cmdline(f, "virtio_mmio.device=4K@0xf0000000:16 "
			  "virtio_mmio.device=4K@0xf0001000:17 "
			  "quiet acpi=off -- x");
	/* Not twice, and not against the user's will. */
	f->boot.fdt = true;
	assert_int_equal(load(f, x86_load_bzimage, f->size), 0);
	assert_cmdline(f, "quiet acpi=off -- x");
	f->boot.fdt = false;
	f->boot.add_devices = false;
	assert_int_equal(load(f, x86_load_bzimage, f->size), 0);
	assert_cmdline(f, "quiet acpi=off -- x");
}

static void setup_data_takes_the_place_of_acpi(void **state)
{
	struct fixture *f = *state;

	make_bzimage(f);
	f->board.setup_data = X86_SETUP_DATA;
	assert_int_equal(load(f, x86_load_bzimage, f->size), 0);
	assert_int_equal(params_in_ram(f).hdr.setup_data, X86_SETUP_DATA);
	assert_int_equal(params_in_ram(f).acpi_rsdp_addr, 0);
	/* Older kernels have no such field. */
	f->boot.fdt = true;
	header_of(f)->version = htole16(0x0208);
	assert_int_equal(load(f, x86_load_bzimage, f->size), -ENOEXEC);
	assert_non_null(strstr(f->message, "--fdt"));
}

static void bzimage_without_64_bit_entry_is_entered_in_32_bit_mode(void **state)
{
	struct fixture *f = *state;
	uint64_t code_segment;

	make_bzimage(f);
	header_of(f)->xloadflags = 0;
	assert_int_equal(load(f, x86_load_bzimage, f->size), 0);
	assert_int_equal(f->entry.mode, X86_ENTRY_PROTECTED);
	assert_int_equal(f->entry.ip, 4 * MIB);
	read_ram(f, X86_GDT + 0x10, &code_segment, sizeof(code_segment));
	assert_int_equal(le64toh(code_segment), 0x00cf9b000000ffff);
}

/* The field is older than its meaning. */
static void xloadflags_count_from_version_2_12(void **state)
{
	struct fixture *f = *state;

	make_bzimage(f);
	header_of(f)->version = htole16(0x020b);
	assert_int_equal(load(f, x86_load_bzimage, f->size), 0);
	assert_int_equal(f->entry.mode, X86_ENTRY_PROTECTED);
}

static void header_is_copied_up_to_its_end_only(void **state)
{
	struct fixture *f = *state;
	struct boot_params p;

	make_bzimage(f);
	header_of(f)->init_size = htole32(0x55555);
	/* It ends before init_size. */
	header_of(f)->jump = htole16(0x00eb | (0x260 - 0x202) << 8);
	assert_int_equal(load(f, x86_load_bzimage, f->size), 0);
	p = params_in_ram(f);
	assert_int_equal(p.hdr.pref_address, 4 * MIB);
	assert_int_equal(p.hdr.init_size, 0);
	assert_int_equal(p.sentinel, 0);
	for (size_t i = 0; i < sizeof(p._pad7); i++)
		assert_int_equal(p._pad7[i], 0);
}

static void zero_setup_sectors_mean_four(void **state)
{
	struct fixture *f = *state;

	make_bzimage(f);
	header_of(f)->setup_sects = 0;
	memmove(f->image + 5 * 512, f->image + (SECTORS + 1) * 512, CODE_BYTES);
	assert_int_equal(load(f, x86_load_bzimage, 5 * 512 + CODE_BYTES), 0);
	assert_code_at(f, 4 * MIB);
}

static void relocatable_kernel_goes_to_its_alignment(void **state)
{
	struct fixture *f = *state;

	make_bzimage(f);
	header_of(f)->pref_address = htole64(4 * MIB + 1);
	assert_int_equal(load(f, x86_load_bzimage, f->size), 0);
	assert_code_at(f, 6 * MIB);
}

static void fixed_kernel_goes_to_one_mib(void **state)
{
	struct fixture *f = *state;

	make_bzimage(f);
	header_of(f)->relocatable_kernel = 0;
	assert_int_equal(load(f, x86_load_bzimage, f->size), 0);
	assert_int_equal(f->entry.ip, X86_HIGH_RAM + 0x200);
	assert_code_at(f, X86_HIGH_RAM);
}

static void page_tables_map_four_gib_to_themselves(void **state)
{
	struct fixture *f = *state;

	make_bzimage(f);
	assert_int_equal(load(f, x86_load_bzimage, f->size), 0);
	for (uint64_t a = 0; a < 4 * GIB; a += 2 * MIB + 4096)
		assert_int_equal(translate(f, a), a);
}

static void bzimage_truncated_anywhere_is_refused(void **state)
{
	struct fixture *f = *state;

	make_bzimage(f);
	for (size_t size = 0; size < 0x206; size++)
		assert_int_equal(load(f, x86_load_bzimage, size), 1);
	for (size_t size = 0x206; size <= f->size - 16; size += 3)
		assert_refused(f, x86_load_bzimage, size, "is truncated");
	assert_refused(f, x86_load_bzimage, f->size - 16,
		       "says 6144 bytes, the file has 6128");
	/* syssize counts paragraphs; the last may be partial */
	assert_int_equal(load(f, x86_load_bzimage, f->size - 15), 0);
}

static void lying_setup_headers_are_refused(void **state)
{
	struct fixture *f = *state;
	struct setup_header *hdr = header_of(f);

#define REFUSED(field, value, text)                                 \
	do {                                                        \
		make_bzimage(f);                                    \
		hdr->field = (value);                               \
		assert_refused(f, x86_load_bzimage, f->size, text); \
	} while (0)

	REFUSED(version, 0x0205, "older than 2.06");
	REFUSED(loadflags, 0, "zImage");
	REFUSED(jump, 0x00eb, "wrong length");
	REFUSED(jump, 0xffeb, "wrong length");
	REFUSED(setup_sects, 255, "is truncated");
	REFUSED(syssize, UINT32_MAX, "is truncated");
	REFUSED(syssize, 0, "no code");
	REFUSED(pref_address, 0x1000, "below 1 MiB");
	REFUSED(pref_address, UINT64_MAX, "of RAM");
	REFUSED(pref_address, 15 * MIB, "needs 18 MiB of RAM");
	REFUSED(kernel_alignment, 0, "kernel_alignment");
	REFUSED(kernel_alignment, 3, "kernel_alignment");
	REFUSED(kernel_alignment, 1U << 31, "needs 2050 MiB of RAM");
	REFUSED(init_size, UINT32_MAX, "needs 4100 MiB of RAM");
	REFUSED(init_size, 13 * MIB, "there are 16 MiB");
	REFUSED(cmdline_size, 12, "has 13 bytes");
#undef REFUSED
}

static void other_files_are_not_bzimages(void **state)
{
	struct fixture *f = *state;

	make_bzimage(f);
	header_of(f)->header = 0;
	assert_int_equal(load(f, x86_load_bzimage, f->size), 1);
	make_bzimage(f);
	header_of(f)->boot_flag = 0;
	assert_int_equal(load(f, x86_load_bzimage, f->size), 1);
}

static void cmdline_may_fill_the_kernels_limit(void **state)
{
	struct fixture *f = *state;

	make_bzimage(f);
	header_of(f)->cmdline_size = htole32(13);
	assert_int_equal(load(f, x86_load_bzimage, f->size), 0);
	f->boot.cmdline = "console=ttyS00";
	assert_refused(f, x86_load_bzimage, f->size,
		       "has 14 bytes, and kernel KERNEL takes at most 13");
}

/* ---- initrd ------------------------------------------------------------- */

static void initrd_lies_as_high_as_ram_goes(void **state)
{
	struct fixture *f = *state;
	struct boot_params p;
	uint8_t byte;

	make_bzimage(f);
	add_initrd(f, 4097);
	assert_int_equal(load(f, x86_load_bzimage, f->size), 0);
	p = params_in_ram(f);
	assert_int_equal(p.hdr.ramdisk_image, RAM - 8192);
	assert_int_equal(p.hdr.ramdisk_size, 4097);
	read_ram(f, RAM - 8192 + 4096, &byte, 1);
	assert_int_equal(byte, 0xcc);
	read_ram(f, RAM - 8192 + 4097, &byte, 1);
	assert_int_equal(byte, 0);
}

static void initrd_stays_below_the_kernels_limit(void **state)
{
	struct fixture *f = *state;

	make_bzimage(f);
	header_of(f)->initrd_addr_max = htole32(8 * MIB - 1);
	add_initrd(f, 4096);
	assert_int_equal(load(f, x86_load_bzimage, f->size), 0);
	assert_int_equal(params_in_ram(f).hdr.ramdisk_image, 8 * MIB - 4096);
	/* The kernel ends at 6 MiB. */
	header_of(f)->initrd_addr_max = htole32(6 * MIB + 4095);
	assert_int_equal(load(f, x86_load_bzimage, f->size), 0);
	assert_int_equal(params_in_ram(f).hdr.ramdisk_image, 6 * MIB);
	header_of(f)->initrd_addr_max = htole32(6 * MIB + 4094);
	assert_refused(f, x86_load_bzimage, f->size, "whatever the RAM");
	header_of(f)->initrd_addr_max = 0;
	assert_refused(f, x86_load_bzimage, f->size, "whatever the RAM");
}

static void initrd_never_covers_the_kernel(void **state)
{
	struct fixture *f = *state;

	make_bzimage(f);
	add_initrd(f, 10 * MIB);
	assert_int_equal(load(f, x86_load_bzimage, f->size), 0);
	assert_int_equal(params_in_ram(f).hdr.ramdisk_image, 6 * MIB);
	header_of(f)->init_size = htole32(2 * MIB + 1);
	assert_refused(f, x86_load_bzimage, f->size,
		       "initrd INITRD (10 MiB) does not fit with --mem 16 MiB; "
		       "give at least 17 MiB");
	set_ram(f, 17 * MIB);
	assert_int_equal(load(f, x86_load_bzimage, f->size), 0);
}

static void initrds_stand_behind_each_other(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[12], expected[12] = { 0xcc, 0xcc, 0xcc, 0xcc, 0xcc,
					    0,	  0,	0,    'a',  'b',
					    0,	  0 };

	make_bzimage(f);
	add_initrd(f, 5);
	f->boot.initrds[1] = (struct boot_file) { "OURS", file_of("ab", 2) };
	f->boot.nr_initrds = 2;
	assert_int_equal(load(f, x86_load_bzimage, f->size), 0);
	assert_int_equal(params_in_ram(f).hdr.ramdisk_size, 10);
	read_ram(f, RAM - 4096, bytes, sizeof(bytes));
	assert_memory_equal(bytes, expected, sizeof(bytes));
	close(f->boot.initrds[1].fd);
}

static void odd_initrds_are_refused(void **state)
{
	struct fixture *f = *state;

	make_bzimage(f);
	add_initrd(f, 0);
	assert_refused(f, x86_load_bzimage, f->size, "initrd INITRD is empty");
	close(f->initrd_fd);
	f->initrd_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	f->boot.initrds[0].fd = f->initrd_fd;
	assert_refused(f, x86_load_bzimage, f->size,
		       "initrd INITRD is not a regular file");
}

/* What is refused is refused; this looks for crashes and writes elsewhere. */
static void random_damage_to_a_bzimage_does_no_harm(void **state)
{
	struct fixture *f = *state;

	srandom(1);
	for (int i = 0; i < 2000; i++) {
		make_bzimage(f);
		for (long n = random() % 4; n >= 0; n--)
			f->image[0x1f1 + random() % 0x80] = (uint8_t)random();
		load(f, x86_load_bzimage, f->size);
	}
}

/* ---- any file ----------------------------------------------------------- */

static void boot_load_adds_tables_and_reset_vector(void **state)
{
	const struct resource power = { RESOURCE_POWER,	 true, 0, 0x600,
					POWER_REG_BYTES, 9 };
	/* mov al, 1; mov dx, 0x602; out dx, al */
	const uint8_t pulse[] = { 0xb0, 0x01, 0xba, 0x02, 0x06, 0xee };
	struct fixture *f = *state;
	uint8_t vector[sizeof(pulse)];
	char signature[8];

	make_bzimage(f);
	assert_int_equal(machine_add_resource(&f->machine, &power), 0);
	assert_int_equal(load(f, load_any, f->size), 0);
	assert_int_equal(f->board.entry.mode, X86_ENTRY_LONG);
	read_ram(f, X86_ACPI_BASE, signature, sizeof(signature));
	assert_memory_equal(signature, "RSD PTR ", sizeof(signature));
	read_ram(f, 0xffff0, vector, sizeof(vector));
	assert_memory_equal(vector, pulse, sizeof(pulse));
}

static void other_files_are_refused_with_path_and_reason(void **state)
{
	struct fixture *f = *state;
	int null;

	memset(f->image, 'x', sizeof(f->image));
	assert_refused(f, load_any, sizeof(f->image),
		       "kernel KERNEL is not a bzImage nor an ELF kernel");
	assert_refused(f, load_any, 3, "is not a bzImage nor an ELF kernel");
	assert_refused(f, load_any, 0, "kernel KERNEL is empty");

	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	f->boot.kernel_fd = null;
	assert_true(arch_boot_load(&f->machine, &f->boot) < 0);
	close(null);
}

static uint64_t ram_in_e820(struct fixture *f, uint64_t *end)
{
	struct x86_e820_entry map[X86_E820_MAX];
	unsigned int count = x86_e820(&f->machine, map);
	uint64_t sum = 0;

	*end = 0;
	for (unsigned int i = 0; i < count; i++) {
		/* ascending, not overlapping */
		assert_true(map[i].base >= *end);
		assert_true(map[i].len > 0);
		*end = map[i].base + map[i].len;
		if (map[i].type == E820_RAM)
			sum += map[i].len;
	}
	return sum;
}

static void e820_names_all_ram_of_any_size(void **state)
{
	const uint64_t sizes[] = { MIB,	      16 * MIB,	      3 * GIB - 4096,
				   3 * GIB,   3 * GIB + 4096, 5 * GIB,
				   1024 * GIB };
	/* EBDA, and what lies between low RAM and 1 MiB */
	const uint64_t reserved = X86_HIGH_RAM - X86_LOW_RAM_END;
	struct fixture *f = *state;
	uint64_t end;

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		set_ram(f, sizes[i]);
		assert_int_equal(ram_in_e820(f, &end), sizes[i] - reserved);
		if (sizes[i] > 3 * GIB)
			assert_int_equal(end, sizes[i] + GIB);
		else
			assert_int_equal(end, 0xff000000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bzimage_is_entered_in_64_bit_mode),
		TEST(devices_go_to_the_command_line_where_no_table_tells),
		TEST(setup_data_takes_the_place_of_acpi),
		TEST(bzimage_without_64_bit_entry_is_entered_in_32_bit_mode),
		TEST(xloadflags_count_from_version_2_12),
		TEST(header_is_copied_up_to_its_end_only),
		TEST(zero_setup_sectors_mean_four),
		TEST(relocatable_kernel_goes_to_its_alignment),
		TEST(fixed_kernel_goes_to_one_mib),
		TEST(page_tables_map_four_gib_to_themselves),
		TEST(bzimage_truncated_anywhere_is_refused),
		TEST(lying_setup_headers_are_refused),
		TEST(other_files_are_not_bzimages),
		TEST(cmdline_may_fill_the_kernels_limit),
		TEST(initrd_lies_as_high_as_ram_goes),
		TEST(initrd_stays_below_the_kernels_limit),
		TEST(initrd_never_covers_the_kernel),
		TEST(initrds_stand_behind_each_other),
		TEST(odd_initrds_are_refused),
		TEST(random_damage_to_a_bzimage_does_no_harm),
		TEST(boot_load_adds_tables_and_reset_vector),
		TEST(other_files_are_refused_with_path_and_reason),
		TEST(e820_names_all_ram_of_any_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
