/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Guest RAM: where it lies, and the only arithmetic on pointers into it.
 *
 * Every address and length that a guest supplies goes through guest_map(),
 * guest_read() or guest_write(). A range is good when it lies wholly inside
 * one RAM region; anything else is refused, whatever the length or overflow.
 *
 * Regions are added before the first vCPU runs and never move, so look-ups
 * need no lock and may come from any thread. The bytes themselves are shared
 * with running vCPUs: read them once into locals, then validate the copy.
 */
#ifndef LKVM_MEMORY_H
#define LKVM_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <lkvm/util.h>

typedef uint64_t gpa_t; /* guest physical address */

#define MEMORY_MAX_REGIONS 4

struct memory_region {
	gpa_t base;
	uint64_t size;
	uint8_t *host; /* owned; private, anonymous, populated on demand */
};

struct guest_memory {
	int vm_fd; /* not owned; -1: no KVM behind it (tests, dry runs) */
	unsigned int nr_regions;
	struct memory_region region[MEMORY_MAX_REGIONS]; /* ascending */
};

/* An empty memory for the VM of @vm_fd (-1: none). */
void memory_init(struct guest_memory *mem, int vm_fd);

/* Unmaps all RAM. The VM's file descriptor must be closed or idle. */
void memory_release(struct guest_memory *mem);

/*
 * Add zeroed RAM at [@base, @base + @size), both multiples of the page size,
 * above all earlier regions. The host's memory is reserved on demand only.
 * Returns 0, -EINVAL, -ENOSPC (too many regions), -ENOMEM or KVM's -errno.
 */
int memory_add_ram(struct guest_memory *mem, gpa_t base, uint64_t size);

/*
 * The host address of [@gpa, @gpa + @len), or NULL when that is not wholly
 * RAM or @len is 0. The pointer is good until memory_release().
 */
void *guest_map(const struct guest_memory *mem, gpa_t gpa, uint64_t len);

/* Copy out of / into guest RAM. Returns 0 or -EFAULT (nothing copied). */
int guest_read(const struct guest_memory *mem, gpa_t gpa, void *dst,
	       size_t len);
int guest_write(const struct guest_memory *mem, gpa_t gpa, const void *src,
		size_t len);

/*
 * Read @len bytes at @offset of @fd straight into RAM at @gpa.
 * Returns 0, -EFAULT (not RAM), -ENODATA (file too short) or -errno.
 */
int guest_load(const struct guest_memory *mem, gpa_t gpa, int fd, off_t offset,
	       uint64_t len);

/*
 * Give every page back to the host; the guest then reads zeroes. For a
 * machine reset, with all vCPUs and I/O stopped. Returns 0 or -errno.
 */
int memory_clear(struct guest_memory *mem);

#endif
