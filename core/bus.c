/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The PIO and MMIO address spaces: see bus.h.
 *
 * The table of mapped regions is sorted by address. Readers take no lock: they
 * search it, and search again when the sequence counter says that it changed
 * meanwhile. The fields are atomics so that such a race is defined; their
 * order comes from the counter's barriers.
 */
#include <errno.h>
#include <string.h>

#include <lkvm/bus.h>

uint64_t bus_read_zero(void *opaque, uint64_t offset, unsigned int len)
{
	(void)opaque;
	(void)offset;
	(void)len;
	return 0;
}

void bus_init(struct bus *bus)
{
	memset(bus, 0, sizeof(*bus));
	pthread_mutex_init(&bus->lock, NULL);
}

void bus_release(struct bus *bus)
{
	pthread_mutex_destroy(&bus->lock);
}

static int bus_register_locked(struct bus *bus, struct bus_region *region)
{
	if (region->bus)
		return 0;
	if (bus->nr_regions == BUS_MAX_REGIONS)
		return -ENOSPC;
	region->id = bus->nr_regions;
	region->bus = bus;
	bus->region[bus->nr_regions++] = region;
	return 0;
}

int bus_register(struct bus *bus, struct bus_region *region)
{
	int err;

	pthread_mutex_lock(&bus->lock);
	err = bus_register_locked(bus, region);
	pthread_mutex_unlock(&bus->lock);
	return err;
}

static void change_begin(struct bus *bus)
{
	atomic_fetch_add_explicit(&bus->sequence, 1, memory_order_relaxed);
	/* Readers that see a changed slot see the odd counter, too. */
	atomic_thread_fence(memory_order_release);
}

static void change_end(struct bus *bus)
{
	atomic_fetch_add_explicit(&bus->sequence, 1, memory_order_release);
}

static void slot_set(struct bus_slot *slot, uint64_t base, uint64_t end,
		     struct bus_region *region)
{
	atomic_store_explicit(&slot->base, base, memory_order_relaxed);
	atomic_store_explicit(&slot->end, end, memory_order_relaxed);
	atomic_store_explicit(&slot->region, region, memory_order_relaxed);
}

static void slot_copy(struct bus_slot *to, struct bus_slot *from)
{
	slot_set(to, atomic_load_explicit(&from->base, memory_order_relaxed),
		 atomic_load_explicit(&from->end, memory_order_relaxed),
		 atomic_load_explicit(&from->region, memory_order_relaxed));
}

static int bus_map_locked(struct bus *bus, struct bus_region *region)
{
	uint64_t end = region->base + region->len;
	unsigned int at;
	unsigned int nr;
	int err;

	if (!region->len || end < region->base || region->mapped)
		return -EINVAL;
	err = bus_register_locked(bus, region);
	if (err)
		return err;
	nr = atomic_load(&bus->nr_slots);
	for (at = 0; at < nr; at++)
		if (atomic_load(&bus->slot[at].end) > region->base)
			break;
	if (at < nr && atomic_load(&bus->slot[at].base) < end)
		return -EEXIST;

	change_begin(bus);
	for (unsigned int i = nr; i > at; i--)
		slot_copy(&bus->slot[i], &bus->slot[i - 1]);
	slot_set(&bus->slot[at], region->base, end, region);
	atomic_store_explicit(&bus->nr_slots, nr + 1, memory_order_relaxed);
	change_end(bus);
	region->mapped = true;
	return 0;
}

int bus_map(struct bus *bus, struct bus_region *region)
{
	int err;

	pthread_mutex_lock(&bus->lock);
	err = bus_map_locked(bus, region);
	pthread_mutex_unlock(&bus->lock);
	return err;
}

void bus_unmap(struct bus_region *region)
{
	struct bus *bus = region->bus;
	unsigned int at;
	unsigned int nr;

	if (!bus)
		return;
	pthread_mutex_lock(&bus->lock);
	nr = atomic_load(&bus->nr_slots);
	for (at = 0; at < nr; at++)
		if (atomic_load(&bus->slot[at].region) == region)
			break;
	if (at < nr) {
		change_begin(bus);
		for (; at + 1 < nr; at++)
			slot_copy(&bus->slot[at], &bus->slot[at + 1]);
		atomic_store_explicit(&bus->nr_slots, nr - 1,
				      memory_order_relaxed);
		change_end(bus);
		region->mapped = false;
	}
	pthread_mutex_unlock(&bus->lock);
}

/* Binary search; the result is good only if the sequence stood still. */
static struct bus_region *bus_search(struct bus *bus, struct bus_cache *cache,
				     uint64_t addr)
{
	unsigned int low = 0;
	unsigned int high =
		atomic_load_explicit(&bus->nr_slots, memory_order_relaxed);

	while (low < high) {
		unsigned int mid = (low + high) / 2;
		struct bus_slot *slot = &bus->slot[mid];
		uint64_t base =
			atomic_load_explicit(&slot->base, memory_order_relaxed);
		uint64_t end =
			atomic_load_explicit(&slot->end, memory_order_relaxed);

		if (addr < base) {
			high = mid;
		} else if (addr >= end) {
			low = mid + 1;
		} else {
			cache->base = base;
			cache->end = end;
			return atomic_load_explicit(&slot->region,
						    memory_order_relaxed);
		}
	}
	return NULL;
}

/* An access that crosses a region's end belongs to nobody. */
static struct bus_region *bus_find(struct bus *bus, struct bus_cache *cache,
				   uint64_t addr, unsigned int len)
{
	uint32_t sequence;

	do {
		sequence = atomic_load_explicit(&bus->sequence,
						memory_order_acquire);
		/* A change begins with an odd count and is soon over. */
		if (sequence & 1)
			continue;
		if (cache->region && cache->sequence == sequence &&
		    addr >= cache->base && addr < cache->end)
			break;
		cache->region = bus_search(bus, cache, addr);
		cache->sequence = sequence;
		atomic_thread_fence(memory_order_acquire);
	} while (sequence & 1 ||
		 sequence != atomic_load_explicit(&bus->sequence,
						  memory_order_relaxed));

	if (!cache->region || len > cache->end - addr)
		return NULL;
	return cache->region;
}

struct bus_region *bus_read(struct bus *bus, struct bus_cache *cache,
			    uint64_t addr, unsigned int len, uint64_t *value)
{
	struct bus_cache hit = { 0 };
	struct bus_region *region;

	if (!cache)
		cache = &hit;
	region = bus_find(bus, cache, addr, len);
	*value = ~0ULL;
	/* The base that was found: the region may be moving right now. */
	if (region)
		*value = region->ops->read(region->opaque, addr - cache->base,
					   len);
	return region;
}

struct bus_region *bus_write(struct bus *bus, struct bus_cache *cache,
			     uint64_t addr, unsigned int len, uint64_t value)
{
	struct bus_cache hit = { 0 };
	struct bus_region *region;

	if (!cache)
		cache = &hit;
	region = bus_find(bus, cache, addr, len);
	if (region)
		region->ops->write(region->opaque, addr - cache->base, value,
				   len);
	return region;
}
