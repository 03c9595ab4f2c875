/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The whole contract of an architecture.
 *
 * vmm/ calls these and knows nothing else of the machine's kind; x86/
 * implements them. All return 0 or -errno unless they say otherwise.
 */
#ifndef LKVM_ARCH_H
#define LKVM_ARCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <lkvm/machine.h>

/* ---- the machine -------------------------------------------------------- */

/* As the rest of the world calls it. */
extern const char arch_name[];

#define ARCH_MAX_CPUS 255
#define ARCH_MIN_RAM (1 * MIB)

struct arch_config {
	unsigned int cpus; /* 1..ARCH_MAX_CPUS */
	uint64_t ram_bytes; /* page multiple */
	bool debug_exit; /* plug the debug exit device */
};

/*
 * Does this KVM have what the machine needs? Returns 0, or -ENOTSUP after a
 * message that names the missing capability.
 */
int arch_check_kvm(int kvm_fd);

/*
 * Make the board: interrupt controllers and timers in KVM, RAM at its place,
 * the list of resources. @machine's memory, buses and irq are initialised
 * but empty; machine->board is set here. Says itself what is wrong. With both
 * descriptors -1 there is no KVM behind it, and it can only be described.
 */
int arch_board_create(struct machine *machine, int kvm_fd, int vm_fd,
		      const struct arch_config *config);

/* Free what the board owns; the VM's file descriptor may still be open. */
void arch_board_destroy(struct machine *machine);

/*
 * Interrupt controllers and timers as after power-on. vCPUs are stopped.
 * Returns 0 or KVM's -errno.
 */
int arch_board_reset(struct machine *machine);

/*
 * The devices that the board itself has, for creation with the user's: an
 * array of @count, owned by the board.
 */
const struct device_request *arch_board_devices(const struct machine *machine,
						unsigned int *count);

/* What addresses are for: as the guest is told, and where KVM has its own. */
struct arch_range {
	const char *kind; /* "ram", "reserved", "pci-ecam", "ioapic", ... */
	uint64_t base, len;
};
#define ARCH_MAX_RANGES 32

/* All of @machine's, in ascending order; returns how many. */
unsigned int arch_memory_map(const struct machine *machine,
			     struct arch_range map[ARCH_MAX_RANGES]);

/* ---- vCPUs (on the vCPU's own thread) ----------------------------------- */

/* After KVM_CREATE_VCPU: CPUID, topology, everything that never changes. */
int arch_vcpu_init(struct machine *machine, int vcpu_fd, unsigned int index);

/*
 * Power-on state; vCPU 0 is set to the entry that arch_boot_load() chose,
 * the others wait for it. Also the first time.
 */
int arch_vcpu_reset(struct machine *machine, int vcpu_fd, unsigned int index);

/* Registers and the code bytes around the instruction pointer, as text. */
void arch_vcpu_dump(struct machine *machine, int vcpu_fd, unsigned int index,
		    FILE *out);

/* ---- boot --------------------------------------------------------------- */

/* An open file, and its path, for messages. */
struct boot_file {
	const char *path;
	int fd;
};

/* The user's, an archive of modules, and what guest/init reads. */
#define BOOT_MAX_INITRDS 3

/*
 * What to boot. File descriptors stay open and owned by the caller, for a
 * reset loads everything again.
 */
struct boot_config {
	const char *kernel_path;
	int kernel_fd;
	/* In this order in RAM, each at a multiple of 4: one initrd. */
	struct boot_file initrds[BOOT_MAX_INITRDS];
	unsigned int nr_initrds;
	const char *cmdline; /* complete, but for the next */
	bool add_devices; /* to it, such as no other description tells of */
	bool fdt; /* describe the machine by a device tree, and nothing else */
};

/*
 * Load kernel, initrd and command line into RAM, and the tables that describe
 * the machine. After all devices exist; again after each reset, when RAM is
 * zero. Says itself what is wrong with which file. Main thread; vCPUs may be
 * under creation, but not running.
 */
int arch_boot_load(struct machine *machine, const struct boot_config *boot);

/*
 * The command line as the kernel gets it, after all devices exist; the
 * caller's to free(). NULL when memory is short.
 */
char *arch_cmdline(const struct machine *machine,
		   const struct boot_config *boot);

/*
 * The release of the Linux kernel in the file @fd ("6.1.0-56-amd64"), for its
 * modules; cut to @size bytes. Returns 0, -ENOEXEC (no kernel that tells), or
 * another -errno. Any thread.
 */
int arch_kernel_version(int fd, char *version, size_t size);

/*
 * The machine as a flattened device tree, after all devices exist. *@out is
 * the caller's to free().
 */
int arch_device_tree(const struct machine *machine, void **out, size_t *size);

/*
 * What the default command line says of the console: that it is serial port 0
 * ("console=ttyS0"), or the virtio console, and serial port 0 for what is said
 * before that has a driver.
 */
const char *arch_default_cmdline(bool serial);

#endif
