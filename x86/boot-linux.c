/* SPDX-License-Identifier: GPL-2.0 */
/*
 * bzImage: the Linux/x86 boot protocol, version 2.06 (Linux 2.6.22) and later,
 * by its 64-bit entry where the kernel has it and by its 32-bit entry
 * otherwise. Specified in the kernel's Documentation/x86/boot.rst and
 * zero-page.rst.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include <asm/bootparam.h>

#include <lkvm/log.h>
#include <lkvm/x86.h>

#define SECTOR 512
#define BOOT_FLAG 0xaa55
#define HDRS_MAGIC 0x53726448
#define VERSION_MIN 0x0206 /* cmdline_size */
#define VERSION_SETUP_DATA 0x0209
#define VERSION_PREF_ADDRESS 0x020a /* pref_address, init_size */
#define VERSION_XLOADFLAGS 0x020c
#define LOADER_UNDEFINED 0xff
#define ENTRY_64_OFFSET 0x200

/* Where the setup header and its length lie, in file and boot_params alike. */
#define HEADER_START offsetof(struct boot_params, hdr)
#define HEADER_JUMP_LEN (offsetof(struct boot_params, hdr.jump) + 1)
#define HEADER_MAGIC offsetof(struct boot_params, hdr.header)
#define HEADER_END_MIN offsetof(struct boot_params, hdr.hardware_subarch)
#define HEADER_END_MAX offsetof(struct boot_params, edd_mbr_sig_buffer)

_Static_assert(HEADER_START == 0x1f1 && HEADER_MAGIC == 0x202 &&
		       HEADER_END_MIN == 0x23c && HEADER_END_MAX == 0x290,
	       "boot.rst's offsets");
_Static_assert(sizeof(struct boot_params) == 4096, "zero page");
_Static_assert(sizeof(struct boot_e820_entry) == 20, "e820 entry");
_Static_assert(X86_E820_MAX <= E820_MAX_ENTRIES_ZEROPAGE, "e820 table");

enum {
	PTE_PRESENT_WRITE = 0x3,
	PTE_LARGE = 0x80,
	PAGE_ENTRIES = 512,
	PAGE_TABLE_BYTES = 4096,
	LARGE_PAGE = 2 * MIB,
	MAPPED_GIB = 4,
};

_Static_assert(X86_PAGE_TABLES + (2 + MAPPED_GIB) * PAGE_TABLE_BYTES <=
		       X86_PAGE_TABLES_END,
	       "page tables");

/* What the setup header says, checked; addresses in guest RAM. */
struct layout {
	uint64_t file_offset; /* of the protected-mode code */
	uint64_t bytes; /* of it */
	uint64_t load;
	uint64_t end; /* that the kernel needs before it reads its e820 map */
	bool entry_64;
};

static int broken(const struct boot_config *boot, const char *why)
{
	log_err("boot", "kernel %s cannot be used: %s", boot->kernel_path, why);
	return -ENOEXEC;
}

static int truncated(const struct boot_config *boot, uint64_t want,
		     uint64_t size)
{
	log_err("boot",
		"kernel %s is truncated: its header says %llu bytes, the file "
		"has %llu",
		boot->kernel_path, (unsigned long long)want,
		(unsigned long long)size);
	return -ENOEXEC;
}

/*
 * The header into otherwise zero @params, up to its own end and no further:
 * what follows in the file is code. Returns 1 when it is not a bzImage.
 */
static int read_header(const struct boot_config *boot, uint64_t size,
		       struct boot_params *params)
{
	uint8_t raw[HEADER_END_MAX] = { 0 };
	uint16_t flag;
	uint32_t magic;
	size_t end;
	int ret;

	if (size < HEADER_MAGIC + sizeof(magic))
		return 1;
	ret = pread_full(boot->kernel_fd, raw, MIN(size, sizeof(raw)), 0);
	if (ret) {
		log_err("boot", "cannot read kernel %s: %s", boot->kernel_path,
			strerror(-ret));
		return ret;
	}
	memcpy(&flag, raw + HEADER_MAGIC - 4, sizeof(flag));
	memcpy(&magic, raw + HEADER_MAGIC, sizeof(magic));
	if (le16toh(flag) != BOOT_FLAG || le32toh(magic) != HDRS_MAGIC)
		return 1;

