/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Booting a kernel without firmware: which kind of image it is, what all
 * kinds need besides the kernel itself (memory map, command line, initrd),
 * and the tables that describe the machine.
 *
 * The memory map is that of INT 15h, AX=E820h (ACPI 6.4, clause 15.1), which
 * both the Linux/x86 boot protocol and PVH hand over.
 */
#include <asm/bootparam.h>
#include <asm/e820.h>
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <lkvm/hw.h>
#include <lkvm/log.h>
#include <lkvm/virtio.h>
#include <lkvm/x86.h>

#define EBDA_END 0xa0000
#define BIOS_AREA X86_ACPI_BASE /* to 1 MiB: ACPI and MP tables */
#define RESET_VECTOR 0xffff0 /* F000:FFF0, within the BIOS area */
#define PAGE_BYTES 4096
#define INITRD_ALIGN 4

static unsigned long long to_mib(uint64_t bytes)
{
	return bytes / MIB + (bytes % MIB != 0);
}

uint64_t x86_low_ram_end(const struct machine *machine)
{
	return machine->memory.region[0].size;
}

struct map_builder {
	struct x86_e820_entry *map;
	unsigned int count;
};

static void map_add(struct map_builder *builder, uint64_t base, uint64_t end,
		    uint32_t type)
{
	if (base < end)
		builder->map[builder->count++] = (struct x86_e820_entry) {
			.base = base,
			.len = end - base,
			.type = type,
		};
}

unsigned int x86_e820(const struct machine *machine,
		      struct x86_e820_entry map[X86_E820_MAX])
{
	const struct guest_memory *mem = &machine->memory;
	struct map_builder b = { .map = map };
	unsigned int i;

	_Static_assert(6 + MEMORY_MAX_REGIONS <= X86_E820_MAX, "map's size");

	map_add(&b, 0, X86_LOW_RAM_END, E820_RAM);
	map_add(&b, X86_LOW_RAM_END, EBDA_END, E820_RESERVED);
	map_add(&b, BIOS_AREA, X86_HIGH_RAM, E820_RESERVED);
	map_add(&b, X86_HIGH_RAM, x86_low_ram_end(machine), E820_RAM);
	/*
	 * All of the hole below the window for BARs: ECAM, which Linux uses
	 * only where firmware reserves it, and the gap behind RAM, where it
	 * would otherwise place BARs when there is no ACPI to name the window.
	 */
	map_add(&b, x86_low_ram_end(machine), X86_PCI_MMIO_BASE, E820_RESERVED);
	/* KVM's own: the identity map's page and three for the TSS. */
	map_add(&b, X86_IDENTITY_MAP, X86_TSS + 3 * PAGE_BYTES, E820_RESERVED);
	for (i = 1; i < mem->nr_regions; i++)
		map_add(&b, mem->region[i].base,
			mem->region[i].base + mem->region[i].size, E820_RAM);
	return b.count;
}

static int compare_ranges(const void *a, const void *b)
{
	const struct arch_range *left = a, *right = b;

	return left->base < right->base ? -1 : left->base > right->base;
}

unsigned int arch_memory_map(const struct machine *machine,
			     struct arch_range map[ARCH_MAX_RANGES])
{
	const struct arch_range fixed[] = {
		{ "pci-mmio", X86_PCI_MMIO_BASE, X86_PCI_MMIO_BYTES },
		{ "virtio-mmio", X86_VIRTIO_MMIO_BASE,
		  VIRTIO_MMIO_SLOTS * VIRTIO_MMIO_BYTES },
		{ "ioapic", X86_IOAPIC_BASE, PAGE_BYTES },
		{ "local-apic", X86_LAPIC_BASE, PAGE_BYTES },
	};
	struct x86_e820_entry e820[X86_E820_MAX];
	unsigned int count = x86_e820(machine, e820);

	_Static_assert(X86_E820_MAX + ARRAY_SIZE(fixed) <= ARCH_MAX_RANGES,
		       "map's size");

	for (unsigned int i = 0; i < count; i++)
		map[i] = (struct arch_range) {
			.kind = e820[i].type == E820_RAM ? "ram" : "reserved",
			.base = e820[i].base,
			.len = e820[i].len,
		};
	memcpy(&map[count], fixed, sizeof(fixed));
	count += ARRAY_SIZE(fixed);
	qsort(map, count, sizeof(*map), compare_ranges);
	return count;
}

/* @what is "kernel" or "initrd". */
static int file_size(const char *what, const char *path, int fd, uint64_t *size)
{
	struct stat st;

	if (fstat(fd, &st) < 0) {
		int err = -errno;

		log_err("boot", "cannot read %s %s: %s", what, path,
			strerror(-err));
		return err;
	}
	if (!S_ISREG(st.st_mode)) {
		log_err("boot", "%s %s is not a regular file", what, path);
		return -EINVAL;
	}
	if (st.st_size == 0) {
		log_err("boot", "%s %s is empty", what, path);
		return -EINVAL;
	}
	*size = (uint64_t)st.st_size;
	return 0;
}

