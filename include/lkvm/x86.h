/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Inside x86/: the board's memory map and what its files give each other.
 * No file outside x86/ (and its tests) includes this.
 */
#ifndef LKVM_X86_H
#define LKVM_X86_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <lkvm/arch.h>

/*
 * Physical memory map.
 *
 *   0x00000000  RAM ... up to 3 GiB, with these places below 1 MiB:
 *     0x00001000  GDT, 0x00002000 page tables of the 64-bit entry
 *     0x00010000  boot_params / PVH start info, 0x00020000 command line
 *     0x00030000  setup_data: the device tree
 *     0x0009fc00  end of low RAM (EBDA)
 *     0x000e0000  ACPI tables (RSDP first), 0x000f0000 MP table
 *     0x00100000  kernel at its preferred address, initrd high
 *   0xc0000000  hole: ECAM
 *   0xd0000000  PCI BARs
 *   0xf0000000  virtio-mmio devices, a page each
 *   0xfec00000  IOAPIC, 0xfee00000 local APICs
 *   0xfeffc000  KVM's identity map and TSS pages (Intel)
 *   0x100000000 the rest of RAM
 */
#define X86_GDT 0x1000
#define X86_PAGE_TABLES 0x2000
#define X86_PAGE_TABLES_END 0x9000
#define X86_BOOT_PARAMS 0x10000
#define X86_PVH_INFO 0x12000
#define X86_CMDLINE 0x20000
#define X86_CMDLINE_MAX 0x10000
#define X86_SETUP_DATA 0x30000
#define X86_FDT_MAX 0x20000
#define X86_LOW_RAM_END 0x9fc00
#define X86_ACPI_BASE 0xe0000
#define X86_ACPI_END 0xf0000
#define X86_MPTABLE_BASE 0xf0000
#define X86_MPTABLE_END 0x100000
#define X86_HIGH_RAM 0x100000
#define X86_HOLE_START 0xc0000000ULL
#define X86_ECAM_BASE 0xc0000000ULL
#define X86_ECAM_BYTES 0x100000ULL /* bus 0 */
#define X86_PCI_MMIO_BASE 0xd0000000ULL
#define X86_PCI_MMIO_BYTES 0x20000000ULL
#define X86_PCI_PORTS 0xc000
#define X86_PCI_PORTS_COUNT 0x2000
#define X86_VIRTIO_MMIO_BASE 0xf0000000ULL
#define X86_IOAPIC_BASE 0xfec00000ULL
#define X86_LAPIC_BASE 0xfee00000ULL
#define X86_IDENTITY_MAP 0xfeffc000ULL
#define X86_TSS 0xfeffd000ULL
#define X86_HOLE_END 0x100000000ULL

/*
 * ISA interrupt n is IOAPIC input n, except the timer's (0): its line, GSI 0
 * of KVM, is routed to input 2 as on a PC. ACPI and the MP table say so.
 */
#define X86_TIMER_PIN 2
#define X86_IOAPIC_ID 0
#define X86_IOAPIC_PINS 24
#define X86_ISA_IRQS 16
#define X86_POWER_GSI 9

struct x86_e820_entry {
	uint64_t base, len;
	uint32_t type; /* E820_RAM or E820_RESERVED, of <asm/e820.h> */
};
#define X86_E820_MAX 16

/* How vCPU 0 starts; @info is the address for the register that is named. */
enum x86_entry_mode {
	X86_ENTRY_LONG, /* 64-bit protocol: RSI = boot_params */
	X86_ENTRY_PROTECTED, /* 32-bit protocol: ESI = boot_params */
	X86_ENTRY_PVH, /* 32-bit flat: EBX = hvm_start_info */
	X86_ENTRY_REAL, /* 16-bit, CS.base = info, IP = ip: tests, firmware */
};

struct x86_entry {
	enum x86_entry_mode mode;
	uint64_t ip;
	uint64_t info;
};

struct kvm_cpuid2;

