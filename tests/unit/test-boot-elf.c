/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ELF kernels, good, truncated and lying: which entry is chosen, what comes
 * into RAM, and that the rest is refused in one line.
 */
#include <elf.h>

#include "boot.h"

#define ELF_BASE (2 * MIB)
#define ELF_SEGMENT 4096 /* in file; code, then as much bss */
#define ELF_NOTES 512
#define ELF_BYTES (ELF_SEGMENT + CODE_BYTES)

struct pvh_note {
	Elf64_Nhdr header;
	char name[4];
	uint64_t entry;
};

static struct pvh_note *note_of(struct fixture *f)
{
	return (struct pvh_note *)(f->image + ELF_NOTES);
}

static Elf64_Ehdr *ehdr64(struct fixture *f)
{
	return (Elf64_Ehdr *)f->image;
}

static Elf64_Phdr *phdr64(struct fixture *f)
{
	return (Elf64_Phdr *)(f->image + sizeof(Elf64_Ehdr));
}

static void fill_segment(struct fixture *f)
{
	for (size_t i = 0; i < CODE_BYTES; i++)
		f->image[ELF_SEGMENT + i] = code_byte(i);
	*note_of(f) = (struct pvh_note) {
		.header = { .n_namesz = 4, .n_descsz = 8, .n_type = 18 },
		.name = "Xen",
		.entry = ELF_BASE + 0x40,
	};
	f->size = ELF_BYTES;
}

static void make_elf64(struct fixture *f)
{
	memset(f->image, 0, sizeof(f->image));
	*ehdr64(f) = (Elf64_Ehdr) {
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1 },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_entry = ELF_BASE + 0x20,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 2,
	};
	phdr64(f)[0] = (Elf64_Phdr) {
		.p_type = PT_LOAD,
		.p_offset = ELF_SEGMENT,
		.p_vaddr = 0xffffffff80000000,
		.p_paddr = ELF_BASE,
		.p_filesz = CODE_BYTES,
		.p_memsz = 2 * CODE_BYTES,
	};
	phdr64(f)[1] = (Elf64_Phdr) {
		.p_type = PT_NOTE,
		.p_offset = ELF_NOTES,
		.p_filesz = sizeof(struct pvh_note),
		.p_align = 4,
	};
	fill_segment(f);
}

static void make_elf32(struct fixture *f)
{
	Elf32_Phdr *phdr = (Elf32_Phdr *)(f->image + sizeof(Elf32_Ehdr));

	memset(f->image, 0, sizeof(f->image));
	*(Elf32_Ehdr *)f->image = (Elf32_Ehdr) {
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, 1 },
		.e_type = ET_EXEC,
		.e_machine = EM_386,
		.e_entry = ELF_BASE + 0x20,
		.e_phoff = sizeof(Elf32_Ehdr),
		.e_phentsize = sizeof(Elf32_Phdr),
		.e_phnum = 2,
	};
	phdr[0] = (Elf32_Phdr) {
		.p_type = PT_LOAD,
		.p_offset = ELF_SEGMENT,
		.p_paddr = ELF_BASE,
		.p_filesz = CODE_BYTES,
		.p_memsz = 2 * CODE_BYTES,
	};
	phdr[1] = (Elf32_Phdr) {
		.p_type = PT_NOTE,
		.p_offset = ELF_NOTES,
		.p_filesz = sizeof(struct pvh_note),
		.p_align = 4,
	};
	fill_segment(f);
	note_of(f)->header.n_descsz = 4;
}

/* As on the wire, beside the loader's own definition. */
struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modules, cmdline, rsdp, map;
	uint32_t map_entries, reserved;
};

static void pvh_note_names_the_entry(void **state)
{
	struct fixture *f = *state;
	struct start_info info;
	uint64_t module[4], range[3];

	make_elf64(f);
	add_initrd(f, 5000);
	assert_int_equal(load(f, x86_load_elf, f->size), 0);
	assert_int_equal(f->entry.mode, X86_ENTRY_PVH);
	assert_int_equal(f->entry.ip, ELF_BASE + 0x40);
	assert_int_equal(f->entry.info, X86_PVH_INFO);
	assert_code_at(f, ELF_BASE);

	read_ram(f, X86_PVH_INFO, &info, sizeof(info));
	assert_int_equal(info.magic, 0x336ec578);
	assert_int_equal(info.version, 1);
	assert_int_equal(info.nr_modules, 1);
	assert_int_equal(info.cmdline, X86_CMDLINE);
	assert_int_equal(info.rsdp, X86_ACPI_BASE);
	assert_int_equal(info.map_entries, 6);
	read_ram(f, info.modules, module, sizeof(module));
	assert_int_equal(module[0], RAM - 8192);
	assert_int_equal(module[1], 5000);
	read_ram(f, info.map + 3 * sizeof(range), range, sizeof(range));
	assert_int_equal(range[0], X86_HIGH_RAM);
	assert_int_equal(range[1], RAM - X86_HIGH_RAM);
	assert_int_equal(range[2], E820_RAM);
}