/* Into RAM, at a place that the caller has checked. */
static int load_file(struct machine *machine, const char *what,
		     const char *path, int fd, gpa_t gpa, uint64_t offset,
		     uint64_t len)
{
	int ret = guest_load(&machine->memory, gpa, fd, (off_t)offset, len);

	if (ret == -ENODATA)
		log_err("boot", "%s %s became shorter while it was read", what,
			path);
	else if (ret)
		log_err("boot", "cannot read %s %s: %s", what, path,
			strerror(-ret));
	return ret;
}

int x86_load_kernel(struct machine *machine, const struct boot_config *boot,
		    gpa_t gpa, uint64_t offset, uint64_t len)
{
	return load_file(machine, "kernel", boot->kernel_path, boot->kernel_fd,
			 gpa, offset, len);
}

int x86_kernel_too_large(const struct machine *machine,
			 const struct boot_config *boot, uint64_t end)
{
	log_err("boot",
		"kernel %s needs %llu MiB of RAM below 3 GiB, and there are "
		"%llu MiB (see --mem)",
		boot->kernel_path, to_mib(end),
		(unsigned long long)(x86_low_ram_end(machine) / MIB));
	return -ENOMEM;
}

/* Is @word one of the command line's? */
static bool has_word(const char *cmdline, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = cmdline; (at = strstr(at, word)); at++)
		if ((at == cmdline || at[-1] == ' ') &&
		    (at[len] == '\0' || at[len] == ' '))
			return true;
	return false;
}

/*
 * Where neither ACPI nor a device tree tells of virtio-mmio devices, the
 * command line does. In front, for what follows "--" is not the kernel's.
 */
char *arch_cmdline(const struct machine *machine,
		   const struct boot_config *boot)
{
	bool wanted = boot->add_devices && !boot->fdt &&
		      has_word(boot->cmdline, "acpi=off");
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	for (unsigned int i = 0; wanted && i < machine->nr_resources; i++) {
		const struct resource *res = &machine->resource[i];

		if (res->kind == RESOURCE_VIRTIO_MMIO)
			fprintf(out, "virtio_mmio.device=%lluK@%#llx:%u ",
				(unsigned long long)(res->len / KIB),
				(unsigned long long)res->base, res->gsi);
	}
	fputs(boot->cmdline, out);
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	return text;
}

int x86_load_cmdline(struct machine *machine, const struct boot_config *boot,
		     uint64_t limit)
{
	char *cmdline = arch_cmdline(machine, boot);
	size_t len;
	int ret;

	if (!cmdline)
		return -ENOMEM;
	len = strlen(cmdline);
	limit = MIN(limit, X86_CMDLINE_MAX - 1);
	if (len > limit) {
		log_err("boot",
			"the kernel command line has %zu bytes, and kernel %s "
			"takes at most %llu",
			len, boot->kernel_path, (unsigned long long)limit);
		ret = -E2BIG;
	} else {
		ret = guest_write(&machine->memory, X86_CMDLINE, cmdline,
				  len + 1);
	}
	free(cmdline);
	return ret;
}

/*
 * The sum of the parts, each but the first at a multiple of 4: where the
 * kernel looks for an archive behind another one (driver-api/early-userspace/
 * buffer-format.rst).
 */
static int initrd_sizes(const struct boot_config *boot,
			uint64_t sizes[BOOT_MAX_INITRDS], uint64_t *sum)
{
	uint64_t total = 0;

	for (unsigned int i = 0; i < boot->nr_initrds; i++) {
		const struct boot_file *file = &boot->initrds[i];
		int ret = file_size("initrd", file->path, file->fd, &sizes[i]);

		if (ret)
			return ret;
		total = align_up(total, INITRD_ALIGN) + sizes[i];
	}
	*sum = total;
	return 0;
}

static int check_initrd_fits(const struct machine *machine,
			     const struct boot_config *boot, uint64_t size,
			     uint64_t kernel_end, uint64_t limit)
{
	uint64_t ram_end = x86_low_ram_end(machine);
	uint64_t need = kernel_end + align_up(size, PAGE_BYTES);

	if (need > limit) {
		log_err("boot",
			"initrd %s (%llu MiB) is too large: kernel %s has "
			"place for %llu MiB whatever the RAM",
			boot->initrds[0].path, to_mib(size), boot->kernel_path,
			kernel_end < limit ?
				(unsigned long long)(limit - kernel_end) / MIB :
				0);
		return -EFBIG;
	}
	if (need > ram_end) {
		log_err("boot",
			"initrd %s (%llu MiB) does not fit with --mem %llu "
			"MiB; give at least %llu MiB",
			boot->initrds[0].path, to_mib(size),
			(unsigned long long)(ram_end / MIB), to_mib(need));
		return -ENOMEM;
	}
	return 0;
}