	end = HEADER_MAGIC + raw[HEADER_JUMP_LEN];
	if (end > HEADER_END_MAX || end < HEADER_END_MIN)
		return broken(boot, "its setup header has a wrong length "
				    "or is older than Linux 2.6.22");
	if (end > size)
		return truncated(boot, end, size);
	memset(params, 0, sizeof(*params));
	memcpy((uint8_t *)params + HEADER_START, raw + HEADER_START,
	       end - HEADER_START);
	return 0;
}

/* Where the protected-mode code lies in the file. */
static int find_code(const struct boot_config *boot, uint64_t size,
		     const struct setup_header *hdr, struct layout *layout)
{
	/* boot.rst, setup_sects: 0 means 4; the boot sector is not counted */
	uint64_t sectors = (hdr->setup_sects ? hdr->setup_sects : 4) + 1;
	uint64_t bytes = 16ULL * le32toh(hdr->syssize);

	if (le16toh(hdr->version) < VERSION_MIN)
		return broken(boot, "its boot protocol is older than 2.06 "
				    "(Linux 2.6.22)");
	if (boot->fdt && le16toh(hdr->version) < VERSION_SETUP_DATA)
		return broken(boot, "its boot protocol is older than 2.09, "
				    "and has no place for --fdt");
	if (!(hdr->loadflags & LOADED_HIGH))
		return broken(boot, "it is a zImage; build a bzImage");
	if (bytes <= ENTRY_64_OFFSET)
		return broken(boot, "its header says that it has no code");
	/* syssize counts 16 bytes each; the last of them may be partial. */
	if (sectors * SECTOR + bytes >= size + 16)
		return truncated(boot, sectors * SECTOR + bytes, size);
	layout->file_offset = sectors * SECTOR;
	layout->bytes = MIN(bytes, size - layout->file_offset);
	return 0;
}

/* Where it goes in RAM, and how much it needs there. */
static int find_place(const struct machine *machine,
		      const struct boot_config *boot,
		      const struct setup_header *hdr, struct layout *layout)
{
	unsigned int version = le16toh(hdr->version);
	uint64_t align = le32toh(hdr->kernel_alignment);
	uint64_t run = X86_HIGH_RAM, init_size = 0;

	if (version >= VERSION_PREF_ADDRESS) {
		if (hdr->pref_address)
			run = le64toh(hdr->pref_address);
		init_size = le32toh(hdr->init_size);
	}
	if (run < X86_HIGH_RAM)
		return broken(boot, "its header prefers an address below "
				    "1 MiB");
	if (run >= X86_HOLE_START)
		return x86_kernel_too_large(machine, boot, run);

	layout->load = X86_HIGH_RAM;
	if (hdr->relocatable_kernel) {
		if (!is_power_of_two(align))
			return broken(boot, "its header's kernel_alignment is "
					    "not a power of two");
		/*
		 * Never lower, however small the RAM: Linux moves itself up
		 * to its preferred address when it was loaded below.
		 */
		run = align_up(run, align);
		layout->load = run;
	}
	layout->end = MAX(layout->load + layout->bytes, run + init_size);
	if (layout->end > x86_low_ram_end(machine))
		return x86_kernel_too_large(machine, boot, layout->end);
	layout->entry_64 = version >= VERSION_XLOADFLAGS &&
			   (le16toh(hdr->xloadflags) & XLF_KERNEL_64);
	return 0;
}

