/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What guest RAM is made of: private anonymous pages, a memfd, or a file on
 * hugetlbfs; where these pages come from (NUMA node, transparent huge pages,
 * KSM), and how they go back to the host while the guest runs. See mmap(2),
 * madvise(2), mbind(2) and Documentation/admin-guide/mm/hugetlbpage.rst.
 *
 * A fault on hugetlbfs for which the pool has no page kills the process. So
 * all pages are allocated at the start, and where one goes back to the pool
 * its addresses are mapped anew with ordinary pages: whatever the guest, a
 * device or vhost touches afterwards, there is memory behind it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <lkvm/log.h>
#include <lkvm/ram.h>

#define HUGE_PAGE (2 * MIB)

/*
 * Each border between pages of hugetlbfs and others is the end of a mapping,
 * and a process has 65530 of these (vm.max_map_count). Pages that have returned
 * are mappings of their own, which hugetlbfs never joins; they are not counted,
 * for it takes a guest of 128 GiB that returned each by itself to have so many.
 * Then the next one stays an ordinary page.
 */
#define MAX_BORDERS 32000

#define LONG_BITS (8 * sizeof(unsigned long))

/* ---- the user's choice --------------------------------------------------- */

/* Let the chosen node, if any, serve all faults in [@host, @host + @len). */
static int bind_to_node(const struct memory_backing *backing, void *host,
			uint64_t len)
{
	unsigned long mask[MEMORY_MAX_NODES / LONG_BITS] = { 0 };
	unsigned int node = backing->node;

	if (!backing->bound)
		return 0;
	mask[node / LONG_BITS] = BIT(node % LONG_BITS);
	/* The kernel takes one bit less than it is told. */
	return syscall(SYS_mbind, host, len, MPOL_BIND, mask,
		       MEMORY_MAX_NODES + 1UL, 0UL) ?
		       -errno :
		       0;
}