struct board {
	int vm_fd; /* not owned */
	unsigned int cpus;
	struct x86_entry entry; /* written by arch_boot_load() */
	uint64_t setup_data; /* by the same: where its list begins; 0: none */
	struct kvm_cpuid2 *cpuid; /* template for all vCPUs; owned */
	struct device_request *requests; /* owned */
	unsigned int nr_requests;
	/* No reset since KVM made it. Each is its own vCPU thread's. */
	bool vcpu_fresh[ARCH_MAX_CPUS];
};

/* boot.c: memory map as e820; returns the count of entries (at most MAX). */
unsigned int x86_e820(const struct machine *machine,
		      struct x86_e820_entry map[X86_E820_MAX]);

/*
 * boot-linux.c / boot-elf.c: recognise and load. @size is the file's.
 * Return 1 when the file is not of that kind, 0 with *@entry set, -errno
 * after a message.
 */
int x86_load_bzimage(struct machine *machine, const struct boot_config *boot,
		     uint64_t size, struct x86_entry *entry);
int x86_load_elf(struct machine *machine, const struct boot_config *boot,
		 uint64_t size, struct x86_entry *entry);

/*
 * boot.c, for the loaders: what a kernel needs besides itself. Those that
 * return int return 0, or -errno after a message.
 */
struct x86_initrd {
	uint64_t base, size; /* size 0: none */
};

/* End of the RAM below the hole; kernel and initrd lie below it. */
uint64_t x86_low_ram_end(const struct machine *machine);

/* Read @len bytes at @offset of the kernel's file into RAM at @gpa. */
int x86_load_kernel(struct machine *machine, const struct boot_config *boot,
		    gpa_t gpa, uint64_t offset, uint64_t len);

/* Says that the kernel needs RAM up to @end; returns -ENOMEM. */
int x86_kernel_too_large(const struct machine *machine,
			 const struct boot_config *boot, uint64_t end);

/*
 * The command line to X86_CMDLINE, @limit bytes without its NUL at most, with
 * the devices that only it can tell of in front.
 */
int x86_load_cmdline(struct machine *machine, const struct boot_config *boot,
		     uint64_t limit);

/* The initrd as high as possible in [@kernel_end, @limit). */
int x86_load_initrd(struct machine *machine, const struct boot_config *boot,
		    uint64_t kernel_end, uint64_t limit,
		    struct x86_initrd *initrd);

/*
 * boot-linux.c: add to @params what is the same for all kernels that take
 * boot_params, and write them, a GDT and for @mode X86_ENTRY_LONG page
 * tables. Returns 0 or -EFAULT.
 */
struct boot_params;
int x86_write_boot_params(struct machine *machine, struct boot_params *params,
			  const struct x86_initrd *initrd,
			  enum x86_entry_mode mode);

/*
 * acpi.c: write RSDP (at X86_ACPI_BASE exactly) and all tables into guest
 * RAM below X86_ACPI_END. mptable.c: MP floating pointer and table at
 * X86_MPTABLE_BASE. Return 0, -ENOMEM, -ENOSPC, -EINVAL (a resource that the
 * tables cannot name) or -EFAULT.
 */
int x86_acpi_write(const struct machine *machine, unsigned int cpus);
int x86_mptable_write(const struct machine *machine, unsigned int cpus);

/* acpi.c: the byte that makes @len bytes of a table, it included, sum to 0. */
uint8_t x86_checksum(const void *data, size_t len);

/*
 * cpuid.c. x86_cpuid_create(): the template for all vCPUs of a machine of
 * @cpus, from what KVM supports; *@out is the caller's to free().
 * x86_cpuid_set(): give vCPU @index its own copy. Return 0 or -errno.
 */
int x86_cpuid_create(int kvm_fd, unsigned int cpus, struct kvm_cpuid2 **out);
int x86_cpuid_set(int vcpu_fd, const struct kvm_cpuid2 *template,
		  unsigned int index);

/* The parts of both that need no KVM; the latter edits a template's copy. */
int x86_cpuid_template(const struct kvm_cpuid2 *supported, unsigned int cpus,
		       bool tsc_deadline, struct kvm_cpuid2 **out);
void x86_cpuid_patch(struct kvm_cpuid2 *cpuid, unsigned int index,
		     uint32_t tsc_khz);

#endif
