/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The PIO and MMIO address spaces: which device answers at an address.
 *
 * Look-up is lock-free (a sequence counter guards a sorted table) and each
 * vCPU remembers its last hit. Changes (a guest moves a BAR) come from any
 * thread, are serialised by a lock, and are seen by every look-up that starts
 * after they return. A region's memory must live as long as the bus: another
 * vCPU may still be in its callback when it is removed.
 */
#ifndef LKVM_BUS_H
#define LKVM_BUS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Regions of one bus, mapped or not; a guest cannot add any. */
#define BUS_MAX_REGIONS 256

/*
 * Callbacks run on a vCPU's thread, several at once: the device locks for
 * itself. @offset is from the region's start; @len is 1, 2, 4 or 8 and
 * [@offset, @offset + @len) lies within the region. Bytes of a value above
 * @len are ignored on read and zero on write.
 */
struct bus_ops {
	uint64_t (*read)(void *opaque, uint64_t offset, unsigned int len);
	void (*write)(void *opaque, uint64_t offset, uint64_t value,
		      unsigned int len);
};

struct bus_region {
	const char *name; /* for statistics: "serial0", "vda-cfg"; borrowed */
	const struct bus_ops *ops;
	void *opaque;
	uint64_t base;
	uint64_t len;
	/* the bus's own, from here on */
	struct bus *bus; /* set by bus_register(); NULL before */
	unsigned int id; /* stable index for counters, from bus_register() */
	bool mapped; /* guarded by bus->lock */
};

struct bus_slot {
	_Atomic uint64_t base;
	_Atomic uint64_t end; /* exclusive */
	_Atomic(struct bus_region *) region;
};

struct bus {
	pthread_mutex_t lock;
	_Atomic uint32_t sequence; /* odd while the table changes */
	_Atomic uint32_t nr_slots;
	struct bus_slot slot[BUS_MAX_REGIONS]; /* by base; lock or sequence */
	unsigned int nr_regions; /* ever registered; guarded by lock */
	struct bus_region *region[BUS_MAX_REGIONS]; /* by id */
};

/* A vCPU's memory of its last hit; zero-initialised is empty. */
struct bus_cache {
	uint32_t sequence;
	uint64_t base;
	uint64_t end;
	struct bus_region *region;
};

/* A bus_ops.read for what is only written: all bits are zero. */
uint64_t bus_read_zero(void *opaque, uint64_t offset, unsigned int len);

/* An empty bus. Its regions are not its own; release after the last user. */
void bus_init(struct bus *bus);
void bus_release(struct bus *bus);

/*
 * Give @region its id, without mapping it. bus_map() does so on first use.
 * A region stays with its first bus. Returns 0 or -ENOSPC when
 * BUS_MAX_REGIONS are taken. Any thread.
 */
int bus_register(struct bus *bus, struct bus_region *region);

/*
 * Map @region at @region->base for @region->len bytes. Any thread. Returns 0,
 * -EINVAL (empty, wrapping or mapped already), -EEXIST (overlaps), -ENOSPC.
 */
int bus_map(struct bus *bus, struct bus_region *region);

/*
 * Take @region off its bus; nothing happens when it is not mapped. Any thread.
 * Another one may still be in its callbacks when this returns.
 */
void bus_unmap(struct bus_region *region);

/*
 * Perform one access of @len (1, 2, 4 or 8) bytes, through the caller's own
 * @cache (may be NULL). Returns the region that holds all of it, for counting,
 * or NULL when none does: reads then give all ones, writes vanish. Any thread.
 */
struct bus_region *bus_read(struct bus *bus, struct bus_cache *cache,
			    uint64_t addr, unsigned int len, uint64_t *value);
struct bus_region *bus_write(struct bus *bus, struct bus_cache *cache,
			     uint64_t addr, unsigned int len, uint64_t value);

#endif