/* Identity-mapped, with large pages: one PML4, one PDPT, a PD each GiB. */
static int write_page_tables(struct machine *machine)
{
	struct guest_memory *mem = &machine->memory;
	const gpa_t pml4 = X86_PAGE_TABLES, pdpt = pml4 + PAGE_TABLE_BYTES;
	const gpa_t pd = pdpt + PAGE_TABLE_BYTES;
	uint64_t table[PAGE_ENTRIES] = { htole64(pdpt | PTE_PRESENT_WRITE) };
	unsigned int i, gib;
	int ret;

	ret = guest_write(mem, pml4, table, sizeof(table));
	if (ret)
		return ret;
	for (i = 0; i < MAPPED_GIB; i++)
		table[i] = htole64((pd + i * PAGE_TABLE_BYTES) |
				   PTE_PRESENT_WRITE);
	ret = guest_write(mem, pdpt, table, sizeof(table));
	if (ret)
		return ret;
	for (gib = 0; gib < MAPPED_GIB; gib++) {
		for (i = 0; i < PAGE_ENTRIES; i++)
			table[i] = htole64((gib * GIB + i * LARGE_PAGE) |
					   PTE_LARGE | PTE_PRESENT_WRITE);
		ret = guest_write(mem, pd + gib * PAGE_TABLE_BYTES, table,
				  sizeof(table));
		if (ret)
			return ret;
	}
	return 0;
}

/* boot.rst: flat __BOOT_CS (0x10) and __BOOT_DS (0x18). */
static int write_gdt(struct machine *machine, bool long_mode)
{
	const uint64_t gdt[4] = {
		[2] = htole64(long_mode ? 0x00af9b000000ffff :
					  0x00cf9b000000ffff),
		[3] = htole64(0x00cf93000000ffff),
	};

	return guest_write(&machine->memory, X86_GDT, gdt, sizeof(gdt));
}

int x86_write_boot_params(struct machine *machine, struct boot_params *params,
			  const struct x86_initrd *initrd,
			  enum x86_entry_mode mode)
{
	struct x86_e820_entry map[X86_E820_MAX];
	unsigned int count = x86_e820(machine, map);
	unsigned int i;
	int ret;

	params->hdr.boot_flag = htole16(BOOT_FLAG);
	params->hdr.header = htole32(HDRS_MAGIC);
	params->hdr.type_of_loader = LOADER_UNDEFINED;
	params->hdr.cmd_line_ptr = htole32(X86_CMDLINE);
	params->hdr.ramdisk_image = htole32((uint32_t)initrd->base);
	params->hdr.ramdisk_size = htole32((uint32_t)initrd->size);
	params->hdr.setup_data = htole64(machine->board->setup_data);
	if (!machine->board->setup_data)
		params->acpi_rsdp_addr = htole64(X86_ACPI_BASE);
	params->e820_entries = (uint8_t)count;
	for (i = 0; i < count; i++) {
		params->e820_table[i].addr = htole64(map[i].base);
		params->e820_table[i].size = htole64(map[i].len);
		params->e820_table[i].type = htole32(map[i].type);
	}
	ret = guest_write(&machine->memory, X86_BOOT_PARAMS, params,
			  sizeof(*params));
	if (!ret)
		ret = write_gdt(machine, mode == X86_ENTRY_LONG);
	if (!ret && mode == X86_ENTRY_LONG)
		ret = write_page_tables(machine);
	return ret;
}

int x86_load_bzimage(struct machine *machine, const struct boot_config *boot,
		     uint64_t size, struct x86_entry *entry)
{
	struct boot_params params;
	struct x86_initrd initrd;
	struct layout layout = { 0 };
	enum x86_entry_mode mode;
	int ret;

	ret = read_header(boot, size, &params);
	if (!ret)
		ret = find_code(boot, size, &params.hdr, &layout);
	if (!ret)
		ret = find_place(machine, boot, &params.hdr, &layout);
	if (!ret)
		ret = x86_load_cmdline(machine, boot,
				       le32toh(params.hdr.cmdline_size));
	if (!ret)
		ret = x86_load_initrd(
			machine, boot, layout.end,
			1ULL + le32toh(params.hdr.initrd_addr_max), &initrd);
	if (!ret)
		ret = x86_load_kernel(machine, boot, layout.load,
				      layout.file_offset, layout.bytes);
	if (ret)
		return ret;

	mode = layout.entry_64 ? X86_ENTRY_LONG : X86_ENTRY_PROTECTED;
	params.hdr.code32_start = htole32((uint32_t)layout.load);
	ret = x86_write_boot_params(machine, &params, &initrd, mode);
	if (ret)
		return ret;
	*entry = (struct x86_entry) {
		.mode = mode,
		.ip = layout.load + (layout.entry_64 ? ENTRY_64_OFFSET : 0),
		.info = X86_BOOT_PARAMS,
	};
	return 0;
}
