/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The lists of page numbers of a balloon (virtio 1.2, 5.5.6): checked, sorted,
 * merged into ranges; so one system call serves many pages.
 *
 * A guest may name any page, at any time, as often as it likes, also one that
 * it uses or that a device writes to at this moment. What is named is RAM and
 * stays mapped (memory_discard()), so all that can come of it is that the
 * guest loses what was in its own page.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/balloon.h>
#include <lkvm/util.h>

int balloon_pages_init(struct balloon_pages *pages, struct guest_memory *memory)
{
	const struct memory_region *last =
		&memory->region[memory->nr_regions - 1];

	*pages = (struct balloon_pages) { .memory = memory };
	if (memory->page_size <= BALLOON_PAGE)
		return 0;
	pages->nr_held = (last->base + last->size) / BALLOON_PAGE;
	pages->held =
		calloc(align_up(pages->nr_held, 64) / 64, sizeof(*pages->held));
	return pages->held ? 0 : -ENOMEM;
}

void balloon_pages_release(struct balloon_pages *pages)
{
	free(pages->held);
}

void balloon_pages_forget(struct balloon_pages *pages)
{
	if (pages->held)
		memset(pages->held, 0, align_up(pages->nr_held, 64) / 8);
}

/* ---- the list ------------------------------------------------------------ */

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a;
	uint32_t y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Keep what is RAM, once and in order. Returns how many are left. */
static unsigned int tidy(struct balloon_pages *pages, unsigned int count)
{
	unsigned int left = 0;

	for (unsigned int i = 0; i < count; i++)
		if (guest_map(pages->memory, pages->pfn[i] * BALLOON_PAGE,
			      BALLOON_PAGE))
			pages->pfn[left++] = pages->pfn[i];
	counter_add(&pages->counters.not_ram, count - left);
	if (!left)
		return 0;
	qsort(pages->pfn, left, sizeof(pages->pfn[0]), compare);
	count = left;
	left = 1;
	for (unsigned int i = 1; i < count; i++)
		if (pages->pfn[i] != pages->pfn[left - 1])
			pages->pfn[left++] = pages->pfn[i];
	return left;
}

/*
 * Call @use for each run of successive pages. A run is wholly RAM and within
 * one region: there are no two that touch.
 */
static void for_each_range(struct balloon_pages *pages, unsigned int count,
			   void (*use)(struct balloon_pages *pages,
				       uint64_t pfn, uint64_t n))
{
	unsigned int n;

	for (unsigned int i = 0; i < count; i += n) {
		const uint32_t *first = &pages->pfn[i];

		for (n = 1; i + n < count && first[n] == first[0] + n; n++)
			;
		counter_add(&pages->counters.ranges, 1);
		use(pages, first[0], n);
	}
}

/* ---- pages as large as the host's ---------------------------------------- */

static void discard(struct balloon_pages *pages, uint64_t pfn, uint64_t n)
{
	struct guest_memory *memory = pages->memory;
	uint64_t len = n * BALLOON_PAGE;
	void *host = guest_map(memory, pfn * BALLOON_PAGE, len);

	if (!host || memory_discard(memory, host, len))
		counter_add(&pages->counters.kept, 1);
}

/* ---- and smaller ones ---------------------------------------------------- */

/* Pages of the guest's in one of the host's; both are powers of two. */
static uint64_t per_host_page(const struct balloon_pages *pages)
{
	return pages->memory->page_size / BALLOON_PAGE;
}

/* @pfn is the first of a page of the host's: at least 64 of the guest's. */
static bool all_held(const struct balloon_pages *pages, uint64_t pfn)
{
	for (uint64_t i = 0; i < per_host_page(pages); i += 64)
		if (pages->held[(pfn + i) / 64] != UINT64_MAX)
			return false;
	return true;
}

static void hold(struct balloon_pages *pages, uint64_t pfn, uint64_t n)
{
	uint64_t step = per_host_page(pages);

	for (uint64_t i = pfn; i < pfn + n; i++)
		pages->held[i / 64] |= BIT_ULL(i % 64);
	for (uint64_t i = align_down(pfn, step); i < pfn + n; i += step)
		if (all_held(pages, i))
			discard(pages, i, step);
}

static void restore(struct balloon_pages *pages, uint64_t pfn)
{
	struct guest_memory *memory = pages->memory;
	void *host = guest_map(memory, pfn * BALLOON_PAGE, BALLOON_PAGE);

	if (host && memory_restore(memory, host, BALLOON_PAGE))
		counter_add(&pages->counters.not_restored, 1);
}

/*
 * A page that comes anew is empty, and what the guest uses must not vanish: so
 * it comes only when all of it was in the balloon, and before it is used.
 */
static void let_go(struct balloon_pages *pages, uint64_t pfn, uint64_t n)
{
	uint64_t step = per_host_page(pages);

	for (uint64_t i = align_down(pfn, step); i < pfn + n; i += step)
		if (pages->told && all_held(pages, i))
			restore(pages, i);
	for (uint64_t i = pfn; i < pfn + n; i++)
		pages->held[i / 64] &= ~BIT_ULL(i % 64);
}

/* ---- both ---------------------------------------------------------------- */

void balloon_inflate(struct balloon_pages *pages, unsigned int count)
{
	count = tidy(pages, count);
	counter_add(&pages->counters.inflated, count);
	for_each_range(pages, count, pages->held ? hold : discard);
}

void balloon_deflate(struct balloon_pages *pages, unsigned int count)
{
	count = tidy(pages, count);
	counter_add(&pages->counters.deflated, count);
	/* Otherwise the next fault brings a page. */
	if (pages->held)
		for_each_range(pages, count, let_go);
}
