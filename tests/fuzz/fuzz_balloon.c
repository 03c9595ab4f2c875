/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libFuzzer target: the input is what a guest sends to the balloon's first two
 * queues, lists of page numbers. RAM is compared with what the specification
 * says of it: pages that were named may be zero, all others are as they were.
 *
 *   mode, then lists: { queue and count, numbers ... }
 */
#include <endian.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/balloon.h>
#include <lkvm/util.h>

#define LOW (512 * KIB)
#define HIGH_BASE (4 * GIB)
#define HIGH (256 * KIB)
#define LOW_PAGES (LOW / BALLOON_PAGE)
#define PAGES ((LOW + HIGH) / BALLOON_PAGE)
#define PATTERN 0xa5a5a5a5a5a5a5a5ULL

/* Of the mode: the host's pages are large; the guest tells. */
#define MODE_HUGE 1
#define MODE_TOLD 2
#define HUGE_PAGE (256 * KIB)

struct fuzz {
	struct guest_memory memory;
	struct balloon_pages pages;
	bool named[PAGES]; /* in the balloon, as the guest has said */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The number of the page that is the @index-th of RAM, and back. */
static uint64_t pfn_of(unsigned int index)
{
	return index < LOW_PAGES ? index :
				   HIGH_BASE / BALLOON_PAGE + index - LOW_PAGES;
}

static uint64_t *word(struct fuzz *f, unsigned int index)
{
	return guest_map(&f->memory, pfn_of(index) * BALLOON_PAGE, 8);
}

static unsigned int index_of(uint32_t pfn)
{
	if (pfn < LOW_PAGES)
		return pfn;
	if (pfn < HIGH_BASE / BALLOON_PAGE)
		return PAGES;
	return (unsigned int)MIN(PAGES,
				 LOW_PAGES + (pfn - HIGH_BASE / BALLOON_PAGE));
}

static void make_ram(struct fuzz *f, uint8_t mode)
{
	memory_init(&f->memory, -1);
	if (mode & MODE_HUGE)
		f->memory.page_size = HUGE_PAGE;
	if (memory_add_ram(&f->memory, 0, LOW) ||
	    memory_add_ram(&f->memory, HIGH_BASE, HIGH) ||
	    balloon_pages_init(&f->pages, &f->memory))
		abort();
	f->pages.told = mode & MODE_TOLD;
	for (unsigned int i = 0; i < PAGES; i++)
		*word(f, i) = PATTERN;
}

static void note(struct fuzz *f, uint32_t pfn, bool inflate)
{
	unsigned int index = index_of(pfn);

	if (index == PAGES)
		return;
	f->named[index] = inflate;
	/* The guest uses what it took back. */
	if (!inflate)
		*word(f, index) = PATTERN;
}

static void check(struct fuzz *f, bool huge)
{
	for (unsigned int i = 0; i < PAGES; i++) {
		bool gone = !*word(f, i);

		if (gone && !f->named[i])
			abort();
		if (!gone && f->named[i] && !huge)
			abort();
	}
}

/* Returns the bytes that one list took. */
static size_t one_list(struct fuzz *f, const uint8_t *data, size_t size,
		       bool huge)
{
	bool inflate = data[0] & 1;
	unsigned int count = data[0] >> 1;
	uint32_t pfn;

	count = (unsigned int)MIN(count, (size - 1) / sizeof(pfn));
	for (unsigned int i = 0; i < count; i++) {
		memcpy(&pfn, data + 1 + i * sizeof(pfn), sizeof(pfn));
		f->pages.pfn[i] = le32toh(pfn);
	}
	/* They are sorted in place: note them first, use them afterwards. */
	if (inflate) {
		for (unsigned int i = 0; i < count; i++)
			note(f, f->pages.pfn[i], true);
		balloon_inflate(&f->pages, count);
	} else {
		balloon_deflate(&f->pages, count);
		for (unsigned int i = 0; i < count; i++) {
			memcpy(&pfn, data + 1 + i * sizeof(pfn), sizeof(pfn));
			note(f, le32toh(pfn), false);
		}
	}
	check(f, huge);
	return 1 + count * sizeof(pfn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz *f = calloc(1, sizeof(*f));
	bool huge;

	if (!f || !size)
		goto out;
	huge = data[0] & MODE_HUGE;
	make_ram(f, data[0]);
	for (size_t at = 1; at < size;)
		at += one_list(f, data + at, size - at, huge);
	balloon_pages_release(&f->pages);
	memory_release(&f->memory);
out:
	free(f);
	return 0;
}
