/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ELF kernels (System V ABI, chapters 4 and 5): entered by PVH where a note
 * names that entry, otherwise as Linux's vmlinux is, with boot_params.
 *
 * PVH is specified in Xen's docs/misc/pvh.pandoc, its structures in
 * xen/include/public/arch-x86/hvm/start_info.h.
 */
#include <elf.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include <asm/bootparam.h>

#include <lkvm/log.h>
#include <lkvm/x86.h>

#define MAX_SEGMENTS 128
#define MAX_NOTE_BYTES 4096

/* An ELF file says neither; these are what Linux's own bzImage says. */
#define CMDLINE_SIZE 2047
#define INITRD_LIMIT 0x80000000ULL
#define BOOT_PROTOCOL 0x020f

#define XEN_NOTE_NAME "Xen"
#define XEN_ELFNOTE_PHYS32_ENTRY 18

#define HVM_START_MAGIC 0x336ec578
#define HVM_START_VERSION 1 /* with a memory map */

struct hvm_start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t nr_modules;
	uint64_t modlist_paddr;
	uint64_t cmdline_paddr;
	uint64_t rsdp_paddr;
	uint64_t memmap_paddr;
	uint32_t memmap_entries;
	uint32_t reserved;
};
_Static_assert(sizeof(struct hvm_start_info) == 56, "start info");

struct hvm_modlist_entry {
	uint64_t paddr;
	uint64_t size;
	uint64_t cmdline_paddr;
	uint64_t reserved;
};
_Static_assert(sizeof(struct hvm_modlist_entry) == 32, "module");

struct hvm_memmap_table_entry {
	uint64_t addr;
	uint64_t size;
	uint32_t type; /* as in e820 */
	uint32_t reserved;
};
_Static_assert(sizeof(struct hvm_memmap_table_entry) == 24, "memory map");

/* How they lie at X86_PVH_INFO. */
struct pvh_info {
	struct hvm_start_info start;
	struct hvm_modlist_entry module;
	struct hvm_memmap_table_entry map[X86_E820_MAX];
};
_Static_assert(X86_PVH_INFO + sizeof(struct pvh_info) <= X86_CMDLINE, "place");

/* The ELF header's part of interest, and what is found on the way. */
struct elf_file {
	const struct boot_config *boot;
	uint64_t size;
	bool is_64;
	uint64_t phoff;
	unsigned int phnum;
	uint64_t entry; /* physical */
	bool pvh;
	uint64_t end; /* of the highest segment in RAM */
};

static int broken(const struct elf_file *elf, const char *why)
{
	log_err("boot", "kernel %s cannot be used: %s", elf->boot->kernel_path,
		why);
	return -ENOEXEC;
}

/* [@offset, @offset + @len) of the file must exist; @what says what it is. */
static int check_range(const struct elf_file *elf, const char *what,
		       uint64_t offset, uint64_t len)
{
	if (offset <= elf->size && len <= elf->size - offset)
		return 0;
	log_err("boot",
		"kernel %s is truncated: its header says that %s has %llu "
		"bytes at %llu, the file has %llu",
		elf->boot->kernel_path, what, (unsigned long long)len,
		(unsigned long long)offset, (unsigned long long)elf->size);
	return -ENOEXEC;
}

static int read_file(const struct elf_file *elf, const char *what, void *buf,
		     size_t len, uint64_t offset)
{
	int ret = check_range(elf, what, offset, len);

	if (ret)
		return ret;
	ret = pread_full(elf->boot->kernel_fd, buf, len, (off_t)offset);
	if (ret)
		log_err("boot", "cannot read kernel %s: %s",
			elf->boot->kernel_path, strerror(-ret));
	return ret;
}

static int read_header_64(struct elf_file *elf, uint16_t *type,
			  uint16_t *machine, uint16_t *phentsize)
{
	Elf64_Ehdr header;
	int ret = read_file(elf, "it", &header, sizeof(header), 0);

	if (ret)
		return ret;
	*type = le16toh(header.e_type);
	*machine = le16toh(header.e_machine);
	*phentsize = le16toh(header.e_phentsize);
	elf->entry = le64toh(header.e_entry);
	elf->phoff = le64toh(header.e_phoff);
	elf->phnum = le16toh(header.e_phnum);
	return 0;
}

static int read_header_32(struct elf_file *elf, uint16_t *type,
			  uint16_t *machine, uint16_t *phentsize)
{
	Elf32_Ehdr header;
	int ret = read_file(elf, "it", &header, sizeof(header), 0);

	if (ret)
		return ret;
	*type = le16toh(header.e_type);
	*machine = le16toh(header.e_machine);
	*phentsize = le16toh(header.e_phentsize);
	elf->entry = le32toh(header.e_entry);
	elf->phoff = le32toh(header.e_phoff);
	elf->phnum = le16toh(header.e_phnum);
	return 0;
}

