/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Between core/memory.c, which knows where RAM lies in the guest, and
 * core/ram.c, which knows what it is made of in the host. For everybody else
 * there is memory.h.
 *
 * Ranges are offsets and lengths within a region, in whole pages of the
 * backing (mem->page_size).
 */
#ifndef LKVM_RAM_H
#define LKVM_RAM_H

#include <stdint.h>

#include <lkvm/memory.h>

/*
 * Map @region->size bytes of the backing: sets @region->host. Returns 0 or
 * -errno. ram_unmap() undoes it.
 */
int ram_map(struct guest_memory *mem, struct memory_region *region);
void ram_unmap(struct memory_region *region);

/* See memory_discard() and memory_restore(). */
int ram_discard(struct guest_memory *mem, struct memory_region *region,
		uint64_t start, uint64_t len);
int ram_restore(struct guest_memory *mem, struct memory_region *region,
		uint64_t start, uint64_t len);

#endif