static void pvh_note_works_in_elf32(void **state)
{
	struct fixture *f = *state;

	make_elf32(f);
	assert_int_equal(load(f, x86_load_elf, f->size), 0);
	assert_int_equal(f->entry.mode, X86_ENTRY_PVH);
	assert_int_equal(f->entry.ip, ELF_BASE + 0x40);
}

static void elf64_without_note_is_entered_in_64_bit_mode(void **state)
{
	struct fixture *f = *state;
	struct boot_params p;

	make_elf64(f);
	note_of(f)->name[0] = 'x';
	assert_int_equal(load(f, x86_load_elf, f->size), 0);
	assert_int_equal(f->entry.mode, X86_ENTRY_LONG);
	assert_int_equal(f->entry.ip, ELF_BASE + 0x20);
	p = params_in_ram(f);
	assert_int_equal(p.hdr.header, 0x53726448);
	assert_int_equal(p.hdr.boot_flag, 0xaa55);
	assert_int_equal(p.hdr.cmd_line_ptr, X86_CMDLINE);
	assert_int_equal(translate(f, ELF_BASE), ELF_BASE);
}

static void elf32_without_note_is_entered_in_32_bit_mode(void **state)
{
	struct fixture *f = *state;

	make_elf32(f);
	note_of(f)->header.n_type = 17;
	assert_int_equal(load(f, x86_load_elf, f->size), 0);
	assert_int_equal(f->entry.mode, X86_ENTRY_PROTECTED);
	assert_int_equal(f->entry.ip, ELF_BASE + 0x20);
	assert_int_equal(f->entry.info, X86_BOOT_PARAMS);
}

static void note_behind_others_is_found(void **state)
{
	struct fixture *f = *state;
	struct pvh_note *note = note_of(f);

	make_elf64(f);
	/* 12 + 5 (8) + 3 (4) bytes come before it. */
	memmove((uint8_t *)note + 24, note, sizeof(*note));
	note->header = (Elf64_Nhdr) { .n_namesz = 5, .n_descsz = 3 };
	phdr64(f)[1].p_filesz += 24;
	assert_int_equal(load(f, x86_load_elf, f->size), 0);
	assert_int_equal(f->entry.mode, X86_ENTRY_PVH);
}

/* Without a usable note the ELF entry is used; nothing beyond is read. */
static void lying_notes_are_ignored(void **state)
{
	struct fixture *f = *state;
	Elf64_Nhdr *header = &note_of(f)->header;

#define IGNORED(place, value)                                        \
	do {                                                         \
		make_elf64(f);                                       \
		(place) = (value);                                   \
		assert_int_equal(load(f, x86_load_elf, f->size), 0); \
		assert_int_equal(f->entry.mode, X86_ENTRY_LONG);     \
	} while (0)

	IGNORED(header->n_namesz, 0);
	IGNORED(header->n_namesz, 3);
	IGNORED(header->n_namesz, UINT32_MAX);
	IGNORED(header->n_descsz, 0);
	IGNORED(header->n_descsz, 16);
	IGNORED(header->n_descsz, UINT32_MAX);
	IGNORED(phdr64(f)[1].p_filesz, sizeof(struct pvh_note) - 1);
	IGNORED(phdr64(f)[1].p_filesz, 1);
	IGNORED(phdr64(f)[1].p_type, PT_NULL);
#undef IGNORED
}

/* Its padding lies beyond the segment, and beyond what the loader reads. */
static void note_may_end_at_the_segments_end(void **state)
{
	struct fixture *f = *state;

	make_elf64(f);
	phdr64(f)[1].p_filesz = 4095;
	note_of(f)->header.n_descsz = 4095 - sizeof(Elf64_Nhdr) - 4;
	assert_int_equal(load(f, x86_load_elf, f->size), 0);
	assert_int_equal(f->entry.mode, X86_ENTRY_LONG);
}