/* Returns 1 when the file is not ELF at all. */
static int read_header(struct elf_file *elf)
{
	unsigned char ident[EI_NIDENT];
	uint16_t type, machine, phentsize;
	int ret;

	if (elf->size < sizeof(ident))
		return 1;
	ret = read_file(elf, "it", ident, sizeof(ident), 0);
	if (ret)
		return ret;
	if (memcmp(ident, ELFMAG, SELFMAG) != 0)
		return 1;
	if ((ident[EI_CLASS] != ELFCLASS32 && ident[EI_CLASS] != ELFCLASS64) ||
	    ident[EI_DATA] != ELFDATA2LSB)
		return broken(elf, "it is ELF, but not for x86");

	elf->is_64 = ident[EI_CLASS] == ELFCLASS64;
	ret = elf->is_64 ? read_header_64(elf, &type, &machine, &phentsize) :
			   read_header_32(elf, &type, &machine, &phentsize);
	if (ret)
		return ret;
	if (machine != (elf->is_64 ? EM_X86_64 : EM_386))
		return broken(elf, "it is ELF, but not for x86");
	if (type != ET_EXEC)
		return broken(elf, "it is ELF, but not an executable at fixed "
				   "addresses");
	if (phentsize != (elf->is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
		return broken(elf, "its program headers have a wrong size");
	if (elf->phnum == 0 || elf->phnum > MAX_SEGMENTS)
		return broken(elf, "it has no program headers, or too many");
	return check_range(elf, "its program header table", elf->phoff,
			   (uint64_t)elf->phnum * phentsize);
}

/* Program header @index, which lies in the file, in the 64-bit form. */
static int read_segment(const struct elf_file *elf, unsigned int index,
			Elf64_Phdr *out)
{
	Elf64_Phdr p64;
	Elf32_Phdr p32;
	int ret;

	if (elf->is_64) {
		ret = read_file(elf, "a program header", &p64, sizeof(p64),
				elf->phoff + index * sizeof(p64));
		if (ret)
			return ret;
		*out = (Elf64_Phdr) {
			.p_type = le32toh(p64.p_type),
			.p_offset = le64toh(p64.p_offset),
			.p_paddr = le64toh(p64.p_paddr),
			.p_filesz = le64toh(p64.p_filesz),
			.p_memsz = le64toh(p64.p_memsz),
			.p_align = le64toh(p64.p_align),
		};
		return 0;
	}
	ret = read_file(elf, "a program header", &p32, sizeof(p32),
			elf->phoff + index * sizeof(p32));
	if (ret)
		return ret;
	*out = (Elf64_Phdr) {
		.p_type = le32toh(p32.p_type),
		.p_offset = le32toh(p32.p_offset),
		.p_paddr = le32toh(p32.p_paddr),
		.p_filesz = le32toh(p32.p_filesz),
		.p_memsz = le32toh(p32.p_memsz),
		.p_align = le32toh(p32.p_align),
	};
	return 0;
}

/*
 * Look for the PVH entry in @len bytes of notes. Lengths are the file's word:
 * each is compared with what is left, and a bad one ends the search.
 */
static void find_pvh_note(struct elf_file *elf, const uint8_t *notes,
			  uint64_t len, uint64_t align)
{
	uint64_t at = 0, name, desc;
	Elf64_Nhdr note;
	uint64_t entry;

	while (at <= len && len - at >= sizeof(note)) {
		memcpy(&note, notes + at, sizeof(note));
		note.n_namesz = le32toh(note.n_namesz);
		note.n_descsz = le32toh(note.n_descsz);
		name = at + sizeof(note);
		desc = align_up(name + note.n_namesz, align);
		at = align_up(desc + note.n_descsz, align);
		if (desc + note.n_descsz > len)
			return;
		if (le32toh(note.n_type) == XEN_ELFNOTE_PHYS32_ENTRY &&
		    note.n_namesz == sizeof(XEN_NOTE_NAME) &&
		    !memcmp(notes + name, XEN_NOTE_NAME, note.n_namesz) &&
		    (note.n_descsz == 4 || note.n_descsz == 8)) {
			entry = 0;
			memcpy(&entry, notes + desc, note.n_descsz);
			elf->entry = le64toh(entry);
			elf->pvh = true;
			return;
		}
	}
}

static int read_notes(struct elf_file *elf, const Elf64_Phdr *segment)
{
	uint8_t notes[MAX_NOTE_BYTES];
	uint64_t len = MIN(segment->p_filesz, sizeof(notes));
	int ret;

	ret = read_file(elf, "its note segment", notes, len, segment->p_offset);
	if (!ret)
		find_pvh_note(elf, notes, len, segment->p_align == 8 ? 8 : 4);
	return ret;
}

static int check_segment(struct elf_file *elf, const Elf64_Phdr *segment)
{
	uint64_t base = segment->p_paddr, len = segment->p_memsz;

	if (segment->p_filesz > len)
		return broken(elf, "a segment has more bytes in the file than "
				   "in memory");
	if (len == 0)
		return 0;
	if (base < X86_HIGH_RAM)
		return broken(elf, "a segment lies below 1 MiB, where the boot "
				   "parameters are");
	if (base > UINT64_MAX - len)
		return broken(elf, "a segment wraps around");
	elf->end = MAX(elf->end, base + len);
	return check_range(elf, "a segment", segment->p_offset,
			   segment->p_filesz);
}

/* All notes and segments, before anything is loaded. */
static int check_segments(const struct machine *machine, struct elf_file *elf)
{
	Elf64_Phdr segment;
	unsigned int i;
	int ret;

	for (i = 0; i < elf->phnum; i++) {
		ret = read_segment(elf, i, &segment);
		/* PVH has no way to hand over a device tree. */
		if (!ret && segment.p_type == PT_NOTE && segment.p_filesz &&
		    !elf->boot->fdt)
			ret = read_notes(elf, &segment);
		else if (!ret && segment.p_type == PT_LOAD)
			ret = check_segment(elf, &segment);
		if (ret)
			return ret;
	}
	if (elf->end > x86_low_ram_end(machine))
		return x86_kernel_too_large(machine, elf->boot, elf->end);
	return 0;
}

static int load_segments(struct machine *machine, struct elf_file *elf)
{
	bool entry_found = false;
	Elf64_Phdr segment;
	unsigned int i;
	int ret;

	for (i = 0; i < elf->phnum; i++) {
		ret = read_segment(elf, i, &segment);
		if (ret)
			return ret;
		if (segment.p_type != PT_LOAD || segment.p_filesz == 0)
			continue;
		if (elf->entry >= segment.p_paddr &&
		    elf->entry - segment.p_paddr < segment.p_filesz)
			entry_found = true;
		ret = x86_load_kernel(machine, elf->boot, segment.p_paddr,
				      segment.p_offset, segment.p_filesz);
		if (ret)
			return ret;
	}
	if (!entry_found)
		return broken(elf, "its entry point is in no segment");
	return 0;
}

static int write_pvh_info(struct machine *machine,
			  const struct x86_initrd *initrd)
{
	struct x86_e820_entry map[X86_E820_MAX];
	unsigned int count = x86_e820(machine, map);
	struct pvh_info info = {
		.start = {
			.magic = htole32(HVM_START_MAGIC),
			.version = htole32(HVM_START_VERSION),
			.cmdline_paddr = htole64(X86_CMDLINE),
			.rsdp_paddr = htole64(X86_ACPI_BASE),
			.memmap_paddr = htole64(
				X86_PVH_INFO + offsetof(struct pvh_info, map)),
			.memmap_entries = htole32(count),
		},
	};
	unsigned int i;

	if (initrd->size) {
		info.start.nr_modules = htole32(1);
		info.start.modlist_paddr = htole64(
			X86_PVH_INFO + offsetof(struct pvh_info, module));
		info.module.paddr = htole64(initrd->base);
		info.module.size = htole64(initrd->size);
	}
	for (i = 0; i < count; i++) {
		info.map[i].addr = htole64(map[i].base);
		info.map[i].size = htole64(map[i].len);
		info.map[i].type = htole32(map[i].type);
	}
	return guest_write(&machine->memory, X86_PVH_INFO, &info, sizeof(info));
}

/* What a bzImage's setup code leaves to the kernel proper. */
static int write_boot_params(struct machine *machine,
			     const struct x86_initrd *initrd,
			     enum x86_entry_mode mode)
{
	struct boot_params params = {
		.hdr = {
			.version = htole16(BOOT_PROTOCOL),
			.loadflags = LOADED_HIGH,
		},
	};

	return x86_write_boot_params(machine, &params, initrd, mode);
}

int x86_load_elf(struct machine *machine, const struct boot_config *boot,
		 uint64_t size, struct x86_entry *entry)
{
	struct elf_file elf = { .boot = boot, .size = size };
	struct x86_initrd initrd;
	enum x86_entry_mode mode;
	int ret;

	ret = read_header(&elf);
	if (!ret)
		ret = check_segments(machine, &elf);
	if (!ret)
		ret = load_segments(machine, &elf);
	if (!ret)
		ret = x86_load_cmdline(machine, boot, CMDLINE_SIZE);
	if (!ret)
		ret = x86_load_initrd(machine, boot, elf.end, INITRD_LIMIT,
				      &initrd);
	if (ret)
		return ret;

	if (elf.pvh) {
		mode = X86_ENTRY_PVH;
		ret = write_pvh_info(machine, &initrd);
	} else {
		mode = elf.is_64 ? X86_ENTRY_LONG : X86_ENTRY_PROTECTED;
		ret = write_boot_params(machine, &initrd, mode);
	}
	if (ret)
		return ret;
	*entry = (struct x86_entry) {
		.mode = mode,
		.ip = elf.entry,
		.info = elf.pvh ? X86_PVH_INFO : X86_BOOT_PARAMS,
	};
	return 0;
}