int x86_load_initrd(struct machine *machine, const struct boot_config *boot,
		    uint64_t kernel_end, uint64_t limit,
		    struct x86_initrd *initrd)
{
	uint64_t sizes[BOOT_MAX_INITRDS] = { 0 };
	uint64_t size = 0, base, at;
	int ret;

	if (!boot->nr_initrds) {
		*initrd = (struct x86_initrd) { 0 };
		return 0;
	}
	limit = align_down(MIN(limit, X86_HOLE_START), PAGE_BYTES);
	ret = initrd_sizes(boot, sizes, &size);
	if (!ret)
		ret = check_initrd_fits(machine, boot, size, kernel_end, limit);
	if (ret)
		return ret;

	base = align_down(MIN(limit, x86_low_ram_end(machine)) - size,
			  PAGE_BYTES);
	at = base;
	for (unsigned int i = 0; i < boot->nr_initrds; i++) {
		const struct boot_file *file = &boot->initrds[i];

		at = align_up(at, INITRD_ALIGN);
		ret = load_file(machine, "initrd", file->path, file->fd, at, 0,
				sizes[i]);
		if (ret)
			return ret;
		at += sizes[i];
	}
	*initrd = (struct x86_initrd) { .base = base, .size = size };
	return 0;
}

static int load_any_kernel(struct machine *machine,
			   const struct boot_config *boot,
			   struct x86_entry *entry)
{
	uint64_t size = 0;
	int ret;

	ret = file_size("kernel", boot->kernel_path, boot->kernel_fd, &size);
	if (ret)
		return ret;
	ret = x86_load_bzimage(machine, boot, size, entry);
	if (ret == 1)
		ret = x86_load_elf(machine, boot, size, entry);
	if (ret == 1) {
		log_err("boot", "kernel %s is not a bzImage nor an ELF kernel",
			boot->kernel_path);
		ret = -ENOEXEC;
	}
	return ret;
}

/*
 * The one piece of firmware: real-mode code that pulls the reset line. Linux
 * takes a hardware-reduced machine for one with EFI, does not find that when
 * it reboots, and jumps to the BIOS's reset vector instead.
 */
static int write_reset_vector(struct machine *machine)
{
	const struct resource *power =
		machine_find_resource(machine, RESOURCE_POWER, 0);
	uint64_t port = power ? power->base + POWER_REG_RESET : 0;
	const uint8_t code[] = {
		0xb0,
		POWER_RESET_VALUE, /* mov al, value */
		0xba,
		(uint8_t)port,
		(uint8_t)(port >> 8), /* mov dx, port */
		0xee, /* out dx, al */
		0xf4,
		0xeb,
		0xfd /* hlt, for ever */
	};

	_Static_assert(RESET_VECTOR + sizeof(code) <= X86_MPTABLE_END, "place");
	if (!power)
		return 0;
	return guest_write(&machine->memory, RESET_VECTOR, code, sizeof(code));
}

/*
 * Linux's Documentation/x86/booting-dt.rst: the device tree is the one entry
 * of boot_params' list of setup_data.
 */
static int write_setup_data(struct machine *machine)
{
	struct setup_data header = { .type = htole32(SETUP_DTB) };
	void *tree;
	size_t size;
	int ret = arch_device_tree(machine, &tree, &size);

	_Static_assert(X86_SETUP_DATA + sizeof(header) + X86_FDT_MAX <=
			       X86_LOW_RAM_END,
		       "place");
	if (ret)
		return ret;
	header.len = htole32((uint32_t)size);
	ret = guest_write(&machine->memory, X86_SETUP_DATA, &header,
			  sizeof(header));
	if (!ret)
		ret = guest_write(&machine->memory,
				  X86_SETUP_DATA + sizeof(header), tree, size);
	free(tree);
	return ret;
}

/* ACPI's and the MP table agree; a device tree would find devices twice. */
static int write_tables(struct machine *machine, const struct boot_config *boot)
{
	unsigned int cpus = machine->board->cpus;
	int ret;

	if (boot->fdt)
		ret = write_setup_data(machine);
	else
		ret = x86_acpi_write(machine, cpus) ?:
			      x86_mptable_write(machine, cpus);
	return ret ?: write_reset_vector(machine);
}

int arch_boot_load(struct machine *machine, const struct boot_config *boot)
{
	struct board *board = machine->board;
	struct x86_entry entry;
	int ret;

	board->setup_data = boot->fdt ? X86_SETUP_DATA : 0;
	ret = load_any_kernel(machine, boot, &entry);
	if (ret)
		return ret;
	ret = write_tables(machine, boot);
	if (ret) {
		log_err("boot", "cannot write the machine's tables: %s",
			strerror(-ret));
		return ret;
	}
	board->entry = entry;
	return 0;
}

const char *arch_default_cmdline(bool serial)
{
	return serial ? "console=ttyS0" : "console=hvc0 earlyprintk=ttyS0";
}