static void elf_truncated_anywhere_is_refused(void **state)
{
	struct fixture *f = *state;

	make_elf64(f);
	for (size_t size = 0; size < EI_NIDENT; size++)
		assert_int_equal(load(f, x86_load_elf, size), 1);
	for (size_t size = EI_NIDENT; size < f->size; size += 7)
		assert_refused(f, x86_load_elf, size, "is truncated");
	assert_refused(f, x86_load_elf, f->size - 1, "the file has 8191");
	make_elf32(f);
	for (size_t size = EI_NIDENT; size < f->size; size += 7)
		assert_refused(f, x86_load_elf, size, "is truncated");
}

static void lying_elf_headers_are_refused(void **state)
{
	struct fixture *f = *state;
	Elf64_Ehdr *ehdr = ehdr64(f);
	Elf64_Phdr *phdr = phdr64(f);

#define REFUSED(place, value, text)                             \
	do {                                                    \
		make_elf64(f);                                  \
		(place) = (value);                              \
		assert_refused(f, x86_load_elf, f->size, text); \
	} while (0)

	REFUSED(ehdr->e_ident[EI_CLASS], 0, "not for x86");
	REFUSED(ehdr->e_ident[EI_CLASS], ELFCLASS32, "not for x86");
	REFUSED(ehdr->e_ident[EI_DATA], ELFDATA2MSB, "not for x86");
	REFUSED(ehdr->e_machine, EM_AARCH64, "not for x86");
	REFUSED(ehdr->e_type, ET_DYN, "not an executable");
	REFUSED(ehdr->e_phentsize, 8, "wrong size");
	REFUSED(ehdr->e_phnum, 0, "no program headers");
	REFUSED(ehdr->e_phnum, 0xffff, "too many");
	REFUSED(ehdr->e_phoff, UINT64_MAX - 63, "is truncated");
	REFUSED(ehdr->e_phoff, 1ULL << 62, "is truncated");
	REFUSED(note_of(f)->entry, 0x100000, "entry point");
	REFUSED(note_of(f)->entry, ELF_BASE + CODE_BYTES, "entry point");
	REFUSED(phdr->p_offset, UINT64_MAX - 100, "is truncated");
	REFUSED(phdr->p_filesz, 2 * CODE_BYTES, "is truncated");
	REFUSED(phdr->p_filesz, 3 * CODE_BYTES, "more bytes in the file");
	REFUSED(phdr->p_filesz, UINT64_MAX, "more bytes in the file");
	REFUSED(phdr->p_memsz, 0, "more bytes in the file");
	REFUSED(phdr->p_memsz, UINT64_MAX, "wraps around");
	REFUSED(phdr->p_memsz, RAM, "needs 18 MiB of RAM");
	REFUSED(phdr->p_paddr, 0x1000, "below 1 MiB");
	REFUSED(phdr->p_paddr, X86_HIGH_RAM - 1, "below 1 MiB");
	REFUSED(phdr->p_paddr, UINT64_MAX - 100, "wraps around");
	REFUSED(phdr->p_paddr, RAM - CODE_BYTES, "there are 16 MiB");
	REFUSED(phdr->p_type, PT_NULL, "entry point");
	REFUSED(phdr[1].p_offset, UINT64_MAX, "is truncated");
#undef REFUSED
}

/* What is refused is refused; this looks for crashes and writes elsewhere. */
static void random_damage_to_an_elf_file_does_no_harm(void **state)
{
	struct fixture *f = *state;

	srandom(1);
	for (int i = 0; i < 4000; i++) {
		if (i % 2)
			make_elf64(f);
		else
			make_elf32(f);
		for (long n = random() % 4; n >= 0; n--)
			f->image[random() % (ELF_NOTES + 32)] =
				(uint8_t)random();
		load(f, x86_load_elf, f->size);
	}
}

static void boot_load_takes_elf_too(void **state)
{
	struct fixture *f = *state;

	make_elf64(f);
	assert_int_equal(load(f, load_any, f->size), 0);
	assert_int_equal(f->board.entry.mode, X86_ENTRY_PVH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(pvh_note_names_the_entry),
		TEST(pvh_note_works_in_elf32),
		TEST(elf64_without_note_is_entered_in_64_bit_mode),
		TEST(elf32_without_note_is_entered_in_32_bit_mode),
		TEST(note_behind_others_is_found),
		TEST(lying_notes_are_ignored),
		TEST(note_may_end_at_the_segments_end),
		TEST(elf_truncated_anywhere_is_refused),
		TEST(lying_elf_headers_are_refused),
		TEST(random_damage_to_an_elf_file_does_no_harm),
		TEST(boot_load_takes_elf_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
