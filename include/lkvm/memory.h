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

/* Of the host, for --numa-node. */
#define MEMORY_MAX_NODES 1024

/*
 * What RAM is made of, as the user asked for it; all zero: private, anonymous,
 * and of huge pages where the host has them.
 */
struct memory_backing {
	const char *hugetlbfs; /* mount point; NULL: ordinary pages */
	bool file; /* in a memfd, which other processes may map */
	bool no_thp; /* no transparent huge pages */
	bool ksm; /* the host may merge pages that are alike */
	bool bound; /* to the host's NUMA node @node */
	unsigned int node;
};

struct memory_region {
	gpa_t base;
	uint64_t size;
	uint8_t *host; /* owned; populated on demand, but for hugetlbfs */
	uint64_t offset; /* in the file */
	/* hugetlbfs: pages that the pool has got back, a bit each; owned */
	uint64_t *given;
};

struct guest_memory {
	int vm_fd; /* not owned; -1: no KVM behind it (tests, dry runs) */
	struct memory_backing backing;
	int fd; /* the file that RAM is in, or -1; owned */
	uint64_t page_size; /* of the backing: what the host takes back */
	/* Borders between pages of the file and pages that replace them. */
	unsigned int nr_borders;
	unsigned int nr_regions;
	struct memory_region region[MEMORY_MAX_REGIONS]; /* ascending */
};

/* An empty memory for the VM of @vm_fd (-1: none). */
void memory_init(struct guest_memory *mem, int vm_fd);

/*
 * Choose what @bytes of RAM, which are to be added, will be made of. Says what
 * is wrong with the choice and returns -errno.
 */
int memory_set_backing(struct guest_memory *mem,
		       const struct memory_backing *backing, uint64_t bytes);

/* Unmaps all RAM. The VM's file descriptor must be closed or idle. */
void memory_release(struct guest_memory *mem);

/*
 * Add zeroed RAM at [@base, @base + @size), both multiples of the page size,
 * above all earlier regions. The host's memory is reserved on demand only; but
 * pages of hugetlbfs are all allocated here, for a fault without one is fatal.
 * Returns 0, -EINVAL, -ENOSPC (too many regions), -ENOMEM or KVM's -errno.
 */
int memory_add_ram(struct guest_memory *mem, gpa_t base, uint64_t size);

/* What a user can do about an error of memory_add_ram(). */
const char *memory_advice(const struct guest_memory *mem);

/* All of RAM, in bytes. */
uint64_t memory_size(const struct guest_memory *mem);

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
 * Give back to the host what pages lie wholly in [@host, @host + @len), which
 * is RAM as guest_map() returned it. The guest reads zeroes there and may go
 * on using it: nothing is unmapped, so that neither vCPUs nor devices can
 * fault for good, and what a device writes there meanwhile is lost at worst,
 * which is the guest's own loss. A page of hugetlbfs is replaced by ordinary
 * ones, taken on demand. One thread at a time, this and the next two.
 * Returns 0, -ENOSPC (too scattered: nothing is given back) or -errno.
 */
int memory_discard(struct guest_memory *mem, void *host, uint64_t len);

/*
 * The guest is going to use [@host, @host + @len), whose contents it does not
 * need, again: where pages of hugetlbfs were given back, allocate them anew.
 * Without a free one RAM stays of ordinary pages and -ENOMEM is returned.
 */
int memory_restore(struct guest_memory *mem, void *host, uint64_t len);

/*
 * Give every page back to the host; the guest then reads zeroes. For a
 * machine reset, with all vCPUs and I/O stopped. Returns 0 or -errno.
 */
int memory_clear(struct guest_memory *mem);

#endif