/* What the host can do is found out on a page of its own. */
static int check_host(const struct memory_backing *backing)
{
	size_t len = (size_t)sysconf(_SC_PAGESIZE);
	void *page = mmap(NULL, len, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int err;

	if (page == MAP_FAILED)
		return -errno;
	err = bind_to_node(backing, page, len);
	if (err)
		log_err("memory",
			"--numa-node %u: %s (see /sys/devices/system/node)",
			backing->node,
			err == -EINVAL ? "the host has no such node with RAM" :
					 strerror(-err));
	if (!err && backing->ksm && madvise(page, len, MADV_MERGEABLE)) {
		err = -errno;
		log_err("memory", "--ksm: the host's kernel is without KSM");
	}
	munmap(page, len);
	return err;
}

/* A file without a name in the folder; and the size of its pages. */
static int open_hugetlbfs(struct guest_memory *mem, const char *folder)
{
	struct statfs fs;
	int fd;

	if (statfs(folder, &fs)) {
		int err = -errno;

		log_err("memory", "--hugetlbfs %s: %s", folder, strerror(-err));
		return err;
	}
	if (fs.f_type != HUGETLBFS_MAGIC) {
		log_err("memory",
			"--hugetlbfs %s: no hugetlbfs is mounted there (mount "
			"-t hugetlbfs none %s)",
			folder, folder);
		return -EINVAL;
	}
	fd = unnamed_file(folder);
	if (fd < 0) {
		log_err("memory", "--hugetlbfs %s: cannot make a file: %s",
			folder, strerror(-fd));
		return fd;
	}
	mem->fd = fd;
	mem->page_size = (uint64_t)fs.f_bsize;
	return 0;
}

/* What does not go together. */
static int check_choice(const struct memory_backing *backing)
{
	if (backing->hugetlbfs && backing->file) {
		log_err("memory",
			"--mem-file does not go with --hugetlbfs, which is a "
			"file by itself");
		return -EINVAL;
	}
	if (backing->ksm && (backing->hugetlbfs || backing->file)) {
		log_err("memory",
			"--ksm does not go with %s: the host merges private "
			"pages only",
			backing->file ? "--mem-file" : "--hugetlbfs");
		return -EINVAL;
	}
	return 0;
}

int memory_set_backing(struct guest_memory *mem,
		       const struct memory_backing *backing, uint64_t bytes)
{
	int err = check_choice(backing);

	mem->backing = *backing;
	if (!err && (backing->bound || backing->ksm))
		err = check_host(backing);
	if (err)
		return err;
	if (backing->hugetlbfs)
		err = open_hugetlbfs(mem, backing->hugetlbfs);
	if (err)
		return err;
	if (bytes % mem->page_size) {
		log_err("memory",
			"--mem: %s is not a multiple of %s, the size of a page "
			"of %s",
			format_size(bytes).text,
			format_size(mem->page_size).text, backing->hugetlbfs);
		return -EINVAL;
	}
	if (!backing->file)
		return 0;
	mem->fd = memfd_create("lkvm-ram", MFD_CLOEXEC);
	if (mem->fd < 0) {
		err = -errno;
		log_err("memory", "--mem-file: %s", strerror(-err));
	}
	return err;
}

const char *memory_advice(const struct guest_memory *mem)
{
	return mem->backing.hugetlbfs ? "not enough free huge pages: see "
					"/proc/sys/vm/nr_hugepages" :
					"see --mem";
}

/* ---- mapping ------------------------------------------------------------- */

/* Hints, but for the node; before the first fault. */
static int set_policy(const struct guest_memory *mem, uint8_t *host,
		      uint64_t len)
{
	const struct memory_backing *backing = &mem->backing;

	/* Guest RAM is not ours to show in a core dump, nor small. */
	madvise(host, len, MADV_DONTDUMP);
	if (backing->no_thp)
		madvise(host, len, MADV_NOHUGEPAGE);
	if (backing->ksm)
		madvise(host, len, MADV_MERGEABLE);
	return bind_to_node(backing, host, len);
}

/*
 * @size bytes of ordinary pages that begin at a huge page's boundary. KVM maps
 * a huge page only where guest and host address agree in their low bits;
 * mmap() promises no such thing. Returns NULL and sets errno.
 */
static uint8_t *map_aligned(uint64_t size, uint64_t align)
{
	uint64_t room = size + align;
	uint8_t *start, *host;

	if (room < size) {
		errno = ENOMEM;
		return NULL;
	}
	/* NORESERVE: a guest may be given more than the host has. */
	start = mmap(NULL, room, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (start == MAP_FAILED)
		return NULL;
	host = start + (align_up((uintptr_t)start, align) - (uintptr_t)start);
	if (host != start)
		munmap(start, (size_t)(host - start));
	munmap(host + size, (size_t)(start + room - (host + size)));
	return host;
}

/* Ordinary pages in the place of whatever is mapped at [@host, @host + @len) */
static int map_ordinary(const struct guest_memory *mem, uint8_t *host,
			uint64_t len)
{
	if (mmap(host, len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
		 0) == MAP_FAILED)
		return -errno;
	/* Without their node they serve as well. */
	set_policy(mem, host, len);
	return 0;
}

/* The file's pages there; those of hugetlbfs all at once, or none. */
static int map_file(const struct guest_memory *mem, uint8_t *host,
		    uint64_t offset, uint64_t len)
{
	int err;

	/* On hugetlbfs this reserves, and fails when there is not enough. */
	if (mmap(host, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		 mem->fd, (off_t)offset) == MAP_FAILED)
		return -errno;
	err = set_policy(mem, host, len);
	if (err || !mem->backing.hugetlbfs)
		return err;
	/*
	 * What is reserved may still lie on another node, or be forbidden to
	 * this control group: here that is an error, later it is a SIGBUS.
	 */
	if (madvise(host, len, MADV_POPULATE_WRITE))
		return errno == EFAULT ? -ENOMEM : -errno;
	return 0;
}

static uint64_t *new_bitmap(uint64_t bits)
{
	return calloc(align_up(bits, 64) / 64, sizeof(uint64_t));
}

static int map_from_file(struct guest_memory *mem, struct memory_region *r)
{
	if (ftruncate(mem->fd, (off_t)(r->offset + r->size)))
		return -errno;
	if (mem->backing.hugetlbfs) {
		r->given = new_bitmap(r->size / mem->page_size);
		if (!r->given)
			return -ENOMEM;
	}
	return map_file(mem, r->host, r->offset, r->size);
}

int ram_map(struct guest_memory *mem, struct memory_region *r)
{
	int err;

	r->host = map_aligned(r->size, MAX(mem->page_size, HUGE_PAGE));
	if (!r->host)
		return -errno;
	err = mem->fd >= 0 ? map_from_file(mem, r) :
			     set_policy(mem, r->host, r->size);
	if (err) {
		ram_unmap(r);
		return err;
	}
	/*
	 * Fewer faults while the kernel unpacks itself: a hint only. The first
	 * 2 MiB hold a few tables, for which zeroing a whole huge page would
	 * cost more than it saves.
	 */
	if (!mem->backing.no_thp && !mem->backing.hugetlbfs &&
	    r->size > HUGE_PAGE)
		madvise(r->host + HUGE_PAGE, r->size - HUGE_PAGE,
			MADV_HUGEPAGE);
	return 0;
}

void ram_unmap(struct memory_region *r)
{
	munmap(r->host, r->size);
	free(r->given);
}

/* ---- pages that go back, and return -------------------------------------- */

static bool is_given(const struct memory_region *r, uint64_t page)
{
	return r->given[page / 64] & BIT_ULL(page % 64);
}

/* Borders at the ends of pages [@first, @end) and between them. */
static unsigned int count_borders(const struct guest_memory *mem,
				  const struct memory_region *r, uint64_t first,
				  uint64_t end)
{
	uint64_t last = r->size / mem->page_size - 1;
	unsigned int count = 0;

	for (uint64_t i = first ? first : 1; i <= MIN(end, last); i++)
		count += is_given(r, i - 1) != is_given(r, i);
	return count;
}

static void set_given(struct guest_memory *mem, struct memory_region *r,
		      uint64_t start, uint64_t len, bool given)
{
	uint64_t first = start / mem->page_size;
	uint64_t end = first + len / mem->page_size;

	mem->nr_borders -= count_borders(mem, r, first, end);
	for (uint64_t i = first; i < end; i++) {
		if (given)
			r->given[i / 64] |= BIT_ULL(i % 64);
		else
			r->given[i / 64] &= ~BIT_ULL(i % 64);
	}
	mem->nr_borders += count_borders(mem, r, first, end);
}

static int give_to_pool(struct guest_memory *mem, struct memory_region *r,
			uint64_t start, uint64_t len)
{
	int err = map_ordinary(mem, r->host + start, len);

	if (err)
		return err;
	set_given(mem, r, start, len, true);
	if (fallocate(mem->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(r->offset + start), (off_t)len))
		return -errno;
	return 0;
}

static int take_from_pool(struct guest_memory *mem, struct memory_region *r,
			  uint64_t start, uint64_t len)
{
	off_t offset = (off_t)(r->offset + start);
	int err;

	/* First: nobody may find addresses that have no page yet. */
	if (fallocate(mem->fd, FALLOC_FL_KEEP_SIZE, offset, (off_t)len)) {
		err = -errno;
		fallocate(mem->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  offset, (off_t)len);
		return err;
	}
	err = map_file(mem, r->host + start, (uint64_t)offset, len);
	if (!err) {
		set_given(mem, r, start, len, false);
		return 0;
	}
	/* It may be mapped, with some of its pages there already. */
	give_to_pool(mem, r, start, len);
	return err;
}

int ram_discard(struct guest_memory *mem, struct memory_region *r,
		uint64_t start, uint64_t len)
{
	if (r->given) {
		/* It can be two more; all of a region is none. */
		if (mem->nr_borders + 2 > MAX_BORDERS && len < r->size)
			return -ENOSPC;
		return give_to_pool(mem, r, start, len);
	}
	/* A file's pages stay when only a mapping forgets them. */
	return madvise(r->host + start, len,
		       mem->fd < 0 ? MADV_DONTNEED : MADV_REMOVE) ?
		       -errno :
		       0;
}

int ram_restore(struct guest_memory *mem, struct memory_region *r,
		uint64_t start, uint64_t len)
{
	uint64_t page = mem->page_size;
	uint64_t end = start + len;
	int err = 0;

	if (!r->given)
		return 0;
	while (start < end) {
		uint64_t run = 0; /* of pages that are away */
		int failed = 0;

		while (start + run < end && is_given(r, (start + run) / page))
			run += page;
		if (run)
			failed = take_from_pool(mem, r, start, run);
		if (failed)
			err = failed;
		start += run ? run : page;
	}
	return err;
}
