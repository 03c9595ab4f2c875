/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Between the files of virtio/balloon*: pages that a guest gives up and takes
 * back, by their numbers.
 *
 * All of it is the balloon's thread's own, but for the counters.
 */
#ifndef LKVM_BALLOON_H
#define LKVM_BALLOON_H

#include <linux/virtio_balloon.h>
#include <stdint.h>

#include <lkvm/memory.h>

#define BALLOON_PAGE BIT_ULL(VIRTIO_BALLOON_PFN_SHIFT)

/* Page numbers that are sorted and merged at a time. Linux sends 256. */
#define BALLOON_BATCH 1024

/* Written by the balloon's thread alone, read by any. */
struct balloon_counters {
	_Atomic uint64_t inflated, deflated; /* pages */
	_Atomic uint64_t ranges; /* that these were merged into */
	_Atomic uint64_t not_ram; /* page numbers that were ignored */
	_Atomic uint64_t kept; /* ranges that could not be given back */
	_Atomic uint64_t not_restored; /* see memory_restore() */
};

struct balloon_pages {
	struct guest_memory *memory;
	/*
	 * The host's pages are larger than the guest's (hugetlbfs): a bit for
	 * each of the guest's that is in the balloon. A page of the host's
	 * goes when all in it are there. Otherwise NULL.
	 */
	uint64_t *held;
	uint64_t nr_held; /* bits in it */
	bool told; /* the guest tells before it uses a page again */
	struct balloon_counters counters;
	uint32_t pfn[BALLOON_BATCH]; /* room for a batch */
};

/* Returns 0 or -ENOMEM; the memory has all of its regions. */
int balloon_pages_init(struct balloon_pages *pages,
		       struct guest_memory *memory);
void balloon_pages_release(struct balloon_pages *pages);

/* Nothing is in the balloon any more (device reset). */
void balloon_pages_forget(struct balloon_pages *pages);

/*
 * The guest gives the pages of pages->pfn[0 .. @count) up, or is going to use
 * them again. @count is at most BALLOON_BATCH. Numbers of what is not RAM are
 * ignored; numbers that are there twice count once.
 */
void balloon_inflate(struct balloon_pages *pages, unsigned int count);
void balloon_deflate(struct balloon_pages *pages, unsigned int count);

#endif
